"""Leaf evidence into the lines of a tile: rows of samples become lines of symbols.

Leaves are loaded parent by parent, right before they are used.  For observed symbols that is
cheaper than keeping them, so all parents share the same place in ``messages`` and the downward
pass loads them again; likelihoods and logarithms are loaded once.
"""

from __future__ import annotations

import numpy as np

from hierdiff.theory._compiled import inline, jit, part
from hierdiff.theory.belief_propagation._kernels import simd
from hierdiff.theory.belief_propagation._kernels.layout import (
    BRANCHES,
    LOGARITHMS,
    MATCH,
    MESSAGES_BELOW,
    NODES,
    OTHER,
    PIECES,
    ROWS,
    STEP,
    STRIDE,
    SYMBOLS,
    SYMBOLS_SEEN,
    of,
)

__all__ = ["CHECK", "centre", "gather", "leaf_exponents", "load_leaves", "prepare"]

# lines of scratch that last for a tile; 0 and 1 are free for all
HIT, MISS, MASKS, SCALE, CHECK = 2, 3, 4, 5, 6


@jit
def centre(dense, out, tops):
    """Log-evidence [n, leaves, v] minus the largest of each leaf, which goes to ``tops``.

    Differences are taken in float64, whatever the types of the arrays.  Where the largest is not
    finite (NaN, +inf, or -inf throughout) the leaf is copied.
    """
    samples, leaves, v = dense.shape
    for i in range(samples):
        for j in range(leaves):
            top = np.float64(dense[i, j, 0])
            for b in range(1, v):
                x = np.float64(dense[i, j, b])
                top = x if x > top else top
            tops[i, j] = top
            shift = top if np.isfinite(top) else 0.0
            for b in range(v):
                out[i, j, b] = np.float64(dense[i, j, b]) - shift


@inline
def gather(source, base, column_step, columns, first, v, out, row):
    """Turn rows of ``v`` numbers, a column each, into lines; no column is read beyond the last."""
    width = simd.width(out)
    last = max(min(width, columns - first) - 1, 0)
    place, whole = base + min(first, columns - 1) * column_step, v - v % width
    for b in range(0, whole, width):
        simd.get_turned(out, source, place + b, column_step, last, out, row + b * width)
    for w in range(width):
        start = place + min(w, last) * column_step
        for b in range(whole, v):
            simd.put(out, row + b * width + w, simd.at(source, start + b))


@inline
def _gather_symbols(task, first, leaves):
    """The same for the symbols that were seen, lanes side by side."""
    width = simd.width(task.line)
    last = min(width, task.columns - first) - 1
    place, whole = first * leaves, leaves - leaves % width
    for i in range(0, whole, width):
        simd.get_turned(task.line, task.seen, place + i, leaves, last, task.symbols, i * width)
    for leaf in range(whole, leaves):
        for w in range(width):
            seen = simd.at(task.seen, place + min(w, last) * leaves + leaf)
            simd.put(task.symbols, leaf * width + w, seen)


