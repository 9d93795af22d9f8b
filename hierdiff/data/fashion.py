"""Fashion-MNIST: 70,000 photographs of clothing, with a tree of classes that everybody accepts.

===========  ==============================================  =========
family       classes                                         labels
===========  ==============================================  =========
tops         T-shirt, pullover, dress, coat, shirt           0 2 3 4 6
trousers     trousers                                        1
shoes        sandal, sneaker, ankle boot                     5 7 9
bags         bag                                             8
===========  ==============================================  =========

Grey images of 28 x 28 pixels, 60,000 for training and 10,000 for testing, ten classes of equal size
(arXiv 1708.07747, MIT licence).  Debian and Ubuntu carry the four files in the package
``dataset-fashion-mnist``.  They are looked for, in this order, in the folder that is given, in
``HIERDIFF_DATA`` and its folder ``fashion-mnist``, and where the package puts them.  What is inside
the files is verified each time they are read.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, integers, one_of, shown, unchecked
from hierdiff.data.digits import LabelledImages
from hierdiff.errors import DamagedFile, InvalidParameter

__all__ = [
    "FASHION_CLASSES",
    "FASHION_FAMILIES",
    "class_similarity",
    "family_of",
    "fashion",
    "fashion_folder",
]  # fmt: skip

Array = NDArray[Any]

FASHION_CLASSES = (
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip
"""Names of the classes by their label."""
FASHION_FAMILIES = ("tops", "trousers", "shoes", "bags")
"""Names of the families."""
_FAMILY = np.array([0, 1, 0, 0, 0, 2, 0, 2, 3, 2])

_NAME = "fashion-mnist"
# SHA-256 of what the files hold: they may be packed by another gzip than Debian's
_FILES = {
    "train": (
        ("train-images-idx3-ubyte",
         "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        ("train-labels-idx1-ubyte",
         "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte",
         "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        ("t10k-labels-idx1-ubyte",
         "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
}  # fmt: skip
# IDX: a magic number, one size per axis, all four bytes, then the bytes of the array
_HEADERS = {3: 16, 1: 8}
# no file of the set is larger; a gzip file can claim to unpack to any size
_LARGEST = 2**26


def _places(folder: Path | None) -> list[Path]:
    """Folders in which the files may lie."""
    if folder is not None:
        return [folder, folder / _NAME]
    found = []
    if os.environ.get("HIERDIFF_DATA"):
        own = Path(os.environ["HIERDIFF_DATA"]).expanduser()
        found += [own, own / _NAME]
    for prefix in (Path(sys.prefix), Path("/usr"), Path("/usr/local")):
        found.append(prefix / "share" / "datasets" / _NAME)
    return found


def _file(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    return None


@checked
def fashion_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the four files.

    Parameters
    ----------
    folder : path-like, optional
        Where to look; default as the head of the module says.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    InvalidParameter
        If the files are not there; the line names the package that brings them.

    Examples
    --------
    >>> fashion_folder("no such folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: Fashion-MNIST is not in 'no such folder'; install ...
    """
    places = _places(None if folder is None else Path(folder))
    names = [name for pair in _FILES.values() for name, _ in pair]
    for place in places:
        if all(_file(place, name) is not None for name in names):
            return place
    where = f"in {str(folder)!r}" if folder is not None else "on this machine"
    raise InvalidParameter(
        f"Fashion-MNIST is not {where}; install the package dataset-fashion-mnist (apt-get "
        f"install dataset-fashion-mnist), or name the folder of its four files {names[0]}.gz, ... "
        "in HIERDIFF_DATA"
    )


def _read(path: Path, digest: str, ndim: int) -> Array:
    """The array of an IDX file, if it is the published one."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                whole = file.read(_LARGEST)
        else:
            whole = path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedFile(f"{path} cannot be read ({error}); install the package again") from None
    found = hashlib.sha256(whole).hexdigest()
    if found != digest:
        raise DamagedFile(
            f"{path} is not the published file (SHA-256 {found[:12]}..., published "
            f"{digest[:12]}...); install the package again"
        )
    sizes = np.frombuffer(whole[4 : _HEADERS[ndim]], ">u4").astype(int)
    return np.frombuffer(whole, np.uint8, offset=_HEADERS[ndim]).reshape(sizes)


@checked(size=partial(one_of, options=(28, 14, 7)))
def fashion(
    split: str = "train", *, size: int = 28, folder: str | os.PathLike[str] | None = None
) -> LabelledImages:
    """The photographs of Fashion-MNIST as a data model.

    Parameters
    ----------
    split : {"train", "test"}
        60,000 or 10,000 images, in the published order.
    size : {28, 14, 7}
        Pixels of a side; smaller images are means over blocks of 2 x 2 or 4 x 4 pixels.
    folder : path-like, optional
        Folder of the files.

    Returns
    -------
    LabelledImages
        Images [n, 1, size, size] in [-1, 1], where -1 is the background; labels 0 to 9.

    Raises
    ------
    InvalidParameter
        For another split or size, or if the files are not there.
    DamagedFile
        If a file is not the published one.

    Notes
    -----
    Validity: the training set holds a few near-duplicates of test images, as published.

    References
    ----------
    Xiao, Rasul and Vollgraf, arXiv 1708.07747.
    """
    if split not in _FILES:
        raise InvalidParameter(f"split = {shown(split)} is unknown; use 'train' or 'test'")
    place = fashion_folder(folder)
    (images, images_hash), (labels, labels_hash) = _FILES[split]
    paths = [_file(place, name) for name in (images, labels)]
    assert paths[0] is not None
    assert paths[1] is not None
    pixels = _read(paths[0], images_hash, 3)
    k = 28 // size
    blocks = pixels.reshape(len(pixels), size, k, size, k)
    # sums of at most 16 bytes are exact, so the mean does not depend on the order
    sums = blocks.sum(axis=(2, 4), dtype=np.uint16)
    values = sums.astype(np.float32) / np.float32(127.5 * k * k) - np.float32(1)
    return LabelledImages(values[:, None], _read(paths[1], labels_hash, 1).astype(np.int64))


@checked(labels=unchecked)
def family_of(labels: ArrayLike) -> Array:
    """The family of each class label: the level of the tree above the class.

    Parameters
    ----------
    labels : array of int
        0 to 9.

    Returns
    -------
    array of int
        Places in ``FASHION_FAMILIES``.

    Raises
    ------
    InvalidParameter
        For a label that is none.

    Examples
    --------
    >>> [FASHION_FAMILIES[k] for k in family_of([0, 9, 6])]
    ['tops', 'shoes', 'tops']
    """
    found: Array = _FAMILY[integers("labels", labels, 0, 9)]
    return found


@checked(first=unchecked, second=unchecked)
def class_similarity(first: ArrayLike, second: ArrayLike) -> Array:
    """Similarity of two classes in the tree: 2 for the same class, 1 for the family, else 0.

    Parameters
    ----------
    first, second : arrays of int
        Labels, broadcast.

    Returns
    -------
    array of int

    Raises
    ------
    InvalidParameter
        For a label that is none, or shapes that do not fit.

    Examples
    --------
    >>> class_similarity([0, 0, 0], [0, 6, 9]).tolist()
    [2, 1, 0]
    """
    a, b = integers("first", first, 0, 9), integers("second", second, 0, 9)
    try:
        a, b = np.broadcast_arrays(a, b)
    except ValueError:
        raise InvalidParameter(
            f"first of shape {a.shape} and second of shape {b.shape} do not fit; give equal shapes"
        ) from None
    same: Array = (a == b).astype(int) + (_FAMILY[a] == _FAMILY[b])
    return same
