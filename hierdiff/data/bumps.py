r"""Images of one Gaussian bump: two labels, x and y, for conditional models.

===============  ==========================================================================
symbol           meaning
===============  ==========================================================================
x, y             label: centre of the bump in pixels, x along columns, y along rows
d_x, d_y         spacing of the labels; unequal spacings make one coordinate the rarer one
sigma            width of the bump in pixels
===============  ==========================================================================

.. math:: I(u, w) = \exp\Big(-\frac{(u - x)^2 + (w - y)^2}{2 \sigma^2}\Big)
   \text{ (light on dark)}, \qquad 1 - I \text{ (dark on light)}

Pixel (w, u), row and column, stands at height w and place u; intensities lie in [0, 1].  The sum of
two stripes, :math:`\tfrac12 (e^{-(u-x)^2/2\sigma^2} + e^{-(w-y)^2/2\sigma^2})`, is the additive
counterpart of the bump, which is a product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    count,
    finite_reals,
    memory,
    number,
    reals,
    sound,
)
from hierdiff.contracts import LabelledData
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = ["Bumps", "Region"]

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A rectangle of labels, its lower ends in and its upper ends out.

    Parameters
    ----------
    x, y : (float, float)
        Ends of the two intervals; the default takes in everything, so one of them alone is a strip.

    Raises
    ------
    InvalidParameter
        If an interval is empty.

    Notes
    -----
    Validity: labels in pixels.

    Examples
    --------
    >>> Region(x=(13, 19), y=(13, 19)).holds([[13, 14], [19, 14], [3, 14]]).tolist()
    [True, False, False]
    """

    x: tuple[float, float] = (-math.inf, math.inf)
    y: tuple[float, float] = (-math.inf, math.inf)

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            ends = reals(name, getattr(self, name), infinite=True, shape=(2,))
            low, high = float(ends[0]), float(ends[1])
            object.__setattr__(self, name, (low, high))
            if not low < high:
                raise InvalidParameter(
                    f"{name} = ({low}, {high}) is an empty interval; give (low, high), low < high"
                )

    @checked
    def holds(self, labels: ArrayLike) -> BoolArray:
        """Say which labels [n, 2] lie inside.

        Raises
        ------
        InvalidParameter
            If the labels have another shape or are not finite.
        """
        x, y = _checked_labels(labels).T
        inside = (x >= self.x[0]) & (x < self.x[1]) & (y >= self.y[0]) & (y < self.y[1])
        return np.asarray(inside)


def _checked_labels(labels: ArrayLike) -> FloatArray:
    found = finite_reals("labels", labels)
    if found.ndim != 2 or found.shape[1] != 2:
        raise InvalidParameter(
            f"labels have shape {found.shape}; give finite numbers [n, 2], x and y in pixels"
        )
    return found


def _real_type(name: str, dtype: Any) -> np.dtype[Any]:
    """A floating-point type."""
    found: np.dtype[Any]
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind != "f":
        words = " ".join(str(dtype).split())[:60]
        raise InvalidParameter(
            f"{name} = {words} holds no fractions; give np.float64 or np.float32"
        )
    return found


