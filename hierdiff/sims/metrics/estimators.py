r"""Means, thresholds and proportions with their errors: the one place where errors are made.

=====================  ===========================================================================
unit                   what is independent of its like: a grammar, a seed, a network; a datum where
                       there is one grammar only
thermal                scatter of the data of one grammar: noise, and the rules that happened to be
                       used
quenched               scatter of grammars beyond what their finite number of data explains
n                      number of units
s                      standard deviation between units, n - 1 in the denominator
=====================  ===========================================================================

.. math:: \sigma_{\bar x} = s / \sqrt n, \qquad
   P(|\bar x - \mu| < k\,\sigma_{\bar x}) = P(|\tau_{n-1}| < k), \qquad
   \sigma_{boot}^2 = \tfrac{n}{n-1}\,\mathrm{Var}^*

with Student's :math:`\tau_{n-1}` and the variance :math:`\mathrm{Var}^*` between bootstrap
replicas, which draw *units* with replacement.  Grammars are drawn whole: their means carry the
thermal noise already, and a second draw of data inside a drawn grammar would count it twice.  Nodes
of one tree are correlated, so a datum, not a node, is the smallest unit that is counted.

``python sims/coverage.py`` measures how often every error bar of the package covers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from hierdiff.checks import integers, memory, number, reals, together, whole
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = [
    "Bootstrap", "Crossing", "DepthLimit", "Disorder", "Nested", "bootstrap", "clustered_interval",
    "crossing", "depth_limit", "disorder", "falls_through", "jackknife", "likelihood_interval",
    "mean_and_error", "nested_mean",
    "resampled", "shared_error", "standard_error", "student_error", "student_factor",
    "student_score", "welch_score",
]  # fmt: skip

Array = NDArray[Any]

ONE_SIGMA = 0.6826894921370859
"""Probability of a normal variable within one standard deviation."""
FEW = 8
"""Below so many units replicas repeat each other (10 different samples of 3, 1716 of 7), and
Student's factor, 1.09 at 7, is no longer small: errors are linearised and multiplied by it."""
MISSED = 0.05
"""Largest share of replicas without a result; what is lost there is a tail of the distribution, and
without a twentieth of it the standard deviation is already 10 % too small."""


# ------------------------------------------------------------------------------------------ means


def student_factor(units: int) -> float:
    r"""Factor on a standard error that makes :math:`\pm 1` cover as often as a normal variable.

    .. math:: P(|\tau_{n-1}| < factor) = 0.6827

    Parameters
    ----------
    units : int
        Number n of independent units, at least 2.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        If there are fewer than two units.

    Notes
    -----
    Validity: units with normal scatter.

    Examples
    --------
    >>> [round(student_factor(n), 3) for n in (2, 3, 6, 24)]
    [1.837, 1.321, 1.111, 1.022]
    """
    n = whole("units", units, 2)
    return float(special.stdtrit(float(n - 1), (1 + ONE_SIGMA) / 2))


def student_error(values: ArrayLike) -> Array:
    r"""Half width of Student's 68.27 % interval of the mean over a few units, such as networks.

    .. math:: f_n\, s / \sqrt n

    Parameters
    ----------
    values : array [n, ...]

    Returns
    -------
    array [...]

    Raises
    ------
    InvalidParameter
        As :func:`standard_error`.

    Notes
    -----
    Validity: units with normal scatter; one such error covers .683 for any n, two cover .831 for
    two units, .882 for three and .923 for six.

    Examples
    --------
    >>> round(float(student_error([1.0, 3.0])), 3)
    1.837
    """
    return np.asarray(standard_error(values) * student_factor(len(np.asarray(values))))


def student_score(values: ArrayLike) -> Array:
    r"""Mean over a few units as the normal score of equal probability, by Student's test against 0.

    .. math:: \tau = \sqrt n\, \bar x / s, \qquad P(|N| > |z|) = P(|\tau_{n-1}| > |\tau|)

    Parameters
    ----------
    values : array [n, ...]
        Such as a paired difference of every network.

    Returns
    -------
    array [...]
        z with the sign of the mean; 0 where all values are 0, infinite where they are alike.

    Raises
    ------
    InvalidParameter
        As :func:`standard_error`.

    Notes
    -----
    Validity: units with normal scatter.

    Examples
    --------
    >>> round(float(student_score([1.0, 2.0, 3.0])), 2)
    1.79
    """
    x, error = reals("values", values), standard_error(values)
    mean = np.asarray(x.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, mean / error)
    z = special.ndtri(special.stdtr(float(len(x) - 1), -np.abs(t)))
    return np.asarray(0.0 - np.sign(mean) * z)


