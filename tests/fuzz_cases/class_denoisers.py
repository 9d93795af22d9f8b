"""Cases of classification, alignment, composition, pointwise, bumps and fluctuations."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import RHM, GaussianNoise, MaskingNoise
from hierdiff.data.bumps import Bumps, Region
from hierdiff.sims.metrics import fluctuations
from hierdiff.theory import ExactRHM, odd_one_out_task, rhm, zero_shot
from hierdiff.theory.exact_models import ExactGaussianRHM
from hierdiff.theory.rhm import information

EXEMPT = {"hierdiff.sims.metrics.fluctuations.Ratio": "a plain tuple that a function returns"}


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    soft = zero_shot.GaussianRHM(grammar)
    shapes = {"x0": np.zeros((3, 4, 4)), "noise": np.ones((3, 4, 4)), "snr": 1.5}
    channel = {**shapes, "classes": (0, 1), "dtype": np.float64}
    both = {**channel, "x0": np.zeros((3, 2, 4, 4)), "noise": np.ones((3, 2, 4, 4))}
    flat = {**channel, "x0": np.zeros((3, 2)), "noise": np.ones((3, 2))}
    scene = {
        "x0": np.zeros((3, 16, 4)), "values": np.array([[[0, 1, 2], [2, 1, 3]]] * 3),
        "noise": np.ones((3, 16, 4)), "snr": 1.5,
        "prompts": (zero_shot.PROMPTS["pair"], zero_shot.PROMPTS["first"]),
        "dtype": np.float64,
    }  # fmt: skip
    density = {k: scene[k] for k in ("x0", "values", "prompts")}
    gaussian = {"means": [[0.0, 1.0], [1.0, 0.0]], "covariances": np.eye(2), "prior": [0.5, 0.5]}
    errors, times = np.random.default_rng(0).random((4, 6, 2)), np.full((4, 6), 0.3)
    times[:, 3:] = 0.8
    masked = np.full((3, 4), -1)
    truth = grammar.sample(3, seed=1)
    laws = [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]
    triplets = np.array([[0, 1, 2], [1, 2, 0]])
    home = "hierdiff.theory"
    soft_name, two = (
        f"{home}.zero_shot.rhm_classes.GaussianRHM",
        f"{home}.zero_shot.scenes.ShapeTexture",
    )
    classes, node = (
        f"{home}.zero_shot.gaussian_classes.GaussianClasses",
        f"{home}.zero_shot.rhm_classes.NodeClasses",
    )
    bound, buckets = (
        f"{home}.zero_shot.scenes.TwoObjectScenes",
        f"{home}.zero_shot.weightings.Buckets",
    )
    world = zero_shot.ShapeTexture(soft, np.full((4, 4), 0.25))
    inner = zero_shot.NodeClasses(soft, 1)
    pair = zero_shot.TwoObjectScenes(grammar, grammar)
    dense = zero_shot.GaussianClasses(**gaussian)
    made = zero_shot.Buckets((1.0, 3.0))
    weight = zero_shot.snr_slope
    exact, hard = ExactGaussianRHM(soft), ExactRHM(grammar, MaskingNoise(4))
    exact_name, noisy = f"{home}.exact_models.ExactGaussianRHM", {"x_t": shapes["x0"], "t": 0.5}
    return [
        Case(exact_name, ExactGaussianRHM,
             {"data": soft, "noise": GaussianNoise(), "class_label": 1}),
        Case(f"{exact_name}.given", exact.given, {"label": 1}),
        Case(f"{exact_name}.denoise", exact.denoise, noisy),
        Case(f"{exact_name}.features", exact.features, noisy),
        Case(f"{exact_name}.sample", exact.sample, {**noisy, "seed": 0}),
        Case(f"{exact_name}.errors", exact.errors, channel),
        Case(f"{exact_name}.log_density", exact.log_density, {"x0": shapes["x0"]}),
        Case(f"{home}.exact_models.ExactRHM.given", hard.given, {"label": 1}),
        Case(f"{soft_name}.errors", soft.errors, channel),
        Case(f"{soft_name}.log_density", soft.log_density, {"x0": shapes["x0"]}),
        Case(f"{soft_name}.noisy_log_odds", soft.noisy_log_odds, shapes),
        Case(f"{soft_name}.denoise", soft.denoise,
             {"x_t": shapes["x0"], "snr": 1.5, "label": [0, 1, 2]}),
        Case(f"{soft_name}.emit", soft.emit, {"data": truth, "seed": 0}),
        Case(two, zero_shot.ShapeTexture,
             {"shape_model": soft, "histograms": np.full((4, 4), 0.25), "amplitude": 2.0}),
        Case(f"{two}.errors", world.errors, both),
        Case(f"{two}.log_density", world.log_density, {"x0": both["x0"]}),
        Case(f"{two}.log_densities", world.log_densities, {"x0": both["x0"], "blur": 1.0}),
        Case(f"{two}.conflict", world.conflict, {"shapes": [0, 1], "textures": [1, 0], "seed": 0}),
        Case(classes, zero_shot.GaussianClasses, gaussian),
        Case(f"{classes}.errors", dense.errors, flat),
        Case(f"{classes}.log_density", dense.log_density, {"x0": flat["x0"]}),
        Case(f"{classes}.denoise", dense.denoise,
             {"x_t": flat["x0"], "snr": [1.0, 2.0, 0.0], "label": 1}),
        Case(f"{classes}.expected_error", dense.expected_error, {"x0": flat["x0"], "snr": 1.5}),
        Case(f"{classes}.error_covariance", dense.error_covariance, {"x0": flat["x0"], "snr": 1.5}),
        Case(node, zero_shot.NodeClasses, {"data_model": soft, "level": 1, "node": 1}),
        Case(f"{node}.errors", inner.errors, {**channel, "classes": (0,)}),
        Case(f"{node}.log_density", inner.log_density, {"x0": shapes["x0"]}),
        Case(f"{node}.labels_of", inner.labels_of, {"symbols": inner.symbols[:1]}),
        Case(bound, zero_shot.TwoObjectScenes,
             {"shapes": grammar, "colours": grammar, "tau": 0.4, "area": 2}),
        Case(f"{bound}.emit", pair.emit, {"roots": [[0, 1, 2, 3]], "seed": 0}),
        Case(f"{bound}.prompt_errors", pair.prompt_errors, scene),
        Case(f"{bound}.log_density", pair.log_density, density),
        Case(f"{bound}.bag_scores", pair.bag_scores, {"x0": scene["x0"]}),
        Case(buckets, zero_shot.Buckets, {"values": (1.0, 3.0)}),
        Case(f"{buckets}.__call__", made, {"t": np.array([0.2, 0.8])}),
        Case(f"{home}.zero_shot.weightings.band", zero_shot.band,
             {"low": 0.4, "high": 0.8, "inside": weight}),
        Case(f"{home}.zero_shot.weightings.weighting", zero_shot.weighting,
             {"name": "exp", "rate": 7.0}),
        Case(f"{home}.zero_shot.weightings.snr_at", zero_shot.snr_at, {"t": [0.2, 0.8]}),
        Case(f"{home}.zero_shot.weightings.fit_buckets", zero_shot.fit_buckets,
             {"errors": errors, "t": times, "labels": [0, 1, 0, 1], "buckets": 2,
              "penalty": 1e-3}),
        Case(f"{home}.zero_shot.gaussian_classes.effective_weights", zero_shot.effective_weights,
             {"eigenvalues": [0.02, 1.0], "weight": weight}),
        Case(f"{home}.zero_shot.gaussian_classes.band_weights", zero_shot.band_weights,
             {"eigenvalues": [0.02, 1.0], "low": 0.0, "high": 2.0}),
        Case(f"{home}.zero_shot.gaussian_classes.crossover", zero_shot.crossover,
             {"eigenvalues": [1.0, 0.02], "gaps": [2**0.5, 0.6**0.5], "signs": [1, -1]}),
        Case(f"{home}.zero_shot.scores.LogRatio", zero_shot.LogRatio,
             {"estimate": np.zeros((2, 2)), "error": np.ones((2, 2))}),
        Case(f"{home}.zero_shot.scores.normal_accuracy", zero_shot.normal_accuracy,
             {"mean": [[0.0, 1.0, 2.0]], "covariance": [np.eye(3)], "labels": [0], "budget": 3,
              "draws": 50, "seed": 0}),
        Case(f"{home}.zero_shot.scores.stable_accuracy", zero_shot.stable_accuracy,
             {"log_density": [[0.0, -9.0]], "labels": [0], "dimension": 2, "draws": 50,
              "seed": 0}),
        Case(f"{home}.zero_shot.scores.gaussian_moments", zero_shot.gaussian_moments,
             {"data_model": dense, "x0": flat["x0"], "weight": weight, "nodes": 20}),
        Case(f"{home}.zero_shot.scores.class_scores", zero_shot.class_scores,
             {"errors": errors, "t": times, "weight": weight}),
        Case(f"{home}.zero_shot.scores.log_ratio", zero_shot.log_ratio,
             {"data_model": dense, "x0": flat["x0"], "seed": 0, "levels": 4, "replicas": 3,
              "weight": weight, "dtype": np.float64}),
        Case(f"{home}.zero_shot.scores.bayes_accuracy", zero_shot.bayes_accuracy,
             {"log_density": [[0.0, -1.0], [-2.0, -np.inf]], "prior": [0.4, 0.6]}),
        Case(f"{home}.odd_one_out_task.tree_similarity", odd_one_out_task.tree_similarity,
             {"data": truth, "weights": [1.0, 0.5, 0.25]}),
        Case(f"{home}.odd_one_out_task.odd_one_out", odd_one_out_task.odd_one_out,
             {"similarity": np.eye(3), "triplets": triplets, "temperature": 0.5}),
        Case(f"{home}.odd_one_out_task.noise_ceiling",
             odd_one_out_task.noise_ceiling, {"probabilities": laws}),
        Case(f"{home}.odd_one_out_task.expected_accuracy", odd_one_out_task.expected_accuracy,
             {"similarity": np.eye(3), "triplets": triplets, "responses": laws, "ties": "shared"}),
        Case(f"{home}.odd_one_out_task.surviving_levels", odd_one_out_task.surviving_levels,
             {"variances": [4.0, 1.0], "sigma": [0.5, 1.0]}),
        Case(f"{home}.odd_one_out_task.tree_mixture", odd_one_out_task.tree_mixture,
             {"groups": (2, 2), "variances": (4.0, 1.0), "width": 3, "within": 0.1, "seed": 0}),
        Case(f"{home}.rhm.sample_complexity.kernel_accuracy", rhm.kernel_accuracy,
             {"kernel": "additive", "positions": 8, "samples": [0, 11, 64]}),
        Case(f"{home}.rhm.sample_complexity.resolved_samples", rhm.resolved_samples,
             {"joint": np.eye(4) / 4, "m": 2}),
        Case(f"{home}.rhm.sample_complexity.local_exponent", rhm.local_exponent,
             {"multiplicities": np.array([2, 3, 6]), "samples": np.array([8.0, 27.0, 216.0])}),
        Case(f"{home}.rhm.truncated_grammars.node_validity", rhm.node_validity,
             {"grammar": grammar, "level": 1, "marginals": np.full((2, 4), 0.25)}),
        Case(f"{home}.rhm.truncated_grammars.validity", rhm.validity,
             {"grammar": grammar, "level": 1, "marginals": np.full((2, 4), 0.25)}),
        Case(f"{home}.rhm.token_correlations.channel", rhm.channel,
             {"grammar": grammar, "level": 0, "child": 1}),
        Case(f"{home}.rhm.token_correlations.pair_joint", rhm.pair_joint,
             {"grammar": grammar, "first": (1, 0), "second": (2, 3)}),
        Case(f"{home}.rhm.token_correlations.covariance", rhm.covariance,
             {"joint": np.eye(4) / 4}),
        Case(f"{home}.rhm.information.pointwise_information", information.pointwise_information,
             {"grammar": grammar, "noise": MaskingNoise(4), "x_t": masked, "t": 0.5,
              "truth": truth, "levels": (0, 2)}),
        Case(f"{home}.rhm.information.pointwise_entropy", information.pointwise_entropy,
             {"grammar": grammar, "truth": truth, "level": 1}),
        Case(f"{home}.rhm.information.pointwise_slope", information.pointwise_slope,
             {"grammar": grammar, "noise": MaskingNoise(4), "x_t": masked, "t": 0.5}),
        Case("hierdiff.sims.metrics.fluctuations.block_variances", fluctuations.block_variances,
             {"sigma": [[1, 1, -1, 1], [1, -1, -1, -1]], "s": 2}),
        Case("hierdiff.sims.metrics.fluctuations.distance_means", fluctuations.distance_means,
             {"variances": [4.0, 4.0, 8.0], "s": 2, "axis": -1}),
        # NaN where the mean below is 0 is the answer, so the proper call shows one
        Case("hierdiff.sims.metrics.fluctuations.ratio", fluctuations.ratio,
             {"top": np.ones((3, 2)), "bottom": np.array([[1.0, 0.0]] * 3)}),
        Case("hierdiff.sims.metrics.fluctuations.peak", fluctuations.peak,
             {"t": np.linspace(0, 1, 5), "top": [[0.0, 1.0, 2.0, 1.0, 0.0]] * 3,
              "bottom": np.ones((3, 5)), "resamples": 20, "seed": 0, "points": 3}),
        Case("hierdiff.sims.metrics.fluctuations.fluctuations", fluctuations.fluctuations,
             {"model": ExactRHM(grammar, MaskingNoise(4)), "x0": truth.leaves[0],
              "times": [0.2, 0.5], "s": 2, "trajectories": 3, "seed": 0, "key": (1, 2)}),
        Case("hierdiff.data.bumps.Region.holds", Region().holds, {"labels": [[1.0, 2.0]]}),
        Case("hierdiff.data.bumps.Bumps.images", Bumps().images,
             {"labels": [[1.0, 2.0]], "dtype": np.float32}),
        Case("hierdiff.data.bumps.Bumps.sample", Bumps(d_x=16, d_y=16).sample,
             {"n": 2, "seed": 0, "weights": [1.0, 2.0, 0.0, 1.0]}),
    ]  # fmt: skip
