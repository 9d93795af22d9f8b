r"""A network on one-hot leaves as the diffusion model of an RHM with Gaussian emissions.

A Gaussian emission with noise is a one-hot leaf with more noise, so that a network trained on
one-hot leaves denoises Gaussian emissions as well:

.. math::
    x_0 = e_a + \tau\eta, \quad x_t = \alpha x_0 + \sigma\varepsilon
    \;\Rightarrow\; \gamma' = \frac{\gamma}{1 + \gamma\tau^2}, \qquad
    \hat x_c = \kappa\,(q_c + \tau^2 \tfrac{\gamma}{\alpha} x_t), \quad
    \kappa = \frac1{1+\gamma\tau^2},

with :math:`q_c` the network's belief in the symbols at signal-to-noise ratio :math:`\gamma'`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    integers,
    levels_of,
    precision,
    shown,
    unchecked,
)
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, has_snr
from hierdiff.seeds import Seed, generator
from hierdiff.sims.metrics.denoising_error import errors_by_class
from hierdiff.theory.zero_shot.inputs import (
    checked_classes,
    checked_data,
    checked_noise,
    checked_ratios,
)
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.validation.adapter import NetworkModel

__all__ = ["GaussianRHMNetwork"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class GaussianRHMNetwork:
    """A network on one-hot leaves as the diffusion model of Gaussian emissions.

    Parameters
    ----------
    network : NetworkModel
        Trained on the grammar of the data with Gaussian noise, with labels.
    data : GaussianRHM
        For the exact density, Bayes' ceiling and posterior; nothing of it enters the denoiser.
    label : int, or int array [n], optional
        The class that the network is conditioned on.

    Raises
    ------
    InvalidParameter
        If the noise is not Gaussian.

    Notes
    -----
    Validity: the change of noise level is exact; the beliefs are the network's.
    """

    network: NetworkModel
    data: GaussianRHM
    label: Any = None

    source = "network"
    noise = GaussianNoise()

    def __post_init__(self) -> None:
        check_fields(self, network=unchecked, label=unchecked)
        if not callable(getattr(self.network, "given", None)):
            raise InvalidParameter(
                f"network = {shown(self.network)} has no method given(label); give a conditional "
                "NetworkModel"
            )
        if self.label is not None:
            integers("label", self.label, 0, self.n_classes - 1, ndim=(0, 1))
        if not has_snr(self.network.noise):
            raise InvalidParameter(
                f"{self.network.noise.name} noise has no Gaussian emissions; train with "
                "GaussianNoise"
            )

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.data.n_classes

    @property
    def prior(self) -> Array:
        """Probability of every class."""
        return self.data.prior

    def log_density(self, x0: ArrayLike) -> Array:
        """Of the data model, for Bayes' ceiling."""
        return self.data.log_density(x0)

    def given(self, label: Any) -> GaussianRHMNetwork:
        """The network conditioned on a class, or one per datum; None is the null embedding."""
        return replace(self, label=label)

    def denoise(self, x_t: ArrayLike, t: ArrayLike) -> Array:
        """The network's posterior mean [n, leaves, v] of the emissions."""
        return self._at_snr(x_t, self._ratio(x_t, t))

    def sample(self, x_t: ArrayLike, t: ArrayLike, seed: Seed) -> Array:
        """Emissions [n, leaves, v]: the network's symbols, then a Gaussian about each."""
        rng = generator(seed)
        x, hard, level, kappa, gain = self._as_leaves(x_t, self._ratio(x_t, t))
        symbols = self._given.sample(hard, level, rng)
        mean = kappa * (np.eye(x.shape[2])[symbols] + self.data.tau**2 * gain * x)
        out: Array = mean + self.data.tau * np.sqrt(kappa) * rng.standard_normal(x.shape)
        return out

    def features(self, x_t: ArrayLike, t: ArrayLike) -> dict[str, Array]:
        """The network's activations."""
        _, hard, level, _, _ = self._as_leaves(x_t, self._ratio(x_t, t))
        return self._given.features(hard, level)

    @checked(dtype=precision)
    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: Sequence[int] | None = None, dtype: DTypeLike = np.float64,
    ) -> Array:  # fmt: skip
        """Denoising errors [n, classes], at the SNR itself rather than at a noise level of it."""
        x, wanted = checked_data(x0, self.data.shape), checked_classes(classes, self.n_classes)
        eps, ratio = checked_noise(noise, x), checked_ratios(snr, len(x))
        return errors_by_class(
            lambda x_t, r, c: self.given(c)._at_snr(x_t, r), x, eps, ratio, wanted, dtype
        )

    @property
    def _given(self) -> NetworkModel:
        return self.network.given(self.label)

    def _ratio(self, x_t: ArrayLike, t: ArrayLike) -> Array:
        """SNR of noise levels, between the limits of double precision."""
        n = len(checked_data(x_t, self.data.shape))
        return np.clip(self.noise.snr(levels_of(t, n)), 1e-16, 1e16)

    def _as_leaves(self, x_t: ArrayLike, snr: ArrayLike) -> tuple[Array, ...]:
        """Emissions as one-hot leaves of more noise: data, leaves, level, kappa, gain."""
        x, tau = checked_data(x_t, self.data.shape).astype(float, copy=False), self.data.tau
        ratio = checked_ratios(snr, len(x))
        kappa = 1 / (1 + ratio * tau**2)
        # power of a coordinate's signal part plus noise is made one again
        scale = np.sqrt((1 + ratio) / (1 + ratio * (1 + tau**2)))
        level = cast(GaussianNoise, self.network.noise).level(kappa * ratio)
        gain = (np.sqrt(ratio) * np.sqrt(1 + ratio))[:, None, None]
        return x, x * scale[:, None, None], level, kappa[:, None, None], gain

    def _at_snr(self, x_t: ArrayLike, snr: ArrayLike) -> Array:
        x, hard, level, kappa, gain = self._as_leaves(x_t, snr)
        beliefs = self._given.denoise(hard, level)
        out: Array = kappa * (beliefs + self.data.tau**2 * gain * x)
        return out
