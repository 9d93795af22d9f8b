r"""Any experiment over any grid of its parameters, resumed, extended, divided among machines.

Every point of the grid is a run of its own in ``OUT/points/NAME=VALUE,...``, with results, figure
and finished tasks, as :func:`hierdiff.sims.run.run` writes them.  A point whose results are there
is read, not run.  Numbers of all points are joined in ``OUT/sweep_EXPERIMENT.nc``, where every
parameter of the grid is a coordinate.

Several machines share the work by ``part = (k, n)``: the k-th of n runs every n-th point.  Their
folders are joined by copying ``points`` into one place, or by naming the others in ``also``.

With a target the number of repetitions grows until the error is small enough.  An error of n
independent repetitions falls as :math:`n^{-1/2}`, so the next number is

.. math:: n' = n\, (\\sigma / \\sigma_{target})^2,

at most four times the present one, because the error itself is known to some ten per cent only.
Tasks that are finished are used again, so nothing is computed twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import math
import os
import sys
import tempfile
import textwrap
import time
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr

from hierdiff import results
from hierdiff._display import text_table
from hierdiff.checks import checked, number, shown, unchecked, whole
from hierdiff.contracts import Experiment
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.sims.run import files_of, refuse_no_experiment, run

__all__ = ["grid_of", "points_of", "rows", "sweep", "table"]

# growth of the number of repetitions at a time, and in all
_STEP, _MOST = 4, 256
# a target that needs so many times more than that is refused at once: of few repetitions the error
# itself is known to a factor of two, the number that follows from it to a factor of four
_HOPELESS = 16
# fields that count independent repetitions, in the order in which they are looked for
_REPETITIONS = ("grammars", "repeats", "repetitions", "data")


# --------------------------------------------------------------------------------------- the grid


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The plain types that a field may have."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _kinds(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return tuple(k for h in typing.get_args(hint) for k in _kinds(h))
    if origin is typing.Literal:
        return (str,)
    return (hint,)


def _value(name: str, word: str, kinds: tuple[Any, ...]) -> Any:
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(word)
    if str in kinds:
        return word
    if bool in kinds and word.lower() in ("true", "false"):
        return word.lower() == "true"
    wanted = " or ".join(sorted(getattr(k, "__name__", str(k)) for k in kinds))
    raise InvalidParameter(f"grid value {name} = {word!r} must be {wanted}; give such a value")


@checked(kind=unchecked, words=unchecked)
def grid_of(kind: type[Any], words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The grid that words such as ``m=2:8`` and ``L=6,8,10`` describe.

    Parameters
    ----------
    kind : type
        Class of an experiment; the names are its fields.
    words : sequence of str
        ``NAME=A,B,C`` lists values; ``NAME=A:B`` are the whole numbers from A to B, both included,
        ``NAME=A:B:STEP`` those in steps.

    Returns
    -------
    dict of tuple
        Values by name.

    Raises
    ------
    InvalidParameter
        If a name is no field, or values cannot be read or are repeated.

    Examples
    --------
    >>> from hierdiff.sims import PhaseTransition
    >>> grid_of(PhaseTransition, ["m=2:8:2", "L=6,8"])
    {'m': (2, 4, 6, 8), 'L': (6, 8)}
    """
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise InvalidParameter(f"kind = {shown(kind)} must be the class of an experiment")
    if isinstance(words, str) or not isinstance(words, Sequence):
        raise InvalidParameter(f"words = {shown(words)} must be a list such as ['m=2:8', 'L=6,8']")
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    grid: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, equals, text = word.partition("=") if isinstance(word, str) else ("", "", "")
        name = name.strip().replace("-", "_")
        if not equals or not text.strip():
            raise InvalidParameter(f"grid {shown(word)} must be NAME=A,B,C or NAME=A:B[:STEP]")
        if name not in fields:
            raise InvalidParameter(
                f"grid name {name!r} is no parameter of {kind.__name__}; these are "
                f"{', '.join(fields)}"
            )
        if name in grid:
            raise InvalidParameter(f"grid name {name!r} is given twice; give all its values once")
        grid[name] = _values(name, text, _kinds(fields[name]))
    return grid


