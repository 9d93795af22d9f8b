r"""Exponents at the threshold of any noise process, from linearised density evolution.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
x, y           messages: beliefs over the v symbols of a node, from the leaves below it
F              density evolution, the map of the law P of a message one level up the tree
P*             critical fixed point, F(P*) = P*, to which the leaves' law flows at t = t*
lambda         the one eigenvalue above 1 of the derivative of F at P*
nu             exponent of the correlation length in leaves, :math:`|t - t^*|^{-\nu}`
a              exponent of the correlations at t*, :math:`C \sim r^{-a}` at a distance of r leaves
=============  ==============================================================================

.. math::
   \lambda: \ DF(P^*)\,\delta P = \lambda\, \delta P, \qquad
   \nu = \frac{\log s}{\log \lambda}, \qquad
   a = 2 - 2\, \frac{\log\lambda}{\log s} = 2 - \frac{2}{\nu} .

F applies belief propagation to s independent children, so it is a form of degree s in the law, and
its derivative replaces one child:
:math:`DF(P)\,\delta P = s \cdot \mathrm{law\ of\ BP}(\delta P, P, \dots, P)`.  A signed
perturbation is a population of pairs (x, x'), the law of x less that of x'.  Both members of a pair
meet the same siblings and the same rules, and the difference of the means is multiplied by
:math:`\lambda / s` per level; no finite step is taken and nothing has to be small.

For a real noise process the beliefs are posteriors.  Let x' know less than x (at first nothing).
Then, given both, the true symbol is distributed as x, and

.. math::
   I(a; \text{leaves of } x) - I(a; \text{leaves of } x') = E\, D_{KL}(x \,\|\, x') \ge 0 ,

so the difference is a mean of positive numbers: pairs are resampled in proportion to their
divergence, and lambda is a long average without cancellations.  The epsilon-process is no
observation: its difference is the signed mean of :math:`x(true) - x'(true)`.

What follows from lambda.  A change of the leaves' noise reaches the root multiplied by
:math:`\lambda^L`: the slope of the class, and the approach :math:`t_L - t^* \sim \lambda^{-L}`.  A
single leaf is felt :math:`(\lambda/s)^d` at height d, and back down at another leaf
:math:`(\lambda/s)^{2d}` (for posteriors the response is symmetric), so :math:`C(d)` decays with
that factor, and the slope of a leaf's belief and the susceptibility are sums of
:math:`s^d (\lambda/s)^{2d} = (\lambda^2/s)^d`: they grow by :math:`\lambda^2/s` per level if that
exceeds 1 (:math:`\nu < 2`), and saturate otherwise.

The annealed recursion has :math:`\lambda = F'(p^*)`.  It neglects the scatter of the messages,
whose variance is multiplied by :math:`s (\lambda/s)^2 = \lambda^2/s` per level.  Where
:math:`F'(p^*)^2 > s`, the scatter grows, and at finite v the epsilon-process leaves the fixed point
of the recursion for another one with :math:`\nu > 2`; :math:`F'(p^*)` then holds for the levels
near the leaves, more of them the larger v is.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit, xlogy

from hierdiff.checks import checked, level, whole
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import NoiseProcess, is_channel
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.passes import available_threads
from hierdiff.theory.rhm.bounds import critical_support
from hierdiff.theory.rhm.density_evolution import (
    Each,
    branch_up,
    check_sizes,
    critical_level,
    empty_messages,
    leaf_messages,
    means_of,
    same_symbols,
    side_by_side,
    step_up,
)
from hierdiff.theory.rhm.mean_field import demand_transition

__all__ = [
    "BeliefSlopes",
    "CriticalExponents",
    "belief_slopes",
    "critical_exponents",
    "support_exponents",
]

Array = NDArray[Any]

_FREE = 6  # levels from the leaves without control: the error of t* has not grown much by then
_GAIN = 0.5  # of the set point; lambda - 1 times it is the rate per level at which it converges
_MOST_LEVELS = 10_000  # far beyond any transient
_BLOCK = 5  # levels by which the transient is enlarged until the rest is stationary


@dataclass(frozen=True)
class CriticalExponents:
    r"""Leading eigenvalue at a critical fixed point, what follows from it, and the fixed point.

    Attributes
    ----------
    process : str
        Name of the noise process, or "support sets".
    s : int
        Branching of the tree.
    eigenvalue, eigenvalue_error : float
        lambda, with its standard error from independent populations (0 where exact).
    belief, belief_error, overlap, overlap_error : float
        :math:`E\,p(true)` and :math:`E \sum_a p(a)^2` at the fixed point: equal (Nishimori) for a
        real process, not for the epsilon-process.
    certain : float
        Probability that a message at the fixed point is certain to 1e-9.
    threshold : float
        Noise level from whose leaves the fixed point was approached.
    growth, growth_error : array [levels]
        Growth of the perturbation per level; its mean behind the transient is lambda.
    transient : int
        Levels that were left out.
    """

    process: str
    s: int
    eigenvalue: float
    eigenvalue_error: float
    belief: float
    belief_error: float
    overlap: float
    overlap_error: float
    certain: float
    threshold: float
    growth: Array
    growth_error: Array
    transient: int

    @property
    def nu(self) -> float:
        """Exponent of the correlation length, log s / log lambda."""
        return math.log(self.s) / math.log(self.eigenvalue)

    @property
    def nu_error(self) -> float:
        """Standard error of ``nu``, to first order."""
        log = math.log(self.eigenvalue)
        return self.nu * self.eigenvalue_error / (self.eigenvalue * log)

    @property
    def a(self) -> float:
        """Exponent of the correlations, 2 - 2 / nu."""
        return 2 - 2 / self.nu

    @property
    def a_error(self) -> float:
        """Standard error of ``a``, to first order."""
        return 2 * self.eigenvalue_error / (self.eigenvalue * math.log(self.s))

    @property
    def leaf_growth(self) -> float:
        """lambda^2 / s: growth per level of the leaf slope and of the susceptibility's terms."""
        return self.eigenvalue**2 / self.s

    @property
    def leaf_growth_error(self) -> float:
        """Standard error of ``leaf_growth``, to first order."""
        return 2 * self.eigenvalue * self.eigenvalue_error / self.s

    @property
    def susceptibility(self) -> str:
        """What it does at t* as L grows: "diverges", "saturates", or "undecided" to two errors."""
        gap = self.leaf_growth - 1
        if abs(gap) <= 2 * self.leaf_growth_error:
            return "undecided"
        return "diverges" if gap > 0 else "saturates"


