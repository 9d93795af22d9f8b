r"""
Information: how much noisy data contain about each level
=========================================================

The exact evidence of belief propagation gives the mutual information between a noisy datum and all
latents of a level, without any approximation.  Two identities then tie its derivative to what a
denoiser does at one noise level:

.. math::
   -\frac{dI}{dt} = \sum_i H(x_i \mid \text{unmasked others}) \ \text{(masking)}, \qquad
   \frac{dI}{d\,snr} = \tfrac12 E |x_0 - E[x_0 \mid x_t]|^2 \ \text{(Gaussian, I-MMSE)}

Points below are differences of information over an interval of noise, divided by its length; lines
are the identities, averaged over the same interval.  The data and the random numbers of both sides
are the same, so their difference has an error far below that of either.  Run it as
``python sims/information.py --out DIR``; it takes about ten seconds.
"""

# %%
# One task is one grammar and one process.  Three points of Gauss and Legendre integrate the slope
# over every interval.

from hierdiff.sims import Information
from hierdiff.sims.run import command

results = command(Information)

# %%
# Left: in units of their entropy, high levels are known better than low ones until the class is
# lost, where the order inverts.  Middle and right: the identities.

figure = Information().figure(results)
