"""Alignment: does a model find the odd one out as observers do who see the tree?

Data of a grammar are the objects.  Simulated observers compare them by shared latents, with weights
per level; three objects are shown and one is called the odd one out.  A model sees each object at
noise level t and responds by the cosine similarity of its features: unconditional, or conditioned
on the class, as by a text prompt.  The features are the beliefs of a level, exact or read out
linearly from the features of a model without latents, and the layers of a network as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    array,
    check_fields,
    checked,
    instance,
    listed,
    natural,
    one_level,
    positive,
    shown,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, has_snr
from hierdiff.plots import Figure
from hierdiff.seeds import stream
from hierdiff.sims.alignment_figure import alignment_figure, layers_figure
from hierdiff.sims.metrics.estimators import shared_error, standard_error
from hierdiff.sims.metrics.forward_backward import checked_derivations, one_at_a_time
from hierdiff.sims.metrics.odd_one_out import TripletTask, draw_triplets, probe
from hierdiff.sims.metrics.probes import linear_probe
from hierdiff.sims.metrics.representation_geometry import cosine_similarity
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.odd_one_out_task import (
    expected_accuracy,
    noise_ceiling,
    odd_one_out,
    tree_similarity,
)

__all__ = [
    "CONDITIONS",
    "Alignment",
    "ComparedObjects",
    "layer_facts",
    "layer_summary",
    "layer_table",
    "layer_values",
]

Array = NDArray[Any]

CONDITIONS = ("unconditional", "class given")
_TEXT = "accuracy against the observers"
_LAYER = "accuracy against the observers, layer accuracy"


def _array_or_none(name: str, value: Any) -> Array | None:
    return None if value is None else array(name, value)


@dataclass(frozen=True, eq=False)
class ComparedObjects:
    """Objects with the responses to their triplets.

    Attributes
    ----------
    x0
        [n, ...] symbols, vectors or images.
    task
        Triplets and responses.
    labels
        Class [n], or embedding [n, ...], on which a conditional model is conditioned.
    unconditional
        Whether the model also runs without them.
    trees
        Latents of the objects, where they are strings of ``grammar``.
    grammar
        Where they come from.
    ends
        Whether the noisy data and the posterior mean are layers, too.
    randoms
        Random numbers of the noise, as ``noise.draw`` returns them; default drawn.
    """

    x0: Array
    task: TripletTask
    labels: Array | None = None
    unconditional: bool = True
    trees: Derivations | None = None
    grammar: Grammar | None = None
    ends: bool = True
    randoms: Array | None = None

    def __post_init__(self) -> None:
        check_fields(self, x0=array, labels=_array_or_none, randoms=_array_or_none)
        x0, task = self.x0, self.task
        if x0.ndim < 2 or int(task.triplets.max()) >= len(x0):
            raise InvalidParameter(
                f"x0 of shape {x0.shape} has no object {int(task.triplets.max())}, which a triplet "
                "names; give one row per object"
            )
        for name, rows in (("labels", self.labels), ("randoms", self.randoms)):
            if rows is not None and np.shape(rows)[:1] != (len(x0),):
                raise InvalidParameter(
                    f"{name} of shape {np.shape(rows)} for {len(x0)} objects; give one row each"
                )
        if (self.trees is None) != (self.grammar is None):
            raise InvalidParameter("give trees and grammar together, or neither")
        if self.trees is not None and self.grammar is not None:
            checked_derivations(self.grammar, self.trees)

    def label_rows(self) -> Array | None:
        """Labels as features: one-hot classes, or embeddings."""
        if self.labels is None:
            return None
        if self.labels.dtype.kind == "f":
            return self.labels.reshape(len(self.labels), -1)
        return np.eye(int(self.labels.max()) + 1)[self.labels]


@dataclass(frozen=True)
class Alignment:
    """Odd-one-out accuracy of beliefs, per level and noise level, with and without the class.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: beliefs are exact by default; observers are averaged, not sampled, so errors are those
    over ``grammars`` random grammars, or over the triplets of a single model.

    Examples
    --------
    >>> experiment = Alignment(L=2, weights=(1.0, 0.5, 0.25), objects=30, triplets=100, grammars=2)
    >>> dict(experiment.measure().accuracy.sizes)
    {'condition': 2, 'level': 3, 't': 4}
    """

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 4
    """Depth."""
    weights: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125, 0.0625)
    """Weights of the simulated observers, from the class to the leaves: L + 1 numbers."""
    temperature: float = 0.22
    """Of the simulated observers."""
    t: tuple[float, ...] = (0.02, 0.3, 0.5, 0.8)
    """Noise levels of the Gaussian process, cosine schedule."""
    ties: Literal["wrong", "shared"] = "wrong"
    """An exact tie of similarities counts as wrong, as published, or as a guess."""
    objects: int = 300
    """Objects per grammar."""
    triplets: int = 3000
    """Triplets per grammar."""
    grammars: int = 16
    """Random grammars, over which errors are taken."""
    probed: bool = False
    """Also train the affine probe on sampled responses, cross-validated over objects."""
    probe_width: int = 8
    """Outputs of the affine probe; of a network's layers it sees as many principal components."""
    n_readout: int = 1500
    """Strings on which beliefs are read out from a model without latents."""
    seed: int = 0
    """Seed of everything random."""

    name: ClassVar[str] = "alignment"
    _repr_html_ = experiment_html

    def __post_init__(self) -> None:
        check_fields(
            self, t=partial(listed, rule=one_level), objects=partial(whole, high=10**6),
            triplets=partial(whole, high=10**9), grammars=partial(whole, high=10**6), seed=natural,
            probe_width=partial(whole, low=1, high=10**6),
            n_readout=partial(whole, low=2, high=10**8),
        )  # fmt: skip
        affordable(RHM(self.v, self.m, self.s, self.L), self.objects)
        if len(self.weights) != self.L + 1 or min(self.weights) < 0 or not any(self.weights):
            raise InvalidParameter(
                f"weights = {self.weights} must be L + 1 = {self.L + 1} numbers >= 0, not all zero"
            )
        positive("temperature", self.temperature)
        if self.grammars < 2 or self.objects < 6 or self.triplets < 2:
            raise InvalidParameter(
                f"grammars = {self.grammars}, objects = {self.objects}, triplets = {self.triplets}"
                " must be at least 2, 6 and 2"
            )
        GaussianNoise(self.v).snr(self.t)

    @property
    def rhm(self) -> RHM:
        """The Random Hierarchy Model of these parameters."""
        return RHM(self.v, self.m, self.s, self.L)

    @results.tracked
    @checked
    def predict(self, law: str = "latents") -> xr.Dataset:
        """What models that know latents without any doubt achieve, in the labels of measure.

        Parameters
        ----------
        law : {"latents"}
            Similarity of the true latents of a level: the limit of no noise.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (condition, level, t) with errors; ``label_only`` and ``ceiling``.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: the limit t -> 0 of every level and condition; grammars of its own, so that a
        comparison with :meth:`measure` has independent errors.
        """
        if law != "latents":
            raise InvalidParameter(f"law = {law!r} is not known; use 'latents'")
        found = []
        for g in range(self.grammars):
            data, triplets, observers = self.scene(10**6 + g)[1:]
            levels = [self._score(_one_hot(z), triplets, observers) for z in data.levels]
            found.append([*levels, levels[0], noise_ceiling(observers)])
        values = np.array(found)
        shape = (len(CONDITIONS), self.L + 1, len(self.t))
        planes = np.broadcast_to(
            values[:, None, : self.L + 1, None], (self.grammars, *shape)
        )  # fmt: skip
        return self._label(planes, values[:, -2], values[:, -1], None, "theory")

    @results.tracked
    @checked(model=unchecked, data=unchecked)  # what is missing is said below
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Accuracy of a model's features, level by level and layer by layer.

        Parameters
        ----------
        model : DiffusionModel, optional
            Any model, under its own noise.  Default: exact inference under Gaussian noise on
            ``grammars`` random grammars.
        data : optional
            Derivations of the model's grammar, a grammar or (grammar, derivations), or
            :class:`ComparedObjects` with responses of their own.  Default: drawn from the model's
            grammar.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (condition, level, t), with ``_error``; ``label_only`` and ``ceiling``;
            with ``probed`` also ``held_out`` and ``leaked`` accuracies of the probe.  Of a model
            that is not an ExactRHM of its own data also ``layer_accuracy`` (condition, layer, t)
            of its features as they are, ``layer_gain`` (t) by the class, and the scores
            ``accuracy_by_triplet`` with the objects of every triplet; the probe is then that of
            the layers.  A model that cannot be conditioned has the first condition alone, data
            without a grammar have no ``accuracy``.

        Raises
        ------
        InvalidParameter
            If the latents that responses are made from are missing, the depth is another, the data
            do not belong to the grammar, or data come without a model.

        Notes
        -----
        Validity: that of the model's features.  Beliefs of a level are the features ``level l``
        where a model has them (the exact ones do).  Else they are read out by a linear classifier
        that the nodes of a level share, fitted on ``n_readout`` strings of the grammar: from the
        features ``down l`` of a tree-shaped network, or from the posterior means of the leaves
        below a node.
        """
        if model is None and data is not None:
            raise InvalidParameter("data were given without the model they belong to")
        own = None if model is None else getattr(model, "grammar", None)
        if model is not None and not isinstance(data, ComparedObjects):
            if not isinstance(own, Grammar) and not _names_grammar(data):
                raise InvalidParameter(
                    f"model {type(model).__name__} has no levels of latents and data = "
                    f"{type(data).__name__} none; give a grammar, (grammar, derivations), or "
                    "ComparedObjects"
                )
            instance("model", model, DiffusionModel)
            grammar = cast(Grammar, own) if not _names_grammar(data) else (
                data if isinstance(data, Grammar) else data[0]
            )  # fmt: skip
            if grammar.L != self.L:
                raise InvalidParameter(
                    f"the model's grammar has L = {grammar.L} levels, this experiment L = "
                    f"{self.L}; make Alignment with L = {grammar.L} and as many weights plus one"
                )
            trees = data[1] if isinstance(data, tuple) and len(data) == 2 else data
            trees = None if isinstance(trees, Grammar) else trees
            if trees is not None:
                checked_derivations(grammar, trees)
            if not isinstance(model, ExactRHM):
                data = self._objects(grammar, trees)
        if isinstance(data, ComparedObjects) and model is not None:
            return self._one_model(model, data, folder, workers, cluster)
        given = None if model is None else (cast(ExactRHM, model), trees)
        return self._by_grammar(given, folder, workers, cluster)

    def _by_grammar(
        self, given: tuple[ExactRHM, Derivations | None] | None, folder: Any, workers: Any,
        cluster: Any,
    ) -> xr.Dataset:  # fmt: skip
        """Exact inference, on random grammars or on one that is given."""
        tasks = []
        for g in range(self.grammars if given is None else 1):
            spec = {k: v for k, v in asdict(self).items() if k != "grammars"}
            parameters = {"version": 1, "question": "alignment", **spec, "grammar": g,
                          "given": given is not None}  # fmt: skip
            one = replace(self, grammars=2)  # a task does not depend on how many there are
            tasks.append(Task(_one_grammar, (one, g, given), parameters))
        found = run_tasks(tasks, folder, workers=workers, name="alignment", cluster=cluster)
        stacked = {k: np.stack([f[k] for f in found]) for k in found[0]}
        probes = (stacked["held_out"], stacked["leaked"]) if self.probed else None
        model = None if given is None else given[0]
        errors = None if given is None else {k: stacked[f"{k}_error"][0] for k in _PLAIN}
        return self._label(
            stacked["accuracy"], stacked["label_only"], stacked["ceiling"], probes, "simulation",
            model, errors,
        )  # fmt: skip

    def _objects(self, grammar: Grammar, trees: Derivations | None) -> ComparedObjects:
        """Objects of a grammar, and responses of the simulated observers."""
        if trees is None:
            trees = grammar.sample(self.objects, stream(self.seed, "objects", 0))
        triplets = draw_triplets(len(trees), self.triplets, stream(self.seed, "triplets", 0))
        chances = odd_one_out(tree_similarity(trees, self.weights), triplets, self.temperature)
        task = TripletTask(triplets, chances, self.ties, self.seed)
        return ComparedObjects(
            trees.leaves, task, labels=trees.levels[0][:, 0], trees=trees, grammar=grammar
        )  # fmt: skip

    def _one_model(
        self, model: DiffusionModel, objects: ComparedObjects, folder: Any, workers: Any,
        cluster: Any,
    ) -> xr.Dataset:  # fmt: skip
        """One model of any kind: levels where there is a grammar, and layers."""
        randoms = objects.randoms
        if randoms is None:
            randoms = model.noise.draw(objects.x0.shape, stream(self.seed, "noise"))
        labelled = objects.labels is not None and _conditional(model)
        conditions = [c for c, have in enumerate((objects.unconditional, labelled))
                      if have]  # fmt: skip
        if not conditions:
            raise InvalidParameter(
                f"model {type(model).__name__} can neither run without a class nor be conditioned; "
                "give ComparedObjects with labels, and a model with a method given"
            )
        spec = {k: v for k, v in asdict(self).items() if k not in ("grammars", "t")}
        tasks = [
            Task(_one_level, (self, model, objects, randoms, t, c),
                 {"version": 1, "question": "alignment of a model", **spec, "t": t, "condition": c})
            for c in conditions for t in self.t
        ]  # fmt: skip
        if one_at_a_time(model):
            workers = 1
        found = run_tasks(tasks, folder, workers=workers, name="alignment", cluster=cluster)
        plane = (len(conditions), len(self.t))
        layers = np.stack([f["scores"] for f in found])  # [condition and t, layer, triplet]
        layers = np.moveaxis(layers.reshape(*plane, *layers.shape[1:]), 2, 1)
        probes = np.stack([f["probe"] for f in found])
        probes = np.moveaxis(probes.reshape(*plane, *probes.shape[1:]), 2, 1)
        names = bytes(found[0]["names"]).decode().split("\n")
        levels = None
        if objects.grammar is not None:
            beliefs = np.stack([f["levels"] for f in found])
            levels = np.moveaxis(beliefs.reshape(*plane, *beliefs.shape[1:]), 2, 1)
        return self._label_model(model, objects, conditions, names, layers, probes, levels)

    def _label_model(
        self, model: DiffusionModel, objects: ComparedObjects, conditions: list[int],
        names: list[str], layers: Array, probes: Array, levels: Array | None,
    ) -> xr.Dataset:  # fmt: skip
        task = objects.task
        variables: dict[str, Any] = {}
        layered = ("condition", "layer", "t")
        for i, name in enumerate(("held_out", "held_out_error", "leaked")):
            text = f"affine probe, {name.replace('_', ' ')}"
            variables[name] = (layered, probes[..., i], text)
        found: dict[str, Any] = {"layer_accuracy": (layered, layers, _LAYER)}
        if levels is not None:
            found["accuracy"] = (("condition", "level", "t"), levels, _TEXT)
        if (rows := objects.label_rows()) is not None:
            found["label_only"] = ((), task.scores(rows), "accuracy of the class label alone")
        if len(conditions) == 2:
            inner = [i for i, n in enumerate(names) if n not in ("input", "output")]
            inner = inner or list(range(len(names)))
            gain = np.mean([layers[1, i] - layers[0, i] for i in inner], axis=0)
            found["layer_gain"] = (("t",), gain, "accuracy that the class adds, mean over layers")
        best = task.probabilities.max(axis=1)
        found["ceiling"] = ((), best, "best possible accuracy")
        for name, (dims, scores, text) in found.items():
            variables[name] = (dims, scores.mean(axis=-1), text)
            variables[f"{name}_error"] = (dims, task.error(scores), f"standard error of: {text}")
        if levels is not None:
            every = ("condition", "level", "t", "triplet")
            variables["accuracy_by_triplet"] = (every, levels, f"{_TEXT}, every triplet")
            variables["objects"] = (("triplet", "place"), task.triplets, "objects of a triplet")
        coords = {
            "condition": (("condition",), [CONDITIONS[c] for c in conditions], _CONDITION),
            "layer": (("layer",), names, "features of the model"),
            **self._coords(model.noise, levels is not None),
        }
        source = "network" if model.source == "network" else "simulation"
        return results.label(variables, coords, source, results.provenance(self._fields(model)))

    def _coords(self, noise: Any, levels: bool) -> dict[str, Any]:
        coords: dict[str, Any] = {
            "t": (("t",), list(self.t), f"noise level t of the {noise.name} process")
        }
        if levels:
            coords["level"] = (("level",), np.arange(self.L + 1), "level, root = 0")
        if has_snr(noise):
            coords["snr"] = (("t",), noise.snr(self.t), "signal-to-noise ratio")
        return coords

    def _fields(self, model: DiffusionModel | None) -> dict[str, Any]:
        """What is recorded: the sizes of a model are its own, not those of the experiment."""
        fields = asdict(self)
        if model is not None:
            fields = {k: x for k, x in fields.items() if k not in ("v", "m", "s", "grammars")}
            fields |= {"model": type(model).__name__, "process": repr(model.noise)}
        return fields

    @checked(g=natural)
    def scene(
        self, g: int, given: tuple[ExactRHM, Derivations | None] | None = None
    ) -> tuple[ExactRHM, Derivations, Array, Array]:
        """Model, objects, triplets and the responses' probabilities of one repetition."""
        if given is not None and not (isinstance(given, tuple) and len(given) == 2):
            raise InvalidParameter(f"given = {shown(given)} must be a pair of a model and its data")
        model, data = given or (None, None)
        if model is None:
            drawn = self.rhm.draw(stream(self.seed, "grammar", g))
            model = ExactRHM(drawn, GaussianNoise(self.v), threads=1)
        if data is None:
            data = model.grammar.sample(self.objects, stream(self.seed, "objects", g))
        triplets = draw_triplets(len(data), self.triplets, stream(self.seed, "triplets", g))
        observers = odd_one_out(tree_similarity(data, self.weights), triplets, self.temperature)
        return model, data, triplets, observers

    def _scores(self, features: Array, triplets: Array, observers: Array) -> Array:
        similarity = cosine_similarity(features)
        return expected_accuracy(similarity, triplets, observers, ties=self.ties)

    def _score(self, features: Array, triplets: Array, observers: Array) -> float:
        return float(self._scores(features, triplets, observers).mean())

    def _label(
        self, accuracy: Array, label: Array, ceiling: Array, probes: tuple[Array, Array] | None,
        source: str, model: ExactRHM | None = None, errors: dict[str, Array] | None = None,
    ) -> xr.Dataset:  # fmt: skip
        plane: tuple[str, ...] = ("condition", "level", "t")
        noise = GaussianNoise(self.v) if model is None else model.noise
        named = {"accuracy": (plane, accuracy, _TEXT),
                 "label_only": ((), label, "accuracy of the class label alone"),
                 "ceiling": ((), ceiling, "best possible accuracy")}  # fmt: skip
        if probes is not None:
            named["held_out"] = (plane, probes[0], "accuracy of the probe on unseen objects")
            named["leaked"] = (plane, probes[1], "accuracy of a probe on its training objects")
        variables = {}
        for name, (dims, values, text) in named.items():
            if errors is not None:  # of one model: over triplets that share objects
                error = errors.get(name, np.full(values.shape[1:], np.nan))
            else:
                error = standard_error(values)
            variables[name] = (dims, values.mean(axis=0), text)
            variables[f"{name}_error"] = (dims, error, f"standard error of: {text}")
        coords = {
            "condition": (("condition",), list(CONDITIONS), _CONDITION),
            **self._coords(noise, True),
        }
        return results.label(variables, coords, source, results.provenance(self._fields(model)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The limit of no noise, and the measurement."""
        measured = self.measure(model, data, **run.tasks(self.name))
        if "accuracy" not in measured:
            return {self.name: measured}
        return {f"{self.name}_theory": self.predict(), self.name: measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Accuracy against noise by level, and by layer where the model has layers."""
        measured = datasets[self.name]
        if "layer_accuracy" in measured:
            return layers_figure(measured)
        return alignment_figure(datasets[f"{self.name}_theory"], measured)

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Best levels, what the class adds, and the limit of no noise."""
        measured = datasets[self.name]
        if "layer_accuracy" in measured:
            return layer_summary(measured)
        values = _values(datasets[f"{self.name}_theory"], measured)
        claim, *facts = _facts(values)
        return Summary("\n".join([_table(measured), *facts]), claim, values)


_CONDITION = "what the model is conditioned on"
_PLAIN = ("accuracy", "label_only", "ceiling")


def _names_grammar(data: Any) -> bool:
    """Whether the data say of which grammar they are."""
    return isinstance(data, Grammar) or (
        isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Grammar)
    )


def _conditional(model: Any) -> bool:
    """Whether a model, and the one that it runs, can be conditioned on a class."""
    inner = getattr(model, "model", None)
    return hasattr(model, "given") and (inner is None or _conditional(inner))


def _answers(
    model: DiffusionModel, x_t: Array, t: float, labels: Array | None, ends: bool
) -> dict[str, Array]:
    """Features of every layer, conditioned on the label of every datum if there are any."""

    def ask(one: DiffusionModel, x: Array) -> dict[str, Array]:
        if not ends:
            return one.features(x, t)
        return {"input": x, **one.features(x, t), "output": one.denoise(x, t)}

    if labels is None:
        return ask(model, x_t)
    conditional = cast(Any, model)
    if model.source == "network":  # it takes a label for every row
        return ask(conditional.given(labels), x_t)
    found: dict[str, Array] = {}
    for c in np.unique(labels):
        rows = labels == c
        for name, x in ask(conditional.given(int(c)), x_t[rows]).items():
            found.setdefault(name, np.empty((len(x_t), *x.shape[1:]), x.dtype))[rows] = x
    return found


def _one_level(
    e: Alignment, model: DiffusionModel, objects: ComparedObjects, randoms: Array, t: float, c: int
) -> dict[str, Array]:
    """Scores of all layers [layer, triplet] and levels at one noise level and condition."""
    task = objects.task
    x_t = model.noise.corrupt_with(objects.x0, t, randoms)
    if objects.x0.dtype == np.float32:
        x_t = x_t.astype(np.float32)
    answers = _answers(model, x_t, t, objects.labels if c else None, objects.ends)
    probes = np.full((len(answers), 3), np.nan)
    if e.probed:
        # a layer of fewer features has no more principal components
        probes = np.array([
            task.probed(x, min(e.probe_width, x[0].size)) for x in answers.values()
        ])  # fmt: skip
    found = {
        "scores": np.array([task.scores(x) for x in answers.values()]),
        "probe": probes,
        "names": np.frombuffer("\n".join(answers).encode(), np.uint8),
    }
    if objects.grammar is not None and objects.trees is not None:
        beliefs = _beliefs(e, model, objects, answers, x_t, t, bool(c))
        found["levels"] = np.array([task.scores(x) for x in beliefs])
    return found


def _beliefs(
    e: Alignment, model: DiffusionModel, objects: ComparedObjects, answers: dict[str, Array],
    x_t: Array, t: float, given: bool,
) -> list[Array]:  # fmt: skip
    """Beliefs of every level as rows [n, nodes * v]: the model's own, or read out linearly."""
    grammar = cast(Grammar, objects.grammar)
    own = [f"level {level}" for level in range(grammar.L + 1)]
    if all(name in answers for name in own):
        return [np.asarray(answers[name]) for name in own]
    fit = grammar.sample(e.n_readout, stream(e.seed, "readout"))
    known = model.noise.corrupt(fit.leaves, t, stream(e.seed, "readout noise"))
    seen = _answers(model, known, t, fit.levels[0][:, 0] if given else None, True)
    if "output" not in answers:
        answers = _answers(model, x_t, t, objects.labels if given else None, True)
    out = []
    for level, symbols in enumerate(fit.levels):
        nodes = symbols.shape[1]
        # of a tree-shaped network its nodes; of any other model the leaves below a node
        name = f"down {level}" if f"down {level}" in answers else "output"
        rows = [f[name].reshape(len(f[name]) * nodes, -1) for f in (seen, answers)]
        fitted = linear_probe(rows[0], symbols.ravel(), tolerance=1e-4, iterations=300)
        logits = fitted.logits(rows[1])
        logits -= logits.max(axis=1, keepdims=True)
        beliefs = np.exp(logits)
        out.append((beliefs / beliefs.sum(axis=1, keepdims=True)).reshape(len(x_t), -1))
    return out


def _one_hot(symbols: Array) -> Array:
    """True symbols as features; columns of symbols that do not occur change no cosine."""
    return np.asarray(np.eye(int(symbols.max()) + 1)[symbols].reshape(len(symbols), -1))


def _features(model: ExactRHM, x_t: Array, t: float, classes: Array | None) -> list[Array]:
    """Beliefs of every level, conditioned on the class of every datum if there is one."""
    found = _answers(model, x_t, t, classes, False)
    return [np.asarray(found[f"level {level}"]) for level in range(model.grammar.L + 1)]


def _one_grammar(
    e: Alignment, g: int, given: tuple[ExactRHM, Derivations | None] | None
) -> dict[str, Array]:
    """Accuracies [condition, level, t] of one repetition."""
    model, data, triplets, observers = e.scene(g, given)
    noise = model.noise
    randoms = noise.draw(data.leaves.shape, stream(e.seed, "noise", g))
    shape = (len(CONDITIONS), e.L + 1, len(e.t))
    found = {"accuracy": np.empty(shape)}
    if given is not None:
        found["accuracy_error"] = np.empty(shape)
    if e.probed:
        found |= {"held_out": np.empty(shape), "leaked": np.empty(shape)}
        rng = np.random.default_rng(stream(e.seed, "choices", g))
        chosen = (rng.random((len(observers), 1)) > np.cumsum(observers, axis=1)[:, :2]).sum(axis=1)
        # the odd one goes last, as in the files of odd-one-out responses
        order = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])[chosen]
        choices = np.take_along_axis(triplets, order, axis=1)
    for k, t in enumerate(e.t):
        x_t = noise.corrupt_with(data.leaves, t, randoms)
        for c, classes in enumerate((None, data.levels[0][:, 0])):
            for level, features in enumerate(_features(model, x_t, t, classes)):
                scores = e._scores(features, triplets, observers)
                found["accuracy"][c, level, k] = scores.mean()
                if given is not None:
                    found["accuracy_error"][c, level, k] = shared_error(scores, triplets)
                if e.probed:
                    affine = probe(
                        features, choices, seed=stream(e.seed, "probe", g), width=e.probe_width
                    )
                    found["held_out"][c, level, k] = affine.held_out
                    found["leaked"][c, level, k] = affine.leaked
    label = _one_hot(data.levels[0])
    scores = e._scores(label, triplets, observers)
    found["label_only"] = np.array(scores.mean())
    found["ceiling"] = np.array(noise_ceiling(observers))
    if given is not None:
        found["label_only_error"] = np.array(shared_error(scores, triplets))
        found["ceiling_error"] = np.array(shared_error(observers.max(axis=1), triplets))
    return found


