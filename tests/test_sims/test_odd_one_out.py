"""Triplets: uniform draws, files, object-disjoint folds, the probe and its leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles import one_line
from scipy import optimize

from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.sims.metrics import odd_one_out as module
from hierdiff.sims.metrics.odd_one_out import (
    draw_triplets,
    object_folds,
    paired_difference,
    probe,
    read_triplets,
    write_triplets,
)
from hierdiff.theory.odd_one_out_task import expected_accuracy


def test_draws_are_uniform_over_different_objects() -> None:
    rows = draw_triplets(5, 60_000, 0)
    assert (np.diff(np.sort(rows, axis=1), axis=1) > 0).all()
    codes = rows @ [25, 5, 1]
    counts = np.unique(codes, return_counts=True)[1]
    assert len(counts) == 60
    assert ((counts - 1000) ** 2 / 1000).sum() < 59 + 4 * np.sqrt(2 * 59)


@pytest.mark.parametrize("name", ["train_90.npy", "train_90.txt"])
def test_files_round_trip(name: str, tmp_path: Path) -> None:
    rows = draw_triplets(1854, 500, 1)
    np.testing.assert_array_equal(read_triplets(write_triplets(tmp_path / name, rows), 1854), rows)
    with pytest.raises(InvalidParameter, match="unknown object"):
        read_triplets(tmp_path / name, 100)
    with pytest.raises(FileNotFoundError, match="no triplets at"):
        read_triplets(tmp_path / "none.npy", 5)


def test_no_damage_of_a_file_passes_or_ends_in_a_foreign_error(tmp_path: Path) -> None:
    """Bytes changed, files cut or made of something else: one line, or the triplets of the file."""
    good = write_triplets(tmp_path / "good.npy", draw_triplets(50, 40, 0)).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.npy"
    refused = read = 0
    for k in range(300):
        content = bytearray(good)
        if k % 3 == 0:
            content = content[: rng.integers(len(good))]
        for place in rng.integers(min(len(content), 128), size=3) if len(content) else ():
            content[place] = rng.integers(256)
        path.write_bytes(bytes(content))
        try:
            rows = read_triplets(path, 50)
        except (DamagedFile, InvalidParameter) as error:
            refused += "\n" not in str(error)
        else:
            read += rows.shape[1] == 3
    assert (refused > 250, refused + read) == (True, 300)
    huge = b"{'descr': '<i8', 'fortran_order': False, 'shape': (100000000000, 3), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(huge).to_bytes(2, "little") + huge)
    with pytest.raises(DamagedFile):  # 2.4 TB are not allocated
        read_triplets(path, 5)
    np.savez(tmp_path / "many.npz", a=np.ones(3))
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    contents = {"utf16.txt": "1 2 3".encode("utf-16"), "empty.txt": b"", "empty.npy": b"",
                "large.txt": b"1 2 99999999999999999999"}  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.npy").mkdir()
    np.save(tmp_path / "nan.npy", np.full((2, 3), np.nan))
    np.save(tmp_path / "large.npy", np.full((2, 3), 1e300))
    np.save(tmp_path / "words.npy", np.full((2, 3), "a"))
    for name in ("utf16.txt", "empty.txt", "empty.npy", "large.txt", "folder.npy", "nan.npy",
                 "large.npy", "words.npy", "many.npy"):  # fmt: skip
        with pytest.raises(DamagedFile) as error:
            read_triplets(tmp_path / name, 5)
        one_line(error)


def test_damaged_files_are_said(tmp_path: Path) -> None:
    bad = {
        "words.txt": "one two three\n", "pairs.txt": "1 2\n3 4\n", "halves.npy": None,
        "cut.npy": b"\x93NUMPY",
    }  # fmt: skip
    for name, content in bad.items():
        path = tmp_path / name
        if content is None:
            np.save(path, np.array([[0.5, 1, 2]]))
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
        with pytest.raises(DamagedFile) as error:
            read_triplets(path, 10)
        assert one_line(error)


def planted(n: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects whose first two of eight coordinates decide all choices, by dot products."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 8))
    rows = draw_triplets(n, count, rng)
    s = 4 * x[:, :2] @ x[:, :2].T
    kept = np.stack([s[rows[:, 1], rows[:, 2]], s[rows[:, 0], rows[:, 2]],
                     s[rows[:, 0], rows[:, 1]]], axis=1)  # fmt: skip
    odd = (kept + rng.gumbel(size=kept.shape)).argmax(axis=1)
    order = np.array([[1, 2, 0], [0, 2, 1], [0, 1, 2]])[odd]
    return x, np.take_along_axis(rows, order, axis=1)


@pytest.mark.slow
def test_the_probe_finds_what_decides_and_does_not_score_its_training_objects() -> None:
    x, choices = planted(60, 6000, 0)
    judges = np.tile([0.0, 0.0, 1.0], (len(choices), 1))
    before = expected_accuracy(x @ x.T, choices, judges).mean()
    found = probe(x, choices, penalty=1e-3, seed=1, width=4)
    assert found.held_out > before + 4 * found.error
    assert found.held_out > 0.7
    assert 0 < found.error < 0.1


@pytest.mark.slow
def test_the_leak_is_seen_on_choices_without_any_structure() -> None:
    """Random choices, wide features: unseen objects at chance, training objects far above."""
    rng = np.random.default_rng(2)
    found = probe(rng.standard_normal((30, 40)), draw_triplets(30, 400, 3), penalty=0.0, seed=4)
    assert abs(found.held_out - 1 / 3) < 4 * found.error + 0.02
    assert found.leaked > 0.6


def test_gradient_of_the_probe() -> None:
    x, choices = planted(12, 60, 5)
    start = 0.3 * np.random.default_rng(6).standard_normal((8, 3))
    seen = {}

    def record(fun: object, first: np.ndarray, **options: object) -> object:
        seen["fun"], seen["first"] = fun, first
        return optimize.OptimizeResult(x=first, fun=0.0)

    original, module.minimize = module.minimize, record
    try:
        module._fit(x, choices, (start,), 0.1)
    finally:
        module.minimize = original
    value, slope = seen["fun"](seen["first"])
    assert np.isfinite(value)
    numeric = optimize.approx_fprime(seen["first"], lambda z: seen["fun"](z)[0], 1e-6)
    np.testing.assert_allclose(slope, numeric, atol=1e-5)


def test_the_better_of_two_starts_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """W = 0 is a local minimum under any penalty on its norm; a start there must not win."""
    x, choices = planted(12, 60, 5)
    zero, principal = np.zeros((8, 3)), module._principal(x, 8, 3)
    fits = []
    original = module.minimize

    def record(*args: object, **options: object) -> object:
        fits.append(original(*args, **options))
        return fits[-1]

    monkeypatch.setattr(module, "minimize", record)
    for starts in ((zero, principal), (principal, zero)):
        fits.clear()
        found = module._fit(x, choices, starts, 0.01)[0]
        best = min(fits, key=lambda fit: fit.fun).x
        np.testing.assert_array_equal(found, best[:24].reshape(8, 3))
        stuck = fits[0 if starts[0] is zero else 1]
        assert np.abs(stuck.x[:24]).max() == 0
        assert stuck.fun == pytest.approx(np.log(3))
        assert min(fit.fun for fit in fits) < 1.0
        assert module._accuracy(x @ found, choices) > 0.5
    wide = module._principal(x[:5], 8, 7)
    assert wide.shape == (8, 7)
    assert ((x[:5] @ wide) ** 2).sum(axis=1).mean() == pytest.approx(1)


def test_folds_split_objects() -> None:
    rows = draw_triplets(90, 20_000, 7)
    for train, test in object_folds(rows, 90, 3, 8):
        assert not (train & test).any()
        assert not set(rows[train].ravel()) & set(rows[test].ravel())
        assert abs(train.mean() - 0.296) < 0.02
        assert abs(test.mean() - 0.035) < 0.01


def test_paired_differences() -> None:
    rng, rows = np.random.default_rng(9), draw_triplets(50, 3000, 10)
    base = rng.random(3000)
    same = paired_difference(base, base, rows)
    assert same == (0.0, 0.0)
    shift, error = paired_difference(base + 0.1, base, rows)
    assert shift == pytest.approx(0.1)
    assert error < 1e-12
    # noise that belongs to objects is not averaged out by more triplets
    by_object = rng.standard_normal(50)
    _, error = paired_difference(by_object[rows].mean(axis=1), 0 * base, rows)
    naive = by_object[rows].mean(axis=1).std() / np.sqrt(3000)
    assert error > 4 * naive


def test_bad_input_is_one_line() -> None:
    x = np.zeros((9, 2))
    rows = draw_triplets(9, 50, 0)
    cases = {
        "must be >= 3": lambda: draw_triplets(2, 5, 0),
        "leave 3 of 9": lambda: probe(x, rows, folds=4),
        "to train on and to score": lambda: probe(x, rows[:2], folds=3),
        "features is NaN": lambda: probe(x * np.nan, rows),
        "unknown object": lambda: probe(x[:5], rows),
        "must match": lambda: paired_difference([1.0], [1.0, 2.0], rows),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words
