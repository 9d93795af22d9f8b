"""Grammars learned from strings: the limit of many data, laws, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, Grammar, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.sims import PhaseTransition, UTurn
from hierdiff.sims.models.context_clustering import sibling_tuples, tuple_clusters
from hierdiff.sims.models.learned_grammar import (
    LearnedGrammar,
    best_match,
    language_mass,
    node_divergence,
    node_log_probability,
)
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.sample_complexity import own_symbol_cost, weights_divergence
from hierdiff.theory.rhm.token_correlations import node_marginals

TINY = RHM(6, 2, 2, 3).draw(seed=4)
NOISE = MaskingNoise(6)


def language(grammar: Grammar) -> tuple[np.ndarray, np.ndarray]:
    """All strings of a small grammar, and their probabilities."""
    drawn = np.unique(grammar.sample(60_000, seed=0).leaves, axis=0)
    law = np.exp(grammar.log_prob(drawn))
    assert abs(law.sum() - 1) < 1e-12  # none is missing
    return drawn, law


STRINGS, LAW = language(TINY)


@pytest.mark.parametrize("context", ["symbols", "tokens"])
def test_infinite_data_recover_the_grammar_up_to_relabelling(context: Any) -> None:
    model = LearnedGrammar.fit(
        STRINGS, NOISE, symbols=6, times=1e12 * LAW, context=context, smoothing=0.0
    )
    np.testing.assert_allclose(model.learned.log_prob(STRINGS), np.log(LAW), atol=1e-10)
    own, true = model.own_symbols(STRINGS), TINY.parse(STRINGS)
    for level in (1, 2):
        counts = np.zeros((6, 6))
        np.add.at(counts, (true.levels[level].ravel(), own.levels[level].ravel()), 1)
        match = best_match(counts)
        np.testing.assert_array_equal(match[own.levels[level]], true.levels[level])
    exact = ExactRHM(TINY, NOISE)
    for t in (0.3, 0.7):
        x_t = NOISE.corrupt(STRINGS[::7], t, seed=1)
        np.testing.assert_allclose(model.denoise(x_t, t), exact.denoise(x_t, t), atol=1e-10)
    assert (model.learned.is_valid(STRINGS)).all()
    np.testing.assert_allclose(language_mass(TINY, model.learned)[0], 1, atol=1e-12)


def test_labels_make_the_classes_of_the_grammar() -> None:
    labels = TINY.parse(STRINGS).levels[0][:, 0]
    model = LearnedGrammar.fit(
        STRINGS, NOISE, symbols=6, times=1e12 * LAW, labels=labels, smoothing=0.0
    )
    exact = ExactRHM(TINY, NOISE)
    x_t = NOISE.corrupt(STRINGS[::7], 0.5, seed=1)
    np.testing.assert_allclose(
        model.features(x_t, 0.5)["level 0"], exact.features(x_t, 0.5)["level 0"], atol=1e-10
    )
    x_t = np.full((1, 8), -1)
    np.testing.assert_allclose(
        model.given(2).denoise(x_t, 1.0), exact.given(2).denoise(x_t, 1.0), atol=1e-10
    )


def test_a_wrong_clustering_does_not_pass_for_the_grammar() -> None:
    """The oracle has power: five symbols in the place of six change the law of the strings."""
    model = LearnedGrammar.fit(STRINGS, NOISE, symbols=5, times=1e12 * LAW, smoothing=0.0)
    assert np.abs(model.learned.log_prob(STRINGS) - np.log(LAW)).max() > 0.1
    assert node_divergence(TINY, model.learned, STRINGS)[0][:, 0] @ LAW > 0.05


def test_the_divergence_is_the_number_of_weights_over_twice_the_strings() -> None:
    P, found = 3000, []
    for i in range(40):
        drawn = TINY.sample(P, seed=100 + i).leaves
        model = LearnedGrammar.fit(drawn, NOISE, symbols=6, smoothing=0.0)
        found.append(LAW @ (np.log(LAW) - model.learned.log_prob(STRINGS)))
    mean, error = np.mean(found), np.std(found, ddof=1) / np.sqrt(len(found))
    law = weights_divergence(RHM(6, 2, 2, 3), P)
    assert abs(mean - law) < 3.5 * error
    every = RHM(6, 2, 2, 3).v * 2 * 3 / (2 * P)  # planted: all weights free, sums of one or not
    assert abs(mean - every) > 6 * error


def test_parts_of_the_divergence_are_exact() -> None:
    learned = LearnedGrammar.fit(TINY.sample(300, seed=1).leaves, NOISE, symbols=6).learned
    found = node_divergence(TINY, learned, STRINGS)
    exact = LAW @ (np.log(LAW) - learned.log_prob(STRINGS))
    assert LAW @ found[0][:, 0] == pytest.approx(exact, rel=1e-9)
    # a node of level 2, by the law of its two leaves alone
    pairs = np.array([[a, b] for a in range(6) for b in range(6)])
    laws = [
        np.exp(Grammar(g.rules[2:], g.weights[2:], node_marginals(g, 2)[1], leaf_vocabulary=6)
               .log_prob(pairs))
        for g in (TINY, learned)
    ]  # fmt: skip
    here = laws[0] > 0
    by_hand = laws[0][here] @ np.log(laws[0][here] / laws[1][here])
    assert LAW @ found[2][:, 1] == pytest.approx(by_hand, rel=1e-9)
    # what a learned grammar writes is valid with this probability
    drawn = learned.sample(20_000, seed=2).leaves
    share, mass = TINY.is_valid(drawn).mean(), language_mass(TINY, learned)[0][0]
    assert abs(share - mass) < 4 * np.sqrt(mass * (1 - mass) / 20_000)
    np.testing.assert_allclose(
        node_log_probability(learned, STRINGS)[0][:, 0], learned.log_prob(STRINGS), atol=1e-10
    )


def test_own_symbols_cost_less_than_tokens_and_the_law_says_how_much() -> None:
    """At P between the two laws the reader of own symbols has found what that of tokens has not."""
    rhm = RHM(16, 4, 2, 4)
    P = int(np.sqrt(own_symbol_cost(rhm, 3) * own_symbol_cost(rhm, 3, "tokens")))
    shares = []
    for g in range(4):
        grammar = rhm.draw(g)
        drawn, fresh = (grammar.sample(n, 10 + g + n) for n in (P, 300))
        row = []
        for context in ("symbols", "tokens"):
            model = LearnedGrammar.fit(drawn.leaves, MaskingNoise(16), symbols=16, context=context)
            own = model.own_symbols(fresh.leaves)
            counts = np.zeros((16, 16))
            np.add.at(counts, (fresh.levels[1].ravel(), own.levels[1].ravel()), 1)
            row.append((best_match(counts)[own.levels[1]] == fresh.levels[1]).mean())
        shares.append(row)
    symbols, tokens = np.mean(shares, axis=0)
    assert symbols > 0.7 > 0.4 > tokens


def test_expected_counts_raise_the_likelihood() -> None:
    drawn, share = TINY.sample(200, seed=3).leaves, 1e-3
    fits = [
        LearnedGrammar.fit(drawn, NOISE, symbols=6, smoothing=share, em_steps=k, threads=1)
        for k in (0, 3)
    ]
    before, after = (fit.learned.log_prob(drawn).sum() for fit in fits)
    # the steps raise it; the share of unseen tuples, which is given back afterwards to each of the
    # seven rules of a string, costs at most this
    assert after - before > 200 * 7 * np.log1p(-share)
    assert not np.array_equal(fits[0].learned.weights[1], fits[1].learned.weights[1])


def test_counts_and_clusters_by_hand() -> None:
    own = np.array([[0, 1, 2, 2], [2, 2, 0, 1], [0, 1, 0, 1]])
    found = sibling_tuples(own, own, 2)
    assert found.occurrences.tolist() == [4, 2]
    # place 0, first and second node below the sibling; then place 1
    assert found.counts[0].astype(int).tolist() == [[1, 0, 1], [0, 1, 1], [1, 0, 1], [0, 1, 1]]
    twice = sibling_tuples(own, own, 2, [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(twice.counts, 2 * found.counts)
    np.testing.assert_array_equal(tuple_clusters(found.counts, 2), [0, 1])


def test_experiments_take_a_learned_grammar() -> None:
    truth = TINY.sample(24, seed=1)
    for noise in (NOISE, UniformNoise(6)):
        model = LearnedGrammar.fit(TINY.sample(2000, seed=2).leaves, noise, symbols=6)
        turned = UTurn(v=6, m=2, depths=(3,), levels=5).measure(model, (TINY, truth))
        assert turned.valid.values.min() > 0.8
        study = PhaseTransition(v=6, m=2, L=3, noise=noise.name, levels=5, refine=0)
        moved = study.measure(model, (TINY, truth))
        assert moved.retention.values[0, 0] == 1


GOOD = TINY.sample(5, seed=1).leaves


@pytest.mark.parametrize(("change", "words"), [
    ({"leaves": GOOD[:, :7]}, r"s\*\*L"), ({"leaves": GOOD + 1}, "leaves"),
    ({"noise": GaussianNoise()}, "vectors"), ({"symbols": 0}, "symbols"),
    ({"context": "words"}, "context"), ({"labels": [0, 1]}, "labels"),
    ({"times": np.zeros(5)}, "zero"), ({"times": np.ones(5), "em_steps": 2}, "em_steps"),
    ({"smoothing": 1.0}, "smoothing"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(change: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"leaves": GOOD, "noise": NOISE, "symbols": 6, **change}
    leaves, noise = arguments.pop("leaves"), arguments.pop("noise")
    with pytest.raises(InvalidParameter, match=words) as error:
        LearnedGrammar.fit(leaves, noise, **arguments)
    one_line(error)


def test_a_class_needs_labels() -> None:
    model = LearnedGrammar.fit(GOOD, NOISE, symbols=6)
    with pytest.raises(InvalidParameter, match="without labels") as error:
        model.given(1)
    one_line(error)


def test_no_string_has_no_log_probability() -> None:
    found = node_log_probability(TINY, np.empty((0, 8), int))
    assert [x.shape for x in found] == [(0, 1), (0, 2), (0, 4), (0, 8)]
