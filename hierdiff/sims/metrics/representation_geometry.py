r"""How representations are arranged: directions, distances, neighbours, regressions, and CKA.

==================  ==============================================================================
Z [n, width]        representations of n points
Y [n, coordinates]  labels of the same points
d(i, j)             Euclidean distance of points i and j
==================  ==============================================================================

.. math::
    \mathrm{RSA} = \rho_{Spearman}\big(d_X(i,j),\; d_Y(i,j)\big)_{i<j}, \qquad
    \mathrm{CKA} = \frac{\|X^TY\|_F^2}{\|X^TX\|_F\,\|Y^TY\|_F} \quad \text{(centred columns)} .

Seen as a whole: :func:`participation_ratio`, :func:`rsa`, :func:`held_out_r2`,
:func:`anova_shares`.  Seen from the neighbours of every point: :func:`two_nn`,
:func:`geodesic_rsa`, :func:`neighbour_ratio`.  Two representations of the same data:
:func:`cosine_similarity`, :func:`representational_similarity`, :func:`linear_cka`.
"""

from __future__ import annotations

from functools import partial
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist, squareform

from hierdiff.checks import checked, count, number, reals
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.sims.metrics.probes import ridge_weights

__all__ = [
    "anova_shares",
    "cosine_similarity",
    "geodesic_rsa",
    "held_out_r2",
    "isometric",
    "linear_cka",
    "neighbour_ratio",
    "participation_ratio",
    "representational_similarity",
    "rsa",
    "two_nn",
]

FloatArray: TypeAlias = NDArray[np.float64]


def _table(Z: ArrayLike, least: int) -> FloatArray:
    """Representations [n, width], finite and at least so many."""
    array = reals("representations", Z)
    if array.ndim != 2 or len(array) < least or not array.shape[1]:
        raise InvalidParameter(
            f"representations have shape {array.shape}; give finite numbers [n >= {least}, width]"
        )
    return array


def _near_one(array: FloatArray) -> FloatArray:
    """The array, by a power of two near one if its squares would leave float64.

    A power of two changes no digit of what does not depend on the scale.
    """
    exponent = int(np.frexp(np.abs(array).max(initial=0.0))[1])
    return np.ldexp(array, -exponent) if abs(exponent) > 200 else array


def _table_and_labels(Z: ArrayLike, Y: ArrayLike, least: int) -> tuple[FloatArray, FloatArray]:
    """Representations and labels of the same points."""
    features, labels = _near_one(_table(Z, least)), _near_one(reals("labels", Y))
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
    array = _near_one(_table(Z, 2))
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
    features, labels = _table_and_labels(Z, Y, 3)
    return _rank_correlation(pdist(features), pdist(labels))


def _rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Spearman's, ties shared; NaN if one side does not vary."""
    from scipy.stats import rankdata  # heavy, and needed here alone

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
    features, labels = _table_and_labels(Z, Y, 8)
    order = generator(seed).permutation(len(features))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    missed = spread = 0.0
    for fit, test in (halves, halves[::-1]):
        mean, target = features[fit].mean(axis=0), labels[fit].mean(axis=0)
        x = features[fit] - mean
        scale = float((x**2).sum()) / x.shape[1]
        penalty = ridge * scale if scale > 0 else 1.0
        weights = ridge_weights(x, labels[fit] - target, penalty)
        gap = labels[test] - target - (features[test] - mean) @ weights
        missed += float((gap**2).sum())
        spread += float(((labels[test] - target) ** 2).sum())
    if spread == 0:
        raise InvalidParameter("the labels do not vary; give labels of different points")
    return 1 - missed / spread


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
    array = _near_one(reals("the grid", Z))
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


# --- seen from each point's neighbours ------------------------------------------------------------


def isometric(Z: ArrayLike) -> FloatArray:
    """The same points in as many coordinates as there are points, if that is fewer.

    All distances stay, and searches for neighbours get cheaper.

    Parameters
    ----------
    Z : array [n, width]

    Returns
    -------
    array [n, min(n, width)]

    Raises
    ------
    InvalidParameter
        If the numbers are not finite or not in a table.

    Notes
    -----
    Validity: up to rounding; points that coincide go on to coincide.

    Examples
    --------
    >>> Z = isometric([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    >>> Z.shape, round(float(np.linalg.norm(Z[0] - Z[1])), 12)
    ((2, 2), 5.0)
    """
    array = _table(Z, 1)
    if len(array) >= array.shape[1]:
        return array
    points, copy = np.unique(array, axis=0, return_inverse=True)
    upper = cast(FloatArray, np.linalg.qr(points.T, mode="r"))
    return upper.T[copy.ravel()]


