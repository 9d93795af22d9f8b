r"""Bounds of the belief and of the threshold of real noise, from below and from above.

==========  =================================================================================
symbol      meaning
==========  =================================================================================
x           message: belief over the v symbols of a node, from the leaves below it
q           overlap :math:`E \sum_a x(a)^2`, for a posterior the mean belief E x(true)
q_c         overlap below which the class is lost as L grows
h, c_h      rank of the true rule; number of symbols with at least h allowed rules
T           v^s, the number of tuples
k           symbols of a node that the unmasked leaves below it do not exclude, 1 <= k <= v
N           tuples that the children's support sets allow, the product of their k
P_l(k)      law of k at level l, root first
==========  =================================================================================

*Support sets, from below: an exact density evolution for masking.*  An unmasked leaf leaves one
symbol, a masked one all v, so :math:`P_L = (1-t)\,\delta_1 + t\,\delta_v`.  A parent keeps every
symbol that owns at least one of the N allowed tuples.  Its true symbol owns the true tuple;
relative to rules drawn afresh the other N - 1 tuples are a uniform choice among :math:`v^s - 1`.
Add them one by one: with j other symbols reached by n tuples, the next reaches a new one with
probability

.. math:: \frac{(v - 1 - j)\, m}{v^s - 1 - n},

because a symbol that is not reached has all its m tuples left.  This Markov chain gives the law of
the parent's k = 1 + j given N, and :math:`P_{l-1}` from :math:`P_l` without sampling anything.
Masking is a genuine channel, so :math:`E[\nu(true)] = E\sum_a \nu(a)^2 \ge E[1/k]`: support sets
give a lower bound of the belief, and their threshold lies below the threshold of the class.

From above, two arguments, both for posteriors (real noise) and rules drawn anew at every node.

*Overlaps.*  Let :math:`w(\tau) = \prod_j x_j(\tau_j)`, :math:`N_a` the sum of w over the m rules of
a and :math:`S = \sum_a N_a`.  The probability of rules and leaves is :math:`(T / (m v))\, S` times
that of uniform rules and of children observed independently, under which w has the mean 1/T and
:math:`E \sum_\tau w^2 = \prod_j q_j`.  With :math:`V = \sum_a (N_a - S/v)^2 \le (1 - 1/v) S^2`,

.. math:: q' - \frac1v = \frac{v^{s-1}}{m}\, E_0\!\left[\frac{V}{S}\right], \qquad
   \frac VS \le \frac{V}{\theta \bar S} + \left(1 - \frac1v\right) S \left(1 - \frac{S}{\theta
   \bar S}\right)_{\!+} \le \frac{V}{\theta \bar S} + \left(1 - \frac1v\right)
   \frac{\theta}{4 (1 - \theta)}\, \frac{(S - \bar S)^2}{\bar S}

for every :math:`0 < \theta < 1`, :math:`\bar S = m v^{1-s}`.  Both variances are those of sampling
without replacement, hence proportional to :math:`q^s - v^{-s}`:

.. math:: q' - \frac1v \le K\, (q^s - v^{-s}), \qquad K = \min_\theta \left[
   \frac{v^{2s-2} (v - 1)}{m (T - 1)\, \theta} +
   \frac{v^{s-1} (v - 1) (T - m v)}{m v (T - 1)}\, \frac{\theta}{4 (1 - \theta)} \right] .

For m = v^(s-1), where S does not vary, this is an equality with :math:`\theta = 1`.  Where
:math:`K s v^{1-s} < 1`, overlaps below the root q_c of :math:`q - 1/v = K (q^s - v^{-s})` fall to
1/v: the class is lost.

*Level sets.*  More knowledge never lowers the belief.  Give every parent the rank h of the true
rule among the allowed rules of its symbol, in an order drawn at random.  Its posterior is then
uniform over the :math:`c_h` symbols that have h allowed rules or more: a message is again a set of
k symbols, as in support sets, and :math:`P_{l-1}(k)` follows from :math:`P_l(k)` without sampling.
"""

