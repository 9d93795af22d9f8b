r"""
Class means on a tree: which level survives until which noise
=============================================================

A Gaussian mixture whose class means lie on a tree, each level in directions of its own with
variance :math:`\tau_l^2` between groups.  The posterior mean of the class's centre,
:math:`\sum_k w_k(x_t)\mu_k`, keeps of level l the share

.. math:: g_l = \frac{E\langle \hat\mu_l, \mu_l\rangle}{E|\mu_l|^2},

The best linear estimate, :math:`m + C(C + \rho^2 + \sigma^2)^{-1}(x - m)` with mean m and
covariance C of the centres, is a lower bound and the law at high noise.  The exact one uses that
there are finitely many classes and pools all directions of a level, so that a level survives until
:math:`\sigma^2` is about its *total* variance between groups, width times :math:`\tau_l^2`.  As
features, these levels are tested by the odd-one-out responses of simulated observers of the tree.

Run it as ``python sims/tree_mixture.py --out DIR``; it takes seconds.
"""

# %%
# One task is one mixture: share of every level and odd-one-out accuracy at every noise level.

from hierdiff.sims import TreeMixture
from hierdiff.sims.run import command

results = command(TreeMixture)

# %%
# A level is kept until the noise is as large as its variance between groups.

figure = TreeMixture().figure(results)
