r"""Exact denoising of low-rank Gaussian mixtures.

The noisy datum is :math:`x_t = s_t (x_0 + \sigma\varepsilon)`; below, :math:`x = x_t / s_t` and
:math:`v = \sigma^2`.  Every class covariance is :math:`S_k = \tau\Pi + Q_k\,\mathrm{diag}(\mu_k -
\tau)\,Q_k^T` (``LowRankMixture.spectrum``), so Woodbury's identity is diagonal at every noise
level and nothing is factorised per level:

.. math::

    (S_k + v)^{-1} &= \tfrac{1}{v}(I-\Pi) + \tfrac{1}{\tau+v}\Pi - Q_k\,\mathrm{diag}(h_k)\,Q_k^T,
    \qquad h_{ki} = \frac{\mu_{ki}-\tau}{(\tau+v)(\mu_{ki}+v)}, \\
    \log w_k &= \log\pi_k - \tfrac12\log\det(S_k+v) - \tfrac12 (x-m_k)^T(S_k+v)^{-1}(x-m_k), \\
    D(x) &= \sum_k w_k \big[m_k + S_k (S_k+v)^{-1}(x-m_k)\big].

=============  ==================================================================
:math:`w_k`    class posterior, after normalisation over k
:math:`D`      denoiser, the posterior mean of :math:`x_0`
:math:`h_k`    gap of precision between the residual and the class's own axes
:math:`z_k`    coordinates :math:`Q_k^T(x-m_k)`: the one GEMM that costs anything
=============  ==================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from hierdiff._kernels.mixture import add_scaled, energies, shrink
from hierdiff.errors import InvalidParameter
from hierdiff.mixture import LowRankMixture

__all__ = ["class_posterior", "denoise", "jacobian", "jacobian_spectrum", "log_density", "score"]

Reals: TypeAlias = NDArray[Any]  # float64, or float32 throughout when the data are float32

_BLOCK = 1 << 25  # entries of the coordinate array held at a time
_NEGLIGIBLE = 1e-30  # weights below change no digit, and denormals are slow


def class_posterior(
    mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0
) -> Reals:
    r"""Posterior of the class, :math:`w_k = p(k \mid x_t)`.

    Parameters
    ----------
    mixture : LowRankMixture
        The model of the data.
    x : array [n, D]
        Noisy data :math:`x_t`; float32 is computed in float32.
    sigma : float
        Noise level relative to the signal, > 0.
    scale : float
        :math:`s_t` > 0.

    Returns
    -------
    array [n, K]
        Rows sum to one.

    Raises
    ------
    InvalidParameter
        For sigma or scale <= 0, wrong shape, NaN.

    Notes
    -----
    Validity: exact for any mixture.  In float32 the log-odds carry a relative error of 1e-7.

    Examples
    --------
    >>> mixture = LowRankMixture([[[1.0], [0.0]], [[0.0], [1.0]]])
    >>> class_posterior(mixture, [[2.0, 1.0]], 1.0).round(6)
    array([[0.679179, 0.320821]])
    """
    y = _noisy(mixture, x, scale)
    level = _level(mixture, sigma, y.dtype)
    return np.concatenate([_softmax(_joint(level, y[i])[0]) for i in _blocks(level, len(y))])


def log_density(
    mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0
) -> Reals:
    r"""Log-density of the noisy data, :math:`\log p_t(x_t)`, in nats.

    Parameters
    ----------
    mixture, x, sigma, scale
        As in :func:`class_posterior`.

    Returns
    -------
    array [n]

    Notes
    -----
    Validity: exact for any mixture, with respect to Lebesgue measure in D dimensions.

    Examples
    --------
    >>> point = LowRankMixture([np.zeros((1, 0))])
    >>> log_density(point, [[0.0]], 1.0).round(6)
    array([-0.918939])
    """
    y = _noisy(mixture, x, scale)
    level = _level(mixture, sigma, y.dtype)
    parts = []
    for rows in _blocks(level, len(y)):
        joint, _ = _joint(level, y[rows])
        parts.append(_shared(level, y[rows]) + logsumexp(joint, axis=1))
    out: Reals = np.concatenate(parts) - mixture.dim * np.log(scale).astype(y.dtype)
    return out


def denoise(mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0) -> Reals:
    r"""Posterior mean :math:`D(x_t) = E[x_0 \mid x_t]`.

    Parameters
    ----------
    mixture, x, sigma, scale
        As in :func:`class_posterior`.

    Returns
    -------
    array [n, D]

    Notes
    -----
    Validity: exact for any mixture; with one class it is the Wiener filter.  Two GEMMs of
    2 n D sum(q_k) flops each; classes of no weight anywhere in a block are left out of the second.

    References
    ----------
    arXiv 2502.05743, Prop. 1, for orthogonal subspaces.

    Examples
    --------
    >>> mixture = LowRankMixture([[[1.0], [0.0]], [[0.0], [1.0]]])
    >>> denoise(mixture, [[2.0, 1.0]], 1.0).round(6)
    array([[0.679179, 0.160411]])
    """
    y = _noisy(mixture, x, scale)
    level = _level(mixture, sigma, y.dtype)
    parts = []
    for rows in _blocks(level, len(y)):
        joint, z = _joint(level, y[rows])
        parts.append(_mean(level, y[rows], _softmax(joint), z))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def score(mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0) -> Reals:
    r"""Score :math:`\nabla \log p_t(x_t) = (s_t D(x_t) - x_t) / (s_t^2 \sigma^2)` (Tweedie).

    Parameters
    ----------
    mixture, x, sigma, scale
        As in :func:`class_posterior`.

    Returns
    -------
    array [n, D]

    Notes
    -----
    Validity: exact for any mixture; the absolute rounding error is machine precision over sigma^2.

    Examples
    --------
    >>> score(LowRankMixture([np.zeros((1, 0))]), [[3.0]], 1.0, scale=2.0)
    array([[-0.75]])
    """
    y = _noisy(mixture, x, scale)
    out: Reals = (denoise(mixture, y, sigma) - y) / y.dtype.type(scale * float(sigma) ** 2)
    return out


def jacobian(mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0) -> Reals:
    r"""Jacobian of the denoiser, :math:`\partial D/\partial x_t`, symmetric.

    .. math::
        s\,\partial D/\partial x_t = \mathrm{Cov}(x_0|x_t)/v = \sum_k w_k S_k(S_k+v)^{-1}
            + \tfrac1v \sum_k w_k (D_k - D)(D_k - D)^T,
        \qquad D_k = E[x_0 \mid x, k] .

    Parameters
    ----------
    mixture, x, sigma, scale
        As in :func:`class_posterior`.

    Returns
    -------
    array [n, D, D]
        Symmetric, positive semi-definite.

    Notes
    -----
    Validity: exact for any mixture; needs n D^2 + n K D numbers of memory.
    """
    y = _noisy(mixture, x, scale)
    level = _level(mixture, sigma, y.dtype)
    joint, z = _joint(level, y)
    w = _softmax(joint)
    classes, q, dim = level.axes.shape
    z = z.reshape(len(y), classes, q)
    per_class = np.einsum("nkq,kqd->nkd", z * level.gain, level.axes, optimize=True)
    centres = level.means if level.means is not None else np.zeros((classes, dim), y.dtype)
    per_class += centres + _residual_part(level, y[:, None, :] - centres)
    per_class -= np.einsum("nk,nkd->nd", w, per_class)[:, None, :]
    per_class *= np.sqrt(w / level.variance)[:, :, None]
    out: Reals = np.matmul(per_class.transpose(0, 2, 1), per_class)
    rows = level.axes.reshape(-1, dim)
    for k, weights in enumerate((w[:, :, None] * level.gain).reshape(len(y), -1)):
        out[k] += (rows.T * weights) @ rows
    out += _residual_part(level, np.eye(dim, dtype=y.dtype))
    out /= y.dtype.type(scale)
    return out


def jacobian_spectrum(
    mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0
) -> Reals:
    r"""Eigenvalues of :func:`jacobian`, descending.

    While the class is certain, orthogonal unit-variance classes show :math:`d` eigenvalues
    :math:`1/(1+\sigma^2)`, the residual's directions :math:`\delta^2/(\delta^2+\sigma^2)`, and 0.

    Parameters
    ----------
    mixture, x, sigma, scale
        As in :func:`class_posterior`.

    Returns
    -------
    array [n, D]

    Notes
    -----
    Validity: exact for any mixture.  Diagonalised in the subspace that holds the class bases and
    means, so D may be large where the ranks add up to little.

    Examples
    --------
    >>> mixture = LowRankMixture.random(4, 1, 2, seed=0)
    >>> x = 3 * mixture.bases[0].T
    >>> (jacobian_spectrum(mixture, x, 0.1) + 0.0).round(6)
    array([[0.990099, 0.      , 0.      , 0.      ]])
    """
    y = _noisy(mixture, x, scale)
    small, frame, centre = mixture.compress()
    inner = jacobian(small, (y - centre) @ frame, sigma)
    outside = 0.0
    if mixture.residual == "ambient":
        outside = mixture.delta**2 / (mixture.delta**2 + float(sigma) ** 2)
    out = np.full(y.shape, outside, dtype=y.dtype)
    out[:, : small.dim] = np.linalg.eigvalsh(inner)
    descending: Reals = np.sort(out, axis=1)[:, ::-1] / y.dtype.type(scale)
    return descending


@dataclass(frozen=True, eq=False)
class _Level:
    """A mixture at one noise level, in the precision of the data."""

    axes: Reals  # [K, q, D]
    gap: Reals  # h, [K, q]
    gain: Reals  # v h, [K, q]
    centres: Reals  # Q_k^T m_k, [K q]
    frame: Reals | None
    constants: Reals  # what log w_k holds apart from x, relative to ``base``, [K]
    base: float
    means: Reals | None  # m_k, None if all are zero
    pull: Reals | None  # m_k^T [(I - Pi) / v + Pi / (tau + v)], [K, D]
    floor: float
    variance: float


def _level(mixture: LowRankMixture, sigma: float, dtype: np.dtype[Any]) -> _Level:
    if not (np.isfinite(sigma) and sigma > 0):
        raise InvalidParameter(
            f"sigma = {sigma} must be finite and > 0; without noise data need no denoising"
        )
    s, v = mixture.spectrum, float(sigma) ** 2
    gap = (s.eigenvalues - s.floor) / ((s.floor + v) * (s.eigenvalues + v))
    volume = (mixture.dim - s.support) * np.log(v) + np.log(s.eigenvalues + v).sum(1)
    volume += (s.support - s.eigenvalues.shape[1]) * np.log(s.floor + v)
    with np.errstate(divide="ignore"):
        constants = np.log(mixture.weights)
    constants -= 0.5 * (volume + mixture.dim * np.log(2 * np.pi))
    means = pull = None
    if mixture.means.any():
        means, pull = mixture.means.astype(dtype), mixture.means / (s.floor + v)
        if s.frame is not None:
            off = mixture.means - (mixture.means @ s.frame) @ s.frame.T
            pull += off * (1 / v - 1 / (s.floor + v))
        constants -= 0.5 * (mixture.means * pull).sum(1)
        pull = pull.astype(dtype)
    axes, frame = (s.axes, s.frame) if dtype == np.float64 else s.single
    gap, gain, centres = (a.astype(dtype) for a in (gap, v * gap, s.centres.ravel()))
    base = float(constants.max())
    relative = (constants - base).astype(dtype)
    return _Level(axes, gap, gain, centres, frame, relative, base, means, pull, s.floor, v)


def _noisy(mixture: LowRankMixture, x: ArrayLike, scale: float) -> Reals:
    """Checked data divided by the scale; float32 stays float32."""
    y = np.asarray(x)
    if y.dtype != np.float32:
        y = y.astype(np.float64, copy=False)
    if y.ndim != 2 or y.shape[1] != mixture.dim or not len(y):
        raise InvalidParameter(
            f"x has shape {y.shape}; give a non-empty array [n, D = {mixture.dim}]"
        )
    # the sum is finite unless an entry is not, or it overflows: one pass instead of two
    if not (np.isfinite(y.sum()) or np.isfinite(y).all()):
        row = int(np.argmin(np.isfinite(y).all(1)))
        raise InvalidParameter(f"x[{row}] holds NaN or inf; drop or repair that datum")
    if not (np.isfinite(scale) and scale > 0):
        raise InvalidParameter(f"scale = {scale} must be finite and > 0")
    return y if scale == 1 else y / y.dtype.type(scale)


def _blocks(level: _Level, n: int) -> Iterator[slice]:
    classes, q, _ = level.axes.shape
    step = max(1, _BLOCK // (classes * q))
    return (slice(start, start + step) for start in range(0, n, step))


def _joint(level: _Level, y: Reals) -> tuple[Reals, Reals]:
    """Log-joint of class and datum without its class-independent part, and coordinates z."""
    classes, q, dim = level.axes.shape
    z = y @ level.axes.reshape(-1, dim).T
    if level.means is not None:
        z -= level.centres
    joint: Reals = np.repeat(level.constants[None], len(y), axis=0)
    energies(z.reshape(-1, classes, q), level.gap, joint)
    if level.pull is not None:
        joint += y @ level.pull.T
    return joint, z


def _shared(level: _Level, y: Reals) -> Reals:
    """Class-independent part of the log-joint."""
    inside = y if level.frame is None else y @ level.frame
    quadratic = np.einsum("nd,nd->n", inside, inside) / (level.floor + level.variance)
    if level.frame is not None:
        off = y - inside @ level.frame.T
        quadratic += np.einsum("nd,nd->n", off, off) / level.variance
    out: Reals = -0.5 * quadratic + level.base
    return out


def _softmax(joint: Reals) -> Reals:
    """Normalise over classes in place."""
    joint -= joint.max(1, keepdims=True)
    np.exp(joint, out=joint)
    joint /= joint.sum(1, keepdims=True)
    joint[joint < _NEGLIGIBLE] = 0
    return joint


def _residual_part(level: _Level, y: Reals) -> Reals:
    """What the residual's prior leaves of y: tau / (tau + v) Pi y."""
    shrunk = y.dtype.type(level.floor / (level.floor + level.variance))
    out: Reals = shrunk * (y if level.frame is None else (y @ level.frame) @ level.frame.T)
    return out


def _add_residual(level: _Level, y: Reals, out: Reals) -> None:
    """Add the residual's part to out, without a temporary of its size."""
    factor = y.dtype.type(level.floor / (level.floor + level.variance))
    add_scaled(out, y if level.frame is None else (y @ level.frame) @ level.frame.T, factor)


def _mean(level: _Level, y: Reals, w: Reals, z: Reals) -> Reals:
    """Posterior mean from class weights and coordinates; overwrites z."""
    classes, q, dim = level.axes.shape
    axes, gain, z = level.axes, level.gain, z.reshape(len(y), classes, q)
    active, w_active = w.any(0), w
    if active.sum() <= classes // 2:
        axes, gain, z = axes[active], gain[active], z[:, active]
        w_active = w[:, active]
    shrink(z, gain, w_active)
    out: Reals = z.reshape(len(y), -1) @ axes.reshape(-1, dim)
    if level.means is None:
        if level.floor > 0:
            _add_residual(level, y, out)
        return out
    centre = w @ level.means
    out += centre
    _add_residual(level, y - centre, out)
    return out
