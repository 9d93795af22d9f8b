"""Exact inference on the derivation tree.

======================  =========================================================================
exact_posterior         posteriors, samples and beliefs of noisy strings
passes                  the passes over whole trees, cut into blocks, in threads
log_domain              fallback in logarithms, one sample at a time
======================  =========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.theory.belief_propagation.exact_posterior import (
        NodeBeliefs,
        Posterior,
        denoise_symbols,
        posterior,
        true_beliefs,
    )
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "NodeBeliefs",
    "Posterior",
    "denoise_symbols",
    "posterior",
    "true_beliefs",
]
