r"""Phases of learning to draw a bump: what is generated, and how labels are represented.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
Z [n, width]   representations, at one noise level and one noise draw
Y [n, 2]       labels of the same points
PR             participation ratio, effective number of directions of Z
RSA            rank correlation of distances in Z, straight or along its manifold, with those in Y
=============  ==============================================================================

A: no structure, several bumps.  B: a disordered manifold, one bump in the wrong place.  C: an
ordered manifold, one bump in the right place.  Dimensions (PR, TwoNN) do not separate B from C, and
neighbourhoods alone take local patches for order; RSA and a held-out regression do separate them.
The readings are those of :mod:`hierdiff.sims.metrics.representation_geometry`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from hierdiff.checks import check_fields, checked, count, number, reals
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed
from hierdiff.sims.metrics.representation_geometry import (
    geodesic_rsa,
    held_out_r2,
    isometric,
    neighbour_ratio,
    participation_ratio,
    rsa,
    two_nn,
)

__all__ = [
    "NETWORK_THRESHOLDS",
    "Phase",
    "PhaseReadout",
    "Thresholds",
    "bump_counts",
    "crossing_time",
    "locate",
    "location_accuracy",
    "phase",
    "phase_of_strings",
    "read_phase",
]

FloatArray: TypeAlias = NDArray[np.float64]
Phase: TypeAlias = Literal["A", "B", "C", "transitional"]

_BRIGHTEST = 1e100  # sums of intensities times pixels stay finite


@dataclass(frozen=True)
class Thresholds:
    """Where the phases end; tuned on synthetic images and representations.

    Notes
    -----
    Validity: of synthetic cases.  In trained networks representations are local where they hold the
    image of the bump, and straight distances saturate: :data:`NETWORK_THRESHOLDS` measures order
    along the manifold instead, by :func:`geodesic_rsa`.
    """

    few_bumps: float = 0.5
    """Phase A below this rate of images with one bump."""
    many_bumps: float = 0.9
    """Phases B and C at or above it."""
    noise_dimension: float = 10.0
    """Noise above this TwoNN dimension ..."""
    noise_rsa: float = 0.1
    """... if also RSA is below this ..."""
    noise_neighbours: float = 0.9
    """... and neighbours' labels are farther apart than this share of random pairs."""
    manifold_dimension: float = 6.0
    """A manifold at or below this TwoNN dimension."""
    misplaced: float = 0.5
    """Phase B below this location accuracy."""
    placed: float = 0.9
    """Phase C at or above it."""
    disordered_rsa: float = 0.3
    """Phase B below this RSA."""
    ordered_rsa: float = 0.8
    """Phase C at or above this RSA ..."""
    ordered_r2: float = 0.9
    """... and this held-out R^2 ..."""
    ordered_neighbours: float = 0.15
    """... and at or below this neighbour ratio."""
    along: bool = False
    """Take distances along the manifold for RSA, not straight ones."""

    def __post_init__(self) -> None:
        check_fields(self)


NETWORK_THRESHOLDS = Thresholds(
    along=True, manifold_dimension=8.0, ordered_rsa=0.6, ordered_neighbours=0.3
)
"""For representations of trained networks, read at about 1,000 labels: order along the manifold.
Set between the readings of networks that misplace their bumps (order -0.01 to 0.25, neighbours 0.6
to 0.97) and of those that place them (0.65 to 0.89, 0.09 to 0.29); TwoNN has room for what a
network keeps of its labels' code beside the place (up to 7.4).  These networks learned images of 16
pixels at a falling rate; the committed results are of networks drawn afterwards, with other images
and rates, which tests the names."""


@dataclass(frozen=True)
class PhaseReadout:
    """What the rule decides from; made by :func:`read_phase`."""

    one_bump: float
    location_accuracy: float
    participation_ratio: float
    two_nn: float
    rsa: float
    held_out_r2: float
    neighbour_ratio: float
    geodesic_rsa: float = float("nan")

    def __post_init__(self) -> None:
        check_fields(self, **{field.name: _reading for field in fields(self)})


def _reading(name: str, value: Any) -> float:
    """A number, or NaN for what could not be read."""
    return value if isinstance(value, float) else number(name, value, infinite=True)


