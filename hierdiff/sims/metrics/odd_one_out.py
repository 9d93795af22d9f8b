r"""The odd-one-out task: triplets, simulated observers, scores, files, and the affine probe.

The probe learns :math:`z_i = W (f_i - \bar f)/s + b`, with one mean and one scale for all features,
so that the pair that observers keep has the largest dot product:

.. math::
    \min_{W, b}\; -\frac1k \sum_{\text{triplets}} \log \frac{e^{z_i \cdot z_j}}
    {e^{z_i \cdot z_j} + e^{z_i \cdot z_k} + e^{z_j \cdot z_k}} + \lambda \|W\|_F ,

k the odd one.  Folds split objects: a triplet is scored only if none of its objects was trained on.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from hierdiff._files import one_line, read_npy, replacing
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    memory,
    natural,
    number,
    reals,
    whole,
)
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims.metrics.estimators import shared_error, standard_error
from hierdiff.sims.metrics.representation_geometry import cosine_similarity
from hierdiff.theory.odd_one_out_task import (
    checked_triplets,
    expected_accuracy,
    noise_ceiling,
    pair_similarities,
)

__all__ = [
    "Probed",
    "TripletTask",
    "draw_triplets",
    "error_consistency",
    "leading_components",
    "object_folds",
    "paired_difference",
    "probe",
    "read_triplets",
    "write_triplets",
]

Array = NDArray[Any]


@checked
def draw_triplets(n_objects: int, count: int, seed: Seed) -> Array:
    """Triplets of different objects, uniformly.

    Parameters
    ----------
    n_objects : int
        At least three.
    count : int
        At least one.
    seed : Seed
        Source of randomness.

    Returns
    -------
    int array [count, 3]

    Raises
    ------
    InvalidParameter
        For fewer than three objects or no triplet.

    Notes
    -----
    Validity: independent draws; a triplet may come twice.

    Examples
    --------
    >>> draw_triplets(5, 2, seed=0).tolist()
    [[4, 2, 0], [3, 1, 0]]
    """
    if not 3 <= n_objects <= 2**62 or count < 1:
        raise InvalidParameter(
            f"n_objects = {n_objects} must be >= 3 (and <= 2**62) and count = {count} at least 1"
        )
    memory(f"count = {count} triplets", 48.0 * count)
    rng = generator(seed)
    # shift the later draws past the earlier ones: exact, and one number per object
    first, second, third = (rng.integers(n_objects - i, size=count) for i in range(3))
    second += second >= first
    low, high = np.minimum(first, second), np.maximum(first, second)
    third += third >= low
    third += third >= high
    return np.stack([first, second, third], axis=1)


@checked(n_objects=count)
def read_triplets(path: str | os.PathLike[str], n_objects: int) -> Array:
    """Odd-one-out responses in the format of THINGS: a row per triplet, the odd one last, from 0.

    Parameters
    ----------
    path : path-like
        ``.npy``, or text with three integers per line.
    n_objects : int
        Objects that exist (1,854 for THINGS).

    Returns
    -------
    int array [k, 3]

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFile
        If it holds no triplets, or is damaged.
    InvalidParameter
        For unknown or repeated objects (with the first such row).

    Notes
    -----
    Validity: nothing is reordered; files are read without pickles.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"no triplets at {str(path)!r}; see the THINGS data on OSF, f5rn6")
    try:
        if file.suffix == ".npy":
            rows = read_npy(file, "triplets")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an empty file, which the shape shows
                rows = np.loadtxt(file, dtype=np.int64, ndmin=2)
        # numbers of other types are taken if they are whole
        if rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype.kind not in "iuf" or not len(rows):
            raise ValueError(f"shape {rows.shape}, type {rows.dtype}")
        # beyond 2**53 a float is not exact, and NumPy before 2.3 wraps integers that are too large
        if not ((rows > -(2**53)) & (rows < 2**53)).all():
            raise ValueError("numbers that are not whole or too large")
        numbers = rows.astype(np.int64)
        if not np.array_equal(numbers, rows):
            raise ValueError("numbers that are not whole")
    except DamagedFile:
        raise
    # a file of text may be of any encoding, or binary under another name
    except Exception as error:
        raise DamagedFile(
            f"{str(path)!r} holds no integer triplets ({one_line(error)[:90]}); give one row of "
            "three per choice"
        ) from None
    return checked_triplets(numbers, n_objects)


