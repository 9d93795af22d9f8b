"""Denoiser, score, density and Jacobian of mixtures: acceptance values, oracles, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.posterior import (
    class_posterior,
    denoise,
    jacobian,
    jacobian_spectrum,
    log_density,
    score,
)

U1 = np.array([1, 2, 2]) / 3
U2 = 0.8 * np.array([2, -1, 2]) / 3 + 0.6 * U1
FIXTURE = LowRankMixture([U1[:, None], (U2 / np.linalg.norm(U2))[:, None]], [0.3, 0.7], delta=0.25)
POINT, SIGMA = np.array([[0.7, -0.4, 0.9]]), 0.5


def general(seed: int, residual: str = "span", means: bool = True) -> LowRankMixture:
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.standard_normal((7, d)))[0] for d in (2, 3, 1)]
    variances = [rng.uniform(0.3, 2.0, d) for d in (2, 3, 1)]
    shift = 0.5 * rng.standard_normal((3, 7)) if means else None
    return LowRankMixture(bases, [0.2, 0.5, 0.3], variances, 0.4, residual, shift)


def dense(m: LowRankMixture, x: np.ndarray, sigma: float) -> tuple[np.ndarray, ...]:
    """Weights, denoiser and log-density from dense D x D matrices."""
    joint, means = [], []
    for k, weight in enumerate(m.weights):
        s = m.covariance(k)
        c = s + sigma**2 * np.eye(m.dim)
        gap = x - m.means[k]
        z = np.linalg.solve(c, gap.T).T
        quadratic = (gap * z).sum(axis=1)
        joint.append(np.log(weight) - 0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * c)[1]))
        means.append(m.means[k] + z @ s)
    joint = np.array(joint).T
    log_p = np.logaddexp.reduce(joint, axis=1)
    w = np.exp(joint - log_p[:, None])
    return w, np.einsum("nk,knd->nd", w, np.array(means)), log_p


def test_acceptance_of_the_fixture() -> None:
    """A1 and A2 of the sheet: overlapping subspaces in three dimensions."""
    assert U1 @ FIXTURE.bases[1][:, 0] == pytest.approx(0.8000086535, abs=1e-10)
    np.testing.assert_allclose(
        denoise(FIXTURE, POINT, SIGMA)[0], [0.498166823853, 0.100358194914, 0.637943466589],
        atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(
        class_posterior(FIXTURE, POINT, SIGMA)[0], [0.119027680361, 0.880972319639], atol=1e-12
    )
    assert log_density(FIXTURE, POINT, SIGMA)[0] == pytest.approx(-2.786746563743, abs=1e-12)
    np.testing.assert_allclose(
        score(FIXTURE, POINT, SIGMA)[0], [-0.807332704589, 2.001432779656, -1.048226133644],
        atol=1e-12,
    )  # fmt: skip
    trace = np.trace(jacobian(FIXTURE, POINT, SIGMA)[0]) * SIGMA**2
    assert trace == pytest.approx(0.245790487823, abs=1e-12)


def test_the_fixture_by_quadrature_over_its_latents() -> None:
    """Two latents per class, integrated by Gauss and Hermite: no linear algebra in common."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    a, e = (g.ravel() for g in np.meshgrid(nodes, nodes, indexing="ij"))
    prior = np.outer(weights, weights).ravel() / (2 * np.pi)
    total, mean = 0.0, np.zeros(3)
    for k, pi in enumerate(FIXTURE.weights):
        own, other = FIXTURE.bases[k][:, 0], FIXTURE.bases[1 - k][:, 0]
        x0 = a[:, None] * own + 0.25 * e[:, None] * other
        like = np.exp(-((POINT - x0) ** 2).sum(axis=1) / (2 * SIGMA**2))
        like *= pi * prior / (2 * np.pi * SIGMA**2) ** 1.5
        total, mean = total + like.sum(), mean + like @ x0
    np.testing.assert_allclose(denoise(FIXTURE, POINT, SIGMA)[0], mean / total, atol=1e-10)
    assert log_density(FIXTURE, POINT, SIGMA)[0] == pytest.approx(np.log(total), abs=1e-10)


@pytest.mark.parametrize("residual", ["span", "ambient"])
@pytest.mark.parametrize("sigma", [0.03, 0.5, 4.0])
def test_woodbury_is_the_dense_formula(residual: str, sigma: float) -> None:
    m = general(1, residual)
    x = m.sample(20, 0)[0] + sigma * np.random.default_rng(1).standard_normal((20, 7))
    w, mean, log_p = dense(m, x, sigma)
    np.testing.assert_allclose(class_posterior(m, x, sigma), w, atol=1e-11)
    np.testing.assert_allclose(denoise(m, x, sigma), mean, atol=1e-11)
    np.testing.assert_allclose(log_density(m, x, sigma), log_p, atol=1e-10)


