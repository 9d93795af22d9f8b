"""What the machine can do: stores, loads, multiply-adds and matrix products of all its processors.

Each limit is timed in the same rounds as what is compared with it, as the time that the same work
would take: the bytes of an output written once, past the caches; the flops of a computation done by
multiply-adds in registers; the flops of a denoiser done by one square matrix product.
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from harness import Call, Table, over

__all__ = [
    "LIMITS",
    "available",
    "features",
    "fma_time",
    "processor",
    "product_time",
    "stream_time",
]

MEBIBYTES, FLOPS = 256, 2e9
"""Work of one call of the table: more than any cache, and some milliseconds."""
SQUARE = 2_048

LIMITS = Table(
    "limits", "What the machine can do", points=over(threads=("one", "all")), capped=True,
    before=False, quick=over(threads=("all",)), seconds=0.3, least=5,
)  # fmt: skip


def processor() -> str:
    """Name of the processor."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def features() -> dict[str, str]:
    """Variables with which compiled code, NumPy's and torch's libraries leave AVX-512 out."""
    from llvmlite import binding

    found = binding.get_host_cpu_features()
    without = {name: on and not re.match("avx512|evex|avx10|amx", name)
               for name, on in found.items()}  # fmt: skip
    text = ",".join(("+" if on else "-") + name for name, on in sorted(without.items()))
    numpy_features = importlib.import_module("numpy._core._multiarray_umath")  # its list of names
    there = numpy_features.__cpu_features__
    names = [name for name in numpy_features.__cpu_dispatch__
             if name.startswith(("AVX512", "X86_V4")) and there.get(name)]  # fmt: skip
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(names),
        "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": text, "OPENBLAS_CORETYPE": "Haswell",
        "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    }  # fmt: skip


def wide() -> bool:
    """Whether this processor has AVX-512."""
    from llvmlite import binding

    return bool(binding.get_host_cpu_features().get("avx512f", False))


@functools.cache
def _kernels() -> dict[str, Any]:
    """Compiled loops over 64-byte vectors, made when a process of a peer first needs them."""
    from numba import njit

    from hierdiff.theory.belief_propagation._kernels import simd

    jit = functools.partial(njit, nogil=True, error_model="numpy")

    @jit
    def plain(out, first, last, number):
        base = simd.pointer(out)
        x = simd.same(base, number)
        for i in range(first, last, 16):
            simd.store(base, i, x)

    @jit
    def streamed(out, first, last, number):
        base = simd.pointer(out)
        x = simd.same(base, number)
        for i in range(first, last, 16):
            simd.stream(base, i, x)

    @jit
    def loads(values, first, last, number):
        base = simd.pointer(values)
        a = b = c = d = simd.same(base, number)
        for i in range(first, last, 64):
            a = simd.add(a, simd.load(base, i))
            b = simd.add(b, simd.load(base, i + 16))
            c = simd.add(c, simd.load(base, i + 32))
            d = simd.add(d, simd.load(base, i + 48))
        simd.store(base, first, simd.add(simd.add(a, b), simd.add(c, d)))

    # a multiply-add waits four cycles for the one before it, and two start in a cycle: eight or
    # more chains keep wide registers busy, and ten fit; narrow registers come in pairs, five fit

    @jit
    def ten(line, steps, number):
        base = simd.pointer(line)
        x = y = z = u = v = w = p = q = r = s = simd.same(base, number)
        k, c = simd.same(base, 0.5), simd.load(base, 0)
        for _ in range(steps):
            x, y, z = simd.fma(x, k, c), simd.fma(y, k, c), simd.fma(z, k, c)
            u, v, w = simd.fma(u, k, c), simd.fma(v, k, c), simd.fma(w, k, c)
            p, q, r, s = simd.fma(p, k, c), simd.fma(q, k, c), simd.fma(r, k, c), simd.fma(s, k, c)
        x = simd.add(simd.add(simd.add(x, y), simd.add(z, u)), simd.add(simd.add(v, w), p))
        simd.store(base, 0, simd.add(simd.add(x, q), simd.add(r, s)))

    @jit
    def five(line, steps, number):
        base = simd.pointer(line)
        x = y = z = u = v = simd.same(base, number)
        k, c = simd.same(base, 0.5), simd.load(base, 0)
        for _ in range(steps):
            x, y, z = simd.fma(x, k, c), simd.fma(y, k, c), simd.fma(z, k, c)
            u, v = simd.fma(u, k, c), simd.fma(v, k, c)
        simd.store(base, 0, simd.add(simd.add(simd.add(x, y), simd.add(z, u)), v))

    return {"plain": plain, "streamed": streamed, "loads": loads, "ten": ten, "five": five}


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def available() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads(threads: str) -> int:
    return 1 if threads == "one" else available()


