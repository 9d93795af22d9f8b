"""Cost of a training step of networks on strings, as ratios in one run.

    python benchmarks/tree_network.py            # the table

(v, m, s, L) = (8, 2, 2, 4), Gaussian noise, batch 256, width 64, one thread: a U-Net in the shape
of the tree with leaves as wide as the other nodes, the same with leaves a quarter as wide, and a
transformer of four layers.  The calls of the three alternate, so that they see the same machine.
What divergence from exact beliefs is reached in how many seconds, ``python
validation/phase_transition.py`` prints.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hierdiff import RHM, GaussianNoise
from hierdiff.validation.networks.transformer import symbol_transformer
from hierdiff.validation.networks.tree_unet import tree_unet
from hierdiff.validation.recipes import symbol_loss


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="timed steps of each network")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.exit(2, f"error: --repeats = {options.repeats} must be an integer >= 1\n")
    torch.set_num_threads(1)
    grammar, noise = RHM(8, 2, 2, 4).draw(0), GaussianNoise(8, schedule="linear")
    networks = {
        "tree, leaves of width 64": tree_unet(grammar, noise),
        "tree, leaves of width 16": tree_unet(grammar, noise, leaf_width=16),
        "transformer": symbol_transformer(grammar, noise),
    }
    loss = symbol_loss(grammar, noise, batch=256)
    steps = {}
    for name, network in networks.items():
        optimiser = torch.optim.Adam(network.parameters())

        def step(k: int, network: torch.nn.Module = network, optimiser: Any = optimiser) -> None:
            optimiser.zero_grad()
            # torch has no types for backward
            loss(network, k).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

        step(0)
        steps[name] = step
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(options.repeats):
        for name, step in steps.items():
            begun = time.process_time()
            step(k)
            times[name].append(time.process_time() - begun)
    wide = np.array(times["tree, leaves of width 64"])
    table = {}
    for name, taken in times.items():
        ratio = wide / np.array(taken)
        table[name] = {
            "milliseconds": 1e3 * float(np.median(taken)),
            "times cheaper": float(np.median(ratio)),
            "error": float(ratio.std(ddof=1) / np.sqrt(len(ratio))),
            "parameters": sum(p.numel() for p in networks[name].parameters()),
        }
        print(f"{name:26s}{table[name]['milliseconds']:8.1f} ms, {table[name]['times cheaper']:.2f}"
              f" ± {table[name]['error']:.2f} times cheaper, {table[name]['parameters']:,} "
              "parameters")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
