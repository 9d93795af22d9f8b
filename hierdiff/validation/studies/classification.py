"""The network study of classification: errors of a network that is told the class, as a classifier.

==============  =================================================================================
``--model``     what is classified
==============  =================================================================================
rhm             soft leaves of a random grammar by a network trained on it, beside the exact
                denoiser on the same samples and Bayes' ceiling
digits          8 x 8 digits that the network has not seen, beside a linear and a convolutional
                classifier trained on the same images
dit-xl-2-256    ImageNet folders (``--images``), by the published grid of times with fixed noise;
                with ``--conflicts`` images whose shape and texture conflict
==============  =================================================================================
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._gaussian import GaussianNoise
from hierdiff.checks import check_fields
from hierdiff.data.digits import digits
from hierdiff.errors import InvalidParameter
from hierdiff.plots.classification import accuracy_table
from hierdiff.sims._classification_summary import summarise
from hierdiff.sims._classification_tasks import draw, given_task
from hierdiff.sims._error_pools import DenoiserErrors, credit
from hierdiff.sims.classification import Classification
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.zero_shot.rhm_classes import SoftLeaves
from hierdiff.theory.zero_shot.weightings import snr_at
from hierdiff.validation.figures.classification import network_classification
from hierdiff.validation.recipes import train_image_network, train_tree_unet
from hierdiff.validation.studies._flags import check_numbers, forget, known_model
from hierdiff.validation.studies._imagenet_classes import classify_folder
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.studies._told_networks import (
    ImageClasses,
    SoftTree,
    conv_accuracy,
    linear_accuracy,
)
from hierdiff.validation.training import Plan

__all__ = ["NetworkClassification"]

Array: TypeAlias = NDArray[Any]

_REPEATS = 4


@dataclass(frozen=True)
class NetworkClassification:
    """A network that is told the class as a classifier, by its denoising errors.

    Trains a network here (``rhm``, ``digits``) or takes a published one (``dit-xl-2-256``), and
    scores every class with the same noise.  Writes classification.nc and classification.png, and
    for ``rhm`` classification_exact.nc.
    """

    model: str = "rhm"
    """rhm, digits, or a conditional network of ``hierdiff models``."""
    images: Path | None = None
    """Folder of images, for a network of the catalogue."""
    conflicts: bool = False
    """The images have conflicting cues (shapeN-textureM.png), in 16 categories of ImageNet."""
    categories: Path | None = None
    """JSON of the 16 categories' class numbers, for other classes than ImageNet's."""
    low_pass: int = 1
    """Average the images over squares of so many pixels on a side first: shape without texture."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    out: Path = Path("out/networks")
    """Folder for results, figure, checkpoints and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, mps."""
    resume: bool = True
    """Go on from the checkpoint and the finished tasks of the same command."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""
    seed: int = 0
    """Seed of everything random."""
    v: int = 8
    """Symbols per level, and classes (rhm)."""
    m: int = 3
    """Rules per symbol (rhm)."""
    s: int = 2
    """Symbols that a rule writes (rhm)."""
    L: int = 3
    """Depth of the hierarchy (rhm)."""
    tau: float = 0.42
    """Softness of the leaves (rhm)."""
    steps: int | None = None
    """Training steps; default 8,000 (rhm) or 800 (digits)."""
    width: int = 48
    """Features per node of the network (rhm)."""
    label_share: float = 0.9
    """Share of the training data whose class the network is told."""
    data: int | None = None
    """Data to classify; default 400 (rhm), 150 (digits), or all images of a folder."""
    budgets: tuple[int, ...] | None = None
    """Samples per datum, noise shared by the classes; default 1, 3, 10, 30, 100, digits to 50."""
    own_budgets: tuple[int, ...] = (1, 10)
    """Samples per datum and class, every class with noise of its own."""
    levels: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
    """Times at which a single sample is tried."""
    keep: tuple[int, ...] = (3, 1)
    """Classes kept after each stage of the staged elimination."""
    stages: tuple[int, ...] | None = None
    """Samples at the end of each stage, cumulative; default the last two budgets."""

    def __post_init__(self) -> None:
        check_fields(self)
        known_model(self.model, "rhm", "digits")
        check_numbers(self)
        if self.model in ("rhm", "digits"):
            _ = self.experiment
            if not 0 < self.label_share <= 1:
                raise InvalidParameter(
                    f"label_share = {self.label_share} must lie in (0, 1]: the network is told"
                )
        elif self.images is None:
            raise InvalidParameter(
                f"model {self.model} needs images; give --images DIR, or use rhm or digits"
            )

    @property
    def experiment(self) -> Classification:
        """The same experiment on exact denoisers."""
        image = self.model == "digits"
        budgets = self.budgets or ((1, 3, 10, 25, 50) if image else (1, 3, 10, 30, 100))
        size = {"v": 10, "m": 1, "s": 1, "L": 1} if image else {
            k: getattr(self, k) for k in ("v", "m", "s", "L")
        }  # fmt: skip
        return Classification(
            **cast(Any, size), tau=self.tau, data=self.data or (150 if image else 400),
            budgets=budgets, own_budgets=self.own_budgets, levels=self.levels, repeats=_REPEATS,
            buckets=min(10, budgets[-1]), min_scores=max(2, min(20, budgets[-1])), keep=self.keep,
            stages=self.stages or budgets[-len(self.keep) :], seed=self.seed, grammars=2,
        )  # fmt: skip

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run the study; returns the network's results, and the exact denoiser's where known."""
        folder = results.run_folder(self, "classification", "classification_exact")
        if not self.resume:
            forget(folder, "classification-*")
        self._tasks(folder, self.resume)
        run = {"rhm": self._rhm, "digits": self._digits}.get(self.model, self._published)
        found, said, lines = run(folder)
        for name, ds in zip(("classification", "classification_exact"), found, strict=False):
            results.save(ds, folder / f"{name}.nc")
        figure = network_classification(*found)
        figure.savefig(folder / "classification.png", dpi=160)
        plt.close(figure)
        print("\n".join(lines))
        print(f"wrote {folder / 'classification.nc'} and {folder / 'classification.png'}")
        if self.summary:
            write_summary(self.summary, said, said["closing"], self.device)
        print(said["closing"])
        return found

    def _rhm(self, folder: Path) -> tuple[tuple[xr.Dataset, ...], dict[str, Any], list[str]]:
        settings = self.experiment.settings
        world, x0, labels, _ = draw(settings, 0)
        plan = self._plan(self.steps or 8000)
        model, _ = train_tree_unet(
            world.grammar, GaussianNoise(self.v), plan, width=self.width, batch=128,
            focus=(0.2, 0.8), label_share=self.label_share, seed=self.seed,
            folder=folder / self._key("v", "m", "s", "L", "width", "label_share", "seed"),
        )  # fmt: skip
        both = [self._scored(w, x0, labels, folder) for w in (SoftTree(model, world), world)]
        network, exact = (
            self._labelled(f, source) for f, source in zip(both, ("network", "simulation"),
                                                           strict=True)
        )  # fmt: skip
        exact = exact.assign(_information(world, x0, labels, self.levels, self.seed))
        said = _claims(network) | _paired(settings.weightings, both)
        return (network, exact), said | {"closing": _closing_rhm(said)}, _lines(network, exact)

    def _digits(self, folder: Path) -> tuple[tuple[xr.Dataset, ...], dict[str, Any], list[str]]:
        training, rest = digits("train", seed=self.seed), digits("test", seed=self.seed)
        settings = self.experiment.settings
        test = rest[_even(rest.labels)[: settings.data]]
        plan = self._plan(self.steps or 800)
        model, _ = train_image_network(
            training, plan, batch=64, label_share=self.label_share, seed=self.seed,
            folder=folder / self._key("label_share", "seed"),
        )  # fmt: skip
        world = DenoiserErrors(ImageClasses(model, 10))
        found = self._scored(world, test.images.astype(float), test.labels, folder)
        for name, right in (
            ("linear", linear_accuracy(training, test)),
            ("conv", conv_accuracy(training, test, 400, self.seed)),
        ):
            found[name] = right
        ds = self._labelled(found, "network")
        for name in ("linear", "conv"):
            ds[name] = ((), found[name].mean(), {"long_name": f"accuracy, {name} classifier"})
            error = found[name].std(ddof=1) / np.sqrt(len(found[name]))
            ds[f"{name}_error"] = ((), error, {"long_name": "standard error"})
        said = _claims(ds) | {
            k: [float(ds[k]), float(ds[f"{k}_error"])] for k in ("linear", "conv")
        }
        gap = found["accuracy"][:, -1] - found["conv"]
        said["minus conv"] = {
            w: _mean(row) for w, row in zip(settings.weightings, gap, strict=True)
        }
        return (ds,), said | {"closing": _closing_digits(said)}, _lines(ds)

    def _published(self, folder: Path) -> tuple[tuple[xr.Dataset, ...], dict[str, Any], list[str]]:
        given = {k: v for k, v in asdict(self).items() if k not in ("out", "summary", "resume")}
        ds, said, lines = classify_folder(
            self.model, cast(Path, self.images), self._tasks(folder), conflicts=self.conflicts,
            categories=self.categories, low_pass=self.low_pass,
            accept_licence=self.accept_licence, device=self.device, limit=self.data,
            keep=self.keep if self.stages else (1,), stages=self.stages, parameters=given,
        )  # fmt: skip
        return (ds,), said, lines

    @staticmethod
    def _tasks(folder: Path, resume: bool = True) -> Path:
        return results.task_folder(folder, "network_classification", resume)

    def _plan(self, steps: int) -> Plan:
        return Plan(steps=steps, warmup=min(100, steps), every=max(min(500, steps // 4), 1),
                    device=self.device)  # fmt: skip

    def _key(self, *names: str) -> str:
        """Folder of the checkpoint: no other network's."""
        fields = [f"{name}{getattr(self, name)}" for name in names]
        return "-".join(["classification", self.model, *fields])

    def _scored(self, world: Any, x0: Array, labels: Array, folder: Path) -> dict[str, Array]:
        """Credit of every datum, for weights, budgets and times; kept in the folder."""
        e = self.experiment
        parameters = {"version": 1, "question": "network classification", **asdict(e)}
        tasks = [Task(given_task, (e.settings, world, x0, labels), parameters)]
        return run_tasks(tasks, self._tasks(folder), workers=1, name="classification")[0]

    def _labelled(self, found: dict[str, Array], source: str) -> xr.Dataset:
        fields = asdict(self) | {"data": self.experiment.data}
        kept = {k: v for k, v in found.items() if k not in ("linear", "conv")}
        return summarise(self.experiment.settings, fields, [kept], source, "")


def _even(labels: Array) -> Array:
    """Rows in an order that takes all classes in turn."""
    rank = np.empty(len(labels), np.intp)
    for k in np.unique(labels):
        rows = np.flatnonzero(labels == k)
        rank[rows] = np.arange(len(rows))
    return np.lexsort((labels, rank))


def _information(
    world: SoftLeaves, x0: Array, labels: Array, levels: tuple[float, ...], seed: int
) -> dict[str, Any]:
    """Accuracy of the exact posterior of the class given one noisy datum, per time."""
    hits = []
    for i, t in enumerate(levels):
        noise = np.random.default_rng([seed, 7, i]).standard_normal((_REPEATS, *x0.shape))
        snr = np.full(len(x0), float(snr_at(t)))
        odds = [-world.noisy_log_odds(x0, eps, snr) for eps in noise]
        hits.append(np.mean([credit(o, labels) for o in odds], axis=0))
    values = np.array(hits)
    text = "accuracy of the exact posterior p(c | x_t)"
    error = values.std(axis=1, ddof=1) / np.sqrt(len(x0))
    return {
        "information": (("level",), values.mean(axis=1), {"long_name": text}),
        "information_error": (("level",), error, {"long_name": f"standard error of: {text}"}),
    }


def _mean(values: Array) -> list[float]:
    """Mean and standard error over data."""
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))]


