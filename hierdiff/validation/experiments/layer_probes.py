r"""Linear probes of every layer of a network at every noise level, beside exact features.

A probe (ridge regression on one-hot labels) is fitted on noisy data and read on others at the same
level t: once with all data, once with a few per class, where its capacity counts.  Whether a curve
rises before it falls is decided without picking the maximum from the same numbers,

.. math:: g = \tfrac12 \sum_{h} \big[a_{\bar h}(t^*_h) - a_{\bar h}(t_{min})\big],
   \qquad t^*_h = \arg\max_{t > t_{min}} a_h(t),

the *interior-peak gain*: the test data are cut into halves h, the peak is sought in one half and
read, paired, in the other :math:`\bar h`.

=============  ==================================================================================
source         what is probed
=============  ==================================================================================
``rhm``        networks on strings of a random grammar, beside exact beliefs of every level
``digits``     networks on 8 x 8 digits, beside the low-rank mixture of the classes
``fashion``    networks on photographs of clothing (Fashion-MNIST), the same
``own``        a network of yours on a set of images; its features go to files, chunk by chunk
``catalogue``  a published network on images in a folder per class
=============  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hierdiff import results
from hierdiff._display import text_table
from hierdiff._progress import Progress
from hierdiff.checks import (
    Rule,
    check_fields,
    checked,
    count,
    integers,
    listed,
    natural,
    one_level,
    reals,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Summary
from hierdiff.data.digits import LabelledImages
from hierdiff.data.image_folder import ImageFolder, load_images
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import Figure, legend, level_colours, needs, panel, plt
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.metrics.probes import ridge_probe
from hierdiff.sims.models.empirical import EmpiricalModel
from hierdiff.theory import ExactRHM
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.validation.adapter import Pooling
from hierdiff.validation.execution import Execution
from hierdiff.validation.experiments import (
    architecture_rule,
    checkpoint_suffix,
    folder_stem,
    trained_images,
    training_sizes,
)
from hierdiff.validation.experiments.own_images import (
    LARGEST_PROBED,
    OwnProbed,
    even_rows,
    probed_rows,
)
from hierdiff.validation.feature_files import FeatureFile
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.latent_diffusion import encoder_of
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.recipes import train_image_network, train_symbol_network
from hierdiff.validation.things import block_layers
from hierdiff.validation.training import TrainConfig

__all__ = [
    "DigitNetworks",
    "FashionNetworks",
    "InteriorPeak",
    "PublishedNetwork",
    "StringNetworks",
    "interior_peak_gain",
    "layer_probe_figure",
    "mixture_of_classes",
]

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = dict[tuple[str, str], tuple[Array, Array]]
"""By model and layer: whether data are read rightly, [network, fit, t, n], by either probe."""

PROBE_LEVELS = (0.005, 0.02, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6)
_KINDS = ("all", "few")
# Features are scaled to root mean square one, so the penalty weighs as much as ten data: little
# beside all of them, and what keeps a probe on a few from fitting their noise.
_RIDGE = 10.0
_REPEATS = 20  # draws of the few data
_COUNT = partial(whole, low=1, high=10**9)  # no more of anything that is counted
_SIZES = partial(listed, rule=partial(whole, high=10**9))
_DIGIT_LAYERS = (
    "input_blocks.1", "input_blocks.3", "middle_block", "output_blocks.0", "output_blocks.1",
    "output_blocks.3",
)  # fmt: skip


# --- sources --------------------------------------------------------------------------------------


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else _COUNT(name, value)


def _check(source: Any, **rules: Rule) -> None:
    """What all sources refuse."""
    check_fields(source, t=partial(listed, rule=one_level), shots=_COUNT, **rules)
    if len(source.t) < 2 or any(np.diff(source.t) <= 0):
        raise InvalidParameter(f"t = {source.t} must be two or more increasing noise levels")


@dataclass(frozen=True)
class StringNetworks:
    """Networks trained here on strings of a random grammar."""

    v: int = 8
    """Symbols per level, and classes."""
    m: int = 2
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 4
    """Depth of the hierarchy."""
    n_train: tuple[int, ...] = (256, 0)
    """Training strings; 0 draws fresh ones for every step."""
    networks: int = 3
    """Networks per size, with data and weights of their own, over which errors are taken."""
    steps: int = 1200
    """Training steps."""
    test: int = 2000
    """Strings on which probes are fitted, and as many on which they are read."""
    shots: int = 5
    """Data per class of the small probe."""
    t: tuple[float, ...] = PROBE_LEVELS
    """Noise levels."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for grammars."""

    def __post_init__(self) -> None:
        _check(
            self, n_train=_SIZES, networks=_COUNT, steps=_COUNT, test=_COUNT,
            architecture=architecture_rule(Grammar),
        )  # fmt: skip
        RHM(self.v, self.m, self.s, self.L)


