"""The two-state chain: against enumeration of the averaged factor graph, and acceptance numbers."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import Laws

from hierdiff import RHM, GaussianNoise, Grammar, MaskingNoise
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.rhm import broadcast
from hierdiff.theory.rhm import dynamical_correlations as chain
from hierdiff.theory.rhm.mean_field import (
    annealed_beliefs,
    correlation_length_exponent,
    critical_belief,
    critical_noise,
    downward_map,
    stability,
    upward_derivative,
    upward_map,
)

PAPER = RHM(v=32, m=8, s=2, L=9)
CRITICAL = critical_noise(PAPER)


@st.composite
def models(draw: st.DrawFn, max_L: int = 6) -> RHM:
    v, s = draw(st.integers(2, 12)), draw(st.integers(2, 4))
    return RHM(v, draw(st.integers(1, v ** (s - 1))), s, draw(st.integers(1, max_L)))


beliefs = st.floats(0.0, 1.0)

# --- an independent oracle: every assignment of symbols to the averaged factor graph --------------


def enumerated_correlation(rhm: RHM, epsilon: float, root_belief: float | None) -> np.ndarray:
    """C(d) from all v**nodes assignments; symbol 0 is the true one at every node."""
    v, m, s, L = rhm.v, rhm.m, rhm.s, rhm.L
    N = v**s - 1
    first = 1 / rhm.n_classes if root_belief is None else root_belief
    leaf = [1 - epsilon + epsilon / v, *[epsilon / v] * (v - 1)]
    root = [first, *[(1 - first) / (rhm.n_classes - 1)] * (rhm.n_classes - 1)]

    def rule(parent: int, children: tuple[int, ...]) -> float:
        true = not any(children)
        return (1.0 if true else (m - 1) / N) if parent == 0 else (0.0 if true else m / N)

    def below(symbol: int, height: int) -> list[tuple[tuple[int, ...], float]]:
        if height == 0:
            return [((symbol,), leaf[symbol])]
        found = []
        for children in itertools.product(range(v), repeat=s):
            weight = rule(symbol, children)
            for parts in itertools.product(*(below(c, height - 1) for c in children)):
                product = weight * np.prod([w for _, w in parts])
                found.append((tuple(x for leaves, _ in parts for x in leaves), product))
        return found

    rows = [(x, root[a] * w) for a in range(rhm.n_classes) for x, w in below(a, L)]
    weights = np.array([w for _, w in rows])
    sigma = np.where(np.array([x for x, _ in rows]) == 0, 1.0, -1.0)
    weights /= weights.sum()
    mean = weights @ sigma
    covariance = (sigma * weights[:, None]).T @ sigma - np.outer(mean, mean)
    return np.array([covariance[0, 0], *(covariance[0, s**d - 1] for d in range(1, L + 1))])


@pytest.mark.parametrize("root_belief", [None, 1.0, 0.0, 0.3])
@pytest.mark.parametrize(
    ("sizes", "classes"),
    [((3, 2, 2, 2), 3), ((3, 1, 2, 2), 3), ((3, 3, 2, 2), 2), ((2, 2, 3, 1), 2), ((4, 2, 3, 1), 3)],
)
def test_chain_is_exact_on_the_averaged_factor_graph(
    sizes: tuple[int, int, int, int], classes: int, root_belief: float | None
) -> None:
    rhm = RHM(*sizes, n_classes=classes)
    for epsilon in (0.05, 0.4, 0.8, 1.0):
        expected = enumerated_correlation(rhm, epsilon, root_belief)
        found = chain.leaf_correlation(rhm, epsilon, root_belief)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)


def test_a_chain_without_coupling_of_siblings_is_rejected() -> None:
    """Brothers independent given their parent: the enumeration tells the difference."""
    rhm, epsilon = RHM(3, 2, 2, 2), 0.4
    up, _, marginal = annealed_beliefs(rhm, epsilon)
    memory = chain.second_eigenvalue(up[1:], rhm)
    wrong = 4 * marginal[1] * (1 - marginal[1]) * memory[1] ** 2
    right = enumerated_correlation(rhm, epsilon, None)[1]
    assert abs(wrong - right) > 0.05 * right


# --- properties ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(models(), beliefs, beliefs)
def test_chain_agrees_with_the_maps(rhm: RHM, q: float, p: float) -> None:
    """A step of the chain is the downward map with the parent's fate given, then the marginal."""
    T = chain.transfer_matrix(p, rhm)
    np.testing.assert_allclose(T.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(T[0, 0] - T[1, 0], chain.second_eigenvalue(p, rhm), atol=1e-14)
    if 1e-3 < p < 1 - 1e-3:  # beyond, the marginal written with 1 - q cancels
        for row, fate in enumerate((1.0, 0.0)):
            down = downward_map(fate, p, rhm)
            true, other = p * down, (1 - p) * (1 - down) / (rhm.v - 1)
            np.testing.assert_allclose(T[row, 0], true / (true + other), rtol=1e-9, atol=1e-12)
        pair = chain.sibling_states(q, p, rhm)
        down = downward_map(q, p, rhm)
        true, other = p * down, (1 - p) * (1 - down) / (rhm.v - 1)
        np.testing.assert_allclose(pair[0].sum(), true / (true + other), rtol=1e-9, atol=1e-12)
        assert pair.sum() == pytest.approx(1, abs=1e-12)
        assert pair.min() > -1e-12


@settings(deadline=None)
@given(models(), st.floats(0.01, 0.99))
def test_fluctuation_dissipation(rhm: RHM, p: float) -> None:
    F = float(upward_map(p, rhm))
    expected = rhm.s * chain.second_eigenvalue(p, rhm) * F * (1 - F) / (p * (1 - p))
    np.testing.assert_allclose(upward_derivative(p, rhm), expected, rtol=1e-8, atol=1e-13)


@pytest.mark.parametrize("sizes", [(32, 8, 2), (16, 16, 3), (10, 5, 3), (8, 8, 3), (24, 6, 2)])
def test_memory_at_the_threshold(sizes: tuple[int, int, int]) -> None:
    rhm = RHM(*sizes, 2)
    p = critical_belief(rhm)
    memory = rhm.s * float(chain.second_eigenvalue(p, rhm))
    assert memory == pytest.approx(float(upward_derivative(p, rhm)), rel=1e-12)
    a = chain.correlation_decay_exponent(rhm)
    assert a == pytest.approx(-2 * np.log(memory / rhm.s) / np.log(rhm.s), rel=1e-12)
    # the susceptibility diverges exactly if correlations decay more slowly than 1/r
    assert (a < 1) == (correlation_length_exponent(rhm) < 2) == (memory**2 > rhm.s)


@settings(deadline=None)
@given(models(), beliefs)
def test_correlations_are_bounded_and_decay(rhm: RHM, epsilon: float) -> None:
    C = chain.leaf_correlation(rhm, epsilon)
    assert C.shape == (rhm.L + 1,)
    assert np.all(np.isfinite(C))
    assert np.all(C >= -1e-12)
    assert np.all(C[1:] <= C[0] + 1e-12)
    assert 1 - 1e-9 <= chain.susceptibility(rhm, epsilon) <= rhm.n_leaves * (1 + 1e-9)


def test_extremes() -> None:
    assert chain.susceptibility(PAPER, [0.0, 1e-300, 1e-9]).tolist()[:2] == [1, 1]
    large = RHM(v=10**6, m=10**150, s=60, L=3)  # v**s overflows
    assert np.isfinite(chain.leaf_correlation(large, [0.0, 0.3, 0.9, 1.0])).all()
    assert chain.susceptibility(RHM(1, 1, 2, 3), 0.5) == 1
    single = chain.leaf_correlation(RHM(8, 1, 2, 3), 0.5, root_belief=1.0)
    assert np.all(single == 0)  # one rule and a given class: nothing is left to change


def test_arrays_of_noise_broadcast() -> None:
    epsilon = np.array([[0.2, 0.7], [0.9, 1.0]])
    whole = chain.leaf_correlation(PAPER, epsilon)
    assert whole.shape == (2, 2, 10)
    np.testing.assert_array_equal(whole[0, 1], chain.leaf_correlation(PAPER, 0.7))


# --- acceptance numbers --------------------------------------------------------------------------


def test_susceptibility_and_correlations_at_nine_levels() -> None:
    chi = chain.susceptibility(PAPER, [0.6, 0.7, 0.74, 0.8, CRITICAL])
    expected = [2.09302191, 3.78769583, 6.99841995, 2.52203570, 7.98016373]
    np.testing.assert_allclose(chi, expected, rtol=0, atol=1e-8)
    C = chain.leaf_correlation(PAPER, CRITICAL)
    ratios = [1, .627208, .334631, .179537, .096758, .052178, .027889, .014461, .006904, .002559]  # fmt: skip  # noqa: E501
    np.testing.assert_allclose(C / C[0], ratios, rtol=0, atol=1e-6)
    unchanged = (1 + np.sqrt(1 - C[0])) / 2  # variance 4 Q (1 - Q)
    assert unchanged == pytest.approx(0.78238358, abs=1e-8)


def test_growth_with_depth_at_the_threshold() -> None:
    depths = {8: 6.905310, 9: 7.980164, 10: 9.081264, 14: 13.709932, 20: 21.637875}
    for L, expected in depths.items():
        assert chain.susceptibility(RHM(32, 8, 2, L), CRITICAL) == pytest.approx(expected, abs=1e-6)
    bounded = {6: 3.0435, 10: 3.4831, 20: 3.1281, 30: 3.0614}
    for L, expected in bounded.items():
        rhm = RHM(32, 12, 2, L)
        chi = chain.susceptibility(rhm, critical_noise(rhm))
        assert chi == pytest.approx(expected, abs=1e-4)


def test_place_of_the_maximum() -> None:
    grid = np.linspace(0.725, 0.737, 120001)
    places = {8: (6.912764, 0.730135), 9: (7.980781, 0.731376), 10: (9.100680, 0.731895)}
    for L, (height, place) in places.items():
        chi = chain.susceptibility(RHM(32, 8, 2, L), grid)
        assert chi.max() == pytest.approx(height, abs=1e-5)
        assert grid[chi.argmax()] == pytest.approx(place, abs=2e-6)


def test_states_at_the_threshold_and_of_siblings() -> None:
    T = chain.transfer_matrix(critical_belief(PAPER), PAPER)
    np.testing.assert_allclose(T[:, 0], [0.9469302810, 0.2258064516], rtol=0, atol=1e-10)
    pair = chain.sibling_states(1 / 32, 0.5, PAPER)
    np.testing.assert_allclose(pair.ravel(), [0.57214765, *[0.14261745] * 3], rtol=0, atol=1e-8)
    assert chain.correlation_decay_exponent(PAPER) == pytest.approx(0.9433621573, abs=1e-10)


def test_bad_input_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidParameter, match=r"epsilon = 1\.5 is outside") as error:
        chain.leaf_correlation(PAPER, 1.5)
    oracles.one_line(error)
    with pytest.raises(InvalidParameter, match="p = nan is outside"):
        chain.transfer_matrix(np.nan, PAPER)
    for call in (
        lambda r: chain.leaf_correlation(r, 0.5),
        lambda r: chain.susceptibility(r, 0.5),
        lambda r: chain.sibling_states(0.5, 0.5, r),
    ):
        with pytest.raises(InvalidParameter, match="single leaf") as error:
            call(RHM(4, 1, 1, 3))
        oracles.one_line(error)
    with pytest.raises(NoTransition, match="never lost"):
        chain.correlation_decay_exponent(RHM(32, 1, 2, 9))


