r"""Networks trained on mixtures of low-rank Gaussians: few points are memorised, many are not.

A residual multilayer perceptron F corrects the linear denoiser of data of variance v per dimension,

.. math:: \hat x_0 = c_{skip}\, x_t + c_{out}\, F(c_{in}\, x_t, \log \mathrm{snr}), \qquad
   c_{skip} = \frac{a v}{a^2 v + s^2}, \quad c_{out}^2 = \frac{v s^2}{a^2 v + s^2}, \quad
   c_{in}^{-2} = a^2 v + s^2,

and minimises the squared error of F's target, so that all noise levels weigh alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff.checks import checked, interval, number, reals
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import generator, stream
from hierdiff.validation._tensors import one_per_row, tensor
from hierdiff.validation._weights import batch_number, layers_number, size_number
from hierdiff.validation.clocks import LogSNR
from hierdiff.validation.execution import Execution
from hierdiff.validation.network import NetworkModel
from hierdiff.validation.training import Plan, Trained, train
from hierdiff.validation.tree_network import Block, NoiseCode

__all__ = ["VectorDenoiser", "train_vector_denoiser", "vector_loss"]


class VectorDenoiser(nn.Module):
    """Residual perceptron that returns E[x0 | x_t] of vectors.

    Parameters
    ----------
    dim : int
        Entries of a datum.
    variance : float
        Of the data, per entry.
    width, depth : int
        Features and residual blocks.

    Raises
    ------
    InvalidParameter
        If a number is not positive.

    Examples
    --------
    >>> VectorDenoiser(6, 0.5, width=16, depth=1)(torch.zeros(3, 6), torch.zeros(3)).shape
    torch.Size([3, 6])
    """

    @checked(
        dim=size_number,
        variance=partial(number, above=0),
        width=size_number,
        depth=layers_number,
    )
    def __init__(self, dim: int, variance: float, *, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        self.variance = variance
        self.code = NoiseCode(64)
        self.embed = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width, 64) for _ in range(depth))
        self.head = nn.Linear(width, dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """Variance-preserving x_t [n, dim] and log SNR [n] to the posterior mean."""
        skip, out, _ = self.scales(log_snr, x)
        return skip * x + out * self.inner(x, log_snr)

    def inner(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """F of the module's first lines."""
        _, _, into = self.scales(log_snr, x)
        code = self.code(log_snr.to(x.dtype))
        h = self.embed(into * x)[:, None]
        for block in self.blocks:
            h = block(h, code)
        answer: Tensor = self.head(h[:, 0])
        return answer

    def scales(self, log_snr: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """c_skip, c_out and c_in as columns."""
        tensor("x", x, None, self.embed.in_features)
        one_per_row("log_snr", log_snr, x)
        a2 = torch.sigmoid(log_snr.to(x.dtype))[:, None]
        s2 = torch.sigmoid(-log_snr.to(x.dtype))[:, None]
        total = a2 * self.variance + s2
        return a2.sqrt() * self.variance / total, (self.variance * s2 / total).sqrt(), total.rsqrt()


@checked(batch=batch_number, sigmas=interval)
def vector_loss(
    mixture: LowRankMixture, *, data: NDArray[np.float64] | None = None, batch: int = 256,
    sigmas: tuple[float, float] = (0.01, 5.0), seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:  # fmt: skip
    """Squared error in units of c_out, at noise levels uniform in log sigma.

    Parameters
    ----------
    mixture : LowRankMixture
        Where fresh data come from.
    data : array [N, D], optional
        A finite training set instead.
    batch : int
        Data per step.
    sigmas : (float, float)
        Range of noise relative to the signal.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If the training set has another shape, or the range does not increase.

    Notes
    -----
    Validity: its minimum over functions is the posterior mean under the data that it sees: the
    mixture's, or the training set's.
    """
    if data is not None:
        data = reals("data", data, shape=(None, mixture.dim), least=1)
    if not 0 < sigmas[0] < sigmas[1]:
        raise InvalidParameter(f"sigmas = {sigmas} must increase, above 0")

    def loss(network: nn.Module, step: int) -> Tensor:
        random = generator(stream(seed, "training", step))
        if data is None:
            x0 = mixture.sample(batch, random)[0]
        else:
            x0 = data[random.integers(len(data), size=batch)]
        low, high = np.log(sigmas)
        log_snr = -2 * (low + (high - low) * random.random(batch))
        a = np.sqrt(1 / (1 + np.exp(-log_snr)))[:, None]
        noisy = a * x0 + np.sqrt(1 - a**2) * random.standard_normal(x0.shape)
        device = next(network.parameters()).device
        x, clean, level = (
            torch.from_numpy(v.astype(np.float32)).to(device) for v in (noisy, x0, log_snr)
        )
        assert isinstance(network, VectorDenoiser)
        skip, out, _ = network.scales(level, x)
        return nn.functional.mse_loss(network.inner(x, level), (clean - skip * x) / out)

    return loss


@checked(batch=batch_number)
def train_vector_denoiser(
    mixture: LowRankMixture,
    plan: Plan,
    *,
    data: NDArray[np.float64] | None = None,
    width: int = 256,
    depth: int = 3,
    batch: int = 256,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[NetworkModel, Trained]:
    """A network trained on a mixture, or on a finite sample of it.

    Parameters
    ----------
    mixture : LowRankMixture
    plan : Plan
        How long to train.
    data, batch
        As in :func:`vector_loss`.
    width, depth
        As in :class:`VectorDenoiser`.
    seed : int
        Names the weights and the batches.
    folder : path-like, optional
        Where the checkpoint is kept.

    Returns
    -------
    model : NetworkModel
        On vectors with ``GaussianNoise()``.
    trained : Trained

    Raises
    ------
    InvalidParameter
        As :func:`vector_loss`.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
    spread = float((mixture.sample(4000, stream(seed, "variance"))[0] ** 2).mean())
    network = VectorDenoiser(mixture.dim, spread, width=width, depth=depth)
    loss = vector_loss(mixture, data=data, batch=batch, seed=seed)
    done = train(network, loss, plan, folder=folder, name="vectors")
    model = NetworkModel(
        done.network, GaussianNoise(), "x0", clock=LogSNR(), execution=Execution(batch_size=4096)
    )
    return model, done
