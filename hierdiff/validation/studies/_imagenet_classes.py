"""Folders of images classified by a published network that is told a class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.data.image_folder import labelled_folder, load_images
from hierdiff.data.image_folder import low_pass as cut_detail
from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.tasks import Task, run_tasks
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.execution import Execution
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.pretrained.vae import Encoder, encoder_of
from hierdiff.validation.studies._conflict_images import (
    MEMBERS,
    category_answers,
    cue_shares,
    read_conflicts,
)
from hierdiff.validation.studies._fixed_grid import GRID, FixedGrid, grid_scores
from hierdiff.validation.studies._told_networks import ImageClasses

__all__ = ["classify_folder", "classify_images"]

Array: TypeAlias = NDArray[Any]
Found: TypeAlias = tuple[xr.Dataset, dict[str, Any], list[str]]

_CLASSES = 1000
_CHUNK = 8  # images decoded at a time


def classify_folder(
    name: str,
    images: Path,
    folder: Path,
    *,
    conflicts: bool,
    categories: Path | None,
    low_pass: int,
    accept_licence: bool,
    device: str,
    limit: int | None,
    keep: tuple[int, ...],
    stages: tuple[int, ...] | None,
    parameters: Mapping[str, Any],
) -> Found:
    """Results, claims and table for a network of the catalogue and a folder of images."""
    entry = checkpoint(name)
    if not entry.condition.startswith("class"):
        raise InvalidParameter(
            f"{name} is not told a class; use adm-64-conditional or dit-xl-2-256"
        )
    conflict = read_conflicts(images) if conflicts or categories else None
    if conflict is None:
        found = labelled_folder(images, _CLASSES)
        files, labels, shown = list(found.files), np.array(found.labels), found.summary
    else:
        files, labels = list(conflict.paths), conflict.shapes
        shown = f"{len(files)} images with conflicting cues"
    members: Mapping[str, Sequence[int]] = _members(categories) if categories else MEMBERS
    model = pretrained(
        name, accept_licence=accept_licence, condition=0,
        execution=Execution(device=device, batch_size=64),
    )  # fmt: skip
    size, encode = encoder_of(entry, device)
    makers = {"linear": DiscreteSchedule.linear, "cosine": DiscreteSchedule.cosine}
    snr = makers[entry.schedule]().snr[list(GRID)]
    grid = FixedGrid(snr, keep, stages or (len(GRID),))
    encode = _blurred(encode, low_pass)
    rows = slice(None) if limit is None else slice(limit)
    answers = classify_images(model, files[rows], grid, size, encode, folder, _CLASSES)
    ds, said, lines = (
        _labelled(answers, labels[rows][answers["row"]], parameters) if conflict is None
        else _conflicts(answers, members, images, parameters)
    )  # fmt: skip
    return ds, said, [shown, *lines]


def _blurred(encode: Encoder, factor: int) -> Encoder:
    """What encodes images without their fine detail."""
    return encode if factor == 1 else lambda images: encode(cut_detail(images, factor))


def classify_images(
    model: NetworkModel, files: list[Path], grid: FixedGrid, size: int, encode: Encoder,
    folder: Path | None, classes: int,
) -> dict[str, Array]:  # fmt: skip
    """Scores [n, classes], calls [n] and rows [n] of the files that could be read.

    Every image is a task of its own, so that a run that was interrupted goes on.
    """
    told = ImageClasses(model, classes)
    scores, calls, rows = [], [], []
    for start in range(0, len(files), _CHUNK):
        pixels, kept = load_images(files[start : start + _CHUNK], size)
        data = encode(pixels)
        tasks = [
            Task(
                _one_image, (told, x0, grid, classes),
                {"version": 1, "question": "network classification, grid", "keep": grid.keep,
                 "stages": grid.stages, "seed": grid.seed, "classes": classes},
            )
            for x0 in data
        ]  # fmt: skip
        found = run_tasks(tasks, folder, workers=1, name=f"images from {start}")
        scores += [f["scores"] for f in found]
        calls += [int(f["calls"]) for f in found]
        rows += [start + int(i) for i in kept]
    return {"scores": np.stack(scores), "calls": np.array(calls), "row": np.array(rows)}


def _one_image(told: ImageClasses, x0: Array, grid: FixedGrid, classes: int) -> dict[str, Array]:
    scores, calls = grid_scores(told, x0, range(classes), grid)
    return {"scores": scores, "calls": np.array(calls)}


def _members(path: Path) -> dict[str, list[int]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedFile(
            f"categories = {path} cannot be read ({type(error).__name__}); give JSON of names and "
            "class numbers"
        ) from None
    if not isinstance(found, dict):
        raise DamagedFile(f"categories = {path} is no JSON table of names and class numbers")
    return {str(k): [int(i) for i in v] for k, v in found.items()}


def _dataset(answers: dict[str, Array], extra: dict[str, Any], given: Mapping[str, Any]) -> Any:
    n, classes = answers["scores"].shape
    variables: dict[str, Any] = {
        "scores": (("image", "class"), answers["scores"], "mean squared error of eps"),
        "calls": (("image",), answers["calls"], "calls of the network per image"),
        **extra,
    }
    coords: dict[str, Any] = {
        "image": (("image",), np.arange(n), "image"),
        "class": (("class",), np.arange(classes), "class"),
    }
    return results.label(variables, coords, "network", results.provenance(given))


def _labelled(answers: dict[str, Array], labels: Array, given: Mapping[str, Any]) -> Found:
    scores = answers["scores"]
    right = (scores.argmin(axis=1) == labels).astype(float)
    n, calls = len(right), answers["calls"] / scores.shape[1]
    error = float(np.sqrt(right.mean() * (1 - right.mean()) / n))
    ds = _dataset(answers, {
        "label": (("image",), labels, "true class"),
        "accuracy": ((), right.mean(), "accuracy"),
        "accuracy_error": ((), error, "binomial error"),
    }, given)  # fmt: skip
    chance = 1 / scores.shape[1]
    z = (right.mean() - chance) / np.sqrt(chance * (1 - chance) / n)
    closing = (
        f"zero-shot accuracy {right.mean():.3f} ± {error:.3f} on {n} images of "
        f"{len(np.unique(labels))} classes, chance {chance:.3f} (z = {z:.1f}), "
        f"{calls.mean():.0f} calls per class"
    )
    return ds, {"accuracy": [float(right.mean()), error], "closing": closing}, [
        f"{n} images, {int(answers['calls'].sum())} calls of the network"
    ]  # fmt: skip


def _conflicts(
    answers: dict[str, Array], members: Mapping[str, Sequence[int]], images: Path,
    given: Mapping[str, Any],
) -> Found:  # fmt: skip
    conflict = read_conflicts(images)
    rows = answers["row"]
    part = type(conflict)(
        tuple(conflict.paths[i] for i in rows), conflict.shapes[rows], conflict.textures[rows],
        conflict.equal, conflict.foreign,
    )  # fmt: skip
    # errors of eps are means over the data and times; the softmax wants a sum
    said = category_answers(-answers["scores"] * len(GRID), members)
    shares = cue_shares(said, part)
    extra: dict[str, Any] = {"answer": (("image",), said, "category")}
    for name, (value, error) in shares.items():
        extra[name.replace(" ", "_")] = ((), value, name)
        extra[f"{name.replace(' ', '_')}_error"] = ((), error, "binomial error")
    ds = _dataset(answers, extra, given)
    words = ", ".join(f"{k} {v:.3f} ± {e:.3f}" for k, (v, e) in shares.items())
    (bias, error) = shares["shape bias"]
    z = (bias - 0.5) / max(error, 1e-12)
    closing = (
        f"{words} on {len(rows)} images; {conflict.equal} without conflict dropped; bias against "
        f"one half z = {z:.1f}"
    )
    return ds, {**{k: list(v) for k, v in shares.items()}, "closing": closing}, [words]
