r"""
Contrastive pairs of strings: a view shows the symbol at its own top
====================================================================

Two small networks embed two views of a string of a grammar: its two halves, or its noisy leaves and
its class.  A linear read-out of their embeddings explains a share of every latent of the tree,

.. math:: R^2_z = \frac{1}{v-1} \sum_z \frac{c_z^T\, \mathrm{Cov}(\phi)^{+} c_z}{p(z)}.

Halves reveal the level below the class, captions of the class the class, up to the noise level at
which the diffusion model loses it.  Four networks per pair, each on a grammar of its own, beside
the minimum of their loss; ``python validation/string_pairs.py --out DIR`` takes seven minutes.
"""

# %%
# A second run finds the trained networks.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.string_pairs import NetworkStringPairs

results = command(NetworkStringPairs)

# %%
# Left: what halves reveal by width.  Middle: the level at which each pair peaks.  Right: captions
# of the class against noise, beside exact beliefs.

figure = NetworkStringPairs().figure(results)
