"""The command ``hierdiff``: list, run and sweep experiments; show, compare, plot results; cite."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

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
    if given and given[0] == "reproduce":
        from hierdiff.validation import reproduce

        reproduce.command(given[1:], program="hierdiff reproduce")
        return
    if given and given[0] == "suite":
        from hierdiff.validation.suite import command

        command(given[1:], program="hierdiff suite")
        return
    if given and given[0] == "sweep":  # flags that it does not know belong to the experiment
        _sweep(given[1:])
        return
    chosen = parser().parse_args(given)
    # imported here, so that --help does not wait for the scientific libraries
    from hierdiff.command_line import execute

    execute(lambda: _COMMANDS[chosen.command](chosen))


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line with the nearest command or option."""

    def error(self, message: str) -> NoReturn:
        command = re.search(r"argument COMMAND: invalid choice: '([^']*)'", message)
        option = re.search(r"unrecognized arguments: (-[\w-]+)", message)
        known: list[str] = []
        if command:
            known = list(self.commands)
            message = f"{command.group(1)!r} is no command"
        elif option:
            for one in (self, *self.commands.values()):
                known += one._option_string_actions
        wrong = command or option
        near = difflib.get_close_matches(wrong.group(1), known, 1) if wrong else []
        hint = f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"error: {message}{hint} ({self.prog} --help lists all)\n")

    @property
    def commands(self) -> dict[str, argparse.ArgumentParser]:
        """The parsers of the commands below this one."""
        below = [x for x in self._actions if isinstance(x, argparse._SubParsersAction)]
        return dict(below[0].choices) if below else {}


