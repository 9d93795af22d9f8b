"""Images and odd-one-out responses of people to them, in the format of THINGS."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff._files import read_npy
from hierdiff._lazy import renamed
from hierdiff.checks import checked, count, integers, reals
from hierdiff.data.image_folder import image_files, load_images
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims.alignment import ComparedObjects
from hierdiff.sims.metrics.odd_one_out import TripletTask, read_triplets
from hierdiff.validation.adapter import NetworkModel, Pooling
from hierdiff.validation.execution import Execution
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.latent_diffusion import encoder_of
from hierdiff.validation.pretrained.loading import pretrained

__all__ = ["block_layers", "things_objects"]

if not TYPE_CHECKING:  # old names, for one release
    __getattr__ = renamed(__name__, {"judged_images": "triplet_features"})

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
def things_objects(
    name: str,
    images: Path,
    triplets: Path,
    *,
    labels: Path | None,
    null: Path | None,
    layers: tuple[str, ...],
    accept_licence: bool,
    device: str,
    limit: int,
    ties: Literal["wrong", "shared"],
    seed: int,
) -> tuple[NetworkModel, ComparedObjects]:
    """A published network, and images with the responses of people to their triplets.

    Parameters
    ----------
    name : str
        Of the catalogue.
    images : pathlib.Path
        Folder with one image per object, in the order of the objects' numbers.
    triplets : pathlib.Path
        Responses, as :func:`hierdiff.sims.metrics.odd_one_out.read_triplets` reads them.
    labels : pathlib.Path, optional
        Class or embedding of text per object, on which the network is conditioned.
    null : pathlib.Path, optional
        What stands for no text.
    layers : tuple of str
        Submodules; default the network's blocks.
    accept_licence : bool
    device : str
    limit : int
        How many triplets are taken at most.
    ties : {"wrong", "shared"}
    seed : int
        Draws the triplets and the noise.

    Returns
    -------
    model : NetworkModel
    objects : ComparedObjects

    Raises
    ------
    InvalidParameter
        If an image cannot be read, or the network needs a condition that is not given.

    Notes
    -----
    Validity: that of the network.
    """
    entry = checkpoint(name)
    files = image_files(images)
    rows = read_triplets(triplets, len(files))
    if len(rows) > limit:
        rows = rows[np.sort(stream(seed, "subset").choice(len(rows), limit, replace=False))]
    given = None if labels is None else _given(labels, entry.condition, len(files))
    empty = _empty(entry.condition, null)
    unconditional = empty is not None or not entry.condition
    if not unconditional and given is None:
        raise InvalidParameter(
            f"{name} must be conditioned on {entry.condition}; give --labels FILE.npy, or --null "
            "FILE.npy"
        )
    model = pretrained(
        name, accept_licence=accept_licence, execution=Execution(device=device, batch_size=8)
    )
    model = replace(model, layers=block_layers(model, layers)).given(empty)
    size, encode = encoder_of(entry, device)
    pixels, kept = load_images(files, size, crop=False)
    if len(kept) < len(files):
        raise InvalidParameter(
            f"{len(files) - len(kept)} of {len(files)} images cannot be read, and triplets name "
            "objects by their number; repair them"
        )
    x0 = np.asarray(encode(pixels), np.float32)
    responses = np.tile([0.0, 0.0, 1.0], (len(rows), 1))
    task = TripletTask(rows, responses, ties, seed)
    # float32, as images are: half of what a large set of them would need
    randoms = stream(seed, "noise").standard_normal(x0.shape, dtype=np.float32)
    objects = ComparedObjects(
        x0, task, labels=given, unconditional=unconditional, ends=False, randoms=randoms
    )  # fmt: skip
    return model, objects


def _empty(condition: str, null: Path | None) -> Any:
    """What stands for no condition: a file, DiT's extra class, or nothing at all."""
    if null is not None:
        return _array(null, None)
    return _NULL_CLASS if "for none" in condition else None


def _given(path: Path, condition: str, n: int) -> Array:
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
