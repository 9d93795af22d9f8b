r"""Networks shaped like the derivation tree, for sequences of the Random Hierarchy Model.

=============  ===================================================================================
:math:`u_l`    features of the nodes of level l on the way up, from the leaves below alone
:math:`h_l`    features on the way down, from everything
=============  ===================================================================================

.. math::

    u_{l} = B\big(W^{\uparrow}_l [u_{l+1, 1}, \dots, u_{l+1, s}]\big), \qquad
    h_{l+1, j} = B\big(W^{\downarrow}_{l, j} h_l + W^{skip}_l u_{l+1, j}\big),

with residual blocks B that know the noise level.  One set of weights per level, shared by its
nodes, as the grammar shares its rules; the two sweeps have the shape of belief propagation
(Mei, arXiv 2404.18444), and their features are named after the levels.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch
from torch import Tensor, nn

from hierdiff.checks import checked, shown, whole
from hierdiff.errors import InvalidParameter
from hierdiff.validation._tensors import one_per_row, tensor
from hierdiff.validation._weights import layers_number, size_number

__all__ = ["SequenceTransformer", "TreeUNet"]

_FREQUENCIES = 16


class NoiseCode(nn.Module):
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


class LabelCode(nn.Module):
    """A vector per label, and one, that starts at zero, for no label."""

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
                f"{self.classes - 1} (or {self.classes} for none); these are the network's classes"
            )
        out: Tensor = self.table(index)
        return out


def _coded(
    noise: NoiseCode, labels: LabelCode | None, log_snr: Tensor, label: Tensor | None
) -> Tensor:
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


class TreeUNet(nn.Module):
    """U-Net whose down and up paths are the sweeps of belief propagation.

    Parameters
    ----------
    channels : int
        Numbers per leaf that it is given: v for one-hot with Gaussian noise, v + 1 with a mask.
    symbols : int
        v, logits per leaf that it returns.
    s, L : int
        Branching and depth of the tree.
    width : int
        Features per node.
    blocks : int
        Residual blocks per level and sweep.
    classes : int
        Labels that it can be told; 0 for a network without.
    leaf_width : int, optional
        Features per leaf, by default ``width``.  A message between a leaf and its parent is v
        numbers, and the leaves are more than half of the nodes: a quarter of the width makes a
        step 1.6 times cheaper (``benchmarks/tree_network.py``); it learns a little less from it.

    Raises
    ------
    InvalidParameter
        If a number is below one, ``classes`` below zero; later, for a label it does not have.

    Notes
    -----
    Validity: any s >= 1; input [n, s**L, channels], log SNR [n] and, if conditional, labels [n];
    output [n, s**L, symbols].  No label, or the label ``classes``, means that none is given.

    References
    ----------
    Mei, U-Nets as belief propagation, arXiv 2404.18444; Favero et al., arXiv 2502.12089.

    Examples
    --------
    >>> net = TreeUNet(4, 4, s=2, L=3, width=8)
    >>> net(torch.zeros(5, 8, 4), torch.zeros(5)).shape
    torch.Size([5, 8, 4])
    """

    @checked(
        channels=size_number,
        symbols=size_number,
        s=size_number,
        L=partial(whole, low=1, high=60),
        width=size_number,
        blocks=layers_number,
        classes=partial(whole, high=2**20),
    )
    def __init__(
        self, channels: int, symbols: int, *, s: int, L: int, width: int = 64, blocks: int = 1,
        classes: int = 0, leaf_width: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        narrow = width if leaf_width is None else size_number("leaf_width", leaf_width)
        for name, value in (("channels", channels), ("symbols", symbols), ("s", s), ("L", L),
                            ("width", width), ("blocks", blocks), ("leaf_width", narrow),
                            ("classes + 1", classes + 1)):  # fmt: skip
            if value < 1:
                raise InvalidParameter(f"{name} = {value} must be at least 1")
        self.s, self.L, self.width = s, L, width
        self.code = NoiseCode(width)
        self.labels = LabelCode(classes, width) if classes else None
        self.embed = nn.Linear(channels, narrow)
        sizes = [width] * L + [narrow]  # per level

        def sweep() -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleList(Block(size, width) for _ in range(blocks)) for size in sizes
            )

        self.up, self.down = sweep(), sweep()
        pairs = list(itertools.pairwise(sizes))
        self.merge = nn.ModuleList(nn.Linear(s * below, above) for above, below in pairs)
        self.split = nn.ModuleList(nn.Linear(above, s * below) for above, below in pairs)
        self.skip = nn.ModuleList(nn.Linear(below, below) for _, below in pairs)
        self.head = nn.Linear(narrow, symbols)

    def forward(self, x: Tensor, log_snr: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits of the clean symbols."""
        return self.sweeps(x, log_snr, label)[1]

    def sweeps(
        self, x: Tensor, log_snr: Tensor, label: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Features of both sweeps by name, each [n, nodes, features], and the logits."""
        tensor("x", x, None, None, self.embed.in_features)
        one_per_row("log_snr", log_snr, x)
        if x.shape[1] != self.s**self.L:
            raise InvalidParameter(
                f"input has {x.shape[1]} leaves, the network s**L = {self.s**self.L}"
            )
        code, n = _coded(self.code, self.labels, log_snr, label), len(x)
        up = [self._blocks(self.up[self.L], self.embed(x), code)]
        for level in range(self.L - 1, -1, -1):
            grouped = up[0].reshape(n, self.s**level, -1)
            up.insert(0, self._blocks(self.up[level], self.merge[level](grouped), code))
        h = self._blocks(self.down[0], up[0], code)
        features = {f"up {level}": value for level, value in enumerate(up)} | {"down 0": h}
        for level in range(self.L):
            children = self.split[level](h).reshape(n, self.s ** (level + 1), -1)
            h = children + self.skip[level](up[level + 1])
            h = self._blocks(self.down[level + 1], h, code)
            features[f"down {level + 1}"] = h
        return features, self.head(h)

    @staticmethod
    def _blocks(blocks: nn.Module, x: Tensor, code: Tensor) -> Tensor:
        for block in blocks.children():
            x = block(x, code)
        return x


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
        Labels that it can be told; 0 for a network without.

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
        self.code = NoiseCode(width)
        self.labels = LabelCode(classes, width) if classes else None
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
        code = _coded(self.code, self.labels, log_snr, label)
        h = self.embed(x) + self.place
        features = {}
        layers = zip(self.attend, self.norms, self.blocks, strict=True)
        for i, (attend, norm, block) in enumerate(layers):
            seen = norm(h)
            h = block(h + attend(seen, seen, seen, need_weights=False)[0], code)
            features[f"layer {i}"] = h
        return features, self.head(h)
