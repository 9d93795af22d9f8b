r"""
A grammar learned from strings
==============================

A learner clusters the tuples of its own symbols by what stands around them, level by level, counts
the rules, and denoises by exact inference under the grammar that it found.  How many strings does
each height cost, and what does the learner get wrong?  Points are learners on random grammars,
lines the laws: coincidences of contexts, and K / 2P for the weights of rules.

Run it as ``python sims/grammar_learning.py --out DIR``; it takes two to four minutes on two cores.
"""

# %%
# Sixteen symbols per level, two to five rules for each, strings of sixteen leaves.

from hierdiff.sims import GrammarLearning
from hierdiff.sims.run import command

results = command(GrammarLearning)

# %%
# A reader of its own symbols pays the same power of m at all heights; a reader of tokens pays more
# with every height.  Once all symbols are found, the divergence falls as K / 2P.

figure = GrammarLearning().figure(results)
