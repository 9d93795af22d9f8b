"""Fixed-width vectors for compiled loops: loads, stores and arithmetic on one cache line.

LLVM keeps a value of one of these types in a register, where an ordinary accumulator array would
travel through memory.  A vector holds 64 bytes: 16 ``float32`` or 8 ``float64``; on processors with
narrower registers LLVM splits it.  Offsets count elements from an address (see :func:`pointer`) on
a 64-byte boundary (see :func:`aligned`), and those of vectors are multiples of the lanes.
"""

from __future__ import annotations

import ctypes
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = [
    "LINE",
    "add",
    "add_four_pairs",
    "add_pair",
    "add_quadruple",
    "add_two_quadruples",
    "address",
    "after",
    "aligned",
    "at",
    "call_down",
    "call_down_tree",
    "call_up",
    "call_up_tree",
    "divide",
    "drop",
    "exp",
    "exponent",
    "float64_at",
    "fma",
    "get_turned",
    "int32_at",
    "int64_at",
    "lanes",
    "like",
    "load",
    "load_anywhere",
    "maximum",
    "minimum",
    "multiply",
    "one_hot",
    "pair",
    "pointer",
    "put",
    "put_turned",
    "rest",
    "restore_denormals",
    "same",
    "share",
    "shared",
    "skip_denormals",
    "store",
    "store_anywhere",
    "stream",
    "stream_turned",
    "subtract",
    "take",
    "unscale",
    "where_at_least",
    "where_equal",
    "width",
]

LINE = 64
"""Bytes of a vector, and the alignment of every buffer that holds them."""

_INTEL = platform.machine().lower() in {"x86_64", "amd64", "i686", "x86"}


def lanes(dtype: np.typing.DTypeLike) -> int:
    """Numbers of type ``dtype`` in one vector."""
    return LINE // (dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)).itemsize


def aligned(size: int, dtype: np.typing.DTypeLike) -> np.ndarray:
    """Uninitialised flat array that starts on a 64-byte boundary."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.empty(size * itemsize + LINE, np.uint8)
    shift = -ctypes.addressof(ctypes.c_char.from_buffer(raw.data)) % LINE
    return raw[shift : shift + size * itemsize].view(dtype)


class _Vector(types.Type):
    """Opaque vector type; ``bits`` is the width of one element."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.lanes = 8 * LINE // bits
        super().__init__(name=f"Vector({self.lanes} x float{bits})")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, frontend_type) -> None:
        super().__init__(manager, frontend_type, _floats(frontend_type))


def _floats(vector: _Vector) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if vector.bits == 32 else ir.DoubleType(), vector.lanes)


def _ints(vector: _Vector) -> ir.VectorType:
    return ir.VectorType(ir.IntType(vector.bits), vector.lanes)


_VECTORS = {types.float32: _Vector(32), types.float64: _Vector(64)}
_LAYOUT = {32: (23, 127), 64: (52, 1023)}  # mantissa bits and exponent bias of IEEE 754


def _constant(vector, value):
    """Constant with the same number in every lane."""
    kind = _floats(vector) if isinstance(value, float) else _ints(vector)
    return ir.Constant(kind, [value] * vector.lanes)


def _call(builder, name, vector, *args):
    kind = _floats(vector)
    suffix = f"v{vector.lanes}f{vector.bits}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * len(args)), f"llvm.{name}.{suffix}"
    )
    return builder.call(function, args)


@intrinsic
def pointer(typing_context, array):
    """Address of the first element: unlike an array it is passed on without counting references."""

    def code(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), code


@intrinsic
def like(typing_context, base, address):
    """The place at an address, for elements of the same type as those at ``base``."""

    def code(context, builder, signature, args):
        return builder.inttoptr(args[1], context.get_value_type(signature.return_type))

    return base(base, types.int64), code


def _place(element):
    @intrinsic
    def place(typing_context, address):
        def code(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), code

    return place


int32_at = _place(types.int32)  # places at addresses, by the type of their elements
int64_at = _place(types.int64)
float64_at = _place(types.float64)


@intrinsic
def after(typing_context, base, i):
    """Address of the i-th element."""

    def code(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return base(base, types.intp), code


@intrinsic
def address(typing_context, base):
    """The place as a number."""

    def code(context, builder, signature, args):
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(base), code


@intrinsic
def take(typing_context, base, i):
    """The i-th element, which is then one larger; no two threads get the same."""

    def code(context, builder, signature, args):
        one = ir.Constant(ir.IntType(64), 1)
        # what this thread wrote before, also past the caches, others see who take a later number
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), one, "seq_cst")

    return types.int64(base, types.intp), code


