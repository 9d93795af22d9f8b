"""Passes of belief propagation over whole trees: blocks, and extreme samples done again.

Blocks.  A tree that does not fit into the cache, or a batch too small to fill the lanes of a
vector, is cut at a level: the subtrees below are columns of their own, their root messages are the
leaf evidence of the tree above, and its raw downward messages are the priors of the subtrees.  All
scales are powers of two, so the cut changes no bit of any result.

Range.  A message entry that underflows is lost with relative weight below ``2**(MIN - range)``,
where ``MIN`` is the smallest exponent and ``range`` the smallest sum of exponents along a path.
Samples beyond the limits are done again in float64, and then in logarithms.

Level blocks.  Everything with one number per node is a flat array of blocks [n, nodes], root first;
a block stays what it is when each column is cut into pieces.

Columns.  A kernel works on *columns*: samples, or subtrees of samples.  Its tables are made once
per grammar (:class:`Plan`) and come first in this file, the passes after them.
"""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hierdiff.data.rhm import Grammar
from hierdiff.theory.belief_propagation._kernels import layout, simd
from hierdiff.theory.belief_propagation._kernels.leaves import centre
from hierdiff.theory.belief_propagation._kernels.passes import run
from hierdiff.theory.belief_propagation.buffers import (
    Shelf,
    address,
    available_threads,
    in_threads,
    results,
)

__all__ = ["available_threads"]

Array = NDArray[Any]

_SERIAL_WORK = 150_000  # vector operations below which a second thread costs more than it gives


# ------------------------------------------------------------------------- evidence of the columns


@dataclass(frozen=True)
class Exact:
    """What conversion to the kernels' numbers may lose, for samples at the end of their range.

    float32 rounds log-evidence of -1e6 by .03, and the exponential of -800 is zero in float64.
    """

    root: Array  # float64 [n or 1, v_0]
    match: Array  # float64 [n] or empty: logarithms, the larger of the two is 0
    other: Array
    dense: Array | None = None  # float64 [k, leaves, v] as it was given, where `Leaves` has float32
    rows: Array | None = None  # the k columns that are kept, increasing; None: all

    def take(self, rows: Array) -> Exact:
        """A selection of columns."""
        dense, kept = self.dense, None
        if dense is not None and self.rows is None:
            dense = dense[rows]
        elif dense is not None and self.rows is not None:
            at = np.searchsorted(self.rows, rows)
            here = at < len(self.rows)
            here[here] = self.rows[at[here]] == rows[here]
            dense, kept = dense[at[here]], np.flatnonzero(here)
        return Exact(
            self.root if len(self.root) == 1 else self.root[rows],
            self.match[rows] if self.match.size else self.match,
            self.other[rows] if self.other.size else self.other,
            dense,
            kept,
        )


