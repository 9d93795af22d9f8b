"""One level of density evolution: messages of a population with the true symbol at index 0.

Random numbers come from a counter: a member's stream is a function of the key that the caller gives
and of the member's number, so results do not depend on threads or on the order of the work.
"""

from __future__ import annotations

import numpy as np

from hierdiff.theory._compiled import inline, jit

__all__ = ["downward", "marginals", "upward"]


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
def _value(code, digits, first, children, population):
    """Product over the children from ``first`` on of the messages at a tuple's symbols."""
    x = 1.0
    for j in range(first, children.size):
        x *= population[children[j], digits[code, j]]
    return x


@jit
def upward(population, order, key, first, last, parents, m, digits, seen, out):
    """New members ``first`` .. ``last``: s messages under a rule table with the true tuple.

    ``order[j, member]`` is child j; ``digits[code]`` are the symbols of a tuple.  Tuple 0 is the
    true one and belongs to parent 0; the other rules are a uniform choice of the other tuples,
    without repetition.
    """
    tuples = digits.shape[0]
    for member in range(first, last):
        stamp = member + 1
        state = _start(key, member)
        children = order[:, member]
        seen[0] = stamp
        total = 0.0
        for a in range(parents):
            acc = _value(0, digits, 0, children, population) if a == 0 else 0.0
            for _ in range(m - 1 if a == 0 else m):
                state, code = _fresh(state, tuples, seen, stamp)
                acc += _value(code, digits, 0, children, population)
            out[member, a] = acc
            total += acc
        for a in range(parents):
            out[member, a] /= total


@jit
def downward(population, above, order, key, first, last, m, digits, seen, out):
    """Messages to child 0 from its parent's, ``above[order[0]]``, and its siblings' from below."""
    v, parents = population.shape[1], above.shape[1]
    tuples = digits.shape[0]
    for member in range(first, last):
        stamp = member + 1
        state = _start(key, member)
        children = order[:, member]
        parent = children[0]
        out[member, :] = 0.0
        seen[0] = stamp
        for a in range(parents):
            if a == 0:
                out[member, 0] += above[parent, 0] * _value(0, digits, 1, children, population)
            for _ in range(m - 1 if a == 0 else m):
                state, code = _fresh(state, tuples, seen, stamp)
                x = above[parent, a] * _value(code, digits, 1, children, population)
                out[member, digits[code, 0]] += x
        total = 0.0
        for b in range(v):
            total += out[member, b]
        for b in range(v):
            out[member, b] /= total


@jit
def marginals(up, down, order, key, first, last, out):
    """True belief of up times down[order]; wrong symbols meet at random."""
    v = up.shape[1]
    names = np.empty(v, np.int64)
    for member in range(first, last):
        state = _start(key, member)
        i, j = member, order[member]
        for b in range(v):
            names[b] = b
        total = up[i, 0] * down[j, 0]
        for b in range(v - 1, 0, -1):
            state, bits = _next(state)
            k = 1 + _below(bits, b)
            names[b], names[k] = names[k], names[b]
            total += up[i, b] * down[j, names[b]]
        out[member] = up[i, 0] * down[j, 0] / total
