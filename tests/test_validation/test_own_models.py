"""Networks of one's own: factories, folders of diffusers, images by name, features in files."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from oracles import one_line
from torch import Tensor, nn

from hierdiff import GaussianNoise, MaskingNoise, run
from hierdiff import __main__ as main
from hierdiff.data.fashion import fashion_folder
from hierdiff.data.image_sets import ImageSet, image_set
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.sims.metrics.probes import ridge_probe
from hierdiff.sims.run import model_flag
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.parameterisation import Parameterisation
from hierdiff.validation.experiments import known_checkpoint
from hierdiff.validation.experiments.alignment import NetworkAlignment
from hierdiff.validation.experiments.classification import NetworkClassification
from hierdiff.validation.experiments.own_images import (
    OwnClassified,
    OwnObjects,
    OwnProbed,
    OwnRetention,
)
from hierdiff.validation.experiments.phase_transition import NetworkPhaseTransition
from hierdiff.validation.experiments.representation import NetworkRepresentation
from hierdiff.validation.feature_files import FeatureFile, chunked_ridge_probe, save_features
from hierdiff.validation.pretrained.catalogue import HUB_FOLDERS, catalogue_table, checkpoint
from hierdiff.validation.pretrained.download import Unreachable, fetch_folder, print_models
from hierdiff.validation.pretrained.latent_diffusion import pack_text
from hierdiff.validation.pretrained.own_models import fitting, open_model, own_model

try:
    fashion_folder()
    CLOTHES = ""
except InvalidParameter as absent:
    CLOTHES = str(absent)
photographs = pytest.mark.skipif(bool(CLOTHES), reason=CLOTHES)


class Scaled(nn.Module):
    """A multiple of what it is given, and of a template of the class."""

    def __init__(self, classes: int = 0, side: int = 8) -> None:
        super().__init__()
        self.first, self.second = nn.Identity(), nn.Tanh()
        self.weight = nn.Parameter(torch.tensor(0.9))
        if classes:
            self.templates = nn.Embedding(classes + 1, side * side)
        self.side = side

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        out: Tensor = self.second(self.first(self.weight * x))
        if label is not None:
            out = 0 * out + self.templates(label).reshape(-1, 1, self.side, self.side)
        return out


FACTORY = """
import torch
from hierdiff import RHM, MaskingNoise

class Flat(torch.nn.Module):
    parameterisation, noise, num_steps = "logits", MaskingNoise(8), 4
    data = RHM(8, 2, 2, 2).draw(0)
    def forward(self, x, time):
        return torch.zeros(*x.shape[:2], 8)