@checked
def read_phase(
    images: ArrayLike, labels: ArrayLike, Z: ArrayLike, *, Z_labels: ArrayLike | None = None,
    dark: bool = True, seed: Seed = 0,
) -> PhaseReadout:  # fmt: skip
    """All numbers of the rule, from generated images and from representations of labels.

    Parameters
    ----------
    images : array [n, rows, columns]
        Generated under the labels.
    labels : array [n, 2]
    Z : array [k, width]
    Z_labels : array [k, 2], optional
        Labels of the representations, if they are not those of the images: representations are
        cheap, and order is seen better in many.
    dark : bool
        Dark bumps on light ground.
    seed : Seed
        Halves of the regression.

    Returns
    -------
    PhaseReadout

    Raises
    ------
    InvalidParameter
        As the single functions.

    Notes
    -----
    Validity: the sheet uses about 1,000 random labels at one noise level.
    """
    Y = labels if Z_labels is None else Z_labels
    near = isometric(Z)  # only distances count there
    return PhaseReadout(
        one_bump=float((bump_counts(images, dark=dark) == 1).mean()),
        location_accuracy=float(location_accuracy(images, labels, dark=dark)[0]),
        participation_ratio=participation_ratio(Z),
        two_nn=two_nn(near),
        rsa=rsa(near, Y),
        held_out_r2=held_out_r2(Z, Y, seed=seed),
        neighbour_ratio=neighbour_ratio(near, Y),
        geodesic_rsa=geodesic_rsa(near, Y),
    )


@checked
def phase(readout: PhaseReadout, thresholds: Thresholds | None = None) -> Phase:
    """Name the phase.

    Parameters
    ----------
    readout : PhaseReadout
    thresholds : Thresholds, optional

    Returns
    -------
    {"A", "B", "C", "transitional"}

    Notes
    -----
    Validity: with the thresholds; what fits none of the phases is transitional.

    Examples
    --------
    >>> phase(PhaseReadout(1.0, 0.95, 4.7, 3.5, 0.97, 1.0, 0.07))
    'C'
    >>> phase(PhaseReadout(1.0, 0.1, 4.6, 3.5, 0.06, 0.37, 0.22))
    'B'
    """
    r, limit = readout, thresholds or Thresholds()
    order = r.geodesic_rsa if limit.along else r.rsa
    noise = (
        r.two_nn > limit.noise_dimension
        and order < limit.noise_rsa
        and r.neighbour_ratio > limit.noise_neighbours
    )
    if r.one_bump < limit.few_bumps or noise:
        return "A"
    if r.one_bump < limit.many_bumps:
        return "transitional"
    flat = r.two_nn <= limit.manifold_dimension
    if r.location_accuracy < limit.misplaced and flat and order < limit.disordered_rsa:
        return "B"
    ordered = (
        order >= limit.ordered_rsa
        and r.held_out_r2 >= limit.ordered_r2
        and r.neighbour_ratio <= limit.ordered_neighbours
    )
    return "C" if r.location_accuracy >= limit.placed and ordered else "transitional"


@checked
def phase_of_strings(
    valid_tuples: float, valid: float, right: float, thresholds: Thresholds | None = None
) -> Phase:
    """Name the phase of generated strings of a grammar, by the same bounds as bumps.

    Parameters
    ----------
    valid_tuples : float
        Share of the lowest tuples that are rules; stands for the rate of single bumps.
    valid : float
        Share of strings that derive from some class; stands for a clean image.
    right : float
        Share of strings that derive from the class asked for; stands for the right place.
    thresholds : Thresholds, optional

    Returns
    -------
    {"A", "B", "C", "transitional"}
        A: invalid tuples.  B: valid strings of the wrong class.  C: valid strings of the right one.

    Notes
    -----
    Validity: an analogy, which asks what is generated and nothing of representations.

    Examples
    --------
    >>> [phase_of_strings(*x) for x in ((0.3, 0.0, 0.0), (1, 1, 0.1), (1, 1, 0.97), (1, 0.5, 0.4))]
    ['A', 'B', 'C', 'transitional']
    """
    limit = thresholds or Thresholds()
    if valid_tuples < limit.few_bumps:
        return "A"
    if valid >= limit.many_bumps and right < limit.misplaced:
        return "B"
    return "C" if valid >= limit.many_bumps and right >= limit.placed else "transitional"


@checked
def crossing_time(times: ArrayLike, accuracy: ArrayLike, height: float = 0.6) -> float:
    """First time at which a curve reaches a height, interpolated: when x, or y, is learned.

    Parameters
    ----------
    times : array [T]
        Increasing, for instance epochs.
    accuracy : array [T]
    height : float

    Returns
    -------
    float
        NaN if the height is never reached; the first time if it is reached from the start.

    Raises
    ------
    InvalidParameter
        If the shapes differ or times do not increase.

    Notes
    -----
    Validity: linear between neighbouring times.

    Examples
    --------
    >>> crossing_time([0, 10, 20], [0.0, 0.5, 0.7])
    15.0
    """
    t, curve = reals("times", times), reals("accuracy", accuracy)
    if t.ndim != 1 or t.shape != curve.shape or not t.size or not (np.diff(t) > 0).all():
        raise InvalidParameter(
            f"times of shape {t.shape} must increase, with one accuracy of {curve.shape} each"
        )
    reached: NDArray[Any] = np.flatnonzero(curve >= height)
    if not reached.size:
        return float("nan")
    i = int(reached[0])
    if i == 0:
        return float(t[0])
    share = (height - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(t[i - 1] + share * (t[i] - t[i - 1]))


# --- what a generated image shows -----------------------------------------------------------------


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
