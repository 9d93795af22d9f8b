r"""Laws of the scores at a finite budget: normal where the variance exists, stable where not.

.. math::
    S_c = \frac1N\sum_{i=1}^N w(t_i)\,e_c(t_i, \varepsilon_i), \qquad
    \sqrt N\,\big(S - S_y - (m - m_y)\big) \to N(0, C)

Symbols are those of :mod:`hierdiff.theory.zero_shot.scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, count, finite_reals, memory, reals, sound, whole
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses
from hierdiff.theory.zero_shot.inputs import (
    checked_data,
    checked_labels,
    log_probabilities,
    weights_at,
)
from hierdiff.theory.zero_shot.weightings import snr_at

__all__ = ["gaussian_moments", "normal_accuracy", "stable_accuracy"]

Floats: TypeAlias = NDArray[np.float64]


# eigenvalues of this share of the largest entry are rounding, of a sum of 1e9 numbers too
_ROUNDING = 1e-6


@checked(draws=count)
@sound
def normal_accuracy(
    mean: ArrayLike,
    covariance: ArrayLike,
    labels: ArrayLike,
    budget: int,
    *,
    draws: int = 2000,
    seed: Seed = 0,
) -> Floats:
    r"""Probability of the right answer at a finite budget, from the moments of one sample.

    .. math:: P\Big(\min_{c \ne y} (S_c - S_y) > 0\Big), \qquad
        S - S_y \sim N\big(m - m_y,\; C / N\big)

    Parameters
    ----------
    mean : array [n, K]
        Expected weighted error of every class; a shift common to the classes is without effect.
    covariance : array [n, K, K]
        Of the weighted errors of one sample; diagonal if every class has samples of its own.
    labels : int array [n]
    budget : int
        Samples N, at least 1.
    draws : int
        Normal vectors for more than two classes, the same for every datum.
    seed : Seed
        Source of these.

    Returns
    -------
    array [n]

    Raises
    ------
    InvalidParameter
        If shapes do not agree, a label is out of range, the budget below 1, or the covariance has
        a direction of negative variance.

    Notes
    -----
    Validity: central limit theorem, N large at finite variance; for two Gaussian classes of one
    covariance at a fixed noise level, any N.  Not for the likelihood weight with unshared noise,
    see :func:`stable_accuracy`.

    Examples
    --------
    >>> normal_accuracy([[0.0, 1.0]], [np.eye(2)], [0], 2).round(6).tolist()
    [0.841345]
    """
    from scipy.stats import norm

    m = finite_reals("mean", mean, (None, None))
    n, classes = m.shape
    cov = finite_reals("covariance", covariance, (n, classes, classes))
    if classes < 2:
        raise InvalidParameter(f"mean has shape {m.shape}; give two classes or more")
    memory(f"draws = {draws} vectors of {classes - 1} numbers", 24.0 * draws * (classes - 1))
    y = checked_labels(labels, n, classes)
    if budget < 1:
        raise InvalidParameter(f"budget = {budget} must be >= 1 sample")
    rows = np.arange(n)
    others = np.stack([np.delete(np.arange(classes), k) for k in range(classes)])[y]
    own = cov[rows, y, y][:, None, None]
    cross = np.take_along_axis(cov[rows, y], others, 1)
    block = cov[rows[:, None, None], others[:, :, None], others[:, None, :]]
    spread = (block - cross[:, :, None] - cross[:, None, :] + own) / budget
    gap = np.take_along_axis(m, others, 1) - m[rows, y][:, None]
    values, vectors = np.linalg.eigh(spread)
    if n and values.min() * budget < -_ROUNDING * np.abs(cov).max():
        datum = int(values.min(axis=1).argmin())
        raise InvalidParameter(
            f"covariance[{datum}] gives a difference of classes the variance "
            f"{values[datum].min() * budget:.3g}; give a positive semidefinite matrix"
        )
    if classes == 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = gap[:, 0] / np.sqrt(spread[:, 0, 0])
        return np.asarray(norm.cdf(np.nan_to_num(ratio)))
    root = vectors * np.sqrt(np.maximum(values, 0))[:, None]
    normals = generator(seed).standard_normal((draws, classes - 1))
    return np.array([
        ((normals @ one.T + shift) > 0).all(axis=1).mean()
        for one, shift in zip(root, gap, strict=True)
    ])  # fmt: skip


@checked(dimension=count, draws=count)
def stable_accuracy(
    log_density: ArrayLike,
    labels: ArrayLike,
    dimension: int,
    *,
    draws: int = 2000,
    seed: Seed = 0,
) -> Floats:
    r"""Probability of the right answer with the likelihood weight and *unshared* noise.

    .. math:: S_c \to -2\log p(x_0 \mid c) + \pi D\, Z_c + \mathrm{const}, \qquad
        Z_c \sim S_{\alpha = 1}(\beta = 1)

    The weighted error of a sample has the tail :math:`P(w e > x) \to 2D/x`: as t tends to 0,
    :math:`w \to 8/\pi^2t^3` and :math:`e \to |\varepsilon|^2 \pi^2t^2/4`.  Its mean does not exist,
    and the mean of N samples is as wide as one of them.

    Parameters
    ----------
    log_density : array [n, K]
        Log p(x0 | c), nats.
    labels : int array [n]
    dimension : int
        Numbers D in a datum.
    draws : int
        Stable vectors, the same for every datum.
    seed : Seed
        Source of these.

    Returns
    -------
    array [n]

    Raises
    ------
    InvalidParameter
        For NaN, a label out of range, or numbers of draws or dimensions below 1.

    Notes
    -----
    Validity: N large.  It does not depend on N: more samples do not help.

    Examples
    --------
    >>> stable_accuracy([[0.0, -9.0]], [0], dimension=1, draws=20000).round(1).tolist()
    [0.9]
    """
    log_p = log_probabilities("log_density", log_density)
    memory(f"draws = {draws} for {log_p.size} scores", 24.0 * draws * log_p.size)
    reals("dimension", float(dimension))
    y = checked_labels(labels, *log_p.shape)
    rng = generator(seed)
    # Chambers, Mallows and Stuck for alpha = beta = 1
    angle = np.pi * (rng.random((draws, log_p.shape[1])) - 0.5)
    wait = rng.standard_exponential(angle.shape)
    half = np.pi / 2 + angle
    z = 2 / np.pi * (half * np.tan(angle) - np.log(np.pi / 2 * wait * np.cos(angle) / half))
    score = -2 * log_p[:, None] + np.pi * dimension * z
    return np.asarray((score.argmin(axis=2) == y[:, None]).mean(axis=1))


# beyond 2000 nodes the quadrature is no better, and its rule takes minutes
@checked(nodes=partial(whole, low=1, high=2000))
@sound
def gaussian_moments(
    data_model: GaussianClasses,
    x0: ArrayLike,
    weight: Callable[[Floats], Floats],
    *,
    nodes: int = 400,
) -> tuple[Floats, Floats]:
    r"""Mean and covariance over :math:`(t, \varepsilon)` of the weighted errors of one sample.

    .. math:: m_c = \int_0^1 w\,E e_c\,dt, \qquad
        C = \int_0^1 w^2 \big(E e\, E e^T + \mathrm{Cov}\,e\big) dt - m m^T

    both for the errors relative to the first class, :math:`e_c - e_0`.

    Parameters
    ----------
    data_model : GaussianClasses
    x0 : array [n, D]
    weight : callable
        Weight as a function of t.
    nodes : int
        Gauss-Legendre nodes in t, 1 to 2000.

    Returns
    -------
    mean : array [n, K]
    covariance : array [n, K, K]
        For :func:`normal_accuracy` with shared noise.

    Raises
    ------
    InvalidParameter
        For data of another shape, NaN, or a weight that is no finite function of t.

    Notes
    -----
    Validity: exact up to the quadrature, noise shared by the classes.  Relative to a class, because
    with the likelihood weight the moments of a single class do not exist.

    Examples
    --------
    With the likelihood weight the mean is minus twice the log-ratio:

    >>> from hierdiff.theory.zero_shot.weightings import weighting
    >>> data_model = GaussianClasses([[0.0], [1.0]], [[1.0]])
    >>> mean, _ = gaussian_moments(data_model, [[2.0]], weighting("vdm"))
    >>> mean.round(6).tolist(), data_model.log_density([[2.0]]).round(6).tolist()
    ([[0.0, -3.0]], [[-2.918939, -1.418939]])
    """
    x, dx = np.polynomial.legendre.leggauss(nodes)
    t, dt = (x + 1) / 2, dx / 2
    w = weights_at(weight, t)
    x0 = checked_data(x0, data_model.shape)
    n, classes = len(x0), data_model.n_classes
    mean, second = np.zeros((n, classes)), np.zeros((n, classes, classes))
    for share, u, snr in zip(dt, w, snr_at(t), strict=True):
        if u == 0:
            continue
        e = data_model.expected_error(x0, float(snr))
        e = e - e[:, :1]
        cov = data_model.error_covariance(x0, float(snr))
        cov = cov - cov[:, :1] - cov[:, :, :1] + cov[:, :1, :1]
        mean += share * u * e
        second += share * u**2 * (e[:, :, None] * e[:, None, :] + cov)
    return mean, second - mean[:, :, None] * mean[:, None, :]
