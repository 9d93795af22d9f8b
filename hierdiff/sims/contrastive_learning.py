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
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, results
from hierdiff._display import experiment_html, text_table, with_error
from hierdiff.checks import check_fields, checked, listed, natural, no_model, number, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import noise_name, noise_process
from hierdiff.plots import (
    GREEN,
    GUIDE,
    ORANGE,
    PALETTE,
    PURPLE,
    Figure,
    legend,
    panels,
    plt,
    shade,
    shared_legend,
)
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.rhm.density_evolution import population_dynamics
from hierdiff.theory.rhm.tree_pairs import tree_pair
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

LEARNERS = {
    "infonce": "InfoNCE", "hard": "InfoNCE, hard negatives", "counted": "InfoNCE, few negatives",
}  # fmt: skip
PAIRS = {"class": "leaves and class", "halves": "two halves", "leaves": "two leaves"}
"""Contrastive pairs of a tree."""
_ACCURACY = "zero-shot accuracy"


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
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_trees")

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
            seed=natural,
        )
        scenes = CaptionedScenes(self.values, self.fidelity)
        scenes._fits()
        most = min(scenes.n_captions, scenes.n_images)
        for name, value in (("widths", self.widths[-1]), ("negatives", self.negatives)):
            if value > most:
                raise InvalidParameter(f"{name} = {value} exceeds the {most} captions; give less")
        affordable(RHM(self.v, self.m, self.s, self.L), self.samples)

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
        return found

    def figure(self, datasets: Datasets) -> Mapping[str, Figure]:
        """Spectrum and accuracy against width; levels that contrastive pairs of trees reveal."""
        return {
            self.name: draw_scenes(self, datasets),
            f"{self.name}_trees": draw_trees(self, datasets[f"{self.name}_trees"]),
        }

    def summary(self, datasets: Datasets) -> Summary:
        """Accuracy of binding at every width, and the level that each pair reveals."""
        return Summary(table(self, datasets), claim(self, datasets), numbers(self, datasets))


def _binding(ds: xr.Dataset) -> str:
    """The task of exchanged values."""
    return str(ds.task.values[-1])


def _attribute(ds: xr.Dataset) -> str:
    return str(ds.task.values[0])


def table(one: ContrastiveLearning, datasets: Datasets) -> str:
    """A row per width, then what trees reveal without noise."""
    law = datasets[f"{one.name}_theory"]
    task, other = _binding(law), _attribute(law)
    names = ["theory", *LEARNERS]
    words = ["spectral", *LEARNERS.values()]
    rows = []
    for d in law.width.values:
        cells = []
        for name in names:
            at = datasets[f"{one.name}_{name}"].sel(width=d)
            both = (at[k].sel(task=task) for k in ("accuracy", "accuracy_error"))
            cells.append(f"{with_error(*both, digits=3)}, "
                         f"{float(at.accuracy.sel(task=other)):.3f}")  # fmt: skip
        rows.append([d, *cells])
    top = datasets[f"{one.name}_ceilings"]
    bayes = [f"{float(top.bayes.sel(task=x)):.3f}" for x in (task, other)]
    trees = datasets[f"{one.name}_trees"].isel(t=0)
    pairs = []
    for pair in trees.pair.values:
        row = trees.sel(pair=pair)
        cells = [with_error(a, b, digits=3)
                 for a, b in zip(row.revealed, row.revealed_error, strict=True)]  # fmt: skip
        pairs.append([pair, *cells])
    return "\n".join([
        f"{task} (binding), then {other}, by width d", text_table(["d", *words], rows), "",
        f"Bayes, and the denoising classifier: {', '.join(bayes)}", "",
        "share of a latent that is revealed without noise",
        text_table(["pair", *(f"level {k}" for k in range(len(pairs[0]) - 1))], pairs),
    ])  # fmt: skip


