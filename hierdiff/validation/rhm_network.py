"""A network on sequences of the Random Hierarchy Model, beside exact inference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from torch import Tensor

from hierdiff.checks import (
    array,
    check_fields,
    checked,
    count,
    integers,
    levels_of,
    reals,
    symbols_of,
)
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, MaskingNoise, NoiseProcess, UniformNoise
from hierdiff.seeds import Seed, generator
from hierdiff.sims.simulated_model import SimulatedModel
from hierdiff.theory import ExactRHM, denoise_symbols
from hierdiff.validation._outputs import refuse_rows
from hierdiff.validation.tree_network import SequenceTransformer, TreeUNet

__all__ = ["SymbolNetwork", "gap_to_exact", "network_input", "symbol_transformer", "tree_unet"]

Array = NDArray[Any]
Process = GaussianNoise | MaskingNoise | UniformNoise


@dataclass(frozen=True)
class SymbolNetwork:
    """A trained network as a DiffusionModel on symbols.

    Parameters
    ----------
    network : TreeUNet or SequenceTransformer
    noise : GaussianNoise, MaskingNoise or UniformNoise
        The process it was trained on.
    steps : int
        Steps of the reverse chain that ``sample`` runs.
    batch : int
        Data per call of the network; results do not depend on it beyond rounding.
    condition : int or int array [n], optional
        Label of all data, or one each, for a network with classes.

    Raises
    ------
    InvalidParameter
        Later, for a label the network does not have, or a number of labels that is not that of the
        data.

    Notes
    -----
    Validity: ``sample`` is an ancestral chain, which tends to the posterior of the network's own
    beliefs as 1 / steps.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar, noise = RHM(4, 2, 2, 3).draw(0), MaskingNoise(4)
    >>> model = SymbolNetwork(tree_unet(grammar, noise, width=8), noise)
    >>> model.denoise(np.full((2, 8), -1), 1.0).shape
    (2, 8, 4)
    """

    network: TreeUNet | SequenceTransformer
    noise: Process
    steps: int = 100
    batch: int = 1024
    condition: Any = None

    source = "network"

    @checked
    def __post_init__(self) -> None:
        check_fields(self, steps=count, batch=count)
        if self.condition is not None:
            integers("condition", self.condition, ndim=(0, 1))

    def conditioned(self, condition: Any) -> SymbolNetwork:
        """The same network given a label for all data, or one each; None takes it away."""
        return replace(self, condition=condition)

    @checked
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t] as [n, leaves, v]."""
        return np.concatenate([q for _, q in self._calls(x_t, t)])

    @checked
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """Symbols [n, leaves] at the end of the reverse chain."""
        x = array("x_t", x_t)
        if x.ndim < 2 or not len(x):
            raise InvalidParameter(f"x_t has shape {x.shape}; give one row per datum")
        return SimulatedModel(self, self.steps).sample(x, t, seed)

    @checked
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Activations of every level of both sweeps, {name: [n, nodes * width]}."""
        parts = [f for f, _ in self._calls(x_t, t)]
        return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}

    def _calls(self, x_t: Array, t: ArrayLike) -> list[tuple[dict[str, Array], Array]]:
        x = array("x_t", x_t)
        if x.ndim < 2 or not len(x):
            raise InvalidParameter(f"x_t has shape {x.shape}; give one row per datum")
        levels = np.broadcast_to(levels_of(t, len(x)), (len(x),))
        device = next(self.network.parameters()).device
        labels = self._labels(len(x))
        out = []
        for first in range(0, len(x), self.batch):
            rows = slice(first, first + self.batch)
            given = network_input(self.noise, x[rows], levels[rows])
            some = None if labels is None else labels[rows].to(device)
            with torch.no_grad():
                x_in, log_snr = (a.to(device) for a in given)
                features, logits = self.network.sweeps(x_in, log_snr, some)
            flat = {k: f.flatten(1).float().cpu().numpy() for k, f in features.items()}
            beliefs = logits.double().softmax(dim=2).cpu().numpy()
            numbers = np.arange(first, first + len(beliefs))
            refuse_rows("the network", beliefs, numbers, levels[rows])
            for name, value in flat.items():
                refuse_rows(f"layer {name!r}", value, numbers, levels[rows])
            out.append((flat, beliefs))
        return out

    def _labels(self, n: int) -> Tensor | None:
        if self.condition is None:
            return None
        labels = np.asarray(self.condition)
        if labels.ndim > 1 or (labels.ndim and len(labels) != n):
            raise InvalidParameter(
                f"condition of shape {labels.shape} for {n} data; give one label, or one each"
            )
        return torch.from_numpy(np.broadcast_to(labels, (n,)).astype(np.int64))


@checked
def network_input(noise: NoiseProcess, x_t: Array, t: Array) -> tuple[Tensor, Tensor]:
    """What a network is told: channels per leaf, and the logarithm of the SNR."""
    if x_t.ndim < 2:
        raise InvalidParameter(f"x_t has shape {x_t.shape}; give one row per datum")
    if not levels_of(t, len(x_t)).ndim:
        raise InvalidParameter("t is one number; give one noise level per datum, [n]")
    with np.errstate(divide="ignore"):
        if isinstance(noise, GaussianNoise):
            # the datum as it is, and what each leaf says alone: the latter is not bounded by scale
            alone = softmax(noise.log_evidence(x_t, t), axis=2)
            x = np.concatenate([x_t, alone], axis=2, dtype=np.float32)
            log_snr = np.log(noise.snr(t))
        else:
            width = cast(int, noise.v) + (noise.name == "masking")
            lowest = -1 if noise.name == "masking" else 0
            symbols = symbols_of("x_t", x_t, lowest, cast(int, noise.v))
            x = np.eye(width, dtype=np.float32)[symbols]  # -1 is the last channel
            log_snr = np.log1p(-t) - np.log(t)
    return torch.from_numpy(x), torch.from_numpy(np.clip(log_snr, -20, 20).astype(np.float32))


@checked
def tree_unet(
    grammar: Grammar, noise: Process, *, width: int = 64, blocks: int = 1,
    conditional: bool = False, leaf_width: int | None = None,
) -> TreeUNet:  # fmt: skip
    """A U-Net in the shape of a grammar's tree, for a noise process.

    Parameters
    ----------
    grammar : Grammar
        With the same branching on every level.
    noise : Process
    width, blocks : int
        See :class:`TreeUNet`.
    conditional : bool
        Whether it can be told the class.
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
    channels, v = _channels(grammar, noise)
    return TreeUNet(
        channels, v, s=grammar.s[0], L=grammar.L, width=width, blocks=blocks,
        classes=grammar.v[0] if conditional else 0, leaf_width=leaf_width,
    )  # fmt: skip


