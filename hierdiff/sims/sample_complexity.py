r"""Sample complexity of synonyms: with which exponent of m the number of data grows.

To learn the rules of a level a model must find which tuples below are synonyms, by their
correlations with tokens outside.  Signal equals noise, entry by entry, at :math:`P = v\,m^{l+1}`
(arXiv 2502.12089), l the height of the common ancestor of tuple and token; the tuples of a symbol
of height h meet their next context at l = h + 1.

A learner who compares whole contexts does better where contexts hardly ever coincide by chance.
Two tuples seen n times each share :math:`n^2 (1/v + S)` contexts if they are synonyms, with
:math:`S \approx m^{-l}`, and :math:`n^2/v` if not, so

.. math:: P^* \propto v m\, \frac{\sqrt{1/v + S}}{S}, \qquad
   \frac{d \ln P^*}{d \ln m} = 1 + \frac l2 + \frac l2\, \frac{x}{1 + x}, \qquad
   x = \frac{m^l}{v}:

the exponent rises from 1 + l/2 to l + 1 along one curve for all levels and vocabularies.
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

from hierdiff import results
from hierdiff._display import experiment_html, pair_text, text_table
from hierdiff.checks import check_fields, checked, count, listed, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.plots import Figure, panels, plain_log, plt, shade, shared_legend
from hierdiff.sims.composition import Composition

__all__ = ["SampleComplexity"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]


@dataclass(frozen=True)
class SampleComplexity:
    """Exponents of the sample complexity in m, for several vocabularies and contexts.

    Notes
    -----
    Validity: errors are over grammars.  With one token of context P is unbounded; with all leaves
    below the next node as context, strings are drawn.
    """

    name: ClassVar[str] = "sample_complexity"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("sample_complexity_*",)

    grammars: int = 40
    """Random grammars per v and m."""
    small: int = 32
    """Smaller vocabulary."""
    small_m: tuple[int, ...] = (2, 3, 4, 5, 6)
    """Its rules per symbol, up to a fifth of it."""
    large: int = 64
    """Larger vocabulary."""
    large_m: tuple[int, ...] = (2, 3, 4, 6, 8, 12)
    """Its rules per symbol."""
    heights: tuple[int, ...] = (1, 2, 3)
    """Heights of the symbols."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            grammars=partial(whole, low=2, high=10**6),
            small_m=partial(listed, rule=partial(whole, low=2), least=2),
            large_m=partial(listed, rule=partial(whole, low=2), least=2),
            heights=partial(listed, rule=count),
            seed=natural,
        )
        self.experiments()

    def experiments(self) -> dict[str, Composition]:
        """Both vocabularies, and the smaller one read by all leaves."""
        shared: dict[str, Any] = {"heights": self.heights, "grammars": self.grammars,
                                  "parts": ("cost",), "seed": self.seed}  # fmt: skip
        return {
            f"v = {self.small}": Composition(v=self.small, multiplicities=self.small_m, **shared),
            f"v = {self.large}": Composition(v=self.large, multiplicities=self.large_m, **shared),
            f"v = {self.small}, all leaves": Composition(
                v=self.small, multiplicities=self.small_m, context="leaves", repeats=1,
                sample_range=(-8.0, 3.0), **shared,
            ),
        }  # fmt: skip

    @results.tracked
    @checked
    def predict(self, law: Literal["coincidences"] = "coincidences") -> xr.Dataset:
        """Exponents in m by the law of coincidences."""
        one_of("law", law, ("coincidences",))
        found = [
            experiment.predict(law).exponent.sel(learner="clusters").values
            for experiment in self.experiments().values()
        ]
        return self._labelled(np.stack(found), np.zeros(np.shape(found)), "theory")

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
        """Exponents in m of the clustering learner [data, height]."""
        no_model(
            self.name, model, data,
            "it measures learners of tuples, which no denoiser is; leave the model out",
        )  # fmt: skip
        found = self._sweep({"folder": folder, "workers": workers, "cluster": cluster})
        learner = [ds.sel(learner="clusters") for ds in found.values()]
        exponent, error = (
            np.stack([ds[word].values for ds in learner]) for word in ("exponent", "exponent_error")
        )
        return self._labelled(exponent, error, "simulation")

    def _labelled(self, exponent: Array, error: Array, source: str) -> xr.Dataset:
        plane = ("context", "height")
        variables = {
            "exponent": (plane, exponent, "exponent of the number of data in m"),
            "exponent_error": (plane, error, "its standard error"),
        }
        coords = {
            "context": (("context",), list(self.experiments()), "vocabulary and context"),
            "height": (("height",), list(self.heights), "height of the symbol"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def _sweep(self, options: dict[str, Any]) -> dict[str, xr.Dataset]:
        """All contexts, by the stem of the file."""
        return {stem_of(k): x.measure(**options) for k, x in self.experiments().items()}

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Both vocabularies with one token of context, and the smaller one with all leaves."""
        if model is not None or data is not None:
            self.measure(model, data)
        return self._sweep(run.tasks(self.name))

    def figure(self, datasets: Datasets) -> Figure:
        """Numbers of data in units of the law, and local exponents against the crossover."""
        measured = {name: datasets[stem_of(name)] for name in self.experiments()}
        return draw(measured, {name: local_exponents(ds) for name, ds in measured.items()})

    def summary(self, datasets: Datasets) -> Summary:
        """Exponents of every context and height, measured and by the law."""
        experiments = self.experiments()
        measured = {name: datasets[stem_of(name)] for name in experiments}
        found = {name: exponents(x, measured[name]) for name, x in experiments.items()}
        points = {name: local_exponents(ds) for name, ds in measured.items()}
        small, large = (measured[f"v = {v}"] for v in (self.small, self.large))
        vocabulary = in_v(small, large)
        flat = {name: rows.tolist() for name, rows in points.items()}
        values = {"exponents": found, "local exponents": flat, "in v": vocabulary}
        return Summary(table(found), claim(found, points, vocabulary), values)


def stem_of(name: str) -> str:
    """Stem of the file of a context."""
    return "sample_complexity_" + name.replace(" = ", "").replace(", ", "_").replace(" ", "_")


def exponents(experiment: Composition, ds: xr.Dataset) -> dict[int, dict[str, Any]]:
    """Exponents of the clustering learner per height, with those of the law of coincidences."""
    law = experiment.predict("coincidences")
    found = {}
    for h in map(int, ds.height.values):
        at = {"learner": "clusters", "height": h}
        one = ds.sel(at)
        found[h] = {
            "exponent": [float(one.exponent), float(one.exponent_error)],
            "two largest m": [float(one.last_exponent), float(one.last_exponent_error)],
            "coincidences": float(law.exponent.sel(at)),
            "coincidences, two largest m": float(law.last_exponent.sel(at)),
            "samples": one.samples.values.tolist(),
            "error": one.samples_error.values.tolist(),
            "censored": int(one.censored.sum()),
            "ceiling": float(one.ceiling.min()),
        }
    return found


def local_exponents(ds: xr.Dataset) -> Array:
    """Rows x = m^l / v, exponent between two neighbouring m, its error, l."""
    stars = np.log(ds.samples_by_grammar.sel(learner="clusters").values)  # [grammar, height, m]
    v = json.loads(ds.attrs["parameters"])["v"]
    mean, error = stars.mean(axis=0), stars.std(axis=0, ddof=1) / np.sqrt(len(stars))
    step = np.diff(np.log(ds.m.values))
    slope = np.diff(mean, axis=1) / step
    spread = np.hypot(error[:, 1:], error[:, :-1]) / step
    l = ds.height.values[:, None] + 1
    middle = np.sqrt(ds.m.values[1:] * ds.m.values[:-1])
    rows = np.stack([middle**l / v, slope, spread, np.broadcast_to(l, slope.shape)], axis=-1)
    return rows.reshape(-1, 4)


def in_v(small: xr.Dataset, large: xr.Dataset) -> dict[int, list[list[float]]]:
    """Exponent in v at every common m: rows m, exponent, error."""
    v = [json.loads(ds.attrs["parameters"])["v"] for ds in (small, large)]
    found: dict[int, list[list[float]]] = {}
    for h in map(int, small.height.values):
        found[h] = []
        for m in np.intersect1d(small.m.values, large.m.values):
            one = [ds.sel(learner="clusters", height=h, m=m) for ds in (small, large)]
            slope = np.log(float(one[1].samples / one[0].samples)) / np.log(v[1] / v[0])
            relative = [float(ds.samples_error / ds.samples) for ds in one]
            error = float(np.hypot(relative[0], relative[1])) / np.log(v[1] / v[0])
            found[h].append([int(m), slope, error])
    return found


def rise(x: Array) -> Array:
    """The universal curve: share of the way from 1 + l/2 to l + 1."""
    return np.asarray(x / (1 + x))


def table(found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """A row per context and height: exponents in m, all m and the two largest, with their law."""
    header = ["context", "height", "exponent in m", "law", "two largest m", "law",
              "entry by entry", "censored"]  # fmt: skip
    lines = [
        [name, h, pair_text(row["exponent"], 2), f"{row['coincidences']:.2f}",
         pair_text(row["two largest m"], 2), f"{row['coincidences, two largest m']:.2f}",
         h + 2, row["censored"]]
        for name, rows in found.items() for h, row in rows.items()
    ]  # fmt: skip
    return text_table(header, lines, keys=2)


def draw(measured: dict[str, xr.Dataset], points: dict[str, Array]) -> Figure:
    """Numbers of data in units of the law, and local exponents against the crossover variable.

    Local exponents are shares of the way from the sparse to the dense limit.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.8, 3.6), layout="constrained")
    markers = dict(zip(measured, "osD", strict=True))
    for name, ds in measured.items():
        v = json.loads(ds.attrs["parameters"])["v"]
        for h in ds.height.values:
            colour = shade(h / 3)
            one = ds.sel(learner="clusters", height=h)
            unit = v * ds.m.values.astype(float) ** (h + 2)
            axes[0].errorbar(
                ds.m, one.samples / unit, one.samples_error / unit, color=colour, lw=0.7, ms=3.5,
                marker=markers[name], label=f"{name}, height {h}",
            )  # fmt: skip
            rows = points[name][points[name][:, 3] == h + 1]
            half = (h + 1) / 2
            if "leaves" not in name:
                axes[1].errorbar(
                    rows[:, 0], (rows[:, 1] - 1 - half) / half, rows[:, 2] / half, color=colour,
                    marker=markers[name], ms=3.5, ls="none", elinewidth=0.8,
                    label=f"{name}, height {h}",
                )  # fmt: skip
    x = np.geomspace(0.05, 400, 200)
    axes[1].plot(x, rise(x), "k-", lw=1, label="$x/(1+x)$")
    axes[0].set(xscale="log", yscale="log", xlabel="rules per symbol $m$",
                ylabel=r"$P^* / (v\,m^{h+2})$")  # fmt: skip
    axes[0].set_xticks(sorted({int(m) for ds in measured.values() for m in ds.m.values}))
    axes[0].xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes[0].minorticks_off()
    plain_log(axes[0].yaxis)
    axes[1].set(xscale="log", xlabel="$x = m^{h+1} / v$",
                ylabel="exponent: 0 sparse, 1 dense limit")  # fmt: skip
    panels(axes, "data in units of the law", "local exponents")
    shared_legend(figure)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def claim(
    found: dict[str, dict[int, dict[str, Any]]], points: dict[str, Array],
    vocabulary: dict[int, list[list[float]]],
) -> str:  # fmt: skip
    """Exponents in m and v, and the agreement with the law of coincidences."""
    rows = np.concatenate([table for name, table in points.items() if "leaves" not in name])
    law = 1 + rows[:, 3] / 2 * (1 + rise(rows[:, 0]))
    gap = rows[:, 1] - law
    dense = rows[:, 0] > 10
    limit = ""
    if dense.any():
        off = float((rows[dense, 1] - rows[dense, 3] - 1).mean())
        limit = f"where m^(h+1) > 10 v they are h + 2 {off:+.2f} on average; "
    token = [name for name in found if "leaves" not in name]
    slopes = ["; ".join([name + ": " + ", ".join(f"{r['exponent'][0]:.2f} ± {r['exponent'][1]:.2f}"
                                                 for r in found[name].values())])
              for name in token]  # fmt: skip
    slope_v = {h: np.mean([row[1] for row in table]) for h, table in vocabulary.items()}
    return (
        f"P* grows as m to the {' and '.join(slopes)} at heights "
        f"{', '.join(map(str, next(iter(found.values()))))}; local exponents follow the law of "
        f"coincidences to {np.sqrt(np.mean(gap**2)):.2f} (rms of {len(gap)}); {limit}exponent in v "
        + ", ".join(f"{x:.2f}" for x in slope_v.values())
    )
