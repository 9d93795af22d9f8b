"""What an experiment measures, on any diffusion model."""

from hierdiff.sims.correlations import Correlations
from hierdiff.sims.phase_transition import PhaseTransition

__all__ = ["Correlations", "PhaseTransition"]
