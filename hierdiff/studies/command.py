"""From the command line to a study: parse, run, say errors in one line."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import tyro
import xarray as xr

from hierdiff.errors import HierdiffError
from hierdiff.results import provenance, tracked

__all__ = ["Study", "execute", "run"]


class Study(Protocol):
    """What can be run from the command line."""

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run, save, print the claim; returns the results."""


def run(kind: type[Study], arguments: Sequence[str] | None = None) -> tuple[xr.Dataset, ...]:
    """Run one study with the flags of the command line."""
    return execute(lambda: tyro.cli(kind, args=arguments))


def execute(parse: Callable[[], Study]) -> tuple[xr.Dataset, ...]:
    """Parse and run; an error becomes one line on standard error and exit status 2."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
        try:
            study = _parsed(parse)
            provenance({})  # the commit of the code that runs, not of one made meanwhile
            found = tracked(study.main)()
            sys.stdout.flush()
            return found
        except HierdiffError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
        except BrokenPipeError:
            # the reader of a pipe, such as head, has seen enough; nothing is left to say
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except OSError as error:  # of a figure or a summary: the disk is full, a folder is gone
            place = f"{error.filename}: " if error.filename else ""
            print(
                f"error: {place}{error.strerror or error}; finished tasks are kept, so the same "
                "command goes on where it stopped",
                file=sys.stderr,
            )
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print("interrupted; the same command resumes where it stopped", file=sys.stderr)
            raise SystemExit(130) from None


def _parsed(parse: Callable[[], Study]) -> Study:
    """Parse; a broken rule of ours is raised as it is, not framed as a usage error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse()
    except SystemExit as stop:
        cause: BaseException | None = stop
        while cause is not None:
            if isinstance(cause, HierdiffError):
                raise cause from None
            cause = cause.__context__
        raise
    finally:
        if not isinstance(sys.exc_info()[1], HierdiffError):
            sys.stderr.write(said.getvalue())
