"""Phase transition: at which noise level is the class lost, and every other level?

Draw a datum, corrupt it to noise level t, let a model draw a datum from there
(:mod:`hierdiff.sims.metrics.forward_backward`).  For every level of the hierarchy two things are
recorded: the belief in the true symbol, and whether the symbol is unchanged in the new datum.  At
a threshold the class is lost, over a range of noise that shrinks as lambda^-L with the depth (see
``theory.rhm.critical_exponents``); low levels fade smoothly.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    levels_of,
    listed,
    natural,
    one_level,
    reals,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run
from hierdiff.data.rhm import RHM, Grammar, affordable
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.noise import NoiseProcess, has_snr, is_channel, noise_name, noise_process
from hierdiff.plots import Figure
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import (
    bootstrap,
    clustered_interval,
    crossing,
    falls_through,
    nested_mean,
)
from hierdiff.sims.metrics.forward_backward import (
    QUANTITIES,
    MixtureModel,
    StartData,
    checked_derivations,
    class_run,
    forward_backward,
    labelled_data,
    one_at_a_time,
    overlap,
    start_data,
    tree_run,
)
from hierdiff.sims.phase_transition_figure import (
    phase_transition_figure,
    phase_transition_processes,
)
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.density_evolution import order_parameter
from hierdiff.theory.rhm.mean_field import annealed_beliefs, critical_noise, finite_depth_threshold

if TYPE_CHECKING:
    from hierdiff.contracts import Summary

__all__ = ["PhaseTransition", "density_evolution", "sampling_tasks"]

Array = NDArray[Any]

PROCESSES = ("masking", "uniform", "gaussian", "epsilon")  # what "all" stands for
_BLOCK = 64  # data per task of exact inference: what an interruption can lose
_IMAGES = 256  # images per task, where the model does not say how many it takes at a time
_TOGETHER = 8  # noise levels per task of density evolution: they share their rules
# members and populations: the error of the predicted threshold is then below 1 %
_SIZE, _COPIES = 1000, 8
_TEXT = {
    "belief": "posterior probability of the true symbol",
    "upward": "upward belief in the true symbol",
    "square": "sum of squared posterior probabilities",
    "retention": "probability that the symbol is unchanged",
    "valid": "share of samples in the language",
}


@dataclass(frozen=True)
class PhaseTransition:
    """Loss of the class, and of every other level, when a datum is noised and denoised.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: posterior inference is exact by default; averages are over ``grammars`` random
    grammars with ``data`` data each, so errors are statistical only.

    References
    ----------
    arXiv 2402.16991, 2410.13770.

    Examples
    --------
    >>> experiment = PhaseTransition(v=8, m=2, L=3, grammars=2, data=4, levels=3, refine=0)
    >>> ds = experiment.measure()
    >>> dict(ds.belief.sizes), str(ds.source.values)
    ({'level': 4, 't': 3}, 'simulation')
    >>> ds.belief.sel(t=0).values.round(12).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    v: int = 32
    """Symbols per level."""
    m: int = 8
    """Rules (synonyms) per symbol; unambiguous rules need m * v <= v**s."""
    s: int = 2
    """Symbols that a rule writes: the branching of the tree."""
    L: int = 10
    """Levels of rules; a datum has s**L leaves."""
    noise: str = "masking"
    """Forward process: masking, uniform, gaussian, epsilon (the analytic idealisation), all of
    these (all), or a registered name."""
    grammars: int = 24
    """Random grammars to average over (quenched average)."""
    data: int = 32
    """Data per grammar."""
    levels: int = 21
    """Noise levels between 0 and 1, evenly spaced."""
    refine: int = 9
    """Further noise levels around the place where the class is lost."""
    t: tuple[float, ...] | None = None
    """Noise levels, in place of evenly spaced and further ones."""
    seed: int = 0
    """Seed of everything random."""

    name: ClassVar[str] = "phase_transition"
    _repr_html_ = experiment_html

    def __post_init__(self) -> None:
        check_fields(
            self, grammars=partial(whole, high=10**6), data=partial(whole, high=10**8),
            levels=partial(whole, high=10**5), refine=partial(whole, high=10**5), seed=natural,
            t=_noise_levels,
            noise=partial(noise_name, also=("all",)),
        )  # fmt: skip
        for name in ("grammars", "data", "levels"):
            if getattr(self, name) < (1, 1, 2)[("grammars", "data", "levels").index(name)]:
                least = 2 if name == "levels" else 1
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {least}")
        if self.refine < 0 or self.seed < 0:
            raise InvalidParameter(
                f"refine = {self.refine} and seed = {self.seed} must not be negative"
            )
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)
        if self.noise != "all":
            noise_process(self.noise, self.rhm.v)

    def each(self) -> tuple[PhaseTransition, ...]:
        """One experiment per process that ``noise`` stands for."""
        names = PROCESSES if self.noise == "all" else (self.noise,)
        return tuple(replace(self, noise=name) for name in names)

    @property
    def rhm(self) -> RHM:
        """The Random Hierarchy Model of these parameters."""
        return RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        if self.noise == "all":
            raise InvalidParameter("noise = 'all' stands for four processes; run over each() of it")
        return noise_process(self.noise, self.v)

    @property
    def times(self) -> Array:
        """Noise levels that are measured, before further ones around the threshold."""
        return np.linspace(0, 1, self.levels) if self.t is None else np.array(self.t)

    @results.tracked
    @checked
    def predict(
        self,
        law: str | None = None,
        t: Array | None = None,
        *,
        size: int = 4000,
        copies: int = 4,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """What a law says, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"annealed", "population"}, optional
            The annealed recursion, for the epsilon-process only and its default; or density
            evolution, for every process.
        t : array, optional
            Noise levels; default a fine grid, or a coarse one for density evolution.
        size, copies
            Of the populations, as in
            :func:`hierdiff.theory.rhm.density_evolution.population_dynamics`.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`; density evolution takes seconds.

        Returns
        -------
        xarray.Dataset
            ``belief``, ``upward`` and ``retention`` on (level, t), with errors; ``threshold``
            (where the class is lost at this depth); for the recursion also ``critical``, its limit
            for infinite depth.

        Raises
        ------
        InvalidParameter
            If the law is unknown, or is not a law of this noise process.

        Notes
        -----
        Validity: average over unambiguous grammars with uniform rules.  The recursion is exact as
        v grows; density evolution for large populations and rules drawn anew at every node.
        ``threshold`` is absent where the belief in the class does not cross one half, ``critical``
        where no transition exists.
        """
        noise = self.process
        if law is None:
            law = "population" if is_channel(noise) else "annealed"
        if law == "population":
            times = self.times if t is None else np.atleast_1d(levels_of(t))
            options = {"folder": folder, "workers": workers, "cluster": cluster}
            return self._predict_population(times, size, copies, options)
        if law != "annealed":
            raise InvalidParameter(f"law = {law!r} is not known; use 'annealed' or 'population'")
        if is_channel(noise):
            raise InvalidParameter(
                f"the recursion is no prediction for {self.noise} noise, whose messages fluctuate; "
                "use law='population'"
            )
        times = np.linspace(0, 1, 401) if t is None else np.atleast_1d(levels_of(t))
        up, _, marginal = annealed_beliefs(self.rhm, times)
        zero = np.zeros_like(marginal.T)
        variables = _curves({"belief": (marginal.T, zero), "upward": (up.T, zero)})
        try:
            if self.v > 2:  # the chance level of two classes is one half already
                variables["threshold"] = ((), finite_depth_threshold(self.rhm), _THRESHOLD)
                variables["threshold_error"] = ((), 0.0, "no error")
            variables["critical"] = ((), critical_noise(self.rhm), "critical noise, L -> infinity")
        except NoTransition:
            pass
        return self._label(variables, {}, times, "theory")

    def _predict_population(
        self, times: Array, size: int, copies: int, options: dict[str, Any]
    ) -> xr.Dataset:
        tasks = []
        for first in range(0, len(times), _TOGETHER):
            block = times[first : first + _TOGETHER]
            parameters = {
                "version": 3, "law": "population", "v": self.v, "m": self.m, "s": self.s,
                "L": self.L, "noise": self.noise, "seed": self.seed, "t": block.tolist(),
                "size": size, "copies": copies,
            }  # fmt: skip
            arguments = (self.rhm, self.process, block, size, copies, self.seed)
            tasks.append(Task(density_evolution, arguments, parameters))
        found = run_tasks(tasks, name="density evolution", **options)
        planes = {k: np.concatenate([r[k] for r in found], axis=1) for k in found[0]}
        variables = _curves(
            {
                "belief": (planes["marginal"], planes["marginal_error"]),
                "upward": (planes["upward"], planes["upward_error"]),
            }
        )
        root, error = planes["marginal"][0], planes["marginal_error"][0]
        bracket = _bracket(times, root)
        if bracket is not None:
            place = falls_through(times, root)
            near = np.searchsorted(times, place)
            slope = np.diff(root)[near - 1] / np.diff(times)[near - 1]
            doubt = float(np.interp(place, times, error) / abs(slope))
            variables["threshold"] = ((), place, _THRESHOLD)
            variables["threshold_error"] = ((), doubt, "standard error of the threshold")
        return self._label(variables, {}, times, "theory")

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
        """Forward-backward runs: for every level the belief, and whether the symbol is unchanged.

        Parameters
        ----------
        model : DiffusionModel, optional
            Any model with this noise process; one process of your own is taken as it is.  Default:
            exact inference on ``grammars`` random grammars.
        data : optional
            Data to start from, as in :func:`hierdiff.sims.metrics.forward_backward.start_data`: a
            grammar, (grammar, derivations), a mixture, (points, classes) of a mixture, or (data,
            classes, classifier).  Default: ``data`` drawn from the model's own grammar or mixture.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            For x in belief, upward, square, retention: ``x`` (level, t), ``x_error`` its standard
            error, ``x_by_grammar`` (grammar, level, t), ``x_quenched_sd`` and ``x_thermal_sd``;
            ``class_interval``, likelihood interval of the class's retention, wider where data of
            one grammar change together; ``class_belief`` (grammar, datum, t); ``threshold`` and
            ``threshold_error`` where the mean belief in the class crosses one half, and
            ``threshold_missed``, the share of bootstrap replicas that do not cross it; ``width``
            and ``width_error``, the range over which it falls from .9 to .1 (with masking at
            (32, 8, 2) and L = 10 .42 of the threshold; NaN where chance is above .1).  On strings
            and rendered grammars also ``valid`` (t), the share of samples in the language, where
            samples are read; of these models also ``retention_by_datum`` (grammar, datum, level,
            t).

        Raises
        ------
        InvalidParameter
            If the model has another noise process, the data do not belong to it, or the latents of
            its samples cannot be read; the line says what is missing.

        Notes
        -----
        Validity: of :class:`ExactRHM` and :class:`ExactMixture` the beliefs are those that the
        model returns, and every datum has its own random streams, used at all noise levels, so
        curves are smooth and independent of batches.  Any other model is measured by its samples:
        its belief in the true symbol of a level is estimated by the share of samples that keep the
        symbol, which is the mean belief if the samples follow the model's posterior; ``upward``
        and ``square`` are then absent, errors are at least one over the number of data, and data
        of one run share a stream.  Networks run one task at a time.
        """
        runs = self._runs(model, data)
        times = self.times
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        values = self._run(runs, times, "noise levels", options)
        bracket = _bracket(times, values[..., 0, :, 0].mean(axis=(0, 1)))
        if self.refine and self.t is None and bracket is not None:
            fine = np.linspace(*bracket, self.refine + 2)[1:-1]
            more = self._run(runs, fine, "near the threshold", options)
            order = np.argsort(np.concatenate([times, fine]))
            times = np.concatenate([times, fine])[order]
            values = np.concatenate([values, more], axis=3)[:, :, :, order]
        return self._summarise(times, values, runs[0].quantities, model)

    def _runs(self, model: DiffusionModel | None, data: Any) -> list[_Run]:
        """Models and their data, one per grammar."""
        if model is None:
            if data is not None:
                raise InvalidParameter("data were given without the model they belong to")
            drawn = []
            for g in range(self.grammars):
                grammar = self.rhm.draw(stream(self.seed, "grammar", g))
                exact = ExactRHM(grammar, self.process, threads=1)
                drawn.append(_Run(exact, None, f"drawn {g}", self.data, QUANTITIES))
            return drawn
        name = getattr(getattr(model, "noise", None), "name", "no")
        if name != self.noise and name in (*PROCESSES, "no"):
            raise InvalidParameter(
                f"model {type(model).__name__} with {name} noise cannot be measured as "
                f"{self.noise}; give a model with that noise, or make PhaseTransition with "
                f"noise = {name!r}"
            )
        if isinstance(model, MixtureModel) and not _classified(data):
            given = None if data is None else labelled_data(model.mixture, data)
            n = self.data if given is None else len(given[0])
            return [_Run(model, given, "given", n, QUANTITIES)]
        if isinstance(model, ExactRHM):
            trees = data[1] if isinstance(data, tuple) and len(data) == 2 else data
            trees = None if isinstance(trees, Grammar) and trees is model.grammar else trees
            if trees is not None:
                checked_derivations(model.grammar, trees)
            n = self.data if trees is None else len(trees)
            return [_Run(model, trees, "given", n, QUANTITIES)]
        start = start_data(model, data, self.data, self.seed)
        if len(start) < 2:
            raise InvalidParameter(f"data = {len(start)} give no error bar; use at least 2")
        words = ("belief", "retention", *(("valid",) if start.grammar is not None else ()))
        return [_Run(model, start, "given", len(start), words)]

    def _run(
        self, runs: list[_Run], times: Array, name: str, options: dict[str, Any]
    ) -> Array:  # fmt: skip
        """Values [grammar, datum, level, t, quantity]."""
        if isinstance(runs[0].data, StartData):
            return self._sampled(runs[0], times, name, options)
        tasks = []
        for g, (model, data, words, n, _) in enumerate(runs):
            function = class_run if isinstance(model, MixtureModel) else tree_run
            for first in range(0, n, _BLOCK):
                rows = range(first, min(first + _BLOCK, n))
                parameters = {
                    "version": 1, "question": "phase_transition", "world": words,
                    "v": self.v, "m": self.m, "s": self.s, "L": self.L, "noise": self.noise,
                    "seed": self.seed, "grammar": g, "first": rows.start, "last": rows.stop,
                    "t": [float(x) for x in times],
                }  # fmt: skip
                arguments = (model, data, self.seed, g, rows, times)
                tasks.append(Task(function, arguments, parameters))
        blocks = run_tasks(tasks, name=name, **options)
        per_grammar = len(blocks) // len(runs)
        joined = [
            np.concatenate([b["values"] for b in blocks[g * per_grammar : (g + 1) * per_grammar]])
            for g in range(len(runs))
        ]
        return np.stack(joined)

    def _sampled(self, run: _Run, times: Array, name: str, options: dict[str, Any]) -> Array:
        """The same of a model that is known by its samples."""
        start: StartData = run.data
        planes = []
        for samples in samples_of(run.model, start, times, self.seed, name=name, **options):
            found = overlap(start, samples)
            parts = [found.share, found.share]
            if start.grammar is not None:
                parts.append(np.repeat(found.valid[:, None], found.share.shape[1], axis=1))
            planes.append(np.stack(parts, axis=-1))  # [n, level, quantity]
        return np.stack(planes, axis=2)[None]

    def _summarise(
        self, times: Array, values: Array, quantities: tuple[str, ...],
        model: DiffusionModel | None,
    ) -> xr.Dataset:  # fmt: skip
        variables: dict[str, tuple[tuple[str, ...], Any, str]] = {}
        plane = ("level", "t")
        for q, name in enumerate(quantities):
            r = nested_mean(values[..., q])
            text, error = _TEXT[name], r.error
            if quantities != QUANTITIES:
                # of samples that are all alike the error is not zero but below one in their number
                n = values.shape[1]
                error = np.maximum(values[0, ..., q].std(axis=0, ddof=1) / np.sqrt(n), 1 / n)
            if name == "valid":
                variables["valid"] = (("t",), r.mean[0], text)
                variables["valid_error"] = (("t",), error[0], f"standard error of: {text}")
                continue
            variables[name] = (plane, r.mean, text)
            variables[f"{name}_error"] = (plane, error, f"standard error of: {text}")
            variables[f"{name}_by_grammar"] = (("grammar", *plane), r.by_grammar, text)
            variables[f"{name}_quenched_sd"] = (plane, r.quenched_sd, "spread between grammars")
            variables[f"{name}_thermal_sd"] = (plane, r.thermal_sd, "spread between data")
        if quantities != QUANTITIES:  # for paired differences of models on the same data
            each = values[..., quantities.index("retention")]
            every = ("grammar", "datum", *plane)
            variables["retention_by_datum"] = (every, each, _TEXT["retention"])
        interval = clustered_interval(values[:, :, 0, :, quantities.index("retention")])
        variables["class_interval"] = (
            ("t", "end"), interval, "likelihood interval of the class's retention",
        )  # fmt: skip
        root = values[:, :, 0, :, 0]
        variables["class_belief"] = (("grammar", "datum", "t"), root, _TEXT["belief"] + " (root)")
        if _bracket(times, root.mean(axis=(0, 1))) is not None:
            place = crossing(times, root, seed=stream(self.seed, "bootstrap"))
            variables["threshold"] = ((), place.value, _THRESHOLD)
            variables["threshold_error"] = ((), place.error, "standard error of the threshold")
            variables["threshold_missed"] = ((), place.missed, "replicas without a threshold")
            width, doubt = _width(times, root, self.seed)
            variables["width"] = ((), width, _WIDTH)
            variables["width_error"] = ((), doubt, f"standard error of: {_WIDTH}")
        coords = {"end": (("end",), ["low", "high"], "end of the interval")}
        source = "network" if getattr(model, "source", "") == "network" else "simulation"
        return self._label(variables, coords, times, source, model)

    def _label(
        self, variables: dict[str, Any], coords: dict[str, Any], times: Array, source: str,
        model: DiffusionModel | None = None,
    ) -> xr.Dataset:  # fmt: skip
        count = len(variables["belief"][1])
        noise = self.process if model is None else model.noise
        axes = {
            "level": (("level",), np.arange(count), "level, root = 0"),
            "t": (("t",), times, f"noise level t of the {noise.name} process"),
            **coords,
        }
        if has_snr(noise):
            axes["snr"] = (("t",), noise.snr(times), "signal-to-noise ratio")
        fields = asdict(self)
        if model is not None:  # the sizes are the model's, not those of the experiment's flags
            fields = {k: x for k, x in fields.items() if k not in ("v", "m", "s", "L", "grammars")}
            fields |= {"model": type(model).__name__, "process": repr(noise)}
        return results.label(variables, axes, source, results.provenance(fields))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Prediction and measurement; with ``noise = "all"`` of the four processes, joined.

        A model of data without a regular grammar, or with a process of your own, has no prediction.
        """
        pairs = [one._pair(run.tasks(self.name), model, data) for one in self.each()]
        names = [f"{self.name}_theory", self.name][-len(pairs[0]) :]
        return {
            name: parts[0] if len(parts) == 1 else _together(parts)
            for name, parts in zip(names, zip(*pairs, strict=True), strict=True)
        }

    def _pair(
        self, options: dict[str, Any], model: DiffusionModel | None, data: Any
    ) -> tuple[xr.Dataset, ...]:
        """Prediction, if there is one, and measurement of one process."""
        measured = self.measure(model, data, **options)
        law = self if model is None else self._like(model, data)
        if law is None:
            return (measured,)
        if not is_channel(self.process):
            return law.predict(), measured
        theory = law.predict(
            "population", between(measured.t.values), size=_SIZE, copies=_COPIES, **options
        )  # fmt: skip
        return theory, measured

    def _like(self, model: DiffusionModel, data: Any) -> PhaseTransition | None:
        """The experiment at the sizes of a model's grammar, if that is regular."""
        given = data[0] if isinstance(data, tuple) and data else data
        grammar = given if isinstance(given, Grammar) else getattr(model, "grammar", None)
        if not isinstance(grammar, Grammar) or model.noise.name != self.noise:
            return None
        rules = {np.shape(r)[1] for r in grammar.rules}
        sizes = (set(grammar.v), rules, set(grammar.s))
        if any(len(size) > 1 for size in sizes) or not grammar.is_unambiguous:
            return None
        (v,), (m,), (s,) = sizes
        return replace(self, v=v, m=m, s=s, L=grammar.L)

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """All levels, and the class near its loss; the four processes side by side."""
        pairs = [tuple(pair) for _, pair in self._by_process(datasets)]
        return phase_transition_figure(*pairs[0]) if len(pairs) == 1 else (
            phase_transition_processes(*pairs)
        )  # fmt: skip

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Beliefs of all levels, and where the class is lost, measured and predicted."""
        from hierdiff.contracts import Summary

        tables, claims, values = [], [], {}
        rows = self._by_process(datasets)
        for experiment, pair in rows:
            tables.append(f"{experiment.noise} noise\n{_table(pair[-1])}")
            text = _claim(experiment, *pair)
            claims.append(text if len(rows) == 1 else f"{experiment.noise}: {text}")
            values[experiment.noise] = _values(pair)
        return Summary("\n".join(tables), "; ".join(claims), values)

    def _by_process(
        self, datasets: Mapping[str, xr.Dataset]
    ) -> list[tuple[PhaseTransition, list[xr.Dataset]]]:
        """Prediction, if there is one, and measurement of every process."""
        found = [datasets[k] for k in (f"{self.name}_theory", self.name) if k in datasets]
        return [(one, [_of_process(ds, one.noise) for ds in found]) for one in self.each()]


class _Run(NamedTuple):
    """A model and its data, in words that name them, with what is recorded of them."""

    model: Any
    data: Any
    words: str
    n: int
    quantities: tuple[str, ...]


def _noise_levels(name: str, value: Any) -> tuple[float, ...] | None:
    return None if value is None else listed(name, value, one_level, least=2, rising=True)


def _classified(data: Any) -> bool:
    """Whether the data come with a classifier, or a mixture of their own."""
    return data is not None and not (isinstance(data, tuple) and len(data) == 2)


def _times(name: str, value: Any) -> Array:
    return reals(name, levels_of(value), ndim=1, least=1)


@checked(times=_times, seed=natural)
def sampling_tasks(
    model: DiffusionModel, start: StartData, times: Array, seed: int
) -> list[Task]:  # fmt: skip
    """Forward-backward runs of a model at every noise level, as tasks that return ``x_0``.

    Parameters
    ----------
    model : DiffusionModel
    start : StartData
    times : array [T]
    seed : int

    Returns
    -------
    list of Task
        The blocks of the first noise level, then those of the second, and so on.

    Notes
    -----
    Validity: data with a grammar run in one block, with the same random numbers at all levels, so
    that two models of equal seed start from the same noisy data.  Classified data run in blocks
    that the model takes at a time, each with random numbers of its own, so that a block of a large
    network can be lost, resumed, and done by another process.
    """
    n, of_tree = len(start), start.grammar is not None
    execution = getattr(model, "execution", None)
    block = n if of_tree else int(getattr(execution, "batch_size", _IMAGES))
    tasks = []
    for t in times:
        for first in range(0, n, block):
            rows = start.x0[first : first + block]
            parameters = {"version": 1, "question": "forward-backward", "seed": seed,
                          "first": first, "t": float(t)}  # fmt: skip
            block_of = None if of_tree else first
            tasks.append(Task(_sample, (model, rows, float(t), seed, block_of), parameters))
    return tasks


def samples_of(
    model: DiffusionModel, start: StartData, times: Array, seed: int, *, name: str, **options: Any
) -> list[Array]:
    """What a model draws at every noise level, [n, ...] each: ``sampling_tasks``, run.

    ``name`` and ``options`` are those of :func:`hierdiff.tasks.run_tasks`.  Networks run one task
    at a time.
    """
    tasks = sampling_tasks(model, start, times, seed)
    if one_at_a_time(model):
        options = {**options, "workers": 1}
    made, count = run_tasks(tasks, name=name, **options), len(tasks) // len(times)
    return [
        np.concatenate([block["x_0"] for block in made[first : first + count]])
        for first in range(0, len(made), count)
    ]


def _sample(
    model: DiffusionModel, x0: Array, t: float, seed: int, first: int | None
) -> dict[str, Array]:
    """One task: data noised to t and denoised, with random numbers of the block or of all."""
    own = seed if first is None else stream(seed, "images", first, round(1e6 * t))
    return {"x_0": forward_backward(model, x0, t, own).x_0}


@checked(times=_times, seed=natural)
def density_evolution(
    rhm: RHM, noise: NoiseProcess, times: Array, size: int, copies: int, seed: int
) -> dict[str, Array]:
    """One task: mean beliefs per level by density evolution, with standard errors.

    Parameters
    ----------
    rhm, noise, size, copies
        As in :func:`hierdiff.theory.rhm.density_evolution.population_dynamics`.
    times : array [T]
        Noise levels, all with the same random numbers, so that curves are smooth.
    seed : int
        Names the random stream.

    Returns
    -------
    dict
        ``upward``, ``marginal`` and their errors, each [L + 1, T].
    """
    random = stream(seed, "population")
    # one thread: tasks run side by side
    found = order_parameter(rhm, noise, times, size, copies, random, threads=1)
    return {
        "upward": found.upward, "upward_error": found.upward_error,
        "marginal": found.marginal, "marginal_error": found.marginal_error,
    }  # fmt: skip


_THRESHOLD = "noise level at which the belief in the class is one half"
_WIDTH = "range of noise levels over which the belief in the class falls from .9 to .1"


def _width(times: Array, root: Array, seed: int) -> tuple[float, float]:
    """Range over which the mean of [grammars, data, t] falls from .9 to .1; NaN if it does not."""
    units = root.mean(axis=1) if len(root) > 1 else root[0]

    def width(rows: Array) -> float:
        curve = np.minimum(units[rows].mean(axis=0), 1.0)
        return falls_through(times, curve, 0.1) - falls_through(times, curve, 0.9)

    found = bootstrap(width, len(units), seed=stream(seed, "width"))
    return width(np.arange(len(units))), float(found.error)


def _curves(values: dict[str, tuple[Array, Array]]) -> dict[str, Any]:
    """Predicted planes with errors; a sample keeps a symbol as often as it is believed."""
    variables: dict[str, Any] = {}
    for name, (mean, error) in {**values, "retention": values["belief"]}.items():
        variables[name] = (("level", "t"), mean, _TEXT[name])
        variables[f"{name}_error"] = (("level", "t"), error, f"standard error of: {_TEXT[name]}")
    return variables


def between(times: Array, step: float = 0.025) -> Array:
    """Noise levels of a curve: those given, and evenly between them where they are further apart.

    Comparisons need the given ones; where the class is lost they are close already.
    """
    parts = [
        np.linspace(a, b, int(np.ceil((b - a) / step - 1e-9)), endpoint=False)
        for a, b in itertools.pairwise(times)
        if b > a
    ]
    return np.concatenate([*parts, times[-1:]])


def _bracket(times: Array, curve: Array) -> tuple[float, float] | None:
    """The neighbouring noise levels between which a curve falls through one half."""
    below = np.flatnonzero(curve < 0.5)
    if not below.size or below[0] == 0:
        return None
    i = int(below[0])
    return float(times[i - 1]), float(times[i])


def _together(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Datasets of several processes as one; a noise level that a process lacks holds NaN."""
    names = [str(json.loads(ds.attrs["parameters"])["noise"]) for ds in parts]
    bare = [ds.drop_vars("snr", errors="ignore") for ds in parts]
    # thresholds and critical levels that a process lacks are NaN there
    scalars = {str(k): ds[k] for ds in bare for k in ds.data_vars if not ds[k].dims}
    bare = [
        ds.assign({k: x.copy(data=np.nan) for k, x in scalars.items() if k not in ds})
        for ds in bare
    ]  # fmt: skip
    kept = [k for k in bare[0].data_vars if all(k in ds for ds in bare)]
    joined = xr.concat(
        [ds[kept] for ds in bare], xr.Variable("process", names, {"long_name": "noise process"}),
        join="outer", coords="minimal", compat="override", combine_attrs="override",
    )  # fmt: skip
    joined.t.attrs["long_name"] = "noise level t of each process"
    joined.attrs.update(results.tasks_of(*parts))
    joined.attrs["parameters"] = json.dumps(
        {**json.loads(parts[0].attrs["parameters"]), "noise": "all"}
    )
    return joined.assign_coords(source=str(parts[0].source.values))


def _of_process(ds: xr.Dataset, name: str) -> xr.Dataset:
    """The part of a joined dataset that belongs to a process."""
    if "process" not in ds.dims:
        return ds
    one = ds.sel(process=name, drop=True)
    one = one.isel(t=np.flatnonzero(np.isfinite(one.belief.isel(level=0).values)))
    lacking = [k for k in one.data_vars if not one[k].dims and not np.isfinite(one[k])]
    one = one.drop_vars(lacking)
    one.t.attrs["long_name"] = f"noise level t of the {name} process"
    return one


def _table(ds: xr.Dataset, columns: int = 6) -> str:
    """The belief in the true symbol, a row per level and a column per noise level."""
    ends = ds.sizes["t"] - 1
    pick = list(dict.fromkeys(round(i * ends / (columns - 1)) for i in range(columns)))
    times = ds.t.values[pick]
    rows = []
    for level in ds.level.values:
        row = ds.sel(level=level).isel(t=pick)
        cells = zip(row.belief.values, row.belief_error.values, strict=True)
        rows.append([level, *(plus_minus(p, e, digits=4) for p, e in cells)])
    return text_table(["level", *(f"t = {t:.3f}" for t in times)], rows)


def _claim(experiment: PhaseTransition, *pair: xr.Dataset) -> str:
    """Where the class is lost, measured and predicted."""
    measured = pair[-1]
    process = experiment.process
    letter = "t" if is_channel(process) else "epsilon"
    if "threshold" not in measured:
        return f"class not lost between {letter} = 0 and 1: its mean belief does not cross 1/2"
    value, error = float(measured.threshold), float(measured.threshold_error)
    text = f"class lost at {letter} = {value:.4f} ± {error:.4f}"
    if has_snr(process):
        low, here, high = process.snr([value + error, value, value - error])
        text += f", SNR = {here:.2f} ± {(high - low) / 2:.2f}"
    if len(pair) == 1:
        return text
    theory = pair[0]
    if "threshold" not in theory:
        return text + " (theory: no transition at these parameters)"
    predicted, doubt = float(theory.threshold), float(theory.threshold_error)
    total = float(np.hypot(error, doubt))
    z = (value - predicted) / total if total else 0.0
    depth = measured.sizes["level"] - 1
    words = f"{predicted:.4f}" + (f" ± {doubt:.4f}" if doubt else "")
    text += f" (theory {words} at depth {depth}, z = {z:.1f}"
    if "critical" in theory:
        text += f"; {float(theory.critical):.4f} for infinite depth"
    return text + ")"


def _values(pair: Sequence[xr.Dataset]) -> dict[str, Any]:
    """The numbers of one process."""
    found: dict[str, Any] = {}
    for ds in pair:
        words = ("threshold", "threshold_error", "critical", "width", "width_error")
        found[str(ds.source.values)] = {
            **{k: float(ds[k]) for k in words if k in ds and np.isfinite(ds[k])},
            "t": ds.t.values.tolist(),
            "belief": ds.belief.values.tolist(),
            "retention": ds.retention.values.tolist(),
        }
    return found
