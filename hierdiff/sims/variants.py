r"""Thresholds of grammars beyond the uniform Random Hierarchy Model.

Unequal rules, ambiguous grammars, other numbers of classes, levels that differ, correlations cut
above a level: exact inference covers them all, and the question is at which noise level the class
is lost.  The number of classes sets chance, so the belief in the true class is measured from there,

.. math:: (E\,p(c \mid x_t) - 1/n_c) / (1 - 1/n_c) = \tfrac12 ,

and the shift of the threshold is against the uniform unambiguous model.  Density evolution predicts
the variants that have uniform unambiguous rules, with any number of rules and classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, Grammar, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, natural, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import affordable
from hierdiff.data.rhm_variants import ambiguous, filtered, layered, zipf
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NOISE, noise_name
from hierdiff.plots import FONT, GUIDE, PALETTE, Figure, legend, panels, plt
from hierdiff.seeds import Seed, stream
from hierdiff.sims.metrics.estimators import crossing, falls_through, standard_error
from hierdiff.sims.metrics.forward_backward import exact_run, overlap, start_data
from hierdiff.sims.phase_transition import density_evolution, samples_of
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import ExactRHM

__all__ = ["Variants"]

Array = NDArray[Any]
_GIVEN = "given"  # the variant of a model, or a grammar, of the caller's own
V, M, S = 16, 4, 2
"""The reference: 16 symbols with 4 rules of 2 symbols each; variants keep v^s = 256 tuples."""


def makers(L: int) -> dict[str, Callable[[Seed], Grammar]]:
    """Grammars of depth L around (v, m, s) = (16, 4, 2), by name."""
    rhm, half = RHM(V, M, S, L), L // 2
    same = [V] * (L + 1)
    found: dict[str, Callable[[Seed], Grammar]] = {
        "reference": rhm.draw,
        "Zipf, a = 0": lambda seed: zipf(rhm, 0.0, seed),
        "Zipf, a = 1": lambda seed: zipf(rhm, 1.0, seed),
        "Zipf, a = 1, upper half only": lambda seed: zipf(rhm, 1.0, seed, range(half)),
        "ambiguous": lambda seed: ambiguous(V, M, S, L, seed),
        "m = 6": RHM(V, 6, S, L).draw,
        "ambiguous, m = 6": lambda seed: ambiguous(V, 6, S, L, seed),
        "4 classes": RHM(V, M, S, L, n_classes=4).draw,
        "64 classes": RHM(V, M, S, L, n_classes=64).draw,
        "m = 2 above, 6 below": lambda seed: layered(
            same, [2] * half + [6] * (L - half), [S] * L, seed
        ),
        "m = 6 above, 2 below": lambda seed: layered(
            same, [6] * (L - half) + [2] * half, [S] * L, seed
        ),
        "64 leaf symbols, same f": lambda seed: layered(
            [*same[:-1], 64], [M] * (L - 1) + [64], [S] * L, seed
        ),
        "three leaves per rule, same f": lambda seed: layered(
            same, [M] * (L - 1) + [64], [S] * (L - 1) + [3], seed
        ),
    }
    for level in (1, 2, 3):
        found[f"cut above level {level}"] = partial(cut, rhm, level)
    return found


def uniform(L: int) -> dict[str, RHM]:
    """Those of them that are Random Hierarchy Models, which density evolution predicts."""
    rhm = RHM(V, M, S, L)
    return {
        "reference": rhm, "m = 6": RHM(V, 6, S, L),
        "4 classes": RHM(V, M, S, L, n_classes=4), "64 classes": RHM(V, M, S, L, n_classes=64),
    }  # fmt: skip


def cut(rhm: RHM, level: int, seed: Seed) -> Grammar:
    """A grammar without correlations above a level."""
    return filtered(rhm.draw(seed), level)


def one_grammar(
    make: Callable[[Seed], Grammar], process: type[Any], times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Belief in the true class, 0 for chance and 1 for certainty: [datum, t]."""
    grammar = make(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    model = ExactRHM(grammar, process(grammar.v[-1]), threads=1)
    return class_beliefs(model, truth, times, seed, g)


def class_beliefs(
    model: ExactRHM, truth: Derivations, times: Array, seed: int, g: int
) -> dict[str, Array]:  # fmt: skip
    """The same of given data of a grammar."""
    randoms = model.noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    rows, own, belief = np.arange(len(truth)), truth.levels[0][:, 0], []
    for t in times:
        run = exact_run(model, truth, float(t), randoms, seed, ("classes",))
        assert run.classes is not None
        belief.append(run.classes[rows, own])
    chance = float((model.grammar.root_prior**2).sum())
    return {"belief": (np.stack(belief, axis=1) - chance) / (1 - chance)}


@dataclass(frozen=True)
class Variants:
    """Thresholds of grammars beyond the uniform Random Hierarchy Model.

    Notes
    -----
    Validity: exact inference; errors are over grammars and data.

    Examples
    --------
    >>> ds = Variants(L=3, grammars=2, data=4, levels=5).measure(workers=1)
    >>> str(ds.variant.values[0]), float(ds["shift"][0])
    ('reference', 0.0)
    """

    name: ClassVar[str] = "variants"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory")

    L: int = 7
    """Depth; at least 3."""
    noise: str = "masking"
    """Forward process: masking, uniform, gaussian, or a registered name."""
    grammars: int = 16
    """Random grammars per variant."""
    data: int = 32
    """Data per grammar."""
    levels: int = 31
    """Noise levels between 0 and 1."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            L=partial(whole, low=3),
            noise=partial(noise_name, channel=True),
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=2, high=10**8),
            levels=partial(whole, low=3, high=10**5),
            seed=natural,
        )
        affordable(RHM(V, M, S, self.L), self.data)

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 1, self.levels)

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["density evolution"] = "density evolution",
        rhm: RHM | None = None,
        *,
        size: int = 1000,
        copies: int = 8,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Belief and threshold of the variants with uniform unambiguous rules.

        Parameters
        ----------
        law : {"density evolution"}
        rhm : RHM, optional
            Sizes of a grammar of your own, which is the variant "given"; default the variants here.
        size, copies
            Of the populations, as in
            :func:`hierdiff.theory.rhm.density_evolution.population_dynamics`.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``belief`` (variant, t), and ``threshold`` and ``shift`` (variant); the shift of a
            grammar of your own is NaN.

        Raises
        ------
        InvalidParameter
            For an unknown law, or a process of another number of symbols.

        Notes
        -----
        Validity: as for density evolution, of grammars whose rules are drawn anew at every node.
        """
        one_of("law", law, ("density evolution",))
        named = uniform(self.L) if rhm is None else {_GIVEN: rhm}
        tasks = []
        for name, sizes in named.items():
            words = {"version": 2, "law": "population", "variant": name, "L": sizes.L,
                     "noise": self.noise, "seed": self.seed, "t": self.times.tolist(),
                     "size": size, "copies": copies}  # fmt: skip
            arguments = (sizes, NOISE[self.noise](sizes.v), self.times, size, copies, self.seed)
            tasks.append(Task(density_evolution, arguments, words))
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        found = run_tasks(tasks, name="density evolution", **options)
        chance = np.array([[1 / sizes.n_classes] for sizes in named.values()])
        mean, error = (
            np.stack([x[k][0] for x in found]) / (1 - chance)
            for k in ("marginal", "marginal_error")
        )
        mean = mean - chance / (1 - chance)
        places = np.array([_falls(self.times, *pair) for pair in zip(mean, error, strict=True)])
        return self._label(list(named), self.times, mean, error, places, "theory")

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
        """Belief in the class and threshold of every variant, or of a model of your own.

        Parameters
        ----------
        model : DiffusionModel, optional
            Any model, which is the variant "given", under its own noise process; default exact
            inference on every variant.
        data : optional
            As :func:`hierdiff.sims.metrics.forward_backward.start_data` takes them; default data of
            the model's own grammar.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``belief`` (variant, t), ``threshold`` and ``shift`` (variant), with errors over
            grammars and data, or over the data of a single model, which has no shift (NaN).

        Raises
        ------
        InvalidParameter
            If the latents of the model's samples cannot be read.

        Notes
        -----
        Validity: of a model that is not exact the belief is the share of samples that keep the
        class, which is the mean belief if they follow the model's posterior.  Chance is the sum of
        the squared shares of the classes: of the grammar's, or of the data's without a grammar.
        """
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        if model is not None:
            return self._of_model(model, data, options)
        if data is not None:
            raise InvalidParameter("data were given without the model they belong to; give both")
        times, named, tasks = self.times, makers(self.L), []
        for k, (name, make) in enumerate(named.items()):
            for g in range(self.grammars):
                parameters = {
                    "version": 1, "question": "variants", "variant": name, "L": self.L,
                    "noise": self.noise, "seed": self.seed, "grammar": g, "data": self.data,
                    "t": [float(t) for t in times],
                }  # fmt: skip
                # every variant has grammars of its own, so that errors of shifts add up
                key = g + 10**6 * k
                # the class, not its name, since a worker has a registry of its own
                arguments = (make, NOISE[self.noise], times, self.data, self.seed, key)
                tasks.append(Task(one_grammar, arguments, parameters))
        parts = run_tasks(tasks, name="variants", **options)
        belief = np.stack([p["belief"] for p in parts])
        belief = belief.reshape(len(named), self.grammars, self.data, -1)
        places = np.array([_threshold(times, x, k) for k, x in enumerate(belief)])
        by_grammar = np.moveaxis(belief.mean(axis=2), 1, 0)
        return self._label(
            list(named), times, by_grammar.mean(axis=0), standard_error(by_grammar), places,
            "simulation",
        )  # fmt: skip

    def _of_model(self, model: DiffusionModel, data: Any, options: dict[str, Any]) -> xr.Dataset:
        """The same of a single model: from its beliefs if it is exact, else from its samples."""
        start, times = start_data(model, data, self.data, self.seed), self.times
        n = len(start)
        if n < 2:
            raise InvalidParameter(f"data = {n} give no error bar; use at least 2")
        if isinstance(model, ExactRHM) and start.grammar is model.grammar:
            truth = Derivations(start.latents)
            words = {"version": 1, "question": "variants, given"}
            tasks = [Task(class_beliefs, (model, truth, times, self.seed, 0), words)]
            belief = run_tasks(tasks, name="variants", **options)[0]["belief"]
            least = 0.0
        else:
            made = samples_of(model, start, times, self.seed, name="variants", **options)
            kept = np.stack([overlap(start, x).share[:, 0] for x in made], axis=1)
            shares = np.unique_counts(start.latents[0]).counts / start.latents[0].size
            prior = shares if start.grammar is None else start.grammar.root_prior
            chance = float((prior**2).sum())
            # of samples that are all alike the error is not zero but below one in their number
            belief, least = (kept - chance) / (1 - chance), 1 / n
        error = np.maximum(standard_error(belief), least)
        places = np.array([_threshold(times, belief[None], 0)])
        return self._label(
            [_GIVEN], times, belief.mean(axis=0)[None], error[None], places,
            "network" if model.source == "network" else "simulation", model,
        )  # fmt: skip

    def _label(
        self, names: list[str], times: Array, belief: Array, error: Array, places: Array,
        source: str, model: DiffusionModel | None = None,
    ) -> xr.Dataset:  # fmt: skip
        """A dataset of beliefs [variant, t] with errors, and of thresholds [variant, 2]."""
        shift, doubt = places[:, 0] - places[0, 0], np.hypot(places[:, 1], places[0, 1])
        shift[0] = doubt[0] = np.nan if names == [_GIVEN] else 0.0
        plane, one = ("variant", "t"), ("variant",)
        variables = {
            "belief": (plane, belief, "belief in the class above chance"),
            "belief_error": (plane, error, "its standard error"),
            "threshold": (one, places[:, 0], "noise level at which it is one half"),
            "threshold_error": (one, places[:, 1], "its standard error"),
            "shift": (one, shift, "threshold less that of the reference"),
            "shift_error": (one, doubt, "its standard error"),
        }
        fields, noise = asdict(self), self.noise
        if model is not None:
            fields = {k: fields[k] for k in ("data", "levels", "seed")}
            fields |= {"model": type(model).__name__, "process": repr(model.noise)}
            noise = model.noise.name
        coords = {
            "variant": (one, names, "variant of the grammar"),
            "t": (("t",), times, f"noise level t of the {noise} process"),
        }
        return results.label(variables, coords, source, results.provenance(fields))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Prediction of the uniform variants, and measurement; of a model the measurement."""
        options = run.tasks(self.name)
        measured = self.measure(model, data, **options)
        if model is not None:
            return {self.name: measured}
        return {f"{self.name}_theory": self.predict(**options), self.name: measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Curves of the class, and thresholds with errors."""
        return draw(datasets[self.name], datasets.get(f"{self.name}_theory"))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Threshold and shift of every variant."""
        ds, law = datasets[self.name], datasets.get(f"{self.name}_theory")
        return Summary(table(ds, law), claim(ds), values(ds, law))


def _threshold(times: Array, belief: Array, k: int) -> tuple[float, float]:
    """Place and error, or NaN where the class is not half known even without noise."""
    try:
        found = crossing(times, belief, seed=stream(0, "bootstrap", k))
    except InvalidParameter:
        return np.nan, np.nan
    return found.value, found.error


def _falls(times: Array, mean: Array, error: Array) -> tuple[float, float]:
    """Threshold of a predicted curve, and its error from those at the two levels beside it."""
    place = falls_through(times, mean)
    if np.isnan(place):
        return np.nan, np.nan
    near = int(np.searchsorted(times, place))
    slope = (mean[near] - mean[near - 1]) / (times[near] - times[near - 1])
    return place, float(np.interp(place, times, error) / abs(slope))


def table(ds: xr.Dataset, law: xr.Dataset | None = None) -> str:
    """Threshold and shift of every variant, beside density evolution where that predicts it."""
    rows, missing = [], []
    for name in ds.variant.values:
        x = ds.sel(variant=name)
        t, te, d, de = (
            float(x[k]) for k in ("threshold", "threshold_error", "shift", "shift_error")
        )
        if np.isnan(t):
            missing.append(f"{name}: class not recoverable, {float(x.belief[0]):.3f} at t = 0")
            continue
        shift = "-" if np.isnan(d) else f"{d:+.4f} ± {de:.4f}"
        row = [name, plus_minus(t, te, digits=4), shift, f"{d / de:.1f}" if de > 0 else "-"]
        if law is not None:
            y = law.sel(variant=name) if name in law.variant else None
            row += ["", ""] if y is None else [
                plus_minus(y.threshold, y.threshold_error, digits=4),
                f"{(t - float(y.threshold)) / np.hypot(te, float(y.threshold_error)):.1f}",
            ]  # fmt: skip
        rows.append(row)
    header = ["variant", "threshold", "shift", "z"]
    header += [] if law is None else ["density evolution", "z"]
    return "\n".join([text_table(header, rows), *missing])


def values(ds: xr.Dataset, law: xr.Dataset | None = None) -> dict[str, Any]:
    """Threshold and shift of every variant with errors; None where there is none."""
    found = {}
    for key, one in {"variants": ds, "density evolution": law}.items():
        if one is None:
            continue
        found[key] = {
            str(name): {
                word: None if np.isnan(x[word]) else [float(x[word]), float(x[f"{word}_error"])]
                for word in ("threshold", "shift")
            }
            for name, x in ((name, one.sel(variant=name)) for name in one.variant.values)
        }
    return found


def claim(ds: xr.Dataset) -> str:
    """The threshold of the reference and the two largest shifts."""
    if list(ds.variant.values) == [_GIVEN]:
        one = ds.isel(variant=0)
        if np.isnan(one.threshold):
            return "the class is half known at no noise level"
        place, error = float(one.threshold), float(one.threshold_error)
        return f"class lost at t = {place:.4f} ± {error:.4f}"
    shift = ds["shift"].where(ds.shift_error > 0).to_numpy()
    parts = []
    if np.isnan(shift).all():
        return "no variant has a threshold to compare: the class is lost at no noise level"
    for i in (int(np.nanargmax(shift)), int(np.nanargmin(shift))):
        one = ds.isel(variant=i)
        moved, error = float(one["shift"]), float(one.shift_error)
        parts.append(f"{moved:+.3f} ± {error:.3f} ({one.variant.values})")
    first = ds.isel(variant=0)
    return (
        f"reference class lost at t = {float(first.threshold):.4f} ± "
        f"{float(first.threshold_error):.4f}; variants move it by {parts[0]} to {parts[1]}"
    )


def draw(ds: xr.Dataset, law: xr.Dataset | None = None) -> Figure:
    """Curves of the class, and thresholds with errors; density evolution as lines and crosses."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    # more variants than colours: with the marker each pair is there once
    count = ds.sizes["variant"]
    colours = [PALETTE[k % len(PALETTE)] for k in range(count)]
    marks = ["os^Dv"[k // len(PALETTE) % 5] for k in range(count)]
    rows = np.arange(ds.sizes["variant"])[::-1]
    for row, name, colour, mark in zip(rows, ds.variant.values, colours, marks, strict=True):
        x = ds.sel(variant=name)
        known = law is not None and name in law.variant
        axes[0].errorbar(
            x.t, x.belief, x.belief_error, color=colour, marker=mark, ms=3, label=name,
            ls="none" if known else "-", lw=0.8,
        )  # fmt: skip
        axes[1].errorbar(x.threshold, row, xerr=x.threshold_error, fmt=mark, ms=4.5, color=colour)
        if law is not None and known:
            y = law.sel(variant=name)
            axes[0].plot(y.t, y.belief, color=colour, lw=1.2)
            first = "density evolution" if row == rows[0] else None
            axes[1].plot(y.threshold, row, "|", color="k", ms=12, label=first)
    axes[0].axhline(0.5, **GUIDE)
    axes[0].set(xlabel="noise level t", ylabel="belief in the class, 0: chance, 1: certainty")
    reference = ds.isel(variant=0)
    axes[1].axvline(float(reference.threshold), **GUIDE)
    axes[1].set_yticks(rows, ds.variant.values, fontsize=FONT)
    axes[1].set_ylim(-0.7, len(rows) - 0.3)
    for tick, colour in zip(axes[1].get_yticklabels(), colours, strict=True):
        tick.set_color(colour)  # the key to the curves on the left
    axes[1].set_xlabel("noise level at which the class is lost")
    panels(axes, "loss of the class; marks as on the right", "its place")
    legend(axes[1])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure
