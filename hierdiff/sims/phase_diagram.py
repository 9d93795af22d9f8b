r"""The phase diagram: the threshold of the class against the density of rules.

The density :math:`f = (mv-1)/(v^s-1)` is the share of tuples, other than the true one, that are
rules of some symbol.  Three laws are compared at every point: the annealed map (the closed form of
the idealised epsilon-process), read at the noise level of the same mean leaf belief; density
evolution, which contains the fluctuations of messages; and, for masking, the exact threshold of
support sets, a lower bound.

A transition needs :math:`F'(1) < 1` (certainty is stable) and :math:`F'(1/v) < 1` (ignorance is
stable, the Kesten-Stigum condition on average).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NoReturn

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import brentq

from hierdiff import RHM, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, count, listed, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import noise_process
from hierdiff.plots import GREY, PALETTE, Axes, Figure, panels, plt, shared_legend
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import (
    critical_level,
    critical_noise,
    effective_epsilon,
    has_transition,
    kesten_stigum_annealed,
    support_threshold,
)

__all__ = ["PhaseDiagram"]

Array = NDArray[Any]
PROCESSES = ("masking", "uniform", "gaussian")
RULES = {
    (16, 2): (2, 3, 4, 5, 6, 7),
    (32, 2): (3, 4, 6, 8, 10, 12, 14),
    (64, 2): (8, 16, 24),
    (8, 3): (4, 6, 8, 12, 16, 20),
}
"""Rules per symbol to scan, by (v, s)."""


def density(rhm: RHM) -> float:
    """Fraction f of the tuples other than the true one that are a rule of some symbol."""
    return float((rhm.m * rhm.v - 1) / (rhm.v**rhm.s - 1))


def borders(v: int, s: int) -> tuple[float, float]:
    """Densities between which certainty and ignorance are both stable."""
    ignorance = kesten_stigum_annealed(RHM(v, 1, s, 1))  # m F'(1/v) does not depend on m
    certainty = (v**s - 1) / (s * (v - 1))  # m at F'(1) = 1
    low, high = ((m * v - 1) / (v**s - 1) for m in (ignorance, certainty))
    return low, high


def point(rhm: RHM, kind: str, size: int, copies: int, depth: int, seed: int) -> dict[str, Array]:
    """Threshold and error by density evolution."""
    found = critical_level(
        rhm, noise_process(kind, rhm.v), size=size, copies=copies, depth=depth, seed=seed
    )
    return {"value": np.array([found.value, found.error])}


def annealed(rhm: RHM, kind: str) -> float:
    """Where the mean leaf belief is that of the critical epsilon-process."""
    noise: Any = noise_process(kind, rhm.v)
    target = critical_noise(rhm)
    return float(brentq(lambda t: float(effective_epsilon(noise, t)) - target, 0, 1))


@dataclass(frozen=True)
class PhaseDiagram:
    """Threshold of the class against the number of rules, for several v, s and three processes.

    Notes
    -----
    Validity: density evolution holds for rules drawn anew at every node; grammars that share rules
    between nodes are in :mod:`hierdiff.sims.finite_size_scaling`.
    """

    name: ClassVar[str] = "phase_diagram"
    _repr_html_ = experiment_html

    size: int = 2000
    """Members of a population."""
    copies: int = 4
    """Independent populations, whose scatter gives the error bars."""
    depth: int = 24
    """Levels from which thresholds are extrapolated to infinite depth, more where it is slow."""
    symbols: tuple[int, ...] = (16, 32, 64, 8)
    """Numbers of symbols to scan: 16, 32 and 64 with s = 2, 8 with s = 3."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            size=partial(whole, low=8, high=10**8),
            copies=partial(whole, low=2, high=10**6),
            depth=partial(whole, low=4, high=10**5),
            symbols=partial(listed, rule=count),
            seed=natural,
        )
        known = sorted({v for v, _ in RULES})
        for v in self.symbols:
            one_of("symbols", v, known)

    def models(self) -> list[RHM]:
        """All points that have a transition."""
        chosen = [RHM(v, m, s, 1) for (v, s), ms in RULES.items() if v in self.symbols for m in ms]
        return [rhm for rhm in chosen if has_transition(rhm)]

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["density evolution"] = "density evolution",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Thresholds [process, model] by density evolution, with the closed forms."""
        one_of("law", law, ("density evolution",))
        models, tasks = self.models(), []
        if not models:
            raise NoTransition(f"symbols = {self.symbols} hold none of {list(RULES)}; name another")
        for kind in PROCESSES:
            for rhm in models:
                arguments = (rhm, kind, self.size, self.copies, self.depth, self.seed)
                parameters = {
                    "version": 1, "question": "phase diagram", "v": rhm.v, "m": rhm.m,
                    "s": rhm.s, "noise": kind, "size": self.size, "copies": self.copies,
                    "depth": self.depth, "seed": self.seed,
                }  # fmt: skip
                tasks.append(Task(point, arguments, parameters))
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="phase diagram")
        values = np.stack([x["value"] for x in found]).reshape(len(PROCESSES), len(models), 2)
        plane, one = ("process", "model"), ("model",)
        naive = [[annealed(rhm, kind) for rhm in models] for kind in PROCESSES]
        variables = {
            "threshold": (plane, values[..., 0], "noise level at which the class is lost"),
            "threshold_error": (plane, values[..., 1], "its standard error"),
            "annealed": (plane, naive, "the annealed map at the mean leaf belief"),
            "support": (one, [support_threshold(r) for r in models], "support sets of masking"),
            "critical": (one, [critical_noise(r) for r in models], "epsilon-process"),
            "kesten_stigum": (one, [kesten_stigum_annealed(r) for r in models], "F'(1/v)"),
            "density": (one, [density(r) for r in models], "density of rules f"),
        }  # fmt: skip
        coords = {
            "process": (("process",), list(PROCESSES), "noise process"),
            "v": (one, [r.v for r in models], "symbols"),
            "m": (one, [r.m for r in models], "rules per symbol"),
            "s": (one, [r.s for r in models], "branching"),
        }
        return results.label(variables, coords, "theory", results.provenance(asdict(self)))

    @results.tracked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> NoReturn:
        """Refused: every point of the diagram is a law of infinite depth."""
        no_model(
            self.name, model, data,
            "its points are laws of infinite depth; the threshold of one model is that of "
            "PhaseTransition.measure",
        )  # fmt: skip
        raise InvalidParameter(
            f"{self.name} consists of laws of infinite depth; call predict(), or measure grammars "
            "of growing depth with FiniteSizeScaling"
        )

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The laws at all points."""
        if model is not None or data is not None:
            self.measure(model, data)
        return {self.name: self.predict(**run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """A panel per noise process."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Thresholds of every point, and the ratio of the closed form to density evolution."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), {"rows": digest(ds)})


def table(ds: xr.Dataset) -> str:
    """A row per grammar."""
    rows = []
    for k in range(ds.sizes["model"]):
        x = ds.isel(model=k)
        cells = zip(x.threshold, x.threshold_error, strict=True)
        rows.append([*(int(x[k]) for k in "vms"), f"{float(x.density):.3f}",
                     f"{float(x.critical):.4f}", f"{float(x.support):.4f}",
                     *(plus_minus(a, b, digits=4) for a, b in cells)])  # fmt: skip
    return text_table(["v", "m", "s", "f", "epsilon*", "support", *PROCESSES], rows, keys=3)


def digest(ds: xr.Dataset) -> list[dict[str, Any]]:
    """The numbers of the table, a row per grammar."""
    rows = []
    for k in range(ds.sizes["model"]):
        x = ds.isel(model=k)
        row: dict[str, Any] = {n: int(x[n]) for n in "vms"}
        row |= {n: float(x[n]) for n in ("density", "critical", "support", "kesten_stigum")}
        for kind in PROCESSES:
            y = x.sel(process=kind)
            row[kind] = [float(y.threshold), float(y.threshold_error), float(y.annealed)]
        rows.append(row)
    return rows


def claim(ds: xr.Dataset) -> str:
    """How far the closed form is from the real processes."""
    ratio = ds.annealed / ds.threshold
    best, worst = (int(f(ratio.values)) for f in (np.argmin, np.argmax))
    words = []
    for place in (best, worst):
        p, k = np.unravel_index(place, ratio.shape)
        x = ds.isel(process=p, model=k)
        words.append(
            f"{float(ratio[p, k]):.2f} ± {float(ratio[p, k] * x.threshold_error / x.threshold):.2f}"
            f" ({x.process.values}, v = {int(x.v)}, m = {int(x.m)}, s = {int(x.s)})"
        )
    return (
        f"class lost earlier than the closed form says at all {ratio.size} points, by a factor of "
        f"{words[0]} to {words[1]}"
        if float(ratio.min()) > 1
        else f"closed form over density evolution between {words[0]} and {words[1]}"
    )


def one_process(ax: Axes, ds: xr.Dataset, kind: str) -> None:
    """Thresholds of one process against the density of rules."""
    x = ds.sel(process=kind)
    cases = sorted({(int(v), int(s)) for v, s in zip(ds.v, ds.s, strict=True)})
    for (v, s), colour in zip(cases, PALETTE,
                              strict=False):  # fmt: skip
        part = x.isel(model=np.flatnonzero((ds.v == v) & (ds.s == s)))
        ax.errorbar(part.density, part.threshold, part.threshold_error, color=colour, marker="o",
                    ms=3, lw=1, label=f"v = {v}, s = {s}")  # fmt: skip
        ax.plot(part.density, part.annealed, color=colour, ls="--", lw=1)
        if kind == "masking":
            ax.plot(part.density, part.support, color=colour, ls=":", lw=1)
        for border in borders(v, s):
            ax.axvline(border, color=colour, lw=0.5, alpha=0.5)
    ax.set(xlabel="density of rules f", ylim=(0, 1), ylabel="")
    ax.spines[["top", "right"]].set_visible(False)


def draw(ds: xr.Dataset) -> Figure:
    """A panel per process."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained", sharey=True)
    for ax, kind in zip(axes, PROCESSES, strict=True):
        one_process(ax, ds, kind)
    panels(axes, *(f"{kind} noise" for kind in PROCESSES))
    axes[0].set_ylabel("noise level t at which the class is lost")
    axes[0].plot([], [], "k--", lw=0.8, label="closed form at the mean belief")
    axes[0].plot([], [], "k:", lw=1, label="support sets (lower bound)")
    axes[0].plot([], [], color=GREY, lw=0.6, label="borders: $F'(1/v) = 1$, $F'(1) = 1$")
    shared_legend(figure, axes[0])
    return figure
