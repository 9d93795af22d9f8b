"""Sets of labelled images by a name or a folder, read in parts.

===============  ===============================================================================
place            images
===============  ===============================================================================
``digits``       8 x 8 digits of scikit-learn, ten classes, one channel
``fashion``      Fashion-MNIST, 28 x 28, ten classes in four families, one channel
``fashion-14``   the same as means over 2 x 2 pixels; ``fashion-7`` over 4 x 4
a folder         image files, in a folder per class (:mod:`hierdiff.data.image_folder`); three
                 channels, or their mean where one channel is asked for
===============  ===============================================================================

A name goes before a folder of the same name in the working directory; give that one as a longer
path.  Files are opened when their rows are read, so a large folder needs no memory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    check_fields,
    checked,
    count,
    integers,
    one_of,
    reals,
    shown,
    text,
    unchecked,
)
from hierdiff.data.digits import LabelledImages, digits
from hierdiff.data.fashion import FASHION_CLASSES, class_similarity, fashion
from hierdiff.data.image_folder import ImageFolder, load_images
from hierdiff.errors import InvalidParameter

__all__ = ["IMAGE_SETS", "ImageSet", "image_set", "named_images", "set_similarity"]

Array = NDArray[Any]

IMAGE_SETS: dict[str, tuple[int, int, int]] = {
    "digits": (1, 8, 8), "fashion": (1, 28, 28), "fashion-14": (1, 14, 14), "fashion-7": (1, 7, 7),
}  # fmt: skip
"""Channels, height and width of the sets that have a name."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their classes, in memory or as files that are opened when they are read.

    Attributes
    ----------
    name
        The name of the set, or the folder.
    shape
        Channels, height, width of an image.
    labels
        Class of every image [n], where there are classes.
    classes
        Names of the classes that occur.
    images
        [n, channels, h, w] in [-1, 1], or None for files.
    files
        Files, for a folder.

    Examples
    --------
    >>> found = image_set("digits")
    >>> len(found), found.shape, found.read([0, 5])[0].shape
    (355, (1, 8, 8), (2, 1, 8, 8))
    """

    name: str
    shape: tuple[int, int, int]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...] = ()
    images: NDArray[np.float32] | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, labels=_labels, images=_images, shape=_shape)
        if self.images is None and not self.files:
            raise InvalidParameter(f"images = {self.name} are none; give images or files")
        if self.labels is not None:
            integers("labels", self.labels, shape=(len(self),))

    def __len__(self) -> int:
        return len(self.files) if self.images is None else len(self.images)

    @checked(rows=unchecked)
    def read(self, rows: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Images [n, channels, h, w] of these rows that can be read, and their row numbers."""
        chosen = integers("rows", rows, 0, len(self) - 1, ndim=1)
        if self.images is not None:
            return self.images[chosen], np.asarray(chosen, np.intp)
        pixels, kept = load_images([self.files[i] for i in chosen], self.shape[1])
        if self.shape[0] == 1:
            pixels = pixels.mean(axis=1, keepdims=True, dtype=np.float32)
        return pixels, np.asarray(chosen[kept], np.intp)

    @checked
    def of_classes(self, question: str) -> NDArray[np.int64]:
        """The labels, of two classes at least; else one line that names the question.

        Raises
        ------
        InvalidParameter
            If there are no classes, or only one.
        """
        kinds = 0 if self.labels is None else len(np.unique(self.labels))
        if self.labels is None or kinds < 2:
            what = f"one class ({self.classes[0]!r})" if self.classes else "no classes"
            raise InvalidParameter(
                f"images = {self.name} has {what}, and {question} needs two or more; give a "
                "folder with a folder of images per class, and no images beside them"
            )
        return self.labels


def _shape(name: str, value: Any) -> tuple[int, ...]:
    return tuple(int(k) for k in integers(name, value, 1, shape=(3,)))


def _labels(name: str, value: Any) -> Array | None:
    return None if value is None else integers(name, value, ndim=1)


