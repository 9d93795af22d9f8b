"""What can be done with a stored result: show it, draw it, compare it, make it again.

A file that a study wrote names the study and its parameters, so the experiment can be made again
from the file alone: its table, its claim and its figure follow from the stored numbers, and a
second run must give the same ones.  A file of another program is refused in one line.

==================  ======================================================================
function            what it does
==================  ======================================================================
``experiment_of``   the experiment that wrote a file, with the parameters that it had
``results_of``      all results of that run in the folder of the file, by their stem
``describe``        dimensions, variables with their ranges and errors, provenance, claim
``summary_of``      what a summary holds, which a run wrote as JSON
``draw``            the figure of the run, from the stored numbers; that of a sweep, too
``scores``          z-scores of two or more results against the first, a row per variable
``run_again``       a second run of the same experiment, and in how many numbers it differs
==================  ======================================================================
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from hierdiff import results
from hierdiff._display import text_table
from hierdiff.checks import checked, shown, unchecked
from hierdiff.contracts import Experiment
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.sims.run import FORMATS, run, save_figure, write_figures
from hierdiff.sims.sweep import is_sweep, sweep_figure

__all__ = [
    "FORMATS",
    "Score",
    "describe",
    "draw",
    "experiment_of",
    "results_of",
    "run_again",
    "score_table",
    "scores",
    "summary_of",
    "values_of",
]  # fmt: skip

# two and three standard errors, as the laws of the toolkit are judged
_NEAR = 2.0


# --------------------------------------------------------------------------- experiments from files


def _words(ds: xr.Dataset, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Study and parameters that a file names."""
    try:
        found = json.loads(ds.attrs["run"])
        return {"study": str(found["study"]), "parameters": dict(found["parameters"])}
    except (KeyError, TypeError, ValueError):
        raise InvalidParameter(
            f"{str(path)!r} does not name the study that wrote it; give a file that a run wrote"
        ) from None


@checked
def experiment_of(path: str | os.PathLike[str]) -> Experiment:
    """The experiment that wrote a result, with the parameters it had.

    Parameters
    ----------
    path : path-like
        A file ``NAME.nc`` of a run.

    Returns
    -------
    Experiment

    Raises
    ------
    FileNotFoundError, DamagedFile
        As :func:`hierdiff.results.load`.
    InvalidParameter
        If the file names no study, or one that is not registered, or parameters that the study has
        no longer; or if the run measured a model of the user's, which the file does not hold.

    Notes
    -----
    Validity: registered experiments, as ``hierdiff list`` prints them.

    Examples
    --------
    >>> import tempfile
    >>> words = '{"study": "Alignment", "parameters": {"v": 6, "seed": 3}}'
    >>> ds = results.label({"p": ((), 1.0, "p")}, {}, "theory", {"run": words})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = experiment_of(results.save(ds, Path(folder) / "alignment.nc"))
    >>> type(found).__name__, found.v, found.seed
    ('Alignment', 6, 3)
    """
    words = _words(results.load(path), path)
    parameters = words["parameters"]
    if "model" in parameters and isinstance(parameters["model"], str):
        raise InvalidParameter(
            f"{str(path)!r} measured a model that the file does not hold; call hierdiff.run with "
            "the model"
        )
    names = [k for k, entry in EXPERIMENTS.items() if entry.place.endswith(":" + words["study"])]
    if not names:
        raise InvalidParameter(
            f"{str(path)!r} was written by {words['study']}, which is no registered experiment "
            "(hierdiff list names them)"
        )
    kind = experiment(names[0])
    old = getattr(kind, "renamed", {})
    parameters = {old.get(name, name): value for name, value in parameters.items()}
    try:
        return typing.cast(Experiment, _decoded(kind, parameters))
    except TypeError as error:
        raise InvalidParameter(
            f"{str(path)!r} holds parameters of another version ({error}); run the study again"
        ) from None


def _decoded(hint: Any, value: Any) -> Any:
    """A value of JSON as the type of a field: tuples, paths, nested dataclasses."""
    origin = typing.get_origin(hint)
    inner = typing.get_args(hint)
    if origin is typing.Annotated:
        return _decoded(inner[0], value)
    if origin in (typing.Union, types.UnionType):
        return _of_union(inner, value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
        hints = typing.get_type_hints(hint, include_extras=True)
        unknown = [k for k in value if k not in hints]
        if unknown:
            raise TypeError(f"{hint.__name__} has no {unknown[0]}")
        return hint(**{k: _decoded(hints[k], x) for k, x in value.items()})
    if origin is tuple and isinstance(value, list):
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_decoded(inner[0], x) for x in value)
        if len(inner) != len(value):
            raise TypeError(f"{len(value)} entries where {len(inner)} belong")
        return tuple(_decoded(h, x) for h, x in zip(inner, value, strict=True))
    if hint is Path and isinstance(value, str):
        return Path(value)
    return value


