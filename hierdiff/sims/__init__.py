"""What an experiment measures, on any diffusion model."""

from hierdiff.sims.correlations import Correlations
from hierdiff.sims.phase_transition import PhaseTransition
from hierdiff.sims.simulated_model import SequentialModel, SimulatedModel

__all__ = ["Correlations", "PhaseTransition", "SequentialModel", "SimulatedModel"]
