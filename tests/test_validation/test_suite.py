"""The suite of studies: order, limit, resume, failures; every study at its tiny size."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from oracles import one_line
from programs import ROOT

from hierdiff.command_line import parse_flags
from hierdiff.data.fashion import fashion_folder
from hierdiff.errors import InvalidParameter
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.sims.run import RunOptions
from hierdiff.validation import suite
from hierdiff.validation.suite import Suite, run_suite, suite_table
from hierdiff.validation.suite_studies import LEFT_OUT, RUN, STUDIES, Study

# a study of so many steps, which keeps what is done and goes on; it fails on request
PROGRAM = """
import argparse, json, os, pathlib, sys, time
p = argparse.ArgumentParser()
for name in ("--out", "--summary", "--device"):
    p.add_argument(name)
p.add_argument("--steps", type=int)
p.add_argument("--fail", action="store_true")
p.add_argument("--kill", action="store_true")
p.add_argument("--after", default="")  # a study that has to begin before this one ends
o = p.parse_args()
place = pathlib.Path(o.out)
place.mkdir(parents=True, exist_ok=True)
log = place / "steps"
if o.kill:
    os.kill(os.getpid(), 9)
if o.fail:
    sys.exit("error: no numbers today")
while o.after and not (place.parent / o.after / "steps").exists():
    time.sleep(0.05)
while (done := len(log.read_text()) if log.exists() else 0) < o.steps:
    with log.open("a") as file:
        file.write(".")
    time.sleep(0.1)
(place / "figure.png").write_bytes(b"png")
made = {"command": "study", "device": o.device}
pathlib.Path(o.summary).write_text(json.dumps({"claim": f"{done} steps", "made": made}))
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """Three studies of a program of this test, the second of which fails."""
    name = "study_of_this_test"
    (tmp_path / f"{name}.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    studies = [
        Study("short", "a short one", 1, name, "--steps 2", "--steps 1"),
        Study("wrong", "one that fails", 1, name, "--fail --steps 2", "--fail"),
        Study("long", "a long one", 5, name, "--steps 30", "--steps 1"),
    ]
    monkeypatch.setattr(suite, "STUDIES", tuple(studies))
    monkeypatch.setattr(suite, "_LEAST", 0.5)
    monkeypatch.setattr(suite, "_can_fork", lambda _: False)  # this process may have used torch
    return studies


def test_every_study_has_flags_that_its_experiment_takes() -> None:
    assert len({s.name for s in STUDIES}) == len(STUDIES)
    for study in STUDIES:
        if not study.module.startswith(f"{RUN} "):
            assert study.module == "hierdiff.validation.throughput"
            continue
        kind = experiment(study.module.split()[-1])
        for flags in (study.full, study.tiny):
            chosen, _ = parse_flags(kind, RunOptions, [*flags.split(), "--device", "cpu"])
            assert chosen is not None


def forms_of(kind: type) -> tuple[str, ...]:
    """Forms of an experiment, as subcommands, the default first; "" where it has none."""
    sources = getattr(kind, "sources", getattr(sys.modules[kind.__module__], "SOURCES", {"": kind}))
    return tuple(sources)


def test_every_form_of_every_experiment_on_networks_is_in_the_suite_or_left_out() -> None:
    networks = [name for name, entry in EXPERIMENTS.items() if entry.extra == "networks"]
    forms = {name: forms_of(experiment(name)) for name in networks}
    run = set()
    for study in STUDIES:
        name = study.module.removeprefix(f"{RUN} ")
        if name != study.module:
            first = {flags.split()[0] for flags in (study.full, study.tiny)}
            form = {forms[name][0] if word.startswith("-") else word for word in first}
            assert len(form) == 1, f"{study.name} is another study at its tiny size"
            run.add((name, form.pop()))
    every = {(name, form) for name, some in forms.items() for form in some}
    assert run <= every
    assert {(name, form) for name, form in every if form not in LEFT_OUT} == run
    assert {form for _, form in every - run} == set(LEFT_OUT)  # each is a form that there is