def parser() -> argparse.ArgumentParser:
    """The commands."""
    parser = _Parser(
        prog="hierdiff",
        description="What do diffusion models know about the structure of their data, and at "
        "which noise level?",
        epilog="hierdiff list names the experiments.  Example: hierdiff run phase-transition --v 8 "
        "--m 3 --L 4 --out out/first",
    )
    parser.add_argument("--version", action="version", version=f"hierdiff {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    one = commands.add_parser("list", help="list the experiments")
    one.add_argument("--json", action="store_true", help="as JSON")
    commands.add_parser(
        "run", help="run an experiment; hierdiff run EXPERIMENT --help lists its flags"
    )
    commands.add_parser("sweep", help="run an experiment at every point of a grid")
    one = commands.add_parser("show", help="axes, numbers, claim and provenance of a result")
    one.add_argument("file")
    one.add_argument("--json", action="store_true", help="as JSON")
    one = commands.add_parser("compare", help="z-scores of results against the first one")
    one.add_argument("files", nargs="+", metavar="file")
    one.add_argument(
        "--shared", action="store_true",
        help="compare the coordinate values that all files have, and leave out the others",
    )  # fmt: skip
    one.add_argument("--json", action="store_true", help="as JSON")
    one = commands.add_parser("plot", help="draw the figure of a stored run again")
    one.add_argument("file")
    one.add_argument("--out", help="folder; default that of the file")
    one.add_argument("--format", default="png", help="png, pdf or svg")
    one = commands.add_parser("rerun", help="run the experiment of a result again, and compare")
    one.add_argument("file")
    one.add_argument("--out", help="folder; default a folder again beside the file")
    one.add_argument("--workers", type=int, help="tasks at a time")
    one = commands.add_parser("verify", help="test theory against sampling, law by law")
    one.add_argument("laws", nargs="*", metavar="law", help="default all; a wrong name lists them")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--out", default="out", help="folder of the laws that are finished")
    one.add_argument("--workers", type=int, help="laws at a time")
    one.add_argument("--no-resume", action="store_true", help="measure finished laws again")
    one.add_argument("--json", action="store_true", help="as JSON")
    one = commands.add_parser("cite", help="BibTeX of the papers behind a function or experiment")
    one.add_argument("name", nargs="?", default="", help="default all papers that are used")
    commands.add_parser("reproduce", help="run the protocol of one of the five papers")
    commands.add_parser("suite", help="run all studies on networks, in order, within a limit")
    one = commands.add_parser("features", help="write features of images to files, chunk by chunk")
    one.add_argument("--model", required=True, help="module:factory, a folder of diffusers, a name")
    one.add_argument("--images", required=True, help="digits, fashion, fashion-14, or a folder")
    one.add_argument("--t", nargs="+", type=float, required=True, help="noise levels")
    one.add_argument("--layers", nargs="+", default=[], help="submodules; default as declared")
    one.add_argument("--split", default="test", help="train or test, of a named set")
    one.add_argument("--out", default="out/features", help="folder of the files")
    one.add_argument("--chunk", type=int, default=256, help="images in memory at a time")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--device", default="cpu")
    one.add_argument("--accept-licence", action="store_true")
    one = commands.add_parser("models", help="list the public checkpoints that can be loaded")
    one.add_argument("--json", action="store_true", help="as JSON")
    return parser


# ------------------------------------------------------------------------------------ each command


def _list(chosen: argparse.Namespace) -> None:
    if not chosen.json:
        print(table())
        return
    rows = [{"name": name, **entry._asdict()} for name, entry in EXPERIMENTS.items()]
    print(json.dumps(rows, indent=1))


def _show(chosen: argparse.Namespace) -> None:
    """What a file holds; of a run also its table and claim."""
    from hierdiff import results
    from hierdiff.errors import InvalidParameter
    from hierdiff.sims.stored_results import (
        describe,
        experiment_of,
        results_of,
        summary_of,
        summary_text,
        values_of,
    )

    if chosen.file.endswith(".json"):
        made = summary_of(chosen.file)
        print(results.json_text(made) if chosen.json else summary_text(made))
        return
    ds = results.load(chosen.file)
    try:
        said = experiment_of(chosen.file).summary(results_of(chosen.file))
    except (InvalidParameter, LookupError, ValueError, AttributeError):
        said = None  # a file apart from its run, or changed since, still has its own numbers
    if chosen.json:
        found: dict[str, Any] = {"source": str(ds.source.values), "values": values_of(ds)}
        found["attributes"] = {str(k): str(x) for k, x in ds.attrs.items()}
        if said is not None:
            found |= {"claim": said.claim, "summary": said.values}
        print(results.json_text(found))
        return
    print(describe(ds))
    if said is not None:
        print(f"\n{said.table}\n{said.claim}")


def _compare(chosen: argparse.Namespace) -> None:
    from hierdiff.sims.stored_results import score_table, scores

    found = scores(chosen.files, shared=chosen.shared)
    print(json.dumps([row._asdict() for row in found], indent=1) if chosen.json
          else score_table(found))  # fmt: skip


def _plot(chosen: argparse.Namespace) -> None:
    from hierdiff.sims.stored_results import draw

    print(f"wrote {' and '.join(map(str, draw(chosen.file, chosen.out, chosen.format)))}")


def _rerun(chosen: argparse.Namespace) -> None:
    from hierdiff.sims.stored_results import run_again

    print(run_again(chosen.file, chosen.out, workers=chosen.workers))


def _verify(chosen: argparse.Namespace) -> None:
    """Exit status 1 if a law is broken, or a planted wrong one is not rejected."""
    from hierdiff.sims.verification import as_json, ledger, sound, verify

    found = verify(
        chosen.laws or None, seed=chosen.seed, out=chosen.out, workers=chosen.workers,
        resume=not chosen.no_resume,
    )  # fmt: skip
    print(json.dumps(as_json(found), indent=1) if chosen.json else ledger(found))
    if not sound(found):
        raise SystemExit(1)


def _cite(chosen: argparse.Namespace) -> None:
    from hierdiff.citations import cite

    print(cite(chosen.name), end="")


def _features(chosen: argparse.Namespace) -> None:
    from hierdiff._lazy import import_optional

    import_optional("torch", "'hierdiff[networks]'", "hierdiff features")
    from hierdiff.validation.feature_files import features_of

    found = features_of(
        chosen.model, chosen.images, tuple(chosen.t), chosen.out, layers=tuple(chosen.layers),
        split=chosen.split, chunk=chosen.chunk, seed=chosen.seed, device=chosen.device,
        accept_licence=chosen.accept_licence,
    )  # fmt: skip
    print(f"wrote {found.path}: {len(found)} images, layers {', '.join(found.layers)}")


def _models(chosen: argparse.Namespace) -> None:
    from hierdiff.validation.pretrained.download import print_models

    print_models(chosen.json)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "list": _list, "show": _show, "compare": _compare, "plot": _plot, "rerun": _rerun,
    "verify": _verify, "cite": _cite, "models": _models, "features": _features,
}  # fmt: skip


