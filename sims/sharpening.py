r"""
Sharpening: a sudden class, smooth leaves
=========================================

Claims P1, P2, P3 and P5 of the phase transition, as numbers, for masking, uniform and Gaussian
noise and for the epsilon-process: with growing depth L the class is lost more and more suddenly, at
a noise level that tends to the threshold; beyond it the class is at chance and leaves of the
original survive; and levels are lost in the order of the hierarchy, at the predicted places.

Claim P2, that leaves fade smoothly, needs a condition.  The steepest slope of the class grows as
:math:`\lambda^L`, with the leading eigenvalue :math:`\lambda` of its critical fixed point.
What reaches the leaves from a level k above them is damped by :math:`\lambda/s` per level, on the
way up and again on the way down, so their slope is a sum of :math:`(\lambda^2/s)^k`: it stays
bounded if :math:`\nu = \log s / \log \lambda > 2`.  At (32, 8, 2) real noise has
:math:`\lambda^2/s` of about .78.  The annealed recursion has :math:`F'(p^*)^2/s = 1.04`, so the
leaves of the epsilon-process steepen, by 4 % per level, as long as the recursion holds.

Run it as ``python sims/sharpening.py --out DIR``; a few minutes, resumable.
"""

# %%
# Exact inference on sampled grammars at four depths; density evolution or the recursion for the
# deepest.

from hierdiff.sims import Sharpening
from hierdiff.sims.run import command

results = command(Sharpening)

# %%
# Every process loses its class at once, and its leaves slowly.