class Half(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Identity()
    def forward(self, x, time):
        return self.inner(x / 2)

def half():
    network = Half()
    network.parameterisation, network.schedule = "x0", "linear"
    network.shape, network.layers, network.num_steps = (1, 8, 8), {"inner": "keep"}, 3
    return network

def undeclared():
    return Half()

def unscheduled():
    network = Half()
    network.parameterisation = "eps"
    return network

def table():
    return {"weights": 1}

def greedy(size):
    return half()

nothing = 3
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of this name lies in the working directory."""
    name = "factories_of_this_test"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop(name, None)
    return name


def few(n: int = 40, side: int = 8, classes: int = 2) -> ImageSet:
    """Bright and dark images."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    images = rng.normal(labels[:, None, None, None] * 0.5 - 0.3, 0.1, (n, 1, side, side))
    return ImageSet("few", (1, side, side), labels, ("dark", "bright"), images.astype(np.float32))


# ---------------------------------------------------------------------------- from Python and flags


@pytest.mark.slow
def test_a_network_of_mine_in_every_experiment_on_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Scaled(10)
    model = own_model(network, "x0", "linear", shape=(1, 8, 8), layers={"first": "keep"},
                      classes=10, null_condition=10, num_steps=4)  # fmt: skip
    digits = image_set("digits", split="train")
    with torch.no_grad():  # every class is the mean of its images
        for k in range(10):
            assert digits.images is not None
            mean = digits.images[digits.labels == k].mean(axis=0).ravel()
            network.templates.weight[k] = torch.from_numpy(mean)
    studies: list[tuple[Any, str, str]] = [
        (NetworkClassification(OwnClassified(data=40, stages=(5,), keep=(1,))), "accuracy", "own"),
        (NetworkPhaseTransition(OwnRetention(data=20, t=(0.1, 0.5), classifier_steps=30)),
         "retention", "own"),
        (NetworkRepresentation(OwnProbed(fit=200, test=100, t=(0.02, 0.6))), "accuracy", "own"),
        (NetworkAlignment(OwnObjects(objects=60), t=(0.02, 0.6), max_triplets=300),
         "layer_accuracy", "own"),
    ]  # fmt: skip
    found = {type(s).__name__: run(s, model, out=tmp_path / s.name, quiet=True)[s.name]
             for s, _, _ in studies}  # fmt: skip
    for study, variable, _ in studies:
        ds = found[type(study).__name__]
        assert np.isfinite(ds[variable].values).any()
        assert str(ds.source.values) == "network"
    # templates are nearest means: far above chance
    assert float(found["NetworkClassification"].accuracy) > 0.6
    accuracy = found["NetworkRepresentation"].accuracy.sel(row="network: first", probe="all")
    assert float(accuracy[0]) > 0.8 > float(accuracy[1])


def test_the_command_line_takes_a_factory(
    factories: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--images", "digits", "--fit", "100", "--test", "60", "--t", ".1", ".5"]
    main.main(["run", "network-representation", "--model", f"{factories}:half", *words,
               "--out", str(tmp_path / "a")])  # fmt: skip
    assert "rises before it falls" in capsys.readouterr().out
    # a study of strings, with the data that the factory declares
    sizes = ["--v", "8", "--m", "2", "--L", "2", "--data", "8", "--noise", "masking"]
    flags = ["--model", f"{factories}:Flat", *sizes, "--out", str(tmp_path / "b")]
    main.main(["run", "phase-transition", *flags])
    assert "class lost at" in capsys.readouterr().out
    for name, says in (("finite-size-scaling", "has no place in"), ("uturn", "model")):
        with pytest.raises(SystemExit) as stop:
            main.main(["run", name, "--model", f"{factories}:half", "--out", str(tmp_path / name)])
        assert stop.value.code == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert says in said[-1]
        assert said[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("words", "sources", "left"),
    [
        (["--model", "digits"], True, None),  # the old spelling of a source
        (["--model", "adm-256", "--images", "x"], True, None),
        (["own", "--model", "a:b"], True, None),
        (["rhm", "--model", "a:b"], True, "a:b"),
        (["--model=a:b", "--v", "4"], True, "a:b"),
        (["--model", "adm-256"], False, "adm-256"),
        (["--v", "4"], False, None),
    ],
)
def test_which_model_a_flag_means(words: list[str], sources: bool, left: str | None) -> None:
    rest, found = model_flag(words, sources)
    assert found == left
    assert ("--model" in " ".join(rest)) == (left is None and "--model" in " ".join(words))


def test_what_is_missing_is_said_before_any_work(factories: str, tmp_path: Path) -> None:
    model = own_model(Scaled(), "x0", "linear", shape=(1, 8, 8))
    labelled = own_model(Scaled(10), "x0", "linear", shape=(1, 8, 8), classes=10)
    one = tmp_path / "images" / "only"
    one.mkdir(parents=True)
    from PIL import Image

    Image.fromarray(np.zeros((9, 9), np.uint8)).save(one / "a.png")
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: open_model(f"{factories}:table"), "returned {'weights': 1} of type dict"),
        (lambda: open_model(f"{factories}:nothing"), "of type int"),
        (lambda: open_model(f"{factories}:undeclared"), "without parameterisation and schedule"),
        (lambda: open_model(f"{factories}:unscheduled"), "without schedule"),
        (lambda: open_model(f"{factories}:greedy"), "without arguments"),
        (lambda: open_model(f"{factories}:absent"), "cannot be imported"),
        (lambda: open_model("no.such.module:network"), "cannot be imported"),
        (lambda: open_model("adm-255"), "no name of hierdiff models, no folder"),
        (lambda: open_model(tmp_path), "neither model_index.json nor config.json"),
        (lambda: own_model(Scaled(), "eps", "linaer"), "schedule = 'linaer' is unknown"),  # type: ignore[arg-type]
        (lambda: own_model(Scaled(), "logits"), "needs the noise of its symbols"),
        (lambda: run(NetworkClassification(OwnClassified()), out=tmp_path), "no model is named"),
        (lambda: run(NetworkClassification(OwnClassified()), model, out=tmp_path), "declare class"),
        (lambda: run(NetworkRepresentation(OwnProbed()), model, out=tmp_path), "declares no layer"),
        (lambda: run(NetworkRepresentation(OwnProbed()), labelled, out=tmp_path), "null_condition"),
        (lambda: run(NetworkRepresentation(), model, out=tmp_path / "vectors"), "give --images"),
        (lambda: NetworkRepresentation().measure(model), "give --images"),
        (lambda: run(NetworkAlignment(OwnObjects(images="fashion-7")), model, out=tmp_path),
         r"takes data of shape \[1, 8, 8\], and these have \[1, 7, 7\]|is not on this machine"),
        (lambda: run(NetworkClassification(OwnClassified(images="fashoin")), labelled,
                     out=tmp_path), "no folder and no set"),
        (lambda: run(NetworkClassification(OwnClassified(images=str(tmp_path / "images"))),
                     labelled, out=tmp_path), r"one class \('only'\)"),
        (lambda: run(NetworkPhaseTransition(OwnRetention(images=str(tmp_path / "images"))), model,
                     out=tmp_path), "--classifier FILE"),
        (lambda: labelled.given(10), "none of the 10 classes"),
    ]  # fmt: skip
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


