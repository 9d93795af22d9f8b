"""Transformers: on the leaves of a derivation, with no tree in it, and on images, by place.

The condition of an image enters in one of two ways: as a code that shifts and scales every layer
(Peebles and Xie, arXiv:2212.09748), or as tokens that places attend to (Bao et al.,
arXiv:2209.12152).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hierdiff.checks import (
    checked,
    listed,
    shown,
    whole,
)
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.validation._checks import layers_number, one_per_row, size_number, tensor
from hierdiff.validation.networks._blocks import (
    Block,
    LabelEmbedding,
    NoiseEmbedding,
    coded,
    symbol_channels,
)

__all__ = [
    "ImageTransformer",
    "SequenceTransformer",
    "symbol_transformer",
]


def _image_shape(name: str, value: Any) -> tuple[int, int, int]:
    """Channels, height and width."""
    sizes = listed(name, value, size_number, distinct=False)
    if len(sizes) != 3:
        raise InvalidParameter(f"{name} = {shown(value)} must be channels, height and width")
    channels, height, wide = sizes
    return channels, height, wide


class SequenceTransformer(nn.Module):
    """Transformer without any tree in it, the control for :class:`TreeUNet`.

    Parameters
    ----------
    channels, symbols : int
        As for :class:`TreeUNet`.
    leaves : int
        Length of the sequence.
    width, heads, layers : int
        Sizes.
    classes : int
        Labels of a conditional network, 0 for an unconditional one.

    Raises
    ------
    InvalidParameter
        If heads do not divide the width.

    Notes
    -----
    Validity: positions are learned, so one length only.

    Examples
    --------
    >>> net = SequenceTransformer(4, 4, leaves=8, width=16, heads=2, layers=2)
    >>> net(torch.zeros(5, 8, 4), torch.zeros(5)).shape
    torch.Size([5, 8, 4])
    """

    @checked(
        channels=size_number,
        symbols=size_number,
        leaves=size_number,
        width=size_number,
        heads=size_number,
        layers=layers_number,
        classes=partial(whole, high=2**20),
    )
    def __init__(
        self, channels: int, symbols: int, *, leaves: int, width: int = 64, heads: int = 4,
        layers: int = 4, classes: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % heads:
            raise InvalidParameter(f"heads = {heads} must divide width = {width}")
        self.leaves = leaves
        self.code = NoiseEmbedding(width)
        self.labels = LabelEmbedding(classes, width) if classes else None
        self.embed = nn.Linear(channels, width)
        self.place = nn.Parameter(torch.randn(leaves, width) / math.sqrt(width))
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.blocks = nn.ModuleList(Block(width, width) for _ in range(layers))
        self.head = nn.Linear(width, symbols)

    def forward(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits of the clean symbols."""
        return self.sweeps(x, log_snr, label)[1]

    def sweeps(
        self, x: Tensor, log_snr: Tensor, label: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Features after every layer by name, each [n, leaves, width], and the logits."""
        tensor("x", x, None, None, self.embed.in_features)
        one_per_row("log_snr", log_snr, x)
        if x.shape[1] != self.leaves:
            raise InvalidParameter(f"input has {x.shape[1]} leaves, the network {self.leaves}")
        code = coded(self.code, self.labels, log_snr, label)
        found = self._layers(self.embed(x) + self.place, code)
        return {f"layer {i}": h for i, h in enumerate(found)}, self.head(found[-1])

    def _layers(self, h: Tensor, code: Tensor) -> list[Tensor]:
        """Tokens [n, tokens, width] after every layer."""
        found = []
        for attend, norm, block in zip(self.attend, self.norms, self.blocks, strict=True):
            seen = norm(h)
            h = block(h + attend(seen, seen, seen, need_weights=False)[0], code)
            found.append(h)
        return found


class ImageTransformer(SequenceTransformer):
    """Transformer on images, a token for every place, under a condition.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    width, heads, layers : int
        Sizes.
    code : nn.Module, optional
        From labels [n] to codes [n, width], which are added to that of the noise level.
    prompt : nn.Module, optional
        From labels [n] to tokens [n, k, width], which places attend to.

    Raises
    ------
    InvalidParameter
        If heads do not divide the width, or an image has another shape.

    Notes
    -----
    Validity: positions are learned, so one shape only; at least one layer.

    Examples
    --------
    >>> code = nn.Embedding(3, 16)
    >>> net = ImageTransformer((2, 4, 4), width=16, heads=2, layers=2, code=code)
    >>> net(torch.zeros(5, 2, 4, 4), torch.zeros(5), torch.zeros(5, dtype=int)).shape
    torch.Size([5, 2, 4, 4])
    """

    @checked(shape=_image_shape)
    def __init__(
        self, shape: tuple[int, int, int], *, width: int = 64, heads: int = 2, layers: int = 4,
        code: nn.Module | None = None, prompt: nn.Module | None = None,
    ) -> None:  # fmt: skip
        channels, height, wide = shape
        super().__init__(
            channels, channels, leaves=height * wide, width=width, heads=heads, layers=layers
        )
        self.shape, self.condition, self.prompt = shape, code, prompt

    def sweeps(
        self, x: Tensor, log_snr: Tensor, label: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Features of the places after every layer, [n, places, width], and the prediction."""
        tensor("x", x, None, *self.shape)
        one_per_row("log_snr", log_snr, x)
        if self.condition is not None or self.prompt is not None:
            one_per_row("label", label, x)
        elif label is not None:
            raise InvalidParameter("a label was given to a network without code and prompt")
        code = self.code(log_snr)
        h = self.embed(x.flatten(2).transpose(1, 2)) + self.place
        if self.condition is not None:
            code = code + self.condition(label)
        if self.prompt is not None:
            h = torch.cat([h, self.prompt(label)], dim=1)
        found = [h[:, : self.leaves] for h in self._layers(h, code)]
        output: Tensor = self.head(found[-1]).transpose(1, 2).reshape(x.shape)
        return {f"layer {i}": h for i, h in enumerate(found)}, output


@checked
def symbol_transformer(
    grammar: Grammar, noise: NoiseProcess, *, width: int = 64, layers: int = 4,
    conditional: bool = False,
) -> SequenceTransformer:  # fmt: skip
    """A transformer on the leaves of a grammar, without its tree.

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
    width : int
        Features per leaf; a head of attention for every 16 of them.
    layers : int
    conditional : bool
        Whether it is conditioned on the class.

    Returns
    -------
    SequenceTransformer

    Raises
    ------
    InvalidParameter
        If the noise has other symbols than the leaves, or the width does not divide into heads.

    Notes
    -----
    Validity: the weights are torch's current random ones; set ``torch.manual_seed`` before.
    """
    channels, v = symbol_channels(grammar, noise)
    return SequenceTransformer(
        channels, v, leaves=grammar.n_leaves, width=width, heads=max(1, width // 16),
        layers=layers, classes=grammar.v[0] if conditional else 0,
    )  # fmt: skip
