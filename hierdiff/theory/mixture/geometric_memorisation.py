r"""Geometry of memorisation: gaps in the spectrum of the score, and the rank that data fill.

==================  ============================================================================
:math:`J`           Jacobian of the score, :math:`\sigma^2 J = \partial D/\partial x - 1`
:math:`\lambda`     variance of the data along one direction; 0 off the data's manifold
:math:`r_\pm`       edges of the spectrum of :math:`FF^T`, data :math:`x_0 = Fz`
==================  ============================================================================

For Gaussian data the eigenvalues of :math:`-\sigma^2 J` are

.. math::

    \frac{\sigma^2}{\sigma^2+\lambda} \in [0, 1], \qquad \text{1 off the manifold,}

so a gap separates directions of different variance: it counts the manifold's dimension while the
noise lies between the two scales.  With F of m columns of independent entries of variance 1/m in D
dimensions, :math:`r_\pm = (\sqrt{D/m}\pm1)^2` and the gap is :math:`r_-/(\sigma^2+r_-)`.

A data set that is memorised has no manifold left: below the collapse the Jacobian of its denoiser,
:math:`\mathrm{Cov}_w(x_i)/\sigma^2`, vanishes in every direction.

Noise-free PCA has a transition: a subspace of rank d is known from its d-th datum on.

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
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, memory, reals, unchecked, whole
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.mixture.collapse import variances_of
from hierdiff.theory.mixture.softmax_averages import Average, Data, Reals, blocks_of, matrix
from hierdiff.theory.mixture.time_change import Threshold, positive_level

__all__ = [
    "Gap",
    "empirical_jacobian",
    "gap_opening",
    "largest_gap",
    "manifold_edges",
    "manifold_gap",
    "pca_error",
    "pca_error_ceiling",
    "score_spectrum",
    "subspace_error",
]

Floats: TypeAlias = NDArray[np.float64]

_ENTRIES = 1 << 21


class Gap(NamedTuple):
    """Number of eigenvalues below the gap, and its width."""

    below: int
    size: float


@checked(eigenvalues=unchecked, sigma=unchecked)
def score_spectrum(eigenvalues: ArrayLike, sigma: float) -> Floats:
    r"""Eigenvalues :math:`\sigma^2/(\sigma^2+\lambda_i)` of :math:`-\sigma^2 J`, ascending.

    Parameters
    ----------
    eigenvalues : array [D]
        Variances of the data along all D axes, >= 0; zeros off the manifold.
    sigma : float
        Noise level relative to the signal, > 0.

    Returns
    -------
    array [D]

    Raises
    ------
    InvalidParameter
        For negative variances, NaN, sigma <= 0.

    Notes
    -----
    Validity: exact for Gaussian data.  Of other models take 1 - ``jacobian_spectrum``.

    References
    ----------
    Ventura, Achilli, Silvestri, Lucibello, Ambrogioni, arXiv 2410.05898.

    Examples
    --------
    >>> score_spectrum([3.0, 0.0], 1.0)
    array([0.25, 1.  ])
    """
    spectrum = variances_of(eigenvalues)
    v = positive_level(sigma) ** 2
    return cast(Floats, np.sort(v / (v + spectrum)))


@checked(spectrum=unchecked)
def largest_gap(spectrum: ArrayLike) -> Gap:
    """Widest gap between neighbours of a spectrum; what lies below it counts the manifold.

    Parameters
    ----------
    spectrum : array [D]
        Eigenvalues of -sigma^2 J in any order, D >= 2.

    Returns
    -------
    Gap

    Raises
    ------
    InvalidParameter
        For fewer than two eigenvalues or NaN.

    Notes
    -----
    Validity: a count of dimensions only where the noise lies between two scales of the data.

    Examples
    --------
    >>> largest_gap(score_spectrum([2.0, 3.0, 0.0, 0.0], 0.1))
    Gap(below=2, size=0.9950248756218906)
    """
    values = reals("spectrum", spectrum)
    if values.ndim != 1 or len(values) < 2:
        raise InvalidParameter(
            f"spectrum of shape {values.shape} must be two or more finite eigenvalues"
        )
    values = np.sort(values)
    widths = np.diff(values)
    at = int(np.argmax(widths))
    return Gap(at + 1, float(widths[at]))


@checked
def gap_opening(upper: float, lower: float) -> tuple[Threshold, float]:
    r"""Noise level at which two variances are best distinguished, and the gap there.

    .. math:: \sigma^4 = \lambda_1\lambda_2, \qquad
        \mathrm{gap} = \frac{\sqrt{\lambda_1}-\sqrt{\lambda_2}}{\sqrt{\lambda_1}+\sqrt{\lambda_2}}

    Parameters
    ----------
    upper, lower : float
        Variances :math:`\lambda_1 > \lambda_2 > 0`.

    Returns
    -------
    level : Threshold
    size : float

    Raises
    ------
    NoTransition
        For :math:`\lambda_2 = 0`: the gap widens to 1 as the noise vanishes.
    InvalidParameter
        Unless upper > lower >= 0.

    Notes
    -----
    Validity: exact for Gaussian data; derived by maximising the difference of
    :math:`\sigma^2/(\sigma^2+\lambda)`.

    Examples
    --------
    >>> level, size = gap_opening(4.0, 0.25)
    >>> round(level.sigma, 12), round(size, 12)
    (1.0, 0.6)
    """
    if not upper > lower >= 0:
        raise InvalidParameter(f"upper = {upper} must exceed lower = {lower} >= 0; swap them")
    if lower == 0:
        raise NoTransition("lower = 0: the gap widens to 1 as sigma -> 0; give lower > 0")
    first, second = np.sqrt(upper), np.sqrt(lower)
    return Threshold(float(np.sqrt(first) * np.sqrt(second))), float(
        (first - second) / (first + second)
    )


_size = partial(whole, low=1, high=10**15)


@checked(dim=_size, latent=_size)
def manifold_edges(dim: int, latent: int) -> tuple[float, float]:
    r"""Edges :math:`r_\pm = (\sqrt{D/m}\pm1)^2` of the variances of :math:`x_0 = Fz`.

    Parameters
    ----------
    dim, latent : int
        D >= m >= 1; entries of F have variance 1/m.

    Returns
    -------
    lower, upper : float

    Raises
    ------
    InvalidParameter
        Unless 1 <= latent <= dim.

    Notes
    -----
    Validity: D, m to infinity at fixed ratio (Marchenko-Pastur); D - m directions have variance 0.

    References
    ----------
    Ventura et al., arXiv 2410.05898.

    Examples
    --------
    >>> manifold_edges(800, 200)
    (1.0, 9.0)
    """
    if latent > dim:
        raise InvalidParameter(f"latent = {latent} must lie between 1 and dim = {dim}")
    root = float(np.sqrt(dim / latent))
    # (root - 1)^2 without the difference
    return ((dim - latent) / latent / (root + 1)) ** 2, (root + 1) ** 2


@checked(dim=_size, latent=_size, sigma=unchecked)
def manifold_gap(dim: int, latent: int, sigma: float) -> float:
    r"""Gap :math:`r_-/(\sigma^2+r_-)` between the manifold and the directions off it.

    Parameters
    ----------
    dim, latent : int
        D >= m >= 1.
    sigma : float
        Noise level relative to the signal, > 0.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: as for :func:`manifold_edges`.

    Examples
    --------
    >>> manifold_gap(800, 200, 1.0)
    0.5
    """
    level, (lower, _) = positive_level(sigma), manifold_edges(dim, latent)
    return lower / (level**2 + lower)


@checked(data=unchecked, x=unchecked, sigma=unchecked, block=unchecked)
def empirical_jacobian(
    data: Data, x: ArrayLike, sigma: float, *, block: int | None = None
) -> Reals:
    r"""Jacobian of the empirical denoiser, :math:`\mathrm{Cov}_w(x_i)/\sigma^2`.

    Parameters
    ----------
    data : array [N, D], or iterable of arrays [n_i, D]
        The data set, read once.
    x : array [n, D]
        Noisy data in units of the data.
    sigma : float
        Noise level relative to the signal, > 0.
    block : int, optional
        Data held at a time.

    Returns
    -------
    array [n, D, D]
        Symmetric.

    Raises
    ------
    InvalidParameter
        For empty data, NaN, shapes that do not match, sigma <= 0.

    Notes
    -----
    Validity: exact for any data set, rounding error of machine precision times (diameter of the
    data / sigma)^2.  Memory and cost of D^2 / 2 numbers per datum and query: for moderate D.

    Examples
    --------
    >>> empirical_jacobian([[-1.0], [1.0]], [[0.0]], 2.0)
    array([[[0.25]]])
    """
    y = matrix("x", x)
    (n, dim), v = y.shape, positive_level(sigma) ** 2
    memory(f"Jacobians [n, D, D] of n = {n} and D = {dim}", 16.0 * n * dim * dim)
    rows, columns = np.triu_indices(dim)
    average = Average(y, v, dim + len(rows))
    step = max(1, _ENTRIES // (dim * dim)) if block is None else block
    origin: Reals | None = None
    for part in blocks_of(data, (dim,), y.dtype, step):
        # moments about a typical datum: squares of a common offset would cancel
        if origin is None:
            origin = (part.rows - part.rows[0]).mean(axis=0) + part.rows[0]
        z = part.rows - origin
        average.feed(part, np.hstack([z, z[:, rows] * z[:, columns]]))
    first, second = average.mean[:, :dim], average.mean[:, dim:]
    second = (second - first[:, rows] * first[:, columns]) / y.dtype.type(v)
    out = np.empty((n, dim, dim), dtype=y.dtype)
    out[:, rows, columns] = second
    out[:, columns, rows] = second
    return out


# ----------------------------------------------------------------- the transition of noise-free PCA


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


_dimension, _number = partial(whole, low=1, high=10**15), partial(whole, low=0, high=10**15)


@checked(dim=_dimension, rank=_dimension, n_data=_number)
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


@checked(dim=_dimension, rank=_dimension, n_data=_number)
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