@checked
def symbol_transformer(
    grammar: Grammar, noise: Process, *, width: int = 64, layers: int = 4,
    conditional: bool = False,
) -> SequenceTransformer:  # fmt: skip
    """A transformer on the leaves of a grammar, which knows nothing of its tree.

    Parameters
    ----------
    grammar : Grammar
    noise : Process
    width : int
        Features per leaf; a head of attention for every 16 of them.
    layers : int
    conditional : bool
        Whether it can be told the class.

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
    channels, v = _channels(grammar, noise)
    return SequenceTransformer(
        channels, v, leaves=grammar.n_leaves, width=width, heads=max(1, width // 16),
        layers=layers, classes=grammar.v[0] if conditional else 0,
    )  # fmt: skip


def _channels(grammar: Grammar, noise: Process) -> tuple[int, int]:
    """Numbers per leaf that a network is given, and symbols."""
    v = grammar.v[grammar.L]
    if noise.v != v:
        raise InvalidParameter(f"the noise has v = {noise.v} symbols and the leaves {v}; use v={v}")
    return {"gaussian": 2 * v, "masking": v + 1, "uniform": v}[noise.name], v


@checked
def gap_to_exact(
    model: SymbolNetwork | ExactRHM, grammar: Grammar, t: ArrayLike, n: int, seed: Seed
) -> tuple[Array, Array]:
    r"""Mean divergence per leaf of the network's beliefs from exact ones, with standard errors.

    .. math:: E \frac1{n_{leaves}} \sum_i KL(p_i \| q_i)

    Parameters
    ----------
    model : SymbolNetwork, or ExactRHM as a check
    grammar : Grammar
        Where test data are drawn from.
    t : array [k]
        Noise levels.
    n : int
        Test data, at least two.
    seed : Seed
        Source of randomness.

    Returns
    -------
    gap, error : array [k]
        Nats per leaf.

    Raises
    ------
    InvalidParameter
        If n < 2.

    Notes
    -----
    Validity: exact posterior; the error is that of the mean over test data.
    """
    if n < 2:
        raise InvalidParameter(f"n = {n} data give no error bar; use at least 2")
    rng = generator(seed)
    leaves = grammar.sample(n, rng).leaves
    gaps = []
    for level in np.atleast_1d(reals("t", t, 0, 1, ndim=(0, 1), least=1)):
        x_t = model.noise.corrupt(leaves, level, rng)
        p = denoise_symbols(grammar, model.noise, x_t, level)
        q = np.maximum(model.denoise(x_t, level), 1e-30)
        terms = p * (np.log(np.maximum(p, 1e-300)) - np.log(q))
        gaps.append(terms.sum(axis=2).mean(axis=1))
    found = np.array(gaps)
    return found.mean(axis=1), found.std(axis=1, ddof=1) / np.sqrt(n)
