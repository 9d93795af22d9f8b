"""Messages in logarithms, one sample at a time, against plain twins and enumeration."""

from __future__ import annotations

import numpy as np
import oracles
import pytest

from hierdiff import Grammar, MaskingNoise, UniformNoise
from hierdiff.theory.belief_propagation.exact_posterior import leaves_of
from hierdiff.theory.belief_propagation.log_domain import (
    LogMessages,
    _pick,
    _softmax,
    log_likelihoods,
)

UNEVEN = Grammar(
    [
        np.array([[[0, 1, 2]], [[2, 2, 0]]]),
        np.array([[[0, 3], [1, 1]], [[2, 0], [3, 1]], [[1, 2], [3, 3]]]),
        np.array([[[0, 1], [1, 0], [2, 2]], [[0, 0], [1, 1], [2, 0]], [[2, 1], [0, 2], [1, 2]],
                  [[1, 0], [0, 0], [2, 1]]]),
    ],
    weights=[[[1.0], [1.0]], [[0.3, 0.7], [0.6, 0.4], [1.0, 0.0]],
             [[0.2, 0.3, 0.5], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5], [0.7, 0.2, 0.1]]],
    root_prior=[0.35, 0.65],
)  # fmt: skip
"""Sizes that differ from level to level, rules shared by symbols, a weight that is zero."""
GRAMMARS = [oracles.FIXTURE, oracles.AMBIGUOUS, oracles.WEIGHTED, UNEVEN]


def evidence(grammar: Grammar, seed: int = 0, size: float = 2.0) -> np.ndarray:
    shape = grammar.n_leaves, grammar.v[grammar.L]
    return size * np.random.default_rng(seed).standard_normal(shape)


def messages(grammar: Grammar, log_psi: np.ndarray) -> LogMessages:
    return LogMessages(grammar, log_psi, np.log(grammar.root_prior))


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_messages_are_those_of_the_plain_twin(grammar: Grammar) -> None:
    log_psi = evidence(grammar)
    found = messages(grammar, log_psi)
    *expected, log_evidence = oracles.message_passing(grammar, log_psi)
    assert found.log_evidence == pytest.approx(log_evidence, rel=1e-12)
    for kind, levels in zip(("up", "down", "marginal"), expected, strict=True):
        lines = found.lines(kind)
        assert len(lines) == grammar.L + 1
        for one, other in zip(lines, levels, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("grammar", [oracles.FIXTURE, oracles.AMBIGUOUS, oracles.WEIGHTED])
def test_marginals_and_evidence_beyond_floats(grammar: Grammar) -> None:
    """Logarithms of thousands, and some symbols excluded, against all derivations."""
    log_psi = evidence(grammar, 1, 3000.0)
    log_psi[0, 1:] = log_psi[2, 0] = -np.inf
    found = messages(grammar, log_psi)
    marginals, log_evidence = oracles.enumerated_posterior(grammar, log_psi)
    assert found.log_evidence == pytest.approx(log_evidence, rel=1e-13)
    for one, other in zip(found.lines("marginal"), marginals, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_log_messages_are_not_normalised() -> None:
    """A message from above and one from below meet in the evidence at every node."""
    found = messages(UNEVEN, evidence(UNEVEN))
    total = found.up + found.downward()
    for level in range(UNEVEN.L + 1):
        rows = found.rows(total, level)
        assert rows.shape == (UNEVEN.n_nodes(level), UNEVEN.v[level])
        np.testing.assert_allclose(np.log(np.exp(rows).sum(axis=1)), found.log_evidence)


def test_what_no_sentence_agrees_with_has_no_evidence() -> None:
    log_psi = np.full((4, 4), -np.inf)
    log_psi[:, 0] = 0  # 0 0 0 0 is no sentence
    assert (0, 0, 0, 0) not in oracles.string_probabilities(oracles.FIXTURE)
    assert messages(oracles.FIXTURE, log_psi).log_evidence == -np.inf


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_draws_are_those_of_the_plain_twin(grammar: Grammar) -> None:
    random = np.random.default_rng(2)
    log_psi = evidence(grammar)
    found = messages(grammar, log_psi)
    for _ in range(60):
        numbers = [random.random(grammar.n_nodes(level)) for level in range(grammar.L)]
        root = float(random.random())
        drawn = found.draw(root, numbers)
        expected = oracles.posterior_draw(grammar, log_psi, root, numbers)
        for one, other in zip(drawn, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_draw_never_picks_what_has_no_probability() -> None:
    p = np.array([[0.0, 0.5, 0.0, 0.5, 0.0], [0.25, 0.0, 0.75, 0.0, 0.0]])
    for u, picked in ((0.0, [1, 0]), (0.1, [1, 0]), (0.3, [1, 2]), (0.5, [3, 2]), (0.9, [3, 2]),
                      (1.0, [3, 2])):  # fmt: skip
        np.testing.assert_array_equal(_pick(p, np.array([u, u])), picked)
    # the sum is what counts, not one: rounding may leave it short
    np.testing.assert_array_equal(_pick(0.5 * p, np.array([0.6, 0.6])), [3, 2])


def test_softmax_row_by_row() -> None:
    x = np.array([[0.0, 1.0, -np.inf], [1000.0, 1002.0, 1001.0]])
    expected = [[1, np.e, 0], np.exp([0, 2, 1])]
    for found, row in zip(_softmax(x), expected, strict=True):
        np.testing.assert_allclose(found, np.array(row) / np.sum(row), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_evidence_of_either_form(dtype: type) -> None:
    """Symbols by match and mismatch, nothing seen where masked; logarithms as they came."""
    grammar, x_t = oracles.FIXTURE, np.array([[0, 1, 2, 3], [3, 3, 0, 1]])
    noise = UniformNoise(4)
    dense = noise.log_evidence(x_t, 0.4)
    seen = leaves_of(grammar, noise.evidence(x_t, 0.4), None, dtype, 1, private=False)
    given = leaves_of(grammar, dense.astype(dtype), None, dtype, 1, private=False)
    for row in range(2):
        found = log_likelihoods(seen, 4, row)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, dense[row] - dense[row].max(), rtol=1e-12)
        kept = log_likelihoods(given, 4, row)
        assert kept.dtype == np.float64
        np.testing.assert_array_equal(kept, dense[row].astype(dtype))
    masked = MaskingNoise(4).evidence(np.array([[-1, 1, 0, -1]]), 0.4)
    leaves = leaves_of(grammar, masked, None, dtype, 1, private=False)
    found = log_likelihoods(leaves, 4, 0)
    np.testing.assert_array_equal(found == 0, [[1] * 4, [0, 1, 0, 0], [1, 0, 0, 0], [1] * 4])
    assert (found[found != 0] == -np.inf).all()
