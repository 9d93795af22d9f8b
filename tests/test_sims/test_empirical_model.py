"""The memorising model: against enumeration, against the streaming denoiser, at both ends of t."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import FIXTURE, frequency_p_value, one_line, string_probabilities

from hierdiff import DiffusionModel, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.sims.models.empirical import EmpiricalModel
from hierdiff.theory import ExactRHM
from hierdiff.theory.mixture.memorisation import empirical_denoise

Array = np.ndarray[Any, Any]

RNG = np.random.default_rng(0)
DATA = RNG.standard_normal((40, 3)) * np.array([2.0, 1.0, 0.3])
VECTORS = EmpiricalModel(DATA, GaussianNoise())
SENTENCES = np.array(sorted(string_probabilities(FIXTURE)))


def test_it_is_a_diffusion_model() -> None:
    assert isinstance(VECTORS, DiffusionModel)
    assert VECTORS.source == "simulation"
    x_t = VECTORS.noise.corrupt(DATA[:4], 0.5, 1)
    features = VECTORS.features(x_t, 0.5)
    np.testing.assert_array_equal(features["posterior mean"], VECTORS.denoise(x_t, 0.5))
    symbols = EmpiricalModel(SENTENCES, MaskingNoise(4))
    assert symbols.features(SENTENCES[:2], 0.1)["posterior mean"].shape == (2, 16)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_vectors_agree_with_the_streaming_denoiser(sigma: float) -> None:
    t = VECTORS.noise.level(sigma**-2)
    x_t = VECTORS.noise.corrupt(DATA[:12], t, 2)
    scale = 1 / np.sqrt(1 + sigma**2)
    wanted = empirical_denoise(DATA, x_t, sigma, scale=scale)
    np.testing.assert_allclose(VECTORS.denoise(x_t, t), wanted, atol=1e-9)
    # planted: the posterior without the lengths of the data, as for data on a sphere
    logits = x_t @ DATA.T / (scale * sigma**2)
    w = np.exp(logits - logits.max(axis=1, keepdims=True))
    wrong = (w / w.sum(axis=1, keepdims=True)) @ DATA
    assert np.abs(wrong - wanted).max() > 0.05


def test_every_row_has_its_own_level() -> None:
    t = np.linspace(0.1, 0.9, 6)
    x_t = VECTORS.noise.corrupt(DATA[:6], t, 3)
    together = VECTORS.denoise(x_t, t)
    one_by_one = [VECTORS.denoise(x_t[i : i + 1], t[i])[0] for i in range(6)]
    np.testing.assert_allclose(together, one_by_one, atol=1e-12)


def test_both_ends_of_the_process() -> None:
    data = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    model = EmpiricalModel(data, GaussianNoise())
    x = np.array([[0.5, 0.0], [0.1, 3.0]])
    # without noise the nearest datum, shared between ties; in nothing but noise the mean
    np.testing.assert_array_equal(model.weights(x, 0.0), [[0.5, 0.5, 0], [0, 0, 1]])
    np.testing.assert_allclose(model.denoise(x, 1.0), np.tile(data.mean(0), (2, 1)), atol=1e-15)
    assert set(model.sample(x, 0.0, seed=0)[1]) == {0.0, 4.0}


def test_samples_follow_the_weights_and_do_not_depend_on_batches() -> None:
    x_t = np.tile(VECTORS.noise.corrupt(DATA[:1], 0.6, 4), (20000, 1))
    draws = VECTORS.sample(x_t, 0.6, seed=5)
    index = (draws[:, None] == DATA).all(axis=2).argmax(axis=1)
    np.testing.assert_array_equal(DATA[index], draws)
    w = VECTORS.weights(x_t[:1], 0.6)[0]
    assert frequency_p_value(index.tolist(), dict(enumerate(w))) > 1e-4
    flat = dict.fromkeys(range(40), 1 / 40)  # planted: the prior in place of the posterior
    assert frequency_p_value(index.tolist(), flat) < 1e-8
    rng = np.random.default_rng(5)
    halves = [VECTORS.sample(part, 0.6, rng) for part in (x_t[:7000], x_t[7000:])]
    np.testing.assert_array_equal(np.concatenate(halves), draws)


@pytest.mark.parametrize("noise", [MaskingNoise(4), UniformNoise(4), GaussianNoise(4)])
def test_all_sentences_of_a_grammar_make_the_exact_model(noise: Any) -> None:
    """The empirical measure on every sentence once is the grammar: rules are equally likely."""
    exact, model = ExactRHM(FIXTURE, noise), EmpiricalModel(SENTENCES, noise)
    x_t = noise.corrupt(FIXTURE.sample(30, 6).leaves, 0.5, 7)
    np.testing.assert_allclose(model.denoise(x_t, 0.5), exact.denoise(x_t, 0.5), atol=1e-12)
    assert FIXTURE.is_valid(model.sample(x_t, 0.5, seed=8)).all()
    # planted: half of the sentences is another model
    half = EmpiricalModel(SENTENCES[::2], UniformNoise(4))
    if noise.name == "uniform":
        assert np.abs(half.denoise(x_t, 0.5) - exact.denoise(x_t, 0.5)).max() > 0.1


def test_a_duplicate_counts_twice() -> None:
    model = EmpiricalModel(np.array([[0, 0], [0, 0], [1, 1]]), MaskingNoise(2))
    np.testing.assert_allclose(model.weights(np.array([[-1, -1]]), 0.5), 1 / 3)
    np.testing.assert_allclose(model.denoise(np.array([[-1, -1]]), 0.5)[0, 0], [2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("data", "noise", "words"),
    [
        (np.empty((0, 3)), GaussianNoise(), "empty"),
        (np.zeros(3), GaussianNoise(), "give [N, D]"),
        ([[0.0, np.nan]], GaussianNoise(), "data[0] holds NaN"),
        ([[0.5, 0.1]], MaskingNoise(2), "no symbols"),
        ([[0, 2]], MaskingNoise(2), "the noise has v = 2"),
        ([[-1, 0]], UniformNoise(2), "symbols from -1"),
    ],
)
def test_bad_data_are_one_line(data: Any, noise: Any, words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        EmpiricalModel(data, noise)
    assert words in one_line(error)


def test_bad_queries_are_one_line() -> None:
    for x in (np.zeros((2, 4)), np.zeros((0, 3))):
        with pytest.raises(InvalidParameter) as error:
            VECTORS.denoise(x, 0.5)
        assert "x_t has shape" in one_line(error)
    with pytest.raises(InvalidParameter) as error:
        VECTORS.denoise(np.full((1, 3), np.nan), 0.5)
    assert "x_t[0] holds NaN" in one_line(error)
    with pytest.raises(ImpossibleEvidence) as impossible:
        EmpiricalModel([[0, 0], [1, 1]], MaskingNoise(2)).denoise(np.array([[0, 1]]), 0.5)
    assert "none of the 2 data" in one_line(impossible)


@pytest.mark.parametrize("level", [1e-16, 1e-3, 0.5, 3.0, 40.0, 1e8, 1e16])
def test_a_common_offset_is_without_effect(level: float) -> None:
    """Every signal-to-noise ratio; data at 1e8 and two clusters far from each other."""
    rng = np.random.default_rng(0)
    near = np.round(rng.standard_normal((30, 3)) * 16) / 16
    noise = GaussianNoise()
    t = float(noise.level(level))
    snr = float(noise.snr(t))
    scale = np.sqrt(snr / (1 + snr))
    for offset in (1e8, np.array([[1e8, 0, 0]] * 15 + [[-1e8, 0, 0]] * 15)):
        data = near + offset
        model = EmpiricalModel(data, noise)
        y = data[[3, 20]] + np.round(rng.standard_normal((2, 3)) / np.sqrt(max(snr, 1)) * 64) / 64
        gaps = np.square(y[:, None] - data).sum(axis=2)
        w = np.exp(-0.5 * snr * (gaps - gaps.min(axis=1, keepdims=True)))
        w /= w.sum(axis=1, keepdims=True)
        # x_t itself is rounded: eps 1e8 in units of the data, times the slope of the log-weights
        rounding = 1e-8 * snr * np.sqrt(gaps.min()) * 8
        if rounding < 1e-2:
            found = model.weights(scale * y, t)
            np.testing.assert_allclose(found, w, atol=1e-9 + rounding)
            np.testing.assert_allclose(model.denoise(scale * y, t), w @ data, rtol=1e-9 + rounding)


def test_the_data_are_nobody_else_s() -> None:
    data = np.array([[0.0], [1.0]])
    model = EmpiricalModel(data, GaussianNoise())
    before = model.denoise(np.array([[0.9]]), 0.5)
    data[:] = 7
    np.testing.assert_array_equal(model.denoise(np.array([[0.9]]), 0.5), before)
    with pytest.raises(ValueError, match="read-only"):
        model.data[0] = 3


def test_arrays_that_are_none() -> None:
    for data in (
        np.ma.masked_less([[0.0], [1.0]], 0.5),
        [[1j]],
        [[True]],
        "a",
        None,
        [[1], [1, 2]],
    ):
        with pytest.raises(InvalidParameter) as error:
            EmpiricalModel(data, GaussianNoise())
        assert "\n" not in str(error.value)
    model = EmpiricalModel([[0.0], [1.0]], GaussianNoise())
    for x, t in (("a", 0.5), ([[1j]], 0.5), ([[0.0]], 2.0), ([[0.0]], np.nan), ([[[0.0]]], 0.5)):
        for call in (model.denoise, model.weights, lambda x, t: model.sample(x, t, 0)):
            with pytest.raises(InvalidParameter):
                call(x, t)