# --- real noise: populations against every observation of every set of rules ---------------------


def enumerated_susceptibility(v: int, m: int, L: int, t: float, *, one: bool = False) -> float:
    """chi under masking of binary trees whose nodes have rules of their own, by enumeration.

    ``one`` is the mistake of one observation: variances of the posterior alone.
    """
    tuples = list(itertools.product(range(v), repeat=2))
    tables = list(itertools.permutations(tuples[1:], m * v - 1))
    leaves, top, bottom = 2**L, 0.0, 0.0
    shown = np.array(list(itertools.product([False, True], repeat=leaves)))
    chance = np.prod(np.where(shown, 1 - t, t), axis=1)
    for chosen in itertools.product(tables, repeat=2**L - 1):

        def strings(node: int, symbol: int, chosen: tuple = chosen) -> list[tuple[int, ...]]:
            rules = (tuples[0], *chosen[node])[symbol * m : symbol * m + m]
            if 2 * node + 1 >= len(chosen):
                return list(rules)
            below = (2 * node + 1, 2 * node + 2)
            return [a + b for x, y in rules for a in strings(below[0], x)
                    for b in strings(below[1], y)]  # fmt: skip

        words = np.array([word for root in range(v) for word in strings(0, root)])
        same = np.where(words == 0, 1.0, -1.0)
        fits = (~shown[:, None] | (words == 0)).all(axis=2)  # the datum is 0 everywhere
        law = fits / fits.sum(axis=1, keepdims=True)
        whole, square, each = law @ same.sum(axis=1), law @ same.sum(axis=1) ** 2, law @ same
        if one:
            top += chance @ (square - whole**2)
        else:
            top += chance @ square - (chance @ whole) ** 2
        bottom += leaves - ((chance @ each) ** 2).sum()
    return float(top / bottom)


