"""Memory against training time: signs of memory on known models, and small networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws import Laws
from oracles import one_line

from hierdiff import RHM, UniformNoise, run
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.memory import (
    StringReadings,
    coincidence,
    copies,
    distinct_strings,
    mixture_coincidence,
    string_count,
)
from hierdiff.sims.models.empirical import EmpiricalModel
from hierdiff.theory import ExactRHM
from hierdiff.theory.rhm.truncated_grammars import truncated
from hierdiff.validation.experiments.training_time import (
    NetworkTrainingTime,
    first_crossing,
    separation,
)

SMALL = NetworkTrainingTime(
    v=4, m=2, L=2, n_train=(2, 0), times=(2, 8, 30), networks=2, width=16, batch=16,
    test=10, samples=40, num_steps=4, t=(0.3, 0.6),
)  # fmt: skip
GRAMMAR, NOISE = RHM(4, 2, 2, 2).draw(seed=0), UniformNoise(4)
DATA = distinct_strings(GRAMMAR, 8, seed=1)


def readings(test: int = 50, samples: int = 400) -> StringReadings:
    return StringReadings(GRAMMAR, NOISE, DATA, (0.3, 0.6), test, samples, 100, 0)


def test_strings_are_counted_and_drawn_without_repetition() -> None:
    there = string_count(GRAMMAR)
    assert there == 4 * 2**3
    every = distinct_strings(GRAMMAR, there, seed=0)
    assert len(np.unique(every, axis=0)) == there
    assert GRAMMAR.is_valid(every).all()
    with pytest.raises(InvalidParameter, match="33 distinct strings are asked of") as error:
        distinct_strings(GRAMMAR, there + 1, seed=0)
    one_line(error)
    brute = {tuple(x) for x in np.ndindex(4, 4, 4, 4) if GRAMMAR.is_valid(np.array([x]))[0]}
    assert {tuple(x) for x in every.tolist()} == brute


def test_copies_against_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    made, data = rng.integers(0, 3, (17, 4)), rng.integers(0, 3, (9, 4))
    least = np.array([[sum(x != y) for y in data] for x in made]).min(axis=1)
    assert copies(made, data) == ((least == 0).mean(), least.mean())


def test_coincidences_of_a_mixture_follow_the_law_and_not_the_share_alone(laws: Laws) -> None:
    """Law (1): c = f^2/P + (1-f)^2/(N-P); wrong one: f/P."""
    P, N, f, S = 50, 2000, 0.4, 300
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        own = rng.random(S) < f
        ids = np.where(own, rng.integers(P, size=S), P + rng.integers(N - P, size=S))
        found.append(coincidence(ids[:, None]))
    values = np.array(found)
    error = values.std(ddof=1) / np.sqrt(len(values))
    name = "coincidences of samples"
    z = (values.mean() - mixture_coincidence(f, P, N)) / error
    wrong = (values.mean() - f / P) / error
    laws.holds(name, z)
    laws.rejects(name, "share over P", wrong)
    assert abs(z) < 3.5
    assert abs(wrong) > 20


def test_readings_of_the_exact_model_are_those_of_the_language() -> None:
    """K_L = 0, copies P/N, coincidences 1/N, all nodes valid."""
    read = readings()
    found = read(ExactRHM(GRAMMAR, NOISE))
    assert found["divergence"] < 1e-12
    np.testing.assert_allclose(found["near"], read_from_references(read), rtol=1e-9)
    N, S = string_count(GRAMMAR), 400
    assert abs(found["copies"] - 8 / N) < 4 * np.sqrt(8 / N / S)
    assert abs(found["coincidence"] - 1 / N) < 6 / S / np.sqrt(N)
    assert found["valid"].min() > 0.97  # of a chain of finitely many steps
    assert found["train"] > 0.1


def read_from_references(read: StringReadings) -> Any:
    """Divergence of the exact posterior from every reference: from, not of."""
    return [
        np.mean([(q[r] * np.log(np.maximum(q[r], 1e-300) / q[2])).sum(axis=2).mean()
                 for _, _, q in read.fresh])
        for r in range(4)
    ]  # fmt: skip


def test_readings_of_the_end_point_are_those_of_the_training_set() -> None:
    """The empirical posterior: nearest to itself, all copies, coincidences 1/P."""
    found = readings()(EmpiricalModel(DATA, NOISE))
    assert found["near"].argmin() == 3
    assert found["train"] < 1e-12
    assert found["copies"] > 0.97
    assert abs(found["coincidence"] - 1 / 8) < 0.02
    assert found["gap"] > 0.1


@pytest.mark.parametrize("known", [0, 1, 2])
def test_a_truncated_model_is_nearest_to_its_own_reference(known: int) -> None:
    read = readings()
    grammar = truncated(GRAMMAR, GRAMMAR.L - known)
    found = read(ExactRHM(grammar, NOISE))
    assert found["near"].argmin() == known
    np.testing.assert_allclose(found["divergence"], read.plateaus[known], atol=1e-12)


@pytest.mark.slow
def test_from_one_command_and_again_from_its_tasks(tmp_path: Path) -> None:
    first = run(SMALL, out=tmp_path, summary=tmp_path / "found.json")
    ds, law = first["network_training_time"], first["network_training_time_theory"]
    assert ds.near.dims == ("n_train", "network", "time", "reference")
    assert law.chance.values.tolist() == [2 / 32, 0]
    assert np.isfinite(ds.divergence.values[:, :, 0]).all()
    assert np.isnan(ds.copies.sel(n_train=0)).all()
    assert np.isnan(ds.near.sel(n_train=0, reference="training set")).all()
    # a network that stops has repeated its training set
    ends = np.isnan(ds.divergence.values).any(axis=2)
    over = (ds.copies - ds.chance) / (1 - ds.chance)
    assert (over.max("time").values[ends] > SMALL.stop).all()
    found = json.loads((tmp_path / "found.json").read_text())
    assert "networks per size" in found["claim"] or "no network" in found["claim"]
    assert (tmp_path / "network_training_time.png").stat().st_size > 10_000
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "tasks").rglob("*.npz")}
    assert len(kept) == 4
    # more sizes leave the finished networks alone
    again = run(replace(SMALL, n_train=(0,)), out=tmp_path, overwrite=True)["network_training_time"]
    np.testing.assert_array_equal(again.divergence, ds.divergence.sel(n_train=[0]))
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "tasks").rglob("*.npz")} == kept


def test_crossings_and_separations() -> None:
    t = np.array([1.0, 10.0, 100.0])
    assert first_crossing(t, np.array([1.0, 1.0, 1.0])) == 1
    assert np.isnan(first_crossing(t, np.array([-1.0, -1.0, np.nan])))
    assert first_crossing(t, np.array([-1.0, 3.0, -1.0])) == pytest.approx(10**0.25)
    assert separation(np.array([1.0]), np.array([1.0])) == 0.5
    with pytest.raises(InvalidParameter, match="times"):
        first_crossing(t[::-1], t)


BAD = {
    "n_train = 32 is not below the 32 strings": {"n_train": (32,)},
    "times = .* must increase": {"times": (4, 2, 8)},
    "times": {"times": (1, 2)},
    "excludes strings of a training set": {"noise": "masking"},
    "stop = 0.1 must exceed copied": {"stop": 0.1},
    "networks = 1": {"networks": 1},
    "names something twice": {"n_train": (4, 4)},
}


@pytest.mark.parametrize("words", BAD)
def test_bad_fields_are_refused_in_one_line(words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        replace(SMALL, **BAD[words])  # type: ignore[arg-type]
    one_line(error)


def test_models_are_refused() -> None:
    with pytest.raises(InvalidParameter, match=r"has no place in|takes no model") as error:
        SMALL.measure(ExactRHM(GRAMMAR, NOISE))
    one_line(error)
