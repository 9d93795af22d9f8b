"""Sweeps: ids, resume, damaged files, workers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from hierdiff.errors import InvalidParameter
from hierdiff.sims.experiment import Task, TaskFileSetAside, run_tasks

CALLS: list[int] = []


def square(x: int) -> dict[str, np.ndarray]:
    CALLS.append(x)
    return {"y": np.array([x * x])}


def tasks(n: int = 5) -> list[Task]:
    return [Task(square, (i,), {"question": "square", "x": i}) for i in range(n)]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


def values(results: list[dict[str, np.ndarray]]) -> list[int]:
    return [int(r["y"][0]) for r in results]


@pytest.mark.parametrize("workers", [1, 2, 4, None])
def test_results_come_in_the_order_of_the_tasks(workers: int | None) -> None:
    assert values(run_tasks(tasks(), workers=workers)) == [0, 1, 4, 9, 16]


def test_a_finished_sweep_does_nothing_again(tmp_path: Path) -> None:
    first = run_tasks(tasks(), tmp_path)
    stamps = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    CALLS.clear()
    assert values(run_tasks(tasks(), tmp_path)) == values(first)
    assert CALLS == []
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == stamps


def test_only_what_is_missing_is_done(tmp_path: Path) -> None:
    run_tasks(tasks(3), tmp_path)
    CALLS.clear()
    run_tasks(tasks(5), tmp_path)
    assert sorted(CALLS) == [3, 4]


def test_ids_depend_on_parameters_only() -> None:
    one = Task(square, (1,), {"a": 1, "b": 2.5})
    assert one.id == Task(square, (1,), {"b": 2.5, "a": 1}).id
    assert one.id != Task(square, (1,), {"a": 1, "b": 2.0}).id


@pytest.mark.parametrize("damage", ["cut", "garbage", "foreign", "empty"])
def test_a_bad_file_is_set_aside_said_and_done_again(tmp_path: Path, damage: str) -> None:
    run_tasks(tasks(), tmp_path)
    path = tmp_path / f"{tasks()[2].id}.npz"
    whole = path.read_bytes()
    if damage == "foreign":
        whole = (tmp_path / f"{tasks()[3].id}.npz").read_bytes()
    path.write_bytes({"cut": whole[:60], "garbage": b"no archive", "empty": b""}.get(damage, whole))
    CALLS.clear()
    with pytest.warns(TaskFileSetAside, match="set aside") as record:
        found = run_tasks(tasks(), tmp_path)
    assert "\n" not in str(record[0].message)
    assert values(found) == [0, 1, 4, 9, 16]
    assert CALLS == [2]
    assert path.with_suffix(".damaged").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_tasks(tasks(), tmp_path)


def test_an_interrupted_sweep_keeps_what_was_finished(tmp_path: Path) -> None:
    def stop() -> dict[str, np.ndarray]:
        raise KeyboardInterrupt

    sweep = [*tasks(3), Task(stop, (), {"stop": 1}), Task(square, (9,), {"x": 9})]
    with pytest.raises(KeyboardInterrupt):
        run_tasks(sweep, tmp_path, workers=1)
    assert len(list(tmp_path.glob("*.npz"))) == 3
    assert not list(tmp_path.glob(".*"))


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="workers = 0"):
        run_tasks(tasks(), workers=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidParameter, match="cannot be written"):
        run_tasks(tasks(), tmp_path / "file" / "folder")
