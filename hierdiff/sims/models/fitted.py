r"""Denoisers of a low-rank mixture that are fitted to data, between the oracle and memory.

====================  ==========================================================================
``exact``             the oracle: the mixture that the data were drawn from
``supervised_ppca``   probabilistic PCA of every class with a shared residual, from data whose
                      classes are known
``ppca_mixture``      mixture of PPCA by EM without labels, the residual shared by the classes as in
                      the data model
``ppca_mixture_own``  mixture of PPCA by EM without labels, a residual of its own for every class,
                      from random subspaces
``memorising``        the empirical distribution of the data set
====================  ==========================================================================

A fitted mixture is a :class:`hierdiff.data.low_rank_mixture.LowRankMixture`; as a diffusion model
it is ``ExactMixture(fit_supervised(x, k, rank), GaussianNoise())``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from hierdiff.checks import checked, count, integers, number, reals, whole
from hierdiff.data.low_rank_mixture import EM, LowRankMixture, fit
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.mixture.memorisation import empirical_denoise
from hierdiff.theory.mixture.posterior import denoise

__all__ = ["LABELS", "MODELS", "ModelName", "fit_ppca_mixture", "fit_supervised"]

Floats: TypeAlias = NDArray[np.float64]
Denoiser: TypeAlias = Callable[[Floats, float], Floats]
"""E[x0 | y] of y = x0 + sigma eps, as a function of y and sigma."""
ModelName: TypeAlias = Literal[
    "exact", "supervised_ppca", "ppca_mixture", "ppca_mixture_own", "memorising"
]

MODELS: tuple[ModelName, ...] = get_args(ModelName)
OLD_MODELS = {
    "labelled": "supervised_ppca", "fitted": "ppca_mixture", "separate": "ppca_mixture_own",
}  # fmt: skip
"""Names of an older version."""
LABELS = {
    "exact": "oracle",
    "supervised_ppca": "supervised PPCA",
    "ppca_mixture": "mixture of PPCA by EM",
    "ppca_mixture_own": "mixture of PPCA by EM, own residuals",
    "memorising": "memorising",
}
"""What figures and tables call the models."""
# Least residual variance, in units of the data's mean variance: a class with no more points than
# dimensions has none at all, and its density would be infinite.
_FLOOR = 1e-6


def denoiser_of(
    name: str, mixture: LowRankMixture, data: Floats, labels: NDArray[np.intp], restarts: int,
    seed: Seed,
) -> Denoiser:  # fmt: skip
    """The denoiser of that name, made from training data of the mixture."""
    if name == "memorising":
        return lambda y, sigma: empirical_denoise(data, y, sigma)
    model = _mixture_of(name, mixture, data, labels, restarts, seed)
    return lambda y, sigma: denoise(model, y, sigma)


def _mixture_of(
    name: str, mixture: LowRankMixture, data: Floats, labels: NDArray[np.intp], restarts: int,
    seed: Seed,
) -> LowRankMixture:  # fmt: skip
    classes, rank = mixture.n_classes, mixture.ranks[0]
    if name == "exact":
        return mixture
    if name == "supervised_ppca":
        return fit_supervised(data, labels, rank)
    if name == "ppca_mixture":
        # the study reads what EM reaches in its 500 steps, converged or not
        em = EM(classes, rank, with_means=False, iterations=500, tolerance=1e-7)
        f = fit(data, em, restarts, generator(seed))
        return LowRankMixture(list(f.bases), f.weights, list(f.variances), f.noise**0.5, "ambient")
    if name == "ppca_mixture_own":
        return fit_ppca_mixture(data, classes, rank, seed=seed, restarts=restarts)
    raise InvalidParameter(f"model {name!r} is unknown; use {', '.join(MODELS)}")


@checked(rank=count)
def fit_supervised(data: ArrayLike, labels: ArrayLike, rank: int) -> LowRankMixture:
    r"""Probabilistic PCA of every class with a shared residual: the likelihood's maximum.

    Parameters
    ----------
    data : array [N, D]
    labels : int array [N]
        Classes 0 .. K - 1, each present.
    rank : int
        d < D.

    Returns
    -------
    LowRankMixture
        Zero means, ``residual="ambient"``.

    Raises
    ------
    InvalidParameter
        If d >= D, a class is missing, or labels and data do not fit.

    Notes
    -----
    Validity: exact maximum of the likelihood of data and labels as long as no leading variance
    lies below the residual.

    Examples
    --------
    >>> x = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> fit_supervised(x, np.array([0, 0, 1, 1]), 1).variances
    (array([4.]), array([1.]))
    """
    data = _points(data, rank)
    labels = integers("labels", labels, 0, len(data), shape=(len(data),))
    classes = int(labels.max()) + 1
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise InvalidParameter(
            f"class {int(counts.argmin())} has no data; give labels 0 .. K - 1, each present"
        )
    bases, variances, left = [], [], 0.0
    for k in range(classes):
        mine = data[labels == k]
        values, vectors = np.linalg.eigh(mine.T @ mine / len(mine))
        bases.append(vectors[:, -rank:])
        variances.append(values[-rank:])
        left += counts[k] / len(data) * float(values[:-rank].sum())
    floor = _FLOOR * float(np.mean(data**2))
    noise = max(left / (data.shape[1] - rank), floor)
    kept = [np.maximum(v, noise) for v in variances]
    return LowRankMixture(bases, counts / len(data), kept, noise**0.5, "ambient")


@checked(
    classes=count, rank=count, restarts=partial(whole, low=1, high=10**5),
    iterations=partial(whole, low=1, high=10**6), tolerance=partial(number, low=0),
)  # fmt: skip
def fit_ppca_mixture(
    data: ArrayLike, classes: int, rank: int, *, seed: Seed, restarts: int = 6,
    iterations: int = 500, tolerance: float = 1e-7,
) -> LowRankMixture:  # fmt: skip
    r"""EM for a mixture of probabilistic PCA: every class has a residual variance of its own.

    .. math:: x \mid k \sim N(0,\; U_k\Lambda_kU_k^T + \tau_k (I - U_kU_k^T))

    Parameters
    ----------
    data : array [N, D]
    classes, rank : int
        K, and d < D.
    seed : Seed
        Source of the starting subspaces, uniform and independent.
    restarts, iterations, tolerance
        As in :meth:`LowRankMixture.fit`.

    Returns
    -------
    LowRankMixture
        With bases of full rank D, whose last D - d variances are the residual's.

    Raises
    ------
    InvalidParameter
        If d >= D, or there are fewer data than classes.

    Notes
    -----
    Validity: a local maximum of the likelihood, the best of the starts; zero means.

    References
    ----------
    Tipping and Bishop, Mixtures of probabilistic principal component analysers, Neural
    Computation 11 (1999).

    Examples
    --------
    >>> x = np.diag([3.0, 1.0, 1.0])[[0, 0, 1, 2]] * np.array([[1], [-1], [1], [1]])
    >>> model = fit_ppca_mixture(x, 1, 1, seed=0, restarts=1)
    >>> model.ranks, model.variances[0].round(6)
    ((3,), array([4.5 , 0.25, 0.25]))
    """
    data = _points(data, rank)
    if len(data) < classes:
        raise InvalidParameter(f"{len(data)} data cannot fill {classes} classes; give more data")
    rng = generator(seed)
    runs = [_climb(data, classes, rank, rng, iterations, tolerance) for _ in range(restarts)]
    _, weights, axes, values = max(runs, key=lambda run: run[0])
    return LowRankMixture(list(axes), weights, list(values), 0.0, "ambient")


def _points(data: ArrayLike, rank: int) -> Floats:
    """Data [N, D] of more dimensions than the rank."""
    # squares of larger numbers, summed, leave float64
    x = reals("data", data, -1e100, 1e100, ndim=2, least=1)
    if x.shape[1] <= rank:
        raise InvalidParameter(f"rank = {rank} must be below the data's {x.shape[1]} dimensions")
    if not np.abs(x).max() > 1e-100:
        raise InvalidParameter("data are zero; give data with some variance")
    return x


def _climb(
    x: Floats, classes: int, rank: int, rng: np.random.Generator, iterations: int, tolerance: float
) -> tuple[float, Floats, Floats, Floats]:
    """One start: log-likelihood per datum, weights [K], axes [K, D, D], variances [K, D]."""
    n, dim = x.shape
    power = float(np.vdot(x, x)) / n
    weights = np.full(classes, 1 / classes)
    axes = np.linalg.qr(rng.standard_normal((classes, dim, dim)))[0]
    values = np.full((classes, dim), power / (2 * (dim - rank)))
    values[:, :rank] = power / (2 * rank)
    floor, reached = _FLOOR * power / dim, -np.inf
    for _ in range(iterations):
        joint = _log_joint(x, weights, axes, values)
        norm = logsumexp(joint, axis=1, keepdims=True)
        gain, reached = float(norm.mean()) - reached, float(norm.mean())
        if gain < tolerance:
            break
        share = np.exp(joint - norm)
        weights = share.mean(axis=0)
        for k in np.flatnonzero(weights > 1e-8):
            ascending, vectors = np.linalg.eigh((x.T * share[:, k]) @ x / (n * weights[k]))
            axes[k], spectrum = vectors[:, ::-1], ascending[::-1].copy()
            spectrum[rank:] = spectrum[rank:].mean()
            values[k] = np.maximum(spectrum, floor)
    return reached, weights, axes, values


def _log_joint(x: Floats, weights: Floats, axes: Floats, values: Floats) -> Floats:
    """Log of weight times density, [N, K]."""
    quadratic = [
        np.square(x @ u) @ (1 / v) + np.log(v).sum() for u, v in zip(axes, values, strict=True)
    ]
    volume = x.shape[1] * np.log(2 * np.pi)
    out: Floats = np.log(np.maximum(weights, 1e-300)) - 0.5 * (np.stack(quadratic, 1) + volume)
    return out
