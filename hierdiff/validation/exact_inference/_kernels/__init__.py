"""Compiled loops for accelerators: arrays in, arrays out, no checks."""

__all__: list[str] = []
