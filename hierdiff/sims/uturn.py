r"""U-turns: the probability that the class changes, and the noise level at which it is decided.

A datum is noised to level t, and the reverse process leads back to data.

* The class changes with probability :math:`1 - E \sum_c p(c \mid x_t)^2`: counted from exact
  posterior samples, and computed from beliefs.
* Along a reverse trajectory the committor, the probability of ending in class c, is
  :math:`p(c \mid x_t)`.  The forward path of a datum, run backwards, is a reverse trajectory
  without step errors.  The committor is a martingale, :math:`E[p_s(c) \mid x_t] = p_t(c)` for
  s < t.
* The speciation time of a trajectory is the last noise level, on the way down, at which the class
  at its end has less than one half.
* A reverse chain of finitely many steps unmasks several leaves at once and ends outside the
  language with a probability that falls as one over the number of steps.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, MaskingNoise, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, count, listed, natural, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import masks
from hierdiff.plots import BLUE, PALETTE, Axes, Figure, legend, panel, plain_log, plt, shade
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import falls_through, mean_and_error
from hierdiff.sims.metrics.forward_backward import (
    exact_run,
    forward_backward,
    overlap,
    start_data,
)
from hierdiff.sims.models.finite_steps import ConvergenceOrder, SimulatedModel, convergence_order
from hierdiff.sims.phase_transition import PhaseTransition, samples_of
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory import ExactRHM, critical_level

__all__ = ["UTurn"]

Array = NDArray[Any]
_CHANGED = "probability that the class changes"
_BLOCK = 64  # data of a given model per task: what an interruption can lose


def one_grammar(rhm: RHM, times: Array, data: int, seed: int, g: int) -> dict[str, Array]:
    """The paths of a drawn grammar and of data drawn from it."""
    grammar = rhm.draw(stream(seed, "grammar", g))
    truth = grammar.sample(data, stream(seed, "data", g))
    return paths(ExactRHM(grammar, MaskingNoise(rhm.v), threads=1), truth, times, seed, g)


def paths(
    model: ExactRHM, truth: Derivations, times: Array, seed: int, g: int
) -> dict[str, Array]:  # fmt: skip
    """Committor [datum, t, class] along exact reverse trajectories, classes, and new classes."""
    # one set of random numbers at all noise levels: the path of a forward process
    randoms = model.noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    committor, new = [], []
    for k, t in enumerate(times):
        backward = stream(seed, "backward", g, k)
        run = exact_run(model, truth, float(t), randoms, backward, ("samples", "classes"))
        assert run.latents is not None
        committor.append(run.classes)
        new.append(run.latents[0][:, 0])
    return {
        "committor": np.stack(cast(list[Array], committor), axis=1),
        "truth": truth.levels[0][:, 0],
        "new": np.stack(new, axis=1),
    }


def one_chain(
    rhm: RHM, t: float, steps: tuple[int, ...], data: int, seed: int, g: int
) -> dict[str, Array]:
    """Whether a chain of so many steps from noise level t ends outside the language."""
    grammar, noise = rhm.draw(stream(seed, "grammar", g)), MaskingNoise(rhm.v)
    truth = grammar.sample(data, stream(seed, "data", g))
    randoms = noise.draw(truth.leaves.shape, stream(seed, "chain", g))
    model, broken = ExactRHM(grammar, noise, threads=1), []
    for n in steps:
        chain, own = SimulatedModel(model, n), stream(seed, "steps", g, n)
        leaves = forward_backward(chain, truth.leaves, t, own, randoms=randoms).x_0
        broken.append(~grammar.is_valid(leaves))
    return {"broken": np.stack(broken, axis=1)}


@dataclass(frozen=True)
class UTurn:
    """The class after a U-turn, and the noise level at which it is decided; masking noise.

    Notes
    -----
    Validity: beliefs are exact; errors are over grammars.  Of a single model, under its own noise
    process, errors are over its data, and the committor is that of exact inference alone.

    Examples
    --------
    >>> small = UTurn(v=4, m=2, depths=(2,), grammars=2, data=4, levels=5, num_steps=(2, 4, 8))
    >>> law = small.predict(size=200)
    >>> float(law.changed.sel(L=2, t=0)), law.changed.dims
    (0.0, ('L', 't'))
    """

    name: ClassVar[str] = "uturn"
    _repr_html_ = experiment_html
    renamed: ClassVar[Mapping[str, str]] = {"steps": "num_steps"}

    v: int = 32
    """Symbols per level."""
    m: int = 8
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    depths: tuple[int, ...] = (4, 6, 8, 10)
    """Depths L, increasing."""
    grammars: int = 24
    """Random grammars."""
    data: int = 24
    """Data per grammar."""
    levels: int = 41
    """Noise levels between 0 and 1."""
    num_steps: tuple[int, ...] = (32, 64, 128, 256)
    """Steps of the finite reverse chains."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            depths=partial(listed, rule=count, rising=True),
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=2, high=10**8),
            levels=partial(whole, low=5, high=10**5),
            num_steps=partial(listed, rule=partial(whole, low=1, high=10**6), least=3, rising=True),
            seed=natural,
        )
        for depth in self.depths:
            affordable(RHM(self.v, self.m, self.s, depth), self.data)

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["density evolution"] = "density evolution",
        *,
        size: int = 4000,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Probability that the class changes, by density evolution.

        On average over data the sum of squared beliefs is the belief in the truth, so the class
        changes with one minus the latter.
        """
        one_of("law", law, ("density evolution",))
        found = [
            PhaseTransition(v=self.v, m=self.m, s=self.s, L=L, noise="masking", seed=self.seed)
            .predict(t=np.linspace(0, 1, self.levels), size=size, folder=folder, workers=workers,
                     cluster=cluster)
            for L in self.depths
        ]  # fmt: skip
        plane = ("L", "t")
        variables = {
            "changed": (plane, np.stack([1 - x.belief.values[0] for x in found]), _CHANGED),
            "changed_error": (plane, np.stack([x.belief_error.values[0] for x in found]),
                              "its standard error"),
        }  # fmt: skip
        return results.label(variables, self._axes(), "theory", results.provenance(asdict(self)))

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 1, self.levels)

    def _axes(
        self, noise: str = "masking", depths: tuple[int, ...] | None = None
    ) -> dict[str, Any]:  # fmt: skip
        """Coordinates of depth and noise level."""
        return {
            "L": (("L",), list(self.depths if depths is None else depths), "depth"),
            "t": (("t",), self.times, f"noise level t of the {noise} process"),
        }

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
        """Class change, committors, speciation times, and the error of finite chains.

        Parameters
        ----------
        model : DiffusionModel, optional
            Any model, with one depth; default exact inference on drawn grammars of all depths.
        data : optional
            As :func:`hierdiff.sims.metrics.forward_backward.start_data` takes them; default data of
            the model's own grammar.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``changed`` (L, t), and ``valid`` (L, t), the share of samples in the language, where
            the samples of a model are read.  Of exact inference also ``law`` and ``difference``,
            and under masking noise, whose random numbers at all levels make one trajectory,
            ``martingale``, ``planted``, ``speciation`` and ``paths``; without a model ``broken``
            (steps) and ``critical``.

        Raises
        ------
        InvalidParameter
            If the latents of the model's samples cannot be read.

        Notes
        -----
        Validity: that of the model.  The depth L of data with classes alone is 0.
        """
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        if model is not None:
            return self._of_model(model, data, options)
        if data is not None:
            raise InvalidParameter("data were given without the model they belong to; give both")
        models = [RHM(self.v, self.m, self.s, L) for L in self.depths]
        times = self.times
        tasks = [
            Task(one_grammar, (rhm, times, self.data, self.seed, g), self._parameters(rhm, g))
            for rhm in models
            for g in range(self.grammars)
        ]
        shallow = RHM(self.v, self.m, self.s, min(self.depths[-1], 6))
        here = critical_level(shallow, MaskingNoise(self.v), size=2000, copies=4)
        place = round(here.value, 3)
        chains = [
            Task(
                one_chain, (shallow, place, self.num_steps, self.data, self.seed, g),
                {**self._parameters(shallow, g), "chain": list(self.num_steps), "place": place},
            )
            for g in range(self.grammars)
        ]  # fmt: skip
        found = run_tasks([*tasks, *chains], name="U-turns", **options)
        q = np.stack([x["committor"] for x in found[: len(tasks)]])
        q = q.reshape(len(models), self.grammars * self.data, self.levels, self.v)
        truth, new = (
            np.stack([x[k] for x in found[: len(tasks)]]).reshape(q.shape[: 2 + (k == "new")])
            for k in ("truth", "new")
        )
        broken = np.concatenate([x["broken"] for x in found[len(tasks) :]])
        axis = (("steps",), list(self.num_steps), "steps of the chain")
        variables = {
            **self._summarise(q, truth, new, self.grammars),
            **_pair("broken", broken, ("steps",), "fraction of strings outside the language",
                    self.grammars),
            "critical": ((), here.value, "threshold of density evolution"),
            "critical_error": ((), here.error, "its standard error"),
        }  # fmt: skip
        coords = {**self._axes(), "steps": axis}
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def _of_model(self, model: DiffusionModel, data: Any, options: dict[str, Any]) -> xr.Dataset:
        """The same of a single model: from its beliefs if it is exact, else from its samples."""
        start = start_data(model, data, self.data, self.seed)
        n = len(start)
        if n < 2:
            raise InvalidParameter(f"data = {n} give no error bar; use at least 2")
        if isinstance(model, ExactRHM) and start.grammar is model.grammar:
            truth, tasks = Derivations(start.latents), []
            for g, first in enumerate(range(0, n, _BLOCK)):
                block = truth[first : first + _BLOCK]
                words = {"version": 1, "question": "uturn of a model", "block": g}
                tasks.append(Task(paths, (model, block, self.times, self.seed, g), words))
            found = run_tasks(tasks, name="U-turns", **options)
            q, old, new = (
                np.concatenate([x[k] for x in found])[None] for k in ("committor", "truth", "new")
            )
            variables = self._summarise(q, old, new, n)
            if not masks(model.noise):
                # of other processes the same random numbers at all levels make no Markov chain,
                # and no reverse trajectory
                of_a_turn = ("changed", "law", "difference")
                variables = {
                    k: x for k, x in variables.items() if k.removesuffix("_error") in of_a_turn
                }
        else:
            made = samples_of(model, start, self.times, self.seed, name="U-turns", **options)
            turns = [overlap(start, samples) for samples in made]
            changed = 1 - np.stack([x.share[:, 0] for x in turns], axis=1)[None]
            variables = _pair("changed", changed, ("L", "t"), _CHANGED, n)
            if start.grammar is not None:
                valid = np.stack([x.valid for x in turns], axis=1)[None]
                variables |= _pair("valid", valid, ("L", "t"), "share of samples in the language",
                                   n)  # fmt: skip
            for name in ("changed_error", "valid_error"):
                if name in variables:  # that of samples that are all alike is below one in n
                    dims, error, text = variables[name]
                    variables[name] = (dims, np.maximum(error, 1 / n), text)
        fields = {
            k: x for k, x in asdict(self).items() if k in ("data", "levels", "seed")
        } | {"model": type(model).__name__, "process": repr(model.noise)}  # fmt: skip
        source = "network" if model.source == "network" else "simulation"
        axes = self._axes(model.noise.name, (len(start.latents) - 1,))
        return results.label(variables, axes, source, results.provenance(fields))

    def _parameters(self, rhm: RHM, g: int) -> dict[str, Any]:
        return {
            "version": 1, "question": "uturn", "v": rhm.v, "m": rhm.m, "s": rhm.s, "L": rhm.L,
            "levels": self.levels, "data": self.data, "seed": self.seed, "grammar": g,
        }  # fmt: skip

    def _summarise(self, q: Array, truth: Array, new: Array, units: int) -> dict[str, Any]:
        """Variables of committors [L, datum, t, class], classes and new ones."""
        own = np.take_along_axis(q, truth[:, :, None, None], axis=3)[..., 0]
        changed = new != truth[:, :, None]
        law = 1 - (q**2).sum(axis=3)
        late, early = q[:, :, :-1], q[:, :, 1:]  # late in the reverse process: less noise
        martingale = (early * (late - early)).sum(axis=3)
        planted = (late * (late - early)).sum(axis=3)
        decided = np.array([_speciation(self.times, x) for x in own])
        pair, plane, middle = partial(_pair, units=units), ("L", "t"), ("L", "interval")
        return {
            **pair("changed", changed, plane, _CHANGED),
            **pair("law", law, plane, "1 - E sum p^2"),
            **pair("difference", changed - law, plane, "counted less computed"),
            **pair("martingale", martingale, middle, "mean of p_t (p_s - p_t)"),
            **pair("planted", planted, middle, "mean of p_s (p_s - p_t): no martingale"),
            **pair("speciation", decided, ("L",), "noise level at which the class is decided"),
            "speciation_spread": (("L",), decided.std(axis=1, ddof=1), "spread of trajectories"),
            "paths": (("path", "t"), own[-1, :24], "committor of the final class, greatest depth"),
        }

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement."""
        return {self.name: self.measure(model, data, **run.tasks(self.name))}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Class change, committors, speciation times, finite chains."""
        return draw(datasets[self.name])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Speciation times per depth, and the error of finite chains."""
        ds = datasets[self.name]
        return Summary(table(ds), claim(ds), digest(ds))


