"""Theory-first simulation of what diffusion models know about the structure of their data.

The names of the field stand here; the mathematics in :mod:`hierdiff.theory`, experiments in
:mod:`hierdiff.sims`.
"""

from hierdiff import _moved
from hierdiff.contracts import DiffusionModel
from hierdiff.grammar import RHM, Derivations, Grammar
from hierdiff.mixture import LowRankMixture
from hierdiff.noise import EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise

__version__ = "0.1.0"

_moved.install()

__all__ = [
    "RHM",
    "Derivations",
    "DiffusionModel",
    "EpsilonNoise",
    "GaussianNoise",
    "Grammar",
    "LowRankMixture",
    "MaskingNoise",
    "UniformNoise",
]
