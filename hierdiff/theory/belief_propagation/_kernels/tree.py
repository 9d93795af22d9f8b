"""Belief propagation on a derivation tree, one tile of samples at a time.

A tile holds as many samples as a vector has lanes, so every message entry is one cache line and a
rule costs one load and one fused multiply-add per child.  Nodes are visited depth first.

Scaling.  ``raw(a)`` is an upward message in its own units; ``c`` is the power of two that brings
its sum into [1, 2), and a parent multiplies by the ``c`` of its children.  No rounding is involved.
Where a tree is cut, the block above gets ``raw``, ``c`` and ``range`` of the roots below and gives
``D`` back, so that every product and every underflow is that of the whole tree.  The downward
message ``D`` is dual to ``raw``: sum_a D(a) raw(a) = 1 at every node, so marginal(a) = D(a) raw(a)
needs no division.

``range`` is the smallest sum of exponents along a path to the root, which begins at a leaf or with
the exponents of all children of a node together; above a limit that depends on the number type,
what underflowed on the way cannot matter (see ``passes.py`` one folder up).

More than two children.  The message to child j is a sum over rules of D(a) times the messages of
its s - 1 siblings.  The children go in pairs; the product of D(a) and of all children outside a
pair is made once per rule, and what remains for each of the two is one load and one fused
multiply-add, as in a tree of two: 4 s operations per rule instead of s^2.
"""

from __future__ import annotations

from hierdiff.theory._compiled import inline, part
from hierdiff.theory.belief_propagation._kernels import simd
from hierdiff.theory.belief_propagation._kernels.layout import (
    BRANCHES,
    DOWN,
    DOWN_CODE,
    EXPONENTS,
    INSIDE,
    NODES,
    RANGES,
    ROOT,
    ROOTS,
    ROWS,
    RULES,
    STACK,
    STEP,
    STRIDE,
    SYMBOLS,
    UP,
    UP_CODE,
    UP_TREE,
    WEIGHTED,
    Z,
    has_scale,
    of,
)
from hierdiff.theory.belief_propagation._kernels.leaves import (
    CHECK,
    gather,
    leaf_exponents,
    load_leaves,
)

__all__ = [
    "advance",
    "children_scale",
    "down_node",
    "first_child",
    "highest",
    "reset",
    "start",
    "upward",
]


_LOW = 0xFFFFFFFF  # the first of a pair of indices


@inline
def _up_two(messages, child, out, v, m, index, p, scale):
    """Two children, rules of equal weight: out(a) = scale * sum_k left(r_k0) right(r_k1)."""
    width, zero = simd.width(messages), simd.same(messages, 0.0)
    total, fours, rest = zero, m >> 2, m & 3
    if m == 4:
        for _ in range(v):
            acc = simd.add_four_pairs(messages, child, messages, child, index, p, zero)
            p += 8
            acc = simd.multiply(acc, scale)
            simd.store(messages, out, acc)
            out += width
            total = simd.add(total, acc)
        return total
    for _ in range(v):
        acc = zero
        for _ in range(fours):
            acc = simd.add_four_pairs(messages, child, messages, child, index, p, acc)
            p += 8
        for _ in range(rest):
            acc = simd.add_pair(messages, child, messages, child, index, p, acc)
            p += 2
        acc = simd.multiply(acc, scale)
        simd.store(messages, out, acc)
        out += width
        total = simd.add(total, acc)
    return total


@inline
def _up_four(messages, child, out, v, m, index, p, scale):
    """Four children, rules of equal weight."""
    width, zero = simd.width(messages), simd.same(messages, 0.0)
    total, twos, rest = zero, m >> 1, m & 1
    for _ in range(v):
        acc = zero
        for _ in range(twos):
            acc = simd.add_two_quadruples(messages, child, messages, child, index, p, acc)
            p += 8
        for _ in range(rest):
            acc = simd.add_quadruple(messages, child, messages, child, index, p, acc)
            p += 4
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


@inline
def children_scale(task, level, child):
    """Product of the scales of all children of a node, the factor in its own message."""
    messages, geometry = task.messages, task.geometry
    scale = simd.same(messages, 1.0)
    if has_scale(task, level + 1):
        end = child + of(geometry, level + 1, SYMBOLS) * simd.width(messages)
        for j in range(of(geometry, level, BRANCHES)):
            c = simd.load(messages, end + j * of(geometry, level + 1, STRIDE))
            scale = simd.multiply(scale, c)
    return scale


@inline
def first_child(task, level, node):
    """Where the messages of the children of a node start."""
    geometry = task.geometry
    return of(geometry, level + 1, ROWS) + node * of(geometry, level + 1, STEP)