def welch_score(one: tuple[float, float, int], other: tuple[float, float, int]) -> float:
    r"""Difference of two means as the normal score of equal probability, by Welch's test.

    .. math:: t = \frac{\bar x - \bar y}{\sqrt{\sigma_x^2 + \sigma_y^2}}, \qquad
       \nu = \frac{(\sigma_x^2 + \sigma_y^2)^2}
       {\sigma_x^4 / (n_x - 1) + \sigma_y^4 / (n_y - 1)}

    Parameters
    ----------
    one, other : (mean, standard error, units)
        With at least two units and plain standard errors.

    Returns
    -------
    float
        z with :math:`P(|N| > |z|) = P(|\tau_\nu| > |t|)` and the sign of the first less the second:
        three units each and t = 148 are a z of 5.7.

    Raises
    ------
    InvalidParameter
        For errors that are not positive, or fewer than two units.

    Notes
    -----
    Validity: units with normal scatter.

    Examples
    --------
    >>> round(welch_score((2.90, 0.012, 3), (0.39, 0.012, 3)), 1)
    5.7
    """
    for name, group in (("one", one), ("other", other)):
        if not isinstance(group, (tuple, list)) or len(group) != 3:
            raise InvalidParameter(f"{name} = {group!r:.60} must be (mean, standard error, units)")
    means, errors, units = zip(one, other, strict=True)
    e = reals("errors", list(errors), above=0)
    n = np.array([whole("units", k, 2) for k in units], float)
    x = reals("means", list(means))
    t = float((x[0] - x[1]) / np.sqrt((e**2).sum()))
    dof = float((e**2).sum() ** 2 / (e**4 / (n - 1)).sum())
    return float(np.copysign(special.ndtri(special.stdtr(dof, -abs(t))), t))


def standard_error(values: ArrayLike) -> Array:
    r"""Standard error of the mean over the leading axis of independent units.

    .. math:: \sigma_{\bar x} = \sqrt{\frac{1}{n (n - 1)} \sum_i (x_i - \bar x)^2}

    Parameters
    ----------
    values : array [n, ...]

    Returns
    -------
    array [...]

    Raises
    ------
    InvalidParameter
        For fewer than two units, of which no error can be stated, or values that are not finite.

    Notes
    -----
    Validity: independent units.  :math:`\pm 1` covers .500, .577, .609, .626, .650 for n = 2, 3,
    4, 5, 8 and .667 for 16 (Student's law; see :func:`student_factor`).

    Examples
    --------
    >>> float(standard_error([1.0, 3.0]))
    1.0
    """
    x = reals("values", values)
    if not x.ndim or len(x) < 2:
        raise InvalidParameter(
            f"values of shape {x.shape} give no error bar; give an array [n, ...] of at least two "
            "units"
        )
    return np.asarray(x.std(axis=0, ddof=1) / np.sqrt(len(x)))


def mean_and_error(values: ArrayLike) -> tuple[Array, Array]:
    """Mean over the leading axis of independent units, and its standard error.

    Parameters
    ----------
    values : array [n, ...]

    Returns
    -------
    mean, error : arrays [...]

    Raises
    ------
    InvalidParameter
        As :func:`standard_error`.

    Notes
    -----
    Validity: that of :func:`standard_error`.

    Examples
    --------
    >>> [float(x) for x in mean_and_error([1.0, 3.0])]
    [2.0, 1.0]
    """
    error = standard_error(values)
    return np.asarray(np.asarray(values).mean(axis=0)), error


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
    units
        Number of independent units behind ``error``: grammars, or data of one grammar.
    """

    mean: Array
    error: Array
    by_grammar: Array
    quenched_sd: Array
    thermal_sd: Array
    units: int = 0


def _nested(name: str, values: Any) -> Array:
    """Finite values [grammars, data, ...] of at least two units."""
    x = reals(name, values)
    if x.ndim < 2 or 0 in x.shape:
        raise InvalidParameter(f"{name} have shape {x.shape}; give an array [grammars, data, ...]")
    if x.shape[0] * x.shape[1] < 2:
        raise InvalidParameter(
            f"{x.shape[0]} grammar with {x.shape[1]} datum gives no error bar; ask for at least "
            "two data"
        )
    return x


def nested_mean(values: ArrayLike) -> Nested:
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
        If there are fewer than two data in all, so that no error can be stated, or for values that
        are not finite.

    Notes
    -----
    Validity: unbiased variances; the quenched one is cut at zero.  The error covers as
    :func:`standard_error` with ``units`` units does.  With one grammar the error is that of its own
    mean, not of the average over grammars.

    Examples
    --------
    >>> r = nested_mean(np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> float(r.mean), float(r.error), round(float(r.quenched_sd), 6), r.units
    (1.5, 1.0, 1.322876, 2)
    """
    x = _nested("values", values)
    grammars, data = x.shape[:2]
    by_grammar = x.mean(axis=1)
    within = x.var(axis=1, ddof=1).mean(axis=0) if data > 1 else np.zeros(x.shape[2:])
    if grammars > 1:
        error = standard_error(by_grammar)
        quenched = np.sqrt(np.maximum(grammars * error**2 - within / data, 0.0))
    else:
        error = np.sqrt(within / data)
        quenched = np.full(x.shape[2:], np.nan)
    return Nested(
        by_grammar.mean(axis=0), error, by_grammar, quenched, np.sqrt(within),
        grammars if grammars > 1 else data,
    )  # fmt: skip


