r"""
Sample cost: which exponent does a learner of synonyms see?
===========================================================

To learn the rules of a level a model must tell which tuples below are synonyms, by their
correlations with tokens outside.  Signal equals noise, entry by entry, at :math:`P = v\,m^{l+1}`
(arXiv 2502.12089), l the height of the common ancestor of tuple and token; the tuples of a symbol
of height h meet their next context at l = h + 1.

A learner who compares whole contexts does better where contexts hardly ever coincide by chance.
Two tuples seen n times each share :math:`n^2 (1/v + S)` contexts if they are synonyms, with
:math:`S \approx m^{-l}`, and :math:`n^2/v` if not, so

.. math:: P^* \propto v m\, \frac{\sqrt{1/v + S}}{S}, \qquad
   \frac{d \ln P^*}{d \ln m} = 1 + \frac l2 + \frac l2\, \frac{x}{1 + x}, \qquad x = \frac{m^l}{v}:

the exponent rises from 1 + l/2 to l + 1 along one curve for all levels and vocabularies.

Run it as ``python sims/sample_cost.py --out DIR``; it takes some minutes, and the same command goes
on where it was interrupted.
"""

# %%
# Two vocabularies with one token of context, where P is as large as one likes, and the smaller one
# with all leaves below the next node, where strings are drawn.

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from hierdiff import results
from hierdiff.checks import check_fields, count, listed, whole
from hierdiff.plots.backend import plt
from hierdiff.sims.composition import Composition
from hierdiff.studies.command import run


@dataclass(frozen=True)
class SampleCost:
    """Exponents of the sample cost in m, for several vocabularies and contexts."""

    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
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
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            grammars=partial(whole, low=2, high=10**6),
            small_m=partial(listed, rule=partial(whole, low=2), least=2),
            large_m=partial(listed, rule=partial(whole, low=2), least=2),
            heights=partial(listed, rule=count),
        )
        self.experiments()

    def experiments(self) -> dict[str, Composition]:
        """Both vocabularies, and the smaller one read by all leaves."""
        shared = {"heights": self.heights, "grammars": self.grammars, "parts": ("cost",)}
        return {
            f"v = {self.small}": Composition(v=self.small, multiplicities=self.small_m, **shared),
            f"v = {self.large}": Composition(v=self.large, multiplicities=self.large_m, **shared),
            f"v = {self.small}, all leaves": Composition(
                v=self.small, multiplicities=self.small_m, context="leaves", repeats=1,
                sample_range=(-8.0, 3.0), **shared,
            ),
        }  # fmt: skip

    def main(self) -> tuple[xr.Dataset, ...]:
        """Measure, draw, print; returns the measurements."""
        folder = results.run_folder(self, "sample_cost_*")
        experiments = self.experiments()
        measured, found = {}, {}
        for name, experiment in experiments.items():
            ds = experiment.measure(folder=folder / "tasks", workers=self.workers)
            measured[name], found[name] = ds, claims(experiment, ds)
            file = name.replace(" = ", "").replace(", ", "_").replace(" ", "_")
            results.save(ds, folder / f"sample_cost_{file}.nc")
            for h, row in found[name].items():
                print(f"{name}, height {h}: m^({row['exponent'][0]:.2f} ± {row['exponent'][1]:.2f})"
                      f", two largest m {row['two largest m'][0]:.2f} ± "
                      f"{row['two largest m'][1]:.2f}; coincidences {row['coincidences']:.2f}, "
                      f"{row['coincidences, two largest m']:.2f}; m^(h+2) = m^{h + 2}; "
                      f"{row['censored']} censored")  # fmt: skip
        points = {name: local_exponents(ds) for name, ds in measured.items()}
        vocabulary = in_v(measured[f"v = {self.small}"], measured[f"v = {self.large}"])
        figure(measured, points).savefig(folder / "sample_cost.png", dpi=160)
        if self.summary:
            flat = {name: table.tolist() for name, table in points.items()}
            claim = {"exponents": found, "local exponents": flat, "in v": vocabulary}
            parameters = {**asdict(self), "seed": Composition.seed}
            results.write_summary(self.summary, claim, parameters)
        print(closing(found, points, vocabulary))
        return tuple(measured.values())


# %%
# Exponents over all m, and between neighbouring m, where the curve bends.


def claims(experiment: Composition, ds: xr.Dataset) -> dict[int, dict[str, object]]:
    """Exponents of the clustering learner per height, beside the law of coincidences."""
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


def local_exponents(ds: xr.Dataset) -> np.ndarray:
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
    found = {}
    for h in map(int, small.height.values):
        found[h] = []
        for m in np.intersect1d(small.m.values, large.m.values):
            one = [ds.sel(learner="clusters", height=h, m=m) for ds in (small, large)]
            slope = np.log(float(one[1].samples / one[0].samples)) / np.log(v[1] / v[0])
            relative = [float(ds.samples_error / ds.samples) for ds in one]
            found[h].append([int(m), slope, float(np.hypot(*relative)) / np.log(v[1] / v[0])])
    return found


def rise(x: np.ndarray) -> np.ndarray:
    """The universal curve: share of the way from 1 + l/2 to l + 1."""
    return x / (1 + x)


# %%
# All local exponents, as shares of the way from the sparse to the dense limit, on one curve.


def figure(measured: dict[str, xr.Dataset], points: dict[str, np.ndarray]) -> plt.Figure:
    """Costs in units of the law, and local exponents against the crossover variable."""
    fig, axes = plt.subplots(1, 2, figsize=(8.8, 3.6), layout="constrained")
    markers = dict(zip(measured, "osD", strict=True))
    for name, ds in measured.items():
        v = json.loads(ds.attrs["parameters"])["v"]
        for h in ds.height.values:
            colour = plt.get_cmap("viridis")(0.3 * h)
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
    axes[1].set(xscale="log", xlabel="$x = m^{h+1} / v$",
                ylabel="exponent: 0 sparse, 1 dense limit")  # fmt: skip
    for ax in axes:
        ax.legend(fontsize=6, frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def closing(
    found: dict[str, dict[int, dict[str, object]]], points: dict[str, np.ndarray],
    vocabulary: dict[int, list[list[float]]],
) -> str:  # fmt: skip
    """The closing line."""
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


measurements = run(SampleCost)
