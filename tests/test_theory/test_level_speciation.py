"""When levels are decided: density evolution against exact inference and U-turns."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.sims import Speciation
from hierdiff.theory.rhm.density_evolution import belief_population, population_dynamics
from hierdiff.theory.rhm.speciation import CRITERIA, level_speciation, speciation_statistic


def test_beliefs_of_a_population_have_the_means_of_the_order_parameter() -> None:
    rhm, noise, t = RHM(8, 3, 2, 3), UniformNoise(8), np.linspace(0.1, 0.6, 10)
    found = [belief_population(rhm, noise, t, 400, rng) for rng in [np.random.default_rng(5)] * 2]
    means = np.mean([x.mean(axis=1) for x in found], axis=0)
    other = population_dynamics(rhm, noise, t, size=400, copies=2, seed=np.random.default_rng(5))
    np.testing.assert_allclose(means, other.marginal, atol=1e-12)


def test_two_peaks_cross_where_half_is_known() -> None:
    share = np.linspace(0.9, 0.1, 9)
    beliefs = (np.arange(1000)[:, None] < 1000 * share).astype(float) * (1 - 1 / 8) + 1 / 8
    for criterion in CRITERIA:
        curve = speciation_statistic(beliefs, 8, criterion)
        assert (curve[share > 0.5001] > 0).all(), criterion
        assert (curve[share < 0.4999] < 0).all(), criterion


def test_branches_cross_where_u_turns_keep_half_and_the_fluctuation_criterion_is_late() -> None:
    study = Speciation(L=5, grammars=10, data=24, levels=25, spins=(32, 64), chains=40)
    ds = study.measure(workers=1)
    law = level_speciation(study.rhm, MaskingNoise(16), study.times, size=2000, seed=1)
    branch = ds.speciation.sel(criterion="branch").values
    error = np.hypot(ds.speciation_error.sel(criterion="branch").values, law.error)
    assert (np.abs(branch - law.value) < 4 * error + 1e-9).all()
    turned, spread = ds.uturn.values, ds.uturn_error.values
    # the classes and the levels below them: the mean belief is one half where the median is
    assert (np.abs(turned - law.value)[:3] < 4 * np.hypot(spread, law.error)[:3]).all()
    late = ds.speciation.sel(criterion="fluctuation").values - turned
    assert (late[:3] > 5 * spread[:3]).all()  # the planted criterion, that of two classes
    assert (np.diff(law.value) > 0).all()  # the class is decided last


@pytest.mark.parametrize(("words", "t", "criterion"), [
    ("increase", [0.5, 0.4], "branch"), ("criterion", [0.1, 0.4], "spectral"),
    ("numbers", [0.1, 1.4], "branch"),
])  # fmt: skip
def test_bad_input_is_refused_in_one_line(words: str, t: list[float], criterion: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        level_speciation(RHM(8, 3, 2, 2), MaskingNoise(8), t, criterion=criterion)  # type: ignore[arg-type]
    one_line(error)
