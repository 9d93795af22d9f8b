r"""Noise conditioning: the number c_noise that a network is given, as a function of the SNR.

=================  =============================================================================
conditioning       c_noise
=================  =============================================================================
DiscreteSchedule   index of the schedule of the network, linear in log SNR between indices
LogSNR             natural logarithm of the SNR
Sigma              1 / sqrt(snr), noise over signal amplitude (EDM)
FlowTime           1 / (1 + sqrt(snr)), the mixing weight of a rectified flow
NoiseLevel         t of a Gaussian process of this package
=================  =============================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hierdiff._lazy import renamed
from hierdiff.checks import FloatArray, check_fields, checked, snr_of
from hierdiff.noise import NoiseProcess, SignalNoise, has_snr
from hierdiff.validation.diffusion.parameterisation import Parameterisation
from hierdiff.validation.diffusion.schedules import DiscreteSchedule

__all__ = ["FlowTime", "LogSNR", "NoiseConditioning", "NoiseLevel", "Sigma", "default_conditioning"]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(
        __name__, {"Clock": "NoiseConditioning", "default_clock": "default_conditioning"}
    )


class NoiseConditioning(Protocol):
    """A function from the SNR to the time that a network is given."""

    def time(self, snr: ArrayLike) -> FloatArray:
        """Time of the network at these ratios."""


@dataclass(frozen=True)
class LogSNR:
    """The natural logarithm of the SNR, cut to +-limit."""

    limit: float = 20.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Log SNR; 0 and inf become the limits."""
        with np.errstate(divide="ignore"):
            return np.clip(np.log(snr_of(snr)), -self.limit, self.limit)


@dataclass(frozen=True)
class Sigma:
    """The noise level sigma of networks on x0 + sigma * noise (EDM)."""

    largest: float = 80.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Noise over signal amplitude, at most ``largest``."""
        with np.errstate(divide="ignore"):
            return np.minimum(1 / np.sqrt(snr_of(snr)), self.largest)


@dataclass(frozen=True)
class FlowTime:
    """The time scale * tau of rectified flows x = (1 - tau) x0 + tau * noise."""

    scale: float = 1.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Scale / (1 + sqrt(snr)): 0 clean, ``scale`` pure noise."""
        return np.asarray(self.scale / (1 + np.sqrt(snr_of(snr))))


@dataclass(frozen=True)
class NoiseLevel:
    """The level scale * t of a Gaussian process."""

    noise: SignalNoise
    scale: float = 1.0

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    def time(self, snr: ArrayLike) -> FloatArray:
        """Level t of the process, times ``scale``."""
        return np.asarray(self.scale * self.noise.level(snr))


@checked
def default_conditioning(
    parameterisation: Parameterisation, noise: NoiseProcess
) -> NoiseConditioning:
    """The noise conditioning of networks of a kind, unless another is given.

    Parameters
    ----------
    parameterisation : Parameterisation
        What the network predicts.
    noise : NoiseProcess
        Its ``schedule``, where it has one, names that of the network.

    Returns
    -------
    NoiseConditioning
        Log SNR for "logits", and where there is no SNR or no known schedule; 1 / sqrt(snr) at scale
        "ve"; the mixing weight for "flow"; else the index of the linear or cosine schedule of
        1,000 levels.

    Notes
    -----
    Validity: conventions of the papers that introduced each; a network trained otherwise needs
    its own.

    Examples
    --------
    >>> from hierdiff import GaussianNoise
    >>> default_conditioning(Parameterisation("eps"), GaussianNoise(schedule="linear"))
    DiscreteSchedule(T=1000, snr=9999..4.036e-05)
    """
    if parameterisation.output == "logits" or not has_snr(noise):
        return LogSNR()
    if parameterisation.scale == "ve":
        return Sigma()
    if "flow" in (parameterisation.output, parameterisation.scale):
        return FlowTime()
    schedule = getattr(noise, "schedule", None)
    if schedule == "linear":
        return DiscreteSchedule.linear()
    return DiscreteSchedule.cosine() if schedule == "cosine" else LogSNR()
