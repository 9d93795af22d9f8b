r"""Layers of a reference classifier: similarity of two images, from edges to the class.

Activations a of every layer are standardised channel by channel with the statistics of reference
images, and an image is compared with what a noising and denoising has made of it,

.. math:: \hat a = \frac{a - \mu}{\sqrt{\sigma^2 + 10^{-8}}}, \qquad
   \cos = \frac{\hat a_t \cdot \hat a_0}{|\hat a_t|\,|\hat a_0|},

over all channels and places (arXiv 2402.16991).  Two images that have nothing to do with each other
do not have similarity zero: the *floor* of random pairs stands beside every curve, and
(cos - floor) / (1 - floor) is what can be compared between layers.  The published code divides by
the second moment and not by the variance; ``moment=True`` does that too.

The classifier of that paper is ConvNeXt-Base with torchvision's weights
(convnext_base-6075fbad.pth, 338 MB, BSD-3-Clause).  The architecture is that of transformers;
torchvision's names are translated, with its epsilon of 1e-6 in every normalisation.  Nothing is
downloaded: give the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff._lazy import import_optional
from hierdiff.checks import array, check_fields, checked, count, one_of, shown, whole
from hierdiff.data.digits import LabelledImages
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.seeds import Seed, generator, stream
from hierdiff.validation._checks import (
    batch_number,
    called,
    check_names,
    refuse_rows,
    size_number,
    tensor,
)
from hierdiff.validation.execution import inference
from hierdiff.validation.pretrained.loading import read_weights
from hierdiff.validation.training import TrainConfig, TrainResult, train

__all__ = [
    "BASE",
    "ConvClassifier",
    "LayerStatistics",
    "ReferenceClassifier",
    "Similarity",
    "convnext",
    "convnext_names",
    "floor_of_pairs",
    "from_torchvision",
    "layer_statistics",
    "similarity",
    "train_classifier",
]

Array: TypeAlias = NDArray[Any]

BASE = {"depths": (3, 3, 27, 3), "hidden_sizes": (128, 256, 512, 1024), "num_labels": 1000}
"""Sizes of ConvNeXt-Base: 88,591,464 parameters."""
_SHA = "6075fbad"  # the first digits of the hash, which torchvision puts into the file's name
_BLOCK = {"0": "dwconv", "2": "layernorm", "3": "pwconv1", "5": "pwconv2"}


@dataclass(frozen=True, eq=False)
class ReferenceClassifier:
    """A classifier whose layers are compared.

    Parameters
    ----------
    module : nn.Module
        Images to logits [n, classes]; an output of transformers is taken too.
    layers : tuple of str
        Submodules, from the first to the last; the logits are added as "logits".
    mean, deviation : tuple of float
        What is taken from, and divides, pixel values in [0, 1] first; empty for images in [-1, 1].
    size : int, optional
        Pixels on a side that the classifier sees, cut from ``resize``.
    resize : int, optional
        Shorter side before the cut.
    batch : int
        Images per call.

    Raises
    ------
    InvalidParameter
        If a layer does not exist.

    Notes
    -----
    Validity: ConvNeXt-Base of torchvision: resize 232, size 224, means and deviations of ImageNet.
    """

    module: nn.Module
    layers: tuple[str, ...]
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    size: int | None = None
    resize: int | None = None
    batch: int = 128

    def __post_init__(self) -> None:
        check_fields(self, batch=count)
        for word in ("size", "resize"):
            if getattr(self, word) is not None:
                size_number(word, getattr(self, word))
        if len(self.mean) != len(self.deviation) or any(d <= 0 for d in self.deviation):
            raise InvalidParameter(
                f"mean = {self.mean} and deviation = {self.deviation} must have one entry per "
                "channel each, the latter above zero"
            )
        known = dict(self.module.named_modules())
        missing = [name for name in self.layers if name not in known]
        if missing or not self.layers:
            raise InvalidParameter(
                f"layers {missing} are not in the classifier; it has "
                f"{', '.join([*known][1:6])}, ..."
            )

    @checked
    def activations(self, images: Array) -> dict[str, Array]:
        """All layers [n, channels, ...] and the logits [n, classes], in float32."""
        images = _images("images", images)
        parts: list[dict[str, Array]] = []
        device = next(self.module.parameters()).device
        for start in range(0, len(images), self.batch):
            x = self._seen(torch.from_numpy(np.asarray(images[start : start + self.batch])))
            found = self._one(x.to(device))
            for name, value in found.items():
                # the largest of logits that are NaN would be class 0
                refuse_rows(f"layer {name!r} of the classifier", value,
                            np.arange(start, start + len(value)))  # fmt: skip
            parts.append(found)
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _one(self, x: Tensor) -> dict[str, Array]:
        found: dict[str, Array] = {}
        modules, handles = dict(self.module.named_modules()), []
        for name in self.layers:

            def keep(_: nn.Module, __: Any, out: Any, name: str = name) -> None:
                found[name] = _tensor(out).float().cpu().numpy()

            handles.append(modules[name].register_forward_hook(keep))
        try:
            with inference(self.module):
                out = _tensor(called("the classifier", self.module, x))
                found["logits"] = out.float().cpu().numpy()
        finally:
            for handle in handles:
                handle.remove()
        return found

    def _seen(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] as the classifier wants them."""
        x = images.float()
        if self.resize is not None:
            # antialiased, as pillow does it
            x = nn.functional.interpolate(
                x, size=(self.resize, self.resize), mode="bilinear", antialias=True
            )
        if self.size is not None:
            edge = (x.shape[-1] - self.size) // 2
            x = x[..., edge : edge + self.size, edge : edge + self.size]
        if self.mean:
            m, d = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (self.mean, self.deviation))
            x = ((x + 1) / 2 - m) / d
        return x


