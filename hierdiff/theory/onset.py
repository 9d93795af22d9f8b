r"""Limits of the SNR, and when it rises at all as noise is added.

.. math::
    \frac{d\ln\mathrm{SNR}}{d\sigma^2}\Big|_0 = (\delta^{-2} - 1)(2G - 1), \qquad
    G = \frac{E[w_kA]}{E[A]} - \frac{E[w_lB]}{E[B]},

=============  ==================================================================================
:math:`G`      energy-weighted confidence: 1 if the class is certain, 0 if it is unknown
:math:`A, B`   energy of the datum in the block of the true class, and of another
=============  ==================================================================================

so the curve has a peak away from zero noise if and only if G > 1/2 there.
"""

from __future__ import annotations

from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from hierdiff.errors import InvalidParameter
from hierdiff.theory._laplace import check, orthogonal, weight_moments

__all__ = ["confidence_gap", "onset_delta", "onset_slope", "snr_envelope", "snr_limits"]

Floats: TypeAlias = NDArray[np.float64]


@orthogonal
def snr_limits(classes: int, delta: float) -> tuple[float, float]:
    r"""SNR without noise, :math:`1/((K-1)\delta^2)`, and in nothing but noise, 1/(K-1).

    Parameters
    ----------
    classes : int
        K.
    delta : float
        Residual amplitude.

    Returns
    -------
    without_noise, all_noise : float

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

    Notes
    -----
    Validity: exact for any rank.
    """
    check(classes, 1, delta, 1.0)
    return 1 / ((classes - 1) * delta**2) if delta else np.inf, 1 / (classes - 1)


@orthogonal
def snr_envelope(classes: int, delta: float, sigma: ArrayLike) -> Floats:
    r"""SNR if the class were known, :math:`b/((K-1)\delta^4 a)`; it rises with sigma.

    Parameters
    ----------
    classes : int
        K.
    delta : float
        Residual amplitude.
    sigma : float or array
        Noise levels relative to the signal.

    Returns
    -------
    array of the shape of ``sigma``

    Raises
    ------
    InvalidParameter
        Unless 0 < delta <= 1.

    Notes
    -----
    Validity: the limit of infinite rank at fixed sigma; delta > 0.
    """
    if not 0 < delta <= 1:
        raise InvalidParameter(f"delta = {delta} must lie in (0, 1]; without residual SNR diverges")
    v = np.square(np.asarray(sigma, dtype=float))
    return cast(Floats, ((delta**2 + v) / (1 + v)) / ((classes - 1) * delta**4))


@orthogonal
def confidence_gap(classes: int, rank: int, delta: float, sigma: float = 0.0) -> float:
    r"""Energy-weighted class confidence :math:`G = E[w_kA]/E[A] - E[w_lB]/E[B]`, in [0, 1].

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
    float

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

    Notes
    -----
    Validity: exact.
    """
    m = weight_moments(classes, rank, delta, sigma)
    return float(m.own[1] - m.others[0][1]) / rank


@orthogonal
def onset_slope(classes: int, rank: int, delta: float) -> float:
    r"""Slope :math:`d\,\mathrm{SNR}/d\sigma^2 = (\delta^{-2}-1)(2G-1)/((K-1)\delta^2)` at 0.

    Parameters
    ----------
    classes : int
        K.
    rank : int
        d.
    delta : float
        Residual amplitude.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

    Notes
    -----
    Validity: exact, delta > 0; the SNR rises from sigma = 0 if and only if G > 1/2.
    """
    if delta == 0:
        raise InvalidParameter("delta = 0: the SNR is infinite without noise; give delta > 0")
    rise = (1 / delta**2 - 1) * (2 * confidence_gap(classes, rank, delta) - 1)
    return rise * snr_limits(classes, delta)[0]


@orthogonal
def onset_delta(classes: int, rank: int) -> float:
    """Residual amplitude above which the SNR falls from sigma = 0 on: root of G(delta) = 1/2.

    Parameters
    ----------
    classes : int
        K.
    rank : int
        d.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For parameters out of the ranges of :mod:`hierdiff.theory.representation`.

    Notes
    -----
    Validity: exact for the population.

    Examples
    --------
    >>> round(onset_delta(3, 5), 7)
    0.6592329
    """
    check(classes, rank, 0.5, 0.0)
    root = brentq(lambda x: confidence_gap(classes, rank, x) - 0.5, 1e-3, 1 - 1e-6, xtol=1e-12)
    return float(root)
