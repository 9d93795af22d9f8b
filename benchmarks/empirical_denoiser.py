"""The denoiser of a data set as a fraction of the machine's matrix product, in one run.

    python benchmarks/empirical_denoiser.py            # the table, about a minute
    python benchmarks/empirical_denoiser.py --check    # and fail below half of the target

N = 50,000 data of n = 3,072 numbers (the size of CIFAR-10), B = 256 queries, float32.  The work is
4 B N n flops; every call is timed between two square products of 3,072, and the ratio of rates is
taken call by call, so that a busy machine slows both.  "prepared" data carry their squared lengths.
At low noise each query has one live datum, and the second product is left out nearly everywhere:
its effective rate may exceed that of the product.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hierdiff.results import write_summary
from hierdiff.theory.mixture.memorisation import empirical_denoise, empirical_posterior, prepare

N, DIM, QUERIES = 50_000, 3_072, 256
TARGET = 0.85
HIGH, LOW = 10.0, 0.1


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def products(size: int = 3_072) -> Callable[[], float]:
    """Rate of a square sgemm into memory that is there already, flops per second."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    out = np.empty((size, size), dtype=np.float32)
    return lambda: 2 * size**3 / seconds(lambda: np.matmul(a, b, out=out))


def shares(call: Callable[[], Any], product: Callable[[], float], repeats: int) -> dict[str, float]:
    """Rate of a call over that of the products before and after it; the first does not count."""
    call()
    ratios, times = [], []
    for _ in range(repeats):
        before = product()
        wall = seconds(call)
        rate = (before + product()) / 2
        times.append(wall)
        ratios.append(4 * QUERIES * N * DIM / wall / rate)
    return {
        "seconds": float(np.median(times)),
        "fraction of sgemm": float(np.median(ratios)),
        "best": float(np.max(ratios)),
    }


def pixels(seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Images of independent pixels in [-1, 1], float32, made in slices to spare memory."""
    rng, out = np.random.default_rng(seed), np.empty((N, DIM), dtype=np.float32)
    for start in range(0, N, 5_000):
        part = out[start : start + 5_000]
        rng.random(out=part, dtype=np.float32)
        part *= 2
        part -= 1
    return out


def verify(data: np.ndarray[Any, Any], x: np.ndarray[Any, Any], sigma: float) -> float:
    """Largest deviation from a plain double-precision softmax, for four queries."""
    few = x[:4].astype(float)
    square = np.stack([((data - row) ** 2).sum(1, dtype=float) for row in few])
    weight = np.exp((square.min(1, keepdims=True) - square) / (2 * sigma**2))
    plain = (weight / weight.sum(1, keepdims=True)) @ data.astype(float)
    return float(np.abs(empirical_denoise(data, x[:4], sigma) - plain).max())


def peak() -> float:
    """Peak memory of the process, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(repeats: int) -> dict[str, Any]:
    data, product = pixels(0), products()
    noise = np.random.default_rng(1).standard_normal((QUERIES, DIM), dtype=np.float32)
    queries = {name: data[:QUERIES] + s * noise for name, s in (("high", HIGH), ("low", LOW))}
    before = peak()
    empirical_denoise(data, queries["high"], HIGH)
    table: dict[str, Any] = {"MiB beyond the data": peak() - before}
    ready = prepare(data)
    calls: dict[str, Callable[[], Any]] = {
        "denoise, prepared": partial(empirical_denoise, ready, queries["high"], HIGH),
        "denoise": partial(empirical_denoise, data, queries["high"], HIGH),
        "posterior with log-density and nearest": partial(
            empirical_posterior, ready, queries["high"], HIGH
        ),
        "denoise at low noise, prepared": partial(empirical_denoise, ready, queries["low"], LOW),
        "two products alone": partial(bare, data, queries["high"]),
    }
    print(f"N = {N:,}, n = {DIM:,}, B = {QUERIES}, float32{'s':>26}{'of sgemm':>10}{'best':>7}")
    for name, call in calls.items():
        table[name] = row = shares(call, product, repeats)
        print(
            f"  {name:45s}{row['seconds']:14.3f}{row['fraction of sgemm']:10.2f}{row['best']:7.2f}"
        )
    table["sgemm, GF/s"] = float(np.median([product() for _ in range(5)])) / 1e9
    table["error, high noise"] = verify(data, queries["high"], HIGH)
    table["error, low noise"] = verify(data, queries["low"], LOW)
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "data.npy", data)
        mapped = np.load(Path(folder) / "data.npy", mmap_mode="r")
        row = shares(lambda: empirical_denoise(mapped, queries["high"], HIGH), product, 2)
    table["memory map"] = row
    print(f"  {'memory map':45s}{row['seconds']:14.3f}{row['fraction of sgemm']:10.2f}")
    return table


def bare(data: np.ndarray[Any, Any], x: np.ndarray[Any, Any], block: int = 8192) -> None:
    """The two products in blocks without anything between them: the ceiling of this layout."""
    weights, out = np.empty((block, QUERIES), np.float32), np.empty((QUERIES, DIM), np.float32)
    for start in range(0, N, block):
        rows = data[start : start + block]
        np.matmul(rows, x.T, out=weights[: len(rows)])
        np.matmul(weights[: len(rows)].T, rows, out=out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail below half of the target")
    parser.add_argument("--repeats", type=int, default=7, help="timed calls of each kind")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.exit(2, f"error: --repeats = {options.repeats} must be an integer >= 1\n")
    table = measure(options.repeats)
    share = table["denoise, prepared"]["fraction of sgemm"]
    print(f"  sgemm {table['sgemm, GF/s']:.0f} GF/s, {table['MiB beyond the data']:.0f} MiB beyond")
    print(f"  errors {table['error, high noise']:.1e} and {table['error, low noise']:.1e}")
    print(f"denoiser of a data set: {share:.2f} of sgemm (target {TARGET})")
    if options.json:
        write_summary(options.json, table, {})
    if options.check and share < TARGET / 2:
        raise SystemExit(f"slower than half of the target: {share:.2f}")


if __name__ == "__main__":
    main()
