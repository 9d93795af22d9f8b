r"""
Memorisation: the peak appears when the distribution is learned
===============================================================

Claims R2 and R4: a model that has captured the distribution reads best at an intermediate noise
level; one that memorises shows a curve that is flat and then falls.  At fixed noise levels,
:math:`R = \mathrm{SNR}(\sigma^*)/\mathrm{SNR}(0.02)` separates the two: R > 1 is a peak.

Four learners see the same N data of K = 3 classes of rank d.  *Memorising* is the data set itself.
*ppca_mixture* is EM without labels, *ppca_mixture_own* with a residual variance for each class and
random starts, *supervised_ppca* is given the classes and finds their subspaces.  The number of
data :math:`N_c` at which R passes 1 on test points is located for several d.  With labels it is
4 to 5 d, so about 1.5 d per class; without, six starts of EM rarely find the classes below 4 d per
class, although the labelled subspaces are likelier: the crossover of an unlabelled fit is one of
search, not of data.  For the memorising model :math:`N_c/d` grows with d.

The estimate :math:`N_c = e^{I(x_0;x_t)}`, taken at the level :math:`\sigma_0` where the
population's SNR has come back to its value without noise, has the right order of magnitude and
grows too fast: the memorising model turns smoothly, and its own level at small noise lies below
the population's.

Run it as ``python sims/memorization.py --out DIR``; it takes a few minutes, resumes where it was
interrupted, and with ``--seeds 8`` about a minute.
"""

# %%
# The curves at K = 3, d = 10, delta = 0.2, and the crossover for several d.

from hierdiff.sims import Memorization
from hierdiff.sims.run import command

results = command(Memorization)

# %%
# Left and middle, curves at one rank; right, the crossover against the rank.
