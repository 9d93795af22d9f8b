"""Results that describe themselves: labels, provenance, files, comparison along ``source``.

What goes into a result is listed by itself: whatever computes or reads finished tasks reports them
(:func:`used`), and :func:`provenance` names the commits and library versions of all tasks that were
used in the same *scope*.  A scope is a call of a function under :func:`tracked`, as ``measure`` and
``predict`` of every experiment are, or an experiment run by :func:`hierdiff.sims.run.run`; what is
used in an inner scope counts in the outer one, too.  Outside all scopes it is the whole process: a
result then names too many origins rather than too few.

A run that writes files begins with :func:`start_run`.  This refuses, before any work
is done, to replace files of a run with other parameters, and marks what the study saves.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import dataclasses
import difflib
import fnmatch
import functools
import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import h5py
import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff._files import one_line, remove_leftovers, replacing, shown
from hierdiff.checks import checked, flag
from hierdiff.errors import DamagedFile, InvalidParameter

__all__ = [
    "SOURCES", "OldResult", "compare", "label", "load", "origin", "provenance", "save",
    "start_run", "task_folder", "tasks_of", "tracked", "used", "writable_folder", "write_summary",
]  # fmt: skip

_P = ParamSpec("_P")
_R = TypeVar("_R")

SOURCES = ("theory", "simulation", "network")
# names of variables and coordinates; files without this mark may have older ones
_LAYOUT = "3"
_OLD_NAMES = {
    "gaussian_bias": "noise_bias",
    "gaussian_weighted": "weight_bias",
    "own_budget": "independent_budget",
    "unshared": "independent",
    "world": "data_model",
}
# values of coordinates
_OLD_VALUES = {
    "model": {
        "labelled": "supervised_ppca", "fitted": "ppca_mixture", "separate": "ppca_mixture_own",
    },
}  # fmt: skip
_PACKAGES = ("hierdiff", "numpy", "scipy", "numba", "xarray")
_IMPORTED = time.perf_counter()
# flags that say where and how to work, and change no number
_WHERE = frozenset(
    ("accept_licence", "cluster", "device", "out", "overwrite", "resume", "summary", "workers")
)
# https://cfconventions.org: units, long names, coordinate variables
_CONVENTIONS = "CF-1.11"
# attributes that hierdiff or the conventions take for themselves
_RESERVED = frozenset(
    ("checksum", "commit", "command", "comment", "created", "history", "institution", "layout",
     "parameters", "references", "run", "source", "tasks", "title", "versions")
)  # fmt: skip
# the unit at the end of a long name, before what it is averaged or taken over
_UNIT = re.compile(r"(?:,| in) (nats|bits|seconds|pixels)\b")
# readers of netCDF take "seconds" for a difference of dates
_SYMBOLS = {"nats": "nat", "bits": "bit", "seconds": "s", "pixels": "pixel"}
# a result of a study has some megabytes at most; HDF5 can claim any size without holding it
_UNPACKED = 2**26


# ------------------------------------------------------------------------------------ provenance

_Ledger = collections.Counter[str]
_PROCESS: _Ledger = collections.Counter()
_SCOPE: contextvars.ContextVar[_Ledger | None] = contextvars.ContextVar("scope", default=None)


class OldResult(UserWarning):
    """A file of an older version was read under the names of today."""


@contextlib.contextmanager
def _scope() -> Iterator[None]:
    inner: _Ledger = collections.Counter()
    token = _SCOPE.set(inner)
    try:
        yield
    finally:
        _SCOPE.reset(token)
        _ledger().update(inner)


def _ledger() -> _Ledger:
    found = _SCOPE.get()
    return _PROCESS if found is None else found


def tracked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: results made inside name the tasks used inside, and no others.

    Parameters
    ----------
    function : callable

    Returns
    -------
    callable
        With the same signature; each call is a scope of its own.

    Notes
    -----
    Validity: for what the calling thread does inside.

    Examples
    --------
    >>> @tracked
    ... def measure(commit):
    ...     used({"commit": commit, "versions": {}})
    ...     return json.loads(provenance({})["tasks"])
    >>> [measure(c)[0]["commit"] for c in ("abc", "def")]
    ['abc', 'def']
    """

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _scope():
            return function(*args, **kwargs)

    return wrapper


def used(made: Mapping[str, Any], count: int = 1) -> None:
    """Report that results of tasks are used.

    Parameters
    ----------
    made : mapping
        ``commit`` and ``versions`` of the process that computed them, as :func:`origin` gives.
    count : int
        How many tasks.

    Returns
    -------
    None

    Notes
    -----
    Validity: counted in the scope of the calling thread.
    """
    _ledger()[json.dumps(dict(made), sort_keys=True)] += count


def origin() -> dict[str, Any]:
    """Commit and versions of the code that this process runs.

    Parameters
    ----------
    None

    Returns
    -------
    dict
        ``commit``, as in :func:`provenance`, and ``versions`` by package.

    Notes
    -----
    Validity: as for :func:`provenance`.

    Examples
    --------
    >>> sorted(origin())
    ['commit', 'versions']
    """
    versions = {name: _installed(name) for name in _PACKAGES}
    if "torch" in sys.modules:
        versions["torch"] = str(sys.modules["torch"].__version__)
    return {"commit": _commit(), "versions": {"python": platform.python_version(), **versions}}


