"""The alignment of networks: exact beliefs on its objects, and models in place of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from contract import Case

from hierdiff.noise import GaussianNoise, NoiseProcess, UniformNoise
from hierdiff.sims import EmpiricalModel, SimulatedModel
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.experiments.alignment import GrammarObjects, NetworkAlignment
from hierdiff.validation.networks.tree_unet import tree_unet

SMALL = NetworkAlignment(
    GrammarObjects(v=8, m=2, L=2, objects=30, n_readout=60), t=(0.3, 0.6), max_triplets=200,
    probe_width=0,
)  # fmt: skip
GRAMMAR = SMALL.grammar
VARIABLES = ("accuracy", "label_only", "ceiling")
TRAINING = GRAMMAR.sample(60, 3).leaves


def network(noise: NoiseProcess) -> NetworkModel:
    torch.manual_seed(0)
    return symbol_model(tree_unet(GRAMMAR, noise, width=8, conditional=True), noise)


def under(make: Callable[[NoiseProcess], Any]) -> Case:
    return Case(
        SMALL, lambda: (make(GaussianNoise(8)), None), VARIABLES,
        noises=lambda: [(SMALL, make(UniformNoise(8)), None)],
    )  # fmt: skip


CASES = {
    "exact": under(lambda n: ExactRHM(GRAMMAR, n)),
    "chain": under(lambda n: SimulatedModel(ExactRHM(GRAMMAR, n), 4)),
    "fitted": under(lambda n: EmpiricalModel(TRAINING, n)),
    "network": under(network),
}