from __future__ import annotations

import functools
import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaln

from hierdiff.checks import checked, fraction, number, one_level, whole
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import NoiseProcess, has_snr, is_channel
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.passes import available_threads
from hierdiff.theory.rhm.density_evolution import (
    CriticalLevel,
    bisected,
    check_sizes,
    leaf_messages,
    means_of,
    same_symbols,
    side_by_side,
    step_up,
)
from hierdiff.theory.rhm.mean_field import demand_transition

__all__ = [
    "level_set_bound",
    "level_set_laws",
    "level_set_threshold",
    "overlap_bound",
    "overlap_threshold",
    "support_bound",
    "support_laws",
    "support_threshold",
    "threshold_upper_bound",
]

Array = NDArray[Any]

_LARGEST_TABLE = 1 << 22  # tuples
_GONE = 1e-9  # probability of certainty below which it is lost with depth
_LARGEST_RULES = 1000  # m (v - 1): the counts' probabilities, down to 2^-1000, are still floats
_SURE = 3.0  # standard errors by which a sampled overlap must lie below q_c
_BITS = 13


@checked(t=one_level)
def support_laws(rhm: RHM, t: float) -> Array:
    r"""Law of the number of symbols that masked leaves leave open, per level.

    Parameters
    ----------
    rhm : RHM
        Sizes; ``L`` is the depth.
    t : float
        Probability that a leaf is masked, in [0, 1].

    Returns
    -------
    array [L + 1, max(v, n_classes)]
        Entry [l, k - 1] is :math:`P_l(k)`, from the leaves below a node alone; root first.

    Raises
    ------
    InvalidParameter
        If t is outside [0, 1], or v**s exceeds 2**22.

    Notes
    -----
    Validity: exact for unambiguous rules drawn anew at every node (the limit that density evolution
    samples); rules shared by the nodes of a level change it by terms that vanish as v grows.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> support_laws(RHM(v=3, m=2, s=2, L=1), 0.5)[0].round(6)
    array([0.357143, 0.321429, 0.321429])
    """
    tables = {p: _support_table(rhm.v, rhm.m, rhm.s, p) for p in {rhm.v, rhm.n_classes}}
    return set_laws(rhm, t, tables)


def set_laws(rhm: RHM, t: float, tables: dict[int, Array]) -> Array:
    """Laws of every level, root first, from a parent's law given N for each number of parents."""
    width = max(rhm.v, rhm.n_classes)
    law = leaf_law(rhm, t)
    rows = [law]
    for level in range(rhm.L - 1, -1, -1):
        law = step_law(law, tables[rhm.v if level else rhm.n_classes], rhm.s)
        rows.insert(0, law)
    return np.stack([np.pad(row, (0, width - len(row))) for row in rows])


def _mean_inverse(laws: Array) -> Array:
    """E[1/k] of laws [..., k - 1]."""
    return np.asarray(laws @ (1 / np.arange(1, laws.shape[-1] + 1)))


@checked(t=one_level)
def support_bound(rhm: RHM, t: float) -> Array:
    r"""Lower bound :math:`E[1/k]` of the mean upward belief in the true symbol, per level.

    Parameters
    ----------
    rhm : RHM
    t : float
        Probability that a leaf is masked.

    Returns
    -------
    array [L + 1]
        Root first.

    Raises
    ------
    InvalidParameter
        As :func:`support_laws`.

    Notes
    -----
    Validity: a bound in the setting of :func:`support_laws`, by the Nishimori identity and
    Cauchy-Schwarz; an equality where every symbol left open is equally likely.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> support_bound(RHM(v=32, m=8, s=2, L=10), 0.2).round(4)[[0, 5, 10]]
    array([0.9065, 0.6706, 0.8062])
    """
    return _mean_inverse(support_laws(rhm, t))


