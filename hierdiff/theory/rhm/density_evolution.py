r"""Density evolution: the distribution of messages, not just their mean.

==========  =================================================================================
symbol      meaning
==========  =================================================================================
nu          upward message about a node, as a vector with the true symbol at index 0
N           size of the population that represents the law of nu
t*          noise level above which an informed population dies out with depth
t_L         noise level at which half of the belief is left after L levels
lambda      growth per level at t*, see :mod:`hierdiff.theory.rhm.critical_exponents`
==========  =================================================================================

Real noise is uneven: one leaf is certain, its neighbour unknown.  The law of the messages then
matters, and the recursion of averages fails.  Density evolution iterates the law itself,

.. math:: \nu \stackrel{d}{=} \mathrm{BP}(\nu_1, \dots, \nu_s;\ \text{fresh rules that contain the
   true tuple}), \qquad \nu_{leaf} \sim \text{evidence of the noise process},

with a population of N messages.  Rules are invariant under renaming wrong symbols, so those need
no permutation on the way up; where an upward and a downward message meet they do.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff import checks
from hierdiff.checks import checked
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, has_snr
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.passes import available_threads
from hierdiff.theory.rhm import _kernels as kernels
from hierdiff.theory.rhm.thresholds import demand_transition

__all__ = [
    "CriticalLevel",
    "OrderParameter",
    "critical_level",
    "half_belief_level",
    "population_dynamics",
]

Array = NDArray[Any]

_LARGEST_TABLE = 1 << 22  # tuples v**s that can be listed and marked as drawn
_MOST_HOURS = 1000  # nobody waits longer
_LEAST_PART = 500  # members worth a thread
_BITS = 13  # of a noise level: 1.2e-4, below the scatter of populations of 10^4 messages
_DOUBLINGS = 3  # of the depth; eight times the default is 192 levels
_SLOWEST = 0.8  # ratio of changes beyond which three depths do not tell the limit


@dataclass(frozen=True)
class OrderParameter:
    """Mean belief in the true symbol, per level, root first.

    Attributes
    ----------
    upward, marginal : array [L + 1]
        Mean over the population of the upward and of the marginal belief.
    upward_error, marginal_error : array [L + 1]
        Standard errors from independent populations.
    """

    upward: Array
    upward_error: Array
    marginal: Array
    marginal_error: Array


@dataclass(frozen=True)
class CriticalLevel:
    """A threshold with its error and what it means.

    Attributes
    ----------
    value, error : float
        Noise level and standard error.
    snr, snr_error : float or None
        The same as signal-to-noise ratio, for Gaussian noise.
    definition : str
        In words.
    depth : int
        Levels of the deepest population.
    extrapolation : float
        Distance from that depth to the limit, which ``error`` contains; 0 at finite depth.
    """

    value: float
    error: float
    snr: float | None
    snr_error: float | None
    definition: str
    depth: int
    extrapolation: float


@checked(t=checks.level)
def population_dynamics(
    rhm: RHM, noise: NoiseProcess, t: float, *, size: int = 10_000, copies: int = 4, seed: Seed = 0
) -> OrderParameter:
    r"""Mean belief in the true symbol per level, by density evolution up and down.

    Parameters
    ----------
    rhm : RHM
        Sizes; ``L`` is the depth.
    noise : NoiseProcess
        Any process on symbols.
    t : float
        Noise level in [0, 1].
    size : int
        Members of a population.
    copies : int
        Independent populations, whose scatter gives the errors; at least two.
    seed : Seed
        Source of randomness.

    Returns
    -------
    OrderParameter

    Raises
    ------
    InvalidParameter
        If sizes are too small, t is outside [0, 1], or v**s exceeds 2**22.

    Notes
    -----
    Validity: average over grammars whose rules are drawn anew at every node, N -> infinity.  A
    grammar shares its rules between the nodes of a level; the difference vanishes as v grows.  The
    error bars do not contain the drift of a finite population, of relative size N^(-1/2) lambda^L
    near a threshold, with the eigenvalue of ``critical_exponents``.

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> from hierdiff.theory import annealed_beliefs
    >>> rhm = RHM(v=16, m=4, s=2, L=3)
    >>> found = population_dynamics(rhm, EpsilonNoise(16), 0.6, size=4000)
    >>> bool(abs(found.upward[0] - annealed_beliefs(rhm, 0.6).up[0]) < 0.02)
    True
    """
    check_sizes(rhm, size, copies, rhm.L)
    same_symbols(rhm, noise)
    random = generator(seed)
    runs = [_one_population(rhm, noise, t, size, random) for _ in range(copies)]
    up, marginal = (np.array([run[i] for run in runs]) for i in range(2))
    root = np.sqrt(copies)
    return OrderParameter(
        up.mean(axis=0), up.std(axis=0, ddof=1) / root,
        marginal.mean(axis=0), marginal.std(axis=0, ddof=1) / root,
    )  # fmt: skip


def check_sizes(rhm: RHM, size: int, copies: int, levels: int) -> None:
    """Refuse populations that give no error bar, or that nobody can wait for."""
    if size < 100 or copies < 2:
        raise InvalidParameter(
            f"size = {size} with copies = {copies} gives no error bar; use size >= 100, copies >= 2"
        )
    checks.memory(f"copies = {copies} populations of {size} messages", 32.0 * size * rhm.v)
    checks.memory(f"copies = {copies} populations", 100.0 * copies * levels)
    # a message costs about 5 ns for each of its m v rules and s v symbols
    hours = 5e-9 * copies * size * levels * rhm.v * (rhm.m + rhm.s) / 3600
    if hours > _MOST_HOURS:
        raise InvalidParameter(
            f"copies = {copies} populations of size = {size} take about {hours:.3g} hours; give "
            "fewer or smaller ones"
        )
    if rhm.v**rhm.s > _LARGEST_TABLE:
        raise InvalidParameter(
            f"v**s = {rhm.v**rhm.s} tuples exceed 2**22; density evolution draws rules among them"
        )


def same_symbols(rhm: RHM, noise: NoiseProcess) -> None:
    """Refuse a noise process of another number of symbols."""
    if noise.v is not None and noise.v != rhm.v:
        raise InvalidParameter(
            f"noise.v = {noise.v} differs from rhm.v = {rhm.v}; use the same number of symbols"
        )


def leaf_messages(noise: NoiseProcess, t: float, size: int, random: np.random.Generator) -> Array:
    """Upward messages of ``size`` leaves, [size, v], the true symbol at index 0, each of sum one.

    The random numbers behind them are a Latin hypercube where the process knows how to make one:
    each leaf by itself has the law of the noise, and the fraction of leaves that lost their symbol
    hardly fluctuates.  The true symbol is 0; where the law depends on the symbol, every symbol in
    equal shares, moved to 0 afterwards.
    """
    x0 = np.zeros((size, 1), np.int32)
    randoms = noise.draw(x0.shape, random)
    stratified = getattr(noise, "stratified", None)
    if stratified is not None:
        for column in np.moveaxis(randoms.reshape(size, -1), 1, 0):
            column[:] = stratified((random.permutation(size) + random.random(size)) / size)
    if noise.v is not None and not getattr(noise, "symmetric", False):
        x0[:, 0] = random.permutation(size) % noise.v
    x_t = noise.corrupt_with(x0, t, randoms)
    log_psi = noise.log_evidence(x_t, t)[:, 0]
    if x0.any():
        moved = (np.arange(log_psi.shape[1]) + x0) % log_psi.shape[1]
        log_psi = np.take_along_axis(log_psi, moved, axis=1)
    psi = np.exp(log_psi - log_psi.max(axis=1, keepdims=True))
    return np.asarray(psi / psi.sum(axis=1, keepdims=True))


def _in_threads(size: int, run: Any) -> None:
    """``run(first, last)`` over chunks; members are independent of the chunking."""
    parts = min(available_threads(), size // _LEAST_PART + 1)
    if parts == 1:  # starting threads would take longer than the work
        run(0, size)
        return
    bounds = [size * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(run, bounds[:-1], bounds[1:]))


@functools.lru_cache(maxsize=4)
def tuple_digits(v: int, s: int) -> Array:
    """The symbols of all tuples, [v**s, s]."""
    code = np.arange(v**s)
    return np.stack([code // v**j % v for j in range(s)], axis=1)


def _pairing(random: np.random.Generator, size: int, count: int) -> Array:
    """Partners [count, size]; every member is met once in each row, not at random with return."""
    return np.stack([random.permutation(size) for _ in range(count)])


def _key(random: np.random.Generator) -> np.uint64:
    return np.uint64(random.integers(2**63))


def step_up(population: Array, rhm: RHM, parents: int, random: np.random.Generator) -> Array:
    """The next level's messages, as many as there are members."""
    order, key = _pairing(random, len(population), rhm.s), _key(random)
    return branch_up(population, order, key, rhm, parents)


