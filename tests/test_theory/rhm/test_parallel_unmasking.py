"""Parallel unmasking against explicit tables of p and q of all strings."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from oracles import all_strings, one_line, string_probabilities
from unmasking_oracles import GRAMMARS, NAMES, N, Table, V, conditional, strings_of

from hierdiff import RHM, GaussianNoise, Grammar, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.sims import EmpiricalModel
from hierdiff.theory import ExactRHM
from hierdiff.theory.rhm.parallel_unmasking import (
    FLOOR,
    choose_block,
    even_sizes,
    order_ranks,
    spread_order,
    unmasking_terms,
)
from hierdiff.theory.rhm.sampler_laws import path_divergence, remasked_log_prob, sampler_log_prob
from hierdiff.theory.rhm.unmasking_schedules import (
    UnmaskingCurve,
    best_sizes,
    string_entropy,
    total_correlation,
    unmasking_curve,
)


def walk_of(p: Table, x: tuple[int, ...], order: Any, sizes: list[int]) -> float:
    """-log q of the string by the definition; ``order`` a permutation, confident or unsure."""
    state: dict[int, int] = {}
    total = 0.0
    for size in sizes:
        hidden = [i for i in range(N) if i not in state]
        law = {i: conditional(p, state, i) for i in hidden}
        if order in ("confident", "unsure"):
            sign = 1 if order == "confident" else -1
            scores = [(sign * round(-sum(a * math.log(a) for a in law[i] if a > 0), 9), i)
                      for i in hidden]  # fmt: skip
            block = [i for _, i in sorted(scores)[:size]]
        else:
            block = [i for i in order if i in hidden][:size]
        total -= sum(math.log(law[i][x[i]]) for i in block)
        state |= {i: x[i] for i in block}
    return total


def kept_walk(p: Table, x: tuple[int, ...], sizes: list[int]) -> float:
    """-log of the probability that the sampler *kept* writes x in the order in which it keeps x."""
    state: dict[int, int] = {}
    total = 0.0
    for size in sizes:
        hidden = [i for i in range(N) if i not in state]
        law = {i: conditional(p, state, i) for i in hidden}

        def block_of(y: dict[int, int], law: Any = law, size: int = size) -> tuple[int, ...]:
            scores = sorted((-round(law[place][a], 9), place) for place, a in y.items())
            return tuple(sorted(place for _, place in scores[:size]))

        wanted = block_of({i: x[i] for i in hidden})
        chance = 0.0
        for draw in itertools.product(range(V), repeat=len(hidden)):
            y = dict(zip(hidden, draw, strict=True))
            if block_of(y) == wanted and all(y[i] == x[i] for i in wanted):
                chance += math.prod(law[i][y[i]] for i in hidden)
        total -= math.log(chance)
        state |= {i: x[i] for i in wanted}
    return total


SCHEDULES = ([4], [1, 3], [2, 2], [3, 1], [2, 1, 1], [1, 1, 1, 1])


@NAMES
@pytest.mark.parametrize("sizes", SCHEDULES, ids=str)
def test_terms_agree_with_tables(name: str, sizes: list[int]) -> None:
    grammar = GRAMMARS[name]
    p = string_probabilities(grammar)
    x, weight = strings_of(p)
    for order in ([2, 0, 3, 1], "spread", "left to right", "confident", "unsure"):
        fixed = {"spread": [0, 2, 1, 3], "left to right": [0, 1, 2, 3]}.get(str(order), order)
        log_q = [-walk_of(p, tuple(s), fixed, sizes) for s in x]
        exact = weight @ (np.log(weight) - log_q)
        found = unmasking_terms(grammar, x, order, sizes)
        np.testing.assert_allclose(found.log_ratio, np.log(weight) - log_q, atol=1e-10)
        # the mean over data of what is averaged over draws is the same divergence
        for values in (found.cross, found.marginal):
            assert weight @ (values.sum(axis=1) + found.log_prob) == pytest.approx(exact, abs=1e-10)
        assert weight @ (found.chain.sum(axis=1) + found.log_prob) == pytest.approx(0, abs=1e-10)
        # the conditional total correlation of every step is no less than zero
        assert (weight @ (found.marginal - found.chain) > -1e-12).all()
        np.testing.assert_allclose(sampler_log_prob(grammar, x, order, sizes), log_q, atol=1e-10)
        if len(sizes) == N:
            assert abs(exact) < 1e-10


@NAMES
@pytest.mark.parametrize("sizes", SCHEDULES, ids=str)
def test_keeping_the_likeliest_draws_agrees_with_tables(name: str, sizes: list[int]) -> None:
    p = string_probabilities(GRAMMARS[name])
    x, weight = strings_of(p)
    found = unmasking_terms(GRAMMARS[name], x, "kept", sizes)
    want = [kept_walk(p, tuple(s), sizes) for s in x]
    np.testing.assert_allclose(found.surprise.sum(axis=1), want, atol=1e-9)
    assert weight @ found.log_ratio > 1e-3


@NAMES
def test_the_law_of_the_sampler_sums_to_one(name: str) -> None:
    """Also over strings outside of the language, which blocks can write."""
    every = all_strings(V, N)
    for order in ("spread", "confident", "unsure", [3, 0, 2, 1]):
        for sizes in ([4], [2, 2], [1, 2, 1]):
            q = np.exp(sampler_log_prob(GRAMMARS[name], every, order, sizes))
            assert q.sum() == pytest.approx(1, abs=1e-9)


@NAMES
def test_the_curve_agrees_with_tables(name: str) -> None:
    """Z(k) by summation over all strings and all sets of k leaves."""
    grammar = GRAMMARS[name]
    p = string_probabilities(grammar)
    want = np.zeros(N)
    for k in range(N):
        parts = []
        for shown in itertools.combinations(range(N), k):
            mean = 0.0
            for x, weight in p.items():
                state = {i: x[i] for i in shown}
                for i in set(range(N)) - set(shown):
                    law = conditional(p, state, i)
                    mean -= weight * sum(a * math.log(a) for a in law if a > 0) / (N - k)
            parts.append(mean)
        want[k] = np.mean(parts)
    entropy = -sum(w * math.log(w) for w in p.values())
    assert want.sum() == pytest.approx(entropy, abs=1e-12)  # the sum rule
    curve = unmasking_curve(grammar, 4000, 3)
    assert (np.abs(curve.mean - want) < 4.5 * np.maximum(curve.error, 1e-12)).all()
    for sizes in SCHEDULES:
        starts = np.cumsum(sizes) - sizes
        exact = want[starts] @ sizes - entropy
        found = curve.divergence(sizes)
        assert abs(found.value - exact) < 4.5 * found.error + 1e-9
    later = curve.divergence([2, 1], revealed=1)
    gap = later.value - (2 * want[1] + want[3] - want[1:].sum())
    assert abs(gap) < 4.5 * later.error + 1e-9
    dual = curve.dual_total_correlation
    assert abs(dual.value - (entropy - N * want[-1])) < 4.5 * dual.error + 1e-9
    if grammar.is_unambiguous:
        assert string_entropy(grammar) == pytest.approx(entropy, abs=1e-10)
        assert total_correlation(grammar) == pytest.approx(N * want[0] - entropy, abs=1e-10)
    else:
        with pytest.raises(InvalidParameter, match="ambiguous"):
            string_entropy(grammar)


def test_the_mean_over_all_orders_is_the_divergence_of_the_curve() -> None:
    """The pair of string and order; the divergence of strings alone is smaller."""
    grammar, sizes = GRAMMARS["uniform"], [2, 2]
    x, weight = strings_of(string_probabilities(grammar))
    pairs, q = [], np.zeros(len(x))
    for order in itertools.permutations(range(N)):
        log_q = sampler_log_prob(grammar, x, order, sizes)
        pairs.append(weight @ (np.log(weight) - log_q))
        q += np.exp(log_q) / math.factorial(N)
    found = unmasking_curve(grammar, 4000, 3).divergence(sizes)
    assert abs(found.value - np.mean(pairs)) < 4.5 * found.error
    assert weight @ (np.log(weight) - np.log(q)) < np.mean(pairs) - 0.01
    drawn = grammar.sample(4000, 1).leaves
    other = unmasking_terms(grammar, drawn, "random", sizes, seed=5).divergence
    assert abs(other.value - np.mean(pairs)) < 4.5 * other.error


@NAMES
def test_remasking_agrees_with_tables(name: str) -> None:
    grammar, order, sizes = GRAMMARS[name], [0, 2, 1, 3], [2, 2]
    p = string_probabilities(grammar)
    x, weight = strings_of(p)
    every = all_strings(V, N)
    q = dict(zip(map(tuple, every.tolist()), np.exp(sampler_log_prob(grammar, every, order, sizes)),
                 strict=True))  # fmt: skip
    before = weight @ (np.log(weight) - sampler_log_prob(grammar, x, order, sizes))
    for again in ([0], [3], [0, 2], [1, 3], [0, 1]):
        want = []
        for s in x:
            rest = {i: int(s[i]) for i in range(N) if i not in again}
            total = 0.0
            for filling in itertools.product(range(V), repeat=len(again)):
                other = list(map(int, s))
                for i, a in zip(again, filling, strict=True):
                    other[i] = a
                total += q[tuple(other)]
            want.append(total * math.prod(conditional(p, rest, i)[s[i]] for i in again))
        found = remasked_log_prob(grammar, x, order, sizes, again)
        np.testing.assert_allclose(found, np.log(want), atol=1e-10)
        if len(again) == 1:  # one leaf leaves p as it is, so nothing is lost
            assert weight @ (np.log(weight) - found) <= before + 1e-12
    split = sampler_log_prob(grammar, x, [0, 2, 1, 3], [2, 1, 1])
    np.testing.assert_allclose(remasked_log_prob(grammar, x, order, sizes, [3]), split, atol=1e-10)
    nothing = remasked_log_prob(grammar, x, order, sizes, np.array([], int))
    np.testing.assert_allclose(nothing, sampler_log_prob(grammar, x, order, sizes), atol=1e-12)


def path_table(grammar: Grammar, times: list[float], uniform: bool) -> float:
    """Divergence of paths x_1 ... x_0 by enumeration of two leaves."""
    v, p = grammar.leaf_vocabulary, string_probabilities(grammar)
    states = list(itertools.product(range(-1 if not uniform else 0, v), repeat=2))
    words = list(itertools.product(range(v), repeat=2))

    def channel(x: int, b: int, kept: float) -> float:
        if uniform:
            return kept * (x == b) + (1 - kept) / v
        return kept * (x == b) + (1 - kept) * (x == -1)

    def step(x_t: int, x_s: int, s: float, t: float) -> float:
        if not uniform and x_s == -1:
            return float(x_t == -1)
        return channel(x_t, x_s, (1 - t) / (1 - s) if s < 1 else 1.0)

    total = 0.0
    for t, s in itertools.pairwise(times):
        for y in states:
            prior = {x0: p.get(x0, 0.0) * math.prod(channel(y[i], x0[i], 1 - t) for i in range(2))
                     for x0 in words}  # fmt: skip
            weight = sum(prior.values())
            if weight < 1e-15:
                continue
            joint: dict[tuple[int, ...], float] = {}
            for z in states if s > 0 else words:
                forward = math.prod(step(y[i], z[i], s, t) for i in range(2))
                clean = sum(
                    p.get(x0, 0.0) * math.prod(channel(z[i], x0[i], 1 - s) for i in range(2))
                    for x0 in words
                )
                joint[z] = clean * forward / weight
            for i in range(2):
                alone: dict[int, float] = {}
                for z, chance in joint.items():
                    alone[z[i]] = alone.get(z[i], 0.0) + chance
                total -= weight * sum(c * math.log(c) for c in alone.values() if c > 1e-15)
            total += weight * sum(c * math.log(c) for c in joint.values() if c > 1e-15)
    return total


@pytest.mark.parametrize("uniform", [False, True], ids=["masking", "uniform"])
def test_paths_agree_with_tables(uniform: bool) -> None:
    grammar = RHM(V, 2, 2, 1).draw(1)
    noise = UniformNoise(V) if uniform else MaskingNoise(V)
    for times in ([1.0, 0.0], [1.0, 0.6, 0.2, 0.0]):
        want = path_table(grammar, times, uniform)
        found = path_divergence(grammar, noise, times, 20_000, 2)
        assert abs(found.value - want) < 4.5 * found.error + 1e-9
        assert want > 0.05


def test_best_sizes_are_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 4, 7):
        z = np.sort(rng.random(n))[::-1]
        for steps in range(1, n + 1):
            ways = [
                np.diff([0, *cuts, n]) for cuts in itertools.combinations(range(1, n), steps - 1)
            ]
            cost = [z[np.cumsum(k) - k] @ k for k in ways]
            found = best_sizes(z, steps)
            assert found.sum() == n
            assert len(found) == steps
            assert z[np.cumsum(found) - found] @ found == pytest.approx(min(cost), abs=1e-12)


def test_the_limit_of_many_steps() -> None:
    """Eq. (3) for a smooth curve; without the term of single leaves it is wrong."""
    n = 400
    z = (1.3 - (np.arange(n) + 0.5) / n) ** 3
    curve = UnmaskingCurve(np.stack([z, z]), np.full(2, -z.sum()))
    for steps in (20, 40, 80):
        sizes, even = best_sizes(z, steps), even_sizes(n, steps)
        cost, equal = (z[np.cumsum(k) - k] @ k - z.sum() for k in (sizes, even))
        assert curve.smooth_limit(steps) == pytest.approx(cost, rel=0.04)
        assert (n / steps - 1) * (z[0] - z[-1]) / 2 == pytest.approx(equal, rel=0.04)
        assert equal > 1.1 * cost
    assert abs(curve.smooth_limit(80) + (z[0] - z[-1]) / 2 - cost) > 0.2 * cost


def test_orders_and_sizes() -> None:
    mixed = Grammar([np.array([[[0, 1, 0]], [[1, 1, 0]]]), np.array([[[0, 1]], [[1, 0]]])])
    assert spread_order(mixed).tolist() == [0, 2, 4, 1, 3, 5]
    ranks = order_ranks(GRAMMARS["uniform"], "random", 200, 0)
    assert ranks is not None
    assert (np.sort(ranks, axis=1) == np.arange(N)).all()
    assert len({tuple(r) for r in ranks.tolist()}) == 24
    assert even_sizes(7, 3).tolist() == [3, 2, 2]
    p = np.full((1, 3, 2), 0.5)
    tied = choose_block(p, np.zeros((1, 3), int), np.array([[True, False, False]]), 1, "confident")
    assert tied.tolist() == [[False, True, False]]


def test_a_model_pays_its_errors_and_the_price() -> None:
    """Eq. (3): exact inference in the role of a model pays nothing; a memory of data does."""
    grammar = GRAMMARS["uniform"]
    x = grammar.sample(300, 1).leaves
    exact = unmasking_terms(grammar, x, "spread", [2, 2])
    same = unmasking_terms(grammar, x, "spread", [2, 2], model=ExactRHM(grammar, MaskingNoise(V)))
    assert abs(same.learning.value) < 1e-12
    assert same.price.value == pytest.approx(exact.price.value, abs=1e-12)
    memory = EmpiricalModel(grammar.sample(6, 7).leaves, MaskingNoise(V))
    worse = unmasking_terms(grammar, x, "spread", [2, 2], model=memory)
    assert worse.learning.value > 1
    assert worse.floored > 0.05
    parts = worse.price.value + worse.learning.value
    assert abs(worse.divergence.value - parts) < worse.divergence.error
    lone = unmasking_terms(grammar, x, "confident", [1, 1, 1, 1]).divergence
    assert abs(lone.value) < 1e-9 > lone.error
    assert worse.surprise.max() <= 2 * -np.log(FLOOR) + 1e-9


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda g, x: unmasking_terms(g, x, [0, 1, 2, 2], [4]), "no permutation"),
        (lambda g, x: unmasking_terms(g, x, [0, 1, 2], [4]), "no permutation"),
        (lambda g, x: unmasking_terms(g, x, "backwards", [4]), "order = 'backwards'"),
        (lambda g, x: unmasking_terms(g, x, "spread", [2, 1]), "sum to 3"),
        (lambda g, x: unmasking_terms(g, x, "spread", [4, 0]), "sizes holds 0"),
        (lambda g, x: unmasking_terms(g, x, "spread", [5]), "sizes holds 5"),
        (lambda g, x: unmasking_terms(g, x, "spread", []), "sum to 0"),
        (lambda g, x: unmasking_terms(g, all_strings(V, N), "spread", [4]), "not in the language"),
        (lambda g, x: unmasking_terms(g, x[:0], "spread", [4]), "no string"),
        (lambda g, x: unmasking_terms(g, x, "spread", [4], model=ExactRHM(g, UniformNoise(V))),
         "no conditionals given revealed leaves"),
        (lambda g, x: unmasking_terms(g, x, "spread", [4], model=ExactRHM(g, GaussianNoise(V))),
         "gaussian noise"),
        (lambda g, x: even_sizes(4, 5), "steps = 5"),
        (lambda g, x: best_sizes([1.0, 0.5], 3), "steps = 3"),
        (lambda g, x: sampler_log_prob(g, x, "random", [4]), "in many ways"),
        (lambda g, x: remasked_log_prob(g, x, "spread", [4], [1, 1]), "twice"),
        (lambda g, x: remasked_log_prob(g, x, "spread", [4], [4]), "again holds 4"),
        (lambda g, x: path_divergence(g, GaussianNoise(V), [1, 0], 10, 0), "masking or uniform"),
        (lambda g, x: path_divergence(g, MaskingNoise(V), [0, 1], 10, 0), "fall from 1 to 0"),
        (lambda g, x: unmasking_curve(g, 1, 0), "n = 1"),
        (lambda g, x: unmasking_curve(g, 4, 0).divergence([2, 2], revealed=1), "sum to 4"),
        (lambda g, x: unmasking_curve(g, 4, 0).divergence([1], revealed=4), "revealed = 4"),
    ],
)  # fmt: skip
def test_what_has_no_answer_is_refused_in_one_line(call: Any, words: str) -> None:
    grammar = GRAMMARS["uniform"]
    with pytest.raises(InvalidParameter, match=words) as error:
        call(grammar, grammar.sample(5, 0).leaves)
    one_line(error)


def within(values: list[float], seen: float) -> bool:
    """Whether a number seen on one grammar is one of these, which other grammars have."""
    return abs(seen - np.mean(values)) < 4.5 * np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values))


@pytest.mark.parametrize("rare", [1e-3, 1e-40, 1e-80])
def test_rare_strings_are_possible(rare: float) -> None:
    """log q is that of rare symbols; only strings outside of the language have -inf."""
    rules = [[[[0, 1], [1, 0]], [[2, 2], [2, 2]], [[3, 3], [3, 3]]]]
    grammar = Grammar(rules, [[[1 - rare, rare], [0.5, 0.5], [0.5, 0.5]]], [0.5, 0.3, 0.2])
    expected = math.log(rare / 2)
    for sizes in ([1, 1], [2]):
        q = sampler_log_prob(grammar, [[1, 0], [1, 2], [0, 0]], "left to right", sizes)
        exact = [expected, -np.inf, -np.inf]
        if len(sizes) == 1:  # each leaf by itself
            exact = [2 * expected, expected + math.log(0.3), 2 * math.log(0.5) + math.log1p(-rare)
                     + math.log(rare)]  # fmt: skip
        assert q == pytest.approx(exact, rel=1e-9)
    again = remasked_log_prob(grammar, [[1, 0], [1, 2]], "left to right", [2], [1])
    assert again == pytest.approx([expected, -np.inf], rel=1e-9)
    # kept: the first leaf is drawn rare, and so is what the second may not beat
    terms = unmasking_terms(grammar, [[1, 0]], "kept", [1, 1])
    assert terms.surprise.sum() == pytest.approx(-2 * expected, rel=1e-9)


def test_a_product_of_many_rare_symbols_is_possible() -> None:
    grammar = Grammar([[[[0] * 16, [1] * 16, [2] * 16, [3] * 16]]], [[[0.997, 1e-3, 1e-3, 1e-3]]])
    q = sampler_log_prob(grammar, [[1] * 16], "left to right", [16])
    assert q == pytest.approx([16 * math.log(1e-3)], rel=1e-12)


def test_numbers_that_a_prototype_has_seen() -> None:
    """THEORY_2026, section C: 16 leaves at random order, and the order at 32 leaves."""
    rhm = RHM(8, 3, 2, 4)
    curves = [unmasking_curve(rhm.draw(g), 300, g) for g in range(6)]
    for g, curve in enumerate(curves):
        assert string_entropy(rhm.draw(g)) == pytest.approx(18.559, abs=5e-4)
        assert abs(curve.total.value - 18.559) < 4.5 * curve.total.error
    for steps, seen in ((1, 12.86), (2, 6.07), (4, 2.66), (8, 0.87)):
        found = [c.divergence(even_sizes(16, steps)).value for c in curves]
        assert within(found, seen), (steps, found)
    assert within([c.best(4)[1].value for c in curves], 2.63)
    for order, seen in (("left to right", 20.5), ("random", 2.0), ("spread", 0.46)):
        found = []
        for g in range(6):
            grammar = RHM(8, 3, 2, 5).draw(g)
            x = grammar.sample(150, g).leaves
            terms = unmasking_terms(grammar, x, order, even_sizes(32, 8), seed=g)
            found.append(terms.divergence.value)
        assert within(found, seen), (order, found)
    assert not within(found, 2.0)  # the last one, spread, is not what random order costs
