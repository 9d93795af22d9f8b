"""The page on performance: tables and figures of the committed run of the benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pages import ROOT, benchmark, table

sys.path.insert(0, str(ROOT / "benchmarks"))
import reading

__all__ = ["FIGURES", "PAGES", "draw"]

CAPPED = "now, capped"
COLUMNS = {
    "now": "now",
    "before": "before",
    CAPPED: "no AVX-512",
    "before, capped": "before, no AVX-512",
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's, which colour-blind readers tell apart; markers differ too."""
MARKERS = ("o", "s", "^", "D", "v", "P")
MISSING = "The committed run was made without this table.\n"

Cell = Mapping[str, Any]


@cache
def run() -> dict[str, Any]:
    """The committed run."""
    found: dict[str, Any] = benchmark("results")
    return found


def points(name: str) -> list[Mapping[str, Any]]:
    """Points of a table, as they were timed."""
    return list(run()["tables"].get(name, {}).values())


def cell(point: Mapping[str, Any], case: str, column: str = "now") -> Cell | None:
    """Timings of a case, or None."""
    found = point["cases"].get(case, {}).get(column)
    return None if found is None or "error" in found or not found["wall"] else found


def time_of(one: Cell | None) -> str:
    """Median in its unit, or nothing."""
    return "" if one is None else reading.time_text(reading.median(one))


