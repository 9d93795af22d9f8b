"""Laws of information: every one is the mean of a per-datum difference, tested by its z-score.

The numbers are paired: the same data and random numbers serve both sides of a law.  Intervals of
the noise level are integrated by Gauss and Legendre's three points, whose error is far below the
statistical one, so a law compares I(a) - I(b) with the integral of its slope without any bias from
finite differences.  |z| < 4 for each of the 40 or so z-scores.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from laws import Laws

from hierdiff import RHM, EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.noise import NoiseProcess
from hierdiff.sims.information import Information
from hierdiff.sims.run import run
from hierdiff.theory import denoise_symbols, posterior, true_beliefs
from hierdiff.theory.rhm.information import pointwise_information, pointwise_slope

N = 1000
GRAMMAR = RHM(16, 4, 2, 6).draw(seed=3)
TRUTH = GRAMMAR.sample(N, seed=4)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(3)
CHANNELS = pytest.mark.parametrize(
    "noise", [MaskingNoise(16), UniformNoise(16), GaussianNoise(16)], ids=lambda x: x.name
)
INTERVALS = {
    "masking": [(0.05, 0.2), (0.3, 0.5), (0.6, 0.9)],
    "uniform": [(0.05, 0.1), (0.2, 0.3), (0.5, 0.8)],
    "gaussian": [(9.0, 12.0), (4.0, 6.0), (0.5, 1.5)],  # signal-to-noise ratios
}


SLOPES = {
    "masking": "masking identity, -dI/dt = sum H(x_i | unmasked others)",
    "uniform": "slope of the information, uniform noise",
    "gaussian": "I-MMSE, dI/dsnr = mmse / 2",
}


def z_score(differences: np.ndarray) -> float:
    """Distance of the mean from zero in standard errors."""
    return float(differences.mean() / (differences.std(ddof=1) / np.sqrt(len(differences))))


def seen(noise: NoiseProcess, t: float) -> np.ndarray:
    randoms = noise.draw(TRUTH.leaves.shape, np.random.default_rng(5))
    return np.asarray(noise.corrupt_with(TRUTH.leaves, t, randoms))


def said(noise: NoiseProcess, t: float, levels: tuple[int, ...] | None = None) -> np.ndarray:
    """Pointwise information [N, levels]; default the data's, [N]."""
    if levels is None:
        return said(noise, t, (GRAMMAR.L,))[:, 0]
    return pointwise_information(GRAMMAR, noise, seen(noise, t), t, TRUTH, levels)


def law_minus_slope(noise: NoiseProcess, a: float, b: float, factor: float = 1.0) -> np.ndarray:
    """I(b) - I(a) less factor times the integral of the slope, per datum."""
    points = (a + b) / 2 + (b - a) / 2 * NODES
    if isinstance(noise, GaussianNoise):
        total = np.zeros(N)
        for w, snr in zip(WEIGHTS, points, strict=True):
            t = float(noise.level(snr))
            mean = denoise_symbols(GRAMMAR, noise, seen(noise, t), t)
            total += w * 0.5 * (1 - (mean**2).sum(axis=2)).sum(axis=1)
        gain = said(noise, float(noise.level(b))) - said(noise, float(noise.level(a)))
    else:
        slopes = [pointwise_slope(GRAMMAR, noise, seen(noise, t), t) for t in points]
        total = np.tensordot(WEIGHTS, slopes, 1)
        gain = said(noise, b) - said(noise, a)
    return np.asarray(gain - factor * (b - a) / 2 * total)


@CHANNELS
def test_slope_law(noise: NoiseProcess, laws: Laws) -> None:
    """I-MMSE for Gaussian noise, the masking identity, and the same for uniform noise."""
    z = [z_score(law_minus_slope(noise, a, b)) for a, b in INTERVALS[noise.name]]
    laws.holds(SLOPES[noise.name], z)
    assert np.abs(z).max() < 4, z


@CHANNELS
def test_a_wrong_slope_is_rejected(noise: NoiseProcess, laws: Laws) -> None:
    """Without the half in I-MMSE; with 10 % too much for the others."""
    factor = 2.0 if noise.name == "gaussian" else 1.1
    z = [z_score(law_minus_slope(noise, a, b, factor)) for a, b in INTERVALS[noise.name]]
    laws.rejects(SLOPES[noise.name], f"slope times {factor}", z)
    assert np.abs(z).max() > 8, z


def test_masking_slope_has_two_equal_forms() -> None:
    """Sum of H(x_i | unmasked others) = 1/t sum of H(x_i | x_t), and not the latter without 1/t."""
    noise, t = MaskingNoise(16), 0.3
    x_t = seen(noise, t)
    p = posterior(GRAMMAR, noise.evidence(x_t, t), levels=(GRAMMAR.L,)).marginals[GRAMMAR.L]
    left = -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=(1, 2))
    extrinsic = -pointwise_slope(GRAMMAR, noise, x_t, t)
    assert abs(z_score(extrinsic - left / t)) < 4
    assert abs(z_score(extrinsic - left)) > 8


