"""Probes along the noise: the rise is free of selection, and worlds are what they say."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import one_line

from hierdiff.data.digits import digits
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.sims.metrics.estimators import student_factor
from hierdiff.sims.run import run
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.validation.experiments import layer_probes
from hierdiff.validation.experiments.layer_probes import (
    DigitNetworks,
    PublishedNetwork,
    StringNetworks,
    interior_peak_gain,
    mixture_of_classes,
)
from hierdiff.validation.experiments.representation import MixtureNetworks, NetworkRepresentation
from hierdiff.validation.pretrained import latent_diffusion

T = np.array([0.1, 0.2, 0.3, 0.4, 0.5])


def draws(curve: list[float], fits: int, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((1, fits, len(curve), n)) < np.array(curve)[:, None]


def test_a_flat_curve_has_no_rise() -> None:
    """Picking and reading the peak in the same numbers would find one: the planted wrong way."""
    found = [interior_peak_gain(draws([0.6] * 5, 1, 200, k), T, k) for k in range(300)]
    z = np.array([x.gain / x.error for x in found])
    assert abs(z.mean()) < 4 / np.sqrt(300)
    assert 0.85 < z.std() < 1.15
    naive = []
    for k in range(300):
        curve = draws([0.6] * 5, 1, 200, k).mean(axis=(0, 1, 3))
        naive.append(curve[1:].max() - curve[0])
    assert np.mean(naive) > 4 * np.std(naive) / np.sqrt(300)


def test_a_peak_is_found_and_a_fall_is_not_one() -> None:
    up = interior_peak_gain(draws([0.5, 0.6, 0.8, 0.6, 0.3], 3, 400, 0), T)
    assert up.peak == 0.3
    assert abs(up.gain - 0.3) < 4 * up.error
    assert up.gain > 5 * up.error
    down = interior_peak_gain(draws([0.8, 0.7, 0.5, 0.4, 0.3], 3, 400, 1), T)
    assert down.peak == 0.1
    assert down.gain < -3 * down.error


def test_errors_count_fits() -> None:
    """Fits that share a datum's luck but differ among themselves have an error of their own."""
    right = np.zeros((1, 10, 2, 300), bool)
    right[:, :, 1] = np.arange(10)[:, None] % 2 == 0  # half of the fits always right, half never
    found = interior_peak_gain(right, T[:2])
    assert found.error == pytest.approx(
        student_factor(10) * np.sqrt(10 / 9) * 0.5 / np.sqrt(10), rel=1e-6
    )


def test_the_mixture_of_labelled_data() -> None:
    """Leading variances of every class are those of its data, the others their mean over all."""
    train = digits("train")
    x = train.images.reshape(len(train), -1)
    mixture = mixture_of_classes(x, train.labels, 12)
    left = []
    for k in range(10):
        mine = x[train.labels == k]
        values = np.linalg.eigvalsh(np.cov(mine.T, bias=True))[::-1]
        left.append(values[12:].mean())
        np.testing.assert_allclose(mixture.means[k], mine.mean(axis=0), atol=1e-6)
    for k in range(10):
        values = np.linalg.eigvalsh(np.cov(x[train.labels == k].T, bias=True))[::-1]
        found = np.linalg.eigvalsh(mixture.covariance(k))[::-1]
        expected = np.sort(np.append(values[:12], np.full(52, np.mean(left))))[::-1]
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    # and it knows digits: its class posterior on clean test data
    test = digits("test")
    model = ExactMixture(mixture, GaussianNoise(schedule="linear"))
    seen = test.images.reshape(len(test), -1)
    guess = model.class_marginals(seen, 0.01).argmax(axis=1)
    assert (guess == test.labels).mean() > 0.93


SMALL = StringNetworks(
    v=4, m=2, L=2, n_train=(8, 0), networks=2, steps=75, test=200, t=(0.02, 0.2, 0.5)
)


@pytest.mark.slow
def test_strings_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = NetworkRepresentation(SMALL)
    (ds,) = run(study, out=tmp_path, summary=tmp_path / "claims.json").values()
    last = capsys.readouterr().out.splitlines()[-1]
    said = json.loads((tmp_path / "claims.json").read_text())
    assert said["claim"] == last
    assert (tmp_path / "network_representation.png").read_bytes()[:4] == b"\x89PNG"
    rows = [str(x) for x in ds.row.values]
    assert {"exact: level 0", "memorising, N = 8: output", "network, N = 8: up 0",
            "network: down 2", "network: output"} <= set(rows)  # fmt: skip
    every = ds.accuracy.sel(probe="all")
    # beliefs in the class name it where the noise is low, and nothing does at the highest level
    assert float(every.sel(row="exact: level 0")[0]) == 1
    assert float(every.isel(t=-1).max()) < 0.55
    # exact beliefs only fall, which theory says of grammars: no curve of theirs rises
    for level in range(3):
        rise, error = said["rows"][f"exact: level {level}"]["all"]["rise"]
        assert rise < 2 * error
    # few data are told from fresh ones by what is read where the noise is low
    assert len(said["apart at lowest"]["all"]) == 3
    (again,) = run(study, out=tmp_path).values()
    np.testing.assert_array_equal(again.accuracy, ds.accuracy)


