r"""Fixed points and threshold of the annealed recursion.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
F              upward map of :mod:`hierdiff.theory.rhm.mean_field`
1/v, 1         fixed points: nothing known, everything known
p*             repulsive fixed point between them, where there is one
epsilon*       leaf noise that starts the recursion at p*: p* = 1 - epsilon* (1 - 1/v)
nu             exponent of the correlation length, (epsilon - epsilon*)^(-nu), of this process
=============  ==============================================================================

.. math::
   F(p) - p &\propto -(1 - p)(v p - 1)\, T(p), \qquad
   T(p) = \sum_{k=0}^{s-1} (m - v^k)\, p^k, \\
   F'(1) &= \frac{s\, m (v - 1)}{v^s - 1}, \qquad
   F'(1/v) = \frac{s (v - 1) v^{s-1}}{m (v^s - 1)}, \qquad \nu = \frac{\log s}{\log F'(p^*)} .

The coefficients of T change sign once, so T has one positive root at most (Descartes).  It lies in
(1/v, 1) if and only if T(1/v) > 0 > T(1), that is F'(1/v) < 1 and F'(1) < 1.  F'(1) F'(1/v) < 1
for s > 1 and v > 1, so at most one of the two fails, and three regimes are left: a transition; the
class *always lost* (F'(1) >= 1, any noise grows on its way up); the class *never lost*
(F'(1/v) >= 1, any information grows).  At F'(1) = 1, e.g. (v, m, s) = (3, 2, 2), p* has merged
with 1 and the class is lost; F'(1/v) = 1 has no solution in integers.  With s = 1, F(p) = p.
Conditions and signs are evaluated in integers, so no regime is missed by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.rhm.mean_field import upward_derivative

__all__ = [
    "correlation_length_exponent",
    "critical_belief",
    "critical_noise",
    "finite_depth_threshold",
    "fixed_points",
    "has_transition",
    "stability",
]

FloatArray = NDArray[np.float64]


@checked
def has_transition(rhm: RHM) -> bool:
    r"""Whether the class is lost at a noise strictly between none and full, as L grows.

    .. math:: s\, m (v - 1) < v^s - 1 \quad\text{and}\quad s (v - 1) v^{s-1} < m (v^s - 1)

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    bool
        False where a fixed point is marginal, F' = 1.

    Notes
    -----
    Validity: epsilon-process, annealed recursion, L to infinity; decided in integers.

    Examples
    --------
    >>> [has_transition(RHM(v=32, m=m, s=2, L=10)) for m in (1, 2, 8, 16, 18)]
    [False, True, True, True, False]
    """
    return _reason(rhm) is None


@checked
def fixed_points(rhm: RHM) -> FloatArray:
    r"""Fixed points of the upward map in [1/v, 1], sorted: 1/v, p* where it exists, 1.

    .. math:: F(p) = p

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    array [3], [2] without transition, [1] if v = 1
        Beliefs.  With s = 1 every belief is fixed, and the two ends are returned.

    Notes
    -----
    Validity: epsilon-process, annealed recursion; correctly rounded.

    Examples
    --------
    >>> fixed_points(RHM(v=32, m=8, s=2, L=10)).round(6).tolist()
    [0.03125, 0.291667, 1.0]
    """
    if rhm.v == 1:
        return np.ones(1)
    middle = [critical_belief(rhm)] if has_transition(rhm) else []
    return np.array([1 / rhm.v, *middle, 1.0])


@checked
def stability(rhm: RHM) -> FloatArray:
    r"""Derivative of the upward map at each of the ``fixed_points``; below 1 is stable.

    .. math:: F'(1/v), \quad F'(p^*), \quad F'(1)

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    array
        Of the shape of ``fixed_points(rhm)``.

    Notes
    -----
    Validity: epsilon-process, annealed recursion; the ends are correctly rounded.

    Examples
    --------
    >>> stability(RHM(v=32, m=8, s=2, L=10)).round(8).tolist()
    [0.24242424, 1.44224766, 0.48484848]
    """
    if rhm.v == 1:
        return np.zeros(1)
    points = fixed_points(rhm)
    middle = upward_derivative(points[1:-1], rhm).tolist()
    ignorance, certainty = _slopes(rhm)
    return np.array([ignorance, *middle, certainty])


@checked
def critical_belief(rhm: RHM) -> float:
    r"""Repulsive fixed point p* of the upward map.

    .. math:: \sum_{k=0}^{s-1} (m - v^k)\, p^{*k} = 0; \qquad
       p^* = \frac{m - 1}{v - m} \text{ for } s = 2

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    float
        In (1/v, 1).

    Raises
    ------
    NoTransition
        If there is none; the message tells which end is unstable.

    Notes
    -----
    Validity: epsilon-process, annealed recursion; correctly rounded.

    Examples
    --------
    >>> round(critical_belief(RHM(v=10, m=5, s=3, L=4)), 10)
    0.1805604632
    """
    demand_transition(rhm)
    if rhm.s == 2:
        return (rhm.m - 1) / (rhm.v - rhm.m)
    return _bisect(lambda p: _sign(rhm, p), 1 / rhm.v, 1.0)


@checked
def critical_noise(rhm: RHM) -> float:
    r"""Noise epsilon* below which the class survives any depth, above which it is lost.

    .. math:: \epsilon^* = \frac{1 - p^*}{1 - 1/v}; \qquad
       \epsilon^* = \frac{v (v - 2m + 1)}{(v - 1)(v - m)} \text{ for } s = 2

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    float
        In (0, 1).

    Raises
    ------
    NoTransition
        If the class is always lost or never lost; the message tells which.

    Notes
    -----
    Validity: epsilon-process alone, L to infinity, annealed recursion; correctly rounded.  Exact
    inference crosses there to about 0.001 at v = 32 (``finite_depth_threshold`` for finite L).

    References
    ----------
    Sclocchi, Favero, Wyart, arXiv 2402.16991.

    Examples
    --------
    >>> round(critical_noise(RHM(v=32, m=8, s=2, L=10)), 10)
    0.7311827957
    """
    demand_transition(rhm)
    v, m = rhm.v, rhm.m
    if rhm.s == 2:
        return v * (v - 2 * m + 1) / ((v - 1) * (v - m))

    return _bisect(lambda epsilon: -_sign(rhm, 1 - epsilon * (v - 1) / v), 0.0, 1.0)


@checked
def finite_depth_threshold(rhm: RHM, belief: float = 0.5) -> float:
    r"""Noise at which the belief in the true class crosses a value, at depth L.

    .. math:: F_0 \circ F^{L-1}\big(1 - \epsilon + \epsilon / v\big) = \text{belief},
       \qquad \epsilon - \epsilon^* \sim F'(p^*)^{-L}

    Parameters
    ----------
    rhm : RHM
        Parameters.
    belief : float
        Between 1 / n_classes and 1.

    Returns
    -------
    float
        Epsilon in (0, 1]; exists in every regime.

    Raises
    ------
    InvalidParameter
        If ``belief`` is not between chance and certainty.

    Notes
    -----
    Validity: epsilon-process, annealed recursion.  Each step is inverted in closed form; to
    rounding.

    Examples
    --------
    >>> round(finite_depth_threshold(RHM(v=32, m=8, s=2, L=10)), 10)
    0.7259032314
    """
    if not 1 / rhm.n_classes < belief < 1:
        raise InvalidParameter(
            f"belief = {belief} is not between chance, 1/{rhm.n_classes}, and 1; choose another"
        )
    doubt = 1 - belief
    for level in range(rhm.L):
        doubt = _undo(doubt, rhm, rhm.v if level else rhm.n_classes)
    return min(doubt / (1 - 1 / rhm.v), 1.0)


@checked
def correlation_length_exponent(rhm: RHM) -> float:
    r"""Exponent nu of the length over which leaves of the epsilon-process change together.

    .. math:: \xi \sim |\epsilon - \epsilon^*|^{-\nu}, \qquad \nu = \log s / \log F'(p^*)

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    float
        Above 1; inf where F'(p*) is 1 to double precision.

    Raises
    ------
    NoTransition
        If there is no threshold.

    Notes
    -----
    Validity: epsilon-process, annealed recursion, L to infinity; xi in leaves.  Masking, uniform
    and Gaussian noise have larger exponents, by :func:`critical_exponents`.  Where nu < 2 the
    scatter of messages that the average neglects grows with depth, and at finite v the value holds
    for a finite number of levels only.

    References
    ----------
    Sclocchi, Favero, Levi, Wyart, arXiv 2410.13770 (who quote 1.78 for these parameters).

    Examples
    --------
    >>> round(correlation_length_exponent(RHM(v=32, m=8, s=2, L=10)), 10)
    1.8927961115
    """
    slope = float(upward_derivative(critical_belief(rhm), rhm))
    return math.log(rhm.s) / math.log(slope) if slope > 1 else math.inf


def _slopes(rhm: RHM) -> tuple[float, float]:
    """F'(1/v) and F'(1), each a quotient of integers."""
    v, m, s = rhm.v, rhm.m, rhm.s
    return s * (v - 1) * v ** (s - 1) / (m * (v**s - 1)), s * m * (v - 1) / (v**s - 1)


def _reason(rhm: RHM) -> str | None:
    """Why there is no transition, or None."""
    v, m, s = rhm.v, rhm.m, rhm.s
    sizes = f"(v, m, s) = ({v}, {m}, {s})"
    if v == 1 or s == 1:
        return f"{sizes}: a step up the tree changes no belief; raise v and s above 1"
    ignorance, certainty = _slopes(rhm)
    if s * m * (v - 1) >= v**s - 1:
        return (
            f"{sizes}: certainty is unstable, F'(1) = {certainty:.6g} >= 1, so the class is always "
            "lost (at any epsilon > 0, as L grows); lower m or raise v"
        )
    if s * (v - 1) * v ** (s - 1) >= m * (v**s - 1):
        return (
            f"{sizes}: ignorance is unstable, F'(1/v) = {ignorance:.6g} >= 1, so the class is "
            "never lost (at any epsilon < 1); raise m"
        )
    return None


def demand_transition(rhm: RHM) -> None:
    """Raise NoTransition, with the reason, where the class is always or never lost."""
    reason = _reason(rhm)
    if reason is not None:
        raise NoTransition(reason)


def _sign(rhm: RHM, p: Fraction) -> int:
    """Sign of T(p), in integers."""
    n, d = p.numerator, p.denominator
    total, weight = 0, 1
    for k in reversed(range(rhm.s)):
        total = total * n + (rhm.m - rhm.v**k) * weight
        weight *= d
    return (total > 0) - (total < 0)


def _bisect(sign: Callable[[Fraction], int], low: float, high: float) -> float:
    """The float nearest to where a sign turns from + to -."""
    while low < (middle := low + (high - low) / 2) < high:
        if sign(Fraction(middle)) > 0:
            low = middle
        else:
            high = middle
    return high if sign((Fraction(low) + Fraction(high)) / 2) > 0 else low


def _undo(doubt: float, rhm: RHM, parents: int) -> float:
    """Doubt 1 - p of the children, given that of a parent among ``parents`` symbols."""
    v, m, s = rhm.v, rhm.m, rhm.s
    # 1 - F = (1 - kappa) f (1 - P) / (P + f (1 - P)), solved for (1 - P) / P
    others = m * (parents - 1)
    log_rest = math.log(v**s - 1) + math.log(doubt)
    share = 1 - doubt * ((m * parents - 1) / others)
    log_odds = log_rest - math.log(others) - math.log(share)
    return -math.expm1(-float(np.logaddexp(0.0, log_odds)) / s)
