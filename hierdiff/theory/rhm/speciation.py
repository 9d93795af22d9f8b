r"""When every level of a grammar is decided: free entropies of a branch and of its rivals.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
a                       true symbol of a node of level l; b is another one
phi(a)                  log p(a) p(x_t | a), free entropy of a branch, nats
p_a                     posterior probability of the true symbol, p(a | x_t)
i_l                     log p(x_t | a) - log p(x_t) = log p_a / p(a), excess over the mixture
======================  =========================================================================

On the way from noise to data a node chooses its symbol.  The symbol is decided where the free
entropy of its branch crosses that of all other branches together.  Both fluctuate from datum to
datum, so the crossing is that of the typical datum, the median,

.. math:: \phi(a) = \log \sum_{b \ne a} e^{\phi(b)} \iff p_a = \tfrac12, \qquad
   \text{level } l \text{ is decided at } t_l: \; P(p_a > \tfrac12) = \tfrac12 .

A U-turn keeps the symbol with :math:`E \sum_b p_b^2 = E\, p_a`; where the law of p_a is symmetric,
or has two peaks at 0 and 1, the mean is one half (up to 1/2v) at the same place.  Two other
criteria, for comparison:

.. math:: \text{fluctuation:}\quad E[i_l]^2 = \mathrm{Var}[i_l], \qquad
   \text{information:}\quad E[i_l] = \tfrac12 \log v .

The first one decides *two classes* (:mod:`hierdiff.theory.mixture.speciation`).  If p_a has two
peaks it is the same as the crossing: for a share f of i = log v, f^2 = f (1 - f).  Levels whose
symbols fade, as low levels do, keep a mean above their fluctuation long after the branch has lost
its majority, and the criterion is late.

The laws of p_a come from density evolution, for all levels together.

References: Biroli, Bonnaire, de Bortoli, Mezard, arXiv 2402.18491 (free entropies of a class and of
the mixture); Sclocchi, Favero, Wyart, arXiv 2402.16991 (levels of a grammar).  Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, reals, whole
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed, generator
from hierdiff.theory.rhm.density_evolution import belief_population, check_sizes

__all__ = ["CRITERIA", "Criterion", "LevelSpeciation", "level_speciation", "speciation_statistic"]

Array: TypeAlias = NDArray[Any]
Criterion: TypeAlias = Literal["branch", "fluctuation", "information"]

CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
"""Criteria for the noise level at which a level is decided."""


@dataclass(frozen=True)
class LevelSpeciation:
    """Noise levels at which the levels of a grammar are decided, root first.

    Attributes
    ----------
    value, error : array [L + 1]
        Noise level and its standard error; NaN where the level is not decided inside of the range.
    criterion : str
    """

    value: Array
    error: Array
    criterion: str


@checked(beliefs=partial(reals, low=0, high=1 + 1e-9), v=partial(whole, low=2))
def speciation_statistic(beliefs: Array, v: int, criterion: Criterion = "branch") -> Array:
    r"""A number that is positive where a level is decided, from beliefs in the truth.

    .. math:: P(p_a > \tfrac12) - \tfrac12, \qquad \frac{E[i] - \mathrm{sd}[i]}{\log v}, \qquad
       \frac{E[i]}{\log v} - \tfrac12

    Parameters
    ----------
    beliefs : array [n, ...]
        p_a of n nodes.
    v : int
        Symbols of the level, taken to be equally likely a priori.
    criterion : {"branch", "fluctuation", "information"}

    Returns
    -------
    array [...]

    Raises
    ------
    InvalidParameter
        For beliefs outside [0, 1] or an unknown criterion.

    Notes
    -----
    Validity: a belief of exactly one half counts half.

    Examples
    --------
    >>> two_peaks = np.array([[1.0], [1.0], [0.25], [0.25]])
    >>> [speciation_statistic(two_peaks, 4, c).round(9).tolist() for c in CRITERIA]
    [[0.0], [0.0], [0.0]]
    """
    if criterion not in CRITERIA:
        raise InvalidParameter(f"criterion = {criterion!r} is not known; use {', '.join(CRITERIA)}")
    if not beliefs.ndim or not len(beliefs):
        raise InvalidParameter(
            f"beliefs have shape {beliefs.shape}; give one node or more, [n, ...]"
        )
    if criterion == "branch":
        return np.asarray(((beliefs > 0.5) + 0.5 * (beliefs == 0.5)).mean(axis=0) - 0.5)
    # beliefs below the smallest double do not change a mean
    excess = np.log(np.maximum(beliefs, 1e-300) * v) / np.log(v)
    if criterion == "information":
        return np.asarray(excess.mean(axis=0) - 0.5)
    return np.asarray(excess.mean(axis=0) - excess.std(axis=0))


def first_fall(t: Array, curve: Array) -> float:
    """Where a curve first falls through zero, by a straight line; NaN where it does not."""
    below = np.flatnonzero(curve < 0)
    if not below.size or below[0] == 0:
        return float("nan")
    i = int(below[0])
    return float(t[i - 1] + (t[i] - t[i - 1]) * curve[i - 1] / (curve[i - 1] - curve[i]))


@checked
def level_speciation(
    rhm: RHM, noise: NoiseProcess, t: ArrayLike, *, criterion: Criterion = "branch",
    size: int = 4000, copies: int = 4, seed: Seed = 0,
) -> LevelSpeciation:  # fmt: skip
    r"""Noise levels at which the levels of a grammar are decided, by density evolution.

    .. math:: P(p_a > \tfrac12) = \tfrac12

    Parameters
    ----------
    rhm : RHM
    noise : NoiseProcess
        Any process on symbols.
    t : array [T]
        Noise levels, increasing, between which the crossing is interpolated.
    criterion : {"branch", "fluctuation", "information"}
    size, copies : int
        Members of a population, and independent populations.
    seed : Seed
        Source of randomness.

    Returns
    -------
    LevelSpeciation

    Raises
    ------
    InvalidParameter
        If noise levels do not increase, for an unknown criterion, or as
        :func:`~hierdiff.theory.rhm.density_evolution.population_dynamics`.

    Notes
    -----
    Validity: that of density evolution, grammars whose rules are drawn anew at every node.

    Examples
    --------
    >>> from hierdiff import MaskingNoise
    >>> rhm, t = RHM(v=16, m=4, s=2, L=3), np.linspace(0.2, 0.9, 15)
    >>> found = level_speciation(rhm, MaskingNoise(16), t, size=1000)
    >>> found.value.shape, bool((np.diff(found.value) > 0).all())  # the root is decided last
    ((4,), True)
    """
    if criterion not in CRITERIA:
        raise InvalidParameter(f"criterion = {criterion!r} is not known; use {', '.join(CRITERIA)}")
    times = reals("t", t, 0, 1, ndim=1, least=2)
    if (np.diff(times) <= 0).any():
        raise InvalidParameter(f"t = {str(times.tolist())[:60]} must increase")
    check_sizes(rhm, size, copies, rhm.L)
    random = generator(seed)
    symbols = [rhm.n_classes] + [rhm.v] * rhm.L
    found = []
    for _ in range(copies):
        beliefs = belief_population(rhm, noise, times, size, random)
        found.append([
            first_fall(times, speciation_statistic(np.minimum(p, 1.0), v, criterion))
            for p, v in zip(beliefs, symbols, strict=True)
        ])  # fmt: skip
    values = np.array(found)
    return LevelSpeciation(
        values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(copies), criterion
    )
