r"""Similarity of data in one representation, and of representations with each other.

.. math::
    \mathrm{RSA} = \rho_{Spearman}\big(d_X(i,j),\; d_Y(i,j)\big)_{i<j}, \qquad
    \mathrm{CKA} = \frac{\|X^TY\|_F^2}{\|X^TX\|_F\,\|Y^TY\|_F} \quad \text{(centred columns)} .
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from hierdiff.checks import checked, reals
from hierdiff.errors import InvalidParameter

__all__ = ["cosine_similarity", "linear_cka", "representational_similarity"]

Array = NDArray[Any]


def cosine_similarity(features: ArrayLike) -> Array:
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
    x = _matrix(features, 1)
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
    a, b = pdist(x), pdist(y)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.round(spearmanr(a, b).statistic, 15))


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


def _plain(k: Array, l: Array) -> float:
    n = len(k)
    centre = np.eye(n) - 1 / n
    return float(((centre @ k @ centre) * l).sum())


def _unbiased(k: Array, l: Array) -> float:
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    total = (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2))
    total -= 2 * (k.sum(axis=0) @ l.sum(axis=0)) / (n - 2)
    return float(total / (n * (n - 3)))


def _matrix(features: ArrayLike, least: int) -> Array:
    x = reals("features", features)
    if x.ndim != 2 or len(x) < least:
        raise InvalidParameter(
            f"features of shape {x.shape} must be a finite matrix [n >= {least}, width]"
        )
    return x


def _pair(one: ArrayLike, other: ArrayLike) -> tuple[Array, Array]:
    x, y = _matrix(one, 3), _matrix(other, 3)
    if len(x) != len(y):
        raise InvalidParameter(f"{len(x)} and {len(y)} data; both must hold the same ones")
    return x, y