@checked(tolerance=partial(number, low=1e-15, below=1))
def support_threshold(rhm: RHM, *, tolerance: float = 1e-9) -> float:
    """Masking above which support sets of infinite depth stay open; a lower bound of t*.

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    tolerance : float
        Width of the bracket, 1e-15 or more.

    Returns
    -------
    float

    Raises
    ------
    NoTransition
        If one open symbol spreads, F'(1) >= 1, or if m = 1, where one leaf gives all away.
    InvalidParameter
        If v**s exceeds 2**22.

    Notes
    -----
    Validity: exact in the setting of :func:`support_laws`.  Below it the class is certain with
    probability one as L grows; between it and the threshold of density evolution the class is
    known but not certain.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> round(support_threshold(RHM(v=32, m=8, s=2, L=1)), 6)
    0.25156
    """
    table = _support_table(rhm.v, rhm.m, rhm.s, rhm.v)
    spread = rhm.s * rhm.m * (rhm.v - 1) / (rhm.v**rhm.s - 1)
    if spread >= 1 or rhm.m == 1:
        raise NoTransition(
            f"m = {rhm.m} rules of v = {rhm.v} symbols give F'(1) = {spread:.3g}; support sets have"
            " a threshold only for m > 1 and F'(1) < 1"
        )
    low, high = 0.0, 1.0
    while high - low > tolerance:
        t = (low + high) / 2
        low, high = (t, high) if _closes(leaf_law(rhm, t), table, rhm.s) else (low, t)
    return (low + high) / 2


def critical_support(rhm: RHM) -> tuple[Array, Array, float]:
    """The law P(k) that the threshold's leaves flow to, the map's eigenvalues there, and t.

    Eigenvalues are of perturbations that keep the sum of the law, by size, largest first.
    """
    t = support_threshold(rhm)
    table = _support_table(rhm.v, rhm.m, rhm.s, rhm.v)
    law, nearest, least = leaf_law(rhm, t), leaf_law(rhm, t), np.inf
    # t is known to 1e-9, so the law comes near the fixed point before it leaves it
    for _ in range(10_000):
        new = step_law(law, table, rhm.s)
        change = float(np.abs(new - law).sum())
        if change < least:
            nearest, least = law, change
        elif change > 1e3 * least or new[0] > 1 - 1e-3 or new[0] < _GONE:
            break
        law = new
    law, ones = nearest, np.ones((1, rhm.v))
    for _ in range(50):
        rest = law - step_law(law, table, rhm.s)
        matrix = np.vstack([_derivative(law, table, rhm.s).T - np.eye(rhm.v), ones])
        change = np.linalg.lstsq(matrix, np.append(rest, 0.0), rcond=None)[0]
        law = law + change
        if np.abs(change).sum() < 1e-15:
            break
    # directions that keep the sum: the orthogonal complement of the vector of ones
    basis = np.linalg.svd(ones)[2][1:]
    values = np.linalg.eigvals(basis @ _derivative(law, table, rhm.s).T @ basis.T)
    order = np.argsort(-np.abs(values))
    return law, np.asarray(values[order].real), t


def _derivative(law: Array, table: Array, s: int) -> Array:
    """Of one level up: [k of a child, k of the parent], s times the effect of one child."""
    sizes = np.arange(1, len(law) + 1)
    product, weight = _product(law, s - 1)
    return np.asarray(s * np.stack([weight @ table[k * product - 1] for k in sizes]))


def _product(law: Array, children: int) -> tuple[Array, Array]:
    """Law of the product of the sizes of so many children: its values and their weights."""
    sizes = np.arange(1, len(law) + 1)
    product: Array = np.ones(1, np.int64)
    weight: Array = np.ones(1)
    for _ in range(children):
        weight = np.bincount(np.outer(product, sizes).ravel(), np.outer(weight, law).ravel())
        product = np.flatnonzero(weight)
        weight = weight[product]
    return product, weight


