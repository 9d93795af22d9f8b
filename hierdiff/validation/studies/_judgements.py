"""Odd-one-out answers of features against judges, with errors over objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.seeds import generator, stream
from hierdiff.sims.estimators import shared_error
from hierdiff.sims.metrics.odd_one_out import probe
from hierdiff.sims.metrics.representation_geometry import cosine_similarity
from hierdiff.theory.odd_one_out_task import expected_accuracy, noise_ceiling

__all__ = ["DIGIT_GROUPS", "Judges", "digit_similarity", "leading_components"]

Array: TypeAlias = NDArray[Any]

DIGIT_GROUPS = (((0, 6), (8, 9)), ((1, 4, 7), (2, 3, 5)))
"""Shape hierarchy of the digits, ours: with and without a closed loop; then one loop wide or
below, two loops or one above, straight strokes, open curves."""


@dataclass(frozen=True, eq=False)
class Judges:
    """Triplets, what the judges say of them, and errors that know which triplets share objects.

    Attributes
    ----------
    triplets
        [k, 3] objects.
    probabilities
        [k, 3], of each to be called the odd one.
    ties
        Whether an exact tie is wrong, or a guess.
    seed
        Names sampled choices and probes.
    """

    triplets: Array
    probabilities: Array
    ties: Literal["wrong", "shared"] = "wrong"
    seed: int = 0

    def scores(self, features: ArrayLike) -> Array:
        """Expected accuracy of cosine similarity on every triplet, [k]."""
        similarity = cosine_similarity(np.asarray(features).reshape(len(np.asarray(features)), -1))
        return expected_accuracy(similarity, self.triplets, self.probabilities, ties=self.ties)

    @property
    def ceiling(self) -> float:
        """Best possible accuracy."""
        return noise_ceiling(self.probabilities)

    def choices(self) -> Array:
        """One choice per triplet drawn from the judges, the odd one last."""
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


def leading_components(features: Array, width: int) -> Array:
    """Projection of the features on their first principal components; no choice is looked at."""
    x = np.asarray(features, float).reshape(len(features), -1)
    x = x - x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return np.asarray(u[:, :width] * s[:width])


def digit_similarity(
    labels: ArrayLike, weights: Sequence[float], groups: Any = DIGIT_GROUPS
) -> Array:
    """Similarity of digits by shared groups: coarse, fine, and the digit itself.

    Parameters
    ----------
    labels : int array [n]
    weights : three numbers
        Of the coarse group, the fine group and the class.
    groups : nested tuples
        Coarse groups of fine groups of classes.

    Returns
    -------
    array [n, n]

    Raises
    ------
    InvalidParameter
        For another number of weights, negative ones, or a label in no group.

    Examples
    --------
    >>> digit_similarity([0, 6, 8, 1], (1.0, 0.5, 0.25))[0].tolist()
    [1.75, 1.5, 1.0, 0.0]
    """
    w, y = np.asarray(weights, float), np.asarray(labels)
    if w.shape != (3,) or not (w >= 0).all() or not w.any():
        raise InvalidParameter(f"weights = {w.tolist()} must be 3 numbers >= 0, not all zero")
    places = {
        k: (i, 10 * i + j) for i, part in enumerate(groups) for j, fine in enumerate(part)
        for k in fine
    }  # fmt: skip
    missing = sorted(set(y.tolist()) - places.keys())
    if missing:
        raise InvalidParameter(f"label {missing[0]} is in no group; the groups hold {len(places)}")
    nodes = np.array([(*places[int(k)], int(k)) for k in y])
    same = nodes[:, None] == nodes
    return np.asarray(same @ w)


def one_noise(seed: int, shape: tuple[int, ...]) -> Array:
    """The noise of all objects, the same for all layers, levels and conditions."""
    return generator(stream(seed, "noise")).standard_normal(shape)


def table_of(names: Mapping[str, Array], judges: Judges) -> dict[str, tuple[Array, Array]]:
    """Mean over triplets (the last axis) and its error, of each array of scores."""
    return {k: (x.mean(axis=-1), judges.error(x)) for k, x in names.items()}