@dataclass(frozen=True)
class DigitNetworks:
    """Networks trained here on 8 x 8 digits."""

    n_train: tuple[int, ...] = (64, 0)
    """Training images; 0 takes all there are."""
    networks: int = 1
    """Networks per size, with data and weights of their own, over which errors are taken."""
    steps: int = 700
    """Training steps."""
    layers: tuple[str, ...] = ()
    """Submodules that are probed; default six blocks."""
    test: int | None = None
    """Test images, default all 355."""
    shots: int = 5
    """Data per class of the small probe."""
    t: tuple[float, ...] = PROBE_LEVELS
    """Noise levels."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for images."""

    def __post_init__(self) -> None:
        _check(
            self, n_train=_SIZES, networks=_COUNT, steps=_COUNT, test=_count_or_none,
            architecture=architecture_rule(LabelledImages),
        )  # fmt: skip


@dataclass(frozen=True)
class FashionNetworks(DigitNetworks):
    """Networks trained here on photographs of clothing (Fashion-MNIST)."""

    size: Literal[14, 28] = 14
    """Pixels of a side; 14 are means over 2 x 2 pixels."""
    channels: int = 32
    """Width of the network at full size."""
    multipliers: tuple[int, ...] = (1, 2)
    """Width at each resolution over that."""
    batch: int = 64
    """Images per training step."""
    n_train: tuple[int, ...] = (100, 0)
    """Training images; 0 takes all there are."""
    steps: int = 2000
    """Training steps."""
    fit: int = 4000
    """Images on which probes are fitted."""
    test: int | None = 2000
    """Test images."""

    def __post_init__(self) -> None:
        DigitNetworks.__post_init__(self)
        check_fields(
            self, n_train=_SIZES, networks=_COUNT, steps=_COUNT, test=_count_or_none, shots=_COUNT,
            fit=_COUNT, channels=_COUNT, batch=_COUNT, t=partial(listed, rule=one_level),
            multipliers=partial(listed, rule=_COUNT, distinct=False), architecture=unchecked,
        )  # fmt: skip


@dataclass(frozen=True)
class PublishedNetwork:
    """An image network of ``hierdiff models`` on a folder of images."""

    name: str = "adm-256"
    """Name of the network."""
    images: Path | None = None
    """Folder with a folder of images per class."""
    accept_licence: bool = False
    """Accept the terms of the checkpoint."""
    layers: tuple[str, ...] = ()
    """Submodules that are probed; default its blocks, and outputs of at most 4,096 numbers."""
    fit: int | None = 4000
    """Images on which probes are fitted."""
    test: int | None = None
    """Test images, default a fifth of all."""
    shots: int = 5
    """Data per class of the small probe."""
    t: tuple[float, ...] = PROBE_LEVELS
    """Noise levels."""

    def __post_init__(self) -> None:
        _check(self, test=_count_or_none, fit=_count_or_none)
        checkpoint(self.name)
        if self.images is None:
            raise InvalidParameter(
                f"network {self.name} needs images; give --images DIR, or use mixture, rhm or "
                "digits"
            )


Source: TypeAlias = StringNetworks | DigitNetworks | PublishedNetwork | OwnProbed


