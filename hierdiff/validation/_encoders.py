"""Images of a folder as arrays for a published network, in pixels or latents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.validation._optional import need
from hierdiff.validation.catalogue import Checkpoint
from hierdiff.validation.images import ImageFolder

__all__ = ["Encoder", "class_folders", "decoder_of", "encoder_of", "labelled_folder"]

Array: TypeAlias = NDArray[Any]
Encoder: TypeAlias = Callable[[Array], Array]

_AUTOENCODER = "stabilityai/sd-vae-ft-ema"


def class_folders(folder: Path, classes: int) -> tuple[list[Path], Array]:
    """Images and their classes from a folder per class, see :func:`labelled_folder`."""
    found = labelled_folder(folder, classes)
    return list(found.files), np.array(found.labels)


def labelled_folder(folder: Path, classes: int) -> ImageFolder:
    """Images in a folder per class of a network's.

    The folders are called by the number of the class, from 0, or are one for every class in its
    order (as those of ImageNet, whose names sort like its classes).
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


def encoder_of(entry: Checkpoint, device: str = "cpu") -> tuple[int, Encoder]:
    """Side of the images a catalogue network wants, and the map from them to its data."""
    if entry.latent_scale is None:
        return entry.shape[1], lambda images: images
    return 8 * entry.shape[1], _autoencoder(float(entry.latent_scale), device)


def decoder_of(entry: Checkpoint, device: str = "cpu") -> Encoder:
    """The map from the data of a catalogue network to images in [-1, 1]."""
    if entry.latent_scale is None:
        return lambda data: data
    network, scale = _autoencoder_network(device), float(entry.latent_scale)

    def decode(latents: Array) -> Array:
        import torch

        parts = []
        with torch.no_grad():
            for start in range(0, len(latents), 4):
                batch = torch.from_numpy(np.float32(latents[start : start + 4])).to(device)
                parts.append(network.decode(batch / scale).sample.float().cpu().numpy())
        return np.concatenate(parts)

    return decode


def _autoencoder_network(device: str) -> Any:
    diffusers = need("diffusers", "diffusers", "images as latents")
    try:
        return diffusers.AutoencoderKL.from_pretrained(_AUTOENCODER).to(device).eval()
    except Exception as error:  # the hub's own types, of which there are many
        raise InvalidParameter(
            f"the autoencoder {_AUTOENCODER} cannot be had ({type(error).__name__}); download it "
            "with huggingface-hub on a machine with a network"
        ) from None


def _autoencoder(scale: float, device: str) -> Encoder:
    network = _autoencoder_network(device)

    def encode(images: Array) -> Array:
        import torch

        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 4):
                batch = torch.from_numpy(images[start : start + 4]).to(device)
                parts.append(network.encode(batch).latent_dist.mean.float().cpu().numpy())
        return np.asarray(scale * np.concatenate(parts))

    return encode
