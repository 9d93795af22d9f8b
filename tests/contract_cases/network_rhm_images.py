"""Rendered grammars: the exact law in pixels, and models in place of the trained network."""

from __future__ import annotations

import torch
from contract import Case
from torch import Tensor, nn

from hierdiff.noise import GaussianNoise
from hierdiff.theory.exact_models import ExactImages
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.diffusion.schedules import LogSNR
from hierdiff.validation.experiments.rhm_images import ExactDenoiser, ImageGrammar, RHMImages

SMALL = RHMImages(ImageGrammar(v=3, m=2, L=1, colours=1), t=(0.3, 0.6), data=20)
EXACT = ExactImages(SMALL.data_model, SMALL.noise)
VARIABLES = ("belief", "retention")


class Tiny(nn.Module):
    """A network that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        found: Tensor = self.inner(x)
        return found


def chain(noise: GaussianNoise) -> NetworkModel:
    exact = ExactDenoiser(ExactImages(SMALL.data_model, noise))
    return NetworkModel(
        exact, noise, "x0", noise_conditioning=LogSNR(), sampler=Ancestral(4)
    )  # fmt: skip


CASES = {
    "exact": Case(
        SMALL, lambda: (EXACT, None), VARIABLES,
        noises=lambda: [(SMALL, ExactImages(SMALL.data_model, GaussianNoise()), None)],
    ),
    "chain": Case(
        SMALL, lambda: (chain(SMALL.noise), None), VARIABLES,
        noises=lambda: [(SMALL, chain(GaussianNoise()), None)],
    ),
    "network": Case(
        SMALL, lambda: (NetworkModel(Tiny(), SMALL.noise, "eps", sampler=Ancestral(4)), None),
        VARIABLES,
    ),
}  # fmt: skip
CANNOT = {"fitted": "the memorising and the fitted models take vectors, and these data are images"}
