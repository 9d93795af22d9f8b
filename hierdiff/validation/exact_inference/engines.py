"""What computes a batch: the compiled passes of the processor, or batched torch operations.

On a processor marginals and log-evidence come from the compiled passes of
:mod:`hierdiff.theory.belief_propagation`, which are tens of times faster than batched operations
there.  What they do not compute (derivatives of marginals, rule counts, weights and priors that are
tensors) and every accelerator take the passes in torch.  All agree to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hierdiff.checks import one_of
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.validation.exact_inference.passes import (
    Direction,
    Found,
    Jet,
    Tables,
    Wanted,
    infer,
    wide,
)

__all__: list[str] = []  # used inside this folder only

ENGINES = ("auto", "torch")


def engine_of(value: object) -> str:
    """The name of an engine, checked."""
    return str(one_of("engine", value, ENGINES))


def computed(
    tables: Tables, theta: Tensor, log_root: Tensor, log_weights: Sequence[Tensor],
    wanted: Wanted, direction: Direction | None = None, *, engine: str = "auto",
) -> Found:  # fmt: skip
    """The passes of a batch, by the fastest engine that can do what is wanted."""
    plain = direction is None and not log_weights and not wanted.counts
    if engine == "auto" and plain and theta.device.type == "cpu":
        own = log_root.data_ptr() == tables.log_prior.data_ptr()
        root = None if own else _classes(log_root)
        if own or root is not None:
            return _compiled(tables, theta, root, wanted)
    return infer(tables, theta, log_root, log_weights, wanted, direction)


def _classes(log_root: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """The class of every sample, where each has one."""
    if log_root.ndim != 2 or not bool((torch.isfinite(log_root).sum(1) == 1).all()):
        return None
    return np.asarray(log_root.argmax(1).numpy())


def _compiled(
    tables: Tables, theta: Tensor, root: np.ndarray[tuple[int], np.dtype[np.int64]] | None,
    wanted: Wanted,
) -> Found:  # fmt: skip
    """The compiled passes, which do their own extreme samples again."""
    values = theta.detach().numpy()
    found = posterior(tables.grammar, values, root, values.dtype, levels=wanted.levels)
    return Found(
        torch.from_numpy(found.log_evidence).to(wide(theta.device)),
        {
            level: Jet(torch.from_numpy(found.marginals[level]).permute(2, 1, 0))
            for level in wanted.levels
        },
        {},
        torch.ones(len(theta), dtype=torch.bool),
    )
