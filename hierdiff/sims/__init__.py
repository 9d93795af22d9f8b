"""What an experiment measures, on any diffusion model."""

from hierdiff.sims.phase_transition import PhaseTransition

__all__ = ["PhaseTransition"]
