"""Sweeps on a Dask cluster: workers do the work, and only workers that have the same code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import one_line

from hierdiff import results, tasks
from hierdiff.errors import InvalidParameter
from hierdiff.sims import PhaseTransition
from hierdiff.tasks import Task, WorkerFailed, run_tasks

distributed = pytest.importorskip("distributed")


def where(n: int) -> dict[str, Any]:
    return {"square": n**2, "worker": distributed.get_worker().address}


def fails(n: int) -> dict[str, Any]:
    if n == 2:
        raise ValueError("two is\nno number")
    if n == 12:
        raise InvalidParameter("n = 12 is too large; lower n")
    return {"n": n}


TASKS = [Task(where, (n,), {"n": n}) for n in range(7)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """One worker of one thread, in this process."""
    options = {"processes": False, "dashboard_address": ":0"}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as made:
        yield made.scheduler_address


def test_one_worker_of_one_thread_does_the_work(cluster: str, tmp_path: Path) -> None:
    for workers in (None, 1, 3):
        found = run_tasks(TASKS, tmp_path / str(workers), cluster=cluster, workers=workers)
        assert [int(x["square"]) for x in found] == [n**2 for n in range(7)]
        assert all("inproc" in str(x["worker"]) for x in found)
        assert len(list((tmp_path / str(workers)).glob("*.npz"))) == 7
    again = run_tasks(TASKS, tmp_path / "None")  # needs no worker
    assert [str(x["worker"]) for x in again] == [str(x["worker"]) for x in found]


def test_an_experiment_gives_the_same_numbers_there(cluster: str) -> None:
    small = PhaseTransition(v=4, m=2, L=2, grammars=2, data=4, levels=5, refine=0)
    np.testing.assert_array_equal(small.measure(cluster=cluster).belief, small.measure().belief)


@pytest.mark.parametrize(
    ("n", "kind", "words"),
    [(2, WorkerFailed, "fails failed on worker inproc.* with ValueError: two is no number"),
     (12, InvalidParameter, "n = 12 is too large")],
)  # fmt: skip
def test_the_first_error_of_a_worker_is_named(
    n: int, kind: type[Exception], words: str, cluster: str
) -> None:
    with pytest.raises(kind, match=words) as error:
        run_tasks([Task(fails, (k,), {"k": k}) for k in (0, 1, n, 3)], cluster=cluster)
    one_line(error)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ({"hierdiff": "none that can be used (ModuleNotFoundError: No module)"}, "hierdiff none"),
        ({"hierdiff": "0.0.9"}, "hierdiff 0.0.9 instead of"),
        ({"commit": "abc"}, "commit abc instead of"),
        ({"code": {"source": "123"}}, "source 123 instead of"),
        ({"code": {"numpy": "1.0"}}, "numpy 1.0 instead of"),
    ],
)
def test_a_worker_with_other_code_is_refused(
    there: dict[str, Any], words: str, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tasks._equipment()
    code = json.dumps({**json.loads(here["code"]), **there.pop("code", {})})
    answer = there if "none" in there.get("hierdiff", "") else {**here, "code": code, **there}
    monkeypatch.setattr(tasks, "_probe", lambda: lambda: answer)
    if "commit" in there:
        monkeypatch.setattr(results, "_commit", lambda: "def")
    with pytest.raises(WorkerFailed, match=rf"worker inproc\S+ has .*{words}") as error:
        run_tasks(TASKS, cluster=cluster)
    one_line(error)


def test_a_worker_that_comes_later_is_asked_too(
    cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tasks._equipment
    calls: list[int] = []

    def changed() -> dict[str, str]:
        calls.append(0)
        return real() if len(calls) <= 3 else {**real(), "hierdiff": "0.0.9"}

    monkeypatch.setattr(tasks, "_equipment", changed)
    with pytest.raises(WorkerFailed, match=r"0\.0\.9 instead of") as error:
        run_tasks(TASKS, cluster=cluster)
    one_line(error)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "http://x:1", ""])
def test_a_wrong_address_is_one_line_and_soon(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_CONNECT", 0.5)
    begun = time.monotonic()
    with pytest.raises(InvalidParameter, match=r"does not answer .*dask scheduler prints") as error:
        run_tasks(TASKS, cluster=address)
    one_line(error)
    assert time.monotonic() - begun < 20


def test_a_cluster_without_workers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_ARRIVE", 0.5)
    options = {"processes": False, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(n_workers=0, **options) as made,
        pytest.raises(InvalidParameter, match="has no workers") as error,
    ):
        run_tasks(TASKS, cluster=made.scheduler_address)
    one_line(error)


WORKER = """
import sys
from distributed.cli.dask_worker import main
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hierdiff":
            raise ModuleNotFoundError("No module named 'hierdiff'")
if "blocked" in sys.argv:
    sys.argv.remove("blocked")
    sys.meta_path.insert(0, Blocked())
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("blocked", [True, False])
def test_workers_of_other_processes(blocked: bool, tmp_path: Path) -> None:
    """Without hierdiff they are refused, and with it they give the numbers of this process."""
    options = {"processes": False, "dashboard_address": ":0", "protocol": "tcp://"}
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    with distributed.LocalCluster(n_workers=0, **options) as made:
        address = made.scheduler_address
        flags = ["--no-nanny", "--no-dashboard", "--nthreads", "1", address]
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, *(["blocked"] if blocked else []), *flags],
            env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        small = PhaseTransition(v=4, m=2, L=2, grammars=2, data=4, levels=5, refine=0)
        try:
            if blocked:
                with pytest.raises(WorkerFailed, match="hierdiff none that can be used") as error:
                    small.measure(cluster=address)
                one_line(error)
            else:
                found = small.measure(folder=tmp_path / "tasks", cluster=address)
                np.testing.assert_array_equal(found.belief, small.measure().belief)
                assert len(list((tmp_path / "tasks").glob("*.npz"))) > 1
        finally:
            worker.terminate()
            worker.wait(30)
