r"""Finite-size scaling: thresholds of exact inference at growing depth, against density evolution.

Density evolution is for grammars whose rules are drawn anew at every node.  Exact belief
propagation on real grammars, whose nodes share rules, gives the noise level at which the mean
belief in the class is one half, at growing depth L.  It is extrapolated with

.. math:: t_{1/2}(L) = t^* + A\, \lambda^{-L},

all three numbers free, so that the limit is independent of density evolution.  A second limit, at
the rate that density evolution has at the same depths, is sharper and not independent.  A second
scan varies v at fixed m / v, where shared rules matter.

The disorder of the threshold, its variance over grammars without the thermal part from the finite
number of data, follows from halves of the data of every grammar, whose noise is independent.
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
from scipy.optimize import curve_fit

from hierdiff import RHM, GaussianNoise, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, count, listed, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.noise import noise_process
from hierdiff.plots import GREY, GUIDE, PALETTE, Figure, panels, plt, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import crossing, depth_limit, disorder
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import (
    critical_level,
    critical_noise,
    half_belief_level,
    posterior,
    support_threshold,
)

__all__ = ["FiniteSizeScaling"]

Array = NDArray[Any]
_LOST = "noise level at which half of the class is lost"
_LIMIT = "the same, extrapolated to infinite depth"
PROCESSES = ("masking", "uniform", "gaussian")
RATES = (1.1, 2.0)
"""Rates of approach that the extrapolation allows: below 1.1 twelve levels show nothing of the
limit, and above F'(p*) = 1.441 of the epsilon-process no process was seen."""


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
    """Density evolution: the level at which half of the belief is left after ``depth`` levels.

    Depth 0 stands for the limit of infinite depth.
    """
    noise = noise_process(kind, rhm.v)
    options: dict[str, Any] = {"size": size, "copies": copies, "seed": seed}
    if depth:
        found = half_belief_level(RHM(rhm.v, rhm.m, rhm.s, depth), noise, **options)
    else:
        found = critical_level(rhm, noise, **options)
    return {"value": np.array([found.value, found.error])}


