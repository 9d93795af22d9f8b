"""The phase transition on exact, finite-step, memorising and trained models of one grammar."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from contract import GIVEN, Case

from hierdiff import RHM, EpsilonNoise, GaussianNoise, LowRankMixture, MaskingNoise, UniformNoise
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.pcfg import PCFG
from hierdiff.noise import NoiseProcess
from hierdiff.sims import EmpiricalModel, LearnedGrammar, PhaseTransition, SimulatedModel
from hierdiff.theory.exact_models import ExactIsing, ExactPCFG, ExactRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.networks.tree_unet import tree_unet

GRAMMAR = RHM(8, 2, 2, 3).draw(0)
DATA = GRAMMAR.sample(12, 1)
SMALL = PhaseTransition(v=8, m=2, L=3, noise="masking", levels=4, refine=0)
VARIABLES = ("belief", "retention")


def population(experiment: Any, measured: xr.Dataset) -> xr.Dataset:
    """Density evolution at the measured noise levels."""
    found: xr.Dataset = experiment.predict("population", measured.t.values, size=200, copies=2)
    return found


def network(noise: NoiseProcess) -> NetworkModel:
    torch.manual_seed(0)
    return symbol_model(tree_unet(GRAMMAR, noise, width=8), noise, num_steps=4)


def memory(noise: NoiseProcess) -> EmpiricalModel:
    return EmpiricalModel(GRAMMAR.sample(60, 2).leaves, noise)


def learned(noise: NoiseProcess) -> LearnedGrammar:
    """A grammar learned from strings alone."""
    return LearnedGrammar.fit(GRAMMAR.sample(400, 3).leaves, noise, symbols=8)


def under(make: Any, data: Any, *noises: NoiseProcess) -> Any:
    return lambda: [(replace(SMALL, noise=n.name), make(n), data) for n in noises]


KNOWN = np.unique(GRAMMAR.sample(60, 2).leaves, axis=0)[:12]
OWN = (GRAMMAR, GRAMMAR.parse(KNOWN))
PROCESSES = (UniformNoise(8), GaussianNoise(8))
MIXTURE = LowRankMixture.random(6, 2, 3, delta=0.1, seed=0)

VARYING = PCFG.random(8, {2: 1, 3: 1}, 3, 0)
TREES = VARYING.sample(12, 1, length=16)

CHAINS = IsingChains.by_coupling(6, J=1.0)


def of_chains(noise: NoiseProcess) -> tuple[ExactIsing, Any]:
    """Spins with their classes, and what reads the class of a sample."""
    model = ExactIsing(CHAINS, noise)
    x0, labels = CHAINS.sample(24, 1)
    x0 = CHAINS.vectors(x0) if noise.v is None else x0
    return model, (x0, labels, model.classify)


CASES = {
    "exact, varying trees": Case(
        SMALL, lambda: (ExactPCFG(VARYING, MaskingNoise(8)), TREES), VARIABLES, population,
        under(lambda n: ExactPCFG(VARYING, n), TREES, *PROCESSES),
    ),
    "exact": Case(
        SMALL, lambda: (ExactRHM(GRAMMAR, MaskingNoise(8)), DATA), VARIABLES, population,
        under(lambda n: ExactRHM(GRAMMAR, n), DATA, *PROCESSES, EpsilonNoise(8)),
    ),
    "exact, epsilon": Case(
        replace(SMALL, noise="epsilon"), lambda: (ExactRHM(GRAMMAR, EpsilonNoise(8)), DATA),
        VARIABLES, lambda e, ds: e.predict(t=ds.t.values),
    ),
    "exact, given latents": Case(
        SMALL, lambda: (ExactRHM(GRAMMAR, MaskingNoise(8)).given_latents(GIVEN), (GRAMMAR, DATA)),
        VARIABLES, population,
        under(lambda n: ExactRHM(GRAMMAR, n).given_latents(GIVEN), (GRAMMAR, DATA), *PROCESSES),
    ),
    "chain": Case(
        SMALL, lambda: (SimulatedModel(ExactRHM(GRAMMAR, MaskingNoise(8)), 4), (GRAMMAR, DATA)),
        VARIABLES, population,
        under(lambda n: SimulatedModel(ExactRHM(GRAMMAR, n), 4), (GRAMMAR, DATA), *PROCESSES),
    ),
    # a memorising model knows its own data only, so those are what it is given
    "fitted": Case(
        SMALL, lambda: (memory(MaskingNoise(8)), OWN), VARIABLES, population,
        under(memory, OWN, *PROCESSES),
    ),
    "fitted, grammar": Case(
        SMALL, lambda: (learned(MaskingNoise(8)), (GRAMMAR, DATA)), VARIABLES, population,
        under(learned, (GRAMMAR, DATA), *PROCESSES),
    ),
    "exact, chains": Case(
        SMALL, lambda: of_chains(MaskingNoise(2)), VARIABLES, population,
        lambda: [(replace(SMALL, noise=n.name), *of_chains(n))
                 for n in (UniformNoise(2), GaussianNoise())],
    ),
    "network": Case(
        SMALL, lambda: (network(MaskingNoise(8)), (GRAMMAR, DATA)), VARIABLES, population,
        under(network, (GRAMMAR, DATA), *PROCESSES),
    ),
}  # fmt: skip
