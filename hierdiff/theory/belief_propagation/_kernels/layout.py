"""Grammars, evidence, results and buffers as the kernels see them: one array of addresses.

A call of compiled code costs a microsecond per array that it is given; so it is given one, the
*job*, of integers: addresses, sizes and what is wanted, at the places named here.  Whoever fills it
keeps the arrays alive.

Layout of ``messages``: level by level, node by node; an inner node has ``v`` lines of its upward
message, then a line with its scale, then one with its path's range; a leaf has its ``v`` lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.extending import intrinsic

from hierdiff.theory._compiled import inline
from hierdiff.theory.belief_propagation._kernels import simd

__all__ = ["LIKELIHOODS", "LOGARITHMS", "SYMBOLS_SEEN", "Task", "of", "task_of"]

# columns of the geometry table, which has one row per level
SYMBOLS, BRANCHES, RULES, NODES = 0, 1, 2, 3  # v_l, s_l, m_l, number of nodes
ROWS, STRIDE = 4, 5  # where the level starts in `messages`, and numbers per node
UP, DOWN = 6, 7  # where its rules start in `up`, and its symbols in `starts`
WEIGHTED = 8  # do its rules differ in weight?
STACK = 9  # where it starts in `stack`
STEP = 10  # numbers from the first child of one node to that of the next; 0: they share a place
FIRST = 11  # number of nodes in the levels above
NUMBER = 12

LOGARITHMS, LIKELIHOODS, SYMBOLS_SEEN = 0, 1, 2  # kinds of evidence

MARGINAL, DOWNWARD, UPWARD = 0, 1, 2  # what an output holds; the last two sum to one

# ------------------------------------------------------------------------------- entries of a job

# the grammar: geometry int64 [levels, NUMBER]; `up`, int32, holds for each rule (a, k) the offsets
# of its s children's lines, and `rules` the symbols themselves; `down`, int32, for each child and
# symbol b the offsets of what is multiplied; weights stand at the places of their rules; `starts`,
# int64, says where each (child, symbol) begins in `down`
GEOMETRY, UP_TABLE, UP_WEIGHTS, RULE_SYMBOLS, DOWN_TABLE, DOWN_WEIGHTS, STARTS, DEPTH = range(8)

# the evidence: dense [columns, leaves, v] of logarithms or likelihoods; or int32 symbols
# [columns, leaves], -1 is "nothing known", with likelihoods of the observed and of each other
# symbol, the larger of which is 1, PIECES columns sharing one; the root's prior [ROOTS, v_0]
KIND, COLUMNS, DENSE, SEEN, MATCH, OTHER, PIECES, ROOT, ROOTS = range(8, 17)

# results per column: log p = log(z) - log(2) exponents + sum of shifts, what was taken out of
# logarithms; the root's message [columns, v_0] in units where its sum is in [1, 2)
Z, EXPONENTS, RANGES, SHIFTS, TOPS = range(17, 22)

# what is to be done: NORMALISE the prior, UPWARD_DONE (the messages of every tile are kept,
# MESSAGES bytes each, from KEPT on), go down to level LOWEST; 0 for an address: not wanted
NORMALISE, UPWARD_DONE, KEPT, MESSAGES, LOWEST = range(22, 27)

# lines of all nodes, at the places behind HEAD, -1 for a level that is not wanted: blocks
# [nodes, v, LENGTH >= columns] or, if that is zero, [columns, nodes, v]; ALIGNED if their rows lie
# on lines of the cache; LAST_DOWN takes the raw downward messages of the last level instead
VALUES, WHAT, LENGTH, ALIGNED, LAST_DOWN = range(27, 32)

# three numbers per node, in blocks [columns, nodes] at the places behind the ones above
TRUTH, BELIEFS, BELIEFS_SIZE = range(32, 35)

# draws, in blocks [columns, repeats, nodes] at the same places; int32
REPEATS, ROOT_NUMBERS, NUMBERS, DRAWN = range(35, 39)

HEAD = 39  # and then twice one place per level


@intrinsic
def of(typing_context, geometry, level, column):
    """Entry of the geometry table."""

    def code(context, builder, signature, args):
        row = builder.mul(args[1], args[1].type(NUMBER))
        return builder.load(builder.gep(args[0], [builder.add(row, args[2])]))

    return types.int64(geometry, types.int64, types.int64), code


class Task(NamedTuple):
    """A job with the buffers of a thread, as places; each buffer starts on a cache line."""

    job: Any
    geometry: Any
    up: Any
    up_weights: Any
    rules: Any
    down: Any
    down_weights: Any
    starts: Any
    depth: int
    kind: int
    columns: int
    dense: Any
    seen: Any
    shifts: Any
    messages: Any
    stack: Any
    products: Any  # for each rule and pair of children, the product of everything else
    block: Any  # lines of the children of one node, before they become rows
    line: Any
    symbols: Any  # int32: those that a tile saw, lanes side by side
    slots: Any  # int64 per level: place of the current node among its siblings
    nodes: Any  # int64 per level: number of the current node
    truth: Any  # int32: true symbols of a tile's nodes, lanes side by side
    beliefs: Any  # and three numbers about each, as lines, in three blocks of all nodes


@inline
def task_of(job, room, tile, base):
    """All places; ``base`` is one of the messages' type, and stands for no number."""
    messages = simd.at(room, 0)
    if simd.at(job, KEPT) != 0:
        messages = simd.at(job, KEPT) + tile * simd.at(job, MESSAGES)
    return Task(
        job,
        simd.int64_at(simd.at(job, GEOMETRY)),
        simd.int32_at(simd.at(job, UP_TABLE)),
        simd.like(base, simd.at(job, UP_WEIGHTS)),
        simd.int32_at(simd.at(job, RULE_SYMBOLS)),
        simd.int32_at(simd.at(job, DOWN_TABLE)),
        simd.like(base, simd.at(job, DOWN_WEIGHTS)),
        simd.int64_at(simd.at(job, STARTS)),
        simd.at(job, DEPTH),
        simd.at(job, KIND),
        simd.at(job, COLUMNS),
        simd.like(base, simd.at(job, DENSE)),
        simd.int32_at(simd.at(job, SEEN)),
        simd.like(base, simd.at(job, SHIFTS)),
        simd.like(base, messages),
        simd.like(base, simd.at(room, 1)),
        simd.like(base, simd.at(room, 2)),
        simd.like(base, simd.at(room, 3)),
        simd.like(base, simd.at(room, 4)),
        simd.int32_at(simd.at(room, 5)),
        simd.int64_at(simd.at(room, 6)),
        simd.int64_at(simd.at(room, 7)),
        simd.int32_at(simd.at(room, 8)),
        simd.like(base, simd.at(room, 9)),
    )
