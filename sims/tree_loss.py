r"""
When is the tree lost?
======================

In a grammar whose rules have two or three symbols the tree of a string is itself latent.  Noise
that hides the symbols hides the tree.  For every level: is a node still there over the same leaves,
does one begin at the same leaf, and has it the same symbol?  Points are exact inference over all
trees of a string, lines the density evolution of a known tree, which bounds the symbols from above.

Run it as ``python sims/tree_loss.py --out DIR``; the noise process is ``--noise``, the numbers of
rules of arity 1, 2, 3 ... are ``--rules``.
"""

# %%
# Masking, eight symbols, two binary and two ternary rules each.

from hierdiff.sims import TreeLoss
from hierdiff.sims.run import command

results = command(TreeLoss)

# %%
# Spans of all levels are lost about where the class is, long before the class of a known tree.
