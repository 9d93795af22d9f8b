"""The benchmarks as a program: cases can be found and timed, and their numbers are read rightly."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hierdiff import RHM

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run() -> Iterator[ModuleType]:
    """The command; its files import each other, as scripts in a folder do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import run as command

        yield command


@pytest.fixture(scope="module")
def reading(run: ModuleType) -> ModuleType:
    return sys.modules["reading"]


def test_every_table_has_points_and_cases(run: ModuleType) -> None:
    for name, table in run.tables().items():
        assert table.points, name
        assert all(point.keys() == table.points[0].keys() for point in table.points + table.quick)
        names = [case.name for case in table.cases]
        assert len(set(names)) == len(names) > 0, name
        assert any(not case.peer for case in table.cases) or name == "limits"
        with pytest.raises(ValueError, match="another name"):
            table.case(names[0])(lambda: None)


def test_all_cases_are_listed(run: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name}: " in printed for name in run.tables())


@pytest.mark.parametrize(
    ("words", "message"),
    [("--tables nothing", "there is no table 'nothing'"), ("--rounds 0", "must be positive"),
     ("--against /nowhere", "holds no package"), ("--peers /nowhere", "is no interpreter")],
)  # fmt: skip
def test_bad_options_are_refused(
    run: ModuleType, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run.options(words.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_command_that_is_kept_names_no_folder_of_a_machine(run: ModuleType) -> None:
    words = ["/a/run.py", "--against", "/home/b", "--peers", "/c/bin/python", "--json", "/d/e.json"]
    assert run.command([*words, "--capped"]) == (
        "run.py --against ../before --peers PYTHON --json e.json --capped"
    )


@pytest.mark.slow
def test_programs_are_timed_and_written_point_by_point(
    run: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    words = ["--tables", "start", "--quick", "--json", str(file)]
    assert run.main(words) == 0
    found = json.loads(file.read_text())
    cases = found["tables"]["start"]["compiled = before"]["cases"]
    for name, columns in cases.items():
        (wall,) = columns["now"]["wall"]
        assert 0.005 < wall < 300, name
        assert 0 < columns["now"]["cpu"][0] < 300
    assert cases["posterior imported"]["now"]["cpu"] > cases["import hierdiff"]["now"]["cpu"]
    assert found["machine"]["processors"] >= 1
    assert "hierdiff --help, CPU" in capsys.readouterr().out
    # what is there is not done again, and code that differs is refused
    assert run.main([*words, "--resume"]) == 0
    assert json.loads(file.read_text())["tables"] == found["tables"]
    file.write_text(json.dumps({**found, "trees": {"now": "other"}}))
    with pytest.raises(SystemExit, match="run without --resume"):
        run.main([*words, "--resume"])


def test_a_case_that_fails_says_why_and_stops_nobody(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = run.tables()["start"]
    column = run.Column("now", ROOT, {})
    try:
        broken = column.ask("prepare", table="start", case="no such case", point={})
        assert broken["error"].startswith("StopIteration")
        wrong = column.ask("prepare", table="start", case="import numpy", point={"size": 3})
        assert "unexpected keyword argument" in wrong["error"]
        monkeypatch.setattr(table, "cases", table.cases[:1])
        (one,) = run.time_point(table, table.points[0], {"now": column}, 0.01, 1).values()
        assert len(one["now"]["wall"]) == 1
    finally:
        column.close()
    assert "ended" in column.ask("drop").get("error", "")


def walls(*seconds: float) -> dict[str, Any]:
    return {"wall": list(seconds), "cpu": list(seconds)}


def test_ratios_are_taken_round_by_round(reading: ModuleType) -> None:
    busy = np.array([1.0, 5.0, 2.0, 9.0, 1.0])  # slows both alike
    found = reading.ratio(walls(*(12 * busy)), walls(*(3 * busy)))
    assert found == pytest.approx((4, 4, 4))
    # one round of a slow peer: its median over each round of ours
    found = reading.ratio(walls(12.0), walls(1.0, 2.0, 3.0, 4.0, 6.0))
    assert found.value == pytest.approx(4)
    assert found.low < 4 < found.high
    least, low, middle, high = reading.quantiles(walls(*range(1, 12)))
    assert (least, low, middle, high) == pytest.approx((1, 2, 6, 10))


def test_the_bound_is_the_larger_limit(reading: ModuleType) -> None:
    cells = {"stores": {"limits": walls(2, 3)}, "multiply-adds": {"limits": walls(1, 5, 7)}}
    assert reading.bound(cells)["wall"] == [2, 5]
    assert reading.bound(cells, "now, capped") is None
    assert reading.bound({"stores": {"limits": {"error": "none"}}}) is None


def test_what_is_twice_as_slow_as_committed_is_found(reading: ModuleType) -> None:
    def rows(fast: float, short: float) -> list[dict[str, Any]]:
        return [{"name": "rate", "more is better": True, "seen": {"now": fast}},
                {"name": "time", "more is better": False, "seen": {"now": short}}]  # fmt: skip

    assert reading.slower(rows(51, 1.9), rows(100, 1.0)) == []
    assert len(reading.slower(rows(49, 1.9), rows(100, 1.0))) == 1
    assert len(reading.slower(rows(49, 2.1), rows(100, 1.0))) == 2
    assert reading.slower(rows(49, 2.1), []) == []


def test_the_list_of_targets_in_the_committed_file_is_that_of_its_timings(
    reading: ModuleType,
) -> None:
    found = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert reading.targets(found) == found["targets"]
    lines = reading.targets_text(found["targets"]).splitlines()
    assert len({line.split("  ")[0] for line in lines[1:] if line}) >= len(found["targets"])


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0213, "21.3 ms"), (4e-6, "4 µs"), (3e-8, "30 ns")]
)
def test_times_have_their_unit(reading: ModuleType, seconds: float, text: str) -> None:
    assert reading.time_text(seconds) == text


def test_flops_and_bytes_are_those_of_a_count_by_hand(run: ModuleType) -> None:
    """Every product and sum of both passes over one node, counted as they are done."""
    run.tables()
    counts = sys.modules["belief_propagation"]
    for v, m, s in ((32, 8, 2), (8, 2, 4)):
        up = v * m * ((s - 1) + 1)  # a product of s factors, and a sum
        # products from the left with the parent, from the right, of both; a sum for each child
        down = v * m * ((s - 1) + (s - 2) + (s - 1) + s)
        assert counts.flops((v, m, s, 1), 1) == up + down
    assert counts.flops((32, 8, 2, 10), 1) == 1536 * 1023
    assert counts.output_bytes((32, 8, 2, 10), 256) == 4 * 32 * 2047 * 256


def test_other_formulations_have_the_exact_marginals(run: ModuleType) -> None:
    pytest.importorskip("torch")
    run.tables()
    cases = sys.modules["belief_propagation"]
    from dense_reference import marginals, prior, sparse_marginals

    for function in (marginals, sparse_marginals):
        call = cases.agreeing("C", 3, function)  # compares before it returns
        assert math.isclose(float(call()[0].sum()), 3, rel_tol=1e-5)

    def wrong(rules: Any, leaves: Any) -> Any:
        return [x.flip(0) for x in marginals(rules, leaves)]

    with pytest.raises(AssertionError, match="differ"):
        cases.agreeing("C", 3, wrong)
    grammar, rules, _ = cases.torch_input("C", 1)
    drawn = prior(rules, 20).numpy()
    assert drawn.shape == (20, grammar.n_leaves)
    below = grammar.rules[-1].reshape(-1, 4).tolist()
    assert all(part in below for part in drawn.reshape(-1, 4).tolist())
    other = RHM(8, 2, 4, 4).draw(1).rules[-1].reshape(-1, 4).tolist()
    assert not all(part in other for part in drawn.reshape(-1, 4).tolist())
