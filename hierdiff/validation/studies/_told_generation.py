r"""What a published network makes when it is told a class, read by the reference classifier.

The phases of strings, asked of images: is anything recognised (one clear thing), and is it the
class that was told (in the right place)?

.. math:: r = P(\max_c p_c \ge \tfrac12), \qquad a = P(\arg\max_c p_c = c_{told}),

beside the same shares for photographs of the told classes, which bound what the reader can see, and
for exchanged labels, which show what it says by chance.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import softmax

from hierdiff import results
from hierdiff.data.image_folder import labelled_folder, load_images
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import stream
from hierdiff.sims.estimators import likelihood_interval
from hierdiff.sims.phases import phase_of_strings
from hierdiff.tasks import Task, run_tasks
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.execution import Execution
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.convnext import convnext
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.pretrained.vae import decoder_of, encoder_of
from hierdiff.validation.reference_layers import ReferenceClassifier
from hierdiff.validation.studies._flags import ReaderFlags

__all__ = ["TellFlags", "told_generation"]

Array: TypeAlias = NDArray[Any]

_CLASSES = 1000
_BLOCK = 8
_CLEAR = 0.5


class TellFlags(ReaderFlags, Protocol):
    """The flags of the study that are read."""

    @property
    def looks(self) -> int: ...
    @property
    def sampling(self) -> int | None: ...


def told_generation(
    flags: TellFlags, folder: Path
) -> tuple[xr.Dataset, Figure, dict[str, Any], str]:
    """Results, figure, claims and closing line for a network of the catalogue."""
    entry = checkpoint(flags.model)
    if not entry.condition.startswith("class"):
        raise InvalidParameter(
            f"{flags.model} is not told a class; use adm-64-conditional or dit-xl-2-256"
        )
    if flags.classifier is None:
        raise InvalidParameter(
            f"model {flags.model} needs a reference classifier; give --classifier FILE with the "
            "weights of ConvNeXt-Base (convnext_base-6075fbad.pth)"
        )
    model = pretrained(
        flags.model, accept_licence=flags.accept_licence, condition=0,
        sampler=Ancestral(flags.sampling or 250),
        execution=Execution(device=flags.device, batch_size=_BLOCK),
    )  # fmt: skip
    reader = convnext(flags.classifier)
    reader.module.to(flags.device)
    decode = decoder_of(entry, flags.device)
    rng = stream(flags.seed, "told classes")
    real: tuple[Array, Array] | None = None
    if flags.images is None:
        told = rng.integers(_CLASSES, size=flags.looks)
    else:
        found = labelled_folder(flags.images, _CLASSES)
        print(found.summary)
        files, labels = found.files, np.array(found.labels)
        chosen = np.sort(rng.permutation(len(files))[: flags.looks])
        pixels, kept = load_images([files[i] for i in chosen], encoder_of(entry, flags.device)[0])
        real = (_read(reader, pixels), labels[chosen][kept])
        told = rng.choice(labels, size=flags.looks)
    tasks = [
        Task(
            _make, (model, told[first : first + _BLOCK], entry.shape, flags.seed, first),
            {"question": "told generation", "version": 1, "model": flags.model, "first": first,
             "seed": flags.seed, "sampling": flags.sampling or 250},
        )
        for first in range(0, len(told), _BLOCK)
    ]  # fmt: skip
    place = results.task_folder(folder, "network_composition")
    made = run_tasks(tasks, place, workers=1, name="images made")
    pixels = np.clip(decode(np.concatenate([m["made"] for m in made])), -1, 1)
    seen = {"network": (_read(reader, pixels), told)}
    if real is not None:
        seen["photographs"] = real
    seen["exchanged labels"] = (seen["network"][0], np.roll(told, 1))
    ds = _label(seen, flags)
    said = _claims(ds)
    return ds, _figure(ds, pixels, told), said, _closing(said, flags.model)


def _make(model: NetworkModel, told: Array, shape: tuple[int, ...], seed: int, first: int) -> Any:
    """One task: images from pure noise under their labels."""
    noise = stream(seed, "pure noise", first).standard_normal((len(told), *shape), np.float32)
    return {"made": model.conditioned(told).sample(noise, 1.0, stream(seed, "made", first))}


def _read(reader: ReferenceClassifier, pixels: Array) -> Array:
    """Class probabilities [n, classes]."""
    parts = [reader.activations(pixels[i : i + _BLOCK])["logits"]
             for i in range(0, len(pixels), _BLOCK)]  # fmt: skip
    return cast(Array, softmax(np.concatenate(parts).astype(float), axis=1))


def _label(seen: dict[str, tuple[Array, Array]], flags: TellFlags) -> xr.Dataset:
    clear = [int((p.max(axis=1) >= _CLEAR).sum()) for p, _ in seen.values()]
    right = [int((p.argmax(axis=1) == told).sum()) for p, told in seen.values()]
    count = np.array([len(told) for _, told in seen.values()])
    variables: dict[str, Any] = {"count": (("images",), count, "images read")}
    for name, number, text in (("recognised", clear, "share that the reader is sure of"),
                               ("right", right, "share read as the told class")):  # fmt: skip
        share = np.array(number) / count
        ends = np.stack([likelihood_interval(k, n) for k, n in zip(number, count, strict=True)])
        variables[name] = (("images",), share, text)
        variables[f"{name}_interval"] = (("images", "end"), ends, f"likelihood interval: {text}")
    coords: dict[str, Any] = {
        "images": (("images",), list(seen), "what is read"),
        "end": (("end",), ["low", "high"], "end of the interval"),
    }
    parameters = asdict(flags)
    return results.label(variables, coords, "network", results.provenance(parameters))


def _claims(ds: xr.Dataset) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in map(str, ds.images.values):
        one = ds.sel(images=name)
        found[name] = {
            key: [float(one[key]), *map(float, one[f"{key}_interval"].values)]
            for key in ("recognised", "right")
        }
    r, a = found["network"]["recognised"][0], found["network"]["right"][0]
    return found | {"phase": phase_of_strings(r, r, a)}


def _closing(said: dict[str, Any], model: str) -> str:
    words = []
    for name, x in said.items():
        if name != "phase":
            (r, lo, hi), (a, low, high) = x["recognised"], x["right"]
            words.append(f"{name} recognised {r:.3f} [{lo:.3f}, {hi:.3f}], read as the told class "
                         f"{a:.3f} [{low:.3f}, {high:.3f}]")  # fmt: skip
    return f"{model}: phase {said['phase']}; " + "; ".join(words)


def _figure(ds: xr.Dataset, pixels: Array, told: Array) -> Figure:
    """Images that were made, and the shares."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=(2, 1))
    shown = np.clip((pixels[:8].transpose(0, 2, 3, 1) + 1) / 2, 0, 1)
    rows = [np.concatenate(list(shown[i : i + 4]), axis=1) for i in range(0, len(shown) - 3, 4)]
    axes[0].imshow(np.concatenate(rows or [shown[0]]))
    axes[0].set_axis_off()
    axes[0].set_title("told " + ", ".join(str(int(c)) for c in told[:8]), fontsize=8)
    place = np.arange(ds.sizes["images"])
    for name, shift in (("recognised", -0.1), ("right", 0.1)):
        ends = ds[f"{name}_interval"].values
        share = ds[name].values
        axes[1].errorbar(place + shift, share, (share - ends[:, 0], ends[:, 1] - share), ls="none",
                         marker="o", mfc="none", label=name)  # fmt: skip
    axes[1].set(xticks=place, ylim=(-0.05, 1.05))
    axes[1].set_xticklabels(ds.images.values, rotation=15, fontsize=8)
    axes[1].legend(fontsize=7, frameon=False)
    axes[1].spines[["top", "right"]].set_visible(False)
    return figure