def _memory(kernel: str, bytes_: float, threads: str) -> Call:
    """A loop over memory that is in use already, cut among threads."""
    from hierdiff.theory.belief_propagation._kernels import simd

    count = _threads(threads)
    size = max(int(bytes_) // 4 // (64 * count), 1) * 64 * count
    values, loop = simd.aligned(size, np.float32), _kernels()[kernel]
    values[:] = 1
    starts = range(0, size + 1, size // count)

    def part(first: int, last: int) -> None:
        loop(values, first, last, np.float32(0.5))

    return lambda: list(_pool(count).map(part, starts[:-1], starts[1:]))


def stream_time(bytes_: float, threads: str = "all") -> tuple[Call, float]:
    """Time to write so many bytes once, by stores that pass the caches."""
    used = max(bytes_, 32 * 2**20)  # what fits into a cache would be another limit
    return _memory("streamed", used, threads), bytes_ / used


def fma_time(flops: float, threads: str = "all") -> tuple[Call, float]:
    """Time of so many flops in float32 by multiply-adds in registers."""
    from hierdiff.theory.belief_propagation._kernels import simd

    count, most = _threads(threads), max(flops, 2e8)
    lines = [simd.aligned(16, np.float32) for _ in range(count)]
    for line in lines:
        line[:] = 1
    best: tuple[float, Call] | None = None
    for name, chains in (("ten", 10), ("five", 5)):
        loop, steps = _kernels()[name], int(most / (2 * 16 * chains * count))

        def call(loop: Any = loop, steps: int = steps) -> Any:
            return list(_pool(count).map(lambda x: loop(x, steps, np.float32(0.5)), lines))

        seconds = min(_timed(call) for _ in range(4))
        if best is None or seconds < best[0]:
            best = seconds, call
    assert best is not None
    return best[1], flops / most


def product_time(flops: float) -> tuple[Call, float]:
    """Time of so many flops in float32 by a square matrix product of NumPy's library."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SQUARE, SQUARE), dtype=np.float32) for _ in range(2))
    out = np.empty((SQUARE, SQUARE), dtype=np.float32)
    return lambda: np.matmul(a, b, out=out), flops / (2 * SQUARE**3)


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@LIMITS.case("plain stores", peer="limits")
def plain_stores(threads: str) -> Call:
    return _memory("plain", MEBIBYTES * 2**20, threads)


@LIMITS.case("non-temporal stores", peer="limits")
def streamed_stores(threads: str) -> Call:
    return _memory("streamed", MEBIBYTES * 2**20, threads)


@LIMITS.case("loads from memory", peer="limits")
def loads(threads: str) -> Call:
    return _memory("loads", MEBIBYTES * 2**20, threads)


@LIMITS.case("multiply-adds", peer="limits")
def multiply_adds(threads: str) -> tuple[Call, float]:
    return fma_time(FLOPS, threads)


@LIMITS.case("matrix product", peer="limits")
def matrix_product(threads: str) -> tuple[Call, float]:
    from threadpoolctl import threadpool_limits

    call, factor = product_time(FLOPS)
    if threads == "one":

        def alone() -> None:
            with threadpool_limits(1, "blas"):
                call()

        return alone, factor
    return call, factor
