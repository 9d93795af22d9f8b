"""matplotlib for programs that write files, and in notebooks that show figures.

``MPLBACKEND`` is inherited: a notebook sets it to a module that a program started from its terminal
cannot load, and importing matplotlib then fails.  A backend that cannot be loaded is therefore
replaced by Agg when this package first draws, and the programs of this package use Agg whatever the
environment says.  In a notebook its own backend stays.
"""

from __future__ import annotations

import importlib
import os
import sys

__all__ = ["Axes", "Figure", "plt", "ticker"]

# matplotlib reads the variable when it is imported, fails for a backend that cannot be loaded, and
# cannot be imported after that: so the variable is set aside meanwhile
_wanted = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)

import matplotlib  # noqa: E402 (after the lines above)

if _wanted:
    try:
        matplotlib.rcParams["backend"] = _wanted
        if _wanted.startswith("module://"):
            importlib.import_module(_wanted.removeprefix("module://"))
    except (ValueError, ImportError):
        _wanted = "agg"
        matplotlib.rcParams["backend"] = _wanted
    os.environ["MPLBACKEND"] = _wanted

# not before the backend can be loaded
import matplotlib.pyplot as plt  # noqa: E402 (as said above)
from matplotlib import ticker  # noqa: E402 (as said above)
from matplotlib.axes import Axes  # noqa: E402 (as said above)
from matplotlib.figure import Figure  # noqa: E402 (as said above)