@checked
def write_triplets(path: str | os.PathLike[str], triplets: ArrayLike) -> Path:
    """Write choices in the format that :func:`read_triplets` reads, whole or not at all.

    Parameters
    ----------
    path : path-like
        ``.npy`` or ``.txt``.
    triplets : int array [k, 3]
        The odd one last.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InvalidParameter
        For repeated objects or another shape.
    """
    rows = checked_triplets(triplets, np.iinfo(np.int64).max)
    file = Path(path)
    if not file.name:
        raise InvalidParameter(f"path = {str(path)!r} has no name; give the name of a file")
    with replacing(file) as temporary, temporary.open("wb") as handle:
        if file.suffix == ".npy":
            np.save(handle, rows)
        else:
            np.savetxt(handle, rows, fmt="%d")
    return file


@checked
def paired_difference(one: ArrayLike, other: ArrayLike, triplets: ArrayLike) -> tuple[float, float]:
    """Difference of two mean scores on the same triplets, with its error.

    Parameters
    ----------
    one, other : array [k]
        Scores of every triplet.
    triplets : int array [k, 3]

    Returns
    -------
    difference, error : float

    Raises
    ------
    InvalidParameter
        For other shapes, or scores that are not finite.

    Notes
    -----
    Validity: triplets that share an object are not independent; the error is that of
    :func:`hierdiff.sims.metrics.estimators.shared_error`.

    Examples
    --------
    >>> rows = draw_triplets(20, 100, seed=0)
    >>> paired_difference(np.ones(100), np.zeros(100), rows)
    (1.0, 0.0)
    """
    a, b = reals("one", one), reals("other", other)
    rows = checked_triplets(triplets, np.iinfo(np.int64).max)
    if a.shape != b.shape or a.shape != rows.shape[:1]:
        raise InvalidParameter(
            f"scores of shapes {a.shape}, {b.shape} must match {len(rows)} triplets"
        )
    return float((a - b).mean()), float(shared_error(a - b, rows))


@checked
def error_consistency(one: ArrayLike, other: ArrayLike) -> Array:
    r"""Cohen's kappa of the errors of two responders on the same trials.

    .. math:: \kappa = \frac{c_{obs} - c_{exp}}{1 - c_{exp}}, \qquad
       c_{obs} = \frac1k \sum_i [p_i q_i + (1 - p_i)(1 - q_i)], \qquad
       c_{exp} = \bar p\,\bar q + (1 - \bar p)(1 - \bar q)

    Parameters
    ----------
    one, other : array [..., k]
        Probability that each is right on every trial; 0 or 1 for responses that are given.

    Returns
    -------
    array [...]
        1 for the same errors, 0 for errors that are independent at these accuracies; 0 where both
        are always right.

    Raises
    ------
    InvalidParameter
        For other shapes, or numbers outside [0, 1].

    Notes
    -----
    Validity: exact mean over the responses of two that are drawn independently given the trial.

    References
    ----------
    Geirhos, Meding and Wichmann, Beyond accuracy, arXiv 2006.16736, eq. (1)-(3).

    Examples
    --------
    >>> error_consistency([1, 1, 0, 0], [1, 1, 0, 0]).tolist()
    1.0
    >>> error_consistency([1, 1, 0, 0], [1, 0, 1, 0]).tolist()
    0.0
    """
    p, q = reals("one", one, 0, 1, least=1), reals("other", other, 0, 1, least=1)
    if not p.ndim or p.shape != q.shape:
        raise InvalidParameter(
            f"one and other of shapes {p.shape} and {q.shape} must be rows of the same trials"
        )
    a, b = p.mean(axis=-1), q.mean(axis=-1)
    seen = (p * q + (1 - p) * (1 - q)).mean(axis=-1)
    chance = a * b + (1 - a) * (1 - b)
    room = 1 - chance
    return np.asarray(np.divide(seen - chance, room, out=np.zeros_like(room), where=room > 1e-12))


@checked(n_objects=count)
def object_folds(triplets: ArrayLike, n_objects: int, folds: int, seed: Seed) -> list[Array]:
    """For every fold a boolean pair [2, k]: triplets wholly to train on, and wholly held out.

    Parameters
    ----------
    triplets : int array [k, 3]
    n_objects, folds : int
        Objects, split into so many parts of nearly equal size.
    seed : Seed
        Source of the split.

    Returns
    -------
    list of bool array [2, k]

    Raises
    ------
    InvalidParameter
        If a fold has no triplet to train on or to score: too few objects or triplets.

    Notes
    -----
    Validity: with three folds about 30 % of random triplets train and 3.7 % are scored per fold.
    """
    rows = checked_triplets(triplets, n_objects)
    if not 2 <= folds <= n_objects // 3:
        raise InvalidParameter(
            f"folds = {folds} must be at least 2 and leave 3 of {n_objects} objects to each"
        )
    memory(f"an order of n_objects = {n_objects}", 16.0 * n_objects)
    part = generator(seed).permutation(n_objects) % folds
    out = []
    for fold in range(folds):
        held = part[rows] == fold
        split = np.stack([~held.any(axis=1), held.all(axis=1)])
        if not split.any(axis=1).all():
            raise InvalidParameter(
                f"fold {fold} of {n_objects} objects has {split.sum(axis=1).tolist()} triplets to "
                "train on and to score; give more triplets or fewer folds"
            )
        out.append(split)
    return out


