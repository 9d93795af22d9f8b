r"""The linear-score machine: the exact denoiser of a Gaussian, and where its flow goes.

==================  ============================================================================
:math:`m`           mean of the data
:math:`a_k`         axes, orthonormal;  :math:`\lambda_k` variance along each of them
:math:`c_k`         coordinate :math:`a_k\cdot(x-m)`;  off the axes the variance is 0
==================  ============================================================================

.. math::

    D(x) = m + \sum_k \frac{\lambda_k}{\lambda_k+\sigma^2}\, c_k a_k, \qquad
    \frac{dx}{d\sigma} = \frac{x - D(x)}{\sigma}
    \;\Rightarrow\; c_k(\sigma) = c_k(T)\sqrt{\frac{\sigma^2+\lambda_k}{T^2+\lambda_k}} .
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.theory._clocks import positive_level
from hierdiff.theory._empirical import Reals, matrix

__all__ = ["GaussianModel", "fit_gaussian", "linear_denoise", "linear_score", "linear_trajectory"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GaussianModel:
    """Mean, axes and variances of a Gaussian.

    Parameters
    ----------
    mean : array [D]
        m.
    axes : array [R, D]
        Orthonormal rows.
    eigenvalues : array [R]
        Variances >= 0.

    Raises
    ------
    InvalidParameter
        For shapes that do not match, rows that are not orthonormal, negative variances, NaN.

    Notes
    -----
    Validity: R <= D; directions orthogonal to the axes have no variance.
    """

    mean: Floats
    axes: Floats
    eigenvalues: Floats

    def __post_init__(self) -> None:
        for name in ("mean", "axes", "eigenvalues"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=float))
        shapes = (self.mean.shape, self.axes.shape, self.eigenvalues.shape)
        if self.axes.ndim != 2 or shapes[0] != self.axes.shape[1:] or shapes[2] != (shapes[1][0],):
            raise InvalidParameter(
                f"mean, axes, eigenvalues have shapes {shapes}; give [D], [R, D], [R]"
            )
        if not all(np.isfinite(array).all() for array in (self.mean, self.axes, self.eigenvalues)):
            raise InvalidParameter("mean, axes or eigenvalues hold NaN or inf; clean them first")
        gap = np.abs(self.axes @ self.axes.T - np.eye(len(self.axes))).max(initial=0.0)
        if gap > 1e-6:
            raise InvalidParameter(
                f"axes deviate from orthonormal rows by {gap:.2g}; orthonormalise them"
            )
        if (self.eigenvalues < 0).any():
            raise InvalidParameter(
                f"eigenvalues as low as {self.eigenvalues.min():g} must be >= 0: they are variances"
            )


def fit_gaussian(data: ArrayLike) -> GaussianModel:
    """Gaussian of the mean and covariance of data, directions of no variance left out.

    Parameters
    ----------
    data : array [N, D]
        N >= 2 data.

    Returns
    -------
    GaussianModel
        Variances descending, normalised by N (maximum likelihood).

    Raises
    ------
    InvalidParameter
        For fewer than two data, NaN.

    Notes
    -----
    Validity: exact; cost N D min(N, D).

    Examples
    --------
    >>> fit_gaussian([[1.0, 0.0], [-1.0, 0.0]]).eigenvalues
    array([1.])
    """
    x = matrix("data", data).astype(float)
    if len(x) < 2:
        raise InvalidParameter(f"N = {len(x)} data have no covariance; give at least 2")
    mean = x.mean(0)
    _, s, vt = np.linalg.svd(x - mean, full_matrices=False)
    kept = s > 1e-12 * max(float(s[0]), np.finfo(float).tiny) * np.sqrt(len(x))
    return GaussianModel(mean, vt[kept], s[kept] ** 2 / len(x))


def linear_denoise(
    model: GaussianModel, x: ArrayLike, sigma: float, *, scale: float = 1.0
) -> Reals:
    r"""Wiener filter, :math:`D(x) = m + \sum_k \frac{\lambda_k}{\lambda_k+\sigma^2} c_k a_k`.

    Parameters
    ----------
    model : GaussianModel
        Mean, axes and variances.
    x : array [n, D]
        Noisy data :math:`x_t`; float32 is computed in float32.
    sigma : float
        Noise level relative to the signal, > 0.
    scale : float
        :math:`s_t` > 0.

    Returns
    -------
    array [n, D]

    Raises
    ------
    InvalidParameter
        For wrong shape, NaN, sigma or scale <= 0.

    Notes
    -----
    Validity: exact for Gaussian data, the best linear denoiser for any data of these moments.

    References
    ----------
    Wang and Vastola, arXiv 2311.10892.

    Examples
    --------
    >>> linear_denoise(GaussianModel([0.0, 0.0], [[1.0, 0.0]], [3.0]), [[4.0, 4.0]], 1.0)
    array([[3., 0.]])
    """
    y = _noisy(model, x, scale)
    gain = model.eigenvalues / (model.eigenvalues + positive_level(sigma) ** 2)
    return _spread(model, _coordinates(model, y) * gain.astype(y.dtype), y.dtype)


def linear_score(model: GaussianModel, x: ArrayLike, sigma: float, *, scale: float = 1.0) -> Reals:
    r"""Score of the noisy Gaussian, :math:`(s_t D(x_t) - x_t)/(s_t^2\sigma^2)`.

    Parameters
    ----------
    model, x, sigma, scale
        As in :func:`linear_denoise`.

    Returns
    -------
    array [n, D]

    Raises
    ------
    InvalidParameter
        As in :func:`linear_denoise`.

    Notes
    -----
    Validity: exact for Gaussian data.
    """
    y = _noisy(model, x, scale)
    out: Reals = (linear_denoise(model, y, sigma) - y) / y.dtype.type(scale * float(sigma) ** 2)
    return out


def linear_trajectory(model: GaussianModel, x: ArrayLike, start: float, stop: ArrayLike) -> Reals:
    r"""Solution of the probability-flow ODE from noise level ``start`` to ``stop``.

    .. math:: c_k(\sigma) = c_k(T)\sqrt{(\sigma^2+\lambda_k)/(T^2+\lambda_k)}

    Parameters
    ----------
    model : GaussianModel
        Mean, axes and variances.
    x : array [n, D]
        Points of the VE flow at level T = ``start``.
    start : float
        T > 0.
    stop : float or array [q]
        Levels >= 0, in either direction.

    Returns
    -------
    array [n, D], or [q, n, D] for an array of levels

    Raises
    ------
    InvalidParameter
        For wrong shape, NaN, levels out of range.

    Notes
    -----
    Validity: exact; a good start of any sampler while the noise is above the structure of the data.

    References
    ----------
    Wang and Vastola, arXiv 2412.09726.

    Examples
    --------
    >>> flow = GaussianModel(np.zeros(3), np.eye(3), [4.0, 1.0, 0.04])
    >>> linear_trajectory(flow, [[10.0, -20.0, 5.0]], 10.0, 0.01).round(6)
    array([[ 1.961186, -1.990174,  0.100105]])
    """
    y = _noisy(model, x, 1.0)
    levels = np.asarray(stop, dtype=float)
    if levels.ndim > 1 or not ((levels >= 0) & np.isfinite(levels)).all():
        raise InvalidParameter(f"stop = {stop!r} must be finite levels >= 0, one or a list of them")
    first = positive_level(start) ** 2
    inside = _coordinates(model, y)
    off = y - _spread(model, inside, y.dtype)
    out = []
    for v in np.atleast_1d(levels) ** 2:
        gain = np.sqrt((v + model.eigenvalues) / (first + model.eigenvalues)).astype(y.dtype)
        shrunk = off * y.dtype.type(np.sqrt(v / first))
        out.append(_spread(model, inside * gain, y.dtype) + shrunk)
    return out[0] if levels.ndim == 0 else np.stack(out)


def _noisy(model: GaussianModel, x: ArrayLike, scale: float) -> Reals:
    if not (np.isfinite(scale) and scale > 0):
        raise InvalidParameter(f"scale = {scale} must be finite and > 0")
    y = matrix("x", x, len(model.mean))
    return y if scale == 1 else cast(Reals, y / y.dtype.type(scale))


def _coordinates(model: GaussianModel, y: Reals) -> Reals:
    out: Reals = (y - model.mean.astype(y.dtype)) @ model.axes.T.astype(y.dtype)
    return out


def _spread(model: GaussianModel, coordinates: Reals, dtype: np.dtype[np.generic]) -> Reals:
    out: Reals = model.mean.astype(dtype) + coordinates @ model.axes.astype(dtype)
    return out
