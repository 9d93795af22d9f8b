r"""
Levels and noise levels: which representations are alike
========================================================

The beliefs of an exact model at every level of the hierarchy and every noise level are
representations of the same data.  Two measures compare them: RSA, the rank correlation of
the distances between all pairs of data, and linear CKA (its unbiased estimate, 0 for independent
representations however wide).  The same with the true latents of each level shows,
without any probe, which level is present at which noise level.

Run it as ``python sims/representational_similarity.py --out DIR``; it takes seconds.
"""

# %%
# One task is one grammar: all pairs of (level, noise level), and each of these with the latents.

from hierdiff.sims import RepresentationalSimilarity
from hierdiff.sims.run import command

results = command(RepresentationalSimilarity)

# %%
# The class is represented or not, at once; the leaves fade.

figure = RepresentationalSimilarity().figure(results)