@functools.cache
def _installed(package: str) -> str:
    return importlib.metadata.version(package)


def provenance(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Where a result comes from: parameters, versions, commit, command, time, and its tasks.

    Parameters
    ----------
    parameters : mapping
        The fields of the experiment; stored as JSON.

    Returns
    -------
    dict of str
        Attributes for a dataset; all text, so that every netCDF reader shows them.  ``tasks``, if
        any were used in this scope, lists the commits and versions that computed them, with the
        number of tasks of each: a sweep that was resumed after a change names both.

    Notes
    -----
    Validity: the commit is that of the source tree the package runs from when a process first
    asks, as every command does before it starts; "unknown" for an installed wheel, with "+" where
    the tree had uncommitted changes.

    Examples
    --------
    >>> provenance({"v": 32})["parameters"]
    '{"v": 32}'
    """
    _check_mapping("parameters", parameters)
    here = origin()
    found = {
        "parameters": json.dumps(dict(parameters), sort_keys=True, default=_plain),
        "versions": json.dumps(here["versions"]),
        "commit": here["commit"],
        "command": _command(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    ledger = _ledger()
    if ledger:
        rows = [{**json.loads(made), "tasks": count} for made, count in sorted(ledger.items())]
        found["tasks"] = json.dumps(rows)
    return found


def _command() -> str:
    """The command line; of an absolute folder of results only its name.

    Where results lie is no part of what was computed, and would publish a user's folders.
    """
    words = [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else []
    for i, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if equals and flag in ("--out", "--summary"):
            words[i] = f"{flag}={_name_of(value)}"
        elif i and words[i - 1] in ("--out", "--summary"):
            words[i] = _name_of(word)
    return " ".join(words)


def _name_of(place: str) -> str:
    path = Path(place)
    if not path.is_absolute():
        return place
    with contextlib.suppress(ValueError):
        return path.relative_to(Path.cwd()).as_posix()
    return path.name


def tasks_of(*datasets: xr.Dataset) -> dict[str, str]:
    """The attribute ``tasks`` of a result that is made of others.

    Parameters
    ----------
    *datasets : xarray.Dataset
        Their own tasks are added up.

    Returns
    -------
    dict of str
        Empty if none of them has any.

    Notes
    -----
    Validity: for results whose tasks are different ones.

    Examples
    --------
    >>> row = '[{"commit": "abc", "versions": {}, "tasks": 2}]'
    >>> one = label({}, {}, "theory", {"tasks": row})
    >>> tasks_of(one, one)
    {'tasks': '[{"commit": "abc", "versions": {}, "tasks": 4}]'}
    """
    total: _Ledger = collections.Counter()
    for ds in datasets:
        for row in json.loads(ds.attrs.get("tasks", "[]")):
            total[json.dumps({k: v for k, v in row.items() if k != "tasks"})] += row["tasks"]
    rows = [{**json.loads(made), "tasks": count} for made, count in sorted(total.items())]
    return {"tasks": json.dumps(rows)} if rows else {}


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's, anything else as it prints."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return value.as_posix() if isinstance(value, Path) else str(value)


@functools.cache
def _commit() -> str:
    """What was checked out when this was first asked: later commits are not the running code."""

    def git(*words: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *words],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
        return run.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != Path(__file__).resolve().parents[1]:
            return "unknown"
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def label(
    variables: Mapping[str, tuple[tuple[str, ...], Any, str]],
    coords: Mapping[str, tuple[tuple[str, ...], Any, str]],
    source: str,
    attributes: Mapping[str, str],
) -> xr.Dataset:
    """A labelled result: variables have a long name and units, dims a coordinate, all a ``source``.

    Parameters
    ----------
    variables, coords : mapping of name to (dims, values, long name)
    source : str
        "theory", "simulation" or "network".
    attributes : mapping
        As made by :func:`provenance`.

    Returns
    -------
    xarray.Dataset
        With the scalar coordinate ``source``.  A dimension without a coordinate gets the numbers 0,
        1, 2, ...  Units are the one that the long name ends with, as "entropy, nats", and else "1",
        as the CF conventions have it for numbers without a dimension.  Parameters in
        ``attributes`` that are numbers, words or lists of one kind are attributes by their own
        name, too.

    Raises
    ------
    InvalidParameter
        If the source is none of the three, or a name or an attribute cannot be stored as netCDF.

    Examples
    --------
    >>> ds = label({"p": (("t",), [1.0, 0.5], "probability")}, {"t": (("t",), [0, 1], "time")},
    ...            "theory", {})
    >>> ds.p.attrs["long_name"], str(ds.source.values)
    ('probability', 'theory')
    >>> ds.p.attrs["units"], ds.attrs["Conventions"]
    ('1', 'CF-1.11')
    """
    if not isinstance(source, str) or source not in SOURCES:
        raise InvalidParameter(f"source = {shown(source)} must be one of {', '.join(SOURCES)}")
    for what, given in (("variables", variables), ("coords", coords), ("attributes", attributes)):
        _check_mapping(what, given)
    for name, entry in [*variables.items(), *coords.items()]:
        _check_name("variable", name)
        if not isinstance(entry, tuple) or len(entry) != 3:
            raise InvalidParameter(f"{name} = {shown(entry)} must be (dims, values, long name)")
    _check_attributes(attributes)
    data = {k: _described(*entry) for k, entry in variables.items()}
    axes = {k: _described(*entry) for k, entry in coords.items()}
    plain = {k: x for k, x in attributes.items() if k != "Conventions"}
    known = {"Conventions": _CONVENTIONS, **_by_name(attributes, {*plain, *_RESERVED}), **plain}
    try:
        ds = xr.Dataset(data, {**axes, "source": source}, known)
    except (ValueError, TypeError) as error:  # sizes that differ, dims that are none
        raise InvalidParameter(f"the labels do not fit the values ({one_line(error)})") from None
    bare = [str(dim) for dim in ds.dims if dim not in ds.coords]
    numbers = {d: _described((d,), np.arange(ds.sizes[d]), f"number of the {d}") for d in bare}
    # a variable may have the name of a dimension that it does not vary along
    return ds.assign_coords({d: x for d, x in numbers.items() if d not in ds.variables})


def _described(dims: Any, values: Any, text: Any) -> tuple[Any, NDArray[Any], dict[str, str]]:
    """A variable with its long name and, if it is a number, its units."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        return dims, array, {"long_name": text}
    unit = _UNIT.search(text) if isinstance(text, str) else None
    return dims, array, {"long_name": text, "units": _SYMBOLS[unit[1]] if unit else "1"}


def _by_name(attributes: Mapping[str, str], taken: set[str]) -> dict[str, Any]:
    """The parameters that netCDF holds as attributes, by name."""
    try:
        given = json.loads(attributes.get("parameters", "{}"))
    except (TypeError, ValueError):
        return {}
    found = {}
    for name, value in given.items() if isinstance(given, dict) else ():
        kinds = {type(x) for x in value} if isinstance(value, list) else {type(value)}
        if name in taken or "/" in name or kinds not in ({str}, {int}, {float}, {bool}):
            continue
        if isinstance(value, list) and kinds == {str}:
            value = ", ".join(value)
        elif kinds == {bool}:  # netCDF has no truth values
            value = np.asarray(value, int).tolist()
        if _is_plain_attribute(value):  # not a number beyond 64 bits
            found[name] = value
    return found


def with_error(
    name: str, dims: tuple[str, ...], values: ArrayLike, error: ArrayLike, text: str
) -> dict[str, tuple[tuple[str, ...], NDArray[Any], str]]:
    """A variable and its standard error, as :func:`label` takes them.

    Parameters
    ----------
    name : str
    dims : tuple of str
    values, error : array
    text : str
        What the variable is.

    Returns
    -------
    dict
        ``name`` and ``name_error``.

    Examples
    --------
    >>> list(with_error("p", ("t",), [0.5, 0.1], [0.0, 0.0], "probability"))
    ['p', 'p_error']
    """
    return {
        name: (dims, np.asarray(values), text),
        f"{name}_error": (dims, np.asarray(error), f"standard error of: {text}"),
    }


def coordinates(
    variables: Mapping[str, tuple[tuple[str, ...], Any, str]],
    axes: Mapping[str, tuple[Any, str]],
) -> dict[str, tuple[tuple[str, ...], Any, str]]:
    """Coordinates of the dimensions that variables have, as :func:`label` takes them.

    An experiment states its axes once; a prediction or a measurement uses some of them.

    Parameters
    ----------
    variables : mapping of name to (dims, values, long name)
    axes : mapping of dimension to (values, long name)

    Returns
    -------
    dict
        Name to (dims, values, long name), in the order of ``axes``.

    Examples
    --------
    >>> axes = {"t": ([0.1, 0.2], "noise level t"), "level": ([0, 1], "level, root = 0")}
    >>> coordinates(with_error("p", ("t",), [0.5, 0.1], [0.0, 0.0], "probability"), axes)
    {'t': (('t',), [0.1, 0.2], 'noise level t')}
    """
    used = {dim for dims, _, _ in variables.values() for dim in dims}
    return {name: ((name,), *axis) for name, axis in axes.items() if name in used}


@checked
def writable_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made if need be and tried by writing to it.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InvalidParameter
        If nothing can be written there.

    Examples
    --------
    >>> import tempfile
    >>> writable_folder(tempfile.gettempdir()).is_dir()
    True
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))  # on a full disk an empty file can still be made
    except OSError as error:
        raise InvalidParameter(
            f"output folder {str(path)!r} cannot be written ({error.strerror}); "
            "choose another folder or change its permissions"
        ) from None
    return folder


