"""Networks on photographs of clothing, trained once for all questions that are asked of them.

==============  =================================================================================
network         what it is trained on
==============  =================================================================================
``network``     a conditional U-Net on all images, or on the first N of a random order; in a share
                of the steps it is given the class, so that it also denoises without
``classifier``  a convolutional network on the same number of images, all drawn from the whole
                training set; what it says of an image is read as its class
==============  =================================================================================

Number k has weights, batches and training images of its own, so that errors are taken over k.
Checkpoints are kept in a folder, and a second call goes on from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hierdiff.checks import check_fields, checked, count, natural
from hierdiff.data.digits import LabelledImages
from hierdiff.data.fashion import FASHION_CLASSES, family_of, fashion
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.validation.adapter import NetworkModel, Pooling
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.execution import Execution
from hierdiff.validation.experiments.own_images import even_rows
from hierdiff.validation.recipes import train_image_network
from hierdiff.validation.reference_layers import ReferenceClassifier, train_classifier
from hierdiff.validation.training import TrainConfig

__all__ = ["CLOTHING_LAYERS", "reading_steps"]

Array: TypeAlias = NDArray[Any]

CLOTHING_LAYERS = (
    "input_blocks.1", "input_blocks.3", "middle_block", "output_blocks.0", "output_blocks.1",
    "output_blocks.3",
)  # fmt: skip
"""Blocks of the U-Net from the pixels to the estimate, two at each resolution and way."""
_READINGS = 9
_MADE = 8  # images of every class at a reading of the order, and as many without a class


@dataclass(frozen=True)
class ClothingSizes:
    """Sizes of the networks and of their training, the same for every one of them."""

    size: int = 14
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 1)
    batch: int = 32
    steps: int = 600
    label_share: float = 0.6
    classifier_width: int = 32
    num_steps: int = 50
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, seed=natural)


@checked(steps=count)
def reading_steps(steps: int) -> tuple[int, ...]:
    """Training steps at which the order of classes is read: logarithmic, the last one included.

    Examples
    --------
    >>> reading_steps(1500)
    (60, 90, 135, 195, 300, 450, 675, 1005, 1500)
    """
    every = _every(steps)
    last = steps // every
    # before a twenty-fifth of the steps the images are noise
    marks = np.geomspace(max(last / 25, 1), last, _READINGS).round()
    return tuple(int(k) * every for k in np.unique(marks))


def _every(steps: int) -> int:
    """Steps between checkpoints, a hundred of them."""
    return max(steps // 100, 1)


@dataclass(eq=False)
class ClothingNetworks:
    """All networks of a study, trained when they are first asked for.

    Parameters
    ----------
    sizes : ClothingSizes
    folder : pathlib.Path, optional
        Where checkpoints are kept.
    device : str

    Raises
    ------
    InvalidParameter
        If Fashion-MNIST is not on this machine.

    Notes
    -----
    Validity: the same weights for the same sizes on one device; a class that is read is the
    classifier's opinion, right for about nine of ten test images.
    """

    sizes: ClothingSizes
    folder: Path | None = None
    device: str = "cpu"
    _kept: dict[Any, Any] = field(default_factory=dict)

    def fingerprint(self) -> ClothingSizes:
        """What finished tasks depend on: the sizes, and neither the folder nor what was trained."""
        return self.sizes

    def images(self, split: str) -> LabelledImages:
        """Training or test images, the classes in turn."""
        if split not in self._kept:
            found = fashion(split, size=self.sizes.size)
            self._kept[split] = found[even_rows(found.labels)]
        return cast(LabelledImages, self._kept[split])

    def training_rows(self, n: int, k: int) -> Array:
        """Rows of the images on which network k is trained: the first n of its own order."""
        total = len(self.images("train"))
        order: Array = stream(self.sizes.seed, "clothing order", k).permutation(total)
        return order[: n or total]

    def classifier(self, k: int) -> ReferenceClassifier:
        """Classifier number k."""
        key = "classifier", k
        if key not in self._kept:
            s = self.sizes
            plan = TrainConfig(
                steps=s.steps, every=s.steps, warmup=min(50, s.steps), rate=2e-3, average=0.98,
                device=self.device,
            )  # fmt: skip
            self._kept[key], _ = train_classifier(
                self.images("train"), plan, width=s.classifier_width, batch=s.batch,
                seed=1000 * s.seed + k, folder=self._place("classifier", s.classifier_width, k),
            )  # fmt: skip
        return cast(ReferenceClassifier, self._kept[key])

    def network(self, k: int, n: int = 0) -> NetworkModel:
        """Network number k on n training images, or on all of them (0)."""
        return self._network(k, n)[0]

    def order(self, k: int) -> dict[str, Array]:
        """What network k on all images makes along its training: readings [step, class].

        ``class_right`` and ``family_right`` are shares of images that the classifier reads as the
        class that was asked for, or as one of its family; ``found`` are shares of classes among
        images that were made without a class.
        """
        history = [row for row in self._network(k, 0)[1] if "class 0" in row]
        return {
            "step": np.array([row["step"] for row in history]),
            **{
                name: np.array([[row[f"{word} {c}"] for c in range(len(FASHION_CLASSES))]
                                for row in history])
                for name, word in (("class_right", "class"), ("family_right", "family"),
                                   ("found", "found"))
            },
        }  # fmt: skip

    def _network(self, k: int, n: int) -> tuple[NetworkModel, tuple[dict[str, float], ...]]:
        key = "network", k, n
        if key not in self._kept:
            s = self.sizes
            words = (s.channels, "".join(map(str, s.multipliers)), s.batch, f"{s.label_share:g}")
            place = self._place("network", *words, n, k)
            plan = TrainConfig(
                steps=s.steps, every=s.steps if n else _every(s.steps), warmup=min(50, s.steps),
                rate=2e-3, average=0.995, device=self.device, bfloat16=s.bfloat16,
            )  # fmt: skip
            model, done = train_image_network(
                self.images("train")[self.training_rows(n, k)], plan, channels=s.channels,
                multipliers=s.multipliers, batch=s.batch, label_share=s.label_share,
                num_steps=s.num_steps, seed=1000 * s.seed + k, folder=place,
                evaluate=None if n else self._reading(k, _done(place)),
            )  # fmt: skip
            layers: dict[str, Pooling] = dict.fromkeys(CLOTHING_LAYERS, "space")
            self._kept[key] = replace(model, layers=layers), done.history
        return cast("tuple[NetworkModel, tuple[dict[str, float], ...]]", self._kept[key])

    def _reading(self, k: int, done: int) -> Callable[[nn.Module], dict[str, float]]:
        """Reads what a network makes, after as many evaluations as a run before has done."""
        classifier, every = self.classifier(k), _every(self.sizes.steps)
        wanted, classes = set(reading_steps(self.sizes.steps)), len(FASHION_CLASSES)
        labels = np.repeat(np.arange(classes), _MADE)
        levels = str(min(20, self.sizes.num_steps))
        chain = Ancestral(DiscreteSchedule.linear().respaced(levels), clip=1.0)
        shape = (2 * len(labels), 1, self.sizes.size, self.sizes.size)

        def evaluate(network: nn.Module) -> dict[str, float]:
            nonlocal done
            done += 1
            if done * every not in wanted:
                return {}
            # the same noise at every reading, so that differences are the network's
            seed = stream(self.sizes.seed, "clothing made", k)
            noise = seed.standard_normal(shape).astype(np.float32)
            model = NetworkModel(
                network, GaussianNoise(schedule="linear"), "eps", sampler=chain, condition=classes,
                null_condition=classes, execution=Execution(batch_size=256, device=self.device),
            )  # fmt: skip
            # the null label stands behind the classes
            asked = np.concatenate([labels, np.full(len(labels), classes)])
            made = model.given(asked).sample(noise, 1.0, seed)
            read = classifier.activations(made)["logits"].argmax(axis=1)
            given, free = read[: len(labels)], read[len(labels) :]
            found = {}
            for c in range(classes):
                mine = given[labels == c]
                found[f"class {c}"] = float((mine == c).mean())
                found[f"family {c}"] = float((family_of(mine) == family_of(c)).mean())
                found[f"found {c}"] = float((free == c).mean())
            return found

        return evaluate

    def _place(self, *words: Any) -> Path | None:
        s = self.sizes
        name = "-".join(map(str, ("clothing", words[0], s.size, s.steps, s.seed, *words[1:])))
        return None if self.folder is None else self.folder / name


def _done(place: Path | None) -> int:
    """Evaluations of a run that was interrupted."""
    file = None if place is None else place / "checkpoint.pt"
    if file is None or not file.is_file():
        return 0
    try:
        return len(torch.load(file, map_location="cpu", weights_only=True)["history"])
    # a damaged file is set aside by the training that follows
    except Exception:
        return 0