@dataclass(frozen=True)
class BeliefSlopes:
    r"""Slope of the mean upward belief in the noise level, per number of levels above the leaves.

    Attributes
    ----------
    slope, slope_error : array [levels + 1]
        :math:`-dE\,p_l(true)/dt`, the leaves first.
    belief : array [levels + 1]
        Mean belief in the true symbol.
    growth, growth_error : array [levels]
        Ratios of successive slopes; they tend to lambda at t*.
    """

    slope: Array
    slope_error: Array
    belief: Array
    growth: Array
    growth_error: Array


@checked
def critical_exponents(
    rhm: RHM,
    noise: NoiseProcess,
    *,
    t: float | None = None,
    size: int = 4000,
    levels: int = 80,
    copies: int = 6,
    seed: Seed = 0,
) -> CriticalExponents:
    r"""Exponents at the threshold of a noise process, by linearised density evolution.

    .. math:: DF(P^*)\,\delta P = \lambda\,\delta P, \qquad \nu = \log s / \log \lambda, \qquad
       a = 2 - 2/\nu

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    noise : NoiseProcess
        Any process on symbols.
    t : float, optional
        Its threshold, if known; otherwise it is measured by ``critical_level``.
    size : int
        Members of a population.
    levels : int
        Levels by which a population approaches the fixed point, and again over which the growth of
        a perturbation is followed.
    copies : int
        Independent populations, whose scatter gives the errors; at least three.
    seed : Seed
        Source of randomness.

    Returns
    -------
    CriticalExponents

    Raises
    ------
    NoTransition
        If the class is always or never lost, or the population does not stay between the two.
    InvalidParameter
        If sizes are too small, or the growth has not become stationary.

    Notes
    -----
    Method.  From the leaves at t* a population runs freely for 6 levels and is then held on the
    threshold: members are drawn anew with weights :math:`e^{h \sum_a x_a^2}` that bring their
    overlap to a set point (for the epsilon-process, :math:`e^{h x(true)}` and the belief), and the
    set point follows the drift until none is left.  At the fixed point h vanishes on average, so
    it does not depend on the form of the control.  The weights depend on the beliefs alone and
    keep posteriors posteriors; the true symbol is drawn anew from each message, as a finite
    population that is held at the threshold drifts off the Nishimori line.

    lambda of a population is the sum of the perturbation after each level, relative to its size
    before, over the sum of the same before; for posteriors, the mean growth.

    Transient.  Let b be the smallest multiple of 5 such that the growth behind the first b levels
    is equal in its two halves (Student's two-sided test at 1 % over the copies); 2b levels
    are left out, at least 10.

    Validity: rules drawn anew at every node.  Errors are those of the mean of copies (Student's
    law with copies - 1 degrees of freedom); a bias of order 1/size is not in them.

    References
    ----------
    Pairs: derivation in ``theory/derive_critical_exponents.py``.  Exponents of the epsilon-process:
    Sclocchi, Favero, Levi, Wyart, arXiv 2410.13770.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> rhm = RHM(v=8, m=3, s=2, L=1)
    >>> found = critical_exponents(rhm, MaskingNoise(8), t=0.42, size=500, levels=40, copies=3)
    >>> 1.05 < found.eigenvalue < 1.2, found.susceptibility
    (True, 'saturates')
    """
    _demand(rhm, noise, size, levels, copies)
    random = generator(seed)
    if t is None:
        t = critical_level(rhm, noise, size=size, copies=max(copies, 3), seed=random).value
    level("t", t)
    # copies draw from one generator, one after another, and so the threads share the members
    with side_by_side(available_threads()) as each:
        runs = [_Run(rhm, noise, size, random, each).measure(t, levels) for _ in range(copies)]
    after, before, observed = (np.stack([run[i] for run in runs]) for i in range(3))
    transient = _transient(after, before)
    mean, error = _over_copies(_growth(after, before, transient, levels))
    if mean <= 1:
        raise NoTransition(
            f"lambda = {mean:.4g} ± {error:.2g} is not above 1 at t = {t:.6g}; the fixed point is "
            "not unstable (a larger size resolves one close to ignorance)"
        )
    values, errors = _over_copies(observed)
    # a ratio of means, as one level of a signed perturbation may be close to zero in one copy
    per_level = after.mean(axis=0) / before.mean(axis=0)
    per_level_error = _over_copies((after - per_level * before) / before.mean(axis=0))[1]
    return CriticalExponents(
        noise.name, rhm.s, float(mean), float(error), float(values[0]), float(errors[0]),
        float(values[1]), float(errors[1]), float(values[2]), float(t), per_level,
        per_level_error, transient,
    )  # fmt: skip


