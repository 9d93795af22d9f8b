r"""
Parallel unmasking by networks: when more steps are wasted
==========================================================

The divergence of a masked network's sampler is the price of its steps plus what the network has
not learned,

.. math:: KL(p \,\|\, q) = \text{price}(T) + \sum_j E \sum_{i \in B_j} KL(p_i \,\|\, q_i).

Exact conditionals of the grammar give both apart.  Three networks, each on a grammar of its own;
``python validation/unmasking.py --out DIR`` takes about three minutes.
"""

# %%
# A second run finds the trained networks.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.unmasking import NetworkUnmasking

results = command(NetworkUnmasking)

# %%
# Left: points of networks leave the exact lines where their own error, middle, exceeds the price of
# the steps.

figure = NetworkUnmasking().figure(results)
