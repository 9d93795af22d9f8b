"""Judges of trees: similarity, choices, ceilings, closed forms, bad triplets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from laws import Laws
from oracles import one_line

from hierdiff import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.odd_one_out import draw_triplets
from hierdiff.sims.metrics.representation_geometry import cosine_similarity
from hierdiff.theory import class_posterior
from hierdiff.theory.odd_one_out_task import (
    expected_accuracy,
    label_accuracy,
    noise_ceiling,
    odd_one_out,
    surviving_levels,
    tree_mixture,
    tree_similarity,
)

DATA = RHM(4, 2, 2, 3).draw(0).sample(40, 1)


def test_similarity_by_counting() -> None:
    weights = [1.0, 0.5, 0.0, 0.25]
    found = tree_similarity(DATA, weights)
    for i, j in [(0, 1), (3, 7), (5, 5), (11, 2)]:
        shared = [np.mean(level[i] == level[j]) for level in DATA.levels]
        assert found[i, j] == pytest.approx(np.dot(weights, shared))
    np.testing.assert_array_equal(found, found.T)


def test_choices_by_definition_and_their_limits() -> None:
    s = tree_similarity(DATA, [1, 1, 1, 1])
    rows = draw_triplets(40, 50, 0)
    p = odd_one_out(s, rows, 0.3)
    for row, (i, j, k) in zip(p, rows, strict=True):
        weight = np.exp(np.array([s[j, k], s[i, k], s[i, j]]) / 0.3)
        np.testing.assert_allclose(row, weight / weight.sum())
    np.testing.assert_allclose(odd_one_out(s, rows, 1e9), 1 / 3, atol=1e-6)
    cold = odd_one_out(s, rows, 1e-9)
    assert np.isin(cold.round(6), [0, 1, 0.5, round(1 / 3, 6)]).all()
    assert noise_ceiling(cold) >= noise_ceiling(p) >= 1 / 3
    # the judges' own similarity reaches the ceiling wherever it does not tie
    score = expected_accuracy(s, rows, p)
    np.testing.assert_allclose(score[score > 0], p.max(axis=1)[score > 0])
    np.testing.assert_allclose(expected_accuracy(s, rows, p, ties="shared"), p.max(axis=1))


def test_the_label_alone_in_closed_form() -> None:
    """Enumeration of all class patterns of a triplet."""
    for n, w, T in [(2, 1.0, 0.3), (5, 0.7, 0.22), (8, 1.0, 0.22)]:
        total = 0.0
        for a, b, c in itertools.product(range(n), repeat=3):
            s = np.array([b == c, a == c, a == b], float)
            if s.sum() == 1:
                total += np.exp(w / T) / (np.exp(w / T) + 2)
        assert label_accuracy(n, w, T) == pytest.approx(total / n**3)


def test_the_label_alone_on_drawn_data(laws: Laws) -> None:
    scores = []
    for g in range(40):
        data = RHM(8, 3, 2, 2).draw(g).sample(300, g)
        rows = draw_triplets(300, 1000, g)
        judges = odd_one_out(tree_similarity(data, [1.0, 0, 0]), rows, 0.22)
        features = np.eye(8)[data.levels[0][:, 0]]
        scores.append(expected_accuracy(cosine_similarity(features), rows, judges).mean())
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    z = (np.mean(scores) - label_accuracy(8, 1.0, 0.22)) / error
    wrong = (np.mean(scores) - label_accuracy(8, 1.0, 0.22) - 1 / 24) / error
    laws.holds("odd-one-out accuracy of the label alone", z)
    laws.rejects("odd-one-out accuracy of the label alone", "ties guessed in an eighth", wrong)
    assert abs(z) < 4
    assert abs(wrong) > 8


def test_random_features_are_at_chance_whatever_the_judges_do() -> None:
    s = tree_similarity(DATA, [1, 1, 1, 1])
    rows = draw_triplets(40, 4000, 1)
    judges = odd_one_out(s, rows, 0.1)
    scores = [
        expected_accuracy(
            cosine_similarity(np.random.default_rng(i).standard_normal((40, 5))), rows, judges
        ).mean()
        for i in range(60)
    ]
    assert abs(np.mean(scores) - 1 / 3) < 4 * np.std(scores, ddof=1) / np.sqrt(60)


def test_levels_survive_to_their_variance() -> None:
    """Wiener shrinkage of Gaussian offsets on a tree, level by level, by simulation."""
    rng, tau = np.random.default_rng(0), np.array([4.0, 1.0, 0.25])
    offsets = rng.standard_normal((3, 200_000)) * np.sqrt(tau)[:, None]
    for sigma in (0.5, 1.0, 2.0):
        seen = offsets + sigma * rng.standard_normal(offsets.shape)
        slope = (offsets * seen).sum(axis=1) / (seen**2).sum(axis=1)
        np.testing.assert_allclose(surviving_levels(tau, sigma), slope, atol=0.01)
    np.testing.assert_allclose(surviving_levels(tau, np.sqrt(tau)).diagonal(), 0.5)


def test_class_means_lie_on_a_tree() -> None:
    mixture, nodes = tree_mixture((3, 2), (4.0, 0.25), 500, 0.1, seed=0)
    assert mixture.n_classes == 6
    assert nodes.tolist() == [[0, 0], [0, 1], [1, 2], [1, 3], [2, 4], [2, 5]]
    top, leaf = mixture.means[:, :500], mixture.means[:, 500:]
    np.testing.assert_array_equal(top[0], top[1])
    assert (leaf[0] != leaf[1]).all()
    for block, tau, n in ((top, 4.0, 3), (leaf, 0.25, 6)):
        assert abs((block**2).mean() / tau - 1) < 4 * np.sqrt(2 / (n * 500))
    np.testing.assert_allclose(mixture.covariance(2), 0.01 * np.eye(1000), atol=1e-12)


def test_the_exact_estimate_keeps_at_least_what_the_linear_one_keeps(laws: Laws) -> None:
    """E<guess, mean> of the exact posterior is never below the best linear estimate's."""
    gaps, plain = [], []
    for g in range(20):
        mixture, _ = tree_mixture((3, 3), (2.0, 0.5), 6, 0.2, seed=g)
        x0, k = mixture.sample(2000, g)
        row = []
        for sigma in (0.5, 2.0, 30.0):
            x = x0 + sigma * np.random.default_rng(g).standard_normal(x0.shape)
            guess = class_posterior(mixture, x, sigma) @ mixture.means
            total = (guess * mixture.means[k]).sum(axis=1).mean()
            centre, c = mixture.means.mean(axis=0), np.cov(mixture.means.T, bias=True)
            gain = np.linalg.solve(c + (sigma**2 + 0.04) * np.eye(12), c)
            row.append(total - (centre**2).sum() - np.trace(c @ gain))
            if sigma == 30.0:
                plain.append(total - (centre**2).sum() - np.trace(c))
        gaps.append(row)
    z = np.mean(gaps, axis=0) / (np.std(gaps, axis=0, ddof=1) / np.sqrt(20))
    assert z[0] > 4
    assert z.min() > -4
    laws.holds("linear share of a tree level at high noise", z[2])
    wrong = np.mean(plain) / (np.std(plain, ddof=1) / np.sqrt(20))
    laws.rejects("linear share of a tree level at high noise", "no shrinkage", wrong)
    assert abs(z[2]) < 4
    assert abs(wrong) > 8


