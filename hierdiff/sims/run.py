"""From an experiment to files: run it, save the results and the figure, print table and claim.

This is the only place where an experiment becomes files.  :func:`run` is the function for
programs, :func:`command` reads the flags of a command line.  A new experiment is a class that
follows :class:`hierdiff.contracts.Experiment` and one line in :mod:`hierdiff.registry`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import xarray as xr

from hierdiff import results
from hierdiff._lazy import import_optional
from hierdiff._progress import quiet as quietly
from hierdiff.checks import check_fields, checked, flag, shown, unchecked, whole
from hierdiff.command_line import command_line, execute, parse_flags
from hierdiff.contracts import DiffusionModel, Experiment
from hierdiff.errors import InvalidParameter
from hierdiff.fingerprints import fingerprint

__all__ = ["RunOptions", "command", "run"]


def _path(name: str, value: Any) -> Path:
    """A path that has letters."""
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise InvalidParameter(f"{name} = {shown(value)} must be a path; give a folder or a file")
    return Path(value)


def _optional_path(name: str, value: Any) -> Path | None:
    return None if value is None else _path(name, value)


# a thread has a stack of its own, and no machine has more processors than this
_WORKERS = partial(whole, low=1, high=10**4)


def _workers(name: str, value: Any) -> int | None:
    return None if value is None else _WORKERS(name, value)


# names that torch gives to its devices, with a number; "auto" is the fastest
_DEVICES = re.compile(r"auto|(cpu|cuda|mps|xpu)(:\d+)?")


def _device(name: str, value: Any) -> str:
    if not (isinstance(value, str) and _DEVICES.fullmatch(value)):
        raise InvalidParameter(
            f"{name} = {shown(value)} is no device; give cpu, cuda, cuda:1, mps or auto"
        )
    return value


FORMATS = ("png", "pdf", "svg")


def _format(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in FORMATS:
        raise InvalidParameter(f"{name} = {shown(value)} must be one of {', '.join(FORMATS)}")
    return value


def _address(name: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise InvalidParameter(f"{name} = {shown(value)} is empty; give an address, or None")
    return value


@dataclass(frozen=True)
class RunOptions:
    """Where and how an experiment is run; nothing here changes a number."""

    out: Path = Path("out")
    """Folder for the results, the figure and the finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
    workers: int | None = None
    """Tasks at a time; default all processors.  Results do not depend on it."""
    resume: bool = True
    """Use the finished tasks of an earlier run of the same command."""
    cluster: str | None = None
    """Address of a Dask scheduler to run the tasks on."""
    device: str = "cpu"
    """Where networks run: cpu, cuda, cuda:1, mps."""
    summary: Path | None = None
    """Also write the numbers of the summary as JSON to this file."""
    format: str = "png"
    """Kind of file of the figures: png, pdf or svg."""
    quiet: bool = False
    """Print the claim alone, and nothing of the progress."""
    json: bool = False
    """Print the claim and the numbers of the summary as JSON, and nothing else."""

    def __post_init__(self) -> None:
        check_fields(
            self, out=_path, summary=_optional_path, workers=_workers, cluster=_address,
            device=_device, format=_format, quiet=flag, json=flag,
        )  # fmt: skip

    @property
    def folder(self) -> Path:
        """Folder of the results; :func:`run` has tried it by writing."""
        return self.out

    @checked
    def tasks(self, name: str) -> dict[str, Any]:
        """Keyword arguments of :func:`hierdiff.tasks.run_tasks` for the tasks of an experiment.

        Examples
        --------
        >>> RunOptions().tasks("alignment")
        {'folder': PosixPath('out/tasks/alignment'), 'workers': None, 'cluster': None}
        """
        folder = results.task_folder(self.out, name, True)
        return {"folder": folder, "workers": self.workers, "cluster": self.cluster}


@checked(experiment=unchecked, model=unchecked, data=unchecked, out=_path, workers=_workers,
         cluster=_address, summary=_optional_path, format=_format)  # fmt: skip
