r"""
The annealed recursion, from counting rules
===========================================

In the Random Hierarchy Model each of v symbols owns m rules, each of which writes s symbols, and
all m v right-hand sides are distinct.  Suppose we hold beliefs about the symbols below a node.
What should we believe about the node itself, and what does it tell one of its children?

For one rule table belief propagation answers.  Here we average its numerator and its denominator
over **all** rule tables and derive the maps F (up) and G (down) of
:mod:`hierdiff.theory.rhm.mean_field`.  Then we list every rule table of some small models, average
symbolically, find the same polynomials, and compare with the library.
"""

import itertools
import random
from collections import Counter
from fractions import Fraction

import sympy as sp

from hierdiff.data.rhm import RHM
from hierdiff.theory.rhm.mean_field import downward_map, root_map, upward_map

v, m, s, n = sp.symbols("v m s n", positive=True)
p, q = sp.symbols("p q", nonnegative=True)

# %%
# Counting upwards
# ----------------
# Call true what the data were made with: a parent, the rule it used, the s symbols that rule wrote
# (the true tuple).  Each child believes p in its true symbol and (1 - p)/(v - 1) in each other.
# A tuple with k wrong symbols then weighs p^(s-k) ((1-p)/(v-1))^k, and C(s,k) (v-1)^k tuples have
# k wrong symbols.  The weights of all v^s tuples sum to one, by the binomial theorem:

for branching in range(1, 6):
    total = sum(
        sp.binomial(branching, k) * (v - 1) ** k * p ** (branching - k) * ((1 - p) / (v - 1)) ** k
        for k in range(branching + 1)
    )
    assert sp.expand(sp.cancel(total)) == 1

# %%
# The true tuple weighs P = p^s, so the others weigh 1 - P together and (1 - P)/(v^s - 1) on
# average.  The rule table is uniform: given the true rule, the other right-hand sides are a
# uniform subset of the other v^s - 1 tuples.  Of those, m - 1 belong to the true parent, and
# n m - 1 belong to any parent, where n is the number of parent symbols (v, or the number of
# classes at the root).  Hence the two averages

P = p**s
other = (1 - P) / (v**s - 1)
true_parent = P + (m - 1) * other
any_parent = P + (n * m - 1) * other
F = true_parent / any_parent

# %%
# With nothing known below (p = 1/v) nothing is known above, and certainty stays certain:

assert sp.simplify(F.subs(p, 1 / v) - 1 / n) == 0
assert sp.simplify(F.subs(p, 1) - 1) == 0

# %%
# Counting downwards
# ------------------
# Let the parent's belief from above be q in its true symbol and sum to one over all symbols, and
# look at one child.  A rule counts with the belief in its parent times the weight of the s - 1
# siblings it writes; Q = p^(s-1) is that weight for the true siblings.  The true rule gives q Q to
# the true child.  All other rules carry the belief m - q (m rules for each parent, minus the true
# one), spread evenly over v^s - 1 tuples.  The tuples that write the true child, without the true
# one, weigh 1 - Q; those that write a given wrong child weigh 1; there are v - 1 wrong ones.

Q = p ** (s - 1)
w = (m - q) / (v**s - 1)
true_child = q * Q + (1 - Q) * w
any_child = true_child + (v - 1) * w
G = true_child / any_child

# %%
# If nothing is known of parent and siblings, G is the share of rules that write the true child:
# the true rule, and a fraction (v^(s-1) - 1)/(v^s - 1) of the others.  It exceeds 1/v, for symbols
# that occur in the data are frequent in the rules, unless every tuple is a rule (m = v^(s-1)).  A
# certain parent with one rule dictates the child.

share = (1 + (m * v - 1) * (v ** (s - 1) - 1) / (v**s - 1)) / (m * v)
assert sp.simplify(G.subs({q: 1 / v, p: 1 / v}) - share) == 0
assert sp.simplify(share.subs(m, v ** (s - 1)) - 1 / v) == 0
assert sp.simplify(G.subs({m: 1}).subs(q, 1) - 1) == 0


# %%
# Every rule table of a small model
# ---------------------------------
# The counting can be replaced by listing.  We fix the true tuple, list every way to give m tuples
# to each parent with the true one among those of parent 0, and collect how often a tuple occurs,
# by what its weight depends on: whether the parent is true, the number of wrong siblings, whether
# the child looked at is true.


def rule_tables(symbols, rules, tuples):
    """All ways to give ``rules`` of the tuples to each of the parents, as a list of sets."""
    if symbols == 0:
        yield []
        return
    for chosen in itertools.combinations(tuples, rules):
        rest = [x for x in tuples if x not in chosen]
        for table in rule_tables(symbols - 1, rules, rest):
            yield [chosen, *table]


