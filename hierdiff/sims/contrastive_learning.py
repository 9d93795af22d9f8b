r"""Contrastive learning: the width at which attributes, binding and levels of a tree are learned.

Scenes of two objects are seen through noise, and captions name both objects
(:mod:`hierdiff.theory.zero_shot.captioned_scenes`).  A learner of width d gives a caption the score
:math:`f(x)\cdot g(y)`; it binds if the true caption scores above the one whose objects have
exchanged a value.  The prediction is the exact accuracy of the spectral optimum, the measurement
that of its embeddings on scenes that are drawn.  Beside them stand

* InfoNCE, minimised at the same widths, with infinitely many negatives, with a number K of them,
  and with hard ones (captions of the same attributes, bound otherwise);
* the denoising classifier of the same scenes, whose scores use the same information.

On trees a contrastive pair reveals the symbol at the top of its own view
(:mod:`hierdiff.theory.rhm.tree_pairs`), and

.. math:: \frac{1}{v-1} \sum_{k>0} \sigma_k^2 = \frac{v\,E[b_{true}] - 1}{v - 1}

for leaves and class: the order parameter of the phase transition, by density evolution.

A text may be the string of all symbols of a level.  Of images that show each of them with
probability a the squared singular values sum to the mean of 1 / p(what is seen): the prediction
counts strings, the measurement draws them and takes the evidence of belief propagation.
"""

from __future__ import annotations

import functools
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
from hierdiff.checks import check_fields, checked, listed, natural, no_model, number, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import Grammar, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import noise_name, noise_process
from hierdiff.plots import Figure
from hierdiff.seeds import stream
from hierdiff.sims.contrastive_learning_figure import (
    LEARNERS,
    PAIRS,
    claim,
    draw_scenes,
    draw_texts,
    draw_trees,
    numbers,
    table,
)
from hierdiff.sims.metrics.estimators import standard_error, student_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.density_evolution import population_dynamics
from hierdiff.theory.rhm.tree_pairs import occluded_text, text_parts, text_widths, tree_pair
from hierdiff.theory.zero_shot.captioned_scenes import CaptionedScenes, denoising_scores
from hierdiff.theory.zero_shot.contrastive import (
    Spectrum,
    canonical_spectrum,
    fit_infonce,
    spectral_scores,
    zero_shot_accuracy,
)

__all__ = ["ContrastiveLearning"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]
Law = Literal["spectral", "infonce", "hard", "counted"]

_ACCURACY = "zero-shot accuracy"
_STRINGS = 4096
"""Most strings of a text; their spectrum takes about a minute per grammar."""


@functools.lru_cache(maxsize=4)
def _scenes(
    values: tuple[int, ...], fidelity: tuple[float, ...]
) -> tuple[CaptionedScenes, Spectrum]:
    """Scenes and their spectrum, once for all tasks of a process."""
    scenes = CaptionedScenes(values, fidelity)
    return scenes, canonical_spectrum(scenes.joint)


def one_learner(
    values: tuple[int, ...], fidelity: tuple[float, ...], law: Law, width: int, hard: float,
    negatives: int, seed: int, start: int,
) -> dict[str, Array]:  # fmt: skip
    """Accuracy [task] of one minimum of a loss."""
    scenes, spectrum = _scenes(values, fidelity)
    source = stream(seed, law, width, start)
    if law == "spectral":
        scores = spectral_scores(spectrum, width, seed=source)
    else:
        swap = list(scenes.tasks.values())[-1][:, 0]
        found = fit_infonce(
            scenes.joint, width, seed=source, iterations=300 if law == "counted" else 1500,
            wrong=swap if law == "hard" else None, hard=hard if law == "hard" else 0.0,
            negatives=negatives if law == "counted" else None,
        )  # fmt: skip
        scores = found.scores
    rows = [zero_shot_accuracy(scenes.joint, scores, wrong) for wrong in scenes.tasks.values()]
    return {"accuracy": np.array(rows)}


