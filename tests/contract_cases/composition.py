"""Truncated denoisers, alone and in the study of composition, on models of one grammar."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from contract import Case

from hierdiff import RHM, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.noise import NoiseProcess
from hierdiff.sims import (
    Composition,
    EmpiricalModel,
    LearnedGrammar,
    SimulatedModel,
    TruncatedDenoisers,
)
from hierdiff.theory import ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.networks.tree_unet import tree_unet

GRAMMAR = RHM(6, 2, 2, 2).draw(0)
SMALL = TruncatedDenoisers(v=6, m=2, L=2, grammars=2, data=16, num_levels=3)
WHOLE = Composition(
    denoiser_v=6, denoiser_m=2, denoiser_L=2, grammars=2, data=16, num_levels=3, v=8,
    multiplicities=(2, 3), heights=(1,), positions=(4, 6), orders=2, parts=("denoisers",),
)  # fmt: skip
VARIABLES = ("validity", "right", "gap")


def law(experiment: Any, _: Any) -> Any:
    return experiment.predict()


def network(noise: NoiseProcess) -> NetworkModel:
    torch.manual_seed(0)
    return symbol_model(tree_unet(GRAMMAR, noise, width=8), noise, num_steps=4)


def chain(noise: NoiseProcess) -> SimulatedModel:
    return SimulatedModel(ExactRHM(GRAMMAR, noise), 4)


def memory(noise: NoiseProcess) -> EmpiricalModel:
    # of every string of the language: of fewer, masked data may come from none of them
    return EmpiricalModel(np.unique(GRAMMAR.sample(2000, 2).leaves, axis=0), noise)


def learned(noise: NoiseProcess) -> LearnedGrammar:
    """A grammar learned from so few strings that some of its symbols are wrong."""
    return LearnedGrammar.fit(GRAMMAR.sample(12, 3).leaves, noise, symbols=6)


def under(make: Any) -> Any:
    processes = (UniformNoise(6), GaussianNoise(6))
    return lambda: [(replace(SMALL, noise=n.name), make(n), GRAMMAR) for n in processes]


CASES = {
    "exact": Case(
        SMALL, lambda: (ExactRHM(GRAMMAR, MaskingNoise(6)), GRAMMAR), VARIABLES, law
    ),
    "exact, given latents": Case(
        SMALL,
        lambda: (ExactRHM(GRAMMAR, MaskingNoise(6)).given_latents({(1, 0): [0, 1, 0, 0, 0, 0.5]}),
                 GRAMMAR),
        VARIABLES, law,
    ),
    "exact, study of three": Case(
        WHOLE, lambda: (ExactRHM(GRAMMAR, MaskingNoise(6)), GRAMMAR), VARIABLES, law
    ),
    "chain": Case(SMALL, lambda: (chain(MaskingNoise(6)), GRAMMAR), VARIABLES, law, under(chain)),
    "fitted": Case(
        SMALL, lambda: (memory(MaskingNoise(6)), GRAMMAR), VARIABLES, law
    ),
    "fitted, grammar": Case(
        SMALL, lambda: (learned(MaskingNoise(6)), GRAMMAR), VARIABLES, law, under(learned)
    ),
    "network": Case(
        SMALL, lambda: (network(MaskingNoise(6)), GRAMMAR), VARIABLES, law, under(network)
    ),
}  # fmt: skip
