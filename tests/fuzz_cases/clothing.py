"""Cases of the five questions on photographs of clothing."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff.data.low_rank_mixture import LowRankMixture

_E = "hierdiff.validation.experiments."
_WHY = (
    "trains networks on photographs that a package holds; its arguments are those of the "
    "experiment, or come from the runner"
)

EXEMPT = {
    f"{_E}clothing.NetworkClothing.{name}": _WHY
    for name in ("datasets", "figure", "measure", "predict", "summary")
} | {
    f"{_E}{name}": "its arguments are what the experiment has measured"
    for name in ("clothing_answers.answers", "clothing_answers.claim", "clothing_answers.table",
                 "clothing_figures.figures")
} | {f"{_E}clothing_readings.Triplets": "a record that functions return"}  # fmt: skip


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    from hierdiff.validation.experiments import clothing_networks, clothing_readings

    mixture = LowRankMixture.random(24, 2, 10, delta=0.2, seed=0)
    r = f"{_E}clothing_readings."
    return [
        Case(f"{_E}clothing_networks.reading_steps", clothing_networks.reading_steps,
             {"steps": 60}),
        Case(f"{r}family_chance", clothing_readings.family_chance, {"labels": [0, 9]}),
        Case(f"{r}flat_mixture", clothing_readings.flat_mixture, {"mixture": mixture, "seed": 0}),
        Case(f"{r}mixture_retention", clothing_readings.mixture_retention,
             {"mixture": mixture, "t": [0.3, 0.6], "n": 8, "seed": 0}),
        Case(f"{r}tree_triplets", clothing_readings.tree_triplets,
             {"labels": np.tile(np.arange(10), 3), "number": 4, "seed": 0}),
    ]  # fmt: skip
