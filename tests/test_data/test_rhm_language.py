"""Samples, parses and probabilities against enumeration of all derivations."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import AMBIGUOUS, FIXTURE, WEIGHTED, one_line

from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter, NotASentence

# Chi-square tests use fixed seeds; a true law fails one of them with this probability.
SIGNIFICANCE = 1e-4
REJECTED = 1e-6

TREES = settings(deadline=None, max_examples=60)

RULES = [[[[0, 1], [1, 0]], [[1, 1], [0, 0]]], [[[0, 1]], [[2, 2]]]]

# --- sampling -------------------------------------------------------------------------------------


def derivation_rows(trees: tuple[NDArray[Any], ...]) -> list[tuple[int, ...]]:
    return list(map(tuple, np.concatenate(trees, axis=1).tolist()))


def derivation_law(grammar: Grammar) -> dict[tuple[int, ...], float]:
    levels, probability = oracles.enumerate_derivations(grammar)
    law: dict[tuple[int, ...], float] = {}
    for row, p in zip(derivation_rows(levels), probability, strict=True):
        law[row] = law.get(row, 0.0) + float(p)
    return law


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS, WEIGHTED], ids=["rhm", "amb", "weighted"])
def test_sample_frequencies(grammar: Grammar) -> None:
    draws = derivation_rows(grammar.sample(40_000, seed=5).levels)
    assert oracles.frequency_p_value(draws, derivation_law(grammar)) > SIGNIFICANCE
    assert oracles.frequency_p_value(draws[:4_000], derivation_law(planted(grammar))) < REJECTED


def planted(grammar: Grammar) -> Grammar:
    """The same rules with the weights of the last level's first symbol bent."""
    weights = [weight.copy() for weight in grammar.weights]
    weights[-1][0] = [0.65, 0.35]
    return Grammar(grammar.rules, weights, grammar.root_prior)


@given(strategies.grammars(), st.integers(0, 2**32))
@TREES
def test_samples_are_derivations(grammar: Grammar, seed: int) -> None:
    trees = grammar.sample(20, seed)
    assert set(derivation_rows(trees.levels)) <= derivation_law(grammar).keys()
    assert [level.shape for level in trees.levels] == [
        (20, grammar.n_nodes(level)) for level in range(grammar.L + 1)
    ]
    assert {level.dtype for level in trees.levels} == {np.dtype(np.int32)}
    again = grammar.sample(20, seed)
    assert derivation_rows(again.levels) == derivation_rows(trees.levels)


def test_root_clamps_the_class() -> None:
    draws = derivation_rows(AMBIGUOUS.sample(20_000, seed=2, root=1).levels)
    law = {row: p / 0.4 for row, p in derivation_law(AMBIGUOUS).items() if row[0] == 1}
    assert oracles.frequency_p_value(draws, law) > SIGNIFICANCE
    classes = np.array([0, 1, 1, 0])
    assert AMBIGUOUS.sample(4, seed=0, root=classes).levels[0][:, 0].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("root", [2, -1, 0.0, [0, 1], True])
def test_bad_roots(root: Any) -> None:
    with pytest.raises(InvalidParameter, match=r"^root has") as error:
        AMBIGUOUS.sample(3, seed=0, root=root)
    one_line(error)


def test_class_of_prior_zero_is_no_root() -> None:
    grammar = Grammar(RULES, root_prior=[1, 0])
    with pytest.raises(InvalidParameter, match="positive root_prior"):
        grammar.sample(3, seed=0, root=1)
    with pytest.raises(InvalidParameter, match=r"^n = 0 must be an integer >= 1"):
        grammar.sample(0, seed=0)


# --- parsing, validity, probability ---------------------------------------------------------------


@given(strategies.grammars(ambiguous=False), st.integers(0, 2**32))
@TREES
def test_parse_inverts_sample(grammar: Grammar, seed: int) -> None:
    trees = grammar.sample(30, seed)
    parsed = grammar.parse(trees.leaves)
    assert derivation_rows(parsed.levels) == derivation_rows(trees.levels)


def test_parse_of_wide_tuples() -> None:
    grammar = RHM(256, 64, 4, 3).draw(seed=0)
    trees = grammar.sample(100, seed=1)
    parsed = grammar.parse(trees.leaves.astype(np.uint16))
    assert all(np.array_equal(a, b) for a, b in zip(parsed.levels, trees.levels, strict=True))


@given(strategies.grammars())
@TREES
def test_every_string_against_enumeration(grammar: Grammar) -> None:
    strings = oracles.all_strings(grammar.v[-1], grammar.n_leaves)
    law = oracles.string_probabilities(grammar)
    exact = np.array([law.get(row, 0.0) for row in map(tuple, strings.tolist())])
    assert np.array_equal(grammar.is_valid(strings), exact > 0)
    found = np.exp(grammar.log_prob(strings))
    assert np.array_equal(found > 0, exact > 0)
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    assert found.sum() == pytest.approx(1, rel=1e-12)


@given(strategies.grammars())
@TREES
def test_valid_nodes_against_enumeration(grammar: Grammar) -> None:
    """Below a node of level l stands a string; it counts if the grammar cut at l can write it."""
    strings = oracles.all_strings(grammar.v[-1], grammar.n_leaves)[::7]
    fractions = grammar.valid_per_level(strings)
    assert len(fractions) == grammar.L + 1
    assert np.array_equal(fractions[0] == 1, grammar.is_valid(strings))
    assert np.array_equal(fractions[-1], np.ones(len(strings)))
    for level in range(1, grammar.L):
        below = Grammar(
            grammar.rules[level:], grammar.weights[level:], leaf_vocabulary=grammar.v[-1]
        )
        writable = oracles.string_probabilities(below).keys()
        pieces = strings.reshape(len(strings), grammar.n_nodes(level), -1)
        expected = [[tuple(piece) in writable for piece in row] for row in pieces.tolist()]
        np.testing.assert_allclose(fractions[level], np.mean(expected, axis=1))


