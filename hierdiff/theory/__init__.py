"""What the mathematics says; the files of a subject lie in a folder of its name.

======================  =========================================================================
belief_propagation      exact posteriors on the derivation trees of a grammar
rhm                     the Random Hierarchy Model: recursions, thresholds, exponents, information
pcfg                    inside-outside sums of grammars whose trees vary in shape
mixture                 low-rank Gaussian mixtures, and denoisers of finite data sets
zero_shot               denoising errors as a classifier
odd_one_out_task        odd one out among three
exact_models            ExactRHM, ExactMixture, ExactPCFG: exact posteriors in the role of a network
======================  =========================================================================

All public names can be imported from here; each module is loaded when it is first needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.theory.belief_propagation.denoiser_derivatives import (
        correlation_length,
        denoiser_jacobian,
        denoiser_spectrum,
        score_divergence,
        static_correlations,
    )
    from hierdiff.theory.belief_propagation.exact_posterior import (
        NodeBeliefs,
        Posterior,
        denoise_symbols,
        posterior,
        specialise,
        true_beliefs,
    )
    from hierdiff.theory.belief_propagation.rule_learning import LearnedWeights, fit_weights
    from hierdiff.theory.belief_propagation.tree_inference import (
        Explanations,
        TreePosterior,
        tree_posterior,
    )
    from hierdiff.theory.exact_models import ExactMixture, ExactPCFG, ExactRHM
    from hierdiff.theory.mixture.collapse import collapse_time, mutual_information_mixture
    from hierdiff.theory.mixture.feature_snr import (
        bayes_accuracy,
        decompose,
        onset_delta,
        snr,
        snr_clean,
        snr_mean_field,
        snr_peak,
    )
    from hierdiff.theory.mixture.memorisation import (
        empirical_denoise,
        empirical_posterior,
        empirical_score,
    )
    from hierdiff.theory.mixture.posterior import (
        class_posterior,
        denoise,
        jacobian,
        jacobian_spectrum,
        log_density,
        score,
    )
    from hierdiff.theory.mixture.speciation import speciation_time
    from hierdiff.theory.odd_one_out_task import (
        expected_accuracy,
        label_accuracy,
        noise_ceiling,
        odd_one_out,
        tree_similarity,
    )
    from hierdiff.theory.rhm.bounds import (
        level_set_bound,
        level_set_laws,
        level_set_threshold,
        overlap_bound,
        overlap_threshold,
        support_bound,
        support_laws,
        support_threshold,
        threshold_upper_bound,
    )
    from hierdiff.theory.rhm.broadcast import KestenStigum, kesten_stigum, kesten_stigum_annealed
    from hierdiff.theory.rhm.critical_exponents import (
        BeliefSlopes,
        CriticalExponents,
        belief_slopes,
        critical_exponents,
        support_exponents,
    )
    from hierdiff.theory.rhm.density_evolution import (
        CriticalLevel,
        OrderParameter,
        critical_level,
        half_belief_level,
        population_dynamics,
    )
    from hierdiff.theory.rhm.dynamical_correlations import (
        PopulationSusceptibility,
        correlation_decay_exponent,
        leaf_correlation,
        population_susceptibility,
        second_eigenvalue,
        sibling_states,
        susceptibility,
        transfer_matrix,
    )
    from hierdiff.theory.rhm.information import (
        Estimate,
        conditional_entropy,
        free_energy,
        information_slope,
        mmse,
        mutual_information,
        node_information,
    )
    from hierdiff.theory.rhm.mean_field import (
        annealed_beliefs,
        correlation_length_exponent,
        critical_belief,
        critical_noise,
        downward_map,
        effective_epsilon,
        finite_depth_threshold,
        fixed_points,
        has_transition,
        root_map,
        stability,
        upward_derivative,
        upward_map,
    )
    from hierdiff.theory.rhm.sample_complexity import (
        clustering_cost,
        coincidence_cost,
        kernel_accuracy,
        kernel_cost,
    )
    from hierdiff.theory.rhm.truncated_grammars import truncated, validity
    from hierdiff.theory.rhm.uturn import class_change, committor
    from hierdiff.theory.zero_shot.gaussian_classes import GaussianClasses, cue_conflict
    from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
    from hierdiff.theory.zero_shot.scenes import ShapeTexture, TwoObjectScenes
    from hierdiff.theory.zero_shot.scores import class_scores, log_ratio
    from hierdiff.theory.zero_shot.weightings import weighting
else:
    from hierdiff._lazy import lazy

    _RENAMED = {
        "BoundObjects": "TwoObjectScenes", "SoftLeaves": "GaussianRHM",
        "TwoChannels": "ShapeTexture",
    }  # fmt: skip
    __getattr__, __dir__ = lazy(__name__, __file__, _RENAMED)

__all__ = [
    "BeliefSlopes",
    "CriticalExponents",
    "CriticalLevel",
    "Estimate",
    "ExactMixture",
    "ExactPCFG",
    "ExactRHM",
    "Explanations",
    "GaussianClasses",
    "GaussianRHM",
    "KestenStigum",
    "LearnedWeights",
    "NodeBeliefs",
    "OrderParameter",
    "PopulationSusceptibility",
    "Posterior",
    "ShapeTexture",
    "TreePosterior",
    "TwoObjectScenes",
    "annealed_beliefs",
    "bayes_accuracy",
    "belief_slopes",
    "class_change",
    "class_posterior",
    "class_scores",
    "clustering_cost",
    "coincidence_cost",
    "collapse_time",
    "committor",
    "conditional_entropy",
    "correlation_decay_exponent",
    "correlation_length",
    "correlation_length_exponent",
    "critical_belief",
    "critical_exponents",
    "critical_level",
    "critical_noise",
    "cue_conflict",
    "decompose",
    "denoise",
    "denoise_symbols",
    "denoiser_jacobian",
    "denoiser_spectrum",
    "downward_map",
    "effective_epsilon",
    "empirical_denoise",
    "empirical_posterior",
    "empirical_score",
    "expected_accuracy",
    "finite_depth_threshold",
    "fit_weights",
    "fixed_points",
    "free_energy",
    "half_belief_level",
    "has_transition",
    "information_slope",
    "jacobian",
    "jacobian_spectrum",
    "kernel_accuracy",
    "kernel_cost",
    "kesten_stigum",
    "kesten_stigum_annealed",
    "label_accuracy",
    "leaf_correlation",
    "level_set_bound",
    "level_set_laws",
    "level_set_threshold",
    "log_density",
    "log_ratio",
    "mmse",
    "mutual_information",
    "mutual_information_mixture",
    "node_information",
    "noise_ceiling",
    "odd_one_out",
    "onset_delta",
    "overlap_bound",
    "overlap_threshold",
    "population_dynamics",
    "population_susceptibility",
    "posterior",
    "root_map",
    "score",
    "score_divergence",
    "second_eigenvalue",
    "sibling_states",
    "snr",
    "snr_clean",
    "snr_mean_field",
    "snr_peak",
    "specialise",
    "speciation_time",
    "stability",
    "static_correlations",
    "support_bound",
    "support_exponents",
    "support_laws",
    "support_threshold",
    "susceptibility",
    "threshold_upper_bound",
    "transfer_matrix",
    "tree_posterior",
    "tree_similarity",
    "true_beliefs",
    "truncated",
    "upward_derivative",
    "upward_map",
    "validity",
    "weighting",
]
