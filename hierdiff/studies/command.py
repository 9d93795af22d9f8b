"""From the command line to a study: parse, run, say errors in one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import tyro
import xarray as xr

from hierdiff.checks import checked, shown, unchecked
from hierdiff.command_line import flags_of, last_words, parsed, use_files
from hierdiff.errors import InvalidParameter
from hierdiff.results import provenance, tracked

__all__ = ["Study", "execute", "run"]


class Study(Protocol):
    """What can be run from the command line."""

    def main(self) -> tuple[xr.Dataset, ...]:
        """Run, save, print the claim; returns the results."""


@checked(kind=unchecked)
def run(kind: type[Study], arguments: Sequence[str] | None = None) -> tuple[xr.Dataset, ...]:
    """Run one study with the flags of the command line; in a notebook with its defaults."""
    flags_of(kind)
    if not callable(getattr(kind, "main", None)):
        raise InvalidParameter(f"kind = {shown(kind)} has no method main; give it one")
    return execute(lambda: tyro.cli(kind, args=arguments))


def execute(parse: Callable[[], Study]) -> tuple[xr.Dataset, ...]:
    """Parse and run; an error becomes one line on standard error and exit status 2."""
    use_files()
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
        try:
            study = parsed(parse)
            provenance({})  # the commit of the code that runs, not of one made meanwhile
            found = tracked(study.main)()
            sys.stdout.flush()
            return found
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
