r"""
Sums over all trees of a string
===============================

In a grammar whose trees vary in shape a string of n leaves has up to exponentially many trees.
Inside and outside sums add all of them in polynomial time.  We derive the recursions as derivatives
of one polynomial, on a grammar that is small enough for closed forms,

.. math:: S \to S\,S \;(p), \qquad S \to a \;(q_a), \qquad S \to b \;(q_b),

and compare each step with :mod:`hierdiff.theory.pcfg`: the number of trees, the law of the length,
posteriors of spans, expected counts, chains of unary rules, and prefixes.
"""

import numpy as np
import sympy as sp

from hierdiff.data.pcfg import PCFG
from hierdiff.theory.pcfg import parse_posterior, prefix_log_probability

p, z, qa, qb = sp.symbols("p z q_a q_b", positive=True)
n = 4
psi = sp.Matrix(n, 2, lambda i, b: sp.Symbol(f"psi_{i}{'ab'[b]}", positive=True))

# %%
# Inside sums
# -----------
# What S derives over the leaves i ... j - 1 is one leaf, or two parts that meet at some k.  A node
# of the tree is cut off from the rest of the tree by its symbol, so the sums over the two parts
# multiply.


def inside(i, j):
    """Sum over all trees over [i, j)."""
    if j == i + 1:
        return qa * psi[i, 0] + qb * psi[i, 1]
    return p * sum(inside(i, k) * inside(k, j) for k in range(i + 1, j))


Z = sp.expand(inside(0, n))

# %%
# The number of trees is a Catalan number; with flat evidence Z is the probability of the length.
# The law of lengths has the generating function T(z) = p T^2 + q z of the branching process.

flat = dict.fromkeys(psi, 1)
q = qa + qb
T = (1 - sp.sqrt(1 - 4 * p * q * z)) / (2 * p)
assert sp.expand(p * T**2 + q * z - T).simplify() == 0
series = sp.series(T, z, 0, n + 1).removeO()
for length in range(1, n + 1):
    closed = sp.catalan(length - 1) * p ** (length - 1) * q**length
    assert sp.expand(series.coeff(z, length) - closed).simplify() == 0
assert sp.expand(Z.subs(flat) - sp.catalan(n - 1) * p ** (n - 1) * q**n) == 0

values = {p: sp.Rational(1, 4), qa: sp.Rational(1, 2), qb: sp.Rational(1, 4)}
grammar = PCFG([(0, (0, 0), 0.25), (0, (1,), 0.5), (0, (2,), 0.25)], n_symbols=1, v=2)
law = grammar.length_law(n)
assert all(abs(float(series.coeff(z, k).subs(values)) - law[k]) < 1e-12 for k in range(1, n + 1))

# %%
# Outside sums are derivatives
# ----------------------------
# Z is linear in the inside sum of each span, as a tree uses a span once at most.  The derivative is
# the sum over everything outside of the span; times the inside sum, over Z, it is the posterior of
# the span.  We mark a span by a factor s, so that s d/ds counts the trees that use it.


def marked(i, j, span, s):
    """Inside sums with a factor s wherever a node covers the given span."""
    factor = s if (i, j) == span else 1
    if j == i + 1:
        return factor * (qa * psi[i, 0] + qb * psi[i, 1])
    parts = (marked(i, k, span, s) * marked(k, j, span, s) for k in range(i + 1, j))
    return factor * p * sum(parts)


rng = np.random.default_rng(0)
numbers = rng.random((n, 2))
evidence = {psi[i, b]: sp.Float(numbers[i, b], 30) for i in range(n) for b in range(2)}
found = parse_posterior(grammar, np.log(numbers)[None])
assert abs(float(sp.log(Z.subs(values).subs(evidence))) - found.log_evidence[0]) < 1e-12
s = sp.Symbol("s")
for span in ((0, 2), (1, 3), (1, 4), (0, 4)):
    total = marked(0, n, span, s).subs(values).subs(evidence)
    share = (sp.diff(total, s) / total).subs(s, 1)
    assert abs(float(share) - found.spans()[0, span[0], span[1]]) < 1e-12

# %%
# Posteriors of leaves and expected counts
# ----------------------------------------
# The same derivative with respect to log evidence of a leaf is its posterior, with respect to the
# log probability of a rule the expected number of its uses, the E-step of learning.  A tree of n
# leaves has n - 1 binary rules and n others, whatever its shape.

for i in range(n):
    share = sp.diff(Z, psi[i, 0]) * psi[i, 0] / Z
    value = float(share.subs(values).subs(evidence))
    assert abs(value - found.leaf_marginals[0, i, 0]) < 1e-12
for symbol, count in zip((p, qa, qb), found.rule_counts[0], strict=True):
    uses = (sp.diff(Z, symbol) * symbol / Z).subs(values).subs(evidence)
    assert abs(float(uses) - count) < 1e-12
assert abs(found.rule_counts[0, 0] - (n - 1)) < 1e-12

# %%
# Chains of unary rules
# ---------------------
# Rules A -> B (u) and B -> A (w) may follow each other any number of times over the same span.  The
# sum over all chains is a geometric series of matrices, (1 - U)^{-1}, finite as u w < 1.

u, w, x, y = sp.symbols("u w x y", positive=True)
closure = (sp.eye(2) - sp.Matrix([[0, u], [w, 0]])).inv()
assert sp.simplify(closure - sp.Matrix([[1, u], [w, 1]]) / (1 - u * w)) == sp.zeros(2, 2)
both = closure * sp.Matrix([x, y])  # inside sums of A and B from what their other rules give
cyclic = PCFG.from_text("A -> B [0.5] | 'a' [0.5]\nB -> A [0.25] | 'a' [0.75]")
z_a = both[0].subs({u: 0.5, w: 0.25, x: 0.5, y: 0.75})
assert (
    abs(float(z_a) - np.exp(parse_posterior(cyclic, np.zeros((1, 1, 1))).log_evidence[0])) < 1e-12
)

# %%
# Prefixes
# --------
# A string begins with symbol a if its leftmost leaf is an a: S -> S S repeats the question for its
# left child, another geometric series.  Here all trees end, since p < 1/2.

first = qa / (1 - p)
value = float(first.subs(values))
assert abs(value - np.exp(prefix_log_probability(grammar, [[0]])[0, 1])) < 1e-12
print(f"a string begins with a: {value:.4f}; of {n} leaves there are {sp.catalan(n - 1)} trees")
