r"""
When is every level decided, and when the class of a chain?
===========================================================

On the way from noise to data a symbol is decided where the free entropy of its branch crosses that
of all its rivals together.  Left: symbols that U-turns keep, at every level of a grammar.  Middle:
where half of them are kept, beside three criteria (lines: density evolution).  Right: two classes
of Ising chains, which are decided at half of log N where the class shows in the mean of the spins,
at a quarter where it shows in their covariance alone.

Run it as ``python sims/speciation.py --out DIR``; it takes about a minute on two cores.
"""

# %%
# Masking, sixteen symbols, strings of 128 leaves; chains of up to 4096 spins, Gaussian noise.

from hierdiff.sims import Speciation
from hierdiff.sims.run import command

results = command(Speciation)

# %%
# The mean of the log-likelihood ratio meets its fluctuation at the right place for two classes, and
# far from it for the levels of a grammar, whose symbols have many rivals.

figure = Speciation().figure(results)
