"""A transformer on the leaves of a derivation: the control without any tree in it."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from hierdiff.checks import (
    checked,
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
    "SequenceTransformer",
    "symbol_transformer",
]


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
        h = self.embed(x) + self.place
        features = {}
        layers = zip(self.attend, self.norms, self.blocks, strict=True)
        for i, (attend, norm, block) in enumerate(layers):
            seen = norm(h)
            h = block(h + attend(seen, seen, seen, need_weights=False)[0], code)
            features[f"layer {i}"] = h
        return features, self.head(h)


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
