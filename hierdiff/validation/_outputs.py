"""What networks return is looked at before anything is made of it: NaN would pass in silence.

A pixel that is NaN becomes black when it is stored in eight bits, an infinite one is clipped to a
bound, and a class whose error is NaN wins every argmin.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hierdiff.errors import InvalidParameter

__all__ = ["FiniteOutputs", "refuse_rows"]

Array: TypeAlias = NDArray[Any]


def refuse_rows(
    who: str, values: Array, rows: Array | None = None, t: Array | None = None
) -> Array:
    """``values`` [n, ...], or InvalidParameter that names the first datum with NaN or inf.

    ``rows`` are the numbers of the data (default 0, 1, ...), ``t`` their noise levels [n].
    """
    if not values.size:
        return values
    flat = values.reshape(len(values), -1)
    # a sum is cheaper than a look at every number
    with np.errstate(all="ignore"):
        if np.isfinite(flat.sum(dtype=float)):
            return values
    _refuse(who, np.asarray(np.isfinite(flat).all(axis=1)), rows, t)
    return values


def _refuse(who: str, good: Array, rows: Array | None, t: Array | None) -> None:
    bad = np.flatnonzero(~good)
    if not bad.size:
        return
    datum = int(bad[0] if rows is None else rows[bad[0]])
    level = "" if t is None else f" at t = {float(t[bad[0]]):.6g}"
    raise InvalidParameter(
        f"{who} returned NaN or inf for datum {datum}{level} ({len(bad)} of {len(good)} data); "
        "check its weights and inputs, run it in float32, or leave this level out"
    )


class FiniteOutputs:
    """Looks at every output of a network: at once on the processor, else at the end.

    An accelerator runs ahead of the processor, and reading a flag after each call would make it
    wait, so there the flags are collected.
    """

    def __init__(self, who: str = "the network") -> None:
        self._who = who
        self._seen: list[tuple[Tensor, Array, Array]] = []

    def see(self, rows: Array, t: Array, *outputs: Tensor | None) -> None:
        """Outputs [n, ...] of the data ``rows`` at noise levels t [n]."""
        given = [x.flatten(1) for x in outputs if x is not None]
        if not given or not len(rows):
            return
        good = torch.stack([torch.isfinite(x).all(dim=1) for x in given]).all(dim=0)
        self._seen.append((good, rows, t))
        if good.device.type == "cpu":
            self.end()

    def end(self) -> None:
        """Raise InvalidParameter for the first output that was not finite."""
        seen, self._seen = self._seen, []
        for good, rows, t in seen:
            _refuse(self._who, good.cpu().numpy(), rows, t)
