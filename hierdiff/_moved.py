"""Modules that have moved: an import under the old name works, and warns once with the new name.

The table holds public modules only.  An entry stays for one release.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

__all__ = ["MOVED", "install"]

MOVED: dict[str, str] = {
    "hierdiff.model": "hierdiff.contracts",
    "hierdiff.sims.experiment": "hierdiff.tasks",
}


class _OldNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of the table under their old names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A specification for an old name, None for every other."""
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module under its new name; one warning in a process, since it is then in memory."""
        new = MOVED[spec.name]
        # level 2 is the import statement: warnings leave out the frames of the import system
        warnings.warn(f"{spec.name} has moved; import {new}", DeprecationWarning, stacklevel=2)
        return _Alias(spec.name, importlib.import_module(new))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the module under its new name has run."""


class _Alias(ModuleType):
    """Reads and writes the names of another module."""

    def __init__(self, name: str, module: ModuleType) -> None:
        super().__init__(name, module.__doc__)
        super().__setattr__("_module", module)

    def __getattr__(self, name: str) -> object:
        return getattr(super().__getattribute__("_module"), name)

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("__"):  # the import system's own
            super().__setattr__(name, value)
        else:
            setattr(super().__getattribute__("_module"), name, value)

    def __dir__(self) -> list[str]:
        return dir(super().__getattribute__("_module"))


def install() -> None:
    """Serve the old names; called when the package is imported."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.append(_OldNames())
