"""Results as files: nothing lost, nothing damaged read, nothing dropped in a comparison."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from oracles import one_line

from hierdiff import RHM, LowRankMixture, results
from hierdiff._files import read_npz, write_npz
from hierdiff.data.rhm import Grammar
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.results import (
    OldResult,
    compare,
    label,
    load,
    provenance,
    save,
    start_run,
    write_summary,
)


def result(v: int = 2, t: Any = (0.0, 0.5, 1.0), source: str = "simulation") -> xr.Dataset:
    t = np.asarray(t)
    values = np.arange(len(t), dtype=float)
    return label(
        {"p": (("t",), values, "p"), "p_error": (("t",), np.ones(len(t)), "its error")},
        {"t": (("t",), t, "t"), "name": (("t",), [f"n{i}" for i in range(len(t))], "words")},
        source, provenance({"v": v}),
    )  # fmt: skip


# ------------------------------------------------------------------------------------ one file


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    kinds = {
        "floats": np.array([np.nan, np.inf, -0.0]), "float32": np.float32([1, 2, 3]),
        "ints": np.array([1, -2, 3]), "bytes": np.uint8([1, 2, 255]), "bools": np.eye(3)[0] > 0,
        "words": np.array(["a", "bc", "é"]), "none": np.zeros((3, 0)), "one": np.array(2.5),
    }  # fmt: skip
    ds = label(
        {k: (("t", "end")[: x.ndim], x, k) for k, x in kinds.items()}, {}, "network",
        {"word": "é", "empty": ""},
    )  # fmt: skip
    found = load(save(ds, tmp_path / "x.nc"))
    for name, values in kinds.items():
        np.testing.assert_array_equal(found[name].values, values)
    assert found.attrs == ds.attrs
    xr.testing.assert_equal(load(save(found, tmp_path / "x.nc")), found)


def bent(whole: bytes, k: int) -> bytes:
    """One of many ways in which a file can go wrong."""
    rng = np.random.default_rng(k)
    new = bytearray(whole)
    way = k % 5
    if way == 0:
        return bytes(new[: rng.integers(len(new))])
    if way == 1:
        new[rng.integers(len(new))] ^= 1 << rng.integers(8)
    elif way == 2:
        for place in rng.integers(len(new), size=8):
            new[place] = rng.integers(256)
    elif way == 3:
        start = rng.integers(len(new))
        new[start : start + 64] = rng.bytes(64)
    else:
        a, b = np.sort(rng.integers(len(new), size=2))
        del new[a : min(b, a + 200)]
    return bytes(new)


FOREIGN = [b"", b"no archive", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"CDF\x01" + bytes(100),
           b"\x93NUMPY" + bytes(50), b"\x80\x04.", b"\x89PNG\r\n\x1a\n", bytes(4096)]  # fmt: skip


def attempt(read: Callable[[Path], Any], path: Path) -> Any:
    """What is read, or the error of a damaged file; no other error."""
    try:
        return read(path)
    except DamagedFile as error:
        return error


def fuzz(path: Path, read: Callable[[Path], Any], count: int) -> int:
    """How many damaged versions of a file are refused; all others must read as the sound one."""
    whole = path.read_bytes()
    sound, refused = read(path), 0
    for spoiled in [*FOREIGN, *(bent(whole, k) for k in range(count))]:
        path.write_bytes(spoiled)
        found = attempt(read, path)
        if isinstance(found, DamagedFile):
            assert "\n" not in str(found)
            assert path.name in str(found)
            refused += 1
        else:
            assert found == sound
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path)
    path.mkdir()
    with pytest.raises(DamagedFile) as caught:
        read(path)
    one_line(caught)
    return refused


def _result(path: Path) -> Any:
    found = load(path)
    values = {k: (x.dims, x.values.tolist()) for k, x in found.variables.items()}
    return json.dumps(values, sort_keys=True)


def _mixture(path: Path) -> Any:
    m = LowRankMixture.load(path)
    return [m.delta, m.residual, m.means.tolist(), *(b.tolist() for b in m.bases)]


def _arrays(path: Path) -> Any:
    found = read_npz(path, "hierdiff.Task 2")
    return {k: (x.dtype.str, x.tolist()) for k, x in found.items()}


def _sound(name: str, path: Path) -> Callable[[Path], Any]:
    if name == "result":
        save(result(), path)
        return _result
    if name == "grammar":
        RHM(4, 2, 2, 2).draw(0).save(path)
        return Grammar.load
    if name == "mixture":
        LowRankMixture.random(6, 2, 3, delta=0.2, seed=0).save(path)
        return _mixture
    write_npz(path, "hierdiff.Task 2", {"y": np.arange(9.0), "task": np.array("{}")})
    return _arrays


@pytest.mark.parametrize("name", ["result", "grammar", "mixture", "task"])
def test_damaged_files_are_refused_in_one_line(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged"
    assert fuzz(path, _sound(name, path), 60) > 30
    captured = capfd.readouterr()  # nothing beside the error, from HDF5 or h5netcdf either
    assert captured.out + captured.err == ""


def test_a_changed_byte_is_refused_before_hdf5_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(result(), tmp_path / "x.nc")
    with xr.open_dataset(path, engine="h5netcdf") as ds:  # other readers see an ordinary file
        assert ds.attrs["checksum"]
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    # some damaged files keep HDF5 busy for ever, so it must not be asked
    monkeypatch.setattr("hierdiff.results._decoded", None)
    with pytest.raises(DamagedFile, match="changed since it was written"):
        load(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["result", "grammar", "mixture", "task"])
def test_thousands_of_damaged_files(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged"
    assert fuzz(path, _sound(name, path), 2000) > 1000
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_arrays_that_make_no_object_are_refused(tmp_path: Path) -> None:
    """Right kind, right checksums, other arrays."""
    mixture = LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)
    grammar = RHM(4, 2, 2, 2).draw(0)
    for kind, thing, read in (
        ("hierdiff.LowRankMixture 1", mixture, LowRankMixture.load),
        ("hierdiff.Grammar 1", grammar, Grammar.load),
    ):
        thing.save(tmp_path / "sound")
        sound = read_npz(tmp_path / "sound", kind)
        for name, array in sound.items():
            shapes = [array[..., None], np.zeros(0), np.zeros((2, 3, 4, 5)), array.ravel()[:1]]
            wrong = [*shapes, array.astype(str), np.array(np.nan), np.array(1j), np.array("word")]
            for new in wrong:
                write_npz(tmp_path / "x", kind, {**sound, name: new})
                assert "\n" not in str(attempt(read, tmp_path / "x"))
            write_npz(tmp_path / "x", kind, {k: x for k, x in sound.items() if k != name})
            with pytest.raises(DamagedFile):
                read(tmp_path / "x")


def test_a_changed_number_is_seen(tmp_path: Path) -> None:
    path = save(result(), tmp_path / "x.nc")
    with h5py.File(path, "r+") as file:
        file["p"][1] = 1.25
    with pytest.raises(DamagedFile, match="has changed") as error:
        load(path)
    one_line(error)


def test_a_netcdf_that_expands_is_not_read(tmp_path: Path) -> None:
    path = save(result(), tmp_path / "x.nc")
    with h5py.File(path, "r+") as file:
        file.create_dataset("big", (2**27,), "f8", chunks=(2**16,), compression="gzip")
    with pytest.raises(DamagedFile, match="would expand") as error:
        load(path)
    one_line(error)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda ds: ds.rename(p="a/b"), lambda ds: ds.rename(t="a/b"),
        lambda ds: ds.assign_attrs(x=None), lambda ds: ds.assign_attrs({"a/b": "x"}),
        lambda ds: ds.assign_attrs(x={"a": 1}), lambda ds: ds.assign_attrs({1: "x"}),
        lambda ds: ds.assign_attrs(x=1j), lambda ds: ds.assign({3: ds.p}),
        lambda ds: ds.assign(o=("t", np.array([None, 1, "x"], object))),
        lambda ds: ds.assign(p=ds.p.assign_attrs(units=None)),
        lambda ds: ds.p,
    ],
)  # fmt: skip
def test_what_netcdf_cannot_hold_is_refused_and_the_old_file_stays(
    spoil: Callable[[xr.Dataset], Any], tmp_path: Path
) -> None:
    path = save(result(), tmp_path / "x.nc")
    before = path.read_bytes()
    with pytest.raises(InvalidParameter) as error:
        save(spoil(result()), path)
    one_line(error)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.nc"]


def test_names_are_refused_when_they_are_given() -> None:
    for name in ("a/b", "", None, 3):
        with pytest.raises(InvalidParameter, match="netCDF") as error:
            label({name: ((), 1.0, "x")}, {}, "theory", {})  # type: ignore[dict-item]
        one_line(error)
    with pytest.raises(InvalidParameter, match="attribute x = None"):
        label({}, {}, "theory", {"x": None})  # type: ignore[dict-item]


FULL = """
import resource, signal, sys
from hierdiff.results import load, save
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ds = load(sys.argv[1])
size = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    save(ds.assign(more=("u", [0.5] * 10**5)), sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of files are those of POSIX")
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path: Path) -> None:
    """HDF5 itself crashes there: the limit is hit while the file is written."""
    path = save(result(), tmp_path / "x.nc")
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), "50000"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith(f"InvalidParameter {path} cannot be written (File too large)")
    assert "what was there before is kept" in done.stdout
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.nc"]


