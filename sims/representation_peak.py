r"""
The peak: exact, mean-field and measured
========================================

Claim R1: features are best at an intermediate noise level.  The closed form of arXiv 2502.05743
moves an expectation inside the softmax; rare confusions of the class, which dominate the leak into
the other subspaces, are lost on the way.  Its curve has the right shape and its peak lies too far
out and too high.  Here both laws are compared with a Monte Carlo measurement for eight sets of (d,
K, delta), and the peak is located in all three.

The measured peak is that of a quintic in :math:`\ln\sigma` through :math:`\ln` SNR at fixed noise
levels around the exact peak, with an error from the seeds; the same quintic through the exact law
is the expectation, so the choice of the curve does not enter z.

Run it as ``python sims/representation_peak.py --out DIR``; it takes about half a minute.
"""

# %%
# Eight mixtures, two laws, one measurement.

from hierdiff.sims import RepresentationPeak
from hierdiff.sims.run import command

results = command(RepresentationPeak)

# %%
# Triangles: the peaks of both laws.  Dotted: the measured one.
