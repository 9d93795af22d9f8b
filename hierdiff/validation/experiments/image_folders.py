r"""Folders of images classified by a published conditional network, by the published protocol.

.. math:: \hat y = \arg\min_c \frac1{|S|}\sum_{(i, \epsilon_i) \in S}
   |\epsilon_i - \hat\epsilon_c(a_i x_0 + s_i \epsilon_i)|^2, \qquad S_i = \{2, 6, \dots, 998\},

on a fixed grid of times with one noise per time: the same set S for all classes and all images.
Classes are dropped in stages; the times of a stage are spread over the whole grid.

Images whose shape is of one category and whose texture of another are read in 16 categories.  Files
are called ``shapeN-textureM.png``, as in the public set of 1,280 (16 categories by 80), of which 80
have equal cues and are dropped.  Two numbers, which are not the same:

.. math::
    \text{shape accuracy} = \frac{n_{shape}}{n}, \qquad
    \text{shape bias} = \frac{n_{shape}}{n_{shape} + n_{texture}} .
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from hierdiff import results
from hierdiff._display import pair_text, text_table
from hierdiff.checks import checked, integers, reals
from hierdiff.contracts import Summary
from hierdiff.data.image_folder import labelled_folder, listed_images, load_images
from hierdiff.data.image_folder import low_pass as cut_detail
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.plots import PALETTE, Figure, needs, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.denoising_error import ClassErrors
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.zero_shot.weightings import eps_error
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.execution import Execution
from hierdiff.validation.pretrained.catalogue import Checkpoint, checkpoint
from hierdiff.validation.pretrained.latent_diffusion import Encoder, encoder_of
from hierdiff.validation.pretrained.loading import pretrained

__all__ = ["folder_figure"]

Array: TypeAlias = NDArray[Any]

_CLASSES = 1000
_CHUNK = 8  # images decoded at a time
_MAKER = "NetworkClassification"

GRID = tuple(range(2, 1000, 4))
"""Times of the published protocol, of 1,000."""


@dataclass(frozen=True, eq=False)
class FixedGrid:
    """Signal-to-noise ratios [S] of the samples, and the stages that use them.

    Attributes
    ----------
    snr
        [S], of every time of the grid.
    keep, stages
        Classes kept after each stage, and samples at its end, cumulative.
    seed
        Names the noise, one draw per time.
    """

    snr: Array
    keep: tuple[int, ...] = (1,)
    stages: tuple[int, ...] = (len(GRID),)
    seed: int = 42

    def __post_init__(self) -> None:
        ends, kept = [0, *self.stages], list(self.keep)
        if (
            len(self.keep) != len(self.stages) or not kept or kept[-1] != 1
            or kept != sorted(kept, reverse=True)
            or any(a >= b for a, b in zip(ends, ends[1:], strict=False))
            or self.stages[-1] > len(self.snr)
        ):  # fmt: skip
            raise InvalidParameter(
                f"keep = {self.keep} must fall to 1 and stages = {self.stages} rise up to at most "
                f"{len(self.snr)} samples, one number each per stage"
            )

    @property
    def order(self) -> Array:
        """The samples in an order whose beginnings are spread evenly over the grid."""
        golden = (np.sqrt(5) - 1) / 2
        return np.argsort(np.argsort(np.arange(len(self.snr)) * golden % 1))

    def noise(self, i: int, shape: tuple[int, ...]) -> Array:
        """The noise of one sample, the same for all images and classes."""
        return stream(self.seed, "fixed noise", i).standard_normal(shape, dtype=np.float32)


def grid_scores(
    model: ClassErrors, x0: Array, classes: Sequence[int], grid: FixedGrid
) -> tuple[Array, int]:
    """Mean error of eps for every class of one datum, and the calls that it took.

    Parameters
    ----------
    model : ClassErrors
    x0 : array [...]
        One clean datum.
    classes : sequence of int
        What it may be.
    grid : FixedGrid

    Returns
    -------
    scores : array [classes]
        Means over the samples of a class; a class without samples of the last stage keeps its
        mean, raised above those of the classes that did, so that the least score is the answer.
    calls : int

    Notes
    -----
    Validity: equal weights on errors of eps; with one stage no class is dropped.

    References
    ----------
    Li et al., arXiv 2303.16203; the public noise file is not used, but a seed.
    """
    wanted = np.asarray(classes)
    total, final = np.zeros(len(wanted)), np.full(len(wanted), np.nan)
    alive, done, calls = np.arange(len(wanted)), 0, 0
    order = grid.order
    for kept, until in zip(grid.keep, grid.stages, strict=True):
        for i in order[done:until]:
            total[alive] += _errors(model, x0, wanted[alive], grid, int(i))
        calls += len(alive) * (until - done)
        done = until
        final[alive] = total[alive] / until
        last, alive = alive, alive[np.argsort(final[alive], kind="stable")][:kept]
    early = np.setdiff1d(np.arange(len(wanted)), last)
    final[early] = np.maximum(final[early], np.nextafter(final[last].max(), np.inf))
    return final, calls


def _errors(model: ClassErrors, x0: Array, classes: Array, grid: FixedGrid, i: int) -> Array:
    ratio = float(grid.snr[i])
    noise = grid.noise(i, x0.shape)
    x_t = np.sqrt(ratio / (1 + ratio)) * x0 + np.sqrt(1 / (1 + ratio)) * noise
    many = np.broadcast_to(x_t, (len(classes), *x0.shape))
    guess = model.denoise(many, np.full(len(classes), ratio), classes)
    error = ((x0 - guess) ** 2).reshape(len(classes), -1).mean(axis=1)
    bad = np.flatnonzero(~np.isfinite(error))
    if bad.size:  # NaN would be the least of all errors for argmin, and the largest for argsort
        raise InvalidParameter(
            f"the denoiser returned NaN or inf for class {int(classes[bad[0]])} at snr = "
            f"{ratio:.6g} ({bad.size} of {len(classes)} classes); check its weights, or run it in "
            "float32"
        )
    return np.asarray(eps_error(error, ratio))


# A folder of images


def conditional_checkpoint(name: str) -> Checkpoint:
    """A network of the catalogue that can be conditioned on a class."""
    entry = checkpoint(name)
    if not entry.condition.startswith("class"):
        raise InvalidParameter(
            f"{name} has no class condition; use adm-64-conditional or dit-xl-2-256"
        )
    return entry


def classify_folder(
    name: str,
    images: Path,
    folder: Path | None,
    *,
    conflicts: bool,
    categories: Path | None,
    low_pass: int,
    accept_licence: bool,
    device: str,
    limit: int | None,
    keep: tuple[int, ...],
    stages: tuple[int, ...] | None,
    parameters: Mapping[str, Any],
) -> xr.Dataset:
    """Scores and answers of a network of the catalogue for a folder of images.

    Parameters
    ----------
    name : str
        Of the network.
    images : Path
        Folder with a folder per class, or images with conflicting cues.
    folder : Path, optional
        Where the finished images are kept.
    conflicts, categories, low_pass, accept_licence, device, limit, keep, stages
        As in :class:`hierdiff.validation.experiments.classification.PublishedNetwork`.
    parameters : mapping
        Recorded with the results.
    """
    entry = conditional_checkpoint(name)
    conflict = read_conflicts(images) if conflicts or categories else None
    if conflict is None:
        found = labelled_folder(images, _CLASSES)
        files, labels, shown = list(found.files), np.array(found.labels), found.summary
    else:
        files, labels = list(conflict.paths), conflict.shapes
        shown = f"{len(files)} images with conflicting cues"
    members: Mapping[str, Sequence[int]] = _members(categories) if categories else MEMBERS
    model = pretrained(
        name, accept_licence=accept_licence, condition=0,
        execution=Execution(device=device, batch_size=64),
    )  # fmt: skip
    size, encode = encoder_of(entry, device)
    makers = {"linear": DiscreteSchedule.linear, "cosine": DiscreteSchedule.cosine}
    snr = makers[entry.schedule]().snr[list(GRID)]
    grid = FixedGrid(snr, keep, stages or (len(GRID),))
    encode = _blurred(encode, low_pass)
    rows = slice(None) if limit is None else slice(limit)
    answers = classify_images(model, files[rows], grid, size, encode, folder, _CLASSES)
    ds = (
        labelled_scores(answers, labels[rows][answers["row"]], parameters) if conflict is None
        else _conflicts(answers, members, images, parameters)
    )  # fmt: skip
    return ds.assign_attrs(images=shown)


def _blurred(encode: Encoder, factor: int) -> Encoder:
    """What encodes images without their fine detail."""
    return encode if factor == 1 else lambda images: encode(cut_detail(images, factor))


def classify_images(
    model: NetworkModel, files: list[Path], grid: FixedGrid, size: int, encode: Encoder,
    folder: Path | None, classes: int,
) -> dict[str, Array]:  # fmt: skip
    """Scores [n, classes], calls [n] and rows [n] of the files that could be read.

    Every image is a task of its own, so that a run that was interrupted goes on.
    """
    scored = ClassErrors(model, classes)
    scores, calls, rows = [], [], []
    for start in range(0, len(files), _CHUNK):
        pixels, kept = load_images(files[start : start + _CHUNK], size)
        data = encode(pixels)
        tasks = [
            Task(
                one_image, (scored, x0, grid, classes),
                {"version": 1, "question": "network classification, grid", "keep": grid.keep,
                 "stages": grid.stages, "seed": grid.seed, "classes": classes},
            )
            for x0 in data
        ]  # fmt: skip
        found = run_tasks(tasks, folder, workers=1, name=f"images from {start}")
        scores += [f["scores"] for f in found]
        calls += [int(f["calls"]) for f in found]
        rows += [start + int(i) for i in kept]
    return {"scores": np.stack(scores), "calls": np.array(calls), "row": np.array(rows)}


def one_image(model: ClassErrors, x0: Array, grid: FixedGrid, classes: int) -> dict[str, Array]:
    """Scores of one image for every class on a fixed grid, and the calls that they took: a task."""
    scores, calls = grid_scores(model, x0, range(classes), grid)
    return {"scores": scores, "calls": np.array(calls)}


def _members(path: Path) -> dict[str, list[int]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedFile(
            f"categories = {path} cannot be read ({type(error).__name__}); give JSON of names and "
            "class numbers"
        ) from None
    if not isinstance(found, dict):
        raise DamagedFile(f"categories = {path} is no JSON table of names and class numbers")
    return {str(k): [int(i) for i in v] for k, v in found.items()}


def _dataset(
    answers: dict[str, Array], extra: dict[str, Any], given: Mapping[str, Any]
) -> xr.Dataset:
    n, classes = answers["scores"].shape
    variables: dict[str, Any] = {
        "scores": (("image", "class"), answers["scores"], "mean squared error of eps"),
        "calls": (("image",), answers["calls"], "calls of the network per image"),
        **extra,
    }
    coords: dict[str, Any] = {
        "image": (("image",), np.arange(n), "image"),
        "class": (("class",), np.arange(classes), "class"),
    }
    return results.label(variables, coords, "network", results.provenance(given))


def labelled_scores(
    answers: dict[str, Array], labels: Array, given: Mapping[str, Any]
) -> xr.Dataset:
    """Scores and accuracy of images whose class is known."""
    scores = answers["scores"]
    right = (scores.argmin(axis=1) == labels).astype(float)
    error = float(np.sqrt(right.mean() * (1 - right.mean()) / len(right)))
    return _dataset(answers, {
        "label": (("image",), labels, "true class"),
        "accuracy": ((), right.mean(), "accuracy"),
        "accuracy_error": ((), error, "binomial error"),
    }, given)  # fmt: skip


def _conflicts(
    answers: dict[str, Array], members: Mapping[str, Sequence[int]], images: Path,
    given: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    conflict = read_conflicts(images)
    rows = answers["row"]
    part = type(conflict)(
        tuple(conflict.paths[i] for i in rows), conflict.shapes[rows], conflict.textures[rows],
        conflict.equal, conflict.foreign,
    )  # fmt: skip
    # errors of eps are means over the data and times; the softmax wants a sum
    found = category_answers(-answers["scores"] * len(GRID), members)
    extra: dict[str, Any] = {
        "answer": (("image",), found, "category"),
        "dropped": ((), conflict.equal, "images without conflict, dropped"),
    }
    for name, (value, error) in cue_shares(found, part).items():
        extra[name.replace(" ", "_")] = ((), value, name)
        extra[f"{name.replace(' ', '_')}_error"] = ((), error, "binomial error")
    return _dataset(answers, extra, given)


def summary(ds: xr.Dataset) -> Summary:
    """Accuracy of a folder of images, or the cues that the answers follow."""
    n, calls = ds.sizes["image"], float((ds.calls / ds.sizes["class"]).mean())
    lines = [str(ds.attrs.get("images", f"{n} images")),
             f"{n} images, {int(ds.calls.sum())} calls of the network"]  # fmt: skip
    if "label" not in ds:
        names = ("shape accuracy", "texture accuracy", "shape bias")
        shares = {
            name: [float(ds[name.replace(" ", "_")]), float(ds[f"{name.replace(' ', '_')}_error"])]
            for name in names
        }
        lines.append(text_table([], [[name, pair_text(x)] for name, x in shares.items()]))
        lines.append(f"{int(ds.dropped)} images without conflict dropped")
        bias, error = shares["shape bias"]
        z = (bias - 0.5) / max(error, 1e-12)
        claim = f"shape bias {bias:.3f} ± {error:.3f} on {n} images (z = {z:.1f} against one half)"
        return Summary("\n".join(lines), claim, shares)
    accuracy, error = float(ds.accuracy), float(ds.accuracy_error)
    chance = 1 / ds.sizes["class"]
    z = (accuracy - chance) / np.sqrt(chance * (1 - chance) / n)
    claim = (
        f"zero-shot accuracy {accuracy:.3f} ± {error:.3f} on {n} images of "
        f"{len(np.unique(ds.label))} classes, chance {chance:.3f} (z = {z:.1f}), {calls:.0f} calls "
        "per class"
    )
    values = {"accuracy": [accuracy, error]}
    for name in ("clip_accuracy", "minus_clip"):
        if name in ds:
            values[name] = [float(ds[name]), float(ds[f"{name}_error"])]
            lines.append(f"{name.replace('_', ' ')}: {values[name][0]:.3f} ± {values[name][1]:.3f}")
    return Summary("\n".join(lines), claim, values)


def _scores(ds: xr.Dataset) -> NDArray[Any]:
    """Scores [n, classes] with a true class for each row."""
    needs(ds, {"accuracy": (), "accuracy_error": ()}, _MAKER)
    if "scores" not in ds:
        raise InvalidParameter(f"the dataset has no 'scores'; give one from {_MAKER}")
    found = reals("scores", ds.scores.values, ndim=2, infinite=True)
    integers("label", ds.label.values, high=found.shape[1] - 1, shape=(len(found),))
    return found


@checked
def folder_figure(ds: xr.Dataset) -> Figure:
    """The figure of a folder: scores of the true class against the best other one, or the cues."""
    fig, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
    if "label" in ds:
        scores = _scores(ds)
        rows = np.arange(len(scores))
        own = scores[rows, ds.label.values]
        other = scores.copy()
        other[rows, ds.label.values] = np.inf
        ax.hist(other.min(axis=1) - own, bins=30, color=PALETTE[0], alpha=0.7)
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set(
            xlabel="best other score - score of the true class",
            ylabel="images",
            title=f"accuracy {float(ds.accuracy):.3f} ± {float(ds.accuracy_error):.3f}",
        )
    else:
        names = ("shape_accuracy", "texture_accuracy", "shape_bias")
        needs(ds, {f"{n}{e}": () for n in names for e in ("", "_error")}, _MAKER)
        ax.bar(range(3), [float(ds[n]) for n in names], color=PALETTE[0], alpha=0.7,
               yerr=[float(ds[f"{n}_error"]) for n in names])  # fmt: skip
        ax.set_xticks(range(3), [n.replace("_", " ") for n in names])
        ax.set(ylim=(0, 1), ylabel="share of images, or of decisions")
    ax.spines[["top", "right"]].set_visible(False)
    return fig


CATEGORIES = (
    "airplane", "bear", "bicycle", "bird", "boat", "bottle", "car", "cat", "chair", "clock", "dog",
    "elephant", "keyboard", "knife", "oven", "truck",
)  # fmt: skip


def _but(low: int, high: int, *without: int) -> tuple[int, ...]:
    """Numbers from low to high, both in, without some."""
    return tuple(i for i in range(low, high + 1) if i not in without)


MEMBERS: dict[str, tuple[int, ...]] = {
    "airplane": (404,),
    "bear": _but(294, 297),
    "bicycle": (444, 671),
    "bird": (*_but(8, 24, 9, 17, 21), *_but(80, 100, 84, 85, 86, 97), *_but(127, 145, 134)),
    "boat": (472, 554, 625, 814, 914),
    "bottle": (440, 720, 737, 898, 899, 901, 907),
    "car": (436, 511, 817),
    "cat": _but(281, 286),
    "chair": (423, 559, 765, 857),
    "clock": (409, 530, 892),
    "dog": _but(152, 268, 192, 204, 227, 242, 251, 258, 260, 264),
    "elephant": (385, 386),
    "keyboard": (508, 878),
    "knife": (499,),
    "oven": (766,),
    "truck": (555, 569, 656, 675, 717, 734, 864, 867),
}
"""Numbers of the 207 ImageNet classes (sorted by synset) that make up the 16 categories of
Geirhos et al., arXiv 1811.12231."""
_NAME = re.compile(r"([a-z]+)(\d+)-([a-z]+)(\d+)")


@dataclass(frozen=True, eq=False)
class ConflictImages:
    """Files and their two cues, as numbers of ``CATEGORIES``.

    Attributes
    ----------
    paths
        [n] files with conflicting cues.
    shapes, textures
        [n], numbers of categories.
    equal
        How many files were dropped because both cues agree.
    foreign
        Names of image files that do not follow the rule.
    """

    paths: tuple[Path, ...]
    shapes: NDArray[np.intp]
    textures: NDArray[np.intp]
    equal: int
    foreign: tuple[str, ...]


def read_conflicts(folder: Path) -> ConflictImages:
    """The images with conflicting cues under a folder, in the natural order of their names.

    Parameters
    ----------
    folder : Path
        Images as ``shapeN-textureM.png``, at any depth.

    Returns
    -------
    ConflictImages

    Raises
    ------
    InvalidParameter
        If the folder is missing or holds no such image.

    Notes
    -----
    Validity: names alone are read; no image is opened.

    References
    ----------
    Geirhos et al., arXiv 1811.12231.
    """
    if not folder.is_dir():
        raise InvalidParameter(f"images = {folder} is no folder; give the one with the images")
    number = {name: i for i, name in enumerate(CATEGORIES)}
    kept, equal, foreign = [], 0, []
    for path in listed_images(folder):
        match = _NAME.fullmatch(path.stem)
        if match is None or match[1] not in number or match[3] not in number:
            foreign.append(path.name)
        elif match[1] == match[3]:
            equal += 1
        else:
            kept.append((path, number[match[1]], number[match[3]]))
    if not kept:
        raise InvalidParameter(
            f"images = {folder} holds no conflict ({equal} with equal cues, {len(foreign)} other "
            "names); files are called shapeN-textureM.png, such as cat4-elephant2.png"
        )
    paths, shapes, textures = zip(*kept, strict=True)
    return ConflictImages(paths, np.array(shapes), np.array(textures), equal, tuple(foreign))


def category_answers(scores: ArrayLike, members: Mapping[str, Sequence[int]]) -> Array:
    """Category of every image from scores of fine classes: the largest mean probability.

    Parameters
    ----------
    scores : array [n, K]
        Log-probabilities up to a constant: minus the denoising scores.
    members : mapping of category to class numbers
        One entry for each of ``CATEGORIES``.

    Returns
    -------
    int array [n]

    Raises
    ------
    InvalidParameter
        If a score is NaN, a category is missing or empty, or a class does not exist.

    Notes
    -----
    Validity: the mean over a category's classes, not their sum or maximum, as published.

    Examples
    --------
    >>> table = {name: [i] for i, name in enumerate(CATEGORIES)}
    >>> category_answers(np.eye(16)[[3]], table).tolist()
    [3]
    """
    probability = softmax(reals("scores", scores, ndim=2), axis=1)
    columns = []
    for name in CATEGORIES:
        rows = np.asarray(members.get(name, ()), np.intp)
        if not rows.size or rows.min() < 0 or rows.max() >= probability.shape[1]:
            raise InvalidParameter(
                f"category {name!r} has classes {rows.tolist()}; give at least one, from 0 to "
                f"{probability.shape[1] - 1}"
            )
        columns.append(probability[:, rows].mean(axis=1))
    return np.asarray(np.stack(columns, axis=1).argmax(axis=1))


def cue_shares(answers: ArrayLike, images: ConflictImages) -> dict[str, tuple[float, float]]:
    """Shape accuracy, texture accuracy and shape bias, each with its binomial error.

    Parameters
    ----------
    answers : int array [n]
        Category that is the answer for every image.
    images : ConflictImages

    Returns
    -------
    dict of (value, error)
        ``shape accuracy``, ``texture accuracy``, ``shape bias``; the bias is NaN if no answer
        matches a cue.

    Notes
    -----
    Validity: a bias of few answers that match a cue means little without the two accuracies.
    """
    found = np.asarray(answers)
    shape, texture = (int((found == cue).sum()) for cue in (images.shapes, images.textures))
    n = len(images.paths)
    return {
        "shape accuracy": _share(shape, n),
        "texture accuracy": _share(texture, n),
        "shape bias": _share(shape, shape + texture),
    }


def _share(count: int, total: int) -> tuple[float, float]:
    if not total:
        return float("nan"), float("nan")
    p = count / total
    return p, float(np.sqrt(p * (1 - p) / total))