def _images(name: str, value: Any, least: int = 1) -> Array:
    """Images [n, channels, h, w], in the type they have."""
    found = array(name, value)
    if found.ndim != 4 or len(found) < least or not found.size:
        raise InvalidParameter(
            f"{name} has shape {found.shape}; give [n >= {least}, channels, h, w]"
        )
    return found


def _tensor(out: Any) -> Tensor:
    if isinstance(out, Tensor):
        return out
    found = getattr(out, "logits", None)
    if found is None:
        found = out[0]
    return torch.as_tensor(found)


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """Mean and divisor of every channel of every layer."""

    mean: Mapping[str, Array]
    scale: Mapping[str, Array]

    def __post_init__(self) -> None:
        check_fields(self)
        if set(self.mean) != set(self.scale):
            raise InvalidParameter(
                f"mean of {shown(list(self.mean))} and scale of {shown(list(self.scale))} must be "
                "of the same layers"
            )

    @checked
    def standardise(self, layer: str, a: Array) -> Array:
        """Standardised activations, one row per image."""
        one_of("layer", layer, self.mean)
        channels = np.size(self.mean[layer])
        if a.ndim < 2 or not a.size or (channels != 1 and a.shape[1] != channels):
            raise InvalidParameter(f"a has shape {a.shape}; give [n, {channels}, ...]")
        shape = (1, -1) + (1,) * (a.ndim - 2)
        out = (a - self.mean[layer].reshape(shape)) / self.scale[layer].reshape(shape)
        return np.asarray(out.reshape(len(a), -1))


@checked
def layer_statistics(
    classifier: ReferenceClassifier, images: Array, *, moment: bool = False
) -> LayerStatistics:
    """Channel statistics of reference images, in one pass of bounded memory.

    Parameters
    ----------
    classifier : ReferenceClassifier
    images : array [n, channels, h, w]
        In [-1, 1].
    moment : bool
        Divide by the second moment as the published code does, instead of the variance.

    Returns
    -------
    LayerStatistics

    Raises
    ------
    InvalidParameter
        If there are no images.

    Notes
    -----
    Validity: population moments over images and places; logits get one number for all classes, as
    published.
    """
    images = _images("images", images)
    count: dict[str, float] = {}
    first: dict[str, Array] = {}
    second: dict[str, Array] = {}
    for start in range(0, len(images), classifier.batch):
        for name, a in classifier.activations(images[start : start + classifier.batch]).items():
            x = a.reshape(-1, 1) if name == "logits" else np.moveaxis(a, 1, -1)
            flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
            count[name] = count.get(name, 0.0) + len(flat)
            first[name] = first.get(name, np.zeros(1)) + flat.sum(axis=0)
            second[name] = second.get(name, np.zeros(1)) + (flat**2).sum(axis=0)
    mean = {k: first[k] / count[k] for k in first}
    power = {k: second[k] / count[k] for k in second}
    variance = power if moment else {k: power[k] - mean[k] ** 2 for k in power}
    return LayerStatistics(mean, {k: np.sqrt(np.maximum(v, 0) + 1e-8) for k, v in variance.items()})


class Similarity(NamedTuple):
    """Cosine of every image with its partner, by layer [n], and whether the class is the same."""

    cosine: dict[str, Array]
    same_class: Array


