"""Laws: collapse, information and error, speciation, and what a memorised data set loses.

Each law is tested by its z-score against sampling with the data sets, or the draws, as units, and
next to it stands a wrong law of the same form that the same test must reject.  Biases of finite d
are stated as tolerances; everything else is statistical error, |z| < Z.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.theory.mixture.collapse import (
    collapse_time,
    mutual_information_mixture,
    mutual_information_sampled,
)
from hierdiff.theory.mixture.geometric_memorisation import empirical_jacobian
from hierdiff.theory.mixture.memorisation import (
    empirical_denoise,
    empirical_posterior,
    memorization_fraction,
)
from hierdiff.theory.mixture.posterior import denoise
from hierdiff.theory.mixture.speciation import log_ratio_moments, speciation_orthogonal

Array = np.ndarray[Any, Any]
Z = 4.0


def z_score(values: Array, wanted: float = 0.0) -> float:
    return float((values.mean() - wanted) / (values.std(ddof=1) / np.sqrt(len(values))))


# --- collapse -------------------------------------------------------------------------------------

BIAS = 2.0  # the own weight passes 1/2 at sigma_C (1 + b / d), b between 0 and BIAS
SIZES = [(12, 0.25), (16, 0.25), (24, 0.25), (16, 0.4), (10, 0.6)]


def own_weight(data: Array, own: Array, noise: Array, sigma: float) -> Array:
    found = empirical_posterior(data, data[own] + sigma * noise, sigma, own=own).own_weight
    assert found is not None
    return found


def crossing(data: Array, rng: np.random.Generator, queries: int, near: float) -> float:
    """Noise level at which the mean weight of the own datum is 1/2."""
    own = np.arange(queries) % len(data)
    noise = rng.standard_normal((queries, data.shape[1]))
    return float(
        brentq(
            lambda s: own_weight(data, own, noise, s).mean() - 0.5, 0.4 * near, 3 * near, xtol=1e-3
        )
    )


@lru_cache
def crossings(d: int, alpha: float) -> tuple[int, Array]:
    n, out = round(np.exp(alpha * d)), []
    near = collapse_time(n, np.ones(d)).sigma
    for seed in range(8):
        rng = np.random.default_rng(seed)
        out.append(crossing(rng.standard_normal((n, d)), rng, 600, near))
    return n, np.array(out)


def collapse_z(law: Callable[[int, int], float], d: int, alpha: float) -> float:
    """Distance of the crossing from [1, 1 + BIAS / d] in units of the law, standard errors."""
    n, found = crossings(d, alpha)
    ratio = found / law(n, d)
    error = ratio.std(ddof=1) / np.sqrt(len(ratio))
    return float(max(1 - ratio.mean(), ratio.mean() - 1 - BIAS / d, 0) / error)


WRONG_COLLAPSE: dict[str, Callable[[int, int], float]] = {
    "N^(1/d) instead of N^(2/d)": lambda n, d: 1 / np.sqrt(n ** (1 / d) - 1),
    "-1 forgotten": lambda n, d: n ** (-1 / d),
    "own datum against N / e others": lambda n, d: 1 / np.sqrt((n / np.e) ** (2 / d) - 1),
}


@pytest.mark.parametrize(("d", "alpha"), SIZES)
def test_collapse_of_gaussian_data(d: int, alpha: float) -> None:
    assert collapse_z(lambda n, d: collapse_time(n, np.ones(d)).sigma, d, alpha) < Z


@pytest.mark.parametrize("wrong", WRONG_COLLAPSE)
def test_wrong_collapse_is_rejected(wrong: str) -> None:
    worst = max(collapse_z(WRONG_COLLAPSE[wrong], *size) for size in SIZES)
    assert worst > 2 * Z


def test_bias_of_the_collapse_vanishes_as_the_dimension_grows() -> None:
    excess = []
    for d in (12, 24):
        n, found = crossings(d, 0.25)
        excess.append(found / collapse_time(n, np.ones(d)).sigma - 1)
    assert 1.4 < excess[0].mean() / excess[1].mean() < 2.4


@pytest.mark.parametrize(
    ("share", "known"), [(0.6, 0.9854), (0.8, 0.8390), (1.0, 0.5766), (1.2, 0.3205)]
)
def test_own_weight_known_in_advance(share: float, known: float) -> None:
    """A19, from one draw of some 200 queries: d = 20, N = 20,000."""
    sigma = share * collapse_time(20_000, np.ones(20)).sigma
    weights = []
    for seed in range(3):
        rng = np.random.default_rng(100 + seed)
        data, own = rng.standard_normal((20_000, 20)), np.arange(500)
        weights.append(own_weight(data, own, rng.standard_normal((500, 20)), sigma))
    flat = np.concatenate(weights)
    error = flat.std() * np.sqrt(1 / len(flat) + 1 / 200)
    assert abs(flat.mean() - known) < 3 * error


@pytest.mark.parametrize(
    ("classes", "rank", "delta", "n"), [(3, 10, 0.2, 1000), (3, 10, 0.5, 1000), (4, 8, 0.4, 2000)]
)
def test_collapse_of_mixtures(classes: int, rank: int, delta: float, n: int) -> None:
    """Planted: the residual's directions do not count, with all data or those of the class."""
    mixture = LowRankMixture.random(classes * rank, rank, classes, delta=delta, seed=0)
    near, levels = collapse_time(n, mixture).sigma, []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        levels.append(crossing(mixture.sample(n, rng)[0], rng, 600, near))

    def z(law: float) -> float:
        ratio = np.array(levels) / law
        outside = max(1 - ratio.mean(), ratio.mean() - 1 - 1.25 / rank, 0)
        return float(outside / (ratio.std(ddof=1) / np.sqrt(len(ratio))))

    assert z(near) < Z
    assert z(collapse_time(n, np.ones(rank)).sigma) > 2 * Z
    if delta > 0.2:
        assert z(collapse_time(n / classes, np.ones(rank)).sigma) > 2 * Z


