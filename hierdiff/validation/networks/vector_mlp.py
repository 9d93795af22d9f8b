r"""A residual perceptron that denoises vectors.

It corrects by F the linear denoiser of data of variance v per dimension,

.. math:: \hat x_0 = c_{skip}\, x_t + c_{out}\, F(c_{in}\, x_t, \log \mathrm{snr}), \qquad
   c_{skip} = \frac{a v}{a^2 v + s^2}, \quad c_{out}^2 = \frac{v s^2}{a^2 v + s^2}, \quad
   c_{in}^{-2} = a^2 v + s^2 .

With classes F also takes a label, whose embedding is added to that of the noise level.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from hierdiff.checks import checked, number, whole
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import stream
from hierdiff.validation._checks import (
    layers_number,
    one_per_row,
    size_number,
    tensor,
)
from hierdiff.validation.networks._blocks import Block, LabelEmbedding, NoiseEmbedding, coded

__all__ = [
    "VectorDenoiser",
    "vector_mlp",
]


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
    classes : int
        Labels of a conditional network, 0 for an unconditional one.

    Raises
    ------
    InvalidParameter
        If a number is not positive; later, for a label that the network does not have.

    Notes
    -----
    Validity: no label and the null label ``classes`` both mean unconditional.

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
        classes=partial(whole, high=2**20),
    )
    def __init__(
        self, dim: int, variance: float, *, width: int = 256, depth: int = 3, classes: int = 0
    ) -> None:
        super().__init__()
        self.variance = variance
        self.code = NoiseEmbedding(64)
        self.embed = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width, 64) for _ in range(depth))
        self.head = nn.Linear(width, dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # last, so that an unconditional network has the weights that it had without this option
        self.labels = LabelEmbedding(classes, 64) if classes else None

    def forward(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """Variance-preserving x_t [n, dim], log SNR [n] and labels [n] to the posterior mean."""
        skip, out, _ = self.scales(log_snr, x)
        return skip * x + out * self.inner(x, log_snr, label)

    def inner(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """F of the module's first lines."""
        _, _, into = self.scales(log_snr, x)
        code = coded(self.code, self.labels, log_snr.to(x.dtype), label)
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


@checked
def vector_mlp(
    mixture: LowRankMixture,
    noise: NoiseProcess | None = None,
    *,
    width: int = 256,
    depth: int = 3,
    conditional: bool = False,
    seed: int = 0,
) -> VectorDenoiser:
    """A perceptron for the vectors of a mixture.

    Parameters
    ----------
    mixture : LowRankMixture
        The data, of which the network takes the dimension and the variance per entry.
    noise : NoiseProcess, optional
        Not used: every Gaussian process has the same network.
    width, depth
        As in :class:`VectorDenoiser`.
    conditional : bool
        Whether it is conditioned on the class.
    seed : int
        Names the stream of the data from which the variance is estimated.

    Returns
    -------
    VectorDenoiser

    Raises
    ------
    InvalidParameter
        If a size is below one.

    Notes
    -----
    Validity: the weights are torch's current random ones; set ``torch.manual_seed`` before.

    Examples
    --------
    >>> mixture = LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)
    >>> vector_mlp(mixture, width=16)(torch.zeros(3, 6), torch.zeros(3)).shape
    torch.Size([3, 6])
    """
    # the estimate scales input and output; its error of about 1 % costs nothing
    variance = float((mixture.sample(4000, stream(seed, "variance"))[0] ** 2).mean())
    return VectorDenoiser(
        mixture.dim, variance, width=width, depth=depth,
        classes=mixture.n_classes if conditional else 0,
    )  # fmt: skip