def run(
    experiment: Experiment,
    model: DiffusionModel | None = None,
    data: Any = None,
    *,
    out: str | os.PathLike[str] = "out",
    workers: int | None = None,
    resume: bool = True,
    cluster: str | None = None,
    summary: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    format: str = "png",
    quiet: bool = False,
) -> dict[str, xr.Dataset]:
    """Run an experiment, save its results and figure, and print its table and claim.

    Parameters
    ----------
    experiment : Experiment
        As its class follows :class:`hierdiff.contracts.Experiment`.
    model : DiffusionModel, optional
        The model that is measured; default the exact one that the experiment makes.
    data : optional
        Data of the model, in the form that the experiment's ``measure`` names.
    out : path-like
        Folder for the results ``NAME.nc``, ``NAME_theory.nc``, ..., the figure ``NAME.png`` and the
        finished tasks.
    workers : int, optional
        Tasks at a time; default all processors.
    resume : bool
        Use the finished tasks of an earlier run.
    cluster : str, optional
        Address of a Dask scheduler.
    summary : path-like, optional
        JSON file for the numbers of the summary.
    overwrite : bool
        Replace results and a summary of other parameters.
    device : str
        Where networks run.
    format : {"png", "pdf", "svg"}
        Kind of file of the figures.
    quiet : bool
        Print the claim alone, and nothing of the progress.

    Returns
    -------
    dict of xarray.Dataset
        By the stem of their file.

    Raises
    ------
    InvalidParameter
        If ``experiment`` is no experiment, the model cannot answer its question, the folder cannot
        be written, or it or ``summary`` holds results of other parameters.

    Notes
    -----
    Validity: results do not depend on ``workers``, ``resume``, ``cluster`` and ``out``.

    Examples
    --------
    >>> import contextlib, io, tempfile
    >>> from hierdiff.sims import PhaseTransition
    >>> small = PhaseTransition(v=4, m=2, L=2, grammars=2, data=2, levels=5, refine=0)
    >>> with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    ...     found = run(small, out=folder)
    >>> list(found)
    ['phase_transition_theory', 'phase_transition']
    """
    options = RunOptions(
        out=Path(out), overwrite=overwrite, workers=workers, resume=resume, cluster=cluster,
        device=device, summary=None if summary is None else Path(summary), format=format,
        quiet=quiet,
    )  # fmt: skip
    return results.tracked(_run)(experiment, model, data, options)


def _run(
    experiment: Experiment, model: DiffusionModel | None, data: Any, options: RunOptions
) -> dict[str, xr.Dataset]:
    refuse_no_experiment(experiment)
    if data is not None and model is None:
        raise InvalidParameter("data were given without the model they belong to; give both")
    name, parameters = experiment.name, asdict(cast(Any, experiment))
    given = {} if model is None else {"model": fingerprint((model, data))}
    results.start_run(
        type(experiment).__qualname__,
        {**parameters, **given},
        options.out,
        files_of(experiment),
        overwrite=options.overwrite,
        summary=options.summary,
    )
    results.task_folder(options.out, name, options.resume)
    results.provenance({})  # the commit of the code that runs, not of one made meanwhile
    with quietly(options.quiet):
        found = experiment.datasets(options, model, data)
    for stem, ds in found.items():
        results.save(ds, options.out / f"{stem}.nc")
    written = [options.out / f"{stem}.nc" for stem in found if stem == name or len(found) == 1]
    written += write_figures(experiment, found, options.out, options.format)
    said = experiment.summary(found)
    if not options.quiet and not options.json:
        print(said.table)
        print(f"wrote {' and '.join(map(str, written))}")
    if options.summary is not None:
        # without networks nothing but the processor computes
        made = {"experiment": type(experiment).__qualname__}
        made |= {"device": _device_name(options.device)} if "torch" in sys.modules else {}
        values = {**said.values, "claim": said.claim}
        results.write_summary(options.summary, values, parameters, also=made)
    if options.json:
        words = {"claim": said.claim, "summary": said.values, "files": list(map(str, written))}
        print(results.json_text(words))
    else:
        print(said.claim)
    sys.stdout.flush()
    return found


def refuse_no_experiment(experiment: Any) -> None:
    """Refuse what does not have the methods of an experiment."""
    if isinstance(experiment, type):
        raise InvalidParameter(
            f"experiment = {experiment.__name__} is a class; give an instance, "
            f"{experiment.__name__}()"
        )
    needed = ("name", "predict", "measure", "datasets", "figure", "summary")
    missing = [word for word in needed if not hasattr(experiment, word)]
    if missing or not dataclasses.is_dataclass(experiment):
        what = f"without {', '.join(missing)}" if missing else "that is no dataclass"
        raise InvalidParameter(
            f"experiment = {shown(experiment)} is an object {what}; give an experiment such as "
            "PhaseTransition()"
        )


