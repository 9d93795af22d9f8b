"""The networks' studies as one command: in order of worth, resumable, within a limit of time.

    hierdiff suite --device cuda --minutes 9 --out out/suite     # on one accelerator
    hierdiff suite --list --out out/suite                        # what is done, what waits
    hierdiff suite --tiny --device cpu                           # every study, in minutes

A study is an entry of :data:`~hierdiff.validation.suite_studies.STUDIES`.  Each runs in a process
of its own, so that one that fails, or exhausts the memory, stops nothing else. At their own size
one runs after another; tiny ones run side by side on all processors, up to eight, each on one
thread, and import the libraries once for all: on Linux their processes are forks of this one, where
it has not used torch before.

==================  ============================================================================
in ``--out``        what it is
==================  ============================================================================
``NAME.json``       numbers, claim, provenance; under "made" also size, device and wall time
``NAME.png``        the figure
``NAME/``           results, checkpoints and finished tasks, from which a second call goes on
``NAME.log``        what the study printed
``suite.json``      state of every study
==================  ============================================================================

At the limit a running study is interrupted as by Ctrl-C: finished tasks and checkpoints stay, and
the same command goes on where it stopped.  A finished study is not run again, unless its command
line has changed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import joblib
from threadpoolctl import threadpool_limits

from hierdiff._display import text_table
from hierdiff._files import replacing
from hierdiff.checks import check_fields, checked, listed, number, shown, text
from hierdiff.command_line import command_line, execute, parsed
from hierdiff.errors import InvalidParameter
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.validation.suite_studies import RUN, STUDIES, Study

__all__ = ["Suite", "command", "run_suite", "suite_table"]

# an interrupted study saves its tasks; torch may have a kernel to finish first
_GRACE = 20.0
# with less time left a study would only import its libraries
_LEAST = 10.0
# seconds between two looks at the studies that run
_LOOK = 0.05
# tiny studies side by side, each with half a gigabyte of libraries
_MOST = 8


def _names(name: str, value: Any) -> tuple[str, ...]:
    found = listed(name, value, text, least=0)
    known = [study.name for study in STUDIES]
    for word in found:
        if word not in known:
            raise InvalidParameter(
                f"only = {shown(word)} is no study of the suite; known are {', '.join(known)}"
            )
    return found


def _minutes(name: str, value: Any) -> float | None:
    return None if value is None else number(name, value, low=1e-6, high=1e5)  # up to ten weeks


def _device(name: str, value: Any) -> str:
    """A device by name; whether torch has it here is said by the first study."""
    word = text(name, value)
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", word):
        raise InvalidParameter(
            f"{name} = {word!r} is no device; give cpu, cuda, cuda:1, mps, xpu or auto"
        )
    return word


@dataclass(frozen=True)
class Suite:
    """Run the studies on networks in order of worth; a second call goes on."""

    only: tuple[str, ...] = ()
    """Studies by name; default all."""
    tiny: bool = False
    """Every study at a size of seconds, to see that it runs."""
    minutes: float | None = None
    """Stop after so many minutes."""
    device: str = "cpu"
    """Where networks run: cpu, cuda, cuda:1, mps."""
    out: Path = Path("out/suite")
    """Folder for results, figures and what a second call needs."""
    list: bool = False
    """Say what is done and what waits, and run nothing."""

    def __post_init__(self) -> None:
        check_fields(self, only=_names, minutes=_minutes, device=_device, out=_folder)

    @property
    def chosen(self) -> tuple[Study, ...]:
        """The studies, in order of worth."""
        return tuple(s for s in STUDIES if not self.only or s.name in self.only)


def _folder(name: str, value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise InvalidParameter(f"{name} = {shown(value)} must be a path; give a folder")
    return Path(value)


# ------------------------------------------------------------------------------------------- state


def _state(out: Path) -> dict[str, dict[str, Any]]:
    """State of every study that was begun; a file that was cut off is no state."""
    try:
        found = json.loads((out / "suite.json").read_text())
    except (OSError, ValueError):
        return {}
    studies = found.get("studies") if isinstance(found, dict) else None
    return studies if isinstance(studies, dict) else {}


def _keep(out: Path, state: dict[str, dict[str, Any]]) -> None:
    with replacing(out / "suite.json") as temporary:
        temporary.write_text(json.dumps({"studies": state}, indent=1) + "\n")


def _words(study: Study, suite: Suite) -> list[str]:
    """What follows ``python -m``, but for the places of files."""
    flags = study.tiny if suite.tiny else study.full
    return [*study.module.split(), *flags.split(), "--device", suite.device]


def _is_done(study: Study, suite: Suite, state: dict[str, dict[str, Any]]) -> bool:
    one = state.get(study.name, {})
    there = (suite.out / f"{study.name}.json").is_file()
    return there and one.get("status") == "done" and one.get("words") == _words(study, suite)


def _missing(study: Study) -> str:
    """Why a study cannot run on this machine, in one line; "" if it can."""
    if study.images != "fashion":
        return ""
    from hierdiff.data.fashion import fashion_folder

    try:
        fashion_folder()
    except InvalidParameter as error:
        return str(error)
    return ""


@checked
def suite_table(suite: Suite) -> str:
    """What is done and what waits, a line per study.

    Parameters
    ----------
    suite : Suite

    Returns
    -------
    str

    Examples
    --------
    >>> print(suite_table(Suite(only=("bumps-32",), out=Path("no such folder"))))
    study    state  seconds  question
    bumps-32 waits  about 90 phases of bump networks, 32 x 32, attenuated code
    """
    state = _state(suite.out)
    rows = []
    for study in suite.chosen:
        one = state.get(study.name, {})
        same = one.get("words") == _words(study, suite)
        word = str(one.get("status", "waits")) if same else "waits"
        took = one.get("wall_seconds") if same else None
        rows.append([study.name, word, f"about {study.seconds}" if took is None else f"{took:.0f}",
                     study.text])  # fmt: skip
    return text_table(["study", "state", "seconds", "question"], rows, wrap=True)


# --------------------------------------------------------------------------------------------- run


@checked(say=lambda name, value: value)
def run_suite(suite: Suite, say: Callable[[str], None] = print) -> dict[str, str]:
    """Run the studies that are not done, and say of each what became of it.

    Parameters
    ----------
    suite : Suite
    say : callable
        Is given a line per study.

    Returns
    -------
    dict of str
        "done", "stopped" (at the limit; a second call goes on), "failed", "skipped" (its images are
        not on this machine) or "waits", by the name of the study.

    Raises
    ------
    InvalidParameter
        If the folder cannot be written.

    Notes
    -----
    Validity: wall times count what earlier calls spent on the same study.
    """
    try:
        suite.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidParameter(
            f"out = {suite.out} cannot be made ({error.strerror}); give another folder"
        ) from None
    end = None if suite.minutes is None else time.monotonic() + 60 * suite.minutes
    state, lines = _state(suite.out), _Lines([s.name for s in suite.chosen], say)
    found = dict.fromkeys(lines.names, "waits")
    waiting = list(suite.chosen)
    running: list[_Running] = []
    # a study of full size has the machine to itself; a tiny one mostly imports, on one processor
    at_once = min(joblib.cpu_count(), _MOST) if suite.tiny else 1
    start = _fork if _can_fork(suite) else _spawn
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                study = waiting.pop(0)
                word, line = _before(study, suite, state, end)
                if word == "waits":
                    lines.add(study.name, line)
                    waiting.clear()
                elif word:
                    found[study.name] = word
                    lines.add(study.name, line)
                else:
                    running.append(_begin(study, suite, state, end, start))
            time.sleep(_LOOK if running else 0.0)
            for one in [x for x in running if x.is_over()]:
                running.remove(one)
                _stop([one.process])
                word, line = _ended(one, suite, state)
                found[one.study.name] = word
                lines.add(one.study.name, line)
                if word == "stopped":
                    waiting.clear()
    finally:  # also after Ctrl-C: the studies were interrupted with this program
        _stop([one.process for one in running])
        for one in running:
            _keep_time(one, suite, state, "stopped")
    lines.end()
    return found


class _Lines:
    """Lines about studies, said in the order of the studies, whichever ends first."""

    def __init__(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        self.names, self._say, self._next = list(names), say, 0
        self._held: dict[str, str] = {}

    def add(self, name: str, line: str) -> None:
        self._held[name] = line
        while self._next < len(self.names) and self.names[self._next] in self._held:
            self._say(self._held.pop(self.names[self._next]))
            self._next += 1

    def end(self) -> None:
        """Say what is left."""
        for name in self.names:
            if name in self._held:
                self._say(self._held.pop(name))


@dataclass
class _Running:
    """A study in its process, with its entry in the state."""

    study: Study
    process: _Process
    entry: dict[str, Any]
    spent: float
    begun: float
    limit: float | None
    stopped: bool = False

    def is_over(self) -> bool:
        """Whether it ended, or has to."""
        if self.process.poll() is not None:
            return True
        self.stopped = self.limit is not None and time.monotonic() >= self.limit
        return self.stopped


def _before(
    study: Study, suite: Suite, state: dict[str, dict[str, Any]], end: float | None
) -> tuple[str, str]:
    """Why a study is not begun, with the line that says so; "" if it is to begin."""
    if _is_done(study, suite, state):
        return "done", f"{study.name}: done before, {state[study.name]['wall_seconds']:.0f} s"
    why = _missing(study)
    if why:
        return "skipped", f"{study.name}: skipped; {why}"
    if end is not None and end - time.monotonic() < _LEAST:
        return "waits", f"{study.name}: waits; the limit of {suite.minutes:g} minutes is reached"
    return "", ""


def _begin(
    study: Study, suite: Suite, state: dict[str, dict[str, Any]], end: float | None,
    start: Callable[[list[str], Path, bool], _Process],
) -> _Running:  # fmt: skip
    """Start the process of a study."""
    words, out = _words(study, suite), suite.out
    before = state.get(study.name, {})
    spent = float(before.get("wall_seconds", 0.0)) if before.get("words") == words else 0.0
    # results of other sizes in the same folder are replaced
    also = ["--overwrite"] if study.module.startswith(RUN) else []
    files = ["--out", str(out / study.name), "--summary", str(out / f"{study.name}.json"), *also]
    entry = {"status": "running", "words": words, "wall_seconds": spent, "tiny": suite.tiny}
    state[study.name] = entry
    _keep(out, state)
    begun = time.monotonic()
    process = start([*words, *files], out / f"{study.name}.log", suite.tiny)
    limit = None if end is None else max(end - _LEAST / 2, begun + 1)
    return _Running(study, process, entry, spent, begun, limit)


class _Process(Protocol):
    """What is asked of a process, as of :class:`subprocess.Popen`."""

    @property
    def returncode(self) -> int | Any: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...


def _spawn(words: list[str], log: Path, one_thread: bool) -> _Process:
    """A program of its own."""
    # studies side by side already fill the processors
    alone = {"OMP_NUM_THREADS": "1"} if one_thread else {}
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *words], stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "MPLBACKEND": "agg", **alone},
            preexec_fn=None if os.name == "nt" else _heed_interrupts,
        )  # fmt: skip


def _heed_interrupts() -> None:
    """A shell's background programs ignore SIGINT, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _can_fork(suite: Suite) -> bool:
    """Import what the studies have in common, if forks of this process can use it.

    The imports are most of the time of a tiny study.  What ran threads, or an accelerator, cannot
    be used by forks; so torch must not have been used here.
    """
    clean = sys.platform == "linux" and "torch" not in sys.modules
    if not (suite.tiny and suite.device == "cpu" and clean):
        return False
    names = {study.module.removeprefix(RUN).strip() for study in suite.chosen} & set(EXPERIMENTS)
    for name in names:
        with contextlib.suppress(Exception):  # the study's own process says what is wrong
            experiment(name)
    if names:
        with contextlib.suppress(ImportError):
            importlib.import_module("torch._dynamo")  # which the first optimiser would import
    return True


