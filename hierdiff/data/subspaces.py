r"""Subspaces and spectra behind LowRankMixture, and what its arguments must be.

Every class covariance is a common residual :math:`\tau\Pi` and few axes :math:`Q_k` of its own:
:math:`S_k = \tau\,\Pi + Q_k\,\mathrm{diag}(\mu_k - \tau)\,Q_k^T`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import frozen, reals
from hierdiff.errors import InvalidParameter

__all__ = ["Spectrum", "orthonormalise"]

Floats: TypeAlias = NDArray[np.float64]

LARGEST_VARIANCE = 1e200  # its square root times a normal number, and that squared, stay finite
_ORTHONORMAL = 1e-6  # single-precision bases pass, and are polished to double precision
_EXACT = 1e-12  # a deviation of U^T U from 1 that rounding explains: the basis is kept as given
_SMALL = 1e-140  # below it (and above its inverse) products of two entries leave the floats' range
_ANGLE = 1e-5  # degrees: the cosine of a smaller one rounds to 1
_RANK = 1e-10  # relative singular value below which directions count as dependent


def triangular(columns: Floats) -> Floats:
    """Q of the QR decomposition whose R has a positive diagonal.

    It is the only one, so it does not depend on the sign convention of the linear-algebra library,
    and Q of a Gaussian matrix is uniform (Haar).
    """
    q, r = np.linalg.qr(columns)
    return cast(Floats, q * np.where(np.diagonal(r) < 0, -1.0, 1.0))


def _deviation(basis: Floats) -> float:
    """Largest entry of U^T U - 1."""
    return float(np.abs(basis.T @ basis - np.eye(basis.shape[1])).max(initial=0.0))


def orthonormalise(bases: Sequence[ArrayLike]) -> list[Floats]:
    """Orthonormal bases of the same subspaces, as ``LowRankMixture`` demands.

    Parameters
    ----------
    bases : sequence of arrays [D, d_k]
        Linearly independent columns.

    Returns
    -------
    list of arrays [D, d_k]
        The nearest orthonormal columns (polar factor), so an orthonormal basis is unchanged.

    Raises
    ------
    InvalidParameter
        If columns are linearly dependent.

    Notes
    -----
    Validity: subspaces are kept, lengths of the columns are lost: pass them as ``variances``.

    Examples
    --------
    >>> orthonormalise([[[2.0], [0.0]]])[0].ravel()
    array([1., 0.])
    """
    return [_polar(k, basis) for k, basis in enumerate(_matrices(bases))]


def _polar(k: int, basis: Floats) -> Floats:
    """Polar factor of bases[k]: unique, whatever rotation the SVD leaves open."""
    size = np.abs(basis).max(initial=0.0)
    if size and (size < _SMALL or size > 1 / _SMALL):
        basis = basis / size  # squares would leave the range of floats
    if _deviation(basis) <= _EXACT:
        return basis
    u, s, vt = np.linalg.svd(basis, full_matrices=False)
    if s.size and not s[-1] > _RANK * s[0]:
        raise InvalidParameter(
            f"bases[{k}] has linearly dependent columns (smallest singular value {s[-1]:.2g});"
            " drop the redundant ones"
        )
    return cast(Floats, u @ vt)


def equiangular(dim: int, ranks: list[int], angle: float, rng: np.random.Generator) -> list[Floats]:
    r"""Orthonormal bases with :math:`U_k^T U_l = \cos(\text{angle})\, I` for any two classes."""
    if not _ANGLE <= angle <= 90:
        raise InvalidParameter(
            f"angle = {angle} must lie in (0, 90] degrees, from {_ANGLE:g} on; or pass None"
        )
    classes = len(ranks)
    widths = ranks if angle == 90 else [max(ranks)] * classes
    if sum(widths) > dim:
        raise InvalidParameter(
            f"{classes} subspaces at {angle:g} degrees need {sum(widths)} > dim = {dim} directions;"
            " lower rank or classes, raise dim, or pass angle=None"
        )
    blocks = np.split(
        triangular(rng.standard_normal((dim, sum(widths)))), np.cumsum(widths)[:-1], axis=1
    )
    if angle == 90:
        return blocks
    # U_k = sum_j L_kj E_j has U_k^T U_l = (L L^T)_kl = cos(angle) for k != l
    cosine = np.cos(np.radians(angle))
    gram = np.full((classes, classes), cosine) + (1 - cosine) * np.eye(classes)
    full = [np.tensordot(row, blocks, 1) for row in np.linalg.cholesky(gram)]
    return orthonormalise([basis[:, :d] for basis, d in zip(full, ranks, strict=True)])


def joint_span(columns: Floats) -> tuple[Floats, Floats, Floats]:
    """Thin SVD without the null directions."""
    u, s, vt = np.linalg.svd(columns, full_matrices=False)
    keep = s > _RANK * max(s.max(initial=0.0), np.finfo(float).tiny)
    return u[:, keep], s[keep], vt[keep]


@dataclass(frozen=True, eq=False)
class Spectrum:
    r"""Eigen-decomposition of all class covariances around their common residual.

    :math:`S_k = \tau\,\Pi + Q_k\,\mathrm{diag}(\mu_k - \tau)\,Q_k^T` with :math:`\tau=\delta^2`.

    Attributes
    ----------
    axes : array [K, q, D]
        Rows are the :math:`Q_k`; classes with fewer than q axes are padded with zero rows.
    eigenvalues : array [K, q]
        :math:`\mu_k`; the padding carries :math:`\tau`, so it drops out of every formula.
    counts : int array [K]
        Axes of every class, without the padding.
    floor : float
        :math:`\tau`.
    frame : array [D, R] or None
        Orthonormal basis of the range of :math:`\Pi`; None when :math:`\Pi = I` (or tau = 0).
    private : tuple of K arrays [D, p_k]
        Orthonormal bases of what the residual of class k leaves out, :math:`V_k` below.

    Notes
    -----
    Validity: exact for any bases, overlapping ones included.  :math:`\tilde U_k\tilde U_k^T =
    \Pi - V_k V_k^T`, where :math:`V_k` (at most d_k columns) spans the directions that class k
    alone reaches, so no class stores more than 2 d_k axes.  Where eigenvalues coincide the axes
    are one choice of many; every function of the mixture depends on their span alone.
    """

    axes: Floats
    eigenvalues: Floats
    counts: NDArray[np.intp]
    floor: float
    frame: Floats | None
    private: tuple[Floats, ...]

    @property
    def support(self) -> int:
        """Dimension R on which the residual acts."""
        return int(self.axes.shape[2] if self.frame is None else self.frame.shape[1])

    @cached_property
    def single(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """``axes`` and ``frame`` in single precision, converted once."""
        frame = None if self.frame is None else self.frame.astype(np.float32)
        return self.axes.astype(np.float32), frame


def spectrum(
    bases: Sequence[Floats], variances: Sequence[Floats], floor: float, span: bool
) -> Spectrum:
    """Spectrum of all classes, padded to one number of axes."""
    frame, private, axes, values = None, list(bases), [b.T for b in bases], list(variances)
    if span and floor > 0:
        frame, private, axes, values = _span_axes(bases, variances, floor)
    classes, dim, q = len(bases), len(bases[0]), max(1, *(len(v) for v in values))
    stacked, padded = np.zeros((classes, q, dim)), np.full((classes, q), floor)
    for k, (rows, v) in enumerate(zip(axes, values, strict=True)):
        stacked[k, : len(v)], padded[k, : len(v)] = rows, v
    whole = frame is None or frame.shape[1] == dim
    counts = np.array([len(v) for v in values], dtype=np.intp)
    return Spectrum(
        frozen(stacked), frozen(padded), counts, floor,
        None if whole or frame is None else frozen(frame), tuple(private),
    )  # fmt: skip


def _span_axes(
    bases: Sequence[Floats], variances: Sequence[Floats], floor: float
) -> tuple[Floats, list[Floats], list[Floats], list[Floats]]:
    """Frame of the joint span, and per class V_k, the axes [q, D] and eigenvalues of its own.

    The other classes span everything but the directions that class k reaches alone; those have
    leverage 1 in the Gram matrix of all columns (removing the class would lose them).
    """
    columns = np.hstack(bases)
    if _deviation(columns) <= _EXACT:  # orthogonal classes: everything is as given
        return columns, list(bases), [basis.T for basis in bases], list(variances)
    u, s, vt = joint_span(columns)
    # of full rank the polar factor, which leaves no rotation open; else the first independent
    # columns, orthonormalised in their order
    frame = u @ vt if len(s) == columns.shape[1] else _independent(columns, len(s))
    private, axes, eigenvalues = [], [], []
    blocks = np.split(vt, np.cumsum([basis.shape[1] for basis in bases])[:-1], axis=1)
    for basis, variance, block in zip(bases, variances, blocks, strict=True):
        leverage, w = np.linalg.eigh(block.T @ block)
        alone = (block @ w[:, leverage > 1 - 1e-8]) / s[:, None]
        mine = u @ np.linalg.qr(alone)[0]
        private.append(mine)
        own = joint_span(np.hstack([basis, mine]))[0]
        along, away = own.T @ basis, own.T @ mine
        inside = floor * (np.eye(own.shape[1]) - away @ away.T) + (along * variance) @ along.T
        values, vectors = np.linalg.eigh(inside)
        axes.append((own @ vectors).T)
        eigenvalues.append(np.maximum(values, 0.0))
    return frame, private, axes, eigenvalues


def _independent(columns: Floats, rank: int) -> Floats:
    """Orthonormal basis [D, rank] of the columns' span, by Gram and Schmidt in their order."""
    found = np.empty((len(columns), rank))
    count = 0
    for column in columns.T:
        if count == rank:
            break
        rest = column
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            rest = rest - found[:, :count] @ (found[:, :count].T @ rest)
        length = float(np.linalg.norm(rest))
        if length > _RANK:
            found[:, count] = rest / length
            count += 1
    return found[:, :count]


