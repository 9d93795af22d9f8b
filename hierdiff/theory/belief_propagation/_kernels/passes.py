"""Whole passes over many tiles, by what they leave behind: messages, beliefs, samples."""

from __future__ import annotations

from hierdiff.theory._compiled import inline, jit, part
from hierdiff.theory.belief_propagation._kernels import simd
from hierdiff.theory.belief_propagation._kernels.layout import (
    BRANCHES,
    DOWNWARD,
    MARGINAL,
    NODES,
    OUT,
    ROWS,
    RULES,
    STACK,
    STEP,
    STRIDE,
    SYMBOLS,
    SYMBOLS_SEEN,
    UP,
    UPWARD,
    WEIGHTED,
    of,
    raw_evidence,
    raw_scratch,
    raw_tables,
)
from hierdiff.theory.belief_propagation._kernels.leaves import load_leaves
from hierdiff.theory.belief_propagation._kernels.tree import (
    advance,
    down_node,
    highest,
    reset,
    start,
    upward,
)

__all__ = [
    "beliefs",
    "beliefs_and_samples",
    "marginals",
    "root_messages",
    "samples",
]


@inline
def _norm(messages, stack, v, up, down, kind):
    """The factor that makes a message sum to one."""
    width = simd.width(messages)
    one = simd.same(messages, 1.0)
    if kind != DOWNWARD and kind != UPWARD:
        return one
    total = simd.same(messages, 0.0)
    for a in range(v):
        if kind == DOWNWARD:
            total = simd.add(total, simd.load(stack, down + a * width))
        else:
            total = simd.add(total, simd.load(messages, up + a * width))
    return simd.divide(one, total)


@part
def _emit(tile, columns, geometry, scratch, level, parent, node, slot, kind, rows, values):
    """Write the lines of one node."""
    messages, stack, block = scratch.messages, scratch.stack, scratch.block
    width = simd.width(messages)
    v, start = of(geometry, level, SYMBOLS), of(geometry, level, OUT)
    up = of(geometry, level, ROWS) + parent * of(geometry, level, STEP)
    up += slot * of(geometry, level, STRIDE)
    down = of(geometry, level, STACK) + slot * v * width
    norm = _norm(messages, stack, v, up, down, kind)
    o = start + node * v * rows + tile * width
    if kind == MARGINAL and rows:
        for a in range(v):
            i = a * width
            x = simd.multiply(simd.load(stack, down + i), simd.load(messages, up + i))
            simd.stream(values, o, x)
            o += rows
        return
    for a in range(v):
        i = a * width
        if kind == MARGINAL:
            x = simd.multiply(simd.load(stack, down + i), simd.load(messages, up + i))
        elif kind == UPWARD:
            x = simd.multiply(simd.load(messages, up + i), norm)
        else:
            x = simd.multiply(simd.load(stack, down + i), norm)
        if rows:
            simd.stream(values, o, x)
            o += rows
        else:
            simd.store(block, i, x)
    if not rows:
        nodes = of(geometry, level, NODES)
        for w in range(min(width, columns - tile * width)):
            o = start + ((tile * width + w) * nodes + node) * v
            for a in range(v):
                simd.put(values, o + a, simd.at(block, a * width + w))


@jit
def root_messages(first, last, tables, evidence, scratch, summary, out):
    """Upward pass only: the root's message, in units where its sum is in [1, 2)."""
    state = simd.skip_denormals()
    depth = tables.geometry.shape[0] - 1
    raw, room = raw_tables(tables), raw_scratch(scratch)
    seen = raw_evidence(evidence, summary.z.size)
    messages, line = room.messages, room.line
    width = simd.width(messages)
    v, up = of(raw.geometry, 0, SYMBOLS), of(raw.geometry, 0, ROWS)
    for tile in range(first, last):
        upward(tile, raw, depth, seen, room, summary)
        c = simd.load(messages, up + v * width)
        for a in range(v):
            simd.store(line, 0, simd.multiply(simd.load(messages, up + a * width), c))
            for w in range(min(width, summary.z.size - tile * width)):
                out[tile * width + w, a] = simd.at(line, w)
    simd.restore_denormals(state)


