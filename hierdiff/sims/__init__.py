"""What an experiment measures, on any diffusion model; each module is loaded when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.sims.alignment import Alignment
    from hierdiff.sims.attribute_binding import AttributeBinding
    from hierdiff.sims.composition import Composition
    from hierdiff.sims.correlations import Correlations
    from hierdiff.sims.cue_conflict import CueConflict
    from hierdiff.sims.kernel_learning import KernelLearning
    from hierdiff.sims.models.empirical import EmpiricalModel
    from hierdiff.sims.models.finite_steps import SequentialModel, SimulatedModel
    from hierdiff.sims.phase_transition import PhaseTransition
    from hierdiff.sims.representation import Representation
    from hierdiff.sims.synonym_learning import SynonymLearning
    from hierdiff.sims.truncated_denoisers import TruncatedDenoisers
    from hierdiff.sims.zero_shot_classification import Classification
else:
    from hierdiff._lazy import lazy

    __getattr__, __dir__ = lazy(__name__, __file__)

__all__ = [
    "Alignment",
    "AttributeBinding",
    "Classification",
    "Composition",
    "Correlations",
    "CueConflict",
    "EmpiricalModel",
    "KernelLearning",
    "PhaseTransition",
    "Representation",
    "SequentialModel",
    "SimulatedModel",
    "SynonymLearning",
    "TruncatedDenoisers",
]
