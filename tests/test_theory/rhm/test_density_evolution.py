"""Density evolution: one step against the average over all rule tables, then the whole."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import density_steps
import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, EpsilonNoise, GaussianNoise, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory import annealed_beliefs, critical_noise
from hierdiff.theory.rhm import density_evolution as module
from hierdiff.theory.rhm.density_evolution import (
    _extrapolated,
    branch_up,
    critical_level,
    half_belief_level,
    leaf_messages,
    population_dynamics,
)

MODEL = RHM(3, 2, 2, 1)
N = 60_000
CHILD = np.array([0.5, 0.4, 0.1])
ABOVE = np.array([0.6, 0.1, 0.3])


def rule_tables() -> list[list[list[int]]]:
    """All tables [parent][rule] of tuple numbers in which tuple 0 belongs to parent 0."""
    tables = []
    others = set(range(1, 9))
    for a in itertools.combinations(sorted(others), 1):
        for b in itertools.combinations(sorted(others - set(a)), 2):
            for c in itertools.combinations(sorted(others - set(a) - set(b)), 2):
                tables.append([[0, *a], list(b), list(c)])
    return tables


def exact(kind: str, tables: list[list[list[int]]]) -> np.ndarray:
    """Mean over tables of the normalised upward or downward message."""
    messages = []
    for table in tables:
        out = np.zeros(3)
        for a, codes in enumerate(table):
            for code in codes:
                first, second = code % 3, code // 3
                if kind == "up":
                    out[a] += CHILD[first] * CHILD[second]
                else:
                    out[first] += ABOVE[a] * CHILD[second]
        messages.append(out / out.sum())
    return np.mean(messages, axis=0)


def stepped(kind: str) -> np.ndarray:
    population, above = np.tile(CHILD, (10, 1)), np.tile(ABOVE, (10, 1))
    given = np.random.default_rng(0).integers(10, size=(2, N)), np.uint64(12345)
    digits = np.array([[code % 3, code // 3] for code in range(9)])
    if kind == "up":
        return density_steps.up(population, *given, 3, 2, digits)
    return density_steps.down(population, above, *given, 2, digits)


def z_score(drawn: np.ndarray, law: np.ndarray) -> float:
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    return float(np.abs((drawn.mean(axis=0) - law) / error).max())


def test_the_symbols_of_all_tuples() -> None:
    """The first symbol runs fastest."""
    expected = [word[::-1] for word in itertools.product(range(3), repeat=2)]
    np.testing.assert_array_equal(module.tuple_symbols(3, 2), expected)


@pytest.mark.parametrize("kind", ["up", "down"])
def test_one_step_is_the_average_over_all_rule_tables(kind: str) -> None:
    assert z_score(stepped(kind), exact(kind, rule_tables())) < 4


@pytest.mark.parametrize("kind", ["up", "down"])
def test_a_table_drawn_with_repetition_is_rejected(kind: str) -> None:
    """The planted wrong law: other rules drawn independently, so that tuples repeat."""
    wrong = [[[0, a], [b, c], [d, e]] for a, b, c, d, e in itertools.product(range(1, 9), repeat=5)]
    assert z_score(stepped(kind), exact(kind, wrong)) > 8


def test_wrong_symbols_meet_at_random() -> None:
    up, down = np.tile([0.5, 0.4, 0.1], (7, 1)), np.tile([0.2, 0.7, 0.1], (7, 1))
    up, order = np.repeat(up[:1], N, 0), np.zeros(N, np.int64)
    out = density_steps.meet(up, down, order, np.uint64(5))
    beliefs = [0.1 / (0.1 + 0.28 + 0.01), 0.1 / (0.1 + 0.04 + 0.07)]
    assert z_score(out[:, None], np.array([np.mean(beliefs)])) < 4
    assert set(out.round(9)) == {round(b, 9) for b in beliefs}


def test_the_answer_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    first = population_dynamics(RHM(8, 3, 2, 3), MaskingNoise(8), 0.4, size=500, seed=3)
    monkeypatch.setattr(module, "available_threads", lambda: 5)
    again = population_dynamics(RHM(8, 3, 2, 3), MaskingNoise(8), 0.4, size=500, seed=3)
    np.testing.assert_array_equal(first.upward, again.upward)
    np.testing.assert_array_equal(first.marginal, again.marginal)


def test_threads_are_started_once_per_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per step and level, and none where one is asked for."""
    started: list[int] = []

    class Counted(ThreadPoolExecutor):
        def __init__(self, threads: int) -> None:
            started.append(threads)
            super().__init__(threads)

    monkeypatch.setattr(module, "ThreadPoolExecutor", Counted)
    monkeypatch.setattr(module, "available_threads", lambda: 3)
    rhm, noise = RHM(8, 3, 2, 5), MaskingNoise(8)
    population_dynamics(rhm, noise, [0.2, 0.4], size=1000, copies=4)
    half_belief_level(rhm, noise, size=1000, copies=2)
    assert started == [3, 2]
    given = rhm, noise, np.array([0.2, 0.4]), 1000, 4, np.random.default_rng(0)
    module.order_parameter(*given, threads=1)
    assert started == [3, 2]


