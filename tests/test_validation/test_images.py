"""Folders of images: reading, preparing, what is skipped and said, low-pass, eight bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles import one_line
from PIL import Image

from hierdiff.errors import InvalidParameter
from hierdiff.validation.images import (
    ImageFolder,
    SkippedImages,
    eight_bits,
    image_files,
    load_images,
    low_pass,
    prepare,
)


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (20, 16), value: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(value)
    channels = {"RGB": 3, "L": None, "RGBA": 4, "CMYK": 4, "P": None}[mode]
    shape = (size[1], size[0]) if channels is None else (size[1], size[0], channels)
    pixels = rng.integers(256, size=shape, dtype=np.uint8)
    image = Image.fromarray(pixels, None if mode != "CMYK" else "CMYK")
    (image.convert("P") if mode == "P" else image).save(path)
    return path


def test_all_kinds_of_images_become_rgb(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{m}.png", m) for m in ("RGB", "L", "RGBA", "P")]
    files.append(save(tmp_path / "cmyk.jpg", "CMYK"))
    images, rows = load_images(files, 8)
    assert images.shape == (5, 3, 8, 8)
    assert images.dtype == np.float32
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert images.min() >= -1
    assert images.max() <= 1
    np.testing.assert_array_equal(images[1, 0], images[1, 2])  # grey


def test_steps_of_the_published_preparation() -> None:
    """Large images are halved by box means first; the centre of the longer side stays."""
    pixels = np.random.default_rng(0).integers(256, size=(64, 96, 3), dtype=np.uint8)
    found = prepare(Image.fromarray(pixels), 16)
    image = Image.fromarray(pixels)
    for _ in range(2):  # 64 -> 32 -> 16
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    expected = np.asarray(image, np.float32)[:, 4:20].transpose(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(found, expected, atol=1e-6)
    bare = np.asarray(Image.fromarray(pixels).resize((24, 16), Image.Resampling.BICUBIC))
    assert np.abs(found - (bare[:, 4:20].transpose(2, 0, 1) / 127.5 - 1)).max() > 0.02


def test_unreadable_files_are_counted_and_named(tmp_path: Path) -> None:
    good = save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "c.jpg").write_text("no image")
    with pytest.warns(SkippedImages, match=r"2 of 3 files .*b.png, c.jpg"):
        images, rows = load_images(image_files(tmp_path), 8)
    assert (len(images), rows.tolist()) == (1, [0])
    good.unlink()
    with (
        pytest.warns(SkippedImages),
        pytest.raises(InvalidParameter, match="none of 2") as error,
    ):
        load_images(image_files(tmp_path), 8)
    one_line(error)


def test_layouts_of_folders(tmp_path: Path) -> None:
    for k, name in enumerate(("n02", "n01")):
        for i in range(3):
            save(tmp_path / "classes" / name / f"{i}.png", value=10 * k + i)
    folder = ImageFolder.of(tmp_path / "classes")
    assert folder.labels == (0, 0, 0, 1, 1, 1)  # sorted names are sorted classes
    assert folder.first(2).labels == (0, 0, 1, 1)
    for i in range(4):
        save(tmp_path / "flat" / f"ILSVRC2012_val_{i:08d}.JPEG", value=i)
    truth = tmp_path / "truth.txt"
    truth.write_text("5\n7\n5\n9\n")
    flat = ImageFolder.of(tmp_path / "flat", truth)
    assert flat.labels == (5, 7, 5, 9)
    assert len(ImageFolder.of(tmp_path / "flat").first(3)) == 3
    rows, sizes = [], []
    for batch, images in flat.batches(8, 3):
        rows += batch.tolist()
        sizes.append(len(images))
    assert (rows, sizes) == ([0, 1, 2, 3], [3, 1])
    truth.write_text("5\n7\n")
    with pytest.raises(InvalidParameter, match="2 classes for 4 images") as error:
        ImageFolder.of(tmp_path / "flat", truth)
    one_line(error)


def test_low_pass_keeps_means_and_kills_detail() -> None:
    images = np.random.default_rng(1).standard_normal((2, 3, 8, 8))
    found = low_pass(images, 4)
    np.testing.assert_allclose(found.mean(axis=(2, 3)), images.mean(axis=(2, 3)))
    np.testing.assert_allclose(low_pass(found, 4), found)
    np.testing.assert_array_equal(low_pass(images, 1), images)
    assert found.std() < 0.5 * images.std()
    with pytest.raises(InvalidParameter, match="divide") as error:
        low_pass(images, 3)
    one_line(error)


def test_published_samples_have_eight_bits() -> None:
    images = np.random.default_rng(2).uniform(-1.2, 1.2, (2, 3, 16, 16))
    stored = eight_bits(images)
    levels = (stored + 1) * 127.5
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    inside = np.clip(images, -1, 1)
    assert (inside - stored).max() < 1 / 127
    assert (stored <= inside + 1e-6).all()  # cut, not rounded
    jpeg = eight_bits(images, jpeg=True)
    assert np.abs(jpeg - stored).mean() > 0.02


def test_bad_folders_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases = [
        (lambda: image_files(tmp_path / "nowhere"), "no folder"),
        (lambda: image_files(tmp_path / "empty"), "no image"),
        (lambda: ImageFolder(()).first(0), "per_class = 0"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
