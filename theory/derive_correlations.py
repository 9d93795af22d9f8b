r"""
The two-state chain and the correlations of the leaves
======================================================

A datum is noised and denoised; every node of its tree is then "true", as before, or "changed".
Which leaves change together?  Averaged over the rules, the fates of the nodes form a Markov chain
with two states down the tree.  We derive it from the averaged weights of the rules, find its second
eigenvalue, and from it the covariance of two leaves, the identity between response and fluctuation,
the decay at the threshold and the condition for the susceptibility to diverge.
"""

import itertools
import math
from fractions import Fraction

import sympy as sp

from hierdiff.data.rhm import RHM
from hierdiff.theory.rhm.dynamical_correlations import (
    correlation_decay_exponent,
    leaf_correlation,
    second_eigenvalue,
    sibling_states,
    susceptibility,
    transfer_matrix,
)
from hierdiff.theory.rhm.mean_field import (
    correlation_length_exponent,
    critical_belief,
    critical_noise,
    upward_derivative,
    upward_map,
)

v, m, s, p, q = sp.symbols("v m s p q", positive=True)
P, N = sp.symbols("P N", positive=True)  # P = p^s, N = v^s - 1

# %%
# Weights of the averaged rules
# -----------------------------
# Given the true rule, the other m v - 1 right-hand sides are a uniform random subset of the other N
# tuples.  So the true parent writes the true tuple with weight 1, any other with weight (m - 1)/N;
# a changed parent never writes the true tuple, and any other with weight m/N.  A tuple weighs the
# product of its children's upward beliefs: P if it is true; p (1 - P/p) altogether if a given child
# is true but the tuple is not; 1 - p if that child is changed.

other_true, other_changed = (m - 1) / N, m / N
weight = sp.Matrix(
    [[P + other_true * (p - P), other_true * (1 - p)],
     [other_changed * (p - P), other_changed * (1 - p)]]
)  # fmt: skip

# %%
# Summed over the child these are the upward message, F = true / (true + (v - 1) changed):

above = weight * sp.ones(2, 1)
F = sp.simplify(above[0] / (above[0] + (v - 1) * above[1]))
assert sp.simplify(F - (P + (m - 1) / N * (1 - P)) / (P + (m * v - 1) / N * (1 - P))) == 0

# %%
# The chain and its second eigenvalue
# -----------------------------------
# The posterior step is the row-normalised weight.  The evidence from outside, q, multiplies rows
# and cancels: it moves the probabilities of the two states, and not how they are handed on.

step = sp.Matrix(2, 2, lambda i, j: weight[i, j] / above[i])
eigenvalue = sp.factor(step[0, 0] - step[1, 0])
k = (m - 1) / N
assert sp.simplify(eigenvalue - (1 - p) / (1 - P) * P / (P + k * (1 - P))) == 0
assert sp.simplify(step.det() - eigenvalue) == 0  # the first eigenvalue is 1

# %%
# Response and fluctuation
# ------------------------
# How much a small change of every leaf's belief grows per level on its way up, and how much of a
# fluctuation is handed down, are the same number: F' = s lambda F (1 - F) / (p (1 - p)) at every p,
# so F'(p*) = s lambda where F(p*) = p*.

slope = sp.diff(F.subs(P, p**s), p)
identity = (s * eigenvalue * F * (1 - F) / (p * (1 - p))).subs(P, p**s)
for branching in range(2, 6):
    concrete = {s: branching, N: v**branching - 1}
    assert sp.cancel(sp.together((slope - identity).subs(concrete))) == 0

# %%
# Brothers
# --------
# Two children of a node with downward belief q.  Any tuple but the true one has weight
# c = (m - q)/N: m - 1 rules of the true parent, believed with q, and m of each of the others.

c = (m - q) / N
both, mixed, none = q * P + c * (p**2 - P), c * p * (1 - p), c * (1 - p) ** 2
total = both + 2 * mixed + none
assert sp.simplify(total - (q * P + c * (1 - P))) == 0
brothers = (both * none - mixed**2) / total**2
assert sp.simplify(brothers - c * (q - c) * P * (1 - p) ** 2 / total**2) == 0

# %%
# They change together unless q = c, which is the belief of chance when all tuples are rules.  They
# are not independent given their parent: a changed parent never writes the true tuple, which sets
# its children against each other (for s = 2 they cannot both be true), and a true parent that does
# write it binds them together.

parent = sp.Matrix([q * above[0], (1 - q) * above[1]])
assert sp.simplify(parent[0] + parent[1] - total) == 0
given_changed = (p**2 - P) / (1 - P) - step[1, 0] ** 2
given_true = (P + k * (p**2 - P)) / above[0] - step[0, 0] ** 2
parent_variance = parent[0] * parent[1] / total**2
coupled = (parent[0] * given_true + parent[1] * given_changed) / total
rest = brothers - parent_variance * eigenvalue**2 - coupled
for digits in itertools.permutations((2, 3, 5, 7, 11), 4):  # exact, in rational numbers
    x, y, z, w = (sp.Rational(1, d) for d in digits)
    assert rest.subs({q: x, p: y, P: z, N: 1 / w, m: 4}) == 0