def _images(name: str, value: Any) -> Array | None:
    return None if value is None else np.asarray(reals(name, value, ndim=4), np.float32)


def _split(name: str, value: Any) -> Any:
    return one_of(name, value, ("train", "test"))


@checked(split=_split)
def named_images(name: str, split: str = "train", *, seed: int = 0) -> LabelledImages:
    """The training or test images of a set that has a name.

    Parameters
    ----------
    name : str
        One of :data:`IMAGE_SETS`.
    split : {"train", "test"}
    seed : int
        Names the split of the digits; Fashion-MNIST has a published one.

    Returns
    -------
    LabelledImages

    Raises
    ------
    InvalidParameter
        For another name, or if the files of Fashion-MNIST are not on this machine.

    Examples
    --------
    >>> named_images("digits", "test").images.shape
    (355, 1, 8, 8)
    """
    if name not in IMAGE_SETS:
        raise InvalidParameter(
            f"images = {shown(name)} is no set of images; use one of {', '.join(IMAGE_SETS)}, or a "
            "folder"
        )
    if name == "digits":
        return digits(split, seed=seed)
    return fashion(split, size=IMAGE_SETS[name][1])


def image_place(name: str, value: Any) -> str:
    """Images in words: one of :data:`IMAGE_SETS`, or a folder.

    Raises
    ------
    InvalidParameter
        For words that are neither.

    Examples
    --------
    >>> image_place("images", "digits")
    'digits'
    """
    word = text(name, str(value) if isinstance(value, os.PathLike) else value)
    if word in IMAGE_SETS or (word and Path(word).is_dir()):
        return word
    raise InvalidParameter(
        f"{name} = {word!r} is no folder and no set; give a folder of images, or one of "
        f"{', '.join(IMAGE_SETS)}"
    )


@checked(size=partial(count), channels=partial(one_of, options=(1, 3)), split=_split)
def image_set(
    place: str | os.PathLike[str],
    *,
    size: int = 256,
    channels: int = 3,
    split: str = "test",
    seed: int = 0,
) -> ImageSet:
    """Images by the name of their set, or in a folder.

    Parameters
    ----------
    place : str or path-like
        One of :data:`IMAGE_SETS`, or a folder of images.
    size, channels : int
        Side and channels (1 or 3) that the images of a folder get; a named set has its own.
    split : {"train", "test"}
        Part of a named set; a folder has one part.
    seed : int
        Names the split of the digits.

    Returns
    -------
    ImageSet

    Raises
    ------
    InvalidParameter
        If there is no such set or folder.

    Notes
    -----
    Validity: names of files alone are read here.
    """
    word = str(place)
    if word in IMAGE_SETS:
        found = named_images(word, split, seed=seed)
        names = FASHION_CLASSES if word.startswith("fashion") else tuple("0123456789")
        return ImageSet(word, IMAGE_SETS[word], found.labels, names, found.images)
    folder = ImageFolder.of(Path(image_place("images", place)))
    labels = None if folder.labels is None or not folder.names else np.array(folder.labels)
    return ImageSet(word, (channels, size, size), labels, folder.names, files=folder.files)


@checked(labels=unchecked)
def set_similarity(name: str, labels: ArrayLike) -> Array:
    """Similarity of all pairs of images by the tree of their classes.

    Parameters
    ----------
    name : str
        Of the set: Fashion-MNIST has families above its classes, others have classes alone.
    labels : array of int [n]

    Returns
    -------
    array [n, n]
        Shared levels of the tree: 2 for the same class, 1 for the same family, 0 otherwise; of
        other sets 1 for the same class.

    Examples
    --------
    >>> set_similarity("fashion", [0, 2, 9])[0].tolist()
    [2.0, 1.0, 0.0]
    """
    y = integers("labels", labels, ndim=1)
    if name.startswith("fashion"):
        return np.asarray(class_similarity(y[:, None], y[None]), float)
    return np.asarray(y[:, None] == y[None], float)
