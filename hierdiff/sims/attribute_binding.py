r"""Attribute binding: does a denoising classifier bind the colour of an object to its shape?

Scenes of two objects; every shape and every colour is the root of its own grammar.  The true prompt
is compared with one whose attributes are exchanged, so that a scorer that only knows which
attributes are present (a bag of attributes) is right half of the time.  One object may have a
larger area of colour: the published error, a preference for the colour of the larger object, then
has an exact cause.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    interval,
    listed,
    memory,
    natural,
    positive,
    whole,
)
from hierdiff.contracts import Run, Summary
from hierdiff.data.rhm import RHM, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.plots import GREY, GUIDE, Figure, needs, panel, plt, shared_legend, sources, style
from hierdiff.seeds import stream
from hierdiff.sims.classification_figures import WEIGHT_COLOURS, WEIGHT_LABELS, with_errors
from hierdiff.sims.metrics.denoising_error import ErrorPool, prefix_scores, tie_split_accuracy
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.zero_shot.scenes import PROMPTS, TwoObjectScenes
from hierdiff.theory.zero_shot.weightings import band, snr_at, weighting

__all__ = ["AttributeBinding", "binding_figure"]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

TASKS: dict[str, tuple[str, str]] = {
    "pair": ("pair", "pair swapped"),
    "first: colour": ("first", "first recoloured"),
    "first: shape": ("first", "second recoloured"),
    "second: colour": ("second", "second recoloured"),
    "second: shape": ("second", "first recoloured"),
    "control": ("colour", "colour absent"),
}
"""The true prompt and the false one; the second object is the one with the larger area."""
HIGH = "high"
_NAMED = ("vdm", "snr", "exp", "uniform")


@dataclass(frozen=True)
class AttributeBinding:
    """Accuracy of true against swapped prompts, on scenes whose denoisers are exact.

    Notes
    -----
    Validity: errors are over grammars; all weights and tasks see the same scenes and noise.

    References
    ----------
    Clark and Jaini, arXiv 2303.15233, section 5; the scenes follow Lewis et al., arXiv 2212.10537.

    Examples
    --------
    >>> experiment = AttributeBinding(grammars=2, data=8, budgets=(20,), areas=(1,))
    >>> dict(experiment.measure().accuracy.sizes)
    {'area': 1, 'task': 6, 'weighting': 5, 'budget': 1}
    """

    name: ClassVar[str] = "attribute_binding"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("attribute_binding",)

    v: int = 8
    """Symbols per level, and values of an attribute."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 3
    """Depth of an attribute's grammar."""
    tau: float = 0.42
    """Standard deviation of the Gaussian emissions."""
    grammars: int = 12
    """Pairs of random grammars, one of shapes and one of colours."""
    data: int = 200
    """Scenes per pair of grammars."""
    areas: tuple[int, ...] = (1, 4)
    """Copies of the second object's colour leaves."""
    budgets: tuple[int, ...] = (25, 100)
    """Samples (t, eps) per scene, shared by the prompts."""
    high: tuple[float, float] = (0.4, 0.8)
    """The band of times that is tried alone."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, high=interval, grammars=partial(whole, high=10**6),
            data=partial(whole, high=10**8), areas=partial(listed, rule=count, distinct=False),
            budgets=partial(listed, rule=count, distinct=False), seed=natural,
        )  # fmt: skip
        least = {"grammars": 2, "data": 2, "v": 3, "seed": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {lowest}")
        if not self.tau > 0:
            raise InvalidParameter(
                f"tau = {self.tau} must be > 0; one sample decides between hard leaves"
            )
        positive("tau", self.tau)
        if not self.areas or min(self.areas) < 1:
            raise InvalidParameter(f"areas = {self.areas} must be integers >= 1")
        sizes = self.budgets
        if not sizes or min(sizes) < 1 or list(sizes) != sorted(set(sizes)):
            raise InvalidParameter(f"budgets = {sizes} must be increasing numbers >= 1")
        band(*self.high)  # raises for an empty band
        rhm = RHM(self.v, self.m, self.s, self.L)
        affordable(rhm, self.data)
        # scenes repeat the leaves of a colour, and scores of all prompts are kept
        leaves = min(rhm.n_leaves, 1 << 60)
        memory(f"areas up to {max(self.areas)} of {leaves} leaves",
               8.0 * min(max(self.areas), 1 << 900) * leaves * self.v)  # fmt: skip
        memory(f"budgets up to {sizes[-1]} samples", 8.0 * min(sizes[-1], 1 << 900) * self.data)

    @property
    def weights(self) -> dict[str, Callable[[Floats], Floats]]:
        """The weights of the error of x0 by name."""
        return {**{name: weighting(name) for name in _NAMED}, HIGH: band(*self.high)}

    @results.tracked
    @checked
    def predict(self, law: str = "bayes") -> xr.Dataset:
        """The prediction of a law for the scenes of :meth:`measure`, in the same labels.

        Parameters
        ----------
        law : {"bayes", "bag"}
            Exact likelihoods of the prompts, or one half for a bag of attributes.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (area, task, weighting, budget), the same for all weights and budgets.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: "bayes" is the ceiling of every scorer with equal odds of both prompts.  "bag" is
        exact for pairs at any area, because both prompts name the same attributes, and by symmetry
        for single objects of equal area; the control does not ask for binding and is left NaN.
        """
        if law not in ("bayes", "bag"):
            raise InvalidParameter(f"law = {law!r} is not known; use bayes or bag")
        shape = (self.grammars, len(self.areas), len(TASKS))
        values = np.full(shape, 0.5)
        values[..., list(TASKS).index("control")] = np.nan
        if law == "bayes":
            for g in range(self.grammars):
                for i, area in enumerate(self.areas):
                    scenes, x0, owners = _scenes(self, g, area)
                    values[g, i] = _exact(scenes, x0, owners).mean(axis=1)
        full = (*shape, len(self.weights), len(self.budgets))
        return self._label({"accuracy": np.broadcast_to(values[..., None, None], full)},
                           "theory", law)  # fmt: skip

    @results.tracked
    @checked
    def measure(
        self,
        model: Any = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Choose between true and false prompts by exact denoisers, and by a bag of attributes.

        Parameters
        ----------
        model, data : None
            The scenes are the experiment's own.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (area, task, weighting, budget); ``bayes`` and ``bag`` (area, task).

        Raises
        ------
        InvalidParameter
            If a model or data are given.
        """
        if model is not None or data is not None:
            raise InvalidParameter(
                "binding needs scenes with known attributes and takes no model or data; use"
                " Classification for those"
            )
        fields = {k: v for k, v in asdict(self).items() if k != "grammars"}
        key = {"version": 1, "question": "binding", **fields}
        one = replace(self, grammars=2)  # a task does not depend on how many there are
        tasks = [Task(_grammars, (one, g), {**key, "grammar": g}) for g in range(self.grammars)]
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="binding")
        stacked = {name: np.stack([f[name] for f in found]) for name in found[0]}
        return self._label(stacked, "simulation", "")

    def datasets(self, run: Run, model: Any = None, data: Any = None) -> dict[str, xr.Dataset]:
        """The measurement; Bayes' ceiling and the bag of attributes are in it."""
        return {"attribute_binding": self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Accuracy of every task, one panel per area."""
        return binding_figure(datasets["attribute_binding"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Accuracy of every area, task and weight at the largest budget."""
        measured = datasets["attribute_binding"]
        values, most = _values(measured), str(measured.budget.values[-1])
        return Summary(_table(values, most), _claim(values, most), values)

    def _label(self, found: dict[str, Array], source: str, law: str) -> xr.Dataset:
        texts = {
            "accuracy": "how often the true prompt wins",
            "bayes": "how often the true prompt is likelier",
            "bag": "how often a bag of attributes prefers the true prompt",
        }
        variables: dict[str, Any] = {}
        for name, values in found.items():
            dims = ("area", "task", "weighting", "budget")[: values.ndim - 1]
            mean = values.mean(axis=0)
            # what a law does not state is NaN in all grammars, and so has no error either
            error = standard_error(np.nan_to_num(values)) + 0 * mean
            variables[name] = (dims, mean, texts[name])
            variables[f"{name}_error"] = (dims, error, f"standard error of: {texts[name]}")
            variables[f"{name}_by_grammar"] = (("grammar", *dims), values, texts[name])
        coords = {
            "area": (("area",), list(self.areas), "area of the second object's colour"),
            "task": (("task",), list(TASKS), "object asked about, attribute exchanged"),
            "weighting": (("weighting",), list(self.weights), "weight of the error of x0"),
            "budget": (("budget",), list(self.budgets), "samples N, shared"),
        }
        attributes = {**results.provenance(asdict(self)), **({"law": law} if law else {})}
        return results.label(variables, coords, source, attributes)


def _scenes(e: AttributeBinding, g: int, area: int) -> tuple[TwoObjectScenes, Floats, Array]:
    rhm = RHM(e.v, e.m, e.s, e.L)
    scenes = TwoObjectScenes(
        rhm.draw(stream(e.seed, "shapes", g)), rhm.draw(stream(e.seed, "colours", g)), e.tau, area
    )
    return scenes, *scenes.sample(e.data, stream(e.seed, "scenes", g, area))


def _exact(scenes: TwoObjectScenes, x0: Floats, owners: Array) -> Floats:
    """Accuracy [task, n] of the exact likelihoods."""
    names = list(PROMPTS)
    log_p = scenes.log_density(x0, owners, tuple(PROMPTS.values()))
    zero = np.zeros(len(x0), np.intp)
    return np.stack([
        tie_split_accuracy(-log_p[:, [names.index(a), names.index(b)]], zero)
        for a, b in TASKS.values()
    ])  # fmt: skip


def _bag(scenes: TwoObjectScenes, x0: Floats, owners: Array) -> Floats:
    """Accuracy [task, n] of a scorer that only knows which attributes are present."""
    present = scenes.bag_scores(x0)
    rows, zero = np.arange(len(x0)), np.zeros(len(x0), np.intp)

    def score(name: str) -> Floats:
        first = PROMPTS[name][0]
        named = [present[b % 2][rows, owners[:, b % 2, c]] for b, c in enumerate(first) if c < 3]
        # summed in one order, so that prompts that name the same attributes tie exactly
        return np.asarray(np.sort(np.stack(named), axis=0).sum(axis=0))

    return np.stack([
        tie_split_accuracy(-np.stack([score(a), score(b)], axis=1), zero) for a, b in TASKS.values()
    ])  # fmt: skip


def _grammars(e: AttributeBinding, g: int) -> dict[str, Array]:
    """All tasks on one pair of grammars."""
    names, most = list(PROMPTS), e.budgets[-1]
    accuracy = np.empty((len(e.areas), len(TASKS), len(e.weights), len(e.budgets)))
    bayes, bag = np.empty((2, len(e.areas), len(TASKS)))
    for i, area in enumerate(e.areas):
        scenes, x0, owners = _scenes(e, g, area)
        bayes[i] = _exact(scenes, x0, owners).mean(axis=1)
        bag[i] = _bag(scenes, x0, owners).mean(axis=1)
        pool = _pool(scenes, x0, owners, most, stream(e.seed, "pool", g, area))
        for j, (true, false) in enumerate(TASKS.values()):
            part = ErrorPool(pool.t, pool.errors[..., [names.index(true), names.index(false)]])
            for k, weight in enumerate(e.weights.values()):
                scores = prefix_scores(part, weight, e.budgets)
                right = tie_split_accuracy(scores, np.zeros(e.data, np.intp))
                accuracy[i, j, k] = right.mean(axis=1)
    return {"accuracy": accuracy, "bayes": bayes, "bag": bag}


def _pool(
    scenes: TwoObjectScenes, x0: Floats, owners: Array, samples: int, rng: np.random.Generator
) -> ErrorPool:
    """Errors of all prompts, noise shared."""
    n, prompts = len(x0), tuple(PROMPTS.values())
    t = 1 - rng.random((n, samples))
    out = np.empty((n, samples, len(prompts)))
    step = max(1, (1 << 18) // (samples * x0[0].size))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        data = np.repeat(x0[rows], samples, axis=0)
        named = np.repeat(owners[rows], samples, axis=0)
        noise = rng.standard_normal(data.shape, dtype=np.float32)
        found = scenes.prompt_errors(
            data, named, noise, snr_at(t[rows].ravel()), prompts, dtype=np.float32
        )  # fmt: skip
        out[rows] = found.reshape(-1, samples, len(prompts))
    return ErrorPool(t, out)


@checked
def binding_figure(measured: xr.Dataset) -> Figure:
    """Accuracy of true against false prompts, one panel per area of the second object's colour.

    Parameters
    ----------
    measured : xarray.Dataset
        From ``AttributeBinding.measure``.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If the dataset lacks what is drawn.
    """
    plane = ("area", "task")
    wanted = {
        **with_errors("accuracy", dims=(*plane, "weighting", "budget")),
        **with_errors("bag", dims=plane),
        "bayes": plane,
    }
    needs(sources(measured)[-1], wanted, "AttributeBinding.measure")
    areas = measured.area.values
    fig, axes = plt.subplots(
        1, len(areas), figsize=(5.4 * len(areas), 3.6), layout="constrained", squeeze=False,
        sharey=True,
    )  # fmt: skip
    place = np.arange(measured.sizes["task"])
    for ax, area in zip(axes[0], areas, strict=True):
        one = measured.sel(area=area).isel(budget=-1)
        names = list(map(str, measured.weighting.values))
        for i, name in enumerate(names):
            shift = 0.1 * (i - (len(names) - 1) / 2)
            here = one.sel(weighting=name)
            ax.errorbar(place + shift, here.accuracy, here.accuracy_error,
                        color=WEIGHT_COLOURS.get(name, GREY),
                        label=WEIGHT_LABELS.get(name, name), **style("simulation"))  # fmt: skip
        ax.errorbar(place, one.bayes, fmt="_", color="0.3", ms=24)
        ax.plot([], [], "_", color="0.3", ms=9, label="Bayes")
        ax.errorbar(place, one.bag, one.bag_error, fmt="x", color="0.3", ms=5,
                    label="bag of attributes")  # fmt: skip
        ax.axhline(0.5, **GUIDE)
        ax.set_xticks(place, [str(t).replace(": ", ",\n") for t in measured.task.values],
                      fontsize=8)  # fmt: skip
        size = "equal areas" if area == 1 else f"second object's colour {area} times as large"
        panel(ax, chr(97 + list(areas).index(area)), size)
        ax.set(ylim=(0, 1.02))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel(f"true prompt wins, N = {int(measured.budget[-1])}")
    shared_legend(fig, axes[0, 0])
    return fig


def _values(measured: xr.Dataset) -> dict[str, Any]:
    """The numbers by area, task, weight and budget: mean, error, and range over grammars."""

    def cell(name: str, **at: object) -> list[float]:
        here = measured.sel(at)
        spread = here[f"{name}_by_grammar"]
        return [float(here[name]), float(here[f"{name}_error"]), float(spread.min()),
                float(spread.max())]  # fmt: skip

    return {
        str(int(area)): {
            str(task): {
                "bayes": cell("bayes", area=area, task=task),
                "bag": cell("bag", area=area, task=task),
                **{
                    str(w): {
                        str(n): cell("accuracy", area=area, task=task, weighting=w, budget=n)
                        for n in measured.budget.values
                    }
                    for w in measured.weighting.values
                },
            }
            for task in measured.task.values
        }
        for area in measured.area.values
    }


def _table(found: Mapping[str, Any], most: str) -> str:
    """A row per area and task, a column per scorer, at the largest budget."""
    first = next(iter(next(iter(found.values())).values()))
    names = [name for name in first if name not in ("bayes", "bag")]
    heads = [*names, "Bayes", "bag"]
    rows = []
    for area, tasks in found.items():
        for task, row in tasks.items():
            cells = [*(row[name][most] for name in names), row["bayes"], row["bag"]]
            rows.append([area, task, *(plus_minus(x, error) for x, error, *_ in cells)])
    return text_table(["area", "task", *heads], rows, keys=2)


def _claim(found: Mapping[str, Any], most: str) -> str:
    """Pairs bind; the colour of a larger object is preferred at high noise."""
    areas = list(found)
    pair, small = found[areas[0]]["pair"], found[areas[-1]]["first: colour"]
    (bound, error, *_), (x, spread, *_) = pair["exp"][most], small[HIGH][most]
    z = f", z = {(x - 0.5) / spread:.1f} against chance" if spread > 0 else ""
    return (
        f"at N = {most} with weight exp(-7t) the true pair wins with {bound:.3f} ± {error:.3f} "
        f"(bag of attributes {pair['bag'][0]:.3f}), and at high noise the colour of the object "
        f"with 1/{areas[-1]} of the area with {x:.3f} ± {spread:.3f}{z}"
    )
