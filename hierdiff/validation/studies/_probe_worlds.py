"""Data with classes, networks that have learned them, and exact or memorising models beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from hierdiff.contracts import DiffusionModel
from hierdiff.data.digits import digits
from hierdiff.data.image_folder import ImageFolder, load_images
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.sims.empirical_model import EmpiricalModel
from hierdiff.theory import ExactRHM
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.validation.execution import Execution
from hierdiff.validation.layers import Pooling
from hierdiff.validation.pretrained.catalogue import checkpoint
from hierdiff.validation.pretrained.loading import pretrained
from hierdiff.validation.pretrained.vae import encoder_of
from hierdiff.validation.recipes import train_image_network, train_tree_unet
from hierdiff.validation.studies._flags import NetworkFlags
from hierdiff.validation.things import block_layers
from hierdiff.validation.training import Plan

__all__ = ["ProbeFlags", "World", "digit_world", "mixture_of_classes", "photographs", "rhm_world"]

Array: TypeAlias = NDArray[Any]

_DIGIT_LAYERS = (
    "input_blocks.1", "input_blocks.3", "middle_block", "output_blocks.0", "output_blocks.1",
    "output_blocks.3",
)  # fmt: skip


class ProbeFlags(NetworkFlags, Protocol):
    """What a world is built from; the flags of the study."""

    @property
    def layers(self) -> tuple[str, ...]: ...
    @property
    def v(self) -> int: ...
    @property
    def m(self) -> int: ...
    @property
    def s(self) -> int: ...
    @property
    def L(self) -> int: ...
    @property
    def n_train(self) -> tuple[int, ...] | None: ...
    @property
    def networks(self) -> int | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def test(self) -> int | None: ...


@dataclass(frozen=True)
class World:
    """Data to read classes from, and who reads.

    Attributes
    ----------
    fit, test
        Clean data and classes: probes are fitted on the first, and read on the second.
    noise
        Of all models.
    networks
        By size of the training set; 0 is fresh data, or all there are.
    beside
        Exact and memorising models by name.
    flat
        Whether those take data as [n, D].
    """

    fit: tuple[Array, Array]
    test: tuple[Array, Array]
    noise: GaussianNoise
    networks: Mapping[int, tuple[DiffusionModel, ...]]
    beside: Mapping[str, DiffusionModel]
    flat: bool = False

    def noisy(self, which: int, t: float, seed: int) -> Array:
        """Data of the fit (0) or the test (1) at level t, with the same noise at every level."""
        clean = (self.fit, self.test)[which][0]
        rng = stream(seed, "probe noise", which)
        if self.noise.v:
            return self.noise.corrupt(clean, t, rng)
        eps = rng.standard_normal(clean.shape, dtype=np.float32)
        return self.noise.corrupt_with(clean, t, eps).astype(np.float32)


def rhm_world(flags: ProbeFlags, folder: Path) -> World:
    """Strings of a random grammar; exact beliefs and the training set's own denoiser beside."""
    grammar = RHM(flags.v, flags.m, flags.s, flags.L).draw(stream(flags.seed, "grammar"))
    noise = GaussianNoise(flags.v, schedule="linear")
    n = flags.test or 2000
    sets = [grammar.sample(n, stream(flags.seed, name)) for name in ("probe fit", "probe test")]
    steps = flags.steps or 1200
    plan = Plan(steps=steps, every=steps, warmup=min(100, steps), device=flags.device)
    networks, beside = {}, {"exact": cast(DiffusionModel, ExactRHM(grammar, noise))}
    for size in flags.n_train or (256, 0):
        made = []
        for k in range(flags.networks or 2):
            rng = stream(flags.seed, "training set", size, k)
            data = grammar.sample(size, rng).leaves if size else None
            key = f"probe-rhm-{flags.v}-{flags.m}-{flags.s}-{flags.L}-{size}-{flags.seed}-{k}"
            model, _ = train_tree_unet(
                grammar, noise, plan, width=48, batch=128, data=data, seed=flags.seed + 1000 * k,
                folder=folder / key,
            )  # fmt: skip
            made.append(cast(DiffusionModel, model))
            if size and not k:
                beside[f"memorising, N = {size}"] = EmpiricalModel(cast(Array, data), noise)
        networks[size] = tuple(made)
    fit, test = ((x.leaves, x.levels[0][:, 0]) for x in sets)
    return World(fit, test, noise, networks, beside)


