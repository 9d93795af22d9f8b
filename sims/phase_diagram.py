r"""
Phase diagram: where the class is lost, for every density of rules
==================================================================

The threshold of the class against the density of rules :math:`f = (mv-1)/(v^s-1)`, for several
numbers of symbols v and branchings s.  Three laws are compared:

* the closed form of the idealised epsilon-process (the annealed map), drawn at the noise level
  whose mean leaf belief is the same;
* density evolution, which contains the fluctuations of messages, with error bars;
* for masking also the exact threshold of support sets, a lower bound.

A transition needs :math:`F'(1) < 1` (certainty is stable) and :math:`F'(1/v) < 1` (ignorance is
stable; this is the Kesten-Stigum condition on average).  To the right of the first bound the class
is always lost as L grows, to the left of the second never.

Run it as ``python sims/phase_diagram.py --out DIR``; a few minutes, resumable.
"""

# %%
# One task is one point of the diagram.

from hierdiff.sims import PhaseDiagram
from hierdiff.sims.run import command

results = command(PhaseDiagram)

# %%
# The closed form (dashed) is the same function of f for all v; real processes lose the class far
# earlier, and earlier still as v grows.  Between the thin lines of a colour there is a transition.

figure = PhaseDiagram().figure(results)
