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
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, frozen, memory, number, reals, unchecked
from hierdiff.errors import InvalidParameter
from hierdiff.theory._clocks import positive_level, positive_scale
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
            object.__setattr__(self, name, frozen(reals(name, getattr(self, name))))
        shapes = (self.mean.shape, self.axes.shape, self.eigenvalues.shape)
        if self.axes.ndim != 2 or shapes[0] != self.axes.shape[1:] or shapes[2] != (shapes[1][0],):
            raise InvalidParameter(
                f"mean, axes, eigenvalues have shapes {shapes}; give [D], [R, D], [R]"
            )
        if not self.mean.size:
            raise InvalidParameter("mean is empty; give a Gaussian of one dimension or more")
        gap = np.abs(self.axes @ self.axes.T - np.eye(len(self.axes))).max(initial=0.0)
        if not gap <= 1e-6:
            raise InvalidParameter(
                f"axes deviate from orthonormal rows by {gap:.2g}; orthonormalise them"
            )
        if (self.eigenvalues < 0).any():
            raise InvalidParameter(
                f"eigenvalues as low as {self.eigenvalues.min():g} must be >= 0: they are variances"
            )


@checked(data=unchecked)
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
    memory(f"the spectrum of {len(x)} data in {x.shape[1]} dimensions", 24.0 * x.size)
    if len(x) < 2:
        raise InvalidParameter(f"N = {len(x)} data have no covariance; give at least 2")
    mean = x.mean(0)
    centred = x - mean
    # in units of the data, so that squares of lengths neither overflow nor vanish
    unit = float(np.abs(centred).max()) or 1.0
    _, s, vt = np.linalg.svd(centred / unit, full_matrices=False)
    kept = s > 1e-12 * max(float(s[0]), np.finfo(float).tiny) * np.sqrt(len(x))
    with np.errstate(over="ignore"):
        variances = (s[kept] * unit / np.sqrt(len(x))) ** 2
    return GaussianModel(mean, vt[kept], variances)


@checked(x=unchecked, sigma=unchecked, scale=unchecked)
def linear_denoise(
    model: GaussianModel, x: ArrayLike, sigma: float, *, scale: float = 1.0
) -> Reals:
    r"""Wiener filter, :math:`D(x) = m + \sum_k \frac{\lambda_k}{\lambda_k+\sigma^2} c_k a_k`.

    Parameters
    ----------
    model : GaussianModel
        Mean, axes and variances.
    x : array [n, D]
        Noisy data :math:`x_t`; float32 gives float32.
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
    y, dtype = _noisy(model, x, scale)
    gain = model.eigenvalues / (model.eigenvalues + positive_level(sigma) ** 2)
    return _in(dtype, model.mean + (y @ model.axes.T * gain) @ model.axes)


@checked(x=unchecked, sigma=unchecked, scale=unchecked)
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
    Validity: exact for Gaussian data; from the precisions, so nothing cancels at small noise.
    """
    y, dtype = _noisy(model, x, scale)
    v, inside = positive_level(sigma) ** 2, y @ model.axes.T
    out = -(inside / (model.eigenvalues + v)) @ model.axes
    if len(model.axes) < len(model.mean):
        out -= (y - inside @ model.axes) / v
    return _in(dtype, out / positive_scale(scale))


@checked(x=unchecked, start=unchecked, stop=unchecked)
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
    y, dtype = _noisy(model, x, 1.0)
    levels = reals("stop", stop, 0, 1e140)
    if levels.ndim > 1:
        raise InvalidParameter(
            f"stop of shape {levels.shape} must be finite levels >= 0, one or a list of them"
        )
    first = positive_level(number("start", start)) ** 2
    inside = y @ model.axes.T
    off = y - inside @ model.axes
    out = []
    for v in np.atleast_1d(levels) ** 2:
        gain = np.sqrt((v + model.eigenvalues) / (first + model.eigenvalues))
        out.append(_in(dtype, model.mean + (inside * gain) @ model.axes + off * np.sqrt(v / first)))
    if levels.ndim == 0:
        return out[0]
    return np.stack(out) if out else np.empty((0, *y.shape), dtype)


def _noisy(model: GaussianModel, x: ArrayLike, scale: float) -> tuple[Floats, np.dtype[Any]]:
    """Data in units of the clean ones less the mean, in float64, and the precision asked for.

    In float64 because the mean would take the digits of single precision.
    """
    y = matrix("x", x, len(model.mean))
    return y.astype(np.float64) / positive_scale(scale) - model.mean, y.dtype


def _in(dtype: np.dtype[Any], values: Floats) -> Reals:
    with np.errstate(over="ignore"):
        found: Reals = values.astype(dtype, copy=False)
    if not np.isfinite(found).all():
        raise InvalidParameter(
            f"the result is beyond the range of {dtype}; raise sigma or scale, or give float64 data"
        )
    return found
