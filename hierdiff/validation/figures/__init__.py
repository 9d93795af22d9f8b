"""Figures of the studies on networks."""

__all__: list[str] = []