@checked
def task_folder(folder: str | os.PathLike[str], study: str, resume: bool = True) -> Path:
    """Where a study keeps its finished tasks, apart from those of other studies.

    Parameters
    ----------
    folder : path-like
        Folder of the results.
    study : str
    resume : bool
        False removes the tasks of this study that are there.

    Returns
    -------
    pathlib.Path
        ``folder/tasks/study``; it need not exist.

    Notes
    -----
    Validity: removes nothing but files ``*.npz`` in this folder.

    Examples
    --------
    >>> task_folder("out", "composition").as_posix()
    'out/tasks/composition'
    """
    place = Path(folder) / "tasks" / study
    if not resume:
        for old in place.glob("*.npz"):
            try:
                old.unlink()
            except OSError as error:
                raise InvalidParameter(
                    f"{old} cannot be removed ({error.strerror}); move it away"
                ) from None
    return place


# ----------------------------------------------------------------------------- runs and their files


@dataclasses.dataclass(frozen=True)
class _Run:
    """A study that has begun: what it is, which files it writes, whether it may replace others."""

    words: str
    files: tuple[str, ...]
    overwrite: bool

    def writes(self, path: Path) -> bool:
        return any(fnmatch.fnmatchcase(path.stem, pattern) for pattern in self.files)


_RUNS: dict[Path, list[_Run]] = {}


