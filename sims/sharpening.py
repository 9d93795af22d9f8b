r"""
Sharpening: a sudden class, smooth leaves
=========================================

Claims P1, P2, P3 and P5 of the phase transition, as numbers, for masking, uniform and Gaussian
noise and for the epsilon-process: with growing depth L the class is lost more and more suddenly, at
a noise level that tends to the threshold; beyond it the class is at chance and leaves of the
original survive; and levels are lost in the order of the hierarchy, at the predicted places.

Claim P2, that leaves fade smoothly, needs a condition.  The steepest slope of the class grows as
:math:`\lambda^L`, with the leading eigenvalue :math:`\lambda` of its critical fixed point.
What reaches the leaves from a level k above them is damped by :math:`\lambda/s` per level, on the
way up and again on the way down, so their slope is a sum of :math:`(\lambda^2/s)^k`: it stays
bounded if :math:`\nu = \log s / \log \lambda > 2`.  At (32, 8, 2) real noise has
:math:`\lambda^2/s` of about .78.  The annealed recursion has :math:`F'(p^*)^2/s = 1.04`, so the
leaves of the epsilon-process steepen, by 4 % per level, as long as the recursion holds.

Run it as ``python sims/sharpening.py --out DIR``; a few minutes, resumable.
"""

# %%
# Exact inference on sampled grammars at four depths; density evolution or the recursion beside it.

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, results, studies
from hierdiff.checks import check_fields, listed, whole
from hierdiff.plots.backend import Figure, plt
from hierdiff.sims import PhaseTransition
from hierdiff.sims.estimators import crossing
from hierdiff.sims.phase_transition import PROCESSES
from hierdiff.theory import annealed_beliefs, critical_noise, finite_depth_threshold, stability

Array = NDArray[Any]
Measured = dict[tuple[str, int], xr.Dataset]


@dataclass(frozen=True)
class Sharpening:
    """Loss of class and leaves at growing depth, in four noise processes."""

    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    depths: tuple[int, ...] = (4, 6, 8, 10)
    """Depths L, increasing."""
    grammars: int = 24
    """Random grammars per depth."""
    data: int = 8
    """Data per grammar."""
    size: int = 2000
    """Members of a population of density evolution."""
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, depths=partial(listed, rule=partial(whole, low=2), least=2, rising=True),
            grammars=partial(whole, low=4, high=10**6), data=partial(whole, low=2, high=10**8),
            size=partial(whole, low=8, high=10**8),
        )  # fmt: skip
        for depth in self.depths:
            self.experiment("masking", depth)

    def main(self) -> tuple[Measured, dict[str, xr.Dataset]]:
        """Run, save, draw, print."""
        folder = results.run_folder(self, "sharpening_*")
        measured = {(kind, L): self.measure(kind, L) for kind in PROCESSES for L in self.depths}
        predicted = {kind: self.predict(kind, measured) for kind in PROCESSES}
        for (kind, L), ds in measured.items():
            results.save(ds, folder / f"sharpening_{kind}_L{L}.nc")
        figure = draw(measured, predicted)
        figure.savefig(folder / "sharpening.png", dpi=160)
        plt.close(figure)
        found = digest(measured, predicted)
        print(table(found))
        if self.summary:
            parameters = {**asdict(self), "seed": PhaseTransition.seed}
            results.write_summary(self.summary, found, parameters)
        print(claim(found))
        return measured, predicted

    def experiment(self, kind: Any, depth: int) -> PhaseTransition:
        """One process at one depth, densely around the place where the class is lost."""
        return PhaseTransition(
            noise=kind, L=depth, grammars=self.grammars, data=self.data, levels=41, refine=9
        )

    def measure(self, kind: str, depth: int) -> xr.Dataset:
        """Exact inference."""
        return self.experiment(kind, depth).measure(folder=self.out / "tasks", workers=self.workers)

    def predict(self, kind: str, measured: Measured) -> xr.Dataset:
        """The recursion for the epsilon-process, else density evolution, at the greatest depth."""
        depth = max(self.depths)
        if kind == "epsilon":
            return self.experiment(kind, depth).predict()
        belief = measured[kind, depth].belief
        # levels are half lost between the class and the leaves
        first, last = (half_lost(belief.t.values, belief.values[i]) for i in (0, -1))
        times = np.linspace(0.7 * first, min(1.1 * last, 1.0), 25)
        return self.experiment(kind, depth).predict(
            t=times, size=self.size, folder=self.out / "tasks", workers=self.workers
        )


# %%
# P1 and P2: steepest slopes.  P3: class and leaves beyond the threshold.  P5: half-lost levels.


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


