"""The contract of every experiment: what it predicts, it measures on every model, in equal labels.

The rows are in ``contract_cases``, a file per experiment (see ``contract.py``).
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from contract import KINDS, Case, Refused, silent
from oracles import one_line

from hierdiff import RHM, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.results import compare
from hierdiff.theory.exact_models import ExactRHM

FILES = sorted(path.stem for path in (Path(__file__).parent / "contract_cases").glob("*.py"))
MODULES = {name: importlib.import_module(f"contract_cases.{name}") for name in FILES}
CASES: dict[str, Case] = {
    f"{name}-{kind}": case for name, module in MODULES.items()
    for kind, case in module.CASES.items()
}  # fmt: skip
# networks without compiled kernels, on experiments that ask a model most often: seconds each
LONG = tuple(
    f"{name}-network"
    for name in ("alignment", "autoregressive", "changed_tree", "parallel_unmasking",
                 "phase_transition")
)  # fmt: skip
EVERY = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in CASES]
)


SAME = {
    "truncated-denoisers": "composition",
    "network-classification": "zero_shot_classification",
    "network-composition": "composition",
    "network-representation": "representation",
}
"""Experiments whose models are in the rows of another one, which they measure through."""


def rows_of(name: str) -> str:
    """File of the rows of a registered experiment."""
    if name in SAME:
        return SAME[name]
    module = EXPERIMENTS[name].place.partition(":")[0].rpartition(".")[2]
    return f"network_{module}" if name.startswith("network-") else module


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if rows_of(n) not in FILES])
def test_an_experiment_without_rows_refuses_models_before_any_work(name: str) -> None:
    """It has models of its own, in sizes that grow, and says so in one line."""
    model = silent(ExactRHM(RHM(8, 2, 2, 3).draw(0), MaskingNoise(8)))
    with pytest.raises(InvalidParameter, match=r"has no place in|takes no model") as error:
        experiment(name)().measure(model)
    one_line(error)


@functools.cache
def setting(name: str) -> tuple[Any, Any]:
    """Model and data of a row."""
    return CASES[name].setting()


@functools.cache
def measured(name: str) -> xr.Dataset:
    """The measurement of a row."""
    found: xr.Dataset = CASES[name].experiment.measure(*setting(name))
    return found


@functools.cache
def theory(name: str) -> xr.Dataset:
    """The prediction beside it."""
    return CASES[name].predict(CASES[name].experiment, measured(name))


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_model_is_asked_or_said_to_be_meaningless(name: str) -> None:
    cannot = getattr(MODULES[name], "CANNOT", {})
    assert {kind.split(",")[0] for kind in MODULES[name].CASES} | cannot.keys() == set(KINDS)
    assert all(len(why) > 20 for why in cannot.values())


@EVERY
def test_a_measurement_has_the_labels_of_the_prediction(name: str) -> None:
    law, ds = theory(name), measured(name)
    assert str(law.source.values) == "theory"
    assert str(ds.source.values) in ("simulation", "network")
    for variable in CASES[name].variables:
        for word in (variable, f"{variable}_error"):
            assert set(law[word].dims) == set(ds[word].dims), word
            for attribute in ("long_name", "units"):
                assert law[word].attrs.get(attribute) == ds[word].attrs.get(attribute), word
        assert ds[variable].attrs["long_name"]
        for dim in ds[variable].dims:
            assert (dim in law.coords) == (dim in ds.coords), dim
            if dim in law.coords:
                assert law[dim].attrs.get("long_name") == ds[dim].attrs.get("long_name"), dim


@EVERY
def test_prediction_and_measurement_are_compared_with_z_scores(name: str) -> None:
    both = compare(theory(name), measured(name)).isel(source=1)
    for variable in CASES[name].variables:
        z = both[f"{variable}_z"].values
        assert np.isfinite(z).any(), variable


@EVERY
def test_a_model_whose_methods_raise_makes_measure_raise(name: str, tmp_path: Path) -> None:
    model, data = setting(name)
    with pytest.raises(Refused):
        CASES[name].experiment.measure(silent(model), data)


@EVERY
def test_the_noise_of_the_model_is_the_noise_of_the_result(name: str) -> None:
    rows = [(CASES[name].experiment, *setting(name)), *CASES[name].noises()]
    first = CASES[name].variables[0]
    found: list[np.ndarray[Any, Any]] = []
    for one, model, data in rows:
        ds = measured(name) if model is rows[0][1] else one.measure(model, data)
        if "t" in ds.coords:
            assert model.noise.name in str(ds.t.attrs["long_name"])
        for other in found:
            assert not np.array_equal(ds[first].values, other)
        found.append(ds[first].values)
