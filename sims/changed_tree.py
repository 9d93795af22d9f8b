"""
A tree before and after: which symbols change together
======================================================

One datum of the Random Hierarchy Model is masked at two noise levels and denoised with the exact
posterior.  Nodes of its derivation tree that changed are drawn in red.  At weak noise only small
branches change, each hanging from an ancestor with an unchanged symbol; beyond the threshold the
class changes, and the change reaches down in whole branches.

Rules are unambiguous, so a changed symbol has at least one changed child: changes are connected
from every changed node down to the leaves.  Run it as ``python sims/changed_tree.py --out DIR``.
"""

# %%
# One grammar and one datum, the same random numbers at both noise levels; the averages of the table
# are over many trees of many grammars, which a single picture cannot show.

from hierdiff.sims import ChangedTree
from hierdiff.sims.run import command

results = command(ChangedTree)

# %%
# Changed nodes in red: below the threshold single twigs, above it whole branches.

figure = ChangedTree().figure(results)
