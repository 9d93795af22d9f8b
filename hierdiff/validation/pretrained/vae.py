"""The autoencoder of latent diffusion models: images to latents, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff._optional import import_optional
from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.validation.pretrained.catalogue import Checkpoint

__all__ = [
    "Encoder",
    "decoder_of",
    "encoder_of",
]

Array: TypeAlias = NDArray[Any]
Encoder: TypeAlias = Callable[[Array], Array]
_AUTOENCODER = "stabilityai/sd-vae-ft-ema"


@checked
def encoder_of(entry: Checkpoint, device: str = "cpu") -> tuple[int, Encoder]:
    """Side of the images that a catalogue network takes, and the map from them to its data.

    Parameters
    ----------
    entry : Checkpoint
    device : str
        Where the autoencoder runs, for a network on latents.

    Returns
    -------
    size : int
        Pixels on a side.
    encode : callable
        From images [n, 3, size, size] in [-1, 1] to the data of the network.

    Raises
    ------
    InvalidParameter
        If the autoencoder cannot be loaded.
    MissingPackage
        If the data are latents and diffusers is not installed.

    Notes
    -----
    Validity: for pixels the identity; for latents the mean of the encoder, times the scale.

    Examples
    --------
    >>> from hierdiff.validation.pretrained.catalogue import checkpoint
    >>> encoder_of(checkpoint("adm-256"))[0]
    256
    """
    if entry.latent_scale is None:
        return entry.shape[1], lambda images: images
    return 8 * entry.shape[1], _autoencoder(float(entry.latent_scale), device)


@checked
def decoder_of(entry: Checkpoint, device: str = "cpu") -> Encoder:
    """The map from the data of a catalogue network to images in [-1, 1].

    Parameters
    ----------
    entry, device
        As in :func:`encoder_of`.

    Returns
    -------
    callable

    Raises
    ------
    InvalidParameter
        If the autoencoder cannot be loaded.
    MissingPackage
        If the data are latents and diffusers is not installed.

    Notes
    -----
    Validity: for pixels the identity.
    """
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
    diffusers = import_optional("diffusers", "diffusers", "images as latents")
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