@checked
def two_nn(Z: ArrayLike, discard: float = 0.1) -> float:
    r"""Intrinsic dimension from the ratio of the distances to the two nearest neighbours.

    .. math:: \mu = r_2 / r_1, \qquad P(\mu > x) = x^{-d}, \qquad \hat d = (n - 1) / \sum \ln \mu

    Parameters
    ----------
    Z : array [n, width]
    discard : float
        Share of the largest ratios that is cut, with the likelihood corrected for the cut.

    Returns
    -------
    float
        Infinite if all ratios are one, as on a regular grid; NaN if all points coincide.

    Raises
    ------
    InvalidParameter
        If there are fewer than ten points, or the share is not in [0, 1).

    Notes
    -----
    Validity: locally uniform density; low by up to a factor two in tens of dimensions.  Points that
    coincide are counted once.

    References
    ----------
    Facco, d'Errico, Rodriguez, Laio, Scientific Reports 7, 12140 (2017); arXiv 1803.06992.

    Examples
    --------
    >>> Z = np.random.default_rng(0).random((2000, 2))
    >>> 1.8 < two_nn(Z) < 2.2
    True
    """
    array = np.unique(_near_one(_table(Z, 10)), axis=0)
    if not 0 <= discard < 1:
        raise InvalidParameter(f"discard = {discard} must lie in [0, 1)")
    if len(array) < 3:
        return float("nan")
    distance, _ = cKDTree(array).query(array, k=3)
    log_ratio = np.sort(np.log(distance[:, 2] / distance[:, 1]))
    kept = max(2, round(len(log_ratio) * (1 - discard)))
    cut = len(log_ratio) - kept
    # censored exponential: the points cut off lived at least as long as the last one kept
    total = log_ratio[:kept].sum() + cut * log_ratio[kept - 1]
    return float((kept - 1) / total) if total > 0 else float("inf")


@checked(k=count)
def geodesic_rsa(Z: ArrayLike, Y: ArrayLike, k: int = 8) -> float:
    r"""Rank correlation of distances along the manifold of representations with label distances.

    .. math:: \mathrm{Spearman}(d_G(Z_i, Z_j), |Y_i - Y_j|), \qquad
       d_G = \text{shortest path in the graph of the } k \text{ nearest neighbours}

    Parameters
    ----------
    Z : array [n, width]
    Y : array [n, coordinates]
    k : int
        Neighbours of every point.

    Returns
    -------
    float
        In [-1, 1]; pairs without a path count as farther apart than all others.

    Raises
    ------
    InvalidParameter
        If there are at most k points, the shapes do not fit, or k < 1.

    Notes
    -----
    Validity: for points dense enough that neighbours on the manifold are neighbours in space, and
    spread alike in all directions: where they lie ten times closer along x than along y, the k
    neighbours of each lie along x and the graph falls into lines.
    Where representations are local, as an image of a bump is, straight distances saturate beyond
    the width of the bump and :func:`rsa` stays low even in perfect order; paths do not saturate.

    References
    ----------
    Tenenbaum, de Silva, Langford, Science 290, 2319 (2000), for the paths.

    Examples
    --------
    >>> y = np.linspace(0, 20, 200)[:, None]
    >>> Z = np.exp(-(y - np.arange(21)) ** 2)  # local: far apart is all the same
    >>> round(geodesic_rsa(Z, y), 2)
    1.0
    """
    features, labels = _table_and_labels(Z, Y, max(k + 1, 3))
    n = len(features)
    distance, near = cKDTree(features).query(features, k=k + 1)
    # a copy of a point is no edge of length 0, which a sparse graph would drop
    lengths = np.maximum(distance.ravel(), 1e-300)
    # scipy before 1.15 finds no paths in a graph with 64-bit indices
    rows, columns = np.repeat(np.arange(n), k + 1), near.ravel()
    places = (rows.astype(np.int32), columns.astype(np.int32))
    graph = csr_array((lengths, places), shape=(n, n))
    paths = shortest_path(graph, directed=False)
    np.fill_diagonal(paths, 0.0)
    along = squareform(paths, checks=False)
    finite = np.isfinite(along)
    along[~finite] = 2 * along[finite].max(initial=1.0)
    return _rank_correlation(along, pdist(labels))