def difference(f: object, x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """Central differences of a function of rows, last axis the direction."""
    steps = [(f(x + h * e) - f(x - h * e)) / (2 * h) for e in np.eye(x.shape[1])]
    return np.stack(steps, axis=-1)


@pytest.mark.parametrize("residual", ["span", "ambient"])
def test_score_and_jacobian_are_derivatives(residual: str) -> None:
    m, sigma, scale = general(2, residual), 0.6, 0.7
    x = scale * (m.sample(5, 0)[0] + sigma * np.random.default_rng(1).standard_normal((5, 7)))
    np.testing.assert_allclose(
        score(m, x, sigma, scale=scale),
        difference(lambda y: log_density(m, y, sigma, scale=scale), x), atol=1e-7,
    )  # fmt: skip
    slope = difference(lambda y: denoise(m, y, sigma, scale=scale), x)
    found = jacobian(m, x, sigma, scale=scale)
    np.testing.assert_allclose(found, slope, atol=1e-8)
    np.testing.assert_allclose(found, found.transpose(0, 2, 1), atol=1e-13)
    values = np.linalg.eigvalsh(found)[:, ::-1]
    assert values.min() > -1e-13
    np.testing.assert_allclose(jacobian_spectrum(m, x, sigma, scale=scale), values, atol=1e-11)


def test_spectrum_while_the_class_is_certain() -> None:
    """A24: d eigenvalues zeta, (K - 1) d eigenvalues xi, the rest 0; mixing lifts the top."""
    m = LowRankMixture.random(50, 5, 3, delta=0.2, seed=0)
    x = m.sample(40, 1)[0]
    noise = np.random.default_rng(2).standard_normal(x.shape)
    values = jacobian_spectrum(m, x + 0.1 * noise, 0.1)
    sure = class_posterior(m, x + 0.1 * noise, 0.1).max(axis=1) > 1 - 1e-9
    assert sure.sum() > 10
    np.testing.assert_allclose(values[sure][:, :5], 1 / 1.01, atol=1e-6)
    np.testing.assert_allclose(values[sure][:, 5:15], 0.04 / 0.05, atol=1e-6)
    np.testing.assert_allclose(values[:, 15:], 0, atol=1e-12)
    assert jacobian_spectrum(m, x + noise, 1.0)[:, 0].max() > 0.5


def rotation(seed: int, dim: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]


@given(st.integers(0, 1000), st.floats(0.05, 5), st.sampled_from(["span", "ambient"]))
@settings(deadline=None, max_examples=25)
def test_invariances(seed: int, sigma: float, residual: str) -> None:
    """Rotation, class permutation, basis change inside a subspace, oddness, scale: A3 and A5."""
    m = general(seed, residual)
    x = np.random.default_rng(seed).standard_normal((4, 7))
    mean, w = denoise(m, x, sigma), class_posterior(m, x, sigma)
    r = rotation(seed, 7)
    turned = LowRankMixture(
        [r @ b for b in m.bases], m.weights, m.variances, m.delta, residual, m.means @ r.T
    )
    np.testing.assert_allclose(denoise(turned, x @ r.T, sigma), mean @ r.T, atol=1e-10)
    order = [2, 0, 1]
    shuffled = LowRankMixture(
        [m.bases[i] for i in order], m.weights[order], [m.variances[i] for i in order], m.delta,
        residual, m.means[order],
    )  # fmt: skip
    np.testing.assert_allclose(class_posterior(shuffled, x, sigma), w[:, order], atol=1e-11)
    np.testing.assert_allclose(denoise(shuffled, x, sigma), mean, atol=1e-11)
    s = 0.37
    np.testing.assert_allclose(denoise(m, s * x, sigma, scale=s), mean, atol=1e-11)
    odd = LowRankMixture(m.bases, m.weights, m.variances, m.delta, residual)
    np.testing.assert_array_equal(denoise(odd, -x, sigma), -denoise(odd, x, sigma))
    even = LowRankMixture(m.bases, m.weights, None, m.delta, residual)
    inner = [b @ rotation(seed + i, b.shape[1]) for i, b in enumerate(m.bases)]
    np.testing.assert_allclose(
        denoise(LowRankMixture(inner, m.weights, None, m.delta, residual), x, sigma),
        denoise(even, x, sigma), atol=1e-10,
    )  # fmt: skip


def test_one_class_is_the_wiener_filter() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((6, 4)))[0]
    m = LowRankMixture([basis], variances=[[2.0, 1.0, 0.5, 0.1]], delta=0.3, residual="ambient")
    x, s = rng.standard_normal((5, 6)), m.covariance(0)
    wiener = x @ np.linalg.solve(s + 0.49 * np.eye(6), s)
    np.testing.assert_allclose(denoise(m, x, 0.7), wiener, atol=1e-14)
    assert np.all(class_posterior(m, x, 0.7) == 1)


