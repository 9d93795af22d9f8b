r"""Fitting by EM behind LowRankMixture.

The algorithm fits probabilistic PCA with the residual variance tied across classes,

.. math::

    x \mid k \sim N\big(\mu_k,\; U_k \Lambda_k U_k^T + \tau (I - U_k U_k^T)\big), \qquad
    \tau = \delta^2 .

With responsibilities :math:`r_{ik}`, :math:`N_k = \sum_i r_{ik}` and the scatter
:math:`C_k = N_k^{-1} \sum_i r_{ik} (x_i-\mu_k)(x_i-\mu_k)^T` the M-step takes the d leading
eigenvectors of :math:`C_k` as :math:`U_k`, their eigenvalues as :math:`\Lambda_k`, and
:math:`\tau = \sum_k N_k \,\mathrm{tr}(C_k - U_k\Lambda_k U_k^T) / (N (D - d))`.

Data are first centred (if means are fitted) and divided by their root mean square, so that a fit
follows a change of units, and the floor of :math:`\tau` is a number.  With means, starts are spread
over the data by k-means++: half of them continue with Lloyd's iteration, which finds compact
classes, and half take the seeds as means of broad classes, which finds long ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.special import logsumexp

from hierdiff.checks import reals
from hierdiff.data.subspaces import joint_span, orthonormalise
from hierdiff.errors import InvalidParameter

__all__: list[str] = []  # used inside hierdiff only

Floats: TypeAlias = NDArray[np.float64]

# least residual variance, in units of the data's mean variance; the excess outweighs the rounding
# of the way back to the data's units, so that the documented 1e-6 is never undercut
_FLOOR = 1e-6 * (1 + 1e-12)
_DEAD = 1e-8  # share of the data below which a class keeps what it has
_LLOYD = 20  # at most so many steps of k-means: a start need not be a fixed point
_UNITS = (1e-70, 1e70)  # of data: their variances and the inverses are ordinary numbers


@dataclass(frozen=True, eq=False)
class FittedArrays:
    """Outcome of :func:`fit`; ``log_likelihood`` is the history of the best start, per datum.

    ``converged`` says whether that start stopped because the likelihood stood still.
    """

    weights: Floats
    means: Floats
    bases: Floats
    variances: Floats
    noise: float
    log_likelihood: tuple[float, ...] = ()
    converged: bool = False


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
    origin = x.mean(0) if em.with_means else np.zeros(x.shape[1])
    centred = x - origin
    unit = _unit(centred, em.with_means)
    centred /= unit
    frame = joint_span(centred.T)[0]
    if frame.shape[1] < em.rank:
        raise InvalidParameter(
            f"the data span {frame.shape[1]} directions, fewer than rank = {em.rank};"
            " lower the rank"
        )
    y = centred @ frame
    runs = (_run(y, x.shape[1], em, start, rng) for start in range(restarts))
    best = max(runs, key=lambda run: run.log_likelihood[-1])
    shift = x.shape[1] * float(np.log(unit))  # of the log-density, from the change of units
    return replace(
        best,
        means=origin + unit * (best.means @ frame.T),
        bases=np.stack(orthonormalise([frame @ basis for basis in best.bases])),
        variances=best.variances * unit**2,
        noise=best.noise * unit**2,
        log_likelihood=tuple(value - shift for value in best.log_likelihood),
    )


def _check_data(data: ArrayLike, classes: int, rank: int) -> Floats:
    x = reals("data", data)
    if x.ndim != 2 or x.size == 0:
        raise InvalidParameter(f"data of shape {x.shape} is empty or no matrix; give [N, D]")
    if len(x) < classes:
        raise InvalidParameter(
            f"N = {len(x)} data cannot fill K = {classes} classes; need 1 <= K <= N"
        )
    if not 0 < rank < x.shape[1]:
        raise InvalidParameter(
            f"rank = {rank} must lie between 1 and D - 1 = {x.shape[1] - 1}; lower it"
        )
    return x


def _unit(centred: Floats, with_means: bool) -> float:
    """Root mean square of the entries, without overflow."""
    largest = float(np.abs(centred).max())
    if largest == 0:
        what = "equal" if with_means else "zero"
        raise InvalidParameter(f"data are all {what}; nothing can be fitted")
    unit = largest * float(np.sqrt(np.mean((centred / largest) ** 2)))
    if not _UNITS[0] <= unit <= _UNITS[1]:
        raise InvalidParameter(
            f"data of root mean square {unit:.3g} have no variances in the range of floats; choose"
            f" units in which it lies in [{_UNITS[0]:g}, {_UNITS[1]:g}]"
        )
    return unit


def _run(y: Floats, dim: int, em: EM, start: int, rng: np.random.Generator) -> FittedArrays:
    """One start, then EM until the likelihood stands still."""
    if em.with_means:
        now = _spread_start(y, dim, em, rng, compact=start % 2 == 0)
    else:
        now = _start(y, dim, em, rng)
    history: list[float] = []
    for _ in range(em.iterations):
        joint = _log_joint(y, dim, now)
        norm = logsumexp(joint, axis=1, keepdims=True)
        history.append(float(norm.mean()))
        if len(history) > 1 and history[-1] - history[-2] < em.tolerance:
            return replace(now, log_likelihood=tuple(history), converged=True)
        now = _maximise(y, dim, np.exp(joint - norm), em.with_means, now)
    return replace(now, log_likelihood=tuple(history))


def _start(y: Floats, dim: int, em: EM, rng: np.random.Generator) -> FittedArrays:
    """Each class begins with the span of ``rank`` data drawn at random."""
    bases = []
    for _ in range(em.classes):
        rows = y[rng.choice(len(y), size=em.rank, replace=len(y) < em.rank)]
        bases.append(_span(rows, y.shape[1], dim, rng))
    return _broad(np.zeros((em.classes, y.shape[1])), np.stack(bases), dim)


def _span(rows: Floats, width: int, dim: int, rng: np.random.Generator) -> Floats:
    """Orthonormal basis of rows, which a little noise keeps from being dependent."""
    jitter = rng.standard_normal(rows.shape) * 1e-3 * np.sqrt(dim / width)
    return np.asarray(np.linalg.qr((rows + jitter).T)[0])


def _broad(means: Floats, bases: Floats, dim: int) -> FittedArrays:
    """Equal classes, half of the data's variance (``dim``) along the bases and half outside."""
    classes, _, rank = bases.shape
    return FittedArrays(
        weights=np.full(classes, 1 / classes),
        means=means,
        bases=bases,
        variances=np.full((classes, rank), dim / (2 * rank)),
        noise=dim / (2 * (dim - rank)),
    )


