r"""
When networks decide: half of log N, a quarter of log N, and levels of a grammar
================================================================================

Networks are trained on chains of spins whose classes differ in their means, or in their covariances
alone, and on strings of grammars.  U-turns, and the log-likelihood ratio that two conditional
denoisers imply, say when a class is decided; exact inference and laws stand beside.
"""

# %%
# Four networks per kind of chain, one for all lengths, and three tree networks, each with couplings
# or a grammar of its own; a second run finds them trained.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.speciation import NetworkSpeciation

results = command(NetworkSpeciation)
