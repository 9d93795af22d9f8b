"""The phase transition of networks: the exact law of its grammar, and other models in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from contract import Case

from hierdiff.noise import GaussianNoise, MaskingNoise, NoiseProcess, UniformNoise
from hierdiff.sims import EmpiricalModel, SimulatedModel
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.experiments.phase_transition import GrammarNetwork, NetworkPhaseTransition
from hierdiff.validation.networks.tree_unet import tree_unet

SOURCE = GrammarNetwork(v=8, m=2, L=2, t=(0.2, 0.5), data=16)
SMALL = NetworkPhaseTransition(SOURCE)
GRAMMAR = SMALL.grammar
VARIABLES = ("belief", "retention")
OTHERS: tuple[NoiseProcess, ...] = (MaskingNoise(8), UniformNoise(8))
# the start data are among them, as a memorising model needs under masking noise
TRAINING = GRAMMAR.sample(2000, 3).leaves


def network(noise: NoiseProcess) -> NetworkModel:
    torch.manual_seed(0)
    return symbol_model(tree_unet(GRAMMAR, noise, width=8), noise, num_steps=4)


def under(make: Callable[[NoiseProcess], Any]) -> Case:
    return Case(
        SMALL, lambda: (make(GaussianNoise(8, "linear")), None), VARIABLES,
        noises=lambda: [
            (NetworkPhaseTransition(replace(SOURCE, noise=n.name)), make(n), None) for n in OTHERS
        ],
    )  # fmt: skip


CASES = {
    "exact": under(lambda n: ExactRHM(GRAMMAR, n)),
    "chain": under(lambda n: SimulatedModel(ExactRHM(GRAMMAR, n), 4)),
    "fitted": under(lambda n: EmpiricalModel(TRAINING, n)),
    "network": under(network),
}