def jackknife(statistic: Callable[[Array], Any], units: int) -> tuple[Array, Array]:
    r"""A statistic of all units, and its standard error from leaving out one unit after the other.

    .. math:: \sigma_{jack}^2 = \frac{n - 1}{n} \sum_i (\theta_{-i} - \overline{\theta_{-}})^2

    Parameters
    ----------
    statistic : callable
        Takes the numbers of the units that are kept, [units] or [units - 1], and returns an array.
    units : int
        Number n of independent units, at least two.

    Returns
    -------
    value, error : arrays
        NaN where the statistic is, of all units (both) or of all but one (the error).

    Raises
    ------
    InvalidParameter
        If there are fewer than two units, or more than memory holds.

    Notes
    -----
    Validity: statistics that are smooth in the means of their units, as crossings and ratios; of a
    mean it is :func:`standard_error`, and covers as that does (times :func:`student_factor`: as a
    normal variable).  A quantile is not smooth, and its error is wrong at any n.

    References
    ----------
    Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982, eq. (3.3).

    Examples
    --------
    >>> x = np.array([1.0, 3.0])
    >>> [float(a) for a in jackknife(lambda rows: x[rows].mean(), 2)]
    [2.0, 1.0]
    """
    n = whole("units", units, 2)
    memory(f"the rows of {n} units", 16.0 * n)
    every = np.arange(n)
    value = np.asarray(statistic(every), float)
    left_out = np.stack([np.asarray(statistic(every[every != i]), float) for i in every])
    spread = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0)
    error = np.sqrt((n - 1) / n * spread)
    return value, np.asarray(np.where(np.isnan(value), np.nan, error))


# -------------------------------------------------------------------------------------- bootstrap


def resampled(units: int, resamples: int, seed: Seed, groups: int | None = None) -> Array:
    """Rows of the bootstrap: so many samples of all units, drawn with replacement.

    Parameters
    ----------
    units, resamples : int
    seed : Seed
        Source of randomness.
    groups : int, optional
        So many independent groups of ``units`` units, each drawn by itself.

    Returns
    -------
    int array [resamples, units], or [resamples, groups, units]

    Raises
    ------
    InvalidParameter
        If either number is not a whole number >= 1.

    Notes
    -----
    Validity: units are independent of each other; what they consist of is never drawn.

    Examples
    --------
    >>> resampled(3, 2, seed=0).tolist()
    [[2, 1, 1], [0, 0, 0]]
    """
    n, inner = whole("units", units, 1), (() if groups is None else (whole("groups", groups, 1),))
    shape = (whole("resamples", resamples, 1), *inner, n)
    memory(f"a bootstrap of {' x '.join(str(k) for k in shape)} rows", 8.0 * math.prod(shape))
    return np.asarray(generator(seed).integers(n, size=shape))


@dataclass(frozen=True, eq=False)
class Bootstrap:
    r"""Error of a statistic by resampling of units.

    Attributes
    ----------
    error
        Standard deviation of the replicas times :math:`\sqrt{n / (n - 1)}`, of the shape of the
        statistic; NaN where more than a twentieth of the replicas have no value, or n < 2.
    missed
        Share of the replicas in which the statistic has no value (NaN), of the same shape.
    """

    error: Array
    missed: Array


def bootstrap(
    statistic: Callable[[Array], Any], units: int, resamples: int = 400, seed: Seed = 0,
    *, groups: int | None = None,
) -> Bootstrap:  # fmt: skip
    r"""Standard error of a statistic of independent units, by drawing the units with replacement.

    .. math:: \sigma^2 = \frac{n}{n - 1}\, \mathrm{Var}^*(\text{statistic}),

    which for a mean is :math:`s^2 / n` exactly, up to the finite number of replicas.

    Parameters
    ----------
    statistic : callable
        From rows, an int array [n] or [groups, n], to a number or an array; NaN where it has no
        value.
    units : int
        Number n of units.
    resamples : int
        Replicas, at least 2.
    seed : Seed
        Source of randomness.
    groups : int, optional
        Independent groups of n units, each drawn by itself.

    Returns
    -------
    Bootstrap

    Raises
    ------
    InvalidParameter
        If units or resamples are no such numbers.

    Notes
    -----
    Validity: smooth statistics of independent units.  ``resamples`` replicas give the error to
    :math:`1/\sqrt{2\,resamples}`, 3.5 % for 400.

    Examples
    --------
    >>> x = np.arange(20.0)
    >>> round(float(bootstrap(lambda rows: x[rows].mean(), 20, 4000).error), 2)
    1.31
    >>> round(float(standard_error(x)), 2)
    1.32
    """
    if not callable(statistic):
        raise InvalidParameter(
            f"statistic = {statistic!r:.60} must be a function of rows, an int array [n]"
        )
    n = whole("units", units, 1)
    rows = resampled(n, whole("resamples", resamples, 2), seed, groups)
    replicas = np.array([statistic(r) for r in rows], dtype=float)
    there = np.isfinite(replicas)
    missed = 1 - np.asarray(there.mean(axis=0))
    # a unit drawn twice leaves another out: replicas scatter by (n - 1)/n of the variance
    scale = np.sqrt(n / (n - 1)) if n > 1 else np.nan
    usable = (missed <= MISSED) & (there.sum(axis=0) > 1)
    filled = np.where(there & usable, replicas, 0.0)
    kept = np.maximum(there.sum(axis=0), 2)
    mean = filled.sum(axis=0) / kept
    square = np.where(there & usable, (filled - mean) ** 2, 0.0).sum(axis=0) / (kept - 1)
    return Bootstrap(np.asarray(np.where(usable, scale * np.sqrt(square), np.nan)),
                     np.asarray(missed))  # fmt: skip


