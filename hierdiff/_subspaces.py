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

from hierdiff.errors import InvalidParameter

__all__ = [
    "Spectrum",
    "check_bases",
    "check_variances",
    "check_weights",
    "equiangular",
    "joint_span",
    "orthonormalise",
    "spectrum",
]

Floats: TypeAlias = NDArray[np.float64]

_ORTHONORMAL = 1e-6  # single-precision bases pass, and are polished to double precision
_RANK = 1e-10  # relative singular value below which directions count as dependent


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
    out = []
    for k, basis in enumerate(bases):
        u, s, vt = np.linalg.svd(np.asarray(basis, dtype=float), full_matrices=False)
        if s.size and s[-1] <= _RANK * s[0]:
            raise InvalidParameter(
                f"bases[{k}] has linearly dependent columns (smallest singular value {s[-1]:.2g});"
                " drop the redundant ones"
            )
        out.append(u @ vt)
    return out


def equiangular(dim: int, ranks: list[int], angle: float, rng: np.random.Generator) -> list[Floats]:
    if not 0 < angle <= 90:
        raise InvalidParameter(f"angle = {angle} must lie in (0, 90] degrees; or pass None")
    classes = len(ranks)
    widths = ranks if angle == 90 else [max(ranks)] * classes
    if sum(widths) > dim:
        raise InvalidParameter(
            f"{classes} subspaces at {angle:g} degrees need {sum(widths)} > dim = {dim} directions;"
            " lower rank or classes, raise dim, or pass angle=None"
        )
    blocks = np.split(
        np.linalg.qr(rng.standard_normal((dim, sum(widths))))[0], np.cumsum(widths)[:-1], axis=1
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
    floor : float
        :math:`\tau`.
    centres : array [K, q]
        Coordinates :math:`Q_k^T m_k` of the class means.
    frame : array [D, R] or None
        Orthonormal basis of the range of :math:`\Pi`; None when :math:`\Pi = I` (or tau = 0).

    Notes
    -----
    Validity: exact for any bases, overlapping ones included.  :math:`\tilde U_k\tilde U_k^T =
    \Pi - V_k V_k^T`, where :math:`V_k` (at most d_k columns) spans the directions that class k
    alone reaches, so no class stores more than 2 d_k axes.
    """

    axes: Floats
    eigenvalues: Floats
    centres: Floats
    floor: float
    frame: Floats | None

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
    bases: Sequence[Floats],
    variances: Sequence[Floats],
    means: Floats,
    floor: float,
    span: bool,
) -> Spectrum:
    """Spectrum of all classes, padded to one number of axes."""
    frame, axes, values = None, [basis.T for basis in bases], list(variances)
    if span and floor > 0:
        frame, axes, values = _span_axes(bases, variances, floor)
    classes, dim, q = len(bases), len(bases[0]), max(1, *(len(v) for v in values))
    stacked, padded = np.zeros((classes, q, dim)), np.full((classes, q), floor)
    for k, (rows, v) in enumerate(zip(axes, values, strict=True)):
        stacked[k, : len(v)], padded[k, : len(v)] = rows, v
    whole = frame is None or frame.shape[1] == dim
    centres = np.einsum("kqd,kd->kq", stacked, means)
    return Spectrum(stacked, padded, centres, floor, None if whole else frame)


def _span_axes(
    bases: Sequence[Floats], variances: Sequence[Floats], floor: float
) -> tuple[Floats, list[Floats], list[Floats]]:
    """Frame of the joint span, and per class the axes [q, D] and eigenvalues that differ from it.

    The other classes span everything but the directions that class k reaches alone; those have
    leverage 1 in the Gram matrix of all columns (removing the class would lose them).
    """
    frame, s, vt = joint_span(np.hstack(bases))
    axes, eigenvalues = [], []
    blocks = np.split(vt, np.cumsum([basis.shape[1] for basis in bases])[:-1], axis=1)
    for basis, variance, block in zip(bases, variances, blocks, strict=True):
        leverage, w = np.linalg.eigh(block.T @ block)
        alone = (block @ w[:, leverage > 1 - 1e-8]) / s[:, None]
        private = frame @ np.linalg.qr(alone)[0]
        own = joint_span(np.hstack([basis, private]))[0]
        along, away = own.T @ basis, own.T @ private
        inside = floor * (np.eye(own.shape[1]) - away @ away.T) + (along * variance) @ along.T
        values, vectors = np.linalg.eigh(inside)
        axes.append((own @ vectors).T)
        eigenvalues.append(np.maximum(values, 0.0))
    return frame, axes, eigenvalues


def check_bases(bases: Sequence[ArrayLike]) -> tuple[Floats, ...]:
    arrays = [np.asarray(basis, dtype=float) for basis in bases]
    if not arrays:
        raise InvalidParameter("bases is empty; give one array [D, d_k] per class")
    for k, basis in enumerate(arrays):
        if basis.ndim != 2 or len(basis) != len(arrays[0]) or not len(basis):
            raise InvalidParameter(
                f"bases[{k}] has shape {basis.shape}, bases[0] {arrays[0].shape};"
                " give arrays [D, d_k] of one dimension D"
            )
        if basis.shape[1] > len(basis):
            raise InvalidParameter(
                f"bases[{k}] has rank {basis.shape[1]} above the dimension {len(basis)};"
                " transpose it or drop columns"
            )
        if not np.isfinite(basis).all():
            raise InvalidParameter(f"bases[{k}] holds NaN or inf; clean it first")
        error = np.abs(basis.T @ basis - np.eye(basis.shape[1])).max(initial=0.0)
        if error > _ORTHONORMAL:
            raise InvalidParameter(
                f"bases[{k}] is not orthonormal (U^T U deviates from 1 by {error:.2g});"
                " pass hierdiff.mixture.orthonormalise(bases), which keeps the subspaces"
            )
        arrays[k] = orthonormalise([basis])[0] if error > 1e-12 else basis.copy()
    return tuple(arrays)


def check_weights(weights: ArrayLike | None, classes: int) -> Floats:
    array = np.full(classes, 1 / classes) if weights is None else np.array(weights, dtype=float)
    if array.shape != (classes,):
        raise InvalidParameter(f"weights has shape {array.shape}; give {classes} numbers")
    if not (array >= 0).all():
        raise InvalidParameter(
            f"weights[{int(np.argmin(array))}] = {array.min():g} must be >= 0; drop the class"
        )
    if abs(array.sum() - 1) > 1e-8:
        raise InvalidParameter(f"weights sum to {array.sum():.6g}, not 1; divide by the sum")
    return cast(Floats, array / array.sum())


def check_variances(
    variances: Sequence[ArrayLike] | None, bases: tuple[Floats, ...]
) -> tuple[Floats, ...]:
    if variances is None:
        return tuple(np.ones(basis.shape[1]) for basis in bases)
    arrays = tuple(np.array(v, dtype=float) for v in variances)
    shapes, wanted = [v.shape for v in arrays], [(basis.shape[1],) for basis in bases]
    if shapes != wanted:
        raise InvalidParameter(f"variances have shapes {shapes}; give {wanted}, as the bases")
    for k, v in enumerate(arrays):
        if not ((v >= 0) & np.isfinite(v)).all():
            raise InvalidParameter(
                f"variances[{k}] = {v.tolist()} must be finite and >= 0; they are squared lengths"
            )
    return arrays
