"""From an experiment to files: run it, save the result and the figure, print the claim.

One module per question; each has a dataclass whose fields are the flags of the command line.
"""

from __future__ import annotations

from hierdiff import command_line as page
from hierdiff.studies.command import Study, execute, run
from hierdiff.studies.models import Models

__all__ = [
    "QUESTIONS",
    "Models",
    "Study",
    "execute",
    "page",
    "run",
]

QUESTIONS: dict[str, type[Study]] = {
    "models": Models,
}
"""The studies by the name of their question, and the list of checkpoints."""
