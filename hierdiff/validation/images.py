"""Images of a folder as the papers prepare them, and the same without their fine detail.

==================  ============================================================================
step                what happens
==================  ============================================================================
reading             RGB; grey images and palettes are converted; what cannot be read is left out,
                    counted and named
size                halved with a box filter while the shorter side is at least twice the size,
                    then bicubic, then the centre
values              x / 127.5 - 1, in [-1, 1]
published samples   values cut to eight bits (truncated) and, in 2402.16991, stored as JPEG of
                    quality 75; :func:`eight_bits` does both, so that their effect can be shown
==================  ============================================================================
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.validation._optional import need

__all__ = [
    "ImageFolder",
    "SkippedImages",
    "eight_bits",
    "image_files",
    "load_images",
    "low_pass",
    "prepare",
]

Array = NDArray[Any]

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


class SkippedImages(UserWarning):
    """Some files cannot be read as images, and were left out."""


def image_files(folder: str | Path) -> list[Path]:
    """All images under a folder, in the order of their paths.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of Path

    Raises
    ------
    InvalidParameter
        If there is no such folder, or no image in it.

    Notes
    -----
    Validity: endings png, jpg, jpeg, bmp and webp, in any case.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InvalidParameter(f"images = {place} is no folder; give the one with the images")
    found = sorted(p for p in place.rglob("*") if p.suffix.lower() in _ENDINGS)
    if not found:
        raise InvalidParameter(f"images = {place} holds no image; give a folder with PNG or JPEG")
    return found


def prepare(image: Any, size: int, *, crop: bool = True) -> NDArray[np.float32]:
    """An open PIL image as [3, size, size] in [-1, 1].

    Parameters
    ----------
    image : PIL.Image.Image
    size : int
        Pixels on a side.
    crop : bool
        Cut the centre; else the whole image is resized.

    Returns
    -------
    array

    Notes
    -----
    Validity: the steps of guided-diffusion's centre crop.

    Examples
    --------
    >>> from PIL import Image
    >>> prepare(Image.new("L", (40, 20), 255), 8).shape
    (3, 8, 8)
    """
    from PIL import Image

    image = image.convert("RGB")
    if not crop:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    else:
        while min(image.size) >= 2 * size:
            half = tuple(side // 2 for side in image.size)
            image = image.resize(half, Image.Resampling.BOX)
        scale = size / min(image.size)
        shape = tuple(round(side * scale) for side in image.size)
        image = image.resize(shape, Image.Resampling.BICUBIC)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
    return np.asarray(pixels / 127.5 - 1, np.float32)


def load_images(
    files: Sequence[Path], size: int, *, crop: bool = True
) -> tuple[NDArray[np.float32], Array]:
    """Images [n, 3, size, size] in [-1, 1], and which of the files they are, [n].

    Parameters
    ----------
    files : sequence of Path
    size, crop
        As in :func:`prepare`.

    Returns
    -------
    images, rows

    Raises
    ------
    InvalidParameter
        If none of them is a readable image.
    MissingPackage
        Without pillow.

    Warns
    -----
    SkippedImages
        With the number and the names of those that are not.

    Notes
    -----
    Validity: any format that pillow reads.
    """
    need("PIL", "pillow", "reading images")
    from PIL import Image

    kept, rows, failed = [], [], []
    for i, path in enumerate(files):
        try:
            with Image.open(path) as opened:
                kept.append(prepare(opened, size, crop=crop))
        except (OSError, ValueError, SyntaxError):
            failed.append(path.name)
            continue
        rows.append(i)
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(files)} files are no readable images and were left out: "
            + ", ".join(failed[:3]) + (", ..." if len(failed) > 3 else ""),
            SkippedImages, stacklevel=2,
        )  # fmt: skip
    if not kept:
        raise InvalidParameter(f"none of {len(files)} files is a readable image; check the folder")
    return np.stack(kept), np.array(rows)


