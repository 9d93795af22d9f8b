r"""One upward pass for every question: the recursion over a tree, its sums and products exchanged.

The pass writes, for every node and every symbol a of it,

.. math:: \mu(a) = \phi(a) \otimes \bigoplus_k \pi_k \otimes \mu_1(b_1^{(a,k)}) \otimes \dots
   \otimes \mu_s(b_s^{(a,k)}),

with the evidence phi of the node itself.  What the two operations are is the type of ``memo``:

===============  =======================  ===================  ====================================
memo             plus                     times                answers
===============  =======================  ===================  ====================================
``Sum``          +                        x                    evidence, marginals, counts, samples
``Log``          log(exp + exp)           +                    the same, for any range of numbers
``Max``          max, with its rule       +                    the most likely derivation
``Best``         the K largest            sums of pairs        the K most likely derivations
``Expectation``  average by weight        +                    means of additive costs, derivatives
===============  =======================  ===================  ====================================

``inside`` is the pass.  It calls ``one``, ``zero``, ``add``, ``finish`` and ``close``, of which the
compiler picks those of the type.  Going back down needs no further semiring: given a symbol, the
rule of its node is distributed as ``conditional`` computes, and rules of different nodes are
independent given their symbols.  So all numbers on the way down are probabilities.

Range.  ``Sum`` divides each node by a power of two.  An entry that falls below ``TINY`` although it
is not zero makes the sample *poor*: its caller does it again in ``Log``, which has no limits.

Flat arrays.  Node i of level l has its symbols at ``first_l + i v_l`` of every array of messages.
Functions pass addresses on, not arrays, whose references would be counted at every call.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from hierdiff.theory._compiled import inline, jit, part
from hierdiff.theory.belief_propagation._kernels.simd import at, pointer, put

__all__ = [
    "Best",
    "Evidence",
    "Expectation",
    "Log",
    "Max",
    "Sum",
    "Tree",
    "beliefs",
    "best",
    "draws",
    "likeliest",
    "pairs",
    "products",
]

TINY = 2.0**-900  # what was lost below 2**-1022 weighs less than one rounding of anything above
V, M, S, NODES, FIRST, RULES, WEIGHTS, PLACE = 0, 1, 2, 3, 4, 5, 6, 7  # columns of Tree.shape
COLUMNS = 8
_FAST: Any = {"error_model": "numpy"}  # no check of every division; zero over zero does not occur


class Tree(NamedTuple):
    """A grammar as flat arrays."""

    depth: int
    shape: Any  # int64 [levels, COLUMNS]; PLACE is the number of nodes above the level
    rules: Any  # int32, rule (a, k) of a level at RULES + (a m + k) s
    weights: Any  # float64, at WEIGHTS + a m + k
    log_weights: Any


class Evidence(NamedTuple):
    """Logarithms of phi."""

    values: Any  # float64 [n, width]
    start: Any  # int64 [levels]: where a level starts in a row, -1 without evidence
    root: Any  # float64 [n or 1, v_0]: log prior of the root, clamped or not


class _Row(NamedTuple):
    """Addresses of the evidence of one sample."""

    values: Any
    start: Any
    root: Any


class Sum(NamedTuple):
    value: Any  # float64 [symbols of all nodes]
    exponent: Any  # int64 [1]: powers of two taken out
    state: Any  # float64 [2]: logarithms taken out, and whether the sample is poor


class Log(NamedTuple):
    value: Any


class Max(NamedTuple):
    value: Any
    choice: Any  # int32, the rule that attains it


class Best(NamedTuple):
    size: int  # K
    width: int  # 1 + the largest s
    value: Any  # float64 [symbols, K], decreasing, -inf where there are fewer
    choice: Any  # int32 [symbols, K, width]: the rule, and the ranks of the children
    list: Any  # float64 [3, K]: what is merged
    ranks: Any  # int32 [3, K, width]


class Expectation(NamedTuple):
    value: Any  # as Log
    mean: Any  # mean of the costs at and below the node, given its symbol
    symbol_cost: Any  # per symbol of every node
    rule_cost: Any  # at WEIGHTS + a m + k


@inline
def of(tree, level, column):
    return at(tree.shape, level * COLUMNS + column)


@part
def _tree(tree):
    return Tree(
        tree.depth, pointer(tree.shape), pointer(tree.rules), pointer(tree.weights),
        pointer(tree.log_weights),
    )  # fmt: skip


@part
def _row(evidence, i):
    root = evidence.root[min(i, evidence.root.shape[0] - 1)]
    return _Row(pointer(evidence.values[i]), pointer(evidence.start), pointer(root))


# ------------------------------------------------------------------------ operations of a semiring


def addresses(memo):
    """The same with addresses for arrays."""


def start(memo):
    """Before a sample: nothing was taken out."""


def one(memo):
    """The accumulator of a leaf."""


def zero(memo):
    """The accumulator before any rule was added."""


def add(memo, total, tree, w, p, s, child, v, k):
    """Add rule k: weight at w, right-hand side at p, children's symbols at child + j v."""


