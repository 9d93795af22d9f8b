"""What the mathematics says."""

from hierdiff.theory.alignment import (
    expected_accuracy,
    label_accuracy,
    noise_ceiling,
    odd_one_out,
    tree_similarity,
)
from hierdiff.theory.annealed import (
    annealed_beliefs,
    downward_map,
    effective_epsilon,
    root_map,
    upward_derivative,
    upward_map,
)
from hierdiff.theory.belief_propagation import (
    NodeBeliefs,
    Posterior,
    denoise_symbols,
    posterior,
    true_beliefs,
)
from hierdiff.theory.broadcast import KestenStigum, kesten_stigum, kesten_stigum_annealed
from hierdiff.theory.collapse import collapse_time, mutual_information_mixture
from hierdiff.theory.correlations import (
    correlation_decay_exponent,
    leaf_correlation,
    second_eigenvalue,
    sibling_states,
    susceptibility,
    transfer_matrix,
)
from hierdiff.theory.exact_mixture import ExactMixture
from hierdiff.theory.exact_model import ExactRHM
from hierdiff.theory.information import (
    Estimate,
    conditional_entropy,
    free_energy,
    information_slope,
    mmse,
    mutual_information,
    node_information,
)
from hierdiff.theory.low_rank import (
    class_posterior,
    denoise,
    jacobian,
    jacobian_spectrum,
    log_density,
    score,
)
from hierdiff.theory.memorization import empirical_denoise, empirical_posterior, empirical_score
from hierdiff.theory.population import (
    CriticalLevel,
    OrderParameter,
    critical_level,
    population_dynamics,
)
from hierdiff.theory.representation import (
    bayes_accuracy,
    decompose,
    onset_delta,
    snr,
    snr_clean,
    snr_mean_field,
    snr_peak,
)
from hierdiff.theory.speciation import speciation_time
from hierdiff.theory.support_sets import support_bound, support_laws, support_threshold
from hierdiff.theory.thresholds import (
    correlation_length_exponent,
    critical_belief,
    critical_noise,
    finite_depth_threshold,
    fixed_points,
    has_transition,
    stability,
)
from hierdiff.theory.uturn import class_change, committor

__all__ = [
    "CriticalLevel",
    "Estimate",
    "ExactMixture",
    "ExactRHM",
    "KestenStigum",
    "NodeBeliefs",
    "OrderParameter",
    "Posterior",
    "annealed_beliefs",
    "bayes_accuracy",
    "class_change",
    "class_posterior",
    "collapse_time",
    "committor",
    "conditional_entropy",
    "correlation_decay_exponent",
    "correlation_length_exponent",
    "critical_belief",
    "critical_level",
    "critical_noise",
    "decompose",
    "denoise",
    "denoise_symbols",
    "downward_map",
    "effective_epsilon",
    "empirical_denoise",
    "empirical_posterior",
    "empirical_score",
    "expected_accuracy",
    "finite_depth_threshold",
    "fixed_points",
    "free_energy",
    "has_transition",
    "information_slope",
    "jacobian",
    "jacobian_spectrum",
    "kesten_stigum",
    "kesten_stigum_annealed",
    "label_accuracy",
    "leaf_correlation",
    "log_density",
    "mmse",
    "mutual_information",
    "mutual_information_mixture",
    "node_information",
    "noise_ceiling",
    "odd_one_out",
    "onset_delta",
    "population_dynamics",
    "posterior",
    "root_map",
    "score",
    "second_eigenvalue",
    "sibling_states",
    "snr",
    "snr_clean",
    "snr_mean_field",
    "snr_peak",
    "speciation_time",
    "stability",
    "support_bound",
    "support_laws",
    "support_threshold",
    "susceptibility",
    "transfer_matrix",
    "tree_similarity",
    "true_beliefs",
    "upward_derivative",
    "upward_map",
]
