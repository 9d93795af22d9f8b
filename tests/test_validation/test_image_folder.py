"""Folders of images: reading, preparing, what is skipped and said, low-pass, eight bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles import one_line
from PIL import Image

from hierdiff.data.image_folder import (
    ImageFolder,
    SkippedImages,
    eight_bits,
    image_files,
    labelled_folder,
    load_images,
    low_pass,
    prepare,
)
from hierdiff.errors import DamagedFile, InvalidParameter


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


def pixel(path: Path) -> Path:
    """A small image, quickly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4)).save(path)
    return path


def test_one_rule_for_classes(tmp_path: Path) -> None:
    """Numbers are the classes themselves, other names are classes in order, in natural order."""
    for k in range(12):
        for i in (9, 10):
            pixel(tmp_path / "n" / str(k) / f"x{i}.png")
    found = ImageFolder.of(tmp_path / "n")
    by_name = {(p.parent.name, p.name): k for p, k in zip(found.files, found.labels, strict=True)}
    assert all(by_name[str(k), f"x{i}.png"] == k for k in range(12) for i in (9, 10))
    assert [p.name for p in found.files[:2]] == ["x9.png", "x10.png"]
    found = labelled_folder(tmp_path / "n", 12)
    files, labels = list(found.files), np.array(found.labels)
    assert (tuple(files), labels.tolist()) == (found.files, list(found.labels or ()))
    assert (
        found.summary == "24 images in 12 class folders: 0 = '0', 1 = '1', 2 = '2', ..., 11 = '11'"
    )
    # gaps stay gaps; leading zeros are numbers too
    for name in ("007", "3"):
        pixel(tmp_path / "gaps" / name / "a.png")
    assert ImageFolder.of(tmp_path / "gaps").labels == (3, 7)
    # a folder inside a class belongs to it, as in tiny-imagenet
    for name in ("n02", "n10", "n1"):
        pixel(tmp_path / "deep" / name / "images" / "a.png")
    deep = ImageFolder.of(tmp_path / "deep")
    assert deep.names == ("n02", "n1", "n10")
    assert dict(zip([p.parts[-3] for p in deep.files], deep.labels or (), strict=True)) == {
        "n02": 0, "n1": 1, "n10": 2,
    }  # fmt: skip


def test_folders_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    pixel(tmp_path / "twice" / "1" / "a.png")
    pixel(tmp_path / "twice" / "01" / "a.png")
    for part in ("train", "val"):
        pixel(tmp_path / "parts" / part / "cat" / "a.png")
    for k in range(1, 6):
        pixel(tmp_path / "from one" / str(k) / "a.png")
    cases = [
        (lambda: ImageFolder.of(tmp_path / "twice"), "two folders stand for class 1"),
        (lambda: ImageFolder.of(tmp_path / "parts"), "train and val, parts of a data set"),
        (lambda: labelled_folder(tmp_path / "from one", 5), "class 5 is beyond 4"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def test_leavings_are_no_data(tmp_path: Path) -> None:
    good = [pixel(tmp_path / name / "x.jpg") for name in ("cat", "dog")]
    junk = [
        ".ipynb_checkpoints/x.jpg", "cat/.ipynb_checkpoints/x-checkpoint.jpg", "@eaDir/x.jpg",
        "__MACOSX/cat/._x.jpg", "cat/._x.jpg", "dog/Thumbs/x.jpg", "cat/.thumbnails/x.png",
        "dog/@eaDir/x.jpg/SYNOPHOTO_THUMB_M.jpg", "#recycle/x.png", "cat/Thumbs.png",
    ]  # fmt: skip
    for name in junk:
        pixel(tmp_path / name)
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"no image")
    (tmp_path / "dog" / "folder.png").mkdir()
    with pytest.warns(SkippedImages, match=r"10 files under .* leavings") as said:
        found = ImageFolder.of(tmp_path)
    assert len(said) == 1
    assert (found.files, found.labels, found.names) == (tuple(good), (0, 1), ("cat", "dog"))
    # the folder itself may be hidden
    assert len(image_files(pixel(tmp_path / ".cache" / "a.png").parent)) == 1
    scans = pixel(tmp_path / "scans" / "a.png").parent
    Image.new("L", (4, 4)).save(scans / "scan.tif")
    with pytest.warns(SkippedImages, match=r"1 files .* ending that is not read.*scan.tif"):
        assert len(image_files(scans)) == 1


def test_ground_truth_of_imagenet(tmp_path: Path) -> None:
    for i in range(1, 13):
        pixel(tmp_path / "flat" / f"ILSVRC2012_val_{i:08d}.JPEG")
    truth = tmp_path / "truth.txt"

    def of(text: str, name: str = "truth.txt") -> tuple[int, ...] | None:
        (tmp_path / name).write_text(text)
        return ImageFolder.of(tmp_path / "flat", tmp_path / name).labels

    numbers = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332, 109, 286]
    assert of("\n".join(map(str, numbers))) == tuple(numbers)
    # names and classes, in any order
    lines = [f"ILSVRC2012_val_{i:08d}.JPEG {k}" for i, k in enumerate(numbers, 1)]
    assert of("\n".join(reversed(lines))) == tuple(numbers)
    devkit = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164, 649, 11]
    cases = {
        "\n".join(map(str, devkit)): "development kit",
        "\n".join(map(str, [*numbers[:-1], 1000])): "sorted synset",
        "\n".join(map(str, [*numbers[:-1], -1])): "holds -1",
        "\n".join(map(str, [*numbers[:-1], 2000])): "holds 2000",
        "\n".join(map(str, [*numbers[:-1], "cat"])): "holds 'cat'",
        "\n".join([*lines[:-1], "other.JPEG 3"]): "no line for ILSVRC2012_val_00000012.JPEG",
    }
    for text, words in cases.items():
        with pytest.raises(InvalidParameter, match=words) as error:
            of(text)
        one_line(error)
    with pytest.raises(InvalidParameter, match="development kit"):
        of("\n".join(map(str, numbers)), "ILSVRC2012_validation_ground_truth.txt")
    truth.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DamagedFile, match="cannot be read"):
        ImageFolder.of(tmp_path / "flat", truth)