def number(value: float) -> str:
    """Three digits, thousands separated."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(above: Cell | None, below: Cell | None) -> str:
    """A ratio, or nothing."""
    return "" if above is None or below is None else number(reading.ratio(above, below).value)


def there(name: str, columns: Sequence[str] = tuple(COLUMNS)) -> list[str]:
    """Columns of this package that a table has."""
    cases = [cells for point in points(name) for cells in point["cases"].values()]
    return [column for column in columns if any(column in cells for cells in cases)]


# Tables


def performance_machine() -> str:
    """What ran where, and what the machine can do."""
    here, trees = run()["machine"], run()["trees"]
    words = "with" if here["AVX-512"] else "without"
    load = run()["load"].get("15 min", 0)
    text = (
        f"{here['processor']}, {here['processors']} processors {words} AVX-512, "
        f"{here['memory, GiB']:g} GiB, {here['system']}. "
    )
    if load > here["processors"] + 0.5:
        text += (
            f"The machine was shared: {load:.0f} programs ran at a time, on average at the end of "
            "the run, so times are longer than on a quiet one, and the least of them says more. "
        )
    text += f'"Now" is commit `{trees["now"][:7]}`'
    text += f', "before" `{trees["before"][:7]}`.\n\n' if "before" in trees else ".\n\n"
    units = {"plain stores": ("GB/s", 256 * 2**20), "non-temporal stores": ("GB/s", 256 * 2**20),
             "loads from memory": ("GB/s", 256 * 2**20), "multiply-adds": ("GF/s", 2e9),
             "matrix product": ("GF/s", 2e9)}  # fmt: skip
    rows = []
    for case, (unit, work) in units.items():
        row = [f"{case}, {unit}"]
        for kind in ("", ", capped"):
            for point in points("limits"):
                one = cell(point, case, f"limits{kind}")
                row.append("" if one is None else number(work / reading.quantiles(one)[0] / 1e9))
        rows.append(row)
    names = [f"{p['point']['threads']} thread{'s' * (p['point']['threads'] == 'all')}"
             for p in points("limits")]  # fmt: skip
    header = ["best of rounds, float32", *names, *(f"{name}, no AVX-512" for name in names)]
    return text + narrow(header, rows)


def narrow(header: list[str], rows: list[list[str]]) -> str:
    """A table without columns that have nothing in them."""
    kept = [i for i in range(len(header)) if any(row[i] for row in rows)]
    if not kept:
        return MISSING
    return table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])


def performance_targets() -> str:
    """Every target and what the run saw."""
    rows = []
    for one in run()["targets"]:
        sign = ">" if one["more is better"] else "<"
        seen = [number(one["seen"][c]) if c in one["seen"] else "" for c in COLUMNS]
        rows.append([one["name"], f"{sign} {one['target']:,g} {one['unit']}".strip(), *seen])
    return narrow(["", "target", *COLUMNS.values()], rows)


def size(point: Mapping[str, Any]) -> str:
    """Size and number of samples."""
    return f"{point['point']['size']} {point['point']['batch']}"


def performance_ratios() -> str:
    """The public call against other formulations."""
    rows = []
    for point in points("marginals"):
        mine = cell(point, "posterior")
        if mine is None:
            continue
        least, low, _, high = reading.quantiles(mine)
        others = [
            ratio(cell(point, name, peer), mine)
            for name, peer in (
                ("dense torch", "torch"),
                ("sparse torch", "torch"),
                ("plain NumPy", "plain"),
            )
        ]
        dense = cell(point, "dense torch", "torch")
        both = "" if dense is None else number(min(dense["wall"]) / least)
        code = cell(point, "posterior, specialised")
        rows.append([size(point), time_of(mine),
                     f"{reading.time_text(low)} to {reading.time_text(high)}",
                     reading.time_text(least), *others, both, time_of(code),
                     ratio(dense, code)])  # fmt: skip
    header = ["size, samples", "median", "80 % of rounds", "least", "dense torch", "sparse torch",
              "plain NumPy", "dense torch, least times", "specialised",
              "dense torch / specialised"]  # fmt: skip
    return narrow(header, rows)


def performance_before() -> str:
    """The public call before and after, with and without AVX-512."""
    rows = []
    for point in points("marginals"):
        row = [size(point)]
        for column in ("now", CAPPED):
            mine = cell(point, "posterior", column)
            old = cell(point, "posterior", column.replace("now", "before"))
            row += [time_of(mine), ratio(old, mine)]
        peer = cell(point, "dense torch", reading.column_of("torch", CAPPED))
        rows.append([*row, ratio(peer, mine)])
    header = ["size, samples", "now", "before / now", "no AVX-512", "its before / now",
              "its dense torch / now"]  # fmt: skip
    return narrow(header, rows)


def performance_bound() -> str:
    """What the machine needs at least, and the fraction of it."""
    rows = []
    for point in points("marginals"):
        if point["point"]["batch"] == 1:
            continue
        stores, sums = cell(point, "stores", "limits"), cell(point, "multiply-adds", "limits")
        row = [size(point), time_of(stores), time_of(sums)]
        for column in ("now", CAPPED):
            least, mine = reading.bound(point["cases"], column), cell(point, "posterior", column)
            row.append(fraction(least, mine))
            if column == "now":
                row.append(fraction(least, cell(point, "posterior, memory given")))
                row.append(fraction(least, cell(point, "compiled pass alone")))
        rows.append(row)
    header = ["size, samples", "stores", "multiply-adds", "posterior", "memory given",
              "compiled pass", "posterior, no AVX-512"]  # fmt: skip
    return narrow(header, rows)


def fraction(least: Cell | None, mine: Cell | None) -> str:
    """A fraction with its spread."""
    if least is None or mine is None:
        return ""
    return f"{reading.ratio(least, mine).value:.2f}"


def by_point(name: str, axis: str, first: str, memory: bool = False) -> str:
    """Cases of a table line by line, against its one parameter, with the memory of the last."""
    found = points(name)
    values = [f"{point['point'][axis]:,}" for point in found]
    rows = []
    for case in found[-1]["cases"] if found else ():
        cells = [next((c for c in point["cases"][case].values() if "wall" in c), None)
                 for point in found]  # fmt: skip
        kept = cells[-1] if memory and cells[-1] else {}
        most = max(kept.get("pages") or 0, kept.get("allocated") or 0)
        rows.append([case, *map(time_of, cells), f"{most:.1f}" if kept else ""])
    return narrow([first, *values, f"MiB, {values[-1] if values else ''}"], rows)


def performance_cost() -> str:
    """What each request costs at size A."""
    return by_point("asked", "batch", "asked for, samples", memory=True)


def performance_choices() -> str:
    """Cost of every choice, relative to all marginals in float32 from compact evidence, size A."""
    asked = {point["point"]["batch"]: point for point in points("asked")}
    rows: dict[str, list[str]] = {}
    batches = []
    for point in points("marginals"):
        here = point["point"]
        base = cell(point, "posterior")
        if here["size"] != "A" or base is None:
            continue
        batches.append(f"A {here['batch']}")
        for name in ("posterior, memory given", "posterior, evidence as an array",
                     "posterior, float64"):  # fmt: skip
            row = rows.setdefault(name.removeprefix("posterior, "), [])
            row.append(ratio(cell(point, name), base))
        other = asked.get(here["batch"])
        for name in other["cases"] if other else ():
            if name != "all marginals":
                mine, all_ = cell(other, name), cell(other, "all marginals")
                rows.setdefault(name, []).append(ratio(mine, all_))
    return narrow(["choice", *batches], [[name, *row] for name, row in rows.items()])


def performance_questions() -> str:
    """Questions about the posterior over derivations."""
    return by_point("questions", "batch", "question, samples")


def performance_torch() -> str:
    """Inference in torch on a processor."""
    rows = []
    for point in points("torch"):
        row = [size(point), time_of(cell(point, "posterior, evidence as an array"))]
        names = ("marginals", "log-evidence and its gradient", "marginals by batched operations")
        rows.append([*row, *(time_of(cell(point, name, "torch")) for name in names)])
    header = ["size, samples", "posterior", "marginals in torch", "log-evidence and gradient",
              "batched operations"]  # fmt: skip
    return narrow(header, rows)


def performance_parsing() -> str:
    """All parses of strings."""
    return by_point("parsing", "length", "16 strings of length")


def performance_call() -> str:
    """What a call costs beside its work."""
    rows = [
        [name, *(time_of(cell(point, name, column)) for column in COLUMNS)]
        for point in points("call") for name in point["cases"]
    ]  # fmt: skip
    return narrow(["one sample of (4, 2, 2, 2)", *COLUMNS.values()], rows)


def performance_drawing() -> str:
    """Samples of posteriors and of grammars, and density evolution."""
    rows = []
    for point in points("posterior samples"):
        torch = cell(point, "dense torch", "torch")
        for name in ("from evidence", "one more of a posterior", "one of 16 of a posterior"):
            mine = cell(point, name)
            rows.append([f"{point['point']['size']}, 256 data", name, time_of(mine),
                         ratio(cell(point, name, "before"), mine), ratio(torch, mine)])  # fmt: skip
    for point in points("prior samples"):
        mine, where = cell(point, "leaves and latents"), point["point"]
        rows.append([f"{where['size']}, {where['n']:,} samples", "of the grammar", time_of(mine),
                     ratio(cell(point, "leaves and latents", "before"), mine),
                     ratio(cell(point, "gathers in torch", "torch"), mine)])  # fmt: skip
    for point in points("density evolution"):
        mine, noise = cell(point, "up and down"), point["point"]["noise"]
        old = cell(point, "up and down", "before")
        rows.append(["4 populations of 10,000", f"density evolution, {noise}", time_of(mine),
                     ratio(old, mine), ""])  # fmt: skip
    return narrow(["", "what", "time", "before / now", "torch / now"], rows)


def performance_denoisers() -> str:
    """Denoisers as fractions of the matrix product."""
    rows = []
    for name in ("mixture", "data set"):
        for point in points(name):
            square = cell(point, "square matrix product", "limits")
            both = cell(point, "its two products", "limits")
            where = ", ".join(f"{k} = {v:,}" for k, v in point["point"].items())
            for case, columns in point["cases"].items():
                mine = columns.get("now")
                if mine and "error" not in mine:
                    rows.append([f"{name}, {where}", case, time_of(mine), fraction(square, mine),
                                 fraction(both, mine)])  # fmt: skip
    return narrow(["", "what", "time", "of a square product", "of its two products"], rows)


def performance_programs() -> str:
    """Programs from start to end, wall and CPU."""
    rows = []
    for name in ("start", "first call", "main job"):
        for point in points(name):
            for case in point["cases"]:
                row = [case + (", nothing compiled" if point["point"]["compiled"] == "now" else "")]
                for column in ("now", "before"):
                    one = cell(point, case, column)
                    row += [time_of(one), time_of({"wall": one["cpu"]} if one else None)]
                rows.append(row)
    return narrow(["", "now", "CPU", "before", "CPU"], rows)


def performance_graphs() -> str:
    """Libraries for factor graphs."""
    rows = []
    for point in points("factor graphs"):
        mine = cell(point, "posterior")
        for name in ("PGMax", "pgmpy"):
            other = cell(point, name, "jax")
            if other:
                rows.append([size(point), name, time_of(other), time_of(mine), ratio(other, mine)])
    if not rows:
        return "No interpreter with PGMax or pgmpy was given in the committed run.\n"
    return narrow(["size, samples", "library", "its time", "posterior", "ratio"], rows)


def performance_scaling() -> str:
    """How the cost grows, in numbers."""
    rows = []
    for point in points("leaves"):
        L, row = point["point"]["L"], []
        for case in ("beliefs in the truth", "leaf marginals"):
            one = cell(point, case)
            row += ["", ""] if one is None else [
                f"{1e9 * reading.median(one) / (2 ** (L + 1) - 1):.1f}",
                f"{max(one.get('pages') or 0, one.get('allocated') or 0):,.0f}"]  # fmt: skip
        rows.append([f"$2^{{{L}}}$", *row])
    header = ["leaves", "ns per node, beliefs", "MiB", "ns per node, leaf marginals", "MiB"]
    return narrow(header, rows)


# Figures


def axes(ax: Any, x: str, y: str, title: str = "") -> None:
    """Logarithmic axes with labels."""
    ax.set(xscale="log", yscale="log", xlabel=x, ylabel=y, title=title)


def legend(fig: Any, ax: Any) -> None:
    """One legend above all panels."""
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        fig.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4),
                   frameon=False)  # fmt: skip


def look(case: int, column: str) -> dict[str, Any]:
    """Colour and marker of a case; what is older is dashed and open."""
    old = column.startswith("before")
    return {"color": COLOURS[case], "marker": MARKERS[case], "ms": 4, "lw": 1.2,
            "ls": "--" if old else "-", "mfc": "white" if old else COLOURS[case]}  # fmt: skip


def line(
    ax: Any, x: Sequence[float], cells: Sequence[Cell], unit: Sequence[float], text: str,
    **how: Any,
) -> None:  # fmt: skip
    """Medians, with the tenth and the ninetieth percentile as bars."""
    low, middle, high = np.array([reading.quantiles(one)[1:] for one in cells]).T / unit
    error = [middle - low, high - middle]
    ax.errorbar(x, middle, error, label=text, elinewidth=0.8, **how)


def along(name: str, axis: str, case: str, column: str = "now", **fixed: Any) -> tuple[Any, Any]:
    """Values of a parameter, and the timings there."""
    found = [
        (point["point"][axis], one)
        for point in points(name)
        if all(point["point"][k] == value for k, value in fixed.items())
        and (one := cell(point, case, column)) is not None
    ]
    return [x for x, _ in found], [one for _, one in found]


def figure_leaves(fig: Any) -> None:
    """Time per node and memory of one tree."""
    left, right = fig.subplots(1, 2)
    for k, case in enumerate(("beliefs in the truth", "leaf marginals")):
        for column in there("leaves", ("now", "before")):
            L, cells = along("leaves", "L", case, column)
            if cells:
                leaves = [2.0**x for x in L]
                unit = [1e-9 * (2.0 ** (x + 1) - 1) for x in L]
                line(left, leaves, cells, unit, f"{case}, {column}", **look(k, column))
                memory = [max(c.get("pages") or 0, c.get("allocated") or 0, 1e-2) for c in cells]
                right.plot(leaves, memory, **look(k, column))
    axes(left, "leaves", "ns per node")
    axes(right, "leaves", "MiB that a call adds")
    legend(fig, left)


def figure_batch(fig: Any) -> None:
    """Time per sample against samples per call."""
    panels = fig.subplots(1, 3)
    for ax, name in zip(panels, "ABC", strict=True):
        for k, case in enumerate(("all marginals", "beliefs in the truth")):
            for column in there("batch", ("now", "before")):
                batch, cells = along("batch", "batch", case, column, size=name)
                if cells:
                    unit = [1e-6 * b for b in batch]
                    line(ax, batch, cells, unit, f"{case}, {column}", **look(k, column))
        axes(ax, "samples per call", "µs per sample" if name == "A" else "", f"size {name}")
    legend(fig, panels[-1])


def figure_grammar(fig: Any) -> None:
    """Multiples of the machine's bound against v, m and s."""
    names = (("symbols", "v", "symbols v, m = v/4"), ("rules", "m", "rules m, v = 32"),
             ("branches", "s", "children s, v = 16"))  # fmt: skip
    panels = fig.subplots(1, 3, sharey=True)
    for ax, (name, axis, words) in zip(panels, names, strict=True):
        for column in there(name, ("now", "before")):
            found = []
            for point in points(name):
                one, least = cell(point, "all marginals", column), reading.bound(point["cases"])
                if one and least:
                    found.append((point["point"][axis], *reading.ratio(one, least)))
            if found:
                x, middle, low, high = np.array(found).T
                error = [middle - low, high - middle]
                ax.errorbar(x, middle, error, label=column, elinewidth=0.8, **look(0, column))
        axes(ax, words, "time over the bound" if name == "symbols" else "")
        values = [point["point"][axis] for point in points(name)]
        ax.set_xticks(values, [str(value) for value in values])
        ax.minorticks_off()
    legend(fig, panels[0])


