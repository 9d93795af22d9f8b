"""Packages that only some functions need, and one line with the remedy where one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from hierdiff.errors import MissingPackage

__all__ = ["import_optional"]


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
