"""Changed nodes of derivation trees, on the models of the phase transition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr
from contract import GIVEN, Case
from contract_cases.phase_transition import DATA, GRAMMAR, OWN, PROCESSES, learned, memory, network

from hierdiff import EpsilonNoise, MaskingNoise
from hierdiff.noise import NoiseProcess
from hierdiff.sims import SimulatedModel
from hierdiff.sims.changed_tree import ChangedTree
from hierdiff.theory.exact_models import ExactRHM

SMALL = ChangedTree(v=8, m=2, L=3, t=(0.3, 0.7), data=12)
VARIABLES = ("changed",)
MASKING = MaskingNoise(8)


def population(experiment: Any, measured: xr.Dataset) -> xr.Dataset:
    """Density evolution at the two noise levels."""
    found: xr.Dataset = experiment.predict(size=200)
    return found


def chain(noise: NoiseProcess) -> SimulatedModel:
    return SimulatedModel(ExactRHM(GRAMMAR, noise), 4)


def under(
    make: Callable[[Any], Any], data: Any, *noises: NoiseProcess
) -> Callable[[], list[tuple[Any, Any, Any]]]:
    return lambda: [(SMALL, make(noise), data) for noise in noises]


CASES = {
    "exact": Case(
        SMALL, lambda: (ExactRHM(GRAMMAR, MASKING), DATA), VARIABLES, population,
        under(lambda n: ExactRHM(GRAMMAR, n), DATA, *PROCESSES, EpsilonNoise(8)),
    ),
    "exact, given latents": Case(
        SMALL, lambda: (ExactRHM(GRAMMAR, MASKING).given_latents(GIVEN), (GRAMMAR, DATA)),
        VARIABLES, population,
        under(lambda n: ExactRHM(GRAMMAR, n).given_latents(GIVEN), (GRAMMAR, DATA), *PROCESSES),
    ),
    "chain": Case(
        SMALL, lambda: (chain(MASKING), (GRAMMAR, DATA)), VARIABLES, population,
        under(chain, (GRAMMAR, DATA), *PROCESSES),
    ),
    "fitted": Case(
        SMALL, lambda: (memory(MASKING), OWN), VARIABLES, population,
        under(memory, OWN, *PROCESSES),
    ),
    "fitted, grammar": Case(
        SMALL, lambda: (learned(MASKING), (GRAMMAR, DATA)), VARIABLES, population,
        under(learned, (GRAMMAR, DATA), *PROCESSES),
    ),
    "network": Case(
        SMALL, lambda: (network(MASKING), (GRAMMAR, DATA)), VARIABLES, population,
        under(network, (GRAMMAR, DATA), *PROCESSES),
    ),
}  # fmt: skip
