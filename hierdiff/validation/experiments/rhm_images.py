"""The ImageNet experiment with ground truth: rendered grammars, a trained ADM U-Net, exact pixels.

The network is put into :class:`hierdiff.sims.PhaseTransition` like any other model, with images of
a grammar as data.  Per level three curves: the exact law of posterior sampling, the exact pixel
denoiser through a reverse chain, and the trained network through the same chain.  Beside them stand
the layers of a convolutional classifier of the class, which is all that one has on photographs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    one_level,
    positive,
    reals,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.derivations import Derivations
from hierdiff.data.digits import LabelledImages
from hierdiff.data.rhm import RHM
from hierdiff.data.rhm_images import TreeImages, random_templates
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import FONT, ORANGE, Axes, Figure, legend, level_colours, needs, panels, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.forward_backward import exact_retention, start_data
from hierdiff.sims.phase_transition import PhaseTransition, sampling_tasks
from hierdiff.tasks import run_tasks
from hierdiff.theory.exact_models import ExactImages
from hierdiff.validation._checks import one_per_row, tensor
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.samplers import Ancestral
from hierdiff.validation.diffusion.schedules import DiscreteSchedule, LogSNR
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import (
    architecture_rule,
    checkpoint_suffix,
    clear_checkpoints,
)
from hierdiff.validation.experiments.image_retention import half_lost
from hierdiff.validation.recipes import train_image_network
from hierdiff.validation.reference_layers import (
    floor_of_pairs,
    layer_statistics,
    similarity,
    train_classifier,
)
from hierdiff.validation.training import TrainConfig

__all__ = ["ExactDenoiser", "ImageGrammar", "ImageTraining", "RHMImages", "rhm_images_figure"]

Array: TypeAlias = NDArray[Any]

_COUNT = partial(whole, low=1, high=10**9)


class ExactDenoiser(nn.Module):
    """The exact pixel denoiser as a torch module that predicts x0, given the logarithm of the SNR.

    Parameters
    ----------
    model : ExactImages

    Notes
    -----
    Validity: exact; so it runs through the same chain as a network.
    """

    @checked
    def __init__(self, model: ExactImages) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("precision", torch.zeros(1))

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        """E[x0 | x_t]."""
        one_per_row("log_snr", log_snr, tensor("x", x, None, *self.model.data.shape))
        t = self.model.noise.level(np.exp(log_snr.double().cpu().numpy()))
        return torch.from_numpy(self.model.denoise(x.double().cpu().numpy(), t)).to(x)


@dataclass(frozen=True)
class ImageGrammar:
    """Images of a random grammar."""

    v: int = 8
    """Symbols per level, and classes."""
    m: int = 2
    """Rules per symbol."""
    L: int = 2
    """Depth of the quad-tree: 2^L patches on a side."""
    patch: int = 2
    """Pixels on a side of a patch."""
    colours: int = 3
    """Channels of the images."""

    def __post_init__(self) -> None:
        check_fields(self, patch=_COUNT, colours=_COUNT)
        RHM(self.v, self.m, 4, self.L)

    def draw(self, seed: int) -> TreeImages:
        """Grammar and templates."""
        grammar = RHM(self.v, self.m, 4, self.L).draw(stream(seed, "grammar"))
        T = random_templates(self.v, self.colours, self.patch, stream(seed, "templates"))
        return TreeImages(grammar, T)


@dataclass(frozen=True)
class ImageTraining:
    """A network on images, and how it is trained on fresh ones."""

    channels: int = 32
    """Channels of the U-Net at full size; doubled at half."""
    multipliers: tuple[float, ...] = (1, 2)
    """Width at each resolution, in units of ``channels``."""
    steps: int = 1500
    """Training steps."""
    batch: int = 128
    """Fresh images per step."""
    rate: float = 2e-3
    """Highest learning rate."""
    bfloat16: bool = False
    """Train in bfloat16 (on a GPU)."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for images."""

    def __post_init__(self) -> None:
        check_fields(
            self, rate=positive, multipliers=partial(listed, rule=positive, distinct=False),
            channels=_COUNT, steps=_COUNT, batch=_COUNT,
            architecture=architecture_rule(LabelledImages),
        )  # fmt: skip


