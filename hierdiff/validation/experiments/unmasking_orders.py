r"""Orders in which trained networks reveal leaves, remasking, and their autoregressive twins.

Three claims about masked models are put to the networks of
:mod:`hierdiff.validation.experiments.unmasking`, each on a grammar of its own, and to exact
conditionals of the same grammars on the same random numbers.

=============  =====================================================================================
what is asked  what is measured
=============  =====================================================================================
orders         divergence KL(p || q) and share of valid strings, if the leaves of which the network
               is surest come first (*confident*), or those of which it is least sure (*unsure*),
               beside a random order and leaves that are far apart (*spread*)
remasking      share of valid strings at equal calls: all calls reveal, or half of them mask again
readings       loss of the next leaf, and after how many leaves the class of a completed datum is
               that of the datum: the masked network from left to right, in random order, spread,
               and *next leaf*, a network of the same architecture, weights at the start and number
               of steps, which was trained on prefixes alone
=============  =====================================================================================

The divergence is the price of the steps plus the network's own error (eq. 3 of
:mod:`hierdiff.theory.rhm.parallel_unmasking`), both computed with exact conditionals on the way
that the network takes.  Its order may depend on the string, since the sampler chooses it before it
draws.  The share of valid strings is, for any of these orders,

.. math:: V = E_p \frac{q(x)}{p(x)} \ge e^{-KL(p \| q)},                                   \tag{1}

which compares strings that were drawn with probabilities of other data.  The losses of a reading
sum to H(x) + KL.  With k leaves read, a datum is completed one leaf at a time in the order of the
reading; exact beliefs agree with the latents of the datum with probability

.. math:: a_l(k) = E\,\frac{1}{n_l} \sum_i p(z_{l,i} = \text{true} \mid x_S), \qquad |S| = k,

and completions of a network are counted.  Those that are not valid have no latents.  They count as
disagreeing (``decided``), or are left out (``decided_valid``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    one_of,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.noise import MaskingNoise, draw_symbols
from hierdiff.plots import PALETTE, Figure, legend, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error, student_score
from hierdiff.sims.parallel_unmasking import AGAIN, ParallelUnmasking, remasked_strings, unmask_task
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.next_token import half_read
from hierdiff.theory.rhm.parallel_unmasking import (
    Beliefs,
    OrderName,
    conditionals_of,
    order_ranks,
    unmasking_terms,
)
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import architecture_rule, clear_checkpoints
from hierdiff.validation.experiments.unmasking import NetworkUnmasking

__all__ = ["READINGS", "NetworkOrders"]

Array: TypeAlias = NDArray[Any]
Datasets: TypeAlias = Mapping[str, xr.Dataset]

READINGS = ("left to right", "random", "spread", "next leaf")
"""Orders in which the masked network reads a datum; the last is the twin, from left to right."""
_ORDERS = (
    "left to right",
    "spread",
    "random",
    "confident",
    "unsure",
)  # whose law eq. (1) holds for
_COUNT = partial(whole, low=1, high=10**9)
_ZERO = 1e-9
_PLANE, _READ = ("order", "T"), ("reading", "read", "level")
_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "divergence": (_PLANE, "divergence KL(p || q) of the sampler, nats"),
    "price": (_PLANE, "part of the divergence that exact conditionals pay, nats"),
    "learning": (_PLANE, "part of the divergence that is the model's error, nats"),
    "log_ratio": (_PLANE, "mean of log p(x) - log q(x) over data, nats"),
    "mass": (_PLANE, "mean of q(x) / p(x) over data"),
    "valid": (_PLANE, "share of strings in the language"),
    "remasked": (("order", "calls", "again"), "share of strings in the language"),
    "loss": (("reading", "leaf"), "loss of the leaf that is read next, nats"),
    "excess": (("reading",), "sum of the losses less the entropy of the string, nats"),
    "decided": (_READ, "probability that a latent of a completion is that of the datum"),
    "decided_valid": (_READ, "the same among valid completions"),
    "complete": (("reading", "read"), "share of valid completions"),
    "half": (("reading", "level"), "leaves read when a level is half decided"),
    "half_valid": (("reading", "level"), "the same among valid completions"),
}  # fmt: skip


@dataclass(frozen=True)
class NetworkOrders:
    """Orders of unmasking, remasking and left-to-right reading by trained masked networks.

    Notes
    -----
    Validity: exact conditionals of every grammar stand beside its network; errors are Student's
    over networks, each on a grammar of its own.
    """

    name: ClassVar[str] = "network_orders"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory")

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 4
    """Depth."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""
    width: int = 48
    """Features per node of the network."""
    train_steps: int = 1500
    """Training steps, of the masked network and of its twin."""
    batch: int = 128
    """Data per training step."""
    networks: int = 3
    """Networks of both kinds, each pair on a grammar of its own."""
    orders: tuple[OrderName, ...] = ("random", "spread", "confident", "unsure")
    """Orders in which leaves are revealed."""
    steps: tuple[int, ...] = (2, 4, 8, 16)
    """Numbers of steps T of the sampler."""
    calls: tuple[int, ...] = (8, 16, 32)
    """Numbers of calls at which remasking is compared with revealing; beyond one call per leaf,
    with revealing one leaf at a time."""
    data: int = 300
    """Test data per network."""
    strings: int = 500
    """Strings that are drawn per network, order and number of steps or calls."""
    seed: int = 0
    """Seed of everything random; the networks are those of network-unmasking."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, width=_COUNT, train_steps=_COUNT, batch=_COUNT, seed=natural,
            architecture=architecture_rule(Grammar),
            networks=partial(whole, low=2, high=10**4),
            orders=partial(listed, rule=partial(one_of, options=_ORDERS), least=1),
            calls=partial(listed, rule=partial(whole, low=2, high=10**4), rising=True, least=1),
        )  # fmt: skip
        self._question  # noqa: B018  # steps, data and sizes are checked there

    @property
    def _question(self) -> ParallelUnmasking:
        return ParallelUnmasking(
            v=self.v, m=self.m, s=self.s, L=self.L, orders=self.orders, steps=self.steps,
            sizes=((self.m, self.L),), data=self.data, strings=self.strings, seed=self.seed,
        )  # fmt: skip

    @property
    def _networks(self) -> NetworkUnmasking:
        """The study whose networks these are."""
        return NetworkUnmasking(
            v=self.v, m=self.m, s=self.s, L=self.L, architecture=self.architecture,
            width=self.width, train_steps=self.train_steps, batch=self.batch,
            networks=self.networks, steps=self.steps, seed=self.seed,
        )  # fmt: skip

    @property
    def reads(self) -> list[int]:
        """Numbers of leaves that are read before a datum is completed."""
        n = self.s**self.L
        return list(range(0, n + 1, max(1, n // 16)))

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        """The same of exact conditionals, on the grammars of the networks.

        Parameters
        ----------
        law : "exact"

        Returns
        -------
        xarray.Dataset
            As :meth:`measure`; the reading *next leaf* is that from left to right.

        Notes
        -----
        Validity: exact up to means over data; ``valid`` and ``remasked`` are shares of strings that
        were drawn.
        """
        one_of("law", law, ("exact",))
        return self._label([self._answers(k) for k in range(self.networks)], "theory")

    @results.tracked
    @checked(data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        device: str = "cpu",
    ) -> xr.Dataset:
        """Orders, remasking and readings of trained networks.

        Parameters
        ----------
        model, data
            Refused: networks are trained here.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            ``divergence``, ``price``, ``learning``, ``log_ratio``, ``mass`` and ``valid`` on
            (order, T); ``remasked`` on (order, calls, again); ``loss`` on (reading, leaf),
            ``excess`` on (reading); ``decided`` and ``decided_valid`` on (reading, read, level),
            ``complete`` on (reading, read), ``half`` and ``half_valid`` on (reading, level).  Each
            is a mean over networks, with Student's error ``X_error`` and ``X_by_network``.

        Raises
        ------
        InvalidParameter
            If a model is given.

        Notes
        -----
        Validity: symbols to which a network gives less than 1e-6 count as 1e-6 in the divergence.
        """
        no_model(
            self.name, model, data,
            "it trains networks on grammars of its own; give a model to ParallelUnmasking or "
            "Autoregressive",
        )  # fmt: skip
        place = None if folder is None else Path(folder)
        made = self._networks
        parts = [
            self._answers(k, made.trained(k, place, device),
                          made.trained(k, place, device, target="next leaf"))
            for k in range(self.networks)
        ]  # fmt: skip
        return self._label(parts, "network")

    def _answers(
        self, k: int, model: DiffusionModel | None = None, twin: DiffusionModel | None = None
    ) -> dict[str, Array]:
        """Everything that is measured on one grammar; without models by exact conditionals."""
        grammar, question = self._networks.grammar(k), self._question
        found = unmask_task(question, grammar, k, model)
        price, learning = (found[x].mean(axis=0) for x in ("price", "learning"))
        return {
            "divergence": price + learning, "price": price, "learning": learning,
            "log_ratio": found["divergence"].mean(axis=0),
            "mass": np.exp(-found["divergence"]).mean(axis=0),
            "valid": (found["validity"][..., 0] == 1).mean(axis=0),
            "remasked": remasked_strings(question, grammar, k, self.calls, model).mean(axis=-1),
            **self._readings(grammar, k, model, twin),
        }  # fmt: skip

    def _readings(
        self, grammar: Grammar, k: int, model: DiffusionModel | None, twin: DiffusionModel | None
    ) -> dict[str, Array]:
        """Losses, and how far latents are decided, in all readings."""
        data = grammar.sample(self.data, stream(self.seed, "read", k))
        rows: dict[str, list[Array]] = {}
        for reading in READINGS:
            order: Any = READINGS[0] if reading == READINGS[-1] else reading
            asked = twin if reading == READINGS[-1] else model
            ranks = order_ranks(grammar, order, self.data, stream(self.seed, "reading", k, order))
            assert ranks is not None  # none of these orders depends on the string
            terms = unmasking_terms(
                grammar, data.leaves, ranks.argsort(axis=1), np.ones(grammar.n_leaves, int),
                model=asked,
            )  # fmt: skip
            if asked is None:
                decided = _posterior_agreement(grammar, data, ranks, self.reads)
                complete = np.ones(len(self.reads))
            else:
                rng = stream(self.seed, "complete", k, reading)
                beliefs = conditionals_of(grammar, asked)
                decided, complete = _agreement(grammar, data, beliefs, ranks, self.reads, rng)
            # without a valid completion nothing is known of its latents
            among = decided / np.where(complete > 0, complete, np.nan)[:, None]
            for name, value in (
                ("loss", terms.cross.mean(axis=0)), ("excess", np.array(terms.divergence.value)),
                ("decided", decided), ("decided_valid", among), ("complete", complete),
                ("half", _halves(decided, self.reads)), ("half_valid", _halves(among, self.reads)),
            ):  # fmt: skip
                rows.setdefault(name, []).append(value)
        return {name: np.stack(values) for name, values in rows.items()}

    def _label(self, parts: list[dict[str, Array]], source: str) -> xr.Dataset:
        """Means over networks with Student's errors, and the values of every network."""
        variables: dict[str, Any] = {}
        for name, (dims, text) in _VARIABLES.items():
            values = np.stack([part[name] for part in parts])
            variables |= results.with_error(
                name, dims, values.mean(axis=0), _error(values), text
            )  # fmt: skip
            variables[f"{name}_by_network"] = (("network", *dims), values, text)
        n = self.s**self.L
        axes: dict[str, tuple[Any, str]] = {
            "network": (np.arange(self.networks), "network, each on a grammar of its own"),
            "order": (list(self.orders), "order of the leaves"),
            "T": (list(self.steps), "number of steps"),
            "calls": (list(self.calls), "calls of the model"),
            "again": (list(AGAIN), "leaves that a round masks again"),
            "reading": (list(READINGS), "order of reading; the last by the autoregressive twin"),
            "leaf": (np.arange(n), "leaves read before"),
            "read": (self.reads, "number of leaves that are read"),
            "level": (np.arange(self.L), "level, root = 0"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Exact conditionals and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "network-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """Valid strings and divergence by order, remasking, and the class as leaves are read."""
        return draw(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Datasets) -> Summary:
        """Orders, remasking and readings of networks beside exact ones, with scores."""
        ds, law = datasets[self.name], datasets[f"{self.name}_theory"]
        values = _values(ds, law)
        values["log number of data"] = RHM(self.v, self.m, self.s, self.L).log_n_data
        return Summary(_table(ds, law, values), _claim(ds, values), values)


# ------------------------------------------------------------------------------ completing a datum


def _agreement(
    grammar: Grammar, data: Derivations, beliefs: Beliefs, ranks: Array, reads: list[int],
    rng: np.random.Generator,
) -> tuple[Array, Array]:  # fmt: skip
    """How often latents of completions are those of the datum [read, level], and validity."""
    decided = np.zeros((len(reads), grammar.L))
    complete = np.empty(len(reads))
    for j, k in enumerate(reads):
        x = np.where(ranks < k, data.leaves, -1)
        for rank in range(k, grammar.n_leaves):
            drawn = draw_symbols(beliefs(x), rng.random(x.shape))
            x = np.where(ranks == rank, drawn, x)
        valid = grammar.is_valid(x)
        complete[j] = valid.mean()
        # the datum stands in for strings without a derivation, whose latents agree with nothing
        parsed = grammar.parse(np.where(valid[:, None], x, data.leaves))
        for level in range(grammar.L):
            same = (parsed.levels[level] == data.levels[level]).mean(axis=1)
            decided[j, level] = np.where(valid, same, 0).mean()
    return decided, complete


def _posterior_agreement(
    grammar: Grammar, data: Derivations, ranks: Array, reads: list[int]
) -> Array:
    """Mean exact belief in the true latents, [read, level]."""
    noise, found = MaskingNoise(grammar.leaf_vocabulary), np.empty((len(reads), grammar.L))
    for j, k in enumerate(reads):
        states = np.where(ranks < k, data.leaves, -1)
        beliefs = posterior(grammar, noise.evidence(states, 0.5), threads=1).marginals
        for level in range(grammar.L):
            true = data.levels[level][..., None].astype(int)
            found[j, level] = np.take_along_axis(beliefs[level], true, axis=2).mean()
    return found


def _halves(decided: Array, reads: list[int]) -> Array:
    """Number of leaves after which every level is half decided; NaN where nothing is decided."""
    found = []
    for curve in decided.T:
        known = np.isfinite(curve)
        place = half_read(1 - curve[known]) if known.sum() > 1 else np.nan
        # from places among the known reads to numbers of leaves
        leaves = np.asarray(reads, float)[known]
        found.append(np.interp(place, np.arange(len(leaves)), leaves) if place == place else np.nan)
    return np.array(found)


def _error(values: Array) -> Array:
    """Student's error over networks; NaN where a network has no value."""
    known = np.isfinite(values).all(axis=0)
    return np.where(known, student_error(np.where(known, values, 0.0)), np.nan)


# -------------------------------------------------------------------------------- scores and words


def scored(values: Any) -> list[float | None]:
    """Mean over networks, Student's error, and the normal score of its test against 0.

    The score is None for equal values, which scatter by nothing; all is where a network has none.
    """
    x = np.asarray(values, float)
    if not np.isfinite(x).all():
        return [None, None, None]
    # what exact conditionals lose one leaf at a time is zero, but for rounding
    x = np.where(np.abs(x) < _ZERO, 0.0, x)
    z = float(student_score(x))
    return [float(x.mean()), float(student_error(x)), z if np.isfinite(z) else None]


def _values(ds: xr.Dataset, law: xr.Dataset) -> dict[str, Any]:
    """All numbers with errors, differences of orders, gains of remasking, and the laws."""
    net = {name: ds[f"{name}_by_network"] for name in _VARIABLES}
    exact = {name: law[f"{name}_by_network"] for name in _VARIABLES}
    out: dict[str, Any] = {"networks": int(ds.sizes["network"])}
    for name in ("order", "T", "calls", "again", "reading", "read"):
        out[name] = ds[name].values.tolist()
    for name in ("divergence", "price", "learning", "valid", "remasked", "excess", "half",
                 "half_valid", "complete"):  # fmt: skip
        out[name] = {word: [_listed(x[name].values), _listed(x[f"{name}_error"].values)]
                     for word, x in (("network", ds), ("exact", law))}  # fmt: skip
    out["loss"] = {word: x.loss.values.tolist() for word, x in (("network", ds), ("exact", law))}
    orders = list(map(str, ds.order.values))
    out["less random"] = {
        name: {
            order: {word: [scored(x[name].sel(order=order, T=T) - x[name].sel(order="random", T=T))
                           for T in ds["T"].values]
                    for word, x in (("network", net), ("exact", exact))}
            for order in orders if order != "random"
        }
        for name in ("valid", "divergence") if "random" in orders
    }  # fmt: skip
    out["gain of remasking"] = {
        order: {word: [[scored(x["remasked"].sel(order=order, calls=c, again=a)
                               - x["remasked"].sel(order=order, calls=c, again=0))
                        for a in ds.again.values[1:]] for c in ds.calls.values]
                for word, x in (("network", net), ("exact", exact))}
        for order in orders
    }  # fmt: skip
    out["laws"] = _laws(net, exact)
    return out


def _laws(net: Mapping[str, xr.DataArray], exact: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    """What holds for any network, and two wrong laws that are rejected."""
    # at the largest T, where single data weigh least in the mean of q / p
    valid, mass, kl = (net[x].isel(T=-1).mean("order") for x in ("valid", "mass", "divergence"))
    half = net["half_valid"].sel(level=0)
    left, mixed = (exact["half_valid"].sel(level=0, reading=x) for x in READINGS[:2])
    parts = net["log_ratio"] - net["price"] - net["learning"]
    return {
        "valid strings less E q/p": scored(valid - mass),
        "valid strings less exp(-KL)": scored(valid - np.exp(-kl)),
        "mean log p/q less price and own error": scored(parts.mean(("order", "T"))),
        "half of the class, left to right less exact": scored(half.sel(reading=READINGS[0]) - left),
        "half of the class, left to right less exact in random order": scored(
            half.sel(reading=READINGS[0]) - mixed
        ),
        "half of the class, next leaf less exact": scored(half.sel(reading=READINGS[-1]) - left),
        "half of the class, left to right less random": scored(
            half.sel(reading=READINGS[0]) - half.sel(reading=READINGS[1])
        ),
        "loss, next leaf less left to right": scored(
            net["excess"].sel(reading=READINGS[-1]) - net["excess"].sel(reading=READINGS[0])
        ),
    }


def _listed(values: Array) -> Any:
    """Numbers with None where there are none."""
    x = np.asarray(values, float)
    out = x.astype(object)
    out[~np.isfinite(x)] = None
    return out.tolist()


def _score(x: list[float | None], digits: int = 3) -> str:
    """A difference with its error and score."""
    if x[0] is None:
        return "-"
    z = "alike" if x[2] is None else f"z = {x[2]:.1f}"
    return f"{plus_minus(x[0], x[1], digits)} ({z})"


def _pair(ds: xr.Dataset, name: str, digits: int, **at: Any) -> str:
    return plus_minus(ds[name].sel(at), ds[f"{name}_error"].sel(at), digits)


def _table(ds: xr.Dataset, law: xr.Dataset, values: dict[str, Any]) -> str:
    """Orders, remasking, readings, laws."""
    orders, both = list(map(str, ds.order.values)), (ds, law)
    first = [
        [order, T, *(_pair(x, "valid", 3, order=order, T=T) for x in both),
         *(_pair(x, "divergence", 2, order=order, T=T) for x in both),
         _pair(ds, "learning", 2, order=order, T=T)]
        for order in orders for T in ds["T"].values
    ]  # fmt: skip
    second = [
        [order, c, word, *(_pair(x, "remasked", 3, order=order, calls=c, again=a)
                           for a in ds.again.values)]
        for order in orders for c in ds.calls.values
        for word, x in (("network", ds), ("exact", law))
    ]  # fmt: skip
    third = [
        [reading, _pair(ds, "excess", 2, reading=reading),
         *(_pair(x, name, 2, reading=reading, level=0)
           for x, name in ((law, "half"), (ds, "half"), (ds, "half_valid")))]
        for reading in READINGS
    ]  # fmt: skip
    rows = [[name, _score(x)] for name, x in values["laws"].items()]
    again = ["no remasking", *(f"{a} a round" for a in ds.again.values[1:])]
    return "\n\n".join([
        text_table(["order", "T", "valid", "valid, exact", "KL, nats", "KL, exact", "own error"],
                   first, keys=2),
        "share of valid strings at equal calls\n"
        + text_table(["order", "calls", "", *again], second, keys=3),
        "reading, one leaf at a time: losses less entropy, and when the class is half decided\n"
        + text_table(["reading", "KL, nats", "half, exact", "half, network", "of valid ones"],
                     third),
        text_table(["difference", "mean over networks"], rows),
    ])  # fmt: skip


def _claim(ds: xr.Dataset, values: dict[str, Any]) -> str:
    """The three claims in numbers."""
    n, orders = values["networks"], values["order"]
    words = []
    if {"confident", "random"} <= set(orders):
        kept = values["less random"]["valid"]["confident"]["network"]
        few, last = (values["T"][i] for i in (0, -1))
        words.append(
            f"surest leaves first change the share of valid strings by {_score(kept[0])} at T = "
            f"{few} and by {_score(kept[-1])} at T = {last}, against a random order"
        )
    order = "random" if "random" in orders else orders[0]
    gains = values["gain of remasking"][order]["network"]
    words.append(
        f"remasking one leaf a round changes it by {_score(gains[0][0])} at {values['calls'][0]} "
        f"calls ({order})"
    )
    losses = [_pair(ds, "excess", 2, reading=READINGS[k]) for k in (0, -1)]
    halves = (f"{_pair(ds, 'half_valid', 1, reading=r, level=0)} ({r})" for r in READINGS)
    words.append(
        f"losses from left to right exceed the entropy by {losses[0]} nats (twin trained on "
        f"prefixes {losses[1]}), and the class is half decided after {', '.join(halves)}"
    )
    return f"{n} networks: " + "; ".join(words)


# ------------------------------------------------------------------------------------------ figure


def draw(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Four panels: valid strings, divergence, remasking, the class as leaves are read."""
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.8), layout="constrained")
    for i, order in enumerate(map(str, ds.order.values)):
        at, line = ds.sel(order=order), law.sel(order=order)
        style: dict[str, Any] = {"color": PALETTE[i], "ms": 5, "mfc": "none", "capsize": 2}
        axes[0].plot(law["T"], line.valid, "-", lw=1, color=PALETTE[i])
        axes[0].errorbar(ds["T"], at.valid, at.valid_error, fmt="o", label=order, **style)
        axes[1].plot(law["T"], line.divergence.where(line.divergence > 1e-2), "-", lw=1,
                     color=PALETTE[i])  # fmt: skip
        axes[1].errorbar(ds["T"], at.divergence, at.divergence_error, fmt="o", label=order, **style)
        _remasked(axes[2], at, line, 0.12 * (i - (ds.sizes["order"] - 1) / 2), style)
    for i, reading in enumerate(map(str, ds.reading.values)):
        at, line = ds.sel(reading=reading, level=0), law.sel(reading=reading, level=0)
        if reading != READINGS[-1]:
            axes[3].plot(law.read, line.decided_valid, "-", lw=1, color=PALETTE[i])
        axes[3].errorbar(
            ds.read, at.decided_valid, at.decided_valid_error, ms=4, capsize=2, color=PALETTE[i],
            fmt="s" if reading == READINGS[-1] else "o", mfc="none", label=reading, lw=0.8,
        )  # fmt: skip
    axes[0].set(ylabel="share of valid strings", ylim=(-0.03, 1.03))
    axes[1].set(ylabel=r"divergence $KL(p\,||\,q)$, nats", yscale="log")
    for ax in axes[:2]:
        ax.set(xscale="log", xlabel="number of steps T")
        ax.set_xticks(ds["T"].values, [str(T) for T in ds["T"].values])
    low, high = axes[1].get_ylim()
    # a range of less than two decades has too few powers of ten to be read
    ticks = [a * 10.0**b for b in range(-2, 3) for a in (1, 2, 5) if low < a * 10.0**b < high]
    axes[1].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    for ax in axes:
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
    axes[2].set(ylabel="share of valid strings", ylim=(-0.03, 1.03))
    axes[3].set(xlabel="leaves read", ylabel="class of a valid completion is right",
                ylim=(0, 1.03))  # fmt: skip
    for ax, words in zip(
        axes, ("points: networks; lines: exact", "points: networks; lines: exact",
               "circles: networks; dashes: exact", "points: networks; lines: exact"),
        strict=True,
    ):  # fmt: skip
        legend(ax, words)
    _titles(axes, ds, law)
    return figure


def _remasked(
    ax: Any, at: xr.Dataset, line: xr.Dataset, shift: float, style: dict[str, Any]
) -> None:
    """One order: groups of calls, in each no remasking, then more and more leaves a round."""
    width, again = len(at.again), np.arange(len(at.again))
    for j, c in enumerate(at.calls.values):
        place = j * (width + 1) + again + shift
        one, exact = at.sel(calls=c), line.sel(calls=c)
        ax.errorbar(place, one.remasked, one.remasked_error, fmt="o-", lw=0.8,
                    label=str(at.order.values) if not j else None, **style)  # fmt: skip
        ax.plot(place, exact.remasked, "_", ms=8, mew=1.5, color=style["color"])
    middle = np.arange(len(at.calls)) * (width + 1) + (width - 1) / 2
    ax.set_xticks(middle, [f"{c} calls" for c in at.calls.values])
    ax.set_xlabel(f"leaves a round masks again: {', '.join(map(str, at.again.values))}")


def _titles(axes: Any, ds: xr.Dataset, law: xr.Dataset) -> None:
    """What every panel shows, with a number."""
    last, words = ds.isel(T=-1), []
    orders = [str(o) for o in ds.order.values]
    for order in [o for o in ("confident", "random") if o in orders] or orders[:1]:
        words.append(f"{order} {float(last.valid.sel(order=order)):.2f}")
    low = int(np.argmin(ds.divergence.isel(T=0).values))
    gain = ds.remasked.isel(order=0, calls=-1)
    half = {r: float(ds.half_valid.sel(reading=r, level=0)) for r in READINGS[:2]}
    panels(
        axes, f"T = {int(last['T'])}: {', '.join(words)}",
        f"T = {int(ds['T'][0])}: {orders[low]} {float(ds.divergence[low, 0]):.1f} nats",
        f"{int(ds.calls[-1])} calls, {orders[0]}: {float(gain[0]):.2f} to {float(gain[1]):.2f}",
        f"class half: {half[READINGS[0]]:.1f} leaves, random {half[READINGS[1]]:.1f}",
    )  # fmt: skip
