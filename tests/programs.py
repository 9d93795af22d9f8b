"""Run a script of the repository in a test, in the process of the tests or in one of its own.

A start of Python with its imports costs more than most of the runs that are tested, so tests call
:func:`run`.  Those about the process itself (exit status, streams, signals) call :func:`run_alone`
or :func:`start`.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(script: str, *flags: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a script that runs as the main program of this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    path = str(ROOT / script)
    with (
        pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(),
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        warnings.simplefilter("default")  # the filters of a program, not those of the tests
        patch.setenv("COLUMNS", "120")
        patch.setattr(sys, "argv", [path, *flags])
        patch.setattr(sys, "path", [str(Path(path).parent), *sys.path])
        patch.setattr(sys, "excepthook", sys.__excepthook__)
        try:
            try:
                runpy.run_path(path, run_name="__main__")
            except Exception as error:
                if sys.excepthook is sys.__excepthook__:
                    raise
                # a program that set its own, for an error that nobody catches
                sys.excepthook(type(error), error, error.__traceback__)
                code = 1
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        finally:
            if "matplotlib.pyplot" in sys.modules:
                sys.modules["matplotlib.pyplot"].close("all")
    return code, out.getvalue(), err.getvalue()


def start(script: str, *flags: str, **options: object) -> subprocess.Popen[str]:
    """A process of its own, with pipes for its output and its errors."""
    environment = {**os.environ, "MPLBACKEND": "agg", "COLUMNS": "120"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *flags], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        # a shell's background jobs ignore Ctrl-C and hand that on; the study must hear it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def run_alone(script: str, *flags: str) -> tuple[int, str, str]:
    """As :func:`run`, in a process of its own."""
    process = start(script, *flags)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
