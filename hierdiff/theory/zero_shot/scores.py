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
the likelihood weight has :math:`P(w e > x) \to 2D/x`, no mean, and never converges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import special

from hierdiff.checks import (
    checked,
    finite_reals,
    frozen,
    level,
    memory,
    precision,
    probabilities,
    reals,
    sound,
)
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.zero_shot.inputs import checked_data, log_probabilities, weights_at
from hierdiff.theory.zero_shot.weightings import (
    Weight,
    snr_at,
    snr_slope,
)

__all__ = ["ClassModel", "LogRatio", "bayes_accuracy", "class_scores", "log_ratio"]

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
