"""Parts of several networks: embeddings of the noise level and of a label, a residual block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hierdiff.checks import (
    shown,
)
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, input_channels

__all__ = [
    "Block",
    "LabelEmbedding",
    "NoiseEmbedding",
    "coded",
    "symbol_channels",
]

_FREQUENCIES = 16


class NoiseEmbedding(nn.Module):
    """Features of log SNR: sines of geometric frequencies, then a small network."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 0.1 * 2.0 ** torch.linspace(0, 7, _FREQUENCIES))
        self.net = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(self, log_snr: Tensor) -> Tensor:
        """[n] to [n, width]."""
        angles = log_snr.clamp(-20, 20)[:, None] * self.frequencies
        code: Tensor = self.net(torch.cat([angles.sin(), angles.cos()], dim=1))
        return code


class LabelEmbedding(nn.Module):
    """A vector per label, and a null embedding that starts at zero."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.table = nn.Embedding(classes + 1, width)
        with torch.no_grad():
            self.table.weight[classes].zero_()

    def forward(self, label: Tensor | None, n: int) -> Tensor:
        """[n] to [n, width]."""
        none = torch.full((n,), self.classes, device=self.table.weight.device)
        fits = isinstance(label, Tensor) and label.shape in ((), (1,), (n,))
        if label is not None and not fits:
            raise InvalidParameter(
                f"label = {shown(label)} must be a tensor of one label, or of one each: [{n}]"
            )
        index = none if label is None else label.long().expand(n)
        if index.numel() and not 0 <= int(index.min()) <= int(index.max()) <= self.classes:
            raise InvalidParameter(
                f"labels {int(index.min())} to {int(index.max())} are outside 0 to "
                f"{self.classes - 1}, the classes of the network ({self.classes} is the null label)"
            )
        out: Tensor = self.table(index)
        return out


def coded(
    noise: NoiseEmbedding, labels: LabelEmbedding | None, log_snr: Tensor, label: Tensor | None
) -> Tensor:
    """The code that blocks are modulated by: of the noise level, and of the label where given."""
    code: Tensor = noise(log_snr)
    if labels is not None:
        code = code + labels(label, len(log_snr))
    elif label is not None:
        raise InvalidParameter("a label was given to a network without classes; build it with some")
    return code


class Block(nn.Module):
    """Residual gated layer, scaled and shifted by the noise level; products come naturally."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(code, 2 * width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(2 * width, width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """[n, nodes, width] to the same."""
        scale, shift = self.film(code)[:, None].chunk(2, dim=2)
        gate, value = self.inner(self.norm(x) * (1 + scale) + shift).chunk(2, dim=2)
        out: Tensor = x + self.outer(nn.functional.silu(gate) * value)
        return out


def symbol_channels(grammar: Grammar, noise: NoiseProcess) -> tuple[int, int]:
    """Numbers per leaf that a network is given, and symbols."""
    v = grammar.v[grammar.L]
    if noise.v != v:
        raise InvalidParameter(f"the noise has v = {noise.v} symbols and the leaves {v}; use v={v}")
    return input_channels(noise), v
