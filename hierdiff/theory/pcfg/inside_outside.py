r"""Exact inference on all trees of a string: inside and outside sums over charts.

==========================  ====================================================================
symbol                      meaning
==========================  ====================================================================
psi_i(b)                    evidence of leaf i, proportional to p(observation | symbol b)
I_A(i, j)                   inside: all ways in which A derives the leaves i ... j - 1
O_A(i, j)                   outside: all ways to derive the rest around such a node
Z                           sum over all trees with n leaves, p(observation, n) if psi is normalised
mu_A(i, j)                  posterior probability that a node A over [i, j) is in the tree
==========================  ====================================================================

.. math::
   I_A(i, j) &= \sum_{A \to BC} \pi \sum_{i<k<j} I_B(i, k)\, I_C(k, j)
       + \sum_{A \to B} \pi\, I_B(i, j), \qquad I_b(i, i+1) = \psi_i(b), \\
   O_B(i, k) &= \sum_{A \to BC} \pi \sum_{j > k} O_A(i, j)\, I_C(k, j) + \dots, \qquad
   Z = \sum_A p_0(A)\, I_A(0, n), \qquad \mu_A = O_A I_A / Z .

Rules of more than two symbols are binarised (:class:`hierdiff.data.pcfg.Binarised`).  Unary rules
within one span are a linear system, solved by :math:`(1 - U)^{-1}` on the way up and its transpose
on the way down; a symbol that occurs twice in a chain counts twice in :math:`\mu`.  Maxima in place
of sums give the likeliest tree.

Sums are taken in float64, with the largest evidence of every leaf set to one.  All partial sums are
then at most about one, so what underflows is below 1e-300 and cannot matter where Z > 1e-280; other
strings are computed again in logarithms.

References: Baker (1979); Lari and Young (1990); Goodman, Comput. Linguist. 25, 573 (1999) for
semirings; Stolcke, Comput. Linguist. 21, 165 (1995) for unary closure and prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    array,
    checked,
    count,
    integers,
    memory,
    number,
    symbols_of,
    unchecked,
    whole,
)
from hierdiff.contracts import SymbolEvidence
from hierdiff.data.parse_trees import Parses
from hierdiff.data.pcfg import PCFG
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.seeds import SampleStreams, Seed
from hierdiff.theory.belief_propagation.passes import available_threads
from hierdiff.theory.pcfg import _kernels as kernels
from hierdiff.theory.pcfg.chart import Chart, chart_of

__all__ = [
    "BestParses",
    "NodePosterior",
    "ParsePosterior",
    "WeightFit",
    "derived_nodes",
    "fit_weights",
    "parse_posterior",
    "valid_strings",
]

Array = NDArray[Any]

_SMALLEST = 1e-280
"""Below this Z what underflowed may matter."""
_MOST_UNIFORMS = 1 << 24
"""A tree with more decisions is a chain of unary rules that hardly ends."""
_BLOCK = 1 << 27
"""Entries of charts that threads hold at once: a gigabyte."""


class BestParses(NamedTuple):
    """The likeliest trees, and the logarithm of prior times evidence of each."""

    trees: Parses
    log_prob: Array


class NodePosterior(NamedTuple):
    """Posterior of nodes that are asked about; each [nodes of all trees].

    Attributes
    ----------
    symbol
        That the node is there with this symbol.
    span
        That a node of the same level (of any nonterminal, without levels) is over this span.
    """

    symbol: Array
    span: Array


@dataclass(frozen=True, eq=False)
class ParsePosterior:
    """Everything known about the trees of strings of one length; made by :func:`parse_posterior`.

    Attributes
    ----------
    grammar : PCFG
    log_evidence : array [n]
        log Z: the probability of observation and length, up to the scale of the evidence.
    """

    grammar: PCFG
    log_evidence: Array
    _chart: Chart = field(repr=False)
    _psi: Array = field(repr=False)
    _log_psi: Array = field(repr=False)
    _shift: Array = field(repr=False)
    _prior: Array = field(repr=False)
    _threads: int = field(repr=False)

    def __len__(self) -> int:
        return len(self.log_evidence)

    @property
    def length(self) -> int:
        """Leaves of every string."""
        return self._chart.n

    # ------------------------------------------------------------------------------- marginals

    @property
    def class_marginals(self) -> Array:
        """Posterior of the root, [n, classes]."""
        return self._beliefs[0]

    @property
    def leaf_marginals(self) -> Array:
        """Posterior of every leaf's symbol, [n, leaves, v]: E[x0 | x_t] of one-hot data."""
        return self._beliefs[1]

    @property
    def rule_counts(self) -> Array:
        """Expected number of uses of every rule, [n, rules]: d log Z / d log pi."""
        return self._beliefs[2]

    @property
    def symbols(self) -> tuple[Array, ...]:
        """Posterior of the symbol that covers each leaf, [n, leaves, v_l] per level, root first."""
        self._need_levels("symbols that cover a leaf")
        return self._beliefs[3]

    @property
    def starts(self) -> Array:
        """Probability that a node of a level begins at each leaf, [n, L + 1, leaves]."""
        self._need_levels("starts of the nodes of a level")
        return self._beliefs[4]

    def _need_levels(self, what: str) -> None:
        if self.grammar.L is None:
            raise InvalidParameter(f"{what} need levels; this grammar has spans and nodes alone")

    @cached_property
    def _beliefs(self) -> tuple[Array, Array, Array, tuple[Array, ...], Array]:
        g, c, n = self.grammar, self._chart, len(self)
        sizes = g.level_sizes or ()
        memory(f"beliefs of {n} strings of {c.n} leaves", 8.0 * n * c.n * (sum(sizes) + 2 * g.v))
        roots, leaves = np.empty((n, g.n_classes)), np.empty((n, c.n, g.v))
        uses = np.empty((n, len(g.weights)))
        covers = tuple(np.empty((n, c.n, size)) for size in sizes)
        starts = np.empty((n, len(sizes), c.n))
        by_level = [np.flatnonzero(c.spans[:, 2] == level) for level in range(len(sizes))]

        def work(first: int, last: int, mu: Array, top: Array, counts: Array) -> None:
            k = last - first
            roots[first:last] = top[:, :k].T
            rows = c.leaf_rows[:, None] + np.arange(g.v)
            leaves[first:last] = mu[rows, :k].transpose(2, 0, 1)
            uses[first:last] = counts[:, :k].T
            for level, mine in enumerate(by_level):
                rows = c.cells[mine, 0][:, None] + np.arange(sizes[level])
                of_cell, start = mu[rows, :k], c.spans[mine, 0]
                change = np.zeros((c.n + 1, sizes[level], k))
                np.add.at(change, start, of_cell)
                begin = change[:-1].sum(axis=1)
                np.subtract.at(change, start + c.spans[mine, 1], of_cell)
                cover = np.cumsum(change[:-1], axis=0).clip(0, 1)
                covers[level][first:last] = cover.transpose(2, 0, 1)
                starts[first:last, level] = begin.T

        self._tiles(work, counting=True)
        return roots, leaves, uses, covers, starts

    @checked
    def spans(self, level: int | None = None) -> Array:
        """Posterior of every span as a node of a level: [n, leaves, leaves + 1], start and end.

        Parameters
        ----------
        level : int, optional
            Of a layered grammar; without levels all nonterminals are counted.

        Returns
        -------
        array [n, leaves, leaves + 1]

        Raises
        ------
        InvalidParameter
            If there is no such level.

        Notes
        -----
        Validity: exact; without levels the expected number of nodes, which chains of unary rules
        may lift above one.
        """
        g, c = self.grammar, self._chart
        if g.L is None and level is not None:
            self._need_levels(f"spans of level {level}")
        if g.L is not None and level is None:
            raise InvalidParameter(f"level = None: give a level from 0 to {g.L}")
        group = 0 if level is None else whole("level", level, 0, g.L)
        memory(f"spans of {len(self)} strings of {c.n} leaves", 8.0 * len(self) * c.n * (c.n + 1))
        out = np.zeros((len(self), c.n, c.n + 1))
        mine = np.flatnonzero(c.spans[:, 2] == group)
        start, end = c.spans[mine, 0], c.spans[mine, 0] + c.spans[mine, 1]
        rows = c.cells[mine, 0][:, None] + np.arange(c.groups.sizes[group])

        def work(first: int, last: int, mu: Array, top: Array, counts: Array) -> None:
            out[first:last, start, end] = mu[rows, : last - first].sum(axis=1).T

        self._tiles(work)
        return out

    @checked
    def node_posterior(self, trees: Parses) -> NodePosterior:
        """Posterior probability of the nodes of given trees, one tree per string.

        Parameters
        ----------
        trees : Parses
            Of the same length, such as those that the data were made of.

        Returns
        -------
        NodePosterior
            In the order of ``trees.nodes``.

        Raises
        ------
        InvalidParameter
            If the trees are of another grammar, number or length.

        Notes
        -----
        Validity: exact.
        """
        c = self._chart
        row, cell = self._places(trees)
        one, span = np.empty(len(row)), np.empty(len(row))

        def work(first: int, last: int, mu: Array, top: Array, counts: Array) -> None:
            mine = slice(trees.offsets[first], trees.offsets[last])
            lane = trees.owner[mine] - first
            one[mine] = mu[row[mine], lane]
            # sums over all rows of each cell, as differences of running sums would lose digits
            sums = np.add.reduceat(mu, c.cells[:, 0], axis=0)
            span[mine] = sums[cell[mine], lane]

        self._tiles(work)
        return NodePosterior(one, span)

    def _places(self, trees: Parses) -> tuple[Array, Array]:
        """Row and cell of every node of trees, one tree per string."""
        g, c = self.grammar, self._chart
        same = trees.grammar.N == g.N and trees.grammar.level_sizes == g.level_sizes
        if not same or len(trees) != len(self) or (trees.lengths != c.n).any():
            raise InvalidParameter(
                f"trees = {trees!r} must be {len(self)} trees of this grammar with {c.n} leaves"
            )
        symbol, start = trees.nodes[:, 0], trees.nodes[:, 1]
        cell = c.cell_id[c.groups.of[symbol], trees.nodes[:, 2] - start, start]
        return c.cells[cell, 0] + c.groups.index[symbol], cell

    def _from_below(self, trees: Parses) -> NodePosterior:
        """Whether nodes can be derived from their leaves, and the symbol's share of it."""
        c = self._chart
        row, cell = self._places(trees)
        one, span = np.empty(len(row)), np.empty(len(row))
        for first in range(0, len(self), kernels.LANES):
            last = min(first + kernels.LANES, len(self))
            chart = _inside_tile(c, self._psi[first:last])
            mine = slice(trees.offsets[first], trees.offsets[last])
            lane = trees.owner[mine] - first
            sums = np.add.reduceat(chart, c.cells[:, 0], axis=0)[cell[mine], lane]
            one[mine] = np.divide(chart[row[mine], lane], sums, out=np.zeros(len(lane)),
                                  where=sums > 0)  # fmt: skip
            span[mine] = sums > 0
        return NodePosterior(one, span)

    # ------------------------------------------------------------------------------ the passes

    def _tiles(
        self, work: Callable[[int, int, Array, Array, Array], None], *, counting: bool = False
    ) -> None:
        """Call ``work(first, last, mu, top, counts)`` for all strings, a column per string."""
        threads = max(1, min(self._threads, int(_BLOCK / (2 * kernels.LANES * self._chart.rows))))
        self._chart.affordable(2.0 * threads, "inside-outside")
        jobs = range(0, len(self), kernels.LANES)

        def one(first: int) -> None:
            last = min(first + kernels.LANES, len(self))
            work(first, last, *self._posterior_tile(first, last, counting))

        if threads == 1 or len(jobs) == 1:
            for first in jobs:
                one(first)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(one, jobs))

    def _posterior_tile(self, first: int, last: int, counting: bool) -> tuple[Array, Array, Array]:
        """Posterior mu of all rows, that of the root's symbol, and expected counts of all rules."""
        c, k = self._chart, last - first
        chart = _inside_tile(c, self._psi[first:last])
        out = np.zeros_like(chart)
        roots = slice(c.root_row, c.root_row + self._prior.shape[1])
        out[roots, :k] = self._prior[first:last].T
        # a symbol over the whole string need not be the root: chains of unary rules reach it too
        top = chart[roots] * out[roots]
        z = top.sum(axis=0)
        uses = np.zeros((len(c.rules) if counting else 0, kernels.LANES))
        kernels.outside(*c.structure(), c.weights, c.closure, chart, out, uses)
        counts = uses
        if counting:
            counts = self._by_rule(uses, lambda a, b: out[a] * chart[b])
        with np.errstate(divide="ignore", invalid="ignore"):
            if counting:
                counts /= z
            mu = chart * out / z
            top /= z
        for lane in np.flatnonzero(~(z[:k] >= _SMALLEST)):
            mu[:, lane], top[:, lane], of_rules = self._in_logarithms(first + int(lane), counting)
            if counting:
                counts[:, lane] = of_rules
        return mu, top, counts

    def _by_rule(self, uses: Array, pair: Callable[[Array, Array], Array]) -> Array:
        """Sums of uses over the entries of every rule, and of pairs of rows within cells."""
        c, g = self._chart, self.grammar
        counts = np.zeros((len(g.weights), uses.shape[1]))
        real = c.rules >= 0
        np.add.at(counts, c.rules[real], uses[real])
        cells = np.flatnonzero(c.cells[:, 2])
        for a, b, _, r in g.binarised.unary.tolist() if cells.size else ():
            if b < g.N:
                first = c.cells[cells, 0]
                counts[r] = g.weights[r] * pair(first + a, first + b).sum(axis=0)
        return counts

    def _in_logarithms(self, i: int, counting: bool) -> tuple[Array, Array, Array]:
        """The same of one string whose sums leave the range of float64."""
        c = self._chart
        chart, z = self._log_chart(i)
        roots = slice(c.root_row, c.root_row + self._prior.shape[1])
        out = np.full(c.rows, -np.inf)
        with np.errstate(divide="ignore"):
            out[roots] = np.log(self._prior[i])
            weights, closure = np.log(c.weights), np.log(c.closure)
        top = np.exp(chart[roots] + out[roots] - z)
        uses = np.full(len(c.rules) if counting else 0, -np.inf)
        kernels.outside_log(*c.structure(), weights, closure, chart, out, uses)
        mu = np.exp(chart + out - z)
        if not counting:
            return mu, top, uses
        scaled = self._by_rule(
            np.exp(uses - z)[:, None], lambda a, b: np.exp(out[a] + chart[b] - z)[:, None]
        )
        return mu, top, scaled[:, 0]

    def _log_chart(self, i: int, largest: bool = False) -> tuple[Array, float]:
        """Inside sums or maxima of one string in logarithms, and that of Z."""
        c = self._chart
        chart = np.full(c.rows, -np.inf)
        chart[c.leaf_rows[:, None] + np.arange(self.grammar.v)] = self._log_psi[i]
        with np.errstate(divide="ignore"):
            weights = np.log(c.weights)
            closure = c.best_chains if largest else np.log(c.closure)
            prior = np.log(self._prior[i])
        kernels.inside_log(*c.structure(), weights, closure, largest, chart)
        roots = chart[c.root_row : c.root_row + len(prior)] + prior
        return chart, float(roots.max() if largest else np.logaddexp.reduce(roots))

    # ------------------------------------------------------------------------ trees of a string

    @checked(n_samples=count)
    def sample(self, seed: Seed, n_samples: int | None = None) -> Parses:
        r"""Exact posterior samples of trees, from the root down.

        .. math:: p(A \to BC, k \mid A, i, j) = \pi\, I_B(i, k)\, I_C(k, j) / I_A(i, j)

        Parameters
        ----------
        seed : Seed
            Source of randomness; every draw has a stream of its own.
        n_samples : int, optional
            Draws per string (default one).

        Returns
        -------
        Parses
            n * n_samples trees; the draws of one string stand together.

        Notes
        -----
        Validity: exact.
        """
        copies = 1 if n_samples is None else n_samples
        streams = SampleStreams.of(seed)
        memory(f"{len(self) * copies} trees of {self.length} leaves",
               64.0 * len(self) * copies * self.length)  # fmt: skip

        def trees(i: int) -> list[Array]:
            chart = self._walkable(i)
            return [
                self._walk(i, chart, streams.take(np.array([i * copies + k]))[0])
                for k in range(copies)
            ]

        return self._joined([tree for part in self._each(trees) for tree in part])

    @checked
    def best(self) -> BestParses:
        """The likeliest tree of every string, leaves included (maximum a posteriori).

        Returns
        -------
        BestParses

        Notes
        -----
        Validity: exact; of equally likely trees one is returned.  Where the grammar is ambiguous
        the leaves of the likeliest tree need not be the likeliest string.
        """

        def tree(i: int) -> tuple[Array, float]:
            chart, z = self._log_chart(i, largest=True)
            return self._walk(i, chart, None), z

        found = self._each(tree)
        values = np.array([z for _, z in found]) + self._shift
        return BestParses(self._joined([nodes for nodes, _ in found]), values)

    def _each(self, work: Callable[[int], Any]) -> list[Any]:
        if self._threads == 1 or len(self) == 1:
            return [work(i) for i in range(len(self))]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(work, range(len(self))))

    def _walkable(self, i: int) -> Array:
        """Logarithms of the inside sums of one string."""
        c = self._chart
        chart = _inside_tile(c, self._psi[i : i + 1])[:, 0]
        if chart[c.root_row : c.root_row + self._prior.shape[1]] @ self._prior[i] < _SMALLEST:
            return self._log_chart(i)[0]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(chart))

    def _walk(self, i: int, chart: Array, rng: np.random.Generator | None) -> Array:
        """Nodes of one tree, drawn or the likeliest."""
        c, largest = self._chart, rng is None
        with np.errstate(divide="ignore"):
            weights = np.log(c.weights)
            unary = np.log(c._best_unary[0] if largest else c.unary)
            roots = chart[c.root_row : c.root_row + self._prior.shape[1]] + np.log(self._prior[i])
        uniforms = np.zeros(0) if rng is None else rng.random(1 + 8 * c.n)
        if largest:
            top = int(roots.argmax())
        else:
            sums = np.cumsum(np.exp(roots - roots.max()))
            top = int(np.searchsorted(sums, uniforms[0] * sums[-1], side="right"))
            top = min(top, int(np.flatnonzero(np.isfinite(roots)).max()))
        size = 8 * c.n
        while size < _MOST_UNIFORMS:
            nodes = np.empty((size, 4), np.int64)
            made = kernels.walk(
                c.cells, c.spans, c.begin, c.steps, c.sets, c.entries, weights, c.rules, c.cell_of,
                c.symbols, unary, c._best_unary[1], chart, c.root_row + top, largest, uniforms[1:],
                nodes,
            )  # fmt: skip
            if made >= 0:
                nodes = nodes[:made]
                ends = nodes[:, 0] < 0
                nodes[ends, 0] = self.grammar.N - 1 - nodes[ends, 0]
                return nodes.astype(np.int32)
            size *= 2
            if rng is not None:  # the numbers that were used come first again
                uniforms = np.append(uniforms, rng.random(size))
        raise InvalidParameter(
            f"a tree has more than {_MOST_UNIFORMS} nodes; give unary cycles less probability"
        )

    def _joined(self, trees: Sequence[Array]) -> Parses:
        ends = np.cumsum([0, *map(len, trees)])
        return Parses(self.grammar, np.concatenate(trees), ends.astype(np.int64))


