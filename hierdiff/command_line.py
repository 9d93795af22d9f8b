"""Flags of the command line, and errors in one line.

A page of the gallery is a script from top to bottom, so that it reads as a document.  As a program
it takes flags and prints errors in one line; in a notebook, whose command line belongs to the
kernel, it has its defaults.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import os
import re
import sys
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from hierdiff.checks import shown, whole
from hierdiff.errors import HierdiffError, InvalidParameter

__all__ = [
    "command_line",
    "execute",
    "in_notebook",
    "last_words",
    "parse_flags",
    "parsed",
    "use_files",
]

_T = TypeVar("_T")
_O = TypeVar("_O")
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
        if "matplotlib" in sys.modules:  # else it reads the variable when it is imported
            sys.modules["matplotlib"].use("agg")


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


def flags_of(kind: Any, name: str = "kind") -> None:
    """Refuse what has no fields that could be flags."""
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise InvalidParameter(
            f"{name} = {shown(kind)} must be a dataclass; its fields are the flags"
        )


def _words(arguments: Any) -> list[str]:
    """The words of a command line."""
    if not isinstance(arguments, (list, tuple)) or not all(isinstance(x, str) for x in arguments):
        raise InvalidParameter(
            f"arguments = {shown(arguments)} must be a list of words, as sys.argv[1:]"
        )
    return list(arguments)


def parse_flags(
    kind: type[_T], also: type[_O], arguments: Sequence[str] | None = None, program: str = ""
) -> tuple[_T, _O]:
    """Two dataclasses from the flags of one command line.

    Parameters
    ----------
    kind, also : type
        Their fields are the flags; the first one's docstring is the description.
    arguments : sequence of str, optional
        Default: the command line.
    program : str
        Name in the usage line; default that of the script.

    Returns
    -------
    instances of both

    Raises
    ------
    HierdiffError
        If a dataclass refuses a value.

    Notes
    -----
    Validity: old names of flags, which a class lists in ``renamed``, are accepted with a note, as
    are those of their values, in ``renamed_values``.  A class with subcommands puts the words into
    the parser's order by its method ``arguments``.
    """
    if os.environ.get("NO_COLOR"):  # as no-color.org has it; tyro has a variable of its own
        os.environ.setdefault("PYTHON_TYRO_ANSI_CODES", "False")
    # tyro is imported when flags are read, not by programs that only import the package
    import tyro

    flags_of(kind)
    flags_of(also, "also")
    own = None if arguments is None else _words(arguments)
    flat: Any = tyro.conf.OmitArgPrefixes  # subscripted by classes that only exist at run time
    both = dataclasses.make_dataclass(
        kind.__name__,
        [
            (
                "experiment",
                flat[Annotated[kind, tyro.conf.arg(help="What is computed.")]],
                dataclasses.field(default_factory=kind),
            ),
            (
                "run",
                flat[Annotated[also, tyro.conf.arg(help="Where and how; this changes no number.")]],
                dataclasses.field(default_factory=also),
            ),
        ],
        frozen=True,
    )
    both.__doc__ = kind.__doc__

    def parse() -> Any:
        given = sys.argv[1:] if own is None else own
        names, values = (getattr(kind, k, {}) for k in ("renamed", "renamed_values"))
        words = _new_names(given, names, values)
        arrange = getattr(kind, "arguments", None)  # of a class with subcommands
        words = words if arrange is None else arrange(words)
        config = (tyro.conf.OmitSubcommandPrefixes,)
        return tyro.cli(both, args=words, prog=program or None, config=config)

    found = parsed(parse, lambda: [*_flags_below(kind), *_flags_below(also)])
    return found.experiment, found.run


def _new_names(
    words: Sequence[str], renamed: Mapping[str, str], values: Mapping[str, Mapping[str, str]]
) -> list[str]:  # fmt: skip
    """The command line with new names of flags and of their values; a note for each old one."""
    found: list[str] = []
    flag = ""
    for word in words:
        known = {} if word.startswith("--") else values.get(flag, {})
        if word in known:
            print(f"note: {word} is now {known[word]}", file=sys.stderr)
            word = known[word]
        old = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and old in renamed:
            new = "--" + renamed[old].replace("_", "-")
            print(f"note: --{old.replace('_', '-')} is now {new}", file=sys.stderr)
            word = new + word.removeprefix("--")[len(old) :]
        if word.startswith("--"):
            flag = word.removeprefix("--").partition("=")[0].replace("-", "_")
        found.append(word)
    return found


def execute(work: Callable[[], _T]) -> _T:
    """Do the work of a program: a warning becomes a note, an error one line and an exit status.

    Parameters
    ----------
    work : callable

    Returns
    -------
    whatever it returns

    Raises
    ------
    SystemExit
        With status 2 for bad input, 130 after Ctrl-C, 1 if the reader of a pipe is gone.
    """
    use_files()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
        try:
            return work()
        except BrokenPipeError:
            # the reader of a pipe, such as head, has seen enough; nothing is left to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except (Exception, KeyboardInterrupt) as error:
            words = last_words(error)
            if words is None:
                raise
            print(words[0], file=sys.stderr)
            raise SystemExit(words[1]) from None


def parsed(parse: Callable[[], _T], known: Callable[[], Sequence[str]] = tuple) -> _T:
    """Parse; a broken rule of ours is raised as it is, not framed as a usage error.

    ``known`` lists the flags, among which the nearest one of a wrong flag is looked for.
    """
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
        if stop.code == 2 and (words := _usage(said.getvalue(), known)):
            said = io.StringIO(f"{words}\n")
        raise
    finally:
        if not isinstance(sys.exc_info()[1], HierdiffError):
            sys.stderr.write(said.getvalue())


def _flags_below(kind: Any) -> list[str]:
    """The flags of a dataclass and of those in its fields."""
    if typing.get_args(kind):
        return [flag for one in typing.get_args(kind) for flag in _flags_below(one)]
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        return []
    hints = typing.get_type_hints(kind, include_extras=True)
    found = []
    for field in dataclasses.fields(kind):
        found.append(f"--{field.name.replace('_', '-')}")
        found += _flags_below(hints[field.name])
    return found


# what Python says of a text that is no number, and what is said here
_PLAIN = {
    r"invalid literal for int\(\) with base 10: ('[^']*')": r"\1 must be a whole number",
    r"could not convert string to float: ('[^']*')": r"\1 must be a number",
}


def _usage(box: str, known_flags: Callable[[], Sequence[str]] = tuple) -> str:
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
    for python, plain in _PLAIN.items():
        words = re.sub(python, plain, words)
    flag = re.search(r"Unrecognized options?: *(--[\w-]+)", words)
    if flag:
        near = difflib.get_close_matches(flag.group(1), known_flags(), 1)
        words += f". Did you mean {near[0]}?" if near else ""
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
        if isinstance(error, FileNotFoundError) and error.strerror is None:
            return f"error: {error}", 2  # of ours, about a file that was to be read
        return (
            f"error: {place}{error.strerror or error}; finished tasks are kept, so the same "
            "command goes on where it stopped"
        ), 2
    return None