def test_populations_against_enumeration(laws: Laws) -> None:
    law = "susceptibility of a population of pairs of observations"
    for v, m, L in ((2, 1, 1), (2, 2, 1), (3, 2, 1), (2, 1, 2), (2, 2, 2)):
        found = chain.population_susceptibility(
            RHM(v, m, 2, L), MaskingNoise(v), 0.4, size=4000, copies=30, seed=3
        )
        z = (found.value - enumerated_susceptibility(v, m, L, 0.4)) / found.error
        laws.holds(law, z)
        assert abs(z) < 4, (v, m, L)
    wrong = (found.value - enumerated_susceptibility(2, 2, 2, 0.4, one=True)) / found.error
    laws.rejects(law, "a single observation of the datum", wrong)
    assert abs(wrong) > 8


def test_depths_of_one_population_are_those_alone_and_threads_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {"noise": GaussianNoise(8), "size": 200, "copies": 3, "seed": 4}
    times = [0.0, 0.2, 0.3, 0.5, 1.0]  # more than one vector holds
    found = chain.population_susceptibility(RHM(8, 3, 2, 4), t=times, depths=[2, 4], **given)
    assert found.value.shape == (2, 5)
    assert found.value[:, 0].tolist() == [1.0, 1.0]
    for row, L in enumerate((2, 4)):
        for k, t in enumerate(times):
            alone = chain.population_susceptibility(RHM(8, 3, 2, L), t=t, **given)
            assert alone.value == found.value[row, k]
            assert alone.error == found.error[row, k]
    monkeypatch.setattr(chain, "available_threads", lambda: 1)
    again = chain.population_susceptibility(RHM(8, 3, 2, 4), t=times, depths=[2, 4], **given)
    assert again.value.tolist() == found.value.tolist()
    # a root of other symbols than the levels below
    other = chain.population_susceptibility(RHM(8, 3, 2, 2, n_classes=2), t=0.3, **given)
    assert other.value != alone.value


