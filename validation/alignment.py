r"""
Odd one out by the layers of a network
======================================

Three objects are shown, and a judge says which is the odd one.  A network that was trained on the
objects' world answers by the cosine of its features, layer by layer and at several noise levels,
with nothing told or with the class.  Judges of a random hierarchy grammar compare latent trees, and
belief propagation gives exact beliefs at every level from the same noisy data: what a linear
readout finds in the network should judge as they do.

Run it on digits, or on human choices among images::

    python validation/alignment.py --model digits --out out/digits
    python validation/alignment.py --model adm-256 --images DIR --triplets FILE
"""

# %%
# A second run finds the trained network.

from hierdiff.studies.command import run
from hierdiff.validation.figures.alignment import network_alignment
from hierdiff.validation.studies.alignment import NetworkAlignment

results = run(NetworkAlignment)

# %%
# Upper row: lines are exact beliefs, circles are read from the network.  Lower row: the layers as
# they are, and the best affine probe on objects that it has not seen.

figure = network_alignment(*results)
