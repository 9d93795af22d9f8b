"""The two sums over rules, written out for one grammar: its rules are operands, not a table.

The passes are those of ``tree.py``; a level of equal weights with two or four children may have two
functions of its own, whose addresses stand in the geometry table,

* ``up(child, stride, out, scale)``: the upward message of a node, and its sum;
* ``down(parent, child, stride, out, scale)``: the downward messages to all its children.

They add and multiply in the order of the tables, so results are the same bit for bit.  Without
loops and indices a rule costs a multiply-add and one or two loads: lines of the second child stay
in registers on the way up, and the sums for all symbols of a child on the way down.

LLVM is told not to move loads across the end of a symbol: it would fill registers with lines that
are needed later, and spill what is needed now.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from hierdiff.theory._compiled import SOURCES
from hierdiff.theory.belief_propagation._kernels.simd import LINE

__all__ = ["Code", "code_of", "suits"]

_INTEGER = ir.IntType(64)
_MOST_RULES = 4096  # of a level: code for more would not fit into the cache for instructions


class Code(NamedTuple):
    """Compiled functions of a level; they exist as long as their library does."""

    library: Any
    up: int  # addresses
    down: int


# ----------------------------------------------------------------------------- what code is made of


class _Lines:
    """Lines in memory from an address on, or the same part of each that fills a register."""

    def __init__(self, build: ir.IRBuilder, place: Any, kind: ir.VectorType, step: int) -> None:
        self.build, self.place, self.step = build, build.bitcast(place, kind.as_pointer()), step

    def _at(self, i: int) -> Any:
        return self.build.gep(self.place, [ir.Constant(_INTEGER, i * self.step)])

    def __getitem__(self, i: int) -> Any:
        return self.build.load(self._at(i), align=LINE // self.step)

    def __setitem__(self, i: int, value: Any) -> None:
        self.build.store(value, self._at(i), align=LINE // self.step)


class _Writer:
    """One function: what it is given, and its operations, for lines in ``parts`` registers."""

    def __init__(
        self, module: ir.Module, name: str, element: ir.Type, lanes: int, parts: int, down: bool
    ) -> None:
        bytes_, whole = ir.IntType(8).as_pointer(), ir.VectorType(element, lanes)
        arguments = [bytes_] * (1 + down) + [_INTEGER, bytes_, whole]
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
        *first, stride, out, scale = self.function.args
        self.parent, self.out = self._lines(first[0], number), self._lines(out, number)
        self._child, self._stride, self._number = first[-1], stride, number
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
        return [self._lines(self.build.gep(self._child, [step]), self._number) for step in steps]

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """A b + c with one rounding."""
        return self.build.call(self._fma, [a, b, c])

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


def _write_down(write: _Writer, rule: NDArray[Any], symbols: int, sums: int) -> None:
    """The messages to the children: as many symbols at once as ``sums`` stay in registers."""
    v, m, s = rule.shape
    build, child = write.build, write.children(s)
    for g in range(s // 2):  # pairs of children, which share the product of everything else
        rest = [j for j in range(s) if j // 2 != g]
        every = [(j, b) for j in (2 * g, 2 * g + 1) for b in range(symbols)]
        if s == 2:  # one child after the other: the sums of both would need twice the registers
            blocks = [every[:symbols][i : i + sums] for i in range(0, symbols, sums)]
            blocks += [every[symbols:][i : i + sums] for i in range(0, symbols, sums)]
        else:
            blocks = [every[i : i + sums] for i in range(0, len(every), sums)]
        for block in blocks:
            found = dict.fromkeys(block, write.zero)
            for a in range(v):
                used = False
                for k in range(m):
                    r = [int(b) for b in rule[a, k]]
                    places = [(j, r[j]) for j in (2 * g, 2 * g + 1) if (j, r[j]) in found]
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
                write.out[j * symbols + b] = build.fmul(acc, write.scale)
            write.fence()


# ------------------------------------------------------------------------------------ compiled code


def suits(rule: NDArray[Any], weight: NDArray[Any]) -> bool:
    """Whether a level gets code of its own."""
    v, m, s = rule.shape
    return s in (2, 4) and v * m <= _MOST_RULES and bool(np.all(weight == weight[0, 0]))


def _write(
    module: ir.Module, name: str, rule: NDArray[Any], symbols: int, dtype: Any, wide: bool
) -> None:
    """Both functions of a level, for registers of 64 bytes, 32 of them, or 16 of 32 bytes."""
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
        down.part(number)
        _write_down(down, rule, symbols, registers * 3 // 4)
    down.build.ret_void()


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
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(hashlib.blake2b(data, digest_size=32).digest() + data)
        part.replace(path)


_MADE: dict[str, Code] = {}  # code that was loaded stays loaded


def _wide(codegen: Any) -> bool:
    """Whether a register holds a line: 32 of them with AVX-512, else 16 of half the size."""
    return "+avx512f" in codegen.magic_tuple()[2]


def code_of(rule: NDArray[Any], symbols: int, dtype: np.dtype[Any], folder: str | None) -> Code:
    """The two functions of a level, whose children have so many symbols; kept in ``folder``."""
    codegen = cpu_target.target_context.codegen()
    wide = _wide(codegen)
    mark = (SOURCES, codegen.magic_tuple(), wide, str(dtype), symbols, rule.shape)
    digest = hashlib.blake2b(repr(mark).encode(), digest_size=12)
    digest.update(np.ascontiguousarray(rule, np.int64).tobytes())
    key = f"rules_{digest.hexdigest()}"
    with global_compiler_lock:
        if key in _MADE:
            return _MADE[key]
        path = None if folder is None else Path(folder) / f"{key}.o"
        library = None if path is None else _read(codegen, key, path)
        if library is None:
            library = codegen.create_library(key)
            library.enable_object_caching()
            module = library.create_ir_module(key)
            _write(module, key, rule, symbols, dtype, wide)
            library.add_ir_module(module)
            library.finalize()
            if path is not None:
                _keep(library, path)
        up, down = (library.get_pointer_to_function(f"{key}_{name}") for name in ("up", "down"))
        _MADE[key] = Code(library, up, down)
    return _MADE[key]
