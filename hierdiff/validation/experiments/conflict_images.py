r"""Images whose shape is of one category and whose texture of another.

Files are called ``shapeN-textureM.png``, as in the public set of 1,280 (16 categories by 80), of
which 80 have equal cues and are dropped.  Two numbers, which are not the same:

.. math::
    \text{shape accuracy} = \frac{n_{shape}}{n}, \qquad
    \text{shape bias} = \frac{n_{shape}}{n_{shape} + n_{texture}} .
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from hierdiff.checks import reals
from hierdiff.data.image_folder import listed_images
from hierdiff.errors import InvalidParameter

__all__: list[str] = []  # used inside hierdiff only

Array: TypeAlias = NDArray[Any]

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
