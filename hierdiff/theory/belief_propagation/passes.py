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

Columns.  A kernel works on *columns*: samples, or subtrees of samples.  Its tables, buffers and
threads come first in this file, the passes after them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hierdiff.data.rhm import Grammar
from hierdiff.theory.belief_propagation._kernels import layout, passes, simd
from hierdiff.theory.belief_propagation._kernels.leaves import centre

__all__: list[str] = []  # used inside hierdiff only

Array = NDArray[Any]

_SERIAL_WORK = 400_000  # vector operations below which a second thread costs more than it gives


def available_threads() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _most_threads() -> int:
    """More than one per processor gain nothing, and thousands cannot be started."""
    return max(available_threads(), 64)


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
        at = rows if self.rows is None else np.searchsorted(self.rows, rows)
        return Exact(
            self.root if len(self.root) == 1 else self.root[rows],
            self.match[rows] if self.match.size else self.match,
            self.other[rows] if self.other.size else self.other,
            None if self.dense is None else self.dense[at],
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
                match=np.repeat(self.match, pieces),
                other=np.repeat(self.other, pieces),
                root=root,
                exact=None,
            )
        dense = self.dense.reshape(n, self.dense.shape[1] // pieces, self.dense.shape[2])
        return replace(self, dense=dense, root=root, exact=None)


def centred(dense: Array, threads: int) -> tuple[Array, Array]:
    """Log-evidence [n, leaves, v] in float32 with the largest of each leaf at 0, and their sum [n].

    The difference is taken before the conversion, so that what all symbols have in common costs
    float32 no digit.  A leaf without a finite largest value stays as it is: it is reported later.
    """
    out, tops = np.empty(dense.shape, np.float32), np.empty(dense.shape[:2])
    source = np.require(dense, None, ["C", "W"])
    if dense.size < _SERIAL_WORK or threads < 2:
        centre(source, out, tops)
    else:
        parts = min(threads, len(dense), _most_threads())
        bounds = [len(dense) * i // parts for i in range(parts + 1)]
        with ThreadPoolExecutor(len(bounds) - 1) as pool:
            list(pool.map(
                lambda a, b: centre(source[a:b], out[a:b], tops[a:b]), bounds[:-1], bounds[1:]
            ))  # fmt: skip
    return out, tops.sum(axis=1)


@dataclass(frozen=True)
class Job:
    """Levels ``top`` to ``bottom`` of a grammar over n columns, with its tables."""

    grammar: Grammar
    top: int
    bottom: int
    leaves: Leaves
    threads: int
    tables: layout.Tables

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating-point type of the messages."""
        return np.dtype(self.leaves.root.dtype)

    @property
    def n(self) -> int:
        """Number of columns."""
        return len(self.leaves)

    def nodes(self, level: int) -> int:
        """Nodes of a level per column."""
        return int(self.tables.geometry[level - self.top, layout.NODES])


def job_of(g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int) -> Job:
    """The passes over the levels ``top`` .. ``bottom``, the last of which holds the evidence."""
    shared = leaves.kind == layout.SYMBOLS_SEEN
    tables = _tables(g, top, bottom, np.dtype(leaves.root.dtype), shared)
    return Job(g, top, bottom, leaves, threads, tables._replace(geometry=tables.geometry.copy()))


@functools.lru_cache(maxsize=64)
def _tables(g: Grammar, top: int, bottom: int, dtype: Any, shared: bool) -> layout.Tables:
    """Flat tables of the levels ``top`` .. ``bottom``; the last one holds the evidence.

    With ``shared`` all parents of leaves keep their leaves at the same place.
    """
    width = simd.lanes(dtype)
    depth = bottom - top
    geometry = np.zeros((depth + 1, layout.NUMBER), np.int64)
    geometry[:, layout.OUT] = -1
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
    up: list[Array] = []
    up_weights: list[Array] = []
    rules: list[Array] = []
    down: list[Array] = []
    down_weights: list[Array] = []
    starts: list[Array] = []
    for i in range(depth):
        rule, weight = g.rules[top + i], g.weights[top + i]
        v, m, s = rule.shape
        stride = geometry[i + 1, layout.STRIDE]
        offsets = (rule * width + np.arange(s) * stride).reshape(v * m, s)
        flat_weight = np.repeat(weight.reshape(v * m, 1), s, axis=1)
        uniform = bool(np.all(weight == weight[0, 0]))
        geometry[i, layout.WEIGHTED] = not uniform
        geometry[i, layout.UP] = sum(x.size for x in up)
        geometry[i, layout.DOWN] = sum(x.size for x in starts)
        up.append(offsets.ravel())
        up_weights.append(flat_weight.ravel())
        rules.append(rule.ravel())
        parent = np.repeat(np.arange(v), m) * width
        for j in range(s):
            order = np.argsort(rule[:, :, j].ravel(), kind="stable")
            others = np.delete(offsets, j, axis=1)
            first = sum(x.size for x in down)
            down.append(np.column_stack([parent, others])[order].ravel())
            down_weights.append(flat_weight[order].ravel())
            count = np.bincount(rule[:, :, j].ravel(), minlength=g.v[top + i + 1])
            starts.append(first + s * np.concatenate([[0], np.cumsum(count)]))

    def flat(parts: list[Array], kind: Any) -> Array:
        return np.concatenate(parts).astype(kind)

    return layout.Tables(
        geometry,
        flat(up, np.int32),
        flat(up_weights, dtype),
        flat(rules, np.int32),
        flat(down, np.int32),
        flat(down_weights, dtype),
        flat(starts, np.int64),
    )


def _message_size(tables: layout.Tables) -> int:
    last, parents = tables.geometry[-1], int(tables.geometry[-2, layout.NODES])
    group = int(tables.geometry[-2, layout.BRANCHES] * last[layout.STRIDE])
    return int(last[layout.ROWS]) + (parents - 1) * int(last[layout.STEP]) + group


def _sizes(job: Job) -> tuple[int, ...]:
    """Numbers in each buffer of a thread, and the number of levels."""
    width = simd.lanes(job.dtype)
    geometry, last = job.tables.geometry, job.tables.geometry[-1]
    v = int(geometry[:, layout.SYMBOLS].max())
    branches = int(geometry[-2, layout.BRANCHES])
    stack = int(last[layout.STACK]) + branches * int(last[layout.SYMBOLS]) * width
    shared = job.leaves.kind == layout.SYMBOLS_SEEN
    seen = int(last[layout.NODES]) * width if shared else width
    return _message_size(job.tables), stack, v * width, 8 * width, seen, len(geometry)


def _scratch(job: Job) -> layout.Scratch:
    *floats, seen, levels = _sizes(job)
    messages, stack, block, line = (simd.aligned(size, job.dtype) for size in floats)
    slots, nodes = np.zeros(levels, np.int64), np.zeros(levels, np.int64)
    return layout.Scratch(messages, stack, block, line, simd.aligned(seen, np.int32), slots, nodes)


class _Buffers:
    """Scratch that was used before: new memory would cost a page fault per 4 KiB, every time."""

    def __init__(self, keep: int) -> None:
        self._free: list[tuple[tuple[Any, ...], layout.Scratch]] = []
        self._keep = keep
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(self, job: Job) -> Iterator[layout.Scratch]:
        """Scratch of the right sizes, for one thread at a time."""
        key = (job.dtype, _sizes(job))
        with self._lock:
            found = [i for i, (name, _) in enumerate(self._free) if name == key]
            scratch = self._free.pop(found[-1])[1] if found else None
        scratch = _scratch(job) if scratch is None else scratch
        yield scratch
        with self._lock:
            self._free = [*self._free, (key, scratch)][-self._keep :]


_BUFFERS = _Buffers(keep=8)


def to_kernel(leaves: Leaves) -> layout.Evidence:
    """The same evidence as the kernels take it."""
    return layout.Evidence(
        leaves.kind, leaves.dense, leaves.symbols, leaves.match, leaves.other, leaves.root
    )


def new_summary(job: Job) -> layout.Summary:
    """Empty per-column results."""
    n = job.n
    kept = (n, job.nodes(job.bottom) if job.leaves.kind == 0 else 0)
    return layout.Summary(
        np.zeros(n, job.dtype), np.zeros(n), np.zeros(n, job.dtype), np.zeros(kept, job.dtype)
    )


def run_tiles(job: Job, run: Callable[[int, int, layout.Scratch], None]) -> None:
    """Call ``run(first tile, last tile, scratch)``, in as many threads as pay."""
    tiles = -(-job.n // simd.lanes(job.dtype))
    geometry = job.tables.geometry
    rules = geometry[:, layout.SYMBOLS] * geometry[:, layout.RULES] * geometry[:, layout.BRANCHES]
    work = tiles * int((geometry[:, layout.NODES] * rules).sum())
    parts = min(job.threads, tiles, _most_threads()) if work > _SERIAL_WORK else 1

    def part(first: int, last: int) -> None:
        with _BUFFERS.borrow(job) as scratch:
            run(first, last, scratch)

    if parts <= 1:
        part(0, tiles)
        return
    bounds = [tiles * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(parts - 1) as pool:
        tasks = [pool.submit(part, bounds[i], bounds[i + 1]) for i in range(1, parts)]
        part(bounds[0], bounds[1])
        for task in tasks:
            task.result()


# -------------------------------------------------------------------------- passes over whole trees

_WHOLE_TREE_BYTES = 6 << 20  # a tile of whole samples may spill into the outer cache ...
_SUBTREE_BYTES = 3 << 19  # ... a tile of subtrees stays in the inner one
_SMALL_TREE = 64  # nodes below which a cut is not worth its calls


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
        shifts = self.shifts.astype(np.float64).sum(axis=1)
        return np.asarray(log_z - np.log(2.0) * self.exponents + shifts)


def places(g: Grammar, n: int, top: int = 0, copies: int = 1) -> Array:
    """Where the block of each level starts, from level ``top`` of a tree with n columns there."""
    sizes = [n * copies * g.n_nodes(level) // g.n_nodes(top) for level in range(top, g.L + 1)]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def cut_level(g: Grammar, top: int, bottom: int, n: int, dtype: Any) -> int | None:
    """The level at which columns are cut, or None where whole columns do."""

    def size(level: int) -> int:
        nodes = [g.n_nodes(x) // g.n_nodes(level) for x in range(level, bottom + 1)]
        return sum(k * (g.v[level + i] + 2) for i, k in enumerate(nodes)) * simd.LINE

    nodes = sum(g.n_nodes(x) for x in range(top, bottom + 1)) // g.n_nodes(top)
    lanes = simd.lanes(dtype)
    fits = size(top) <= _WHOLE_TREE_BYTES and (n >= 2 * lanes or nodes <= _SMALL_TREE)
    if fits or n == 0 or bottom - top < 2:
        return None
    for level in range(top + 1, bottom - 1):
        columns = n * g.n_nodes(level) // g.n_nodes(top)
        if size(level) <= _SUBTREE_BYTES and columns >= 4 * lanes:
            return level
    return bottom - 1


class Action(Protocol):
    """What a downward pass leaves behind."""

    def __call__(self, job: Job, normalise: bool) -> layout.Summary:
        """Run both passes over uncut columns."""

    def priors(
        self, g: Grammar, top: int, cut: int, above: Leaves, threads: int, normalise: bool
    ) -> Array:
        """The root lines of the subtrees, one row per subtree."""


def upward(g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int) -> tuple[Array, Result]:
    """Root messages [n, v_top], in units where their sum is in [1, 2), and their scales."""
    cut = cut_level(g, top, bottom, len(leaves), leaves.root.dtype)
    if cut is None:
        job = job_of(g, top, bottom, leaves, threads)
        summary, out = new_summary(job), np.empty((job.n, g.v[top]), job.dtype)
        evidence = to_kernel(leaves)
        run_tiles(
            job,
            lambda first, last, scratch: passes.root_messages(
                first, last, job.tables, evidence, scratch, summary, out
            ),
        )
        return out, Result(*summary)
    above, below = _cut(g, top, cut, bottom, leaves, threads)
    messages, result = upward(g, top, cut, above, threads)
    return messages, _merge(result, below)


def _cut(
    g: Grammar, top: int, cut: int, bottom: int, leaves: Leaves, threads: int
) -> tuple[Leaves, Result]:
    pieces = g.n_nodes(cut) // g.n_nodes(top)
    dtype = leaves.root.dtype
    flat = np.ones((1, g.v[cut]), dtype)
    messages, result = upward(g, cut, bottom, leaves.cut(pieces, flat), threads)
    empty = np.empty(0, dtype)
    dense = messages.reshape(len(leaves), pieces, g.v[cut])
    symbols = np.empty((0, 0), np.int32)
    return Leaves(1, dense, symbols, empty, empty, leaves.root, leaves.shift), result


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
    normalise: bool = True,
) -> Result:  # fmt: skip
    """Both passes, cut into blocks where that pays; ``action`` keeps what is wanted."""
    cut = cut_level(g, top, bottom, len(leaves), leaves.root.dtype)
    if cut is None:
        return Result(*action(job_of(g, top, bottom, leaves, threads), normalise))
    above, below = _cut(g, top, cut, bottom, leaves, threads)
    result = walk(g, top, cut, above, threads, action, normalise)
    root = action.priors(g, top, cut, above, threads, normalise)
    pieces = g.n_nodes(cut) // g.n_nodes(top)
    walk(g, cut, bottom, leaves.cut(pieces, root), threads, action, False)
    return _merge(result, below)


def _raw_downward(
    g: Grammar, top: int, cut: int, above: Leaves, threads: int, normalise: bool
) -> Array:
    columns = len(above) * g.n_nodes(cut) // g.n_nodes(top)
    values = np.empty((columns, g.v[cut]), above.root.dtype)
    action = Dense(layout.RAW_DOWNWARD, {cut: 0}, values.reshape(-1), 0)
    walk(g, top, cut, above, threads, action, normalise)
    return values


@dataclass(frozen=True)
class Dense:
    """Writes marginals or messages, all entries; ``starts[level]`` is the place in ``values``.

    A level is a block [nodes, v, rows], or [columns, nodes, v] where ``rows`` is 0.
    """

    kind: int
    starts: dict[int, int]
    values: Array
    rows: int

    def __call__(self, job: Job, normalise: bool) -> layout.Summary:
        """Run both passes over uncut columns."""
        # the last level of a block above a cut is written by the block below
        final = job.bottom == job.grammar.L or self.kind == layout.RAW_DOWNWARD
        for level in range(job.top, job.bottom + final):
            job.tables.geometry[level - job.top, layout.OUT] = self.starts.get(level, -1)
        summary, evidence = new_summary(job), to_kernel(job.leaves)
        output = layout.Output(self.kind, self.rows, self.values)
        run_tiles(
            job,
            lambda first, last, scratch: passes.marginals(
                first, last, job.tables, evidence, scratch, summary, normalise, output
            ),
        )
        return summary

    def priors(
        self, g: Grammar, top: int, cut: int, above: Leaves, threads: int, normalise: bool
    ) -> Array:
        """Raw downward messages of the roots of the subtrees."""
        return _raw_downward(g, top, cut, above, threads, normalise)


@dataclass(frozen=True)
class Beliefs:
    """Keeps three numbers per node: marginal and upward belief in the truth, sum of squares."""

    truth: Array  # int32, level blocks
    starts: Array  # int64 [L + 1], their places
    out: Array  # [3, size of truth]

    def __call__(self, job: Job, normalise: bool) -> layout.Summary:
        """Run both passes over uncut columns."""
        summary, evidence = new_summary(job), to_kernel(job.leaves)
        starts = self.starts[job.top : job.bottom + 1]
        run_tiles(
            job,
            lambda first, last, scratch: passes.beliefs(
                first, last, job.tables, evidence, scratch, summary, normalise,
                self.truth, starts, self.out,
            ),
        )  # fmt: skip
        return summary

    def priors(
        self, g: Grammar, top: int, cut: int, above: Leaves, threads: int, normalise: bool
    ) -> Array:
        """Raw downward messages of the roots of the subtrees."""
        return _raw_downward(g, top, cut, above, threads, normalise)


@dataclass(frozen=True)
class Draw:
    """Draws posterior samples; blocks are [n, repeats, nodes]."""

    repeats: int
    root_uniforms: Array  # [n * repeats]
    uniforms: Array  # level blocks; the number of a node picks its rule
    starts: Array  # int64 [L + 1], the places of the level blocks
    out: Array  # int32, level blocks

    def __call__(self, job: Job, normalise: bool) -> layout.Summary:
        """Run both passes over uncut columns."""
        summary, evidence = new_summary(job), to_kernel(job.leaves)
        starts = self.starts[job.top : job.bottom + 1]
        # below a cut the symbols of the roots were drawn by the block above
        root = self.root_uniforms if job.top == 0 else np.empty(0)
        run_tiles(
            job,
            lambda first, last, scratch: passes.samples(
                first, last, job.tables, evidence, scratch, summary, self.repeats, root,
                self.uniforms, starts, self.out,
            ),
        )  # fmt: skip
        return summary

    def priors(
        self, g: Grammar, top: int, cut: int, above: Leaves, threads: int, normalise: bool
    ) -> Array:
        """The symbols that the tree above drew."""
        columns = len(above) * g.n_nodes(cut) // g.n_nodes(top)
        first = int(self.starts[cut])
        one_hot = np.eye(g.v[cut], dtype=above.root.dtype)
        return np.asarray(one_hot[self.out[first : first + columns]])


@dataclass(frozen=True)
class BeliefsAndDraw:
    """What :class:`Beliefs` and :class:`Draw` keep, one draw each, after one upward pass."""

    beliefs: Beliefs
    draw: Draw

    def __call__(self, job: Job, normalise: bool) -> layout.Summary:
        """Run all passes over uncut columns."""
        summary, evidence = new_summary(job), to_kernel(job.leaves)
        starts = self.draw.starts[job.top : job.bottom + 1]
        root = self.draw.root_uniforms if job.top == 0 else np.empty(0)
        run_tiles(
            job,
            lambda first, last, scratch: passes.beliefs_and_samples(
                first, last, job.tables, evidence, scratch, summary, normalise,
                self.beliefs.truth, starts, self.beliefs.out,
                root, self.draw.uniforms, self.draw.out,
            ),
        )  # fmt: skip
        return summary

    def priors(
        self, g: Grammar, top: int, cut: int, above: Leaves, threads: int, normalise: bool
    ) -> Array:
        """Raw downward messages of the roots of the subtrees; their symbols are drawn already."""
        return _raw_downward(g, top, cut, above, threads, normalise)
