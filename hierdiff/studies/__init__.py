"""From an experiment to files: run it, save the result and the figure, print the claim.

One module per question; each has a dataclass whose fields are the flags of the command line.
"""

from __future__ import annotations

from hierdiff import command_line as page
from hierdiff.studies.classification import ClassificationStudy
from hierdiff.studies.command import Study, execute, run
from hierdiff.studies.composition import CompositionStudy
from hierdiff.studies.models import Models
from hierdiff.studies.representation import RepresentationStudy

__all__ = [
    "QUESTIONS",
    "ClassificationStudy",
    "CompositionStudy",
    "Models",
    "RepresentationStudy",
    "Study",
    "execute",
    "page",
    "run",
]

QUESTIONS: dict[str, type[Study]] = {
    "representation": RepresentationStudy,
    "classification": ClassificationStudy,
    "composition": CompositionStudy,
    "models": Models,
}
"""The studies by the name of their question, and the list of checkpoints."""
