r"""
Memorisation: the bump appears when the distribution is learned
===============================================================

Claims R2 and R4: a model that has captured the distribution reads best at an intermediate noise
level; one that memorises shows a curve that is flat and then falls.  At fixed noise levels,
:math:`R = \mathrm{SNR}(\sigma^*)/\mathrm{SNR}(0.02)` tells the two apart: R > 1 is a bump.

Four learners see the same N data of K = 3 classes of rank d.  *Memorising* is the data set itself.
*Fitted* is EM without labels, *separate* the same with a residual variance for each class and
random starts, *labelled* knows the classes and only has to find their subspaces.  The number of
data :math:`N_c` at which R passes 1 on test points is located for several d.  With labels it is
4 to 5 d, so about 1.5 d per class; without, six starts of EM rarely find the classes below 4 d per
class, although the labelled subspaces are likelier: the crossover of an unlabelled fit is one of
search, not of data.  For the memorising model :math:`N_c/d` grows with d.

The estimate :math:`N_c = e^{I(x_0;x_t)}`, taken at the level :math:`\sigma_0` where the
population's SNR has come back to its value without noise, has the right order of magnitude and
grows too fast: the memorising model turns smoothly, and its own level at small noise lies below
the population's.

Run it as ``python sims/memorization.py --out DIR``; it takes a few minutes, resumes where it was
interrupted, and with ``--seeds 8`` about a minute.
"""

# %%
# The recommended experiment, K = 3, d = 10, delta = 0.2, and the crossover for several d.

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tyro
import xarray as xr
from scipy.optimize import brentq

from hierdiff import results
from hierdiff.checks import check_fields, count, listed, number, whole
from hierdiff.plots.backend import plt, ticker
from hierdiff.sims.representation import MODEL_COLOURS, Representation, crossover, representation
from hierdiff.studies.command import execute
from hierdiff.theory.mixture.collapse import mutual_information_mixture
from hierdiff.theory.mixture.feature_snr import snr, snr_limits, snr_peak

# data per class and dimension at which the crossover of a fitted model is looked for
FITTED = {
    ("labelled",): (1.25, 1.5, 1.75, 2.0, 2.5),
    ("fitted", "separate"): (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0),
}


@dataclass(frozen=True)
class Memorization:
    """From memory to distribution: SNR against noise and number of data."""

    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
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
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""

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
        )
        for rank in {self.rank, *self.ranks}:
            self.world(rank, ("exact",), (*self.numbers, *self.memories)[:1])
        self.world(self.rank, ("exact",), self.numbers)
        self.world(self.rank, ("exact",), self.memories)

    def main(self) -> tuple[xr.Dataset, ...]:
        """Measure, locate, draw, print."""
        folder = results.run_folder(self, "memorization", "memorization_d*")
        names = ("exact", "labelled", "fitted", "separate", "memorising")
        world = self.world(
            self.rank, names, self.numbers, (0.1, 0.2, 0.3, 0.35, 0.5, 0.6, 0.85, 1.1, 1.6)
        )
        measured = world.measure(folder=folder / "tasks", workers=self.workers)
        results.save(measured, folder / "memorization.nc")
        print(table(measured))
        rows = [self.crossovers(rank, folder) for rank in self.ranks]
        for row in rows:
            print(line(row))
        laws = (world.predict("exact", np.geomspace(0.02, 1.6, 80)),)
        draw(laws, measured, rows, self.classes).savefig(folder / "memorization.png", dpi=160)
        trends = {
            name: trend(rows, name) for name in ("labelled", "fitted", "separate", "memorising")
        }
        if self.summary:
            found = {"table": entries(measured), "crossovers": rows, "growth": trends}
            parameters = {**asdict(self), "seed": world.seed}
            results.write_summary(self.summary, found, parameters)
        print(claim(rows, trends))
        return (measured,)

    def world(
        self,
        rank: int,
        models: tuple[str, ...],
        numbers: tuple[int, ...],
        sigmas: tuple[float, ...] = (),
    ) -> Representation:
        """The experiment at one rank."""
        return Representation(
            classes=self.classes, rank=rank, delta=self.delta, dim=self.classes * rank,
            n_train=numbers, sigmas=sigmas, models=models, quantities=("snr",), seeds=self.seeds,
            test=self.test, restarts=self.restarts,
        )  # fmt: skip

    def crossovers(self, rank: int, folder: Path) -> dict:
        """Crossovers of all learners at one rank, with what the information predicts."""
        peak = snr_peak(self.classes, rank, self.delta).sigma
        start = snr_limits(self.classes, self.delta)[0]
        back = brentq(lambda s: float(snr(self.classes, rank, self.delta, s)) - start, peak, 10)
        row = {"d": rank, "sigma star": peak, "sigma 0": back}
        for name, level in (("information", back), ("information at the peak", peak)):
            row[name] = float(
                np.exp(mutual_information_mixture(self.classes, rank, self.delta, level))
            )
        grids = {
            models: tuple(sorted({self.classes * round(share * rank) for share in shares}))
            for models, shares in FITTED.items()
        }
        for models, numbers in {**grids, ("memorising",): self.memories}.items():
            ds = self.world(rank, models, numbers).measure(
                folder=folder / "tasks", workers=self.workers
            )
            results.save(ds, folder / f"memorization_d{rank}_{models[0]}.nc")
            for name in models:
                found = crossover(ds, name)
                row[name] = [found.value, found.error]
        return row


