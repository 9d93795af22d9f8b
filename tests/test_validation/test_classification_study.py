"""Networks as classifiers: adapters against exact denoisers, the study, the grid protocol, cues."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from oracles import one_line
from PIL import Image
from torch import Tensor, nn

from hierdiff import RHM, GaussianNoise, results
from hierdiff.command_line import parse_flags
from hierdiff.data.image_folder import SkippedImages, labelled_folder, load_images
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.noise import GaussianNoise as Noise
from hierdiff.sims.metrics.denoising_error import ClassErrors, tie_split_accuracy
from hierdiff.sims.run import RunOptions, run
from hierdiff.theory import denoise_symbols
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.experiments import image_folders
from hierdiff.validation.experiments.classification import (
    DigitNetwork,
    NetworkClassification,
    PublishedNetwork,
    TreeNetwork,
)
from hierdiff.validation.experiments.image_folders import (
    CATEGORIES,
    GRID,
    MEMBERS,
    FixedGrid,
    category_answers,
    cue_shares,
    grid_scores,
    read_conflicts,
)
from hierdiff.validation.gaussian_rhm import GaussianRHMNetwork
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.loading import as_model

GRAMMAR = RHM(4, 2, 2, 2).draw(0)
WORLD = GaussianRHM(GRAMMAR, 0.42)
SMALL = NetworkClassification(TreeNetwork(
    v=4, m=2, L=2, steps=400, width=16, data=96, budgets=(1, 10, 30),
    independent_budgets=(1, 10), times=(0.2, 0.6),
))  # fmt: skip


class ExactHard:
    """Exact beliefs of one-hot leaves in the place of a network; ``skew`` plants another law."""

    noise = Noise(4)

    def __init__(self, skew: float = 1.0, label: Any = None) -> None:
        self.skew, self.label = skew, label

    def given(self, label: Any) -> ExactHard:
        return ExactHard(self.skew, label)

    def denoise(self, x_t: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        evidence = np.stack([
            self.noise.log_evidence(x[None] * self.skew, level)[0]
            for x, level in zip(x_t, t, strict=True)
        ])  # fmt: skip
        found = posterior(GRAMMAR, evidence, self.label, threads=1).marginals[GRAMMAR.L]
        return np.asarray(found)


def test_soft_leaves_are_hard_leaves_with_more_noise() -> None:
    x0, _ = WORLD.sample(7, seed=0)
    noise = np.random.default_rng(1).standard_normal(x0.shape)
    snr = np.geomspace(1e-3, 1e3, 7)
    exact = WORLD.errors(x0, noise, snr)
    found = GaussianRHMNetwork(ExactHard(), WORLD).errors(x0, noise, snr)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-9)
    # a datum on another scale is not the same
    wrong = GaussianRHMNetwork(ExactHard(1.1), WORLD).errors(x0, noise, snr)  # type: ignore[arg-type]
    assert np.abs(wrong - exact).max() > 1e-3


def test_hard_beliefs_are_what_the_grammar_says() -> None:
    rng = np.random.default_rng(0)
    x_t = rng.standard_normal((3, 4, 4))
    np.testing.assert_allclose(
        ExactHard().denoise(x_t, np.full(3, 0.5)),
        denoise_symbols(GRAMMAR, GaussianNoise(4), x_t, 0.5),
    )


@pytest.mark.slow
def test_the_network_is_near_bayes_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, exact = run(SMALL, out=tmp_path, summary=tmp_path / "claims.json").values()
    claim = capsys.readouterr().out.strip().splitlines()[-1]
    assert claim.startswith("at N = 30 the network classifies 0.")
    assert "z = " in claim
    claims = json.loads((tmp_path / "claims.json").read_text())
    last = network.sel(budget=30)
    for weight in ("vdm", "exp"):
        value = float(last.accuracy.sel(weighting=weight))
        error = float(last.accuracy_error.sel(weighting=weight))
        assert value - 0.25 > 8 * error  # far from chance
        gap, spread = claims["minus exact"][weight]
        assert gap > -0.15
        assert gap < 4 * spread  # never better than the exact denoiser
        assert claims["minus bayes"][weight][0] < 4 * claims["minus bayes"][weight][1]
    # noise of its own for every class destroys the answer
    shared = float(network.accuracy.sel(weighting="exp", budget=10))
    own = float(network.independent.sel(weighting="exp", independent_budget=10))
    error = float(network.independent_error.sel(weighting="exp", independent_budget=10))
    assert shared - own > 4 * error
    assert str(network.source.values) == "network"
    assert (exact.information.diff("t") < 0).all()
    name = SMALL.name
    again = run(SMALL, out=tmp_path)[name]
    np.testing.assert_array_equal(again.accuracy, network.accuracy)
    np.testing.assert_array_equal(results.load(tmp_path / f"{name}.nc").accuracy, network.accuracy)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_a_network_that_is_told_other_labels_is_at_chance_or_below() -> None:
    x0, labels = WORLD.sample(64, seed=3)
    rng = np.random.default_rng(4)
    noise, snr = rng.standard_normal(x0.shape), np.full(64, 3.0)
    errors = GaussianRHMNetwork(ExactHard(), WORLD).errors(x0, noise, snr)  # type: ignore[arg-type]
    right, wrong = (tie_split_accuracy(errors, (labels + i) % 4) for i in (0, 1))
    assert right.mean() > 0.4 > 0.25 > wrong.mean()


@pytest.mark.slow
def test_digits_beside_trained_classifiers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = DigitNetwork(
        steps=40, data=40, budgets=(1, 10), independent_budgets=(1,), times=(0.3,)
    )
    (ds,) = run(NetworkClassification(source), out=tmp_path).values()
    assert float(ds.linear) > 0.8
    assert float(ds.conv) > 0.8
    best = ds.accuracy.isel(budget=-1).max()
    assert float(best) - 0.1 > 4 * np.sqrt(0.1 * 0.9 / 40)
    printed = capsys.readouterr().out
    assert "linear classifier" in printed
    assert "convolutional classifier" in printed.splitlines()[-1]


# --- the grid of fixed noise ----------------------------------------------------------------------


class Templates(nn.Module):
    """Knows one image per class: its eps is exact for the class it is told."""

    def __init__(self, images: NDArray[Any], schedule: DiscreteSchedule) -> None:
        super().__init__()
        self.register_buffer("images", torch.from_numpy(images.astype(np.float32)))
        self.ratio = schedule.snr

    def forward(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        snr = torch.from_numpy(self.ratio[time.round().long().numpy()].astype(np.float32))
        a, s = (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()
        clean = self.images[labels]  # type: ignore[index]
        return (x - a[:, None, None, None] * clean) / s[:, None, None, None]


def tiny(classes: int = 5) -> tuple[NetworkModel, NDArray[Any], DiscreteSchedule]:
    schedule = DiscreteSchedule.linear()
    images = np.random.default_rng(0).uniform(-1, 1, (classes, 3, 8, 8)).astype(np.float32)
    model = NetworkModel(
        Templates(images, schedule), GaussianNoise(schedule="linear"), "eps",
        noise_conditioning=schedule,
        condition=0,
    )  # fmt: skip
    return model, images, schedule


def test_the_grid_finds_the_class_with_and_without_stages() -> None:
    model, images, schedule = tiny()
    assert (GRID[0], GRID[-1], len(GRID)) == (2, 998, 250)
    told = ClassErrors(model, 5)
    snr = schedule.snr[list(GRID)]
    plain = FixedGrid(snr[::10], (1,), (25,))
    staged = FixedGrid(snr[::10], (2, 1), (5, 25))
    for c in (0, 3):
        scores, calls = grid_scores(told, images[c], range(5), plain)
        assert scores.argmin() == c
        assert calls == 5 * 25
        # eps is off by sqrt(snr) times the difference of the images: closed form
        gap = ((images - images[c]) ** 2).mean(axis=(1, 2, 3)) * snr[::10].mean()
        np.testing.assert_allclose(scores, gap, rtol=2e-3, atol=1e-5)
        fewer, less = grid_scores(told, images[c], range(5), staged)
        assert fewer.argmin() == c
        assert less == 5 * 5 + 2 * 20


def test_the_order_of_the_grid_is_spread_and_complete() -> None:
    grid = FixedGrid(np.ones(250))
    assert sorted(grid.order) == list(range(250))
    gaps = np.diff(np.sort(grid.order[:25]))
    assert gaps.max() <= 20
    assert np.array_equal(grid.noise(3, (4,)), grid.noise(3, (4,)))
    assert not np.array_equal(grid.noise(3, (4,)), grid.noise(4, (4,)))


@pytest.mark.parametrize(
    ("keep", "stages"), [((2, 1), (10,)), ((2,), (10,)), ((1,), (300,)), ((1, 2), (5, 10))]
)
def test_grids_that_do_not_fit(keep: tuple[int, ...], stages: tuple[int, ...]) -> None:
    with pytest.raises(InvalidParameter, match="fall to 1") as error:
        FixedGrid(np.ones(250), keep, stages)
    one_line(error)


def save(path: Path, image: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((image.transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)).save(path)


def published(monkeypatch: pytest.MonkeyPatch, model: NetworkModel, classes: int) -> None:
    monkeypatch.setattr(image_folders, "pretrained", lambda *_, **__: model)
    monkeypatch.setattr(image_folders, "encoder_of", lambda *_: (8, lambda x: x))
    monkeypatch.setattr(image_folders, "_CLASSES", classes)
    monkeypatch.setattr(image_folders, "GRID", GRID[::25])


def test_folders_of_images_by_a_published_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, images, _ = tiny()
    published(monkeypatch, model, 5)
    for c in range(5):
        for i in range(2):
            save(tmp_path / "images" / f"{c}" / f"{i}.png", images[c])
    study = NetworkClassification(PublishedNetwork(images=tmp_path / "images"))
    (ds,) = run(study, out=tmp_path / "out").values()
    assert float(ds.accuracy) == 1.0
    assert ds.sizes == {"image": 10, "class": 5}
    assert (ds.calls == 50).all()
    assert "chance 0.200" in capsys.readouterr().out.splitlines()[-1]

    # a second run reads the finished images
    def broken(*_: Any) -> None:
        raise AssertionError("an image was classified again")

    monkeypatch.setattr(Templates, "forward", broken)
    again = run(study, out=tmp_path / "out")[study.name]
    np.testing.assert_array_equal(again.scores, ds.scores)


@pytest.mark.slow
def test_a_small_dit_goes_through_the_protocol(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    made = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8, num_layers=1,
        sample_size=8, patch_size=2, num_embeds_ada_norm=10, norm_num_groups=2,
    )  # fmt: skip
    model = as_model(checkpoint("dit-xl-2-256"), made.state_dict(), config=dict(made.config))
    save(tmp_path / "a.png", np.zeros((3, 8, 8)))
    snr = DiscreteSchedule.linear().snr[list(GRID[::50])]
    latents = lambda x: np.concatenate([x, x[:, :1]], axis=1)  # noqa: E731
    found = image_folders.classify_images(
        model, [tmp_path / "a.png"], FixedGrid(snr, (1,), (5,)), 8, latents, None, 10
    )
    assert found["scores"].shape == (1, 10)
    assert found["calls"].tolist() == [50]
    assert np.isfinite(found["scores"]).all()
    assert np.ptp(found["scores"]) > 0  # it listens to the class


# --- cue conflict ---------------------------------------------------------------------------------


def test_conflicts_by_name(tmp_path: Path) -> None:
    for name in ("cat4-elephant2", "cat1-cat3", "bear1-clock10", "notes", "cow1-cat2", "dog-cat1"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub" / f"{name}.png").touch()
    found = read_conflicts(tmp_path)
    assert [CATEGORIES[i] for i in found.shapes] == ["bear", "cat"]
    assert [CATEGORIES[i] for i in found.textures] == ["clock", "elephant"]
    assert found.equal == 1
    assert found.foreign == ("cow1-cat2.png", "dog-cat1.png", "notes.png")


def test_the_published_layout_has_1200_conflicts(tmp_path: Path) -> None:
    # 16 x 16 pairs of cues, five images each
    for a in CATEGORIES:
        for b in CATEGORIES:
            for i in range(5):
                (tmp_path / f"{a}{i}-{b}{i}.png").touch()
    found = read_conflicts(tmp_path)
    assert (len(found.paths), found.equal) == (1200, 80)


def test_shape_bias_is_not_shape_accuracy(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"cat{i}-dog{i}.png").touch()
    images = read_conflicts(tmp_path)
    cat, dog, oven = (CATEGORIES.index(x) for x in ("cat", "dog", "oven"))
    found = cue_shares([cat, oven, oven, dog], images)
    assert found["shape accuracy"][0] == 0.25
    assert found["shape bias"][0] == 0.5
    assert found["shape bias"][1] == pytest.approx(np.sqrt(0.25 / 2))
    assert np.isnan(cue_shares([oven] * 4, images)["shape bias"][0])


def test_categories_take_the_mean_not_the_sum() -> None:
    # the bear's three classes have more together, the airplane's one has more each
    log_p = np.log(np.array([[0.3, 0.2, 0.2, 0.2, *[0.1 / 14] * 14]]))
    table: dict[str, list[int]] = {"airplane": [0], "bear": [1, 2, 3]}
    table |= {name: [4 + i] for i, name in enumerate(CATEGORIES[2:])}
    assert category_answers(log_p, table).tolist() == [0]
    del table["oven"]
    with pytest.raises(InvalidParameter, match="category 'oven'") as error:
        category_answers(log_p, table)
    one_line(error)


def test_the_categories_of_imagenet() -> None:
    assert tuple(MEMBERS) == CATEGORIES
    every = [i for rows in MEMBERS.values() for i in rows]
    assert len(every) == len(set(every)) == 207
    assert 0 <= min(every) <= max(every) < 1000
    scores = np.full((16, 1000), -50.0)
    for i, rows in enumerate(MEMBERS.values()):
        scores[i, list(rows)] = 0  # certain of the category, not of the class
    assert category_answers(scores, MEMBERS).tolist() == list(range(16))


def test_conflicts_through_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, images, _ = tiny(16)
    published(monkeypatch, model, 16)
    shape, texture = CATEGORIES.index("cat"), CATEGORIES.index("truck")
    folder = tmp_path / "images"
    for i in range(4):  # three look like the shape
        save(folder / f"cat{i}-truck{i}.png", images[shape if i < 3 else texture])
    save(folder / "cat1-cat2.png", images[0])
    table = tmp_path / "categories.json"
    table.write_text(json.dumps({name: [i] for i, name in enumerate(CATEGORIES)}))
    source = PublishedNetwork(images=folder, categories=table)

    def classified(source: PublishedNetwork) -> xr.Dataset:
        (ds,) = run(NetworkClassification(source), out=tmp_path / "out", overwrite=True).values()
        return ds

    ds = classified(source)
    assert float(ds.shape_bias) == float(ds.shape_accuracy) == 0.75
    assert "1 images without conflict dropped" in capsys.readouterr().out
    # without fine detail all of these images look alike, and tasks of the sharp ones are no answer
    assert not np.allclose(classified(replace(source, low_pass=8)).scores, ds.scores)
    capsys.readouterr()
    # the categories of ImageNet need its classes
    with pytest.raises(InvalidParameter, match="from 0 to 15") as error:
        classified(replace(source, categories=None, conflicts=True))
    one_line(error)
    table.write_text("[1]")
    with pytest.raises(DamagedFile, match="no JSON table") as error:
        classified(source)
    one_line(error)


# --- bad input ------------------------------------------------------------------------------------


def test_images_that_cannot_be_read_are_counted_and_named(tmp_path: Path) -> None:
    save(tmp_path / "0" / "a.png", np.zeros((3, 10, 14)))
    (tmp_path / "0" / "b.png").write_bytes(b"no image")
    Image.new("L", (9, 9), 255).save(tmp_path / "0" / "c.png")
    found = labelled_folder(tmp_path, 5)
    files, labels = list(found.files), np.array(found.labels)
    assert labels.tolist() == [0, 0, 0]
    with pytest.warns(SkippedImages, match="1 of 3 files are no readable images.*b.png"):
        pixels, rows = load_images(files, 8)
    assert pixels.shape == (2, 3, 8, 8)
    assert rows.tolist() == [0, 2]
    assert pixels[1].min() == 1.0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PublishedNetwork(), "needs images"),
        (lambda: PublishedNetwork(name="adm-64"), "did you mean 'adm-64-conditional'|adm-64"),
        (lambda: PublishedNetwork(name="adm-256", images=Path()), "no class condition|adm-256"),
        (lambda: TreeNetwork(label_share=0.0), "label_share"),
        (lambda: TreeNetwork(tau=0.0), "tau"),
        (lambda: TreeNetwork(budgets=(3, 1)), "budgets"),
        (lambda: TreeNetwork(steps=0), "steps"),
        (lambda: DigitNetwork(data=3), "data = 3"),
        (lambda: NetworkClassification(3), "source = 3"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_one_line(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(InvalidParameter, match=match) as error:
        make()
    one_line(error)


def test_the_old_command_line_is_read_with_notes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--own-budgets", "2", "--levels", "0.4", "--seed", "3", "--model", "digits"]
    chosen, options = parse_flags(NetworkClassification, RunOptions, words)
    source = DigitNetwork(independent_budgets=(2,), times=(0.4,))
    assert chosen == NetworkClassification(source, seed=3)
    assert options == RunOptions()
    notes = capsys.readouterr().err.splitlines()
    assert all(line.startswith("note: ") for line in notes)
    assert len(notes) == 3
    new = ["digits", "--independent-budgets", "2", "--times", "0.4", "--seed", "3"]
    assert parse_flags(NetworkClassification, RunOptions, new)[0] == chosen
    assert not capsys.readouterr().err
    with pytest.raises(InvalidParameter, match="means nothing for digits; it belongs to rhm"):
        parse_flags(NetworkClassification, RunOptions, ["digits", "--tau", "0.3"])


def test_no_law_predicts_images_and_no_other_model_is_published(tmp_path: Path) -> None:
    law = SMALL.predict("bayes")
    assert law.accuracy.dims == ("weighting", "budget")
    with pytest.raises(InvalidParameter, match="use rhm"):
        NetworkClassification(DigitNetwork()).predict()
    published = NetworkClassification(PublishedNetwork(images=tmp_path))
    with pytest.raises(InvalidParameter, match="choose rhm or digits"):
        published.measure(GaussianRHMNetwork(ExactHard(), WORLD))  # type: ignore[arg-type]


def test_folders_that_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="no folder"):
        labelled_folder(tmp_path / "none", 5)
    with pytest.raises(InvalidParameter, match="holds no image"):
        labelled_folder(tmp_path, 5)
    save(tmp_path / "n01440764" / "a.png", np.zeros((3, 8, 8)))
    with pytest.raises(InvalidParameter, match="1 folders with images") as error:
        labelled_folder(tmp_path, 1000)
    one_line(error)
    with pytest.raises(InvalidParameter, match="holds no conflict"):
        read_conflicts(tmp_path)


def test_above_the_largest_snr_nothing_is_decided() -> None:
    model, images, _ = tiny()
    told = ClassErrors(model, 5)
    noise = np.random.default_rng(0).standard_normal(images.shape)
    beyond = told.errors(images, noise, np.full(5, 1e6))
    assert (np.ptp(beyond, axis=1) == 0).all()
    inside = told.errors(images, noise, np.full(5, 1.0))
    assert (inside.argmin(axis=1) == np.arange(5)).all()