@part
def _up_node(task, level, node):
    """Upward message of one inner node; returns the exponent of its scale."""
    geometry, messages = task.geometry, task.messages
    width = simd.width(messages)
    v, s = of(geometry, level, SYMBOLS), of(geometry, level, BRANCHES)
    m, p = of(geometry, level, RULES), of(geometry, level, UP)
    child = first_child(task, level, node)
    out = of(geometry, level, ROWS) + node * of(geometry, level, STRIDE)
    scale = children_scale(task, level, child)
    path = simd.same(messages, 0.0)
    if has_scale(task, level + 1):
        end = child + (of(geometry, level + 1, SYMBOLS) + 1) * width
        for j in range(s):
            path = simd.minimum(
                simd.load(messages, end + j * of(geometry, level + 1, STRIDE)), path
            )
        # a product of raw messages has the exponents of all children together: it underflows too
        none = simd.same(messages, 0.0)
        path = simd.minimum(simd.subtract(none, simd.exponent(scale)), path)
    weighted, code = of(geometry, level, WEIGHTED) != 0, of(geometry, level, UP_CODE)
    if code != 0:
        stride = of(geometry, level + 1, STRIDE)
        total = simd.call_up(code, messages, child, stride, out, scale)
    elif s == 2 and not weighted:
        total = _up_two(messages, child, out, v, m, task.up, p, scale)
    elif s == 4 and not weighted:
        total = _up_four(messages, child, out, v, m, task.up, p, scale)
    else:
        total = _up_many(
            messages, child, out, v, m, s, task.up, task.up_weights, weighted, p, scale
        )
    c = simd.unscale(total)
    simd.store(messages, out + v * width, c)
    simd.store(messages, out + (v + 1) * width, simd.add(path, simd.exponent(total)))
    return simd.exponent(c)


@inline
def reset(task):
    """Start counting nodes and places among siblings, level by level."""
    for level in range(task.depth + 1):
        simd.put(task.nodes, level, 0)
        simd.put(task.slots, level, 0)


@inline
def advance(task, level):
    """Go to the next node of a level; returns its place among its siblings."""
    simd.put(task.nodes, level, simd.at(task.nodes, level) + 1)
    slot = simd.at(task.slots, level) + 1
    if level == 0 or slot == of(task.geometry, level - 1, BRANCHES):
        slot = 0
    simd.put(task.slots, level, slot)
    return slot


@inline
def highest(task, bottom):
    """The highest level at which the next node of level ``bottom - 1`` begins a new one."""
    level = bottom - 1
    while level > 0 and simd.at(task.slots, level) == 0:
        level -= 1
    return level


@inline
def _visit_all(task, first):
    """Leaf evidence and all upward messages; returns the exponents of the scales."""
    geometry, depth = task.geometry, task.depth
    exponents = simd.same(task.messages, 0.0)
    reset(task)
    for parent in range(of(geometry, depth - 1, NODES)):
        load_leaves(task, parent, first)
        level = depth - 1
        while True:
            exponents = simd.add(exponents, _up_node(task, level, simd.at(task.nodes, level)))
            if advance(task, level) != 0 or level == 0:
                break
            level -= 1
    return exponents


@inline
def upward(task, tile):
    """Leaf evidence and all upward messages, leaves first, and the scales of the columns."""
    geometry, messages, line = task.geometry, task.messages, task.line
    width, code = simd.width(messages), simd.at(task.job, UP_TREE)
    if code != 0:
        exponents = simd.call_up_tree(code, task, simd.same(messages, 0.0))
    else:
        exponents = _visit_all(task, tile * width)
    path = simd.load(messages, of(geometry, 0, ROWS) + (of(geometry, 0, SYMBOLS) + 1) * width)
    # NaN if the evidence is: check is a sum of finite numbers otherwise
    check = simd.load(line, CHECK * width)
    path = simd.add(path, simd.subtract(check, check))
    exponents = simd.add(exponents, leaf_exponents(task))
    simd.store(line, 0, exponents)
    simd.store(line, width, path)
    sums = simd.float64_at(simd.at(task.job, EXPONENTS))
    ranges = simd.like(line, simd.at(task.job, RANGES))
    for w in range(min(width, task.columns - tile * width)):
        simd.put(sums, tile * width + w, simd.at(line, w))
        simd.put(ranges, tile * width + w, simd.at(line, width + w))


@part
def start(task, tile, normalise):
    """Downward message of the root from its prior; z = sum_a prior(a) upward(a).

    That of a root inside a tree, in the units of the whole tree, is there already.
    """
    messages, stack, geometry = task.messages, task.stack, task.geometry
    root = simd.like(messages, simd.at(task.job, ROOT))
    width = simd.width(messages)
    v = of(geometry, 0, SYMBOLS)
    up, down = of(geometry, 0, ROWS), of(geometry, 0, STACK)
    gather(root, 0, v, simd.at(task.job, ROOTS), tile * width, v, stack, down)
    c = simd.load(messages, up + v * width)
    z = simd.same(messages, 0.0)
    for a in range(v):
        i = a * width
        z = simd.fma(simd.load(stack, down + i), simd.load(messages, up + i), z)
    z = simd.multiply(z, c)
    if normalise:
        c = simd.divide(c, z)
    if simd.at(task.job, INSIDE) != 0:
        c = simd.same(messages, 1.0)
    for a in range(v):
        i = down + a * width
        simd.store(stack, i, simd.multiply(simd.load(stack, i), c))
    simd.store(task.line, 0, z)
    sums = simd.like(messages, simd.at(task.job, Z))
    for w in range(min(width, task.columns - tile * width)):
        simd.put(sums, tile * width + w, simd.at(task.line, w))


