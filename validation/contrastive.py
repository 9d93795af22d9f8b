r"""
Dual encoders: hard negatives do what width does
================================================

Two small networks embed images and captions of two-object scenes.  With the negatives of a batch
they bind once they are wide enough; with hard negatives (captions of the same attributes, bound
otherwise) at any width.  Lines are the minimum of the loss over tables of embeddings: what the
networks could do at best.
"""

# %%
# Three pairs of networks for every width and kind of negatives; a second run finds them trained.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.dual_encoders import NetworkContrastive

results = command(NetworkContrastive)