def shared_error(scores: ArrayLike, members: ArrayLike) -> Array:
    r"""Standard error of a mean of scores that share their members, such as triplets of objects.

    .. math::
       x_k = \mu + \sum_{o \in k} h_o + r_k, \qquad
       \sigma_{\bar x}^2 = \sigma_h^2 \sum_o (c_o / K)^2 + \sigma_r^2 / K

    with :math:`c_o` the number of scores of member o.  Both variances follow from two quadratic
    forms, :math:`Q_1 = \sum_k (x_k - \bar x)^2` and
    :math:`Q_2 = \sum_o (\sum_{k \ni o} (x_k - \bar x))^2`, by equating them with their means.

    Parameters
    ----------
    scores : array [..., K]
    members : int array [K, r]
        The members of every score, e.g. the three objects of a triplet; all different in a row.

    Returns
    -------
    array [...]

    Raises
    ------
    InvalidParameter
        For other shapes, scores that are not finite, or fewer than two scores.

    Notes
    -----
    Validity: unbiased variances of members and of scores; what belongs to pairs of members counts
    as noise of single scores.  A bootstrap of members, which weighs a triplet by the product of the
    numbers of its objects, counts the noise of single triplets seven times (2^3 - 1).

    Examples
    --------
    >>> rows = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]])
    >>> x = np.array([1.0, 2.0, 3.0, 6.0])  # nothing shared: the plain standard error
    >>> round(float(shared_error(x, rows)), 9) == round(float(standard_error(x)), 9)
    True
    """
    x, rows = reals("scores", scores), integers("members", members, ndim=2)
    if x.ndim < 1 or x.shape[-1] != len(rows) or len(rows) < 2:
        raise InvalidParameter(
            f"scores of shape {x.shape} and members of shape {rows.shape} must end in and start "
            "with the same number >= 2 of scores"
        )
    from scipy import sparse  # heavy, and needed here alone

    inside = np.unique(rows, return_inverse=True)[1].reshape(rows.shape)
    total, n = len(rows), int(inside.max()) + 1
    incidence = sparse.csr_array(
        (np.ones(rows.size), (np.repeat(np.arange(total), rows.shape[1]), inside.ravel())),
        shape=(total, n),
    )
    counts = np.bincount(inside.ravel(), minlength=n).astype(float)
    common = (incidence.T @ incidence).toarray() - np.outer(counts, counts) / total
    trace, square = float(np.trace(common)), float((common**2).sum())
    rest = (x - x.mean(axis=-1, keepdims=True)).reshape(-1, total)
    q1 = (rest**2).sum(axis=1)
    q2 = ((rest @ incidence) ** 2).sum(axis=1)
    # [q1, q2] = [[trace, K - 1], [square, trace]] [member variance, own variance]
    scale = trace**2 - square * (total - 1)
    if abs(scale) > 1e-9 * trace**2:
        member = np.maximum((trace * q1 - (total - 1) * q2) / scale, 0.0)
    else:  # every member in one score: the two parts cannot be told apart, and need not be
        member = np.zeros(len(rest))
    own = np.maximum((q1 - trace * member) / (total - 1), 0.0)
    variance = member * float((counts**2).sum()) / total**2 + own / total
    return np.asarray(np.sqrt(variance).reshape(x.shape[:-1]))


# -------------------------------------------------------------------------------------- intervals


