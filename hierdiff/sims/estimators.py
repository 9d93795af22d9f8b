"""Means with errors: over data, over grammars, and of a threshold.

Two kinds of average are kept apart.  Data of one grammar differ because of noise and of the rules
that happened to be used (*thermal*); grammars differ because of their rules (*quenched*).  Nodes of
one tree are correlated, so a datum, not a node, is the unit that is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = ["Crossing", "Nested", "crossing", "likelihood_interval", "nested_mean"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Nested:
    """Mean of a quantity over grammars and data, with the two spreads.

    Attributes
    ----------
    mean
        Average over grammars of the average over data.
    error
        Standard error of ``mean``: from the scatter of the grammars' averages, or from the data
        where there is only one grammar.
    by_grammar
        Average over data, one per grammar (leading axis).
    quenched_sd
        Standard deviation between grammars beyond what the finite number of data explains.
    thermal_sd
        Standard deviation between data of one grammar.
    """

    mean: Array
    error: Array
    by_grammar: Array
    quenched_sd: Array
    thermal_sd: Array


def nested_mean(values: Array) -> Nested:
    r"""Mean and standard error of values [grammars, data, ...] with the two spreads kept apart.

    .. math:: \sigma_{quenched}^2 = \mathrm{Var}_g(\bar x_g) - \langle \sigma_g^2 \rangle / n

    Parameters
    ----------
    values : array [grammars, data, ...]

    Returns
    -------
    Nested
        Arrays of the shape of the trailing axes; ``by_grammar`` has the grammars in front.

    Raises
    ------
    InvalidParameter
        If there are fewer than two data in all, so that no error can be stated.

    Notes
    -----
    Validity: unbiased variances; the quenched one is cut at zero.

    Examples
    --------
    >>> r = nested_mean(np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> float(r.mean), float(r.error), round(float(r.quenched_sd), 6)
    (1.5, 1.0, 1.322876)
    """
    grammars, data = values.shape[:2]
    if grammars * data < 2:
        raise InvalidParameter(
            f"{grammars} grammar with {data} datum gives no error bar; ask for at least two data"
        )
    by_grammar = values.mean(axis=1)
    within = values.var(axis=1, ddof=1).mean(axis=0) if data > 1 else np.zeros(values.shape[2:])
    if grammars > 1:
        between = by_grammar.var(axis=0, ddof=1)
        error = np.sqrt(between / grammars)
        quenched = np.sqrt(np.maximum(between - within / data, 0.0))
    else:
        error = np.sqrt(within / data)
        quenched = np.full(values.shape[2:], np.nan)
    return Nested(by_grammar.mean(axis=0), error, by_grammar, quenched, np.sqrt(within))


def likelihood_interval(successes: ArrayLike, trials: ArrayLike, level: float = 0.6827) -> Array:
    r"""All probabilities whose likelihood is close enough to the largest: {p : 2 ln(L_max/L) <= c}.

    .. math:: 2 [\ln L(k/n) - \ln L(p)] \le \chi^2_{1}(level), \quad
       \ln L(p) = k \ln p + (n - k) \ln(1 - p)

    Parameters
    ----------
    successes, trials : int arrays
        k of n, broadcast against each other.
    level : float
        Coverage; the default is one standard deviation.

    Returns
    -------
    array [..., 2]
        Lower and upper end; never outside [0, 1], also for k = 0 and k = n.

    Raises
    ------
    InvalidParameter
        If k is not between 0 and n, n < 1, or the level not in (0, 1).

    Notes
    -----
    Validity: independent trials of one probability; coverage is asymptotic in n.

    Examples
    --------
    >>> likelihood_interval(0, 10).round(4).tolist()
    [0.0, 0.0488]
    >>> likelihood_interval(5, 10).round(4).tolist()
    [0.3458, 0.6542]
    """
    k, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    if np.any((k < 0) | (k > n) | (n < 1)):
        raise InvalidParameter("successes must lie between 0 and trials, and trials be at least 1")
    if not 0 < level < 1:
        raise InvalidParameter(f"level = {level} must lie between 0 and 1")
    cut = stats.chi2.ppf(level, 1)

    def ends(k: float, n: float) -> tuple[float, float]:
        def excess(p: float) -> float:
            best = special.xlogy(k, k / n) + special.xlogy(n - k, 1 - k / n)
            here = special.xlogy(k, p) + special.xlogy(n - k, 1 - p)
            return float(2 * (best - here) - cut)

        low = 0.0 if k == 0 else optimize.brentq(excess, 1e-300, k / n)
        high = 1.0 if k == n else optimize.brentq(excess, k / n, 1 - 1e-16)
        return float(low), float(high)

    pairs = [ends(float(a), float(b)) for a, b in zip(k.ravel(), n.ravel(), strict=True)]
    return np.array(pairs).reshape(*k.shape, 2)


@dataclass(frozen=True)
class Crossing:
    """Where a curve crosses a height, with its standard error."""

    value: float
    error: float


def crossing(
    t: Array, values: Array, height: float = 0.5, resamples: int = 400, seed: Seed = 0
) -> Crossing:
    r"""Where the mean of curves [grammars, data, t] falls through a height, by a nested bootstrap.

    Grammars are drawn with replacement, and data within each; every replica's mean curve is
    interpolated in log-odds, in which a sharpening transition is close to straight.

    Parameters
    ----------
    t : array [T]
        Increasing.
    values : array [grammars, data, T]
        Probabilities; with one grammar only the data are resampled.
    height : float
        Between the first and the last mean.
    resamples : int
        Bootstrap replicas.
    seed : Seed
        Source of randomness.

    Returns
    -------
    Crossing

    Raises
    ------
    InvalidParameter
        If the mean curve does not cross the height.

    Notes
    -----
    Validity: the error is that of the average over grammars and data; it does not contain the
    error of the interpolation between neighbouring t.

    Examples
    --------
    >>> t = np.linspace(0, 1, 11)
    >>> curves = np.clip(1.05 - t, 0, 1) * np.ones((3, 4, 1))
    >>> crossing(t, curves)
    Crossing(value=0.55, error=0.0)
    """
    random = generator(seed)
    grammars, data = values.shape[:2]
    best = _falls_through(t, values.mean(axis=(0, 1)), height)
    if best is None:
        raise InvalidParameter(
            f"the curve does not fall through {height} between t = {t[0]:g} and {t[-1]:g}; "
            "measure at more noise levels"
        )
    found = []
    for _ in range(resamples):
        rows = np.asarray(random.integers(grammars, size=grammars))
        columns = random.integers(data, size=(grammars, data))
        replica = values[rows[:, None], columns].mean(axis=(0, 1))
        place = _falls_through(t, replica, height)
        if place is not None:
            found.append(place)
    return Crossing(round(best, 12), round(float(np.std(found, ddof=1)), 12))


def _falls_through(t: Array, curve: Array, height: float) -> float | None:
    """First crossing from above, interpolated in log-odds."""
    below = np.flatnonzero(curve < height)
    if not below.size or below[0] == 0:
        return None
    i = int(below[0])
    x = special.logit(np.clip(curve[i - 1 : i + 1], 1e-9, 1 - 1e-9))
    share = (x[0] - special.logit(height)) / (x[0] - x[1])
    return float(t[i - 1] + share * (t[i] - t[i - 1]))