def _scores(one: ContrastiveLearning, datasets: Datasets) -> tuple[float, float]:
    """Largest z of drawn scenes and of the order parameter."""
    both = results.compare(datasets[f"{one.name}_theory"], datasets[one.name])
    z = np.abs(both.accuracy_z.values)
    trees = datasets[f"{one.name}_trees"]
    error = np.hypot(trees.square_error, trees.order_error).values
    gap = np.abs(trees.square - trees.order).values
    order = gap[error > 1e-6] / error[error > 1e-6]
    return float(z[np.isfinite(z)].max(initial=0.0)), float(order.max(initial=0.0))


def numbers(one: ContrastiveLearning, datasets: Datasets) -> dict[str, Any]:
    """The numbers of the table."""
    law, trees = datasets[f"{one.name}_theory"], datasets[f"{one.name}_trees"]
    z, top = _scores(one, datasets), datasets[f"{one.name}_ceilings"]
    found: dict[str, Any] = {
        "width": law.width.values.tolist(), "task": law.task.values.tolist(),
        "bayes": top.bayes.values.tolist(), "denoising": top.denoising.values.tolist(),
        "largest z of drawn scenes": z[0], "largest z of the order parameter": z[1],
        "parts": [[p.text, p.value, p.number] for p in one.world.parts()[:6]],
    }  # fmt: skip
    for name in ("theory", *LEARNERS):
        ds = datasets[f"{one.name}_{name}"]
        found[name] = [ds.accuracy.values.tolist(), ds.accuracy_error.values.tolist()]
    found["t"] = trees.t.values.tolist()
    for word in ("square", "square_error", "order", "revealed", "revealed_error"):
        found[word] = trees[word].values.tolist()
    return found


def claim(one: ContrastiveLearning, datasets: Datasets) -> str:
    """Width and negatives at which learners bind; what two halves reveal."""
    law, trees = datasets[f"{one.name}_theory"], datasets[f"{one.name}_trees"]
    task = _binding(law)
    row = law.accuracy.sel(task=task)
    blind = [int(d) for d, x in zip(law.width, row, strict=True) if abs(float(x) - 0.5) < 1e-6]
    first = int(law.width[0])
    hard = float(datasets[f"{one.name}_hard"].accuracy.sel(task=task, width=first))
    plain = float(datasets[f"{one.name}_infonce"].accuracy.sel(task=task, width=first))
    halves = trees.revealed.sel(pair=PAIRS["halves"]).isel(t=0).values
    z = _scores(one, datasets)
    bayes = float(datasets[f"{one.name}_ceilings"].bayes.sel(task=task))
    upto = f"nothing up to width {blind[-1]}" if blind else "at every width that was tried"
    return (
        f"the spectral learner binds {upto} and has {float(row[-1]):.3f} at width "
        f"{int(law.width[-1])} (Bayes {bayes:.3f}); InfoNCE of width "
        f"{first} has {plain:.3f}, with hard negatives {hard:.3f}; two halves of a tree reveal "
        f"{halves[1]:.2f} of the symbol at their top and {halves[0]:.2f} of the class; largest |z| "
        f"of drawn scenes {z[0]:.1f}, of the class and its order parameter {z[1]:.1f}"
    )


