"""Networks of one's own on images: what the experiments on networks ask of them.

The model is a factory, a folder of diffusers or a name of the catalogue
(:mod:`hierdiff.validation.pretrained.own_models`), or an object that is given from Python; the
images are a set or a folder (:mod:`hierdiff.data.image_sets`).  Both are compared before any work.

==================  ============================================================================
experiment          what it needs
==================  ============================================================================
phase transition    no condition; a classifier, trained here on a named set, or weights of
                    ConvNeXt-Base for a folder
representation      layers with names, images of two classes; features go to files
classification      a class condition, images with classes
alignment           layers with names; responses of a file, or the tree of the set's classes
==================  ============================================================================
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff.checks import (
    Rule,
    check_fields,
    checked,
    integers,
    listed,
    one_level,
    positive,
    unchecked,
    whole,
)
from hierdiff.data.fashion import FASHION_CLASSES, family_of
from hierdiff.data.image_sets import (
    IMAGE_SETS,
    ImageSet,
    image_place,
    image_set,
    named_images,
    set_similarity,
)
from hierdiff.errors import InvalidParameter
from hierdiff.noise import has_snr
from hierdiff.seeds import stream
from hierdiff.sims.alignment import ComparedObjects
from hierdiff.sims.metrics.denoising_error import ClassErrors
from hierdiff.sims.metrics.odd_one_out import TripletTask, draw_triplets, read_triplets
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.odd_one_out_task import odd_one_out
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.experiments import image_folders
from hierdiff.validation.experiments.image_retention import ImageScene
from hierdiff.validation.feature_files import (
    FeatureFile,
    chunked_ridge_probe,
    images_for,
    layered,
    save_features,
)
from hierdiff.validation.pretrained.own_models import (
    OpenModel,
    fitting,
    model_place,
    open_model,
    refuse_condition,
)
from hierdiff.validation.pretrained.prompts import (
    PromptedNetwork,
    Prompts,
    class_scores,
    clip_classifier,
    encode_prompts,
    read_prompts,
)
from hierdiff.validation.reference_layers import convnext, train_classifier
from hierdiff.validation.training import TrainConfig

__all__ = ["OwnClassified", "OwnObjects", "OwnProbed", "OwnRetention"]

Array: TypeAlias = NDArray[Any]

_COUNT = partial(whole, low=1, high=10**9)
_TWO = partial(whole, low=2, high=10**9)
_T = partial(listed, rule=one_level, least=2)
_BLOCK = 8  # images per call of the encoder
LARGEST_PROBED = 4096
"""Numbers of a datum that are probed themselves: a probe needs the normal matrix of them all."""


def _optional(rule: Rule) -> Rule:
    """A rule for a value that may be left out."""
    return lambda name, value: None if value is None else rule(name, value)


@dataclass(frozen=True)
class OwnRetention:
    """A network of yours, noised and denoised images, and the layers of a classifier."""

    model: str = ""
    """package.module:factory, a folder of diffusers, or a name of ``hierdiff models``."""
    images: str = "digits"
    """digits, fashion, fashion-14, or a folder."""
    classifier: Path | None = None
    """Weights of ConvNeXt-Base, for a folder; for a named set a classifier is trained here."""
    classifier_steps: int = 400
    """Training steps of that classifier."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    t: tuple[float, ...] | None = None
    """Noise levels; default ten."""
    data: int | None = 200
    """Images to start from."""

    def __post_init__(self) -> None:
        check_fields(
            self, model=model_place, images=image_place, t=_optional(_T), data=_optional(_TWO),
            classifier_steps=_COUNT,
        )  # fmt: skip

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels."""
        return self.t or tuple(k / 10 for k in range(1, 11))


@dataclass(frozen=True)
class OwnClassified:
    """A class-conditional network of yours, and images with classes."""

    model: str = ""
    """package.module:factory, a folder of diffusers, or a name of ``hierdiff models``."""
    images: str = "digits"
    """digits, fashion, fashion-14, or a folder with a folder per class."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    data: int | None = 150
    """Images to classify, the classes in turn."""
    keep: tuple[int, ...] = (3, 1)
    """Classes kept after each stage, where stages are given."""
    stages: tuple[int, ...] | None = None
    """Samples at the end of each stage, cumulative; default one stage of the whole grid of 250."""
    prompts: Path | None = None
    """CSV of classname, classidx and optionally prompt, for a text network in a folder."""
    templates: tuple[str, ...] = ("a photo of a {}.",)
    """Prompts of every class, where the CSV has none."""
    clip: Path | None = None
    """Folder of a CLIP of transformers, which classifies the same images by the same prompts."""

    def __post_init__(self) -> None:
        counts = partial(listed, rule=_COUNT, distinct=False)
        check_fields(
            self, model=model_place, images=image_place, data=_optional(_TWO), keep=counts,
            stages=_optional(counts),
        )  # fmt: skip
        Prompts.of(("one", "another"), self.templates)
        if self.clip is not None and self.prompts is None:
            raise InvalidParameter(
                f"clip = {self.clip} classifies by prompts; give --prompts FILE.csv"
            )


