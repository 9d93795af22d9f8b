"""Sums over charts: one list of steps, read forwards for inside and backwards for outside sums.

A *chart* is an array [rows, LANES]: a row is a symbol over a span, a lane a string.  Cells (all
symbols of a group over one span) stand in the order in which they can be computed.  A *step* adds
to its target the rules of one set: left and right child, or a left one alone (right < 0).

=========  ======================================================================================
argument   meaning
=========  ======================================================================================
cells      int64 [cells, 3]: first row, size, and whether unary rules act inside of the cell
begin      int64 [cells + 1]: the steps of each cell
steps      int32 [steps, 4]: rows of target, left and right cell, and set of rules
sets       int64 [sets + 1]: the entries of each set
entries    int32 [entries, 3]: symbols of target, left and right, within their groups
weights    float64 [entries]
unary      float64 [size, size]: unary rules within a cell; closure is (1 - unary)^{-1}
=========  ======================================================================================
"""

from __future__ import annotations

import numpy as np

from hierdiff.theory._compiled import inline, jit, part
from hierdiff.theory.belief_propagation._kernels.simd import (
    add,
    fma,
    load_anywhere,
    multiply,
    pointer,
    same,
    store_anywhere,
)
from hierdiff.theory.rhm._kernels import _below, _next, _start

__all__ = [
    "LANES", "branch_down", "branch_up", "inside", "inside_log", "meet", "outside", "outside_log",
    "prefix", "walk",
]  # fmt: skip

LANES = 8
"""Strings side by side: one vector of float64, and one line of the processor's cache."""


@inline
def _closed(chart, row, size, closure, transposed, old):
    """All chains of unary rules within a cell: the closure, or its transpose, times the rows."""
    for i in range(size):
        for z in range(LANES):
            old[i, z] = chart[row + i, z]
            chart[row + i, z] = 0.0
    for i in range(size):
        for j in range(size):
            w = closure[j, i] if transposed else closure[i, j]
            if w != 0.0:
                for z in range(LANES):
                    chart[row + i, z] += w * old[j, z]


@jit
def inside(cells, begin, steps, sets, entries, weights, closure, chart):
    """Fill the chart above its leaves; rows of leaves hold the evidence already.

    Entries of a set are sorted by their target, whose sum stays in a register.
    """
    old = np.empty((closure.shape[0], LANES))
    base = pointer(chart.reshape(-1))
    for c in range(cells.shape[0]):
        for o in range(begin[c], begin[c + 1]):
            target, left, right = steps[o, 0], steps[o, 1], steps[o, 2]
            e, last = sets[steps[o, 3]], sets[steps[o, 3] + 1]
            while e < last:
                symbol = entries[e, 0]
                place = (target + symbol) * LANES
                total = load_anywhere(base, place)
                while e < last and entries[e, 0] == symbol:
                    x = load_anywhere(base, (left + entries[e, 1]) * LANES)
                    if right >= 0:
                        x = multiply(x, load_anywhere(base, (right + entries[e, 2]) * LANES))
                    total = fma(same(base, weights[e]), x, total)
                    e += 1
                store_anywhere(base, place, total)
        if cells[c, 2]:
            _closed(chart, cells[c, 0], cells[c, 1], closure, False, old)