@jit
def marginals(first, last, tables, evidence, scratch, summary, normalise, output):
    """Upward and downward pass; writes the lines of every level that has a place in the output."""
    state = simd.skip_denormals()
    depth, columns = tables.geometry.shape[0] - 1, summary.z.size
    raw, room = raw_tables(tables), raw_scratch(scratch)
    seen = raw_evidence(evidence, summary.z.size)
    geometry, values = raw.geometry, simd.pointer(output.values)
    kind, rows = output.kind, output.rows
    width, shifts = simd.width(room.messages), simd.pointer(summary.shifts)
    for tile in range(first, last):
        upward(tile, raw, depth, seen, room, summary)
        start(tile, geometry, evidence.root, room, normalise, summary)
        if of(geometry, 0, OUT) >= 0:
            _emit(tile, columns, geometry, room, 0, 0, 0, 0, kind, rows, values)
        reset(room, depth)
        for _ in range(of(geometry, depth - 1, NODES)):
            for level in range(highest(room, depth), depth):
                node, slot = simd.at(room.nodes, level), simd.at(room.slots, level)
                if level == depth - 1 and seen.kind == SYMBOLS_SEEN:
                    load_leaves(node, seen, tile * width, geometry, depth, room, shifts)
                down_node(raw, depth, room, level, node, slot)
                if of(geometry, level + 1, OUT) >= 0:
                    s = of(geometry, level, BRANCHES)
                    for j in range(s):
                        _emit(
                            tile, columns, geometry, room, level + 1, node, node * s + j, j, kind,
                            rows, values,
                        )  # fmt: skip
                advance(room, geometry, level)
    simd.restore_denormals(state)


@part
def _belief(tile, columns, geometry, scratch, level, parent, node, slot, truth, place, out, size):
    """At one node: marginal and upward belief in the true symbol, and the sum of squares."""
    messages, stack, line = scratch.messages, scratch.stack, scratch.line
    width = simd.width(messages)
    v, nodes = of(geometry, level, SYMBOLS), of(geometry, level, NODES)
    up = of(geometry, level, ROWS) + parent * of(geometry, level, STEP)
    up += slot * of(geometry, level, STRIDE)
    down = of(geometry, level, STACK) + slot * v * width
    total = simd.same(messages, 0.0)
    square = simd.same(messages, 0.0)
    for a in range(v):
        raw = simd.load(messages, up + a * width)
        p = simd.multiply(raw, simd.load(stack, down + a * width))
        total = simd.add(total, raw)
        square = simd.fma(p, p, square)
    simd.store(line, 0, total)
    simd.store(line, width, square)
    for w in range(min(width, columns - tile * width)):
        i = place + (tile * width + w) * nodes + node
        a = simd.at(truth, i) * width + w
        raw_true = simd.at(messages, up + a)
        simd.put(out, i, raw_true * simd.at(stack, down + a))
        simd.put(out, size + i, raw_true / simd.at(line, w))
        simd.put(out, 2 * size + i, simd.at(line, width + w))


@part
def _beliefs_of_tile(tile, columns, raw, depth, seen, room, shifts, true, place, rows, size):
    """The downward pass of a tile, which leaves three numbers per node behind."""
    geometry, width = raw.geometry, simd.width(room.messages)
    _belief(tile, columns, geometry, room, 0, 0, 0, 0, true, simd.at(place, 0), rows, size)
    reset(room, depth)
    for _ in range(of(geometry, depth - 1, NODES)):
        for level in range(highest(room, depth), depth):
            node, slot = simd.at(room.nodes, level), simd.at(room.slots, level)
            if level == depth - 1 and seen.kind == SYMBOLS_SEEN:
                load_leaves(node, seen, tile * width, geometry, depth, room, shifts)
            down_node(raw, depth, room, level, node, slot)
            s, here = of(geometry, level, BRANCHES), simd.at(place, level + 1)
            for j in range(s):
                _belief(
                    tile, columns, geometry, room, level + 1, node, node * s + j, j, true, here,
                    rows, size,
                )  # fmt: skip
            advance(room, geometry, level)


