"""Latent diffusion models of diffusers: their networks, and the autoencoder before and behind them.

The networks, a DiT or a conditional U-Net, are called as this package calls networks; the
autoencoder makes latents of images, and images of latents.  diffusers is optional.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff._files import one_line
from hierdiff._lazy import import_optional
from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.validation._checks import check_names, one_per_row, tensor
from hierdiff.validation.pretrained.catalogue import Checkpoint

__all__ = [
    "DiffusersNetwork",
    "Encoder",
    "decoder_of",
    "diffusers_network",
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
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 4):
                batch = torch.from_numpy(images[start : start + 4]).to(device)
                parts.append(network.encode(batch).latent_dist.mean.float().cpu().numpy())
        return np.asarray(scale * np.concatenate(parts))

    return encode


class DiffusersNetwork(nn.Module):
    """A DiT or a conditional U-Net of diffusers; its layers are named ``inner. ...``.

    Parameters
    ----------
    inner : nn.Module
        DiTTransformer2DModel or UNet2DConditionModel.
    kind : {"dit", "unet"}
        Whether the condition is a class, or an embedding of text [n, tokens, width].

    Notes
    -----
    Validity: diffusers 0.42.
    """

    @checked
    def __init__(self, inner: nn.Module, kind: Literal["dit", "unet"]) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x: Tensor, time: Tensor, condition: Tensor | None = None) -> Tensor:
        """Noisy latents and times to the prediction."""
        tensor("x", x, None, None, None, None)
        one_per_row("time", time, x)
        if condition is None:
            raise InvalidParameter(
                "the network is conditional; give condition=1000 (no class) for DiT, or an array "
                "of text embeddings [1 or n, 77, 768] for Stable Diffusion"
            )
        tensor("condition", condition)
        if self.kind == "dit":
            answer = self.inner(x, timestep=time, class_labels=condition, return_dict=False)
        else:
            answer = self.inner(x, time, encoder_hidden_states=condition, return_dict=False)
        out: Tensor = answer[0]
        return out


@checked
def diffusers_network(
    kind: Literal["dit", "unet"], config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> DiffusersNetwork:
    """Network of a configuration with given weights.

    Parameters
    ----------
    kind : {"dit", "unet"}
        Which class of diffusers.
    config : mapping
        As in its config.json.
    weights : mapping of str to tensor
        By diffusers' names.

    Returns
    -------
    DiffusersNetwork

    Raises
    ------
    MissingPackage
        If diffusers is not installed.
    InvalidParameter
        If names or shapes differ; the first are named.

    Notes
    -----
    Validity: diffusers 0.42.
    """
    library = import_optional("diffusers", "diffusers", "this network")
    name = {"dit": "DiTTransformer2DModel", "unet": "UNet2DConditionModel"}[kind]
    kind_of = getattr(library, name)
    # without memory first: a configuration that is not that of the weights may be a larger network
    with torch.device("meta"):
        check_names(weights, _made(kind_of, config))
    inner = _made(kind_of, config)
    inner.load_state_dict(dict(weights), strict=True)
    return DiffusersNetwork(inner, kind).eval()


def _made(kind: Any, config: Mapping[str, Any]) -> nn.Module:
    try:
        found: nn.Module = kind.from_config(dict(config))
    except Exception as error:  # of options that the class does not have, or of the wrong kind
        said = one_line(error)[:100]
        raise InvalidParameter(
            f"config cannot be a {kind.__name__} ({type(error).__name__}: {said}); give the table "
            "of its config.json"
        ) from None
    return found