@CHANNELS
def test_information_grows_with_the_level_and_falls_with_noise(noise: NoiseProcess) -> None:
    levels = tuple(range(GRAMMAR.L + 1))
    table = np.array([said(noise, t, levels) for t in (0.15, 0.3, 0.5, 0.8)])
    for chain in (np.diff(table, axis=2), -np.diff(table, axis=0)):
        flat = np.moveaxis(chain, 1, 0).reshape(N, -1)
        low = flat.mean(axis=0) + 4 * flat.std(axis=0, ddof=1) / np.sqrt(N) + 1e-9
        assert (low > 0).all()
    assert (np.diff(table.mean(axis=1)[1]) > 0).all()


def degrade(noise: NoiseProcess, x: np.ndarray, s: float, t: float) -> np.ndarray:
    """More noise on what already has level s, by fresh random numbers."""
    rng = np.random.default_rng(6)
    if isinstance(noise, GaussianNoise):
        ratio = float(noise.alpha_bar(t) / noise.alpha_bar(s))
        return np.asarray(np.sqrt(ratio) * x + np.sqrt(1 - ratio) * rng.standard_normal(x.shape))
    hit = rng.random(x.shape) < (t - s) / (1 - s)
    new = -1 if noise.name == "masking" else rng.integers(16, size=x.shape)
    return np.where(hit, new, x)


def martingale(noise: NoiseProcess, s: float, t: float, level: int) -> tuple[float, float]:
    """z-scores of E[p_s | x_t] = p_t, tested on p_t, and of the wrong E[p_t | x_s] = p_s."""
    x_s = seen(noise, s)
    x_t = degrade(noise, x_s, s, t)
    early, late = (
        posterior(GRAMMAR, noise.evidence(x, u), levels=(level,)).marginals[level]
        for x, u in ((x_s, s), (x_t, t))
    )
    right = (late * (early - late)).sum(axis=2).mean(axis=1)
    wrong = (early * (late - early)).sum(axis=2).mean(axis=1)
    return z_score(right), z_score(wrong)


@CHANNELS
def test_beliefs_are_a_martingale_towards_less_noise(noise: NoiseProcess, laws: Laws) -> None:
    """E[p(z | x_s) | x_t] = p(z | x_t) for s < t; the other way round it is false."""
    s, t = {"masking": (0.2, 0.35), "uniform": (0.1, 0.2), "gaussian": (0.2, 0.3)}[noise.name]
    for level in (0, 3, GRAMMAR.L):
        right, wrong = martingale(noise, s, t, level)
        laws.holds("martingale, E[p_s | x_t] = p_t for s < t", right)
        laws.rejects("martingale, E[p_s | x_t] = p_t for s < t", "the other direction", wrong)
        assert abs(right) < 4
        assert abs(wrong) > 8


def surprise_gap(noise: NoiseProcess, t: float, truth: Derivations, grammar: Grammar) -> np.ndarray:
    """-log p(true class | x_t) less the entropy of that belief: zero in the mean for a channel."""
    evidence = noise.evidence(noise.corrupt(truth.leaves, t, 7), t)
    true = true_beliefs(grammar, evidence, truth).marginal[0][:, 0]
    p = posterior(grammar, evidence, levels=(0,)).marginals[0][:, 0]
    return np.asarray(-np.log(true) + (p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1))


def test_two_forms_of_the_information_about_the_class(laws: Laws) -> None:
    for noise, t in ((MaskingNoise(16), 0.4), (UniformNoise(16), 0.25), (GaussianNoise(16), 0.3)):
        z = z_score(surprise_gap(noise, t, TRUTH, GRAMMAR))
        laws.holds("Nishimori: surprise of the true class is the entropy of the belief", z)
        assert abs(z) < 4


def test_the_epsilon_process_is_no_channel(laws: Laws) -> None:
    z = z_score(surprise_gap(EpsilonNoise(16), 0.75, TRUTH, GRAMMAR))
    law = "Nishimori: surprise of the true class is the entropy of the belief"
    laws.rejects(law, "the epsilon-process", z)
    assert abs(z) > 8


def test_the_experiment_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(Information(v=8, m=2, L=4, grammars=3, data=300), out=tmp_path)
    assert capsys.readouterr().out.splitlines()[-1].startswith("masking identity: chi2 = ")
    for process in ("masking", "gaussian"):
        ds = found[f"information_{process}"]
        # beyond SNR 10 rare data carry the law, and z is not normal
        resolved = ds.effective.values >= 20
        assert resolved.sum() >= 8
        assert np.abs(ds.z.values[resolved]).max() < 4
        # the class cannot be known better than it can be at all
        assert (ds.information <= ds.entropy + 4 * ds.information_error + 1e-9).all()
    assert (tmp_path / "information.png").read_bytes()[:4] == b"\x89PNG"