def test_shapes_are_compared_with_one_datum() -> None:
    class Wide(nn.Module):
        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return torch.cat([x, x], dim=1)

    found = open_model(own_model(Wide(), "x0"))
    with pytest.raises(InvalidParameter, match="shapes must be equal"):
        fitting(found, np.zeros((2, 1, 8, 8)))
    strings = open_model(own_model(Scaled(), "x0"))
    fitting(strings, np.zeros((2, 1, 8, 8)))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "scaled_linear", "flow", "edm"])
def test_schedules_by_name_are_exact_for_white_data(schedule: Any) -> None:
    """For x0 ~ N(0, 1) the mean is a x_t, whatever scale and time the network is given."""
    noise = GaussianNoise(schedule="cosine" if schedule in ("cosine", "flow") else "linear")
    snr = float(noise.snr(0.5))
    a = np.sqrt(snr / (1 + snr))

    class White(nn.Module):
        """The posterior mean from c x_t, with c undone by the time that the network is given."""

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            gain = {"flow": 1 / (a + np.sqrt(1 - a**2)), "edm": 1 / a}.get(schedule, 1.0)
            expected = {"flow": 1 / (1 + np.sqrt(snr)), "edm": 1 / np.sqrt(snr)}.get(schedule)
            if expected is not None:
                torch.testing.assert_close(time, torch.full_like(time, expected))
            else:
                assert 0 <= float(time[0]) <= 999
            return a * x / gain

    model = own_model(White(), "x0", schedule)
    x_t = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(model.denoise(x_t, 0.5), a * x_t, rtol=1e-5)


# ----------------------------------------------------------------------------- folders of diffusers


