"""Sweeps shared by processes: the union is complete, results are those of one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.tasks import Task, run_tasks
from hierdiff.validation.execution import Process, UnfinishedTasks, run_shared


def square(n: int) -> dict[str, np.ndarray]:
    return {"value": np.array(n**2)}


TASKS = [Task(square, (n,), {"n": n}) for n in range(7)]


def values(found: list[dict[str, np.ndarray]] | None) -> list[int]:
    assert found is not None
    return [int(x["value"]) for x in found]


def test_shares_are_disjoint_and_complete() -> None:
    for count in (1, 2, 3, 8):
        shares = [Process(i, count).share(range(7)) for i in range(count)]
        assert sorted(x for share in shares for x in share) == list(range(7))


def test_the_first_process_collects_what_all_have_done(tmp_path: Path) -> None:
    assert run_shared(TASKS, tmp_path, process=Process(1, 2)) is None
    assert len(list(tmp_path.glob("*.npz"))) == 3
    found = run_shared(TASKS, tmp_path, process=Process(0, 2))
    assert values(found) == values(run_tasks(TASKS)) == [n**2 for n in range(7)]


def test_it_waits_for_the_others(tmp_path: Path) -> None:
    slept: list[float] = []

    def meanwhile(seconds: float) -> None:
        slept.append(seconds)
        run_shared(TASKS, tmp_path, process=Process(1, 2))

    found = run_shared(TASKS, tmp_path, process=Process(0, 2), sleep=meanwhile)
    assert len(slept) == 1
    assert values(found) == [n**2 for n in range(7)]


def test_one_process_resumes_what_several_began(tmp_path: Path) -> None:
    with pytest.raises(UnfinishedTasks, match="3 of 7") as error:
        run_shared(TASKS, tmp_path, process=Process(0, 2), patience=10, sleep=lambda _: None)
    one_line(error)
    assert values(run_shared(TASKS, tmp_path, process=Process())) == [n**2 for n in range(7)]


def test_processes_are_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun sets it; where it sets nothing there is one process."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Process.of() == Process()
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    found = Process.of()
    assert (found.index, found.count, found.collects) == (2, 3, False)
    assert (found.device("cuda"), found.device("cpu")) == ("cuda:0", "cpu")


def test_a_process_outside_the_group_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="process 3 of 3") as error:
        Process(3, 3)
    one_line(error)