@dataclass(frozen=True)
class Probed:
    """Scores of the affine probe.

    Attributes
    ----------
    held_out : float
        Accuracy on triplets of unseen objects: the number to report.
    error : float
        Standard error of it: the larger of those over folds and over triplets.  Triplets of one
        fold share objects, so that it is too small: one error covers .56 ± .05 and two .89 ± .03
        for 24 objects and 250 triplets.
    leaked : float
        Accuracy of a probe on all triplets, its training set included: what not to report.
    """

    held_out: float
    error: float
    leaked: float


@checked(penalty=partial(number, low=0))
def probe(
    features: ArrayLike, triplets: ArrayLike, *, penalty: float = 1e-3, folds: int = 3,
    seed: Seed = 0, width: int | None = None,
) -> Probed:  # fmt: skip
    r"""Affine probe of odd-one-out responses, cross-validated over objects.

    Parameters
    ----------
    features : array [n, d]
        One row per object.
    triplets : int array [k, 3]
        Choices, the odd one last.
    penalty : float
        :math:`\lambda \ge 0`.
    folds : int
        Parts of the objects.
    seed : Seed
        Source of the split and of the start.
    width : int, optional
        Outputs of W; default d.

    Returns
    -------
    Probed

    Raises
    ------
    InvalidParameter
        For too few objects, NaN, unknown or repeated objects.

    Notes
    -----
    Validity: the better of two local minima that L-BFGS with exact gradients finds on the training
    triplets.  W starts at random at a scale of 1e-3, as published, where the gradient of a product
    nearly vanishes and a fit can stay; and at the leading principal directions, at a scale of one.

    References
    ----------
    Muttenthaler et al., arXiv 2211.01201; Linhardt et al., arXiv 2403.08469.
    """
    x = reals("features", features, ndim=2)
    if width is not None:
        whole("width", width, low=1, high=max(x.shape[1], 1))
    if not x.size or float(np.abs(x).max()) > 1e100:
        raise InvalidParameter(
            f"features of shape {x.shape} must be a matrix of numbers below 1e100; scale them"
        )
    rows = checked_triplets(triplets, len(x))
    spread = float(x.std())
    z = (x - x.mean()) / (spread if spread > 0 else 1.0)
    rng = generator(seed)
    shape = (z.shape[1], width or z.shape[1])
    starts = (1e-3 * rng.standard_normal(shape), _principal(z, *shape))
    right, trials = [], 0
    for train, test in object_folds(rows, len(x), folds, rng):
        fitted = _fit(z, rows[train], starts, penalty)
        right.append(_accuracy(z @ fitted[0] + fitted[1], rows[test]))
        trials += int(test.sum())
    scores = np.array(right)
    all_rows = _fit(z, rows, starts, penalty)
    mean = float(scores.mean())
    binomial = np.sqrt(max(mean * (1 - mean), 1e-12) / trials)
    between = float(standard_error(scores))
    leaked = _accuracy(z @ all_rows[0] + all_rows[1], rows)
    return Probed(mean, float(max(binomial, between)), leaked)


@checked(width=partial(whole, low=1))
def leading_components(features: ArrayLike, width: int) -> Array:
    """Projection of the features on their first principal components; no response is used.

    Parameters
    ----------
    features : array [n, ...]
        A row per object.
    width : int
        Number of components.

    Returns
    -------
    array [n, width]

    Examples
    --------
    >>> np.abs(leading_components([[1.0, 0.0], [-1.0, 0.0]], 1)).round(12).tolist()
    [[1.0], [1.0]]
    """
    x = reals("features", features, least=1)
    if not x.ndim or not np.isfinite(x).all() or float(np.abs(x).max()) > 1e100:
        raise InvalidParameter(
            f"features of shape {x.shape} must be rows of numbers below 1e100; scale them"
        )
    x = x.astype(float).reshape(len(x), -1)
    x = x - x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return np.asarray(u[:, :width] * s[:width])