def test_a_disk_full_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(InvalidParameter, match="No space left on device") as error:
        results.writable_folder(tmp_path)
    one_line(error)


def test_a_folder_in_place_of_a_result(tmp_path: Path) -> None:
    (tmp_path / "x.nc").mkdir()
    with pytest.raises(InvalidParameter, match="cannot be written") as error:
        save(result(), tmp_path / "x.nc")
    one_line(error)


# -------------------------------------------------------------------------------------- two runs


@dataclass(frozen=True)
class Inner:
    v: int = 2


@dataclass(frozen=True)
class Study:
    out: Path
    experiment: Inner = field(default_factory=Inner)
    workers: int | None = None
    overwrite: bool = False
    summary: Path | None = None

    def main(self, *, begin: bool = True) -> Path:
        folder = start_run(
            "Study", {"v": self.experiment.v}, self.out, ["one", "one_*"],
            overwrite=self.overwrite, summary=self.summary,
        )  # fmt: skip
        assert begin
        save(result(self.experiment.v), folder / "one.nc")
        return save(result(self.experiment.v), folder / "one_theory.nc")


def test_a_run_with_other_parameters_is_refused_before_the_work(tmp_path: Path) -> None:
    path = Study(tmp_path).main()
    first = path.read_bytes()
    Study(tmp_path, workers=3).main()  # where and how is no other run
    assert load(path).attrs["parameters"] == '{"v": 2}'
    with pytest.raises(InvalidParameter, match=r"one\.nc holds .*\(v = 2, now 3\)") as error:
        Study(tmp_path, Inner(3)).main(begin=False)
    one_line(error)
    assert "--out" in str(error.value)
    assert "--overwrite" in str(error.value)
    assert load(path).attrs["parameters"] == '{"v": 2}'
    with pytest.raises(InvalidParameter, match=r"results of another study \(Study\)"):
        start_run("Another", {}, tmp_path, ["one_theory"])
    start_run("Another", {}, tmp_path, ["once", "on"])  # of other names
    Study(tmp_path / "other", Inner(3)).main()
    Study(tmp_path, Inner(3), overwrite=True).main()
    assert load(path).attrs["parameters"] == '{"v": 3}'
    assert path.read_bytes() != first
    Study(tmp_path, Inner(3)).main()
    path.write_bytes(b"damaged, so nothing is lost")
    Study(tmp_path, Inner(3)).main()


