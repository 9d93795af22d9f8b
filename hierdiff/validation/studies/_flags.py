"""Flags that all studies on networks share, as their parts read them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

__all__ = ["NetworkFlags", "ReaderFlags"]


class NetworkFlags(Protocol):
    """Which network, on what data, and where."""

    @property
    def model(self) -> str: ...
    @property
    def images(self) -> Path | None: ...
    @property
    def accept_licence(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def seed(self) -> int: ...


class ReaderFlags(NetworkFlags, Protocol):
    """The same, with a reference classifier that reads images."""

    @property
    def classifier(self) -> Path | None: ...