@dataclass(frozen=True)
class OwnProbed:
    """A network of yours, whose layers are probed for the class of images."""

    model: str = ""
    """package.module:factory, a folder of diffusers, or a name of ``hierdiff models``."""
    images: str = "digits"
    """digits, fashion, fashion-14, or a folder with a folder per class."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    layers: tuple[str, ...] = ()
    """Submodules that are probed; default those that the model declares, or its blocks."""
    fit: int | None = 4000
    """Images on which probes are fitted."""
    test: int | None = 2000
    """Images on which they are read; of a folder a fifth at most."""
    shots: int = 5
    """Data per class of the small probe."""
    t: tuple[float, ...] = (0.005, 0.02, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6)
    """Noise levels."""

    def __post_init__(self) -> None:
        check_fields(
            self, model=model_place, images=image_place, fit=_optional(_TWO), test=_optional(_TWO),
            shots=_COUNT, t=_T,
        )  # fmt: skip
        if any(np.diff(self.t) <= 0):
            raise InvalidParameter(f"t = {self.t} must be two or more increasing noise levels")


@dataclass(frozen=True)
class OwnObjects:
    """A network of yours, and odd-one-out responses to images."""

    model: str = ""
    """package.module:factory, a folder of diffusers, or a name of ``hierdiff models``."""
    images: str = "digits"
    """digits, fashion, fashion-14, or a folder."""
    triplets: Path | None = None
    """Responses of people, .npy or text, the odd one last; default simulated observers who see the
    tree of the classes."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    layers: tuple[str, ...] = ()
    """Submodules of the network; default those that the model declares, or its blocks."""
    objects: int = 200
    """Objects that are compared, the classes in turn; with responses of people all images."""
    temperature: float = 0.22
    """Of the simulated observers."""

    def __post_init__(self) -> None:
        check_fields(
            self, model=model_place, images=image_place,
            objects=partial(whole, low=9, high=10**6), temperature=positive,
        )  # fmt: skip


Own: TypeAlias = OwnRetention | OwnClassified | OwnProbed | OwnObjects


# ------------------------------------------------------------------------ model and images together


@checked(source=unchecked, model=unchecked)
def opened(source: Own, model: Any, device: str = "cpu") -> tuple[OpenModel, ImageSet]:
    """The model and the images of a source, which fit each other.

    Parameters
    ----------
    source : OwnRetention, OwnClassified, OwnProbed or OwnObjects
    model : optional
        A model that is given from Python, in place of the one that is named.
    device : str

    Returns
    -------
    found : OpenModel
    images : ImageSet

    Raises
    ------
    InvalidParameter
        If there is no model, it needs a decoder, or the images have another shape.
    """
    if model is None and not source.model:
        raise InvalidParameter(
            "no model is named; give --model package.module:factory, a folder of diffusers, or a "
            "name of hierdiff models"
        )
    found = open_model(
        source.model if model is None else model, accept_licence=source.accept_licence,
        device=device,
    )  # fmt: skip
    encode, _ = found.maps()
    images = images_for(found, source.images)
    if found.condition.startswith("text"):
        found = _prompted(found, source, device)
    pixels, kept = images.read([0])
    if not len(kept):
        raise InvalidParameter(f"images = {images.name}: {images.files[0]} cannot be read")
    fitting(found, encode(pixels), 0 if found.classes else None)
    return found, images


