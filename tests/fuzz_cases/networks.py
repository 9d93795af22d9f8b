"""Cases of the part on networks: small modules, tensors and files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Case

from hierdiff.errors import HierdiffError

_V = "hierdiff.validation."

# methods that torch calls with tensors of a network's own shapes
EXEMPT = {
    f"{_V}{name}": "called by torch, or by the class itself, with tensors that it made"
    for name in (
        "adm.ADMUNet.forward", "adm_blocks.AttentionBlock.forward", "adm_blocks.Norm.forward",
        "adm_blocks.ResBlock.forward", "adm_blocks.Stage.forward", "adm_blocks.full_precision",
        "adm_blocks.sinusoid", "adm_blocks.AttentionBlock", "adm_blocks.Norm",
        "adm_blocks.ResBlock", "adm_blocks.Stage",
        "bump_network.PlaceCode.forward", "bump_network.PlaceCode.waves",
        "bump_network.FaintCode.forward", "bump_network.FaintCode.waves",
        "levels.ConvClassifier.forward",
        "mixture_network.VectorDenoiser.forward", "mixture_network.VectorDenoiser.inner",
        "mixture_network.VectorDenoiser.scales", "tree_network.SequenceTransformer.forward",
        "tree_network.SequenceTransformer.sweeps", "tree_network.TreeUNet.forward",
        "tree_network.TreeUNet.sweeps", "diffusers_networks.DiffusersNetwork.forward",
        "samplers.Ancestral.run", "samplers.Ancestral.moments", "samplers.Ancestral.step",
        "samplers.DDIM.run", "samplers.DDIM.step", "diffusers_samplers.DiffusersSampler.run",
        "execution.Execution.place", "execution.Execution.precision",
        "execution.Execution.arranged", "execution.inference", "execution.in_batches",
        "execution.state_dtype", "execution.SampleStreams.take",
        "layers.recorded", "reverse_chains.reverse_chain",
        "parameterisation.Parameterisation.network_input",
        "parameterisation.Parameterisation.clean", "parameterisation.Parameterisation.target",
        "parameterisation.Parameterisation.read",
    )
} | {
    f"{_V}{name}": "a record that functions return"
    for name in (
        "parameterisation.Prediction", "protocol.ForwardBackward", "protocol.StepLevels",
        "sampler_bias.Retention", "training.Trained", "tree_runs.Kept", "levels.Similarity",
        "levels.LayerStatistics", "levels.LayerStatistics.standardise",
    )
} | {
    f"{_V}{name}": "trains, or runs for minutes; its arguments are looked at by the same rules"
    for name in (
        "bump_network.train_bump_network", "digits.train_image_network",
        "levels.train_classifier", "mixture_network.train_vector_denoiser",
        "rhm_training.train_tree_unet", "training.train", "distributed.run_shared",
        "distributed.Process.device", "distributed.Process.share",
        "diffusers_networks.DiffusersNetwork", "diffusers_networks.diffusers_network",
        "convnext.from_torchvision", "humans.judged_images", "bump_network.bump_loss",
        "digits.eps_loss", "mixture_network.vector_loss", "rhm_training.denoising_loss",
    )
}  # fmt: skip


# their fields or arguments are objects of torch or records of this package
EXEMPT |= {
    f"{_V}{name}": "takes networks, records or folders that its own tests give it"
    for name in (
        "bump_network.FaintCode", "bump_network.as_model", "bump_network.encoder_layer",
        "bump_network.tell_faintly", "catalogue.Checkpoint", "catalogue.RemoteFile",
        "convnext.convnext_names", "download.verify", "execution.SampleStreams",
        "figures.alignment.network_alignment", "figures.classification.network_classification",
        "figures.composition.network_composition",
        "figures.phase_transition.network_phase_transition",
        "figures.representation.network_representation", "figures.representation.probe_curves",
        "figures.rhm_images.rhm_images_figure", "humans.block_layers", "layers.check_layers",
        "layers.pooled", "levels.ReferenceClassifier", "levels.ReferenceClassifier.activations",
        "levels.floor_of_pairs", "levels.layer_statistics", "levels.similarity",
        "models.folder_of", "parameterisation.column", "parameterisation.split_channels",
        "pretrained.as_model", "reverse_chains.reverse_levels", "rhm_network.network_input",
        "samplers.learned_log_variance", "studies.rhm_images.ExactDenoiser",
        "studies.rhm_images.RHMImages.draw", "tree_runs.partial_levels", "tree_runs.run_kept",
        "images.ImageFolder", "images.ImageFolder.batches", "images.ImageFolder.first",
        "images.ImageFolder.of",
    )
}  # fmt: skip
EXEMPT["hierdiff.sims.triplets.Probed"] = "a record that functions return"


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    from PIL import Image

    from hierdiff import RHM, GaussianNoise, MaskingNoise
    from hierdiff.sims import triplets
    from hierdiff.validation import (
        catalogue,
        clocks,
        convnext,
        diffusers_samplers,
        digits,
        download,
        images,
        protocol,
        rhm_images,
        rhm_network,
        schedules,
    )
    from hierdiff.validation.parameterisation import Parameterisation
    from hierdiff.validation.pretrained import read_weights

    grammar, quad = RHM(4, 2, 2, 2).draw(0), RHM(4, 2, 4, 1).draw(0)
    schedule, linear = schedules.DiscreteSchedule.linear(50), GaussianNoise(schedule="linear")
    world = rhm_images.TreeImages(quad, rhm_images.random_templates(4, 1, 2, 0))
    noise = MaskingNoise(4)
    network = rhm_network.tree_unet(grammar, noise, width=8)
    absent = catalogue.RemoteFile("https://example.org/w.pt", "w.pt")
    pixels = np.zeros((2, 3, 8, 8))
    rows = triplets.draw_triplets(60, 400, 0)
    features = np.random.default_rng(0).standard_normal((60, 3))
    many: list[tuple[str, Any, dict[str, Any], tuple[str, ...]]] = [
        ("catalogue.checkpoint", catalogue.checkpoint, {"name": "adm-256"}, ()),
        ("clocks.default_clock", clocks.default_clock,
         {"parameterisation": Parameterisation("eps"), "noise": linear}, ()),
        ("clocks.NoiseLevel.time", clocks.NoiseLevel(linear).time, {"snr": 1.5}, ()),
        ("diffusers_samplers.DiffusersSampler", diffusers_samplers.DiffusersSampler,
         {"scheduler": "DDIMScheduler", "steps": 5, "options": {}}, ()),
        ("digits.digits", digits.digits, {"split": "test", "seed": 0}, ()),
        ("images.prepare", images.prepare,
         {"image": Image.new("L", (9, 9)), "size": 4, "crop": True}, ()),
        ("images.low_pass", images.low_pass, {"images": pixels, "factor": 2}, ()),
        ("images.eight_bits", images.eight_bits, {"images": pixels, "jpeg": False}, ()),
        ("protocol.step_levels", protocol.step_levels,
         {"schedule": schedule, "noise": linear, "k": 3, "protocol": "consistent"}, ()),
        ("rhm_images.TreeImages", rhm_images.TreeImages,
         {"grammar": quad, "templates": world.templates}, ()),
        ("rhm_images.ExactImages", rhm_images.ExactImages, {"world": world, "noise": linear}, ()),
        ("rhm_network.SymbolNetwork", rhm_network.SymbolNetwork,
         {"network": network, "noise": noise, "steps": 3, "batch": 4}, ()),
        ("rhm_network.gap_to_exact", rhm_network.gap_to_exact,
         {"model": rhm_network.SymbolNetwork(network, noise), "grammar": grammar,
          "t": [0.5], "n": 4, "seed": 0}, ()),
    ]  # fmt: skip
    # without a file the proper call is an error of ours, which is what bad values must be too
    given = {
        "download.fetch": (
            download.fetch,
            {"file": absent, "folder": Path("none"), "offline": True},
        ),
        "pretrained.read_weights": (read_weights, {"path": Path("none.pt")}),
        "convnext.convnext": (convnext.convnext, {"path": Path("none.pth")}),
        "images.image_files": (images.image_files, {"folder": Path("none")}),
        "images.load_images": (images.load_images, {"files": (Path("none.png"),), "size": 4}),
    }
    for name, (function, arguments) in given.items():
        many.append((name, _refused(function), arguments, ()))
    found = [Case(f"{_V}{name}", function, arguments, keep)
             for name, function, arguments, keep in many]  # fmt: skip
    found += [
        Case("hierdiff.sims.triplets.probe", triplets.probe,
             {"features": features, "triplets": rows, "penalty": 1e-3, "folds": 3, "seed": 0,
              "width": 2}),
        Case("hierdiff.sims.triplets.object_folds", triplets.object_folds,
             {"triplets": rows, "n_objects": 60, "folds": 3, "seed": 0}),
        Case("hierdiff.sims.triplets.draw_triplets", triplets.draw_triplets,
             {"n_objects": 5, "count": 3, "seed": 0}),
        Case("hierdiff.sims.triplets.write_triplets", triplets.write_triplets,
             {"path": "x.npy", "triplets": rows}),
        Case("hierdiff.sims.triplets.paired_difference", triplets.paired_difference,
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