# numbers that other threads change meanwhile; all threads see changes of them in the same order


@intrinsic
def shared(typing_context, base, i):
    """The i-th element."""

    def code(context, builder, signature, args):
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "seq_cst", LINE // 8)

    return types.int64(base, types.intp), code


@intrinsic
def share(typing_context, base, i, value):
    """Set the i-th element; returns what it was."""

    def code(context, builder, signature, args):
        return builder.atomic_rmw("xchg", builder.gep(args[0], [args[1]]), args[2], "seq_cst")

    return types.int64(base, types.intp, types.int64), code


@intrinsic
def drop(typing_context, base, i):
    """Make the i-th element one smaller; returns what it was."""

    def code(context, builder, signature, args):
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("sub", builder.gep(args[0], [args[1]]), one, "seq_cst")

    return types.int64(base, types.intp), code


@intrinsic
def rest(typing_context, turns):
    """Wait for some cycles; returns a clock, which counts ``turns`` where there is no other."""

    def code(context, builder, signature, args):
        if not _INTEL:
            return builder.mul(args[0], args[0].type(8))
        for name, kind in (("x86.sse2.pause", ir.VoidType()), ("readcyclecounter", ir.IntType(64))):
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, []), f"llvm.{name}"
            )
            found = builder.call(function, [])
        return found

    return types.int64(types.int64), code


@intrinsic
def at(typing_context, base, i):
    """The i-th element; integers come back as native ones."""
    element = base.dtype
    result = types.intp if isinstance(element, types.Integer) else element

    def code(context, builder, signature, args):
        value = builder.load(builder.gep(args[0], [args[1]]))
        return context.cast(builder, value, element, result)

    return result(base, types.intp), code


@intrinsic
def pair(typing_context, base, i):
    """Elements i and i + 1 of 32-bit integers >= 0, in the low and the high half of one number."""

    def code(context, builder, signature, args):
        word = ir.IntType(64)
        address = builder.bitcast(builder.gep(args[0], [args[1]]), word.as_pointer())
        return builder.load(address, align=4)

    return types.int64(base, types.intp), code


@intrinsic
def put(typing_context, base, i, value):
    """Set the i-th element."""

    def code(context, builder, signature, args):
        number = context.cast(builder, args[2], signature.args[2], base.dtype)
        builder.store(number, builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(base, types.intp, value), code


@intrinsic
def width(typing_context, base):
    """Lanes of a vector of the elements at this address."""

    def code(context, builder, signature, args):
        return context.get_constant(types.intp, _VECTORS[base.dtype].lanes)

    return types.intp(base), code


@intrinsic
def same(typing_context, base, number):
    """Vector of the elements' type with ``number`` in every lane."""
    vector = _VECTORS[base.dtype]

    def code(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], base.dtype)
        empty = ir.Constant(_floats(vector), ir.Undefined)
        first = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
        return builder.shuffle_vector(first, empty, mask)

    return vector(base, number), code


def _line(builder, base, offset, vector):
    return builder.bitcast(builder.gep(base, [offset]), _floats(vector).as_pointer())


@intrinsic
def load(typing_context, base, offset):
    """Vector that starts at an offset."""
    vector = _VECTORS[base.dtype]

    def code(context, builder, signature, args):
        return builder.load(_line(builder, args[0], args[1], vector), align=LINE)

    return vector(base, types.intp), code


def _store(streaming: bool):
    @intrinsic
    def store(typing_context, base, offset, value):
        def code(context, builder, signature, args):
            address = _line(builder, args[0], args[1], value)
            instruction = builder.store(args[2], address, align=LINE)
            if streaming:
                one = ir.Constant(ir.IntType(32), 1)
                instruction.set_metadata("nontemporal", builder.module.add_metadata([one]))
            return context.get_dummy_value()

        return types.void(base, types.intp, value), code

    return store


store = _store(streaming=False)
stream = _store(streaming=True)  # past the caches: for results that are not read again soon


