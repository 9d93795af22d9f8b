r"""
Thresholds of real noise: density evolution against depth scaling of exact inference
====================================================================================

Where is the class lost under masking, uniform and Gaussian noise?  Density evolution answers for
grammars whose rules are drawn anew at every node.  Here exact belief propagation answers for real
grammars, whose nodes share rules, at growing depth L: the noise level at which the mean belief in
the class is one half, extrapolated with

.. math:: t_{1/2}(L) = t^* + A\, \lambda^{-L},

in which the rate lambda is that of density evolution and both other numbers are free.
A second scan varies v at the same density of rules m / v and shows where shared rules matter.
Masking has a third answer, free of sampling: support sets, whose threshold is a lower bound.

Run it as ``python sims/finite_size_scaling.py --out DIR``; a few minutes, resumable.
"""

# %%
# One task is one grammar at one size: the belief in the true class at every noise level.

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import tyro
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from hierdiff import RHM, GaussianNoise, results, studies
from hierdiff.errors import InvalidParameter
from hierdiff.noise import noise_process
from hierdiff.seeds import generator, stream
from hierdiff.sims.estimators import crossing
from hierdiff.sims.experiment import Task, run_tasks
from hierdiff.theory import (
    critical_level,
    critical_noise,
    half_belief_level,
    posterior,
    support_threshold,
)

Array = NDArray[Any]
PROCESSES = ("masking", "uniform", "gaussian")
INFINITE = 24  # levels from which density evolution is extrapolated to infinite depth


