"""Density evolution: messages of a population with the true symbol at index 0.

Random numbers come from a counter: a member's stream is a function of the key that the caller gives
and of the member's number, so results do not depend on threads or on the order of the work.

Noise levels that share their random numbers run together, in the lanes of one vector: the rules of
a member are drawn once for all of them.  Every lane does what it would do alone, in the same order,
so that its numbers do not depend on the other lanes.

==========  =================================================================================
symbol      meaning
==========  =================================================================================
lanes       noise levels that run together, 1 to ``LANES``
messages    flat float64 array [member, symbol, lane]; vectors are read across its rows, so it
            must be ``LANES`` numbers longer
order       int32 [s, member]: children of a member, as numbers of members
digits      int32 [tuple, s]: symbols of a tuple
seen        int64 [tuple]: stamps of the last rule table that has the tuple
row         float64 on a 64-byte boundary, ``LANES`` numbers for each symbol of a node
codes       int64 [s + rules of a node]: places of the children, then the rules' tuples
state       flat float64 [member, symbol, 4, lane] on a 64-byte boundary, always ``LANES`` lanes:
            message, and, given the symbol, mean and variance of the sum of the leaves' fates and
            mean of the first one
==========  =================================================================================

Inner functions take addresses, and steps are inlined: both shorten the compilation.
"""

from __future__ import annotations

import numpy as np

from hierdiff.theory._compiled import inline, jit, part
from hierdiff.theory.belief_propagation._kernels.simd import (
    add,
    after,
    at,
    divide,
    lanes,
    load,
    load_anywhere,
    multiply,
    pointer,
    put,
    same,
    store,
    store_anywhere,
)

__all__ = ["LANES", "evolve", "fates", "upward"]

LANES = lanes(np.float64)
_AT_ONCE = 32  # random numbers that are drawn together, in vectors; those left over are not used


@inline
def _next(state):
    """SplitMix64: the next state and 64 random bits."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    x = state
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, x ^ (x >> np.uint64(31))


@inline
def _below(bits, n):
    """A number in [0, n) from the high bits; the bias is below n / 2^32."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@inline
def _start(key, member):
    state = key ^ (np.uint64(member) * np.uint64(0xD1342543DE82EF95))
    return _next(state)[0]


@part
def _rules(key, member, tuples, seen, stamp, codes, count):
    """Tuples of a rule table, coded as numbers: the true one, then others without repetition."""
    state = _start(key, member)
    drawn = np.empty(_AT_ONCE, np.int64)
    put(seen, 0, stamp)
    put(codes, 0, 0)
    n = 1
    while n < count:
        for i in range(_AT_ONCE):
            state, bits = _next(state)
            drawn[i] = _below(bits, tuples)
        for code in drawn:
            # no branch on what was seen, as nothing predicts it
            put(codes, n, code)
            n += at(seen, code) != stamp
            put(seen, code, stamp)
            if n == count:
                break


@inline
def _value(p, places, digits, code, first, s, width):
    """Product over the children from ``first`` on of the messages at a tuple's symbols."""
    word = code * s
    x = load_anywhere(p, at(places, first) + at(digits, word + first) * width)
    if s > first + 1:  # apart from the loop, which takes longer than one product
        x = multiply(
            x, load_anywhere(p, at(places, first + 1) + at(digits, word + first + 1) * width)
        )
    for j in range(first + 2, s):
        x = multiply(x, load_anywhere(p, at(places, j) + at(digits, word + j) * width))
    return x


@part
def _write(row, total, rows, out, width):
    """Normalised messages of a member; no number behind its own is written."""
    for a in range(rows):
        x = divide(load(row, a * LANES), total)
        # in rising order, as the vector of a row runs into the next ones
        if a * width + LANES <= rows * width:
            store_anywhere(out, a * width, x)
        else:
            store(row, a * LANES, x)
            for k in range(width):
                put(out, a * width + k, at(row, a * LANES + k))