# ------------------------------------------------------------------------- table and claim


def _table(ds: xr.Dataset) -> str:
    """A row per condition and noise level, a column per level."""
    rows = []
    for condition in ds.condition.values:
        for t in ds.t.values:
            one = ds.sel(condition=condition, t=t)
            cells = zip(one.accuracy.values, one.accuracy_error.values, strict=True)
            rows.append([condition, f"{t:.2f}", *(plus_minus(a, e) for a, e in cells)])
    return text_table(["", "t", *(f"level {k}" for k in ds.level.values)], rows, keys=2)


def _values(theory: xr.Dataset, ds: xr.Dataset) -> dict[str, Any]:
    """Best levels, what the class adds, and the limit of no noise, with errors."""
    gain = ds.accuracy.sel(condition="class given") - ds.accuracy.sel(condition="unconditional")
    error = np.hypot(*(ds.accuracy_error.sel(condition=c) for c in ds.condition.values))
    best = ds.accuracy.argmax("level")
    low = ds.isel(t=0).sel(condition="unconditional")
    limit = theory.isel(t=0).sel(condition="unconditional")
    z = (low.accuracy - limit.accuracy) / np.hypot(low.accuracy_error, limit.accuracy_error)
    return {
        "t": ds.t.values.tolist(),
        "accuracy": ds.accuracy.values.tolist(), "error": ds.accuracy_error.values.tolist(),
        "ceiling": [float(ds.ceiling), float(ds.ceiling_error)],
        "label": [float(ds.label_only), float(ds.label_only_error)],
        "best level": best.values.tolist(),
        "gain": gain.max("level").values.tolist(),
        "gain error": error.isel(level=gain.argmax("level")).values.tolist(),
        "z of the limit": z.values.tolist(),
    }  # fmt: skip


