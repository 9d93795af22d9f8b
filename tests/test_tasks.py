"""Sweeps: ids, resume, damaged files, workers."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import one_line

from hierdiff import _files, fingerprints, results
from hierdiff.contracts import Experiment
from hierdiff.errors import InvalidParameter
from hierdiff.tasks import (
    Task,
    TaskFileSetAside,
    TasksOfOtherCode,
    WorkerFailed,
    _compare_equipment,
    run_tasks,
)

CALLS: list[int] = []


def square(x: int) -> dict[str, np.ndarray]:
    CALLS.append(x)
    return {"y": np.array([x * x])}


def cube(x: int) -> dict[str, np.ndarray]:
    return {"y": np.array([x**3])}


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


def test_ids_depend_on_parameters_content_and_function() -> None:
    one = Task(square, (1,), {"a": 1, "b": 2.5})
    assert one.id == Task(square, (1,), {"b": 2.5, "a": 1}).id
    assert one.id != Task(square, (1,), {"a": 1, "b": 2.0}).id
    assert one.id != Task(square, (2,), {"a": 1, "b": 2.5}).id
    assert one.id != Task(cube, (1,), {"a": 1, "b": 2.5}).id


def test_a_task_reads_what_it_read_before(tmp_path: Path) -> None:
    """Equal words, other data: as for two folders with as many images."""
    data = np.arange(5.0)

    def sweep() -> float:
        task = Task(total, (data, Holder(data), tmp_path / "file"), {"images": 5})
        return float(run_tasks([task], tmp_path / "tasks")[0]["sum"])

    (tmp_path / "file").write_bytes(b"1")
    assert sweep() == sweep() == 2 * 10 + 1
    assert len(CALLS) == 1
    data[3] += 1
    assert sweep() == 2 * 11 + 1
    (tmp_path / "file").write_bytes(b"7")
    assert sweep() == 2 * 11 + 7
    assert len(CALLS) == 3


class Holder:
    def __init__(self, inner: np.ndarray) -> None:
        self.inner = inner


def total(data: np.ndarray, holder: Holder, path: Path) -> dict[str, np.ndarray]:
    CALLS.append(0)
    return {"sum": data.sum() + holder.inner.sum() + int(path.read_text())}


def test_an_argument_without_content_is_refused_before_the_work(tmp_path: Path) -> None:
    sweep = [*tasks(3), Task(square, (threading.Lock(),), {})]
    with pytest.raises(InvalidParameter, match="lock has no fingerprint") as error:
        run_tasks(sweep, tmp_path)
    one_line(error)
    assert CALLS == []
    assert not list(tmp_path.iterdir())


CODE = '''"""Words."""
import numpy as np

def task(x):
    return {"y": np.array(FACTOR * x)}

FACTOR = 2
'''


def test_tasks_of_other_code_are_said_once_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "task_code.py"

    def sweep(code: str, commit: str) -> list[float]:
        file.write_text(code)
        sys.modules.pop("task_code", None)
        importlib.invalidate_caches()
        function = importlib.import_module("task_code").task
        monkeypatch.setattr(results, "_commit", lambda: commit)
        todo = [Task(function, (i,), {"i": i}) for i in range(4)]
        return [float(x["y"]) for x in run_tasks(todo, tmp_path / "tasks")]

    assert sweep(CODE, "one") == [0, 2, 4, 6]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sweep(CODE.replace("Words", "Other\nwords") + "# the end", "two") == [0, 2, 4, 6]
    with pytest.warns(TasksOfOtherCode, match=r"4 of 4 tasks .* \(commit one; changed: the source"):
        assert sweep(CODE.replace("= 2", "= 3"), "three") == [0, 3, 6, 9]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sweep(CODE.replace("= 2", "= 3"), "four") == [0, 3, 6, 9]
    assert len(list((tmp_path / "tasks").glob("*.npz"))) == 4


def test_other_libraries_are_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tasks(tasks(2), tmp_path)
    monkeypatch.setattr(fingerprints, "_distribution", lambda top: "0.0.1")
    monkeypatch.setattr(fingerprints, "_VERSIONS", {})
    with pytest.warns(TasksOfOtherCode, match=r"numpy 2[.\d]*, now 0\.0\.1") as record:
        run_tasks(tasks(2), tmp_path)
    assert "\n" not in str(record[0].message)


def test_a_result_names_the_commits_of_its_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @results.tracked
    def measure(n: int, folder: Path, commit: str) -> dict[str, int]:
        monkeypatch.setattr(results, "_commit", lambda: commit)
        run_tasks(tasks(n), folder)
        rows = json.loads(results.provenance({})["tasks"])
        assert all("numpy" in row["versions"] for row in rows)
        return {row["commit"]: row["tasks"] for row in rows}

    assert measure(3, tmp_path / "a", "one") == {"one": 3}
    assert measure(5, tmp_path / "a", "two") == {"one": 3, "two": 2}
    assert measure(5, tmp_path / "a", "three") == {"one": 3, "two": 2}
    # another study of the same process, and of another thread
    assert measure(2, tmp_path / "b", "four") == {"four": 2}
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda k: measure(k, tmp_path / f"c{k}", "five"), [2, 3, 4, 5])
        assert list(found) == [{"five": k} for k in (2, 3, 4, 5)]

    @results.tracked
    def both() -> dict[str, int]:
        measure(5, tmp_path / "a", "six")
        measure(2, tmp_path / "b", "six")
        rows = json.loads(results.provenance({})["tasks"])
        return {row["commit"]: row["tasks"] for row in rows}

    assert both() == {"one": 3, "two": 2, "four": 2}
    assert "tasks" not in results.tracked(lambda: results.provenance({}))()


def test_every_experiment_tracks_its_tasks() -> None:
    import pkgutil

    import hierdiff.sims

    found = 0
    for module in pkgutil.iter_modules(hierdiff.sims.__path__, "hierdiff.sims."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and hasattr(thing, "measure") and thing is not Experiment:
                assert hasattr(thing.measure, "__wrapped__"), thing
                assert hasattr(thing.predict, "__wrapped__"), thing
                found += 1
    assert found >= 8


@pytest.mark.parametrize(
    "value",
    [np.nan, np.inf, object(), {1: 2}, {1, 2}, 1j, b"x", np.array([np.nan]), [1, [np.nan]], print],
)
def test_parameters_that_have_no_spelling_are_refused(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="parameters") as error:
        Task(square, (1,), {"a": value})
    one_line(error)


def test_parameters_of_numpy_are_numbers() -> None:
    def spelled(value: Any) -> str:
        return Task(square, (), {"a": value}).canonical

    for value, same in (
        (np.int8(3), 3), (np.float64(0.1), 0.1), (np.bool_(True), True), (np.arange(3), [0, 1, 2]),
        ((1, 2), [1, 2]), (range(2), [0, 1]), (Path("a") / "b", "a/b"), (np.str_("x"), "x"),
        ({"b": np.int64(1)}, {"b": 1}),
    ):  # fmt: skip
        assert spelled(value) == spelled(same)
    assert spelled(np.float32(0.1)) != spelled(0.1)


def returns(value: Any) -> Any:
    return value


@pytest.mark.parametrize(
    "name", ["parameters", "format", "file", "allow_pickle", "task", "", "a/b", 3]
)
@pytest.mark.parametrize("kept", [True, False])
def test_names_that_a_file_would_lose_are_refused(name: Any, kept: bool, tmp_path: Path) -> None:
    task = Task(returns, ({name: np.ones(2)},), {})
    with pytest.raises(InvalidParameter, match="give it another name") as error:
        run_tasks([task], tmp_path if kept else None)
    one_line(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "value",
    [None, 3, [1], {"a": None}, {"a": np.array([None])}, {"a": np.ma.masked_array([1], [1])}],
)
def test_results_that_are_no_arrays_are_refused(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="returned") as error:
        run_tasks([Task(returns, (value,), {})])
    one_line(error)


def test_numbers_come_back_as_they_were_returned(tmp_path: Path) -> None:
    value = {
        "a": 1.5,
        "b": [1, 2],
        "c": "word",
        "d": np.float32(2),
        "e": np.ones((2, 3), order="F"),
    }
    fresh, kept = (run_tasks([Task(returns, (value,), {})], tmp_path)[0] for _ in range(2))
    for name in value:
        assert fresh[name].dtype == kept[name].dtype
        np.testing.assert_array_equal(fresh[name], kept[name], strict=True)


@pytest.mark.parametrize("change", ["name", "shape", "type", "less", "more", "header", "list"])
def test_a_file_with_other_arrays_than_it_lists_is_set_aside(change: str, tmp_path: Path) -> None:
    """Written whole and with right checksums, but not what the task returned."""
    run_tasks(tasks(1), tmp_path)
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as file:
        arrays = dict(file)
    y, header = arrays.pop("y"), json.loads(str(arrays["task"]))
    arrays |= {
        "name": {"z": y}, "shape": {"y": y[:, None]}, "type": {"y": y.astype(float)}, "less": {},
        "more": {"y": y, "z": y}, "header": {"y": y}, "list": {"y": y},
    }[change]  # fmt: skip
    if change == "header":
        header["content"] = "0" * 24
    if change == "list":
        header = [1, 2]
    np.savez(path, **{**arrays, "task": np.array(json.dumps(header))})
    CALLS.clear()
    with pytest.warns(TaskFileSetAside, match="set aside"):
        assert values(run_tasks(tasks(1), tmp_path)) == [0]
    assert CALLS == [0]


def test_a_folder_in_place_of_a_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / f"{tasks()[2].id}.npz" / "inner").mkdir(parents=True)
    (tmp_path / f"{tasks()[2].id}.damaged").mkdir()
    with pytest.warns(TaskFileSetAside, match="is a folder") as record:
        assert values(run_tasks(tasks(), tmp_path)) == [0, 1, 4, 9, 16]
    assert "\n" not in str(record[0].message)
    assert values(run_tasks(tasks(), tmp_path)) == [0, 1, 4, 9, 16]


def test_a_file_that_expands_is_not_read(tmp_path: Path) -> None:
    """A quarter of a megabyte of zeros on disk, a quarter of a gigabyte in memory."""
    import tracemalloc

    path = tmp_path / f"{tasks()[0].id}.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("y.npy", "w") as member,
    ):
        head = {"descr": "<f8", "fortran_order": False, "shape": (2**25,)}
        np.lib.format.write_array_header_1_0(member, head)
        for _ in range(2**8):
            member.write(bytes(2**20))
    tracemalloc.start()
    with pytest.warns(TaskFileSetAside, match=r"would expand to 268 MB"):
        run_tasks(tasks(1), tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_a_header_that_claims_too_much_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / f"{tasks()[0].id}.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("y.npy", "w") as member:
        head = {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
        np.lib.format.write_array_header_1_0(member, head)
    with pytest.warns(TaskFileSetAside, match="damaged or foreign"):
        assert values(run_tasks(tasks(1), tmp_path)) == [0]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    names = {
        "gone": f".a.npz.{_files._HERE}-{gone}-0123abcd.tmp",
        "alive": f".a.npz.{_files._HERE}-{os.getpid()}-0123abcd.tmp",
        "elsewhere": f".a.npz.00000000-{gone}-0123abcd.tmp",
        "old elsewhere": f".b.npz.00000000-{gone}-0123abcd.tmp",
        "old": ".c.npz.0123abcd.tmp",
        "mine": ".notes.tmp",
    }
    for key, name in names.items():
        (tmp_path / name).write_bytes(b"half")
        if key.startswith("old"):
            os.utime(tmp_path / name, (0, 0))
    run_tasks(tasks(1), tmp_path)
    left = {key for key, name in names.items() if (tmp_path / name).exists()}
    assert left == {"alive", "elsewhere", "mine"}


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tasks(tasks(2), tmp_path)
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InvalidParameter, match=r"No space left .*free some space") as error:
        run_tasks(tasks(3), tmp_path, workers=1)
    one_line(error)
    monkeypatch.undo()
    CALLS.clear()
    run_tasks(tasks(3), tmp_path)
    assert CALLS == [2]
    assert not list(tmp_path.glob(".*"))


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


def test_a_worker_with_other_equipment_is_told_what_differs() -> None:
    """All that differs and nothing else; a commit only where this process knows its own."""
    code = json.dumps({"source": "ab", "numpy": "2.1"})
    here = {"code": code, "hierdiff": "1.0", "commit": "aaa"}
    other = json.dumps({"source": "ab", "numpy": "2.2"})
    cases: list[tuple[dict[str, str], dict[str, str], str]] = [
        ({"commit": "bbb"}, here, "commit bbb instead of aaa"),
        ({"hierdiff": "0.9"}, here, "hierdiff 0.9 instead of 1.0"),
        ({"code": other}, here, "numpy 2.2 instead of 2.1"),
        ({"code": other, "commit": "bbb", "hierdiff": "0.9"}, here,
         "hierdiff 0.9 instead of 1.0; commit bbb instead of aaa; numpy 2.2 instead of 2.1"),
        ({"code": "?"}, here, "hierdiff 1.0"),
        ({"code": other, "commit": "bbb"}, {"code": code, "hierdiff": "1.0"},
         "numpy 2.2 instead of 2.1"),
    ]  # fmt: skip
    _compare_equipment("tcp://w", here, dict(here))
    for changed, mine, words in cases:
        with pytest.raises(WorkerFailed) as error:
            _compare_equipment("tcp://w", mine, here | changed)
        expected = f"worker tcp://w has {words}; install there what runs here"
        assert one_line(error) == expected
