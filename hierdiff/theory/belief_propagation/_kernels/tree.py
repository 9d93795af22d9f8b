"""Belief propagation on a derivation tree, one tile of samples at a time.

A tile holds as many samples as a vector has lanes, so every message entry is one cache line and a
rule costs one load and one fused multiply-add per child.  Nodes are visited depth first.

Scaling.  ``raw(a)`` is an upward message in its own units; ``c`` is the power of two that brings
its sum into [1, 2), and a parent multiplies by the ``c`` of its children.  No rounding is involved,
so results do not depend on how a tree was cut into blocks.  The downward message ``D`` is dual to
``raw``: sum_a D(a) raw(a) = 1 at every node, so marginal(a) = D(a) raw(a) needs no division.

``range`` is the smallest sum of exponents along a path from a leaf to the root; above a limit that
depends on the number type, what underflowed on the way cannot matter (see ``passes.py`` one folder
up).
"""

from __future__ import annotations

from hierdiff.theory._compiled import inline, part
from hierdiff.theory.belief_propagation._kernels import simd
from hierdiff.theory.belief_propagation._kernels.layout import (
    BRANCHES,
    DOWN,
    NODES,
    ROWS,
    RULES,
    STACK,
    STEP,
    STRIDE,
    SYMBOLS,
    UP,
    WEIGHTED,
    of,
)
from hierdiff.theory.belief_propagation._kernels.leaves import (
    CHECK,
    gather,
    leaf_exponents,
    load_leaves,
    prepare,
)

__all__ = [
    "advance",
    "down_node",
    "highest",
    "reset",
    "start",
    "upward",
]

LOW = 0xFFFFFFFF  # the first of a pair of indices


@inline
def _up_two(messages, child, out, v, m, index, p, scale):
    """Two children, rules of equal weight: out(a) = scale * sum_k left(r_k0) right(r_k1)."""
    width = simd.width(messages)
    total = simd.same(messages, 0.0)
    for _ in range(v):
        acc = simd.same(messages, 0.0)
        for _ in range(m):
            pair = simd.pair(index, p)
            left = simd.load(messages, child + (pair & LOW))
            acc = simd.fma(left, simd.load(messages, child + (pair >> 32)), acc)
            p += 2
        acc = simd.multiply(acc, scale)
        simd.store(messages, out, acc)
        out += width
        total = simd.add(total, acc)
    return total


@inline
def _up_many(messages, child, out, v, m, s, index, weights, weighted, p, scale):
    """Any number of children, weighted or not."""
    width = simd.width(messages)
    total = simd.same(messages, 0.0)
    for _ in range(v):
        acc = simd.same(messages, 0.0)
        for _ in range(m):
            x = simd.load(messages, child + simd.at(index, p))
            for j in range(1, s):
                x = simd.multiply(x, simd.load(messages, child + simd.at(index, p + j)))
            if weighted:
                x = simd.multiply(x, simd.same(messages, simd.at(weights, p)))
            acc = simd.add(acc, x)
            p += s
        acc = simd.multiply(acc, scale)
        simd.store(messages, out, acc)
        out += width
        total = simd.add(total, acc)
    return total


@part
def _up_node(messages, tables, depth, level, node):
    """Upward message of one inner node; returns the exponent of its scale."""
    geometry = tables.geometry
    width = simd.width(messages)
    v, s = of(geometry, level, SYMBOLS), of(geometry, level, BRANCHES)
    m, p = of(geometry, level, RULES), of(geometry, level, UP)
    stride = of(geometry, level + 1, STRIDE)
    child = of(geometry, level + 1, ROWS) + node * of(geometry, level + 1, STEP)
    out = of(geometry, level, ROWS) + node * of(geometry, level, STRIDE)
    scale = simd.same(messages, 1.0)
    path = simd.same(messages, 0.0)
    if level + 1 < depth:
        end = child + of(geometry, level + 1, SYMBOLS) * width
        for j in range(s):
            scale = simd.multiply(scale, simd.load(messages, end + j * stride))
            path = simd.minimum(simd.load(messages, end + j * stride + width), path)
    weighted = of(geometry, level, WEIGHTED) != 0
    if s == 2 and not weighted:
        total = _up_two(messages, child, out, v, m, tables.up, p, scale)
    else:
        total = _up_many(
            messages, child, out, v, m, s, tables.up, tables.up_weights, weighted, p, scale
        )
    c = simd.unscale(total)
    simd.store(messages, out + v * width, c)
    simd.store(messages, out + (v + 1) * width, simd.add(path, simd.exponent(total)))
    return simd.exponent(c)


@inline
def reset(scratch, depth):
    """Start counting nodes and places among siblings, level by level."""
    for level in range(depth + 1):
        simd.put(scratch.nodes, level, 0)
        simd.put(scratch.slots, level, 0)


@inline
def advance(scratch, geometry, level):
    """Go to the next node of a level; returns its place among its siblings."""
    simd.put(scratch.nodes, level, simd.at(scratch.nodes, level) + 1)
    slot = simd.at(scratch.slots, level) + 1
    if level == 0 or slot == of(geometry, level - 1, BRANCHES):
        slot = 0
    simd.put(scratch.slots, level, slot)
    return slot


