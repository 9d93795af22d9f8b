r"""
Coverage: how often every error bar of the package contains the true value
==========================================================================

One error to either side should contain the true value in 68.3 % of all repetitions, two in 95.4 %.
Here every error bar of the package is made hundreds of times, from small samples whose true value
is known in closed form, or, for estimates of models (density evolution, probes, calibration), is
taken as the mean over all repetitions, so that the size of the error is tested and not the bias.

A standard error of n units has a scatter of its own; it covers as Student's law with n - 1 degrees
of freedom states, which is printed after the measured share.  Wrong error bars are planted, and
must fail.

Run it as ``python sims/coverage.py --out DIR``; five minutes on one processor, resumable.
"""

# %%
# A case makes one estimate from one random stream: its value and the ends of both intervals.

from hierdiff.sims import Coverage
from hierdiff.sims.run import command

results = command(Coverage)

# %%
# Red: planted wrong error bars.  Black bars: the stated coverage, by Student's law where the error
# is a plain standard error of few units.

figure = Coverage().figure(results)
