r"""What the levels of a hierarchy cost: a learner that finds synonyms by what surrounds them.

A learner compares the contexts of tuples (:mod:`hierdiff.sims.models.context_clustering`).  Tuples
are made of the *true* symbols one height below: each height is asked by itself.

On growing data, how many of them, :math:`P^*`, does the learner need at each height, and how does
that number grow with m?
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff import results
from hierdiff._display import experiment_html, pair_text, text_table
from hierdiff.checks import check_fields, checked, interval, listed, natural, number, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import RHM, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.plots import (
    GUIDE,
    Axes,
    Figure,
    axes_or_new,
    finish,
    level_colours,
    measured_last,
    panel_figure,
    parts_with,
    pick,
    style,
)
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import bootstrap, standard_error
from hierdiff.sims.models.context_clustering import LEARNERS, Context, learning_curve, synonyms
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.rhm.sample_complexity import (
    clustering_cost,
    coincidence_cost,
    local_exponent,
    next_token_cost,
)
from hierdiff.theory.rhm.token_correlations import context_signal

__all__ = ["SynonymLearning", "synonym_cost", "synonym_curves"]

Array: TypeAlias = NDArray[Any]
Variables: TypeAlias = dict[str, tuple[tuple[str, ...], Any, str]]

LAWS = {
    "correlations": clustering_cost,
    "coincidences": coincidence_cost,
    "next_token": next_token_cost,
}
"""What P* should be, of a model and the height of the common ancestor of tuple and context."""
_RESAMPLES = 400  # errors of slopes are known to 1 / sqrt(2 * 400) = 3.5 %
_COST = "data P* at which the success threshold is reached, geometric mean"
_SLOPE = "slope of ln P* against ln m"
_RESOLVED = "data at which correlations stand out of noise"
_MAKER = "SynonymLearning"
_DIMS = ("learner", "height", "m")
_NEEDED = {
    "samples": _DIMS, "samples_error": _DIMS, "exponent": _DIMS[:2], "exponent_error": _DIMS[:2],
}  # fmt: skip
_CURVES = {"accuracy": (*_DIMS, "scaled")}
_LINES = {
    "correlations": ("--", r"$v\,m^{h+2}$"),
    "coincidences": ("-", "coincidences of contexts"),
    "next_token": (":", r"$v\,m^{2h+1}$, tokens only"),
}


@dataclass(frozen=True)
class SynonymLearning:
    """Data that a learner needs to find the synonyms of every height, on random grammars.

    Notes
    -----
    Validity: each height is learned with the symbols below it known; P counts strings, of which one
    tuple is used.  Errors are over grammars.

    References
    ----------
    arXiv 2502.12089.

    Examples
    --------
    >>> experiment = SynonymLearning(v=8, multiplicities=(2, 3), heights=(1,), grammars=3,
    ...                              sample_range=(-6, 6))
    >>> measured = experiment.measure()
    >>> dict(measured.exponent.sizes), str(measured.source.values)
    ({'learner': 2, 'height': 1}, 'simulation')
    >>> experiment.predict("correlations").exponent.values.round(9).tolist()
    [[3.0], [3.0]]
    """

    name: ClassVar[str] = "synonym_learning"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (
        "synonym_learning", "synonym_learning_theory", "synonym_learning_coincidences",
        "synonym_learning_next_token",
    )  # fmt: skip

    v: int = 32
    """Symbols per level of the grammars."""
    s: int = 2
    """Symbols that a rule writes."""
    multiplicities: tuple[int, ...] = (2, 3, 4, 6)
    """Rules per symbol m, over which exponents are fitted; keep m well below v**(s - 1)."""
    heights: tuple[int, ...] = (1, 2, 3)
    """Heights of the symbols that are to be recognised; grammars are one deeper than the last."""
    grammars: int = 24
    """Random grammars per m."""
    repeats: int = 2
    """Independent data sets per grammar and height, over which learning curves are averaged."""
    context: Context = "token"
    """Which context is read: one token, or all leaves below the next nodes."""
    sample_range: tuple[float, float] = (-7.0, 5.0)
    """Range of P in powers of two, relative to v m^(h + 2)."""
    success_threshold: float = 0.5
    """Height of the learning curve, as a share of that on infinite data, which defines P*."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, sample_range=interval, grammars=partial(whole, low=2, high=10**6),
            repeats=partial(whole, low=1, high=10**6), seed=natural,
            multiplicities=partial(listed, rule=partial(whole, low=2), least=2),
            heights=partial(listed, rule=partial(whole, low=1)),
            success_threshold=partial(number, above=0, below=1),
        )  # fmt: skip
        if max(map(abs, self.sample_range)) > 64:
            raise InvalidParameter(
                f"sample_range = {self.sample_range} must lie between -64 and 64, in powers of two"
            )
        for m in self.multiplicities:
            affordable(self.rhm(m))

    def rhm(self, m: int) -> RHM:
        """The model whose grammars are learned, with m rules per symbol."""
        return RHM(self.v, m, self.s, max(self.heights) + 1)

    @property
    def scaled(self) -> Array:
        """Numbers of data relative to v m^(h + 2), two per power of two."""
        low, high = self.sample_range
        return np.asarray(2.0 ** np.arange(low, high + 1e-9, 0.5))

    def samples(self, m: int) -> Array:
        """Numbers of data P at which the learner is tested, [height, scaled]."""
        scale = [clustering_cost(self.rhm(m), h + 1) for h in self.heights]
        grid = np.round(np.outer(scale, self.scaled)).astype(np.int64)
        # on tiny grids rounding must not make two numbers equal
        steps = np.arange(grid.shape[1])
        return np.maximum.accumulate(np.maximum(grid, 1) - steps, axis=1) + steps

    @results.tracked
    @checked
    def predict(self, law: str = "correlations") -> xr.Dataset:
        """What a law says of P*, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"correlations", "coincidences", "next_token"}
            v m^(h+2) of arXiv 2502.12089; coincidences of contexts, which bends from
            v m^(1 + (h+1)/2) to sqrt(v) m^(h+2); v m^(2h+1) of arXiv 2406.00048, for who sees
            tokens only.

        Returns
        -------
        xarray.Dataset
            ``samples``, ``exponent``, ``last_exponent``; the same for all laws are ``resolved``,
            v m / S with finite-size factors, and ``resolved_exponent``.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: of P* the exponents are meant; prefactors hold up to numbers of order one.
        """
        if law not in LAWS:
            raise InvalidParameter(f"law = {law!r} is not known; use {', '.join(LAWS)}")
        models = [self.rhm(m) for m in self.multiplicities]
        cost = np.array([[LAWS[law](w, h + 1) for w in models] for h in self.heights])
        shown = [[w.v * w.m / context_signal(w, h + 1) for w in models] for h in self.heights]
        found = _predicted(self.multiplicities, cost, np.array(shown))
        return self._label(found, "theory", law)

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Learn on growing data.

        Parameters
        ----------
        model, data : None
            The learner is a clustering of counts, which no diffusion model replaces.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``samples`` P* (learner, height, m), ``exponent`` (learner, height), ``resolved``,
            ``accuracy``, ``ceiling``, ``below``, with errors.

        Raises
        ------
        InvalidParameter
            If a model or data are given.

        Notes
        -----
        Validity: P* of a grammar that does not reach the height within ``sample_range`` is NaN and
        counted in ``censored``; its m is then left out of the exponent.
        """
        if model is not None or data is not None:
            raise InvalidParameter(
                "SynonymLearning takes no model and no data: it measures a clustering learner on "
                "strings of random grammars"
            )
        tasks = []
        for m in self.multiplicities:
            grid = self.samples(m)
            for g in range(self.grammars):
                parameters = {
                    "version": 1, "question": "composition, cost", "v": self.v, "m": m,
                    "s": self.s, "heights": self.heights, "samples": grid.tolist(),
                    "repeats": self.repeats, "context": self.context, "seed": self.seed, "g": g,
                }  # fmt: skip
                arguments = (self.rhm(m), self.heights, grid, self.repeats, self.context,
                             self.seed, g)  # fmt: skip
                tasks.append(Task(_recognise, arguments, parameters))
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="cost")
        shape = (len(self.multiplicities), self.grammars)
        every = {
            k: np.stack([f[k] for f in found]).reshape(*shape, *found[0][k].shape) for k in found[0]
        }
        grids = np.stack([self.samples(m) for m in self.multiplicities])
        variables = _measured(every, grids, self.multiplicities, self.success_threshold)
        return self._label(variables, "simulation", "")

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: None = None
    ) -> dict[str, xr.Dataset]:
        """The three laws and the measurement."""
        names = ("theory", "coincidences", "next_token")
        measured = self.measure(model, data, **run.tasks(self.name))
        laws = {
            f"{self.name}_{name}": self.predict(law) for name, law in zip(names, LAWS, strict=True)
        }
        return {**laws, self.name: measured}

    def panels(
        self, datasets: Mapping[str, xr.Dataset]
    ) -> list[tuple[str, Callable[[Axes], Axes]]]:
        """Titles and what draws the panels of the figure, from laws and the measurement, last."""
        laws, measured = measured_last(list(datasets.values()), _MAKER)
        parts_with((measured,), "samples", {**_NEEDED, **_CURVES}, _MAKER)
        shown = [ds for ds in laws if ds.attrs.get("law") != "next_token"]  # far off the figure
        return [
            ("cost of the levels", lambda ax: synonym_cost(*shown, measured, ax=ax)),
            ("learning curves", lambda ax: synonym_curves(measured, ax)),
        ]

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Cost of the levels against m, and the learning curves."""
        return panel_figure(self.panels(datasets))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Exponents of all learners and heights, beside the laws."""
        *laws, measured = datasets.values()
        values = _findings(laws, measured)
        return Summary(_table(values), _claim(values), values)

    def _label(self, variables: Variables, source: str, law: str) -> xr.Dataset:
        axes: dict[str, tuple[Any, str]] = {
            "learner": (list(LEARNERS), "how synonyms are found"),
            "height": (list(self.heights), "height of the symbols above the leaves"),
            "m": (list(self.multiplicities), "rules per symbol m"),
            "scaled": (self.scaled, "data P / (v m^(h+2))"),
        }
        coords = results.coordinates(variables, axes)
        attributes = {**results.provenance(asdict(self)), **({"law": law} if law else {})}
        return results.label(variables, coords, source, attributes)


def _recognise(
    rhm: RHM, heights: tuple[int, ...], samples: Array, repeats: int, context: Context, seed: int,
    g: int,
) -> dict[str, Array]:  # fmt: skip
    """Learning curves of one grammar: score [learner, height, P], the mean over ``repeats``.

    ``samples`` [height, P]; also the exact ``ceiling`` [learner, height], the share of
    ``identifiable`` tuples [height] and the ``resolved`` number of data [height].
    """
    grammar = rhm.draw(stream(seed, "grammar", rhm.v, rhm.m, g))
    tasks = [synonyms(grammar, h, context) for h in heights]
    curves = [
        np.mean(
            [
                learning_curve(task, grid, stream(seed, "data", rhm.v, rhm.m, g, h, r))
                for r in range(repeats)
            ],
            axis=0,
        )
        for task, grid, h in zip(tasks, samples, heights, strict=True)
    ]
    return {
        "accuracy": np.stack(curves, axis=1),
        "ceiling": np.stack([task.ceiling for task in tasks], axis=1),
        "identifiable": np.array([task.identifiable.mean() for task in tasks]),
        "resolved": np.array([task.resolved for task in tasks]),
    }


# --- from tasks to variables ----------------------------------------------------------------------


def _without_error(name: str, dims: tuple[str, ...], value: ArrayLike, text: str) -> Variables:
    return results.with_error(name, dims, value, np.zeros(np.shape(value)), text)


def _predicted(m: tuple[int, ...], cost: Array, resolved: Array) -> Variables:
    """Costs [height, m] of a law, the same for both learners."""
    x = np.array(m)
    both = np.stack([cost, cost])
    slopes = [[local_exponent(x, line) for line in table] for table in both]
    found = _without_error("samples", ("learner", "height", "m"), both, _COST)
    last = np.argsort(x)[-2:]
    ends = [[local_exponent(x[last], line[last]) for line in table] for table in both]
    found |= _without_error(
        "last_exponent", ("learner", "height"), ends, f"{_SLOPE}, two largest m"
    )
    found |= _without_error("exponent", ("learner", "height"), slopes, _SLOPE)
    found |= _without_error("resolved", ("height", "m"), resolved, _RESOLVED)
    shown = [local_exponent(x, line) for line in resolved]
    return found | _without_error("resolved_exponent", ("height",), shown, f"{_SLOPE}, resolved")


def _first_crossing(log_samples: Array, curve: Array, height: float) -> float:
    """Logarithm of P where a curve first reaches a height; NaN if outside of its range."""
    above = np.flatnonzero(curve >= height)
    if not above.size or above[0] == 0:
        return float("nan")
    i = int(above[0])
    share = (height - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(log_samples[i - 1] + share * (log_samples[i] - log_samples[i - 1]))


def bootstrapped(values: Array, statistic: Callable[[Array], Array]) -> tuple[Array, Array]:
    """A statistic of the means of values [m, grammar, ...], and its spread over resampled grammars.

    Grammars of different m are independent and resampled by themselves.
    """
    blocks, grammars = np.arange(len(values))[:, None], values.shape[1]
    found = bootstrap(
        lambda rows: statistic(values[blocks, rows].mean(axis=1)), grammars, _RESAMPLES,
        stream(0, "bootstrap"), groups=len(values),
    )  # fmt: skip
    return statistic(values.mean(axis=1)), found.error


def _error_over_grammars(values: Array) -> Array:
    """Standard error of means of values [m, grammar, ...]; NaN where a grammar has none."""
    by_grammar = np.moveaxis(values, 1, 0)
    return np.asarray(standard_error(np.nan_to_num(by_grammar)) + 0 * by_grammar.mean(axis=0))


def _slope(x: Array) -> Callable[[Array], Array]:
    """Slope against x along the first axis; rows with NaN are left out."""

    def fit(y: Array) -> Array:
        flat = y.reshape(len(x), -1)
        out = np.full(flat.shape[1], np.nan)
        for i, column in enumerate(flat.T):
            kept = np.isfinite(column)
            if kept.sum() >= 2:
                out[i] = np.polyfit(x[kept], column[kept], 1)[0]
        return out.reshape(y.shape[1:])

    return fit


def _measured(
    found: dict[str, Array], grids: Array, m: tuple[int, ...], threshold: float
) -> Variables:
    """Curves [m, grammar, learner, height, P] on grids [m, height, P] to costs and exponents."""
    curves = found["accuracy"]
    x, logs = np.log(np.array(m)), np.log(grids)
    shape = curves.shape[:-1]
    log_cost = np.empty(shape)
    for i in np.ndindex(*shape):
        log_cost[i] = _first_crossing(logs[i[0], i[3]], curves[i], threshold)
    missing = np.isnan(log_cost)
    by_grammar = log_cost
    log_cost = np.where(missing.any(axis=1, keepdims=True), np.nan, log_cost)
    mean = log_cost.mean(axis=1)  # NaN if one is missing
    error = _error_over_grammars(log_cost)
    slope, slope_error = bootstrapped(log_cost, _slope(x))
    dims = ("learner", "height", "m")

    def turned(values: Array) -> Array:
        return np.moveaxis(values, 0, -1)

    cost = np.exp(turned(mean))
    variables = results.with_error(
        "samples",
        dims,
        cost,
        cost * turned(error),
        _COST,
    )
    variables |= results.with_error("exponent", dims[:2], slope, slope_error, _SLOPE)
    last = np.argsort(m)[-2:]
    slope, slope_error = bootstrapped(log_cost[last], _slope(x[last]))
    variables |= results.with_error(
        "last_exponent", dims[:2], slope, slope_error, f"{_SLOPE}, two largest m"
    )
    power = 1 / found["resolved"]
    log_mean = np.log(1 / power.mean(axis=1))
    shown, shown_error = bootstrapped(power, lambda p: _slope(x)(-np.log(p)))
    relative = standard_error(np.moveaxis(power, 1, 0)) / power.mean(axis=1)
    value = np.exp(turned(log_mean))
    variables |= results.with_error(
        "resolved", dims[1:], value, value * turned(relative), _RESOLVED
    )
    variables |= results.with_error(
        "resolved_exponent", dims[1:2], shown, shown_error, f"{_SLOPE}, resolved"
    )
    score = "score as a share of that on infinite data"
    variables |= results.with_error(
        "accuracy", (*dims, "scaled"), np.moveaxis(curves.mean(axis=1), 0, 2),
        np.moveaxis(_error_over_grammars(curves), 0, 2), score,
    )  # fmt: skip
    censored = turned(missing.sum(axis=1))
    variables["censored"] = (dims, censored, "grammars whose P* lies outside of the range of P")
    variables["samples_by_grammar"] = (
        ("grammar", *dims), np.moveaxis(np.exp(by_grammar), (1, 0), (0, 3)),
        "data P* of single grammars",
    )  # fmt: skip
    variables["ceiling"] = (dims, turned(found["ceiling"].mean(axis=1)), "score on infinite data")
    share = turned(found["identifiable"].mean(axis=1))
    variables["identifiable"] = (dims[1:], share, "share of tuples that can be identified")
    variables["below"] = (dims, turned(_below(curves, logs, mean)),
                          "score one height below, at the P* of this height")  # fmt: skip
    return variables


def _below(curves: Array, logs: Array, star: Array) -> Array:
    """Mean score of the next lower height at the cost of each height; NaN at the lowest."""
    mean = curves.mean(axis=1)
    out = np.full(star.shape, np.nan)
    for i, learner, h in np.ndindex(*star.shape):
        if h:
            out[i, learner, h] = np.interp(
                star[i, learner, h], logs[i, h - 1], mean[i, learner, h - 1]
            )
    return out


# --- what was found -------------------------------------------------------------------------------


def _findings(laws: list[xr.Dataset], measured: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors, beside the laws."""
    found: dict[str, Any] = {}
    for learner in map(str, measured.learner.values):
        for h in map(int, measured.height.values):
            where = {"learner": learner, "height": h}
            one = measured.sel(where)
            row: dict[str, Any] = {
                "exponent": [float(one.exponent), float(one.exponent_error)],
                "two largest m": [float(one.last_exponent), float(one.last_exponent_error)],
                "samples": one.samples.values.tolist(),
                "samples, error": one.samples_error.values.tolist(),
                "ceiling": one.ceiling.values.tolist(),
                "score one height below": [
                    None if np.isnan(x) else float(x) for x in one.below.values
                ],
                "censored": int(one.censored.sum()),
            }
            for name, law in zip(LAWS, laws, strict=True):
                row[name] = float(law.exponent.sel(where))
                row[f"{name}, two largest m"] = float(law.last_exponent.sel(where))
                row[f"z, {name}"] = (row["exponent"][0] - row[name]) / row["exponent"][1]
            found[f"{learner}, height {h}"] = row
    both = results.compare(laws[0], measured).sel(source="simulation")
    found["resolved"] = {
        "exponent": measured.resolved_exponent.values.tolist(),
        "error": measured.resolved_exponent_error.values.tolist(),
        "theory": laws[0].resolved_exponent.values.tolist(),
        "z of the numbers": both.resolved_z.values.tolist(),
    }
    return found