# --- models and data ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LabelledModels:
    """Data whose classes are read, and the models whose features are.

    Attributes
    ----------
    fit, test
        Clean data and classes: probes are fitted on the first, and read on the second.
    noise
        Of all models.
    networks
        By size of the training set; 0 is fresh data, or all there are.
    references
        Exact and memorising models by name.
    flat
        Whether these references take data as [n, D].
    """

    fit: tuple[Array, Array]
    test: tuple[Array, Array]
    noise: GaussianNoise
    networks: Mapping[int, tuple[DiffusionModel, ...]]
    references: Mapping[str, DiffusionModel]
    flat: bool = False

    def noisy(self, which: int, t: float, seed: int) -> Array:
        """Data of the fit (0) or the test (1) at level t, with the same noise at every level."""
        clean = (self.fit, self.test)[which][0]
        rng = stream(seed, "probe noise", which)
        if self.noise.v:
            return self.noise.corrupt(clean, t, rng)
        eps = rng.standard_normal(clean.shape, dtype=np.float32)
        return self.noise.corrupt_with(clean, t, eps).astype(np.float32)


def _strings(source: StringNetworks, seed: int, folder: Path | None, device: str) -> LabelledModels:
    """Strings of a random grammar; exact beliefs and the memorising denoiser as references."""
    grammar = RHM(source.v, source.m, source.s, source.L).draw(stream(seed, "grammar"))
    noise = GaussianNoise(source.v, schedule="linear")
    n = source.test
    sets = [grammar.sample(n, stream(seed, name)) for name in ("probe fit", "probe test")]
    steps = source.steps
    plan = TrainConfig(steps=steps, every=steps, warmup=min(100, steps), device=device)
    networks, references = {}, {"exact": cast(DiffusionModel, ExactRHM(grammar, noise))}
    for size in source.n_train:
        made = []
        for k in range(source.networks):
            rng = stream(seed, "training set", size, k)
            data = grammar.sample(size, rng).leaves if size else None
            key = f"probe-rhm-{source.v}-{source.m}-{source.s}-{source.L}-{size}-{seed}-{k}"
            key += checkpoint_suffix(Grammar, source.architecture)
            model, _ = train_symbol_network(
                grammar, noise, plan, width=48, batch=128, data=data, seed=seed + 1000 * k,
                network=source.architecture,
                folder=None if folder is None else folder / key,
            )  # fmt: skip
            made.append(cast(DiffusionModel, model))
            if size and not k:
                references[f"memorising, N = {size}"] = EmpiricalModel(cast(Array, data), noise)
        networks[size] = tuple(made)
    fit, test = ((x.leaves, x.levels[0][:, 0]) for x in sets)
    return LabelledModels(fit, test, noise, networks, references)


@checked(rank=count)
def mixture_of_classes(x: ArrayLike, labels: ArrayLike, rank: int) -> LowRankMixture:
    """The low-rank mixture of labelled data [n, D]: mean and leading directions of every class.

    What is left of a class outside its ``rank`` directions becomes one residual variance for all,
    as in probabilistic principal components with a shared residual.
    """
    x = reals("x", x, -1e100, 1e100, ndim=2, least=1)
    labels = integers("labels", labels, 0, len(x), shape=(len(x),))
    classes = int(labels.max()) + 1
    dim = x.shape[1]
    if rank >= dim or np.bincount(labels).min() < rank:
        raise InvalidParameter(
            f"rank = {rank} must be below the {dim} dimensions, with as many data of every class"
        )
    bases, variances, means, left = [], [], [], []
    for k in range(classes):
        mine = x[labels == k]
        mean = mine.mean(axis=0)
        _, values, axes = np.linalg.svd(mine - mean, full_matrices=False)
        spectrum = values**2 / len(mine)
        bases.append(axes[:rank].T)
        variances.append(spectrum[:rank])
        means.append(mean)
        left.append(spectrum[rank:].sum() / (dim - rank))
    residual = float(np.mean(left))
    weights = np.bincount(labels, minlength=classes) / len(labels)
    return LowRankMixture(
        bases, weights, variances, float(np.sqrt(residual)), "ambient", np.array(means)
    )


