r"""
Composition in networks
=======================

A conditional network learns images of one bump, conditioned on its place (x, y).  Along training
it generates bumps at new places, and its representation is read: the phases A (no structure,
several bumps), B (disordered, one misplaced bump) and C (ordered, in place) are named by fixed
criteria.  The position is attenuated in the code of the labels, so its order has to be learned, and
phase B appears; with a smooth code order is there from the start.  Another network learns strings
of a random grammar, whose levels theory expects to be learned from the leaves up.

Smooth codes too, with labels ten times denser in x than in y, whose two coordinates might be
learned apart or together; errors from two networks each::

    python validation/composition.py --labels balanced skewed attenuated --seeds 2 --out out/bumps

Imbalance of x and y (or ``label-counts`` with and without stripes, or pictures: ``manifold``)::

    python validation/composition.py imbalance --out out/imbalance

At full size, on an accelerator::

    python validation/composition.py --labels balanced skewed attenuated --size 32 --margin 0 \
        --attenuated-spacing .8 --attenuated-steps 40000 --channels 64 --multipliers 1 2 2 \
        --steps 20000 --seeds 3 --samples 1024 --num-steps 50 \
        --device cuda --bfloat16 --out out/bumps32

A published network that is conditioned on a class, read by a classifier::

    python validation/composition.py catalogue --name adm-64-conditional --classifier FILE
"""

# %%
# A second run finds the trained networks.

from hierdiff.sims.run import command
from hierdiff.validation.experiments.composition import NetworkComposition

results = command(NetworkComposition)
