r"""
Rule weights: what noisy strings tell about a grammar
=====================================================

Expectation maximisation recovers the weights of known rules from P noisy strings.  The information
of P strings about the weights grows as P, so the error falls as

.. math::
   \varepsilon(P, t) \approx \sqrt{\operatorname{tr} F(t)^{-1} / (W P)}

with W weights and the Fisher information F(t) of one string at noise level t (lines below).  Run it
as ``python sims/rule_weights.py --out DIR``; it takes about half a minute.
"""

# %%
# Weights follow a law of Zipf; uniform noise, strings of 8 leaves, ten grammars.

from hierdiff.sims import RuleWeights
from hierdiff.sims.run import command

results = command(RuleWeights)

# %%
# Left: the error of a weight.  Right: the same over the law, which few strings of high noise do not
# reach, since weights cannot be negative.

figure = RuleWeights().figure(results)
