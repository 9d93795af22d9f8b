"""What a page of the gallery is run as: a script with flags, or a notebook without.

A page is a script from top to bottom, so that it reads as a document.  As a program it takes flags
and says errors in one line; in a notebook, whose command line belongs to the kernel, it has its
defaults.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import tyro

from hierdiff.checks import shown, whole
from hierdiff.errors import HierdiffError, InvalidParameter
from hierdiff.plots.backend import in_notebook, use_files

__all__ = ["command_line", "last_words", "options", "parsed"]

_T = TypeVar("_T")


@contextlib.contextmanager
def command_line() -> Iterator[None]:
    """The command line as flags are read from it: empty in a notebook.

    Examples
    --------
    >>> with command_line():
    ...     arguments = sys.argv[1:]
    """
    before = sys.argv
    if in_notebook():
        sys.argv = before[:1] or ["notebook"]
    try:
        yield
    finally:
        sys.argv = before


def options(kind: type[_T]) -> _T:
    """Flags of a page that is a script from top to bottom.

    Parameters
    ----------
    kind : type
        A dataclass whose fields are the flags.

    Returns
    -------
    instance of it

    Raises
    ------
    HierdiffError
        If the dataclass refuses a value, or ``kind`` is no dataclass.

    Notes
    -----
    Validity: from here on an error of this package that nobody catches ends the program with one
    line on standard error and status 2, as :func:`hierdiff.studies.execute` does for a whole
    study.  Figures are written to files whatever MPLBACKEND says.
    """
    flags_of(kind)
    use_files()
    if not in_notebook():
        sys.excepthook = _one_line
    return parsed(lambda: tyro.cli(kind))


def flags_of(kind: Any) -> None:
    """Refuse what has no fields that could be flags."""
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise InvalidParameter(
            f"kind = {shown(kind)} must be a dataclass; its fields are the flags"
        )


def parsed(parse: Callable[[], _T]) -> _T:
    """Parse; a broken rule of ours is raised as it is, not framed as a usage error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), command_line():
            found = parse()
        _refuse_nothing(found)
        return found
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, HierdiffError):
                raise cause from None
            cause = cause.__context__
        if stop.code == 2 and (words := _usage(said.getvalue())):
            said = io.StringIO(f"{words}\n")
        raise
    finally:
        if not isinstance(sys.exc_info()[1], HierdiffError):
            sys.stderr.write(said.getvalue())


def _usage(box: str) -> str:
    """The first paragraph of a parser's box in one line, with the nearest name of a wrong one."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()]
    inner = [line for line in lines if not line.endswith("─") or not line.strip("─")]
    first = itertools.takewhile(lambda line: line.strip("─"), inner)
    words = " ".join(" ".join(first).split())
    wrong = re.search(r"invalid choice '([^']*)'.*Expected one of \((.*)\)", words)
    if wrong:
        known = re.findall(r"'([^']*)'", wrong.group(2))
        near = difflib.get_close_matches(wrong.group(1), known, 1)
        words += f" Did you mean {near[0]!r}?" if near else ""
    return f"error: {words} (--help lists all flags)" if words else ""


def _refuse_nothing(flags: Any) -> None:
    """Refuse flags without values, and NaN, which no study can mean."""
    if not dataclasses.is_dataclass(flags):
        return
    for field in dataclasses.fields(flags):
        value, flag = getattr(flags, field.name), f"--{field.name.replace('_', '-')}"
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        _refuse_nothing(value)
        if field.name == "workers" and value is not None:
            # a thread has a stack of its own, and no machine has more processors than this
            whole(flag, value, 1, 10**4)
        if field.name == "cluster" and value is not None and not value.strip():
            raise InvalidParameter(f"{flag} is empty; give an address, or leave it out")
        if isinstance(value, tuple) and not value and default != ():
            raise InvalidParameter(f"{flag} has no values; give one or more, or leave it out")
        if any(isinstance(x, float) and x != x for x in _entries(value)):
            raise InvalidParameter(f"{flag} nan is no number; give a number")


def _entries(value: Any) -> Iterator[Any]:
    """What a flag holds, tuples of tuples included."""
    if isinstance(value, tuple):
        for x in value:
            yield from _entries(x)
    else:
        yield value


def last_words(error: BaseException) -> tuple[str, int] | None:
    """One line and an exit status for an error that ends a program; None for a fault of ours."""
    if not isinstance(error, BaseException):
        raise InvalidParameter(f"error = {shown(error)} must be an exception")
    if isinstance(error, HierdiffError):
        return f"error: {error}", 2
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; the same command resumes where it stopped", 130
    if isinstance(error, MemoryError):
        return "error: not enough memory; choose smaller sizes, or fewer workers", 2
    if isinstance(error, OSError):  # of a figure or a summary: the disk is full, a folder is gone
        place = f"{error.filename}: " if error.filename else ""
        return (
            f"error: {place}{error.strerror or error}; finished tasks are kept, so the same "
            "command goes on where it stopped"
        ), 2
    return None


def _one_line(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:  # fmt: skip
    """For ``sys.excepthook``, which may raise SystemExit to set the status."""
    words = last_words(error)
    if words is None:
        sys.__excepthook__(kind, error, trace)
        return
    print(words[0], file=sys.stderr)
    raise SystemExit(words[1])