@checked
def similarity(
    classifier: ReferenceClassifier, statistics: LayerStatistics, images: Array, others: Array
) -> Similarity:
    """Layer by layer, how similar images are to others, one to one.

    Parameters
    ----------
    classifier : ReferenceClassifier
    statistics : LayerStatistics
    images, others : array [n, channels, h, w]

    Returns
    -------
    Similarity

    Raises
    ------
    InvalidParameter
        If there are not as many.

    Notes
    -----
    Validity: as the classifier sees them; class retention compares its two predictions.
    """
    images, others = _images("images", images), _images("others", others)
    if len(images) != len(others):
        raise InvalidParameter(f"{len(images)} images and {len(others)} others do not pair up")
    parts: dict[str, list[Array]] = {}
    same = []
    for start in range(0, len(images), classifier.batch):
        rows = slice(start, start + classifier.batch)
        a, b = (classifier.activations(x[rows]) for x in (images, others))
        for name in a:
            u, w = (statistics.standardise(name, x[name]) for x in (a, b))
            size = np.linalg.norm(u, axis=1) * np.linalg.norm(w, axis=1)
            parts.setdefault(name, []).append((u * w).sum(axis=1) / np.maximum(size, 1e-8))
        same.append(a["logits"].argmax(axis=1) == b["logits"].argmax(axis=1))
    return Similarity({k: np.concatenate(v) for k, v in parts.items()}, np.concatenate(same))


@checked
def floor_of_pairs(
    classifier: ReferenceClassifier, statistics: LayerStatistics, images: Array, seed: Seed
) -> Similarity:
    """Similarity of images to other images of the same set, which have nothing in common.

    Parameters
    ----------
    classifier, statistics
        As in :func:`similarity`.
    images : array [n, channels, h, w]
        At least two.
    seed : Seed
        Draws the pairs; no image is its own partner.

    Returns
    -------
    Similarity

    Raises
    ------
    InvalidParameter
        If there are fewer than two images.

    Notes
    -----
    Validity: the pairs have the classes' own frequencies, so class retention is that of chance.
    """
    images = _images("images", images, 2)
    order = generator(seed).permutation(len(images))
    partner = np.empty(len(images), np.intp)
    partner[order] = np.roll(order, 1)  # one cycle through all images: no fixed point
    return similarity(classifier, statistics, images, images[partner])


class ConvClassifier(nn.Module):
    """Small convolutional classifier: convolutions that halve the image, then two linear layers.

    Parameters
    ----------
    channels, size, classes : int
        Of the images.
    width : int
        Channels of the first convolution; doubled by every other one.
    depth : int
        Convolutions, the first of which keeps the size.

    Examples
    --------
    >>> net = ConvClassifier(1, 8, 10, width=8)
    >>> net(torch.zeros(2, 1, 8, 8)).shape, net.names
    (torch.Size([2, 10]), ('conv1', 'conv2', 'conv3', 'linear'))
    """

    @checked(
        channels=size_number,
        size=size_number,
        classes=size_number,
        width=size_number,
        depth=partial(whole, low=1, high=10),
    )
    def __init__(
        self, channels: int, size: int, classes: int, *, width: int = 32, depth: int = 3
    ) -> None:
        super().__init__()
        self.names: tuple[str, ...] = (*(f"conv{i + 1}" for i in range(depth)), "linear")
        self.shape = (channels, size, size)
        before, side = channels, size
        for i in range(depth):
            after = width * 2**i
            stride = 1 if i == 0 else 2
            layer = nn.Conv2d(before, after, 3, stride=stride, padding=1)
            self.add_module(f"conv{i + 1}", nn.Sequential(layer, nn.ReLU()))
            before, side = after, side if i == 0 else (side + 1) // 2
        self.linear = nn.Sequential(nn.Flatten(), nn.Linear(before * side**2, 128), nn.ReLU())
        self.head = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        tensor("x", x, None, *self.shape)
        for name in self.names:
            x = self.get_submodule(name)(x)
        out: Tensor = self.head(x)
        return out


@checked(batch=batch_number)
def train_classifier(
    data: LabelledImages,
    config: TrainConfig,
    *,
    width: int = 32,
    depth: int = 3,
    batch: int = 128,
    seed: int = 0,
    folder: Any = None,
) -> tuple[ReferenceClassifier, TrainResult]:
    """A small convolutional classifier trained on images, as a reference.

    Parameters
    ----------
    data : LabelledImages
    config : TrainConfig
        How long to train.
    width, depth
        See :class:`ConvClassifier`.
    batch : int
        Images per step.
    seed : int
        Names the weights and the batches.
    folder : path-like, optional
        Where the checkpoint is kept.

    Returns
    -------
    classifier : ReferenceClassifier
    trained : Trained

    Raises
    ------
    InvalidParameter
        If there are no images.

    Notes
    -----
    Validity: cross-entropy; the layers are the outputs of every convolution and of the linear one.
    """
    if not len(data):
        raise InvalidParameter("there are no images to train on; give at least one")
    torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
    shape, classes = data.images.shape[1:], int(data.labels.max()) + 1
    network = ConvClassifier(shape[0], shape[-1], classes, width=width, depth=depth)

    def loss(module: nn.Module, step: int) -> Tensor:
        rows = generator(stream(seed, "training", step)).integers(len(data), size=batch)
        device = next(module.parameters()).device
        logits = module(torch.from_numpy(data.images[rows]).to(device))
        return nn.functional.cross_entropy(logits, torch.from_numpy(data.labels[rows]).to(device))

    done = train(network, loss, config, folder=folder, name="classifier")
    names: Sequence[str] = network.names
    return ReferenceClassifier(done.network, tuple(names)), done