@pytest.mark.parametrize("noise", [MaskingNoise(6), GaussianNoise(6)])
def test_noise_levels_together_are_those_one_by_one(noise) -> None:
    """To the last bit: also behind the first eight, and with fewer threads than populations."""
    rhm, times = RHM(6, 3, 2, 3), np.linspace(0, 1, 11)
    found = population_dynamics(rhm, noise, times, size=150, copies=3, seed=2)
    for k, t in enumerate(times):
        alone = vars(population_dynamics(rhm, noise, float(t), size=150, copies=3, seed=2))
        for name, x in vars(found).items():
            np.testing.assert_array_equal(x[:, k], alone[name])


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_a_level_does_not_depend_on_parts_and_layout(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads over members, and populations with or without room behind them."""
    rng, rhm, size = np.random.default_rng(0), RHM(6, 3, 2, 1), 1300
    population = rng.dirichlet(np.ones(6), size=(lanes, size)).transpose(1, 2, 0)
    order, key = module.pairing(rng, size, 2), np.uint64(3)
    expected = branch_up(population, order, key, rhm, 6)
    assert expected.shape == (size, 6, lanes)
    monkeypatch.setattr(module, "available_threads", lambda: 3)
    with module.side_by_side(3) as each:
        np.testing.assert_array_equal(branch_up(population, order, key, rhm, 6, each), expected)
    with pytest.raises(InvalidParameter, match="9 noise levels together exceed 8"):
        branch_up(np.ones((size, 6, 9)), order, key, rhm, 6)
    roomy = module._with_room(population)
    assert module._with_room(roomy) is roomy
    np.testing.assert_array_equal(branch_up(roomy, order, key, rhm, 6), expected)
    one = np.ascontiguousarray(population[..., 0])
    np.testing.assert_array_equal(branch_up(one, order, key, rhm, 6), expected[..., 0])


@pytest.mark.parametrize(
    "noise", [EpsilonNoise(6), MaskingNoise(6), UniformNoise(6), GaussianNoise(6)]
)
def test_leaves_are_posteriors_of_the_channel(noise) -> None:
    """Nishimori for a single leaf: E[p_true] = E[sum p^2], except for the epsilon-process."""
    p = leaf_messages(noise, 0.35, 40_000, np.random.default_rng(0))
    gap = p[:, 0] - (p**2).sum(axis=1)
    z = gap.mean() / max(gap.std(ddof=1) / np.sqrt(len(gap)), 1e-12)
    assert (abs(z) > 100) if noise.name == "epsilon" else (abs(z) < 4)


SHIFTS = np.array([0.0, 0.01, -0.01])
"""Of the thresholds of three populations."""


def planted(monkeypatch: pytest.MonkeyPatch, rows: np.ndarray) -> None:
    """Populations whose thresholds are known."""
    given = iter(np.tile(rows, (4, 1)).tolist())
    monkeypatch.setattr(module, "_crossings", lambda *_: next(given))


@pytest.mark.parametrize("limit", [0.5, 0.999])
def test_what_a_threshold_states(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean, scatter and extrapolation of known thresholds; also close to the end of the scale."""
    noise = GaussianNoise(8)
    planted(monkeypatch, limit + SHIFTS[:, None] - 0.02 * np.array([0.5, 0.25, 0.125]))
    found = critical_level(RHM(8, 3, 2, 1), noise, size=100, depth=8, copies=3)
    ends = noise.snr(np.minimum(limit + np.array([-0.0025, 0.0025]), 1.0))
    ratios = noise.snr(np.minimum(limit + SHIFTS, 1.0))
    assert found.value == pytest.approx(limit)
    assert found.error == pytest.approx(np.hypot(0.01 / np.sqrt(3), 0.0025))
    assert found.extrapolation == pytest.approx(0.0025)
    assert found.snr == pytest.approx(ratios.mean())
    expected = np.hypot(ratios.std(ddof=1) / np.sqrt(3), (ends[0] - ends[1]) / 2)
    assert found.snr_error == pytest.approx(expected)
    assert found.depth == 8


def test_what_a_threshold_at_finite_depth_states(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = GaussianNoise(8)
    planted(monkeypatch, 0.4 + SHIFTS[:, None])
    found = half_belief_level(RHM(8, 3, 2, 5), noise, size=100, copies=3)
    ratios = noise.snr(0.4 + SHIFTS)
    stated = (found.value, found.error, found.snr, found.snr_error, found.depth)
    expected = (0.4, 0.01 / np.sqrt(3), ratios.mean(), ratios.std(ddof=1) / np.sqrt(3), 5)
    assert stated == pytest.approx(expected)


def test_the_error_that_is_asked_for_is_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here 0.0126 of the value; half of it takes four times the size."""
    planted(monkeypatch, 0.5 + SHIFTS[:, None] - 0.02 * np.array([0.5, 0.25, 0.125]))
    rhm, noise = RHM(8, 3, 2, 1), MaskingNoise(8)
    had = np.hypot(0.01 / np.sqrt(3), 0.0025) / 0.5
    assert critical_level(rhm, noise, size=100, copies=3, depth=8, error=1.01 * had).snr is None
    with pytest.raises(InvalidParameter, match="use size = 400 or more"):
        critical_level(rhm, noise, size=100, copies=3, depth=8, error=had * (0.5 + 1e-9))


def test_bisection_of_known_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds .3 and .61 at two depths, to the last of thirteen bits."""
    monkeypatch.setattr(
        module, "_means", lambda *given: [[0.5 + 0.3 - t, 0.5 + 0.61 - t] for t in given[2]]
    )
    found = module._crossings(RHM(8, 3, 2, 1), MaskingNoise(8), 100, (2, 4), 0)
    np.testing.assert_allclose(found, [0.3, 0.61], atol=2.0**-13)
    assert abs(found[0] * 2**14 % 2 - 1) < 1e-9  # middle of the last interval


@pytest.mark.parametrize("bits", [1, 3, 7, 13])
def test_halvings_ahead_are_those_one_after_another(bits: int) -> None:
    """Also where the function rises again: the bracket depends on what lies on the way alone."""
    asked: list[int] = []

    def fell(times: list[float]) -> list[bool]:
        asked.append(len(times))
        return [np.sin(40 * t) < 0.3 for t in times]

    low, high = 0.0, 1.0
    for _ in range(bits):
        t = (low + high) / 2
        low, high = (low, t) if np.sin(40 * t) < 0.3 else (t, high)
    assert module.bisected(fell, bits) == (low, high)
    assert max(asked) <= module.kernels.LANES


def test_means_together_are_those_one_by_one() -> None:
    """To the last bit, although those that are decided leave the others."""
    given = RHM(8, 3, 2, 1), MaskingNoise(8)
    times = [0.1, 0.4, 0.45, 0.9]
    found = module._means(*given, times, 200, (3, 6, 12), 5)
    assert [module._means(*given, [t], 200, (3, 6, 12), 5)[0] for t in times] == found
    assert [len(m) for m in found] == [3] * 4


def test_members_are_shared_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_threads", lambda: 5)
    with module.side_by_side(2) as pool:
        for size, each in itertools.product((1, 7, 1000, 4000), (map, pool)):
            parts: list[tuple[int, int]] = []
            module._in_parts(size, lambda *part: parts.append(part), each)  # noqa: B023
            numbers = [i for first, last in sorted(parts) for i in range(first, last)]
            assert numbers == list(range(size))
            assert len(parts) == (1 if each is map else min(5, size // 500 + 1))


def test_what_a_population_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four arrays of messages; a hundred bytes per level and copy; 5 ns per rule and symbol."""
    asked: list[float] = []
    monkeypatch.setattr(module.checks, "memory", lambda _, size: asked.append(size))
    module.check_sizes(RHM(16, 4, 2, 30), 1000, 5, 30)
    assert asked == [4 * 8 * 1000 * 16, 100 * 5 * 30]
    with pytest.raises(InvalidParameter, match=r"take about 1.6e\+03 hours"):
        module.check_sizes(RHM(16, 4, 2, 30), 10**6, 4 * 10**5, 30)
    module.check_sizes(RHM(16, 4, 2, 30), 10**6, 10**5, 30)
    module.check_sizes(RHM(16, 4, 2, 30), 100, 2, 30)
    for size, copies in ((99, 2), (100, 1)):
        with pytest.raises(InvalidParameter, match="gives no error bar"):
            module.check_sizes(RHM(16, 4, 2, 30), size, copies, 30)


def test_the_epsilon_process_follows_the_recursion_as_v_grows() -> None:
    """Where evidence does not fluctuate, averages suffice, up to the fluctuation of rules."""
    gaps = []
    for v in (16, 64):
        rhm = RHM(v, v // 4, 2, 4)
        epsilon = 0.9 * critical_noise(rhm)
        found = population_dynamics(rhm, EpsilonNoise(v), epsilon, size=3000, copies=4, seed=1)
        law = annealed_beliefs(rhm, epsilon)
        gaps.append(float(np.abs(found.upward - law.up).max()))
        np.testing.assert_allclose(found.marginal, law.marginal, atol=0.6 / v + 0.01)
    assert gaps[1] < 0.6 * gaps[0]  # .40 found; their errors are below a seventh of them


def test_the_recursion_is_rejected_for_masking() -> None:
    """Fed with the mean belief of a masked leaf the recursion keeps a class that is lost."""
    rhm = RHM(32, 8, 2, 6)
    found = population_dynamics(rhm, MaskingNoise(32), 0.45, size=3000)
    z = (annealed_beliefs(rhm, 0.45).up[0] - found.upward[0]) / found.upward_error[0]
    assert z > 20


def test_the_threshold_of_the_epsilon_process_is_known() -> None:
    found = critical_level(RHM(32, 8, 2, 1), EpsilonNoise(32), size=500, depth=20, copies=4)
    assert abs(found.value - 68 / 93) < 4 * found.error + 1e-3
    assert found.error < 1e-3
    assert found.snr is None
    assert "extrapolated" in found.definition
    assert f"from {found.depth} levels" in found.definition
    assert found.depth == 20 << round(np.log2(found.depth / 20))
    assert 0 <= found.extrapolation <= found.error


def test_noise_that_halves_the_belief_at_finite_depth() -> None:
    """Bisection against the belief itself, at the same random numbers."""
    rhm, noise = RHM(16, 4, 2, 6), MaskingNoise(16)
    found = half_belief_level(rhm, noise, size=1000, copies=4)
    below, above = (
        population_dynamics(rhm, noise, found.value + d, size=4000, copies=4, seed=1).upward[0]
        for d in (-0.05, 0.05)
    )
    assert below > 0.5 > above
    assert found.depth == 6
    assert found.extrapolation == 0
    assert "one half after 6 levels" in found.definition


def test_the_limit_is_extrapolated_and_the_error_contains_it() -> None:
    """A geometric approach is summed to its end; a turn of the direction ends it."""
    shift = np.array([[0.0], [0.001], [-0.001]])
    limits, beyond = _extrapolated(0.5 - 0.4 * np.array([0.5, 0.25, 0.125]) + shift)
    np.testing.assert_allclose(limits, 0.5 + shift[:, 0])
    assert beyond == pytest.approx(0.05)
    limits, beyond = _extrapolated(np.array([[0.5, 0.51, 0.508], [0.5, 0.51, 0.508]]))
    np.testing.assert_allclose(limits, 0.508)
    assert beyond == pytest.approx(0.002)
    limits, beyond = _extrapolated(np.tile([0.5, 0.51, 0.52], (2, 1)))  # no limit in sight
    assert beyond == pytest.approx(0.04)


@pytest.mark.slow
def test_a_slow_approach_is_followed_in_depth() -> None:
    """(16, 2, 2): 24 levels lie .012 below the limit.  60 levels gave .9826(26) with size 10^4."""
    rhm, noise = RHM(16, 2, 2, 1), MaskingNoise(16)
    found = critical_level(rhm, noise, size=4000, copies=6)
    assert found.depth >= 48
    assert abs(found.value - 0.9826) < 3 * np.hypot(found.error, 0.0026)
    deep = half_belief_level(RHM(16, 2, 2, 120), noise, size=4000, copies=6, seed=1)
    assert abs(found.value - deep.value) < 4 * np.hypot(found.error, deep.error)
    shallow = half_belief_level(RHM(16, 2, 2, 24), noise, size=4000, copies=6, seed=2)
    assert (found.value - shallow.value) > 5 * np.hypot(found.error, shallow.error)


@pytest.mark.slow
def test_the_error_of_the_threshold_covers() -> None:
    """Three populations: Student's law with two degrees of freedom covers .577 and .816."""
    rhm, noise = RHM(8, 3, 2, 1), MaskingNoise(8)
    found = [
        critical_level(rhm, noise, size=200, copies=3, depth=12, seed=100 + i) for i in range(60)
    ]
    truth = half_belief_level(RHM(8, 3, 2, 60), noise, size=200, copies=80, seed=9)
    z = np.array([(x.value - truth.value) / np.hypot(x.error, truth.error) for x in found])
    for bound, nominal in ((1, 0.577), (2, 0.816)):
        covered = (np.abs(z) < bound).mean()
        # the extrapolation is added to the error, which may only widen it
        assert covered > nominal - 3 * np.sqrt(nominal * (1 - nominal) / len(z))
        assert covered < 0.99


def test_bad_requests() -> None:
    rhm, noise = RHM(8, 2, 2, 2), MaskingNoise(8)
    cases = {
        "size = 10": lambda: population_dynamics(rhm, noise, 0.3, size=10),
        "copies = 1": lambda: population_dynamics(rhm, noise, 0.3, copies=1),
        r"t = 1.5 is outside": lambda: population_dynamics(rhm, noise, 1.5),
        r"t = 1.2 is outside": lambda: population_dynamics(rhm, noise, [0.1, 1.2]),
        r"t has shape \(1, 2\)": lambda: population_dynamics(rhm, noise, [[0.1, 0.2]]),
        "at 8 noise levels needs": lambda: population_dynamics(
            RHM(8, 2, 2, 1000), noise, np.linspace(0, 1, 11), size=10**7
        ),
        "exceed 2": lambda: population_dynamics(RHM(300, 2, 4, 1), MaskingNoise(300), 0.3),
        "depth = 1": lambda: critical_level(rhm, noise, depth=1),
        "use size =": lambda: critical_level(rhm, noise, size=200, depth=6, copies=3, error=1e-5),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        assert one_line(error)
    for m, which in ((20, "always lost"), (1, "never lost")):
        for call in (critical_level, half_belief_level):
            with pytest.raises(NoTransition, match=which) as error:
                call(RHM(32, m, 2, 1), MaskingNoise(32))
            assert one_line(error)