@pytest.mark.slow
def test_digits_tell_memory_from_understanding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small probe: the curve of a network that generalises rises, of one that memorises less."""
    study = NetworkRepresentation(DigitNetworks(steps=450, t=(0.005, 0.03, 0.06, 0.1, 0.2)))
    run(study, out=tmp_path, summary=tmp_path / "claims.json")
    assert "digits" not in capsys.readouterr().err
    said = json.loads((tmp_path / "claims.json").read_text())
    law, error = said["rows"]["exact: output"]["few"]["rise"]
    assert law > 3 * error
    rise, error = said["rows"]["network: output_blocks.1"]["few"]["rise"]
    assert rise > 3 * error
    gap, error, _ = said["apart"]["few"]
    assert gap > 4 * error
    memory, error = said["rows"]["memorising, N = 64: output"]["few"]["rise"]
    assert memory < 2 * error


def test_photographs_are_read_from_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for a published network: the layers of a small one, images in class folders."""
    from PIL import Image

    from hierdiff.data.digits import LabelledImages
    from hierdiff.data.image_folder import load_images
    from hierdiff.validation.recipes import train_image_network
    from hierdiff.validation.training import TrainConfig

    rng = np.random.default_rng(0)
    for k, name in enumerate(("bright", "dark")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(200 * (1 - k) + rng.normal(0, 20, (16, 16, 3)) + 20, 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{i}.png")
    (tmp_path / "images" / "dark" / "broken.png").write_bytes(b"no image")
    blank = LabelledImages(np.zeros((4, 3, 8, 8), np.float32), np.arange(4))
    network, _ = train_image_network(blank, TrainConfig(steps=1, every=1, warmup=1), batch=4)
    monkeypatch.setattr(layer_probes, "pretrained", lambda *_, **__: network)
    monkeypatch.setattr(layer_probes, "encoder_of", lambda *_: (8, lambda images: images))
    assert latent_diffusion.encoder_of is not layer_probes.encoder_of
    study = NetworkRepresentation(
        PublishedNetwork("adm-256", images=tmp_path / "images", t=(0.01, 0.9), test=8)
    )
    with pytest.warns(UserWarning, match=r"broken\.png"):
        (ds,) = run(study, out=tmp_path / "out").values()
    assert "network: middle_block" in ds.row.values
    assert float(ds.accuracy.sel(probe="all", row="network: output")[0]) > 0.8
    assert "rises before it falls" in capsys.readouterr().out

    # of data larger than the limit only layers are probed, and no more images opened than are used
    opened: list[int] = []

    def loading(files: Any, size: int) -> Any:
        opened.append(len(files))
        return load_images(files, size)

    monkeypatch.setattr(layer_probes, "load_images", loading)
    monkeypatch.setattr(layer_probes, "LARGEST_PROBED", 3 * 8 * 8 - 1)
    few = NetworkRepresentation(replace(study.source, fit=10, test=6))  # type: ignore[type-var]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the broken image may be among them
        (small,) = run(few, out=tmp_path / "few").values()
    assert opened == [16]
    assert "network: middle_block" in small.row.values
    assert "network: output" not in small.row.values
    for folder in ("bright", "dark"):
        for i in range(1, 10):
            (tmp_path / "images" / folder / f"{i}.png").unlink()
    with (
        pytest.raises(InvalidParameter, match="classes in both") as error,
        pytest.warns(UserWarning, match="broken"),
    ):
        run(study, out=tmp_path / "out")
    one_line(error)


def test_bad_requests_are_told_in_one_line() -> None:
    cases = [
        (lambda: PublishedNetwork("adm-256"), "--images"),
        (lambda: replace(SMALL, shots=0), "shots"),
        (lambda: replace(SMALL, t=(0.3,)), "noise levels"),
        (lambda: replace(SMALL, networks=0), "networks"),
        (lambda: replace(SMALL, n_train=(-1,)), "n_train"),
        (lambda: replace(SMALL, m=9), "rules exceed"),
        (lambda: MixtureNetworks(networks=1), ">= 2"),
        (lambda: NetworkRepresentation(SMALL).predict(), "use the source mixture"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
