"""Curves against noise: their means with errors, and where they lose half of their height."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["half_lost", "mean_and_error"]

Array: TypeAlias = NDArray[Any]


def mean_and_error(values: Array) -> tuple[Array, Array]:
    """Mean and standard error [level, t] of values [t, n, level]; never below 1 / n.

    Examples
    --------
    >>> mean, error = mean_and_error(np.array([[[0.0], [1.0]], [[1.0], [1.0]]]))
    >>> mean.tolist(), error.tolist()
    ([[0.5, 1.0]], [[0.5, 0.5]])
    """
    spread = values.std(axis=1, ddof=1).T / np.sqrt(values.shape[1])
    return values.mean(axis=1).T, np.maximum(spread, 1 / values.shape[1])


def half_lost(curve: Array, t: Array, height: float | None = None) -> float:
    """Where a falling curve crosses a height, by default half way from one to its last value.

    NaN if it starts below, or never falls so far.

    Examples
    --------
    >>> half_lost(np.array([1.0, 0.8, 0.2]), np.array([0.1, 0.2, 0.3]))
    0.23333333333333334
    """
    level = (1 + curve[-1]) / 2 if height is None else height
    below = int(np.argmax(curve < level))
    if not below:
        return float("nan")
    share = (curve[below - 1] - level) / (curve[below - 1] - curve[below])
    return float(t[below - 1] + share * (t[below] - t[below - 1]))
