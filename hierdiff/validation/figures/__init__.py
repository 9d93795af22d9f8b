"""Figures of the studies on networks."""