@inline
def prepare(task, first):
    """Start a tile: likelihoods of seen symbols, scaled to a sum in [1, 2), and empty sums."""
    job, line = task.job, task.line
    width = simd.width(line)
    zero = simd.same(line, 0.0)
    for i in (MASKS, SCALE, CHECK):
        simd.store(line, i * width, zero)
    if task.kind == SYMBOLS_SEEN:
        match, other = simd.like(line, simd.at(job, MATCH)), simd.like(line, simd.at(job, OTHER))
        pieces, leaves = simd.at(job, PIECES), of(task.geometry, task.depth, NODES)
        for w in range(width):
            column = min(first + w, task.columns - 1)
            simd.put(line, HIT * width + w, simd.at(match, column // pieces))
            simd.put(line, MISS * width + w, simd.at(other, column // pieces))
        _gather_symbols(task, first, leaves)
        hit, miss = simd.load(line, HIT * width), simd.load(line, MISS * width)
        rest = simd.same(line, of(task.geometry, task.depth, SYMBOLS) - 1.0)
        c = simd.unscale(simd.fma(miss, rest, hit))
        simd.store(line, HIT * width, simd.multiply(hit, c))
        simd.store(line, MISS * width, simd.multiply(miss, c))
        simd.store(line, SCALE * width, simd.exponent(c))


@inline
def leaf_exponents(task):
    """Sum over leaves of the exponents taken out, once all are loaded."""
    geometry, depth, line = task.geometry, task.depth, task.line
    width = simd.width(line)
    scale = simd.load(line, SCALE * width)
    if task.kind != SYMBOLS_SEEN:
        return scale
    masks = simd.load(line, MASKS * width)
    seen = simd.subtract(simd.same(line, 1.0 * of(geometry, depth, NODES)), masks)
    flat = simd.exponent(simd.unscale(simd.same(line, 1.0 * of(geometry, depth, SYMBOLS))))
    return simd.fma(scale, seen, simd.multiply(flat, masks))


@inline
def _load_symbol(task, leaf, row, v):
    """One leaf: match on the seen symbol, other elsewhere, flat if nothing was seen."""
    messages, line, seen = task.messages, task.line, task.symbols
    width = simd.width(messages)
    here = leaf * width
    hit = simd.load(line, HIT * width)
    flat = simd.unscale(simd.same(line, 1.0 * v))
    rest = simd.where_at_least(seen, here, 0, simd.load(line, MISS * width), flat)
    simd.one_hot(messages, row, v, seen, here, hit, rest)
    one, zero = simd.same(line, 1.0), simd.same(line, 0.0)
    masked = simd.where_at_least(seen, here, 0, zero, one)
    simd.store(line, MASKS * width, simd.add(simd.load(line, MASKS * width), masked))


@part
def _load_likelihoods(task, leaf, row, v, leaves, first):
    """One leaf from ``dense[column, leaf, symbol]``.

    Logarithms are taken relative to their largest, which goes to ``shifts``.  The sum in CHECK is
    NaN if any evidence is.
    """
    messages, line, columns = task.messages, task.line, task.columns
    width = simd.width(messages)
    gather(task.dense, leaf * v, leaves * v, columns, first, v, messages, row)
    total = simd.same(messages, 0.0)
    if task.kind == LOGARITHMS:
        top = simd.load(messages, row)
        for b in range(1, v):
            top = simd.maximum(simd.load(messages, row + b * width), top)
        simd.store(line, 0, top)
        for w in range(min(width, columns - first)):
            simd.put(task.shifts, (first + w) * leaves + leaf, simd.at(line, w))
        for b in range(v):
            i = row + b * width
            x = simd.exp(simd.subtract(simd.load(messages, i), top))
            simd.store(messages, i, x)
            total = simd.add(total, x)
    else:
        for b in range(v):
            total = simd.add(total, simd.load(messages, row + b * width))
    c = simd.unscale(total)
    for b in range(v):
        i = row + b * width
        simd.store(messages, i, simd.multiply(simd.load(messages, i), c))
    scale, check = simd.load(line, SCALE * width), simd.load(line, CHECK * width)
    simd.store(line, SCALE * width, simd.add(scale, simd.exponent(c)))
    simd.store(line, CHECK * width, simd.add(check, total))


@part
def _load_message(task, leaf, row, lines, leaves, first):
    """All lines of the root of a tree below."""
    place, step = leaf * lines, leaves * lines
    gather(task.dense, place, step, task.columns, first, lines, task.messages, row)


@part
def load_leaves(task, parent, first):
    """Put the evidence of all leaves of one parent into their lines.

    What is long stands in functions of its own: it would take registers from what is short.
    """
    geometry, depth = task.geometry, task.depth
    s, v = of(geometry, depth - 1, BRANCHES), of(geometry, depth, SYMBOLS)
    leaves = of(geometry, depth, NODES)
    row = of(geometry, depth, ROWS) + parent * of(geometry, depth, STEP)
    for leaf in range(parent * s, parent * s + s):
        if task.kind == SYMBOLS_SEEN:
            _load_symbol(task, leaf, row, v)
        elif task.kind == MESSAGES_BELOW:
            _load_message(task, leaf, row, v + 2, leaves, first)
        else:
            _load_likelihoods(task, leaf, row, v, leaves, first)
        row += of(geometry, depth, STRIDE)