def _prompted(found: OpenModel, source: Own, device: str) -> OpenModel:
    """A text network whose labels are the prompts of the source."""
    table = source.prompts if isinstance(source, OwnClassified) else None
    if not isinstance(source, OwnClassified) or table is None:
        raise InvalidParameter(
            f"model {found.name} must be conditioned on text; classify by it with --prompts "
            "FILE.csv (hierdiff run network-classification)"
        )
    prompts = read_prompts(table, source.templates)
    embeddings = encode_prompts(Path(found.name), prompts.texts, device=device)
    model = PromptedNetwork(found.network, embeddings)
    return replace(found, model=model, condition="")


def _free(found: OpenModel, study: str) -> OpenModel:
    """The model without a class."""
    refuse_condition(found, study)
    if getattr(found.model, "null_condition", None) is not None:
        return replace(found, model=found.network.given(None))
    return found


def even_rows(labels: Array) -> Array:
    """Rows in an order that takes all classes in turn."""
    rank = np.empty(len(labels), np.intp)
    for k in np.unique(labels):
        rows = np.flatnonzero(labels == k)
        rank[rows] = np.arange(len(rows))
    return np.lexsort((labels, rank))


# -------------------------------------------------------------------------------------- experiments


def own_scene(
    source: OwnRetention, model: Any, folder: Path | None, device: str, seed: int
) -> ImageScene:
    """Images to start from, the network, and a classifier."""
    found, images = opened(source, model, device)
    found = _free(found, "this study")
    named = images.name in IMAGE_SETS
    if not named and source.classifier is None:
        raise InvalidParameter(
            f"images = {images.name} need a reference classifier; give --classifier FILE with the "
            "weights of ConvNeXt-Base (convnext_base-6075fbad.pth)"
        )
    encode, decode = found.maps()
    pixels, _ = images.read(np.arange(len(images))[: source.data])
    if len(pixels) < 2:
        raise InvalidParameter(
            f"images = {images.name} holds {len(pixels)} readable image; the floor of random pairs "
            "needs at least 2"
        )
    if named:
        steps = source.classifier_steps
        plan = TrainConfig(steps=steps, every=400, warmup=min(20, steps), average=0.98,
                           device=device)  # fmt: skip
        place = None if folder is None else folder / f"classifier-{images.name}-{steps}-{seed}"
        training = named_images(images.name, "train", seed=seed)
        reference, _ = train_classifier(training, plan, seed=seed, folder=place)
        statistics = training.images[:2000]
    else:
        reference = convnext(cast(Path, source.classifier))
        reference.module.to(device)
        statistics = pixels
    back = decode if found.latent else None
    network = cast(NetworkModel, found.model)
    clothing = named and images.name.startswith("fashion")
    return ImageScene(
        network, reference, encode(pixels), statistics, not named, back,
        families=family_of(np.arange(len(FASHION_CLASSES))) if clothing else None,
    )  # fmt: skip


