"""Everything that the page on performance shows, in one run.

    python benchmarks/run.py                       # all tables, minutes; writes results.json
    python benchmarks/run.py --quick               # each case once or twice, small
    python benchmarks/run.py --tables marginals call
    python benchmarks/run.py --against ../old --capped
    python benchmarks/run.py --check               # and fail below half of the committed numbers

What is compared is timed in turns (``harness.py``), so ratios hold on a busy machine too; a number
is the median of its rounds, its spread their tenth and ninetieth percentile.  ``--against`` takes
another checkout of this repository, made by ``git worktree add ../old COMMIT``.  ``--capped`` times
some tables again with AVX-512 left out, in compiled code and in the libraries.  After an
interruption the same command with ``--resume`` does the points that are missing.

Cases are functions in the files beside this one; ``--list`` prints them.  A formulation in JAX
(PGMax) and one in pgmpy are timed where ``--peers`` gives a Python that has them.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

# E402: all four are found through the line above
import limits  # noqa: E402
import reading  # noqa: E402
from harness import Column, Table, key, load, tables, time_point  # noqa: E402

from hierdiff._display import text_table  # noqa: E402
from hierdiff.results import write_summary  # noqa: E402

__all__ = ["main", "options"]

RESULTS = HERE / "results.json"
PLACES = {"--against": "../before", "--peers": "PYTHON", "--json": ""}
"""Options that name a place, and what stands for it in a file that others read."""
EXTRA = ("jax",)
"""Peers that need a Python of their own."""


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog="Without flags: all tables."
    )
    parser.add_argument("--quick", action="store_true", help="small points, few rounds")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these tables")
    parser.add_argument("--only", default="", metavar="TEXT", help="points with this, as size = C")
    parser.add_argument("--against", type=Path, metavar="TREE", help="also time this checkout")
    parser.add_argument("--capped", action="store_true", help="also without AVX-512")
    parser.add_argument(
        "--peers", type=Path, metavar="PYTHON", help="interpreter with PGMax, pgmpy"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="timing of a case, relative")
    parser.add_argument("--rounds", type=int, default=25, help="timings of a case, at most")
    parser.add_argument(
        "--json", type=Path, help="where numbers are written; full runs: results.json"
    )
    parser.add_argument("--resume", action="store_true", help="keep the points of an earlier run")
    parser.add_argument("--check", action="store_true", help="fail below half of committed numbers")
    parser.add_argument("--list", action="store_true", help="print tables and cases, and stop")
    parser.add_argument("--trace", action="store_true", help="print where a case failed")
    found = parser.parse_args(arguments)
    known = tables()
    for name in found.tables or ():
        if name not in known:
            parser.error(f"there is no table {name!r}; choose from {', '.join(known)}")
    if found.rounds < 1 or not found.seconds > 0:
        parser.error(f"--rounds = {found.rounds}, --seconds = {found.seconds} must be positive")
    if found.against and not (found.against / "hierdiff" / "__init__.py").exists():
        parser.error(f"--against = {found.against} holds no package; give a checkout")
    if found.peers and not found.peers.exists():
        parser.error(f"--peers = {found.peers} is no interpreter")
    if found.json is None and not (found.quick or found.tables or found.only):
        found.json = RESULTS
    return found


class Columns:
    """Processes by name, started when they are first needed."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.running: dict[str, Column] = {}
        self.capped = bool(given.capped and limits.wide())

    def of(self, table: Table) -> dict[str, Column]:
        """The columns of a table: trees and peers, with all features and without AVX-512."""
        kinds = ("", ", capped") if self.capped and table.capped else ("",)
        return {name + kind: self._get(name, kind) for kind in kinds for name in self._names(table)}

    def _names(self, table: Table) -> Iterator[str]:
        yield "now"
        if self.given.against and table.before:
            yield "before"
        for peer in sorted({case.peer for case in table.cases} - {""}):
            if peer not in EXTRA or self.given.peers:
                yield peer

    def _get(self, name: str, kind: str) -> Column:
        if name + kind not in self.running:
            tree = self.given.against.resolve() if name == "before" else ROOT
            peer = "" if name in ("now", "before") else name
            python = str(self.given.peers.absolute()) if peer in EXTRA else sys.executable
            features = limits.features() if kind else {}
            self.running[name + kind] = Column(name + kind, tree, features, peer, python)
        return self.running[name + kind]

    def close(self) -> None:
        """End all processes."""
        for column in self.running.values():
            column.close()


