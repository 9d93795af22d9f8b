"""What all samplers share: the levels that a chain visits, and the walk along them.

A chain is a table of SNRs, one row per sample, from the sample's own level to inf.  The network is
called at every level but the last; the last step is its posterior mean of x0.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hierdiff.checks import FloatArray, checked, count, instance, levels_of, memory, number, snr_of
from hierdiff.errors import InvalidParameter
from hierdiff.noise import SignalNoise
from hierdiff.validation._tensors import tensor
from hierdiff.validation.parameterisation import Prediction
from hierdiff.validation.schedules import DiscreteSchedule

__all__ = ["Draw", "Predict", "Sampler", "reverse_chain", "reverse_levels"]

Rows: TypeAlias = NDArray[np.intp]
Predict: TypeAlias = Callable[[Tensor, FloatArray, Rows], Prediction]
"""Posterior mean of some rows of the batch at their SNRs."""
Draw: TypeAlias = Callable[[Rows], Tensor]
"""Standard normal numbers for some rows of the batch, each row from a stream of its own."""


class Sampler(Protocol):
    """What turns posterior means into samples."""

    @property
    def stochastic(self) -> bool:
        """Whether it samples the posterior; else forward-backward runs are biased."""

    def run(
        self, predict: Predict, x_t: Tensor, t: FloatArray, noise: SignalNoise, draw: Draw
    ) -> Tensor:
        """The mean of x0 at the end of the chain from x_t at levels t [n]."""


@checked
def reverse_levels(levels: int | DiscreteSchedule, noise: SignalNoise, t: FloatArray) -> FloatArray:
    """SNRs of the chain of each sample, from its own level to inf.

    Parameters
    ----------
    levels : int or DiscreteSchedule
        A number of steps, equal in t; or a schedule whose levels are visited.
    noise : SignalNoise
        The meaning of t.
    t : array [n]
        Where each chain starts.

    Returns
    -------
    array [n, steps + 1]
        Never decreasing; equal neighbours are no step, so that samples with different starts go
        through one table.

    Notes
    -----
    Validity: a start that is a level of the schedule, to 1e-9, is not visited twice.

    Examples
    --------
    >>> reverse_levels(2, GaussianNoise(schedule="linear"), np.array([0.5])).round(4).tolist()
    [[0.0853, 1.1012, inf]]
    """
    t = np.atleast_1d(levels_of(t))
    if t.ndim > 1:
        raise InvalidParameter(f"t has shape {t.shape}; give one noise level per sample, [n]")
    start = noise.snr(t)[:, None]
    if isinstance(levels, DiscreteSchedule):
        visited = np.append(levels.snr[::-1], np.inf)
        table = np.where(visited <= start * (1 + 1e-9), start, visited)
        return np.concatenate([start, table], axis=1)
    count("levels", levels)
    memory(f"a table of {levels} steps for {len(t)} samples", 8.0 * len(t) * (levels + 1))
    k = np.arange(levels, -1, -1)
    table = noise.snr(t[:, None] * (k / levels))
    table[:, 0] = start[:, 0]
    return np.asarray(table)


@checked
def reverse_chain(
    predict: Predict,
    x_t: Tensor,
    table: FloatArray,
    step: Callable[[Tensor, Prediction, FloatArray, FloatArray, Draw], Tensor],
    draw: Draw,
    clip: float | None = None,
) -> Tensor:
    """Go through the table of SNRs; the last step is the network's mean of x0.

    Parameters
    ----------
    predict, step, draw : callable
        The network, the rule of one step, the random numbers.
    x_t : tensor [n, ...]
        Noisy data at the SNRs of the first column.
    table : array [n, steps + 1]
        As :func:`reverse_levels` returns it.
    clip : float, optional
        Bound put on each number of the mean of x0.

    Returns
    -------
    tensor [n, ...]
        A row whose SNR is inf from the start is returned as it is.

    Notes
    -----
    Validity: rows do not see each other, and rows that wait draw nothing.
    """
    if table.ndim != 2 or len(table) != len(tensor("x_t", x_t, None, ...)):
        raise InvalidParameter(f"table has shape {table.shape}; give [{len(x_t)}, steps + 1]")
    snr_of(table)
    if clip is not None:
        # a bound beyond the type of the state is none
        clip = min(number("clip", clip, above=0), torch.finfo(x_t.dtype).max)
    x = x_t
    for now, then in pairwise(table.T):
        rows = np.flatnonzero(now < then)
        if not rows.size:
            continue
        every = len(rows) == len(x)
        index = torch.as_tensor(rows, device=x.device)
        part = x if every else x[index]
        prediction = predict(part, now[rows], rows)
        instance("what predict returns", prediction, Prediction)
        if clip is not None:
            prediction = prediction._replace(clean=prediction.clean.clamp(-clip, clip))
        new = prediction.clean
        if np.isfinite(then[rows]).any():
            new = step(part, prediction, now[rows], then[rows], _part_of(draw, rows))
        x = new if every else x.index_copy(0, index, new)
    return x


def _part_of(draw: Draw, rows: Rows) -> Draw:
    def part(positions: Rows) -> Tensor:
        return tensor("what draw returns", draw(rows[positions]), len(positions), ...)

    return part