class _Fork:
    """A fork of this process with the methods of :class:`subprocess.Popen`."""

    def __init__(self, words: list[str], log: Path) -> None:
        self._process = multiprocessing.get_context("fork").Process(
            target=_work, args=(words, log), daemon=False
        )
        with warnings.catch_warnings():
            # the threads of linear algebra, which mind forks; no other were started
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("study", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self._process.pid is not None and self._process.exitcode is None:
            os.kill(self._process.pid, sig)


def _fork(words: list[str], log: Path, one_thread: bool) -> _Process:
    """The same in a fork of this process; it has one thread."""
    return _Fork(words, log)


def _work(words: list[str], log: Path) -> None:
    """What ``python -m`` does with these words, in a fork."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = log.open("w", buffering=1)  # stays open for what is said last
    for descriptor in (1, 2):
        os.dup2(file.fileno(), descriptor)
    sys.stdout = sys.stderr = file
    os.environ["MPLBACKEND"] = "agg"
    threadpool_limits(1)  # studies side by side already fill the processors
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def _stop(processes: Sequence[_Process]) -> None:
    """Interrupt processes that still run; one that heeds nothing is killed."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        alive = [process for process in processes if process.poll() is None]
        for process in alive:
            process.send_signal(sign)
        patience = time.monotonic() + _GRACE
        for process in alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(patience - time.monotonic(), 0.0))


