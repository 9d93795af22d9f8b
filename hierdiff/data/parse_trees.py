"""Derivation trees of grammars whose trees vary in shape, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import whole
from hierdiff.data.derivations import BoolArray, Derivations, FloatArray, IntArray
from hierdiff.errors import InvalidParameter

if TYPE_CHECKING:
    from hierdiff.data.pcfg import PCFG

__all__ = ["Parses"]

MAX_NODES = 10**7
"""Nodes of the trees of one draw; a grammar near criticality may draw a huge tree."""


# ------------------------------------------------------------------------------- trees of a batch


@dataclass(frozen=True, eq=False, repr=False)
class Parses:
    """Derivation trees of n strings, whose shapes and lengths may differ.

    Attributes
    ----------
    grammar : PCFG
    nodes : int32 array [nodes of all trees, 4]
        Symbol, first leaf, end (the leaf after the last), and rule, -1 at terminals.  A tree stands
        in preorder: a node, then what is below its first child, and so on.
    offsets : int array [n + 1]
        The tree of string i is ``nodes[offsets[i]:offsets[i + 1]]``.

    Notes
    -----
    Validity: made by :meth:`PCFG.sample` and by exact inference; nothing is checked again.
    """

    grammar: PCFG
    nodes: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"Parses(n={len(self)}, nodes={len(self.nodes)})"

    def __getitem__(self, index: Any) -> Parses:
        """Trees of an index, slice, mask or list of indices."""
        rows = np.atleast_1d(np.arange(len(self))[index])
        parts = [self.tree(int(i)) for i in rows]
        ends = np.cumsum([0, *map(len, parts)])
        nodes = np.concatenate(parts) if parts else self.nodes[:0]
        return Parses(self.grammar, nodes, ends.astype(np.int64))

    def tree(self, i: int) -> NDArray[np.int32]:
        """The nodes of one tree, [nodes, 4]."""
        i = whole("i", i, 0, len(self) - 1)
        return self.nodes[self.offsets[i] : self.offsets[i + 1]]

    @cached_property
    def owner(self) -> IntArray:
        """The string to which each node belongs, [nodes]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @cached_property
    def lengths(self) -> IntArray:
        """Number of leaves of every string, [n]."""
        return np.asarray(self.nodes[self.offsets[:-1], 2], np.int64)

    @cached_property
    def x0(self) -> NDArray[np.int32]:
        """The strings, [n, longest]; a shorter one ends in -1."""
        out = np.full((len(self), int(self.lengths.max(initial=0))), -1, np.int32)
        leaf = self.nodes[:, 0] >= self.grammar.N
        out[self.owner[leaf], self.nodes[leaf, 1]] = self.nodes[leaf, 0] - self.grammar.N
        return out

    @property
    def leaves(self) -> NDArray[np.int32]:
        """The strings, as ``x0``."""
        return self.x0

    @cached_property
    def labels(self) -> IntArray:
        """The roots, [n]."""
        return np.asarray(self.nodes[self.offsets[:-1], 0], np.int64)

    @cached_property
    def latents(self) -> tuple[NDArray[np.int32], ...]:
        """Symbol that covers each leaf, [n, longest] per level, root first; -1 behind the end.

        Symbols are numbered from 0 in each level.  Of a grammar without levels there are none.
        """
        if self.grammar.L is None:
            return ()
        return tuple(self._cover(level)[0] for level in range(self.grammar.L + 1))

    def covers(self) -> Derivations:
        """The same trees leaf by leaf: symbols that cover each leaf, level by level.

        Two strings then share a constituent as far as their leaves have the same symbols above
        them, which is what :func:`hierdiff.theory.odd_one_out_task.tree_similarity` compares.

        Raises
        ------
        InvalidParameter
            If the grammar has no levels or the lengths differ.
        """
        if self.grammar.L is None or len(set(self.lengths.tolist())) > 1:
            raise InvalidParameter("symbols that cover leaves need levels, and trees of one length")
        return Derivations(self.latents)

    def starts(self, level: int) -> BoolArray:
        """Where the nodes of a level begin, bool [n, longest]."""
        if self.grammar.L is None:
            raise InvalidParameter("the grammar has no levels; its trees have nodes alone")
        return self._cover(whole("level", level, 0, self.grammar.L))[1]

    def _cover(self, level: int) -> tuple[NDArray[np.int32], BoolArray]:
        mine = self.grammar.level_of[self.nodes[:, 0]] == level
        nodes, rows = self.nodes[mine], self.owner[mine]
        begin = np.zeros((len(self), self.x0.shape[1]), bool)
        begin[rows, nodes[:, 1]] = True
        cover = np.full(begin.shape, -1, np.int32)
        sizes = nodes[:, 2] - nodes[:, 1]
        ends = np.cumsum(sizes)
        place = np.arange(sizes.sum()) - np.repeat(ends - sizes - nodes[:, 1], sizes)
        symbol = nodes[:, 0] - self.grammar.first[level]
        cover[np.repeat(rows, sizes), place] = np.repeat(symbol, sizes)
        return cover, begin

    @cached_property
    def log_prob(self) -> FloatArray:
        """Natural logarithm of the probability of each tree, [n]."""
        g = self.grammar
        with np.errstate(divide="ignore"):
            rule = np.log(np.append(g.weights, 1.0))[self.nodes[:, 3]]
            root = np.log(g.root_prior[self.labels])
        return np.asarray(np.add.reduceat(rule, self.offsets[:-1]) + root)

    def to_text(self, i: int = 0) -> str:
        """One tree in brackets, as treebanks print it."""
        nodes, words = self.tree(i), self.grammar.names
        out, open_ends = "", []
        for symbol, _, end, rule in nodes.tolist():
            out += f" {words[symbol]}" if rule < 0 else f" ({words[symbol]}"
            if rule >= 0:
                open_ends.append([end, len(self.grammar.children[rule])])
            elif open_ends:
                open_ends[-1][1] -= 1
            while open_ends and open_ends[-1][1] == 0:
                out += ")"
                open_ends.pop()
                if open_ends:
                    open_ends[-1][1] -= 1
        return out.strip()


