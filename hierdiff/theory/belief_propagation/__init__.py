"""Exact inference on the derivation tree.

======================  =========================================================================
exact_posterior         posteriors, samples and beliefs of noisy strings
tree_inference          evidence at any node: explanations, counts, entropy, pairs
tree_evidence           what may stand as evidence, and how it is checked
rule_learning           weights of rules from clean or noisy strings
denoiser_derivatives    derivatives of the denoiser, static correlations
passes                  the passes over whole trees, cut into blocks, in threads
buffers                 memory and threads that stay from one call to the next
log_domain              fallback in logarithms, one sample at a time
======================  =========================================================================
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
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "Explanations",
    "LearnedWeights",
    "NodeBeliefs",
    "Posterior",
    "TreePosterior",
    "correlation_length",
    "denoise_symbols",
    "denoiser_jacobian",
    "denoiser_spectrum",
    "fit_weights",
    "posterior",
    "score_divergence",
    "specialise",
    "static_correlations",
    "tree_posterior",
    "true_beliefs",
]