def _paired(weightings: tuple[str, ...], both: list[dict[str, Array]]) -> dict[str, Any]:
    """Network minus exact denoiser and minus Bayes' answer, on the same data and samples."""
    network, exact = both
    last = network["accuracy"][:, -1]
    return {
        "minus exact": {
            w: _mean(a - b)
            for w, a, b in zip(weightings, last, exact["accuracy"][:, -1], strict=True)
        },
        "minus bayes": {
            w: _mean(a - network["bayes_hit"]) for w, a in zip(weightings, last, strict=True)
        },
        "single minus exact": {
            "mean": _mean((network["single"] - exact["single"]).mean(axis=0)),
        },
    }  # fmt: skip


def _claims(ds: xr.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data": int(json.loads(ds.attrs["parameters"])["data"]),
        "budget": int(ds.budget[-1]),
        "accuracy": {
            str(w): [float(ds.accuracy.sel(weighting=w)[-1]),
                     float(ds.accuracy_error.sel(weighting=w)[-1])]
            for w in ds.weighting.values
        },
        "own budget": int(ds.own_budget[-1]),
        "best time": float(ds.level[int(ds.single.values.argmax())]),
    }  # fmt: skip
    for name in ("bayes", "bayes_hit", "pruned", "pruned_calls", "calls_right", "calls_wrong",
                 "staged", "staged_calls"):  # fmt: skip
        if name in ds:
            found[name] = [float(ds[name]), float(ds[f"{name}_error"])]
    b = found["own budget"]
    for name, dim in (("accuracy", "budget"), ("unshared", "own_budget")):
        if b in ds[dim].values:
            one = ds.sel({"weighting": "exp", dim: b})
            found[f"exp at {b}, {name}"] = [float(one[name]), float(one[f"{name}_error"])]
    return found


