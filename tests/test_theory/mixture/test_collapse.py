"""Information and collapse: closed forms against integrals and sampling, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory.mixture.collapse import (
    collapse_time,
    mutual_information_gaussian,
    mutual_information_mixture,
    mutual_information_sampled,
)
from hierdiff.theory.mixture.time_change import Threshold


@pytest.mark.parametrize(
    ("sigma", "value", "error"),
    [
        (0.2, 12.6798, 5e-4),
        (0.3257, 8.4651, 9e-4),
        (0.4, 7.0084, 1.1e-3),
        (0.5, 5.5954, 1.4e-3),
        (0.6, 4.5551, 1.5e-3),
        (0.8, 3.1277, 1.6e-3),
    ],
)
def test_information_of_the_mixture(sigma: float, value: float, error: float) -> None:
    """Sampled values with their own standard errors; ours are exact."""
    assert abs(mutual_information_mixture(3, 5, 0.2, sigma) - value) < 3 * error


def test_information_by_dense_integration() -> None:
    """K = 2, d = 1: two crossed lines in the plane, the density integrated on a grid."""
    delta, sigma = 0.3, 0.7
    a, b = 1 + sigma**2, delta**2 + sigma**2
    t = np.linspace(-14, 14, 2801)
    one = np.exp(-(t**2) / (2 * a)) / np.sqrt(2 * np.pi * a)
    two = np.exp(-(t**2) / (2 * b)) / np.sqrt(2 * np.pi * b)
    p = (np.outer(one, two) + np.outer(two, one)) / 2
    entropy = -np.trapezoid(np.trapezoid(p * np.log(np.maximum(p, 1e-300)), t), t)
    wanted = entropy - np.log(2 * np.pi * np.e * sigma**2)
    assert abs(mutual_information_mixture(2, 1, delta, sigma) - wanted) < 1e-9


def test_information_limits_and_relations() -> None:
    assert mutual_information_mixture(1, 4, 0.0, 0.5) == pytest.approx(
        mutual_information_gaussian(np.ones(4), 0.5), rel=1e-14
    )
    # delta = 1: the classes are one Gaussian
    assert mutual_information_mixture(3, 4, 1.0, 0.5) == pytest.approx(
        mutual_information_gaussian(np.ones(12), 0.5), rel=1e-12
    )
    small = mutual_information_mixture(3, 5, 0.0, 1e-6)
    assert small == pytest.approx(5 * np.log(1e6) + np.log(3), rel=1e-11)
    assert abs(mutual_information_mixture(3, 5, 0.2, 1e4)) < 1e-6
    levels = [mutual_information_mixture(4, 3, 0.1, s) for s in np.geomspace(1e-3, 1e3, 40)]
    assert (np.diff(levels) < 0).all()


def test_sampled_information_agrees_with_the_formulas() -> None:
    mixture = LowRankMixture.random(12, 4, 3, delta=0.3, seed=1)
    found = mutual_information_sampled(mixture, 0.6, 20_000, seed=2)
    wanted = mutual_information_mixture(3, 4, 0.3, 0.6)
    assert abs(found.value - wanted) < 4 * found.error
    # the entropy of the class left out is rejected
    assert abs(found.value - wanted - 0.1) > 4 * found.error
    gauss = LowRankMixture([np.eye(3)], variances=[[4.0, 1.0, 0.25]])
    found = mutual_information_sampled(gauss, 0.5, 20_000, seed=3)
    assert abs(found.value - mutual_information_gaussian([4, 1, 0.25], 0.5)) < 4 * found.error


def test_collapse_known_in_advance() -> None:
    """A19."""
    found = collapse_time(20_000, np.ones(20))
    assert found.sigma == pytest.approx(0.76873666, abs=5e-9)
    assert found.time == pytest.approx(0.23216756, abs=5e-9)
    lam = np.r_[np.full(5, 4.0), np.full(15, 0.25)]
    assert collapse_time(4000, lam).sigma == pytest.approx(0.72549906, abs=5e-9)


@settings(deadline=None, max_examples=50)
@given(log_n=st.floats(0.1, 60), d=st.integers(1, 400), lam=st.floats(1e-3, 1e3))
def test_isotropic_collapse_is_closed(log_n: float, d: int, lam: float) -> None:
    found = collapse_time(float(np.exp(log_n)), np.full(d, lam))
    assert found.sigma**2 == pytest.approx(lam / np.expm1(2 * log_n / d), rel=1e-9)


def test_collapse_inverts_the_information() -> None:
    mixture = LowRankMixture.random(30, 10, 3, delta=0.2, seed=0)
    for n in (60, 1000, 1e9):
        level = collapse_time(n, mixture)
        assert mutual_information_mixture(3, 10, 0.2, level.sigma) == pytest.approx(np.log(n))
        again = collapse_time(n, lambda s: mutual_information_mixture(3, 10, 0.2, s))
        assert again.sigma == level.sigma
    full = LowRankMixture.random(4, 2, 2, delta=0.2, seed=0, residual="ambient")
    span = LowRankMixture.random(9, 2, 2, delta=0.2, seed=0)
    assert collapse_time(50, full) == collapse_time(50, span)


def test_more_data_collapse_later_and_wider_data_sooner() -> None:
    levels = [collapse_time(n, np.ones(20)).sigma for n in (10, 100, 1000, 10_000)]
    assert (np.diff(levels) < 0).all()
    levels = [collapse_time(1000, np.ones(d)).sigma for d in (5, 10, 20, 40)]
    assert (np.diff(levels) > 0).all()


# --- bad input ------------------------------------------------------------------------------------

OVERLAP = LowRankMixture.random(12, 3, 2, delta=0.2, angle=60.0, seed=0)
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: mutual_information_gaussian([-1.0], 1.0), "eigenvalues"),
    (lambda: mutual_information_gaussian([], 1.0), "eigenvalues"),
    (lambda: mutual_information_gaussian([1.0], 0.0), "sigma = 0.0"),
    (lambda: mutual_information_mixture(0, 5, 0.2, 1.0), "classes = 0"),
    (lambda: mutual_information_mixture(3, 0, 0.2, 1.0), "rank = 0"),
    (lambda: mutual_information_mixture(3, 5, 1.2, 1.0), "delta = 1.2"),
    (lambda: mutual_information_mixture(3, 5, 0.2, 0.0), "sigma = 0.0"),
    (lambda: mutual_information_sampled(OVERLAP, 1.0, 1, 0), "n = 1"),
    (lambda: collapse_time(1, np.ones(3)), "n_data = 1"),
    (lambda: collapse_time(np.inf, np.ones(3)), "n_data = inf"),
    (lambda: collapse_time(100, OVERLAP), "not orthogonal"),
    (lambda: collapse_time(100, [1.0, np.nan]), "eigenvalues"),
]


@pytest.mark.parametrize(("call", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_is_one_clear_line(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        call()
    assert words in one_line(error)


def test_no_collapse_without_continuous_directions() -> None:
    with pytest.raises(NoTransition) as error:
        collapse_time(100, np.zeros(3))
    assert "below ln N" in one_line(error)
    points = LowRankMixture([np.zeros((2, 0))] * 3, means=np.eye(3)[:, :2])
    assert points.n_classes == 3
    with pytest.raises(NoTransition):
        collapse_time(4, lambda sigma: np.log(3) / (1 + sigma**2))


def test_threshold_shows_every_clock() -> None:
    level = Threshold(0.75)
    assert level.snr == pytest.approx(16 / 9)
    assert level.alpha_bar == pytest.approx(np.exp(-2 * level.time)) == pytest.approx(0.64)
