"""Grammars, evidence and buffers as flat arrays, the way the kernels see them.

Layout of ``messages``: level by level, node by node; an inner node has ``v`` lines of its upward
message, then a line with its scale, then one with its path's range; a leaf has its ``v`` lines.
Kernels pass addresses on, not arrays: an array would count its references at every call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hierdiff.theory._compiled import inline
from hierdiff.theory.belief_propagation._kernels import simd

__all__ = [
    "BRANCHES",
    "DOWN",
    "DOWNWARD",
    "LIKELIHOODS",
    "LOGARITHMS",
    "MARGINAL",
    "NODES",
    "NUMBER",
    "OUT",
    "RAW_DOWNWARD",
    "ROWS",
    "RULES",
    "STACK",
    "STEP",
    "STRIDE",
    "SYMBOLS",
    "SYMBOLS_SEEN",
    "UP",
    "UPWARD",
    "WEIGHTED",
    "Evidence",
    "Output",
    "RawEvidence",
    "Scratch",
    "Summary",
    "Tables",
    "of",
    "raw_evidence",
    "raw_scratch",
    "raw_tables",
]

# columns of the geometry table, which has one row per level
SYMBOLS, BRANCHES, RULES, NODES = 0, 1, 2, 3  # v_l, s_l, m_l, number of nodes
ROWS, STRIDE = 4, 5  # where the level starts in `messages`, and numbers per node
UP, DOWN = 6, 7  # where its rules start in `up`, and its symbols in `starts`
WEIGHTED = 8  # do its rules differ in weight?
OUT, STACK = 9, 10  # where it starts in the output (-1: not wanted) and in `stack`
STEP = 11  # numbers from the first child of one node to that of the next; 0: they share a place
NUMBER = 12

LOGARITHMS, LIKELIHOODS, SYMBOLS_SEEN = 0, 1, 2  # kinds of evidence

MARGINAL, DOWNWARD, UPWARD, RAW_DOWNWARD = 0, 1, 2, 3  # what an output holds


class Tables(NamedTuple):
    """The grammar as flat arrays."""

    geometry: Any  # int64 [levels, Column.NUMBER]
    up: Any  # int32: for each rule (a, k), the offsets of its s children's lines
    up_weights: Any  # weight of the rule that starts at the same place in `up`
    rules: Any  # int32: the symbols themselves, at the same places as in `up`
    down: Any  # int32: for each child and symbol b, offsets of D(a) and of the siblings' lines
    down_weights: Any  # weight of the rule that starts at the same place in `down`
    starts: Any  # int64: where each (child, symbol) starts in `down`


class Evidence(NamedTuple):
    """What is known about the leaves."""

    kind: int  # LOGARITHMS, LIKELIHOODS or SYMBOLS_SEEN
    dense: Any  # [columns, leaves, v] for the first two
    symbols: Any  # int [columns, leaves] for the last, -1 is "nothing known"
    match: Any  # [columns] likelihood of the observed symbol, and
    other: Any  # [columns] of each other one; the larger of the two is 1
    root: Any  # [columns or 1, v_0] prior, or a raw downward message


class RawEvidence(NamedTuple):
    """Addresses of the evidence; the root's prior stays an array."""

    kind: int
    dense: Any
    symbols: Any
    match: Any
    other: Any
    columns: int


class Scratch(NamedTuple):
    """Buffers of one thread, each starting on a cache line."""

    messages: Any
    stack: Any
    block: Any
    line: Any
    seen: Any  # int32: the tile's symbols, lanes side by side
    slots: Any  # int64 per level: place of the current node among its siblings
    nodes: Any  # int64 per level: number of the current node


class Summary(NamedTuple):
    """Per column: log p = log(z) - log(2) exponents + sum of shifts."""

    z: Any
    exponents: Any
    ranges: Any
    shifts: Any  # [columns, leaves], what was taken out of logarithms


class Output(NamedTuple):
    """Where the lines of all nodes go."""

    kind: int  # MARGINAL, DOWNWARD, UPWARD (the last two sum to one), RAW_DOWNWARD
    rows: int  # blocks are [nodes, v, rows >= columns]; or, if zero, [columns, nodes, v]
    values: Any


@inline
def raw_tables(tables):
    return Tables(
        simd.pointer(tables.geometry), simd.pointer(tables.up), simd.pointer(tables.up_weights),
        simd.pointer(tables.rules), simd.pointer(tables.down), simd.pointer(tables.down_weights),
        simd.pointer(tables.starts),
    )  # fmt: skip


@inline
def raw_evidence(evidence, columns):
    """Addresses of the evidence."""
    return RawEvidence(
        evidence.kind,
        simd.pointer(evidence.dense),
        simd.pointer(evidence.symbols),
        simd.pointer(evidence.match),
        simd.pointer(evidence.other),
        columns,
    )


@inline
def raw_scratch(scratch):
    return Scratch(
        simd.pointer(scratch.messages), simd.pointer(scratch.stack), simd.pointer(scratch.block),
        simd.pointer(scratch.line), simd.pointer(scratch.seen), simd.pointer(scratch.slots),
        simd.pointer(scratch.nodes),
    )  # fmt: skip


@inline
def of(geometry, level, column):
    return simd.at(geometry, level * NUMBER + column)
