"""Handwritten digits, 8 x 8, a data set that needs no download; and labelled images in general.

The 1,797 digits of scikit-learn, scaled to [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff._lazy import import_optional
from hierdiff.checks import (
    check_fields,
    checked,
    count,
    integers,
    memory,
    reals,
)
from hierdiff.contracts import LabelledData
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator, stream

__all__ = [
    "LabelledImages",
    "digits",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class LabelledImages:
    """Images [n, channels, height, width] in [-1, 1] with labels [n]: a finite data model.

    Examples
    --------
    >>> data = LabelledImages(np.zeros((4, 1, 8, 8), np.float32), np.arange(4))
    >>> images, labels = data.sample(3, seed=0)
    >>> images.shape, labels.shape
    ((3, 1, 8, 8), (3,))
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_fields(self)
        n = len(reals("images", self.images, ndim=4))
        integers("labels", self.labels, 0, 2**20, shape=(n,))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Any) -> LabelledImages:
        return LabelledImages(self.images[rows], self.labels[rows])

    @checked(n=count)
    def sample(self, n: int, seed: Seed) -> LabelledData:
        """Images drawn with equal weights, with replacement, and their labels."""
        if not len(self):
            raise InvalidParameter("there are no images to draw from; give at least one")
        memory(f"n = {n} images of shape {self.images.shape[1:]}", n * self.images[0].nbytes)
        rows = generator(seed).integers(len(self), size=n)
        return LabelledData(self.images[rows], self.labels[rows])


@checked
def digits(split: str = "train", *, seed: int = 0) -> LabelledImages:
    """The digits of scikit-learn, a fifth of each class kept apart for testing.

    Parameters
    ----------
    split : {"train", "test"}
        1,442 or 355 images.
    seed : int
        Names the split and the order.

    Returns
    -------
    LabelledImages

    Raises
    ------
    InvalidParameter
        For another split.
    MissingPackage
        Without scikit-learn.

    Notes
    -----
    Validity: test images are never in the training set of the same seed.

    References
    ----------
    Alpaydin and Kaynak, UCI "Optical recognition of handwritten digits" (CC BY 4.0).

    Examples
    --------
    >>> train, test = digits("train"), digits("test")
    >>> train.images.shape, len(test), float(train.images.min()), float(train.images.max())
    ((1442, 1, 8, 8), 355, -1.0, 1.0)
    """
    if split not in ("train", "test"):
        raise InvalidParameter(f"split = {split!r} is unknown; use 'train' or 'test'")
    import_optional("sklearn", "scikit-learn", "the digits")
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images / 8 - 1).astype(np.float32)[:, None]
    labels = found.target.astype(np.int64)
    random = generator(stream(seed, "split"))
    order = random.permutation(len(labels))
    test = np.zeros(len(labels), bool)
    for k in range(10):
        of_class = order[labels[order] == k]
        test[of_class[: len(of_class) // 5]] = True
    rows = order[test[order] == (split == "test")]
    return LabelledImages(images[rows], labels[rows])
