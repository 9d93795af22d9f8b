"""Laws of the next leaf against explicit sums over all strings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from oracles import frequency_p_value, one_line, string_probabilities
from unmasking_oracles import GRAMMARS, NAMES, N, V, conditional, strings_of

from hierdiff import RHM, Grammar, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.sims import EmpiricalModel
from hierdiff.theory.rhm.next_token import (
    context_entropies,
    context_strings,
    half_read,
    masked_bound,
    next_token_entropies,
    opened_rules,
    reading_entropies,
)


def entropy(law: np.ndarray) -> float:
    return -sum(a * math.log(a) for a in law if a > 0)


@NAMES
def test_entropies_of_every_context_agree_with_tables(name: str) -> None:
    grammar = GRAMMARS[name]
    p = string_probabilities(grammar)
    want = np.zeros((N, N))
    for k in range(N):
        for c in range(N):
            for x, weight in p.items():
                state = {i: x[i] for i in range(max(k - c, 0), k)}
                want[k, c] += weight * entropy(conditional(p, state, k))
    total = -sum(w * math.log(w) for w in p.values())
    assert want[:, -1].sum() == pytest.approx(total, abs=1e-12)  # the chain rule
    found = context_entropies(grammar, tuple(range(N)), 3000, 1)
    assert (np.abs(found.mean - want) < 4.5 * np.maximum(found.error, 1e-9)).all()
    for c, estimate in enumerate(found.divergences):
        gap = abs(estimate.value - (want[:, c].sum() - total))
        assert gap < 4.5 * estimate.error + 1e-9
    whole = next_token_entropies(grammar, 3000, 1)
    np.testing.assert_allclose(whole.mean, found.mean[:, -1], atol=1e-12)
    assert abs(whole.total.value - total) < 4.5 * whole.total.error


def test_strings_of_short_context_follow_their_law() -> None:
    """Frequencies against the product of conditionals, and the divergence against that table."""
    grammar = GRAMMARS["uniform"]
    p = string_probabilities(grammar)
    for c in (0, 1, 2, 3):
        law: dict[tuple[int, ...], float] = {(): 1.0}
        for k in range(N):
            longer = {}
            for x, weight in law.items():
                q = conditional(p, {i: x[i] for i in range(max(k - c, 0), k)}, k)
                longer |= {(*x, a): weight * q[a] for a in range(V) if q[a] > 0}
            law = longer
        made = context_strings(grammar, c, 4000, 2)
        assert frequency_p_value([tuple(x) for x in made.tolist()], law) > 1e-4
        exact = sum(w * (math.log(w) - math.log(law[x])) for x, w in p.items())
        estimate = context_entropies(grammar, [c], 3000, 1).divergences[0]
        assert abs(estimate.value - exact) < 4.5 * estimate.error + 1e-9
    assert grammar.is_valid(context_strings(grammar, N - 1, 500, 2)).all()
    wrong = {x: 1 / len(law) for x in law}
    other = [tuple(x) for x in context_strings(grammar, 0, 4000, 2).tolist()]
    assert frequency_p_value(other, wrong) < 1e-6


def test_what_is_read_agrees_with_tables() -> None:
    """The entropy of the class after k leaves, by summation over derivations."""
    grammar = GRAMMARS["uniform"]
    x, weight = strings_of(string_probabilities(grammar))
    label = grammar.parse(x).levels[0][:, 0]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        found = reading_entropies(grammar, x, order)
        for k in range(N + 1):
            shown = order[:k]
            want = []
            for s in x:
                same = (x[:, shown] == s[shown]).all(axis=1)
                law = np.bincount(label[same], weight[same], minlength=V)
                want.append(entropy(law / law.sum()))
            np.testing.assert_allclose(found[0][:, k], want, atol=1e-10)
        assert np.allclose(found[2][:, -1], 0)


@NAMES
def test_the_bound_of_exact_conditionals_is_an_equality(name: str) -> None:
    grammar = GRAMMARS[name]
    x = grammar.sample(60, 1).leaves
    for seed in (0, 1):
        np.testing.assert_allclose(masked_bound(grammar, x, seed=seed), grammar.log_prob(x),
                                   atol=1e-10)  # fmt: skip
    memory = EmpiricalModel(grammar.sample(8, 3).leaves, MaskingNoise(V))
    assert masked_bound(grammar, x, memory).mean() < grammar.log_prob(x).mean() - 0.5


def test_rules_that_a_leaf_opens() -> None:
    mixed = Grammar([np.array([[[0, 1, 0]], [[1, 1, 0]]]), np.array([[[0, 1]], [[1, 0]]])])
    assert opened_rules(mixed).tolist() == [2, 0, 1, 0, 1, 0]
    rhm = RHM(4, 2, 3, 3)
    opened = opened_rules(rhm.draw(0))
    assert opened.sum() == 1 + 3 + 9
    assert math.log(4) + opened.sum() * math.log(2) == pytest.approx(rhm.log_n_data)


def test_half_of_what_can_be_known() -> None:
    assert half_read([1.0, 0.5, 0.0]) == 1.0
    assert half_read([1.0, 1.0, 0.4, 0.4]) == pytest.approx(1.5)
    assert np.isnan(half_read([1.0, 1.0]))


def test_contexts_outside_of_the_string_are_refused() -> None:
    grammar = GRAMMARS["uniform"]
    x = grammar.sample(3, 0).leaves
    for call, words in (
        (lambda: context_strings(grammar, 4, 10, 0), "4 leaves of context"),
        (lambda: context_entropies(grammar, [0, 4], 10, 0), "4 leaves of context"),
        (lambda: context_entropies(grammar, [2, 1], 10, 0), "contexts"),
        (lambda: reading_entropies(grammar, x, "kept"), "depends on the string"),
        (lambda: reading_entropies(grammar, x, [0, 0, 1, 2]), "no permutation"),
        (lambda: next_token_entropies(grammar, 1, 0), "n = 1"),
    ):
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
