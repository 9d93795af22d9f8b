r"""
Entropy of the posterior: what is uncertain, and what leaves share of it
========================================================================

The entropy of the posterior over derivations is a sum over levels of the tree.  On average it is
minus the logarithm of the posterior probability of the derivation that was noised, level by level:

.. math::
   E\,[H(\tau \mid x_t)] = -E\,[\log p(\tau_{\text{true}} \mid x_t)], \qquad
   H(\tau \mid x_1) = \log v + \sum_l s^l \log m

Lines are the right-hand side, points the entropy.  The joint law of two leaves gives the mutual
information that they have left.  Run it as ``python sims/posterior_entropy.py --out DIR``; it takes
about twenty seconds.
"""

# %%
# Masking noise, strings of 64 leaves, twelve grammars.

from hierdiff.sims import PosteriorEntropy
from hierdiff.sims.run import command

results = command(PosteriorEntropy)

# %%
# Left: the class is uncertain first, its rules only later.  Right: leaves of the two halves of the
# string share most where the class is lost; neighbours share more and more.

figure = PosteriorEntropy().figure(results)
