"""What a generated image shows: how many bumps, and where."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from hierdiff.checks import checked, count, number, reals
from hierdiff.errors import InvalidParameter

__all__ = ["bump_counts", "locate", "location_accuracy"]

FloatArray: TypeAlias = NDArray[np.float64]

_BRIGHTEST = 1e100  # sums of intensities times pixels stay finite


def _images(images: ArrayLike, dark: bool) -> FloatArray:
    array = reals("images", images)
    if array.ndim != 3 or not array.size or np.abs(array).max() > _BRIGHTEST:
        raise InvalidParameter(
            f"images have shape {array.shape}; give numbers [n, rows, columns] around [0, 1]"
        )
    return 1 - array if dark else array


@checked(least=count)
def bump_counts(
    images: ArrayLike, *, dark: bool = True, threshold: float = 0.5, least: int = 3
) -> NDArray[np.intp]:
    """Count the bumps of every image: bright components of at least ``least`` pixels.

    Parameters
    ----------
    images : array [n, rows, columns]
        Intensities around [0, 1].
    dark : bool
        Dark bumps on light ground; they are inverted first.
    threshold : float
        Pixels above it belong to a bump.
    least : int
        Pixels of the smallest bump.

    Returns
    -------
    int array [n]

    Raises
    ------
    InvalidParameter
        If the images are no finite array of that shape.

    Notes
    -----
    Validity: pixels touch along edges, not corners; bumps nearer than about 3 sigma merge.

    Examples
    --------
    >>> from hierdiff.data.bumps import Bumps
    >>> bumps = Bumps(sigma=1.5)
    >>> one, other = bumps.images([[8, 8], [20, 20]])
    >>> bump_counts([one, one + other - 1, np.ones((32, 32))]).tolist()
    [1, 2, 0]
    """
    bright = _images(images, dark) > threshold
    cross = ndimage.generate_binary_structure(2, 1)
    counts = np.zeros(len(bright), dtype=np.intp)
    for i, image in enumerate(bright):
        found, _ = ndimage.label(image, cross)
        counts[i] = np.count_nonzero(np.bincount(found.ravel())[1:] >= least)
    return counts


@checked(threshold=partial(number, low=0))
def locate(images: ArrayLike, *, dark: bool = True, threshold: float = 0.25) -> FloatArray:
    """Centroid of what is brighter than a threshold.

    Parameters
    ----------
    images : array [n, rows, columns]
    dark : bool
        Dark bumps on light ground.
    threshold : float
        Fainter pixels have no weight.

    Returns
    -------
    array [n, 2]
        x and y in pixels; NaN where nothing is bright.

    Raises
    ------
    InvalidParameter
        If the images are no finite array of that shape.

    Notes
    -----
    Validity: one bump, farther from the edge than its visible part is wide.

    Examples
    --------
    >>> from hierdiff.data.bumps import Bumps
    >>> locate(Bumps(sigma=1.5).images([[8, 20.5]])).round(2).tolist()
    [[8.0, 20.5]]
    """
    bright = _images(images, dark)
    weight = np.where(bright > threshold, bright, 0.0)
    total = weight.sum(axis=(1, 2))
    rows, columns = np.arange(weight.shape[1]), np.arange(weight.shape[2])
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (weight.sum(axis=1) @ columns) / total
        y = (weight.sum(axis=2) @ rows) / total
    return np.stack([x, y], axis=1)


@checked(tolerance=partial(number, low=0))
def location_accuracy(
    images: ArrayLike, labels: ArrayLike, *, dark: bool = True, tolerance: float = 1.0
) -> FloatArray:
    """Share of images whose centroid is within a tolerance of the label, in both and in each.

    Parameters
    ----------
    images : array [n, rows, columns]
    labels : array [n, 2]
        x and y that were asked for.
    dark : bool
        Dark bumps on light ground.
    tolerance : float
        In pixels; the error must be smaller.

    Returns
    -------
    array [3]
        Both coordinates, x alone, y alone.  An image without a bump counts as wrong.

    Raises
    ------
    InvalidParameter
        If images and labels do not fit.

    Notes
    -----
    Validity: as :func:`locate`.

    Examples
    --------
    >>> from hierdiff.data.bumps import Bumps
    >>> images = Bumps(sigma=1.5).images([[8, 20], [8, 20]])
    >>> location_accuracy(images, [[8, 20], [8, 23]]).tolist()
    [0.5, 1.0, 0.5]
    """
    found, wanted = locate(images, dark=dark), reals("labels", labels)
    if wanted.shape != found.shape:
        raise InvalidParameter(
            f"labels have shape {wanted.shape} for {len(found)} images; give [n, 2], x and y"
        )
    close = np.abs(found - wanted) < tolerance
    return np.array([close.all(axis=1).mean(), *close.mean(axis=0)])
