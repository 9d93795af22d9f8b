"""Progress: a bar on a terminal, few lines in a log, nothing if it is quiet."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from hierdiff import _progress
from hierdiff._progress import Progress, is_quiet, quiet
from hierdiff.tasks import Task, run_tasks


class Terminal(io.StringIO):
    """Standard error as it is on a screen."""

    def isatty(self) -> bool:
        return True


def lines(
    monkeypatch: pytest.MonkeyPatch, n: int, seconds: float, stream: io.StringIO | None = None
) -> str:
    """What n steps write to standard error if lines stand ``seconds`` apart."""
    stream = io.StringIO() if stream is None else stream
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(_progress, "SECONDS", seconds)
    assert list(Progress(range(n), "work", unit="tasks")) == list(range(n))
    return stream.getvalue()


def test_short_work_is_silent_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(monkeypatch, 1000, 10.0) == ""


def test_a_log_has_a_line_for_each_tenth_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    found = lines(monkeypatch, 1000, 0.0).splitlines()
    assert 9 <= len(found) <= 11
    assert found[0].startswith("work: 100 tasks, 10 %, about 00:0")
    assert found[-1].startswith("work: 1000 tasks, 100 %")
    assert all("\r" not in line and "\x1b" not in line for line in found)
    assert len(lines(monkeypatch, 3, 0.0).splitlines()) == 3


def test_work_that_is_resumed_counts_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(_progress, "SECONDS", 0.0)
    for _ in Progress(range(95, 100), "work", total=100, initial=95):
        pass
    assert stream.getvalue() == ""  # five of a hundred are no tenth, and no line stood before
    bar = Progress(desc="file", total=10**7, unit="B", unit_scale=True)
    bar.update(5 * 10**6)
    bar.close()
    assert stream.getvalue().startswith("file: 5.00M B, 50 %, about ")
    with Progress(desc="endless") as bar:  # of unknown length
        bar.update(1)
    assert stream.getvalue().splitlines()[-1] == "endless: 1 it"


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = lines(monkeypatch, 20, 10.0, Terminal())
    assert "\r" in text
    assert "100%" in text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_quiet_is_quiet_and_ends(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    with quiet():
        assert is_quiet()
        with quiet(False):  # what is quiet outside is quiet inside
            assert is_quiet()
        assert lines(monkeypatch, 20, 0.0, stream()) == ""
    assert not is_quiet()
    with quiet(False):
        assert not is_quiet()
    with pytest.raises(ValueError), quiet():
        raise ValueError
    assert not is_quiet()


def square(n: int) -> dict[str, np.ndarray]:
    return {"value": np.array(n**2)}


def test_tasks_write_lines_to_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [Task(square, (n,), {"n": n}) for n in range(20)]
    monkeypatch.setattr(_progress, "SECONDS", 0.0)
    assert [int(x["value"]) for x in run_tasks(tasks, workers=1, name="squares")][:3] == [0, 1, 4]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("squares: 2 tasks, 10 %")
    with quiet():
        run_tasks(tasks, workers=1)
    assert capsys.readouterr().err == ""
