r"""Networks shaped like the derivation tree, for sequences of the Random Hierarchy Model.

=============  ===================================================================================
:math:`u_l`    features of the nodes of level l on the way up, from the leaves below alone
:math:`h_l`    features on the way down, from everything
=============  ===================================================================================

.. math::

    u_{l} = B\big(W^{\uparrow}_l [u_{l+1, 1}, \dots, u_{l+1, s}]\big), \qquad
    h_{l+1, j} = B\big(W^{\downarrow}_{l, j} h_l + W^{skip}_l u_{l+1, j}\big),

with residual blocks B that depend on the noise level.  One set of weights per level, shared by its
nodes, as the grammar shares its rules; the two sweeps have the shape of belief propagation
(Mei, arXiv 2404.18444), and their features are named after the levels.
"""

from __future__ import annotations

import itertools
from functools import partial

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
    "TreeUNet",
    "tree_unet",
]


class TreeUNet(nn.Module):
    """U-Net whose down and up paths are the sweeps of belief propagation.

    Parameters
    ----------
    channels : int
        Numbers per leaf of the input: v for one-hot with Gaussian noise, v + 1 with a mask.
    symbols : int
        v, logits per leaf.
    s, L : int
        Branching and depth of the tree.
    width : int
        Features per node.
    blocks : int
        Residual blocks per level and sweep.
    classes : int
        Labels of a conditional network, 0 for an unconditional one.
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
    output [n, s**L, symbols].  No label and the null label ``classes`` both mean unconditional.

    References
    ----------
    Mei, U-Nets as belief propagation, arXiv 2404.18444; Favero et al., arXiv 2502.12089.

    Examples
    --------
    >>> import torch
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
        self.code = NoiseEmbedding(width)
        self.labels = LabelEmbedding(classes, width) if classes else None
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
        code, n = coded(self.code, self.labels, log_snr, label), len(x)
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


@checked
def tree_unet(
    grammar: Grammar, noise: NoiseProcess, *, width: int = 64, blocks: int = 1,
    conditional: bool = False, leaf_width: int | None = None,
) -> TreeUNet:  # fmt: skip
    """A U-Net in the shape of a grammar's tree, for a noise process.

    Parameters
    ----------
    grammar : Grammar
        With the same branching on every level.
    noise : NoiseProcess
    width, blocks : int
        See :class:`TreeUNet`.
    conditional : bool
        Whether it is conditioned on the class.
    leaf_width : int, optional
        See :class:`TreeUNet`.

    Returns
    -------
    TreeUNet

    Raises
    ------
    InvalidParameter
        If the branching differs between levels, or the noise has other symbols than the leaves.

    Notes
    -----
    Validity: the weights are torch's current random ones; set ``torch.manual_seed`` before.
    """
    if len(set(grammar.s)) > 1:
        raise InvalidParameter(f"branching {tuple(grammar.s)} differs between levels; use one s")
    channels, v = symbol_channels(grammar, noise)
    return TreeUNet(
        channels, v, s=grammar.s[0], L=grammar.L, width=width, blocks=blocks,
        classes=grammar.v[0] if conditional else 0, leaf_width=leaf_width,
    )  # fmt: skip
