r"""
What a grammar costs to learn, height by height
===============================================

A learner who has found the symbols of the lower heights can read *them* around a tuple, in the
place of tokens.  We derive how many strings the next height then costs, why the power of m is the
same at every height, and what is left to learn once all symbols are found.  Each step is compared
with exact laws of small grammars.
"""

import numpy as np
import sympy as sp

from hierdiff import RHM, MaskingNoise
from hierdiff.sims.models.learned_grammar import LearnedGrammar, language_mass, node_divergence
from hierdiff.theory.rhm import context_signal, own_symbol_cost, pair_joint, weights_divergence
from hierdiff.theory.rhm.token_correlations import covariance

v, m, n, S, q, d, K = sp.symbols("v m n S q d K", positive=True)

# %%
# One pair of tuples
# ------------------
# Two tuples are each seen with n contexts.  Two contexts coincide with probability q / v by chance,
# and with S more if the tuples are synonyms.  Of n^2 pairs the excess is n^2 S and its scatter that
# of a Poisson number; d standard deviations separate synonyms from strangers.

excess, scatter = n**2 * S, sp.sqrt(n**2 * (q / v + S))
needed = sp.solve(sp.Eq(excess / scatter, d), n)[0]
assert sp.simplify(needed - d * sp.sqrt(q / v + S) / S) == 0

# K kinds of contexts add their excesses, and their scatters in squares:

needed = sp.solve(sp.Eq(K * excess / (sp.sqrt(K) * scatter), d), n)[0]
assert sp.simplify(needed - d * sp.sqrt(q / v + S) / (S * sp.sqrt(K))) == 0

# %%
# How much a context tells
# ------------------------
# A step from a symbol to a child damps the squared covariance by 1/m, up to v / (v + 1).  Tuple and
# context have a common ancestor at height h + 1: one step down to the symbol above the tuple, h + 1
# steps to a token, but *two* steps to an own symbol of height h - 1, whatever h.

rhm = RHM(v=8, m=3, s=2, L=4)
for height in (2, 3):
    found = []
    for g in range(60):
        grammar = rhm.draw(g)
        top = rhm.L - height - 1
        above = (top + 1, 0)
        for context in ((top + 2, 2), (rhm.L, 2 ** (rhm.L - top - 1))):
            table = pair_joint(grammar, above, context)
            found.append(rhm.v * (covariance(table) ** 2).sum())
    own, token = np.reshape(found, (60, 2)).T
    for values, steps in ((own, 2), (token, height + 1)):
        law = context_signal(rhm, height + 1, steps)
        assert abs(values.mean() - law) < 4 * values.std() / np.sqrt(60)
    if height == 3:
        # the law of tokens is not that of own symbols
        wrong = context_signal(rhm, height + 1)
        assert abs(own.mean() - wrong) > 6 * own.std() / np.sqrt(60)

# %%
# Strings instead of contexts
# ---------------------------
# A string has s^(L - h) nodes of height h.  A tuple has probability 1 / (v m), and stands at each
# of s places in a share 1 / s; per place it has s (s - 1) contexts.  So P = v m s n / s^(L - h)
# with K = s^2 (s - 1), and S ~ m^-2 gives P ~ m^3 for m^2 >> v at every height.

s, h, L = 2, sp.Symbol("h"), 4
cost = (v * m * s / s ** (L - h)) * needed.subs(K, s**2 * (s - 1))
leading = sp.limit(cost.subs(S, m**-2) / m**3, m, sp.oo)
assert sp.simplify(leading - sp.sqrt(v * q) * d * 2 ** (h - L)) == 0

many = [own_symbol_cost(RHM(1024, k, 2, 5), 2) for k in (256, 512)]
slope = np.log(many[1] * (1 - 512 / 1024) / many[0] / (1 - 256 / 1024)) / np.log(2)
assert abs(slope - 3) < 0.01
many = [own_symbol_cost(RHM(1024, k, 2, 5), 3, "tokens") for k in (256, 512)]
slope = np.log(many[1] * (1 - 512 / 1024) / many[0] / (1 - 256 / 1024)) / np.log(2)
assert abs(slope - 5) < 0.01  # h + 2

# %%
# What is left
# ------------
# With all symbols right, weights are counted.  Twice P times the divergence is the log-likelihood
# ratio of the fit against the truth, on average the number K of free weights.  For one symbol of m
# rules this is the expansion of KL in the errors of the counts,

p = sp.symbols("p1:4", positive=True)
e = sp.symbols("e1:4")
kl = sum(a * sp.log(a / (a + b)) for a, b in zip(p, e, strict=True))
t = sp.Symbol("t")
second = sp.series(kl.subs({b: t * b for b in e}), t, 0, 3).removeO().coeff(t, 2)
assert sp.simplify(second - sum(b**2 / (2 * a) for a, b in zip(p, e, strict=True))) == 0

# with variances p (1 - p) / P of the counts: sum (1 - p) / 2P = (m - 1) / 2P, and nodes of all
# heights add, as each is used as often as it is counted.

variance = sum(a * (1 - a) / (2 * a) for a in p)
assert sp.simplify(variance.subs(p[2], 1 - p[0] - p[1]) - 1) == 0  # (3 - 1) / 2

rhm = RHM(6, 2, 2, 3)
truth = rhm.draw(4)
test, P, found = truth.sample(3000, 1).leaves, 4000, []
for i in range(12):
    drawn = truth.sample(P, 50 + i).leaves
    model = LearnedGrammar.fit(drawn, MaskingNoise(6), symbols=6, smoothing=0.0)
    assert abs(language_mass(truth, model.learned)[0][0] - 1) < 1e-12
    found.append(node_divergence(truth, model.learned, test)[0].mean())
ratio = np.array(found) / weights_divergence(rhm, P)
print(f"divergence over K / 2P: {ratio.mean():.3f} ± {ratio.std(ddof=1) / np.sqrt(12):.3f}")
assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / np.sqrt(12)
