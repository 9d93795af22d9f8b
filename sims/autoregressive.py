r"""
The autoregressive twin: when does a sentence decide its class?
===============================================================

A masked model that is given the leaves on the left is an autoregressive model.  The losses of an
optimal one are entropies, which sum to the logarithm of the number of data,

.. math:: h_k = H(x_k \mid x_{<k}), \qquad \sum_k h_k = \log v + \frac{s^L - 1}{s - 1} \log m,

and with c leaves of context it loses what these do not hold.  Lines and bars are exact, points are
measured.  Run it as ``python sims/autoregressive.py --out DIR``; it takes about a minute.
"""

# %%
# Strings of 32 leaves, eight grammars.

from hierdiff.sims import Autoregressive
from hierdiff.sims.run import command

results = command(Autoregressive)

# %%
# Left: a leaf that opens many rules is hard.  Middle: strings of short context are valid up to the
# level that the context spans.  Right: read from left to right, the class is decided later than if
# the leaves that are read are spread over the tree.

figure = Autoregressive().figure(results)
