"""Sweeps over grids: what is read, run, grown, divided and refused; and what a file can answer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from oracles import one_line

from hierdiff import results
from hierdiff.__main__ import main
from hierdiff.contracts import DiffusionModel
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.sims import PhaseTransition
from hierdiff.sims.run import run
from hierdiff.sims.stored_results import (
    _decoded,
    describe,
    draw,
    experiment_of,
    results_of,
    run_again,
    scores,
    summary_of,
    values_of,
)
from hierdiff.sims.sweep import grid_of, points_of, sweep, sweep_figure

TINY = PhaseTransition(v=4, m=2, L=2, grammars=3, data=2, levels=5, refine=0)


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without figures, which are not the subject and take most of the time."""
    monkeypatch.setattr("hierdiff.sims.run.write_figures", lambda *_: [])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one small run."""
    folder = tmp_path_factory.mktemp("stored")
    run(TINY, out=folder, workers=1)
    return folder


# ------------------------------------------------------------------------------------- the grid


def test_values_of_a_grid_have_the_type_of_the_field() -> None:
    grid = grid_of(PhaseTransition, ["m=1:3", "L=2:8:3", "noise=masking,uniform"])
    assert grid == {"m": (1, 2, 3), "L": (2, 5, 8), "noise": ("masking", "uniform")}


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("m", "NAME=A,B,C"), ("q=1,2", "is no parameter of PhaseTransition"),
        ("m=2,2", "repeats a value"), ("m=5:2", "has no values"), ("m=a,b", "must be int"),
        ("m=1:2:0", "has no values"), ("m=0:99999999", "more than a million"), ("m=", "NAME=A,B"),
        ("m=1:x", "whole numbers"),
    ],
)  # fmt: skip
def test_a_bad_grid_is_one_line(word: str, rule: str) -> None:
    with pytest.raises(InvalidParameter, match=rule) as error:
        grid_of(PhaseTransition, [word])
    assert "\n" not in str(error.value)


def test_a_refused_point_is_named_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match=r"at m=8: m \* v = 32 rules exceed"):
        sweep(TINY, {"m": (1, 8)}, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------- the sweep


@pytest.mark.slow
@pytest.mark.usefixtures("_undrawn")
def test_every_point_is_the_run_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ds = sweep(TINY, {"m": (1, 2), "L": (2, 3)}, out=tmp_path, workers=1)
    for point, one in points_of(TINY, {"m": (1, 2), "L": (2, 3)}):
        alone = one.measure(workers=1)
        at = ds.sel(point)
        if "threshold" in alone:
            assert float(at.threshold) == float(alone.threshold)
            assert float(at.threshold_error) == float(alone.threshold_error)
        else:
            assert np.isnan(at.threshold)
    stored = results.load(tmp_path / "sweep_phase_transition.nc")
    assert json.loads(stored.attrs["parameters"])["grid"] == {"m": [1, 2], "L": [2, 3]}
    assert set(ds.dims) >= {"m", "L"}
    assert "held" not in capsys.readouterr().err
    sweep(TINY, {"m": (1, 2), "L": (2,)}, out=tmp_path, workers=1)
    said = [line for line in capsys.readouterr().err.splitlines() if "held" in line]
    assert len(said) == 1
    assert said[0].startswith("sweep_phase_transition.nc held L = 3 as well, which this grid lacks")


@pytest.mark.usefixtures("_undrawn")
def test_finished_points_are_read_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sweep(TINY, {"m": (1, 2)}, out=tmp_path, workers=1)
    monkeypatch.setattr(PhaseTransition, "measure", None)  # a run would call it
    again = sweep(TINY, {"m": (1, 2)}, out=tmp_path, workers=1)
    assert first.threshold.equals(again.threshold)


@pytest.mark.usefixtures("_undrawn")
def test_results_of_other_parameters_are_not_replaced(tmp_path: Path) -> None:
    sweep(TINY, {"m": (2,)}, out=tmp_path, workers=1)
    other = PhaseTransition(v=4, m=2, L=2, grammars=3, data=3, levels=5, refine=0)
    with pytest.raises(InvalidParameter, match="holds results of other parameters"):
        sweep(other, {"m": (2,)}, out=tmp_path, workers=1)


@pytest.mark.slow
@pytest.mark.usefixtures("_undrawn")
def test_parts_on_two_machines_join_to_the_whole(tmp_path: Path) -> None:
    grid = {"m": (1, 2), "L": (2, 3)}
    whole = sweep(TINY, grid, out=tmp_path / "whole", workers=1)
    one = sweep(TINY, grid, out=tmp_path / "a", part=(1, 2), workers=1)
    assert int(np.isnan(one.theory_threshold).sum()) == 2  # those of the other part
    joined = sweep(TINY, grid, out=tmp_path / "b", part=(2, 2), also=[tmp_path / "a"], workers=1)
    assert joined.drop_attrs().equals(whole.drop_attrs())
    shutil.copytree(tmp_path / "b" / "points", tmp_path / "a" / "points", dirs_exist_ok=True)
    copied = sweep(TINY, grid, out=tmp_path / "a", workers=1)
    assert copied.drop_attrs().equals(whole.drop_attrs())


@pytest.mark.slow
@pytest.mark.usefixtures("_undrawn")
def test_a_target_adds_grammars_until_the_error_is_small(tmp_path: Path) -> None:
    before = sweep(TINY, {"L": (2,)}, out=tmp_path, workers=1)
    goal = float(before.threshold_error[0]) / 1.5
    counted: list[int] = []
    original = PhaseTransition.measure

    def counting(self: PhaseTransition, *a: Any, **k: Any) -> Any:
        counted.append(self.grammars)
        return original(self, *a, **k)

    PhaseTransition.measure = counting  # type: ignore[method-assign]
    try:
        ds = sweep(TINY, {"L": (2,)}, out=tmp_path, target={"threshold": goal}, workers=1)
    finally:
        PhaseTransition.measure = original  # type: ignore[method-assign]
    assert float(ds.threshold_error[0]) <= goal < float(before.threshold_error[0])
    assert counted == sorted(set(counted)), "grows, and never starts again"
    assert int(ds.repetitions[0]) > TINY.grammars
    # what was grown is the experiment with that many grammars, bit for bit
    alone = PhaseTransition(
        v=4, m=2, L=2, grammars=int(ds.repetitions[0]), data=2, levels=5, refine=0
    ).measure(workers=1)
    assert float(alone.threshold) == float(ds.threshold[0])
    # a second call reads it
    counted.clear()
    again = sweep(TINY, {"L": (2,)}, out=tmp_path, target={"threshold": goal}, workers=1)
    assert counted == []
    assert again.threshold.equals(ds.threshold)


@pytest.mark.slow
@pytest.mark.usefixtures("_undrawn")
def test_a_target_out_of_reach_says_what_it_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hierdiff.sims.sweep._MOST", 2)
    found = float(sweep(TINY, {"L": (2,)}, out=tmp_path, workers=1).threshold_error[0])
    with pytest.raises(
        InvalidParameter, match=r"is not reached with grammars = 6 .*about grammars"
    ):
        sweep(TINY, {"L": (2,)}, out=tmp_path, target={"threshold": found / 5}, workers=1)
    # at once, where no number of grammars in reach would do
    with pytest.raises(InvalidParameter, match=r"with grammars = 3 .*about grammars = .*e\+"):
        sweep(TINY, {"L": (2,)}, out=tmp_path / "c", target={"threshold": 1e-9}, workers=1)
    with pytest.raises(InvalidParameter, match="no measured result has that variable"):
        sweep(TINY, {"L": (2,)}, out=tmp_path / "b", target={"mass": 1e-6}, workers=1)


def test_a_grid_of_a_million_points_is_refused_with_its_time_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"seed": range(1000), "data": range(1, 1001)}
    words = (
        r"1000000 points, more than max_points = 10000; the smallest took \S+ s, so all take about "
        r"\d+ (hours|days) or more"
    )
    with pytest.raises(InvalidParameter, match=words) as error:
        sweep(TINY, grid, out=tmp_path / "a", workers=1)
    one_line(error)
    small = ["--v", "4", "--m", "2", "--L", "2", "--grammars", "2", "--data", "1"]
    with pytest.raises(SystemExit):
        main(["sweep", "phase-transition", "--grid", "seed=0:99999", *small,
              "--out", str(tmp_path / "a")])  # fmt: skip
    assert "--max-points 100000" in capsys.readouterr().err
    # what is small, or impossible, is refused before a point runs
    monkeypatch.setattr("hierdiff.sims.sweep.run", lambda *_, **__: pytest.fail("a point ran"))
    with pytest.raises(InvalidParameter, match="4 points, more than max_points = 3"):
        sweep(TINY, {"seed": range(4)}, out=tmp_path / "a", max_points=3)
    # v = 4 symbols have no more than 4 rules of two
    with pytest.raises(InvalidParameter, match="at seed=0,data=1,m=5: "):
        sweep(TINY, {**grid, "m": range(1, 6)}, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1,), "1/2", (1.5, 2)])
def test_a_bad_part_is_one_line(tmp_path: Path, part: Any) -> None:
    with pytest.raises(InvalidParameter, match="part"):
        sweep(TINY, {"L": (2,)}, out=tmp_path, part=part)


@pytest.mark.slow
def test_the_command_sweeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--v", "4", "--grammars", "2", "--data", "2", "--levels", "5", "--refine", "0"]
    main(["sweep", "phase-transition", "--grid", "m=1,2", "--grid", "L=2", *words,
          "--out", str(tmp_path), "--workers", "1"])  # fmt: skip
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:3] == ["m", "L", "threshold"]
    assert len(out.splitlines()) == 4
    assert "2/2 m=2,L=2" in err
    main(["sweep", "phase-transition", "--grid", "m=1,2", "--grid", "L=2", *words, "--quiet",
          "--format", "svg", "--out", str(tmp_path / "again"), "--workers", "1"])  # fmt: skip
    table = tmp_path / "again" / "sweep_phase_transition.nc"
    assert capsys.readouterr() == (f"wrote {table}\n", "")
    assert len(list((tmp_path / "again").rglob("phase_transition.svg"))) == 2
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "phase-transition", "--grid", "m=1,2", "--part", "3"])
    assert stop.value.code == 2
    assert "must be K/N" in capsys.readouterr().err


# ---------------------------------------------------------------------------- what a file answers


@pytest.mark.parametrize("word", ["--m", "--t", "--data"])
def test_flags_of_an_experiment_are_not_short_for_those_of_a_sweep(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--m 2`` was read as ``--max-points 2``, and the experiment ran with its default."""
    seen: list[Any] = []
    monkeypatch.setattr("hierdiff.sims.sweep.sweep", lambda one, *_, **__: seen.append(one))
    monkeypatch.setattr("hierdiff.sims.sweep.table", lambda _: "")
    values = {"--m": (2,), "--t": (0.25, 0.5), "--data": (7,)}[word]
    main(["sweep", "phase-transition", "--grid", "L=3", "--v", "4", "--m", "2", word,
          *map(str, values), "--out", str(tmp_path)])  # fmt: skip
    assert getattr(seen[0], word[2:]) in (values, values[0])
    capsys.readouterr()