def _of_union(members: Sequence[Any], value: Any) -> Any:
    """The member of a union that a value belongs to: by its fields, or by its kind."""
    if isinstance(value, Mapping):
        plain = [typing.get_args(h)[0] if typing.get_origin(h) is typing.Annotated else h
                 for h in members]  # fmt: skip
        fits = [
            h for h in plain
            if dataclasses.is_dataclass(h) and {f.name for f in dataclasses.fields(h)} == {*value}
        ]  # fmt: skip
        if not fits:
            raise TypeError(f"no configuration has the fields {', '.join(sorted(value))}")
        return _decoded(fits[0], value)
    for member in members:
        kind = typing.get_origin(member) or member
        if value is None and member is type(None):
            return None
        if isinstance(value, list) and kind is tuple:
            with contextlib.suppress(TypeError):
                return _decoded(member, value)
        if isinstance(value, str) and member is Path and str not in members:
            return Path(value)
    return value


@checked
def results_of(path: str | os.PathLike[str]) -> dict[str, xr.Dataset]:
    """All results of the run that wrote a file, by their stem.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of xarray.Dataset
        The files of the same folder that name the same study and parameters, in the order in which
        the study writes them: predictions first.

    Raises
    ------
    FileNotFoundError, DamagedFile, InvalidParameter
        As :func:`experiment_of`.

    Notes
    -----
    Validity: for folders to which a run wrote.
    """
    first = results.load(path)
    words = _words(first, path)
    found = {}
    for place in sorted(Path(path).parent.glob("*.nc")):
        with contextlib.suppress(Exception):  # of other runs, or of other programs
            ds = first if place == Path(path) else results.load(place)
            if _words(ds, place) == words:
                found[place.stem] = ds
    # a study returns its predictions before what it measures, and may name them as it likes
    return dict(sorted(found.items(), key=lambda item: (not _is_law(*item), item[0])))


def _is_law(stem: str, ds: xr.Dataset) -> bool:
    """Whether a result is a prediction."""
    return stem.endswith("_theory") or ("source" in ds.coords and str(ds.source.values) == "theory")


# ------------------------------------------------------------------------------------------- show


