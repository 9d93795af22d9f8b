"""The phase-transition experiment: labels, determinism, and the model it is given."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from oracles import one_line

from hierdiff import RHM, GaussianNoise, LowRankMixture, MaskingNoise, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.results import compare, load, save
from hierdiff.sims import EmpiricalModel, PhaseTransition, SimulatedModel
from hierdiff.sims import phase_transition as module
from hierdiff.theory.exact_models import ExactRHM

SMALL = PhaseTransition(v=8, m=2, s=2, L=4, noise="epsilon", grammars=3, data=6, levels=7, refine=3)


@pytest.fixture(scope="module")
def measured() -> xr.Dataset:
    return SMALL.measure()


def test_theory_and_simulation_carry_the_same_labels(measured: xr.Dataset) -> None:
    theory = SMALL.predict(t=measured.t.values)
    for name in ("belief", "upward", "retention", "belief_error", "threshold", "threshold_error"):
        assert theory[name].dims == measured[name].dims
    for ds in (theory, measured):
        assert set(ds.belief.dims) == {"level", "t"}
        assert all("long_name" in ds[name].attrs for name in ds.data_vars)
        assert {"parameters", "versions", "commit", "created"} <= set(ds.attrs)
    both = compare(theory, measured)
    assert both.source.values.tolist() == ["theory", "simulation"]
    assert np.isfinite(both.belief_z.sel(t=slice(0.1, 0.9))).all()


def test_saved_and_loaded_results_are_the_same(measured: xr.Dataset, tmp_path: Path) -> None:
    xr.testing.assert_identical(load(save(measured, tmp_path / "deep" / "r.nc")), measured)


@pytest.mark.parametrize("noise", ["epsilon", "masking", "uniform", "gaussian"])
def test_results_depend_on_no_way_of_working(
    noise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = replace(SMALL, noise=noise, refine=1)
    first = experiment.measure(workers=1)
    again = [experiment.measure(workers=2), experiment.measure(folder=tmp_path)]
    monkeypatch.setattr(module, "_BLOCK", 4)
    again.append(experiment.measure(workers=2))
    for other in again:
        xr.testing.assert_equal(first, other)
    assert not first.equals(replace(experiment, seed=1).measure())


def test_ends_of_the_process(measured: xr.Dataset) -> None:
    """Nothing is lost at zero noise; at full noise only the prior is left."""
    assert np.all(measured.belief.sel(t=0) == 1)
    assert np.all(measured.retention.sel(t=0) == 1)
    assert measured.belief.sel(t=1, level=0) == pytest.approx(1 / 8, abs=1e-12)


def test_retention_is_the_belief_on_average(measured: xr.Dataset) -> None:
    """A posterior sample keeps a symbol with its posterior probability."""
    gap = (measured.retention - measured.belief).sel(level=4)
    error = measured.retention_thermal_sd.sel(level=4) / np.sqrt(18)
    assert np.all(np.abs(gap) < 5 * error + 1e-12)


def test_the_table_has_no_noise_level_twice(measured: xr.Dataset) -> None:
    for few, columns in ((3, 3), (1, 1), (7, 6)):
        table = module._table(measured.isel(t=slice(few)))
        found = re.findall(r"t = \d\.\d+", table)
        assert len(found) == len(set(found)) == columns


def test_a_given_model_is_measured_on_its_own_grammar() -> None:
    grammar = RHM(8, 2, 2, 4).draw(5)
    data = grammar.sample(9, 6)
    experiment = replace(SMALL, noise="masking", refine=0)
    ds = experiment.measure(ExactRHM(grammar, MaskingNoise(8)), data)
    assert ds.sizes["grammar"] == 1
    assert ds.sizes["datum"] == 9
    assert ds.belief_quenched_sd.isnull().all()


def test_bad_requests() -> None:
    grammar = RHM(8, 2, 2, 4).draw(5)
    with pytest.raises(InvalidParameter, match="exceed"):
        PhaseTransition(v=4, m=5, s=2)
    with pytest.raises(InvalidParameter, match="levels = 1"):
        PhaseTransition(levels=1)
    with pytest.raises(InvalidParameter, match="seed = -1 must be an integer >= 0"):
        PhaseTransition(seed=-1)
    with pytest.raises(InvalidParameter, match="no prediction for masking noise"):
        PhaseTransition(noise="masking").predict("annealed")
    with pytest.raises(InvalidParameter, match="four processes"):
        PhaseTransition(noise="all").measure()
    with pytest.raises(InvalidParameter, match="not known"):
        PhaseTransition().predict("guess")
    with pytest.raises(InvalidParameter, match="cannot be measured"):
        SMALL.measure(ExactRHM(grammar, UniformNoise(8)))
    with pytest.raises(InvalidParameter, match="without the model"):
        SMALL.measure(None, grammar.sample(2, 0))
    with pytest.raises(InvalidParameter, match="must be one of"):
        PhaseTransition(noise="salt")  # type: ignore[arg-type]


def test_no_transition_is_said_and_not_nan() -> None:
    """Below and above the range of m with a transition the prediction has no threshold."""
    always_lost = PhaseTransition(v=32, m=20, L=3, noise="epsilon").predict()
    assert "critical" not in always_lost
    assert not any(bool(always_lost[name].isnull().any()) for name in always_lost.data_vars)


def test_density_evolution_answers_in_the_same_labels(tmp_path: Path) -> None:
    experiment = replace(SMALL, noise="masking", refine=1)
    ds = experiment.measure()
    times = ds.t.values
    theory = experiment.predict("population", times, size=2000, folder=tmp_path)
    assert theory.belief.dims == ds.belief.dims
    stamps = [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())]
    xr.testing.assert_equal(
        theory, experiment.predict("population", times, size=2000, folder=tmp_path, workers=2)
    )
    assert [p.stat().st_mtime_ns for p in sorted(tmp_path.iterdir())] == stamps
    both = compare(theory, ds)
    # v = 8 is small: grammars share their rules, which density evolution does not know
    assert float(np.abs(both.belief.diff("source")).max()) < 0.15
    assert theory.threshold_error > 0


def test_the_width_of_the_transition_shrinks_with_depth() -> None:
    """From .9 to .1 of the belief in the class: wide in shallow trees."""
    found = [
        PhaseTransition(v=16, m=4, L=L, grammars=8, data=8, levels=31, refine=0).measure()
        for L in (3, 8)
    ]
    wide, narrow = ((float(ds.width), float(ds.width_error)) for ds in found)
    assert 0 < narrow[0] < 1
    assert wide[0] - narrow[0] > 3 * np.hypot(wide[1], narrow[1])
    assert all(float(ds.threshold_missed) == 0 for ds in found)


GRAMMAR = RHM(8, 2, 2, 3).draw(0)


def test_samples_of_a_fine_chain_lose_levels_as_exact_inference_does() -> None:
    """And those of a chain of two steps do not."""
    experiment = PhaseTransition(noise="masking", t=(0.3, 0.6), data=1500)
    exact = experiment.measure(ExactRHM(GRAMMAR, MaskingNoise(8)))
    z = []
    for steps in (60, 2):
        model = SimulatedModel(ExactRHM(GRAMMAR, MaskingNoise(8)), steps)
        ds = experiment.measure(model, GRAMMAR)
        assert set(ds.valid.dims) == {"t"}
        gap = (ds.retention - exact.retention) / np.hypot(ds.retention_error, exact.retention_error)
        z.append(float(np.abs(gap).max()))
        np.testing.assert_array_equal(ds.belief, ds.retention)  # estimated by the same samples
    assert z[0] < 4
    assert z[1] > 6


def test_one_grammar_is_read_from_the_model_or_from_the_data() -> None:
    experiment = PhaseTransition(noise="masking", t=(0.3, 0.6))
    data = GRAMMAR.sample(20, 1)
    first = experiment.measure(ExactRHM(GRAMMAR, MaskingNoise(8)), data)
    xr.testing.assert_equal(first, experiment.measure(
        ExactRHM(GRAMMAR, MaskingNoise(8)), (GRAMMAR, data)
    ))  # fmt: skip


def test_sampled_models_do_not_depend_on_the_way_of_working(tmp_path: Path) -> None:
    experiment = PhaseTransition(noise="uniform", t=(0.3, 0.6))
    model = SimulatedModel(ExactRHM(GRAMMAR, UniformNoise(8)), 3)
    data = (GRAMMAR, GRAMMAR.sample(20, 1))
    first = experiment.measure(model, data, workers=1)
    for _ in range(2):
        xr.testing.assert_equal(first, experiment.measure(model, data, folder=tmp_path, workers=2))
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_vectors_are_read_by_their_mixture_or_by_a_classifier() -> None:
    mixture = LowRankMixture.random(6, 2, 3, delta=0.0, seed=0)
    x, k = mixture.sample(200, 1)
    memory = EmpiricalModel(x, GaussianNoise())
    experiment = PhaseTransition(noise="gaussian", t=(0.01, 1.0))
    ds = experiment.measure(memory, (mixture, (x[:40], k[:40])))
    assert dict(ds.retention.sizes) == {"level": 1, "t": 2}
    assert float(ds.retention[0, 0]) == 1.0
    assert "valid" not in ds
    # without noise nothing is left but the frequencies of the classes
    chance = float((np.bincount(k) / len(k)) @ (np.bincount(k[:40]) / 40))
    assert abs(float(ds.retention[0, 1]) - chance) < 4 * float(ds.retention_error[0, 1])
    nearest = experiment.measure(memory, (x[:40], k[:40], lambda new: nearest_label(new, x, k)))
    assert float(nearest.retention[0, 0]) == 1.0


def nearest_label(new: np.ndarray, x: np.ndarray, k: np.ndarray) -> np.ndarray:
    return k[((new[:, None] - x) ** 2).sum(axis=2).argmin(axis=1)]


def test_a_model_without_latents_needs_data_that_say_how_to_read_them() -> None:
    model = SimulatedModel(ExactRHM(GRAMMAR, MaskingNoise(8)), 2)
    experiment = PhaseTransition(noise="masking", t=(0.3, 0.6))
    data = GRAMMAR.sample(5, 0)
    for wrong, words in (
        (None, "has no latents"), (data, "has no latents"), (data.leaves, "has no latents"),
        ((GRAMMAR, data.leaves), "Derivations"), ((GRAMMAR, data[:1]), "no error bar"),
        ((data.leaves, data.levels[0][:, 0], lambda x: x), "one class each"),
        ((RHM(8, 2, 2, 2).draw(0), data), "nodes per level"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words) as error:
            experiment.measure(model, wrong)
        one_line(error)
