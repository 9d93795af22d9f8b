"""Correlations: which leaves change together when data are noised and denoised?

Draw a datum, corrupt it to noise level t and denoise it, many times over.  Leaves that change
together, or stay unchanged together, have been decided by a common ancestor; the distance up to
which they do shows which level of the hierarchy is in doubt.  Estimators:
:mod:`hierdiff.sims.metrics.fluctuations`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, instance, levels_of, symbols_of
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, is_channel, noise_name, noise_process
from hierdiff.plots import BLUE, Figure, legend, level_colours, needs, panels, plt, style
from hierdiff.seeds import stream
from hierdiff.sims.metrics.fluctuations import distance_means, fluctuations, ratio
from hierdiff.sims.metrics.forward_backward import one_at_a_time
from hierdiff.sims.phase_transition import between
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.dynamical_correlations import leaf_correlation, susceptibility

__all__ = ["Correlations"]

Array = NDArray[Any]

_TEXT = {
    "covariance": "covariance of two leaves' changes",
    "correlation": "covariance relative to the variance",
    "susceptibility": "leaves that change together",
    "unchanged": "probability that a leaf is unchanged",
}


@dataclass(frozen=True)
class Correlations:
    """Covariance of the leaves' changes against tree distance, and the susceptibility.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: posterior sampling is exact; errors are statistical only, from the scatter of the
    grammars (of the data, if a single model is measured).

    References
    ----------
    arXiv 2410.13770.

    Examples
    --------
    >>> experiment = Correlations(
    ...     v=8, m=2, L=3, noise="masking", grammars=3, data=2, trajectories=8, levels=4)
    >>> ds = experiment.measure()
    >>> dict(ds.covariance.sizes), bool((ds.susceptibility[1:] > 0).all())
    ({'distance': 4, 't': 4}, True)
    """

    v: int = 32
    """Symbols per level."""
    m: int = 8
    """Rules (synonyms) per symbol."""
    s: int = 2
    """Branching of the tree, at least 2."""
    L: int = 9
    """Levels of rules; a datum has s**L leaves."""
    noise: str = "epsilon"
    """Forward process: epsilon, masking, uniform, gaussian, or a registered name; only epsilon is
    predicted by the two-state chain."""
    grammars: int = 12
    """Random grammars: the unit that errors are counted in."""
    data: int = 6
    """Data per grammar."""
    trajectories: int = 32
    """Noised and denoised copies of each datum; the covariance is taken over them."""
    low: float = 0.0
    """Lowest noise level."""
    high: float = 1.0
    """Highest noise level."""
    levels: int = 21
    """Noise levels from low to high, evenly spaced."""
    seed: int = 0
    """Seed of everything random."""

    name: ClassVar[str] = "correlations"
    _repr_html_ = experiment_html

    def __post_init__(self) -> None:
        check_fields(self, noise=noise_name)
        least = {"s": 2, "grammars": 1, "data": 1, "trajectories": 2, "levels": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {bound}")
        if not 0 <= self.low <= self.high <= 1:
            raise InvalidParameter(
                f"low = {self.low} and high = {self.high} must satisfy 0 <= low <= high <= 1"
            )
        if self.seed < 0:
            raise InvalidParameter(f"seed = {self.seed} must not be negative")
        noise_process(self.noise, self.rhm.v)

    @property
    def rhm(self) -> RHM:
        """The Random Hierarchy Model of these parameters."""
        return RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    @property
    def times(self) -> Array:
        """Noise levels that are measured."""
        return np.linspace(self.low, self.high, self.levels)

    @results.tracked
    @checked
    def predict(self, law: str = "chain", t: Array | None = None) -> xr.Dataset:
        """What the two-state chain says, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"chain"}
            The annealed two-state chain; for the epsilon-process only.
        t : array, optional
            Noise levels; default a fine grid from low to high.

        Returns
        -------
        xarray.Dataset
            ``covariance`` and ``correlation`` on (distance, t), ``susceptibility`` on (t,).

        Raises
        ------
        InvalidParameter
            If the law is unknown, or is not a law of this noise process.

        Notes
        -----
        Validity: that of :func:`hierdiff.theory.leaf_correlation`.
        """
        if law != "chain":
            raise InvalidParameter(f"law = {law!r} is not known; use 'chain'")
        if is_channel(self.process):
            raise InvalidParameter(
                f"the chain is no prediction for {self.noise} noise, whose messages fluctuate; "
                "measure it, or predict noise='epsilon'"
            )
        times = np.linspace(self.low, self.high, 401) if t is None else np.atleast_1d(levels_of(t))
        covariance = leaf_correlation(self.rhm, times).T
        with np.errstate(invalid="ignore"):
            values = {"covariance": covariance, "correlation": covariance / covariance[0]}
        variables: dict[str, Any] = {
            name: (("distance", "t"), value, _TEXT[name]) for name, value in values.items()
        }
        chi = susceptibility(self.rhm, times)
        variables["susceptibility"] = (("t",), chi, _TEXT["susceptibility"])
        for name in list(variables):
            dims, value, text = variables[name]
            zero = np.zeros_like(value)  # the law has no error
            variables[f"{name}_error"] = (dims, zero, f"standard error of: {text}")
        return self._label(variables, times, "theory")

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Array | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Noise and denoise every datum many times, and see which leaves change together.

        Parameters
        ----------
        model : DiffusionModel, optional
            Any model of leaves with this noise process (with ``data``); default: exact inference
            on ``grammars`` random grammars.
        data : int array [n, s**L], optional
            Leaves to start from; the unit that errors are counted in is then a datum.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            For x in covariance, correlation (distance, t), susceptibility and unchanged (t,): ``x``
            and ``x_error``; ``block_variance`` (unit, distance, t), from which all of them follow.

        Raises
        ------
        InvalidParameter
            If only one of model and data is given, the noise is another, or there is a single unit.

        Notes
        -----
        Validity: statistical errors only.  A datum has its own random streams, used at all noise
        levels, so neighbouring levels are correlated and results independent of workers.
        """
        one = one_at_a_time(model)
        options: dict[str, Any] = {"workers": 1 if one else workers, "cluster": cluster}
        if (model is None) != (data is None):
            raise InvalidParameter("give model and data together, or neither")
        if model is not None and data is not None:
            instance("model", model, DiffusionModel)
            if model.noise.name != self.noise:
                raise InvalidParameter(
                    f"a model with {model.noise.name} noise is measured as {self.noise}; use the "
                    "same noise"
                )
            leaves = self._leaves(model, data)
            tasks = [
                self._task(model, leaves[i : i + 1], 0, range(i, i + 1)) for i in range(len(leaves))
            ]
        else:
            tasks = [self._task(None, None, g, range(self.data)) for g in range(self.grammars)]
        name = f"{self.noise}, L = {self.L}"
        blocks = run_tasks(tasks, folder=folder, name=name, **options)
        variances = np.stack([b["variances"].mean(axis=0) for b in blocks])
        unchanged = np.stack([b["unchanged"].mean(axis=0) for b in blocks])
        source = "network" if model is not None and model.source == "network" else "simulation"
        return self._summarise(variances, unchanged, source)

    def _leaves(self, model: DiffusionModel, data: Array) -> Array:
        """Leaves [n, s**L] of symbols that the model's noise has."""
        v = model.noise.v
        if v is None:
            raise InvalidParameter(
                f"model {type(model).__name__} denoises vectors; give one of leaves, with v symbols"
            )
        leaves = symbols_of("data", data, 0, v)
        if leaves.shape[1] != self.s**self.L:
            raise InvalidParameter(
                f"data of {leaves.shape[1]} leaves are no trees of s**L = {self.s**self.L}; make "
                "Correlations with the s and L of the model"
            )
        return leaves

    def _task(
        self, model: DiffusionModel | None, data: Array | None, g: int, rows: range
    ) -> Task:  # fmt: skip
        parameters = {
            "version": 1, "question": "correlations", "v": self.v, "m": self.m, "s": self.s,
            "L": self.L, "noise": self.noise, "seed": self.seed, "grammar": g,
            "data": self.data, "trajectories": self.trajectories,
            "t": [float(x) for x in self.times],
        }  # fmt: skip
        one = replace(self, grammars=1)  # a task does not depend on how many there are
        return Task(_measure_grammar, (one, model, data, g, rows), parameters)

    def _summarise(self, variances: Array, unchanged: Array, source: str) -> xr.Dataset:
        """From V [unit, t, height] to means with errors."""
        V = np.moveaxis(variances, 1, 2)
        covariance = distance_means(V, self.s, axis=1)
        found = {
            "covariance": (("distance", "t"), ratio(covariance, np.ones_like(covariance))),
            "correlation": (("distance", "t"), ratio(covariance, covariance[:, :1])),
            "susceptibility": (("t",), ratio(V[:, -1], V[:, 0])),
            "unchanged": (("t",), ratio(unchanged, np.ones_like(unchanged))),
        }
        variables: dict[str, Any] = {}
        for name, (dims, r) in found.items():
            variables[name] = (dims, r.value, _TEXT[name])
            variables[f"{name}_error"] = (dims, r.error, f"standard error of: {_TEXT[name]}")
        variables["block_variance"] = (
            ("unit", "distance", "t"), V, "variance of the sums of subtrees, added per height",
        )  # fmt: skip
        return self._label(variables, self.times, source)

    def _label(self, variables: dict[str, Any], times: Array, source: str) -> xr.Dataset:
        axes = {
            "distance": (("distance",), np.arange(self.L + 1), "height of the common ancestor"),
            "t": (("t",), times, f"noise level t of the {self.noise} process"),
        }
        return results.label(variables, axes, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The measurement, and the prediction of the epsilon-process beside it."""
        measured = self.measure(model, data, **run.tasks(self.name))
        if is_channel(self.process):
            return {self.name: measured}
        theory = self.predict(t=between(measured.t.values, 0.0025))
        return {f"{self.name}_theory": theory, self.name: measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Correlation against distance at some noise levels, and susceptibility against noise."""
        figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
        chosen = _shown(list(datasets.values())[-1].t.values)
        for ds in datasets.values():
            needs(ds, {"correlation": ("distance", "t"), "susceptibility": ("t",)}, "Correlations")
            look = style(str(ds.source.values))
            colours = level_colours(len(chosen))
            for t, colour in zip(chosen, colours, strict=True):
                one = ds.sel(t=t, method="nearest")
                label = None if look["ls"] == "-" else f"t = {float(one.t):.2f}"
                axes[0].errorbar(
                    one.distance, one.correlation, one.correlation_error, color=colour,
                    label=label, **look,
                )  # fmt: skip
            axes[1].errorbar(
                ds.t, ds.susceptibility, ds.susceptibility_error, label=str(ds.source.values),
                color=BLUE, **look,
            )  # fmt: skip
        axes[0].set(xlabel="height of the common ancestor", ylabel="correlation of two leaves")
        axes[1].set(xlabel=str(ds.t.attrs["long_name"]), ylabel="leaves that change together")
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
            legend(ax)
        panels(axes, "two leaves against their distance", "susceptibility")
        return figure

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """The susceptibility at every noise level, and where it is largest."""
        ds = datasets[self.name]
        rows = []
        for t in ds.t.values:
            one = ds.sel(t=t)
            cells = [plus_minus(one[k], one[f"{k}_error"])
                     for k in ("unchanged", "susceptibility")]  # fmt: skip
            rows.append([f"{t:.2f}", *cells])
        table = text_table(["t", "unchanged", "susceptibility"], rows)
        chi = ds.susceptibility.values
        values: dict[str, Any] = {"t": ds.t.values.tolist(), "susceptibility": chi.tolist()}
        if not np.isfinite(chi).any():
            return Summary(table, "no leaf changes at these noise levels", values)
        k = int(np.nanargmax(chi))
        claim = (
            f"most leaves change together at t = {float(ds.t[k]):.3f}: {chi[k]:.2f} ± "
            f"{float(ds.susceptibility_error[k]):.2f}"
        )
        if f"{self.name}_theory" in datasets:
            law = datasets[f"{self.name}_theory"].susceptibility
            claim += f" (theory {float(law.sel(t=ds.t[k], method='nearest')):.2f})"
        return Summary(table, claim, values)


def _shown(times: Array) -> Array:
    """Noise levels of the panel of distances, about five."""
    return np.asarray(times[1 :: max(1, len(times) // 5)])


def _measure_grammar(
    experiment: Correlations, model: DiffusionModel | None, data: Array | None, g: int, rows: range
) -> dict[str, Array]:
    """One task: a drawn grammar with its data, or one datum of a given model."""
    seed = experiment.seed
    if model is None:
        grammar = experiment.rhm.draw(stream(seed, "grammar", g))
        model = ExactRHM(grammar, experiment.process, threads=1)
        drawn = [grammar.sample(1, stream(seed, "datum", g, i)).leaves for i in rows]
        data = np.concatenate(drawn)
    assert data is not None
    variances, unchanged = [], []
    for i, x0 in zip(rows, data, strict=True):
        V, same = fluctuations(
            model, x0, experiment.times, experiment.s, experiment.trajectories, seed, (g, i)
        )
        variances.append(V)
        unchanged.append(same)
    return {"variances": np.stack(variances), "unchanged": np.stack(unchanged)}