@checked
def convnext_names(name: str) -> str:
    """The name that transformers gives to a weight of torchvision's ConvNeXt.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Raises
    ------
    InvalidParameter
        If the name is none of a ConvNeXt.

    Notes
    -----
    Validity: tiny to large; all 344 names of the base model.

    Examples
    --------
    >>> convnext_names("features.1.2.block.3.weight")
    'convnext.encoder.stages.0.layers.2.pwconv1.weight'
    """
    head = {
        "features.0.0.": "convnext.embeddings.patch_embeddings.",
        "features.0.1.": "convnext.embeddings.layernorm.",
        "classifier.0.": "convnext.layernorm.", "classifier.2.": "classifier.",
    }  # fmt: skip
    for old, new in head.items():
        if name.startswith(old):
            return new + name[len(old) :]
    found = re.fullmatch(r"features\.(\d+)\.(\d+)\.(.+)", name)
    if found is None:
        raise InvalidParameter(f"{name} is no weight of a ConvNeXt of torchvision")
    place, j, rest = int(found[1]), found[2], found[3]
    if place % 2 == 0:  # a normalisation and a convolution that halves the image
        return f"convnext.encoder.stages.{place // 2}.downsampling_layer.{j}.{rest}"
    stage = f"convnext.encoder.stages.{place // 2}.layers.{j}."
    if rest == "layer_scale":
        return stage + "layer_scale_parameter"
    block = re.fullmatch(r"block\.(\d)\.(weight|bias)", rest)
    if block is None or block[1] not in _BLOCK:
        raise InvalidParameter(f"{name} is no weight of a ConvNeXt of torchvision")
    return f"{stage}{_BLOCK[block[1]]}.{block[2]}"


@checked
def from_torchvision(
    weights: Mapping[str, Tensor], sizes: Mapping[str, Any] | None = None
) -> ReferenceClassifier:
    """A ConvNeXt with torchvision's weights as a reference classifier.

    Parameters
    ----------
    weights : mapping of str to tensor
        A state dict with torchvision's names.
    sizes : mapping, optional
        Arguments of transformers' ConvNextConfig; default those of the base model.

    Returns
    -------
    ReferenceClassifier
        Its layers are the stem, every block, and those between the stages.

    Raises
    ------
    InvalidParameter
        If names or shapes differ; the first that do are named.
    MissingPackage
        Without transformers.

    Notes
    -----
    Validity: the map of names is tested on random weights; the published file has not been loaded
    here.
    """
    library = import_optional("transformers", "transformers", "ConvNeXt")
    config = library.ConvNextConfig(**dict(sizes or BASE), layer_norm_eps=1e-6)
    module = library.ConvNextForImageClassification(config)
    given = {}
    for name, value in weights.items():
        new = convnext_names(name)
        given[new] = value.reshape(-1) if new.endswith("layer_scale_parameter") else value
    check_names(given, module)
    module.load_state_dict(given)
    layers = ["convnext.embeddings"]
    for i, depth in enumerate(config.depths):
        if i:
            layers.append(f"convnext.encoder.stages.{i}.downsampling_layer.1")
        layers += [f"convnext.encoder.stages.{i}.layers.{j}" for j in range(depth)]
    return ReferenceClassifier(
        module.eval(), tuple(layers), mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225), size=224, resize=232, batch=32,
    )  # fmt: skip


@checked
def convnext(path: str | Path, *, verify: bool = True) -> ReferenceClassifier:
    """ConvNeXt-Base from a file of torchvision.

    Parameters
    ----------
    path : path-like
        convnext_base-6075fbad.pth, from download.pytorch.org/models.
    verify : bool
        Whether the file must have the hash in its name.

    Returns
    -------
    ReferenceClassifier

    Raises
    ------
    InvalidParameter
        If there is no such file.
    DamagedFile
        If the hash is another.

    Notes
    -----
    Validity: top-1 accuracy 84.062 % as published by torchvision (IMAGENET1K_V1).
    """
    place = Path(path)
    if not place.is_file():
        raise InvalidParameter(
            f"classifier = {place} is no file; download convnext_base-6075fbad.pth from "
            "download.pytorch.org/models"
        )
    if verify:
        digest = hashlib.sha256()
        with place.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
        if not digest.hexdigest().startswith(_SHA):
            raise DamagedFile(
                f"{place} has SHA-256 {digest.hexdigest()[:8]}..., not {_SHA}...; download it again"
            )
    return from_torchvision(read_weights(place))
