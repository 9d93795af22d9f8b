"""Numbers of a run: medians, spreads, ratios, and the list of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from hierdiff._display import text_table

__all__ = [
    "TARGETS",
    "Ratio",
    "bound",
    "cell",
    "column_of",
    "median",
    "quantiles",
    "ratio",
    "slower",
    "targets",
    "targets_text",
    "time_text",
]  # fmt: skip

Found = Mapping[str, Any]
Reading = Callable[[Found, str], float | None]  # a number of a run, by the name of a column
Cell = Mapping[str, Any]

SPREAD = (0.1, 0.9)


def median(one: Cell) -> float:
    """Median of the rounds in seconds."""
    return float(np.median(one["wall"]))


def quantiles(one: Cell) -> tuple[float, float, float, float]:
    """Least, tenth percentile, median and ninetieth percentile of the rounds."""
    wall = np.asarray(one["wall"])
    low, high = np.quantile(wall, SPREAD)
    return float(wall.min()), float(low), float(np.median(wall)), float(high)


class Ratio(NamedTuple):
    """Median of a ratio, and its tenth and ninetieth percentile over rounds."""

    value: float
    low: float
    high: float


def ratio(above: Cell, below: Cell) -> Ratio:
    """How many times longer one takes than another, round by round where both have rounds.

    A peer that takes seconds has fewer rounds: then its median is divided by each round.
    """
    a, b = np.asarray(above["wall"]), np.asarray(below["wall"])
    many = min(len(a), len(b))
    some = a[:many] / b[:many] if many >= 3 else np.median(a) / b
    low, high = np.quantile(some, SPREAD)
    return Ratio(float(np.median(some)), float(low), float(high))


def bound(cells: Mapping[str, Any], column: str = "now") -> Cell | None:
    """What the machine needs at least: the larger of its two limits, round by round."""
    peer = column_of("limits", column)
    parts = [cells.get(name, {}).get(peer) for name in ("stores", "multiply-adds")]
    if any(part is None or "error" in part for part in parts):
        return None
    walls = [part["wall"] for part in parts if part is not None]
    many = min(map(len, walls))
    return {"wall": np.max([wall[:many] for wall in walls], axis=0).tolist()}


def column_of(peer: str, column: str) -> str:
    """The process of a peer that has the same features as a column."""
    return peer + (", capped" if column.endswith(", capped") else "")


def cell(found: Found, table: str, point: str, case: str, column: str = "now") -> Cell | None:
    """The timings of a case, or None where they are missing."""
    one = found["tables"].get(table, {}).get(point, {}).get("cases", {}).get(case, {}).get(column)
    return None if one is None or "error" in one or not one["wall"] else one


def _against(
    point: str, peer: str, other: str, table: str = "marginals", case: str = "posterior"
) -> Reading:
    def seen(found: Found, column: str) -> float | None:
        mine = cell(found, table, point, case, column)
        theirs = cell(found, table, point, other, column_of(peer, column))
        return ratio(theirs, mine).value if mine and theirs else None

    return seen


def _time(table: str, point: str, case: str, unit: float, quantity: str = "wall") -> Reading:
    def seen(found: Found, column: str) -> float | None:
        mine = cell(found, table, point, case, column)
        return float(np.median(mine[quantity])) / unit if mine and mine[quantity] else None

    return seen


def _of_bound(case: str = "posterior") -> Reading:
    def seen(found: Found, column: str) -> float | None:
        point = "size = A, batch = 256"
        mine = cell(found, "marginals", point, case, column)
        cells = found["tables"].get("marginals", {}).get(point, {}).get("cases", {})
        least = bound(cells, column)
        return ratio(least, mine).value if mine and least else None

    return seen


def _over_kernel(found: Found, column: str) -> float | None:
    point = "size = A, batch = 256"
    mine = cell(found, "marginals", point, "posterior", column)
    kernel = cell(found, "marginals", point, "compiled pass alone", column)
    return ratio(mine, kernel).value if mine and kernel else None


def _per_node(found: Found, column: str) -> float | None:
    mine = cell(found, "leaves", "L = 24", "beliefs in the truth", column)
    return 1e9 * median(mine) / (2**25 - 1) if mine else None


class Target(NamedTuple):
    """What is aimed at: a number, whether more or less is better, and how it is read."""

    name: str
    target: float
    more: bool
    unit: str
    seen: Any


_MARGINALS = (("A", 32, 1000), ("A", 256, 2000), ("B", 256, 800), ("C", 256, 200))
TARGETS = (
    *(Target(f"marginals against dense torch, {size} {batch}", target, True, "x",
             _against(f"size = {size}, batch = {batch}", "torch", "dense torch"))
      for size, batch, target in _MARGINALS),
    *(Target(f"the same, specialised, {size} {batch}", target, True, "x",
             _against(f"size = {size}, batch = {batch}", "torch", "dense torch",
                      case="posterior, specialised"))
      for size, batch, target in _MARGINALS),
    *(Target(f"one sample, {size}", 0.2, False, "ms",
             _time("marginals", f"size = {size}, batch = 1", "posterior", 1e-3)) for size in "ABC"),
    Target("public call over compiled pass, A 256", 1.3, False, "x", _over_kernel),
    Target("fraction of the machine's bound, A 256", 0.35, True, "", _of_bound()),
    Target("the same, specialised", 0.35, True, "", _of_bound("posterior, specialised")),
    Target("one tree of 2^24 leaves, per node", 15, False, "ns", _per_node),
    Target("a call, smallest tree", 50, False, "µs", _time("call", "n = 1", "all marginals", 1e-6)),
    Target("posterior samples against dense torch, A", 300, True, "x",
           _against("size = A", "torch", "dense torch", "posterior samples", "from evidence")),
    Target("denoiser of a mixture of matrix product, K 400 B 1024", 0.9, True, "",
           _against("K = 400, B = 1024", "limits", "square matrix product", "mixture",
                    "all classes alive")),
    Target("denoiser of a data set of matrix product, N 50,000", 0.9, True, "",
           _against("N = 50000", "limits", "square matrix product", "data set",
                    "all data count, prepared")),
    Target("main job, compiled before", 10, False, "s",
           _time("main job", "compiled = before", "hierdiff run phase_transition", 1)),
    Target("main job, nothing compiled", 20, False, "s",
           _time("main job", "compiled = now", "hierdiff run phase_transition", 1)),
    Target("hierdiff --help, CPU", 0.5, False, "s",
           _time("start", "compiled = before", "hierdiff --help", 1, "cpu")),
    Target("import hierdiff, CPU", 0.5, False, "s",
           _time("start", "compiled = before", "import hierdiff", 1, "cpu")),
)  # fmt: skip


def targets(found: Found) -> list[dict[str, Any]]:
    """Every target that the run has a number for, in all columns."""
    rows = []
    for one in TARGETS:
        columns = ("now", "before", "now, capped", "before, capped")
        seen = {column: one.seen(found, column) for column in columns}
        kept = {name: value for name, value in seen.items() if value is not None}
        if kept:
            rows.append({"name": one.name, "target": one.target, "unit": one.unit,
                         "more is better": one.more, "seen": kept})  # fmt: skip
    return rows


def targets_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table that ends a run."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row["seen"]))
    lines = []
    for row in rows:
        goal = ("> " if row["more is better"] else "< ") + f"{row['target']:g} {row['unit']}"
        seen = [f"{row['seen'][c]:.3g}" if c in row["seen"] else "" for c in columns]
        lines.append([row["name"], goal.strip(), *seen])
    return text_table(["", "target", *columns], lines)


def slower(rows: Iterable[Mapping[str, Any]], committed: Iterable[Mapping[str, Any]]) -> list[str]:
    """Targets that are now more than twice as far off as the committed run saw them."""
    before = {row["name"]: row["seen"].get("now") for row in committed}
    out = []
    for row in rows:
        now, then = row["seen"].get("now"), before.get(row["name"])
        if now is None or then is None:
            continue
        worse = now < then / 2 if row["more is better"] else now > 2 * then
        if worse:
            out.append(f"{row['name']}: {now:.3g}, and {then:.3g} in the committed run")
    return out


def time_text(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
