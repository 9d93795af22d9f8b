"""Cases of networks of one's own: a tiny one on digits, folders in a place that goes away."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz import Case
from torch import Tensor, nn

from hierdiff.data import image_sets
from hierdiff.errors import HierdiffError
from hierdiff.validation import experiments, feature_files, reproduce, suite
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.execution import Execution
from hierdiff.validation.experiments import alignment, classification, layer_probes, own_images
from hierdiff.validation.experiments import phase_transition as transition
from hierdiff.validation.pretrained import latent_diffusion, own_models, prompts

_P = "hierdiff.validation.pretrained.own_models."
_T = "hierdiff.validation.pretrained.prompts."
_F = "hierdiff.validation.feature_files."
_E = "hierdiff.validation.experiments."
_D = "hierdiff.data.image_sets."
_V = "hierdiff.validation."
_SOURCE = None

EXEMPT = (
    {
        f"{_V}suite_studies.Study": "a row of the table of studies",
        f"{_V}suite.run_suite": "starts programs; its argument is a Suite, which is checked",
        f"{_V}suite.command": "reads a command line, and starts programs",
        f"{_V}throughput.main": "reads a command line",
        f"{_T}ClipClassifier.scores": "needs a CLIP, whose images are checked by their shape",
    }
    | {
        f"{_T}PromptedNetwork.{word}": "hands on to the network, whose arguments are checked"
        for word in ("denoise", "features", "given", "sample")
    }
    | {
        f"{_V}reproduce.Paper": "a record of the table",
        f"{_V}reproduce.command": "reads a command line, and trains networks",
        f"{_V}reproduce.reproduce": "trains networks; its arguments are checked records",
    }
)
_SIZES = {"size": 14, "channels": 32, "multipliers": (1, 2), "batch": 4}


class Half(nn.Module):
    """Half of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.inner = nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.inner(self.weight * x)
        return out


def _model() -> NetworkModel:
    return own_models.own_model(
        Half(), "x0", "linear", shape=(1, 8, 8), layers={"inner": "keep"}, num_steps=2
    )


def _opened() -> own_models.OpenModel:
    return own_models.open_model(_model())


@functools.cache
def _scratch() -> Path:
    return Path(tempfile.mkdtemp())


@functools.cache
def _file() -> feature_files.FeatureFile:
    return feature_files.save_features(
        _opened(), image_sets.image_set("digits"), (0.1,), _scratch() / "kept", rows=np.arange(12)
    )


def _few() -> image_sets.ImageSet:
    images, labels = np.zeros((4, 1, 8, 8), np.float32), np.arange(4)
    return image_sets.ImageSet("few", (1, 8, 8), labels, ("a", "b"), images)


def _saved(
    found: Any, images: Any, t: Any, folder: Any, rows: Any, seed: Any, chunk: Any, output: Any
) -> str:
    place = Path(tempfile.mkdtemp(dir=_scratch())) / "x" if str(folder) == "x" else folder
    return str(feature_files.save_features(
        found, images, t, place, rows=rows, seed=seed, chunk=chunk, output=output
    ).layers)  # fmt: skip


def _two() -> prompts.Prompts:
    return prompts.Prompts(("a", "b"), (0, 1), ("x", "y"))


def _table(path: Any, templates: Any) -> Any:
    place: Any = path
    if str(path) == "p.csv":
        place = _scratch() / "p.csv"
        place.write_text("classname,classidx\ncat,0\ndog,1\n")
    return prompts.read_prompts(place, templates)


