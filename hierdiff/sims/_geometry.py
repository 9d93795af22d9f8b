"""How representations are arranged, as a whole: directions, distances, regressions."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from scipy.stats import rankdata

from hierdiff.checks import checked, number, reals
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = [
    "anova_shares",
    "held_out_r2",
    "participation_ratio",
    "rank_correlation",
    "rsa",
    "table",
    "table_and_labels",
]

FloatArray: TypeAlias = NDArray[np.float64]


def table(Z: ArrayLike, least: int) -> FloatArray:
    """Representations [n, width], finite and at least so many."""
    array = reals("representations", Z)
    if array.ndim != 2 or len(array) < least or not array.shape[1]:
        raise InvalidParameter(
            f"representations have shape {array.shape}; give finite numbers [n >= {least}, width]"
        )
    return array


def near_one(array: FloatArray) -> FloatArray:
    """The array, by a power of two near one if its squares would leave float64.

    A power of two changes no digit of what does not depend on the scale.
    """
    exponent = int(np.frexp(np.abs(array).max(initial=0.0))[1])
    return np.ldexp(array, -exponent) if abs(exponent) > 200 else array


def table_and_labels(Z: ArrayLike, Y: ArrayLike, least: int) -> tuple[FloatArray, FloatArray]:
    """Representations and labels of the same points."""
    features, labels = near_one(table(Z, least)), near_one(reals("labels", Y))
    if labels.ndim != 2 or len(labels) != len(features) or not labels.size:
        raise InvalidParameter(
            f"labels have shape {labels.shape} for {len(features)} representations; give finite "
            "numbers [n, coordinates]"
        )
    return features, labels


def participation_ratio(Z: ArrayLike) -> float:
    r"""Effective number of directions in which representations vary.

    .. math:: \mathrm{PR} = (\textstyle\sum_i \lambda_i)^2 / \sum_i \lambda_i^2

    Parameters
    ----------
    Z : array [n, width]

    Returns
    -------
    float
        From 1 to the rank of the covariance; zero if nothing varies.

    Raises
    ------
    InvalidParameter
        If there are fewer than two points, or numbers that are not finite.

    Notes
    -----
    Validity: of the sample covariance; with n points of white noise in D dimensions it is about
    n D / (n + D), not D.

    Examples
    --------
    >>> round(participation_ratio([[1, 0], [-1, 0], [0, 1], [0, -1]]), 6)
    2.0
    """
    array = near_one(table(Z, 2))
    centred = array - array.mean(axis=0)
    gram = centred @ centred.T if len(array) < array.shape[1] else centred.T @ centred
    total, square = float(np.trace(gram)), float((gram**2).sum())
    return total**2 / square if square > 0 else 0.0


def rsa(Z: ArrayLike, Y: ArrayLike) -> float:
    r"""Rank correlation of distances between representations with distances between labels.

    .. math:: \mathrm{RSA} = \mathrm{Spearman}(|Z_i - Z_j|, |Y_i - Y_j|), \quad i < j

    Parameters
    ----------
    Z : array [n, width]
    Y : array [n, coordinates]

    Returns
    -------
    float
        In [-1, 1]; NaN if all distances of one kind agree.

    Raises
    ------
    InvalidParameter
        If there are fewer than three points, or the shapes do not fit.

    Notes
    -----
    Validity: exact, ties shared; cost grows as n^2 log n.

    Examples
    --------
    >>> Y = [[0, 0], [1, 0], [3, 0], [0, 2]]
    >>> round(rsa(np.array(Y) * 5.0, Y), 12)
    1.0
    """
    features, labels = table_and_labels(Z, Y, 3)
    return rank_correlation(pdist(features), pdist(labels))


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Spearman's, ties shared; NaN if one side does not vary."""
    ranks = [rankdata(array) for array in (first, second)]
    a, b = (rank - rank.mean() for rank in ranks)
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


