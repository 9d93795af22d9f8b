"""What an experiment measures, on any diffusion model."""

from hierdiff.sims.alignment import Alignment
from hierdiff.sims.attribute_binding import AttributeBinding
from hierdiff.sims.composition import Composition
from hierdiff.sims.correlations import Correlations
from hierdiff.sims.cue_conflict import CueConflict
from hierdiff.sims.empirical_model import EmpiricalModel
from hierdiff.sims.phase_transition import PhaseTransition
from hierdiff.sims.representation import Representation
from hierdiff.sims.simulated_model import SequentialModel, SimulatedModel
from hierdiff.sims.zero_shot_classification import Classification

__all__ = [
    "Alignment",
    "AttributeBinding",
    "Classification",
    "Composition",
    "Correlations",
    "CueConflict",
    "EmpiricalModel",
    "PhaseTransition",
    "Representation",
    "SequentialModel",
    "SimulatedModel",
]
