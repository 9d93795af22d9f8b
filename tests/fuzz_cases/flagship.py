"""Cases of the phase transition, alignment and correlations, with networks and without."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Case

from hierdiff.errors import HierdiffError

_S, _E = "hierdiff.sims.", "hierdiff.validation.experiments."

EXEMPT = {
    f"{name}.{word}": "called by the runner with what the experiment itself made"
    for name in (
        f"{_S}phase_transition.PhaseTransition", f"{_S}alignment.Alignment",
        f"{_S}correlations.Correlations",
    )
    for word in ("datasets", "figure", "summary")
} | {
    f"{_E}{name}.{word}": "trains a network; its arguments are those of the experiment, or come "
    "from the runner"
    for name in (
        "phase_transition.NetworkPhaseTransition", "alignment.NetworkAlignment",
        "rhm_images.RHMImages",
    )
    for word in ("arguments", "datasets", "figure", "measure", "summary")
} | {
    f"{_S}metrics.forward_backward.{name}": "a named tuple of what a function returns"
    for name in ("ForwardBackward", "Overlap")
} | {
    f"{_S}metrics.forward_backward.StartData": "made by start_data, which checks",
    f"{_S}metrics.forward_backward.one_at_a_time": "takes any object",
    f"{_E}source_arguments": "a command line; test_scripts has its cases",
    f"{_E}architecture_rule": "takes a class, returns a check that architecture_for makes",
    f"{_E}checkpoint_suffix": "takes a class and a name that architecture_for has checked",
    f"{_E}clear_checkpoints": "removes files of a folder that the runner has tried",
    f"{_E}image_retention.digit_scene": "trains two networks",
    f"{_E}image_retention.ImageScene": "made by the scenes, which check",
} | {
    f"{_E}image_retention.PublishedStart.{name}": "inherited from GaussianNoise, which has a case"
    for name in ("corrupt_at_snr", "draw", "draw_step", "evidence", "log_evidence",
                 "log_evidence_at_snr", "network_input", "reverse_step")
} | {
    f"{_S}alignment.{name}": "reads a result of measure"
    for name in ("layer_facts", "layer_summary", "layer_table", "layer_values")
} | {
    f"{_E}image_retention.{name}": "reads a result of measure, or of layer_similarity"
    for name in ("family_variables", "image_summary", "layer_variables", "retention_figure")
}  # fmt: skip


def _refused(function: Any) -> Any:
    """A loader of files that are not there: its refusal is the answer."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (HierdiffError, FileNotFoundError) as error:
            return str(error)

    return call


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    import torch

    from hierdiff import GaussianNoise, seeds
    from hierdiff.sims.alignment import ComparedObjects
    from hierdiff.sims.metrics import odd_one_out
    from hierdiff.validation import experiments
    from hierdiff.validation.adapter import NetworkModel
    from hierdiff.validation.experiments import alignment, image_retention, phase_transition
    from hierdiff.validation.reference_layers import ConvClassifier, ReferenceClassifier

    rows = odd_one_out.draw_triplets(9, 12, seed=0)
    task = odd_one_out.TripletTask(rows, np.full((12, 3), 1 / 3))
    x = np.random.default_rng(0).random((9, 3))
    look = ConvClassifier(1, 8, 4, width=8)
    classifier = ReferenceClassifier(look, look.names)
    images = np.zeros((3, 1, 8, 8), np.float32)
    images[1:] += 0.5
    model = NetworkModel(torch.nn.Conv2d(1, 1, 1), GaussianNoise(schedule="linear"), "eps")
    scene = image_retention.ImageScene(model, classifier, images, images, False)
    odd = f"{_S}metrics.odd_one_out.TripletTask"
    return [
        Case(f"{_E}image_retention.half_lost", image_retention.half_lost,
             {"curve": np.array([0.9, 0.6, 0.1]), "t": np.array([0.1, 0.2, 0.3]), "height": 0.5},
             nan=("curve", "height")),
        Case("hierdiff.seeds.SampleStreams.take", seeds.SampleStreams.of(0).take,
             {"rows": np.array([0, 2])}),
        Case(odd, odd_one_out.TripletTask,
             {"triplets": rows, "probabilities": np.full((12, 3), 1 / 3), "ties": "shared",
              "seed": 0}),
        Case(f"{_S}alignment.ComparedObjects", ComparedObjects,
             {"x0": x, "task": task, "labels": np.arange(9) % 2, "unconditional": True,
              "trees": None, "grammar": None, "ends": True, "randoms": np.ones((9, 3))},
             nan=("labels", "randoms")),  # rows of any kind, which the model looks at
        Case(f"{odd}.scores", task.scores, {"features": x}),
        Case(f"{odd}.error", task.error, {"scores": np.arange(12) / 12}),
        Case(f"{odd}.probed",
             odd_one_out.TripletTask(odd_one_out.draw_triplets(18, 400, seed=0),
                                     np.full((400, 3), 1 / 3)).probed,
             {"features": np.random.default_rng(1).random((18, 3)), "width": 2}),
        Case(f"{_E}known_checkpoint", experiments.known_checkpoint, {"name": "adm-256"}),
        Case(f"{_E}phase_transition.CatalogueNetwork", phase_transition.CatalogueNetwork,
             {"name": "adm-256", "images": Path(), "classifier": Path(), "accept_licence": False,
              "t": (0.4, 0.5), "data": 3, "protocol": "published", "moment": True, "jpeg": True}),
        Case(f"{_E}alignment.CatalogueObjects", alignment.CatalogueObjects,
             {"name": "adm-256", "images": Path(), "triplets": Path(), "labels": Path(),
              "null": Path(), "layers": (), "accept_licence": False}),
        Case(f"{_E}alignment.digit_similarity", alignment.digit_similarity,
             {"labels": np.arange(4), "weights": (1.0, 0.5, 0.25),
              "groups": alignment.DIGIT_GROUPS}, keep=("groups",)),  # nested tuples of numbers
        Case(f"{_E}image_retention.Classes", image_retention.Classes,
             {"classifier": classifier, "eight": False, "decode": None, "jpeg": False},
             nan=("decode",)),  # any callable
        Case(f"{_E}image_retention.PublishedStart", image_retention.PublishedStart,
             {"v": None, "schedule": "linear"}),
        Case(f"{_E}image_retention.Classes.pixels", image_retention.Classes(classifier).pixels,
             {"images": images}, nan=("images",)),  # NaN is the classifier's to refuse
        Case(f"{_E}image_retention.PublishedStart.corrupt_with",
             image_retention.PublishedStart().corrupt_with,
             {"x0": np.ones((2, 3)), "t": np.array([0.2, 0.7]), "randoms": np.ones((2, 3))}),
        Case(f"{_E}image_retention.PublishedStart.added", image_retention.PublishedStart().added,
             {"t": np.array([0.2, 0.7])}),
        Case(f"{_E}image_retention.folder_scene", _refused(image_retention.folder_scene),
             {"name": "dit-xl-2-256", "images": Path("no"), "classifier": None,
              "accept_licence": True, "data": 2, "device": "cpu",
              "protocol": "published", "moment": False, "jpeg": False}),
        Case(f"{_E}image_retention.layer_similarity", image_retention.layer_similarity,
             {"scene": scene, "samples": [images], "seed": 0}),
    ]  # fmt: skip
