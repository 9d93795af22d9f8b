"""Laws of what a noisy datum leaves open, each with a wrong one that is planted."""

from __future__ import annotations

import numpy as np
import pytest
from laws import Laws

from hierdiff import RHM, Derivations, GaussianNoise, Grammar, MaskingNoise, UniformNoise
from hierdiff.data.rhm_variants import zipf
from hierdiff.sims.posterior_uncertainty import surprise
from hierdiff.theory.belief_propagation.denoiser_derivatives import score_divergence
from hierdiff.theory.belief_propagation.rule_learning import fit_weights
from hierdiff.theory.belief_propagation.tree_inference import tree_posterior

RHM_ = RHM(8, 3, 2, 4)
GRAMMAR = RHM_.draw(0)
TRUTH = GRAMMAR.sample(1500, 1)


def z_of(gap: np.ndarray) -> np.ndarray:
    """Score of a mean over the first axis against zero."""
    return np.asarray(gap.mean(axis=0) / (gap.std(axis=0, ddof=1) / np.sqrt(len(gap))))


def test_the_posterior_says_how_often_a_string_is_right(laws: Laws) -> None:
    law = "P(most likely string is right) = its posterior probability"
    good, bad = [], []
    for t in (0.05, 0.1, 0.2):
        noise = UniformNoise(8)
        x_t = noise.corrupt(TRUTH.leaves, t, 2)
        asked = tree_posterior(GRAMMAR, noise.evidence(x_t, t))
        best = asked.most_likely()
        right = (best.derivations.leaves == TRUTH.leaves).all(axis=1)
        p = np.exp(best.log_posterior[:, 0])
        good.append((right - p).sum() / np.sqrt((p * (1 - p)).sum()))
        leaves = np.take_along_axis(
            asked.marginals[4], best.derivations.leaves[..., None].astype(int), axis=2
        )
        alone = leaves[..., 0].prod(axis=1)
        bad.append((right - alone).sum() / np.sqrt((alone * (1 - alone)).sum()))
    laws.holds(law, good)
    laws.rejects(law, "product of the probabilities of its leaves", bad)
    assert np.abs(good).max() < 4
    assert np.abs(bad).max() > 8


@pytest.mark.parametrize("noise", [MaskingNoise(8), UniformNoise(8), GaussianNoise(8)])
def test_entropy_is_the_surprise_of_the_truth(noise: object, laws: Laws) -> None:
    law = "entropy of the posterior per level = -log p of the true rules"
    good, bad = [], []
    for t in (0.4, 0.6, 0.8):
        x_t = noise.corrupt(TRUTH.leaves, t, 3)  # type: ignore[attr-defined]
        asked = tree_posterior(GRAMMAR, noise.evidence(x_t, t))  # type: ignore[attr-defined]
        gap = asked.entropy_per_level() - surprise(asked, TRUTH.levels)
        good.append(z_of(gap[:, np.ptp(gap, axis=0) > 1e-9]))
        # planted: the root by its prior, and rules as if nothing were known
        flat = np.log([8, *(3 ** GRAMMAR.n_nodes(level) for level in range(4))])
        bad.append(z_of(flat - surprise(asked, TRUTH.levels)))
    laws.holds(law, np.concatenate(good))
    laws.rejects(law, "entropy without evidence", np.concatenate(bad))
    assert np.abs(np.concatenate(good)).max() < 4
    assert np.abs(np.concatenate(bad)).max() > 8


@pytest.mark.slow
def test_eigenvalues_are_squared_errors_along_eigenvectors(laws: Laws) -> None:
    law = "eigenvalue of Cov(x0 | x_t) = squared error of the denoiser along its eigenvector"
    g, noise = RHM(8, 2, 2, 3).draw(0), GaussianNoise(8)
    truth = g.sample(1500, 1)
    clean = np.eye(8)[truth.leaves].reshape(1500, -1)
    good, bad = [], []
    for t in (0.35, 0.5, 0.65):
        x_t = noise.corrupt(truth.leaves, t, 2)
        asked = tree_posterior(g, noise.evidence(x_t, t))
        values, vectors = np.linalg.eigh(asked.covariance())
        error = clean - asked.marginals[3].reshape(1500, -1)
        square = np.einsum("nij,ni->nj", vectors, error) ** 2
        gap = (square - values)[:, ::-1][:, :8]
        good.append(z_of(gap))
        spread = asked.marginals[3].reshape(1500, -1)
        alone = np.sort(spread * (1 - spread), axis=1)[:, ::-1][:, :8]
        bad.append(z_of(square[:, ::-1][:, :8] - alone))
    laws.holds(law, np.concatenate(good))
    laws.rejects(law, "variances of single numbers", np.concatenate(bad))
    assert np.abs(np.concatenate(good)).max() < 4
    assert np.abs(np.concatenate(bad)).max() > 8


