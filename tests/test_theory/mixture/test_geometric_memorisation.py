"""Spectra of scores, PCA and random features against dense algebra and simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line
from scipy.optimize import minimize_scalar

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.mixture.collapse import collapse_time
from hierdiff.theory.mixture.geometric_memorisation import (
    empirical_jacobian,
    gap_opening,
    largest_gap,
    manifold_edges,
    manifold_gap,
    pca_error,
    pca_error_ceiling,
    score_spectrum,
    subspace_error,
)
from hierdiff.theory.mixture.memorisation import empirical_denoise
from hierdiff.theory.mixture.posterior import class_posterior, jacobian_spectrum
from hierdiff.theory.mixture.random_features import (
    FeatureConstants,
    feature_bulks,
    feature_constants,
)
from hierdiff.theory.mixture.score_machines import fit_gaussian

Array = np.ndarray[Any, Any]

# --- spectra and gaps -----------------------------------------------------------------------------


def test_denoiser_spectrum_of_the_mixture() -> None:
    """A24: d eigenvalues zeta, (K - 1) d eigenvalues xi, the rest 0, while the class is certain."""
    mixture = LowRankMixture.random(20, 5, 3, delta=0.2, seed=0)
    x, k = mixture.sample(40, seed=1)
    noise = np.random.default_rng(2).standard_normal(x.shape)
    spectrum = jacobian_spectrum(mixture, x, 0.1)
    wanted = np.r_[np.full(5, 0.990099), np.full(10, 0.8), np.zeros(5)]
    sure = class_posterior(mixture, x, 0.1)[np.arange(40), k] > 1 - 1e-9
    assert sure.sum() > 20
    np.testing.assert_allclose(spectrum[sure], np.broadcast_to(wanted, (sure.sum(), 20)), atol=2e-6)
    for row in spectrum[sure]:
        # seen from the score: the manifold of the class lies below the gap of directions
        assert largest_gap(1 - row).below == 15
        assert largest_gap((1 - row)[:15]) == (5, pytest.approx(0.190099, abs=2e-6))
    # at sigma = 1 the classes mix, and the direction between two of them rises above zeta = 1/2
    mixed = jacobian_spectrum(mixture, x + noise, 1.0)[:, 0]
    assert mixed.max() > 0.55


def test_edges_of_the_manifold_known_in_advance() -> None:
    """A24: edges (1, 9) at D = 800, m = 200; one draw shows about (1.03, 8.95)."""
    assert manifold_edges(800, 200) == (1.0, 9.0)
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((800, 200)) / np.sqrt(200)
    r = np.linalg.svd(factors, compute_uv=False) ** 2
    # Tracy-Widom: edges of one draw scatter by 0.02 and 0.1, inwards by as much on average
    assert r.min() == pytest.approx(1.0, abs=0.1)
    assert r.max() == pytest.approx(9.0, abs=0.4)
    for sigma in (0.3, 1.0, 3.0):
        spectrum = score_spectrum(np.r_[r, np.zeros(600)], sigma)
        gap = largest_gap(spectrum)
        assert gap.below == 200
        assert gap.size == pytest.approx(manifold_gap(800, 200, sigma), abs=0.02)
    # the whole law, not its edges alone: first two moments of Marchenko-Pastur
    assert r.mean() == pytest.approx(4.0, rel=0.01)
    assert (r**2).mean() == pytest.approx(4.0**2 + 4.0, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(first=st.floats(0.01, 100), ratio=st.floats(1.05, 1e4))
def test_gap_between_two_variances_is_widest_where_the_formula_says(
    first: float, ratio: float
) -> None:
    upper, lower = first * ratio, first
    level, size = gap_opening(upper, lower)

    def width(log_sigma: float) -> float:
        low, high = score_spectrum([upper, lower], float(np.exp(log_sigma)))
        return -float(high - low)

    at = np.log(level.sigma)
    assert -width(at) == pytest.approx(size, rel=1e-9)
    found = minimize_scalar(width, bounds=(at - 3, at + 3), method="bounded")
    assert -found.fun <= size * (1 + 1e-9)
    assert abs(found.x - at) < 1e-2


def test_score_spectrum_is_that_of_a_gaussian_score() -> None:
    rng = np.random.default_rng(1)
    factors = rng.standard_normal((6, 2))
    covariance = factors @ factors.T
    jacobian = -np.linalg.inv(covariance + 0.25 * np.eye(6))
    values = np.linalg.eigvalsh(-0.25 * jacobian)
    found = score_spectrum(np.maximum(np.linalg.eigvalsh(covariance), 0), 0.5)
    np.testing.assert_allclose(found, values, atol=1e-12)


# --- the Jacobian of a data set -------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 3, 50, None])
def test_empirical_jacobian_by_finite_differences(block: int | None) -> None:
    rng = np.random.default_rng(2)
    data = 100 + rng.standard_normal((30, 4))
    x = data[:5] + 0.8 * rng.standard_normal((5, 4))
    found = empirical_jacobian(data, x, 0.8, block=block)
    step = 1e-5
    for j, axis in enumerate(np.eye(4)):
        ends = [empirical_denoise(data, x + s * step * axis, 0.8) for s in (1, -1)]
        np.testing.assert_allclose(found[:, :, j], (ends[0] - ends[1]) / (2 * step), atol=3e-7)
    assert (found == found.transpose(0, 2, 1)).all()
    stream = empirical_jacobian(iter([data[:4], data[4:]]), x, 0.8, block=block)
    np.testing.assert_allclose(stream, found, atol=1e-11)
    assert empirical_jacobian(data, x.astype(np.float32), 0.8).dtype == np.float32


def test_memorised_data_have_no_manifold() -> None:
    """Far below the collapse every eigenvalue is 0, far above it the population's."""
    lam = np.r_[np.full(3, 4.0), np.full(3, 0.25)]
    rng = np.random.default_rng(3)
    data = rng.standard_normal((20_000, 6)) * np.sqrt(lam)
    level = collapse_time(len(data), lam).sigma
    x = data[:100] + 0.15 * level * rng.standard_normal((100, 6))
    assert np.median(np.linalg.eigvalsh(empirical_jacobian(data, x, 0.15 * level))[:, -1]) < 1e-3
    x = data[:100] + 8 * level * rng.standard_normal((100, 6))
    above = empirical_jacobian(data, x, 8 * level).mean(0)
    population = lam / (lam + (8 * level) ** 2)
    np.testing.assert_allclose(np.diag(above), population, rtol=0.1)
    assert largest_gap(1 - np.linalg.eigvalsh(above)).below == 3