def _closes(law: Array, table: Array, s: int) -> bool:
    """Whether the law tends to certainty with depth."""
    while True:
        law = step_law(law, table, s)
        if 1 - law[0] < 1e-3:
            return True
        if law[0] < _GONE:
            return False


def leaf_law(rhm: RHM, t: float) -> Array:
    """Law of the support of a leaf under masking: one symbol with 1 - t, all v with t."""
    if not 0 <= t <= 1:
        raise InvalidParameter(f"t = {t} is outside [0, 1]; it is the fraction of masked leaves")
    law = np.zeros(rhm.v)
    law[0], law[-1] = 1 - t, law[-1] + t
    return law


def step_law(law: Array, table: Array, s: int) -> Array:
    """One level up: the law of the product N of s sizes, then of the parent's size given N."""
    product, weight = _product(law, s)
    out = weight @ table[product - 1]
    return np.asarray(out / out.sum())


@functools.lru_cache(maxsize=8)
def _support_table(v: int, m: int, s: int, parents: int) -> Array:
    """Law of the parent's size given N, [N - 1, k - 1]."""
    others = v**s - 1
    if others >= _LARGEST_TABLE:
        raise InvalidParameter(f"v**s = {v**s} tuples exceed 2**22; lower v or s")
    out = np.zeros((v**s, parents))
    out[0, 0] = 1.0
    left = m * np.arange(parents - 1, -1, -1)
    for n in range(others):
        new = out[n] * np.minimum(left / (others - n), 1.0)
        out[n + 1] = out[n] - new
        out[n + 1, 1:] += new[:-1]
    out.setflags(write=False)
    return out


@checked(q=fraction)
def overlap_bound(rhm: RHM, q: float) -> float:
    r"""Upper bound of a parent's overlap from that of its children.

    .. math:: q' \le \frac1v + K\, (q^s - v^{-s})

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    q : float
        Overlap :math:`E\sum_a x(a)^2` of each child, at least 1/v.

    Returns
    -------
    float
        At most 1.

    Raises
    ------
    InvalidParameter
        If q is below 1/v, where no overlap is.

    Notes
    -----
    Validity: posteriors (masking, uniform, Gaussian noise), rules drawn anew at every node; an
    equality for m = v^(s-1).

    Examples
    --------
    >>> round(overlap_bound(RHM(v=32, m=8, s=2, L=1), 0.1), 6)
    0.096561
    """
    if q < 1 / rhm.v:
        raise InvalidParameter(f"q = {q} is below 1/v = {1 / rhm.v:.6g}, the least overlap")
    return min(1 / rhm.v + _factor(rhm) * (q**rhm.s - float(rhm.v) ** -rhm.s), 1.0)


@checked
def overlap_threshold(rhm: RHM) -> float:
    r"""Overlap q_c: where a level of the tree has less, the class is lost as L grows.

    .. math:: q_c - \frac1v = K\, (q_c^s - v^{-s}), \qquad q_c > \frac1v

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.

    Returns
    -------
    float

    Raises
    ------
    NoTransition
        If the class is never or always lost.
    InvalidParameter
        If K s v^(1-s) >= 1: near ignorance the bound does not contract, and nothing is proven.

    Notes
    -----
    Validity: as :func:`overlap_bound`.

    Examples
    --------
    >>> round(overlap_threshold(RHM(v=32, m=8, s=2, L=1)), 4)
    0.1069
    """
    demand_transition(rhm)
    v, s, K = rhm.v, rhm.s, _factor(rhm)
    slope = K * s * float(v) ** (1 - s)
    if slope >= 1:
        raise InvalidParameter(
            f"(v, m, s) = ({v}, {rhm.m}, {s}): the bound on overlaps grows by {slope:.4g} >= 1 per "
            "level near 1/v and proves no loss; raise v or m"
        )
    if overlap_bound(rhm, 1.0) < 1:
        return 1.0  # every overlap falls

    # the convex bound crosses the diagonal once above 1/v; divide 1/v out
    def excess(q: float) -> float:
        return K * sum(q**i * float(v) ** (i + 1 - s) for i in range(s)) - 1

    return float(brentq(excess, 1 / v, 1.0, xtol=1e-15))


