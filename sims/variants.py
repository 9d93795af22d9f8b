r"""
Variants: how the threshold moves
=================================

Unequal rules, ambiguous grammars, other numbers of classes, levels that differ, correlations cut
above a level: exact inference covers them all, and the question is always the same, at which noise
level the class is lost.  The number of classes sets what chance is, so the belief in the true class
is measured from there,

.. math:: (E\,p(c \mid x_t) - 1/n_c) / (1 - 1/n_c) = \tfrac12 ,

and the shift is against the reference, the uniform unambiguous model.  Errors are those of the
average over grammars and data.  Run it as ``python sims/variants.py --out DIR``; it takes about ten
seconds.
"""

# %%
# Each variant is a function of a seed; one task is one of its grammars.

from hierdiff.sims import Variants
from hierdiff.sims.run import command

results = command(Variants)

# %%
# Dashed: the reference; lines through the points on the left, and marks on the right: density
# evolution, where it predicts a variant.  Fewer or rarer synonyms move the threshold up, sharing
# right-hand sides moves it down.

figure = Variants().figure(results)
