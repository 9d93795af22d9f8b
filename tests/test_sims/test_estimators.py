"""Means, intervals and crossings against cases with known answers."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics import estimators
from hierdiff.sims.metrics.estimators import (
    bootstrap,
    clustered_interval,
    crossing,
    depth_limit,
    disorder,
    falls_through,
    likelihood_interval,
    nested_mean,
    resampled,
    shared_error,
    standard_error,
    student_factor,
    student_score,
)


def test_scores_of_a_few_units_are_normal() -> None:
    """Against scipy's test, and by coverage: a plain ratio of three units is not normal."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4000))
    z = student_score(x)
    t, p = stats.ttest_1samp(x, 0)
    np.testing.assert_allclose(2 * stats.norm.sf(np.abs(z)), p, rtol=1e-8)
    np.testing.assert_array_equal(np.sign(z), np.sign(t))
    assert stats.kstest(z, stats.norm.cdf).pvalue > 1e-3
    assert stats.kstest(t, stats.norm.cdf).pvalue < 1e-9  # planted: mean over standard error
    assert student_score([0.0, 0.0]) == 0
    assert student_score([2.0, 2.0]) == np.inf
    with pytest.raises(InvalidParameter, match="values"):
        student_score([1.0])


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


# --- the one bootstrap, thresholds and their disorder ---------------------------------------------

T = np.linspace(0, 1, 25)


def beliefs(
    rng: np.random.Generator, grammars: int, data: int, quenched: float = 0.02,
    thermal: float = 0.06, width: float = 0.03,
) -> np.ndarray:  # fmt: skip
    """Curves [grammars, data, t] whose mean falls through one half at 0.5 by symmetry."""
    middle = 0.5 + quenched * rng.standard_normal((grammars, 1))
    middle = middle + thermal * rng.standard_normal((grammars, data))
    return 1 / (1 + np.exp((T - middle[..., None]) / width))


def scores_of(grammars: int, data: int, runs: int, seed: int, **kwargs: float) -> np.ndarray:
    rng, found = np.random.default_rng(seed), []
    for run in range(runs):
        place = crossing(T, beliefs(rng, grammars, data, **kwargs), resamples=200, seed=run)
        found.append((place.value - 0.5) / place.error)
    return np.array(found)


def drawn_twice(x: np.ndarray, seed: int) -> float:
    """The planted wrong error: data are drawn anew inside the drawn grammars."""
    rng, found = np.random.default_rng(seed), []
    grammars, data = x.shape[:2]
    for _ in range(200):
        rows = rng.integers(grammars, size=grammars)[:, None]
        columns = rng.integers(data, size=(grammars, data))
        found.append(falls_through(T, x[rows, columns].mean(axis=(0, 1))))
    return float(np.std(found, ddof=1))


def test_thermal_noise_counts_once_in_a_threshold() -> None:
    """Stated over real error: one for grammars drawn whole, the root of two if data are, too."""
    rng, places, stated, wrong = np.random.default_rng(5), [], [], []
    for run in range(200):
        x = beliefs(rng, 12, 8, quenched=0.0)
        found = crossing(T, x, resamples=200, seed=run)
        places.append(found.value)
        stated.append(found.error)
        if run < 20:
            wrong.append(drawn_twice(x, run))
    real, doubt = float(np.std(places, ddof=1)), 4 / np.sqrt(2 * 200)
    assert np.sqrt(np.mean(np.square(stated))) / real == pytest.approx(1, abs=doubt)
    assert (
        np.sqrt(np.mean(np.square(wrong))) / real > 1 + 1.2 * doubt
    )  # 1.37 = (2 - 1/8)^(1/2) is expected


@pytest.mark.slow
@pytest.mark.parametrize(("grammars", "data"), [(24, 32), (24, 4), (8, 8), (5, 8), (3, 8), (2, 8),
                                                (1, 32), (1, 6)])  # fmt: skip
def test_thresholds_cover(grammars: int, data: int) -> None:
    """One error covers .65 to .68 whatever the number of grammars, within binomial errors."""
    runs = 400
    options = {} if grammars > 1 else {"quenched": 0.0}
    z = np.abs(scores_of(grammars, data, runs, 100 + grammars + data, **options))
    units = grammars if grammars > 1 else data
    law = stats.t(units - 1)
    nominal = 0.6827 if units < 8 else law.cdf(1) - law.cdf(-1)
    assert abs((z < 1).mean() - nominal) < 4 * np.sqrt(nominal * (1 - nominal) / runs)