def _inside_tile(c: Chart, psi: Array) -> Array:
    """Inside sums of up to LANES strings, [rows, LANES]."""
    chart = np.zeros((c.rows, kernels.LANES))
    chart[c.leaf_rows[:, None] + np.arange(psi.shape[2]), : len(psi)] = psi.transpose(1, 2, 0)
    kernels.inside(*c.structure(), c.weights, c.closure, chart)
    return chart


def _evidence(g: PCFG, log_evidence: Any) -> tuple[Array, Array]:
    """Logarithms of the evidence with the largest of each leaf at zero, and what was taken out."""
    if isinstance(log_evidence, SymbolEvidence):
        log_evidence = log_evidence.dense()
    found = array("log_evidence", log_evidence).astype(float, copy=False)
    if found.ndim != 3 or found.shape[2] != g.v or not found.shape[0] or not found.shape[1]:
        raise InvalidParameter(
            f"log_evidence has shape {found.shape}; the grammar needs (n, leaves, {g.v}), n and "
            "leaves at least one"
        )
    for what, bad in (("NaN", np.isnan(found)), ("+inf", np.isposinf(found))):
        if bad.any():
            i, leaf, b = (int(k) for k in np.argwhere(bad)[0])
            raise InvalidParameter(
                f"log_evidence of sample {i} is {what} at leaf {leaf}, symbol {b}; give finite "
                "numbers, or -inf to exclude a symbol"
            )
    top = found.max(axis=2)
    empty = np.argwhere(np.isneginf(top))
    if empty.size:
        raise InvalidParameter(
            f"log_evidence of sample {empty[0][0]} is -inf for every symbol of leaf {empty[0][1]}; "
            "at least one symbol must be possible"
        )
    return found - top[:, :, None], top.sum(axis=1)


