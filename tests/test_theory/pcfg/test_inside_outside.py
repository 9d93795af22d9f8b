"""Inside-outside against enumeration, belief propagation, laws of lengths and NLTK."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import AMBIGUOUS, FIXTURE, WEIGHTED, one_line
from pcfg_oracles import LAYERED, RECURSIVE, UNARY, iterated, strings, summed
from scipy import stats

from hierdiff import RHM, Grammar, MaskingNoise, UniformNoise
from hierdiff.data.pcfg import PCFG
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.theory.belief_propagation import posterior
from hierdiff.theory.pcfg import fit_weights, parse_posterior

CASES = [(LAYERED, 1), (LAYERED, 4), (LAYERED, 6), (RECURSIVE, 1), (RECURSIVE, 4), (RECURSIVE, 6)]


def evidence(g: PCFG, n: int, rows: int = 3, seed: int = 0) -> np.ndarray[Any, Any]:
    psi = np.random.default_rng(seed).random((rows, n, g.v))
    psi[0, 0, 0] = 0.0
    psi[0] = np.where(psi[0].sum(axis=1, keepdims=True) > 0, psi[0], 1.0)
    return psi * 7.3


def logs(psi: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(divide="ignore"):
        return np.log(psi)


@pytest.mark.parametrize(("g", "n"), CASES)
@pytest.mark.parametrize("extreme", [False, True], ids=["float64", "logarithms"])
def test_everything_is_that_of_enumeration(
    g: PCFG, n: int, extreme: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if extreme:
        monkeypatch.setattr("hierdiff.theory.pcfg.inside_outside._SMALLEST", np.inf)
    psi = evidence(g, n)
    if n == 1 and g is RECURSIVE:
        psi[:, :, 0] += 1
    found = parse_posterior(g, logs(psi), threads=1)
    levels = range((g.L or 0) + 1) if g.L is not None else [None]
    spans = [found.spans(level) for level in levels]
    best = found.best()
    for i in range(len(psi)):
        z, trees = summed(g, psi[i])
        assert found.log_evidence[i] == pytest.approx(np.log(z), abs=1e-12)
        roots, leaves = np.zeros(g.n_classes), np.zeros((n, g.v))
        uses = np.zeros(len(g.weights))
        want = [np.zeros((n, n + 1)) for _ in levels]
        for w, nodes in trees:
            roots[nodes[0][0]] += w / z
            for x, a, b, r in nodes:
                if r >= 0:
                    uses[r] += w / z
                else:
                    leaves[a, x - g.N] += w / z
                if g.L is not None:
                    want[g.level_of[x]][a, b] += w / z
                elif r >= 0:
                    want[0][a, b] += w / z
        np.testing.assert_allclose(found.class_marginals[i], roots, atol=1e-13)
        np.testing.assert_allclose(found.leaf_marginals[i], leaves, atol=1e-13)
        np.testing.assert_allclose(found.rule_counts[i], uses, atol=1e-12)
        for mine, theirs in zip(spans, want, strict=True):
            np.testing.assert_allclose(mine[i], theirs, atol=1e-13)
        weight, nodes = max(trees)
        assert best.log_prob[i] == pytest.approx(np.log(weight), abs=1e-12)
        assert best.trees.tree(i).tolist() == [list(x) for x in nodes]
    if g.L is not None:
        for level in range(g.L + 1):
            np.testing.assert_allclose(found.symbols[level].sum(axis=2), 1, atol=1e-12)
            np.testing.assert_allclose(found.starts[:, level], spans[level].sum(axis=2), atol=1e-13)


def test_symbols_that_cover_a_leaf_are_those_of_enumeration() -> None:
    psi = evidence(LAYERED, 5, 2, seed=4)
    found = parse_posterior(LAYERED, logs(psi))
    for i in range(2):
        z, trees = summed(LAYERED, psi[i])
        want = [np.zeros((5, size)) for size in LAYERED.level_sizes or ()]
        for w, nodes in trees:
            for x, a, b, _ in nodes:
                level = int(LAYERED.level_of[x])
                want[level][a:b, x - LAYERED.first[level]] += w / z
        for mine, theirs in zip(found.symbols, want, strict=True):
            np.testing.assert_allclose(mine[i], theirs, atol=1e-13)


@pytest.mark.parametrize("smallest", [0.0, np.inf], ids=["float64", "logarithms"])
def test_the_root_is_the_top_of_a_chain(smallest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hierdiff.theory.pcfg.inside_outside._SMALLEST", smallest)
    prior = np.array([0.5, 0.2, 0.3])
    g = UNARY.reweighted(UNARY.weights, prior)
    psi = logs(evidence(g, 3, 3, seed=5) + 0.1)
    found = parse_posterior(g, psi)
    each = np.exp([parse_posterior(g, psi, root=a).log_evidence for a in range(3)]).T * prior
    expected = each / each.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.class_marginals, expected, atol=1e-12)
    learned = fit_weights(g, [psi], steps=1, fit_prior=True).grammar
    np.testing.assert_allclose(learned.root_prior, expected.mean(axis=0), atol=1e-12)


def test_unary_cycles_are_those_of_repeated_rules() -> None:
    psi = evidence(UNARY, 3, 2, seed=2)
    found = parse_posterior(UNARY, logs(psi))
    for i in range(2):
        z = iterated(UNARY, psi[i])
        assert found.log_evidence[i] == pytest.approx(np.log(z), abs=1e-12)
        # Z is linear in the evidence of one leaf
        for b in range(UNARY.v):
            alone = psi[i].copy()
            alone[1] *= np.arange(UNARY.v) == b
            assert found.leaf_marginals[i, 1, b] == pytest.approx(iterated(UNARY, alone) / z)
    # chains of unary rules put A and B over the whole string, but the root is always S
    np.testing.assert_allclose(found.class_marginals, [[1, 0, 0]] * 2, atol=1e-13)
    best = found.best()
    np.testing.assert_allclose(
        best.log_prob[0],
        best.trees.log_prob[0] + np.log(psi[0, np.arange(3), best.trees.x0[0]]).sum(),
        atol=1e-12,
    )
    drawn = found.sample(1, n_samples=500)
    weights = drawn.log_prob + np.log(
        psi[drawn.owner[drawn.offsets[:-1]] // 500, np.arange(3)[:, None], drawn.x0.T]
    ).sum(axis=0)
    assert (weights <= best.log_prob[np.arange(1000) // 500] + 1e-12).all()
    assert (weights.reshape(2, 500).max(axis=1) > best.log_prob - 1e-9).all()
    # the gradient of log Z with the weights is exact
    step = 1e-6
    w = np.array(UNARY.weights)
    for r in (0, 3, 4, 7):
        changed = w * np.exp(step * (np.arange(len(w)) == r))
        moved = parse_posterior(_unnormalised(UNARY, changed), logs(psi))
        slope = (moved.log_evidence - found.log_evidence) / step
        np.testing.assert_allclose(slope, found.rule_counts[:, r], atol=1e-5)


def _unnormalised(g: PCFG, weights: np.ndarray[Any, Any]) -> PCFG:
    """A copy whose probabilities do not sum to one, as finite differences need them."""
    made = g.reweighted(g.weights)
    object.__setattr__(made, "weights", weights)
    return made


@pytest.mark.parametrize(
    "grammar", [FIXTURE, AMBIGUOUS, WEIGHTED, RHM(8, 3, 3, 3).draw(0), RHM(6, 4, 2, 4, 3).draw(1)]
)
@pytest.mark.parametrize("kind", [MaskingNoise, UniformNoise])
def test_one_arity_is_belief_propagation(grammar: Grammar, kind: Any) -> None:
    noise = kind(grammar.v[-1])
    x_t = noise.corrupt(grammar.sample(11, 0).leaves, 0.4, 1)
    want = posterior(grammar, noise.evidence(x_t, 0.4))
    found = parse_posterior(PCFG.of(grammar), noise.evidence(x_t, 0.4))
    np.testing.assert_allclose(found.log_evidence, want.log_evidence, rtol=1e-12)
    np.testing.assert_allclose(found.class_marginals, want.marginals[0][:, 0], atol=1e-12)
    for level in range(grammar.L + 1):
        width = grammar.n_leaves // grammar.n_nodes(level)
        of_nodes = found.symbols[level][:, ::width]
        np.testing.assert_allclose(of_nodes, want.marginals[level], atol=1e-12)
        node = np.zeros(grammar.n_leaves)
        node[::width] = 1
        np.testing.assert_allclose(found.starts[:, level], np.tile(node, (11, 1)), atol=1e-12)


@pytest.mark.parametrize(("g", "longest"), [(LAYERED, 6), (RECURSIVE, 6), (UNARY, 6)])
def test_probabilities_of_all_strings_sum_to_the_law_of_lengths(g: PCFG, longest: int) -> None:
    law = g.length_law(longest)
    for n in range(1, longest + 1):
        if not law[n]:
            continue
        found = parse_posterior(g, logs(np.eye(g.v)[strings(g.v, n)] + 1e-300))
        assert np.exp(found.log_evidence).sum() == pytest.approx(law[n], rel=1e-12)
        assert parse_posterior(g, np.zeros((1, n, g.v))).log_evidence[0] == pytest.approx(
            np.log(law[n]), abs=1e-12
        )


def test_samples_follow_the_posterior_and_a_wrong_law_is_rejected() -> None:
    psi = evidence(LAYERED, 4, 2, seed=5)
    found = parse_posterior(LAYERED, logs(psi))
    drawn = found.sample(7, n_samples=4000)
    for i in range(2):
        z, trees = summed(LAYERED, psi[i])
        expected = {nodes: w / z for w, nodes in trees if w}
        seen = dict.fromkeys(expected, 0)
        for k in range(i * 4000, (i + 1) * 4000):
            seen[tuple(map(tuple, drawn.tree(k).tolist()))] += 1
        p = np.array(list(expected.values()))
        often = p * 4000 > 5
        counts = np.array(list(seen.values()))[often]
        assert stats.chisquare(counts, p[often] / p[often].sum() * counts.sum()).pvalue > 1e-4
        flat = np.roll(p[often], 1)
        assert stats.chisquare(counts, flat / flat.sum() * counts.sum()).pvalue < 1e-6


@pytest.mark.parametrize("g", [LAYERED, RECURSIVE, UNARY])
def test_samples_from_both_number_ranges_and_any_batch_are_the_same(
    g: PCFG, monkeypatch: pytest.MonkeyPatch
) -> None:
    psi = logs(evidence(g, 5, 11))
    one = parse_posterior(g, psi, threads=1)
    many = parse_posterior(g, psi, threads=2)
    assert np.array_equal(one.sample(3).nodes, many.sample(3).nodes)
    for name in ("class_marginals", "leaf_marginals", "rule_counts", "log_evidence"):
        assert np.array_equal(getattr(one, name), getattr(many, name)), name
        parts = [getattr(parse_posterior(g, psi[i : i + 1]), name) for i in range(11)]
        alone = np.concatenate(parts)
        assert np.array_equal(getattr(one, name), alone), name
    before = one.sample(3)
    monkeypatch.setattr("hierdiff.theory.pcfg.inside_outside._SMALLEST", np.inf)
    assert np.array_equal(parse_posterior(g, psi).sample(3).nodes, before.nodes)


def test_extreme_evidence_is_exact() -> None:
    """A string of probability e^-4000, and evidence that differs by thousands."""
    g = RHM(4, 2, 2, 3).draw(0)
    data = g.sample(3, 1).leaves
    sharp = np.where(np.eye(4)[data] > 0, 0.0, -2000.0)
    sharp[0, 3] = np.roll(sharp[0, 3], 1)
    sharp[1, 0] -= 5000.0
    want, found = posterior(g, sharp), parse_posterior(PCFG.of(g), sharp)
    np.testing.assert_allclose(found.log_evidence, want.log_evidence, rtol=1e-12)
    np.testing.assert_allclose(found.leaf_marginals, want.marginals[3], atol=1e-11)
    assert found.log_evidence[0] < -1900


def test_nltk_parses_give_the_same_probability() -> None:
    nltk = pytest.importorskip("nltk")
    text = (
        "S -> NP VP [1.0]\nVP -> V NP [0.59] | V [0.4] | VP PP [0.01]\nPP -> P NP [1.0]\n"
        "NP -> 'I' [0.5] | NP PP [0.2] | D N [0.3]\nV -> 'saw' [0.65] | 'ate' [0.35]\n"
        "D -> 'the' [0.8] | 'my' [0.2]\nN -> 'dog' [0.5] | 'park' [0.5]\nP -> 'in' [0.6] "
        "| 'with' [0.4]"
    )
    ours, theirs = PCFG.from_text(text), nltk.PCFG.fromstring(text)
    words = ["I", "saw", "the", "dog", "in", "the", "park", "with", "my", "dog"]
    number = {name: i - ours.N for i, name in enumerate(ours.names)}
    x = np.array([[number[w] for w in words]])
    found = parse_posterior(ours, logs(np.eye(ours.v)[x]))
    trees = list(nltk.parse.pchart.InsideChartParser(theirs).parse(words))
    assert len(trees) > 2
    total = sum(tree.prob() for tree in trees)
    assert np.exp(found.log_evidence[0]) == pytest.approx(total, rel=1e-12)
    assert np.exp(found.best().log_prob[0]) == pytest.approx(
        max(t.prob() for t in trees), rel=1e-12
    )


def test_estimation_never_loses_likelihood_and_finds_the_weights() -> None:
    noise = MaskingNoise(LAYERED.v)
    x = [LAYERED.sample(2000, n, length=n).x0 for n in (2, 3, 4, 5)]
    noisy = [noise.evidence(noise.corrupt(a, 0.2, i), 0.2) for i, a in enumerate(x)]
    start = LAYERED.reweighted(
        np.ones(len(LAYERED.weights)) / np.bincount(LAYERED.parents)[LAYERED.parents]
    )
    fit = fit_weights(start, noisy[:2], steps=4, fit_prior=True)
    assert (np.diff(fit.log_likelihood) > -1e-9).all()
    # at the truth, with all lengths in their proportions, expected counts are those of the weights
    law = LAYERED.length_law(12)
    counts = np.zeros(len(LAYERED.weights))
    for n in np.flatnonzero(law):
        every = parse_posterior(LAYERED, np.zeros((1, n, LAYERED.v)))
        counts += law[n] * every.rule_counts[0]
    total = np.bincount(LAYERED.parents, counts)[LAYERED.parents]
    np.testing.assert_allclose(counts / total, LAYERED.weights, atol=1e-12)


def test_bad_input_is_told_in_one_line() -> None:
    flat = np.zeros((2, 4, 2))
    with pytest.raises(InvalidParameter, match=r"level = 3 must be") as error:
        parse_posterior(LAYERED, flat).spans(3)
    one_line(error)
    for wrong, words in ((np.zeros((2, 4)), "shape"), (np.full((1, 4, 2), np.nan), "NaN"),
                         (np.full((1, 4, 2), -np.inf), "every symbol"),
                         (np.zeros((1, 30, 2)), "length = 30 has no derivation")):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words) as error:
            parse_posterior(LAYERED, wrong)
        one_line(error)
    with pytest.raises(InvalidParameter, match="root") as error:
        parse_posterior(LAYERED, flat, root=2)
    one_line(error)
    with pytest.raises(
        InvalidParameter, match=r"2000 leaves need up to .* GB, about .* s"
    ) as error:
        parse_posterior(RECURSIVE, np.zeros((1, 2000, 3)))
    one_line(error)
    only_c = logs(np.eye(3)[[[2, 2, 2]]])
    with pytest.raises(ImpossibleEvidence, match="probability zero") as error:
        parse_posterior(RECURSIVE, only_c)
    one_line(error)
    with pytest.raises(InvalidParameter, match="need levels") as error:
        _ = parse_posterior(RECURSIVE, np.zeros((1, 3, 3))).starts
    one_line(error)
