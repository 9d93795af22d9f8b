"""The mutation run itself: what it changes, and how it tells that a test notices."""

from __future__ import annotations

import json
from pathlib import Path

import mutation
import pytest

SUMMARY = mutation.ROOT / "docs" / "results" / "mutation.json"
PLAIN = '''
"""Has 3 + 4 in it."""
__all__ = ["least"]


def least(x: int | None, y: int = 2) -> int:
    if x < y:
        raise ValueError(f"{x + 1}")
    return x + y
'''


def test_what_computes_is_changed_and_what_tells_is_not() -> None:
    """Neither docstrings, annotations, messages nor what is exported."""
    found = {(m.before, m.after) for m in mutation.mutants("plain.py", PLAIN)}
    assert found == {
        ("def least(x: int | None, y: int = 2) -> int:",
         "def least(x: int | None, y: int = 3) -> int:"),
        ("if x < y:", "if (x <= y):"),
        ("if x < y:", "if (not (x < y)):"),
        ("return x + y", "return (x - y)"),
    }  # fmt: skip


FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize(("body", "fails"), [("assert 1 + 1 == 2", False), ("assert 1 > 1", True)])
def test_a_test_that_fails_is_noticed(body: str, fails: bool, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(f"def test_one():\n    {body}\n")
    assert mutation.noticed(tmp_path, ["tests/test_one.py"], 60)[0] is fails


@pytest.mark.slow
@FORKS
def test_a_test_that_does_not_end_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_one():\n    while True: pass\n")
    found, words = mutation.noticed(tmp_path, ["test_one.py"], 2.0)
    assert found
    assert "did not end" in words


def test_the_tests_that_must_notice_are_there() -> None:
    for module, tests in mutation.TARGETS.items():
        assert (mutation.ROOT / module).exists()
        assert all((mutation.ROOT / test).exists() for test in tests)


def test_no_mutant_lives_in_the_committed_run() -> None:
    found = json.loads(SUMMARY.read_text())
    assert found["lives"] == []
    assert found["tried"] >= 230
    assert all(row["tried"] >= 15 for row in found["modules"].values())
    assert found["modules"].keys() == mutation.TARGETS.keys()
    for row in found["modules"].values():
        assert row["tried"] == row["noticed"] + row["equivalent"]
    assert found["argued"].items() <= mutation.equivalents().items()
    assert len(found["argued"]) == found["equivalent"]


def test_a_record_keeps_what_an_earlier_run_tried_more() -> None:
    first, second, third, *_ = mutation.TARGETS

    def row(tried: int, equivalent: int, possible: int = 50) -> dict[str, int]:
        return {"possible": possible, "tried": tried, "noticed": tried - equivalent,
                "equivalent": equivalent}  # fmt: skip

    before = {
        "modules": {first: row(9, 1), second: row(4, 1), "gone.py": row(9, 0)},
        "argued": {f"{first}: a -> b": "same", f"{second}: c -> d": "same"}, "lives": [],
        "made": {"seconds": 2.0},
    }  # fmt: skip
    now = {
        "modules": {first: row(0, 0, 60), second: row(5, 0), third: row(3, 0)},
        "argued": {}, "lives": [f"{third}: x -> y"], "seconds": 1.0,
    }  # fmt: skip
    found = mutation.merged(now, before)
    assert found["modules"] == {first: row(9, 1, 60), second: row(5, 0), third: row(3, 0)}
    assert found["argued"] == {f"{first}: a -> b": "same"}
    assert found["lives"] == [f"{third}: x -> y"]
    assert (found["possible"], found["tried"], found["noticed"]) == (160, 17, 16)
    assert (found["equivalent"], found["seconds"]) == (1, 1.0)
    assert mutation.merged(now | {"seconds": 0.0}, before)["seconds"] == 2.0
