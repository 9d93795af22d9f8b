"""Scores of the laws, collected over a run of the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SCORES: dict[str, dict[str, object]] = {}


class Laws:
    """Collects the scores of one test."""

    def __init__(self, where: str) -> None:
        self.where = where

    def holds(
        self, law: str, z: ArrayLike, *, allowance: str = "", without: ArrayLike | None = None
    ) -> None:
        """Scores of a law that is tested to hold.

        A law that holds in a limit is tested with an ``allowance`` for the distance to that limit:
        its size and its reason in words, and the scores ``without`` it, so that both are printed.
        """
        values = np.abs(np.asarray(z, float)).ravel()
        entry = SCORES.setdefault(law, {"comparisons": 0, "largest z": 0.0, "planted": {}})
        if bool(allowance) != (without is not None):
            raise ValueError("an allowance is given with the scores without it")
        if without is not None:
            entry["allowance"] = allowance
            bare = float(np.abs(np.asarray(without, float)).max())
            entry["largest z without"] = max(float(entry.get("largest z without", 0.0)), bare)
        entry["comparisons"] = int(entry["comparisons"]) + len(values)
        entry["largest z"] = max(float(entry["largest z"]), float(values.max()))
        entry["test"] = self.where

    def rejects(self, law: str, wrong: str, z: ArrayLike) -> None:
        """The largest score of a planted wrong law."""
        entry = SCORES.setdefault(law, {"comparisons": 0, "largest z": 0.0, "planted": {}})
        entry["test"] = self.where
        entry["planted"][wrong] = float(np.abs(np.asarray(z, float)).max())
