"""Layers of networks at the odd-one-out task: exact beliefs, probes, digits, people."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from oracles import one_line
from PIL import Image
from torch import Tensor, nn

from hierdiff import GaussianNoise, results
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.sims.metrics.odd_one_out import (
    TripletTask,
    draw_triplets,
    leading_components,
    paired_difference,
    write_triplets,
)
from hierdiff.sims.run import run
from hierdiff.theory.odd_one_out_task import odd_one_out
from hierdiff.validation import things
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.experiments.alignment import (
    DIGIT_GROUPS,
    CatalogueObjects,
    DigitObjects,
    GrammarObjects,
    NetworkAlignment,
    digit_similarity,
)
from hierdiff.validation.things import block_layers

SMALL = NetworkAlignment(
    GrammarObjects(v=6, m=2, L=2, steps=600, width=24, objects=100, n_readout=500),
    max_triplets=3000, t=(0.05, 0.8), probe_width=0,
)  # fmt: skip


# --- responses -----------------------------------------------------------------------------------


def test_digits_share_groups_as_stated() -> None:
    labels = np.arange(10)
    found = digit_similarity(labels, (1.0, 0.5, 0.25))
    for i, j in itertools.product(range(10), repeat=2):
        coarse = [any(k in fine for fine in part) for part in DIGIT_GROUPS for k in (i, j)]
        same_coarse = (coarse[0] and coarse[1]) or (coarse[2] and coarse[3])
        same_fine = any({i, j} <= set(fine) for part in DIGIT_GROUPS for fine in part)
        assert found[i, j] == same_coarse + 0.5 * same_fine + 0.25 * (i == j)
    assert sorted(k for part in DIGIT_GROUPS for fine in part for k in fine) == list(range(10))
    with pytest.raises(InvalidParameter, match="3 numbers") as error:
        digit_similarity(labels, (1.0, 2.0))
    one_line(error)
    with pytest.raises(InvalidParameter, match="label 11 is in no group"):
        digit_similarity([3, 11], (1.0, 0.5, 0.25))


def task_of(similarity: NDArray[Any], count: int = 800) -> TripletTask:
    rows = draw_triplets(len(similarity), count, 0)
    return TripletTask(rows, odd_one_out(similarity, rows, 0.22))


def test_the_error_is_that_of_triplets_that_share_objects() -> None:
    rng = np.random.default_rng(0)
    task = task_of(rng.random((30, 30)))
    score = rng.random(800)
    _, theirs = paired_difference(score, np.zeros(800), task.triplets)
    assert task.error(score) == pytest.approx(theirs)
    # scores of their own: as if triplets were independent, within the noise of the estimate
    assert task.error(score) == pytest.approx(score.std() / np.sqrt(800), rel=0.3)
    # scores that belong to the objects are not averaged out by more triplets
    shared = rng.random(30)[task.triplets].mean(axis=1)
    assert task.error(shared) > 3 * shared.std() / np.sqrt(800)


def test_choices_follow_the_observers() -> None:
    similarity = np.kron(np.eye(2), np.ones((5, 5)))
    task = task_of(similarity, 4000)
    odd = task.choices()[:, 2]
    for column in range(3):
        count = int((task.triplets[:, column] == odd).sum())
        mean = task.probabilities[:, column].sum()
        spread = np.sqrt((task.probabilities * (1 - task.probabilities))[:, column].sum())
        assert abs(count - mean) < 4 * spread


def test_components_keep_the_geometry() -> None:
    x = np.random.default_rng(0).standard_normal((20, 4)) @ np.ones((4, 9))
    np.testing.assert_allclose(
        np.abs(leading_components(x, 1)[:, 0]),
        np.linalg.norm(x - x.mean(axis=0), axis=1),
        atol=1e-9,
    )


@pytest.mark.slow
def test_the_probe_finds_what_is_there_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 2
    task = task_of(np.equal.outer(labels, labels).astype(float), 6000)
    hidden = np.hstack([np.eye(2)[labels], rng.standard_normal((90, 2))])
    held, error, _ = task.probed(hidden, 4)
    plain = task.scores(hidden).mean()
    assert held - plain > 2 * error
    nothing, error, leaked = task.probed(rng.standard_normal((90, 12)), 12)
    assert abs(nothing - 1 / 3) < 4 * error
    assert leaked - nothing > 2 * error  # which is why the leaked number is not the one reported


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_levels_of_the_network_judge_as_exact_beliefs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, exact = run(SMALL, out=tmp_path, summary=tmp_path / "claims.json").values()
    claims = json.loads((tmp_path / "claims.json").read_text())
    assert network.accuracy.dims == ("condition", "level", "t")
    assert str(exact.source.values) == "theory"
    assert str(network.source.values) == "network"
    assert claims["correlation"] > 0.8
    gap, error = claims["readout minus exact"]
    assert abs(gap) < 4 * error + 0.02
    # the class matters where the noise has erased it, in theory and in the network
    for who in ("exact", "readout"):
        (low, _), (high, spread) = (claims[f"gain, {who}"][t] for t in ("0.05", "0.8"))
        assert high - low > 4 * spread
    (low, a), (high, b) = claims["gain"]
    assert high - low > 4 * np.hypot(a, b)
    # what is told changes nothing that it cannot change: the input
    told = network.layer_accuracy.sel(layer="input")
    np.testing.assert_array_equal(told[0], told[1])
    saved = results.load(tmp_path / "network_alignment.nc")
    np.testing.assert_array_equal(saved.layer_accuracy, network.layer_accuracy)
    again = run(SMALL, out=tmp_path)["network_alignment"]
    np.testing.assert_allclose(again.layer_accuracy, network.layer_accuracy)
    assert "read from the network - exact" in capsys.readouterr().out.splitlines()[-1]
    assert (tmp_path / "network_alignment.png").stat().st_size > 10_000


@pytest.mark.slow
def test_digits_with_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = NetworkAlignment(
        DigitObjects(steps=30, objects=60, layers=("middle_block",)), max_triplets=1500,
        t=(0.1, 0.7), probe_width=4,
    )  # fmt: skip
    (ds,) = run(study, out=tmp_path).values()
    assert ds.layer.values.tolist() == ["input", "middle_block", "output"]
    seen = ds.layer_accuracy.sel(layer="input", condition="unconditional")
    error = ds.layer_accuracy_error.sel(layer="input", condition="unconditional")
    assert float(seen[0] - 1 / 3) > 2.5 * float(error[0])  # pixels judge a little
    assert float(ds.ceiling) > float(ds.label_only) > 1 / 3
    assert "probe at best" in capsys.readouterr().out


# --- human choices --------------------------------------------------------------------------------


class Colours(nn.Module):
    """A network whose block hands on its input; conditioned on a class, it adds the class."""

    def __init__(self) -> None:
        super().__init__()
        self.middle_block = nn.Identity()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is not None:
            x = x + 5 * nn.functional.one_hot(labels % 3, 3)[:, :, None, None]
        out: Tensor = self.scale * self.middle_block(x)
        return out


def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, NDArray[Any]]:
    """Twelve images in three colours, judged by colour."""
    model = NetworkModel(Colours(), GaussianNoise(schedule="linear"), "eps")
    monkeypatch.setattr(things, "pretrained", lambda *_, **__: model)
    monkeypatch.setattr(things, "encoder_of", lambda *_: (8, lambda x: x))
    colours = np.arange(12) % 3
    folder = tmp_path / "images"
    folder.mkdir()
    for i, c in enumerate(colours):
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[:, :, c] = 255
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    rows = [
        (i, j, k)
        for i, j, k in itertools.permutations(range(12), 3)
        if colours[i] == colours[j] != colours[k]
    ]
    return folder, write_triplets(tmp_path / "choices.npy", np.array(rows)), colours


def testhumans_without_and_with_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, triplets, colours = scene(tmp_path, monkeypatch)
    source = CatalogueObjects(images=folder, triplets=triplets)
    study = NetworkAlignment(source, t=(0.02, 0.99), probe_width=0, max_triplets=400)
    (ds,) = run(study, out=tmp_path / "out").values()
    assert ds.condition.values.tolist() == ["unconditional"]
    assert ds.layer.values.tolist() == ["middle_block"]
    assert float(ds.layer_accuracy[0, 0, 0]) == 1.0
    assert float(ds.layer_accuracy[0, 0, 1]) < 0.8  # noise has eaten the colours
    assert "label_only" not in ds
    np.save(tmp_path / "labels.npy", colours)
    labelled = replace(study, network=replace(source, labels=tmp_path / "labels.npy"))
    (told,) = run(labelled, out=tmp_path / "told").values()
    assert told.condition.values.tolist() == ["unconditional", "class given"]
    assert float(told.layer_accuracy.sel(condition="class given")[0, 1]) == 1.0
    assert float(told.label_only) == 1.0
    assert "the class adds" in capsys.readouterr().out.splitlines()[-1]


def test_choices_about_images_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, triplets, _ = scene(tmp_path, monkeypatch)
    source = CatalogueObjects(images=folder, triplets=triplets)

    def start(**changes: Any) -> None:
        run(NetworkAlignment(replace(source, **changes), probe_width=0), out=tmp_path / "out")

    (folder / "11.png").write_bytes(b"no image")
    with (
        pytest.warns(UserWarning, match=r"11\.png"),
        pytest.raises(InvalidParameter, match="1 of 12 images cannot be read") as error,
    ):
        start()
    one_line(error)
    (folder / "11.png").unlink()
    with pytest.raises(InvalidParameter, match="unknown object") as error:
        start()
    one_line(error)
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(DamagedFile, match=r"give a .npy file") as damaged:
        start(labels=tmp_path / "bad.npy", triplets=_first(tmp_path))
    one_line(damaged)
    with pytest.raises(InvalidParameter, match="must be conditioned on") as error:
        start(name="adm-64-conditional", triplets=_first(tmp_path))
    one_line(error)


def _first(tmp_path: Path) -> Path:
    return write_triplets(tmp_path / "few.npy", np.array([[0, 1, 2], [3, 4, 5]]))


def test_blocks_of_published_networks() -> None:
    class Dit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleDict(
                {"transformer_blocks": nn.ModuleList([nn.Identity(), nn.Identity()])}
            )

    model = NetworkModel(Dit(), GaussianNoise(schedule="linear"), "eps")
    assert block_layers(model) == {
        f"inner.transformer_blocks.{i}": "tokens" for i in range(2)
    }  # fmt: skip
    assert block_layers(model, ("inner",)) == {"inner": "tokens"}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: CatalogueObjects(), "needs images"),
        (lambda: CatalogueObjects(images=Path()), "needs triplets"),
        (lambda: CatalogueObjects(name="digit"), "did you mean"),
        (lambda: GrammarObjects(temperature=0.0), "temperature"),
        (lambda: GrammarObjects(label_share=1.0), "label_share"),
        (lambda: GrammarObjects(weights=(1.0, 1.0)), "one per level"),
        (lambda: NetworkAlignment(t=(1.5,)), "1.5"),
        (lambda: NetworkAlignment(DigitObjects()).predict(), "no law"),
    ],
)
def test_bad_input_is_one_line(make: Any, match: str) -> None:
    with pytest.raises(InvalidParameter, match=match) as error:
        make()
    one_line(error)
