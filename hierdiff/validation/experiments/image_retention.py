r"""Images noised and denoised: the class, and the layers of a classifier with their floor.

Photographs have no latents that could be read.  A classifier stands for them: its class, and the
similarity of its layers,

.. math:: \frac{\cos(a(x_0), a(x_0')) - c_{pairs}}{1 - c_{pairs}},

above the floor :math:`c_{pairs}` of random pairs of images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff._display import plus_minus, text_table
from hierdiff.checks import FloatArray, check_fields, checked, flag, natural, reals, unchecked
from hierdiff.contracts import Summary
from hierdiff.data.digits import LabelledImages
from hierdiff.data.fashion import FASHION_CLASSES, family_of
from hierdiff.data.image_folder import ImageFolder, eight_bits, load_images
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import Figure, level_colours, panel, plt, shared_legend
from hierdiff.seeds import stream
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.schedules import DiscreteSchedule
from hierdiff.validation.execution import Execution, Process
from hierdiff.validation.experiments import (
    checkpoint_suffix,
    folder_stem,
    trained_images,
    training_sizes,
)
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.latent_diffusion import Encoder
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.recipes import train_image_network
from hierdiff.validation.reference_layers import (
    ReferenceClassifier,
    Similarity,
    convnext,
    floor_of_pairs,
    layer_statistics,
    similarity,
    train_classifier,
)
from hierdiff.validation.training import TrainConfig

__all__ = [
    "Classes",
    "ImageScene",
    "PublishedStart",
    "digit_scene",
    "family_variables",
    "folder_scene",
    "half_lost",
    "image_summary",
    "layer_similarity",
    "layer_variables",
    "retention_figure",
]

Array: TypeAlias = NDArray[Any]

_BLOCK = 16  # images per task of a published network


@dataclass(frozen=True, eq=False)
class Classes:
    """The class that a classifier gives to images, or to images of eight bits.

    Parameters
    ----------
    classifier : ReferenceClassifier
    eight : bool
        Whether images are rounded as files hold them.
    decode : callable, optional
        From what a network makes to images, where it works on latents.
    jpeg : bool
        Whether they go through a JPEG file, too.
    """

    classifier: ReferenceClassifier
    eight: bool = False
    decode: Encoder | None = None
    jpeg: bool = False

    def __post_init__(self) -> None:
        check_fields(self, decode=unchecked, eight=flag, jpeg=flag)

    @checked
    def __call__(self, images: Array) -> Array:
        """Classes [n]."""
        seen = self.pixels(images)
        step = self.classifier.batch
        parts = [
            self.classifier.activations(seen[first : first + step])["logits"].argmax(axis=1)
            for first in range(0, len(seen), step)
        ]  # fmt: skip
        return np.concatenate(parts)

    @checked
    def pixels(self, images: Array) -> Array:
        """Images as the classifier is given them."""
        seen = images if self.decode is None else self.decode(images)
        return eight_bits(seen, jpeg=self.jpeg) if self.eight else seen


@dataclass(frozen=True, eq=False)
class ImageScene:
    """Images to start from, the network that noises and denoises them, and a classifier.

    Attributes
    ----------
    model
        The network.
    classifier
        With layers.
    images
        [n, channels, h, w] in [-1, 1].
    reference
        Images from which the statistics of the layers are taken.
    eight
        Whether samples are rounded to eight bits before they are classified.
    decode
        From the network's data to images, where it works on latents; ``images`` are latents then.
    moment
        Whether activations are divided by the root of their second moment, as published.
    jpeg
        Whether samples go through a JPEG file, as published.
    families
        Family of every class of the classifier [classes], where the classes have some.
    """

    model: NetworkModel
    classifier: ReferenceClassifier
    images: Array
    reference: Array
    eight: bool
    decode: Encoder | None = None
    moment: bool = False
    jpeg: bool = False
    families: Array | None = None

    @property
    def ends(self) -> Classes:
        """The classifier of samples."""
        return Classes(self.classifier, self.eight, self.decode, self.jpeg)

    @property
    def data(self) -> tuple[Array, Array, Classes]:
        """Images, their classes, and the classifier: what :class:`PhaseTransition` measures."""
        start = Classes(self.classifier, decode=self.decode)
        return self.images, start(self.images), self.ends


@dataclass(frozen=True)
class PublishedStart(GaussianNoise):
    r"""Noise of the level behind the one that is named: what the authors' code adds.

    A chain that starts at index i of its K levels is given data with the SNR of index i + 1, and
    pure noise for i = K - 1; between the levels log SNR is linear in the index, and the SNR falls
    to 0 linearly behind the last but one.

    Parameters
    ----------
    v, schedule
        As in :class:`hierdiff.noise.GaussianNoise`; the schedule is that of the levels.
    chain : DiscreteSchedule
        The levels that are visited.

    Raises
    ------
    InvalidParameter
        If there are symbols, or fewer than two levels.

    Notes
    -----
    Validity: equal to :func:`hierdiff.validation.diffusion.schedules.step_levels` at the levels of
    the chain, but for the last one, which is pure noise here as in the authors' code.

    References
    ----------
    Code of Sclocchi et al., arXiv 2402.16991.
    """

    chain: DiscreteSchedule = field(default_factory=lambda: DiscreteSchedule.linear().respaced(250))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, schedule=unchecked)
        if self.v is not None or len(self.chain) < 2:
            raise InvalidParameter(
                f"v = {self.v} and {len(self.chain)} levels; give v = None and two levels or more"
            )

    @checked
    def added(self, t: ArrayLike) -> FloatArray:
        """SNR of the data that a chain from level t is given."""
        ratio, levels = self.snr(t), self.chain.snr
        last = len(levels) - 1
        with np.errstate(divide="ignore"):
            index = np.interp(-np.log(ratio), -np.log(levels), np.arange(last + 1.0)) + 1
        # of clean data nothing is taken away
        inside = np.exp(np.interp(index, np.arange(last + 1.0), np.log(levels)))
        found = np.where(index <= last, inside, levels[-1] * (last + 1 - index))
        return np.where(np.isinf(ratio), np.inf, found)

    def corrupt_with(self, x0: ArrayLike, t: ArrayLike, randoms: ArrayLike) -> NDArray[Any]:
        """Noisy data of the shape of x0."""
        return self.corrupt_at_snr(x0, self.added(t), randoms)


@checked
def digit_scene(
    folder: Path | None, *, data: int, steps: int, num_steps: int, seed: int, device: str,
    architecture: str | None = None, source: object = None,
) -> ImageScene:  # fmt: skip
    """Digits or photographs of clothing, with a network and a classifier that are trained here.

    Parameters
    ----------
    folder : pathlib.Path, optional
        Where checkpoints are kept.
    data : int
        Test images.
    steps : int
        Training steps.
    num_steps : int
        Steps of the reverse chain from t = 1.
    seed : int
    device : str
    architecture : str, optional
        Name of the network.
    source : object, optional
        With a size of Fashion-MNIST, and sizes of the network for it.

    Returns
    -------
    ImageScene

    Notes
    -----
    Validity: the same weights for the same arguments on one device.
    """
    train_set = trained_images(source, "train", seed)
    test = trained_images(source, "test", 0)
    stem = folder_stem(source)
    plan = TrainConfig(steps=steps, every=300, warmup=50, rate=2e-3, average=0.995, device=device)
    suffix = checkpoint_suffix(LabelledImages, architecture)
    model, _ = train_image_network(
        train_set, plan, num_steps=num_steps, seed=seed, network=architecture,
        folder=_place(folder, f"{stem}-{seed}{suffix}"), **cast(Any, training_sizes(source)),
    )  # fmt: skip
    count = getattr(source, "classifier_steps", 400)
    short = TrainConfig(steps=count, every=400, warmup=20, average=0.98, device=device)
    name = "classifier" if stem == "digits" else f"classifier-{stem}"
    classifier, _ = train_classifier(
        train_set, short, seed=seed, folder=_place(folder, f"{name}-{seed}")
    )
    families = family_of(np.arange(len(FASHION_CLASSES))) if stem != "digits" else None
    return ImageScene(
        model, classifier, test.images[:data], train_set.images, False, families=families
    )  # fmt: skip


def _place(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


@checked
def folder_scene(
    name: str, images: Path, classifier: Path | None, *, accept_licence: bool, data: int | None,
    device: str, protocol: Literal["consistent", "published"] = "consistent",
    moment: bool = False, jpeg: bool = False,
) -> ImageScene:  # fmt: skip
    """Images of a folder, with a published network of pixels and a published classifier.

    Parameters
    ----------
    name : str
        Of the catalogue.
    images : pathlib.Path
        Folder of images.
    classifier : pathlib.Path, optional
        Weights of ConvNeXt-Base.
    accept_licence : bool
        That the terms of the checkpoint are accepted.
    data : int, optional
        Images to start from; default all.
    device : str
    protocol : {"consistent", "published"}
        Whether noise of the level where the chain starts is added, or of the next one.
    moment, jpeg : bool
        As in :class:`ImageScene`.

    Returns
    -------
    ImageScene

    Raises
    ------
    InvalidParameter
        If the network wants latents or a condition, weights of the classifier are missing, or there
        are fewer than two images.
    """
    process = Process.of()
    entry = checkpoint(name)
    if entry.latent_scale is not None or entry.condition:
        why = (
            "of latents" if entry.latent_scale is not None else f"conditioned on {entry.condition}"
        )
        raise InvalidParameter(
            f"model {name} is a network {why}, and this study gives it pixels and nothing else; "
            "use adm-256"
        )
    if classifier is None:
        raise InvalidParameter(
            f"model {name} needs a reference classifier; give --classifier FILE with the weights "
            "of ConvNeXt-Base (convnext_base-6075fbad.pth)"
        )
    chosen = ImageFolder.of(images)
    files = chosen.files if data is None else chosen.files[:data]
    pixels, _ = load_images(files, entry.shape[1])
    if len(pixels) < 2:
        raise InvalidParameter(
            f"images = {images} holds {len(pixels)} readable image; the floor of random pairs "
            "needs at least 2"
        )
    execution = Execution(batch_size=_BLOCK, device=process.device(device))
    reference = convnext(classifier)
    model = pretrained(name, accept_licence=accept_licence, execution=execution)
    reference.module.to(process.device(device))
    if protocol == "published":
        model = replace(model, noise=_behind(model))
    return ImageScene(model, reference, pixels, pixels, True, moment=moment, jpeg=jpeg)


def _behind(model: NetworkModel) -> PublishedStart:
    """The noise that the authors' code adds for the chain of a network."""
    schedule = getattr(model.noise, "schedule", None)
    chain = getattr(model.sampler, "levels", None)
    if schedule is None or not isinstance(chain, DiscreteSchedule):
        raise InvalidParameter(
            "protocol = 'published' needs a chain of listed levels and Gaussian noise; leave it out"
        )
    return PublishedStart(None, schedule, chain)


