r"""Score machines of what a network can express: linear, equivariant, local, and both.

=================  =============================================================================
:math:`y_i`        training images; :math:`x` noisy image in units of the data
:math:`\Omega_p`   square window of side 2 ``radius`` + 1 around pixel p, all channels
:math:`D(x)[p]`    posterior mean of pixel p
=================  =============================================================================

Each machine is the exact denoiser of data that look as the machine can see them:

.. math::

    \text{LS (local):} \quad & D(x)[p] = \sum_i W_i\, y_i[p], & W_i &\propto
        e^{-|x_{\Omega_p} - y_{i,\Omega_p}|^2/2\sigma^2} \\
    \text{ES (equivariant):} \quad & D(x) = \sum_{i,\tau} W_{i\tau}\, \tau y_i, &
        W_{i\tau} &\propto e^{-|x - \tau y_i|^2/2\sigma^2} \\
    \text{ELS (both):} \quad & D(x)[p] = \sum_{i,q} W_{iq}\, y_i[q], & W_{iq} &\propto
        e^{-|x_{\Omega_p} - y_{i,\Omega_q}|^2/2\sigma^2}

with :math:`\tau` all translations of the torus.  The boundary is "periodic" (windows wrap round)
or "zero" (windows see zeros beyond the edge, as padded convolutions do: for LS this drops the
pixels outside, for ELS it lets a patch know its distance from the edge).  A window that covers the
image makes LS the empirical denoiser and, on the torus, ELS the equivariant one.

The linear machine is the exact denoiser of a Gaussian, and its flow is known in closed form:

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
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from hierdiff.checks import checked, frozen, memory, number, one_of, reals, unchecked, whole
from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.softmax_averages import (
    Average,
    Block,
    Data,
    Reals,
    blocks_of,
    matrix,
    real,
)
from hierdiff.theory.mixture.time_change import positive_level, positive_scale

__all__ = [
    "Boundary",
    "GaussianModel",
    "equivariant_denoise",
    "equivariant_local_denoise",
    "fit_gaussian",
    "linear_denoise",
    "linear_score",
    "linear_trajectory",
    "local_denoise",
    "score_of",
]

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


# ------------------------------------------------------------------- local and equivariant machines

Boundary: TypeAlias = Literal["periodic", "zero"]

_ENTRIES = 1 << 21  # numbers per temporary array

# looked at by `_task` and `blocks_of`, which know the shapes that images must have
_public = checked(
    data=unchecked, x=unchecked, sigma=unchecked, radius=unchecked, boundary=unchecked,
    scale=unchecked, block=unchecked,
)  # fmt: skip


@checked(denoised=unchecked, x=unchecked, sigma=unchecked, scale=unchecked)
def score_of(denoised: ArrayLike, x: ArrayLike, sigma: float, *, scale: float = 1.0) -> Reals:
    r"""Score that belongs to a denoiser, :math:`(s_t D - x_t)/(s_t^2\sigma^2)` (Tweedie).

    Parameters
    ----------
    denoised, x : arrays of one shape
        :math:`D(x_t)` and :math:`x_t`.
    sigma, scale : float
        Noise level relative to the signal and :math:`s_t`, both > 0.

    Returns
    -------
    array of that shape

    Raises
    ------
    InvalidParameter
        For shapes that differ, sigma or scale <= 0.

    Notes
    -----
    Validity: exact for posterior means; for the local machines it is the definition of their score,
    :math:`(\sqrt{\bar\alpha}\,D - x)/(1-\bar\alpha)` in the VP convention, which no density need
    have.
    """
    d, y, s = real(denoised, "denoised"), real(x), positive_scale(scale)
    if d.shape != y.shape:
        raise InvalidParameter(f"denoised {d.shape} and x {y.shape} must have one shape")
    if not (np.isfinite(d).all() and np.isfinite(y).all()):
        raise InvalidParameter("denoised or x holds NaN or inf; drop or repair those data")
    # in float64, and one factor after the other: their product may leave the range of floats
    with np.errstate(over="ignore"):
        out: Reals = ((s * d.astype(float) - y) / s / s / positive_level(sigma) ** 2).astype(
            y.dtype
        )
    if not np.isfinite(out).all():
        raise InvalidParameter(
            f"sigma = {sigma} and scale = {scale} take the score beyond the range of {y.dtype};"
            " raise them"
        )
    return out


@_public
def local_denoise(
    data: Data,
    x: ArrayLike,
    sigma: float,
    *,
    radius: int,
    boundary: Boundary = "zero",
    scale: float = 1.0,
    block: int | None = None,
) -> Reals:
    r"""Local-score machine: every pixel sees its own window of every training image.

    Parameters
    ----------
    data : array [N, H, W] or [N, H, W, C], or iterable of such arrays
        Training images; read once.
    x : array [n, H, W] or [n, H, W, C]
        Noisy images :math:`x_t`.
    sigma : float
        Noise level relative to the signal, > 0.
    radius : int
        Of the window, >= 0.
    boundary : {"zero", "periodic"}
        What lies beyond the edge.
    scale : float
        :math:`s_t` > 0.
    block : int, optional
        Training images held at a time.

    Returns
    -------
    array of the shape of ``x``

    Raises
    ------
    InvalidParameter
        For windows larger than the image, shapes that do not match, empty data, NaN, sigma <= 0.

    Notes
    -----
    Validity: exact for the machine.  Cost n N H W (C + 4 radius).

    References
    ----------
    Kamb and Ganguli, arXiv 2412.20292.

    Examples
    --------
    >>> data = np.array([[[0.0, 0.0]], [[1.0, 3.0]]])
    >>> local_denoise(data, [[[0.5, 9.0]]], 1.0, radius=0).round(3)
    array([[[0.5, 3. ]]])
    """
    task = _task(x, sigma, scale, radius, boundary)
    shape = task.images.shape
    top = np.full(shape[:3], -np.inf)
    mass = np.zeros(shape[:3])
    total = np.zeros(shape)
    step = _step(block, task.images[..., 0].size)
    for part in blocks_of(data, task.item, task.dtype, step):
        images = _checked(part).reshape(-1, *shape[1:])
        gaps = np.zeros((len(task.images), len(images), *shape[1:3]))
        for c in range(shape[3]):
            gaps += (task.images[:, None, ..., c] - images[None, ..., c]) ** 2
        logits = _window_sum(gaps, radius, boundary) / (-2 * task.variance)
        new = np.maximum(top, logits.max(axis=1))
        weights = np.exp(logits - new[:, None])
        shrink = np.exp(top - new)
        mass = mass * shrink + weights.sum(axis=1)
        total = total * shrink[..., None] + np.einsum("bihw,ihwc->bhwc", weights, images)
        top = new
    return _restore(total / mass[..., None], task)


@_public
def equivariant_local_denoise(
    data: Data,
    x: ArrayLike,
    sigma: float,
    *,
    radius: int,
    boundary: Boundary = "zero",
    scale: float = 1.0,
    block: int | None = None,
) -> Reals:
    r"""Equivariant local machine: every pixel sees the windows of all places of all images.

    Parameters
    ----------
    data, x, sigma, radius, boundary, scale
        As in :func:`local_denoise`.
    block : int, optional
        Training patches held at a time.

    Returns
    -------
    array of the shape of ``x``

    Raises
    ------
    InvalidParameter
        As in :func:`local_denoise`.

    Notes
    -----
    Validity: exact for the machine.  On the torus it commutes with translations.  Cost
    n N (H W)^2 (2 radius + 1)^2 C.

    References
    ----------
    Kamb and Ganguli, arXiv 2412.20292.

    Examples
    --------
    >>> data = np.array([[[0.0, 1.0, 3.0]]])
    >>> equivariant_local_denoise(data, [[[1.0, 9.0, 2.9]]], 0.2, radius=0).round(3)
    array([[[1., 3., 3.]]])
    """
    task = _task(x, sigma, scale, radius, boundary)
    channels = task.images.shape[3]
    queries = _patches(task.images, radius, boundary)
    pixels = queries.size // len(task.images)
    average = Average(queries, task.variance, channels)
    for part in blocks_of(data, task.item, task.dtype, _step(block, pixels)):
        images = _checked(part).reshape(-1, *task.images.shape[1:])
        keys, values = _patches(images, radius, boundary), images.reshape(-1, channels)
        for piece in blocks_of(keys, keys.shape[1:], keys.dtype, block):
            rows = slice(piece.start, piece.start + len(piece.rows))
            average.feed(Block(0, piece.rows), values[rows])
    return _restore(average.mean, task)


@checked(data=unchecked, x=unchecked, sigma=unchecked, scale=unchecked, block=unchecked)
def equivariant_denoise(
    data: Data, x: ArrayLike, sigma: float, *, scale: float = 1.0, block: int | None = None
) -> Reals:
    r"""Equivariant machine: the empirical denoiser of all translations of the data on the torus.

    Parameters
    ----------
    data, x, sigma, scale
        As in :func:`local_denoise`.
    block : int, optional
        Training images held at a time.

    Returns
    -------
    array of the shape of ``x``

    Raises
    ------
    InvalidParameter
        As in :func:`local_denoise`.

    Notes
    -----
    Validity: exact, for periodic boundaries.  Correlations by FFT: cost n N H W log(H W) C.

    References
    ----------
    Kamb and Ganguli, arXiv 2412.20292.

    Examples
    --------
    >>> equivariant_denoise(np.array([[[0.0, 1.0, 3.0]]]), [[[1.1, 3.0, 0.1]]], 0.3).round(3) + 0.0
    array([[[1., 3., 0.]]])
    """
    task = _task(x, sigma, scale, 0, "periodic")
    n, height, width, _ = task.images.shape
    mean = np.zeros(task.images.shape)
    top, mass = np.full((n, 1, 1), -np.inf), np.zeros((n, 1, 1))
    # a constant commutes with translations: squares of a common offset would cancel
    offset = task.images.astype(float).mean(axis=(0, 1, 2))
    spectrum = fft.fft2(task.images - offset, axes=(1, 2))
    step = _step(block, n * height * width)
    for part in blocks_of(data, task.item, task.dtype, step):
        images = _checked(part).reshape(-1, height, width, spectrum.shape[3]) - offset
        theirs = fft.fft2(images, axes=(1, 2))
        product = np.einsum("bhwc,ihwc->bihw", spectrum, theirs.conj())
        overlap = fft.ifft2(product, axes=(2, 3)).real
        half = 0.5 * np.einsum("ihwc,ihwc->i", images, images)[:, None, None]
        logits = (overlap - half) / task.variance
        new = np.maximum(top, logits.max(axis=(1, 2, 3))[:, None, None])
        weights = np.exp(logits - new[:, None])
        shrink = np.exp(top - new)
        spread = np.einsum("bihw,ihwc->bhwc", fft.fft2(weights, axes=(2, 3)), theirs)
        mean = mean * shrink[..., None] + fft.ifft2(spread, axes=(1, 2)).real
        mass = mass * shrink + weights.sum(axis=(1, 2, 3))[:, None, None]
        top = new
    return _restore(mean / mass[..., None] + offset, task)


class _Task(NamedTuple):
    """Checked noisy images [n, H, W, C] in units of the data."""

    images: Reals
    variance: float
    item: tuple[int, ...]  # shape of one training image as it is given
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def _task(x: ArrayLike, sigma: float, scale: float, radius: int, boundary: str) -> _Task:
    y = real(x)
    if y.ndim not in (3, 4) or y.size == 0:
        raise InvalidParameter(
            f"x has shape {y.shape}; give non-empty images [n, H, W] or [n, H, W, C]"
        )
    if not np.isfinite(y).all():
        raise InvalidParameter("x holds NaN or inf; drop or repair those images")
    scale = positive_scale(scale)
    one_of("boundary", boundary, ("periodic", "zero"))
    radius = whole("radius", radius, None)
    size = y.shape[1:3]
    most = (min(size) - 1) // 2 if boundary == "periodic" else max(size) - 1
    if not 0 <= radius <= most:
        raise InvalidParameter(
            f"radius = {radius} must be a whole number from 0 to {most}: a patch of"
            f" {2 * radius + 1} pixels does not fit the image {size} with boundary {boundary!r}"
        )
    images = y if y.ndim == 4 else y[..., None]
    if scale != 1:
        with np.errstate(over="ignore"):
            images = (images / scale).astype(y.dtype)
        if not np.isfinite(images).all():
            raise InvalidParameter(f"scale = {scale} takes x beyond the range of {y.dtype}")
    return _Task(images, positive_level(sigma) ** 2, y.shape[1:], y.dtype, y.shape)


def _checked(part: Block) -> Reals:
    if not np.isfinite(part.rows).all():
        raise InvalidParameter(
            f"data[{part.start}:{part.start + len(part.rows)}] hold NaN or inf; drop or repair them"
        )
    return part.rows


def _restore(mean: Reals, task: _Task) -> Reals:
    out: Reals = mean.reshape(task.shape).astype(task.dtype, copy=False)
    return out


def _step(block: int | None, size: int) -> int:
    """So many images that a temporary array of ``size`` numbers for each stays small."""
    return max(1, _ENTRIES // size) if block is None else whole("block", block, 1)


def _pad(images: Reals, axes: tuple[int, int], radius: int, boundary: str) -> Reals:
    width = [(radius, radius) if axis in axes else (0, 0) for axis in range(images.ndim)]
    out: Reals = np.pad(images, width, mode="wrap" if boundary == "periodic" else "constant")
    return out


def _window_sum(values: Reals, radius: int, boundary: str) -> Reals:
    """Sum over the window of the last two axes, by shifts: no differences, no cancellation."""
    for axis in (values.ndim - 2, values.ndim - 1):
        padded, length = _pad(values, (axis, axis), radius, boundary), values.shape[axis]
        shifts = (np.arange(length) + shift for shift in range(2 * radius + 1))
        values = sum((padded.take(s, axis=axis) for s in shifts), np.zeros(()))
    return values


def _patches(images: Reals, radius: int, boundary: str) -> Reals:
    """Windows around all pixels, [N H W, side^2 C]."""
    side, (count, height, width, channels) = 2 * radius + 1, images.shape
    padded = _pad(images, (1, 2), radius, boundary)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
    out: Reals = windows.reshape(count * height * width, channels * side * side)
    return out
