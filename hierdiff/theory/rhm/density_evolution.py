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

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff import checks
from hierdiff.checks import checked
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, has_snr
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation._kernels.simd import aligned
from hierdiff.theory.belief_propagation.passes import available_threads
from hierdiff.theory.rhm import _kernels as kernels
from hierdiff.theory.rhm.mean_field import demand_transition

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
_AHEAD = 3  # halvings that are tried at once: their 7 noise levels fill the lanes of a kernel
_BITS = 13  # of a noise level: 1.2e-4, below the scatter of populations of 10^4 messages
_DOUBLINGS = 3  # of the depth; eight times the default is 192 levels
_SLOWEST = 0.8  # ratio of changes beyond which three depths do not tell the limit


@dataclass(frozen=True)
class OrderParameter:
    """Mean belief in the true symbol, per level, root first.

    Attributes
    ----------
    upward, marginal : array [L + 1] or [L + 1, T]
        Mean over the population of the upward and of the marginal belief.
    upward_error, marginal_error : array [L + 1] or [L + 1, T]
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
    rhm: RHM, noise: NoiseProcess, t: ArrayLike, *, size: int = 10_000, copies: int = 4,
    seed: Seed = 0,
) -> OrderParameter:  # fmt: skip
    r"""Mean belief in the true symbol per level, by density evolution up and down.

    Parameters
    ----------
    rhm : RHM
        Sizes; ``L`` is the depth.
    noise : NoiseProcess
        Any process on symbols.
    t : float or array [T]
        Noise levels in [0, 1].  All have the same random numbers, so that curves are smooth; eight
        together take little longer than one.
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
        If sizes are too small, t is outside [0, 1] or has several axes, or v**s exceeds 2**22.

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
    >>> population_dynamics(rhm, EpsilonNoise(16), [0.4, 0.6], size=400).upward.shape
    (4, 2)
    """
    levels = np.asarray(t, float)
    times = checks.reals("t", np.atleast_1d(levels), ndim=1, least=1)
    random, threads = generator(seed), available_threads()
    found = order_parameter(rhm, noise, times, size, copies, random, threads=threads)
    return found if levels.ndim else OrderParameter(*(x[:, 0] for x in vars(found).values()))


def order_parameter(
    rhm: RHM, noise: NoiseProcess, times: Array, size: int, copies: int,
    random: np.random.Generator, *, threads: int,
) -> OrderParameter:  # fmt: skip
    """:func:`population_dynamics` at noise levels [T], in so many threads."""
    check_sizes(rhm, size, copies, rhm.L)
    same_symbols(rhm, noise)
    lanes, at_once = min(len(times), kernels.LANES), min(threads, copies)
    checks.memory(
        f"{at_once} populations of {rhm.L} levels of {size} messages at {lanes} noise levels",
        8.0 * at_once * (rhm.L + 3) * size * max(rhm.v, rhm.n_classes) * lanes,
    )
    rooms = [_Room.of(rhm, size, lanes) for _ in range(at_once)]
    runs: list[tuple[Array, Array]] = []
    with side_by_side(at_once) as each:
        while len(runs) < copies:
            # all populations draw from one generator, one after another
            count = min(at_once, copies - len(runs))
            drawn = [_Draws.of(rhm, noise, size, random) for _ in range(count)]
            runs += each(functools.partial(_one_population, rhm, noise, times), drawn, rooms)
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


def leaf_messages(
    noise: NoiseProcess, t: float | Array, size: int, random: np.random.Generator
) -> Array:
    """Upward messages of ``size`` leaves, [size, v], the true symbol at index 0, each of sum one.

    The random numbers behind them are a Latin hypercube where the process knows how to make one:
    each leaf by itself has the law of the noise, and the fraction of leaves that lost their symbol
    hardly fluctuates.  The true symbol is 0; where the law depends on the symbol, every symbol in
    equal shares, moved to 0 afterwards.

    With T noise levels the shape is [size, v, T], and all have the same random numbers.
    """
    return leaves_at(noise, t, *leaf_draws(noise, size, random))


def leaf_draws(noise: NoiseProcess, size: int, random: np.random.Generator) -> tuple[Array, Array]:
    """True symbols and random numbers of leaves, which no noise level changes."""
    x0 = np.zeros((size, 1), np.int32)
    randoms = noise.draw(x0.shape, random)
    stratified = getattr(noise, "stratified", None)
    if stratified is not None:
        for column in np.moveaxis(randoms.reshape(size, -1), 1, 0):
            column[:] = stratified((random.permutation(size) + random.random(size)) / size)
    if noise.v is not None and not getattr(noise, "symmetric", False):
        x0[:, 0] = random.permutation(size) % noise.v
    return x0, randoms


def leaves_at(noise: NoiseProcess, t: float | Array, x0: Array, randoms: Array) -> Array:
    """Messages of leaves [size, v(, T)] from their symbols and random numbers."""
    if np.ndim(t):
        return np.stack([leaves_at(noise, float(x), x0, randoms) for x in np.asarray(t)], axis=-1)
    x_t = noise.corrupt_with(x0, t, randoms)
    log_psi = noise.log_evidence(x_t, t)[:, 0]
    if x0.any():
        moved = (np.arange(log_psi.shape[1]) + x0) % log_psi.shape[1]
        log_psi = np.take_along_axis(log_psi, moved, axis=1)
    psi = np.exp(log_psi - log_psi.max(axis=1, keepdims=True))
    return np.asarray(psi / psi.sum(axis=1, keepdims=True))


# ------------------------------------------------------------------------------------------ threads

Each: TypeAlias = Callable[..., Iterable[Any]]
"""``map``, or the same in threads."""


@contextlib.contextmanager
def side_by_side(threads: int) -> Iterator[Each]:
    """``map`` in so many threads, which are started once; one thread is the caller's own."""
    if threads <= 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map