def _facts(found: dict[str, Any]) -> list[str]:
    """Where the class helps; which level is best; the limit of no noise."""
    t, gain, error = found["t"], found["gain"], found["gain error"]
    levels = ", ".join(f"{k} (t = {x:g})" for k, x in zip(found["best level"][0], t, strict=True))
    return [
        f"the class adds at most {gain[0]:+.3f} ± {error[0]:.3f} at t = {t[0]:g} and "
        f"{gain[-1]:+.3f} ± {error[-1]:.3f} at t = {t[-1]:g}",
        f"best unconditional level {levels}",
        f"ceiling {found['ceiling'][0]:.3f}, label alone {found['label'][0]:.3f}",
        f"no-noise limit |z| < {max(map(abs, found['z of the limit'])):.1f}",
    ]


def layer_values(ds: xr.Dataset) -> dict[str, Any]:
    """Best layers, and what the class adds to the mean over layers, paired, at every time."""
    names = [str(x) for x in ds.layer.values]
    found: dict[str, Any] = {
        "t": ds.t.values.tolist(),
        "ceiling": float(ds.ceiling),
        "best layer": {
            str(c): [names[i] for i in ds.layer_accuracy.sel(condition=c).argmax("layer").values]
            for c in ds.condition.values
        },
        "best": {
            str(c): ds.layer_accuracy.sel(condition=c).max("layer").values.tolist()
            for c in ds.condition.values
        },
    }  # fmt: skip
    if "label_only" in ds:
        found["label"] = [float(ds.label_only), float(ds.label_only_error)]
    if "layer_gain" in ds:
        pairs = zip(ds.layer_gain.values, ds.layer_gain_error.values, strict=True)
        found["gain"] = [[float(g), float(e)] for g, e in pairs]
    if not np.isnan(ds.held_out).all():
        gap = ds.leaked - ds.held_out
        found["probe, best held out"] = [
            float(ds.held_out.max()),
            float(ds.held_out_error.values.ravel()[ds.held_out.values.argmax()]),
        ]
        found["probe, leak"] = float(gap.mean())
    return found


