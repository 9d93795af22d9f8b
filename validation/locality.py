r"""
Local networks: how much of a network do exact windows explain?
===============================================================

A denoiser is trained on a grammar.  Its outputs are compared with those of exact denoisers that see
a window of the leaves.  Lines are the same for the exact denoiser in place of the network, on the
same data.
"""

# %%
# Three networks, each on a grammar of its own; a second run finds them trained.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.local_networks import NetworkLocality

results = command(NetworkLocality)
