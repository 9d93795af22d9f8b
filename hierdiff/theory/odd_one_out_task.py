r"""Odd one out among three: simulated observers who compare data by their latent trees.

=================  =============================================================================
:math:`S_{ij}`     similarity of data i and j to an observer
:math:`w_l`        weight of level l (0 the class, L the leaves)
:math:`T`          temperature: 0 always picks the most similar pair, infinity guesses
=================  =============================================================================

.. math::
    S_{ij} = \sum_l w_l \frac1{n_l} \sum_{u \text{ of level } l} 1[z_{l,u}^i = z_{l,u}^j], \qquad
    P(k \text{ is the odd one of } i,j,k) = \frac{e^{S_{ij}/T}}
    {e^{S_{ij}/T} + e^{S_{ik}/T} + e^{S_{jk}/T}} .

A model answers with the pair of largest similarity of its own; an exact tie counts as wrong.  The
best answer is right with probability max P, whose mean over triplets is the noise ceiling.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    array,
    checked,
    count,
    memory,
    number,
    reals,
    sound,
    whole,
)
from hierdiff.data.derivations import Derivations
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = [
    "expected_accuracy",
    "label_accuracy",
    "noise_ceiling",
    "odd_one_out",
    "surviving_levels",
    "tree_mixture",
    "tree_similarity",
]

Array = NDArray[Any]
Ties: TypeAlias = Literal["wrong", "shared"]


_ABOVE_ZERO = partial(number, above=0)


@checked
@sound
def tree_similarity(data: Derivations, weights: ArrayLike) -> Array:
    r"""Similarity of all pairs of data by shared latents, level by level.

    Parameters
    ----------
    data : Derivations
        n data with L + 1 levels.
    weights : array [L + 1]
        :math:`w_l \ge 0`, not all zero, root first.

    Returns
    -------
    array [n, n]
        Symmetric; the diagonal is the sum of the weights.

    Raises
    ------
    InvalidParameter
        For another number of weights, negative ones, or all zero.

    Notes
    -----
    Validity: exact; positions are compared one by one, as the tree is the same for all data.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> data = RHM(v=4, m=2, s=2, L=2).draw(seed=0).sample(3, seed=1)
    >>> tree_similarity(data, [1.0, 0.5, 0.25]).round(4)
    array([[1.75  , 0.    , 0.0625],
           [0.    , 1.75  , 0.0625],
           [0.0625, 0.0625, 1.75  ]])
    """
    w = reals("weights", weights)
    if w.shape != (len(data.levels),) or (w < 0).any() or not w.any():
        raise InvalidParameter(
            f"weights = {str(w.tolist())[:80]} must be {len(data.levels)} numbers >= 0, not all "
            "zero"
        )
    memory(f"the similarity of {len(data)} data", 16.0 * len(data) ** 2)
    total = np.zeros((len(data), len(data)))
    for weight, level in zip(w, data.levels, strict=True):
        if weight > 0:
            for column in level.T:
                total += weight / level.shape[1] * (column[:, None] == column)
    return total


@checked(temperature=number)
@sound
def odd_one_out(similarity: ArrayLike, triplets: ArrayLike, temperature: float) -> Array:
    r"""Probability of each of three data to be called the odd one.

    Parameters
    ----------
    similarity : array [n, n]
        Of all pairs.
    triplets : int array [k, 3]
    temperature : float
        T > 0.

    Returns
    -------
    array [k, 3]
        Rows sum to one; column j belongs to the j-th datum of the triplet.

    Raises
    ------
    InvalidParameter
        For T <= 0, similarities that are not square or hold NaN, or data that do not exist or
        repeat.

    Notes
    -----
    Validity: the softmax choice rule of the odd-one-out literature (Hebart et al. 2020), here as
    the definition of an observer.

    Examples
    --------
    >>> odd_one_out([[1, 1, 0], [1, 1, 0], [0, 0, 1]], [[0, 1, 2]], 0.5).round(4)
    array([[0.1065, 0.1065, 0.787 ]])
    """
    s = _square(similarity)
    rows = checked_triplets(triplets, len(s))
    if not temperature > 0:
        raise InvalidParameter(f"temperature = {temperature} must be > 0; 1e-9 never errs")
    pairs = pair_similarities(s, rows) / temperature
    weight = np.exp(pairs - pairs.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _square(similarity: ArrayLike) -> Array:
    """Similarities [n, n] of all pairs."""
    s = reals("similarity", similarity)
    if s.ndim != 2 or s.shape[0] != s.shape[1]:
        raise InvalidParameter(f"similarity has shape {s.shape}; give all pairs: [n, n]")
    return s


def _laws(name: str, values: ArrayLike) -> Array:
    """Probabilities [k, 3] of each of three to be the odd one; at least one row."""
    p = reals(name, values, low=0)
    if p.ndim != 2 or p.shape[1:] != (3,) or not len(p):
        raise InvalidParameter(f"{name} has shape {p.shape}; give a row of three per triplet")
    gap = np.abs(p.sum(axis=1) - 1)
    if gap.max() > 1e-6:  # rows of single precision are within 2e-7
        row = int(gap.argmax())
        raise InvalidParameter(
            f"{name}[{row}] sums to {p[row].sum():.6g}; give probabilities that sum to 1"
        )
    return p


def pair_similarities(similarity: Array, triplets: Array) -> Array:
    """Similarity of the pair that is left when column j is taken out, [k, 3]."""
    i, j, k = triplets.T
    return np.stack([similarity[j, k], similarity[i, k], similarity[i, j]], axis=1)


def checked_triplets(triplets: ArrayLike, n: int) -> Array:
    """Integer array [k, 3] of different data below n."""
    rows = array("triplets", triplets)
    if rows.ndim != 2 or rows.shape[1:] != (3,) or rows.dtype.kind not in "iu" or not len(rows):
        raise InvalidParameter(
            f"triplets of shape {rows.shape} and type {rows.dtype} must be integers [k, 3]"
        )
    if rows.min() < 0 or rows.max() >= n:
        bad = int(np.argmax(((rows < 0) | (rows >= n)).any(axis=1)))
        raise InvalidParameter(
            f"triplet {bad} = {rows[bad].tolist()} names an unknown object; there are {n}"
        )
    same = (rows[:, 0] == rows[:, 1]) | (rows[:, 0] == rows[:, 2]) | (rows[:, 1] == rows[:, 2])
    if same.any():
        bad = int(np.argmax(same))
        raise InvalidParameter(f"triplet {bad} = {rows[bad].tolist()} repeats an object; drop it")
    return rows.astype(np.intp)


@checked
def noise_ceiling(probabilities: ArrayLike) -> float:
    r"""Best possible accuracy against these observers, :math:`E[\max_j P_j]`.

    Parameters
    ----------
    probabilities : array [k, 3]
        From :func:`odd_one_out`.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For rows that are no probabilities of three answers.

    Notes
    -----
    Validity: exact for one answer per triplet by independent observers of the same law.

    Examples
    --------
    >>> noise_ceiling([[0.5, 0.3, 0.2], [1 / 3, 1 / 3, 1 / 3]])
    0.41666666666666663
    """
    return float(_laws("probabilities", probabilities).max(axis=1).mean())


@checked
@sound
def expected_accuracy(
    similarity: ArrayLike, triplets: ArrayLike, responses: ArrayLike, *, ties: Ties = "wrong"
) -> Array:
    r"""Expected accuracy of a model's similarity on every triplet, averaged over the responses.

    Parameters
    ----------
    similarity : array [n, n]
        The model's.
    triplets : int array [k, 3]
    responses : array [k, 3]
        Probabilities of the three responses, from :func:`odd_one_out`.
    ties : {"wrong", "shared"}
        A tie counts as wrong, as in the published protocol, or as a guess among the tied pairs.

    Returns
    -------
    array [k]
        Probability that an observer gives the model's answer.

    Raises
    ------
    InvalidParameter
        As :func:`odd_one_out`, or for responses that are no probabilities, one row per triplet.

    Notes
    -----
    Validity: exact: the responses are averaged, not sampled.  Random similarities without ties have
    mean 1/3, whatever the observers do.

    Examples
    --------
    >>> expected_accuracy([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]], [[0, 1, 2]], [[0.1, 0.1, 0.8]])
    array([0.8])
    """
    s, law = _square(similarity), _laws("responses", responses)
    pairs = pair_similarities(s, checked_triplets(triplets, len(s)))
    if law.shape != pairs.shape:
        raise InvalidParameter(
            f"responses have {len(law)} rows for {len(pairs)} triplets; give one row per triplet"
        )
    top = pairs.max(axis=1, keepdims=True)
    tied = top - pairs <= 1e-12 * np.maximum(np.abs(top), 1e-300)
    guess = (tied * law).sum(axis=1) / tied.sum(axis=1)
    return guess if ties == "shared" else np.where(tied.sum(axis=1) > 1, 0.0, guess)


@checked(n_classes=partial(whole, low=None, high=2**53), weight=number, temperature=number)
def label_accuracy(n_classes: int, weight: float, temperature: float) -> float:
    r"""Accuracy of a model of the class alone, against observers who compare nothing else.

    .. math:: \frac{3(n-1)}{n^2}\; \frac{e^{w/T}}{e^{w/T} + 2}

    Parameters
    ----------
    n_classes : int
        n equiprobable classes, >= 2.
    weight, temperature : float
        w > 0 and T > 0 of the observers.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For n < 2 or weight, temperature <= 0.

    Notes
    -----
    Validity: exact.  Only triplets in which exactly two share their class can be answered; all
    others are ties, and count as wrong.

    Examples
    --------
    >>> round(label_accuracy(8, 1.0, 0.22), 6)
    0.321304
    """
    if n_classes < 2 or not (weight > 0 and temperature > 0):
        raise InvalidParameter(
            f"n_classes = {n_classes} must be >= 2, weight = {weight} and temperature = "
            f"{temperature} > 0"
        )
    with np.errstate(over="ignore"):  # a ratio beyond float64 is certainty
        certain = 1 / (1 + 2 * np.exp(-np.float64(weight) / temperature))
    return float(3 * (n_classes - 1) / n_classes**2 * certain)


@checked
@sound
def surviving_levels(variances: ArrayLike, sigma: ArrayLike) -> Array:
    r"""Share of each tree level that the posterior mean of a Gaussian keeps.

    Class means on a tree, :math:`\mu_k = \sum_l b_{l,\,\mathrm{anc}_l(k)}` with between-group
    variances :math:`\tau_l^2` per direction: the level's coordinates are multiplied by

    .. math:: g_l = \frac{\tau_l^2}{\tau_l^2 + \sigma^2}, \qquad g_l = \tfrac12
       \text{ at } \sigma^2 = \tau_l^2 .

    Parameters
    ----------
    variances : array [levels]
        :math:`\tau_l^2 \ge 0`.
    sigma : float or array [k]
        Noise relative to the signal, > 0.

    Returns
    -------
    array [levels] or [k, levels]

    Raises
    ------
    InvalidParameter
        For negative variances or sigma <= 0.

    Notes
    -----
    Validity: exact when the levels' offsets live in orthogonal directions and are Gaussian; for
    discrete offsets the linear (Wiener) part.

    Examples
    --------
    >>> surviving_levels([4.0, 1.0, 0.25], 1.0)
    array([0.8, 0.5, 0.2])
    """
    tau, s = reals("variances", variances, ndim=1), reals("sigma", sigma, ndim=(0, 1))
    if not (tau >= 0).all() or not (s > 0).all():
        raise InvalidParameter(
            f"variances = {str(tau.tolist())[:60]} must be >= 0 and sigma = {str(s.tolist())[:60]}"
            " > 0"
        )
    return np.asarray(tau / (tau + s[..., None] ** 2))


@checked(width=count, within=partial(number, low=0, high=1e100))
def tree_mixture(
    groups: tuple[int, ...], variances: tuple[float, ...], width: int, within: float, seed: Seed
) -> tuple[LowRankMixture, Array]:
    r"""Mixture whose class means lie on a tree, each level in directions of its own.

    .. math:: \mu_k = \sum_l E_l\, b_{l,\,\mathrm{anc}_l(k)}, \qquad b_{l,u} \sim N(0, \tau_l^2 I),
       \qquad S_k = \rho^2 I

    Parameters
    ----------
    groups : tuple of int
        Branching per level, from the top; their product is K.
    variances : tuple of float
        :math:`\tau_l^2 > 0` per level.
    width : int
        Directions per level; level l owns columns l width to (l + 1) width.
    within : float
        :math:`\rho \ge 0`, spread inside a class.
    seed : Seed
        Source of the offsets.

    Returns
    -------
    mixture : LowRankMixture
        K equiprobable classes in len(groups) * width dimensions.
    nodes : int array [K, levels]
        Number of each class's ancestor at each level.

    Raises
    ------
    InvalidParameter
        For other numbers of variances, or sizes below one.

    Notes
    -----
    Validity: offsets are drawn once, so a level's variance between groups fluctuates by
    sqrt(2 / (groups of the level * width)) around its own.

    Examples
    --------
    >>> mixture, nodes = tree_mixture((2, 2), (4.0, 1.0), 3, 0.1, seed=0)
    >>> mixture.n_classes, mixture.dim, nodes.tolist()
    (4, 6, [[0, 0], [0, 1], [1, 2], [1, 3]])
    """
    if len(groups) != len(variances) or min((*groups, width)) < 1 or min(variances) <= 0:
        raise InvalidParameter(
            f"groups = {groups} and variances = {variances} must be as many numbers above 0, "
            f"width = {width} at least 1"
        )
    rng, classes = generator(seed), math.prod(groups)
    dim = width * len(groups)
    memory(f"{classes} classes in {dim} dimensions", 24.0 * classes * dim**2)
    counts = np.cumprod(groups)
    nodes = np.stack([np.arange(classes) // (classes // n) for n in counts], axis=1)
    offsets = [
        np.sqrt(tau) * rng.standard_normal((n, width))
        for n, tau in zip(counts, variances, strict=True)
    ]
    means = np.hstack([b[nodes[:, l]] for l, b in enumerate(offsets)])
    eye = np.eye(means.shape[1])
    spread = [np.full(len(eye), float(within) ** 2)] * classes
    return LowRankMixture([eye] * classes, variances=spread, means=means), nodes
