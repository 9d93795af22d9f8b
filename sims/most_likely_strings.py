r"""
Most likely strings: the best string is not made of the best leaves
===================================================================

A denoiser returns the probabilities of every leaf.  The likeliest symbol of each is the best guess
of that leaf; all of them together need not be a string of the language.  The most likely
derivation, found by the same recursion with the maximum in place of the sum, always is one.

.. math::
   E[\text{share of leaves right}] = \frac1n \sum_i p_i(\hat x_i), \qquad
   P(\text{string right}) = p(\hat x \mid x_t)

These identities hold for any guess; lines below are their right-hand sides, points compare the
guesses with the strings that were noised.  Run it as ``python sims/most_likely_strings.py --out
DIR``; it takes about ten seconds.
"""

# %%
# Uniform noise on strings of 32 leaves, twelve grammars.

from hierdiff.sims import MostLikelyStrings
from hierdiff.sims.run import command

results = command(MostLikelyStrings)

# %%
# Left: strings of likeliest leaves leave the language as soon as there is noise.  Middle and right:
# each guess is the best one by its own measure.

figure = MostLikelyStrings().figure(results)
