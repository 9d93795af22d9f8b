r"""Mean field of the epsilon-process: the annealed recursion, its fixed points, its threshold.

Averages are over all unambiguous rule tables.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
epsilon        leaf noise: the belief in the true leaf is 1 - epsilon + epsilon / v
p, P           upward belief in the true symbol; P = p^s, weight of the true tuple
q, Q           downward belief in the true symbol; Q = p^(s-1), weight of the true siblings
f              (m v - 1) / (v^s - 1), share of the other tuples that are rules
kappa          (m - 1) / (m v - 1), share of the other rules that belong to the true symbol
=============  ==============================================================================

Given the true rule, the other m v - 1 right-hand sides are a uniform random subset of the other
v^s - 1 tuples, and all of those together weigh 1 - P.  Averages of numerator and denominator of
the belief-propagation update, with the wrong belief spread evenly, then give

.. math::
   F(p) &= \frac{P + \kappa f (1 - P)}{P + f (1 - P)}, \qquad
   w = \frac{m - q}{v^s - 1}, \\
   G(q, p) &= \frac{q Q + (1 - Q) w}{q Q + (1 - Q) w + (v - 1) w}, \qquad
   \text{marginal} = \frac{p q}{p q + (1 - p)(1 - q)/(v - 1)}.

At the root, n_classes takes the place of v in f and kappa.  All is computed in logarithms, since
v^s may exceed every float.  The functions hold for the epsilon-process: exact on the level above
the leaves, exact on all levels as v grows at fixed f.

Fixed points and threshold of the upward map F:

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
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

Under Gaussian noise :math:`p_0` is the mean belief in the true symbol of one leaf.  With logits snr
+ sqrt(snr) z_0 for the true symbol and sqrt(snr) z_a for the others, softmax is the law of the
largest of logit + Gumbel noise.  H, h are distribution and density of sqrt(snr) z + Gumbel, so

.. math:: 1 - p_0 = \int dw\, h(w - \text{snr})\, [1 - H(w)^{v-1}] .

Integrands are entire and fall off at both ends, so the trapezoidal rule converges like
exp(-pi^2 / step): a step of 1/4 leaves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, xlogy

from hierdiff.checks import array as numbers
from hierdiff.checks import checked, number, together, whole
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import NoiseProcess, has_snr

__all__ = [
    "AnnealedBeliefs",
    "annealed_beliefs",
    "correlation_length_exponent",
    "critical_belief",
    "critical_noise",
    "downward_map",
    "effective_epsilon",
    "finite_depth_threshold",
    "fixed_points",
    "has_transition",
    "root_map",
    "stability",
    "upward_derivative",
    "upward_map",
]

FloatArray = NDArray[np.float64]


def _beliefs(name: str, value: ArrayLike) -> FloatArray:
    array = numbers(name, value).astype(float)
    outside = ~((array >= 0) & (array <= 1))
    if outside.any():
        raise InvalidParameter(
            f"{name} = {array[outside].flat[0]} is outside [0, 1]; give a probability"
        )
    return array


class AnnealedBeliefs(NamedTuple):
    """Belief in the true symbol of every level, each [..., L + 1], root first.

    Notes
    -----
    Validity: that of ``annealed_beliefs``.
    """

    up: FloatArray
    down: FloatArray
    marginal: FloatArray


@checked(p=_beliefs)
def upward_map(p: ArrayLike, rhm: RHM) -> FloatArray:
    r"""One step up the tree: belief in the true parent from that in each true child.

    .. math:: F(p) = \frac{P + \frac{m-1}{v^s-1}(1 - P)}{P + \frac{mv-1}{v^s-1}(1 - P)},
       \quad P = p^s

    Parameters
    ----------
    p : float or array
        Upward belief in the true symbol of the children, in [0, 1].
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    array
        Of the shape of ``p``.  1 and 1/v are fixed points to the last bit.

    Raises
    ------
    InvalidParameter
        If a belief is outside [0, 1].

    Notes
    -----
    Validity: epsilon-process; ratio of averages over uniform unambiguous rule tables.

    References
    ----------
    Sclocchi, Favero, Wyart, arXiv 2402.16991.

    Examples
    --------
    >>> round(float(upward_map(0.5, RHM(v=32, m=8, s=2, L=10))), 10)
    0.5838926174
    """
    return _upward(_beliefs("p", p), rhm, rhm.v)


@checked(p=_beliefs)
def root_map(p: ArrayLike, rhm: RHM) -> FloatArray:
    r"""The last step up: ``upward_map`` into a root with n_classes symbols instead of v.

    .. math:: F_0(p) = \frac{P + \frac{m-1}{v^s-1}(1 - P)}{P + \frac{m n_c-1}{v^s-1}(1 - P)}

    Parameters
    ----------
    p : float or array
        Upward belief in the true symbol of the root's children, in [0, 1].
    rhm : RHM
        Parameters; ``L`` does not matter.

    Returns
    -------
    array
        Belief in the true class, 1 / n_classes at p = 1/v.

    Raises
    ------
    InvalidParameter
        If a belief is outside [0, 1].

    Notes
    -----
    Validity: that of ``upward_map``; equiprobable classes.

    Examples
    --------
    >>> round(float(root_map(0.5, RHM(v=32, m=8, s=2, L=10, n_classes=10))), 10)
    0.8285714286
    """
    return _upward(_beliefs("p", p), rhm, rhm.n_classes)


@checked(p=_beliefs)
def upward_derivative(p: ArrayLike, rhm: RHM) -> FloatArray:
    r"""Derivative of ``upward_map``: by how much a step amplifies a small difference.

    .. math:: F'(p) = \frac{s\, m (v - 1)}{v^s - 1}\, \frac{p^{s-1}}{(P + f (1 - P))^2}

    Parameters
    ----------
    p : float or array
        Upward belief in the true symbol, in [0, 1].
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    array
        Of the shape of ``p``; zero throughout if v = 1, where there is nothing to know.

    Raises
    ------
    InvalidParameter
        If a belief is outside [0, 1].

    Notes
    -----
    Validity: that of ``upward_map``.

    Examples
    --------
    >>> rhm = RHM(v=32, m=8, s=2, L=10)
    >>> upward_derivative([1 / 32, 7 / 24, 1.0], rhm).round(8).tolist()
    [0.24242424, 1.44224766, 0.48484848]
    """
    beliefs = _beliefs("p", p)
    if rhm.v == 1:
        return np.zeros_like(beliefs)
    log_f, kappa = _log_f(rhm, rhm.v), _kappa(rhm, rhm.v)
    with np.errstate(divide="ignore"):
        log_power = rhm.s * np.log(beliefs)
        below = np.log(-np.expm1(log_power))
        log_gain = xlogy(rhm.s - 1, beliefs) - log_f
        log_slope = log_gain - 2 * np.logaddexp(log_power - log_f, below)
    return np.asarray((1 - kappa) * rhm.s * np.exp(log_slope))


@checked(q=_beliefs, p=_beliefs)
def downward_map(q: ArrayLike, p: ArrayLike, rhm: RHM) -> FloatArray:
    r"""One step down the tree: belief in a true child from its parent and its siblings.

    .. math:: G(q, p) = \frac{q Q + (1 - Q) w}{q Q + (1 - Q) w + (v - 1) w},
       \quad Q = p^{s-1},\ w = \frac{m - q}{v^s - 1}

    Parameters
    ----------
    q : float or array
        Downward belief in the true symbol of the parent, in [0, 1].
    p : float or array
        Upward belief in the true symbol of each sibling, in [0, 1].
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter, the root's step down is the same.

    Returns
    -------
    array
        Of the shape of ``q`` and ``p`` broadcast.  At m = q = 1 the parent dictates the child: 1.

    Raises
    ------
    InvalidParameter
        If a belief is outside [0, 1].

    Notes
    -----
    Validity: epsilon-process; ratio of averages over uniform unambiguous rule tables.  It does not
    approximate the mean downward message of single grammars (gaps up to 0.15), only the marginals
    that follow from it.

    References
    ----------
    Sclocchi, Favero, Wyart, arXiv 2402.16991.

    Examples
    --------
    >>> rhm = RHM(v=32, m=8, s=2, L=10)
    >>> downward_map([1.0, 0.0, 1 / 32], 0.5, rhm).round(10).tolist()
    [0.7035519126, 0.0158730159, 0.0747893258]
    """
    together(q=q, p=p)
    parent, sibling = np.broadcast_arrays(_beliefs("q", q), _beliefs("p", p))
    if rhm.v == 1:
        return np.ones(parent.shape)
    # true siblings weigh A = q Q / w against 1 - Q and v - Q for the rest
    certain = parent * (1 / rhm.m) == 1
    free = np.where(certain, 0.0, parent)
    with np.errstate(divide="ignore", over="ignore"):
        log_w = math.log(rhm.m) + np.log1p(-free * (1 / rhm.m)) - _log_tuples(rhm)
        log_Q = xlogy(rhm.s - 1, sibling)
        true = np.exp(np.log(free) + log_Q - log_w) - np.expm1(log_Q)
        belief = 1 / (1 + (rhm.v - 1) / true)
    return np.asarray(np.where(certain, 1.0, belief))


@checked(epsilon=_beliefs)
def annealed_beliefs(
    rhm: RHM, epsilon: ArrayLike, root_belief: float | None = None
) -> AnnealedBeliefs:
    r"""Upward, downward and marginal belief in the true symbol of every level.

    .. math:: p_L = 1 - \epsilon + \epsilon / v, \quad p_l = F(p_{l+1}), \qquad
       q_0 = 1 / n_c, \quad q_{l+1} = G(q_l, p_{l+1})

    Parameters
    ----------
    rhm : RHM
        Parameters.
    epsilon : float or array
        Leaf noise in [0, 1].
    root_belief : float, optional
        q_0, belief in the true class before anything is seen (default 1 / n_classes; 1 for a
        given class).

    Returns
    -------
    AnnealedBeliefs
        ``(up, down, marginal)``, each of the shape of ``epsilon`` followed by L + 1, root first.

    Raises
    ------
    InvalidParameter
        If ``epsilon`` or ``root_belief`` is outside [0, 1].

    Notes
    -----
    Validity: epsilon-process, average over uniform unambiguous grammars.  ``up`` is exact on level
    L - 1 as a ratio of averages; ``up`` and ``marginal`` agree with exact inference to about 0.005
    at v = 32, to a few 0.01 at v = 8, and tend to it as v grows at fixed f.  Compare ``down`` with
    nothing, see ``downward_map``.  It does not predict masking, uniform or Gaussian noise.

    References
    ----------
    Sclocchi, Favero, Wyart, arXiv 2402.16991.

    Examples
    --------
    >>> up, down, marginal = annealed_beliefs(RHM(v=32, m=8, s=2, L=10), 0.7)
    >>> marginal[[0, 5, 10]].round(8).tolist()
    [0.91828825, 0.97033325, 0.89344986]
    """
    noise = _beliefs("epsilon", epsilon)
    first = 1 / rhm.n_classes if root_belief is None else root_belief
    up = [1 - noise + noise / rhm.v]
    for level in reversed(range(rhm.L)):
        up.append(_upward(up[-1], rhm, rhm.v if level else rhm.n_classes))
    up.reverse()
    down = [np.broadcast_to(_beliefs("root_belief", first), noise.shape)]
    for level in range(rhm.L):
        down.append(downward_map(down[-1], up[level + 1], rhm))
    marginal = [
        _marginal(p, q, rhm.v if level else rhm.n_classes)
        for level, (p, q) in enumerate(zip(up, down, strict=True))
    ]
    return AnnealedBeliefs(*(np.stack(levels, axis=-1) for levels in (up, down, marginal)))


@checked(t=_beliefs)
def effective_epsilon(noise: NoiseProcess, t: ArrayLike) -> FloatArray:
    r"""Epsilon of the epsilon-process whose leaves believe in the truth as much on average.

    .. math:: \epsilon = \frac{1 - p_0}{1 - 1/v}; \quad \text{masking } \epsilon = t, \quad
       \text{uniform } p_0 = \tfrac1v + (1 - \tfrac1v)(1 - t)^2, \quad
       \text{Gaussian } p_0 = E\, \mathrm{softmax}_0(\gamma e_0 + \sqrt\gamma z)

    Parameters
    ----------
    noise : NoiseProcess
        On symbols; Gaussian, or with a method ``effective_epsilon(t)``, as the epsilon-process,
        masking and uniform noise have.
    t : float or array
        Noise level in [0, 1].

    Returns
    -------
    array
        Epsilon in [0, 1], of the shape of ``t``.

    Raises
    ------
    InvalidParameter
        If ``t`` is outside [0, 1], or ``noise`` has no symbols.

    Notes
    -----
    Validity: p_0 is exact (Gaussian: quadrature, to 1e-12).  The recursion at this epsilon does
    not predict real processes, whose messages fluctuate: at (32, 8, 2) it puts the loss of the
    class at masking t = 0.73 where exact inference finds 0.27.

    Examples
    --------
    >>> from hierdiff import GaussianNoise
    >>> noise = GaussianNoise(v=32)
    >>> p_0 = 1 - (1 - 1 / 32) * effective_epsilon(noise, noise.level([1.0, 4.0, 8.0]))
    >>> p_0.round(6).tolist()
    [0.076211, 0.333337, 0.66107]
    """
    levels = _beliefs("t", t)
    own = getattr(noise, "effective_epsilon", None)
    if own is not None:
        return np.asarray(own(levels))
    if noise.v is None:
        raise InvalidParameter(f"noise = {noise!r} does not act on symbols; give a process with v")
    if not has_snr(noise):
        raise InvalidParameter(
            f"noise = {noise.name} has no method effective_epsilon(t), the mean belief of a leaf; "
            "add it to the process"
        )
    doubt = [gaussian_doubt(float(ratio), noise.v) for ratio in noise.snr(levels).ravel()]
    return np.reshape(doubt, levels.shape) / (1 - 1 / noise.v if noise.v > 1 else 1.0)


def _upward(p: FloatArray, rhm: RHM, parents: int) -> FloatArray:
    """Map into a level of ``parents`` symbols: kappa + (1 - kappa) sigma(logit P - log f)."""
    if rhm.m * parents == 1:
        return np.ones_like(p)
    kappa = _kappa(rhm, parents)
    with np.errstate(divide="ignore"):
        log_P = rhm.s * np.log(p)
        true = expit(log_P - np.log(-np.expm1(log_P)) - _log_f(rhm, parents))
    # a belief of chance stays there; where it is unstable, rounding would leave it
    return np.where(p == 1 / rhm.v, 1 / parents, kappa + (1 - kappa) * true)


def _marginal(p: FloatArray, q: FloatArray, symbols: int) -> FloatArray:
    if symbols == 1:
        return np.ones_like(p)
    true, others = p * q, (1 - p) * (1 - q) / (symbols - 1)
    return np.asarray(true / (true + others))


def _kappa(rhm: RHM, parents: int) -> float:
    return (rhm.m - 1) / (rhm.m * parents - 1)


def _log_tuples(rhm: RHM) -> float:
    """Natural logarithm of v^s - 1; integers do not overflow."""
    return math.log(rhm.v**rhm.s - 1)


def _log_f(rhm: RHM, parents: int) -> float:
    rules, tuples = rhm.m * parents - 1, rhm.v**rhm.s - 1
    share = rules / tuples
    return math.log(share) if share > 1e-300 else math.log(rules) - math.log(tuples)


# -------------------------------------------------------------------- one leaf under Gaussian noise

_STEP = 0.25  # of w; 1/2 resolves the normal density alone
_WIDTH = 12.0  # standard deviations
_TAIL = 40.0  # the Gumbel density is exp(-w) far up


def gaussian_doubt(snr: float, v: int) -> float:
    """Mean posterior probability 1 - p_0 of wrong symbols, to 1e-12 (0 where it is below 1e-16)."""
    snr, v = number("snr", snr, 0, infinite=True), whole("v", v, 1, 2**53)
    # 1 - p_0 <= (v - 1) exp(-snr / 4), by the chance that a given wrong logit is larger
    if v == 1 or snr > 4 * (math.log(v) + _TAIL):
        return 0.0
    spread = _WIDTH * math.sqrt(snr)
    w = np.arange(-spread - 5, snr + spread + _TAIL, _STEP)
    density, _ = _noisy_gumbel(w - snr, snr)
    _, above = _noisy_gumbel(w, snr)
    with np.errstate(divide="ignore"):
        beaten = -np.expm1((v - 1) * np.log1p(-above))
    return float(min(_STEP * density @ beaten, 1 - 1 / v))


def _noisy_gumbel(w: FloatArray, snr: float) -> tuple[FloatArray, FloatArray]:
    """Density h(w) and survival 1 - H(w) of sqrt(snr) z + Gumbel noise."""
    step = min(0.5, _STEP / math.sqrt(snr)) if snr > 0 else 0.5
    z = np.arange(-_WIDTH, _WIDTH + step, step)
    normal = np.exp(-z * z / 2) * step / math.sqrt(2 * math.pi)
    with np.errstate(over="ignore", under="ignore"):
        rate = np.minimum(np.exp(math.sqrt(snr) * z - w[:, None]), 1e3)
        density = rate * np.exp(-rate)
        return density @ normal, np.minimum(-np.expm1(-rate) @ normal, 1.0)


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
