"""Flags that all studies on networks share, as their parts read them, and their common check."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any, ClassVar, Protocol

from hierdiff.checks import number, whole
from hierdiff.errors import InvalidParameter
from hierdiff.validation.execution import usable_device
from hierdiff.validation.pretrained.catalogue import CATALOGUE

__all__ = ["NetworkFlags", "ReaderFlags", "check_numbers", "forget", "known_model"]


class NetworkFlags(Protocol):
    """Which network, on what data, and where; fields of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

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


def forget(folder: Path, *names: str) -> None:
    """Remove the checkpoints of a study, by the names of their folders, and no other study's."""
    for name in names:
        for old in folder.glob(f"{name}/checkpoint.pt"):
            old.unlink()


def check_numbers(flags: Any, *, zero: tuple[str, ...] = ("seed",)) -> None:
    """Refuse numbers that no study can mean, and a device that is not there, before any work.

    Whole numbers are counts, at least 1, or 0 where they are named in ``zero``; others are finite.
    """
    for field in dataclasses.fields(flags):
        value = getattr(flags, field.name)
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            top = None if field.name == "seed" else 10**9  # of anything that is counted
            whole(field.name, value, int(field.name not in zero), top)
        elif isinstance(value, float):
            number(field.name, value)
    usable_device(flags.device)


def known_model(model: str, *here: str) -> None:
    """Refuse a name that is neither trained in the study nor in the catalogue, before all else."""
    names = [*here, *(entry.name for entry in CATALOGUE)]
    if model not in names:
        near = difflib.get_close_matches(model, names, n=1, cutoff=0.0)[0]
        raise InvalidParameter(
            f"model {model!r} is unknown; did you mean {near!r}? known are {', '.join(names)}"
        )
