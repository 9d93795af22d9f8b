"""From an experiment to files: run it, save the result and the figure, print the claim.

One module per question; each has a dataclass whose fields are the flags of the command line.
"""

from __future__ import annotations

from hierdiff import command_line as page
from hierdiff.studies.alignment import AlignmentStudy
from hierdiff.studies.classification import ClassificationStudy
from hierdiff.studies.command import Study, execute, run
from hierdiff.studies.composition import CompositionStudy
from hierdiff.studies.models import Models
from hierdiff.studies.phase_transition import PhaseTransitionStudy
from hierdiff.studies.representation import RepresentationStudy

__all__ = [
    "QUESTIONS",
    "AlignmentStudy",
    "ClassificationStudy",
    "CompositionStudy",
    "Models",
    "PhaseTransitionStudy",
    "RepresentationStudy",
    "Study",
    "execute",
    "page",
    "run",
]

QUESTIONS: dict[str, type[Study]] = {
    "phase-transition": PhaseTransitionStudy,
    "representation": RepresentationStudy,
    "classification": ClassificationStudy,
    "composition": CompositionStudy,
    "alignment": AlignmentStudy,
    "models": Models,
}
"""The studies by the name of their question, and the list of checkpoints."""
