r"""The chart of strings of one length: which spans a grammar can use, and in which order.

=====================  ==========================================================================
symbol                 meaning
=====================  ==========================================================================
group                  symbols whose spans are looked at together: a level, the terminals, dotted
                       symbols of one level and number of children
cell                   a group over the span of ``length`` leaves from ``start``
row                    a symbol of a cell
step                   a cell made of a left and a right cell, or of one cell by unary rules
=====================  ==========================================================================

A cell is kept if symbols of its group derive its length at all, and if a tree over the whole string
can hold it.  In a layered grammar that leaves spans of height h with lengths between
:math:`s_{min}^h` and :math:`s_{max}^h`; with one arity it leaves the nodes of one tree, and the
chart is belief propagation.

Cost: a step adds one product per rule of its set.  A general grammar of R rules has
:math:`R\,n(n^2-1)/6` of them, a layered one about
:math:`R \sum_h (s_{max}^h - s_{min}^h)^2\, n` at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, count, memory
from hierdiff.data.pcfg import PCFG
from hierdiff.errors import InvalidParameter
from hierdiff.theory.pcfg import _kernels as kernels

__all__ = ["Chart", "chart_of"]

Array = NDArray[Any]

MAX_STEPS = 3 * 10**7
"""Steps of a chart, of 16 bytes each; a general grammar reaches them at about 400 leaves."""
PRODUCTS_PER_SECOND = 4e8
"""Products of one thread, for the time that error messages name."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a grammar and the sets of rules between them.

    Attributes
    ----------
    of, index : int array [symbols]
        Group of every symbol of the binarised grammar, and its number within the group.
    sizes : list of int
    rank : list of int
        Groups of one length are computed in this order: children of unary rules first.
    sets : list of (target, left, right) groups; right is -1 for unary rules
    entries : list of int arrays [rules, 4]
        Of every set: symbols within their groups, and rule of the grammar (-1 for dotted symbols).
    """

    of: Array
    index: Array
    sizes: list[int]
    rank: list[int]
    sets: list[tuple[int, int, int]]
    entries: list[Array]

    @classmethod
    def build(cls, g: PCFG) -> Groups:
        """Levels and terminals, then dotted symbols by level and number of children."""
        b = g.binarised
        inner = len(g.level_sizes or (g.N, g.v))
        names: dict[tuple[int, int], int] = {}
        of = list(g.level_of)
        for rest in b.dotted:
            # without levels the first child may be of either kind, and one group holds all
            key = (int(g.level_of[rest[0]]) if g.level_sizes else 0, len(rest))
            of.append(names.setdefault(key, inner + len(names)))
        group = np.array(of, np.int64)
        sizes = np.bincount(group, minlength=inner + len(names)).tolist()
        index = np.empty_like(group)
        for k in range(len(sizes)):
            mine = group == k
            index[mine] = np.arange(mine.sum())
        found: dict[tuple[int, int, int], list[tuple[int, int, int, int]]] = {}
        for a, x, y, r in (*b.binary.tolist(), *b.unary.tolist()):
            if y < 0 and g.level_sizes is None and x < g.N:
                continue  # within one cell
            key3 = (int(group[a]), int(group[x]), int(group[y]) if y >= 0 else -1)
            entry = (int(index[a]), int(index[x]), int(index[y]) if y >= 0 else 0, r)
            found.setdefault(key3, []).append(entry)
        rank = [inner - k for k in range(inner)] + [-1] * len(names)
        entries = [np.array(sorted(x), np.int64).reshape(-1, 4) for x in found.values()]
        return cls(group, index, sizes, rank, list(found), entries)

    def lengths(self, g: PCFG, n: int) -> Array:
        """Which lengths up to n the symbols of a group may have, bool [groups, n + 1]."""
        out = np.zeros((len(self.sizes), n + 1), bool)
        out[len(g.level_sizes or (0, 0)) - 1, 1:2] = True
        order = sorted(range(len(self.sets)), key=lambda k: self.rank[self.sets[k][0]])
        for length in range(1, n + 1):
            for k in order:
                target, left, right = self.sets[k]
                if right < 0:
                    out[target, length] |= out[left, length]
                elif length > 1:
                    pairs = out[left, 1:length] & out[right, length - 1 : 0 : -1]
                    out[target, length] |= pairs.any()
        return out


@dataclass(frozen=True, eq=False)
class Chart:
    """Cells and steps for strings of n leaves; the arguments of the kernels."""

    grammar: PCFG
    n: int
    groups: Groups
    cell_id: Array
    """Number of a cell by group, length and start, [groups, n + 1, n]; -1 where there is none."""
    spans: Array
    """Start, length and group of every cell, [cells, 3]."""
    cells: Array
    begin: Array
    steps: Array
    sets: Array
    entries: Array
    rules: Array
    """Rule of every entry, -1 for dotted symbols."""
    rows: int

    @cached_property
    def weights(self) -> Array:
        """Probability of every entry."""
        return np.append(self.grammar.weights, 1.0)[self.rules]

    @cached_property
    def unary(self) -> Array:
        """Probabilities of unary rules between nonterminals of a general grammar."""
        g = self.grammar
        if g.level_sizes is not None:
            return np.zeros((0, 0))
        return np.ascontiguousarray(g._unary[:, : g.N])

    @cached_property
    def closure(self) -> Array:
        """(1 - unary)^{-1}."""
        return np.ascontiguousarray(self.grammar._closure) if self.unary.size else self.unary

    @cached_property
    def best_chains(self) -> Array:
        """Logarithm of the likeliest chain of unary rules between two symbols."""
        with np.errstate(divide="ignore"):
            best = np.log(np.maximum(self._best_unary[0], np.eye(len(self.unary))))
        for k in range(len(best)):
            best = np.maximum(best, best[:, k, None] + best[None, k])
        return np.ascontiguousarray(best)

    @cached_property
    def _best_unary(self) -> tuple[Array, Array]:
        """Probability and number of the likeliest unary rule between two symbols."""
        g = self.grammar
        best, rule = np.zeros_like(self.unary), np.full(self.unary.shape, -1)
        if self.unary.size:
            for a, x, _, r in g.binarised.unary.tolist():
                if x < g.N and g.weights[r] > best[a, x]:
                    best[a, x], rule[a, x] = g.weights[r], r
        return best, rule

    @cached_property
    def symbols(self) -> Array:
        """Symbol of every row: nonterminals as they are, terminal b as -1 - b, dotted ones low."""
        g, grid = self.grammar, self.groups
        by_group = [np.flatnonzero(grid.of == k) for k in range(len(grid.sizes))]
        out = np.concatenate([by_group[k] for k in self.spans[:, 2]])
        terminal, dotted = (out >= g.N) & (out < g.N + g.v), out >= g.N + g.v
        out[terminal] = g.N - 1 - out[terminal]
        out[dotted] = -2_000_000_000
        return out

    @cached_property
    def cell_of(self) -> Array:
        """Cell of every row."""
        return np.repeat(np.arange(len(self.cells)), self.cells[:, 1])

    @property
    def leaf_rows(self) -> Array:
        """First row of every leaf, [n]."""
        terminals = len(self.grammar.level_sizes or (0, 0)) - 1
        return np.asarray(self.cells[self.cell_id[terminals, 1], 0])

    @property
    def root_row(self) -> int:
        """First row of the root's cell."""
        return int(self.cells[self.cell_id[0, self.n, 0], 0])

    def structure(self) -> tuple[Array, ...]:
        """What all kernels take first."""
        return self.cells, self.begin, self.steps, self.sets, self.entries

    def affordable(self, copies: float, what: str) -> None:
        """Refuse charts that do not fit into memory."""
        memory(f"{what} with charts of {self.rows} rows for strings of {self.n} leaves",
               8.0 * kernels.LANES * self.rows * copies)  # fmt: skip


