"""Law: features of the exact denoiser by Monte Carlo against the one-dimensional evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from laws import Laws

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.theory.mixture.collapse import mutual_information_mixture
from hierdiff.theory.mixture.feature_snr import bayes_accuracy, snr, snr_clean, snr_mean_field
from hierdiff.theory.mixture.posterior import class_posterior, denoise

# K, d, delta, sigma, ambient dimension: the sets of the sheet, and others
CASES = [(3, 5, 0.2, 0.3257, 50), (3, 5, 0.2, 0.3257, 15), (2, 5, 0.2, 0.585, 10),
         (10, 5, 0.3, 0.4119, 50), (3, 10, 0.2, 0.9, 30), (2, 2, 0.7, 0.2, 6)]  # fmt: skip
N, BATCHES = 60_000, 30
NAME = "SNR of denoised features, exact one-dimensional evaluation"


def sampled(case: tuple, clean: bool = False) -> tuple[np.ndarray, ...]:
    """Data, classes, posterior means and class weights."""
    K, d, delta, sigma, dim = case
    m = LowRankMixture.random(dim, d, K, delta=delta, seed=0)
    x0, k = m.sample(N, 1)
    x = x0 if clean else x0 + sigma * np.random.default_rng(2).standard_normal(x0.shape)
    return m, x0, k, x, denoise(m, x, sigma), class_posterior(m, x, sigma)


def ratio(m: LowRankMixture, k: np.ndarray, mean: np.ndarray) -> tuple[float, float]:
    """SNR of Definition 1 with a jackknife error over batches."""

    def value(rows: np.ndarray) -> float:
        out = []
        for c in range(m.n_classes):
            f = mean[rows][k[rows] == c]
            kept = ((f @ m.bases[c]) ** 2).sum()
            out.append(kept / ((f**2).sum() - kept))
        return float(np.mean(out))

    batch = np.arange(N) % BATCHES
    left = np.array([value(batch != b) for b in range(BATCHES)])
    whole = value(batch >= 0)
    bias_free = BATCHES * whole - (BATCHES - 1) * left.mean()
    return bias_free, float(np.sqrt((BATCHES - 1) * left.var()))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_exact_snr(case: tuple, laws: Laws) -> None:
    K, d, delta, sigma, _ = case
    m, _, k, _, mean, _ = sampled(case)
    value, error = ratio(m, k, mean)
    z = (value - snr(K, d, delta, sigma)) / error
    laws.holds(NAME, z)
    assert abs(z) < 4
    wrong = (value - snr_mean_field(K, d, delta, sigma)) / error
    if case == CASES[0]:
        laws.rejects(NAME, "the paper's closed form", wrong)
        assert abs(wrong) > 8


def test_exact_snr_of_clean_input(laws: Laws) -> None:
    case = (3, 5, 0.2, 0.585, 15)
    m, _, k, _, mean, _ = sampled(case, clean=True)
    value, error = ratio(m, k, mean)
    z = (value - snr_clean(3, 5, 0.2, 0.585)) / error
    laws.holds("SNR of denoised features, clean input", z)
    laws.rejects("SNR of denoised features, clean input", "noisy input",
                 (value - snr(3, 5, 0.2, 0.585)) / error)  # fmt: skip
    assert abs(z) < 4
    assert abs(value - snr(3, 5, 0.2, 0.585)) > 8 * error


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_accuracy_of_bayes_and_of_projection(case: tuple, laws: Laws) -> None:
    K, d, delta, sigma, _ = case
    m, _, k, _, mean, w = sampled(case)
    best = w.argmax(axis=1)
    energy = np.stack([((mean @ b) ** 2).sum(axis=1) for b in m.bases], axis=1)
    assert (energy.argmax(axis=1) == best).mean() > 1 - 1e-12
    p = bayes_accuracy(K, d, delta, sigma)
    z = ((best == k).mean() - p) / np.sqrt(p * (1 - p) / N)
    laws.holds("Bayes accuracy of the class given x_t", z)
    p_wrong = bayes_accuracy(K, d, delta, 1.2 * sigma)
    wrong = ((best == k).mean() - p_wrong) / np.sqrt(p_wrong * (1 - p_wrong) / N)
    laws.rejects("Bayes accuracy of the class given x_t", "noise 20 % higher", wrong)
    assert abs(z) < 4
    assert abs(wrong) > 8


@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_error_of_the_denoiser_and_its_energy(case: tuple, laws: Laws) -> None:
    """A13: MMSE = d (1 + (K-1) delta^2) - E|D|^2, and E<x0, D> = E|D|^2."""
    K, d, delta, _, _ = case
    _, x0, _, _, mean, _ = sampled(case)
    gap = ((x0 * mean) - mean**2).sum(axis=1)
    z = gap.mean() / (gap.std() / np.sqrt(N))
    laws.holds("E<x0, D> = E|D|^2", z)
    assert abs(z) < 4
    prior = d * (1 + (K - 1) * delta**2)
    balance = ((x0 - mean) ** 2).sum(axis=1) + (mean**2).sum(axis=1)
    z = (balance.mean() - prior) / (balance.std() / np.sqrt(N))
    laws.holds("MMSE = E|x0|^2 - E|D|^2", z)
    assert abs(z) < 4
    bare = (balance.mean() - d) / (balance.std() / np.sqrt(N))
    laws.rejects("MMSE = E|x0|^2 - E|D|^2", "energy without the residual", bare)
    assert abs(bare) > 8
    half = ((x0 * mean) - 0.9 * mean**2).sum(axis=1)
    wrong = half.mean() / (half.std() / np.sqrt(N))
    laws.rejects("E<x0, D> = E|D|^2", "0.9 E|D|^2", wrong)
    assert abs(wrong) > 8


def test_information_and_error(laws: Laws) -> None:
    """A14, I-MMSE on mixtures: the slope of the information is half the error."""
    case = (3, 5, 0.2, 0.5, 15)
    _, x0, _, _, mean, _ = sampled(case)
    error = ((x0 - mean) ** 2).sum(axis=1)
    h, rate = 1e-3, 0.5**-2
    low, high = (mutual_information_mixture(3, 5, 0.2, (rate + s) ** -0.5) for s in (-h, h))
    slope = (high - low) / (2 * h)
    assert slope == pytest.approx(0.747636984, abs=1e-6)
    spread = error.std() / np.sqrt(N)
    z = (0.5 * error.mean() - slope) / (0.5 * spread)
    laws.holds("I-MMSE on mixtures", z)
    laws.rejects("I-MMSE on mixtures", "without the half", (error.mean() - slope) / spread)
    assert abs(z) < 4
    assert abs(error.mean() - slope) > 8 * spread