def draw_scenes(one: ContrastiveLearning, datasets: Datasets) -> Figure:
    """Spectrum by part; binding and attributes against width."""
    law, top = datasets[f"{one.name}_theory"], datasets[f"{one.name}_ceilings"]
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.8), layout="constrained")
    parts, begin = one.world.parts(), 1
    colours = {"binding": PURPLE, "together": GREEN, "pairs": ORANGE, "constant": "0.4"}
    shown: set[str] = set()
    for part in parts:
        word = next((w for w in colours if w in part.text), "attribute")
        label = {"pairs": "pairs of values", "together": "values together"}.get(word, word)
        axes[0].plot(
            np.arange(begin, begin + part.number), np.full(part.number, part.value), "o", ms=3,
            color=colours.get(word, PALETTE[0]), label=None if label in shown else label,
        )  # fmt: skip
        shown.add(label)
        begin += part.number
    axes[0].set(
        xlabel="number k", ylabel=r"singular value $\sigma_k$", xscale="log", ylim=(0, 1.05)
    )
    titles = (_binding(law), _attribute(law))
    for ax, task in zip(axes[1:], titles, strict=True):
        at = law.sel(task=task)
        ax.axhline(
            float(top.bayes.sel(task=task)),
            color="k",
            ls=":",
            lw=1,
            label="Bayes, denoising classifier",
        )
        ax.axhline(0.5, **GUIDE)
        ax.plot(at.width, at.accuracy, "k-", lw=1.2, label="spectral optimum, exact")
        drawn = datasets[one.name].sel(task=task)
        ax.errorbar(drawn.width, drawn.accuracy, drawn.accuracy_error, fmt="k.", ms=5,
                    label="the same on drawn scenes")  # fmt: skip
        for i, (name, text) in enumerate(LEARNERS.items()):
            ds = datasets[f"{one.name}_{name}"].sel(task=task)
            text = f"InfoNCE, {one.negatives} negatives" if name == "counted" else text
            ax.errorbar(ds.width, ds.accuracy, ds.accuracy_error, fmt="o-", ms=3.5, lw=0.8,
                        capsize=2, color=PALETTE[(0, 3, 4)[i]], label=text)  # fmt: skip
        ax.set(xlabel="width d of the embeddings", ylabel=f"accuracy, {task}", ylim=(0.42, 0.95))
    first = 1 + sum(p.number for p in itertools.takewhile(lambda p: "binding" not in p.text, parts))
    known = [law.accuracy.sel(task=task).values for task in titles]
    binds = [f"d = {int(d)}" for d, a in zip(law.width.values, known[0], strict=True) if a > 0.51]
    best = [float(top.bayes.sel(task=task)) for task in titles]
    near = [f"d = {int(d)}" for d, a in zip(law.width.values, known[1], strict=True)
            if a > 0.5 + 0.9 * (best[1] - 0.5)]  # fmt: skip
    panels(axes, f"spectrum: binding from number {first}",
           f"{titles[0]}: above 1/2 from {(binds or ['no width'])[0]} (spectral)",
           f"{titles[1]}: 9/10 of Bayes from {(near or ['no width'])[0]} (spectral)")  # fmt: skip
    legend(axes[0])
    shared_legend(figure, axes[1])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def draw_trees(one: ContrastiveLearning, trees: xr.Dataset) -> Figure:
    """The class by its spectrum; levels revealed by each pair, against noise."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.5), layout="constrained")
    axes[0].plot(trees.t, trees.order, "k-", lw=1, label="density evolution: order parameter")
    axes[0].errorbar(trees.t, trees.square, trees.square_error, fmt="o", ms=4, color=PALETTE[0],
                     label=r"spectrum: mean $\sigma_k^2$")  # fmt: skip
    axes[0].set(ylabel="order parameter of the class", ylim=(-0.02, 1.05))
    for ax, pair in zip(axes[1:], trees.pair.values, strict=True):
        for level in trees.level.values:
            at = trees.sel(pair=pair, level=level)
            colour = shade(level / max(one.L, 1))
            ax.errorbar(at.t, at.revealed, at.revealed_error, fmt="o-", ms=3, lw=1, color=colour,
                        label=f"level {level}")  # fmt: skip
        ax.set(ylabel=r"revealed, $R^2$", ylim=(-0.02, 1.05))
    for ax in axes:
        ax.set_xlabel(str(trees.t.attrs["long_name"]))
        ax.spines[["top", "right"]].set_visible(False)
    words = []
    for pair in map(str, trees.pair.values):
        clean = trees.revealed.sel(pair=pair).isel(t=0)
        level = int(np.argmax(clean.values))
        words.append(f"{pair}: level {int(trees.level[level])}, "
                     f"$R^2$ = {float(clean[level]):.2f}")  # fmt: skip
    far = float(np.abs(trees.square - trees.order).max())
    panels(axes, f"leaves and class: both agree to {far:.3f}", *words)
    shared_legend(figure, axes[0], axes[1])
    return figure
