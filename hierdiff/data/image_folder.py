"""Images of a folder as the papers prepare them, and the same without their fine detail.

==================  ============================================================================
step                what happens
==================  ============================================================================
listing             natural order (2.png before 10.png); what file managers, notebooks and archives
                    leave behind (``.ipynb_checkpoints``, ``@eaDir``, ``__MACOSX``, ``._x.jpg``,
                    thumbnails) is left out, with a warning
classes             the folders directly below the given one: class k of folder "k" if all names
                    are numbers, else the place of the name in order
reading             RGB; grey, palette and CMYK images are converted, 16 bits are scaled to 8, EXIF
                    orientation is applied, transparent pixels are laid over white; what cannot be
                    read is left out, counted and named
size                halved with a box filter while the shorter side is at least twice the size,
                    then bicubic, then the centre
values              x / 127.5 - 1, in [-1, 1]
published samples   values cut to eight bits (truncated) and, in 2402.16991, stored as JPEG of
                    quality 75; :func:`eight_bits` does both, so that their effect can be shown
==================  ============================================================================
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff._lazy import import_optional
from hierdiff.checks import check_fields, checked, count, flag, instance, reals
from hierdiff.errors import DamagedFile, InvalidParameter

__all__ = [
    "ImageFolder",
    "SkippedImages",
    "eight_bits",
    "image_files",
    "labelled_folder",
    "load_images",
    "low_pass",
    "prepare",
]

Array = NDArray[Any]

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_OTHER_ENDINGS = {".tif", ".tiff", ".gif", ".jpe", ".jfif", ".ppm", ".pgm", ".heic", ".avif"}
_IMAGENET = 1000

# folders that hold copies or leavings and no data, in lower case; names with a leading dot too
_JUNK_FOLDERS = {
    "@eadir", "__macosx", "__pycache__", "#recycle", "$recycle.bin", "system volume information",
    "lost+found", "thumbs", "thumbnails", "_thumbs", "_thumbnails",
}  # fmt: skip
_JUNK_FILES = re.compile(r"thumbs|(synophoto|synovideo|synofile)_thumb.*", re.IGNORECASE)
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}

# the first lines of ILSVRC2012_validation_ground_truth.txt, in the devkit's own numbering
_DEVKIT = (490, 361, 171, 822, 297)

# Pillow refuses images above this many pixels; a resized strip must not exceed it either
_MOST_PIXELS = 178_956_970


class SkippedImages(UserWarning):
    """Some files are no data or cannot be read as images, and were left out."""


def natural_key(path: Path) -> tuple[Any, ...]:
    """Sorts numbers in names by value: 2.png before 10.png, and a bare name before name1."""
    parts = [*path.parts[:-1], path.stem]
    split = [re.split(r"([0-9]+)", part) for part in parts]
    # words stand at even places and numbers at odd ones, so only like is compared with like
    keys = tuple(tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)) for pieces in split)
    return keys, str(path)


def _is_junk(relative: Path) -> bool:
    *folders, name = relative.parts
    return (
        any(f.startswith(".") or f.lower() in _JUNK_FOLDERS for f in folders)
        or name.startswith(".")
        or _JUNK_FILES.fullmatch(relative.stem) is not None
    )


def listed_images(place: Path, endings: set[str] = _ENDINGS) -> list[Path]:
    """Images under a folder in natural order; says what it leaves out."""
    found, junk, other = [], [], []
    for path in place.rglob("*"):
        ending = path.suffix.lower()
        if ending not in _ENDINGS | _OTHER_ENDINGS or not path.is_file():
            continue
        relative = path.relative_to(place)
        if _is_junk(relative):
            junk.append(relative)
        elif ending in endings:
            found.append(path)
        elif ending in _OTHER_ENDINGS:
            other.append(relative)
    for names, what in (
        (junk, "lie in hidden, thumbnail or archive leavings, are no data"),
        (other, "have an ending that is not read (convert them to PNG or JPEG)"),
    ):
        if names:
            first = ", ".join(str(p) for p in sorted(names, key=natural_key)[:3])
            warnings.warn(
                f"{len(names)} files under {place} {what} and were left out: {first}"
                + (", ..." if len(names) > 3 else ""),
                SkippedImages, stacklevel=3,
            )  # fmt: skip
    return sorted(found, key=lambda p: natural_key(p.relative_to(place)))


@checked
def image_files(folder: str | Path) -> list[Path]:
    """All images under a folder, in the natural order of their paths.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    list of Path
        ``2.png`` before ``10.png``.

    Raises
    ------
    InvalidParameter
        If there is no such folder, or no image in it.

    Warns
    -----
    SkippedImages
        With the number of files that are no data (hidden ones, thumbnails, ``__MACOSX``, ...) or
        have another image's ending.

    Notes
    -----
    Validity: endings png, jpg, jpeg, bmp and webp, in any case.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InvalidParameter(f"images = {place} is no folder; give the one with the images")
    found = listed_images(place)
    if not found:
        raise InvalidParameter(f"images = {place} holds no image; give a folder with PNG or JPEG")
    return found