@dataclass(frozen=True)
class RHMImages:
    """Loss of the class and of every level in images whose hierarchy is known.

    Notes
    -----
    Validity: law and chain are exact in pixels; the network is as good as its training.
    """

    images: ImageGrammar = field(default_factory=ImageGrammar)
    """The data."""
    network: ImageTraining = field(default_factory=ImageTraining)
    """The network."""
    t: tuple[float, ...] = (0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 1.0)
    """Noise levels (linear schedule)."""
    data: int = 300
    """Images to start from."""
    num_steps: int = 50
    """Steps of the reverse chain from t = 1."""
    classifier_steps: int = 300
    """Training steps of the reference classifier; 0 leaves it out."""
    seed: int = 0
    """Seed of everything random."""

    name: ClassVar[str] = "network_rhm_images"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (name, f"{name}_theory", f"{name}_chain")
    renamed: ClassVar[dict[str, str]] = {"chain": "num_steps"}

    def __post_init__(self) -> None:
        check_fields(
            self, t=partial(listed, rule=one_level), seed=natural, data=_COUNT, num_steps=_COUNT,
            classifier_steps=partial(whole, high=10**9),
        )  # fmt: skip
        if not self.t or not all(0 < t <= 1 for t in self.t):
            raise InvalidParameter(f"t = {self.t} must be noise levels in (0, 1]")
        if self.data < 2:
            raise InvalidParameter(f"data = {self.data} must be at least 2")

    @cached_property
    def data_model(self) -> TreeImages:
        """Grammar and templates."""
        return self.images.draw(self.seed)

    @property
    def noise(self) -> GaussianNoise:
        """The forward process in pixels."""
        return GaussianNoise(schedule="linear")

    @property
    def sampler(self) -> Ancestral:
        """The reverse chain."""
        return Ancestral(DiscreteSchedule.linear().respaced(str(self.num_steps)), clip=2.5)

    @property
    def question(self) -> PhaseTransition:
        """The experiment that the network is put into."""
        one = self.images
        return PhaseTransition(
            one.v, one.m, 4, one.L, noise="gaussian", t=self.t, grammars=1, refine=0,
            seed=2000 + self.seed,  # its own streams
        )  # fmt: skip

    @checked(n=natural)
    def draw(self, n: int, rng: np.random.Generator) -> LabelledImages:
        """Fresh images with their classes."""
        trees = self.data_model.grammar.sample(n, rng)
        labels = trees.levels[0][:, 0].astype(np.int64)
        return LabelledImages(self.data_model.render(trees.leaves), labels)

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        r"""The law of posterior sampling given noisy pixels, :math:`E \sum_c p(c \mid x_t)^2`.

        Parameters
        ----------
        law : {"exact"}

        Returns
        -------
        xarray.Dataset
            ``retention`` and ``belief``, which are equal, with errors, on (level, t).

        Notes
        -----
        Validity: exact inference on 4,000 images.
        """
        mean, error = exact_retention(
            self.data_model, self.noise, self.t, 4000, stream(self.seed, "law")
        )
        variables: dict[str, Any] = {}
        texts = {"retention": "probability that the symbol is unchanged",
                 "belief": "posterior probability of the true symbol"}  # fmt: skip
        for name, text in texts.items():
            variables[name] = (("level", "t"), mean, text)
            variables[f"{name}_error"] = (("level", "t"), error, f"standard error of: {text}")
        coords: dict[str, Any] = {
            "level": (("level",), np.arange(self.images.L + 1), "level, root = 0"),
            "t": (("t",), list(self.t), "noise level t of the gaussian process"),
            "snr": (("t",), self.noise.snr(self.t), "signal-to-noise ratio"),
        }
        return results.label(variables, coords, "theory", results.provenance(asdict(self)))

    @results.tracked
    @checked(data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """What :class:`PhaseTransition` measures, of the network or of a model of yours in pixels.

        Parameters
        ----------
        model : DiffusionModel, optional
            Default: the network that is trained here.
        data : optional
            (rendered grammar, derivations); default those of the experiment.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`; checkpoints are kept in the folder, too.

        Returns
        -------
        xarray.Dataset
            As :meth:`PhaseTransition.measure` returns it.

        Raises
        ------
        InvalidParameter
            As :meth:`PhaseTransition.measure`.

        Notes
        -----
        Validity: that of the model.
        """
        if model is None:
            model = self._train(None if folder is None else Path(folder), "cpu")
        data = (self.data_model, self._truth()) if data is None else data
        ds = self.question.measure(model, data, folder=folder, workers=workers, cluster=cluster)
        own = json.loads(results.provenance(asdict(self))["parameters"])
        also = {k: v for k, v in json.loads(ds.attrs["parameters"]).items()
                if k in ("model", "process")}  # fmt: skip
        return ds.assign_attrs(parameters=json.dumps({**own, **also}, sort_keys=True))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The exact law, the exact chain and the network with layers of a classifier."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "images-*", "classifier")
        model = self._train(run.folder, run.device) if model is None else model
        data = (self.data_model, self._truth()) if data is None else data
        options = run.tasks(self.name)
        exact = ExactImages(self.data_model, self.noise)
        chain_model = NetworkModel(
            ExactDenoiser(exact),
            self.noise,
            "x0",
            noise_conditioning=LogSNR(),
            sampler=self.sampler,
        )
        # exact beliefs behind a network's chain
        chain = self.measure(chain_model, data, **options).assign_coords(source="simulation")
        network = self.measure(model, data, **options)
        gap = (network.retention_by_datum - chain.retention_by_datum).values[0]  # [n, level, t]
        text, n = "retention minus that of the exact denoiser in the same chain, paired", len(gap)
        error = np.maximum(gap.std(axis=0, ddof=1) / np.sqrt(n), 1 / n)
        plane = ("level", "t")
        network["minus_chain"] = (plane, gap.mean(axis=0), {"long_name": text})
        network["minus_chain_error"] = (plane, error, {"long_name": f"standard error of: {text}"})
        # the tasks of the measurement, read from its folder
        start = start_data(model, data, self.data, self.seed)
        tasks = sampling_tasks(model, start, np.array(self.t), self.question.seed)
        made = np.stack([f["x_0"] for f in run_tasks(tasks, **{**options, "workers": 1})])
        layers = self._layers(run, start.x0, made)
        network = network.merge(layers, compat="override", combine_attrs="override")
        pixels = ("shown", "channel", "row", "column")
        network["start"] = (pixels, start.x0[:6], {"long_name": "images to start from"})
        network["made"] = (
            ("t", *pixels),
            made[:, :6],
            {"long_name": "the same, noised and denoised"},
        )
        network["moved"] = (
            ("t", "shown", "patch_row", "patch_column"),
            np.stack([_moved(self.data_model, start.x0[:6], x[:6]) for x in made]),
            {"long_name": "whether a patch shows another symbol than at the start"},
        )
        names = (f"{self.name}_theory", f"{self.name}_chain", self.name)
        return dict(zip(names, (self.predict(), chain, network), strict=True))

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Retention per level, layers of a classifier, and what became of some images."""
        return rhm_images_figure(*self._parts(datasets))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """How far the network is from the exact denoiser, and where levels and layers are lost."""
        parts = self._parts(datasets)
        values = _values(*parts)
        facts = _facts(values)
        table = "\n".join([_table(*parts), *facts[1:]])
        return Summary(table, facts[0], {**values, "closing": "; ".join(facts)})

    def _parts(self, datasets: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, ...]:
        return tuple(datasets[f"{self.name}{end}"] for end in ("_theory", "_chain", ""))

    def _truth(self) -> Derivations:
        return self.data_model.grammar.sample(self.data, stream(self.seed, "data"))

    def _train(self, folder: Path | None, device: str) -> NetworkModel:
        one, net = self.images, self.network
        size = f"{one.v}-{one.m}-{one.L}-{one.patch}-{net.channels}-{self.seed}"
        size += checkpoint_suffix(LabelledImages, net.architecture)
        plan = TrainConfig(
            steps=net.steps, every=min(250, net.steps), warmup=min(50, net.steps),
            rate=net.rate, average=0.995, bfloat16=net.bfloat16, device=device,
        )  # fmt: skip
        model, _ = train_image_network(
            self.draw, plan, channels=net.channels, multipliers=net.multipliers,
            attention=(2 ** (len(net.multipliers) - 1),), batch=net.batch, seed=self.seed,
            network=net.architecture,
            folder=None if folder is None else folder / f"images-{size}",
        )  # fmt: skip
        return NetworkModel(model.module, self.noise, "eps", sampler=self.sampler,
                            execution=model.execution)  # fmt: skip

    def _layers(self, run: Run, images: Array, made: Array) -> xr.Dataset:
        """Similarity of a classifier's layers, above the floor of random pairs."""
        if not self.classifier_steps:
            return xr.Dataset()
        data = self.draw(4000, stream(self.seed, "classifier"))
        plan = TrainConfig(steps=self.classifier_steps, every=self.classifier_steps, warmup=20,
                    average=0.98, device=run.device)  # fmt: skip
        classifier, _ = train_classifier(
            data, plan, seed=self.seed, folder=run.folder / "classifier"
        )
        statistics = layer_statistics(classifier, data.images[:1000])
        floor = floor_of_pairs(classifier, statistics, images, stream(self.seed, "pairs"))
        seen = [similarity(classifier, statistics, images, x).cosine for x in made]
        names = list(floor.cosine)
        low = np.array([floor.cosine[k].mean() for k in names])[:, None]
        cosine = np.array([[s[k] for s in seen] for k in names])
        mean = (cosine.mean(axis=2) - low) / (1 - low)
        error = cosine.std(axis=2, ddof=1) / np.sqrt(cosine.shape[2]) / (1 - low)
        text = "similarity of activations above the floor of random pairs"
        plane = ("layer", "t")
        variables: dict[str, Any] = {"layers": (plane, mean, text),
                                     "layers_error": (plane, error, "its error")}  # fmt: skip
        coords: dict[str, Any] = {"layer": (("layer",), names, "layer of the classifier"),
                                  "t": (("t",), list(self.t), "noise level")}  # fmt: skip
        return results.label(variables, coords, "network", {})


def _values(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    gap, error = network.minus_chain.values, network.minus_chain_error.values
    worst = int(np.abs(gap[0]).argmax())
    found: dict[str, Any] = {
        "t": network.t.values.tolist(),
        "retention": {str(ds.source.values): ds.retention.values.tolist()
                      for ds in (theory, chain, network)},
        "class, network - chain": [float(gap[0, worst]), float(error[0, worst]),
                                   float(network.t[worst])],
        "largest, network - chain": float(np.abs(gap).max()),
        "largest, chain - exact": float(np.abs(chain.retention - theory.retention).max()),
        "valid": float(network.valid.min()),
    }  # fmt: skip
    # half way between certainty and the last noise level, for the first and the last level
    for name, ds in (("exact", theory), ("network", network)):
        found[f"half, {name}"] = [half_lost(ds.retention.values[k], ds.t.values) for k in (0, -1)]
    if "layers" in network:
        rows = network.layers.isel(layer=[0, -2]).values
        found["layers half"] = [half_lost(row, network.t.values, 0.5) for row in rows]
        found["layers"] = [str(x) for x in network.layer.isel(layer=[0, -2]).values]
    return found


def _table(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> str:
    """Class and leaves at every noise level."""
    rows = []
    for k, t in enumerate(network.t.values):
        cells = [plus_minus(ds.retention[level, k], ds.retention_error[level, k])
                 for level in (0, -1) for ds in (theory, chain, network)]  # fmt: skip
        rows.append([f"{t:.2f}", *cells, f"{float(network.valid[k]):.3f}"])
    three = ("exact", "exact chain", "network")
    header = ["t", *(f"{x}, {w}" for x in ("class", "leaves") for w in three), "valid"]
    return text_table(header, rows)


def _facts(found: dict[str, Any]) -> list[str]:
    """How far the network is from the exact denoiser; where levels and layers are lost."""
    gap, error, t = found["class, network - chain"]
    exact, network = found["half, exact"], found["half, network"]
    facts = [
        f"the class is unchanged with a probability that differs from the exact denoiser in the "
        f"same chain by at most {gap:+.3f} ± {error:.3f} (t = {t:g})",
        f"all levels, network minus chain: at most {found['largest, network - chain']:.3f}",
        f"chain minus exact law: at most {found['largest, chain - exact']:.3f}",
        f"half unchanged at t = {network[0]:.3f} (class) and {network[1]:.3f} (leaves), exact "
        f"{exact[0]:.3f} and {exact[1]:.3f}",
        f"valid strings: at least {found['valid']:.3f}",
    ]
    if "layers" in found:
        first, last = found["layers half"]
        facts.append(
            f"classifier's {found['layers'][0]} half similar at t = {first:.3f}, "
            f"{found['layers'][1]} at {last:.3f}, above the floor"
        )
    return facts


# --------------------------------------------------------------------------------------- figure

_PLANE = ("level", "t")


@checked
def rhm_images_figure(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> Figure:
    """Retention per level, layers of a classifier, and what became of some images.

    Parameters
    ----------
    theory, chain, network : xarray.Dataset
        As :meth:`RHMImages.datasets` returns them.

    Returns
    -------
    matplotlib Figure
    """
    retained = {"retention": _PLANE, "retention_error": _PLANE}
    needs(theory, {"retention": _PLANE}, "RHMImages")
    needs(chain, retained, "RHMImages")
    layers = dict.fromkeys(("layers", "layers_error"), ("layer", "t"))
    needs(network, {**retained, **(layers if "layers" in network else {})}, "RHMImages")
    for ds in (chain, network):
        if ds.sizes["level"] != theory.sizes["level"]:
            raise InvalidParameter("the datasets have different levels; give those of one run")
    pixels = ("shown", "channel", "row", "column")
    for name, dims in (("start", pixels), ("made", ("t", *pixels))):
        if name not in network or network[name].dims != dims:
            raise InvalidParameter(f"the dataset has no images {name!r}; give one from RHMImages")
    start, made = (reals(name, network[name].values, least=1) for name in ("start", "made"))
    figure = plt.figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(5, 4, 4))
    colours = level_colours(theory.sizes["level"])
    last = theory.sizes["level"] - 1
    for level, colour in enumerate(colours):
        name = {0: "class", last: "patches"}.get(level, f"level {level}")
        axes[0].plot(theory.t, theory.retention[level], color=colour, lw=1.2, label=name)
        for ds, face, shift in ((chain, colour, -0.004), (network, "none", 0.004)):
            axes[0].errorbar(ds.t + shift, ds.retention[level], ds.retention_error[level],
                             color=colour, ls="none", marker="o", ms=4, mfc=face,
                             elinewidth=0.8)  # fmt: skip
    axes[0].set(xlabel="noise level t (pixels)", ylabel="symbol unchanged", ylim=(0, 1.03))
    legend(axes[0])
    if "layers" in network:
        shades = level_colours(network.sizes["layer"], "layers")
        for layer, shade in zip(network.layer.values, shades, strict=True):
            one = network.sel(layer=layer)
            axes[1].errorbar(one.t, one.layers, one.layers_error, color=shade, marker="o", ms=3,
                             lw=0.8, mfc="none", label=str(layer))  # fmt: skip
    axes[1].set(xlabel="noise level t (pixels)", ylim=(-0.1, 1.03))
    axes[1].set_ylabel("similarity above the floor")
    legend(axes[1])
    for ax in axes[:2]:
        ax.spines[["top", "right"]].set_visible(False)
    rows = [start, *made]
    strip = np.concatenate([np.concatenate([_shown(x) for x in row], axis=1) for row in rows])
    axes[2].imshow(strip, interpolation="nearest")
    side = start.shape[-1] + 1
    names = ["start", *(f"t = {t:g}" for t in network.t.values)]
    axes[2].set_yticks(side * (np.arange(len(rows)) + 0.5) - 0.5, names, fontsize=FONT)
    axes[2].set_xticks([])
    if "moved" in network:
        _mark_moved(axes[2], network["moved"].values, side)
    panels(axes, "lines: exact law; full: exact chain; open: network",
           "layers of a classifier of the class",
           "by the network; framed: changed")  # fmt: skip
    axes[2].spines[:].set_visible(False)
    axes[2].tick_params(length=0)
    return figure


def _moved(data: TreeImages, before: Array, after: Array) -> Array:
    """Which patches show another symbol, [n, rows, columns]."""
    row, column = data.places
    found = np.zeros((len(before), row.max() + 1, column.max() + 1), bool)
    found[:, row, column] = data.read(before) != data.read(after)
    return found


def _mark_moved(ax: Axes, moved: Array, side: int) -> None:
    """A frame around every patch that has changed; the sheet has the images of the start on top."""
    rows = moved.shape[2]
    patch = (side - 1) / rows
    # matplotlib takes half a second, and is here already when a figure is drawn
    from matplotlib.patches import Rectangle

    for t, k, i, j in zip(*np.nonzero(moved), strict=True):
        corner = (k * side + j * patch - 0.5, (t + 1) * side + i * patch - 0.5)
        ax.add_patch(Rectangle(corner, patch, patch, fill=False, ec=ORANGE, lw=0.8))


def _shown(image: Array) -> Array:
    """One image as [h, w, 3] in [0, 1] with a white edge."""
    x = np.clip((image[[0, 1, 2] if len(image) >= 3 else [0, 0, 0]] + 1.5) / 3, 0, 1)
    return np.pad(x.transpose(1, 2, 0), ((0, 1), (0, 1), (0, 0)), constant_values=1.0)
