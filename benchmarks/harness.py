"""Cases of a benchmark, and processes that time them in turns.

A *table* is a question with a grid of points; a *case* is one way to do the work of a point::

    LEAVES = Table("leaves", "One tree of more and more leaves", points=over(L=range(6, 25, 2)))

    @LEAVES.case("beliefs in the truth")
    def beliefs(L):
        ...                          # set up, not timed
        return lambda: true_beliefs(...)      # timed

A *column* is a tree of this package and a set of processor features: what is checked out here, an
older commit, the same without AVX-512.  Every column is a process of its own that stays alive, and
only one of them works at a time.  All cases of a point are timed in turns, round by round, in all
columns: so a busy machine slows each of them alike, and ratios are taken within a round.  A case of
a *peer* is not about this package (a formulation in torch, a limit of the machine); it runs once
per set of features, in a process where threads of other libraries disturb nobody.

Run as a program this file is the process of a column: requests and answers are lines of JSON.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "MODULES",
    "Case",
    "Column",
    "Member",
    "NotTimed",
    "Table",
    "load",
    "over",
    "tables",
    "time_point",
]

HERE = Path(__file__).resolve().parent
MODULES = (
    "limits", "belief_propagation", "samples", "mixture", "questions", "pcfg", "started_programs",
    "factor_graphs",
)  # fmt: skip
"""Files beside this one that define tables; a new one is a line here."""

SLICE = 0.01
"""Seconds of one timing: short calls are repeated, since a clock and a Python loop cost a
microsecond."""
LONG = 3.0
"""A peer's first call that takes longer counts as its timing: it compiles nothing."""

Call = Callable[[], Any]
Make = TypeVar("Make", bound=Callable[..., Any])
Point = Mapping[str, Any]


class NotTimed(Exception):
    """A case that has no meaning at a point, or in an older tree; the table says why."""


@dataclass(frozen=True)
class Case:
    """One way to do the work of a point: ``make(**point)`` returns the call that is timed.

    It may return ``(call, factor)`` instead; times are multiplied by the factor, for limits of the
    machine whose work is not that of the point.
    """

    table: str
    name: str
    make: Callable[..., Any]
    peer: str  # the process of a peer, or "" for this package


@dataclass(eq=False)
class Table:
    """A question: its points, and the cases that answer them."""

    name: str
    title: str
    points: tuple[Point, ...]
    quick: tuple[Point, ...] = ()  # points of a quick run; default: the first one
    capped: bool = False  # also without AVX-512, where that is asked for
    before: bool = True  # also in the older tree
    programs: bool = False  # a call starts a program: nothing to warm up, no memory of its own
    seconds: float = 1.0  # of timing per case and column
    least: int = 3  # rounds
    pause: float = 0.0  # seconds before each timing, in which threads fall asleep
    cases: list[Case] = field(default_factory=list)

    def __post_init__(self) -> None:
        _TABLES[self.name] = self

    def case(self, name: str, *, peer: str = "") -> Callable[[Make], Make]:
        """Register a function as a case of this table, and return it as it is."""

        def register(make: Make) -> Make:
            if any(other.name == name for other in self.cases):
                raise ValueError(f"{self.name} has a case {name!r} already; give another name")
            self.cases.append(Case(self.name, name, make, peer))
            return make

        return register


_TABLES: dict[str, Table] = {}


def over(**axes: Iterable[Any]) -> tuple[Point, ...]:
    """All combinations of the values of some parameters."""
    return tuple(
        dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())
    )


def tables() -> dict[str, Table]:
    """All tables by name."""
    for module in MODULES:
        importlib.import_module(module)
    return _TABLES


def key(point: Point) -> str:
    """Name of a point."""
    return ", ".join(f"{name} = {value}" for name, value in point.items())


# The process of a column


class _Worker:
    """Answers requests one by one: prepare a case, time it, measure its memory, drop it."""

    def __init__(self) -> None:
        self.ready: dict[str, tuple[Call, float, int]] = {}

    def prepare(self, table: str, case: str, point: Point) -> dict[str, Any]:
        """Set up and call once; how often one timing calls it."""
        asked = tables()[table]
        found = next(c for c in asked.cases if c.name == case)
        made = found.make(**point)
        call, factor = made if isinstance(made, tuple) else (made, 1.0)
        if asked.programs:
            self.ready[f"{table}/{case}"] = call, factor, 1
            return {}
        first = _seconds(call, 1)
        if found.peer and first > LONG:
            return {"long": first * factor}
        loops = max(1, int(SLICE / max(_seconds(call, 1), 1e-7)))
        if loops > 1:  # what is short is quicker when it is repeated
            loops = max(1, int(SLICE / max(_seconds(call, loops) / loops, 1e-7)))
        self.ready[f"{table}/{case}"] = call, factor, loops
        return {}

    def time(self, table: str, case: str) -> dict[str, Any]:
        """Wall and CPU seconds of one call."""
        call, factor, loops = self.ready[f"{table}/{case}"]
        time.sleep(tables()[table].pause)
        busy = _cpu()
        wall = _seconds(call, loops)
        each = factor / loops
        return {"wall": wall * each, "cpu": (_cpu() - busy) * each, "spent": wall}

    def memory(self, table: str, case: str) -> dict[str, Any]:
        """MiB that one call adds at its peak: by allocations of Python, and by pages in use.

        Results are held meanwhile, so that a call cannot take memory that earlier ones left: up to
        four of them, as long as they are small, and the largest rise counts.
        """
        call = self.ready[f"{table}/{case}"][0]
        held, rises = [call()], [0.0]
        gc.collect()
        while len(held) < 5 and sum(rises) < 256 and (before := _reset_peak()):
            held.append(call())
            rises.append(_peak() - before)
        tracemalloc.start()
        held.append(call())
        allocated = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        return {"allocated": allocated, "pages": max(rises) if rises[1:] else None}

    def drop(self) -> dict[str, Any]:
        """Forget all calls."""
        self.ready.clear()
        gc.collect()
        return {}