def entries(measured: xr.Dataset) -> list[dict]:
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
    columns = [("memorising", "train"), ("memorising", "test"), ("separate", "test"),
               ("fitted", "test"), ("labelled", "test"), ("exact", "test")]  # fmt: skip
    lines = [f"{'N':>5} " + "".join(f"{f'{m}, {s}':>20}" for m, s in columns)]
    for n in measured.n_train.values:
        ds = measured.sel(n_train=n)
        cells = []
        for model, split in columns:
            one = ds.sel(model=model, split=split)
            cells.append(f"{one.ratio.item():.4f} ± {one.ratio_error.item():.4f}")
        lines.append(f"{n:>5} " + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def line(row: dict) -> str:
    """Crossovers of one rank."""
    d = row["d"]
    words = [
        f"{name} {row[name][0] / d:.2f} ± {row[name][1] / d:.2f}"
        for name in ("labelled", "fitted", "separate", "memorising")
    ]
    information = f"e^I(sigma_0) / d = {row['information'] / d:.1f}"
    return f"d = {d:>2}: N_c / d of {', '.join(words)}; {information}"


def trend(rows: list[dict], name: str) -> dict[str, float]:
    """Exponent of the growth, ln N_c = exponent ln d + c, by weighted least squares."""
    x = np.log([row["d"] for row in rows])
    y = np.log([row[name][0] for row in rows])
    weight = np.array([row[name][0] / row[name][1] for row in rows]) ** 2
    centre = np.average(x, weights=weight)
    power = float((weight * (x - centre) * y).sum() / (weight * (x - centre) ** 2).sum())
    error = float((weight * (x - centre) ** 2).sum() ** -0.5)
    residual = y - np.average(y, weights=weight) - power * (x - centre)
    return {"exponent": power, "error": error, "chi2": float((weight * residual**2).sum())}


def draw(laws: tuple, measured: xr.Dataset, rows: list[dict], classes: int):
    """Curves at one N, the ratio against N, the crossover against d."""
    fig, axes = plt.subplots(1, 3, figsize=(12.6, 3.7), layout="constrained")
    numbers = measured.n_train.values
    shown = int(numbers[len(numbers) // 2])
    learners = measured.sel(model=[m for m in measured.model.values if m != "separate"])
    representation(*laws, learners, ax=axes[0], n_train=shown)
    axes[0].set_title(f"a   test points, N = {shown}", loc="left", fontsize=9)
    axes[0].legend(fontsize=6.5, frameon=False, loc="lower left")
    for name in measured.model.values:
        one = measured.sel(model=name, split="test")
        axes[1].errorbar(
            numbers, one.ratio, one.ratio_error, color=MODEL_COLOURS[name], marker="o", ms=3.5,
            lw=0.8, label=str(name),
        )  # fmt: skip
    one = measured.sel(model="memorising", split="train")
    axes[1].errorbar(
        numbers, one.ratio, one.ratio_error, color=MODEL_COLOURS["memorising"], marker="o",
        ms=3.5, mfc="white", lw=0.8, ls=":", label="memorising, train",
    )  # fmt: skip
    axes[1].axhline(1, color="0.3", lw=0.8, ls="--")
    axes[1].set(xscale="log", yscale="log", xlabel="training points N",
                ylabel=r"$\mathrm{SNR}(\sigma^*)\,/\,\mathrm{SNR}(0.02)$")  # fmt: skip
    axes[1].set_title(
        f"b   above the line: a bump (d = {rank_of(measured)})", loc="left", fontsize=9
    )
    axes[1].legend(fontsize=6.5, frameon=False, loc="lower right")
    d = np.array([row["d"] for row in rows])
    for name in ("labelled", "fitted", "separate", "memorising"):
        value, error = np.array([row[name] for row in rows]).T / d
        axes[2].errorbar(d, value, error, color=MODEL_COLOURS[name], marker="o", ms=3.5, lw=0.8,
                         label=name)  # fmt: skip
    axes[2].plot(d, [row["information"] / row["d"] for row in rows], "k-", lw=1,
                 label=r"$e^{I(\sigma_0)}/d$")  # fmt: skip
    axes[2].set(yscale="log", xlabel="rank d", ylabel=r"crossover $N_c / d$")
    axes[2].set_title(f"c   K = {classes}", loc="left", fontsize=9)
    axes[2].legend(fontsize=6.5, frameon=False)
    axes[2].set(xscale="log", xticks=d, xticklabels=d)
    for axis in (axes[1].xaxis, axes[1].yaxis, axes[2].yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    axes[2].xaxis.set_minor_locator(ticker.NullLocator())
    for ax in axes[1:]:
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def rank_of(ds: xr.Dataset) -> int:
    """The rank that a result was measured at."""
    return int(json.loads(ds.attrs["parameters"])["rank"])


def claim(rows: list[dict], trends: dict[str, dict[str, float]]) -> str:
    """The closing line."""
    spans = {
        name: " to ".join(f"{f([row[name][0] / row['d'] for row in rows]):.1f}" for f in (min, max))
        for name in trends
    }
    words = [
        f"{name} {spans[name]} (N_c ~ d^{t['exponent']:.2f} ± {t['error']:.2f})"
        for name, t in trends.items()
    ]
    return "unimodal beyond N_c / d = " + ", ".join(words)


found = execute(lambda: tyro.cli(Memorization))
