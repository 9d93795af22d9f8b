"""Trained dual encoders, and the share of networks that windows explain, in small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, MaskingNoise, run
from hierdiff.errors import InvalidParameter
from hierdiff.theory import ExactRHM
from hierdiff.validation.experiments.dual_encoders import NetworkContrastive
from hierdiff.validation.experiments.local_networks import NetworkLocality

ENCODERS = NetworkContrastive(
    values=(3, 3), widths=(2, 4), hidden=32, batch=64, steps=40, networks=2
)
LOCAL = NetworkLocality(
    v=4, m=2, L=2, width=16, steps=20, batch=32, networks=2, t=(0.3, 0.6), data=60
)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (ENCODERS, "dual encoders of width 2 bind"),
        (LOCAL, "exact inference on all leaves explains"),
    ],
    ids=["encoders", "windows"],
)
def test_from_one_command_and_again_from_its_checkpoints(
    one: NetworkContrastive | NetworkLocality, words: str, tmp_path: Path
) -> None:
    first = run(one, out=tmp_path, summary=tmp_path / "found.json")
    assert words in (tmp_path / "found.json").read_text()
    assert (tmp_path / f"{one.name}.png").stat().st_size > 10_000
    again = run(one, out=tmp_path)
    variable = "accuracy" if isinstance(one, NetworkContrastive) else "explained"
    np.testing.assert_array_equal(again[one.name][variable], first[one.name][variable])
    assert first[one.name][variable].dims == first[f"{one.name}_theory"][variable].dims


def test_hard_negatives_teach_binding() -> None:
    ds = replace(ENCODERS, widths=(2,), steps=250).measure()
    at = ds.accuracy.sel(task="colour exchanged", width=2)
    assert float(at.sel(negatives="hard")) > 0.75


def test_exact_inference_explains_itself_and_smaller_windows_less() -> None:
    tree = LOCAL.predict().explained.sel(kind="tree").values
    assert np.abs(tree[:, -1] - 1).max() < 1e-12
    assert (np.diff(tree, axis=1) > 0).all()


@pytest.mark.parametrize("one", [ENCODERS, LOCAL], ids=["encoders", "windows"])
def test_models_are_refused(one: NetworkContrastive | NetworkLocality) -> None:
    exact = ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4))
    with pytest.raises(InvalidParameter, match="has no place in") as error:
        one.measure(exact)
    one_line(error)


def test_widths_beyond_the_captions_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="exceed the 18 captions"):
        replace(ENCODERS, widths=(2, 19))
