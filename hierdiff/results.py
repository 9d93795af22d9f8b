"""Results that describe themselves: labels, provenance, files, comparison along ``source``."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hierdiff.errors import DamagedFile, InvalidParameter

__all__ = [
    "SOURCES", "compare", "label", "load", "provenance", "save", "task_folder", "writable_folder",
    "write_summary",
]  # fmt: skip

SOURCES = ("theory", "simulation", "network")
_PACKAGES = ("hierdiff", "numpy", "scipy", "numba", "xarray")
_IMPORTED = time.perf_counter()
_HOW = ("out", "summary", "workers", "resume", "cluster", "device", "overwrite")
"""Flags that say where and how a study runs, and change none of its numbers."""


def provenance(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Where a result comes from: parameters, versions, commit, command and time.

    Parameters
    ----------
    parameters : mapping
        The fields of the experiment; stored as JSON.

    Returns
    -------
    dict of str
        Attributes for a dataset; all text, so that every netCDF reader shows them.

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
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "parameters": json.dumps(dict(parameters), sort_keys=True, default=str),
        "versions": json.dumps({"python": platform.python_version(), **versions}),
        "commit": _commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


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
    """A labelled result: every variable has dims and a long name, the whole a ``source``.

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
        With the scalar coordinate ``source``.

    Raises
    ------
    InvalidParameter
        If the source is none of the three.

    Examples
    --------
    >>> ds = label({"p": (("t",), [1.0, 0.5], "probability")}, {"t": (("t",), [0, 1], "time")},
    ...            "theory", {})
    >>> ds.p.attrs["long_name"], str(ds.source.values)
    ('probability', 'theory')
    """
    if source not in SOURCES:
        raise InvalidParameter(f"source = {source!r} must be one of {', '.join(SOURCES)}")
    data = {
        k: (dims, np.asarray(x), {"long_name": text}) for k, (dims, x, text) in variables.items()
    }
    axes = {k: (dims, np.asarray(x), {"long_name": text}) for k, (dims, x, text) in coords.items()}
    return xr.Dataset(data, {**axes, "source": source}, dict(attributes))


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
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidParameter(
            f"output folder {str(path)!r} cannot be written ({error.strerror}); "
            "choose another folder or change its permissions"
        ) from None
    return folder


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
            old.unlink()
    return place


def save(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a dataset as netCDF, completely or not at all.

    Parameters
    ----------
    ds : xarray.Dataset
    path : path-like
        Its folder is made if need be.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InvalidParameter
        If the folder cannot be written.

    Notes
    -----
    Validity: written under a temporary name and renamed, so a reader never sees half a file.
    """
    target = Path(path)
    writable_folder(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        ds.to_netcdf(temporary, engine="h5netcdf")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


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
        If the file is not a result of hierdiff.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"no result at {str(path)!r}; run the study that writes it first")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as ds:
            loaded: xr.Dataset = ds.load()
    except (OSError, ValueError, KeyError) as error:
        raise DamagedFile(
            f"{str(path)!r} is no readable netCDF file ({error}); run again"
        ) from None
    if "source" not in loaded.coords:
        raise DamagedFile(f"{str(path)!r} has no source coordinate; it is no result of hierdiff")
    return loaded


def compare(*datasets: xr.Dataset) -> xr.Dataset:
    r"""Put results side by side along ``source``, with z-scores against the first.

    .. math:: z = (x - x_{first}) / \sqrt{\sigma^2 + \sigma_{first}^2}

    Parameters
    ----------
    *datasets : xarray.Dataset
        At least two, with different sources; a variable ``x`` may have an error ``x_error``.

    Returns
    -------
    xarray.Dataset
        Variables that all share, on the coordinates that all share, plus ``x_z`` for each ``x``
        with an error; the first source's z is zero by definition.

    Raises
    ------
    InvalidParameter
        If there are fewer than two datasets, or a source appears twice.

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
    names = [str(ds.source.values) for ds in datasets]
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidParameter(f"compare got sources {names}; give two or more, all different")
    shared = [k for k in datasets[0].data_vars if all(k in ds for ds in datasets)]
    parts = [ds[shared].drop_attrs(deep=False) for ds in datasets]
    both = xr.concat(parts, "source", join="inner", coords="minimal", compat="override")
    for name in shared:
        if f"{name}_error" in shared:
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
    return both


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
        If the folder cannot be written, or ``values`` has an entry "made" of its own.

    Notes
    -----
    Validity: "made" holds command, commit, versions, parameters and seed (where there are
    parameters), time of writing and "seconds": the wall time since the package was imported.
    Tasks that an earlier run had finished are not counted in it.  The file is written under a
    temporary name and renamed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_summary(Path(folder) / "found.json", {"threshold": 0.27}, {"seed": 3})
    ...     found = json.loads(file.read_text())
    >>> found["threshold"], found["made"]["seed"], found["made"]["parameters"]
    (0.27, 3, {'seed': 3})
    """
    found = dict(values) if isinstance(values, Mapping) else {"rows": list(values)}
    if "made" in found:
        raise InvalidParameter('values has an entry "made", which holds provenance; rename it')
    kept = {name: value for name, value in parameters.items() if name not in _HOW}
    record = provenance(kept)
    made = {
        "command": record["command"], "commit": record["commit"],
        "versions": json.loads(record["versions"]), "created": record["created"],
        "seconds": round(time.perf_counter() - _IMPORTED, 1), **(also or {}),
    }  # fmt: skip
    if "tasks" in record:
        made["tasks"] = json.loads(record["tasks"])
    if kept:
        made |= {"parameters": json.loads(record["parameters"]), "seed": kept.get("seed")}
    target = Path(path)
    writable_folder(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({**found, "made": made}, indent=1) + "\n")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