def test_where_a_nested_value_works_makes_no_other_run(tmp_path: Path) -> None:
    """As the licence that is accepted for the source of a network."""

    def begin(**source: Any) -> Path:
        return start_run("Study", {"source": source, "seed": 0}, tmp_path, ["one"])

    ds = label({"p": ((), 1.0, "p")}, {}, "theory", {})
    save(ds, begin(name="adm-256", accept_licence=False) / "one.nc")
    begin(name="adm-256", accept_licence=True)
    with pytest.raises(InvalidParameter, match="other parameters"):
        begin(name="adm-64", accept_licence=True)


def test_a_result_of_an_older_version_is_read_under_new_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = (("level",), [0.1, 0.5], "noise level")
    tree = (("tree_level",), [0, 1], "tree level")
    old = label(
        {"unshared": (("level",), [0.9, 0.8], "accuracy"),
         "unshared_error": (("level",), [0.1, 0.1], "its error"),
         "level_accuracy": (("tree_level",), [0.7, 0.6], "accuracy"),
         "half": (("world", "model"), [[1.0, 2.0]], "SNR")},
        {"level": level, "tree_level": tree,
         "model": (("model",), ["exact", "labelled"], "denoiser")}, "simulation", {},
    )  # fmt: skip
    assert load(save(old, tmp_path / "new.nc")).identical(old)  # a file of today keeps its names
    monkeypatch.setattr("hierdiff.results._LAYOUT", "1")
    path = save(old, tmp_path / "old.nc")
    monkeypatch.undo()
    words = "labelled is supervised_ppca.*tree_level is level.*unshared is independent"
    with pytest.warns(OldResult, match=words):
        found = load(path)
    assert found.independent.dims == found.independent_error.dims == ("t",)
    assert found.level_accuracy.dims == ("level",)
    assert found.t.values.tolist() == [0.1, 0.5]
    assert found.half.dims == ("data_model", "model")
    assert found.model.values.tolist() == ["exact", "supervised_ppca"]
    assert found.model.attrs["long_name"] == "denoiser"
    monkeypatch.setattr("hierdiff.results._LAYOUT", "1")
    same = result()
    plain = save(same, tmp_path / "plain.nc")
    monkeypatch.undo()
    assert load(plain).identical(same)  # nothing to say where no name has changed


