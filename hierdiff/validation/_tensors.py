"""Tensors that networks are called with, looked at before any kernel of torch runs.

The checks read types and shapes alone, which a compiled network does once, and never the values on
an accelerator, which would make it wait.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

from hierdiff._files import one_line
from hierdiff.checks import shown
from hierdiff.errors import HierdiffError, InvalidParameter

__all__ = ["called", "labels_of", "one_per_row", "tensor"]


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
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, HierdiffError):
            raise
        shapes = " and ".join(str(tuple(x.shape)) for x in inputs)
        raise InvalidParameter(
            f"{who} cannot be called with tensors of shape {shapes} ({type(error).__name__}: "
            f"{one_line(error)[:120]}); give data of the shape it was made for"
        ) from error
