"""Sweeps whose processes are killed at random, share a folder, or run out of disk: the same bits.

A thousand tasks are run without trouble, and again with trouble; every number must be equal bit for
bit, nothing may be lost that was finished, and nothing may be left that is no finished task.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hierdiff import results

ROOT = Path(__file__).resolve().parents[1]
COUNT = 1000

# a module of its own, because other processes import the function of a task
WORK = """
    import sys
    import time
    from pathlib import Path

    import numpy as np

    from hierdiff.seeds import stream
    from hierdiff.tasks import Task, run_tasks


    def walk(n, size):
        time.sleep(0.003)  # a kill finds a task at work
        return {"path": stream(7, "walk", n).standard_normal(size).cumsum(), "n": np.array(n)}


    def sweep(count, size=64):
        return [Task(walk, (n, size), {"n": n}) for n in range(count)]


    def save(path, found):
        np.savez(path, *[x["path"] for x in found], n=[int(x["n"]) for x in found])


    if __name__ == "__main__":
        folder, count, workers, size = Path(sys.argv[1]), *map(int, sys.argv[2:5])
        from hierdiff.command_line import execute

        save(sys.argv[5], execute(lambda: run_tasks(sweep(count, size), folder, workers=workers)))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the module of the tasks."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "walks.py").write_text(textwrap.dedent(WORK))
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> dict[str, np.ndarray]:
    """What nobody has disturbed."""
    assert ended(start(place, "whole", workers=2)) == (0, b"")
    return read(place / "whole.npz")


def start(place: Path, name: str, *, workers: int, size: int = 64) -> subprocess.Popen[bytes]:
    """A process that runs the sweep in the folder ``name``, and writes ``name.npz`` in the end."""
    words = [place / name, COUNT, workers, size, place / f"{name}.npz"]
    return subprocess.Popen(
        [sys.executable, str(place / "walks.py"), *map(str, words)], stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(place)])},
    )  # fmt: skip


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Exit status and what was said on standard error."""
    err = process.communicate(timeout=300)[1]
    return process.returncode, err


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Every number bit for bit, in the same order."""
    assert len(wanted) == COUNT + 1
    assert found.keys() == wanted.keys()
    assert all(found[k].tobytes() == wanted[k].tobytes() for k in wanted)


def finished(folder: Path) -> dict[str, int]:
    """Finished tasks with the times at which they were written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}


def nothing_else(folder: Path) -> None:
    names = [path.name for path in folder.iterdir()]
    assert len(names) == COUNT
    assert all(name.endswith(".npz") and not name.startswith(".") for name in names)


def wait_until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def moved(folder: Path, before: dict[str, int], process: subprocess.Popen[bytes]) -> bool:
    """Whether a task was finished since, or the process has ended."""
    return process.poll() is not None or finished(folder) != before


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("serial", 1), ("joblib", 3)])
def test_a_sweep_killed_at_random_gives_the_same_bits(
    name: str, workers: int, place: Path, whole: dict[str, np.ndarray]
) -> None:
    rng = np.random.default_rng(0)
    folder, kills = place / name, 0
    while True:
        process = start(place, name, workers=workers)
        before = finished(folder)
        wait_until(partial(moved, folder, before, process))
        if kills < 6:  # and then it may end
            time.sleep(float(rng.uniform(0.0, 0.3)))
            process.kill()
        code, err = ended(process)
        after = finished(folder)
        assert all(after[k] == stamp for k, stamp in before.items()), "finished work is kept"
        if code == 0:
            break
        assert code == -signal.SIGKILL, err
        kills += 1
    assert kills >= 5
    same(read(place / f"{name}.npz"), whole)
    nothing_else(folder)


@pytest.mark.slow
def test_a_cluster_whose_workers_are_killed_at_random_gives_the_same_bits(
    place: Path, whole: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their nannies start new ones; a task that was lost too often ends a command, not the work."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(place)]))
    monkeypatch.syspath_prepend(str(place))
    import walks

    from hierdiff.tasks import WorkerFailed, run_tasks

    folder, found = place / "cluster", []
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(processes=True, silence_logs=50, **options) as cluster:

        def work() -> None:
            for _ in range(20):
                try:
                    address = cluster.scheduler_address
                    found.extend(run_tasks(walks.sweep(COUNT), folder, cluster=address))
                    return
                except WorkerFailed:
                    continue

        thread = threading.Thread(target=work)
        thread.start()
        rng, kills = np.random.default_rng(1), 0
        wait_until(lambda: len(finished(folder)) > 10)
        while thread.is_alive() and kills < 6:
            nanny = cluster.workers[int(rng.integers(2))]
            if nanny.pid is not None:
                os.kill(nanny.pid, signal.SIGKILL)
                kills += 1
            known = finished(folder)
            while finished(folder) == known and thread.is_alive():
                time.sleep(0.01)
            time.sleep(float(rng.uniform(0.0, 0.5)))
        thread.join(300)
        assert not thread.is_alive()
    assert kills >= 3
    walks.save(place / "cluster.npz", found)
    same(read(place / "cluster.npz"), whole)
    run_tasks([], folder)  # takes away what killed workers left behind
    nothing_else(folder)


@pytest.mark.slow
def test_two_processes_on_one_folder_give_the_same_bits(
    place: Path, whole: dict[str, np.ndarray]
) -> None:
    """Both start at once; whoever is second at a task writes the same numbers again."""
    both = [start(place, "shared", workers=2) for _ in range(2)]
    # each writes its own table of all numbers under the same name, whole
    assert [ended(process) for process in both] == [(0, b"")] * 2
    same(read(place / "shared.npz"), whole)
    nothing_else(place / "shared")


FULL = """
    set -e
    mount -t tmpfs -o size={size} tmpfs "$1"
    code=0
    "$2" "$3" "$1/tasks" {count} 2 {length} "$4" || code=$?
    ls -A "$1/tasks" | wc -l
    echo "status $code"
    mount -o remount,size=100m "$1"
    exec "$2" "$3" "$1/tasks" {count} 2 {length} "$4"
