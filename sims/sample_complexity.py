r"""
Sample complexity: with which exponent does a learner of synonyms learn?
========================================================================

To learn the rules of a level a model must find which tuples below are synonyms, by their
correlations with tokens outside.  Signal equals noise, entry by entry, at :math:`P = v\,m^{l+1}`
(arXiv 2502.12089), l the height of the common ancestor of tuple and token; the tuples of a symbol
of height h meet their next context at l = h + 1.

A learner who compares whole contexts does better where contexts hardly ever coincide by chance.
Two tuples seen n times each share :math:`n^2 (1/v + S)` contexts if they are synonyms, with
:math:`S \approx m^{-l}`, and :math:`n^2/v` if not, so

.. math:: P^* \propto v m\, \frac{\sqrt{1/v + S}}{S}, \qquad
   \frac{d \ln P^*}{d \ln m} = 1 + \frac l2 + \frac l2\, \frac{x}{1 + x}, \qquad x = \frac{m^l}{v}:

the exponent rises from 1 + l/2 to l + 1 along one curve for all levels and vocabularies.

Run it as ``python sims/sample_complexity.py --out DIR``; it takes some minutes, and the same
command goes on where it was interrupted.
"""

# %%
# Two vocabularies with one token of context, where P is unbounded, and the smaller one with all
# leaves below the next node, where strings are drawn.

from hierdiff.sims import SampleComplexity
from hierdiff.sims.run import command

results = command(SampleComplexity)

# %%
# Right: all local exponents, as shares of the way from the sparse to the dense limit, on one curve.
