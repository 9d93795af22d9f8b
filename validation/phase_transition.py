r"""
The phase transition in a network
=================================

A tree-shaped U-Net learns a random hierarchy grammar and noises and denoises its strings.  Three
curves per level: the exact law :math:`E \sum_c p(c \mid x_t)^2`, exact beliefs through a reverse
chain of finitely many steps, and the network through the same chain.  What lies between the first
two is the chain's, between the last two the network's.  Beside them stands the divergence of the
network's beliefs from exact ones, which no sampler hides, and what small training sets do to it.

Several networks and depths, with leaf slopes and correlated changes; other data::

    python validation/phase_transition.py grammars --depths 4 5 --out out/grammars
    python validation/phase_transition.py digits --out out/digits
    python validation/phase_transition.py catalogue --name adm-256 --images DIR --classifier FILE
"""

# %%
# A second run finds the trained networks.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.phase_transition import NetworkPhaseTransition

results = command(NetworkPhaseTransition)
