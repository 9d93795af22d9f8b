r"""
Training time of random features: first the data's law, later the data
======================================================================

A denoiser of random features is trained by gradient flow.  The spectrum of its features has two
bulks: directions of the data are learned at once, those of single data later by a factor that grows
with their number.  Lines are exact in the limit of many dimensions, points are drawn features of
two finite sizes, extrapolated.

.. math:: \tau_{gen} = \frac{\psi_p}{\Delta_t\lambda_2^-}, \qquad
   \tau_{mem} = \frac{\psi_p}{\Delta_t\lambda_1^+}

Run it as ``python sims/training_time.py --out DIR``; classes of unequal variance are
``--variances .3 2 --shares .8 .2``, and ``--features real`` uses no Gaussian equivalence.
"""

# %%
# Tanh features, sixteen per dimension, and two to eight data per dimension.  Left: the two bulks.
# Middle: the loss on fresh data has its minimum inside the window.  Right: the window opens with
# the number of data, at its upper side.

from hierdiff.sims import TrainingTime
from hierdiff.sims.run import command

results = command(TrainingTime)
