"""Passes of belief propagation over whole trees: blocks, and extreme samples done again.

Blocks.  A tree that does not fit into the cache, or a batch too small to fill the lanes of a
vector, is cut at a level: the subtrees below are columns of their own, their root messages are the
leaves of the tree above, and its raw downward messages are those of the roots below.  All units are
those of the whole tree, so the cut changes no bit of any result, nor the range of a sample.

Range.  A message entry that underflows is lost with relative weight below ``2**(MIN - range)``,
where ``MIN`` is the smallest exponent and ``range`` the smallest sum of exponents along a path,
which may begin with all children of a node: their messages are multiplied in their own units.
Samples beyond the limits are done again in float64, and then in logarithms.

Level blocks.  Everything with one number per node is a flat array of blocks [n, nodes], root first;
a block stays what it is when each column is cut into pieces.

Columns.  A kernel works on *columns*: samples, or subtrees of samples.  Its tables are made once
per grammar (:class:`Plan`) and come first in this file, the passes after them.
"""

from __future__ import annotations

import functools
import struct
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hierdiff.data.rhm import Grammar
from hierdiff.theory.belief_propagation._kernels import layout, simd
from hierdiff.theory.belief_propagation._kernels import passes as kernels
from hierdiff.theory.belief_propagation._kernels.leaves import centre
from hierdiff.theory.belief_propagation._kernels.specialised import (
    Code,
    code_of,
    suits,
    tree_code_of,
)
from hierdiff.theory.belief_propagation.buffers import (
    BELL,
    Shelf,
    address,
    available_threads,
    hold,
    in_threads,
    let_go,
    results,
    shelf_of,
    together,
)

__all__ = ["available_threads"]

Array = NDArray[Any]

_SERIAL_WORK = 150_000  # vector operations below which a second thread costs more than it gives


# ------------------------------------------------------------------------- evidence of the columns


@dataclass(eq=False)
class Exact:
    """What conversion to the kernels' numbers may lose, for samples at the end of their range.

    float32 rounds log-evidence of -1e6 by .03, and the exponential of -800 is zero in float64.
    """

    root: Array  # float64 [n or 1, v_0]
    match: Array  # float64 [n], [1] or empty: logarithms, the larger of the two is 0
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
            self.match[rows] if len(self.match) > 1 else self.match,
            self.other[rows] if len(self.other) > 1 else self.other,
            dense,
            kept,
        )


ALL = 1 << 31
"""More columns than there can be."""


@dataclass(eq=False)  # frozen, it would take two microseconds longer to make
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
    pieces: int = 1  # columns that share an entry of `match` and `other`: pieces of one, or all
    where: tuple[int, ...] = ()  # addresses, where they are known already

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "where": ()}  # a copy has its numbers elsewhere

    def __len__(self) -> int:
        return int(self.symbols.shape[0] if self.kind == 2 else self.dense.shape[0])

    @property
    def places(self) -> tuple[int, ...]:
        """Addresses of dense, symbols, match, other and root; 0 for what is empty."""
        if not self.where:
            arrays = (self.dense, self.symbols, self.match, self.other, self.root)
            self.where = tuple(address(x) if x.size else 0 for x in arrays)
        return self.where

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
            ALL if len(exact.match) == 1 else 1,
        )

    def take(self, rows: Array) -> Leaves:
        """A selection of columns."""
        seen = self.kind == layout.SYMBOLS_SEEN
        return Leaves(
            self.kind,
            self.dense if seen else self.dense[rows],
            self.symbols[rows] if seen else self.symbols,
            self.match[rows] if seen and self.pieces == 1 else self.match,
            self.other[rows] if seen and self.pieces == 1 else self.other,
            self.root if len(self.root) == 1 else self.root[rows],
            self.shift[rows],
            None if self.exact is None else self.exact.take(rows),
            self.pieces,
        )

    def keep(self, rows: Array) -> Leaves:
        """The same with nothing of the caller's: of the exact evidence, the given columns alone."""
        if self.exact is None or self.exact.dense is None:
            return self
        kept = np.array(self.exact.dense[rows], np.float64)
        return replace(self, exact=replace(self.exact, dense=kept, rows=rows))

    def cut(self, pieces: int, root: Array, place: int) -> Leaves:
        """Each column cut into ``pieces`` neighbouring columns, with other priors."""
        n, seen = len(self) * pieces, self.kind == layout.SYMBOLS_SEEN
        return Leaves(
            self.kind,
            self.dense if seen else self.dense.reshape(n, -1, self.dense.shape[2]),
            self.symbols.reshape(n, -1) if seen else self.symbols,
            self.match,
            self.other,
            root,
            self.shift,
            pieces=self.pieces * pieces,
            where=(*self.places[:4], place),
        )


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


