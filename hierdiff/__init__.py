"""Theory-first simulation of what diffusion models know about the structure of their data.

The names of the field stand here; the mathematics in :mod:`hierdiff.theory`, experiments in
:mod:`hierdiff.sims`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hierdiff import _moved

if TYPE_CHECKING:
    from hierdiff.citations import cite
    from hierdiff.contracts import DataModel, DiffusionModel, Experiment, NoiseProcess
    from hierdiff.data.derivations import Derivations
    from hierdiff.data.low_rank_mixture import LowRankMixture
    from hierdiff.data.rhm import RHM, Grammar
    from hierdiff.noise import (
        EpsilonNoise,
        GaussianNoise,
        MaskingNoise,
        UniformNoise,
    )
    from hierdiff.registry import experiment
    from hierdiff.sims.run import run
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__version__ = "0.1.0"

_moved.install()

__all__ = [
    "RHM",
    "DataModel",
    "Derivations",
    "DiffusionModel",
    "EpsilonNoise",
    "Experiment",
    "GaussianNoise",
    "Grammar",
    "LowRankMixture",
    "MaskingNoise",
    "NoiseProcess",
    "UniformNoise",
    "cite",
    "experiment",
    "run",
]
