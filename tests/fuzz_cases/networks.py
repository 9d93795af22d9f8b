"""Cases of the part on networks: small modules, tensors and files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Case

from hierdiff.data import fashion
from hierdiff.errors import HierdiffError, InvalidParameter

_V = "hierdiff.validation."

EXEMPT = {"hierdiff.sims.metrics.odd_one_out.Probed": "a record that functions return"}
_PHOTOGRAPHS = ("hierdiff.data.fashion.fashion", "hierdiff.data.fashion.fashion_folder")


def _photographs() -> bool:
    """Whether the package with the photographs is here."""
    try:
        fashion.fashion_folder()
    except InvalidParameter:
        return False
    return True


if not _photographs():
    EXEMPT |= dict.fromkeys(_PHOTOGRAPHS, "the package dataset-fashion-mnist is not installed")


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    from PIL import Image

    from hierdiff import RHM, GaussianNoise, MaskingNoise
    from hierdiff.data import digits, image_folder, rhm_images
    from hierdiff.sims.metrics import odd_one_out
    from hierdiff.theory import exact_models
    from hierdiff.validation import adapter, recipes, reference_layers
    from hierdiff.validation.diffusion import diffusers_samplers, schedules
    from hierdiff.validation.diffusion.parameterisation import Parameterisation
    from hierdiff.validation.networks import tree_unet
    from hierdiff.validation.pretrained import catalogue, download
    from hierdiff.validation.pretrained.loading import read_weights

    grammar, quad = RHM(4, 2, 2, 2).draw(0), RHM(4, 2, 4, 1).draw(0)
    schedule, linear = schedules.DiscreteSchedule.linear(50), GaussianNoise(schedule="linear")
    scenes = rhm_images.TreeImages(quad, rhm_images.random_templates(4, 1, 2, 0))
    noise = MaskingNoise(4)
    network = tree_unet.tree_unet(grammar, noise, width=8)
    absent = catalogue.RemoteFile("https://example.org/w.pt", "w.pt")
    pixels = np.zeros((2, 3, 8, 8))
    rows = odd_one_out.draw_triplets(60, 400, 0)
    features = np.random.default_rng(0).standard_normal((60, 3))
    photographs: list[tuple[str, Any, dict[str, Any], tuple[str, ...]]] = [
        (_PHOTOGRAPHS[0], fashion.fashion, {"split": "test", "size": 14, "folder": None}, ()),
        (_PHOTOGRAPHS[1], fashion.fashion_folder, {"folder": None}, ()),
    ]
    many: list[tuple[str, Any, dict[str, Any], tuple[str, ...]]] = [
        *(photographs if _photographs() else []),
        ("pretrained.catalogue.checkpoint", catalogue.checkpoint, {"name": "adm-256"}, ()),
        ("diffusion.schedules.default_conditioning",
         schedules.default_conditioning,
         {"parameterisation": Parameterisation("eps"), "noise": linear}, ()),
        ("diffusion.schedules.NoiseLevel.time",
         schedules.NoiseLevel(linear).time, {"snr": 1.5}, ()),
        ("diffusion.diffusers_samplers.DiffusersSampler", diffusers_samplers.DiffusersSampler,
         {"scheduler": "DDIMScheduler", "num_steps": 5, "schedule": schedule, "options": {}}, ()),
        ("hierdiff.data.fashion.family_of", fashion.family_of, {"labels": [0, 9]}, ()),
        ("hierdiff.data.fashion.class_similarity", fashion.class_similarity,
         {"first": [0, 1], "second": [0, 6]}, ()),
        ("hierdiff.data.digits.digits", digits.digits, {"split": "test", "seed": 0}, ()),
        ("hierdiff.data.image_folder.prepare", image_folder.prepare,
         {"image": Image.new("L", (9, 9)), "size": 4, "crop": True}, ()),
        ("hierdiff.data.image_folder.low_pass", image_folder.low_pass, {"images": pixels,
         "factor": 2}, ()),
        ("hierdiff.data.image_folder.eight_bits", image_folder.eight_bits, {"images": pixels,
         "jpeg": False}, ()),
        ("diffusion.schedules.step_levels", schedules.step_levels,
         {"schedule": schedule, "noise": linear, "k": 3, "protocol": "consistent"}, ()),
        ("hierdiff.data.rhm_images.TreeImages", rhm_images.TreeImages,
         {"grammar": quad, "templates": scenes.templates}, ()),
        ("hierdiff.theory.exact_models.ExactImages", exact_models.ExactImages, {"data": scenes,
         "noise": linear}, ()),
        ("adapter.symbol_model", adapter.symbol_model,
         {"network": network, "noise": noise, "num_steps": 3, "batch_size": 4}, ()),
        ("recipes.divergence_to_exact", recipes.divergence_to_exact,
         {"model": adapter.symbol_model(network, noise), "grammar": grammar,
          "t": [0.5], "n": 4, "seed": 0}, ()),
    ]  # fmt: skip
    # without a file the proper call is an error of ours, which is what bad values must be too
    given = {
        "pretrained.download.fetch": (
            download.fetch,
            {"file": absent, "folder": Path("none"), "offline": True},
        ),
        "pretrained.loading.read_weights": (read_weights, {"path": Path("none.pt")}),
        "reference_layers.convnext": (reference_layers.convnext, {"path": Path("none.pth")}),
        "hierdiff.data.image_folder.image_files": (
            image_folder.image_files,
            {"folder": Path("none")},
        ),
        "hierdiff.data.image_folder.load_images": (
            image_folder.load_images,
            {"files": (Path("none.png"),), "size": 4},
        ),
    }
    for name, (function, arguments) in given.items():
        many.append((name, _refused(function), arguments, ()))
    found = [Case(name if name.startswith("hierdiff.") else f"{_V}{name}", function, arguments,
                  keep)
             for name, function, arguments, keep in many]  # fmt: skip
    found += [
        Case("hierdiff.sims.metrics.odd_one_out.probe", odd_one_out.probe,
             {"features": features, "triplets": rows, "penalty": 1e-3, "folds": 3, "seed": 0,
              "width": 2}),
        Case("hierdiff.sims.metrics.odd_one_out.object_folds", odd_one_out.object_folds,
             {"triplets": rows, "n_objects": 60, "folds": 3, "seed": 0}),
        Case("hierdiff.sims.metrics.odd_one_out.draw_triplets", odd_one_out.draw_triplets,
             {"n_objects": 5, "count": 3, "seed": 0}),
        Case("hierdiff.sims.metrics.odd_one_out.write_triplets", odd_one_out.write_triplets,
             {"path": "x.npy", "triplets": rows}),
        Case("hierdiff.sims.metrics.odd_one_out.paired_difference", odd_one_out.paired_difference,
             {"one": np.ones(400), "other": np.zeros(400), "triplets": rows}),
    ]  # fmt: skip
    return found


def _refused(function: Any) -> Any:
    """The function, returning its own refusal."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (HierdiffError, FileNotFoundError) as error:
            return str(error)

    return call
