r"""Images of one Gaussian bump: a world with two labels, x and y, for conditional models.

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
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff._rules import positive_int
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
        for name, (low, high) in (("x", self.x), ("y", self.y)):
            if not low < high:
                raise InvalidParameter(
                    f"{name} = ({low}, {high}) is an empty interval; give (low, high), low < high"
                )

    def holds(self, labels: ArrayLike) -> BoolArray:
        """Say which labels [n, 2] lie inside."""
        x, y = _checked_labels(labels).T
        inside = (x >= self.x[0]) & (x < self.x[1]) & (y >= self.y[0]) & (y < self.y[1])
        return np.asarray(inside)


def _checked_labels(labels: ArrayLike) -> FloatArray:
    array = np.asarray(labels, dtype=float)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise InvalidParameter(
            f"labels have shape {array.shape}; give finite numbers [n, 2], x and y in pixels"
        )
    return array


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
    Park et al., arXiv 2402.03305 (phases of learning), 2408.13256 (stripes, held-out regions).

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
        positive_int("size", self.size)
        for name in ("sigma", "d_x", "d_y"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise InvalidParameter(f"{name} = {value} must be finite and > 0, in pixels")
        if not 0 <= self.margin < self.size / 2:
            raise InvalidParameter(
                f"margin = {self.margin} must be >= 0 and below half of size = {self.size}"
            )
        if self.kind not in ("bump", "stripes"):
            raise InvalidParameter(f"kind = {self.kind!r} is not known; use 'bump' or 'stripes'")
        if not len(self.labels):
            raise InvalidParameter(
                f"held_out = {self.held_out} holds all {len(self.grid)} labels; leave some out"
            )

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

    def images(self, labels: ArrayLike, dtype: DTypeLike = np.float64) -> NDArray[np.floating]:
        r"""Draw the images of labels.

        Parameters
        ----------
        labels : array [n, 2]
            x and y in pixels; need not lie on the grid.
        dtype : dtype
            Of the result.

        Returns
        -------
        array [n, size, size]
            Rows (y), then columns (x); intensities in [0, 1].

        Raises
        ------
        InvalidParameter
            If the labels have another shape or are not finite.

        Notes
        -----
        Validity: a centre outside of the image draws what reaches into it.
        """
        centres = _checked_labels(labels)
        pixels = np.arange(self.size)
        across, down = (
            np.exp(-((pixels - centres[:, i, None]) ** 2) / (2 * self.sigma**2)) for i in (0, 1)
        )
        across, down = across[:, None, :], down[:, :, None]
        light = down * across if self.kind == "bump" else (down + across) / 2
        return np.asarray(1 - light if self.dark else light, dtype=dtype)

    def sample(
        self, n: int, seed: Seed, weights: ArrayLike | None = None
    ) -> tuple[NDArray[np.floating], FloatArray]:
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
        labels, rng = self.labels, generator(seed)
        frequency = None
        if weights is not None:
            given = np.asarray(weights, dtype=float)
            good = given.shape == (len(labels),) and np.isfinite(given).all()
            if not good or given.min() < 0 or given.sum() == 0:
                raise InvalidParameter(
                    f"weights of shape {given.shape} must be {len(labels)} numbers >= 0, one per "
                    "training label, not all zero"
                )
            frequency = given / given.sum()
        chosen = labels[rng.choice(len(labels), size=positive_int("n", n), p=frequency)]
        return self.images(chosen), chosen