assert sp.simplify(given_changed.subs(P, p**2) + (p / (1 + p)) ** 2) == 0
assert sp.cancel(given_true - k * (1 - k) * P * (1 - p) ** 2 / above[0] ** 2) == 0

# %%
# Leaves at distance d are handed down from two brothers along two paths of d - 1 steps, each with
# its eigenvalue: C(d) = 4 cov(brothers) prod lambda^2.  At the threshold every level is equal, so
# C(d) ~ lambda^(2 d) and, with r = s^d leaves, C ~ r^(-a), a = -2 log lambda / log s.  With
# lambda = F'(p*)/s and nu = log s / log F'(p*):

growth = sp.symbols("growth", positive=True)
nu = sp.log(s) / sp.log(growth)
decay = -2 * sp.log(growth / s) / sp.log(s)
assert sp.simplify(sp.expand_log(decay - (2 - 2 / nu))) == 0

# %%
# The pairs at distance d number s^d per leaf, so chi is a geometric series in
# s lambda^2 = F'(p*)^2 / s: it diverges only if nu < 2, although the correlation length always
# does.  For s = 2 the eigenvalue at the threshold p* = (m - 1)/(v - m) is a rational number:

at_threshold = {s: 2, P: p**2, N: v**2 - 1}
exact = sp.simplify(eigenvalue.subs(at_threshold).subs(p, (m - 1) / (v - m)))
assert sp.simplify(exact - (v - m) * (m - 1) * (v + 1) / (m * (v - 1) ** 2)) == 0
per_level = {m_: 2 * exact.subs({v: 32, m: m_}) ** 2 for m_ in (8, 12)}
assert per_level[8] > 1 > per_level[12]

# %%
# What the library computes
# -------------------------

paper = RHM(v=32, m=8, s=2, L=9)
p_star = critical_belief(paper)
values = {v: 32, m: 8, s: 2, N: 1023}
for belief in (Fraction(1, 10), Fraction(7, 24), Fraction(1, 2), Fraction(9, 10)):
    here = values | {p: sp.Rational(belief), P: sp.Rational(belief) ** 2}
    x = float(belief)
    assert math.isclose(float(upward_map(x, paper)), float(F.subs(here)), rel_tol=1e-13)
    assert math.isclose(
        float(second_eigenvalue(x, paper)), float(eigenvalue.subs(here)), rel_tol=1e-13
    )
    found, expected = transfer_matrix(x, paper), step.subs(here)
    assert all(
        math.isclose(found[i, j], float(expected[i, j]), rel_tol=1e-12)
        for i in range(2)
        for j in range(2)
    )
    here |= {q: sp.Rational(1, 32)}
    pair = sibling_states(1 / 32, x, paper)
    covariance = pair[0, 0] * pair[1, 1] - pair[0, 1] ** 2
    assert math.isclose(covariance, float(brothers.subs(here)), rel_tol=1e-11)

eigen = float(second_eigenvalue(p_star, paper))
assert math.isclose(eigen, 693 / 961, rel_tol=1e-14)
assert math.isclose(paper.s * eigen, float(upward_derivative(p_star, paper)), rel_tol=1e-14)
a, length = correlation_decay_exponent(paper), correlation_length_exponent(paper)
assert math.isclose(a, -2 * math.log(eigen) / math.log(2), rel_tol=1e-13)
assert math.isclose(a, 2 - 2 / length, rel_tol=1e-13)

# %%
# Far from both ends of a deep tree the decay at the threshold is the predicted one, and the
# susceptibility of m = 8 grows by s lambda^2 = 1.040 per level while that of m = 12 settles.

deep = RHM(v=32, m=8, s=2, L=30)
C = leaf_correlation(deep, critical_noise(deep))
assert abs(-math.log2(C[16] / C[12]) / 4 - a) < 1e-2
chi: dict[int, list[float]] = {m_: [] for m_ in (8, 12)}
for m_, series in chi.items():
    for L in (30, 40):
        rhm = RHM(v=32, m=m_, s=2, L=L)
        series.append(float(susceptibility(rhm, critical_noise(rhm))))
assert chi[8][1] / chi[8][0] > 1.4
assert abs(chi[12][1] / chi[12][0] - 1) < 0.02

print(
    f"(32, 8, 2): lambda = {eigen:.6f}, F'(p*) = 2 lambda = {2 * eigen:.6f}, a = {a:.6f}, "
    f"nu = {length:.6f}; chi at L = 30, 40: m = 8 {chi[8][0]:.1f}, {chi[8][1]:.1f} (diverges), "
    f"m = 12 {chi[12][0]:.2f}, {chi[12][1]:.2f} (does not)"
)
