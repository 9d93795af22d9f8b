r"""Images of the Random Hierarchy Model: the latents of every level are known.

A derivation with four children per node is a quad-tree.  Its leaves are drawn as patches, leaf
symbol b as the template :math:`T_b` [channels, P, P].  Under Gaussian noise in pixel space the
evidence of a patch for its symbol is

.. math:: \log\psi(b) = \frac{\sqrt{\bar\alpha}}{1 - \bar\alpha} \langle x_{patch}, T_b \rangle
   - \frac{\bar\alpha}{2 (1 - \bar\alpha)} |T_b|^2,

so belief propagation gives the exact posterior of every level, and with it the exact denoiser and
exact samples of the *pixels*, at any size.

``EmissionImages`` draws Gaussian emissions :math:`x_i` [leaves, v] instead of symbols.  The patches
of all symbols that share a place are orthonormal, so the drawing is an isometry R,

.. math:: \text{image} = R x = \sum_i \sum_b x_{ib} T_b, \qquad R^T R = 1,

and the exact errors and densities of the emissions are those of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    count,
    frozen,
    integers,
    memory,
    reals,
    snr_of,
    symbols_of,
    whole,
)
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = [
    "EmissionImages",
    "ImageSample",
    "TreeImages",
    "frequency_templates",
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


# ------------------------------------------------------------------------- drawings of emissions


@checked(symbols=partial(whole, low=1, high=2**10), patch=partial(whole, low=1, high=2**6))
def frequency_templates(symbols: int, patch: int, seed: Seed) -> Array:
    """Orthonormal grey patches of two kinds: slow ones for shapes, fast ones for textures.

    Parameters
    ----------
    symbols : int
        v, patches of each kind; at most half of the pixels of a patch.
    patch : int
        P, pixels on a side.
    seed : Seed
        Rotates the patches of each kind among themselves.

    Returns
    -------
    array [2, symbols, 1, P, P]
        Of the v cosines of lowest and the v of highest frequency.

    Raises
    ------
    InvalidParameter
        If a patch has too few pixels.

    Notes
    -----
    Validity: a projection on the lowest v frequencies removes the second kind and keeps the first.

    Examples
    --------
    >>> T = frequency_templates(6, 4, seed=0).reshape(12, 16)
    >>> np.allclose(T @ T.T, np.eye(12))
    True
    """
    if 2 * symbols > patch**2:
        raise InvalidParameter(
            f"{symbols} symbols of two kinds need 2 x {symbols} pixels; a patch has {patch**2}, "
            "give a larger patch"
        )
    k = np.arange(patch)
    waves = np.cos(np.pi * np.outer(k, k + 0.5) / patch)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    both = np.einsum("iy,jx->ijyx", waves, waves).reshape(patch**2, patch**2)
    order = np.lexsort((np.tile(k, patch), np.add.outer(k, k).ravel()))
    rng, found = generator(seed), []
    for rows in (order[:symbols], order[-symbols:]):
        turn = np.linalg.qr(rng.standard_normal((symbols, symbols)))[0]
        found.append(turn @ both[rows])
    return np.stack(found).reshape(2, symbols, 1, patch, patch)


@dataclass(frozen=True, eq=False)
class EmissionImages:
    """Gaussian emissions drawn as images by orthonormal patches.

    Parameters
    ----------
    templates : array [kinds, v, channels, P, P]
        Orthonormal, all kinds together.
    kind, row, column : int array [leaves]
        Templates of each leaf, and its place; leaves of one kind have different places.
    side : int
        Patches on a side of the image.

    Raises
    ------
    InvalidParameter
        If templates are not orthonormal, or two leaves are drawn over each other.

    Notes
    -----
    Validity: an isometry, whatever the law of the emissions.  A network sees a patch as channels,
    [n, channels P P, side, side]; :meth:`picture` puts the pixels in their places.

    Examples
    --------
    >>> T = frequency_templates(2, 2, seed=0)
    >>> canvas = EmissionImages(T, [0, 1], [0, 0], [0, 1], side=2)
    >>> x = np.random.default_rng(1).standard_normal((3, 2, 2))
    >>> canvas.render(x).shape, canvas.picture(canvas.render(x)).shape
    ((3, 4, 2, 2), (3, 1, 4, 4))
    >>> np.allclose(canvas.read(canvas.render(x)), x, atol=1e-6)
    True
    """

    templates: Array
    kind: Array
    row: Array
    column: Array
    side: int

    def __post_init__(self) -> None:
        check_fields(self, side=partial(whole, low=1, high=2**12))
        T = reals("templates", self.templates, ndim=5, least=1)
        flat = T.reshape(T.shape[0] * T.shape[1], -1)
        if T.shape[3] != T.shape[4] or np.abs(flat @ flat.T - np.eye(len(flat))).max() > 1e-8:
            raise InvalidParameter(
                f"templates of shape {T.shape} must be square and orthonormal, all kinds together"
            )
        leaves = len(np.atleast_1d(self.kind))
        for name, top in (("kind", len(T)), ("row", self.side), ("column", self.side)):
            found = integers(name, getattr(self, name), 0, top - 1, shape=(leaves,))
            object.__setattr__(self, name, frozen(found.astype(np.intp)))
        used = np.stack([self.kind, self.row, self.column])
        if len(np.unique(used, axis=1).T) < leaves:
            raise InvalidParameter("two leaves of one kind have one place; give each its own")
        object.__setattr__(self, "templates", frozen(T))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels of a network's input, with a patch as channels, and patches on the sides."""
        return int(np.prod(self.templates.shape[2:])), self.side, self.side

    def _flat(self) -> Array:
        kinds, v = self.templates.shape[:2]
        return np.asarray(self.templates.reshape(kinds, v, -1))

    @checked
    def render(self, emissions: ArrayLike) -> NDArray[np.float32]:
        """Images [n, channels P P, side, side] of emissions [n, leaves, v]."""
        v = self.templates.shape[1]
        x = reals("emissions", emissions, shape=(None, len(self.kind), v))
        memory(f"{len(x)} images of shape {self.shape}", 16.0 * len(x) * np.prod(self.shape))
        out = np.zeros((len(x), self.side, self.side, self.shape[0]))
        for kind, T in enumerate(self._flat()):
            own = self.kind == kind
            out[:, self.row[own], self.column[own]] += x[:, own] @ T
        return np.ascontiguousarray(out.transpose(0, 3, 1, 2), np.float32)

    @checked
    def read(self, images: ArrayLike) -> Array:
        """Emissions [n, leaves, v]: the adjoint of :meth:`render`, also of noise in the pixels."""
        x = reals("images", images, shape=(None, *self.shape)).transpose(0, 2, 3, 1)
        out = np.empty((len(x), len(self.kind), self.templates.shape[1]))
        for kind, T in enumerate(self._flat()):
            own = self.kind == kind
            out[:, own] = x[:, self.row[own], self.column[own]] @ T.T
        return out

    @checked
    def picture(self, images: ArrayLike) -> Array:
        """Pixels [n, channels, height, width] of images [n, channels P P, side, side]."""
        x = reals("images", images, shape=(None, *self.shape))
        channels, P = self.templates.shape[2:4]
        parts = x.reshape(len(x), channels, P, P, self.side, self.side)
        out = parts.transpose(0, 1, 4, 2, 5, 3)
        return np.asarray(out.reshape(len(x), channels, self.side * P, self.side * P))