@inline
def _sum_pairs(left, parent, messages, child, index, p, end):
    """Message to one symbol of a child: the sum over rules that hold it, of two factors each."""
    zero = simd.same(messages, 0.0)
    return simd.sum_pairs(left, parent, messages, child, index, p, (end - p) >> 1, zero)


@inline
def _sum_rules(task, parent, child, p, end, s, weighted):
    """The same for one child, or two whose rules differ in weight."""
    messages, stack, index = task.messages, task.stack, task.down
    acc = simd.same(messages, 0.0)
    while p < end:
        x = simd.load(stack, parent + simd.at(index, p))
        if s == 2:
            x = simd.multiply(x, simd.load(messages, child + simd.at(index, p + 1)))
        if weighted:
            x = simd.multiply(x, simd.same(messages, simd.at(task.down_weights, p)))
        acc = simd.add(acc, x)
        p += s
    return acc


@part
def _products(task, level, parent, child):
    """For each rule and pair of children: D(a), its weight, and all children but those two.

    An odd last child is paired with the one before it, whose own pair stays what it is.
    """
    geometry, messages, out = task.geometry, task.messages, task.products
    stack, index = task.stack, task.up
    width = simd.width(messages)
    v, m = of(geometry, level, SYMBOLS), of(geometry, level, RULES)
    s, p = of(geometry, level, BRANCHES), of(geometry, level, UP)
    weighted, pairs = of(geometry, level, WEIGHTED) != 0, s // 2
    odd = s > 2 * pairs
    o = 0
    for a in range(v):
        d = simd.load(stack, parent + a * width)
        for _ in range(m):
            x = d
            if weighted:
                x = simd.multiply(x, simd.same(messages, simd.at(task.up_weights, p)))
            if s == 4:
                one, two = simd.pair(index, p), simd.pair(index, p + 2)
                left = simd.load(messages, child + (one & _LOW))
                left = simd.multiply(left, simd.load(messages, child + (one >> 32)))
                right = simd.load(messages, child + (two & _LOW))
                right = simd.multiply(right, simd.load(messages, child + (two >> 32)))
                simd.store(out, o, simd.multiply(x, right))
                simd.store(out, o + width, simd.multiply(x, left))
                o += 2 * width
            else:
                before = x  # D times all pairs before this one
                for g in range(pairs):
                    simd.store(out, o + g * width, before)
                    if g == pairs - 1 and odd:
                        last = simd.load(messages, child + simd.at(index, p + s - 3))
                        simd.store(out, o + pairs * width, simd.multiply(before, last))
                    before = simd.multiply(before, _pair(task, child, p + 2 * g))
                after = simd.same(messages, 1.0)
                if odd:
                    after = simd.load(messages, child + simd.at(index, p + s - 1))
                for g in range(pairs - 1, -1, -1):
                    i = o + g * width
                    simd.store(out, i, simd.multiply(simd.load(out, i), after))
                    after = simd.multiply(after, _pair(task, child, p + 2 * g))
                o += (pairs + odd) * width
            p += s


@inline
def _pair(task, child, p):
    """Product of the messages of two children of a rule."""
    x = simd.load(task.messages, child + simd.at(task.up, p))
    return simd.multiply(x, simd.load(task.messages, child + simd.at(task.up, p + 1)))


@part
def down_node(task, level, node, slot):
    """Downward messages to all children of one node, onto the stack of the level below."""
    geometry, messages, stack, starts = task.geometry, task.messages, task.stack, task.starts
    index, width = task.down, simd.width(messages)
    s, v = of(geometry, level, BRANCHES), of(geometry, level + 1, SYMBOLS)
    parent = of(geometry, level, STACK) + slot * of(geometry, level, SYMBOLS) * width
    child = first_child(task, level, node)
    scale = children_scale(task, level, child)
    code = of(geometry, level, DOWN_CODE)
    if code != 0:
        stride, out = of(geometry, level + 1, STRIDE), of(geometry, level + 1, STACK)
        simd.call_down(code, stack, parent, messages, child, stride, out, scale)
        return
    weighted = of(geometry, level, WEIGHTED) != 0
    left, pairs = stack, s > 2 or (s == 2 and not weighted)
    if s > 2:
        _products(task, level, parent, child)
        left, parent = task.products, 0
    q, out = of(geometry, level, DOWN), of(geometry, level + 1, STACK)
    p = simd.at(starts, q)
    for _ in range(s):
        for _ in range(v):
            q += 1
            end = simd.at(starts, q)
            if pairs:
                d = _sum_pairs(left, parent, messages, child, index, p, end)
            else:
                d = _sum_rules(task, parent, child, p, end, s, weighted)
            simd.store(stack, out, simd.multiply(d, scale))
            out += width
            p = end
        q += 1