def class_belief(
    rhm: RHM, kind: str, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Posterior probability of the true class, [datum, t]; the same noise at every level."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise = noise_process(kind, rhm.v)
    randoms, rows = noise.draw(truth.leaves.shape, stream(seed, "noise", g)), np.arange(data)
    belief = []
    for t in times:
        evidence = noise.evidence(noise.corrupt_with(truth.leaves, t, randoms), t)
        root = posterior(grammar, evidence, levels=(0,), threads=1).marginals[0][:, 0]
        belief.append(root[rows, truth.levels[0][:, 0]])
    return {"belief": np.stack(belief, axis=1)}


def half_level(
    rhm: RHM, kind: str, depth: int, size: int, copies: int, seed: int
) -> dict[str, Array]:
    """Density evolution: the level at which half of the belief is left after ``depth`` levels."""
    noise = noise_process(kind, rhm.v)
    if depth == INFINITE:  # extrapolated from there
        found = critical_level(rhm, noise, size=size, copies=copies, depth=depth, seed=seed)
    else:
        at = RHM(rhm.v, rhm.m, rhm.s, depth)
        found = half_belief_level(at, noise, size=size, copies=copies, seed=seed)
    return {"value": np.array([found.value, found.error])}


@dataclass(frozen=True)
class Sizes:
    """Thresholds of masking, uniform and Gaussian noise at growing depth and growing v."""

    depths: tuple[int, ...] = (6, 8, 10, 12)
    """Depths L at (v, m, s) = (32, 8, 2); at least three."""
    symbols: tuple[int, ...] = (8, 16, 64)
    """Further numbers of symbols v, with m = v / 4, at depth 8."""
    grammars: int = 64
    """Random grammars per size."""
    data: int = 16
    """Data per grammar."""
    levels: int = 25
    """Noise levels around the threshold."""
    size: int = 8000
    """Members of a population."""
    copies: int = 8
    """Independent populations."""
    seed: int = 0
    """Seed of everything random."""
    out: Path = Path("out")
    """Folder for the result, the figure and the finished tasks."""
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the thresholds as JSON to this file."""

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run, save, draw, print."""
        if len(self.depths) < 3 or self.grammars < 4 or self.data < 2 or self.levels < 5:
            raise InvalidParameter(
                f"depths, grammars, data, levels = {len(self.depths)}, {self.grammars}, "
                f"{self.data}, {self.levels} must be at least 3, 4, 2 and 5"
            )
        folder = results.writable_folder(self.out)
        ds = self.measure()
        results.save(ds, folder / "finite_size_scaling.nc")
        figure = draw(ds)
        figure.savefig(folder / "finite_size_scaling.png", dpi=160)
        plt.close(figure)
        print(table(ds))
        if self.summary:
            self.summary.write_text(json.dumps(digest(ds), indent=1) + "\n")
        print(claim(ds))
        return (ds,)

    def models(self) -> list[RHM]:
        """All sizes: the depths first, then the numbers of symbols."""
        deep = [RHM(32, 8, 2, L) for L in self.depths]
        return deep + [RHM(v, v // 4, 2, 8) for v in self.symbols]

    def measure(self) -> xr.Dataset:
        """Thresholds of exact inference and of density evolution, and their limits."""
        models = self.models()
        theory = self._populations(models)
        exact = self._exact(models, theory[..., 0])
        deep_only = slice(len(self.depths))
        limits = np.array(
            [
                self._limit(exact[p, deep_only], np.append(theory[p, deep_only], theory[p, -1:], 0))
                for p in range(3)
            ]
        )
        plane, deep = ("process", "model"), ("process",)
        infinite = theory[:, -1]
        variables = {
            "exact": (plane, exact[..., 0], "exact inference: class lost at t"),
            "exact_error": (plane, exact[..., 1], "its standard error"),
            "between_grammars": (plane, exact[..., 2], "spread of single grammars"),
            "population": (plane, theory[:, :-1, 0], "density evolution at the same depth"),
            "population_error": (plane, theory[:, :-1, 1], "its standard error"),
            "limit": (deep, limits[:, 0], "extrapolation of exact inference to infinite depth"),
            "limit_error": (deep, limits[:, 1], "its standard error"),
            "infinite": (deep, infinite[:, 0], f"density evolution, from {INFINITE} levels"),
            "infinite_error": (deep, infinite[:, 1], "its standard error"),
        }  # fmt: skip
        coords = {
            "process": (deep, list(PROCESSES), "noise process"),
            "L": (("model",), [r.L for r in models], "depth"),
            "v": (("model",), [r.v for r in models], "symbols"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def _populations(self, models: list[RHM]) -> Array:
        """[process, model and the infinite one, (value, error)]."""
        cases = [(r, r.L) for r in models] + [(RHM(32, 8, 2, INFINITE), INFINITE)]
        tasks = []
        for kind in PROCESSES:
            for rhm, depth in cases:
                arguments = (rhm, kind, depth, self.size, self.copies, self.seed)
                parameters = {
                    "version": 2, "law": "half level", "v": rhm.v, "m": rhm.m, "noise": kind,
                    "depth": depth, "size": self.size, "copies": self.copies, "seed": self.seed,
                }  # fmt: skip
                tasks.append(Task(half_level, arguments, parameters))
        found = run_tasks(tasks, self.out / "tasks", workers=self.workers, name="density evolution")
        return np.stack([f["value"] for f in found]).reshape(len(PROCESSES), len(cases), 2)

    def _exact(self, models: list[RHM], around: Array) -> Array:
        """[process, model, (value, error, spread between grammars)]."""
        tasks, times = [], {}
        for p, kind in enumerate(PROCESSES):
            for k, rhm in enumerate(models):
                centre = around[p, k]
                t = times[p, k] = np.linspace(0.45 * centre, min(1.9 * centre, 0.99), self.levels)
                for g in range(self.grammars):
                    key = g + 10**6 * k  # every size has grammars of its own
                    arguments = (rhm, kind, t, self.data, self.seed, key)
                    parameters = {
                        "version": 1, "question": "finite size", "v": rhm.v, "m": rhm.m,
                        "L": rhm.L, "noise": kind, "data": self.data, "seed": self.seed,
                        "grammar": key, "t": [round(float(x), 12) for x in t],
                    }  # fmt: skip
                    tasks.append(Task(class_belief, arguments, parameters))
        parts = run_tasks(tasks, self.out / "tasks", workers=self.workers, name="exact inference")
        belief = np.stack([x["belief"] for x in parts])
        belief = belief.reshape(len(PROCESSES), len(models), self.grammars, self.data, -1)
        out = np.empty((len(PROCESSES), len(models), 3))
        for p, k in np.ndindex(out.shape[:2]):
            place = crossing(times[p, k], belief[p, k], seed=stream(self.seed, "bootstrap", p, k))
            alone = [np.interp(-0.5, -x, times[p, k]) for x in belief[p, k].mean(axis=1)]
            out[p, k] = place.value, place.error, np.std(alone, ddof=1)
        return out

    def _limit(self, exact: Array, theory: Array) -> tuple[float, float]:
        """Extrapolation to infinite depth, with a bootstrap over the points' errors.

        Four depths do not fix the rate of convergence; it is that of density evolution.
        """
        depth = np.array(self.depths, float)

        def shape(rate: float, at: Array) -> Array:
            return np.stack([np.ones_like(at), rate ** -(at - depth[0])], axis=1)

        def straight(rate: float, at: Array, y: Array, error: Array) -> Array:
            return np.linalg.lstsq(shape(rate, at) / error[:, None], y / error, rcond=None)[0]

        at = np.append(depth, INFINITE)

        def misfit(rate: float) -> float:
            p = straight(rate, at, theory[:, 0], theory[:, 1])
            return float((((shape(rate, at) @ p - theory[:, 0]) / theory[:, 1]) ** 2).sum())

        rate = minimize_scalar(misfit, bounds=(1.15, 2.0), method="bounded").x
        rng = generator(stream(self.seed, "extrapolation"))
        draws = exact[:, 0] + exact[:, 1] * rng.standard_normal((400, len(depth)))
        limits = [straight(rate, depth, y, exact[:, 1])[0] for y in (exact[:, 0], *draws)]
        return float(limits[0]), float(np.std(limits[1:], ddof=1))


# %%
# The table, its digest for the manual, and the figure.


def z(ds: xr.Dataset, a: str, b: str) -> xr.DataArray:
    """Difference over the joint error."""
    return (ds[a] - ds[b]) / np.hypot(ds[f"{a}_error"], ds[f"{b}_error"])


def table(ds: xr.Dataset) -> str:
    """A row per process and size."""
    lines = [f"{'':<10}{'v':>4}{'L':>4}{'exact inference':>20}{'density evolution':>20}{'z':>7}"]
    scores = z(ds, "exact", "population")
    for kind in ds.process.values:
        x = ds.sel(process=kind)
        for k in range(ds.sizes["model"]):
            one = x.isel(model=k)
            cells = [f"{float(one[n]):.4f} ± {float(one[n + '_error']):.4f}"
                     for n in ("exact", "population")]  # fmt: skip
            score = float(scores.sel(process=kind)[k])
            lines.append(f"{kind:<10}{int(one.v):>4}{int(one.L):>4}{cells[0]:>20}{cells[1]:>20}"
                         f"{score:>7.1f}")  # fmt: skip
    return "\n".join(lines)


def snr(ds: xr.Dataset, name: str) -> tuple[float, float]:
    """A Gaussian threshold as signal-to-noise ratio."""
    one = ds.sel(process="gaussian")
    value, error = float(one[name]), float(one[f"{name}_error"])
    low, here, high = (float(GaussianNoise(32).snr(value + d)) for d in (error, 0, -error))
    return here, (high - low) / 2


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """What the manual quotes."""
    scores = z(ds, "limit", "infinite")
    out: dict[str, Any] = {}
    for kind in ds.process.values:
        x = ds.sel(process=kind)
        out[str(kind)] = {
            "finite-size scaling": [float(x.limit), float(x.limit_error)],
            "density evolution": [float(x.infinite), float(x.infinite_error)],
            "z": float(scores.sel(process=kind)),
            "by depth": [
                {
                    "v": int(k.v), "L": int(k.L),
                    "exact": [float(k.exact), float(k.exact_error)],
                    "population": [float(k.population), float(k.population_error)],
                    "between grammars": float(k.between_grammars),
                }
                for k in (x.isel(model=i) for i in range(ds.sizes["model"]))
            ],
        }  # fmt: skip
    out["gaussian"]["snr"] = [snr(ds, "limit"), snr(ds, "infinite")]
    out["support sets"] = support_threshold(RHM(32, 8, 2, 1))
    out["epsilon"] = critical_noise(RHM(32, 8, 2, 1))
    return out


def claim(ds: xr.Dataset) -> str:
    """The closing line: the three thresholds at infinite depth."""
    scores, parts = z(ds, "limit", "infinite"), []
    for kind in ds.process.values:
        x = ds.sel(process=kind)
        parts.append(
            f"{kind} {float(x.limit):.4f} ± {float(x.limit_error):.4f} (theory "
            f"{float(x.infinite):.4f} ± {float(x.infinite_error):.4f}, "
            f"z = {float(scores.sel(process=kind)):.1f})"
        )
    return "class lost at t = " + ", ".join(parts) + " for infinite depth"


def draw(ds: xr.Dataset) -> Figure:
    """Thresholds against depth, and the difference to density evolution against v."""
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.3), layout="constrained")
    deep = (ds.v == 32).values
    for ax, kind in zip(axes, ds.process.values, strict=False):
        x = ds.sel(process=kind).isel(model=deep)
        place, far = float(x.infinite), float(x.infinite_error)
        ax.axhspan(
            place - far, place + far, color="0.85", label=f"density evolution, L = {INFINITE}"
        )
        ax.errorbar(x.L - 0.1, x.population, x.population_error, color="k", fmt="-", lw=1,
                    label="density evolution")  # fmt: skip
        ax.errorbar(x.L + 0.1, x.exact, x.exact_error, fmt="o", ms=4, color="tab:blue",
                    label="exact inference")  # fmt: skip
        ax.errorbar([x.L.max() + 1.5], [x.limit], [x.limit_error], fmt="D", ms=4, mfc="white",
                    color="tab:blue", label="extrapolated")  # fmt: skip
        ax.set(xlabel="depth L", ylabel="class lost at t", title=str(kind))
    axes[0].legend(fontsize=6, frameon=False)
    wide = [i for i in range(ds.sizes["model"]) if int(ds.L[i]) == 8]
    wide.sort(key=lambda i: int(ds.v[i]))
    for kind, shift in zip(ds.process.values, (0.97, 1.0, 1.03), strict=True):
        x = ds.sel(process=kind).isel(model=wide)
        gap = (x.exact - x.population) / x.population
        error = np.hypot(x.exact_error, x.population_error) / x.population
        axes[3].errorbar(x.v * shift, 100 * gap, 100 * error, fmt="o-", ms=3, lw=0.8, label=kind)
    axes[3].axhline(0, color="0.6", lw=0.6)
    axes[3].set_xscale("log", base=2)
    axes[3].set(xlabel="symbols v (m = v / 4, L = 8)", ylabel="exact less density evolution, %",
                title="shared rules")  # fmt: skip
    axes[3].legend(fontsize=6, frameon=False)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    measured = studies.execute(lambda: tyro.cli(Sizes))

    # %%
    # Grey: density evolution at great depth with its error.  Shared rules broaden the transition
    # from grammar to grammar; they hardly move it.

    figure = draw(*measured)
