r"""
Alignment: which level judges as people do
==========================================

Three data are shown, and a judge says which is the odd one out.  Our judges compare the latent
trees of a random hierarchy grammar, with weights per level; the model answers by the cosine
similarity of its beliefs at one level, at one noise level, without or with the class given (as a
text prompt gives it).  Whether intermediate levels are best depends on what the judges weigh; that
the class helps most at high noise does not (claims H2 and H3 of arXiv 2403.08469).

Give other judges on the command line::

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
