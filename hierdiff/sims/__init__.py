"""What an experiment measures, on any diffusion model; each module is loaded when first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hierdiff.sims.alignment import Alignment
    from hierdiff.sims.binding import AttributeBinding
    from hierdiff.sims.classification import Classification
    from hierdiff.sims.composition import Composition
    from hierdiff.sims.correlations import Correlations
    from hierdiff.sims.cue_conflict import CueConflict
    from hierdiff.sims.empirical_model import EmpiricalModel
    from hierdiff.sims.phase_transition import PhaseTransition
    from hierdiff.sims.representation import Representation
    from hierdiff.sims.simulated_model import SequentialModel, SimulatedModel
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
    "PhaseTransition",
    "Representation",
    "SequentialModel",
    "SimulatedModel",
]
