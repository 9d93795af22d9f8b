r"""
A network's errors as a classifier
==================================

A network that is told the class denoises best when it is told the truth.  Here a tree-shaped U-Net
is trained on a random hierarchy grammar and classifies its data by denoising errors, with every
published weight and budget; on the same samples stands the exact denoiser, and above both Bayes'
ceiling.  The data have soft leaves, :math:`x_0 = e_a + \tau\eta`: to the network, trained on
one-hot leaves, they are one-hot leaves with more noise.

Run it on other data with::

    python validation/classification.py --model digits --out out/digits
    python validation/classification.py --model dit-xl-2-256 --images DIR --accept-licence
"""

# %%
# A second run finds the trained network and the finished scores, and takes seconds.

from hierdiff.validation.figures.classification import network_classification
from hierdiff.validation.studies.classification import NetworkClassification

from hierdiff.studies.command import run

results = run(NetworkClassification)

# %%
# Circles are the network, lines the exact denoiser: what lies between them the network has not
# learned, and what lies between the lines and Bayes is lost by the weight or the budget.

figure = network_classification(*results)