@dataclass(frozen=True)
class FiniteSizeScaling:
    """Thresholds of masking, uniform and Gaussian noise at growing depth and growing v.

    Notes
    -----
    Validity: inference is exact; errors are over grammars and data.  Four depths hardly fix the
    rate of approach, and the error of the limit contains what they leave open.
    """

    name: ClassVar[str] = "finite_size_scaling"
    _repr_html_ = experiment_html

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
    size: int = 4000
    """Members of a population."""
    copies: int = 8
    """Independent populations."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            depths=partial(listed, rule=count, least=3),
            symbols=partial(listed, rule=partial(whole, low=8)),
            grammars=partial(whole, low=4, high=10**6),
            data=partial(whole, low=2, high=10**8),
            levels=partial(whole, low=5, high=10**5),
            size=partial(whole, low=8, high=10**8),
            copies=partial(whole, low=2, high=10**6),
            seed=natural,
        )
        for rhm in self.models():
            affordable(rhm, self.data)

    def models(self) -> list[RHM]:
        """All sizes: the depths first, then the numbers of symbols."""
        deep = [RHM(32, 8, 2, L) for L in self.depths]
        return deep + [RHM(v, v // 4, 2, 8) for v in self.symbols]

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
        """Thresholds of density evolution at the same sizes, and at infinite depth."""
        one_of("law", law, ("density evolution",))
        models = self.models()
        options = {"folder": folder, "workers": workers, "cluster": cluster}
        theory = self._populations(models, options)
        plane, deep = ("process", "model"), ("process",)
        variables = {
            "exact": (plane, theory[:, :-1, 0], _LOST),
            "exact_error": (plane, theory[:, :-1, 1], "its standard error"),
            "limit": (deep, theory[:, -1, 0], _LIMIT),
            "limit_error": (deep, theory[:, -1, 1], "its standard error"),
        }
        made = results.provenance(asdict(self))
        return results.label(variables, _axes(models), "theory", made)

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
        """Thresholds of exact inference and of density evolution, and their limits."""
        no_model(
            self.name, model, data,
            "it needs grammars of growing depth; the threshold of one model is that of "
            "PhaseTransition.measure",
        )  # fmt: skip
        options = {"folder": folder, "workers": workers, "cluster": cluster}
        models = self.models()
        theory = self._populations(models, options)
        exact = self._exact(models, theory[..., 0], options)
        few = len(self.depths)
        rows: dict[str, list[Any]] = {"limits": [], "borrowed": [], "laws": []}
        for p in range(len(PROCESSES)):
            place, doubt = exact[p, :few, 0], exact[p, :few, 1]
            free = depth_limit(self.depths, place, doubt, RATES)
            rate = depth_limit(self.depths, theory[p, :few, 0], theory[p, :few, 1], RATES)
            known = self._at_rate(place, doubt, rate.rate, rate.rate_error)
            rows["limits"].append([free.value, free.error, free.rate, free.rate_error])
            rows["borrowed"].append([*known, rate.rate, rate.rate_error])
            rows["laws"].append(self._laws(models, exact[p, :, 2:4]))
        limits, borrowed, laws = (np.array(x) for x in rows.values())
        plane, deep = ("process", "model"), ("process",)
        infinite = theory[:, -1]
        variables = {
            "exact": (plane, exact[..., 0], _LOST),
            "exact_error": (plane, exact[..., 1], "its standard error"),
            "disorder": (plane, exact[..., 2], "variance over grammars, thermal part removed"),
            "disorder_error": (plane, exact[..., 3], "its standard error"),
            "thermal": (plane, exact[..., 4], "standard deviation of one datum's threshold"),
            "missed": (plane, exact[..., 5], "largest share of replicas without a threshold"),
            "disorder_rate": (deep, laws[:, 0], "growth of the disorder per level, as an exponent"),
            "disorder_rate_error": (deep, laws[:, 1], "its standard error"),
            "disorder_power": (deep, laws[:, 2], "exponent of the disorder in v"),
            "disorder_power_error": (deep, laws[:, 3], "its standard error"),
            "population": (plane, theory[:, :-1, 0], "density evolution at the same depth"),
            "population_error": (plane, theory[:, :-1, 1], "its standard error"),
            "limit": (deep, limits[:, 0], _LIMIT),
            "limit_error": (deep, limits[:, 1], "its standard error"),
            "rate": (deep, limits[:, 2], "rate of approach, as far as the depths tell"),
            "rate_error": (deep, limits[:, 3], "its standard deviation"),
            "borrowed": (deep, borrowed[:, 0], "the same at the rate of density evolution"),
            "borrowed_error": (deep, borrowed[:, 1], "its standard error"),
            "borrowed_rate": (deep, borrowed[:, 2], "rate of density evolution at these depths"),
            "borrowed_rate_error": (deep, borrowed[:, 3], "its standard deviation"),
            "infinite": (deep, infinite[:, 0], "density evolution, extrapolated in depth"),
            "infinite_error": (deep, infinite[:, 1], "its standard error"),
        }  # fmt: skip
        made = results.provenance(asdict(self))
        return results.label(variables, _axes(models), "simulation", made)

    def _populations(self, models: list[RHM], options: dict[str, Any]) -> Array:
        """[process, model and the infinite one, (value, error)]."""
        cases = [(r, r.L) for r in models] + [(RHM(32, 8, 2, 1), 0)]
        tasks = []
        for kind in PROCESSES:
            for rhm, depth in cases:
                arguments = (rhm, kind, depth, self.size, self.copies, self.seed)
                parameters = {
                    "version": 2, "law": "half level", "v": rhm.v, "m": rhm.m, "noise": kind,
                    "depth": depth, "size": self.size, "copies": self.copies, "seed": self.seed,
                }  # fmt: skip
                tasks.append(Task(half_level, arguments, parameters))
        found = run_tasks(tasks, name="density evolution", **options)
        return np.stack([f["value"] for f in found]).reshape(len(PROCESSES), len(cases), 2)

    def _exact(self, models: list[RHM], around: Array, options: dict[str, Any]) -> Array:
        """[process, model, (value, error, disorder, error, thermal, missed)]."""
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
        parts = run_tasks(tasks, name="exact inference", **options)
        belief = np.stack([x["belief"] for x in parts])
        belief = belief.reshape(len(PROCESSES), len(models), self.grammars, self.data, -1)
        out = np.empty((len(PROCESSES), len(models), 6))
        for p, k in np.ndindex(out.shape[:2]):
            t, x = times[p, k], belief[p, k]
            place = crossing(t, x, seed=stream(self.seed, "bootstrap", p, k))
            spread = disorder(t, x, seed=stream(self.seed, "halves", p, k))
            out[p, k] = (place.value, place.error, spread.variance, spread.error,
                         spread.thermal_sd, max(place.missed, spread.missed))  # fmt: skip
        return out

    def _at_rate(
        self, place: Array, error: Array, rate: float, doubt: float
    ) -> tuple[float, float]:
        """Limit at a given rate, by weighted least squares; the rate's doubt moves it as well."""
        depth, w = np.array(self.depths, float), 1 / error

        def fit(rate: float) -> tuple[float, float]:
            shape = np.stack([np.ones_like(depth), rate ** -(depth - depth[0])], axis=1)
            shape = shape * w[:, None]
            inverse = np.linalg.inv(shape.T @ shape)
            return float((inverse @ shape.T @ (w * place))[0]), float(inverse[0, 0])

        value, variance = fit(rate)
        moved = [fit(max(rate + sign * doubt, RATES[0]))[0] for sign in (-1, 1)]
        return value, float(np.sqrt(variance + ((moved[1] - moved[0]) / 2) ** 2))

    def _laws(self, models: list[RHM], found: Array) -> tuple[float, float, float, float]:
        """Disorder as exp(-a L) at v = 32 and as v^-b at L = 8: a and b with errors.

        Fitted to the variances themselves, which may be negative, with their errors.
        """
        v, L = (np.array([getattr(r, name) for r in models], float) for name in ("v", "L"))
        out: list[float] = []
        for rows, x in ((v == 32, L - 8), (L == 8, np.log(v / 32))):
            rows = rows & np.isfinite(found).all(axis=1)
            if rows.sum() < 2:
                out += [np.nan, np.nan]
                continue
            y, error = found[rows].T
            start = (max(float(y.mean()), float(error.mean())), 0.5)
            scale = start[0]  # variances are of order 1e-5
            try:
                value, spread = curve_fit(
                    lambda x, height, slope: height * np.exp(-slope * x), x[rows], y / scale,
                    (1.0, start[1]), error / scale, absolute_sigma=True,
                )  # fmt: skip
                out += [float(value[1]), float(np.sqrt(spread[1, 1]))]
            except RuntimeError:  # no disorder that could be followed
                out += [np.nan, np.nan]
        return out[0], out[1], out[2], out[3]

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Thresholds against depth, their difference to density evolution against v, disorder."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Thresholds of every process and size, and their limits."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), digest(ds))


