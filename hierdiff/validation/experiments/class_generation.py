r"""Images of a published class-conditional network, read by a reference classifier.

The phases of strings, asked of images: is anything recognised (one clear object), and is it the
class c that the network is conditioned on (in the right place)?

.. math:: r = P(\max_k p_k \ge \tfrac12), \qquad a = P(\arg\max_k p_k = c),

beside the same shares for photographs of these classes, which bound what the classifier can see,
and for exchanged labels, which give the accuracy of chance.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import softmax

from hierdiff import results
from hierdiff._display import text_table
from hierdiff.checks import check_fields, whole
from hierdiff.contracts import Summary
from hierdiff.data.image_folder import labelled_folder, load_images
from hierdiff.errors import InvalidParameter
from hierdiff.plots import BLUE, ORANGE, Figure, legend, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.bump_phases import phase_of_strings
from hierdiff.sims.metrics.estimators import likelihood_interval
from hierdiff.tasks import Task, run_tasks
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.execution import Execution
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.latent_diffusion import decoder_of, encoder_of
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.reference_layers import ReferenceClassifier, convnext

__all__ = ["PublishedNetwork"]

Array: TypeAlias = NDArray[Any]

_CLASSES = 1000
_BLOCK = 8  # images at a time
_CLEAR = 0.5  # the classifier is sure of a class above
_SHOWN = 8  # images of the figure


@dataclass(frozen=True)
class PublishedNetwork:
    """A class-conditional network of ``hierdiff models``, and the classifier of its images."""

    name: str = "adm-64-conditional"
    """Name of the network."""
    images: Path | None = None
    """Folder of photographs, a folder per class, as a reference."""
    classifier: Path | None = None
    """Weights of the reference classifier (ConvNeXt-Base)."""
    accept_licence: bool = False
    """Accept the terms of the checkpoint."""
    samples: int = 200
    """Images that are made."""
    num_steps: int = 250
    """Steps of the sampler."""

    def __post_init__(self) -> None:
        check_fields(self, samples=partial(whole, low=20, high=10**9),
                     num_steps=partial(whole, low=1, high=10**6))  # fmt: skip
        entry = checkpoint(self.name)
        if not entry.condition.startswith("class"):
            raise InvalidParameter(
                f"{self.name} is not conditioned on a class; use adm-64-conditional or dit-xl-2-256"
            )
        if self.classifier is None:
            raise InvalidParameter(
                f"network {self.name} needs a reference classifier; give --classifier FILE with "
                "the weights of ConvNeXt-Base (convnext_base-6075fbad.pth)"
            )


def generate_under_classes(
    source: PublishedNetwork, seed: int, folder: str | os.PathLike[str] | None, device: str,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Shares of images that are recognised, and as the class; finished images are in ``folder``."""
    entry = checkpoint(source.name)
    model = pretrained(
        source.name, accept_licence=source.accept_licence, condition=0,
        sampler=Ancestral(source.num_steps),
        execution=Execution(device=device, batch_size=_BLOCK),
    )  # fmt: skip
    assert source.classifier is not None
    reader = convnext(source.classifier)
    reader.module.to(device)
    decode = decoder_of(entry, device)
    rng = stream(seed, "told classes")
    real: tuple[Array, Array] | None = None
    if source.images is None:
        classes = rng.integers(_CLASSES, size=source.samples)
    else:
        found = labelled_folder(source.images, _CLASSES)
        print(found.summary)
        files, labels = found.files, np.array(found.labels)
        chosen = np.sort(rng.permutation(len(files))[: source.samples])
        pixels, kept = load_images([files[i] for i in chosen], encoder_of(entry, device)[0])
        real = (_read(reader, pixels), labels[chosen][kept])
        classes = rng.choice(labels, size=source.samples)
    tasks = [
        Task(
            _make, (model, classes[first : first + _BLOCK], entry.shape, seed, first),
            {"question": "told generation", "version": 1, "model": source.name, "first": first,
             "seed": seed, "sampling": source.num_steps},
        )
        for first in range(0, len(classes), _BLOCK)
    ]  # fmt: skip
    made = run_tasks(tasks, folder, workers=1, name="images made")
    pixels = np.clip(decode(np.concatenate([m["made"] for m in made])), -1, 1)
    seen = {"network": (_read(reader, pixels), classes)}
    if real is not None:
        seen["photographs"] = real
    seen["exchanged labels"] = (seen["network"][0], np.roll(classes, 1))
    return _label(seen, pixels[:_SHOWN], classes[:_SHOWN], parameters)


