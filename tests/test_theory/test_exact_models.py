"""The exact mixture as a model: posterior draws, clamped classes, ends of the process."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import one_line

from hierdiff import DiffusionModel, GaussianNoise
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.sims import PhaseTransition
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.theory.mixture.posterior import jacobian

MIXTURE = LowRankMixture.random(6, 2, 2, delta=0.3, angle=60.0, seed=0)
MODEL = ExactMixture(MIXTURE, GaussianNoise())


def test_it_is_a_diffusion_model() -> None:
    assert isinstance(MODEL, DiffusionModel)
    x_t = MODEL.noise.corrupt(MIXTURE.sample(5, 0)[0], 0.4, 1)
    found = MODEL.features(x_t, 0.4)
    assert {k: v.shape for k, v in found.items()} == {
        "posterior mean": (5, 6), "class posterior": (5, 2),
        "projection 0": (5, 2), "projection 1": (5, 2),
    }  # fmt: skip
    levels = np.array([0.1, 0.4, 0.4, 0.7, 0.9])
    one_by_one = [MODEL.denoise(x_t[i : i + 1], t)[0] for i, t in enumerate(levels)]
    np.testing.assert_allclose(MODEL.denoise(x_t, levels), one_by_one, atol=1e-14)


@pytest.mark.parametrize("snr", [0.05, 2.0, 30.0])
def test_draws_have_the_posterior_s_moments(snr: float) -> None:
    n, t = 60_000, float(MODEL.noise.level(snr))
    x_t = np.repeat(MODEL.noise.corrupt(MIXTURE.sample(1, 1)[0], t, 2), n, axis=0)
    drawn = MODEL.sample(x_t, t, 3)
    mean = MODEL.denoise(x_t[:1], t)[0]
    error = drawn.std(axis=0) / np.sqrt(n)
    assert np.abs((drawn.mean(axis=0) - mean) / error).max() < 4
    scale = np.sqrt(snr / (1 + snr))
    covariance = jacobian(MIXTURE, x_t[:1] / scale, snr**-0.5)[0] / snr
    gap = np.cov(drawn.T) - covariance
    size = np.sqrt(covariance.diagonal())
    assert np.abs(gap / np.outer(size, size)).max() < 6 * np.sqrt(2 / n)
    # planted: the posterior mean given the likelier class alone is another distribution
    single = ExactMixture(MIXTURE, GaussianNoise(), int(MODEL.class_marginals(x_t[:1], t).argmin()))
    assert np.abs((drawn.mean(axis=0) - single.denoise(x_t[:1], t)[0]) / error).max() > 8


def test_clamped_classes_mix_to_the_whole() -> None:
    x_t = MODEL.noise.corrupt(MIXTURE.sample(20, 4)[0], 0.5, 5)
    parts = [ExactMixture(MIXTURE, GaussianNoise(), k) for k in range(2)]
    w = MODEL.class_marginals(x_t, 0.5)
    whole = sum(w[:, k, None] * p.denoise(x_t, 0.5) for k, p in enumerate(parts))
    np.testing.assert_allclose(MODEL.denoise(x_t, 0.5), whole, atol=1e-12)
    assert np.all(parts[1].class_marginals(x_t, 0.5) == [0, 1])


def test_ends_of_the_process() -> None:
    x0, k = MIXTURE.sample(50, 6)
    np.testing.assert_allclose(MODEL.denoise(x0, 0.0), x0, atol=1e-12)
    # the classes share their support, so even a clean datum leaves some doubt
    assert 0.8 < (MODEL.class_marginals(x0, 0.0).argmax(axis=1) == k).mean() < 1
    np.testing.assert_allclose(MODEL.sample(x0, 0.0, 0), x0, atol=1e-6)
    noise = MODEL.noise.corrupt(x0, 1.0, 7)
    np.testing.assert_allclose(MODEL.class_marginals(noise, 1.0), 0.5, atol=1e-6)
    assert abs(MODEL.sample(np.repeat(noise, 200, 0), 1.0, 8).mean()) < 0.05


def test_the_class_of_a_mixture_in_the_phase_transition_experiment() -> None:
    """The same labels as for a grammar; Nishimori; the class is kept at low noise and lost."""
    experiment = PhaseTransition(noise="gaussian", data=1500, levels=9, refine=3)
    ds = experiment.measure(MODEL)
    assert ds.belief.dims == ("level", "t")
    assert ds.sizes["level"] == 1
    z = (ds.belief - ds.square) / np.maximum(np.hypot(ds.belief_error, ds.square_error), 1e-9)
    assert float(np.abs(z).max()) < 4
    assert (np.diff(ds.belief[0]) < 0.02).all()
    assert 0.85 < float(ds.belief[0, 0]) < 0.95
    assert float(ds.belief[0, -1]) == pytest.approx(0.5, abs=1e-9)
    given = MIXTURE.sample(300, 1)
    again = experiment.measure(MODEL, given)
    assert again.class_belief.sizes["datum"] == 300
    with pytest.raises(InvalidParameter, match="check the labels"):
        experiment.measure(MODEL, (given[0], given[1] + 2))
    with pytest.raises(InvalidParameter, match="cannot be measured"):
        PhaseTransition(noise="masking").measure(MODEL)


def test_bad_input_is_one_line() -> None:
    cases = {
        "acts on symbols": lambda: ExactMixture(MIXTURE, GaussianNoise(4)),
        "class_label = 2": lambda: ExactMixture(MIXTURE, GaussianNoise(), 2),
        "D = 6": lambda: MODEL.denoise(np.zeros((2, 5)), 0.5),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words