def _axes(models: list[RHM]) -> dict[str, Any]:
    """Coordinates of all results."""
    return {
        "process": (("process",), list(PROCESSES), "noise process"),
        "L": (("model",), [r.L for r in models], "depth"),
        "v": (("model",), [r.v for r in models], "symbols"),
    }


def z(ds: xr.Dataset, a: str, b: str) -> xr.DataArray:
    """Difference over the joint error."""
    return (ds[a] - ds[b]) / np.hypot(ds[f"{a}_error"], ds[f"{b}_error"])


def variance(one: xr.Dataset) -> str:
    """Disorder of one size in words."""
    return f"{1e6 * float(one.disorder):.1f} ± {1e6 * float(one.disorder_error):.1f}"


def table(ds: xr.Dataset) -> str:
    """A row per process and size."""
    header = ["process", "v", "L", "exact inference", "density evolution", "z", "disorder, 1e-6"]
    scores, rows = z(ds, "exact", "population"), []
    for kind in ds.process.values:
        for k in range(ds.sizes["model"]):
            one = ds.sel(process=kind).isel(model=k)
            cells = [
                plus_minus(one[n], one[f"{n}_error"], digits=4) for n in ("exact", "population")
            ]
            score = float(scores.sel(process=kind)[k])
            rows.append([kind, int(one.v), int(one.L), *cells, f"{score:.1f}", variance(one)])
    return text_table(header, rows, keys=3)