# ---------------------------------------------------------------------------------- growing trees


class Growth:
    """Derivations that grow generation by generation, all strings at once."""

    def __init__(self, g: PCFG, length: int | None, n: int, rng: np.random.Generator) -> None:
        self.g, self.rng, self.length = g, rng, length
        order = np.argsort(g.parents, kind="stable")
        self.order = order
        self.begin = np.searchsorted(g.parents[order], np.arange(g.N + 1))
        self.arity = np.array([len(c) for c in g.children])
        self.table = None if length is None else g.length_table(length)
        self.rest = {} if length is None else self._rests()
        top = g.root_prior if self.table is None else g.root_prior * self.table[: g.N, length]
        self.roots = self._pick(np.cumsum(top), rng.random(n))

    @staticmethod
    def _pick(sums: FloatArray, uniform: FloatArray) -> IntArray:
        """Index by the cumulative sums; an entry of weight zero is never the first to exceed."""
        found: IntArray = np.minimum(
            np.searchsorted(sums, uniform * sums[-1], side="right"),
            np.flatnonzero(sums < sums[-1]).size,
        )
        return found

    def _rests(self) -> dict[tuple[int, int], int]:
        """Symbol that derives all children of a rule from the j-th on."""
        g = self.g
        number = {c: g.N + g.v + i for i, c in enumerate(g.binarised.dotted)}
        return {
            (r, j): c[j] if j == len(c) - 1 else number[c[j:]]
            for r, c in enumerate(g.children)
            for j in range(1, len(c))
        }

    def _choose_rules(self, symbols: IntArray, lengths: IntArray) -> IntArray:
        uniform = self.rng.random(len(symbols))
        out = np.empty(len(symbols), np.int64)
        keys = np.stack([symbols, lengths], axis=1)
        for key in np.unique(keys, axis=0):
            mine = (keys == key).all(axis=1)
            rules = self.order[self.begin[key[0]] : self.begin[key[0] + 1]]
            weight = self.g.weights[rules]
            if self.table is not None:
                weight = weight * [self._law(int(r), 0, int(key[1])) for r in rules]
            out[mine] = rules[self._pick(np.cumsum(weight), uniform[mine])]
        return out

    def _law(self, r: int, j: int, n: int) -> float:
        """Probability that the children of rule r from the j-th on have n leaves."""
        assert self.table is not None
        c = self.g.children[r]
        if j == len(c) - 1:
            return float(self.table[c[j], n])
        return float(self.table[c[j], 1:n] @ self.table[self.rest[r, j + 1], n - 1 : 0 : -1])

    def _split(self, rules: IntArray, lengths: IntArray) -> list[IntArray]:
        """Leaves of every child, [arity] per node."""
        assert self.table is not None
        out = [np.empty(self.arity[r], np.int64) for r in rules]
        left = lengths.copy()
        for j in range(int(self.arity[rules].max(initial=1))):
            last = self.arity[rules] == j + 1
            for i in np.flatnonzero(last):
                out[i][j] = left[i]
            going = np.flatnonzero(self.arity[rules] > j + 1)
            uniform = self.rng.random(len(going))
            keys = np.stack([rules[going], left[going]], axis=1)
            for key in np.unique(keys, axis=0):
                mine = (keys == key).all(axis=1)
                r, n = int(key[0]), int(key[1])
                first = self.table[self.g.children[r][j], 1:n]
                weight = first * self.table[self.rest[r, j + 1], n - 1 : 0 : -1]
                size = 1 + self._pick(np.cumsum(weight), uniform[mine])
                for i, k in zip(going[mine], size, strict=True):
                    out[i][j] = k
                left[going[mine]] -= size
        return out

    def trees(self) -> Parses:
        """Generation by generation, then spans from the leaves, then preorder."""
        g, n = self.g, len(self.roots)
        string, symbol = [np.arange(n)], [self.roots]
        parent, place = [np.full(n, -1)], [np.zeros(n, np.int64)]
        rule: list[IntArray] = []
        size = np.full(n, self.length or 0)
        total, start = n, 0
        while len(symbol[-1]):
            inner = np.flatnonzero(symbol[-1] < g.N)
            chosen = np.full(len(symbol[-1]), -1)
            chosen[inner] = self._choose_rules(symbol[-1][inner], size[inner])
            rule.append(chosen)
            used = chosen[inner]
            k = self.arity[used]
            sizes = self._split(used, size[inner]) if self.table is not None else []
            string.append(np.repeat(string[-1][inner], k))
            parent.append(np.repeat(start + inner, k))
            place.append(np.concatenate([np.arange(x) for x in k]) if len(k) else k)
            symbol.append(np.array([c for r in used for c in g.children[r]], np.int64))
            size = np.concatenate(sizes) if sizes else np.zeros(len(symbol[-1]), np.int64)
            start, total = total, total + len(symbol[-1])
            if total > MAX_NODES:
                raise InvalidParameter(
                    f"the trees have more than {MAX_NODES} nodes; draw fewer, or give a length"
                )
        generations = [len(x) for x in symbol[:-1]]
        joined = [np.concatenate(x) for x in (string, symbol, parent, place, rule)]
        return self._preorder(joined, generations)

    def _preorder(self, joined: list[IntArray], generations: list[int]) -> Parses:
        _, symbol, parent, place, rule = joined
        ends = np.cumsum([0, *generations])
        leaves = (rule < 0).astype(np.int64)
        below = np.ones(len(symbol), np.int64)
        # a node's leaves and nodes are those of its children, the last generation first
        for a, b in zip(ends[-2:0:-1], ends[:1:-1], strict=True):
            np.add.at(leaves, parent[a:b], leaves[a:b])
            np.add.at(below, parent[a:b], below[a:b])
        first, at = np.zeros_like(leaves), np.zeros_like(below)
        trees = generations[0]
        at[:trees] = np.cumsum(below[:trees]) - below[:trees]
        for a, b in zip(ends[1:-1], ends[2:], strict=True):
            for values, sums, step in ((first, leaves, 0), (at, below, 1)):
                run = np.cumsum(sums[a:b]) - sums[a:b]
                head = np.flatnonzero(place[a:b] == 0)
                group = np.cumsum(place[a:b] == 0) - 1
                values[a:b] = values[parent[a:b]] + step + run - run[head][group]
        nodes = np.empty((len(symbol), 4), np.int32)
        nodes[at] = np.stack([symbol, first, first + leaves, rule], axis=1)
        offsets = np.append(at[:trees], len(symbol))
        return Parses(self.g, nodes, offsets.astype(np.int64))