@inline
def _up(messages, v, order, size, key, first, last, parents, m, digits, tuples, s, seen, stamp,
        width, row, codes, out):  # fmt: skip
    rules = after(codes, s)
    for member in range(first, last):
        _rules(key, member, tuples, seen, stamp + member, rules, parents * m)
        for j in range(s):
            put(codes, j, at(order, j * size + member) * v * width)
        total = same(messages, 0.0)
        for a in range(parents):
            acc = same(messages, 0.0)
            for i in range(a * m, (a + 1) * m):
                acc = add(acc, _value(messages, codes, digits, at(rules, i), 0, s, width))
            store(row, a * LANES, acc)
            total = add(total, acc)
        _write(row, total, parents, after(out, member * parents * width), width)


@inline
def _down(messages, v, above, parents, order, size, key, m, digits, tuples, s, seen, stamp, width,
          row, codes, out):  # fmt: skip
    rules = after(codes, s)
    for member in range(size):
        _rules(key, member, tuples, seen, stamp + member, rules, parents * m)
        for j in range(s):
            put(codes, j, at(order, j * size + member) * v * width)
        parent = at(order, member) * parents * width
        for b in range(v):
            store(row, b * LANES, same(messages, 0.0))
        for a in range(parents):
            message = load_anywhere(above, parent + a * width)
            for i in range(a * m, (a + 1) * m):
                code = at(rules, i)
                x = multiply(message, _value(messages, codes, digits, code, 1, s, width))
                b = at(digits, code * s) * LANES
                store(row, b, add(load(row, b), x))
        total = same(messages, 0.0)
        for b in range(v):
            total = add(total, load(row, b * LANES))
        _write(row, total, v, after(out, member * v * width), width)


@inline
def _meet(messages, v, down, order, size, key, width, row, names, out):
    """True belief [member, lane] of up times down[order]; wrong symbols meet at random."""
    for member in range(size):
        state = _start(key, member)
        one, other = member * v * width, at(order, member) * v * width
        for b in range(v):
            put(names, b, b)
        true = multiply(load_anywhere(messages, one), load_anywhere(down, other))
        total = true
        for b in range(v - 1, 0, -1):
            state, bits = _next(state)
            k = 1 + _below(bits, b)
            name = at(names, k)
            put(names, k, at(names, b))
            x = load_anywhere(messages, one + b * width)
            total = add(total, multiply(x, load_anywhere(down, other + name * width)))
        store(row, 0, divide(true, total))
        for k in range(width):
            put(out, member * width + k, at(row, k))


@jit
def upward(messages, v, order, key, first, last, parents, m, digits, seen, width, row, codes, out):
    """New members ``first`` .. ``last``: s messages under a rule table with the true tuple.

    ``order[j, member]`` is child j; ``digits[code]`` are the symbols of a tuple.  Tuple 0 is the
    true one and belongs to parent 0; the other rules are a uniform choice of the other tuples,
    without repetition.  ``width`` is the number of lanes; ``seen`` is zero before.
    """
    tuples, s = digits.shape
    _up(pointer(messages), v, pointer(order), order.shape[1], key, first, last, parents, m,
        pointer(digits), tuples, s, pointer(seen), 1, width, pointer(row), pointer(codes),
        pointer(out))  # fmt: skip


