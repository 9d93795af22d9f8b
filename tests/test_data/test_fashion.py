"""Fashion-MNIST: what is read, what is refused, and the tree of its classes."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from hierdiff.data import fashion as module
from hierdiff.data.fashion import (
    FASHION_CLASSES,
    FASHION_FAMILIES,
    class_similarity,
    family_of,
    fashion,
    fashion_folder,
)
from hierdiff.errors import DamagedFile, InvalidParameter


def _idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim])
    return head + b"".join(int(n).to_bytes(4, "big") for n in values.shape) + values.tobytes()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """Four files in the published layout with eight random images each."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 28, 28)).astype(np.uint8)
    labels = np.arange(8, dtype=np.uint8)
    known = {}
    for split, ((images, _), (names, _)) in module._FILES.items():
        pairs = []
        for name, values in ((images, pixels), (names, labels)):
            whole = _idx(values)
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(whole, 1))
            pairs.append((name, hashlib.sha256(whole).hexdigest()))
        known[split] = tuple(pairs)
    monkeypatch.setattr(module, "_FILES", known)
    return tmp_path, pixels


def test_images_are_the_bytes_of_the_files(small: tuple[Path, np.ndarray]) -> None:
    folder, pixels = small
    data = fashion("test", folder=folder)
    assert data.images.shape == (8, 1, 28, 28)
    assert data.images.dtype == np.float32
    assert np.array_equal(np.rint((data.images[:, 0] + 1) * 127.5), pixels)
    assert data.labels.tolist() == list(range(8))


@pytest.mark.parametrize("size", [14, 7])
def test_smaller_images_are_means_of_blocks(small: tuple[Path, np.ndarray], size: int) -> None:
    folder, pixels = small
    found = fashion("train", size=size, folder=folder).images
    k = 28 // size
    for i in range(size):
        for j in range(size):
            block = pixels[:, k * i : k * (i + 1), k * j : k * (j + 1)].astype(float)
            mean = block.mean(axis=(1, 2)) / 127.5 - 1
            np.testing.assert_allclose(found[:, 0, i, j], mean, atol=2e-7)


def test_files_that_are_not_packed_and_folders_by_the_environment(
    small: tuple[Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = small
    place = tmp_path / "data" / "fashion-mnist"
    place.mkdir(parents=True)
    for path in folder.glob("*.gz"):
        (place / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    monkeypatch.setenv("HIERDIFF_DATA", str(tmp_path / "data"))
    assert fashion_folder() == place
    assert np.array_equal(fashion("train").images, fashion("train", folder=folder).images)


def test_other_bytes_are_refused(small: tuple[Path, np.ndarray]) -> None:
    folder, _ = small
    name = module._FILES["train"][0][0]
    whole = bytearray(gzip.decompress((folder / f"{name}.gz").read_bytes()))
    whole[-1] ^= 1
    (folder / f"{name}.gz").write_bytes(gzip.compress(bytes(whole)))
    with pytest.raises(DamagedFile, match="is not the published file"):
        fashion("train", folder=folder)
    (folder / f"{name}.gz").write_bytes(b"\x1f\x8b half a file")
    with pytest.raises(DamagedFile, match="cannot be read"):
        fashion("train", folder=folder)


def test_a_missing_package_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_places", lambda folder: [tmp_path])
    with pytest.raises(InvalidParameter, match="apt-get install dataset-fashion-mnist") as error:
        fashion()
    assert "\n" not in str(error.value)


def test_bad_words_are_one_line() -> None:
    with pytest.raises(InvalidParameter, match="use 'train' or 'test'"):
        fashion("all")
    with pytest.raises(InvalidParameter, match="size = 15"):
        fashion("train", size=15)
    with pytest.raises(InvalidParameter, match="do not fit"):
        class_similarity([0, 1], [0, 1, 2])


def test_the_tree_has_four_families_of_ten_classes() -> None:
    family = family_of(np.arange(10))
    assert np.bincount(family).tolist() == [5, 1, 3, 1]
    assert len(FASHION_CLASSES) == 10
    assert len(FASHION_FAMILIES) == 4
    table = class_similarity(np.arange(10)[:, None], np.arange(10))
    # an ultrametric: two of three similarities are equal and the third is not smaller
    for a in range(10):
        for b in range(10):
            assert (np.minimum(table[a], table[b]) <= table[a, b]).all()
    assert (np.diag(table) == 2).all()


def test_the_published_set() -> None:
    try:
        folder = fashion_folder()
    except InvalidParameter as error:
        pytest.skip(str(error))
    data = fashion("test", folder=folder)
    assert data.images.shape == (10_000, 1, 28, 28)
    assert np.bincount(data.labels).tolist() == [1000] * 10
    # means over both splits, in units of grey: .2860 of the training set is often quoted
    train = fashion("train", size=14, folder=folder)
    assert float((train.images.mean(dtype=float) + 1) / 2) == pytest.approx(0.2860, abs=5e-5)