def test_a_result_follows_the_conventions(tmp_path: Path) -> None:
    """Read by xarray alone: units, a coordinate on every dim, parameters by their names."""
    given = {"v": 8, "noise": "masking", "t": [0.25, 0.5], "names": ["a", "b"], "deep": True,
             "none": None, "nested": {"x": 1}, "seed": 2**70, "source": "mine", "mixed": [1, "a"],
             "empty": []}  # fmt: skip
    variables = {
        "h": (("t", "grammar"), np.ones((2, 3)), "entropy of the leaves, nats"),
        "p": (("t",), [0.1, 0.2], "probability, mean over t"),
        "word": (("t",), ["a", "b"], "a word"),
    }
    ds = label(variables, {"t": (("t",), [0.25, 0.5], "noise level")}, "theory",
               results.provenance(given))  # fmt: skip
    path = results.save(ds, tmp_path / "a.nc")
    with xr.open_dataset(path, engine="h5netcdf") as stored:
        assert stored.attrs["Conventions"].startswith("CF-1.")
        assert set(stored.dims) <= set(stored.coords)
        assert stored.grammar.values.tolist() == [0, 1, 2]
        units = {name: stored[name].attrs.get("units") for name in stored.variables}
        assert units == {"h": "nat", "p": "1", "word": None, "t": "1", "grammar": "1",
                         "source": None}  # fmt: skip
        assert all(stored[x].attrs["long_name"] for x in (*stored.data_vars, *stored.dims))
        assert (stored.attrs["v"], stored.attrs["noise"], stored.attrs["deep"]) == (8, "masking", 1)
        assert stored.attrs["t"].tolist() == [0.25, 0.5]
        assert stored.attrs["names"] == "a, b"
        assert not {"none", "nested", "seed", "source", "mixed", "empty"} & set(stored.attrs)
        table = stored[["h"]].to_dataframe().reset_index()
    assert list(table.columns) == ["t", "grammar", "h", "source"]
    assert len(table) == 6


