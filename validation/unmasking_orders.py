r"""
Networks that reveal the surest leaves first, mask again, or read from left to right
====================================================================================

Three claims about masked models, put to three trained networks, each on a grammar of its own, and
to exact conditionals of the same grammars: the leaves of which a model is surest should be revealed
first; remasking repairs what parallel steps have broken; an autoregressive model has the same
entropy, and decides the class late.  The autoregressive models are the masked networks, asked from
left to right, and networks of the same architecture that were trained on prefixes alone.

The share of valid strings of any of these samplers is the mean over data of

.. math:: V = E_p \frac{q(x)}{p(x)} \ge e^{-KL(p \,\|\, q)}.

``python validation/unmasking_orders.py --out DIR`` takes about six minutes of one core.
"""

# %%
# A second run finds the trained networks, and so does ``validation/unmasking.py`` in the same
# folder.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.unmasking_orders import NetworkOrders

results = command(NetworkOrders)

# %%
# Points are networks, lines exact conditionals.  Third panel: groups of equal calls; in each, no
# leaf is masked again, then one and four leaves a round.

figure = NetworkOrders().figure(results)