@checked(t=fraction)
def level_set_laws(rhm: RHM, t: float) -> Array:
    r"""Law of the number of symbols left open if every parent is given the rank of its true rule.

    Parameters
    ----------
    rhm : RHM
        Sizes; ``L`` is the depth.
    t : float
        Probability that a leaf is masked, in [0, 1].

    Returns
    -------
    array [L + 1, max(v, n_classes)]
        Entry [l, k - 1] is :math:`P_l(k)`, root first.

    Raises
    ------
    InvalidParameter
        If t is outside [0, 1], v**s exceeds 2**22, or there are more than 1000 wrong rules.

    Notes
    -----
    Validity: masking, rules drawn anew at every node; exact for the enlarged knowledge.

    Examples
    --------
    >>> level_set_laws(RHM(v=3, m=2, s=2, L=1), 0.5)[0].round(6)
    array([0.392857, 0.285714, 0.321429])
    """
    tables = {p: _rank_table(rhm.v, rhm.m, rhm.s, p) for p in {rhm.v, rhm.n_classes}}
    return set_laws(rhm, t, tables)


@checked(t=fraction)
def level_set_bound(rhm: RHM, t: float) -> Array:
    r"""Upper bound :math:`E[1/k]` of the mean upward belief in the true symbol, per level.

    Parameters
    ----------
    rhm, t
        As in :func:`support_bound`.

    Returns
    -------
    array [L + 1]
        Root first.

    Raises
    ------
    InvalidParameter
        As :func:`level_set_laws`.

    Notes
    -----
    Validity: masking at t, and uniform noise at t, which is masking whose masked leaves show a
    symbol drawn at random; rules drawn anew at every node.  ``support_bound`` is the lower bound.

    Examples
    --------
    >>> level_set_bound(RHM(v=32, m=8, s=2, L=10), 0.42).round(4)[[0, 5, 10]]
    array([0.2859, 0.3351, 0.5931])
    """
    return _mean_inverse(level_set_laws(rhm, t))


@checked
def level_set_threshold(rhm: RHM) -> float:
    """Masking above which the class is lost although every rank is given; an upper bound of t*.

    A level whose overlap E[1/k] is below ``overlap_threshold`` counts as lost, too.

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.

    Returns
    -------
    float
        Between ``support_threshold`` and 1; 1 where the ranks keep the class at any noise.

    Raises
    ------
    NoTransition
        If the class is never or always lost.
    InvalidParameter
        As :func:`level_set_laws`.

    Notes
    -----
    Validity: as :func:`level_set_bound`, L to infinity; bisected to 1e-9.

    Examples
    --------
    >>> round(level_set_threshold(RHM(v=32, m=8, s=2, L=1)), 4)
    0.3979
    """
    demand_transition(rhm)
    table, certain = _rank_table(rhm.v, rhm.m, rhm.s, rhm.v), _certain(rhm)
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        t = (low + high) / 2
        low, high = (low, t) if _fades(rhm, t, table, certain) else (t, high)
    return high


