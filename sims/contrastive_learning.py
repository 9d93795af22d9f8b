r"""
Contrastive learning: binding is a question of width and of negatives
=====================================================================

Contrastive models are said not to bind the colour of an object to its shape.  In scenes of two
objects everything is known: the singular values of :math:`p(x,y)/\sqrt{p(x)p(y)}` stand in closed
form, attributes before binding,

.. math:: \sigma_{\text{attribute}} = \sigma_S \;>\; \sigma_{\text{binding}} = \sigma_A \sigma_A' ,

so the spectral learner binds nothing at all until its width exceeds the number of attributes'
functions, and is Bayes soon after.  InfoNCE moves the width, hard negatives all but remove it.  On
a tree a contrastive pair reveals the symbol at the top of its own view.  Run it as ``python
sims/contrastive_learning.py --out DIR``; it takes about three minutes.
"""

# %%
# Five shapes and five colours, each seen with fidelity 0.8.

from hierdiff.sims import ContrastiveLearning
from hierdiff.sims.run import command

results = command(ContrastiveLearning)

# %%
# The line of Bayes is also that of the denoising classifier, whose scores use the same scenes.
# Second figure: leaves and class lose the class as the diffusion model does (line: density
# evolution); two halves reveal the level below the class.  Third figure: the more a text tells, the
# more width the class takes.

figures = ContrastiveLearning().figure(results)
