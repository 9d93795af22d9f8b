"""Cases of changes of strings, and of networks on several grammars."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import RHM, MaskingNoise
from hierdiff.sims.metrics import string_changes
from hierdiff.theory.exact_models import ExactRHM

_M = "hierdiff.sims.metrics.string_changes"
_E = "hierdiff.validation.experiments.correlated_changes"
EXEMPT = {f"{_M}.{name}": "a named tuple of what a function returns"
          for name in ("Readings", "StringChanges")} | {
    f"{_M}.{name}": "reads a result of depth_changes"
    for name in ("depth_gaps", "depth_readings", "read_sampler", "susceptibility_gap")
} | {
    f"{_E}.{name}": "reads results of depth_changes"
    for name in ("exact_dataset", "network_dataset")
} | {
    f"{_E}_figure.{name}": "reads results of depth_changes"
    for name in ("changes_figure", "changes_summary")
} | {
    f"{_E}.{name}": "trains networks of a source, which has checked its fields"
    for name in ("trained_networks", "trained_on_strings")
} | {
    f"{_M}.changes_task": "string_changes, which has a case, as a task",
    f"{_E}.Exponents": "a named tuple of what a function returns",
    f"{_E}.exponents_of": "seconds of density evolution of a source, which has checked its fields",
}  # fmt: skip

_GRAMMAR = RHM(v=4, m=2, s=2, L=2).draw(seed=0)


def cases() -> list[Case]:
    """The functions, and the source with its methods."""
    from hierdiff.validation.experiments import correlated_changes as changes

    small = {"v": 4, "m": 2, "s": 2, "depths": (1, 2), "noise": "masking", "networks": 2,
             "architecture": None, "width": 8, "steps": 2, "leaves": 64, "focus": (0.1, 0.5),
             "t": (0.2, 0.4, 0.5, 0.6, 1.0), "data": 2, "trajectories": 2,
             "num_steps": 2}  # fmt: skip
    source = changes.GrammarNetworks(**small)
    return [
        Case(f"{_M}.half_loss", string_changes.half_loss,
             {"t": np.array([0.1, 0.2, 0.3]), "curve": np.array([1.0, 0.6, 0.2])},
             nan=("curve",)),  # a curve that loses nothing has no half
        Case(f"{_M}.string_changes", string_changes.string_changes,
             {"model": ExactRHM(_GRAMMAR, MaskingNoise(4)), "grammar": _GRAMMAR,
              "truth": _GRAMMAR.sample(2, 0), "t": 0.5, "trajectories": 3, "seed": 0,
              "key": (1, 2)}),
        Case(f"{_E}.focus_rule", changes.focus_rule, {"name": "focus", "value": (0.1, 0.4)}),
        Case(f"{_E}.GrammarNetworks", changes.GrammarNetworks, small),
        Case(f"{_E}.GrammarNetworks.grammar", source.grammar, {"L": 2, "k": 0, "seed": 0}),
        Case(f"{_E}.depth_changes", changes.depth_changes,
             {"source": source, "L": 1, "seed": 0, "models": (), "samplers": ("exact",)}),
    ]  # fmt: skip