def _pair(
    name: str, values: Array, dims: tuple[str, ...], text: str, units: int
) -> dict[str, Any]:  # fmt: skip
    """Mean and error over grammars, or data, of values whose data lie behind their depth."""
    moved = np.moveaxis(values, 1 if "L" in dims else 0, 0)
    by_unit = moved.reshape(units, -1, *moved.shape[1:]).mean(axis=1)
    mean, error = mean_and_error(by_unit)
    return {name: (dims, mean, text), f"{name}_error": (dims, error, "its standard error")}


def _speciation(times: Array, own: Array) -> Array:
    """Lowest noise level at which the final class has less than one half, [path]."""
    below = own < 0.5
    first = np.where(below.any(axis=1), below.argmax(axis=1), own.shape[1] - 1)
    rows = np.arange(len(own))
    low, high = own[rows, np.maximum(first - 1, 0)], own[rows, first]
    share = np.where(low > high, (low - 0.5) / np.where(low > high, low - high, 1), 0.0)
    step = times[1] - times[0]
    return np.asarray(times[np.maximum(first - 1, 0)] + step * np.clip(share, 0, 1))


def scores(ds: xr.Dataset, name: str) -> Array:
    """Mean over error where there is an error."""
    x, error = ds[name].values, ds[f"{name}_error"].values
    return np.asarray(x[error > 1e-9] / error[error > 1e-9])


