r"""Images of the Random Hierarchy Model: the latents of every level are known.

A derivation with four children per node is a quad-tree.  Its leaves are drawn as patches, leaf
symbol b as the template :math:`T_b` [channels, P, P].  Under Gaussian noise in pixel space the
evidence of a patch for its symbol is

.. math:: \log\psi(b) = \frac{\sqrt{\bar\alpha}}{1 - \bar\alpha} \langle x_{patch}, T_b \rangle
   - \frac{\bar\alpha}{2 (1 - \bar\alpha)} |T_b|^2,

so belief propagation gives the exact posterior of every level, and with it the exact denoiser and
exact samples of the *pixels*, at any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import check_fields, checked, count, memory, reals, snr_of, symbols_of
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = [
    "ImageSample",
    "TreeImages",
    "random_templates",
]

Array: TypeAlias = NDArray[Any]


@checked
def random_templates(symbols: int, channels: int, patch: int, seed: Seed) -> Array:
    """Random patches of root-mean-square 0.7, one per leaf symbol.

    Parameters
    ----------
    symbols, channels, patch : int
        Sizes.
    seed : Seed

    Returns
    -------
    array [symbols, channels, patch, patch]

    Raises
    ------
    InvalidParameter
        If a size is below one.

    Notes
    -----
    Validity: independent Gaussian pixels, so nothing tells symbols of one parent from others.

    Examples
    --------
    >>> T = random_templates(5, 3, 2, seed=0)
    >>> T.shape, np.sqrt((T**2).mean(axis=(1, 2, 3))).round(12).tolist()
    ((5, 3, 2, 2), [0.7, 0.7, 0.7, 0.7, 0.7])
    """
    if min(symbols, channels, patch) < 1:
        raise InvalidParameter(
            f"symbols = {symbols}, channels = {channels}, patch = {patch} must be at least 1"
        )
    memory(f"a table of {symbols} patches of {channels} x {patch} x {patch} numbers",
           8.0 * symbols * channels * float(patch) ** 2)  # fmt: skip
    T = generator(seed).standard_normal((symbols, channels, patch, patch))
    return np.asarray(0.7 * T / np.sqrt((T**2).mean(axis=(1, 2, 3), keepdims=True)))


class ImageSample(NamedTuple):
    """Images [n, channels, h, w], their classes [n], and the latents of every level, root first."""

    x0: NDArray[np.float32]
    labels: Array
    latents: tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class TreeImages:
    """Images of the strings of a grammar, a data model: every leaf symbol is drawn as a template.

    Parameters
    ----------
    grammar : Grammar
        With four children per node.
    templates : array [v, channels, P, P]
        Patch of every leaf symbol.

    Raises
    ------
    InvalidParameter
        If a node has another number of children, or templates are missing.

    Notes
    -----
    Validity: child j of a node is the quarter (row j // 2, column j % 2) of its square.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=4, L=2).draw(seed=0)
    >>> images = TreeImages(grammar, random_templates(4, 1, 2, seed=0))
    >>> sample = images.sample(3, seed=1)
    >>> sample.x0.shape, bool((images.read(sample.x0) == sample.latents[-1]).all())
    ((3, 1, 8, 8), True)
    """

    grammar: Grammar
    templates: Array

    def __post_init__(self) -> None:
        check_fields(self)
        if set(self.grammar.s) != {4}:
            raise InvalidParameter(
                f"branching {tuple(self.grammar.s)} makes no quad-tree; use s = 4 on every level"
            )
        shape = np.shape(self.templates)
        if len(shape) != 4 or shape[0] != self.grammar.leaf_vocabulary or shape[2] != shape[3]:
            raise InvalidParameter(
                f"templates have shape {shape}; give [{self.grammar.leaf_vocabulary}, channels, P, "
                "P], one square patch per leaf symbol"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels and pixels of an image."""
        side = 2**self.grammar.L * self.templates.shape[2]
        return self.templates.shape[1], side, side

    @property
    def places(self) -> tuple[Array, Array]:
        """Row and column of every leaf in the square of patches."""
        leaf = np.arange(self.grammar.n_leaves)
        row, column = np.zeros_like(leaf), np.zeros_like(leaf)
        for level in range(self.grammar.L):
            quarter = leaf // 4**level % 4
            row += (quarter // 2) << level
            column += (quarter % 2) << level
        return row, column

    @checked(n=count)
    def sample(self, n: int, seed: Seed) -> ImageSample:
        """Images of strings, with their classes and latents, of which the leaves are the last."""
        drawn = self.grammar.sample(n, seed)
        return ImageSample(self.render(drawn.leaves), drawn.levels[0][:, 0], tuple(drawn.levels))

    @checked
    def render(self, leaves: ArrayLike) -> NDArray[np.float32]:
        """Images [n, channels, h, w] of strings [n, leaves]."""
        symbols = symbols_of("leaves", leaves, 0, self.grammar.leaf_vocabulary)
        if symbols.shape[1] != self.grammar.n_leaves:
            raise InvalidParameter(
                f"leaves have shape {symbols.shape}; give [n, {self.grammar.n_leaves}]"
            )
        patches = self.templates[symbols]
        return self._joined(patches).astype(np.float32)

    def _joined(self, patches: Array) -> Array:
        """Images from the patches [n, leaves, channels, P, P]."""
        n, side, P = len(patches), 2**self.grammar.L, patches.shape[-1]
        square = np.empty((n, side, side, *patches.shape[2:]), patches.dtype)
        square[:, self.places[0], self.places[1]] = patches
        return square.transpose(0, 3, 1, 4, 2, 5).reshape(n, -1, side * P, side * P)

    @checked
    def patches(self, images: ArrayLike) -> Array:
        """Patches [n, leaves, channels * P * P] of images."""
        x = reals("images", images)
        if x.shape[1:] != self.shape:
            raise InvalidParameter(f"images have shape {x.shape}; give [n, {self.shape}]")
        side, P = 2**self.grammar.L, self.templates.shape[2]
        square = x.reshape(len(x), self.shape[0], side, P, side, P).transpose(0, 2, 4, 1, 3, 5)
        found = square[:, self.places[0], self.places[1]]
        return np.asarray(found.reshape(len(x), self.grammar.n_leaves, -1))

    def read(self, images: ArrayLike) -> NDArray[np.int64]:
        """Strings whose templates are nearest to the patches."""
        T = self.templates.reshape(len(self.templates), -1)
        match = 2 * self.patches(images) @ T.T - (T**2).sum(axis=1)
        return np.asarray(match.argmax(axis=2), np.int64)

    @checked
    def log_evidence(self, images: ArrayLike, snr: ArrayLike) -> Array:
        """What noisy, variance-preserving patches say of their symbols, [n, leaves, v]."""
        T = self.templates.reshape(len(self.templates), -1)
        x = self.patches(images).astype(float)
        given = snr_of(snr, len(x))
        # above it the square overflows; a noise of 1e-50 changes no symbol
        ratio = np.broadcast_to(np.minimum(given, 1e100), (len(x),))[:, None, None]
        # sqrt(ab) / (1 - ab) = sqrt(snr (1 + snr)), and ab / (1 - ab) = snr
        found = np.sqrt(ratio * (1 + ratio)) * (x @ T.T) - ratio / 2 * (T**2).sum(axis=1)
        return np.asarray(found - found.max(axis=2, keepdims=True))
