r"""Sweeps as lists of tasks that can be interrupted and resumed.

A *task* is a function with its arguments, and a set of *parameters* that say in words what it is.
Each finished task is one file, written under a temporary name and renamed; running the same sweep
again does only what is missing.  Results do not depend on the number of workers, because a task
draws its random numbers from streams named by its parameters.

When is a file the result of a task?
    Its name is a hash of the function's name, of the parameters, and of the *content* of all
    arguments: data, labels, weights, images, grammars, models, by
    :func:`hierdiff.fingerprints.fingerprint`.  The hash is taken here, so no study can leave out
    something that its tasks read; an argument that has no content to be hashed is refused.  Inside,
    the file repeats all this, and lists names, types and shapes of its arrays.

By which code?
    The file holds the :func:`hierdiff.fingerprints.code_version` of the function and of the types
    of its arguments: the syntax of all modules that they import, and the versions of the packages.
    If it is that of the running code the result is used again.  If not, the sweep says once how
    many tasks were made by other code, and runs them again.  Prose, comments and formatting are no
    part of the version.

Where does it say so?
    The file holds the commit and the library versions of the process that computed it.  Whatever a
    sweep returns is reported by :func:`hierdiff.results.used`, and so stands in the provenance of
    the results that are made of it, with one line for each commit.

What is not tracked: files that a task opens by a name in a string (give a ``Path``: its content
counts), the environment, and global variables that a program changes while it runs.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import gc
import hashlib
import importlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hierdiff._files import (
    one_line,
    read_npz,
    remove_leftovers,
    set_aside,
    shown,
    write_npz,
)
from hierdiff._progress import Progress
from hierdiff.checks import checked, count
from hierdiff.errors import DamagedFile, HierdiffError, InvalidParameter
from hierdiff.fingerprints import Fingerprints, code_version, package_code
from hierdiff.results import origin, used, writable_folder

__all__ = [
    "Task",
    "TaskFileSetAside",
    "TasksOfOtherCode",
    "WorkerFailed",
    "run_tasks",
    "unfinished",
]

Array = NDArray[Any]
Arrays = dict[str, Array]

_FORMAT = "hierdiff.Task 2"
# names of arrays that the file, or the function that writes it, takes for itself
_RESERVED = ("allow_pickle", "file", "format", "parameters", "task")
# seconds: a scheduler in reach answers in a fraction of one; workers of a batch system come later
_CONNECT, _ARRIVE = 5.0, 30.0


class TaskFileSetAside(UserWarning):
    """A task file was not what it should be; it was renamed and its task is run again."""


class TasksOfOtherCode(UserWarning):
    """Finished tasks were made by other code or other library versions; they are run again."""


class WorkerFailed(HierdiffError, RuntimeError):
    """A worker of a cluster is of no use, or a task failed there."""


# ----------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Task:
    """One piece of a sweep.

    Parameters
    ----------
    function : callable
        Called with ``arguments``; returns named arrays.  It must be importable, so that other
        processes can run it.
    arguments : tuple
        Everything that it reads.
    parameters : mapping
        What the task is, in a form that JSON knows: words, numbers (of NumPy, too), paths, and
        lists and mappings of these.

    Raises
    ------
    InvalidParameter
        If a parameter is of another kind, or is no finite number.

    Notes
    -----
    Validity: tasks with equal function, ``parameters`` and content of ``arguments`` are taken to
    have equal results, as long as their code is the same.

    Examples
    --------
    >>> one = Task(print, (np.arange(3),), {"v": 2, "t": 0.5})
    >>> one.id == Task(print, (np.arange(3),), {"t": np.float64(0.5), "v": np.int8(2)}).id
    True
    >>> one.id == Task(print, (np.arange(4),), {"v": 2, "t": 0.5}).id
    False
    """

    function: Callable[..., Arrays]
    arguments: tuple[Any, ...]
    parameters: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not callable(self.function) or not isinstance(self.arguments, tuple):
            raise InvalidParameter(
                f"a task of {type(self.function).__name__} and {type(self.arguments).__name__} "
                "cannot be run; give a function and a tuple of its arguments"
            )
        self.canonical  # noqa: B018 - a parameter of no use is refused here, not after the work

    @property
    def canonical(self) -> str:
        """The parameters in one spelling."""
        return json.dumps(_spelled("parameters", self.parameters), sort_keys=True)

    @property
    def id(self) -> str:
        """Hash of function, parameters and content of the arguments."""
        return _identity(self, Fingerprints()).id


def _spelled(name: str, value: Any) -> Any:
    """A parameter in the form that JSON keeps."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, enum.Enum):
        return _spelled(name, value.value)
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        return _spelled(name, value.tolist())
    if isinstance(value, np.generic):
        return _spelled(name, value.item())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and np.isfinite(value):
        return float(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, (tuple, list, range)):
        return [_spelled(f"{name}[{i}]", item) for i, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _spelled(f"{name}[{key!r}]", item) for key, item in value.items()}
    raise InvalidParameter(
        f"{name} = {shown(value)} cannot be part of a task's parameters; give words, finite "
        "numbers, and lists or mappings (with words as keys) of these"
    )


