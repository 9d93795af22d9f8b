r"""One noise level on the clocks of the literature.

=====================  ==========================================================================
:math:`\sigma`         noise relative to the signal: :math:`x_t = s_t (x_0 + \sigma\varepsilon)`
VE                     :math:`s_t = 1`
VP                     :math:`s_t^2 = \bar\alpha = 1/(1+\sigma^2)`
Ornstein-Uhlenbeck     :math:`x_t = e^{-t}x_0 + \sqrt{1-e^{-2t}}\,z`, so
                       :math:`t = \tfrac12\ln(1+\sigma^2)` and :math:`\bar\alpha = e^{-2t}`
=====================  ==========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import number, reals
from hierdiff.errors import InvalidParameter

__all__ = [
    "Threshold",
    "ou_sigma",
    "ou_time",
    "positive_level",
    "positive_scale",
    "vp_alpha_bar",
    "vp_sigma",
]

Floats: TypeAlias = NDArray[np.float64]


_RANGE = (1e-150, 1e150)  # of sigma and of scales: squares and their inverses are normal numbers


def positive_level(sigma: float) -> float:
    """``sigma`` as a float, once it is known to lie in the range of noise levels."""
    level = number("sigma", sigma, above=0)
    if not _RANGE[0] <= level <= _RANGE[1]:
        raise InvalidParameter(
            f"sigma = {sigma} must lie in [{_RANGE[0]:g}, {_RANGE[1]:g}], where its square is an"
            " ordinary number; take the limit, or other units"
        )
    return level


def positive_scale(scale: float) -> float:
    """``scale`` of the noisy data as a float, within the same range."""
    value = number("scale", scale, above=0)
    if not _RANGE[0] <= value <= _RANGE[1]:
        raise InvalidParameter(
            f"scale = {scale} must lie in [{_RANGE[0]:g}, {_RANGE[1]:g}]; choose other units"
        )
    return value


def _ranged(name: str, value: ArrayLike, low: float, high: float) -> Floats:
    return reals(name, value, low, high, infinite=not np.isfinite(high))


def ou_time(sigma: ArrayLike) -> Floats:
    r"""Ornstein-Uhlenbeck time :math:`t = \frac12\ln(1+\sigma^2)` of a noise level.

    Parameters
    ----------
    sigma : array_like
        Noise relative to the signal, >= 0.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For negative or NaN levels.

    Notes
    -----
    Validity: exact; inverse of :func:`ou_sigma`.

    Examples
    --------
    >>> float(ou_time(1.0).round(6))
    0.346574
    """
    levels = _ranged("sigma", sigma, 0, np.inf)
    # sigma^2 overflows where ln(1 + sigma^2) = 2 ln sigma to all digits
    far = np.log(np.maximum(levels, 1.0))
    near = 0.5 * np.log1p(np.minimum(levels, 1e8) ** 2)
    return cast(Floats, np.where(levels < 1e8, near, far))


def ou_sigma(time: ArrayLike) -> Floats:
    r"""Noise level :math:`\sigma = \sqrt{e^{2t}-1}` at an Ornstein-Uhlenbeck time.

    Parameters
    ----------
    time : array_like
        t >= 0.

    Returns
    -------
    array of the shape of ``time``

    Raises
    ------
    InvalidParameter
        For negative or NaN times.

    Notes
    -----
    Validity: exact; inverse of :func:`ou_time`.
    """
    times = _ranged("time", time, 0, np.inf)
    with np.errstate(over="ignore"):  # beyond t = 354 the level is infinite
        return cast(Floats, np.sqrt(np.expm1(2 * times)))


def vp_alpha_bar(sigma: ArrayLike) -> Floats:
    r"""Signal power :math:`\bar\alpha = 1/(1+\sigma^2)` of the variance-preserving process.

    Parameters
    ----------
    sigma : array_like
        Noise relative to the signal, >= 0.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For negative or NaN levels.

    Notes
    -----
    Validity: exact; ``GaussianNoise.alpha_bar(t)`` is this quantity.
    """
    levels = _ranged("sigma", sigma, 0, np.inf)
    with np.errstate(over="ignore"):  # beyond 1e154 the power is 0
        return 1 / (1 + levels**2)


def vp_sigma(alpha_bar: ArrayLike) -> Floats:
    r"""Noise level :math:`\sigma = \sqrt{1/\bar\alpha - 1}` at a signal power.

    Parameters
    ----------
    alpha_bar : array_like
        In [0, 1]; 0 gives infinite noise.

    Returns
    -------
    array of the shape of ``alpha_bar``

    Raises
    ------
    InvalidParameter
        Outside [0, 1].

    Notes
    -----
    Validity: exact; inverse of :func:`vp_alpha_bar`.

    Examples
    --------
    >>> vp_sigma([1.0, 0.5, 0.2])
    array([0., 1., 2.])
    """
    power = _ranged("alpha_bar", alpha_bar, 0, 1)
    with np.errstate(divide="ignore"):
        return cast(Floats, np.sqrt(1 / power - 1))


@dataclass(frozen=True)
class Threshold:
    """A noise level where something changes, on every clock.

    Parameters
    ----------
    sigma : float
        Noise relative to the signal (VE).

    Notes
    -----
    Validity: exact conversions.

    Examples
    --------
    >>> Threshold(2.0).alpha_bar, round(Threshold(2.0).time, 6)
    (0.2, 0.804719)
    """

    sigma: float

    @property
    def time(self) -> float:
        """Ornstein-Uhlenbeck time."""
        return float(ou_time(self.sigma))

    @property
    def alpha_bar(self) -> float:
        """Signal power of the variance-preserving process."""
        return float(vp_alpha_bar(self.sigma))

    @property
    def snr(self) -> float:
        """Signal-to-noise ratio, 1 / sigma^2."""
        return self.sigma**-2
