"""Figures from labelled results: theory is a line, simulation points, networks open markers."""

from __future__ import annotations

from hierdiff.plots import backend  # first: it makes sure that matplotlib can be imported
from hierdiff.plots.alignment import alignment, alignment_figure
from hierdiff.plots.composition import composition, composition_figure
from hierdiff.plots.phase_transition import (
    class_transition,
    phase_transition,
    phase_transition_figure,
    phase_transition_processes,
)
from hierdiff.plots.representation import representation, representation_figure

__all__ = [
    "alignment",
    "alignment_figure",
    "backend",
    "class_transition",
    "composition",
    "composition_figure",
    "phase_transition",
    "phase_transition_figure",
    "phase_transition_processes",
    "representation",
    "representation_figure",
]
