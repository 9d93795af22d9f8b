"""Alignment on exact, finite-step, memorising and trained models of one grammar."""

from __future__ import annotations

from typing import Any

import torch
from contract import GIVEN, Case

from hierdiff import RHM, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.noise import NoiseProcess
from hierdiff.sims import Alignment, EmpiricalModel, LearnedGrammar, SimulatedModel
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.networks.tree_unet import tree_unet

GRAMMAR = RHM(8, 2, 2, 3).draw(0)
DATA = GRAMMAR.sample(30, 1)
SMALL = Alignment(
    m=2, L=3, weights=(1.0, 0.5, 0.25, 0.1), objects=30, triplets=200, grammars=2, t=(0.3, 0.6),
    ties="shared", n_readout=100,
)  # fmt: skip
VARIABLES = ("accuracy", "label_only", "ceiling")
PROCESSES: tuple[NoiseProcess, ...] = (MaskingNoise(8), UniformNoise(8))
FIRST = GaussianNoise(8)
# a memorising model knows its own data only, so those are what it is given
TRAINING = GRAMMAR.sample(60, 2).leaves
OWN = GRAMMAR.parse(TRAINING[:30])


def network(noise: NoiseProcess) -> NetworkModel:
    torch.manual_seed(0)
    return symbol_model(tree_unet(GRAMMAR, noise, width=8, conditional=True), noise, num_steps=4)


def learned(noise: NoiseProcess) -> LearnedGrammar:
    """A grammar learned from strings with their classes, which the responses are given."""
    drawn = GRAMMAR.sample(400, 3)
    return LearnedGrammar.fit(drawn.leaves, noise, symbols=8, labels=drawn.labels)


def under(make: Any, data: Any, processes: tuple[NoiseProcess, ...] = PROCESSES) -> Case:
    return Case(
        SMALL, lambda: (make(FIRST), data), VARIABLES,
        noises=lambda: [(SMALL, make(n), data) for n in processes],
    )  # fmt: skip


CASES = {
    "exact": under(lambda n: ExactRHM(GRAMMAR, n), DATA),
    "exact, given latents": under(
        lambda n: ExactRHM(GRAMMAR, n).given_latents(GIVEN), (GRAMMAR, DATA)
    ),
    "chain": under(lambda n: SimulatedModel(ExactRHM(GRAMMAR, n), 4), (GRAMMAR, DATA)),
    # under masking noise it holds most strings of the readout impossible
    "fitted": under(lambda n: EmpiricalModel(TRAINING, n), (GRAMMAR, OWN), PROCESSES[1:]),
    "fitted, grammar": under(learned, (GRAMMAR, DATA)),
    "network": under(network, (GRAMMAR, DATA)),
}
