r"""Fewer calls for the same answer: stages that keep the k best, and paired t-tests.

Both take the weighted errors of one pool, whose samples are shared by the classes, and count how
many of them had to be computed: a *call* is one denoising of one noisy datum under one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, reals, unchecked
from hierdiff.errors import InvalidParameter

__all__ = ["Decision", "paired_t_pruning", "staged_elimination"]

Floats: TypeAlias = NDArray[np.float64]

_LARGEST = 1e100  # sums of squares over samples stay finite


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
    s = _checked(scores)
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
    s = _checked(scores)
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


def _checked(scores: ArrayLike) -> Floats:
    s = reals("scores", scores)
    if s.ndim != 3 or min(s.shape) < 1:
        raise InvalidParameter(
            f"scores of shape {s.shape} must be finite and [n, N, K], with at least one sample"
        )
    if np.abs(s).max() > _LARGEST:
        raise InvalidParameter(f"scores reach {np.abs(s).max():.3g}; give numbers below 1e100")
    return s
