r"""The paper's closed form of the SNR, and the same factors read off the exact one.

With :math:`a = 1+\sigma^2` and :math:`b = \delta^2+\sigma^2`,

.. math::
    \mathrm{SNR} = \frac{a/b}{K-1}\Big[\frac{1+(\sigma^2/\delta^2)h_+}
    {1+(\sigma^2/\delta^2)h_-}\Big]^2, \qquad h_\pm = (1-\delta^2)w_\pm + \delta^2 .

================================  =============================================================
:math:`\sigma^2/\delta^2`         denoising rate, which rises with noise
:math:`h_+, h_-`                  confidence in the true class, confusion with another
:math:`w_\pm`                     weights at the mean log-odds (mean field), or those that give
                                  each block its mean-square gain (exact)
================================  =============================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.theory._laplace import (
    answer,
    check,
    energies,
    orthogonal,
    squared_gain,
    weight_moments,
)

__all__ = ["Decomposition", "decompose", "mean_field_exponent", "snr_mean_field"]

Floats: TypeAlias = NDArray[np.float64]

_EXPONENT = 350.0  # exp(-350) squared is a number


class Decomposition(NamedTuple):
    r"""Factors of SNR = :math:`\frac{C}{K-1}\big[\frac{1+\rho h_+}{1+\rho h_-}\big]^2`."""

    noise_ratio: float
    denoising_rate: float
    confidence: float
    confusion: float


@orthogonal
def mean_field_exponent(rank: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""Mean log-odds given the class, :math:`\Delta = d(1-\delta^2)^2/(2ab)`.

    Parameters
    ----------
    rank : int
        d.
    delta : float
        Residual amplitude.
    sigma : float or array
        Noise levels relative to the signal.

    Returns
    -------
    array of the shape of ``sigma``

    Notes
    -----
    Validity: exact as a mean for noisy input.
    """
    v = np.square(np.asarray(sigma, dtype=float))
    if delta == 0 and not np.all(v):
        raise InvalidParameter("delta = sigma = 0: the log-odds are infinite; raise one of them")
    return cast(Floats, rank * (1 - delta**2) ** 2 / (2 * (1 + v)) / (delta**2 + v))


@orthogonal
def snr_mean_field(
    classes: int,
    rank: int,
    delta: float,
    sigma: ArrayLike,
    *,
    exponent: Callable[[int, float, ArrayLike], Floats] = mean_field_exponent,
) -> Floats:
    r"""The paper's closed form (Theorem 1): the expectation moved inside the softmax.

    .. math::
        \frac{a/b}{K-1}\Big[\frac{1+(\sigma^2/\delta^2)h_+}{1+(\sigma^2/\delta^2)h_-}\Big]^2,
        \quad h_\pm = (1-\delta^2)w_\pm + \delta^2, \quad
        w_+ = \frac{1}{1+(K-1)e^{-\Delta}},\ w_- = e^{-\Delta} w_+ .

    Parameters
    ----------
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.
    sigma : float or array
        Noise levels relative to the signal.
    exponent : callable
        Mean log-odds as a function of rank, delta and sigma.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

    Notes
    -----
    Validity: right shape, wrong peak (K = 3, d = 5, delta = 0.2: 76.0 in place of 30.8); exact
    without noise and in nothing but noise.  Clean input: a/b becomes 1/delta^2.

    Examples
    --------
    >>> snr_mean_field(3, 5, 0.2, [0.585]).round(8)
    array([75.23362896])
    """
    v = np.square(np.asarray(sigma, dtype=float))
    check(classes, rank, delta, float(np.sqrt(np.min(v, initial=1.0))))
    a, b = 1 + v, delta**2 + v
    with np.errstate(divide="ignore", under="ignore"):
        gain = answer("exponent", exponent, rank, delta, sigma)
        odds = np.exp(-np.minimum(gain, _EXPONENT))
        sure = 1 / (1 + (classes - 1) * odds)
        # zeta w + xi (1 - w) times b, which drops out; fit for delta = 0
        high, low = (w * (b / a) + (1 - w) * delta**2 for w in (sure, odds * sure))
    found = np.divide(a * high**2, (classes - 1) * b * low**2, out=np.full(v.shape, np.inf),
                      where=low > 0)  # fmt: skip
    if not np.isfinite(found).all():
        raise InvalidParameter(
            f"delta = {delta}: at sigma = {np.asarray(sigma)[~np.isfinite(found)].flat[0]} the SNR"
            " is beyond the range of floats; raise one of them"
        )
    return cast(Floats, found[()])


@orthogonal
def decompose(classes: int, rank: int, delta: float, sigma: float) -> Decomposition:
    r"""Split the exact SNR into denoising rate and class confidence; 0 < delta < 1, sigma > 0.

    ``noise_ratio`` a/b, ``denoising_rate`` :math:`\sigma^2/\delta^2`; ``confidence`` (true class)
    and ``confusion`` (another) are :math:`h = (1-\delta^2)w+\delta^2` at the weight w that gives
    the block its mean-square gain.

    Parameters
    ----------
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.
    sigma : float
        Noise level relative to the signal.

    Returns
    -------
    Decomposition

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

    Notes
    -----
    Validity: exact, to 1e-15 delta^2 / sigma^2; the mean field has the same form with the weights
    of the mean log-odds.

    Examples
    --------
    >>> f = decompose(3, 5, 0.2, 0.296)
    >>> round(f.noise_ratio / 2 * (
    ...     (1 + f.denoising_rate * f.confidence) / (1 + f.denoising_rate * f.confusion)) ** 2, 9)
    30.219653134
    """
    if not (0 < delta < 1 and sigma > 0):
        raise InvalidParameter(
            f"delta = {delta}, sigma = {sigma}: the split needs 0 < delta < 1 and sigma > 0"
        )
    if sigma < 1e-5 * delta:  # rounding errors are divided by (sigma / delta)^2
        raise InvalidParameter(
            f"sigma = {sigma} is {sigma / delta:.3g} of delta = {delta}, where rounding hides the "
            "split; give 1e-5 of delta or more"
        )
    (a, b), rate = energies(delta, sigma), sigma**2 / delta**2
    m = weight_moments(classes, rank, delta, sigma)
    gains = [np.sqrt(squared_gain(delta, sigma, x) / rank) for x in (m.own, m.others[0])]
    high, low = (float((gain * a * b / delta**2 - 1) / rate) for gain in gains)
    return Decomposition(a / b, rate, high, low)