def _priors(g: PCFG, root: Any, n: int) -> Array:
    """Prior of the roots, [n, classes]."""
    if root is None:
        return np.broadcast_to(g.root_prior[: g.n_classes], (n, g.n_classes))
    classes = integers("root", root, 0, g.n_classes - 1)
    if classes.shape not in ((), (n,)):
        raise InvalidParameter(
            f"root has shape {classes.shape}; give one class or {n} of them, integers in "
            f"[0, {g.n_classes})"
        )
    return np.asarray(np.eye(g.n_classes)[np.broadcast_to(classes, n)])


@checked(log_evidence=unchecked, threads=count)
def parse_posterior(
    grammar: PCFG,
    log_evidence: ArrayLike | SymbolEvidence,
    root: ArrayLike | None = None,
    *,
    threads: int | None = None,
) -> ParsePosterior:
    r"""Exact posterior over all trees of strings of one length, given evidence of the leaves.

    .. math:: p(\text{tree} \mid x_t) \propto p(\text{tree}) \prod_i \psi_i(x_i)

    Parameters
    ----------
    grammar : PCFG
        Layered or general.
    log_evidence : array [n, leaves, v] or SymbolEvidence
        Natural logarithm of psi; -inf excludes a symbol.
    root : int or int array [n], optional
        Clamps the class; default: the grammar's root prior.
    threads : int, optional
        Default: all processors of this process.  Results do not depend on it.

    Returns
    -------
    ParsePosterior

    Raises
    ------
    InvalidParameter
        If the evidence has the wrong shape, NaN, +inf or an empty leaf; if no derivation has this
        length; if strings are too long, with the time and memory that they would take.
    ImpossibleEvidence
        If the evidence of a sample has probability zero under the grammar.

    Notes
    -----
    Validity: exact for any grammar and evidence that factorises over the leaves, at known length.
    Time O(n_leaves^3 rules) for general grammars, far less for layered ones
    (:mod:`hierdiff.theory.pcfg.chart`).

    Examples
    --------
    The string a a a of S -> S S (0.4) | a (0.6) has two trees:

    >>> g = PCFG.from_text("S -> S S [0.4] | 'a' [0.6]")
    >>> found = parse_posterior(g, np.zeros((1, 3, 1)))
    >>> np.exp(found.log_evidence).round(6), found.spans()[0, 0].round(6)
    (array([0.06912]), array([0. , 1. , 0.5, 1. ]))
    """
    found = _inferred(grammar, log_evidence, root, threads)
    impossible = np.flatnonzero(np.isneginf(found.log_evidence))
    if impossible.size:
        raise ImpossibleEvidence(
            f"the evidence of sample {impossible[0]} has probability zero: no string of length "
            f"{found.length} of the grammar agrees with it; check that data, noise and root class "
            "belong to this grammar"
        )
    return found