def sampled_scenes(
    values: tuple[int, ...], fidelity: tuple[float, ...], widths: tuple[int, ...], scenes: int,
    seed: int, start: int,
) -> dict[str, Array]:  # fmt: skip
    """Right answers [task, width, scene] of spectral embeddings on scenes that are drawn."""
    world, spectrum = _scenes(values, fidelity)
    rng = stream(seed, "scenes", start)
    captions = rng.integers(len(world.captions), size=scenes)
    seen = world.captions[captions].copy()
    for i, (v, kept) in enumerate(zip(values, fidelity, strict=True)):
        lost = rng.random((scenes, 2)) >= kept
        seen[:, :, i] = np.where(lost, rng.integers(v, size=(scenes, 2)), seen[:, :, i])
    # images are numbered by both looks in order
    looks = np.sort(np.ravel_multi_index(tuple(np.moveaxis(seen, -1, 0)), values), axis=1)
    n = int(np.prod(values))
    place = np.full((n, n), -1)
    place[np.triu_indices(n)] = np.arange(n * (n + 1) // 2)
    images = place[looks[:, 0], looks[:, 1]]
    right = np.empty((len(world.tasks), len(widths), scenes))
    for j, width in enumerate(widths):
        scores = spectral_scores(spectrum, width, seed=stream(seed, "spectral", width, start))
        tie = 1e-9 * np.abs(scores).max()
        rows = scores[images]
        own = rows[np.arange(scenes := len(images)), captions]
        for k, wrong in enumerate(world.tasks.values()):
            gap = own[:, None] - np.take_along_axis(rows, wrong[captions], axis=1)
            right[k, j] = ((gap > tie) + 0.5 * (np.abs(gap) <= tie)).mean(axis=1)
    return {"right": right}


def one_tree(
    rhm: RHM, process: str, times: Array, samples: int, seed: int, g: int
) -> dict[str, Array]:
    """Levels revealed [pair, t, level] and squared singular values of the class [t]."""
    grammar, noise = rhm.draw(stream(seed, "grammar", g)), noise_process(process, rhm.v)
    last = grammar.L
    revealed, square = np.empty((len(PAIRS), len(times), last + 1)), np.empty(len(times))
    for i, t in enumerate(times):
        ask = partial(tree_pair, grammar, noise, float(t), n=samples)
        seeds = [stream(seed, "views", g, i, k) for k in range(3)]
        top = ask((0, 0), (0, 0), seed=seeds[0], text=True)
        halves = ask((1, 0), (1, 1), seed=seeds[1])
        leaves = ask((last, 0), (last, 1), seed=seeds[2])
        square[i] = (top.values[1:] ** 2).sum() / (len(top.values) - 1)
        for k, found in enumerate((top, halves, leaves)):
            revealed[k, i] = found.revealed[:, -1]
    return {"revealed": revealed, "square": square}


def one_text(
    rhm: RHM, level: int, kept: float, widths: Array, samples: int, seed: int, g: int
) -> dict[str, Array]:
    """Singular values [width], shares [level or string, width] and half widths of one text.

    Also the sum of squared singular values, and 1 / p(what is seen) of strings that are drawn.
    """
    grammar = rhm.draw(stream(seed, "grammar", g))
    found = occluded_text(grammar, level, kept)
    inside = np.minimum(widths, len(found.values)) - 1
    rows = np.vstack([found.revealed, found.string])
    top = Grammar(grammar.rules[:level], grammar.weights[:level], grammar.root_prior,
                  leaf_vocabulary=grammar.v[level])  # fmt: skip
    rng = stream(seed, "texts", g, level)
    strings = top.sample(samples, rng).leaves
    seen = rng.random(strings.shape) < kept
    with np.errstate(divide="ignore"):
        evidence = np.where(seen[..., None], np.log(np.eye(top.v[-1]))[strings], 0.0)
    log_p = posterior(top, evidence, levels=(), threads=1).log_evidence
    stated = np.full(len(widths), np.nan)
    if strings.shape[1] == 2:  # eq. (7)
        parts = text_parts(grammar, level, kept)
        line = np.repeat([part.value for part in parts], [part.number for part in parts])
        stated = line[inside]
    return {
        "value": found.values[inside], "stated": stated, "shares": rows[:, inside],
        "half": np.array(list(text_widths(found, 0.5).values()), float),
        "square": np.array((found.values**2).sum()), "drawn": np.exp(-log_p),
    }  # fmt: skip


@dataclass(frozen=True)
class ContrastiveLearning:
    """What contrastive learners bind, against width and negatives; what they reveal of a tree.

    Notes
    -----
    Validity: scenes are exact; InfoNCE is a local minimum per start, its error is over starts.
    Errors of trees are over grammars.

    Examples
    --------
    >>> small = ContrastiveLearning(values=(3, 3), widths=(2, 5, 9), starts=2)
    >>> small.predict(workers=1).accuracy.sel(task="colour exchanged").values.round(3).tolist()
    [0.5, 0.5, 0.864]
    """

    name: ClassVar[str] = "contrastive_learning"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_trees", f"{name}_texts")

    values: tuple[int, ...] = (5, 5)
    """Values of every attribute of an object: shape, colour, position, size."""
    fidelity: tuple[float, ...] = (0.8, 0.8)
    """Share of each attribute that an image keeps."""
    widths: tuple[int, ...] = (2, 4, 6, 8, 9, 10, 13, 16, 20, 25)
    """Widths of the embeddings."""
    starts: int = 3
    """Starts of a learner, and draws of functions that the spectral loss does not determine."""
    hard: float = 0.5
    """Share of hard negatives."""
    negatives: int = 8
    """Negatives of a learner that has few."""
    scenes: int = 4000
    """Scenes that are drawn."""
    v: int = 16
    """Symbols per level of the tree."""
    m: int = 4
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 5
    """Depth of the tree."""
    noise: str = "masking"
    """Noise process of its leaves."""
    levels: int = 11
    """Noise levels from 0 to 0.9."""
    grammars: int = 8
    """Random grammars."""
    samples: int = 600
    """Strings per grammar and noise level."""
    text_levels: tuple[int, ...] = (1, 2)
    """Levels of which a text tells all symbols."""
    kept: float = 0.8
    """Probability that an image shows a symbol of such a level."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            values=partial(listed, rule=partial(whole, low=2, high=100), least=2, distinct=False),
            fidelity=partial(listed, rule=partial(number, above=0, high=1), distinct=False),
            widths=partial(listed, rule=partial(whole, low=1), least=2, rising=True),
            starts=partial(whole, low=2, high=1000),
            hard=partial(number, low=1e-3, below=1),  # less is none, and has a law of its own
            negatives=partial(whole, low=1),
            scenes=partial(whole, low=2, high=10**6),
            noise=partial(noise_name, channel=True),
            levels=partial(whole, low=2, high=10**4),
            grammars=partial(whole, low=2, high=10**6),
            samples=partial(whole, low=2, high=10**7),
            text_levels=partial(listed, rule=partial(whole, low=1), least=1, rising=True),
            kept=partial(number, low=1e-3, high=1),  # less shows next to nothing
            seed=natural,
        )
        scenes = CaptionedScenes(self.values, self.fidelity)
        scenes._fits()
        most = min(scenes.n_captions, scenes.n_images)
        for name, value in (("widths", self.widths[-1]), ("negatives", self.negatives)):
            if value > most:
                raise InvalidParameter(f"{name} = {value} exceeds the {most} captions; give less")
        affordable(RHM(self.v, self.m, self.s, self.L), self.samples)
        if self.text_levels[-1] > self.L:
            raise InvalidParameter(
                f"text_levels = {self.text_levels[-1]} is outside of the tree; give 1 to {self.L}"
            )
        if self._strings(self.text_levels[-1]) > _STRINGS:
            raise InvalidParameter(
                f"text_levels = {self.text_levels[-1]} has {self._strings(self.text_levels[-1])} "
                f"strings; give levels of at most {_STRINGS}"
            )

    def _strings(self, level: int) -> int:
        """Strings of a level, each of which has one derivation."""
        return int(self.v * self.m ** ((self.s**level - 1) // (self.s - 1)))

    @property
    def world(self) -> CaptionedScenes:
        """The scenes."""
        return CaptionedScenes(self.values, self.fidelity)

    @property
    def times(self) -> Array:
        """Noise levels of the tree."""
        return np.linspace(0, 0.9, self.levels)

    @results.tracked
    @checked
    def predict(
        self,
        law: Law = "spectral",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Exact accuracy of a learner of every width, averaged over starts.

        Parameters
        ----------
        law : {"spectral", "infonce", "hard", "counted"}
            The spectral optimum; InfoNCE with infinitely many negatives, with a share of hard
            ones, with K of them.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (task, width).

        Notes
        -----
        Validity: over the law of all scenes, without sampling.
        """
        one_of("law", law, ("spectral", *LEARNERS))
        tasks = []
        for width in self.widths:
            for start in range(self.starts):
                used = {"hard": self.hard if law == "hard" else 0.0,
                        "negatives": self.negatives if law == "counted" else 0}  # fmt: skip
                parameters = {
                    "version": 1, "question": self.name, "law": law, "values": self.values,
                    "fidelity": self.fidelity, "width": width, "start": start, "seed": self.seed,
                    **used,
                }  # fmt: skip
                arguments = (self.values, self.fidelity, law, width, *used.values(), self.seed,
                             start)  # fmt: skip
                tasks.append(Task(one_learner, arguments, parameters))
        parts = run_tasks(
            tasks, name=f"{self.name} {law}", folder=folder, workers=workers, cluster=cluster
        )
        shape = (len(self.widths), self.starts, -1)
        found = np.stack([p["accuracy"] for p in parts]).reshape(shape).transpose(1, 2, 0)
        return self._labelled(found, "theory", law)

    def ceilings(self) -> xr.Dataset:
        """Bayes accuracy, and that of the denoising classifier by the number of masked symbols."""
        scenes = self.world
        masked = list(range(1, 2 * len(self.values) + 1))
        scores = [denoising_scores(scenes, masked=n) for n in masked]
        rows, joint, whole_score = (
            list(scenes.tasks.values()),
            scenes.joint,
            denoising_scores(scenes),
        )
        variables = {
            "bayes": (("task",), [zero_shot_accuracy(joint, joint, w) for w in rows],
                      "Bayes accuracy"),
            "denoising": (("task", "masked"),
                          [[zero_shot_accuracy(joint, s, w) for s in scores] for w in rows],
                          "accuracy of the denoising classifier at one noise level"),
            "denoising_all": (("task",),
                              [zero_shot_accuracy(joint, whole_score, w) for w in rows],
                              "accuracy of the denoising classifier"),
        }  # fmt: skip
        coords = {
            "task": (("task",), list(scenes.tasks), "which captions are compared"),
            "masked": (("masked",), masked, "masked symbols of an image"),
        }
        return results.label(variables, coords, "theory", results.provenance(asdict(self)))

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Accuracy of spectral embeddings on scenes that are drawn."""
        no_model(
            self.name, model, data,
            "it compares embeddings of scenes and captions; a denoiser has neither",
        )  # fmt: skip
        tasks = []
        for start in range(self.starts):
            parameters = {
                "version": 1, "question": self.name, "law": "scenes", "values": self.values,
                "fidelity": self.fidelity, "widths": self.widths, "scenes": self.scenes,
                "start": start, "seed": self.seed,
            }  # fmt: skip
            arguments = (self.values, self.fidelity, self.widths, self.scenes, self.seed, start)
            tasks.append(Task(sampled_scenes, arguments, parameters))
        parts = run_tasks(
            tasks, name=f"{self.name} scenes", folder=folder, workers=workers, cluster=cluster
        )
        right = np.stack([p["right"] for p in parts])  # [start, task, width, scene]
        # functions are those of the prediction, so that scenes alone are random
        spread = right.var(axis=3, ddof=1).mean(axis=0) / (self.starts * self.scenes)
        return self._labelled(right.mean(axis=3), "simulation", "spectral", np.sqrt(spread))

    def trees(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Levels that three contrastive pairs of a tree reveal, and the class by its spectrum."""
        rhm, tasks = RHM(self.v, self.m, self.s, self.L), []
        for g in range(self.grammars):
            parameters = {
                "version": 2, "question": self.name, "law": "trees", "v": self.v, "m": self.m,
                "s": self.s, "L": self.L, "noise": self.noise, "times": self.times.tolist(),
                "samples": self.samples, "seed": self.seed, "grammar": g,
            }  # fmt: skip
            arguments = (rhm, self.noise, self.times, self.samples, self.seed, g)
            tasks.append(Task(one_tree, arguments, parameters))
        parts = run_tasks(
            tasks, name=f"{self.name} trees", folder=folder, workers=workers, cluster=cluster
        )
        revealed, square = (np.stack([p[k] for p in parts]) for k in ("revealed", "square"))
        law = population_dynamics(
            rhm, noise_process(self.noise, self.v), self.times, size=3000, copies=4, seed=self.seed
        )
        scale = self.v / (self.v - 1)
        variables: dict[str, Any] = {
            "square": (("t",), square.mean(axis=0), "mean squared singular value of the class"),
            "square_error": (("t",), standard_error(square), "its standard error"),
            "order": (("t",), scale * law.upward[0] - 1 / (self.v - 1), "order parameter"),
            "order_error": (("t",), scale * law.upward_error[0], "its standard error"),
            "revealed": (("pair", "t", "level"), revealed.mean(axis=0),
                         "share of a latent that is revealed"),
            "revealed_error": (("pair", "t", "level"), standard_error(revealed),
                               "its standard error"),
        }  # fmt: skip
        coords = {
            "pair": (("pair",), list(PAIRS.values()), "contrastive pair"),
            "t": (("t",), self.times, f"noise level t of the {self.noise} process"),
            "level": (("level",), list(range(self.L + 1)), "level of the tree"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def texts(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Spectra of texts that tell all symbols of a level, and the levels revealed, by width."""
        rhm, tasks = RHM(self.v, self.m, self.s, self.L), []
        most = self._strings(self.text_levels[-1])
        ends = [2 * self.v - 1, *(self._strings(level) for level in self.text_levels)]
        widths = np.unique(np.r_[np.geomspace(1, most, 25).round(), ends]).astype(int)
        widths = widths[widths <= most]
        for level in self.text_levels:
            for g in range(self.grammars):
                parameters = {
                    "version": 1, "question": self.name, "law": "texts", "v": self.v, "m": self.m,
                    "s": self.s, "L": self.L, "level": level, "kept": self.kept,
                    "widths": widths.tolist(), "samples": self.samples, "seed": self.seed,
                    "grammar": g,
                }  # fmt: skip
                arguments = (rhm, level, self.kept, widths, self.samples, self.seed, g)
                tasks.append(Task(one_text, arguments, parameters))
        parts = run_tasks(
            tasks, name=f"{self.name} texts", folder=folder, workers=workers, cluster=cluster
        )
        names = [*(f"level {i}" for i in range(self.text_levels[-1] + 1)), "string"]
        plane, shape = ("text", "part", "width"), (len(self.text_levels), len(names), len(widths))
        rows = {"revealed": np.full((self.grammars, *shape), np.nan),
                "half": np.full((self.grammars, *shape[:2]), np.nan)}  # fmt: skip
        every = {k: np.stack([p[k] for p in parts]).reshape(
            len(self.text_levels), self.grammars, *np.shape(parts[0][k]))
            for k in ("value", "stated", "square", "drawn")}  # fmt: skip
        for i, level in enumerate(self.text_levels):
            inside = widths <= self._strings(level)
            every["value"][i][:, ~inside] = every["stated"][i][:, ~inside] = np.nan
            for g, p in enumerate(parts[i * self.grammars : (i + 1) * self.grammars]):
                places = [*range(level + 1), -1]
                rows["half"][g, i, places] = p["half"]
                rows["revealed"][g, i, places] = np.where(inside, p["shares"], np.nan)
        dims = {"revealed": plane, "half": plane[:2], "value": ("text", "width")}
        words = {"revealed": "share of a latent that is revealed", "value": "singular value",
                 "half": "width at which half of what is revealed at full width is"}  # fmt: skip
        rows["value"] = np.moveaxis(every["value"], 1, 0)
        variables: dict[str, Any] = {
            "stated": (("text", "width"), every["stated"].mean(axis=1), "value in closed form"),
            "square": (("text",), every["square"].mean(axis=1), "sum of squared singular values"),
        }
        for name, x in rows.items():
            known = np.nan_to_num(x)
            variables |= results.with_error(
                name, dims[name], x.mean(axis=0), student_error(known) + 0 * x.mean(axis=0),
                words[name],
            )  # fmt: skip
        drawn = every["drawn"]  # [text, grammar, string]; grammars are those of the law
        spread = np.sqrt(drawn.var(axis=2, ddof=1).mean(axis=1) / drawn[0].size)
        variables |= results.with_error("drawn", ("text",), drawn.mean(axis=(1, 2)), spread,
                                        "mean of 1 / p(what is seen)")  # fmt: skip
        axes: dict[str, tuple[Any, str]] = {
            "text": (list(self.text_levels), "level of which the text tells all symbols"),
            "part": (names, "what is revealed"),
            "width": (widths, "width d of the embeddings"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, "theory", results.provenance(asdict(self)))

    def _labelled(
        self, accuracy: Array, source: str, law: str, error: Array | None = None
    ) -> xr.Dataset:
        """Accuracy [start, task, width] as a dataset."""
        scatter = standard_error(accuracy) if error is None else error
        variables = {
            "accuracy": (("task", "width"), accuracy.mean(axis=0), _ACCURACY),
            "accuracy_error": (("task", "width"), scatter, "its standard error"),
        }
        coords: dict[str, Any] = {
            "task": (("task",), list(self.world.tasks), "which captions are compared"),
            "width": (("width",), list(self.widths), "width d of the embeddings"),
        }
        found = results.label(variables, coords, source, results.provenance(asdict(self)))
        found.attrs["learner"] = law
        return found

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Drawn scenes, exact accuracies of four learners, and trees."""
        options = run.tasks(self.name)
        found = {self.name: self.measure(model, data, **options)}
        found[f"{self.name}_theory"] = self.predict(**options)
        laws: tuple[Law, ...] = ("infonce", "hard", "counted")
        for law in laws:
            found[f"{self.name}_{law}"] = self.predict(law, **options)
        found[f"{self.name}_ceilings"] = self.ceilings()
        found[f"{self.name}_trees"] = self.trees(**options)
        found[f"{self.name}_texts"] = self.texts(**options)
        return found

    def figure(self, datasets: Datasets) -> Mapping[str, Figure]:
        """Spectrum and accuracy against width; levels that contrastive pairs of trees reveal."""
        return {
            self.name: draw_scenes(self, datasets),
            f"{self.name}_trees": draw_trees(self, datasets[f"{self.name}_trees"]),
            f"{self.name}_texts": draw_texts(self, datasets[f"{self.name}_texts"]),
        }

    def summary(self, datasets: Datasets) -> Summary:
        """Accuracy of binding at every width, and the level that each pair reveals."""
        return Summary(table(self, datasets), claim(self, datasets), numbers(self, datasets))
