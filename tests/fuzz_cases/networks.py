"""Cases of the part on networks: small modules, tensors and files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fuzz import Case

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


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give; nothing without torch."""
    if not any(word.startswith("hierdiff.validation") for word in sys.argv) and not Path(
        sys.argv[0]
    ).name.startswith(("fuzz", "pytest", "__main__")):
        return []
    return [Case(f"{_V}{name}", function, arguments, keep)
            for name, function, arguments, keep in _rows()]  # fmt: skip


def _rows() -> list[tuple[str, Any, dict[str, Any], tuple[str, ...]]]:
    return []
