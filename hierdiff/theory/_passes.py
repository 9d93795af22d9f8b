"""Passes of belief propagation over whole trees: blocks, and the rescue of extreme samples.

Blocks.  A tree that does not fit into the cache, or a batch too small to fill the lanes of a
vector, is cut at a level: the subtrees below are columns of their own, their root messages are the
leaf evidence of the tree above, and its raw downward messages are the priors of the subtrees.  All
scales are powers of two, so the cut changes no bit of any result.

Range.  A message entry that underflows is lost with relative weight below ``2**(MIN - range)``,
where ``MIN`` is the smallest exponent and ``range`` the smallest sum of exponents along a path.
Samples beyond the limits are done again in float64, and then in logarithms.

Level blocks.  Everything with one number per node is a flat array of blocks [n, nodes], root first;
a block stays what it is when each column is cut into pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hierdiff._kernels import layout, passes, simd
from hierdiff.grammar import Grammar
from hierdiff.theory._engine import (
    Job,
    Leaves,
    job_of,
    new_summary,
    run_tiles,
    to_kernel,
)

__all__ = ["Beliefs", "Dense", "Draw", "Result", "cut_level", "places", "upward", "walk"]

Array = NDArray[Any]

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
        # below a cut the prior is the drawn symbol itself, and any number picks it
        root = self.root_uniforms if job.top == 0 else np.zeros(job.n * self.repeats)
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
