"""Representation on exact, fitted, memorising and trained models of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from contract import Case

from hierdiff import GaussianNoise
from hierdiff.sims import EmpiricalModel, Representation
from hierdiff.sims.models.fitted import fit_supervised
from hierdiff.theory import ExactMixture
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import LogSNR
from hierdiff.validation.networks.vector_mlp import VectorDenoiser

SMALL = Representation(
    rank=2, dim=6, n_train=(60,), sigmas=(0.1, 0.5), seeds=3, test=90, models=("exact",),
    quantities=("snr", "projection"),
)  # fmt: skip
NOISE = GaussianNoise()
X, K = SMALL.mixture.sample(60, 1)
VARIABLES = ("snr", "projection", "ratio", "projection_rise")


def law(experiment: Any, _: Any) -> Any:
    return experiment.predict()


def network() -> NetworkModel:
    torch.manual_seed(0)
    module = VectorDenoiser(SMALL.dim, float((X**2).mean()), width=16, depth=1)
    return NetworkModel(module, NOISE, "x0", noise_conditioning=LogSNR())


CASES = {
    "exact": Case(SMALL, lambda: (ExactMixture(SMALL.mixture, NOISE), (X, K)), VARIABLES, law),
    "exact, linear schedule": Case(
        SMALL, lambda: (ExactMixture(SMALL.mixture, GaussianNoise(schedule="linear")), None),
        VARIABLES, law,
    ),
    "fitted": Case(
        SMALL, lambda: (ExactMixture(fit_supervised(X, K, 2), NOISE), (X, K)), VARIABLES, law
    ),
    "fitted, memorising": Case(
        SMALL, lambda: (EmpiricalModel(np.asarray(X), NOISE), (X, K)), VARIABLES, law
    ),
    "network": Case(SMALL, lambda: (network(), (X, K)), VARIABLES, law),
}  # fmt: skip
CANNOT = {
    "chain": "features are the posterior mean, which a finite reverse chain takes from its model"
}