def figure_threads(fig: Any) -> None:
    """Speed with more threads, relative to one."""
    panels = fig.subplots(1, 2, sharey=True)
    for ax, case in zip(panels, ("all marginals", "beliefs in the truth"), strict=True):
        threads: list[int] = []
        for k, name in enumerate("ABC"):
            here, cells = along("threads", "threads", case, size=name)
            if cells:
                threads = here
                gain = [reading.ratio(cells[0], one).value for one in cells]
                ax.plot(threads, gain, label=f"size {name}", **look(k, "now"))
        if threads:
            ax.plot(threads, threads, color="black", lw=0.8, ls=":", label="in proportion")
            ax.set_xticks(threads)
        ax.set(xlabel="threads", title=case)
    panels[0].set_ylabel("times the speed of one")
    legend(fig, panels[0])


FIGURES: Mapping[str, tuple[Callable[[Any], None], tuple[float, float]]] = {
    "performance_leaves": (figure_leaves, (7.2, 3.0)),
    "performance_batch": (figure_batch, (7.8, 3.0)),
    "performance_grammar": (figure_grammar, (7.2, 2.8)),
    "performance_threads": (figure_threads, (6.0, 2.8)),
}
PAGES = (
    performance_machine, performance_targets, performance_ratios, performance_before,
    performance_bound, performance_cost, performance_choices, performance_call,
    performance_questions, performance_torch, performance_parsing, performance_drawing,
    performance_denoisers, performance_programs, performance_graphs, performance_scaling,
)  # fmt: skip


def draw(folder: Path) -> None:
    """Write all figures."""
    from hierdiff.plots import plt

    with plt.rc_context({"font.size": 9, "axes.labelsize": 9, "legend.fontsize": 8,
                         "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.titlesize": 9,
                         "axes.spines.top": False, "axes.spines.right": False}):  # fmt: skip
        for name, (function, inches) in FIGURES.items():
            fig = plt.figure(figsize=inches, layout="constrained")
            function(fig)
            fig.savefig(folder / f"{name}.png", dpi=160)
            plt.close(fig)