def values_of(ds: xr.Dataset) -> dict[str, dict[str, float]]:
    """Numbers of a result that stand alone, with their errors.

    Parameters
    ----------
    ds : xarray.Dataset

    Returns
    -------
    dict
        Per variable without dimensions ``value``, and ``error`` where there is one.

    Examples
    --------
    >>> both = results.with_error("p", (), 0.5, 0.1, "p")
    >>> values_of(results.label(both, {}, "theory", {}))
    {'p': {'value': 0.5, 'error': 0.1}}
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidParameter(f"ds = {shown(ds)} must be an xarray.Dataset")
    found = {}
    for name in map(str, ds.data_vars):
        if ds[name].ndim or ds[name].dtype.kind not in "iufb" or name.endswith("_error"):
            continue
        found[name] = {"value": float(ds[name])}
        if f"{name}_error" in ds and not ds[f"{name}_error"].ndim:
            found[name]["error"] = float(ds[f"{name}_error"])
    return found


@checked
def summary_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a summary holds: the numbers, the claim, and under "made" how it was made.

    Parameters
    ----------
    path : path-like
        A file that ``--summary FILE`` or :func:`hierdiff.results.write_summary` wrote.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DamagedFile
        If it is no summary of hierdiff.

    Notes
    -----
    Validity: for summaries of any version that name how they were made.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = results.write_summary(Path(folder) / "found.json", {"threshold": 0.27}, {})
    ...     summary_of(file)["threshold"]
    0.27
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"no summary at {str(path)!r}; run the study that writes it first")
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        dict(found["made"].get("parameters") or {})
        found["made"]["commit"]
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise DamagedFile(
            f"{str(path)!r} is no summary of hierdiff; give a file that --summary wrote"
        ) from None
    return dict(found)


def summary_text(found: Mapping[str, Any]) -> str:
    """A summary in some lines: numbers, claim, provenance."""
    made = found["made"]
    names = [k for k in found if k not in ("made", "claim")]
    rows = [[k, _short(found[k])] for k in names]
    lines = [text_table([], rows)] if rows else []
    if "claim" in found:
        lines += ["", str(found["claim"])]
    given = made.get("parameters") or {}
    record = [("parameters", ", ".join(f"{k} = {_short(x)}" for k, x in given.items()))]
    record += [(k, made[k]) for k in ("command", "commit", "created") if k in made]
    return "\n".join([*lines, "", text_table([], [pair for pair in record if pair[1]])])


@checked(ds=unchecked)
def describe(ds: xr.Dataset) -> str:
    """A result in some lines: axes, variables, provenance.

    Parameters
    ----------
    ds : xarray.Dataset
        As :func:`hierdiff.results.load` returns it.

    Returns
    -------
    str

    Raises
    ------
    InvalidParameter
        If it is no labelled result.

    Examples
    --------
    >>> both = results.with_error("p", ("t",), [0.25, 0.5], [0.0, 0.125], "probability")
    >>> print(describe(results.label(both, {"t": (("t",), [0.0, 1.0], "noise")}, "theory", {})))
    source    theory
    t         2 values, 0 to 1: noise
    <BLANKLINE>
    p (t)  .25 to .5, errors up to .125: probability
    """
    if not isinstance(ds, xr.Dataset) or "source" not in ds.coords:
        raise InvalidParameter(f"ds = {shown(ds)} must be a result with a source")
    rows = [("source", str(ds.source.values))]
    for dim, size in ds.sizes.items():
        rows.append((str(dim), f"{size} values{_axis(ds, str(dim))}"))
    lines = [text_table([], rows), ""]
    for name in map(str, ds.data_vars):
        if not name.endswith("_error"):
            lines.append(_variable(ds, name))
    record = [(k, ds.attrs[k]) for k in ("command", "commit", "created") if k in ds.attrs]
    if "parameters" in ds.attrs:
        with contextlib.suppress(ValueError):
            given = json.loads(ds.attrs["parameters"])
            words = ", ".join(f"{k} = {_short(x)}" for k, x in given.items())
            record.insert(0, ("parameters", words))
    return "\n".join(lines + (["", text_table([], record)] if record else []))


def _axis(ds: xr.Dataset, dim: str) -> str:
    if dim not in ds.coords:
        return ""
    axis = ds[dim]
    text = f": {axis.attrs['long_name']}" if "long_name" in axis.attrs else ""
    if axis.dtype.kind in "iuf" and axis.size:
        return f", {_number(axis.values.min())} to {_number(axis.values.max())}{text}"
    return f", {', '.join(map(str, axis.values[:6]))}{text}"


def _variable(ds: xr.Dataset, name: str) -> str:
    x = ds[name]
    text = f": {x.attrs['long_name']}" if "long_name" in x.attrs else ""
    head = f"{name} ({', '.join(map(str, x.dims))})" if x.ndim else name
    if x.dtype.kind not in "iufb" or not x.size:
        return f"{head}  {_short(x.values.tolist())}{text}"
    known = x.values[np.isfinite(x.values.astype(float))]
    error = ds[f"{name}_error"].values.astype(float) if f"{name}_error" in ds else None
    if not known.size:
        return f"{head}  no finite value{text}"
    if not x.ndim:
        doubt = "" if error is None else f" ± {_number(error)}"
        return f"{head}  {_number(known[0])}{doubt}{text}"
    missing = x.size - known.size
    words = f"{_number(known.min())} to {_number(known.max())}"
    if error is not None and np.isfinite(error).any():
        words += f", errors up to {_number(np.nanmax(error[np.isfinite(error)]))}"
    return f"{head}  {words}{f', {missing} not known' if missing else ''}{text}"


def _number(x: Any) -> str:
    """Four digits, without the zero before the point."""
    words = f"{float(x):.4g}"
    return words.replace("0.", ".", 1) if words.startswith(("0.", "-0.")) else words


def _short(value: Any) -> str:
    words = json.dumps(value, default=str)
    return words if len(words) <= 60 else words[:56] + " ..."


# ------------------------------------------------------------------------------------------- draw


@checked
def draw(
    path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, form: str = "png"
) -> list[Path]:
    """Draw the figure of a stored run again, or that of a sweep.

    Parameters
    ----------
    path : path-like
        A result of the run; the others are taken from its folder.  Or ``sweep_NAME.nc``.
    out : path-like, optional
        Folder for the figures; default that of the file.
    form : {"png", "pdf", "svg"}
        Kind of file.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    FileNotFoundError, DamagedFile, InvalidParameter
        As :func:`experiment_of`; or if ``form`` is no known kind, or a result of the run that the
        figure needs is not in the folder.

    Notes
    -----
    Validity: the numbers are the stored ones; nothing is computed.
    """
    if form not in FORMATS:
        raise InvalidParameter(f"format = {shown(form)} must be one of {', '.join(FORMATS)}")
    folder = Path(path).parent if out is None else Path(out)
    first = results.load(path)
    if is_sweep(first):
        target = results.writable_folder(folder) / f"{Path(path).stem}.{form}"
        return [save_figure(sweep_figure(first), target)]
    chosen, found = experiment_of(path), results_of(path)
    folder = results.writable_folder(folder)
    try:
        return write_figures(chosen, found, folder, form)
    except KeyError as error:
        raise InvalidParameter(
            f"the figure needs the result {error.args[0]!r}, which is not in "
            f"{str(Path(path).parent)!r}; run the study again"
        ) from None


# ---------------------------------------------------------------------------------------- compare


class Score(NamedTuple):
    """How one variable of a result stands to that of the first result.

    Attributes
    ----------
    variable, source : str
    values : int
        How many with a finite z-score.
    rms : float
        Root mean square of the z-scores; one if the errors are right and independent.
    largest : float
        Largest absolute z-score.
    near : float
        Share within two standard errors; .954 of independent Gaussian errors.
    shared : str
        How many values of which coordinates are compared, where some were left out.
    """

    variable: str
    source: str
    values: int
    rms: float
    largest: float
    near: float
    shared: str = ""


@checked(paths=unchecked)
def scores(paths: Sequence[str | os.PathLike[str]], *, shared: bool = False) -> list[Score]:
    r"""The z-scores of results against the first, one row per variable and source.

    .. math:: z = (x - x_{first}) / \sqrt{\sigma^2 + \sigma_{first}^2}

    Parameters
    ----------
    paths : sequence of path-like
        Two or more files.  Where two have the same source, the name of the file is added to it.
    shared : bool
        Compare the values of a coordinate that all files have, and leave out the others.  Runs of
        different parameters have different noise levels, since these are refined where it matters.

    Returns
    -------
    list of Score

    Raises
    ------
    FileNotFoundError, DamagedFile
        As :func:`hierdiff.results.load`.
    InvalidParameter
        As :func:`hierdiff.results.compare`, or if no variable has an error in both.

    Notes
    -----
    Validity: as for :func:`hierdiff.results.compare`.  Values at different noise levels share data,
    so their z-scores are not independent.
    """
    if isinstance(paths, (str, bytes, os.PathLike)) or not isinstance(paths, Sequence):
        raise InvalidParameter(f"paths = {shown(paths)} must be a list of files")
    both = results.compare(*_with_names(paths), shared=shared)
    cut = str(both.attrs.get("shared", "")) if shared else ""
    found = []
    for name in map(str, both.data_vars):
        if not name.endswith("_z"):
            continue
        for i, source in enumerate(both.source.values.tolist()):
            z = both[name].isel(source=i).values.astype(float)
            z = z[np.isfinite(z)]
            if i and z.size:
                size = np.abs(z)
                found.append(
                    Score(name[:-2], str(source), z.size, math.sqrt((z**2).mean()),
                          float(size.max()), float((size <= _NEAR).mean()), cut)
                )  # fmt: skip
    if not found:
        raise InvalidParameter(
            "no variable of these results has an error; z-scores need the standard error of one"
        )
    return found


def _with_names(paths: Sequence[str | os.PathLike[str]]) -> list[xr.Dataset]:
    """The results; sources that appear twice with as much of their paths as tells them apart."""
    loaded = [results.load(path) for path in paths]
    names = [str(ds.source.values) for ds in loaded]
    if len(loaded) < 2 or len(set(names)) == len(names):
        return loaded
    parts = [Path(path).parts for path in paths]
    for depth in range(1, 1 + max(map(len, parts))):
        words = [f"{name} {'/'.join(x[-depth:])}" for name, x in zip(names, parts, strict=True)]
        if len(set(words)) == len(words):
            return [ds.assign_coords(source=x) for ds, x in zip(loaded, words, strict=True)]
    raise InvalidParameter(f"{str(paths[0])!r} and another path are the same file; give two files")


def score_table(found: Sequence[Score]) -> str:
    """The scores as a table with one sentence.

    Parameters
    ----------
    found : sequence of Score

    Returns
    -------
    str

    Examples
    --------
    >>> print(score_table([Score("belief", "simulation", 40, 0.9, 2.4, 0.95)]))
    variable  source      values  rms z  largest  within 2
    belief    simulation      40    .90     2.40       95%
    The largest of 40 |z| is 2.40, of belief (simulation); chance passes 3.7 in one of 100.
    """
    fits = isinstance(found, Sequence) and all(isinstance(row, Score) for row in found)
    if not fits or not found:
        raise InvalidParameter(f"found = {shown(found)} must be a list of scores, not empty")
    from scipy.special import ndtri

    header = ["variable", "source", "values", "rms z", "largest", "within 2"]
    lines = []
    for row in found:
        rms, largest = (f"{x:.2f}".removeprefix("0") for x in (row.rms, row.largest))
        near = f"{row.near:.0%}"
        lines.append([row.variable, row.source, str(row.values), rms, largest, near])
    worst = max(found, key=lambda row: row.largest)
    values = sum(row.values for row in found)
    # the largest of so many independent Gaussian values passes it once in a hundred comparisons
    bound = -float(ndtri(0.005 / values))
    claim = (
        f"The largest of {values} |z| is {worst.largest:.2f}, of {worst.variable} "
        f"({worst.source}); chance passes {bound:.1f} in one of 100"
    )
    differ = ", so the two differ, or an error is too small" if worst.largest > bound else ""
    claim += f"{differ}."
    cut = dict.fromkeys(row.shared for row in found if row.shared)
    claim += f"\nCompared at shared values alone ({'; '.join(cut)})." if cut else ""
    return f"{text_table(header, lines, keys=2)}\n{claim}"


# ------------------------------------------------------------------------------------------ rerun


@checked
def run_again(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
) -> str:
    """Run the experiment of a stored result again and compare all numbers.

    Parameters
    ----------
    path : path-like
        A result of the run.
    out : path-like, optional
        Folder of the new results; default a folder ``again`` beside the file.
    workers : int, optional
        As in :func:`hierdiff.sims.run.run`.

    Returns
    -------
    str
        One sentence: how many values are equal bit for bit, and the largest difference.

    Raises
    ------
    FileNotFoundError, DamagedFile, InvalidParameter
        As :func:`experiment_of` and :func:`hierdiff.sims.run.run`.

    Notes
    -----
    Validity: numbers are bit-identical for the same code and library versions; another processor
    may round differently.  The sentence names both commits where they differ.
    """
    chosen, before = experiment_of(path), results_of(path)
    place = Path(path).parent / "again" if out is None else Path(out)
    if place.resolve() == Path(path).parent.resolve():
        raise InvalidParameter(f"out = {str(place)!r} holds the stored result; give another folder")
    after = run(chosen, out=place, workers=workers)
    return _differences(before, after)


def _differences(before: Mapping[str, xr.Dataset], after: Mapping[str, xr.Dataset]) -> str:
    """How many values of two runs are equal, in one sentence."""
    equal, total, largest, where, missing = 0, 0, 0.0, "", 0
    for stem, old in before.items():
        for name in old.data_vars:
            new = after[stem].get(name) if stem in after else None
            if new is None or new.shape != old[name].shape:
                missing += 1
                continue
            a, b = old[name].values, new.values
            total += a.size
            if a.dtype.kind not in "iufb":
                equal += int(np.sum(a == b))
                continue
            x, y = a.astype(float), b.astype(float)
            same = (x == y) | (np.isnan(x) & np.isnan(y))
            equal += int(same.sum())
            gap = np.abs(x - y)[~same]
            if gap.size and not gap.max() <= largest:
                largest, where = float(gap.max()), f"{stem}.{name}"
    words = f"{equal} of {total} values are equal bit for bit"
    if where:
        words += f"; the largest difference is {largest:.2g}, in {where}"
    if missing:
        words += f"; {missing} variables have no partner of the same shape"
    commits = [{str(ds.attrs.get("commit")) for ds in side.values()} for side in (before, after)]
    if commits[0] != commits[1]:
        words += f"; commit {_first(commits[0])} then, {_first(commits[1])} now"
    return words + "."


def _first(commits: set[str]) -> str:
    return min(commits)[:9] if commits else "unknown"