def test_the_divergence_of_the_score_is_minus_its_square(laws: Laws) -> None:
    """E[div s] = -E|s|^2 for the score of any smooth density, by parts."""
    law = "E div score = -E|score|^2"
    noise = GaussianNoise(8)
    good, bad = [], []
    for t in (0.3, 0.5, 0.8):
        x_t = noise.corrupt(TRUTH.leaves, t, 4)
        mean = tree_posterior(GRAMMAR, noise.evidence(x_t, t)).marginals[4]
        signal = float(noise.alpha_bar(t))
        score = (np.sqrt(signal) * mean - x_t) / (1 - signal)
        divergence = score_divergence(GRAMMAR, noise, x_t, t)
        square = (score**2).sum(axis=(1, 2))
        good.append(z_of(divergence + square))
        bad.append(z_of(-score[0].size / (1 - signal) + square))
    laws.holds(law, good)
    laws.rejects(law, "divergence of noise alone", bad)
    assert np.abs(good).max() < 4
    assert np.abs(bad).max() > 8


def test_weights_are_found_with_the_error_that_is_stated(laws: Laws) -> None:
    law = "weights from noisy strings = true weights, within their stated errors"
    g = zipf(RHM(6, 3, 2, 2), 0.5, seed=0)
    noise = UniformNoise(6)
    start = Grammar(g.rules)
    scores, wrong = [], []
    for seed in range(8):
        x_t = noise.corrupt(g.sample(3000, 2 * seed).leaves, 0.3, 2 * seed + 1)
        found = fit_weights(start, noise.evidence(x_t, 0.3), num_steps=5000)
        for level in range(2):
            scores.append((found.weights[level] - g.weights[level]) / found.standard_errors[level])
            wrong.append((found.weights[level] - 1 / 3) / found.standard_errors[level])
    laws.holds(law, np.array(scores))
    laws.rejects(law, "equal weights", np.array(wrong))
    assert np.abs(scores).max() < 4.5  # the largest of 288
    assert np.array(scores).std() == pytest.approx(1, abs=0.15)
    assert np.abs(wrong).max() > 8


def test_strings_read_as_clean_give_wrong_weights(laws: Laws) -> None:
    """Noisy strings in which the noise is taken for half of what it is."""
    law = "weights from noisy strings = true weights, within their stated errors"
    g, noise = zipf(RHM(6, 3, 2, 2), 0.5, seed=0), UniformNoise(6)
    x_t = noise.corrupt(g.sample(20_000, 0).leaves, 0.3, 1)
    found = fit_weights(Grammar(g.rules), noise.evidence(x_t, 0.15), num_steps=5000)
    z = np.array([
        (a - b) / e for a, b, e in zip(found.weights, g.weights, found.standard_errors, strict=True)
    ])  # fmt: skip
    laws.rejects(law, "noise of half the level", z)
    assert np.abs(z).max() > 8


def test_samples_of_a_subtree_have_the_law_of_the_whole(laws: Laws) -> None:
    law = "samples of a subtree = samples of the tree below the same node"
    noise, g = UniformNoise(8), RHM(8, 3, 2, 3).draw(1)
    x_t = noise.corrupt(g.sample(1, 3).leaves, 0.5, 4)
    asked = tree_posterior(g, noise.evidence(x_t, 0.5))
    part = asked.subtree(1, 1)
    drawn: Derivations = part.sample(0, 4000)
    good, bad = [], []
    alone = tree_posterior(
        part.grammar, noise.evidence(x_t[:, 4:], 0.5)
    )  # planted: without what is outside
    for level in range(3):
        here = drawn.levels[level][..., None] == np.arange(8)
        width = part.grammar.n_nodes(level)
        for target, into in ((asked.marginals[level + 1][0, width:], good),
                             (alone.marginals[level][0], bad)):  # fmt: skip
            error = np.sqrt(target * (1 - target) / 4000)
            some = target > 5e-3
            into.append(((here.mean(axis=0) - target) / np.maximum(error, 1e-9))[some])
    laws.holds(law, np.concatenate(good))
    laws.rejects(law, "without the evidence outside", np.concatenate(bad))
    assert np.abs(np.concatenate(good)).max() < 4.5
    assert np.abs(np.concatenate(bad)).max() > 8