# --- PCA ------------------------------------------------------------------------------------------


def completed(n_data: int, rng: np.random.Generator, dim: int = 48, rank: int = 6) -> float:
    """Error of rank-d PCA on N noise-free data, missing directions drawn at random."""
    basis = np.linalg.qr(rng.standard_normal((dim, rank)))[0]
    data = rng.standard_normal((n_data, rank)) @ basis.T
    axes = np.linalg.svd(data, full_matrices=False)[2][:rank]
    extra = rng.standard_normal((max(rank - len(axes), 0), dim))
    return subspace_error(basis, np.linalg.qr(np.vstack([axes, extra]).T)[0])


@pytest.mark.parametrize(("n", "known"), [(3, 2.372), (5, 1.394)])
def test_pca_below_the_transition(n: int, known: float) -> None:
    rng = np.random.default_rng(n)
    squares = np.array([completed(n, rng) ** 2 for _ in range(400)])
    wanted = pca_error(48, 6, n)
    z = (squares.mean() - wanted**2) / (squares.std(ddof=1) / 20)
    assert abs(z) < 4
    # planted: full orthogonality of what is missing, i.e. the ceiling instead of the mean
    ceiling = pca_error_ceiling(48, 6, n)
    assert abs(squares.mean() - ceiling**2) > 10 * squares.std(ddof=1) / 20
    assert squares.max() <= ceiling**2 + 1e-12
    # a single draw lies within the scatter
    assert abs(known**2 - wanted**2) < 3 * squares.std()


