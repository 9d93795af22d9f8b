r"""
Classification: squared error as a likelihood
=============================================

A denoiser that is told the class denoises best when it is told the truth: its error classifies,
with no training.  On random grammars the class denoisers are exact, so Bayes' ceiling is known, and
what is lost is lost by the scoring rule: by its weight, by the budget of samples, or by noise that
the classes do not share.

With the weight :math:`|\mathrm{SNR}'|` the expected score *is* the log-likelihood,

.. math:: \log\frac{p(x_0|c)}{p(x_0|c')} = -\frac12\int d\gamma\,
   E\big[|x_0-\hat x_c|^2 - |x_0-\hat x_{c'}|^2\big],

and every other weight is biased.  Lines are limit laws of the scores: normal, or for unshared noise
under this weight stable, which is why more samples never help there.  Run it with other sizes::

    python sims/classification.py --L 3 --grammars 24 --out out
"""

# %%
# The whole study is one command.  All weights and budgets see the same samples.

from hierdiff.plots.classification import classification_figure
from hierdiff.studies.classification import ClassificationStudy
from hierdiff.studies.command import run

theory, measured = run(ClassificationStudy)

# %%
# Panels c and d: a single sample classifies best at an intermediate noise level although the exact
# posterior only loses with noise, so the optimum is a property of squared error; and nodes of any
# level can be the class.

figure = classification_figure(theory, measured)