@checked
def support_exponents(rhm: RHM) -> CriticalExponents:
    r"""Exponents of the support sets of masking at their own threshold, without sampling.

    .. math:: \frac{\partial P_{l-1}(k)}{\partial P_l(j)} \text{ at the fixed point, with }
       \textstyle\sum_j \delta P_l(j) = 0

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.

    Returns
    -------
    CriticalExponents
        With errors zero; ``belief`` and ``overlap`` are both E[1/k], ``certain`` is P(k = 1).

    Raises
    ------
    NoTransition
        As ``support_threshold``.
    InvalidParameter
        If v**s exceeds 2**22.

    Notes
    -----
    Validity: exact for the map of ``support_laws`` at infinite depth; Newton's method to rounding.
    This is the fixed point of naive reconstruction, below the threshold of the class.

    References
    ----------
    Semerjian, J. Stat. Phys. 130, 251 (2008), on naive reconstruction and rigidity.

    Examples
    --------
    >>> found = support_exponents(RHM(v=32, m=8, s=2, L=1))
    >>> round(found.eigenvalue, 4), round(found.nu, 3), round(found.certain, 4)
    (1.3062, 2.595, 0.3127)
    """
    law, eigenvalues, threshold = critical_support(rhm)
    belief = float(law @ (1 / np.arange(1, len(law) + 1)))
    return CriticalExponents(
        "support sets", rhm.s, float(eigenvalues[0]), 0.0, belief, 0.0, belief, 0.0, float(law[0]),
        threshold, eigenvalues[:1], np.zeros(1), 0,
    )  # fmt: skip


