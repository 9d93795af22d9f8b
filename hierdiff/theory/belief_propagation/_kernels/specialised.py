"""The two sums over rules, written out for one grammar: its rules are operands, not a table.

The passes are those of ``tree.py``; a level of equal weights with two or four children may have two
functions of its own, whose addresses stand in the geometry table,

* ``up(child, stride, out, scale)``: the upward message of a node, and its sum;
* ``down(parent, child, stride, out, scale)``: the downward messages to all its children;
* ``show(parent, child, stride, out, scale, values, step)``: the same, and the marginals of the
  children as lines ``step`` bytes apart from ``values`` on, past the caches, each from the sum that
  is still in a register; both halves of a line at once, since the memory writes whole lines.

They add and multiply in the order of the tables, so results are the same bit for bit.  Without
loops and indices a rule costs a multiply-add and one or two loads: lines of the second child stay
in registers on the way up, and the sums for all symbols of a child on the way down.

LLVM is told not to move loads across the end of a symbol: it would fill registers with lines that
are needed later, and spill what is needed now.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from hierdiff.checks import one_of
from hierdiff.theory._compiled import SOURCES
from hierdiff.theory.belief_propagation._kernels import layout
from hierdiff.theory.belief_propagation._kernels.simd import LINE, aligned
from hierdiff.theory.belief_propagation._kernels.whole_trees import write_tree

__all__ = ["REGISTERS", "Code", "code_of", "suits", "tree_code_of", "wide_registers"]

_INTEGER = ir.IntType(64)
_MOST_RULES = 4096  # of a level: code for more would not fit into the cache for instructions


class Code(NamedTuple):
    """Compiled functions of a level; they exist as long as their library does."""

    library: Any
    up: int  # addresses
    down: int
    show: int = 0  # of a level


# ----------------------------------------------------------------------------- what code is made of


class _Lines:
    """Lines in memory from an address on, or the same part of each that fills a register."""

    def __init__(self, build: ir.IRBuilder, place: Any, kind: ir.VectorType, step: int) -> None:
        self.build, self.place, self.step = build, build.bitcast(place, kind.as_pointer()), step

    def at(self, i: int) -> Any:
        """The place of a line."""
        return self.build.gep(self.place, [ir.Constant(_INTEGER, i * self.step)])

    def __getitem__(self, i: int) -> Any:
        return self.build.load(self.at(i), align=LINE // self.step)

    def __setitem__(self, i: int, value: Any) -> None:
        self.build.store(value, self.at(i), align=LINE // self.step)


class _Writer:
    """One function: what it is given, and its operations, for lines in ``parts`` registers."""

    def __init__(
        self, module: ir.Module, name: str, element: ir.Type, lanes: int, parts: int, down: bool,
        shows: bool = False,
    ) -> None:  # fmt: skip
        bytes_, whole = ir.IntType(8).as_pointer(), ir.VectorType(element, lanes)
        arguments = [bytes_] * (1 + down) + [_INTEGER, bytes_, whole] + [bytes_, _INTEGER] * shows
        self.shows, self._past = shows, module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        result = ir.VoidType() if down else whole
        self.function = ir.Function(module, ir.FunctionType(result, arguments), name)
        self.build = ir.IRBuilder(self.function.append_basic_block())
        self.parts, self.kind = parts, ir.VectorType(element, lanes // parts)
        suffix = "f32" if isinstance(element, ir.FloatType) else "f64"
        name = f"llvm.fma.v{self.kind.count}{suffix}"
        self._fma = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(self.kind, [self.kind] * 3), name
        )
        self.zero = ir.Constant(self.kind, [0.0] * self.kind.count)

    def part(self, number: int) -> None:
        """Turn to a part of all lines."""
        given = list(self.function.args)
        if self.shows:
            *given, self._values, self._step = given
        *first, stride, out, scale = given
        self.parent, self.out = self._lines(first[0], number), self._lines(out, number)
        self._child, self._stride, self._out, self.number = first[-1], stride, out, number
        self.scale = scale
        if self.parts > 1:
            lanes = range(number * self.kind.count, (number + 1) * self.kind.count)
            self.scale = self.build.shuffle_vector(scale, scale, _mask(lanes))

    def _lines(self, place: Any, number: int) -> _Lines:
        place = self.build.bitcast(place, self.kind.as_pointer())
        place = self.build.gep(place, [ir.Constant(_INTEGER, number)])
        return _Lines(self.build, place, self.kind, self.parts)

    def children(self, s: int) -> list[_Lines]:
        """The lines of all children."""
        steps = [self.build.mul(self._stride, ir.Constant(_INTEGER, j)) for j in range(s)]
        return [self._lines(self.build.gep(self._child, [step]), self.number) for step in steps]

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A b + c with one rounding."""
        return self.build.call(self._fma, [a, b, c])

    def show(self, j: int, b: int, i: int, last: Any) -> None:
        """The marginal of symbol b of child j, line i of the messages, whose last part is given."""
        place = self.build.gep(self._values, [self.build.mul(self._step, _INTEGER(i))])
        child = self.build.gep(self._child, [self.build.mul(self._stride, _INTEGER(j))])
        for number in range(self.parts):
            above = last if number == self.number else self._lines(self._out, number)[i]
            value = self.build.fmul(above, self._lines(child, number)[b])
            store = self.build.store(value, self._lines(place, number).at(0), LINE // self.parts)
            store.set_metadata("nontemporal", self._past)

    def fence(self) -> None:
        """Nothing is loaded before this that is used behind it only."""
        nothing = ir.FunctionType(ir.VoidType(), [])
        self.build.call(ir.InlineAsm(nothing, "", "~{memory}", side_effect=True), [])


def _mask(lanes: Iterable[int]) -> ir.Constant:
    numbers = list(lanes)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)


