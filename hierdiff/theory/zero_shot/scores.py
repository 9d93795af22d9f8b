r"""Denoising errors as a classifier: what it converges to, how fast, and when it does not.

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
:math:`e_c`            denoising error :math:`|x_0 - \hat x_c(x_t)|^2` with the class given
:math:`w(t)`           weight of an error, relative to x0
:math:`S_c`            score, mean of :math:`w(t)\,e_c` over N samples :math:`(t, \varepsilon)`
:math:`\gamma`         signal-to-noise ratio
K, N                   classes, samples
=====================  =======================================================================

.. math::
    \hat y = \arg\min_c S_c, \qquad S_c = \frac1N\sum_{i=1}^N w(t_i)\,e_c(t_i, \varepsilon_i),
    \qquad
    \log\frac{p(x_0 \mid c)}{p(x_0 \mid c')} = -\tfrac12\int_0^\infty d\gamma\,
    E_\varepsilon\big[e_c - e_{c'}\big].

So :math:`w = |\gamma'(t)|` is Bayes' rule, and every other weight is biased.  With noise shared by
the classes the difference of two scores has a finite variance; with noise of its own for each class
the likelihood weight has :math:`P(w e > x) \to 2D/x`, no mean, and never converges.  At a finite
budget the scores are normal where the variance exists, stable where it does not:

.. math::
    \sqrt N\,\big(S - S_y - (m - m_y)\big) \to N(0, C)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import special

from hierdiff.checks import (
    checked,
    count,
    finite_reals,
    frozen,
    level,
    memory,
    precision,
    probabilities,
    reals,
    sound,
    whole,
)
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses
from hierdiff.theory.zero_shot.inputs import (
    checked_data,
    checked_labels,
    log_probabilities,
    weights_at,
)
from hierdiff.theory.zero_shot.weightings import (
    Weight,
    snr_at,
    snr_slope,
)

__all__ = [
    "ClassModel",
    "LogRatio",
    "bayes_accuracy",
    "class_scores",
    "gaussian_moments",
    "log_ratio",
    "normal_accuracy",
    "stable_accuracy",
]

Floats: TypeAlias = NDArray[np.float64]


class ClassModel(Protocol):
    """Data with classes, and the exact denoiser of every class."""

    @property
    def n_classes(self) -> int:
        """Number of classes K."""

    @property
    def prior(self) -> Floats:
        """Probability of every class, [K]."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a datum."""

    def log_density(self, x0: ArrayLike) -> Floats:
        """Log p(x0 | c), [n, K]; a term that all classes share may be left out."""

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: tuple[int, ...] | None = None, dtype: DTypeLike = np.float64,
    ) -> Floats:  # fmt: skip
        """Denoising errors [n, classes] of the noisy data made of x0 and noise."""


@checked(t=level)
@sound
def class_scores(errors: ArrayLike, t: ArrayLike, weight: Weight) -> Floats:
    r"""Scores of all classes, :math:`S_c = \frac1N \sum_i w(t_i)\, e_{ic}`.

    Parameters
    ----------
    errors : array [n, N, K]
        Denoising errors of x0.
    t : array [n, N] or [n, N, K]
        Times of the samples; with a class axis if every class had samples of its own.
    weight : callable
        Weight as a function of t.

    Returns
    -------
    array [n, K]
        The smallest is the answer.

    Raises
    ------
    InvalidParameter
        If shapes do not agree, errors or times are no numbers or out of range, there is no
        sample, or the weights of a datum vanish at all of its times, so that all
        classes score zero.

    Notes
    -----
    Validity: as published (arXiv 2303.15233), with the weight relative to the error of x0; for the
    error of the noise divide the weight by the SNR.

    Examples
    --------
    >>> from hierdiff.theory.zero_shot import band
    >>> class_scores([[[1.0, 2.0], [3.0, 2.0]]], [[0.2, 0.8]], band(0.5, 1.0)).tolist()
    [[1.5, 1.0]]
    """
    e, times = finite_reals("errors", errors), np.asarray(t, float)
    if e.ndim != 3 or times.shape not in (e.shape, e.shape[:2]):
        raise InvalidParameter(
            f"errors of shape {e.shape} and times of shape {times.shape} must be [n, N, K] and"
            " [n, N] (or [n, N, K])"
        )
    if e.shape[1] < 1:
        raise InvalidParameter("budget = 0 samples give no score; use at least 1")
    w = weights_at(weight, times)
    silent = ~(w != 0).any(axis=1)
    if silent.any():
        raise InvalidParameter(
            f"the weights of datum {int(np.argwhere(silent)[0][0])} vanish at all of its"
            f" {e.shape[1]} times; raise the budget or draw times where the weight is positive"
        )
    out: Floats = ((w if w.ndim == 3 else w[..., None]) * e).mean(axis=1)
    return out