def _digits(source: DigitNetworks, seed: int, folder: Path | None, device: str) -> LabelledModels:
    """Digits or clothing; the mixture of the classes and memorising denoisers as references."""
    training, test = (trained_images(source, split, seed) for split in ("train", "test"))
    steps = source.steps
    plan = TrainConfig(steps=steps, every=steps, warmup=min(50, steps), rate=2e-3, average=0.995,
                device=device)  # fmt: skip
    layers: dict[str, Pooling] = dict.fromkeys(source.layers or _DIGIT_LAYERS, "space")
    noise = GaussianNoise(schedule="linear")
    vectors = training.images.reshape(len(training), -1)
    mixture = mixture_of_classes(vectors, training.labels, 12)
    networks: dict[int, tuple[DiffusionModel, ...]] = {}
    references: dict[str, DiffusionModel] = {"exact": ExactMixture(mixture, noise)}
    for size in source.n_train:
        made = []
        for k in range(source.networks):
            order = stream(seed, "training set", k).permutation(len(training))
            rows = order[: size or len(training)]
            key = f"probe-{folder_stem(source)}-{size}-{seed}-{k}"
            key += checkpoint_suffix(LabelledImages, source.architecture)
            model, _ = train_image_network(
                training[rows], plan, seed=seed + 1000 * k, network=source.architecture,
                folder=None if folder is None else folder / key,
                **cast(Any, {"batch": 64, **training_sizes(source)}),
            )  # fmt: skip
            made.append(cast(DiffusionModel, replace(model, layers=layers)))
            if size and not k:
                references[f"memorising, N = {size}"] = EmpiricalModel(vectors[rows], noise)
        networks[size] = tuple(made)
    if isinstance(source, FashionNetworks):  # 60,000 images in published order; classes in turn
        training = training[even_rows(training.labels)[: source.fit]]
        test = test[even_rows(test.labels)]
    take = slice(source.test)
    return LabelledModels(
        (training.images, training.labels), (test.images[take], test.labels[take]), noise,
        networks, references, flat=True,
    )  # fmt: skip


def _photographs(source: PublishedNetwork, seed: int, device: str) -> LabelledModels:
    """Images in a folder per class, and a published network without a class."""
    entry = checkpoint(source.name)
    if entry.condition and "for none" not in entry.condition:
        raise InvalidParameter(
            f"{source.name} must be conditioned on {entry.condition}; take a network that can do "
            "without"
        )
    chosen = ImageFolder.of(source.images or Path())
    if chosen.labels is None or len(chosen.names) < 2:
        raise InvalidParameter(
            f"images = {source.images} has {len(chosen.names)} folders of a class each; a probe "
            "needs two or more, and no images beside them"
        )
    print(chosen.summary)
    files, labels = chosen.files, np.array(chosen.labels)
    execution = Execution(device=device, batch_size=8)
    network = pretrained(source.name, accept_licence=source.accept_licence, execution=execution)
    network = replace(network, layers=block_layers(network, source.layers))
    if entry.condition:
        network = network.given(1000)
    size, encode = encoder_of(entry, device)
    order = stream(seed, "split").permutation(len(files))
    cut = source.test or len(files) // 5
    # images that are neither fitted nor read are not opened
    order = order[: None if source.fit is None else cut + source.fit]
    pixels, kept = load_images([files[row] for row in order], size)
    x, y = encode(pixels), labels[order[kept]]
    rows = np.arange(len(x))
    test, fit = rows[:cut], rows[cut:]
    some = np.intersect1d(y[fit], y[test])
    if cut < 1 or len(some) < 2:
        raise InvalidParameter(
            f"images = {source.images} give {len(fit)} images to fit and {len(test)} to test with "
            f"{len(some)} classes in both; a probe needs two classes with several images each"
        )
    test, fit = (rows[np.isin(y[rows], some)] for rows in (test, fit))
    noise = cast(GaussianNoise, network.noise)
    return LabelledModels((x[fit], y[fit]), (x[test], y[test]), noise, {0: (network,)}, {})


