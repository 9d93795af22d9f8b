r"""
The threshold of the epsilon-process
====================================

The upward map F of :mod:`hierdiff.theory.rhm.mean_field` says how a belief in the true symbol
changes from one level of the tree to the next.  Whether the class of a datum survives noise on its
leaves is a question about the fixed points of F.  We find them and their stability, show that there
are three regimes and no more, and derive the threshold in closed form for branching s = 2.
"""

import random

import sympy as sp

from hierdiff.data.rhm import RHM
from hierdiff.errors import NoTransition
from hierdiff.theory.rhm.mean_field import (
    correlation_length_exponent,
    critical_belief,
    critical_noise,
    finite_depth_threshold,
    fixed_points,
    has_transition,
    stability,
    upward_derivative,
    upward_map,
)

v, m, s, p, y = sp.symbols("v m s p y", positive=True)


def upward(branching):
    """F for a branching: mean weight of the true parent over that of all parents."""
    P = p**branching
    other = (1 - P) / (v**branching - 1)
    return (P + (m - 1) * other) / (P + (m * v - 1) * other)


# %%
# Slopes at the two ends
# ----------------------
# Certainty, p = 1, and ignorance, p = 1/v, are fixed points for every s.  A small doubt grows on
# its way up if F'(1) > 1; a little information grows if F'(1/v) > 1.

slope = sp.diff(upward(s), p)
certainty = s * m * (v - 1) / (v**s - 1)
ignorance = s * (v - 1) * v ** (s - 1) / (m * (v**s - 1))
assert sp.simplify(slope.subs(p, 1) - certainty) == 0
assert sp.simplify(slope.subs(p, 1 / v) - ignorance) == 0

# %%
# Both ends cannot be unstable: the product of the slopes is
# [s v^((s-1)/2) / (1 + v + ... + v^(s-1))]^2, and a sum of s terms is at least s times their
# geometric mean, v^((s-1)/2), with equality for v = 1 or s = 1 alone.

assert sp.simplify(certainty * ignorance * ((v**s - 1) / (v - 1)) ** 2 - s**2 * v ** (s - 1)) == 0

# %%
# What is left between them
# -------------------------
# Two factors of F(p) - p are thus known.  Dividing them out leaves a polynomial with the
# coefficients m - v^k, which change sign once: by Descartes' rule T has one positive root at most.


def remainder(branching):
    """T(p), the factor of F(p) - p that is left."""
    return sum((m - v**k) * p**k for k in range(branching))


for branching in range(2, 8):
    numerator, denominator = sp.fraction(sp.together(upward(branching) - p))
    quotient = sp.cancel(numerator / ((1 - p) * (v * p - 1) * remainder(branching)))
    assert not quotient.has(p)
    sign = sp.cancel(quotient / denominator).subs({p: sp.Rational(1, 2), v: 3, m: 2})
    assert sign < 0

# %%
# At its ends T is positive exactly if ignorance is stable, and negative exactly if certainty is:

for branching in range(2, 8):
    T, ends = remainder(branching), {s: branching}
    at_ignorance = branching * (1 / ignorance.subs(ends) - 1)
    at_certainty = (v**branching - 1) / (v - 1) * (certainty.subs(ends) - 1)
    assert sp.simplify(T.subs(p, 1 / v) - at_ignorance) == 0
    assert sp.simplify(T.subs(p, 1) - at_certainty) == 0

# %%
# So if both ends are stable there is one more fixed point p*, below which F(p) < p and above which
# F(p) > p: the class is lost below and kept above.  If an end is not stable, T has one sign on
# (1/v, 1), and the class is always lost (F'(1) >= 1) or never lost (F'(1/v) >= 1).
#
# Closed form for s = 2
# ---------------------
# T is linear.  The noise epsilon* is where the leaf belief 1 - epsilon + epsilon/v equals p*.

(p_star,) = sp.solve(remainder(2), p)
epsilon_star = (1 - p_star) / (1 - 1 / v)
slope_star = sp.factor(sp.diff(upward(2), p).subs(p, p_star))
assert sp.simplify(p_star - (m - 1) / (v - m)) == 0
assert sp.simplify(epsilon_star - v * (v - 2 * m + 1) / ((v - 1) * (v - m))) == 0
assert sp.simplify(slope_star - 2 * (v - m) * (m - 1) * (v + 1) / (m * (v - 1) ** 2)) == 0