def order(ds: xr.Dataset) -> ConvergenceOrder:
    """Power of one over the steps with which the finite chain converges."""
    return convergence_order(ds.steps.values, ds.broken.values, ds.broken_error.values)


def table(ds: xr.Dataset) -> str:
    """A row per depth and one per number of steps, or one per noise level of samples."""
    if "speciation" not in ds:
        rows: list[list[object]]
        rows = [[f"{float(x.t):.3f}", plus_minus(x.changed, x.changed_error, digits=4)]
                for x in (ds.isel(L=0, t=k) for k in range(ds.sizes["t"]))]  # fmt: skip
        parts = [text_table(["t", "class changes"], rows)]
        if "difference" in ds:
            z = np.abs(scores(ds, "difference")).max()
            parts.append(f"largest |z|, counted less computed: {z:.1f}")
        return "\n\n".join(parts)
    rows = [[int(x.L), plus_minus(x.speciation, x.speciation_error, digits=4),
             f"{float(x.speciation_spread):.4f}"]
            for x in (ds.sel(L=L) for L in ds.L.values)]  # fmt: skip
    parts = [text_table(["L", "class decided at t", "spread"], rows)]
    if "broken" in ds:
        rows = [[int(x.steps), plus_minus(x.broken, x.broken_error, digits=4)]
                for x in (ds.sel(steps=n) for n in ds.steps.values)]  # fmt: skip
        parts.append(text_table(["steps", "outside the language"], rows))
        fit = order(ds)
        facts = [["order of convergence in 1 / steps", plus_minus(fit.order, fit.error, digits=2)]]
    else:
        facts = []
    z = {n: np.abs(scores(ds, n)).max() for n in ("difference", "martingale")}
    facts += [["largest |z|, counted less computed", f"{z['difference']:.1f}"],
              ["largest |z|, martingale", f"{z['martingale']:.1f}"]]  # fmt: skip
    return "\n\n".join([*parts, text_table([], facts)])


