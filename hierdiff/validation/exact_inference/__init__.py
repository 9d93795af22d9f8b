"""Exact inference in torch: on any device, differentiable, as layer and as loss.

======================  =========================================================================
posterior               log evidence, marginals and rule counts, with derivatives of any order
denoiser                the optimal network; divergence from the posterior as a loss
engines                 what computes a batch on which device
passes                  the passes over whole trees as batched operations
======================  =========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.validation.exact_inference.denoiser import (
        ExactDenoiser,
        KLToPosterior,
        posterior_kl,
    )
    from hierdiff.validation.exact_inference.posterior import (
        log_evidence,
        marginals,
        rule_counts,
    )
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "ExactDenoiser",
    "KLToPosterior",
    "log_evidence",
    "marginals",
    "posterior_kl",
    "rule_counts",
]