@checked
def belief_slopes(
    rhm: RHM,
    noise: NoiseProcess,
    t: float,
    *,
    delta: float = 0.002,
    levels: int = 12,
    size: int = 20_000,
    copies: int = 4,
    seed: Seed = 0,
) -> BeliefSlopes:
    r"""How fast the mean upward belief falls with noise, level by level above the leaves.

    .. math:: -\frac{dE\,p_l}{dt} \approx \frac{E\,p_l(t - \delta) - E\,p_l(t + \delta)}{2 \delta}

    Two populations with the same random numbers, at t - delta and t + delta.

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    noise : NoiseProcess
        Any process on symbols.
    t : float
        Noise level.
    delta : float
        Half the difference of the two noise levels.
    levels, size, copies : int
        Levels above the leaves, members, and independent pairs of populations.
    seed : Seed
        Source of randomness.

    Returns
    -------
    BeliefSlopes

    Raises
    ------
    InvalidParameter
        If t - delta or t + delta is outside [0, 1], or sizes are too small.

    Notes
    -----
    Validity: as :func:`population_dynamics`; linear in delta as long as the two beliefs differ
    little (delta times the slope).  Growth tends to lambda only when the law of the messages has
    come to the fixed point, and at the latest levels a population has left it again.

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> found = belief_slopes(RHM(32, 8, 2, 1), EpsilonNoise(32), 68 / 93, levels=3, size=4000)
    >>> bool(abs(found.growth - 1.442).max() < 0.04)  # F'(p*) of the recursion
    True
    """
    whole("levels", levels, 1, _MOST_LEVELS)
    check_sizes(rhm, size, copies, 2 * levels)
    same_symbols(rhm, noise)
    # below 1e-9 the two populations differ by rounding
    if not (delta >= 1e-9 and t - delta >= 0 and t + delta <= 1):
        raise InvalidParameter(
            f"t = {t} with delta = {delta} leaves [0, 1]; choose 1e-9 <= delta <= min(t, 1 - t)"
        )
    random = generator(seed)
    keys = [int(random.integers(2**63)) for _ in range(copies)]
    climb = functools.partial(
        _beliefs_up, rhm, noise, np.array([t - delta, t + delta]), levels, size
    )
    with side_by_side(min(available_threads(), copies)) as each:
        beliefs = np.array(list(each(climb, keys)))
    slopes = (beliefs[:, 0] - beliefs[:, 1]) / (2 * delta)
    slope, slope_error = _over_copies(slopes)
    # a ratio of means, with the error of its logarithm by leaving one copy out
    growth = slope[1:] / slope[:-1]
    without = (slopes.sum(axis=0) - slopes) / (copies - 1)
    spread = (without[:, 1:] / without[:, :-1]).std(axis=0) * math.sqrt(copies - 1)
    return BeliefSlopes(slope, slope_error, beliefs.mean(axis=(0, 1)), growth, spread)


def _beliefs_up(
    rhm: RHM, noise: NoiseProcess, times: Array, levels: int, size: int, key: int
) -> Array:
    """Mean beliefs [T, levels + 1], with the same random numbers at all noise levels."""
    random = np.random.default_rng(key)
    population = leaf_messages(noise, times, size, random)
    means = [means_of(population[:, 0])]
    for _ in range(levels):
        population = step_up(population, rhm, rhm.v, random)
        means.append(means_of(population[:, 0]))
    return np.transpose(means)


