r"""
Local denoisers: exact almost everywhere, and wrong at the transition
=====================================================================

A denoiser that sees a window of the leaves loses what the outside says about a leaf once the window
is seen, in nats per leaf

.. math:: E\,KL(p_i \,\|\, p_i^W) = I(x_{0,i};\, x_{t,\setminus W} \mid x_{t,W}) .

The loss is largest around the noise level at which the class is lost, and next to nothing on either
side.  There the Markov length, of the window that suffices, grows with the tree; elsewhere it does
not.  Run it as ``python sims/local_denoisers.py --out DIR``; it takes about three minutes.
"""

# %%
# Strings of 64 leaves; masking, uniform and Gaussian noise.  Lines of the first panel are subtrees,
# dotted ones density evolution, as in the third.  On the right windows of equal size: covariances
# of 4,000 strings find the next two or four leaves exactly, and no more than these.

from hierdiff.sims import LocalDenoisers
from hierdiff.sims.run import command

results = command(LocalDenoisers)