@dataclass(frozen=True)
class Bumps:
    """The data set: a grid of labels, their images, and what is held out.

    Parameters
    ----------
    size : int
        Pixels per side.
    sigma : float
        Width of the bump, in pixels.
    d_x, d_y : float
        Spacing of the labels along x and y; labels are margin, margin + d, ... below size - margin.
    dark : bool
        Dark bump on light ground, or light on dark.
    margin : float
        Distance of the first labels from the edge.
    kind : {"bump", "stripes"}
        One bump, or the sum of a vertical and a horizontal stripe.
    held_out : tuple of Region
        Labels inside any of them are no training labels.

    Raises
    ------
    InvalidParameter
        If a number is out of range, or no label is left.

    Notes
    -----
    Validity: images are sampled at pixel centres, not integrated over pixels.  The intensity and
    the width of arXiv 2402.03305 could not be confirmed; dark on light with sigma = 1 is that of
    the authors' public code of a later paper, on 28 pixels.

    References
    ----------
    Liang et al., arXiv 2402.03305 (phases of learning), 2408.13256 (stripes, held-out regions).

    Examples
    --------
    >>> bumps = Bumps(d_x=4, d_y=8, held_out=(Region(x=(13, 19), y=(13, 19)),))
    >>> bumps.labels.shape, bumps.unseen.tolist()
    ((31, 2), [[16.0, 16.0]])
    >>> bumps.images([[16, 8]]).shape
    (1, 32, 32)
    """

    size: int = 32
    sigma: float = 1.0
    d_x: float = 1.0
    d_y: float = 1.0
    dark: bool = True
    margin: float = 0.0
    kind: Literal["bump", "stripes"] = "bump"
    held_out: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        length = partial(number, above=0)
        check_fields(
            self, size=count, sigma=length, d_x=length, d_y=length, margin=partial(number, low=0),
        )  # fmt: skip
        if not 1e-100 <= self.sigma <= 1e100:  # its square divides
            raise InvalidParameter(f"sigma = {self.sigma} must be from 1e-100 to 1e100, in pixels")
        if not 0 <= self.margin < self.size / 2:
            raise InvalidParameter(
                f"margin = {self.margin} must be >= 0 and below half of size = {self.size}"
            )
        memory(f"size = {self.size} with d_x = {self.d_x} and d_y = {self.d_y}", 64.0 * self._count)
        if self.kind not in ("bump", "stripes"):
            raise InvalidParameter(f"kind = {self.kind!r} is not known; use 'bump' or 'stripes'")
        if not len(self.labels):
            raise InvalidParameter(
                f"held_out = {self.held_out} holds all {len(self.grid)} labels; leave some out"
            )

    @property
    def _count(self) -> float:
        """Number of labels, roughly, before there are any."""
        width = float(self.size)
        return (width / self.d_x + 1) * (width / self.d_y + 1)

    def _positions(self, step: float) -> FloatArray:
        count = math.ceil(round((self.size - 2 * self.margin) / step, 9))
        return np.asarray(self.margin + step * np.arange(count), dtype=np.float64)

    @property
    def x(self) -> FloatArray:
        """Positions along x, increasing."""
        return self._positions(self.d_x)

    @property
    def y(self) -> FloatArray:
        """Positions along y, increasing."""
        return self._positions(self.d_y)

    @property
    def grid(self) -> FloatArray:
        """All labels [len(x) * len(y), 2], y fastest."""
        x, y = np.meshgrid(self.x, self.y, indexing="ij")
        return np.stack([x.ravel(), y.ravel()], axis=1)

    @property
    def _hidden(self) -> BoolArray:
        hidden = np.zeros(len(self.grid), dtype=bool)
        for region in self.held_out:
            hidden |= region.holds(self.grid)
        return hidden

    @property
    def labels(self) -> FloatArray:
        """Training labels [n, 2]."""
        return self.grid[~self._hidden]

    @property
    def unseen(self) -> FloatArray:
        """Held-out labels [n, 2]."""
        return self.grid[self._hidden]

    @checked(dtype=_real_type)
    @sound
    def images(self, labels: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[np.floating]:
        r"""Draw the images of labels.

        Parameters
        ----------
        labels : array [n, 2]
            x and y in pixels; need not lie on the grid.
        dtype : dtype
            Of the result, a floating-point type.

        Returns
        -------
        array [n, size, size]
            Rows (y), then columns (x); intensities in [0, 1].

        Raises
        ------
        InvalidParameter
            If the labels have another shape or are not finite, or the type holds no fractions.

        Notes
        -----
        Validity: a centre outside of the image draws what reaches into it.
        """
        centres = _checked_labels(labels)
        memory(f"{len(centres)} images of size {self.size}", 24.0 * len(centres) * self.size**2)
        pixels = np.arange(self.size)
        across, down = (
            np.exp(-((pixels - centres[:, i, None]) ** 2) / (2 * self.sigma**2)) for i in (0, 1)
        )
        across, down = across[:, None, :], down[:, :, None]
        light = down * across if self.kind == "bump" else (down + across) / 2
        return np.asarray(1 - light if self.dark else light, dtype=dtype)

    @checked(n=count)
    def sample(self, n: int, seed: Seed, weights: ArrayLike | None = None) -> LabelledData:
        """Draw training data.

        Parameters
        ----------
        n : int
            Number of data.
        seed : Seed
            Source of randomness.
        weights : array [len(labels)], optional
            Relative frequency of every training label, for skewed data (default all equal).

        Returns
        -------
        images : array [n, size, size]
        labels : array [n, 2]

        Raises
        ------
        InvalidParameter
            If ``n`` is no positive integer, or the weights are no frequencies.

        Notes
        -----
        Validity: independent draws with replacement; ``images(labels)`` is the whole set, once.

        Examples
        --------
        >>> images, labels = Bumps(d_x=8, d_y=8).sample(3, seed=0)
        >>> images.shape, bool(np.all(labels % 8 == 0))
        ((3, 32, 32), True)
        """
        memory(f"n = {n} images of size {self.size}", 32.0 * n * self.size**2)
        labels, rng = self.labels, generator(seed)
        frequency = None
        if weights is not None:
            given = reals("weights", weights)
            if given.shape != (len(labels),) or given.min() < 0 or not 0 < given.sum() < np.inf:
                raise InvalidParameter(
                    f"weights of shape {given.shape} must be {len(labels)} numbers >= 0, one per "
                    "training label, not all zero"
                )
            frequency = given / given.sum()
        chosen = labels[rng.choice(len(labels), size=n, p=frequency)]
        return LabelledData(self.images(chosen), chosen)
