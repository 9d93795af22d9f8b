"""Both passes over a tile of whole trees, written out for the sizes of one grammar.

The passes are those of ``tree.py``, with the sums over rules of ``specialised.py``.  In trees of
few symbols a node costs less than to find where it and its children stand; here these are
constants, since sizes, strides and places of all levels are.  Rules are not part of it: the
addresses of their code are read from the geometry table, so grammars of the same sizes share it.

It serves evidence of seen symbols, and marginals as lines, of trees that are not cut:

* ``up(room)``: leaf evidence and all upward messages; returns the exponents of the scales;
* ``down(room, tile)``: all messages below the root, and the marginals of the wanted levels.

Operations and their order are those of the generic passes, so results are the same bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numpy.typing import NDArray

from hierdiff.theory.belief_propagation._kernels import layout
from hierdiff.theory.belief_propagation._kernels.leaves import HIT, MASKS, MISS
from hierdiff.theory.belief_propagation._kernels.simd import _LAYOUT, LINE

__all__ = ["write_tree"]

_WORD = ir.IntType(64)
_BYTES = ir.IntType(8).as_pointer()


def _number(value: int) -> ir.Constant:
    return ir.Constant(_WORD, int(value))


class _Pass:
    """A function for the nodes of each level, which calls that of the level below."""

    def __init__(self, module: ir.Module, name: str, table: NDArray[Any], dtype: Any) -> None:
        self.module, self.name, self.table, self.size = module, name, table, dtype.itemsize
        self.depth, self.lanes = len(table) - 1, LINE // dtype.itemsize
        self.mantissa, self.bias = _LAYOUT[8 * dtype.itemsize]
        element = ir.FloatType() if dtype == np.float32 else ir.DoubleType()
        self.vector = ir.VectorType(element, self.lanes)
        self.integers = ir.VectorType(ir.IntType(8 * dtype.itemsize), self.lanes)
        self.seen = ir.VectorType(ir.IntType(32), self.lanes)

    def of(self, level: int, column: int) -> int:
        """Entry of the geometry table."""
        return int(self.table[level, column])

    def begin(self, name: str, result: Any, arguments: list[Any], inner: bool = True) -> Any:
        """A function; inner ones are called from this module only."""
        kind = ir.FunctionType(result, arguments)
        function = ir.Function(self.module, kind, f"{self.name}_{name}")
        if inner:
            function.linkage = "internal"
        self.build = ir.IRBuilder(function.append_basic_block())
        self.room = function.args[0]
        return function

    # what a function finds, and its operations

    def _field(self, name: str) -> Any:
        place = _number(layout._FIELDS.index(name))
        return self.build.load(self.build.gep(self.room, [place]))

    def field(self, name: str) -> Any:
        """A buffer of the thread."""
        return self.build.inttoptr(self._field(name), _BYTES)

    def entry(self, name: str, place: int) -> Any:
        """An integer of the job or of the geometry table."""
        table = self.build.inttoptr(self._field(name), _WORD.as_pointer())
        return self.build.load(self.build.gep(table, [_number(place)]))

    def at(self, base: Any, first: int, step: int = 0, count: Any = None) -> Any:
        """The place ``first + step * count`` numbers behind a place."""
        offset: Any = _number(first * self.size)
        if step and count is not None:
            offset = self.build.add(offset, self.build.mul(count, _number(step * self.size)))
        return self.build.gep(base, [offset])

    def load(self, base: Any, offset: int = 0) -> Any:
        """The line ``offset`` numbers behind a place."""
        place = self.build.bitcast(self.at(base, offset), self.vector.as_pointer())
        return self.build.load(place, align=LINE)

    def store(self, value: Any, base: Any, offset: int = 0) -> None:
        """Set that line."""
        place = self.build.bitcast(self.at(base, offset), self.vector.as_pointer())
        self.build.store(value, place, align=LINE)

    def same(self, value: float) -> ir.Constant:
        """A line of one number."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def _whole(self, value: int) -> ir.Constant:
        return ir.Constant(self.integers, [value] * self.lanes)

    def unscale(self, x: Any) -> Any:
        """The power of two that brings a number into [1, 2)."""
        field = self._whole(2 * self.bias + 1 << self.mantissa)
        bits = self.build.and_(self.build.bitcast(x, self.integers), field)
        flipped = self.build.sub(self._whole(2 * self.bias << self.mantissa), bits)
        return self.build.bitcast(flipped, self.vector)

    def exponent(self, x: Any) -> Any:
        """The binary exponent of a number."""
        bits = self.build.bitcast(x, self.integers)
        bits = self.build.lshr(bits, self._whole(self.mantissa))
        bits = self.build.and_(bits, self._whole(2 * self.bias + 1))
        return self.build.sitofp(self.build.sub(bits, self._whole(self.bias)), self.vector)

    def minimum(self, a: Any, b: Any) -> Any:
        """The smaller number; the second one where the first is none."""
        return self.build.select(self.build.fcmp_ordered("<", a, b), a, b)

    # parts of both passes

    def children(self, level: int, node: Any) -> Any:
        """Where the messages of the children of a node start."""
        rows, step = (self.of(level + 1, column) for column in (layout.ROWS, layout.STEP))
        return self.at(self.field("messages"), rows, step, node)

    def leaves(self, node: Any, child: Any, count: bool) -> None:
        """Evidence of the leaves of a node; counts those of which nothing is known."""
        build, line = self.build, self.field("line")
        s, v = self.of(self.depth - 1, layout.BRANCHES), self.of(self.depth, layout.SYMBOLS)
        hit, miss = (self.load(line, place * self.lanes) for place in (HIT, MISS))
        flat, zero = self.same(0.5 ** (v.bit_length() - 1)), ir.Constant(self.seen, None)
        masks = self.load(line, MASKS * self.lanes) if count else None
        first = build.gep(self.field("symbols"), [build.mul(node, _number(4 * self.lanes * s))])
        first = build.bitcast(first, self.seen.as_pointer())
        for j in range(s):
            seen = build.load(build.gep(first, [_number(j)]), align=4)
            known = build.icmp_signed(">=", seen, zero)
            rest = build.select(known, miss, flat)
            if count:
                masks = build.fadd(masks, build.select(known, self.same(0.0), self.same(1.0)))
            for b in range(v):
                found = build.icmp_signed("==", seen, ir.Constant(self.seen, [b] * self.lanes))
                place = j * self.of(self.depth, layout.STRIDE) + b * self.lanes
                self.store(build.select(found, hit, rest), child, place)
        if count:
            self.store(masks, line, MASKS * self.lanes)

    def scale(self, level: int, child: Any) -> Any:
        """Product of the scales of the children of a node."""
        found: Any = self.same(1.0)
        if level + 1 < self.depth:
            v, stride = self.of(level + 1, layout.SYMBOLS), self.of(level + 1, layout.STRIDE)
            for j in range(self.of(level, layout.BRANCHES)):
                found = self.build.fmul(found, self.load(child, j * stride + v * self.lanes))
        return found

    def code(self, level: int, column: int, result: Any, arguments: list[Any]) -> Any:
        """Call the code of the rules of a level."""
        place = self.entry("geometry", level * layout.NUMBER + column)
        kind = ir.FunctionType(result, [x.type for x in arguments])
        return self.build.call(self.build.inttoptr(place, kind.as_pointer()), arguments)


