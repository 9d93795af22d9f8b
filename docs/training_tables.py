"""Tables and claims of memory against training time."""

from __future__ import annotations

from typing import Any

from pages import network, plus, result, table

FEATURES = "`python sims/training_time.py`"
NETWORKS = "`python validation/training_time.py`"


def _times(pair: list[float] | None) -> str:
    """A time and its error, which is one of its logarithm."""
    return "" if pair is None else f"{pair[0]:.0f} ± {pair[0] * pair[1]:.0f}"


def training_features() -> str:
    """Times of random features in the limit, and losses at the end of training."""
    x = result("training_time")
    rows = []
    for i, (psi_n, early, late, best) in enumerate(x["times"]):
        # part, number of data, time, class; the last time is the end of training
        seen, fresh = (
            f"{plus(x['loss'][p][i][-1][0], x['loss error'][p][i][-1][0], 3)} "
            f"({x['loss, limit'][p][i][-1][0]:.3f})"
            for p in (0, 1)
        )
        rows.append([f"{psi_n:g}", f"{early:.1f}", f"{late:.0f}", f"{best:.1f}", seen, fresh])
    header = [
        "data per dimension", "τ_gen", "τ_mem", "least loss at", "last loss, seen data (limit)",
        "fresh data (limit)",
    ]  # fmt: skip
    return table(header, rows)


def training_networks() -> str:
    """A row per training set: window, time of memory, times of the levels."""
    x: Any = network("training_time")
    count = len(x["cost of the levels"])
    rows = []
    for P, row in x["sizes"].items():
        rows.append([
            P if int(P) else "fresh", plus(*row["least divergence"], 3),
            _times(row["window start"]), _times(row["window end"]), _times(row.get("tau_mem")),
            *(_times(one) for one in row["level times"]),
        ])  # fmt: skip
    header = [
        "P", "least divergence, nats per leaf", "loss at its best from", "loss at its best to",
        "20 % copies at",
        *(f"level {r} learned at" for r in range(1, count + 1)),
    ]  # fmt: skip
    plateaus = ", ".join(f"{value:.3f}" for value in x["plateaus"])
    return table(header, rows) + (
        f"\nExact denoisers that know 0 to {count} levels have divergence {plateaus}.\n"
    )


def training_signs() -> str:
    """How well readings without the training set find memory."""
    x: Any = network("training_time")
    words = {
        "coincidence": "share of equal pairs among 300 samples",
        "certainty": "negative entropy of beliefs about own noisy samples",
        "spikiness": "inverse participation ratio of features on own samples",
    }
    rows = [[words[name], plus(*pair, 3)] for name, pair in x["signs"].items()]
    return table(["reading", "probability to rank memory above none"], rows)


def claims_m() -> dict[str, tuple[str, str]]:
    """M1 to M3: random features, and networks where they alone were followed."""
    x: Any = network("training_time")
    slopes = result("training_time")["exponents"]
    fresh = x["sizes"]["0"]["level times"]
    return {
        "M1": (
            "depends on the width: in random features tau_mem goes as N to the "
            f"{slopes[1]:.2f} and tau_gen as N to the {slopes[0]:.2f} at 256 features per "
            "dimension, towards 1 and 0 for more",
            FEATURES,
        ),
        "M2": (
            "followed in networks alone: levels are learned one by one at times that do not depend "
            f"on P, with a ratio of {fresh[1][0] / fresh[0][0]:.0f} between the second and the "
            "first where v m^(l+1), which counts data, has m = 3",
            NETWORKS,
        ),
        "M3": (
            "followed in networks alone: not spiky features but coincidences among samples show "
            "memory",
            NETWORKS,
        ),
    }
