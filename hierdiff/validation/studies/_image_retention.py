"""Forward-backward runs on images: class retention and layer similarities with their floor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hierdiff import results
from hierdiff.data.digits import digits
from hierdiff.data.image_folder import ImageFolder, eight_bits, load_images
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.sims.estimators import likelihood_interval
from hierdiff.sims.metrics.forward_backward import forward_backward
from hierdiff.tasks import Task
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.distributed import Process, run_shared
from hierdiff.validation.execution import Execution
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.convnext import convnext
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.recipes import train_image_network
from hierdiff.validation.reference_layers import (
    ReferenceClassifier,
    Similarity,
    floor_of_pairs,
    layer_statistics,
    similarity,
    train_classifier,
)
from hierdiff.validation.studies._flags import ReaderFlags
from hierdiff.validation.studies._summary import write_summary
from hierdiff.validation.training import TrainConfig

__all__ = ["ImageRetention", "retention_figure"]

Array: TypeAlias = NDArray[Any]

_DIGITS = (0.04, 0.09, 0.19, 0.29, 0.39, 0.49, 0.6, 0.75, 1.0)
_IMAGES = tuple(k / 10 for k in range(1, 11))
_BLOCK = 16  # images per task of a published network


class _Flags(ReaderFlags, Protocol):
    @property
    def t(self) -> tuple[float, ...] | None: ...
    @property
    def data(self) -> int | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def chain(self) -> int: ...
    @property
    def summary(self) -> Path | None: ...


@dataclass(frozen=True)
class _World:
    """What is noised, by what, and who looks at it."""

    model: NetworkModel
    classifier: ReferenceClassifier
    images: Array
    reference: Array
    levels: Array
    eight: bool


def _regenerate(model: NetworkModel, images: Array, t: float, seed: int, first: int) -> Any:
    """One task: images noised to t and denoised."""
    made = forward_backward(model, images, t, stream(seed, "images", first, round(1e6 * t)))
    return {"images": made.x_0}


@dataclass(frozen=True)
class ImageRetention:
    """The image part of ``NetworkPhaseTransition``, whose flags it reads."""

    flags: _Flags

    def main(self, folder: Path) -> tuple[xr.Dataset, ...]:
        """Run, save, print the claim."""
        world = self._digits(folder) if self.flags.model == "digits" else self._published()
        ds = self._measure(world, folder)
        if ds is None:
            return ()  # another process collects
        results.save(ds, folder / "phase_transition.nc")
        figure = retention_figure(ds)
        figure.savefig(folder / "phase_transition.png", dpi=160)
        plt.close(figure)
        print(_table(ds))
        print(f"wrote {folder / 'phase_transition.nc'} and {folder / 'phase_transition.png'}")
        said = _claims(ds)
        if self.flags.summary:
            write_summary(self.flags.summary, said, _closing(said), self.flags.device)
        print(_closing(said))
        return (ds,)

    def _digits(self, folder: Path) -> _World:
        f, train_set, test = self.flags, digits(seed=self.flags.seed), digits("test")
        plan = TrainConfig(steps=f.steps or 900, every=300, warmup=50, rate=2e-3, average=0.995,
                    device=f.device)  # fmt: skip
        model, _ = train_image_network(
            train_set, plan, num_steps=f.chain, seed=f.seed, folder=folder / f"digits-{f.seed}"
        )
        short = TrainConfig(steps=400, every=400, warmup=20, average=0.98, device=f.device)
        classifier, _ = train_classifier(
            train_set, short, seed=f.seed, folder=folder / f"classifier-{f.seed}"
        )
        levels = np.array(f.t or _DIGITS)
        images = test.images[: f.data or 200]
        return _World(model, classifier, images, train_set.images, levels, False)

    def _published(self) -> _World:
        f, process = self.flags, Process.of()
        entry = checkpoint(f.model)
        if entry.latent_scale is not None or entry.condition:
            why = "of latents" if entry.latent_scale is not None else f"told {entry.condition}"
            raise InvalidParameter(
                f"model {f.model} is a network {why}, and this study gives it pixels and nothing "
                "else; use adm-256"
            )
        if f.classifier is None:
            raise InvalidParameter(
                f"model {f.model} needs a reference classifier; give --classifier FILE with the "
                "weights of ConvNeXt-Base (convnext_base-6075fbad.pth)"
            )
        chosen = ImageFolder.of(f.images or Path())
        files = chosen.files if f.data is None else chosen.files[: f.data]
        images, _ = load_images(files, entry.shape[1])
        if len(images) < 2:
            raise InvalidParameter(
                f"images = {f.images} holds {len(images)} readable image; the floor of random "
                "pairs needs at least 2"
            )
        execution = Execution(batch_size=_BLOCK, device=process.device(f.device))
        classifier = convnext(f.classifier)
        model = pretrained(f.model, accept_licence=f.accept_licence, execution=execution)
        classifier.module.to(process.device(f.device))
        return _World(model, classifier, images, images, np.array(f.t or _IMAGES), True)

    def _measure(self, world: _World, folder: Path) -> xr.Dataset | None:
        f, n = self.flags, len(world.images)
        firsts = range(0, n, _BLOCK if world.eight else n)
        shared = {"question": "image retention", "version": 1, "model": f.model, "seed": f.seed,
                  "steps": f.steps, "chain": f.chain, "images": n}  # fmt: skip
        tasks = [
            Task(_regenerate, (world.model, world.images[i : i + firsts.step], float(t), f.seed, i),
                 {**shared, "t": float(t), "first": i})
            for t in world.levels for i in firsts
        ]  # fmt: skip
        place = results.task_folder(folder, "network_phase_transition")
        made = run_shared(tasks, place, name="forward-backward")
        if made is None:
            return None
        per_level = len(firsts)
        statistics = layer_statistics(world.classifier, world.reference)
        floor = floor_of_pairs(world.classifier, statistics, world.images, stream(f.seed, "pairs"))
        seen = []
        for k in range(len(world.levels)):
            blocks = made[k * per_level : (k + 1) * per_level]
            new = np.concatenate([b["images"] for b in blocks])
            new = eight_bits(new) if world.eight else new
            seen.append(similarity(world.classifier, statistics, world.images, new))
        return self._label(world, seen, floor)

    def _label(self, world: _World, seen: list[Similarity], floor: Similarity) -> xr.Dataset:
        names, n = list(seen[0].cosine), len(world.images)
        cosine = np.array([[s.cosine[k] for s in seen] for k in names])  # [layer, t, n]
        base = np.array([floor.cosine[k] for k in names])
        kept = np.array([s.same_class.sum() for s in seen])
        root = np.sqrt(n)
        # (cos - floor) / (1 - floor), with the floor's own error
        mean, error = cosine.mean(axis=2), cosine.std(axis=2, ddof=1) / root
        low, doubt = base.mean(axis=1)[:, None], base.std(axis=1, ddof=1)[:, None] / root
        corrected = (mean - low) / (1 - low)
        spread = np.hypot(error, (1 - mean) / (1 - low) * doubt) / (1 - low)
        share = kept / n
        plane, said = ("layer", "t"), "cosine of standardised activations"
        variables: dict[str, Any] = {
            "similarity": (plane, mean, said),
            "similarity_error": (plane, error, f"standard error of: {said}"),
            "floor": (("layer",), low[:, 0], f"{said}, random pairs"),
            "floor_error": (("layer",), doubt[:, 0], "standard error of the floor"),
            "corrected": (plane, corrected, "(cosine - floor) / (1 - floor)"),
            "corrected_error": (plane, spread, "standard error of: (cosine - floor) / (1 - floor)"),
            "retention": (("t",), share, "class unchanged"),
            "retention_error": (("t",), np.sqrt(np.maximum(share * (1 - share), 1 / n) / n),
                                "standard error of: class unchanged"),
            "class_interval": (("t", "end"), likelihood_interval(kept, n), "likelihood interval"),
            "chance": ((), floor.same_class.mean(), "class the same in random pairs"),
        }  # fmt: skip
        coords: dict[str, Any] = {
            "layer": (("layer",), names, "layer of the classifier, from pixels to class"),
            "t": (("t",), world.levels, "noise level t of the gaussian process"),
            "snr": (
                ("t",),
                cast(GaussianNoise, world.model.noise).snr(world.levels),
                "signal-to-noise ratio",
            ),
            "end": (("end",), ["low", "high"], "end of the interval"),
        }
        parameters = asdict(self.flags)
        return results.label(variables, coords, "network", results.provenance(parameters))


def retention_figure(ds: xr.Dataset) -> Figure:
    """Class retention, similarity of every layer, and the same above the floor.

    Parameters
    ----------
    ds : xarray.Dataset
        As :class:`ImageRetention` makes it.

    Returns
    -------
    matplotlib Figure
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharex=True)
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, ds.sizes["layer"]))
    for ax, name, title in ((axes[0], "similarity", "cosine, as it is (dotted: random pairs)"),
                            (axes[1], "corrected", "above the floor of random pairs")):  # fmt: skip
        for layer, colour in zip(ds.layer.values, colours, strict=True):
            one = ds.sel(layer=layer)
            many = ds.sizes["layer"] > 12
            ax.errorbar(ds.t, one[name], one[f"{name}_error"], color=colour, marker="o", ms=3,
                        lw=0.8, mfc="none", label=None if many else str(layer))  # fmt: skip
            if name == "similarity":
                ax.axhline(float(one.floor), color=colour, lw=0.6, ls=":")
        low, high = (ds.class_interval.sel(end=e) for e in ("low", "high"))
        ax.errorbar(ds.t, ds.retention, (ds.retention - low, high - ds.retention), color="k",
                    marker="s", ms=3.5, mfc="none", lw=0.8, label="class unchanged")  # fmt: skip
        ax.set(xlabel=str(ds.t.attrs["long_name"]), title=title, ylim=(-0.1, 1.05))
        ax.title.set_fontsize(9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=7, frameon=False)
    axes[0].set_ylabel("similarity to the start image")
    return figure


