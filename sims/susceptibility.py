r"""
Susceptibility: whole branches change together at the threshold
===============================================================

A datum is noised to level t and denoised, many times over.  Leaf i gets :math:`\sigma_i = +1` if it
comes back and -1 if it has changed.  The covariance :math:`C(d)` of two leaves whose last common
ancestor has height d, and the susceptibility

.. math:: \chi(t) = \frac{\sum_{ij} C_{ij}}{\sum_i C_{ii}}

measure how many leaves change together.  Averages: inside the covariance over trajectories of one
datum, outside over data and grammars.  In the epsilon-process the annealed two-state chain predicts
all of it without a free parameter.  Under real noise messages fluctuate: density evolution, with
two observations of every datum, predicts chi.

At the threshold of the epsilon-process :math:`C \sim r^{-a}`, with :math:`r = s^d` and
:math:`a = 2 - 2/\nu`, and all depths collapse onto one curve of
:math:`(\epsilon - \epsilon^*)\, F'(p^*)^L`, the distance from the threshold as the root sees it.
Real noise has larger exponents (``sims/critical_exponents.py``), and its susceptibility saturates:
here its maxima at growing depth.

Run it as ``python sims/susceptibility.py --out DIR``; it takes a few minutes.  Finished tasks are
kept in DIR/tasks, so a second run, or one after an interruption, does only what is missing.
"""

# %%
# Exact posterior samples on drawn grammars, at several depths and in all processes, over the whole
# range of noise and densely near the maximum.

from hierdiff.sims import Susceptibility
from hierdiff.sims.run import command

results = command(Susceptibility)

# %%
# Last panel: the correlation of leaves on the two sides of the root, times s^{aL}, is a function of
# the distance from the threshold at the root.
