r"""
Exponents of the critical fixed point
=====================================

Density evolution is a map F of the law P of a message, one level up the tree.  At the threshold a
law flows to a fixed point P* with one growing direction, of eigenvalue :math:`\lambda`.  We derive
how :math:`\lambda` is measured without a finite step and without cancellations, what follows from
it for the class, the leaves and the susceptibility, and when the recursion of averages may be
trusted.
"""

import itertools

import numpy as np
import sympy as sp

from hierdiff import RHM, GaussianNoise, MaskingNoise
from hierdiff.theory import (
    correlation_decay_exponent,
    correlation_length_exponent,
    critical_exponents,
    stability,
    support_exponents,
)
from hierdiff.theory.rhm.bounds import _derivative, _support_table, step_law

# %%
# The derivative replaces one child
# ---------------------------------
# The s children of a node are independent, so F(P) is a sum over s-tuples of messages, homogeneous
# of degree s and symmetric.  Its derivative is s times F with one child drawn from the
# perturbation.  We see it on the exact map of support sets, here with (v, m, s) = (3, 2, 2).

s, example = 2, _support_table(3, 2, 2, 3)
weights = sp.symbols("P1:4")
table = [[sp.nsimplify(x, rational=True, tolerance=1e-12) for x in row] for row in example]
new = [
    sum(weights[i - 1] * weights[j - 1] * table[i * j - 1][k]
        for i, j in itertools.product((1, 2, 3), repeat=s))
    for k in range(3)
]  # fmt: skip
one_child = [
    [s * sum(weights[i - 1] * table[i * j - 1][k] for i in (1, 2, 3)) for k in range(3)]
    for j in (1, 2, 3)
]
for j, k in itertools.product(range(3), repeat=2):
    assert sp.expand(sp.diff(new[k], weights[j]) - one_child[j][k]) == 0
law = np.array([0.5, 0.3, 0.2])
at = dict(zip(weights, law, strict=True))
np.testing.assert_allclose(step_law(law, example, s), [float(x.subs(at)) for x in new])
np.testing.assert_allclose(
    _derivative(law, example, s), [[float(x.subs(at)) for x in row] for row in one_child]
)

# %%
# For support sets everything is a finite matrix.  At the threshold of (32, 8, 2):

exact = support_exponents(RHM(32, 8, 2, 1))
assert abs(exact.eigenvalue - 1.306187) < 1e-6
assert abs(exact.nu - 2.594966) < 1e-6
assert abs(exact.certain - 0.312660) < 1e-6

# %%
# A perturbation is a mean of positive numbers
# --------------------------------------------
# Messages have no finite list.  Represent a perturbation by pairs: x from the observations y and z,
# x' from z alone.  If beliefs are posteriors, the true symbol given (y, z) is distributed as x, and
# the two laws differ in the mean log belief by
#
# .. math:: E[\log x(a)] - E[\log x'(a)] = E\, D_{KL}(x \| x') = I(a; y \mid z) \ge 0 .
#
# All joint laws of three symbols and two observations will do for a check.

random = np.random.default_rng(0)
for _ in range(20):
    joint = random.dirichlet(np.ones(3 * 4 * 4)).reshape(3, 4, 4)  # a, y, z
    both = joint / joint.sum(axis=0)
    alone = np.broadcast_to((joint.sum(axis=1) / joint.sum(axis=(0, 1)))[:, None], joint.shape)
    difference = (joint * np.log(both)).sum() - (joint * np.log(alone)).sum()
    divergence = (joint.sum(axis=0) * (both * np.log(both / alone)).sum(axis=0)).sum()
    assert abs(difference - divergence) < 1e-12
    assert divergence > 0

# %%
# One level up, with the same siblings and rules for x and x', the same holds for the parent.  So
# pairs may be resampled in proportion to their divergence, and s times the mean ratio of the
# divergences after and before is the growth per level.  Where siblings know nothing, this growth is
# the Kesten-Stigum number F'(1/v); the tests check it there.
#
# Consequences
# ------------
# One leaf is felt at height d by a factor (lambda/s)^d, all s^d of them together by lambda^d.

lam, branching, d, L = sp.symbols("lambda s d L", positive=True)
nu = sp.log(branching) / sp.log(lam)
assert sp.simplify(sp.expand_log(sp.log(branching**d * (lam / branching) ** d), force=True)
                   - d * sp.log(lam)) == 0  # fmt: skip

# %%
# Back down at another leaf the factor is the same again.  The reason: for erased leaves the entropy
# of all leaves X, given those that are seen, has the derivative H(X_i | seen others) in the erasure
# probability e_i, so the response of one leaf to another is a second derivative, and symmetric.
# Here three leaves of a random joint law:


def entropy(law):
    """Of an array of probabilities."""
    return -np.sum(law * np.log(law))


def left_open(joint, kept):
    """H(X | the leaves in kept)."""
    others = tuple(i for i in range(joint.ndim) if i not in kept)
    return entropy(joint) - entropy(joint.sum(axis=others) if others else joint)


