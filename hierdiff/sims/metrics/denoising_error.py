r"""Denoising errors of every class, and the scores and accuracies that they give.

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
n, N, K                data, samples :math:`(t, \varepsilon)` per datum, classes
:math:`e_c`            error :math:`|x_0 - \hat x_c(x_t)|^2`, the denoiser conditioned on class c
t                      time of a sample, uniform in (0, 1]; SNR :math:`\gamma = \cot^2(\pi t/2)`
:math:`w(t)`           weight of an error
=====================  =======================================================================

A pool holds the errors [n, N, K] and the times [n, N].  The score of class c at any budget up to N
is a sum over the second axis, so that all weights and budgets see the same samples:

.. math:: S_c = \frac1N \sum_i w(t_i)\, e_c(t_i, \varepsilon_i)

The same answer may need fewer of them: stages that keep the k best classes, and paired t-tests.
Both count the errors that had to be computed; a *call* is one denoising of one noisy datum under
one class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import checked, reals, unchecked
from hierdiff.errors import InvalidParameter
from hierdiff.noise import has_snr
from hierdiff.seeds import Seed, generator
from hierdiff.theory.zero_shot.weightings import snr_at

__all__ = [
    "Decision",
    "paired_t_pruning",
    "staged_elimination",
]

Floats: TypeAlias = NDArray[np.float64]

_LARGEST = 1e100  # sums of squares over samples stay finite
_CHUNK = 1 << 21  # random numbers held at a time
_FIRST_TIME = 1e-3
"""The first of the 1,000 times on which networks are trained; no network has seen those below."""


@dataclass(frozen=True, eq=False)
class ErrorPool:
    """Errors [n, N, K] and their times: [n, N] if the classes share them, else [n, N, K]."""

    t: Floats
    errors: Floats


class HasErrors(Protocol):
    """Data with classes whose denoising errors are computed for all classes at once."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: tuple[int, ...] | None = None, dtype: DTypeLike = np.float64,
    ) -> Floats:  # fmt: skip
        """Denoising errors [n, classes]."""


@dataclass(frozen=True, eq=False)
class ClassErrors:
    """Denoising errors of any conditional diffusion model, class by class.

    Parameters
    ----------
    model : DiffusionModel
        With Gaussian noise; ``model.given(c)`` is the model conditioned on class c.
    n_classes : int

    Notes
    -----
    Validity: the channel is that of the SNR, whatever the schedule of the model.  Below the lowest
    SNR of the schedule the model is evaluated at the lowest.  A network is not evaluated at times
    below 1e-3, where it was not trained: there the noisy datum itself is the estimate of every
    class, so that such samples decide nothing.
    """

    model: Any
    n_classes: int

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: Sequence[int] | None = None, dtype: DTypeLike = np.float64,
    ) -> Floats:  # fmt: skip
        """Denoising errors [n, classes]; ``dtype`` is that of the noisy data."""
        wanted = range(self.n_classes) if classes is None else classes
        return errors_by_class(self.denoise, x0, noise, snr, wanted, dtype)

    def denoise(self, x_t: NDArray[Any], snr: Floats, label: Any) -> NDArray[Any]:
        """Posterior mean at the SNRs [n] given one class, or one per datum."""
        low, high = (float(self.model.noise.snr(t)) for t in (1.0, self._first))
        level = self.model.noise.level(np.clip(snr, low, high))
        found = np.asarray(self.model.given(label).denoise(x_t, level))
        if found.shape != x_t.shape:
            raise InvalidParameter(
                f"{type(self.model).__name__}.denoise gave an array of shape {found.shape} for x_t "
                f"of shape {x_t.shape}; it must be E[x0 | x_t], of that shape"
            )
        beyond = (snr > high).reshape(-1, *(1,) * (x_t.ndim - 1))
        return np.where(beyond, x_t, found)

    @property
    def _first(self) -> float:
        return _FIRST_TIME if self.model.source == "network" else 0.0


