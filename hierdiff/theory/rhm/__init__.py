"""Theory of the Random Hierarchy Model.

=======================  ========================================================================
mean_field               annealed recursion of the epsilon-process, fixed points, threshold
density_evolution        the law of the messages of any noise process, and its threshold
bounds                   bounds of belief and threshold: support sets, overlaps, level sets
critical_exponents       exponents at the threshold
broadcast                the Kesten-Stigum number
information              mutual information, entropies and free energy, level by level
uturn                    noising and denoising: is the class kept, and when is it decided
dynamical_correlations   which leaves change together; susceptibility
token_correlations       correlations between two symbols of a datum
tree_pairs               contrastive pairs of a tree: which level they reveal
locality                 denoisers that see a window, and what they lose
speciation               when every level is decided, by free entropies
sample_complexity        how many data show the levels of a hierarchy
truncated_grammars       models of the lower levels only
parallel_unmasking       what it costs to unmask several leaves at once
unmasking_schedules      ... in a random order, and the best block sizes
sampler_laws             the law of what such a sampler writes; remasking; other noise
next_token               the autoregressive twin: next leaf, short contexts, when what is decided
=======================  ========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from hierdiff.theory.rhm.next_token import (
        context_entropies,
        context_strings,
        masked_bound,
        next_token_entropies,
        reading_entropies,
    )
    from hierdiff.theory.rhm.parallel_unmasking import (
        even_sizes,
        spread_order,
        unmasking_terms,
    )
    from hierdiff.theory.rhm.sample_complexity import (
        KERNELS,
        Kernel,
        classification_cost,
        clustering_cost,
        coincidence_cost,
        kernel_accuracy,
        kernel_cost,
        local_exponent,
        next_token_cost,
        own_symbol_cost,
        resolved_samples,
        weights_divergence,
    )
    from hierdiff.theory.rhm.sampler_laws import (
        path_divergence,
        remasked_log_prob,
        sampler_log_prob,
    )
    from hierdiff.theory.rhm.speciation import (
        CRITERIA,
        Criterion,
        LevelSpeciation,
        level_speciation,
        speciation_statistic,
    )
    from hierdiff.theory.rhm.token_correlations import (
        channel,
        context_signal,
        covariance,
        node_marginals,
        pair_joint,
        token_correlation,
        tuple_correlation,
    )
    from hierdiff.theory.rhm.truncated_grammars import (
        annealed_validity,
        class_truncated,
        node_validity,
        truncated,
        validity,
    )
    from hierdiff.theory.rhm.unmasking_schedules import (
        best_sizes,
        string_entropy,
        total_correlation,
        unmasking_curve,
    )
    from hierdiff.theory.rhm.uturn import class_change, committor
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "CRITERIA",
    "KERNELS",
    "BeliefSlopes",
    "Criterion",
    "CriticalExponents",
    "CriticalLevel",
    "Estimate",
    "Kernel",
    "KestenStigum",
    "LevelSpeciation",
    "OrderParameter",
    "PopulationSusceptibility",
    "annealed_beliefs",
    "annealed_validity",
    "belief_slopes",
    "best_sizes",
    "channel",
    "class_change",
    "class_truncated",
    "classification_cost",
    "clustering_cost",
    "coincidence_cost",
    "committor",
    "conditional_entropy",
    "context_entropies",
    "context_signal",
    "context_strings",
    "correlation_decay_exponent",
    "correlation_length_exponent",
    "covariance",
    "critical_belief",
    "critical_level",
    "critical_noise",
    "downward_map",
    "effective_epsilon",
    "even_sizes",
    "finite_depth_threshold",
    "fixed_points",
    "free_energy",
    "half_belief_level",
    "has_transition",
    "information_slope",
    "kernel_accuracy",
    "kernel_cost",
    "kesten_stigum",
    "kesten_stigum_annealed",
    "leaf_correlation",
    "level_set_bound",
    "level_set_laws",
    "level_set_threshold",
    "level_speciation",
    "local_exponent",
    "masked_bound",
    "mmse",
    "mutual_information",
    "next_token_cost",
    "next_token_entropies",
    "node_information",
    "node_marginals",
    "node_validity",
    "overlap_bound",
    "overlap_threshold",
    "own_symbol_cost",
    "pair_joint",
    "path_divergence",
    "population_dynamics",
    "population_susceptibility",
    "reading_entropies",
    "remasked_log_prob",
    "resolved_samples",
    "root_map",
    "sampler_log_prob",
    "second_eigenvalue",
    "sibling_states",
    "speciation_statistic",
    "spread_order",
    "stability",
    "string_entropy",
    "support_bound",
    "support_exponents",
    "support_laws",
    "support_threshold",
    "susceptibility",
    "threshold_upper_bound",
    "token_correlation",
    "total_correlation",
    "transfer_matrix",
    "truncated",
    "tuple_correlation",
    "unmasking_curve",
    "unmasking_terms",
    "upward_derivative",
    "upward_map",
    "validity",
    "weights_divergence",
]
