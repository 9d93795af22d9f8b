"""Means, intervals and crossings against cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hierdiff.errors import InvalidParameter
from hierdiff.sims.estimators import crossing, likelihood_interval, nested_mean


def test_nested_mean_separates_the_two_spreads() -> None:
    random = np.random.default_rng(0)
    quenched, thermal = 0.3, 1.0
    errors, spreads, z = [], [], []
    for _ in range(400):
        grammars = 5.0 + quenched * random.standard_normal(40)
        r = nested_mean(grammars[:, None] + thermal * random.standard_normal((40, 25)))
        errors.append(float(r.error))
        spreads.append(float(r.quenched_sd) ** 2)
        z.append((float(r.mean) - 5.0) / float(r.error))
    expected = np.sqrt((quenched**2 + thermal**2 / 25) / 40)
    assert np.mean(errors) == pytest.approx(expected, rel=0.03)
    assert np.mean(spreads) == pytest.approx(quenched**2, rel=0.05)
    # the error bar covers: z is a t variable with 39 degrees of freedom
    assert stats.kstest(z, stats.t(39).cdf).pvalue > 1e-3


def test_an_error_that_forgets_the_grammars_is_too_small() -> None:
    """The planted wrong law: data of all grammars counted as independent."""
    random = np.random.default_rng(1)
    z = []
    for _ in range(400):
        values = 0.3 * random.standard_normal((40, 1)) + random.standard_normal((40, 25))
        z.append(values.mean() / (values.std(ddof=1) / np.sqrt(values.size)))
    assert stats.kstest(z, stats.norm.cdf).pvalue < 1e-6


def test_one_grammar_has_no_quenched_spread() -> None:
    r = nested_mean(np.arange(6.0).reshape(1, 6))
    assert np.isnan(r.quenched_sd)
    assert r.error == pytest.approx(np.arange(6).std(ddof=1) / np.sqrt(6))


def test_no_error_bar_without_two_data() -> None:
    with pytest.raises(InvalidParameter, match="1 grammar with 1 datum"):
        nested_mean(np.zeros((1, 1)))


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (3, 7), (500, 1000)])
def test_likelihood_interval_ends_where_the_likelihood_has_dropped(k: int, n: int) -> None:
    low, high = likelihood_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1

    def log_likelihood(p: float) -> float:
        return float(stats.binom.logpmf(k, n, p))

    for end, open_end in ((low, k == 0), (high, k == n)):
        if not open_end:
            drop = 2 * (log_likelihood(k / n) - log_likelihood(end))
            assert drop == pytest.approx(stats.chi2.ppf(0.6827, 1), rel=1e-6)


def test_likelihood_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    k = random.binomial(200, 0.3, 2000)
    ends = likelihood_interval(k, 200)
    covered = np.mean((ends[:, 0] <= 0.3) & (ends[:, 1] >= 0.3))
    assert abs(covered - 0.6827) < 4 * np.sqrt(0.6827 * 0.3173 / 2000) + 0.02  # lattice effect


@pytest.mark.parametrize(("k", "n", "level"), [(-1, 5, 0.5), (6, 5, 0.5), (0, 0, 0.5), (1, 2, 1.0)])
def test_likelihood_interval_rejects(k: int, n: int, level: float) -> None:
    with pytest.raises(InvalidParameter):
        likelihood_interval(k, n, level)


def test_crossing_finds_a_logistic_and_its_error() -> None:
    """Curves whose midpoints scatter: the crossing is the mean midpoint, its error the SE."""
    random = np.random.default_rng(3)
    t = np.linspace(0, 1, 41)
    z = []
    for seed in range(60):
        middle = (
            0.6 + 0.01 * random.standard_normal((12, 1)) + 0.02 * random.standard_normal((12, 8))
        )
        curves = 1 / (1 + np.exp((t - middle[..., None]) / 0.03))
        found = crossing(t, curves, resamples=200, seed=seed)
        z.append((found.value - 0.6) / found.error)
    assert abs(np.mean(z)) < 4 / np.sqrt(60)
    assert 0.7 < np.std(z) < 1.4


def test_crossing_needs_a_crossing() -> None:
    with pytest.raises(InvalidParameter, match="does not fall through"):
        crossing(np.linspace(0, 1, 5), np.ones((2, 2, 5)))
