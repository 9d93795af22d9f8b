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
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from hierdiff.checks import checked, fraction, number, reals, unchecked, whole
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.seeds import Seed, generator
from hierdiff.theory.mixture.posterior import log_density
from hierdiff.theory.mixture.snr_integrals import weight_moments
from hierdiff.theory.mixture.time_change import Threshold, positive_level
from hierdiff.theory.rhm.information import Estimate

__all__ = [
    "Information",
    "collapse_time",
    "mutual_information_gaussian",
    "mutual_information_mixture",
    "mutual_information_sampled",
    "variances_of",
]

Information: TypeAlias = Callable[[float], float]

_LOWEST = -150.0  # of ln sigma: each continuous direction then tells 150 nats


def variances_of(eigenvalues: ArrayLike) -> NDArray[np.float64]:
    """One or more finite variances >= 0."""
    spectrum = reals("eigenvalues", eigenvalues, 0)
    if spectrum.ndim != 1 or not spectrum.size:
        raise InvalidParameter(
            f"eigenvalues of shape {spectrum.shape} must be one or more finite numbers >= 0"
        )
    return spectrum


@checked(eigenvalues=unchecked, sigma=unchecked)
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
    spectrum, level = variances_of(eigenvalues), positive_level(sigma)
    with np.errstate(divide="ignore"):  # no variance tells nothing
        return float(0.5 * np.logaddexp(0, np.log(spectrum) - 2 * np.log(level)).sum())


@checked(
    classes=partial(whole, low=1, high=10**15), rank=partial(whole, low=1, high=10**15),
    delta=fraction, sigma=unchecked,
)  # fmt: skip
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
    own = rank * np.logaddexp(0, -np.log(v))
    others = (classes - 1) * rank * np.log1p(delta**2 / v)
    return float(0.5 * (own + others) + np.log(classes) - entropy)


@checked(sigma=unchecked, n=partial(whole, low=2))
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
    rng = generator(seed)
    x0, _ = mixture.sample(n, rng)
    noise = rng.standard_normal(x0.shape)
    channel = -0.5 * np.vecdot(noise, noise) - mixture.dim * np.log(np.sqrt(2 * np.pi) * level)
    # relative to the mean, so that adding the noise keeps its digits
    centre = mixture.weights @ mixture.means
    centred = LowRankMixture(
        mixture.bases, mixture.weights, mixture.variances, mixture.delta, mixture.residual,
        mixture.means - centre,
    )  # fmt: skip
    gain = channel - log_density(centred, (x0 - centre) + level * noise, level)
    return Estimate(float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(n)), n)


@checked(n_data=unchecked, population=unchecked)
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
    count = number("n_data", n_data)
    if not count > 1:
        raise InvalidParameter(f"n_data = {n_data} must be finite and > 1; one datum is a copy")
    information = _information(population)
    wanted = float(np.log(count))

    def excess(log_sigma: float) -> float:
        return number("information(sigma)", information(float(np.exp(log_sigma)))) - wanted

    low, high = -1.0, 1.0
    while excess(high) > 0:
        high += 2
        if high > -_LOWEST:
            raise NoTransition(
                f"the information stays above ln N = {wanted:.4g} at every noise level; give one"
                " that vanishes in much noise"
            )
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
    spectrum = variances_of(population)
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
