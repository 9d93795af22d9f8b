"""Curves against noise: where they lose half of their height."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, reals

__all__ = ["half_lost"]

Array: TypeAlias = NDArray[Any]


@checked
def half_lost(curve: Array, t: Array, height: float | None = None) -> float:
    """Where a falling curve crosses a height, by default half way from one to its last value.

    Parameters
    ----------
    curve : array [T]
    t : array [T]
        Noise levels, increasing.
    height : float, optional

    Returns
    -------
    float
        NaN if the curve starts below, or never falls so far.

    Examples
    --------
    >>> half_lost(np.array([1.0, 0.8, 0.2]), np.array([0.1, 0.2, 0.3]))
    0.23333333333333334
    """
    t = reals("t", t, ndim=1, least=1)
    curve = reals("curve", curve, shape=t.shape)
    level = (1 + curve[-1]) / 2 if height is None else height
    below = int(np.argmax(curve < level))
    if not below:
        return float("nan")
    share = (curve[below - 1] - level) / (curve[below - 1] - curve[below])
    return float(t[below - 1] + share * (t[below] - t[below - 1]))
