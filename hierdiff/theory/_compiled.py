"""How the kernels of theory are compiled, and where compiled code is kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import warnings
from pathlib import Path

import numba
from numba import njit
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["SOURCES", "TRIED", "UntriedNumba", "inline", "jit", "part"]

TRIED = ((0, 61), (0, 68))
"""First and last release of Numba with whose private parts the kernels were tried.

Private are the cache of compiled functions, here, and the builders of LLVM's code, in the kernels
of belief propagation.  A release is tried by ``pytest tests/test_theory`` and then named here.
"""


class UntriedNumba(UserWarning):
    """Numba is of a release that was not tried with these kernels."""


def tried(version):
    """Whether the release of a version of Numba was tried."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and TRIED[0] <= tuple(map(int, found.groups())) <= TRIED[1]


_KEEPS = tried(numba.__version__)
if not _KEEPS:
    first, last = (".".join(map(str, release)) for release in TRIED)
    warnings.warn(
        f"numba {numba.__version__} was not tried with hierdiff, {first} to {last} were; kernels "
        f"are compiled anew in every process; install numba {last} to keep them",
        UntriedNumba,
        stacklevel=2,
    )

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


def jit(function=None, *, fastmath=False, effort=3):
    """Compile on first use, keep on disk, and release the interpreter while running.

    ``fastmath`` names the liberties that floating-point operations may take, ``effort`` is LLVM's
    level of optimisation.  Kernels that spell out their vectors run as fast with 1 as with 3, which
    takes two fifths longer to compile.
    """
    if function is None:
        return functools.partial(jit, fastmath=fastmath, effort=effort)
    dispatcher = njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    if effort < 3:
        dispatcher.compile = _with_effort(dispatcher.compile, effort)
    if _KEEPS:
        with contextlib.suppress(RuntimeError):  # no folder can be written: compile every time
            dispatcher._cache = _Cache(function)
    return dispatcher


def _with_effort(compile, effort):
    """Numba knows one level for all that it compiles; lowered here while one function is."""

    @functools.wraps(compile)
    def lowered(signature):
        with global_compiler_lock:  # compilations in other threads wait, and keep their level
            kept = numba.config.OPT
            numba.config.OPT = min(kept, type(kept)(effort))
            try:
                return compile(signature)
            finally:
                numba.config.OPT = kept

    return lowered


part = njit(nogil=True, error_model="numpy")
inline = njit(nogil=True, inline="always", error_model="numpy")  # and so never compiled on its own