@dataclass(frozen=True)
class Leaves:
    """Leaf evidence and root prior of n columns, in the form that the kernels read."""

    kind: int  # 0 logarithms, 1 likelihoods (both in `dense`), 2 symbols
    dense: Array  # [n, leaves, v] or empty
    symbols: Array  # int32 [n, leaves] or empty
    match: Array  # [n] or empty
    other: Array  # [n] or empty
    root: Array  # [n or 1, v_0]
    shift: Array  # float64 [n], what was taken out of the logarithms beforehand
    exact: Exact | None = None  # None for pieces of a tree
    pieces: int = 1  # columns that share an entry of `match` and `other`

    def __len__(self) -> int:
        return int(self.symbols.shape[0] if self.kind == 2 else self.dense.shape[0])

    def wide(self, rows: Array) -> Leaves:
        """A selection of columns in float64, from the numbers before they were converted."""
        assert self.exact is not None
        exact = self.exact.take(rows)
        dense, shift = self.dense, self.shift[rows]
        if exact.dense is not None:
            dense, shift = exact.dense, np.zeros(len(rows))
        elif self.kind != layout.SYMBOLS_SEEN:
            dense = dense[rows]
        return Leaves(
            self.kind,
            np.require(dense, np.float64, ["C", "W"]),
            self.symbols[rows] if self.kind == layout.SYMBOLS_SEEN else self.symbols,
            np.exp(exact.match),
            np.exp(exact.other),
            exact.root,
            shift,
            replace(exact, dense=None),
        )

    def take(self, rows: Array) -> Leaves:
        """A selection of columns."""
        seen = self.kind == layout.SYMBOLS_SEEN
        return Leaves(
            self.kind,
            self.dense if seen else self.dense[rows],
            self.symbols[rows] if seen else self.symbols,
            self.match[rows] if seen else self.match,
            self.other[rows] if seen else self.other,
            self.root if len(self.root) == 1 else self.root[rows],
            self.shift[rows],
            None if self.exact is None else self.exact.take(rows),
        )

    def keep(self, rows: Array) -> Leaves:
        """The same with nothing of the caller's: of the exact evidence, the given columns alone."""
        if self.exact is None or self.exact.dense is None:
            return self
        kept = np.array(self.exact.dense[rows], np.float64)
        return replace(self, exact=replace(self.exact, dense=kept, rows=rows))

    def cut(self, pieces: int, root: Array) -> Leaves:
        """Each column cut into ``pieces`` neighbouring columns, with priors of their own."""
        n = len(self) * pieces
        if self.kind == 2:
            return replace(
                self,
                symbols=self.symbols.reshape(n, self.symbols.shape[1] // pieces),
                root=root,
                exact=None,
                pieces=pieces,
            )
        dense = self.dense.reshape(n, self.dense.shape[1] // pieces, self.dense.shape[2])
        return replace(self, dense=dense, root=root, exact=None)


def centred(dense: Array, threads: int) -> tuple[Array, Array]:
    """Log-evidence [n, leaves, v] in float32 with the largest of each leaf at 0, and their sum [n].

    The difference is taken before the conversion, so that what all symbols have in common costs
    float32 no digit.  A leaf without a finite largest value stays as it is: it is reported later.
    """
    out, tops = results(dense.size, np.float32).reshape(dense.shape), np.empty(dense.shape[:2])
    source = np.require(dense, None, ["C", "W"])
    parts = threads if dense.size >= _SERIAL_WORK else 1
    in_threads(len(dense), parts, lambda a, b: centre(source[a:b], out[a:b], tops[a:b]))
    return out, tops.sum(axis=1)


# --------------------------------------------------------------------------- tables of a grammar


@dataclass(frozen=True, eq=False)
class Plan:
    """The levels ``top`` to ``bottom`` of a grammar as the kernels take them, for one number type.

    With ``shared`` all parents of leaves keep their leaves at the same place.
    """

    top: int
    bottom: int
    dtype: np.dtype[Any]
    tables: tuple[Array, ...]  # in the order of the first entries of a job
    message_bytes: int  # of a tile
    work: int  # vector operations on a tile
    shelf: Shelf

    @property
    def geometry(self) -> Array:
        """Sizes and places per level; int64 [levels, layout.NUMBER]."""
        return self.tables[0]

    @cached_property
    def template(self) -> Array:
        """A job of this grammar in which nothing is wanted yet."""
        depth = self.bottom - self.top
        job = np.zeros(layout.HEAD + 2 * (depth + 1), np.int64)
        job[layout.GEOMETRY : layout.DEPTH] = [address(table) for table in self.tables]
        job[layout.DEPTH], job[layout.PIECES], job[layout.LOWEST] = depth, 1, -1
        job[layout.HEAD : layout.HEAD + depth + 1] = -1
        return job

    @cached_property
    def base(self) -> Array:
        """An array of the number type, by which compiled code is chosen."""
        return np.empty(1, self.dtype)


_PLANS: dict[int, tuple[weakref.ref[Grammar], dict[Any, Plan]]] = {}


def _forget(plans: dict[int, Any], key: int, _: object) -> None:
    plans.pop(key, None)


def plan_of(g: Grammar, top: int, bottom: int, dtype: np.dtype[Any], shared: bool) -> Plan:
    """The plan of a block; by the object first, since its contents take microseconds to compare."""
    key, mark = id(g), (top, bottom, dtype.char, shared)
    known = _PLANS.get(key)
    if known is None or known[0]() is not g:
        forget = functools.partial(_forget, _PLANS, key)  # the names of a module may go first
        known = weakref.ref(g, forget), {}
        _PLANS[key] = known
    plan = known[1].get(mark)
    if plan is None:
        plan = known[1][mark] = _plan(_Content(g), top, bottom, dtype, shared)
    return plan


@dataclass(frozen=True)
class _Content:
    """A grammar without its identity: equal ones share their tables."""

    grammar: Grammar


@functools.lru_cache(maxsize=64)
def _plan(content: _Content, top: int, bottom: int, dtype: np.dtype[Any], shared: bool) -> Plan:
    g, depth, width = content.grammar, bottom - top, simd.lanes(dtype)
    geometry = _geometry(g, top, bottom, width, shared)
    tables = _tables(g, top, bottom, dtype, geometry)
    last, itemsize = geometry[-1], dtype.itemsize
    column = {name: geometry[:, getattr(layout, name)] for name in ("SYMBOLS", "NODES", "RULES")}
    v, branches = column["SYMBOLS"], geometry[:-1, layout.BRANCHES]
    rules = v[:-1] * column["RULES"][:-1]
    family = int((branches * v[1:]).max())  # lines of the children of a node
    parents, step = int(column["NODES"][-2]), int(last[layout.STEP])
    messages = int(last[layout.ROWS]) + (parents - 1) * step
    messages += int(branches[-1] * last[layout.STRIDE])
    stack = int(last[layout.STACK]) + int(branches[-1] * v[-1]) * width
    products = int((rules * (branches + 1) // 2 * (branches > 2)).max()) * width
    block = max(family, int(v.max()), 2 * int(branches.max())) * width
    seen = 4 * width * (int(last[layout.NODES]) if shared else 1)
    floats = [messages, stack, products, block, 8 * width]
    sizes = (*(itemsize * x for x in floats), seen, 8 * (depth + 1), 8 * (depth + 1))
    # one operation per rule and child on the way up, two on the way down, and a line's way each
    work = int((column["NODES"][:-1] * (3 * rules * branches + 3 * branches * v[1:])).sum())
    return Plan(top, bottom, dtype, tables, itemsize * messages, work, Shelf(sizes))


def _geometry(g: Grammar, top: int, bottom: int, width: int, shared: bool) -> Array:
    depth = bottom - top
    geometry = np.zeros((depth + 1, layout.NUMBER), np.int64)
    nodes, rows, stack = 1, 0, 0
    for i in range(depth + 1):
        v = g.v[top + i]
        stride = (v + 2) * width if i < depth else v * width
        geometry[i, [layout.SYMBOLS, layout.NODES, layout.ROWS, layout.STRIDE]] = (
            v, nodes, rows, stride,
        )  # fmt: skip
        geometry[i, layout.STACK] = stack
        group = (g.s[top + i - 1] if i else 1) * stride
        geometry[i, layout.STEP] = 0 if shared and i == depth else group
        rows += nodes * stride
        stack += (g.s[top + i - 1] if i else 1) * v * width
        if i < depth:
            geometry[i, layout.BRANCHES] = g.s[top + i]
            geometry[i, layout.RULES] = g.m[top + i]
            nodes *= g.s[top + i]
    return geometry


def _tables(
    g: Grammar, top: int, bottom: int, dtype: np.dtype[Any], geometry: Array
) -> tuple[Array, ...]:
    """All tables of a job; fills the places of rules in the geometry, the first of them."""
    width = simd.lanes(dtype)
    up: list[Array] = []
    up_weights: list[Array] = []
    rules: list[Array] = []
    down: list[Array] = []
    down_weights: list[Array] = []
    starts: list[Array] = []
    for i in range(bottom - top):
        rule, weight = g.rules[top + i], g.weights[top + i]
        v, m, s = rule.shape
        stride = int(geometry[i + 1, layout.STRIDE])
        offsets = (rule * width + np.arange(s) * stride).reshape(v * m, s)
        flat_weight = np.repeat(weight.reshape(v * m, 1), s, axis=1)
        geometry[i, layout.WEIGHTED] = not bool(np.all(weight == weight[0, 0]))
        geometry[i, layout.UP] = sum(x.size for x in up)
        geometry[i, layout.DOWN] = sum(x.size for x in starts)
        up.append(offsets.ravel())
        up_weights.append(flat_weight.ravel())
        rules.append(rule.ravel())
        for j in range(s):
            order = np.argsort(rule[:, :, j].ravel(), kind="stable")
            factors = _factors(offsets, v, m, j, width)
            first = sum(x.size for x in down)
            down.append(factors[order].ravel())
            down_weights.append(flat_weight[order, : factors.shape[1]].ravel())
            count = np.bincount(rule[:, :, j].ravel(), minlength=g.v[top + i + 1])
            ends = factors.shape[1] * np.concatenate([[0], np.cumsum(count)])
            starts.append(first + ends)

    def flat(parts: list[Array], kind: Any) -> Array:
        return np.concatenate(parts).astype(kind)

    return (
        geometry,
        flat(up, np.int32),
        flat(up_weights, dtype),
        flat(rules, np.int32),
        flat(down, np.int32),
        flat(down_weights, dtype),
        flat(starts, np.int64),
    )


def _factors(offsets: Array, v: int, m: int, j: int, width: int) -> Array:
    """What is multiplied in the message to child j, for each rule: offsets of lines.

    Up to two children: D(a), and the sibling.  More: the rule's product of all but the pair of
    the child, and the other one of the pair (see ``tree.py`` of the kernels).
    """
    s = offsets.shape[1]
    parent = np.repeat(np.arange(v), m) * width
    if s <= 2:
        return np.column_stack([parent, np.delete(offsets, j, axis=1)])
    groups = (s + 1) // 2
    sibling = j ^ 1 if j ^ 1 < s else j - 1
    product = (np.arange(v * m) * groups + j // 2) * width
    return np.column_stack([product, offsets[:, sibling]])


# ------------------------------------------------------------------------------------ one block


@dataclass(frozen=True)
class Job:
    """The passes over the levels ``plan.top`` .. ``plan.bottom`` of n columns."""

    plan: Plan
    leaves: Leaves
    threads: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the messages."""
        return self.plan.dtype

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.leaves)

    @property
    def tiles(self) -> int:
        """Number of tiles that hold them."""
        return -(-self.n // simd.lanes(self.dtype))


def job_of(g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int) -> Job:
    """The passes over the levels ``top`` .. ``bottom``, the last of which holds the evidence."""
    shared = leaves.kind == layout.SYMBOLS_SEEN
    return Job(plan_of(g, top, bottom, leaves.root.dtype, shared), leaves, threads)


@dataclass(frozen=True)
class Result:
    """Per column: log p(evidence) = log z - log 2 * exponents + sum of shifts."""

    z: Array
    exponents: Array
    ranges: Array
    shifts: Array  # [n, leaves] or [n, 0]

    def log_evidence(self) -> Array:
        """Logarithm of the sum over derivations, rules counted with weight one where uniform."""
        with np.errstate(divide="ignore"):
            log_z = np.log(self.z.astype(np.float64))
        found = log_z - np.log(2.0) * self.exponents
        if self.shifts.size:
            found += self.shifts.astype(np.float64).sum(axis=1)
        return np.asarray(found)


class Action(Protocol):
    """What a pass leaves behind besides the evidence."""

    def wants(self, job: Job, entries: Array, normalise: bool, priors: Array | None) -> None:
        """Fill the entries that say so; ``priors`` takes the raw messages to the last level."""

    def reaches(self, level: int) -> bool:
        """Whether anything is wanted from this level on."""

    @property
    def downward(self) -> bool:
        """Whether downward messages are needed for it."""


def run_job(
    job: Job,
    action: Action | None,
    normalise: bool = True,
    *,
    priors: Array | None = None,
    tops: Array | None = None,
    kept: Array | None = None,
    done: Result | None = None,
) -> Result:
    """Run compiled code over all tiles, in as many threads as pay.

    ``tops`` takes the messages of the roots.  ``kept`` holds the upward messages of all tiles;
    with ``done`` they are there, together with the result of the upward pass.
    """
    plan, leaves, n = job.plan, job.leaves, job.n
    entries = plan.template.copy()
    result = done if done is not None else _empty(job)
    entries[layout.KIND : layout.SEEN + 1] = (
        leaves.kind, n, address(leaves.dense), address(leaves.symbols),
    )  # fmt: skip
    entries[layout.MATCH : layout.ROOTS + 1] = (
        address(leaves.match), address(leaves.other), leaves.pieces,
        address(leaves.root), len(leaves.root),
    )  # fmt: skip
    entries[layout.Z : layout.SHIFTS + 1] = (
        address(result.z), address(result.exponents), address(result.ranges),
        address(result.shifts),
    )  # fmt: skip
    entries[layout.NORMALISE], entries[layout.UPWARD_DONE] = normalise, done is not None
    if kept is not None:
        entries[layout.KEPT], entries[layout.MESSAGES] = address(kept), plan.message_bytes
    if tops is not None:
        entries[layout.TOPS] = address(tops)
    if action is not None:
        action.wants(job, entries, normalise, priors)
    parts = job.threads if job.tiles * plan.work > _SERIAL_WORK else 1

    def part(first: int, last: int) -> None:
        scratch = plan.shelf.take()
        run(first, last, entries, scratch.room, plan.base)
        plan.shelf.give(scratch)

    in_threads(job.tiles, parts, part)
    return result


def _empty(job: Job) -> Result:
    n, dtype = job.n, job.dtype
    leaves = job.leaves.dense.shape[1] if job.leaves.kind == layout.LOGARITHMS else 0
    return Result(np.zeros(n, dtype), np.empty(n), np.empty(n, dtype), np.empty((n, leaves), dtype))


# -------------------------------------------------------------------------- passes over whole trees

_WHOLE_TREE_BYTES = 6 << 20  # a tile of whole samples may spill into the outer cache ...
_SUBTREE_BYTES = 3 << 19  # ... a tile of subtrees stays in the inner one
_KEPT_BYTES = 1 << 20  # upward messages of subtrees up to this size are not computed twice
_CUT_WORK = 20_000  # vector operations that the calls of a cut cost


def places(g: Grammar, n: int, top: int = 0, copies: int = 1) -> Array:
    """Where the block of each level starts, from level ``top`` of a tree with n columns there."""
    sizes = [n * copies * g.n_nodes(level) // g.n_nodes(top) for level in range(top, g.L + 1)]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def cut_level(g: Grammar, top: int, bottom: int, n: int, dtype: Any) -> int | None:
    """The level at which columns are cut, or None where whole columns do.

    Columns are cut where a tile of them would not fit into the cache; and where they fill so few
    lanes that a tree with more of them, below, and few nodes, above, costs less.
    """
    lanes = simd.lanes(dtype)
    if n == 0 or bottom - top < 2:
        return None
    # all larger batches fill their lanes alike
    cut = _cut(g.v[top : bottom + 1], g.s[top:bottom], g.m[top:bottom], min(n, 2 * lanes), lanes)
    return None if cut is None else top + cut


@functools.lru_cache(maxsize=4096)
def _cut(
    v: tuple[int, ...], s: tuple[int, ...], m: tuple[int, ...], n: int, lanes: int
) -> int | None:
    depth = len(s)
    nodes = np.cumprod([1, *s])
    each = [3 * s[i] * (v[i] * m[i] + v[i + 1]) for i in range(depth)]  # operations on a node

    def size(level: int) -> int:
        lines = sum(int(nodes[i]) * (v[i] + 2) for i in range(level, depth + 1))
        return lines // int(nodes[level]) * simd.LINE

    def cost(level: int) -> float:
        below = -(-n * int(nodes[level]) // lanes) / int(nodes[level])
        tiles = [-(-n // lanes)] * level + [below] * (depth - level)
        return sum(t * int(nodes[i]) * each[i] for i, t in enumerate(tiles))

    fitting = [level for level in range(1, depth) if size(level) <= _SUBTREE_BYTES]
    best = min(fitting, key=cost, default=depth - 1)
    whole = size(0) <= _WHOLE_TREE_BYTES and cost(0) <= cost(best) + _CUT_WORK
    return None if whole else best


def upward(g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int) -> tuple[Array, Result]:
    """Root messages [n, v_top], in units where their sum is in [1, 2), and their scales."""
    cut = cut_level(g, top, bottom, len(leaves), leaves.root.dtype)
    if cut is None:
        tops = np.empty((len(leaves), g.v[top]), leaves.root.dtype)
        return tops, run_job(job_of(g, top, bottom, leaves, threads), None, tops=tops)
    below = _Below(g, top, cut, bottom, leaves, threads, False)
    tops, result = upward(g, top, cut, below.above, threads)
    return tops, _merge(result, below.result)


class _Below:
    """The subtrees below a cut, after their upward pass."""

    def __init__(
        self, g: Grammar, top: int, cut: int, bottom: int, leaves: Leaves, threads: int, keep: bool
    ) -> None:
        dtype, pieces = leaves.root.dtype, g.n_nodes(cut) // g.n_nodes(top)
        self.leaves = leaves.cut(pieces, np.ones((1, g.v[cut]), dtype))
        self.job = job_of(g, cut, bottom, self.leaves, threads)
        size = self.job.tiles * self.job.plan.message_bytes
        self.kept = results(size, np.uint8) if keep and size <= _KEPT_BYTES else None
        tops = np.empty((len(self.leaves), g.v[cut]), dtype)
        self.result = run_job(self.job, None, tops=tops, kept=self.kept)
        empty = np.empty(0, dtype)
        self.above = Leaves(
            layout.LIKELIHOODS, tops.reshape(len(leaves), pieces, g.v[cut]),
            np.empty((0, 0), np.int32), empty, empty, leaves.root, leaves.shift,
        )  # fmt: skip

    def walk(self, action: Action, root: Array | None, priors: Array | None) -> None:
        """Both passes, or the second one where the messages of the first were kept."""
        leaves = self.leaves if root is None else replace(self.leaves, root=root)
        job = replace(self.job, leaves=leaves)
        done = None if self.kept is None else self.result
        run_job(job, action, False, priors=priors, kept=self.kept, done=done)


def _merge(above: Result, below: Result) -> Result:
    n = above.z.size
    return Result(
        above.z,
        above.exponents + below.exponents.reshape(n, -1).sum(axis=1),
        above.ranges + below.ranges.reshape(n, -1).min(axis=1),
        below.shifts.reshape(n, below.shifts.size // n),
    )


def walk(
    g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int, action: Action,
    normalise: bool = True, priors: Array | None = None,
) -> Result:  # fmt: skip
    """Both passes, cut into blocks where that pays; ``action`` keeps what is wanted."""
    cut = cut_level(g, top, bottom, len(leaves), leaves.root.dtype)
    if cut is None:
        job = job_of(g, top, bottom, leaves, threads)
        return run_job(job, action, normalise, priors=priors)
    lower = priors is not None or action.reaches(cut)
    below = _Below(g, top, cut, bottom, leaves, threads, lower)
    middle = None
    if lower and action.downward:
        middle = np.empty((len(below.leaves), g.v[cut]), leaves.root.dtype)
    result = walk(g, top, cut, below.above, threads, action, normalise, middle)
    if lower:
        below.walk(action, middle, priors)
    return _merge(result, below.result)


# ------------------------------------------------------------------------------------- actions


@dataclass(frozen=True)
class Dense:
    """Writes marginals or messages, all entries; ``starts[level]`` is the place in ``values``.

    A level is a block [nodes, v, rows], or [columns, nodes, v] where ``rows`` is 0.
    """

    kind: int
    starts: dict[int, int]
    values: Array
    rows: int
    downward = True

    def wants(self, job: Job, entries: Array, normalise: bool, priors: Array | None) -> None:
        """Fill the entries of a job."""
        plan, lanes = job.plan, simd.lanes(job.dtype)
        last = plan.bottom - (priors is not None)
        here = {x: start for x, start in self.starts.items() if plan.top <= x <= last}
        for level, start in here.items():
            entries[layout.HEAD + level - plan.top] = start
        sizes = plan.geometry[:, layout.NODES] * plan.geometry[:, layout.SYMBOLS]
        aligned = address(self.values) % simd.LINE == 0 and all(
            start % lanes == 0 and sizes[level - plan.top] % lanes == 0
            for level, start in here.items()
        )
        entries[layout.VALUES : layout.ALIGNED + 1] = (
            address(self.values), self.kind, self.rows, aligned,
        )  # fmt: skip
        entries[layout.LOWEST] = max(here, default=plan.top) - plan.top
        _hand_down(plan, entries, priors)

    def reaches(self, level: int) -> bool:
        """Whether a level from this one on is wanted."""
        return any(x >= level for x in self.starts)

    def __call__(self, job: Job, normalise: bool) -> Result:
        """Run both passes over uncut columns."""
        return run_job(job, self, normalise)


def _hand_down(plan: Plan, entries: Array, priors: Array | None) -> None:
    if priors is not None:
        entries[layout.LAST_DOWN] = address(priors)
        entries[layout.LOWEST] = plan.bottom - plan.top


def _set_places(plan: Plan, entries: Array, starts: Array) -> None:
    entries[layout.HEAD + plan.bottom - plan.top + 1 :] = starts[plan.top : plan.bottom + 1]


@dataclass(frozen=True)
class Beliefs:
    """Keeps three numbers per node: marginal and upward belief in the truth, sum of squares."""

    truth: Array  # int32, level blocks
    starts: Array  # int64 [L + 1], their places
    out: Array  # [3, size of truth]
    downward = True

    def wants(self, job: Job, entries: Array, normalise: bool, priors: Array | None) -> None:
        """Fill the entries of a job."""
        entries[layout.TRUTH : layout.BELIEFS_SIZE + 1] = (
            address(self.truth), address(self.out), self.out.shape[1],
        )  # fmt: skip
        _set_places(job.plan, entries, self.starts)
        entries[layout.LOWEST] = job.plan.bottom - job.plan.top
        _hand_down(job.plan, entries, priors)

    def reaches(self, level: int) -> bool:
        """All levels are wanted."""
        return True


@dataclass(frozen=True)
class Draw:
    """Draws posterior samples; blocks are [n, repeats, nodes]."""

    repeats: int
    root_uniforms: Array  # [n * repeats]
    uniforms: Array  # level blocks; the number of a node picks its rule
    starts: Array  # int64 [L + 1], the places of the level blocks
    out: Array  # int32, level blocks
    downward = False  # below a cut, the symbols of the roots are those that the block above drew

    def wants(self, job: Job, entries: Array, normalise: bool, priors: Array | None) -> None:
        """Fill the entries of a job."""
        entries[layout.REPEATS : layout.DRAWN + 1] = (
            self.repeats, address(self.root_uniforms) if job.plan.top == 0 else 0,
            address(self.uniforms), address(self.out),
        )  # fmt: skip
        _set_places(job.plan, entries, self.starts)

    def reaches(self, level: int) -> bool:
        """All levels are wanted."""
        return True


@dataclass(frozen=True)
class BeliefsAndDraw:
    """What :class:`Beliefs` and :class:`Draw` keep, one draw each, after one upward pass."""

    beliefs: Beliefs
    draw: Draw
    downward = True

    def wants(self, job: Job, entries: Array, normalise: bool, priors: Array | None) -> None:
        """Fill the entries of a job; the two have the same places."""
        self.draw.wants(job, entries, normalise, priors)
        self.beliefs.wants(job, entries, normalise, priors)

    def reaches(self, level: int) -> bool:
        """All levels are wanted."""
        return True
