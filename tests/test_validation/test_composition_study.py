"""Bump networks and levels in training, in small: place codes, loss, phases, order, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles import one_line

from hierdiff import RHM, MaskingNoise
from hierdiff.data.bumps import Bumps
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.results import compare
from hierdiff.sims.run import run
from hierdiff.theory import ExactRHM
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.experiments import class_generation, composition
from hierdiff.validation.experiments.class_generation import PublishedNetwork
from hierdiff.validation.experiments.composition import NetworkComposition, TrainedNetworks
from hierdiff.validation.networks.bump_unet import (
    AttenuatedEmbedding,
    PositionEmbedding,
    bump_unet,
    encoder_layer,
)
from hierdiff.validation.recipes import bump_loss, bump_model, train_bump_network
from hierdiff.validation.reference_layers import ReferenceClassifier
from hierdiff.validation.training import CheckpointSetAside, TrainConfig

BUMPS = Bumps(size=8, sigma=1.2, margin=2)


def test_places_have_codes_of_their_own() -> None:
    code = PositionEmbedding(16, 24)
    places = torch.tensor([[3.0, 5.0], [5.0, 3.0], [3.0, 5.0], [3.01, 5.0]])
    found = code(places)
    torch.testing.assert_close(found[0], found[2])
    assert (found[0] - found[1]).abs().max() > 0.05
    assert 0 < (found[0] - found[3]).abs().max() < 0.05  # a smooth code
    with pytest.raises(InvalidParameter, match="places") as error:
        code(torch.zeros(3))
    one_line(error)


def test_a_faint_code_is_another_place_and_a_little_of_its_own() -> None:
    bumps = Bumps(size=16, margin=3, d_x=0.5)
    places = torch.from_numpy(bumps.labels).float()
    code = AttenuatedEmbedding(bumps, 24, 0.0, 5)
    with torch.no_grad():
        code.net.weight.copy_(torch.eye(64)[32 : 32 + 24])  # the waves of the other place
        code.net.bias.zero_()
        found = code(places)
        every = {tuple(np.round(x, 4)) for x in code.waves(places)[:, :24].numpy()}
    assert len(every) == len(places) == 200
    assert {tuple(np.round(x, 4)) for x in found.numpy()} == every  # an exchange, none is lost
    moved = (found - code.waves(places)[:, :24]).abs().amax(dim=1) > 1e-3
    assert moved.float().mean() > 0.9
    torch.testing.assert_close(code(places + 0.1), found)  # the label next to it
    some = AttenuatedEmbedding(bumps, 24, 0.3, 5)
    with torch.no_grad():
        some.net.weight.copy_(torch.eye(64)[:24])
        some.net.bias.zero_()
        torch.testing.assert_close(some(places), 0.3 * some.waves(places)[:, :24])


def test_an_untrained_network_has_the_loss_of_saying_nothing() -> None:
    """It answers zero, so the squared error is that of eps: 1."""
    torch.manual_seed(0)
    loss = bump_loss(BUMPS, DiscreteSchedule.linear(), batch=64, seed=1)
    values = [float(loss(bump_unet(BUMPS, multipliers=(1,)), k).detach()) for k in range(5)]
    spread = np.sqrt(2 / (5 * 64 * 64))
    assert abs(np.mean(values) - 1) < 5 * spread


@pytest.mark.slow
def test_a_network_learns_and_resumes(tmp_path: Path) -> None:
    plan = TrainConfig(steps=60, every=30, warmup=5, rate=2e-3, average=0.9)
    model, done = train_bump_network(BUMPS, plan, multipliers=(1,), batch=32, folder=tmp_path)
    assert done.history[-1]["loss"] < 0.5 * done.history[0]["loss"] + 0.3
    again, _ = train_bump_network(BUMPS, plan, multipliers=(1,), batch=32, folder=tmp_path)
    for a, b in zip(model.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(a, b)
    places = np.array([[2.0, 3.0], [4.0, 5.0]], np.float32)
    x_t = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    told = model.given(places)
    assert told.sample(x_t, 1.0, 0).shape == (2, 1, 8, 8)
    layer = encoder_layer(model.module)
    assert told.features(x_t, 0.5)[layer].shape[0] == 2
    # the label is heard
    other = bump_model(model.module).given(places[::-1].copy())
    assert np.abs(told.denoise(x_t, 0.9) - other.denoise(x_t, 0.9)).max() > 1e-4


@pytest.mark.parametrize("changed", [{"sigma": 1.3}, {"d_x": 0.5}, {"dark": False}, {"faint": 0.2}],
                         ids=lambda x: next(iter(x)))  # fmt: skip
def test_other_bumps_are_not_resumed(tmp_path: Path, changed: dict[str, Any]) -> None:
    """A fresh U-Net answers zero whatever it sees; still its checkpoint knows its images."""
    plan = TrainConfig(steps=2, every=1, warmup=1)

    def run(sigma: float = 1.2, faint: float = 0.1, **rest: Any) -> None:
        bumps = Bumps(size=8, margin=2, sigma=sigma, **rest)
        train_bump_network(
            bumps, plan, attenuation=faint, multipliers=(1,), batch=8, folder=tmp_path
        )

    run()
    run()  # no warning: resumed
    with pytest.warns(CheckpointSetAside, match="other data or settings"):
        run(**changed)


SMALL = TrainedNetworks(
    size=8, margin=2, sigma=1.2, multipliers=(1,), skew=(0.5, 1.0), steps=60, batch=16, samples=40,
    feature_samples=100, attenuated_spacing=0.5, attenuated_steps=60, checkpoints=3, num_steps=5,
    v=4, m=2, L=2, level_steps=180, level_seeds=2, labels=("balanced", "skewed", "attenuated"),
)  # fmt: skip


@pytest.mark.slow
def test_the_study_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = NetworkComposition(SMALL)
    found = run(study, out=tmp_path, summary=tmp_path / "claims.json")
    balanced, skewed, faint, levels = found.values()
    last = capsys.readouterr().out.splitlines()[-1]
    assert "bumps with balanced labels pass the phases A" in last
    assert "from the leaves up in" in last
    assert json.loads((tmp_path / "claims.json").read_text())["claim"] == last
    assert (tmp_path / "network_composition.png").read_bytes()[:4] == b"\x89PNG"
    for ds in (balanced, skewed, faint):
        assert ds.rsa.shape == (1, 3)
        assert {str(p) for p in ds.phase.values.ravel()} <= {"A", "B", "C", "transitional"}
        assert str(ds.phase.values[0, 0]) == "A"  # after twenty steps there is no structure
    # a smooth code brings order before bumps are made at all, a faint one does not
    assert float(balanced.geodesic_rsa[0, 0]) > float(faint.geodesic_rsa[0, 0]) + 0.3
    # levels: tuples of leaves before whole strings, at every look and in every network
    assert (levels.valid.sel(level=1) >= levels.valid.sel(level=0)).all()
    assert float(levels.valid.isel(step=-1).sel(level=1).mean()) > 0.8
    z = levels.valid.isel(step=-1).mean("seed") - levels.valid.isel(step=0).mean("seed")
    assert float(z.min()) > 0.1  # both are learned
    again = run(study, out=tmp_path)["network_composition_levels"]
    np.testing.assert_array_equal(again.valid, levels.valid)


def test_a_study_that_starts_anew_leaves_the_checkpoints_of_others(tmp_path: Path) -> None:
    """All studies write to the same folder unless told otherwise."""
    other = tmp_path / "network-masking-8-2-2-4-0" / "checkpoint.pt"
    other.parent.mkdir()
    other.write_bytes(b"hours of work")
    study = NetworkComposition(
        TrainedNetworks(parts=("levels",), v=4, L=2, level_steps=2, level_seeds=1)
    )
    run(study, out=tmp_path)
    (mine,) = tmp_path.glob("levels-*/checkpoint.pt")
    written = mine.stat().st_mtime_ns
    run(study, out=tmp_path)
    assert mine.stat().st_mtime_ns == written
    run(study, out=tmp_path, resume=False)
    assert mine.stat().st_mtime_ns > written
    assert other.read_bytes() == b"hours of work"


def test_bad_requests_are_told_in_one_line() -> None:
    cases = [
        (lambda: replace(SMALL, parts=()), "parts"),
        (lambda: replace(SMALL, seeds=0), "seeds"),
        (lambda: replace(SMALL, samples=3), "samples"),
        (lambda: replace(SMALL, labels=()), "labels"),
        (lambda: replace(SMALL, attenuation=-1.0), "attenuation"),
        (lambda: replace(SMALL, t=0.0), "t = 0.0"),
        (lambda: TrainedNetworks(parts=("bumps",), level_steps=3), "without the part levels"),
        (lambda: TrainedNetworks(parts=("levels",), size=8), "without the part bumps"),
        (lambda: NetworkComposition(SMALL, seed=-1), "seed"),
        (lambda: replace(SMALL, margin=9), "margin"),
        (lambda: replace(SMALL, m=9), "rules exceed"),
        (lambda: bump_loss(BUMPS, DiscreteSchedule.linear(), batch=0), "batch"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


class Painter(torch.nn.Module):
    """The exact network of one image per class: eps = (x - a T_c) / s."""

    def __init__(self, images: np.ndarray, ratio: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("images", torch.from_numpy(images))
        self.register_buffer("ratio", torch.from_numpy(ratio.astype(np.float32)))

    def forward(self, x: torch.Tensor, time: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        snr = self.ratio[time.round().long()]
        a, s = (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()
        return (x - a[:, None, None, None] * self.images[label]) / s[:, None, None, None]


class Reader(torch.nn.Module):
    """Logits that fall with the distance to every template."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.templates = torch.nn.Parameter(torch.from_numpy(images))
        self.last = torch.nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distance = (x[:, None] - self.templates[None]).flatten(2).pow(2).sum(dim=2)
        return self.last(-distance)