def occurrences(parents, letters, rules, branching):
    """Mean number of rules by (parent is true, wrong siblings, child is true)."""
    tuples = list(itertools.product(range(letters), repeat=branching))
    truth, tables = tuples[0], 0
    counts: Counter[tuple[int, int, int]] = Counter()
    for first in itertools.combinations(tuples[1:], rules - 1):
        rest = [x for x in tuples[1:] if x not in first]
        for others in rule_tables(parents - 1, rules, rest):
            tables += 1
            for parent, owned in enumerate([(truth, *first), *others]):
                for x in owned:
                    wrong = sum(a != b for a, b in zip(x[1:], truth[1:], strict=True))
                    counts[parent == 0, wrong, x[0] == truth[0]] += 1
    return {key: sp.Rational(count, tables) for key, count in counts.items()}, tables


def listed_up(counts, letters, branching):
    """Numerator and denominator of the upward update, averaged over the listed tables."""
    sums = {True: sp.S.Zero, False: sp.S.Zero}
    for (own, wrong, child), count in counts.items():
        k = wrong + (not child)
        sums[own] += count * p ** (branching - k) * ((1 - p) / (letters - 1)) ** k
    return sums[True], sums[True] + sums[False]


def listed_down(counts, parents, letters, branching):
    """Numerator and denominator of the downward update, averaged over the listed tables."""
    sums = {True: sp.S.Zero, False: sp.S.Zero}
    for (own, wrong, child), count in counts.items():
        belief = q if own else (1 - q) / (parents - 1)
        siblings = p ** (branching - 1 - wrong) * ((1 - p) / (letters - 1)) ** wrong
        sums[child] += count * belief * siblings
    return sums[True], sums[True] + sums[False]


# %%
# The models include (3, 2, 2) with its 1,680 tables around the true tuple, one in which every
# tuple is a rule, and roots with fewer or more classes than symbols.

models = [
    # classes, v, m, s
    (2, 2, 1, 2),
    (2, 2, 2, 2),
    (3, 3, 1, 2),
    (3, 3, 2, 2),
    (2, 2, 3, 3),
    (3, 2, 2, 3),
    (2, 3, 3, 2),
    (4, 3, 2, 2),
]
listed = 0
for classes, letters, rules, branching in models:
    counts, tables = occurrences(classes, letters, rules, branching)
    sizes = {n: classes, v: letters, m: rules, s: branching}
    up = listed_up(counts, letters, branching)
    down = listed_down(counts, classes, letters, branching)
    for found, derived in zip(up, (true_parent, any_parent), strict=True):
        assert sp.expand(found - derived.subs(sizes)) == 0
    for found, derived in zip(down, (true_child, any_child), strict=True):
        assert sp.expand(found - derived.subs(sizes)) == 0
    listed += tables

# %%
# The list can also tell what is wrong.  Independent draws would put m v / v^s in place of
# f = (m v - 1)/(v^s - 1), and forgetting that one of the parent's rules is the true one would put
# m in place of m - 1:

counts, _ = occurrences(3, 3, 2, 2)
numerator, denominator = listed_up(counts, 3, 2)
sizes = {n: 3, v: 3, m: 2, s: 2}
independent = (P + m * n / v**s * (1 - P)).subs(sizes)
one_too_many = (P + m * other).subs(sizes)
assert sp.expand(denominator - independent) != 0
assert sp.expand(numerator - one_too_many) != 0

# %%
# The library computes the same
# -----------------------------
# Random rational beliefs, exact on this side and in floating point on the other.

random.seed(1)
points, worst = 0, 0.0
for letters, rules, branching, classes in [
    (32, 8, 2, 32),
    (32, 8, 2, 10),
    (10, 5, 3, 10),
    (8, 3, 2, 1),
    (2, 8, 4, 2),
    (7, 1, 5, 3),
]:
    rhm = RHM(v=letters, m=rules, s=branching, L=1, n_classes=classes)
    for _ in range(20):
        at_p, at_q = (Fraction(random.randint(0, 99), 99) for _ in range(2))
        point = {v: letters, m: rules, s: branching}
        point |= {x: sp.Rational(y.numerator, y.denominator) for x, y in ((p, at_p), (q, at_q))}
        pairs = [
            (upward_map(float(at_p), rhm), F.subs(n, v).subs(point)),
            (root_map(float(at_p), rhm), F.subs(n, classes).subs(point)),
            (downward_map(float(at_q), float(at_p), rhm), G.subs(point)),
        ]
        for computed, exact in pairs:
            worst = max(worst, abs(float(computed) - float(exact)))
            points += 1
assert worst < 1e-14

print(f"F and G derived; equal to the average over {listed:,} listed rule tables of {len(models)}")
print(f"models, as polynomials; library within {worst:.0e} of them at {points} rational points")
