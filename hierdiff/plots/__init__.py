"""Figures from labelled results: theory is a line, simulation points, networks open markers."""

from __future__ import annotations

from hierdiff.plots import backend  # first: it makes sure that matplotlib can be imported
from hierdiff.plots.alignment import alignment, alignment_figure
from hierdiff.plots.classification import (
    binding_figure,
    classification_figure,
    cue_conflict_figure,
)
from hierdiff.plots.phase_transition import (
    class_transition,
    phase_transition,
    phase_transition_figure,
    phase_transition_processes,
)

__all__ = [
    "alignment",
    "alignment_figure",
    "backend",
    "binding_figure",
    "class_transition",
    "classification_figure",
    "cue_conflict_figure",
    "phase_transition",
    "phase_transition_figure",
    "phase_transition_processes",
]