@given(strategies.grammars(ambiguous=True, weighted=False))
@TREES
def test_ambiguous_grammars_do_not_parse(grammar: Grammar) -> None:
    assert not grammar.is_unambiguous
    with pytest.raises(InvalidParameter, match=r"ambiguous.*theory\.posterior") as error:
        grammar.parse(grammar.sample(1, seed=0).leaves)
    one_line(error)


def test_absent_rules_make_no_grammar_ambiguous() -> None:
    rules = [[[[0, 1], [1, 1]], [[0, 1], [0, 0]]]]
    assert not Grammar(rules).is_unambiguous
    by_weight = Grammar(rules, [[[0.0, 1.0], [0.5, 0.5]]])
    by_prior = Grammar(rules, root_prior=[0.0, 1.0])
    for grammar in (by_weight, by_prior):
        assert grammar.is_unambiguous
        assert grammar.parse([[0, 1]]).levels[0].tolist() == [[1]]
    assert by_weight.is_valid([[1, 1], [0, 1], [1, 0]]).tolist() == [True, True, False]
    assert by_prior.is_valid([[1, 1], [0, 1], [1, 0]]).tolist() == [False, True, False]


def test_a_rule_written_twice_adds_its_probabilities() -> None:
    grammar = Grammar([[[[0, 1], [0, 1], [1, 1]]]], [[[0.2, 0.3, 0.5]]])
    assert not grammar.is_unambiguous
    np.testing.assert_allclose(np.exp(grammar.log_prob([[0, 1], [1, 1]])), [0.5, 0.5], rtol=1e-15)


@pytest.mark.parametrize(
    ("bent", "level", "words"),
    [
        ([3, 3, 3, 4], 2, "position 3 holds 4, which is none of the 4 leaf symbols"),
        ([3, -1, 3, 2], 2, "position 1 holds -1"),
        ([3, 3, 2, 2], 1, r"position 1 stands above \(2, 2\), which no rule writes"),
        ([0, 3, 0, 3], 0, r"position 0 stands above \(0, 0\), which no rule writes"),
    ],
)
def test_no_sentence_is_named(bent: list[int], level: int, words: str) -> None:
    good = FIXTURE.sample(3, seed=0).leaves
    leaves = np.concatenate([good, [bent], [[2, 2, 2, 2]]])
    with pytest.raises(
        NotASentence, match=f"^sample 3 is not in the language: level {level}, {words}"
    ) as e:
        FIXTURE.parse(leaves)
    one_line(e)
    assert FIXTURE.is_valid(leaves).tolist() == [True, True, True, False, False]
    assert np.isneginf(FIXTURE.log_prob(leaves)).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS], ids=["unambiguous", "ambiguous"])
def test_symbols_outside_the_vocabulary_make_no_sentence(grammar: Grammar) -> None:
    good = grammar.sample(1, seed=0).leaves.astype(np.int64)
    bent = np.repeat(good, 4, axis=0)
    # The last two would pass for the good symbol if they were cut to 32 bits
    bent[:, 1] = [-1, grammar.v[-1], bent[2, 1] + 2**32, bent[3, 1] - 2**32]
    assert grammar.is_valid(good).all()
    assert not grammar.is_valid(bent).any()
    assert np.isneginf(grammar.log_prob(bent)).all()


@pytest.mark.parametrize(
    ("leaves", "words"),
    [
        ([0, 1, 0, 1], r"shape \(4,\)"),
        ([[0, 1, 0]], r"shape \(1, 3\)"),
        ([[0.0, 1, 0, 1]], "dtype float64"),
        ([[0, 1, 0, 1], [0]], "ragged"),
    ],
)
@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS], ids=["unambiguous", "ambiguous"])
def test_bad_leaves(grammar: Grammar, leaves: Any, words: str) -> None:
    for ask in (grammar.is_valid, grammar.log_prob, grammar.valid_per_level):
        with pytest.raises(InvalidParameter, match=words) as error:
            ask(leaves)
        one_line(error)


def test_no_strings_at_all() -> None:
    empty = np.empty((0, 4), dtype=int)
    for grammar in (FIXTURE, AMBIGUOUS):
        assert grammar.is_valid(empty).shape == grammar.log_prob(empty).shape == (0,)


def test_log_prob_neither_underflows_nor_depends_on_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rhm = RHM(8, 2, 2, 12)
    grammar = rhm.draw(seed=0)
    leaves = grammar.sample(5, seed=0).leaves
    np.testing.assert_allclose(grammar.log_prob(leaves), -rhm.log_n_data, rtol=1e-12)
    # Every rule once more: probabilities stay, but now the inside algorithm must sum over parses
    doubled = Grammar([np.concatenate([table, table], axis=1) for table in grammar.rules])
    assert not doubled.is_unambiguous
    whole = doubled.log_prob(leaves)
    np.testing.assert_allclose(whole, -rhm.log_n_data, rtol=1e-12)
    monkeypatch.setattr("hierdiff.data.derivations.BLOCK", 1)
    assert np.array_equal(doubled.log_prob(leaves), whole)
    assert doubled.is_valid(leaves).all()