def likelihood_interval(
    successes: ArrayLike, trials: ArrayLike, level: float = 0.6827, *, spread: ArrayLike = 1.0
) -> Array:
    r"""All probabilities whose likelihood is close enough to the largest: {p : 2 ln(L_max/L) <= c}.

    .. math:: 2 [\ln L(k/n) - \ln L(p)] \le \phi\, \chi^2_{1}(level), \quad
       \ln L(p) = k \ln p + (n - k) \ln(1 - p)

    Parameters
    ----------
    successes, trials : int arrays
        k of n, broadcast against each other.
    level : float
        Coverage; the default is one standard deviation.
    spread : array
        Factor :math:`\phi` on the cut: trials that are not independent, see
        :func:`clustered_interval`.

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
    Validity: independent trials of one probability; coverage is asymptotic in n.  For small n p
    it jumps with p, since k is a whole number: .58 to .80 at n p about 3, .66 to .70 from 50 on.
    Data of several grammars are not independent trials: use :func:`clustered_interval`.

    Examples
    --------
    >>> likelihood_interval(0, 10).round(4).tolist()
    [0.0, 0.0488]
    >>> likelihood_interval(5, 10).round(4).tolist()
    [0.3458, 0.6542]
    """
    # sums of indicators are whole numbers in floating point
    k, n = reals("successes", successes, 0, 2**53), reals("trials", trials, 1, 2**53)
    wide = reals("spread", spread, above=0)
    together(successes=k, trials=n, spread=wide)
    k, n, wide = np.broadcast_arrays(k, n, wide)
    if np.any(k > n) or np.any(k != np.round(k)) or np.any(n != np.round(n)):
        raise InvalidParameter(
            "successes must be whole numbers from 0 to trials, and trials at least 1"
        )
    cut = _chi_square(number("level", level, above=0, below=1))

    from scipy.optimize import brentq  # heavy, and needed here alone

    def ends(k: float, n: float, cut: float) -> tuple[float, float]:
        def excess(p: float) -> float:
            best = special.xlogy(k, k / n) + special.xlogy(n - k, 1 - k / n)
            here = special.xlogy(k, p) + special.xlogy(n - k, 1 - p)
            return float(2 * (best - here) - cut)

        # a wide cut may reach beyond the last numbers before 0 and 1
        low = 0.0 if k == 0 or excess(1e-300) <= 0 else brentq(excess, 1e-300, k / n)
        most = 1 - 1e-16
        high = 1.0 if k == n or excess(most) <= 0 else brentq(excess, k / n, most)
        return float(low), float(high)

    flat = zip(k.ravel(), n.ravel(), wide.ravel(), strict=True)
    pairs = [ends(float(a), float(b), cut * float(c)) for a, b, c in flat]
    return np.array(pairs).reshape(*k.shape, 2)


def _chi_square(level: float) -> float:
    """Quantile of the law with one degree of freedom."""
    return float(2 * special.gammaincinv(0.5, level))


def clustered_interval(outcomes: ArrayLike, level: float = 0.6827) -> Array:
    r"""Likelihood interval of a probability whose trials come in clusters: data in grammars.

    .. math:: 2 [\ln L(k/n) - \ln L(p)] \le
       \max\{\chi^2_1(level),\; \phi\, F_{1, G-1}(level)\}, \qquad
       \phi = \frac{1}{G - 1} \sum_g \frac{(k_g - n_g \hat p)^2}{n_g\, \hat p (1 - \hat p)}

    Parameters
    ----------
    outcomes : array [grammars, data, ...]
        0 or 1 (bool, or as numbers).
    level : float
        Coverage; the default is one standard deviation.

    Returns
    -------
    array [..., 2]
        Lower and upper end, in [0, 1].

    Raises
    ------
    InvalidParameter
        For outcomes other than 0 and 1, fewer than two trials, or a level outside (0, 1).

    Notes
    -----
    Validity: quasi-likelihood of overdispersed counts with the same number of data in all grammars
    (McCullagh and Nelder, Generalized Linear Models, 4.5), and never narrower than for independent
    trials.  With one grammar the interval is that of its own probability.

    Examples
    --------
    >>> same = np.tile([0, 1], (6, 10))
    >>> clustered_interval(same).round(3).tolist() == likelihood_interval(60, 120).round(3).tolist()
    True
    >>> apart = np.repeat([[0], [1]] * 3, 20, axis=1)  # whole grammars keep or lose the class
    >>> clustered_interval(apart).round(3).tolist()
    [0.266, 0.734]
    """
    true = isinstance(outcomes, np.ndarray) and outcomes.dtype.kind == "b"
    x = _nested("outcomes", np.asarray(outcomes, float) if true else outcomes)
    if not np.isin(x, (0, 1)).all():
        raise InvalidParameter("outcomes must be 0 or 1, or truth values")
    number("level", level, above=0, below=1)
    grammars, data = x.shape[:2]
    k, n = x.sum(axis=(0, 1)), grammars * data
    spread = np.ones(k.shape)
    if grammars > 1:
        p = k / n
        scatter = ((x.sum(axis=1) - data * p) ** 2).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            phi = np.where((k > 0) & (k < n), scatter / (data * p * (1 - p) * (grammars - 1)), 1)
        wider = special.fdtri(1, grammars - 1, level) / _chi_square(level)
        spread = np.maximum(1.0, phi * wider)
    return likelihood_interval(k, n, level, spread=spread)


# -------------------------------------------------------------------------------------- crossings


@dataclass(frozen=True)
class Crossing:
    """Where a curve crosses a height, with its standard error.

    Attributes
    ----------
    value
        Where the mean curve falls through the height.
    error
        Standard error of it; NaN if more than a twentieth of the replicas do not cross.
    units
        Number of independent units behind the error: grammars, or data of one grammar.
    missed
        Share of the replicas that do not cross the height within the range of t.
    """

    value: float
    error: float
    units: int = 0
    missed: float = 0.0


