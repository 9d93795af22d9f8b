"""The exact diffusion model of images of the Random Hierarchy Model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import check_fields, checked, levels_of
from hierdiff.data.rhm_images import TreeImages
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import Seed
from hierdiff.theory import Posterior, posterior

__all__ = [
    "ExactImages",
]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ExactImages:
    """The exact diffusion model of rendered images.

    Parameters
    ----------
    world : TreeImages
    noise : GaussianNoise
        Of vectors (v=None).

    Notes
    -----
    Validity: exact; a DiffusionModel in pixel space.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> from hierdiff.data.rhm_images import random_templates
    >>> grammar = RHM(v=4, m=2, s=4, L=1).draw(seed=0)
    >>> model = ExactImages(TreeImages(grammar, random_templates(4, 1, 2, seed=0)),
    ...                     GaussianNoise(schedule="linear"))
    >>> model.denoise(np.zeros((2, 1, 4, 4)), 0.5).shape
    (2, 1, 4, 4)
    """

    world: TreeImages
    noise: GaussianNoise

    source = "theory"

    @checked
    def __post_init__(self) -> None:
        check_fields(self)

    @checked
    def posterior(self, x_t: Array, t: ArrayLike) -> Posterior:
        """Beliefs of all levels."""
        if not np.ndim(x_t):
            raise InvalidParameter(f"x_t has shape (); give [n, {self.world.shape}]")
        snr = self.noise.snr(levels_of(t, len(x_t)) * np.ones(len(x_t)))
        return posterior(self.world.grammar, self.world.log_evidence(x_t, snr))

    @checked
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t], pixels of the shape of x_t."""
        beliefs = self.posterior(np.asarray(x_t), t).marginals[-1]
        mean = np.tensordot(beliefs, self.world.templates, axes=(2, 0))
        return self.world._joined(mean)

    @checked
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """An exact draw of x0 given x_t."""
        return self.world.render(self.posterior(np.asarray(x_t), t).sample(seed).leaves)

    @checked
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Beliefs of every level, {"level l": [n, nodes * v]}."""
        marginals = self.posterior(np.asarray(x_t), t).marginals
        return {f"level {l}": p.reshape(len(p), -1) for l, p in enumerate(marginals)}