def _demand(rhm: RHM, noise: NoiseProcess, size: int, levels: int, copies: int) -> None:
    whole("copies", copies, 3)
    whole("levels", levels, 6 * _BLOCK, _MOST_LEVELS)
    check_sizes(rhm, size, copies, 4 * levels)
    same_symbols(rhm, noise)
    demand_transition(rhm)


def _over_copies(values: Array) -> tuple[Any, Any]:
    return values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))


def _growth(after: Array, before: Array, first: int, last: int) -> Array:
    """Of every copy over some levels, as a ratio of sums."""
    return np.asarray(after[:, first:last].sum(axis=1) / before[:, first:last].sum(axis=1))


def _transient(after: Array, before: Array) -> int:
    """Levels to leave out of a perturbation [copies, levels], by the rule that the Notes state."""
    copies, levels = after.shape
    for b in range(_BLOCK, levels // 4 + 1, _BLOCK):
        middle = (b + levels) // 2
        early = _growth(after, before, b, middle)
        mean, error = _over_copies(_growth(after, before, middle, levels) - early)
        if abs(mean) <= stdtrit(copies - 1, 0.995) * error:
            return 2 * b
    raise InvalidParameter(
        f"levels = {levels} are too few: the growth per level still drifts behind the first "
        f"{levels // 4}; use levels = {2 * levels} or more"
    )


class _Run:
    """One population on its way to the fixed point, and pairs that grow there."""

    def __init__(
        self, rhm: RHM, noise: NoiseProcess, size: int, random: np.random.Generator,
        each: Each = map,
    ) -> None:  # fmt: skip
        self.rhm, self.noise, self.size, self.random = rhm, noise, size, random
        self.each = each
        self.real = is_channel(noise)
        self.set_point = math.nan

    def measure(self, t: float, levels: int) -> tuple[Array, Array, Array]:
        """A perturbation after and before each level, (belief, overlap, certain) of the point."""
        population = leaf_messages(self.noise, t, self.size, self.random)
        for _ in range(_FREE):
            population = self._up(population)
        self.set_point = float(self._order(population).mean())
        for _ in range(levels):
            population, _ = self._held(population)
        one, other, observed = population, self._less_informed(population), []
        after, before, weight = np.empty(levels), np.empty(levels), np.ones(self.size)
        gap = self._gap(one, other)
        for i in range(levels):
            above, below = self._pairs_up(one, other, population)
            risen = self._gap(above, below)
            # weights make the size of the perturbation one, so levels count alike in a sum
            before[i] = weight @ gap / self.size
            after[i] = self.rhm.s * (weight @ risen) / self.size
            picked, weight = self._resampled(above, below, risen, weight)
            one, other, gap = above[picked], below[picked], risen[picked]
            population, seen = self._held(population)
            observed.append(seen)
        return after, before, np.mean(observed, axis=0)

    def _up(self, population: Array) -> Array:
        return self._drawn(step_up(population, self.rhm, self.rhm.v, self.random, self.each))

    def _drawn(self, population: Array, *others: Array) -> Array:
        """Draw the true symbol from each message, as posteriors allow, and move it to index 0."""
        if self.real:
            edges = np.cumsum(population, axis=1)
            u = self.random.random((len(population), 1)) * edges[:, -1:]
            true, rows = (u > edges).sum(axis=1), np.arange(len(population))
            for x in (population, *others):
                x[rows, true], x[rows, 0] = x[rows, 0].copy(), x[rows, true].copy()
        return population

    def _order(self, population: Array) -> Array:
        """What is held: for posteriors the overlap, whose mean is that of the belief."""
        return np.asarray((population**2).sum(axis=1) if self.real else population[:, 0])

    def _held(self, population: Array) -> tuple[Array, tuple[float, float, float]]:
        """One level up, then back to the set point, which follows the drift."""
        up = step_up(population, self.rhm, self.rhm.v, self.random, self.each)
        # before the truth is drawn anew, so that Nishimori's identity is a result of the level
        seen = (
            float(up[:, 0].mean()),
            float((up**2).sum(axis=1).mean()),
            float((up[:, 0] > 1 - 1e-9).mean()),
        )
        up = self._drawn(up)
        order = self._order(up)
        self.set_point -= _GAIN * (float(order.mean()) - self.set_point)
        if not order.min() < self.set_point < order.max():
            raise NoTransition(
                f"the population of {self.size} left the threshold of (v, m, s) = ({self.rhm.v}, "
                f"{self.rhm.m}, {self.rhm.s}) for {self.noise.name} noise; use a larger size"
            )
        return up[self._systematic(_tilted(order, self.set_point))], seen

    def _systematic(self, weights: Array) -> Array:
        """Members drawn in proportion to their weights, with the least scatter of the counts."""
        edges = np.cumsum(weights)
        u = (np.arange(self.size) + self.random.random()) / self.size * edges[-1]
        return np.asarray(np.minimum(np.searchsorted(edges, u, side="right"), self.size - 1))

    def _less_informed(self, population: Array) -> Array:
        if self.real:
            return np.full_like(population, 1 / self.rhm.v)
        other = population.copy()
        other[:, 0] *= 0.9  # any perturbation turns into the leading one; this one moves the mean
        return np.asarray(other / other.sum(axis=1, keepdims=True))

    def _gap(self, one: Array, other: Array) -> Array:
        """The quantity whose mean is the difference of the two laws."""
        if not self.real:
            return np.asarray(one[:, 0] - other[:, 0])
        # KL as a sum of terms >= 0, each exact for nearly equal beliefs
        ratio = np.divide(one - other, other, out=np.zeros_like(one), where=other > 0)
        terms = np.where(
            np.abs(ratio) < 1e-3,
            ratio**2 * (0.5 - ratio / 6 + ratio**2 / 12),
            xlogy(1 + ratio, 1 + ratio) - ratio,
        )
        return np.asarray((other * terms).sum(axis=1))

    def _pairs_up(self, one: Array, other: Array, population: Array) -> tuple[Array, Array]:
        """Child 0 is a pair's member, its siblings are of the fixed point; same rules for both."""
        random = self.random
        order = np.stack(
            [np.arange(self.size)]
            + [self.size + random.permutation(self.size) for _ in range(self.rhm.s - 1)]
        )
        key = np.uint64(random.integers(2**63))
        both = empty_messages((2 * self.size, self.rhm.v, 2))
        both[: self.size, :, 0], both[: self.size, :, 1] = one, other
        both[self.size :] = population[..., None]
        up = branch_up(both, order, key, self.rhm, self.rhm.v, self.each)
        above, below = (np.ascontiguousarray(up[..., k]) for k in range(2))
        self._drawn(above, below)
        return above, below

    def _resampled(
        self, one: Array, other: Array, gap: Array, weight: Array
    ) -> tuple[Array, Array]:
        """Pairs in proportion to what they contribute; the new weights undo that."""
        share = gap if self.real else np.abs(one - other).sum(axis=1)
        total = weight * share
        if not total.sum() > 0:
            raise NoTransition(
                f"every pair of {self.size} has met; use a larger size or fewer levels"
            )
        picked = self.random.permutation(self._systematic(total))
        return picked, 1 / share[picked]


def _tilted(order: Array, mean: float) -> Array:
    """Weights e^(h order) that give the order a mean; h by bisection, as it is monotone in h."""
    centred = order - mean
    low, high = -1.0, 1.0
    while (_weights(low, centred) @ centred) > 0 and low > -1e6:
        low *= 2
    while (_weights(high, centred) @ centred) < 0 and high < 1e6:
        high *= 2
    for _ in range(40):  # 2^-40 of a range of order one: far below the scatter of the draw
        h = (low + high) / 2
        low, high = (low, h) if _weights(h, centred) @ centred > 0 else (h, high)
    return _weights((low + high) / 2, centred)


def _weights(h: float, centred: Array) -> Array:
    exponent = h * centred
    return np.asarray(np.exp(exponent - exponent.max()))
