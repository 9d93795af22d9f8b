r"""Classes of images by errors of eps on a fixed grid of times with one noise per time.

.. math:: \hat y = \arg\min_c \frac1{|S|}\sum_{(i, \epsilon_i) \in S}
   |\epsilon_i - \hat\epsilon_c(a_i x_0 + s_i \epsilon_i)|^2, \qquad S_i = \{2, 6, \dots, 998\},

the same set S for all classes and all images.  Classes are dropped in stages; the times of a stage
are spread over the whole grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.theory.zero_shot.weightings import eps_error

__all__ = ["GRID", "FixedGrid", "grid_scores"]

Array: TypeAlias = NDArray[Any]

GRID = tuple(range(2, 1000, 4))
"""Times of the published protocol, of 1,000."""


class ToldDenoiser(Protocol):
    """E[x0 | x_t, class] of variance-preserving x_t, for signal-to-noise ratios and classes [n]."""

    def denoise(self, x_t: Array, snr: Array, label: Array) -> Array: ...


@dataclass(frozen=True, eq=False)
class FixedGrid:
    """Signal-to-noise ratios [S] of the samples, and the stages that use them.

    Attributes
    ----------
    snr
        [S], of every time of the grid.
    keep, stages
        Classes kept after each stage, and samples at its end, cumulative.
    seed
        Names the noise, one draw per time.
    """

    snr: Array
    keep: tuple[int, ...] = (1,)
    stages: tuple[int, ...] = (len(GRID),)
    seed: int = 42

    def __post_init__(self) -> None:
        ends, kept = [0, *self.stages], list(self.keep)
        if (
            len(self.keep) != len(self.stages) or not kept or kept[-1] != 1
            or kept != sorted(kept, reverse=True)
            or any(a >= b for a, b in zip(ends, ends[1:], strict=False))
            or self.stages[-1] > len(self.snr)
        ):  # fmt: skip
            raise InvalidParameter(
                f"keep = {self.keep} must fall to 1 and stages = {self.stages} rise up to at most "
                f"{len(self.snr)} samples, one number each per stage"
            )

    @property
    def order(self) -> Array:
        """The samples in an order whose beginnings are spread evenly over the grid."""
        golden = (np.sqrt(5) - 1) / 2
        return np.argsort(np.argsort(np.arange(len(self.snr)) * golden % 1))

    def noise(self, i: int, shape: tuple[int, ...]) -> Array:
        """The noise of one sample, the same for all images and classes."""
        return stream(self.seed, "fixed noise", i).standard_normal(shape, dtype=np.float32)


def grid_scores(
    model: ToldDenoiser, x0: Array, classes: Sequence[int], grid: FixedGrid
) -> tuple[Array, int]:
    """Mean error of eps for every class of one datum, and the calls that it took.

    Parameters
    ----------
    model : conditional denoiser
    x0 : array [...]
        One clean datum.
    classes : sequence of int
        What it may be.
    grid : FixedGrid

    Returns
    -------
    scores : array [classes]
        Means over the samples that a class saw; a class that did not see the last stage keeps its
        mean, raised above those of the classes that did, so that the least score is the answer.
    calls : int

    Notes
    -----
    Validity: equal weights on errors of eps; with one stage no class is dropped.

    References
    ----------
    Li et al., arXiv 2303.16203; the public noise file is not used, but a seed.
    """
    wanted = np.asarray(classes)
    total, final = np.zeros(len(wanted)), np.full(len(wanted), np.nan)
    alive, done, calls = np.arange(len(wanted)), 0, 0
    order = grid.order
    for kept, until in zip(grid.keep, grid.stages, strict=True):
        for i in order[done:until]:
            total[alive] += _errors(model, x0, wanted[alive], grid, int(i))
        calls += len(alive) * (until - done)
        done = until
        final[alive] = total[alive] / until
        last, alive = alive, alive[np.argsort(final[alive], kind="stable")][:kept]
    early = np.setdiff1d(np.arange(len(wanted)), last)
    final[early] = np.maximum(final[early], np.nextafter(final[last].max(), np.inf))
    return final, calls


def _errors(model: ToldDenoiser, x0: Array, classes: Array, grid: FixedGrid, i: int) -> Array:
    ratio = float(grid.snr[i])
    noise = grid.noise(i, x0.shape)
    x_t = np.sqrt(ratio / (1 + ratio)) * x0 + np.sqrt(1 / (1 + ratio)) * noise
    many = np.broadcast_to(x_t, (len(classes), *x0.shape))
    guess = model.denoise(many, np.full(len(classes), ratio), classes)
    error = ((x0 - guess) ** 2).reshape(len(classes), -1).mean(axis=1)
    bad = np.flatnonzero(~np.isfinite(error))
    if bad.size:  # NaN would be the least of all errors for argmin, and the largest for argsort
        raise InvalidParameter(
            f"the denoiser returned NaN or inf for class {int(classes[bad[0]])} at snr = "
            f"{ratio:.6g} ({bad.size} of {len(classes)} classes); check its weights, or run it in "
            "float32"
        )
    return np.asarray(eps_error(error, ratio))