def _run(arguments: Sequence[str]) -> None:
    """Run the experiment that is named first, with the flags that follow."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: hierdiff run EXPERIMENT [flags]\n\n{table()}")
        raise SystemExit(0 if arguments else 2)
    from hierdiff.command_line import execute

    kind = execute(lambda: experiment(arguments[0]))
    from hierdiff.sims.run import command

    command(kind, arguments[1:], program=f"hierdiff run {arguments[0]}")


def _sweep(arguments: Sequence[str]) -> None:
    """Run an experiment at every point of a grid, with the flags that follow."""
    own = _Parser(
        prog="hierdiff sweep",
        usage="hierdiff sweep EXPERIMENT --grid NAME=VALUES [--grid ...] [flags of the experiment] "
        "[run options]",
        description="Run an experiment at every point of a grid.  Finished points are read, not "
        "run again.  hierdiff run EXPERIMENT --help lists the flags of the experiment.",
        epilog="Run options are those of hierdiff run: --out FOLDER (default out), --workers N "
        "(tasks at a time, default all processors), --cluster ADDRESS (of a Dask scheduler), "
        "--no-resume, --overwrite, --device NAME, --format png|pdf|svg, --quiet, --json.",
        allow_abbrev=False,  # --m is a parameter of a grammar, not short for --max-points
    )
    own.add_argument("experiment")
    own.add_argument(
        "--grid", action="append", default=[], metavar="NAME=VALUES",
        help="A,B,C lists values, A:B counts from A to B, A:B:STEP in steps; once per parameter",
    )  # fmt: skip
    own.add_argument(
        "--target-error", action="append", default=[], metavar="NAME=ERROR",
        help="add repetitions until the standard error of a variable is this small",
    )  # fmt: skip
    own.add_argument("--part", default="1/1", help="K/N: run every N-th point, from the K-th on")
    own.add_argument(
        "--also", action="append", default=[], metavar="FOLDER",
        help="read finished points of another machine's folder",
    )  # fmt: skip
    own.add_argument("--max-points", type=int, default=10_000, help="refuse larger grids")
    chosen, rest = own.parse_known_args(list(arguments))
    from hierdiff.command_line import execute

    execute(lambda: _sweep_over(chosen, rest))


def _sweep_over(chosen: argparse.Namespace, rest: list[str]) -> None:
    from hierdiff.command_line import parse_flags
    from hierdiff.errors import InvalidParameter
    from hierdiff.results import json_text
    from hierdiff.sims.run import RunOptions
    from hierdiff.sims.sweep import grid_of, rows, sweep, table

    kind = experiment(chosen.experiment)
    grid = grid_of(kind, chosen.grid)
    # the first point, because the default of a parameter may not fit the flags that are given
    start = [w for name, x in grid.items() for w in (f"--{name.replace('_', '-')}", str(x[0]))]
    program = f"hierdiff sweep {chosen.experiment}"
    one, options = parse_flags(kind, RunOptions, [*rest, *start], program)
    k, slash, n = chosen.part.partition("/")
    if not (slash and k.isdigit() and n.isdigit()):
        raise InvalidParameter(f"--part {chosen.part!r} must be K/N, as 3/16")
    if options.summary is not None:
        raise InvalidParameter("--summary belongs to one run; a sweep writes sweep_NAME.nc")
    target = {}
    for word in chosen.target_error:
        name, equals, value = word.partition("=")
        try:
            target[name] = float(value if equals else "no number")
        except ValueError:
            raise InvalidParameter(
                f"--target-error {word!r} must be NAME=ERROR, as threshold=.001"
            ) from None
    found = sweep(
        one, grid, out=options.out, part=(int(k), int(n)), also=chosen.also,
        target=target or None, max_points=chosen.max_points, workers=options.workers,
        resume=options.resume, cluster=options.cluster, overwrite=options.overwrite,
        device=options.device, format=options.format, quiet=options.quiet,
    )  # fmt: skip
    path = options.out / f"sweep_{one.name}.nc"
    if options.json:
        print(json_text({"file": str(path), "points": rows(found)}))
        return
    if not options.quiet:
        print(table(found))
    print(f"wrote {path}")


def table() -> str:
    """The experiments with their questions; what needs an extra that is missing says so."""
    # numpy, which tables of other commands need, would double the time of this one
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
