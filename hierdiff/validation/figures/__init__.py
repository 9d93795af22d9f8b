"""Figures of the studies on networks."""

import hierdiff.plots.backend  # noqa: F401 (makes sure that matplotlib can be imported)

__all__: list[str] = []
