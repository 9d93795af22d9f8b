r"""
One threshold or two: the tree, the class, and the variance of arity
====================================================================

Where the tree is lost and where the class: at growing depth; for arity two, two or three, and three
at about the same mean length; for arities of mean three and growing variance.  If tree and class
had thresholds of their own, their distance would stay while both become steeper with depth.

Crosses and the line belong to a known tree: what would be left of the class if nobody had to parse.
For one arity nobody has to, and the crosses lie on the circles.

Run it as ``python sims/tree_shapes.py --out DIR``; about a minute, resumable.
"""

# %%
# Exact inference over all trees, under masking.

from hierdiff.sims import TreeShapes
from hierdiff.sims.run import command

results = command(TreeShapes)

# %%
# The top of the tree is lost with the class, ever more closely and ever more suddenly as L grows;
# the lowest spans fade smoothly.