def finish(memo, total, here, x, top):
    """Write an entry; x is the logarithm of its evidence, top the largest of the node."""


def scale(memo, first, v, top):
    """After all entries of a node: bring them into range."""


def term(memo, tree, w, p, s, child, v):
    """Weight of a rule times its children."""


def normalise(memo, terms, m):
    """Terms into probabilities."""


def close(memo, v, row, out):
    """Probabilities of the root's symbols into ``out``; the log-evidence."""


def poor(memo):
    """Whether numbers of the sample left the range."""


def _is(memo, *kinds):
    # a tuple whose fields are all of one type is of another class of numba's
    return getattr(memo, "instance_class", None) in kinds


@overload(addresses, jit_options=_FAST)
def _addresses(memo):
    if _is(memo, Sum):
        return lambda memo: Sum(pointer(memo.value), pointer(memo.exponent), pointer(memo.state))
    if _is(memo, Log):
        return lambda memo: Log(pointer(memo.value))
    if _is(memo, Max):
        return lambda memo: Max(pointer(memo.value), pointer(memo.choice))
    if _is(memo, Expectation):
        return lambda memo: Expectation(
            pointer(memo.value), pointer(memo.mean), pointer(memo.symbol_cost),
            pointer(memo.rule_cost),
        )  # fmt: skip
    return lambda memo: Best(
        memo.size, memo.width, pointer(memo.value), pointer(memo.choice), pointer(memo.list),
        pointer(memo.ranks),
    )  # fmt: skip


@overload(start, jit_options=_FAST)
def _start(memo):
    if not _is(memo, Sum):
        return lambda memo: None

    def nothing(memo):
        put(memo.exponent, 0, 0)
        put(memo.state, 0, 0.0)
        put(memo.state, 1, 0.0)

    return nothing


@overload(one, jit_options=_FAST)
def _one(memo):
    if _is(memo, Sum):
        return lambda memo: (1.0, False)
    if _is(memo, Log):
        return lambda memo: (0.0, 1.0)
    if _is(memo, Max):
        return lambda memo: (0.0, -1)
    if _is(memo, Expectation):
        return lambda memo: (0.0, 1.0, 0.0)

    def single(memo):
        for r in range(memo.size):
            put(memo.list, r, -np.inf)
        put(memo.list, 0, 0.0)
        return 1

    return single


@overload(zero, jit_options=_FAST)
def _zero(memo):
    if _is(memo, Sum):
        return lambda memo: (0.0, False)
    if _is(memo, Log):
        return lambda memo: (-np.inf, 0.0)
    if _is(memo, Max):
        return lambda memo: (-np.inf, 0)
    if _is(memo, Expectation):
        return lambda memo: (-np.inf, 0.0, 0.0)

    def none(memo):
        for r in range(memo.size):
            put(memo.list, r, -np.inf)
        return 0

    return none


@overload(term, jit_options=_FAST)
def _term(memo, tree, w, p, s, child, v):
    if _is(memo, Sum):

        def product(memo, tree, w, p, s, child, v):
            x = at(tree.weights, w)
            for j in range(s):
                x *= at(memo.value, child + j * v + at(tree.rules, p + j))
            return x

        return product

    def total(memo, tree, w, p, s, child, v):
        x = at(tree.log_weights, w)
        for j in range(s):
            x += at(memo.value, child + j * v + at(tree.rules, p + j))
        return x

    return total


