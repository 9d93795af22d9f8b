"""Imports that wait: names of a package until they are asked for, packages that few functions need.

A package writes its imports under ``if TYPE_CHECKING``, where type checkers and editors read them.
At run time the same lines are read from its source, and each is carried out when one of its names
is needed (PEP 562): what is listed for the checker is what can be imported, and nothing can differ.
"""

from __future__ import annotations

import ast
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hierdiff.errors import MissingPackage

__all__ = ["import_optional", "lazy", "renamed"]


def lazy(
    package: str, source: str, renamed: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, from its name and file.

    ``renamed`` are old names and the new ones; an old name works, and warns once.
    """
    old = renamed or {}
    home = _table(Path(source).read_text(encoding="utf-8"))

    def get(name: str) -> Any:
        known = old.get(name, name)
        if known not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name in old:
            words = f"{package}.{name} is now {known}"
            warnings.warn(words, DeprecationWarning, stacklevel=2)
        value = getattr(importlib.import_module(home[known]), known)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return get, names


def renamed(module: str, old: Mapping[str, str]) -> Callable[[str], Any]:
    """``__getattr__`` of a module: an old name returns what has the new one, and warns once."""

    def get(name: str) -> Any:
        if name not in old:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        words = f"{module}.{name} is now {old[name]}"
        warnings.warn(words, DeprecationWarning, stacklevel=2)
        value = getattr(sys.modules[module], old[name])
        setattr(sys.modules[module], name, value)
        return value

    return get


def import_optional(module: str, package: str, purpose: str) -> Any:
    """Import a module, or say what to install.

    Parameters
    ----------
    module : str
        Name to import.
    package : str
        Name that pip knows.
    purpose : str
        What needs it, the subject of the message.

    Returns
    -------
    module

    Raises
    ------
    MissingPackage
        If it cannot be imported.

    Notes
    -----
    Validity: any module.

    Examples
    --------
    >>> import_optional("no_such_module", "no-such-package", "this example")
    Traceback (most recent call last):
    hierdiff.errors.MissingPackage: this example needs no-such-package, which is \
not installed; run: pip install no-such-package
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        # a package that is there but cannot be imported has a cause worth reading
        missing = isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]
        state = "which is not installed" if missing else f"which cannot be imported ({error})"
        raise MissingPackage(
            f"{purpose} needs {package}, {state}; run: pip install {package}"
        ) from None


def _table(source: str) -> dict[str, str]:
    """Module of every name that is imported under ``if TYPE_CHECKING``."""
    return {
        alias.name: str(line.module)
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