def _in_parts(size: int, run: Callable[[int, int], None], each: Each) -> None:
    """``run(first, last)`` over chunks; members are independent of the chunking."""
    parts = 1 if each is map else min(available_threads(), size // _LEAST_PART + 1)
    bounds = [size * i // parts for i in range(parts + 1)]
    list(each(run, bounds[:-1], bounds[1:]))


# ------------------------------------------------------------------------------------ single levels


@functools.lru_cache(maxsize=4)
def tuple_symbols(v: int, s: int) -> Array:
    """The symbols of all tuples, [v**s, s]."""
    code = np.arange(v**s)
    return np.stack([code // v**j % v for j in range(s)], axis=1).astype(np.int32)


def pairing(random: np.random.Generator, size: int, count: int) -> Array:
    """Partners [count, size]; every member is met once in each row, not at random with return."""
    return np.stack([random.permutation(size) for _ in range(count)])


def random_key(random: np.random.Generator) -> np.uint64:
    """A key that names the rules of one level."""
    return np.uint64(random.integers(2**63))


def step_up(
    population: Array, rhm: RHM, parents: int, random: np.random.Generator, each: Each = map
) -> Array:
    """The next level's messages, as many as there are members; see :func:`branch_up`."""
    order, key = pairing(random, len(population), rhm.s), random_key(random)
    return branch_up(population, order, key, rhm, parents, each)


def branch_up(
    population: Array, order: Array, key: np.uint64, rhm: RHM, parents: int, each: Each = map
) -> Array:
    """One message per column of ``order`` [s, size], the numbers of its children.

    Its rules are a function of the key and the column alone: with the same key, other children
    meet the same rules.  Populations [size, v, T] of at most ``LANES`` noise levels meet them
    together, and a message of each is the result.
    """
    size, digits = order.shape[1], tuple_symbols(rhm.v, rhm.s)
    lanes = population.shape[2] if population.ndim == 3 else 1
    if lanes > kernels.LANES:  # a vector holds no more
        raise InvalidParameter(f"{lanes} noise levels together exceed {kernels.LANES}; split them")
    messages = _with_room(population)
    out = empty_messages((size, parents, *population.shape[2:]))

    def run(first: int, last: int) -> None:
        seen, row, codes = _Table.of(rhm)
        kernels.upward(
            messages.ravel(), rhm.v, order.astype(np.int32, copy=False), key, first, last, parents,
            rhm.m, digits, seen, lanes, row, codes, out.ravel(),
        )  # fmt: skip

    _in_parts(size, run, each)
    return out


def empty_messages(shape: tuple[int, ...]) -> Array:
    """Room for messages, behind which a kernel may read one vector."""
    count = math.prod(shape)
    flat = np.empty(count + kernels.LANES)
    flat[count:] = 0.0
    return flat[:count].reshape(shape)


def _with_room(messages: Array) -> Array:
    """The same messages, if need be copied to where there is room behind them."""
    base = messages.base
    if isinstance(base, np.ndarray) and messages.flags.c_contiguous and messages.dtype == float:
        begin, end = messages.ctypes.data, base.ctypes.data + base.nbytes
        if end - begin - messages.nbytes >= 8 * kernels.LANES:
            return messages
    out = empty_messages(messages.shape)
    out[...] = messages
    return out


# --------------------------------------------------------------------------------------- all levels


class _Draws(NamedTuple):
    """The random numbers of one population, step by step as the kernel wants them."""

    leaves: tuple[Array, Array]
    orders: Array  # [step, s, size]
    keys: Array  # [step]

    @classmethod
    def of(cls, rhm: RHM, noise: NoiseProcess, size: int, random: np.random.Generator) -> _Draws:
        leaves = leaf_draws(noise, size, random)
        # L steps up, then down and meeting by turns
        counts = [rhm.s] * rhm.L + [rhm.s, 1] * rhm.L
        orders = np.zeros((len(counts), rhm.s, size), np.int32)
        keys = np.empty(len(counts), np.uint64)
        for step, count in enumerate(counts):
            orders[step, :count], keys[step] = pairing(random, size, count), random_key(random)
        return cls(leaves, orders, keys)


class _Room(NamedTuple):
    """Memory of one population at a time, at some noise levels together."""

    tree: Array
    top: Array
    down: Array
    marginal: Array
    table: _Table

    @classmethod
    def of(cls, rhm: RHM, size: int, lanes: int) -> _Room:
        most = max(rhm.v, rhm.n_classes)
        return cls(
            # what is read behind the last message is finite
            np.zeros(rhm.L * size * rhm.v * lanes + kernels.LANES),
            np.empty(size * rhm.n_classes * lanes),
            np.zeros((2, size * most * lanes + kernels.LANES)),
            np.empty(rhm.L * size * lanes),
            _Table.of(rhm),
        )


class _Table(NamedTuple):
    """Memory of one rule table."""

    seen: Array
    row: Array
    codes: Array

    @classmethod
    def of(cls, rhm: RHM) -> _Table:
        most = max(rhm.v, rhm.n_classes)
        return cls(
            np.zeros(rhm.v**rhm.s, np.int64),
            aligned(most * kernels.LANES, np.float64),
            np.empty(rhm.s + most * rhm.m, np.int64),
        )


def _one_population(
    rhm: RHM, noise: NoiseProcess, times: Array, drawn: _Draws, room: _Room
) -> tuple[Array, Array]:
    """Mean upward and marginal belief of one population, [L + 1, T]."""
    parts = [
        _some_levels(rhm, noise, times[i : i + kernels.LANES], drawn, room)
        for i in range(0, len(times), kernels.LANES)
    ]
    up, marginal = (np.concatenate(planes, axis=1) for planes in zip(*parts, strict=True))
    return up, marginal


def _some_levels(
    rhm: RHM, noise: NoiseProcess, times: Array, drawn: _Draws, room: _Room
) -> tuple[Array, Array]:
    """The same for at most ``LANES`` noise levels."""
    top, tree, marginal = _evolved(rhm, noise, times, drawn, room)
    up = [means_of(top[:, 0]), *(means_of(level[:, 0]) for level in tree)]
    return np.array(up), np.array([up[0], *(means_of(level) for level in marginal)])


def _evolved(
    rhm: RHM, noise: NoiseProcess, times: Array, drawn: _Draws, room: _Room
) -> tuple[Array, Array, Array]:
    """Messages of the root and of the levels, and marginal beliefs of the levels."""
    L, v, size, lanes = rhm.L, rhm.v, drawn.orders.shape[2], len(times)
    tree = room.tree[: L * size * v * lanes].reshape(L, size, v, lanes)
    top = room.top[: size * rhm.n_classes * lanes].reshape(size, rhm.n_classes, lanes)
    marginal = room.marginal[: L * size * lanes].reshape(L, size, lanes)
    seen, row, codes = room.table
    tree[-1] = leaves_at(noise, times, *drawn.leaves)
    seen[:] = 0
    kernels.evolve(
        room.tree, room.top, v, rhm.n_classes, drawn.orders, drawn.keys, rhm.m,
        tuple_symbols(v, rhm.s), seen, lanes, row, codes, room.down, room.marginal,
    )  # fmt: skip
    return top, tree, marginal


def belief_population(
    rhm: RHM, noise: NoiseProcess, times: Array, size: int, random: np.random.Generator
) -> Array:
    """Marginal beliefs in the true symbol of one population, [L + 1, size, T], root first."""
    check_sizes(rhm, size, 2, rhm.L)
    same_symbols(rhm, noise)
    room, drawn = _Room.of(rhm, size, kernels.LANES), _Draws.of(rhm, noise, size, random)
    parts = []
    for i in range(0, len(times), kernels.LANES):
        top, _, marginal = _evolved(rhm, noise, times[i : i + kernels.LANES], drawn, room)
        parts.append(np.concatenate([top[None, :, 0], marginal]))
    return np.concatenate(parts, axis=2)


def means_of(beliefs: Array) -> Array:
    """Means over members of [size, T], added up in the order of a single column."""
    return np.asarray(np.ascontiguousarray(beliefs.T).mean(axis=1))


# --------------------------------------------------------------------------------------- thresholds


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
    itself changing where it converges slowly (close to a Kesten-Stigum number of 1).  Of two
    copies a standard error covers in half of all cases, of eight in two thirds.  A bias of order
    1/size is not in it.

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
        found = _all_crossings(rhm, noise, size, depths, seeds)
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
    found = _all_crossings(rhm, noise, size, (rhm.L,), seeds)[:, 0]
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


def bisected(fell: Callable[[list[float]], Sequence[bool]], bits: int) -> tuple[float, float]:
    """Bracket in [0, 1] of the place where a function has fallen, of width ``2**-bits``.

    The function is given the middles of the next halvings together, and only its values on the way
    are used: the bracket is that of one halving after another.
    """
    low, high, left = 0.0, 1.0, bits
    while left:
        halvings = min(_AHEAD, left)
        parts = 1 << halvings
        times = [low + (high - low) * k / parts for k in range(1, parts)]  # exact, as parts = 2**n
        known = dict(zip(times, fell(times), strict=True))
        for _ in range(halvings):
            t = (low + high) / 2
            low, high = (low, t) if known[t] else (t, high)
        left -= halvings
    return low, high


def _all_crossings(
    rhm: RHM, noise: NoiseProcess, size: int, depths: tuple[int, ...], seeds: Sequence[int]
) -> Array:
    """Of a population per seed, [seed, depth]."""
    find = functools.partial(_crossings, rhm, noise, size, depths)
    with side_by_side(min(available_threads(), len(seeds))) as each:
        return np.array(list(each(find, seeds)))


def _crossings(
    rhm: RHM, noise: NoiseProcess, size: int, depths: tuple[int, ...], seed: int
) -> list[float]:
    """Bisection for one population at every depth, with the same random numbers at every t."""
    means: dict[float, list[float]] = {}

    def fell(i: int, times: list[float]) -> list[bool]:
        new = [t for t in times if t not in means]
        if new:
            means.update(zip(new, _means(rhm, noise, new, size, depths, seed), strict=True))
        return [not means[t][i] > 0.5 for t in times]

    # the shallower ones reuse runs of the deepest
    found = [
        sum(bisected(functools.partial(fell, i), _BITS)) / 2 for i in reversed(range(len(depths)))
    ]
    return found[::-1]


def _means(
    rhm: RHM, noise: NoiseProcess, times: Sequence[float], size: int, depths: tuple[int, ...],
    seed: int,
) -> list[list[float]]:  # fmt: skip
    """Mean upward beliefs after so many levels; the last one where it no longer changes."""
    random = np.random.default_rng(seed)
    population = leaf_messages(noise, np.array(times), size, random)
    mean = means_of(population[:, 0])
    means: list[list[float]] = [[] for _ in times]
    alive = np.arange(len(times))
    for level in range(1, depths[-1] + 1):
        population = step_up(population, rhm, rhm.v, random)
        mean[alive] = means_of(population[:, 0])
        if level in depths:
            for k in alive:
                means[k].append(float(mean[k]))
        # a mean little above 1/v may still grow: beliefs are uneven, and few know much
        going = ~((mean[alive] < 1.0 / rhm.v + 1e-4) | (mean[alive] > 1 - 1e-6))
        if not going.all():
            alive, population = alive[going], population[..., going]
        if not alive.size:
            break
    return [m + [float(x)] * (len(depths) - len(m)) for m, x in zip(means, mean, strict=True)]