@part
def _lost(value, tree, w, p, s, child, v):
    """Whether a product that came out tiny has no factor zero."""
    lost = at(tree.weights, w) > 0
    for j in range(s):
        lost = lost and at(value, child + j * v + at(tree.rules, p + j)) > 0
    return lost


@overload(add, jit_options=_FAST)
def _add(memo, total, tree, w, p, s, child, v, k):
    if _is(memo, Sum):

        def linear(memo, total, tree, w, p, s, child, v, k):
            x = term(memo, tree, w, p, s, child, v)
            lost = total[1]
            if x < TINY and not lost:
                lost = _lost(memo.value, tree, w, p, s, child, v)
            return (total[0] + x, lost)

        return linear
    if _is(memo, Log):

        def logarithm(memo, total, tree, w, p, s, child, v, k):
            x = term(memo, tree, w, p, s, child, v)
            if x == -np.inf:
                return total
            if x > total[0]:
                return (x, total[1] * math.exp(total[0] - x) + 1.0)
            return (total[0], total[1] + math.exp(x - total[0]))

        return logarithm
    if _is(memo, Max):

        def larger(memo, total, tree, w, p, s, child, v, k):
            x = term(memo, tree, w, p, s, child, v)
            if x > total[0]:
                return (x, k)
            return total

        return larger
    if _is(memo, Expectation):

        def average(memo, total, tree, w, p, s, child, v, k):
            x = term(memo, tree, w, p, s, child, v)
            if x == -np.inf:
                return total
            cost = at(memo.rule_cost, w)
            for j in range(s):
                cost += at(memo.mean, child + j * v + at(tree.rules, p + j))
            if x > total[0]:
                r = math.exp(total[0] - x)
                return (x, total[1] * r + 1.0, total[2] * r + cost)
            r = math.exp(x - total[0])
            return (total[0], total[1] + r, total[2] + r * cost)

        return average

    def longest(memo, total, tree, w, p, s, child, v, k):
        return _merge(memo, total, _combine(memo, total, tree, w, p, s, child, v), k, s)

    return longest


@overload(finish, jit_options=_FAST)
def _finish(memo, total, here, x, top):
    if _is(memo, Sum):

        def linear(memo, total, here, x, top):
            y = total[0]
            if x != top:
                y *= math.exp(x - top)
            if y < TINY and x > -np.inf and (total[0] > 0 or total[1]):
                put(memo.state, 1, 1.0)
            put(memo.value, here, y)

        return linear
    if _is(memo, Log):

        def logarithm(memo, total, here, x, top):
            y = -np.inf
            if total[1] > 0:
                y = total[0] + math.log(total[1]) + x
            put(memo.value, here, y)

        return logarithm
    if _is(memo, Max):

        def larger(memo, total, here, x, top):
            put(memo.value, here, total[0] + x)
            put(memo.choice, here, total[1])

        return larger
    if _is(memo, Expectation):

        def average(memo, total, here, x, top):
            y, mean = -np.inf, 0.0
            if total[1] > 0 and x > -np.inf:
                y = total[0] + math.log(total[1]) + x
                mean = total[2] / total[1] + at(memo.symbol_cost, here)
            put(memo.value, here, y)
            put(memo.mean, here, mean)

        return average

    def longest(memo, total, here, x, top):
        for r in range(memo.size):
            place = here * memo.size + r
            put(memo.value, place, at(memo.list, r) + x if r < total else -np.inf)
            if r < total:
                for c in range(memo.width):
                    put(memo.choice, place * memo.width + c, at(memo.ranks, r * memo.width + c))

    return longest