def layer_facts(found: dict[str, Any]) -> list[str]:
    """What the class adds to the layers; which layer is best; ceiling, label and probe."""
    t, facts = found["t"], []
    if "gain" in found:
        (a, ea), (b, eb) = found["gain"][0], found["gain"][-1]
        z = (b - a) / max(float(np.hypot(ea, eb)), 1e-12)
        k = int(np.argmax([g for g, _ in found["gain"]]))
        top, spread = found["gain"][k]
        facts.append(
            f"the class adds {a:+.3f} ± {ea:.3f} at t = {t[0]:g} and {b:+.3f} ± {eb:.3f} at "
            f"t = {t[-1]:g} to the layers (z of the rise {z:.1f}), at most {top:+.3f} ± "
            f"{spread:.3f} at t = {t[k]:g}"
        )
    name, best = next(iter(found["best layer"].items()))
    facts.append(f"best layer, {name}: {', '.join(best)}")
    tail = f"ceiling {found['ceiling']:.3f}"
    if "label" in found:
        tail += f", label alone {found['label'][0]:.3f} ± {found['label'][1]:.3f}"
    if "probe, best held out" in found:
        value, error = found["probe, best held out"]
        tail += f", probe at best {value:.3f} ± {error:.3f} on unseen objects"
    return [*facts, tail]


def layer_table(ds: xr.Dataset) -> str:
    """A row per layer, a column per condition and noise level: zero-shot, and the probe's."""
    cells = [(str(c), float(t)) for c in ds.condition.values for t in ds.t.values]
    short = {CONDITIONS[0]: "no class", CONDITIONS[1]: "class"}
    rows = []
    for layer in ds.layer.values:
        row = [layer]
        for c, t in cells:
            one = ds.sel(condition=c, layer=layer, t=t)
            held = float(one.held_out)
            row.append(plus_minus(one.layer_accuracy, one.layer_accuracy_error)
                       + (f" ({held:.2f})" if np.isfinite(held) else ""))  # fmt: skip
        rows.append(row)
    return text_table(["layer", *(f"{short[c]}, t = {t:g}" for c, t in cells)], rows)


def layer_summary(ds: xr.Dataset) -> Summary:
    """Table, claim and numbers of a model with layers."""
    values = layer_values(ds)
    claim, *facts = layer_facts(values)
    return Summary("\n".join([layer_table(ds), *facts]), claim, values)