def machine() -> dict[str, Any]:
    """Where the numbers come from, in words that say nothing about whose machine it is."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if os.name == "posix" else 0
    return {
        "processor": limits.processor(), "AVX-512": limits.wide(),
        "processors": limits.available(),
        "memory, GiB": round(pages / 2**30, 1), "system": platform.system(),
    }  # fmt: skip


def commit(tree: Path) -> str:
    """Commit of a checkout, with "+" where code differs from it."""

    def git(*words: str) -> str:
        run = subprocess.run(["git", "-C", str(tree), *words], capture_output=True, text=True)
        return run.stdout.strip()

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "*.py") else "")


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Time all points; what is there is written after each."""
    there = load(given.json) if given.resume and given.json else {}
    trees = {"now": commit(ROOT)} | ({"before": commit(given.against)} if given.against else {})
    here = {"machine": machine(), "trees": trees}
    if there and any(there.get(name) != value for name, value in here.items()):
        raise SystemExit(
            f"error: {given.json} was made on another machine or with other code; "
            "run without --resume"
        )
    found: dict[str, Any] = {**here, "load": {}, "tables": there.get("tables", {})}
    known, columns = tables(), Columns(given)
    try:
        for name in given.tables or known:
            table = known[name]
            rows = found["tables"].setdefault(name, {})
            for point in table.quick if given.quick else table.points:
                if key(point) in rows or given.only not in key(point):
                    continue
                start, most = time.perf_counter(), given.rounds
                if given.quick:
                    most = 1 if table.programs else 2
                cases = time_point(table, point, columns.of(table), given.seconds, most)
                rows[key(point)] = {"point": dict(point), "cases": cases}
                show(table, rows[key(point)], time.perf_counter() - start)
                found["load"] = dict(
                    zip(("1 min", "5 min", "15 min"), os.getloadavg(), strict=True)
                )
                write(given, found)
    finally:
        columns.close()
    return found


def write(given: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Everything so far, as JSON that says how it was made."""
    if given.json:
        made = {"rounds": given.rounds, "seconds": given.seconds, "quick": given.quick}
        rows = {**found, "targets": reading.targets(found)}
        write_summary(given.json, rows, made, also={"command": command(sys.argv)})


def command(words: Sequence[str]) -> str:
    """The command without the folders of this machine."""
    out = [Path(words[0]).name, *words[1:]]
    for i, word in enumerate(out[:-1]):
        if word in PLACES:
            out[i + 1] = PLACES[word] or Path(out[i + 1]).name
    return " ".join(out)


def show(table: Table, row: Mapping[str, Any], seconds: float) -> None:
    """Print what was found at a point; a peer stands under what has the same features."""
    names = ("now", "before", "now, capped", "before, capped")
    has = {name for cells in row["cases"].values() for name in cells}
    has |= {reading.column_of("now", name) for name in has - set(names)}
    there = [name for name in names if name in has]
    print(f"\n{table.title}: {key(row['point'])} ({seconds:.0f} s)", flush=True)
    rows = []
    for case, cells in row["cases"].items():
        texts = dict.fromkeys(there, "")
        for name, cell in cells.items():
            column = name if name in texts else reading.column_of("now", name)
            texts[column] = (
                cell["error"].split(":")[0][:15] if "error" in cell
                else reading.time_text(reading.median(cell))
            )  # fmt: skip
        rows.append([case, *texts.values()])
    print(text_table(["", *there], rows))


def main(arguments: list[str] | None = None) -> int:
    """Time, print, write and compare; the exit status is 1 where ``--check`` fails."""
    given = options(arguments)
    if given.list:
        for name, table in tables().items():
            print(f"{name}: {table.title}, {len(table.points)} points")
            for case in table.cases:
                print(f"    {case.name}" + (f" [{case.peer}]" if case.peer else ""))
        return 0
    committed = load(RESULTS).get("targets", [])
    found = measure(given)
    print("\n" + reading.targets_text(reading.targets(found)))
    if given.check:
        slow = reading.slower(reading.targets(found), committed)
        for line in slow:
            print(f"slower than half of what was seen: {line}")
        return 1 if slow else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
