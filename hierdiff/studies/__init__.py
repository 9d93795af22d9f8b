"""From an experiment to files: run it, save the result and the figure, print the claim.

One module per question; each has a dataclass whose fields are the flags of the command line.
"""

from __future__ import annotations

from hierdiff.studies.command import Study, execute, run
from hierdiff.studies.phase_transition import PhaseTransitionStudy

__all__ = ["QUESTIONS", "PhaseTransitionStudy", "Study", "execute", "run"]

QUESTIONS: dict[str, type[Study]] = {"phase-transition": PhaseTransitionStudy}
"""The studies by the name of their question."""