def digest(ds: xr.Dataset) -> dict[str, Any]:
    """Largest z-scores, convergence order and speciation times, of what was measured."""
    found: dict[str, Any] = {}
    if "speciation" not in ds:
        words = ("changed", "changed_error")
        return {"t": ds.t.values.tolist(), **{k: ds[k].isel(L=0).values.tolist() for k in words}}
    z = {n: scores(ds, n) for n in ("difference", "martingale", "planted")}
    found["largest z"] = {n: float(np.abs(x).max()) for n, x in z.items()}
    found["comparisons"] = {n: len(x) for n, x in z.items()}
    if "broken" in ds:
        found["order"] = list(order(ds))
    found["speciation"] = [
        [int(L), *(float(ds[n].sel(L=L)) for n in ("speciation", "speciation_error",
                                                   "speciation_spread"))]
        for L in ds.L.values
    ]  # fmt: skip
    if "critical" in ds:
        found["critical"] = [float(ds.critical), float(ds.critical_error)]
    return found


def claim(ds: xr.Dataset) -> str:
    """Where the class is decided, and how narrow that range is."""
    first, last = ds.isel(L=0), ds.isel(L=-1)
    if "speciation" not in ds:
        place = falls_through(ds.t.values, 1 - last.changed.values)
        if np.isnan(place):
            return "class changes with a probability that does not cross 1/2"
        return f"class changes with probability 1/2 at t = {place:.4f} (L = {int(last.L)})"
    text = f"class decided at t = {float(last.speciation):.4f} ± {float(last.speciation_error):.4f}"
    text += f" at L = {int(last.L)}"
    if "critical" in ds:
        text += f" (theory {float(ds.critical):.4f} ± {float(ds.critical_error):.4f})"
    text += ", with a spread over trajectories of "
    if len(ds.L) > 1:
        text += f"{float(first.speciation_spread):.3f} at L = {int(first.L)} and "
    return text + f"{float(last.speciation_spread):.3f} at L = {int(last.L)}"


