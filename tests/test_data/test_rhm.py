"""The model's parameters and draws, and how grammars are built."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pickle
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import oracles
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import AMBIGUOUS, FIXTURE, all_strings, one_line
from scipy import stats

from hierdiff.data.derivations import draw_tuples
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter

# Chi-square tests use fixed seeds; a true law fails one of them with this probability.
SIGNIFICANCE = 1e-4
REJECTED = 1e-6

TREES = settings(deadline=None, max_examples=60)

# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v", "m", "s", "L", "n_classes"])
@pytest.mark.parametrize("value", [0, -1, 2.0, 2.5, True, "2", np.float64(2), np.bool_(True)])
def test_sizes_must_be_positive_integers(name: str, value: Any) -> None:
    sizes: dict[str, Any] = {"v": 4, "m": 2, "s": 2, "L": 2} | {name: value}
    with pytest.raises(InvalidParameter, match=f"^{name} = .* must be an integer >= 1") as error:
        RHM(**sizes)
    one_line(error)


def test_too_many_rules_name_the_numbers_and_the_remedy() -> None:
    with pytest.raises(InvalidParameter) as error:
        RHM(16, 17, 2, 3)
    assert one_line(error) == (
        "m * v = 272 rules exceed the v**s = 256 available tuples; lower m or raise s"
    )
    with pytest.raises(InvalidParameter, match=r"^m \* n_classes = 18 rules .* lower m or n_cl"):
        RHM(4, 2, 2, 2, n_classes=9)
    assert RHM(16, 16, 2, 3).m == 16


def test_numpy_integers_become_ints_and_classes_default_to_v() -> None:
    sizes: list[Any] = [np.int64(4), np.uint8(2), np.int32(2), np.int16(3)]
    rhm = RHM(*sizes)
    assert rhm == RHM(4, 2, 2, 3, n_classes=4)
    assert all(type(value) is int for value in dataclasses.astuple(rhm))
    with pytest.raises(dataclasses.FrozenInstanceError):
        rhm.v = 5  # type: ignore[misc]


def test_closed_forms() -> None:
    assert RHM(32, 8, 2, 10).f == 255 / 1023
    assert RHM(32, 8, 2, 10).log_n_data == pytest.approx(3074 * math.log(2), rel=1e-15)
    assert RHM(10, 5, 3, 2, n_classes=7).log_n_data == pytest.approx(math.log(7 * 5**4), rel=1e-15)
    assert RHM(3, 1, 1, 4).log_n_data == pytest.approx(math.log(3), rel=1e-15)
    assert RHM(4, 4, 2, 2).f == 1 == RHM(1, 1, 3, 2).f
    assert RHM(256, 2, 4, 2).n_leaves == 16


# --- drawing --------------------------------------------------------------------------------------


@given(strategies.rhms(), st.integers(0, 2**32))
@TREES
def test_drawn_rules_are_distinct_and_in_range(rhm: RHM, seed: int) -> None:
    grammar = rhm.draw(seed)
    assert grammar.v == (rhm.n_classes, *[rhm.v] * rhm.L)
    assert (grammar.m, grammar.s) == ((rhm.m,) * rhm.L, (rhm.s,) * rhm.L)
    for rules in grammar.rules:
        rows = {tuple(row) for row in rules.reshape(-1, rhm.s).tolist()}
        assert len(rows) == rules.shape[0] * rhm.m
        assert rules.min() >= 0
        assert rules.max() < rhm.v
    assert grammar.is_unambiguous
    assert grammar.is_uniform
    assert grammar == rhm.draw(seed)


Drawer = Callable[[int, int, int, np.random.Generator], NDArray[Any]]


def tuple_draws(draw: Drawer, count: int, v: int, s: int, repeats: int) -> list[bytes]:
    """Repeated ordered draws of ``count`` tuples, as hashable outcomes."""
    rng = np.random.default_rng(20240216991)
    return [draw(count, v, s, rng).astype(np.int64).tobytes() for _ in range(repeats)]


def tuple_law(count: int, v: int, s: int) -> dict[bytes, float]:
    """Uniform law of ordered draws of ``count`` distinct tuples out of v**s."""
    outcomes = list(itertools.permutations(all_strings(v, s), count))
    return {np.array(rows).tobytes(): 1 / len(outcomes) for rows in outcomes}


def with_replacement(
    count: int, v: int, s: int, rng: np.random.Generator
) -> NDArray[np.integer[Any]]:
    return rng.integers(v, size=(count, s))


def in_sorted_order(count: int, v: int, s: int, rng: np.random.Generator) -> NDArray[np.int32]:
    return np.unique(draw_tuples(count, v, s, rng), axis=0)


# Out of 4 tuples: the head of a permutation; out of 9 and 8: repetitions are dropped
@pytest.mark.parametrize(("count", "v", "s"), [(2, 2, 2), (4, 2, 2), (2, 3, 2), (2, 2, 3)])
def test_tuples_are_uniform_without_replacement(count: int, v: int, s: int) -> None:
    law = tuple_law(count, v, s)
    draws = tuple_draws(draw_tuples, count, v, s, repeats=10_000)
    assert oracles.frequency_p_value(draws, law) > SIGNIFICANCE


@pytest.mark.parametrize("wrong", [with_replacement, in_sorted_order])
def test_wrong_drawers_are_rejected(wrong: Drawer) -> None:
    law = tuple_law(2, 3, 2)
    draws = tuple_draws(wrong, 2, 3, 2, repeats=2_000)
    assert oracles.frequency_p_value(draws, law) < REJECTED


def test_full_level_holds_every_tuple_once() -> None:
    rules = RHM(5, 25, 3, 1).draw(seed=3).rules[0].reshape(-1, 3)
    assert np.array_equal(np.unique(rules, axis=0), all_strings(5, 3))


def test_four_billion_tuples_are_not_materialised() -> None:
    rhm = RHM(256, 256, 4, 2)
    tracemalloc.start()
    start = time.perf_counter()
    grammar = rhm.draw(seed=0)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grammar.is_unambiguous
    assert seconds < 5
    assert peak < 200e6  # 2 levels * 65,536 tuples; all of them would be 69 GB


def test_more_tuples_than_int64_can_number() -> None:
    grammar = RHM(1000, 20, 25, 1).draw(seed=0)
    counts = np.bincount(grammar.rules[0].ravel(), minlength=1000)
    assert stats.chisquare(counts).pvalue > SIGNIFICANCE
    trees = grammar.sample(50, seed=1)
    assert np.array_equal(grammar.parse(trees.leaves).levels[0], trees.levels[0])


def test_number_of_data() -> None:
    for rhm, count in ((RHM(4, 2, 2, 2), 32), (RHM(3, 2, 2, 2, n_classes=2), 16)):
        strings = oracles.string_probabilities(rhm.draw(seed=0))
        assert len(strings) == count == round(math.exp(rhm.log_n_data))
        assert set(strings.values()) == {1 / count}


def test_portable_grammar() -> None:
    root, leaf = (rules.tolist() for rules in oracles.lcg_rules(4, 2, 2, 2, seed=1))
    assert root == [[[3, 2], [2, 3]], [[2, 0], [0, 3]], [[0, 2], [3, 0]], [[0, 1], [3, 3]]]
    assert leaf == [[[0, 3], [0, 1]], [[1, 1], [0, 0]], [[3, 2], [1, 3]], [[3, 3], [3, 0]]]
    assert FIXTURE.parse([[3, 3, 3, 2]]).levels[0].tolist() == [[0]]


# --- construction ---------------------------------------------------------------------------------

RULES = [[[[0, 1], [1, 0]], [[1, 1], [0, 0]]], [[[0, 1]], [[2, 2]]]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([],), "L = 0 levels"),
        (([[[[0, 2]]], [[[0]], [[1]]]],), r"rules\[0\] holds symbol 2, but level 1 has 2 symbols"),
        (([[[[0, -1]]]],), r"rules\[0\] has entries from -1 to 0"),
        (([[[[0, 2**31]]]],), r"rules\[0\] has entries from 0 to 2147483648"),
        (([[[[0.0, 1.0]]]],), r"rules\[0\] has dtype float64"),
        (([[[[True, False]]]],), r"rules\[0\] has type bool"),
        (([[[0, 1]]],), r"rules\[0\] has shape \(1, 2\)"),
        (([[[[0, 1], [1]]]],), r"rules\[0\] is ragged"),
        (([np.empty((2, 0, 2), dtype=int)],), r"rules\[0\] has shape \(2, 0, 2\)"),
        ((RULES, [[[0.5, 0.5]] * 2]), "weights has 1 levels but rules has 2"),
        ((RULES, [[[0.5, 0.5]], [[1], [1]]]), r"weights\[0\] has shape \(1, 2\)"),
        ((RULES, [[[0.5, 0.6]] * 2, [[1], [1]]]), r"weights\[0\] has a row that sums to 1.1"),
        ((RULES, [[[0.5, 0.5 + 2e-9]] * 2, [[1], [1]]]), "sums to 1.000000002"),
        ((RULES, [[[1.5, -0.5]] * 2, [[1], [1]]]), r"weights\[0\] has entries that are negative"),
        ((RULES, [[[math.nan, 1]] * 2, [[1], [1]]]), r"weights\[0\] .* not finite"),
        ((RULES, [[["a", "b"]] * 2, [[1], [1]]]), r"weights\[0\] has type <U"),
        ((RULES, None, [0.5, 0.4]), "root_prior has a row that sums to 0.9, not 1"),
        ((RULES, None, [1.0]), r"root_prior has shape \(1,\)"),
    ],
)
def test_bad_grammars_get_one_line(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        Grammar(*arguments)
    one_line(error)


def test_leaf_vocabulary_must_hold_the_leaves() -> None:
    assert Grammar(RULES).v == (2, 2, 3)
    assert Grammar(RULES, leaf_vocabulary=7).v == (2, 2, 7)
    with pytest.raises(InvalidParameter, match="holds symbol 2, but level 2 has 2 symbols"):
        Grammar(RULES, leaf_vocabulary=2)
    with pytest.raises(InvalidParameter, match=r"leaf_vocabulary = 3\.0 must be an integer >= 1"):
        Grammar(RULES, leaf_vocabulary=3.0)  # type: ignore[arg-type]


def test_arrays_are_own_and_read_only() -> None:
    source = np.array(RULES[0])
    grammar = Grammar([source, RULES[1]])
    source[:] = 1
    assert grammar.rules[0].tolist() == RULES[0]
    arrays: list[NDArray[Any]] = [*grammar.rules, *grammar.weights, grammar.root_prior]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert {array.dtype for array in grammar.rules} == {np.dtype(np.int32)}


def test_weights_are_renormalised_once() -> None:
    rough = np.array([[1 / 3 + 1e-10, 1 / 3, 1 / 3]])
    grammar = Grammar([[[[0], [1], [2]]]], [rough])
    assert abs(grammar.weights[0].sum() - 1) < 1e-15
    assert Grammar(grammar.rules, grammar.weights) == grammar


def test_sizes_per_level() -> None:
    grammar = Grammar([[[[0, 1, 0]]], [[[0, 1]], [[2, 2]]]])
    assert (grammar.L, grammar.v, grammar.m, grammar.s) == (2, (1, 2, 3), (1, 1), (3, 2))
    assert [grammar.n_nodes(level) for level in range(3)] == [1, 3, 6]
    assert grammar.n_leaves == 6
    for level in (-1, 3, 1.0):
        with pytest.raises(InvalidParameter, match="is no level"):
            grammar.n_nodes(level)  # type: ignore[arg-type]


def test_equality_hash_and_repr() -> None:
    same = Grammar(AMBIGUOUS.rules, AMBIGUOUS.weights, AMBIGUOUS.root_prior)
    assert same == AMBIGUOUS
    assert hash(same) == hash(AMBIGUOUS)
    assert same != Grammar(AMBIGUOUS.rules)
    assert Grammar(RULES) != Grammar(RULES, leaf_vocabulary=4)
    assert same != "grammar"
    assert repr(AMBIGUOUS) == "Grammar(L=2, v=(2, 3, 2), m=2, s=2, weighted, ambiguous)"
    assert repr(RHM(4, 2, 2, 2).draw(0)) == "Grammar(L=2, v=4, m=2, s=2)"


def test_pickle_keeps_the_arrays_read_only() -> None:
    assert AMBIGUOUS.log_prob([[0, 1, 0, 1]])[0] < 0  # fills the caches, which must stay behind
    copy = pickle.loads(pickle.dumps(AMBIGUOUS))
    assert copy == AMBIGUOUS
    assert pickle.loads(pickle.dumps(Grammar(RULES, leaf_vocabulary=7))).v == (2, 2, 7)
    assert "_parser" not in vars(copy)
    assert not copy.rules[0].flags.writeable