def half_levels(ds: xr.Dataset, theory: xr.Dataset) -> list[list[float]]:
    """Noise level at which half is lost, level by level: measured, its error, predicted."""
    out = []
    for level in ds.level.values:
        curves = ds.belief_by_grammar.sel(level=level).values[:, None]
        found = crossing(ds.t.values, curves, seed=int(level))
        predicted = half_lost(theory.t.values, theory.belief.sel(level=level).values)
        out.append([found.value, found.error, predicted])
    return out


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


def digest(measured: Measured, predicted: dict[str, xr.Dataset]) -> dict[str, Any]:
    """What the manual quotes."""
    depths = sorted({L for _, L in measured})
    processes = {}
    for kind in PROCESSES:
        rows = []
        for L in depths:
            ds = measured[kind, L]
            curves, t = ds.belief_by_grammar.values, ds.t.values
            rows.append({
                "L": L, "threshold": [float(ds.threshold), float(ds.threshold_error)],
                "class slope": list(slope(t, curves[:, 0])),
                "leaf slope": list(slope(t, curves[:, -1])),
            })  # fmt: skip
        deepest = measured[kind, depths[-1]]
        processes[kind] = {
            "depths": rows,
            "survival": beyond(deepest),
            "half": half_levels(deepest, predicted[kind]),
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
    lines = [f"{'':<10}{'L':>3}{'class lost at':>20}{'slope of the class':>20}"
             f"{'of the leaves':>18}"]  # fmt: skip
    for kind, x in found["processes"].items():
        for row in x["depths"]:
            cells = [f"{row[n][0]:.{d}f} ± {row[n][1]:.{d}f}" for n, d in
                     (("threshold", 4), ("class slope", 2), ("leaf slope", 3))]  # fmt: skip
            lines.append(f"{kind:<10}{row['L']:>3}{cells[0]:>20}{cells[1]:>20}{cells[2]:>18}")
    return "\n".join(lines)


def claim(found: dict[str, Any]) -> str:
    """The closing line."""
    parts = []
    for kind, x in found["processes"].items():
        first, last = x["depths"][0], x["depths"][-1]
        worst = max(abs(a - c) for a, _, c in x["half"])
        parts.append(
            f"{kind} {last['class slope'][0] / first['class slope'][0]:.1f}-fold (class) and "
            f"{last['leaf slope'][0] / first['leaf slope'][0]:.2f}-fold (leaves), levels "
            f"{'in order' if ordered(x['half']) else 'not in order'} within {worst:.4f} of theory"
        )
    return f"steepest slopes grow from L = {first['L']} to {last['L']}: " + "; ".join(parts)


# %%
# Loss of class (points) and leaves (dotted) with depth; half-lost levels of the deepest tree.


def draw(measured: Measured, predicted: dict[str, xr.Dataset]) -> Figure:
    """Beliefs at all depths above, levels below, a column for each process."""
    depths = sorted({L for _, L in measured})
    figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained")
    for (above, below), kind in zip(axes.T, PROCESSES, strict=True):
        for L in depths:
            ds, shade = measured[kind, L], plt.get_cmap("viridis")(0.9 * L / depths[-1])
            above.errorbar(ds.t, ds.belief[0], ds.belief_error[0], color=shade, marker="o", ms=2.5,
                           lw=0.8, label=f"class, L = {L}")  # fmt: skip
            above.plot(ds.t, ds.belief[-1], color=shade, ls=":", lw=1.2)
        ds = measured[kind, depths[-1]]
        half = np.array(half_levels(ds, predicted[kind]))
        place = float(ds.threshold)
        above.axvline(place, color="0.3", ls="--", lw=0.8)
        above.set(xlim=(max(place - 0.3, 0), min(place + 0.3, 1)), title=kind, xlabel="noise level")
        below.errorbar(ds.level, half[:, 0], half[:, 1], fmt="o", ms=4, label="exact inference")
        below.plot(ds.level, half[:, 2], "k-", lw=1,
                   label="recursion" if kind == "epsilon" else "density evolution")  # fmt: skip
        below.set(xlabel="level (0: class)", ylabel="noise at which half is lost")
        below.legend(fontsize=7, frameon=False)
    axes[0, 0].set(ylabel="belief in the true symbol")
    axes[0, 0].legend(fontsize=7, frameon=False, title="dotted: leaves", title_fontsize=7)
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    measured = studies.execute(lambda: tyro.cli(Sharpening))

    # %%
    # Every process loses its class at once, and its leaves slowly.

    figure = draw(*measured)