@checked(overwrite=flag)
def start_run(
    study: str,
    parameters: Mapping[str, Any],
    out: str | os.PathLike[str],
    files: Sequence[str],
    *,
    overwrite: bool = False,
    summary: str | os.PathLike[str] | None = None,
) -> Path:
    """The folder of a study's results, made sure that nothing of another run is lost there.

    Parameters
    ----------
    study : str
        Name of its class.
    parameters : mapping
        What determines its results.
    out : path-like
        The folder.
    files : sequence of str
        Names of the results that it will write, without ``.nc``; ``*`` stands for any letters.
    overwrite : bool
        Allow to replace results of other parameters.
    summary : path-like, optional
        A summary that it will write, too.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InvalidParameter
        If the folder cannot be written, or holds such a file from a run with other parameters or
        from another study; if ``summary`` is a summary of other parameters, or no summary.

    Notes
    -----
    Validity: parameters that say where and how to work (workers, device, ...) make no other run.
    The figure of a study goes with its results.

    Examples
    --------
    >>> ds = label({"p": ((), 1.0, "p")}, {}, "theory", {})
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = start_run("Tiny", {"v": 2}, place, ["tiny"])
    ...     path = save(ds, folder / "tiny.nc")
    ...     again = start_run("Tiny", {"v": 2}, place, ["tiny"])
    ...     other = start_run("Tiny", {"v": 3}, place, ["tiny"], overwrite=True)
    ...     start_run("Tiny", {"v": 3}, place, ["tiny"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: .../tiny.nc holds results of other parameters (v = 2, now 3);\
     give another --out, or --overwrite to replace them
    """
    names = tuple(files)
    folder = writable_folder(out)
    remove_leftovers(folder)
    content = _science(parameters)
    words = json.dumps({"study": study, "parameters": content}, sort_keys=True, default=_plain)
    run = _Run(words, names, overwrite)
    for path in sorted(folder.glob("*.nc")):
        if run.writes(path) and not run.overwrite:
            _refuse_other(path, words)
    if summary is not None:
        writable_folder(Path(summary).parent)
        if Path(summary).is_dir():
            raise InvalidParameter(f"summary = {str(summary)!r} is a folder; give a file name")
        if Path(summary).exists() and not overwrite:
            _refuse_other_summary(Path(summary), words)
    known = _RUNS.setdefault(folder.resolve(), [])
    known[:] = [run, *(r for r in known if r.files != names)]
    return folder