@jit
def outside(cells, begin, steps, sets, entries, weights, closure, chart, out, counts):
    """Outside sums in ``out``, whose root rows hold the prior; products of rules in ``counts``.

    At the end out[row] is the sum over all derivations of what is outside of the row, with all
    chains of unary rules above it.  ``counts`` [entries, LANES] gets the sum over all places of
    outside times weight times inside; nothing is counted where it is empty.
    """
    old = np.empty((closure.shape[0], LANES))
    counting = counts.shape[0] > 0
    base, result = pointer(chart.reshape(-1)), pointer(out.reshape(-1))
    uses = pointer(counts.reshape(-1))
    for c in range(cells.shape[0] - 1, -1, -1):
        if cells[c, 2]:
            _closed(out, cells[c, 0], cells[c, 1], closure, True, old)
        for o in range(begin[c], begin[c + 1]):
            target, left, right = steps[o, 0], steps[o, 1], steps[o, 2]
            for e in range(sets[steps[o, 3]], sets[steps[o, 3] + 1]):
                above = load_anywhere(result, (target + entries[e, 0]) * LANES)
                x = multiply(same(base, weights[e]), above)
                a = (left + entries[e, 1]) * LANES
                if right < 0:
                    store_anywhere(result, a, add(load_anywhere(result, a), x))
                    if counting:
                        y = load_anywhere(uses, e * LANES)
                        store_anywhere(uses, e * LANES, fma(x, load_anywhere(base, a), y))
                else:
                    b = (right + entries[e, 2]) * LANES
                    from_left = multiply(x, load_anywhere(base, a))
                    from_right = load_anywhere(base, b)
                    store_anywhere(result, a, fma(x, from_right, load_anywhere(result, a)))
                    store_anywhere(result, b, add(load_anywhere(result, b), from_left))
                    if counting:
                        y = load_anywhere(uses, e * LANES)
                        store_anywhere(uses, e * LANES, fma(from_left, from_right, y))


@part
def _add(x, y, largest):
    """log(exp x + exp y), or the larger of the two."""
    if largest or x == -np.inf or y == -np.inf:
        return max(x, y)
    if x < y:
        x, y = y, x
    return x + np.log1p(np.exp(y - x))


@jit
def inside_log(cells, begin, steps, sets, entries, weights, closure, largest, chart):
    """The same of one string in logarithms, ``chart`` [rows]; with ``largest`` maxima for sums.

    ``closure`` holds logarithms: of (1 - unary)^{-1}, or of the likeliest chains.
    """
    old = np.empty(closure.shape[0])
    for c in range(cells.shape[0]):
        row, size = cells[c, 0], cells[c, 1]
        for o in range(begin[c], begin[c + 1]):
            target, left, right = steps[o, 0], steps[o, 1], steps[o, 2]
            for e in range(sets[steps[o, 3]], sets[steps[o, 3] + 1]):
                x = weights[e] + chart[left + entries[e, 1]]
                if right >= 0:
                    x += chart[right + entries[e, 2]]
                t = target + entries[e, 0]
                chart[t] = _add(chart[t], x, largest)
        if cells[c, 2]:
            for i in range(size):
                old[i] = chart[row + i]
                chart[row + i] = -np.inf
            for i in range(size):
                for j in range(size):
                    chart[row + i] = _add(chart[row + i], closure[i, j] + old[j], largest)


@jit
def outside_log(cells, begin, steps, sets, entries, weights, closure, chart, out, counts):
    """Outside sums of one string in logarithms; ``counts`` [entries] too."""
    old = np.empty(closure.shape[0])
    for c in range(cells.shape[0] - 1, -1, -1):
        row, size = cells[c, 0], cells[c, 1]
        if cells[c, 2]:
            for i in range(size):
                old[i] = out[row + i]
                out[row + i] = -np.inf
            for i in range(size):
                for j in range(size):
                    out[row + j] = _add(out[row + j], closure[i, j] + old[i], False)
        for o in range(begin[c], begin[c + 1]):
            target, left, right = steps[o, 0], steps[o, 1], steps[o, 2]
            for e in range(sets[steps[o, 3]], sets[steps[o, 3] + 1]):
                x = weights[e] + out[target + entries[e, 0]]
                a, b = left + entries[e, 1], right + entries[e, 2]
                below = chart[a]
                if right < 0:
                    out[a] = _add(out[a], x, False)
                else:
                    out[a] = _add(out[a], x + chart[b], False)
                    out[b] = _add(out[b], x + chart[a], False)
                    below += chart[b]
                if counts.shape[0] > 0:
                    counts[e] = _add(counts[e], x + below, False)