def _values(name: str, text: str, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = text.split(":")
    if len(parts) in (2, 3) and int in kinds:
        try:
            first, last, step = (int(x) for x in [*parts, "1"][:3])
        except ValueError:
            raise InvalidParameter(
                f"grid {name} = {text!r} must be A:B or A:B:STEP of whole numbers"
            ) from None
        if step < 1 or last < first:
            raise InvalidParameter(
                f"grid {name} = {text!r} has no values; give A <= B and STEP >= 1"
            )
        if (last - first) // step >= 10**6:
            raise InvalidParameter(
                f"grid {name} = {text!r} has more than a million values; give fewer"
            )
        found: list[Any] = list(range(first, last + 1, step))
    else:
        found = [_value(name, word.strip(), kinds) for word in text.split(",")]
    if len(set(found)) < len(found):
        raise InvalidParameter(f"grid {name} = {text!r} repeats a value; give each once")
    return tuple(found)


@checked(experiment=unchecked, grid=unchecked)
def points_of(
    experiment: Experiment, grid: Mapping[str, Sequence[Any]]
) -> list[tuple[dict[str, Any], Experiment]]:
    """The points of a grid with their experiments, in the order of the grid.

    Parameters
    ----------
    experiment : Experiment
        Gives the parameters that the grid does not name.
    grid : mapping
        Values by the name of a field.

    Returns
    -------
    list of (dict, Experiment)

    Raises
    ------
    InvalidParameter
        If a name is no field, or an experiment refuses a value.  The line names the point.

    Examples
    --------
    >>> from hierdiff.sims import PhaseTransition
    >>> [point for point, _ in points_of(PhaseTransition(), {"m": (2, 4), "L": (6,)})]
    [{'m': 2, 'L': 6}, {'m': 4, 'L': 6}]
    """
    refuse_no_experiment(experiment)
    if not isinstance(grid, Mapping) or not grid:
        raise InvalidParameter(f"grid = {shown(grid)} must name at least one parameter, as m=2:8")
    for name, values in grid.items():
        if name not in {f.name for f in dataclasses.fields(cast(Any, experiment))}:
            raise InvalidParameter(f"grid name {shown(name)} is no parameter of the experiment")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise InvalidParameter(f"grid {name} = {shown(values)} must be a list of values")
    found = []
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        try:
            one = dataclasses.replace(cast(Any, experiment), **point)
        except InvalidParameter as error:
            raise InvalidParameter(f"at {_slug(point)}: {error}") from None
        found.append((point, cast(Experiment, one)))
    return found


def _slug(point: Mapping[str, Any]) -> str:
    """A point as the name of its folder."""
    return ",".join(f"{k}={x}" for k, x in point.items()).replace(os.sep, "_").replace(" ", "")


# -------------------------------------------------------------------------------------- the sweep


def _size(grid: Mapping[str, Sequence[Any]]) -> int:
    return math.prod(len(values) for values in grid.values())


@checked(
    experiment=unchecked, grid=unchecked, part=unchecked, also=unchecked, target=unchecked,
    options=unchecked,
)  # fmt: skip
def sweep(
    experiment: Experiment,
    grid: Mapping[str, Sequence[Any]],
    *,
    out: str | os.PathLike[str] = "out",
    part: tuple[int, int] = (1, 1),
    also: Sequence[str | os.PathLike[str]] = (),
    target: Mapping[str, float] | None = None,
    max_points: int = 10_000,
    **options: Any,
) -> xr.Dataset:
    r"""Run an experiment at every point of a grid and join what stands alone in the results.

    Parameters
    ----------
    experiment : Experiment
        Gives the parameters that the grid does not name.
    grid : mapping
        Values by the name of a field, as :func:`grid_of` reads them.
    out : path-like
        Folder of the sweep.
    part : (int, int)
        ``(k, n)``: run the points k, k + n, k + 2n, ... of the grid, counted from one.
    also : sequence of path-like
        Folders of other parts of the same sweep; their results are read, nothing is written there.
    target : mapping, optional
        Largest standard error by the name of a variable, as ``{"threshold": 0.001}``.
    max_points : int
        A larger grid is refused with its estimated time, before anything is written.
    **options
        ``workers``, ``resume``, ``cluster``, ``overwrite``, ``device``, ``format`` and ``quiet`` of
        :func:`hierdiff.sims.run.run`.

    Returns
    -------
    xarray.Dataset
        Variables without dimensions of every result, and those whose axes are the same at all
        points, on the axes of the grid; not known (NaN) where a point of another part is missing.
        ``repetitions`` is the number that a target led to.

    Raises
    ------
    InvalidParameter
        If the grid, the part or the target is no such thing, a point has results of other
        parameters, the grid is too large, or the target cannot be reached; finished points are
        kept.

    Notes
    -----
    Validity: results do not depend on ``part``, ``workers`` and the order of points.  A target
    needs a field that counts independent repetitions (grammars, repeats, data), and an error that
    falls with their number.  A sweep that stops where the estimated error is small stops rather
    where it is too small by chance: with n repetitions the error itself is known to
    :math:`1/\sqrt{2 n}`, and that much of it may be missing.

    Examples
    --------
    >>> import tempfile
    >>> from hierdiff.sims import PhaseTransition
    >>> small = PhaseTransition(v=4, m=2, L=2, grammars=2, data=2, levels=5, refine=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ds = sweep(small, {"m": (1, 2), "L": (2, 3)}, out=folder)
    >>> dict(ds.threshold.sizes), str(ds.source.values)
    ({'m': 2, 'L': 2}, 'simulation')
    """
    refuse_no_experiment(experiment)
    first, every = _part(part)
    goals = _goals(experiment, target)
    whole("max_points", max_points, 1)
    if isinstance(grid, Mapping) and all(isinstance(x, Sequence) and x for x in grid.values()):
        unknown = grid.keys() - {f.name for f in dataclasses.fields(cast(Any, experiment))}
        if not unknown and _size(grid) > max_points:
            _refuse_size(experiment, grid, options, max_points)
    points = points_of(experiment, grid)
    folder = results.writable_folder(out)
    places = [folder, *(Path(p) for p in _paths(also))]
    mine = points[first - 1 :: every]
    found: dict[str, dict[str, xr.Dataset]] = {}
    repetitions: dict[str, int] = {}
    began, done = time.perf_counter(), 0
    for point, one in points:
        slug = _slug(point)
        grown, known = _stored(one, [p / "points" / slug for p in places], goals)
        if known is not None and not _lacks(known, goals):
            found[slug], repetitions[slug] = known, _count(grown)
            continue
        if all(point != other for other, _ in mine):
            continue
        found[slug], repetitions[slug] = _run_point(grown, folder / "points" / slug, goals, options)
        done += 1
        if not options.get("quiet"):
            _progress(slug, len(found), len(mine), time.perf_counter() - began, done)
    joined = _joined(experiment, grid, points, found, repetitions)
    table = folder / f"sweep_{experiment.name}.nc"
    if not options.get("quiet"):
        _say_what_leaves(table, grid)
    results.save(joined, table, overwrite=True)
    return joined


def _say_what_leaves(table: Path, grid: Mapping[str, Sequence[Any]]) -> None:
    """A line where the table of a grid is replaced by one that lacks some of its values."""
    try:
        before = json.loads(results.load(table).attrs["parameters"])["grid"]
    except (OSError, KeyError, ValueError):  # nothing there, or nothing to read
        return
    lost = {k: [x for x in values if x not in grid.get(k, ())] for k, values in before.items()}
    words = ", ".join(f"{k} = {', '.join(map(str, x))}" for k, x in lost.items() if x)
    if words:
        print(f"{table.name} held {words} as well, which this grid lacks; the runs are kept in "
              f"{table.parent / 'points'}", file=sys.stderr, flush=True)  # fmt: skip


def _part(part: Any) -> tuple[int, int]:
    if not isinstance(part, Sequence) or isinstance(part, str) or len(part) != 2:
        raise InvalidParameter(f"part = {shown(part)} must be two whole numbers (k, n), as (1, 4)")
    every = whole("n of part", part[1], 1)
    return whole("k of part", part[0], 1, every), every


def _paths(also: Any) -> list[str]:
    if isinstance(also, (str, os.PathLike)):
        also = [also]
    if not isinstance(also, Sequence):
        raise InvalidParameter(f"also = {shown(also)} must be a list of folders")
    for path in also:
        if not isinstance(path, (str, os.PathLike)) or not Path(path).is_dir():
            raise InvalidParameter(f"also = {str(path)!r} is no folder; give that of another part")
    return list(also)


def _counter(experiment: Any) -> str | None:
    """The field that counts independent repetitions."""
    names = {f.name for f in dataclasses.fields(experiment)}
    return next((name for name in _REPETITIONS if name in names), None)


def _count(experiment: Any) -> int:
    name = _counter(experiment)
    return 0 if name is None else int(getattr(experiment, name))


def _goals(experiment: Experiment, target: Mapping[str, float] | None) -> dict[str, float]:
    if target is None:
        return {}
    if not isinstance(target, Mapping) or not target:
        raise InvalidParameter(f"target = {shown(target)} must be {{variable: largest error}}")
    if _counter(experiment) is None:
        raise InvalidParameter(
            f"{type(experiment).__name__} has no field that counts independent repetitions; run "
            "it without a target error"
        )
    return {str(k): number(f"target error of {k}", x, above=0) for k, x in target.items()}


# the time of a grid beyond so many points is told, which takes a run of one of them
_MANY = 1000


def _refuse_size(
    experiment: Experiment, grid: Mapping[str, Sequence[Any]], options: Any, most: int
) -> None:
    """Refuse a grid that is too large, with its time, and before that one with impossible corners.

    Rules such as m <= v**(s - 1) are monotonic, so the smallest and largest values break them
    first; no million experiments are made to be refused.  What is timed is not kept.
    """
    corners: dict[str, Sequence[Any]] = {}
    for name, values in grid.items():
        plain = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in values)
        corners[name] = (min(values), max(values)) if plain else values[:1]
    _, smallest = points_of(experiment, corners)[0]
    size, takes = _size(grid), ""
    if size > _MANY:
        if not options.get("quiet"):
            print(f"the grid has {size} points; the smallest is run to estimate the time of all",
                  file=sys.stderr, flush=True)  # fmt: skip
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            _run_point(smallest, Path(folder), {}, {**options, "quiet": True})
        each = time.perf_counter() - began
        takes = (
            f"; the smallest took {each:.2g} s, so all take about {_duration(each * size)} or more"
        )
    raise InvalidParameter(
        f"the grid has {size} points, more than max_points = {most}{takes}; give fewer values, or "
        f"max_points = {size} (--max-points {size})"
    )