def _tasks(name: str, value: Any) -> list[Task]:
    """A sequence of tasks, as it is now: a caller may change it while they run."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(x, Task) for x in value):
        raise InvalidParameter(f"{name} of type {type(value).__name__} must be a list of Task")
    return list(value)


class _Identity(NamedTuple):
    """What a task's file is called, and what stands in it."""

    id: str
    task: dict[str, str]
    code: str


def _identity(task: Task, prints: Fingerprints) -> _Identity:
    """Name and header of a task's file."""
    function = task.function
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    try:
        content, code = prints.both((function, task.arguments))
    except InvalidParameter as error:
        raise InvalidParameter(
            f"the task {name} cannot be kept in a folder, because an argument of type {error}"
        ) from None
    words = {"function": name, "parameters": task.canonical, "content": content}
    digest = hashlib.blake2b(json.dumps(words, sort_keys=True).encode(), digest_size=12)
    return _Identity(digest.hexdigest(), words, code)


@checked(tasks=_tasks, workers=count)
def run_tasks(
    tasks: Sequence[Task],
    folder: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    name: str = "tasks",
    cluster: str | None = None,
) -> list[Arrays]:
    """Do all tasks that have not been done, with a bar on a terminal, and some lines elsewhere.

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
        Address of a Dask scheduler that runs the tasks instead (extra ``[cluster]``); its workers
        must have this version of hierdiff and of its libraries.

    Returns
    -------
    list of dict of arrays
        In the order of the tasks.

    Raises
    ------
    InvalidParameter
        If ``workers`` is not positive, the folder cannot be written, an argument of a task has no
        fingerprint (with a folder only), a result is no mapping of words to arrays of numbers or
        uses a reserved name, Dask is not installed or no scheduler answers.
    WorkerFailed
        If a worker has no hierdiff or another one, or a task fails on a worker.

    Warns
    -----
    TaskFileSetAside
        For a task file that is damaged or belongs to something else.
    TasksOfOtherCode
        Once, if finished tasks were made by other code.

    Notes
    -----
    Validity: results do not depend on workers or on where the sweep was interrupted, as long as
    each task is a function of its arguments.  Names for all tasks cost about 0.1 ms each, and 1 s
    per GB of arguments; the version of the code about 0.3 s, once in a process.
    """
    kept = _Kept.of(tasks, folder) if folder is not None else None
    results: dict[int, Arrays] = {} if kept is None else kept.finished()
    missing = [i for i in range(len(tasks)) if i not in results]
    run = _run_here if cluster is None else _run_on_cluster
    with contextlib.closing(run(tasks, missing, kept, workers, cluster or "")) as done:
        bar = Progress(done, name, total=len(tasks), initial=len(results), unit="tasks")
        for i, arrays, made in bar:
            results[i] = arrays
            used(made)
    return [results[i] for i in range(len(tasks))]