def listed(values: object) -> bool:
    """Whether values come one after the other, as lists and arrays of axes do."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return isinstance(values, Sequence) and not isinstance(values, (str, bytes))


def _matrices(bases: Sequence[ArrayLike]) -> list[Floats]:
    """Finite real matrices, copied."""
    if not listed(bases):
        raise InvalidParameter(
            f"bases of type {type(bases).__name__} must be a list of arrays [D, d_k], one per class"
        )
    found = []
    for k, basis in enumerate(bases):
        matrix = reals(f"bases[{k}]", basis)
        if matrix.ndim != 2 or not len(matrix):
            raise InvalidParameter(
                f"bases[{k}] has shape {matrix.shape}; give a list of arrays [D, d_k], D >= 1"
            )
        found.append(matrix)
    return found


def check_bases(bases: Sequence[ArrayLike]) -> tuple[Floats, ...]:
    """Orthonormal bases of one dimension, copied and frozen."""
    arrays = _matrices(bases)
    if not arrays:
        raise InvalidParameter("bases is empty; give one array [D, d_k] per class")
    for k, basis in enumerate(arrays):
        if len(basis) != len(arrays[0]):
            raise InvalidParameter(
                f"bases[{k}] has shape {basis.shape}, bases[0] {arrays[0].shape};"
                " give arrays [D, d_k] of one dimension D"
            )
        if basis.shape[1] > len(basis):
            raise InvalidParameter(
                f"bases[{k}] has rank {basis.shape[1]} above the dimension {len(basis)};"
                " transpose it or drop columns"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            error = _deviation(basis)
        if not error <= _ORTHONORMAL:
            raise InvalidParameter(
                f"bases[{k}] is not orthonormal (U^T U deviates from 1 by {error:.2g});"
                " pass hierdiff.data.subspaces.orthonormalise(bases), which keeps the subspaces"
            )
        arrays[k] = frozen(_polar(k, basis))
    return tuple(arrays)


def check_weights(weights: ArrayLike | None, classes: int) -> Floats:
    """Class probabilities [K] that sum to one, copied and frozen."""
    if weights is None:
        return frozen(np.full(classes, 1 / classes))
    array = reals("weights", weights)
    if array.shape != (classes,):
        raise InvalidParameter(f"weights has shape {array.shape}; give {classes} numbers")
    if not (array >= 0).all():
        raise InvalidParameter(
            f"weights[{int(np.argmin(array))}] = {array.min():g} must be >= 0; drop the class"
        )
    if abs(array.sum() - 1) > 1e-8:
        raise InvalidParameter(f"weights sum to {array.sum():.6g}, not 1; divide by the sum")
    return frozen(array / array.sum())


def check_variances(
    variances: Sequence[ArrayLike] | None, bases: tuple[Floats, ...]
) -> tuple[Floats, ...]:
    """Variances [d_k] of every class, copied and frozen."""
    if variances is None:
        return tuple(frozen(np.ones(basis.shape[1])) for basis in bases)
    if not listed(variances):
        raise InvalidParameter(
            f"variances of type {type(variances).__name__} must be a list of arrays [d_k], one per"
            " class"
        )
    arrays = tuple(reals(f"variances[{k}]", v) for k, v in enumerate(variances))
    shapes, wanted = [v.shape for v in arrays], [(basis.shape[1],) for basis in bases]
    if shapes != wanted:
        raise InvalidParameter(f"variances have shapes {shapes}; give {wanted}, as the bases")
    for k, v in enumerate(arrays):
        if not ((v >= 0) & (v <= LARGEST_VARIANCE)).all():
            raise InvalidParameter(
                f"variances[{k}] = {v.tolist()} must lie in [0, {LARGEST_VARIANCE:g}]; they are"
                " squared lengths"
            )
    return tuple(frozen(v) for v in arrays)
