r"""The autoregressive twin of a masked model: next leaves, short contexts, and what is decided.

A masked model that is given the leaves on the left, and masks for all others, is an autoregressive
model.  Of exact inference its losses are entropies (:mod:`hierdiff.theory.rhm.next_token`),

.. math:: \sum_k h_k = H(x), \qquad KL(p \| q_c) = \sum_k h_k(c) - H(x),

where c leaves of context are left.  As leaves are read, latents are decided.  Let a model complete
a datum of which k leaves are known; a latent of the completion agrees with that of the datum with
probability

.. math:: a_l(k) = E\,\frac{1}{n_l} \sum_i p(z_{l,i} = \text{true} \mid x_S), \qquad |S| = k,

if the completion is a draw of the posterior.  The prediction averages posteriors, the measurement
completes data, draws strings with short contexts, and takes -log q of the true leaves.
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
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, listed, natural, one_of, unchecked, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import Grammar, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import MaskingNoise, draw_symbols
from hierdiff.plots import PALETTE, Figure, legend, panels, plt, shade
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import jackknife, nested_mean, student_factor
from hierdiff.sims.metrics.forward_backward import one_at_a_time
from hierdiff.sims.models.block_unmasking import UnmaskingModel
from hierdiff.sims.parallel_unmasking import grammar_of
from hierdiff.sims.parallel_unmasking_figure import largest_score
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.next_token import (
    context_entropies,
    half_read,
    masked_bound,
    next_token_entropies,
    opened_rules,
)
from hierdiff.theory.rhm.parallel_unmasking import (
    FLOOR,
    Beliefs,
    OrderName,
    conditionals_of,
    order_ranks,
)

__all__ = ["Autoregressive"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]
ORDERS: tuple[OrderName, ...] = ("left to right", "random", "spread")
"""Orders in which a datum is read."""
COMPARED = ("loss", "divergence", "agreement", "half")
"""What both prediction and measurement have."""
_TEXT = {
    "loss": "loss at the next leaf, nats",
    "total": "sum of the losses of a string, nats",
    "short_loss": "mean loss with a short context, nats per leaf",
    "divergence": "divergence of the string law with a short context, nats",
    "agreement": "probability that a latent is decided as in the datum",
    "validity": "share of nodes with a derivation, short context",
    "bound_gap": "log p(x) less the variational bound of the masked model, nats",
    "rule_loss": "mean loss at the leaves that open r rules, nats",
    "half": "number of leaves after which a level is half decided",
}
_DIMS = {
    "loss": ("leaf",), "total": (), "short_loss": ("context",), "divergence": ("context",),
    "agreement": ("order", "read", "level"), "validity": ("context", "level"), "bound_gap": (),
    "rule_loss": ("rules",), "half": ("order", "level"),
}  # fmt: skip


def law_task(experiment: Autoregressive, grammar: Grammar, g: int) -> dict[str, Array]:
    """Entropies of the next leaf, and beliefs in the true latents, [datum, ...]."""
    seed, n = experiment.seed, experiment.data
    tokens = next_token_entropies(grammar, n, stream(seed, "law tokens", g))
    short = context_entropies(grammar, experiment.contexts_of(grammar), n,
                              stream(seed, "law contexts", g))  # fmt: skip
    truth = grammar.sample(n, stream(seed, "law reading", g))
    reads = experiment.reads(grammar)
    noise = MaskingNoise(grammar.leaf_vocabulary)
    agreement = np.empty((n, len(ORDERS), len(reads), grammar.L + 1))
    for i, order in enumerate(ORDERS):
        ranks = np.asarray(order_ranks(grammar, order, n, stream(seed, "law order", g, order)))
        for j, k in enumerate(reads):
            asked = posterior(
                grammar, noise.evidence(np.where(ranks < k, truth.leaves, -1), 0.5), threads=1
            )
            for level, p in enumerate(asked.marginals):
                own = np.take_along_axis(p, truth.levels[level][..., None].astype(int), axis=2)
                agreement[:, i, j, level] = own[..., 0].mean(axis=1)
    return {
        "loss": tokens.by_datum, "short_loss": short.by_datum.mean(axis=1),
        "divergence": short.divergence_by_datum, "agreement": agreement,
        "total": tokens.by_datum.sum(axis=1),
    }  # fmt: skip


def read_task(
    experiment: Autoregressive, grammar: Grammar, g: int, model: DiffusionModel | None = None,
    x: Array | None = None,
) -> dict[str, Array]:  # fmt: skip
    """Losses, agreement of completions and bound [datum, ...]; validity [string, ...]."""
    seed, L = experiment.seed, grammar.L
    if x is None:
        x = grammar.sample(experiment.data, stream(seed, "data", g)).leaves
    beliefs, log_p = conditionals_of(grammar, model), grammar.log_prob(x)
    maker = model or ExactRHM(grammar, MaskingNoise(grammar.leaf_vocabulary), threads=1)
    losses = _losses(beliefs, x, experiment.contexts_of(grammar))
    truth, reads = grammar.parse(x), experiment.reads(grammar)
    agreement = np.zeros((len(x), len(ORDERS), len(reads), L + 1))
    complete = UnmaskingModel(maker, grammar, (1,) * grammar.n_leaves, "random")
    for i, order in enumerate(ORDERS):
        ranks = np.asarray(order_ranks(grammar, order, len(x), stream(seed, "order", g, order)))
        for j, k in enumerate(reads):
            states = np.where(ranks < k, x, -1)
            made = complete.sample(states, 1 - k / grammar.n_leaves,
                                   stream(seed, "complete", g, order, k))  # fmt: skip
            valid = grammar.is_valid(made)
            # the datum stands in for strings without a derivation, whose latents agree with nothing
            parsed = grammar.parse(np.where(valid[:, None], made, x))
            for level in range(L + 1):
                same = (parsed.levels[level] == truth.levels[level]).mean(axis=1)
                agreement[:, i, j, level] = np.where(valid | (level == L), same, 0)
            agreement[:, i, j, L] = (made == x).mean(axis=1)
    strings = [_written(beliefs, grammar, c, experiment.strings, stream(seed, "write", g, c))
               for c in experiment.contexts_of(grammar)]  # fmt: skip
    validity = np.stack([np.stack(grammar.valid_per_level(s), axis=1) for s in strings], axis=1)
    bound = masked_bound(grammar, x, model, seed=stream(seed, "bound", g))
    return {
        "loss": losses[..., -1], "short_loss": losses.mean(axis=1),
        "divergence": losses.sum(axis=1) + log_p[:, None], "agreement": agreement,
        "bound_gap": log_p - bound, "validity": validity, "total": losses[..., -1].sum(axis=1),
    }  # fmt: skip


def _losses(beliefs: Beliefs, x: Array, contexts: tuple[int, ...]) -> Array:
    """-log q(x_k | the last c leaves before k), [n, leaves, contexts]."""
    place, found = np.arange(x.shape[1]), np.empty((*x.shape, len(contexts)))
    for k in place:
        for j, c in enumerate(contexts):
            if j and contexts[j - 1] >= k:
                found[:, k, j] = found[:, k, j - 1]
                continue
            p = beliefs(np.where((place < k) & (place >= k - c), x, -1))[:, k]
            own = np.take_along_axis(p, x[:, k, None], axis=1)[:, 0]
            found[:, k, j] = -np.log(np.maximum(own, FLOOR))
    return found


def _written(beliefs: Beliefs, grammar: Grammar, context: int, n: int, rng: Any) -> Array:
    """Strings that a model writes from left to right with a short context, [n, leaves]."""
    place, random = np.arange(grammar.n_leaves), rng
    x = np.full((n, grammar.n_leaves), -1)
    for k in place:
        p = beliefs(np.where(place >= k - context, x, -1))[:, k]
        x[:, k] = draw_symbols(p[:, None], random.random((n, 1)))[:, 0]
    return x


@dataclass(frozen=True)
class Autoregressive:
    """Losses of the next leaf, of short contexts, and latents that are decided as leaves are read.

    Notes
    -----
    Validity: entropies are exact up to means over data and grammars.  Errors are over grammars, or
    over the data of one grammar, with Student's factor; those of ``half`` are by the jackknife.

    Examples
    --------
    >>> small = Autoregressive(v=4, m=2, L=2, grammars=2, data=20, strings=20, contexts=(0, 3))
    >>> ds = small.measure(workers=1)
    >>> ds.agreement.dims, float(ds.validity.sel(context=3, level=0))
    (('order', 'read', 'level'), 1.0)
    """

    name: ClassVar[str] = "autoregressive"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 5
    """Depth."""
    contexts: tuple[int, ...] = (0, 1, 2, 3, 5, 7, 11, 15, 23, 31)
    """Numbers of leaves of context."""
    grammars: int = 8
    """Random grammars."""
    data: int = 300
    """Data per grammar."""
    strings: int = 1000
    """Strings that are written per grammar and context."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        rhm = RHM(self.v, self.m, self.s, self.L)
        check_fields(
            self,
            contexts=partial(listed, rule=natural, rising=True, least=1),
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=2, high=10**7),
            strings=partial(whole, low=2, high=10**7),
            seed=natural,
        )
        if self.contexts[-1] >= rhm.n_leaves:
            raise InvalidParameter(
                f"contexts = {self.contexts[-1]}: a leaf has {rhm.n_leaves - 1} before it at most"
            )
        affordable(rhm, max(self.data, self.strings))

    @checked
    def grammar(self, g: int) -> Grammar:
        """The random grammar of number g."""
        return RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar", g))

    @checked
    def contexts_of(self, grammar: Grammar) -> tuple[int, ...]:
        """The contexts, and all leaves before the last one."""
        return (*(c for c in self.contexts if c < grammar.n_leaves - 1), grammar.n_leaves - 1)

    @checked
    def reads(self, grammar: Grammar) -> list[int]:
        """Numbers of leaves that are read before a datum is completed."""
        return list(range(0, grammar.n_leaves + 1, max(1, grammar.n_leaves // 16)))

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
        """Entropies of the next leaf, and posteriors of the latents.

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
            ``loss`` on (leaf), ``rule_loss`` on (rules), ``short_loss`` and ``divergence`` on
            (context), ``agreement`` on (order, read, level), ``half`` on (order, level), with
            errors.
        """
        one_of("law", law, ("exact",))
        if grammar is not None:
            found = {k: x[None] for k, x in law_task(self, grammar, 0).items()}
            return self._label(found, "theory", grammar)
        options = {"folder": folder, "workers": workers, "cluster": cluster}
        return self._label(self._tasks(law_task, options), "theory", self.grammar(0))

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
        """The same of a masked model, with the validity of its strings and its bound.

        Parameters
        ----------
        model : DiffusionModel, optional
            Of masking noise; default exact inference on random grammars.
        data : Grammar, Derivations or (Grammar, strings), optional
            What the model is a model of; default the model's own grammar.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            As :meth:`predict`, and ``validity`` on (context, level), ``bound_gap``.

        Raises
        ------
        InvalidParameter
            If the model has no conditionals given revealed leaves, or no grammar.

        Notes
        -----
        Validity: symbols to which a model gives less than 1e-6 count as 1e-6; an exact model has a
        ``bound_gap`` of zero.
        """
        if model is None and data is not None:
            raise InvalidParameter("data were given without the model they belong to")
        if model is None:
            options = {"folder": folder, "workers": workers, "cluster": cluster}
            return self._label(self._tasks(read_task, options), "simulation", self.grammar(0))
        grammar, x = grammar_of(model, data)
        conditionals_of(grammar, model)
        parameters = {"version": 1, "question": self.name, **asdict(self), "model": repr(model)}
        task = Task(read_task, (self, grammar, 0, model, x), parameters)
        if one_at_a_time(model):
            workers = 1
        found = run_tasks([task], folder, workers=workers, cluster=cluster, name=self.name)
        source = "network" if getattr(model, "source", "") == "network" else "simulation"
        return self._label({k: a[None] for k, a in found[0].items()}, source, grammar, model)

    def _tasks(self, work: Any, options: dict[str, Any]) -> dict[str, Array]:
        """Numbers of all grammars, [grammar, ...]."""
        fields = asdict(self)
        del fields["grammars"]
        tasks = [
            Task(work, (self, self.grammar(g), g),
                 {"version": 1, "question": self.name, "work": work.__name__, **fields, "g": g})
            for g in range(self.grammars)
        ]  # fmt: skip
        parts = run_tasks(tasks, name=self.name, **options)
        return {name: np.stack([p[name] for p in parts]) for name in parts[0]}

    def _label(
        self, found: dict[str, Array], source: str, grammar: Grammar,
        model: DiffusionModel | None = None,
    ) -> xr.Dataset:  # fmt: skip
        opened = opened_rules(grammar)
        kinds = sorted(set(opened.tolist()))
        loss = np.asarray(found["loss"])
        found = found | {"rule_loss": np.stack([loss[..., opened == r].mean(axis=2) for r in kinds],
                                               axis=2)}  # fmt: skip
        variables: dict[str, Any] = {}
        for name, values in found.items():
            mean = nested_mean(values)
            error = mean.error * student_factor(mean.units)
            if name in ("agreement", "validity") and source != "theory":
                # of draws that are all alike the error is below one in their number
                error = np.maximum(error, 1 / (values.shape[0] * values.shape[1]))
            variables |= results.with_error(name, _DIMS[name], mean.mean, error, _TEXT[name])
        reads = self.reads(grammar)
        half = half_decided(found["agreement"], reads)
        variables |= results.with_error("half", _DIMS["half"], *half, _TEXT["half"])
        axes: dict[str, tuple[Any, str]] = {
            "leaf": (np.arange(grammar.n_leaves), "leaf k, from the left"),
            "context": (list(self.contexts_of(grammar)), "leaves of context"),
            "order": (list(ORDERS), "order of reading"),
            "read": (reads, "number of leaves that are read"),
            "level": (np.arange(grammar.L + 1), "level, root = 0"),
            "rules": (kinds, "rules that begin with a leaf"),
        }
        coords = results.coordinates(variables, axes)
        coords["opened"] = (("leaf",), opened, "rules that begin with the leaf")
        fields = asdict(self)
        if model is not None:  # the sizes are the model's, not those of the experiment's flags
            fields = {k: fields[k] for k in ("contexts", "data", "strings", "seed")}
            fields["model"] = type(model).__name__
        return results.label(variables, coords, source, results.provenance(fields))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Measurement and prediction."""
        options = run.tasks(self.name)
        measured = self.measure(model, data, **options)
        if model is not None:
            law = self.predict(grammar=grammar_of(model, data)[0])
            return {self.name: measured, f"{self.name}_theory": law}
        return {self.name: measured, f"{self.name}_theory": self.predict(**options)}

    def figure(self, datasets: Datasets) -> Figure:
        """Losses along the string, short contexts, and the class as leaves are read."""
        return draw(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Datasets) -> Summary:
        """The sum rule, short contexts with validity of every level, and half-way points."""
        ds, law = datasets[self.name], datasets[f"{self.name}_theory"]
        values = {
            "loss": law.loss.values.tolist(), "loss_error": law.loss_error.values.tolist(),
            "sum of losses": [float(law.total), float(law.total_error)],
            "log number of data": RHM(self.v, self.m, self.s, self.L).log_n_data,
            "contexts": law.context.values.tolist(),
            "divergence": law.divergence.values.tolist(),
            "divergence_error": law.divergence_error.values.tolist(),
            "validity": ds.validity.values.tolist(),
            "validity_error": ds.validity_error.values.tolist(),
            **{f"{word}{end}": {str(o): _known(one[f"half{end}"].sel(order=o).values)
                                for o in one.order.values}
               for word, one in (("half read", law), ("half read, measured", ds))
               for end in ("", "_error")},
            "rules": law.rules.values.tolist(),
            "rule_loss": [law.rule_loss.values.tolist(), law.rule_loss_error.values.tolist()],
            "z": {w: largest_score(law, ds, w) for w in COMPARED},
            "bound gap": [float(ds.bound_gap), float(ds.bound_gap_error)],
        }  # fmt: skip
        return Summary(table(ds, law), claim(ds, law), values)


def _known(row: Array) -> list[float | None]:
    return [float(x) if np.isfinite(x) else None for x in row]


def half_decided(agreement: Array, reads: list[int]) -> tuple[Array, Array]:
    """Number of leaves after which every level is half decided, and its error, [order, level].

    Agreement is [grammar, datum, order, read, level]; the error is over grammars, or over the data
    of a single one, by the jackknife with Student's factor.  Both are NaN where agreement does not
    rise, the error also where it does not without one of the units.
    """
    units = agreement.mean(axis=1) if len(agreement) > 1 else agreement[0]

    def places(rows: Array) -> Array:
        curves = 1 - np.moveaxis(units[rows].mean(axis=0), 1, 2)  # [order, level, read]
        found = np.array([[half_read(curve) for curve in table] for table in curves])
        # from places on the grid of reads to numbers of leaves
        return np.where(np.isnan(found), np.nan, np.interp(found, np.arange(len(reads)), reads))

    value, error = jackknife(places, len(units))
    return value, error * student_factor(len(units))


def _row(ds: xr.Dataset, name: str, digits: int, **at: Any) -> list[str]:
    """All numbers of a row with their errors."""
    x, error = ds[name].sel(at), ds[f"{name}_error"].sel(at)
    return [plus_minus(a, e, digits) for a, e in zip(x.values, error.values, strict=True)]


def table(ds: xr.Dataset, law: xr.Dataset) -> str:
    """Losses by opened rules, contexts with validity, half-way points of all levels."""
    columns = zip(law.rules.values, _row(law, "rule_loss", 3), _row(ds, "rule_loss", 3),
                  strict=True)  # fmt: skip
    opened = [[r, int((law.opened.values == r).sum()), a, b] for r, a, b in columns]
    levels, short = ds.level.values[:-1], []
    for c in law.context.values:
        cells = [plus_minus(law[w].sel(context=c), law[f"{w}_error"].sel(context=c), 3)
                 for w in ("short_loss", "divergence")]  # fmt: skip
        short.append([c, *cells, *_row(ds, "validity", 4, context=c)[:-1]])
    decided = [
        [order, word, *_row(one, "half", 2, order=order)]
        for order in map(str, law.order.values)
        for one, word in ((law, "exact"), (ds, "measured"))
    ]
    valid = (f"valid, level {k}" for k in levels)
    return "\n".join([
        "mean loss at leaves that open r rules, nats",
        text_table(["r", "leaves", "exact", "measured"], opened), "",
        text_table(["context", "loss per leaf", "KL, nats", *valid], short), "",
        "leaves read when a level is half decided",
        text_table(["order", "", *(f"level {k}" for k in law.level.values)], decided, keys=2),
    ])  # fmt: skip


def claim(ds: xr.Dataset, law: xr.Dataset) -> str:
    """The sum rule, the context that the class needs, and when it is decided."""
    words = ", ".join(f"{o} {_row(law, 'half', 2, order=o)[0]}" for o in law.order.values)
    z = max(largest_score(law, ds, w) for w in COMPARED)
    return (
        f"losses sum to {float(law.total):.2f} ± {float(law.total_error):.2f} nats; half of the "
        f"class is decided after so many of {law.sizes['leaf']} leaves: {words}; the exact laws "
        f"hold to |z| <= {z:.1f}"
    )


def draw(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Three panels: losses along the string, short contexts, agreement as leaves are read."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.7), layout="constrained")
    top, depth = max(int(law.opened.max()), 1), max(int(ds.level[-1]), 1)
    colours = [shade(1 - r / top) for r in law.opened.values]
    axes[0].bar(law.leaf, law.loss, color=colours, width=0.85)
    axes[0].errorbar(ds.leaf, ds.loss, ds.loss_error, fmt="k.", ms=3, lw=0.8, label="measured")
    for r in sorted(set(law.opened.values.tolist())):
        axes[0].bar([0], [0], color=shade(1 - r / top), label=f"opens {r} rules")
    axes[0].set(xlabel="leaf k", ylabel=r"$h_k = H(x_k\,|\,x_{<k})$, nats")
    right = axes[1].twinx()
    axes[1].errorbar(ds.context, ds.divergence, ds.divergence_error, fmt="ko", ms=4, lw=0.9)
    axes[1].plot(law.context, law.divergence, "k-", lw=0.9)
    for level in ds.level.values[:-1]:
        at = ds.validity.sel(level=level)
        right.errorbar(
            ds.context,
            at,
            ds.validity_error.sel(level=level),
            fmt="o--",
            ms=3,
            lw=0.7,
            mfc="none",
            color=shade(level / depth),
            label=f"valid, level {level}",
        )
    axes[1].set(xlabel="leaves of context c", ylabel=r"$KL(p\,||\,q_c)$, nats (black)")
    right.set(ylabel="share of valid nodes", ylim=(0, 1.03))
    for i, order in enumerate(map(str, ds.order.values)):
        for level, form in ((0, "-"), (max(depth - 2, 1), "--")):
            at, line = (x.sel(order=order, level=level) for x in (ds, law))
            axes[2].plot(law.read, line.agreement, form, lw=1, color=PALETTE[i],
                         label=f"{order}, level {level}")  # fmt: skip
            axes[2].errorbar(ds.read, at.agreement, at.agreement_error, fmt="o", ms=3, lw=0.8,
                             color=PALETTE[i])  # fmt: skip
    axes[2].set(xlabel="leaves read", ylabel="latent decided as in the datum", ylim=(0, 1.03))
    for ax in axes[::2]:
        ax.spines[["top", "right"]].set_visible(False)
    for ax, words in ((axes[0], ""), (right, ""), (axes[2], "lines: exact; points: measured")):
        legend(ax, words)
    for ax in (axes[1], right):
        ax.spines["top"].set_visible(False)
    places = law.half.sel(level=0)
    ends = [f"{float(x):.0f} ({o})" for o, x in zip(law.order.values, places, strict=True)
            if np.isfinite(float(x))]  # fmt: skip
    c = len(law.context) // 2
    panels(
        axes, f"losses sum to {float(law.total):.2f} ± {float(law.total_error):.2f} nats",
        f"{int(law.context[c])} leaves of context: {float(law.divergence[c]):.1f} nats, "
        f"class valid {float(ds.validity[c, 0]):.0%}",
        f"class half: {', '.join(ends[:: max(len(ends) - 1, 1)]) or '-'}",
    )  # fmt: skip
    return figure