def _keep_time(one: _Running, suite: Suite, state: dict[str, dict[str, Any]], status: str) -> None:
    """Note how a study ended, and the time that all calls spent on it."""
    one.entry["wall_seconds"] = round(one.spent + time.monotonic() - one.begun, 1)
    one.entry["status"] = status
    _keep(suite.out, state)


def _ended(one: _Running, suite: Suite, state: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """What became of a study, and the line that says so."""
    study, summary = one.study, suite.out / f"{one.study.name}.json"
    done = one.process.returncode == 0 and summary.is_file()
    status = "stopped" if one.stopped else "done" if done else "failed"
    _keep_time(one, suite, state, status)
    took = f"{one.entry['wall_seconds']:.0f} s"
    if status == "done":
        claim = _finish(study, suite, summary, float(one.entry["wall_seconds"]))
        return status, f"{study.name}: done, {took}: {claim}"
    if status == "stopped":
        return status, f"{study.name}: stopped at the limit after {took}; the same command goes on"
    log = suite.out / f"{study.name}.log"
    return status, f"{study.name}: failed after {took}: {_last_line(log)}"


def _finish(study: Study, suite: Suite, summary: Path, seconds: float) -> str:
    """Say in the study's own file how it was made here, and put its figure beside it."""
    found: dict[str, Any] = json.loads(summary.read_text())
    made = found.setdefault("made", {})
    made["study"] = made.get("command", "")
    made["command"] = " ".join(["suite.py", "--only", study.name, *(["--tiny"] * suite.tiny)])
    size = "tiny" if suite.tiny else "CPU" if suite.device == "cpu" else "GPU"
    made |= {"size": size, "wall_seconds": seconds}
    made.setdefault("device", suite.device)
    with replacing(summary) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    figures = sorted((suite.out / study.name).glob("*.png"))
    if figures:
        shutil.copy(figures[0], suite.out / f"{study.name}.png")
    return str(found.get("claim", ""))


def _last_line(log: Path) -> str:
    try:
        lines = [x for x in log.read_text(errors="replace").splitlines() if x.strip()]
    except OSError:
        lines = []
    return lines[-1][:300] if lines else f"it printed nothing; see {log}"


@checked(arguments=lambda name, value: value)
def command(arguments: Sequence[str] | None = None, *, program: str = "") -> dict[str, str]:
    """Run the suite with the flags of the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: the command line.
    program : str
        Name in the usage line; default that of the script.

    Returns
    -------
    dict of str
        As :func:`run_suite`.

    Raises
    ------
    SystemExit
        With status 1 if a study failed, 2 for bad input, 130 after Ctrl-C.
    """
    import tyro

    def work() -> dict[str, str]:
        with command_line():
            words = sys.argv[1:] if arguments is None else list(arguments)
        suite = parsed(lambda: tyro.cli(Suite, args=words, prog=program or None))
        if suite.list:
            print(suite_table(suite))
            return {}
        found = run_suite(suite, lambda line: print(line, flush=True))
        counts = {word: list(found.values()).count(word) for word in dict.fromkeys(found.values())}
        said = ", ".join(f"{n} {word}" for word, n in counts.items())
        print(f"{said}; results in {suite.out}")
        if "failed" in counts:
            raise SystemExit(1)
        return found

    return execute(work)
