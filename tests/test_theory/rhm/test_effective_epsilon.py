"""Noise of the epsilon-process with the mean leaf belief of a real process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, special

from hierdiff.noise import EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.theory.rhm.mean_field import effective_epsilon


def leaf_belief(v: int, snr: float) -> float:
    noise = GaussianNoise(v)
    return float(1 - (1 - 1 / v) * effective_epsilon(noise, noise.level(snr)))


@pytest.mark.parametrize(
    ("v", "snr", "known"),
    [
        (2, 1, 0.6750567023),
        (2, 4, 0.8844908890),
        (2, 10, 0.9807685943),
        (8, 4, 0.59991757),
        (32, 1, 0.07621115),
        (32, 2, 0.14878635),
        (32, 4, 0.3333368896),
        (32, 6, 0.51369833),
        (32, 6.65, 0.5657291763),
        (32, 8, 0.66107037),
        (32, 10, 0.7711800402),
        (32, 3.56356205, 7 / 24),
    ],
)
def test_gaussian_leaf_belief_of_the_literature(v: int, snr: float, known: float) -> None:
    assert leaf_belief(v, snr) == pytest.approx(known, abs=5e-9)


@pytest.mark.parametrize("snr", [1e-6, 0.01, 1.0, 10.0, 60.0])
def test_gaussian_leaf_belief_of_two_symbols(snr: float) -> None:
    def doubt(z: float) -> float:
        logit = snr + np.sqrt(2 * snr) * z
        return float(special.expit(-logit) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    where = -np.sqrt(snr / 2)
    exact = integrate.quad(doubt, where - 14, 14, epsabs=0, epsrel=1e-12, points=[where])[0]
    assert leaf_belief(2, snr) == pytest.approx(1 - exact, abs=1e-13)
    noise = GaussianNoise(2)
    # t near 0 or 1 rounds the ratio; the doubt itself is accurate
    assert effective_epsilon(noise, noise.level(snr)) == pytest.approx(2 * exact, rel=1e-9)


@pytest.mark.parametrize(
    "noise", [MaskingNoise(7), UniformNoise(7), GaussianNoise(7), GaussianNoise(7, "linear")]
)
def test_effective_noise_has_the_mean_belief_of_the_process(
    noise: MaskingNoise | UniformNoise | GaussianNoise,
) -> None:
    x0 = np.random.default_rng(0).integers(7, size=(400, 100))
    t = 0.2
    log_evidence = noise.log_evidence(noise.corrupt(x0, t, seed=1), t)
    beliefs: NDArray[Any] = special.softmax(log_evidence, axis=-1)
    true = np.take_along_axis(beliefs, x0[..., None], axis=2).ravel()
    error = true.std() / np.sqrt(true.size)
    epsilon = effective_epsilon(noise, t)
    assert abs(true.mean() - (1 - epsilon + epsilon / 7)) < 4 * error
    assert abs(true.mean() - (1 - t + t / 7)) > 10 * error or noise.name == "masking"


def test_effective_noise_at_the_ends() -> None:
    t = np.array([[0.0, 1.0]])
    for noise in (EpsilonNoise(5), MaskingNoise(5), UniformNoise(5), GaussianNoise(5)):
        assert effective_epsilon(noise, t) == pytest.approx(t, abs=1e-14)
    assert effective_epsilon(GaussianNoise(1), 0.5) == 0.0
    assert effective_epsilon(EpsilonNoise(5), 0.3) == 0.3
    values = effective_epsilon(GaussianNoise(10**6), np.linspace(0, 1, 40))
    assert (np.diff(values) >= 0).all()
    assert ((values >= 0) & (values <= 1)).all()