@pytest.mark.parametrize("knows", [True, False])
def test_a_published_network_is_read_by_a_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    knows: bool,
) -> None:  # fmt: skip
    """A network that paints the class is in phase C; one that paints another class in phase B."""
    from PIL import Image

    schedule = DiscreteSchedule.linear()
    images = np.random.default_rng(0).uniform(-1, 1, (6, 3, 64, 64)).astype(np.float32)
    painted = images if knows else np.roll(images, 1, axis=0)
    model = NetworkModel(
        Painter(painted, schedule.snr), GaussianNoise(schedule="linear"), "eps",
        noise_conditioning=schedule, condition=0,
        sampler=Ancestral(schedule.respaced("10"), clip=1.0),
    )  # fmt: skip
    reader = ReferenceClassifier(Reader(images), ("last",))
    monkeypatch.setattr(class_generation, "pretrained", lambda *_, **__: model)
    monkeypatch.setattr(class_generation, "convnext", lambda *_: reader)
    monkeypatch.setattr(class_generation, "_CLASSES", 6)
    for c in range(6):
        place = tmp_path / "images" / str(c)
        place.mkdir(parents=True)
        pixels = ((images[c].transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
        Image.fromarray(pixels).save(place / "one.png")
    study = NetworkComposition(
        PublishedNetwork(
            "adm-64-conditional", images=tmp_path / "images", classifier=tmp_path / "none.pth",
            samples=20, num_steps=10,
        )
    )  # fmt: skip
    (ds,) = run(study, out=tmp_path / "out", summary=tmp_path / "claims.json").values()
    said = json.loads((tmp_path / "claims.json").read_text())
    assert capsys.readouterr().out.splitlines()[-1] == said["claim"]
    assert said["phase"] == ("C" if knows else "B")
    assert float(ds.recognised.sel(images="network")) == 1
    assert float(ds.right.sel(images="network")) == (1 if knows else 0)
    assert float(ds.right.sel(images="photographs")) == 1
    assert float(ds.right.sel(images="exchanged labels")) < 0.6

    # a second run reads the finished images
    def broken(*_: object) -> None:
        raise AssertionError("an image was made again")

    monkeypatch.setattr(Painter, "forward", broken)
    (again,) = run(study, out=tmp_path / "out").values()
    np.testing.assert_array_equal(again.right, ds.right)


def test_published_networks_need_a_class_and_a_classifier() -> None:
    for name, words in (("adm-256", "not conditioned on a class"),
                        ("adm-64-conditional", "--classifier"),
                        ("adm-64-conditiona", "adm-64-conditional")):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words) as error:
            PublishedNetwork(name)
        one_line(error)


def test_order_is_read_at_places_spread_evenly() -> None:
    """Whatever the spacing of the labels was; a faint code has those alone."""
    source = TrainedNetworks(feature_samples=400, labels=("balanced", "skewed", "attenuated"))
    study = NetworkComposition(source)
    for name in ("balanced", "skewed"):
        points = study._feature_places(source.label_sets[name])
        assert len(np.unique(points[:, 0])) == len(np.unique(points[:, 1])) == 400
        np.testing.assert_allclose(points.std(axis=0), 7 / np.sqrt(12), rtol=0.1)
    known = study._feature_places(source.label_sets["attenuated"])
    assert np.abs(known / 0.2 - np.round(known / 0.2)).max() < 1e-5


def test_the_table_counts_courses_of_several_networks() -> None:
    rows = [["A", "A", "B", "C"], ["A", "A", "A", "C"], ["A", "B", "C", "C"]]
    assert composition._courses(rows) == "A -> B -> C (2 of 3) or A -> C (1 of 3)"
    assert composition._courses([["A", "B"]]) == "A -> B"
    steps = [50, 100, 150, 200]
    assert composition._crossing([100.0, 110.0, 120.0], steps) == "110 ± 8"
    assert composition._crossing([100.0, float("nan"), 120.0], steps) == "(not reached in 1 of 3)"
    early = composition._crossing([50.0, 50.0, 120.0], steps)
    assert early.endswith("(or before, 2 of 3: the first checkpoint)")


def test_strings_of_a_given_network_stand_beside_the_law() -> None:
    """The same question as that of truncated denoisers, so the same labels."""
    grammar, noise = RHM(4, 2, 2, 2).draw(0), MaskingNoise(4)
    study = NetworkComposition(TrainedNetworks(v=4, m=2, L=2))
    both = compare(study.predict(), study.measure(ExactRHM(grammar, noise), grammar))
    assert float(abs(both.validity_z.sel(known=2, t=1.0, informed="no label")).max()) < 1
