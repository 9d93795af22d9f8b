r"""Silhouettes of clothing filled with other clothing: photographs whose cues disagree.

The silhouette of one photograph of Fashion-MNIST, 14 x 14, is filled with the pixels of another,
whose contrast about their mean is k.  Networks and readings are those of
:mod:`hierdiff.validation.experiments.clothing_networks` and
:mod:`hierdiff.validation.experiments.conflict_networks`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import check_fields, checked, listed, number, reals, whole
from hierdiff.data.fashion import FASHION_CLASSES, fashion
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.experiments.clothing_networks import ClothingNetworks, ClothingSizes

__all__ = ["ComposedPhotographs", "compose_silhouettes"]

Array: TypeAlias = NDArray[Any]
Judge: TypeAlias = Callable[[Array, int], Array]
"""Images of a case to classes [n]."""

_COUNT = partial(whole, low=1, high=10**9)
_FEW = partial(whole, low=2, high=1000)  # Student's error needs two networks
_SIGMA2 = partial(listed, rule=partial(number, low=1e-6, high=1e6), rising=True)
_FOREGROUND = -0.8  # of [-1, 1]; the background of the photographs is -1


@dataclass(frozen=True)
class ComposedPhotographs:
    """Networks on photographs of clothing, shown silhouettes filled with other photographs.

    The networks are those of :mod:`hierdiff.validation.experiments.clothing_networks`, which are
    found where that study has trained them.
    """

    amplitudes: tuple[float, ...] = (1.0, 0.3)
    """Contrasts k of the filling about its mean."""
    networks: int = 3
    """Networks of each kind."""
    channels: int = 32
    """Width of the denoising network."""
    steps: int = 600
    """Training steps of every network."""
    batch: int = 32
    """Images per step."""
    data: int = 60
    """Composed photographs per amplitude; half as many of the photographs themselves."""
    samples: int = 20
    """Samples (t, eps) per photograph, shared by the classes."""
    sigma2: tuple[float, ...] = (0.03, 0.3, 3.0)
    """Noise levels that are tried alone."""
    low_pass: tuple[int, ...] = (1, 3, 5)
    """Pixels on a side over which the discriminative network's input is averaged."""

    def __post_init__(self) -> None:
        check_fields(
            self, networks=_FEW, channels=_COUNT, steps=_COUNT, batch=_COUNT,
            # at k = 0 a filling shows nothing of its class
            amplitudes=partial(listed, rule=partial(number, low=1e-3, high=1)),
            data=_COUNT, samples=_COUNT, sigma2=_SIGMA2,
            low_pass=partial(listed, rule=partial(whole, low=1, high=14), least=2),
        )  # fmt: skip

    def scene(self, g: int, seed: int) -> PhotographScene:
        """The photographs of one network."""
        return PhotographScene(self, g, seed)


@checked(amplitude=partial(number, low=0, high=1e6))
def compose_silhouettes(shapes: ArrayLike, textures: ArrayLike, amplitude: float = 1.0) -> Array:
    r"""Silhouettes of some photographs, filled with the nearest pixels of others.

    .. math:: x_{ij} = \bar b + k\,(b_{n(ij)} - \bar b) \text{ inside the silhouette},
        \qquad -1 \text{ outside},

    with n(ij) the pixel of the second photograph's own silhouette that is nearest to ij.

    Parameters
    ----------
    shapes, textures : array [n, 1, height, width]
        In [-1, 1], with a background of -1.
    amplitude : float
        k, contrast of the filling about its mean.

    Returns
    -------
    array [n, 1, height, width]

    Raises
    ------
    InvalidParameter
        If the shapes differ, or a photograph has no foreground.

    Examples
    --------
    >>> a, b = -np.ones((2, 1, 1, 3, 3))
    >>> a[0, 0, :, 0], b[0, 0, 1] = 0.5, [0.0, 0.4, 0.8]
    >>> compose_silhouettes(a, b)[0, 0].tolist()
    [[0.0, -1.0, -1.0], [0.0, -1.0, -1.0], [0.0, -1.0, -1.0]]
    """
    from scipy.ndimage import distance_transform_edt

    a, b = (
        reals(name, x, low=-1e6, high=1e6)
        for name, x in (("shapes", shapes), ("textures", textures))
    )
    if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 1:
        raise InvalidParameter(
            f"shapes of shape {a.shape} and textures of shape {b.shape} must both be [n, 1, h, w]"
        )
    out = np.full(a.shape, -1.0)
    for k, (form, paint) in enumerate(zip(a[:, 0], b[:, 0], strict=True)):
        inside, own = form > _FOREGROUND, paint > _FOREGROUND
        if not inside.any() or not own.any():
            raise InvalidParameter(f"photograph {k} has no foreground; leave it out")
        near = distance_transform_edt(~own, return_distances=False, return_indices=True)
        mean = paint[own].mean()
        filling = mean + amplitude * (paint[tuple(near)] - mean)
        out[k, 0] = np.where(inside, filling, -1.0)
    return out


class PhotographScene:
    """Photographs of clothing, and silhouettes filled with others."""

    def __init__(self, source: ComposedPhotographs, g: int, seed: int) -> None:
        self.source, self.g, self.seed = source, g, seed
        self.test, self.amplitudes = fashion("test", size=14), source.amplitudes
        self.cases = tuple(f"k = {k:g}" for k in source.amplitudes)
        self.n_classes, self.conditions = len(FASHION_CLASSES), 1
        self.pictures = ("photograph", "conflict", "low-passed")

    def trained(self, seed: int, folder: Path | None, device: str) -> tuple[NetworkModel, Judge]:
        s = self.source
        sizes = ClothingSizes(channels=s.channels, batch=s.batch, steps=s.steps, seed=self.seed)
        networks = ClothingNetworks(sizes, folder, device)
        judge = networks.classifier(self.g)

        def answers(images: Array, case: int) -> Array:
            return np.asarray(judge.activations(images)["logits"].argmax(axis=1))

        return networks.network(self.g), answers

    def _rows(self, labels: Array, rng: np.random.Generator) -> Array:
        """A test photograph of each class."""
        return np.array([rng.choice(np.flatnonzero(self.test.labels == k)) for k in labels])

    def conflict(self, case: int, n: int, seed: int) -> tuple[Array, Array, Array]:
        rng = stream(seed, "conflict")
        shapes = rng.integers(self.n_classes, size=n)
        textures = (shapes + rng.integers(1, self.n_classes, size=n)) % self.n_classes
        a, b = (self.test.images[self._rows(x, rng)] for x in (shapes, textures))
        both = compose_silhouettes(a, b, self.amplitudes[case])
        return both.astype(np.float32), shapes, textures

    def agreeing(self, case: int, n: int, seed: int) -> tuple[Array, Array]:
        some = self.test[stream(seed, "agreeing").permutation(len(self.test))[:n]]
        return some.images, some.labels

    def low_passed(self, images: Array, case: int, factor: float) -> Array:
        from scipy.ndimage import uniform_filter

        size = int(factor)
        return np.asarray(uniform_filter(images, (0, 0, size, size), mode="nearest"))

    def exact(self, case: int) -> None:
        return None

    def shown(self, case: int, seed: int) -> Array:
        images, _, _ = self.conflict(case, 1, seed)
        plain, _ = self.agreeing(case, 1, seed)
        return np.concatenate([plain, images, self.low_passed(images, case, 3)])[:, 0]
