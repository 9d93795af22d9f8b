r"""
What it costs to unmask several leaves at once
==============================================

A masked diffusion model that reveals a block of leaves draws each from its own conditional.  We
write down the law of the strings that it makes, derive its divergence from the data as a sum of
conditional total correlations, follow what a random order leaves of it, find the best block sizes,
and see what the divergence means if the order depends on the string.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import sympy as sp

from hierdiff.data.rhm import Grammar
from hierdiff.theory.rhm.parallel_unmasking import even_sizes, unmasking_terms
from hierdiff.theory.rhm.sampler_laws import remasked_log_prob, sampler_log_prob
from hierdiff.theory.rhm.unmasking_schedules import best_sizes, total_correlation

# %%
# A grammar with all its strings
# ------------------------------
# Two levels, three symbols, two rules per symbol.  Every conditional is a ratio of sums over
# strings.

rules = [np.array([[[0, 1], [1, 2]], [[2, 0], [1, 1]], [[2, 1], [0, 2]]]),
         np.array([[[0, 1], [1, 2]], [[1, 0], [2, 2]], [[0, 0], [2, 1]]])]  # fmt: skip
grammar = Grammar(rules)
n, v = 4, 3
p: dict[tuple[int, ...], Fraction] = {}
for a, k in itertools.product(range(3), range(2)):
    b, c = rules[0][a][k]
    for i, j in itertools.product(range(2), repeat=2):
        word = tuple(int(x) for x in (*rules[1][b][i], *rules[1][c][j]))
        p[word] = p.get(word, Fraction(0)) + Fraction(1, 24)
assert sum(p.values()) == 1


def chance(state):
    """p(x_S) of a set of revealed leaves."""
    return sum(w for x, w in p.items() if all(x[i] == a for i, a in state.items()))


def one(x, i, shown):
    """p(x_i | x_S)."""
    state = {j: x[j] for j in shown}
    return chance(state | {i: x[i]}) / chance(state)


def q(x, blocks):
    """The law of the sampler: a product over blocks of products over their leaves."""
    shown: list[int] = []
    out = Fraction(1)
    for block in blocks:
        out *= math.prod((one(x, i, shown) for i in block), start=Fraction(1))
        shown += block
    return out


# %%
# The divergence is a sum of conditional total correlations
# ---------------------------------------------------------
# Divide p(x) by q(x), write p(x) by the chain rule over the same blocks, and take the mean: every
# block adds the mean of log p(x_B | x_S) - sum log p(x_i | x_S), which is no less than zero.

blocks = [[0, 2], [1, 3]]
divergence = sum(float(w) * math.log(w / q(x, blocks)) for x, w in p.items())
parts: list[float] = []
shown: list[int] = []
for block in blocks:
    part = 0.0
    for x, w in p.items():
        state = {j: x[j] for j in shown}
        joint = chance(state | {i: x[i] for i in block}) / chance(state)
        alone = math.prod((one(x, i, shown) for i in block), start=Fraction(1))
        part += float(w) * math.log(joint / alone)
    parts.append(part)
    shown += block
assert min(parts) > 0
assert math.isclose(sum(parts), divergence)

# %%
# One leaf at a time nothing is lost: joint and product are the same.  The library averages
# entropies instead of logarithms; over all strings both are the same number.

every = np.array(list(p))
assert all(q(x, [[3], [1], [0], [2]]) == w for x, w in p.items())
found = unmasking_terms(grammar, every, [0, 2, 1, 3], [2, 2])
assert math.isclose(found.log_ratio.mean(), divergence)
assert math.isclose(found.divergence.value, divergence)

# %%
# A random order: one curve
# -------------------------
# Average over all orders.  The sum of entropies of a block depends on how many leaves are revealed
# before it alone: Z(k), the mean entropy of one more leaf.  Z falls, its sum is the entropy of the
# string, and the divergence is the error of a Riemann sum.


def entropy(i, shown):
    """H(x_i | x_S)."""
    return -sum(float(w) * math.log(one(x, i, shown)) for x, w in p.items())


Z = []
for k in range(n):
    sets = list(itertools.combinations(range(n), k))
    Z.append(sum(entropy(i, s) for s in sets for i in set(range(n)) - set(s))
             / (len(sets) * (n - k)))  # fmt: skip
H = -sum(float(w) * math.log(w) for w in p.values())
assert math.isclose(sum(Z), H)
assert sorted(Z, reverse=True) == Z
for sizes in ((4,), (2, 2), (1, 2, 1), (1, 1, 1, 1)):
    ends = np.cumsum(sizes)
    riemann = sum(k * Z[e - k] for k, e in zip(sizes, ends, strict=True)) - H
    mean = 0.0
    for order in itertools.permutations(range(n)):
        cut = [list(order[e - k : e]) for k, e in zip(sizes, ends, strict=True)]
        mean += sum(float(w) * math.log(w / q(x, cut)) for x, w in p.items()) / math.factorial(n)
    assert math.isclose(mean, riemann, abs_tol=1e-12)
assert math.isclose(n * Z[0] - H, total_correlation(grammar))

# %%
# The best block sizes
# --------------------
# A block of k leaves costs the fall of Z inside of it, which is D k (k - 1) / 2 where Z is
# straight, with its slope -D.  Per leaf that is D (k - 1) / 2, and a step is used up every k
# leaves.  So we minimise the integral of D (k - 1) / 2 + mu / k over u, leaf by leaf in k:

fall, size, mu, T, length = sp.symbols("fall size mu T length", positive=True)
price = fall * (size - 1) / 2 + mu / size
best = sp.solve(sp.diff(price, size), size)[0]
assert sp.simplify(best - sp.sqrt(2 * mu / fall)) == 0

# %%
# Sizes are proportional to D^(-1/2).  With T = int du / k the factor is known, and what is left
# is the squared integral of sqrt(D) over 2 T, less half of the fall of Z.  For constant D:

constant = sp.solve(sp.Eq(length / best, T), mu)[0]
total = length * fall * (best.subs(mu, constant) - 1) / 2
assert sp.simplify(total - ((length * sp.sqrt(fall)) ** 2 / T - length * fall) / 2) == 0

# %%
# Sizes that are equal cost n (Z(0) - Z(n)) / T in place of the squared integral, which is more by
# the inequality of Cauchy and Schwarz.  Dynamic programming finds the best sizes of a given curve:

u = np.linspace(0, 1, 301)
steep = np.exp(-4 * u)
best_of = best_sizes(steep, 20)
cost, even = (
    steep[np.cumsum(k) - k] @ k - steep.sum() for k in (best_of, even_sizes(len(steep), 20))
)
limit = (np.sqrt(-np.diff(steep)).sum() ** 2 / 20 - steep[0] + steep[-1]) / 2
assert abs(cost / limit - 1) < 0.05
assert even > 1.05 * cost
assert best_of[0] < best_of[-1]  # small steps where Z falls fast

# %%
# Orders that depend on the string
# --------------------------------
# If the block is chosen from the beliefs before anything is drawn, the order is a function of the
# string, and q is still a law: its probabilities sum to one over all strings, valid or not.

strings = np.array(list(itertools.product(range(v), repeat=n)))
assert math.isclose(np.exp(sampler_log_prob(grammar, strings, "confident", [2, 2])).sum(), 1)

# %%
# If all hidden leaves are drawn and the likeliest draws are kept, the kept ones do not follow their
# conditionals.  Two independent leaves that are 0 with probability r show it, one at a time: the
# first leaf is kept unless it drew 1 and the other 0, then the other one is drawn anew.

r = sp.symbols("r", positive=True)
first_zero = r  # first drew 0 and is kept whatever the second drew
second_zero = (1 - r) * r  # the second alone drew 0 and is kept
law = {
    (0, 0): first_zero * r + second_zero * r,
    (0, 1): first_zero * (1 - r),
    (1, 0): (1 - r) ** 2 * r + second_zero * (1 - r),
    (1, 1): (1 - r) ** 2 * (1 - r),
}
assert sp.expand(sum(law.values())) == 1
assert sp.factor(law[1, 1] - (1 - r) ** 2) == -r * (r - 1) ** 2  # too few unlikely strings
assert sp.expand(law[0, 0] - r**2) == sp.expand(r**2 * (1 - r))  # too many likely ones

# %%
# Validity and remasking
# ----------------------
# The mass that q puts on strings of the language is the mean of q / p over data, and by Jensen it
# is no less than exp(-KL).

valid = sum(q(x, blocks) for x in p)
assert float(valid) >= math.exp(-divergence)
log_q = sampler_log_prob(grammar, every, [0, 2, 1, 3], [2, 2])
assert math.isclose(np.exp(log_q - grammar.log_prob(every)).mean(), valid)

# %%
# To mask a leaf of the last block again and to draw it given the rest divides this block in two.

again = remasked_log_prob(grammar, every, [0, 2, 1, 3], [2, 2], [3])
assert np.allclose(again, [math.log(q(x, [[0, 2], [1], [3]])) for x in p])

print(f"two blocks cost {divergence:.4f} nats and leave {float(valid):.4f} of the strings valid")
