"""Upper bounds: against enumeration, sampling without replacement, and density evolution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from laws import Laws

from hierdiff import RHM, EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import noise_process
from hierdiff.theory import (
    critical_level,
    level_set_bound,
    level_set_laws,
    level_set_threshold,
    overlap_bound,
    overlap_threshold,
    population_dynamics,
    support_bound,
    support_threshold,
    threshold_upper_bound,
)
from hierdiff.theory.rhm.bounds import _hypergeometric, _rank_table, _reached
from hierdiff.theory.rhm.density_evolution import leaf_messages, step_up

REAL = ("masking", "uniform", "gaussian")


def test_ranks_are_those_of_all_rule_tables() -> None:
    """(v, m, s) = (3, 2, 2): 1680 tables with the true tuple 0, for every number allowed."""
    tables = [
        ((0, a), b, c)
        for a in range(1, 9)
        for b in itertools.combinations(sorted(set(range(1, 9)) - {a}), 2)
        for c in itertools.combinations(sorted(set(range(1, 9)) - {a, *b}), 2)
    ]
    assert len(tables) == 1680
    law = np.zeros((9, 3))
    for n, table in itertools.product(range(1, 10), tables):
        counts = [sum(t < n for t in rules) for rules in table]  # tuples 0 ... n - 1 are allowed
        for h in range(1, counts[0] + 1):
            law[n - 1, sum(c >= h for c in counts) - 1] += 1 / counts[0] / len(tables)
    np.testing.assert_allclose(_rank_table(3, 2, 2, 3), law, atol=1e-12)


def test_numbers_drawn_without_replacement() -> None:
    from scipy.stats import hypergeom

    k, drawn = np.arange(8), np.arange(-1, 21)
    law = _hypergeometric(k, 20, 7, drawn)
    for row, d in zip(law, drawn, strict=True):
        expected = hypergeom.pmf(k, 20, 7, d) if d >= 0 else np.zeros(8)
        np.testing.assert_allclose(row, expected, atol=1e-12)
    np.testing.assert_allclose(_reached(2, 3, 1).sum(axis=1), 1)
    # two of six rules: both of one symbol in 3 of 15 choices
    np.testing.assert_allclose(_reached(2, 3, 1)[2], [0, 0.2, 0.8, 0])


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize(("v", "s"), [(4, 2), (3, 3)])
def test_overlaps_of_rules_that_fill_all_tuples_are_known(kind: str, v: int, s: int) -> None:
    """m = v^(s-1): S does not vary, and the bound is an identity."""
    rhm, random = RHM(v, v ** (s - 1), s, 1), np.random.default_rng(7)
    leaves = leaf_messages(noise_process(kind, v), 0.4, 40_000, random)
    overlaps = (step_up(leaves, rhm, v, random) ** 2).sum(axis=1)
    expected = overlap_bound(rhm, float((leaves**2).sum(axis=1).mean()))
    error = overlaps.std() / np.sqrt(len(overlaps))
    assert abs(overlaps.mean() - expected) < 4 * error
    assert expected - 1 / v > 20 * error


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("sizes", [(32, 8, 2), (16, 4, 2), (8, 3, 2), (8, 12, 3)])
def test_overlaps_stay_below_their_bound(kind: str, sizes: tuple[int, int, int]) -> None:
    rhm, random = RHM(*sizes, 1), np.random.default_rng(8)
    for t in (0.3, 0.6, 0.8, 0.95):
        messages = leaf_messages(noise_process(kind, rhm.v), t, 4000, random)
        for _ in range(3):
            above = step_up(messages, rhm, rhm.v, random)
            below, overlap = (float((x**2).sum(axis=1).mean()) for x in (messages, above))
            error = float((above**2).sum(axis=1).std()) / np.sqrt(len(above))
            assert overlap < overlap_bound(rhm, max(below, 1 / rhm.v)) + 4 * error
            messages = above


@pytest.mark.parametrize(
    ("sizes", "ts"),
    [((32, 8, 2), (0.2, 0.3, 0.45)), ((16, 4, 2), (0.4, 0.6, 0.9)), ((8, 12, 3), (0.2, 0.35))],
)
def test_density_evolution_lies_between_the_bounds(
    sizes: tuple[int, int, int], ts: tuple[float, ...], laws: Laws
) -> None:
    """Below: support sets; above: level sets.  Support sets taken for an upper bound fail."""
    rhm, law = RHM(*sizes, 4), "bounds of masking and uniform noise bracket density evolution"
    worst, planted = [], []
    for t in ts:
        found = population_dynamics(rhm, MaskingNoise(rhm.v), t, size=1500, copies=5)
        low, high = support_bound(rhm, t), level_set_bound(rhm, t)
        assert np.all(low <= high + 1e-12)
        error = np.hypot(found.upward_error, 1e-6)
        # above the leaves, where both bounds are equalities
        gaps = np.maximum(low - found.upward, found.upward - high) / error
        worst.append(gaps[:4])
        planted.append((found.upward - low)[:4] / error[:4])
        uniform = population_dynamics(rhm, UniformNoise(rhm.v), t, size=1500, copies=5)
        error = np.hypot(uniform.upward_error, 1e-6)
        worst.append(((uniform.upward - high) / error)[:4])
    laws.holds(law, np.maximum(np.array(worst), 0))
    laws.rejects(law, "support sets as an upper bound", np.array(planted))
    assert np.max(worst) < 4
    assert np.max(planted) > 8


@pytest.mark.parametrize("sizes", [(32, 8, 2), (24, 6, 2), (16, 8, 3)])
def test_bounds_without_sampling_bracket_each_other(sizes: tuple[int, int, int]) -> None:
    rhm = RHM(*sizes, 1)
    assert 0 < support_threshold(rhm) < level_set_threshold(rhm) < 1
    assert 1 / rhm.v < overlap_threshold(rhm) < 1
    q = overlap_threshold(rhm)
    assert overlap_bound(rhm, q) == pytest.approx(q, abs=1e-12)
    assert overlap_bound(rhm, 0.9 * q) < 0.9 * q


def test_values_at_the_papers_sizes() -> None:
    rhm = RHM(32, 8, 2, 1)
    assert level_set_threshold(rhm) == pytest.approx(0.397947, abs=1e-6)
    assert overlap_threshold(rhm) == pytest.approx(0.106911, abs=1e-6)
    np.testing.assert_allclose(level_set_laws(RHM(8, 3, 2, 3), 0.4).sum(axis=1), 1)


@pytest.mark.parametrize("kind", REAL)
def test_thresholds_lie_below_their_upper_bound(kind: str, laws: Laws) -> None:
    rhm, noise = RHM(16, 4, 2, 1), noise_process(kind, 16)
    found = critical_level(rhm, noise, size=500, copies=3, depth=20)
    bounds = [threshold_upper_bound(rhm, noise, levels=n, size=500, copies=3) for n in (0, 5, 20)]
    values = [b.value for b in bounds]
    assert values == sorted(values, reverse=True)
    law = "thresholds of density evolution lie below their upper bound"
    z = (found.value - values[2]) / np.hypot(found.error, bounds[2].error)
    laws.holds(law, max(z, 0.0))
    assert z < 4
    if kind == "masking":
        wrong = (found.value - support_threshold(rhm)) / found.error
        laws.rejects(law, "threshold of support sets as an upper bound", wrong)
        assert wrong > 3
    if kind != "gaussian":
        assert found.value < level_set_threshold(rhm)
    assert (bounds[0].snr is not None) == isinstance(noise, GaussianNoise)


def test_bad_requests() -> None:
    rhm = RHM(16, 4, 2, 1)
    cases = {
        "below 1/v": lambda: overlap_bound(rhm, 0.01),
        "q = 2": lambda: overlap_bound(rhm, 2),
        "proves no loss": lambda: overlap_threshold(RHM(8, 3, 2, 1)),
        "noise = epsilon": lambda: threshold_upper_bound(rhm, EpsilonNoise(16)),
        r"noise\.v = 8": lambda: threshold_upper_bound(rhm, MaskingNoise(8)),
        "size = 10": lambda: threshold_upper_bound(rhm, MaskingNoise(16), size=10),
        "exceed 1000": lambda: level_set_threshold(RHM(64, 16, 2, 1)),
        "t = -1": lambda: level_set_bound(rhm, -1),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        assert "\n" not in str(error.value)
    for call in (level_set_threshold, overlap_threshold):
        with pytest.raises(NoTransition, match="always lost"):
            call(RHM(32, 20, 2, 1))