def _turned(builder, lines):
    """Rows of a square of numbers whose lines are given: log2(lanes) rounds of exchanges."""
    lines, lanes = list(lines), len(lines)
    step = 1
    while step < lanes:
        word = ir.IntType(32)
        # pairs of lines exchange blocks of ``step`` lanes; the second of a pair counts from `lanes`
        first = [i if not i & step else lanes + i - step for i in range(lanes)]
        second = [i + step if not i & step else lanes + i for i in range(lanes)]
        masks = [ir.Constant(ir.VectorType(word, lanes), mask) for mask in (first, second)]
        for i in range(lanes):
            if not i & step:
                pair = lines[i], lines[i + step]
                lines[i], lines[i + step] = (builder.shuffle_vector(*pair, m) for m in masks)
        step *= 2
    return lines


def _put_turned(streaming: bool):
    @intrinsic
    def put_turned(typing_context, base, offset, out, place, step, last):
        """Lines from ``offset`` on, one per lane, as rows at ``place``, ``step`` apart.

        Lanes beyond ``last`` hold what that one holds, and are written to its place.
        """
        vector = _VECTORS[base.dtype]

        def code(context, builder, signature, args):
            base, offset, out, place, step, last = args
            offsets = [
                builder.add(offset, offset.type(i * vector.lanes)) for i in range(vector.lanes)
            ]
            lines = [builder.load(_line(builder, base, i, vector), align=LINE) for i in offsets]
            for w, row in enumerate(_turned(builder, lines)):
                lane = last.type(w)
                lane = builder.select(builder.icmp_signed("<", lane, last), lane, last)
                where = builder.add(place, builder.mul(lane, step))
                address = _line(builder, out, where, vector)
                instruction = builder.store(row, address, align=LINE if streaming else 4)
                if streaming:
                    one = ir.Constant(ir.IntType(32), 1)
                    instruction.set_metadata("nontemporal", builder.module.add_metadata([one]))
            return context.get_dummy_value()

        number = types.intp
        return types.void(base, number, out, number, number, number), code

    return put_turned


@intrinsic
def get_turned(typing_context, like, base, place, step, last, out, offset):
    """The opposite: rows at ``place``, ``step`` apart, as lines from ``offset`` on, one per number.

    As many of each as ``like`` has lanes, whatever the type of the numbers; lanes beyond ``last``
    repeat that one.
    """
    lanes = _VECTORS[like.dtype].lanes
    size = base.dtype.bitwidth // 8

    def code(context, builder, signature, args):
        _, base, place, step, last, out, offset = args
        kind = ir.VectorType(context.get_value_type(signature.args[1].dtype), lanes)

        def at(base, offset):
            return builder.bitcast(builder.gep(base, [offset]), kind.as_pointer())

        rows = []
        for w in range(lanes):
            lane = last.type(w)
            lane = builder.select(builder.icmp_signed("<", lane, last), lane, last)
            where = builder.add(place, builder.mul(lane, step))
            rows.append(builder.load(at(base, where), align=size))
        for i, line in enumerate(_turned(builder, rows)):
            builder.store(line, at(out, builder.add(offset, offset.type(i * lanes))), align=size)
        return context.get_dummy_value()

    number = types.intp
    return types.void(like, base, number, number, number, out, number), code


put_turned = _put_turned(streaming=False)
stream_turned = _put_turned(streaming=True)  # rows on lines of the cache, past the caches


