r"""Collapse: the noise level below which a data set of N data is memorised.

=================  =============================================================================
:math:`I(\sigma)`  mutual information :math:`I(x_0; x_t)` of the population, nats
:math:`N`          number of data
:math:`\sigma_C`   collapse: below it the own datum outweighs all the others together
=================  =============================================================================

Relative to the datum that :math:`x_t` was made from, each of the others weighs about
:math:`p(x_t)/p(x_t|x_0) \approx e^{-I}`; all of them together weigh as much as it when

.. math::

    \ln N = I(x_0; x_t)\big|_{\sigma_C} .

This is the condensation of a random energy model.  For a Gaussian of eigenvalues
:math:`\lambda_i`, :math:`I = \frac12\sum_i\ln(1+\lambda_i/\sigma^2)`; if they are all equal,
:math:`\sigma_C^2 = \lambda/(N^{2/d}-1)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.mixture import LowRankMixture
from hierdiff.seeds import Seed, generator
from hierdiff.theory._clocks import Threshold, positive_level
from hierdiff.theory.information import Estimate
from hierdiff.theory.low_rank import log_density
from hierdiff.theory.representation import weight_moments

__all__ = [
    "Information",
    "collapse_time",
    "mutual_information_gaussian",
    "mutual_information_mixture",
    "mutual_information_sampled",
]

Information: TypeAlias = Callable[[float], float]

_LOWEST = -150.0  # of ln sigma: each continuous direction then tells 150 nats


def mutual_information_gaussian(eigenvalues: ArrayLike, sigma: float) -> float:
    r"""Information of a Gaussian, :math:`I = \frac12\sum_i\ln(1+\lambda_i/\sigma^2)`, nats.

    Parameters
    ----------
    eigenvalues : array [d]
        Variances of the data along their axes, >= 0.
    sigma : float
        Noise level relative to the signal, > 0.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For negative or NaN eigenvalues, none at all, sigma <= 0.

    Notes
    -----
    Validity: exact for Gaussian data; an upper bound for any data of this covariance.

    Examples
    --------
    >>> round(mutual_information_gaussian([1.0, 1.0], 1.0), 6)
    0.693147
    """
    spectrum = np.asarray(eigenvalues, dtype=float)
    if spectrum.ndim != 1 or not spectrum.size or not ((spectrum >= 0) & (spectrum < np.inf)).all():
        raise InvalidParameter(
            f"eigenvalues of shape {spectrum.shape} must be one or more finite numbers >= 0"
        )
    return float(0.5 * np.log1p(spectrum / positive_level(sigma) ** 2).sum())


def mutual_information_mixture(classes: int, rank: int, delta: float, sigma: float) -> float:
    r"""Information of an orthogonal mixture of low-rank Gaussians, nats.

    .. math::

        I = \frac d2\ln\Big(1+\frac1{\sigma^2}\Big)
          + \frac{(K-1)d}2\ln\Big(1+\frac{\delta^2}{\sigma^2}\Big) + \ln K - H(k \mid x_t)

    Parameters
    ----------
    classes, rank : int
        K >= 1 and d >= 1.
    delta : float
        Residual amplitude in [0, 1].
    sigma : float
        Noise level relative to the signal, > 0.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For parameters out of range.

    Notes
    -----
    Validity: exact for K orthogonal subspaces of unit variance and equal weight; the entropy of
    the class is a one-dimensional integral, good to 1e-11.

    Examples
    --------
    >>> round(mutual_information_mixture(3, 5, 0.2, 0.5), 6)
    5.595315
    """
    v = positive_level(sigma) ** 2
    # one class has no other to be confused with; the moments check the rest
    entropy = weight_moments(max(classes, 2), rank, delta, sigma).entropy if classes != 1 else 0.0
    if classes < 1 or rank < 1:
        raise InvalidParameter(f"classes = {classes}, rank = {rank}: give at least 1 of each")
    own = rank * np.log1p(1 / v)
    others = (classes - 1) * rank * np.log1p(delta**2 / v)
    return float(0.5 * (own + others) + np.log(classes) - entropy)


def mutual_information_sampled(
    mixture: LowRankMixture, sigma: float, n: int, seed: Seed
) -> Estimate:
    r"""Information of any mixture by sampling, :math:`I = E[\log p(x_t|x_0) - \log p(x_t)]`.

    Parameters
    ----------
    mixture : LowRankMixture
        The population.
    sigma : float
        Noise level relative to the signal, > 0.
    n : int
        Draws, >= 2.
    seed : Seed
        Source of randomness.

    Returns
    -------
    Estimate
        Nats, with standard error.

    Raises
    ------
    InvalidParameter
        For sigma <= 0 or n < 2.

    Notes
    -----
    Validity: unbiased for any mixture.

    Examples
    --------
    >>> mixture = LowRankMixture.random(15, 5, 3, delta=0.2, seed=0)
    >>> found = mutual_information_sampled(mixture, 0.5, 4000, seed=1)
    >>> abs(found.value - mutual_information_mixture(3, 5, 0.2, 0.5)) < 4 * found.error
    True
    """
    level = positive_level(sigma)
    if n < 2:
        raise InvalidParameter(f"n = {n} draws have no standard error; ask for at least 2")
    rng = generator(seed)
    x0, _ = mixture.sample(n, rng)
    noise = rng.standard_normal(x0.shape)
    channel = -0.5 * np.vecdot(noise, noise) - mixture.dim * np.log(np.sqrt(2 * np.pi) * level)
    gain = channel - log_density(mixture, x0 + level * noise, level)
    return Estimate(float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(n)), n)


def collapse_time(n_data: float, population: ArrayLike | LowRankMixture | Information) -> Threshold:
    r"""Noise level at which a data set is memorised, :math:`\ln N = I(x_0; x_t)`.

    Parameters
    ----------
    n_data : float
        N > 1.
    population : array [d], LowRankMixture, or function
        Eigenvalues of a Gaussian; a mixture of orthogonal subspaces of equal rank, weight and unit
        variance; or the function I(sigma), nats, decreasing.

    Returns
    -------
    Threshold
        ``sigma``, and the Ornstein-Uhlenbeck ``time``.

    Raises
    ------
    InvalidParameter
        For N <= 1, or a mixture that is not of this kind.
    NoTransition
        If the information stays below ln N at every noise level.

    Notes
    -----
    Validity: sharp for d to infinity at fixed ln(N) / d.  At finite d the mean weight of the own
    datum passes 1/2 slightly above: by a share of about 1.4 / d at ln N = d / 4 (measured for
    isotropic Gaussians, d = 12 to 36).

    References
    ----------
    Biroli, Bonnaire, de Bortoli, Mezard, arXiv 2402.18491.

    Examples
    --------
    >>> found = collapse_time(20_000, np.ones(20))
    >>> round(found.sigma, 8), round(found.time, 8)
    (0.76873666, 0.23216756)
    """
    if not (np.isfinite(n_data) and n_data > 1):
        raise InvalidParameter(f"n_data = {n_data} must be finite and > 1; one datum is a copy")
    information = _information(population)
    wanted = float(np.log(n_data))

    def excess(log_sigma: float) -> float:
        return information(float(np.exp(log_sigma))) - wanted

    low, high = -1.0, 1.0
    while excess(high) > 0:
        high += 2
    while excess(low) < 0:
        low -= 2
        if low < _LOWEST:
            raise NoTransition(
                f"the information stays below ln N = {wanted:.4g} at every noise level; the data"
                " have no continuous direction, or N is too large"
            )
    return Threshold(float(np.exp(brentq(excess, low, high, xtol=1e-14, rtol=1e-14))))


def _information(population: ArrayLike | LowRankMixture | Information) -> Information:
    if isinstance(population, LowRankMixture):
        return _orthogonal_information(population)
    if callable(population):
        return population
    spectrum = np.asarray(population, dtype=float)
    mutual_information_gaussian(spectrum, 1.0)
    return lambda sigma: mutual_information_gaussian(spectrum, sigma)


def _orthogonal_information(mixture: LowRankMixture) -> Information:
    """Exact information of the mixtures that the closed form knows."""
    columns = np.hstack(mixture.bases)
    classes, rank, delta = mixture.n_classes, mixture.ranks[0], mixture.delta
    like = len(set(mixture.ranks)) == 1 and rank > 0 and not bool(mixture.means.any())
    like = like and all(bool((v == 1).all()) for v in mixture.variances)
    like = like and bool(np.ptp(mixture.weights) < 1e-12)
    like = like and (mixture.residual == "span" or delta == 0 or columns.shape[1] == mixture.dim)
    overlap = np.abs(columns.T @ columns - np.eye(columns.shape[1])).max(initial=0.0)
    if not like or overlap > 1e-9 or delta > 1:
        raise InvalidParameter(
            f"{mixture!r} is not orthogonal with equal ranks, weights and unit variances; pass the"
            " function sigma -> I(sigma) instead, e.g. mutual_information_sampled"
        )
    return lambda sigma: mutual_information_mixture(classes, rank, delta, sigma)
