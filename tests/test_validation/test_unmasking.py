"""Parallel unmasking by networks: from one command, and what the parts of the divergence are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, MaskingNoise, run
from hierdiff.errors import InvalidParameter
from hierdiff.theory import ExactRHM
from hierdiff.validation.experiments.unmasking import NetworkUnmasking

SMALL = NetworkUnmasking(
    v=4, m=2, L=2, width=8, train_steps=8, batch=8, networks=2, steps=(1, 2, 4), data=40, strings=40
)


def test_from_one_command_and_again_from_its_checkpoints(tmp_path: Path) -> None:
    first = run(SMALL, out=tmp_path, summary=tmp_path / "found.json")
    ds, law = first["network_unmasking"], first["network_unmasking_theory"]
    assert ds.divergence.dims == law.divergence.dims == ("order", "T")
    assert (
        "network's own error exceeds" in json.loads((tmp_path / "found.json").read_text())["claim"]
    )
    # what conditionals of the grammar pay is the same whoever reveals, in a fixed order
    gap = ds.price.sel(order="spread") - law.divergence.sel(order="spread")
    assert float(abs(gap).max()) < 0.3
    assert float(abs(ds.price.sel(T=4)).max()) < 1e-9
    assert float(ds.learning.min()) > 0.01  # eight steps teach little
    again = run(SMALL, out=tmp_path)["network_unmasking"]
    np.testing.assert_array_equal(again.divergence, ds.divergence)


def test_models_and_bad_fields_are_refused() -> None:
    exact = ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4))
    with pytest.raises(InvalidParameter, match="has no place in") as error:
        SMALL.measure(exact)
    one_line(error)
    for change, words in (
        ({"networks": 1}, "networks"), ({"steps": (1, 5)}, "more than the 4 leaves"),
        ({"orders": ("backwards",)}, "orders"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words):
            replace(SMALL, **change)