@intrinsic
def load_anywhere(typing_context, base, offset):
    """Vector that starts at any element, on no boundary."""
    vector = _VECTORS[base.dtype]

    def code(context, builder, signature, args):
        address = _line(builder, args[0], args[1], vector)
        return builder.load(address, align=vector.bits // 8)

    return vector(base, types.intp), code


@intrinsic
def store_anywhere(typing_context, base, offset, value):
    """Store a vector that starts at any element, on no boundary."""

    def code(context, builder, signature, args):
        address = _line(builder, args[0], args[1], value)
        builder.store(args[2], address, align=value.bits // 8)
        return context.get_dummy_value()

    return types.void(base, types.intp, value), code


def _where(comparison: str):
    @intrinsic
    def where(typing_context, numbers, offset, number, yes, no):
        """Lane by lane ``yes`` where the integer at ``numbers + offset`` compares, else ``no``."""

        def code(context, builder, signature, args):
            word = ir.IntType(base_bits)
            kind = ir.VectorType(word, yes.lanes)
            start = builder.gep(args[0], [args[1]])
            values = builder.load(builder.bitcast(start, kind.as_pointer()), align=4)
            first = builder.insert_element(
                ir.Constant(kind, ir.Undefined),
                builder.trunc(args[2], word),
                ir.Constant(ir.IntType(32), 0),
            )
            mask = ir.Constant(ir.VectorType(ir.IntType(32), yes.lanes), [0] * yes.lanes)
            same_number = builder.shuffle_vector(first, first, mask)
            found = builder.icmp_signed(comparison, values, same_number)
            return builder.select(found, args[3], args[4])

        base_bits = numbers.dtype.bitwidth
        return yes(numbers, types.intp, types.intp, yes, no), code

    return where


where_equal = _where("==")
where_at_least = _where(">=")


def _function(builder, place, result, arguments):
    """What is called by its address."""
    kind = ir.FunctionType(result, arguments)
    return builder.inttoptr(place, kind.as_pointer())


@intrinsic
def call_up(typing_context, place, base, child, stride, out, scale):
    """The function at an address: a node's upward message, see ``specialised.py``."""

    def code(context, builder, signature, args):
        place, base, child, stride, out, scale = args
        bytes_, word = ir.IntType(8).as_pointer(), ir.IntType(64)
        child, out = (builder.bitcast(builder.gep(base, [x]), bytes_) for x in (child, out))
        size = ir.Constant(word, signature.args[1].dtype.bitwidth // 8)
        arguments = [bytes_, word, bytes_, scale.type]
        function = _function(builder, place, scale.type, arguments)
        return builder.call(function, [child, builder.mul(stride, size), out, scale])

    number = types.intp
    return scale(types.int64, base, number, number, number, scale), code


@intrinsic
def call_down(typing_context, place, parents, parent, base, child, stride, out, scale):
    """The function at an address: downward messages to the children of a node."""

    def code(context, builder, signature, args):
        place, parents, parent, base, child, stride, out, scale = args
        bytes_, word = ir.IntType(8).as_pointer(), ir.IntType(64)
        places = ((parents, parent), (base, child), (parents, out))
        parent, child, out = (builder.bitcast(builder.gep(x, [i]), bytes_) for x, i in places)
        size = ir.Constant(word, signature.args[1].dtype.bitwidth // 8)
        arguments = [bytes_, bytes_, word, bytes_, scale.type]
        function = _function(builder, place, ir.VoidType(), arguments)
        builder.call(function, [parent, child, builder.mul(stride, size), out, scale])
        return context.get_dummy_value()

    number = types.intp
    result = types.void(types.int64, parents, number, base, number, number, number, scale)
    return result, code


@intrinsic
def call_up_tree(typing_context, place, task, like):
    """The function at an address: all upward messages of a tile, see ``whole_trees.py``."""

    def code(context, builder, signature, args):
        place, room, like = args
        return builder.call(_function(builder, place, like.type, [room.type]), [room])

    return like(types.int64, task, like), code


@intrinsic
def call_down_tree(typing_context, place, task, tile):
    """The function at an address: all downward messages of a tile, and its marginals."""

    def code(context, builder, signature, args):
        place, room, tile = args
        arguments = [room.type, tile.type]
        builder.call(_function(builder, place, ir.VoidType(), arguments), [room, tile])
        return context.get_dummy_value()

    return types.void(types.int64, task, types.int64), code


@intrinsic
def one_hot(typing_context, base, offset, lines, numbers, here, hit, miss):
    """So many lines from ``offset`` on: ``hit`` where the 32-bit integer is the line's number."""

    def code(context, builder, signature, args):
        base, offset, lines, numbers, here, hit, miss = args
        kind = ir.VectorType(ir.IntType(32), signature.args[5].lanes)
        start = builder.bitcast(builder.gep(numbers, [here]), kind.as_pointer())
        seen = builder.load(start, align=4)
        first = builder.bitcast(builder.gep(base, [offset]), hit.type.as_pointer())
        zero = ir.Constant(ir.IntType(32), 0)
        mask = ir.Constant(kind, [0] * kind.count)
        with cgutils.for_range(builder, lines) as loop:
            line = builder.trunc(loop.index, ir.IntType(32))
            line = builder.insert_element(ir.Constant(kind, ir.Undefined), line, zero)
            found = builder.icmp_signed("==", seen, builder.shuffle_vector(line, line, mask))
            value = builder.select(found, hit, miss)
            builder.store(value, builder.gep(first, [loop.index]), align=LINE)
        return context.get_dummy_value()

    number = types.intp
    return types.void(base, number, number, numbers, number, hit, miss), code


def _arithmetic(instruction: str):
    @intrinsic
    def operation(typing_context, a, b):
        def code(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return a(a, b), code

    return operation


add = _arithmetic("fadd")
subtract = _arithmetic("fsub")
multiply = _arithmetic("fmul")
divide = _arithmetic("fdiv")


def _extreme(comparison: str):
    @intrinsic
    def operation(typing_context, a, b):
        def code(context, builder, signature, args):
            return builder.select(builder.fcmp_ordered(comparison, *args), *args)

        return a(a, b), code

    return operation


maximum = _extreme(">")
minimum = _extreme("<")


@intrinsic
def fma(typing_context, a, b, c):
    """``a * b + c`` with one rounding."""

    def code(context, builder, signature, args):
        return _call(builder, "fma", a, *args)

    return a(a, b, c), code


def _sum_of_products(terms: int, factors: int):
    @intrinsic
    def sum_of_products(typing_context, left, i, right, j, index, p, total):
        """``total`` plus products of lines, one after another, in multiply-adds.

        Their offsets are the 32-bit integers >= 0 at ``index + p``: pairs, one from ``left + i``
        and one from ``right + j``; or four, whose first and last two are multiplied beforehand.
        """

        def code(context, builder, signature, args):
            left, i, right, j, index, p, acc = args
            left, right = builder.gep(left, [i]), builder.gep(right, [j])
            word = ir.IntType(64)
            places = builder.bitcast(builder.gep(index, [p]), word.as_pointer())

            def line(base, offset):
                return builder.load(_line(builder, base, offset, total), align=LINE)

            def pair(n):
                both = builder.load(builder.gep(places, [ir.Constant(word, n)]), align=4)
                low = builder.and_(both, ir.Constant(word, 0xFFFFFFFF))
                return low, builder.lshr(both, ir.Constant(word, 32))

            for n in range(terms):
                if factors == 2:
                    low, high = pair(n)
                    x, y = line(left, low), line(right, high)
                else:
                    x, y = (
                        builder.fmul(*(line(left, offset) for offset in pair(2 * n + half)))
                        for half in range(2)
                    )
                acc = _call(builder, "fma", total, x, y, acc)
            return acc

        number = types.intp
        return total(left, number, right, number, index, number, total), code

    return sum_of_products


def _unrolled(most: int):
    @intrinsic
    def sum_pairs(typing_context, left, i, right, j, index, p, count, zero):
        """The sum of ``count`` products of two lines, the same as by :func:`add_pair`.

        Each count up to a limit has code of its own: loops of few steps cost as much as they do.
        """

        def code(context, builder, signature, args):
            left, i, right, j, index, p, count, zero = args
            left, right = builder.gep(left, [i]), builder.gep(right, [j])
            word = ir.IntType(64)
            places = builder.bitcast(builder.gep(index, [p]), word.as_pointer())
            kind = signature.args[7]

            def step(places, n, acc):
                both = builder.load(builder.gep(places, [ir.Constant(word, n)]), align=4)
                low = builder.and_(both, ir.Constant(word, 0xFFFFFFFF))
                high = builder.lshr(both, ir.Constant(word, 32))
                x, y = (
                    builder.load(_line(builder, base, offset, kind), align=LINE)
                    for base, offset in ((left, low), (right, high))
                )
                return _call(builder, "fma", kind, x, y, acc)

            end = builder.append_basic_block("sum.end")
            more = builder.append_basic_block("sum.more")
            choice = builder.switch(count, more)
            found = []
            for n in range(most + 1):
                here = builder.append_basic_block(f"sum.{n}")
                choice.add_case(ir.Constant(word, n), here)
                builder.position_at_end(here)
                acc = zero
                for k in range(n):
                    acc = step(places, k, acc)
                found.append((acc, here))
                builder.branch(end)
            builder.position_at_end(more)
            before = builder.block
            loop = builder.append_basic_block("sum.loop")
            builder.branch(loop)
            builder.position_at_end(loop)
            acc, done = builder.phi(zero.type), builder.phi(word)
            acc.add_incoming(zero, before)
            done.add_incoming(ir.Constant(word, 0), before)
            place = builder.gep(places, [done])
            total = step(place, 0, acc)
            following = builder.add(done, ir.Constant(word, 1))
            acc.add_incoming(total, builder.block)
            done.add_incoming(following, builder.block)
            found.append((total, builder.block))
            builder.cbranch(builder.icmp_signed("<", following, count), loop, end)
            builder.position_at_end(end)
            result = builder.phi(zero.type)
            for value, block in found:
                result.add_incoming(value, block)
            return result

        number = types.intp
        return zero(left, number, right, number, index, number, number, zero), code

    return sum_pairs


sum_pairs = _unrolled(8)
add_pair = _sum_of_products(1, 2)
add_four_pairs = _sum_of_products(4, 2)
add_quadruple = _sum_of_products(1, 4)
add_two_quadruples = _sum_of_products(2, 4)


@intrinsic
def unscale(typing_context, a):
    """The power of two that brings a positive ``a`` into [1, 2); finite also for zero."""

    def code(context, builder, signature, args):
        mantissa, bias = _LAYOUT[a.bits]
        field = _constant(
            a, 2 * bias + 1 << mantissa
        )  # sign and mantissa cut off: bits of the exponent
        bits = builder.and_(builder.bitcast(args[0], _ints(a)), field)
        flipped = builder.sub(_constant(a, 2 * bias << mantissa), bits)
        return builder.bitcast(flipped, _floats(a))

    return a(a), code


@intrinsic
def exponent(typing_context, a):
    """The binary exponent of ``a``, as a float."""

    def code(context, builder, signature, args):
        mantissa, bias = _LAYOUT[a.bits]
        bits = builder.lshr(builder.bitcast(args[0], _ints(a)), _constant(a, mantissa))
        bits = builder.and_(bits, _constant(a, 2 * bias + 1))
        return builder.sitofp(builder.sub(bits, _constant(a, bias)), _floats(a))

    return a(a), code


# exp: x = n ln 2 + r with |r| <= ln 2 / 2, Taylor series of e^r; below the cut e^x is zero here
_LN2_HIGH = {32: 0.693145751953125, 64: 6.93147180369123816490e-01}
_LN2_LOW = {32: 1.4286068203094172e-06, 64: 1.90821492927058770002e-10}
_TERMS = {32: 8, 64: 14}
_CUT = {32: -87.0, 64: -708.0}


@intrinsic
def exp(typing_context, a):
    """Exponential of a number <= 0, to two units in the last place; zero below -87 or -708."""
    coefficients = [1.0]
    for k in range(1, _TERMS[a.bits]):
        coefficients.append(coefficients[-1] / k)

    def code(context, builder, signature, args):
        mantissa, bias = _LAYOUT[a.bits]
        x = args[0]
        n = _call(builder, "rint", a, builder.fmul(x, _constant(a, float(np.log2(np.e)))))
        r = _call(builder, "fma", a, n, _constant(a, -_LN2_HIGH[a.bits]), x)
        r = _call(builder, "fma", a, n, _constant(a, -_LN2_LOW[a.bits]), r)
        value = _constant(a, coefficients[-1])
        for c in reversed(coefficients[:-1]):
            value = _call(builder, "fma", a, value, r, _constant(a, c))
        shift = builder.add(builder.fptosi(n, _ints(a)), _constant(a, bias))
        power = builder.bitcast(builder.shl(shift, _constant(a, mantissa)), _floats(a))
        # unordered: NaN must stay NaN, so that bad evidence shows in the sums
        low = builder.fcmp_ordered("<", x, _constant(a, _CUT[a.bits]))
        product = builder.fmul(value, power)
        is_nan = builder.fcmp_unordered("uno", x, x)
        return builder.select(is_nan, x, builder.select(low, _constant(a, 0.0), product))

    return a(a), code


def _control(builder, name):
    pointer = ir.IntType(8).as_pointer()
    return cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [pointer]), f"llvm.x86.sse.{name}"
    )


@intrinsic
def skip_denormals(typing_context):
    """Let this thread round denormal numbers to zero; returns the state to restore."""

    def code(context, builder, signature, args):
        word = ir.IntType(32)
        if not _INTEL:
            return ir.Constant(word, 0)
        slot = cgutils.alloca_once(builder, word)
        raw = builder.bitcast(slot, ir.IntType(8).as_pointer())
        builder.call(_control(builder, "stmxcsr"), [raw])
        before = builder.load(slot)
        builder.store(builder.or_(before, ir.Constant(word, 0x8040)), slot)
        builder.call(_control(builder, "ldmxcsr"), [raw])
        return before

    return types.uint32(), code


@intrinsic
def restore_denormals(typing_context, state):
    """Undo :func:`skip_denormals`."""

    def code(context, builder, signature, args):
        if _INTEL:
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(args[0], slot)
            raw = builder.bitcast(slot, ir.IntType(8).as_pointer())
            builder.call(_control(builder, "ldmxcsr"), [raw])
        return context.get_dummy_value()

    return types.void(types.uint32), code
