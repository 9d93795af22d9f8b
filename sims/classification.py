r"""
Classification: squared error as a likelihood
=============================================

A class-conditional denoiser makes the smallest error under the true class: its error classifies,
with no training.  On random grammars the conditional denoisers are exact and Bayes' ceiling is
computed, so that every loss of accuracy is due to the scoring rule: to its weight, to the budget of
samples, or to independent noise for every class.

With the weight :math:`|\mathrm{SNR}'|` the expected score *is* the log-likelihood,

.. math:: \log\frac{p(x_0|c)}{p(x_0|c')} = -\frac12\int d\gamma\,
   E\big[|x_0-\hat x_c|^2 - |x_0-\hat x_{c'}|^2\big],

and every other weight is biased.  Lines are limit laws of the scores: normal, or for independent
noise under this weight stable, which is why more samples never help there.  Run it with other
sizes::

    python sims/classification.py --L 3 --grammars 24 --out out
"""

# %%
# The whole study is one command.  All weights and budgets see the same samples.

from hierdiff.sims import Classification
from hierdiff.sims.classification_figures import classification_figure
from hierdiff.sims.run import command

results = command(Classification)

# %%
# Panels c and d: a single sample classifies best at an intermediate noise level although the exact
# posterior only loses with noise, so the optimum is a property of squared error; and nodes of any
# level can be the class.

figure = classification_figure(*results.values())