def _eight_bit_rgb(image: Any) -> Any:
    """A PIL image as RGB, as a viewer shows it; ValueError where its scale is not known."""
    from PIL import Image, ImageOps

    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        # conversion to RGB would cut at 255, which turns the image white
        wide = np.asarray(image, np.int64)
        levels = np.floor(wide.clip(0, 65535) / 257 + 0.5).astype(np.uint8)
        exif = image.getexif()
        image = Image.fromarray(levels)
        image.getexif().update(exif)
    elif mode in ("I", "F"):
        raise ValueError(f"mode {mode} does not say which value is white; store eight or 16 bits")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        whole = image.convert("RGBA")
        white = Image.new("RGBA", whole.size, "white")
        image = Image.alpha_composite(white, whole)
    return image.convert("RGB")


@checked(image=lambda name, value: instance(name, value, _image_type()), size=count)
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

    Raises
    ------
    InvalidParameter
        For something that is no image, or one whose values have no known scale (modes I and F).

    Notes
    -----
    Validity: the steps of guided-diffusion's centre crop, after what it leaves to the reader: 16
    bits become 8, EXIF orientation is applied, transparency is laid over white.

    Examples
    --------
    >>> from PIL import Image
    >>> prepare(Image.new("L", (40, 20), 255), 8).shape
    (3, 8, 8)
    """
    from PIL import Image

    try:
        image = _eight_bit_rgb(image)
    except ValueError as error:
        raise InvalidParameter(f"image cannot become RGB: {error}") from None
    if crop and max(image.size) * size**2 > _MOST_PIXELS * min(image.size):
        raise InvalidParameter(
            f"image of {image.width} x {image.height} is too narrow for size = {size}; cut it first"
        )
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


def _image_type() -> type:
    import_optional("PIL", "pillow", "reading images")
    from PIL import Image

    return Image.Image


@checked(size=count)
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
        With the number and the names of those that are not: damaged, of unknown scale, or so large
        that Pillow takes them for an attack.

    Notes
    -----
    Validity: any format that pillow reads.
    """
    import_optional("PIL", "pillow", "reading images")
    from PIL import Image

    kept, rows, failed = [], [], []
    for i, path in enumerate(map(Path, files)):
        try:
            # pillow warns of damage that it repairs, and of sizes below its limit
            with warnings.catch_warnings(action="ignore"), Image.open(path) as opened:
                kept.append(prepare(opened, size, crop=crop))
        # decoders of damaged files raise OSError, SyntaxError, struct.error, IndexError, zlib's and
        # pillow's own errors, DecompressionBombError and MemoryError among them
        except Exception:
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


def class_numbers(names: Sequence[str]) -> dict[str, int]:
    """Class of every folder name: the number itself where all are numbers, else its place."""
    every = sorted(set(names), key=lambda name: natural_key(Path(name)))
    if not all(name.isascii() and name.isdigit() for name in every):
        return {name: i for i, name in enumerate(sorted(every))}
    found = {name: int(name) for name in every}
    if len(set(found.values())) < len(found):
        twice = next(n for n in every if list(found.values()).count(found[n]) > 1)
        raise InvalidParameter(
            f"two folders stand for class {found[twice]} ({twice!r} is one); call each class by "
            "one number"
        )
    return found