def test_pca_transition_known_in_advance() -> None:
    """A23."""
    assert pca_error_ceiling(48, 6, 3) == pytest.approx(2.449490, abs=5e-7)
    assert pca_error_ceiling(48, 6, 5) == pytest.approx(1.414214, abs=5e-7)
    for n in (6, 7):
        assert pca_error(48, 6, n) == pca_error_ceiling(48, 6, n) == 0
        assert completed(n, np.random.default_rng(n)) < 1e-13
    # the count 2 min(...) under the root: a line in an (n = 3)-space and its complement of 1
    assert pca_error_ceiling(3, 2, 0) == pytest.approx(np.sqrt(2))
    assert pca_error(4, 4, 1) == 0  # nothing is missing where the rank is the dimension
    data = np.random.default_rng(8).standard_normal((7, 6)) @ np.eye(6, 48)
    assert len(fit_gaussian(np.vstack([data, -data])).axes) == 6


# --- random features ------------------------------------------------------------------------------

PSI_P, TIME, D = 40, 0.01, 40
CONSTANTS = feature_constants(np.tanh, TIME)


def equivalent_spectrum(n: int, seed: int, c: FeatureConstants = CONSTANTS) -> Array:
    """Eigenvalues of the Gaussian-equivalent covariance of features, descending."""
    rng, p = np.random.default_rng(seed), PSI_P * D
    W, X = rng.standard_normal((p, D)), rng.standard_normal((n, D))
    G = np.exp(-c.time) * c.linear * X @ W.T / np.sqrt(D)
    G += np.sqrt(c.over_data) * rng.standard_normal((n, p))
    # all eigenvalues but the atom come from n + d rows
    rows = np.vstack([G / np.sqrt(n), np.sqrt(c.noise) * c.linear * W.T / np.sqrt(D)])
    return np.linalg.eigvalsh(rows @ rows.T)[::-1] + c.over_noise


def test_constants_known_in_advance() -> None:
    """A25."""
    assert CONSTANTS.linear == pytest.approx(0.60570551, abs=5e-9)
    assert CONSTANTS.over_data == pytest.approx(0.0255417764, abs=5e-11)
    assert CONSTANTS.over_noise == pytest.approx(0.00187354973, rel=1e-7)
    c = FeatureConstants(0.5, 1.0, 0.0, 0.0)
    linear = feature_constants(lambda u: u, 0.5)
    np.testing.assert_allclose(
        [linear.linear, linear.over_data, linear.over_noise], [c.linear, 0, 0], atol=1e-12
    )
    # cubic Hermite: rho = u^3 - 3u has no linear part; E rho^2 = 6, noise-averaged e^{-3t} He_3
    cubic = feature_constants(lambda u: u**3 - 3 * u, 0.2)
    found = [cubic.linear, cubic.over_data, cubic.over_noise]
    np.testing.assert_allclose(found, [0, 6 * np.exp(-1.2), 6 - 6 * np.exp(-1.2)], atol=1e-9)


def test_constants_by_sampling_pairs_of_noises() -> None:
    rng = np.random.default_rng(0)
    h, z, other = rng.standard_normal((3, 400_000))
    keep, spread = np.exp(-0.3), np.sqrt(-np.expm1(-0.6))
    first, second = np.tanh(keep * h + spread * z), np.tanh(keep * h + spread * other)
    c = feature_constants(np.tanh, 0.3)
    product = first * second
    wanted = c.over_data + (keep * c.linear) ** 2
    assert abs(product.mean() - wanted) < 4 * product.std() / np.sqrt(len(h))
    total = c.over_data + c.over_noise + c.linear**2
    assert abs((first**2).mean() - total) < 4 * (first**2).std() / np.sqrt(len(h))


@pytest.mark.parametrize(("n", "known"), [(160, 8.035e3), (320, 1.601e4), (640, 3.146e4)])
def test_bulks_and_training_times(n: int, known: float) -> None:
    """A25: mean of the bulk between the d signal directions and rank n, Gaussian equivalent."""
    values, predicted = equivalent_spectrum(n, seed=n), feature_bulks(CONSTANTS, PSI_P, n / D)
    bulk, top, p = values[D:n], values[:D], PSI_P * D
    measured = PSI_P / (CONSTANTS.noise * bulk.mean())
    assert measured == pytest.approx(predicted.memorization_time, rel=0.01)
    assert predicted.memorization_time == pytest.approx(known, rel=0.004)
    # finite-size edges lie inside the prediction of the paper, and near the corrected one
    low, high = predicted.memorization
    assert low < bulk.min() < 1.15 * low
    assert 0.85 * high < bulk.max() < high
    near = predicted.memorization_finite
    np.testing.assert_allclose([bulk.min(), bulk.max()], near, rtol=0.06)
    assert top.mean() == pytest.approx(predicted.generalization_mean, rel=0.03)
    assert top.min() > 3 * bulk.max()
    assert predicted.generalization_mean == pytest.approx(14.675, abs=5e-4)
    assert 1 - len(values) / p == pytest.approx(predicted.atom_mass, abs=1e-12)