@checked(tasks=_tasks)
def unfinished(tasks: Sequence[Task], folder: str | os.PathLike[str]) -> Callable[[], list[int]]:
    """A function that lists the tasks without a sound file of the running code in a folder.

    Parameters
    ----------
    tasks : sequence of Task
    folder : path-like

    Returns
    -------
    callable
        Returns numbers of tasks; each call looks anew at those that were missing.

    Raises
    ------
    InvalidParameter
        As for :func:`run_tasks`.

    Notes
    -----
    Validity: looks only; nothing is set aside, warned of or reported as used.

    Examples
    --------
    >>> unfinished([Task(print, (), {})], "no such folder")()
    [0]
    """
    kept = _Kept(Path(folder), _identities(tasks))
    missing = list(range(len(tasks)))

    def look() -> list[int]:
        missing[:] = [i for i in missing if kept.state(i)[0] != "finished"]
        return list(missing)

    return look


def _identities(tasks: Sequence[Task]) -> list[_Identity]:
    prints = Fingerprints()
    return [_identity(task, prints) for task in tasks]


# ------------------------------------------------------------------------------------ task files


@dataclass(frozen=True)
class _Kept:
    """The folder of a sweep's finished tasks."""

    folder: Path
    names: list[_Identity]

    @classmethod
    def of(cls, tasks: Sequence[Task], folder: str | os.PathLike[str]) -> _Kept:
        names = _identities(tasks)
        place = writable_folder(folder)
        remove_leftovers(place)
        return cls(place, names)

    def path(self, i: int) -> Path:
        return self.folder / f"{self.names[i].id}.npz"

    def state(self, i: int) -> tuple[str, Arrays, dict[str, Any]]:
        """Whether task i is "finished", "missing", of "other code" or "damaged"."""
        path, wanted = self.path(i), self.names[i]
        if not path.exists():
            return "missing", {}, {}
        try:
            arrays = read_npz(path, _FORMAT)
            header = _header(path, arrays)
            if {k: header.get(k) for k in wanted.task} != wanted.task:
                raise DamagedFile(f"{path} belongs to another task")
        except FileNotFoundError:  # set aside by another process just now
            return "missing", {}, {}
        except DamagedFile as error:
            return "damaged", {}, {"why": str(error)}
        if header["code"] != wanted.code:
            return "other code", {}, header
        return "finished", arrays, header

    def finished(self) -> dict[int, Arrays]:
        """Sound results by number; what is unsound is set aside and said."""
        results: dict[int, Arrays] = {}
        other: list[dict[str, Any]] = []
        for i in range(len(self.names)):
            state, arrays, header = self.state(i)
            if state == "finished":
                results[i] = arrays
                used(header["made"])
            elif state == "damaged":
                aside = set_aside(self.path(i))
                warnings.warn(
                    f"{header['why']}; set aside as {aside.name}, and the task is run again",
                    TaskFileSetAside,
                    stacklevel=4,
                )
            elif state == "other code":
                other.append({**header, "now": self.names[i].code})
        if other:
            warnings.warn(_other_code(other, len(self.names)), TasksOfOtherCode, stacklevel=4)
        return results

    def write(self, i: int, arrays: Arrays, made: Mapping[str, Any]) -> None:
        header = {
            **self.names[i].task, "code": self.names[i].code, "made": made,
            "outputs": _described(arrays),
        }  # fmt: skip
        write_npz(self.path(i), _FORMAT, {**arrays, "task": np.array(json.dumps(header))})


def _described(arrays: Mapping[str, Array]) -> dict[str, list[Any]]:
    return {name: [array.dtype.str, list(array.shape)] for name, array in sorted(arrays.items())}


def _header(path: Path, arrays: Arrays) -> dict[str, Any]:
    """What a task file says of itself, checked against its arrays; taken out of them."""
    try:
        header: dict[str, Any] = json.loads(str(arrays.pop("task")))
        if header["outputs"] != _described(arrays) or not isinstance(header["code"], str):
            raise ValueError
        json.dumps(header["made"]["commit"] + str(header["made"]["versions"]))
    except (KeyError, ValueError, TypeError):
        raise DamagedFile(f"{path} does not hold the arrays that it lists") from None
    return header