@jit
def evolve(tree, top, v, classes, orders, keys, m, digits, seen, width, row, codes, down, marginal):
    """All levels of one population, up and down.

    ``tree`` [level, member, symbol, lane] holds levels 1 to L and is given with the leaves, its
    last level; the others and the root, ``top`` [member, class, lane], are filled.  ``keys`` [step]
    and ``orders`` [step, s, member] are those of L steps up, the deepest first, then, for every
    level from the first, of a step down and of the meeting, which uses one row of its order.
    ``down`` [2, ...] holds two levels of messages; ``marginal`` [level, member, lane] are the true
    beliefs.  ``seen`` is zero before.
    """
    tuples, s = digits.shape
    size, L, span = orders.shape[2], keys.size // 3, orders.shape[2] * v * width
    nodes, symbols, order, row, codes = (
        pointer(tree), pointer(digits), pointer(orders), pointer(row), pointer(codes)
    )  # fmt: skip
    stamps, beliefs = pointer(seen), pointer(marginal)
    for step in range(L):
        level = L - 1 - step
        parents, out = (v, after(nodes, (level - 1) * span)) if level else (classes, pointer(top))
        _up(after(nodes, level * span), v, after(order, step * s * size), size, keys[step], 0, size,
            parents, m, symbols, tuples, s, stamps, 1 + step * size, width, row, codes,
            out)  # fmt: skip
    above, below, parents = pointer(down), after(pointer(down), down.size // 2), classes
    for i in range(size * classes * width):
        put(above, i, 1.0 / classes)
    for level in range(L):
        step, up = L + 2 * level, after(nodes, level * span)
        _down(up, v, above, parents, after(order, step * s * size), size, keys[step], m, symbols,
              tuples, s, stamps, 1 + (L + level) * size, width, row, codes, below)  # fmt: skip
        _meet(up, v, below, after(order, (step + 1) * s * size), size, keys[step + 1], width, row,
              codes, after(beliefs, level * size * width))  # fmt: skip
        above, below, parents = below, above, v


@jit
def fates(state, v, order, key, parents, m, digits, seen, codes, out):
    """New members with the moments of their leaves' fates, given the symbol of the member.

    Lanes share rules and children: observations at several noise levels, and several observations
    at one.  Given the tuple, children are independent: means and variances add.  Over the tuples of
    a symbol, the variance is the mean of the variances and of the squared means, less the square of
    the mean.  ``codes`` and ``seen`` are as in :func:`upward`; ``out`` has ``parents`` symbols.
    """
    tuples, s = digits.shape
    size, span = order.shape[1], 4 * LANES
    old, new, word, rows = pointer(state), pointer(out), pointer(digits), pointer(codes)
    rules, total = after(rows, s), np.empty(LANES)
    for member in range(size):
        _rules(key, member, tuples, pointer(seen), 1 + member, rules, parents * m)
        for j in range(s):
            put(rows, j, np.int64(order[j, member]) * v * span)
        total[:] = 0.0
        for a in range(parents):
            z = same(old, 0.0)
            mean, square, first = z, z, z
            for i in range(a * m, (a + 1) * m):
                code = at(rules, i) * s
                place = at(rows, 0) + at(word, code) * span
                w, M, V = load(old, place), load(old, place + LANES), load(old, place + 2 * LANES)
                one = load(old, place + 3 * LANES)
                for j in range(1, s):
                    place = at(rows, j) + at(word, code + j) * span
                    w = multiply(w, load(old, place))
                    M = add(M, load(old, place + LANES))
                    V = add(V, load(old, place + 2 * LANES))
                z, mean = add(z, w), add(mean, multiply(w, M))
                square = add(square, multiply(w, add(V, multiply(M, M))))
                first = add(first, multiply(w, one))
            place = (member * parents + a) * span
            store(new, place, z)
            store(new, place + LANES, mean)
            store(new, place + 2 * LANES, square)
            store(new, place + 3 * LANES, first)
            for k in range(LANES):
                z_k = at(new, place + k)
                total[k] += z_k
                # a symbol that is impossible has no moments, and its weight above is 0; divided, as
                # the inverse of the smallest floats is infinite
                M_k = at(new, place + LANES + k) / z_k if z_k > 0.0 else 0.0
                V_k = at(new, place + 2 * LANES + k) / z_k if z_k > 0.0 else 0.0
                one_k = at(new, place + 3 * LANES + k) / z_k if z_k > 0.0 else 0.0
                put(new, place + LANES + k, M_k)
                put(new, place + 2 * LANES + k, max(V_k - M_k * M_k, 0.0))
                put(new, place + 3 * LANES + k, one_k)
        for a in range(parents):
            for k in range(LANES):
                place = (member * parents + a) * span + k
                put(new, place, at(new, place) / total[k])
