r"""Dual encoders trained on scenes and captions, beside the optimum of their loss.

Two small networks embed an image and a caption of :mod:`hierdiff.theory.zero_shot.captioned_scenes`
in d dimensions.  A batch of B scenes gives every image its own caption and B - 1 others,

.. math:: -\frac1B \sum_i \log \frac{e^{f(x_i)\cdot g(y_i)}}{\sum_j e^{f(x_i)\cdot g(y_j)}} ,

and with hard negatives half of the weight of the sum is on the caption of the same scene whose
objects have exchanged a value, as in eq. (2) of :mod:`hierdiff.theory.zero_shot.contrastive`.
Accuracy is exact for the network that was trained: all images and captions are embedded, and the
answers are averaged with the law of the scenes.  The prediction is the minimum of the loss over
tables of embeddings.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    number,
    one_of,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.plots import GUIDE, PALETTE, Figure, panels, plt, shared_legend
from hierdiff.seeds import stream
from hierdiff.sims.contrastive_learning import one_learner
from hierdiff.sims.metrics.estimators import standard_error, student_error
from hierdiff.theory.zero_shot.captioned_scenes import CaptionedScenes
from hierdiff.theory.zero_shot.contrastive import zero_shot_accuracy
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import clear_checkpoints
from hierdiff.validation.training import TrainConfig, train

__all__ = ["DualEncoder", "NetworkContrastive"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]

KINDS = ("in the batch", "hard")
"""Negatives of a loss."""


class DualEncoder(nn.Module):
    """Two perceptrons with one hidden layer each, for images and captions.

    Parameters
    ----------
    values : tuple of int
        Values of the attributes; an image or caption is the one-hot values of two objects.
    width : int
        d.
    hidden : int
        Units of the hidden layers.
    """

    def __init__(self, values: tuple[int, ...], width: int, hidden: int) -> None:
        super().__init__()
        inputs = 2 * sum(values)
        self.image = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, width)
        )  # fmt: skip
        self.caption = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, width)
        )  # fmt: skip

    def forward(self, images: Tensor, captions: Tensor) -> Tensor:
        """Scores [images, captions]."""
        scores: Tensor = self.image(images) @ self.caption(captions).T
        return scores

    def pairs(self, images: Tensor, captions: Tensor) -> Tensor:
        """Scores [n] of each image and its own caption."""
        scores: Tensor = (self.image(images) * self.caption(captions)).sum(dim=1)
        return scores


def one_hot(objects: Array, values: tuple[int, ...]) -> Tensor:
    """Objects [n, object, attribute] as [n, 2 x sum of values]."""
    parts = [np.eye(v)[objects[:, :, i]] for i, v in enumerate(values)]
    flat = np.concatenate(parts, axis=2).reshape(len(objects), -1)
    return torch.from_numpy(flat).float()


@dataclass(frozen=True)
class NetworkContrastive:
    """Accuracy of trained dual encoders against width, with and without hard negatives.

    Notes
    -----
    Validity: errors over networks, Student's.
    """

    name: ClassVar[str] = "network_contrastive"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory")

    values: tuple[int, ...] = (5, 5)
    """Values of every attribute of an object."""
    fidelity: tuple[float, ...] = (0.8, 0.8)
    """Share of each attribute that an image keeps."""
    widths: tuple[int, ...] = (2, 8)
    """Widths of the embeddings."""
    hidden: int = 128
    """Units of the hidden layers."""
    batch: int = 256
    """Scenes per step."""
    steps: int = 800
    """Training steps."""
    networks: int = 3
    """Networks per width."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        size = partial(whole, low=1, high=10**7)
        check_fields(
            self,
            values=partial(listed, rule=partial(whole, low=2, high=100), least=2, distinct=False),
            fidelity=partial(listed, rule=partial(number, above=0, high=1), distinct=False),
            widths=partial(listed, rule=size, rising=True),
            hidden=size, steps=size, batch=partial(whole, low=2, high=10**5),
            networks=partial(whole, low=2, high=1000), seed=natural,
        )  # fmt: skip
        scenes = self.scenes
        scenes._fits()
        if self.widths[-1] > scenes.n_captions:
            raise InvalidParameter(
                f"widths = {self.widths} exceed the {scenes.n_captions} captions; give less"
            )

    @property
    def scenes(self) -> CaptionedScenes:
        """The scenes."""
        return CaptionedScenes(self.values, self.fidelity)

    @results.tracked
    @checked
    def predict(self, law: Literal["minimum"] = "minimum") -> xr.Dataset:
        """Accuracy at the minimum of InfoNCE over tables of embeddings.

        Parameters
        ----------
        law : {"minimum"}

        Returns
        -------
        xarray.Dataset
            ``accuracy`` and its error on (negatives, task, width), over three starts.

        Notes
        -----
        Validity: infinitely many negatives; half of them are hard where there are hard ones.
        """
        one_of("law", law, ("minimum",))
        kinds: tuple[Literal["infonce", "hard"], ...] = ("infonce", "hard")
        found = np.array([
            [[one_learner(self.values, self.fidelity, kind, width, 0.5, 0, self.seed,
                          start)["accuracy"]
              for width in self.widths] for kind in kinds] for start in range(3)
        ])  # fmt: skip
        return self._labelled(found.swapaxes(2, 3), standard_error, "theory")

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
        """Accuracy of trained dual encoders, exact for each.

        Parameters
        ----------
        model, data
            Refused: a denoiser has no embeddings of captions.
        folder : path-like, optional
            Where checkpoints are kept.
        device : str
            Where networks are trained.

        Returns
        -------
        xarray.Dataset
            ``accuracy`` and its error on (negatives, task, width).

        Raises
        ------
        InvalidParameter
            If a model is given.

        Notes
        -----
        Validity: errors over networks.
        """
        no_model(
            self.name, model, data,
            "it trains pairs of encoders; a denoiser has no embeddings of captions",
        )  # fmt: skip
        place = None if folder is None else Path(folder)
        shape = (self.networks, len(KINDS), len(self.widths), -1)
        rows = [
            self._trained(width, kind, k, place, device)
            for k in range(self.networks) for kind in KINDS for width in self.widths
        ]  # fmt: skip
        found = np.reshape(rows, shape).swapaxes(2, 3)
        return self._labelled(found, student_error, "network")

    def _trained(
        self, width: int, kind: str, k: int, folder: Path | None, device: str
    ) -> list[float]:
        """Accuracies of one pair of encoders."""
        scenes = self.scenes
        captions = scenes.captions
        swap = list(scenes.tasks.values())[-1][:, 0]
        torch.manual_seed(1000 * self.seed + 10 * k + KINDS.index(kind))
        network = DualEncoder(self.values, width, self.hidden)

        def loss(module: Any, step: int) -> Tensor:
            rng = stream(self.seed, "scenes", kind, width, k, step)
            which = rng.integers(len(captions), size=self.batch)
            seen = captions[which].copy()
            for i, (v, kept) in enumerate(zip(self.values, self.fidelity, strict=True)):
                lost = rng.random((self.batch, 2)) >= kept
                seen[:, :, i] = np.where(lost, rng.integers(v, size=lost.shape), seen[:, :, i])
            seen = np.take_along_axis(
                seen, np.argsort(self._looks(seen), axis=1)[..., None], axis=1
            )  # fmt: skip
            where = next(module.parameters()).device
            images = one_hot(seen, self.values).to(where)
            scores = module(images, one_hot(captions[which], self.values).to(where))
            rest = scores.logsumexp(dim=1) - math.log(self.batch)
            if kind == "hard":  # as much weight on the exchanged caption as on all of the batch
                other = module.pairs(images, one_hot(captions[swap[which]], self.values).to(where))
                rest = torch.logaddexp(rest, other) - math.log(2)
            mean: Tensor = (rest - scores.diagonal()).mean()
            return mean

        plan = TrainConfig(
            steps=self.steps, every=self.steps, warmup=max(1, self.steps // 10), average=0.99,
            device=device,
        )  # fmt: skip
        mark = f"{kind.split()[0]}-{width}-{k}"
        done = train(
            network, loss, plan, folder=None if folder is None else folder / mark, name=mark
        )
        with torch.no_grad():
            where = next(done.network.parameters()).device
            scores = done.network(one_hot(scenes.images, self.values).to(where),
                                  one_hot(captions, self.values).to(where))  # fmt: skip
        found = scores.cpu().numpy().astype(float)
        return [zero_shot_accuracy(scenes.joint, found, w) for w in scenes.tasks.values()]

    def _looks(self, objects: Array) -> Array:
        """Numbers of what objects look like, by which images order them."""
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(objects, -1, 0)), self.values))

    def _labelled(self, found: Array, error: Any, source: str) -> xr.Dataset:
        """Accuracy [network, negatives, task, width] as a dataset."""
        plane = ("negatives", "task", "width")
        variables = {
            "accuracy": (plane, found.mean(axis=0), "zero-shot accuracy"),
            "accuracy_error": (plane, error(found), "its standard error"),
        }
        coords = {
            "negatives": (("negatives",), list(KINDS), "negatives of the loss"),
            "task": (("task",), list(self.scenes.tasks), "which captions are compared"),
            "width": (("width",), list(self.widths), "width d of the embeddings"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The minimum of the loss and the networks."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "in-*", "hard-*")
        found = self.measure(model, data, folder=run.folder, device=run.device)
        return {f"{self.name}_theory": self.predict(), self.name: found}

    def figure(self, datasets: Datasets) -> Figure:
        """Accuracy of binding and of an attribute against width."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for ax, task in zip(axes, (ds.task.values[-1], ds.task.values[0]), strict=True):
            for kind, colour in zip(KINDS, (PALETTE[0], PALETTE[3]), strict=True):
                a, b = (x.sel(negatives=kind, task=task) for x in (law, ds))
                # no line: nothing was computed between the widths
                ax.errorbar(a.width, a.accuracy, a.accuracy_error, fmt="_", ms=16, color=colour,
                            label=f"minimum, negatives {kind}")  # fmt: skip
                ax.errorbar(b.width, b.accuracy, b.accuracy_error, fmt="o", ms=5, mfc="none",
                            capsize=2, color=colour,
                            label=f"networks, negatives {kind}")  # fmt: skip
            ax.axhline(0.5, **GUIDE)
            ax.set(
                xlabel="width d of the embeddings", ylabel=f"accuracy, {task}", ylim=(0.45, 0.95),
                xticks=self.widths,
            )  # fmt: skip
            ax.spines[["top", "right"]].set_visible(False)
        d, words = self.widths[0], []
        for task in (ds.task.values[-1], ds.task.values[0]):
            at = ds.accuracy.sel(task=task, width=d)
            cells = ", ".join(f"{float(at.sel(negatives=k)):.2f} ({k})" for k in KINDS)
            words.append(f"{task}, d = {d}: {cells}")
        panels(axes, *words)
        shared_legend(figure, axes[0])
        return figure

    def summary(self, datasets: Datasets) -> Summary:
        """Accuracy of binding at every width, networks and minimum."""
        law, ds = datasets[f"{self.name}_theory"], datasets[self.name]
        task = str(ds.task.values[-1])
        rows = []
        for d in self.widths:
            cells = []
            for kind in KINDS:
                a, b = (x.sel(negatives=kind, task=task, width=d) for x in (law, ds))
                cells.append(f"{plus_minus(b.accuracy, b.accuracy_error)}, "
                             f"{float(a.accuracy):.3f}")  # fmt: skip
            rows.append([d, *cells])
        table = f"{task}: networks, and the minimum of the loss\n{text_table(['d', *KINDS], rows)}"
        at = ds.sel(task=task).isel(width=0)
        words = [f"{float(at.accuracy.sel(negatives=k)):.3f} ± "
                 f"{float(at.accuracy_error.sel(negatives=k)):.3f}" for k in KINDS]  # fmt: skip
        gap = float(np.abs(ds.accuracy - law.accuracy).max())
        claim = (
            f"dual encoders of width {self.widths[0]} bind in {words[0]} of scenes with negatives "
            f"of the batch and in {words[1]} with hard ones; networks differ from the minimum of "
            f"the loss by at most {gap:.3f}; {self.networks} networks per width"
        )
        values = {
            "width": list(self.widths), "task": ds.task.values.tolist(), "negatives": list(KINDS),
            **{name: [x.accuracy.values.tolist(), x.accuracy_error.values.tolist()]
               for name, x in (("network", ds), ("theory", law))},
        }  # fmt: skip
        return Summary(table, claim, values)