@jit
def walk(cells, spans, begin, steps, sets, entries, weights, rules, cell_of, symbols, unary,
         unary_rule, chart, top, largest, uniforms, nodes):  # fmt: skip
    """One derivation from the root down, drawn from the chart or the likeliest one.

    ``chart`` [rows] are logarithms of inside sums, or of maxima with ``largest``; ``top`` the row
    of the root; ``cell_of`` [rows] the cell of a row and ``symbols`` [rows] its symbol, -1 - b for
    terminal b and a very negative number for dotted symbols.  ``nodes`` [most, 4] gets symbol,
    first leaf, end and rule in preorder.  Returns their number, or -1 where the uniforms or the
    rows do not suffice.
    """
    waiting = np.empty(nodes.shape[0] + 1, np.int64)
    waiting[0] = top
    held, used, made = 1, 0, 0
    while held > 0:
        held -= 1
        row = waiting[held]
        c = cell_of[row]
        symbol, mine = symbols[row], row - cells[c, 0]
        if symbol < 0 and symbol > -1000000000:  # a terminal
            if made == nodes.shape[0]:
                return -1
            nodes[made, 0], nodes[made, 3] = symbol, -1
            nodes[made, 1], nodes[made, 2] = spans[c, 0], spans[c, 0] + spans[c, 1]
            made += 1
            continue
        if not largest and used == uniforms.shape[0]:
            return -1
        wanted = 1.0 if largest else uniforms[used]
        used += 0 if largest else 1
        total, best, kind = 0.0, -np.inf, -1
        found_step, found_entry = -1, -1
        # unary rules within the cell first, then steps; the last positive one is kept for rounding
        done = False
        if cells[c, 2]:
            for j in range(cells[c, 1]):
                x = unary[mine, j] + chart[cells[c, 0] + j]
                if x == -np.inf:
                    continue
                # a chain that goes round has no greater probability, so a maximum never does
                if largest:
                    if x > best:
                        best, kind, found_entry = x, 1, j
                elif not done:
                    total += np.exp(x - chart[row])
                    kind, found_entry = 1, j
                    done = total > wanted
        for o in range(begin[c], begin[c + 1]):
            if done:
                break
            left, right = steps[o, 1], steps[o, 2]
            for e in range(sets[steps[o, 3]], sets[steps[o, 3] + 1]):
                if entries[e, 0] != mine:
                    continue
                x = weights[e] + chart[left + entries[e, 1]]
                if right >= 0:
                    x += chart[right + entries[e, 2]]
                if x == -np.inf:
                    continue
                if largest:
                    if x >= best:  # of equals the one that is no unary rule, so that chains end
                        best, kind, found_step, found_entry = x, 0, o, e
                elif not done:
                    total += np.exp(x - chart[row])
                    kind, found_step, found_entry = 0, o, e
                    done = total > wanted
                    if done:
                        break
        if kind < 0:
            return -2
        rule = unary_rule[mine, found_entry] if kind == 1 else rules[found_entry]
        if symbol >= 0:
            if made == nodes.shape[0]:
                return -1
            nodes[made, 0], nodes[made, 3] = symbol, rule
            nodes[made, 1], nodes[made, 2] = spans[c, 0], spans[c, 0] + spans[c, 1]
            made += 1
        if held + 2 > waiting.shape[0]:
            return -1
        if kind == 1:
            waiting[held] = cells[c, 0] + found_entry
            held += 1
            continue
        left, right = steps[found_step, 1], steps[found_step, 2]
        if right >= 0:
            waiting[held] = right + entries[found_entry, 2]
            held += 1
        waiting[held] = left + entries[found_entry, 1]
        held += 1
    return made


