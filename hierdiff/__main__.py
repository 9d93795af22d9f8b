"""The command ``hierdiff QUESTION ...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from hierdiff import study

__all__ = ["main"]

Question = Annotated[
    study.PhaseTransitionStudy, tyro.conf.subcommand("phase-transition", prefix_name=False)
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study of one question."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    study.run(Question, given, name="hierdiff")


if __name__ == "__main__":
    main()
