r"""Noise levels: in the conventions of the literature (VE, VP, Ornstein-Uhlenbeck), and combined.

=====================  ==========================================================================
:math:`\sigma`         noise relative to the signal: :math:`x_t = s_t (x_0 + \sigma\varepsilon)`
VE                     :math:`s_t = 1`
VP                     :math:`s_t^2 = \bar\alpha = 1/(1+\sigma^2)`
Ornstein-Uhlenbeck     :math:`x_t = e^{-t}x_0 + \sqrt{1-e^{-2t}}\,z`, so
                       :math:`t = \tfrac12\ln(1+\sigma^2)` and :math:`\bar\alpha = e^{-2t}`
=====================  ==========================================================================

Copies :math:`y_i = x_0 + \sigma_i\varepsilon_i` with independent noises have one sufficient
statistic, whose signal-to-noise ratio is the sum of theirs,

.. math:: \bar y = \sigma^2 \sum_i \sigma_i^{-2} y_i = x_0 + \sigma\varepsilon, \qquad
   \sigma^{-2} = \sum_i \sigma_i^{-2}, \qquad E[x_0 \mid y_1, y_2, \dots] = D(\bar y; \sigma) .
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, check_fields, checked, number, reals
from hierdiff.errors import InvalidParameter

__all__ = ["Threshold", "combined_sigma", "ou_sigma", "ou_time", "vp_alpha_bar", "vp_sigma"]

Floats: TypeAlias = NDArray[np.float64]

_LARGE = 1e150  # of a length: its square is a float
_LATEST = 709.0  # exp of it is a float


def positive_level(sigma: float) -> float:
    """``sigma`` as a float, once it is known that it and its square are finite and above zero."""
    try:
        # the square, its inverse and products of both with data must stay numbers
        return number("sigma", sigma, 1e-140, 1e140)
    except InvalidParameter:
        words = " ".join(str(sigma).split())[:60]
        raise InvalidParameter(
            f"sigma = {words} must be finite and > 0, from 1e-140 to 1e140; raise the noise level"
        ) from None


def positive_scale(scale: float) -> float:
    """``scale`` of noisy data as a float, within the same range as ``sigma``."""
    return number("scale", scale, 1e-140, 1e140)


def _ranged(name: str, value: ArrayLike, low: float, high: float, remedy: str) -> Floats:
    found = array(name, value).astype(float, copy=False)
    wrong = ~((found >= low) & (found <= high))
    if wrong.any():
        raise InvalidParameter(
            f"{name} = {found[wrong].flat[0]} must lie in [{low:g}, {high:g}]; {remedy}"
        )
    return found


@checked
def combined_sigma(sigma: ArrayLike) -> float:
    r"""Noise level of copies with independent noises, :math:`(\sum_i \sigma_i^{-2})^{-1/2}`.

    Parameters
    ----------
    sigma : array [k]
        Noise levels of the copies, > 0, relative to the signal.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For no level, or one that is not from 1e-140 to 1e140.

    Notes
    -----
    Validity: exact for any data.  The likelihood of :math:`x_0` depends on the copies through
    :math:`\bar y` alone, so whatever is inferred from all of them, the posterior mean and the class
    included, is what one datum at this level gives.

    Examples
    --------
    >>> round(combined_sigma([0.6, 0.8]), 9)
    0.48
    """
    levels = reals("sigma", sigma, 1e-140, 1e140, ndim=1, least=1)
    least = float(levels.min())  # in units of the smallest, no square leaves float64
    return float(least / np.sqrt(((least / levels) ** 2).sum()))


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
    levels = _ranged("sigma", sigma, 0, np.inf, "noise is no negative length")
    far = levels > _LARGE  # the square is beyond float64, the one beside it below its rounding
    with np.errstate(over="ignore"):
        power: Floats = 0.5 * np.log1p(levels**2)
    return np.where(far, np.log(np.where(far, levels, 1.0)), power) if far.any() else power


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
        For negative or NaN times, or finite ones above 709, whose sigma is beyond float64.

    Notes
    -----
    Validity: exact; inverse of :func:`ou_time`.
    """
    times = _ranged("time", time, 0, np.inf, "the process starts at 0")
    beyond = (times > _LATEST) & (times < np.inf)
    if beyond.any():
        raise InvalidParameter(
            f"time = {times[beyond].flat[0]} gives a sigma beyond float64; give times up to "
            f"{_LATEST:g}, or inf"
        )
    far = times > _LATEST / 2
    with np.errstate(over="ignore"):
        near = cast(Floats, np.sqrt(np.expm1(2 * times)))
        return np.where(far, np.exp(times), near) if far.any() else near


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
    levels = _ranged("sigma", sigma, 0, np.inf, "noise is no negative length")
    with np.errstate(over="ignore"):  # an infinite square leaves no signal
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
    power = _ranged("alpha_bar", alpha_bar, 0, 1, "it is a share of power")
    faint = power < 1 / _LARGE**2
    with np.errstate(divide="ignore", over="ignore"):
        near = cast(Floats, np.sqrt(1 / power - 1))
        return np.where(faint, 1 / np.sqrt(power), near) if faint.any() else near


@dataclass(frozen=True)
class Threshold:
    """A noise level where something changes, in every convention.

    Parameters
    ----------
    sigma : float
        Noise relative to the signal (VE), >= 0; may be infinite.

    Raises
    ------
    InvalidParameter
        If sigma is negative, NaN or no number.

    Notes
    -----
    Validity: exact conversions.

    Examples
    --------
    >>> Threshold(2.0).alpha_bar, round(Threshold(2.0).time, 6)
    (0.2, 0.804719)
    """

    sigma: float

    def __post_init__(self) -> None:
        check_fields(self, sigma=partial(number, low=0, infinite=True))

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
        return self.sigma**-2 if self.sigma > 1 / _LARGE else np.inf