@checked(k=count)
def neighbour_ratio(Z: ArrayLike, Y: ArrayLike, k: int = 8) -> float:
    """Distance between the labels of neighbours in Z, relative to that of any two points.

    Parameters
    ----------
    Z : array [n, width]
    Y : array [n, coordinates]
    k : int
        Neighbours of every point.

    Returns
    -------
    float
        Near 0 where neighbours have neighbouring labels, about 1 where they have any.

    Raises
    ------
    InvalidParameter
        If there are at most k points, labels do not vary, or k < 1.

    Notes
    -----
    Validity: exact; ties between neighbours are broken by their numbers.

    Examples
    --------
    >>> Y = np.arange(100.0)[:, None]
    >>> round(neighbour_ratio(Y, Y, k=2), 3)
    0.03
    """
    features, labels = _table_and_labels(Z, Y, k + 1)
    n = len(features)
    neighbours = cKDTree(features).query(features, k=k + 1)[1]
    own = neighbours == np.arange(n)[:, None]
    own[~own.any(axis=1), -1] = True  # a point hidden among copies of itself drops the last one
    near = neighbours[~own].reshape(n, k)
    close = np.linalg.norm(labels[near] - labels[:, None], axis=2).mean()
    any_two = pdist(labels).mean()
    if any_two == 0:
        raise InvalidParameter("the labels do not vary; give labels of different points")
    return float(close / any_two)


# --- two representations of the same data ---------------------------------------------------------


def cosine_similarity(features: ArrayLike) -> FloatArray:
    """Cosine of the angle between all pairs of rows, [n, n]; a zero row is similar to none.

    Parameters
    ----------
    features : array [n, width]

    Returns
    -------
    array [n, n]

    Raises
    ------
    InvalidParameter
        If it is no finite matrix.

    Notes
    -----
    Validity: exact; no centring.

    Examples
    --------
    >>> cosine_similarity([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    array([[1., 1., 0.],
           [1., 1., 0.],
           [0., 0., 0.]])
    """
    x = _features(features, 1)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    unit = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
    # rounding must not make ties out of order, nor order out of ties
    return np.asarray(np.round(unit @ unit.T, 12) + 0.0)


def representational_similarity(one: ArrayLike, other: ArrayLike) -> float:
    """Spearman correlation of the distances between all pairs in two representations.

    Parameters
    ----------
    one, other : array [n, width]
        Of the same n >= 3 data.

    Returns
    -------
    float
        NaN if all distances of one of them are equal.

    Raises
    ------
    InvalidParameter
        For other shapes, NaN, or fewer than three data.

    Notes
    -----
    Validity: Euclidean distances; invariant under rotations, scales, and monotone maps of the
    distances.

    References
    ----------
    Kriegeskorte, Mur, Bandettini, Front. Syst. Neurosci. 2 (2008).

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> representational_similarity(x, -5 * x)
    1.0
    """
    x, y = _pair(one, other)
    return float(np.round(_rank_correlation(pdist(x), pdist(y)), 15))


@checked
def linear_cka(one: ArrayLike, other: ArrayLike, *, unbiased: bool = False) -> float:
    r"""Centred kernel alignment of two representations with linear kernels.

    Parameters
    ----------
    one, other : array [n, width]
        Of the same n >= 3 data (>= 4 for ``unbiased``).
    unbiased : bool
        Use the unbiased estimator of the three inner products: 0 on average for independent
        representations, however wide.

    Returns
    -------
    float
        NaN for constant features.

    Raises
    ------
    InvalidParameter
        For other shapes, NaN, or too few data.

    Notes
    -----
    Validity: invariant under rotations and scales.  The plain estimate grows with width / n.

    References
    ----------
    Kornblith et al., arXiv 1905.00414; Song et al., JMLR 13 (2012), eq. 5, for the estimator.

    Examples
    --------
    >>> x = np.eye(4)[:, :3]
    >>> round(linear_cka(x, 2 * x[:, ::-1]), 12)
    1.0
    """
    x, y = _pair(one, other)
    if unbiased and len(x) < 4:
        raise InvalidParameter(f"{len(x)} data are too few for the unbiased estimate; give 4")
    inner = _unbiased if unbiased else _plain
    # both are free of offsets; taking them out first saves digits
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    k, l = x @ x.T, y @ y.T
    size = inner(k, k) * inner(l, l)
    return float(inner(k, l) / np.sqrt(size)) if size > 0 else float("nan")


def _plain(k: FloatArray, l: FloatArray) -> float:
    n = len(k)
    centre = np.eye(n) - 1 / n
    return float(((centre @ k @ centre) * l).sum())


def _unbiased(k: FloatArray, l: FloatArray) -> float:
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    total = (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2))
    total -= 2 * (k.sum(axis=0) @ l.sum(axis=0)) / (n - 2)
    return float(total / (n * (n - 3)))


def _features(features: ArrayLike, least: int) -> FloatArray:
    x = reals("features", features)
    if x.ndim != 2 or len(x) < least:
        raise InvalidParameter(
            f"features of shape {x.shape} must be a finite matrix [n >= {least}, width]"
        )
    return x


def _pair(one: ArrayLike, other: ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = _features(one, 3), _features(other, 3)
    if len(x) != len(y):
        raise InvalidParameter(f"{len(x)} and {len(y)} data; both must hold the same ones")
    return x, y
