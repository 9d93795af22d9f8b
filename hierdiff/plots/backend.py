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
from pathlib import Path

__all__ = ["Axes", "Figure", "in_notebook", "plt", "ticker", "use_files"]

_KERNELS = {"ipykernel_launcher", "colab_kernel_launcher", "xpython_launcher"}


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, whose command line is the kernel's own.

    Returns
    -------
    bool

    Notes
    -----
    Validity: kernels that run as IPython's, or are started by one of its launchers.

    Examples
    --------
    >>> in_notebook()
    False
    """
    if sys.argv and Path(sys.argv[0]).stem in _KERNELS:
        return True
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def use_files() -> None:
    """Draw for files alone, without a display: for programs; does nothing in a notebook.

    Notes
    -----
    Validity: figures that are open stay as they are.
    """
    if not in_notebook():
        os.environ["MPLBACKEND"] = "agg"
        matplotlib.use("agg")


# matplotlib reads the variable when it is imported, fails for a backend that cannot be loaded, and
# cannot be imported after that: so the variable is set aside meanwhile
_wanted = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)

import matplotlib  # noqa: E402

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
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib import ticker  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
