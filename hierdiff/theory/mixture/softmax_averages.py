r"""Softmax averages over a data set that is read once, block by block.

With keys :math:`k_i`, values :math:`u_i` and queries :math:`y` the sums over i of

.. math::

    w_i \propto e^{\ell_i}, \qquad \ell_i = \frac{y\cdot k_i - |k_i|^2/2}{\sigma^2},
    \qquad \text{so that } w_i \propto e^{-|y-k_i|^2/2\sigma^2},

are kept relative to the largest :math:`\ell_i` seen so far (online softmax): memory is one block
of keys, one block of weights and one sum per query, whatever the number of data.

A product is fast and cancels: its error is :math:`\epsilon(|y||k|+|k|^2)/\sigma^2`, and at most
:math:`\epsilon(|y|^2+|k|^2)/\sigma^2`.  Data with an
offset are therefore shifted by the mean of the queries, and where the error still exceeds
``_TOLERANCE`` the log-weights that count are computed again from the differences :math:`y-k_i`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, whole
from hierdiff.errors import InvalidParameter

__all__ = ["PreparedData"]

Reals: TypeAlias = NDArray[Any]  # float64, or float32 throughout when the queries are float32
Data: TypeAlias = "ArrayLike | Iterable[ArrayLike] | PreparedData"

BLOCK = 8192  # data per block: products of this length run at the speed of square ones
_WEIGHTS = 1 << 22  # weights of a block, so many queries at a time
_CACHED = 1 << 17  # weights that stay in the innermost caches from one pass to the next
_EXPONENT = 80.0  # exp(-80) is a normal float32: no denormals, which are slow
_MASS = 1e-9  # weights below eps * _MASS of the largest cannot add up to one rounding error
_SAMPLE = 256  # data whose middle and spread stand for all, when an offset is looked for
_ROUNDING = 8  # roundings of a product of typical length, in units of the machine precision
# error of a log-weight that is let stand: far below what the weights' own precision resolves in
# float64; in float32 a share of 1e-3, which costs little to keep
_TOLERANCE = {np.dtype(np.float64): 1e-11, np.dtype(np.float32): 1e-3}
_PAIRS = 1 << 21  # entries of the differences held at a time


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


def real(x: ArrayLike, name: str = "x") -> Reals:
    """Array of floats; float32 stays float32."""
    y = array(name, x)
    return y if y.dtype == np.float32 else y.astype(np.float64, copy=False)


def kept(rows: Reals) -> Reals:
    """Rows that nobody can write to: copied, unless they are read-only already."""
    if rows.flags.writeable:
        rows = rows.copy()
        rows.flags.writeable = False
    return rows


def matrix(name: str, x: ArrayLike, dim: int | None = None) -> Reals:
    """Non-empty finite array [n, D]; float32 stays float32."""
    y = real(x, name)
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
    step = BLOCK if block is None else whole("block", block, 1)
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
            rows = np.ascontiguousarray(array("data", part[i : i + step]), dtype=dtype)
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
        if array("data[0]", data[0]).ndim == item_ndim:
            yield array("data", data)
            return
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
        raise InvalidParameter(
            f"data of type {type(data).__name__} cannot be read; give an array or blocks of one"
        )
    for part in data:
        yield (
            part if hasattr(part, "shape") and hasattr(part, "__getitem__") else array("data", part)
        )


def norms(block: Block) -> Reals:
    """Squared lengths, once they are known to be finite."""
    if block.squares is not None:
        return block.squares
    with np.errstate(over="ignore", invalid="ignore"):
        squares: Reals = np.vecdot(block.rows, block.rows)
    if not np.isfinite(squares).all():
        row = int(np.argmin(np.isfinite(squares)))
        if np.isfinite(block.rows[row]).all():
            raise InvalidParameter(
                f"data[{block.start + row}] is too long for {block.rows.dtype}: its square"
                " overflows; give smaller units"
            )
        raise InvalidParameter(
            f"data[{block.start + row}] holds NaN or inf; drop or repair that datum"
        )
    return squares


def origin_of(y: Reals, rows: Reals) -> Reals | None:
    """Mean of the queries where the data lie far out compared with their spread, else None.

    It is a number of the data's precision, so that differences from it are correctly rounded.
    """
    few = rows[:_SAMPLE].astype(np.float64)
    middle = few.mean(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.square(few - middle).sum(axis=1).mean()
        # within three spreads the offset costs less than one decimal digit
        if not middle @ middle > 9 * spread:
            return None
    # halved, so that the sum of two large numbers stays finite
    return cast(Reals, (2 * (y.astype(np.float64) / 2).mean(axis=0)).astype(y.dtype))


def shifted(block: Block, origin: Reals | None) -> Block:
    """The block relative to an origin."""
    return block if origin is None else Block(block.start, block.rows - origin)


def squared_gaps(y: Reals, rows: Reals, i: NDArray[np.intp], j: NDArray[np.intp]) -> Any:
    """Exact squared distances of the pairs y[j], rows[i], in float64."""
    out = np.empty(len(i))
    step = max(1, _PAIRS // y.shape[1])
    for low in range(0, len(i), step):
        part = slice(low, low + step)
        gap = y[j[part]].astype(np.float64) - rows[i[part]]
        out[part] = np.vecdot(gap, gap)
    return out


def nearest_pairs(y: Reals, block: Block, origin: Reals | None) -> Iterator[tuple[slice, Any, Any]]:
    """Two nearest data of every query in a block, exactly: (rows, numbers, distances), [n, 2].

    A product finds candidates, which include the nearest whatever its rounding; differences decide.
    With a single datum the second column is -1 and infinite.
    """
    moved = shifted(block, origin)
    squares = norms(moved).astype(np.float64)
    eps = float(np.finfo(y.dtype).eps)
    few = min(2, len(squares))
    step = max(1, _WEIGHTS // len(squares))
    for low in range(0, len(y), step):
        part = slice(low, min(low + step, len(y)))
        own = y[part] if origin is None else y[part] - origin
        keys = squares - 2.0 * (own @ moved.rows.T)
        length = np.vecdot(own, own).astype(np.float64)
        bound = 2 * _ROUNDING * eps * (length + squares.max())
        limit = np.partition(keys, few - 1, axis=1)[:, few - 1] + 2 * bound
        j, i = np.nonzero(keys <= limit[:, None])
        gaps = squared_gaps(y[part], block.rows, i, j)
        order = np.lexsort((i, gaps, j))
        first = np.searchsorted(j[order], np.arange(part.stop - part.start))
        index = np.full((part.stop - part.start, 2), -1, dtype=np.intp)
        distance = np.full(index.shape, np.inf)
        for column in range(few):
            chosen = order[first + column]
            index[:, column] = block.start + i[chosen]
            distance[:, column] = np.sqrt(gaps[chosen])
        yield part, index, distance


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
        self.origin: Reals | None = None
        self._moved, self._offset_mean = y, False
        self.top = np.full(len(y), -np.inf, dtype=y.dtype)
        self.mass = np.zeros(len(y))
        self.sum: Reals = np.zeros((len(y), width), dtype=y.dtype)
        self.own, self.own_log = own, np.full(len(y), -np.inf)
        self.nearest = np.zeros(len(y), dtype=np.intp) if track else None
        self.distance = np.full(len(y), np.inf)
        self._scratch = [np.empty(0, dtype=y.dtype), np.empty(0, dtype=y.dtype)]

    @property
    def mean(self) -> Reals:
        """Weighted mean of the values so far, [B, width]."""
        out: Reals = self.sum / self.mass[:, None].astype(self.y.dtype)
        return out + self.origin if self._offset_mean and self.origin is not None else out

    @property
    def pull(self) -> Reals:
        """Weighted mean of the keys less the query, without the rounding of an offset."""
        out: Reals = self.sum / self.mass[:, None].astype(self.y.dtype) - self._moved
        return out

    def feed(self, block: Block, values: Reals | None = None) -> None:
        """Add one block; the values default to the keys themselves."""
        if self.count == 0:
            self._begin(block)
        moved = shifted(block, self.origin)
        squares = norms(moved)
        self._guard(squares)
        half = squares / self.y.dtype.type(2 * self.variance)
        if values is None:
            values, self._offset_mean = moved.rows, True
        step = max(1, _WEIGHTS // len(half))
        for low in range(0, len(self.y), step):
            part = slice(low, min(low + step, len(self.y)))
            self._add(part, block, moved.rows, half, values)
        self.count += len(half)

    def _begin(self, block: Block) -> None:
        """Choose the origin, and refer the queries to it."""
        self.origin = origin_of(self.y, block.rows)
        self._moved = self.y if self.origin is None else self.y - self.origin
        with np.errstate(over="ignore"):
            squares = np.vecdot(self._moved, self._moved)
        self._guard(squares)
        if self.variance < float(np.finfo(self.y.dtype).tiny):
            raise InvalidParameter(
                f"sigma^2 = {self.variance:.3g} is no number of {self.y.dtype}; raise sigma, or"
                " pass float64 data"
            )
        self._tilted = self._moved / self.y.dtype.type(self.variance)
        self._half = squares / self.y.dtype.type(2 * self.variance)

    def _guard(self, squares: Reals) -> None:
        """By Cauchy-Schwarz no log-weight overflows if no squared length does."""
        largest = float(squares.max()) / self.variance
        if not largest <= float(np.finfo(self.y.dtype).max) / 4:
            raise InvalidParameter(
                f"|x|^2 / sigma^2 = {largest:.3g} overflows {self.y.dtype}; raise sigma, or pass"
                " float64 data of smaller units"
            )

    def _add(self, part: slice, block: Block, keys: Reals, half: Reals, values: Reals) -> None:
        count, queries = len(half), part.stop - part.start
        # data along the rows: a product of many rows splits evenly over threads, one of few not
        logits = self._memory(0, (count, queries))
        np.matmul(keys, self._tilted[part].T, out=logits)
        best = np.full(queries, -np.inf, dtype=logits.dtype)
        pieces = _pieces(count, queries)
        for piece in pieces:
            logits[piece] -= half[piece, None]
            logits[piece] -= self._half[part]
            np.maximum(best, logits[piece].max(axis=0), out=best)
        best = self._refine(part, block, half, logits, best)
        if self.own is not None:
            self._note_own(part, block, logits)
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

    def _refine(self, part: slice, block: Block, half: Reals, logits: Reals, best: Reals) -> Reals:
        """Compute log-weights that count from differences, if the product is not good enough."""
        eps = float(np.finfo(logits.dtype).eps)
        error = 2 * eps * _roundings(float(half.max()), float(self._half[part].max()))
        enough = error <= _TOLERANCE[logits.dtype]
        if enough and self.nearest is None:
            return best
        top = np.maximum(best, self.top[part]).astype(np.float64)
        # of the nearest datum alone if the weights are good enough as they are
        depth = 0.0 if enough else -np.log(eps * _MASS)
        limit = (np.where(np.isfinite(top), top, best) - depth - 2 * error).astype(logits.dtype)
        i, j = _above(logits, limit)
        gaps = squared_gaps(self.y[part], block.rows, i, j)
        if not enough and len(i):
            exact = (-gaps / (2 * self.variance)).astype(logits.dtype)
            logits[i, j] = exact
            # queries without a candidate here have their largest weight in an earlier block
            best = np.full(len(best), -np.inf, dtype=logits.dtype)
            np.maximum.at(best, j, exact)
        if self.nearest is not None and len(i):
            order = np.lexsort((i, gaps, j))
            query, first = np.unique(j[order], return_index=True)
            chosen, rows = order[first], part.start + query
            closer = gaps[chosen] < self.distance[rows]
            self.nearest[rows[closer]] = block.start + i[chosen[closer]]
            self.distance[rows[closer]] = gaps[chosen[closer]]
        return best

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


def _roundings(datum: float, query: float) -> float:
    r"""Error of a log-weight in units of the precision, from :math:`|k|^2/2\sigma^2` of both.

    The product is at most :math:`|y||k|/\sigma^2`, twice the root of both.  The length of the query
    is common to all data and costs the one rounding of its subtraction: where noise outweighs the
    data, as at high noise, it is by far the largest number.
    """
    whole = _ROUNDING * (datum + query)
    return min(whole, _ROUNDING * (2 * float(np.sqrt(datum * query)) + datum) + query)


def _above(logits: Reals, limit: Reals) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places (datum, query) of the entries that reach their query's limit; most data have none."""
    found = []
    for piece in _pieces(*logits.shape):
        rows = np.flatnonzero((logits[piece] >= limit).any(axis=1))
        i, j = np.nonzero(logits[piece][rows] >= limit)
        found.append((piece.start + rows[i], j))
    data, queries = zip(*found, strict=True)
    return np.concatenate(data), np.concatenate(queries)


def _pieces(count: int, queries: int) -> list[slice]:
    """Rows that stay in cache from one pass to the next."""
    step = max(1, _CACHED // queries)
    return [slice(low, min(low + step, count)) for low in range(0, count, step)]