def _other_code(other: list[dict[str, Any]], total: int) -> str:
    """One line on tasks made by other code: how many, where, and what differs."""
    commits = collections.Counter(str(x["made"]["commit"])[:12] for x in other)
    differs: set[str] = set()
    for x in other:
        then, now = (_loads(x[k]) for k in ("code", "now"))
        for key in {*then, *now} - {"source"}:
            if then.get(key) != now.get(key):
                differs.add(f"{key} {then.get(key)}, now {now.get(key)}")
        if then.get("source") != now.get("source"):
            differs.add("the source")
    return (
        f"{len(other)} of {total} tasks were finished by other code (commit "
        f"{', '.join(sorted(commits))}; changed: {', '.join(sorted(differs))}); they are run again"
    )


def _loads(words: str) -> dict[str, Any]:
    try:
        found = json.loads(words)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _result(task: Task) -> Arrays:
    """What a task returns, checked: named arrays of numbers, as they will be read again."""
    found = task.function(*task.arguments)
    name = getattr(task.function, "__qualname__", "task")
    if not isinstance(found, Mapping):
        raise InvalidParameter(
            f"the task {name} returned {type(found).__name__}; return a mapping of names to arrays"
        )
    arrays: Arrays = {}
    for key, value in found.items():
        if not isinstance(key, str) or not key or key in _RESERVED or set(key) & set("/\\\0:"):
            raise InvalidParameter(
                f"the task {name} returned an array called {key!r}, which is reserved or no word; "
                "give it another name"
            )
        arrays[key] = np.asarray(value)
        if arrays[key].dtype.hasobject or isinstance(value, np.ma.MaskedArray):
            raise InvalidParameter(
                f"the task {name} returned {key} of type {type(value).__name__}, which holds "
                "objects or a mask; return arrays of numbers"
            )
    return arrays


# ------------------------------------------------------------------------------------- this machine

_Done = Generator[tuple[int, Arrays, dict[str, Any]]]


def _run_here(
    tasks: Sequence[Task], missing: list[int], kept: _Kept | None, workers: int | None, _: str
) -> _Done:
    at_once = min(workers or joblib.cpu_count(), max(len(missing), 1))
    # tasks side by side already fill the processors; linear algebra in each would fight over them
    with threadpool_limits(1 if at_once > 1 else None, "blas"):
        yield from joblib.Parallel(
            n_jobs=at_once, prefer="threads", return_as="generator_unordered"
        )(joblib.delayed(_do)(i, tasks[i], kept) for i in missing)


def _do(index: int, task: Task, kept: _Kept | None) -> tuple[int, Arrays, dict[str, Any]]:
    arrays, made = _result(task), origin()
    if kept is not None:
        kept.write(index, arrays, made)
    return index, arrays, made


# ------------------------------------------------------------------------------------------ cluster

# sent as source, because a worker without hierdiff cannot load a function of hierdiff
_PROBE = """
def probe():
    try:
        from hierdiff.tasks import _equipment
    except Exception as error:
        return {"hierdiff": f"none that can be used ({type(error).__name__}: {error})"}
    return _equipment()
"""


def _equipment() -> dict[str, str]:
    """What must be equal in all processes that work on a sweep."""
    found = origin()
    versions = found["versions"]
    commit = {"commit": found["commit"]} if found["commit"] != "unknown" else {}
    packages = {k: v for k, v in _loads(code_version(run_tasks)).items() if k != "source"}
    return {
        "code": json.dumps({"source": package_code(), **packages}),
        "hierdiff": versions["hierdiff"], **commit,
    }  # fmt: skip


