"""The command ``hierdiff``: list the experiments, run one, list the public checkpoints."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

from hierdiff import __version__
from hierdiff.registry import EXPERIMENTS, experiment

__all__ = ["main", "parser", "table"]

# a module of each extra, by which it is seen to be installed
_EXTRAS = {"networks": "torch", "cluster": "distributed"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0].replace("_", "-") in EXPERIMENTS:
        print(f"note: the command is now hierdiff run {given[0]}", file=sys.stderr)
        given.insert(0, "run")
    if given and given[0] == "run":  # all that follows belongs to the experiment
        _run(given[1:])
        return
    chosen = parser().parse_args(given)
    # imported here, so that --help does not wait for the scientific libraries
    from hierdiff.command_line import execute

    if chosen.command == "list":
        execute(lambda: print(table()))
    else:
        from hierdiff.validation.pretrained.download import print_models

        execute(print_models)


def parser() -> argparse.ArgumentParser:
    """The commands."""
    parser = argparse.ArgumentParser(
        prog="hierdiff",
        description="What do diffusion models know about the structure of their data, and at "
        "which noise level?",
    )
    parser.add_argument("--version", action="version", version=f"hierdiff {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="list the experiments")
    commands.add_parser(
        "run", help="run an experiment; hierdiff run EXPERIMENT --help lists its flags"
    )
    commands.add_parser("models", help="list the public checkpoints that can be loaded")
    return parser


def _run(arguments: Sequence[str]) -> None:
    """Run the experiment that is named first, with the flags that follow."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: hierdiff run EXPERIMENT [flags]\n\n{table()}")
        raise SystemExit(0 if arguments else 2)
    from hierdiff.command_line import execute

    kind = execute(lambda: experiment(arguments[0]))
    from hierdiff.sims.run import command

    command(kind, arguments[1:], program=f"hierdiff run {arguments[0]}")


def table() -> str:
    """The experiments with their questions; what needs an extra that is missing says so."""
    width = max(map(len, EXPERIMENTS))
    lines = []
    for name, entry in EXPERIMENTS.items():
        text = entry.text
        if entry.extra and importlib.util.find_spec(_EXTRAS[entry.extra]) is None:
            text += f"  (needs pip install 'hierdiff[{entry.extra}]')"
        lines.append(f"{name:<{width}}  {text}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
