"""Grammars of varying trees: laws of lengths, samples, text, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.polynomial import polynomial
from oracles import AMBIGUOUS, one_line
from pcfg_oracles import LAYERED, RECURSIVE, UNARY, derivations
from scipy import stats

from hierdiff import DataModel
from hierdiff.data.parse_trees import Parses
from hierdiff.data.pcfg import PCFG
from hierdiff.errors import InvalidParameter
from hierdiff.fingerprints import fingerprint


def generating_functions(g: PCFG) -> list[Any]:
    """Polynomials whose coefficients are the laws of the lengths, symbol by symbol."""
    done: list[Any] = [None] * g.N + [np.array([0.0, 1.0])] * g.v
    for a in reversed(range(g.N)):
        total: Any = np.zeros(1)
        for _, children, w in (rule for rule in g.rules if rule[0] == a):
            product: Any = np.array([w])
            for c in children:
                product = polynomial.polymul(product, done[c])
            total = polynomial.polyadd(total, product)
        done[a] = total
    return done


@pytest.mark.parametrize(
    "g", [LAYERED, PCFG.random(4, {2: 2, 3: 1}, 3, 0), PCFG.random(3, {1: 1, 4: 2}, 2, 1)]
)
def test_lengths_follow_the_branching_process(g: PCFG) -> None:
    every = generating_functions(g)
    want: Any = np.zeros(1)
    for p, f in zip(g.root_prior, every, strict=False):
        want = polynomial.polyadd(want, p * f)
    law = g.length_law(len(want) - 1)
    np.testing.assert_allclose(law, want, atol=1e-14)
    assert law.sum() == pytest.approx(1)
    assert g.mean_length == pytest.approx(law @ np.arange(len(law)))


@pytest.mark.parametrize("g", [LAYERED, RECURSIVE, UNARY])
def test_samples_are_trees_of_the_grammar_and_lengths_have_their_law(g: PCFG) -> None:
    drawn = g.sample(4000, 0)
    for i in range(50):
        check_tree(g, drawn.tree(i).tolist())
    law = g.length_law(40)
    often = law * 4000 > 8
    counts = np.bincount(drawn.lengths, minlength=41)[:41]
    seen, want = counts[often], law[often] * 4000
    rest = [4000 - seen.sum()], [4000 - want.sum()]
    if rest[1][0] < 1e-6:  # all lengths are counted, and rounding decides what is left
        assert rest[0] == [0]
        rest = [], []
    assert stats.chisquare([*seen, *rest[0]], [*want, *rest[1]]).pvalue > 1e-4


def check_tree(g: PCFG, nodes: list[list[int]]) -> None:
    """Every node has the children of its rule, side by side and in preorder."""

    def follow(k: int) -> int:
        symbol, start, end, rule = nodes[k]
        if rule < 0:
            assert symbol >= g.N
            assert end == start + 1
            return k + 1
        assert g.parents[rule] == symbol
        at, k = start, k + 1
        for child in g.children[rule]:
            assert nodes[k][:2] == [child, at]
            at, k = nodes[k][2], follow(k)
        assert at == end
        return k

    assert follow(0) == len(nodes)


@pytest.mark.parametrize("g", [LAYERED, RECURSIVE])
def test_samples_of_a_length_have_the_law_of_enumeration(g: PCFG) -> None:
    n, size = 4, 20_000
    drawn = g.sample(size, 1, length=n)
    expected = {}
    for root in np.flatnonzero(g.root_prior):
        for p, nodes in derivations(g, int(root), n):
            expected[nodes] = float(p * g.root_prior[root])
    total = sum(expected.values())
    assert total == pytest.approx(g.length_law(n)[n])
    counts = dict.fromkeys(expected, 0)
    for i in range(size):
        counts[tuple(map(tuple, drawn.tree(i).tolist()))] += 1
    p = np.array([expected[k] / total for k in counts])
    np.testing.assert_allclose(
        drawn.log_prob[:20],
        [np.log(expected[tuple(map(tuple, drawn.tree(i).tolist()))]) for i in range(20)],
    )
    often = p * size > 8
    seen = np.array(list(counts.values()))
    rare = [int(seen[~often].sum())] if not often.all() else []
    expectation = [*size * p[often], *([size * p[~often].sum()] if rare else [])]
    assert stats.chisquare([*seen[often], *rare], expectation).pvalue > 1e-4
    assert stats.chisquare([*seen[often][::-1], *rare], expectation).pvalue < 1e-6


def test_levels_of_trees() -> None:
    drawn = LAYERED.sample(200, 3, length=5)
    assert isinstance(LAYERED, DataModel)
    assert [x.shape for x in drawn.latents] == [(200, 5)] * 3
    assert np.array_equal(drawn.latents[2], drawn.x0)
    assert np.array_equal(drawn.latents[0], np.repeat(drawn.labels[:, None], 5, axis=1))
    assert drawn.starts(0)[:, 1:].sum() == 0
    assert drawn.starts(2).all()
    for i in range(200):
        mine = [x for x in drawn.tree(i).tolist() if LAYERED.level_of[x[0]] == 1]
        assert np.flatnonzero(drawn.starts(1)[i]).tolist() == [x[1] for x in mine]
    free = LAYERED.sample(40, 3)
    assert (free.latents[1] == -1).sum() == (free.x0 == -1).sum()
    picked = free[[3, 1]]
    assert np.array_equal(picked.tree(0), free.tree(3))
    assert picked.to_text(1).count("(") == (free.tree(1)[:, 3] >= 0).sum()


def test_copies_are_equal_and_have_one_fingerprint() -> None:
    for g in (LAYERED, RECURSIVE):
        _ = g.binarised
        again = pickle.loads(pickle.dumps(g))
        assert again == g
        assert hash(again) == hash(g)
        assert fingerprint(again) == fingerprint(g)
        assert g.reweighted(g.weights) == g
    assert PCFG.of(AMBIGUOUS) != LAYERED
    assert fingerprint(LAYERED.given(0)) != fingerprint(LAYERED)
    assert isinstance(LAYERED.sample(1, 0), Parses)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("S -> A [1.0]\nA -> S [1.0]\nB -> 'b' [1.0]", "cycle without end"),
        ("S -> S S [1.0]\nB -> 'b' [1.0]", "never end"),
        ("S -> 'a' [1.0]\nB -> 'b' [1.0]", "reached from no root"),
        ("S -> 'a' [0.5]", "sum to 0.5"),
        ("S -> 'a' [0.5] | 'a' [0.5]", "twice"),
        ("S -> A [1.0] | 'a' [0.0]", "has no rule"),
        ("S => 'a' [1.0]", "is no rule"),
        ("S -> 'a'", "a probability"),
        ("S -> 'a' [x]", "must be a probability"),
        ("S -> S [1.0]", "no terminal"),
        ("", "no rule"),
    ],
)
def test_bad_grammars_are_told_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        PCFG.from_text(text)
    one_line(error)


def test_bad_input_is_told_in_one_line() -> None:
    rules = [{2: [[[0, 1]]]}]
    calls: list[tuple[Any, str]] = [
        (lambda: PCFG.layered([{2: [[0, 1]]}]), "shape"),
        (lambda: PCFG.layered(rules, [{3: [[1.0]]}]), "arities"),
        (lambda: PCFG.layered(rules, [{2: [[0.5]]}]), "sums to"),
        (lambda: PCFG.layered([{2: [[[0, 3]]]}, *rules]), "holds symbol 3"),
        (lambda: PCFG.random(2, {2: 3}, 2, 0), "exceed"),
        (lambda: PCFG.random(2, {0: 3}, 2, 0), "arity"),
        (lambda: LAYERED.sample(3, 0, length=31), "no derivation"),
        (lambda: PCFG.from_text("S -> S S [0.5] | 'a' [0.5]").sample(1, 0), "infinite"),
        (lambda: LAYERED.reweighted([1.0]), "has 22 rules|shape"),
        (lambda: LAYERED.given(2), "label"),
        (lambda: RECURSIVE.sample(2, 0).starts(0), "no levels"),
        (lambda: PCFG([(0, (), 1.0)], 1, 1), "writes 0"),
        (lambda: PCFG([(0, (1,), np.nan)], 1, 1), "probability"),
    ]
    for call, words in calls:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