def branch_up(population: Array, order: Array, key: np.uint64, rhm: RHM, parents: int) -> Array:
    """One message per column of ``order`` [s, size], the numbers of its children.

    Its rules are a function of the key and the column alone: with the same key, other children
    meet the same rules.
    """
    size, digits = order.shape[1], tuple_digits(rhm.v, rhm.s)
    out = np.empty((size, parents))

    def run(first: int, last: int) -> None:
        seen = np.zeros(len(digits), np.int64)
        kernels.upward(population, order, key, first, last, parents, rhm.m, digits, seen, out)

    _in_threads(size, run)
    return out


def _step_down(population: Array, above: Array, rhm: RHM, random: np.random.Generator) -> Array:
    size, digits = len(population), tuple_digits(rhm.v, rhm.s)
    order, key = _pairing(random, size, rhm.s), _key(random)
    out = np.empty((size, rhm.v))

    def run(first: int, last: int) -> None:
        seen = np.zeros(len(digits), np.int64)
        kernels.downward(population, above, order, key, first, last, rhm.m, digits, seen, out)

    _in_threads(size, run)
    return out


def _meet(up: Array, down: Array, random: np.random.Generator) -> Array:
    out, order, key = np.empty(len(up)), random.permutation(len(up)), _key(random)
    _in_threads(len(up), lambda a, b: kernels.marginals(up, down, order, key, a, b, out))
    return out