def _duration(seconds: float) -> str:
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def _stored(
    one: Any, folders: Sequence[Path], goals: Mapping[str, float]
) -> tuple[Any, dict[str, xr.Dataset] | None]:
    """The experiment and its results where a folder holds them, with more repetitions if it does.

    Results of other parameters are left to the run, which refuses to replace them.
    """
    counter = _counter(one)
    for folder in folders:
        path = folder / f"{one.name}.nc"
        files = [path] if path.is_file() else sorted(folder.glob("*.nc"))
        for file in files[:1]:
            with contextlib.suppress(DamagedFile, KeyError, ValueError, TypeError):
                words = json.loads(results.load(file).attrs["run"])
                wanted = json.loads(_run_words(one))
                if goals and counter is not None:  # grown by an earlier sweep
                    stored = words["parameters"].get(counter)
                    if isinstance(stored, int) and stored > getattr(one, counter):
                        larger = dataclasses.replace(one, **{counter: stored})
                        if json.loads(_run_words(larger)) == words:
                            return larger, _all(larger, folder)
                if words == wanted:
                    return one, _all(one, folder)
    return one, None


def _run_words(one: Any) -> str:
    """Study and parameters, in the words that a run writes into its files."""
    words = {"study": type(one).__qualname__, "parameters": dataclasses.asdict(one)}
    return json.dumps(words, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return value.as_posix() if isinstance(value, Path) else str(value)


def _all(one: Any, folder: Path) -> dict[str, xr.Dataset]:
    found = {}
    for pattern in files_of(one):
        for path in sorted(folder.glob(f"{pattern}.nc")):
            found[path.stem] = results.load(path)
    return found


def _lacks(found: Mapping[str, xr.Dataset], goals: Mapping[str, float]) -> bool:
    return any(_error(found, name) > goal for name, goal in goals.items())


def _error(found: Mapping[str, xr.Dataset], name: str) -> float:
    """The error of a variable in what was measured; the largest one of an array."""
    for ds in found.values():
        if str(ds.source.values) == "theory" or f"{name}_error" not in ds:
            continue
        error = ds[f"{name}_error"].values.astype(float)
        if np.isfinite(error).any():
            return float(np.nanmax(error))
    known = sorted(
        {k[:-6] for ds in found.values() for k in map(str, ds.data_vars) if k.endswith("_error")}
    )
    raise InvalidParameter(
        f"target error of {name!r}: no measured result has that variable with an error; these "
        f"have: {', '.join(known) or 'none'}"
    )


def _run_point(
    one: Any, folder: Path, goals: Mapping[str, float], options: Mapping[str, Any]
) -> tuple[dict[str, xr.Dataset], int]:
    """Run a point, with more repetitions until its errors are small enough."""
    counter, start = _counter(one), _count(one)
    given = dict(options)
    while True:
        with contextlib.redirect_stdout(io.StringIO()):
            found = run(one, out=folder, **given)
        if not goals or counter is None or not _lacks(found, goals):
            return found, _count(one)
        n = _count(one)
        factor = max((_error(found, k) / goal) ** 2 for k, goal in goals.items())
        if n >= _MOST * start or n * factor > _HOPELESS * _MOST * start:
            worst = max(goals, key=lambda k: _error(found, k) / goals[k])
            raise InvalidParameter(
                f"target error {worst} = {goals[worst]:g} is not reached with {counter} = {n} "
                f"(error {_error(found, worst):.2g}); it would take about "
                f"{counter} = {n * factor:.2g}; raise the target; finished tasks are kept"
            )
        more = min(math.ceil(1.1 * n * factor), _STEP * n, _MOST * start)
        one = dataclasses.replace(one, **{counter: max(more, n + 1)})
        # only the number of repetitions differs from the results that are replaced
        given["overwrite"] = True


def _progress(slug: str, known: int, total: int, seconds: float, done: int) -> None:
    left = max(total - known, 0) * seconds / done
    print(
        f"{known}/{total} {slug}" + (f", about {_duration(left)} left" if left else ""),
        file=sys.stderr, flush=True,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------- join


def _joined(
    experiment: Any,
    grid: Mapping[str, Sequence[Any]],
    points: Sequence[tuple[dict[str, Any], Any]],
    found: Mapping[str, Mapping[str, xr.Dataset]],
    repetitions: Mapping[str, int],
) -> xr.Dataset:
    """What was measured at all points, on the axes of the grid."""
    if not found:
        raise InvalidParameter(
            "no point of this part of the grid; give a part (k, n) with k <= points"
        )
    measured = {slug: _measured(experiment, parts) for slug, parts in found.items()}
    predicted = {
        slug: _at_measured(parts.get(f"{experiment.name}_theory"), measured[slug])
        for slug, parts in found.items()
    }
    shape = tuple(len(values) for values in grid.values())
    axes = {name: ((name,), list(values), f"parameter {name}") for name, values in grid.items()}
    variables: dict[str, tuple[tuple[str, ...], Any, str]] = {}
    coords: dict[str, Any] = dict(axes)
    for prefix, parts in (("", measured), ("theory_", predicted)):
        known = {slug: ds for slug, ds in parts.items() if ds is not None}
        for name in _names(known):
            first = next(ds for ds in known.values() if name in ds)[name]
            if any(str(dim) in grid for dim in first.dims):
                continue
            inner = tuple(map(str, first.dims))
            same = all(name not in ds or _same_axes(ds[name], first) for ds in known.values())
            if first.dtype.kind not in "iufb" or not same:
                continue
            values = np.full((*shape, *first.shape), np.nan)
            for k, (point, _) in enumerate(points):
                ds = known.get(_slug(point))
                if ds is not None and name in ds:
                    values[np.unravel_index(k, shape)] = ds[name].values
            text = str(first.attrs.get("long_name", name))
            variables[prefix + name] = ((*grid, *inner), values, text)
            for dim in inner:
                if dim in first.coords:
                    words = str(first[dim].attrs.get("long_name", dim))
                    coords[dim] = ((dim,), first[dim].values, words)
    if _counter(experiment) is not None:
        counts = np.full(shape, np.nan)
        for k, (point, _) in enumerate(points):
            if _slug(point) in repetitions:
                counts[np.unravel_index(k, shape)] = repetitions[_slug(point)]
        variables["repetitions"] = (tuple(grid), counts, f"number of {_counter(experiment)}")
    one = next(iter(measured.values()))
    fields = {k: x for k, x in dataclasses.asdict(experiment).items() if k not in grid}
    record = results.provenance({**fields, "grid": {k: list(x) for k, x in grid.items()}})
    record |= results.tasks_of(*[ds for ds in measured.values() if "tasks" in ds.attrs])
    return results.label(variables, coords, str(one.source.values), record)


def _measured(experiment: Any, parts: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """The result that is named as the experiment, or its first one that is no prediction."""
    if experiment.name in parts:
        return parts[experiment.name]
    others = [ds for ds in parts.values() if str(ds.source.values) != "theory"]
    return (others or list(parts.values()))[0]


def _at_measured(theory: xr.Dataset | None, measured: xr.Dataset) -> xr.Dataset | None:
    """A prediction at the measured places, where it has more of them for its curve."""
    if theory is None:
        return None
    finer = [
        dim for dim in theory.dims
        if dim in theory.coords and dim in measured.coords
        and theory.sizes[dim] > measured.sizes.get(dim, theory.sizes[dim])
        and np.isin(measured[dim].values, theory[dim].values).all()
    ]  # fmt: skip
    return theory.sel({dim: measured[dim].values for dim in finer}) if finer else theory


def _names(known: Mapping[str, xr.Dataset]) -> list[str]:
    return list(dict.fromkeys(str(k) for ds in known.values() for k in ds.data_vars))


def _same_axes(a: xr.DataArray, b: xr.DataArray) -> bool:
    return a.dims == b.dims and a.shape == b.shape and all(
        np.array_equal(a[d].values, b[d].values) for d in a.dims if d in a.coords
    )  # fmt: skip


@checked(ds=unchecked)
def rows(ds: xr.Dataset) -> list[dict[str, Any]]:
    """The numbers of a sweep as records, one per point.

    Parameters
    ----------
    ds : xarray.Dataset
        As :func:`sweep` returns it.

    Returns
    -------
    list of dict
        Parameters, values and errors by name; NaN where a point or a value is not known.

    Raises
    ------
    InvalidParameter
        If it is no dataset.

    Examples
    --------
    >>> both = results.with_error("p", ("m",), [0.25, 0.5], [0.01, 0.02], "p")
    >>> rows(results.label(both, {"m": (("m",), [2, 4], "parameter m")}, "theory", {}))[1]
    {'m': 4, 'p': 0.5, 'p_error': 0.02}
    """
    axes, names = _columns(ds)
    found = []
    for place in itertools.product(*(range(ds.sizes[a]) for a in axes)):
        at = dict(zip(axes, place, strict=True))
        row = {a: ds[a].values[i].item() for a, i in at.items()}
        found.append(row | {name: ds[name].isel(at).values.item() for name in names})
    return found


def _columns(ds: Any) -> tuple[list[str], list[str]]:
    """The parameters of a sweep, and the variables that have one number per point."""
    if not isinstance(ds, xr.Dataset):
        raise InvalidParameter(f"ds = {shown(ds)} must be the result of a sweep")
    axes = [str(d) for d in ds.dims if str(ds[d].attrs.get("long_name", d)).startswith("parameter")]
    axes = axes or [str(d) for d in ds.dims][:1]
    return axes, [x for x in map(str, ds.data_vars) if list(map(str, ds[x].dims)) == axes]


@checked(ds=unchecked)
def table(ds: xr.Dataset) -> str:
    """The numbers of a sweep as a table, one row per point.

    Parameters
    ----------
    ds : xarray.Dataset
        As :func:`sweep` returns it.

    Returns
    -------
    str

    Examples
    --------
    >>> both = results.with_error("p", ("m",), [0.25, 0.5], [0.01, 0.02], "p")
    >>> print(table(results.label(both, {"m": (("m",), [2, 4], "m")}, "theory", {})))
    m  p
    2  .25 ± .01
    4  .5 ± .02
    """
    axes, columns = _columns(ds)
    names = [name for name in columns if not name.endswith("_error")]
    lines = []
    for point in rows(ds):
        line = [str(point[a]) for a in axes]
        for name in names:
            words = "-" if math.isnan(point[name]) else _digits(point[name])
            if f"{name}_error" in point and not math.isnan(point[name]):
                words += f" ± {_digits(point[f'{name}_error'], 2)}"
            line.append(words)
        lines.append(line)
    return text_table([*axes, *names], lines)


# ----------------------------------------------------------------------------------------- figure


def is_sweep(ds: xr.Dataset) -> bool:
    """Whether a result joins the points of a grid."""
    try:
        return bool(json.loads(ds.attrs["parameters"])["grid"])
    except (KeyError, TypeError, ValueError):
        return False


def sweep_figure(ds: xr.Dataset) -> Any:
    """The numbers of a sweep against the parameter with most values, a curve per other point.

    Parameters
    ----------
    ds : xarray.Dataset
        As :func:`sweep` returns it.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per variable that has an error: points with error bars where it was measured, a
        line where it was predicted.

    Raises
    ------
    InvalidParameter
        If no variable has an error.
    """
    from hierdiff.plots import curve, finish, level_colours, panel_figure

    axes, names = _columns(ds)
    shown_names = [
        name for name in names
        if f"{name}_error" in names and not name.startswith("theory_") and ds[name].notnull().any()
    ]  # fmt: skip
    if not shown_names or not axes:
        raise InvalidParameter("the sweep has no variable with an error; show prints its numbers")
    numeric = [a for a in axes if ds[a].dtype.kind in "iuf"] or axes
    x = max(numeric, key=lambda a: ds.sizes[a])
    others = [a for a in axes if a != x]
    places = [dict(zip(others, place, strict=True))
              for place in itertools.product(*(range(ds.sizes[a]) for a in others))]  # fmt: skip

    def panel(name: str) -> Any:
        def draw(ax: Any) -> Any:
            for at, colour in zip(places, level_colours(len(places)), strict=True):
                one = ds.isel(at)
                text = ", ".join(f"{a} = {ds[a].values[i]}" for a, i in at.items())
                for prefix, source in (("", str(ds.source.values)), ("theory_", "theory")):
                    if f"{prefix}{name}_error" in names:
                        y, error = one[prefix + name], one[f"{prefix}{name}_error"]
                        curve(ax, one[x], y, error, source, colour, text)
            if ds[x].dtype.kind in "iu" and ds.sizes[x] <= 12:
                ax.set_xticks(ds[x].values)
            text = textwrap.fill(str(ds[name].attrs.get("long_name", name)), 32)
            return finish(ax, xlabel=x, ylabel=text)

        return draw

    return panel_figure([(name, panel(name)) for name in shown_names])


def _digits(x: float, digits: int = 4) -> str:
    words = f"{x:.{digits}g}"
    return words.replace("0.", ".", 1) if words.startswith(("0.", "-0.")) else words
