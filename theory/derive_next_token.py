r"""
The autoregressive twin
=======================

The losses of an optimal left-to-right model of a grammar are conditional entropies.  We derive
their sum, the divergence of models with a short context, the levels at which their strings are
valid, and the variational bound of a masked model, in blocks of leaves and in continuous time.
"""

import itertools
import math

import numpy as np
import sympy as sp

from hierdiff.data.rhm import RHM
from hierdiff.theory.rhm.next_token import (
    context_entropies,
    context_strings,
    masked_bound,
    opened_rules,
    reading_entropies,
)
from hierdiff.theory.rhm.unmasking_schedules import string_entropy

# %%
# The number of data, leaf by leaf
# --------------------------------
# A datum is a class and a rule for every inner node, all equally likely and each datum once.  A
# rule begins with the first leaf below it; leaf 0 begins one rule of every level, and the class.

v, m, s, L = sp.symbols("v m s L", positive=True)
rhm = RHM(v=4, m=3, s=2, L=3)
grammar = rhm.draw(seed=0)
opened = opened_rules(grammar)
assert opened.tolist() == [3, 0, 1, 0, 2, 0, 1, 0]
for branching, depth in itertools.product((2, 3), (1, 2, 3)):
    nodes = sum(branching**level for level in range(depth))
    assert nodes == (branching**depth - 1) // (branching - 1)
    drawn = RHM(9, 2, branching, depth).draw(0)
    assert opened_rules(drawn).sum() == nodes
assert math.isclose(math.log(4) + opened.sum() * math.log(3), string_entropy(grammar))

# %%
# The sum rule
# ------------
# H(x) = sum_k H(x_k | x_<k) by the chain rule, whatever the tree.  A model that had to decide each
# rule at its first leaf would have h_k = r_k log m.  The entropy of a symbol is at most log v,
# which is less than r_k log m at the first leaves: rules must be decided late.

assert opened[0] * math.log(3) + math.log(4) > math.log(4)

# %%
# Here are all strings of this grammar, and the entropies by counting: for uniform data H(x_k |
# x_<k) is the mean logarithm of a ratio of numbers of strings that begin alike.

data = grammar.sample(200_000, seed=0).leaves
strings = np.unique(data, axis=0)
assert len(strings) == 4 * 3**7
numbers = []
for k in range(9):
    _, copy = np.unique(strings[:, :k], axis=0, return_inverse=True)
    numbers.append(np.bincount(copy.ravel())[copy.ravel()])
h = [float(np.log(numbers[k] / numbers[k + 1]).mean()) for k in range(8)]
assert math.isclose(sum(h), string_entropy(grammar))

# %%
# The library has the same numbers from belief propagation on a sample of data.

found = context_entropies(grammar, (0, 1, 3, 7), 4000, seed=1)
z = (found.mean[:, -1] - h) / np.maximum(found.error[:, -1], 1e-12)
assert np.abs(z).max() < 4

# %%
# Short contexts
# --------------
# A model that sees the last c leaves writes q_c(x) = prod p(x_k | x_{k-c} ... x_{k-1}).  The mean
# of log p - log q_c is sum_k h_k(c) - H(x): what the context does not hold.

pairs = {}
for k in range(8):
    begin = max(k - 1, 0)
    _, few = np.unique(strings[:, begin:k], axis=0, return_inverse=True)
    _, more = np.unique(strings[:, begin : k + 1], axis=0, return_inverse=True)
    few, more = (np.bincount(c.ravel())[c.ravel()] for c in (few, more))
    pairs[k] = float(np.log(few / more).mean())
exact = sum(pairs.values()) - string_entropy(grammar)
assert abs(found.divergences[1].value - exact) < 4 * found.divergences[1].error

# %%
# A node of height l has s^l leaves.  If c is at least s^l - 1 the context of its last leaf holds
# all the others, so these are jointly possible: all nodes of height l are valid, and those above
# need not be.

for c, height in ((0, 0), (1, 1), (2, 1), (3, 2), (7, 3)):
    made = context_strings(grammar, c, 4000, seed=2)
    valid = [float(x.mean()) for x in grammar.valid_per_level(made)]
    assert all(valid[3 - l] == 1 for l in range(height + 1))
    assert height == 3 or valid[2 - height] < 1

# %%
# When is the class decided?
# --------------------------
# H(z_0 | x_S) falls as leaves are read.  It cannot fall faster than leaves bring information: after
# k leaves it is at least H(z_0) - k log v, and it falls with any leaf on average.

curve = reading_entropies(grammar, data[:3000], "left to right")[0].mean(axis=0)
assert (np.diff(curve) < 0.01).all()
assert (curve >= math.log(4) * (1 - np.arange(9)) - 1e-9).all()

# %%
# The variational bound
# ---------------------
# A masked model is asked for masked leaves at noise level t, with weight 1/t.  Of n leaves, j are
# masked with probability C(n, j) t^j (1 - t)^(n - j), every set alike.  The weight of a set of j:

t = sp.symbols("t", positive=True)
for n in (4, 6):
    for j in range(1, n + 1):
        weight = sp.integrate(sp.expand(sp.binomial(n, j) * t ** (j - 1) * (1 - t) ** (n - j)),
                              (t, 0, 1))  # fmt: skip
        assert weight == sp.Rational(1, j)

# %%
# So each number j of masked leaves counts once, with the mean over its leaves: the sum over steps
# of a random order, in which one of j masked leaves is revealed.  With exact conditionals every
# order gives log p(x) by the chain rule, so the bound is an equality for every string and order.

some = data[:100]
for seed in (0, 1):
    assert np.allclose(masked_bound(grammar, some, seed=seed), grammar.log_prob(some))

print("losses of the next leaf: " + ", ".join(f"{x:.3f}" for x in h) + " nats")