def copied(dense: Array, threads: int) -> Array:
    """A copy, in memory that may be used again."""
    out = results(dense.size, dense.dtype).reshape(dense.shape)
    parts = threads if dense.size >= _SERIAL_WORK else 1
    in_threads(len(dense), parts, lambda a, b: np.copyto(out[a:b], dense[a:b]))
    return out


# --------------------------------------------------------------------------- tables of a grammar


@dataclass(frozen=True, eq=False)
class Plan:
    """The levels ``top`` to ``bottom`` of a grammar as the kernels take them, for one number type.

    Where symbols are seen, all parents of leaves keep their leaves at the same place.
    """

    top: int
    bottom: int
    dtype: np.dtype[Any]
    tables: tuple[Array, ...]  # in the order of the first entries of a job
    message_bytes: int  # of a tile
    work: int  # vector operations on a tile
    shelf: Shelf
    flat: Array  # a prior [1, v] of ones for the root, and its address
    flat_place: int
    code: tuple[Code, ...]  # whose addresses are in the geometry
    tree: Code | None = None  # for both passes as a whole

    @property
    def geometry(self) -> Array:
        """Sizes and places per level; int64 [levels, layout.NUMBER]."""
        return self.tables[0]

    @cached_property
    def rows(self) -> list[int]:
        """Numbers per column of each level."""
        sizes = self.geometry[:, layout.NODES] * self.geometry[:, layout.SYMBOLS]
        return [int(size) for size in sizes]

    @cached_property
    def template(self) -> Array:
        """A job of this grammar in which nothing is wanted yet."""
        depth = self.bottom - self.top
        job = np.zeros(layout.HEAD + 2 * (depth + 1), np.int64)
        job[layout.GEOMETRY : layout.DEPTH] = [address(table) for table in self.tables]
        job[layout.DEPTH], job[layout.PIECES], job[layout.LOWEST] = depth, 1, -1
        job[layout.HEAD : layout.HEAD + depth + 1] = -1
        job[layout.BELL] = BELL
        if self.tree is not None:
            job[[layout.UP_TREE, layout.DOWN_TREE]] = self.tree.up, self.tree.down
        return job

    @cached_property
    def name(self) -> int:
        """What differs for other number types and scratch; times two, for the two functions."""
        return 2 * id(self.shelf) + 2 * (self.dtype == np.float64)

    @cached_property
    def base(self) -> Array:
        """An array of the number type, by which compiled code is chosen."""
        return np.empty(1, self.dtype)


