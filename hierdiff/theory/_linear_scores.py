r"""Two Gaussian classes of one covariance: the denoising classifier is a linear discriminant.

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
:math:`\lambda_j`      eigenvalues of the shared covariance
:math:`D_j`            distance of the two means along eigenvector j
:math:`s_j`            +1 if the datum has its mean of class A there, -1 if of class B
:math:`F_j`            weight of direction j in the score, :math:`\int w(t) f_j(t)^2 dt`
:math:`f_j`            :math:`1/(1 + \gamma\lambda_j)`, what noise leaves open of direction j
=====================  =======================================================================

The difference of the scores, class B minus class A, is Gaussian over data and noise:

.. math::
    \Delta = \sum_j F_j (s_j D_j^2 + 2 D_j \tilde x_j) - 2\sum_i w_i \sum_j
        f_{ij}^2\sqrt{\gamma_i}\,\lambda_j D_j \varepsilon_{ij}, \qquad
    P(\Delta > 0) = \Phi\!\Big(\frac{\sum_j F_j s_j D_j^2}
        {2\sqrt{\sum_j F_j^2 D_j^2\lambda_j + \sum_i w_i^2 \sum_j \gamma_i\lambda_j^2 f_{ij}^4
        D_j^2}}\Big).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from hierdiff.checks import checked, memory, nonnegative, number, reals, sound, together
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory._class_inputs import weights_at
from hierdiff.theory._weightings import snr_at

__all__ = [
    "band_weights",
    "crossover",
    "cue_conflict",
    "design_accuracy",
    "effective_weights",
    "linear_accuracy",
]

Floats: TypeAlias = NDArray[np.float64]

# Gauss-Legendre panels in t, finest at both ends; the narrowest feature is the smallest lambda's
_PANELS, _NODES = 64, 16


@checked
@sound
def effective_weights(eigenvalues: ArrayLike, weight: Callable[[Floats], Floats]) -> Floats:
    r"""Weight of every direction in the score of a weighting.

    .. math:: F_j = \int_0^1 w(t)\, (1 + \gamma(t)\lambda_j)^{-2} dt

    Parameters
    ----------
    eigenvalues : array [D]
        :math:`\lambda_j` > 0.
    weight : callable
        Weight as a function of t in (0, 1), see :func:`weighting`.

    Returns
    -------
    array [D]

    Raises
    ------
    InvalidParameter
        If an eigenvalue is not positive, or the weight no finite function of t.

    Notes
    -----
    Validity: exact for any covariance, by quadrature; the published likelihood weight gives
    :math:`1/\lambda_j`, Mahalanobis' distance, and with it linear discriminant analysis.

    Examples
    --------
    >>> from hierdiff.theory._weightings import weighting
    >>> effective_weights([0.02, 1.0], weighting("vdm")).round(6).tolist()
    [50.0, 1.0]
    """
    lam = _positive(eigenvalues)
    memory(
        f"{lam.size} eigenvalues at {_PANELS * _NODES} times", 16.0 * lam.size * _PANELS * _NODES
    )
    edges = np.sin(np.linspace(0, np.pi / 2, _PANELS + 1)) ** 2
    x, dx = np.polynomial.legendre.leggauss(_NODES)
    width = np.diff(edges)[:, None]
    t, dt = (edges[:-1, None] + width * (x + 1) / 2).ravel(), (width * dx / 2).ravel()
    left = (1 + snr_at(t)[:, None] * lam) ** -2
    return np.asarray((dt * weights_at(weight, t)) @ left)


@checked(low=partial(number, low=0), high=partial(number, infinite=True))
@sound
def band_weights(eigenvalues: ArrayLike, low: float, high: float) -> Floats:
    r"""Weight of every direction if all signal-to-noise ratios between two count equally.

    .. math:: \int_{\gamma_1}^{\gamma_2} \frac{d\gamma}{(1 + \gamma\lambda)^2}
        = \frac{\gamma_2 - \gamma_1}{(1 + \gamma_1\lambda)(1 + \gamma_2\lambda)}

    Parameters
    ----------
    eigenvalues : array [D]
    low, high : float
        :math:`0 \le \gamma_1 < \gamma_2`; ``high`` may be infinite.

    Returns
    -------
    array [D]

    Raises
    ------
    InvalidParameter
        If an eigenvalue is not positive, or the ends are negative or not increasing.

    Notes
    -----
    Validity: exact; (0, inf) gives :math:`1/\lambda` and hence Bayes' rule.

    Examples
    --------
    >>> band_weights([0.02, 1.0], 0.0, np.inf).tolist()
    [50.0, 1.0]
    >>> band_weights([0.02, 1.0], 0.0, 1.0).round(4).tolist()
    [0.9804, 0.5]
    """
    lam = _positive(eigenvalues)
    if not 0 <= low < high:
        raise InvalidParameter(f"band {low} to {high} must be increasing and start at >= 0")
    if np.isinf(high):
        return np.asarray(1 / (lam * (1 + low * lam)))
    return np.asarray((high - low) / ((1 + low * lam) * (1 + high * lam)))


@checked
@sound
def linear_accuracy(
    eigenvalues: ArrayLike, gaps: ArrayLike, weights: ArrayLike, signs: ArrayLike = 1.0
) -> float:
    r"""How often class A is chosen over class B with an unlimited budget.

    .. math:: P = \Phi\Big(\sum_j F_j s_j D_j^2 \Big/ 2\sqrt{\sum_j F_j^2 D_j^2 \lambda_j}\Big)

    Parameters
    ----------
    eigenvalues, gaps, weights : arrays [D]
        :math:`\lambda_j, D_j, F_j`.
    signs : array [D]
        :math:`s_j`; all +1 gives the accuracy, mixed signs the share of A under cue conflict.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        If a number is out of range, shapes do not fit, or no direction has a weight and a gap.

    Notes
    -----
    Validity: exact for two Gaussian classes of one covariance.

    Examples
    --------
    Mahalanobis' weights give linear discriminant analysis, Phi(distance / 2):

    >>> round(linear_accuracy([1.0, 4.0], [1.0, 2.0], [1.0, 0.25]), 6)
    0.76025
    """
    lam, gap, weight, sign = _directions(
        eigenvalues=_positive(eigenvalues), gaps=gaps, weights=weights, signs=signs
    )
    spread = 2 * np.sqrt((weight**2 * gap**2 * lam).sum())
    if not spread > 0:
        raise InvalidParameter("weights times gaps vanish everywhere; no direction tells A from B")
    return float(stats.norm.cdf((weight * sign * gap**2).sum() / spread))


@checked(snr=nonnegative)
@sound
def design_accuracy(
    eigenvalues: ArrayLike,
    gaps: ArrayLike,
    weights: ArrayLike,
    snr: ArrayLike,
    signs: ArrayLike = 1.0,
) -> float:
    r"""How often class A is chosen over class B with given noise levels and shared noise.

    Parameters
    ----------
    eigenvalues, gaps : arrays [D]
        :math:`\lambda_j, D_j`.
    weights, snr : arrays [N]
        Weight :math:`w_i` and ratio :math:`\gamma_i` of each of the N samples.
    signs : array [D]
        As in :func:`linear_accuracy`.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        If a number is out of range, shapes do not fit, or all weights vanish.

    Notes
    -----
    Validity: exact at every budget for two Gaussian classes of one covariance, because the
    difference of the scores is linear in the noise.  Noise levels are part of the design; if they
    are drawn, this is the accuracy given the draw.

    Examples
    --------
    One sample at ratio 1, and a thousand:

    >>> [round(design_accuracy([1.0], [2.0], np.ones(n), np.ones(n)), 4) for n in (1, 1000)]
    [0.7602, 0.8412]
    """
    lam, gap, sign = _directions(eigenvalues=_positive(eigenvalues), gaps=gaps, signs=signs)
    w, gamma = _directions(weights=weights, snr=snr)
    if not w.ndim:
        raise InvalidParameter("weights and snr are single numbers; give one of each per sample")
    memory(f"{w.size} samples in {lam.size} directions", 32.0 * w.size * lam.size)
    left = 1 / (1 + gamma[:, None] * lam)
    total = w @ left**2
    noise = (w**2) @ (gamma[:, None] * lam**2 * left**4 @ gap**2)
    spread = 2 * np.sqrt((total**2 * gap**2 * lam).sum() + noise)
    if not spread > 0:
        raise InvalidParameter("weights vanish at all noise levels; choose levels where w(t) > 0")
    return float(stats.norm.cdf((total * sign * gap**2).sum() / spread))


@checked(sigma2=nonnegative)
@sound
def cue_conflict(
    sigma2: ArrayLike, eigenvalues: ArrayLike, gaps: ArrayLike, signs: ArrayLike
) -> Floats:
    r"""Mean difference of the scores at one noise level; > 0 is the class of the +1 directions.

    .. math:: D(\sigma) = \sum_j s_j\, \Big(\frac{\sigma^2}{\lambda_j + \sigma^2}\Big)^2 D_j^2

    Parameters
    ----------
    sigma2 : array
        :math:`\sigma^2 = 1/\gamma`.
    eigenvalues, gaps, signs : arrays [D]

    Returns
    -------
    array of the shape of ``sigma2``

    Raises
    ------
    InvalidParameter
        If a number is out of range or shapes do not fit.

    Notes
    -----
    Validity: exact for two Gaussian classes of one covariance.  With small :math:`\lambda` in
    texture, low noise favours texture and high noise whichever gap is larger.

    Examples
    --------
    >>> cue_conflict([0.1, 10.0], [1.0, 0.02], [2**0.5, 0.6**0.5], [1, -1]).round(4).tolist()
    [-0.4001, 1.0553]
    """
    s2 = reals("sigma2", sigma2)[..., None]
    lam, gap, sign = _directions(eigenvalues=_positive(eigenvalues), gaps=gaps, signs=signs)
    memory(f"{s2.size} noise levels in {lam.size} directions", 24.0 * s2.size * lam.size)
    left = (s2 / (lam + s2)) ** 2
    return np.asarray((left * sign * gap**2).sum(axis=-1))


@checked
@sound
def crossover(eigenvalues: ArrayLike, gaps: ArrayLike, signs: ArrayLike) -> float:
    r"""Noise :math:`\sigma^2` at which the preferred cue changes, :math:`D(\sigma) = 0`.

    Parameters
    ----------
    eigenvalues, gaps, signs : arrays [D]
        As in :func:`cue_conflict`.

    Returns
    -------
    float

    Raises
    ------
    NoTransition
        If one cue wins at every noise level.

    Notes
    -----
    Validity: exact; the crossing is the only one if all eigenvalues of a cue are equal.

    Examples
    --------
    >>> round(crossover([1.0, 0.02], [2**0.5, 0.6**0.5], [1, -1]), 4)
    1.1668
    """
    lam = _positive(eigenvalues)
    # divided by sigma^4 below the spectrum, so that both ends keep their limits
    grid = np.geomspace(1e-6 * lam.min(), 1e6 * lam.max(), 4001)
    values = cue_conflict(grid, lam, gaps, signs)
    change = np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)
    if not change.size:
        raise NoTransition("one cue wins at every noise level; there is no crossover")
    low, high = grid[change[0]], grid[change[0] + 1]

    def at(log_s2: float) -> float:
        return float(cue_conflict(np.exp(log_s2), lam, gaps, signs))

    return float(np.exp(optimize.brentq(at, np.log(low), np.log(high), xtol=1e-14)))


def _positive(eigenvalues: ArrayLike) -> Floats:
    lam = reals("eigenvalues", eigenvalues, ndim=(0, 1))
    # grids of noise levels run six decades beyond the spectrum
    if not (lam.size and (lam >= 1e-100).all() and (lam <= 1e100).all()):
        raise InvalidParameter(
            "eigenvalues must be finite and > 0, from 1e-100 to 1e100; give texture some variance"
        )
    return lam


def _directions(**values: ArrayLike) -> tuple[Floats, ...]:
    """Arrays [D] of one length; a number stands for all directions."""
    found = {name: reals(name, x, ndim=(0, 1)) for name, x in values.items()}
    together(**found)
    return tuple(np.broadcast_arrays(*found.values()))
