r"""One repetition of the representation experiment: draw, fit, denoise, read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims._denoisers import Denoiser, build
from hierdiff.sims.probes import (
    feature_snr,
    linear_probe,
    projection_accuracy,
    quadratic_probe,
)

__all__ = ["SPLITS", "Quantity", "Repetition", "balanced_sample", "repeat"]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.intp]
Quantity: TypeAlias = Literal["snr", "projection", "linear", "quadratic"]

SPLITS = ("train", "test")


@dataclass(frozen=True, eq=False)
class Repetition:
    """What all repetitions share, in the words of ``Representation``."""

    world: LowRankMixture
    levels: Floats
    models: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    test: int
    restarts: int
    ridge: float
    seed: int


def balanced_sample(
    mixture: LowRankMixture, n: int, seed: Seed
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Draw data with the classes evenly filled, the first ones with one more where n % K > 0.

    Parameters
    ----------
    mixture : LowRankMixture
        Its weights are ignored.
    n : int
        Number of data, at least K.
    seed : Seed
        Source of randomness.

    Returns
    -------
    x : array [n, D]
    k : int array [n], increasing

    Raises
    ------
    InvalidParameter
        If n < K.

    Notes
    -----
    Validity: exact draws given the class.

    Examples
    --------
    >>> x, k = balanced_sample(LowRankMixture.random(4, 2, 2, seed=0), 5, seed=1)
    >>> x.shape, k.tolist()
    ((5, 4), [0, 0, 0, 1, 1])
    """
    classes = mixture.n_classes
    if n < classes:
        raise InvalidParameter(f"n = {n} data cannot fill K = {classes} classes; raise n")
    rng, k = generator(seed), np.sort(np.arange(n) % classes)
    parts = []
    for c, count in enumerate(np.bincount(k)):
        alone = LowRankMixture(
            mixture.bases, np.eye(classes)[c], mixture.variances, mixture.delta, mixture.residual,
            mixture.means,
        )  # fmt: skip
        parts.append(alone.sample(int(count), rng)[0])
    return np.concatenate(parts), k


def repeat(
    e: Repetition, n: int, s: int, data: tuple[Floats, Labels] | None, given: Denoiser | None
) -> dict[str, Array]:
    """All quantities [model, split, sigma] of repetition ``s`` with ``n`` training points.

    Test points and their noise are the same for every n, and both splits for every model and
    noise level.
    """
    world = e.world
    x, k = data or balanced_sample(world, n, stream(e.seed, "train", s, n))
    y, l = balanced_sample(world, e.test, stream(e.seed, "test", s))
    noise = (
        stream(e.seed, "train noise", s, n).standard_normal(x.shape),
        stream(e.seed, "test noise", s).standard_normal(y.shape),
    )
    found: dict[str, Array] = {
        q: np.empty((1 if given else len(e.models), 2, len(e.levels))) for q in e.quantities
    }
    for m in range(1 if given else len(e.models)):
        fit = stream(e.seed, "fit", s, n)
        denoiser = given or build(e.models[m], world, x, k, e.restarts, fit)
        for i, sigma in enumerate(e.levels):
            features = [denoiser(z + sigma * w, sigma) for z, w in zip((x, y), noise, strict=True)]
            for q in e.quantities:
                found[q][m, :, i] = _read(q, features, (k, l), world, e.ridge)
    return found


def _read(
    q: Quantity, features: list[Array], labels: tuple[Array, Array], world: LowRankMixture,
    ridge: float,
) -> list[float]:  # fmt: skip
    """One quantity on training and on test points."""
    points = list(zip(features, labels, strict=True))
    if q == "snr":
        return [feature_snr(f, c, world.bases) for f, c in points]
    if q == "projection":
        return [projection_accuracy(f, c, world.bases) for f, c in points]
    fit = linear_probe if q == "linear" else quadratic_probe
    probe = fit(*points[0], ridge=ridge)
    return [probe.accuracy(f, c) for f, c in points]