def _refused(function: Any) -> Any:
    """What cannot work without files, whose refusal is the proper answer."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except HierdiffError as error:
            if "\n" in str(error):
                raise
            return str(error)

    return call


def _autoencoder() -> nn.Module:
    return nn.Conv2d(1, 1, 1)


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    own: dict[str, Any] = {"model": "mine:network", "images": "digits", "accept_licence": False}
    small = suite.Suite(only=("bumps-32",), out=Path("no such folder"))
    return [
        Case(f"{_V}suite.Suite", suite.Suite,
             {"only": ("bumps-32",), "tiny": True, "minutes": 1.0, "device": "cpu",
              "out": Path("x"), "list": True}),
        Case(f"{_V}reproduce.Reproduction", reproduce.Reproduction,
             {"paper": "2402.03305", "images": None, "classifier": None, "triplets": None,
              "model": None, "extra": "", "accept_licence": False, "authors": False, "tiny": True}),
        Case(f"{_V}reproduce.report", reproduce.report, {"paper": "2402.03305", "claim": "x"}),
        Case(f"{_T}Prompts", prompts.Prompts,
             {"texts": ("a", "b"), "classes": (0, 1), "names": ("x", "y")}),
        Case(f"{_T}Prompts.of", prompts.Prompts.of,
             {"names": ("cat", "dog"), "templates": ("a {}.",)}),
        Case(f"{_T}read_prompts", _table, {"path": "p.csv", "templates": ("a {}.",)}),
        Case(f"{_T}class_scores", prompts.class_scores,
             lambda: {"scores": np.array([[1.0, 2.0]]), "prompts": _two()}),
        Case(f"{_T}encode_prompts", _refused(prompts.encode_prompts),
             {"folder": Path("no folder"), "texts": ("a", "b"), "device": "cpu"}),
        Case(f"{_T}clip_classifier", _refused(prompts.clip_classifier),
             lambda: {"folder": Path("no folder"), "prompts": _two(), "device": "cpu"}),
        Case(f"{_T}ClipClassifier", prompts.ClipClassifier,
             lambda: {"module": nn.Linear(2, 2), "directions": np.eye(2), "size": 8}),
        Case(f"{_T}PromptedNetwork", prompts.PromptedNetwork,
             lambda: {"model": _model(), "embeddings": np.zeros((2, 3, 4)), "null": None,
                      "condition": None}, keep=("condition", "null")),  # the network looks at them
        Case(f"{_V}suite.suite_table", suite.suite_table, {"suite": small}),
        Case(f"{_E}folder_stem", experiments.folder_stem, {"source": _SOURCE}),
        Case(f"{_E}training_sizes", experiments.training_sizes, {"source": _SOURCE}),
        Case(f"{_E}trained_images", experiments.trained_images,
             {"source": None, "split": "test", "seed": 0}),
        Case(f"{_D}ImageSet", image_sets.ImageSet, lambda: dict(vars(_few()))),
        Case(f"{_D}ImageSet.read", lambda rows: _few().read(rows), {"rows": np.array([0, 2])}),
        Case(f"{_D}ImageSet.of_classes", lambda question: _few().of_classes(question),
             {"question": "a probe"}),
        Case(f"{_D}named_images", image_sets.named_images,
             {"name": "digits", "split": "test", "seed": 0}),
        Case(f"{_D}image_set", image_sets.image_set,
             {"place": "digits", "size": 8, "channels": 1, "split": "test", "seed": 0}),
        Case(f"{_D}set_similarity", image_sets.set_similarity,
             {"name": "fashion", "labels": np.array([0, 2, 9])}),
        Case(f"{_P}OpenModel", own_models.OpenModel, lambda: dict(vars(_opened())),
             nan=("data",)),  # of any kind, which the model looks at
        Case(f"{_P}OpenModel.maps", lambda: _opened().maps(), {}),
        Case(f"{_P}own_model", own_models.own_model,
             lambda: {"network": Half(), "parameterisation": "eps", "schedule": "linear",
                      "noise": None, "shape": (1, 8, 8), "classes": None, "null_condition": None,
                      "layers": None, "num_steps": 2, "sampler": None,
                      "execution": Execution()}),
        Case(f"{_P}open_model", own_models.open_model,
             lambda: {"source": _model(), "accept_licence": False, "device": "cpu",
                      "batch_size": 2}),
        Case(f"{_P}is_catalogue_name", own_models.is_catalogue_name, {"name": "adm-256"}),
        Case(f"{_P}fitting", own_models.fitting,
             lambda: {"found": _opened(), "x0": np.zeros((2, 1, 8, 8)), "label": None}),
        Case(f"{_F}FeatureFile", feature_files.FeatureFile, lambda: {"folder": _file().folder}),
        Case(f"{_F}FeatureFile.read",
             lambda layer, level, rows: _file().read(layer, level, rows),
             {"layer": "inner", "level": 0, "rows": np.array([3, 1])}),
        Case(f"{_F}FeatureFile.chunks",
             lambda layer, level, size: list(_file().chunks(layer, level, size)),
             {"layer": "inner", "level": 0, "size": 5}),
        Case(f"{_F}save_features", _saved,
             lambda: {"found": _opened(), "images": _few(), "t": (0.1, 0.5), "folder": "x",
                      "rows": np.arange(2), "seed": 0, "chunk": 2, "output": True}),
        Case(f"{_F}chunked_ridge_probe", feature_files.chunked_ridge_probe,
             lambda: {"features": _file(), "layer": "inner", "level": 0, "ridge": 1.0}),
        Case(f"{_E}own_images.OwnRetention", own_images.OwnRetention,
             {**own, "classifier": None, "classifier_steps": 2, "t": (0.1, 0.5), "data": 4}),
        Case(f"{_E}own_images.OwnClassified", own_images.OwnClassified,
             {**own, "data": 4, "keep": (2, 1), "stages": (2, 4)}),
        Case(f"{_E}own_images.OwnProbed", own_images.OwnProbed,
             {**own, "layers": (), "fit": 4, "test": 4, "shots": 1, "t": (0.1, 0.5)}),
        Case(f"{_E}own_images.OwnObjects", own_images.OwnObjects,
             {**own, "triplets": None, "layers": (), "objects": 9, "temperature": 0.2}),
        Case(f"{_E}phase_transition.FashionNetwork", transition.FashionNetwork,
             {**_SIZES, "steps": 2, "data": 4, "t": (0.1, 0.5), "num_steps": 2,
              "classifier_steps": 2, "architecture": None}),
        Case(f"{_E}classification.FashionNetwork", classification.FashionNetwork,
             {**_SIZES, "steps": 2, "label_share": 0.5, "data": 20, "budgets": (2, 4),
              "independent_budgets": (2,), "times": (0.5,), "keep": (2, 1), "stages": (2, 4),
              "architecture": None}),
        Case(f"{_E}layer_probes.FashionNetworks", layer_probes.FashionNetworks,
             {**_SIZES, "steps": 2, "n_train": (4,), "networks": 1, "layers": (), "fit": 8,
              "test": 4, "shots": 1, "t": (0.1, 0.5), "architecture": None}),
        Case(f"{_E}alignment.FashionObjects", alignment.FashionObjects,
             {**_SIZES, "weights": (0.5, 0.0, 0.5), "temperature": 0.2, "objects": 9,
              "layers": (), "steps": 2, "label_share": 0.5, "architecture": None}),
        Case("hierdiff.validation.pretrained.latent_diffusion.pack_text",
             latent_diffusion.pack_text,
             {"tokens": np.ones((2, 3, 4)), "pooled": np.ones((2, 3))}),
        Case("hierdiff.validation.pretrained.latent_diffusion.autoencoder_maps",
             latent_diffusion.autoencoder_maps,
             lambda: {"network": _autoencoder(), "scale": 1.0, "shift": 0.0}),
    ]  # fmt: skip
