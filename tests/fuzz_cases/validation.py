"""Cases of the part on networks that need tiny networks, images or datasets.

Everything is made when a case is run: networks of a few thousand weights, images of 8 x 8, folders
with three PNGs, datasets of two numbers per dimension.
"""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from fuzz import Case
from torch import Tensor, nn

from hierdiff import RHM, GaussianNoise, Grammar, LowRankMixture, MaskingNoise, seeds
from hierdiff.data import digits, image_folder, rhm_images
from hierdiff.data.bumps import Bumps
from hierdiff.data.ising_chains import IsingChains
from hierdiff.errors import HierdiffError
from hierdiff.sims.alignment_figure import layers_figure
from hierdiff.tasks import Task
from hierdiff.theory import exact_models
from hierdiff.theory.zero_shot import GaussianRHM
from hierdiff.validation import (
    adapter,
    execution,
    gaussian_rhm,
    networks,
    recipes,
    reference_layers,
    things,
    training,
)
from hierdiff.validation.adapter import NetworkModel, symbol_model
from hierdiff.validation.diffusion import parameterisation, samplers, schedules
from hierdiff.validation.diffusion.diffusers_samplers import DiffusersSampler
from hierdiff.validation.diffusion.parameterisation import Parameterisation, Prediction
from hierdiff.validation.experiments import (
    binding_networks,
    class_generation,
    classification,
    layer_probes,
)
from hierdiff.validation.experiments.classification import network_classification_figure
from hierdiff.validation.experiments.composition import network_composition_figure
from hierdiff.validation.experiments.image_folders import folder_figure
from hierdiff.validation.experiments.layer_probes import layer_probe_figure
from hierdiff.validation.experiments.phase_transition import copied, network_phase_transition
from hierdiff.validation.experiments.representation import network_representation_figure
from hierdiff.validation.experiments.rhm_images import (
    ExactDenoiser,
    ImageGrammar,
    RHMImages,
    rhm_images_figure,
)
from hierdiff.validation.experiments.silhouettes import compose_silhouettes
from hierdiff.validation.experiments.speciation import NetworkSpeciation
from hierdiff.validation.experiments.unmasking_orders import NetworkOrders
from hierdiff.validation.networks import (
    adm,
    bump_unet,
    chain_conv,
    transformer,
    tree_unet,
    vector_mlp,
)
from hierdiff.validation.networks.adm import ADMConfig
from hierdiff.validation.pretrained import catalogue, download, latent_diffusion
from hierdiff.validation.pretrained.loading import as_model, pretrained

_V = "hierdiff.validation."

EXEMPT = {
    f"{_V}{name}": "a named tuple of what a function returns, which computes nothing"
    for name in (
        "reference_layers.Similarity", "diffusion.parameterisation.Prediction",
        "diffusion.parameterisation.EDMCoefficients",
        "diffusion.schedules.StepLevels", "diffusion.samplers.Retention",
    )
} | {
    "hierdiff.data.rhm_images.ImageSample": "a named tuple of what a method returns",
} | {
    f"{_V}experiments.classification.NetworkClassification.{name}": "trains a network; its "
    "arguments are those of the experiment, or come from the runner"
    for name in ("arguments", "datasets", "figure", "measure", "summary", "trained")
} | {
    f"{_V}experiments.{kind}.{name}": "trains networks; its arguments are those of the experiment, "
    "or come from the runner"
    for kind in ("composition.NetworkComposition", "representation.NetworkRepresentation")
    for name in ("arguments", "datasets", "figure", "measure", "summary")
} | {
    f"{_V}experiments.layer_probes.InteriorPeak": "a named tuple of what a function returns"
}  # fmt: skip


# ------------------------------------------------------------------------------------- stand-ins


class _KeepsFirst(nn.Module):
    """A network that returns what it sees."""

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return x


@functools.cache
def _grammar() -> Any:
    return RHM(4, 2, 2, 2).draw(0)


@functools.cache
def _emissions() -> Any:
    """A network that is not trained, on the Gaussian emissions of a small grammar."""
    noise = GaussianNoise(4)
    network = tree_unet.tree_unet(_grammar(), noise, width=8, conditional=True)
    model = symbol_model(network.eval(), noise, num_steps=2)
    return gaussian_rhm.GaussianRHMNetwork(model, GaussianRHM(_grammar()), 1)


@functools.cache
def _adm(classes: int | None = None) -> adm.ADMUNet:
    return adm.ADMUNet(_config(classes)).eval()


def _config(classes: int | None = None) -> ADMConfig:
    return ADMConfig(8, 32, (1,), 1, (1,), 32, classes, image_channels=1, learned_variance=False)


@functools.cache
def _tree() -> tree_unet.TreeUNet:
    return tree_unet.TreeUNet(4, 4, s=2, L=2, width=8, classes=3)


@functools.cache
def _sequence() -> transformer.SequenceTransformer:
    return transformer.SequenceTransformer(
        4, 4, leaves=4, width=8, heads=2, layers=1, classes=3
    )  # fmt: skip


@functools.cache
def _image_transformer() -> transformer.ImageTransformer:
    return transformer.ImageTransformer(
        (1, 8, 8), width=8, heads=2, layers=1, code=nn.Embedding(3, 8)
    )  # fmt: skip


@functools.cache
def _bumps() -> Bumps:
    return Bumps(size=8, margin=2)


@functools.cache
def _bump_net() -> adm.ADMUNet:
    return bump_unet.bump_unet(_bumps(), multipliers=(1,))


@functools.cache
def _spins() -> IsingChains:
    return IsingChains.by_field(6, 0.3, 0.3)


def _vectors() -> vector_mlp.VectorDenoiser:
    return vector_mlp.VectorDenoiser(6, 0.5, width=8, depth=1)


@functools.cache
def _mixture() -> LowRankMixture:
    return LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)


@functools.cache
def _conv() -> reference_layers.ConvClassifier:
    return reference_layers.ConvClassifier(1, 8, 3, width=4, depth=1)


@functools.cache
def _classifier() -> reference_layers.ReferenceClassifier:
    return reference_layers.ReferenceClassifier(_conv(), ("conv1", "linear"))


@functools.cache
def _statistics() -> reference_layers.LayerStatistics:
    return reference_layers.layer_statistics(_classifier(), _pixels())


@functools.cache
def _image_model() -> NetworkModel:
    return NetworkModel(
        _adm(), GaussianNoise(schedule="linear"), "eps", layers={"middle_block": "space"},
        sampler=samplers.Ancestral(2),
    )  # fmt: skip