def _curves(t: Any, values: Any, height: Any) -> tuple[Array, Array, float]:
    times = reals("t", t, ndim=1)
    if len(times) < 2 or (np.diff(times) <= 0).any():
        raise InvalidParameter(
            f"t of shape {times.shape} must be at least two increasing noise levels; sort them"
        )
    x = reals("values", values)
    if x.ndim < 1 or x.shape[-1] != len(times):
        raise InvalidParameter(
            f"values of shape {x.shape} do not end in the {len(times)} noise levels of t; give "
            "[grammars, data, T]"
        )
    if (x > 1 + 1e-6).any():
        raise InvalidParameter(
            f"values reach {x.max():.6g}; give probabilities, or shares that are 1 at certainty"
        )
    return times, x, number("height", height, above=0, below=1)


def falls_through(t: ArrayLike, curve: ArrayLike, height: float = 0.5) -> float:
    r"""First place where a curve falls through a height, interpolated in log-odds.

    Parameters
    ----------
    t : array [T]
        Increasing.
    curve : array [T]
        Probabilities.
    height : float
        Between 0 and 1.

    Returns
    -------
    float
        NaN if the curve starts below the height or never falls through it.

    Raises
    ------
    InvalidParameter
        For t that does not increase or has another length, values that are not finite or exceed
        1, a height outside (0, 1).

    Notes
    -----
    Validity: linear in log-odds between neighbouring t, in which a sharpening transition is close
    to straight.

    Examples
    --------
    >>> falls_through([0.0, 0.5, 1.0], [0.9, 0.6, 0.4])
    0.75
    """
    times, x, h = _curves(t, curve, height)
    if x.ndim != 1:
        raise InvalidParameter(f"curve has shape {x.shape}; give one number per noise level")
    return _falls_through(times, x, h)


def _falls_through(t: Array, curve: Array, height: float) -> float:
    below = np.flatnonzero(curve < height)
    if not below.size or below[0] == 0:
        return np.nan
    i = int(below[0])
    x = special.logit(np.clip(curve[i - 1 : i + 1], 1e-9, 1 - 1e-9))
    share = (x[0] - special.logit(height)) / (x[0] - x[1])
    return float(t[i - 1] + share * (t[i] - t[i - 1]))


def crossing(
    t: ArrayLike, values: ArrayLike, height: float = 0.5, resamples: int = 400, seed: Seed = 0
) -> Crossing:
    r"""Where the mean of curves [grammars, data, t] falls through a height, with its error.

    The mean curve is interpolated in log-odds.  Units are the grammars, or the data where there is
    one grammar.  From eight units on the error is that of :func:`bootstrap` over units.  Below it
    is linearised in the two means :math:`c` beside the crossing and has Student's factor
    :math:`f_n`,

    .. math:: \sigma^2 = \frac{f_n^2}{n (n - 1)} \sum_u
       \Big(\sum_{i} \frac{\partial t_{1/2}}{\partial c_i}\,(x_{ui} - c_i)\Big)^2 .

    Parameters
    ----------
    t : array [T]
        Increasing.
    values : array [grammars, data, T]
        Probabilities.
    height : float
        Between the first and the last mean.
    resamples : int
        Bootstrap replicas, at least 2.
    seed : Seed
        Source of randomness.

    Returns
    -------
    Crossing

    Raises
    ------
    InvalidParameter
        If the mean curve does not cross the height, there is one datum of one grammar, t does not
        increase or has another length, or values are not finite or exceed 1.

    Notes
    -----
    Validity: the error is that of the average over units; it does not contain the error of the
    interpolation between neighbouring t.  Replicas that do not cross are counted in ``missed``; if
    more than a twentieth of them do not, the error is NaN: measure at more noise levels around
    the crossing, or with more units.

    Examples
    --------
    >>> t = np.linspace(0, 1, 11)
    >>> curves = np.clip(1.05 - t, 0, 1) * np.ones((3, 4, 1))
    >>> crossing(t, curves)
    Crossing(value=0.55, error=0.0, units=3, missed=0.0)
    """
    times, x, h = _curves(t, values, height)
    if x.ndim != 3:
        raise InvalidParameter(f"values of shape {x.shape} must be [grammars, data, T]")
    whole("resamples", resamples, 2)
    random = generator(seed)
    x = _nested("values", x)
    units = x.mean(axis=1) if len(x) > 1 else x[0]
    mean, n = units.mean(axis=0), len(units)
    best = _falls_through(times, mean, h)
    if np.isnan(best):
        raise InvalidParameter(
            f"the curve does not fall through {h:g} between t = {times[0]:g} and {times[-1]:g}; "
            "measure at more noise levels"
        )
    if n < FEW:
        error = student_factor(n) * float(standard_error(_influence(times, units, mean, h)))
        return Crossing(round(best, 12), round(error, 12), n)
    found = bootstrap(
        lambda rows: _falls_through(times, units[rows].mean(axis=0), h), n, resamples, random
    )
    return Crossing(round(best, 12), round(float(found.error), 12), n, float(found.missed))