# --- probes ---------------------------------------------------------------------------------------


class InteriorPeak(NamedTuple):
    """Accuracy at the peak minus at the lowest level, its error, and where the peak is."""

    gain: float
    error: float
    peak: float


@checked(right=unchecked, seed=natural)
def interior_peak_gain(right: ArrayLike, t: ArrayLike, seed: int = 0) -> InteriorPeak:
    """Gain of a curve over its value at the lowest level, free of selection.

    Parameters
    ----------
    right : array [network, fit, t, n]
        Whether a probe, one of several fits, was right on each datum.
    t : array [t]
        Increasing noise levels, at least two.
    seed : int
        Names the halves.

    Returns
    -------
    InteriorPeak
        The error counts data and, with two or more of them, networks and fits; the peak is that of
        all data, the lowest level included.

    Raises
    ------
    InvalidParameter
        If the shapes do not fit, or t does not increase.

    Notes
    -----
    Validity: each half decides where the other is read, so a flat curve has gain 0 in the mean.

    Examples
    --------
    >>> right = np.zeros((1, 1, 3, 100))
    >>> right[..., 0, :40] = right[..., 1, :70] = 1
    >>> interior_peak_gain(right, np.array([0.1, 0.2, 0.3]))[::2]
    (0.3, 0.2)
    """
    if isinstance(right, np.ndarray) and right.dtype == bool:
        right = right.astype(float)
    right = reals("right", right, 0, 1, ndim=4)
    t = reals("t", t, shape=(right.shape[2],))
    if min(right.shape) < 1 or right.shape[3] < 4 or len(t) < 2 or (np.diff(t) <= 0).any():
        raise InvalidParameter(
            f"right has shape {right.shape} for t = {t.tolist()[:4]}; give [network, fit, t, n >= "
            "4] at two or more increasing noise levels"
        )
    order = stream(seed, "halves").permutation(right.shape[3])
    halves = np.array_split(order, 2)
    gains, variances = [], []
    single = np.zeros(right.shape[:2])  # [network, fit]
    for here, there in (halves, halves[::-1]):
        best = 1 + int(right[:, :, 1:, here].mean(axis=(0, 1, 3)).argmax())
        paired = right[:, :, best, there].astype(float) - right[:, :, 0, there]
        per_datum = paired.mean(axis=(0, 1))
        gains.append(float(per_datum.mean()))
        variances.append(float(per_datum.var(ddof=1)) / len(there) / 4)
        single += paired.mean(axis=2) / 2
    for other in (0, 1):
        values = single.mean(axis=other)
        if len(values) > 1:
            variances.append(float(student_error(values)) ** 2)
    peak = float(t[int(right.mean(axis=(0, 1, 3)).argmax())])
    error = max(float(np.sqrt(sum(variances))), 1 / right.shape[3])
    return InteriorPeak(round(float(np.mean(gains)), 12), error, peak)


def labelled_models(source: Source, seed: int, folder: Path | None, device: str) -> LabelledModels:
    """Data with classes, networks on them and references; checkpoints are kept in ``folder``."""
    if isinstance(source, StringNetworks):
        return _strings(source, seed, folder, device)
    if isinstance(source, DigitNetworks):
        return _digits(source, seed, folder, device)
    if isinstance(source, OwnProbed):
        raise InvalidParameter("features of a network of yours are read from files; run the study")
    return _photographs(source, seed, device)


def probe_layers(
    found: LabelledModels, source: Source, seed: int, parameters: Mapping[str, Any]
) -> xr.Dataset:
    """Accuracy and interior-peak gain of every layer of every model, by both probes."""
    readers: list[tuple[str, Sequence[DiffusionModel]]] = [
        (name, (model,)) for name, model in found.references.items()
    ]
    readers += [(_named(size), models) for size, models in found.networks.items()]
    rows: Rows = {}
    for name, models in Progress(readers, "probes", unit="models"):
        for layer, right in _read(found, models, source, seed).items():
            rows[name, layer] = right
    return _label(rows, source, seed, parameters)


