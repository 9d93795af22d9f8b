r"""
A network's errors as a classifier
==================================

A class-conditional network makes the smallest denoising error under the true class.  Here a
tree-shaped U-Net is trained on a random hierarchy grammar and classifies its data by denoising
errors, with every published weight and budget; compared are the exact denoiser on the same samples
and Bayes' ceiling.  The data are Gaussian emissions, :math:`x_0 = e_a + \tau\eta`: to the network,
trained on one-hot leaves, they are one-hot leaves with more noise.

Run it on other data with::

    python validation/classification.py digits --out out/digits
    python validation/classification.py conflict --out out/conflict
    python validation/classification.py binding --out out/binding
    python validation/classification.py catalogue --name dit-xl-2-256 --images DIR --accept-licence
"""

# %%
# A second run finds the trained network and the finished scores, and takes seconds.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.classification import (
    NetworkClassification,
    network_classification_figure,
)

results = command(NetworkClassification)

# %%
# Circles are the network, lines the exact denoiser: the difference between them is what the network
# has not learned, that between the lines and Bayes is due to the weight or the budget.

figure = network_classification_figure(*results.values())
