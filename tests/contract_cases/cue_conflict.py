"""Cue conflict by exact, finite-step, fitted and trained models of two Gaussian classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from contract import Case
from torch import Tensor, nn

from hierdiff import GaussianNoise, LowRankMixture
from hierdiff.sims import CueConflict, SimulatedModel
from hierdiff.sims.models.fitted import fit_supervised
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.validation.adapter import NetworkModel

SMALL = CueConflict(
    v=4, m=2, L=2, grammars=2, data=8, samples=10, gaussian_data=200, shape_dims=1,
    texture_dims=3, sigma2=(0.1, 1.0), gaussian_samples=2,
)  # fmt: skip
LAM, GAP, SIGN = SMALL.directions
DIM = len(LAM)
NOISE = GaussianNoise()


def mixture() -> LowRankMixture:
    """The two Gaussian classes of the prediction."""
    bases = np.stack([np.eye(DIM)] * 2)
    return LowRankMixture(bases, variances=np.stack([LAM] * 2), means=np.stack([GAP / 2, -GAP / 2]))


def conflict() -> Any:
    """The shape of the first class and the texture of the second."""
    n, rng = 60, np.random.default_rng(0)
    x0 = SIGN * GAP / 2 + np.sqrt(LAM) * rng.standard_normal((n, DIM))
    return x0, np.zeros(n, int), np.ones(n, int)


def fitted() -> ExactMixture:
    x0, labels = mixture().sample(200, 1)
    return ExactMixture(fit_supervised(x0, labels, DIM - 1), NOISE)


class Linear(nn.Module):
    """A linear map of the data, and a vector for every class."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.table = nn.Linear(DIM, DIM), nn.Embedding(2, DIM)

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        found: Tensor = self.map(x) + self.table(label)
        return found


def network() -> NetworkModel:
    torch.manual_seed(0)
    return NetworkModel(Linear(), GaussianNoise(schedule="linear"), "x0", condition=0)


VARIABLES = ("noise_bias", "weight_bias")
CASES = {
    "exact": Case(SMALL, lambda: (ExactMixture(mixture(), NOISE), conflict()), VARIABLES),
    "chain": Case(
        SMALL, lambda: (SimulatedModel(ExactMixture(mixture(), NOISE), 4), conflict()), VARIABLES
    ),
    "fitted": Case(SMALL, lambda: (fitted(), conflict()), VARIABLES),
    "network": Case(SMALL, lambda: (network(), conflict()), VARIABLES),
}
