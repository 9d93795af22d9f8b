"""Support sets: all rule tables, the population, sampled grammars, and the bound."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from laws import Laws
from oracles import one_line

from hierdiff import RHM, MaskingNoise
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory import posterior
from hierdiff.theory.rhm.bounds import support_bound, support_laws, support_threshold
from hierdiff.theory.rhm.density_evolution import (
    critical_level,
    leaf_messages,
    population_dynamics,
    step_up,
)


def all_tables(v: int, m: int) -> list[list[set[tuple[int, int]]]]:
    """Every choice of rules for s = 2 in which (0, 0) is a rule of symbol 0, as sets per symbol."""
    rest = set(itertools.product(range(v), repeat=2)) - {(0, 0)}

    def fill(a: int, left: set[tuple[int, int]]) -> list[list[set[tuple[int, int]]]]:
        if a == v:
            return [[]]
        own = [{(0, 0)} | set(c) for c in itertools.combinations(sorted(left), m - 1)]
        sets = own if a == 0 else [set(c) for c in itertools.combinations(sorted(left), m)]
        return [[first, *more] for first in sets for more in fill(a + 1, left - first)]

    return fill(0, rest)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_one_level_is_the_average_over_all_rule_tables(t: float) -> None:
    v, m = 3, 2
    law = np.zeros(v)
    tables = all_tables(v, m)
    for masked in itertools.product([False, True], repeat=2):
        weight = np.prod([t if x else 1 - t for x in masked])
        open_ = [set(range(v)) if x else {0} for x in masked]
        allowed = set(itertools.product(*open_))
        for table in tables:
            law[sum(bool(rules & allowed) for rules in table) - 1] += weight / len(tables)
    np.testing.assert_allclose(support_laws(RHM(v, m, 2, 1), t)[0], law, atol=1e-14)


def counted(rhm: RHM, t: float, size: int, seed: int) -> np.ndarray:
    """Sizes of the support in a sampled population, [L + 1, size], root first."""
    random = np.random.default_rng(seed)
    levels = [leaf_messages(MaskingNoise(rhm.v), t, size, random)]
    for level in range(rhm.L - 1, -1, -1):
        levels.insert(0, step_up(levels[0], rhm, rhm.v if level else rhm.n_classes, random))
    return np.array([(p > 0).sum(axis=1) for p in levels])


def z_scores(rhm: RHM, t: float, law: np.ndarray, copies: int = 12) -> np.ndarray:
    runs = [(counted(rhm, t, 4000, seed) == 1).mean(axis=1) for seed in range(copies)]
    error = np.maximum(np.std(runs, axis=0, ddof=1) / np.sqrt(copies), 1e-4)
    return (np.mean(runs, axis=0) - law[:, 0]) / error


def test_the_population_has_this_law_and_no_other(laws: Laws) -> None:
    rhm = RHM(16, 4, 2, 5)
    z = z_scores(rhm, 0.4, support_laws(rhm, 0.4))
    laws.holds("support sets of masking against the population", z)
    assert np.abs(z).max() < 4
    # drawing the tuples with repetition is the planted wrong law: support sets come out too small
    wrong = {"another noise level": support_laws(rhm, 0.45), "tuples repeat": repeated(rhm, 0.4)}
    for name, law in wrong.items():
        z = z_scores(rhm, 0.4, law)
        laws.rejects("support sets of masking against the population", name, z)
        assert np.abs(z).max() > 5


def repeated(rhm: RHM, t: float) -> np.ndarray:
    """Law of the size if every allowed tuple fell on a symbol independently."""
    law = np.zeros(rhm.v)
    law[0], law[-1] = 1 - t, t
    rows = [law]
    for _ in range(rhm.L):
        new = np.zeros(rhm.v)
        for a, b in itertools.product(range(rhm.v), repeat=2):
            n = (a + 1) * (b + 1) - 1
            hit = 1 - (1 - rhm.m / (rhm.v**2 - 1)) ** n
            k = np.arange(rhm.v)
            ways = np.array([float(np.prod([(rhm.v - 1 - i) / (i + 1) for i in range(j)]))
                             for j in k])  # fmt: skip
            new += law[a] * law[b] * ways * hit**k * (1 - hit) ** (rhm.v - 1 - k)
        rows.insert(0, new)
        law = new
    return np.array(rows)


def test_grammars_that_share_their_rules_follow_it_closely() -> None:
    rhm, t = RHM(32, 8, 2, 4), 0.25
    certain = []
    for seed in range(30):
        grammar = rhm.draw(seed)
        data = grammar.sample(20, seed)
        x_t = MaskingNoise(32).corrupt(data.leaves, t, seed)
        root = posterior(grammar, MaskingNoise(32).evidence(x_t, t)).up[0][:, 0]
        certain.append(((root > 0).sum(axis=1) == 1).mean())
    error = np.std(certain, ddof=1) / np.sqrt(len(certain))
    assert abs(np.mean(certain) - support_laws(rhm, t)[0, 0]) < 4 * error + 0.02


@pytest.mark.parametrize("t", [0.15, 0.25, 0.35])
def test_the_bound_lies_below_the_belief(t: float) -> None:
    rhm = RHM(32, 8, 2, 6)
    found = population_dynamics(rhm, MaskingNoise(32), t, size=3000)
    bound = support_bound(rhm, t)
    assert np.all(bound <= found.upward + 4 * found.upward_error + 1e-12)
    assert bound[0] > 0.2 * found.upward[0]


def test_the_threshold_lies_below_that_of_the_class() -> None:
    rhm = RHM(16, 4, 2, 1)
    bound = support_threshold(rhm)
    found = critical_level(rhm, MaskingNoise(16), size=800, copies=4)
    assert 0 < (found.value - bound) < 0.1
    assert (found.value - bound) > 4 * found.error
    certain = support_laws(RHM(16, 4, 2, 60), bound - 0.01)[0, 0]
    open_ = support_laws(RHM(16, 4, 2, 60), bound + 0.01)[0, 0]
    assert certain > 0.999
    assert open_ < 1e-6


@pytest.mark.slow
def test_the_bound_holds_where_the_mean_belief_first_falls() -> None:
    """At m = 2 the informed population starts near chance and recovers: it must not be cut off."""
    rhm = RHM(16, 2, 2, 1)
    found = critical_level(rhm, MaskingNoise(16), size=4000, copies=3, depth=24)
    assert found.value > support_threshold(rhm) + 4 * found.error


def test_laws_are_laws() -> None:
    laws = support_laws(RHM(6, 3, 3, 3, n_classes=9), 0.3)
    assert laws.shape == (4, 9)
    np.testing.assert_allclose(laws.sum(axis=1), 1, atol=1e-13)
    assert np.all(laws >= 0)
    assert np.all(support_laws(RHM(6, 3, 3, 3), 1.0)[:, -1] == 1)


def test_bad_requests() -> None:
    cases = [
        (InvalidParameter, "t = 1.2 is outside", lambda: support_laws(RHM(4, 2, 2, 2), 1.2)),
        (InvalidParameter, "exceed 2", lambda: support_laws(RHM(300, 2, 4, 1), 0.2)),
        (NoTransition, r"F'\(1\) = 1.09", lambda: support_threshold(RHM(32, 18, 2, 1))),
        (NoTransition, "m = 1", lambda: support_threshold(RHM(32, 1, 2, 1))),
    ]
    for kind, words, call in cases:
        with pytest.raises(kind, match=words) as error:
            call()
        assert one_line(error)