def _influence(t: Array, units: Array, mean: Array, height: float) -> Array:
    """First-order effect of every unit's departure from the mean on the crossing, [n]."""
    i = int(np.flatnonzero(mean < height)[0])
    c = mean[i - 1 : i + 1]
    safe = np.clip(c, 1e-9, 1 - 1e-9)
    x, level = special.logit(safe), special.logit(height)
    by_logit = np.array([level - x[1], x[0] - level]) / (x[0] - x[1]) ** 2
    # where the logarithm is cut off the crossing does not depend on the mean
    by_mean = np.where(c == safe, by_logit / (safe * (1 - safe)), 0.0)
    return np.asarray((units[:, i - 1 : i + 1] - c) @ by_mean * (t[i] - t[i - 1]))


@dataclass(frozen=True)
class DepthLimit:
    """Limit of a threshold for infinite depth.

    Attributes
    ----------
    value, error
        The limit, and its standard error with the doubt about the rate; it errs on the safe side:
        one error covers .85 for four depths whose rate is not told.
    rate, rate_error
        Mean and standard deviation of the rate, as far as the depths tell.
    chi_square
        Misfit at the best rate, for (depths - 3) degrees of freedom.
    """

    value: float
    error: float
    rate: float
    rate_error: float
    chi_square: float


def depth_limit(
    depth: ArrayLike, values: ArrayLike, errors: ArrayLike,
    rates: tuple[float, float] = (1.1, 2.0),
) -> DepthLimit:  # fmt: skip
    r"""Limit for infinite depth of thresholds at some depths; the rate of approach is not given.

    .. math:: t_L = t^* + A\, \lambda^{-L}, \qquad
       p(t^*, \ln\lambda) \propto \sigma(\lambda)^{-1}
       \exp\{-\tfrac12 [\chi^2(\lambda) + (t^* - \hat t(\lambda))^2 / \sigma(\lambda)^2]\}

    with :math:`\hat t(\lambda) \pm \sigma(\lambda)` from weighted least squares at a fixed rate.
    Stated are mean and standard deviation of :math:`t^*` over all rates, alike in
    :math:`\ln\lambda`.

    Parameters
    ----------
    depth : array [k]
        At least three different depths L.
    values, errors : array [k]
        Thresholds and their independent standard errors.
    rates : (float, float)
        Least and largest rate, above 1.

    Returns
    -------
    DepthLimit

    Raises
    ------
    InvalidParameter
        For fewer depths, other shapes, errors that are not positive, or rates that do not increase
        from above 1.

    Notes
    -----
    Validity: the leading correction alone.  Four depths hardly fix the rate, so that its range is
    part of the statement: near 1 nothing of the limit would be seen.

    Examples
    --------
    >>> L = np.array([4.0, 6.0, 8.0, 10.0])
    >>> found = depth_limit(L, 0.3 - 1.3**-L, np.full(4, 1e-5))
    >>> round(found.value, 4), round(found.rate, 3)
    (0.3, 1.3)
    """
    L = reals("depth", depth, ndim=1)
    y = reals("values", values, shape=L.shape)
    e = reals("errors", errors, above=0, shape=L.shape)
    if not isinstance(rates, (tuple, list)) or len(rates) != 2:
        raise InvalidParameter(f"rates = {rates!r:.60} must be two numbers, least and largest")
    low, high = number("rates[0]", rates[0], above=1), number("rates[1]", rates[1])
    if len(np.unique(L)) < 3 or not high > low:
        raise InvalidParameter(
            f"depths {L.tolist()} with rates from {low:g} to {high:g} have no limit; give three "
            "different depths or more, and rates that increase"
        )
    logs = np.linspace(np.log(low), np.log(high), 4001)
    # measured from the middle, so that both columns are of order one
    decay = np.exp(-np.outer(logs, L - L.mean()))
    w = 1 / e**2
    s0, s1, s2 = w.sum(), decay @ w, (decay**2) @ w
    b0, b1 = (w * y).sum(), decay @ (w * y)
    determinant = s0 * s2 - s1**2
    limit = (s2 * b0 - s1 * b1) / determinant
    variance = s2 / determinant
    slope = (s0 * b1 - s1 * b0) / determinant
    chi = (w * (y - limit[:, None] - slope[:, None] * decay) ** 2).sum(axis=1)
    weight = np.exp(-(chi - chi.min()) / 2)
    weight = weight / weight.sum()
    value = float(weight @ limit)
    error = float(np.sqrt(weight @ (variance + (limit - value) ** 2)))
    rate = float(weight @ np.exp(logs))
    spread = float(np.sqrt(weight @ (np.exp(logs) - rate) ** 2))
    return DepthLimit(value, error, rate, spread, float(chi.min()))