@jit
def beliefs(first, last, tables, evidence, scratch, summary, normalise, truth, places, out):
    """Beliefs in the true symbol at every node, without writing a single marginal.

    ``truth`` and each of the three rows of ``out`` hold one block [columns, nodes] per level.
    """
    state = simd.skip_denormals()
    depth, columns = tables.geometry.shape[0] - 1, summary.z.size
    raw, room = raw_tables(tables), raw_scratch(scratch)
    seen, shifts = raw_evidence(evidence, columns), simd.pointer(summary.shifts)
    true, place, rows = simd.pointer(truth), simd.pointer(places), simd.pointer(out)
    for tile in range(first, last):
        upward(tile, raw, depth, seen, room, summary)
        start(tile, raw.geometry, evidence.root, room, normalise, summary)
        _beliefs_of_tile(
            tile, columns, raw, depth, seen, room, shifts, true, place, rows, out.shape[1]
        )
    simd.restore_denormals(state)


@inline
def _root_symbol(geometry, scratch, w, u):
    """Draw the root's symbol for lane ``w``."""
    messages, stack = scratch.messages, scratch.stack
    width = simd.width(messages)
    v = of(geometry, 0, SYMBOLS)
    up, down = of(geometry, 0, ROWS) + w, of(geometry, 0, STACK) + w
    total = 0.0
    for a in range(v):
        total += simd.at(stack, down + a * width) * simd.at(messages, up + a * width)
    running, last = 0.0, 0
    for a in range(v):
        x = simd.at(stack, down + a * width) * simd.at(messages, up + a * width)
        running += x
        if x > 0:
            last = a
            if u * total < running:
                break
    return last


@inline
def _weight(messages, child, tables, p, s, weighted):
    """Weight of the rule at ``p`` times its children's messages, in one lane."""
    x = 1.0 * simd.at(messages, child + simd.at(tables.up, p))
    for j in range(1, s):
        x *= simd.at(messages, child + simd.at(tables.up, p + j))
    if weighted:
        x *= simd.at(tables.up_weights, p)
    return x


@inline
def _rule(messages, child, tables, p, m, s, weighted, target):
    """The rule at which the running sum of weights times children's messages passes a target."""
    running, last = 0.0, 0
    for k in range(m):
        x = _weight(messages, child, tables, p + k * s, s, weighted)
        running += x
        if x > 0:
            last = k
            if target < running:
                break
    return last


@inline
def _children_scale(messages, geometry, depth, level, child, s):
    """Product of the scales of all children of a node, the factor in its own message."""
    width = simd.width(messages)
    scale = simd.same(messages, 1.0)
    if level + 1 < depth:
        end = child + of(geometry, level + 1, SYMBOLS) * width
        for j in range(s):
            c = simd.load(messages, end + j * of(geometry, level + 1, STRIDE))
            scale = simd.multiply(scale, c)
    return scale


@part
def _roots_of_tile(tile, columns, geometry, room, repeats, root_uniforms, out):
    """Draw the symbols of the roots; ``start`` was there before, without normalising."""
    width = simd.width(room.messages)
    for w in range(min(width, columns - tile * width)):
        for r in range((tile * width + w) * repeats, (tile * width + w + 1) * repeats):
            simd.put(out, r, _root_symbol(geometry, room, w, simd.at(root_uniforms, r)))


