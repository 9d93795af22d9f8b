"""Attribute binding: no model of the four kinds has prompts."""

from __future__ import annotations

from contract import Case

_WHY = "a prompt binds the attributes of two objects; a model given a class has no prompt"
CASES: dict[str, Case] = {}
CANNOT = dict.fromkeys(("exact", "chain", "fitted", "network"), _WHY)