def mean_open(joint, erased, target=None):
    """Mean over erasures of H(X | seen), or of H(X_target | seen others)."""
    total = 0.0
    axes = [i for i in range(joint.ndim) if i != target]
    for pattern in itertools.product((0, 1), repeat=len(axes)):
        weight = np.prod([erased[i] if gone else 1 - erased[i]
                          for i, gone in zip(axes, pattern, strict=True)])  # fmt: skip
        kept = tuple(i for i, gone in zip(axes, pattern, strict=True) if not gone)
        if target is None:
            total += weight * left_open(joint, kept)
        else:
            more = tuple(sorted((*kept, target)))
            total += weight * (left_open(joint, kept) - left_open(joint, more))
    return total


joint, erased, h = random.dirichlet(np.ones(27)).reshape(3, 3, 3), np.array([0.3, 0.5, 0.6]), 1e-4


def moved(i, amount):
    """Erasure probabilities with one changed."""
    out = erased.copy()
    out[i] += amount
    return out


for i in range(3):
    slope = (mean_open(joint, moved(i, h)) - mean_open(joint, moved(i, -h))) / (2 * h)
    assert abs(slope - mean_open(joint, erased, i)) < 1e-9
for i, j in ((0, 1), (0, 2), (1, 2)):
    to_j, to_i = (
        (mean_open(joint, moved(b, h), a) - mean_open(joint, moved(b, -h), a)) / (2 * h)
        for a, b in ((i, j), (j, i))
    )
    assert abs(to_j - to_i) < 1e-9

# %%
# So the covariance of two leaves decays as (lambda/s)^(2d) = r^(-a) with r = s^d, and

a = -2 * sp.log(lam / branching) / sp.log(branching)
assert sp.simplify(sp.expand_log(a - (2 - 2 / nu), force=True)) == 0

# %%
# the slope of a leaf and the susceptibility are sums over d of
# s^d (lambda/s)^(2d) = (lambda^2/s)^d.  They grow without bound if lambda^2 > s, that is nu < 2,
# that is a < 1; else increments shrink by (lambda^2/s)^k from one depth to the next, k levels
# deeper.

q, k = sp.symbols("q k", positive=True)
partial = sp.summation(q**d, (d, 0, L))
ratio = (partial.subs(L, L + 2 * k) - partial.subs(L, L + k)) / (partial.subs(L, L + k) - partial)
for value in (sp.Rational(7, 9), sp.Rational(26, 25)):
    for step in (1, 2, 3):
        found = ratio.subs({q: value, k: step, L: 5})
        assert sp.simplify(found - value**step) == 0
marginal = {lam: sp.sqrt(branching)}
assert sp.simplify(sp.expand_log(nu.subs(marginal), force=True)) == 2
assert sp.simplify(sp.expand_log(a.subs(marginal), force=True)) == 1

# %%
# When may averages be trusted?
# -----------------------------
# In the epsilon-process all leaves are equal, and the annealed recursion follows the mean belief.
# A scatter of the children's beliefs reaches the parent divided among s of them: each with F'/s, so
# the variance is multiplied by s (F'/s)^2 = F'^2/s per level.  The recursion's critical point is
# stable against scatter if and only if its own nu exceeds 2.  For s = 2, F'(p*) = 2 (1 - f) as v
# grows with m = f v, and that is so for f > 1 - 1/sqrt(2) = .293 only.

f, v, m = sp.symbols("f v m", positive=True)
slope = 2 * (v - m) * (m - 1) * (v + 1) / (m * (v - 1) ** 2)
wide = sp.limit(slope.subs(m, f * v), v, sp.oo)
assert sp.simplify(wide - 2 * (1 - f)) == 0
(edge,) = [x for x in sp.solve(wide**2 - 2, f) if x < 1]
assert sp.simplify(edge - (1 - 1 / sp.sqrt(2))) == 0
for rules, stable in ((8, False), (12, True)):
    rhm = RHM(32, rules, 2, 1)
    assert (float(stability(rhm)[1]) ** 2 < 2) == stable
    assert (correlation_length_exponent(rhm) > 2) == stable
    assert (correlation_decay_exponent(rhm) > 1) == stable

# %%
# The library: masking and Gaussian noise at (8, 3, 2), in small populations
# ---------------------------------------------------------------------------
# Two processes, one fixed point, and not that of the recursion.

rhm = RHM(8, 3, 2, 1)
found = [
    critical_exponents(rhm, noise, t=t, size=400, levels=40, copies=4)
    for noise, t in ((MaskingNoise(8), 0.4393), (GaussianNoise(8), 0.301))
]
error = np.hypot(found[0].eigenvalue_error, found[1].eigenvalue_error)
assert abs(found[0].eigenvalue - found[1].eigenvalue) < 5 * error
assert all(float(stability(rhm)[1]) - x.eigenvalue > 8 * x.eigenvalue_error for x in found)
assert all(x.susceptibility == "saturates" for x in found)

print("derivative of F, divergences, symmetric response, sums over the tree, stability to scatter;")
print(
    f"support sets at (32, 8, 2): lambda = {exact.eigenvalue:.4f}, nu = {exact.nu:.3f}; masking "
    f"and Gaussian noise at (8, 3, 2): {found[0].eigenvalue:.3f} and {found[1].eigenvalue:.3f}, "
    f"recursion {float(stability(rhm)[1]):.3f}"
)