def errors_by_class(
    denoise: Callable[[NDArray[Any], Floats, int], NDArray[Any]], x0: ArrayLike, noise: ArrayLike,
    snr: ArrayLike, classes: Sequence[int], dtype: DTypeLike = np.float64,
) -> Floats:  # fmt: skip
    """Errors [n, classes] of ``denoise(x_t, snr, class)`` for the noisy data made of x0 and noise.

    The noisy data are variance-preserving, of the precision ``dtype``; the errors are float64.
    """
    x, eps = np.asarray(x0, float), np.asarray(noise, float)
    ratio = np.broadcast_to(np.asarray(snr, float), (len(x),))
    wide = ratio.reshape(-1, *(1,) * (x.ndim - 1))
    x_t = np.sqrt(wide / (1 + wide)) * x + np.sqrt(1 / (1 + wide)) * eps
    columns = []
    for c in classes:
        guess = denoise(x_t.astype(dtype), ratio, c)
        columns.append(((x - guess) ** 2).reshape(len(x), -1).sum(axis=1))
        if not np.isfinite(columns[-1]).all():  # NaN would win every argmin
            raise InvalidParameter(f"the denoiser returned NaN or inf for class {c}")
    return np.stack(columns, axis=1)


def class_errors(model: Any, n_classes: int) -> HasErrors:
    """The denoising errors of a conditional model, in the fastest form that it has.

    Parameters
    ----------
    model : DiffusionModel with ``given(label)``, or data with exact errors of all classes
    n_classes : int
        Classes of the data.

    Returns
    -------
    HasErrors

    Raises
    ------
    InvalidParameter
        If the model cannot be conditioned, its noise is not Gaussian, or it has other classes.

    Notes
    -----
    Validity: ``errors`` of the model's class are used where that class defines ``denoise`` too, or
    has none: who overrides ``denoise`` alone is measured by that denoiser.

    Examples
    --------
    >>> from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses
    >>> data = GaussianClasses([[0.0], [1.0]], [[1.0]])
    >>> class_errors(data, 2) is data
    True
    """
    name = type(model).__name__
    own = getattr(model, "n_classes", n_classes)
    if own != n_classes:
        raise InvalidParameter(
            f"{name} has {own} classes and the data {n_classes}; give data of the model"
        )
    errors, denoise = (_defines(model, method) for method in ("errors", "denoise"))
    if errors is not None and denoise in (None, errors):
        found: HasErrors = model
        return found
    if not callable(getattr(model, "given", None)):
        raise InvalidParameter(
            f"{name} has no method given(label); errors of denoising classify with a model that "
            "can be conditioned on a class"
        )
    noise = getattr(model, "noise", None)
    if not has_snr(noise):
        raise InvalidParameter(
            f"{name} has {getattr(noise, 'name', 'no')} noise; squared errors are a likelihood "
            "under Gaussian noise: give a model with GaussianNoise"
        )
    return ClassErrors(model, n_classes)


def _defines(model: Any, name: str) -> type | None:
    """The class that defines a method."""
    return next((kind for kind in type(model).__mro__ if name in vars(kind)), None)