@pytest.mark.slow
def test_a_sweep_as_json_and_as_a_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--v", "4", "--grammars", "2", "--data", "2", "--levels", "5", "--refine", "0"]
    main(["sweep", "phase-transition", "--grid", "m=1,2", "--grid", "L=2,3", *words, "--json",
          "--out", str(tmp_path), "--workers", "1"])  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    stored = results.load(found["file"])
    assert [(x["m"], x["L"]) for x in found["points"]] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    for point in found["points"]:
        at = stored.sel(m=point["m"], L=point["L"])
        assert point["threshold"] == float(at.threshold)
        assert (point["width"] is None) == bool(np.isnan(at.width))
    main(["plot", found["file"], "--format", "svg"])
    path = Path(found["file"]).with_suffix(".svg")
    assert capsys.readouterr().out == f"wrote {path}\n"
    assert path.read_text().lstrip().startswith("<?xml")
    figure = sweep_figure(stored)
    drawn = [ax.containers for ax in figure.axes]
    assert [len(x) for x in drawn] == [2]  # a curve per value of m; no threshold has no error
    with pytest.raises(InvalidParameter, match="no variable with an error"):
        sweep_figure(stored[["threshold"]])


def test_two_results_of_one_source_are_compared_by_the_names_of_their_files(
    stored: Path, tmp_path: Path
) -> None:
    run(dataclasses.replace(TINY, seed=1), out=tmp_path, workers=1)
    found = scores([stored / "phase_transition.nc", tmp_path / "phase_transition.nc"])
    ends = {row.source for row in found}
    assert ends == {f"simulation {tmp_path.name}/phase_transition.nc"}
    assert len({row.variable for row in found}) > 3
    with pytest.raises(InvalidParameter, match="are the same file"):
        scores([stored / "phase_transition.nc"] * 2)