@jit
def prefix(n, terminals, cell_rows, binary, weights, corner, chart, out):
    """Prefix sums of one string for every place of its end and every next symbol.

    ``terminals`` is the number of the first terminal; ``cell_rows`` [symbols, n + 1, n] the row of
    a symbol over a length and a start, -1 where it has none; ``binary`` [rules, 3] and ``weights``
    the binarised rules; ``corner`` the sum over all chains of left corners, [symbols, symbols].
    ``out`` [n + 1, symbols, v] gets, for k leaves that are given, the sum over what derives these
    leaves, then symbol b, then anything.
    """
    symbols, v = corner.shape[0], out.shape[2]
    sums = np.zeros((n + 1, symbols, v))
    base = np.zeros((symbols, v))
    for k in range(n + 1):
        for i in range(k, -1, -1):
            base[:] = 0.0
            if i == k:
                for b in range(v):
                    base[terminals + b, b] = 1.0
            for r in range(binary.shape[0]):
                t, a, c = binary[r, 0], binary[r, 1], binary[r, 2]
                for j in range(i + 1, k + 1):
                    row = cell_rows[a, j - i, i]
                    if row >= 0:
                        x = weights[r] * chart[row]
                        if x != 0.0:
                            for b in range(v):
                                base[t, b] += x * sums[j, c, b]
            for t in range(symbols):
                for b in range(v):
                    sums[i, t, b] = 0.0
                for a in range(symbols):
                    x = corner[t, a]
                    if x != 0.0:
                        for b in range(v):
                            sums[i, t, b] += x * base[a, b]
        out[k] = sums[0]


# --------------------------------------------------- rules drawn anew at every node of a known tree


@inline
def _fresh(state, tuples, seen, stamp):
    """A tuple, coded as a number, that this rule table does not have yet."""
    while True:
        state, bits = _next(state)
        code = _below(bits, tuples)
        if seen[code] != stamp:
            seen[code] = stamp
            return state, code


@inline
def _value(code, digits, first, children, messages):
    """Product over the children from ``first`` on of the messages at a tuple's symbols."""
    x = 1.0
    for j in range(first, children.size):
        x *= messages[children[j], digits[code, j]]
    return x


@jit
def branch_up(messages, order, key, parents, m, digits, seen, out):
    """One message per column of ``order`` [s, size], the numbers of its children.

    ``digits[code]`` are the symbols of a tuple.  Tuple 0 is the true one and belongs to parent 0;
    the other rules are a uniform choice of the other tuples, without repetition.
    """
    for member in range(order.shape[1]):
        stamp = member + 1
        state = _start(key, member)
        children = order[:, member]
        seen[0] = stamp
        total = 0.0
        for a in range(parents):
            acc = _value(0, digits, 0, children, messages) if a == 0 else 0.0
            for _ in range(m - 1 if a == 0 else m):
                state, code = _fresh(state, digits.shape[0], seen, stamp)
                acc += _value(code, digits, 0, children, messages)
            out[member, a] = acc
            total += acc
        for a in range(parents):
            out[member, a] /= total


@jit
def branch_down(messages, above, order, key, m, digits, seen, out):
    """Messages to a child from its parent's, ``above[order[0]]``, and its siblings' from below."""
    for member in range(order.shape[1]):
        stamp = member + 1
        state = _start(key, member)
        children = order[:, member]
        out[member, :] = 0.0
        seen[0] = stamp
        for a in range(above.shape[1]):
            x = above[children[0], a]
            if a == 0:
                out[member, 0] += x * _value(0, digits, 1, children, messages)
            for _ in range(m - 1 if a == 0 else m):
                state, code = _fresh(state, digits.shape[0], seen, stamp)
                out[member, digits[code, 0]] += x * _value(code, digits, 1, children, messages)
        total = 0.0
        for b in range(out.shape[1]):
            total += out[member, b]
        for b in range(out.shape[1]):
            out[member, b] /= total


@jit
def meet(up, down, key, out):
    """True belief of up times down; wrong symbols, whose names are arbitrary, meet at random."""
    v = up.shape[1]
    names = np.empty(v, np.int64)
    for member in range(up.shape[0]):
        state = _start(key, member)
        for b in range(v):
            names[b] = b
        total = up[member, 0] * down[member, 0]
        for b in range(v - 1, 0, -1):
            state, bits = _next(state)
            k = 1 + _below(bits, b)
            names[b], names[k] = names[k], names[b]
            total += up[member, b] * down[member, names[b]]
        out[member] = up[member, 0] * down[member, 0] / total
