"""Reference classifiers: statistics, similarities, the floor of pairs, ConvNeXt's names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import one_line
from torch import nn

from hierdiff.data.digits import digits
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.validation.reference_layers import (
    BASE,
    ReferenceClassifier,
    convnext,
    convnext_names,
    floor_of_pairs,
    from_torchvision,
    layer_statistics,
    similarity,
    train_classifier,
)
from hierdiff.validation.training import TrainConfig


@pytest.fixture(scope="module")
def trained() -> ReferenceClassifier:
    plan = TrainConfig(steps=150, every=150, warmup=10, rate=3e-3, average=0.9)
    return train_classifier(digits(), plan, width=16)[0]


def test_a_small_classifier_reads_digits(trained: ReferenceClassifier) -> None:
    test = digits("test")
    answer = trained.activations(test.images)["logits"].argmax(axis=1)
    assert (answer == test.labels).mean() > 0.9


def test_statistics_by_hand_and_in_parts(trained: ReferenceClassifier) -> None:
    images = digits("test").images[:70]
    whole = trained.activations(images)
    small = ReferenceClassifier(trained.module, trained.layers, batch=16)
    found, published = (layer_statistics(small, images, moment=x) for x in (False, True))
    for name, a in whole.items():
        axes = None if name == "logits" else (0, *range(2, a.ndim))
        np.testing.assert_allclose(found.mean[name].ravel(), np.ravel(a.mean(axis=axes)), rtol=1e-5)
        spread = np.sqrt(np.ravel(a.astype(float).var(axis=axes)) + 1e-8)
        np.testing.assert_allclose(found.scale[name].ravel(), spread, rtol=1e-4)
        power = np.sqrt(np.ravel((a.astype(float) ** 2).mean(axis=axes)) + 1e-8)
        np.testing.assert_allclose(published.scale[name].ravel(), power, rtol=1e-4)


def test_cosines_by_hand(trained: ReferenceClassifier) -> None:
    images, others = digits("test").images[:30], digits("test").images[30:60]
    statistics = layer_statistics(trained, digits().images[:300])
    found = similarity(trained, statistics, images, others)
    a, b = trained.activations(images), trained.activations(others)
    for name in a:
        shape = (1, -1) + (1,) * (a[name].ndim - 2)
        u, w = (
            (
                (x[name] - statistics.mean[name].reshape(shape))
                / statistics.scale[name].reshape(shape)
            ).reshape(30, -1)
            for x in (a, b)
        )
        expected = (u * w).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(w, axis=1)
        np.testing.assert_allclose(found.cosine[name], expected, atol=1e-5)
        bare = (a[name].reshape(30, -1) * b[name].reshape(30, -1)).sum(1)
        bare /= np.linalg.norm(a[name].reshape(30, -1), axis=1)
        bare /= np.linalg.norm(b[name].reshape(30, -1), axis=1)
        if name != "logits":  # rectified: without standardisation everything looks alike
            assert bare.mean() > expected.mean() + 0.1
    same = similarity(trained, statistics, images, images)
    assert all(np.allclose(x, 1, atol=1e-5) for x in same.cosine.values())
    assert same.same_class.all()


def test_the_second_moment_changes_cosines(trained: ReferenceClassifier) -> None:
    images = digits("test").images[:100]
    values = [
        floor_of_pairs(trained, layer_statistics(trained, images, moment=x), images, 0)
        for x in (False, True)
    ]
    gaps = [abs((values[1].cosine[k] - values[0].cosine[k]).mean()) for k in trained.layers]
    assert max(gaps) > 0.003


def test_pairs_are_never_the_same_image(trained: ReferenceClassifier) -> None:
    images = digits("test").images[:40]
    statistics = layer_statistics(trained, images)
    for seed in range(5):
        found = floor_of_pairs(trained, statistics, images, seed)
        assert max(found.cosine["conv1"]) < 0.999
    assert 0 < found.same_class.mean() < 0.5


def torchvision_state(module: nn.Module, depths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """The weights of a transformers model under torchvision's names."""
    names = ["features.0.0.weight", "features.0.0.bias", "features.0.1.weight",
             "features.0.1.bias"]  # fmt: skip
    for i, depth in enumerate(depths):
        if i:
            names += [f"features.{2 * i}.{j}.{w}" for j in (0, 1) for w in ("weight", "bias")]
        for j in range(depth):
            block = f"features.{2 * i + 1}.{j}."
            names.append(block + "layer_scale")
            names += [f"{block}block.{k}.{w}" for k in (0, 2, 3, 5) for w in ("weight", "bias")]
    names += [f"classifier.{k}.{w}" for k in (0, 2) for w in ("weight", "bias")]
    own = module.state_dict()
    found = {}
    for name in names:
        value = own[convnext_names(name)].clone()
        found[name] = value[:, None, None] if name.endswith("layer_scale") else value
    return found