def classify_own(
    source: OwnClassified, model: Any, folder: Path | None, device: str, seed: int,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Scores and accuracy by the published grid of times with fixed noise."""
    found, images = opened(source, model, device)
    classes = found.classes
    if classes is None or not hasattr(found.model, "given"):
        raise InvalidParameter(
            f"model {found.name} has no class to be conditioned on; declare classes, the number "
            "of its labels"
        )
    labels = images.of_classes("classification")
    prompts = None
    if isinstance(found.model, PromptedNetwork):
        prompts = read_prompts(cast(Path, source.prompts), source.templates)
        if source.stages and len(prompts.texts) > len(prompts.names):
            raise InvalidParameter(
                "stages drop prompts, and the score of a class is the mean of its prompts; give "
                "one prompt per class, or no stages"
            )
    integers("labels of the images", labels, 0, (len(prompts.names) if prompts else classes) - 1)
    rows = even_rows(labels)[: source.data]
    grid = image_folders.FixedGrid(
        _grid_snr(found), source.keep if source.stages else (1,),
        source.stages or (len(image_folders.GRID),), 42 + seed,
    )  # fmt: skip
    encode, scored = found.maps()[0], ClassErrors(found.model, classes)
    clip = None if source.clip is None or prompts is None else clip_classifier(
        source.clip, prompts, device=device
    )  # fmt: skip
    scores, calls, kept = [], [], []
    beside: list[Array] = []
    for start in range(0, len(rows), _BLOCK):
        pixels, read = images.read(rows[start : start + _BLOCK])
        if clip is not None:
            seen = pixels if pixels.shape[1] == 3 else pixels.repeat(3, axis=1)
            beside.append(clip.scores(seen).argmin(axis=1) == labels[read])
        tasks = [
            Task(
                image_folders.one_image, (scored, x0, grid, classes),
                {"version": 1, "question": "network classification, own", "keep": grid.keep,
                 "stages": grid.stages, "seed": grid.seed, "classes": classes},
            )
            for x0 in encode(pixels)
        ]  # fmt: skip
        for one in run_tasks(tasks, folder, workers=1, name=f"images from {start}"):
            scores.append(one["scores"])
            calls.append(int(one["calls"]))
        kept += list(read)
    every = np.stack(scores) if prompts is None else class_scores(np.stack(scores), prompts)
    answers = {"scores": every, "calls": np.array(calls), "row": np.array(kept)}
    ds = image_folders.labelled_scores(answers, labels[np.array(kept)], parameters)
    if beside:
        ds = ds.assign(_beside_clip(np.concatenate(beside), every, labels[np.array(kept)]))
    return ds.assign_attrs(images=f"{len(kept)} of {len(images)} images of {images.name}")


def _beside_clip(right: Array, scores: Array, labels: Array) -> dict[str, Any]:
    """Accuracy of CLIP, and of the network minus it, paired by image."""
    own = scores.argmin(axis=1) == labels
    gap = own.astype(float) - right
    n = len(right)
    found = {}
    for name, x, words in (("clip_accuracy", right.astype(float), "accuracy of CLIP"),
                           ("minus_clip", gap, "accuracy minus that of CLIP, paired")):  # fmt: skip
        found[name] = ((), x.mean(), {"long_name": words})
        error = max(float(x.std(ddof=1)) / np.sqrt(n), 1 / n)
        found[f"{name}_error"] = ((), error, {"long_name": f"standard error of: {words}"})
    return found


def _grid_snr(found: OpenModel) -> Array:
    """Signal-to-noise ratios of the published grid, of a thousand times of the model."""
    conditioning = getattr(found.model, "noise_conditioning", None)
    grid = np.array(image_folders.GRID)
    if isinstance(conditioning, DiscreteSchedule):
        return np.asarray(conditioning.snr[grid * len(conditioning) // 1000])
    noise = found.model.noise
    if not has_snr(noise):
        raise InvalidParameter(f"model {found.name} has {noise.name} noise, which images have not")
    return np.asarray(noise.snr(grid / 1000))


def own_objects(
    source: OwnObjects, model: Any, device: str, seed: int, ties: Literal["wrong", "shared"],
    max_triplets: int,
) -> tuple[Any, ComparedObjects]:  # fmt: skip
    """The model, and images with the responses to their triplets."""
    found, images = opened(source, model, device)
    if found.condition:
        refuse_condition(found, "this study")
    found = layered(found, source.layers)
    network = found.network
    if source.triplets is not None:
        rows = np.arange(len(images))
        chosen = read_triplets(source.triplets, len(images))
        if len(chosen) > max_triplets:
            order = stream(seed, "subset").choice(len(chosen), max_triplets, replace=False)
            chosen = chosen[np.sort(order)]
        task = TripletTask(chosen, np.tile([0.0, 0.0, 1.0], (len(chosen), 1)), ties, seed)
    else:
        labels = images.of_classes("the tree of the classes")
        rows = even_rows(labels)[: source.objects]
        likeness = 0.5 * set_similarity(images.name, labels[rows])
        chosen = draw_triplets(len(rows), max_triplets, stream(seed, "triplets"))
        chances = odd_one_out(likeness, chosen, source.temperature)
        task = TripletTask(chosen, chances, ties, seed)
    pixels, kept = images.read(rows)
    if len(kept) < len(rows):
        raise InvalidParameter(
            f"{len(rows) - len(kept)} of {len(rows)} images cannot be read, and triplets name "
            "objects by their number; repair them"
        )
    x0 = np.asarray(found.maps()[0](pixels), np.float32)
    given = None
    if network.classes and images.labels is not None and images.labels[rows].max() < (
        network.classes
    ):  # fmt: skip
        given = images.labels[rows]
    free = network if network.null_condition is None else network.given(None)
    randoms = stream(seed, "noise").standard_normal(x0.shape, dtype=np.float32)
    return free, ComparedObjects(x0, task, labels=given, ends=False, randoms=randoms)


def probed_rows(
    source: OwnProbed, model: Any, folder: Path | None, device: str, seed: int, probe: Any
) -> dict[tuple[str, str], tuple[Array, Array]]:
    """Whether a probe reads every test image, [1, fit, t, n], on all data and on a few per class.

    ``probe`` draws the rows of the few; features lie in files below ``folder``.
    """
    found, images = opened(source, model, device)
    found = layered(_free(found, "a probe"), source.layers)
    labels = images.of_classes("a probe")
    sets = _halves(source, images, labels, seed)
    output = int(np.prod(images.shape)) <= LARGEST_PROBED
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if folder is None else folder
        files = [
            save_features(found, some, source.t, place / f"features-{word}", rows=rows,
                          seed=seed + which, output=output)
            for which, (word, some, rows) in enumerate(sets)
        ]  # fmt: skip
        return _read_probes(source, files, seed, probe)


def _halves(
    source: OwnProbed, images: ImageSet, labels: Array, seed: int
) -> list[tuple[str, ImageSet, Array]]:
    """Images on which probes are fitted, and others on which they are read."""
    if images.name in IMAGE_SETS:
        training = image_set(images.name, split="train", seed=seed)
        fit = even_rows(cast(Array, training.labels))[: source.fit]
        return [("fit", training, fit), ("test", images, even_rows(labels)[: source.test])]
    order = stream(seed, "split").permutation(len(images))
    cut = min(source.test or len(images), len(images) // 5)
    test, fit = order[:cut], order[cut:][: source.fit]
    both = np.intersect1d(labels[fit], labels[test])
    if cut < 1 or len(both) < 2:
        raise InvalidParameter(
            f"images = {images.name} give {len(fit)} images to fit and {len(test)} to test with "
            f"{len(both)} classes in both; a probe needs two classes with several images each"
        )
    test, fit = (rows[np.isin(labels[rows], both)] for rows in (test, fit))
    return [("fit", images, fit), ("test", images, test)]


def _read_probes(
    source: OwnProbed, files: list[FeatureFile], seed: int, probe: Any
) -> dict[tuple[str, str], tuple[Array, Array]]:
    """Both probes of every layer at every level."""
    fit, test = files
    y_fit, y_test = fit.labels, test.labels
    rows: dict[tuple[str, str], tuple[Array, Array]] = {}
    for layer in fit.layers:
        every, small = [], []
        for level in range(len(source.t)):
            seen = test.read(layer, level)
            large = chunked_ridge_probe(fit, layer, level, ridge=10.0)
            every.append((large.predict(seen) == y_test)[None])
            small.append(probe(fit, layer, level, y_fit, seen, y_test, source.shots, seed))
        large_rows, small_rows = (np.stack(x, axis=1)[None] for x in (every, small))
        rows["network", layer] = (large_rows, small_rows)
    return rows
