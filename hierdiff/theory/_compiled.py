"""How the kernels of theory are compiled, and where compiled code is kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache

__all__ = ["SOURCES", "inline", "jit", "part"]

_FOLDER = Path(__file__).parent
SOURCES = hashlib.blake2b(
    b"".join(
        path.read_bytes()
        for path in sorted(
            [Path(__file__), *_FOLDER.rglob("_kernels.py"), *_FOLDER.rglob("_kernels/*.py")]
        )
    )
).hexdigest()
"""Of this file and of all kernels, since they call each other across files."""


class _Cache(FunctionCache):
    """Compiled code on disk, found only while *all* kernel sources are what they were.

    Numba looks at the file of the outermost function only, and would go on using old inner ones.
    """

    def _index_key(self, *args):
        return (*super()._index_key(*args), SOURCES)

    # A file that cannot be read, is cut short or was written by something else, and a disk that is
    # full or read-only by now, cost a compilation and no more.

    def load_overload(self, *args):
        try:
            return super().load_overload(*args)
        except Exception:
            return None

    def save_overload(self, *args):
        with contextlib.suppress(Exception):
            super().save_overload(*args)


def jit(function=None, *, fastmath=False):
    """Compile on first use, keep on disk, and release the interpreter while running.

    ``fastmath`` names the liberties that floating-point operations may take.
    """
    if function is None:
        return functools.partial(jit, fastmath=fastmath)
    dispatcher = njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    with contextlib.suppress(RuntimeError):  # no folder can be written: compile every time
        dispatcher._cache = _Cache(function)
    return dispatcher


part = njit(nogil=True, error_model="numpy")
inline = njit(nogil=True, inline="always", error_model="numpy")  # and so never compiled on its own
