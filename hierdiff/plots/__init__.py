"""Figures from labelled results: theory is a line, simulation points, networks open markers."""

from __future__ import annotations

from hierdiff.plots import backend  # first: it makes sure that matplotlib can be imported

__all__ = [
    "backend",
]