def _refuse_length(g: PCFG, grid: Groups, possible: Array) -> None:
    """Refuse strings whose steps do not fit, with the memory and time that they would take."""
    n = possible.shape[1] - 1
    steps = products = 0.0
    for (_, left, right), entries in zip(grid.sets, grid.entries, strict=True):
        if right < 0:
            continue
        pairs = np.convolve(possible[left].astype(float), possible[right])[: n + 1]
        number = float(pairs @ np.arange(n + 1, 0, -1))
        steps, products = steps + number, products + number * len(entries)
    if steps > MAX_STEPS:
        raise InvalidParameter(
            f"strings of {n} leaves need up to {steps:.2g} steps ({24 * steps / 1e9:.2g} GB, about "
            f"{products / PRODUCTS_PER_SECOND:.2g} s per string and pass), more than the limit of "
            f"{MAX_STEPS:.0e}; give shorter strings or fewer arities"
        )


@checked(n=count)
@lru_cache(maxsize=64)
def chart_of(g: PCFG, n: int, free: bool = False) -> Chart:
    """The chart of strings of n leaves, or with ``free`` of all prefixes of such strings.

    Raises
    ------
    InvalidParameter
        If no derivation has n leaves, or the string is too long.
    """
    grid = Groups.build(g)
    possible = grid.lengths(g, n)
    _refuse_length(g, grid, possible)
    if not free and not possible[0, n]:
        g.check_length(n)
    reached = _reached(grid, possible, n, free)
    if not free:
        g.check_length(n)
        terminals = len(g.level_sizes or (0, 0)) - 1
        reached[terminals, 1] = True
    return _assemble(g, grid, possible, reached, n)