@inline
def upward(tile, tables, depth, evidence, scratch, summary):
    """Leaf evidence and all upward messages, leaves first; fills the summary but for ``z``."""
    geometry, messages, line = tables.geometry, scratch.messages, scratch.line
    width = simd.width(messages)
    shifts = simd.pointer(summary.shifts)
    prepare(evidence, tile * width, geometry, depth, scratch)
    exponents = simd.same(messages, 0.0)
    reset(scratch, depth)
    for parent in range(of(geometry, depth - 1, NODES)):
        load_leaves(parent, evidence, tile * width, geometry, depth, scratch, shifts)
        level = depth - 1
        while True:
            node = simd.at(scratch.nodes, level)
            exponents = simd.add(exponents, _up_node(messages, tables, depth, level, node))
            if advance(scratch, geometry, level) != 0 or level == 0:
                break
            level -= 1
    path = simd.load(messages, of(geometry, 0, ROWS) + (of(geometry, 0, SYMBOLS) + 1) * width)
    # NaN if the evidence is: check is a sum of finite numbers otherwise
    check = simd.load(line, CHECK * width)
    path = simd.add(path, simd.subtract(check, check))
    exponents = simd.add(exponents, leaf_exponents(evidence, geometry, depth, scratch))
    simd.store(line, 0, exponents)
    simd.store(line, width, path)
    for w in range(min(width, summary.z.size - tile * width)):
        summary.exponents[tile * width + w] = simd.at(line, w)
        summary.ranges[tile * width + w] = simd.at(line, width + w)


@inline
def start(tile, geometry, prior, scratch, normalise, summary):
    """Downward message of the root from its prior; z = sum_a prior(a) upward(a)."""
    messages, stack, root = scratch.messages, scratch.stack, simd.pointer(prior)
    width = simd.width(messages)
    v = of(geometry, 0, SYMBOLS)
    up, down = of(geometry, 0, ROWS), of(geometry, 0, STACK)
    gather(root, 0, v, prior.shape[0], tile * width, v, stack, down)
    c = simd.load(messages, up + v * width)
    z = simd.same(messages, 0.0)
    for a in range(v):
        i = a * width
        z = simd.fma(simd.load(stack, down + i), simd.load(messages, up + i), z)
    z = simd.multiply(z, c)
    if normalise:
        c = simd.divide(c, z)
    for a in range(v):
        i = down + a * width
        simd.store(stack, i, simd.multiply(simd.load(stack, i), c))
    simd.store(scratch.line, 0, z)
    for w in range(min(width, summary.z.size - tile * width)):
        summary.z[tile * width + w] = simd.at(scratch.line, w)


@inline
def _down_two(stack, parent, messages, child, out, v, index, starts, q, scale):
    """Message to a child with one sibling: out(b) = scale * sum over rules of D(a) sibling(r)."""
    width = simd.width(messages)
    p = simd.at(starts, q)
    for b in range(v):
        acc = simd.same(messages, 0.0)
        end = simd.at(starts, q + b + 1)
        while p < end:
            pair = simd.pair(index, p)
            d = simd.load(stack, parent + (pair & LOW))
            acc = simd.fma(d, simd.load(messages, child + (pair >> 32)), acc)
            p += 2
        simd.store(stack, out, simd.multiply(acc, scale))
        out += width


@inline
def _down_many(
    stack, parent, messages, child, out, v, s, index, weights, weighted, starts, q, scale
):
    """Message to one of any number of children, weighted or not."""
    width = simd.width(messages)
    p = simd.at(starts, q)
    for b in range(v):
        acc = simd.same(messages, 0.0)
        end = simd.at(starts, q + b + 1)
        while p < end:
            x = simd.load(stack, parent + simd.at(index, p))
            for j in range(1, s):
                x = simd.multiply(x, simd.load(messages, child + simd.at(index, p + j)))
            if weighted:
                x = simd.multiply(x, simd.same(messages, simd.at(weights, p)))
            acc = simd.add(acc, x)
            p += s
        simd.store(stack, out, simd.multiply(acc, scale))
        out += width


@part
def down_node(tables, depth, scratch, level, node, slot):
    """Downward messages to all children of one node, into the stack of the next level."""
    geometry, messages, stack = tables.geometry, scratch.messages, scratch.stack
    width = simd.width(messages)
    s, v = of(geometry, level, BRANCHES), of(geometry, level + 1, SYMBOLS)
    parent = of(geometry, level, STACK) + slot * of(geometry, level, SYMBOLS) * width
    stride = of(geometry, level + 1, STRIDE)
    child = of(geometry, level + 1, ROWS) + node * of(geometry, level + 1, STEP)
    scale = simd.same(messages, 1.0)
    if level + 1 < depth:
        for j in range(s):
            scale = simd.multiply(scale, simd.load(messages, child + j * stride + v * width))
    weighted = of(geometry, level, WEIGHTED) != 0
    q, out = of(geometry, level, DOWN), of(geometry, level + 1, STACK)
    for _ in range(s):
        if s == 2 and not weighted:
            _down_two(stack, parent, messages, child, out, v, tables.down, tables.starts, q, scale)
        else:
            _down_many(
                stack, parent, messages, child, out, v, s, tables.down, tables.down_weights,
                weighted, tables.starts, q, scale,
            )  # fmt: skip
        q += v + 1
        out += v * width


@inline
def highest(scratch, depth):
    """The highest level at which the next parent of leaves begins a new node."""
    level = depth - 1
    while level > 0 and simd.at(scratch.slots, level) == 0:
        level -= 1
    return level