def test_a_summary_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results.write_summary(
        tmp_path / "a.json", {"threshold": 0.25, "claim": "lost at .25"}, {"v": 4}
    )
    main(["show", str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["threshold  0.25", "", "lost at .25"]
    assert "parameters  v = 4" in lines
    main(["show", "--json", str(path)])
    assert json.loads(capsys.readouterr().out)["threshold"] == 0.25
    other = tmp_path / "other.json"
    foreign = ("{}", "[1]", "no json", "[" * 100_000, '{"made": 3}', '{"made": []}',
               '{"made": {"commit": "a", "parameters": [1]}}')  # fmt: skip
    for text in foreign:
        other.write_text(text)
        with pytest.raises(DamagedFile, match="is no summary of hierdiff"):
            summary_of(other)
    with pytest.raises(SystemExit):
        main(["show", str(tmp_path / "nothing.json")])
    assert "no summary at" in capsys.readouterr().err


def test_the_experiment_of_a_file_is_the_one_that_wrote_it(stored: Path) -> None:
    assert experiment_of(stored / "phase_transition.nc") == TINY
    assert list(results_of(stored / "phase_transition.nc")) == [
        "phase_transition_theory", "phase_transition",
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_registered_experiment_comes_back_from_its_parameters(name: str) -> None:
    kind = experiment(name)
    one = kind()
    words = json.loads(json.dumps(dataclasses.asdict(one), default=_plain))
    assert _decoded(kind, words) == one


def _plain(value: Any) -> Any:
    return value.as_posix() if isinstance(value, Path) else value.tolist()


def test_a_second_run_gives_the_same_numbers(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = run_again(stored / "phase_transition.nc", tmp_path, workers=1)
    count = said.split(" of ")
    assert count[0] == count[1].split()[0]
    assert "bit for bit" in said
    with pytest.raises(InvalidParameter, match="give another folder"):
        run_again(stored / "phase_transition.nc", stored)


def test_other_numbers_are_noticed(stored: Path) -> None:
    from hierdiff.sims.stored_results import _differences

    before = results_of(stored / "phase_transition.nc")
    after = {k: ds.copy(deep=True) for k, ds in before.items()}
    after["phase_transition"].belief.values[0, 1] += 0.25
    assert "largest difference is 0.25, in phase_transition.belief" in _differences(before, after)
    del after["phase_transition"]["threshold"]
    assert "1 variables have no partner" in _differences(before, after)


def test_scores_are_those_of_compare(stored: Path) -> None:
    theory, measured = (stored / f"phase_transition{x}.nc" for x in ("_theory", ""))
    found = {row.variable: row for row in scores([theory, measured])}
    z = results.compare(results.load(theory), results.load(measured)).belief_z.values[1].ravel()
    z = z[np.isfinite(z)]
    assert found["belief"].largest == np.abs(z).max()
    assert found["belief"].rms == pytest.approx(np.sqrt(np.mean(z**2)), rel=1e-12)
    assert found["belief"].values == z.size


def test_runs_at_other_noise_levels_are_compared_where_they_share_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for name, levels in (("one", [0.1, 0.2, 0.4]), ("two", [0.1, 0.3, 0.4, 0.5])):
        values = [0.5 + 0.1 * t for t in levels]
        both = results.with_error("belief", ("t",), values, [0.01] * len(levels), "belief")
        ds = results.label(both, {"t": (("t",), levels, "noise level")}, "simulation", {})
        files.append(str(results.save(ds, tmp_path / f"{name}.nc")))
    with pytest.raises(SystemExit):
        main(["compare", *files])
    assert "hierdiff compare --shared" in capsys.readouterr().err
    main(["compare", "--shared", *files])
    said = capsys.readouterr().out
    assert "Compared at shared values alone (t: 2 of 3 and 4 values)." in said
    main(["compare", "--shared", "--json", *files])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["values"], row["shared"]) == (2, "t: 2 of 3 and 4 values")
    assert row["largest"] == 0


def test_a_figure_is_drawn_from_the_file(stored: Path, tmp_path: Path) -> None:
    (path,) = draw(stored / "phase_transition.nc", tmp_path, "svg")
    assert path.read_text().lstrip().startswith("<?xml")
    with pytest.raises(InvalidParameter, match="one of png, pdf, svg"):
        draw(stored / "phase_transition.nc", tmp_path, "gif")


def test_a_result_without_its_partners_still_shows(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(stored / "phase_transition.nc", tmp_path)
    main(["show", str(tmp_path / "phase_transition.nc")])
    assert "threshold" in capsys.readouterr().out
    main(["show", "--json", str(stored / "phase_transition.nc")])
    found = json.loads(capsys.readouterr().out)
    ds = results.load(stored / "phase_transition.nc")
    assert found["values"]["threshold"]["value"] == float(ds.threshold)
    assert "class lost" in found["claim"]
    assert "level, root = 0" in describe(ds)
    assert "threshold" in values_of(ds)


def test_files_of_other_programs_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.nc"
    other.write_bytes(b"CDF\x01 of another program")
    with pytest.raises(DamagedFile):
        experiment_of(other)
    for command in ("show", "plot", "compare", "rerun"):
        with pytest.raises(SystemExit) as stop:
            main([command, str(other)])
        words = capsys.readouterr().err
        assert stop.value.code == 2
        assert words.startswith("error: ")
        assert words.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["show", str(tmp_path)])
    assert "is a folder; give a result in it: other.nc" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["show", str(tmp_path / "nothing.nc")])
    assert "no such file" in capsys.readouterr().err


def test_a_missing_file_and_a_damaged_one_name_others(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.nc", tmp_path / "alignment.nc"
    bad.write_bytes(b"CDF\x01 of another program")
    with pytest.raises(DamagedFile) as error:
        results.load(bad)
    assert "such as" not in str(error.value)
    results.save(results.label({"p": ((), 1.0, "p")}, {}, "theory", {}), good)
    with pytest.raises(FileNotFoundError, match=r"alignmnt\.nc': no such file; .*'alignment\.nc'"):
        results.load(tmp_path / "alignmnt.nc")
    with pytest.raises(FileNotFoundError, match=r"no such file; .* holds alignment\.nc, bad\.nc"):
        results.load(tmp_path / "zzzz.nc")
    with pytest.raises(FileNotFoundError, match="and no such folder"):
        results.load(tmp_path / "none" / "alignment.nc")


_RUN = '{"study": "PhaseTransition", "parameters": {"v": 4, "m": 2, "L": 2}}'


@pytest.mark.parametrize(
    ("dims", "labels", "attributes"),
    [
        ((), {}, {"parameters": '{"grid": {"m": [1]}}'}),
        (("k",), {"k": ["a", "b"]}, {"parameters": '{"grid": {"k": ["a", "b"]}}'}),
        (("k",), {"k": [1, 2]}, {"parameters": '{"grid"', "run": "{}"}),
        (("k",), {"k": [1, 2]}, {"run": _RUN}), (("k",), {}, {"run": '{"study": 3}'}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["show", "plot", "compare", "rerun"])
def test_a_file_that_only_looks_like_a_result_is_no_traceback(
    dims: Any, labels: Any, attributes: Any, command: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("hierdiff.sims.stored_results.run", lambda *_, **__: {})
    values = np.ones([2] * len(dims))
    coords = {**labels, "source": "simulation"}
    ds = xr.Dataset({"p": (dims, values), "p_error": (dims, values)}, coords, attributes)
    ds.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    code: Any = 0
    try:
        main([command, str(tmp_path / "other.nc")])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code in (0, 2)
    assert said.count("\n") == (code == 2)
    assert not code or said.startswith("error: ")


def test_a_run_of_a_given_model_cannot_be_run_again(tmp_path: Path) -> None:
    from hierdiff.theory.exact_models import ExactRHM

    model: DiffusionModel = ExactRHM(TINY.rhm.draw(0), TINY.process)
    run(TINY, model, out=tmp_path, workers=1)
    with pytest.raises(InvalidParameter, match="measured a model that the file does not hold"):
        experiment_of(tmp_path / "phase_transition.nc")
