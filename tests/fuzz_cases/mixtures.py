"""Cases of mixtures, their theory, data sets, and what is read off features."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Case

from hierdiff import RHM, GaussianNoise, LowRankMixture, MaskingNoise, results
from hierdiff.data import subspaces
from hierdiff.sims.metrics import forward_backward, probes
from hierdiff.sims.models import finite_steps, fitted
from hierdiff.sims.models.empirical import EmpiricalModel
from hierdiff.sims.representation import Representation, balanced_sample, crossover
from hierdiff.theory import ExactRHM
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.theory.mixture import (
    collapse,
    feature_snr,
    geometric_memorisation,
    memorisation,
    random_features,
    score_machines,
    speciation,
    time_change,
)

EXEMPT = {
    "hierdiff.data.subspaces.Spectrum": "what a mixture computes of itself, of checked arrays",
    "hierdiff.theory.mixture.snr_integrals.Moments": "a result",
    "hierdiff.theory.mixture.feature_snr.Decomposition": "a result",
    "hierdiff.theory.mixture.feature_snr.Peak": "a result",
    "hierdiff.theory.mixture.memorisation.EmpiricalPosterior": "a result",
    "hierdiff.theory.mixture.memorisation.Neighbours": "a result",
    "hierdiff.theory.mixture.softmax_averages.PreparedData": "a result, of prepare, which checks",
    "hierdiff.theory.mixture.random_features.FeatureBulks": "a result",
    "hierdiff.theory.mixture.geometric_memorisation.Gap": "a result",
    "hierdiff.theory.mixture.speciation.first_from_above": "takes a function that the theory made",
    "hierdiff.theory.mixture.collapse.variances_of": "a check",
    "hierdiff.theory.mixture.speciation.positive_radius": "a check",
    "hierdiff.sims.metrics.probes.Probe": "a result, whose methods are fuzzed",
    "hierdiff.sims.models.finite_steps.ConvergenceOrder": "a result",
}


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    home = "hierdiff.theory"
    bases = [np.eye(3)[:, :1], np.eye(3)[:, 1:2]]
    small = LowRankMixture(bases, delta=0.3, residual="ambient")
    x, k = small.sample(12, seed=0)
    exact = ExactMixture(small, GaussianNoise())
    data: dict[str, Any] = {"data": x, "x": x[:3], "sigma": 0.5}
    scaled = {**data, "scale": 1.5, "block": 5}
    images = np.random.default_rng(0).standard_normal((3, 4, 4))
    local = {"data": images, "x": images[:2], "sigma": 0.5, "radius": 1, "boundary": "zero",
             "scale": 1.5, "block": 2}  # fmt: skip
    gaussian = {"mean": np.zeros(2), "axes": np.eye(2), "eigenvalues": np.ones(2)}
    model = score_machines.GaussianModel(**gaussian)
    points = {"model": model, "x": np.ones((2, 2)), "sigma": 0.5, "scale": 1.5}
    constants = random_features.feature_constants(np.tanh, 0.1)
    labelled = {"features": x, "labels": k}
    probe = probes.linear_probe(x, k)
    features = {"features": x}
    masked = ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4))
    chain = finite_steps.SimulatedModel(masked, 2)
    sequence = finite_steps.SequentialModel(masked)
    tokens: dict[str, Any] = {"x_t": np.full((2, 4), -1), "t": 1.0}
    vectors: dict[str, Any] = {"x_t": x[:3], "t": 0.3}
    memory = EmpiricalModel(x, GaussianNoise())
    ratios = results.label(
        {"ratio_by_seed": (("seed", "model", "split", "n_train"),
                           np.array([[0.5, 2.0], [0.4, 2.5]]).reshape(2, 1, 1, 2), "R")},
        {"model": (("model",), ["exact"], ""), "split": (("split",), ["test"], ""),
         "n_train": (("n_train",), [100, 400], "")}, "simulation", {},
    )  # fmt: skip
    study = Representation(
        classes=2, rank=1, dim=2, n_train=(8,), sigmas=(0.5,), seeds=2, test=8,
        models=("exact",), quantities=("snr",),
    )  # fmt: skip
    path = Path(tempfile.mkdtemp()) / "mixture.npz"
    small.save(path)
    whole = "hierdiff.data.low_rank_mixture.LowRankMixture"
    machines, learned = f"{home}.mixture.score_machines", f"{home}.mixture.memorisation"
    exact_name, memory_name = f"{home}.exact_models.ExactMixture", (
        "hierdiff.sims.models.empirical.EmpiricalModel"
    )  # fmt: skip
    chains = "hierdiff.sims.models.finite_steps"
    return [
        Case(whole, LowRankMixture,
             {"bases": bases, "weights": [0.4, 0.6], "variances": [[1.0], [2.0]], "delta": 0.3,
              "residual": "ambient", "means": np.ones((2, 3))}),
        Case(f"{whole}.fit", LowRankMixture.fit,
             {"data": x, "classes": 2, "rank": 1, "seed": 0, "restarts": 1, "with_means": True,
              "iterations": 5, "tolerance": 1e-3}),
        Case(f"{whole}.random", LowRankMixture.random,
             {"dim": 6, "rank": [1, 2], "classes": 2, "delta": 0.1, "angle": 60.0, "seed": 0,
              "weights": [0.5, 0.5], "residual": "span"}),
        Case(f"{whole}.covariance", small.covariance, {"k": 1}),
        Case(f"{whole}.principal_angles", small.principal_angles, {"k": 0, "l": 1}),
        Case(f"{whole}.sample", small.sample, {"n": 3, "seed": 0}),
        Case(f"{whole}.save", small.save, {"path": "m.npz"}),
        Case(f"{whole}.load", LowRankMixture.load, {"path": path}),
        Case("hierdiff.data.subspaces.orthonormalise",
             subspaces.orthonormalise, {"bases": bases}),
        Case(f"{home}.mixture.feature_snr.snr_per_class", feature_snr.snr_per_class,
             {"ranks": [3, 2], "weights": [0.4, 0.6], "delta": 0.2, "sigma": 0.5}),
        Case(f"{home}.mixture.collapse.collapse_time", collapse.collapse_time,
             {"n_data": 100.0, "population": np.ones(4)}),
        Case(f"{learned}.empirical_denoise", memorisation.empirical_denoise, scaled),
        Case(f"{learned}.empirical_score", memorisation.empirical_score, scaled),
        Case(f"{learned}.empirical_posterior", memorisation.empirical_posterior,
             {**scaled, "own": [0, 1, 2]}),
        Case(f"{learned}.nearest_two", memorisation.nearest_two,
             {"data": x, "samples": x[:2], "block": 5}),
        Case(f"{learned}.memorization_fraction", memorisation.memorization_fraction,
             {"data": x, "samples": x[:2] + 0.1, "threshold": 0.3, "block": 5}),
        Case(f"{learned}.prepare", memorisation.prepare, {"data": x}),
        Case(f"{home}.mixture.geometric_memorisation.empirical_jacobian",
             geometric_memorisation.empirical_jacobian, {**data, "block": 5}),
        Case(f"{home}.mixture.geometric_memorisation.gap_opening",
             geometric_memorisation.gap_opening,
             {"upper": 4.0, "lower": 0.25}),
        Case(f"{home}.mixture.random_features.feature_constants", random_features.feature_constants,
             {"activation": np.tanh, "time": 0.1, "variance": 2.0}),
        Case(f"{home}.mixture.random_features.feature_bulks", random_features.feature_bulks,
             {"constants": constants, "psi_p": 40.0, "psi_n": 4.0}),
        Case(f"{home}.mixture.random_features.FeatureConstants", random_features.FeatureConstants,
             {"time": 0.1, "linear": 0.6, "over_data": 0.02, "over_noise": 0.01}),
        Case(f"{home}.mixture.geometric_memorisation.subspace_error",
             geometric_memorisation.subspace_error,
             {"basis": bases[0], "other": bases[1]}),
        Case(f"{home}.mixture.speciation.central_instability", speciation.central_instability,
             {"mixture": LowRankMixture([np.zeros((1, 0))] * 2, means=[[1.0], [-1.0]]),
              "reverse": "sde"}),
        Case(f"{home}.mixture.speciation.log_ratio_moments", speciation.log_ratio_moments,
             {"mixture": small, "k": 0, "l": 1, "sigma": 0.5}),
        Case(f"{home}.mixture.speciation.speciation_orthogonal", speciation.speciation_orthogonal,
             {"rank": 100, "delta": 0.2}),
        Case(f"{home}.mixture.speciation.speciation_time", speciation.speciation_time,
             {"mixture": LowRankMixture.random(20, 10, 2, delta=0.2, seed=0),
              "criterion": "free_entropy", "pair": (0, 1)}),
        Case(f"{home}.mixture.time_change.combined_sigma", time_change.combined_sigma,
             {"sigma": np.array([0.3, 0.6])}),
        Case(f"{home}.mixture.score_machines.GaussianModel",
             score_machines.GaussianModel, gaussian),
        Case(f"{home}.mixture.score_machines.fit_gaussian",
             score_machines.fit_gaussian, {"data": x}),
        Case(f"{home}.mixture.score_machines.linear_denoise",
             score_machines.linear_denoise, points),
        Case(f"{home}.mixture.score_machines.linear_score", score_machines.linear_score, points),
        Case(f"{home}.mixture.score_machines.linear_trajectory", score_machines.linear_trajectory,
             {"model": model, "x": np.ones((2, 2)), "start": 1.0, "stop": [0.5, 0.1]}),
        Case(f"{machines}.local_denoise", score_machines.local_denoise, local),
        Case(f"{machines}.equivariant_local_denoise",
             score_machines.equivariant_local_denoise, local),
        Case(f"{machines}.equivariant_denoise", score_machines.equivariant_denoise,
             {k: v for k, v in local.items() if k not in ("radius", "boundary")}),
        Case(f"{machines}.score_of", score_machines.score_of,
             {"denoised": x, "x": x, "sigma": 0.5, "scale": 1.5}),
        Case(f"{exact_name}.given", exact.given, {"label": 1}),
        Case(exact_name, ExactMixture,
             {"mixture": small, "noise": GaussianNoise(), "class_label": 1}),
        Case(f"{exact_name}.denoise", exact.denoise, vectors),
        Case(f"{exact_name}.class_marginals", exact.class_marginals, vectors),
        Case(f"{exact_name}.features", exact.features, vectors),
        Case(f"{exact_name}.sample", exact.sample, {**vectors, "seed": 0}),
        Case(memory_name, EmpiricalModel, {"data": x, "noise": GaussianNoise()}),
        Case(f"{memory_name}.weights", memory.weights, vectors),
        Case(f"{memory_name}.denoise", memory.denoise, vectors),
        Case(f"{memory_name}.features", memory.features, vectors),
        Case(f"{memory_name}.sample", memory.sample, {**vectors, "seed": 0}),
        Case("hierdiff.sims.representation.Representation.measure", study.measure,
             {"model": None, "data": None, "folder": None, "workers": 1, "cluster": None},
             keep=("cluster",)),  # an address that nobody answers takes seconds by design
        Case("hierdiff.sims.representation.balanced_sample", balanced_sample,
             {"mixture": small, "n": 5, "seed": 0}),
        Case("hierdiff.sims.models.fitted.fit_supervised", fitted.fit_supervised,
             {"data": x, "labels": k, "rank": 1}),
        Case("hierdiff.sims.models.fitted.fit_ppca_mixture", fitted.fit_ppca_mixture,
             {"data": x, "classes": 2, "rank": 1, "seed": 0, "restarts": 1, "iterations": 5,
              "tolerance": 1e-3}),
        Case("hierdiff.sims.representation.crossover", crossover,
             {"measured": ratios, "model": "exact", "split": "test"}),
        Case("hierdiff.sims.metrics.probes.feature_snr", probes.feature_snr,
             {**labelled, "bases": bases}),
        Case("hierdiff.sims.metrics.probes.projection_accuracy", probes.projection_accuracy,
             {**labelled, "bases": bases}),
        Case("hierdiff.sims.metrics.probes.linear_probe", probes.linear_probe,
             {**labelled, "ridge": 1.0, "tolerance": 1e-4, "iterations": 500}),
        Case("hierdiff.sims.metrics.probes.quadratic_probe", probes.quadratic_probe,
             {**labelled, "ridge": 1.0, "tolerance": 1e-4, "iterations": 500}),
        Case("hierdiff.sims.metrics.probes.ridge_weights", probes.ridge_weights,
             {"x": [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], "y": [[1.0], [2.0], [0.5]],
              "penalty": 0.5}),
        Case("hierdiff.sims.metrics.probes.ridge_probe", probes.ridge_probe,
             {**labelled, "ridge": 1.0}),
        Case("hierdiff.sims.metrics.probes.Probe.logits", probe.logits, features),
        Case("hierdiff.sims.metrics.probes.Probe.predict", probe.predict, features),
        Case("hierdiff.sims.metrics.probes.Probe.accuracy", probe.accuracy, labelled),
        Case("hierdiff.sims.metrics.forward_backward.class_run", forward_backward.class_run,
             {"model": exact, "data": (x, k), "seed": 0, "g": 0, "rows": range(3),
              "times": np.array([0.2, 0.6])}),
        Case("hierdiff.sims.metrics.forward_backward.labelled_data", forward_backward.labelled_data,
             {"mixture": small, "data": (x, k)}),
        Case(f"{chains}.SimulatedModel", finite_steps.SimulatedModel,
             {"model": masked, "num_steps": 2}),
        Case(f"{chains}.SimulatedModel.given", chain.given, {"label": 1}),
        Case(f"{chains}.SimulatedModel.denoise", chain.denoise, tokens),
        Case(f"{chains}.SimulatedModel.features", chain.features, tokens),
        Case(f"{chains}.SimulatedModel.sample", chain.sample, {**tokens, "seed": 0}),
        Case(f"{chains}.SimulatedModel.trajectory", chain.trajectory, {**tokens, "seed": 0}),
        Case(f"{chains}.SequentialModel", finite_steps.SequentialModel, {"model": masked}),
        Case(f"{chains}.SequentialModel.given", sequence.given, {"label": 1}),
        Case(f"{chains}.SequentialModel.denoise", sequence.denoise, tokens),
        Case(f"{chains}.SequentialModel.features", sequence.features, tokens),
        Case(f"{chains}.SequentialModel.sample", sequence.sample, {**tokens, "seed": 0}),
        Case(f"{chains}.SequentialModel.trajectory", sequence.trajectory, {**tokens, "seed": 0}),
        Case(f"{chains}.convergence_order", finite_steps.convergence_order,
             {"num_steps": [10, 20, 40], "gaps": [0.1, 0.05, 0.025],
              "errors": [0.01, 0.005, 0.0025]}),
    ]  # fmt: skip