def _table(found: dict[str, Any]) -> str:
    """Exponents of all learners and heights, beside the laws."""
    header = ["exponent in m", "all m", "m^(h+2)", "coincid.", "tokens", "two largest m",
              "coincid."]  # fmt: skip
    rows = [
        [name, pair_text(row["exponent"], 2),
         *(f"{row[k]:.2f}" for k in ("correlations", "coincidences", "next_token")),
         pair_text(row["two largest m"], 2), f"{row['coincidences, two largest m']:.2f}"]
        for name, row in found.items() if name != "resolved"
    ]  # fmt: skip
    return text_table(header, rows)


def _claim(found: dict[str, Any]) -> str:
    """Exponents with errors."""
    rows = {k.split()[-1]: row for k, row in found.items() if k.startswith("clusters, ")}
    slopes = ", ".join(f"{r['exponent'][0]:.2f} ± {r['exponent'][1]:.2f}" for r in rows.values())
    return f"the cost grows as m to the power {slopes} at heights {', '.join(rows)}"


# --- figure ---------------------------------------------------------------------------------------


@checked
def synonym_cost(*datasets: xr.Dataset, ax: Axes | None = None, learner: str = "clusters") -> Axes:
    """Data that each height costs, against the number of rules per symbol.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``SynonymLearning.predict`` and ``.measure``.  A law fixes slopes; the one of
        coincidences is drawn through the geometric mean of all points.
    ax : matplotlib Axes, optional
    learner : {"clusters", "nearest"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If no dataset has costs.

    Examples
    --------
    >>> len(synonym_cost(SynonymLearning().predict("correlations")).lines)
    3
    """
    parts = parts_with(datasets, "samples", _NEEDED, _MAKER)
    for ds in parts:
        pick(ds, learner=learner)
    ax = axes_or_new(ax)
    measured = [ds for ds in parts if str(ds.source.values) != "theory"]
    for ds in parts:
        source, table = str(ds.source.values), ds.samples.sel(learner=learner)
        law = str(ds.attrs.get("law", "correlations"))
        law = law if law in _LINES else "correlations"
        scale = 1.0
        if law == "coincidences" and measured:
            ratio = measured[0].samples.sel(learner=learner) / table
            scale = float(np.exp(np.nanmean(np.log(ratio))))
        for height, colour in zip(ds.height.values, level_colours(ds.sizes["height"]), strict=True):
            line = table.sel(height=height)
            if source == "theory":
                dashes, words = _LINES[law]
                words += f", d = {scale:.1f}" if scale != 1 else ""
                ax.plot(
                    ds.m, scale * line, color=colour,
                    label=words if height == ds.height.values[0] else None,
                    **{**style(source), "ls": dashes},
                )  # fmt: skip
            else:
                error = ds.samples_error.sel(learner=learner, height=height)
                slope, spread = (
                    float(ds[f"exponent{end}"].sel(learner=learner, height=height))
                    for end in ("", "_error")
                )
                words = f"height {height}: slope {slope:.2f} ± {spread:.2f}"
                ax.errorbar(ds.m, line, error, color=colour, label=words, **style(source))
    ax.set(xscale="log", yscale="log", xticks=parts[0].m.values)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.minorticks_off()
    return finish(ax, xlabel="rules per symbol $m$", ylabel="data $P^*$")


