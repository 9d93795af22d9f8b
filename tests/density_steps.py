"""Single steps of the compiled density evolution, called with arrays as its plain twins are.

Populations are [member, symbol] or, for several noise levels together, [member, symbol, lane].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hierdiff.theory.belief_propagation._kernels.simd import aligned, pointer
from hierdiff.theory.rhm import _kernels as kernels

Array = NDArray[Any]


def room(messages: Array) -> Array:
    """Flat messages with a vector of NaN behind them, which must not be seen in any number."""
    return np.concatenate([messages.ravel(), np.full(kernels.LANES, np.nan)])


def tables(digits: Array, parents: int, m: int) -> tuple[Array, Array, Array]:
    """``seen``, ``row`` and ``codes`` of rule tables."""
    tuples, s = digits.shape
    most = max(parents, int(digits.max()) + 1)
    return (
        np.zeros(tuples, np.int64),
        aligned(most * kernels.LANES, np.float64),
        np.empty(s + max(most, parents * m), np.int64),
    )


def up(
    population: Array, order: Array, key: np.uint64, parents: int, m: int, digits: Array,
    parts: tuple[int, ...] = (),
) -> Array:  # fmt: skip
    """As ``oracles.density_up``; members are cut into parts at the numbers given."""
    size, lanes = order.shape[1], population.shape[2:]
    out = np.full(size * parents * np.prod(lanes, dtype=int), np.nan)
    digits = digits.astype(np.int32)
    for first, last in zip((0, *parts), (*parts, size), strict=True):
        kernels.upward(
            room(population), population.shape[1], order.astype(np.int32), key, first, last,
            parents, m, digits, *_ordered(tables(digits, parents, m), lanes), out,
        )  # fmt: skip
        assert np.isnan(out.reshape(size, -1)[last:]).all()
    return out.reshape(size, parents, *lanes)


def _ordered(table: tuple[Array, Array, Array], lanes: tuple[int, ...]) -> tuple[Any, ...]:
    seen, row, codes = table
    return seen, (lanes[0] if lanes else 1), row, codes


def down(
    population: Array, above: Array, order: Array, key: np.uint64, m: int, digits: Array
) -> Array:
    """As ``oracles.density_down``."""
    size, v, lanes = order.shape[1], population.shape[1], population.shape[2:]
    out = np.full(size * v * np.prod(lanes, dtype=int), np.nan)
    digits, parents = digits.astype(np.int32), above.shape[1]
    _down(
        room(population), v, room(above), parents, order.astype(np.int32), key, m, digits,
        *_ordered(tables(digits, parents, m), lanes), out,
    )  # fmt: skip
    return out.reshape(size, v, *lanes)


@njit
def _down(messages, v, above, parents, order, key, m, digits, seen, width, row, codes, out):
    tuples, s = digits.shape
    kernels._down(
        pointer(messages), v, pointer(above), parents, pointer(order), order.shape[1], key, m,
        pointer(digits), tuples, s, pointer(seen), 1, width, pointer(row), pointer(codes),
        pointer(out),
    )  # fmt: skip


def meet(up: Array, down: Array, order: Array, key: np.uint64) -> Array:
    """As ``oracles.density_marginals``."""
    lanes = up.shape[2:]
    out = np.full(len(order) * np.prod(lanes, dtype=int), np.nan)
    _meet(
        room(up), up.shape[1], room(down), order.astype(np.int32), key, lanes[0] if lanes else 1,
        aligned(kernels.LANES, np.float64), np.empty(up.shape[1], np.int64), out,
    )  # fmt: skip
    return out.reshape(len(order), *lanes)


@njit
def _meet(messages, v, down, order, key, width, row, names, out):
    kernels._meet(
        pointer(messages), v, pointer(down), pointer(order), order.size, key, width, pointer(row),
        pointer(names), pointer(out),
    )  # fmt: skip