@overload(scale, jit_options=_FAST)
def _scale(memo, first, v, top):
    if not _is(memo, Sum):
        return lambda memo, first, v, top: None

    def power(memo, first, v, top):
        largest = 0.0
        for a in range(v):
            largest = max(largest, at(memo.value, first + a))
        e = math.frexp(largest)[1]
        factor = math.ldexp(1.0, -e)
        for a in range(v):
            put(memo.value, first + a, at(memo.value, first + a) * factor)
        put(memo.exponent, 0, at(memo.exponent, 0) + e)
        put(memo.state, 0, at(memo.state, 0) + top)

    return power


@overload(normalise, jit_options=_FAST)
def _normalise(memo, terms, m):
    if _is(memo, Sum):

        def linear(memo, terms, m):
            total = 0.0
            for k in range(m):
                total += at(terms, k)
            for k in range(m):
                put(terms, k, at(terms, k) / total)

        return linear

    def logarithm(memo, terms, m):
        top, total = -np.inf, 0.0
        for k in range(m):
            top = max(top, at(terms, k))
        for k in range(m):
            x = math.exp(at(terms, k) - top)
            put(terms, k, x)
            total += x
        for k in range(m):
            put(terms, k, at(terms, k) / total)

    return logarithm


@overload(close, jit_options=_FAST)
def _close(memo, v, row, out):
    if _is(memo, Sum):

        def linear(memo, v, row, out):
            total = 0.0
            for a in range(v):
                prior, value = math.exp(at(row.root, a)), at(memo.value, a)
                put(out, a, prior * value)
                if prior * value < TINY and prior > 0 and value > 0:
                    put(memo.state, 1, 1.0)
                total += prior * value
            if total > 0:
                for a in range(v):
                    put(out, a, at(out, a) / total)
            return math.log(total) + math.log(2.0) * at(memo.exponent, 0) + at(memo.state, 0)

        return linear

    def logarithm(memo, v, row, out):
        top, total = -np.inf, 0.0
        for a in range(v):
            x = at(row.root, a) + at(memo.value, a)
            put(out, a, x)
            top = max(top, x)
        if top > -np.inf:
            for a in range(v):
                x = math.exp(at(out, a) - top)
                put(out, a, x)
                total += x
            for a in range(v):
                put(out, a, at(out, a) / total)
            top += math.log(total)
        return top

    return logarithm


@overload(poor, jit_options=_FAST)
def _poor(memo):
    if _is(memo, Sum):
        return lambda memo: at(memo.state, 1) > 0
    return lambda memo: False


# ------------------------------------------------------------------------------ lists of the K best


@part
def _copy(memo, one, two, columns):
    """An entry of the lists [3, K], its first ``columns`` ranks with it, to another place."""
    put(memo.list, two, at(memo.list, one))
    for c in range(columns):
        put(memo.ranks, two * memo.width + c, at(memo.ranks, one * memo.width + c))


@part
def _insert(memo, which, length, x, columns):
    """Make room for x in a decreasing list of at most K, behind its equals; the place, or -1."""
    first = which * memo.size
    r = length
    if length == memo.size:
        r -= 1
        if x <= at(memo.list, first + r):
            return -1
    while r > 0 and at(memo.list, first + r - 1) < x:
        _copy(memo, first + r - 1, first + r, columns)
        r -= 1
    put(memo.list, first + r, x)
    return first + r