class Known:
    """What is computed once per grammar."""

    def __init__(self, g: Grammar) -> None:
        self.nodes = tuple(g.n_nodes(level) for level in range(g.L + 1))
        self.total_nodes, self.widest = sum(self.nodes), max(g.v)
        self.rule_symbols = sum(table.size for table in g.rules)
        # the kernels leave out the weights of rules that all have the same
        self.log_weights = sum(
            self.nodes[level] * float(np.log(weight[0, 0]))
            for level, weight in enumerate(g.weights)
            if np.all(weight == weight[0, 0])
        )
        self.plans: dict[Any, Plan] = {}
        self.cuts: dict[Any, int | None] = {}
        self.blocks: dict[Any, Any] = {}
        self.code: dict[tuple[int, str], Code] = {}  # by level and number type
        self.trees: dict[str, Code] = {}  # by number type, where all levels have code
        self.prior = np.array(g.root_prior)[None]  # [1, v_0] in float64; and in both types, placed
        self.priors = {
            kind: (x, address(x))
            for kind in (np.dtype(np.float32), np.dtype(np.float64))
            for x in [self.prior.astype(kind)]
        }


_KNOWN: dict[int, tuple[weakref.ref[Grammar], Known]] = {}


def _forget(known: dict[int, Any], key: int, _: object) -> None:
    known.pop(key, None)


def known(g: Grammar) -> Known:
    """Found by the object, since its contents take microseconds to compare."""
    found = _KNOWN.get(id(g))
    if found is None or found[0]() is not g:
        forget = functools.partial(_forget, _KNOWN, id(g))  # the names of a module may go first
        found = weakref.ref(g, forget), _known(_Content(g))
        _KNOWN[id(g)] = found
    return found[1]


def plan_of(g: Grammar, top: int, bottom: int, dtype: np.dtype[Any], kind: int) -> Plan:
    """The tables of a block of levels."""
    logarithms = kind == layout.LOGARITHMS  # which lie in memory as likelihoods do
    kind = layout.LIKELIHOODS if logarithms else kind
    mark, about = (top, bottom, dtype.char, kind), known(g)
    plan = about.plans.get(mark)
    if plan is None:
        plan = about.plans[mark] = _plan(g, top, bottom, dtype, kind)
    return plan


def compile_rules(g: Grammar, dtype: np.dtype[Any]) -> int:
    """Code for the levels that suit, which plans use from now on; how many levels have one."""
    about, folder = known(g), getattr(kernels.lines._cache, "cache_path", None)
    for level, (rule, weight) in enumerate(zip(g.rules, g.weights, strict=True)):
        if (level, dtype.char) not in about.code and suits(rule, weight):
            about.code[level, dtype.char] = code_of(rule, g.v[level + 1], dtype, folder)
    found = sum(kind == dtype.char for _, kind in about.code)
    if found == g.L and dtype.char not in about.trees:
        table = _geometry(g, 0, g.L, simd.lanes(dtype), layout.SYMBOLS_SEEN)
        about.trees[dtype.char] = tree_code_of(table, dtype, folder)
    for mark, plan in list(about.plans.items()):
        if plan.dtype == dtype:
            about.plans.pop(mark, None)
    return found


@dataclass(frozen=True)
class _Content:
    """A grammar without its identity: equal ones share their tables."""

    grammar: Grammar


@functools.lru_cache(maxsize=64)
def _known(content: _Content) -> Known:
    return Known(content.grammar)


def _plan(g: Grammar, top: int, bottom: int, dtype: np.dtype[Any], kind: int) -> Plan:
    depth, width = bottom - top, simd.lanes(dtype)
    shared = kind == layout.SYMBOLS_SEEN
    geometry = _geometry(g, top, bottom, width, kind)
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
    block = max(family, int(v.max())) * width
    nodes = int(column["NODES"].sum())
    seen = 4 * width * (int(last[layout.NODES]) if shared else 1)
    floats = [messages, stack, products, block, 8 * width]
    sizes = (
        *(itemsize * x for x in floats), seen, 8 * (depth + 1), 8 * (depth + 1),
        4 * width * nodes, 3 * itemsize * width * nodes,
    )  # fmt: skip
    # one operation per rule and child on the way up, two on the way down, and a line's way each
    work = int((column["NODES"][:-1] * (3 * rules * branches + 3 * branches * v[1:])).sum())
    flat = np.ones((1, g.v[top]), dtype)
    return Plan(
        top, bottom, dtype, tables, itemsize * messages, work, shelf_of(sizes), flat,
        address(flat), tuple(known(g).code.values()),
        known(g).trees.get(dtype.char) if shared and depth == g.L else None,
    )  # fmt: skip