@checked(seed=natural)
def layer_similarity(
    scene: ImageScene, samples: list[Array], seed: int
) -> tuple[list[Similarity], Similarity]:
    """Similarity of all layers at every noise level, and that of random pairs.

    Parameters
    ----------
    scene : ImageScene
    samples : list of arrays [n, channels, h, w]
        What became of the images, for every noise level.
    seed : int
        Draws the pairs.

    Returns
    -------
    seen : list of Similarity
    floor : Similarity
    """
    statistics = layer_statistics(scene.classifier, scene.reference, moment=scene.moment)
    start = Classes(scene.classifier, decode=scene.decode).pixels(scene.images)
    ends = scene.ends
    floor = floor_of_pairs(scene.classifier, statistics, start, stream(seed, "pairs"))
    seen = [similarity(scene.classifier, statistics, start, ends.pixels(x)) for x in samples]
    return seen, floor


def family_variables(scene: ImageScene, samples: list[Array]) -> dict[str, Any]:
    """Whether the family of the class comes back [t], with what random pairs of images do."""
    if scene.families is None:
        return {}
    images, start, ends = scene.data
    before = scene.families[start]
    same = np.array([scene.families[ends(x)] == before for x in samples])  # [t, n]
    n = len(images)
    share = np.bincount(before) / n
    text = "family of the class unchanged"
    # as for the class: an error of zero would claim too much
    error = np.maximum(same.std(axis=1, ddof=1) / np.sqrt(n), 1 / n)
    return {
        "family_retention": (("t",), same.mean(axis=1), text),
        "family_retention_error": (("t",), error, f"standard error of: {text}"),
        "family_chance": ((), float(share @ share), "family the same in random pairs"),
    }


