"""How well a confidence separates right answers from wrong ones, and how well it is calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from hierdiff.checks import checked, integers, reals, unchecked, whole
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.estimators import bootstrap

__all__ = [
    "calibration_error",
    "discrimination",
    "grouped_calibration_error",
    "platt",
    "temperature",
]

Floats: TypeAlias = NDArray[np.float64]

_LARGEST = 1e100  # sums and exponents of scores stay finite


def _answers(stated: ArrayLike, correct: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """What was stated of every answer [n], and whether it was right."""
    x = reals("stated", stated, ndim=1)
    try:
        y = np.asarray(correct)
    except ValueError:  # a list of lists of several lengths
        raise InvalidParameter("correct is no array; give a truth value for each answer") from None
    if y.shape != x.shape or y.dtype.kind not in "bif" or not np.isin(y, (0, 1)).all():
        raise InvalidParameter(
            f"correct of shape {y.shape} must hold a truth value for each of {len(x)} answers"
        )
    return x, y.astype(bool)


def discrimination(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Probability that a right answer has more confidence than a wrong one (area under the ROC).

    Parameters
    ----------
    confidence : array [n]
    correct : bool array [n]

    Returns
    -------
    float
        NaN if all answers are right, or all wrong.

    Examples
    --------
    >>> discrimination([3.0, 2.0, 1.0], [True, False, False])
    1.0
    """
    x, y = _answers(confidence, correct)
    from scipy import stats  # takes half a second to import

    good = int(y.sum())
    if good in (0, len(y)):
        return float("nan")
    ranks = stats.rankdata(x)
    return float((ranks[y].sum() - good * (good + 1) / 2) / (good * (len(y) - good)))


def calibration_error(probability: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: mean gap of stated and found accuracy, in bins of equal size.

    Parameters
    ----------
    probability : array [n]
        Stated probability of being right.
    correct : bool array [n]
    bins : int

    Returns
    -------
    float
        Biased upwards by about sqrt(2 p (1 - p) bins / (pi n)); error bars are about its mean, with
        the bias.

    Raises
    ------
    InvalidParameter
        If there are fewer data than bins.

    Examples
    --------
    >>> calibration_error([0.5, 0.5, 0.5, 0.5], [True, False, True, False], bins=2)
    0.0
    """
    p, y = _answers(probability, correct)
    if not 1 <= whole("bins", bins) <= len(p):
        raise InvalidParameter(f"{len(p)} data cannot fill {bins} bins; use fewer bins")
    order = p.argsort(kind="stable")
    parts = np.array_split(order, bins)
    return float(sum(abs(p[i].mean() - y[i].mean()) * len(i) for i in parts) / len(p))


def platt(value: ArrayLike, correct: ArrayLike) -> tuple[float, float]:
    """Slope and offset of the logistic function of ``value`` that makes ``correct`` most likely.

    Returns
    -------
    slope, offset : float
        ``expit(slope * value + offset)`` is the probability of being right.
    """
    from scipy import optimize

    x, y = _answers(value, correct)

    def loss(theta: Floats) -> float:
        z = theta[0] * x + theta[1]
        # a weak prior keeps separable data finite
        return float(np.logaddexp(0, z).sum() - (y * z).sum() + 1e-3 * (theta**2).sum())

    found = optimize.minimize(loss, np.zeros(2), method="BFGS")
    return float(found.x[0]), float(found.x[1])


def temperature(scores: ArrayLike, labels: ArrayLike) -> float:
    """Inverse temperature at which the softmax of minus the scores [n, K] fits the labels best."""
    from scipy import optimize

    s = reals("scores", scores, ndim=2)
    if s.size == 0 or np.abs(s).max() > _LARGEST:
        raise InvalidParameter(
            f"scores of shape {s.shape} must be [n, K] numbers below 1e100, one at least"
        )
    y = integers("labels", labels, 0, s.shape[1] - 1, shape=(len(s),))
    s = s - s.min(axis=1, keepdims=True)
    unit = float(s.mean()) + 1e-300
    rows = np.arange(len(s))

    def loss(log_rate: float) -> float:
        z = -np.exp(log_rate) * s / unit
        return float((special.logsumexp(z, axis=1) - z[rows, y]).mean())

    found = optimize.minimize_scalar(loss, bounds=(-8.0, 8.0), method="bounded")
    return float(np.exp(found.x) / unit)


@checked(groups=unchecked)
def grouped_calibration_error(
    groups: Sequence[tuple[ArrayLike, ArrayLike]], rng: np.random.Generator, resamples: int = 200
) -> tuple[float, float]:
    """Calibration error of all groups together, and its bootstrap error over groups (0 of one).

    Parameters
    ----------
    groups : sequence of (array [n], bool array [n])
        Stated probabilities and whether the answers were right, e.g. one pair per grammar.
    rng : numpy Generator
    resamples : int
        Resamples of the bootstrap.
    """
    try:
        pairs = [_answers(*group) for group in groups]
    except TypeError:
        raise InvalidParameter(
            "groups must be pairs of probabilities and truth values, one for every group"
        ) from None
    if not pairs:
        raise InvalidParameter("groups are empty; give one pair at least")

    def value(rows: NDArray[np.intp]) -> float:
        stated, right = (np.concatenate([pairs[i][j] for i in rows]) for j in (0, 1))
        return calibration_error(stated, right)

    whole_error = value(np.arange(len(pairs)))
    return whole_error, float(bootstrap(value, len(pairs), resamples, rng).error)