def _geometry(g: Grammar, top: int, bottom: int, width: int, kind: int) -> Array:
    depth, shared = bottom - top, kind == layout.SYMBOLS_SEEN
    inner = depth + (kind == layout.MESSAGES_BELOW)
    geometry = np.zeros((depth + 1, layout.NUMBER), np.int64)
    nodes, rows, stack = 1, 0, 0
    for i in range(depth + 1):
        v = g.v[top + i]
        stride = (v + 2) * width if i < inner else v * width
        geometry[i, [layout.SYMBOLS, layout.NODES, layout.ROWS, layout.STRIDE]] = (
            v, nodes, rows, stride,
        )  # fmt: skip
        geometry[i, layout.STACK] = stack
        geometry[i, layout.FIRST] = geometry[:i, layout.NODES].sum()
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
        code = known(g).code.get((top + i, dtype.char))
        if code is not None:
            geometry[i, [layout.UP_CODE, layout.DOWN_CODE, layout.SHOW_CODE]] = code[1:]
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


class Job:
    """The passes over the levels ``plan.top`` .. ``plan.bottom`` of n columns."""

    __slots__ = ("leaves", "n", "plan", "threads", "tiles")

    def __init__(self, plan: Plan, leaves: Leaves, threads: int) -> None:
        self.plan, self.leaves, self.threads = plan, leaves, threads
        self.n = len(leaves)
        self.tiles = -(-self.n // simd.lanes(plan.dtype))


def job_of(g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int) -> Job:
    """The passes over the levels ``top`` .. ``bottom``, the last of which holds the evidence."""
    return Job(plan_of(g, top, bottom, leaves.root.dtype, leaves.kind), leaves, threads)


_NO_SHIFTS = {np.dtype(kind): np.empty((0, 0), kind) for kind in (np.float32, np.float64)}


class Result:
    """Per column: log p(evidence) = log z - log 2 * exponents + sum of shifts."""

    __slots__ = ("exponents", "place", "ranges", "shifts", "z")

    def __init__(
        self, z: Array, exponents: Array, ranges: Array, shifts: Array, place: int = 0
    ) -> None:
        self.z, self.exponents, self.ranges = z, exponents, ranges
        self.shifts = shifts  # [n, leaves], or empty
        self.place = place  # of the memory of the first three, in the order of `new`

    @classmethod
    def new(cls, job: Job) -> Result:
        """Empty results of a job, the first three in one piece."""
        n, dtype = job.n, job.plan.dtype
        numbers = np.zeros(3 * n)
        small = numbers.view(dtype)
        first, second = small.size // 3, 2 * small.size // 3
        z, ranges = small[first : first + n], small[second : second + n]
        shifts = _NO_SHIFTS[dtype]
        if job.leaves.kind == layout.LOGARITHMS:
            shifts = np.empty((n, job.leaves.dense.shape[1]), dtype)
        return cls(z, numbers[:n], ranges, shifts, address(numbers))

    def log_evidence(self, positive: bool = False) -> Array:
        """Logarithm of the sum over derivations, rules counted with weight one where uniform.

        ``positive`` says that no sum is zero, of which NumPy would warn.
        """
        z = self.z.astype(np.float64)
        if positive:
            found = np.log(z, out=z)
        else:
            with np.errstate(divide="ignore"):
                found = np.log(z, out=z)
        found -= _LOG_2 * self.exponents
        if self.shifts.size:
            found += self.shifts.astype(np.float64).sum(axis=1)
        return found


_LOG_2 = float(np.log(2.0))


class Action(Protocol):
    """What a pass leaves behind besides the evidence."""

    @property
    def run(self) -> Callable[..., None]:
        """The compiled function that does it."""

    def wants(self, job: Job, entries: Array, priors: int) -> None:
        """Fill the entries that say so; at ``priors`` the last level's raw messages are wanted."""

    def reaches(self, level: int) -> bool:
        """Whether anything is wanted from this level on."""

    @property
    def downward(self) -> bool:
        """Whether downward messages are needed for it."""


# entries of a job that are filled at once, in half the time of an assignment
_GIVEN, _REST = struct.Struct("18q"), struct.Struct("4q")
assert layout.MESSAGES - layout.KIND == 17
assert tuple(layout.TILES + i for i in (1, 2, 3)) == (layout.NEXT, layout.ON, layout.INSIDE)


_FUNCTIONS = (kernels.lines, kernels.numbers)


def run_job(
    job: Job,
    action: Action | None,
    normalise: bool = True,
    *,
    priors: int = 0,
    tops: int = 0,
    on: int = 0,
    inside: bool = False,
    kept: int = 0,
    done: Result | None = None,
    run: Callable[..., None] = kernels.numbers,
    held: object = None,
) -> Result:
    """Run compiled code over all tiles, in as many threads as pay.

    The rest are addresses, 0 for none: ``tops`` takes the messages of the roots, ``on`` the same
    for the tree above, ``priors`` the raw downward messages of the last level, which are the roots
    of the trees below, ``inside`` the whole one.  ``kept`` holds the upward messages of all tiles;
    with ``done`` they are there, together with the result of the upward pass.  ``held`` is what
    stands at these addresses: other threads keep it, so that they write to memory that is there
    even if an interrupt ends this call before them.
    """
    plan, leaves, n = job.plan, job.leaves, job.n
    entries = plan.template.copy()
    result = done if done is not None else Result.new(job)
    dense, symbols, match, other, root = leaves.places
    _GIVEN.pack_into(
        entries.data, 8 * layout.KIND,
        leaves.kind, n, dense, symbols, match, other, leaves.pieces, root, len(leaves.root),
        result.place + 8 * n, result.place, result.place + 16 * n,
        address(result.shifts) if result.shifts.size else 0,
        tops, normalise, done is not None, kept, plan.message_bytes,
    )  # fmt: skip
    _REST.pack_into(entries.data, 8 * layout.TILES, job.tiles, 0, on, inside)
    if action is not None:
        action.wants(job, entries, priors)
        run = action.run
    parts = job.threads if job.tiles * plan.work > _SERIAL_WORK else 1

    tiles, kept_for_others = job.tiles, [job, action, result, held]

    def part(role: int) -> bool:
        scratch = plan.shelf.take()
        scratch.room[layout.ROLE] = role
        if role == layout.CALLS:
            hold(scratch, (entries, kept_for_others))
        run(entries, scratch.room, plan.base)
        if role == layout.CALLS:
            let_go(scratch)
        plan.shelf.give(scratch)
        return bool(entries[layout.DONE] == tiles)

    name = 0
    if run in _FUNCTIONS:
        name = entries[layout.TO] = plan.name + _FUNCTIONS.index(run)
    together(min(parts, tiles), part, name)
    # all is written; threads that wait for the next call must not keep the memory of this one
    kept_for_others.clear()
    return result


# -------------------------------------------------------------------------- passes over whole trees

_WHOLE_TREE_BYTES = 6 << 20  # a tile of whole samples may spill into the outer cache ...
_SUBTREE_BYTES = 3 << 19  # ... a tile of subtrees stays in the inner one
_KEPT_BYTES = 1 << 20  # upward messages of subtrees up to this size are not computed twice
_CUT_WORK = 20_000  # vector operations that the calls of a cut cost


def places(g: Grammar, n: int, copies: int = 1) -> Array:
    """Where the block [n * copies, nodes] of each level starts."""
    return np.concatenate([[0], np.cumsum(n * copies * np.array(known(g).nodes))]).astype(np.int64)


def cut_level(g: Grammar, top: int, bottom: int, n: int, dtype: Any) -> int | None:
    """The level at which columns are cut, or None where whole columns do.

    Columns are cut where a tile of them would not fit into the cache; and where they fill so few
    lanes that a tree with more of them, below, and few nodes, above, costs less.
    """
    lanes = simd.lanes(dtype)
    if n == 0 or bottom - top < 2:
        return None
    cuts = known(g).cuts
    mark = top, bottom, min(n, 2 * lanes), lanes  # all larger batches fill their lanes alike
    if mark not in cuts:
        cut = _cut(g.v[top : bottom + 1], g.s[top:bottom], g.m[top:bottom], *mark[2:])
        cuts[mark] = None if cut is None else top + cut
    return cuts[mark]


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
        job = job_of(g, top, bottom, leaves, threads)
        return tops, run_job(job, None, tops=address(tops), held=tops)
    below = _Below(g, top, cut, bottom, leaves, threads)
    tops, result = upward(g, top, cut, below.above, threads)
    return tops, _merge(result, below.result)


_NOTHING = np.empty(0)
_NO_SYMBOLS = np.empty((0, 0), np.int32)


class _Below:
    """The subtrees below a cut, after their upward pass."""

    def __init__(
        self, g: Grammar, top: int, cut: int, bottom: int, leaves: Leaves, threads: int,
        keep: bool = False, run: Callable[..., None] = kernels.numbers,
    ) -> None:  # fmt: skip
        dtype, nodes = leaves.root.dtype, known(g).nodes
        pieces, v = nodes[cut] // nodes[top], g.v[cut]
        plan = plan_of(g, cut, bottom, dtype, leaves.kind)
        self.leaves = leaves.cut(pieces, plan.flat, plan.flat_place)
        self.job = Job(plan, self.leaves, threads)
        self.tops = np.empty((len(leaves), pieces, v + 2), dtype)
        size = self.job.tiles * plan.message_bytes
        self.kept = results(size, np.uint8) if keep and size <= _KEPT_BYTES else None
        self.place = 0 if self.kept is None else address(self.kept)
        tops = address(self.tops)
        self.result = run_job(self.job, None, on=tops, kept=self.place, run=run, held=self)
        self.above = Leaves(
            layout.MESSAGES_BELOW, self.tops, _NO_SYMBOLS, _NOTHING, _NOTHING, leaves.root,
            leaves.shift, where=(tops, 0, 0, 0, leaves.places[4]),
        )  # fmt: skip

    def walk(
        self, action: Action, root: Array | None, place: int, priors: int, held: object
    ) -> None:
        """Both passes, or the second one where the messages of the first were kept."""
        leaves = self.leaves
        if root is not None:
            leaves = leaves.cut(1, root, place)
        job = Job(self.job.plan, leaves, self.job.threads)
        done = None if self.kept is None else self.result
        run_job(
            job, action, False, priors=priors, kept=self.place, done=done, inside=True,
            held=(self, held),
        )  # fmt: skip


def _merge(above: Result, below: Result) -> Result:
    n = above.z.size
    return Result(
        above.z,
        above.exponents + np.add.reduce(below.exponents.reshape(n, -1), axis=1),
        # that of the whole tree, but not-a-number where any evidence is
        above.ranges + np.add.reduce((below.ranges * 0).reshape(n, -1), axis=1),
        below.shifts.reshape(n, -1) if below.shifts.size else below.shifts,
    )


def walk(
    g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int, action: Action,
    normalise: bool = True, priors: int = 0, held: object = None,
) -> Result:  # fmt: skip
    """Both passes, cut into blocks where that pays; ``action`` keeps what is wanted.

    ``held`` is what stands at the address ``priors``.
    """
    cut = cut_level(g, top, bottom, len(leaves), leaves.root.dtype)
    if cut is None:
        job = job_of(g, top, bottom, leaves, threads)
        return run_job(job, action, normalise, priors=priors, held=held)
    lower = priors != 0 or action.reaches(cut)
    below = _Below(g, top, cut, bottom, leaves, threads, lower, action.run)
    middle, place = None, 0
    if lower and action.downward:
        middle = np.empty((below.job.n, g.v[cut]), leaves.root.dtype)
        place = address(middle)
    result = walk(g, top, cut, below.above, threads, action, normalise, place, middle)
    if lower:
        below.walk(action, middle, place, priors, held)
    return _merge(result, below.result)


# ------------------------------------------------------------------------------------- actions


_WANTED = struct.Struct("4q")  # VALUES to ALIGNED
assert layout.ALIGNED - layout.VALUES == 3


@dataclass(eq=False)
class Dense:
    """Writes marginals or messages, all entries; ``starts[level]`` is the place in ``values``.

    A level is a block [nodes, v, rows], or [columns, nodes, v] where ``rows`` is 0.  What follows
    from the places alone is kept in ``heads``, which calls with the same ones share.
    """

    kind: int
    starts: dict[int, int]
    values: Array
    rows: int
    heads: dict[Any, Any] = field(default_factory=dict)
    place: int = 0  # of the values, where it is known
    downward = True
    run = staticmethod(kernels.lines)

    def __post_init__(self) -> None:
        self.place = self.place or address(self.values)

    def _head(self, plan: Plan, last: int) -> tuple[Array, int, bool]:
        """Places of the levels of a plan, the lowest that is wanted, and whether rows fit lines."""
        places, lowest, aligned = np.full(plan.bottom - plan.top + 1, -1), plan.top, True
        lanes = simd.lanes(plan.dtype)
        for level, start in self.starts.items():
            if plan.top <= level <= last:
                places[level - plan.top] = start
                lowest = max(lowest, level)
                row = plan.rows[level - plan.top]
                aligned = aligned and start % lanes == 0 and row % lanes == 0
        return places, lowest - plan.top, aligned

    def wants(self, job: Job, entries: Array, priors: int) -> None:
        """Fill the entries of a job."""
        plan, handed = job.plan, priors != 0
        mark = plan.top, plan.bottom, handed
        if mark not in self.heads:
            self.heads[mark] = self._head(plan, plan.bottom - handed)
        places, entries[layout.LOWEST], aligned = self.heads[mark]
        entries[layout.HEAD : layout.HEAD + len(places)] = places
        _WANTED.pack_into(
            entries.data, 8 * layout.VALUES,
            self.place, self.kind, self.rows, aligned and self.place % simd.LINE == 0,
        )  # fmt: skip
        if handed or self.kind != layout.MARGINAL or not self.rows:
            entries[layout.DOWN_TREE] = 0
        _hand_down(plan, entries, priors)

    def reaches(self, level: int) -> bool:
        """Whether a level from this one on is wanted."""
        return any(x >= level for x in self.starts)

    def __call__(self, job: Job, normalise: bool) -> Result:
        """Run both passes over uncut columns."""
        return run_job(job, self, normalise)


def _hand_down(plan: Plan, entries: Array, priors: int) -> None:
    if priors:
        entries[layout.LAST_DOWN] = priors
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
    run = staticmethod(kernels.numbers)

    def wants(self, job: Job, entries: Array, priors: int) -> None:
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
    run = staticmethod(kernels.numbers)

    def wants(self, job: Job, entries: Array, priors: int) -> None:
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
    run = staticmethod(kernels.numbers)

    def wants(self, job: Job, entries: Array, priors: int) -> None:
        """Fill the entries of a job; the two have the same places."""
        self.draw.wants(job, entries, priors)
        self.beliefs.wants(job, entries, priors)

    def reaches(self, level: int) -> bool:
        """All levels are wanted."""
        return True