def probe_own_layers(
    source: OwnProbed, model: Any, folder: Path | None, device: str, seed: int,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Accuracy and interior-peak gain of every layer of a network of one's own."""
    rows = probed_rows(source, model, folder, device, seed, _few_probes)
    return _label(rows, source, seed, parameters)


def _few_probes(
    fit: FeatureFile, layer: str, level: int, y_fit: Array, test: Array, y_test: Array,
    shots: int, seed: int,
) -> Array:  # fmt: skip
    """Right or wrong by probes on a few rows of a file, [fits, n]."""
    small = []
    for repeat in range(_REPEATS):
        rows = _few(y_fit, shots, stream(seed, "few", repeat))
        probe = ridge_probe(fit.read(layer, level, rows), y_fit[rows], ridge=_RIDGE)
        small.append(probe.predict(test) == y_test)
    return np.array(small)


def _read(
    data: LabelledModels, models: Sequence[DiffusionModel], source: Source, seed: int
) -> dict[str, tuple[Array, Array]]:
    """Whether each test datum is read rightly, by layer."""
    y = [half[1] for half in (data.fit, data.test)]
    found: dict[str, list[list[tuple[Array, Array]]]] = {}
    for model in models:
        one: dict[str, list[tuple[Array, Array]]] = {}
        for t in source.t:
            pair = [_features(data, model, which, t, seed) for which in (0, 1)]
            for layer in pair[0]:
                right = _probed(pair[0][layer], y[0], pair[1][layer], y[1], source.shots, seed)
                one.setdefault(layer, []).append(right)
        for layer, levels in one.items():
            found.setdefault(layer, []).append(levels)
    return {
        k: cast(tuple[Array, Array], tuple(
            np.array([[level[kind] for level in levels] for levels in x]).swapaxes(1, 2)
            for kind in (0, 1)))
        for k, x in found.items()
    }  # fmt: skip


def _features(
    data: LabelledModels, model: DiffusionModel, which: int, t: float, seed: int
) -> dict[str, Array]:
    x_t = data.noisy(which, t, seed)
    inside = model.source == "network"
    seen = x_t if inside or not data.flat else x_t.reshape(len(x_t), -1)
    layers = model.features(seen, t) if inside or not data.flat else {}
    if model.source == "simulation":
        layers = {}  # a memorising model has no layers but its output
    # of large data the layers are enough, as of a network of one's own
    large = layers and seen[0].size > LARGEST_PROBED
    every = layers if large else {**layers, "output": model.denoise(seen, t)}
    return {k: np.asarray(f).reshape(len(x_t), -1) for k, f in every.items()}


def _probed(
    fit: Array, y_fit: Array, test: Array, y_test: Array, shots: int, seed: int
) -> tuple[Array, Array]:
    """Right or wrong by a probe on all data [1, n], and by probes on a few [fits, n]."""
    every = ridge_probe(fit, y_fit, ridge=_RIDGE).predict(test) == y_test
    small = []
    for repeat in range(_REPEATS):
        rows = _few(y_fit, shots, stream(seed, "few", repeat))
        probe = ridge_probe(fit[rows], y_fit[rows], ridge=_RIDGE)
        small.append(probe.predict(test) == y_test)
    return every[None], np.array(small)


def _label(rows: Rows, source: Source, seed: int, parameters: Mapping[str, Any]) -> xr.Dataset:
    t = np.array(source.t)
    shape = (len(_KINDS), len(rows), len(t))
    mean, error = np.empty(shape), np.empty(shape)
    gain, doubt, peak = (np.empty(shape[:2]) for _ in range(3))
    for i, kinds in enumerate(rows.values()):
        for kind, right in enumerate(kinds):
            mean[kind, i], error[kind, i] = _mean(right)
            gain[kind, i], doubt[kind, i], peak[kind, i] = interior_peak_gain(right, t, seed)
    dims = ("probe", "row", "t")
    variables = results.with_error(
        "accuracy", dims, mean, error, "accuracy of a linear probe for the class"
    )
    variables |= results.with_error("gain", dims[:2], gain, doubt, "interior-peak gain")
    variables["peak_t"] = (dims[:2], peak, "noise level of the highest accuracy")
    coords: dict[str, Any] = {
        "probe": (("probe",), list(_KINDS), f"fitted on all data, or {source.shots} per class"),
        "row": (("row",), [f"{a}: {b}" for a, b in rows], "model and layer"),
        "reader": (("row",), [a for a, _ in rows], "model"),
        "layer": (("row",), [b for _, b in rows], "layer"),
        "t": (("t",), list(source.t), "noise level t of the gaussian process"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _mean(right: Array) -> tuple[Array, Array]:
    """Accuracy [t], with the error over data, networks and fits."""
    variance = right.mean(axis=(0, 1)).var(axis=1, ddof=1) / right.shape[3]
    for axis in (0, 1):
        values = right.mean(axis=(1 - axis, 3))  # [network or fit, t]
        if len(values) > 1:
            variance = variance + student_error(values) ** 2
    return right.mean(axis=(0, 1, 3)), np.sqrt(variance)


def _named(size: int) -> str:
    return f"network, N = {size}" if size else "network"


def _few(labels: Array, count: int, rng: np.random.Generator) -> Array:
    """Rows of a few data of every class."""
    order = rng.permutation(len(labels))
    parts = [order[labels[order] == k][:count] for k in np.unique(labels)]
    return np.concatenate(parts)


# --- what was found -------------------------------------------------------------------------------


def probe_summary(ds: xr.Dataset) -> Summary:
    """Gains of all rows by both probes, and how far networks of few and of many data differ."""
    values = _values(ds)
    return Summary(_table(ds), _claim(values), values)


def _values(ds: xr.Dataset) -> dict[str, Any]:
    """Gain of every row by both probes, peaks, and rank correlation with the exact curve."""
    exact = "exact: output"
    found: dict[str, Any] = {"t": ds.t.values.tolist(), "rows": {}}
    for row in map(str, ds.row.values):
        for kind in _KINDS:
            one = ds.sel(row=row, probe=kind)
            numbers = {
                "rise": [float(one.gain), float(one.gain_error)],
                "peak at": float(one.peak_t),
                "curve": one.accuracy.values.tolist(),
                "at lowest": [float(one.accuracy[0]), float(one.accuracy_error[0])],
            }
            if exact in ds.row.values:
                law = ds.sel(row=exact, probe=kind)
                ranks = stats.spearmanr(one.accuracy.values, law.accuracy.values)
                numbers["rank correlation"] = float(ranks.statistic)
                numbers["exact peak at"] = float(law.peak_t)
            found["rows"].setdefault(row, {})[kind] = numbers
    for name, what in (("apart", "rise"), ("apart at lowest", "at lowest")):
        found[name] = {kind: _apart(found["rows"], kind, what) for kind in _KINDS}
    return found


def _apart(rows: dict[str, Any], kind: str, what: str) -> list[Any]:
    """The layer in which the first network and the last differ most, and by how much."""
    networks = [k for k in rows if k.startswith("network")]
    readers = list(dict.fromkeys(k.split(": ")[0] for k in networks))
    best: list[Any] = []
    for name in networks:
        reader, layer = name.split(": ")
        first = f"{readers[0]}: {layer}"
        if reader != readers[-1] or reader == readers[0] or first not in rows:
            continue
        (a, da), (b, db) = rows[name][kind][what], rows[first][kind][what]
        one = [a - b, float(np.hypot(da, db)), layer]
        if not best or abs(one[0]) / one[1] > abs(best[0]) / best[1]:
            best = one
    return best


def _table(ds: xr.Dataset) -> str:
    """Accuracy of every row at every level, and its interior-peak gain, by both probes."""
    parts = []
    for kind in ds.probe.values:
        rows = []
        for name in ds.row.values:
            one = ds.sel(row=name, probe=kind)
            gain = f"{float(one.gain):+.3f} ± {float(one.gain_error):.3f}"
            rows.append([name, gain, f"{float(one.peak_t):g}",
                         *(f"{a:.3f}" for a in one.accuracy.values)])  # fmt: skip
        title = f"probe on {kind} data" if kind == "all" else f"probe on a {kind}"
        header = [title, "gain", "peak at", *(f"t = {t:g}" for t in ds.t.values)]
        parts.append(text_table(header, rows))
    return "\n\n".join(parts)


def _claim(values: dict[str, Any]) -> str:
    """In how many layers of each model the small probe gains, at more than three errors."""
    rows = {k: x["few"] for k, x in values["rows"].items()}
    words = []
    for reader in dict.fromkeys(k.split(": ")[0] for k in rows):
        mine = [x for k, x in rows.items() if k.startswith(f"{reader}: ")]
        risen = sum(x["rise"][0] > 3 * x["rise"][1] for x in mine)
        words.append(f"{risen} of {len(mine)} ({reader})")
    text = f"a probe on few data rises before it falls in {', '.join(words)} layers"
    if values["apart"]["few"]:
        gap, error, layer = values["apart"]["few"]
        text += f", and networks of few and of many data differ most in {layer}, by "
        text += f"{gap:+.3f} ± {error:.3f}"
    return text


# --- figure ---------------------------------------------------------------------------------------


@checked
def layer_probe_figure(ds: xr.Dataset) -> Figure:
    """Accuracy of linear probes against noise, a panel per model, a row per probe.

    Parameters
    ----------
    ds : xarray.Dataset
        As ``NetworkRepresentation`` measures for strings, digits and photographs: ``accuracy``
        [probe, row, t] with the coordinates ``reader`` and ``layer`` of the rows.

    Returns
    -------
    matplotlib Figure
    """
    rows = ("probe", "row", "t")
    needs(ds, {"accuracy": rows, "accuracy_error": rows, "reader": ("row",), "layer": ("row",)},
          "NetworkRepresentation")  # fmt: skip
    readers = list(dict.fromkeys(str(x) for x in ds.reader.values))
    alone = [r for r in readers if int((ds.reader == r).sum()) == 1]
    panels = [r for r in readers if r not in alone]
    if not panels:
        raise InvalidParameter("every reader has one row; a panel needs a model of several layers")
    kinds = [str(x) for x in ds.probe.values]
    figure, axes = plt.subplots(
        len(kinds), len(panels), figsize=(4.2 * len(panels), 3.1 * len(kinds)), squeeze=False,
        layout="constrained", sharex=True, sharey="row",
    )  # fmt: skip
    for row, kind in zip(axes, kinds, strict=True):
        for ax, reader in zip(row, panels, strict=True):
            chosen = ds.sel(probe=kind).isel(row=np.flatnonzero(ds.reader.values == reader))
            colours = level_colours(chosen.sizes["row"])
            for k, colour in enumerate(colours):
                one = chosen.isel(row=k)
                ax.errorbar(one.t, one.accuracy, one.accuracy_error, color=colour, marker="o",
                            ms=3, mfc="none", lw=0.8, label=str(one.layer.values))  # fmt: skip
            for name, style in zip(alone, (":", "--", "-."), strict=False):
                one = ds.sel(probe=kind).isel(row=int(np.argmax(ds.reader.values == name)))
                ax.plot(one.t, one.accuracy, color="0.4", ls=style, lw=1, label=name)
            law = ds.sel(probe=kind).isel(row=ds.row.values == "exact: output")
            if reader != "exact" and "exact" in panels:
                ax.plot(ds.t, law.accuracy.values[0], "k-", lw=0.8, label="exact: output")
            ax.set(xscale="log")
            letter = chr(97 + list(axes.flat).index(ax))
            panel(ax, letter, f"{reader}, probe on {kind} labels")
            ax.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("accuracy of a linear probe")
    for ax in axes[-1]:
        ax.set_xlabel(str(ds.t.attrs.get("long_name", "noise level t")))
    # rows have the same models, so the last one shows what all curves are
    for ax in axes[-1]:
        legend(ax)
    return figure