@checked(strings=partial(integers, ndim=2))
def valid_strings(grammar: PCFG, strings: ArrayLike) -> Array:
    """Which strings are in the language, that is, have positive probability.

    Parameters
    ----------
    grammar : PCFG
    strings : int array [n, leaves]
        Symbols of the grammar.

    Returns
    -------
    bool array [n]

    Raises
    ------
    InvalidParameter
        For symbols out of range.

    Notes
    -----
    Validity: exact; also for lengths that no derivation has, where it is False.

    Examples
    --------
    >>> g = PCFG.from_text("S -> 'a' S 'b' [0.5] | 'a' 'b' [0.5]")
    >>> valid_strings(g, [[0, 0, 1, 1], [0, 1, 0, 1]]).tolist(), valid_strings(g, [[0]]).tolist()
    ([True, False], [False])
    """
    found = symbols_of("strings", strings, 0, grammar.v)
    if not found.size or not grammar.length_law(found.shape[1])[-1]:
        return np.zeros(len(found), bool)
    return np.isfinite(
        _inferred(grammar, SymbolEvidence(found, 0.0, -np.inf, grammar.v), None, None).log_evidence
    )


@checked(strings=partial(integers, ndim=2))
def derived_nodes(grammar: PCFG, strings: ArrayLike, trees: Parses) -> NodePosterior:
    r"""Which nodes of given trees can be derived from the leaves below them, whatever is around.

    .. math:: \text{span} = [\textstyle\sum_B I_B(i, j) > 0], \qquad
       \text{symbol} = I_A(i, j) / \textstyle\sum_B I_B(i, j)

    with sums over the symbols of the level.

    Parameters
    ----------
    grammar : PCFG
    strings : int array [n, leaves]
        They need not be in the language.
    trees : Parses
        One per string, of the same length.

    Returns
    -------
    NodePosterior
        In the order of ``trees.nodes``.

    Raises
    ------
    InvalidParameter
        If the trees are of another grammar, number or length, or symbols are out of range.

    Notes
    -----
    Validity: a reading of strings outside of the language, for which there is no posterior.

    Examples
    --------
    >>> g = PCFG.layered([{2: [[[0, 0]]]}, {2: [[[0, 1]]]}])
    >>> derived_nodes(g, [[0, 1, 1, 1]], g.sample(1, 0)).span.tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    """
    found = symbols_of("strings", strings, 0, grammar.v)
    evidence = SymbolEvidence(found, 0.0, -np.inf, grammar.v)
    return _inferred(grammar, evidence, None, None)._from_below(trees)