def _probe() -> Callable[[], dict[str, str]]:
    # the name __main__ makes cloudpickle send the code, not a reference to this module
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(_PROBE, space)
    found: Callable[[], dict[str, str]] = space["probe"]
    return found


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    """A connection to a scheduler whose workers are equipped like this process."""
    try:
        dask: Any = importlib.import_module("distributed")
    except ImportError:
        raise InvalidParameter(
            f"cluster = {address!r} needs Dask; pip install 'hierdiff[cluster]'"
        ) from None
    client, trouble = None, ""
    try:
        # the versions that matter are asked for below, and refused rather than warned of
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = dask.Client(address, timeout=_CONNECT)
    except Exception as error:  # no host, no port, no scheduler, no address: each its own type
        trouble = one_line(error)
    if client is None:
        # What is left of the client is collected here.  Collected by chance while another client
        # starts, it would wait for a lock that this thread holds.
        gc.collect()
        raise InvalidParameter(
            f"cluster = {address!r} does not answer ({trouble}); give the address that dask "
            "scheduler prints, such as tcp://host:8786"
        )
    with client:
        yield client


def _check_workers(client: Any, address: str) -> int:
    """Threads of all workers, each of which has been asked what it runs."""
    try:
        client.wait_for_workers(1, timeout=_ARRIVE)
    except TimeoutError:
        raise InvalidParameter(
            f"cluster = {address!r} has no workers after {_ARRIVE:g} s; start some with dask worker"
        ) from None
    here = _equipment()
    for worker, found in sorted(client.run(_probe(), on_error="return").items()):
        if isinstance(found, BaseException):
            found = {"hierdiff": f"none that can be used ({one_line(found)})"}
        _compare_equipment(worker, here, found)
    return sum(client.nthreads().values())


def _compare_equipment(worker: str, here: Mapping[str, str], there: Mapping[str, str]) -> None:
    if dict(there) == dict(here):
        return
    wrong = [
        f"{key} {str(there.get(key))[:80]} instead of {here[key][:80]}"
        for key in ("hierdiff", "commit") if there.get(key) != here.get(key) and key in here
    ]  # fmt: skip
    then, now = _loads(there.get("code", "")), _loads(here["code"])
    if not then or "none" in there.get("hierdiff", "none"):
        wrong = [f"hierdiff {there.get('hierdiff')}"]
    else:
        wrong += [f"{k} {then.get(k)} instead of {v}" for k, v in now.items() if then.get(k) != v]
    raise WorkerFailed(
        f"worker {worker} has {'; '.join(' '.join(w.split()) for w in wrong)}; install there what "
        "runs here"
    )


def _run_on_cluster(
    tasks: Sequence[Task], missing: list[int], kept: _Kept | None, workers: int | None, address: str
) -> _Done:
    with _client(address) as client:
        as_completed: Any = importlib.import_module("distributed").as_completed
        threads = _check_workers(client, address)
        here = _equipment()
        # a few in reserve keep workers busy; more would only fill the scheduler's memory
        ahead = workers or 2 * threads
        waiting = iter(missing)

        def submit(i: int) -> Any:
            one = None if kept is None else _Kept(kept.folder.resolve(), [kept.names[i]])
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph")
                return client.submit(_remote, i, tasks[i], one, here, pure=False)

        futures = as_completed([submit(i) for i in itertools.islice(waiting, ahead)])
        for future in futures:
            for i in itertools.islice(waiting, 1):
                futures.add(submit(i))
            if future.status != "finished":
                raise _failure(future)
            yield future.result()


def _remote(
    index: int, task: Task, kept: _Kept | None, equipment: Mapping[str, str]
) -> tuple[int, Arrays, dict[str, Any]]:
    """A task on a worker, which may have come after the others were asked."""
    worker = importlib.import_module("distributed").get_worker().address
    _compare_equipment(worker, equipment, _equipment())
    try:
        # the worker's threads already fill its processors
        with threadpool_limits(1, "blas"):
            arrays, made = _result(task), origin()
            if kept is not None:
                kept.write(0, arrays, made)
            return index, arrays, made
    except HierdiffError:
        raise
    except Exception as error:
        raise WorkerFailed(
            f"{getattr(task.function, '__qualname__', 'a task')} failed on worker {worker} with "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error


def _failure(future: Any) -> BaseException:
    """The first error of a worker, as an error of hierdiff."""
    error = future.exception()
    if isinstance(error, HierdiffError):
        return error
    return WorkerFailed(
        f"a task was lost on the cluster ({type(error).__name__}: {one_line(error)}); look at the "
        "workers' logs"
    )