def test_studies_run_in_order_and_a_failure_stops_no_other(
    table: list[Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = Suite(tiny=True, out=tmp_path / "out")
    said: list[str] = []
    assert run_suite(one, said.append) == {"short": "done", "wrong": "failed", "long": "done"}
    assert [line.partition(":")[0] for line in said] == ["short", "wrong", "long"]
    assert "error: no numbers today" in said[1]
    found = json.loads((tmp_path / "out" / "short.json").read_text())
    assert found["made"]["command"] == "suite.py --only short --tiny"
    assert (found["made"]["size"], found["made"]["device"]) == ("tiny", "cpu")
    assert found["made"]["wall_seconds"] > 0
    assert (tmp_path / "out" / "short.png").read_bytes() == b"png"
    # again: what is done is not run, what failed is
    said.clear()
    again = run_suite(one, said.append)
    assert again == {"short": "done", "wrong": "failed", "long": "done"}
    assert "done before" in said[0]
    assert "done before" not in said[1]
    rows = suite_table(one).splitlines()
    assert [row.split()[1] for row in rows[1:]] == ["done", "failed", "done"]
    # another size is another study
    assert [r.split()[1] for r in suite_table(Suite(out=one.out)).splitlines()[1:]] == ["waits"] * 3
    with pytest.raises(SystemExit) as stop:
        suite.command(["--tiny", "--out", str(one.out)])
    assert stop.value.code == 1
    assert "2 done, 1 failed" in capsys.readouterr().out


def test_tiny_studies_run_side_by_side_and_are_reported_in_order(
    table: list[Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = table[0].module
    studies = (
        Study("first", "ends after the others", 1, name, "", "--steps 1 --after third"),
        table[1],
        Study("third", "a short one", 1, name, "", "--steps 1"),
        Study("fourth", "ends after the last began", 1, name, "", "--steps 1 --after last"),
        Study("last", "a long one", 1, name, "", "--steps 1000"),
    )
    monkeypatch.setattr(suite, "STUDIES", studies)
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 4:
            raise KeyboardInterrupt  # as Ctrl-C does

    with pytest.raises(KeyboardInterrupt):
        run_suite(Suite(tiny=True, out=tmp_path / "out"), say)
    words = ["first: done", "wrong: failed", "third: done", "fourth: done"]
    assert [line[: len(word)] for line, word in zip(said, words, strict=True)] == words
    state = json.loads((tmp_path / "out" / "suite.json").read_text())["studies"]
    assert {name: one["status"] for name, one in state.items()} == {
        "first": "done", "wrong": "failed", "third": "done", "fourth": "done", "last": "stopped",
    }  # fmt: skip
    steps = tmp_path / "out" / "last" / "steps"
    there = steps.read_text()
    time.sleep(0.3)
    assert steps.read_text() == there  # it does not go on unseen


@pytest.mark.skipif(sys.platform != "linux", reason="forks of a process that has libraries")
def test_tiny_studies_are_forks_of_a_program_that_has_not_used_torch(
    table: list[Study], tmp_path: Path
) -> None:
    """One that fails and one that is killed stop no other, and each has its log."""
    out, name = tmp_path / "out", table[0].module
    killed = Study("killed", "one that dies", 1, name, "", "--kill")
    studies = (killed, table[1], table[0], table[2])
    code = (
        "from hierdiff.validation import suite\n"
        "from hierdiff.validation.suite_studies import Study\n"
        "from hierdiff.validation.suite import *\n"
        f"suite.STUDIES = tuple(Study(*s) for s in {tuple(map(tuple, studies))!r})\n"
        "assert suite._can_fork(Suite(tiny=True))\n"
        f"suite.command(['--tiny', '--out', {str(out)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    words = ["killed: failed", "wrong: failed", "short: done", "long: done", "2 failed, 2 done"]
    assert [x[: len(w)] for x, w in zip(done.stdout.splitlines(), words, strict=True)] == words
    assert "error: no numbers today" in done.stdout
    assert "error: no numbers today" in (out / "wrong.log").read_text()
    made = json.loads((out / "short.json").read_text())["made"]
    assert made["size"] == "tiny"


def test_the_limit_stops_a_study_and_a_second_call_goes_on(
    table: list[Study], tmp_path: Path
) -> None:
    said: list[str] = []
    only = ("short", "long")
    first = run_suite(Suite(only=only, minutes=2.5 / 60, out=tmp_path / "out"), said.append)
    assert first == {"short": "done", "long": "stopped"}
    assert "the same command goes on" in said[-1]
    before = len((tmp_path / "out" / "long" / "steps").read_text())
    assert 0 < before < 30
    spent = json.loads((tmp_path / "out" / "suite.json").read_text())["studies"]["long"]
    assert spent["status"] == "stopped"
    # at a limit that leaves no time nothing is begun
    none = run_suite(Suite(only=only, minutes=0.001 / 60, out=tmp_path / "out"), said.append)
    assert none == {"short": "done", "long": "waits"}
    second = run_suite(Suite(only=only, out=tmp_path / "out"), said.append)
    assert second == {"short": "done", "long": "done"}
    found = json.loads((tmp_path / "out" / "long.json").read_text())
    assert found["claim"] == "30 steps"
    assert found["made"]["wall_seconds"] > spent["wall_seconds"]  # of both calls


@pytest.mark.slow
def test_an_interrupted_suite_goes_on(table: list[Study], tmp_path: Path) -> None:
    """Ctrl-C, and a state that was cut off."""
    out = tmp_path / "out"
    code = (
        # as from a terminal, also where the tests run in the background of a shell
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hierdiff.validation import suite\n"
        "from hierdiff.validation.suite_studies import Study\n"
        "from hierdiff.validation.suite import *\n"
        f"suite.STUDIES = {tuple(map(tuple, table))!r}\n"
        "suite.STUDIES = tuple(Study(*s) for s in suite.STUDIES)\n"
        f"suite.command(['--only', 'long', '--out', {str(out)!r}])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for _ in range(600):
        if (out / "long" / "steps").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resumes where it stopped" in said
    assert json.loads((out / "suite.json").read_text())["studies"]["long"]["status"] == "stopped"
    done = len((out / "long" / "steps").read_text())
    assert done < 30
    (out / "suite.json").write_text("{")
    lines: list[str] = []
    assert run_suite(Suite(only=("long",), out=out), lines.append) == {"long": "done"}


def test_images_that_are_not_here_are_named(
    table: list[Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "STUDIES", (table[0]._replace(images="fashion"), table[2]))

    def absent(*_: Any) -> Path:
        raise InvalidParameter("install the package dataset-fashion-mnist")

    monkeypatch.setattr("hierdiff.data.fashion.fashion_folder", absent)
    said: list[str] = []
    found = run_suite(Suite(tiny=True, out=tmp_path / "out"), said.append)
    assert found == {"short": "skipped", "long": "done"}
    assert "dataset-fashion-mnist" in said[0]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"only": ("rhm-strings",)}, "no study of the suite; known are throughput"),
        ({"minutes": 0.0}, "minutes = 0"),
        ({"out": ""}, "out = ''"),
    ],
)
def test_bad_flags_are_one_line(words: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidParameter, match=match) as error:
        Suite(**words)
    one_line(error)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidParameter, match="give another folder"):
        run_suite(Suite(out=tmp_path / "file" / "out"))


@pytest.mark.slow
def test_every_study_runs_at_its_tiny_size(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hierdiff", "suite", "--tiny", "--device", "cpu"]
    done = subprocess.run([*words, "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    state = json.loads((tmp_path / "suite.json").read_text())["studies"]
    found = {s.name: state.get(s.name, {"status": "skipped"})["status"] for s in STUDIES}
    try:
        fashion_folder()
        clothes = "done"
    except InvalidParameter:
        clothes = "skipped"
    assert found == {s.name: clothes if s.images else "done" for s in STUDIES}
    for study in STUDIES:
        if found[study.name] == "done":
            made = json.loads((tmp_path / f"{study.name}.json").read_text())["made"]
            assert made["size"] == "tiny"
            assert (tmp_path / f"{study.name}.png").stat().st_size > 1000