@pytest.fixture(scope="module")
def tiny() -> tuple[dict[str, object], dict[str, torch.Tensor], nn.Module]:
    library = pytest.importorskip("transformers")
    sizes = {"depths": (1, 1, 2, 1), "hidden_sizes": (8, 8, 16, 16), "num_labels": 5}
    torch.manual_seed(0)
    config = library.ConvNextConfig(**sizes, layer_norm_eps=1e-6)
    module = library.ConvNextForImageClassification(config).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(0, 0.3)
    return sizes, torchvision_state(module, (1, 1, 2, 1)), module


def test_convnext_with_the_names_of_torchvision(tiny: tuple) -> None:
    sizes, state, module = tiny
    classifier = from_torchvision(state, sizes)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 256, 256)).astype(np.float32)
    found = classifier.activations(images)
    assert len(found) == 1 + 5 + 3 + 1  # stem, blocks, layers between stages, logits
    seen = classifier._seen(torch.from_numpy(images))
    assert seen.shape == (3, 3, 224, 224)
    with torch.no_grad():
        expected = module(seen).logits.numpy()
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5)
    state = {**state, "features.1.0.block.3.weight": state["features.1.0.block.3.weight"][:-1]}
    with pytest.raises(InvalidParameter, match="pwconv1") as error:
        from_torchvision(state, sizes)
    one_line(error)


def test_all_names_of_the_base_model() -> None:
    library = pytest.importorskip("transformers")
    with torch.device("meta"):
        module = library.ConvNextForImageClassification(library.ConvNextConfig(**BASE))
    state = torchvision_state(module, BASE["depths"])
    assert len(state) == len(module.state_dict()) == 344
    assert sum(p.numel() for p in module.parameters()) == 88_591_464


def test_a_file_of_another_hash_is_refused(tmp_path: Path, tiny: tuple) -> None:
    path = tmp_path / "convnext_base-6075fbad.pth"
    torch.save(tiny[1], path)
    assert not hashlib.sha256(path.read_bytes()).hexdigest().startswith("6075fbad")
    with pytest.raises(DamagedFile, match="SHA-256") as error:
        convnext(path)
    one_line(error)
    with pytest.raises(InvalidParameter, match="no file") as error:
        convnext(tmp_path / "nothing.pth")
    one_line(error)
    with pytest.raises(InvalidParameter, match="fit") as error:
        convnext(path, verify=False)  # tiny weights for the base model
    one_line(error)


def test_bad_requests_are_told_in_one_line(trained: ReferenceClassifier) -> None:
    images = digits("test").images
    statistics = layer_statistics(trained, images[:20])
    cases = [
        (lambda: ReferenceClassifier(trained.module, ("conv9",)), "conv9"),
        (lambda: layer_statistics(trained, images[:0]), "n >= 1, channels"),
        (lambda: similarity(trained, statistics, images[:3], images[:2]), "pair up"),
        (lambda: floor_of_pairs(trained, statistics, images[:1], 0), "n >= 2"),
        (lambda: convnext_names("features.1.0.block.7.weight"), "no weight"),
        (lambda: train_classifier(digits()[:0], TrainConfig(steps=1)), "no images"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def test_a_classifier_that_is_nan_says_no_class() -> None:
    from hierdiff.validation.reference_layers import ConvClassifier

    torch.manual_seed(0)
    net = ConvClassifier(1, 8, 3, width=4)
    reader = ReferenceClassifier(net, net.names)
    images = np.zeros((3, 1, 8, 8), np.float32)
    assert reader.activations(images)["logits"].shape == (3, 3)
    with torch.no_grad():
        net.head.bias[1] = float("nan")
    with pytest.raises(InvalidParameter, match=r"layer 'logits' of the classifier .* datum 0"):
        reader.activations(images)
