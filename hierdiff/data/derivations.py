"""Derivation trees: the record of a batch, the exact parser, sums over all derivations.

Arrays are [n, nodes] per level, the root first.  A negative symbol marks what has no derivation,
and whatever stands above it is negative too.

Rules.  A level's rules are an integer array [v, m, s]: symbol a of the level has m right-hand
sides, each of s symbols of the level below.  Flattened to [v m, s], row a m + k is rule k of symbol
a.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._display import block, html_table, html_tree
from hierdiff.checks import MAX_SYMBOLS, memory, whole
from hierdiff.checks import array as numbers
from hierdiff.errors import InvalidParameter

if TYPE_CHECKING:
    import networkx

__all__ = ["Derivations"]

IntArray: TypeAlias = NDArray[np.integer[Any]]
Symbols: TypeAlias = NDArray[np.int32]
FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

SUM_TOLERANCE = 1e-9
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


# --------------------------------------------------------------------------------- derivation trees

BLOCK = 1 << 22  # entries of the largest table that a sum over derivations holds at once


@dataclass(frozen=True, eq=False, repr=False)
class Derivations:
    """Symbols of n derivation trees, level by level.

    Parameters
    ----------
    levels : tuple of int arrays [n, nodes]
        Level 0 (the roots) to level L (the leaves).

    Raises
    ------
    InvalidParameter
        If the levels do not hold the same number of trees, or hold anything but integers.

    Notes
    -----
    Validity: the symbols are not checked against a grammar, which every function that takes both
    does.  Arrays given are copied.
    An index (int, slice, mask or list) picks trees and gives Derivations again.

    Examples
    --------
    >>> trees = Derivations((np.array([[0], [1], [0]]), np.array([[2, 1], [0, 3], [1, 1]])))
    >>> len(trees), trees[1:]
    (3, Derivations(n=2, nodes=(1, 2)))
    >>> trees[[2, 0]].leaves.tolist()
    [[1, 1], [2, 1]]
    """

    levels: tuple[IntArray, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.levels, (tuple, list)):
            raise InvalidParameter(
                f"levels is of type {type(self.levels).__name__}; give a tuple of int arrays "
                "[n, nodes], root first"
            )
        levels = [numbers(f"levels[{i}]", level) for i, level in enumerate(self.levels)]
        shapes = [level.shape for level in levels]
        if not shapes or any(len(shape) != 2 or shape[0] != shapes[0][0] for shape in shapes):
            raise InvalidParameter(
                f"levels have shapes {shapes}; give one [n, nodes] array per level, n the same"
            )
        for i, level in enumerate(levels):
            if level.dtype.kind not in "iu":
                raise InvalidParameter(f"levels[{i}] has type {level.dtype}; give integers")
        object.__setattr__(self, "levels", tuple(np.array(level) for level in levels))

    @classmethod
    def _of(cls, levels: tuple[IntArray, ...]) -> Derivations:
        """Of arrays that nobody else holds, without a copy."""
        made = object.__new__(cls)
        object.__setattr__(made, "levels", levels)
        return made

    @property
    def leaves(self) -> IntArray:
        """The lowest level, [n, leaves]."""
        return self.levels[-1]

    @property
    def x0(self) -> IntArray:
        """The data, which are the leaves."""
        return self.levels[-1]

    @property
    def labels(self) -> IntArray:
        """The classes, which are the roots, [n]."""
        return self.levels[0][:, 0]

    @property
    def latents(self) -> tuple[IntArray, ...]:
        """The symbols of every level but the last, root first."""
        return self.levels[:-1]

    def __len__(self) -> int:
        return len(self.leaves)

    def __getitem__(self, index: Any) -> Derivations:
        if isinstance(index, slice):
            return Derivations._of(tuple(level[index] for level in self.levels))
        rows = np.atleast_1d(np.arange(len(self))[index])
        return Derivations._of(tuple(level[rows] for level in self.levels))

    def __repr__(self) -> str:
        return f"Derivations(n={len(self)}, nodes={tuple(a.shape[1] for a in self.levels)})"

    def _repr_html_(self) -> str:
        rows = [[str(i), *("".join(f" {x}" for x in a[i, :16]) for a in self.levels)]
                for i in range(min(len(self), 4))]  # fmt: skip
        names = ["tree", *(f"level {level}" for level in range(len(self.levels)))]
        drawn = html_tree([a[0] for a in self.levels]) if len(self) else ""
        return block(repr(self), html_table(names, rows), drawn)


def clamped(root: ArrayLike, n: int, prior: FloatArray) -> Symbols:
    """Roots [n, 1] from one class or n classes of positive prior."""
    classes = numbers("root", root)
    if not np.issubdtype(classes.dtype, np.integer) or classes.shape not in ((), (n,)):
        raise InvalidParameter(
            f"root has dtype {classes.dtype} and shape {classes.shape}; "
            f"give an int or an int array of shape ({n},)"
        )
    if not n:
        return np.zeros((0, 1), np.int32)
    if classes.min() < 0 or classes.max() >= len(prior) or not prior[classes].all():
        raise InvalidParameter(
            f"root has classes from {classes.min()} to {classes.max()}; "
            f"give classes in [0, {len(prior)}) of positive root_prior"
        )
    return np.broadcast_to(classes[..., None], (n, 1)).astype(np.int32)


def _checked_leaves(leaves: ArrayLike, n_leaves: int, v: int) -> Symbols:
    """Leaves as int32 [n, leaves], with -1 for everything that is no leaf symbol."""
    if isinstance(leaves, (list, tuple)):
        try:
            np.asarray(leaves)
        except ValueError as error:
            raise InvalidParameter(f"leaves are ragged; give an array [n, {n_leaves}]") from error
    array = numbers("leaves", leaves)
    if array.ndim != 2 or array.shape[1] != n_leaves:
        raise InvalidParameter(
            f"leaves have shape {array.shape}; the grammar's strings need shape [n, {n_leaves}]"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidParameter(f"leaves have dtype {array.dtype}; give integer symbols")
    return np.where((array >= 0) & (array < v), array, -1).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Parser:
    """What is derived from a grammar's arrays once, and used for every string.

    Rules of probability zero and rules of classes of prior zero are not ``live``; the rest are
    indexed by their right-hand sides.
    """

    rules: tuple[Symbols, ...]
    live: tuple[BoolArray, ...]
    log_weights: tuple[FloatArray, ...]
    log_prior: FloatArray
    indices: tuple[TupleIndex, ...]
    v: tuple[int, ...]

    @classmethod
    def build(
        cls,
        rules: tuple[Symbols, ...],
        weights: tuple[FloatArray, ...],
        root_prior: FloatArray,
        v: tuple[int, ...],
    ) -> Parser:
        """Find the live rules, index them and take logarithms."""
        live = [weight > 0 for weight in weights]
        live[0] = live[0] & (root_prior > 0)[:, None]
        indices = []
        for table, alive, below in zip(rules, live, v[1:], strict=True):
            rows = np.flatnonzero(alive)
            tuples = table.reshape(-1, table.shape[2])[rows]
            indices.append(TupleIndex.build(tuples, rows, below))
        with np.errstate(divide="ignore"):
            logs = tuple(np.log(weight) for weight in weights)
            return cls(rules, tuple(live), logs, np.log(root_prior), tuple(indices), v)

    @cached_property
    def is_unambiguous(self) -> bool:
        """Whether no two live rules of a level share a right-hand side."""
        counts = [int(np.count_nonzero(alive)) for alive in self.live]
        return [len(index) for index in self.indices] == counts

    def symbols(self, leaves: ArrayLike) -> Symbols:
        """Leaves as int32 [n, leaves], with -1 for everything that is no leaf symbol."""
        n_leaves = math.prod(table.shape[2] for table in self.rules)
        return _checked_leaves(leaves, n_leaves, self.v[-1])

    def climb(self, leaves: Symbols) -> tuple[tuple[Symbols, ...], tuple[NDArray[np.int64], ...]]:
        """Symbols of every level, and the rule a * m + k of every inner node."""
        levels, used = [leaves], []
        for table, index in zip(reversed(self.rules), reversed(self.indices), strict=True):
            _, m, s = table.shape
            row = index.find(levels[-1].reshape(len(leaves), levels[-1].shape[1] // s, s))
            used.append(row)
            levels.append((row // m).astype(np.int32))  # floor division keeps -1 at -1
        return tuple(reversed(levels)), tuple(reversed(used))

    def derivable(self, leaves: Symbols) -> tuple[BoolArray, ...]:
        """For every node of every level: does any symbol derive the leaves below it?"""
        if self.is_unambiguous:
            return tuple(level >= 0 for level in self.climb(leaves)[0])
        parts = [self._derivable(leaves[block]) for block in self._blocks(len(leaves))]
        return tuple(np.concatenate(level) for level in zip(*parts, strict=True))

    def _derivable(self, leaves: Symbols) -> list[BoolArray]:
        table: BoolArray = leaves == np.arange(self.v[-1])[:, None, None]
        found: list[BoolArray] = [np.asarray(table.any(axis=0))]
        for rules, alive in zip(reversed(self.rules), reversed(self.live), strict=True):
            table = inside(table, rules, alive, np.logical_or, np.logical_and)
            found.append(np.asarray(table.any(axis=0)))
        return found[::-1]

    def log_prob(self, leaves: Symbols) -> FloatArray:
        """Log-probability [n]: of the one parse, or by the inside algorithm in log space."""
        if self.is_unambiguous:
            levels, used = self.climb(leaves)
            # Row -1, where nothing fits, picks the appended -inf.
            total: FloatArray = np.append(self.log_prior, -np.inf)[levels[0][:, 0]]
            for log_weight, row in zip(self.log_weights, used, strict=True):
                total = total + np.append(log_weight, -np.inf)[row].sum(axis=1)
            return total
        return np.concatenate([self._log_prob(leaves[b]) for b in self._blocks(len(leaves))])

    def _log_prob(self, leaves: Symbols) -> FloatArray:
        table = np.where(leaves == np.arange(self.v[-1])[:, None, None], 0.0, -np.inf)
        for rules, log_weight in zip(reversed(self.rules), reversed(self.log_weights), strict=True):
            table = inside(table, rules, log_weight, np.logaddexp, np.add)
        joint = self.log_prior[:, None] + table[:, :, 0]
        total: FloatArray = np.logaddexp.reduce(joint, axis=0)
        return total

    def _blocks(self, n: int) -> Iterator[slice]:
        nodes = np.cumprod([1, *(table.shape[2] for table in self.rules)])
        size = max(1, BLOCK // max(v * int(k) for v, k in zip(self.v, nodes, strict=True)))
        return (slice(start, start + size) for start in range(0, max(n, 1), size))


def reason(levels: tuple[Symbols, ...], leaves: ArrayLike, v: int) -> str:
    """The first failing sample of a climb, and why it is not in the language."""
    sample = int(np.flatnonzero(levels[0][:, 0] < 0)[0])
    failed = [np.flatnonzero(level[sample] < 0) for level in levels]
    level = max(level for level, positions in enumerate(failed) if positions.size)
    position = int(failed[level][0])
    start = f"sample {sample} is not in the language: level {level}, position {position}"
    remedy = "give strings of this grammar, or test with is_valid"
    if level == len(levels) - 1:
        symbol = np.asarray(leaves)[sample, position]
        return f"{start} holds {symbol}, which is none of the {v} leaf symbols; {remedy}"
    s = levels[level + 1].shape[1] // levels[level].shape[1]
    found = tuple(levels[level + 1][sample, position * s : (position + 1) * s].tolist())
    return f"{start} stands above {found}, which no rule writes; {remedy}"


def factor_graph(
    rules: tuple[Symbols, ...], weights: tuple[FloatArray, ...], v: tuple[int, ...], depth: int
) -> networkx.DiGraph:
    """Variables (level, position) and factors ("rule", level, position) of the first levels."""
    import networkx as nx  # takes longer to import than the whole package

    graph = nx.DiGraph()
    nodes = 1
    for level in range(depth + 1):
        for position in range(nodes):
            graph.add_node(
                (level, position), bipartite=0, level=level, position=position, n_states=v[level]
            )
            if level > 0:
                s = rules[level - 1].shape[2]
                factor = ("rule", level - 1, position // s)
                graph.add_edge(factor, (level, position), child=position % s)
            if level < depth:
                factor = ("rule", level, position)
                graph.add_node(
                    factor,
                    bipartite=1,
                    level=level,
                    position=position,
                    rules=rules[level],
                    weights=weights[level],
                )
                graph.add_edge((level, position), factor)
        nodes *= rules[level].shape[2] if level < depth else 1
    return graph
