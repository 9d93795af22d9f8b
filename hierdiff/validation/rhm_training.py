r"""Networks trained on sequences of the Random Hierarchy Model, beside exact inference.

The network returns logits of the clean symbols, and learns by their cross-entropy,

.. math:: \mathcal L = -E_{x_0, t} \sum_i \log q_i(x_{0,i} \mid x_t, t), \qquad
   E[x_0 \mid x_t] \approx q,

whose minimum over all functions is the exact marginal of belief propagation: the gap is the mean
Kullback-Leibler divergence :math:`E\, KL(p_i \| q_i)` per leaf, in nats, and nothing hides it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff.checks import checked, interval, symbols_of
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import generator, stream
from hierdiff.validation._weights import batch_number
from hierdiff.validation.rhm_network import (
    Process,
    SymbolNetwork,
    network_input,
    symbol_transformer,
    tree_unet,
)
from hierdiff.validation.training import Evaluation, Plan, Trained, train
from hierdiff.validation.tree_network import TreeUNet

__all__ = ["Architecture", "symbol_loss", "train_tree_unet"]

Array = NDArray[Any]
Architecture: TypeAlias = Literal["tree", "transformer"]


@checked(batch=batch_number)
def symbol_loss(
    grammar: Grammar,
    noise: Process,
    *,
    batch: int = 256,
    data: Array | None = None,
    focus: tuple[float, float] | None = None,
    label_share: float = 0.0,
    seed: int = 0,
) -> Callable[[nn.Module, int], Tensor]:
    """Cross-entropy of the clean symbols on a fresh batch per step.

    Parameters
    ----------
    grammar : Grammar
        Where data are drawn from.
    noise : Process
    batch : int
        Data per step.
    data : int array [P, leaves], optional
        A finite training set instead of fresh data.
    focus : (low, high), optional
        Three quarters of the noise levels fall into this range of t, where the transition is; by
        default they are uniform in [0, 1].
    label_share : float
        Share of the data whose class the network is told; needs a network with classes.
    seed : int
        Names the streams of all steps.

    Returns
    -------
    callable
        For :func:`hierdiff.validation.training.train`.

    Raises
    ------
    InvalidParameter
        If the training set is empty, of another length or, where labels are told, not of the
        grammar, or ``label_share`` is outside [0, 1].

    Notes
    -----
    Validity: its minimum is the entropy of the exact posterior, per leaf in nats.
    """
    if data is not None:
        data = symbols_of("data", data, 0, grammar.leaf_vocabulary)
        if not len(data) or data.shape[1] != grammar.n_leaves:
            raise InvalidParameter(
                f"data of shape {data.shape} must be non-empty with {grammar.n_leaves} leaves"
            )
    if focus is not None:
        low, high = interval("focus", focus)
        if low < 0 or high > 1:
            raise InvalidParameter(f"focus = {focus} must lie in [0, 1]")
    if not 0 <= label_share <= 1:
        raise InvalidParameter(f"label_share = {label_share} must lie in [0, 1]")
    classes = grammar.v[0]
    known = grammar.parse(data).levels[0][:, 0] if label_share and data is not None else None

    def loss(network: nn.Module, step: int) -> Tensor:
        rng = generator(stream(seed, "training", step))
        label: Array | None
        if data is None:
            drawn = grammar.sample(batch, rng)
            leaves, label = drawn.leaves, drawn.levels[0][:, 0]
        else:
            rows = rng.integers(len(data), size=batch)
            leaves, label = data[rows], None if known is None else known[rows]
        t = rng.random(batch)
        if focus is not None:
            inside = rng.random(batch) < 0.75
            t = np.where(inside, focus[0] + (focus[1] - focus[0]) * t, t)
        x, log_snr = network_input(noise, noise.corrupt(leaves, t, rng), t)
        device = next(network.parameters()).device
        told: tuple[Tensor, ...] = ()
        if label is not None and label_share:
            hidden = np.where(rng.random(batch) < label_share, label, classes)
            told = (torch.from_numpy(hidden.astype(np.int64)).to(device),)
        logits = network(x.to(device), log_snr.to(device), *told)
        target = torch.from_numpy(np.asarray(leaves, np.int64)).to(device)
        return nn.functional.cross_entropy(logits.flatten(0, 1).float(), target.flatten())

    return loss


@checked(batch=batch_number)
def train_tree_unet(
    grammar: Grammar,
    noise: Process,
    plan: Plan,
    *,
    width: int = 64,
    batch: int = 256,
    data: Array | None = None,
    focus: tuple[float, float] | None = None,
    label_share: float = 0.0,
    architecture: Architecture = "tree",
    leaf_width: int | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    evaluate: Evaluation | None = None,
) -> tuple[SymbolNetwork, Trained]:
    """A network trained on a grammar, with checkpoints.

    Parameters
    ----------
    grammar : Grammar
    noise : Process
    plan : Plan
        How long to train.
    width : int
        Features per node.
    batch, data, focus, label_share, seed
        As in :func:`symbol_loss`; the seed also names the initial weights.
    architecture : {"tree", "transformer"}
        A U-Net in the shape of the tree, or a transformer of four layers without it.
    leaf_width : int, optional
        Features per leaf of the U-Net, as in :class:`TreeUNet`.
    folder : path-like, optional
        Where the checkpoint is kept.
    evaluate : callable, optional
        As in :func:`hierdiff.validation.training.train`.

    Returns
    -------
    model : SymbolNetwork
    trained : Trained
        With the history.

    Raises
    ------
    InvalidParameter
        As in :func:`tree_unet`, :func:`symbol_transformer` and :func:`symbol_loss`, or if
        ``leaf_width`` is given with a transformer.

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    torch.manual_seed(int(stream(seed, "weights").integers(2**31)))
    told = label_share > 0
    network: nn.Module
    if architecture == "tree":
        network = tree_unet(grammar, noise, width=width, conditional=told, leaf_width=leaf_width)
    elif leaf_width is None:
        network = symbol_transformer(grammar, noise, width=width, conditional=told)
    else:
        raise InvalidParameter(
            f"leaf_width = {leaf_width} belongs to architecture = 'tree'; leave it out"
        )
    loss = symbol_loss(
        grammar, noise, batch=batch, data=data, focus=focus, label_share=label_share, seed=seed
    )
    done = train(network, loss, plan, folder=folder, evaluate=evaluate, name=architecture)
    return SymbolNetwork(cast(TreeUNet, done.network), noise), done
