"""Studies and derivations as a user runs them: files, closing line, bad input, interruption."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from programs import ROOT, run, run_alone, start

from hierdiff import results
from hierdiff.contracts import Summary
from hierdiff.results import load
from hierdiff.sims import Alignment
from hierdiff.sims.run import run as hierdiff_run

TASKS = Path("tasks") / "phase_transition"
SMALL = ["--v", "8", "--m", "2", "--L", "4", "--grammars", "3", "--data", "4"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """Folder and output of the main job, run once for each noise; for masking as a process."""

    @functools.cache
    def done(noise: str) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp(noise)
        flags = [*SMALL, "--noise", noise, "--out", str(folder)]
        how = run_alone if noise == "masking" else run
        code, out, err = how("sims/phase_transition.py", *flags)
        assert code == 0, err
        return folder, out

    return done


@pytest.mark.parametrize("noise", ["epsilon", "masking", "uniform", "gaussian"])
def test_the_main_job_writes_a_result_a_figure_and_a_claim(
    noise: str, job: Callable[[str], tuple[Path, str]]
) -> None:
    folder, out = job(noise)
    closing = out.strip().splitlines()[-1]
    assert closing.startswith(f"class lost at {'epsilon' if noise == 'epsilon' else 't'} = 0.")
    assert "±" in closing
    assert "theory 0." in closing
    assert ("infinite depth" in closing) == (noise == "epsilon")
    ds = load(folder / "phase_transition.nc")
    assert ds.belief.sizes["level"] == 5
    assert f'"noise": "{noise}"' in ds.attrs["parameters"]
    assert (folder / "phase_transition.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_all_processes_in_one_figure(
    tmp_path: Path, job: Callable[[str], tuple[Path, str]]
) -> None:
    code, out, err = run(
        "sims/phase_transition.py", *SMALL, "--noise", "all", "--out", str(tmp_path)
    )
    assert code == 0, err
    closing = out.strip().splitlines()[-1]
    for name in ("masking", "uniform", "gaussian", "epsilon"):
        assert f"{name}: class lost at" in closing
    for name in ("phase_transition", "phase_transition_theory"):
        ds = load(tmp_path / f"{name}.nc")
        assert ds.process.values.tolist() == ["masking", "uniform", "gaussian", "epsilon"]
        assert np.all(ds.belief.sel(t=0).values == 1)
    folder, printed = job("masking")
    assert printed.strip().splitlines()[-1] in closing
    one, four = (load(x / "phase_transition.nc") for x in (folder, tmp_path))
    np.testing.assert_array_equal(one.belief, four.belief.sel(process="masking", t=one.t))


def test_a_second_run_computes_nothing_and_says_the_same(tmp_path: Path) -> None:
    flags = [*SMALL, "--out", str(tmp_path)]
    first = run("sims/phase_transition.py", *flags)
    stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / TASKS).iterdir()}
    second = run("sims/phase_transition.py", *flags)
    assert first[1] == second[1]
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / TASKS).iterdir()} == stamps
    other = tmp_path / "tasks" / "composition" / "long.npz"
    other.parent.mkdir()
    other.touch()
    third = run("sims/phase_transition.py", *flags, "--no-resume")
    assert other.exists()  # of another study
    assert third[1] == first[1]
    new = {p.name: p.stat().st_mtime_ns for p in (tmp_path / TASKS).iterdir()}
    assert set(new) == set(stamps)
    assert all(new[name] > stamps[name] for name in stamps)


def test_a_reader_who_has_seen_enough_gets_no_traceback() -> None:
    """As in ``hierdiff models | head -1``."""
    command = [sys.executable, "-m", "hierdiff", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_a_damaged_task_file_is_said_set_aside_and_made_again(tmp_path: Path) -> None:
    flags = [*SMALL, "--out", str(tmp_path)]
    first = run("sims/phase_transition.py", *flags)
    victim = sorted((tmp_path / TASKS).glob("*.npz"))[0]
    victim.write_bytes(victim.read_bytes()[:100])
    code, out, err = run("sims/phase_transition.py", *flags)
    assert code == 0
    assert out == first[1]
    note = [line for line in err.splitlines() if line.startswith("note:")]
    assert len(note) == 1
    assert "set aside" in note[0]
    assert victim.exists()


@pytest.mark.slow
def test_kill_9_in_mid_sweep_loses_at_most_the_tasks_in_flight(tmp_path: Path) -> None:
    flags = ["--v", "16", "--m", "4", "--L", "8", "--grammars", "12", "--data", "24",
             "--noise", "epsilon", "--workers", "1"]  # fmt: skip
    whole = run("sims/phase_transition.py", *flags, "--out", str(tmp_path / "whole"))
    assert whole[0] == 0
    tasks = tmp_path / "killed" / TASKS
    process = start("sims/phase_transition.py", *flags, "--out", str(tmp_path / "killed"))
    deadline = time.monotonic() + 120
    while len(list(tasks.glob("*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {p.name: p.stat().st_mtime_ns for p in tasks.glob("*.npz")}
    total = len(list((tmp_path / "whole" / TASKS).glob("*.npz")))
    assert 3 <= len(kept) < total
    code, out, _ = run("sims/phase_transition.py", *flags, "--out", str(tmp_path / "killed"))
    assert code == 0
    assert out.splitlines()[-1] == whole[1].splitlines()[-1]
    assert all((tasks / name).stat().st_mtime_ns == stamp for name, stamp in kept.items())
    results = [load(tmp_path / name / "phase_transition.nc") for name in ("whole", "killed")]
    xr.testing.assert_equal(*results)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--v", "4", "--m", "9"], "m * v = 36 rules exceed the v**s = 16 available tuples"),
        (["--v", "0"], "v = 0"),
        (["--levels", "1"], "levels = 1"),
        (["--seed", "-3"], "seed = -3 must be an integer >= 0"),
        (["--workers", "0", *SMALL], "workers = 0"),
    ],
)
def test_a_broken_rule_is_one_line(flags: list[str], words: str, tmp_path: Path) -> None:
    how = run_alone if "--seed" in flags else run
    code, out, err = how("sims/phase_transition.py", *flags, "--out", str(tmp_path / "out"))
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    code, _, err = run("sims/phase_transition.py", "--m", "2.5", "--out", str(tmp_path))
    assert code == 2
    assert "2.5" in err


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("sims/phase_transition.py", *SMALL, "--out", str(tmp_path / "file" / "x"))
    assert code == 2
    assert "cannot be written" in err
    assert len(err.strip().splitlines()) == 1


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    process = start(
        "sims/phase_transition.py", "--L", "9", "--grammars", "60", "--out", str(tmp_path),
        "--workers", "1",
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list((tmp_path / TASKS).glob("*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resumes" in err
    assert "Traceback" not in err


def test_two_runs_with_other_parameters_do_not_meet(tmp_path: Path) -> None:
    flags = ["--out", str(tmp_path), "--noise", "epsilon"]
    assert run("sims/phase_transition.py", *SMALL, *flags)[0] == 0
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    assert set(kept) == {
        "phase_transition.nc",
        "phase_transition.png",
        "phase_transition_theory.nc",
    }
    code, out, err = run("sims/phase_transition.py", *SMALL, *flags, "--seed", "1")
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "(seed = 0, now 1)" in err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == kept
    code, _, err = run("sims/phase_transition.py", *SMALL, *flags, "--seed", "1", "--overwrite")
    assert code == 0, err
    assert '"seed": 1' in load(tmp_path / "phase_transition.nc").attrs["parameters"]


LONG = (
    "derive_contrastive",
    "derive_semirings",
    "derive_snr_peak",
    "derive_speciation",
    "derive_training_time",
)  # they take seconds each
DERIVATIONS = [
    pytest.param(p.name, marks=pytest.mark.slow if p.stem in LONG else ())
    for p in sorted((ROOT / "theory").glob("derive_*.py"))
]


@pytest.mark.slow
@pytest.mark.parametrize("script", DERIVATIONS)
def test_derivations_end_in_their_assertions(script: str) -> None:
    code, out, err = run(f"theory/{script}")
    assert code == 0, err
    assert out.strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "flags", "words"),
    [
        ("changed_tree.py", [], "class changed in"),
        ("representation.py", ["--rank", "2", "--dim", "6", "--n-train", "30", "60", "--seeds", "2",
                               "--test", "60", "--sigmas", "0.1", "1", "--models", "exact",
                               "memorising", "--quantities", "snr", "linear"],
         "SNR peaks at sigma"),
        ("alignment.py", ["--L", "2", "--weights", "1", "0.5", "0.25", "--objects", "40",
                          "--triplets", "200", "--grammars", "3"], "the class adds at most"),
        ("composition.py", ["--v", "8", "--multiplicities", "2", "3", "--heights", "1",
                            "--grammars", "3", "--symbols", "4", "--rules", "2", "--depth", "2",
                            "--data", "16", "--levels", "3", "--positions", "8", "12",
                            "--orders", "4"], "cost grows as m"),
        ("classification.py", ["--v", "4", "--m", "2", "--L", "2", "--grammars", "3", "--data",
                               "24", "--budgets", "1", "30", "--own-budgets", "1", "4",
                               "--levels", "0.2", "--buckets", "4", "--keep", "1", "--stages",
                               "30", "--level-data", "8", "--level-samples", "8", "--strata",
                               "16"], "weight vdm reaches accuracy"),
        ("cue_conflict.py", ["--v", "4", "--m", "2", "--L", "2", "--grammars", "3", "--data", "40",
                             "--samples", "20"], "shape bias of grammars of equal amplitudes"),
        ("attribute_binding.py", ["--v", "4", "--m", "2", "--L", "2", "--grammars", "3", "--data",
                                  "30", "--budgets", "20"], "the true pair wins with"),
        ("representational_similarity.py", ["--L", "2", "--data", "30", "--grammars", "2", "--t",
                                            "0.1", "0.5"], "beliefs resemble"),
        ("tree_mixture.py", ["--groups", "2", "2", "--variances", "1", "0.3", "--weights", "1",
                             "0.5", "--mixtures", "4", "--objects", "60", "--triplets", "100"],
         "half of each level is lost"),
    ],
)  # fmt: skip
def test_other_studies_close_with_a_claim(
    script: str, flags: list[str], words: str, tmp_path: Path
) -> None:
    code, out, err = run(f"sims/{script}", *flags, "--out", str(tmp_path))
    assert code == 0, err
    assert words in out.strip().splitlines()[-1]
    assert list(tmp_path.glob("*.nc"))
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in tmp_path.glob("*.png"))


def test_a_result_names_the_commit_that_ran(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked before a study starts, and not again: commits made meanwhile are not its code."""
    results._commit.cache_clear()
    seen = []

    monkeypatch.setattr(
        Alignment, "datasets", lambda *_: seen.append(results.provenance({})["commit"]) or {}
    )
    monkeypatch.setattr(Alignment, "figure", lambda *_: {})
    monkeypatch.setattr(Alignment, "summary", lambda *_: Summary("", "", {}))
    commit = results._commit

    def once() -> str:
        found = commit()
        monkeypatch.setattr("subprocess.run", lambda *_, **__: seen.append("asked again"))
        return found

    monkeypatch.setattr(results, "_commit", once)
    hierdiff_run(Alignment(), out=tmp_path)
    assert seen == [results.provenance({})["commit"]]
    assert commit.cache_info().currsize == 1
