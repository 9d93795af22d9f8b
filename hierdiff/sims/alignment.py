"""Alignment: do beliefs about latents judge similarity as judges who see the tree do?

Data of a grammar are the objects; judges compare them by shared latents with weights per level.  A
model sees each object at noise level t and answers triplets with the cosine similarity of its
beliefs at one level: unconditional, or with the class given, as a text prompt gives it.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    one_level,
    shown,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import RHM, Grammar, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.sims.estimators import standard_error
from hierdiff.sims.forward_backward import checked_derivations
from hierdiff.sims.similarity import cosine_similarity
from hierdiff.sims.triplets import draw_triplets, probe
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.odd_one_out_task import (
    expected_accuracy,
    noise_ceiling,
    odd_one_out,
    tree_similarity,
)

__all__ = ["CONDITIONS", "Alignment"]

Array = NDArray[Any]

CONDITIONS = ("unconditional", "class given")
_TEXT = "accuracy against the judges"


@dataclass(frozen=True)
class Alignment:
    """Odd-one-out accuracy of beliefs, per level and noise level, with and without the class.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: beliefs are exact; judges are averaged, not sampled, so errors are those over
    ``grammars`` random grammars.

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
    """What the judges care about, from the class to the leaves: L + 1 numbers."""
    temperature: float = 0.22
    """Of the judges."""
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
    """Also train the affine probe on sampled choices, cross-validated over objects."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, t=partial(listed, rule=one_level), objects=partial(whole, high=10**6),
            triplets=partial(whole, high=10**9), grammars=partial(whole, high=10**6), seed=natural,
        )  # fmt: skip
        affordable(RHM(self.v, self.m, self.s, self.L), self.objects)
        if len(self.weights) != self.L + 1 or min(self.weights) < 0 or not any(self.weights):
            raise InvalidParameter(
                f"weights = {self.weights} must be L + 1 = {self.L + 1} numbers >= 0, not all zero"
            )
        if self.grammars < 2 or self.objects < 6 or self.triplets < 2 or not self.temperature > 0:
            raise InvalidParameter(
                f"grammars = {self.grammars}, objects = {self.objects}, triplets = {self.triplets}"
                f" must be at least 2, 6 and 2, temperature = {self.temperature} above 0"
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
            data, triplets, judges = self.scene(10**6 + g)[1:]
            levels = [self._score(_one_hot(z), triplets, judges) for z in data.levels]
            found.append([*levels, levels[0], noise_ceiling(judges)])
        values = np.array(found)
        shape = (len(CONDITIONS), self.L + 1, len(self.t))
        planes = np.broadcast_to(
            values[:, None, : self.L + 1, None], (self.grammars, *shape)
        )  # fmt: skip
        return self._label(planes, values[:, -2], values[:, -1], None, "theory")

    @results.tracked
    @checked(model=unchecked)  # what is missing is said below
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Derivations | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Accuracy of a model's beliefs as features.

        Parameters
        ----------
        model : ExactRHM, optional
            Measured on its grammar alone, under its own noise: ``features`` of the model, and of
            the same model with the prior on one class.  Default: exact inference under Gaussian
            noise on ``grammars`` random grammars.
        data : Derivations, optional
            Objects of the model's grammar; default drawn.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (condition, level, t), with ``_error``; ``label_only`` and ``ceiling``;
            with ``probed`` also ``held_out`` and ``leaked`` accuracies of the probe.

        Raises
        ------
        InvalidParameter
            If the model is of another kind or depth, the data do not belong to its grammar, or data
            come without a model.

        Notes
        -----
        Validity: that of the model's features; with one model the error is NaN.
        """
        if model is None and data is not None:
            raise InvalidParameter("data were given without the model they belong to")
        if model is not None and not isinstance(model, ExactRHM):
            raise InvalidParameter(
                f"model {type(model).__name__} has no levels of latents; give an ExactRHM"
            )
        if model is not None and model.grammar.L != self.L:
            raise InvalidParameter(
                f"the model's grammar has L = {model.grammar.L} levels, this experiment L = "
                f"{self.L}; make Alignment with L = {model.grammar.L} and as many weights plus one"
            )
        if model is not None and data is not None:
            checked_derivations(model.grammar, data)
        tasks = []
        for g in range(self.grammars if model is None else 1):
            given = None if model is None else (model, data)
            spec = {k: v for k, v in asdict(self).items() if k != "grammars"}
            parameters = {"version": 1, "question": "alignment", **spec, "grammar": g,
                          "given": given is not None}  # fmt: skip
            one = replace(self, grammars=2)  # a task does not depend on how many there are
            tasks.append(Task(_one_grammar, (one, g, given), parameters))
        found = run_tasks(tasks, folder, workers=workers, name="alignment", cluster=cluster)
        stacked = {k: np.stack([f[k] for f in found]) for k in found[0]}
        probes = (stacked["held_out"], stacked["leaked"]) if self.probed else None
        return self._label(
            stacked["accuracy"], stacked["label_only"], stacked["ceiling"], probes, "simulation",
            model,
        )  # fmt: skip

    @checked(g=natural)
    def scene(
        self, g: int, given: tuple[ExactRHM, Derivations | None] | None = None
    ) -> tuple[ExactRHM, Derivations, Array, Array]:
        """Model, objects, triplets and the judges' probabilities of one repetition."""
        if given is not None and not (isinstance(given, tuple) and len(given) == 2):
            raise InvalidParameter(f"given = {shown(given)} must be a pair of a model and its data")
        model, data = given or (None, None)
        if model is None:
            drawn = self.rhm.draw(stream(self.seed, "grammar", g))
            model = ExactRHM(drawn, GaussianNoise(self.v), threads=1)
        if data is None:
            data = model.grammar.sample(self.objects, stream(self.seed, "objects", g))
        triplets = draw_triplets(len(data), self.triplets, stream(self.seed, "triplets", g))
        judges = odd_one_out(tree_similarity(data, self.weights), triplets, self.temperature)
        return model, data, triplets, judges

    def _score(self, features: Array, triplets: Array, judges: Array) -> float:
        similarity = cosine_similarity(features)
        return float(expected_accuracy(similarity, triplets, judges, ties=self.ties).mean())

    def _label(
        self, accuracy: Array, label: Array, ceiling: Array, probes: tuple[Array, Array] | None,
        source: str, model: ExactRHM | None = None,
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
            # of one model no error over grammars can be stated
            error = standard_error(values) if len(values) > 1 else np.full(values.shape[1:], np.nan)
            variables[name] = (dims, values.mean(axis=0), text)
            variables[f"{name}_error"] = (dims, error, f"standard error of: {text}")
        coords = {
            "condition": (("condition",), list(CONDITIONS), "what the model is told"),
            "level": (("level",), np.arange(self.L + 1), "level, root = 0"),
            "t": (("t",), list(self.t), f"noise level t of the {noise.name} process"),
        }
        if isinstance(noise, GaussianNoise):
            coords["snr"] = (("t",), noise.snr(self.t), "signal-to-noise ratio")
        fields = asdict(self)
        if model is not None:  # the sizes are the model's, not those of the experiment's flags
            fields = {k: x for k, x in fields.items() if k not in ("v", "m", "s", "grammars")}
            fields |= {"model": type(model).__name__, "process": repr(noise)}
        return results.label(variables, coords, source, results.provenance(fields))


def _one_hot(symbols: Array) -> Array:
    """True symbols as features; columns of symbols that do not occur change no cosine."""
    return np.asarray(np.eye(int(symbols.max()) + 1)[symbols].reshape(len(symbols), -1))


def _features(model: ExactRHM, x_t: Array, t: float, classes: Array | None) -> list[Array]:
    """Features of every level, with the class of every datum given if there is one."""
    names = [f"level {level}" for level in range(model.grammar.L + 1)]
    if classes is None:
        found = model.features(x_t, t)
        return [np.asarray(found[name]) for name in names]
    g, out = model.grammar, [np.empty(0)] * len(names)
    for c in np.unique(classes):
        # a class that is given is a prior on that class alone
        prior, rows = np.eye(len(g.root_prior))[c], classes == c
        clamped = Grammar(g.rules, g.weights, prior, leaf_vocabulary=g.leaf_vocabulary)
        found = replace(model, grammar=clamped).features(x_t[rows], t)
        for k, name in enumerate(names):
            x = np.asarray(found[name])
            if not out[k].size:
                out[k] = np.empty((len(x_t), x.shape[1]))
            out[k][rows] = x
    return out


def _one_grammar(
    e: Alignment, g: int, given: tuple[ExactRHM, Derivations | None] | None
) -> dict[str, Array]:
    """Accuracies [condition, level, t] of one repetition."""
    model, data, triplets, judges = e.scene(g, given)
    noise = model.noise
    randoms = noise.draw(data.leaves.shape, stream(e.seed, "noise", g))
    shape = (len(CONDITIONS), e.L + 1, len(e.t))
    found = {"accuracy": np.empty(shape)}
    if e.probed:
        found |= {"held_out": np.empty(shape), "leaked": np.empty(shape)}
        rng = np.random.default_rng(stream(e.seed, "choices", g))
        chosen = (rng.random((len(judges), 1)) > np.cumsum(judges, axis=1)[:, :2]).sum(axis=1)
        # the odd one goes last, as in the files of human choices
        order = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])[chosen]
        choices = np.take_along_axis(triplets, order, axis=1)
    for k, t in enumerate(e.t):
        x_t = noise.corrupt_with(data.leaves, t, randoms)
        for c, classes in enumerate((None, data.levels[0][:, 0])):
            for level, features in enumerate(_features(model, x_t, t, classes)):
                found["accuracy"][c, level, k] = e._score(features, triplets, judges)
                if e.probed:
                    scores = probe(features, choices, seed=stream(e.seed, "probe", g), width=8)
                    found["held_out"][c, level, k] = scores.held_out
                    found["leaked"][c, level, k] = scores.leaked
    label = _one_hot(data.levels[0])
    found["label_only"] = np.array(e._score(label, triplets, judges))
    found["ceiling"] = np.array(noise_ceiling(judges))
    return found