def _one_population(
    rhm: RHM, noise: NoiseProcess, t: float, size: int, random: np.random.Generator
) -> tuple[Array, Array]:
    levels = [leaf_messages(noise, t, size, random)]
    for level in range(rhm.L - 1, -1, -1):
        parents = rhm.n_classes if level == 0 else rhm.v
        levels.insert(0, step_up(levels[0], rhm, parents, random))
    down = np.full((size, rhm.n_classes), 1.0 / rhm.n_classes)
    marginal = [float(levels[0][:, 0].mean())]
    for up in levels[1:]:
        down = _step_down(up, down, rhm, random)
        marginal.append(float(_meet(up, down, random).mean()))
    return np.array([float(p[:, 0].mean()) for p in levels]), np.array(marginal)


@checked
def critical_level(
    rhm: RHM,
    noise: NoiseProcess,
    *,
    size: int = 10_000,
    depth: int = 24,
    copies: int = 8,
    error: float | None = None,
    seed: Seed = 0,
) -> CriticalLevel:
    r"""The threshold of a real process at infinite depth: where the informed population dies out.

    For each of several independent populations the noise level t_L is bisected at which the mean
    upward belief after L levels is one half, for L up to ``depth``, and extrapolated.

    .. math:: t^* = \lim_{L \to \infty} t_L, \qquad t_L - t^* \sim \lambda^{-L}, \qquad
       t^* \approx t_L + \frac{r}{1 - r}\, (t_L - t_{L - k}), \quad
       r = \frac{\langle t_L - t_{L-k} \rangle}{\langle t_{L-k} - t_{L-2k} \rangle}

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    noise : NoiseProcess
        Any process on symbols.
    size, copies : int
        Members, and independent populations.
    depth : int
        Levels L to begin with, at least 4; k = L / 4.  Doubled, three times at most, while the
        extrapolation exceeds the statistical error.
    error : float, optional
        Relative error that is asked for.
    seed : Seed
        Source of randomness.

    Returns
    -------
    CriticalLevel

    Raises
    ------
    NoTransition
        If the class is always lost or never lost; the message tells which.
    InvalidParameter
        If sizes are too small, or ``error`` is not reached (with the size that would).

    Notes
    -----
    Validity: as :func:`population_dynamics`.  The error adds in quadrature the standard error of
    the mean over populations and the whole extrapolation beyond the last depth, as the rate r is
    itself changing where it converges slowly (close to a Kesten-Stigum number of 1).  A bias of
    order 1/size is not in it.

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> rhm = RHM(v=16, m=4, s=2, L=1)
    >>> found = critical_level(rhm, EpsilonNoise(16), size=1000, depth=12, copies=3)
    >>> bool(abs(found.value - 0.8) < 0.01)
    True
    """
    check_sizes(rhm, size, copies, depth << _DOUBLINGS)
    same_symbols(rhm, noise)
    if depth < 4:
        raise InvalidParameter(f"depth = {depth} must be >= 4: three depths are extrapolated")
    demand_transition(rhm)
    random = generator(seed)
    seeds = [int(random.integers(2**63)) for _ in range(copies)]
    for doubling in range(_DOUBLINGS + 1):
        levels = depth << doubling
        depths = tuple(levels - k * (levels // 4) for k in (2, 1, 0))
        found = np.array([_crossings(rhm, noise, size, depths, s) for s in seeds])
        limits, beyond = _extrapolated(found)
        spread = float(limits.std(ddof=1) / np.sqrt(copies))
        if beyond <= spread:
            break
    value, total = float(limits.mean()), float(np.hypot(spread, beyond))
    if error is not None and total > error * value:
        needed = int(np.ceil(size * (total / (error * value)) ** 2))
        raise InvalidParameter(
            f"error = {error} is not reached: {value:.4g} ± {total:.2g} at size = {size}; "
            f"use size = {needed} or more"
        )
    snr = snr_error = None
    if has_snr(noise):
        near = np.clip(value + beyond * np.array([-1.0, 1.0]), 0.0, 1.0)
        ratios, ends = noise.snr(np.clip(limits, 0.0, 1.0)), noise.snr(near)
        snr = float(ratios.mean())
        snr_error = float(np.hypot(ratios.std(ddof=1) / np.sqrt(copies), (ends[0] - ends[1]) / 2))
    words = (
        f"noise level at which the mean upward belief of an informed population of {size} messages "
        f"is one half, extrapolated by {beyond:.2g} from {levels} levels; mean and standard error "
        f"of {copies} populations, the extrapolation added to the error"
    )
    return CriticalLevel(value, total, snr, snr_error, words, levels, beyond)


@checked
def half_belief_level(
    rhm: RHM, noise: NoiseProcess, *, size: int = 10_000, copies: int = 8, seed: Seed = 0
) -> CriticalLevel:
    r"""Noise level at which the mean upward belief of a node L levels above the leaves is 1/2.

    .. math:: E[\nu_L(true)] = 1/2 \text{ at } t = t_L

    Parameters
    ----------
    rhm : RHM
        Sizes; L is the number of levels.
    noise : NoiseProcess
        Any process on symbols.
    size, copies : int
        Members, and independent populations.
    seed : Seed
        Source of randomness.

    Returns
    -------
    CriticalLevel

    Raises
    ------
    NoTransition
        As :func:`critical_level`.
    InvalidParameter
        If sizes are too small.

    Notes
    -----
    Validity: as :func:`population_dynamics`, at the finite depth L; the node has v symbols.

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> rhm = RHM(v=16, m=4, s=2, L=6)
    >>> found = half_belief_level(rhm, EpsilonNoise(16), size=2000, copies=3)
    >>> bool(abs(found.value - 0.76) < 0.03)
    True
    """
    check_sizes(rhm, size, copies, rhm.L)
    same_symbols(rhm, noise)
    demand_transition(rhm)
    random = generator(seed)
    seeds = [int(random.integers(2**63)) for _ in range(copies)]
    found = np.array([_crossings(rhm, noise, size, (rhm.L,), s)[0] for s in seeds])
    value, spread = float(found.mean()), float(found.std(ddof=1) / np.sqrt(copies))
    snr = snr_error = None
    if has_snr(noise):
        ratios = noise.snr(found)
        snr, snr_error = float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(copies))
    words = (
        f"noise level at which the mean upward belief of an informed population of {size} messages "
        f"is one half after {rhm.L} levels; mean and standard error of {copies} populations"
    )
    return CriticalLevel(value, spread, snr, snr_error, words, rhm.L, 0.0)


def _extrapolated(found: Array) -> tuple[Array, float]:
    """Limits of t_L [copy, three depths] at equal distances, and how far they lie beyond."""
    before, last = np.diff(found, axis=1).T
    ratio = last.mean() / before.mean() if before.mean() else 0.0
    if ratio < 0:  # no longer moving one way: the limit is here, to within the last change
        return found[:, 2], abs(float(last.mean()))
    ratio = min(ratio, _SLOWEST)
    shift = last * ratio / (1 - ratio)
    return found[:, 2] + shift, abs(float(shift.mean()))


def _crossings(
    rhm: RHM, noise: NoiseProcess, size: int, depths: tuple[int, ...], seed: int
) -> list[float]:
    """Bisection for one population at every depth, with the same random numbers at every t."""
    means: dict[float, list[float]] = {}
    found: list[float] = []
    for i in reversed(range(len(depths))):  # the shallower ones reuse runs of the deepest
        low, high = 0.0, 1.0
        for _ in range(_BITS):
            t = (low + high) / 2
            if t not in means:
                means[t] = _means(rhm, noise, t, size, depths, seed)
            low, high = (t, high) if means[t][i] > 0.5 else (low, t)
        found.insert(0, (low + high) / 2)
    return found


def _means(
    rhm: RHM, noise: NoiseProcess, t: float, size: int, depths: tuple[int, ...], seed: int
) -> list[float]:
    """Mean upward belief after so many levels; the last one where it no longer changes."""
    random = np.random.default_rng(seed)
    population = leaf_messages(noise, t, size, random)
    means, mean = [], float(population[:, 0].mean())
    for level in range(1, depths[-1] + 1):
        population = step_up(population, rhm, rhm.v, random)
        mean = float(population[:, 0].mean())
        if level in depths:
            means.append(mean)
        # a mean little above 1/v may still grow: beliefs are uneven, and few know much
        if mean < 1.0 / rhm.v + 1e-4 or mean > 1 - 1e-6:
            break
    return means + [mean] * (len(depths) - len(means))
