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

Where the means vanish, the classes share :math:`|x|^2` and only :math:`\sum_i h_{ki}z_{ki}^2` is
computed.  With means, differences :math:`x-m_k` are formed first, class by class, because squares
of a common offset would cancel; everything is relative to the mean of the mixture.  The results
therefore follow a shift of data and means to the rounding of the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from hierdiff.checks import array, checked, memory, unchecked
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture._kernels import add_scaled, energies, shrink
from hierdiff.theory.mixture.time_change import positive_level, positive_scale

__all__ = ["class_posterior", "denoise", "jacobian", "jacobian_spectrum", "log_density", "score"]

Reals: TypeAlias = NDArray[Any]  # float64, or float32 when the data are float32

_BLOCK = 1 << 25  # entries of the coordinate array held at a time
_DIRECT = 1 << 20  # entries of the differences x - m_k held at a time: they stay in the caches
# energies beyond which their differences lose digits that the data have (1e-8 nats in float64,
# 1e-3 in float32), so that those rows are computed from projections instead
_ENERGY = {np.dtype(np.float64): 1e8, np.dtype(np.float32): 1e4}
_SINGLE = (1e-6, 1e6)  # noise levels whose squares and inverses float32 holds with room
_NEGLIGIBLE = 1e-30  # weights below change no digit, and denormals are slow

# sigma, scale and x are looked at by `_task`, which knows the shape that x must have
_public = checked(x=unchecked, sigma=unchecked, scale=unchecked)


@_public
def class_posterior(
    mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0
) -> Reals:
    r"""Posterior of the class, :math:`w_k = p(k \mid x_t)`.

    Parameters
    ----------
    mixture : LowRankMixture
        The model of the data.
    x : array [n, D]
        Noisy data :math:`x_t`; float32 gives float32, computed in it if the means vanish.
    sigma : float
        Noise level relative to the signal, in [1e-140, 1e140].
    scale : float
        :math:`s_t` in the same range.

    Returns
    -------
    array [n, K]
        Rows sum to one.

    Raises
    ------
    InvalidParameter
        For sigma or scale out of range, wrong shape, NaN, :math:`|x|^2/\sigma^2` beyond the range
        of floats.

    Notes
    -----
    Validity: exact for any mixture, to the rounding of the data: an offset common to data and means
    is without effect.  In float32 the log-odds carry a relative error of 1e-7.

    Examples
    --------
    >>> mixture = LowRankMixture([[[1.0], [0.0]], [[0.0], [1.0]]])
    >>> class_posterior(mixture, [[2.0, 1.0]], 1.0).round(6)
    array([[0.679179, 0.320821]])
    """
    task = _task(mixture, x, sigma, scale)
    return task.out(np.concatenate([_softmax(_joint(task, y)[0]) for y in task.blocks()]))


@_public
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
    task = _task(mixture, x, sigma, scale)
    parts = []
    for y in task.blocks():
        joint, _, shared = _joint(task, y, shared=True)
        parts.append(shared + logsumexp(joint, axis=1))
    return task.out(np.concatenate(parts) - mixture.dim * np.log(task.scale))


@_public
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
    task = _task(mixture, x, sigma, scale)
    parts = []
    for y in task.blocks():
        joint, z, _ = _joint(task, y)
        parts.append(_mean(task.level, y, _softmax(joint), z))
    mean: Reals = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if task.level.means is not None:
        mean += task.centre
    return task.out(mean)


