r"""
Phase transition: the class is lost at a threshold
==================================================

A datum of the Random Hierarchy Model is noised to level t and denoised with the exact posterior.
Level by level we ask how much is believed of the true symbol, and how often it comes back.

The epsilon-process gives every leaf a fixed belief in its true symbol.  Averaged over grammars its
messages obey a one-dimensional recursion (arXiv 2402.16991); between certainty and ignorance lies
an unstable fixed point, and with it a threshold for the class.  At finite depth it is a range of
noise levels: with masking and L = 10 the belief in the class falls from .9 to .1 over .42 of the
threshold, and the range shrinks as :math:`\lambda^{-L}` (see ``sims/critical_exponents.py``).

Run it with other sizes or another process from the command line::

    python sims/phase_transition.py --noise masking --L 8 --out out
"""

# %%
# The whole study is one command; without flags it runs at the paper's size, v = 32, m = 8, s = 2
# and L = 10, so 1,024 leaves.  Finished tasks are kept in the output folder, so a second run, or
# one after an interruption, does only what is missing.

from hierdiff.sims import PhaseTransition
from hierdiff.sims.run import command

results = command(PhaseTransition)

# %%
# Points are exact inference on sampled grammars with standard errors, lines the recursion; thin
# lines in panel c are single grammars, whose thresholds scatter: the quenched disorder.

figure = PhaseTransition().figure(results)
