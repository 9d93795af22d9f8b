"""Programs from start to end: imports, the first call on a fresh machine, the main job."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Call, Table

__all__: list[str] = []

START = Table(
    "start", "Start of a program", points=({"compiled": "before"},), programs=True, least=5,
    quick=({"compiled": "before"},), seconds=3,
)  # fmt: skip
FIRST = Table(
    "first call", "A program that calls posterior once, size C", programs=True, least=2, seconds=5,
    points=({"compiled": "now"}, {"compiled": "before"}), quick=({"compiled": "now"},),
)  # fmt: skip
MAIN = Table(
    "main job", "The phase transition at the paper's size, (32, 8, 2, 10)", programs=True, least=1,
    points=({"compiled": "now"}, {"compiled": "before"}), quick=(), seconds=1,
)  # fmt: skip

ONE_CALL = (
    "from hierdiff import RHM, UniformNoise; from hierdiff.theory import posterior;"
    "g, n = RHM(8, 2, 4, 4).draw(0), UniformNoise(8);"
    "posterior(g, n.evidence(g.sample(8, 1).leaves, .3), dtype='float32')"
)


@functools.cache
def _kept() -> Path:
    """A folder of compiled code that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="hierdiff-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _run(words: list[str], compiled: Path, out: Path | None = None) -> None:
    """Run a program of this column's tree; compiled code is kept in a folder."""
    place = [] if out is None else ["--out", str(out)]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(compiled), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, *words, *place], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


def program(words: list[str], compiled: str, *, writes: bool = False) -> Call:
    """A call that runs a program: with code compiled before, or with none ("now").

    A program that finds none leaves what it compiles, so points with "now" come first.
    """

    def call() -> None:
        if compiled == "now":
            shutil.rmtree(_kept(), ignore_errors=True)
        with tempfile.TemporaryDirectory() as folder:
            _run(words, _kept(), Path(folder) / "out" if writes else None)

    if compiled == "before" and not any(_kept().glob("*")):
        call()
    return call


@START.case("import numpy")
def numpy(compiled: str) -> Call:
    return program(["-c", "import numpy"], compiled)


@START.case("import hierdiff")
def package(compiled: str) -> Call:
    return program(["-c", "import hierdiff"], compiled)


@START.case("posterior imported")
def theory(compiled: str) -> Call:
    return program(["-c", "from hierdiff.theory import posterior"], compiled)


@START.case("PhaseTransition imported")
def sims(compiled: str) -> Call:
    return program(["-c", "from hierdiff.sims import PhaseTransition"], compiled)


@START.case("hierdiff --help")
def help_(compiled: str) -> Call:
    return program(["-m", "hierdiff", "--help"], compiled)


@FIRST.case("posterior")
def first_call(compiled: str) -> Call:
    return program(["-c", ONE_CALL], compiled)


@MAIN.case("hierdiff run phase_transition")
def main_job(compiled: str) -> Call:
    return program(["sims/phase_transition.py"], compiled, writes=True)
