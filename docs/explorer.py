"""The table behind the phase explorer: what density evolution says of real noise.

The page computes the epsilon-process and the mixture by itself.  Masking, uniform and Gaussian
noise need populations of messages, so their level curves and susceptibilities lie in a table, on
the grammars of the committed phase diagram, whose thresholds it repeats.  Made by
``python docs/explorer.py``, which takes about ten minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pages import HERE, parameters, result

from hierdiff import RHM, results
from hierdiff.noise import noise_process
from hierdiff.theory import population_dynamics, population_susceptibility

FILE = HERE / "_static" / "explorer_table.js"
DEPTHS = (4, 6, 8, 10)
PROCESSES = ("masking", "uniform", "gaussian")
SIZE, COPIES, SEED = 2000, 2, 0
MEMBERS, POPULATIONS = 2000, 4  # a variance needs more members than a mean
# in units of the threshold: the class falls within a few tenths of it
NEAR = (0.5, 0.7, 0.8, 0.88, 0.94, 1.0, 1.06, 1.12, 1.2, 1.35, 1.6, 2.0)
SEEN = 0.01  # of the leaves must fluctuate; a population has too few that do to count fewer
DIGITS = 1000  # beliefs and susceptibilities are stored as whole thousandths


def times(threshold: float) -> NDArray[np.float64]:
    """Noise levels in four digits, as the table holds them, densely at a threshold."""
    near = threshold * np.array(NEAR)
    return np.unique(np.round(np.concatenate([np.linspace(0, 1, 11), near[near < 1]]), 4))


def curves(v: int, m: int, s: int, L: int, process: str, t: NDArray[np.float64]) -> list[list[int]]:
    """Belief in the true symbol [level, t], root first, in thousandths."""
    noise = noise_process(process, v)
    found = population_dynamics(RHM(v, m, s, L), noise, t, size=SIZE, copies=COPIES, seed=SEED)
    return thousandths(found.marginal)


def thousandths(values: NDArray[np.float64]) -> list[list[int]]:
    """Rows of numbers as the table holds them."""
    return [[int(x) for x in row] for row in np.rint(DIGITS * values)]


def fluctuations(
    v: int, m: int, s: int, process: str, t: NDArray[np.float64], belief: dict[str, list[list[int]]]
) -> dict[str, dict[str, list[int | None]]]:
    """Susceptibility and its standard error [t] for every depth; None where hardly a leaf is lost.

    Both in thousandths.
    """
    found = population_susceptibility(
        RHM(v, m, s, max(DEPTHS)), noise_process(process, v), t, depths=DEPTHS, size=MEMBERS,
        copies=POPULATIONS, seed=SEED,
    )  # fmt: skip
    rows: dict[str, dict[str, list[int | None]]] = {}
    for name, values in (("chi", found.value), ("chi_error", found.error)):
        rows[name] = {
            L: [x if leaf <= DIGITS * (1 - SEEN) else None
                for x, leaf in zip(row, belief[L][-1], strict=True)]
            for L, row in zip(belief, thousandths(values), strict=True)
        }  # fmt: skip
    return rows


def entry(row: dict[str, Any], process: str) -> dict[str, Any]:
    """All depths of one grammar under one process."""
    v, m, s = (int(row[k]) for k in "vms")
    threshold, error, _ = row[process]
    t = times(threshold)
    belief = {str(L): curves(v, m, s, L, process, t) for L in DEPTHS}
    return {
        "threshold": round(threshold, 5),
        "error": round(error, 5),
        "t": t.tolist(),
        "belief": belief,
        **fluctuations(v, m, s, process, t, belief),
    }


def table() -> dict[str, Any]:
    """Everything that the page reads, and how it was made."""
    grammars = []
    for row in result("phase_diagram"):
        one = {k: int(row[k]) for k in "vms"} | {p: entry(row, p) for p in PROCESSES}
        grammars.append(one)
        print(f"(v, m, s) = ({one['v']}, {one['m']}, {one['s']})", file=sys.stderr)
    made = {
        "command": "python docs/explorer.py", "size": SIZE, "copies": COPIES, "seed": SEED,
        "members": MEMBERS, "populations": POPULATIONS,
        "thresholds": {"file": "docs/results/phase_diagram.json", **parameters("phase_diagram")},
        **{k: v for k, v in results.origin().items() if k in ("commit", "versions")},
    }  # fmt: skip
    return {"depths": DEPTHS, "digits": DIGITS, "grammars": grammars, "made": made}


def read(path: Path = FILE) -> dict[str, Any]:
    """The committed table."""
    text = path.read_text()
    found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return found


if __name__ == "__main__":
    # a script, not JSON: a page that is opened from a folder may load no other kind of file
    FILE.write_text(f"window.hierdiffTable = {json.dumps(table(), separators=(',', ':'))};\n")
    print(f"wrote {FILE}: {FILE.stat().st_size / 1000:.0f} kB")
