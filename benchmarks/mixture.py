"""Denoisers in 3,072 dimensions as a fraction of the machine's matrix product.

A low-rank mixture of K classes of rank 16: the work is two products, 4 B n K d flops for B data.  A
data set of N: 4 B N n flops.  At high noise all classes and data count; at low noise one of them,
and most of the second product is left out, so that more than all of the matrix product is possible.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import numpy as np
from harness import Call, Table, over
from limits import product_time

__all__ = ["DIM", "RANK"]

DIM, RANK, QUERIES = 3_072, 16, 256
HIGH, LOW = (30.0, 10.0), (0.1, 0.1)  # sigma of the mixture, and of the data set

Array = np.ndarray[Any, Any]

MIXTURE = Table(
    "mixture", "Denoiser of a low-rank mixture, n = 3,072, rank 16", capped=True,
    points=over(K=(100, 400), B=(256, 1024)), quick=over(K=(100,), B=(256,)),
)  # fmt: skip
DATASET = Table(
    "data set", "Denoiser of a data set, n = 3,072, 256 queries", capped=True,
    points=over(N=(1_000, 50_000)), quick=over(N=(1_000,)), before=False,
)  # fmt: skip


@functools.lru_cache(1)
def _classes(K: int) -> Any:
    """The mixture, whose random bases take longer than anything that is timed."""
    from hierdiff import LowRankMixture

    return LowRankMixture.random(DIM, RANK, K, angle=None, residual="ambient", delta=0.1, seed=0)


def _denoise(K: int, B: int, sigma: float) -> Call:
    from hierdiff.theory import denoise

    mixture = _classes(K)
    x = mixture.sample(B, 1)[0]
    noise = np.random.default_rng(2).standard_normal(x.shape)
    return partial(denoise, mixture, (x + sigma * noise).astype(np.float32), sigma)


@MIXTURE.case("all classes alive")
def all_alive(K: int, B: int) -> Call:
    return _denoise(K, B, HIGH[0])


@MIXTURE.case("one class alive")
def one_alive(K: int, B: int) -> Call:
    return _denoise(K, B, LOW[0])


@MIXTURE.case("square matrix product", peer="limits")
def square(K: int, B: int) -> tuple[Call, float]:
    return product_time(4.0 * B * DIM * K * RANK)


@MIXTURE.case("its two products", peer="limits")
def two_products(K: int, B: int) -> Call:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((B, DIM), dtype=np.float32)
    axes = rng.standard_normal((K * RANK, DIM), dtype=np.float32)
    return lambda: (x @ axes.T) @ axes


@functools.lru_cache(1)
def pixels(N: int) -> Array:
    """Images of independent pixels in [-1, 1], float32, made in slices to spare memory."""
    rng, out = np.random.default_rng(0), np.empty((N, DIM), dtype=np.float32)
    for start in range(0, N, 5_000):
        part = out[start : start + 5_000]
        rng.random(out=part, dtype=np.float32)
        part *= 2
        part -= 1
    return out


@functools.lru_cache(2)
def queries(N: int, sigma: float) -> tuple[Array, Array]:
    """The data, and noisy ones among them."""
    data = pixels(N)
    noise = np.random.default_rng(1).standard_normal((QUERIES, DIM), dtype=np.float32)
    return data, data[:QUERIES] + np.float32(sigma) * noise


@DATASET.case("all data count, prepared")
def prepared(N: int) -> Call:
    from hierdiff.theory import empirical_denoise
    from hierdiff.theory.mixture.memorisation import prepare

    data, x = queries(N, HIGH[1])
    return partial(empirical_denoise, prepare(data), x, HIGH[1])


@DATASET.case("all data count")
def unprepared(N: int) -> Call:
    from hierdiff.theory import empirical_denoise

    return partial(empirical_denoise, *queries(N, HIGH[1]), HIGH[1])


@DATASET.case("with log-density and nearest datum")
def with_density(N: int) -> Call:
    from hierdiff.theory import empirical_posterior
    from hierdiff.theory.mixture.memorisation import prepare

    data, x = queries(N, HIGH[1])
    return partial(empirical_posterior, prepare(data), x, HIGH[1])


@DATASET.case("one datum counts, prepared")
def one_counts(N: int) -> Call:
    from hierdiff.theory import empirical_denoise
    from hierdiff.theory.mixture.memorisation import prepare

    data, x = queries(N, LOW[1])
    return partial(empirical_denoise, prepare(data), x, LOW[1])


@DATASET.case("square matrix product", peer="limits")
def data_square(N: int) -> tuple[Call, float]:
    return product_time(4.0 * QUERIES * N * DIM)


@DATASET.case("its two products", peer="limits")
def data_products(N: int) -> Call:
    """In blocks, without anything between them: the most that this order of work can reach."""
    data, x = queries(N, HIGH[1])
    block = 8_192
    weights, out = np.empty((block, QUERIES), np.float32), np.empty((QUERIES, DIM), np.float32)

    def both() -> None:
        for start in range(0, N, block):
            rows = data[start : start + block]
            np.matmul(rows, x.T, out=weights[: len(rows)])
            np.matmul(weights[: len(rows)].T, rows, out=out)

    return both
