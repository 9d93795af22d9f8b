r"""
One recursion, many questions
=============================

The sum over all derivations of a tree is computed node by node, from the leaves up.  The recursion
uses two properties of numbers alone: that sums and products exist, and that products distribute
over sums.  Whatever has both, a *semiring*, can stand in their place, and the same recursion then
answers another question.

We write the recursion once, put numbers, maxima, lists, counts, dual numbers and polynomials into
it, compare each answer with a list of all derivations in exact fractions, derive the identities
between them with polynomials, and compare with the library.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import sympy as sp

from hierdiff.data.rhm import Grammar
from hierdiff.theory import tree_posterior

# %%
# A small grammar
# ---------------
# Two levels, two symbols each, two rules per symbol, of which one right-hand side is shared: the
# grammar is ambiguous, which changes nothing.  Every node has evidence, also the root and its
# children.

rules = [[[(0, 1), (1, 1)], [(1, 0), (0, 1)]], [[(0, 1), (1, 0)], [(1, 1), (0, 1)]]]
weights = [[[Fraction(2, 3), Fraction(1, 3)], [Fraction(1, 4), Fraction(3, 4)]],
           [[Fraction(1, 2), Fraction(1, 2)], [Fraction(4, 5), Fraction(1, 5)]]]  # fmt: skip
evidence = [
    [[Fraction(1 + (3 * i + 2 * a + level) % 5, 4) for a in range(2)] for i in range(2**level)]
    for level in range(3)
]
prior = [Fraction(1, 2), Fraction(1, 2)]

# %%
# The recursion, once
# -------------------
# mu(a) = phi(a) x sum over rules of pi x mu_1(b_1) x mu_2(b_2).  ``lift`` turns a weight into an
# element of the semiring; it is told where the weight stands.


def inside(plus, times, zero, lift):
    """The sum over all derivations in a semiring."""
    below = [[lift(evidence[2][i][a], ("node", 2, i, a)) for a in range(2)] for i in range(4)]
    for level in (1, 0):
        here = []
        for i in range(2**level):
            line = []
            for a in range(2):
                total = zero
                for k in range(2):
                    one, two = rules[level][a][k]
                    x = lift(weights[level][a][k], ("rule", level, i, a, k))
                    x = times(times(x, below[2 * i][one]), below[2 * i + 1][two])
                    total = plus(total, x)
                line.append(times(lift(evidence[level][i][a], ("node", level, i, a)), total))
            here.append(line)
        below = here
    total = zero
    for a in range(2):
        total = plus(total, times(lift(prior[a], ("prior", a)), below[0][a]))
    return total


# %%
# The list of all derivations to compare with: a choice of the root and of a rule for every node.


def derivations():
    """Symbols per level, rules used, weight."""
    for a, *choice in itertools.product(range(2), repeat=4):
        symbols: list[tuple[int, ...]] = [(a,)]
        used, weight = [], prior[a] * evidence[0][0][a]
        for level in (0, 1):
            picked = choice[:1] if level == 0 else choice[1:]
            written: list[int] = []
            for i, (b, k) in enumerate(zip(symbols[-1], picked, strict=True)):
                weight *= weights[level][b][k]
                used.append((level, i, b, k))
                written += rules[level][b][k]
            symbols.append(tuple(written))
            for i, b in enumerate(written):
                weight *= evidence[level + 1][i][b]
        yield symbols, used, weight


everything = list(derivations())
Z = sum(w for *_, w in everything)

# %%
# Numbers, maxima, counts, lists
# ------------------------------
# With (+, x) the recursion gives the evidence Z; with (max, x) the weight of the most likely
# derivation; with every weight replaced by one the number of derivations; with lists of the three
# largest numbers, where a product is all pairs, the three best derivations.


def add(x, y):
    """The ordinary sum."""
    return x + y


def multiply(x, y):
    """The ordinary product."""
    return x * y


def three(x, y):
    """The three largest of two lists."""
    return sorted(x + y, reverse=True)[:3]


def all_pairs(x, y):
    """The three largest products of two lists."""
    return sorted((p * q for p in x for q in y), reverse=True)[:3]


assert inside(add, multiply, 0, lambda w, _: w) == Z
assert inside(max, multiply, 0, lambda w, _: w) == max(w for *_, w in everything)
assert inside(add, multiply, 0, lambda w, _: int(w > 0)) == len(everything) == 16
best = sorted((w for *_, w in everything), reverse=True)[:3]
assert inside(three, all_pairs, [], lambda w, _: [w]) == best

# %%
# Positive factors distribute over maxima, which is why (max, x) works.  Maxima do not distribute
# over sums, so (+, max) is no semiring, and the recursion would not give the sum of maxima.

assert 2 * max(3, 5) == max(2 * 3, 2 * 5)
assert max(4, 3 + 5) != max(4, 3) + max(4, 5)

# %%
# Dual numbers: means of additive costs
# -------------------------------------
# Let every weight carry a cost, w + e w c with e^2 = 0.  Products add costs and sums average them:
# the coefficient of e is the sum over derivations of weight times total cost.  With c = log w it
# gives E[log w], and with that the entropy log Z - E[log w(tau)].


def dual_plus(x, y):
    """Sum of dual numbers."""
    return x[0] + y[0], x[1] + y[1]


def dual_times(x, y):
    """Product of dual numbers, e^2 = 0."""
    return x[0] * y[0], x[0] * y[1] + x[1] * y[0]


total, slope = inside(
    dual_plus, dual_times, (0.0, 0.0), lambda w, _: (float(w), float(w) * math.log(w))
)
entropy = math.log(total) - slope / total
chance = [float(w / Z) for *_, w in everything]
assert math.isclose(entropy, -sum(p * math.log(p) for p in chance))

# %%
# Polynomials: derivatives are expected counts, and covariances
# -------------------------------------------------------------
# Let every weight be multiplied by a symbol of its own.  Z is then a polynomial in which every
# derivation is one monomial, so x d/dx log Z at x = 1 is the probability that the weight is used.

marks: dict[tuple[object, ...], sp.Symbol] = {}


def marked(w, place):
    """A weight times the symbol of its place."""
    mark = marks.setdefault(place, sp.Symbol("x" + "_".join(map(str, place))))
    return sp.Rational(w.numerator, w.denominator) * mark


polynomial = sp.expand(inside(add, multiply, sp.Integer(0), marked))
at_one = dict.fromkeys(marks.values(), sp.Integer(1))
assert len(sp.Add.make_args(polynomial)) == 16
for level, i, a, k in itertools.product((0, 1), (0, 1), (0, 1), (0, 1)):
    if i >= 2**level:
        continue
    mark = marks["rule", level, i, a, k]
    used = sum(w for _, rules_used, w in everything if (level, i, a, k) in rules_used) / Z
    slope_of_log = (mark * sp.diff(polynomial, mark) / polynomial).subs(at_one)
    assert slope_of_log == sp.Rational(used.numerator, used.denominator)

# %%
# All nodes of a level share a weight, so the derivative by log pi is the *sum* of these
# probabilities, the expected count.  Second derivatives by the logarithms of the evidence of two
# leaves are covariances of their indicators, of which the pair beliefs are the first part:


def chance_of(*wanted):
    """Probability that nodes (level, i) have the symbols asked, as a sympy number."""
    found = sum(w for s, _, w in everything if all(s[lv][i] == a for lv, i, a in wanted)) / Z
    return sp.Rational(found.numerator, found.denominator)


for (i, a), (j, b) in itertools.product(itertools.product(range(4), range(2)), repeat=2):
    one, two = marks["node", 2, i, a], marks["node", 2, j, b]
    first = one * sp.diff(polynomial, one) / polynomial
    second = (two * sp.diff(first, two)).subs(at_one)
    pair = chance_of((2, i, a), (2, j, b))
    assert second == pair - chance_of((2, i, a)) * chance_of((2, j, b))

# %%
# The Jacobian of a denoiser
# --------------------------
# Gaussian noise x = a x0 + sigma z gives a one-hot leaf the log-evidence a x . x0 / sigma^2, up to
# what is common to all symbols.  So a derivative by x is one by log phi, times a/sigma^2, and the
# derivative of a mean is a second derivative of log Z: J = (a / sigma^2) Cov(x0 | x).  For one leaf
# with two symbols and prior weights p, q:

gain, x1, x2, p, q = sp.symbols("gain x1 x2 p q", positive=True)
normaliser = p * sp.exp(gain * x1) + q * sp.exp(gain * x2)
mean = p * sp.exp(gain * x1) / normaliser
assert sp.simplify(sp.diff(mean, x1) - gain * mean * (1 - mean)) == 0
assert sp.simplify(sp.diff(mean, x2) + gain * mean * (1 - mean)) == 0

# %%
# A step of expectation maximisation
# ----------------------------------
# log Z at new weights minus log Z at old ones is at least the mean, over derivations at the old
# weights, of the logarithm of the ratio (Jensen).  That bound is the sum of expected counts times
# log(new / old), which counts over their sum maximise.  So the likelihood cannot fall:


def evidence_of(trial):
    """Z with other weights."""
    return sum(
        w * math.prod(trial[lv][a][k] / weights[lv][a][k] for lv, _, a, k in used)
        for _, used, w in everything
    )


counts = [[[sum((w for _, used, w in everything for (lv, _, b, j) in used
                 if (lv, b, j) == (level, a, k)), Fraction(0)) / Z
            for k in range(2)] for a in range(2)] for level in range(2)]  # fmt: skip
better = [[[c / sum(row) for c in row] for row in level] for level in counts]
assert evidence_of(better) > evidence_of(weights) == Z

# %%
# The library
# -----------
# Its kernel has the same recursion with the same exchanges, in floating point.

grammar = Grammar(
    [np.array(table) for table in rules],
    weights=[np.array(table, float) for table in weights],
    root_prior=np.array(prior, float),
)
asked = tree_posterior(grammar, nodes=[np.log(np.array(e, float)) for e in evidence])
assert math.isclose(asked.log_evidence[0], math.log(Z))
assert math.isclose(asked.entropy()[0], entropy)
assert np.allclose(np.exp(asked.k_best(3).log_weight[0]), np.array(best, float))
assert round(math.exp(asked.log_count()[0])) == 16
for level in range(2):
    assert np.allclose(asked.expected_counts()[level][0], np.array(counts[level], float))
covariance = asked.covariance()[0].reshape(4, 2, 4, 2)
for i, a, j, b in itertools.product(range(4), range(2), range(4), range(2)):
    alone = chance_of((2, i, a)) * chance_of((2, j, b))
    assert math.isclose(
        covariance[i, a, j, b], float(chance_of((2, i, a), (2, j, b)) - alone), abs_tol=1e-14
    )

print(f"16 derivations, Z = {Z}, entropy {entropy:.6f} nats; the library agrees in every answer")
