"""The exact denoiser of a mixture as a fraction of the machine's matrix product, in one run.

    python benchmarks/mixture.py            # the table, seconds
    python benchmarks/mixture.py --check    # and fail below half of the target

K = 100 to 400 classes of rank 16 in n = 3,072 dimensions, B = 256 and 1,024 data, float32.  The
work is the two products, 4 B n K d flops; each call is timed between two square products of 3,072.
What the two bare products alone reach stands beside it: a product with 256 rows is slower than a
square one, and no denoiser can beat it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from empirical_denoiser import products, seconds

from hierdiff import LowRankMixture
from hierdiff.results import write_summary
from hierdiff.theory import denoise

DIM, RANK, TARGET = 3_072, 16, 0.85


def measure(classes: int, data: int, sigma: float, repeats: int) -> dict[str, float]:
    """Seconds and fraction of sgemm, of the full work and of what is left at low noise."""
    mixture = LowRankMixture.random(DIM, RANK, classes, angle=None, residual="ambient", delta=0.1,
                                    seed=0)  # fmt: skip
    x = mixture.sample(data, 1)[0]
    x = (x + sigma * np.random.default_rng(2).standard_normal(x.shape)).astype(np.float32)
    axes = np.ascontiguousarray(mixture.spectrum.single[0].reshape(-1, DIM))
    product, ratios, times, bare = products(), [], [], []
    denoise(mixture, x, sigma)
    for _ in range(repeats):
        before = product()
        wall = seconds(lambda: denoise(mixture, x, sigma))
        rate = (before + product()) / 2
        times.append(wall)
        ratios.append(4 * data * DIM * classes * RANK / wall / rate)
        # next to the call, so that both see the same machine
        bare.append(seconds(lambda: (x @ axes.T) @ axes) / wall)
    exact = denoise(mixture, x[:4].astype(float), sigma)
    error = float(np.abs(denoise(mixture, x[:4], sigma) - exact).max())
    return {"seconds": float(np.median(times)), "fraction of sgemm": float(np.median(ratios)),
            "best": float(np.max(ratios)),
            "fraction of its two products": float(np.median(bare)), "error": error}  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail below half of the target")
    parser.add_argument("--repeats", type=int, default=9, help="timed calls of each kind")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.exit(2, f"error: --repeats = {options.repeats} must be an integer >= 1\n")
    table: dict[str, Any] = {}
    print(
        f"n = {DIM:,}, d = {RANK}, float32{'s':>26}{'of sgemm':>10}{'best':>7}{'of products':>13}"
    )
    sizes = [(k, b) for b in (256, 1024) for k in (100, 200, 400)]
    for classes, data in sizes:
        for name, sigma in (("all classes alive", 30.0), ("one class alive", 0.1)):
            row = measure(classes, data, sigma, options.repeats)
            table[f"K = {classes}, B = {data}, {name}"] = row
            print(f"  K = {classes}, B = {data:4d}, {name:18s}{row['seconds']:11.4f}"
                  f"{row['fraction of sgemm']:10.2f}{row['best']:7.2f}"
                  f"{row['fraction of its two products']:13.2f}")  # fmt: skip
    alive = [table[f"K = {k}, B = {b}, all classes alive"] for k, b in sizes]
    shares = [row["fraction of sgemm"] for row in alive]
    share = min(shares)
    print(f"denoiser of a mixture: {share:.2f} to {max(shares):.2f} of sgemm for K >= 100 (target "
          f"{TARGET}), {min(r['fraction of its two products'] for r in alive):.2f} at least of the "
          "two products it needs")  # fmt: skip
    if options.json:
        write_summary(options.json, table, {})
    if options.check and share < TARGET / 2:
        raise SystemExit(f"slower than half of the target: {share:.2f}")


if __name__ == "__main__":
    main()
