"""Images and human choices among them as the features and triplets of the alignment study."""

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

__all__ = ["block_layers", "judged_images"]

Array: TypeAlias = NDArray[Any]

_BLOCKS = (
    (r"(input_blocks|output_blocks)\.\d+|middle_block", "space"),
    (r"inner\.(down_blocks|up_blocks)\.\d+\.resnets\.1|inner\.mid_block", "space"),
    (r"inner\.transformer_blocks\.\d+", "tokens"),
)
_NO_CLASS = 1000


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
def judged_images(
    name: str,
    images: Path,
    triplets: Path,
    *,
    labels: Path | None,
    nothing: Path | None,
    layers: tuple[str, ...],
    accept_licence: bool,
    device: str,
    limit: int,
    seed: int,
) -> tuple[Callable[[int, float], dict[str, Array]], tuple[int, ...], Array | None, Array]:
    """Features as a function of condition and noise level, conditions, what is told, and triplets.

    A condition 1 stands for the label or text of ``labels``, 0 for none.
    """  # fmt: skip
    entry = checkpoint(name)
    files = image_files(images)
    rows = read_triplets(triplets, len(files))
    if len(rows) > limit:
        rows = rows[np.sort(stream(seed, "subset").choice(len(rows), limit, replace=False))]
    told = None if labels is None else _told(labels, entry.condition, len(files))
    empty = _empty(entry.condition, nothing)
    conditions = (*((0,) if empty is not None or not entry.condition else ()),
                  *((1,) if told is not None else ()))  # fmt: skip
    if not conditions:
        raise InvalidParameter(
            f"{name} must be told {entry.condition}; give --labels FILE.npy, or --nothing FILE.npy"
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
        return model.conditioned(told if c else empty).features(x_t, t)

    label = None
    if told is not None:
        label = told.reshape(len(told), -1) if told.dtype.kind == "f" else (
            np.eye(int(told.max()) + 1)[told]
        )  # fmt: skip
    return features, conditions, label, rows


def _empty(condition: str, nothing: Path | None) -> Any:
    """What stands for no condition: a file, DiT's extra class, or nothing at all."""
    if nothing is not None:
        return _array(nothing, None)
    return _NO_CLASS if "for none" in condition else None


def _told(path: Path, condition: str, n: int) -> Array:
    """Labels or text embeddings, as the network of this condition takes them."""
    found = _array(path, n)
    if condition.startswith("class"):
        return integers(f"labels in {path}", found, high=_NO_CLASS - 1, shape=(n,))
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