def _write_up(go: _Pass) -> None:
    """From the leaves to the root."""
    below: Any = None
    room = _WORD.as_pointer()
    for level in range(go.depth - 1, -1, -1):
        function = go.begin(f"up_{level}", go.vector, [room, _WORD, go.vector])
        _, node, exponents = function.args
        build, s = go.build, go.of(level, layout.BRANCHES)
        v, stride = go.of(level + 1, layout.SYMBOLS), go.of(level + 1, layout.STRIDE)
        if below is not None:
            total = build.alloca(go.vector)
            build.store(exponents, total)
            with cgutils.for_range(build, _number(s)) as loop:
                child = build.add(build.mul(node, _number(s)), loop.index)
                build.store(build.call(below, [go.room, child, build.load(total)]), total)
            exponents = build.load(total)
        child = go.children(level, node)
        if below is None:
            go.leaves(node, child, count=True)
        scale, path = go.scale(level, child), go.same(0.0)
        if below is not None:
            for j in range(s):
                path = go.minimum(go.load(child, j * stride + (v + 1) * go.lanes), path)
            path = go.minimum(build.fsub(go.same(0.0), go.exponent(scale)), path)
        rows, step = go.of(level, layout.ROWS), go.of(level, layout.STRIDE)
        out = go.at(go.field("messages"), rows, step, node)
        arguments = [child, _number(stride * go.size), out, scale]
        found = go.code(level, layout.UP_CODE, go.vector, arguments)
        c, end = go.unscale(found), go.of(level, layout.SYMBOLS) * go.lanes
        go.store(c, out, end)
        go.store(build.fadd(path, go.exponent(found)), out, end + go.lanes)
        build.ret(build.fadd(exponents, go.exponent(c)))
        below = function
    go.begin("up", go.vector, [room], inner=False)
    go.build.ret(go.build.call(below, [go.room, _number(0), go.same(0.0)]))


