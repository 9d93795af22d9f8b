"""The exact denoiser of a mixture as a fraction of the machine's matrix product, in one run.

    python benchmarks/mixture.py            # the table, seconds
    python benchmarks/mixture.py --check    # and fail below half of the target

K = 100 to 400 classes of rank 16 in n = 3,072 dimensions, B = 256 data, float32.  The work is the
two products, 4 B n K d flops; each call is timed between two square products of 3,072.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from empirical_denoiser import products, seconds

from hierdiff import LowRankMixture
from hierdiff.theory import denoise

DIM, RANK, DATA, TARGET = 3_072, 16, 256, 0.85


def measure(classes: int, sigma: float, repeats: int) -> dict[str, float]:
    """Seconds and fraction of sgemm, of the full work and of what is left at low noise."""
    mixture = LowRankMixture.random(DIM, RANK, classes, angle=None, residual="ambient", delta=0.1,
                                    seed=0)  # fmt: skip
    x = mixture.sample(DATA, 1)[0]
    x = (x + sigma * np.random.default_rng(2).standard_normal(x.shape)).astype(np.float32)
    product, ratios, times = products(), [], []
    denoise(mixture, x, sigma)
    for _ in range(repeats):
        before = product()
        wall = seconds(lambda: denoise(mixture, x, sigma))
        rate = (before + product()) / 2
        times.append(wall)
        ratios.append(4 * DATA * DIM * classes * RANK / wall / rate)
    exact = denoise(mixture, x[:4].astype(float), sigma)
    error = float(np.abs(denoise(mixture, x[:4], sigma) - exact).max())
    return {"seconds": float(np.median(times)), "fraction of sgemm": float(np.median(ratios)),
            "best": float(np.max(ratios)), "error": error}  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail below half of the target")
    parser.add_argument("--repeats", type=int, default=9, help="timed calls of each kind")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    table: dict[str, Any] = {}
    print(f"n = {DIM:,}, d = {RANK}, B = {DATA}, float32{'s':>20}{'of sgemm':>10}{'best':>7}")
    for classes in (100, 200, 400):
        for name, sigma in (("all classes alive", 30.0), ("one class alive", 0.1)):
            row = measure(classes, sigma, options.repeats)
            table[f"K = {classes}, {name}"] = row
            print(f"  K = {classes}, {name:28s}{row['seconds']:14.4f}"
                  f"{row['fraction of sgemm']:10.2f}{row['best']:7.2f}")  # fmt: skip
    share = table["K = 200, all classes alive"]["fraction of sgemm"]
    print(f"denoiser of a mixture: {share:.2f} of sgemm at K = 200 (target {TARGET})")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")
    if options.check and share < TARGET / 2:
        raise SystemExit(f"slower than half of the target: {share:.2f}")


if __name__ == "__main__":
    main()