@checked
def threshold_upper_bound(
    rhm: RHM,
    noise: NoiseProcess,
    *,
    levels: int = 12,
    size: int = 10_000,
    copies: int = 4,
    seed: Seed = 0,
) -> CriticalLevel:
    r"""Upper bound of t* for any real noise: where the overlap of some level is below q_c.

    .. math:: t^* \le \inf \{ t : q_l(t) < q_c \text{ for some } l \le \text{levels} \}

    The overlaps of the first levels are those of density evolution; from there on the bound on
    overlaps proves that the class is lost.

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    noise : NoiseProcess
        Masking, uniform or Gaussian noise.
    levels : int
        Levels above the leaves that are sampled; the bound tends to t* as they grow.
    size, copies : int
        Members, and independent populations.
    seed : Seed
        Source of randomness.

    Returns
    -------
    CriticalLevel
        Mean of the bounds of the populations and its standard error.

    Raises
    ------
    NoTransition
        If the class is never or always lost.
    InvalidParameter
        For the epsilon-process, whose beliefs are no posteriors; as :func:`overlap_threshold`; or
        if sizes are too small.

    Notes
    -----
    Validity: as :func:`overlap_bound`.  An overlap counts as below q_c if it is so by three
    standard errors of its population.  A bound free of sampling, for masking and uniform noise, is
    :func:`level_set_threshold`.

    Examples
    --------
    >>> from hierdiff import MaskingNoise
    >>> rhm = RHM(v=32, m=8, s=2, L=1)
    >>> found = threshold_upper_bound(rhm, MaskingNoise(32), levels=6, size=1000, copies=2)
    >>> bool(0.4 < found.value < 0.5)
    True
    """
    whole("levels", levels, 0, 10_000)
    check_sizes(rhm, size, copies, levels + 1)
    if not is_channel(noise):
        raise InvalidParameter(
            "noise = epsilon is no observation and its beliefs are no posteriors; use masking, "
            "uniform or gaussian noise (critical_noise is the threshold of the epsilon-process)"
        )
    same_symbols(rhm, noise)
    certain = overlap_threshold(rhm)
    random = generator(seed)
    seeds = [int(random.integers(2**63)) for _ in range(copies)]
    bound = functools.partial(_bound, rhm, noise, levels, size, certain)
    with side_by_side(min(available_threads(), copies)) as each:
        found = np.array(list(each(bound, seeds)))
    value, spread = float(found.mean()), float(found.std(ddof=1) / np.sqrt(copies))
    snr = snr_error = None
    if has_snr(noise):
        ratios = noise.snr(found)
        snr, snr_error = float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(copies))
    words = (
        f"noise level above which some overlap within {levels} levels of the leaves is below "
        f"q_c = {certain:.6g}, in populations of {size}; mean and standard error of {copies}"
    )
    return CriticalLevel(value, spread, snr, snr_error, words, levels, 0.0)


@functools.lru_cache(maxsize=64)
def _factor(rhm: RHM) -> float:
    """K, minimised over theta."""
    v, m, s = rhm.v, rhm.m, rhm.s
    T = float(v) ** s
    signal = T / v * (T / v) * (v - 1) / (m * (T - 1))
    scatter = T / v * (v - 1) * (T - m * v) / (m * v * (T - 1))
    if scatter <= 0:
        return signal
    # d/dtheta = 0: signal / theta^2 = scatter / (4 (1 - theta)^2)
    theta = 1 / (1 + math.sqrt(scatter / (4 * signal)))
    return signal / theta + scatter * theta / (4 * (1 - theta))


def _bound(
    rhm: RHM, noise: NoiseProcess, levels: int, size: int, certain: float, seed: int
) -> float:
    def lost(times: list[float]) -> list[bool]:
        random = np.random.default_rng(seed)
        population = leaf_messages(noise, np.array(times), size, random)
        found = _below(population, certain)
        going = np.arange(len(times))
        for _ in range(levels):
            kept = ~(found[going] | (means_of(population[:, 0]) > 1 - 1e-6))
            if not kept.all():
                going, population = going[kept], population[..., kept]
            if not going.size:
                break
            population = step_up(population, rhm, rhm.v, random)
            found[going] = _below(population, certain)
        return [bool(x) for x in found]

    return bisected(lost, _BITS)[1]  # the certified end of the bracket


