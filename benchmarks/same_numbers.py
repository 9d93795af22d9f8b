"""Compare the results of two runs variable by variable, bit for bit.

A change of the code that is not meant to change the science leaves every number as it was, to the
last bit.  Make one tree of results with the old code and one with the new code, by the same
commands at a small size, then compare::

    git worktree add ../old OLD_COMMIT
    (cd ../old && PYTHONPATH=. python sims/sharpening.py --depths 3 5 --grammars 4 --data 4 \
        --out /tmp/old/sharpening --summary /tmp/old/sharpening.json)
    python sims/sharpening.py --depths 3 5 --grammars 4 --data 4 \
        --out /tmp/new/sharpening --summary /tmp/new/sharpening.json
    python benchmarks/same_numbers.py /tmp/old /tmp/new

``SMALL`` in ``tests/test_docs.py`` lists small sizes of every quoted study.  Both runs need the
same library versions and one thread (``OMP_NUM_THREADS=1``), since the order of a sum may depend on
them.

Compared are all netCDF files (values, dimensions, coordinates, units and names of variables) and
all JSON files of both trees, by their path.  Left out is provenance: attributes of files, and the
entry "made" of a summary.  Printed are differences, what is missing in the new tree and what is
new.  The exit status is 1 if a number differs or is missing, 0 otherwise; something new, or another
description of the same numbers, is no difference.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hierdiff import results

__all__ = ["Report", "compare", "main"]

PROVENANCE = ("made",)
"""Entries at the top of a JSON file that say how it was made."""
TASKS = "tasks"
"""Folder of finished tasks, whose names depend on the code."""


class Report(NamedTuple):
    """What two trees of results have in common and what not, as lines."""

    same: int
    described: list[str]
    different: list[str]
    missing: list[str]
    new: list[str]

    @property
    def text(self) -> str:
        """The report as it is printed."""
        parts = (
            ("described differently", self.described), ("differs", self.different),
            ("missing", self.missing), ("new", self.new),
        )  # fmt: skip
        lines = [f"{word}: {line}" for word, found in parts for line in found]
        counts = ", ".join(f"{len(found)} {word}" for word, found in parts)
        return "\n".join([*lines, f"{self.same} values equal bit for bit; {counts}"])


def compare(old: Path, new: Path) -> Report:
    """Compare all results of two folders, their subfolders included."""
    before, after = _values(old), _values(new)
    common = before.keys() & after.keys()
    wrong = {key: _difference(before[key], after[key]) for key in common}
    words = {key: _words(before[key], after[key]) for key in common if not wrong[key]}
    return Report(
        same=sum(not why for why in wrong.values()),
        described=_grouped({key: why for key, why in words.items() if why}),
        different=sorted(f"{key}: {why}" for key, why in wrong.items() if why),
        missing=_only(before, after),
        new=_only(after, before),
    )


def _grouped(words: dict[str, str]) -> list[str]:
    """One line per change of words, with the first variable and the number of the others."""
    keys: dict[str, list[str]] = {}
    for key, why in sorted(words.items()):
        keys.setdefault(why, []).append(key)
    more = {why: f" and {len(found) - 1} more" for why, found in keys.items() if found[1:]}
    return [f"{found[0]}{more.get(why, '')}: {why}" for why, found in keys.items()]


def _only(here: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """What one tree has and the other has not: whole files in one line, else value by value."""
    files = {key.split(": ")[0] for key in there}
    alone = Counter(file for key in here if (file := key.split(": ")[0]) not in files)
    lines = [f"{file}: all {count} values" for file, count in alone.items()]
    return sorted(lines + [k for k in here.keys() - there.keys() if k.split(": ")[0] in files])


def _values(folder: Path) -> dict[str, Any]:
    """Everything in a tree of results by file and name."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if TASKS in path.relative_to(folder).parts[:-1]:
            continue
        if path.suffix == ".nc":
            found |= {f"{place}: {name}": value for name, value in _of_netcdf(path)}
        elif path.suffix == ".json":
            content = json.loads(path.read_text())
            if isinstance(content, dict):
                content = {k: v for k, v in content.items() if k not in PROVENANCE}
            found |= {f"{place}: {name}": value for name, value in _of_json("", content)}
    return found


def _of_netcdf(path: Path) -> Iterator[tuple[str, Any]]:
    ds = results.load(path)
    for name, variable in ds.variables.items():
        words = {str(k): str(v) for k, v in variable.attrs.items()}
        yield str(name), (variable.dims, words, np.asarray(variable.values))


def _of_json(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Numbers and words of a JSON file by their path in it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _of_json(f"{name}/{key}", inner)
    elif isinstance(value, list):
        yield f"{name}/length", len(value)
        for i, inner in enumerate(value):
            yield from _of_json(f"{name}/{i}", inner)
    else:
        yield name, value


def _difference(old: Any, new: Any) -> str:
    """In what two values differ; nothing if they are the same bits."""
    if not isinstance(old, tuple) or not isinstance(new, tuple):
        if isinstance(old, float) and isinstance(new, float):
            same = struct.pack("d", old) == struct.pack("d", new)
        else:
            same = type(old) is type(new) and old == new
        return "" if same else f"{old!r}, now {new!r}"
    (dims, _, a), (new_dims, _, b) = old, new
    if dims != new_dims or a.shape != b.shape or a.dtype != b.dtype:
        return f"{dims} {a.shape} {a.dtype}, now {new_dims} {b.shape} {b.dtype}"
    if a.dtype.kind in "OUS":
        unequal = a != b
    else:  # as bytes: NaN equals NaN, and the sign of zero counts
        unequal = (_bytes(a) != _bytes(b)).any(axis=-1).reshape(a.shape)
    if not unequal.any():
        return ""
    place = tuple(int(i) for i in np.argwhere(unequal)[0])
    share = f"{int(unequal.sum())} of {unequal.size} values"
    return f"{share}, at {list(place)} {a[place]!r}, now {b[place]!r}"


def _words(old: Any, new: Any) -> str:
    """In what the descriptions of two variables differ."""
    if not isinstance(old, tuple) or old[1] == new[1]:
        return ""
    return f"{old[1]}, now {new[1]}"


def _bytes(values: Any) -> Any:
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8).reshape(values.size, -1)


def main(arguments: list[str] | None = None) -> int:
    """Print the report; the exit status is 1 if a number differs or is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path, help="folder with results of the old code")
    parser.add_argument("new", type=Path, help="folder with results of the new code")
    given = parser.parse_args(arguments)
    for folder in (given.old, given.new):
        if not folder.is_dir():
            parser.error(f"{folder} is no folder; give a folder with results")
    report = compare(given.old, given.new)
    if not report.same and not report.different and not report.missing:
        parser.error(f"{given.old} holds no netCDF and no JSON files; give a folder with results")
    print(report.text)
    return 1 if report.different or report.missing else 0


if __name__ == "__main__":
    sys.exit(main())
