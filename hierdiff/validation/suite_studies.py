"""The studies on networks that ``hierdiff suite`` runs, in order of worth.

Each is a name, its question, the seconds it takes on one accelerator, and two command lines of
``python -m``, at its own size and at a tiny one.  Another study is one more entry.

Seconds are estimates, made from the number of training steps; those of a committed run stand in
its file.  Sizes are for one accelerator of a data centre: wider networks, deeper trees and more
networks than the defaults of the experiments, which are for two processors.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LEFT_OUT", "RUN", "STUDIES", "Study"]

RUN = "hierdiff run"
"""Begin of the module of a study that is an experiment of the registry."""


class Study(NamedTuple):
    """A study of the suite.

    Attributes
    ----------
    name : str
        Stem of its files.
    text : str
        Its question in a few words.
    seconds : int
        What it takes on one data-centre accelerator, about.
    module : str
        "hierdiff run EXPERIMENT", or a module for ``python -m``.
    full, tiny : str
        Flags at both sizes.
    images : str
        The set of images that it needs, which may not be on this machine.
    """

    name: str
    text: str
    seconds: int
    module: str
    full: str
    tiny: str
    images: str = ""


_STRINGS = (
    "rhm --v 16 --m 4 --L {L} --width 128 --steps {steps} --focus .06 .3 --data 1000 "
    "--t .05 .08 .1 .12 .14 .16 .18 .2 .25 .3 .4 .6 1 --n-train"
)
_TINY_STRINGS = (
    "rhm --v 4 --m 2 --L 2 --width 16 --steps 20 --data 12 --t .1 .3 1 --num-steps 4 --n-train"
)
_TINY_GRAMMARS = (
    "grammars --v 4 --depths 2 --networks 2 --width 16 --steps 4 --leaves 64 --data 4 "
    "--trajectories 2 --num-steps 2 --t .1 .2 .3 .5 1"
)

STUDIES: tuple[Study, ...] = (
    Study(
        "throughput", "images per second of ADM-256, posteriors per second of trees", 60,
        "hierdiff.validation.throughput",
        "--channels-last --images 32 --batch 32 --steps 50",
        "--small --images 2 --batch 2 --steps 2 --repeats 1",
    ),
    Study(
        "fashion", "five questions on photographs of clothing, 28 x 28", 300,
        f"{RUN} network-clothing",
        "--size 28 --channels 64 --multipliers 1 2 --classifier-width 64 --batch 128 --steps 3000 "
        "--data 500 --fit 4000 --test 2000 --bfloat16",
        "--networks 2 --n-train 20 0 --steps 3 --batch 4 --data 20 --num-steps 4 --t .1 .4 1 "
        "--probe-t .05 .3 --fit 40 --test 20 --strata 2 --triplet-t .1 .5 --objects 40 "
        "--triplets 20",
        images="fashion",
    ),
    Study(
        "mixture-factors", "denoising strength and class confidence of networks, apart", 90,
        f"{RUN} network-representation",
        "factors --networks 4 --steps 8000 --width 384 --test 6000",
        "factors --classes 2 --ranks 2 --deltas .2 --dim 6 --networks 2 --steps 4 --width 16 "
        "--depth 1 --test 20 --sigmas .2 .6",
    ),
    Study(
        "grammar-objectives", "odd one out of denoising and of classifying networks", 120,
        f"{RUN} network-alignment",
        "grammars --L 4 --networks 4 --steps 6000 --width 96 --batch 128 --objects 400",
        "grammars --v 4 --m 2 --L 2 --networks 2 --steps 4 --width 8 --objects 20 --n-readout 40 "
        "--max-triplets 60 --t .1 .8",
    ),
    Study(
        "cue-conflict", "shape against texture: networks on rendered grammars, exact beside", 240,
        f"{RUN} network-classification",
        "conflict --width 128 --layers 6 --batch 256 --steps 6000 --classifier-steps 2000 "
        "--data 300 --samples 100",
        "conflict --networks 2 --v 3 --s 2 --width 16 --layers 1 --steps 3 --classifier-steps 3 "
        "--batch 4 --data 4 --samples 2 --sigma2 .1 1",
    ),
    Study(
        "binding", "attributes bound: denoising networks and dual encoders on rendered scenes", 240,
        f"{RUN} network-classification",
        "binding --width 128 --layers 6 --batch 256 --steps 6000 --encoder-steps 6000 "
        "--encoder-batch 512 --data 300 --samples 100",
        "binding --networks 2 --width 16 --layers 1 --steps 3 --batch 4 --data 4 --samples 2 "
        "--widths 2 4 --hidden 8 --encoder-steps 3 --encoder-batch 8 --scenes 10",
    ),
    Study(
        "fashion-conflict", "silhouettes of clothing filled with other clothing, 14 x 14", 120,
        f"{RUN} network-classification",
        "composed --channels 64 --batch 128 --steps 6000 --data 300 --samples 100",
        "composed --networks 2 --steps 3 --batch 4 --data 4 --samples 2 --sigma2 .1 1",
        images="fashion",
    ),
    Study(
        "rhm-images-64", "rendered grammars, 64 x 64, beside exact pixels", 100,
        f"{RUN} network-rhm-images",
        "--L 4 --patch 4 --channels 64 --multipliers 1 2 2 2 --batch 128 --steps 2500 --data 128 "
        "--num-steps 50 --bfloat16",
        "--L 1 --patch 4 --channels 32 --multipliers 1 --batch 8 --steps 4 --data 8 --num-steps 4 "
        "--t .3 1 --classifier-steps 4",
    ),
    Study(
        "rhm-images-deep", "the same with five levels of patches of 2 x 2", 100,
        f"{RUN} network-rhm-images",
        "--L 5 --patch 2 --channels 64 --multipliers 1 2 2 2 --batch 128 --steps 2500 --data 128 "
        "--num-steps 50 --bfloat16",
        "--L 2 --patch 2 --channels 32 --multipliers 1 --batch 8 --steps 4 --data 8 --num-steps 4 "
        "--t .3 1 --classifier-steps 4",
    ),
    Study(
        "rhm-strings-5", "strings of (16, 4, 2, 5), tree network", 60,
        f"{RUN} network-phase-transition",
        f"{_STRINGS.format(L=5, steps=6000)} 0 --n-train-steps 400", f"{_TINY_STRINGS} 0 "
        "--n-train-steps 4",
    ),
    Study(
        "rhm-strings-6", "strings of (16, 4, 2, 6), tree network", 70,
        f"{RUN} network-phase-transition",
        f"{_STRINGS.format(L=6, steps=6000)} 0 --n-train-steps 400",
        f"{_TINY_STRINGS.replace('--L 2', '--L 3')} 0 --n-train-steps 4",
    ),
    Study(
        "rhm-transformer-5", "strings of (16, 4, 2, 5), transformer", 60,
        f"{RUN} network-phase-transition",
        f"{_STRINGS.format(L=5, steps=8000)} 0 --n-train-steps 400 --architecture transformer",
        f"{_TINY_STRINGS} 0 --n-train-steps 4 --architecture transformer",
    ),
    Study(
        "correlated-changes", "slopes and blocks of changes, 3 grammars at L = 4, 5, 6", 120,
        f"{RUN} network-phase-transition",
        "grammars --depths 4 5 6 --data 200 --leaves 8192",
        _TINY_GRAMMARS,
    ),
    Study(
        "correlated-transformers", "the same by transformers at L = 4, 5", 90,
        f"{RUN} network-phase-transition",
        "grammars --depths 4 5 --data 200 --leaves 8192 --architecture transformer",
        f"{_TINY_GRAMMARS} --architecture transformer",
    ),
    Study(
        "bumps-32", "phases of bump networks, 32 x 32, attenuated code", 90,
        f"{RUN} network-composition",
        "--parts bumps --size 32 --sigma 2.5 --margin 5 --channels 48 --multipliers 1 2 2 "
        "--batch 128 --attenuated-steps 2500 --seeds 3",
        "--parts bumps --size 8 --channels 32 --multipliers 1 --batch 8 --steps 4 "
        "--attenuated-steps 4 --seeds 1",
    ),
    Study(
        "noise-levels", "two noise levels read together, one denoiser per level", 60,
        f"{RUN} network-representation",
        "levels --networks 5 --steps 2500 --width 192",
        "levels --networks 2 --steps 4 --test 100 --sigmas .1 .5",
    ),
    Study(
        "digit-levels", "layers of networks of digits, probed at two noise levels together", 60,
        f"{RUN} network-representation",
        "digit-levels --networks 5",
        "digit-levels --networks 2 --steps 4 --t .02 .2 --layers middle_block --test 40",
    ),
    Study(
        "bump-imbalance", "x and y of bumps at five ratios of their spacings", 90,
        f"{RUN} network-composition",
        "imbalance --architecture bump_unet --networks 3 --steps 800",
        "imbalance --size 8 --ratios 1 4 9 --networks 2 --steps 4 --checkpoints 2 --samples 20 "
        "--num-steps 2",
    ),
    Study(
        "bump-labels", "pairs that must be seen, with and without stripes", 120,
        f"{RUN} network-composition",
        "label-counts --values 4 6 8 12 --labels 3 6 12 24 48 96 --networks 5 --steps 1500",
        "label-counts --values 4 5 --labels 3 6 --networks 2 --steps 2 --num-steps 2",
    ),
    Study(
        "bump-manifold", "the representation in phases A, B and C, U-Net", 60,
        f"{RUN} network-composition",
        "manifold --architecture bump_unet --spacing .2 --steps 1500",
        "manifold --size 8 --steps 2 --checkpoints 1 --samples 20 --feature-samples 30 "
        "--spacing .5 --num-steps 2",
    ),
    Study(
        "memory-sizes", "copies and divergence against the size of the training set", 120,
        f"{RUN} network-phase-transition",
        "rhm --v 8 --m 2 --L 4 --steps 4000 --t .1 .2 .3 .4 .6 1 --n-train 256 1024 4096 16384 0 "
        "--n-train-steps 3000",
        f"{_TINY_STRINGS} 8 0 --n-train-steps 4",
    ),
    Study(
        "training-time", "when levels are learned and when strings are copied, L = 4", 240,
        f"{RUN} network-training-time",
        "--L 4 --n-train 64 512 4096 0 --width 64 --batch 256",
        "--v 4 --m 2 --L 2 --n-train 8 0 --times 2 3 4 --networks 2 --width 8 --batch 4 --t .3 .7 "
        "--test 20 --samples 10 --num-steps 2",
    ),
    Study(
        "speciation", "when networks decide: chains of up to 4,096 spins, grammars of L = 4", 260,
        f"{RUN} network-speciation",
        "--spins 64 160 400 1024 4096 --networks 4 --width 24 --steps 5000 --batch 32768 "
        "--L 4 --grammars 4 --tree-steps 4000",
        "--spins 30 40 --networks 2 --width 4 --steps 2 --batch 80 --chains 8 --num-steps 2 "
        "--v 4 --m 2 --L 2 --grammars 2 --tree-steps 2",
    ),
    Study(
        "unmasking", "several leaves at once by masked networks, L = 5", 150,
        f"{RUN} network-unmasking",
        "--L 5 --width 96 --train-steps 5000 --batch 256 --networks 4 --steps 1 2 4 8 16 32",
        "--v 4 --m 2 --L 2 --width 8 --train-steps 4 --batch 4 --networks 2 --orders random "
        "--steps 1 2 --data 10 --strings 20",
    ),
    Study(
        "unmasking-orders", "surest leaves first, remasking and next leaves, L = 5", 240,
        f"{RUN} network-orders",
        "--L 5 --width 96 --train-steps 5000 --batch 256 --steps 2 4 8 16 32 --calls 8 16 32 64",
        "--v 4 --m 2 --L 2 --width 8 --train-steps 4 --batch 4 --networks 2 --orders random "
        "confident --steps 2 --calls 2 4 --data 10 --strings 20",
    ),
    Study(
        "locality-strings", "share of networks that windows explain, L = 5", 120,
        f"{RUN} network-locality",
        "--L 5 --width 96 --steps 5000 --batch 256 --networks 4",
        "--v 4 --m 2 --L 2 --width 8 --steps 4 --batch 4 --networks 2 --t .3 .7 --data 10",
    ),
    Study(
        "locality-fashion", "the same on photographs of clothing, 14 x 14", 240,
        f"{RUN} network-locality",
        "--images fashion-14 --n-train 500 --data 24 --steps 4000 --batch 128",
        "--images fashion-14 --n-train 20 --radii 0 1 --steps 2 --batch 4 --networks 2 --t .1 .3 "
        "--data 4",
        images="fashion",
    ),
    Study(
        "string-pairs", "levels that dual encoders of strings reveal, v = 16, L = 4", 150,
        f"{RUN} network-string-pairs",
        "--v 16 --m 4 --L 4 --widths 2 4 8 16 --hidden 256 --batch 1024 --steps 2500",
        "--v 4 --m 2 --L 2 --widths 2 --t 0 .5 --hidden 8 --batch 8 --steps 4 --networks 2 "
        "--data 40",
    ),
    Study(
        "scene-captions", "dual encoders of scenes and captions by width and negatives", 90,
        f"{RUN} network-contrastive",
        "--widths 2 4 8 16 --hidden 512 --batch 2048 --steps 2000 --networks 4",
        "--values 3 3 --widths 2 --hidden 8 --batch 8 --steps 4 --networks 2",
    ),
    Study(
        "exact-targets", "the exact posterior as loss beside sampled targets, L = 5", 150,
        f"{RUN} network-exact-targets",
        "--L 5 --width 96 --steps 2000 --batch 128 --checkpoints 8",
        "--v 4 --L 2 --width 8 --steps 4 --batch 4 --checkpoints 2 --networks 2 --t .3 .7 "
        "--data 10 --batches 2",
    ),
    Study(
        "string-features", "probes of every level by noise, strings of (16, 4, 2, 5)", 120,
        f"{RUN} network-representation",
        "rhm --v 16 --m 4 --L 5 --n-train 4096 0 --networks 3 --steps 4000 --test 4000",
        "rhm --v 4 --m 2 --L 2 --n-train 8 0 --networks 2 --steps 4 --test 60 --shots 2 --t .1 .5",
    ),
    Study(
        "mixture-features", "features by noise and training set, low-rank mixture", 120,
        f"{RUN} network-representation",
        "mixture --n-train 60 1000 10000 0 --networks 5 --steps 4000 --width 384 --test 3000",
        "mixture --classes 2 --rank 2 --dim 6 --sigmas .2 .6 1 --n-train 10 0 --networks 2 "
        "--steps 4 --width 16 --depth 1 --test 20",
    ),
    Study(
        "string-classes", "denoising error as classifier of strings of (8, 3, 2, 4), beside Bayes",
        70,
        f"{RUN} network-classification",
        "rhm --L 4 --width 96 --data 800",
        "rhm --v 4 --m 2 --L 2 --steps 4 --width 8 --data 8 --budgets 1 2 --independent-budgets 1 "
        "--times .1 .4",
    ),
    Study(
        "string-objects", "odd one out by layer and noise, strings of (8, 3, 2, 4)", 80,
        f"{RUN} network-alignment",
        "rhm --L 4 --width 96 --steps 8000",
        "rhm --v 4 --m 2 --L 2 --steps 4 --width 8 --objects 40 --n-readout 40 --t .1 .8 "
        "--max-triplets 400 --probe-width 2",
    ),
    Study(
        "level-order", "the order in which levels are learned, L = 5", 80,
        f"{RUN} network-composition",
        "--parts levels --L 5 --level-steps 3000 --level-seeds 4",
        "--parts levels --v 4 --m 2 --L 2 --level-steps 4 --level-seeds 2",
    ),
)  # fmt: skip
"""Every study, the one of most worth first; those that were added last stand last.

Every experiment on networks is here, and every form of it but those of :data:`LEFT_OUT`.
"""

LEFT_OUT = {
    "own": "asks about a network of the user's",
    "catalogue": "asks about published weights, on a folder of images",
    "digits": "1,797 images of 8 x 8 pixels gain nothing from an accelerator; their results are "
    "those of two processors",
    "fashion": 'the study "fashion" asks the same of networks that are trained once for all',
}
"""Forms (subcommands) of experiments that no study runs, with the reason."""
