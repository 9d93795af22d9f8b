"""Speciation and symmetry breaking: closed forms, dense and sampled oracles, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line
from scipy import integrate, stats

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.mixture.posterior import class_posterior, denoise, score
from hierdiff.theory.mixture.speciation import (
    central_instability,
    log_ratio_moments,
    pair_confidence,
    speciation_orthogonal,
    speciation_time,
    spectral_strength,
    two_delta_instability,
)
from hierdiff.theory.mixture.time_change import Threshold, ou_sigma, ou_time, vp_alpha_bar, vp_sigma


def two_points(radius: float) -> LowRankMixture:
    return LowRankMixture([np.zeros((1, 0))] * 2, means=[[radius], [-radius]])


def lopsided(seed: int = 0, residual: Any = "span") -> LowRankMixture:
    """Unequal ranks, weights, variances, means and overlapping subspaces."""
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.standard_normal((7, d)))[0] for d in (3, 2, 1)]
    variances = [rng.exponential(2.0, d) for d in (3, 2, 1)]
    means = rng.standard_normal((3, 7))
    return LowRankMixture(bases, [0.5, 0.3, 0.2], variances, 0.4, residual, means)


# --- values known in advance ----------------------------------------------------------------------


@pytest.mark.parametrize(("d", "sigma"), [(5, 0.66332496), (20, 1.25390251), (1000, 3.82770707)])
def test_orthogonal_classes(d: int, sigma: float) -> None:
    """A21."""
    found = speciation_orthogonal(d, 0.2)
    assert found.sigma == pytest.approx(sigma, abs=5e-9)
    if d < 1000:
        mixture = LowRankMixture.random(2 * d + 1, d, 2, delta=0.2, seed=0)
        assert speciation_time(mixture).sigma == pytest.approx(found.sigma, rel=1e-10)
    else:
        assert found.time == pytest.approx(1.37527831, abs=5e-9)
        assert 0.25 * np.log(d) == pytest.approx(1.726939, abs=5e-7)


def test_time_grows_as_a_quarter_of_the_logarithm_without_means_and_as_half_with_them() -> None:
    d = np.array([1e6, 1e8])
    times = [speciation_orthogonal(int(x), 0.2).time for x in d]
    assert np.diff(times)[0] / np.log(100) == pytest.approx(0.25, abs=1e-3)
    # |m1 - m2|^2 = D: the criterion is |m1 - m2|^2 = 4 (1 + sigma^2), by hand
    times = []
    for dim in (400, 40_000):
        mean = np.zeros((2, 2))
        mean[0, 0] = np.sqrt(dim)
        found = speciation_time(LowRankMixture([np.eye(2)] * 2, means=mean))
        assert found.sigma**2 == pytest.approx(dim / 4 - 1, rel=1e-9)
        times.append(found.time)
    assert (times[1] - times[0]) / np.log(100) == pytest.approx(0.5, abs=1e-9)


def test_two_deltas() -> None:
    """A20."""
    found = two_delta_instability()
    assert found.alpha_bar == pytest.approx(0.414213562, abs=5e-10)
    assert np.sqrt(found.alpha_bar) == pytest.approx(0.643594253, abs=5e-10)
    assert found.sigma == pytest.approx(1.189207115, abs=5e-10)
    assert found.time == pytest.approx(0.440686794, abs=5e-10)
    assert found.sigma**4 == pytest.approx(2, rel=1e-14)
    for radius in (1.0, 1.5, 20.0):
        with pytest.raises(NoTransition, match="probability flow is unstable"):
            two_delta_instability(radius, "ode")
        with pytest.raises(NoTransition):
            central_instability(two_points(radius), "ode")


def test_origin_of_orthogonal_classes_is_stable_and_the_spectrum_sees_nothing() -> None:
    mixture = LowRankMixture.random(17, 5, 3, delta=0.2, seed=0)
    assert spectral_strength(mixture) == pytest.approx(0.36, rel=1e-12)
    for call in (
        lambda: speciation_time(mixture, "spectral"),
        lambda: central_instability(mixture),
    ):
        with pytest.raises(NoTransition) as error:
            call()
        assert "free_entropy" in one_line(error)


# --- oracles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", ["span", "ambient"])
@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (2, 1)])
def test_moments_of_the_log_ratio_by_dense_algebra_and_sampling(
    residual: str, pair: tuple[int, int]
) -> None:
    mixture, sigma, (k, l) = lopsided(3, residual), 0.9, pair
    own, rival = (mixture.covariance(c) + sigma**2 * np.eye(7) for c in pair)
    mu = mixture.means[k] - mixture.means[l]
    inverse = np.linalg.inv(rival)
    ratio = own @ inverse - np.eye(7)
    logdet = np.linalg.slogdet(rival)[1] - np.linalg.slogdet(own)[1]
    mean = 0.5 * (np.trace(ratio) + logdet + mu @ inverse @ mu)
    variance = 0.5 * np.trace(ratio @ ratio) + mu @ inverse @ own @ inverse @ mu
    found = log_ratio_moments(mixture, k, l, sigma)
    np.testing.assert_allclose(found, (mean, variance), rtol=1e-10)
    here, there = (
        stats.multivariate_normal(mixture.means[c], cov)
        for c, cov in zip(pair, (own, rival), strict=True)
    )
    x = here.rvs(40_000, random_state=4)
    sampled = here.logpdf(x) - there.logpdf(x)
    z = (sampled.mean() - mean) / (sampled.std() / 200)
    assert abs(z) < 4
    assert sampled.var() == pytest.approx(variance, rel=0.06)


@pytest.mark.parametrize("residual", ["span", "ambient"])
def test_spectral_strength_is_the_largest_eigenvalue_of_the_whole_covariance(
    residual: str,
) -> None:
    mixture = lopsided(5, residual)
    centre = mixture.weights @ mixture.means
    total = sum(
        w * (mixture.covariance(k) + np.outer(mixture.means[k] - centre, mixture.means[k] - centre))
        for k, w in enumerate(mixture.weights)
    )
    assert spectral_strength(mixture) == pytest.approx(np.linalg.eigvalsh(total)[-1], rel=1e-10)
    loud = LowRankMixture([np.eye(5)[:, :1]] * 2, None, [[0.1]] * 2, 2.0, "ambient")
    assert spectral_strength(loud) == pytest.approx(4.0)


def test_free_entropy_threshold_is_the_last_crossing() -> None:
    mixture = lopsided(1)
    found = speciation_time(mixture)
    pairs = [(k, l) for k in range(3) for l in range(3) if k != l]
    each = {p: speciation_time(mixture, pair=p).sigma for p in pairs}
    assert found.sigma == max(each.values())
    for (k, l), sigma in each.items():
        mean, variance = log_ratio_moments(mixture, k, l, sigma)
        assert mean**2 == pytest.approx(variance, rel=1e-9)
        above = np.geomspace(1.01, 100, 20) * sigma
        moments = [log_ratio_moments(mixture, k, l, s) for s in above]
        assert all(mean**2 < variance for mean, variance in moments)


def test_spectral_time_of_two_separated_classes() -> None:
    """Covariance s^2 + m m^T: the criterion gives sigma^2 = s^2 + |m|^2 - 1."""
    mean = np.array([3.0, 4.0, 0.0])
    mixture = LowRankMixture([np.eye(3)] * 2, variances=[[0.5] * 3] * 2, means=[mean, -mean])
    found = speciation_time(mixture, "spectral")
    assert found.sigma**2 == pytest.approx(24.5, rel=1e-12)
    assert found.time == pytest.approx(0.5 * np.log(25.5), rel=1e-12)


@settings(deadline=None, max_examples=30)
@given(radius=st.floats(0.05, 30))
def test_closed_and_numerical_instability_agree(radius: float) -> None:
    wanted = two_delta_instability(radius).sigma
    assert central_instability(two_points(radius)).sigma == pytest.approx(wanted, rel=1e-9)
    if radius < 0.99:
        flow = two_delta_instability(radius, "ode").sigma
        assert central_instability(two_points(radius), "ode").sigma == pytest.approx(flow, rel=1e-9)


@pytest.mark.parametrize("radius", [0.6, 1.0, 2.5])
def test_instability_by_finite_differences_of_the_drift(radius: float) -> None:
    """Slope of the reverse VP drift x/2 + score at 0 changes sign at the threshold."""
    critical = two_delta_instability(radius).sigma

    def slope(sigma: float) -> float:
        scale = float(np.sqrt(vp_alpha_bar(sigma)))
        ends = np.array([[1e-5], [-1e-5]])
        drift = ends / 2 + score(two_points(radius), ends, sigma, scale=scale)
        return float(np.diff(drift[::-1, 0])[0] / 2e-5)

    assert slope(0.99 * critical) > 0 > slope(1.01 * critical)
    assert abs(slope(critical)) < 1e-6


def test_no_instability_where_the_flow_says_none_by_integrating_it() -> None:
    """Two deltas at 1: the flow leaves the centre from any level, the noisy process does not."""
    start, stop = 30.0, 0.02

    def velocity(log_sigma: float, x: Any) -> Any:
        sigma = float(np.exp(log_sigma))
        return x - denoise(two_points(1.0), x[None], sigma)[0]

    x0 = np.array([1e-3 * start])
    end = integrate.solve_ivp(velocity, np.log([start, stop]), x0, rtol=1e-9, atol=1e-12).y[0, -1]
    # a flow with a stable centre would shrink the offset to 1e-3
    assert 0.9 < end < 1


def test_clocks_invert_each_other() -> None:
    sigma = np.array([0.0, 1e-6, 0.3, 1.0, 50.0])
    np.testing.assert_allclose(ou_sigma(ou_time(sigma)), sigma, rtol=1e-9)
    np.testing.assert_allclose(vp_sigma(vp_alpha_bar(sigma)), sigma, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(np.exp(-2 * ou_time(sigma)), vp_alpha_bar(sigma), rtol=1e-14)
    assert np.isinf(vp_sigma(0.0))
    assert Threshold(float(ou_sigma(0.7))).time == pytest.approx(0.7)


@settings(deadline=None, max_examples=20)
@given(factor=st.floats(0.2, 5), seed=st.integers(0, 10**6))
def test_free_entropy_knows_no_units_and_no_frame(factor: float, seed: int) -> None:
    mixture = lopsided(2)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((7, 7)))[0]
    moved = LowRankMixture(
        [turn @ basis for basis in mixture.bases],
        mixture.weights[::-1],
        [factor**2 * v for v in mixture.variances],
        factor * mixture.delta,
        means=factor * mixture.means @ turn.T + 3,
    )
    wanted = factor * speciation_time(mixture).sigma
    assert speciation_time(moved).sigma == pytest.approx(wanted, rel=1e-8)


# --- bad input ------------------------------------------------------------------------------------

PAIR = LowRankMixture.random(10, 5, 2, delta=0.2, seed=0)
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: speciation_time(LowRankMixture([np.eye(2)])), "one class"),
    (lambda: speciation_time(PAIR, "other"), "criterion = 'other'"),  # type: ignore[arg-type]
    (lambda: speciation_time(PAIR, pair=(0, 0)), "pair = (0, 0)"),
    (lambda: speciation_time(PAIR, pair=(0, 2)), "pair = (0, 2)"),
    (lambda: log_ratio_moments(PAIR, 0, 1, 0.0), "sigma = 0.0"),
    (lambda: log_ratio_moments(PAIR, -1, 1, 1.0), "pair = (-1, 1)"),
    (lambda: speciation_orthogonal(0, 0.2), "rank = 0"),
    (lambda: speciation_orthogonal(5, -0.2), "delta = -0.2"),
    (lambda: two_delta_instability(0.0), "radius = 0.0"),
    (lambda: two_delta_instability(1.0, "flow"), "reverse = 'flow'"),  # type: ignore[arg-type]
    (lambda: central_instability(lopsided()), "no fixed point"),
    (lambda: ou_time(-1.0), "sigma = -1.0"),
    (lambda: ou_sigma(np.nan), "time = nan"),
    (lambda: vp_sigma(1.5), "alpha_bar = 1.5"),
]


@pytest.mark.parametrize(("call", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_is_one_clear_line(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        call()
    assert words in one_line(error)


def test_classes_that_never_part() -> None:
    alike = LowRankMixture([np.eye(3)] * 2)
    thin = LowRankMixture.random(10, 1, 2, delta=0.2, seed=0)
    for call in (
        lambda: speciation_time(alike),
        lambda: speciation_time(thin),
        lambda: speciation_orthogonal(1, 0.2),
    ):
        with pytest.raises(NoTransition) as error:
            call()
        assert "every noise level" in one_line(error)


@pytest.mark.parametrize("distance", [0.0, 1e-8, 0.3, 1.0, 4.0, 9.0, 19.9, 25.0, 1e6])
def test_belief_in_one_of_two_gaussians(distance: float) -> None:
    def belief(z: float) -> float:
        return float(stats.norm.pdf(z) / (1 + np.exp(-distance * (distance / 2 + z))))

    law = pair_confidence(distance)
    if distance < 1e3:
        ends = [-distance / 2 + side / max(distance, 1) for side in (-5, 0, 5)]
        with np.errstate(over="ignore"):
            found = integrate.quad(belief, -13, 13, points=[e for e in ends if abs(e) < 13],
                                   epsabs=1e-13, limit=400)[0]  # fmt: skip
        assert abs(law - found) < 1e-12
    assert 0.5 - 1e-12 <= law <= 1


def test_belief_in_clouds_is_that_of_the_posterior() -> None:
    dim, sigma = 10, 4.0
    means = np.stack([np.ones(dim), -np.ones(dim)])
    m = LowRankMixture([np.eye(dim)] * 2, means=means)
    x, k = m.sample(4000, 0)
    w = class_posterior(m, x + sigma * np.random.default_rng(1).standard_normal(x.shape), sigma)
    own = w[np.arange(len(k)), k]
    distance = 2 * np.sqrt(dim / (1 + sigma**2))
    error = own.std() / np.sqrt(len(own))
    assert abs(own.mean() - pair_confidence(distance)) < 4 * error
    # planted: the error rate of Bayes' rule, which is not the mean belief
    assert abs(own.mean() - stats.norm.cdf(distance / 2)) > 6 * error


@pytest.mark.parametrize("offset", [1.0, 1e3, 1e6, 1e8])
def test_a_common_offset_of_the_means_is_without_effect(offset: float) -> None:
    rng = np.random.default_rng(0)
    bases = [np.linalg.qr(rng.standard_normal((6, 2)))[0] for _ in range(3)]
    means = np.round(8 * rng.standard_normal((3, 6))) / 8
    one, other = (
        LowRankMixture(bases, [0.2, 0.5, 0.3], None, 0.3, "ambient", means + shift)
        for shift in (0.0, offset)
    )
    rtol = max(64 * np.finfo(float).eps * offset, 1e-12)
    for f in (
        spectral_strength,
        lambda m: log_ratio_moments(m, 0, 1, 0.7),
        lambda m: speciation_time(m).sigma,
        lambda m: speciation_time(m, "spectral").sigma,
    ):
        np.testing.assert_allclose(f(other), f(one), rtol=rtol)


def test_moments_at_the_ends_of_the_noise() -> None:
    """Full rank: any level; without variance in some direction: refused, not rounded."""
    full = LowRankMixture([np.eye(2)] * 2, variances=[[1.0, 2.0], [2.0, 1.0]])
    mean, variance = log_ratio_moments(full, 0, 1, 1e-100)
    np.testing.assert_allclose(mean, 0.5 * (0.5 + 2 - 2), rtol=1e-12)
    np.testing.assert_allclose(variance, 0.5 * (0.25 + 1), rtol=1e-12)
    assert log_ratio_moments(full, 0, 1, 1e100)[0] < 1e-100
    thin = LowRankMixture([np.eye(2)[:, :1], np.eye(2)[:, 1:]])
    mean, _ = log_ratio_moments(thin, 0, 1, 1e-5)
    np.testing.assert_allclose(mean, 0.5 * (1e10 - 1), rtol=1e-5)
    with pytest.raises(InvalidParameter, match="raise sigma"):
        log_ratio_moments(thin, 0, 1, 1e-9)


def test_the_centre_of_small_mixtures_is_looked_at_too() -> None:
    """A tolerance of 1e-9 in all units once let any small mixture pass."""
    small = LowRankMixture([np.zeros((1, 0))] * 2, means=[[3e-10], [-1e-10]])
    with pytest.raises(InvalidParameter, match="no fixed point"):
        central_instability(small)