def test_memorisation_waits_for_the_data_and_generalisation_does_not() -> None:
    bulks = [feature_bulks(CONSTANTS, 400.0, psi_n) for psi_n in (10, 20, 40, 80)]
    times = np.array([b.memorization_time for b in bulks])
    slopes = np.diff(np.log(times)) / np.log(2)
    assert (np.abs(slopes - 1) < 0.1).all()
    assert len({b.generalization_time for b in bulks}) == 1
    assert (times > 100 * bulks[0].generalization_time).all()


def test_true_features_approach_the_gaussian_equivalent() -> None:
    """Noise averaged exactly; at d = 40 the bulk's mean lies 7 % below, half of it at d = 80."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    gaps = []
    for d in (20, 40, 80):
        rng, n, p = np.random.default_rng(d), 4 * d, 15 * d
        W, X = rng.standard_normal((p, d)), rng.standard_normal((n, d))
        h, c = np.exp(-TIME) * X @ W.T / np.sqrt(d), CONSTANTS
        spread = zip(nodes, weights / weights.sum(), strict=True)
        mean = sum(w * np.tanh(h + np.sqrt(c.noise) * z) for z, w in spread)
        rows = np.vstack([mean / np.sqrt(n), np.sqrt(c.noise) * c.linear * W.T / np.sqrt(d)])
        values = np.linalg.eigvalsh(rows @ rows.T)[::-1] + c.over_noise
        gaps.append(1 - values[d:n].mean() / feature_bulks(c, 15.0, 4.0).memorization_mean)
    assert 0 < gaps[2] < gaps[1] < gaps[0] < 0.25
    assert gaps[2] < 0.6 * gaps[0]


# --- bad input ------------------------------------------------------------------------------------

HOLED = np.ones((4, 3))
HOLED[1, 1] = np.nan
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: score_spectrum([-1.0], 1.0), "eigenvalues"),
    (lambda: score_spectrum([1.0], 0.0), "sigma = 0.0"),
    (lambda: largest_gap([1.0]), "two or more"),
    (lambda: largest_gap([1.0, np.nan]), "finite"),
    (lambda: gap_opening(1.0, 2.0), "must exceed"),
    (lambda: gap_opening(np.inf, 2.0), "upper = inf"),
    (lambda: manifold_edges(10, 11), "latent = 11"),
    (lambda: manifold_gap(10, 5, 0.0), "sigma = 0.0"),
    (lambda: empirical_jacobian(HOLED, np.ones((1, 3)), 1.0), "data[1] holds NaN"),
    (lambda: empirical_jacobian(np.zeros((0, 3)), np.ones((1, 3)), 1.0), "data are empty"),
    (lambda: empirical_jacobian(np.ones((2, 3)), np.ones((1, 2)), 1.0), "do not fit"),
    (lambda: empirical_jacobian(np.ones((2, 3)), np.ones((1, 3)), -1.0), "sigma = -1.0"),
    (lambda: subspace_error(np.eye(3), np.eye(2)), "shapes"),
    (lambda: subspace_error(2 * np.eye(3), np.eye(3)), "not orthonormal"),
    (lambda: pca_error(4, 5, 1), "rank = 5"),
    (lambda: pca_error_ceiling(4, 2, -1), "n_data = -1"),
    (lambda: feature_constants(np.tanh, 0.0), "time = 0.0"),
    (lambda: feature_constants(np.abs, 0.1), "has mean"),
    (lambda: feature_bulks(CONSTANTS, 4.0, 4.0), "psi_p = 4.0"),
    (lambda: feature_bulks(CONSTANTS, 4.0, 0.5), "psi_p = 4.0"),
]


@pytest.mark.parametrize(("call", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_is_one_clear_line(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        call()
    assert words in one_line(error)


def test_no_best_level_for_a_gap_to_nothing() -> None:
    with pytest.raises(NoTransition) as error:
        gap_opening(1.0, 0.0)
    assert "lower = 0" in one_line(error)
