"""Costs, cuts, clocks and pointwise information: what is refused, and values at the far ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory import rhm as theory
from hierdiff.theory.mixture.time_change import (
    Threshold,
    ou_sigma,
    ou_time,
    positive_level,
    vp_alpha_bar,
    vp_sigma,
)
from hierdiff.theory.rhm.information import (
    pointwise_entropy,
    pointwise_information,
    pointwise_slope,
)
from hierdiff.theory.rhm.mean_field import gaussian_doubt

SIZES = RHM(v=4, m=2, s=2, L=2)
GRAMMAR = SIZES.draw(seed=0)
DATA = GRAMMAR.sample(2, seed=1)
NOISE = MaskingNoise(4)

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "grammar from sizes": (lambda: theory.truncated(SIZES, 1), "give a Grammar"),  # type: ignore[arg-type]
    "sizes from grammar": (lambda: theory.clustering_cost(GRAMMAR, 1), "give a RHM"),  # type: ignore[arg-type]
    "sizes from a tuple": (
        lambda: theory.classification_cost((4, 2, 2, 2)),
        "must be an RHM; give RHM",
    ),  # type: ignore[arg-type]
    "height": (lambda: theory.next_token_cost(RHM(4, 4, 2, 2), 9), "l = 9 is no height"),
    "height truth": (lambda: theory.clustering_cost(SIZES, True), "l = True must be an integer"),
    "far too deep": (lambda: theory.classification_cost(RHM(32, 8, 2, 400)), "beyond float64"),
    "separation": (lambda: theory.coincidence_cost(SIZES, 1, np.nan), "separation = nan"),
    "joint": (lambda: theory.resolved_samples(np.full((2, 2), np.nan), 2), "joint is NaN"),
    "rules": (lambda: theory.resolved_samples(np.eye(2) / 2, 1.5), "m = 1.5"),  # type: ignore[arg-type]
    "costs": (lambda: theory.local_exponent(np.array([1.0, np.nan]), np.ones(2)), "is NaN"),
    "positions": (lambda: theory.kernel_cost("additive", 10**30), "positions = 10000000"),
    "samples": (lambda: theory.kernel_accuracy("product", 4, [1.5]), "samples hold 1.5"),
    "kernel": (lambda: theory.kernel_cost("sum", 4), "must be one of 'additive', 'product'"),  # type: ignore[arg-type]
    "level": (lambda: theory.annealed_validity(SIZES, True), "level = True"),
    "laws": (lambda: theory.node_validity(GRAMMAR, 1, np.full((2, 4), 0.5)), "sum to 2; give"),
    "negative laws": (lambda: theory.validity(GRAMMAR, 1, -np.ones((2, 4))), "marginals holds -1"),
    "too many nodes": (lambda: theory.truncated(RHM(4, 2, 2, 40).draw(0), 40), "GB of memory"),
    "node": (lambda: theory.pair_joint(GRAMMAR, (1, 0), (1.5, 1)), r"second\[0\] = 1.5"),  # type: ignore[arg-type]
    "covariance": (lambda: theory.covariance(np.ones((2, 2))), "sums to 4"),
    "time": (lambda: ou_time(np.nan), "sigma = nan must lie"),
    "late": (lambda: ou_sigma(1000.0), "time = 1000.0 gives a sigma beyond float64"),
    "power": (lambda: vp_sigma(1.5), "alpha_bar = 1.5 must lie"),
    "threshold": (lambda: Threshold(-1.0), "sigma = -1.0"),
    "tiny level": (lambda: positive_level(1e-320), "sigma = 1e-320"),
    "doubt": (lambda: gaussian_doubt(np.nan, 4), "snr = nan"),
    "other truth": (
        lambda: pointwise_entropy(GRAMMAR, RHM(4, 2, 2, 3).draw(0).sample(2, 0), 1),
        "does not fit; the grammar has nodes",
    ),
    "other data": (
        lambda: pointwise_information(GRAMMAR, NOISE, DATA.leaves[:1], 0.5, DATA),
        "there are 1 observations",
    ),
    "no levels": (
        lambda: pointwise_information(GRAMMAR, NOISE, DATA.leaves, 0.5, DATA, ()),
        "levels = \\(\\) is empty",
    ),
    "level of noise": (lambda: pointwise_slope(GRAMMAR, NOISE, DATA.leaves, 2.0), "t = 2.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_in_one_line(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(InvalidParameter, match=words) as error:
        call()
    one_line(error)


def test_clocks_at_the_far_ends() -> None:
    """The square of the noise level, or exp of twice the time, is beyond float64; they are not."""
    assert ou_time(1e200) == pytest.approx(math.log(1e200), rel=1e-15)
    assert ou_sigma(500.0) == pytest.approx(math.exp(500.0), rel=1e-13)
    assert vp_sigma(1e-320) == pytest.approx(1e160, rel=1e-3)  # a subnormal has three digits
    assert ou_time(np.inf) == np.inf
    assert vp_alpha_bar(1e200) == 0
    assert Threshold(np.inf).snr == 0
    assert Threshold(0.0).snr == np.inf


def test_validity_of_deep_cuts_does_not_overflow() -> None:
    """2^80 - 1 nodes: integers of 64 bits wrapped around and gave probabilities beyond one."""
    found = theory.annealed_validity(RHM(v=4, m=3, s=2, L=80), 80)
    assert ((found >= 0) & (found <= 1)).all()
    assert found[-2:].tolist() == [0.75, 1.0]
    assert found[-3] == 0.75**3
    assert found[0] == 0


def test_a_kernel_of_many_positions_answers_at_once() -> None:
    assert theory.kernel_cost("product", 10**4) == pytest.approx(0.6e8)
    limit = -math.log(1 - math.sqrt(0.6))
    assert theory.kernel_cost("additive", 10**4) / 10**4 == pytest.approx(limit, rel=1e-3)