@part
def _combine(memo, known, tree, w, p, s, child, v):
    """The K largest products of a rule with one entry of each child, in list 1; how many.

    Child by child: the entry of rank r of what is there and that of rank t of the next child are
    behind (r + 1)(t + 1) - 1 others, so both ranks need to be tried only while that is below K.
    ``known`` entries are in list 0; a product that cannot enter it is left out.
    """
    size, width = memo.size, memo.width
    weight = at(tree.log_weights, w)
    bound = weight
    for j in range(s):
        bound += at(memo.value, (child + j * v + at(tree.rules, p + j)) * size)
    if bound == -np.inf or (known == size and bound <= at(memo.list, size - 1)):
        return 0
    put(memo.list, size, weight)
    length = 1
    for j in range(s):
        entry = (child + j * v + at(tree.rules, p + j)) * size
        grown = 0
        for r in range(length):
            for t in range(size // (r + 1)):
                x = at(memo.list, size + r) + at(memo.value, entry + t)
                if x == -np.inf:
                    break
                place = _insert(memo, 2, grown, x, 2 + j)
                if place < 0:
                    break
                grown = min(grown + 1, size)
                for c in range(1, 1 + j):
                    put(memo.ranks, place * width + c, at(memo.ranks, (size + r) * width + c))
                put(memo.ranks, place * width + 1 + j, t)
        for r in range(grown):
            _copy(memo, 2 * size + r, size + r, 2 + j)
        length = grown
    return length


@part
def _merge(memo, known, new, k, s):
    """Put the ``new`` entries of list 1, of rule k, into list 0; how many that has then."""
    size, width = memo.size, memo.width
    for r in range(new):
        place = _insert(memo, 0, known, at(memo.list, size + r), 1 + s)
        if place < 0:
            break
        known = min(known + 1, size)
        put(memo.ranks, place * width, k)
        for c in range(1, 1 + s):
            put(memo.ranks, place * width + c, at(memo.ranks, (size + r) * width + c))
    return known


# ---------------------------------------------------------------------------------------- the pass


@part
def inside(memo, tree, row):
    """Write all messages of one sample."""
    start(memo)
    for level in range(tree.depth, -1, -1):
        v, m, s = of(tree, level, V), of(tree, level, M), of(tree, level, S)
        rules, weights = of(tree, level, RULES), of(tree, level, WEIGHTS)
        seen = at(row.start, level)
        below = min(level + 1, tree.depth)
        width = of(tree, below, V)
        for node in range(of(tree, level, NODES)):
            first = of(tree, level, FIRST) + node * v
            child = of(tree, below, FIRST) + node * s * width
            top = 0.0
            if seen >= 0:
                top = at(row.values, seen + node * v)
                for a in range(1, v):
                    top = max(top, at(row.values, seen + node * v + a))
            for a in range(v):
                x = 0.0
                if seen >= 0:
                    x = at(row.values, seen + node * v + a)
                total = zero(memo)
                if level == tree.depth:
                    total = one(memo)
                elif x > -np.inf:
                    for k in range(m):
                        rule = a * m + k
                        total = add(
                            memo, total, tree, weights + rule, rules + rule * s, s, child, width, k
                        )
                finish(memo, total, first + a, x, top)
            scale(memo, first, v, top)


@part
def conditional(memo, tree, level, node, a, terms):
    """Posterior probabilities of the rules of a node, given its symbol a, into ``terms``."""
    m, s = of(tree, level, M), of(tree, level, S)
    width = of(tree, level + 1, V)
    child = of(tree, level + 1, FIRST) + node * s * width
    for k in range(m):
        rule = a * m + k
        put(terms, k, term(
            memo, tree, of(tree, level, WEIGHTS) + rule, of(tree, level, RULES) + rule * s, s,
            child, width,
        ))  # fmt: skip
    normalise(memo, terms, m)


@part
def outside(memo, tree, belief, terms, counts, rules, entropy, wanted):
    """From the root's belief to all others; ``wanted`` is a sum of COUNTS, BELIEFS and ENTROPY.

    ``entropy[l + 1]`` is the mean entropy of the rules of level l given their symbols.
    """
    place = 0  # of the rules of the level's first node
    for level in range(tree.depth):
        v, m, s = of(tree, level, V), of(tree, level, M), of(tree, level, S)
        first, nodes = of(tree, level, FIRST), of(tree, level, NODES)
        width, below = of(tree, level + 1, V), of(tree, level + 1, FIRST)
        for b in range(below, below + width * of(tree, level + 1, NODES)):
            put(belief, b, 0.0)
        spread = 0.0
        for node in range(nodes):
            for a in range(v):
                p = at(belief, first + node * v + a)
                if not p > 0:
                    continue
                conditional(memo, tree, level, node, a, terms)
                for k in range(m):
                    q = at(terms, k)
                    b = p * q
                    if not b > 0:
                        continue
                    rule = a * m + k
                    written = of(tree, level, RULES) + rule * s
                    for j in range(s):
                        here = below + (node * s + j) * width + at(tree.rules, written + j)
                        put(belief, here, at(belief, here) + b)
                    if wanted & COUNTS:
                        here = of(tree, level, WEIGHTS) + rule
                        put(counts, here, at(counts, here) + b)
                    if wanted & BELIEFS:
                        put(rules, place + node * v * m + rule, b)
                    if wanted & ENTROPY:
                        spread -= b * math.log(q)
        if wanted & ENTROPY:
            put(entropy, level + 1, spread)
        place += nodes * v * m


COUNTS, BELIEFS, ENTROPY = 1, 2, 4


@jit
def beliefs(
    memo, grammar, evidence, rows, wanted, terms, belief, log_z, counts, group, rules, entropy
):
    """Per sample of ``rows``: belief [n, symbols], log-evidence [n], and what is wanted.

    ``counts`` [groups, weights] gathers the samples of ``group`` each; arrays that are not wanted
    have one row, which all samples use.  Poor samples get NaN.
    """
    tree, raw, work = _tree(grammar), addresses(memo), pointer(terms)
    for n in range(rows.size):
        i = rows[n]
        row, here = _row(evidence, i), pointer(belief[min(i, belief.shape[0] - 1)])
        inside(raw, tree, row)
        log_z[i] = close(raw, of(tree, 0, V), row, here)
        if poor(raw):
            log_z[i] = np.nan
            continue
        if not log_z[i] > -np.inf:
            continue
        if wanted & ENTROPY:
            for a in range(of(tree, 0, V)):
                p = at(here, a)
                if p > 0:
                    entropy[i, 0] -= p * math.log(p)
        outside(
            raw, tree, here, work, pointer(counts[min(i // group, counts.shape[0] - 1)]),
            pointer(rules[min(i, rules.shape[0] - 1)]),
            pointer(entropy[min(i, entropy.shape[0] - 1)]), wanted,
        )  # fmt: skip


# ------------------------------------------------------------------ derivations: drawn, or largest


@part
def _pick(p, m, u):
    """The first entry at which the running sum passes u times the total."""
    total = 0.0
    for k in range(m):
        total += at(p, k)
    running, chosen = 0.0, 0
    for k in range(m):
        if at(p, k) > 0:
            chosen = k
        running += at(p, k)
        if u * total < running:
            break
    return chosen


@part
def _write(tree, level, node, a, k, symbols):
    """The right-hand side of a rule into the children of a node."""
    s = of(tree, level, S)
    below, rule = of(tree, level + 1, PLACE), of(tree, level, RULES)
    for j in range(s):
        symbol = at(tree.rules, rule + (a * of(tree, level, M) + k) * s + j)
        put(symbols, below + node * s + j, symbol)


@jit
def draws(memo, grammar, evidence, rows, terms, log_z, copies, head, inner, symbols, rules):
    """Posterior samples: ``copies`` of each of ``rows``, from uniform numbers."""
    tree, raw, work = _tree(grammar), addresses(memo), pointer(terms)
    for n in range(rows.size):
        i = rows[n]
        row = _row(evidence, i)
        inside(raw, tree, row)
        log_z[i] = close(raw, of(tree, 0, V), row, work)
        if poor(raw):
            log_z[i] = np.nan
            continue
        if not log_z[i] > -np.inf:
            continue
        for copy in range(i * copies, (i + 1) * copies):
            drawn = pointer(symbols[copy])
            close(raw, of(tree, 0, V), row, work)
            put(drawn, 0, _pick(work, of(tree, 0, V), head[copy]))
            for level in range(tree.depth):
                place = of(tree, level, PLACE)
                for node in range(of(tree, level, NODES)):
                    a = at(drawn, place + node)
                    conditional(raw, tree, level, node, a, work)
                    k = _pick(work, of(tree, level, M), inner[copy, place + node])
                    rules[copy, place + node] = k
                    _write(tree, level, node, a, k, drawn)


@jit
def likeliest(memo, grammar, evidence, rows, values, symbols, rules):
    """Derivation of the largest weight, and the logarithm of it; -inf where there is none."""
    tree, raw = _tree(grammar), addresses(memo)
    for n in range(rows.size):
        i = rows[n]
        row, drawn = _row(evidence, i), pointer(symbols[i])
        inside(raw, tree, row)
        values[i] = -np.inf
        for a in range(of(tree, 0, V)):
            x = at(row.root, a) + at(raw.value, a)
            if x > values[i]:
                values[i] = x
                put(drawn, 0, a)
        if values[i] == -np.inf:
            continue
        for level in range(tree.depth):
            place, first, v = of(tree, level, PLACE), of(tree, level, FIRST), of(tree, level, V)
            for node in range(of(tree, level, NODES)):
                a = at(drawn, place + node)
                k = at(raw.choice, first + node * v + a)
                rules[i, place + node] = k
                _write(tree, level, node, a, k, drawn)


@jit
def best(memo, grammar, evidence, rows, rank, values, symbols, rules):
    """The K derivations of the largest weights [n, K], decreasing; -inf where there are fewer.

    ``rank`` [nodes] holds, for one derivation, which entry of its list a node takes.
    """
    tree, raw = _tree(grammar), addresses(memo)
    size, width = raw.size, raw.width
    for n in range(rows.size):
        i = rows[n]
        row = _row(evidence, i)
        inside(raw, tree, row)
        length = 0
        for a in range(of(tree, 0, V)):
            for r in range(size):
                x = at(row.root, a) + at(raw.value, a * size + r)
                place = -1
                if x > -np.inf:
                    place = _insert(raw, 0, length, x, 2)
                if place < 0:
                    break
                length = min(length + 1, size)
                put(raw.ranks, place * width, a)
                put(raw.ranks, place * width + 1, r)
        for r in range(size):
            values[i, r] = -np.inf
            if r >= length:
                continue
            values[i, r] = at(raw.list, r)
            drawn = pointer(symbols[i, r])
            put(drawn, 0, at(raw.ranks, r * width))
            rank[0] = at(raw.ranks, r * width + 1)
            for level in range(tree.depth):
                v, s = of(tree, level, V), of(tree, level, S)
                place, below = of(tree, level, PLACE), of(tree, level + 1, PLACE)
                for node in range(of(tree, level, NODES)):
                    a = at(drawn, place + node)
                    entry = (of(tree, level, FIRST) + node * v + a) * size + rank[place + node]
                    k = at(raw.choice, entry * width)
                    rules[i, r, place + node] = k
                    for j in range(s):
                        rank[below + node * s + j] = at(raw.choice, entry * width + 1 + j)
                    _write(tree, level, node, a, k, drawn)


# ------------------------------------------------------------------------------ pairs, derivatives


@part
def _descend(memo, tree, level, node, path, bottom, terms, table, other, rows):
    """Carry a table [rows, symbols of a node] down a path of children, to a node of ``bottom``."""
    for lower in range(level, bottom):
        v, m, s = of(tree, lower, V), of(tree, lower, M), of(tree, lower, S)
        child, width = path[lower], of(tree, lower + 1, V)
        other[:rows, :width] = 0.0
        for a in range(v):
            some = False
            for r in range(rows):
                some = some or table[r, a] > 0
            if not some:
                continue
            conditional(memo, tree, lower, node, a, terms)
            for k in range(m):
                b = at(tree.rules, of(tree, lower, RULES) + (a * m + k) * s + child)
                q = at(terms, k)
                for r in range(rows):
                    other[r, b] += table[r, a] * q
        table[:rows, :width] = other[:rows, :width]
        node = node * s + child


@jit
def pairs(memo, grammar, evidence, rows, asked, paths, places, terms, belief, tables, log_z, out):
    """Joint laws of pairs of nodes, one after another in a row of ``out``.

    ``asked`` [pairs, 4] holds the levels of both nodes, of their lowest common ancestor, and its
    number; ``paths`` [pairs, 2, levels] the children to take from there; ``tables`` [2, v, v].
    """
    tree, raw, work, root = _tree(grammar), addresses(memo), pointer(terms), pointer(belief)
    for n in range(rows.size):
        i = rows[n]
        row = _row(evidence, i)
        inside(raw, tree, row)
        log_z[i] = close(raw, of(tree, 0, V), row, root)
        if poor(raw):
            log_z[i] = np.nan
            continue
        if not log_z[i] > -np.inf:
            continue
        outside(raw, tree, root, work, root, root, root, 0)
        for q in range(asked.shape[0]):
            level, node = asked[q, 2], asked[q, 3]
            v, m, s = of(tree, level, V), of(tree, level, M), of(tree, level, S)
            first = of(tree, level, FIRST) + node * v
            table, other = tables[0], tables[1]
            table[:, :] = 0.0
            here = level
            node_one, node_two = node, node
            if asked[q, 0] > level and asked[q, 1] > level:
                one_child, two_child = paths[q, 0, level], paths[q, 1, level]
                for a in range(v):
                    if not belief[first + a] > 0:
                        continue
                    conditional(raw, tree, level, node, a, work)
                    for k in range(m):
                        rule = of(tree, level, RULES) + (a * m + k) * s
                        b, c = at(tree.rules, rule + one_child), at(tree.rules, rule + two_child)
                        table[b, c] += belief[first + a] * terms[k]
                here = level + 1
                node_one, node_two = node * s + one_child, node * s + two_child
            else:  # one is the other, or above it
                for a in range(v):
                    table[a, a] = belief[first + a]
            width, lines = of(tree, here, V), of(tree, asked[q, 1], V)
            _descend(raw, tree, here, node_two, paths[q, 1], asked[q, 1], work, table, other, width)
            # turned around, so that the first node is the one that moves
            for r in range(lines):
                for a in range(width):
                    other[r, a] = table[a, r]
            _descend(raw, tree, here, node_one, paths[q, 0], asked[q, 0], work, other, table, lines)
            for a in range(of(tree, asked[q, 0], V)):
                for b in range(lines):
                    out[i, places[q] + a * lines + b] = other[b, a]


@jit
def products(memo, grammar, evidence, rows, terms, costs, directions, belief, log_z, out):
    """Covariance of all symbols' indicators times a direction: the derivative of all beliefs.

    ``directions`` [n, symbols] are derivatives of log phi; ``out`` [n, symbols] those of the
    beliefs.  ``costs`` [m] is scratch.
    """
    tree, raw, work, root = _tree(grammar), addresses(memo), pointer(terms), pointer(belief)
    for n in range(rows.size):
        i = rows[n]
        row = _row(evidence, i)
        memo.symbol_cost[:] = directions[i]
        inside(raw, tree, row)
        log_z[i] = close(raw, of(tree, 0, V), row, root)
        if not log_z[i] > -np.inf:
            continue
        out[i, :] = 0.0
        mean = 0.0
        for a in range(of(tree, 0, V)):
            mean += belief[a] * memo.mean[a]
        for a in range(of(tree, 0, V)):
            out[i, a] = belief[a] * (memo.mean[a] - mean)
        for level in range(tree.depth):
            v, m, s = of(tree, level, V), of(tree, level, M), of(tree, level, S)
            first, weights = of(tree, level, FIRST), of(tree, level, WEIGHTS)
            width, below = of(tree, level + 1, V), of(tree, level + 1, FIRST)
            belief[below : below + width * of(tree, level + 1, NODES)] = 0.0
            for node in range(of(tree, level, NODES)):
                child = below + node * s * width
                for a in range(v):
                    p, slope = belief[first + node * v + a], out[i, first + node * v + a]
                    if not p > 0:
                        continue
                    conditional(raw, tree, level, node, a, work)
                    mean = 0.0
                    for k in range(m):
                        rule = of(tree, level, RULES) + (a * m + k) * s
                        costs[k] = memo.rule_cost[weights + a * m + k]
                        for j in range(s):
                            costs[k] += memo.mean[child + j * width + at(tree.rules, rule + j)]
                        mean += terms[k] * costs[k]
                    for k in range(m):
                        rule = of(tree, level, RULES) + (a * m + k) * s
                        change = terms[k] * (slope + p * (costs[k] - mean))
                        for j in range(s):
                            here = child + j * width + at(tree.rules, rule + j)
                            belief[here] += p * terms[k]
                            out[i, here] += change
