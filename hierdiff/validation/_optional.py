"""Packages that only some functions need, and one line with the remedy where one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from hierdiff.errors import HierdiffError

__all__ = ["MissingPackage", "need"]


class MissingPackage(HierdiffError, ImportError):
    """An optional package is not installed."""


def need(module: str, package: str, purpose: str) -> Any:
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
    >>> need("no_such_module", "no-such-package", "this example")
    Traceback (most recent call last):
    hierdiff.validation._optional.MissingPackage: this example needs no-such-package, which is \
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
