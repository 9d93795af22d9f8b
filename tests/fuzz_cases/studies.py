"""Cases of experiments, their tasks and estimators, and the commands; all at tiny sizes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Case

from hierdiff import RHM, MaskingNoise, UniformNoise
from hierdiff import command_line as page
from hierdiff import tasks as experiment
from hierdiff.errors import InvalidParameter
from hierdiff.sims import (
    Alignment,
    AttributeBinding,
    Classification,
    Composition,
    Correlations,
    CueConflict,
    KernelLearning,
    PhaseTransition,
    Representation,
    phase_transition,
)
from hierdiff.sims import bump_phases as phases
from hierdiff.sims import kernel_learning as kernels
from hierdiff.sims.metrics import calibration, denoising_error, estimators, forward_backward
from hierdiff.sims.metrics import odd_one_out as triplets
from hierdiff.sims.metrics import representation_geometry as geometry
from hierdiff.sims.models import context_clustering as clustering
from hierdiff.sims.run import RunOptions, command
from hierdiff.theory import ExactRHM

EXEMPT = {
    "hierdiff.sims.models.context_clustering.Synonyms": "a task; synonyms() makes it",
    "hierdiff.command_line.execute": "the work given is the caller's own; its errors are too",
    "hierdiff.sims.metrics.denoising_error.Decision": "a result; its own functions make it",
    "hierdiff.command_line.parsed": "the function given is the caller's own; its errors are too",
} | {
    f"hierdiff.sims.metrics.estimators.{name}": "a result; its own functions make it"
    for name in ("Bootstrap", "Crossing", "DepthLimit", "Disorder", "Nested")
} | {
    f"hierdiff.sims.{name}.{word}": "called by the runner with what the experiment itself made"
    for name in ("attribute_binding.AttributeBinding", "composition.Composition",
                 "cue_conflict.CueConflict", "kernel_learning.KernelLearning",
                 "representation.Representation", "synonym_learning.SynonymLearning",
                 "truncated_denoisers.TruncatedDenoisers",
                 "zero_shot_classification.Classification")
    for word in ("datasets", "figure", "panels", "summary")
}  # fmt: skip

# an address that nobody answers takes seconds by design
_RUN = {"folder": None, "workers": 1, "cluster": None}
_ALL = {"model": None, "data": None, **_RUN}


@dataclasses.dataclass(frozen=True)
class _Flags:
    """Options of a command."""

    v: int = 2


def _parsed(kind: type[Any], also: type[Any], arguments: Any) -> Any:
    """A page whose flags are wrong ends with status 2, as it should."""
    try:
        return page.parse_flags(kind, also, arguments)
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InvalidParameter("said on standard error") from None


def _run(kind: type[Any], arguments: Any) -> Any:
    """A command that says what is wrong and ends with status 2 does what it should."""
    try:
        return command(kind, arguments)
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InvalidParameter("said on standard error") from None


def _arrays(n: int) -> dict[str, Any]:
    """A task."""
    return {"n": np.arange(n)}


def _composition() -> Composition:
    return Composition(
        denoiser_v=4, denoiser_m=2, denoiser_L=1, grammars=2, data=2, num_levels=2, v=4,
        multiplicities=(2, 3), heights=(1,), positions=(4, 8), orders=2, sample_range=(0.0, 3.0),
        repeats=1,
    )  # fmt: skip


def _experiments() -> list[Case]:
    home = "hierdiff.sims"
    classes = Classification(
        v=4, m=2, L=1, grammars=2, data=8, budgets=(4,), independent_budgets=(2,), strata=8,
        weightings=("vdm", "exp"), stages=(4,), keep=(1,), level_data=1, level_samples=2,
        times=(0.5,), min_scores=2, repeats=1,
    )  # fmt: skip
    cues = CueConflict(
        v=4, m=2, L=1, grammars=2, data=4, samples=2, gaussian_data=100, gaussian_samples=1,
        texture_dims=4, sigma2=(1.0,), bands=((0.0, 0.5),), blurs=(1.0,), amplitudes=(1.0,),
    )  # fmt: skip
    made: list[tuple[str, Any, str]] = [
        ("alignment", Alignment(L=1, weights=(1, 1), objects=20, triplets=50, grammars=2), "law"),
        ("attribute_binding", AttributeBinding(v=4, m=2, L=1, grammars=2, data=4, budgets=(2,)),
         "law"),
        ("zero_shot_classification", classes, "law run"),
        ("composition", _composition(), "law"),
        ("correlations", Correlations(v=4, m=2, L=1, grammars=2, data=2, trajectories=2, levels=2),
         "law t"),
        ("cue_conflict", cues, "law sigma2"),
        ("kernel_learning", KernelLearning(positions=(4, 8), orders=2), "law"),
        ("synonym_learning", _composition().cost, "law"),
        ("truncated_denoisers", _composition().denoisers, "law"),
        ("phase_transition", PhaseTransition(v=8, m=2, L=1, noise="epsilon", grammars=2, data=2,
                                             levels=2, refine=0), "law"),
        ("representation",
         Representation(classes=2, rank=1, dim=2, n_train=(8,), sigmas=(0.5,), seeds=2, test=8,
                        models=("exact",), quantities=("snr",)), "law sigma"),
    ]  # fmt: skip
    laws = {"alignment": "latents", "attribute_binding": "bayes",
            "zero_shot_classification": "limit",
            "composition": "correlations", "correlations": "chain", "cue_conflict": "closed form",
            "phase_transition": "annealed", "representation": "exact",
            "kernel_learning": "exact", "synonym_learning": "correlations",
            "truncated_denoisers": "independent cut"}  # fmt: skip
    found = []
    for module, study, words in made:
        name = f"{home}.{module}.{type(study).__name__}"
        predicted: dict[str, Any] = {"law": laws[module]}
        if "run" in words:
            predicted |= _RUN
        predicted |= {word: np.array([0.2, 0.5]) for word in words.split()
                      if word in ("t", "sigma", "sigma2")}  # fmt: skip
        found.append(Case(f"{name}.predict", study.predict, predicted, keep=("cluster",)))
        found.append(Case(f"{name}.measure", study.measure, _ALL, keep=("cluster",)))
    return found


def _estimators() -> list[Case]:
    home = "hierdiff.sims.metrics.estimators"
    random = np.random.default_rng(0)
    t = np.linspace(0, 1, 5)
    curves = 0.9 * np.array([[1.0, 0.9, 0.6, 0.2, 0.0]]) + 0.05 * random.random((6, 5))
    nested = curves[:, None] + 0.02 * random.random((6, 4, 5))
    values = random.random((4, 3))
    return [
        Case(f"{home}.jackknife", estimators.jackknife,
             {"statistic": lambda rows: np.arange(5.0)[rows % 5].mean(), "units": 5},
             keep=("statistic",)),
        Case(f"{home}.bootstrap", estimators.bootstrap,
             {"statistic": lambda rows: values[rows % 4].mean(axis=-2), "units": 4, "resamples": 20,
              "seed": 0, "groups": None},
             keep=("statistic",)),  # the caller's own; so are its errors
        Case(f"{home}.clustered_interval", estimators.clustered_interval,
             {"outcomes": np.array([[0, 1, 1], [1, 1, 0], [0, 0, 1]]), "level": 0.6827}),
        Case(f"{home}.crossing", estimators.crossing,
             {"t": t, "values": nested, "height": 0.5, "resamples": 20, "seed": 0},
             nan=("height",)),
        Case(f"{home}.depth_limit", estimators.depth_limit,
             {"depth": np.arange(3, 9), "values": 0.3 + 1.4 ** -np.arange(3.0, 9.0),
              "errors": np.full(6, 0.01), "rates": (1.1, 2.0)}),
        Case(f"{home}.disorder", estimators.disorder,
             {"t": t, "values": nested, "height": 0.5, "splits": 8, "seed": 0}, nan=("height",)),
        Case(f"{home}.falls_through", estimators.falls_through,
             {"t": t, "curve": curves[0], "height": 0.5}, nan=("height", "curve")),
        Case(f"{home}.likelihood_interval", estimators.likelihood_interval,
             {"successes": [3, 5], "trials": [10, 10], "level": 0.6827, "spread": 1.0}),
        Case(f"{home}.nested_mean", estimators.nested_mean, {"values": nested}),
        Case(f"{home}.shared_error", estimators.shared_error,
             {"scores": random.random(6), "members": random.integers(0, 5, (6, 3))}),
        Case(f"{home}.welch_score", estimators.welch_score,
             {"one": (2.9, 0.012, 3), "other": (0.39, 0.012, 3)}),
    ]  # fmt: skip


def _tasks() -> list[Case]:
    grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    rhm, some = RHM(v=4, m=2, s=2, L=2), [experiment.Task(_arrays, (2,), {"n": 2})]
    home, runs = "hierdiff.tasks", "hierdiff.sims.metrics.forward_backward"
    exact, trees = ExactRHM(grammar, MaskingNoise(4)), grammar.sample(3, seed=0)
    start = forward_backward.start_data(exact, trees, 3, seed=0)
    return [
        Case(f"{home}.Task", experiment.Task,
             {"function": _arrays, "arguments": (2,), "parameters": {"n": 2}}),
        Case(f"{home}.run_tasks", experiment.run_tasks,
             {"tasks": some, "folder": "tasks", "workers": 1, "name": "tasks", "cluster": None},
             keep=("cluster",)),
        Case(f"{home}.unfinished", experiment.unfinished, {"tasks": some, "folder": "tasks"}),
        Case(f"{runs}.tree_run", forward_backward.tree_run,
             {"model": exact, "data": trees, "seed": 0, "g": 0, "rows": range(2),
              "times": np.array([0.2, 0.6])}),
        Case(f"{runs}.forward_backward", forward_backward.forward_backward,
             {"model": exact, "x0": trees.leaves, "t": 0.4, "seed": 0, "model_t": None,
              "randoms": np.full((3, 4, 1), 0.3)}),
        Case(f"{runs}.exact_run", forward_backward.exact_run,
             {"model": exact, "truth": trees, "t": 0.4, "randoms": np.full((3, 4, 1), 0.3),
              "backward": 0, "parts": ("samples", "classes")}),
        Case(f"{runs}.start_data", forward_backward.start_data,
             {"model": exact, "data": trees, "n": 3, "seed": 0}),
        Case(f"{runs}.overlap", forward_backward.overlap,
             {"data": start, "samples": trees.leaves}),
        Case(f"{runs}.partial_levels", forward_backward.partial_levels,
             {"grammar": grammar, "leaves": trees.leaves}),
        Case(f"{runs}.exact_retention", forward_backward.exact_retention,
             {"origin": grammar, "noise": MaskingNoise(4), "t": np.array([0.2, 0.6]), "n": 5,
              "seed": 0}),
        Case("hierdiff.sims.phase_transition.sampling_tasks", phase_transition.sampling_tasks,
             {"model": exact, "start": start, "times": np.array([0.2, 0.6]), "seed": 0}),
        Case("hierdiff.sims.phase_transition.density_evolution", phase_transition.density_evolution,
             {"rhm": rhm, "noise": UniformNoise(4), "times": np.array([0.3, 0.5]), "size": 100,
              "copies": 2, "seed": 0}),
    ]  # fmt: skip


def _features() -> list[Case]:
    random = np.random.default_rng(0)
    labels, z = random.random((16, 2)), random.random((16, 3))
    both = {"Z": z, "Y": labels}
    images = np.exp(-((np.mgrid[:12, :12] - 5.5) ** 2).sum(axis=0) / 4)[None].repeat(16, axis=0)
    home, bump = "hierdiff.sims.metrics.representation_geometry", "hierdiff.sims.bump_phases"
    task = clustering.synonyms(RHM(v=8, m=2, s=2, L=2).draw(seed=0), 1)
    regression = {"kernel": "product", "positions": 4, "width": 0.75}
    readout = phases.PhaseReadout(0.9, 0.95, 2.0, 2.0, 0.9, 0.95, 0.1)
    scores = random.random((3, 6, 4))
    rows = triplets.draw_triplets(18, 400, seed=0)
    file = Path(__file__).parent / "triplets.txt"
    one = {"one": z, "other": 2 * z + labels[:, :1]}
    of = "hierdiff.sims.metrics.odd_one_out"
    return [
        Case(f"{home}.anova_shares", geometry.anova_shares, {"Z": random.random((3, 3, 2))}),
        Case(f"{home}.held_out_r2", geometry.held_out_r2, {**both, "ridge": 1e-3, "seed": 0}),
        Case(f"{home}.participation_ratio", geometry.participation_ratio, {"Z": z}),
        Case(f"{home}.rsa", geometry.rsa, both),
        Case(f"{home}.isometric", geometry.isometric, {"Z": z}),
        Case(f"{home}.geodesic_rsa", geometry.geodesic_rsa, {**both, "k": 3}),
        Case(f"{home}.neighbour_ratio", geometry.neighbour_ratio, {**both, "k": 3}),
        Case(f"{home}.two_nn", geometry.two_nn, {"Z": z, "discard": 0.1}),
        Case("hierdiff.sims.kernel_learning.composed_accuracy", kernels.composed_accuracy,
             {**regression, "cells": np.arange(8)}),
        Case("hierdiff.sims.kernel_learning.samples_needed", kernels.samples_needed,
             {**regression, "target": 0.6, "orders": 2, "seed": 0}),
        Case("hierdiff.sims.models.context_clustering.synonyms", clustering.synonyms,
             {"grammar": RHM(v=8, m=2, s=2, L=2).draw(seed=0), "height": 1, "context": "token"}),
        Case("hierdiff.sims.models.context_clustering.scores", clustering.scores,
             {"counts": np.ones(task.joint.shape), "task": task}),
        Case("hierdiff.sims.models.context_clustering.learning_curve", clustering.learning_curve,
             {"task": task, "samples": np.array([10, 100]), "seed": 0}),
        Case(f"{bump}.bump_counts", phases.bump_counts,
             {"images": images, "dark": False, "threshold": 0.5, "least": 3}),
        Case(f"{bump}.locate", phases.locate,
             {"images": images, "dark": False, "threshold": 0.25}, nan=("images", "threshold")),
        Case(f"{bump}.location_accuracy", phases.location_accuracy,
             {"images": images, "labels": np.full((16, 2), 6.0), "dark": False,
              "tolerance": 1.0}),
        Case("hierdiff.sims.bump_phases.crossing_time", phases.crossing_time,
             {"times": [0.0, 10.0, 20.0], "accuracy": [0.0, 0.5, 0.7], "height": 0.6},
             nan=("accuracy", "height")),
        Case("hierdiff.sims.bump_phases.phase", phases.phase,
             {"readout": readout, "thresholds": phases.Thresholds()}),
        Case("hierdiff.sims.bump_phases.read_phase", phases.read_phase,
             {"images": images, "labels": np.full((16, 2), 6.0), "Z": z, "Z_labels": labels,
              "dark": False, "seed": 0}),
        Case("hierdiff.sims.metrics.calibration.calibration_error", calibration.calibration_error,
             {"probability": [0.2, 0.9, 0.4], "correct": [False, True, True], "bins": 2}),
        Case("hierdiff.sims.metrics.calibration.discrimination", calibration.discrimination,
             {"confidence": [0.2, 0.9, 0.4], "correct": [False, True, True]},
             nan=("correct",)),  # of right answers alone there is no such number
        Case("hierdiff.sims.metrics.calibration.platt", calibration.platt,
             {"value": [0.2, 0.9, 0.4, 0.5], "correct": [False, True, True, False]}),
        Case("hierdiff.sims.metrics.calibration.temperature", calibration.temperature,
             {"scores": [[0.1, 0.4], [0.6, 0.2], [0.3, 0.2]], "labels": [0, 1, 0]}),
        Case("hierdiff.sims.metrics.calibration.grouped_calibration_error",
             calibration.grouped_calibration_error,
             {"groups": [([0.2, 0.9] * 5, [False, True] * 5)] * 2,
              "rng": np.random.default_rng(0), "resamples": 20}),
        Case("hierdiff.sims.metrics.denoising_error.paired_t_pruning",
             denoising_error.paired_t_pruning,
             {"scores": scores, "p": 0.05, "min_scores": 2, "max_scores": 5}),
        Case("hierdiff.sims.metrics.denoising_error.staged_elimination",
             denoising_error.staged_elimination,
             {"scores": scores, "keep": (2, 1), "samples": (2, 6)}),
        Case(f"{home}.cosine_similarity", geometry.cosine_similarity, {"features": z}),
        Case(f"{home}.linear_cka", geometry.linear_cka, {**one, "unbiased": True}),
        Case(f"{home}.representational_similarity", geometry.representational_similarity, one),
        Case(f"{of}.draw_triplets", triplets.draw_triplets,
             {"n_objects": 5, "count": 4, "seed": 0}),
        Case(f"{of}.object_folds", triplets.object_folds,
             {"triplets": rows, "n_objects": 18, "folds": 2, "seed": 0}),
        Case(f"{of}.paired_difference", triplets.paired_difference,
             {"one": random.random(400), "other": random.random(400), "triplets": rows}),
        Case(f"{of}.probe", triplets.probe,
             {"features": random.random((18, 3)), "triplets": rows, "penalty": 1e-3, "folds": 2,
              "seed": 0, "width": 2}),
        Case(f"{of}.read_triplets", triplets.read_triplets, {"path": file, "n_objects": 5}),
        Case(f"{of}.write_triplets", triplets.write_triplets,
             {"path": "t.txt", "triplets": rows}),
    ]  # fmt: skip


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    return [
        *_experiments(), *_estimators(), *_tasks(), *_features(),
        Case("hierdiff.sims.run.command", _run,
             {"kind": Alignment, "arguments": ["--L", "1", "--weights", "1", "0.5",
              "--objects", "6", "--triplets", "5", "--grammars", "2", "--t", "0.5",
              "--overwrite"]}),
        Case("hierdiff.command_line.last_words", page.last_words, {"error": ValueError("x")}),
        Case("hierdiff.command_line.parse_flags", _parsed,
             {"kind": _Flags, "also": RunOptions, "arguments": ["--v", "3"]}),
    ]  # fmt: skip
