"""Samplers that reveal blocks of leaves follow their law; what has no answer is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracles import all_strings, frequency_p_value, one_line, string_probabilities
from unmasking_oracles import GRAMMARS, N, V, conditional

from hierdiff import RHM, LowRankMixture, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.sims import Autoregressive, ParallelUnmasking, UnmaskingModel
from hierdiff.theory import ExactMixture, ExactRHM
from hierdiff.theory.rhm.sampler_laws import remasked_log_prob, sampler_log_prob

GRAMMAR = GRAMMARS["uniform"]
EXACT = ExactRHM(GRAMMAR, MaskingNoise(V))
MASKED = np.full((6000, N), -1)


def p_value(made: np.ndarray, log_q: np.ndarray) -> float:
    law = dict(zip(map(tuple, all_strings(V, N).tolist()), np.exp(log_q).tolist(), strict=True))
    law = {x: q for x, q in law.items() if q > 0}
    return frequency_p_value([tuple(x) for x in made.tolist()], law)


@pytest.mark.parametrize("order", ["left to right", "spread", "confident", "unsure"])
def test_strings_follow_the_law_of_the_sampler(order: Any) -> None:
    """Also outside of the language; the law of other block sizes is rejected."""
    made = UnmaskingModel(EXACT, GRAMMAR, (2, 2), order).sample(MASKED, 1.0, seed=1)
    log_q = sampler_log_prob(GRAMMAR, all_strings(V, N), order, [2, 2])
    assert p_value(made, log_q) > 1e-4
    other = sampler_log_prob(GRAMMAR, all_strings(V, N), order, [1, 3])
    assert p_value(made, other) < 1e-6


def test_a_remasked_leaf_follows_its_law() -> None:
    """One round masks each of four leaves with equal chances."""
    made = UnmaskingModel(EXACT, GRAMMAR, (2, 2), "spread", 1, 1).sample(MASKED, 1.0, seed=2)
    every = all_strings(V, N)
    q = sum(
        np.exp(remasked_log_prob(GRAMMAR, every, "spread", [2, 2], [i])) for i in range(N)
    ) / N  # fmt: skip
    assert p_value(made, np.log(np.maximum(q, 1e-300))) > 1e-4
    before = sampler_log_prob(GRAMMAR, every, "spread", [2, 2])
    assert p_value(made, before) < 1e-6


def test_keeping_draws_follows_the_chain_of_its_definition() -> None:
    """Against an enumeration of all draws of two steps."""
    p = string_probabilities(GRAMMAR)
    law: dict[tuple[int, ...], float] = {}
    first = [conditional(p, {}, i) for i in range(N)]
    for draw in all_strings(V, N).tolist():
        scores = sorted((-round(first[i][draw[i]], 9), i) for i in range(N))
        kept = {i: draw[i] for _, i in scores[:2]}
        chance = float(np.prod([first[i][draw[i]] for i in range(N)]))
        if chance == 0 or not any(all(x[i] == a for i, a in kept.items()) for x in p):
            continue  # an impossible pair: how the sampler goes on is not enumerated
        rest = [i for i in range(N) if i not in kept]
        second = {i: conditional(p, kept, i) for i in rest}
        for a in range(V):
            for b in range(V):
                x = [kept.get(i, 0) for i in range(N)]
                x[rest[0]], x[rest[1]] = a, b
                more = chance * second[rest[0]][a] * second[rest[1]][b]
                law[tuple(x)] = law.get(tuple(x), 0.0) + more
    made = UnmaskingModel(EXACT, GRAMMAR, (2, 2), "kept").sample(MASKED, 1.0, seed=3)
    total = sum(law.values())
    inside = [tuple(x) for x in made.tolist() if law.get(tuple(x), 0.0) > 0]
    assert abs(len(inside) / len(made) - total) < 0.03
    if total > 1 - 1e-9:
        assert frequency_p_value(inside, {x: q for x, q in law.items() if q > 0}) > 1e-4


def test_leaves_that_are_seen_stay() -> None:
    x = GRAMMAR.sample(50, 1).leaves
    half = np.where(np.arange(N) < 2, x, -1)
    made = UnmaskingModel(EXACT, GRAMMAR, (1, 1, 1, 1), "random").sample(half, 0.5, seed=0)
    assert (made[:, :2] == x[:, :2]).all()
    assert GRAMMAR.is_valid(made).all()


@pytest.mark.parametrize("one", [
    ParallelUnmasking(v=V, m=2, L=2, steps=(1, 2), data=4, strings=4, grammars=2, sizes=((2, 2),)),
    Autoregressive(v=V, m=2, L=2, data=4, strings=4, grammars=2, contexts=(0, 1)),
], ids=lambda e: e.name)  # fmt: skip
def test_models_without_conditionals_are_refused(one: Any) -> None:
    mixture = ExactMixture(LowRankMixture.random(6, 2, 3, delta=0.1, seed=0), GaussianNoise())
    for model, data, words in (
        (ExactRHM(GRAMMAR, UniformNoise(V)), None, "no conditionals given revealed leaves"),
        (ExactRHM(GRAMMAR, GaussianNoise(V)), None, "no conditionals given revealed leaves"),
        (mixture, None, "has no grammar"), (mixture, GRAMMAR, "no conditionals"),
        (None, GRAMMAR, "without the model"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words) as error:
            one.measure(model, data)
        one_line(error)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: UnmaskingModel(EXACT, GRAMMAR, (2, 1)), "sum to 3"),
    (lambda: UnmaskingModel(EXACT, GRAMMAR, (4,), "upwards"), "order"),
    (lambda: UnmaskingModel(EXACT, GRAMMAR, (4,), "spread", 1, 5), "again"),
    (lambda: UnmaskingModel(ExactRHM(GRAMMAR, UniformNoise(V)), GRAMMAR, (4,)), "no conditionals"),
    (lambda: UnmaskingModel(EXACT, GRAMMAR, (4,)).sample(MASKED[:, :2], 1.0, 0), "x_t has shape"),
    (lambda: ParallelUnmasking(L=3, steps=(1, 9)), "more than the 8 leaves"),
    (lambda: ParallelUnmasking(steps=(2, 1)), "steps"),
    (lambda: ParallelUnmasking(sizes=((2, 3, 4),)), "pair of m and L"),
    (lambda: Autoregressive(L=2, contexts=(0, 4)), "3 before it at most"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(make: Any, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        make()
    one_line(error)


def test_a_given_model_is_compared_on_its_own_grammar(tmp_path: Any) -> None:
    from hierdiff.sims.run import run

    grammar = RHM(4, 2, 2, 2).draw(0)
    model = ExactRHM(grammar, MaskingNoise(4))
    for one in (
        ParallelUnmasking(v=4, m=2, L=3, steps=(1, 2, 4), data=60, strings=60, grammars=2,
                          sizes=((2, 2),)),
        Autoregressive(v=4, m=2, L=3, data=60, strings=60, grammars=2, contexts=(0, 1, 7)),
    ):  # fmt: skip
        found = run(one, model, out=tmp_path / one.name)
        assert set(found) == {one.name, f"{one.name}_theory"}
        law, ds = found[f"{one.name}_theory"], found[one.name]
        gap = law.divergence - ds.divergence
        error = np.hypot(law.divergence_error, ds.divergence_error)
        assert (abs(gap) < 4.5 * error + 1e-9).all()
