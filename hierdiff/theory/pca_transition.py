r"""The transition of noise-free PCA: a subspace of rank d is known from its d-th datum on.

=========================  ====================================================================
:math:`n, d, N`            ambient dimension, rank, number of data of the class
:math:`U, \hat U`          the subspace and its estimate, orthonormal columns
=========================  ====================================================================

Data :math:`x = Ua` span N of the d directions exactly; the estimate of rank d completes them with
d - N directions out of the n - N that no datum has.  Training a one-class denoiser without residual
is PCA, and clustering by the largest class weight makes several classes several PCAs.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from hierdiff.checks import checked, reals, unchecked, whole
from hierdiff.errors import InvalidParameter

__all__ = ["pca_error", "pca_error_ceiling", "subspace_error"]


@checked(basis=unchecked, other=unchecked)
def subspace_error(basis: ArrayLike, other: ArrayLike) -> float:
    r"""Distance :math:`|UU^T - VV^T|_F` of two subspaces.

    Parameters
    ----------
    basis, other : arrays [D, d], [D, e]
        Orthonormal columns.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For shapes that do not match or columns that are not orthonormal.

    Notes
    -----
    Validity: exact; computed from what each projector loses of the other, without cancellation.

    Examples
    --------
    >>> round(subspace_error([[1.0], [0.0]], [[0.0], [1.0]]), 6)
    1.414214
    """
    u, w = reals("basis", basis), reals("other", other)
    if u.ndim != 2 or w.ndim != 2 or len(u) != len(w):
        raise InvalidParameter(f"bases have shapes {u.shape}, {w.shape}; give [D, d] and [D, e]")
    for q in (u, w):
        with np.errstate(over="ignore", invalid="ignore"):
            gap = np.abs(q.T @ q - np.eye(q.shape[1])).max(initial=0.0)
        if not gap < 1e-6:
            raise InvalidParameter("a basis is not orthonormal; orthonormalise its columns")
    return float(np.hypot(np.linalg.norm(u - w @ (w.T @ u)), np.linalg.norm(w - u @ (u.T @ w))))


_size, _number = partial(whole, low=1, high=10**15), partial(whole, low=0, high=10**15)


@checked(dim=_size, rank=_size, n_data=_number)
def pca_error(dim: int, rank: int, n_data: int) -> float:
    r"""Root mean square subspace error of noise-free PCA, which is 0 from N = d on.

    .. math:: E|UU^T-\hat U\hat U^T|_F^2 = 2(d-N)\Big(1-\frac{d-N}{n-N}\Big), \qquad N < d

    Parameters
    ----------
    dim, rank : int
        n >= d >= 1: ambient dimension and rank of the Gaussian.
    n_data : int
        N >= 0.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For numbers out of range.

    Notes
    -----
    Validity: exact if the d - N directions without data are completed at random (Haar); the
    derivation counts the overlap (d - N)^2 / (n - N) of two random subspaces.

    References
    ----------
    Wang et al., arXiv 2409.02426, Theorem 4, for the transition at N = d.

    Examples
    --------
    >>> [round(pca_error(48, 6, n), 4) for n in (3, 5, 6)]
    [2.3664, 1.3977, 0.0]
    """
    missing = _missing(dim, rank, n_data)
    if missing == 0:
        return 0.0
    return float(np.sqrt(2 * missing * (1 - missing / (dim - n_data))))


@checked(dim=_size, rank=_size, n_data=_number)
def pca_error_ceiling(dim: int, rank: int, n_data: int) -> float:
    r"""Largest possible error, :math:`\sqrt{2\min(d-N,\, n-d)}` for N < d and else 0.

    Parameters
    ----------
    dim, rank, n_data : int
        As in :func:`pca_error`.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        As in :func:`pca_error`.

    Notes
    -----
    Validity: exact, attained when the completion avoids the subspace as far as dimensions allow.

    Examples
    --------
    >>> round(pca_error_ceiling(48, 6, 3), 6)
    2.44949
    """
    return float(np.sqrt(2 * min(_missing(dim, rank, n_data), dim - rank)))


def _missing(dim: int, rank: int, n_data: int) -> int:
    if rank > dim:
        raise InvalidParameter(
            f"rank = {rank} must lie between 1 and dim = {dim}, and n_data = {n_data} be >= 0"
        )
    return max(rank - n_data, 0)
