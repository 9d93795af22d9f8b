"""Evidence at any node: every answer against a list of all derivations, and the ways to fail."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import AMBIGUOUS, FIXTURE, WEIGHTED, frequency_p_value, one_line
from strategies import grammars

from hierdiff import RHM, Derivations, GaussianNoise, Grammar, MaskingNoise, UniformNoise
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.theory.belief_propagation.exact_posterior import denoise_symbols, posterior
from hierdiff.theory.belief_propagation.log_domain import LogMessages
from hierdiff.theory.belief_propagation.tree_inference import TreePosterior, tree_posterior

FloatArray = np.ndarray[Any, Any]


class Listed(NamedTuple):
    """One derivation: symbols and rules of every level, and the logarithm of its weight."""

    levels: list[tuple[int, ...]]
    rules: list[tuple[int, ...]]
    weight: float


def listed(g: Grammar, phi: list[FloatArray | None]) -> list[Listed]:
    """All derivations of positive weight, one by one; ``phi`` [nodes, v] per level, logarithms."""

    def seen(level: int, symbols: tuple[int, ...]) -> float:
        here = phi[level]
        return 0.0 if here is None else float(here[np.arange(len(symbols)), symbols].sum())

    with np.errstate(divide="ignore"):
        log_prior, log_weights = np.log(g.root_prior), [np.log(w) for w in g.weights]
    trees = [Listed([(a,)], [], log_prior[a] + seen(0, (a,))) for a in range(g.v[0])]
    for level in range(g.L):
        grown = []
        for tree in trees:
            for choice in itertools.product(range(g.m[level]), repeat=len(tree.levels[-1])):
                pairs = list(zip(tree.levels[-1], choice, strict=True))
                written = tuple(int(b) for a, k in pairs for b in g.rules[level][a, k])
                weight = tree.weight + sum(float(log_weights[level][a, k]) for a, k in pairs)
                weight += seen(level + 1, written)
                if weight > -np.inf:
                    grown.append(Listed([*tree.levels, written], [*tree.rules, choice], weight))
        trees = grown
    return [tree for tree in trees if tree.weight > -np.inf]


def chances(trees: list[Listed]) -> tuple[FloatArray, float]:
    """Posterior probability of every derivation, and the log-evidence."""
    w = np.array([tree.weight for tree in trees])
    z = float(w.max() + np.log(np.exp(w - w.max()).sum()))
    return np.exp(w - z), z


def random_evidence(g: Grammar, seed: int, share: float = 0.7) -> list[FloatArray | None]:
    """Logarithms at some levels, with some exclusions at one of them."""
    rng = np.random.default_rng(seed)
    found: list[FloatArray | None] = [
        2 * rng.normal(size=(g.n_nodes(level), g.v[level])) if rng.random() < share else None
        for level in range(g.L + 1)
    ]
    level = int(rng.integers(g.L + 1))
    here = found[level]
    if here is not None:
        here[rng.random(here.shape) < 0.2] = -np.inf
        here[:, 0] = np.where(np.isneginf(here).all(axis=1), 0.0, here[:, 0])
    return found


def key(tree: Listed) -> tuple[Any, ...]:
    return (*tree.levels, *tree.rules)


@settings(max_examples=40, deadline=None)
@given(grammars(max_derivations=400, max_strings=300), st.integers(0, 2**32 - 1))
def test_every_answer_is_that_of_enumeration(g: Grammar, seed: int) -> None:
    phi = random_evidence(g, seed)
    trees = listed(g, phi)
    nodes = {level: x[None] for level, x in enumerate(phi) if x is not None}
    asked = tree_posterior(g, nodes=nodes)
    if not trees:
        with pytest.raises(ImpossibleEvidence) as error:
            _ = asked.log_evidence
        one_line(error)
        return
    p, z = chances(trees)
    assert asked.log_evidence[0] == pytest.approx(z, abs=1e-11)
    uses, rules = asked.expected_counts(), asked.rule_beliefs()
    for level in range(g.L + 1):
        marginal = np.zeros((g.n_nodes(level), g.v[level]))
        for tree, x in zip(trees, p, strict=True):
            marginal[np.arange(len(marginal)), tree.levels[level]] += x
        assert asked.marginals[level][0] == pytest.approx(marginal, abs=1e-12)
        if level < g.L:
            both = np.zeros((*marginal.shape, g.m[level]))
            for tree, x in zip(trees, p, strict=True):
                both[np.arange(len(both)), tree.levels[level], tree.rules[level]] += x
            assert rules[level][0] == pytest.approx(both, abs=1e-12)
            assert uses[level][0] == pytest.approx(both.sum(axis=0), abs=1e-11)
    assert asked.entropy()[0] == pytest.approx(-(p * np.log(p)).sum(), abs=1e-11)
    assert asked.log_count()[0] == pytest.approx(np.log(len(trees)), abs=1e-11)
    places = [(level, i) for level in range(g.L + 1) for i in range(g.n_nodes(level))]
    rng = np.random.default_rng(seed)
    pairs = [tuple(places[i] for i in rng.integers(len(places), size=2)) for _ in range(6)]
    for (one, two), table in zip(pairs, asked.pair_beliefs(pairs), strict=True):
        joint = np.zeros((g.v[one[0]], g.v[two[0]]))
        for tree, x in zip(trees, p, strict=True):
            joint[tree.levels[one[0]][one[1]], tree.levels[two[0]][two[1]]] += x
        assert table[0] == pytest.approx(joint, abs=1e-12)
    # explanations: their weights, that they are derivations, and that none comes twice
    weights = np.sort([tree.weight for tree in trees])[::-1]
    by_name = {key(tree): tree.weight for tree in trees}
    k = min(len(trees), 7)
    found = asked.k_best(k)
    assert found.log_weight[0] == pytest.approx(weights[:k], abs=1e-11)
    for r in range(k):
        levels = [tuple(x[r].tolist()) for x in (*found.derivations.levels, *found.rules)]
        assert by_name.pop(tuple(levels)) == pytest.approx(found.log_weight[0, r], abs=1e-11)
    first = asked.most_likely()
    assert first.log_weight[0, 0] == pytest.approx(weights[0], abs=1e-11)
    assert first.log_posterior[0, 0] == pytest.approx(weights[0] - z, abs=1e-11)
    with pytest.raises(InvalidParameter, match=rf"exceeds the {len(trees)} derivations") as wrong:
        asked.k_best(len(trees) + 1)
    one_line(wrong)


@settings(max_examples=15, deadline=None)
@given(grammars(max_derivations=300, max_strings=300), st.integers(0, 2**32 - 1))
def test_a_subtree_is_the_posterior_of_what_is_below(g: Grammar, seed: int) -> None:
    phi = random_evidence(g, seed)
    trees = listed(g, phi)
    if not trees:
        return
    p, _ = chances(trees)
    asked = tree_posterior(g, nodes={i: x[None] for i, x in enumerate(phi) if x is not None})
    rng = np.random.default_rng(seed)
    level = int(rng.integers(g.L))
    node = int(rng.integers(g.n_nodes(level)))
    part = asked.subtree(level, node)
    assert part.log_evidence == pytest.approx(0, abs=1e-10)
    law: dict[tuple[Any, ...], float] = {}
    for tree, x in zip(trees, p, strict=True):
        name: list[Any] = []
        for lower in range(level, g.L + 1):
            width = g.n_nodes(lower) // g.n_nodes(level)
            name.append(tree.levels[lower][node * width : (node + 1) * width])
        for lower in range(level, g.L):
            width = g.n_nodes(lower) // g.n_nodes(level)
            name.append(tree.rules[lower][node * width : (node + 1) * width])
        law[tuple(name)] = law.get(tuple(name), 0.0) + float(x)
    found = part.k_best(len(law))
    for r in range(len(law)):
        levels = [tuple(x[r].tolist()) for x in (*found.derivations.levels, *found.rules)]
        expected = law.pop(tuple(levels))
        assert np.exp(found.log_posterior[0, r]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("slope", [700.0, 744.0, 800.0, 2000.0])
def test_a_subtree_keeps_digits_where_evidence_above_and_below_disagree(slope: float) -> None:
    same = [[[0]], [[1]], [[2]]]
    g = Grammar([[[[0], [1], [2]]], same, same])
    below, above = np.array([0, -slope, -slope - 2]), np.array([-slope, 0, 2])
    asked = tree_posterior(g, nodes={(3, 0): below, (1, 0): above})
    for level in range(3):
        part = asked.subtree(level, 0)
        np.testing.assert_allclose(part.marginals[-1][0, 0], 1 / 3, rtol=1e-9)
        assert part.log_evidence == pytest.approx(0, abs=1e-9)


def test_symbols_given_are_evidence_in_logarithms() -> None:
    g = FIXTURE
    data = g.sample(6, 0)
    known = tree_posterior(g, nodes={1: data.levels[1], (2, 3): data.levels[2][:, 3]}, root=None)
    with np.errstate(divide="ignore"):
        one_hot = [np.log(np.eye(g.v[level])[data.levels[level]]) for level in range(3)]
    spelled = tree_posterior(g, nodes={1: one_hot[1], (2, 3): one_hot[2][:, 3]})
    assert all(
        np.array_equal(a, b) for a, b in zip(known.marginals, spelled.marginals, strict=True)
    )
    # -1 is unknown; a list holds an array or None per level
    hidden = data.levels[1].copy()
    hidden[:, 1] = -1
    some = tree_posterior(g, nodes=[None, hidden, None])
    alone = tree_posterior(g, nodes={(1, 0): data.levels[1][:, 0]})
    assert all(np.array_equal(a, b) for a, b in zip(some.marginals, alone.marginals, strict=True))
    # a clamped root is evidence about the root, up to its prior
    clamped = tree_posterior(g, one_hot[2], data.levels[0][:, 0])
    seen = tree_posterior(g, one_hot[2], nodes={(0, 0): data.levels[0][:, 0]})
    for a, b in zip(clamped.marginals, seen.marginals, strict=True):
        assert a == pytest.approx(b, abs=1e-14)
    shift = np.log(g.root_prior[data.levels[0][:, 0]])
    assert clamped.log_evidence + shift == pytest.approx(seen.log_evidence)


@pytest.mark.parametrize("g", [FIXTURE, WEIGHTED, AMBIGUOUS])
def test_leaf_evidence_is_that_of_the_fast_engine(g: Grammar) -> None:
    noise = UniformNoise(g.v[g.L])
    evidence = noise.evidence(noise.corrupt(g.sample(20, 0).leaves, 0.6, 1), 0.6)
    asked, engine = tree_posterior(g, evidence), posterior(g, evidence)
    assert np.array_equal(asked.log_evidence, engine.log_evidence)
    own, log_z = asked._beliefs
    assert log_z == pytest.approx(engine.log_evidence, rel=1e-12)
    for a, b, c in zip(asked.marginals, engine.marginals, asked._levels(own), strict=True):
        assert np.array_equal(a, b)
        assert c == pytest.approx(b, abs=1e-12)


def test_numbers_out_of_range_are_computed_in_logarithms() -> None:
    g = RHM(6, 3, 2, 4).draw(0)
    rng = np.random.default_rng(0)
    evidence = 3000 * rng.normal(size=(5, 16, 6))
    evidence[2] /= 3000
    asked = tree_posterior(g, evidence)
    own, log_z = asked._beliefs
    for i in range(5):
        top = evidence[i].max(axis=1)
        twin = LogMessages(g, evidence[i] - top[:, None], np.log(g.root_prior))
        assert log_z[i] == pytest.approx(twin.log_evidence + top.sum(), rel=1e-13)
        for a, b in zip(asked._levels(own), twin.lines("marginal"), strict=True):
            assert a[i] == pytest.approx(b, abs=1e-12)
    best = asked.most_likely()
    assert asked.log_posterior(best.derivations) == pytest.approx(
        best.log_posterior[:, 0], abs=1e-9
    )
    drawn = tree_posterior(g, nodes={4: evidence, 0: np.zeros((5, 1, 6))}).sample(0, 50)
    for level in range(5):  # one derivation has nearly all the weight
        same = drawn.levels[level].reshape(5, 50, -1) == best.derivations.levels[level][:, None]
        assert same[[0, 1, 3, 4]].mean() > 0.9


def test_results_depend_neither_on_threads_nor_on_the_batch(monkeypatch: Any) -> None:
    monkeypatch.setattr("hierdiff.theory.belief_propagation.tree_inference._SERIAL", 0)
    g = RHM(6, 3, 2, 3).draw(0)
    rng = np.random.default_rng(0)
    nodes = {level: rng.normal(size=(150, g.n_nodes(level), 6)) for level in range(4)}
    nodes[3][7] *= 5000

    def answers(asked: TreePosterior) -> list[Any]:
        best = asked.k_best(3)
        return [
            asked.log_evidence, *asked.marginals, *asked.rule_beliefs(), *asked.expected_counts(),
            asked.entropy_per_level(), *best.rules, best.log_weight, asked.most_likely().log_weight,
            *asked.pair_beliefs([(0, 5), ((1, 0), 7)]), asked.log_count(),
            *asked.covariance_product(np.ones((8, 6))),
        ]  # fmt: skip

    whole = answers(tree_posterior(g, nodes=nodes, threads=1))
    for found in (answers(tree_posterior(g, nodes=nodes, threads=3)),):
        assert all(np.array_equal(a, b) for a, b in zip(whole, found, strict=True))
    part = answers(tree_posterior(g, nodes={i: x[5:9] for i, x in nodes.items()}))
    for a, b in zip(whole, part, strict=True):
        rows = slice(15, 27) if len(a) == 450 else slice(5, 9)
        assert np.array_equal(a[rows], b)
    groups = tree_posterior(g, nodes=nodes, threads=3)._counts(64)
    assert np.array_equal(groups, tree_posterior(g, nodes=nodes, threads=1)._counts(64))


def test_samples_have_the_law_of_the_posterior() -> None:
    g = AMBIGUOUS
    phi = random_evidence(g, 5, share=1.0)
    trees = listed(g, phi)
    p, _ = chances(trees)
    asked = tree_posterior(g, nodes=list(phi))
    drawn = asked.sample(0, n_samples=4000)
    law: dict[tuple[Any, ...], float] = {}
    for tree, x in zip(trees, p, strict=True):
        name = tuple(tree.levels)
        law[name] = law.get(name, 0.0) + float(x)
    names = [tuple(tuple(x[i].tolist()) for x in drawn.levels) for i in range(4000)]
    assert frequency_p_value(names, law) > 1e-3
    assert frequency_p_value(names, {n: 1 / len(law) for n in law}) < 1e-6  # a planted law
    shown = Derivations(tuple(x[:50] for x in drawn.levels))
    spread = tree_posterior(g, nodes=[np.repeat(x[None], 50, 0) for x in phi if x is not None])
    found = np.exp(spread.log_posterior(shown))
    assert found == pytest.approx([law[n] for n in names[:50]], abs=1e-12)


# ------------------------------------------------------------------ identities and derivatives


def test_expected_counts_are_the_slope_of_the_log_evidence() -> None:
    g = WEIGHTED
    phi = random_evidence(g, 3, share=1.0)
    rng = np.random.default_rng(1)

    def value(weights: list[FloatArray]) -> float:
        other = Grammar(g.rules, weights, g.root_prior, leaf_vocabulary=g.leaf_vocabulary)
        return float(tree_posterior(other, nodes=list(phi)).log_evidence[0])

    counts = tree_posterior(g, nodes=list(phi)).expected_counts()
    for level in range(g.L):
        free = g.weights[level].min(axis=1) > 0
        turn = rng.normal(size=g.weights[level].shape) * free[:, None] * 0.1
        turn -= turn.mean(axis=1, keepdims=True)  # weights go on to sum to one

        def moved(h: float, level: int = level, turn: FloatArray = turn) -> float:
            weights = [np.array(w) for w in g.weights]
            weights[level] = weights[level] + h * turn
            return value(weights)

        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        with np.errstate(invalid="ignore"):
            expected = np.nansum(counts[level][0] * turn / g.weights[level])
        assert slope == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_the_product_with_the_covariance_is_the_derivative_of_the_beliefs() -> None:
    g = RHM(5, 2, 2, 3).draw(0)
    rng = np.random.default_rng(0)
    evidence, u = rng.normal(size=(3, 8, 5)), rng.normal(size=(3, 8, 5))
    h = 1e-5
    ahead, behind = (posterior(g, evidence + x * u).marginals for x in (h, -h))
    asked = tree_posterior(g, evidence)
    product = asked.covariance_product(u)
    for a, b, c in zip(product, ahead, behind, strict=True):
        assert a == pytest.approx((b - c) / (2 * h), abs=1e-9)
    matrix = asked.covariance()
    assert np.array_equal(matrix, matrix.transpose(0, 2, 1))
    dense = np.einsum("nij,nj->ni", matrix, u.reshape(3, -1))
    assert product[3].reshape(3, -1) == pytest.approx(dense, abs=1e-14)
    # the covariance of independent leaves, which is planted, is not it
    p = asked.marginals[3]
    alone = p * (u - (p * u).sum(axis=2, keepdims=True))
    assert np.abs(alone - product[3]).max() > 1e-3


def test_sum_rules() -> None:
    g = RHM(6, 3, 2, 3).draw(2)
    rng = np.random.default_rng(0)
    given = {i: rng.normal(size=(4, g.n_nodes(i), 6)) for i in range(4)}
    asked = tree_posterior(g, nodes=given)
    for level, rules in enumerate(asked.rule_beliefs()):
        assert rules.sum(axis=3) == pytest.approx(asked.marginals[level], abs=1e-13)
    one, two = (2, 1), (3, 6)
    joint = asked.pair_beliefs([(one, two), (two, one), (one, (0, 0)), (two, two)])
    assert joint[0].sum(axis=2) == pytest.approx(asked.marginals[2][:, 1], abs=1e-13)
    assert joint[0].sum(axis=1) == pytest.approx(asked.marginals[3][:, 6], abs=1e-13)
    assert joint[1].transpose(0, 2, 1) == pytest.approx(joint[0], abs=1e-13)
    assert joint[3] == pytest.approx(asked.marginals[3][:, 6, :, None] * np.eye(6), abs=1e-13)
    matrix = asked.covariance().reshape(4, 8, 6, 8, 6)
    for i, j in ((0, 1), (2, 7), (6, 6)):
        table = asked.pair_beliefs([(i, j)])[0]
        product = asked.marginals[3][:, i, :, None] * asked.marginals[3][:, j, None]
        assert matrix[:, i, :, j] == pytest.approx(table - product, abs=1e-13)
    assert np.array_equal(
        matrix[1:2],
        tree_posterior(g, nodes={i: x[1:2] for i, x in given.items()})
        .covariance()
        .reshape(1, 8, 6, 8, 6),
    )
    independent = asked.marginals[2][:, 1, :, None] * asked.marginals[3][:, 6, None]
    assert np.abs(independent - joint[0]).max() > 1e-3  # planted: no correlation


def test_entropy_of_masked_strings_counts_those_that_fit() -> None:
    g = RHM(8, 3, 2, 4).draw(0)
    noise = MaskingNoise(8)
    for t in (0.3, 0.6, 1.0):
        x_t = noise.corrupt(g.sample(10, 1).leaves, t, 2)
        asked = tree_posterior(g, noise.evidence(x_t, t))
        assert asked.entropy() == pytest.approx(asked.log_count(), abs=1e-10)
    assert asked.entropy() == pytest.approx(np.log(8) + 15 * np.log(3), abs=1e-10)
    # the entropies of the leaves alone, which are planted, are not it
    p = asked.marginals[4]
    assert abs(-(p * np.log(p)).sum(axis=(1, 2)) - asked.entropy()).min() > 1
    per_level = asked.entropy_per_level()[0]
    assert per_level == pytest.approx([np.log(8), *(2**i * np.log(3) for i in range(4))])


def test_the_string_of_likeliest_leaves_is_no_most_likely_string() -> None:
    g = RHM(8, 3, 2, 5).draw(0)
    noise = UniformNoise(8)
    x_t = noise.corrupt(g.sample(100, 1).leaves, 0.1, 2)
    asked = tree_posterior(g, noise.evidence(x_t, 0.1))
    best = asked.most_likely()
    assert g.is_valid(best.derivations.leaves).all()
    for level, symbols in enumerate(g.parse(best.derivations.leaves).levels):
        assert np.array_equal(symbols, best.derivations.levels[level])
    assert asked.log_posterior(best.derivations) == pytest.approx(best.log_posterior[:, 0])
    leaves = asked.marginals[5].argmax(axis=2)
    valid = g.is_valid(leaves)
    assert 0.3 < 1 - valid.mean() < 0.8
    parsed = g.parse(np.where(valid[:, None], leaves, best.derivations.leaves))
    other = asked.log_posterior(parsed)
    assert (other <= best.log_posterior[:, 0] + 1e-12).all()
    assert (leaves != best.derivations.leaves).any(axis=1).mean() > 1 - valid.mean()


def test_jacobian_divergence_and_spectrum() -> None:
    from hierdiff.theory.belief_propagation.denoiser_derivatives import (
        correlation_length,
        denoiser_jacobian,
        denoiser_spectrum,
        score_divergence,
        static_correlations,
    )

    g, noise, t = RHM(4, 2, 2, 2).draw(0), GaussianNoise(4), 0.55
    x = noise.corrupt(g.sample(3, 1).leaves, t, 2)
    jacobian = denoiser_jacobian(g, noise, x, t)
    h, numeric = 1e-5, np.empty((3, 16, 16))
    a, variance = np.sqrt(noise.alpha_bar(t)), 1 - noise.alpha_bar(t)
    divergence = np.zeros(3)
    for j in range(16):
        step = np.zeros(16)
        step[j] = h
        ahead, behind = (
            denoise_symbols(g, noise, x + sign * step.reshape(4, 4), t).reshape(3, 16)
            for sign in (1, -1)
        )
        numeric[:, :, j] = (ahead - behind) / (2 * h)
        divergence += (a * numeric[:, j, j] - 1) / variance
    assert jacobian == pytest.approx(numeric, abs=1e-8)
    assert score_divergence(g, noise, x, t) == pytest.approx(divergence, rel=1e-7)
    values = denoiser_spectrum(g, noise, x, t)
    assert values.sum(axis=1) == pytest.approx(np.trace(jacobian, axis1=1, axis2=2))
    assert values[:, 12:] == pytest.approx(0, abs=1e-12)
    # planted: the gain of noise whose signal is not scaled
    assert np.abs(jacobian / a - numeric).max() > 1e-2
    asked = tree_posterior(g, noise.evidence(x, t))
    found, matrix = static_correlations(asked), asked.covariance()
    blocks = np.stack([matrix[:, i * 4 : i * 4 + 4, i * 4 : i * 4 + 4] for i in range(4)])
    expected = (matrix**2).sum(axis=(1, 2)) / (blocks**2).sum(axis=(0, 2, 3))
    assert correlation_length(g, found) == pytest.approx(expected)
    # clean data: what is left of covariances is rounding, and no length
    clean = tree_posterior(g, nodes={2: g.sample(2, 0).leaves})
    assert correlation_length(g, static_correlations(clean)) == pytest.approx(1)
    for wrong in (MaskingNoise(4), GaussianNoise()):
        with pytest.raises(
            InvalidParameter, match=r"has no derivative|it lacks alpha_bar"
        ) as error:
            denoiser_jacobian(g, wrong, x, t)  # type: ignore[arg-type]
        one_line(error)
    with pytest.raises(InvalidParameter, match="no noise") as error:
        score_divergence(g, noise, x, 0.0)
    one_line(error)


# ---------------------------------------------------------------------------------------- bad input

_ZERO = np.zeros((2, 4, 4))
_NO_SAMPLE = UniformNoise(v=4).evidence(np.zeros((0, 4), int), 0.5)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("levels run from 0", {"nodes": {3: [0, 0]}}),
        ("levels run from 0", {"nodes": {(-1, 0): 0}}),
        ("level 1 has the nodes 0 to 1", {"nodes": {(1, 2): 0}}),
        ("give a level, or a pair", {"nodes": {"root": 0}}),
        ("give a level, or a pair", {"nodes": {True: 0}}),
        ("list of 3", {"nodes": [None]}),
        ("mapping from levels", {"nodes": 3}),
        ("has shape", {"nodes": {1: np.zeros((2, 3))}}),
        ("has shape", {"nodes": {(1, 0): np.zeros((2, 2, 2))}}),
        ("give integers in", {"nodes": {(1, 0): 4}}),
        ("different numbers of samples",
         {"log_evidence": _ZERO, "nodes": {1: np.zeros((3, 2), int)}}),
        ("different numbers of samples", {"log_evidence": _ZERO, "root": [0, 1, 2]}),
        ("NaN", {"nodes": {(1, 0): [np.nan, 0, 0, 0]}}),
        ("NaN or \\+inf", {"nodes": {(1, 0): [np.inf, 0, 0, 0]}}),
        ("excludes every symbol of node \\(1, 1\\)", {"nodes": {(1, 1): np.full(4, -np.inf)}}),
        ("exclude each other", {"root": 1, "nodes": {(0, 0): 2}}),
        ("root", {"root": 7}),
        ("root has shape", {"root": [[0]]}),
        ("exclude", {"nodes": {1: [0, 1], (1, 0): 2}}),
        ("is of no sample", {"root": []}),
        ("is of no sample", {"log_evidence": _NO_SAMPLE}),
    ],
)  # fmt: skip
def test_evidence_that_cannot_be(words: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        tree_posterior(FIXTURE, **arguments)
    one_line(error)


def test_latents_that_contradict_each_other() -> None:
    g = FIXTURE
    below = g.rules[0][0, 0]  # what a class writes
    other = next(
        (a, b) for a, b in itertools.product(range(4), repeat=2)
        if not (g.rules[0].reshape(-1, 2) == (a, b)).all(axis=1).any()
    )  # fmt: skip
    assert tree_posterior(g, nodes={1: below}).log_evidence[0] > -np.inf
    asked = tree_posterior(g, nodes={1: np.array(other)})
    questions = (
        lambda: asked.log_evidence, asked.most_likely, lambda: asked.k_best(2), asked.entropy,
        lambda: asked.sample(0), lambda: asked.pair_beliefs([(0, 1)]), asked.log_count,
        lambda: asked.covariance_product(np.zeros((4, 4))),
    )  # fmt: skip
    for question in questions:
        with pytest.raises(ImpossibleEvidence, match=r"at and below node \(0, 0\)") as error:
            question()
        one_line(error)


@pytest.mark.parametrize(
    ("words", "question"),
    [
        ("does not exist", lambda q: q.pair_beliefs([(0, 4)])),
        ("does not exist", lambda q: q.pair_beliefs([((3, 0), 0)])),
        ("a pair is two nodes", lambda q: q.pair_beliefs([3])),
        ("give the number of a leaf", lambda q: q.pair_beliefs([("a", 0)])),
        ("list of pairs", lambda q: q.pair_beliefs(3)),
        ("is empty", lambda q: q.pair_beliefs([])),
        ("derive nothing", lambda q: q.subtree(2, 0)),
        ("node = 2", lambda q: q.subtree(1, 2)),
        ("level = 5", lambda q: q.subtree(5, 0)),
        ("k = 0", lambda q: q.k_best(0)),
        ("n_samples", lambda q: q.sample(0, 0)),
        ("direction has shape", lambda q: q.covariance_product(np.zeros(4))),
        ("levels of shapes", lambda q: q.log_posterior(FIXTURE.sample(3, 0))),
    ],
)
def test_questions_that_cannot_be_asked(words: str, question: Any) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        question(tree_posterior(FIXTURE))
    one_line(error)
