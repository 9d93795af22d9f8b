r"""
Parallel unmasking: the order is worth more than the number of steps
====================================================================

A masked diffusion model that reveals several leaves at once draws them independently.  What that
costs is a sum of conditional total correlations,

.. math:: KL(p \,\|\, q) = \sum_j E\Big[\sum_{i \in B_j} H(x_i \mid x_{S_j})
   - H(x_{B_j} \mid x_{S_j})\Big],

exactly, for any order of the leaves and any block sizes.  Lines are this law, points are samplers:
log-ratios of data, and the share of drawn strings that are in the language.  Run it as
``python sims/parallel_unmasking.py --out DIR``; it takes about two minutes.
"""

# %%
# Five orders on strings of 32 leaves, six grammars.

from hierdiff.sims import ParallelUnmasking
from hierdiff.sims.run import command

results = command(ParallelUnmasking)

# %%
# Left: at eight steps the tree order *spread* costs some sixty times less than left to right, and
# less than choosing the leaves of which the model is surest.  Middle: the visible cost.  Right: in
# a random order with the best block sizes, the price depends on the number of leaves per step
# alone, not on the depth.

figure = ParallelUnmasking().figure(results)