def test_a_result_saved_by_hand_is_not_replaced_by_another(tmp_path: Path) -> None:
    path = save(result(2), tmp_path / "x.nc")
    save(result(2, t=[0.0, 1.0]), path)
    with pytest.raises(InvalidParameter, match=r"\(v = 2, now 3\).*overwrite=True") as error:
        save(result(3), path)
    one_line(error)
    assert load(path).sizes["t"] == 2
    save(result(3), path, overwrite=True)
    assert load(path).attrs["parameters"] == '{"v": 3}'


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--out", "/home/someone/runs/one", "--v", "3"], "--out one --v 3"),
        (["--out=/home/someone/one", "--summary", "a/b.json"], "--out=one --summary a/b.json"),
        (["--images", "/data/images"], "--images /data/images"),
        (["--out"], "--out"),
    ],
)
def test_a_result_does_not_publish_the_folder_of_its_user(
    words: list[str], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/home/someone/sims/x.py", *words])
    assert provenance({})["command"] == f"x.py {kept}"


def test_a_folder_inside_the_present_one_is_named_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x.py", "--out", str(tmp_path / "out" / "one")])
    assert provenance({})["command"] == "x.py --out out/one"


def test_a_summary_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for summary in (tmp_path / "file" / "x.json", tmp_path):
        with pytest.raises(InvalidParameter, match=r"cannot be written|is a folder") as error:
            Study(tmp_path / "out", summary=summary).main(begin=False)
        one_line(error)


def test_a_summary_of_other_parameters_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "s.json"

    def begin(v: int, **given: Any) -> None:
        start_run(
            "Study", {"v": v, "workers": v}, tmp_path / str(v), ["one"], summary=file, **given
        )

    begin(2)  # nothing is there
    write_summary(file, {"p": 1.0}, {"v": 2, "workers": 1}, also={"experiment": "Study"})
    begin(2)
    first = file.read_bytes()
    with pytest.raises(
        InvalidParameter, match=r"s\.json holds .*\(v = 2, now 3\).*--summary"
    ) as error:
        begin(3)
    one_line(error)
    begin(3, overwrite=True)
    with pytest.raises(InvalidParameter, match=r"results of another study \(Study\)"):
        start_run("Another", {"v": 2}, tmp_path / "a", ["one"], summary=file)
    assert file.read_bytes() == first
    write_summary(file, {"p": 1.0}, {"v": 2})  # of a version that did not name the study
    begin(2)


@pytest.mark.parametrize("words", ['{"mine": 1}', "[1]", "text", '{"made": 3}'])
def test_a_file_of_another_program_is_no_summary_to_replace(tmp_path: Path, words: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(words)
    with pytest.raises(InvalidParameter, match="a file that hierdiff did not write") as error:
        start_run("Study", {}, tmp_path / "out", ["one"], summary=file)
    one_line(error)
    assert file.read_text() == words
    start_run("Study", {}, tmp_path / "out", ["one"], summary=file, overwrite=True)


def test_a_file_of_another_program_is_no_result(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text("{}")
    with pytest.raises(
        DamagedFile, match=r"is no netCDF file; give a result that a run wrote, ending in \.nc"
    ):
        load(file)
    save(result(2), tmp_path / "one.nc")
    with pytest.raises(DamagedFile, match=r"such as '.*one\.nc'") as error:
        load(file)
    one_line(error)
    (tmp_path / "two.nc").write_bytes((tmp_path / "one.nc").read_bytes()[:900])
    with pytest.raises(DamagedFile, match=r"no readable netCDF file .*; run again"):
        load(tmp_path / "two.nc")


# ------------------------------------------------------------------------------------ comparison

GRID = np.linspace(0, 1, 11)


@pytest.mark.parametrize(
    ("a", "b", "rows"),
    [
        (GRID, np.arange(11) / 10, 11), (GRID, GRID.astype(np.float32), 11),
        (GRID, GRID.astype(np.float32).astype(float), 11), (GRID, np.cumsum([0, *[0.1] * 10]), 11),
        (GRID, GRID[::-1], 11), (np.arange(11) / 10, np.linspace(0, 1, 21), 11),
        (np.linspace(0, 1, 41), GRID, 11), (np.arange(11), np.arange(11.0), 11),
        (np.geomspace(1e-6, 10, 50), np.geomspace(1e-6, 10, 50).astype(np.float32), 50),
        (1 + np.arange(5) * 1e-7, 1 + np.arange(5) * 1e-7, 5),
        (np.array(["x", "y"]), np.array(["y", "x"]), 2), (np.arange(3), np.arange(5), 3),
    ],
)  # fmt: skip
def test_coordinates_equal_within_rounding_are_joined(a: Any, b: Any, rows: int) -> None:
    both = compare(result(t=a, source="theory"), result(t=b))
    assert both.sizes["t"] == rows
    assert set(both.t.values.tolist()) <= set(np.asarray(a).tolist())
    # each row holds the values that stood at this coordinate
    for k, t in enumerate(both.t.values):
        for source, grid in (("theory", a), ("simulation", b)):
            if np.asarray(grid).dtype.kind in "US":
                place = list(grid).index(t)
            else:
                place = int(np.abs(np.asarray(grid, float) - float(t)).argmin())
            assert both.p.sel(source=source).values[k] == place


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (GRID, GRID + 0.05, "11 and 11 values, of which 0 are shared"),
        (GRID, GRID[:5] + 1e-3, "11 and 5 values, of which 0"),
        (GRID, [0.0, 0.1, 0.25], "11 and 3 values, of which 2 are shared"),
        (GRID, GRID + 1e-5, "of which 0"), ([0.0, 0.0, 1.0], [0.0, 1.0], "repeated"),
        (["a", "b"], ["b", "c"], "of which 1"), (GRID, np.array(["a"]), "of which 0"),
        (np.arange(3), np.arange(3) + 1, "of which 2"),
    ],
)  # fmt: skip
def test_rows_are_not_dropped_in_silence(a: Any, b: Any, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        compare(result(t=a, source="theory"), result(t=b))
    one_line(error)


def test_shared_values_alone_are_compared_and_counted() -> None:
    first, second = result(t=GRID, source="theory"), result(t=[0.0, 0.1, 0.25, 1.0])
    with pytest.raises(InvalidParameter, match=r"3 are shared; give shared=True .*--shared"):
        compare(first, second)
    both = compare(first, second, shared=True)
    assert both.t.values.tolist() == [0.0, GRID[1], 1.0]
    assert both.p.values.tolist() == [[0, 1, 10], [0, 1, 3]]
    assert both.attrs["shared"] == "t: 3 of 11 and 4 values"
    # nothing is left out of equal coordinates, and a prediction may be finer without the word
    assert "shared" not in compare(first, result(t=GRID), shared=True).attrs
    with pytest.raises(InvalidParameter, match="11 and 11 values, of which 0 are shared; run both"):
        compare(first, result(t=GRID + 0.05), shared=True)
    with pytest.raises(InvalidParameter, match="shared = 'yes' must be True or False"):
        compare(first, second, shared="yes")  # type: ignore[arg-type]


def test_three_results_and_what_cannot_be_compared() -> None:
    three = [result(t=GRID, source=s) for s in results.SOURCES]
    assert compare(*three).sizes == {"source": 3, "t": 11}
    for wrong, words in (
        ([three[0], three[0]], "all different"), ([three[0]], "two or more"),
        ([three[0], three[1].drop_vars(["p", "p_error"])], "share no variable"),
        ([three[0], three[1].isel(t=0)], "dimensions"),
        ([three[0].drop_vars("t"), three[1].drop_vars("t").isel(t=slice(3))], "sizes"),
        ([three[0], 3], "without a source"), ([three[0], xr.Dataset()], "without a source"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words) as error:
            compare(*wrong)  # type: ignore[arg-type]
        one_line(error)


def test_the_most_that_a_file_may_expand_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, for a file of zeros that is packed to less than half of it."""
    path, sizes = tmp_path / "zeros.nc", []
    zeros = xr.Dataset({"p": (("t",), np.zeros(50_000))})
    zeros.to_netcdf(path, engine="h5netcdf", encoding={"p": {"zlib": True}})
    with h5py.File(path) as file:
        file.visititems(lambda _, x: sizes.append(x.nbytes))
    assert 2 * path.stat().st_size < sum(sizes)
    monkeypatch.setattr(results, "_UNPACKED", sum(sizes))
    assert results._decoded(path.read_bytes()).equals(zeros)
    monkeypatch.setattr(results, "_UNPACKED", sum(sizes) - 1)
    with pytest.raises(ValueError, match="would expand to 0"):
        results._decoded(path.read_bytes())


# ------------------------------------------------------------------------------- where, and what


def test_the_commit_is_that_of_this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a plus where it has changes; another checkout around an installed package is not it."""
    said = {"--show-toplevel": "", "HEAD": 40 * "a", "--porcelain": ""}

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        answer = next(text for name, text in said.items() if name in words)
        return subprocess.CompletedProcess(words, 0, answer + "\n", "")

    monkeypatch.setattr(results.subprocess, "run", run)
    ask = results._commit.__wrapped__
    assert ask() == "unknown"
    said["--show-toplevel"] = str(Path(results.__file__).resolve().parents[1])
    assert ask() == 40 * "a"
    said["--porcelain"] = " M hierdiff/results.py"
    assert ask() == 40 * "a" + "+"
    said["--show-toplevel"] = str(Path(results.__file__).resolve().parents[2])
    assert ask() == "unknown"


def test_tasks_are_removed_only_where_a_run_starts_afresh(tmp_path: Path) -> None:
    place = results.task_folder(tmp_path, "one", resume=True)
    place.mkdir(parents=True)
    for name in ("a.npz", "b.npz", "note.txt"):
        (place / name).touch()
    assert results.task_folder(tmp_path, "one", resume=True) == place
    assert len(list(place.iterdir())) == 3
    results.task_folder(tmp_path, "other", resume=False)
    assert len(list(place.iterdir())) == 3
    results.task_folder(tmp_path, "one", resume=False)
    assert [path.name for path in place.iterdir()] == ["note.txt"]


def test_three_differences_are_named_and_the_rest_counted() -> None:
    for count, words in ((3, "a = 0, now 1; b = 0, now 1; c = 0, now 1)"),
                         (4, "a = 0, now 1; b = 0, now 1; c = 0, now 1, and 1 more)")):  # fmt: skip
        old, new = ({"study": "S", "parameters": dict.fromkeys("abcd"[:count], k)} for k in (0, 1))
        found = results._difference(old, new)
        assert found.replace(", b", "; b").replace(", c", "; c").endswith(words)
        assert "d = " not in found
