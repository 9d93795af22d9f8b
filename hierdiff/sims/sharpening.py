r"""Sharpening: a sudden loss of the class, a smooth loss of the leaves.

With growing depth L the class is lost more and more suddenly, at a noise level that tends to the
threshold; beyond it the class is at chance while leaves of the original survive; and levels are
lost in the order of the hierarchy, at the predicted places.  The steepest slope of the class grows
as :math:`\lambda^L`, with the leading eigenvalue :math:`\lambda` of the critical fixed point.

What reaches the leaves from a level k above them is damped by :math:`\lambda/s` per level, on the
way up and again on the way down, so their slope is a sum of :math:`(\lambda^2/s)^k`: it stays
bounded if :math:`\nu = \log s / \log \lambda > 2`.  At (v, m, s) = (32, 8, 2) real noise has
:math:`\lambda^2/s` of about .78.  The annealed recursion has :math:`F'(p^*)^2/s = 1.04`, so the
leaves of the epsilon-process steepen, by 4 % per level, as long as the recursion holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, results
from hierdiff._display import experiment_html, pair_text, text_table
from hierdiff.checks import check_fields, checked, listed, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.noise import is_channel
from hierdiff.plots import BLUE, Figure, mark, panels, plt, shade, shared_legend
from hierdiff.sims.metrics.estimators import crossing
from hierdiff.sims.phase_transition import PROCESSES, PhaseTransition
from hierdiff.theory import annealed_beliefs, critical_noise, finite_depth_threshold, stability

__all__ = ["Sharpening"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class Sharpening:
    """Loss of class and leaves at growing depth, in four noise processes.

    Notes
    -----
    Validity: inference is exact; errors are over grammars.
    """

    name: ClassVar[str] = "sharpening"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("sharpening_*",)

    depths: tuple[int, ...] = (4, 6, 8, 10)
    """Depths L, increasing."""
    grammars: int = 24
    """Random grammars per depth."""
    data: int = 8
    """Data per grammar."""
    size: int = 2000
    """Members of a population of density evolution."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, depths=partial(listed, rule=partial(whole, low=2), least=2, rising=True),
            grammars=partial(whole, low=4, high=10**6), data=partial(whole, low=2, high=10**8),
            size=partial(whole, low=8, high=10**8), seed=natural,
        )  # fmt: skip
        for depth in self.depths:
            self._experiment("masking", depth)

    def _experiment(self, kind: str, depth: int) -> PhaseTransition:
        """One process at one depth, densely around the place where the class is lost."""
        return PhaseTransition(
            noise=kind, L=depth, grammars=self.grammars, data=self.data, levels=41, refine=9,
            seed=self.seed,
        )  # fmt: skip

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["same depth"] = "same depth",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Noise level at which half of each level is lost, at the greatest depth.

        By the recursion for the epsilon-process, else by density evolution.
        """
        one_of("law", law, ("same depth",))
        options = {"folder": folder, "workers": workers, "cluster": cluster}
        half = []
        for kind in PROCESSES:
            ds = self._law(kind, None, options)
            half.append([half_lost(ds.t.values, curve) for curve in ds.belief.values])
        plane = ("process", "level")
        variables = {
            "half": (plane, half, "noise level at which half is lost"),
            "half_error": (plane, np.zeros_like(half), "its standard error"),
        }
        return self._labelled(variables, {}, "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Thresholds and steepest slopes [process, L], and half-lost levels [process, level]."""
        no_model(
            self.name, model, data,
            "it compares depths and noise processes; the loss of every level of one model is that "
            "of PhaseTransition.measure",
        )  # fmt: skip
        found = self._sweep({"folder": folder, "workers": workers, "cluster": cluster})
        plane, levels = ("process", "L"), ("process", "level")
        rows = [
            [steepest(found[f"sharpening_{kind}_L{L}"]) for L in self.depths] for kind in PROCESSES
        ]
        texts = {"threshold": "class lost at t", "class slope": "steepest slope of the class",
                 "leaf slope": "steepest slope of the leaves"}  # fmt: skip
        variables = {}
        for name, text in texts.items():
            values = np.array([[x[name] for x in row] for row in rows])
            word = name.replace(" ", "_")
            variables[word] = (plane, values[..., 0], text)
            variables[f"{word}_error"] = (plane, values[..., 1], "its standard error")
        half = np.array(
            [half_levels(found[f"sharpening_{kind}_L{self.depths[-1]}"]) for kind in PROCESSES]
        )
        variables["half"] = (levels, half[..., 0], "noise level at which half is lost")
        variables["half_error"] = (levels, half[..., 1], "its standard error")
        return self._labelled(variables, {"L": (("L",), list(self.depths), "depth")}, "simulation")

    def _labelled(
        self, variables: dict[str, Any], depths: dict[str, Any], source: str
    ) -> xr.Dataset:
        coords = {
            "process": (("process",), list(PROCESSES), "noise process"),
            "level": (("level",), np.arange(self.depths[-1] + 1), "level, root = 0"),
            **depths,
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def _sweep(self, options: dict[str, Any]) -> dict[str, xr.Dataset]:
        """Exact inference at all depths, by the stem of the file."""
        return {
            f"sharpening_{kind}_L{L}": self._experiment(kind, L).measure(**options)
            for kind in PROCESSES
            for L in self.depths
        }

    def _law(self, kind: str, t: Array | None, options: dict[str, Any]) -> xr.Dataset:
        """The recursion for the epsilon-process, else density evolution, at the greatest depth."""
        experiment = self._experiment(kind, max(self.depths))
        if not is_channel(experiment.process):
            return experiment.predict()
        return experiment.predict(t=t, size=self.size, **options)

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Exact inference at all depths, and the law at the greatest one."""
        if model is not None or data is not None:
            self.measure(model, data)
        options = run.tasks(self.name)
        measured, laws = self._sweep(options), {}
        for kind in PROCESSES:
            belief = measured[f"sharpening_{kind}_L{self.depths[-1]}"].belief
            # levels are half lost between the class and the leaves
            first, last = (half_lost(belief.t.values, belief.values[i]) for i in (0, -1))
            times = np.linspace(0.7 * first, min(1.1 * last, 1.0), 25)
            laws[f"sharpening_{kind}_theory"] = self._law(kind, times, options)
        return measured | laws

    def figure(self, datasets: Datasets) -> Figure:
        """Beliefs at all depths above, half-lost levels below, a column for each process."""
        return draw(self.depths, datasets)

    def summary(self, datasets: Datasets) -> Summary:
        """Thresholds and steepest slopes, and the order in which levels are lost."""
        found = digest(self.depths, datasets)
        return Summary(table(found), claim(found), found)


def half_lost(t: Array, curve: Array) -> float:
    """First noise level at which a curve falls through one half; 1 if it never does."""
    below = np.flatnonzero(curve < 0.5)
    if not below.size or below[0] == 0:
        return float(t[-1] if not below.size else t[0])
    i = int(below[0])
    return float(np.interp(-0.5, -curve[i - 1 : i + 1], t[i - 1 : i + 1]))


def slope(t: Array, curves: Array) -> tuple[float, float]:
    """Steepest fall of the mean of curves [grammar, t], with the error from the grammars."""
    falls = -np.gradient(curves.mean(axis=0), t)
    i = int(falls.argmax())
    by_grammar = -np.gradient(curves, t, axis=1)[:, i]
    return float(falls[i]), float(by_grammar.std(ddof=1) / np.sqrt(len(curves)))


def steepest(ds: xr.Dataset) -> dict[str, Any]:
    """Threshold, and steepest slopes of class and leaves, each with its error."""
    curves, t = ds.belief_by_grammar.values, ds.t.values
    return {
        "threshold": [float(ds.threshold), float(ds.threshold_error)],
        "class slope": list(slope(t, curves[:, 0])),
        "leaf slope": list(slope(t, curves[:, -1])),
    }


def beyond(ds: xr.Dataset) -> dict[str, Any]:
    """First noise level above the threshold at which the class is at chance to .01."""
    chance = 1 / 32
    rows = np.flatnonzero((ds.t.values > float(ds.threshold)) & (ds.belief[0] < chance + 0.01))
    at = ds.isel(t=int(rows[0]))
    return {
        "t": float(at.t),
        "class": [float(at.retention[0]), float(at.retention_error[0]), chance],
        "leaves": [float(at.retention[-1]), float(at.retention_error[-1]), chance],
    }


def half_levels(ds: xr.Dataset) -> list[list[float]]:
    """Noise level at which half is lost, and its error, level by level."""
    out = []
    for level in ds.level.values:
        curves = ds.belief_by_grammar.sel(level=level).values[:, None]
        found = crossing(ds.t.values, curves, seed=int(level))
        out.append([found.value, found.error])
    return out


def predicted_half(law: xr.Dataset) -> list[float]:
    """The same by a law."""
    return [half_lost(law.t.values, law.belief.sel(level=k).values) for k in law.level.values]


def growth(v: int, m: int, s: int, depths: tuple[int, int] = (40, 60)) -> dict[str, float]:
    """Factor per level by which the leaves' slope grows in the recursion, seen and predicted."""
    slopes = []
    for depth in depths:
        deep = RHM(v, m, s, depth)
        middle = finite_depth_threshold(deep)
        width = max(critical_noise(deep) - middle, 1e-12)
        epsilon = np.linspace(middle - 3 * width, middle + 3 * width, 4001)
        leaf = annealed_beliefs(deep, epsilon)[2][:, -1]
        slopes.append(float((-np.gradient(leaf, epsilon)).max()))
    per_level = (slopes[1] / slopes[0]) ** (1 / (depths[1] - depths[0]))
    predicted = float(stability(RHM(v, m, s, 2))[1]) ** 2 / s
    return {"seen": per_level, "predicted": predicted}


def digest(depths: tuple[int, ...], datasets: Datasets) -> dict[str, Any]:
    """Slopes at all depths, survival beyond the threshold, half-lost levels, leaf growth."""
    processes = {}
    for kind in PROCESSES:
        deepest = datasets[f"sharpening_{kind}_L{depths[-1]}"]
        law = predicted_half(datasets[f"sharpening_{kind}_theory"])
        processes[kind] = {
            "depths": [{"L": L} | steepest(datasets[f"sharpening_{kind}_L{L}"]) for L in depths],
            "survival": beyond(deepest),
            "half": [[*x, y] for x, y in zip(half_levels(deepest), law, strict=True)],
        }
    rhm = RHM(32, 8, 2, depths[-1])
    return {
        "critical": critical_noise(rhm), "grammars": int(deepest.sizes["grammar"]),
        "data": int(deepest.sizes["datum"]), "resolution": float(np.diff(deepest.t.values).max()),
        "processes": processes,
        "leaf growth": {str(m): growth(rhm.v, m, rhm.s) for m in (8, 12)},
    }  # fmt: skip


def ordered(half: list[list[float]]) -> bool:
    """Whether levels are lost in the order of the hierarchy."""
    return all(a[0] < b[0] for a, b in zip(half[:-1], half[1:], strict=True))


def table(found: dict[str, Any]) -> str:
    """A row per process and depth."""
    header = ["process", "L", "class lost at", "slope of the class", "of the leaves"]
    digits = {"threshold": 4, "class slope": 2, "leaf slope": 3}
    rows = [
        [kind, row["L"], *(pair_text(row[n], d) for n, d in digits.items())]
        for kind, x in found["processes"].items() for row in x["depths"]
    ]  # fmt: skip
    return text_table(header, rows, keys=2)


def claim(found: dict[str, Any]) -> str:
    """Growth of the steepest slopes with depth, and the order of the levels."""
    processes = found["processes"].values()
    first, last = (next(iter(processes))["depths"][k]["L"] for k in (0, -1))
    words = []
    for name in ("class slope", "leaf slope"):
        factors = [x["depths"][-1][name][0] / x["depths"][0][name][0] for x in processes]
        words.append(f"{min(factors):.2f} to {max(factors):.2f}")
    worst = max(abs(a - c) for x in processes for a, _, c in x["half"])
    right = sum(ordered(x["half"]) for x in processes)
    return (
        f"steepest slopes grow from L = {first} to {last} by a factor {words[0]} (class) and "
        f"{words[1]} (leaves); levels are lost in the order of the hierarchy in {right} of "
        f"{len(processes)} processes, within {worst:.4f} of theory"
    )


def draw(depths: tuple[int, ...], datasets: Datasets) -> Figure:
    """Loss of class (points) and leaves (dotted) with depth; half-lost levels of the deepest."""
    figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained")
    for (above, below), kind in zip(axes.T, PROCESSES, strict=True):
        for L in depths:
            ds = datasets[f"sharpening_{kind}_L{L}"]
            tint = shade((L - depths[0]) / (depths[-1] - depths[0]))
            above.errorbar(ds.t, ds.belief[0], ds.belief_error[0], color=tint, marker="o", ms=2.5,
                           lw=0.8, label=f"class, L = {L}")  # fmt: skip
            above.plot(ds.t, ds.belief[-1], color=tint, ls=":", lw=1.2)
        ds = datasets[f"sharpening_{kind}_L{depths[-1]}"]
        half, law = np.array(half_levels(ds)), datasets[f"sharpening_{kind}_theory"]
        place = float(ds.threshold)
        mark(above, place, f"half lost: {place:.3f}")
        above.set(xlim=(max(place - 0.3, 0), min(place + 0.3, 1)), xlabel="noise level")
        below.errorbar(ds.level, half[:, 0], half[:, 1], fmt="o", ms=4, color=BLUE,
                       label="exact inference")  # fmt: skip
        below.plot(ds.level, predicted_half(law), "k-", lw=1,
                   label="recursion (epsilon), density evolution")  # fmt: skip
        below.set(xlabel="level (0: class)")
        above.plot([], [], color="0.3", ls=":", lw=1.2, label="leaves, same colours")
    axes[0, 0].set(ylabel="belief in the true symbol")
    axes[1, 0].set(ylabel="noise at which half is lost")
    lost = f"levels of L = {depths[-1]}"
    panels(axes.ravel(), *(f"{kind}: class and leaves" for kind in PROCESSES),
           *(f"{kind}: {lost}" for kind in PROCESSES))  # fmt: skip
    shared_legend(figure)
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    return figure
