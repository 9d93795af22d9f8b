"""Theory of mixtures of Ising chains.

===================  ===========================================================================
transfer_matrices    exact posterior of class and spins
speciation           when the class of a chain is decided: half or a quarter of log N
===================  ===========================================================================
"""

from __future__ import annotations

from hierdiff.theory.ising.speciation import (
    ChainSpeciation,
    PathRatio,
    class_information,
    denoiser_log_ratio,
    half_change_divergence,
    speciation_law,
    speciation_times,
    weak_signal_divergence,
)
from hierdiff.theory.ising.transfer_matrices import (
    ChainPosterior,
    chain_posterior,
    spin_evidence,
)

__all__ = [
    "ChainPosterior",
    "ChainSpeciation",
    "PathRatio",
    "chain_posterior",
    "class_information",
    "denoiser_log_ratio",
    "half_change_divergence",
    "speciation_law",
    "speciation_times",
    "spin_evidence",
    "weak_signal_divergence",
]