@dataclass(frozen=True)
class ImageFolder:
    """Files of a folder with the classes they are in, in one order everywhere.

    Parameters
    ----------
    files : tuple of Path
    labels : tuple of int, optional
        Class of every file, where the folder says it.

    Notes
    -----
    Validity: :meth:`of` knows folders per class (ImageNet: sorted names are sorted classes), and a
    flat folder, with the official file of ground truth beside it or without labels.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...] | None = None

    @classmethod
    def of(cls, folder: str | Path, truth: str | Path | None = None) -> ImageFolder:
        """Read the names of a folder.

        Parameters
        ----------
        folder : path-like
            A folder per class, or all images in one (ILSVRC2012_val_00000001.JPEG, ...).
        truth : path-like, optional
            For the flat layout: a line with the class of every image, in order.

        Returns
        -------
        ImageFolder

        Raises
        ------
        InvalidParameter
            If there are no images, or another number of lines than images.
        """
        files = image_files(folder)
        inside = [p for p in files if p.parent != Path(folder)]
        if truth is not None:
            lines = [line for line in Path(truth).read_text().split() if line]
            if len(lines) != len(files):
                raise InvalidParameter(
                    f"{truth} has {len(lines)} classes for {len(files)} images; give one line each"
                )
            return cls(tuple(files), tuple(int(line) for line in lines))
        if len(inside) == len(files):
            names = sorted({p.parent.name for p in files})
            return cls(tuple(files), tuple(names.index(p.parent.name) for p in files))
        return cls(tuple(files))

    def __len__(self) -> int:
        return len(self.files)

    def first(self, per_class: int) -> ImageFolder:
        """The first images of every class, or of all where there are no classes."""
        if per_class < 1:
            raise InvalidParameter(f"per_class = {per_class} must be at least 1")
        if self.labels is None:
            return ImageFolder(self.files[:per_class])
        seen: dict[int, int] = {}
        rows = []
        for i, label in enumerate(self.labels):
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= per_class:
                rows.append(i)
        labels = tuple(self.labels[i] for i in rows)
        return ImageFolder(tuple(self.files[i] for i in rows), labels)

    def batches(self, size: int, batch: int) -> Iterator[tuple[Array, NDArray[np.float32]]]:
        """Row numbers and images [n, 3, size, size], some at a time, so that memory is bounded."""
        for start in range(0, len(self.files), batch):
            images, rows = load_images(self.files[start : start + batch], size)
            yield rows + start, images


def low_pass(images: Array, factor: int) -> Array:
    """Images without detail finer than ``factor`` pixels: mean of blocks, drawn back as blocks.

    Parameters
    ----------
    images : array [..., h, w]
    factor : int
        Pixels on a side of a block; 1 changes nothing.

    Returns
    -------
    array
        Of the same shape.

    Raises
    ------
    InvalidParameter
        If the factor does not divide the sides.

    Notes
    -----
    Validity: the control that Wolff et al. (arXiv 2602.13859) ask for: how much of an alignment
    with shape comes from the resized input alone.

    Examples
    --------
    >>> low_pass(np.arange(16.0).reshape(1, 4, 4), 2)[0].tolist()[0]
    [2.5, 2.5, 4.5, 4.5]
    """
    x = np.asarray(images)
    h, w = x.shape[-2:]
    if factor < 1 or h % factor or w % factor:
        raise InvalidParameter(f"factor = {factor} must divide the sides {h} x {w} of the images")
    blocks = x.reshape(*x.shape[:-2], h // factor, factor, w // factor, factor)
    means = blocks.mean(axis=(-3, -1), keepdims=True)
    return np.asarray(np.broadcast_to(means, blocks.shape).reshape(x.shape), x.dtype)


def eight_bits(images: Array, *, jpeg: bool = False) -> NDArray[np.float32]:
    """Images as published samples were stored: eight bits, and JPEG of quality 75 if wanted.

    Parameters
    ----------
    images : array [n, 3, h, w]
        In [-1, 1].
    jpeg : bool
        Through a JPEG file of pillow's default quality.

    Returns
    -------
    array [n, 3, h, w]

    Notes
    -----
    Validity: truncation, as in the authors' scripts; the start images of their comparison are not
    compressed, so it contains a JPEG step at every noise level.

    Examples
    --------
    >>> round(float(eight_bits(np.full((1, 3, 2, 2), 0.001))[0, 0, 0, 0]), 6)
    -0.003922
    """
    levels = np.clip((np.asarray(images) + 1) * 127.5, 0, 255).astype(np.uint8)
    if jpeg:
        from PIL import Image

        stored = []
        for image in levels.transpose(0, 2, 3, 1):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="JPEG")
            stored.append(np.asarray(Image.open(buffer).convert("RGB")))
        levels = np.stack(stored).transpose(0, 3, 1, 2)
    return np.asarray(levels / 127.5 - 1, np.float32)
