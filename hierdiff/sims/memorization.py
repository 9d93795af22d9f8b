r"""Memorisation: how many data a learner needs before its features have a peak.

A model that has captured the distribution reads best at an intermediate noise level; one that
memorises has a curve that is flat and then falls.  The ratio at fixed noise levels,

.. math:: R = \mathrm{SNR}(\sigma^*) / \mathrm{SNR}(0.02),

is above 1 if there is a peak.  Four learners see the same N data of K classes of rank d:
*memorising* is the data set itself; *ppca_mixture* is a mixture of PPCA fitted by EM without
labels; *ppca_mixture_own* has a residual variance for each class and random starts;
*supervised_ppca* is given the classes and finds their subspaces.  The crossover :math:`N_c` is the
number of data at which R passes 1 on test points.

For the memorising model the estimate :math:`N_c = e^{I(x_0;x_t)}`, at the level :math:`\sigma_0`
where the population's SNR has come back to its value without noise, has the right order of
magnitude.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import brentq

from hierdiff import results
from hierdiff._display import experiment_html, pair_text, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    natural,
    no_model,
    number,
    one_of,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.plots import GUIDE, Figure, legend, panels, plain_log, plt, ticker
from hierdiff.sims.models.fitted import LABELS
from hierdiff.sims.representation import MODEL_COLOURS, Representation, crossover, representation
from hierdiff.theory.mixture.collapse import mutual_information_mixture
from hierdiff.theory.mixture.feature_snr import snr, snr_limits, snr_peak

__all__ = ["Memorization"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]
Model = Literal["exact", "supervised_ppca", "ppca_mixture", "ppca_mixture_own", "memorising"]
LEARNERS: tuple[Model, ...] = ("supervised_ppca", "ppca_mixture", "ppca_mixture_own", "memorising")
FITTED: dict[tuple[Model, ...], tuple[float, ...]] = {
    ("supervised_ppca",): (1.25, 1.5, 1.75, 2.0, 2.5),
    ("ppca_mixture", "ppca_mixture_own"): (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0),
}
"""Data per class and dimension among which the crossover of a fitted model is located."""


@dataclass(frozen=True)
class Memorization:
    """From memory to distribution: SNR against noise and number of data.

    Notes
    -----
    Validity: errors are over ``seeds``.  The crossover of the unlabelled fits is one of search: EM
    rarely finds the classes where the labelled subspaces are likelier already.
    """

    name: ClassVar[str] = "memorization"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("memorization", "memorization_d*")

    numbers: tuple[int, ...] = (60, 120, 240, 1000)
    """Training points N of the table."""
    ranks: tuple[int, ...] = (4, 6, 10, 14)
    """Ranks d at which the crossover is located."""
    memories: tuple[int, ...] = (40, 60, 90, 130, 200, 300, 450, 700, 1000, 1500)
    """Training points N at which the memorising crossover is looked for."""
    classes: int = 3
    """Classes K."""
    rank: int = 10
    """Rank d of the table."""
    delta: float = 0.2
    """Residual amplitude."""
    seeds: int = 24
    """Repetitions, over which errors are taken."""
    test: int = 1500
    """Test points per repetition."""
    restarts: int = 6
    """Starts of EM."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            numbers=partial(listed, rule=count),
            ranks=partial(listed, rule=partial(whole, low=2)),
            memories=partial(listed, rule=count),
            classes=partial(whole, low=2),
            rank=count,
            delta=partial(number, above=0, below=1),
            restarts=partial(whole, low=1, high=10**5),
            seed=natural,
        )
        for rank in {self.rank, *self.ranks}:
            self._experiment(rank, ("exact",), (*self.numbers, *self.memories)[:1])
        self._experiment(self.rank, ("exact",), self.numbers)
        self._experiment(self.rank, ("exact",), self.memories)

    def _experiment(
        self,
        rank: int,
        models: tuple[Model, ...],
        numbers: tuple[int, ...],
        sigmas: tuple[float, ...] = (),
    ) -> Representation:
        """The experiment at one rank."""
        return Representation(
            classes=self.classes, rank=rank, delta=self.delta, dim=self.classes * rank,
            n_train=numbers, sigmas=sigmas, models=models, quantities=("snr",), seeds=self.seeds,
            test=self.test, restarts=self.restarts, seed=self.seed,
        )  # fmt: skip

    @results.tracked
    @checked
    def predict(self, law: Literal["information"] = "information") -> xr.Dataset:
        """Crossover of the memorising model by the information at sigma_0."""
        one_of("law", law, ("information",))
        values = np.array([[self._information(rank)["information"] for rank in self.ranks]])
        return self._labelled(("memorising",), values, np.zeros_like(values), "theory")

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
        """Crossovers N_c of all learners at all ranks."""
        no_model(
            self.name, model, data,
            "it compares learners at growing number of data; the features of one model are those "
            "of Representation.measure",
        )  # fmt: skip
        found = self._sweep({"folder": folder, "workers": workers, "cluster": cluster})
        rows = [self._row(rank, found) for rank in self.ranks]
        table = np.array([[row[name] for row in rows] for name in LEARNERS])
        return self._labelled(LEARNERS, table[..., 0], table[..., 1], "simulation")

    def _labelled(
        self, models: tuple[str, ...], values: Array, errors: Array, source: str
    ) -> xr.Dataset:
        plane = ("model", "d")
        variables = {
            "crossover": (plane, values, "number of data at which the features gain a peak"),
            "crossover_error": (plane, errors, "its standard error"),
        }
        coords = {
            "model": (("model",), list(models), "learner"),
            "d": (("d",), list(self.ranks), "rank"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def _numbers(self, rank: int) -> dict[tuple[Model, ...], tuple[int, ...]]:
        """Training points among which the crossover is located, by the models that share them."""
        grids = {
            models: tuple(sorted({self.classes * round(share * rank) for share in shares}))
            for models, shares in FITTED.items()
        }
        return {**grids, ("memorising",): self.memories}

    def _sweep(self, options: dict[str, Any]) -> dict[str, xr.Dataset]:
        """The ratio R of all learners around their crossovers, by the stem of the file."""
        return {
            f"memorization_d{rank}_{models[0]}": self._experiment(rank, models, numbers).measure(
                **options
            )
            for rank in self.ranks
            for models, numbers in self._numbers(rank).items()
        }

    def _information(self, rank: int) -> dict[str, float]:
        """The peak, sigma_0, and e^I at both."""
        peak = snr_peak(self.classes, rank, self.delta).sigma
        start = snr_limits(self.classes, self.delta)[0]
        # beyond sigma = 10 every SNR is below its value without noise
        back = brentq(lambda s: float(snr(self.classes, rank, self.delta, s)) - start, peak, 10)
        row = {"sigma star": peak, "sigma 0": back}
        for name, level in (("information", back), ("information at the peak", peak)):
            row[name] = float(
                np.exp(mutual_information_mixture(self.classes, rank, self.delta, level))
            )
        return row

    def _row(self, rank: int, datasets: Datasets) -> dict[str, Any]:
        """Crossovers of all learners at one rank, with the estimate by the information."""
        row: dict[str, Any] = {"d": rank, **self._information(rank)}
        for models in self._numbers(rank):
            for name in models:
                found = crossover(datasets[f"memorization_d{rank}_{models[0]}"], name)
                row[name] = [found.value, found.error]
        return row

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The table at one rank, and the learners around their crossovers at all ranks."""
        if model is not None or data is not None:
            self.measure(model, data)
        options = run.tasks(self.name)
        levels = (0.1, 0.2, 0.3, 0.35, 0.5, 0.6, 0.85, 1.1, 1.6)
        table = self._experiment(self.rank, ("exact", *LEARNERS), self.numbers, levels)
        return {"memorization": table.measure(**options), **self._sweep(options)}

    def figure(self, datasets: Datasets) -> Figure:
        """Curves at one N, the ratio against N, the crossover against d."""
        law = self._experiment(self.rank, ("exact",), self.numbers).predict(
            "exact", np.geomspace(0.02, 1.6, 80)
        )
        rows = [self._row(rank, datasets) for rank in self.ranks]
        return draw((law,), datasets["memorization"], rows, self.classes)

    def summary(self, datasets: Datasets) -> Summary:
        """R of every learner, and the crossovers with their growth in d."""
        measured = datasets["memorization"]
        rows = [self._row(rank, datasets) for rank in self.ranks]
        trends = {name: trend(rows, name) for name in LEARNERS}
        values = {"table": entries(measured), "crossovers": rows, "growth": trends}
        text = "\n".join([table(measured), "", crossover_table(rows)])
        return Summary(text, claim(rows, trends), values)


def entries(measured: xr.Dataset) -> list[dict[str, Any]]:
    """Mean, standard error and spread of the ratio."""
    rows = []
    for n in measured.n_train.values:
        for model in measured.model.values:
            for split in ("train", "test"):
                one = measured.sel(model=model, n_train=n, split=split)
                spread = float(one.ratio_by_seed.std(ddof=1))
                rows.append(
                    {"N": int(n), "model": str(model), "points": split, "ratio": float(one.ratio),
                     "error": float(one.ratio_error), "spread": spread}
                )  # fmt: skip
    return rows


def table(measured: xr.Dataset) -> str:
    """R on test points for every learner, on training points for the memorising one."""
    columns = [("memorising", "train"), ("memorising", "test"), ("ppca_mixture_own", "test"),
               ("ppca_mixture", "test"), ("supervised_ppca", "test"),
               ("exact", "test")]  # fmt: skip
    rows = []
    for n in measured.n_train.values:
        cells = [measured.sel(n_train=n, model=m, split=s) for m, s in columns]
        rows.append([n, *(plus_minus(one.ratio, one.ratio_error, digits=4) for one in cells)])
    return text_table(["N", *(f"{m}, {s}" for m, s in columns)], rows)


def crossover_table(rows: list[dict[str, Any]]) -> str:
    """Crossovers in units of the rank, a row per rank."""
    lines = [
        [row["d"],
         *(pair_text((x / row["d"] for x in row[name]), 2) for name in LEARNERS),
         f"{row['information'] / row['d']:.1f}"]
        for row in rows
    ]  # fmt: skip
    return "N_c / d\n" + text_table(["d", *LEARNERS, "e^I(sigma_0) / d"], lines)


def trend(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Exponent of the growth, ln N_c = exponent ln d + c, by weighted least squares."""
    x = np.log([row["d"] for row in rows])
    y = np.log([row[name][0] for row in rows])
    weight = np.array([row[name][0] / row[name][1] for row in rows]) ** 2
    centre = np.average(x, weights=weight)
    power = float((weight * (x - centre) * y).sum() / (weight * (x - centre) ** 2).sum())
    error = float((weight * (x - centre) ** 2).sum() ** -0.5)
    residual = y - np.average(y, weights=weight) - power * (x - centre)
    return {"exponent": power, "error": error, "chi2": float((weight * residual**2).sum())}


def draw(
    laws: tuple[xr.Dataset, ...],
    measured: xr.Dataset,
    rows: list[dict[str, Any]],
    classes: int,
) -> Figure:
    """Curves at one N, the ratio against N, the crossover against d."""
    figure, axes = plt.subplots(1, 3, figsize=(12.6, 3.7), layout="constrained")
    numbers = measured.n_train.values
    shown = int(numbers[len(numbers) // 2])
    learners = measured.sel(model=[m for m in measured.model.values if m != "ppca_mixture_own"])
    representation(*laws, learners, ax=axes[0], n_train=shown)
    for name in measured.model.values:
        one = measured.sel(model=name, split="test")
        axes[1].errorbar(
            numbers, one.ratio, one.ratio_error, color=MODEL_COLOURS[name], marker="o", ms=3.5,
            lw=0.8, label=LABELS[str(name)],
        )  # fmt: skip
    one = measured.sel(model="memorising", split="train")
    axes[1].errorbar(
        numbers, one.ratio, one.ratio_error, color=MODEL_COLOURS["memorising"], marker="o",
        ms=3.5, mfc="white", lw=0.8, ls=":", label="memorising, train",
    )  # fmt: skip
    axes[1].axhline(1, **GUIDE)
    axes[1].set(xscale="log", yscale="log", xlabel="training points N",
                ylabel=r"$\mathrm{SNR}(\sigma^*)\,/\,\mathrm{SNR}(0.02)$")  # fmt: skip
    d = np.array([row["d"] for row in rows])
    for name in LEARNERS:
        value, error = np.array([row[name] for row in rows]).T / d
        axes[2].errorbar(d, value, error, color=MODEL_COLOURS[name], marker="o", ms=3.5, lw=0.8,
                         label=LABELS[name])  # fmt: skip
    axes[2].plot(d, [row["information"] / row["d"] for row in rows], "k-", lw=1,
                 label=r"$e^{I(\sigma_0)}/d$")  # fmt: skip
    axes[2].set(yscale="log", xlabel="rank d", ylabel=r"crossover $N_c / d$")
    axes[2].set(xscale="log", xticks=d, xticklabels=d)
    plain_log(axes[1].xaxis, axes[1].yaxis, axes[2].yaxis)
    axes[2].xaxis.set_minor_locator(ticker.NullLocator())
    for ax in axes[1:]:
        ax.spines[["top", "right"]].set_visible(False)
    panels(axes, f"test points, N = {shown}",
           f"above the line the SNR has a peak (d = {rank_of(measured)})",
           f"where a peak appears, K = {classes}")  # fmt: skip
    for ax in axes:
        legend(ax)
    return figure


def rank_of(ds: xr.Dataset) -> int:
    """The rank that a result was measured at."""
    return int(json.loads(ds.attrs["parameters"])["rank"])


def claim(rows: list[dict[str, Any]], trends: Mapping[Model, dict[str, float]]) -> str:
    """Where the features of every learner gain a peak, and how that grows with d."""
    spans = {
        name: " to ".join(f"{f([row[name][0] / row['d'] for row in rows]):.1f}" for f in (min, max))
        for name in trends
    }
    words = [
        f"{name} {spans[name]} (N_c ~ d^{t['exponent']:.2f} ± {t['error']:.2f})"
        for name, t in trends.items()
    ]
    return "unimodal beyond N_c / d = " + ", ".join(words)