def test_few_grammars_have_the_factor_of_student() -> None:
    x = beliefs(np.random.default_rng(7), 4, 200)
    found = crossing(T, x)
    alone = [falls_through(T, c) for c in x.mean(axis=1)]
    # to first order the crossing of the mean is the mean of the crossings
    assert found.error == pytest.approx(
        student_factor(4) * np.std(alone, ddof=1) / np.sqrt(4), rel=0.1
    )
    assert found.units == 4
    for n in (2, 3, 8, 30):
        k = student_factor(n)
        assert stats.t(n - 1).cdf(k) - stats.t(n - 1).cdf(-k) == pytest.approx(0.6827, abs=1e-4)


def test_replicas_without_a_crossing_are_counted() -> None:
    """A range that ends near the crossing: what falls out of it is said, not dropped."""
    rng = np.random.default_rng(8)
    whole = beliefs(rng, 12, 4, quenched=0.06)
    place = crossing(T, whole)
    assert place.missed == 0
    end = int(np.searchsorted(T, place.value)) + 1
    cut = crossing(T[:end], whole[..., :end])
    assert cut.value == place.value
    assert 0.05 < cut.missed < 1
    assert np.isnan(cut.error)


def test_one_datum_of_one_grammar_has_no_error() -> None:
    with pytest.raises(InvalidParameter, match="1 grammar with 1 datum"):
        crossing(T, beliefs(np.random.default_rng(0), 1, 1))


def test_a_bootstrap_is_the_standard_error_of_a_mean() -> None:
    x = np.random.default_rng(9).standard_normal((10, 3))
    found = bootstrap(lambda rows: x[rows].mean(axis=0), 10, 4000, seed=1)
    np.testing.assert_allclose(found.error, standard_error(x), rtol=4 / np.sqrt(2 * 4000))
    assert (found.missed == 0).all()


