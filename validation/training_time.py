r"""
Memory against training time
============================

A network that may stop training at any step first learns the language, level by level, and later
its training set.  Networks learn P distinct strings of a random grammar; at logarithmic times their
denoiser is compared with denoisers that are known exactly: of the rules of the lowest 0 to L
levels, and of the training set.

.. math:: K_r(\tau) = E\,\frac1n\sum_i KL\big(p^{(r)}_i \,\|\, q_i\big)

Colours on the left are the nearest of these denoisers; the window in which the loss on fresh
strings is at its best closes with P, while copies wait the longer the more data there are.
Finished networks are kept under ``--out`` and are not trained again.  The whole takes a quarter of
an hour on one core.
"""

# %%
# 21 networks: seven sizes of the training set, three grammars each.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.training_time import NetworkTrainingTime

results = command(NetworkTrainingTime)
