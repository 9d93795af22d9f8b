r"""
Alignment: which level predicts odd-one-out responses
=====================================================

Three data are shown, and an observer names the odd one out.  Simulated observers compare the latent
trees of a random hierarchy grammar, with a weight per level.  A model answers by the cosine
similarity of its beliefs at one level and one noise level, without the class or with it (as a text
prompt gives it).  Which level is best depends on the weights of the observers; that the class helps
most at high noise does not (claims H2 and H3 of arXiv 2403.08469).

Give other weights on the command line::

    python sims/alignment.py --weights 0.25 1 1 0.5 0.25 --out out
"""

# %%
# The whole study is one command and takes seconds.

from hierdiff.sims import Alignment
from hierdiff.sims.run import command

results = command(Alignment)

# %%
# Dotted lines: models that know the latents of a level without doubt.  Exact ties count as wrong,
# so a level of few symbols answers few triplets; ``--ties shared`` lets it guess.

figure = Alignment().figure(results)