def _table(ds: xr.Dataset) -> str:
    """Class retention and corrected similarities at every noise level."""
    names = [str(x) for x in ds.layer.values]
    chosen = names if len(names) <= 6 else [names[i * (len(names) - 1) // 5] for i in range(6)]
    lines = [f"{'t':>6} {'class kept':>16} " + " ".join(f"{n[-14:]:>16}" for n in chosen)]
    for k, t in enumerate(ds.t.values):
        cells = [f"{float(ds.corrected.sel(layer=n)[k]):.3f} ± "
                 f"{float(ds.corrected_error.sel(layer=n)[k]):.3f}" for n in chosen]  # fmt: skip
        kept = f"{float(ds.retention[k]):.3f} ± {float(ds.retention_error[k]):.3f}"
        lines.append(f"{t:6.2f} {kept:>16} " + " ".join(f"{c:>16}" for c in cells))
    return "\n".join(lines)


def _claims(ds: xr.Dataset) -> dict[str, Any]:
    """Where the class is lost, and whether low layers outlive high ones, with and without floor."""
    inner = [n for n in ds.layer.values if n != "logits"]
    first, last = inner[0], inner[-1]
    half = (1 + float(ds.chance)) / 2
    below = int(np.argmax(ds.retention.values < half))
    t, kept = ds.t.values, ds.retention.values
    if below:
        share = (kept[below - 1] - half) / (kept[below - 1] - kept[below])
        lost = float(t[below - 1] + share * (t[below] - t[below - 1]))
    else:
        lost = float("nan")
    rows = {}
    for name in ("similarity", "corrected"):
        gap = (ds[name].sel(layer=first) - ds[name].sel(layer=last)).values
        error = np.hypot(*(ds[f"{name}_error"].sel(layer=x).values for x in (first, last)))
        beyond = t > lost
        k = int(np.argmax(np.where(beyond, gap, -np.inf))) if beyond.any() else len(t) - 1
        rows[name] = [float(gap[k]), float(error[k]), float(t[k])]
    return {
        "layers": [str(first), str(last)], "t": t.tolist(), "retention": kept.tolist(),
        "chance": float(ds.chance), "class half lost": lost,
        "first minus last layer, as they are": rows["similarity"],
        "first minus last layer, above the floor": rows["corrected"],
        "floor": {str(n): float(ds.floor.sel(layer=n)) for n in ds.layer.values},
    }  # fmt: skip


def _closing(said: dict[str, Any]) -> str:
    """The closing line."""
    raw, net = (said[f"first minus last layer, {x}"] for x in ("as they are", "above the floor"))
    z = net[0] / max(net[1], 1e-12)
    shows = "low layers outlive high ones" if z > 3 else "low layers do not outlive high ones"
    return (
        f"class half lost at t = {said['class half lost']:.3f} (chance {said['chance']:.3f}); "
        f"beyond it {said['layers'][0]} minus {said['layers'][1]} at most {raw[0]:+.3f} ± "
        f"{raw[1]:.3f} (t = {raw[2]:g}) as they are, {net[0]:+.3f} ± {net[1]:.3f} (t = {net[2]:g}, "
        f"z = {z:.1f}) above the floor of random pairs: {shows}"
    )
