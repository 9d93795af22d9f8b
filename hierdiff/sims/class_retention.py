r"""Forward-backward runs on mixtures: the class, which is the only level they have.

A datum of class k is noised to signal-to-noise ratio snr and a datum is drawn from the posterior;
its class is a draw from :math:`w(x_t) = p(\cdot \mid x_t)`.  Recorded are :math:`w_k`,
:math:`\sum_l w_l^2`, equal in expectation, and whether the class came back.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, checked, natural, reals, unchecked
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, NoiseProcess
from hierdiff.seeds import stream

__all__ = ["MixtureModel", "class_retention", "labelled_data"]

Array = NDArray[Any]
Labelled = tuple[Array, NDArray[np.intp]]


@runtime_checkable
class MixtureModel(Protocol):
    """A model of vectors with classes, such as ``theory.ExactMixture``."""

    @property
    def mixture(self) -> LowRankMixture:
        """The prior."""

    @property
    def noise(self) -> NoiseProcess:
        """The forward process, on vectors."""

    def class_marginals(self, x_t: Array, t: ArrayLike) -> Array:
        """What the model believes of the class, [n, K]."""


@checked(data=unchecked, seed=natural, g=natural, times=unchecked)
def class_retention(
    model: MixtureModel, data: Labelled | None, seed: int, g: int, rows: range, times: Array
) -> dict[str, Array]:
    """One task: corrupt, infer, draw; values [datum, 1, t, quantity].

    Parameters
    ----------
    model : MixtureModel
    data : (x [n, D], k [n]) or None
        Where the rows are taken from; None draws them.
    seed, g : int
        With the number of a datum they name its random streams.
    rows : range
        Numbers of the data.
    times : array [T]
        Noise levels in [0, 1].

    Returns
    -------
    dict
        ``values`` with the quantities belief, upward, square, retention, as on a grammar.

    Notes
    -----
    Validity: that of the model's beliefs.
    """
    times = reals("times", times, 0, 1, ndim=1)
    mixture, noise = model.mixture, model.noise
    if not isinstance(noise, GaussianNoise) or noise.v is not None:
        raise InvalidParameter(
            f"noise = {noise.name} with v = {noise.v} acts on symbols; give GaussianNoise()"
        )
    if data is None:
        drawn = [mixture.sample(1, stream(seed, "datum", g, i)) for i in rows]
        x0, k = (np.concatenate(part) for part in zip(*drawn, strict=True))
    else:
        x, labels = labelled_data(mixture, data)
        if not rows or rows.start < 0 or rows.stop > len(x) or rows.step != 1:
            raise InvalidParameter(f"rows = {rows} must be some of the {len(x)} data, in order")
        x0, k = x[rows.start : rows.stop], labels[rows.start : rows.stop]
    normals = np.concatenate([noise.draw(x0[:1].shape, stream(seed, "noise", g, i)) for i in rows])
    uniforms = np.array([stream(seed, "backward", g, i).random() for i in rows])
    values, each = np.empty((len(rows), 1, len(times), 4)), np.arange(len(rows))
    for j, t in enumerate(times):
        w = model.class_marginals(noise.corrupt_with(x0, t, normals), t)
        new = (np.cumsum(w, axis=1) < uniforms[:, None] * w.sum(axis=1)[:, None]).sum(axis=1)
        own = w[each, k]
        values[:, 0, j] = np.stack([own, own, (w**2).sum(axis=1), new == k], axis=1)
    return {"values": values}


@checked(data=unchecked)
def labelled_data(mixture: LowRankMixture, data: tuple[ArrayLike, ArrayLike]) -> Labelled:
    """Data and classes, checked against the mixture.

    Parameters
    ----------
    mixture : LowRankMixture
    data : (array [n, D], int array [n])

    Returns
    -------
    x : array [n, D]
    k : int array [n]

    Raises
    ------
    InvalidParameter
        For other shapes, or classes out of range.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise InvalidParameter(
            f"data of type {type(data).__name__} must be two arrays: points and their classes"
        )
    x, k = reals("data[0]", data[0]), array("data[1]", data[1])
    if x.ndim != 2 or x.shape[1] != mixture.dim or k.shape != (len(x),) or not np.isfinite(x).all():
        raise InvalidParameter(
            f"data of shapes {x.shape} and {k.shape} must be finite points [n, {mixture.dim}] "
            "and their classes [n]"
        )
    if not len(k) or k.dtype.kind not in "iu" or k.min() < 0 or k.max() >= mixture.n_classes:
        raise InvalidParameter(
            f"classes must be integers from 0 to {mixture.n_classes - 1}; check the labels"
        )
    return x, k.astype(np.intp)