def _write_up(write: _Writer, rule: NDArray[Any], held: int) -> Any:
    """The message of a node: symbol by symbol, rule by rule; returns its sum."""
    v, m, s = rule.shape
    build, child = write.build, write.children(s)
    symbols = int(rule.max()) + 1
    last = {b: child[s - 1][b] for b in range(min(symbols, held))}
    total = write.zero
    for a in range(v):
        acc = write.zero
        for k in range(m):
            r = [int(b) for b in rule[a, k]]
            right = last[r[-1]] if r[-1] in last else child[s - 1][r[-1]]
            left = child[0][r[0]]
            if s == 4:
                left = build.fmul(left, child[1][r[1]])
                right = build.fmul(child[2][r[2]], right)
            acc = write.fma(left, right, acc)
        acc = build.fmul(acc, write.scale)
        write.out[a] = acc
        total = build.fadd(total, acc)
        write.fence()
    return total


def _write_down(
    write: _Writer, rule: NDArray[Any], symbols: int, sums: int, numbers: Iterable[int]
) -> None:
    """The messages to the children: as many symbols at once as ``sums`` stay in registers.

    For the given parts of all lines, in turns.
    """
    s = rule.shape[2]
    for g in range(s // 2):  # pairs of children, which share the product of everything else
        rest = [j for j in range(s) if j // 2 != g]
        every = [(j, b) for j in (2 * g, 2 * g + 1) for b in range(symbols)]
        if s == 2:  # one child after the other: the sums of both would need twice the registers
            blocks = [every[:symbols][i : i + sums] for i in range(0, symbols, sums)]
            blocks += [every[symbols:][i : i + sums] for i in range(0, symbols, sums)]
        else:
            blocks = [every[i : i + sums] for i in range(0, len(every), sums)]
        for block in blocks:
            for number in numbers:
                write.part(number)
                _write_block(write, rule, symbols, block, rest)


def _write_block(
    write: _Writer, rule: NDArray[Any], symbols: int, block: list[tuple[int, int]], rest: list[int]
) -> None:
    """The messages to some symbols of a pair of children, in one part of all lines."""
    v, m, s = rule.shape
    build, child = write.build, write.children(s)
    found = dict.fromkeys(block, write.zero)
    for a in range(v):
        used = False
        for k in range(m):
            r = [int(b) for b in rule[a, k]]
            places = [(j, b) for j, b in enumerate(r) if j not in rest and (j, b) in found]
            if not places:
                continue
            if not used:
                d, used = write.parent[a], True
            x = d
            if rest:
                others = build.fmul(child[rest[0]][r[rest[0]]], child[rest[1]][r[rest[1]]])
                x = build.fmul(d, others)
            for j, b in places:
                sibling = child[j ^ 1][r[j ^ 1]]
                found[j, b] = write.fma(x, sibling, found[j, b])
        write.fence()
    for (j, b), acc in found.items():
        i, d = j * symbols + b, build.fmul(acc, write.scale)
        write.out[i] = d
        if write.shows and write.number == write.parts - 1:
            write.show(j, b, i, d)
    write.fence()


# ------------------------------------------------------------------------------------ compiled code


def suits(rule: NDArray[Any], weight: NDArray[Any]) -> bool:
    """Whether a level gets code of its own."""
    v, m, s = rule.shape
    return s in (2, 4) and v * m <= _MOST_RULES and bool(np.all(weight == weight[0, 0]))


def _write(
    module: ir.Module, name: str, rule: NDArray[Any], symbols: int, dtype: Any, wide: bool
) -> None:
    """The functions of a level, for registers of 64 bytes, 32 of them, or 16 of 32 bytes."""
    element = ir.FloatType() if dtype == np.float32 else ir.DoubleType()
    lanes, parts, registers = LINE // dtype.itemsize, 1 if wide else 2, 32 if wide else 16
    # those that are left hold a sum, the total, the scale, and factors of a product
    up = _Writer(module, f"{name}_up", element, lanes, parts, False)
    totals = []
    for number in range(parts):
        up.part(number)
        totals.append(_write_up(up, rule, registers - 6))
    whole = totals[0]
    if parts == 2:
        whole = up.build.shuffle_vector(*totals, _mask(range(lanes)))
    up.build.ret(whole)
    down = _Writer(module, f"{name}_down", element, lanes, parts, True)
    for number in range(parts):
        _write_down(down, rule, symbols, registers * 3 // 4, [number])
    down.build.ret_void()
    show = _Writer(module, f"{name}_show", element, lanes, parts, True, True)
    _write_down(show, rule, symbols, registers * 3 // 4, range(parts))
    show.build.ret_void()


def _read(codegen: Any, key: str, path: Path) -> Any:
    """A library from disk, or None where there is none, or no whole one."""
    with contextlib.suppress(Exception):  # compiled again
        data = path.read_bytes()
        digest, size, rest = data[:32], int.from_bytes(data[32:40]), data[40:]
        if hashlib.blake2b(data[32:], digest_size=32).digest() == digest:
            parts = rest[:size], rest[size:]
            return codegen.unserialize_library((key, "object", parts))
    return None


def _keep(library: Any, path: Path) -> None:
    """A library onto disk, where that is possible."""
    code, bitcode = library.serialize_using_object_code()[2]
    data = len(code).to_bytes(8) + code + bitcode
    _replace(path, hashlib.blake2b(data, digest_size=32).digest() + data)


def _replace(path: Path, data: bytes) -> None:
    """A file, whole or not at all; nothing where none can be written."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(data)
        part.replace(path)


_MADE: dict[str, Code] = {}  # code that was loaded stays loaded


# ------------------------------------------------------------------------- the width of registers

REGISTERS = "HIERDIFF_REGISTERS"
"""Variable with the bytes of a register, 64 or 32, which are measured where it is not set."""
_GAIN = 0.95  # of the time with whole lines, below which halves are taken: less is noise
_ROUNDS, _CALLS = 15, 200  # of 40 microseconds each, in turns
_CHOSEN: dict[tuple[Any, ...], bool] = {}


def _write_loop(module: ir.Module, name: str) -> None:
    """``loop(count, child, stride, out)``: both functions of a level so many times."""
    bytes_, up, down = (
        ir.IntType(8).as_pointer(), *(module.globals[f"{name}_{way}"] for way in ("up", "down"))
    )  # fmt: skip
    kind = ir.FunctionType(ir.VoidType(), [_INTEGER, bytes_, _INTEGER, bytes_])
    loop = ir.Function(module, kind, f"{name}_loop")
    build = ir.IRBuilder(loop.append_basic_block())
    count, child, stride, out = loop.args
    vector = up.function_type.return_type
    one = ir.Constant(vector, [1.0] * vector.count)
    with cgutils.for_range(build, count):
        build.call(up, [child, stride, out, one])
        build.call(down, [out, child, stride, out, one])
    build.ret_void()


def _measured() -> bool:
    """Whether code for lines in one register is faster than code for halves, on this machine."""
    codegen, dtype = cpu_target.target_context.codegen(), np.dtype(np.float32)
    v, m = 16, 4  # rules enough for both kinds of sums to need all registers
    rule = (np.arange(v * m * 2) * 7 % v).reshape(v, m, 2)
    memory, lines = aligned(4 * v * LINE, np.uint8), v * LINE
    memory[:] = 0
    child = memory.ctypes.data
    out = child + 2 * lines
    loops, libraries = [], []
    for wide in (True, False):
        name = f"width_{wide}"
        library = codegen.create_library(name)
        module = library.create_ir_module(name)
        _write(module, name, rule, v, dtype, wide)
        _write_loop(module, name)
        library.add_ir_module(module)
        library.finalize()
        kind = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 4)
        loops.append(kind(library.get_pointer_to_function(f"{name}_loop")))
        libraries.append(library)  # code lives as long as they do
    best = [float("inf")] * 2
    for _ in range(_ROUNDS):
        for i, loop in enumerate(loops):
            start = time.perf_counter()
            loop(_CALLS, child, lines, out)
            best[i] = min(best[i], time.perf_counter() - start)
    return best[1] > _GAIN * best[0]


def wide_registers(folder: str | None) -> bool:
    """Whether a register of the generated code holds a line, 32 of them, or half of one, 16.

    Results are the same, bit for bit.  The faster is found by a measurement, once per processor:
    it is kept in ``folder``.
    """
    given = os.environ.get(REGISTERS, "")
    if given:
        return int(one_of(REGISTERS, given, ("64", "32"))) == LINE
    codegen = cpu_target.target_context.codegen()
    mark = (SOURCES, codegen.magic_tuple())
    with global_compiler_lock:
        if mark not in _CHOSEN:
            digest = hashlib.blake2b(repr(mark).encode(), digest_size=12).hexdigest()
            path = None if folder is None else Path(folder) / f"registers_{digest}"
            known = None
            with contextlib.suppress(OSError, ValueError):
                known = None if path is None else {"64": True, "32": False}.get(path.read_text())
            _CHOSEN[mark] = _measured() if known is None else known
            if known is None and path is not None:
                _replace(path, str(LINE if _CHOSEN[mark] else LINE // 2).encode())
    return _CHOSEN[mark]


def code_of(rule: NDArray[Any], symbols: int, dtype: np.dtype[Any], folder: str | None) -> Code:
    """The two functions of a level, whose children have so many symbols; kept in ``folder``."""
    wide = wide_registers(folder)
    return _code(
        ("rules", wide, str(dtype), symbols, rule.shape), np.ascontiguousarray(rule, np.int64),
        folder, lambda module, name: _write(module, name, rule, symbols, dtype, wide),
    )  # fmt: skip


def tree_code_of(table: NDArray[Any], dtype: np.dtype[Any], folder: str | None) -> Code:
    """Both passes over whole trees, from the geometry table of a plan for seen symbols."""
    sizes = table.copy()
    codes = [layout.UP_CODE, layout.DOWN_CODE, layout.SHOW_CODE]
    sizes[:, codes] = 0  # these are read when it runs
    return _code(
        ("tree", str(dtype), sizes.shape), sizes, folder,
        lambda module, name: write_tree(module, name, sizes, dtype),
    )  # fmt: skip


def _code(
    mark: tuple[Any, ...], table: NDArray[Any], folder: str | None,
    write: Callable[[ir.Module, str], None],
) -> Code:  # fmt: skip
    """Functions that are made once, or read from a file."""
    codegen = cpu_target.target_context.codegen()
    digest = hashlib.blake2b(repr((SOURCES, codegen.magic_tuple(), mark)).encode(), digest_size=12)
    digest.update(table.tobytes())
    key = f"{mark[0]}_{digest.hexdigest()}"
    with global_compiler_lock:
        if key in _MADE:
            return _MADE[key]
        path = None if folder is None else Path(folder) / f"{key}.o"
        library = None if path is None else _read(codegen, key, path)
        if library is None:
            library = codegen.create_library(key)
            library.enable_object_caching()
            module = library.create_ir_module(key)
            write(module, key)
            library.add_ir_module(module)
            library.finalize()
            if path is not None:
                _keep(library, path)
        names = ("up", "down") if mark[0] == "tree" else ("up", "down", "show")
        places = (library.get_pointer_to_function(f"{key}_{name}") for name in names)
        _MADE[key] = Code(library, *places)
    return _MADE[key]