@part
def _draws_of_tile(tile, columns, raw, depth, seen, room, shifts, repeats, numbers, place, symbols):
    """Draw the rules of all nodes of a tile, level by level below the roots."""
    geometry, messages = raw.geometry, room.messages
    width = simd.width(messages)
    lanes = min(width, columns - tile * width)
    for level in range(depth):
        s, m = of(geometry, level, BRANCHES), of(geometry, level, RULES)
        nodes = of(geometry, level, NODES)
        weighted = of(geometry, level, WEIGHTED) != 0
        here, there = simd.at(place, level), simd.at(place, level + 1)
        for node in range(nodes):
            if level == depth - 1 and seen.kind == SYMBOLS_SEEN:
                load_leaves(node, seen, tile * width, geometry, depth, room, shifts)
            child = of(geometry, level + 1, ROWS) + node * of(geometry, level + 1, STEP)
            scale = _children_scale(messages, geometry, depth, level, child, s)
            simd.store(room.line, 0, scale)
            up = of(geometry, level, ROWS) + node * of(geometry, level, STRIDE)
            for w in range(lanes):
                for r in range((tile * width + w) * repeats, (tile * width + w + 1) * repeats):
                    i = r * nodes + node
                    a = simd.at(symbols, here + i)
                    # the message itself is the sum over rules, times the scale
                    total = simd.at(messages, up + a * width + w) / simd.at(room.line, w)
                    target = simd.at(numbers, here + i) * total
                    p = of(geometry, level, UP) + a * m * s
                    p += s * _rule(messages, child + w, raw, p, m, s, weighted, target)
                    for j in range(s):
                        simd.put(symbols, there + i * s + j, simd.at(raw.rules, p + j))


@jit
def samples(
    first, last, tables, evidence, scratch, summary, repeats, root_uniforms, uniforms, places, out
):
    """Draw all latents from the posterior, root first.

    ``uniforms`` and ``out`` hold one block [columns, repeats, nodes] per level; a node's number
    picks its rule, ``root_uniforms`` [columns, repeats] the symbol of the root.  Where there are
    none, the symbols of the roots stand in ``out`` already.
    """
    state = simd.skip_denormals()
    depth, columns = tables.geometry.shape[0] - 1, summary.z.size
    raw, room = raw_tables(tables), raw_scratch(scratch)
    seen, shifts = raw_evidence(evidence, columns), simd.pointer(summary.shifts)
    head, numbers = simd.pointer(root_uniforms), simd.pointer(uniforms)
    place, symbols = simd.pointer(places), simd.pointer(out)
    for tile in range(first, last):
        upward(tile, raw, depth, seen, room, summary)
        start(tile, raw.geometry, evidence.root, room, False, summary)
        if root_uniforms.size:
            _roots_of_tile(tile, columns, raw.geometry, room, repeats, head, symbols)
        _draws_of_tile(
            tile, columns, raw, depth, seen, room, shifts, repeats, numbers, place, symbols
        )
    simd.restore_denormals(state)


@jit
def beliefs_and_samples(
    first, last, tables, evidence, scratch, summary, normalise, truth, places, beliefs,
    root_uniforms, uniforms, symbols,
):  # fmt: skip
    """What :func:`beliefs` and :func:`samples` leave, one draw each, after one upward pass."""
    state = simd.skip_denormals()
    depth, columns = tables.geometry.shape[0] - 1, summary.z.size
    raw, room = raw_tables(tables), raw_scratch(scratch)
    seen, shifts = raw_evidence(evidence, columns), simd.pointer(summary.shifts)
    head, numbers = simd.pointer(root_uniforms), simd.pointer(uniforms)
    drawn = simd.pointer(symbols)
    true, place, rows = simd.pointer(truth), simd.pointer(places), simd.pointer(beliefs)
    for tile in range(first, last):
        upward(tile, raw, depth, seen, room, summary)
        if root_uniforms.size:
            # from the prior as it is: normalised first, it would be rounded once more
            start(tile, raw.geometry, evidence.root, room, False, summary)
            _roots_of_tile(tile, columns, raw.geometry, room, 1, head, drawn)
        _draws_of_tile(tile, columns, raw, depth, seen, room, shifts, 1, numbers, place, drawn)
        start(tile, raw.geometry, evidence.root, room, normalise, summary)
        _beliefs_of_tile(
            tile, columns, raw, depth, seen, room, shifts, true, place, rows, beliefs.shape[1]
        )
    simd.restore_denormals(state)
