"""Belief propagation against the dense formulation, and its scaling: ratios taken in one run.

    python benchmarks/belief_propagation.py            # all tables, about two minutes
    python benchmarks/belief_propagation.py --check    # and fail below half of the targets

Both sides start from leaf evidence and end with the normalised marginals of all nodes.  "kernel"
writes into memory that is there already; "posterior" is the public function with its allocation,
from a log-evidence array (dense) or from observed symbols (compact).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hierdiff import RHM, UniformNoise
from hierdiff.results import write_summary
from hierdiff.theory.belief_propagation._kernels import layout, simd
from hierdiff.theory.belief_propagation.exact_posterior import (
    leaves_of,
    padded_rows,
    posterior,
    true_beliefs,
)
from hierdiff.theory.belief_propagation.passes import Dense, available_threads, job_of

CONFIGURATIONS = {"A": (32, 8, 2, 10), "B": (16, 4, 2, 8), "C": (8, 2, 4, 4)}
TARGETS = {"A": 2000, "B": 500, "C": 400}
SAMPLE_TARGET = 300
NODE_TARGET = 15  # nanoseconds


def median(call: Callable[[], Any], repeats: int = 9) -> float:
    """Median time of a call in seconds, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def world(name: str, n: int) -> tuple[Any, Any, Any, Any]:
    """Grammar, truth, observation and noise level of a configuration."""
    v, m, s, L = CONFIGURATIONS[name]
    grammar = RHM(v, m, s, L).draw(0)
    truth = grammar.sample(n, 1)
    noise = UniformNoise(v)
    return grammar, truth, noise, noise.corrupt(truth.leaves, 0.3, 2)


def kernel(grammar: Any, evidence: Any, dtype: Any, threads: int) -> Callable[[], Any]:
    """The compiled pass, into memory that is there already."""
    leaves = leaves_of(grammar, evidence, None, dtype, threads, private=False)
    job = job_of(grammar, 0, grammar.L, leaves, threads)
    rows = padded_rows(len(leaves), dtype)
    sizes = [rows * grammar.n_nodes(x) * grammar.v[x] for x in range(grammar.L + 1)]
    starts = dict(enumerate(np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()))
    action = Dense(layout.MARGINAL, starts, simd.aligned(sum(sizes), dtype), rows)
    return lambda: action(job, True)


def one_configuration(name: str, repeats: int) -> dict[str, Any]:
    """All timings of a configuration in milliseconds, 256 samples."""
    import dense_reference
    import torch

    torch.set_num_threads(available_threads())
    grammar, truth, noise, x_t = world(name, 256)
    v, L = grammar.v[-1], grammar.L
    log_evidence = noise.log_evidence(x_t, 0.3)
    compact = noise.evidence(x_t, 0.3)
    flat = np.exp(log_evidence).astype(np.float32).transpose(2, 0, 1).reshape(v, -1)
    leaves = torch.tensor(flat)
    rules = [torch.tensor(r.astype(np.int64)) for r in grammar.rules]
    theirs = dense_reference.marginals(rules, leaves)[L].numpy().reshape(v, 256, -1)
    gap = np.abs(theirs.transpose(1, 2, 0) - posterior(grammar, log_evidence).marginals[L]).max()
    assert gap < 1e-5, f"the two formulations differ by {gap}"

    def dense(call: Callable[..., Any]) -> float:
        return 1e3 * median(lambda: call(rules, leaves), repeats)

    row = {
        "dense torch": dense(dense_reference.marginals),
        "dense sample": dense(dense_reference.sample),
    }
    for dtype in (np.float32, np.float64):
        kind = np.dtype(dtype).name
        single = log_evidence.astype(dtype)
        known = posterior(grammar, compact, dtype=dtype, levels=())
        calls: dict[str, Callable[[], Any]] = {
            "kernel": kernel(grammar, compact, dtype, available_threads()),
            "kernel, 1 thread": kernel(grammar, compact, dtype, 1),
            "posterior, dense": partial(posterior, grammar, single, dtype=dtype),
            "posterior, compact": partial(posterior, grammar, compact, dtype=dtype),
            "leaf marginals": partial(posterior, grammar, compact, dtype=dtype, levels=(L,)),
            "true beliefs": partial(true_beliefs, grammar, compact, truth, dtype=dtype),
            "sample": partial(known.sample, 3),
        }
        for what, call in calls.items():
            row[f"{what} ({kind})"] = 1e3 * median(call)
    return row