def _write_down(go: _Pass) -> None:
    """From the root to the lowest level that is wanted."""
    below: Any = None
    room = _WORD.as_pointer()
    for level in range(go.depth - 1, -1, -1):
        function = go.begin(f"down_{level}", ir.VoidType(), [room, _WORD, _WORD, _WORD])
        _, node, slot, tile = function.args
        build, s, v = go.build, go.of(level, layout.BRANCHES), go.of(level + 1, layout.SYMBOLS)
        child = go.children(level, node)
        if below is None:
            go.leaves(node, child, count=False)
        stack, size = go.field("stack"), go.of(level, layout.SYMBOLS) * go.lanes
        parent = go.at(stack, go.of(level, layout.STACK), size, slot)
        out = go.at(stack, go.of(level + 1, layout.STACK))
        length, start = go.entry("job", layout.LENGTH), go.entry("job", layout.HEAD + level + 1)
        wanted = build.icmp_signed(">=", start, _number(0))
        place = build.add(start, build.mul(tile, _number(go.lanes)))
        place = build.add(place, build.mul(length, build.mul(node, _number(s * v))))
        values = build.inttoptr(go.entry("job", layout.VALUES), _BYTES)
        values = build.gep(values, [build.mul(place, _number(go.size))])
        step, stride = build.mul(length, _number(go.size)), go.of(level + 1, layout.STRIDE)
        arguments = [parent, child, _number(stride * go.size), out, go.scale(level, child)]
        with build.if_else(wanted) as (yes, no):
            with yes:
                go.code(level, layout.SHOW_CODE, ir.VoidType(), [*arguments, values, step])
            with no:
                go.code(level, layout.DOWN_CODE, ir.VoidType(), arguments)
        if below is not None:
            lowest = go.entry("job", layout.LOWEST)
            with (
                build.if_then(build.icmp_signed(">", lowest, _number(level + 1))),
                cgutils.for_range(build, _number(s)) as loop,
            ):
                child = build.add(build.mul(node, _number(s)), loop.index)
                build.call(below, [go.room, child, loop.index, tile])
        build.ret_void()
        below = function
    function = go.begin("down", ir.VoidType(), [room, _WORD], inner=False)
    go.build.call(below, [go.room, _number(0), _number(0), function.args[1]])
    go.build.ret_void()


def write_tree(module: ir.Module, name: str, table: NDArray[Any], dtype: np.dtype[Any]) -> None:
    """Both passes for a geometry table, as functions of the names ``name_up`` and ``name_down``."""
    _write_up(_Pass(module, name, table, dtype))
    _write_down(_Pass(module, name, table, dtype))