def _inferred(g: PCFG, log_evidence: Any, root: Any, threads: int | None) -> ParsePosterior:
    """Chart, evidence and log Z, which is -inf where the evidence is impossible."""
    relative, shift = _evidence(g, log_evidence)
    n, length = relative.shape[:2]
    chart, prior = chart_of(g, length), _priors(g, root, n)
    workers = available_threads() if threads is None else threads
    memory(f"evidence of {n} strings of {length} leaves", 24.0 * relative.size)
    made = ParsePosterior(g, np.empty(n), chart, np.exp(relative), relative, shift, prior, workers)
    _fill_log_evidence(made)
    return made


def _fill_log_evidence(found: ParsePosterior) -> None:
    """Fill in log Z of every string."""
    c, values = found._chart, found.log_evidence
    c.affordable(float(found._threads), "inside sums")

    def one(first: int) -> None:
        last = min(first + kernels.LANES, len(values))
        chart = _inside_tile(c, found._psi[first:last])
        roots = chart[c.root_row : c.root_row + found._prior.shape[1], : last - first]
        z = (roots * found._prior[first:last].T).sum(axis=0)
        with np.errstate(divide="ignore"):
            values[first:last] = np.log(z)
        for lane in np.flatnonzero(~(z >= _SMALLEST)):
            values[first + lane] = found._log_chart(first + int(lane))[1]

    jobs = range(0, len(values), kernels.LANES)
    if found._threads == 1 or len(jobs) == 1:
        for first in jobs:
            one(first)
    else:
        with ThreadPoolExecutor(found._threads) as pool:
            list(pool.map(one, jobs))
    values += found._shift


