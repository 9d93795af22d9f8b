"""Networks of diffusers, and the autoencoder before and behind those on latents.

=========  ========================  ===========================================================
kind       class of diffusers        condition
=========  ========================  ===========================================================
"dit"      DiTTransformer2DModel     a class
"unet"     UNet2DConditionModel      text [n, tokens, width]
"image"    UNet2DModel               none, or a class
"sd3"      SD3Transformer2DModel     text and its summary, packed by :func:`pack_text`
=========  ========================  ===========================================================

They are called as this package calls networks; the autoencoder makes latents of images, and images
of latents.  diffusers is optional.
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
    "KINDS",
    "DiffusersNetwork",
    "Encoder",
    "autoencoder_maps",
    "decoder_of",
    "diffusers_network",
    "encoder_of",
    "pack_text",
]

Array: TypeAlias = NDArray[Any]
Encoder: TypeAlias = Callable[[Array], Array]
_AUTOENCODER = "stabilityai/sd-vae-ft-ema"
Kind: TypeAlias = Literal["dit", "unet", "image", "sd3"]
KINDS: dict[str, Kind] = {
    "DiTTransformer2DModel": "dit", "UNet2DConditionModel": "unet", "UNet2DModel": "image",
    "SD3Transformer2DModel": "sd3",
}  # fmt: skip
"""Kinds by the class of diffusers, as config.json names it."""


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
    maps = autoencoder_maps(_autoencoder_network(device), float(entry.latent_scale))
    return 8 * entry.shape[1], maps[0]


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
    return autoencoder_maps(_autoencoder_network(device), float(entry.latent_scale))[1]


def _autoencoder_network(device: str) -> Any:
    diffusers = import_optional("diffusers", "diffusers", "images as latents")
    try:
        return diffusers.AutoencoderKL.from_pretrained(_AUTOENCODER).to(device).eval()
    except Exception as error:  # the hub's own types, of which there are many
        raise InvalidParameter(
            f"the autoencoder {_AUTOENCODER} cannot be had ({type(error).__name__}); download it "
            "with huggingface-hub on a machine with a network"
        ) from None


@checked
def autoencoder_maps(
    network: nn.Module, scale: float, shift: float = 0.0
) -> tuple[Encoder, Encoder]:
    """The maps from images to latents, and back, of an autoencoder of diffusers.

    Parameters
    ----------
    network : nn.Module
        AutoencoderKL.
    scale, shift : float
        Latents z are handed about as scale (z - shift).

    Returns
    -------
    encode, decode : callable

    Raises
    ------
    InvalidParameter
        If the network is no torch module.

    Notes
    -----
    Validity: the mean of the encoder, four images at a time.
    """
    device = next(network.parameters()).device
    coder: Any = network

    def through(data: Array, call: Callable[[Tensor], Tensor]) -> Array:
        parts = []
        with torch.no_grad():
            for start in range(0, len(data), 4):
                batch = torch.from_numpy(np.float32(data[start : start + 4])).to(device)
                parts.append(call(batch).float().cpu().numpy())
        return np.concatenate(parts)

    def encode(images: Array) -> Array:
        return through(images, lambda x: scale * (coder.encode(x).latent_dist.mean - shift))

    def decode(latents: Array) -> Array:
        return through(latents, lambda z: coder.decode(z / scale + shift).sample)

    return encode, decode


@checked
def pack_text(tokens: Array, pooled: Array) -> Array:
    """Text embeddings [n, tokens, width] and their summaries [n, width'] as one condition.

    Returns
    -------
    array [n, tokens + 1, width]
        The summary is the last row, filled up with zeros.

    Raises
    ------
    InvalidParameter
        If the summary is wider than the embeddings, or there are not as many.

    Examples
    --------
    >>> pack_text(np.ones((1, 2, 3)), np.full((1, 2), 5.0))[0, -1].tolist()
    [5.0, 5.0, 0.0]
    """
    if tokens.ndim != 3 or pooled.ndim != 2 or len(tokens) != len(pooled) or (
        pooled.shape[1] > tokens.shape[2]
    ):  # fmt: skip
        raise InvalidParameter(
            f"tokens of shape {tokens.shape} and pooled of shape {pooled.shape} do not go "
            "together; give [n, tokens, width] and [n, at most width]"
        )
    last = np.zeros((len(tokens), 1, tokens.shape[2]), tokens.dtype)
    last[:, 0, : pooled.shape[1]] = pooled
    return np.concatenate([tokens, last], axis=1)


class DiffusersNetwork(nn.Module):
    """A network of diffusers; its layers are named ``inner. ...``.

    Parameters
    ----------
    inner : nn.Module
        Of a class of :data:`KINDS`.
    kind : {"dit", "unet", "image", "sd3"}
        How it is called, see the module's table.

    Notes
    -----
    Validity: diffusers 0.42.
    """

    @checked
    def __init__(self, inner: nn.Module, kind: Kind) -> None:
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x: Tensor, time: Tensor, condition: Tensor | None = None) -> Tensor:
        """Noisy data and times to the prediction."""
        tensor("x", x, None, None, None, None)
        one_per_row("time", time, x)
        if condition is None and self.kind != "image":
            raise InvalidParameter(
                "the network is conditional; give condition=1000 (no class) for DiT, or an array "
                "of text embeddings [1 or n, 77, 768] for Stable Diffusion"
            )
        if condition is not None:
            tensor("condition", condition)
        answer = self._called(x, time, condition)
        out: Tensor = answer[0]
        return out

    def _called(self, x: Tensor, time: Tensor, condition: Tensor | None) -> Any:
        if self.kind == "dit":
            return self.inner(x, timestep=time, class_labels=condition, return_dict=False)
        if self.kind == "image":
            return self.inner(x, time, class_labels=condition, return_dict=False)
        text: Any = condition
        if self.kind == "unet":
            return self.inner(x, time, encoder_hidden_states=text, return_dict=False)
        wide: Any = self.inner
        width = int(wide.config.pooled_projection_dim)
        return self.inner(
            x, encoder_hidden_states=text[:, :-1], pooled_projections=text[:, -1, :width],
            timestep=time, return_dict=False,
        )  # fmt: skip


@checked
def diffusers_network(
    kind: Kind, config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> DiffusersNetwork:
    """Network of a configuration with given weights.

    Parameters
    ----------
    kind : {"dit", "unet", "image", "sd3"}
        Which class of diffusers, see the module's table.
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
    name = {kind: name for name, kind in KINDS.items()}[kind]
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
