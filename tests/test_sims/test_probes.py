"""Probes: optimality against Newton's method, invariances, Bayes accuracy, bias of the SNR."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import Laws
from oracles import one_line
from scipy.special import log_softmax, softmax
from scipy.stats import ortho_group

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.probes import (
    feature_snr,
    linear_probe,
    over_seeds,
    projection_accuracy,
    quadratic_probe,
    ridge_probe,
    ridge_weights,
)
from hierdiff.theory.mixture.feature_snr import bayes_accuracy, snr
from hierdiff.theory.mixture.posterior import denoise

Array = np.ndarray[Any, Any]


def blobs(n: int, width: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.standard_normal((n, width)) + np.eye(width)[y] * 1.5, y


def newton(x: Array, y: Array, ridge: float, steps: int = 30) -> Array:
    """Probabilities of the penalised fit on the module's scaled features, by dense Newton steps."""
    z = x - x.mean(axis=0)
    z = np.c_[z / np.sqrt(np.mean(z**2)), np.ones(len(x))]
    p, k = z.shape[1], int(y.max()) + 1
    penalty = np.diag(np.append(np.full(p - 1, ridge), 1e-9))
    w = np.zeros((p, k))
    for _ in range(steps):
        q = softmax(z @ w, axis=1)
        slope = z.T @ (q - np.eye(k)[y]) + penalty @ w
        hessian = np.einsum("na,nk,kl,nb->akbl", z, q, np.eye(k), z, optimize=True)
        hessian -= np.einsum("na,nk,nl,nb->akbl", z, q, q, z, optimize=True)
        hessian += np.einsum("ab,kl->akbl", penalty, np.eye(k))
        w -= np.linalg.lstsq(hessian.reshape(p * k, -1), slope.ravel(), rcond=1e-13)[0].reshape(
            p, k
        )
    return np.asarray(softmax(z @ w, axis=1))


@pytest.mark.parametrize(("n", "width"), [(60, 4), (12, 20)])  # also fewer points than features
def test_the_fit_is_the_optimum(n: int, width: int) -> None:
    x, y = blobs(n, width, 0)
    probe = linear_probe(x, y, ridge=0.7, tolerance=1e-8)
    wanted = newton(x, y, 0.7)
    np.testing.assert_allclose(softmax(probe.logits(x), axis=1), wanted, atol=1e-5)
    assert probe.gradient <= 1e-8
    # planted: another penalty is another optimum
    assert np.abs(softmax(linear_probe(x, y, ridge=7.0).logits(x), axis=1) - wanted).max() > 0.01


def test_the_quadratic_probe_is_a_linear_one_on_products() -> None:
    x, y = blobs(80, 4, 1)
    z = (x - x.mean(axis=0)) / np.sqrt(np.mean((x - x.mean(axis=0)) ** 2))
    pairs = [z[:, a] * z[:, b] * (1 if a == b else 2**0.5) for a in range(4) for b in range(a, 4)]
    wanted = linear_probe(np.stack(pairs, axis=1), y, tolerance=1e-8).logits(np.stack(pairs, 1))
    found = quadratic_probe(x, y, tolerance=1e-8).logits(x)
    np.testing.assert_allclose(log_softmax(found, axis=1), log_softmax(wanted, axis=1), atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), length=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
def test_probes_ignore_rotation_shift_and_unit(seed: int, length: float, shift: float) -> None:
    x, y = blobs(45, 3, seed)
    turned = length * (x @ ortho_group.rvs(3, random_state=seed)) + shift
    for fit in (linear_probe, quadratic_probe, ridge_probe):
        here, there = fit(x, y).logits(x), fit(turned, y).logits(turned)
        np.testing.assert_allclose(softmax(there, axis=1), softmax(here, axis=1), atol=2e-3)


def test_labels_may_be_any_words_and_their_order_does_not_matter() -> None:
    x, y = blobs(60, 3, 2)
    words = np.array(["wolf", "ant", "bee"])
    found = linear_probe(x, words[y]).predict(x)
    np.testing.assert_array_equal(found, words[linear_probe(x, y).predict(x)])