@dataclass(frozen=True)
class ImageFolder:
    """Files of a folder with the classes they are in, in one order everywhere.

    Parameters
    ----------
    files : tuple of Path
    labels : tuple of int, optional
        Class of every file, where the folder says it.
    names : tuple of str
        Name of the folder of every class that occurs, in the order of the classes.

    Notes
    -----
    Validity: :meth:`of` reads folders per class (ImageNet: sorted names are sorted classes; names
    that are all numbers are the classes themselves), and a flat folder, with a file of classes
    beside it or without labels.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...] | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    @checked
    def of(cls, folder: str | Path, truth: str | Path | None = None) -> ImageFolder:
        """Read the names of a folder.

        Parameters
        ----------
        folder : path-like
            A folder per class, or all images in one (ILSVRC2012_val_00000001.JPEG, ...).
        truth : path-like, optional
            For the flat layout: a line with the class 0 ... 999 of every image, in natural order,
            or lines of an image's name and its class, in any order.

        Returns
        -------
        ImageFolder
            Without labels if images lie both in the folder and below it.

        Raises
        ------
        InvalidParameter
            If there are no images, another number of lines than images, classes outside 0 ... 999,
            or the ground truth of ImageNet's development kit, which numbers classes 1 ... 1000 in
            an order of its own; if the folder holds the parts of a data set (train, val).
        DamagedFile
            If ``truth`` cannot be read.
        """
        files = image_files(folder)
        if truth is not None:
            return cls(tuple(files), _true_classes(Path(truth), files))
        below = [p.relative_to(folder).parts for p in files]
        if any(len(parts) == 1 for parts in below):
            return cls(tuple(files))
        places = [parts[0] for parts in below]
        parts = sorted(set(places))
        if {name.lower() for name in parts} <= _SPLITS:
            raise InvalidParameter(
                f"images = {folder} holds {' and '.join(parts)}, parts of a data set and no "
                "classes; give one of them"
            )
        number = class_numbers(places)
        names = tuple(sorted(number, key=lambda name: number[name]))
        return cls(tuple(files), tuple(number[name] for name in places), names)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def summary(self) -> str:
        """Which folder is which class, in one line."""
        if not self.names or self.labels is None:
            return f"{len(self)} images without class folders"
        numbers = sorted(set(self.labels))
        pairs = [f"{n} = {name!r}" for n, name in zip(numbers, self.names, strict=True)]
        shown = pairs if len(pairs) <= 4 else [*pairs[:3], "...", pairs[-1]]
        return f"{len(self)} images in {len(pairs)} class folders: {', '.join(shown)}"

    @checked
    def first(self, per_class: int) -> ImageFolder:
        """The first images of every class, or of all where there are no classes."""
        per_class = count("per_class", per_class)
        if self.labels is None:
            return ImageFolder(self.files[:per_class])
        seen: dict[int, int] = {}
        rows = []
        for i, label in enumerate(self.labels):
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= per_class:
                rows.append(i)
        labels = tuple(self.labels[i] for i in rows)
        return ImageFolder(tuple(self.files[i] for i in rows), labels, self.names)

    @checked
    def batches(self, size: int, batch: int) -> Iterator[tuple[Array, NDArray[np.float32]]]:
        """Row numbers and images [n, 3, size, size], some at a time, so that memory is bounded."""
        size, batch = count("size", size), count("batch", batch)
        for start in range(0, len(self.files), batch):
            images, rows = load_images(self.files[start : start + batch], size)
            yield rows + start, images


def _true_classes(path: Path, files: Sequence[Path]) -> tuple[int, ...]:
    """Classes from a file of one number per image, or of names and numbers."""
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFile(
            f"truth = {path} cannot be read ({type(error).__name__}); give a text file with a "
            "class per line"
        ) from None
    widths = {len(words) for words in lines}
    if len(lines) != len(files) or widths - {1, 2} or len(widths) > 1:
        raise InvalidParameter(
            f"{path} has {len(lines)} classes for {len(files)} images; give one line each, with "
            "the class alone or after the image's name"
        )
    try:
        numbers = [int(words[-1]) for words in lines]
    except ValueError:
        wrong = next(w[-1] for w in lines if not re.fullmatch(r"[+-]?[0-9]+", w[-1]))
        raise InvalidParameter(
            f"{path} holds {wrong!r:.40}; give classes 0 ... {_IMAGENET - 1}"
        ) from None
    # 50,000 validation images hold every class 50 times: without a class 0 it is the devkit
    devkit = tuple(numbers[:5]) == _DEVKIT or (min(numbers) >= 1 and len(numbers) >= 50_000)
    if devkit or max(numbers) == _IMAGENET or "validation_ground_truth" in path.name:
        raise InvalidParameter(
            f"{path} has the classes 1 ... 1000 of ImageNet's development kit, whose order is not "
            "that of the networks; give lines of name and class 0 ... 999 by sorted synset "
            "(val.txt of caffe_ilsvrc12), or sort the images into a folder per synset"
        )
    if min(numbers) < 0 or max(numbers) > _IMAGENET:
        least = min(numbers)
        beyond = least if least < 0 else max(numbers)
        raise InvalidParameter(f"{path} holds {beyond}; give classes 0 ... {_IMAGENET - 1}")
    if widths == {1}:
        return tuple(numbers)
    known = {Path(words[0]).name: k for words, k in zip(lines, numbers, strict=True)}
    missing = [p.name for p in files if p.name not in known]
    if missing:
        raise InvalidParameter(
            f"{path} has no line for {missing[0]} ({len(missing)} in all); give a class per image"
        )
    return tuple(known[p.name] for p in files)


@checked(factor=count)
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
    if x.ndim < 2:
        raise InvalidParameter(f"images have shape {x.shape}; give [..., h, w]")
    h, w = x.shape[-2:]
    if h % factor or w % factor:
        raise InvalidParameter(f"factor = {factor} must divide the sides {h} x {w} of the images")
    blocks = x.reshape(*x.shape[:-2], h // factor, factor, w // factor, factor)
    means = blocks.mean(axis=(-3, -1), keepdims=True)
    return np.asarray(np.broadcast_to(means, blocks.shape).reshape(x.shape), x.dtype)


@checked
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

    Raises
    ------
    InvalidParameter
        For NaN, or another shape where JPEG is wanted.

    Notes
    -----
    Validity: truncation, as in the authors' scripts; the start images of their comparison are not
    compressed, so it contains a JPEG step at every noise level.

    Examples
    --------
    >>> round(float(eight_bits(np.full((1, 3, 2, 2), 0.001))[0, 0, 0, 0]), 6)
    -0.003922
    """
    reals("images", images, shape=(None, 3, None, None) if flag("jpeg", jpeg) else None)
    # in the type of the images, as published: float64 would cut some numbers to another level
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


@checked(classes=count)
def labelled_folder(folder: Path, classes: int) -> ImageFolder:
    """Images in a folder per class of a network.

    Parameters
    ----------
    folder : Path
        Holds folders that are called by the number of their class, from 0, or one folder for every
        class in their order (as those of ImageNet, whose names sort like its classes).
    classes : int
        Number of classes of the network.

    Returns
    -------
    ImageFolder

    Raises
    ------
    InvalidParameter
        If there are other folders than that.

    Notes
    -----
    Validity: every file has a label below ``classes``.
    """
    found = ImageFolder.of(folder)
    labels = np.array(found.labels if found.labels is not None else (), np.int64)
    names = found.names
    numbered = bool(names) and all(name.isdigit() for name in names)
    if not names or (numbered and labels.max() >= classes) or (
        not numbered and len(names) != classes
    ):  # fmt: skip
        hint = f"; class {labels.max()} is beyond {classes - 1}" if numbered else ""
        raise InvalidParameter(
            f"images = {folder} has {len(names)} folders with images{hint}; give one for each of "
            f"the {classes} classes, or call folders by the number of their class, from 0"
        )
    return found
