r"""
Composition: what it costs to learn the levels of a hierarchy
=============================================================

A learner finds synonyms by what surrounds them, on growing data; the number of data it needs grows
with the number m of rules per symbol, and the faster the higher the symbols stand.  Denoisers that
carry the rules up to some height generate strings that are valid up to there, and above by chance:
phases A (invalid tuples), B (valid, wrong class) and C (valid, right class).  Regression from
labels with two factors needs few labels if it adds, many if it multiplies.

Run it with other sizes from the command line::

    python sims/composition.py --v 64 --multiplicities 4 6 8 --out out
"""

# %%
# The whole study is one command.

from hierdiff.sims import Composition
from hierdiff.sims.run import command

results = command(Composition)

# %%
# The exponents lie below the paper's h + 2 and come near it for large m: contexts that hardly ever
# coincide by chance separate synonyms before the correlations stand out of noise entry by entry.

figure = Composition().figure(results)
