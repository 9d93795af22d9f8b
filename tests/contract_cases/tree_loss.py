"""Loss of the tree on exact, finite-step, memorising and untrained models of one grammar."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from contract import Case

from hierdiff import GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.data.pcfg import PCFG
from hierdiff.noise import NoiseProcess, input_channels
from hierdiff.sims import EmpiricalModel, SimulatedModel, TreeLoss
from hierdiff.theory.exact_models import ExactPCFG
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.networks.transformer import SequenceTransformer

GRAMMAR = PCFG.random(6, {2: 1, 3: 1}, 2, 0)
DATA = GRAMMAR.sample(12, 1, length=6)
TRAINING = GRAMMAR.sample(60, 2, length=6).x0
SMALL = TreeLoss(v=6, rules=(0, 1, 1), L=2, grammars=2, data=4, levels=4)
PROCESSES: tuple[NoiseProcess, ...] = (UniformNoise(6), GaussianNoise(6))
VARIABLES = ("symbol",)


def network(noise: NoiseProcess) -> NetworkModel:
    torch.manual_seed(0)
    made = SequenceTransformer(input_channels(noise), 6, leaves=6, width=16, heads=1, layers=1)
    return symbol_model(made, noise, num_steps=4)


def under(make: Any, data: Any) -> Any:
    return lambda: [(replace(SMALL, noise=n.name), make(n), data) for n in PROCESSES]


def law(experiment: TreeLoss, measured: Any) -> Any:
    return experiment.predict(size=40)


CASES = {
    "exact": Case(
        SMALL, lambda: (ExactPCFG(GRAMMAR, MaskingNoise(6)), DATA), (*VARIABLES, "symbol_known"),
        law, under(lambda n: ExactPCFG(GRAMMAR, n), DATA),
    ),
    "chain": Case(
        SMALL, lambda: (SimulatedModel(ExactPCFG(GRAMMAR, MaskingNoise(6)), 3), (GRAMMAR, DATA)),
        VARIABLES, law,
        under(lambda n: SimulatedModel(ExactPCFG(GRAMMAR, n), 3), (GRAMMAR, DATA)),
    ),
    "fitted": Case(
        SMALL, lambda: (EmpiricalModel(TRAINING, MaskingNoise(6)), GRAMMAR.sample(12, 2, length=6)),
        VARIABLES, law,
        under(lambda n: EmpiricalModel(TRAINING, n), GRAMMAR.sample(12, 2, length=6)),
    ),
    "network": Case(
        SMALL, lambda: (network(MaskingNoise(6)), (GRAMMAR, DATA)), VARIABLES, law,
        under(network, (GRAMMAR, DATA)),
    ),
}  # fmt: skip
