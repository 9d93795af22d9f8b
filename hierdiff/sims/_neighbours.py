"""How representations are arranged, seen from each point's neighbours."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist, squareform

from hierdiff.checks import checked, count
from hierdiff.errors import InvalidParameter
from hierdiff.sims._geometry import (
    FloatArray,
    near_one,
    rank_correlation,
    table,
    table_and_labels,
)

__all__ = ["geodesic_rsa", "isometric", "neighbour_ratio", "two_nn"]


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
    array = table(Z, 1)
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
    array = np.unique(near_one(table(Z, 10)), axis=0)
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
    features, labels = table_and_labels(Z, Y, max(k + 1, 3))
    n = len(features)
    distance, near = cKDTree(features).query(features, k=k + 1)
    # a copy of a point is no edge of length 0, which a sparse graph would drop
    lengths = np.maximum(distance.ravel(), 1e-300)
    graph = csr_array((lengths, (np.repeat(np.arange(n), k + 1), near.ravel())), shape=(n, n))
    paths = shortest_path(graph, directed=False)
    np.fill_diagonal(paths, 0.0)
    along = squareform(paths, checks=False)
    finite = np.isfinite(along)
    along[~finite] = 2 * along[finite].max(initial=1.0)
    return rank_correlation(along, pdist(labels))


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
    features, labels = table_and_labels(Z, Y, k + 1)
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