@_public
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
    Validity: exact for any mixture; computed from the precisions of the classes, so nothing cancels
    at small noise: the error is the rounding of x times the precision of the direction.

    Examples
    --------
    >>> score(LowRankMixture([np.zeros((1, 0))]), [[3.0]], 1.0, scale=2.0)
    array([[-0.75]])
    """
    task = _task(mixture, x, sigma, scale)
    parts = []
    for y in task.blocks():
        joint, z, _ = _joint(task, y)
        parts.append(_pull(task.level, y, _softmax(joint), z))
    return task.out(np.concatenate(parts) / task.scale)


@_public
def jacobian(mixture: LowRankMixture, x: ArrayLike, sigma: float, *, scale: float = 1.0) -> Reals:
    r"""Jacobian of the denoiser, :math:`\partial D/\partial x_t`, symmetric.

    .. math::
        s\,\partial D/\partial x_t = \mathrm{Cov}(x_0|x_t)/v = \sum_k w_k S_k(S_k+v)^{-1}
            + v \sum_k w_k (g_k - g)(g_k - g)^T,
        \qquad g_k = \nabla\log p(x \mid k), \quad g = \sum_k w_k g_k .

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
    task = _task(mixture, x, sigma, scale)
    level, y, dim = task.level, task.y, mixture.dim
    classes, q, _ = level.axes.shape
    memory(f"a Jacobian [n, D, D] of n = {len(y)}, D = {dim} and K = {classes} classes",
           8.0 * len(y) * dim * (dim + 2 * classes))  # fmt: skip
    joint, z, _ = _joint(task, y)
    w, z = _softmax(joint), z.reshape(len(y), classes, q)
    # the classes' scores, without what all of them share
    scores = np.einsum("nkq,kqd->nkd", z * level.pull, level.axes, optimize=True)
    means = np.zeros((1, dim)) if level.means is None else level.means
    inside = _inside(level, y[:, None, :] - means)
    scores -= inside * (level.rest / (level.floor + level.variance))[:, None]
    scores += (means - _inside(level, means)) / level.variance
    scores -= np.einsum("nk,nkd->nd", w, scores)[:, None, :]
    scores *= np.sqrt(w * level.variance)[:, :, None]
    out: Reals = np.matmul(scores.transpose(0, 2, 1), scores)
    rows = level.axes.reshape(-1, dim)
    for i, weights in enumerate((w[:, :, None] * level.gain).reshape(len(y), -1)):
        out[i] += (rows.T * weights) @ rows
    out += level.kept * _inside(level, np.eye(dim, dtype=y.dtype))
    return task.out(out / task.scale)


@_public
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
    sigma, scale = positive_level(sigma), positive_scale(scale)
    y = _matrix(mixture, x)
    small, frame, centre = mixture.compress()
    # in float64: the centre would take the digits of single precision
    shifted = (y.astype(np.float64) / scale - centre) @ frame
    inner = jacobian(small, shifted, sigma)
    outside = 0.0
    if mixture.residual == "ambient":
        outside = mixture.delta**2 / (mixture.delta**2 + sigma**2)
    out = np.full(y.shape, outside)
    out[:, : small.dim] = np.linalg.eigvalsh(inner)
    descending: Reals = np.sort(out, axis=1)[:, ::-1] / scale
    return descending.astype(y.dtype)


@dataclass(frozen=True, eq=False)
class _Level:
    """A mixture at one noise level, in the precision of the computation."""

    axes: Reals  # [K, q, D]
    gap: Reals  # h, [K, q]
    gain: Reals  # v h, [K, q]
    pull: Reals  # precision of the residual, if the class has any, minus that of its axes, [K, q]
    precision: Reals  # 1 / (mu + v), [K, q]
    rest: Reals  # 1 for classes whose axes leave directions to the residual, else 0, [K]
    frame: Reals | None
    constants: Reals  # what log w_k holds apart from x, relative to ``base``, [K]
    base: float
    means: Reals | None  # m_k less the mean of the mixture, None if all m_k are zero
    floor: float
    variance: float

    @property
    def kept(self) -> float:
        """Tau / (tau + v), what the residual's prior leaves of the noisy datum."""
        return self.floor / (self.floor + self.variance)


