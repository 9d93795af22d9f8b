"""What noise processes accept: levels, ratios, symbols and random numbers, checked."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.errors import InvalidParameter

__all__ = ["FloatArray", "SymbolArray", "finite_reals", "levels_of", "snr_of", "symbols_of"]

FloatArray: TypeAlias = NDArray[np.float64]
SymbolArray: TypeAlias = NDArray[np.int32]


def levels_of(t: ArrayLike, n: int | None = None) -> FloatArray:
    """Noise levels in [0, 1]: of any shape, or one or n of them if ``n`` is given."""
    levels = _numbers("t", t, n)
    outside = ~((levels >= 0) & (levels <= 1))
    if outside.any():
        raise InvalidParameter(
            f"t = {levels[outside].flat[0]} is outside [0, 1]; give a noise level from 0 (clean) "
            "to 1 (pure noise)"
        )
    return levels


def snr_of(snr: ArrayLike, n: int | None = None) -> FloatArray:
    """Signal-to-noise ratios in [0, inf]: of any shape, or one or n of them if ``n`` is given."""
    ratio = _numbers("snr", snr, n)
    bad = ~(ratio >= 0)
    if bad.any():
        raise InvalidParameter(
            f"snr = {ratio[bad].flat[0]} is no signal-to-noise ratio; give a number >= 0 or inf"
        )
    return ratio


def symbols_of(name: str, symbols: ArrayLike, lowest: int, v: int) -> SymbolArray:
    """Symbols [n, leaves] in [lowest, v), as int32."""
    array = np.asarray(symbols)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise InvalidParameter(
            f"{name} has shape {array.shape} and type {array.dtype}; give integers [n, leaves]"
        )
    if array.size and (array.min() < lowest or array.max() >= v):
        wrong = int(array.min() if array.min() < lowest else array.max())
        raise InvalidParameter(f"{name} holds {wrong}; give symbols in [{lowest}, {v})")
    return array.astype(np.int32, copy=False)


def finite_reals(
    name: str, values: ArrayLike, shape: tuple[int | None, ...] | None = None
) -> FloatArray:
    """Finite real array of a shape (None: any extent), or of two axes or more."""
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise InvalidParameter(f"{name} has type {array.dtype}; give real numbers")
    if shape is None:
        if array.ndim < 2:
            raise InvalidParameter(f"{name} has shape {array.shape}; give one row per sample")
    elif len(shape) != array.ndim or any(
        want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise InvalidParameter(f"{name} has shape {array.shape}; give ({wanted})")
    if not np.isfinite(array).all():
        raise InvalidParameter(f"{name} holds NaN or inf; give finite numbers")
    return array.astype(float, copy=False)


def _numbers(name: str, value: ArrayLike, n: int | None) -> FloatArray:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InvalidParameter(
            f"{name} = {value!r} is no number; give a float or an array of floats"
        ) from None
    if n is not None and array.shape not in ((), (n,)):
        raise InvalidParameter(
            f"{name} has shape {array.shape}; give one number, or one per sample: ({n},)"
        )
    return array
