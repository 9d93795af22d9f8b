"""The exact model of Gaussian emissions: limits, mixtures of classes, samples, sizes."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import FIXTURE, one_line

from hierdiff import GaussianNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory.exact_models import ExactGaussianRHM
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM

DATA = GaussianRHM(FIXTURE, 0.5)
MODEL = ExactGaussianRHM(DATA)
X0, LABELS = DATA.sample(6, 0)
RANDOMS = np.random.default_rng(1).standard_normal(X0.shape)


def noisy(t: float) -> np.ndarray:
    return MODEL.noise.corrupt_with(X0, t, RANDOMS)


def test_a_conditioned_model_is_the_denoiser_of_the_class() -> None:
    for t in (0.2, 0.6):
        snr = MODEL.noise.snr(t)
        for c in range(MODEL.n_classes):
            exact = DATA.denoise(noisy(t), snr, c)
            assert MODEL.given(c).denoise(noisy(t), t) == pytest.approx(exact, rel=1e-12)


def test_without_a_class_it_is_the_mixture_of_the_classes() -> None:
    t = 0.4
    odds = DATA.noisy_log_odds(X0, RANDOMS, float(MODEL.noise.snr(t))) + np.log(MODEL.prior)
    weight = np.exp(odds - odds.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    parts = [MODEL.given(c).denoise(noisy(t), t) for c in range(MODEL.n_classes)]
    mixed = np.einsum("nc,cnlv->nlv", weight, np.stack(parts))
    assert MODEL.denoise(noisy(t), t) == pytest.approx(mixed, rel=1e-9)
    assert MODEL.given(1).given(None).denoise(noisy(t), t) == pytest.approx(mixed, rel=1e-9)


def test_both_ends_of_the_process() -> None:
    assert MODEL.denoise(noisy(0.0), 0.0) == pytest.approx(X0, abs=1e-6)
    prior = MODEL.denoise(noisy(1.0), 1.0)
    assert prior == pytest.approx(np.broadcast_to(prior[:1], prior.shape), abs=1e-6)
    assert prior.sum(axis=2) == pytest.approx(1.0, abs=1e-6)


def test_samples_have_the_posterior_mean_and_the_spread_of_an_emission() -> None:
    t, n = 0.5, 4000
    x_t = np.repeat(noisy(t)[:1], n, axis=0)
    drawn = MODEL.given(int(LABELS[0])).sample(x_t, t, 3)
    mean = MODEL.given(int(LABELS[0])).denoise(x_t[:1], t)[0]
    z = (drawn.mean(axis=0) - mean) / (drawn.std(axis=0) / np.sqrt(n))
    assert np.abs(z).max() < 5
    # given the symbols, the variance is tau^2 / (1 + gamma tau^2)
    kappa = 1 / (1 + float(MODEL.noise.snr(t)) * DATA.tau**2)
    assert drawn.var(axis=0).min() > 0.9 * kappa * DATA.tau**2
    wrong = (drawn.mean(axis=0) - X0[0]) / (drawn.std(axis=0) / np.sqrt(n))
    assert np.abs(wrong).max() > 8


def test_features_are_the_beliefs_of_every_level() -> None:
    found = MODEL.features(noisy(0.3), 0.3)
    assert list(found) == [f"level {i}" for i in range(FIXTURE.L + 1)]
    assert found["level 0"].sum(axis=1) == pytest.approx(1)


def test_bad_input_is_one_line() -> None:
    cases = [
        (lambda: ExactGaussianRHM(DATA, GaussianNoise(4)), "acts on symbols"),
        (lambda: MODEL.given(9), "class_label = 9"),
        (lambda: MODEL.denoise(X0[:, :2], 0.5), "x_t"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
