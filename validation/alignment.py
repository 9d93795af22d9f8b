r"""
Odd one out by the layers of a network
======================================

Three objects are shown, and an observer says which is the odd one.  A network that was trained on
the objects responds by the cosine of its features, layer by layer and at several noise levels,
unconditional or conditioned on the class.  The simulated observers of a random hierarchy grammar
compare latent trees, and belief propagation gives exact beliefs at every level from the same noisy
data: what a linear readout finds in the network should respond as they do.

Run it on digits, or on responses of people to images::

    python validation/alignment.py digits --out out/digits
    python validation/alignment.py grammars --out out/grammars  # beside classifiers, with errors
    python validation/alignment.py catalogue --name adm-256 --images DIR --triplets FILE
"""

# %%
# A second run finds the trained network.  In the upper row of its figure lines are exact beliefs,
# circles are read from the network; the lower row has the layers as they are, and the best affine
# probe on objects that it has not seen.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.alignment import NetworkAlignment

results = command(NetworkAlignment)
