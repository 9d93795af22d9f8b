"""Zero-shot classification by exact, finite-step, fitted and trained conditional models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from contract import Case

from hierdiff import RHM, GaussianNoise, LowRankMixture
from hierdiff.data.derivations import Derivations
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.pcfg import PCFG
from hierdiff.sims import Classification, LearnedGrammar, SimulatedModel
from hierdiff.sims.models.fitted import fit_supervised
from hierdiff.theory.exact_models import (
    ExactGaussianRHM,
    ExactIsing,
    ExactMixture,
    ExactPCFG,
    ExactRHM,
)
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.gaussian_rhm import GaussianRHMNetwork
from hierdiff.validation.networks.tree_unet import tree_unet

SMALL = Classification(
    v=4, m=2, L=2, grammars=2, data=16, budgets=(1, 20), independent_budgets=(1, 4), times=(0.2,),
    repeats=2, buckets=4, keep=(2, 1), stages=(10, 20), level_data=4, level_samples=4, strata=8,
    min_scores=5,
)  # fmt: skip
# a network that is not trained learns no weight
PLAIN = replace(SMALL, weightings=("vdm", "snr", "exp"))
GRAMMAR = RHM(4, 2, 2, 2).draw(0)
VARYING = PCFG.random(4, {2: 1, 3: 1}, 2, 0)
EMISSIONS = GaussianRHM(GRAMMAR, 0.42)
CHAINS = IsingChains.by_coupling(6, J=1.0)
MIXTURE = LowRankMixture.random(6, 2, 3, delta=0.3, residual="ambient", seed=0)


def every(draw: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Data of which every class has one at least."""
    x0, labels = draw
    assert set(labels) == set(range(labels.max() + 1))
    return x0, labels


def hard() -> Derivations:
    """Strings and the roots that they come from."""
    data = GRAMMAR.sample(24, 1)
    every((data.x0, data.labels))
    return data


def vectors() -> tuple[np.ndarray, np.ndarray]:
    x0, labels = MIXTURE.sample(30, 1)
    return every((x0, labels))


def learned() -> LearnedGrammar:
    """A grammar learned from strings with their classes."""
    drawn = GRAMMAR.sample(400, 3)
    every((drawn.x0, drawn.labels))
    return LearnedGrammar.fit(drawn.leaves, GaussianNoise(4), symbols=4, labels=drawn.labels)


def spins() -> tuple[np.ndarray, np.ndarray]:
    """Chains of strong and of weak coupling as vectors."""
    x0, labels = CHAINS.sample(24, 1)
    return every((CHAINS.vectors(x0), labels))


def fitted() -> ExactMixture:
    """The supervised fit of a mixture, from samples with labels."""
    x0, labels = MIXTURE.sample(300, 2)
    return ExactMixture(fit_supervised(x0, labels, 2), GaussianNoise())


def symbols() -> NetworkModel:
    torch.manual_seed(0)
    noise = GaussianNoise(4)
    return symbol_model(tree_unet(GRAMMAR, noise, width=8, conditional=True), noise)


VARIABLES = ("accuracy", "independent")
CEILING = (*VARIABLES, "bayes")
CASES = {
    "exact": Case(SMALL, lambda: (ExactRHM(GRAMMAR, GaussianNoise(4)), hard()), VARIABLES),
    "exact, varying trees": Case(
        SMALL, lambda: (ExactPCFG(VARYING, GaussianNoise(4)), VARYING.sample(40, 1, length=5)),
        VARIABLES,
    ),
    "exact, given latents": Case(
        SMALL,
        lambda: (ExactRHM(GRAMMAR, GaussianNoise(4)).given_latents({(1, 0): [0, 0.5, 0, 1.0]}),
                 hard()),
        VARIABLES,
    ),
    "exact, emissions": Case(
        SMALL, lambda: (ExactGaussianRHM(EMISSIONS), EMISSIONS.sample(24, 1)), CEILING
    ),
    "exact, vectors": Case(
        SMALL, lambda: (ExactMixture(MIXTURE, GaussianNoise()), vectors()), VARIABLES
    ),
    "exact, chains": Case(
        SMALL, lambda: (ExactIsing(CHAINS, GaussianNoise()), spins()), VARIABLES
    ),
    "chain": Case(
        SMALL, lambda: (SimulatedModel(ExactRHM(GRAMMAR, GaussianNoise(4)), 4), hard()), VARIABLES
    ),
    "fitted": Case(SMALL, lambda: (fitted(), vectors()), VARIABLES),
    "fitted, grammar": Case(SMALL, lambda: (learned(), hard()), VARIABLES),
    "network": Case(PLAIN, lambda: (symbols(), hard()), VARIABLES),
    "network, emissions": Case(
        PLAIN, lambda: (GaussianRHMNetwork(symbols(), EMISSIONS), EMISSIONS.sample(24, 1)), CEILING
    ),
}  # fmt: skip