def test_limits_of_noise() -> None:
    """A4: sigma^2 D tends to the mean covariance times x, weights to the prior, D to x."""
    m = general(3, "span", means=False)
    x = m.sample(5, 0)[0]
    mean_cov = sum(w * m.covariance(k) for k, w in enumerate(m.weights))
    far = 1e6 * denoise(m, x, 1e3)
    np.testing.assert_allclose(far, x @ mean_cov, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(class_posterior(m, x, 1e4), np.tile(m.weights, (5, 1)), atol=1e-6)
    gaps = [np.abs(denoise(m, x, s) - x).max() for s in (1e-2, 1e-3, 1e-4)]
    np.testing.assert_allclose(np.array(gaps[:-1]) / gaps[1:], 100, rtol=0.05)


@given(st.floats(-8, 8), st.sampled_from(["span", "ambient"]), st.booleans())
@settings(deadline=None, max_examples=40)
def test_sixteen_decades_without_overflow(power: float, residual: str, single: bool) -> None:
    sigma = 10.0 ** (-power / 2)
    m = general(4, residual)
    x = m.sample(6, 0)[0] + sigma * np.random.default_rng(1).standard_normal((6, 7))
    y = x.astype(np.float32) if single else x
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = [f(m, y, sigma) for f in (class_posterior, denoise, log_density, score)]
    assert all(np.isfinite(a).all() for a in found)
    assert all(a.dtype == y.dtype for a in found)
    np.testing.assert_allclose(found[0].sum(axis=1), 1, atol=1e-5)


def test_single_precision_and_blocks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    from hierdiff.theory.mixture import posterior

    m = LowRankMixture.random(60, 3, 12, delta=0.1, seed=0)
    x = m.sample(33, 1)[0] + 0.5 * np.random.default_rng(2).standard_normal((33, 60))
    mean = denoise(m, x, 0.5)
    np.testing.assert_allclose(denoise(m, x.astype(np.float32), 0.5), mean, atol=2e-5)
    monkeypatch.setattr(posterior, "_BLOCK", 40)
    np.testing.assert_allclose(denoise(m, x, 0.5), mean, atol=1e-13)
    np.testing.assert_allclose(class_posterior(m, x, 0.5).sum(axis=1), 1)


def test_overlapping_subspaces_and_the_network_of_the_paper() -> None:
    """A18: at a common principal angle the block network is not Bayes; SNR 16.1139 against 103."""
    c2, s2, d2 = 0.75, 0.25, 0.04
    network = ((1 + c2) ** 2 + 4 * d2 * c2) / (s2 * (c2 + d2))
    assert network == pytest.approx(16.113924050633, abs=1e-11)
    assert (1 + d2 * c2) / (d2 * s2) == pytest.approx(103.0)
    m = LowRankMixture.random(10, 5, 2, delta=0.2, angle=30.0, seed=0)
    x, k = m.sample(60_000, 1)
    found = denoise(m, x + 1e-4 * np.random.default_rng(2).standard_normal(x.shape), 1e-4)
    ratios = []
    for c in range(2):
        kept = found[k == c] @ m.bases[c]
        rest = found[k == c] - kept @ m.bases[c].T
        ratios.append((kept**2).sum() / (rest**2).sum())
    assert np.mean(ratios) == pytest.approx(103.0, rel=0.02)


def test_bad_input_is_one_line() -> None:
    cases = {
        "sigma = 0": lambda: denoise(FIXTURE, POINT, 0.0),
        "sigma = -1": lambda: score(FIXTURE, POINT, -1.0),
        "scale = 0": lambda: denoise(FIXTURE, POINT, 1.0, scale=0.0),
        "holds NaN": lambda: denoise(FIXTURE, POINT * np.nan, 1.0),
        "give a non-empty array": lambda: class_posterior(FIXTURE, POINT[:, :2], 1.0),
        "D = 3": lambda: log_density(FIXTURE, np.empty((0, 3)), 1.0),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words


OFFSETS = [0.0, 1.0, 1e3, 1e6, 1e8]
FUNCTIONS = {
    "class_posterior": class_posterior,
    "log_density": log_density,
    "denoise": denoise,
    "score": score,
    "jacobian": jacobian,
    "jacobian_spectrum": jacobian_spectrum,
}


def shifted(m: LowRankMixture, offset: float) -> LowRankMixture:
    return LowRankMixture(m.bases, m.weights, m.variances, m.delta, m.residual, m.means + offset)


def spread(residual: str = "span", seed: int = 0) -> LowRankMixture:
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.standard_normal((6, d)))[0] for d in (2, 1, 2)]
    means = np.round(8 * rng.standard_normal((3, 6))) / 8  # exact in float32 at 1e3
    return LowRankMixture(bases, [0.2, 0.5, 0.3], None, 0.3, residual, means)


