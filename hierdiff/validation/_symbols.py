"""Symbols that a network has observed, and symbols drawn from its beliefs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hierdiff.checks import FloatArray, levels_of

__all__ = ["draw_symbols", "keep_seen", "token_ratio"]


def keep_seen(beliefs: Tensor, symbols: Tensor) -> Tensor:
    """Beliefs [n, leaves, v] with certainty where a symbol was seen."""
    sure = torch.nn.functional.one_hot(symbols.long().clamp(min=0), beliefs.shape[-1])
    return torch.where((symbols < 0)[..., None], beliefs, sure.to(beliefs.dtype))


def token_ratio(t: ArrayLike) -> FloatArray:
    """Kept over lost tokens, (1 - t) / t: what stands for the SNR where symbols are corrupted."""
    levels = levels_of(t)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / levels - 1)


def draw_symbols(
    means: NDArray[Any], random: Sequence[np.random.Generator]
) -> NDArray[np.int32]:  # fmt: skip
    """One symbol per leaf from posterior means [n, leaves, v], each row from its own stream."""
    # networks that do not predict probabilities can leave the simplex; this goes back to it
    sums = np.cumsum(np.clip(means.astype(float), 1e-12, None), axis=-1)
    uniform = np.stack([r.random(means.shape[1]) for r in random])[..., None] * sums[..., -1:]
    return np.asarray((sums <= uniform).sum(axis=-1).clip(max=means.shape[-1] - 1), np.int32)