def _calls(said: dict[str, Any]) -> str:
    if "calls_right" not in said or "calls_wrong" not in said:
        return "too few wrong answers to compare calls"
    (right, a), (wrong, b) = said["calls_right"], said["calls_wrong"]
    z = (wrong - right) / max(float(np.hypot(a, b)), 1e-12)
    return (
        f"calls per class {right:.0f} ± {a:.0f} when right, {wrong:.0f} ± {b:.0f} when wrong "
        f"(z = {z:.1f})"
    )


def _closing_rhm(said: dict[str, Any]) -> str:
    words = []
    for w in ("vdm", "exp"):
        (a, e), (d, de) = said["accuracy"][w], said["minus exact"][w]
        words.append(f"{w} {a:.3f} ± {e:.3f} (network - exact {d:+.3f} ± {de:.3f}, "
                     f"z = {d / max(de, 1e-12):.1f})")  # fmt: skip
    gap, error = said["minus bayes"]["vdm"]
    return (
        f"Bayes {said['bayes'][0]:.3f} ± {said['bayes'][1]:.3f}; network at N = {said['budget']}: "
        f"{', '.join(words)}; vdm - Bayes {gap:+.3f} ± {error:.3f} "
        f"(z = {gap / max(error, 1e-12):.1f}); {_calls(said)}"
    )


def _closing_digits(said: dict[str, Any]) -> str:
    # one weight, chosen before the result: the published heuristic
    (a, e), (d, de) = said["accuracy"]["exp"], said["minus conv"]["exp"]
    return (
        f"zero-shot {a:.3f} ± {e:.3f} (exp, N = {said['budget']}); linear classifier "
        f"{said['linear'][0]:.3f} ± {said['linear'][1]:.3f}, convolutional "
        f"{said['conv'][0]:.3f} ± {said['conv'][1]:.3f}; zero-shot - convolutional {d:+.3f} ± "
        f"{de:.3f} (z = {d / max(de, 1e-12):.1f}); {_calls(said)}"
    )


def _lines(network: xr.Dataset, exact: xr.Dataset | None = None) -> list[str]:
    """Accuracy per weight and budget; the exact denoiser's in brackets."""
    return [accuracy_table(exact, network)]
