r"""
Thresholds of real noise: density evolution against depth scaling of exact inference
====================================================================================

Where is the class lost under masking, uniform and Gaussian noise?  Density evolution is for
grammars whose rules are drawn anew at every node.  Here exact belief propagation answers for real
grammars, whose nodes share rules, at growing depth L: the noise level at which the mean belief in
the class is one half, extrapolated with

.. math:: t_{1/2}(L) = t^* + A\, \lambda^{-L},

with all three numbers free, so that the limit owes nothing to density evolution; four depths
hardly fix the rate, and the error contains what is left open.  A second limit is at the
rate that density evolution has at the same depths, which is sharper and not independent.
A second scan varies v at the same density of rules m / v and shows where shared rules matter.

Grammars differ.  The disorder of the threshold, its variance over grammars without the part that
comes from the finite number of data, follows from halves of the data of every grammar, whose noise
is independent.  How it falls with L and with v is fitted.
Masking has a third answer, free of sampling: support sets, whose threshold is a lower bound.

Run it as ``python sims/finite_size_scaling.py --out DIR``; a few minutes, resumable.
"""

# %%
# One task is one grammar at one size: the belief in the true class at every noise level.

from hierdiff.sims import FiniteSizeScaling
from hierdiff.sims.run import command

results = command(FiniteSizeScaling)

# %%
# Grey: density evolution at great depth with its error.  Shared rules broaden the transition from
# grammar to grammar; they hardly move it.

figure = FiniteSizeScaling().figure(results)
