"""What the questions to a tree cost, as ratios to its beliefs, in one run and one thread.

    python benchmarks/questions.py                                     # the table
    python benchmarks/questions.py --json benchmarks/questions.json    # and a file

Uniform noise at t = 0.5, 64 data of (v, m, s, L) = (16, 4, 2, 6) and (8, 3, 2, 5).  Every question
is timed beside the beliefs of the general kernel, in turn, and the median of the ratios is taken.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hierdiff import RHM, UniformNoise
from hierdiff.results import write_summary
from hierdiff.theory import posterior, tree_posterior

SIZES = ((16, 4, 2, 6), (8, 3, 2, 5))
DATA = 64


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(size: tuple[int, int, int, int], repeats: int) -> dict[str, Any]:
    """Nanoseconds per rule of the beliefs, and the cost of every question over them."""
    v, m, s, L = size
    grammar, noise = RHM(v, m, s, L).draw(0), UniformNoise(v)
    x_t = noise.corrupt(grammar.sample(DATA, 1).leaves, 0.5, 2)
    evidence = noise.evidence(x_t, 0.5)
    asked = tree_posterior(grammar, evidence, threads=1)
    # evidence at the root that says nothing: the general kernel, not the fast engine
    nodes = {0: np.zeros((1, v))}
    general = lambda: tree_posterior(grammar, evidence, nodes=nodes, threads=1).marginals  # noqa: E731
    pairs = [(0, i) for i in range(1, 11)]
    direction = np.ones((grammar.n_leaves, v))
    questions: dict[str, Callable[[], Any]] = {
        "marginals by the fast engine": lambda: posterior(grammar, evidence, threads=1),
        "most likely derivation": asked.most_likely,
        "10 best derivations": lambda: asked.k_best(10),
        "expected counts": asked.expected_counts,
        "entropy per level": asked.entropy_per_level,
        "number of derivations": asked.log_count,
        "10 pair beliefs": lambda: asked.pair_beliefs(pairs),
        "covariance of the leaves": asked.covariance,
        "covariance times a vector": lambda: asked.covariance_product(direction),
    }
    _ = general(), [question() for question in questions.values()]  # compiled from here on
    _ = asked.log_evidence
    times, ratios = [], {name: [] for name in questions}  # type: ignore[var-annotated]
    for _ in range(repeats):
        for name, question in questions.items():
            base = seconds(general)
            ratios[name].append(seconds(question) / base)
            times.append(base)
    rules = (grammar.n_leaves - 1) // (s - 1) * v * m * DATA
    return {
        "ns per rule": 1e9 * float(np.median(times)) / rules,
        "ratios": {name: float(np.median(x)) for name, x in ratios.items()},
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="timed calls of each kind")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.exit(2, f"error: --repeats = {options.repeats} must be an integer >= 1\n")
    found = {str(size): measure(size, options.repeats) for size in SIZES}
    for size, x in found.items():
        print(f"{size}: beliefs of the general kernel {x['ns per rule']:.1f} ns per rule")
        for name, ratio in x["ratios"].items():
            print(f"  {name:<32}{ratio:>8.2f}")
    if options.json:
        write_summary(options.json, found, {"repeats": options.repeats})


if __name__ == "__main__":
    main()
