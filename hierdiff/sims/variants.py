r"""Thresholds of grammars beyond the uniform Random Hierarchy Model.

Unequal rules, ambiguous grammars, other numbers of classes, levels that differ, correlations cut
above a level: exact inference covers them all, and the question is at which noise level the class
is lost.  The number of classes sets chance, so the belief in the true class is measured from there,

.. math:: (E\,p(c \mid x_t) - 1/n_c) / (1 - 1/n_c) = \tfrac12 ,

and the shift of the threshold is against the uniform unambiguous model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, NoReturn

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, Grammar, results
from hierdiff.checks import check_fields, checked, natural, no_model, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.data.rhm_variants import ambiguous, filtered, layered, zipf
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NOISE, noise_name
from hierdiff.plots import Figure, plt
from hierdiff.seeds import Seed, stream
from hierdiff.sims.metrics.estimators import crossing, standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import true_beliefs

__all__ = ["Variants"]

Array = NDArray[Any]
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


def cut(rhm: RHM, level: int, seed: Seed) -> Grammar:
    """A grammar without correlations above a level."""
    return filtered(rhm.draw(seed), level)


def one_grammar(
    make: Callable[[Seed], Grammar], process: type[Any], times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Belief in the true class, 0 for chance and 1 for certainty: [datum, t]."""
    grammar = make(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    noise = process(grammar.v[-1])
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    chance, belief = float((grammar.root_prior**2).sum()), []
    for t in times:
        x_t = noise.corrupt_with(truth.leaves, t, randoms)
        p = true_beliefs(grammar, noise.evidence(x_t, t), truth, threads=1).marginal[0][:, 0]
        belief.append((p - chance) / (1 - chance))
    return {"belief": np.stack(belief, axis=1)}


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

    @results.tracked
    def predict(self) -> NoReturn:
        """Refused: the laws of the package hold for uniform unambiguous rules."""
        raise InvalidParameter(
            f"{self.name} has no law that predicts it: density evolution is for uniform "
            "unambiguous rules; call measure()"
        )

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
        """Belief in the class and threshold of every variant."""
        no_model(
            self.name, model, data,
            "it compares grammars of its own; the threshold of one model is that of "
            "PhaseTransition.measure",
        )  # fmt: skip
        times, named, tasks = np.linspace(0, 1, self.levels), makers(self.L), []
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
        parts = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="variants")
        belief = np.stack([p["belief"] for p in parts])
        belief = belief.reshape(len(named), self.grammars, self.data, -1)
        places = np.array([_threshold(times, x, k) for k, x in enumerate(belief)])
        shift = places[:, 0] - places[0, 0]
        error = np.hypot(places[:, 1], places[0, 1])
        error[0] = 0.0
        by_grammar = belief.mean(axis=2)
        plane, one = ("variant", "t"), ("variant",)
        variables = {
            "belief": (plane, by_grammar.mean(axis=1), "belief in the class above chance"),
            "belief_error": (
                plane, standard_error(np.moveaxis(by_grammar, 1, 0)),
                "its standard error",
            ),
            "threshold": (one, places[:, 0], "noise level at which it is one half"),
            "threshold_error": (one, places[:, 1], "its standard error"),
            "shift": (one, shift, "threshold less that of the reference"),
            "shift_error": (one, error, "its standard error"),
        }  # fmt: skip
        coords = {
            "variant": (one, list(named), "variant of the grammar"),
            "t": (("t",), times, f"noise level t of the {self.noise} process"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Curves of the class, and thresholds with errors."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Threshold and shift of every variant."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), values(ds))


def _threshold(times: Array, belief: Array, k: int) -> tuple[float, float]:
    """Place and error, or NaN where the class is not half known even without noise."""
    try:
        found = crossing(times, belief, seed=stream(0, "bootstrap", k))
    except InvalidParameter:
        return np.nan, np.nan
    return found.value, found.error


def table(ds: xr.Dataset) -> str:
    """Threshold and shift of every variant."""
    lines = [f"{'variant':<30}{'threshold':>18}{'shift':>20}{'z':>7}"]
    for name in ds.variant.values:
        x = ds.sel(variant=name)
        t, te, d, de = (
            float(x[k]) for k in ("threshold", "threshold_error", "shift", "shift_error")
        )
        if np.isnan(t):
            lines.append(f"{name:<30}  class not recoverable: {float(x.belief[0]):.3f} at t = 0")
            continue
        z = f"{d / de:7.1f}" if de else f"{'-':>7}"
        lines.append(f"{name:<30}{f'{t:.4f} ± {te:.4f}':>18}{f'{d:+.4f} ± {de:.4f}':>20}{z}")
    return "\n".join(lines)


def values(ds: xr.Dataset) -> dict[str, Any]:
    """Threshold and shift of every variant with errors; None where the class is not recoverable."""
    rows = {}
    for name in ds.variant.values:
        x = ds.sel(variant=name)
        rows[str(name)] = {
            word: None if np.isnan(x[word]) else [float(x[word]), float(x[f"{word}_error"])]
            for word in ("threshold", "shift")
        }
    return {"variants": rows}


def claim(ds: xr.Dataset) -> str:
    """The threshold of the reference and the two largest shifts."""
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


def draw(ds: xr.Dataset) -> Figure:
    """Curves of the class, and thresholds with errors."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    colours = plt.get_cmap("turbo")(np.linspace(0.05, 0.95, ds.sizes["variant"]))
    rows = np.arange(ds.sizes["variant"])[::-1]
    for row, name, colour in zip(rows, ds.variant.values, colours, strict=True):
        x = ds.sel(variant=name)
        axes[0].errorbar(
            x.t, x.belief, x.belief_error, color=colour, marker="o", ms=2, lw=0.8, label=name
        )
        axes[1].errorbar(x.threshold, row, xerr=x.threshold_error, fmt="o", ms=4, color=colour)
    axes[0].axhline(0.5, color="0.6", lw=0.6)
    axes[0].set(xlabel="noise level t", ylabel="belief in the class, 0: chance, 1: certainty")
    reference = ds.isel(variant=0)
    axes[1].axvline(float(reference.threshold), color="0.3", ls="--", lw=0.8)
    axes[1].set_yticks(rows, ds.variant.values, fontsize=7)
    axes[1].set_ylim(-0.7, len(rows) - 0.3)
    for tick, colour in zip(axes[1].get_yticklabels(), colours, strict=True):
        tick.set_color(colour)  # the key to the curves on the left
    axes[1].set_xlabel("noise level at which the class is lost")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure
