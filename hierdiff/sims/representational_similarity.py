r"""Representational similarity of exact beliefs between tree levels and noise levels.

The marginal beliefs of an exact model at a tree level and a noise level are a representation of the
data.  Two measures compare representations: RSA, the rank correlation of the distances between all
pairs of data, and linear CKA in its unbiased estimate, which is 0 for independent representations
however wide.  Both also compare the beliefs with the true latents of each level.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, NoReturn

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, GaussianNoise, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, listed, natural, no_model, one_level, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.errors import InvalidParameter
from hierdiff.plots import FONT, Figure, legend, panels, plt, shade
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.sims.metrics.representation_geometry import linear_cka, representational_similarity
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import posterior

__all__ = ["RepresentationalSimilarity"]

Array = NDArray[Any]
MEASURES = ("rsa", "cka")


def one_grammar(rhm: RHM, times: Array, data: int, seed: int, g: int) -> dict[str, Array]:
    """Similarity of beliefs [measure, level, t, level', t'] and with latents [.., level']."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise, features = GaussianNoise(rhm.v), []
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    for t in times:
        evidence = noise.evidence(noise.corrupt_with(truth.leaves, t, randoms), t)
        marginals = posterior(grammar, evidence, threads=1).marginals
        features.append([np.asarray(p).reshape(data, -1) for p in marginals])
    cells = [features[k][level] for level in range(rhm.L + 1) for k in range(len(times))]
    latents = [np.eye(rhm.v)[z].reshape(data, -1) for z in truth.levels]

    def measured(one: Array, other: Array) -> tuple[float, float]:
        return representational_similarity(one, other), linear_cka(one, other, unbiased=True)

    size = (len(cells), len(cells))
    maps, known = np.ones((2, *size)), np.empty((2, size[0], rhm.L + 1))
    for i, one in enumerate(cells):
        for j in range(i):
            maps[:, i, j] = maps[:, j, i] = measured(one, cells[j])
        known[:, i] = np.transpose([measured(one, z) for z in latents])
    shape = (rhm.L + 1, len(times))
    return {"beliefs": maps.reshape(2, *shape, *shape), "latents": known.reshape(2, *shape, -1)}


@dataclass(frozen=True)
class RepresentationalSimilarity:
    """RSA and CKA between levels and noise levels of exact beliefs.

    Notes
    -----
    Validity: beliefs are exact; errors are standard errors over ``grammars``.

    Examples
    --------
    >>> ds = RepresentationalSimilarity(L=1, t=(0.1, 0.9), data=20, grammars=2).measure(workers=1)
    >>> own = ds.latents.sel(measure="rsa", level=0, latent=0)
    >>> bool(own.sel(t=0.1) > own.sel(t=0.9))
    True
    """

    name: ClassVar[str] = "representational_similarity"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 4
    """Depth."""
    t: tuple[float, ...] = (0.02, 0.2, 0.3, 0.4, 0.5, 0.8)
    """Noise levels of the Gaussian process, increasing."""
    data: int = 200
    """Data per grammar, at least 4."""
    grammars: int = 12
    """Random grammars."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            t=partial(listed, rule=one_level),
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=4, high=10**5),
            seed=natural,
        )
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)

    @results.tracked
    def predict(self) -> NoReturn:
        """Refused: no law of these maps is known."""
        raise InvalidParameter(f"{self.name} has no law that predicts it; call measure()")

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
        """Mean maps over grammars, with errors."""
        no_model(
            self.name, model, data,
            "it compares exact beliefs at tree levels; the features of one model are compared by "
            "hierdiff.sims.metrics.representation_geometry",
        )  # fmt: skip
        rhm, times = RHM(self.v, self.m, self.s, self.L), np.array(self.t)
        tasks = []
        for g in range(self.grammars):
            parameters = {
                "version": 1, "question": "representational similarity", "v": self.v,
                "m": self.m, "s": self.s, "L": self.L, "t": list(self.t), "data": self.data,
                "seed": self.seed, "grammar": g,
            }  # fmt: skip
            tasks.append(Task(one_grammar, (rhm, times, self.data, self.seed, g), parameters))
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="similarity")
        cell = ("level", "t")
        variables: dict[str, Any] = {}
        other = {"beliefs": ("level_b", "t_b"), "latents": ("latent",)}
        for name, dims in other.items():
            values = np.stack([f[name] for f in found])
            # a similarity that has no value in a grammar (no distances) has no error either
            mean = values.mean(axis=0)
            error = standard_error(np.nan_to_num(values)) + 0 * mean
            text = f"similarity to {name}"
            variables[name] = (("measure", *cell, *dims), mean, text)
            variables[f"{name}_error"] = (("measure", *cell, *dims), error, "its standard error")
        levels = np.arange(self.L + 1)
        coords = {
            "measure": (("measure",), list(MEASURES), "RSA or unbiased linear CKA"),
            "level": (("level",), levels, "level, root = 0"),
            "t": (("t",), times, "noise level"),
            "level_b": (("level_b",), levels, "level of the other"),
            "t_b": (("t_b",), times, "noise level of the other"),
            "latent": (("latent",), levels, "level of the true latents"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Maps of both measures, and the beliefs against their own latents."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """RSA of every level with its own latents, per noise level."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), digest(ds))


def table(ds: xr.Dataset) -> str:
    """RSA of each level's beliefs with its own latents, per noise level, and the best level."""
    rows = []
    for level in ds.level.values:
        one = ds.sel(measure="rsa", level=level, latent=level)
        cells = zip(one.latents.values, one.latents_error.values, strict=True)
        rows.append([level, *(plus_minus(a, e) for a, e in cells)])
    best = np.array(digest(ds)["rsa"]).argmax(axis=0)
    rows.append(["best", *(f"level {k}" for k in best)])
    return text_table(["level", *(f"t = {t:g}" for t in ds.t.values)], rows)


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """RSA with the latents of the same level."""
    own = [ds.sel(measure="rsa", level=k, latent=k) for k in ds.level.values]
    return {"t": ds.t.values.tolist(), "rsa": [x.latents.values.tolist() for x in own],
            "error": [x.latents_error.values.tolist() for x in own]}  # fmt: skip


def claim(ds: xr.Dataset) -> str:
    """How much of the class and of the leaves the beliefs contain at both ends of the noise."""
    found = digest(ds)
    words = []
    for k in (0, -1):
        cells = zip(found["rsa"][k], found["error"][k], strict=True)
        ends = [f"{a:.3f} ± {e:.3f}" for a, e in cells]
        words.append(f"from {ends[0]} to {ends[-1]}")
    t = found["t"]
    return (
        f"beliefs resemble their own latents less as noise grows from t = {t[0]:g} to {t[-1]:g}: "
        f"the class {words[0]}, the leaves {words[1]}"
    )


def draw(ds: xr.Dataset) -> Figure:
    """Maps of both measures, and the beliefs against their own latents."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    count, times = ds.sizes["level"], ds.sizes["t"]
    for ax, measure in zip(axes, MEASURES, strict=False):
        square = ds.beliefs.sel(measure=measure).values.reshape(count * times, -1)
        image = ax.imshow(square, vmin=0, vmax=1, cmap="magma")
        ticks = np.arange(count) * times + (times - 1) / 2
        ax.set_xticks(ticks, [f"level {k}" for k in ds.level.values], fontsize=FONT)
        ax.set_yticks(ticks, [f"level {k}" for k in ds.level.values], fontsize=FONT)
        for edge in np.arange(1, count) * times - 0.5:
            ax.axhline(edge, color="w", lw=0.5)
            ax.axvline(edge, color="w", lw=0.5)
        figure.colorbar(image, ax=ax, shrink=0.8)
    for level in ds.level.values:
        one = ds.sel(measure="rsa", level=level, latent=level)
        colour = shade(level / max(count - 1, 1))
        axes[2].errorbar(ds.t, one.latents, one.latents_error, fmt="o-", ms=3, lw=0.8,
                         color=colour, label=f"level {level}")  # fmt: skip
    axes[2].set(xlabel="noise level t (gaussian process)", ylabel="RSA with the true latents")
    panels(axes, *(f"{m.upper()} of beliefs; noise grows in each block" for m in MEASURES),
           "beliefs against their own latents")  # fmt: skip
    legend(axes[2])
    axes[2].spines[["top", "right"]].set_visible(False)
    return figure