def layer_variables(
    seen: list[Similarity], floor: Similarity
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables and coordinates (layer) of the similarities, with and without the floor."""
    names, n = list(seen[0].cosine), len(floor.same_class)
    cosine = np.array([[s.cosine[k] for s in seen] for k in names])  # [layer, t, n]
    base = np.array([floor.cosine[k] for k in names])
    root = np.sqrt(n)
    # (cos - floor) / (1 - floor), with the floor's own error
    mean, error = cosine.mean(axis=2), cosine.std(axis=2, ddof=1) / root
    low, doubt = base.mean(axis=1)[:, None], base.std(axis=1, ddof=1)[:, None] / root
    corrected = (mean - low) / (1 - low)
    spread = np.hypot(error, (1 - mean) / (1 - low) * doubt) / (1 - low)
    plane, text = ("layer", "t"), "cosine of standardised activations"
    variables: dict[str, Any] = {
        "similarity": (plane, mean, text),
        "similarity_error": (plane, error, f"standard error of: {text}"),
        "floor": (("layer",), low[:, 0], f"{text}, random pairs"),
        "floor_error": (("layer",), doubt[:, 0], "standard error of the floor"),
        "corrected": (plane, corrected, "(cosine - floor) / (1 - floor)"),
        "corrected_error": (plane, spread, "standard error of: (cosine - floor) / (1 - floor)"),
        "chance": ((), floor.same_class.mean(), "class the same in random pairs"),
    }
    text = "layer of the classifier, from pixels to class"
    return variables, {"layer": (("layer",), names, text)}


@checked
def retention_figure(ds: xr.Dataset) -> Figure:
    """Probability that the class is unchanged, and similarity of every layer above the floor.

    Parameters
    ----------
    ds : xarray.Dataset
        Of ``NetworkPhaseTransition`` on images.

    Returns
    -------
    matplotlib Figure
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharex=True)
    colours = level_colours(ds.sizes["layer"])
    kept = ds.retention.isel(level=0)
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
        ax.errorbar(ds.t, kept, (kept - low, high - kept), color="k",
                    marker="s", ms=3.5, mfc="none", lw=0.8, label="class unchanged")  # fmt: skip
        if "family_retention" in ds:
            ax.errorbar(ds.t, ds.family_retention, ds.family_retention_error, color="0.35",
                        marker="^", ms=3.5, mfc="none", lw=0.8, ls="--",
                        label="family unchanged")  # fmt: skip
        ax.set(xlabel=str(ds.t.attrs["long_name"]), ylim=(-0.1, 1.05))
        panel(ax, "ab"[list(axes).index(ax)], title)
        ax.spines[["top", "right"]].set_visible(False)
    shared_legend(figure, axes[0])
    axes[0].set_ylabel("similarity to the start image")
    return figure