def test_objects_come_in_natural_order(tmp_path: Path) -> None:
    for k in range(12):
        pixel(tmp_path / f"{k}.png")
    assert [p.stem for p in image_files(tmp_path)] == [str(k) for k in range(12)]
    # a bare name before the same name with a number, as in sorted names
    for name in ("bat", "bat1", "bat_x"):
        pixel(tmp_path / "words" / f"{name}.png")
    assert [p.stem for p in image_files(tmp_path / "words")] == ["bat", "bat1", "bat_x"]


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    eight = (ramp / 257).round().astype(np.uint8)
    image = Image.fromarray(ramp)
    assert image.mode.startswith("I;16")
    image.save(tmp_path / "a.png")
    Image.fromarray(eight).save(tmp_path / "b.png")
    images, _ = load_images([tmp_path / "a.png", tmp_path / "b.png"], 64)
    np.testing.assert_array_equal(images[0], images[1])
    assert abs(images[0].mean()) < 1e-3  # cut at 255 it is .996
    for big in ("I;16B", "I;16L"):
        swapped = Image.frombytes(
            big, (64, 64), ramp.astype(">u2" if big[-1] == "B" else "<u2").tobytes()
        )
        np.testing.assert_array_equal(prepare(swapped, 64), images[0])
    # values without a scale are refused, and left out of a folder
    for mode, values in (("I", ramp.astype(np.int32)), ("F", ramp.astype(np.float32))):
        with pytest.raises(InvalidParameter, match=f"mode {mode} does not say") as error:
            prepare(Image.fromarray(values), 64)
        one_line(error)
        Image.fromarray(values).save(tmp_path / f"{mode}.tiff")
    files = [tmp_path / "b.png", tmp_path / "I.tiff", tmp_path / "F.tiff"]
    with pytest.warns(SkippedImages, match="2 of 3 files .*I.tiff, F.tiff"):
        assert load_images(files, 8)[1].tolist() == [0]


def test_images_look_as_viewers_show_them(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(256, size=(8, 8, 3), dtype=np.uint8)
    plain = Image.fromarray(colour)
    grey = plain.convert("L")
    for opaque, same in (
        (grey.convert("LA"), grey), (plain.convert("RGBA"), plain), (grey.convert("1"), None),
        (plain.quantize(16), plain.quantize(16).convert("RGB")),
    ):  # fmt: skip
        found = prepare(opaque, 8)
        expected = same if same is not None else opaque.convert("L")
        np.testing.assert_array_equal(found, prepare(expected, 8))
    # hidden pixels are not seen: white, whatever colour they have
    clear = plain.convert("RGBA")
    clear.putalpha(0)
    assert (prepare(clear, 8) == 1).all()
    half = Image.new("LA", (4, 4), (0, 128))
    assert np.ptp(prepare(half, 4)) == 0
    assert abs(prepare(half, 4).mean() + 128 / 127.5 - 1) < 0.01
    palette = Image.new("P", (4, 4))
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.info["transparency"] = 0
    assert (prepare(palette, 4) == 1).all()
    # EXIF orientation 6: stored on its side
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.rotate(90, expand=True).save(tmp_path / "side.png", exif=exif)
    np.testing.assert_array_equal(load_images([tmp_path / "side.png"], 8)[0][0], prepare(plain, 8))


def test_an_oversized_image_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixel(tmp_path / "a.png")
    Image.new("L", (60, 60)).save(tmp_path / "bomb.png")
    Image.new("L", (1, 90_000)).save(tmp_path / "strip.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.warns(SkippedImages, match=r"2 of 3 files .*bomb.png, strip.png"):
        images, rows = load_images(image_files(tmp_path), 64)
    assert (images.shape, rows.tolist()) == ((1, 3, 64, 64), [0])


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