@checked
def synonym_curves(measured: xr.Dataset, ax: Axes | None = None, learner: str = "clusters") -> Axes:
    """Learning curves against the data in units of the law, which should make them collapse.

    Parameters
    ----------
    measured : xarray.Dataset
        From ``SynonymLearning.measure``.
    ax : matplotlib Axes, optional
    learner : {"clusters", "nearest"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If the dataset has no learning curves.

    Examples
    --------
    >>> small = SynonymLearning(v=8, multiplicities=(2, 3), heights=(1,), grammars=2)
    >>> len(synonym_curves(small.measure()).lines)  # and one half
    3
    """
    ds = parts_with((measured,), "accuracy", _CURVES, _MAKER)[0]
    pick(ds, learner=learner)
    ax = axes_or_new(ax)
    widths = np.linspace(0.6, 1.8, ds.sizes["m"])
    for height, colour in zip(ds.height.values, level_colours(ds.sizes["height"]), strict=True):
        for m, width in zip(ds.m.values, widths, strict=True):
            curve = ds.accuracy.sel(learner=learner, height=height, m=m)
            last = m == ds.m.values[-1]
            ax.plot(ds.scaled, curve, color=colour, lw=width,
                    label=f"height {height}, thicker for larger m" if last else None)  # fmt: skip
    ax.axhline(0.5, **GUIDE)
    ax.set(xscale="log", ylim=(-0.05, 1.05))
    return finish(
        ax, xlabel=r"data $P / (v\,m^{h+2})$", ylabel="score, share of that on infinite data"
    )