def error_pool(
    model: HasErrors, x0: Floats, samples: int, seed: Seed, *, shared: bool = True,
    times: Callable[[Floats], Floats] | None = None, dtype: DTypeLike = np.float32,
) -> ErrorPool:  # fmt: skip
    """Errors with times drawn uniformly and noise shared by the classes, or of their own.

    Parameters
    ----------
    model : with n_classes and errors(x0, noise, snr)
    x0 : array [n, ...]
    samples : int
        Samples N per datum, at least 1.
    seed : Seed
    shared : bool
        Whether all classes see the same time and noise.
    times : callable, optional
        Map of uniform numbers in (0, 1] to times, e.g. into a band.
    dtype : float32 or float64
        Precision of the denoisers; sums over classes are in float64.

    Returns
    -------
    ErrorPool

    Raises
    ------
    InvalidParameter
        If ``samples`` < 1.
    """
    if samples < 1:
        raise InvalidParameter(f"budget = {samples} must be >= 1 sample per datum")
    rng, n, classes = generator(seed), len(x0), model.n_classes
    t = 1 - rng.random((n, samples) if shared else (n, samples, classes))
    t = t if times is None else times(t)
    out = np.empty((n, samples, classes))
    step = max(1, _CHUNK // (samples * x0[0].size))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        data = np.repeat(x0[rows], samples, axis=0)
        if shared:
            noise = rng.standard_normal(data.shape, dtype=np.float32)
            found = model.errors(data, noise, snr_at(t[rows].ravel()), dtype=dtype)
            out[rows] = found.reshape(-1, samples, classes)
            continue
        for c in range(classes):
            noise = rng.standard_normal(data.shape, dtype=np.float32)
            ratio = snr_at(t[rows, :, c].ravel())
            found = model.errors(data, noise, ratio, classes=(c,), dtype=dtype)
            out[rows, :, c] = found.reshape(-1, samples)
    return ErrorPool(t, out)


def stratified_pool(
    model: HasErrors, x0: Floats, strata: int, seed: Seed, dtype: DTypeLike = np.float32
) -> ErrorPool:
    """Errors at one time per stratum, each with a noise and its negative: for accurate means."""
    rng, n = generator(seed), len(x0)
    t = (np.arange(strata) + 1 - rng.random((n, strata))) / strata
    t = np.repeat(t, 2, axis=1)
    out = np.empty((n, 2 * strata, model.n_classes))
    step = max(1, _CHUNK // (2 * strata * x0[0].size))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        data = np.repeat(x0[rows], 2 * strata, axis=0)
        noise = np.repeat(rng.standard_normal(data[::2].shape, dtype=np.float32), 2, axis=0)
        noise[1::2] *= -1
        found = model.errors(data, noise, snr_at(t[rows].ravel()), dtype=dtype)
        out[rows] = found.reshape(-1, 2 * strata, model.n_classes)
    return ErrorPool(t, out)


def prefix_scores(
    pool: ErrorPool, weight: Callable[[Floats], Floats], budgets: Sequence[int]
) -> Floats:
    """Scores [budgets, n, K] of the first N samples for each N of ``budgets``."""
    w = np.asarray(weight(pool.t))
    errors = pool.errors
    if w.ndim == 2:
        # what all classes share is taken out, so that nothing is lost to rounding
        errors, w = errors - errors.mean(axis=2, keepdims=True), w[..., None]
    ends = np.cumsum(w * errors, axis=1)
    return np.stack([ends[:, b - 1] / b for b in budgets])


def tie_split_accuracy(scores: Floats, labels: NDArray[np.intp]) -> Floats:
    """1 if the label has the smallest score [..., n, K], shared evenly among ties, else 0."""
    least = scores.min(axis=-1, keepdims=True)
    winners = scores == least
    own = np.take_along_axis(winners, labels.reshape(-1, 1), -1) if scores.ndim == 2 else (
        winners[..., np.arange(len(labels)), labels][..., None]
    )  # fmt: skip
    return np.asarray(own[..., 0] / winners.sum(axis=-1))


def moments(pool: ErrorPool, weight: Callable[[Floats], Floats]) -> tuple[Floats, Floats, Floats]:
    """Mean [n, K] and covariance [n, K, K] of weighted errors relative to the classes' mean.

    The third is the variance [n, K] of a class by itself, for noise that is not shared.
    """
    w = np.asarray(weight(pool.t))[..., None]
    common = pool.errors.mean(axis=2, keepdims=True)
    relative = w * (pool.errors - common)
    mean = relative.mean(axis=1)
    gap = relative - mean[:, None]
    cov = np.einsum("nik,nil->nkl", gap, gap) / pool.errors.shape[1]
    return mean, cov, (w * pool.errors).var(axis=1)


@dataclass(frozen=True, eq=False)
class Decision:
    """Answers and what they cost.

    Attributes
    ----------
    answer
        [n], the class.
    calls
        [n], denoiser calls of all classes together.
    """

    answer: NDArray[np.intp]
    calls: NDArray[np.intp]


@checked(scores=unchecked)
def staged_elimination(scores: ArrayLike, keep: Sequence[int], samples: Sequence[int]) -> Decision:
    """Keep the k best classes after each stage, by the mean of all samples so far.

    Parameters
    ----------
    scores : array [n, N, K]
        Weighted errors with shared noise.
    keep : sequence of int
        Classes kept after each stage, decreasing, the last 1.
    samples : sequence of int
        Samples per surviving class at the end of each stage, *cumulative* and increasing.

    Returns
    -------
    Decision

    Raises
    ------
    InvalidParameter
        If the schedule is not monotone, does not end with one class, or needs more samples than
        there are.

    Notes
    -----
    Validity: as published; with keep = (1,) it is the plain classifier.

    References
    ----------
    Li et al., arXiv 2303.16203.

    Examples
    --------
    >>> errors = np.array([[[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]]])
    >>> found = staged_elimination(errors, keep=(2, 1), samples=(1, 2))
    >>> found.answer.tolist(), found.calls.tolist()
    ([1], [5])
    """
    s = _checked_scores(scores)
    n, total, classes = s.shape
    schedule = list(zip(keep, samples, strict=False))
    steps = [classes, *keep]
    if (
        len(keep) != len(samples) or not schedule or keep[-1] != 1
        or any(a < b for a, b in zip(steps, keep, strict=False)) or min(keep) < 1
        or any(a >= b for a, b in zip([0, *samples], samples, strict=False))
        or samples[-1] > total
    ):  # fmt: skip
        raise InvalidParameter(
            f"keep = {tuple(keep)}, samples = {tuple(samples)} must decrease from {classes} classes"
            f" to 1 and increase up to {total} samples"
        )
    ends = np.cumsum(s - s.mean(axis=2, keepdims=True), axis=1)
    alive, calls, done = np.ones((n, classes), bool), np.zeros(n, np.intp), 0
    for kept, until in schedule:
        calls += alive.sum(axis=1) * (until - done)
        standing = np.where(alive, ends[:, until - 1], np.inf)
        order = standing.argsort(axis=1, kind="stable")
        alive = np.zeros_like(alive)
        np.put_along_axis(alive, order[:, :kept], True, axis=1)
        done = until
    return Decision(alive.argmax(axis=1), calls)


@checked(scores=unchecked)
def paired_t_pruning(
    scores: ArrayLike, *, p: float = 2e-3, min_scores: int = 20, max_scores: int | None = None
) -> Decision:
    """Drop a class once a paired t-test distinguishes it from the best one; stop when one is left.

    Parameters
    ----------
    scores : array [n, N, K]
        Weighted errors with shared noise.
    p : float
        Two-sided p-value below which a class is dropped; at 0 none ever is.
    min_scores : int
        Samples before the first test, at least 2.
    max_scores : int, optional
        Samples after which the best class is the answer; default N.

    Returns
    -------
    Decision

    Raises
    ------
    InvalidParameter
        For p outside [0, 1), or numbers of samples that do not fit.

    Notes
    -----
    Validity: algorithm 1 of the reference; the test is repeated after every sample, so the chance
    to drop the best class is larger than ``p``.

    References
    ----------
    Clark and Jaini, arXiv 2303.15233, algorithm 1 (min_scores 20, p 2e-3, max_scores 2000).

    Examples
    --------
    >>> errors = np.random.default_rng(0).normal([0.0, 0.1, 9.0], 1.0, (1, 200, 3))
    >>> found = paired_t_pruning(errors)
    >>> found.answer.tolist(), found.calls.tolist()[0] < 600
    ([0], True)
    """
    s = _checked_scores(scores)
    n, most, classes = s.shape
    last = most if max_scores is None else max_scores
    if not 0 <= p < 1 or not 2 <= min_scores <= last <= most:
        raise InvalidParameter(
            f"p = {p}, min_scores = {min_scores}, max_scores = {last} must obey 0 <= p < 1 and"
            f" 2 <= min_scores <= max_scores <= {most} samples"
        )
    s = s - s.mean(axis=2, keepdims=True)
    alive, calls = np.ones((n, classes), bool), np.zeros(n, np.intp)
    total, product = np.zeros((n, classes)), np.zeros((n, classes, classes))
    rows = np.arange(n)
    for i in range(last):
        rows = rows[alive[rows].sum(axis=1) > 1]
        if not rows.size:
            break
        calls[rows] += alive[rows].sum(axis=1)
        total[rows] += s[rows, i]
        product[rows] += s[rows, i, :, None] * s[rows, i, None, :]
        if i + 1 >= min_scores:
            alive[rows] &= ~_worse(total[rows], product[rows], alive[rows], i + 1, p)
    return Decision(np.where(alive, total, np.inf).argmin(axis=1), calls)


def _worse(
    total: Floats, product: Floats, alive: NDArray[Any], count: int, p: float
) -> NDArray[Any]:
    """Classes [n, K] that a paired t-test distinguishes from the best one."""
    from scipy import stats  # takes half a second to import

    rows = np.arange(len(total))
    best = np.where(alive, total, np.inf).argmin(axis=1)
    gap = total - total[rows, best][:, None]
    square = (
        np.einsum("nkk->nk", product) - 2 * product[rows, best] + product[rows, best, best][:, None]
    )
    variance = np.maximum(square - gap**2 / count, 0.0) / (count - 1)
    cut = stats.t.isf(p / 2, count - 1)
    if not np.isfinite(cut):  # p too small for any test to reach
        return np.zeros(gap.shape, bool)
    out: NDArray[Any] = (gap > 0) & (gap > cut * np.sqrt(variance * count))
    return out


def _checked_scores(scores: ArrayLike) -> Floats:
    s = reals("scores", scores)
    if s.ndim != 3 or min(s.shape) < 1:
        raise InvalidParameter(
            f"scores of shape {s.shape} must be finite and [n, N, K], with at least one sample"
        )
    if np.abs(s).max() > _LARGEST:
        raise InvalidParameter(f"scores reach {np.abs(s).max():.3g}; give numbers below 1e100")
    return s