@dataclass(frozen=True)
class LogRatio:
    """Log-likelihoods relative to the first class by denoising errors, with standard errors.

    Attributes
    ----------
    estimate, error
        [n, K], nats; the first column is zero.
    """

    estimate: Floats
    error: Floats

    def __post_init__(self) -> None:
        for name in ("estimate", "error"):
            object.__setattr__(self, name, frozen(reals(name, getattr(self, name), ndim=2)))
        if self.estimate.shape != self.error.shape or (self.error < 0).any():
            raise InvalidParameter(
                f"error of shape {self.error.shape} must be numbers >= 0 of the shape of the "
                f"estimate, {self.estimate.shape}"
            )


@checked(dtype=precision)
@sound
def log_ratio(
    data_model: ClassModel,
    x0: ArrayLike,
    *,
    seed: Seed,
    levels: int = 64,
    replicas: int = 32,
    weight: Weight = snr_slope,
    dtype: DTypeLike = np.float64,
) -> LogRatio:
    r"""Log p(x0 | c) / p(x0 | 0) from denoising errors alone.

    .. math:: \log\frac{p(x_0 \mid c)}{p(x_0 \mid c')} = -\tfrac12\int_0^1 dt\,|\gamma'(t)|\,
        E_\varepsilon\big[e_c - e_{c'}\big]

    Parameters
    ----------
    data_model : ClassModel
        RHM with Gaussian emissions, Gaussian classes, or anything with exact class denoisers.
    x0 : array [n, ...]
        Clean data.
    seed : Seed
        Source of randomness.
    levels : int
        Strata of t; each replica has one time in each of them.
    replicas : int
        Independent repetitions, at least 2, from which the errors come.
    weight : callable
        The identity holds for the default alone.
    dtype : float64 or float32
        Precision of the denoisers.

    Returns
    -------
    LogRatio

    Raises
    ------
    InvalidParameter
        If ``levels`` < 1 or ``replicas`` < 2, or the data have another shape.

    Notes
    -----
    Validity: unbiased for any data model whose classes share their support; ``error`` is Student's
    with ``replicas`` - 1 degrees of freedom.

    References
    ----------
    The I-MMSE relation in pointwise form; Kong et al., arXiv 2302.03792.

    Examples
    --------
    >>> from hierdiff.theory import GaussianClasses
    >>> data_model = GaussianClasses([[0.0], [1.0]], [[1.0]])
    >>> found = log_ratio(data_model, [[2.0]], seed=0)
    >>> exact = data_model.log_density([[2.0]])
    >>> bool(abs(found.estimate - exact + exact[:, :1])[0, 1] < 4 * found.error[0, 1])
    True
    """
    if levels < 1 or replicas < 2:
        raise InvalidParameter(f"levels = {levels} and replicas = {replicas} must be >= 1 and >= 2")
    x, rng = checked_data(x0, tuple(data_model.shape)), generator(seed)
    # data, noise, and what the denoisers make of both
    memory(f"levels = {levels} for {len(x)} data", 32.0 * levels * x.size)
    memory(
        f"replicas = {replicas} of {len(x)} data", 8.0 * replicas * len(x) * data_model.n_classes
    )
    n, repeated = len(x), np.repeat(x, levels, axis=0)
    found = np.empty((replicas, n, data_model.n_classes))
    for r in range(replicas):
        # 1 - random() is never zero
        t = (np.arange(levels) + 1 - rng.random((n, levels))) / levels
        noise = rng.standard_normal(repeated.shape)
        e = data_model.errors(repeated, noise, snr_at(t.ravel()), dtype=dtype)
        e = e.reshape(n, levels, -1)
        found[r] = -0.5 * (weights_at(weight, t)[..., None] * (e - e[..., :1])).mean(axis=1)
    return LogRatio(found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(replicas))


@checked
@sound
def bayes_accuracy(log_density: ArrayLike, prior: ArrayLike | None = None) -> Floats:
    r"""Probability that Bayes' answer is right, datum by datum: the ceiling of every classifier.

    .. math:: \max_c p(c \mid x_0), \qquad p(c \mid x_0) \propto p_c\, p(x_0 \mid c)

    Parameters
    ----------
    log_density : array [n, K]
        Log p(x0 | c), nats.
    prior : array [K], optional
        Default uniform.

    Returns
    -------
    array [n]
        Its mean over data is the ceiling, with less noise than the hit rate.

    Raises
    ------
    InvalidParameter
        For NaN, a datum that no class can have, or a prior that is no law of K classes.

    Notes
    -----
    Validity: exact if the log-densities are; the ceiling holds for data of the same data model.

    Examples
    --------
    >>> bayes_accuracy(np.log([[0.3, 0.1], [0.5, 0.5]])).round(12).tolist()
    [0.75, 0.5]
    """
    joint = log_p = log_probabilities("log_density", log_density)
    if prior is not None:
        p = probabilities("prior", prior, (log_p.shape[1],), axis=0)
        with np.errstate(divide="ignore"):
            joint = log_probabilities("log_density + log prior", log_p + np.log(p))
    return np.asarray(special.softmax(joint, axis=1).max(axis=1))


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
