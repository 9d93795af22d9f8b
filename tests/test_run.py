"""The runner: from an experiment to files, and the command line over the registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib.pyplot as plt
import pytest
import xarray as xr

from hierdiff import registry, results
from hierdiff.__main__ import main, table
from hierdiff.contracts import DiffusionModel, Experiment, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.results import load
from hierdiff.sims.run import RunOptions, command, run
from hierdiff.tasks import Task, run_tasks


def square(x: float) -> dict[str, Any]:
    return {"square": x**2}


@dataclass(frozen=True)
class Square:
    """The square of a number.

    In a second paragraph.
    """

    x: float = 3.0
    """The number."""
    name: ClassVar[str] = "square"
    renamed: ClassVar[Mapping[str, str]] = {"argument": "x"}

    def _label(self, value: float, source: str) -> xr.Dataset:
        variables: Any = {"y": ((), value, "square"), "y_error": ((), 0.1, "its error")}
        return results.label(variables, {}, source, results.provenance({"x": self.x}))

    def predict(self) -> xr.Dataset:
        return self._label(self.x**2, "theory")

    def measure(
        self, model: DiffusionModel | None = None, data: Any = None, **options: Any
    ) -> xr.Dataset:
        if model is not None:
            raise InvalidParameter("model has no number; leave it out")
        (found,) = run_tasks([Task(square, (self.x,), {"x": self.x})], **options)
        return self._label(float(found["square"]), "simulation")

    def datasets(
        self, run: RunOptions, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        measured = self.measure(model, data, **run.tasks(self.name))
        return {"square_theory": self.predict(), "square": measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Any:
        figure, ax = plt.subplots()
        ax.plot([0, float(datasets["square"].y)])
        return figure

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        y = float(datasets["square"].y)
        return Summary(f"  x  y\n{self.x:g}  {y:g}", f"the square is {y:g}", {"y": y})


def test_a_run_saves_draws_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one: Experiment = Square()
    found = run(one, out=tmp_path, summary=tmp_path / "s.json")
    assert list(found) == ["square_theory", "square"]
    lines = capsys.readouterr().out.splitlines()
    files = f"{tmp_path / 'square.nc'} and {tmp_path / 'square.png'}"
    assert lines == ["  x  y", "3  9", f"wrote {files}", "the square is 9"]
    assert (tmp_path / "square.png").read_bytes()[:4] == b"\x89PNG"
    assert len(list((tmp_path / "tasks" / "square").glob("*.npz"))) == 1
    stored = load(tmp_path / "square.nc")
    assert float(stored.y) == 9
    assert json.loads(stored.attrs["parameters"]) == {"x": 3.0}
    values = json.loads((tmp_path / "s.json").read_text())
    assert (values["y"], values["claim"]) == (9.0, "the square is 9")
    assert values["made"]["parameters"] == {"x": 3.0}
    both = results.compare(*found.values())
    assert float(both.y_z.sel(source="simulation")) == 0


def test_a_quiet_run_prints_its_claim_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hierdiff._progress.SECONDS", 0.0)
    run(Square(), out=tmp_path / "a", quiet=True)
    assert capsys.readouterr() == ("the square is 9\n", "")
    run(Square(), out=tmp_path / "b")
    assert capsys.readouterr().err.startswith("tasks: 1 tasks, 100 %")
    command(Square, ["--quiet", "--out", str(tmp_path / "c")])
    assert capsys.readouterr().out == "the square is 9\n"


def test_a_run_prints_json_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(Square, ["--json", "--out", str(tmp_path)])
    assert json.loads(capsys.readouterr().out) == {
        "claim": "the square is 9", "summary": {"y": 9.0},
        "files": [str(tmp_path / "square.nc"), str(tmp_path / "square.png")],
    }  # fmt: skip


@pytest.mark.parametrize("words", [{}, {"NO_COLOR": "1"}, {"NO_COLOR": ""}])
def test_help_has_no_colours_where_they_are_not_wanted(words: dict[str, str]) -> None:
    """On a terminal, which a pseudo-terminal is: colours unless NO_COLOR says otherwise."""
    pty = pytest.importorskip("pty")
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "PYTHON_TYRO_ANSI_CODES")}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hierdiff", "run", "sharpening", "--help"],
        stdout=theirs, env={**plain, "TERM": "xterm", **words},
    ):  # fmt: skip
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            text += part
    os.close(ours)
    assert b"--quiet" in text
    assert (b"\x1b[" in text) is not bool(words.get("NO_COLOR"))


def test_flags_can_be_completed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "sharpening", "--tyro-print-completion", "bash"])
    assert not stop.value.code
    text = capsys.readouterr().out
    assert "--depths" in text or "--data" in text
    assert "complete" in text


@pytest.mark.parametrize(("form", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89")])
def test_figures_have_the_format_that_is_asked_for(
    tmp_path: Path, form: str, start: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Square(), out=tmp_path, format=form)
    assert [p.suffix for p in tmp_path.glob("square.*") if p.suffix != ".nc"] == [f".{form}"]
    assert (tmp_path / f"square.{form}").read_bytes().startswith(start)
    assert f"square.{form}" in capsys.readouterr().out


def test_options_change_no_result_and_no_file_name(tmp_path: Path) -> None:
    run(Square(), out=tmp_path, workers=1)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "tasks").rglob("*.npz")}
    run(Square(), out=tmp_path, workers=2)  # not refused: the same run
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "tasks").rglob("*.npz")} == stamps
    run(Square(), out=tmp_path, resume=False)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "tasks").rglob("*.npz")} != stamps
    with pytest.raises(InvalidParameter, match=r"other parameters \(x = 3.0, now 4.0\)"):
        run(Square(4.0), out=tmp_path)
    run(Square(4.0), out=tmp_path, overwrite=True)
    assert float(load(tmp_path / "square.nc").y) == 16


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"experiment": Square}, "experiment = Square is a class; give an instance, Square()"),
        ({"experiment": 3}, "experiment = 3 is an object without name, predict"),
        ({"workers": 0}, "workers = 0"),
        ({"format": "gif"}, "format = 'gif' must be one of png, pdf, svg"),
        ({"cluster": " "}, "cluster = ' ' is empty"),
        ({"out": ""}, "out = '' must be a path"),
        ({"resume": 2}, "resume = 2"),
        ({"data": 1}, "data were given without the model"),
        ({"model": 1}, "model has no number; leave it out"),
    ],
)
def test_bad_input_is_one_line(wrong: dict[str, Any], words: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"experiment": Square(), "out": tmp_path / "out", **wrong}
    with pytest.raises(InvalidParameter) as caught:
        run(**arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.nc"))


def test_flags_of_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = command(Square, ["--x", "2", "--out", str(tmp_path)])
    assert float(found["square"].y) == 4
    capsys.readouterr()
    command(Square, ["--argument=2", "--out", str(tmp_path)])
    assert capsys.readouterr().err == "note: --argument is now --x\n"
    with pytest.raises(SystemExit) as stop:
        command(Square, ["--workers", "0", "--out", str(tmp_path)])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: workers = 0")
    assert err.count("\n") == 1
    with pytest.raises(SystemExit) as stop:
        command(Square, ["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for word in ("In a second paragraph.", "--x", "The number.", "--device", "--summary"):
        assert word in out


def test_every_experiment_of_the_registry_is_listed_and_imported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.EXPERIMENTS)
    for name, entry in registry.EXPERIMENTS.items():
        kind = registry.experiment(name)
        assert kind.name.replace("_", "-") == name
        assert entry.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shwo"], "error: 'shwo' is no command; did you mean show? (hierdiff --help lists all)\n"),
        (["list", "--jsn"], "error: unrecognized arguments: --jsn; did you mean --json? "
         "(hierdiff --help lists all)\n"),
        (["compare"], "error: the following arguments are required: file "
         "(hierdiff compare --help lists all)\n"),
    ],
)  # fmt: skip
def test_a_wrong_command_or_option_is_one_line_with_the_nearest(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err == said


def test_help_has_an_example_and_the_run_options(capsys: pytest.CaptureFixture[str]) -> None:
    for words, wanted in (
        (["--help"], ("hierdiff list names", "hierdiff run phase-transition")),
        (["sweep", "--help"], ("--out", "--workers", "--cluster", "--max-points")),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        said = " ".join(capsys.readouterr().out.split())
        assert all(word in said for word in wanted)


def test_an_unknown_experiment_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "phase-transitoin"])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert "did you mean 'phase-transition'" in err
    assert err.count("\n") == 1
    for wrong in (3, None, [1]):
        with pytest.raises(InvalidParameter, match="is not known"):
            registry.experiment(wrong)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("default::FutureWarning")
def test_old_names_of_experiments_are_accepted_with_a_note(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not registry.RENAMED.keys() & registry.EXPERIMENTS.keys()
    for old, new in registry.RENAMED.items():
        with pytest.warns(FutureWarning, match=f"{old!r} is now {new!r}"):
            assert registry.experiment(old) is registry.experiment(new)
    with pytest.raises(SystemExit):
        main(["run", "two_worlds", "--grammars", "0"])
    note, error = capsys.readouterr().err.splitlines()
    assert note == "note: experiment 'two-worlds' is now 'data-models'"
    assert "grammars = 0" in error


def test_what_needs_an_extra_is_listed_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    entry = registry.Entry("hierdiff.nowhere:Nothing", "nothing", "networks")
    monkeypatch.setitem(registry.EXPERIMENTS, "nothing", entry)
    assert table().splitlines()[-1].endswith("(needs pip install 'hierdiff[networks]')")
    with pytest.raises(InvalidParameter, match=r"needs the extra \[networks\].*pip install"):
        registry.experiment("nothing")


def test_help_and_list_do_not_wait_for_the_scientific_libraries() -> None:
    code = (
        "import sys; from hierdiff.__main__ import main; main(['list']); "
        "heavy = {'torch', 'xarray', 'matplotlib', 'numba', 'scipy.stats'} & set(sys.modules); "
        "print('heavy', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "heavy []"