@dataclass(frozen=True, eq=False)
class TripletTask:
    """Triplets with responses, and errors that account for triplets that share objects.

    Attributes
    ----------
    triplets
        [k, 3] objects.
    probabilities
        [k, 3], of each to be called the odd one; 0, 0, 1 for responses of people.
    ties
        Whether an exact tie is wrong, or a guess.
    seed
        Names sampled responses and probes.
    """

    triplets: Array
    probabilities: Array
    ties: Literal["wrong", "shared"] = "wrong"
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, seed=natural)
        rows = checked_triplets(self.triplets, np.iinfo(np.int64).max)
        chances = reals("probabilities", self.probabilities, 0, 1, shape=(len(rows), 3))
        object.__setattr__(self, "triplets", rows)
        object.__setattr__(self, "probabilities", chances)

    def scores(self, features: ArrayLike) -> Array:
        """Expected accuracy of cosine similarity on every triplet, [k]."""
        rows = reals("features", features, least=1)
        if not rows.ndim:
            raise InvalidParameter(f"features = {rows} must be rows, one per object")
        similarity = cosine_similarity(rows.reshape(len(rows), -1))
        return expected_accuracy(similarity, self.triplets, self.probabilities, ties=self.ties)

    @property
    def ceiling(self) -> float:
        """Best possible accuracy."""
        return noise_ceiling(self.probabilities)

    def choices(self) -> Array:
        """One response per triplet drawn from the observers, the odd one last."""
        draws = stream(self.seed, "choices").random((len(self.triplets), 1))
        odd = (draws > np.cumsum(self.probabilities, axis=1)[:, :2]).sum(axis=1)
        order = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])[odd]
        return np.take_along_axis(self.triplets, order, axis=1)

    def error(self, scores: ArrayLike) -> Array:
        """Standard error of the mean of scores [..., k], whose triplets share objects."""
        return shared_error(scores, self.triplets)

    def probed(self, features: Array, width: int) -> tuple[float, float, float]:
        """Held-out accuracy of the affine probe, its error, and the leaked accuracy."""
        found = probe(
            leading_components(features, width), self.choices(), seed=self.seed, width=width
        )
        return found.held_out, found.error, found.leaked


def _accuracy(z: Array, rows: Array) -> float:
    """Share of triplets whose last object is left out; ties are wrong."""
    responses = np.tile([0.0, 0.0, 1.0], (len(rows), 1))
    return float(expected_accuracy(z @ z.T, rows, responses).mean())


def _principal(z: Array, d: int, width: int) -> Array:
    """Leading directions of features as columns [d, width], outputs of unit mean square."""
    axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)[2][:width].T
    start = np.zeros((d, width))
    start[:, : axes.shape[1]] = axes
    power = float(((z @ start) ** 2).sum(axis=1).mean())
    return start / np.sqrt(power) if power > 0 else start


def _fit(z: Array, rows: Array, starts: tuple[Array, ...], penalty: float) -> tuple[Array, Array]:
    """Weights and offset of the lowest objective over the starts."""
    d, width = starts[0].shape

    def objective(flat: Array) -> tuple[float, Array]:
        w, b = flat[: d * width].reshape(d, width), flat[d * width :]
        y = z @ w + b
        kept = pair_similarities(y @ y.T, rows)
        top = kept.max(axis=1, keepdims=True)
        weight = np.exp(kept - top)
        total = weight.sum(axis=1, keepdims=True)
        value = float((np.log(total[:, 0]) + top[:, 0] - kept[:, 2]).mean())
        slope = weight / total
        slope[:, 2] -= 1
        slope /= len(rows)
        grad = np.zeros_like(y)
        i, j, k = rows.T
        for a, c, s in ((j, k, slope[:, 0]), (i, k, slope[:, 1]), (i, j, slope[:, 2])):
            np.add.at(grad, a, s[:, None] * y[c])
            np.add.at(grad, c, s[:, None] * y[a])
        norm = np.sqrt((w**2).sum() + 1e-24)
        return value + penalty * norm, np.concatenate(
            [(z.T @ grad + penalty * w / norm).ravel(), grad.sum(axis=0)]
        )

    fits = [
        minimize(objective, np.concatenate([start.ravel(), np.zeros(width)]), jac=True,
                 method="L-BFGS-B", options={"maxiter": 300})
        for start in starts
    ]  # fmt: skip
    found = min(fits, key=lambda fit: float(fit.fun)).x
    return found[: d * width].reshape(d, width), found[d * width :]