def draw(ds: xr.Dataset) -> Figure:
    """Class change, and what was measured of committors, speciation times, finite chains."""
    parts = [(_draw_changes, r"change of the class; lines: $1 - E\sum p^2$")]
    if "speciation" in ds:
        parts += [(_draw_paths, "committors of single paths"), (_draw_times, "speciation times")]
    parts += [(_draw_chains, "chains of finitely many steps")] if "broken" in ds else []
    figure, axes = plt.subplots(
        1, len(parts), figsize=(1 + 3 * len(parts), 3.3), layout="constrained", squeeze=False
    )
    for k, (ax, (draw_panel, words)) in enumerate(zip(axes[0], parts, strict=True)):
        draw_panel(ax, ds)
        panel(ax, chr(97 + k), words)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_changes(ax: Axes, ds: xr.Dataset) -> None:
    for L in ds.L.values:
        x, colour = ds.sel(L=L), shade((L - ds.L.values[0]) / max(float(np.ptp(ds.L.values)), 1))
        if "law" in ds:
            ax.plot(ds.t, x.law, color=colour, lw=1)
        ax.errorbar(ds.t, x.changed, x.changed_error, color=colour, fmt="o", ms=2.5, lw=0.8,
                    label=f"L = {L}")  # fmt: skip
    ax.set(xlabel="noise level t of the turn", ylabel="probability that the class changes")
    legend(ax)


def _draw_paths(ax: Axes, ds: xr.Dataset) -> None:
    for path, colour in zip(ds.paths.values, itertools.cycle(PALETTE), strict=False):
        ax.plot(ds.t, path, lw=0.8, color=colour)
    widest = min(1.0, 1.5 * float((ds.speciation + ds.speciation_spread).max()))
    ax.set(xlabel="noise level t, falling to the right", xlim=(widest, 0.0),
           ylabel=f"committor of the final class, L = {int(ds.L[-1])}")  # fmt: skip


def _draw_times(ax: Axes, ds: xr.Dataset) -> None:
    ax.errorbar(ds.L, ds.speciation, ds.speciation_spread, color="0.55", fmt="none", capsize=3,
                label="spread of trajectories")  # fmt: skip
    ax.errorbar(ds.L, ds.speciation, ds.speciation_error, fmt="o", ms=4, color=BLUE, label="mean")
    if "critical" in ds:
        ax.axhline(float(ds.critical), color="k", lw=1, label="density evolution")
    ax.set(xlabel="depth L", ylabel="noise level at which the class is decided",
           xticks=ds.L.values)  # fmt: skip
    legend(ax)


def _draw_chains(ax: Axes, ds: xr.Dataset) -> None:
    ax.errorbar(ds.steps, ds.broken, ds.broken_error, fmt="o", ms=4, color=BLUE)
    fit = order(ds)
    mid = float(np.exp(np.log(ds.broken).mean() + fit.order * np.log(ds.steps).mean()))
    ax.plot(ds.steps, mid * ds.steps.values.astype(float) ** -fit.order, "k-", lw=1,
            label=f"order {fit.order:.2f} ± {fit.error:.2f}")  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="steps of the chain",
           ylabel="strings outside the language")  # fmt: skip
    plain_log(ax.xaxis, ax.yaxis)
    legend(ax)