def snr(ds: xr.Dataset, name: str) -> tuple[float, float]:
    """A Gaussian threshold as signal-to-noise ratio."""
    one = ds.sel(process="gaussian")
    value, error = float(one[name]), float(one[f"{name}_error"])
    low, here, high = (float(GaussianNoise(32).snr(value + d)) for d in (error, 0, -error))
    return here, (high - low) / 2


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """Thresholds, rates, z-scores and disorder of every process."""
    scores = z(ds, "limit", "infinite")
    out: dict[str, Any] = {}
    for kind in ds.process.values:
        x = ds.sel(process=kind)
        out[str(kind)] = {
            "finite-size scaling": [float(x.limit), float(x.limit_error)],
            "rate": [float(x.rate), float(x.rate_error)],
            "at the rate of density evolution": [float(x.borrowed), float(x.borrowed_error)],
            "rate of density evolution": [float(x.borrowed_rate), float(x.borrowed_rate_error)],
            "density evolution": [float(x.infinite), float(x.infinite_error)],
            "z": float(scores.sel(process=kind)),
            "z at the rate of density evolution": float(z(ds, "borrowed", "infinite").sel(
                process=kind)),
            "disorder per level": [float(x.disorder_rate), float(x.disorder_rate_error)],
            "disorder in v": [float(x.disorder_power), float(x.disorder_power_error)],
            "by depth": [
                {
                    "v": int(k.v), "L": int(k.L),
                    "exact": [float(k.exact), float(k.exact_error)],
                    "population": [float(k.population), float(k.population_error)],
                    "disorder": [float(k.disorder), float(k.disorder_error)],
                    "thermal": float(k.thermal), "missed": float(k.missed),
                }
                for k in (x.isel(model=i) for i in range(ds.sizes["model"]))
            ],
        }  # fmt: skip
    out["gaussian"]["snr"] = [snr(ds, "limit"), snr(ds, "infinite")]
    out["support sets"] = support_threshold(RHM(32, 8, 2, 1))
    out["epsilon"] = critical_noise(RHM(32, 8, 2, 1))
    return out


def claim(ds: xr.Dataset) -> str:
    """The three thresholds at infinite depth."""
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
    figure, axes = plt.subplots(1, 5, figsize=(15, 3.4), layout="constrained")
    deep = (ds.v == 32).values
    for ax, kind, colour in zip(axes, ds.process.values, PALETTE, strict=False):
        x = ds.sel(process=kind).isel(model=deep)
        place, far = float(x.infinite), float(x.infinite_error)
        ax.axhspan(place - far, place + far, color="0.85", label="density evolution, limit")
        ax.errorbar(x.L - 0.1, x.population, x.population_error, color="k", fmt="-", lw=1,
                    label="density evolution")  # fmt: skip
        ax.errorbar(x.L + 0.1, x.exact, x.exact_error, fmt="o", ms=4, color=colour)  # fmt: skip
        ax.errorbar([x.L.max() + 1.5], [x.limit], [x.limit_error], fmt="D", ms=4, mfc="white",
                    color=colour)  # fmt: skip
        ax.set(xlabel="depth L", ylabel="class lost at t")
    wide = [i for i in range(ds.sizes["model"]) if int(ds.L[i]) == 8]
    wide.sort(key=lambda i: int(ds.v[i]))
    for kind, shift, colour in zip(ds.process.values, (0.97, 1.0, 1.03), PALETTE, strict=False):
        x = ds.sel(process=kind).isel(model=wide)
        gap = (x.exact - x.population) / x.population
        error = np.hypot(x.exact_error, x.population_error) / x.population
        axes[3].errorbar(x.v * shift, 100 * gap, 100 * error, fmt="o-", ms=3, lw=0.8, color=colour,
                         label=kind)  # fmt: skip
    axes[3].axhline(0, **GUIDE)
    axes[3].set_xscale("log", base=2)
    axes[3].set(xlabel="symbols v (m = v / 4, L = 8)", ylabel="exact less density evolution, %")
    for kind, shift, colour in zip(ds.process.values, (-0.15, 0.0, 0.15), PALETTE, strict=False):
        x = ds.sel(process=kind).isel(model=deep)
        axes[4].errorbar(x.L + shift, 1e6 * x.disorder, 1e6 * x.disorder_error, fmt="o-", ms=3,
                         lw=0.8, color=colour, label=kind)  # fmt: skip
    axes[4].axhline(0, **GUIDE)
    axes[4].set(xlabel="depth L", ylabel=r"variance over grammars, $10^{-6}$", yscale="symlog")
    panels(axes, *(f"{kind}" for kind in ds.process.values), "effect of shared rules",
           "disorder")  # fmt: skip
    axes[0].plot([], [], "o", ms=4, color=GREY, label="exact inference")
    axes[0].plot([], [], "D", ms=4, color=GREY, mfc="white", label="extrapolated")
    shared_legend(figure, axes[0], axes[3])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure
