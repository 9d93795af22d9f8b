r"""
An upper bound of the threshold
===============================

Below the threshold the class survives any depth.  Support sets prove it from below, for masking.
From above we need a proof that the class is *lost*: an overlap :math:`q = E \sum_a x(a)^2` of
posteriors so small that it shrinks on its way up, whatever the noise.
"""

import itertools

import numpy as np
import sympy as sp

from hierdiff import RHM
from hierdiff.theory import (
    level_set_threshold,
    overlap_bound,
    overlap_threshold,
    stability,
    support_threshold,
)

# %%
# Rules and leaves as if they were independent
# --------------------------------------------
# Children show messages x_j; a tuple has the weight w(tau), the product of x_j(tau_j).  A symbol
# has the weight N_a of its m rules, and S is their sum: the posterior is N_a / S.  The joint
# probability of rules and observations is proportional to S, relative to uniform rules and children
# observed independently.  There E sum_tau w^2 is the product of the children's overlaps, and
#
# .. math:: q' - \frac1v = \frac{v^{s-1}}{m} E_0\left[\frac VS\right], \qquad
#    V = \sum_a (N_a - S/v)^2 .
#
# All rule tables of (v, m, s) = (2, 1, 2) and children with two possible observations:

v, s, m = 2, 2, 1
tuples = list(itertools.product(range(v), repeat=s))
channel = np.array([[0.8, 0.2], [0.2, 0.8]])  # observation given symbol
messages = channel.T / channel.T.sum(axis=1, keepdims=True)
tables = list(itertools.permutations(range(len(tuples)), m * v))
direct = formula = 0.0
for table in tables:
    rules = [table[a * m : (a + 1) * m] for a in range(v)]
    for seen in itertools.product(range(2), repeat=s):
        weight = np.array([np.prod([messages[y, b] for y, b in zip(seen, t, strict=True)])
                           for t in tuples])  # fmt: skip
        N = np.array([weight[list(r)].sum() for r in rules])
        S = N.sum()
        planted = np.mean([
            np.prod([channel[b, y] for b, y in zip(tuples[r], seen, strict=True)])
            for own in rules for r in own
        ])  # fmt: skip
        independent = np.prod([channel[:, y].mean() for y in seen])
        assert abs(planted - independent * S * v**s / (m * v)) < 1e-12
        direct += planted * ((N / S) ** 2).sum() / len(tables)
        V = ((N - S / v) ** 2).sum()
        formula += independent * v ** (s - 1) / m * V / S / len(tables)
assert abs(direct - 1 / v - formula) < 1e-12

# %%
# Two variances
# -------------
# N_a is a sum over m of T tuples without replacement.  With sigma^2 = (sum w^2 - 1/T)/T:

T, weight = 6, np.random.default_rng(1).dirichlet(np.ones(6))
sigma2 = ((weight**2).sum() - 1 / T) / T
for m, v in ((1, 3), (2, 3), (1, 5)):
    sums = [
        [sum(weight[list(p[a * m : (a + 1) * m])]) for a in range(v)]
        for p in itertools.permutations(range(T), m * v)
    ]
    N = np.array(sums)
    S = N.sum(axis=1)
    V = ((N - S[:, None] / v) ** 2).sum(axis=1)
    assert abs(V.mean() - m * sigma2 * (v - 1) * T / (T - 1)) < 1e-12
    assert abs(S.var() - m * v * sigma2 * (T - m * v) / (T - 1)) < 1e-12

# %%
# 1/S
# ---
# Since V <= (1 - 1/v) S^2, also V/S <= V/c + (1 - 1/v) S (1 - S/c) for S < c.  With c = theta times
# the mean of S, u = S / mean: u (1 - u/theta) is at most theta (1 - u)^2 / (4 (1 - theta)).

u, theta = sp.symbols("u theta", positive=True)
quotient = u * (1 - u / theta) / (1 - u) ** 2
(place,) = sp.solve(sp.numer(sp.together(sp.diff(quotient, u))) / (u - 1), u)
assert sp.simplify(place - theta / (2 - theta)) == 0
assert sp.simplify(quotient.subs(u, place) - theta / (4 * (1 - theta))) == 0

# %%
# The bound K (q^s - v^-s), with the best theta, is what the library has.

for v, m, s in ((32, 8, 2), (16, 4, 2), (16, 8, 3), (24, 6, 2)):
    T = v**s
    signal = v ** (2 * s - 2) * (v - 1) / (m * (T - 1))
    scatter = v ** (s - 1) * (v - 1) * (T - m * v) / (m * v * (T - 1))
    grid = np.linspace(1e-3, 1 - 1e-3, 100_001)
    K = (signal / grid + scatter * grid / (4 * (1 - grid))).min()
    rhm = RHM(v, m, s, 1)
    for q in (1 / v, 1.2 / v, 2 / v):
        assert abs(overlap_bound(rhm, q) - min(1 / v + K * (q**s - v**-s), 1)) < 1e-7

    # the first term alone has the Kesten-Stigum number as its slope at 1/v
    assert abs(signal * s * v ** (1 - s) - stability(rhm)[0]) < 1e-12
    certain = overlap_threshold(rhm)
    assert 1 / v < certain < 1
    assert overlap_bound(rhm, 0.99 * certain) < 0.99 * certain

# %%
# Telling the rank
# ----------------
# For masking a second bound needs no sampling: a parent is told which of its own allowed rules
# wrote it, counted in an order drawn at random.  It is then one of the c_h symbols that have h
# allowed rules or more, all equally likely, and the message is again a set.

low, high = support_threshold(RHM(32, 8, 2, 1)), level_set_threshold(RHM(32, 8, 2, 1))
assert abs(low - 0.251560) < 1e-6
assert abs(high - 0.397947) < 1e-6
print(
    f"overlaps: identity, variances, bound on 1/S; q_c = {overlap_threshold(RHM(32, 8, 2, 1)):.4f} "
    f"at (32, 8, 2); masking threshold between {low:.4f} and {high:.4f} without sampling"
)
