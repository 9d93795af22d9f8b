"""Images of a folder as arrays for a published network, in pixels or latents."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.validation._optional import need
from hierdiff.validation.catalogue import Checkpoint

__all__ = ["Encoder", "SkippedImages", "class_folders", "encoder_of", "image_files", "load_images"]

Array: TypeAlias = NDArray[Any]
Encoder: TypeAlias = Callable[[Array], Array]

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_AUTOENCODER = "stabilityai/sd-vae-ft-ema"


class SkippedImages(UserWarning):
    """Some files cannot be read as images, and were left out."""


def image_files(folder: Path) -> list[Path]:
    """All images under a folder, in the order of their paths."""
    if not folder.is_dir():
        raise InvalidParameter(f"images = {folder} is no folder; give the one with the images")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _ENDINGS)
    if not found:
        raise InvalidParameter(f"images = {folder} holds no image; give a folder with PNG or JPEG")
    return found


def class_folders(folder: Path, classes: int) -> tuple[list[Path], Array]:
    """Images and their classes from a folder per class.

    The folders are called by the number of the class, or are one for every class in its order (as
    those of ImageNet, whose names sort like its classes).
    """
    files = [p for p in image_files(folder) if p.parent != folder]
    names = sorted({p.parent.name for p in files})
    if names and all(name.isdigit() and int(name) < classes for name in names):
        number = {name: int(name) for name in names}
    elif len(names) == classes:
        number = {name: i for i, name in enumerate(names)}
    else:
        raise InvalidParameter(
            f"images = {folder} has {len(names)} folders with images; give one for each of the "
            f"{classes} classes, or call folders by the number of their class"
        )
    return files, np.array([number[p.parent.name] for p in files])


def load_images(files: Sequence[Path], size: int, *, crop: bool = True) -> tuple[Array, Array]:
    """Images [n, 3, size, size] in [-1, 1], and which of the files they are, [n].

    Shorter side to ``size`` by bicubic resampling, then the centre; without ``crop`` the whole
    image is resized.  Grey images and palettes become RGB; what cannot be read is left out, with a
    warning that counts and names it.
    """
    need("PIL", "pillow", "reading images")
    from PIL import Image

    kept, rows, failed = [], [], []
    for i, path in enumerate(files):
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except (OSError, ValueError, SyntaxError):
            failed.append(path.name)
            continue
        scale = size / min(image.size)
        shape = [round(side * scale) for side in image.size] if crop else [size, size]
        image = image.resize((shape[0], shape[1]), Image.Resampling.BICUBIC)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        image = image.crop((left, top, left + size, top + size))
        kept.append(np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1)
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


def encoder_of(entry: Checkpoint, device: str = "cpu") -> tuple[int, Encoder]:
    """Side of the images a catalogue network wants, and the map from them to its data."""
    if entry.latent_scale is None:
        return entry.shape[1], lambda images: images
    return 8 * entry.shape[1], _autoencoder(float(entry.latent_scale), device)


def _autoencoder(scale: float, device: str) -> Encoder:
    diffusers = need("diffusers", "diffusers", "images as latents")
    try:
        network = diffusers.AutoencoderKL.from_pretrained(_AUTOENCODER).to(device).eval()
    except Exception as error:  # the hub's own types, of which there are many
        raise InvalidParameter(
            f"the autoencoder {_AUTOENCODER} cannot be had ({type(error).__name__}); download it "
            "with huggingface-hub on a machine with a network"
        ) from None

    def encode(images: Array) -> Array:
        import torch

        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 4):
                batch = torch.from_numpy(images[start : start + 4]).to(device)
                parts.append(network.encode(batch).latent_dist.mean.float().cpu().numpy())
        return np.asarray(scale * np.concatenate(parts))

    return encode