def files_of(experiment: Any) -> tuple[str, ...]:
    """Stems of the files of an experiment; ``files`` where it has that, else result and theory."""
    name = str(experiment.name)
    return tuple(getattr(experiment, "files", (name, f"{name}_theory")))


def write_figures(
    experiment: Experiment, found: Mapping[str, xr.Dataset], out: Path, form: str
) -> list[Path]:
    """Write the figures; returns their files."""
    figures = experiment.figure(found)
    if not isinstance(figures, Mapping):
        figures = {experiment.name: figures}
    return [save_figure(figure, out / f"{stem}.{form}") for stem, figure in figures.items()]


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure and close it."""
    # matplotlib takes half a second, which a program without figures need not wait for
    from hierdiff.plots import plt

    figure.savefig(path, dpi=160)
    plt.close(figure)
    return path


def _device_name(device: str) -> str:
    """The name of an accelerator as torch reports it, or the word itself."""
    torch = sys.modules.get("torch")  # imported by the networks that ran on it
    if torch is not None and device.startswith("cuda") and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(device))
    return device


@checked(kind=unchecked)
def command(
    kind: type[Any], arguments: Sequence[str] | None = None, *, program: str = ""
) -> dict[str, xr.Dataset]:
    """Run an experiment with the flags of the command line; in a notebook with its defaults.

    Parameters
    ----------
    kind : type
        The class of an experiment; its fields and those of :class:`RunOptions` are the flags.
    arguments : sequence of str, optional
        Default: the command line.
    program : str
        Name in the usage line; default that of the script.

    Returns
    -------
    dict of xarray.Dataset
        As :func:`run`.

    Raises
    ------
    SystemExit
        After one line on standard error, with status 2 for bad input and 130 after Ctrl-C.
    """
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        raise InvalidParameter(f"kind = {shown(kind)} must be the class of an experiment")

    def work() -> dict[str, xr.Dataset]:
        chosen: Any
        with command_line():
            given = sys.argv[1:] if arguments is None else list(arguments)
        words, name = model_flag(given, hasattr(kind, "arguments"))
        chosen, options = parse_flags(kind, RunOptions, words, program)
        model, data = (None, None) if name is None else _model_of(name, options.device)
        return results.tracked(_run)(chosen, model, data, options)

    return execute(work)


def model_flag(words: Sequence[str], sources: bool) -> tuple[list[str], str | None]:
    """The command line without ``--model X``, and X where it is a model for the experiment itself.

    An experiment with sources keeps the flag for the source that takes images; X is a model for
    its other data where a source stands first, or where X is a factory or a folder and no images
    are named.

    Examples
    --------
    >>> model_flag(["--v", "4", "--model", "mine:net"], False)
    (['--v', '4'], 'mine:net')
    >>> model_flag(["--model", "mine:net", "--images", "fashion"], True)[1] is None
    True
    """
    found = list(words)
    at = next((i for i, w in enumerate(found) if w.partition("=")[0] == "--model"), None)
    if at is None:
        return found, None
    _, equals, value = found[at].partition("=")
    end = at + 1 if equals else at + 2
    value = value if equals else (found[at + 1] if at + 1 < len(found) else "")
    first = found[0] if not found[0].startswith("-") else ""
    images = any(w.partition("=")[0] == "--images" for w in found)
    other = bool(first) and first not in ("own", "catalogue")
    plain = not first and not images and (":" in value or Path(value).is_dir())
    if not value or (sources and not (other or plain)):
        return found, None
    return found[:at] + found[end:], value


def _model_of(name: str, device: str) -> tuple[Any, Any]:
    """A network of one's own, and the data that it declares."""
    # networks are a layer above this one, and need torch
    import_optional("torch", "'hierdiff[networks]'", f"--model {name}")
    reader: Any = importlib.import_module("hierdiff.validation.pretrained.own_models")
    found = reader.open_model(name, device=device)
    return found.model, found.data
