"""What grammars do with arrays of rules: check, draw, look up, choose, sum over derivations.

A level's rules are an integer array [v, m, s]: symbol a of the level has m right-hand sides, each
of s symbols of the level below.  Flattened to [v m, s], row a m + k is rule k of symbol a.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array as numbers
from hierdiff.checks import memory, whole
from hierdiff.errors import InvalidParameter

__all__ = [
    "MAX_BRANCHES",
    "MAX_DEPTH",
    "MAX_SYMBOLS",
    "BoolArray",
    "FloatArray",
    "IntArray",
    "Symbols",
    "TupleIndex",
    "checked_probabilities",
    "checked_rules",
    "checked_weights",
    "choose",
    "draw_tuples",
    "frozen",
    "inside",
    "pick",
    "positive_int",
]

IntArray: TypeAlias = NDArray[np.integer[Any]]
Symbols: TypeAlias = NDArray[np.int32]
FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

SUM_TOLERANCE = 1e-9
MAX_SYMBOLS = int(np.iinfo(np.int32).max)
MAX_BRANCHES, MAX_DEPTH = 4096, 1 << 15
"""Beyond these v**s and s**L have many thousand digits, and closed forms take minutes."""


def positive_int(name: str, value: object) -> int:
    """Return ``value`` as an int, or say that it is no positive integer."""
    return whole(name, value, 1)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Make a fresh, contiguous, read-only copy."""
    copy = np.array(array, order="C", copy=True)
    copy.flags.writeable = False
    return copy


