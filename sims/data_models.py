r"""
Two data models on one axis: hierarchy against mixtures
=======================================================

Both data models lose their class under Gaussian noise, and both can be put on the axis of the
signal-to-noise ratio.  In the Random Hierarchy Model the class is lost at a ratio that does not
depend on the depth, ever more sharply, and with the class go all levels above the leaves.  In a
mixture of Gaussians the classes part at the speciation time: at a ratio that falls as the dimension
grows, like :math:`1/\sqrt d` for subspaces of equal (zero) mean, like :math:`1/d` for separated
means, where the spectral criterion :math:`\Lambda e^{-2t} = 1` sees it; without means it sees
nothing, and the free-entropy criterion (mean = fluctuation of the log-likelihood ratio) does.

Measured is the ratio at which the mean belief in the true class, above chance, has fallen to one
half.  Theory gives the same quantity at the same size: density evolution to the depth of the
grammar, and for the mixtures the exact mean of the class posterior, a one-dimensional integral.
The critical level of infinite depth and the criteria of speciation are limits of large size: they
state how the place moves, not where one half is lost, and have columns of their own.

Run it as ``python sims/data_models.py --out DIR``; it takes about a minute, and resumes.
"""

# %%
# The same experiment, the loss of the class, measures both data models.

from hierdiff.sims import DataModels
from hierdiff.sims.run import command

results = command(DataModels)

# %%
# Full: where theory of the same size loses half of the class; dashed, criteria of infinite size:
# the threshold of density evolution (grammars) and free-entropy speciation (mixtures); dotted: the
# spectral criterion, where it applies.

figure = DataModels().figure(results)
