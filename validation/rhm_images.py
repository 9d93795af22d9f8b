r"""
The ImageNet experiment with ground truth
=========================================

Quad-trees of a random hierarchy grammar are drawn as images, a patch per leaf symbol.  The
posterior of every level given the noisy *pixels* is then exact, and so is the pixel denoiser.  An
ADM U-Net is trained on fresh images; it, and the exact denoiser through the same reverse chain, are
set beside the exact law, level by level.  The layers of a classifier, the only levels that
photographs have, stand beside the true ones.

On an accelerator, at a size like that of photographs::

    python validation/rhm_images.py --L 4 --patch 4 --channels 128 --multipliers 1 1 2 2 \
        --steps 40000 --device cuda --bfloat16 --out out/images64
"""

# %%
# A second run finds the trained network.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.rhm_images import RHMImages

results = command(RHMImages)
