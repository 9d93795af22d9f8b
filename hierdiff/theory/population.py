r"""Density evolution: the distribution of messages, not just their mean.

==========  =================================================================================
symbol      meaning
==========  =================================================================================
nu          upward message about a node, as a vector with the true symbol at index 0
N           size of the population that represents the law of nu
t*          noise level above which an informed population dies out with depth
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
from scipy.special import ndtri

from hierdiff._kernels import population as kernels
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.grammar import RHM
from hierdiff.noise import GaussianNoise, NoiseProcess
from hierdiff.seeds import Seed, generator
from hierdiff.theory._engine import available_threads
from hierdiff.theory.thresholds import has_transition

__all__ = ["CriticalLevel", "OrderParameter", "critical_level", "population_dynamics"]

Array = NDArray[Any]

_LARGEST_TABLE = 1 << 22  # tuples v**s that can be listed and marked as drawn


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
    """

    value: float
    error: float
    snr: float | None
    snr_error: float | None
    definition: str


def population_dynamics(
    rhm: RHM, noise: NoiseProcess, t: float, *, size: int = 10_000, copies: int = 4, seed: Seed = 0
) -> OrderParameter:
    r"""Mean belief in the true symbol per level, by density evolution up and down.

    Parameters
    ----------
    rhm : RHM
        Sizes; ``L`` is the depth.
    noise : NoiseProcess
        Any of the four processes.
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
    error bars do not contain the drift of a finite population, of relative size N^(-1/2) F'(p*)^L
    near a threshold.

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> from hierdiff.theory import annealed_beliefs
    >>> rhm = RHM(v=16, m=4, s=2, L=3)
    >>> found = population_dynamics(rhm, EpsilonNoise(16), 0.6, size=4000)
    >>> bool(abs(found.upward[0] - annealed_beliefs(rhm, 0.6).up[0]) < 0.02)
    True
    """
    _check(rhm, size, copies)
    random = generator(seed)
    runs = [_one_population(rhm, noise, t, size, random) for _ in range(copies)]
    up, marginal = (np.array([run[i] for run in runs]) for i in range(2))
    root = np.sqrt(copies)
    return OrderParameter(
        up.mean(axis=0), up.std(axis=0, ddof=1) / root,
        marginal.mean(axis=0), marginal.std(axis=0, ddof=1) / root,
    )  # fmt: skip


def _check(rhm: RHM, size: int, copies: int) -> None:
    if size < 100 or copies < 2:
        raise InvalidParameter(
            f"size = {size} with copies = {copies} gives no error bar; use size >= 100, copies >= 2"
        )
    if rhm.v**rhm.s > _LARGEST_TABLE:
        raise InvalidParameter(
            f"v**s = {rhm.v**rhm.s} tuples exceed 2**22; density evolution draws rules among them"
        )


def leaf_messages(noise: NoiseProcess, t: float, size: int, random: np.random.Generator) -> Array:
    """Upward messages of ``size`` leaves whose true symbol is 0, [size, v], each summing to one.

    The random numbers behind them are a Latin hypercube: each leaf by itself has the law of the
    noise, and the fraction of leaves that lost their symbol hardly fluctuates.
    """
    x0 = np.zeros((size, 1), np.int32)
    randoms = noise.draw(x0.shape, random)
    gaussian = isinstance(noise, GaussianNoise)
    for column in np.moveaxis(randoms.reshape(size, -1), 1, 0):
        u = (random.permutation(size) + random.random(size)) / size
        column[:] = ndtri(u) if gaussian else u
    x_t = noise.corrupt_with(x0, t, randoms)
    log_psi = noise.log_evidence(x_t, t)[:, 0]
    psi = np.exp(log_psi - log_psi.max(axis=1, keepdims=True))
    return np.asarray(psi / psi.sum(axis=1, keepdims=True))


def _in_threads(size: int, run: Any) -> None:
    """``run(first, last)`` over chunks; members are independent of the chunking."""
    parts = available_threads()
    bounds = [size * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(run, bounds[:-1], bounds[1:]))


