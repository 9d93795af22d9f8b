r"""Speciation: the noise level below which a trajectory has chosen its class.

==================  ============================================================================
:math:`S_k, m_k`    covariance and mean of class k;  :math:`C_k = S_k + \sigma^2`
:math:`\Lambda`     largest eigenvalue of the covariance of the data, all classes together
:math:`\ell_{kl}`   log-likelihood ratio :math:`\log p(x_t|k) - \log p(x_t|l)`, nats
==================  ============================================================================

Three criteria, and none of them is the others' limit:

.. math::

    \text{spectral:} \quad & \Lambda e^{-2t_S} = 1, \qquad t_S = \tfrac12\ln\Lambda, \qquad
        \sigma_S^2 = \Lambda - 1 \\
    \text{free entropy:} \quad & E[\ell_{kl} \mid k]^2 = \mathrm{Var}[\ell_{kl} \mid k] \\
    \text{instability:} \quad & \text{the centre of the reverse process turns unstable}

The spectral one needs :math:`\Lambda > 1`.  Orthogonal subspaces of unit variance and zero mean
have :math:`\Lambda = (1+(K-1)\delta^2)/K \le 1`: it sees nothing, though the classes do separate,
as the free entropy says.  With :math:`M = C_k^{1/2}C_l^{-1}C_k^{1/2}` and
:math:`\mu = m_k - m_l` (Gaussian classes, any covariances)

.. math::

    E[\ell_{kl}|k] = \tfrac12\big[\mathrm{tr}(M-1) - \log\det M + \mu^TC_l^{-1}\mu\big], \quad
    \mathrm{Var}[\ell_{kl}|k] = \tfrac12\mathrm{tr}(M-1)^2 + \mu^TC_l^{-1}C_kC_l^{-1}\mu .

Instability (symmetry breaking) is a matter of the Jacobian at the centre:

================  ==============================================================================
:math:`u`         signal power :math:`\bar\alpha = 1/(1+\sigma^2)` of the VP process
:math:`j`         largest eigenvalue of :math:`\mathrm{Cov}(x_0|x_t)/\sigma^2` at the centre
================  ==============================================================================

The reverse VP drift per unit of :math:`\beta\,dt` is :math:`x/2 + \nabla\log p_t` for the SDE and
half of :math:`x + \nabla\log p_t` for the probability-flow ODE.  The Jacobian of the score is
:math:`(j-1)/(1-u)` along the leading direction, so the centre is unstable where

.. math::

    \text{SDE:}\quad j > \frac{1+u}2, \qquad\qquad \text{ODE:}\quad j > u .
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit

from hierdiff.checks import checked, fraction, nonnegative, number, unchecked, whole
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.mixture.posterior import denoise, jacobian_spectrum
from hierdiff.theory.mixture.time_change import (
    Threshold,
    positive_level,
)

__all__ = [
    "Reverse",
    "central_instability",
    "first_from_above",
    "log_ratio_moments",
    "pair_confidence",
    "speciation_orthogonal",
    "speciation_time",
    "spectral_strength",
    "two_delta_instability",
]

Floats: TypeAlias = NDArray[np.float64]

_RESOLVED = 1e-14  # of the largest eigenvalue: smaller ones are rounding
_CERTAIN = 20.0  # distance beyond which the other class is left less than 1e-22


@checked
def spectral_strength(mixture: LowRankMixture) -> float:
    r"""Largest eigenvalue of the data's covariance, :math:`\Lambda`.

    Parameters
    ----------
    mixture : LowRankMixture
        Any mixture.

    Returns
    -------
    float

    Notes
    -----
    Validity: exact.  For orthogonal subspaces :math:`(1+(K-1)\delta^2)/K`.

    Examples
    --------
    >>> round(spectral_strength(LowRankMixture.random(15, 5, 3, delta=0.2, seed=0)), 12)
    0.36
    """
    small, _, _ = mixture.compress()
    outside = mixture.delta**2 if mixture.residual == "ambient" else 0.0
    if small.dim == 0:
        return outside
    total = sum(
        w * (small.covariance(k) + np.outer(m, m))
        for k, (w, m) in enumerate(zip(small.weights, small.means, strict=True))
    )
    full = mixture.dim > small.dim
    return max(float(np.linalg.eigvalsh(total)[-1]), outside if full else 0.0)


@checked(pair=unchecked)
def speciation_time(
    mixture: LowRankMixture,
    criterion: Literal["spectral", "free_entropy"] = "free_entropy",
    *,
    pair: tuple[int, int] | None = None,
) -> Threshold:
    r"""Noise level at which the classes of a mixture part.

    Parameters
    ----------
    mixture : LowRankMixture
        Two classes or more.
    criterion : {"spectral", "free_entropy"}
        :math:`t_S = \frac12\ln\Lambda`, or mean equal to fluctuation of the log-likelihood ratio.
    pair : tuple of int, optional
        Free entropy: true class k and rival l; default the pair that parts first on the way down.

    Returns
    -------
    Threshold
        ``sigma``, and the Ornstein-Uhlenbeck ``time``.

    Raises
    ------
    NoTransition
        Spectral: if Lambda <= 1, which says nothing about the classes.  Free entropy: if the
        fluctuation exceeds the mean at every noise level.
    InvalidParameter
        For one class, an unknown criterion or pair.

    Notes
    -----
    Validity: both criteria are sharp as D grows, and of order one at finite D.  The spectral one
    depends on the units of the data and takes variance within a class for structure; it was
    derived for two classes that differ in their means.  The free entropy leaves class weights out.

    References
    ----------
    Biroli et al., arXiv 2402.18491 (spectral); Achilli et al., arXiv 2602.04404 (free entropy).

    Examples
    --------
    >>> mixture = LowRankMixture.random(10, 5, 2, delta=0.2, seed=0)
    >>> round(speciation_time(mixture).sigma, 8)
    0.66332496
    >>> means = 3 * np.eye(4)[:2]
    >>> spread = LowRankMixture([np.eye(4)] * 2, means=means)
    >>> round(speciation_time(spread, "spectral").time, 6)  # Lambda = 1 + 9 / 2
    0.852374
    """
    if mixture.n_classes < 2:
        raise InvalidParameter("a mixture of one class has nothing to part; give two or more")
    if criterion == "spectral":
        return _spectral(mixture)
    classes = range(mixture.n_classes)
    pairs = [(k, l) for k in classes for l in classes if k != l] if pair is None else [pair]
    _check_pair(mixture, pairs[0])
    small, _, _ = mixture.compress()
    levels = (_mean_meets_fluctuation(*_pair(small, *p)) for p in pairs)
    found = [level for level in levels if level is not None]
    if not found:
        raise NoTransition(
            "the log-likelihood ratio fluctuates by more than its mean at every noise level;"
            " the classes never part: raise their rank or their distance"
        )
    return Threshold(max(found))


def _spectral(mixture: LowRankMixture) -> Threshold:
    strength = spectral_strength(mixture)
    if strength <= 1 + 1e-12:
        raise NoTransition(
            f"Lambda = {strength:.6g} <= 1: the spectral criterion sees no speciation although the"
            " classes may part; use criterion='free_entropy'"
        )
    return Threshold(float(np.sqrt(strength - 1)))


@checked(sigma=unchecked)
def log_ratio_moments(mixture: LowRankMixture, k: int, l: int, sigma: float) -> tuple[float, float]:
    r"""Mean and variance of :math:`\ell_{kl} = \log p(x_t|k) - \log p(x_t|l)` given class k.

    Parameters
    ----------
    mixture : LowRankMixture
        Any mixture.
    k, l : int
        True class and rival.
    sigma : float
        Noise level, > 0.

    Returns
    -------
    mean, variance : float
        Nats, nats^2; the mean is the Kullback-Leibler divergence.

    Raises
    ------
    InvalidParameter
        For classes that do not exist or sigma <= 0.

    Notes
    -----
    Validity: exact for Gaussian classes; cost R^3 in the R dimensions that the classes span.

    Examples
    --------
    >>> points = LowRankMixture([np.zeros((1, 0))] * 2, means=[[1.0], [-1.0]])
    >>> log_ratio_moments(points, 0, 1, 2.0)
    (0.5, 1.0)
    """
    _check_pair(mixture, (k, l))
    return _moments(*_pair(mixture.compress()[0], k, l), positive_level(sigma) ** 2)


@checked(distance=nonnegative)
def pair_confidence(distance: ArrayLike) -> Floats:
    r"""Mean belief in the true one of two equally likely Gaussians of one covariance.

    .. math:: E[w_k \mid k] = \int N(z; 0, 1)\, \frac{dz}{1 + e^{-\Delta^2/2 - \Delta z}}, \qquad
        \Delta^2 = \mu^T (S + \sigma^2)^{-1} \mu

    Parameters
    ----------
    distance : float or array
        Distance :math:`\Delta` of the means in units of the noisy standard deviation, >= 0.

    Returns
    -------
    array of the shape of ``distance``

    Raises
    ------
    InvalidParameter
        For negative distances or NaN.

    Notes
    -----
    Validity: exact to 1e-14: the log-likelihood ratio is normal with mean :math:`\Delta^2/2` and
    variance :math:`\Delta^2`.

    Examples
    --------
    >>> pair_confidence([0.0, 1.0, 4.0]).round(6)
    array([0.5     , 0.602027, 0.965701])
    """
    values = np.asarray(distance, dtype=float)
    return cast(Floats, np.vectorize(_confidence, otypes=[float])(values)[()])


def _confidence(distance: float) -> float:
    if distance > _CERTAIN:
        return 1.0
    # the integrand is analytic within pi / distance of the axis: the trapezoidal rule converges
    # as exp(-2 pi^2 / (distance step)), and in the Gaussian as exp(-2 pi^2 / step^2)
    step = 0.5 / max(distance, 1.0)
    z = np.arange(-12.0, 12.0, step)
    law = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    found = step * (law * expit(distance * (0.5 * distance + z))).sum()
    return float(np.clip(found, 0.5, 1.0))  # rounding may leave the range of a mean belief


def _pair(small: LowRankMixture, k: int, l: int) -> tuple[Floats, Floats, Floats]:
    """Covariances and difference of means."""
    return small.covariance(k), small.covariance(l), small.means[k] - small.means[l]


def _moments(own: Floats, rival: Floats, shift: Floats, v: float) -> tuple[float, float]:
    largest = max(float(np.linalg.norm(own, 2)), float(np.linalg.norm(rival, 2)))
    values, vectors = np.linalg.eigh(rival)
    if v < _RESOLVED * largest and values[0] < _RESOLVED * largest:
        # rounding of the covariance would stand in place of the noise
        raise InvalidParameter(
            f"sigma^2 = {v:.3g} is below the rounding of a covariance of norm {largest:.3g} without"
            " variance in some direction; raise sigma"
        )
    # with W^T C_l W = 1 the eigenvalues of W^T C_k W are those of M
    white = vectors / np.sqrt(np.maximum(values, 0) + v)
    inner = white.T @ (own + v * np.eye(len(own))) @ white
    move = shift @ white
    excess = np.linalg.eigvalsh((inner + inner.T) / 2 - np.eye(len(own)))
    # an eigenvalue of M that rounds to zero belongs to a class without variance there
    mean = 0.5 * ((excess - np.log1p(np.maximum(excess, _RESOLVED - 1))).sum() + move @ move)
    return float(mean), float(0.5 * (excess @ excess) + move @ inner @ move)


def _check_pair(mixture: LowRankMixture, pair: tuple[int, int]) -> None:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise InvalidParameter(f"pair of type {type(pair).__name__} must be two classes (k, l)")
    whole("k", pair[0], None)
    whole("l", pair[1], None)
    if pair[0] == pair[1] or not all(0 <= k < mixture.n_classes for k in pair):
        raise InvalidParameter(
            f"pair = {pair} must be two different classes from 0 to {mixture.n_classes - 1}"
        )


def _mean_meets_fluctuation(own: Floats, rival: Floats, shift: Floats) -> float | None:
    """Largest level at which the mean equals the standard deviation; None if there is none."""

    def excess(log_sigma: float) -> float:
        mean, variance = _moments(own, rival, shift, float(np.exp(2 * log_sigma)))
        return np.log(mean) - 0.5 * np.log(variance) if mean > 0 and variance > 0 else -np.inf

    # sum(e^2) < 8 for relative excesses e < spread^2 / sigma^2: no crossing above the spread
    spread = float(np.trace(own) + np.trace(rival) + shift @ shift)
    return first_from_above(excess, np.sqrt(spread)) if spread > 0 else None


@checked(rank=partial(whole, low=1, high=10**15), delta=fraction)
def speciation_orthogonal(rank: int, delta: float) -> Threshold:
    r"""Free-entropy speciation of orthogonal subspaces, in closed form.

    .. math:: (1+v)^2 + (\delta^2+v)^2 = \frac d2 (1-\delta^2)^2, \qquad v = \sigma_S^2

    Parameters
    ----------
    rank : int
        d >= 1.
    delta : float
        Residual amplitude in [0, 1].

    Returns
    -------
    Threshold
        :math:`t_S \to \frac14\ln d` + const as d grows: without means classes part later, on the
        way down, than the :math:`\frac12\ln D` of separated means.

    Raises
    ------
    NoTransition
        If :math:`1+\delta^4 \ge \frac d2(1-\delta^2)^2`.
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact for the criterion, for any two of K orthogonal classes of equal rank and unit
    variance.

    Examples
    --------
    >>> round(speciation_orthogonal(1000, 0.2).time, 8)
    1.37527831
    """
    # 2 v^2 + 2 (1 + delta^2) v + 1 + delta^4 - rhs = 0, the root without cancellation
    half, constant = 1 + delta**2, 1 + delta**4 - 0.5 * rank * (1 - delta**2) ** 2
    if constant >= 0:
        raise NoTransition(
            f"rank = {rank}, delta = {delta}: the log-odds fluctuate by more than their mean at"
            " every noise level; raise the rank or lower delta"
        )
    v = -constant / (half + np.sqrt(half**2 - 2 * constant))
    return Threshold(float(np.sqrt(v)))


# -------------------------------------------------------------------------------- symmetry breaking

Reverse: TypeAlias = Literal["sde", "ode"]


@checked(radius=unchecked)
def two_delta_instability(radius: float = 1.0, reverse: Reverse = "sde") -> Threshold:
    r"""Noise level at which the centre of two points :math:`\pm r` turns unstable.

    .. math::
        \text{SDE:}\quad u^2 + 2r^2u - 1 = 0, \qquad
        \text{ODE:}\quad u = 1 - r^2, \qquad \sigma_c^2 = 1/u - 1

    Linearised at 0 the reverse VP drift, per unit of :math:`\beta\,dt`, is
    :math:`\frac12 - \frac1{1-u} + \frac{r^2u}{(1-u)^2}` for the SDE and half of
    :math:`1 - \frac1{1-u} + \frac{r^2u}{(1-u)^2}` for the probability-flow ODE.

    Parameters
    ----------
    radius : float
        r > 0.
    reverse : {"sde", "ode"}
        Which reverse process.

    Returns
    -------
    Threshold
        For r = 1 and the SDE :math:`u = \sqrt2 - 1`, :math:`\sigma_c^2 = \sqrt2`.

    Raises
    ------
    NoTransition
        For the ODE and r >= 1: its centre is unstable at every noise level.
    InvalidParameter
        For radius <= 0 or an unknown process.

    Notes
    -----
    Validity: exact.

    References
    ----------
    Raya and Ambrogioni, arXiv 2305.19693.

    Examples
    --------
    >>> found = two_delta_instability()
    >>> round(found.sigma, 9), round(found.time, 9), round(found.alpha_bar, 9)
    (1.189207115, 0.440686794, 0.414213562)
    """
    square = positive_radius(radius) ** 2
    if reverse == "sde":
        # sqrt(r^4 + 1) - 1 without the difference
        root = np.hypot(square, 1.0)
        return Threshold(float(np.sqrt(square + square * (square / (root + 1)))))
    if square >= 1:
        raise NoTransition(
            f"radius = {radius} >= 1: the centre of the probability flow is unstable at every"
            " noise level; use reverse='sde' or a smaller radius"
        )
    return Threshold(float(np.sqrt(square / (1 - square))))


@checked
def central_instability(mixture: LowRankMixture, reverse: Reverse = "sde") -> Threshold:
    r"""Noise level below which the origin is an unstable point of the reverse VP process.

    With the largest eigenvalue j of :math:`\mathrm{Cov}(x_0 \mid x_t = 0)/\sigma^2` the
    linearised drift vanishes at :math:`j = (1+u)/2` (SDE) or :math:`j = u` (ODE).

    Parameters
    ----------
    mixture : LowRankMixture
        Symmetric enough for the origin to be its own posterior mean at every noise level.
    reverse : {"sde", "ode"}
        Which reverse process.

    Returns
    -------
    Threshold
        The largest such level.

    Raises
    ------
    NoTransition
        If the origin is stable at every noise level, or unstable at every one.
    InvalidParameter
        If the origin is no fixed point.

    Notes
    -----
    Validity: exact linear stability.  Orthogonal subspaces of unit variance have
    :math:`j \le u < (1+u)/2`: always stable.

    Examples
    --------
    >>> points = LowRankMixture([np.zeros((1, 0))] * 2, means=[[1.0], [-1.0]])
    >>> round(central_instability(points).sigma, 9)
    1.189207115
    """
    origin = np.zeros((1, mixture.dim))
    scale = float(
        np.sqrt((mixture.means**2).sum(1).max() + sum(v.sum() for v in mixture.variances))
    )
    for level in (0.1, 1.0, 10.0):
        # in units of the data: a mixture of any size has its own centre
        if scale and np.abs(denoise(mixture, origin, level * scale)).max() > 1e-9 * scale:
            raise InvalidParameter(
                "the origin is no fixed point of this mixture; shift the data to a symmetric centre"
            )

    def drift(log_sigma: float) -> float:
        sigma = float(np.exp(log_sigma))
        power = 1 / (1 + sigma**2)
        wanted = (1 + power) / 2 if reverse == "sde" else power
        return float(jacobian_spectrum(mixture, origin, sigma)[0, 0]) - wanted

    found = first_from_above(drift, max(scale, 1.0))
    if found is None:
        raise NoTransition(
            "the origin changes stability at no noise level: no symmetry breaks there; use"
            " speciation_time(criterion='free_entropy')"
        )
    return Threshold(found)


def first_from_above(excess: Callable[[float], float], top: float) -> float | None:
    """Largest zero below 10 ``top`` of a function of log sigma that is negative in much noise."""
    grid = np.log(top) + np.log(10) * np.linspace(1, -6, 71)
    if excess(grid[0]) >= 0:
        return None
    for upper, lower in zip(grid[:-1], grid[1:], strict=True):
        if excess(lower) >= 0:
            return float(np.exp(brentq(excess, lower, upper, xtol=1e-14, rtol=1e-14)))
    return None


def positive_radius(radius: float) -> float:
    """Half the distance of two points, whose powers are numbers."""
    found = number("radius", radius, above=0)
    if not 1e-70 <= found <= 1e70:
        raise InvalidParameter(
            f"radius = {radius} must lie in [1e-70, 1e70]; choose units near the data's"
        )
    return found