@functools.cache
def _exact() -> exact_models.ExactImages:
    quad = RHM(4, 2, 4, 1).draw(0)
    scenes = rhm_images.TreeImages(quad, rhm_images.random_templates(4, 1, 2, 0))
    return exact_models.ExactImages(scenes, GaussianNoise(schedule="linear"))


def _pixels(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, 1, 8, 8)).astype(np.float32)


def _labelled() -> digits.LabelledImages:
    return digits.LabelledImages(_pixels(6), np.arange(6) % 3)


def _plan() -> training.TrainConfig:
    return training.TrainConfig(steps=1, every=1, warmup=1)


@functools.cache
def _folder() -> Path:
    from PIL import Image

    kept = tempfile.TemporaryDirectory()
    _KEPT.append(kept)  # removed at the end of the process
    for k in range(3):
        place = Path(kept.name) / "images" / f"class {k}"
        place.mkdir(parents=True)
        Image.new("RGB", (9, 9), (80 * k, 0, 0)).save(place / f"{k}.png")
    np.save(Path(kept.name) / "triplets.npy", np.array([[0, 1, 2]]))
    return Path(kept.name)


_LARGE = ("multipliers",)
"""(32, 8, 2) is a network of 10^8 weights, which trains for minutes; ADMConfig tries the others."""

_KEPT: list[Any] = []


@functools.cache
def _entry(loader: str = "adm") -> catalogue.Checkpoint:
    return next(c for c in catalogue.CATALOGUE if c.loader == loader)


def _dit() -> dict[str, Any]:
    return {
        "num_attention_heads": 2, "attention_head_dim": 4, "in_channels": 1, "out_channels": 1,
        "num_layers": 1, "sample_size": 8, "patch_size": 4, "num_embeds_ada_norm": 5,
        "norm_num_groups": 1,
    }  # fmt: skip


@functools.cache
def _dit_inner() -> nn.Module:
    import diffusers

    inner: nn.Module = diffusers.DiTTransformer2DModel.from_config(_dit()).eval()
    return inner


def _predict(x: Tensor, snr: Any, rows: Any) -> Prediction:
    return Prediction(0.5 * x, torch.zeros_like(x))


def _draw(rows: Any) -> Tensor:
    return torch.zeros(len(rows), 3)


def _loss(network: nn.Module, step: int) -> Tensor:
    return sum((p**2).sum() for p in network.parameters()) * torch.ones(())


def _write(path: Path, content: bytes = b"weights") -> Path:
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------ wrappers


def _method(kind: Any, word: str, make: Callable[[], Any]) -> Any:
    """A method of something that is made when it is called."""
    plain = inspect.getattr_static(kind, word)
    function = plain.__func__ if isinstance(plain, classmethod | staticmethod) else plain

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return getattr(make(), word)(*args, **kwargs)

    whole = inspect.signature(function)
    call.__signature__ = whole.replace(  # type: ignore[attr-defined]
        parameters=list(whole.parameters.values())[1:]
    )
    return call


def _theirs(function: Any) -> Any:
    """A function of functions, without those that raise errors of their own when called."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if any(value is print or value is int for value in (*args, *kwargs.values())):
            return None
        return function(*args, **kwargs)

    return call


def _entered(function: Any) -> Any:
    """What a context manager gives."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with function(*args, **kwargs):
            return None

    return call