def test_below_the_collapse_denoising_copies_and_above_it_does_not() -> None:
    d, n = 20, 2000
    level = collapse_time(n, np.ones(d)).sigma
    rng = np.random.default_rng(0)
    data, noise = rng.standard_normal((n, d)), rng.standard_normal((400, d))
    share = [
        memorization_fraction(
            data, empirical_denoise(data, data[:400] + s * level * noise, s * level)
        )
        for s in (0.4, 0.7, 1.0, 1.5, 2.5)
    ]
    assert share[0] > 0.99
    assert share[4] < 0.01
    assert (np.diff(share) < 0).all()


def test_the_flow_of_the_empirical_score_ends_on_the_data() -> None:
    """Probability flow from pure noise: the data set's generates copies, the population's none."""
    rng = np.random.default_rng(1)
    mixture = LowRankMixture.random(12, 6, 2, delta=0.2, seed=0)
    data, _ = mixture.sample(60, rng)
    x = start = 20 * rng.standard_normal((60, 12))
    levels = np.geomspace(20, 0.01, 120)
    y = start
    for high, low in zip(levels[:-1], levels[1:], strict=True):
        x = x + (low / high - 1) * (x - empirical_denoise(data, x, high))
        y = y + (low / high - 1) * (y - denoise(mixture, y, high))
    assert memorization_fraction(data, empirical_denoise(data, x, 0.01)) == 1
    assert memorization_fraction(data, denoise(mixture, y, 0.01)) < 0.1


# --- information ----------------------------------------------------------------------------------

MIXTURES = [(3, 5, 0.2, 0.3257), (3, 5, 0.2, 0.8), (2, 5, 0.5, 1.0), (5, 3, 0.1, 0.4)]
WRONG_INFORMATION: dict[str, Callable[[int, int, float, float], float]] = {
    "class entropy forgotten": lambda K, d, delta, s: (
        mutual_information_mixture(1, d, 0.0, s)
        + (K - 1) * d / 2 * np.log1p(delta**2 / s**2)
        + np.log(K)
    ),
    "residual forgotten": lambda K, d, delta, s: (
        mutual_information_mixture(K, d, delta, s) - (K - 1) * d / 2 * np.log1p(delta**2 / s**2)
    ),
    "classes known": lambda K, d, delta, s: (
        mutual_information_mixture(1, d, 0.0, s) + (K - 1) * d / 2 * np.log1p(delta**2 / s**2)
    ),
}


@lru_cache
def sampled_information(case: tuple[int, int, float, float]) -> tuple[float, float]:
    classes, rank, delta, sigma = case
    mixture = LowRankMixture.random(classes * rank + 2, rank, classes, delta=delta, seed=0)
    found = mutual_information_sampled(mixture, sigma, 40_000, seed=5)
    return found.value, found.error


def test_information_of_mixtures() -> None:
    for case in MIXTURES:
        value, error = sampled_information(case)
        assert abs(value - mutual_information_mixture(*case)) < Z * error


@pytest.mark.parametrize("wrong", WRONG_INFORMATION)
def test_wrong_information_is_rejected(wrong: str) -> None:
    z = [
        abs(value - WRONG_INFORMATION[wrong](*case)) / error
        for case in MIXTURES
        for value, error in [sampled_information(case)]
    ]
    assert max(z) > 2 * Z