def _spread_start(
    y: Floats, dim: int, em: EM, rng: np.random.Generator, *, compact: bool
) -> FittedArrays:
    """Seeds spread over the data; then k-means, or broad classes around the seeds."""
    means = _seeds(y, em.classes, rng)
    label = _squares(y, means).argmin(axis=1)
    if not compact:
        bases = []
        for k in range(em.classes):
            near = y[label == k] - means[k]
            rows = near[rng.choice(len(near), size=em.rank, replace=len(near) < em.rank)]
            bases.append(_span(rows, y.shape[1], dim, rng))
        return _broad(means, np.stack(bases), dim)
    for _ in range(_LLOYD):
        for k in np.unique(label):
            means[k] = y[label == k].mean(axis=0)
        before, label = label, _squares(y, means).argmin(axis=1)
        if (label == before).all():
            break
    first = _broad(means, np.stack([np.eye(y.shape[1])[:, : em.rank]] * em.classes), dim)
    return _maximise(y, dim, np.eye(em.classes)[label], True, first)


def _seeds(y: Floats, classes: int, rng: np.random.Generator) -> Floats:
    """Data far from one another, by k-means++ (Arthur and Vassilvitskii 2007), greedy.

    Each seed is the best of a few candidates, drawn in proportion to their squared distance from
    the seeds so far; where all data coincide with seeds, any datum will do.
    """
    tries = 2 + int(np.log(classes))  # as many as scikit-learn takes
    found = [y[rng.integers(len(y))]]
    nearest = _squares(y, found[0][None])[:, 0]
    for _ in range(classes - 1):
        total = nearest.sum()
        chance = nearest / total if total > 0 else None
        candidates = y[rng.choice(len(y), size=tries, p=chance)]
        left = np.minimum(nearest[:, None], _squares(y, candidates))
        best = int(left.sum(axis=0).argmin())
        found.append(candidates[best])
        nearest = left[:, best]
    return np.stack(found)


def _squares(y: Floats, points: Floats) -> Floats:
    """Squared distances [N, K], from the differences: the expanded square cancels."""
    return np.stack([np.square(y - point).sum(axis=1) for point in points], axis=1)


def _log_joint(y: Floats, dim: int, now: FittedArrays) -> Floats:
    """Log of weight times density, [N, K]; ``dim`` counts the directions rotated away."""
    (classes, _, rank), tau = now.bases.shape, now.noise
    if now.means.any():
        along = np.stack([(y - m) @ b for m, b in zip(now.means, now.bases, strict=True)], axis=1)
        square = _squares(y, now.means)
    else:
        columns = np.concatenate(list(now.bases), axis=1)
        along = (y @ columns).reshape(len(y), classes, rank)
        square = (y * y).sum(1)[:, None]
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
        if weight < _DEAD * len(y):  # a dead class keeps its subspace and its mass of nothing
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
    # the mean variance is one in these units, whatever the classes leave of it
    return FittedArrays(
        mass / mass.sum(), means, bases, np.maximum(variances, _FLOOR), max(noise, _FLOOR)
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