def image_summary(ds: xr.Dataset) -> Summary:
    """Where the class is lost, and whether low layers outlive high ones."""
    values = _values(ds)
    facts = _facts(values)
    table = "\n".join([_table(ds), *facts[1:]])
    return Summary(table, facts[0], {**values, "closing": "; ".join(facts)})


def _table(ds: xr.Dataset) -> str:
    """Class and corrected similarities at every noise level."""
    names = [str(x) for x in ds.layer.values]
    chosen = names if len(names) <= 6 else [names[i * (len(names) - 1) // 5] for i in range(6)]
    rows = []
    for k, t in enumerate(ds.t.values):
        here = (ds.sel(layer=n).isel(t=k) for n in chosen)
        cells = [plus_minus(x.corrected, x.corrected_error) for x in here]
        kept = plus_minus(ds.retention[0, k], ds.retention_error[0, k])
        rows.append([f"{t:.2f}", kept, *cells])
    return text_table(["t", "class unchanged", *chosen], rows)


def _values(ds: xr.Dataset) -> dict[str, Any]:
    """Where the class is lost, and whether low layers outlive high ones, with and without floor."""
    inner = [n for n in ds.layer.values if n != "logits"]
    first, last = inner[0], inner[-1]
    half = (1 + float(ds.chance)) / 2
    below = int(np.argmax(ds.retention.values[0] < half))
    t, kept = ds.t.values, ds.retention.values[0]
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
    families: dict[str, Any] = {}
    if "family_retention" in ds:
        family, chance = ds.family_retention.values, float(ds.family_chance)
        families = {
            "family retention": family.tolist(), "family chance": chance,
            "family half lost": half_lost(family, t, (1 + chance) / 2),
        }  # fmt: skip
    return {
        **families,
        "layers": [str(first), str(last)], "t": t.tolist(), "retention": kept.tolist(),
        "chance": float(ds.chance), "class half lost": lost,
        "first minus last layer, as they are": rows["similarity"],
        "first minus last layer, above the floor": rows["corrected"],
        "floor": {str(n): float(ds.floor.sel(layer=n)) for n in ds.layer.values},
    }  # fmt: skip


def _facts(found: dict[str, Any]) -> list[str]:
    """Whether low layers outlive high ones, and where the class is lost."""
    raw, net = (found[f"first minus last layer, {x}"] for x in ("as they are", "above the floor"))
    z, (first, last) = net[0] / max(net[1], 1e-12), found["layers"]
    verb = "outlive" if z > 3 else "do not outlive"
    families = []
    if "family half lost" in found:
        lost, chance = found["family half lost"], found["family chance"]
        families.append(f"family half lost at t = {lost:.3f} (chance {chance:.3f})")
    return [
        f"low layers {verb} high ones: beyond the loss of the class {first} minus {last} is at "
        f"most {net[0]:+.3f} ± {net[1]:.3f} (t = {net[2]:g}, z = {z:.1f}) above the floor of "
        "random pairs",
        f"class half lost at t = {found['class half lost']:.3f} (chance {found['chance']:.3f})",
        *families,
        f"{first} minus {last} as they are: at most {raw[0]:+.3f} ± {raw[1]:.3f} (t = {raw[2]:g})",
    ]


@checked
def half_lost(curve: Array, t: Array, height: float | None = None) -> float:
    """Where a falling curve crosses a height, by default half way from one to its last value.

    Parameters
    ----------
    curve : array [T]
    t : array [T]
        Noise levels, increasing.
    height : float, optional

    Returns
    -------
    float
        NaN if the curve starts below, or never falls so far.

    Examples
    --------
    >>> half_lost(np.array([1.0, 0.8, 0.2]), np.array([0.1, 0.2, 0.3]))
    0.23333333333333334
    """
    t = reals("t", t, ndim=1, least=1)
    curve = reals("curve", curve, shape=t.shape)
    level = (1 + curve[-1]) / 2 if height is None else height
    below = int(np.argmax(curve < level))
    if not below:
        return float("nan")
    share = (curve[below - 1] - level) / (curve[below - 1] - curve[below])
    return float(t[below - 1] + share * (t[below] - t[below - 1]))