def information_slope(case: tuple[int, int, float, float]) -> float:
    """dI / d(1 / sigma^2) by a fourth-order difference."""
    classes, rank, delta, sigma = case
    at, h = sigma**-2, 2e-3 * sigma**-2

    def information(shift: int) -> float:
        return mutual_information_mixture(classes, rank, delta, (at + shift * h) ** -0.5)

    return (8 * (information(1) - information(-1)) - (information(2) - information(-2))) / (12 * h)


def test_slope_known_in_advance() -> None:
    """A14."""
    assert information_slope((3, 5, 0.2, 0.5)) == pytest.approx(0.747636984, abs=5e-9)


@pytest.mark.parametrize("case", MIXTURES)
def test_information_grows_with_half_the_error(case: tuple[int, int, float, float]) -> None:
    """I-MMSE; without the half, or with the error of the Wiener filter, it is rejected."""
    classes, rank, delta, sigma = case
    mixture = LowRankMixture.random(classes * rank, rank, classes, delta=delta, seed=1)
    rng = np.random.default_rng(6)
    x0, _ = mixture.sample(40_000, rng)
    x = x0 + sigma * rng.standard_normal(x0.shape)
    errors = ((x0 - denoise(mixture, x, sigma)) ** 2).sum(1)
    slope = information_slope(case)
    assert abs(z_score(errors / 2, slope)) < Z
    assert abs(z_score(errors, slope)) > 2 * Z
    power = (1 + (classes - 1) * delta**2) / classes
    wiener = classes * rank * power * sigma**2 / (power + sigma**2)
    assert abs(z_score(errors / 2, wiener / 2)) > 1.5 * Z


# --- speciation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [5, 20, 60])
def test_at_speciation_the_log_odds_fluctuate_by_their_mean(d: int) -> None:
    delta = 0.2
    sigma = speciation_orthogonal(d, delta).sigma
    a, b = 1 + sigma**2, delta**2 + sigma**2
    energies = np.random.default_rng(d).chisquare(d, (2, 100_000))
    ratio = (1 / b - 1 / a) / 2 * (a * energies[0] - b * energies[1])
    mean, variance = ratio.mean(), ratio.var()
    moments = log_ratio_moments(
        LowRankMixture.random(2 * d, d, 2, delta=delta, seed=0), 0, 1, sigma
    )
    assert moments[1] == pytest.approx(moments[0] ** 2, rel=1e-9)
    fourth = ((ratio - mean) ** 4).mean()
    error = np.sqrt(((fourth - variance**2) + 4 * mean**2 * variance) / len(ratio))
    assert abs(mean**2 - variance) < Z * error
    # planted: the mean against the variance, not its root
    assert abs(mean - variance) > 2 * Z * np.sqrt(fourth / len(ratio))


# --- losing dimensions ----------------------------------------------------------------------------

LAM = np.r_[np.full(5, 4.0), np.full(15, 0.25)]


def retained(data: Array, x: Array, sigma: float) -> Array:
    """Denoiser's Jacobian of the data set over the population's: wide and narrow directions."""
    diagonal = np.diagonal(empirical_jacobian(data, x, sigma), axis1=1, axis2=2).mean(0)
    share = diagonal / (LAM / (LAM + sigma**2))
    return np.array([share[:5].mean(), share[5:].mean()])


@lru_cache
def losses(share: float, sets: int, queries: int) -> tuple[Array, Array]:
    """Retained shares [set, 2] on average over noisy data, and where the score vanishes."""
    sigma, mean, still = share * collapse_time(4000, LAM).sigma, [], []
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        data = rng.standard_normal((4000, 20)) * np.sqrt(LAM)
        x = rng.standard_normal((queries, 20)) * np.sqrt(LAM + sigma**2)
        mean.append(retained(data, x, sigma))
        for _ in range(300):
            new = empirical_denoise(data, x, sigma)
            moved, x = np.abs(new - x).max(), new
            if moved < 1e-4:
                break
        still.append(retained(data, x, sigma))
    return np.array(mean), np.array(still)


@pytest.mark.slow
def test_wide_directions_are_lost_first_where_the_score_vanishes() -> None:
    """The claim of arXiv 2410.08727 holds at zeros of the score..."""
    _, still = losses(1.0, 8, 60)
    assert z_score(still[:, 0] - still[:, 1]) < -Z


def test_on_average_over_noisy_data_narrow_directions_are_lost_first() -> None:
    """... and turns round in the average over noisy data (.940 against .754 in one draw)."""
    mean, _ = losses(1.0, 8, 60)
    assert z_score(mean[:, 0] - mean[:, 1]) > Z
    scatter = mean.std(axis=0, ddof=1)
    np.testing.assert_array_less(np.abs(mean.mean(0) - [0.940, 0.754]), 3 * scatter)