# --------------------------------------------------------------------------- estimation of weights


@dataclass(frozen=True)
class WeightFit:
    """Rule probabilities of greatest likelihood that expectation maximisation reached.

    Attributes
    ----------
    grammar : PCFG
        The same rules with the new probabilities.
    log_likelihood : array [steps + 1]
        Of all strings together, before the first and after every step; it never falls.
    """

    grammar: PCFG
    log_likelihood: Array


@checked(
    evidence=unchecked,
    steps=partial(whole, low=1, high=10**6),
    pseudo_count=partial(number, low=0),
    threads=count,
)
def fit_weights(
    grammar: PCFG,
    evidence: Sequence[ArrayLike | SymbolEvidence],
    steps: int = 20,
    *,
    pseudo_count: float = 0.0,
    fit_prior: bool = False,
    threads: int | None = None,
) -> WeightFit:
    r"""Rule probabilities from clean or noisy strings, by expectation maximisation.

    .. math:: \pi_r \leftarrow \frac{\bar c_r + \alpha}{\sum_{r'} (\bar c_{r'} + \alpha)}, \qquad
       \bar c_r = \sum_x E[\text{uses of } r \mid x],

    with the sum over the rules of the same symbol.

    Parameters
    ----------
    grammar : PCFG
        The rules, and the probabilities to begin with; those of zero stay zero.
    evidence : sequence of arrays [n, leaves, v] or SymbolEvidence
        One entry per length.
    steps : int
    pseudo_count : float
        alpha >= 0, added to each rule; the sum of log likelihood and log prior rises then.
    fit_prior : bool
        Fit the root prior too.
    threads : int, optional
        Default: all processors.

    Returns
    -------
    WeightFit

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`parse_posterior`.

    Notes
    -----
    Validity: a local maximum; the likelihood is that of strings and their lengths.  Symbols that no
    string uses keep their probabilities.

    Examples
    --------
    >>> g = PCFG.from_text("S -> S S [0.5] | 'a' [0.25] | 'b' [0.25]")
    >>> clean = np.log(np.eye(2)[[[0, 0, 1, 0]]] + 1e-300)
    >>> fit_weights(g, [clean], steps=30).grammar.weights.round(4).tolist()
    [0.4286, 0.4286, 0.1429]
    """
    if not isinstance(evidence, (list, tuple)) or not evidence:
        raise InvalidParameter("evidence must be a list of arrays, one per length of the strings")
    likelihood = []
    for step in range(steps + 1):
        found = [parse_posterior(grammar, x, threads=threads) for x in evidence]
        likelihood.append(sum(float(one.log_evidence.sum()) for one in found))
        if step == steps:
            break
        counts = sum(one.rule_counts.sum(axis=0) for one in found) + pseudo_count
        counts = np.where(grammar.weights > 0, counts, 0.0)
        total = np.bincount(grammar.parents, counts, grammar.N)[grammar.parents]
        weights = np.divide(counts, total, out=np.array(grammar.weights), where=total > 0)
        prior = None
        if fit_prior:
            prior = np.zeros(grammar.N)
            top = sum(one.class_marginals.sum(axis=0) for one in found)
            prior[: grammar.n_classes] = top / top.sum()
        grammar = grammar.reweighted(weights, prior)
    return WeightFit(grammar, np.array(likelihood))
