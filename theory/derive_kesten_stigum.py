r"""
Kesten-Stigum: why the transition is sudden
===========================================

A signal that is broadcast down a tree can be recovered from a weighted count of the leaves, however
deep the tree, if :math:`s |\lambda_2|^2 > 1` for the channel from a parent to a child.  Below this
bound ignorance is stable: a little information about the leaves dies on its way up.  We average
the branching number over the rules of the Random Hierarchy Model and find that it is the slope of
the upward map at ignorance, F'(1/v), about s/m.  With more synonyms than children the model is
below the bound; what brings the class back is then not linear, and comes at once.
"""

import itertools
import math

import numpy as np
import sympy as sp

from hierdiff.data.rhm import RHM, Grammar
from hierdiff.theory.rhm.broadcast import kesten_stigum, kesten_stigum_annealed
from hierdiff.theory.rhm.mean_field import stability, upward_map

v, m, s, n, p = sp.symbols("v m s n p", positive=True)

# %%
# A signal in one leaf
# --------------------
# Give a child's symbol b the evidence 1/v + h_b.  To first order its parent's belief is 1/n plus
# (M h)_a, centred, with M_ab = (number of rules of a with b at this place)/m.  The square of a
# random signal of length 1 is multiplied by the mean squared singular value of the centred M, and
# the s children add up: KS = s E|M - mean|^2 / (v - 1), or :math:`s |\lambda_2|^2` for one repeated
# channel.
#
# Numbers of rules are hypergeometric: m v of v^s tuples go to v parents (n at the root), and a
# child has symbol b in a share 1/v of all tuples.

total, share = v**s, 1 / v
variance = m * share * (1 - share) * (total - m) / (total - 1)
covariance = -(m**2) * share * (1 - share) / (total - 1)  # of the numbers of two parents

# %%
# Centred over the n parents, the squares of the v columns sum to (n - 1)(variance - covariance)
# each; per mode this does not depend on n.

spread = v * (n - 1) * (variance - covariance) / m**2
average = sp.simplify(spread / (n - 1))
assert sp.simplify(average - (v - 1) * v ** (s - 1) / (m * (v**s - 1))) == 0

# %%
# The slope of the upward map at ignorance is s times this, for every s:

F = (p**s + (m - 1) * (1 - p**s) / (v**s - 1)) / (p**s + (m * v - 1) * (1 - p**s) / (v**s - 1))
slope = sp.diff(F, p).subs(p, 1 / v)
assert sp.simplify(slope - s * average) == 0

# %%
# As v grows it tends to s/m: below the bound if there are more synonyms than children.

for branching in (2, 3):
    assert sp.limit((s * average).subs(s, branching), v, sp.oo) == branching / m

# %%
# By enumeration of all tables
# ----------------------------
# v = 2, s = 2, m = 1 and 2, and v = 3, m = 1: every unambiguous table, and its exact average.

for size, rules_each in ((2, 1), (2, 2), (3, 1)):
    tuples = list(itertools.product(range(size), repeat=2))
    numbers = []
    for order in itertools.permutations(tuples, size * rules_each):
        rules = np.array(order).reshape(size, rules_each, 2)
        numbers.append(kesten_stigum(Grammar([rules])).singular[0])
    expected = float((s * average).subs({v: size, m: rules_each, s: 2}))
    assert math.isclose(np.mean(numbers), expected, rel_tol=1e-12)

# %%
# Known thresholds
# ----------------
# For symmetric broadcasting on the binary tree, a symbol kept with probability 1 - e and otherwise
# replaced by one of the other q - 1, lambda_2 = 1 - e q/(q - 1), so e_c = (1 - 1/sqrt 2)(q - 1)/q.

for q, known in ((2, 0.1464466094), (3, 0.19526215), (4, 0.21966991)):
    e = (1 - 1 / math.sqrt(2)) * (q - 1) / q
    assert abs(e - known) < 5e-9
    pairs = list(itertools.product(range(q), repeat=2))
    keep = np.full((q, q), e / (q - 1)) + (1 - e - e / (q - 1)) * np.eye(q)
    weights = np.array([[keep[a, b] * keep[a, c] for b, c in pairs] for a in range(q)])
    channel = Grammar([np.array([pairs] * q)], weights=[weights])
    assert math.isclose(kesten_stigum(channel).eigenvalue[0], 1, rel_tol=1e-9)

# %%
# The paper's model lies far below the bound, m = 2 close to it: there the mean squared singular
# value is below 1, and the second eigenvalue of a single table, repeated, often above.

rows = {}
for synonyms in (8, 2):
    rhm = RHM(v=32, m=synonyms, s=2, L=3)
    drawn = [kesten_stigum(rhm.draw(seed)) for seed in range(40)]
    annealed = kesten_stigum_annealed(rhm)
    assert math.isclose(annealed, float(stability(rhm)[0]), rel_tol=1e-14)
    small = (float(upward_map((1 + 1e-6) / 32, rhm)) - 1 / 32) * 32e6
    assert math.isclose(annealed, small, rel_tol=1e-4)
    singular = np.array([x.singular for x in drawn]).ravel()
    eigenvalue = np.array([x.eigenvalue for x in drawn]).ravel()
    error = singular.std(ddof=1) / math.sqrt(singular.size)
    assert abs(singular.mean() - annealed) < 4 * error
    rows[synonyms] = (annealed, singular.mean(), error, eigenvalue.mean())
assert rows[8][3] < 1 < rows[2][3]

print(
    "; ".join(
        f"m = {key}: F'(1/v) = {a:.4f}, singular {b:.4f} ± {c:.4f}, s|lambda_2|^2 {d:.3f}"
        for key, (a, b, c, d) in rows.items()
    )
)
