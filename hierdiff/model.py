"""The role that every model plays, exact, simulated or trained."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from numpy.typing import ArrayLike, NDArray

from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed

__all__ = ["DiffusionModel"]

Array = NDArray[Any]


@runtime_checkable
class DiffusionModel(Protocol):
    """A denoiser of data corrupted by a known noise process; posterior means are the currency.

    Attributes
    ----------
    noise : NoiseProcess
        The forward process, and with it the meaning of t in [0, 1].
    source : str
        What answers: "theory", "simulation" or "network".
    """

    @property
    def noise(self) -> NoiseProcess:
        """The forward process."""

    @property
    def source(self) -> str:
        """What answers."""

    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t]: one-hot symbols as [n, leaves, v], vectors as [n, D]."""

    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """A draw of x0 given x_t, in the form of the data."""

    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Named representations of x_t, each [n, width]."""
