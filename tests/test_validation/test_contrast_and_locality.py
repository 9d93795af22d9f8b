"""Trained dual encoders, and the share of networks that windows explain, in small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from oracles import one_line

from hierdiff import RHM, MaskingNoise, run
from hierdiff.data.digits import LabelledImages
from hierdiff.errors import InvalidParameter
from hierdiff.theory import ExactRHM
from hierdiff.validation.experiments import local_networks
from hierdiff.validation.experiments.dual_encoders import NetworkContrastive
from hierdiff.validation.experiments.local_networks import NetworkLocality

ENCODERS = NetworkContrastive(
    values=(3, 3), widths=(2, 4), hidden=32, batch=64, steps=40, networks=2
)
LOCAL = NetworkLocality(
    v=4, m=2, L=2, width=16, steps=20, batch=32, networks=2, t=(0.3, 0.6), data=60
)

IMAGES = NetworkLocality(
    images="digits", n_train=60, radii=(0, 1), steps=4, batch=16, networks=2, t=(0.1, 0.25), data=8
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "words"),
    [
        (ENCODERS, "dual encoders of width 2 bind"),
        (LOCAL, "exact inference on all leaves explains"),
        (IMAGES, "networks on digits are explained best by"),
    ],
    ids=["encoders", "windows", "images"],
)
def test_from_one_command_and_again_from_its_checkpoints(
    one: NetworkContrastive | NetworkLocality, words: str, tmp_path: Path
) -> None:
    first = run(one, out=tmp_path, summary=tmp_path / "found.json")
    assert words in (tmp_path / "found.json").read_text()
    assert (tmp_path / f"{one.name}.png").stat().st_size > 10_000
    again = run(one, out=tmp_path)
    variable = "accuracy" if isinstance(one, NetworkContrastive) else "explained"
    np.testing.assert_array_equal(again[one.name][variable], first[one.name][variable])
    assert first[one.name][variable].dims == first[f"{one.name}_theory"][variable].dims


def test_hard_negatives_teach_binding() -> None:
    ds = replace(ENCODERS, widths=(2,), steps=250).measure()
    at = ds.accuracy.sel(task="colour exchanged", width=2)
    assert float(at.sel(negatives="hard")) > 0.75


def test_exact_inference_explains_itself_and_smaller_windows_less() -> None:
    tree = LOCAL.predict().explained.sel(kind="tree").values
    assert np.abs(tree[:, -1] - 1).max() < 1e-12
    assert (np.diff(tree, axis=1) > 0).all()


@pytest.mark.parametrize("one", [ENCODERS, LOCAL], ids=["encoders", "windows"])
def test_models_are_refused(one: NetworkContrastive | NetworkLocality) -> None:
    exact = ExactRHM(RHM(4, 2, 2, 2).draw(0), MaskingNoise(4))
    with pytest.raises(InvalidParameter, match="has no place in") as error:
        one.measure(exact)
    one_line(error)


def test_widths_beyond_the_captions_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="exceed the 18 captions"):
        replace(ENCODERS, widths=(2, 19))


def test_machines_of_images_against_a_model_that_is_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network that computes a machine is explained by it and by no other."""
    kept = {}

    class Machine:
        def denoise(self, x: np.ndarray, t: float) -> np.ndarray:
            found = IMAGES._machines(kept["train"], x.reshape(len(x), -1), t)
            return found[kept["size"]][kept["machine"]].reshape(x.shape)

    def trained(data: LabelledImages, *_: object, **__: object) -> tuple[Machine, None]:
        kept["train"] = data.images.reshape(len(data), -1)
        return Machine(), None

    monkeypatch.setattr(local_networks, "train_image_network", trained)
    for size, machine in ((0, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 4)):
        kept.update(size=size, machine=machine)
        ds = IMAGES.measure()
        assert float(np.abs(ds.explained[machine, :, size] - 1).max()) < 1e-5
        assert int((ds.explained > 1 - 1e-6).all("t").sum()) == 1 + (size == 0)  # one pixel: both
        np.testing.assert_allclose(ds.network_square, ds.square[machine, :, size], rtol=1e-4)
    # at the whole image the machines are global: two Gaussian ones, two posterior means
    np.testing.assert_allclose(ds.explained[0, :, -1], ds.explained[1, :, -1])
    np.testing.assert_allclose(ds.explained[2, :, -1], ds.explained[3, :, -1])


def test_gaussian_windows_explain_more_the_wider_they_are() -> None:
    law = IMAGES.predict()
    assert law.explained.dims == ("kind", "t", "pixels")
    assert list(law.kind.values) == ["Gaussian, covariance", "Gaussian, squares"]
    assert float(np.abs(law.explained.isel(pixels=-1) - 1).max()) < 1e-9
    assert (law.explained.diff("pixels") > 0).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(IMAGES, v=6), "means nothing for images"),
        (lambda: replace(IMAGES, noise="uniform"), "means nothing for images"),
        (lambda: replace(IMAGES, images="letters"), "images"),
        (lambda: replace(IMAGES, radii=(0, 4)), "exceeds the image"),
        (lambda: replace(IMAGES, architecture="tree_unet"), "tree_unet"),
        (lambda: replace(IMAGES, data=300).measure(), "test images"),
        (lambda: replace(LOCAL, architecture="adm"), "adm"),
    ],
)
def test_images_that_cannot_be_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        make()
    one_line(error)
