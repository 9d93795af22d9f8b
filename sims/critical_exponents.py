r"""
Exponents of real noise: the critical fixed point, measured
===========================================================

At its threshold a noise process flows, level by level, to a critical fixed point of density
evolution.  The leading eigenvalue :math:`\lambda` there gives :math:`\nu = \log s / \log \lambda`,
:math:`a = 2 - 2/\nu`, the slope of the class (:math:`\lambda` per level), and whether leaf slopes
and the susceptibility grow with depth or saturate (:math:`\lambda^2` against s).

Do masking, uniform and Gaussian noise share one fixed point?  Is it that of the epsilon-process?
Populations answer at four sizes.  Exact inference on sampled grammars, which is independent of
density evolution, tests two consequences at the first size: class beliefs of all depths collapse
on :math:`(t - t^*)\, \lambda^L`, and the slope of the leaves' belief at t* saturates if
:math:`\lambda^2 < s`.

Run it as ``python sims/critical_exponents.py --out DIR``; ten minutes on two cores, resumable.
"""

# %%
# Tasks are a threshold, a fixed point, slopes of coupled populations, and one grammar at one depth.

from hierdiff.sims import Exponents
from hierdiff.sims.run import command

results = command(Exponents)

# %%
# Three real processes, one fixed point; the epsilon-process has another one.

figure = Exponents().figure(results)
