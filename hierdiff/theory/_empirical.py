r"""Softmax averages over a data set that is read once, block by block.

With keys :math:`k_i`, values :math:`u_i` and queries :math:`y` the sums over i of

.. math::

    w_i \propto e^{\ell_i}, \qquad \ell_i = \frac{y\cdot k_i - |k_i|^2/2}{\sigma^2},
    \qquad \text{so that } w_i \propto e^{-|y-k_i|^2/2\sigma^2},

are kept relative to the largest :math:`\ell_i` seen so far (online softmax): memory is one block
of keys, one block of weights and one sum per query, whatever the number of data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.errors import InvalidParameter

__all__ = [
    "Average",
    "Block",
    "Data",
    "PreparedData",
    "Reals",
    "blocks_of",
    "matrix",
    "norms",
    "real",
]

Reals: TypeAlias = NDArray[Any]  # float64, or float32 throughout when the queries are float32
Data: TypeAlias = "ArrayLike | Iterable[ArrayLike] | PreparedData"

BLOCK = 8192  # data per block: products of this length run at the speed of square ones
_WEIGHTS = 1 << 22  # weights of a block, so many queries at a time
_CACHED = 1 << 17  # weights that stay in the innermost caches from one pass to the next
_EXPONENT = 80.0  # exp(-80) is a normal float32: no denormals, which are slow
_MASS = 1e-9  # weights below eps * _MASS of the largest cannot add up to one rounding error


class Block(NamedTuple):
    """Consecutive data, the number of the first, and their squared lengths if known."""

    start: int
    rows: Reals
    squares: Reals | None = None


@dataclass(frozen=True, eq=False)
class PreparedData:
    """Data [N, D] in memory with their squared lengths [N], so that repeated calls skip a pass."""

    rows: Reals
    squares: Reals


def real(x: ArrayLike) -> Reals:
    """Array of floats; float32 stays float32."""
    y = np.asarray(x)
    return y if y.dtype == np.float32 else y.astype(np.float64, copy=False)


def matrix(name: str, x: ArrayLike, dim: int | None = None) -> Reals:
    """Non-empty finite array [n, D]; float32 stays float32."""
    y = real(x)
    wanted = "D" if dim is None else f"D = {dim}"
    if y.ndim != 2 or y.size == 0 or (dim is not None and y.shape[1] != dim):
        raise InvalidParameter(f"{name} has shape {y.shape}; give a non-empty array [n, {wanted}]")
    if not np.isfinite(y).all():
        row = int(np.argmin(np.isfinite(y).all(1)))
        raise InvalidParameter(f"{name}[{row}] holds NaN or inf; drop or repair that datum")
    return y


def blocks_of(
    data: Data, shape: tuple[int, ...], dtype: np.dtype[Any], block: int | None
) -> Iterator[Block]:
    """Read data of items of a known shape as blocks of at most ``block`` items, once.

    ``data`` is an array, anything that slices like one (a memory map, an HDF5 dataset), or an
    iterable of arrays.  Items arrive contiguous, in the precision of the queries, and finite
    (checked through their norms, which costs nothing beside a product).
    """
    step = BLOCK if block is None else block
    if step < 1:
        raise InvalidParameter(f"block = {block} data cannot be read at a time; give at least 1")
    start, known = 0, None
    if isinstance(data, PreparedData):
        known = data.squares if data.squares.dtype == dtype else None
        data = data.rows
    for part in _parts(data, len(shape)):
        if tuple(part.shape[1:]) != shape or len(part.shape) != len(shape) + 1:
            raise InvalidParameter(
                f"data of shape {tuple(part.shape)} do not fit queries of shape {(None, *shape)};"
                " give arrays [N, ...] of the same items"
            )
        for i in range(0, part.shape[0], step):
            rows = np.ascontiguousarray(part[i : i + step], dtype=dtype)
            yield Block(start, rows, None if known is None else known[i : i + step])
            start += len(rows)
    if start == 0:
        raise InvalidParameter("data are empty; give at least one datum")


def _parts(data: Data, item_ndim: int) -> Iterator[Any]:
    """Arrays, or what slices like one; nothing is read yet."""
    if hasattr(data, "shape") and hasattr(data, "__getitem__"):
        yield data
        return
    if isinstance(data, (list, tuple)):
        if not data:
            return
        if np.ndim(data[0]) == item_ndim:
            yield np.asarray(data)
            return
    if not isinstance(data, Iterable):
        raise InvalidParameter(
            f"data of type {type(data).__name__} cannot be read; give an array or blocks of one"
        )
    for part in data:
        yield part if hasattr(part, "shape") else np.asarray(part)


def norms(block: Block) -> Reals:
    """Squared lengths, once they are known to be finite."""
    if block.squares is not None:
        return block.squares
    squares: Reals = np.vecdot(block.rows, block.rows)
    if not np.isfinite(squares).all():
        row = block.start + int(np.argmin(np.isfinite(squares)))
        raise InvalidParameter(f"data[{row}] holds NaN or inf; drop or repair that datum")
    return squares


class Average:
    """Running softmax averages of queries [B, D]; feed blocks, then read ``mean``.

    Parameters
    ----------
    y : array [B, D]
        Queries.
    variance : float
        sigma^2.
    width : int
        Length of the values.
    own : int array [B] or None
        Number of each query's own datum, whose log-weight is noted.
    track : bool
        Note the nearest key of every query and its exact squared distance.
    """

    def __init__(
        self,
        y: Reals,
        variance: float,
        width: int,
        *,
        own: NDArray[np.intp] | None = None,
        track: bool = False,
    ) -> None:
        self.y, self.variance, self.count = y, variance, 0
        self.top = np.full(len(y), -np.inf, dtype=y.dtype)
        self.mass = np.zeros(len(y))
        self.sum: Reals = np.zeros((len(y), width), dtype=y.dtype)
        self.own, self.own_log = own, np.full(len(y), -np.inf)
        self.nearest = np.zeros(len(y), dtype=np.intp) if track else None
        self.distance = np.full(len(y), np.inf)
        self._scratch = [np.empty(0, dtype=y.dtype), np.empty(0, dtype=y.dtype)]
        self._guard(np.vecdot(y, y))
        self._tilted = y / y.dtype.type(variance)

    @property
    def mean(self) -> Reals:
        """Weighted mean of the values so far, [B, width]."""
        out: Reals = self.sum / self.mass[:, None].astype(self.y.dtype)
        return out

    def feed(self, block: Block, values: Reals | None = None) -> None:
        """Add one block; the values default to the keys themselves."""
        squares = norms(block)
        self._guard(squares)
        half = squares / self.y.dtype.type(2 * self.variance)
        values = block.rows if values is None else values
        step = max(1, _WEIGHTS // len(half))
        for low in range(0, len(self.y), step):
            self._add(slice(low, min(low + step, len(self.y))), block, half, values)
        self.count += len(half)

    def _guard(self, squares: Reals) -> None:
        """By Cauchy-Schwarz no log-weight overflows if no squared length does."""
        largest = float(squares.max()) / self.variance
        if largest > float(np.finfo(self.y.dtype).max) / 4:
            raise InvalidParameter(
                f"|x|^2 / sigma^2 = {largest:.3g} overflows {self.y.dtype}; raise sigma, or pass"
                " float64 data of smaller units"
            )

    def _add(self, part: slice, block: Block, half: Reals, values: Reals) -> None:
        count, queries = len(half), part.stop - part.start
        # data along the rows: a product of many rows splits evenly over threads, one of few not
        logits = self._memory(0, (count, queries))
        np.matmul(block.rows, self._tilted[part].T, out=logits)
        best = np.full(queries, -np.inf, dtype=logits.dtype)
        pieces = _pieces(count, queries)
        for piece in pieces:
            logits[piece] -= half[piece, None]
            np.maximum(best, logits[piece].max(axis=0), out=best)
        if self.own is not None:
            self._note_own(part, block, logits)
        if self.nearest is not None:
            self._note_nearest(part, block, logits, best > self.top[part])
        self._raise_top(part, best)
        alive = np.zeros(count, dtype=bool)
        for piece in pieces:
            alive[piece] = self._weigh(part, logits[piece])
        used = int(alive.sum())
        if 0 < used <= count // 2:
            self.sum[part] += logits[alive].T @ values[alive]
        elif used:
            product = self._memory(1, (queries, values.shape[1]))
            np.matmul(logits.T, values, out=product)
            self.sum[part] += product

    def _raise_top(self, part: slice, best: Reals) -> None:
        """Refer the sums to a new maximum."""
        top = np.maximum(self.top[part], best)
        if (top > self.top[part]).any():
            shrink = np.exp(self.top[part] - top)
            self.mass[part] *= shrink
            self.sum[part] *= shrink[:, None]
            self.top[part] = top

    def _weigh(self, part: slice, logits: Reals) -> NDArray[np.bool_] | bool:
        """Turn log-weights into weights relative to the maximum; tell which data matter."""
        logits -= self.top[part]
        cut = -np.log(np.finfo(logits.dtype).eps * _MASS)
        alive: NDArray[np.bool_] = logits.max(axis=1) > -cut
        if not alive.any():
            logits[...] = 0
            return False
        np.maximum(logits, logits.dtype.type(-_EXPONENT), out=logits)
        np.exp(logits, out=logits)
        self.mass[part] += logits.sum(axis=0)
        return alive

    def _memory(self, which: int, shape: tuple[int, int]) -> Reals:
        """Scratch that is kept: fresh pages cost as much as a pass over them."""
        size = shape[0] * shape[1]
        if self._scratch[which].size < size:
            self._scratch[which] = np.empty(size, dtype=self.y.dtype)
        return self._scratch[which][:size].reshape(shape)

    def _note_own(self, part: slice, block: Block, logits: Reals) -> None:
        assert self.own is not None
        inside = self.own[part] - block.start
        here = np.flatnonzero((inside >= 0) & (inside < len(block.rows)))
        self.own_log[part.start + here] = logits[inside[here], here]

    def _note_nearest(
        self, part: slice, block: Block, logits: Reals, better: NDArray[np.bool_]
    ) -> None:
        assert self.nearest is not None
        closer = np.flatnonzero(better)
        best = logits[:, closer].argmax(axis=0)
        rows = part.start + closer
        self.nearest[rows] = block.start + best
        # from the difference itself: the expanded square cancels where it matters most
        gap = (self.y[rows] - block.rows[best]).astype(float)
        self.distance[rows] = np.vecdot(gap, gap)


def _pieces(count: int, queries: int) -> list[slice]:
    """Rows that stay in cache from one pass to the next."""
    step = max(1, _CACHED // queries)
    return [slice(low, min(low + step, count)) for low in range(0, count, step)]