def _below(population: Array, certain: float) -> Array:
    """Whether the overlap of every population [size, v, T] is below a bound."""
    overlap = np.ascontiguousarray((population**2).transpose(2, 0, 1)).sum(axis=2)
    doubt = _SURE * overlap.std(axis=1) / math.sqrt(overlap.shape[1])
    return np.asarray(overlap.mean(axis=1) + doubt < certain)


def _fades(rhm: RHM, t: float, table: Array, certain: float) -> bool:
    """Whether the law tends to ignorance with depth, or its overlap falls below q_c."""
    law, overlap = leaf_law(rhm, t), 1 / np.arange(1, rhm.v + 1)
    while True:
        new = step_law(law, table, rhm.s)
        if new[-1] > 1 - 1e-6 or new @ overlap < certain:
            return True
        # a law that no longer changes has come to a fixed point at which something is known
        if new[0] > 1 - 1e-3 or np.abs(new - law).sum() < 1e-13:
            return False
        law = new


def _certain(rhm: RHM) -> float:
    """q_c, or 0 where there is none."""
    try:
        return overlap_threshold(rhm)
    except InvalidParameter:
        return 0.0


@functools.lru_cache(maxsize=8)
def _rank_table(v: int, m: int, s: int, parents: int) -> Array:
    """Law of the number c_h of symbols of the true rank, given N allowed tuples, [N - 1, k - 1]."""
    T, others = v**s, m * (parents - 1)
    if T > _LARGEST_TABLE:
        raise InvalidParameter(f"v**s = {T} tuples exceed 2**22; lower v or s")
    if others > _LARGEST_RULES:
        raise InvalidParameter(
            f"m (v - 1) = {others} wrong rules exceed {_LARGEST_RULES}; lower m or v"
        )
    N, out = np.arange(1, T + 1), np.zeros((T, parents))
    counts = np.arange(others + 1)
    reach = [_reached(m, parents - 1, h) for h in range(1, m + 1)]
    for own in range(m):  # further allowed rules of the true symbol
        p = _hypergeometric(np.array([own]), T - 1, m - 1, N - 1)[:, 0]
        possible = np.flatnonzero(p > 0)
        rest = _hypergeometric(counts, T - m, others, N[possible] - 1 - own)
        mixed = sum(rest @ reach[h] for h in range(own + 1)) / (own + 1)
        out[possible] += p[possible, None] * mixed
    out /= out.sum(axis=1, keepdims=True)  # sums differ from one by the rounding of gammaln
    out.setflags(write=False)
    return out


def _reached(m: int, symbols: int, h: int) -> Array:
    """Law of how many of the symbols have h or more of n allowed rules, [n, number]."""
    law = np.zeros((m * symbols + 1, symbols + 1))
    law[0, 0] = 1.0
    # n of m with weight C(m, n) / 2^m; conditioning on the total makes the choice uniform
    weights = [math.comb(m, n) / 2.0**m for n in range(m + 1)]
    for _ in range(symbols):
        new = np.zeros_like(law)
        for n, weight in enumerate(weights):
            moved = weight * law[: len(law) - n]
            if n >= h:
                new[n:, 1:] += moved[:, :-1]
            else:
                new[n:] += moved
        law = new
    return np.asarray(law / law.sum(axis=1, keepdims=True))


def _hypergeometric(k: Array, total: int, good: int, drawn: Array) -> Array:
    """Probability of k good ones among so many drawn without replacement, [drawn, k]."""
    d, k = np.broadcast_arrays(drawn[:, None], k[None, :])
    fits = (k <= good) & (k <= d) & (d >= 0) & (d - k <= total - good)
    d, k = np.where(fits, d, 0), np.where(fits, k, 0)

    def log_choose(n: Any, j: Any) -> Any:
        return gammaln(n + 1.0) - gammaln(j + 1.0) - gammaln(n - j + 1.0)

    log = log_choose(good, k) + log_choose(total - good, d - k) - log_choose(total, d)
    return np.asarray(np.where(fits, np.exp(log), 0.0))
