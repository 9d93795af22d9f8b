r"""
Composition in networks
=======================

A conditional network learns images of one bump, told its place (x, y).  Along training it is asked
for bumps at new places, and its representation is read: the phases A (no structure, several bumps),
B (disordered, one misplaced bump) and C (ordered, in place) are named by fixed criteria.  With
labels that are ten times denser in x than in y the two coordinates might be learned apart, or
together.  A second network learns strings of a random grammar, whose levels theory expects to be
learned from the leaves up.

At full size, on an accelerator::

    python validation/composition.py --size 32 --margin 0 --channels 64 --multipliers 1 2 2 \
        --steps 20000 --seeds 3 --looks 1024 --device cuda --bfloat16 --out out/bumps32
"""

# %%
# A second run finds the trained networks.

from hierdiff.studies.command import run
from hierdiff.validation.studies.composition import NetworkComposition

results = run(NetworkComposition)
