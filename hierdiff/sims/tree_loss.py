r"""When is the tree lost: before the class, with it, or after it?

In a grammar of several arities the tree of a string is itself latent.  Strings of one length are
noised to level t, and for every level l of the true tree three things are asked of a model,

==========  =================================================================================
span        is there a node of level l over the same leaves?
boundary    does a node of level l begin at the same leaf (the first leaf set aside)?
symbol      is there a node of level l over the same leaves, with the same symbol?
==========  =================================================================================

and averaged over the nodes of the level.  The symbol of level 0 is the class, that of level L a
leaf.  Of exact inference they are posterior probabilities,

.. math:: \text{span}_l = E\,\frac{1}{K_l} \sum_{k} \sum_A \mu_A(i_k, j_k), \qquad
   \text{symbol}_l = E\,\frac{1}{K_l} \sum_{k} \mu_{A_k}(i_k, j_k);

of any other model they are read from its samples: the posterior of the same nodes given the sample
without noise.  Both have the same mean if samples follow the posterior.  In a sample outside of the
language a node is there if it can be derived from the leaves below it.

The prediction is for a known tree (:mod:`hierdiff.theory.pcfg.known_tree`): an upper bound on the
symbols of an unknown one.  What a model falls short of it is the price of parsing.
``symbol_known`` measures the bound on the same data.

At t = 1 the length of the string is left, and with it some knowledge of the tree.  A quantity q is
called *half lost* where it has fallen half-way from q(0) to q(1).
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

from hierdiff import results
from hierdiff._display import experiment_html, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    one_level,
    one_of,
    shown,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.parse_trees import Parses
from hierdiff.data.pcfg import MAX_LENGTH, PCFG
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, is_channel, noise_name, noise_process
from hierdiff.plots import Figure, panels, plt, shade, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import Crossing, crossing, nested_mean
from hierdiff.sims.metrics.forward_backward import forward_backward, one_at_a_time
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactPCFG
from hierdiff.theory.pcfg import (
    ParsePosterior,
    derived_nodes,
    known_tree_beliefs,
    known_tree_dynamics,
    valid_strings,
)
from hierdiff.theory.pcfg.chart import chart_of

__all__ = ["TreeLoss"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]
QUANTITIES = ("symbol", "span", "boundary", "symbol_known")
_TEXT = {
    "symbol": "probability that a node is there with its symbol",
    "span": "probability that a node is there",
    "boundary": "probability that a node begins at the same leaf",
    "symbol_known": "probability of the symbol if the tree is known",
}
_BLOCK = 16  # data per task: what an interruption can lose


@dataclass(frozen=True)
class TreeLoss:
    """Loss of spans, boundaries and symbols of every level of a tree that varies in shape.

    Notes
    -----
    Validity: inference is exact; errors are over grammars.  All strings have the possible length
    nearest to the mean length.

    Examples
    --------
    >>> small = TreeLoss(v=4, rules=(0, 1, 1), L=2, grammars=2, data=4, levels=3)
    >>> ds = small.measure()
    >>> dict(ds.span.sizes), ds.span.sel(level=0).values.round(12).tolist()
    ({'level': 3, 't': 3}, [1.0, 1.0, 1.0])
    """

    name: ClassVar[str] = "tree_loss"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level."""
    rules: tuple[int, ...] = (0, 2, 2)
    """Rules per symbol of arity 1, 2, 3 and so on, all equally likely."""
    L: int = 4
    """Levels of rules."""
    noise: str = "masking"
    """Forward process: masking, uniform, gaussian, or a registered name."""
    grammars: int = 16
    """Random grammars to average over."""
    data: int = 16
    """Data per grammar."""
    levels: int = 17
    """Noise levels between 0 and 1, evenly spaced."""
    t: tuple[float, ...] | None = None
    """Noise levels from 0 to 1, in place of evenly spaced ones."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, v=partial(whole, low=2, high=1000), L=partial(whole, low=1, high=12),
            rules=partial(listed, rule=natural, distinct=False),
            grammars=partial(whole, low=1, high=10**6), data=partial(whole, low=1, high=10**6),
            levels=partial(whole, low=3, high=10**4), seed=natural, noise=noise_name,
            t=_noise_levels,
        )  # fmt: skip
        if not any(self.rules):
            raise InvalidParameter(
                f"rules = {self.rules} has no rule; give numbers per arity, such as 0 2 2"
            )
        if self.grammars * self.data < 2:
            raise InvalidParameter("one datum gives no error bar; give two data or two grammars")
        if not is_channel(noise_process(self.noise, self.v)):
            raise InvalidParameter(
                f"noise = {self.noise!r} shows no observation that samples could follow; give "
                "masking, uniform or gaussian"
            )
        if max(self.arities) ** self.L > MAX_LENGTH:
            raise InvalidParameter(
                f"strings have up to {max(self.arities)}^{self.L} leaves, more than {MAX_LENGTH}; "
                "lower L or the largest arity"
            )
        # what fits is looked at by the chart, which says what more would take
        chart_of(self.grammar(0), self.grammar(0).likely_length())

    @property
    def arities(self) -> dict[int, int]:
        """Number of rules of every arity."""
        return {s: m for s, m in enumerate(self.rules, 1) if m}

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 1, self.levels) if self.t is None else np.array(self.t)

    def grammar(self, g: int) -> PCFG:
        """The random grammar of number g."""
        return PCFG.random(self.v, self.arities, self.L, stream(self.seed, "grammar", g))

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["known tree"] = "known tree",
        *,
        size: int = 400,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Density evolution of a known tree with random arity: an upper bound of ``symbol``.

        Parameters
        ----------
        law : "known tree"
        size : int
            Number of trees at every noise level.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``symbol`` and ``symbol_known`` on (level, t), with errors.

        Notes
        -----
        Validity: ``symbol_known`` is exact for rules drawn anew at every node; ``symbol`` is an
        upper bound if there are several arities.
        """
        one_of("law", law, ("known tree",))
        tasks = [
            Task(known_tree_task, (self, float(t), size),
                 {**asdict(self), "law": law, "t": float(t), "size": size})
            for t in self.times
        ]  # fmt: skip
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="known tree")
        mean, error = (np.stack([x[k] for x in found], axis=1) for k in ("mean", "error"))
        variables: dict[str, Any] = {}
        for name in ("symbol", "symbol_known"):
            variables |= _with_error(name, mean, error)
        return self._label(variables, self.times, self.L + 1, "theory")

    @results.tracked
    @checked(data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """What is left of every level of the tree, against the noise level.

        Parameters
        ----------
        model : DiffusionModel, optional
            Of symbols; default exact inference on ``grammars`` random grammars.
        data : PCFG, Parses or (PCFG, Parses), optional
            Layered; default ``data`` strings of the model's own grammar.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``symbol``, ``span``, ``boundary`` and ``symbol_known`` on (level, t) with errors, and
            by grammar and datum; ``boundary`` has no value at level 0.

        Raises
        ------
        InvalidParameter
            If the model has another noise process, or the data have no trees with levels.

        Notes
        -----
        Validity: as the module says.  Of models that are no ExactPCFG samples are read, and there
        is no ``symbol_known``.
        """
        runs = self._runs(model, data)
        tasks = []
        for g, (one, trees) in enumerate(runs):
            n = self.data if trees is None else len(trees)
            for first in range(0, n, _BLOCK):
                rows = range(first, min(first + _BLOCK, n))
                parameters = {**asdict(self), "question": self.name, "grammar": g,
                              "first": rows.start, "last": rows.stop}  # fmt: skip
                arguments = (one, trees, self.seed, g, rows, self.times)
                tasks.append(Task(tree_task, arguments, parameters))
        if model is not None and one_at_a_time(model):
            workers = 1
        found = run_tasks(tasks, folder, workers=workers, cluster=cluster, name="tree loss")
        parts = len(found) // len(runs)
        values = np.stack(
            [
                np.concatenate([x["values"] for x in found[g * parts : (g + 1) * parts]])
                for g in range(len(runs))
            ]
        )  # [grammar, datum, quantity, level, t]
        kinds = QUANTITIES if isinstance(runs[0][0], ExactPCFG) else QUANTITIES[:3]
        return self._summarise(values, kinds, model)

    def _runs(self, model: DiffusionModel | None, data: Any) -> list[tuple[Any, Parses | None]]:
        """Models and their trees, one per grammar."""
        if model is None:
            if data is not None:
                raise InvalidParameter("data were given without the model they belong to")
            return [
                (ExactPCFG(self.grammar(g), self.process, threads=1), None)
                for g in range(self.grammars)
            ]
        name = getattr(getattr(model, "noise", None), "name", "no")
        if name != self.noise:
            raise InvalidParameter(
                f"model {type(model).__name__} with {name} noise cannot be measured as "
                f"{self.noise}; make {type(self).__name__} with noise = {name!r}"
            )
        grammar, trees = _given(model, data)
        if trees is None:
            trees = _drawn(grammar, self.seed, 0, range(self.data))
        if len(trees) < 2:
            raise InvalidParameter(f"data = {len(trees)} give no error bar; use at least 2")
        return [(model, trees)]

    def _summarise(
        self, values: Array, kinds: tuple[str, ...], model: DiffusionModel | None
    ) -> xr.Dataset:
        variables: dict[str, Any] = {}
        every = ("grammar", "datum", "level", "t")
        for q, name in enumerate(kinds):
            x = values[:, :, q]
            # the root has no inner boundary, and estimators want numbers
            r = nested_mean(np.nan_to_num(x, nan=1.0))
            hole = np.isnan(x).any(axis=(0, 1))
            mean, error = (np.where(hole, np.nan, part) for part in (r.mean, r.error))
            if kinds is not QUANTITIES and not isinstance(model, ExactPCFG):
                # of samples that are all alike the error is not zero but below one in their number
                error = np.maximum(error, 1 / x.shape[1])
            variables |= _with_error(name, mean, error)
            variables[f"{name}_by_datum"] = (every, x, _TEXT[name])
        source = "network" if getattr(model, "source", "") == "network" else "simulation"
        return self._label(variables, self.times, values.shape[3], source, model)

    def _label(
        self, variables: dict[str, Any], times: Array, count: int, source: str,
        model: DiffusionModel | None = None,
    ) -> xr.Dataset:  # fmt: skip
        noise = self.process if model is None else model.noise
        coords = {
            "level": (("level",), np.arange(count), "level, root = 0"),
            "t": (("t",), times, f"noise level t of the {noise.name} process"),
        }
        fields = asdict(self)
        if model is not None:  # the sizes are the model's, not those of the experiment's flags
            fields = {k: fields[k] for k in ("noise", "levels", "t", "seed")}
            fields |= {"model": type(model).__name__, "process": repr(noise)}
        return results.label(variables, coords, source, results.provenance(fields))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The bound and the measurement."""
        options = run.tasks(self.name)
        measured = self.measure(model, data, **options)
        if model is not None:
            return {self.name: measured}
        return {f"{self.name}_theory": self.predict(**options), self.name: measured}

    def figure(self, datasets: Datasets) -> Figure:
        """Spans and symbols of every level, with the bound of the known tree."""
        figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained", sharey=True)
        ds, law = datasets[self.name], datasets.get(f"{self.name}_theory")
        for ax, name in zip(axes, ("span", "boundary", "symbol"), strict=True):
            for level in ds.level.values:
                inner = level > (name == "boundary") - 1 and (name == "symbol" or level < self.L)
                if not inner or (name == "span" and level == 0):
                    continue
                tint = shade(level / max(ds.level.values[-1], 1))
                at = ds.sel(level=level)
                ax.errorbar(ds.t, at[name], at[f"{name}_error"], color=tint, ls="none", marker="o",
                            ms=3, elinewidth=0.8, label=f"level {level}")  # fmt: skip
                if name == "symbol" and law is not None:
                    ax.plot(law.t, law.symbol.sel(level=level), color=tint, lw=1)
            ax.set(xlabel=str(ds.t.attrs["long_name"]))
            ax.spines[["top", "right"]].set_visible(False)
        panels(axes, "spans", "boundaries", "symbols; lines: tree known")
        shared_legend(figure, axes[2])
        axes[0].set(ylabel="probability", ylim=(0, 1.03))
        return figure

    def summary(self, datasets: Datasets) -> Summary:
        """Noise levels at which every level is half lost."""
        ds = datasets[self.name]
        found = half_lost_levels(ds, self.seed)
        rows = [
            [level, *(_cell(found[name].get(level)) for name in ("symbol", "span"))]
            for level in ds.level.values.tolist()
        ]
        top = found["symbol"].get(0)
        spans = [x[0] for k, x in found["span"].items() if k]
        claim = "no level is half lost"
        if top and spans:
            claim = (
                f"the class is half lost at {top[0]:.3f} ± {top[1]:.3f}, spans between "
                f"{min(spans):.3f} and {max(spans):.3f}"
            )
        values = {name: {str(k): list(x) for k, x in rows.items()} for name, rows in found.items()}
        header = ["level", "symbol half lost at", "span half lost at"]
        return Summary(text_table(header, rows), claim, values)


def _noise_levels(name: str, value: Any) -> tuple[float, ...] | None:
    """Increasing noise levels from 0 to 1: what is lost is measured from its two ends."""
    if value is None:
        return None
    found: tuple[float, ...] = listed(name, value, one_level, least=3, rising=True)
    if found[0] != 0 or found[-1] != 1:
        raise InvalidParameter(f"{name} = {shown(value)} must begin with 0 and end with 1")
    return found


def _cell(place: tuple[float, float] | None) -> str:
    return "-" if place is None else f"{place[0]:.4f} ± {place[1]:.4f}"


def _with_error(name: str, mean: Array, error: Array) -> dict[str, Any]:
    plane = ("level", "t")
    return {
        name: (plane, mean, _TEXT[name]),
        f"{name}_error": (plane, error, f"standard error of: {_TEXT[name]}"),
    }


def _given(model: Any, data: Any) -> tuple[PCFG, Parses | None]:
    """Grammar and trees that a caller gave."""
    grammar: Any = getattr(model, "grammar", None)
    trees = None
    if isinstance(data, Parses):
        grammar, trees = data.grammar, data
    elif isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Parses):
        grammar, trees = data
    elif isinstance(data, PCFG):
        grammar = data
    elif data is not None:
        raise InvalidParameter(f"data = {shown(data)} must be a PCFG, its Parses, or both")
    if not isinstance(grammar, PCFG) or grammar.L is None:
        raise InvalidParameter(
            f"model {type(model).__name__} has no tree of several levels whose shape varies; give "
            "a layered PCFG or its Parses as data"
        )
    if trees is not None and len(set(trees.lengths.tolist())) != 1:
        raise InvalidParameter("trees must have equal lengths; draw them with sample(length=...)")
    return grammar, trees


def _drawn(grammar: PCFG, seed: int, g: int, rows: range) -> Parses:
    """Trees of the likeliest length about the mean, each from a stream of its own."""
    n = grammar.likely_length()
    parts = [grammar.sample(1, stream(seed, "datum", g, i), length=n) for i in rows]
    ends = np.cumsum([0, *(len(x.nodes) for x in parts)])
    return Parses(grammar, np.concatenate([x.nodes for x in parts]), ends.astype(np.int64))


def known_tree_task(experiment: TreeLoss, t: float, size: int) -> dict[str, Array]:
    """One noise level of density evolution."""
    length = experiment.grammar(0).likely_length()
    # the same random numbers at every noise level make smooth curves
    found = known_tree_dynamics(
        experiment.v, experiment.arities, experiment.L, experiment.process, t, length=length,
        size=size, seed=experiment.seed,
    )  # fmt: skip
    return {"mean": found.marginal, "error": found.marginal_error}


def tree_task(
    model: Any, trees: Parses | None, seed: int, g: int, rows: range, times: Array
) -> dict[str, Array]:
    """One task: corrupt some data, infer or sample, and look the true nodes up.

    ``values`` [datum, quantity, level, t].
    """
    truth = _drawn(model.grammar, seed, g, rows) if trees is None else trees[list(rows)]
    grammar, noise, n = truth.grammar, model.noise, len(rows)
    drawn = [noise.draw(truth.x0[:1].shape, stream(seed, "noise", g, i)) for i in rows]
    randoms = np.concatenate(drawn)
    exact = isinstance(model, ExactPCFG)
    levels = int(grammar.L or 0) + 1
    values = np.full((n, len(QUANTITIES) if exact else 3, levels, len(times)), np.nan)
    evidence = []
    for k, t in enumerate(times):
        if exact:
            x_t = noise.corrupt_with(truth.x0, t, randoms)
            found = model.posterior(x_t, t)
            values[:, :3, :, k] = _of_nodes(found, truth)
            evidence.append(noise.log_evidence(x_t, t))
            continue
        backward = stream(seed, "backward", g, rows.start, k)
        run = forward_backward(model, truth.x0, t, backward, randoms=randoms)
        values[:, :, :, k] = _of_sample(grammar, run.x_0, truth)
    if exact:
        known = known_tree_beliefs(grammar, truth, np.stack(evidence, axis=1))
        values[:, 3] = _averaged(truth, known)
    return {"values": values}


def _of_nodes(found: ParsePosterior, truth: Parses) -> Array:
    """Symbols, spans and boundaries of the true nodes, [datum, quantity, level]."""
    nodes = found.node_posterior(truth)
    symbol, span = (_averaged(truth, x[:, None])[..., 0] for x in nodes)
    return np.stack([symbol, span, _boundaries(truth, found.starts)], axis=1)


def _of_sample(grammar: PCFG, made: Array, truth: Parses) -> Array:
    """The same of strings that a model drew, which need not be in the language."""
    valid = valid_strings(grammar, made)
    clean = ExactPCFG(grammar, noise_process("masking", grammar.v), threads=1)
    # the truth stands in for strings without a tree, whose numbers are put in afterwards
    out = _of_nodes(clean.posterior(np.where(valid[:, None], made, truth.x0), 0.0), truth)
    nodes = derived_nodes(grammar, made, truth)
    symbol, span = (_averaged(truth, x[:, None])[..., 0] for x in nodes)
    begins = np.zeros((len(made), symbol.shape[1], made.shape[1]))
    level = grammar.level_of[truth.nodes[:, 0]]
    begins[truth.owner, level, truth.nodes[:, 1]] = nodes.span
    below = np.stack([symbol, span, _boundaries(truth, begins)], axis=1)
    return np.where(valid[:, None, None], out, below)


def _boundaries(truth: Parses, starts: Array) -> Array:
    """Mean of the probability that nodes start at [n, level, leaf] over the true inner starts."""
    out = np.full(starts.shape[:2], np.nan)
    for level in range(1, starts.shape[1]):
        begin = truth.starts(level)[:, 1:]
        number = begin.sum(axis=1)
        kept = (starts[:, level, 1:] * begin).sum(axis=1)
        # a level of one node has no inner boundary: nothing of it can be lost
        out[:, level] = np.where(number > 0, kept / np.maximum(number, 1), 1.0)
    return out


def _averaged(truth: Parses, values: Array) -> Array:
    """Means over the nodes of each level of every datum, [datum, level, ...] of [nodes, ...]."""
    levels = int(truth.grammar.L or 0) + 1
    place = truth.owner * levels + truth.grammar.level_of[truth.nodes[:, 0]]
    size = len(truth) * levels
    sums = np.zeros((size, values.shape[1]))
    np.add.at(sums, place, values)
    mean = sums / np.bincount(place, minlength=size)[:, None]
    return np.asarray(mean.reshape(len(truth), levels, -1))


def half_lost_levels(ds: xr.Dataset, seed: int = 0) -> dict[str, dict[int, tuple[float, float]]]:
    """Noise level at which each quantity has fallen half-way from t = 0 to t = 1, by level.

    Parameters
    ----------
    ds : xarray.Dataset
        As :meth:`TreeLoss.measure` returns it.
    seed : int
        Of the bootstrap over grammars.

    Returns
    -------
    dict of dict
        By quantity and level, (place, error); levels that lose less than a tenth are left out, and
        those of spans that a grammar of one arity cannot lose.
    """
    out: dict[str, dict[int, tuple[float, float]]] = {}
    for name in QUANTITIES:
        if f"{name}_by_datum" not in ds:
            continue
        out[name] = {}
        for level in ds.level.values.tolist():
            x = ds[f"{name}_by_datum"].sel(level=level).values
            mean = x.mean(axis=(0, 1))
            if not np.isfinite(mean).all() or mean[0] - mean[-1] < 0.1:
                continue
            place = _half(ds.t.values, x, seed)
            out[name][level] = (place.value, place.error)
    return out


def _half(t: Array, x: Array, seed: int) -> Crossing:
    """Where the rescaled mean of curves [grammar, datum, t] falls through one half."""
    mean = x.mean(axis=(0, 1))
    # one scale for all, so that the error is that of the curve; kept inside of (0, 1) for log-odds
    scaled = (x - mean[-1]) / (mean[0] - mean[-1])
    units = scaled.mean(axis=1, keepdims=True) if len(x) > 1 else scaled
    return crossing(t, units.clip(0, 1), seed=stream(seed, "bootstrap"))