def _seconds(call: Call, loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return time.perf_counter() - start


def _cpu() -> float:
    """CPU seconds of this process and of children that have ended."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def _reset_peak() -> float:
    """MiB of pages in use, from where the peak counts again; 0 where Linux does not offer it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return _peak()


def _peak() -> float:
    text = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else 0.0


def serve() -> None:
    """Answer requests until there are none."""
    worker = _Worker()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except NotTimed as error:
            answer = {"error": f"not timed: {error}"}
        except Exception as error:
            words = " ".join(str(error).split())[:200]
            answer = {"error": f"{type(error).__name__}: {words}", "trace": traceback.format_exc()}
        print(json.dumps(answer), file=out, flush=True)


# The processes, from outside


class Column:
    """A process that times cases: one tree of the package, one set of features."""

    def __init__(
        self, name: str, tree: Path, environment: Mapping[str, str], peer: str = "",
        python: str = sys.executable,
    ) -> None:  # fmt: skip
        self.name, self.peer = name, peer
        quiet = {  # threads of other libraries sleep while they have nothing to do
            "OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4",
            "PYTHONPATH": str(tree), "MPLBACKEND": "agg",
        }  # fmt: skip
        inherited = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        self.process = subprocess.Popen(
            [python, str(HERE / "harness.py")], cwd=tree, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**inherited, **quiet, **environment},
        )  # fmt: skip

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """One request and its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except (BrokenPipeError, ValueError):  # it has ended, or was closed
            line = ""
        if not line:
            return {"error": f"the process ended with status {self.process.wait()}"}
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


@dataclass
class Member:
    """Timings of a case in a column."""

    case: str
    column: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    spent: float = 0.0
    done: bool = False

    def as_json(self) -> dict[str, Any]:
        """What is kept: times to five digits, in seconds."""
        if self.error:
            return {"error": self.error}
        return {
            "wall": [float(f"{x:.5g}") for x in self.wall],
            "cpu": [float(f"{x:.5g}") for x in self.cpu],
            **{name: value and round(value, 2) for name, value in self.memory.items()},
        }


def time_point(
    table: Table, point: Point, columns: Mapping[str, Column], seconds: float, most: int
) -> dict[str, dict[str, Any]]:
    """Time all cases of a point in turns; case -> column -> what was found.

    Parameters
    ----------
    table, point
        What is asked.
    columns
        The processes: those of this package by their names, those of peers as "torch" or
        "torch, capped".
    seconds
        Timing per case and column, times the table's own number.
    most
        Rounds at most; a case that has used its seconds is left out of later rounds.
    """
    members: list[tuple[Member, Column]] = []
    for case in table.cases:
        for name, column in columns.items():
            if column.peer == case.peer:
                members.append((Member(case.name, name), column))
    for member, column in members:
        found = column.ask("prepare", table=table.name, case=member.case, point=dict(point))
        member.error = found.get("error", "")
        if "trace" in found and "--trace" in sys.argv:
            print(found["trace"], file=sys.stderr)
        if "long" in found:
            member.wall.append(found["long"])
        member.done = bool(member.error) or "long" in found
    budget, least = seconds * table.seconds, min(table.least, most)
    for k in range(most):
        first = k % max(len(members), 1)  # each has another one before it in every round
        for member, column in members[first:] + members[:first]:
            if member.done:
                continue
            found = column.ask("time", table=table.name, case=member.case)
            if "error" in found:
                member.error, member.done = found["error"], True
                continue
            member.wall.append(found["wall"])
            member.cpu.append(found["cpu"])
            member.spent += found["spent"]
            member.done = member.spent > budget and len(member.wall) >= least
    out: dict[str, dict[str, Any]] = {}
    for member, column in members:
        if not member.error and not column.peer and not table.programs:
            member.memory = column.ask("memory", table=table.name, case=member.case)
            member.memory.pop("trace", None)
            member.memory.pop("error", None)
        out.setdefault(member.case, {})[member.column] = member.as_json()
    for column in columns.values():
        column.ask("drop")
    return out


def load(path: Path) -> dict[str, Any]:
    """What a run wrote, or nothing."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


if __name__ == "__main__":
    # cases register with the module of this name, not with the program
    importlib.import_module("harness").serve()