@pytest.mark.parametrize("shape", [(30, 5), (5, 30), (1, 3), (7, 7)])
def test_ridge_weights_are_the_minimum_on_either_side(shape: tuple[int, int]) -> None:
    """No direction lowers |XW - Y|^2 + rho |W|^2; the wide and the tall system agree."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(shape), rng.standard_normal((shape[0], 2))
    w = ridge_weights(x, y, 0.3)
    np.testing.assert_allclose(x.T @ (x @ w - y) + 0.3 * w, 0, atol=1e-12)
    tall = np.linalg.solve(x.T @ x + 0.3 * np.eye(shape[1]), x.T @ y)
    np.testing.assert_allclose(w, tall, atol=1e-12)
    for bad in ((x, y[:-1], 0.3), (x, y, 0.0), (x[:, :0], y, 0.3), (x, y[:, 0], 0.3)):
        with pytest.raises(InvalidParameter):
            ridge_weights(*bad)


def test_ridge_probe_solves_the_normal_equations() -> None:
    x, y = blobs(50, 4, 3)
    probe = ridge_probe(x, y, ridge=2.0)
    z = (x - x.mean(axis=0)) / np.sqrt(np.mean((x - x.mean(axis=0)) ** 2))
    wide = np.vstack([z, np.sqrt(2.0) * np.eye(4)])
    hot = np.eye(3)[y]
    target = np.vstack([hot - hot.mean(axis=0), np.zeros((4, 3))])
    np.testing.assert_allclose(probe.weights, np.linalg.lstsq(wide, target)[0], atol=1e-10)
    assert probe.accuracy(x, y) > 0.6


MIXTURE = LowRankMixture.random(15, 5, 3, delta=0.2, seed=0)


def features(n: int, sigma: float, seed: int, mixture: LowRankMixture = MIXTURE) -> Any:
    rng = np.random.default_rng(seed)
    x, k = mixture.sample(n, rng)
    return denoise(mixture, x + sigma * rng.standard_normal(x.shape), sigma), k


def test_squares_reach_bayes_accuracy_and_lines_do_not() -> None:
    sigma = 0.3257
    train, test = features(6000, sigma, 1), features(20000, sigma, 2)
    bayes = float(bayes_accuracy(3, 5, 0.2, sigma))
    error = np.sqrt(bayes * (1 - bayes) / 20000)
    found = quadratic_probe(*train).accuracy(*test)
    assert bayes - 0.01 - 4 * error < found < bayes + 4 * error
    line = linear_probe(*train).accuracy(*test)
    assert 1 / 3 < line < 0.6
    assert abs(ridge_probe(*train).accuracy(*test) - line) < 0.05


def test_two_symmetric_classes_are_told_apart_by_a_line_at_most_three_times_in_four() -> None:
    mixture = LowRankMixture.random(8, 1, 2, seed=1)
    probe = linear_probe(*features(400, 0.05, 3, mixture))
    assert probe.accuracy(*features(20000, 0.05, 4, mixture)) < 0.75 + 4 * 0.5 / np.sqrt(20000)


def test_projection_accuracy_is_bayes_accuracy(laws: Laws) -> None:
    sigmas, n = (0.2, 0.6, 1.0), 20000
    found = np.array([projection_accuracy(*features(n, s, 5), MIXTURE.bases) for s in sigmas])
    wanted = bayes_accuracy(3, 5, 0.2, sigmas)
    z = (found - wanted) / np.sqrt(wanted * (1 - wanted) / n)
    laws.holds("accuracy of the largest class energy", z)
    assert np.abs(z).max() < 4
    wrong = bayes_accuracy(3, 5, 0.2, np.array(sigmas) * 1.1)  # planted: ten per cent more noise
    z = (found - wrong) / np.sqrt(wrong * (1 - wrong) / n)
    laws.rejects("accuracy of the largest class energy", "noise of 1.1 sigma", z)
    assert np.abs(z).max() > 6


def test_the_snr_has_no_bias_where_a_bare_ratio_does(laws: Laws) -> None:
    """300 draws of about 3 x 80 points at d = 10, where rare confusions dominate the leak."""
    mixture = LowRankMixture.random(30, 10, 3, delta=0.2, seed=2)
    sigma, wanted = 0.6, float(snr(3, 10, 0.2, 0.6))
    f, k = features(72000, sigma, 6, mixture)
    ours, bare, points = [], [], []
    for part in np.split(np.arange(72000), 300):
        x, y = f[part], k[part]
        ours.append(feature_snr(x, y, mixture.bases))
        along = [np.sum((x[y == c] @ mixture.bases[c]) ** 2, axis=1) for c in range(3)]
        away = [np.sum(x[y == c] ** 2, axis=1) - a for c, a in enumerate(along)]
        bare.append(np.mean([a.mean() / b.mean() for a, b in zip(along, away, strict=True)]))
        points.append(np.mean([(a / b).mean() for a, b in zip(along, away, strict=True)]))

    def z(values: list[Any]) -> float:
        mean, error = over_seeds(values)
        return float((mean - wanted) / error)

    law = "SNR of denoised features without bias"
    laws.holds(law, z(ours))
    assert abs(z(ours)) < 4
    laws.rejects(law, "bare ratio of means", z(bare))
    laws.rejects(law, "mean of ratios", z(points))
    assert z(bare) > 6
    assert z(points) > 20


def test_snr_by_hand() -> None:
    bases = [np.eye(4)[:, :2], np.eye(4)[:, 2:]]
    f = np.array([[2.0, 0, 1, 0], [0, 2, 0, 1], [1, 0, 0, 3], [0, 1, 3, 0]])
    assert feature_snr(f, [0, 0, 1, 1], bases) == pytest.approx((4 + 9) / 2, rel=1e-14)
    assert feature_snr(5 * f, [0, 0, 1, 1], bases) == pytest.approx(6.5, rel=1e-14)
    assert feature_snr(f[:, ::-1], [1, 1, 0, 0], bases) == pytest.approx(6.5, rel=1e-14)
    clean = f * np.array([[1, 1, 0, 0]] * 2 + [[0, 0, 1, 1]] * 2)
    assert feature_snr(clean, [0, 0, 1, 1], bases) == np.inf
    assert feature_snr(clean, [1, 1, 0, 0], bases) == 0


def test_mean_and_error_over_seeds() -> None:
    values = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]])
    mean, error = over_seeds(values)
    np.testing.assert_allclose(mean, [3, 2])
    np.testing.assert_allclose(error, [2 / np.sqrt(3), 0])


X, Y = blobs(12, 3, 9)


@pytest.mark.parametrize("fit", [linear_probe, quadratic_probe, ridge_probe])
@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (X, np.zeros(12, int), {}, "a probe needs at least two classes"),
        (X[:3], Y[:3], {}, "at least 2 per class"),
        (np.where(np.eye(12, 3) > 0, np.nan, X), Y, {}, "features[0] hold NaN"),
        (X[:, 0], Y, {}, "give [n, width]"),
        (X[:0], Y[:0], {}, "give [n, width]"),
        (X, Y[:5], {}, "one label per row"),
        (X, Y, {"ridge": 0.0}, "ridge = 0.0"),
        (X, Y, {"ridge": np.nan}, "ridge = nan"),
    ],
)
def test_bad_input_is_one_line(fit: Any, x: Any, y: Any, options: Any, words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        fit(x, y, **options)
    assert words in one_line(error)


def test_a_fit_that_does_not_converge_says_so() -> None:
    with pytest.raises(InvalidParameter) as error:
        linear_probe(X, Y, iterations=1)
    assert "raise iterations" in one_line(error)


@pytest.mark.parametrize(
    ("labels", "bases", "words"),
    [
        ([0, 1, 2], [np.eye(3)[:, :1]] * 2, "integers in 0 .. 1"),
        ([0, 1], [np.eye(3)[:, :1]] * 2, "must be 3 integers"),
        ([0.0, 1.0, 1.0], [np.eye(3)[:, :1]] * 2, "integers"),
        ([0, 1, 1], [np.eye(4)[:, :1]] * 2, "bases[0] has 4 rows"),
    ],
)
def test_energies_need_fitting_bases(labels: Any, bases: Any, words: str) -> None:
    for measure in (projection_accuracy, feature_snr):
        with pytest.raises(InvalidParameter) as error:
            measure(X[:3], labels, bases)
        assert words in one_line(error)


def test_an_snr_needs_two_points_of_every_class() -> None:
    with pytest.raises(InvalidParameter) as error:
        feature_snr(X[:3], [0, 0, 1], [np.eye(3)[:, :1], np.eye(3)[:, 1:2]])
    assert "class 1 has 1 points" in one_line(error)
    with pytest.raises(InvalidParameter) as error:
        over_seeds([1.0])
    assert "error bar" in one_line(error)
