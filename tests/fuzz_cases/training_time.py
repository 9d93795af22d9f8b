"""Cases of memory against training time: random features, signs of memory, networks on strings."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz import Case

from hierdiff import RHM, UniformNoise
from hierdiff.sims.metrics import memory
from hierdiff.theory.mixture import training_time
from hierdiff.theory.mixture.random_features import feature_constants

_T = "hierdiff.theory.mixture.training_time."
_M = "hierdiff.sims.metrics.memory."
_N = "hierdiff.validation.experiments.training_time."

EXEMPT = {
    f"{_T}FlowCurves": "a result",
    f"{_T}TrainingTimes": "a result",
    f"{_M}Copies": "a result",
} | {
    f"{_N}NetworkTrainingTime.{name}": "trains networks; its arguments are those of the "
    "experiment, or come from the runner"
    for name in ("datasets", "figure", "measure", "summary")
}  # fmt: skip


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    from hierdiff.validation.experiments import training_time as networks

    constants = feature_constants(np.tanh, 0.1)
    flow = training_time.FeatureFlow((constants,), 4.0, 2.0)
    curves: dict[str, Any] = {"flow": flow, "tau": [1.0, 10.0]}
    drawn = {**curves, "dimension": 6, "seed": 0}
    grammar = RHM(4, 2, 2, 2).draw(0)
    strings = grammar.sample(4, seed=0).leaves
    study = networks.NetworkTrainingTime(
        v=4, m=2, L=1, n_train=(2,), times=(1, 2, 3), networks=2, test=4, samples=4, num_steps=2
    )
    read = {"grammar": grammar, "noise": UniformNoise(4), "data": strings, "t": (0.3, 0.6),
            "test": 4, "samples": 4, "num_steps": 2, "seed": 0}  # fmt: skip
    return [
        Case(f"{_T}FeatureFlow", training_time.FeatureFlow,
             {"constants": (constants, constants), "psi_p": 4.0, "psi_n": 2.0,
              "shares": (0.5, 0.5)}),
        Case(f"{_T}FeatureFlow.unit", flow.unit, {"eigenvalue": 0.5}),
        Case(f"{_T}spectral_density", training_time.spectral_density,
             {"flow": flow, "eigenvalues": [0.1, 2.0]}),
        Case(f"{_T}spectrum_edges", training_time.spectrum_edges, {"flow": flow}),
        Case(f"{_T}training_times", training_time.training_times, {"flow": flow}),
        Case(f"{_T}flow_curves", training_time.flow_curves, {**curves, "points": 60}),
        Case(f"{_T}equivalent_flow", training_time.equivalent_flow, drawn),
        Case(f"{_T}feature_flow", training_time.feature_flow,
             {**drawn, "activation": np.tanh, "draws": 2}),
        Case(f"{_M}copies", memory.copies, {"strings": strings, "data": strings[:2]}),
        Case(f"{_M}coincidence", memory.coincidence, {"strings": strings}),
        Case(f"{_M}mixture_coincidence", memory.mixture_coincidence,
             {"share": 0.5, "data": 8, "language": 32}),
        Case(f"{_M}distinct_strings", memory.distinct_strings,
             {"grammar": grammar, "n": 4, "seed": 0}),
        Case(f"{_M}string_count", memory.string_count, {"grammar": grammar}),
        Case(f"{_N}first_crossing", networks.first_crossing,
             {"times": np.array([1.0, 2.0]), "values": np.array([-1.0, 1.0])}),
        Case(f"{_N}separation", networks.separation,
             {"yes": np.array([2.0]), "no": np.array([1.0, 2.0])}),
        Case(f"{_M}StringReadings", memory.StringReadings, read),
        Case(f"{_N}NetworkTrainingTime.predict", study.predict, {"law": "references"}),
        Case(f"{_N}NetworkTrainingTime.readings", study.readings, {"P": 2, "k": 0}),
    ]  # fmt: skip
