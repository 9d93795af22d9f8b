r"""Zero-shot classification: the class whose conditional denoiser makes the smallest error.

.. math:: \hat y = \arg\min_c \frac1N \sum_{i=1}^N w(t_i)\,|x_0 - \hat x_c(x_{t_i})|^2

=====================  =======================================================================
symbol                 meaning
=====================  =======================================================================
:math:`\hat x_c`       E[x0 | x_t, c], the denoiser conditioned on class c
:math:`w(t)`           weight of the error of x0; :math:`|\mathrm{SNR}'|` is the likelihood's
N                      samples :math:`(t, \varepsilon)` per datum, the budget
t                      time of a sample in (0, 1]; SNR :math:`\cot^2(\pi t/2)`
=====================  =======================================================================

On random grammars with Gaussian emissions the conditional denoisers are exact and Bayes' ceiling
is computed, so that every loss of accuracy is due to the scoring rule.  Measured are accuracy
against weight and budget, with noise shared by the classes or independent for each; single noise
levels; two ways to save calls of the denoiser, and the number of calls as a confidence; confusion
when a node of any tree level is the class.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Protocol, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    listed,
    memory,
    natural,
    number,
    positive,
    symbols_of,
    text,
    unchecked,
    whole,
)
from hierdiff.contracts import Run, Sample, Summary
from hierdiff.data.rhm import RHM, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.plots import Figure
from hierdiff.seeds import stream
from hierdiff.sims.classification_figures import (
    accuracy_table,
    classification_figure,
    current_names,
)
from hierdiff.sims.metrics.calibration import (
    discrimination,
    grouped_calibration_error,
    platt,
    temperature,
)
from hierdiff.sims.metrics.denoising_error import (
    ClassErrors,
    ErrorPool,
    HasErrors,
    class_errors,
    error_pool,
    moments,
    paired_t_pruning,
    prefix_scores,
    staged_elimination,
    stratified_pool,
    tie_split_accuracy,
)
from hierdiff.sims.metrics.estimators import mean_and_error, standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.zero_shot.inputs import checked_labels
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM, NodeClasses
from hierdiff.theory.zero_shot.scores import (
    ClassModel,
    bayes_accuracy,
    class_scores,
    normal_accuracy,
    stable_accuracy,
)
from hierdiff.theory.zero_shot.weightings import WEIGHTINGS, fit_buckets, snr_at, weighting

__all__ = ["LEARNED", "PRUNED", "Classification"]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.intp]
Variables: TypeAlias = dict[str, tuple[tuple[str, ...], Any, str]]

LEARNED = "learned"
"""The weight that is fitted, on one half of the data for the other."""
PRUNED = "exp"
"""Weight with which classes are pruned, as published."""

_RESAMPLES = 200  # bootstrap error of the calibration errors


@dataclass(frozen=True)
class Classification:
    """Accuracy of a denoising-error classifier and Bayes' ceiling, on random grammars.

    Notes
    -----
    Validity: errors are over grammars, or over data if a model was given.  All weights and budgets
    see the same samples, so compare them pairwise.

    References
    ----------
    Clark and Jaini, arXiv 2303.15233; Li et al., arXiv 2303.16203.

    Examples
    --------
    >>> experiment = Classification(
    ...     v=4, m=2, L=2, grammars=2, data=16, budgets=(1, 30), independent_budgets=(1, 4),
    ...     times=(0.2,), repeats=2, buckets=4, keep=(1,), stages=(20,), level_data=8,
    ...     level_samples=8, strata=16)
    >>> measured = experiment.measure()
    >>> dict(measured.accuracy.sizes), str(measured.source.values)
    ({'weighting': 6, 'budget': 2}, 'simulation')
    >>> experiment.predict().accuracy.dims
    ('weighting', 'budget')
    """

    name: ClassVar[str] = "classification"
    _repr_html_ = experiment_html
    renamed: ClassVar[Mapping[str, str]] = {
        "levels": "times", "own_budgets": "independent_budgets"
    }  # fmt: skip

    v: int = 8
    """Symbols per level, and classes."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 4
    """Depth of the hierarchy."""
    tau: float = 0.42
    """Standard deviation of the Gaussian emissions; it sets Bayes' ceiling."""
    grammars: int = 12
    """Random grammars, over which errors are taken."""
    data: int = 200
    """Data per grammar, spread evenly over the classes."""
    weightings: tuple[str, ...] = (*WEIGHTINGS, LEARNED)
    """Weights of the error of x0: vdm, snr, exp, uniform, late, learned."""
    budgets: tuple[int, ...] = (1, 3, 10, 30, 100, 400)
    """Samples (t, eps) per datum, noise shared by the classes."""
    independent_budgets: tuple[int, ...] = (1, 3, 10, 30, 100)
    """Samples per datum and class, with independent noise for every class."""
    times: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8)
    """Times at which a single sample is tried."""
    repeats: int = 4
    """Single samples per datum and time."""
    buckets: int = 20
    """Intervals of t with a learned weight."""
    p: float = 2e-3
    """P-value of the t-test that drops a class."""
    min_scores: int = 20
    """Samples before the first test."""
    keep: tuple[int, ...] = (4, 2, 1)
    """Classes kept after each stage of the staged elimination."""
    stages: tuple[int, ...] = (25, 100, 400)
    """Samples at the end of each stage, cumulative."""
    level_data: int = 100
    """Data per grammar for the confusion of inner nodes."""
    level_samples: int = 60
    """Samples per datum for it."""
    strata: int = 128
    """Strata of t, two samples in each, for the limit laws."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, grammars=partial(whole, high=10**6), data=partial(whole, high=10**8),
            budgets=partial(listed, rule=partial(whole, high=10**9), distinct=False),
            independent_budgets=partial(listed, rule=partial(whole, high=10**9), distinct=False),
            weightings=partial(listed, rule=text), times=partial(listed, rule=number),
            repeats=partial(whole, high=10**6),
            buckets=partial(whole, high=10**6), p=partial(number, low=0, below=1),
            min_scores=partial(whole, low=2), keep=partial(listed, rule=count, distinct=False),
            stages=partial(listed, rule=count, distinct=False),
            level_data=partial(whole, high=10**8), level_samples=partial(whole, high=10**6),
            strata=partial(whole, high=10**7),
            seed=natural,
        )  # fmt: skip
        rhm = self.rhm
        affordable(rhm, self.data)
        least = {"grammars": 2, "data": 2 * rhm.n_classes, "repeats": 1, "buckets": 1, "strata": 8,
                 "level_data": 1, "level_samples": 1, "seed": 0}  # fmt: skip
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {lowest}")
        if not self.tau > 0:
            raise InvalidParameter(
                f"tau = {self.tau} must be > 0; one sample decides between hard leaves"
            )
        positive("tau", self.tau)
        for name in ("budgets", "independent_budgets"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1 or list(sizes) != sorted(set(sizes)):
                raise InvalidParameter(f"{name} = {sizes} must be increasing numbers >= 1")
            memory(f"{name} up to {sizes[-1]} samples", 8.0 * sizes[-1] * rhm.n_classes)
        # the rule of hierdiff.sims.metrics.denoising_error.staged_elimination
        left = (rhm.n_classes, *self.keep)
        if (
            len(self.keep) != len(self.stages) or self.keep[-1] != 1
            or any(b > a for a, b in itertools.pairwise(left))
            or any(b <= a for a, b in itertools.pairwise(self.stages))
        ):  # fmt: skip
            raise InvalidParameter(
                f"keep = {self.keep} must decrease from {rhm.n_classes} classes to 1, one number "
                f"for each of the increasing stages = {self.stages}"
            )
        known = (*WEIGHTINGS, LEARNED)
        if not self.weightings or {*self.weightings} - {*known}:
            raise InvalidParameter(
                f"weightings = {self.weightings} must name some of {', '.join(known)}"
            )
        if not self.times or not all(0 < t < 1 for t in self.times):
            raise InvalidParameter(f"times = {self.times} must lie between 0 and 1")
        if self.stages[-1:] > self.budgets[-1:] or self.min_scores > self.budgets[-1]:
            raise InvalidParameter(
                f"stages = {self.stages} and min_scores = {self.min_scores} need more samples than"
                f" the largest budget {self.budgets[-1]}; raise budgets"
            )

    @property
    def rhm(self) -> RHM:
        """The ensemble of grammars."""
        return RHM(self.v, self.m, self.s, self.L)

    @results.tracked
    @checked
    def predict(
        self,
        law: str = "limit",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """The prediction of a law for the grammars and data of :meth:`measure`, in the same labels.

        Parameters
        ----------
        law : {"limit", "bayes"}
            The limit laws of the scores at every budget, or Bayes' ceiling for all.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (weighting, budget), ``independent`` (weighting, independent_budget),
            ``bayes``, with errors over grammars; all weights but the learned one.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: "limit" from about N = 30 on, where the normal law holds; its moments come from
        samples other than those measured, extrapolated to an infinite number of them.  For the
        likelihood weight with independent noise it is the stable law; learned weights, which are
        random themselves, have none.  "bayes" bounds every weight on average, not on every finite
        set of data.
        """
        if law not in ("limit", "bayes"):
            raise InvalidParameter(f"law = {law!r} is not known; use limit or bayes")
        found = self._run(_limit_task, "limit", folder, workers, cluster)
        if law == "bayes":
            for f in found:
                f["accuracy"] = np.broadcast_to(f["bayes"], f["accuracy"].shape)
                f["independent"] = np.broadcast_to(f["bayes"], f["independent"].shape)
        return _labelled(self, found, "theory", asdict(self), law)

    @results.tracked
    @checked(model=unchecked, data=unchecked)  # what is missing is named below
    def measure(
        self,
        model: Any = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Classify the data of random grammars by exact denoisers, or given data by a given model.

        Parameters
        ----------
        model : DiffusionModel, optional
            With Gaussian noise and ``given(label)``, the model conditioned on a class; or data
            with exact errors of their classes, such as ``GaussianRHM`` and ``GaussianClasses``.
        data : Sample or (array [n, ...], int array [n]), optional
            Clean data and their classes, each class at least once; needed with a model, and refused
            without one.  Integers [n, leaves] are symbols, for a model of symbols.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (weighting, budget), ``independent`` (weighting, independent_budget),
            ``single`` (t), ``information`` (t), ``pruned``, ``staged`` and their calls per class,
            calibration, ``confusion`` (level, true, answer), ``bayes``; q_error is the standard
            error of q over grammars, or over data if a model was given.  With a model
            ``q_by_datum`` stands in place of ``q_by_grammar``, what needs the grammar is missing,
            and ``bayes`` is there if the model has ``log_density``.

        Raises
        ------
        InvalidParameter
            For labels out of range, a class without data, a model without data, a model that cannot
            be conditioned or whose noise is not Gaussian.

        Notes
        -----
        Validity: t is uniform in (0, 1] and stands for the SNR cot^2(pi t / 2); a model is
        evaluated at its own noise level of that SNR.
        """
        if model is None and data is None:
            found = self._run(_grammar_task, "measure", folder, workers, cluster)
            return _labelled(self, found, "simulation", asdict(self), "")
        if model is None or data is None:
            raise InvalidParameter("a model needs the data it is to classify, and data a model")
        x0, labels = _clean_data(model, data)
        classes = getattr(model, "n_classes", int(labels.max(initial=-1)) + 1)
        labels = checked_labels(labels, len(x0), classes, every=True)
        scored = class_errors(model, classes)
        one = replace(self, grammars=2)  # a task does not depend on how many there are
        task = Task(_given_task, (one, scored, x0, labels), self._key("given"))
        found = run_tasks([task], folder, workers=workers, cluster=cluster, name=self.name)
        source = "network" if getattr(model, "source", "") == "network" else "simulation"
        # the sizes are those of the model and its data
        own = ("v", "m", "s", "L", "tau", "grammars", "data")
        fields = {k: x for k, x in asdict(self).items() if k not in own}
        fields |= {"model": type(model).__name__, "classes": classes, "data": len(x0),
                   "process": repr(getattr(model, "noise", "exact"))}  # fmt: skip
        return _labelled(self, found, source, fields, "")

    def datasets(self, run: Run, model: Any = None, data: Any = None) -> dict[str, xr.Dataset]:
        """The limit laws and the measurement."""
        tasks = run.tasks(self.name)
        measured = self.measure(model, data, **tasks)
        return {"classification_theory": self.predict(**tasks), "classification": measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Accuracy against budget, noise level and tree level, and the calls that it takes."""
        return classification_figure(datasets["classification_theory"], datasets["classification"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Accuracy by weight and budget, with the limit law and Bayes' ceiling."""
        theory, measured = (
            current_names(datasets[f"classification{end}"]) for end in ("_theory", "")
        )
        values = _values(self, theory, measured)
        # the laws are those of the random grammars, not of a model that was given
        law = theory if "grammar" in measured.dims else None
        table = f"{accuracy_table(law, measured)}\n\n{_quantities(values)}"
        return Summary(table, _claim(values), values)

    def _run(
        self, function: Any, kind: str, folder: Any, workers: int | None, cluster: str | None
    ) -> list[dict[str, Array]]:
        one = replace(self, grammars=2)
        tasks = [
            Task(function, (one, g), {**self._key(kind), "grammar": g})
            for g in range(self.grammars)
        ]
        return run_tasks(
            tasks, folder, workers=workers, cluster=cluster, name=f"classification {kind}"
        )  # fmt: skip

    def _key(self, kind: str) -> dict[str, Any]:
        fields = {k: v for k, v in asdict(self).items() if k != "grammars"}
        return {"version": 1, "question": f"classification {kind}", **fields}


def _clean_data(model: Any, data: Any) -> tuple[Floats, Labels]:
    """Clean data as real numbers, symbols as one-hot vectors, and their classes."""
    try:
        pair = (data.x0, data.labels) if isinstance(data, Sample) else (data[0], data[1])
        x0, labels = (np.asarray(part) for part in pair)
    except (TypeError, KeyError, IndexError, ValueError):
        raise InvalidParameter(
            f"data of type {type(data).__name__} are no pair of arrays; give (x0, labels)"
        ) from None
    symbols = getattr(getattr(model, "noise", None), "v", None)
    if symbols is not None and x0.ndim == 2 and x0.dtype.kind in "iu":
        x0 = np.eye(symbols)[symbols_of("data", x0, 0, symbols)]
    return x0.astype(float), labels


# One grammar, or one model: pools of errors and all that is computed from them


class _Noisy(Protocol):
    def noisy_log_odds(self, x0: Array, noise: Array, snr: Array) -> Floats: ...


def draw_classes(e: Classification, g: int) -> tuple[GaussianRHM, Floats, Labels, Any]:
    """Grammar, data with evenly filled classes, their classes and derivations, of repetition g."""
    model = GaussianRHM(e.rhm.draw(stream(e.seed, "grammar", g)), e.tau)
    rng = stream(e.seed, "data", g)
    truth = model.grammar.sample(e.data, rng, root=np.arange(e.data) % model.n_classes)
    return model, model.emit(truth, rng), truth.levels[0][:, 0].astype(np.intp), truth


def _grammar_task(e: Classification, g: int) -> dict[str, Array]:
    """Everything measured on one random grammar."""
    model, x0, labels, truth = draw_classes(e, g)
    found = _scored(e, model, x0, labels, g)
    log_p = model.log_density(x0)
    found["bayes"] = bayes_accuracy(log_p, model.prior)
    found["bayes_hit"] = tie_split_accuracy(-(log_p + np.log(model.prior)), labels)
    found["information"] = _information(e, model, x0, labels, g)
    return {**found, **_nodes(e, model, x0, truth, g)}


def _given_task(
    e: Classification, model: HasErrors, x0: Floats, labels: Labels
) -> dict[str, Array]:
    """What can be measured on given data with a given model."""
    found = _scored(e, model, x0, labels, 0)
    asked = model.model if isinstance(model, ClassErrors) else model
    if hasattr(asked, "log_density"):
        exact = cast(ClassModel, asked)
        log_p = exact.log_density(x0)
        found["bayes"] = bayes_accuracy(log_p, exact.prior)
        found["bayes_hit"] = tie_split_accuracy(-(log_p + np.log(exact.prior)), labels)
    return found


def _limit_task(e: Classification, g: int) -> dict[str, Array]:
    """Accuracy that the limit laws give for the same grammar and data, at every budget."""
    model, x0, labels, _ = draw_classes(e, g)
    pool = stratified_pool(model, x0, e.strata, stream(e.seed, "moments", g))
    log_p = model.log_density(x0)
    names = [name for name in e.weightings if name != LEARNED]
    shared = np.empty((len(names), len(e.budgets), len(x0)))
    own = np.empty((len(names), len(e.independent_budgets), len(x0)))
    for i, name in enumerate(names):
        mean, cov, alone = moments(pool, weighting(name))
        halves = [moments(half, weighting(name))[0] for half in _halves(pool)]
        if name == "vdm":  # known exactly, up to a shift
            mean = -2 * log_p
            halves = []
        for j, budget in enumerate(e.budgets):
            shared[i, j] = _extrapolated(mean, halves, cov, labels, budget)
        diagonal = alone[:, :, None] * np.eye(alone.shape[1])
        for j, budget in enumerate(e.independent_budgets):
            own[i, j] = normal_accuracy(mean, diagonal, labels, budget)
        if name == "vdm":
            own[i] = stable_accuracy(log_p, labels, x0[0].size)
    return {"accuracy": shared, "independent": own, "bayes": bayes_accuracy(log_p, model.prior)}


def _halves(pool: ErrorPool) -> list[ErrorPool]:
    """Every second stratum, and the others; the two samples of a stratum stay together."""
    even = np.arange(pool.t.shape[1]) // 2 % 2 == 0
    return [ErrorPool(pool.t[:, rows], pool.errors[:, rows]) for rows in (even, ~even)]


def _extrapolated(
    mean: Floats, halves: list[Floats], cov: Floats, labels: Labels, budget: int
) -> Floats:
    """The normal law without the first-order bias that the noise of the estimated mean brings."""
    whole = normal_accuracy(mean, cov, labels, budget)
    if not halves:
        return whole
    parts = [normal_accuracy(m, cov, labels, budget) for m in halves]
    return np.asarray(2 * whole - np.mean(parts, axis=0))


def _scored(
    e: Classification, model: HasErrors, x0: Floats, labels: Labels, g: int
) -> dict[str, Array]:
    """What needs denoising errors alone."""
    pool = error_pool(model, x0, e.budgets[-1], stream(e.seed, "shared", g))
    # the stream has the first name of this measurement, so that its numbers stay
    rng = stream(e.seed, "unshared", g)
    own = error_pool(model, x0, e.independent_budgets[-1], rng, shared=False)
    found = {
        name: np.stack([_accuracy(e, w, part, labels, budgets, pool) for w in e.weightings])
        for name, part, budgets in (
            ("accuracy", pool, e.budgets), ("independent", own, e.independent_budgets),
        )
    }  # fmt: skip
    found["single"] = _single(e, model, x0, labels, g)
    return {**found, **_pruned(e, pool, labels)}


def _weights(
    e: Classification, name: str, pool: ErrorPool, labels: Labels
) -> Sequence[tuple[Array, Callable[[Floats], Floats]]]:
    """The weight and the data it may be used on: learned weights never on their own data."""
    if name != LEARNED:
        return [(np.arange(len(labels)), weighting(name))]
    order = labels.argsort(kind="stable")  # every second datum of every class
    fits = [
        fit_buckets(pool.errors[rows], pool.t[rows], labels[rows], buckets=e.buckets)
        for rows in (order[::2], order[1::2])
    ]
    return [(order[1::2], fits[0]), (order[::2], fits[1])]


def _accuracy(
    e: Classification, name: str, pool: ErrorPool, labels: Labels, budgets: tuple[int, ...],
    fitted_on: ErrorPool,
) -> Floats:  # fmt: skip
    """Accuracy [budgets, n] of one weight, ties split."""
    out = np.empty((len(budgets), len(labels)))
    for rows, weight in _weights(e, name, fitted_on, labels):
        part = ErrorPool(pool.t[rows], pool.errors[rows])
        if not np.any(weight(part.t)):
            raise InvalidParameter(
                f"weighting {name} vanishes at all of the {part.t[0].size} times of every datum;"
                " raise the budget"
            )
        out[:, rows] = tie_split_accuracy(prefix_scores(part, weight, budgets), labels[rows])
    return out


def _single(e: Classification, model: HasErrors, x0: Floats, labels: Labels, g: int) -> Floats:
    """Accuracy [times, n] of one shared sample at one noise level, ties split."""
    out = np.empty((len(e.times), len(x0)))
    for i, t in enumerate(e.times):
        pool = error_pool(
            model, x0, e.repeats, stream(e.seed, "single", g, i),
            times=partial(np.full_like, fill_value=t),
        )  # fmt: skip
        each = pool.errors.transpose(1, 0, 2)
        out[i] = tie_split_accuracy(each, labels).mean(axis=0)
    return out


def _information(e: Classification, model: _Noisy, x0: Floats, labels: Labels, g: int) -> Floats:
    """Accuracy [times, n] of the exact posterior of the class given one noisy datum."""
    out = np.empty((len(e.times), len(x0)))
    for i, t in enumerate(e.times):
        noise = stream(e.seed, "information", g, i).standard_normal(x0.shape)
        snr = np.full(len(x0), float(snr_at(t)))
        out[i] = tie_split_accuracy(-model.noisy_log_odds(x0, noise, snr), labels)
    return out


def _pruned(e: Classification, pool: ErrorPool, labels: Labels) -> dict[str, Array]:
    """Answers and calls of the two ways to save calls."""
    scores = weighting(PRUNED)(pool.t)[..., None] * pool.errors
    tested = paired_t_pruning(scores, p=e.p, min_scores=e.min_scores)
    staged = staged_elimination(scores, e.keep, e.stages)
    return {
        "pruned": (tested.answer == labels).astype(float),
        "pruned_calls": tested.calls.astype(float),
        "staged": (staged.answer == labels).astype(float),
        "staged_calls": staged.calls.astype(float),
        "final_scores": scores.mean(axis=1),
        "labels": labels,
    }


def _nodes(
    e: Classification, model: GaussianRHM, x0: Floats, truth: Any, g: int
) -> dict[str, Array]:
    """The first node of every level as the class: confusion, accuracy and Bayes' ceiling."""
    grammar, depth = model.grammar, model.grammar.L
    size, some = max(grammar.v), x0[: e.level_data]
    confusion = np.zeros((depth + 1, size, size))
    hit, best = np.zeros((depth + 1, len(some))), np.zeros((depth + 1, len(some)))
    weight = weighting("snr")
    for level in range(depth + 1):
        node = NodeClasses(model, level)
        symbols = truth.levels[level][: len(some), 0]
        labels = node.labels_of(symbols)
        pool = error_pool(node, some, e.level_samples, stream(e.seed, "level", g, level))
        scores = class_scores(pool.errors, pool.t, weight)
        np.add.at(confusion[level], (symbols, node.symbols[scores.argmin(axis=1)]), 1)
        hit[level] = tie_split_accuracy(scores, labels)
        best[level] = bayes_accuracy(node.log_density(some), node.prior)
    return {"confusion": confusion, "level_accuracy": hit, "level_bayes": best}


# From tasks to labelled means with errors

_MEANS: dict[str, tuple[tuple[str, ...], str]] = {
    "accuracy": (("weighting", "budget"), "accuracy, noise shared by the classes"),
    "independent": (
        ("weighting", "independent_budget"), "accuracy, independent noise for every class",
    ),
    "bayes": ((), "probability that Bayes' answer is right"),
    "bayes_hit": ((), "how often Bayes' answer was right"),
    "single": (("t",), "accuracy of one shared sample at one time"),
    "information": (("t",), "accuracy of the exact posterior p(c | x_t)"),
    "pruned": ((), "accuracy with paired t-tests"),
    "staged": ((), "accuracy with staged elimination"),
    "level_accuracy": (("level",), "accuracy with the first node of a tree level as class"),
    "level_bayes": (("level",), "Bayes' ceiling for it"),
}  # fmt: skip


def _labelled(
    e: Classification, found: Sequence[dict[str, Array]], source: str, fields: dict[str, Any],
    law: str,
) -> xr.Dataset:  # fmt: skip
    """Means over data and grammars, with errors over grammars (over data if there is one)."""
    variables: Variables = {}
    for name, (dims, words) in _MEANS.items():
        if name in found[0]:
            _add(variables, name, dims, [f[name] for f in found], words)
    if "pruned" in found[0]:
        _add_calls(variables, found)
        _add_calibration(e, variables, found)
    names = list(e.weightings)
    if len(found[0]["accuracy"]) < len(names):  # learned weights have no law
        names.remove(LEARNED)
    coords: Variables = {
        "weighting": (("weighting",), names, "weight of the error of x0"),
        "budget": (("budget",), list(e.budgets), "samples N, shared"),
        "independent_budget": (
            ("independent_budget",), list(e.independent_budgets), "samples N of each class",
        ),
    }  # fmt: skip
    if "single" in found[0]:
        words = "time t of a single sample, gaussian noise of SNR cot^2(pi t/2)"
        coords["t"] = (("t",), list(e.times), words)
        coords["snr"] = (("t",), snr_at(e.times), "signal-to-noise ratio")
    if "confusion" in found[0]:
        symbols = list(range(found[0]["confusion"].shape[1]))
        total = np.sum([f["confusion"] for f in found], axis=0)
        variables["confusion"] = (("level", "true", "answer"), total, "count of answers")
        coords["level"] = (("level",), list(range(e.rhm.L + 1)), "tree level, the root is 0")
        coords["true"] = (("true",), symbols, "true symbol")
        coords["answer"] = (("answer",), symbols, "symbol of the smallest score")
    attributes = {**results.provenance(fields), **({"law": law} if law else {})}
    return results.label(variables, coords, source, attributes)


def _add(
    variables: Variables, name: str, dims: tuple[str, ...], values: list[Array], words: str,
    *, each: bool = True,
) -> None:  # fmt: skip
    """A mean, its error, and the means of single grammars, or the values of single data."""
    by_grammar = np.stack([v.mean(axis=-1) for v in values])
    if len(values) > 1:
        error, entry, every = standard_error(by_grammar), "grammar", by_grammar
    else:
        every = np.moveaxis(values[0], -1, 0)
        error, entry = standard_error(every), "datum"
    variables[name] = (dims, by_grammar.mean(axis=0), words)
    variables[f"{name}_error"] = (dims, error, f"standard error of: {words}")
    if each:
        variables[f"{name}_by_{entry}"] = ((entry, *dims), every, words)


def _add_calls(variables: Variables, found: Sequence[dict[str, Array]]) -> None:
    """Calls per class, of all data and of those answered right and wrong."""
    classes = found[0]["final_scores"].shape[1]
    for name in ("pruned", "staged"):
        calls = [f[f"{name}_calls"] / classes for f in found]
        _add(variables, f"{name}_calls", (), calls, f"calls per class, {name}")
    right = [f["pruned"] > 0 for f in found]
    for word, chosen in (("right", right), ("wrong", [~r for r in right])):
        kept = [
            f["pruned_calls"][rows] / classes
            for f, rows in zip(found, chosen, strict=True)
            if rows.sum() > 1
        ]
        if kept:
            # a grammar without such answers has no mean
            _add(variables, f"calls_{word}", (), kept, f"calls per class when {word}", each=False)


def _add_calibration(
    e: Classification, variables: Variables, found: Sequence[dict[str, Array]]
) -> None:
    """Area under the curve and calibration error of calls and of the softmax of scores."""
    parts = [
        (np.log(f["pruned_calls"]), f["pruned"] > 0, f["final_scores"], f["labels"]) for f in found
    ]
    rng = stream(e.seed, "calibration")
    cut = [rng.permutation(len(p[1])) % 2 == 0 for p in parts]
    stated = {"calls": _by_calls(parts, cut), "softmax": _by_softmax(parts, cut)}
    for name, pairs in stated.items():
        areas = [discrimination(p, y) for p, y in pairs]
        areas = [a for a in areas if np.isfinite(a)]
        if len(areas) > 1:
            value, spread = mean_and_error(areas)
            variables[f"auc_{name}"] = ((), value, f"area under ROC, {name}")
            variables[f"auc_{name}_error"] = ((), spread, "standard error over grammars")
        if sum(len(y) for _, y in pairs) >= 20:
            stated_error, doubt = grouped_calibration_error(pairs, rng, _RESAMPLES)
            variables[f"ece_{name}"] = ((), stated_error, f"expected calibration error, {name}")
            variables[f"ece_{name}_error"] = ((), doubt, "bootstrap error over grammars")


def _by_calls(
    parts: Sequence[tuple[Array, ...]], cut: Sequence[Array]
) -> list[tuple[Array, Array]]:
    """Probability of being right from the calls, fitted on one half and read on the other."""
    half = [np.concatenate([p[i][c] for p, c in zip(parts, cut, strict=True)]) for i in (0, 1)]
    slope, offset = platt(half[0], half[1])
    return [(special.expit(slope * p[0][~c] + offset), p[1][~c])
            for p, c in zip(parts, cut, strict=True)]  # fmt: skip


def _by_softmax(
    parts: Sequence[tuple[Array, ...]], cut: Sequence[Array]
) -> list[tuple[Array, Array]]:
    """Largest softmax probability, its temperature fitted on one half and read on the other."""
    half = [np.concatenate([p[i][c] for p, c in zip(parts, cut, strict=True)]) for i in (2, 3)]
    rate = temperature(half[0], half[1])
    out = []
    for p, c in zip(parts, cut, strict=True):
        share = special.softmax(-rate * p[2][~c], axis=1)
        out.append((share.max(axis=1), share.argmax(axis=1) == p[3][~c]))
    return out


# Summary


def _values(e: Classification, theory: xr.Dataset, measured: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    given = "grammar" not in measured.dims
    sizes = {"data": measured.sizes["datum"]} if given else {"grammars": e.grammars, "data": e.data}
    found: dict[str, Any] = {
        **sizes,
        "budget": int(measured.budget[-1]),
        "accuracy": _grid(measured, "accuracy", "budget"),
        "unshared": _grid(measured, "independent", "independent_budget"),
        "limit law": _grid(theory, "accuracy", "budget"),
        "limit law, unshared": _grid(theory, "independent", "independent_budget"),
        "best time": float(measured.t[int(measured.single.values.argmax())]),
    }
    for name in ("single", "information"):
        if name in measured:
            found[name] = {f"{t:g}": _pair(measured.sel(t=t), name) for t in measured.t.values}
    for name in ("bayes", "bayes_hit", "pruned", "pruned_calls", "calls_right", "calls_wrong",
                 "staged", "staged_calls", "auc_calls", "auc_softmax", "ece_calls",
                 "ece_softmax"):  # fmt: skip
        if name in measured:
            found[name.replace("bayes_hit", "bayes hit")] = _pair(measured, name)
    return found if given else found | _by_grammar(theory, measured)


def _by_grammar(theory: xr.Dataset, measured: xr.Dataset) -> dict[str, Any]:
    """What is known of random grammars alone: nodes, and differences paired within grammars."""
    found: dict[str, Any] = {
        "z": _paired_z(theory, measured),
        "best time by grammar": [
            float(measured.t[i]) for i in measured.single_by_grammar.values.argmax(axis=1)
        ],
        "levels": {
            int(i): [*_pair(measured.sel(level=i), "level_accuracy"),
                     float(measured.level_bayes.sel(level=i))]
            for i in measured.level.values
        },
    }  # fmt: skip
    # paired, because all weights see the same samples
    for name in map(str, measured.weighting.values):
        gap = measured.accuracy_by_grammar.sel(weighting=name).isel(budget=-1)
        gap = gap - measured.bayes_by_grammar
        found[f"{name} minus bayes"] = [
            float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(gap.size)),
        ]  # fmt: skip
    return found


def _paired_z(theory: xr.Dataset, measured: xr.Dataset) -> dict[str, float]:
    """Largest score of the limit law against the measurement, from N = 30 on.

    Both are of the same grammars and data, so it is the difference that has an error.
    """
    found = {}
    for key, name, dim in (
        ("accuracy", "accuracy", "budget"), ("unshared", "independent", "independent_budget"),
    ):  # fmt: skip
        gap = measured[f"{name}_by_grammar"] - theory[f"{name}_by_grammar"]
        gap = gap.sel({dim: gap[dim] >= 30})
        if gap.size:
            error = gap.std("grammar", ddof=1) / np.sqrt(gap.sizes["grammar"])
            found[key] = float(np.abs(gap.mean("grammar") / error).max())
    return found


def _pair(ds: xr.Dataset, name: str) -> list[float]:
    return [float(ds[name]), float(ds[f"{name}_error"])]


def _grid(ds: xr.Dataset, name: str, dim: str) -> dict[str, dict[str, list[float]]]:
    return {
        str(w): {f"{n}": _pair(ds.sel({"weighting": w, dim: n}), name) for n in ds[dim].values}
        for w in ds.weighting.values
    }


def _quantities(found: dict[str, Any]) -> str:
    """The second table: what does not depend on the weight, and what noise sharing is worth."""
    rows = [(words, found[name], digits) for name, words, digits in (
        ("bayes", "Bayes' ceiling", 3), ("pruned", "accuracy, t-tests", 3),
        ("staged", "accuracy, stages", 3), ("calls_right", "calls per class when right", 0),
        ("calls_wrong", "calls per class when wrong", 0),
    ) if name in found]  # fmt: skip
    for b, alone in found["unshared"].get("exp", {}).items():
        if b in found["accuracy"]["exp"]:
            rows.append((f"exp, N = {b}, independent noise", alone, 3))
    lines = [[words, plus_minus(x, error, digits=d)] for words, (x, error), d in rows]
    lines.append(["best time of a single sample", f"{found['best time']:g}"])
    if found.get("z", {}).get("accuracy"):
        lines.append(["limit law from N = 30 on, max |z|", f"{found['z']['accuracy']:.1f}"])
    return text_table([], lines)


def _claim(found: dict[str, Any]) -> str:
    """How near the first weight comes to Bayes' ceiling."""
    weight, n = next(iter(found["accuracy"])), str(found["budget"])
    x, error = found["accuracy"][weight][n]
    text = f"weight {weight} reaches accuracy {x:.3f} ± {error:.3f} at N = {n}"
    if "bayes" in found:
        text += f", Bayes {found['bayes'][0]:.3f} ± {found['bayes'][1]:.3f}"
    if f"{weight} minus bayes" in found:
        gap, error = found[f"{weight} minus bayes"]
        z = f", z = {gap / error:.1f}" if error > 0 else ""
        text += f" (difference {gap:+.3f} ± {error:.3f}{z})"
    return text
