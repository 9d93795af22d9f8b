r"""Memory against training time: when a network learns a grammar, and when its training set.

Networks learn P distinct strings of a random grammar.  At training times :math:`\tau` (steps)
their denoiser q is compared with denoisers that are known exactly,

.. math:: K_r(\tau) = E\,\frac1n\sum_i KL\big(p^{(r)}_i \,\|\, q_i\big), \qquad
    r \in \{0, \dots, L,\ \text{data}\},

on fresh noisy strings.  The reference r knows the rules of the lowest r levels and takes the
symbols above them for independent (:mod:`hierdiff.theory.rhm.truncated_grammars`); r = L is the
exact posterior, so :math:`K_L` is the population loss less its minimum, and "data" is the
empirical posterior of the training set, where training would end.

==================  ============================================================================
reading             what it is
==================  ============================================================================
``divergence``      :math:`K_L`, the distance from the exact posterior, nats per leaf
``nearest``         the reference with the least :math:`K_r`
``level time``      first :math:`\tau` at which a reference that knows r levels is nearer than all
                    that know less
``window``          times at which :math:`K_L` is within a quarter of its least value
``tau_mem``         first :math:`\tau` at which a given share of samples are copies, in excess of
                    what chance does
==================  ============================================================================

Readings without the training set: how often two samples coincide
(:func:`hierdiff.sims.metrics.memory.coincidence`), how certain the network is about its own noisy
samples, and how spiky its features are there.

References: Bonnaire et al., arXiv 2505.17638, and Favero et al., arXiv 2505.16959 (time of memory);
arXiv 2502.12089 (order of the levels); arXiv 2512.20963 (spiky features); Arora and Zhang, arXiv
1706.08224 (coincidences).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from hierdiff import results
from hierdiff._display import experiment_html, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    number,
    one_level,
    one_of,
    reals,
    shown,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, masks, noise_name, noise_process
from hierdiff.plots import FONT, Axes, Figure, legend, level_colours, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.metrics.memory import (
    StringReadings,
    distinct_strings,
    mixture_coincidence,
    string_count,
)
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.rhm.sample_complexity import clustering_cost
from hierdiff.validation.adapter import symbol_model
from hierdiff.validation.experiments import architecture_rule
from hierdiff.validation.recipes import train_symbol_network
from hierdiff.validation.training import TrainConfig

__all__ = ["NetworkTrainingTime", "first_crossing", "separation"]

Array: TypeAlias = NDArray[Any]
Datasets: TypeAlias = Mapping[str, xr.Dataset]

_COUNT = partial(whole, low=1, high=10**9)
_MANY = partial(whole, low=2, high=10**6)
_TINY = 1e-300
SIGNS = ("coincidence", "certainty", "spikiness")
"""Readings of memory that need no training set; each grows with memory."""
_WINDOW = 1.25  # a loss this much above its least value is still called good
_LATER = 1e300  # stands for a time after the end of training, in comparisons only


def _times(name: str, value: Any) -> tuple[int, ...]:
    """Training steps at which networks are read."""
    return listed(name, value, partial(whole, low=1, high=10**9), least=3, rising=True)


def _measured(name: str, value: Any) -> Array:
    """Numbers, some of which may not have been measured: NaN."""
    try:
        found = np.asarray(value)
    except ValueError:  # rows of several lengths
        found = np.empty(0, dtype=object)
    if found.dtype.kind not in "fiu":
        raise InvalidParameter(f"{name} = {shown(value)} must be real numbers")
    return found.astype(float)


def one_network(study: NetworkTrainingTime, P: int, k: int) -> dict[str, Array]:
    """Readings of network k on P strings, [time, ...]; NaN after it has stopped."""
    read = study.readings(P, k)
    rows: list[dict[str, Array]] = []
    done, times = 0, set(study.times)

    def evaluate(network: nn.Module) -> dict[str, float]:
        nonlocal done
        done += 1
        if done not in times:
            return {"loss": -float(done)}
        rows.append(read(symbol_model(network, study.process)))
        over = _excess(float(rows[-1].get("copies", 0.0)), read.chance)
        # the loss decides on stopping: it falls until the training set is repeated, or time is up
        return {"loss": np.inf if over > study.stop or done == study.times[-1] else -float(done)}

    # every step is an evaluation, since times are logarithmic; the rate would fall in the last
    # hundredth of the steps, which training does not reach
    plan = TrainConfig(
        steps=study.times[-1] + study.times[-1] // 32 + 1, rate=study.rate,
        warmup=min(10, study.times[-1]), hold=0.99, average=0.0, every=1, patience=1,
    )  # fmt: skip
    train_symbol_network(
        read.grammar, study.process, plan, width=study.width, batch=study.batch, data=read.data,
        network=study.architecture, seed=1000 * study.seed + k, evaluate=evaluate,
    )  # fmt: skip
    names = [*rows[0]]
    found = {}
    for name in names:
        values = np.array([row[name] for row in rows], dtype=float)
        missing = np.full((len(study.times) - len(rows), *values.shape[1:]), np.nan)
        found[name] = np.concatenate([values, missing])
    return found | {"plateaus": read.plateaus, "chance": np.array(read.chance),
                    "language": np.array(float(string_count(read.grammar)))}  # fmt: skip


def _excess(share: Any, chance: Any) -> Any:
    """Copies beyond those of chance: 0 of the language, 1 of the training set."""
    return (share - chance) / (1 - chance)


@checked(values=_measured)
def first_crossing(times: Array, values: Array) -> float:
    r"""First time at which a curve becomes positive, between its points in log time.

    Parameters
    ----------
    times : array [n]
        Rising, positive.
    values : array [n]
        NaN where nothing was measured.

    Returns
    -------
    float
        NaN if it never does; the first time if it is positive from the start.

    Raises
    ------
    InvalidParameter
        If the times do not increase or are as many as not the values.

    Notes
    -----
    Validity: linear in log time between neighbours.

    Examples
    --------
    >>> round(first_crossing(np.array([1.0, 2.0, 4.0]), np.array([-1.0, -1.0, 1.0])), 3)
    2.828
    """
    t, x = reals("times", times), values
    if t.ndim != 1 or t.shape != x.shape or not len(t) or (t <= 0).any() or (np.diff(t) <= 0).any():
        raise InvalidParameter(
            f"times of shape {t.shape} must increase from above 0, one per value ({x.shape})"
        )
    above = np.flatnonzero(x > 0)
    if not len(above):
        return float("nan")
    i = int(above[0])
    if i == 0 or not np.isfinite(x[i - 1]):
        return float(t[i])
    part = -x[i - 1] / (x[i] - x[i - 1])
    return float(t[i - 1] * (t[i] / t[i - 1]) ** part)


@checked
def separation(yes: Array, no: Array) -> float:
    """Probability that a reading is larger with memory than without, ties halved.

    Parameters
    ----------
    yes, no : array
        The reading of networks that repeat their data, and of others.

    Returns
    -------
    float
        1 if a threshold separates them, 1/2 if the reading means nothing.

    Raises
    ------
    InvalidParameter
        If either is empty.

    Notes
    -----
    Validity: the area under the ROC curve.

    Examples
    --------
    >>> separation(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
    0.875
    """
    with_, without = (reals(n, x, ndim=1, least=1) for n, x in (("yes", yes), ("no", no)))
    above = np.subtract.outer(with_, without)
    return float(((above > 0) + 0.5 * (above == 0)).mean())


@dataclass(frozen=True)
class NetworkTrainingTime:
    """The diagram of training set size and training time of networks on a grammar.

    Notes
    -----
    Validity: of networks at the sizes of the fields, each on a grammar and training set of its
    own; errors are Student's over networks.
    """

    name: ClassVar[str] = "network_training_time"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 3
    """Depth of the hierarchy."""
    noise: str = "uniform"
    """Forward process; under it every string has some probability, so masking has no place."""
    n_train: tuple[int, ...] = (16, 32, 64, 128, 256, 1024, 0)
    """Distinct strings P of the training set; 0 draws fresh ones at every step."""
    times: tuple[int, ...] = (
        8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048, 2896, 4096,
    )  # fmt: skip
    """Training steps at which networks are read."""
    networks: int = 3
    """Networks per size, each on a grammar of its own."""
    architecture: str = "tree_unet"
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""
    width: int = 32
    """Features per node of the network."""
    batch: int = 64
    """Strings per training step."""
    rate: float = 3e-3
    """Learning rate of Adam, constant."""
    stop: float = 0.5
    """Share of copies beyond chance at which the training of a network ends."""
    copied: float = 0.2
    """Share of copies beyond chance that defines the time of memory."""
    t: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    """Noise levels of the test."""
    test: int = 200
    """Test data per level."""
    samples: int = 300
    """Strings that a network makes at every reading."""
    num_steps: int = 16
    """Steps of the reverse process."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, noise=partial(noise_name, channel=True), architecture=architecture_rule(Grammar),
            n_train=partial(listed, rule=partial(whole, high=10**7)),
            times=_times, networks=partial(whole, low=2, high=10**4), width=_COUNT, batch=_COUNT,
            rate=partial(number, low=1e-6, high=10), stop=partial(number, low=1e-3, high=1),
            copied=partial(number, low=1e-3, below=1),
            t=partial(listed, rule=one_level, rising=True), test=_MANY, samples=_MANY,
            num_steps=_COUNT, seed=natural,
        )  # fmt: skip
        rhm = RHM(self.v, self.m, self.s, self.L)
        # in logarithms: large trees have more strings than there are numbers
        nodes = self.L if self.s == 1 else (float(self.s) ** self.L - 1) / (self.s - 1)
        logarithm = np.log(rhm.n_classes) + nodes * np.log(self.m)
        there = round(np.exp(min(logarithm, 40.0)))
        if max(self.n_train) >= there:
            raise InvalidParameter(
                f"n_train = {max(self.n_train)} is not below the {there} strings of the grammar; "
                "none would be left to generalise to"
            )
        if masks(noise_process(self.noise, self.v)) or not 0 < self.t[0] < self.t[-1] < 1:
            raise InvalidParameter(
                f"noise = {self.noise!r} at t = {self.t} excludes strings of a training set, whose "
                "posterior then has no value on fresh data; use uniform or gaussian, 0 < t < 1"
            )
        if self.stop <= self.copied:
            raise InvalidParameter(
                f"stop = {self.stop} must exceed copied = {self.copied}: training would end before "
                "the time of memory"
            )

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        return noise_process(self.noise, self.v)

    @checked
    def readings(self, P: int, k: int) -> StringReadings:
        """What is read of network k on P strings, 0 for fresh ones."""
        grammar = RHM(self.v, self.m, self.s, self.L).draw(stream(self.seed, "grammar", k))
        data = distinct_strings(grammar, P, stream(self.seed, "strings", P, k)) if P else None
        return StringReadings(
            grammar, self.process, data, self.t, self.test, self.samples, self.num_steps,
            1000 * self.seed + k,
        )  # fmt: skip

    @results.tracked
    @checked
    def predict(self, law: Literal["references"] = "references") -> xr.Dataset:
        """Divergences of all references, copies and coincidences by chance: no training.

        Parameters
        ----------
        law : {"references"}

        Returns
        -------
        xarray.Dataset
            ``plateau`` (n_train, reference), ``chance`` and ``cost`` (level), with errors over
            grammars.

        Notes
        -----
        Validity: exact denoisers, on the test data of the measurement.
        """
        one_of("law", law, ("references",))
        found = [[self.readings(P, k) for k in range(self.networks)] for P in self.n_train]
        plateaus = np.full((self.networks, len(self.n_train), self.L + 2), np.nan)
        for i, row in enumerate(found):
            for k, one in enumerate(row):
                plateaus[k, i, : len(one.plateaus)] = one.plateaus
        chance = np.array([row[0].chance for row in found])
        return self._labelled(
            {
                "plateau": (("n_train", "reference"), plateaus.mean(axis=0), _TEXTS["plateau"]),
                "plateau_error": (
                    ("n_train", "reference"), _error(plateaus), "its standard error",
                ),
                "chance": (("n_train",), chance, "share of copies by chance, P/N"),
            },
            "theory",
        )  # fmt: skip

    @results.tracked
    @checked(data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """All readings of all networks, (n_train, network, time).

        Parameters
        ----------
        model, data
            Refused: networks are trained; one model is read by :class:`StringReadings`.
        folder, cluster
            As in :func:`hierdiff.tasks.run_tasks`; networks are trained one after another.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        InvalidParameter
            If a model is given.

        Notes
        -----
        Validity: NaN where a network has stopped, or has no training set.
        """
        no_model(self.name, model, data, "it trains networks; one model is read by StringReadings")
        tasks = []
        for P in self.n_train:
            for k in range(self.networks):
                # other sizes and networks do not make a finished one void
                alone = replace(self, n_train=(P,), networks=2, copied=self.stop / 2)
                words = {"question": self.name, "P": P, "network": k, **asdict(alone)}
                tasks.append(Task(one_network, (alone, P, k), words))
        # weights are drawn from torch's only stream, so one at a time
        found = run_tasks(tasks, folder, workers=1, name=self.name, cluster=cluster)
        return self._labelled(self._variables(found), "network")

    def _variables(self, found: list[dict[str, Array]]) -> dict[str, Any]:
        sizes, shape = len(self.n_train), (len(self.n_train), self.networks)
        axes = ("n_train", "network")
        variables: dict[str, Any] = {}
        for name, text in _TEXTS.items():
            if name == "plateau":
                continue
            dims = (*axes, "time", *_MORE.get(name, ()))
            extra = {"near": self.L + 2, "valid": self.L}.get(name)
            values = np.full(
                (*shape, len(self.times), *(() if extra is None else (extra,))), np.nan
            )
            for i in range(sizes):
                for k in range(self.networks):
                    one = found[i * self.networks + k].get(name)
                    if one is not None:
                        part = values[i, k] if extra is None else values[i, k][:, : one.shape[1]]
                        part[...] = one
            variables[name] = (dims, values, text)
        for name, text in (("chance", "share of copies by chance, P/N"),
                           ("language", "strings of the language, N")):  # fmt: skip
            values = np.array([float(one[name]) for one in found]).reshape(shape)
            variables[name] = (axes, values, text)
        return variables

    def _labelled(self, variables: dict[str, Any], source: str) -> xr.Dataset:
        names = [f"{r} levels" for r in range(self.L + 1)] + ["training set"]
        axes: dict[str, tuple[Any, str]] = {
            "n_train": (list(self.n_train), "distinct training strings P, 0: fresh"),
            "reference": (names, "exact denoiser that knows the lowest levels"),
            "time": (list(self.times), "training time, steps"),
            "network": (np.arange(self.networks), "network and grammar"),
            "level": (np.arange(self.L), "level, root = 0"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The references and the networks."""
        options = run.tasks(self.name)
        found = self.measure(
            model, data, folder=options["folder"], cluster=options.get("cluster")
        )  # fmt: skip
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """Diagram of size and time, population loss, and copies."""
        return draw(self, datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Datasets) -> Summary:
        """Times of every size, the exponent of memory, and readings without the training set."""
        ds, law = datasets[self.name], datasets[f"{self.name}_theory"]
        found = values(self, ds, law)
        return Summary(table(self, found), claim(self, found), found)


_TEXTS = {
    "plateau": "divergence of a reference from the exact posterior, nats per leaf",
    "near": "divergence of the network from every reference, nats per leaf",
    "divergence": "divergence from the exact posterior on fresh strings, nats per leaf",
    "train": "divergence from the posterior of the training set on it, nats per leaf",
    "gap": "loss on fresh strings less loss on the training set, nats per leaf",
    "copies": "share of samples that are training strings",
    "distance": "distance of samples from the nearest training string",
    "valid": "share of valid nodes in samples",
    "coincidence": "probability that two samples coincide",
    "certainty": "negative entropy of beliefs about own noisy samples, nats per leaf",
    "spikiness": "inverse participation ratio of features, times their number",
}
_MORE = {"near": ("reference",), "valid": ("level",)}


# ------------------------------------------------------------------------------------ what is found


def _level_times(study: NetworkTrainingTime, near: Array) -> list[float]:
    """Times at which references that know 1, ..., L levels become nearer than all below."""
    known = near[:, : study.L + 1]
    t = np.array(study.times, float)
    return [
        first_crossing(t, known[:, :r].min(axis=1) - known[:, r:].min(axis=1))
        for r in range(1, study.L + 1)
    ]


def _error(rows: Array) -> Array:
    """Student's error over the first axis, NaN where a network has no value."""
    there = np.isfinite(rows).all(axis=0)
    return np.where(there, student_error(np.where(there, rows, 0.0)), np.nan)


def _logs(rows: list[float]) -> list[float] | None:
    """Geometric mean of times and its Student error in log units; None if one is missing."""
    x = np.array(rows, float)
    if not np.isfinite(x).all():
        return None
    return [float(np.exp(np.log(x).mean())), float(student_error(np.log(x)))]


def _mean(rows: Any) -> list[float]:
    x = np.asarray(rows, float)
    return [float(x.mean()), float(student_error(x))]


def values(study: NetworkTrainingTime, ds: xr.Dataset, law: xr.Dataset) -> dict[str, Any]:
    """The numbers of the table, one entry per size."""
    t = np.array(study.times, float)
    rows, memory, ends = {}, {}, {}
    for P in study.n_train:
        one = ds.sel(n_train=P)
        loss = one.divergence.values
        best = [float(np.nanmin(x)) for x in loss]
        last = [int(np.flatnonzero(np.isfinite(x))[-1]) for x in loss]
        inside = [_WINDOW * b - x for b, x in zip(best, loss, strict=True)]
        start = [first_crossing(t, x) for x in inside]
        end = []
        for x, y in zip(loss, inside, strict=True):
            after = np.where(np.arange(len(t)) >= np.nanargmin(x), -y, -1.0)
            end.append(first_crossing(t, after))
        levels = np.array([_level_times(study, x) for x in one.near.values])
        row: dict[str, Any] = {
            "least divergence": _mean(best),
            "window start": _logs(start), "window end": _logs(end),
            "level times": [_logs(list(x)) for x in levels.T],
            "networks that learn": np.isfinite(levels).sum(axis=0).tolist(),
            "valid strings, best": _mean(
                [x[np.nanargmin(y), 0] for x, y in zip(one.valid.values, loss, strict=True)]
            ),
            "final nearest": [str(study_name) for study_name in _nearest(ds, P, last)],
        }  # fmt: skip
        if P:
            over = _excess(one.copies.values, one.chance.values[:, None])
            times = [first_crossing(t, x - study.copied) for x in over]
            memory[P], ends[P] = times, end
            row |= {"tau_mem": _logs(times), "copied": int(np.isfinite(times).sum()),
                    "chance": float(one.chance.values[0]),
                    "final copies": _mean([x[i] for x, i in zip(over, last, strict=True)]),
                    "plateau of the training set":
                        float(law.plateau.sel(n_train=P).values[-1])}  # fmt: skip
        rows[str(P)] = row
    found: dict[str, Any] = {
        "networks": study.networks, "steps": study.times[-1], "batch": study.batch, "sizes": rows,
        "plateaus": law.plateau.values[0, : study.L + 1].tolist(),
        "cost of the levels": [
            float(clustering_cost(RHM(study.v, study.m, study.s, study.L), r))
            for r in range(1, study.L + 1)
        ],
        "exponent of tau_mem": _exponent(memory),
        "exponent between sizes": _local(memory),
        "exponent of the window's end": _exponent(ends),
        "signs": {name: _sign(study, ds, name) for name in SIGNS},
        "coincidence, found over predicted": _birthday(ds),
    }  # fmt: skip
    return found


def _nearest(ds: xr.Dataset, P: int, last: list[int]) -> list[str]:
    near = ds.near.sel(n_train=P).values
    rows = [x[i] for x, i in zip(near, last, strict=True)]
    return [str(ds.reference.values[np.nanargmin(x)]) for x in rows]


def _exponent(memory: dict[int, list[float]]) -> list[float] | None:
    """Slope of log time against log P, per network, over sizes at which all networks have one."""
    sizes = [P for P, times in memory.items() if np.isfinite(times).all()]
    if len(sizes) < 2:
        return None
    logs = np.log([memory[P] for P in sizes])
    slopes = np.polyfit(np.log(sizes), logs, 1)[0]
    return _mean(slopes)


def _local(memory: dict[int, list[float]]) -> list[list[float]]:
    """The same between neighbouring sizes."""
    sizes = sorted(P for P, times in memory.items() if np.isfinite(times).all())
    pairs = [_exponent({P: memory[P] for P in two}) for two in itertools.pairwise(sizes)]
    return [pair for pair in pairs if pair is not None]


def _sign(study: NetworkTrainingTime, ds: xr.Dataset, name: str) -> list[float] | None:
    """Separation of readings with and without memory, over all sizes and times, per network."""
    found = []
    for k in range(study.networks):
        one = ds.isel(network=k)
        over = _excess(one.copies.values, one.chance.values[:, None])
        over[np.array(study.n_train) == 0] = 0  # nothing can be repeated there
        read = one[name].values
        yes, there = over > study.copied, np.isfinite(read)
        if not (yes & there).any():
            return None
        found.append(separation(read[yes & there], read[~yes & there]))
    return _mean(found)


def _birthday(ds: xr.Dataset) -> list[float] | None:
    """Coincidences at the last reading over those of a mixture of copies and language."""
    found = []
    for k in range(ds.sizes["network"]):
        ratios = []
        for P in ds.n_train.values:
            one = ds.sel(n_train=P).isel(network=k)
            share = one.copies.values[np.isfinite(one.copies.values)]
            # with few copies nearly no pair coincides
            if P and len(share) and share[-1] > 0.5:
                made = one.coincidence.values[np.isfinite(one.coincidence.values)][-1]
                law = mixture_coincidence(float(share[-1]), float(P), float(one.language))
                ratios.append(made / law)
        if not ratios:
            return None
        found.append(float(np.mean(ratios)))
    return _mean(found)


def _cell(pair: list[float] | None, form: str = ".0f", *, log: bool = True) -> str:
    if pair is None:
        return "-"
    error = pair[0] * pair[1] if log else pair[1]
    return f"{pair[0]:{form}} ± {error:{form}}"


def table(study: NetworkTrainingTime, found: dict[str, Any]) -> str:
    """A row per size."""
    rows = []
    for P in study.n_train:
        row = found["sizes"][str(P)]
        rows.append([
            P or "fresh", _cell(row["least divergence"], ".4f", log=False),
            *(_cell(row.get(x)) for x in ("window start", "window end", "tau_mem")),
            *(_cell(x) for x in row["level times"]),
            _cell(row.get("final copies"), ".2f", log=False),
        ])  # fmt: skip
    header = ["P", "least divergence", "window from", "to", "tau_mem",
              *(f"level {r}" for r in range(1, study.L + 1)), "copies, end"]  # fmt: skip
    lines = [text_table(header, rows)]
    plateaus = ", ".join(f"{x:.4f}" for x in found["plateaus"])
    lines.append(f"divergence of exact denoisers that know 0 to {study.L} levels: {plateaus}")
    for name, pair in found["signs"].items():
        lines.append(f"{name} separates memory with probability {_cell(pair, '.3f', log=False)}")
    return "\n".join(lines)


def claim(study: NetworkTrainingTime, found: dict[str, Any]) -> str:
    """The exponent of memory, the window, and the sign that needs no training set."""
    rows = found["sizes"]
    sizes = [P for P in study.n_train if P and rows[str(P)]["tau_mem"]]
    if not sizes:
        return f"no network repeats its training set within {study.times[-1]} steps"
    low, high = (rows[str(P)] for P in (min(sizes), max(sizes)))
    words = (
        f"{100 * study.copied:.0f} % of samples are copies after {_cell(low['tau_mem'])} steps "
        f"with P = {min(sizes)} and {_cell(high['tau_mem'])} with P = {max(sizes)}"
    )
    if found["exponent of tau_mem"]:
        words += f", exponent {_cell(found['exponent of tau_mem'], '.2f', log=False)}"
    pair = low["window end"], high["window end"]
    if all(pair):
        words += (
            f"; the loss on fresh strings has risen by a quarter after {_cell(pair[0])} and "
            f"{_cell(pair[1])}"
        )
    sign = found["signs"]["coincidence"]
    if sign:
        words += (
            f"; coincidences find memory without the training set ({_cell(sign, '.3f', log=False)})"
        )
    return words + f"; {study.networks} networks per size"


# ------------------------------------------------------------------------------------- the figure


def draw(study: NetworkTrainingTime, ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Three panels."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    found = values(study, ds, law)
    _diagram(study, ds, found, axes[0])
    t, colours = ds.time.values, level_colours(len(study.n_train))
    for P, colour in zip(study.n_train, colours, strict=True):
        one = ds.sel(n_train=P)
        name = f"P = {P}" if P else "fresh"
        mean = one.divergence.mean("network", skipna=False)
        axes[1].errorbar(t, mean, _error(one.divergence.values), color=colour, marker="o",
                         ms=3, mfc="none", lw=1, label=name)  # fmt: skip
        if P:
            over = _excess(one.copies.values, one.chance.values[:, None])
            axes[2].errorbar(t, over.mean(axis=0), _error(over), color=colour, marker="o",
                             ms=3, mfc="none", lw=1, label=name)  # fmt: skip
    for r, height in enumerate(found["plateaus"][:-1]):
        axes[1].axhline(height, color="k", lw=0.8, ls=":")
        axes[1].annotate(f"{r} known", (t[0], height), fontsize=FONT, ha="left",
                         va="bottom")  # fmt: skip
    axes[1].set(xscale="log", yscale="log", xlabel=r"training time $\tau$, steps",
                ylabel="divergence from the exact posterior")  # fmt: skip
    axes[2].axhline(study.copied, color="k", lw=0.8, ls=":")
    axes[2].set(xscale="log", xlabel=r"training time $\tau$, steps",
                ylabel="copies beyond chance")  # fmt: skip
    turns, copied = found["exponent of the window's end"], found["exponent of tau_mem"]
    words = ["nearest exact denoiser", "loss on fresh strings", "copies"]
    if turns is not None:
        words[1] += f": turns as P to the {turns[0]:.2f} ± {turns[1]:.2f}"
    if copied is not None:
        words[2] += (f": {study.copied:.0%} at a time as P to the {copied[0]:.2f} ± "
                     f"{copied[1]:.2f}")  # fmt: skip
    panels(axes, *words)
    notes = ("dotted: rules of so many levels known", f"dotted: {study.copied:.0%}")
    for ax, note in zip(axes[1:], notes, strict=True):
        if ax.get_legend_handles_labels()[0]:
            legend(ax, note)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _diagram(study: NetworkTrainingTime, ds: xr.Dataset, found: dict[str, Any], ax: Axes) -> None:
    """Which exact denoiser a network is nearest to, in the plane of size and time."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    order = sorted(range(len(study.n_train)), key=lambda i: study.n_train[i] or 10**12)
    near = ds.near.mean("network", skipna=True).values[order]  # [size, time, reference]
    blank = np.isnan(near[..., : study.L + 1]).any(axis=-1)
    nearest = np.where(np.isnan(near), np.inf, near).argmin(axis=-1).astype(float)
    for row, missing in zip(nearest, blank, strict=True):
        # networks that have stopped repeat their training set; others were not read
        last = row[~missing][-1]
        row[missing] = last if last == study.L + 1 else np.nan
    colours = ["#e8e8e8", *plt.get_cmap("Blues")(np.linspace(0.25, 0.85, study.L)), "#d95f02"]
    edges = np.arange(len(order) + 1) - 0.5
    t = np.array(study.times, float)
    middle = np.sqrt(t[1:] * t[:-1])
    bounds = np.r_[t[0] ** 2 / middle[0], middle, t[-1] ** 2 / middle[-1]]
    ax.pcolormesh(edges, bounds, nearest.T, cmap=ListedColormap(colours), vmin=-0.5,
                  vmax=study.L + 1.5)  # fmt: skip
    sizes = [study.n_train[i] for i in order]
    for key, form, text in (
        ("window start", "v", "loss at its best: from"), ("window end", "^", "to"),
        ("tau_mem", "s", rf"$\tau_{{mem}}$: {100 * study.copied:.0f} % copies"),
    ):  # fmt: skip
        points = [(x, found["sizes"][str(P)].get(key)) for x, P in enumerate(sizes)]
        kept = [(x, *pair) for x, pair in points if pair]
        if kept:
            x, y, e = (np.array(part) for part in zip(*kept, strict=True))
            bars = np.array([y * (1 - np.exp(-e)), y * (np.exp(e) - 1)])
            ax.errorbar(x, y, bars, fmt=f"k{form}", ms=6, mfc="w", capsize=2, label=text)
    ax.set(yscale="log", xlabel="training strings P", ylabel=r"training time $\tau$, steps",
           ylim=(bounds[0], bounds[-1]))  # fmt: skip
    ax.set_xticks(range(len(sizes)), [str(P) if P else "fresh" for P in sizes])
    words = ["leaves alone", *(f"rules of {r} level{'s' * (r > 1)}" for r in range(1, study.L)),
             "the grammar", "the training set"]  # fmt: skip
    patches = [Patch(color=c, label=w) for c, w in zip(colours, words, strict=True)]
    first = ax.legend(handles=patches, fontsize=FONT, loc="lower right", title="nearest denoiser",
                      title_fontsize=FONT, labelspacing=0.15, handlelength=1.2,
                      borderpad=0.2)  # fmt: skip
    ax.add_artist(first)
    if ax.get_legend_handles_labels()[0]:
        legend(ax)  # fmt: skip
