r"""
Five questions on photographs of clothing
=========================================

Fashion-MNIST has ten classes in four families, real texture and shape, and enough photographs for
every question.  Conditional U-Nets and discriminative networks of the same size are trained once,
three of each, and asked all five: which of class and family outlives noise, where layers know the
class, how the denoising error classifies, whether families come before classes during training,
and which layers find the odd one out in the tree of classes.  Nobody was asked: the tree stands for
people.

Beside the U-turns stand two mixtures of low-rank Gaussians, one per class.  They have no tree; in
the flat one the classes of a family are no nearer to each other than any others.

Another size, for an accelerator, is the same command::

    python validation/clothing.py --size 28 --channels 64 --multipliers 1 2 --batch 128 \
        --steps 6000 --device cuda
"""

# %%
# The package dataset-fashion-mnist holds the photographs; a second run finds the trained networks.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.clothing import NetworkClothing

results = command(NetworkClothing)
