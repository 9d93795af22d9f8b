"""Thresholds against root finding on the recursion itself, exact arithmetic and known numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.rhm.mean_field import (
    annealed_beliefs,
    correlation_length_exponent,
    critical_belief,
    critical_noise,
    finite_depth_threshold,
    fixed_points,
    has_transition,
    stability,
    upward_derivative,
    upward_map,
)

PROPERTY = settings(deadline=None, max_examples=100)
PAPER = RHM(v=32, m=8, s=2, L=10)


@st.composite
def sizes(draw: st.DrawFn) -> RHM:
    """Parameters with v, s > 1 over all three regimes."""
    v, s = draw(st.integers(2, 20)), draw(st.integers(2, 6))
    m = min(1 + int(v ** (draw(st.floats(0, 1)) * (s - 1))), v ** (s - 1))
    return RHM(v, m, s, draw(st.integers(1, 12)))


def exact_map(p: Fraction, rhm: RHM) -> Fraction:
    power, tuples = p**rhm.s, rhm.v**rhm.s - 1
    w = (1 - power) / tuples
    moved: Fraction = (power + (rhm.m - 1) * w) / (power + (rhm.m * rhm.v - 1) * w)
    return moved


# --- known numbers --------------------------------------------------------------------------------


def test_numbers_of_the_paper() -> None:
    assert pytest.approx(0.24926686, abs=5e-9) == PAPER.f
    assert stability(PAPER) == pytest.approx([8 / 33, 1386 / 961, 16 / 33], abs=1e-14)
    assert fixed_points(PAPER).tolist() == [1 / 32, 7 / 24, 1.0]
    assert critical_noise(PAPER) == 68 / 93
    assert correlation_length_exponent(PAPER) == pytest.approx(1.8927961115, abs=1e-10)
    assert 2 - 2 / correlation_length_exponent(PAPER) == pytest.approx(0.9433621573, abs=1e-10)


@pytest.mark.parametrize(
    ("v", "m", "s", "epsilon", "slope", "nu"),
    [
        (32, 4, 2, 0.9216589862, 1.4422476587, 1.8927961),
        (24, 6, 2, 0.7536231884, 1.4177693762, 1.9856128),
        (16, 4, 2, 0.8, 1.36, 2.2542493),
        (64, 16, 2, 0.6984126984, 1.4739229025, 1.7867957),
        (8, 3, 2, 0.6857142857, 1.2244897959, 3.4225389),
        (16, 16, 3, 0.8, 1.8571428571, 1.7747055),
        (8, 8, 3, 0.7387961250, 1.5652730858, 2.4519295),
        (10, 5, 3, 0.9104883742, 1.4753041475, 2.8251826),
        (8, 2, 2, 20 / 21, 54 / 49, math.log(2) / math.log(54 / 49)),
    ],
)
def test_other_grammars(v: int, m: int, s: int, epsilon: float, slope: float, nu: float) -> None:
    rhm = RHM(v, m, s, L=1)
    assert critical_noise(rhm) == pytest.approx(epsilon, abs=1e-10)
    assert stability(rhm)[1] == pytest.approx(slope, abs=1e-10)
    assert correlation_length_exponent(rhm) == pytest.approx(nu, abs=6e-8)


def test_belief_without_a_closed_form() -> None:
    assert critical_belief(RHM(10, 5, 3, 4)) == pytest.approx(0.1805604632, abs=1e-10)
    assert critical_belief(RHM(8, 8, 3, 4)) == math.sqrt(1 / 8)


def test_threshold_at_finite_depth() -> None:
    table = {6: 0.7080876725, 8: 0.7201599983, 10: 0.7259032314, 12: 0.7286493051}
    for L, epsilon in (table | {16: 0.7305980300, 20: 0.7310476856}).items():
        assert finite_depth_threshold(RHM(32, 8, 2, L)) == pytest.approx(epsilon, abs=1e-10)
    by_rules = {1: 0.999844, 2: 0.987860, 3: 0.956066, 4: 0.917617, 6: 0.829397, 10: 0.605463}
    by_rules |= {12: 0.469422, 14: 0.327761, 16: 0.201272, 18: 0.109515, 20: 0.055002}
    for m, epsilon in by_rules.items():
        assert finite_depth_threshold(RHM(32, m, 2, 10)) == pytest.approx(epsilon, abs=6e-7)


@pytest.mark.parametrize(
    ("m", "epsilon"),
    [
        (2, 0.997849),
        (3, 0.961068),
        (4, 0.921659),
        (6, 0.833747),
        (8, 0.731183),
        (10, 0.609971),
        (12, 0.464516),
        (14, 0.286738),
        (16, 0.064516),
    ],
)
def test_phase_diagram_at_infinite_depth(m: int, epsilon: float) -> None:
    assert critical_noise(RHM(32, m, 2, 1)) == pytest.approx(epsilon, abs=6e-7)


@pytest.mark.parametrize(
    ("L", "slope"), [(6, -8.590374), (8, -18.111724), (10, -37.946074), (12, -79.217531)]
)
def test_slope_of_the_class_belief_at_its_threshold(L: int, slope: float) -> None:
    rhm, h = RHM(32, 8, 2, L), 1e-6
    epsilon = finite_depth_threshold(rhm)
    high, low = annealed_beliefs(rhm, [epsilon + h, epsilon - h]).up[:, 0]
    assert (high - low) / (2 * h) == pytest.approx(slope, rel=1e-6)


# --- against the recursion itself -----------------------------------------------------------------


@PROPERTY
@given(sizes())
def test_fixed_points_are_fixed_and_there_are_no_others(rhm: RHM) -> None:
    points = fixed_points(rhm)
    assert np.all(np.diff(points) > 0)
    assert upward_map(points, rhm) == pytest.approx(points, abs=1e-14)
    # between fixed points, the exact map moves beliefs to the stable side
    slopes = stability(rhm)
    edges = [Fraction(1, rhm.v), *map(Fraction, points[1:-1].tolist()), Fraction(1)]
    for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        for share in (0.01, 0.3, 0.7, 0.99):
            p = low + (high - low) * Fraction(share)
            assert (exact_map(p, rhm) > p) == (slopes[i] >= 1)
            assert (exact_map(p, rhm) < p) == (slopes[i + 1] >= 1)


@PROPERTY
@given(sizes())
def test_threshold_separates_kept_from_lost(rhm: RHM) -> None:
    """The last float before and the next after: exact arithmetic moves them apart."""
    if not has_transition(rhm):
        with pytest.raises(NoTransition):
            critical_noise(rhm)
        return
    epsilon, belief = critical_noise(rhm), critical_belief(rhm)
    assert 0 < epsilon < 1
    for shift, kept in ((-1, True), (1, False)):
        noise = Fraction(np.nextafter(epsilon, epsilon + shift).item())
        start = 1 - noise * (rhm.v - 1) / rhm.v
        assert (exact_map(start, rhm) > start) == kept
    for shift, kept in ((1, True), (-1, False)):
        start = Fraction(np.nextafter(belief, belief + shift).item())
        assert (exact_map(start, rhm) > start) == kept


@PROPERTY
@given(sizes(), st.floats(0.05, 0.95))
def test_finite_depth_threshold_against_root_finding(rhm: RHM, share: float) -> None:
    belief = 1 / rhm.v + share * (1 - 1 / rhm.v)
    found = finite_depth_threshold(rhm, belief)
    expected = optimize.brentq(
        lambda epsilon: annealed_beliefs(rhm, epsilon).up[0] - belief, 0, 1, xtol=1e-15
    )
    slope = float(np.prod(upward_derivative(annealed_beliefs(rhm, found).up[1:], rhm)))
    assert found == pytest.approx(expected, abs=1e-12 + 1e-14 / slope)


def test_finite_depth_threshold_of_few_and_many_classes() -> None:
    for classes in (3, 5, 100):
        rhm = RHM(32, 8, 2, 4, n_classes=classes)
        epsilon = finite_depth_threshold(rhm)
        assert annealed_beliefs(rhm, epsilon).up[0] == pytest.approx(0.5, abs=1e-13)
    wide = finite_depth_threshold(RHM(32, 8, 2, 4, n_classes=100))
    assert wide < finite_depth_threshold(RHM(32, 8, 2, 4, n_classes=5)) - 1e-3


def test_depth_approaches_the_threshold_by_the_slope() -> None:
    gaps = [critical_noise(PAPER) - finite_depth_threshold(RHM(32, 8, 2, L)) for L in (29, 30)]
    assert gaps[0] / gaps[1] == pytest.approx(stability(PAPER)[1], rel=1e-4)
    assert finite_depth_threshold(RHM(32, 8, 2, 150)) == pytest.approx(68 / 93, abs=1e-15)
    # where the class is always lost, by the slope at certainty, far below rounding of 1 - epsilon
    deep = [finite_depth_threshold(RHM(8, 8, 2, L)) for L in (120, 121)]
    assert deep[0] < 1e-25
    assert deep[0] / deep[1] == pytest.approx(112 / 63, rel=1e-12)


# --- regimes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("v", "m", "s", "reason"),
    [
        (32, 1, 2, "ignorance is unstable, F'(1/v) = 1.93939 >= 1"),
        (16, 2, 3, "ignorance is unstable, F'(1/v) = 1.40659 >= 1"),
        (32, 18, 2, "certainty is unstable, F'(1) = 1.09091 >= 1"),
        (3, 2, 2, "certainty is unstable, F'(1) = 1 >= 1"),
        (4, 7, 3, "certainty is unstable, F'(1) = 1 >= 1"),
        (4, 4, 2, "certainty is unstable"),
        (5, 1, 1, "a step up the tree changes no belief"),
        (1, 1, 3, "a step up the tree changes no belief"),
    ],
)
def test_regimes_without_threshold_say_why(v: int, m: int, s: int, reason: str) -> None:
    rhm = RHM(v, m, s, L=5)
    assert not has_transition(rhm)
    for question in (critical_noise, critical_belief, correlation_length_exponent):
        with pytest.raises(NoTransition) as error:
            question(rhm)
        message = str(error.value)
        assert message.startswith(f"(v, m, s) = ({v}, {m}, {s}): ")
        assert reason in message
        assert "\n" not in message
        outcome = {"ign": "never lost", "cer": "always lost", "a s": "raise v and s"}[reason[:3]]
        assert outcome in message
    assert fixed_points(rhm).tolist() == sorted({1 / v, 1.0})
    assert stability(rhm).shape == fixed_points(rhm).shape


def test_outcome_of_each_regime_by_iteration() -> None:
    lost = annealed_beliefs(RHM(32, 18, 2, 2000), 0.001).up[0]
    kept = annealed_beliefs(RHM(32, 1, 2, 200), 0.999).up[0]
    marginal = annealed_beliefs(RHM(3, 2, 2, 20000), 0.01).up[0]
    assert lost == pytest.approx(1 / 32, abs=1e-9)
    assert kept == 1.0
    assert marginal == pytest.approx(1 / 3, abs=1e-9)
    below, above = annealed_beliefs(RHM(32, 8, 2, 200), [0.7311, 0.7312]).up[:, 0]
    assert below == 1.0
    assert above == pytest.approx(1 / 32, abs=1e-9)


def test_rules_of_thumb_are_not_the_criterion() -> None:
    """m > s and s f < 1 hold for large v alone."""

    def thumb(rhm: RHM) -> bool:
        return rhm.m > rhm.s and rhm.s * rhm.f < 1

    wrong = [
        (v, m)
        for v in range(3, 33)
        for m in range(1, v + 1)
        if thumb(RHM(v, m, 2, 1)) != has_transition(RHM(v, m, 2, 1))
    ]
    assert (32, 2) in wrong
    assert (32, 8) not in wrong


@PROPERTY
@given(strategies.rhms(max_v=9, max_s=5))
def test_every_size_has_an_answer(rhm: RHM) -> None:
    points, slopes = fixed_points(rhm), stability(rhm)
    assert np.isfinite(points).all()
    assert np.isfinite(slopes).all()
    assert (len(points) == 3) == has_transition(rhm)
    if rhm.v > 1 and rhm.s > 1:
        assert slopes[0] * slopes[-1] < 1
    if has_transition(rhm):
        assert slopes[1] > 1 > max(slopes[0], slopes[2])
        assert correlation_length_exponent(rhm) > 1
    if rhm.n_classes > 2:
        assert 0 < finite_depth_threshold(rhm) <= 1


def test_the_number_of_classes_does_not_move_the_threshold() -> None:
    assert critical_noise(RHM(32, 8, 2, 3, n_classes=10)) == critical_noise(PAPER)


def test_symmetry_of_the_slope_between_few_and_many_rules() -> None:
    for v, m in ((32, 4), (48, 6), (100, 4)):
        pair = [stability(RHM(v, rules, 2, 1))[1] for rules in (m, v // m)]
        assert pair[0] == pytest.approx(pair[1], abs=1e-13)


@pytest.mark.parametrize(
    ("v", "m", "s"),
    [(10**9, 10**8, 2), (10**15, 5 * 10**14, 2), (32, 32**100, 200), (2, 2**300, 600)],
    ids=["wide", "almost lost", "long", "binary"],
)
def test_huge_sizes(v: int, m: int, s: int) -> None:
    rhm = RHM(v, m, s, L=3, n_classes=3)
    epsilon, belief = critical_noise(rhm), critical_belief(rhm)
    assert 0 < epsilon < 1
    assert epsilon == pytest.approx((1 - belief) / (1 - 1 / v), abs=1e-15)
    assert correlation_length_exponent(rhm) > 1
    assert np.isfinite(stability(rhm)).all()
    assert 0 < finite_depth_threshold(rhm) < 1


def test_limit_of_many_symbols() -> None:
    v, f = 10**8, 0.25
    rhm = RHM(v, int(f * v), 2, 1)
    assert critical_noise(rhm) == pytest.approx((1 - 2 * f) / (1 - f), abs=1e-7)
    assert stability(rhm)[1] == pytest.approx(2 * (1 - f), abs=1e-7)
    wide = RHM(10**5, 10**9, 3, 1)
    p = critical_belief(wide)
    assert stability(wide)[1] == pytest.approx(3 * (1 - p) / (1 - p**3), abs=1e-3)


BAD: dict[str, Callable[[], Any]] = {
    "two classes": lambda: finite_depth_threshold(RHM(32, 8, 2, 3, n_classes=2)),
    "certain": lambda: finite_depth_threshold(PAPER, 1.0),
    "chance": lambda: finite_depth_threshold(PAPER, 1 / 32),
    "nan": lambda: finite_depth_threshold(PAPER, float("nan")),
    "one symbol": lambda: finite_depth_threshold(RHM(1, 1, 2, 3)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_belief_must_lie_between_chance_and_certainty(case: str) -> None:
    with pytest.raises(
        InvalidParameter, match=r"is not between chance, 1/\d+, and 1; choose|finite number"
    ):
        BAD[case]()