def _science(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters without those that say where and how to work, those of nested values included."""
    return {
        k: _science(v) if isinstance(v, Mapping) else v
        for k, v in parameters.items() if k not in _WHERE
    }  # fmt: skip


def _refuse_other(path: Path, words: str) -> None:
    stored = _attributes(path)
    found = stored.get("run")
    if found == words or (found is None and "parameters" not in stored):
        return
    if found is None:
        what = "results of an older version, which does not say their run"
    else:
        what = _difference(json.loads(found), json.loads(words))
    raise InvalidParameter(
        f"{path} holds {what}; give another --out, or --overwrite to replace them"
    )


def _refuse_other_summary(path: Path, words: str) -> None:
    """Refuse to replace a summary of another run, or a file of somebody else."""
    new = json.loads(words)
    try:
        made = dict(json.loads(path.read_text(encoding="utf-8"))["made"])
        stored = made.get("parameters")
        # summaries of older versions do not name their study, some not their parameters
        old = {"study": made.get("experiment", new["study"]),
               "parameters": new["parameters"] if stored is None else _science(stored)}  # fmt: skip
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise InvalidParameter(
            f"summary = {str(path)!r} is a file that hierdiff did not write; give another name, or "
            "--overwrite to replace it"
        ) from None
    # the fingerprint of a model of one's own is kept with the results, and not in a summary
    new["parameters"].pop("model", None)
    old["parameters"].pop("model", None)
    if old != new:
        raise InvalidParameter(
            f"{path} holds {_difference(old, new)}; give another --summary, or --overwrite to "
            "replace them"
        )


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """In words, in what two runs differ."""
    if old.get("study") != new.get("study"):
        return f"results of another study ({old.get('study')})"
    a, b = (_flat(x.get("parameters", {})) for x in (old, new))
    keys = [k for k in sorted({*a, *b}) if a.get(k) != b.get(k)]
    shown = ", ".join(f"{k} = {_short(a.get(k))}, now {_short(b.get(k))}" for k in keys[:3])
    more = f", and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"results of other parameters ({shown}{more})"


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value) if isinstance(value, dict) else {key: value}
    return found


def _short(value: Any) -> str:
    words = json.dumps(value)
    return words if len(words) <= 40 else words[:36] + " ..."


def _attributes(path: Path) -> dict[str, str]:
    """Attributes of a netCDF file that are words; none if it cannot be read."""
    try:
        with h5py.File(io.BytesIO(_unsealed(path.read_bytes())), "r") as file:
            return {str(k): v for k, v in file.attrs.items() if isinstance(v, str)}
    except Exception:  # whatever it is, it is no result that could be lost
        return {}


def _content(parameters: str | None) -> Any:
    """Stored parameters without those that say where and how to work."""
    try:
        found = json.loads(parameters or "null")
    except ValueError:
        return parameters
    return _science(found) if isinstance(found, dict) else found


@checked
def save(ds: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a dataset as netCDF, completely or not at all.

    Parameters
    ----------
    ds : xarray.Dataset
    path : path-like
        Its folder is made if need be.
    overwrite : bool
        Replace a file whose stored parameters differ.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InvalidParameter
        If the folder cannot be written or is full, a file of other parameters would be replaced,
        or a name or an attribute cannot be stored.

    Notes
    -----
    Validity: encoded in memory, written under a temporary name and renamed: a reader never sees
    half a file, and on a full disk the old file stays.  A checksum of all variables is stored, and
    a hash of the file behind its end, where readers of netCDF do not look.
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidParameter(f"ds of type {type(ds).__name__} must be an xarray.Dataset")
    target = Path(path)
    if not target.name:
        raise InvalidParameter(f"path = {str(path)!r} is no file name; give one that ends in .nc")
    folder = writable_folder(target.parent)
    for name, variable in ds.variables.items():
        _check_name("variable", name)
        _check_attributes(variable.attrs)
    for name in ds.dims:
        _check_name("dimension", name)
    _check_attributes(ds.attrs)
    runs = [r for r in _RUNS.get(folder.resolve(), []) if r.writes(target)]
    marked = {**ds.attrs, **({"run": runs[0].words} if runs else {})}
    if not overwrite and not (runs and runs[0].overwrite):
        _refuse_loss(target, marked)
    plain = ds.assign_attrs(marked)
    plain.attrs.pop("checksum", None)
    plain.attrs["layout"] = _LAYOUT
    whole = _sealed(_encoded(plain.assign_attrs(checksum=_checksum(_decoded(_encoded(plain))))))
    with replacing(target) as temporary:
        temporary.write_bytes(whole)
    return target


def _refuse_loss(target: Path, marked: Mapping[Any, Any]) -> None:
    if not target.is_file():
        return
    stored = _attributes(target)
    if "run" in stored and stored["run"] == marked.get("run"):
        return
    old, new = (_content(x.get("parameters")) for x in (stored, marked))
    if "parameters" in stored and old != new:
        both = [{"parameters": x if isinstance(x, dict) else {}} for x in (old, new)]
        raise InvalidParameter(
            f"{target} holds {_difference(*both)}; give another file name, or overwrite=True (for "
            "commands: another --out, or --overwrite)"
        )


def _is_plain_attribute(value: Any) -> bool:
    kinds = (str, int, float, np.generic, np.ndarray, list, tuple)
    try:
        array = np.asarray(value) if isinstance(value, kinds) else np.asarray(None)
    except (ValueError, TypeError, OverflowError):  # lists of lists of other lengths
        return False
    return array.dtype.kind in "biufUS" and array.ndim < 2


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise InvalidParameter(f"{name} = {shown(value)} must be a mapping of names to values")


def _check_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or not name or "/" in name or "\0" in name:
        raise InvalidParameter(
            f"{what} name {shown(name)} cannot be stored as netCDF; give a word without a slash"
        )


def _check_attributes(attributes: Mapping[Any, Any]) -> None:
    for key, value in attributes.items():
        _check_name("attribute", key)
        if not _is_plain_attribute(value):
            raise InvalidParameter(
                f"attribute {key} = {shown(value)} cannot be stored as netCDF; give a word or a "
                "number"
            )


def _encoded(ds: xr.Dataset) -> bytes:
    """The netCDF file as bytes.

    In memory, because HDF5 does not survive a disk that is full.
    """
    buffer = io.BytesIO()
    try:
        ds.to_netcdf(buffer, engine="h5netcdf")
    except Exception as error:  # of xarray, h5netcdf or h5py, each in its own way
        raise InvalidParameter(
            f"the result cannot be stored as netCDF ({one_line(error)}); use numbers and words"
        ) from None
    return buffer.getvalue()


_SEAL = b"\nhierdiff.result sha256 "
_SEAL_SIZE = len(_SEAL) + 64


def _sealed(whole: bytes) -> bytes:
    """The file with a hash of its bytes behind its end, where HDF5 does not look.

    A damaged file can keep the HDF5 library busy for ever; the hash refuses it before it is opened.
    """
    return whole + _SEAL + hashlib.sha256(whole).hexdigest().encode()


def _unsealed(whole: bytes) -> bytes:
    """The bytes that were sealed; those of a file without a seal as they are."""
    inner, seal = whole[:-_SEAL_SIZE], whole[-_SEAL_SIZE:]
    if not seal.startswith(_SEAL):
        return whole
    if seal != _sealed(inner)[-_SEAL_SIZE:]:
        raise ValueError("its bytes have changed since it was written")
    return inner


def _decoded(whole: bytes) -> xr.Dataset:
    # h5py first: h5netcdf prints to the screen when a file of its cannot be opened
    with h5py.File(io.BytesIO(whole), "r") as file:
        claimed: list[int] = []
        file.visititems(lambda _, x: claimed.append(getattr(x, "nbytes", 0) or 0))
        if sum(claimed) > max(2 * len(whole), _UNPACKED):
            raise ValueError(f"it would expand to {sum(claimed) / 1e6:.3g} MB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of readers, about odd values in damaged files
        with xr.open_dataset(io.BytesIO(whole), engine="h5netcdf") as ds:
            loaded: xr.Dataset = ds.load()
    return loaded


def _checksum(ds: xr.Dataset) -> str:
    """Hash of names, dimensions and values of all variables."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(map(str, ds.variables)):
        values: NDArray[Any] = np.asarray(ds.variables[name].values)
        digest.update(f"{name} {ds.variables[name].dims} {values.shape} ".encode())
        if values.dtype.kind in "biufcmM":
            digest.update(values.dtype.str.encode() + np.ascontiguousarray(values).tobytes())
        else:
            digest.update(json.dumps(values.tolist(), default=str).encode())
    return digest.hexdigest()


@checked
def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read what :func:`save` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    xarray.Dataset
        In memory; the file is closed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFile
        If the file is damaged, or is not a result of hierdiff, or a folder.

    Warns
    -----
    OldResult
        For a file of an older version in which names have changed.

    Notes
    -----
    Validity: values are compared with the stored checksum; files without one (of older versions)
    are read as they are.  Variables that have another name today are renamed, with a warning.
    """
    if Path(path).is_dir():
        inside = ", ".join(sorted(p.name for p in Path(path).glob("*.nc"))[:4])
        raise DamagedFile(
            f"{str(path)!r} is a folder; give a result in it: {inside or 'it has none'}"
        )
    if not Path(path).exists():
        raise FileNotFoundError(_missing(Path(path)))
    try:
        loaded = _decoded(_unsealed(Path(path).read_bytes()))
        stored = loaded.attrs.pop("checksum", None)
        sound = stored is None or stored == _checksum(loaded)
        layout = loaded.attrs.pop("layout", None)
    except Exception as error:  # damage surfaces in h5py, h5netcdf and xarray, each in its own way
        raise DamagedFile(_no_result(Path(path), one_line(error))) from None
    if not sound:
        raise DamagedFile(f"{str(path)!r} has changed since it was written; run again")
    if "source" not in loaded.coords or loaded.source.ndim:
        raise DamagedFile(f"{str(path)!r} has no source coordinate; give a file that a run wrote")
    return loaded if layout == _LAYOUT else _with_new_names(loaded, path)


def _missing(path: Path) -> str:
    """What stands in the folder of a file that does not exist, nearest names first."""
    if not path.parent.is_dir():
        return f"{str(path)!r}: no such file, and no such folder; run the study that writes it"
    names = sorted(p.name for p in path.parent.glob(f"*{path.suffix or '.nc'}"))
    near = difflib.get_close_matches(path.name, names, 3, 0.6)
    if near:
        return f"{str(path)!r}: no such file; did you mean {' or '.join(map(repr, near))}?"
    inside = f"its folder holds {', '.join(names[:4])}" if names else "nor another in its folder"
    return f"{str(path)!r}: no such file; {inside}"


def _no_result(path: Path, why: str) -> str:
    """What a file is that cannot be read as a result: damaged, or of another program."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        return f"{str(path)!r} cannot be read ({error.strerror}); change its permissions"
    if start == b"\x89HDF":  # netCDF 4 lies in HDF5
        return f"{str(path)!r} is no readable netCDF file ({why}); run again"
    beside = path.with_suffix(".nc")
    other = beside.exists() and beside != path
    there = f", such as {str(beside)!r}" if other else "" if beside == path else ", ending in .nc"
    return f"{str(path)!r} is no netCDF file; give a result that a run wrote{there}"


def _with_new_names(ds: xr.Dataset, path: str | os.PathLike[str]) -> xr.Dataset:
    """A result of an older version under the names of today; one note if there were old ones."""
    found = {}
    names = {*map(str, ds.variables), *map(str, ds.dims)}
    for name in sorted(names):
        for old, new in _OLD_NAMES.items():
            if name == old or name.startswith(f"{old}_"):
                found[name] = new + name[len(old) :]
    if "tree_level" in ds.variables:  # "level" was the noise level there
        found |= {"tree_level": "level"} | ({"level": "t"} if "level" in ds.variables else {})
    values = {}
    for name in _OLD_VALUES.keys() & set(map(str, ds.coords)):
        known, old_values = _OLD_VALUES[name], ds[name].values.tolist()
        if isinstance(old_values, list) and known.keys() & {*old_values}:
            values[name] = (ds[name].dims, [known.get(x, x) for x in old_values], ds[name].attrs)
            found |= {x: known[x] for x in old_values if x in known}
    if found:
        words = ", ".join(f"{old} is {new}" for old, new in sorted(found.items()))
        warnings.warn(
            f"{str(path)!r} was written by an older version and is read under the names of "
            f"today: {words}", OldResult, stacklevel=3,
        )  # fmt: skip
    return ds.assign_coords(values).rename({k: v for k, v in found.items() if k in names})


# ---------------------------------------------------------------------------------- comparison


def compare(*datasets: xr.Dataset, shared: bool = False) -> xr.Dataset:
    r"""Put results side by side along ``source``, with z-scores against the first.

    .. math:: z = (x - x_{first}) / \sqrt{\sigma^2 + \sigma_{first}^2}

    Parameters
    ----------
    *datasets : xarray.Dataset
        At least two, with different sources; a variable ``x`` may have an error ``x_error``.
        Numerical coordinates are equal if they agree to the rounding of float32.
    shared : bool
        Compare the values of a coordinate that all have, and leave out the others.

    Returns
    -------
    xarray.Dataset
        Variables that all share, on the coordinates that all share (in the first one's spelling),
        plus ``x_z`` for each ``x`` with an error; the first source's z is zero by definition.
        With ``shared`` its attribute ``shared`` tells of each coordinate that was cut how many
        values are left.

    Raises
    ------
    InvalidParameter
        If there are fewer than two datasets, a source appears twice, they share no variable or no
        value of a coordinate; or, without ``shared``, along a coordinate each of them has values
        that another lacks: these would be lost.

    Notes
    -----
    Validity: z is standard normal if errors are Gaussian and independent between sources.

    Examples
    --------
    >>> def one(value, error, source):
    ...     variables = {"p": ((), value, "p"), "p_error": ((), error, "its error")}
    ...     return label(variables, {}, source, {})
    >>> both = compare(one(0.5, 0.0, "theory"), one(0.6, 0.05, "simulation"))
    >>> both.p_z.values.round(6).tolist()
    [0.0, 2.0]
    """
    flag("shared", shared)
    for ds in datasets:
        if not isinstance(ds, xr.Dataset) or "source" not in ds.coords:
            raise InvalidParameter(
                f"compare got {type(ds).__name__} without a source; give results of measure and "
                "predict"
            )
    names = [str(ds.source.values) for ds in datasets]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidParameter(f"compare got sources {names}; give two or more, all different")
    common = [k for k in datasets[0].data_vars if all(k in ds for ds in datasets)]
    if not common:
        raise InvalidParameter("the results share no variable; compare what has the same labels")
    for name in common:
        if len({frozenset(ds[name].dims) for ds in datasets}) > 1:
            raise InvalidParameter(
                f"{name} has dimensions {' and '.join(str(ds[name].dims) for ds in datasets)}; "
                "select the same ones first"
            )
    cut: dict[str, str] = {}
    parts = _joined([ds[common].drop_attrs(deep=False) for ds in datasets], cut if shared else None)
    both = xr.concat(parts, "source", join="exact", coords="minimal", compat="override")
    for name in common:
        if f"{name}_error" in common:
            error = both[f"{name}_error"]
            gap = both[name] - both[name].isel(source=0)
            total = (error**2 + error.isel(source=0) ** 2) ** 0.5
            difference = gap.transpose(*both[name].dims).to_numpy()
            difference = np.where(np.abs(difference) > 1e-12, difference, 0.0)
            scale = total.transpose(*both[name].dims).to_numpy()
            # where both agree without an error, z is zero, not unknown
            scale = np.where((difference == 0) & (scale == 0), 1.0, scale)
            with np.errstate(divide="ignore"):
                z = both[name].copy(data=difference / scale)
            both[f"{name}_z"] = z.assign_attrs(long_name=f"z-score of {name} against {names[0]}")
    both.attrs = {
        f"{names[i]}_{k}": v for i, ds in enumerate(datasets) for k, v in ds.attrs.items()
    }
    if cut:
        both.attrs["shared"] = "; ".join(cut.values())
    return both


def _joined(parts: list[xr.Dataset], cut: dict[str, str] | None) -> list[xr.Dataset]:
    """The datasets on the coordinates that all share, spelled as in the first.

    What is left of a coordinate is told in ``cut``; without it no dataset may lose all it has more.
    """
    for dim in map(str, parts[0].dims):
        if not all(dim in part.coords for part in parts):
            sizes = [part.sizes.get(dim) for part in parts]
            if len(set(sizes)) > 1:
                raise InvalidParameter(f"dimension {dim} has sizes {sizes} and no coordinate")
            continue
        axis = parts[0][dim]
        first = axis.to_numpy()
        places = [_places(dim, first, part[dim].to_numpy()) for part in parts]
        kept = np.flatnonzero(np.all([place >= 0 for place in places], axis=0))
        counts = [part.sizes[dim] for part in parts]
        many = " and ".join(map(str, counts))
        if not len(kept) and min(counts):
            raise InvalidParameter(
                f"coordinate {dim} has {many} values, of which 0 are shared; run both at the "
                f"same values of {dim}"
            )
        if len(kept) < min(counts) and cut is None:
            raise InvalidParameter(
                f"coordinate {dim} has {many} values, of which {len(kept)} are shared; give "
                "shared=True (hierdiff compare --shared) to compare these alone"
            )
        if cut is not None and len(kept) < max(counts):
            cut[dim] = f"{dim}: {len(kept)} of {many} values"
        parts = [
            # the bare values: a coordinate taken from the first result would bring its source along
            part.isel({dim: place[kept]}).assign_coords({dim: (dim, first[kept], axis.attrs)})
            for part, place in zip(parts, places, strict=True)
        ]
    return parts


def _places(dim: str, wanted: NDArray[Any], values: NDArray[Any]) -> NDArray[np.intp]:
    """Where each wanted value stands among others; -1 for none.

    Numbers are equal if they differ by less than the rounding of float32 (times four, for the few
    operations that made them), so that 3 * 0.1, 0.3 and float32(0.3) are one.
    """
    for one in (wanted, values):
        if len(np.unique(one)) < len(one):
            raise InvalidParameter(f"coordinate {dim} has repeated values; select one of each")
    kinds = wanted.dtype.kind + values.dtype.kind
    if not set(kinds) <= set("iufb") or "f" not in kinds:
        known = {value: i for i, value in enumerate(values.tolist())}
        return np.array([known.get(value, -1) for value in wanted.tolist()], np.intp)
    a, b = wanted.astype(float), values.astype(float)
    if not len(a) or not len(b):
        return np.full(len(a), -1)
    unit = 4 * float(np.finfo(np.float32).eps)
    # near zero what counts is the rounding of the numbers that were subtracted
    floor = 4 * float(np.finfo(float).eps) * max(np.abs(a).max(), np.abs(b).max())
    gap = np.abs(a[:, None] - b)
    near = gap.argmin(axis=1)
    close = gap.min(axis=1) <= np.maximum(unit * np.abs(a), floor)
    # each must be the other's nearest: neighbours closer than the rounding are not exchanged
    mutual = gap.argmin(axis=0)[near] == np.arange(len(a))
    return np.where(close & mutual, near, -1)


@checked
def write_summary(
    path: str | os.PathLike[str],
    values: Mapping[str, Any] | Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    also: Mapping[str, Any] | None = None,
) -> Path:
    """Write what a study found as JSON that says how it was made.

    Parameters
    ----------
    path : path-like
        Its folder is made if need be.
    values : mapping or sequence
        What was found, for JSON.  The entries of a mapping stand at the top of the file, a
        sequence under "rows".
    parameters : mapping
        Parameters of the study, of which the folder of results, the number of workers and the like
        are left out.
    also : mapping, optional
        Further entries of "made", such as the device.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InvalidParameter
        If the file cannot be written, ``values`` has an entry "made" of its own, or something in it
        is neither a number, a word nor a list or a mapping of them.

    Notes
    -----
    Validity: numbers that are not finite become null.  "made" holds command, commit, versions,
    parameters and seed (where there are parameters), time of writing, "seconds": the wall time
    since the package was imported, and "cpu_seconds": the processor time of this program and of
    those it started and waited for.  Tasks that an earlier run had finished are not counted;
    "tasks" lists the commits and versions that computed the tasks, with the number of each.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_summary(Path(folder) / "found.json", {"threshold": 0.27}, {"seed": 3})
    ...     found = json.loads(file.read_text())
    >>> found["threshold"], found["made"]["seed"], found["made"]["parameters"]
    (0.27, 3, {'seed': 3})
    """
    if isinstance(values, str | bytes) or not isinstance(values, Mapping | Sequence):
        raise InvalidParameter(f"values = {values!r} must be a mapping or a list of what was found")
    found = dict(values) if isinstance(values, Mapping) else {"rows": list(values)}
    if "made" in found:
        raise InvalidParameter('values has an entry "made", which holds provenance; rename it')
    kept = _science(parameters)
    record = provenance(kept)
    made = {
        "command": record["command"], "commit": record["commit"],
        "versions": json.loads(record["versions"]), "created": record["created"],
        "seconds": round(time.perf_counter() - _IMPORTED, 1),
        # a machine that does other work as well lengthens the wall time, hardly this one
        "cpu_seconds": round(sum(os.times()[:4]), 1), **(also or {}),
    }  # fmt: skip
    if "tasks" in record:
        made["tasks"] = json.loads(record["tasks"])
    if kept:
        made |= {"parameters": json.loads(record["parameters"]), "seed": kept.get("seed")}
    try:
        text = json.dumps({**found, "made": made}, default=_of_numpy)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(
            f"values cannot be written as JSON ({error}); give numbers, words, lists and mappings"
        ) from None
    target = Path(path)
    writable_folder(target.parent)
    with replacing(target) as temporary:
        temporary.write_text(json_text(json.loads(text)) + "\n")
    return target


def json_text(value: Any) -> str:
    """A value as JSON that every reader takes: numbers that are not finite become null.

    Parameters
    ----------
    value : numbers, words, lists, mappings and arrays of them

    Returns
    -------
    str

    Examples
    --------
    >>> print(json_text({"p": np.array([0.5, np.nan])}))
    {
     "p": [
      0.5,
      null
     ]
    }
    """
    return json.dumps(_finite(value), indent=1, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _finite(x) for k, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _of_numpy(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} found")