def test_a_bootstrap_that_draws_nothing_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted wrong law: the same rows every time."""
    x = beliefs(np.random.default_rng(10), 12, 4)
    right = crossing(T, x).error
    expected = np.std([falls_through(T, c) for c in x.mean(axis=1)], ddof=1) / np.sqrt(12)
    assert right == pytest.approx(expected, rel=0.35)
    monkeypatch.setattr(
        estimators, "resampled",
        lambda units, resamples, seed, groups=None: np.tile(np.arange(units), (resamples, 1)),
    )  # fmt: skip
    assert crossing(T, x).error == 0


def test_every_bootstrap_of_the_package_is_the_one_of_this_module() -> None:
    """No other module draws rows with replacement for an error."""
    root = Path(estimators.__file__).parents[1]
    kinds = re.compile(r"integers\(\s*len\(\w+\),\s*size=len\(\w+\)\)|rng\.choice\(.*replace=True")
    guilty = [p.name for p in root.rglob("*.py") if kinds.search(p.read_text())]
    guilty += [p.name for p in (root.parent / "sims").glob("*.py") if kinds.search(p.read_text())]
    assert not guilty


def test_strata_are_drawn_apart() -> None:
    rows = resampled(5, 300, 0, groups=2)
    assert rows.shape == (300, 2, 5)
    assert (rows[:, 0] != rows[:, 1]).any()
    found = bootstrap(lambda r: float(r.shape == (2, 5)), 5, 20, groups=2)
    assert found.error == 0


def test_disorder_is_free_of_the_thermal_part() -> None:
    rng, found, naive = np.random.default_rng(11), [], []
    for run in range(40):
        x = beliefs(rng, 40, 8, quenched=0.02, thermal=0.08)
        found.append(disorder(T, x, splits=8, seed=run))
        alone = [falls_through(T, c) for c in x.mean(axis=1)]
        naive.append(np.var(alone, ddof=1))
    variances = np.array([f.variance for f in found])
    error = variances.std(ddof=1) / np.sqrt(len(found))
    assert abs(variances.mean() - 0.02**2) < 4 * error
    # the jackknife states the scatter that is seen
    stated = np.sqrt(np.mean([f.error**2 for f in found]))
    assert stated == pytest.approx(variances.std(ddof=1), rel=0.45)
    assert np.mean([f.thermal_sd for f in found]) == pytest.approx(0.08, rel=0.1)
    # the planted wrong one: single-grammar thresholds scatter three times as much
    assert np.mean(naive) > 2.5 * 0.02**2
    assert (np.mean(naive) - 0.02**2) / error > 8


def test_disorder_of_equal_grammars_is_zero() -> None:
    rng = np.random.default_rng(12)
    z = []
    for run in range(30):
        found = disorder(T, beliefs(rng, 30, 8, quenched=0.0), splits=8, seed=run)
        z.append(found.variance / found.error)
    assert abs(np.mean(z)) < 4 / np.sqrt(30)


def test_limits_in_depth_contain_the_doubt_about_the_rate() -> None:
    L, e = np.array([6.0, 8.0, 10.0, 12.0]), np.array([4.5, 2.4, 1.5, 0.9]) * 1e-3
    rng = np.random.default_rng(13)
    z, known = [], []
    for _ in range(200):
        y = 0.27 + 0.3 * 1.25**-L + e * rng.standard_normal(4)
        found = depth_limit(L, y, e)
        z.append((found.value - 0.27) / found.error)
        # the planted wrong one: a rate that is taken for granted, and is not that of the data
        shape = np.stack([np.ones(4), 1.8**-L], axis=1) / e[:, None]
        inverse = np.linalg.inv(shape.T @ shape)
        value = (inverse @ shape.T @ (y / e))[0]
        known.append((value - 0.27) / np.sqrt(inverse[0, 0]))
    assert (np.abs(z) < 2).mean() > 0.9
    assert (np.abs(known) < 2).mean() < 0.2


def test_a_limit_in_depth_is_the_mean_over_rates_of_least_squares() -> None:
    """Rate by rate with a general solver, and the moments of the posterior over rates."""
    L, y, e = np.array([3.0, 4, 6, 9]), np.array([0.1, 0.16, 0.19, 0.22]), np.array([4, 3, 3, 5.0])
    e = e / 300
    rates = np.geomspace(1.1, 3.0, 4001)
    found = depth_limit(L, y, e, (1.1, 3.0))
    limits, variances, chi = [], [], []
    for rate in rates:
        columns = np.stack([np.ones(4), rate**-L], axis=1) / e[:, None]
        fit, rest, *_ = np.linalg.lstsq(columns, y / e, rcond=None)
        limits.append(fit[0])
        variances.append(np.linalg.inv(columns.T @ columns)[0, 0])
        chi.append(float(rest[0]))
    w = np.exp(-np.array(chi) / 2) / np.exp(-np.array(chi) / 2).sum()
    value, rate = w @ limits, w @ rates
    error = np.sqrt(w @ variances + w @ np.square(limits) - value**2)
    spread = np.sqrt(w @ rates**2 - rate**2)
    expected = [value, error, rate, spread, min(chi)]
    np.testing.assert_allclose(dataclasses.astuple(found), expected, rtol=1e-6)


def test_the_least_number_of_units_is_accepted() -> None:
    """Two of them for an error bar, two data per grammar for a disorder, one datum for a mean."""
    pair = np.array([1.0, 4.0])
    means = [pair.mean(), 1.0, 4.0]  # of the resamples: 1 4, 1 1, 4 4, with weights 1/2, 1/4, 1/4
    expected = np.sqrt(2 * np.average(np.square(np.array(means) - 2.5), weights=[2, 1, 1]))
    found = float(bootstrap(lambda rows: pair[rows].mean(), 2, 40_000).error)
    assert found == pytest.approx(expected, rel=0.02)
    assert nested_mean(pair[:, None]).units == 2
    assert nested_mean(pair[None]).units == 2
    assert nested_mean(np.arange(5.0)[None]).units == 5
    t = np.linspace(0, 1, 21)
    middle = np.array([[0.4, 0.5], [0.5, 0.55], [0.45, 0.6], [0.5, 0.4]])
    found_disorder = disorder(t, 1 / (1 + np.exp((t - middle[..., None]) / 0.1)))
    assert np.isfinite(found_disorder.sd)


def test_a_curve_from_certainty_to_nothing_falls_half_way() -> None:
    assert falls_through([0.0, 1.0], [1.0, 0.0]) == pytest.approx(0.5)
    assert falls_through([0.0, 1.0, 2.0], [0.5, 0.5, 0.1], 0.5) == pytest.approx(1.0)
    assert np.isnan(falls_through([0.0, 1.0], [0.4, 0.1]))
    assert np.isnan(falls_through([0.0, 1.0], [0.9, 0.5]))


def test_shared_members_are_counted_once() -> None:
    rng, z, wrong, stated = np.random.default_rng(14), [], [], []
    for _ in range(200):
        rows = np.array([rng.choice(30, 3, replace=False) for _ in range(200)])
        x = (0.4 * rng.standard_normal(30))[rows].sum(axis=1) + rng.standard_normal(200)
        stated.append(float(shared_error(x, rows)))
        z.append(x.mean() / stated[-1])
        wrong.append(x.mean() / (x.std(ddof=1) / np.sqrt(200)))
    expected = 0.6827
    covered = [(np.abs(v) < 1).mean() for v in (z, wrong)]
    assert abs(covered[0] - expected) < 4 * np.sqrt(expected * (1 - expected) / 200)
    assert covered[1] < 0.45


def test_intervals_of_clustered_trials() -> None:
    rng, runs = np.random.default_rng(15), 300
    inside, naive = 0, 0
    for _ in range(runs):
        x = rng.random((12, 24)) < rng.beta(6.0, 6.0, (12, 1))
        low, high = clustered_interval(x)
        inside += low <= 0.5 <= high
        low, high = likelihood_interval(x.sum(), x.size)
        naive += low <= 0.5 <= high
    doubt = 4 * np.sqrt(0.6827 * 0.3173 / runs)
    assert 0.6827 - doubt < inside / runs < 0.6827 + doubt + 0.04  # never narrower than independent
    assert naive / runs < 0.6827 - doubt
    assert clustered_interval(np.zeros((3, 4))).tolist()[0] == 0.0
    one = clustered_interval(np.ones((1, 9), bool))
    np.testing.assert_allclose(one, likelihood_interval(9, 9))


RAISES = {
    "t of another length": (lambda x: crossing(T[:-1], x), "do not end in the 24"),
    "t descending": (lambda x: crossing(T[::-1], x), "increasing"),
    "t twice": (lambda x: crossing(np.sort(np.append(T[:-1], 0.5)), x), "increasing"),
    "t with NaN": (lambda x: crossing(np.where(T == 0.5, np.nan, T), x), "t holds nan"),
    "values with NaN": (lambda x: crossing(T, np.where(x > 0.9, np.nan, x)), "values holds nan"),
    "values above one": (lambda x: crossing(T, 2 * x), "values reach"),
    "values of one axis": (lambda x: crossing(T, x[0, 0]), "grammars, data, T"),
    "words": (lambda x: crossing(T, x.astype(str)), "real numbers"),
    "complex": (lambda x: crossing(T, x + 0j), "real numbers"),
    "masked": (lambda x: crossing(T, np.ma.masked_array(x, x > 0.5)), "mask"),
    "height": (lambda x: crossing(T, x, height=float("nan")), "height = nan"),
    "height of one": (lambda x: crossing(T, x, height=1.0), "height = 1.0"),
    "one resample": (lambda x: crossing(T, x, resamples=1), "resamples = 1"),
    "half a resample": (lambda x: crossing(T, x, resamples=1.5), "resamples = 1.5"),
    "a seed of words": (lambda x: crossing(T, x, seed="seven"), "seed"),
    "a seed of infinity": (lambda x: crossing(T, x, seed=float("inf")), "seed"),
    "no data": (lambda x: nested_mean(x[:0]), "grammars, data"),
    "infinite data": (lambda x: nested_mean(x / 0.0), "finite"),
    "one unit": (lambda x: student_factor(1), "units = 1"),
    "half a unit": (lambda x: bootstrap(lambda r: 0.0, 2.5), "units = 2.5"),
    "fractional successes": (lambda x: likelihood_interval(0.5, 3), "whole numbers"),
    "NaN trials": (lambda x: likelihood_interval(1, np.nan), "trials holds nan"),
    "level of NaN": (lambda x: likelihood_interval(1, 3, np.nan), "level = nan"),
    "outcomes of two": (lambda x: clustered_interval(np.full((3, 3), 2)), "0 or 1"),
    "outcomes of words": (lambda x: clustered_interval([["a", "b"]]), "real numbers"),
    "three grammars": (lambda x: disorder(T, x[:3]), "at least 4 grammars"),
    "two depths": (lambda x: depth_limit([1, 2], [0.1, 0.2], [0.1, 0.1]), "three different"),
    "no doubt": (lambda x: depth_limit([1, 2, 3], [0.1] * 3, [0.1, 0, 0.1]), "errors holds 0"),
    "rate below one": (lambda x: depth_limit([1, 2, 3], [0.1] * 3, [0.1] * 3, (0.9, 2)), "rates"),
    "members of another number": (lambda x: shared_error([1.0, 2.0], [[0, 1]]), "same number"),
}


@pytest.mark.parametrize("name", RAISES)
def test_bad_input_is_one_line(name: str) -> None:
    call, words = RAISES[name]
    x = beliefs(np.random.default_rng(1), 5, 4)
    with np.errstate(divide="ignore"), pytest.raises(InvalidParameter, match=words) as error:
        call(x)
    assert "\n" not in str(error.value)


def test_an_interval_wider_than_the_numbers_below_one() -> None:
    # one failure in a thousand with a factor of 100: every probability up to one is likely enough
    low, high = likelihood_interval(999, 1000, spread=100.0)
    assert high == 1.0
    assert 0.8 < low < 0.999
    low, high = likelihood_interval(1, 1000, spread=2000.0)
    assert low == 0.0
    assert 0.001 < high < 1.0
