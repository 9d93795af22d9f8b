r"""
Cue conflict: depth is not amplitude
====================================

Claim Z2: classifiers made of diffusion models follow shape rather than texture.  Shape is both deep
(it takes a hierarchy to read) and of large amplitude (it survives a low-pass), and the two pull in
opposite directions.

Gaussian classes with shape in few directions of large variance: at one noise level the score is
:math:`D(\sigma) = \sum_j \pm(\sigma^2/(\lambda_j+\sigma^2))^2 D_j^2`, texture at low noise and
shape at high.  Random grammars with shape as the root of a tree and texture as a histogram of
*equal* amplitude: shape at low noise and texture at high, because deep latents vanish first.  Only
a texture of small amplitude makes scores of high noise follow shape, and then a discriminative
classifier with low-passed input does so too.

Run it as ``python sims/cue_conflict.py --out DIR``; it takes about ten seconds.
"""

# %%
# One command runs both data models, and the closed forms of the Gaussian one.

from hierdiff.sims import CueConflict
from hierdiff.sims.cue_conflict import cue_conflict_figure
from hierdiff.sims.run import command

results = command(CueConflict)

# %%
# Left: the same question at single noise levels on both data models, with opposite answers.

figure = cue_conflict_figure(*results.values())