def _grid_steps(possible: Array, left: int, right: int, length: int) -> Array:
    """Lengths of the left child that both children can have."""
    return 1 + np.flatnonzero(possible[left, 1:length] & possible[right, length - 1 : 0 : -1])


def _reached(grid: Groups, possible: Array, n: int, free: bool) -> Array:
    """Cells that a tree over the string can hold, bool [groups, n + 1, n], from the root down."""
    fits = np.arange(n)[None, :] + np.arange(n + 1)[:, None] <= n
    if free:
        return possible[:, :, None] & fits[None]
    reached = np.zeros((len(grid.sizes), n + 1, n), bool)
    reached[0, n, 0] = True
    order = sorted(range(len(grid.sets)), key=lambda k: -grid.rank[grid.sets[k][0]])
    for length in range(n, 0, -1):
        for k in order:
            target, left, right = grid.sets[k]
            start = np.flatnonzero(reached[target, length])
            if not start.size:
                continue
            if right < 0:
                reached[left, length] |= reached[target, length] & possible[left, length]
                continue
            size = _grid_steps(possible, left, right, length)
            reached[left, size[:, None], start[None]] = True
            reached[right, length - size[:, None], start[None] + size[:, None]] = True
    return reached


def _assemble(g: PCFG, grid: Groups, possible: Array, reached: Array, n: int) -> Chart:
    """Number the cells in the order of the computation and list their steps."""
    k, length, start = np.nonzero(reached)
    order = np.lexsort((start, np.array(grid.rank)[k], length))
    spans = np.stack([start, length, k], axis=1)[order]
    cell_id = np.full(reached.shape, -1, np.int64)
    cell_id[spans[:, 2], spans[:, 1], spans[:, 0]] = np.arange(len(spans))
    size = np.array(grid.sizes)[spans[:, 2]]
    first = np.cumsum(size) - size
    has_unary = g.level_sizes is None and bool(g._unary[:, : g.N].any())
    inner = has_unary & (spans[:, 2] == 0)
    cells = np.stack([first, size, inner], axis=1).astype(np.int64)
    found = []
    for j, (target, left, right) in enumerate(grid.sets):
        for m in range(1, n + 1):
            at = np.flatnonzero(reached[target, m])
            if not at.size:
                continue
            if right < 0:
                if possible[left, m]:
                    found.append(_listed(cell_id[target, m, at], cell_id[left, m, at], None, j))
                continue
            cut = _grid_steps(possible, left, right, m)
            if not cut.size:
                continue
            targets = np.repeat(cell_id[target, m, at], len(cut))
            lefts = cell_id[left][cut[None], at[:, None]].ravel()
            rights = cell_id[right][m - cut[None], at[:, None] + cut[None]].ravel()
            found.append(_listed(targets, lefts, rights, j))
    steps = np.concatenate(found)
    steps = steps[np.argsort(steps[:, 0], kind="stable")]
    begin = np.searchsorted(steps[:, 0], np.arange(len(cells) + 1))
    row = np.append(first, -1)
    steps[:, :3] = row[steps[:, :3]]
    entries = np.concatenate(grid.entries)
    ends = np.cumsum([0, *map(len, grid.entries)])
    return Chart(
        g, n, grid, cell_id, spans, cells, begin.astype(np.int64), steps.astype(np.int32),
        ends.astype(np.int64), np.ascontiguousarray(entries[:, :3].astype(np.int32)),
        entries[:, 3], int(size.sum()),
    )  # fmt: skip


def _listed(target: Array, left: Array, right: Array | None, number: int) -> Array:
    """Steps as rows of target, left and right cell (-1 for none) and set."""
    right = np.full(len(target), -1) if right is None else right
    return np.stack([target, left, right, np.full(len(target), number)], axis=1)
