"""Cases of classification, alignment, composition, pointwise, bumps and fluctuations."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import RHM, MaskingNoise
from hierdiff.bumps import Bumps, Region
from hierdiff.sims import fluctuations
from hierdiff.theory import ExactRHM, alignment, classification, composition, pointwise

EXEMPT = {"hierdiff.sims.metrics.fluctuations.Ratio": "a plain tuple that a function returns"}


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    soft = classification.SoftLeaves(grammar)
    shapes = {"x0": np.zeros((3, 4, 4)), "noise": np.ones((3, 4, 4)), "snr": 1.5}
    channel = {**shapes, "classes": (0, 1), "dtype": np.float64}
    both = {**channel, "x0": np.zeros((3, 2, 4, 4)), "noise": np.ones((3, 2, 4, 4))}
    flat = {**channel, "x0": np.zeros((3, 2)), "noise": np.ones((3, 2))}
    scene = {
        "x0": np.zeros((3, 16, 4)), "values": np.array([[[0, 1, 2], [2, 1, 3]]] * 3),
        "noise": np.ones((3, 16, 4)), "snr": 1.5,
        "prompts": (classification.PROMPTS["pair"], classification.PROMPTS["first"]),
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
    soft_name, two = f"{home}._soft_leaves.SoftLeaves", f"{home}._two_channels.TwoChannels"
    classes, node = f"{home}._gaussian_classes.GaussianClasses", f"{home}._node_classes.NodeClasses"
    bound, buckets = f"{home}._bound_objects.BoundObjects", f"{home}._weightings.Buckets"
    world = classification.TwoChannels(soft, np.full((4, 4), 0.25))
    inner = classification.NodeClasses(soft, 1)
    pair = classification.BoundObjects(grammar, grammar)
    dense = classification.GaussianClasses(**gaussian)
    made = classification.Buckets((1.0, 3.0))
    weight = classification.snr_slope
    return [
        Case(f"{soft_name}.errors", soft.errors, channel),
        Case(f"{soft_name}.log_density", soft.log_density, {"x0": shapes["x0"]}),
        Case(f"{soft_name}.noisy_log_odds", soft.noisy_log_odds, shapes),
        Case(f"{soft_name}.denoise", soft.denoise,
             {"x_t": shapes["x0"], "snr": 1.5, "label": [0, 1, 2]}),
        Case(f"{soft_name}.soften", soft.soften, {"data": truth, "seed": 0}),
        Case(two, classification.TwoChannels,
             {"shape_world": soft, "histograms": np.full((4, 4), 0.25), "amplitude": 2.0}),
        Case(f"{two}.errors", world.errors, both),
        Case(f"{two}.log_density", world.log_density, {"x0": both["x0"]}),
        Case(f"{two}.log_densities", world.log_densities, {"x0": both["x0"], "blur": 1.0}),
        Case(f"{two}.conflict", world.conflict, {"shapes": [0, 1], "textures": [1, 0], "seed": 0}),
        Case(classes, classification.GaussianClasses, gaussian),
        Case(f"{classes}.errors", dense.errors, flat),
        Case(f"{classes}.log_density", dense.log_density, {"x0": flat["x0"]}),
        Case(f"{classes}.denoise", dense.denoise,
             {"x_t": flat["x0"], "snr": [1.0, 2.0, 0.0], "label": 1}),
        Case(f"{classes}.expected_error", dense.expected_error, {"x0": flat["x0"], "snr": 1.5}),
        Case(f"{classes}.error_covariance", dense.error_covariance, {"x0": flat["x0"], "snr": 1.5}),
        Case(node, classification.NodeClasses, {"world": soft, "level": 1, "node": 1}),
        Case(f"{node}.errors", inner.errors, {**channel, "classes": (0,)}),
        Case(f"{node}.log_density", inner.log_density, {"x0": shapes["x0"]}),
        Case(f"{node}.labels_of", inner.labels_of, {"symbols": inner.symbols[:1]}),
        Case(bound, classification.BoundObjects,
             {"shapes": grammar, "colours": grammar, "tau": 0.4, "area": 2}),
        Case(f"{bound}.prompt_errors", pair.prompt_errors, scene),
        Case(f"{bound}.log_density", pair.log_density, density),
        Case(f"{bound}.bag_scores", pair.bag_scores, {"x0": scene["x0"]}),
        Case(buckets, classification.Buckets, {"values": (1.0, 3.0)}),
        Case(f"{buckets}.__call__", made, {"t": np.array([0.2, 0.8])}),
        Case(f"{home}._weightings.band", classification.band,
             {"low": 0.4, "high": 0.8, "inside": weight}),
        Case(f"{home}._weightings.weighting", classification.weighting,
             {"name": "exp", "rate": 7.0}),
        Case(f"{home}._weightings.snr_at", classification.snr_at, {"t": [0.2, 0.8]}),
        Case(f"{home}._weightings.fit_buckets", classification.fit_buckets,
             {"errors": errors, "t": times, "labels": [0, 1, 0, 1], "buckets": 2,
              "penalty": 1e-3}),
        Case(f"{home}._linear_scores.effective_weights", classification.effective_weights,
             {"eigenvalues": [0.02, 1.0], "weight": weight}),
        Case(f"{home}._linear_scores.band_weights", classification.band_weights,
             {"eigenvalues": [0.02, 1.0], "low": 0.0, "high": 2.0}),
        Case(f"{home}._linear_scores.crossover", classification.crossover,
             {"eigenvalues": [1.0, 0.02], "gaps": [2**0.5, 0.6**0.5], "signs": [1, -1]}),
        Case(f"{home}.classification.LogRatio", classification.LogRatio,
             {"estimate": np.zeros((2, 2)), "error": np.ones((2, 2))}),
        Case(f"{home}._score_laws.normal_accuracy", classification.normal_accuracy,
             {"mean": [[0.0, 1.0, 2.0]], "covariance": [np.eye(3)], "labels": [0], "budget": 3,
              "draws": 50, "seed": 0}),
        Case(f"{home}._score_laws.stable_accuracy", classification.stable_accuracy,
             {"log_density": [[0.0, -9.0]], "labels": [0], "dimension": 2, "draws": 50,
              "seed": 0}),
        Case(f"{home}._score_laws.gaussian_moments", classification.gaussian_moments,
             {"world": dense, "x0": flat["x0"], "weight": weight, "nodes": 20}),
        Case(f"{home}.classification.class_scores", classification.class_scores,
             {"errors": errors, "t": times, "weight": weight}),
        Case(f"{home}.classification.log_ratio", classification.log_ratio,
             {"world": dense, "x0": flat["x0"], "seed": 0, "levels": 4, "replicas": 3,
              "weight": weight, "dtype": np.float64}),
        Case(f"{home}.classification.bayes_accuracy", classification.bayes_accuracy,
             {"log_density": [[0.0, -1.0], [-2.0, -np.inf]], "prior": [0.4, 0.6]}),
        Case(f"{home}.alignment.tree_similarity", alignment.tree_similarity,
             {"data": truth, "weights": [1.0, 0.5, 0.25]}),
        Case(f"{home}.alignment.odd_one_out", alignment.odd_one_out,
             {"similarity": np.eye(3), "triplets": triplets, "temperature": 0.5}),
        Case(f"{home}.alignment.noise_ceiling", alignment.noise_ceiling, {"probabilities": laws}),
        Case(f"{home}.alignment.expected_accuracy", alignment.expected_accuracy,
             {"similarity": np.eye(3), "triplets": triplets, "judges": laws, "ties": "shared"}),
        Case(f"{home}.alignment.surviving_levels", alignment.surviving_levels,
             {"variances": [4.0, 1.0], "sigma": [0.5, 1.0]}),
        Case(f"{home}.alignment.tree_mixture", alignment.tree_mixture,
             {"groups": (2, 2), "variances": (4.0, 1.0), "width": 3, "within": 0.1, "seed": 0}),
        Case(f"{home}._kernel_costs.kernel_accuracy", composition.kernel_accuracy,
             {"kernel": "additive", "positions": 8, "samples": [0, 11, 64]}),
        Case(f"{home}._sample_costs.resolved_samples", composition.resolved_samples,
             {"joint": np.eye(4) / 4, "m": 2}),
        Case(f"{home}._sample_costs.local_exponent", composition.local_exponent,
             {"multiplicities": np.array([2, 3, 6]), "samples": np.array([8.0, 27.0, 216.0])}),
        Case(f"{home}._truncation.node_validity", composition.node_validity,
             {"grammar": grammar, "level": 1, "marginals": np.full((2, 4), 0.25)}),
        Case(f"{home}._truncation.validity", composition.validity,
             {"grammar": grammar, "level": 1, "marginals": np.full((2, 4), 0.25)}),
        Case(f"{home}._static_correlations.channel", composition.channel,
             {"grammar": grammar, "level": 0, "child": 1}),
        Case(f"{home}._static_correlations.pair_joint", composition.pair_joint,
             {"grammar": grammar, "first": (1, 0), "second": (2, 3)}),
        Case(f"{home}._static_correlations.covariance", composition.covariance,
             {"joint": np.eye(4) / 4}),
        Case(f"{home}.pointwise.pointwise_information", pointwise.pointwise_information,
             {"grammar": grammar, "noise": MaskingNoise(4), "x_t": masked, "t": 0.5,
              "truth": truth, "levels": (0, 2)}),
        Case(f"{home}.pointwise.pointwise_entropy", pointwise.pointwise_entropy,
             {"grammar": grammar, "truth": truth, "level": 1}),
        Case(f"{home}.pointwise.pointwise_slope", pointwise.pointwise_slope,
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
        Case("hierdiff.bumps.Region.holds", Region().holds, {"labels": [[1.0, 2.0]]}),
        Case("hierdiff.bumps.Bumps.images", Bumps().images,
             {"labels": [[1.0, 2.0]], "dtype": np.float32}),
        Case("hierdiff.bumps.Bumps.sample", Bumps(d_x=16, d_y=16).sample,
             {"n": 2, "seed": 0, "weights": [1.0, 2.0, 0.0, 1.0]}),
    ]  # fmt: skip
