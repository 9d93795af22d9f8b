"""Parallel unmasking of exact, finite-step, memorising and untrained masked models."""

from __future__ import annotations

from typing import Any

import torch
from contract import Case

from hierdiff import RHM, MaskingNoise
from hierdiff.sims import EmpiricalModel, LearnedGrammar, ParallelUnmasking, SimulatedModel
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.networks.tree_unet import tree_unet

GRAMMAR = RHM(6, 2, 2, 2).draw(0)
NOISE = MaskingNoise(6)
DATA = GRAMMAR.sample(12, 1).leaves
SMALL = ParallelUnmasking(
    v=6, m=2, L=2, grammars=2, data=8, strings=8, steps=(1, 2, 4), sizes=((2, 2),)
)
VARIABLES = ("divergence",)


def network() -> NetworkModel:
    torch.manual_seed(0)
    return symbol_model(tree_unet(GRAMMAR, NOISE, width=8), NOISE, num_steps=4)


def law(experiment: ParallelUnmasking, measured: Any) -> Any:
    return experiment.predict(grammar=GRAMMAR)


CASES = {
    "exact": Case(SMALL, lambda: (ExactRHM(GRAMMAR, NOISE), DATA), VARIABLES, law),
    "chain": Case(
        SMALL, lambda: (SimulatedModel(ExactRHM(GRAMMAR, NOISE), 3), (GRAMMAR, DATA)), VARIABLES,
        law,
    ),
    "fitted": Case(
        SMALL, lambda: (EmpiricalModel(GRAMMAR.sample(60, 2).leaves, NOISE), (GRAMMAR, DATA)),
        VARIABLES, law,
    ),
    "fitted, grammar": Case(
        SMALL,
        lambda: (LearnedGrammar.fit(GRAMMAR.sample(400, 3).leaves, NOISE, symbols=6),
                 (GRAMMAR, DATA)),
        VARIABLES, law,
    ),
    "network": Case(SMALL, lambda: (network(), (GRAMMAR, DATA)), VARIABLES, law),
}  # fmt: skip
