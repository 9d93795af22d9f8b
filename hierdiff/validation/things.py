"""Images of the THINGS data set with their odd-one-out responses, and features of them.

A triplet names three images by their numbers; the last one is the odd one out
(:mod:`hierdiff.sims.triplets`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff._files import read_npy
from hierdiff.checks import checked, count, integers, reals
from hierdiff.data.image_folder import image_files, load_images
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims.metrics.odd_one_out import read_triplets
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.execution import Execution
from hierdiff.validation.layers import Pooling
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.pretrained.vae import encoder_of

__all__ = ["block_layers", "triplet_features"]

Array: TypeAlias = NDArray[Any]

_BLOCKS = (
    (r"(input_blocks|output_blocks)\.\d+|middle_block", "space"),
    (r"inner\.(down_blocks|up_blocks)\.\d+\.resnets\.1|inner\.mid_block", "space"),
    (r"inner\.transformer_blocks\.\d+", "tokens"),
)
_NULL_CLASS = 1000


@checked
def block_layers(model: NetworkModel, names: tuple[str, ...] = ()) -> dict[str, Pooling]:
    """The named layers of a published network, by default its blocks, with their pooling."""
    found: dict[str, Pooling] = {}
    for name, _ in model.module.named_modules():
        for pattern, pooling in _BLOCKS:
            if re.fullmatch(pattern, name):
                found[name] = "tokens" if pooling == "tokens" else "space"
    if not names:
        return found
    tokens = any(p == "tokens" for p in found.values())
    return {name: found.get(name, "tokens" if tokens else "space") for name in names}


@checked(limit=count)
def triplet_features(
    name: str,
    images: Path,
    triplets: Path,
    *,
    labels: Path | None,
    null_embedding: Path | None,
    layers: tuple[str, ...],
    accept_licence: bool,
    device: str,
    limit: int,
    seed: int,
) -> tuple[Callable[[int, float], dict[str, Array]], tuple[int, ...], Array | None, Array]:
    """Features of images in a published network, and the triplets that compare them.

    Parameters
    ----------
    name : str
        A checkpoint of the catalogue.
    images : Path
        Folder of the images.
    triplets : Path
        File of the responses.
    labels : Path, optional
        A .npy file with the class or the text embedding of every image.
    null_embedding : Path, optional
        A .npy file with the embedding of the empty text, for a network on texts.
    layers : tuple of str
        As in :func:`block_layers`.
    accept_licence : bool
        As in :func:`hierdiff.validation.pretrained.loading.pretrained`.
    device : str
    limit : int
        Largest number of triplets; of more a random part is taken.
    seed : int
        Names the part and the noise.

    Returns
    -------
    features : callable
        Of a condition, 1 for ``labels`` and 0 for none, and a noise level.
    conditions : tuple of int
        Those that there are.
    labels : array [n, k] or None
        Labels as vectors.
    triplets : int array [m, 3]

    Raises
    ------
    InvalidParameter
        If the network needs a condition and none is given, or images cannot be read.

    Notes
    -----
    Validity: every noise level has the same noise.
    """
    entry = checkpoint(name)
    files = image_files(images)
    rows = read_triplets(triplets, len(files))
    if len(rows) > limit:
        rows = rows[np.sort(stream(seed, "subset").choice(len(rows), limit, replace=False))]
    given = None if labels is None else _conditions(labels, entry.condition, len(files))
    empty = _empty(entry.condition, null_embedding)
    conditions = (*((0,) if empty is not None or not entry.condition else ()),
                  *((1,) if given is not None else ()))  # fmt: skip
    if not conditions:
        raise InvalidParameter(
            f"{name} is conditioned on {entry.condition}; give labels FILE.npy, or null_embedding "
            "FILE.npy"
        )
    model = pretrained(
        name, accept_licence=accept_licence, execution=Execution(device=device, batch_size=8)
    )
    model = replace(model, layers=block_layers(model, layers))
    size, encode = encoder_of(entry, device)
    pixels, kept = load_images(files, size, crop=False)
    if len(kept) < len(files):
        raise InvalidParameter(
            f"{len(files) - len(kept)} of {len(files)} images cannot be read, and triplets name "
            "objects by their number; repair them"
        )
    x0 = encode(pixels)
    randoms = stream(seed, "noise").standard_normal(x0.shape, dtype=np.float32)

    def features(c: int, t: float) -> dict[str, Array]:
        x_t = model.noise.corrupt_with(x0, t, randoms).astype(np.float32)
        return model.given(given if c else empty).features(x_t, t)

    label = None
    if given is not None:
        label = given.reshape(len(given), -1) if given.dtype.kind == "f" else (
            np.eye(int(given.max()) + 1)[given]
        )  # fmt: skip
    return features, conditions, label, rows


def _empty(condition: str, null_embedding: Path | None) -> Any:
    """The unconditional input: a file, the null class of DiT, or None."""
    if null_embedding is not None:
        return _array(null_embedding, None)
    return _NULL_CLASS if "for none" in condition else None


def _conditions(path: Path, condition: str, n: int) -> Array:
    """Labels or text embeddings, as the network of this condition takes them."""
    found = _array(path, n)
    if condition.startswith("class"):
        return integers(f"labels in {path}", found, high=_NULL_CLASS - 1, shape=(n,))
    if condition.startswith("text"):
        return reals(f"labels in {path}", found, ndim=3)
    return integers(f"labels in {path}", found) if found.dtype.kind in "iu" else (
        reals(f"labels in {path}", found)
    )  # fmt: skip


def _array(path: Path, n: int | None) -> Array:
    try:
        found = read_npy(path, "array (.npy)")
    except FileNotFoundError:
        raise InvalidParameter(f"{path} does not exist; give the path of a .npy file") from None
    except DamagedFile:
        raise DamagedFile(f"{path} cannot be read as an array; give a .npy file") from None
    if n is not None and (found.ndim < 1 or len(found) != n):
        raise InvalidParameter(f"{path} has shape {found.shape}; give one row for each of {n}")
    return np.asarray(found)
