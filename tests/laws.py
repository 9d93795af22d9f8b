"""Scores of the laws, collected over a run of the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SCORES: dict[str, dict[str, object]] = {}


class Laws:
    """Collects the scores of one test."""

    def __init__(self, where: str) -> None:
        self.where = where

    def holds(self, law: str, z: ArrayLike) -> None:
        """Scores of a law that is tested to hold."""
        values = np.abs(np.asarray(z, float)).ravel()
        entry = SCORES.setdefault(law, {"comparisons": 0, "largest z": 0.0, "planted": {}})
        entry["comparisons"] = int(entry["comparisons"]) + len(values)
        entry["largest z"] = max(float(entry["largest z"]), float(values.max()))
        entry["test"] = self.where

    def rejects(self, law: str, wrong: str, z: ArrayLike) -> None:
        """The largest score of a planted wrong law."""
        entry = SCORES.setdefault(law, {"comparisons": 0, "largest z": 0.0, "planted": {}})
        entry["test"] = self.where
        entry["planted"][wrong] = float(np.abs(np.asarray(z, float)).max())