def _level(
    mixture: LowRankMixture, sigma: float, dtype: np.dtype[Any], centre: Reals | None
) -> _Level:
    s, v = mixture.spectrum, sigma**2
    # one quotient after the other: the product of two small precisions would underflow
    ratio = (s.eigenvalues - s.floor) / (s.eigenvalues + v)
    gap, gain = ratio / (s.floor + v), ratio * (v / (s.floor + v))
    precision = 1 / (s.eigenvalues + v)
    rest = (s.counts < s.support).astype(float)
    pull = np.where(rest[:, None] > 0, gap, -precision)
    # log-determinants relative to the largest variance, whose logarithm all classes share: the
    # differences, which tell classes apart, keep their digits at any noise level
    largest, axes_of_each = s.eigenvalues.max() + v, s.eigenvalues.shape[1]
    volume = np.log((s.eigenvalues + v) / largest).sum(1)
    with np.errstate(divide="ignore"):
        constants = np.log(mixture.weights) - 0.5 * volume
    common = (mixture.dim - s.support) * np.log(v) + axes_of_each * np.log(largest)
    common += (s.support - axes_of_each) * np.log(s.floor + v) + mixture.dim * np.log(2 * np.pi)
    means = None if centre is None else mixture.means - centre
    axes, frame = (s.axes, s.frame) if dtype == np.float64 else s.single
    gap, gain, pull, precision, rest = (a.astype(dtype) for a in (gap, gain, pull, precision, rest))
    highest = float(constants.max())
    relative = (constants - highest).astype(dtype)
    return _Level(
        axes,
        gap,
        gain,
        pull,
        precision,
        rest,
        frame,
        relative,
        highest - 0.5 * common,
        means,
        s.floor,
        v,
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """Checked data at one noise level."""

    mixture: LowRankMixture
    sigma: float
    scale: float
    level: _Level
    y: Reals  # in units of the clean data, relative to the centre
    centre: Reals | None  # mean of the mixture; None if all means are zero
    dtype: np.dtype[Any]  # of the result

    def blocks(self) -> Iterator[Reals]:
        """Rows that are computed at a time."""
        classes, q, _ = self.level.axes.shape
        step = max(1, _BLOCK // (classes * q))
        return (self.y[start : start + step] for start in range(0, len(self.y), step))

    def exact(self) -> _Level:
        """The level in double precision."""
        if self.y.dtype == np.float64:
            return self.level
        return _level(self.mixture, self.sigma, np.dtype(np.float64), self.centre)

    def out(self, values: Reals) -> Reals:
        """In the precision of the data, once it is known to be finite there."""
        with np.errstate(over="ignore"):
            found: Reals = values.astype(self.dtype, copy=False)
        if not np.isfinite(found).all():
            raise InvalidParameter(
                f"sigma = {self.sigma:g} and scale = {self.scale:g} take the result beyond the"
                f" range of {self.dtype}; choose larger ones"
            )
        return found


def _matrix(mixture: LowRankMixture, x: ArrayLike) -> Reals:
    """Data [n, D] as they are; float32 stays float32."""
    y = array("x", x)
    if y.dtype != np.float32:
        y = y.astype(np.float64, copy=False)
    if y.ndim != 2 or y.shape[1] != mixture.dim or not len(y):
        raise InvalidParameter(
            f"x has shape {y.shape}; give a non-empty array [n, D = {mixture.dim}]"
        )
    # the sum is finite unless an entry is not, or it overflows: one pass instead of two
    with np.errstate(all="ignore"):
        clean = np.isfinite(y.sum()) or np.isfinite(y).all()
    if not clean:
        row = int(np.argmin(np.isfinite(y).all(1)))
        raise InvalidParameter(f"x[{row}] holds NaN or inf; drop or repair that datum")
    return y


def _task(mixture: LowRankMixture, x: ArrayLike, sigma: float, scale: float) -> _Task:
    """Check everything; centre the data, and choose the precision of the computation."""
    sigma, scale, y = positive_level(sigma), positive_scale(scale), _matrix(mixture, x)
    dtype, centre = y.dtype, None
    if mixture.means.any():
        centre = mixture.weights @ mixture.means
        y = (y if scale == 1 else y / scale) - centre  # float64, whatever the data
    else:
        if not _SINGLE[0] <= sigma <= _SINGLE[1]:
            y = y.astype(np.float64, copy=False)
        y = y if scale == 1 else y / y.dtype.type(scale)
    with np.errstate(over="ignore"):
        largest = float(np.vecdot(y, y).max())
    if not largest / sigma**2 < float(np.finfo(y.dtype).max) / 64:
        raise InvalidParameter(
            f"|x|^2 / sigma^2 = {largest / sigma**2:.3g} leaves the range of {y.dtype}; raise"
            " sigma, or give float64 data in smaller units"
        )
    level = _level(mixture, sigma, y.dtype, centre)
    return _Task(mixture, sigma, scale, level, y, centre, dtype)


def _joint(task: _Task, y: Reals, *, shared: bool = False) -> tuple[Reals, Reals, Reals]:
    """Log-joint of class and datum, coordinates z, and what all classes share if it is wanted."""
    level = task.level
    if level.means is not None:
        joint, z = _direct(level, y)
        return joint, z, np.full(len(y), level.base)
    classes, q, dim = level.axes.shape
    z = y @ level.axes.reshape(-1, dim).T
    joint = np.repeat(level.constants[None], len(y), axis=0)
    energies(z.reshape(-1, classes, q), level.gap, joint)
    common = _shared(level, y) if shared else np.zeros(len(y), y.dtype)
    # the energy of a class is its log-joint without constants, or what the classes share
    possible = np.where(np.isneginf(level.constants), 0, level.constants)
    high = (joint - possible).max(axis=1)
    far = np.flatnonzero(np.maximum(high, np.abs(common)) > _ENERGY[y.dtype])
    if far.size:
        exact = task.exact()
        found, _ = _direct(exact, y[far].astype(np.float64))
        top = found.max(axis=1, keepdims=True)
        joint[far], common[far] = found - top, top[:, 0] + level.base
    return joint, z, common


def _direct(level: _Level, y: Reals) -> tuple[Reals, Reals]:
    r"""Log-joint without ``base``, and coordinates, from differences and projections.

    .. math:: (x-m)^T(S+v)^{-1}(x-m) = \sum_i \frac{z_i^2}{\mu_i+v}
        + \frac{|\Pi(x-m) - Qz|^2}{\tau+v} + \frac{|(1-\Pi)(x-m)|^2}{v}

    All terms are positive, so nothing cancels.
    """
    classes, q, dim = level.axes.shape
    z, joint = np.empty((len(y), classes, q)), np.empty((len(y), classes))
    step = max(1, _DIRECT // dim)
    for start in range(0, len(y), step):
        rows = slice(start, start + step)
        for k in range(classes):
            gap = y[rows] if level.means is None else y[rows] - level.means[k]
            z[rows, k] = gap @ level.axes[k].T
            quadratic = np.square(z[rows, k]) @ level.precision[k]
            if level.rest[k] or level.frame is not None:
                rest = gap - z[rows, k] @ level.axes[k]
                if level.frame is None:
                    quadratic += np.vecdot(rest, rest) / (level.floor + level.variance)
                else:
                    inside = rest @ level.frame
                    off = rest - inside @ level.frame.T
                    quadratic += np.vecdot(off, off) / level.variance
                    if level.rest[k]:
                        share = level.floor + level.variance
                        quadratic += np.vecdot(inside, inside) / share
            joint[rows, k] = level.constants[k] - 0.5 * quadratic
    return joint, z.reshape(len(y), -1)


def _shared(level: _Level, y: Reals) -> Reals:
    """Class-independent part of the log-joint."""
    inside = y if level.frame is None else y @ level.frame
    quadratic = np.vecdot(inside, inside) / (level.floor + level.variance)
    if level.frame is not None:
        off = y - inside @ level.frame.T
        quadratic += np.vecdot(off, off) / level.variance
    out: Reals = (-0.5 * quadratic + level.base).astype(y.dtype)
    return out


def _softmax(joint: Reals) -> Reals:
    """Normalise over classes in place."""
    joint -= joint.max(1, keepdims=True)
    np.exp(joint, out=joint)
    joint /= joint.sum(1, keepdims=True)
    joint[joint < _NEGLIGIBLE] = 0
    return joint


def _inside(level: _Level, y: Reals) -> Reals:
    """Part of y in the range of the residual, Pi y."""
    out: Reals = y if level.frame is None else (y @ level.frame) @ level.frame.T
    return out


def _mean(level: _Level, y: Reals, w: Reals, z: Reals) -> Reals:
    """Posterior mean, relative to the centre, from class weights and coordinates; overwrites z."""
    out = _along(level, w, z, level.gain)
    centre = None if level.means is None else w @ level.means
    if level.floor > 0:
        gap = y if centre is None else y - centre
        add_scaled(out, _inside(level, gap), y.dtype.type(level.kept))
    if centre is not None:
        out += centre
    return out


def _along(level: _Level, w: Reals, z: Reals, gain: Reals) -> Reals:
    """Sum over classes of w_k Q_k gain_k z_k, [n, D]; overwrites z."""
    classes, q, dim = level.axes.shape
    axes, z = level.axes, z.reshape(len(w), classes, q)
    active, w_active = w.any(0), w
    if active.sum() <= classes // 2:
        axes, gain, z = axes[active], gain[active], z[:, active]
        w_active = w[:, active]
    shrink(z, gain, w_active)
    out: Reals = z.reshape(len(w), -1) @ axes.reshape(-1, dim)
    return out


def _pull(level: _Level, y: Reals, w: Reals, z: Reals) -> Reals:
    r"""Score in units of the clean data; overwrites z.

    .. math:: -\sum_k w_k (S_k+v)^{-1}(x-m_k)
    """
    share = w * level.rest
    gap, rest = y, share.sum(axis=1, keepdims=True) * y
    if level.means is not None:
        gap, rest = y - w @ level.means, rest - share @ level.means
    out = _along(level, w, z, level.pull)
    add_scaled(out, _inside(level, rest), y.dtype.type(-1 / (level.floor + level.variance)))
    if level.frame is not None:
        add_scaled(out, gap - _inside(level, gap), y.dtype.type(-1 / level.variance))
    return out
