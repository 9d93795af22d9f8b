"""What goes into a network and what comes out of it, checked before anything is made of it.

Tensors are checked by type and shape before any kernel of torch runs, which a compiled network does
once; their values on an accelerator are never read, which would make it wait.  Outputs are checked
for NaN, which would pass in silence: a pixel that is NaN becomes black when it is stored in eight
bits, an infinite one is clipped to a bound, and a class whose error is NaN wins every argmin.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff._files import one_line
from hierdiff.checks import shown, whole
from hierdiff.errors import HierdiffError, InvalidParameter

# the name of torch 2.5 and later; 2.4 has it below cuda alone
OUT_OF_MEMORY: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)

__all__ = [
    "OUT_OF_MEMORY",
    "FiniteOutputs",
    "batch_number",
    "called",
    "check_names",
    "labels_of",
    "layers_number",
    "one_per_row",
    "refuse_rows",
    "size_number",
    "tensor",
]

# layers wider or deeper than any network has; larger numbers are slips, and exhaust memory or time
size_number = partial(whole, low=1, high=2**16)
layers_number = partial(whole, low=1, high=100)

# 1.7e7 data of one number each are what one step could be given at all
batch_number = partial(whole, low=1, high=2**24)


def tensor(name: str, value: Any, *shape: int | EllipsisType | None) -> Tensor:
    """A tensor of real numbers of a shape: None stands for any extent, ... for any further axes.

    Examples
    --------
    >>> tensor("x", torch.zeros(2, 3), None, 3).shape
    torch.Size([2, 3])
    >>> tensor("x", [0.0], None)
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: x = [0.0] is of type list; give a tensor of torch
    """
    if not isinstance(value, Tensor):
        raise InvalidParameter(
            f"{name} = {shown(value)} is of type {type(value).__name__}; give a tensor of torch"
        )
    if not shape:
        return value
    further = shape[-1] is ...
    wanted = shape[:-1] if further else shape
    extents = tuple(value.shape)
    fits = len(extents) >= len(wanted) if further else len(extents) == len(wanted)
    if not fits or any(w is not None and w != k for w, k in zip(wanted, extents, strict=False)):
        words = [("any" if w is None else "..." if w is ... else str(w)) for w in shape]
        raise InvalidParameter(f"{name} has shape {extents}; give [{', '.join(words)}]")
    if not value.is_floating_point():
        raise InvalidParameter(f"{name} has type {value.dtype}; give real numbers")
    return value


def one_per_row(name: str, value: Any, x: Tensor) -> Tensor:
    """A tensor with one number for each row of ``x``."""
    if isinstance(value, Tensor) and value.ndim == 1 and len(value) == len(x):
        return value
    got = tuple(value.shape) if isinstance(value, Tensor) else shown(value)
    raise InvalidParameter(f"{name} = {got} must be a tensor [{len(x)}], one number per row of x")


def labels_of(name: str, value: Any, x: Tensor, classes: int) -> Tensor:
    """A class below ``classes`` for each row of ``x``; on an accelerator they are not looked at."""
    labels = one_per_row(name, value, x)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InvalidParameter(f"{name} has type {labels.dtype}; give integers")
    # an index outside the table is an error on the processor, and ends an accelerator's process
    if labels.device.type == "cpu" and len(labels) and not torch.compiler.is_compiling():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise InvalidParameter(
                f"{name} holds {low if low < 0 else high}; give classes 0 to {classes - 1}"
            )
    return labels


def called(who: str, module: Any, *inputs: Tensor) -> Any:
    """What a network of unknown shape returns; an input it cannot take is an error in one line."""
    try:
        return module(*inputs)
    except OUT_OF_MEMORY:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, HierdiffError):
            raise
        shapes = " and ".join(str(tuple(x.shape)) for x in inputs)
        raise InvalidParameter(
            f"{who} cannot be called with tensors of shape {shapes} ({type(error).__name__}: "
            f"{one_line(error)[:120]}); give data of the shape it was made for"
        ) from error


def check_names(state_dict: Mapping[str, Tensor], net: nn.Module) -> None:
    """Raise InvalidParameter, naming the first differences, unless names and shapes agree."""
    wanted = net.state_dict()
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InvalidParameter(
                f"the weights hold {shown(value)} as {shown(name)}; give tensors by their names"
            )
    said = []
    for what, names in (
        ("missing", [k for k in wanted if k not in state_dict]),
        ("unknown", [k for k in state_dict if k not in wanted]),
        ("differently shaped", [
            f"{k} {tuple(state_dict[k].shape)} for {tuple(w.shape)}"
            for k, w in wanted.items() if k in state_dict and state_dict[k].shape != w.shape
        ]),
    ):  # fmt: skip
        if names:
            said.append(f"{len(names)} {what}, first {names[0]}")
    if said:
        raise InvalidParameter(
            f"the weights do not fit the architecture ({'; '.join(said)}); give the configuration "
            "they were trained with"
        )


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
