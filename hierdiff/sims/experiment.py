"""The contract of every experiment, and sweeps as lists of tasks that can be interrupted.

A task is a function with its arguments and a set of *parameters* that determine its result.  Its id
is the hash of the parameters.  Each finished task is one file, written under a temporary name and
renamed; running the same sweep again does only what is missing.  Results do not depend on the
number of workers, because a task draws its random numbers from streams named by its parameters.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from hierdiff._files import read_npz, write_npz
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.model import DiffusionModel
from hierdiff.results import writable_folder
from hierdiff.theory._engine import available_threads

__all__ = ["Experiment", "Task", "TaskFileSetAside", "run_tasks"]

Array = NDArray[Any]
Arrays = dict[str, Array]

_FORMAT = "hierdiff.Task 1"


class Experiment(Protocol):
    """A question: the same object predicts and measures, with the same labels."""

    def predict(self, law: str) -> xr.Dataset:
        """What a law of ``hierdiff.theory`` says; ``source`` is "theory"."""

    def measure(self, model: DiffusionModel | None = None, data: Any = None) -> xr.Dataset:
        """What a model does; ``source`` is "simulation" or "network"."""


class TaskFileSetAside(UserWarning):
    """A task file was not what it should be; it was renamed and its task is run again."""


@dataclass(frozen=True)
class Task:
    """One piece of a sweep.

    Parameters
    ----------
    function : callable
        Called with ``arguments``; returns named arrays.  It must be importable, so that other
        processes can run it.
    arguments : tuple
        What it needs, in whatever form.
    parameters : mapping
        Everything that determines the result, in a form that JSON knows.

    Notes
    -----
    Validity: tasks with equal ``parameters`` are taken to have equal results.

    Examples
    --------
    >>> Task(print, (), {"v": 2, "t": 0.5}).id == Task(print, (), {"t": 0.5, "v": 2}).id
    True
    """

    function: Callable[..., Arrays]
    arguments: tuple[Any, ...]
    parameters: Mapping[str, Any]

    @property
    def canonical(self) -> str:
        """The parameters in one spelling."""
        return json.dumps(dict(self.parameters), sort_keys=True)

    @property
    def id(self) -> str:
        """Hash of the parameters."""
        return hashlib.blake2b(self.canonical.encode(), digest_size=12).hexdigest()


def run_tasks(
    tasks: Sequence[Task],
    folder: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    name: str = "tasks",
    cluster: str | None = None,
) -> list[Arrays]:
    """Do all tasks that have not been done, with a progress bar on a terminal.

    Parameters
    ----------
    tasks : sequence of Task
    folder : path-like, optional
        Where finished tasks are kept; without it nothing is written and nothing resumed.
    workers : int, optional
        Tasks at a time, in threads; default all processors.
    name : str
        Word in front of the progress bar.
    cluster : str, optional
        Address of a Dask scheduler that runs the tasks instead (extra ``[cluster]``).

    Returns
    -------
    list of dict of arrays
        In the order of the tasks.

    Raises
    ------
    InvalidParameter
        If ``workers`` is not positive, the folder cannot be written, or Dask is not installed.

    Warns
    -----
    TaskFileSetAside
        For a task file that is damaged or belongs to something else.

    Notes
    -----
    Validity: results do not depend on workers or on where the sweep was interrupted, as long as
    each task is a function of its parameters.
    """
    if workers is not None and workers < 1:
        raise InvalidParameter(f"workers = {workers} must be >= 1")
    kept = writable_folder(folder) if folder is not None else None
    results: dict[int, Arrays] = {}
    for i, task in enumerate(tasks):
        found = _resume(task, kept)
        if found is not None:
            results[i] = found
    missing = [i for i in range(len(tasks)) if i not in results]
    at_once = min(workers or available_threads(), max(len(missing), 1))
    # tasks side by side already fill the processors; linear algebra in each would fight over them
    with _backend(cluster), threadpool_limits(1 if at_once > 1 else None, "blas"):
        jobs = joblib.Parallel(
            n_jobs=at_once,
            prefer=None if cluster else "threads",
            return_as="generator_unordered",
        )(joblib.delayed(_do)(i, tasks[i], kept) for i in missing)
        bar = tqdm(jobs, total=len(tasks), initial=len(results), desc=name, disable=None)
        for i, arrays in bar:
            results[i] = arrays
    return [results[i] for i in range(len(tasks))]


@contextlib.contextmanager
def _backend(cluster: str | None) -> Iterator[None]:
    if cluster is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise InvalidParameter(
            f"cluster = {cluster!r} needs Dask; pip install 'hierdiff[cluster]'"
        ) from None
    with Client(cluster), joblib.parallel_config("dask"):
        yield


def _do(index: int, task: Task, folder: Path | None) -> tuple[int, Arrays]:
    arrays = task.function(*task.arguments)
    if folder is not None:
        stored = {**arrays, "parameters": np.array(task.canonical)}
        write_npz(folder / f"{task.id}.npz", _FORMAT, stored)
    return index, arrays


def _resume(task: Task, folder: Path | None) -> Arrays | None:
    """The stored result of a task, if there is one and it is sound."""
    if folder is None:
        return None
    path = folder / f"{task.id}.npz"
    if not path.exists():
        return None
    try:
        arrays = read_npz(path, _FORMAT)
        if str(arrays.pop("parameters", "")) != task.canonical:
            raise DamagedFile(f"{path} belongs to a task with other parameters")
        return arrays
    except DamagedFile as error:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        warnings.warn(
            f"{error}; set aside as {aside.name}, and the task is run again",
            TaskFileSetAside,
            stacklevel=3,
        )
        return None