"""


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(
    place: Path, whole: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """A disk of 2 MB, of which a thousand files need 4; then there is room, and the sweep ends."""
    unshare = shutil.which("unshare")
    small = [str(unshare), "-rm", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if unshare is None or subprocess.run(small, capture_output=True).returncode:
        pytest.skip("a disk of a wanted size takes a mount in a name space of one's own")
    (tmp_path / "disk").mkdir()
    script = textwrap.dedent(FULL.format(size="2m", count=COUNT, length=64))
    words = [tmp_path / "disk", sys.executable, place / "walks.py", place / "full.npz"]
    done = subprocess.run(
        [unshare, "-rm", "sh", "-c", script, "sh", *map(str, words)], capture_output=True,
        text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept, status = done.stdout.split("\n")[:2]
    assert 10 < int(kept) < COUNT
    assert status == "status 2"
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "No space left" in line
    assert "free some space and run the same command again" in line
    same(read(place / "full.npz"), whole)


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_one_line(place: Path) -> None:
    """A quota stops the write itself, not the start of it."""
    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    words = [place / "quota", 3, 1, 4000, place / "quota.npz"]
    done = subprocess.run(
        [sys.executable, str(place / "walks.py"), *map(str, words)], capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=limit, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "File too large" in line
    assert not list((place / "quota").iterdir())


@pytest.mark.slow
def test_two_sweeps_of_an_experiment_on_one_folder_are_one(tmp_path: Path) -> None:
    """Results, figures and tasks: each file is whole, and the numbers are those of one process."""
    words = ["sweep", "phase-transition", "--grid", "m=1,2", "--v", "4", "--L",
             "2", "--grammars", "2", "--data", "2", "--levels", "5", "--refine", "0", "--workers",
             "1", "--quiet"]  # fmt: skip

    def begin(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "hierdiff", *words, "--out", str(tmp_path / out)]
        return subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        )  # fmt: skip

    both = [begin("shared"), begin("shared")]
    assert [ended(process) for process in both] == [(0, b"")] * 2
    assert ended(begin("alone")) == (0, b"")
    name = "sweep_phase_transition.nc"
    shared, alone = (results.load(tmp_path / out / name) for out in ("shared", "alone"))
    assert shared.drop_attrs().identical(alone.drop_attrs())
    assert not list((tmp_path / "shared").rglob(".*"))