def mixture_of_classes(x: Array, labels: Array, rank: int) -> LowRankMixture:
    """The low-rank mixture of labelled data [n, D]: mean and leading directions of every class.

    What is left of a class outside its ``rank`` directions becomes one residual variance for all,
    as in probabilistic principal components with a shared residual.
    """
    classes = int(labels.max()) + 1
    dim = x.shape[1]
    bases, variances, means, left = [], [], [], []
    for k in range(classes):
        mine = x[labels == k].astype(float)
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


def digit_world(flags: ProbeFlags, folder: Path) -> World:
    """8 x 8 digits; the low-rank mixture of their classes and memorising denoisers beside."""
    training, test = digits("train", seed=flags.seed), digits("test", seed=flags.seed)
    steps = flags.steps or 700
    plan = Plan(steps=steps, every=steps, warmup=min(50, steps), rate=2e-3, average=0.995,
                device=flags.device)  # fmt: skip
    layers: dict[str, Pooling] = dict.fromkeys(flags.layers or _DIGIT_LAYERS, "space")
    noise = GaussianNoise(schedule="linear")
    vectors = training.images.reshape(len(training), -1)
    mixture = mixture_of_classes(vectors, training.labels, 12)
    networks: dict[int, tuple[DiffusionModel, ...]] = {}
    beside: dict[str, DiffusionModel] = {"exact": ExactMixture(mixture, noise)}
    for size in flags.n_train or (64, 0):
        made = []
        for k in range(flags.networks or 1):
            order = stream(flags.seed, "training set", k).permutation(len(training))
            rows = order[: size or len(training)]
            model, _ = train_image_network(
                training[rows], plan, batch=64, seed=flags.seed + 1000 * k,
                folder=folder / f"probe-digits-{size}-{flags.seed}-{k}",
            )  # fmt: skip
            made.append(cast(DiffusionModel, replace(model, layers=layers)))
            if size and not k:
                beside[f"memorising, N = {size}"] = EmpiricalModel(vectors[rows], noise)
        networks[size] = tuple(made)
    take = slice(flags.test)
    return World(
        (training.images, training.labels), (test.images[take], test.labels[take]), noise,
        networks, beside, flat=True,
    )  # fmt: skip


def photographs(flags: ProbeFlags, _: Path) -> World:
    """Images in a folder per class, and a published network, told no class."""
    entry = checkpoint(flags.model)
    if entry.condition and "for none" not in entry.condition:
        raise InvalidParameter(
            f"{flags.model} must be told {entry.condition}; take a network that can do without"
        )
    chosen = ImageFolder.of(cast(Path, flags.images))
    if chosen.labels is None or len(chosen.names) < 2:
        raise InvalidParameter(
            f"images = {flags.images} has {len(chosen.names)} folders of a class each; a probe "
            "needs two or more, and no images beside them"
        )
    print(chosen.summary)
    files, labels = chosen.files, np.array(chosen.labels)
    execution = Execution(device=flags.device, batch_size=8)
    network = pretrained(flags.model, accept_licence=flags.accept_licence, execution=execution)
    network = replace(network, layers=block_layers(network, flags.layers))
    if entry.condition:
        network = network.conditioned(1000)
    size, encode = encoder_of(entry, flags.device)
    pixels, kept = load_images(files, size)
    x, y = encode(pixels), labels[kept]
    order = stream(flags.seed, "split").permutation(len(x))
    cut = flags.test or len(x) // 5
    test, fit = order[:cut], order[cut:]
    some = np.intersect1d(y[fit], y[test])
    if cut < 1 or len(some) < 2:
        raise InvalidParameter(
            f"images = {flags.images} give {len(fit)} images to fit and {len(test)} to test with "
            f"{len(some)} classes in both; a probe needs two classes with several images each"
        )
    test, fit = (rows[np.isin(y[rows], some)] for rows in (test, fit))
    noise = cast(GaussianNoise, network.noise)
    return World((x[fit], y[fit]), (x[test], y[test]), noise, {0: (network,)}, {})
