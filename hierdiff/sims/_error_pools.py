r"""Pools of denoising errors: everything a denoising classifier says is a function of them.

A pool holds, for n data, N samples of time and noise and K classes, the errors of x0 [n, N, K] and
the times [n, N]; scores of any weight at any budget up to N are sums over its second axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.zero_shot.weightings import snr_at

__all__ = [
    "ConditionalDenoiser",
    "DenoiserErrors",
    "ErrorPool",
    "credit",
    "moments",
    "pool_of",
    "prefix_scores",
    "stratified_pool",
]

Floats: TypeAlias = NDArray[np.float64]

_CHUNK = 1 << 21  # random numbers held at a time


@dataclass(frozen=True, eq=False)
class ErrorPool:
    """Errors [n, N, K] and their times: [n, N] if the classes share them, else [n, N, K]."""

    t: Floats
    errors: Floats


class HasErrors(Protocol):
    """What a pool is made of."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: tuple[int, ...] | None = None, dtype: DTypeLike = np.float64,
    ) -> Floats:  # fmt: skip
        """Denoising errors [n, classes]."""


class ConditionalDenoiser(Protocol):
    """A denoiser that is told the class: exact, or a network."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""

    @property
    def source(self) -> str:
        """What answers: "theory", "simulation" or "network"."""

    def denoise(self, x_t: NDArray[Any], snr: NDArray[Any], label: NDArray[Any]) -> NDArray[Any]:
        """E[x0 | x_t, class] of variance-preserving x_t, in its shape; snr and label are [n]."""


@dataclass(frozen=True, eq=False)
class DenoiserErrors:
    """Errors of any conditional denoiser, class by class."""

    model: ConditionalDenoiser

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.model.n_classes

    def errors(
        self, x0: ArrayLike, noise: ArrayLike, snr: ArrayLike, *,
        classes: Sequence[int] | None = None, dtype: DTypeLike = np.float64,
    ) -> Floats:  # fmt: skip
        """Denoising errors [n, classes]; ``dtype`` is that of the noisy data."""
        x, eps = np.asarray(x0, float), np.asarray(noise, float)
        ratio = np.broadcast_to(np.asarray(snr, float), (len(x),))
        wide = ratio.reshape(-1, *(1,) * (x.ndim - 1))
        x_t = np.sqrt(wide / (1 + wide)) * x + np.sqrt(1 / (1 + wide)) * eps
        columns = []
        for c in range(self.n_classes) if classes is None else classes:
            guess = self.model.denoise(x_t.astype(dtype), ratio, np.full(len(x), c))
            columns.append(((x - guess) ** 2).reshape(len(x), -1).sum(axis=1))
        return np.stack(columns, axis=1)


def pool_of(
    world: HasErrors, x0: Floats, samples: int, seed: Seed, *, shared: bool = True,
    times: Callable[[Floats], Floats] | None = None, dtype: DTypeLike = np.float32,
) -> ErrorPool:  # fmt: skip
    """Errors with times drawn uniformly and noise shared by the classes, or of their own.

    Parameters
    ----------
    world : with n_classes and errors(x0, noise, snr)
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
    rng, n, classes = generator(seed), len(x0), world.n_classes
    t = 1 - rng.random((n, samples) if shared else (n, samples, classes))
    t = t if times is None else times(t)
    out = np.empty((n, samples, classes))
    step = max(1, _CHUNK // (samples * x0[0].size))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        data = np.repeat(x0[rows], samples, axis=0)
        if shared:
            noise = rng.standard_normal(data.shape, dtype=np.float32)
            found = world.errors(data, noise, snr_at(t[rows].ravel()), dtype=dtype)
            out[rows] = found.reshape(-1, samples, classes)
            continue
        for c in range(classes):
            noise = rng.standard_normal(data.shape, dtype=np.float32)
            ratio = snr_at(t[rows, :, c].ravel())
            found = world.errors(data, noise, ratio, classes=(c,), dtype=dtype)
            out[rows, :, c] = found.reshape(-1, samples)
    return ErrorPool(t, out)


def stratified_pool(
    world: HasErrors, x0: Floats, strata: int, seed: Seed, dtype: DTypeLike = np.float32
) -> ErrorPool:
    """Errors at one time per stratum, each with a noise and its negative: for accurate means."""
    rng, n = generator(seed), len(x0)
    t = (np.arange(strata) + 1 - rng.random((n, strata))) / strata
    t = np.repeat(t, 2, axis=1)
    out = np.empty((n, 2 * strata, world.n_classes))
    step = max(1, _CHUNK // (2 * strata * x0[0].size))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        data = np.repeat(x0[rows], 2 * strata, axis=0)
        noise = np.repeat(rng.standard_normal(data[::2].shape, dtype=np.float32), 2, axis=0)
        noise[1::2] *= -1
        found = world.errors(data, noise, snr_at(t[rows].ravel()), dtype=dtype)
        out[rows] = found.reshape(-1, 2 * strata, world.n_classes)
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


def credit(scores: Floats, labels: NDArray[np.intp]) -> Floats:
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
