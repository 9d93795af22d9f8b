"""What the mathematics says."""

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
from hierdiff.theory.correlations import (
    correlation_decay_exponent,
    leaf_correlation,
    second_eigenvalue,
    sibling_states,
    susceptibility,
    transfer_matrix,
)
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
from hierdiff.theory.population import (
    CriticalLevel,
    OrderParameter,
    critical_level,
    population_dynamics,
)
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
    "ExactRHM",
    "KestenStigum",
    "NodeBeliefs",
    "OrderParameter",
    "Posterior",
    "annealed_beliefs",
    "class_change",
    "committor",
    "conditional_entropy",
    "correlation_decay_exponent",
    "correlation_length_exponent",
    "critical_belief",
    "critical_level",
    "critical_noise",
    "denoise_symbols",
    "downward_map",
    "effective_epsilon",
    "finite_depth_threshold",
    "fixed_points",
    "free_energy",
    "has_transition",
    "information_slope",
    "kesten_stigum",
    "kesten_stigum_annealed",
    "leaf_correlation",
    "mmse",
    "mutual_information",
    "node_information",
    "population_dynamics",
    "posterior",
    "root_map",
    "second_eigenvalue",
    "sibling_states",
    "stability",
    "support_bound",
    "support_laws",
    "support_threshold",
    "susceptibility",
    "transfer_matrix",
    "true_beliefs",
    "upward_derivative",
    "upward_map",
]