def _listed(value: object) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _checked_level(rules: ArrayLike, level: int) -> Symbols:
    if isinstance(rules, (list, tuple)):
        try:
            np.asarray(rules)
        except ValueError as error:
            raise InvalidParameter(
                f"rules[{level}] is ragged; give every symbol the same number of rules of equal "
                "length"
            ) from error
    array = numbers(f"rules[{level}]", rules)
    if array.ndim != 3 or array.size == 0:
        raise InvalidParameter(
            f"rules[{level}] has shape {array.shape}; give a non-empty array (v, m, s)"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidParameter(
            f"rules[{level}] has dtype {array.dtype}; symbols are integers, so give an int array"
        )
    if array.min() < 0 or array.max() >= MAX_SYMBOLS:
        raise InvalidParameter(
            f"rules[{level}] has entries from {array.min()} to {array.max()}; "
            f"number the symbols from 0 to at most {MAX_SYMBOLS - 1}"
        )
    checked: Symbols = frozen(array.astype(np.int32))
    return checked


def checked_rules(
    rules: Sequence[ArrayLike], leaf_vocabulary: int | None
) -> tuple[tuple[Symbols, ...], int]:
    """Own, read-only copies whose entries are symbols of the level below; the leaf vocabulary."""
    if not _listed(rules):
        raise InvalidParameter(
            f"rules is of type {type(rules).__name__}; give a list of arrays (v, m, s), one per "
            "level, or draw a grammar with RHM(...).draw(seed)"
        )
    levels = tuple(_checked_level(level_rules, level) for level, level_rules in enumerate(rules))
    if not levels:
        raise InvalidParameter("the grammar has L = 0 levels of rules; give at least one")
    if leaf_vocabulary is None:
        leaf_vocabulary = int(levels[-1].max()) + 1
    below = [array.shape[0] for array in levels[1:]]
    below.append(whole("leaf_vocabulary", leaf_vocabulary, 1, MAX_SYMBOLS))
    for level, (array, v) in enumerate(zip(levels, below, strict=True)):
        if array.max() >= v:
            raise InvalidParameter(
                f"rules[{level}] holds symbol {array.max()}, but level {level + 1} has {v} "
                f"symbols; lower the entry or give level {level + 1} more symbols"
            )
    return levels, below[-1]


def checked_probabilities(
    values: ArrayLike | None, name: str, shape: tuple[int, ...]
) -> FloatArray:
    """Own, read-only float64 copy whose last axis sums to one; None stands for uniform."""
    if values is None:
        uniform: FloatArray = frozen(np.full(shape, 1.0 / shape[-1]))
        return uniform
    array = numbers(name, values).astype(np.float64)
    if array.shape != shape:
        raise InvalidParameter(f"{name} has shape {array.shape}; the rules need shape {shape}")
    if not np.all(np.isfinite(array)) or array.min() < 0:
        raise InvalidParameter(
            f"{name} has entries that are negative or not finite; give probabilities >= 0"
        )
    total = array.sum(axis=-1, keepdims=True)
    worst = float(total.flat[np.argmax(np.abs(total - 1))])
    if abs(worst - 1) > SUM_TOLERANCE:
        raise InvalidParameter(
            f"{name} has a row that sums to {worst:.12g}, not 1; divide each row by its sum"
        )
    # Rows already exact to rounding stay as they are, so that saving and loading changes no bit.
    rounding = (shape[-1] + 1) * np.finfo(np.float64).eps
    normalised: FloatArray = frozen(np.where(np.abs(total - 1) <= rounding, array, array / total))
    return normalised


def checked_weights(
    weights: Sequence[ArrayLike] | None, rules: tuple[Symbols, ...]
) -> tuple[FloatArray, ...]:
    """Rule probabilities of every level; None stands for uniform."""
    if weights is not None and not _listed(weights):
        raise InvalidParameter(
            f"weights is of type {type(weights).__name__}; give a list of arrays (v, m), one per "
            "level, or None"
        )
    levels = [None] * len(rules) if weights is None else weights
    if len(levels) != len(rules):
        raise InvalidParameter(
            f"weights has {len(levels)} levels but rules has {len(rules)}; give one array per level"
        )
    return tuple(
        checked_probabilities(values, f"weights[{level}]", table.shape[:2])
        for level, (values, table) in enumerate(zip(levels, rules, strict=True))
    )


def _numbered(tuples: IntArray, v: int) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Number the distinct rows by growing prefixes: keys stay below rows * v, whatever v**s is."""
    number = np.zeros(len(tuples), dtype=np.int64)
    branches = []
    for digit in tuples.T:
        keys, number = np.unique(number * v + digit, return_inverse=True)
        branches.append(keys)
    return number, branches


def draw_tuples(count: int, v: int, s: int, rng: np.random.Generator) -> Symbols:
    """``count`` distinct s-tuples of v symbols: a uniform ordered draw without replacement.

    Memory and time grow with ``count``, not with v**s.  Few out of many: independent tuples are
    drawn and repetitions dropped, which is the sequential law.  Else: the head of a permutation.
    """
    total = v**s
    memory(f"{count} rules of {s} symbols", 16.0 * min(count * s, 1 << 900))
    if total <= 2 * count:
        code = rng.permutation(total)[:count]
        digits = [code // v**j % v for j in reversed(range(s))]
        return np.stack(digits, axis=1).astype(np.int32)
    kept = np.empty((0, s), dtype=np.int32)
    while len(kept) < count:
        kept = np.concatenate([kept, rng.integers(v, size=(count, s), dtype=np.int32)])
        first = np.unique(_numbered(kept, v)[0], return_index=True)[1]
        kept = kept[np.sort(first)]
    return kept[:count]


@dataclass(frozen=True, eq=False)
class TupleIndex:
    """Prefix tree that finds a tuple's row among given tuples, for any v and s."""

    v: int
    branches: tuple[NDArray[np.int64], ...]
    rows: NDArray[np.int64]

    @classmethod
    def build(cls, tuples: IntArray, rows: NDArray[np.int64], v: int) -> TupleIndex:
        """Index ``tuples`` [count, s], which stand at ``rows`` [count] of a larger table."""
        number, branches = _numbered(tuples, v)
        first = np.unique(number, return_index=True)[1]
        return cls(v, tuple(branches), rows[first])

    def __len__(self) -> int:
        """Count the distinct tuples."""
        return len(self.rows)

    def find(self, tuples: IntArray) -> NDArray[np.int64]:
        """Rows [...] of ``tuples`` [..., s]; -1 where none fits or a symbol is negative."""
        number = np.zeros(tuples.shape[:-1], dtype=np.int64)
        known = np.all(tuples >= 0, axis=-1)
        for j, keys in enumerate(self.branches):
            key = number * self.v + tuples[..., j]
            number = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            known &= keys[number] == key
        return np.where(known, self.rows[number], -1)


def choose(sums: FloatArray, row: IntArray, uniform: FloatArray) -> NDArray[np.int64]:
    """First index k at which the cumulative ``sums[row]`` exceed ``uniform``: binary search.

    Rows of ``sums`` end in exactly one.  An entry of probability zero repeats its predecessor's
    sum, so it is never the first to exceed anything.
    """
    m = sums.shape[-1]
    flat, start = sums.ravel(), row.astype(np.int64) * m
    k = np.zeros(row.shape, dtype=np.int64)
    for step in (1 << bit for bit in reversed(range((m - 1).bit_length()))):
        ahead = np.minimum(k + step, m - 1)
        k = np.where(flat[start + ahead - 1] <= uniform, ahead, k)
    return k


def pick(probabilities: FloatArray, row: IntArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw, for every entry of ``row``, an index from that row of ``probabilities`` [v, m]."""
    m = probabilities.shape[1]
    if np.ptp(probabilities) == 0:
        return rng.integers(m, size=row.shape)
    sums = np.cumsum(probabilities, axis=1)
    return choose(sums / sums[:, -1:], row, rng.random(row.shape))


def inside(
    children: NDArray[Any],
    rules: Symbols,
    weights: NDArray[Any],
    plus: Callable[..., NDArray[Any]],
    times: Callable[..., NDArray[Any]],
) -> NDArray[Any]:
    """One upward step in a semiring: plus over rules of weight times the children's values.

    ``children`` [v_below, n, nodes * s] and ``weights`` [v, m] give [v, n, nodes].  With
    (logaddexp, add) the values are log-probabilities, with (or, and) they say what is possible.
    """
    v, m, s = rules.shape
    total = np.empty(0)
    for k in range(m):
        term = np.broadcast_to(weights[:, k, None, None], (v, 1, 1))
        for j in range(s):
            term = times(term, children[rules[:, k, j], :, j::s])
        total = term if k == 0 else plus(total, term)
    return total
