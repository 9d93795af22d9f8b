r"""The price of parallel unmasking: what samplers lose that reveal blocks of leaves.

A sampler with T steps draws the leaves of a block independently.  By what it reveals first,

==============  ================================================================================
order           the next leaves are
==============  ================================================================================
left to right   the next ones
spread          as far from all revealed ones as the tree allows
random          drawn at random, for each string anew
confident       those of which the model is surest, before it draws
unsure          those of which it is least sure (asked for by ``orders``)
kept            those whose draws have the largest probability, after it has drawn all
==============  ================================================================================

The prediction is exact up to means over data (:mod:`hierdiff.theory.rhm.parallel_unmasking`): the
divergence is a sum of conditional total correlations, and the share of strings in the language is

.. math:: V = E_p \frac{q(x)}{p(x)} \ge e^{-KL(p \| q)}.

The measurement takes log p(x) - log q(x) of other data, and draws strings.  Any masked model can be
measured; what it loses is the price of its steps plus its own error, and both are given apart.  For
*random* and *kept* the divergence is that of string and order together.
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

from hierdiff import RHM, results
from hierdiff._display import experiment_html
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    one_of,
    shown,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import MaskingNoise, NoiseProcess, UniformNoise
from hierdiff.plots import Figure
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import nested_mean
from hierdiff.sims.metrics.forward_backward import one_at_a_time
from hierdiff.sims.models.block_unmasking import UnmaskingModel
from hierdiff.sims.parallel_unmasking_figure import (
    again_table,
    claim,
    draw,
    exponent,
    largest_score,
    sizes_table,
    table,
)
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.parallel_unmasking import (
    ORDERS,
    OrderName,
    conditionals_of,
    even_sizes,
    unmasking_terms,
)
from hierdiff.theory.rhm.sampler_laws import path_divergence
from hierdiff.theory.rhm.unmasking_schedules import total_correlation, unmasking_curve

__all__ = ["ParallelUnmasking"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]
PROCESSES = ("masking", "uniform")
AGAIN = (0, 1, 4)
"""Leaves that a round of remasking masks; 0 for no remasking."""
ENOUGH = 100
"""Effective number of data below which a mean of q / p is not given."""
_TEXT = {
    "divergence": "divergence KL(p || q) of the sampler, nats",
    "valid": "share of strings in the language",
    "price": "part of the divergence that exact conditionals pay",
    "learning": "part of the divergence that is the model's error",
    "validity": "share of nodes with a derivation",
}


def unmask_task(
    experiment: ParallelUnmasking, grammar: Grammar, g: int, model: DiffusionModel | None = None,
    x: Array | None = None,
) -> dict[str, Array]:  # fmt: skip
    """Log-ratios, prices and errors [datum, order, T], and validity of strings [string, ...]."""
    seed, orders, steps = experiment.seed, experiment.orders, experiment.steps
    if x is None:
        x = grammar.sample(experiment.data, stream(seed, "data", g)).leaves
    maker = model or ExactRHM(grammar, MaskingNoise(grammar.leaf_vocabulary), threads=1)
    shape = (len(orders), len(steps))
    found = {name: np.empty((len(x), *shape)) for name in ("divergence", "price", "learning")}
    validity = np.empty((experiment.strings, *shape, grammar.L + 1))
    masked = np.full((experiment.strings, grammar.n_leaves), -1)
    for i, order in enumerate(orders):
        for j, T in enumerate(steps):
            sizes = even_sizes(grammar.n_leaves, T)
            terms = unmasking_terms(
                grammar, x, order, sizes, model=model, seed=stream(seed, "order", g, order, T)
            )
            found["divergence"][:, i, j] = terms.log_ratio
            found["learning"][:, i, j] = (terms.cross - terms.marginal).sum(axis=1)
            found["price"][:, i, j] = terms.prices
            sampler = UnmaskingModel(maker, grammar, tuple(sizes.tolist()), order)
            made = sampler.sample(masked, 1.0, stream(seed, "strings", g, order, T))
            validity[:, i, j] = np.stack(grammar.valid_per_level(made), axis=1)
    return {**found, "validity": validity}


def law_task(experiment: ParallelUnmasking, grammar: Grammar, g: int) -> dict[str, Array]:
    """Exact divergences and log(q / p) of one grammar, [datum, order, T]."""
    x = grammar.sample(experiment.data, stream(experiment.seed, "law", g)).leaves
    divergence = np.empty((len(x), len(experiment.orders), len(experiment.steps)))
    ratio = np.empty_like(divergence)
    for i, order in enumerate(experiment.orders):
        for j, T in enumerate(experiment.steps):
            terms = unmasking_terms(
                grammar, x, order, even_sizes(grammar.n_leaves, T),
                seed=stream(experiment.seed, "law order", g, order, T),
            )  # fmt: skip
            divergence[:, i, j], ratio[:, i, j] = terms.divergences, -terms.log_ratio
    return {"divergence": divergence, "ratio": ratio}


def schedule_task(experiment: ParallelUnmasking, m: int, L: int, g: int) -> dict[str, Array]:
    """Best, equal and spread blocks of one grammar at every T, and what the curve says."""
    grammar = RHM(experiment.v, m, experiment.s, L).draw(stream(experiment.seed, "sizes", m, L, g))
    n = grammar.n_leaves
    curve = unmasking_curve(grammar, experiment.data, stream(experiment.seed, "curve", m, L, g))
    x = grammar.sample(experiment.data, stream(experiment.seed, "spread", m, L, g)).leaves
    rows = np.full((4, len(experiment.steps)), np.nan)
    for j, T in enumerate(t for t in experiment.steps if t <= n):
        even = even_sizes(n, T)
        rows[:, j] = (
            curve.best(T)[1].value, curve.divergence(even).value,
            unmasking_terms(grammar, x, "spread", even).divergence.value, curve.smooth_limit(T),
        )  # fmt: skip
    facts = (total_correlation(grammar), curve.dual_total_correlation.value,
             curve.mean[0] - curve.mean[-1])  # fmt: skip
    return {"rows": rows, "facts": np.array(facts)}


def remasked_strings(
    experiment: ParallelUnmasking, grammar: Grammar, g: int, calls: tuple[int, ...],
    model: DiffusionModel | None = None,
) -> Array:  # fmt: skip
    """Which strings are valid with and without remasking, [order, calls, again, string].

    More calls than leaves leave none to reveal, and without remasking then change nothing.
    """
    seed, n = experiment.seed, grammar.n_leaves
    maker = model or ExactRHM(grammar, MaskingNoise(grammar.leaf_vocabulary), threads=1)
    masked = np.full((experiment.strings, n), -1)
    valid = np.empty((len(experiment.orders), len(calls), len(AGAIN), len(masked)))
    for i, order in enumerate(experiment.orders):
        for j, number in enumerate(calls):
            for k, again in enumerate(AGAIN):
                # half of the calls reveal, the other half mask again
                first = min(number if not again else number // 2, n)
                sizes = tuple(even_sizes(n, first).tolist())
                rounds = number - first if again else 0
                sampler = UnmaskingModel(
                    maker, grammar, sizes, order, rounds, max(1, min(again, n))
                )
                made = sampler.sample(masked, 1.0, stream(seed, "again", g, order, number, again))
                valid[i, j, k] = grammar.is_valid(made)
    return valid


def other_task(experiment: ParallelUnmasking, grammar: Grammar, g: int) -> dict[str, Array]:
    """Remasking at equal calls [order, calls, again, string], and paths [process, T]."""
    seed, valid = experiment.seed, remasked_strings(experiment, grammar, g, experiment.calls)
    paths = np.empty((len(PROCESSES), len(experiment.steps)))
    processes: tuple[NoiseProcess, ...] = (MaskingNoise(experiment.v), UniformNoise(experiment.v))
    for i, noise in enumerate(processes):
        for j, T in enumerate(experiment.steps):
            times = np.linspace(1, 0, T + 1)
            paths[i, j] = path_divergence(
                grammar, noise, times, experiment.data, stream(seed, "path", g, T)
            ).value
    return {"valid": valid, "paths": paths}


@dataclass(frozen=True)
class ParallelUnmasking:
    """Divergence and validity of parallel unmasking, by order and number of steps.

    Notes
    -----
    Validity: divergences are exact up to means over data and grammars, whose errors are given;
    block sizes differ by one at most, except for those called best.

    Examples
    --------
    >>> small = ParallelUnmasking(v=4, m=2, L=2, grammars=2, data=20, strings=20, steps=(1, 4),
    ...                           sizes=((2, 2),))
    >>> ds = small.measure(workers=1)
    >>> ds.divergence.dims, float(ds.valid.sel(order="random", T=4))
    (('order', 'T'), 1.0)
    """

    name: ClassVar[str] = "parallel_unmasking"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 5
    """Depth."""
    orders: tuple[OrderName, ...] = ("left to right", "spread", "random", "confident", "kept")
    """Orders in which leaves are revealed."""
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Numbers of steps T."""
    sizes: tuple[tuple[int, int], ...] = (
        (2, 4), (2, 5), (2, 6), (3, 3), (3, 4), (3, 5), (3, 6), (4, 4), (4, 5), (4, 6), (6, 5),
    )  # fmt: skip
    """Pairs of m and L of which the best block sizes are compared."""
    grammars: int = 6
    """Random grammars."""
    data: int = 300
    """Data per grammar."""
    strings: int = 500
    """Strings that are drawn per grammar, order and number of steps."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        rhm = RHM(self.v, self.m, self.s, self.L)
        check_fields(
            self,
            orders=partial(listed, rule=partial(one_of, options=ORDERS), least=1),
            steps=partial(listed, rule=partial(whole, low=1), rising=True, least=1),
            sizes=partial(listed, rule=_pair, least=1),
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=4, high=10**7),
            strings=partial(whole, low=2, high=10**7),
            seed=natural,
        )
        if self.steps[-1] > rhm.n_leaves:
            raise InvalidParameter(
                f"steps = {self.steps[-1]} is more than the {rhm.n_leaves} leaves of a string; a "
                "step reveals one leaf or more"
            )
        for m, L in ((self.m, self.L), *self.sizes):
            affordable(RHM(self.v, m, self.s, L), max(self.data, self.strings))

    @property
    def calls(self) -> tuple[int, ...]:
        """Numbers of calls at which remasking is compared with smaller steps."""
        return tuple(T for T in self.steps if T > 1)[-3:-1] or self.steps[-1:]

    @checked
    def grammar(self, g: int) -> Grammar:
        """The random grammar of number g."""
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar", g))

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["exact"] = "exact",
        *,
        grammar: Grammar | None = None,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Divergence and validity of a sampler with exact conditionals.

        Parameters
        ----------
        law : "exact"
        grammar : Grammar, optional
            One grammar in place of the random ones.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``divergence`` and ``valid`` on (order, T), with errors.

        Notes
        -----
        Validity: as the module says.  ``valid`` has no value for the order *kept*, whose strings
        have many ways, and where fewer than a hundred data carry the mean of q / p.
        """
        one_of("law", law, ("exact",))
        if grammar is not None:
            return self._law({k: x[None] for k, x in law_task(self, grammar, 0).items()})
        found = self._tasks(law_task, {"folder": folder, "workers": workers, "cluster": cluster})
        return self._law(found)

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
        """Divergence of a masked model's sampler, its two parts, and validity of its strings.

        Parameters
        ----------
        model : DiffusionModel, optional
            Of masking noise; default exact inference on random grammars.
        data : Grammar, Derivations or strings with their grammar as (Grammar, strings), optional
            What the model is a model of; default the model's own grammar.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``divergence``, ``price``, ``learning`` and ``valid`` on (order, T), ``validity`` on
            (order, T, level), all with errors.

        Raises
        ------
        InvalidParameter
            If the model has no conditionals given revealed leaves, or no grammar.

        Notes
        -----
        Validity: symbols to which a model gives less than 1e-6 count as 1e-6.
        """
        if model is None and data is not None:
            raise InvalidParameter("data were given without the model they belong to")
        if model is None:
            options = {"folder": folder, "workers": workers, "cluster": cluster}
            return self._measured(self._tasks(unmask_task, options), "simulation", None)
        grammar, x = grammar_of(model, data)
        conditionals_of(grammar, model)
        if self.steps[-1] > grammar.n_leaves:
            raise InvalidParameter(
                f"steps = {self.steps[-1]} is more than the {grammar.n_leaves} leaves of a string; "
                f"make {type(self).__name__} with fewer steps"
            )
        parameters = {"version": 1, "question": self.name, **asdict(self), "model": repr(model)}
        task = Task(unmask_task, (self, grammar, 0, model, x), parameters)
        if one_at_a_time(model):
            workers = 1
        found = run_tasks([task], folder, workers=workers, cluster=cluster, name=self.name)
        source = "network" if getattr(model, "source", "") == "network" else "simulation"
        return self._measured({k: a[None] for k, a in found[0].items()}, source, model)

    def _tasks(self, work: Any, options: dict[str, Any]) -> dict[str, Array]:
        """Numbers of all grammars, [grammar, ...]."""
        fields = asdict(self)
        del fields["grammars"], fields["sizes"]
        tasks = [
            Task(work, (self, self.grammar(g), g),
                 {"version": 1, "question": self.name, "work": work.__name__, **fields, "g": g})
            for g in range(self.grammars)
        ]  # fmt: skip
        parts = run_tasks(tasks, name=self.name, **options)
        return {name: np.stack([p[name] for p in parts]) for name in parts[0]}

    def _law(self, found: dict[str, Array]) -> xr.Dataset:
        weights = np.exp(found["ratio"])
        variables = _means({"divergence": found["divergence"], "valid": weights})
        # a mean of q / p that few data carry has no error bar that covers
        total = weights.sum(axis=(0, 1)) ** 2 / np.maximum((weights**2).sum(axis=(0, 1)), 1e-300)
        hole = (total < ENOUGH) | (np.array(self.orders) == "kept")[:, None]
        for name in ("valid", "valid_error"):
            dims, values, text = variables[name]
            variables[name] = (dims, np.where(hole, np.nan, values), text)
        return self._label(variables, "theory", None)

    def _measured(
        self, found: dict[str, Array], source: str, model: DiffusionModel | None
    ) -> xr.Dataset:
        strings = found["validity"]
        whole_strings = (strings[..., 0] == 1).astype(float)
        variables = _means(
            {k: found[k] for k in ("divergence", "price", "learning")}
            | {"valid": whole_strings, "validity": strings}
        )
        for name in ("valid", "validity"):
            dims, error, text = variables[f"{name}_error"]
            # of strings that are all alike the error is not zero but below one in their number
            least = 1 / (strings.shape[0] * strings.shape[1])
            variables[f"{name}_error"] = (dims, np.maximum(error, least), text)
        coords = {"level": (("level",), np.arange(strings.shape[-1]), "level, root = 0")}
        return self._label(variables, source, model, coords)

    def _label(
        self, variables: dict[str, Any], source: str, model: DiffusionModel | None,
        more: dict[str, Any] | None = None,
    ) -> xr.Dataset:  # fmt: skip
        coords = {
            "order": (("order",), list(self.orders), "order of the leaves"),
            "T": (("T",), list(self.steps), "number of steps"),
            **(more or {}),
        }
        fields = asdict(self)
        if model is not None:  # the sizes are the model's, not those of the experiment's flags
            fields = {k: fields[k] for k in ("orders", "steps", "data", "strings", "seed")}
            fields["model"] = type(model).__name__
        return results.label(variables, coords, source, results.provenance(fields))

    @results.tracked
    @checked
    def schedules(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Best block sizes at random order, equal ones, and the order *spread*, for many grammars.

        Parameters
        ----------
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``best``, ``even``, ``spread`` and ``smooth`` on (size, T); per size ``tc``, ``dtc`` and
            ``fall``, the difference Z(0) - Z(n - 1); all with errors over grammars.
        """
        tasks = [
            Task(schedule_task, (self, m, L, g),
                 {"version": 1, "question": self.name, "v": self.v, "s": self.s, "m": m, "L": L,
                  "steps": self.steps, "data": self.data, "seed": self.seed, "g": g})
            for m, L in self.sizes for g in range(self.grammars)
        ]  # fmt: skip
        parts = run_tasks(tasks, folder, workers=workers, cluster=cluster, name=self.name)
        shape = (len(self.sizes), self.grammars)
        rows = np.stack([p["rows"] for p in parts]).reshape(*shape, 4, -1)
        facts = np.stack([p["facts"] for p in parts]).reshape(*shape, 3)
        variables: dict[str, Any] = {}
        for k, (name, text) in enumerate(
            (
                ("best", "divergence of the best block sizes, random order"),
                ("even", "divergence of equal block sizes, random order"),
                ("spread", "divergence of equal block sizes, order spread"),
                ("smooth", "limit of many leaves and steps"),
            )
        ):
            variables[name] = (("size", "T"), rows[:, :, k].mean(axis=1), text)
            variables[f"{name}_error"] = (("size", "T"), _error(rows[:, :, k]), "standard error")
        for k, (name, text) in enumerate(
            (
                ("tc", "total correlation, nats"),
                ("dtc", "dual total correlation, nats"),
                ("fall", "Z(0) - Z(n - 1), nats"),
            )
        ):
            variables[name] = (("size",), facts[:, :, k].mean(axis=1), text)
            variables[f"{name}_error"] = (("size",), _error(facts[:, :, k]), "standard error")
        m, L = np.array(self.sizes).T
        coords = {
            "m": (("size",), m, "rules per symbol"), "L": (("size",), L, "depth"),
            "leaves": (("size",), self.s**L, "number of leaves"),
            "T": (("T",), list(self.steps), "number of steps"),
        }  # fmt: skip
        return results.label(variables, coords, "theory", results.provenance(asdict(self)))

    @results.tracked
    @checked
    def remasking(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Remasking against smaller steps at equal calls; masking against uniform noise.

        Parameters
        ----------
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``remasked`` on (order, calls, again), ``path`` on (process, T), with errors.
        """
        found = self._tasks(other_task, {"folder": folder, "workers": workers, "cluster": cluster})
        mean = nested_mean(np.moveaxis(found["valid"], -1, 1))
        least = 1 / (self.grammars * self.strings)
        dims = ("order", "calls", "again")
        variables = {
            "remasked": (dims, mean.mean, "share of strings in the language"),
            "remasked_error": (dims, np.maximum(mean.error, least), "its standard error"),
            "path": (("process", "T"), found["paths"].mean(axis=0), "divergence of paths, nats"),
            "path_error": (("process", "T"), _error(found["paths"][None])[0], "its standard error"),
        }
        coords = {
            "order": (("order",), list(self.orders), "order of the leaves"),
            "T": (("T",), list(self.steps), "number of steps"),
            "calls": (("calls",), list(self.calls), "calls of the model"),
            "again": (("again",), list(AGAIN), "leaves that a round masks again"),
            "process": (("process",), list(PROCESSES), "noise process"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Measurement and prediction; of exact inference also schedules and remasking."""
        options = run.tasks(self.name)
        measured = self.measure(model, data, **options)
        if model is not None:
            grammar, _ = grammar_of(model, data)
            return {self.name: measured, f"{self.name}_theory": self.predict(grammar=grammar)}
        return {
            self.name: measured,
            f"{self.name}_theory": self.predict(**options),
            f"{self.name}_schedules": self.schedules(**options),
            f"{self.name}_remasking": self.remasking(**options),
        }

    def figure(self, datasets: Datasets) -> Figure:
        """Divergence and validity by order, and the best block sizes of many grammars."""
        return draw(self.name, datasets)

    def summary(self, datasets: Datasets) -> Summary:
        """Divergences and validity of all orders, and the table of best block sizes."""
        ds, sizes = datasets[self.name], datasets.get(f"{self.name}_schedules")
        again = datasets.get(f"{self.name}_remasking")
        law = datasets.get(f"{self.name}_theory")
        parts = [table(ds)]
        if sizes is not None:
            parts.append(sizes_table(sizes))
        if again is not None:
            parts.append(again_table(again))
        values = {
            "orders": list(map(str, ds.order.values)), "T": ds["T"].values.tolist(),
            **{w: ds[w].values.tolist() for w in ("divergence", "divergence_error", "valid",
                                                  "valid_error")},
        }  # fmt: skip
        if law is not None:
            values["z"] = {w: largest_score(law, ds, w) for w in ("divergence", "valid")}
        if sizes is not None:
            names = ("m", "L", "best", "best_error", "spread", "spread_error", "fall", "tc", "dtc")
            values["schedules"] = {w: _listed(sizes[w]) for w in names}
            values["exponents"] = {w: list(exponent(sizes, w)) for w in ("best", "spread")}
        if again is not None:
            words = ("remasked", "remasked_error", "path", "path_error", "calls", "again")
            values["remasking"] = {w: _listed(again[w]) for w in words}
        return Summary("\n\n".join(parts), claim(ds, law, sizes), values)


# ------------------------------------------------------------------------- arguments and averages


def _pair(name: str, value: Any) -> tuple[int, int]:
    """Rules per symbol and depth."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InvalidParameter(f"{name} = {shown(value)} must be a pair of m and L")
    return whole(name, value[0], 1), whole(name, value[1], 1)


def grammar_of(model: Any, data: Any) -> tuple[Grammar, Array | None]:
    """Grammar and strings that a caller gave."""
    grammar, x = getattr(model, "grammar", None), data
    if isinstance(data, Grammar):
        grammar, x = data, None
    elif isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Grammar):
        grammar, x = data
    if not isinstance(grammar, Grammar):
        raise InvalidParameter(
            f"model {type(model).__name__} has no grammar whose strings it could be compared with; "
            "give a Grammar, or a Grammar and strings, as data"
        )
    return grammar, x.leaves if isinstance(x, Derivations) else x


def _means(found: Mapping[str, Array]) -> dict[str, Any]:
    """Means and errors of values [grammar, datum, order, T, ...]."""
    variables: dict[str, Any] = {}
    for name, values in found.items():
        mean = nested_mean(values)
        dims = ("order", "T", "level")[: values.ndim - 2]
        variables[name] = (dims, mean.mean, _TEXT[name])
        variables[f"{name}_error"] = (dims, mean.error, f"standard error of: {_TEXT[name]}")
    return variables


def _error(x: Array) -> Array:
    """Standard error over grammars [size, grammar, ...]."""
    return np.asarray(x.std(axis=1, ddof=1) / np.sqrt(x.shape[1]))


def _listed(x: xr.DataArray) -> list[Any]:
    """Numbers with None where there are none."""
    values = np.asarray(x.values, float)
    out = values.astype(object)
    out[np.isnan(values)] = None
    found: list[Any] = out.tolist()
    return found
