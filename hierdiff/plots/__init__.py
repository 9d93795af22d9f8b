"""Figures from labelled results: theory is a line, simulation points, networks open markers."""

from __future__ import annotations

from hierdiff.plots import backend  # first: it makes sure that matplotlib can be imported
from hierdiff.plots.classification import (
    binding_figure,
    classification_figure,
    cue_conflict_figure,
)
from hierdiff.plots.composition import composition, composition_figure
from hierdiff.plots.representation import representation, representation_figure

__all__ = [
    "backend",
    "binding_figure",
    "classification_figure",
    "composition",
    "composition_figure",
    "cue_conflict_figure",
    "representation",
    "representation_figure",
]