# %%
# The slope at p* is the factor by which a step up takes a belief away from the threshold.  It does
# not change under m -> v/m, although p* and epsilon* do.  As v grows at fixed f = m/v, the
# threshold tends to (1 - 2f)/(1 - f).

f = sp.symbols("f", positive=True)
assert sp.simplify(slope_star - slope_star.subs(m, v / m)) == 0
assert sp.limit(epsilon_star.subs(m, f * v), v, sp.oo).equals((1 - 2 * f) / (1 - f))
assert sp.limit(slope_star.subs(m, f * v), v, sp.oo).equals(2 * (1 - f))

# %%
# For every s, the slope at p* tends to s (1 - p*)/(1 - p*^s) as v grows with p* fixed:
# f = p*^(s-1) (1 - p*)/(1 - p*^s) keeps it fixed.

for branching in range(2, 6):
    wide = y**branching / (y**branching + f * (1 - y**branching))
    held = y ** (branching - 1) * (1 - y) / (1 - y**branching)
    assert sp.simplify(wide.subs(f, held) - y) == 0
    found = sp.diff(wide, y).subs(f, held)
    assert sp.simplify(found - branching * (1 - y) / (1 - y**branching)) == 0

# %%
# The library agrees
# ------------------
# At (v, m, s) = (32, 8, 2): p* = 7/24, epsilon* = 68/93, F'(p*) = 1386/961.

example, at = RHM(v=32, m=8, s=2, L=10), {v: 32, m: 8}
exact = [p_star.subs(at), epsilon_star.subs(at), slope_star.subs(at)]
assert exact == [sp.Rational(7, 24), sp.Rational(68, 93), sp.Rational(1386, 961)]
assert critical_belief(example) == float(exact[0])
assert critical_noise(example) == float(exact[1])
assert abs(stability(example)[1] - float(exact[2])) < 1e-14
nu = sp.log(2) / sp.log(exact[2])
assert abs(correlation_length_exponent(example) - float(nu)) < 1e-12
assert abs(finite_depth_threshold(RHM(v=32, m=8, s=2, L=60)) - critical_noise(example)) < 1e-9

# %%
# Then random grammars: the root of T to 30 digits where the slopes ask for one, a named reason
# where they do not, and the ends.

random.seed(2)
regimes = {"transition": 0, "always lost": 0, "never lost": 0}
worst = 0.0
for _ in range(150):
    letters, branching = random.randint(2, 20), random.randint(2, 5)
    rules = random.randint(1, round(letters ** (branching - 1) ** random.random()))
    rhm = RHM(v=letters, m=rules, s=branching, L=1)
    at = {v: letters, m: rules, s: branching}
    slopes = [ignorance.subs(at), certainty.subs(at)]
    both_stable = all(end < 1 for end in slopes)
    assert has_transition(rhm) == both_stable
    assert stability(rhm)[[0, -1]].tolist() == [float(end) for end in slopes]
    point = sp.Rational(random.randint(0, 99), 99)
    for computed, symbolic in [
        (upward_map(float(point), rhm), upward(branching)),
        (upward_derivative(float(point), rhm), sp.diff(upward(branching), p)),
    ]:
        value = float(symbolic.subs(at).subs(p, point))
        worst = max(worst, abs(float(computed) - value) / max(value, 1.0))
    try:
        threshold, regime = critical_noise(rhm), "transition"
    except NoTransition as reason:
        regime = next(name for name in regimes if name in str(reason))
    lost = "always lost" if slopes[1] >= 1 else "never lost"
    assert regime == ("transition" if both_stable else lost)
    regimes[regime] += 1
    if both_stable:
        roots = sp.Poly(remainder(branching).subs(at), p).nroots(n=30, maxsteps=200)
        (root,) = [r for r in roots if r.is_real and r > 0]
        worst = max(worst, abs(fixed_points(rhm)[1] - float(root)))
        worst = max(worst, abs(threshold - float((1 - root) / (1 - 1 / sp.S(letters)))))
assert worst < 1e-13
assert min(regimes.values()) > 0
assert sum(regimes.values()) == 150

print(
    "slopes at 1 and 1/v for any s; one further fixed point at most (s = 2 to 7); closed form and"
)
print(f"limits for s = 2; library within {worst:.0e} on 150 grammars: {regimes}")
