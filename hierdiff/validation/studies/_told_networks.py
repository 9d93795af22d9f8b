r"""Networks that are told the class, in the role of the classifier's denoisers.

A soft leaf with noise is a hard leaf with more noise, so a network trained on one-hot leaves
denoises soft ones without having seen any:

.. math::
    x_0 = e_a + \tau\eta, \quad x_t = \alpha x_0 + \sigma\varepsilon
    \;\Rightarrow\; \gamma' = \frac{\gamma}{1 + \gamma\tau^2}, \qquad
    \hat x_c = \kappa\,(q_c + \tau^2 \tfrac{\gamma}{\alpha} x_t), \quad
    \kappa = \frac1{1+\gamma\tau^2},

with :math:`q_c` the network's belief in the symbols at signal-to-noise ratio :math:`\gamma'`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray
from torch import Tensor, nn

from hierdiff._gaussian import GaussianNoise
from hierdiff.data.digits import LabelledImages
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import generator, stream
from hierdiff.sims._error_pools import DenoiserErrors
from hierdiff.theory.zero_shot.rhm_classes import SoftLeaves
from hierdiff.validation.adapter import NetworkModel, SymbolNetwork
from hierdiff.validation.training import Plan, train

__all__ = ["ImageClasses", "SoftTree", "conv_accuracy", "linear_accuracy"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SoftTree:
    """A network on one-hot leaves as the class denoisers of soft leaves.

    Parameters
    ----------
    model : SymbolNetwork
        Trained on the world's grammar with Gaussian noise, with labels.
    world : SoftLeaves
        Lends the exact density, Bayes' ceiling and posterior; nothing of it enters the errors.

    Raises
    ------
    InvalidParameter
        If the noise is not Gaussian.

    Notes
    -----
    Validity: the change of noise level is exact; the beliefs are the network's.
    """

    model: SymbolNetwork
    world: SoftLeaves

    source = "network"

    def __post_init__(self) -> None:
        if not isinstance(self.model.noise, GaussianNoise):
            raise InvalidParameter(
                f"{self.model.noise.name} noise has no soft leaves; train with GaussianNoise"
            )

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.world.n_classes

    @property
    def prior(self) -> Array:
        """Probability of every class."""
        return self.world.prior

    def log_density(self, x0: ArrayLike) -> Array:
        """Of the world, for Bayes' ceiling."""
        return self.world.log_density(x0)

    def noisy_log_odds(self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike) -> Array:
        """Of the world, for the exact posterior given a noisy datum."""
        return self.world.noisy_log_odds(x0, noise, snr)

    def denoise(self, x_t: ArrayLike, snr: ArrayLike, label: ArrayLike) -> Array:
        """The network's posterior mean [n, leaves, v] of soft leaves."""
        x, tau = np.asarray(x_t, float), self.world.tau
        ratio = np.broadcast_to(np.asarray(snr, float), (len(x),))
        kappa = 1 / (1 + ratio * tau**2)
        # power of a coordinate's signal part plus noise is made one again
        scale = np.sqrt((1 + ratio) / (1 + ratio * (1 + tau**2)))
        noise = cast(GaussianNoise, self.model.noise)
        told = self.model.conditioned(np.broadcast_to(np.asarray(label), (len(x),)))
        beliefs = told.denoise(x * scale[:, None, None], noise.level(kappa * ratio))
        gain = (np.sqrt(ratio) * np.sqrt(1 + ratio))[:, None, None]
        out: Array = kappa[:, None, None] * (beliefs + tau**2 * gain * x)
        return out

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: Sequence[int] | None = None, dtype: DTypeLike = np.float64,
    ) -> Array:  # fmt: skip
        """Denoising errors [n, classes]."""
        return DenoiserErrors(self).errors(x0, noise, snr, classes=classes, dtype=dtype)


@dataclass(frozen=True, eq=False)
class ImageClasses:
    """A conditional network on images as class denoisers, at any signal-to-noise ratio.

    Parameters
    ----------
    model : NetworkModel
        With Gaussian noise, told a class.
    n_classes : int

    Notes
    -----
    Validity: above the network's largest SNR the noisy image itself is the answer for every class,
    so that such samples decide nothing; below the smallest, the network's smallest is told.
    """

    model: NetworkModel
    n_classes: int

    source = "network"

    def denoise(self, x_t: ArrayLike, snr: ArrayLike, label: ArrayLike) -> Array:
        """The network's posterior mean, in the shape of x_t."""
        x = np.asarray(x_t)
        ratio = np.broadcast_to(np.asarray(snr, float), (len(x),))
        noise = cast(GaussianNoise, self.model.noise)
        low, high = (float(noise.snr(t)) for t in (1.0, 1e-3))
        level = noise.level(np.clip(ratio, low, high))
        told = self.model.conditioned(np.broadcast_to(np.asarray(label), (len(x),)))
        found = told.denoise(x, level)
        beyond = (ratio > high).reshape(-1, *(1,) * (x.ndim - 1))
        return np.where(beyond, x, found)


def linear_accuracy(train_set: LabelledImages, test: LabelledImages) -> Array:
    """Whether a logistic regression on the pixels is right, [n]."""
    from hierdiff.sims.metrics.probes import linear_probe

    flat = [x.images.reshape(len(x), -1).astype(float) for x in (train_set, test)]
    fitted = linear_probe(flat[0], train_set.labels)
    return np.asarray(fitted.predict(flat[1]) == test.labels, float)


def conv_accuracy(train_set: LabelledImages, test: LabelledImages, steps: int, seed: int) -> Array:
    """Whether a small convolutional classifier, trained on the same images, is right, [n]."""
    classes, channels = int(train_set.labels.max()) + 1, train_set.images.shape[1]
    torch.manual_seed(int(stream(seed, "conv weights").integers(2**31)))
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 32, 3, padding=1),
        nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(classes),
    )  # fmt: skip
    network(torch.from_numpy(train_set.images[:1]))  # the last layer learns its size

    def loss(module: nn.Module, step: int) -> Tensor:
        rows = generator(stream(seed, "conv", step)).integers(len(train_set), size=64)
        logits = module(torch.from_numpy(train_set.images[rows]))
        return nn.functional.cross_entropy(logits, torch.from_numpy(train_set.labels[rows]))

    plan = Plan(steps=steps, rate=3e-3, warmup=max(steps // 10, 1), average=0.9, every=steps)
    done = train(network, loss, plan, name="conv classifier")
    with torch.no_grad():
        answer = done.network(torch.from_numpy(test.images)).argmax(dim=1).numpy()
    return np.asarray(answer == test.labels, float)