def test_bad_populations_are_refused() -> None:
    noise = MaskingNoise(4)
    for words, call in {
        "single leaf": lambda: chain.population_susceptibility(RHM(4, 1, 1, 3), noise, 0.5),
        "depths = ": lambda: chain.population_susceptibility(
            RHM(4, 2, 2, 3), noise, 0.5, depths=[4]
        ),
        "size = 10": lambda: chain.population_susceptibility(RHM(4, 2, 2, 3), noise, 0.5, size=10),
        "noise.v = 4": lambda: chain.population_susceptibility(RHM(5, 2, 2, 3), noise, 0.5),
    }.items():
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        oracles.one_line(error)


# --- Kesten-Stigum -------------------------------------------------------------------------------


def test_known_channels() -> None:
    """Binary and Potts broadcasting at their census thresholds, written as rule weights."""
    flip = (1 - np.sqrt(0.5)) / 2
    for q, e in ((2, flip), (3, 2 * flip * 2 / 3), (4, 2 * flip * 3 / 4)):
        pairs = list(itertools.product(range(q), repeat=2))
        rules = np.array([pairs] * q)
        one = (1 - e - e / (q - 1)) * np.eye(q) + e / (q - 1)
        weights = [[one[a, b] * one[a, c] for b, c in pairs] for a in range(q)]
        numbers = broadcast.kesten_stigum(Grammar([rules], weights=[weights]))
        np.testing.assert_allclose(numbers.eigenvalue, 1, rtol=1e-9)
        np.testing.assert_allclose(numbers.singular, 1, rtol=1e-9)


def test_average_over_rule_tables(laws: Laws) -> None:
    """Mean squared singular value of a position, .1208(2) against .121212 at (32, 8, 2)."""
    for sizes in ((32, 8, 2), (32, 2, 2), (6, 4, 3)):
        rhm = RHM(*sizes, 2, n_classes=3)
        drawn = np.array([broadcast.kesten_stigum(rhm.draw(g)).singular for g in range(150)])
        error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
        expected = broadcast.kesten_stigum_annealed(rhm)
        assert expected == pytest.approx(float(stability(rhm)[0]), rel=1e-12)
        z = (drawn.mean(axis=0) - expected) / error
        laws.holds("Kesten-Stigum on average, F'(1/v)", z)
        assert np.all(np.abs(z) < 4)
        # planted: tables drawn with replacement would give s / m
        if sizes == (6, 4, 3):
            z = (drawn.mean(axis=0) - rhm.s / rhm.m) / error
            laws.rejects("Kesten-Stigum on average, F'(1/v)", "tables with repetition", z)
            assert np.all(np.abs(z) > 4)


def test_eigenvalues_need_square_channels() -> None:
    numbers = broadcast.kesten_stigum(RHM(8, 2, 2, 2, n_classes=3).draw(0))
    assert np.isnan(numbers.eigenvalue[0])
    assert np.isfinite(numbers.eigenvalue[1])
    assert np.isfinite(numbers.singular).all()
    assert broadcast.kesten_stigum(RHM(1, 1, 2, 2).draw(0)).eigenvalue.tolist() == [0, 0]