@functools.lru_cache(maxsize=4)
def _digits(v: int, s: int) -> Array:
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
    size, digits = len(population), _digits(rhm.v, rhm.s)
    order, key = _pairing(random, size, rhm.s), _key(random)
    out = np.empty((size, parents))

    def run(first: int, last: int) -> None:
        seen = np.zeros(len(digits), np.int64)
        kernels.upward(population, order, key, first, last, parents, rhm.m, digits, seen, out)

    _in_threads(size, run)
    return out


def _step_down(population: Array, above: Array, rhm: RHM, random: np.random.Generator) -> Array:
    size, digits = len(population), _digits(rhm.v, rhm.s)
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
    r"""The threshold of a real process: where the informed population dies out.

    For each of several independent populations the noise level is bisected at which the mean
    upward belief after ``depth`` levels is one half.

    .. math:: t^* = \lim_{L \to \infty} \{t : E[\nu_L(true)] = 1/2\}, \qquad
       t_L - t^* \sim F'(p^*)^{-L}

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    noise : NoiseProcess
        Any of the four processes.
    size, depth, copies : int
        Members, levels, and independent populations.
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
        If the class is always lost (some t > 0 however small) or never.
    InvalidParameter
        If sizes are too small, or ``error`` is not reached (with the size that would).

    Notes
    -----
    Validity: as :func:`population_dynamics`; the error is that of the mean over populations and
    does not contain what is left of finite depth, of order F'(p*)^(-depth).

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> rhm = RHM(v=16, m=4, s=2, L=1)
    >>> found = critical_level(rhm, EpsilonNoise(16), size=2000, depth=12, copies=3)
    >>> bool(abs(found.value - 0.8) < 0.03)
    True
    """
    _check(rhm, size, copies)
    if depth < 2:
        raise InvalidParameter(f"depth = {depth} must be >= 2")
    if not has_transition(rhm):
        raise NoTransition(
            f"m = {rhm.m} rules of v = {rhm.v} symbols have no transition; the class is always or "
            "never lost as L grows (see hierdiff.theory.stability)"
        )
    random = generator(seed)
    seeds = [int(random.integers(2**63)) for _ in range(copies)]
    found = np.array([_half(rhm, noise, size, depth, s) for s in seeds])
    value, spread = float(found.mean()), float(found.std(ddof=1) / np.sqrt(copies))
    if error is not None and spread > error * value:
        needed = int(np.ceil(size * (spread / (error * value)) ** 2))
        raise InvalidParameter(
            f"error = {error} is not reached: {value:.4g} ± {spread:.2g} at size = {size}; "
            f"use size = {needed} or more"
        )
    snr = snr_error = None
    if isinstance(noise, GaussianNoise):
        ratios = noise.snr(found)
        snr, snr_error = float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(copies))
    words = (
        f"noise level at which the mean upward belief of an informed population of {size} messages "
        f"is one half after {depth} levels; mean and standard error of {copies} populations"
    )
    return CriticalLevel(value, spread, snr, snr_error, words)


def _half(rhm: RHM, noise: NoiseProcess, size: int, depth: int, seed: int, bits: int = 13) -> float:
    """Bisection for one population, with the same random numbers at every noise level."""
    low, high = 0.0, 1.0
    for _ in range(bits):
        t = (low + high) / 2
        random = np.random.default_rng(seed)
        population = leaf_messages(noise, t, size, random)
        alive = True
        for _ in range(depth):
            population = step_up(population, rhm, rhm.v, random)
            mean = float(population[:, 0].mean())
            # a mean little above 1/v may still grow: beliefs are uneven, and few know much
            if mean < 1.0 / rhm.v + 1e-4 or mean > 1 - 1e-6:
                break
        alive = float(population[:, 0].mean()) > 0.5
        low, high = (t, high) if alive else (low, t)
    return (low + high) / 2