def pipeline(folder: Path, classes: int | None = None, latent: bool = False) -> Any:
    """A small pipeline in the layout that save_pretrained writes."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    channels = 4 if latent else 1
    network = diffusers.UNet2DModel(
        sample_size=8, in_channels=channels, out_channels=channels, block_out_channels=(32, 32),
        layers_per_block=1, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2, num_class_embeds=classes,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="sample")
    diffusers.DDPMPipeline(network, scheduler).save_pretrained(folder)
    return network.eval()


def test_a_folder_of_diffusers_is_its_network(tmp_path: Path) -> None:
    network = pipeline(tmp_path, 10)
    found = open_model(tmp_path)
    model = found.network.given(3)
    assert (found.shape, found.classes, found.condition) == ((1, 8, 8), 10, "class 0 ... 9")
    x_t = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    time = model.noise_conditioning.time(model.noise.snr(0.4))  # type: ignore[union-attr]
    with torch.inference_mode():
        times = torch.full((2,), float(time))
        expected = network(torch.from_numpy(x_t), times, class_labels=torch.tensor([3, 3])).sample
    np.testing.assert_allclose(model.denoise(x_t, 0.4), expected.numpy(), rtol=1e-4, atol=1e-5)
    study = NetworkClassification(
        OwnClassified(str(tmp_path), data=3, stages=(2,), keep=(1,))
    )  # fmt: skip
    ds = run(study, out=tmp_path / "out", quiet=True)[study.name]
    assert ds.sizes == {"image": 3, "class": 10}


def test_folders_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    pipeline(whole)

    def broken(name: str, change: Callable[[Path], Any]) -> Path:
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        change(folder)
        return folder

    def table(folder: Path, **changes: Any) -> None:
        file = folder / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    config = Path("unet") / "config.json"
    weights = Path("unet") / "diffusion_pytorch_model.safetensors"
    cases: list[tuple[str, Callable[[Path], Any], type[Exception], str]] = [
        ("weights", lambda f: (f / weights).unlink(), InvalidParameter, "has no weights"),
        ("network", lambda f: shutil.rmtree(f / "unet"), InvalidParameter, "without a unet"),
        ("schedule", lambda f: shutil.rmtree(f / "scheduler"), InvalidParameter, "no schedule"),
        ("law", lambda f: table(f, beta_schedule="laplace"), InvalidParameter, "'laplace'"),
        ("kind", lambda f: table(f, prediction_type="odd"), InvalidParameter, "'odd'"),
        ("end", lambda f: table(f, rescale_betas_zero_snr=True), InvalidParameter, "no signal"),
        ("json", lambda f: (f / config).write_text("{"), DamagedFile, "cannot be read"),
        ("class", lambda f: (f / config).write_text('{"_class_name": "Other"}'), InvalidParameter,
         "is a Other"),
        ("cut", lambda f: (f / weights).write_bytes(b"abc"), DamagedFile, "cannot be read"),
    ]  # fmt: skip
    for name, change, kind, words in cases:
        with pytest.raises(kind, match=words) as error:
            open_model(broken(name, change))
        one_line(error)


def test_a_latent_pipeline_without_autoencoder_has_no_decoder(tmp_path: Path) -> None:
    pipeline(tmp_path, latent=True)
    found = open_model(tmp_path)
    with pytest.raises(InvalidParameter, match="has no decoder; save the whole pipeline") as error:
        run(NetworkPhaseTransition(OwnRetention(str(tmp_path))), out=tmp_path / "out")
    one_line(error)
    diffusers = pytest.importorskip("diffusers")
    coder = diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32,),
        norm_num_groups=8, scaling_factor=0.5,
    )  # fmt: skip
    coder.save_pretrained(tmp_path / "vae")
    found = open_model(tmp_path)
    encode, decode = found.maps()
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        z = coder.encode(torch.from_numpy(images)).latent_dist.mean
        back = coder.decode(z).sample
    np.testing.assert_allclose(encode(images), 0.5 * z.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decode(encode(images)), back.numpy(), rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------- features in files


def test_features_in_files_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = own_model(Scaled(), "x0", shape=(1, 8, 8), layers={"first": "keep", "second": "space"})
    found, images, t = open_model(model), few(), (0.1, 0.4)
    file = save_features(found, images, t, tmp_path / "a", chunk=12, output=True)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["features.h5"] + [
        f"part-{k:05d}.h5" for k in range(4)
    ]
    assert (sorted(file.layers), len(file)) == (["first", "output", "second"], 40)
    np.testing.assert_allclose(file.t, t)
    np.testing.assert_array_equal(file.labels, images.labels)
    # read from another working directory, some rows twice and out of order
    monkeypatch.chdir(tmp_path)
    every = file.read("first", 1)
    np.testing.assert_array_equal(file.read("first", 1, [30, 2, 30]), every[[30, 2, 30]])
    np.testing.assert_array_equal(np.concatenate([x for _, x in file.chunks("first", 1, 7)]), every)
    # the same noise at every level: x_t at 0.1 and 0.4 share eps
    eps = []
    for i, level in enumerate(t):
        snr = float(model.noise.snr(level))  # type: ignore[attr-defined]
        x_t = file.read("first", i) / 0.9
        assert images.images is not None
        clean = images.images.reshape(40, -1)
        eps.append((x_t - np.sqrt(snr / (1 + snr)) * clean) * np.sqrt(1 + snr))
    np.testing.assert_allclose(eps[0], eps[1], atol=1e-4)
    # the probe by sums over chunks is the probe in memory
    in_memory = ridge_probe(every, images.labels, ridge=3.0)
    by_chunks = chunked_ridge_probe(file, "first", 1, ridge=3.0)
    np.testing.assert_allclose(by_chunks.logits(every), in_memory.logits(every), atol=1e-9)


def test_features_do_not_depend_on_the_chunk_or_on_other_rows(tmp_path: Path) -> None:
    model = own_model(Scaled(), "x0", shape=(1, 8, 8), layers={"first": "keep"})
    found, images = open_model(model), few()
    whole = save_features(found, images, (0.3,), tmp_path / "a", chunk=40).read("first")
    parts = save_features(found, images, (0.3,), tmp_path / "b", chunk=7).read("first")
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    some = save_features(found, images, (0.3,), tmp_path / "c", rows=[30, 4], chunk=7).read("first")
    np.testing.assert_allclose(some, whole[[30, 4]], atol=1e-5)


@pytest.mark.parametrize("lost", [True, False])
def test_chunks_that_are_missing_or_of_another_run_are_seen(tmp_path: Path, lost: bool) -> None:
    """HDF5 by itself reads zeros, or features of the other run."""
    model = own_model(Scaled(), "x0", shape=(1, 8, 8), layers={"first": "keep"})
    found, images = open_model(model), few()
    save_features(found, images, (0.3,), tmp_path / "a", chunk=20)
    save_features(found, images, (0.3,), tmp_path / "b", chunk=20, seed=1)
    part = tmp_path / "a" / "part-00001.h5"
    part.unlink()
    if not lost:
        part.write_bytes((tmp_path / "b" / "part-00001.h5").read_bytes())
    with pytest.raises(DamagedFile, match=r"part-00001\.h5 is missing, or belongs to another"):
        FeatureFile(tmp_path / "a")


def test_an_interrupted_file_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Scaled()
    model = own_model(network, "x0", shape=(1, 8, 8), layers={"first": "keep"})
    found, images = open_model(model), few()
    whole = save_features(found, images, (0.2,), tmp_path / "whole", chunk=10).read("first")
    seen: list[int] = []
    real = NetworkModel.features

    def counting(self: NetworkModel, x_t: Any, t: Any) -> Any:
        seen.append(len(x_t))
        if len(seen) == 3 and "stop" in stops:
            raise KeyboardInterrupt
        return real(self, x_t, t)

    stops = {"stop"}
    monkeypatch.setattr(NetworkModel, "features", counting)
    with pytest.raises(KeyboardInterrupt):
        save_features(found, images, (0.2,), tmp_path / "cut", chunk=10)
    with pytest.raises(InvalidParameter, match=r"holds no features\.h5"):
        FeatureFile(tmp_path / "cut")
    stops.clear()
    seen.clear()
    (tmp_path / "cut" / "part-00001.h5").write_bytes(b"half a file")
    again = save_features(found, images, (0.2,), tmp_path / "cut", chunk=10)
    assert len(seen) == 3  # of four chunks one was whole
    np.testing.assert_array_equal(again.read("first"), whole)
    # other weights: nothing of the first ones is used
    seen.clear()
    with torch.no_grad():
        network.weight.add_(0.5)
    other = save_features(found, images, (0.2,), tmp_path / "cut", chunk=10)
    assert len(seen) == 4
    assert not np.allclose(other.read("first"), whole)


def test_bad_feature_files_are_refused_in_one_line(tmp_path: Path) -> None:
    model = own_model(Scaled(), "x0", shape=(1, 8, 8), layers={"first": "keep"})
    found = open_model(model)
    file = save_features(found, few(), (0.2,), tmp_path / "a")
    same = few(classes=1)
    alike = save_features(found, same, (0.2,), tmp_path / "b")
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: file.read("frist"), "layer 'frist' is not in"),
        (lambda: file.read("first", 1), "none of the 1"),
        (lambda: file.read("first", 0, [40]), "give integers in"),
        (lambda: chunked_ridge_probe(alike, "first"), "two or more"),
        (lambda: save_features(found, few(side=7), (0.2,), tmp_path / "c"), "takes data of shape"),
        (lambda: save_features(found, few(), (1.2,), tmp_path / "c"), "1.2"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)
    assert not (tmp_path / "c").exists()


# ------------------------------------------------------------------------------------ image sets


def test_a_folder_is_read_in_parts_at_the_size_of_the_model(tmp_path: Path) -> None:
    from PIL import Image

    for k, name in enumerate(("dark", "bright")):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = np.full((20, 24, 3), 200 * k + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    grey = image_set(tmp_path, size=8, channels=1)
    assert (len(grey), grey.shape, grey.classes) == (6, (1, 8, 8), ("bright", "dark"))
    pixels, kept = grey.read([5, 0])
    assert pixels.shape == (2, 1, 8, 8)
    assert kept.tolist() == [5, 0]
    assert pixels[0].mean() < 0 < pixels[1].mean()
    with pytest.raises(InvalidParameter, match="no folder and no set"):
        image_set(tmp_path / "none")


@photographs
@pytest.mark.slow
def test_clothing_in_every_experiment_on_images(tmp_path: Path) -> None:
    from hierdiff.validation.experiments import alignment, classification, layer_probes
    from hierdiff.validation.experiments import phase_transition as transition

    studies: list[Any] = [
        NetworkPhaseTransition(transition.FashionNetwork(
            steps=2, classifier_steps=20, data=6, t=(0.1, 0.5), num_steps=4)),
        NetworkClassification(classification.FashionNetwork(
            steps=2, data=20, budgets=(2, 4), independent_budgets=(2,), times=(0.3,),
            keep=(2, 1))),
        NetworkRepresentation(layer_probes.FashionNetworks(
            steps=2, n_train=(50,), fit=200, test=60, t=(0.1, 0.5))),
        NetworkAlignment(alignment.FashionObjects(steps=2, objects=30), t=(0.1, 0.5),
                         max_triplets=200),
    ]  # fmt: skip
    for study in studies:
        ds = run(study, out=tmp_path / study.name, quiet=True)[study.name]
        assert str(ds.source.values) == "network"


def test_a_model_of_strings_is_given_to_the_study_of_strings(tmp_path: Path) -> None:
    """Images are not asked for: the source of the grammar takes the model."""

    class Flat(nn.Module):
        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            return torch.zeros(*x.shape[:2], 8)

    from hierdiff.validation.experiments.phase_transition import GrammarNetwork

    model = own_model(Flat(), "logits", noise=MaskingNoise(8), num_steps=4)
    source = GrammarNetwork(L=2, noise="masking", t=(0.3, 0.9), data=12)
    found = run(NetworkPhaseTransition(source), model, out=tmp_path, quiet=True)
    assert float(found["network_phase_transition"].divergence[1]) > 0.1
    wrong = own_model(Flat(), "logits", noise=MaskingNoise(4), num_steps=4)
    with pytest.raises(InvalidParameter) as error:
        run(NetworkPhaseTransition(source), wrong, out=tmp_path / "b", quiet=True)
    one_line(error)


def edm_folder(folder: Path, **table: Any) -> Any:
    """A small class-conditional network in the layout of the EDM folder of the catalogue."""
    network = pipeline(folder, 10)
    given = {
        "_class_name": "KarrasEDMScheduler", "precondition_type": "cm_edm", "rho": 7.0,
        "prediction_type": "sample", "sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002,
    }  # fmt: skip
    place = folder / "scheduler" / "scheduler_config.json"
    place.write_text(json.dumps(given | table))
    return network


@pytest.mark.parametrize(("kind", "scale"), [("cm_edm", 250.0), ("edm", 0.25)])
def test_a_folder_of_edm_has_its_coefficients(tmp_path: Path, kind: str, scale: float) -> None:
    network = edm_folder(tmp_path, precondition_type=kind)
    found = open_model(tmp_path)
    model = found.network.given(3)
    assert (found.shape, found.classes, found.condition) == ((1, 8, 8), 10, "class 0 ... 9")
    x_t = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    snr = float(model.noise.snr(0.4))
    sigma, x = snr**-0.5, torch.from_numpy(x_t) * float(np.sqrt(1 + 1 / snr))
    total = sigma**2 + 0.25
    with torch.inference_mode():
        time = torch.full((2,), scale * np.log(sigma))
        raw = network(x / total**0.5, time, class_labels=torch.tensor([3, 3])).sample
        expected = 0.25 / total * x + sigma * 0.5 / total**0.5 * raw
    np.testing.assert_allclose(model.denoise(x_t, 0.4), expected.numpy(), rtol=1e-4, atol=1e-5)
    ends = model.sample(x_t, 0.4, 1)
    assert np.isfinite(ends).all()


def test_the_schedulers_of_edm_in_diffusers_agree(tmp_path: Path) -> None:
    """The library's own coefficients, for both signs of F."""
    diffusers = pytest.importorskip("diffusers")
    x, sigma = torch.randn(2, 1, 8, 8), torch.full((2,), 0.7)
    for sign in ("epsilon", "v_prediction"):
        folder = tmp_path / sign
        network = pipeline(folder)
        scheduler = diffusers.EDMEulerScheduler(prediction_type=sign)
        scheduler.save_pretrained(folder / "scheduler")
        module = open_model(folder).network.module
        with torch.inference_mode():
            given = scheduler.precondition_inputs(x, sigma[0])
            raw = network(given, scheduler.precondition_noise(sigma)).sample
            expected = scheduler.precondition_outputs(x, raw, sigma[0])
            torch.testing.assert_close(module(x, sigma), expected, rtol=1e-4, atol=1e-5)