@checked(ridge=partial(number, above=0))
def held_out_r2(Z: ArrayLike, Y: ArrayLike, *, ridge: float = 1e-3, seed: Seed = 0) -> float:
    r"""Share of the labels' variance that a ridge regression explains on the other half.

    .. math:: R^2 = 1 - \frac{\sum |Y - \hat Y|^2}{\sum |Y - \bar Y|^2}

    Parameters
    ----------
    Z : array [n, width]
    Y : array [n, coordinates]
    ridge : float
        Penalty, relative to the mean eigenvalue of the covariance of Z.
    seed : Seed
        Draws the two halves; each is tested with the fit of the other, and both are averaged.

    Returns
    -------
    float
        At most 1; negative if the regression is worse than the mean.

    Raises
    ------
    InvalidParameter
        If there are fewer than eight points, the shapes do not fit, labels do not vary, or the
        penalty is not positive.

    Notes
    -----
    Validity: linear read-out of points drawn like the training points.

    Examples
    --------
    >>> Y = np.random.default_rng(0).random((200, 2))
    >>> round(held_out_r2(Y @ [[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], Y, ridge=1e-9), 6)
    1.0
    """
    features, labels = table_and_labels(Z, Y, 8)
    order = generator(seed).permutation(len(features))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    missed = spread = 0.0
    for fit, test in (halves, halves[::-1]):
        mean, target = features[fit].mean(axis=0), labels[fit].mean(axis=0)
        weights = _ridge(features[fit] - mean, labels[fit] - target, ridge)
        gap = labels[test] - target - (features[test] - mean) @ weights
        missed += float((gap**2).sum())
        spread += float(((labels[test] - target) ** 2).sum())
    if spread == 0:
        raise InvalidParameter("the labels do not vary; give labels of different points")
    return 1 - missed / spread


def _ridge(x: FloatArray, y: FloatArray, ridge: float) -> FloatArray:
    """Weights [width, coordinates], by the smaller of the two systems."""
    scale = float((x**2).sum()) / x.shape[1]
    penalty = ridge * scale if scale > 0 else 1.0
    if len(x) < x.shape[1]:
        return np.asarray(x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y))
    return np.asarray(np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y))


def anova_shares(Z: ArrayLike) -> FloatArray:
    r"""Shares of the variance of a grid of representations: x, y and their interaction.

    .. math:: Z_{xy} = \bar Z + (Z_x - \bar Z) + (Z_y - \bar Z) + (Z_{xy} - Z_x - Z_y + \bar Z)

    Parameters
    ----------
    Z : array [positions x, positions y, width]
        One representation per point of the grid.

    Returns
    -------
    array [3]
        Sum to one; the last vanishes for factorised representations.

    Raises
    ------
    InvalidParameter
        If it is no such grid of two or more by two or more, or nothing varies.

    Notes
    -----
    Validity: exact decomposition.  Noise of variance s^2 per entry adds (X-1)(Y-1) s^2 per
    direction to the sum of squares of the interaction.

    Examples
    --------
    >>> x, y = np.meshgrid(np.arange(3.0), np.arange(3.0), indexing="ij")
    >>> [float(share) for share in anova_shares(np.stack([x, 2 * y], axis=2))]
    [0.2, 0.8, 0.0]
    """
    array = near_one(reals("the grid", Z))
    if array.ndim != 3 or min(array.shape[:2]) < 2:
        raise InvalidParameter(
            f"the grid has shape {array.shape}; give finite numbers [x >= 2, y >= 2, width]"
        )
    rest = array - array.mean(axis=(0, 1))
    x, y = rest.mean(axis=1, keepdims=True), rest.mean(axis=0, keepdims=True)
    parts = [np.broadcast_to(part, rest.shape) for part in (x, y, rest - x - y)]
    sums = np.array([float((part**2).sum()) for part in parts])
    if sums.sum() == 0:
        raise InvalidParameter("the representations do not vary over the grid")
    return np.asarray(sums / sums.sum())