@pytest.mark.parametrize("residual", ["span", "ambient"])
@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_common_offset_is_without_effect(name: str, offset: float, residual: str) -> None:
    """Data and means that move together: the result moves by the rounding of the input."""
    m = spread(residual)
    x = np.round((m.sample(40, 1)[0] + np.random.default_rng(2).standard_normal((40, 6))) * 64) / 64
    wanted = FUNCTIONS[name](m, x, 0.5)
    found = FUNCTIONS[name](shifted(m, offset), x + offset, 0.5)
    if name == "denoise":
        found = found - offset
    # x and the means are exact at every offset here; the centre is rounded, and the result
    rounding = 64 * np.finfo(float).eps * max(offset, 1) * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, atol=max(rounding, 1e-12))


@pytest.mark.parametrize("offset", [128.0, 1e3, 4096.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_with_an_offset(name: str, offset: float) -> None:
    m = spread("ambient")
    x = np.round((m.sample(40, 1)[0] + np.random.default_rng(2).standard_normal((40, 6))) * 64) / 64
    wanted = FUNCTIONS[name](m, x, 0.5)
    found = FUNCTIONS[name](shifted(m, offset), (x + offset).astype(np.float32), 0.5)
    assert found.dtype == np.float32
    size = offset if name == "denoise" else np.abs(wanted).max()
    if name == "denoise":
        wanted = wanted + offset
    np.testing.assert_allclose(found, wanted, atol=2 * np.finfo(np.float32).eps * size)


def test_the_row_that_was_off_by_0_84() -> None:
    """Means (1e8, ...) and (1e8 + 1, ...), sigma = .5: against exact rational differences."""
    means = np.array([[1e8] * 3, [1e8 + 1] * 3])
    m = LowRankMixture([np.zeros((3, 0))] * 2, means=means)
    x = means[:1] + np.array([[0.25, 0.5, 0.0]])
    near, far = (x - means[0])[0], (x - means[1])[0]
    odds = np.exp((near @ near - far @ far) / (2 * 0.25))
    np.testing.assert_allclose(class_posterior(m, x, 0.5)[0, 0], 1 / (1 + odds), rtol=1e-12)
    wanted = np.log((np.exp(-near @ near / 0.5) + np.exp(-far @ far / 0.5)) / 2)
    wanted -= 1.5 * np.log(2 * np.pi * 0.25)
    np.testing.assert_allclose(log_density(m, x, 0.5), wanted, rtol=1e-12)
    # planted: the expanded squares, which cancel
    expanded = x @ means.T - 0.5 * (means**2).sum(axis=1)
    wrong = np.exp((expanded - expanded.max()) / 0.25)
    assert np.abs(wrong / wrong.sum() - class_posterior(m, x, 0.5)).max() > 0.1


def test_far_clusters_keep_the_near_ones_apart() -> None:
    """The centre is far from everything: centring once would not do."""
    means = np.array([[0.0, 0.0], [1e8, 0.0], [1e8 + 1, 0.0], [-3e8, 1e8]])
    m = LowRankMixture([np.zeros((2, 0))] * 4, means=means)
    x = means[1:2] + np.array([[0.25, 0.1]])
    odds = np.exp((0.25**2 - 0.75**2) / (2 * 0.25))
    np.testing.assert_allclose(class_posterior(m, x, 0.5)[0], [0, 1 / (1 + odds), odds / (1 + odds),
                                                               0], rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(score(m, x, 0.5)[0, 1], -0.4, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_common_variances_do_not_hide_small_differences(dtype: type) -> None:
    """Classes that share a direction of variance 1e8 and differ in others, at sigma = .01."""
    eye = np.eye(4)
    m = LowRankMixture([eye[:, [0, 1]], eye[:, [0, 2]]], variances=[[1e8, 1.0], [1e8, 1.0]],
                       delta=0.1, residual="ambient")  # fmt: skip
    x = np.array([[12345.0, 0.125, 0.0625, 0.03125]], dtype=dtype)
    small = LowRankMixture([eye[1:, [1]], eye[1:, [2]]], delta=0.1, residual="ambient")
    wanted = class_posterior(small, x[:, 1:].astype(float), 0.01)
    np.testing.assert_allclose(class_posterior(m, x, 0.01), wanted, rtol=2e3 * np.finfo(dtype).eps)
    side = log_density(LowRankMixture([[[1.0]]], variances=[[1e8]]), x[:, :1].astype(float), 0.01)
    wanted = log_density(small, x[:, 1:].astype(float), 0.01) + side
    np.testing.assert_allclose(log_density(m, x, 0.01), wanted, rtol=50 * np.finfo(dtype).eps)


@pytest.mark.parametrize("sigma", [1e-140, 1e-20, 1e-9, 1e9, 1e20, 1e140])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_noise_level(sigma: float, dtype: type) -> None:
    """One Gaussian of full rank: everything in closed form, from nothing to everything."""
    m = LowRankMixture([np.eye(2)], variances=[[4.0, 1.0]])
    x, v, s = np.array([[2.0, -3.0]], dtype), sigma**2, np.array([4.0, 1.0])
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(denoise(m, x, sigma), x * s / (s + v), rtol=rtol, atol=1e-44)
    np.testing.assert_allclose(score(m, x, sigma), -x / (s + v), rtol=rtol, atol=1e-44)
    np.testing.assert_allclose(jacobian(m, x, sigma)[0], np.diag(s / (s + v)), rtol=rtol,
                               atol=1e-44)  # fmt: skip
    wanted = -0.5 * (x**2 / (s + v) + np.log(2 * np.pi * (s + v))).sum()
    # a sum of logarithms of up to 690
    atol = 700 * np.finfo(float).eps
    np.testing.assert_allclose(log_density(m, x, sigma), [wanted], rtol=rtol, atol=atol)
    two = LowRankMixture([np.eye(2)] * 2, [0.3, 0.7], [[4.0, 1.0], [1.0, 4.0]])
    log_odds = np.log(3 / 7) - 0.5 * (x**2 @ (1 / (s + v) - 1 / (s[::-1] + v)))
    np.testing.assert_allclose(class_posterior(two, x, sigma)[:, 0], 1 / (1 + np.exp(-log_odds)),
                               rtol=rtol)  # fmt: skip
    for f in (denoise, score, jacobian, jacobian_spectrum):
        assert np.isfinite(f(two, x, sigma)).all()


def test_noise_levels_that_no_square_holds_are_refused() -> None:
    m = LowRankMixture([np.eye(2)])
    for f in FUNCTIONS.values():
        for sigma in (1e-320, 1e-200, 1e200, 0.0, -1.0, np.nan, np.inf):
            with pytest.raises(InvalidParameter, match="sigma"):
                f(m, [[1.0, 2.0]], sigma)
        with pytest.raises(InvalidParameter, match="scale"):
            f(m, [[1.0, 2.0]], 1.0, scale=1e-320)
    point = LowRankMixture([np.zeros((2, 0))])
    with pytest.raises(InvalidParameter, match="leaves the range"):
        score(point, [[1e100, 0.0]], 1e-140)
    with pytest.raises(InvalidParameter, match="range of float32"):
        score(point, np.ones((1, 2), np.float32), 1e-25)


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_arrays_that_are_no_data_are_refused(f) -> None:
    m = LowRankMixture([np.eye(2)])
    cases = [
        np.ma.masked_less([[1.0, 2.0]], 1.5), np.array([[1, 2j]]), [[True, False]], "x", None,
        [["a", "b"]], [[1.0, 2.0], [3.0]], np.empty((0, 2)), np.ones(2), np.ones((1, 3)),
        [[np.nan, 1.0]], [[np.inf, 1.0]], np.array([[object(), 1]]), {1: 2},
    ]  # fmt: skip
    for x in cases:
        with pytest.raises(InvalidParameter) as error:
            f(m, x, 1.0)
        one_line(error)
    for sigma in ("a", None, 1j, [0.5], True, np.array([1.0, 2.0])):
        with pytest.raises(InvalidParameter) as error:
            f(m, [[1.0, 2.0]], sigma)
        one_line(error)
    with pytest.raises(InvalidParameter, match="LowRankMixture"):
        f([[1.0]], [[1.0, 2.0]], 1.0)
