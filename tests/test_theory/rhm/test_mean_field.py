"""The annealed recursion against averages over every rule table, and against known numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, MaskingNoise
from hierdiff.theory.rhm.mean_field import (
    annealed_beliefs,
    downward_map,
    effective_epsilon,
    root_map,
    upward_derivative,
    upward_map,
)

PROPERTY = settings(deadline=None, max_examples=80)
BELIEFS = st.floats(0, 1)
PAPER = RHM(v=32, m=8, s=2, L=10)
MIXED = RHM(v=10, m=5, s=3, L=4)

# --- every rule table -----------------------------------------------------------------------------

Table = list[tuple[tuple[int, ...], ...]]


def rule_tables(parents: int, m: int, tuples: list[tuple[int, ...]]) -> Iterator[Table]:
    """All ways to give m of the tuples to each parent."""
    if parents == 0:
        yield []
        return
    for own in itertools.combinations(tuples, m):
        rest = [x for x in tuples if x not in own]
        for table in rule_tables(parents - 1, m, rest):
            yield [own, *table]


def message(belief: Fraction, true: int, symbols: int) -> list[Fraction]:
    other = (1 - belief) / (symbols - 1) if symbols > 1 else Fraction(0)
    return [belief if a == true else other for a in range(symbols)]


@cache
def averaged(
    rhm: RHM, p: Fraction, q: Fraction
) -> tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]:
    """Belief propagation over one rule, averaged over all tables and all true rules in them.

    Returns numerator and denominator of the belief in the true parent, then in the true child 0.
    """
    parents, v, m, s = rhm.n_classes, rhm.v, rhm.m, rhm.s
    up, down, cases = [Fraction(0)] * 2, [Fraction(0)] * 2, 0
    for table in rule_tables(parents, m, list(itertools.product(range(v), repeat=s))):
        for parent, truth in ((a, x) for a, own in enumerate(table) for x in own):
            cases += 1
            from_above = message(q, parent, parents)
            below = [message(p, b, v) for b in truth]
            for a, own in enumerate(table):
                for x in own:
                    weights = [below[j][b] for j, b in enumerate(x)]
                    everything = math.prod(weights, start=Fraction(1))
                    siblings = math.prod(weights[1:], start=from_above[a])
                    up = [up[0] + (a == parent) * everything, up[1] + everything]
                    down = [down[0] + (x[0] == truth[0]) * siblings, down[1] + siblings]
    return (up[0] / cases, up[1] / cases), (down[0] / cases, down[1] / cases)


TINY = [
    RHM(2, 1, 2, 1),
    RHM(2, 2, 2, 1),
    RHM(3, 1, 2, 1),
    RHM(2, 1, 3, 1),
    RHM(2, 2, 3, 1),
    RHM(3, 1, 1, 1),
    RHM(2, 2, 2, 1, n_classes=1),
    RHM(2, 2, 3, 1, n_classes=3),
    RHM(3, 3, 2, 1, n_classes=2),
]
P, Q = Fraction(3, 5), Fraction(2, 7)


@pytest.mark.parametrize("rhm", TINY, ids=str)
def test_maps_are_the_averages_over_all_rule_tables(rhm: RHM) -> None:
    q = Q if rhm.n_classes > 1 else Fraction(1)
    (own, every), (true, anything) = averaged(rhm, P, q)
    assert root_map(float(P), rhm) == pytest.approx(float(own / every), abs=1e-15)
    assert downward_map(float(q), float(P), rhm) == pytest.approx(float(true / anything), abs=1e-15)
    if rhm.n_classes == rhm.v:
        assert upward_map(float(P), rhm) == pytest.approx(float(own / every), abs=1e-15)


def planted_up(name: str, p: float, rhm: RHM) -> float:
    """Upward maps that are nearly right."""
    n, tuples = rhm.n_classes, rhm.v**rhm.s - 1
    power, f, own = p**rhm.s, (rhm.m * n - 1) / tuples, (rhm.m - 1) / tuples
    if name == "m in place of m - 1":
        own = rhm.m / tuples
    if name == "f = m / v^(s-1)":
        f = rhm.m * n / rhm.v**rhm.s
    if name == "v in place of the number of classes":
        f = (rhm.m * rhm.v - 1) / tuples
    return float((power + own * (1 - power)) / (power + f * (1 - power)))


def planted_down(name: str, q: float, p: float, rhm: RHM) -> float:
    """Downward maps that are nearly right."""
    power, v = p ** (rhm.s - 1), rhm.v
    w = (rhm.m - q) / (v**rhm.s - 1)
    if name == "m in place of m - q":
        w = rhm.m / (v**rhm.s - 1)
    if name == "p^s in place of p^(s-1)":
        power *= p
    true = q * power + (1 - power) * w
    return float(true / (true + (v - 1) * w))


@pytest.mark.parametrize(
    "name", ["m in place of m - 1", "f = m / v^(s-1)", "v in place of the number of classes"]
)
def test_wrong_upward_maps_are_rejected(name: str) -> None:
    rhm = RHM(2, 2, 3, 1, n_classes=3)
    (own, every), _ = averaged(rhm, P, Q)
    assert planted_up("none", float(P), rhm) == pytest.approx(float(own / every), abs=1e-15)
    assert abs(planted_up(name, float(P), rhm) - float(own / every)) > 1e-2


@pytest.mark.parametrize("name", ["m in place of m - q", "p^s in place of p^(s-1)"])
def test_wrong_downward_maps_are_rejected(name: str) -> None:
    rhm = RHM(2, 2, 3, 1, n_classes=3)
    _, (true, anything) = averaged(rhm, P, Q)
    exact = float(true / anything)
    assert planted_down("none", float(Q), float(P), rhm) == pytest.approx(exact, abs=1e-15)
    assert abs(planted_down(name, float(Q), float(P), rhm) - exact) > 1e-3


# --- known numbers --------------------------------------------------------------------------------


def test_maps_at_single_points() -> None:
    assert upward_map(0.5, PAPER) == pytest.approx(0.5838926174, abs=1e-10)
    down = downward_map([1.0, 0.0, 1 / 32], 0.5, PAPER)
    assert down == pytest.approx([0.7035519126, 0.0158730159, 0.0747893258], abs=1e-10)
    assert upward_map(0.6, MIXED) == pytest.approx(0.8612116444, abs=1e-10)
    assert downward_map(0.3, 0.6, MIXED) == pytest.approx(0.7238903394, abs=1e-10)


def test_upward_beliefs_of_the_paper() -> None:
    known = [0.515625, 0.603507384, 0.7051305256, 0.8042068464, 0.8834561809, 0.9362874439]
    known += [0.9670406059, 0.9834789267, 0.9918555914, 0.99601879, 0.9980619971]
    up, _, _ = annealed_beliefs(PAPER, [0.5, 0.8, 0.73])
    assert up[0, ::-1] == pytest.approx(known, abs=1e-9)
    assert up[1:, 0] == pytest.approx([0.0312840958, 0.3374656601], abs=1e-9)


@pytest.mark.parametrize(
    ("epsilon", "known"),
    [
        (
            0.7,
            ".89344986 .91001904 .92727859 .94406649 .95892181 .97033325 .97703331 .97800546 "
            ".97176939 .95470694 .91828825",
        ),
        (
            0.8,
            ".44188081 .35689219 .26708523 .18148594 .11167294 .06639609 .04475443 .03724763 "
            ".0351262 .03425632 .0312841",
        ),
    ],
)
def test_marginal_beliefs_of_the_paper(epsilon: float, known: str) -> None:
    marginal = annealed_beliefs(PAPER, epsilon).marginal
    assert marginal[::-1] == pytest.approx([float(x) for x in known.split()], abs=6e-9)


# --- the recursion --------------------------------------------------------------------------------


def exact_recursion(rhm: RHM, epsilon: Fraction) -> list[list[Fraction]]:
    """The recursion in rational numbers, in the form with w = (1 - P)/(v^s - 1), root first."""
    v, m, s, tuples = rhm.v, rhm.m, rhm.s, rhm.v**rhm.s - 1
    up = [1 - epsilon + epsilon / v]
    for level in range(rhm.L - 1, -1, -1):
        parents, power = v if level else rhm.n_classes, up[0] ** s
        w = (1 - power) / tuples
        up.insert(0, (power + (m - 1) * w) / (power + (m * parents - 1) * w))
    down = [Fraction(1, rhm.n_classes)]
    for p in up[1:]:
        q, power = down[-1], p ** (s - 1)
        w = (m - q) / tuples
        down.append((q * power + w * (1 - power)) / (q * power + w * (v - power)))
    marginal = []
    for level, (p, q) in enumerate(zip(up, down, strict=True)):
        others = (v if level else rhm.n_classes) - 1
        wrong = (1 - p) * (1 - q) / others if others else Fraction(0)
        marginal.append(p * q / (p * q + wrong))
    return [up, down, marginal]


@settings(deadline=None, max_examples=40)
@given(strategies.rhms().filter(lambda rhm: rhm.v > 1), st.fractions(0, 1, max_denominator=30))
def test_recursion_in_rational_numbers(rhm: RHM, epsilon: Fraction) -> None:
    exact = exact_recursion(rhm, epsilon)
    for found, expected in zip(annealed_beliefs(rhm, float(epsilon)), exact, strict=True):
        assert found == pytest.approx([float(x) for x in expected], abs=1e-13)


def test_recursion_is_vectorised_over_noise() -> None:
    epsilon = np.linspace(0, 1, 12).reshape(3, 4)
    together = annealed_beliefs(PAPER, epsilon)
    assert [part.shape for part in together] == [(3, 4, 11)] * 3
    alone = annealed_beliefs(PAPER, epsilon[2, 1])
    for one, many in zip(alone, together, strict=True):
        assert np.array_equal(one, many[2, 1])


def test_no_noise_keeps_everything_and_full_noise_nothing() -> None:
    deep = RHM(
        v=8, m=1, s=2, L=60, n_classes=5
    )  # ignorance unstable: rounding would grow 1e17-fold
    clean, lost = annealed_beliefs(deep, [0.0, 1.0]).up
    assert (clean == 1).all()
    assert lost[0] == 1 / 5
    assert (lost[1:] == 1 / 8).all()
    assert (annealed_beliefs(deep, 0.0).marginal == 1).all()


def test_full_noise_leaves_the_frequency_of_true_symbols() -> None:
    """Rules that write the true child: the true one and (v^(s-1) - 1)/(v^s - 1) of the others."""
    rhm = RHM(v=4, m=3, s=2, L=1)
    expected = (1 + 11 * 3 / 15) / 12
    assert annealed_beliefs(rhm, 1.0).marginal[1] == pytest.approx(expected, abs=1e-15)
    full = RHM(v=4, m=4, s=2, L=3)
    assert annealed_beliefs(full, 1.0).marginal == pytest.approx(np.full(4, 1 / 4), abs=1e-15)


def test_a_given_class() -> None:
    free, given_class = annealed_beliefs(PAPER, 0.75), annealed_beliefs(PAPER, 0.75, root_belief=1)
    assert given_class.marginal[0] == 1.0
    assert np.array_equal(free.up, given_class.up)
    assert (given_class.marginal > free.marginal).all()


# --- properties and edges -------------------------------------------------------------------------

SIZES = [
    RHM(32, 8, 2, 3),
    RHM(4, 4, 2, 3),
    RHM(5, 1, 1, 3),
    RHM(5, 1, 1, 3, n_classes=1),
    RHM(1, 1, 3, 3),
    RHM(2, 1, 4, 3),
    RHM(2, 8, 4, 3, n_classes=1),
    RHM(3, 1, 2, 3, n_classes=9),
    RHM(10**9, 10**8, 2, 3),
    RHM(32, 32**200, 400, 3),
    RHM(32, 1, 400, 3),
    RHM(2, 2**1500, 3000, 3),
]


@pytest.mark.parametrize("rhm", SIZES, ids=lambda rhm: f"{rhm.v}-{str(rhm.m)[:6]}-{rhm.s}")
@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-3, 0.5, 1 - 1e-16, 1.0])
def test_every_size_gives_probabilities(rhm: RHM, p: float) -> None:
    for f in (upward_map, root_map):
        assert 0 <= f(p, rhm) <= 1
    assert f(1.0, rhm) == 1
    assert upward_map(1 / rhm.v, rhm) == 1 / rhm.v
    assert root_map(1 / rhm.v, rhm) == 1 / rhm.n_classes
    assert 0 <= upward_derivative(p, rhm) < np.inf
    for q in (0.0, 1 / rhm.v, 0.5, 1.0):
        assert 0 <= downward_map(q, p, rhm) <= 1
    for beliefs in annealed_beliefs(rhm, [0.0, 1e-9, 0.5, 1 - 1e-9, 1.0]):
        assert ((beliefs >= 0) & (beliefs <= 1)).all()


@PROPERTY
@given(strategies.rhms(max_v=9, max_s=5), BELIEFS, BELIEFS)
def test_maps_increase(rhm: RHM, a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    for f in (upward_map, root_map):
        assert f(low, rhm) <= f(high, rhm) + 1e-15
    if rhm.v > 1:
        assert downward_map(low, 0.5, rhm) <= downward_map(high, 0.5, rhm) + 1e-15


@PROPERTY
@given(strategies.rhms(max_v=9, max_s=5), st.floats(0.01, 0.99))
def test_derivative_is_that_of_the_map(rhm: RHM, p: float) -> None:
    h = 1e-5
    numerical = (upward_map(p + h, rhm) - upward_map(p - h, rhm)) / (2 * h)
    # the map may turn within p/s: tolerance by the scale of its third derivative
    assert upward_derivative(p, rhm) == pytest.approx(numerical, rel=1e-3, abs=1e-6)


def test_derivative_at_the_ends() -> None:
    slopes = upward_derivative([1 / 32, 7 / 24, 1.0], PAPER)
    assert slopes == pytest.approx([8 / 33, 1386 / 961, 16 / 33], abs=1e-14)
    assert upward_derivative(0.0, PAPER) == 0.0
    assert upward_derivative([0.0, 0.4], RHM(5, 1, 1, 3)).tolist() == [1.0, 1.0]


def test_one_rule_and_a_known_parent_dictate_the_child() -> None:
    single = RHM(v=6, m=1, s=3, L=2)
    assert downward_map(1.0, [0.0, 0.3, 1.0], single).tolist() == [1.0, 1.0, 1.0]
    assert downward_map(0.0, 1.0, single) == 0.0


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "p": (lambda: upward_map(1.1, PAPER), r"^p = 1.1 is outside \[0, 1\]; give a probability$"),
    "root p": (lambda: root_map([0.1, float("nan")], PAPER), "^p = nan is outside"),
    "slope": (lambda: upward_derivative(-0.1, PAPER), "^p = -0.1 is outside"),
    "q": (lambda: downward_map(2.0, 0.5, PAPER), "^q = 2.0 is outside"),
    "epsilon": (lambda: annealed_beliefs(PAPER, 1.5), "^epsilon = 1.5 is outside"),
    "root": (lambda: annealed_beliefs(PAPER, 0.5, root_belief=3), "^root_belief = 3.0 is outside"),
    "t": (lambda: effective_epsilon(MaskingNoise(3), 1.5), "^t = 1.5 is outside"),
    "vectors": (lambda: effective_epsilon(GaussianNoise(), 0.5), "does not act on symbols; give"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(InvalidParameter, match=words) as error:
        call()
    assert "\n" not in str(error.value)