@dataclass(frozen=True)
class Disorder:
    r"""Variance of a threshold between grammars, with the thermal part removed.

    Attributes
    ----------
    variance
        Between grammars beyond what their finite number of data explains; may be negative.
    error
        Standard error of it, by the jackknife over grammars.  It scatters with the variance
        itself: with 48 grammars one error covers .66 and two .92.
    sd
        Its root; 0 where the variance is negative.
    sd_error
        Standard error of ``sd``; NaN where ``sd`` is 0.
    thermal_sd
        Standard deviation of the threshold of one datum of a grammar; that of n data is smaller by
        :math:`\sqrt n`.
    grammars, data
        What it was estimated from.
    missed
        Share of the half-data curves that do not cross; their grammars are left out of that split.
    """

    variance: float
    error: float
    sd: float
    sd_error: float
    thermal_sd: float
    grammars: int
    data: int
    missed: float


def disorder(
    t: ArrayLike, values: ArrayLike, height: float = 0.5, splits: int = 64, seed: Seed = 0
) -> Disorder:
    r"""Disorder of the threshold: its variance over grammars, by split halves of the data.

    .. math:: \sigma_{q}^2 = \Big\langle \mathrm{Cov}_g\big(t_{1/2}^{(a)}, t_{1/2}^{(b)}\big)
       \Big\rangle_{splits}, \qquad
       \sigma_{th}^2 = \frac{n}{4} \Big\langle \big(t_{1/2}^{(a)} - t_{1/2}^{(b)}\big)^2
       \Big\rangle ,

    where a and b are halves of the n data of a grammar: their noise is independent, so that only
    the grammar is common to both.

    Parameters
    ----------
    t : array [T]
        Increasing.
    values : array [grammars, data, T]
        Probabilities; at least four grammars of at least two data.
    height : float
    splits : int
        Random splits that are averaged.
    seed : Seed
        Source of the splits.

    Returns
    -------
    Disorder

    Raises
    ------
    InvalidParameter
        As :func:`crossing`; for fewer grammars or data.

    Notes
    -----
    Validity: all numbers are NaN if more than a twentieth of the halves do not cross the height:
    widen the range of t, or take more data.  Thresholds of half of the data are moved against those
    of infinitely many by the curvature of the curves, alike in all grammars.  The variance has no
    bias from the number of data; single-grammar thresholds of n data scatter by
    :math:`\sigma_q^2 + \sigma_{th}^2 / n`.

    Examples
    --------
    >>> t = np.linspace(0, 1, 101)
    >>> rng = np.random.default_rng(0)
    >>> middle = 0.5 + 0.02 * rng.standard_normal((200, 1)) + 0.08 * rng.standard_normal((200, 16))
    >>> found = disorder(t, 1 / (1 + np.exp((t - middle[..., None]) / 0.05)))
    >>> round(found.sd, 4), round(found.sd_error, 4), round(found.thermal_sd, 3)
    (0.0168, 0.0021, 0.083)
    """
    times, x, h = _curves(t, values, height)
    if x.ndim != 3 or x.shape[0] < 4 or x.shape[1] < 2:
        raise InvalidParameter(
            f"values of shape {x.shape} must be [grammars, data, T] with at least 4 grammars of 2 "
            "data"
        )
    grammars, data = x.shape[:2]
    random, half = generator(seed), x.shape[1] // 2
    count = whole("splits", splits, 1)
    memory(f"{count} splits of {grammars} grammars", 16.0 * count * grammars)
    pairs = np.empty((count, 2, grammars))
    for pair in pairs:
        order = random.permutation(data)
        for side, rows in zip(pair, (order[:half], order[half : 2 * half]), strict=True):
            side[:] = [_falls_through(times, c, h) for c in x[:, rows].mean(axis=1)]
    lost = np.asarray(np.isnan(pairs).any(axis=1))
    missed = float(lost.mean())
    if missed > MISSED:
        nan = float("nan")
        return Disorder(nan, nan, nan, nan, nan, grammars, data, missed)
    a, b = np.where(lost[:, None], 0.0, pairs).transpose(1, 0, 2)
    there = (~lost).astype(float)

    def covariance(kept: Array) -> float:
        w = there * kept
        n = w.sum(axis=1)
        product = (w * a * b).sum(axis=1) - (w * a).sum(axis=1) * (w * b).sum(axis=1) / n
        return float((product / (n - 1)).mean())

    everyone = np.ones(grammars)
    variance = covariance(everyone)
    alone = np.array([covariance(everyone - row) for row in np.eye(grammars)])
    error = float(np.sqrt((grammars - 1) / grammars * ((alone - alone.mean()) ** 2).sum()))
    sd = float(np.sqrt(max(variance, 0.0)))
    thermal = np.sqrt(half / 2 * (there * (a - b) ** 2).sum() / there.sum())
    return Disorder(variance, error, sd, error / (2 * sd) if sd else np.nan, float(thermal),
                    grammars, data, missed)  # fmt: skip
