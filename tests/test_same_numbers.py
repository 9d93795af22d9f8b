"""Two trees of results are compared bit for bit; what differs, is missing or is new is named."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hierdiff import results

ROOT = Path(__file__).parents[1]
VALUES = np.array([0.1, np.nan, 0.0])


@pytest.fixture(scope="module")
def script() -> Any:
    path = ROOT / "benchmarks" / "same_numbers.py"
    spec = importlib.util.spec_from_file_location("same_numbers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def write(folder: Path, values: Any = VALUES, *, text: str = "p", seconds: float = 1.0) -> Path:
    """A tree with one result and one summary."""
    variables = {"p": (("t",), np.asarray(values), text)}
    ds = results.label(
        variables, {"t": (("t",), [0.0, 0.5, 1.0], "time")}, "theory", {"v": seconds}
    )
    results.save(ds, folder / "study" / "study.nc")
    summary = {"p": [float(x) for x in np.asarray(values)], "made": {"seconds": seconds}}
    (folder / "study.json").write_text(json.dumps(summary))
    tasks = folder / "study" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "one.json").write_text(json.dumps(seconds))
    return folder


def test_equal_trees_are_equal_whatever_their_provenance(script: Any, tmp_path: Path) -> None:
    old, new = write(tmp_path / "old"), write(tmp_path / "new", seconds=2.0)
    report = script.compare(old, new)
    assert (report.different, report.missing, report.new) == ([], [], [])
    assert report.same == 7  # p, t, source; three numbers and their count
    assert script.main([str(old), str(new)]) == 0


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([0.1 + 2**-56, np.nan, 0.0], "1 of 3 values, at [0]"),  # the last bit of 0.1
        ([0.1, np.nan, -0.0], "1 of 3 values, at [2]"),
        ([0.1, 1.0, 0.0], "now np.float64(1.0)"),
        (np.array([0.1, np.nan, 0.0], np.float32), "float32"),
    ],
)
def test_one_bit_is_seen(
    script: Any, tmp_path: Path, other: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = write(tmp_path / "old"), write(tmp_path / "new", other)
    assert script.main([str(old), str(new)]) == 1
    printed = capsys.readouterr().out
    assert "differs: study/study.nc: p: " in printed
    assert words in printed
    assert "differs: study.json: /p/" in printed


def test_another_description_is_named_and_no_difference(script: Any, tmp_path: Path) -> None:
    old, new = write(tmp_path / "old"), write(tmp_path / "new", text="q")
    report = script.compare(old, new)
    assert [line.split(":")[0] for line in report.described] == ["study/study.nc"]
    assert script.main([str(old), str(new)]) == 0


def test_missing_and_new_files_are_named(script: Any, tmp_path: Path) -> None:
    old, new = write(tmp_path / "old"), write(tmp_path / "new")
    (new / "study.json").unlink()
    (new / "other.json").write_text("3")
    report = script.compare(old, new)
    assert report.new == ["other.json: all 1 values"]
    assert report.missing == ["study.json: all 4 values"]
    assert script.main([str(old), str(new)]) == 1
    (old / "study.json").unlink()
    assert script.main([str(old), str(new)]) == 0  # what is new is no difference


def test_an_entry_that_is_gone_is_named(script: Any, tmp_path: Path) -> None:
    old, new = write(tmp_path / "old"), write(tmp_path / "new")
    (new / "study.json").write_text(json.dumps({"p": [0.1]}))
    report = script.compare(old, new)
    assert report.missing == ["study.json: /p/1", "study.json: /p/2"]
    assert report.different == ["study.json: /p/length: 3, now 1"]


def test_folders_without_results_are_refused(script: Any, tmp_path: Path) -> None:
    for bad in (tmp_path / "none", tmp_path):
        with pytest.raises(SystemExit) as stop:
            script.main([str(bad), str(tmp_path)])
        assert stop.value.code == 2