def _refused(function: Any) -> Any:
    """The function, returning its own refusal."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (HierdiffError, FileNotFoundError) as error:
            return str(error)

    return call


def _used(function: Any) -> Any:
    """A maker of losses, whose loss is called once."""

    @functools.wraps(function)
    def call(network: nn.Module, **kwargs: Any) -> Any:
        return float(function(**kwargs)(network, 0).detach())

    parameters = [
        inspect.Parameter("network", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
          for p in inspect.signature(function).parameters.values()),
    ]  # fmt: skip
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


# ------------------------------------------------------------------------------------- datasets


def _dataset(variables: Mapping[str, str], coords: Mapping[str, Any], **attrs: Any) -> xr.Dataset:
    """A dataset of halves, with dimensions as words of a string."""
    made = xr.Dataset(coords={k: (k, v) if isinstance(v, list) else v for k, v in coords.items()})
    for name, dims in variables.items():
        names = tuple(dims.split())
        made[name] = (names, np.full(tuple(made.sizes[d] for d in names), 0.5))
    if "t" in made.coords:
        made["t"].attrs["long_name"] = "noise level t"
    made.attrs.update(attrs)
    return made


def _with_errors(variables: Mapping[str, str]) -> dict[str, str]:
    return {**variables, **{f"{k}_error": v for k, v in variables.items()}}


def _alignment() -> dict[str, Any]:
    coords = {"condition": ["none", "label"], "level": [0, 1], "t": [0.1, 0.5],
              "layer": ["input", "up 0"]}  # fmt: skip
    values = _with_errors({"accuracy": "level condition t",
                           "layer_accuracy": "layer condition t",
                           "held_out": "layer condition t"})  # fmt: skip
    found = _dataset({**values, "ceiling": "", "label_only": ""}, coords)
    return {"network": found, "exact": found}


def _classification() -> dict[str, Any]:
    coords = {"weighting": ["vdm", "exp"], "budget": [10, 100], "t": [0.1, 0.5]}
    values = _with_errors({"accuracy": "weighting budget", "single": "t",
                           "calls_right": "", "calls_wrong": ""})  # fmt: skip
    values |= {"information": "t", "bayes": "", "linear": "", "conv": ""}
    found = _dataset(values, coords, parameters='{"classes": 8}')
    return {"network": found, "exact": found}


def _classified_folder() -> dict[str, Any]:
    found = _dataset({"scores": "image class", "accuracy": "", "accuracy_error": ""},
                     {"image": [0, 1], "class": [0, 1]})  # fmt: skip
    found["label"] = ("image", np.array([0, 1]))
    return {"network": found, "exact": None}


def _composition() -> dict[str, Any]:
    names = ("one_bump", "x_accuracy", "y_accuracy", "geodesic_rsa", "interaction")
    found = _dataset(dict.fromkeys(names, "seed step"), {"seed": [0], "step": [10, 20]})
    found["phase"] = (("seed", "step"), np.array([["A", "B"]]))
    strings = _dataset({"valid": "seed level step"},
                       {"seed": [0, 1], "level": [0, 1], "step": [10, 20]})  # fmt: skip
    return {"bumps": {"plain": found}, "levels": strings, "images": np.zeros((4, 6, 6)),
            "places": np.full((4, 2), 2.0)}  # fmt: skip


def _retained(**more: Any) -> xr.Dataset:
    values = _with_errors({"retention": "level t", **more.pop("values", {})})
    return _dataset(values, {"level": [0, 1], "t": [0.1, 0.5], **more})


def _transition() -> dict[str, Any]:
    network = _retained(
        values={"divergence": "t", "size_divergence": "n_train", "size_valid": "n_train",
                "size_copies": "n_train"}, n_train=[16, 0],
    )  # fmt: skip
    return {"theory": _retained(), "chain": _retained(), "network": network}


def _drawn() -> dict[str, Any]:
    network = _retained(values={"layers": "layer t"}, layer=["conv1", "logits"])
    pixels = ("shown", "channel", "row", "column")
    network["start"] = (pixels, np.zeros((2, 3, 4, 4)))
    network["made"] = (("t", *pixels), np.zeros((2, 2, 3, 4, 4)))
    return {"theory": _retained(), "chain": _retained(), "network": network}


def _representation() -> dict[str, Any]:
    dims = "model split n_train sigma"
    coords = {"model": ["given"], "n_train": [16, 0], "split": ["train", "test"],
              "sigma": [0.1, 0.5]}  # fmt: skip
    network = _dataset(
        _with_errors({"snr": dims, "projection": dims, "denoising": "model split n_train"}), coords
    )
    law = _dataset({"snr": dims, "projection": dims}, coords)
    memory = _dataset({"snr": dims}, {**coords, "n_train": [16]})
    return {"theory": law, "memory": memory, "network": network}


def _probed() -> dict[str, Any]:
    found = _dataset(_with_errors({"accuracy": "probe row t"}),
                     {"probe": ["few", "all"], "row": ["a", "b", "exact: output"],
                      "t": [0.1, 0.5]})  # fmt: skip
    found["reader"] = ("row", ["network", "network", "exact"])
    found["layer"] = ("row", ["up 0", "up 1", "output"])
    return {"ds": found.set_coords(["reader", "layer"])}


# ----------------------------------------------------------------------------------------- cases


def _forwards() -> list[Case]:
    """What networks are called with."""

    def images8(channels: int = 32) -> Tensor:
        return torch.zeros(2, channels, 8, 8)

    def waves() -> dict[str, Any]:
        return {"place": torch.full((3, 2), 2.0)}

    def told() -> dict[str, Any]:
        return {"x": torch.zeros(2, 4, 4), "log_snr": torch.zeros(2),
                "label": torch.zeros(2, dtype=torch.long)}  # fmt: skip

    def faint() -> bump_unet.AttenuatedEmbedding:
        return bump_unet.AttenuatedEmbedding(_bumps(), 8, 0.1, 0)

    def kind(name: str = "eps") -> Parameterisation:
        return Parameterisation(name)  # type: ignore[arg-type]

    def pair(**more: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {**{k: torch.zeros(2, 3) for k in more.get("tensors", ())}, "snr": 1.0}

    vectors = vector_mlp.VectorDenoiser
    two = torch.zeros(2)
    rows: list[tuple[str, Any, str, Callable[[], Any], Callable[[], dict[str, Any]]]] = [
        ("networks.adm.ADMUNet", adm.ADMUNet, "forward", lambda: _adm(3),
         lambda: {"x": images8(1), "time": two, "labels": torch.zeros(2, dtype=torch.long)}),
        ("networks.adm.AttentionBlock", adm.AttentionBlock, "forward",
         lambda: adm.AttentionBlock(32, 32, False),
         lambda: {"x": images8(), "time": torch.zeros(2, 8)}),
        ("networks.adm.Norm", adm.Norm, "forward", lambda: adm.Norm(32),
         lambda: {"x": images8()}),
        ("networks.adm.ResBlock", adm.ResBlock, "forward",
         lambda: adm.ResBlock(32, 32, 8, 0.0),
         lambda: {"x": images8(), "time": torch.zeros(2, 8)}),
        ("networks.adm.Stage", adm.Stage, "forward",
         lambda: adm.Stage(nn.Conv2d(32, 4, 1)),
         lambda: {"input": images8(), "time": torch.zeros(2, 8)}),
        ("networks.bump_unet.PositionEmbedding", bump_unet.PositionEmbedding, "forward",
         lambda: bump_unet.PositionEmbedding(8, 8), waves),
        ("networks.bump_unet.PositionEmbedding", bump_unet.PositionEmbedding, "waves",
         lambda: bump_unet.PositionEmbedding(8, 8), waves),
        ("networks.bump_unet.AttenuatedEmbedding", bump_unet.AttenuatedEmbedding, "forward",
         faint, waves),
        ("networks.bump_unet.AttenuatedEmbedding", bump_unet.AttenuatedEmbedding, "waves",
         faint, waves),
        ("networks.bump_unet.BumpPerceptron", bump_unet.BumpPerceptron, "forward",
         lambda: bump_unet.BumpPerceptron(_bumps(), width=8, depth=1),
         lambda: {"x": images8(1), "time": two, "place": torch.full((2, 2), 2.0)}),
        ("reference_layers.ConvClassifier", reference_layers.ConvClassifier, "forward", _conv,
         lambda: {"x": images8(1)}),
        ("networks.vector_mlp.VectorDenoiser", vectors, "forward", _vectors,
         lambda: {"x": torch.zeros(2, 6), "log_snr": two}),
        ("networks.vector_mlp.VectorDenoiser", vectors, "inner", _vectors,
         lambda: {"x": torch.zeros(2, 6), "log_snr": two}),
        ("networks.vector_mlp.VectorDenoiser", vectors, "scales", _vectors,
         lambda: {"log_snr": two, "x": torch.zeros(2, 6)}),
        *(("networks.chain_conv.ChainDenoiser", chain_conv.ChainDenoiser, word,
           lambda: chain_conv.ChainDenoiser(width=4, classes=2),
           lambda: {"x": torch.zeros(2, 6), "log_snr": two,
                    "label": torch.zeros(2, dtype=torch.long)}) for word in ("forward", "field")),
        ("networks.tree_unet.TreeUNet", tree_unet.TreeUNet, "forward", _tree, told),
        ("networks.tree_unet.TreeUNet", tree_unet.TreeUNet, "sweeps", _tree, told),
        ("networks.transformer.SequenceTransformer", transformer.SequenceTransformer, "forward",
         _sequence, told),
        ("networks.transformer.SequenceTransformer", transformer.SequenceTransformer, "sweeps",
         _sequence, told),
        *(("networks.transformer.ImageTransformer", transformer.ImageTransformer, word,
           _image_transformer,
           lambda: {"x": images8(1), "log_snr": two, "label": torch.zeros(2, dtype=torch.long)})
          for word in ("forward", "sweeps")),
        ("pretrained.latent_diffusion.DiffusersNetwork", latent_diffusion.DiffusersNetwork,
         "forward",
         lambda: latent_diffusion.DiffusersNetwork(_dit_inner(), "dit"),
         lambda: {"x": images8(1), "time": two, "condition": torch.zeros(2, dtype=torch.long)}),
        ("experiments.rhm_images.ExactDenoiser", ExactDenoiser, "forward",
         lambda: ExactDenoiser(_exact()),
         lambda: {"x": torch.zeros(2, 1, 4, 4), "log_snr": two}),
        ("diffusion.parameterisation.Preconditioned", parameterisation.Preconditioned, "forward",
         lambda: parameterisation.Preconditioned(_KeepsFirst()),
         lambda: {"x": torch.zeros(2, 3), "sigma": two}),
        ("diffusion.parameterisation.Parameterisation", Parameterisation, "network_input", kind,
         pair(tensors=("x_t",))),
        ("diffusion.parameterisation.Parameterisation", Parameterisation, "clean", kind,
         pair(tensors=("output", "x_t"))),
        ("diffusion.parameterisation.Parameterisation", Parameterisation, "target", kind,
         pair(tensors=("x0", "x_t"))),
        ("diffusion.parameterisation.Parameterisation", Parameterisation, "read", kind,
         pair(tensors=("output", "x_t"))),
    ]  # fmt: skip
    return [Case(f"{_V}{name}.{word}", _method(owner, word, make), arguments)
            for name, owner, word, make, arguments in rows]  # fmt: skip


def _chains() -> list[Case]:
    """Samplers and what runs a network."""
    linear = GaussianNoise(schedule="linear")

    def run() -> dict[str, Any]:
        return {"predict": _predict, "x_t": torch.zeros(2, 3), "t": np.array([0.5, 0.4]),
                "noise": linear, "draw": _draw}  # fmt: skip

    def one_step() -> dict[str, Any]:
        x = torch.zeros(2, 3)
        return {"x": x, "prediction": _predict(x, 0, 0), "now": np.array([0.5, 0.4]),
                "then": np.array([1.0, 1.0])}  # fmt: skip

    def step() -> dict[str, Any]:
        return {**one_step(), "draw": _draw}

    def ancestral() -> samplers.Ancestral:
        return samplers.Ancestral(2)

    def ddim() -> samplers.DDIM:
        return samplers.DDIM(2, 0.5)

    def other() -> DiffusersSampler:
        return DiffusersSampler("DDIMScheduler", 3)

    def image_run() -> dict[str, Any]:
        return {**run(), "x_t": torch.zeros(2, 3)}

    def place() -> execution.Execution:
        return execution.Execution(channels_last=True)

    def streams() -> seeds.SampleStreams:
        return seeds.SampleStreams.of(0)

    x = {"x": torch.zeros(2, 3, 4, 4)}
    rows: list[tuple[str, Any, str, Callable[[], Any], Any]] = [
        ("diffusion.samplers.Ancestral", samplers.Ancestral, "run", ancestral, run),
        ("diffusion.samplers.Ancestral", samplers.Ancestral, "moments", ancestral, one_step),
        ("diffusion.samplers.Ancestral", samplers.Ancestral, "step", ancestral, step),
        ("diffusion.samplers.DDIM", samplers.DDIM, "run", ddim, run),
        ("diffusion.samplers.DDIM", samplers.DDIM, "step", ddim, step),
        ("diffusion.diffusers_samplers.DiffusersSampler", DiffusersSampler, "run", other,
         image_run),
        ("execution.Execution", execution.Execution, "place", place, lambda: {"module": _conv()}),
        ("execution.Execution", execution.Execution, "precision", place,
         {"device": torch.device("cpu")}),
        ("execution.Execution", execution.Execution, "arranged", place, x),
        ("hierdiff.seeds.SampleStreams", seeds.SampleStreams, "take", streams,
         {"rows": np.array([0, 2])}),
        ("hierdiff.seeds.SampleStreams", seeds.SampleStreams, "of", streams,
         {"seed": 0, "purpose": 1}),
    ]  # fmt: skip
    table = {"table": np.array([[0.5, 1.0, np.inf], [0.4, 1.0, np.inf]])}
    return [
        *(Case(f"{_V}{name}.{word}", _theirs(_method(owner, word, make)), arguments)
          for name, owner, word, make, arguments in rows),
        Case("hierdiff.seeds.SampleStreams", seeds.SampleStreams,
             {"root": np.random.SeedSequence(0)}),
        Case(f"{_V}execution.in_batches", _theirs(execution.in_batches),
             {"work": len, "n": 3, "batch_size": 2}),
        Case(f"{_V}execution.inference", _entered(execution.inference),
             lambda: {"module": _conv()}),
        Case(f"{_V}execution.state_dtype", execution.state_dtype, lambda: {"module": _conv()}),
        Case(f"{_V}execution.usable_device", execution.usable_device, {"name": "cpu"}),
        Case(f"{_V}diffusion.samplers.reverse_levels", samplers.reverse_levels,
             {"levels": 2, "noise": linear, "t": np.array([0.5])}),
        Case(f"{_V}diffusion.samplers.reverse_chain", _theirs(samplers.reverse_chain),
             lambda: {"predict": _predict, "x_t": torch.zeros(2, 3), **table,
                      "step": ancestral().step, "draw": _draw, "clip": 1.0}),
        Case(f"{_V}diffusion.samplers.learned_log_variance", samplers.learned_log_variance,
             {"values": torch.zeros(2, 3), "largest": -2.0, "least": np.array([-4.0, -4.0])}),
        Case(f"{_V}diffusion.parameterisation.column", parameterisation.column,
             {"values": np.ones(2), "like": torch.zeros(2, 3)}),
        Case(f"{_V}diffusion.parameterisation.edm_coefficients", parameterisation.edm_coefficients,
             {"sigma": np.array([0.1, 2.0]), "sigma_data": 0.5, "time_scale": 0.25}),
        Case(f"{_V}diffusion.parameterisation.Preconditioned",
             _theirs(parameterisation.Preconditioned),
             {"inner": nn.Identity(), "sigma_data": 0.5, "time_scale": 0.25, "smallest": 0.002,
              "largest": 80.0, "negative": False}),
        Case(f"{_V}diffusion.parameterisation.split_channels", parameterisation.split_channels,
             {"output": torch.zeros(2, 6, 2), "x_t": torch.zeros(2, 3, 2)}),
        Case(f"{_V}diffusion.schedules.DiscreteSchedule.levels",
             _method(schedules.DiscreteSchedule, "levels", schedules.DiscreteSchedule.linear),
             {"noise": linear}),
        Case(f"{_V}diffusion.schedules.DiscreteSchedule.respaced",
             _method(schedules.DiscreteSchedule, "respaced",
                     lambda: schedules.DiscreteSchedule.linear(50)), {"spec": "5"}),
    ]  # fmt: skip


def _networks() -> list[Case]:
    """Makers of networks and losses, and training of one step."""

    def trained(**more: Any) -> Callable[[], dict[str, Any]]:
        return lambda: {"config": _plan(), "seed": 0, "folder": "kept",
                        **{k: v() if callable(v) else v for k, v in more.items()}}  # fmt: skip

    masking = MaskingNoise(4)
    schedule = schedules.DiscreteSchedule.linear(50)
    bump_one = {"bumps": _bumps, "channels": 32, "multipliers": (1,), "blocks": 1, "batch": 2}
    return [
        Case(f"{_V}networks.adm.ADMConfig", ADMConfig,
             {"image_size": 8, "channels": 32, "multipliers": (1, 2), "blocks": 1,
              "attention": (2,), "head_channels": 32, "classes": None,
              "new_attention_order": False, "learned_variance": True, "dropout": 0.0,
              "image_channels": 3}),
        Case(f"{_V}networks.adm.ADMUNet", adm.ADMUNet, {"config": _config()}),
        Case(f"{_V}networks.adm.meta_init", adm.meta_init, {"config": _config()}),
        Case(f"{_V}networks.adm.from_state_dict", adm.from_state_dict,
             lambda: {"state_dict": _adm().state_dict(), "config": _config()}),
        Case(f"{_V}networks.adm.AttentionBlock", adm.AttentionBlock,
             {"channels": 32, "head_channels": 32, "new_order": True}),
        Case(f"{_V}networks.adm.Norm", adm.Norm, {"channels": 32}),
        Case(f"{_V}networks.adm.ResBlock", adm.ResBlock,
             {"inner": 32, "outer": 32, "time": 8, "dropout": 0.1, "resize": 1}),
        Case(f"{_V}networks.adm.Stage", adm.Stage, {"args": (nn.Conv2d(4, 4, 1),)}),
        Case(f"{_V}networks.adm.full_precision", adm.full_precision,
             {"x": torch.zeros(2)}),
        Case(f"{_V}networks.adm.sinusoid", adm.sinusoid,
             {"time": torch.zeros(2), "width": 8}),
        Case(f"{_V}networks.bump_unet.PositionEmbedding", bump_unet.PositionEmbedding, {"size": 8,
             "width": 8}),
        Case(f"{_V}networks.bump_unet.AttenuatedEmbedding", bump_unet.AttenuatedEmbedding,
             lambda: {"bumps": _bumps(), "width": 8, "attenuation": 0.1, "seed": 0}),
        Case(f"{_V}networks.bump_unet.BumpPerceptron", bump_unet.BumpPerceptron,
             lambda: {"bumps": _bumps(), "width": 8, "depth": 1, "attenuation": 0.1, "seed": 0},
             keep=_LARGE),
        Case(f"{_V}experiments.unmasking_orders.NetworkOrders.predict",
             NetworkOrders(v=4, m=2, L=2, networks=2, steps=(1, 2), calls=(2, 4), data=4,
                           strings=4).predict, {"law": "exact"}),
        Case(f"{_V}networks.transformer.ImageTransformer", transformer.ImageTransformer,
             {"shape": (1, 4, 4), "width": 8, "heads": 2, "layers": 1}),
        Case(f"{_V}networks.bump_unet.bump_mlp", bump_unet.bump_mlp,
             lambda: {"bumps": _bumps(), "noise": None, "width": 8, "depth": 1,
                      "attenuation": 0.1, "seed": 0}, keep=_LARGE),
        Case(f"{_V}networks.bump_unet.attenuate_position", bump_unet.attenuate_position,
             lambda: {"network": _bump_net(), "bumps": _bumps(), "attenuation": 0.1, "seed": 0}),
        Case(f"{_V}networks.bump_unet.bump_unet", bump_unet.bump_unet,
             lambda: {"bumps": _bumps(), "noise": None, "channels": 32, "multipliers": (1,),
                      "blocks": 1}, keep=_LARGE),
        Case(f"{_V}networks.adm.image_unet", adm.image_unet,
             lambda: {"data": _labelled(), "noise": None, "channels": 32, "multipliers": (1,),
                      "blocks": 1, "attention": (), "conditional": True}, keep=_LARGE),
        Case(f"{_V}networks.builder", networks.builder, {"name": "tree_unet"}),
        Case(f"{_V}networks.sizes_of", networks.sizes_of, {"name": "tree_unet"}),
        Case(f"{_V}networks.architecture_for", networks.architecture_for,
             {"kind": Grammar, "name": "transformer"}, keep=("kind",)),
        Case(f"{_V}networks.network", networks.network,
             lambda: {"name": "tree_unet", "data": _grammar(), "noise": masking}),
        Case(f"{_V}networks.bump_unet.encoder_layer", bump_unet.encoder_layer,
             lambda: {"network": _bump_net()}),
        Case(f"{_V}recipes.bump_model", recipes.bump_model,
             lambda: {"network": _bump_net(), "num_steps": 2}),
        Case(f"{_V}recipes.bump_loss", _used(recipes.bump_loss),
             lambda: {"network": _bump_net(), "bumps": _bumps(), "schedule": schedule,
                      "batch": 2, "weights": np.ones(16), "stripes": 0.5, "seed": 0},
             keep=("network",)),
        Case(f"{_V}recipes.train_bump_network", _theirs(recipes.train_bump_network),
             trained(**bump_one, attenuation=0.1, num_steps=2), keep=_LARGE),
        Case("hierdiff.data.digits.LabelledImages", digits.LabelledImages,
             lambda: {"images": _pixels(3), "labels": np.arange(3)}),
        Case(f"{_V}recipes.eps_loss", _theirs(_used(recipes.eps_loss)),
             lambda: {"network": _adm(4), "data": _labelled(), "schedule": schedule, "batch": 2,
                      "label_share": 0.5, "classes": 3, "seed": 0}, keep=("network",)),
        Case(f"{_V}recipes.train_image_network", _theirs(recipes.train_image_network),
             trained(data=_labelled, channels=32, multipliers=(1,), blocks=1, attention=(1,),
                     batch=2, label_share=0.5, num_steps=2), keep=_LARGE),
        Case(f"{_V}reference_layers.train_classifier", reference_layers.train_classifier,
             trained(data=_labelled, width=4, depth=1, batch=2)),
        Case(f"{_V}networks.chain_conv.ChainDenoiser", chain_conv.ChainDenoiser,
             {"width": 4, "reach": 1, "classes": 2}, keep=_LARGE),
        Case(f"{_V}experiments.speciation.NetworkSpeciation.chain", NetworkSpeciation().chain,
             {"kind": "mean", "k": 0, "N": 40}),
        Case(f"{_V}networks.chain_conv.chain_conv", chain_conv.chain_conv,
             lambda: {"chains": _spins(), "noise": None, "width": 4, "reach": 1,
                      "conditional": True}, keep=_LARGE),
        Case(f"{_V}recipes.chain_loss", _used(recipes.chain_loss),
             lambda: {"network": chain_conv.chain_conv(_spins(), width=4, conditional=True),
                      "chains": (_spins(),), "spins": 12, "times": (0.1, 1.0), "label_share": 0.5,
                      "seed": 0}, keep=("network",)),
        Case(f"{_V}recipes.train_chain_network", recipes.train_chain_network,
             trained(chains=lambda: (_spins(),), width=4, spins=12, times=(0.1, 1.0),
                     label_share=0.5), keep=_LARGE),
        Case(f"{_V}recipes.vector_loss", _used(recipes.vector_loss),
             lambda: {"network": _vectors(), "mixture": _mixture(),
                      "data": np.ones((3, 6)), "batch": 2, "sigmas": (0.1, 1.0), "seed": 0},
             keep=("network",)),
        Case(f"{_V}recipes.train_vector_network", recipes.train_vector_network,
             trained(mixture=_mixture, data=lambda: np.ones((3, 6)), width=8, depth=1, batch=2)),
        Case(f"{_V}recipes.symbol_loss", _used(recipes.symbol_loss),
             lambda: {"network": tree_unet.tree_unet(_grammar(), masking, width=8,
                                                       conditional=True),
                      "grammar": _grammar(), "noise": masking, "batch": 2,
                      "data": _grammar().sample(3, 0).leaves, "focus": (0.2, 0.4),
                      "label_share": 0.5, "seed": 0}, keep=("network",)),
        Case(f"{_V}recipes.train_symbol_network", _theirs(recipes.train_symbol_network),
             trained(grammar=_grammar, noise=masking, width=8, batch=2,
                     data=lambda: _grammar().sample(3, 0).leaves, focus=(0.2, 0.4),
                     label_share=0.5, network="tree_unet", leaf_width=4)),
        Case(f"{_V}training.train", _theirs(training.train),
             lambda: {"network": nn.Linear(2, 2), "loss": _loss, "config": _plan(),
                      "folder": "kept", "evaluate": None, "name": "training"}),
        Case(f"{_V}training.TrainResult", training.TrainResult,
             lambda: {"network": _conv(), "history": ({"step": 1.0, "loss": 0.5},), "steps": 1,
                      "cpu_seconds": 0.1}),
        Case(f"{_V}reference_layers.convnext_names", reference_layers.convnext_names,
             {"name": "features.1.2.block.3.weight"}),
        Case(f"{_V}reference_layers.from_torchvision", _refused(reference_layers.from_torchvision),
             {"weights": {}, "sizes": {"depths": (1,), "hidden_sizes": (4,), "num_labels": 3,
                                       "num_stages": 1}}),
        Case(f"{_V}pretrained.latent_diffusion.DiffusersNetwork",
             latent_diffusion.DiffusersNetwork,
             lambda: {"inner": _dit_inner(), "kind": "dit"}),
        Case(f"{_V}pretrained.latent_diffusion.diffusers_network",
             latent_diffusion.diffusers_network,
             lambda: {"kind": "dit", "config": _dit(), "weights": _dit_inner().state_dict()}),
        Case(f"{_V}adapter.NetworkModel", NetworkModel,
             lambda: {"module": _conv(), "noise": GaussianNoise(), "parameterisation": "eps",
                      "layers": {"conv1": "space"},
                      "noise_conditioning": schedules.LogSNR(),
                      "sampler": samplers.Ancestral(2), "condition": None,
                      "null_condition": None, "execution": execution.Execution()}),
        *(Case(f"{_V}adapter.NetworkModel.{word}",
               _method(NetworkModel, word, _image_model),
               lambda more=more: {"x_t": _pixels(), "t": 0.5, **more})
          for word, more in (("denoise", {}), ("features", {}), ("sample", {"seed": 0}))),
        Case(f"{_V}adapter.NetworkModel.given",
             _method(NetworkModel, "given", lambda: NetworkModel(
                 _adm(3), GaussianNoise(schedule="linear"), "eps")), {"label": 1}),
    ]  # fmt: skip


def _images() -> list[Case]:
    """Folders, files, images and classifiers of them."""
    remote = catalogue.RemoteFile("https://example.org/w.pt", "w.pt")

    def folder() -> image_folder.ImageFolder:
        return image_folder.ImageFolder.of(_folder() / "images")

    def exact_call(**more: Any) -> dict[str, Any]:
        return {"x_t": np.zeros((2, 1, 4, 4)), "t": 0.5, **more}

    def drawn(**more: Any) -> dict[str, Any]:
        return {"images": np.zeros((2, 1, 4, 4)), **more}

    world = "hierdiff.data.rhm_images.TreeImages"
    return [
        Case(f"{_V}pretrained.catalogue.RemoteFile", catalogue.RemoteFile,
             {"url": "https://example.org/w.pt", "name": "w.pt", "size": 3, "sha256": "0" * 64}),
        Case(f"{_V}pretrained.catalogue.Checkpoint", catalogue.Checkpoint,
             lambda: dict(vars(_entry()))),
        Case(f"{_V}pretrained.catalogue.HubFolder", catalogue.HubFolder,
             lambda: dict(vars(catalogue.HUB_FOLDERS[0]))),
        Case(f"{_V}pretrained.download.fetch_folder", _refused(download.fetch_folder),
             {"entry": catalogue.HUB_FOLDERS[0], "offline": True}, keep=("offline",)),
        Case(f"{_V}pretrained.download.folder_of", download.folder_of, lambda: {"entry": _entry()}),
        Case(f"{_V}pretrained.download.verify", _refused(download.verify),
             lambda: {"path": _write(_folder() / "w.pt"), "file": remote, "final": None}),
        Case(f"{_V}pretrained.loading.as_model", _refused(as_model),
             lambda: {"entry": _entry("dit"), "weights": {}, "config": _dit(),
                      "execution": execution.Execution()}),
        Case(f"{_V}pretrained.loading.pretrained", _refused(pretrained),
             {"name": "dit-xl-2-256", "layers": None, "accept_licence": True, "offline": True,
              "revision": "abc", "file": "none.pt", "sampler": None, "condition": None,
              "execution": None}, keep=("offline",)),  # the network is not to be used
        Case(f"{_V}things.block_layers", things.block_layers,
             lambda: {"model": NetworkModel(_adm(), GaussianNoise(schedule="linear"), "eps"),
                      "names": ("middle_block",)}),
        Case(f"{_V}things.things_objects", _refused(things.things_objects),
             lambda: {"name": "adm-64-conditional", "images": _folder() / "images",
                      "triplets": _folder() / "triplets.npy", "labels": None, "null": None,
                      "layers": ("middle_block",), "accept_licence": False, "device": "cpu",
                      "limit": 2, "ties": "shared", "seed": 0}),
        Case("hierdiff.data.image_folder.ImageFolder", image_folder.ImageFolder,
             {"files": (Path("0.png"),), "labels": (0,), "names": ("zero",)}),
        Case("hierdiff.data.image_folder.labelled_folder", _refused(image_folder.labelled_folder),
             lambda: {"folder": _folder() / "images", "classes": 3}),
        Case(f"{_V}pretrained.latent_diffusion.encoder_of", latent_diffusion.encoder_of,
             lambda: {"entry": _entry(), "device": "cpu"}),
        Case(f"{_V}pretrained.latent_diffusion.decoder_of", latent_diffusion.decoder_of,
             lambda: {"entry": _entry(), "device": "cpu"}),
        Case("hierdiff.data.image_folder.ImageFolder.of", image_folder.ImageFolder.of,
             lambda: {"folder": _folder() / "images", "truth": None}),
        Case("hierdiff.data.image_folder.ImageFolder.first", _method(image_folder.ImageFolder,
             "first", folder),
             {"per_class": 1}),
        Case("hierdiff.data.image_folder.ImageFolder.batches", _method(image_folder.ImageFolder,
             "batches", folder),
             {"size": 4, "batch": 2}),
        Case(f"{_V}adapter.check_layers", adapter.check_layers,
             lambda: {"module": _conv(), "layers": {"conv1": "space"}}),
        Case(f"{_V}adapter.pooled", adapter.pooled,
             {"layer": "x", "output": torch.zeros(2, 3, 4), "pooling": "tokens"}),
        Case(f"{_V}adapter.recorded", _entered(_called(adapter.recorded)),
             lambda: {"module": _conv(), "layers": {"conv1": "space"}}),
        Case(f"{_V}reference_layers.ReferenceClassifier", reference_layers.ReferenceClassifier,
             lambda: {"module": _conv(), "layers": ("conv1",), "mean": (0.5,),
                      "deviation": (0.5,), "size": 8, "resize": 8, "batch": 2}),
        Case(f"{_V}reference_layers.ReferenceClassifier.activations",
             _method(reference_layers.ReferenceClassifier, "activations", _classifier),
             lambda: {"images": _pixels()}),
        Case(f"{_V}reference_layers.LayerStatistics", reference_layers.LayerStatistics,
             {"mean": {"a": np.zeros(2)}, "scale": {"a": np.ones(2)}}),
        Case(f"{_V}reference_layers.LayerStatistics.standardise",
             _method(reference_layers.LayerStatistics, "standardise", _statistics),
             {"layer": "conv1", "a": np.ones((2, 4, 8, 8))}),
        Case(f"{_V}reference_layers.layer_statistics", reference_layers.layer_statistics,
             lambda: {"classifier": _classifier(), "images": _pixels(), "moment": False}),
        Case(f"{_V}reference_layers.similarity", reference_layers.similarity,
             lambda: {"classifier": _classifier(), "statistics": _statistics(),
                      "images": _pixels(), "others": _pixels()}),
        Case(f"{_V}reference_layers.floor_of_pairs", reference_layers.floor_of_pairs,
             lambda: {"classifier": _classifier(), "statistics": _statistics(),
                      "images": _pixels(), "seed": 0}),
        *(Case(f"hierdiff.theory.exact_models.ExactImages.{word}",
               _method(exact_models.ExactImages, word, _exact),
                       lambda more=more: exact_call(**more))
          for word, more in (("denoise", {}), ("features", {}), ("posterior", {}),
                             ("sample", {"seed": 0}))),
        *(Case(f"{world}.{word}", _method(rhm_images.TreeImages, word, lambda: _exact().data),
               lambda more=more: drawn(**more))
          for word, more in (("log_evidence", {"snr": 1.0}), ("patches", {}), ("read", {}))),
        Case("hierdiff.data.rhm_images.EmissionImages", rhm_images.EmissionImages,
             lambda: {"templates": rhm_images.frequency_templates(2, 2, 0), "kind": [0, 1],
                      "row": [0, 0], "column": [0, 1], "side": 2}),
        *(Case(f"hierdiff.data.rhm_images.EmissionImages.{word}",
               _method(rhm_images.EmissionImages, word, _emission_images), arguments)
          for word, arguments in (("render", {"emissions": np.zeros((2, 2, 2))}),
                                  ("read", {"images": np.zeros((2, 4, 2, 2))}),
                                  ("picture", {"images": np.zeros((2, 4, 2, 2))}))),
        Case(f"{world}.sample", _method(rhm_images.TreeImages, "sample", lambda: _exact().data),
             {"n": 2, "seed": 0}),
        Case("hierdiff.data.digits.LabelledImages.sample",
             _method(digits.LabelledImages, "sample", _labelled), {"n": 2, "seed": 0}),
        Case(f"{world}.render", _method(rhm_images.TreeImages, "render", lambda: _exact().data),
             {"leaves": np.zeros((2, 4), int)}),
        Case(f"{_V}experiments.rhm_images.ExactDenoiser", ExactDenoiser,
             lambda: {"model": _exact()}),
        Case(f"{_V}experiments.rhm_images.RHMImages.draw",
             _method(RHMImages, "draw", lambda: RHMImages(ImageGrammar(v=4, m=2, L=1))),
             lambda: {"n": 2, "rng": np.random.default_rng(0)}),
    ]  # fmt: skip


def _called(recorded: Any) -> Any:
    """The recorder with a pass inside."""

    @functools.wraps(recorded)
    def call(module: Any, layers: Any) -> Any:
        import contextlib

        @contextlib.contextmanager
        def inside() -> Any:
            with recorded(module, layers) as found:
                _conv()(torch.zeros(1, 1, 8, 8))
                yield found

        return inside()

    return call


def _zeros() -> dict[str, np.ndarray]:
    """A task."""
    return {"value": np.zeros(1)}


def _runs() -> list[Case]:
    """Runs on grammars, processes, and the figures of the studies."""
    from hierdiff.theory import ExactRHM

    def exact() -> Any:
        return ExactRHM(_grammar(), MaskingNoise(4))

    def second() -> execution.Process:
        return execution.Process(1, 2, 1)

    experiments: list[tuple[str, Any, Callable[[], dict[str, Any]]]] = [
        ("composition.network_composition_figure", network_composition_figure, _composition),
        ("layer_probes.layer_probe_figure", layer_probe_figure, _probed),
        (
            "representation.network_representation_figure",
            network_representation_figure,
            _representation,
        ),
    ]
    return [
        Case(f"{_V}diffusion.schedules.NoiseLevel", schedules.NoiseLevel,
             {"noise": GaussianNoise(schedule="linear"), "scale": 1.0}),
        Case(f"{_V}experiments.phase_transition.copied", copied,
             {"made": np.zeros((2, 3), int), "training": np.ones((4, 3), int)}),
        Case(f"{_V}execution.Process.device",
             _method(execution.Process, "device", second), {"name": "cuda"}),
        Case(f"{_V}execution.Process.share",
             _method(execution.Process, "share", second), {"items": [1, 2, 3]}),
        Case(f"{_V}execution.Process.of", execution.Process.of,
             {"environment": {"RANK": "1", "WORLD_SIZE": "4"}}),
        Case(f"{_V}execution.run_shared", _theirs(execution.run_shared),
             lambda: {"tasks": [Task(_zeros, (), {"n": 1})], "folder": "tasks",
                      "process": execution.Process(), "name": "tasks", "patience": 0.0,
                      "sleep": float}),
        Case("hierdiff.sims.alignment_figure.layers_figure", _closed(layers_figure), _alignment),
        Case(f"{_V}experiments.phase_transition.network_phase_transition",
             _closed(network_phase_transition), _transition),
        Case(f"{_V}experiments.rhm_images.rhm_images_figure", _closed(rhm_images_figure), _drawn),
        *(Case(f"{_V}experiments.{name}", _closed(function), arguments)
          for name, function, arguments in experiments),
        Case(f"{_V}experiments.class_generation.PublishedNetwork",
             class_generation.PublishedNetwork,
             {"name": "adm-64-conditional", "images": Path("images"), "classifier": Path("w.pth"),
              "accept_licence": False, "samples": 20, "num_steps": 2}),
        Case(f"{_V}experiments.layer_probes.PublishedNetwork", layer_probes.PublishedNetwork,
             {"name": "adm-256", "images": Path("images"), "accept_licence": False,
              "layers": ("middle_block",), "fit": 3, "test": 2, "shots": 1, "t": (0.1, 0.2)}),
        Case(f"{_V}experiments.layer_probes.interior_peak_gain", layer_probes.interior_peak_gain,
             lambda: {"right": np.eye(6)[None, None].repeat(2, axis=1)[:, :, :2],
                      "t": np.array([0.1, 0.2]), "seed": 0}),
        Case(f"{_V}experiments.layer_probes.mixture_of_classes", layer_probes.mixture_of_classes,
             lambda: {"x": np.random.default_rng(0).random((8, 3)), "labels": np.arange(8) % 2,
                      "rank": 1}),
        Case(f"{_V}gaussian_rhm.GaussianRHMNetwork",
             gaussian_rhm.GaussianRHMNetwork,
             lambda: {"network": _emissions().network, "data": _emissions().data, "label": 1}),
        *(Case(f"{_V}gaussian_rhm.GaussianRHMNetwork.{word}",
               _method(gaussian_rhm.GaussianRHMNetwork, word, _emissions), arguments)
          for word, arguments in (
              ("given", {"label": 1}),
              ("denoise", {"x_t": np.zeros((2, 4, 4)), "t": 0.5}),
              ("features", {"x_t": np.zeros((2, 4, 4)), "t": 0.5}),
              ("sample", {"x_t": np.zeros((2, 4, 4)), "t": 0.5, "seed": 0}),
              ("log_density", {"x0": np.zeros((2, 4, 4))}),
              ("errors", {"x0": np.zeros((2, 4, 4)), "noise": np.ones((2, 4, 4)), "snr": 1.0,
                          "classes": (0, 1), "dtype": np.float32}),
          )),
        Case(f"{_V}experiments.classification.PublishedNetwork",
             classification.PublishedNetwork,
             {"name": "dit-xl-2-256", "images": Path(), "conflicts": False, "categories": None,
              "low_pass": 1, "accept_licence": False, "data": 3, "keep": (2, 1), "stages": (5, 9)}),
        Case(f"{_V}experiments.classification.NetworkClassification.predict",
             classification.NetworkClassification(classification.TreeNetwork(
                 v=4, m=2, s=2, L=1, data=8, budgets=(5, 10), independent_budgets=(2,),
                 times=(0.5,), keep=(2, 1))).predict, {"law": "bayes"}),
        Case(f"{_V}experiments.classification.network_classification_figure",
             _closed(network_classification_figure), _classification),
        Case(f"{_V}experiments.silhouettes.compose_silhouettes", compose_silhouettes,
             lambda: {"shapes": np.zeros((2, 1, 3, 3)), "textures": np.zeros((2, 1, 3, 3)),
                      "amplitude": 0.5}),
        Case(f"{_V}experiments.binding_networks.Captions", binding_networks.Captions, {"v": 3}),
        Case(f"{_V}experiments.binding_networks.Captions.number",
             binding_networks.Captions(3).number,
             lambda: {"one": np.array([[0, 1]]), "other": np.array([[1, 2]])}),
        Case(f"{_V}experiments.binding_networks.Captions.asked",
             binding_networks.Captions(3).asked,
             lambda: {"values": np.array([[[0, 1, 2], [2, 1, 0]]]),
                      "prompt": "pair"}),
        Case(f"{_V}experiments.image_folders.folder_figure", _closed(folder_figure),
             lambda: {"ds": _classified_folder()["network"]}),
    ]  # fmt: skip


def _emission_images() -> Any:
    """Two leaves side by side."""
    templates = rhm_images.frequency_templates(2, 2, 0)
    return rhm_images.EmissionImages(templates, [0, 1], [0, 0], [0, 1], 2)


def _closed(function: Any) -> Any:
    """A figure that is drawn and closed."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> None:
        import matplotlib.pyplot as plt

        try:
            function(*args, **kwargs).canvas.draw()
        finally:
            plt.close("all")

    return call


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    return [*_forwards(), *_chains(), *_networks(), *_images(), *_runs()]