def test_bad_input_is_one_line() -> None:
    s = np.eye(4)
    cases = {
        "not all zero": lambda: tree_similarity(DATA, [0, 0, 0, 0]),
        "must be 4 numbers": lambda: tree_similarity(DATA, [1, 1]),
        "repeats an object": lambda: odd_one_out(s, [[0, 1, 1]], 1.0),
        "unknown object": lambda: odd_one_out(s, [[0, 1, 2], [0, 1, 4]], 1.0),
        "must be integers": lambda: odd_one_out(s, [[0.5, 1, 2]], 1.0),
        "temperature = 0": lambda: odd_one_out(s, [[0, 1, 2]], 0.0),
        "n_classes = 1": lambda: label_accuracy(1, 1.0, 1.0),
        "as many numbers": lambda: tree_mixture((2, 2), (1.0,), 3, 0.1, 0),
        "must be >= 0 and sigma": lambda: surviving_levels([-1.0], 1.0),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words


GOOD = [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]
ROWS = [[0, 1, 2], [1, 2, 3]]


@pytest.mark.parametrize(
    ("laws", "words"),
    [
        ([[-0.5, 1.0, 0.5]], "probabilities holds -0.5 at [0, 0]; give finite numbers >= 0"),
        ([[1e6, 0.0, 0.0]], "probabilities[0] sums to 1e+06; give probabilities that sum to 1"),
        ([[np.nan, 0.5, 0.5]], "probabilities is NaN at [0, 0]; give numbers"),
        ([[0.5, 0.5]], "probabilities has shape (1, 2); give a row of three per triplet"),
        (np.ones((0, 3)), "probabilities has shape (0, 3); give a row of three per triplet"),
        (np.array(GOOD, complex), "probabilities has type complex128; give real numbers"),
        (np.array(GOOD) > 0, "probabilities has type bool; give real numbers, 0.0 and 1.0 for"),
        (np.ma.masked_array(GOOD, mask=np.eye(2, 3)), "masked array, whose mask would be lost"),
    ],
)
def test_what_is_no_law_of_three_answers_has_no_ceiling(laws: object, words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        noise_ceiling(laws)  # type: ignore[arg-type]
    assert words in one_line(error)
    with pytest.raises(InvalidParameter) as error:
        expected_accuracy(np.eye(4), ROWS, laws)  # type: ignore[arg-type]
    assert words.replace("probabilities[", "responses[").removeprefix("probabilities") in one_line(
        error
    )
    assert noise_ceiling(GOOD) == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("similarity", "words"),
    [
        (np.ones((4, 12)), "similarity has shape (4, 12); give all pairs: [n, n]"),
        (np.where(np.eye(4) > 0, np.nan, 0.0), "similarity is NaN at [0, 0]; give numbers"),
        (np.full((4, 4), np.inf), "similarity holds inf at [0, 0]; give finite numbers"),
        (np.array([["a"] * 4] * 4), "similarity has type <U1; give real numbers"),
    ],
)
def test_similarities_are_finite_and_of_all_pairs(similarity: np.ndarray, words: str) -> None:
    for call in (
        lambda: odd_one_out(similarity, ROWS, 1.0),
        lambda: expected_accuracy(similarity, ROWS, GOOD),
    ):
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error)


def test_scalars_of_judges_and_trees_are_checked() -> None:
    cases = {
        "temperature = nan must be a finite number": lambda: odd_one_out(np.eye(3), [[0, 1, 2]],
                                                                         np.nan),
        "give a result beyond float64": lambda: odd_one_out(np.ones((3, 3)), [[0, 1, 2]], 1e-320),
        "responses have 2 rows for 1 triplets": lambda: expected_accuracy(np.eye(3), [[0, 1, 2]],
                                                                       GOOD),
        "n_classes = 2.5 must be an integer": lambda: label_accuracy(2.5, 1.0, 1.0),
        "width = 1.5 must be an integer >= 1": lambda: tree_mixture((2,), (1.0,), 1.5, 0.1, 0),
        "GB of memory": lambda: tree_mixture((10**6,), (1.0,), 10**3, 0.1, 0),
        "within = nan must be": lambda: tree_mixture((2,), (1.0,), 2, np.nan, 0),
        "sigma holds": lambda: surviving_levels([1.0], np.inf),
        "of type RHM; give a Derivations": lambda: tree_similarity(RHM(4, 2, 2, 3), [1, 1, 1, 1]),
    }  # fmt: skip
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words
