r"""Hierarchy against mixtures: where each data model loses its class, in signal-to-noise ratio.

Gaussian noise puts a grammar and a mixture on one axis.  In the Random Hierarchy Model the class is
lost at a ratio that does not depend on the depth.  In a mixture the classes part at the speciation
time, at a ratio that falls as the dimension d grows: like :math:`1/\sqrt d` for subspaces of equal
(zero) mean, like :math:`1/d` for separated means.

Measured is the ratio at which the mean belief in the true class, above chance, is one half.  Theory
gives the same quantity at the same size: density evolution to the depth of the grammar, and for
mixtures the exact mean of the class posterior, a one-dimensional integral.  The threshold of
infinite depth and the criteria of speciation are limits of large size and have variables of their
own.
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
from scipy.special import logit

from hierdiff import GaussianNoise, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    memory,
    natural,
    no_model,
    one_of,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.rhm import RHM, affordable
from hierdiff.errors import NoTransition
from hierdiff.plots import Figure, legend, level_colours, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import crossing
from hierdiff.sims.phase_transition import PhaseTransition
from hierdiff.theory import critical_level, population_dynamics
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.theory.mixture.feature_snr import class_confidence
from hierdiff.theory.mixture.speciation import pair_confidence, speciation_time

__all__ = ["DataModels"]

Array = NDArray[Any]

DELTA = 0.2  # residual amplitude of the subspaces
NOISE = GaussianNoise()


def subspaces(rank: int) -> LowRankMixture:
    """Two orthogonal subspaces of unit variance and mean zero."""
    return LowRankMixture.random(2 * rank, rank, 2, delta=DELTA, seed=0)


def clouds(dim: int) -> LowRankMixture:
    """Two isotropic clouds of unit variance with means at distance sqrt(d) from the centre."""
    means = np.stack([np.ones(dim), -np.ones(dim)])
    return LowRankMixture([np.eye(dim)] * 2, means=means)


def law_of_subspaces(rank: int, sigma: Array) -> Array:
    """Mean belief in the true subspace."""
    return class_confidence(2, rank, DELTA, sigma)


def law_of_clouds(dim: int, sigma: Array) -> Array:
    """Mean belief in the true cloud; the means are 2 sqrt(d) apart."""
    return pair_confidence(2 * np.sqrt(dim / (1 + sigma**2)))


MIXTURES = {"subspaces": (subspaces, law_of_subspaces), "clouds": (clouds, law_of_clouds)}


@dataclass(frozen=True)
class DataModels:
    """Loss of the class against the signal-to-noise ratio, in grammars and in mixtures.

    Notes
    -----
    Validity: posteriors are exact; errors are over grammars, or over the data of a mixture.
    """

    name: ClassVar[str] = "data_models"
    _repr_html_ = experiment_html

    depths: tuple[int, ...] = (4, 7, 10)
    """Depths of the grammars, (v, m, s) = (32, 8, 2)."""
    dims: tuple[int, ...] = (10, 40, 160)
    """Ranks of the subspaces, and dimensions of the clouds."""
    grammars: int = 12
    """Random grammars per depth."""
    data: int = 24
    """Data per grammar."""
    points: int = 1500
    """Data per mixture."""
    levels: int = 41
    """Noise levels."""
    population: int = 4000
    """Messages of a population in density evolution, of which there are eight."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, depths=partial(listed, rule=count), dims=partial(listed, rule=count),
            grammars=partial(whole, low=2, high=10**6), data=partial(whole, low=2, high=10**8),
            points=partial(whole, low=2, high=10**8), levels=partial(whole, low=5, high=10**5),
            population=partial(whole, low=8, high=10**8), seed=natural,
        )  # fmt: skip
        for depth in self.depths:
            affordable(RHM(32, 8, 2, depth), self.data)
        dim = max(self.dims)
        memory(f"{self.points} data of {2 * dim} dimensions", 8.0 * self.points * 2 * dim)

    @results.tracked
    @checked
    def predict(self, law: Literal["same size"] = "same size") -> xr.Dataset:
        """The SNR at which half of the class is lost, by theory of the same size."""
        one_of("law", law, ("same size",))
        times = np.linspace(0, 1, self.levels)
        rows = [
            _density_evolution(RHM(32, 8, 2, L), times, 0.5, self.population, self.seed)
            for L in self.depths
        ]
        sigma = _sigma(times)
        for _, law_of in MIXTURES.values():
            for d in self.dims:
                place = half_lost(times[1:-1], law_of(d, sigma), 0.75)
                rows.append({"theory_t": place, "theory_t_error": 0.0})
        t, error = (np.array([row[k] for row in rows]) for k in ("theory_t", "theory_t_error"))
        one = ("data_model",)
        variables = {
            "half": (one, NOISE.snr(t), "SNR at which half of it is lost"),
            "half_error": (one, _snr_error(t, error), "its standard error"),
        }
        sizes = [("grammar", L) for L in self.depths]
        sizes += [(name, d) for name in MIXTURES for d in self.dims]
        coords = {
            "name": (one, [name for name, _ in sizes], "data model"),
            "size": (one, [size for _, size in sizes], "depth, or rank or dimension"),
        }
        return results.label(variables, coords, "theory", results.provenance(asdict(self)))

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
        """Class above chance against the SNR, and the SNR at which half of it is lost."""
        no_model(
            self.name, model, data,
            "it compares data models at growing size; the class of one model against noise is "
            "that of PhaseTransition.measure",
        )  # fmt: skip
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        times = np.linspace(0, 1, self.levels)
        parts: list[dict[str, Any]] = []
        for L in self.depths:
            experiment = PhaseTransition(
                noise="gaussian", L=L, grammars=self.grammars, data=self.data,
                levels=self.levels, refine=0, seed=self.seed,
            )  # fmt: skip
            found = _measured(
                experiment.measure(**options).class_belief.values, times, experiment.v
            )
            law = _density_evolution(experiment.rhm, times, found["t"], self.population, self.seed)
            parts.append({"name": "grammar", "size": L, **found, **law, "spectral": np.nan})
        critical = critical_level(experiment.rhm, experiment.process, size=2000, copies=4)
        for part in parts:
            part["limit"] = float(critical.snr or np.nan)
        sigma = _sigma(times)
        for name, (make, law_of) in MIXTURES.items():
            for d in self.dims:
                mixture = make(d)
                experiment = PhaseTransition(
                    noise="gaussian", data=self.points, levels=self.levels, refine=0,
                    seed=self.seed,
                )  # fmt: skip
                ds = experiment.measure(ExactMixture(mixture, NOISE), **options)
                # data are independent draws of one mixture: each is a unit of its own
                found = _measured(ds.class_belief.values[0][:, None], times, 2)
                place = half_lost(times[1:-1], law_of(d, sigma), 0.75)
                parts.append({
                    "name": name, "size": d, **found, "theory_t": place, "theory_t_error": 0.0,
                    "limit": _speciation(mixture, "free_entropy"),
                    "spectral": _speciation(mixture, "spectral"),
                })  # fmt: skip
        return self._labelled(parts, times)

    def _labelled(self, parts: list[dict[str, Any]], times: Array) -> xr.Dataset:
        one, plane = ("data_model",), ("data_model", "t")
        t, theory = (np.array([p[key] for p in parts]) for key in ("t", "theory_t"))
        t_error, theory_error = (
            np.array([p[key] for p in parts]) for key in ("t_error", "theory_t_error")
        )
        column = {key: [p[key] for p in parts] for key in ("name", "size", "limit", "spectral")}
        variables = {
            "kept": (plane, np.stack([p["kept"] for p in parts]), "class above chance"),
            "kept_error": (plane, np.stack([p["kept_error"] for p in parts]), "standard error"),
            "half": (one, NOISE.snr(t), "SNR at which half of it is lost"),
            "half_error": (one, _snr_error(t, t_error), "its standard error"),
            "theory": (one, NOISE.snr(theory), "the same at this size, by theory"),
            "theory_error": (one, _snr_error(theory, theory_error), "its standard error"),
            # in t, in which the errors are symmetric; positive if more signal is needed
            "z": (one, (theory - t) / np.hypot(t_error, theory_error), "measured minus theory"),
            "limit": (one, column["limit"], "SNR by the criterion of infinite size: threshold of "
                      "density evolution, or free-entropy speciation"),
            "spectral": (one, column["spectral"], "spectral speciation, NaN where it sees nothing"),
        }  # fmt: skip
        coords = {
            "name": (one, column["name"], "data model"),
            "size": (one, column["size"], "depth, or rank or dimension"),
            "t": (("t",), times, "noise level, cosine schedule"),
            "snr": (("t",), NOISE.snr(times), "signal-to-noise ratio"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """A panel per data model."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """The SNR at which each data model loses half of its class."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), {"rows": digest(ds)})


def _sigma(times: Array) -> Array:
    """Noise over signal at the inner levels; no law holds at SNR infinity."""
    return np.asarray(np.maximum(NOISE.snr(times[1:-1]), 1e-12) ** -0.5)


def _speciation(mixture: LowRankMixture, criterion: Literal["spectral", "free_entropy"]) -> float:
    try:
        return float(speciation_time(mixture, criterion).snr)
    except NoTransition:
        return np.nan


def _snr_error(t: Array, error: Array) -> Array:
    """Half the width, in SNR, of an interval in t."""
    low, high = (NOISE.snr(np.clip(t + sign * error, 1e-9, 1)) for sign in (1, -1))
    return np.asarray((high - low) / 2)


def _measured(values: Array, times: Array, classes: int) -> dict[str, Any]:
    """Curve above chance with errors, and the level where it is one half; values [unit, datum, t].

    Units are independent: grammars, or data of one mixture.
    """
    chance = 1 / classes
    units = (values.mean(axis=1) - chance) / (1 - chance)
    found = crossing(times, values, height=(1 + chance) / 2)
    return {
        "kept": units.mean(axis=0), "kept_error": units.std(axis=0, ddof=1) / np.sqrt(len(units)),
        "t": found.value, "t_error": found.error,
    }  # fmt: skip


def half_lost(t: Array, curve: Array, height: float) -> float:
    """Where a law falls through a height, interpolated in log-odds as the measurement is.

    The grid and the interpolation are those of the measurement, so that they do not enter z.
    """
    i = int(np.flatnonzero(curve < height)[0])
    x = logit(np.clip(curve[i - 1 : i + 1], 1e-9, 1 - 1e-9))
    return float(t[i - 1] + (x[0] - logit(height)) / (x[0] - x[1]) * (t[i] - t[i - 1]))


def _density_evolution(
    rhm: RHM, times: Array, near: float, size: int, seed: int
) -> dict[str, float]:
    """Level at which half of the class is lost at this depth, by density evolution."""
    height = (1 + 1 / rhm.v) / 2
    belief: dict[int, tuple[float, float]] = {}

    def at(i: int) -> float:
        if i not in belief:
            random = stream(seed, "density evolution", rhm.L, i)
            found = population_dynamics(
                rhm, GaussianNoise(rhm.v), float(times[i]), size=size, copies=8, seed=random
            )
            belief[i] = float(found.marginal[0]), float(found.marginal_error[0])
        return belief[i][0]

    i = int(np.clip(np.searchsorted(times, near), 1, len(times) - 1))
    while at(i) >= height and i < len(times) - 1:
        i += 1
    while at(i - 1) < height and i > 1:
        i -= 1
    pair = np.array([at(i - 1), at(i)])
    place = half_lost(times[i - 1 : i + 1], pair, height)
    # both ends fluctuate, and move the place by their log-odds times the distance from the other
    share = (place - times[i - 1]) / (times[i] - times[i - 1])
    odds_error = np.array([belief[i - 1][1], belief[i][1]]) / (pair * (1 - pair))
    steep = (logit(pair[0]) - logit(pair[1])) / (times[i] - times[i - 1])
    error = float(np.hypot(*(odds_error * [1 - share, share])) / steep)
    return {"theory_t": place, "theory_t_error": error}


def table(ds: xr.Dataset) -> str:
    """A row per data model and size."""
    header = ["data", "size", "half lost at SNR", "theory", "z", "infinite size", "spectral"]
    rows = []
    for x in (ds.isel(data_model=i) for i in range(ds.sizes["data_model"])):
        cells = [plus_minus(x[k], x[f"{k}_error"], digits=4) for k in ("half", "theory")]
        rows.append([x.name.item(), int(x["size"]), *cells, f"{float(x.z):.1f}",
                     f"{float(x.limit):.4f}", f"{float(x.spectral):.4f}"])  # fmt: skip
    return text_table(header, rows, keys=2)


def digest(ds: xr.Dataset) -> list[dict[str, Any]]:
    """The numbers of the table."""
    return [
        {"name": x.name.item(), "size": int(x["size"]),
         "half": [float(x.half), float(x.half_error)],
         "theory": [float(x.theory), float(x.theory_error)], "z": float(x.z),
         "limit": float(x.limit)}
        for x in (ds.isel(data_model=i) for i in range(ds.sizes["data_model"]))
    ]  # fmt: skip


def claim(ds: xr.Dataset) -> str:
    """How the place of the loss moves with the size of each data model."""
    words = []
    for name in ("grammar", *MIXTURES):
        half = ds.half[ds.name.values == name].values
        words.append(f"{name} at SNR {half[0]:.3g} to {half[-1]:.3g}")
    worst = float(np.abs(ds.z).max())
    return (
        f"class lost: {', '.join(words)} with growing size; theory of the same size within "
        f"|z| <= {worst:.1f}"
    )


def draw(ds: xr.Dataset) -> Figure:
    """A panel per data model."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout="constrained", sharey=True)
    inside = slice(1, -1)  # SNR infinity and zero have no place on a logarithmic axis
    for ax, name in zip(axes, ("grammar", *MIXTURES), strict=True):
        x = ds.isel(data_model=np.flatnonzero(ds.name.values == name))
        colours = level_colours(x.sizes["data_model"])
        for i, colour in enumerate(colours):
            one = x.isel(data_model=i)
            ax.errorbar(ds.snr[inside], one.kept[inside], one.kept_error[inside], color=colour,
                        fmt="o-", ms=2.5, lw=0.8, label=f"{int(one['size'])}")  # fmt: skip
            ax.axvline(float(one.theory), color=colour, ls="-", lw=0.8)
            ax.axvline(float(one.limit), color=colour, ls="--", lw=0.8)
            if np.isfinite(one.spectral):
                ax.axvline(float(one.spectral), color=colour, ls=":", lw=1)
        ax.set(xscale="log", xlim=(1e3, 2e-3), xlabel="signal-to-noise ratio")
        size = {"grammar": "depth", "subspaces": "rank d"}.get(name, "dimension d")
        legend(ax, f"{size}; lines: theory of this size (dashed: of infinite size)")
        ax.spines[["top", "right"]].set_visible(False)
    panels(axes, "grammar", *MIXTURES)
    axes[0].set_ylabel("belief in the class above chance")
    return figure
