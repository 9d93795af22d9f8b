"""The phase transition of networks, in small: curves, divergence, training sets, images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from oracles import one_line

from hierdiff import RHM, GaussianNoise, MaskingNoise
from hierdiff.data.image_folder import eight_bits
from hierdiff.errors import InvalidParameter
from hierdiff.results import compare, load
from hierdiff.sims.metrics.forward_backward import (
    exact_retention,
    forward_backward,
    overlap,
    partial_levels,
    start_data,
)
from hierdiff.sims.metrics.string_changes import susceptibility_gap
from hierdiff.sims.run import run
from hierdiff.theory import ExactRHM
from hierdiff.validation.diffusion.schedules import DiscreteSchedule, step_levels
from hierdiff.validation.execution import Execution
from hierdiff.validation.experiments import correlated_changes, correlated_changes_figure
from hierdiff.validation.experiments.correlated_changes import GrammarNetworks
from hierdiff.validation.experiments.image_retention import PublishedStart
from hierdiff.validation.experiments.phase_transition import (
    CatalogueNetwork,
    DigitNetwork,
    GrammarNetwork,
    NetworkPhaseTransition,
    copied,
)
from hierdiff.validation.networks.adm import ADMConfig, ADMUNet

GRAMMAR = RHM(4, 2, 2, 3).draw(0)


def test_valid_strings_are_parsed_as_the_grammar_does() -> None:
    truth = GRAMMAR.sample(50, 1)
    for a, b in zip(partial_levels(GRAMMAR, truth.leaves), truth.levels, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_derives_nothing_is_found_level_by_level() -> None:
    leaves = np.random.default_rng(2).integers(4, size=(300, 8))
    levels = partial_levels(GRAMMAR, leaves)
    valid = GRAMMAR.valid_per_level(leaves)
    for level, share in zip(levels, valid, strict=True):
        np.testing.assert_allclose((level >= 0).mean(axis=1), share)
    np.testing.assert_array_equal(levels[0][:, 0] >= 0, GRAMMAR.is_valid(leaves))


@pytest.mark.parametrize("noise", [MaskingNoise(4), GaussianNoise(4, schedule="linear")])
def test_retention_of_the_exact_sampler_is_the_law(noise: MaskingNoise | GaussianNoise) -> None:
    t = 0.45 if noise.name == "masking" else 0.25
    truth, n = GRAMMAR.sample(3000, 3), 3000
    model = ExactRHM(GRAMMAR, noise)
    start = start_data(model, truth, len(truth), 0)
    kept = overlap(start, forward_backward(model, start.x0, t, 4).x_0)
    assert kept.valid.all()
    mean, error = exact_retention(GRAMMAR, noise, [t], 3000, 5)
    spread = np.hypot(kept.share.std(axis=0) / np.sqrt(n), error[:, 0])
    z = (kept.share.mean(axis=0) - mean[:, 0]) / spread
    assert np.abs(z).max() < 4
    # planted: the belief in the truth squared, which forgets that other symbols are kept too
    assert abs((kept.share.mean(axis=0) - mean[:, 0] ** 2) / spread).min() > 8


def test_copies() -> None:
    training = GRAMMAR.sample(20, 6).leaves
    assert copied(training[:5].astype(np.int32), training).all()
    assert not copied(np.full((2, 8), 9), training).any()


STRINGS = GrammarNetwork(
    v=4, m=2, L=2, t=(0.1, 0.2, 0.3, 1.0), data=300, steps=250, width=24, batch=128, num_steps=30,
    n_train=(6, 0), n_train_steps=120,
)  # fmt: skip
SMALL = NetworkPhaseTransition(STRINGS)


def curves(out: Path, summary: Path | None = None) -> list[xr.Dataset]:
    """The law, the exact chain and the network."""
    found = run(SMALL, out=out, summary=summary)
    name = "network_phase_transition"
    return [found[f"{name}{end}"] for end in ("_theory", "_chain", "")]


@pytest.mark.slow
def test_a_small_network_follows_exact_inference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theory, chain, network = curves(tmp_path, tmp_path / "claims.json")
    *table, last = capsys.readouterr().out.splitlines()
    assert "nats per leaf" in last
    assert any("fresh training strings" in line for line in table)
    assert (tmp_path / "network_phase_transition.png").read_bytes()[:4] == b"\x89PNG"
    said = json.loads((tmp_path / "claims.json").read_text())
    assert said["claim"] == last
    assert "torch" in said["made"]["versions"]
    # exact beliefs through the chain obey the law; the network stays within a stated gap of it
    z = (chain.retention - theory.retention) / np.hypot(chain.retention_error,
                                                        theory.retention_error)  # fmt: skip
    assert np.abs(z).max() < 4
    assert (chain.valid == 1).all()
    assert float(network.divergence.mean()) < 0.03
    assert float(np.abs(network.minus_chain).max()) < 0.12
    assert (network.valid > 0.85).all()
    # planted: levels taken upside down
    upside = network.retention[::-1].values - theory.retention.values
    assert np.abs(upside / network.retention_error.values).max() > 8
    # six strings teach less than fresh ones, and are copied
    few, fresh = (network.sel(n_train=n) for n in (6, 0))
    gap = few.size_divergence - fresh.size_divergence
    assert gap / np.hypot(few.size_divergence_error, fresh.size_divergence_error) > 8
    assert float(few.size_copies) > 0.3
    assert load(tmp_path / "network_phase_transition.nc").equals(network)
    # a second run finds everything
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoint.pt")}
    again = curves(tmp_path)
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoint.pt")}
    np.testing.assert_array_equal(again[2].retention, network.retention)


@pytest.mark.slow
def test_digits_and_the_floor_of_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = NetworkPhaseTransition(
        DigitNetwork(steps=60, num_steps=10, data=60, t=(0.02, 0.3, 1.0))
    )
    (ds,) = run(study, out=tmp_path).values()
    assert "above the floor" in capsys.readouterr().out.splitlines()[-1]
    assert ds.layer.values[-1] == "logits"
    assert float(ds.retention[0, 0]) > 0.9
    assert float(ds.retention[0, -1]) < 0.5
    assert (ds.similarity[:, 0] > 0.9).all()
    # an untrained sampler from noise has nothing of the start image: the floor is reached
    z = (ds.similarity[:, -1] - ds.floor) / np.hypot(ds.similarity_error[:, -1], ds.floor_error)
    assert float(z.max()) < 5
    assert float((ds.similarity[:, 0] - ds.floor).min()) > 0.3


@pytest.mark.slow
def test_a_published_network_is_run_on_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ImageNet path on stand-ins: a tiny ADM, a small classifier, noise as photographs."""
    from PIL import Image

    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.diffusion.parameterisation import Parameterisation
    from hierdiff.validation.diffusion.samplers import Ancestral
    from hierdiff.validation.diffusion.schedules import DiscreteSchedule
    from hierdiff.validation.experiments import image_retention as module
    from hierdiff.validation.reference_layers import ConvClassifier, ReferenceClassifier

    torch.manual_seed(0)
    net = ADMUNet(ADMConfig(8, 32, (1, 2), 1, (2,), head_channels=32))
    model = NetworkModel(
        net, GaussianNoise(schedule="linear"), Parameterisation("eps", learned_variance=True),
        sampler=Ancestral(DiscreteSchedule.linear().respaced("5"), variance="learned", clip=1.0),
        execution=Execution(batch_size=16),
    )  # fmt: skip
    look = ConvClassifier(3, 8, 4, width=8)
    monkeypatch.setattr(module, "pretrained", lambda *_, **__: model)
    monkeypatch.setattr(module, "convnext", lambda _: ReferenceClassifier(look, look.names))
    whole = module.load_images
    monkeypatch.setattr(module, "load_images", lambda files, _: whole(files, 8))

    def draw(name: str, seed: int) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for i in range(20):
            rng = np.random.default_rng([seed, i])
            pixels = rng.integers(256, size=(9, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:02d}.png")
        return folder

    folder = draw("images", 0)
    source = CatalogueNetwork(images=folder, classifier=folder, t=(0.1, 1.0))

    def measured(source: CatalogueNetwork, out: Path, **options: bool) -> xr.Dataset:
        (ds,) = run(NetworkPhaseTransition(source), out=out, **options).values()
        return ds

    ds = measured(source, tmp_path / "out")
    assert ds.similarity.shape == (5, 2)
    kept = tmp_path / "out" / "tasks" / "network_phase_transition"
    assert len(list(kept.glob("*.npz"))) == 4  # two blocks, two levels
    again = measured(source, tmp_path / "out")
    np.testing.assert_array_equal(ds.similarity, again.similarity)
    # as many other images, under the same path and under another: as in a fresh folder
    others = replace(source, images=draw("others", 1))
    fresh = measured(others, tmp_path / "fresh")
    assert not np.allclose(fresh.similarity, ds.similarity)
    with pytest.raises(InvalidParameter, match=r"images = .*--overwrite"):
        measured(others, tmp_path / "out")
    other = measured(others, tmp_path / "out", overwrite=True)
    draw("images", 1)
    replaced = measured(source, tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(other.similarity, fresh.similarity)
    np.testing.assert_array_equal(replaced.similarity, fresh.similarity)
    # other weights of the same network: no task of the first ones is used again
    before = len(list(kept.glob("*.npz")))
    with torch.no_grad():
        next(net.parameters()).add_(0.5)
    measured(source, tmp_path / "out")
    assert len(list(kept.glob("*.npz"))) == before + 4
    # the second of two processes does its share, and leaves the results to the first
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(NetworkPhaseTransition(source), out=tmp_path / "shared") == {}
    assert len(list((tmp_path / "shared").glob("tasks/*/*.npz"))) == 2
    assert not list((tmp_path / "shared").glob("*.nc"))


def test_the_start_of_the_authors_is_one_level_further() -> None:
    """Equal to the protocol step by step; the ratios are those of the authors' code."""
    noise, chain = GaussianNoise(schedule="linear"), DiscreteSchedule.linear().respaced("250")
    start = PublishedStart(None, "linear", chain)
    steps = [step_levels(chain, noise, k, "published") for k in range(1, 250)]
    own = np.array([s.model_t for s in steps])
    expected = noise.snr(np.array([s.added for s in steps]))
    np.testing.assert_allclose(start.added(own), expected, rtol=1e-9)
    assert float(start.added(step_levels(chain, noise, 250).model_t)) == pytest.approx(0, abs=1e-12)
    assert float(start.added(0.0)) == np.inf
    # noise over signal amplitude, against that of the level at which the chain starts
    ratio = np.sqrt(noise.snr(own) / start.added(own))
    assert ratio[0] == pytest.approx(2.64, abs=5e-3)
    assert ratio[24] == pytest.approx(1.042, abs=5e-4)
    x0, eps = np.ones((1, 3)), np.full((1, 3), 2.0)
    seen = start.corrupt_with(x0, own[0], eps)
    np.testing.assert_allclose(seen, noise.corrupt_at_snr(x0, expected[0], eps))
    assert not np.allclose(seen, noise.corrupt_with(x0, own[0], eps))
    np.testing.assert_array_equal(start.snr(own), noise.snr(own))  # the network is told the other
    t = np.linspace(0.001, 1, 500)
    assert (np.diff(start.added(t)) <= 0).all()
    assert (start.added(t) < noise.snr(t)).all()
    with pytest.raises(InvalidParameter, match="v = None") as error:
        PublishedStart(3, "linear", chain)
    one_line(error)


def test_the_variants_of_the_authors_change_what_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each flag alone does its one thing, on a tiny network and classifier."""
    from PIL import Image

    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.diffusion.samplers import Ancestral
    from hierdiff.validation.experiments import image_retention as module
    from hierdiff.validation.reference_layers import ConvClassifier, ReferenceClassifier

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for i in range(4):
        pixels = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    model = NetworkModel(
        torch.nn.Conv2d(3, 3, 1), GaussianNoise(schedule="linear"), "eps",
        sampler=Ancestral(DiscreteSchedule.linear().respaced("5"), clip=1.0),
    )  # fmt: skip
    monkeypatch.setattr(module, "pretrained", lambda *_, **__: model)
    look = ConvClassifier(3, 16, 4, width=8)
    monkeypatch.setattr(module, "convnext", lambda _: ReferenceClassifier(look, look.names))
    whole = module.load_images
    monkeypatch.setattr(module, "load_images", lambda files, _: whole(files, 16))

    def scene(**variants: Any) -> Any:
        return module.folder_scene(
            "adm-256", tmp_path, tmp_path, accept_licence=False, data=None, device="cpu", **variants
        )

    plain, stored = scene(), scene(jpeg=True)
    np.testing.assert_array_equal(
        stored.ends.pixels(plain.images), eight_bits(plain.images, jpeg=True)
    )
    np.testing.assert_array_equal(plain.ends.pixels(plain.images), eight_bits(plain.images))
    made = [-plain.images]
    one, other = (module.layer_similarity(s, made, 0)[0][0].cosine for s in
                  (plain, scene(moment=True)))  # fmt: skip
    assert any(np.abs(one[k] - other[k]).max() > 1e-3 for k in one)
    behind = scene(protocol="published").model.noise
    assert isinstance(behind, PublishedStart)
    assert len(behind.chain) == 5
    assert type(plain.model.noise) is GaussianNoise


GRAMMARS = GrammarNetworks(
    v=4, m=2, depths=(1, 2), networks=2, width=8, steps=2, leaves=64, data=6, trajectories=3,
    num_steps=2, noise="masking", t=(0.2, 0.4, 0.6, 0.8, 1.0),
)  # fmt: skip


@pytest.mark.slow
def test_several_grammars_are_one_study_that_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = (0.5, 0.1)
    monkeypatch.setattr(  # seconds of density evolution, which has its own tests
        correlated_changes, "exponents_of", lambda *_: correlated_changes.Exponents(*[one] * 4)
    )
    study, name = NetworkPhaseTransition(GRAMMARS), "network_phase_transition"
    found = run(study, out=tmp_path, summary=tmp_path / "claims.json")
    assert list(found) == [f"{name}_theory", name, f"{name}_L1", f"{name}_L2"]
    assert found[f"{name}_L2"].share.dims == ("sampler", "network", "datum", "level", "t")
    assert "one step alone" in capsys.readouterr().out.splitlines()[-1]
    assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    said = json.loads((tmp_path / "claims.json").read_text())
    assert set(said["depths"]) == {"1", "2"}
    assert (tmp_path / "claims.json").stat().st_size < 100_000
    # the law and the networks carry the same labels, so they have a z-score
    both = compare(found[f"{name}_theory"], found[name])
    assert "L" in both.leaf_slope_z.dims
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoint.pt")}
    assert len(stamps) == 4  # two networks at each depth
    second = run(study, out=tmp_path)
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*/checkpoint.pt")}
    for key, ds in found.items():
        for word, values in ds.data_vars.items():
            np.testing.assert_array_equal(values, second[key][word])
    with pytest.raises(InvalidParameter, match="give a model to the source rhm") as error:
        study.measure(ExactRHM(GRAMMARS.grammar(1, 0, 0), MaskingNoise(4)), None)
    one_line(error)


def test_a_level_without_chi_is_left_out_and_counted() -> None:
    """Planted: at the first level no leaf of one grammar changed, in one of the samplers."""
    rng = np.random.default_rng(0)
    front = ("sampler", "network", "datum", "t", "distance")
    V = 1 + rng.random((2, 3, 20, 4, 3))
    V[0, :, :, 2, -1] += 2  # the difference is at the third level
    V[1, 0, :, 0] = 0
    ds = xr.Dataset({"variances": (front, V)},
                    {"sampler": ["network", "chain"], "t": [0.1, 0.2, 0.3, 0.4]})  # fmt: skip
    data = ds.transpose("sampler", "network", "datum", "t", "distance")
    gap, z, t, levels = correlated_changes_figure._largest_score(data, "network", "chain")
    assert (t, levels) == (0.3, 3)
    assert gap > 0.5
    assert z > 4
    data["variances"] = 0 * data.variances
    assert correlated_changes_figure._largest_score(data, "network", "chain")[3] == 0


@pytest.mark.slow
def test_trained_networks_change_leaves_together_as_exact_inference_does() -> None:
    source = replace(
        GRAMMARS, depths=(2,), width=32, steps=600, leaves=512, data=150, trajectories=8,
        num_steps=8,
    )  # fmt: skip
    models, _ = correlated_changes.trained_networks(source, 2, 0)
    ds = correlated_changes.depth_changes(source, 2, 0, models)
    score = {}
    for one, other in (("network", "chain"), ("one step", "chain")):
        gap, error = susceptibility_gap(ds, one, other)
        score[one] = gap.mean(axis=0) / np.maximum(np.sqrt((error**2).sum(axis=0)) / 2, 1e-9)
        if one == "network":
            assert np.abs(gap.mean(axis=0)).max() < 0.3
    # planted: the same beliefs in single leaves, drawn each by itself
    assert score["one step"][2:].max() < -4
    assert np.abs(score["network"]).max() < np.abs(score["one step"]).max() / 2


def test_bad_requests_are_told_in_one_line(tmp_path: Path) -> None:
    cases = [
        (lambda: replace(STRINGS, t=(0.0, 0.5)), "noise levels"),
        (lambda: replace(STRINGS, data=1), "error bar"),
        (lambda: replace(STRINGS, focus=(0.4, 0.2)), "rising levels"),
        (lambda: replace(STRINGS, n_train=(-1,)), "n_train = -1"),
        (lambda: replace(STRINGS, m=9), "rules exceed"),
        (lambda: CatalogueNetwork(), "needs images"),
        (lambda: CatalogueNetwork(name="adm-255", images=tmp_path), "did you mean 'adm-256'"),
        (lambda: run(NetworkPhaseTransition(CatalogueNetwork(images=tmp_path)), out=tmp_path),
         "classifier"),
        (lambda: NetworkPhaseTransition(DigitNetwork()).predict(), "no law"),
        (lambda: NetworkPhaseTransition(3), "network = 3"),
        (lambda: replace(GRAMMARS, networks=1), "networks = 1"),
        (lambda: replace(GRAMMARS, s=1), "no pair of leaves"),
        (lambda: replace(GRAMMARS, depths=(3, 2)), "increasing depths"),
        (lambda: replace(GRAMMARS, t=(0.1, 0.2)), "t"),
        (lambda: replace(GRAMMARS, t=(0.5, 0.4, 0.3, 0.2, 0.1)), "rising noise levels"),
        (lambda: replace(GRAMMARS, trajectories=1), "trajectories = 1"),
        (lambda: replace(GRAMMARS, architecture="vector_mlp"), "not for Grammar"),
        (lambda: correlated_changes.depth_changes(GRAMMARS, 1, 0), "0 models for 2 networks"),
        (lambda: correlated_changes.depth_changes(GRAMMARS, 1, 0, samplers=("best",)),
         "must be some of"),
        (lambda: exact_retention(GRAMMAR, MaskingNoise(4), [0.5], 1, 0), "error bar"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def test_networks_that_the_image_study_cannot_run_are_refused_before(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.zeros((9, 10), np.uint8)).save(folder / "a.png")
    words = {
        "dit-xl-2-256": "network of latents", "stable-diffusion-1.5": "network of latents",
        "adm-64-conditional": "conditioned on class", "adm-256": "1 readable image;",
    }  # fmt: skip
    for name, match in words.items():
        source = CatalogueNetwork(
            name=name, images=folder, classifier=tmp_path / "none", accept_licence=True,
            t=(0.4, 0.5),
        )  # fmt: skip
        with pytest.raises(InvalidParameter, match=match) as error:
            run(NetworkPhaseTransition(source), out=tmp_path / "out")
        one_line(error)
