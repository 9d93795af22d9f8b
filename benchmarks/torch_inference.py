r"""
Exact inference in torch: equality on a processor, the fraction of the bound on a CUDA card
===========================================================================================

Every marginal of a tree is written once, so no program is faster than the card writes: 67 MB for
256 samples of A = (v, m, s, L) = (32, 8, 2, 10).  The bandwidth is that of a copy of as many bytes
in the same run; the time to fill them stands beside it::

    python benchmarks/torch_inference.py                                  # equality, on a processor
    python benchmarks/torch_inference.py --summary benchmarks/torch_inference.json     # CUDA

On a processor nothing is timed: batched operations are there to be correct, and "auto" takes the
compiled passes (``benchmarks/belief_propagation.py``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hierdiff import RHM, Grammar, UniformNoise
from hierdiff.results import write_summary
from hierdiff.theory import posterior
from hierdiff.validation.exact_inference import engines, log_evidence, marginals
from hierdiff.validation.exact_inference.passes import Wanted, tables_of

CONFIGURATIONS = {"A": (32, 8, 2, 10), "B": (16, 4, 2, 8), "C": (8, 2, 4, 4)}
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def milliseconds(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call on the card, by its own clock, after three that do not count."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        # torch ships no types for its events
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        first.record()
        call()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last))
    return float(np.median(times))


def difference(name: str, n: int, device: str, dtype: torch.dtype, engine: Any) -> float:
    """Largest difference from the compiled passes: marginals, and log-evidence relative to it."""
    v, m, s, L = CONFIGURATIONS[name]
    grammar, noise = RHM(v, m, s, L).draw(0), UniformNoise(v)
    evidence = noise.evidence(noise.corrupt(grammar.sample(n, 1).leaves, 0.3, 2), 0.3)
    exact = posterior(grammar, evidence)
    given: dict[str, Any] = {"dtype": dtype, "device": device, "engine": engine}
    found = marginals(grammar, evidence, **given)
    gaps = [np.abs(p.double().cpu().numpy() - q).max()
            for p, q in zip(found, exact.marginals, strict=True)]  # fmt: skip
    logs = log_evidence(grammar, evidence, **given).double().cpu().numpy()
    return float(max(*gaps, np.abs(logs / exact.log_evidence - 1).max()))


def equality(device: str) -> dict[str, Any]:
    """Differences of every configuration; stops at one that is too large."""
    # batched operations take what memory and time the gathers need, so large trees get few samples
    sizes = {"A": 2, "B": 8, "C": 16} if device == "cpu" else dict.fromkeys(CONFIGURATIONS, 256)
    names = ["torch"] if device == "cpu" else ["torch", "triton"]
    table: dict[str, Any] = {}
    for name, n in sizes.items():
        for engine in names:
            for dtype in (torch.float32, torch.float64):
                if engine == "triton" and dtype == torch.float64:
                    continue
                gap = difference(name, n, device, dtype, engine)
                kind = str(dtype).removeprefix("torch.")
                print(f"{name}, {n:>3} samples, {engine:<6} {kind}: off by {gap:.1e}")
                assert gap < TOLERANCE[dtype], f"{name} in {kind} is off by {gap}"
                table.setdefault(name, {})[f"{engine} {kind}"] = gap
    return table


def captured(grammar: Grammar, theta: torch.Tensor) -> torch.cuda.CUDAGraph:
    """The launches of the fused kernel as a graph, without the time of the processor between."""
    tables = tables_of(grammar, theta.device, theta.dtype)
    wanted = Wanted(tuple(range(grammar.L + 1)))

    def work() -> None:
        engines.fused(tables, theta, tables.log_prior, wanted)

    work()  # compiled, and its tables made, before anything is recorded
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def timings(name: str, n: int, repeats: int) -> dict[str, Any]:
    """Time of a batch by each engine, and the fraction of the bound, at the bandwidth of stores."""
    v, m, s, L = CONFIGURATIONS[name]
    grammar, noise = RHM(v, m, s, L).draw(0), UniformNoise(v)
    x_t = noise.corrupt(grammar.sample(n, 1).leaves, 0.3, 2)
    theta = torch.tensor(noise.log_evidence(x_t, 0.3), dtype=torch.float32, device="cuda")
    size = 4 * n * sum(grammar.n_nodes(level) * k for level, k in enumerate(grammar.v))
    source, target = (torch.zeros(size // 4, device="cuda") for _ in range(2))
    copied = milliseconds(lambda: target.copy_(source), repeats)
    bound = copied / 2  # a copy reads as many bytes as it writes
    row: dict[str, Any] = {
        "bytes": size, "bound": bound, "GB/s of a copy": 2 * size / copied / 1e6,
        "stores alone": milliseconds(lambda: target.fill_(1.0), repeats),
    }  # fmt: skip
    row["kernels alone"] = milliseconds(captured(grammar, theta).replay, repeats)
    row["kernels alone, fraction of the bound"] = bound / row["kernels alone"]
    for engine in ("triton", "torch"):
        given: Any = {"engine": engine}
        # mypy cannot infer a lambda whose default binds the engine of this round
        row[engine] = milliseconds(lambda g=given: marginals(grammar, theta, **g), repeats)  # type: ignore[misc]
        row[f"{engine}, evidence"] = milliseconds(
            lambda g=given: log_evidence(grammar, theta, **g), repeats  # type: ignore[misc]
        )  # fmt: skip
        row[f"{engine}, fraction of the bound"] = bound / row[engine]
    print(f"\n{name}, {n} samples, {size / 1e6:.0f} MB{'ms':>12}{'of the bound':>16}")
    for key in ("bound", "stores alone", "kernels alone", "triton", "torch"):
        print(f"  {key:<24}{row[key]:>12.4f}{bound / row[key]:>16.3f}")
    return row


def main() -> None:
    """Equality, and times where there is a card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--lanes", type=int, default=engines.LANES, help="samples of a tile")
    parser.add_argument("--summary", type=Path, help="JSON file for the results, on a card alone")
    arguments = parser.parse_args()
    engines.LANES = arguments.lanes
    if not torch.cuda.is_available():
        equality("cpu")
        print("no CUDA card is at hand: equality was tested, nothing was timed or written")
        return
    found: dict[str, Any] = {
        "equality": equality("cuda"),
        "timings": {k: timings(k, arguments.samples, arguments.repeats) for k in CONFIGURATIONS},
    }
    best = found["timings"]["A"]
    found["claim"] = (
        f"all marginals of {arguments.samples} trees of 1,024 leaves: {best['triton']:.3f} ms, "
        f"{best['kernels alone']:.3f} ms without the processor, "
        f"{best['kernels alone, fraction of the bound']:.2f} of the bound at "
        f"{best['GB/s of a copy']:.0f} GB/s"
    )
    print(found["claim"])
    if arguments.summary is not None:
        write_summary(
            arguments.summary, found, {**vars(arguments), "seed": 0},
            also={"device": torch.cuda.get_device_name()},
        )  # fmt: skip


if __name__ == "__main__":
    main()