def test_consistency_models_are_no_denoisers(tmp_path: Path) -> None:
    edm_folder(tmp_path, _class_name="CMStochasticIterativeScheduler")
    with pytest.raises(InvalidParameter, match="consistency model") as error:
        open_model(tmp_path)
    one_line(error)
    edm_folder(tmp_path, precondition_type="odd")
    with pytest.raises(InvalidParameter, match="'odd'") as error:
        open_model(tmp_path)
    one_line(error)


class Hub:
    """The hub's answers about a folder of this machine, as huggingface-hub gives them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, 0

    def model_info(self, repository: str, *, revision: str, files_metadata: bool) -> Any:
        self.calls += 1
        siblings = []
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            content = path.read_bytes()
            large = path.suffix == ".safetensors"
            siblings.append(SimpleNamespace(
                rfilename=path.relative_to(self.folder).as_posix(), size=len(content),
                blob_id=hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
                lfs=SimpleNamespace(sha256=hashlib.sha256(content).hexdigest()) if large else None,
            ))  # fmt: skip
        return SimpleNamespace(siblings=siblings, sha="0" * 40)

    def download(self, repository: str, *, local_dir: Path, allow_patterns: list[str],
                 **_: Any) -> None:  # fmt: skip
        for name in allow_patterns:
            target = local_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.folder / name, target)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    library = pytest.importorskip("huggingface_hub")
    found = Hub(tmp_path / "remote")
    found.folder.mkdir()
    monkeypatch.setattr(library, "HfApi", lambda **_: found)
    monkeypatch.setattr(library, "snapshot_download", found.download)
    monkeypatch.setenv("HIERDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HIERDIFF_OFFLINE", raising=False)
    return found


def test_a_folder_of_the_hub_is_compared_with_the_digests_of_the_hub(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # what the folder says of the time is overruled by the catalogue
    edm_folder(hub.folder, precondition_type="edm")
    half = hub.folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    half.write_bytes(b"a lower precision")
    found = open_model("edm-imagenet-64")
    assert found.name == "edm-imagenet-64"
    assert found.network.module.time_scale == 250.0
    entry = next(x for x in HUB_FOLDERS if x.name == found.name)
    place = fetch_folder(entry, offline=True)
    assert hub.calls == 1  # the second use asks nobody
    assert not list(place.rglob("*fp16*"))
    print_models()
    assert capsys.readouterr().out.count("(in the cache)") == 1
    weights = place / "unet" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    for changed in (content[:-1] + bytes([content[-1] ^ 1]), content[:-4]):
        weights.write_bytes(changed)
        with pytest.raises(DamagedFile, match="not the file that the hub describes") as error:
            open_model("edm-imagenet-64")
        one_line(error)
    weights.unlink()
    with pytest.raises(DamagedFile, match="is missing"):
        fetch_folder(entry)
    shutil.rmtree(place)
    with pytest.raises(Unreachable, match="network is off"):
        fetch_folder(entry, offline=True)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(hub, "model_info", refuse)
    with pytest.raises(Unreachable, match="no route") as off:
        fetch_folder(entry)
    one_line(off)


def test_stable_diffusion_two_and_three_by_name(hub: Hub) -> None:
    """Small random networks in both layouts, through the same names that a user gives."""
    diffusers = pytest.importorskip("diffusers")
    with pytest.raises(InvalidParameter, match="accept_licence=True"):
        open_model("stable-diffusion-2.1")
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 4, 8, 8)).astype(np.float32)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(32, 32),
        layers_per_block=1, cross_attention_dim=8, attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    unet.save_pretrained(hub.folder / "unet")
    diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction",
    ).save_pretrained(hub.folder / "scheduler")  # fmt: skip
    (hub.folder / "model_index.json").write_text("{}")
    two = open_model("stable-diffusion-2.1", accept_licence=True)
    assert two.latent
    assert (two.shape, two.condition) == ((4, 8, 8), "text embedding")
    assert two.network.parameterisation == Parameterisation("v")
    model = two.network.given(np.ones((1, 3, 8), np.float32))
    assert model.denoise(x, 0.5).shape == x.shape
    shutil.rmtree(hub.folder)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=1,
        attention_head_dim=8, num_attention_heads=2, joint_attention_dim=16,
        caption_projection_dim=16, pooled_projection_dim=8, pos_embed_max_size=8,
    )  # fmt: skip
    transformer.save_pretrained(hub.folder / "transformer", max_shard_size="40KB")
    assert len(list((hub.folder / "transformer").glob("*.safetensors"))) > 1  # as published: parts
    diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(hub.folder / "scheduler")
    (hub.folder / "model_index.json").write_text("{}")
    three = open_model("stable-diffusion-3-medium", accept_licence=True)
    assert three.network.parameterisation == Parameterisation("flow", "flow")
    text = pack_text(np.ones((1, 3, 16), np.float32), np.ones((1, 8), np.float32))
    assert three.network.given(text).denoise(x, 0.5).shape == x.shape


def test_folders_of_the_hub_in_the_catalogue() -> None:
    table = catalogue_table()
    for entry in HUB_FOLDERS:
        for words in (entry.name, entry.repository, entry.licence, entry.obtain, entry.citation):
            assert words in table
        assert entry.acceptance == (entry.licence != "MIT")
        with pytest.raises(InvalidParameter, match="folder of the hub") as error:
            checkpoint(entry.name)
        one_line(error)
        with pytest.raises(InvalidParameter, match="folder of the hub"):
            known_checkpoint(entry.name)
    assert table.count("not exercised with real weights") == len(HUB_FOLDERS)
    with pytest.raises(InvalidParameter, match="owner/name"):
        replace(HUB_FOLDERS[0], repository="somewhere")