def against_dense(repeats: int) -> dict[str, Any]:
    """Full marginals and posterior samples against torch in the same run."""
    table = {}
    for name, sizes in CONFIGURATIONS.items():
        table[name] = row = one_configuration(name, repeats)
        print(f"\n{name} = (v, m, s, L) {sizes}, 256 samples{'ms':>17}{'ratio':>10}")
        for key, value in row.items():
            base = row["dense sample" if key.startswith("sample") else "dense torch"]
            print(f"  {key:40s} {value:12.4g} {base / value:9.0f}")
    return table


SINGLE_TREE = """
import resource, sys, time, json, numpy as np
from hierdiff import RHM, UniformNoise
from hierdiff.theory import posterior, true_beliefs
L = int(sys.argv[1])
grammar, noise = RHM(32, 8, 2, L).draw(0), UniformNoise(32)
truth = grammar.sample(1, 1)
evidence = noise.evidence(noise.corrupt(truth.leaves, 0.3, 2), 0.3)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def timed(call):
    call()
    times = []
    for _ in range(7):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
small = RHM(32, 8, 2, 9).draw(0)
leaves = noise.evidence(small.sample(1, 0).leaves, 0.3)
posterior(small, leaves, dtype="float32", levels=(9,))  # compiled before memory is measured
true_beliefs(small, leaves, small.sample(1, 0), dtype="float32")
before = peak()
beliefs = timed(lambda: true_beliefs(grammar, evidence, truth, dtype="float32"))
after = peak()
full = timed(lambda: posterior(grammar, evidence, dtype="float32", levels=(L,)))
print(json.dumps({"beliefs": beliefs, "marginals": full, "beliefs MiB": after - before,
                  "marginals MiB": peak() - before}))
"""


def single_trees(depths: range) -> dict[str, Any]:
    """One tree of 2**L leaves: time per node, and memory added, each in a fresh process."""
    table: dict[str, Any] = {}
    print("\none tree, (v, m, s) = (32, 8, 2), float32        beliefs in place      leaf marginals")
    print("                                                 ns/node     MiB     ns/node     MiB")
    for depth in depths:
        run = subprocess.run(
            [sys.executable, "-c", SINGLE_TREE, str(depth)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        row = json.loads(run.stdout)
        nodes = 2 ** (depth + 1) - 1
        row["ns per node"] = 1e9 * row["beliefs"] / nodes
        row["ns per node, marginals"] = 1e9 * row["marginals"] / nodes
        table[str(depth)] = row
        milliseconds = f"{1e3 * row['beliefs']:10.2f} / {1e3 * row['marginals']:8.2f} ms"
        print(
            f"  2^{depth:<3d} leaves {milliseconds} "
            f"{row['ns per node']:14.1f} {row['beliefs MiB']:8.0f} "
            f"{row['ns per node, marginals']:10.1f} {row['marginals MiB']:8.0f}"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail below half of the targets")
    parser.add_argument("--repeats", type=int, default=3, help="runs of the dense formulation")
    parser.add_argument("--deepest", type=int, default=20, help="log2 of the largest tree")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.repeats < 1 or not 10 <= options.deepest <= 26:
        parser.exit(
            2,
            f"error: --repeats = {options.repeats} must be >= 1, --deepest = {options.deepest} "
            "from 10 to 26\n",
        )
    trees = single_trees(range(10, options.deepest + 1, 2))
    table = against_dense(options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process {peak:.0f} MiB (the dense tensors)")
    ratios = {name: row["dense torch"] / row["kernel (float32)"] for name, row in table.items()}
    sampling = table["A"]["dense sample"] / table["A"]["sample (float32)"]
    node = trees[str(options.deepest)]["ns per node"]
    print("\nsummary: ratio to the dense formulation (target)")
    for name, ratio in ratios.items():
        print(f"  marginals {name}: {ratio:.0f} ({TARGETS[name]})")
    print(f"  posterior samples A: {sampling:.0f} ({SAMPLE_TARGET})")
    print(f"  one tree: {node:.1f} ns per node ({NODE_TARGET})")
    if options.json:
        write_summary(options.json, {"trees": trees, "dense": table}, {})
    if options.check:
        slow = [name for name, ratio in ratios.items() if ratio < TARGETS[name] / 2]
        if slow or sampling < SAMPLE_TARGET / 2 or node > 2 * NODE_TARGET:
            raise SystemExit(f"slower than half of the target: {slow}, {sampling:.0f}, {node:.1f}")


if __name__ == "__main__":
    main()
