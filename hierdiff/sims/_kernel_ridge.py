r"""Kernel ridge regression from labels (x, y) to images of two stripes.

.. math:: k_{\text{add}} = [x = x'] + [y = y'], \qquad k_{\text{prod}} = [x = x']\,[y = y']
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.rhm.sample_complexity import KERNELS, Kernel

__all__ = ["composed_accuracy", "samples_needed"]

FloatArray = NDArray[np.float64]
_RIDGE = 1e-6


def _features(kernel: Kernel, x: NDArray[Any], y: NDArray[Any], n: int) -> FloatArray:
    if kernel == "additive":
        return np.concatenate([np.eye(n)[x], np.eye(n)[y]], axis=1)
    return np.asarray(np.eye(n * n)[x * n + y])


def _read(profiles: FloatArray, templates: FloatArray) -> NDArray[np.intp]:
    """Template nearest to each profile, constants set aside; -1 where two are equally near."""
    centred = templates - templates.mean(axis=1, keepdims=True)
    match = 2 * profiles @ centred.T - (centred**2).sum(axis=1)
    two = np.sort(match, axis=1)[:, -2:]
    return np.where(two[:, 1] - two[:, 0] > 1e-9, match.argmax(axis=1), -1)


def composed_accuracy(
    kernel: Kernel, positions: int, cells: NDArray[Any], width: float = 0.75
) -> float:
    """Share of all N^2 labels whose image a kernel ridge regression predicts right.

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate, and pixels per side.
    cells : int array [P]
        Training labels, x * N + y.
    width : float
        Of the stripes, in pixels.

    Returns
    -------
    float
        Right means that the nearest of all N^2 clean images is that of the label.

    Raises
    ------
    InvalidParameter
        If the kernel is unknown, a cell is none, or the width is not positive.

    Notes
    -----
    Validity: images of two stripes are sums of a row and a column profile, and so are their
    distances; only these 2 N numbers are predicted.  An answer as near to two images as to any, as
    the blank one of a product kernel to a label that it has not seen, counts as wrong.

    Examples
    --------
    >>> composed_accuracy("product", 4, np.arange(8, 16))
    0.5
    """
    n = positions
    if kernel not in KERNELS or not width > 0:
        raise InvalidParameter(
            f"kernel = {kernel!r} with width = {width} is unfit; use {' or '.join(KERNELS)} and a "
            "width > 0"
        )
    if not len(cells) or min(cells) < 0 or max(cells) >= n * n:
        raise InvalidParameter(f"cells must be one or more labels from 0 to N^2 - 1 = {n * n - 1}")
    pixels = np.arange(n)
    stripes = np.exp(-((pixels[:, None] - pixels) ** 2) / (2 * width**2))
    level = stripes.mean(axis=1, keepdims=True)
    x, y = np.divmod(np.asarray(cells), n)
    every = np.divmod(np.arange(n * n), n)
    targets = np.concatenate([stripes[x] + level[y], stripes[y] + level[x]], axis=1)
    known, asked = _features(kernel, x, y, n), _features(kernel, *every, n)
    gram = known @ known.T if len(known) < known.shape[1] else known.T @ known
    gram[np.diag_indices(len(gram))] += _RIDGE
    if len(known) < known.shape[1]:
        answer = (asked @ known.T) @ np.linalg.solve(gram, targets)
    else:
        answer = asked @ np.linalg.solve(gram, known.T @ targets)
    found = [_read(part, stripes) for part in (answer[:, :n], answer[:, n:])]
    return float(np.mean((found[0] == every[0]) & (found[1] == every[1])))


def samples_needed(
    kernel: Kernel,
    positions: int,
    target: float,
    orders: int,
    seed: Seed,
    width: float = 0.75,
) -> tuple[float, float]:
    """Training labels at which the mean accuracy over random orders reaches a target.

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate.
    target : float
        Accuracy in (0, 1).
    orders : int
        Random orders of all labels, of which the first P are taken; two or more.
    seed : Seed
        Draws them.
    width : float
        Of the stripes, in pixels.

    Returns
    -------
    samples : float
        Interpolated between integers.
    error : float
        Standard error from the scatter over orders, divided by the slope of the accuracy.

    Raises
    ------
    InvalidParameter
        As :func:`composed_accuracy`, or if the target is not in (0, 1) or there is one order.

    Notes
    -----
    Validity: found by bisection, that is for a mean accuracy that grows with the data.

    Examples
    --------
    >>> [round(x, 9) for x in samples_needed("product", 8, 0.6, 3, seed=0)]
    [38.4, 0.0]
    """
    if not 0 < target < 1 or orders < 2:
        raise InvalidParameter(
            f"target = {target} must lie between 0 and 1, and orders = {orders} be >= 2"
        )
    rng, cells = generator(seed), positions**2
    shuffled = [rng.permutation(cells) for _ in range(orders)]

    def at(count: int) -> FloatArray:
        taken = [composed_accuracy(kernel, positions, o[:count], width) for o in shuffled]
        return np.array(taken)

    low, high = 0, cells
    ends = {0: np.zeros(orders), cells: at(cells)}
    while high - low > 1:
        middle = (low + high) // 2
        ends[middle] = at(middle)
        low, high = (low, middle) if ends[middle].mean() >= target else (middle, high)
    below, above = ends[low].mean(), ends[high].mean()
    step = max(1, high // 8)
    wide = [at(max(1, high - step)).mean(), at(min(cells, high + step)).mean()]
    slope = (wide[1] - wide[0]) / (min(cells, high + step) - max(1, high - step))
    error = ends[high].std(ddof=1) / np.sqrt(orders) / slope
    return low + float((target - below) / (above - below)), float(error)
