r"""Fitting by EM behind LowRankMixture.

The algorithm fits probabilistic PCA with the residual variance tied across classes,

.. math::

    x \mid k \sim N\big(\mu_k,\; U_k \Lambda_k U_k^T + \tau (I - U_k U_k^T)\big), \qquad
    \tau = \delta^2 .

With responsibilities :math:`r_{ik}`, :math:`N_k = \sum_i r_{ik}` and the scatter
:math:`C_k = N_k^{-1} \sum_i r_{ik} (x_i-\mu_k)(x_i-\mu_k)^T` the M-step takes the d leading
eigenvectors of :math:`C_k` as :math:`U_k`, their eigenvalues as :math:`\Lambda_k`, and
:math:`\tau = \sum_k N_k \,\mathrm{tr}(C_k - U_k\Lambda_k U_k^T) / (N (D - d))`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.special import logsumexp

from hierdiff._subspaces import joint_span, orthonormalise
from hierdiff.errors import InvalidParameter

__all__ = [
    "EM",
    "FittedArrays",
    "fit",
]

Floats: TypeAlias = NDArray[np.float64]

_FLOOR = 1e-6  # least residual variance, in units of the data's mean variance


@dataclass(frozen=True, eq=False)
class FittedArrays:
    """Outcome of :func:`fit`; ``log_likelihood`` is the history of the best start, per datum."""

    weights: Floats
    means: Floats
    bases: Floats
    variances: Floats
    noise: float
    log_likelihood: tuple[float, ...]


@dataclass(frozen=True)
class EM:
    """What is fitted, and when to stop; see ``LowRankMixture.fit``."""

    classes: int
    rank: int
    with_means: bool
    iterations: int
    tolerance: float


def fit(data: ArrayLike, em: EM, restarts: int, rng: np.random.Generator) -> FittedArrays:
    """EM from ``restarts`` random starts; the best training likelihood wins.

    Notes
    -----
    Validity: rows in fewer dimensions than D (N < D) are first rotated into their own span, which
    changes nothing; D still counts in the likelihood and in the residual variance.
    """
    x = _check_data(data, em.classes, em.rank)
    if restarts < 1 or em.iterations < 1:
        raise InvalidParameter(
            f"restarts = {restarts} and iterations = {em.iterations} must both be at least 1"
        )
    origin = x.mean(0) if em.with_means else np.zeros(x.shape[1])
    frame = joint_span((x - origin).T)[0]
    if frame.shape[1] < em.rank:
        raise InvalidParameter(
            f"the data span {frame.shape[1]} directions, fewer than rank = {em.rank};"
            " lower the rank"
        )
    y = (x - origin) @ frame
    runs = (_run(y, x.shape[1], em, rng) for _ in range(restarts))
    best = max(runs, key=lambda run: run.log_likelihood[-1])
    return replace(
        best,
        means=origin + best.means @ frame.T,
        bases=np.stack(orthonormalise([frame @ basis for basis in best.bases])),
    )


def _check_data(data: ArrayLike, classes: int, rank: int) -> Floats:
    x = np.asarray(data, dtype=float)
    if x.ndim != 2 or x.size == 0:
        raise InvalidParameter(f"data of shape {x.shape} is empty or no matrix; give [N, D]")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise InvalidParameter(
            f"data[{row}, {column}] = {x[row, column]} is not finite; drop or repair that datum"
        )
    if classes < 1 or len(x) < classes:
        raise InvalidParameter(
            f"N = {len(x)} data cannot fill K = {classes} classes; need 1 <= K <= N"
        )
    if not 0 < rank < x.shape[1]:
        raise InvalidParameter(
            f"rank = {rank} must lie between 1 and D - 1 = {x.shape[1] - 1}; lower it"
        )
    if not x.any():
        raise InvalidParameter("data are all zero; nothing can be fitted")
    return x


def _run(y: Floats, dim: int, em: EM, rng: np.random.Generator) -> FittedArrays:
    """One start, then EM until the likelihood stands still."""
    now = _start(y, dim, em, rng)
    history: list[float] = []
    for _ in range(em.iterations):
        joint = _log_joint(y, dim, now)
        norm = logsumexp(joint, axis=1, keepdims=True)
        history.append(float(norm.mean()))
        if len(history) > 1 and history[-1] - history[-2] < em.tolerance:
            break
        now = _maximise(y, dim, np.exp(joint - norm), em.with_means, now)
    return replace(now, log_likelihood=tuple(history))


def _start(y: Floats, dim: int, em: EM, rng: np.random.Generator) -> FittedArrays:
    """Each class begins with the span of ``rank`` data drawn at random."""
    power, rank = float((y * y).sum()) / len(y), em.rank
    bases = []
    for _ in range(em.classes):
        rows = y[rng.choice(len(y), size=rank, replace=len(y) < rank)]
        jitter = rng.standard_normal(rows.shape) * 1e-3 * np.sqrt(power / y.shape[1])
        bases.append(np.linalg.qr((rows + jitter).T)[0])
    return FittedArrays(
        weights=np.full(em.classes, 1 / em.classes),
        means=np.zeros((em.classes, y.shape[1])),
        bases=np.stack(bases),
        variances=np.full((em.classes, rank), power / (2 * rank)),
        noise=power / (2 * (dim - rank)),
        log_likelihood=(),
    )


def _log_joint(y: Floats, dim: int, now: FittedArrays) -> Floats:
    """Log of weight times density, [N, K]; ``dim`` counts the directions rotated away."""
    (classes, _, rank), tau = now.bases.shape, now.noise
    columns = np.concatenate(list(now.bases), axis=1)
    along = (y @ columns).reshape(len(y), classes, rank)
    along -= np.einsum("kj,kjr->kr", now.means, now.bases)
    square = (y * y).sum(1)[:, None] - 2 * y @ now.means.T + (now.means**2).sum(1)
    quadratic = square / tau + np.einsum(
        "nkr,kr->nk", along**2, 1 / now.variances - 1 / tau, optimize=True
    )
    volume = (dim - rank) * np.log(tau) + np.log(now.variances).sum(1) + dim * np.log(2 * np.pi)
    with np.errstate(divide="ignore"):
        joint: Floats = np.log(now.weights) - 0.5 * (quadratic + volume)
    return joint


def _maximise(
    y: Floats, dim: int, responsibility: Floats, with_means: bool, now: FittedArrays
) -> FittedArrays:
    rank = now.bases.shape[2]
    mass = responsibility.sum(0)
    means, bases, scatter, total = now.means.copy(), now.bases.copy(), [], 0.0
    for k, weight in enumerate(mass):
        if weight < 1e-8 * len(y):  # a dead class keeps its subspace and its mass of nothing
            scatter.append(now.variances[k])
            continue
        if with_means:
            means[k] = responsibility[:, k] @ y / weight
        centred = (y - means[k]) * np.sqrt(responsibility[:, k : k + 1] / weight)
        c = centred.T @ centred
        values, vectors = eigh(c, subset_by_index=(len(c) - rank, len(c) - 1))
        bases[k] = vectors
        scatter.append(values)
        total += weight * float(np.trace(c))
    variances, noise = _split(np.stack(scatter), mass, total, dim)
    floor = max(_FLOOR * total / (len(y) * dim), np.finfo(float).tiny)
    return FittedArrays(
        mass / mass.sum(), means, bases, np.maximum(variances, floor), max(noise, floor), ()
    )


def _split(values: Floats, mass: Floats, total: float, dim: int) -> tuple[Floats, float]:
    """Maximise over variances >= residual: eigenvalues below the residual are pooled into it."""
    own = values > 0
    while True:
        count = mass @ (dim - own.sum(1))
        noise = (total - float(mass @ np.where(own, values, 0.0).sum(1))) / count
        kept = own & (values >= noise)
        if (kept == own).all():
            return np.where(own, values, noise), float(max(noise, 0.0))
        own = kept