def _make(
    model: NetworkModel, classes: Array, shape: tuple[int, ...], seed: int, first: int
) -> Any:
    """One task: images from pure noise under their labels."""
    noise = stream(seed, "pure noise", first).standard_normal((len(classes), *shape), np.float32)
    return {"made": model.given(classes).sample(noise, 1.0, stream(seed, "made", first))}


def _read(reader: ReferenceClassifier, pixels: Array) -> Array:
    """Class probabilities [n, classes]."""
    parts = [reader.activations(pixels[i : i + _BLOCK])["logits"]
             for i in range(0, len(pixels), _BLOCK)]  # fmt: skip
    return cast(Array, softmax(np.concatenate(parts).astype(float), axis=1))


def _label(
    seen: Mapping[str, tuple[Array, Array]], pixels: Array, classes: Array,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    clear = [int((p.max(axis=1) >= _CLEAR).sum()) for p, _ in seen.values()]
    right = [int((p.argmax(axis=1) == c).sum()) for p, c in seen.values()]
    count = np.array([len(c) for _, c in seen.values()])
    variables: dict[str, Any] = {"count": (("images",), count, "images read")}
    for name, number, text in (("recognised", clear, "share that the classifier is sure of"),
                               ("right", right, "share read as the class")):  # fmt: skip
        share = np.array(number) / count
        ends = np.stack([likelihood_interval(k, n) for k, n in zip(number, count, strict=True)])
        variables[name] = (("images",), share, text)
        variables[f"{name}_interval"] = (("images", "end"), ends, f"likelihood interval: {text}")
    variables["made"] = (("image", "channel", "row", "column"), pixels, "some of the images made")
    variables["class"] = (("image",), classes, "class of these")
    coords: dict[str, Any] = {
        "images": (("images",), list(seen), "what is read"),
        "end": (("end",), ["low", "high"], "end of the interval"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def generation_summary(ds: xr.Dataset, name: str) -> Summary:
    """Shares with their intervals, and the phase."""
    values: dict[str, Any] = {}
    lines = []
    for word in map(str, ds.images.values):
        one = ds.sel(images=word)
        row = {key: [float(one[key]), *map(float, one[f"{key}_interval"].values)]
               for key in ("recognised", "right")}  # fmt: skip
        lines.append([word, *(f"{x:.3f} [{low:.3f}, {high:.3f}]" for x, low, high in row.values())])
        values[word] = row
    r, a = values["network"]["recognised"][0], values["network"]["right"][0]
    values["phase"] = phase_of_strings(r, r, a)
    claim = (
        f"{name} is in phase {values['phase']}: {r:.0%} of its images are recognised and {a:.0%} "
        "read as the class"
    )
    header = ["images", "recognised", "read as the class"]
    return Summary(text_table(header, lines), claim, values)


def generation_figure(ds: xr.Dataset) -> Figure:
    """Images that were made, and the shares."""
    pixels, classes = ds.made.values, ds["class"].values
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=(2, 1))
    shown = np.clip((pixels[:8].transpose(0, 2, 3, 1) + 1) / 2, 0, 1)
    rows = [np.concatenate(list(shown[i : i + 4]), axis=1) for i in range(0, len(shown) - 3, 4)]
    axes[0].imshow(np.concatenate(rows or [shown[0]]))
    axes[0].set_axis_off()
    panels(axes, "classes " + ", ".join(str(int(c)) for c in classes[:8]), "recognised")
    place = np.arange(ds.sizes["images"])
    for name, shift, colour in (("recognised", -0.1, BLUE), ("right", 0.1, ORANGE)):
        ends = ds[f"{name}_interval"].values
        share = ds[name].values
        axes[1].errorbar(place + shift, share, (share - ends[:, 0], ends[:, 1] - share), ls="none",
                         marker="o", mfc="none", color=colour, label=name)  # fmt: skip
    axes[1].set(xticks=place, ylim=(-0.05, 1.05))
    axes[1].set_xticklabels(ds.images.values, rotation=15, fontsize=8)
    legend(axes[1])
    axes[1].spines[["top", "right"]].set_visible(False)
    return figure
