r"""Zero-shot classification by networks: the experiment of the exact denoisers, on trained ones.

==============  =================================================================================
source          what is classified
==============  =================================================================================
``rhm``         RHM with Gaussian emissions by a network trained on its grammar; with the exact
                denoiser on the same samples and Bayes' ceiling
``digits``      8 x 8 digits that the network was not trained on; with a linear and a
                convolutional classifier trained on the same images
``fashion``     photographs of clothing (Fashion-MNIST), the same
``conflict``    rendered grammars with the shape of one class and the texture of another, beside
                the exact optimum (:mod:`hierdiff.validation.experiments.conflict_networks`)
``composed``    photographs of clothing: the silhouette of one filled with another
``binding``     rendered scenes of two objects under captions, beside dual encoders
                (:mod:`hierdiff.validation.experiments.binding_networks`)
``own``         images of a set or a folder by a conditional network of yours, by the published grid
``catalogue``   folders of images by a published network, by the published grid of times with fixed
                noise (:mod:`hierdiff.validation.experiments.image_folders`)
==============  =================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from tyro.conf import subcommand

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    Rule,
    check_fields,
    checked,
    count,
    instance,
    listed,
    natural,
    no_model,
    number,
    unchecked,
    whole,
)
from hierdiff.contracts import Run, Summary
from hierdiff.data.digits import LabelledImages
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import FONT, GUIDE, PALETTE, Axes, Figure, legend, needs, panel, plt
from hierdiff.seeds import generator, stream
from hierdiff.sims.classification_figures import accuracy_table, current_names
from hierdiff.sims.metrics.denoising_error import tie_split_accuracy
from hierdiff.sims.zero_shot_classification import Classification, draw_classes
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.theory.zero_shot.weightings import snr_at
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.experiments import (
    architecture_rule,
    checkpoint_suffix,
    clear_checkpoints,
    folder_stem,
    image_folders,
    source_arguments,
    trained_images,
    training_sizes,
)
from hierdiff.validation.experiments.binding_networks import (
    BindingNetworks,
    binding_figure,
    binding_summary,
    measure_binding,
)
from hierdiff.validation.experiments.conflict_networks import (
    ConflictNetworks,
    conflict_figure,
    conflict_summary,
    measure_conflict,
)
from hierdiff.validation.experiments.own_images import (
    OwnClassified,
    classify_own,
    even_rows,
)
from hierdiff.validation.experiments.silhouettes import ComposedPhotographs
from hierdiff.validation.gaussian_rhm import GaussianRHMNetwork
from hierdiff.validation.recipes import train_image_network, train_symbol_network
from hierdiff.validation.training import TrainConfig, train

__all__ = [
    "DigitNetwork",
    "FashionNetwork",
    "NetworkClassification",
    "PublishedNetwork",
    "TreeNetwork",
    "network_classification_figure",
]

Array: TypeAlias = NDArray[Any]

_REPEATS = 4  # single samples per datum and time
_CONV_STEPS = 400  # training steps of the convolutional classifier: its accuracy has settled
_LINEAR = 4000  # images on which the linear classifier is fitted at most
_MAKER = "NetworkClassification"
_COUNT = partial(whole, low=1, high=10**9)  # no more of anything that is counted


def _stages(name: str, value: Any) -> tuple[int, ...] | None:
    return None if value is None else listed(name, value, count, distinct=False)


_COUNTS = partial(listed, rule=_COUNT, distinct=False)
_SCORING: dict[str, Rule] = {
    "data": _COUNT, "budgets": _COUNTS, "independent_budgets": _COUNTS, "keep": _COUNTS,
    "times": partial(listed, rule=number), "stages": _stages, "steps": _COUNT,
    "label_share": partial(number, above=0, high=1),  # without labels there is no condition
}  # fmt: skip
"""Rules of the fields that sources share."""


# Sources: which network on which data


@dataclass(frozen=True)
class TreeNetwork:
    """A network trained here on a random grammar, for its Gaussian emissions."""

    v: int = 8
    """Symbols per level, and classes."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 3
    """Depth of the hierarchy."""
    tau: float = 0.42
    """Standard deviation of the Gaussian emissions."""
    steps: int = 8000
    """Training steps."""
    width: int = 48
    """Features per node of the network."""
    label_share: float = 0.9
    """Share of the training data on which the network is conditioned on the class."""
    data: int = 400
    """Data to classify."""
    budgets: tuple[int, ...] = (1, 3, 10, 30, 100)
    """Samples per datum, noise shared by the classes."""
    independent_budgets: tuple[int, ...] = (1, 10)
    """Samples per datum and class, with independent noise for every class."""
    times: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
    """Times at which a single sample is tried."""
    keep: tuple[int, ...] = (3, 1)
    """Classes kept after each stage of the staged elimination."""
    stages: tuple[int, ...] | None = None
    """Samples at the end of each stage, cumulative; default the last two budgets."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for grammars."""

    def __post_init__(self) -> None:
        check_fields(
            self, width=_COUNT, architecture=architecture_rule(Grammar), **_SCORING
        )  # fmt: skip
        _classification(self, 0, self.size)

    @property
    def size(self) -> dict[str, Any]:
        """Parameters of the grammar and its emissions."""
        return {k: getattr(self, k) for k in ("v", "m", "s", "L", "tau")}


@dataclass(frozen=True)
class DigitNetwork:
    """A conditional U-Net trained here on 8 x 8 digits."""

    steps: int = 800
    """Training steps."""
    label_share: float = 0.9
    """Share of the training data on which the network is conditioned on the class."""
    data: int = 150
    """Data to classify."""
    budgets: tuple[int, ...] = (1, 3, 10, 25, 50)
    """Samples per datum, noise shared by the classes."""
    independent_budgets: tuple[int, ...] = (1, 10)
    """Samples per datum and class, with independent noise for every class."""
    times: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
    """Times at which a single sample is tried."""
    keep: tuple[int, ...] = (3, 1)
    """Classes kept after each stage of the staged elimination."""
    stages: tuple[int, ...] | None = None
    """Samples at the end of each stage, cumulative; default the last two budgets."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for images."""

    def __post_init__(self) -> None:
        check_fields(self, architecture=architecture_rule(LabelledImages), **_SCORING)
        _classification(self, 0, _DIGITS)


@dataclass(frozen=True)
class FashionNetwork(DigitNetwork):
    """A conditional U-Net trained here on photographs of clothing (Fashion-MNIST)."""

    size: Literal[14, 28] = 14
    """Pixels of a side; 14 are means over 2 x 2 pixels."""
    channels: int = 32
    """Width of the network at full size."""
    multipliers: tuple[int, ...] = (1, 2)
    """Width at each resolution over that."""
    batch: int = 64
    """Images per training step."""
    steps: int = 2000
    """Training steps."""

    def __post_init__(self) -> None:
        DigitNetwork.__post_init__(self)
        check_fields(self, channels=_COUNT, batch=_COUNT, multipliers=_COUNTS,
                     architecture=unchecked, **_SCORING)  # fmt: skip


@dataclass(frozen=True)
class PublishedNetwork:
    """A conditional network of ``hierdiff models`` on a folder of images."""

    name: str = "dit-xl-2-256"
    """Name of the network."""
    images: Path | None = None
    """Folder of images, one folder per class."""
    conflicts: bool = False
    """The images have conflicting cues (shapeN-textureM.png), in 16 categories of ImageNet."""
    categories: Path | None = None
    """JSON of the 16 categories' class numbers, for other classes than ImageNet's."""
    low_pass: int = 1
    """Average the images over squares of so many pixels on a side first: shape without texture."""
    accept_licence: bool = False
    """Accept the terms of the checkpoint."""
    data: int | None = None
    """Images to classify; default all."""
    keep: tuple[int, ...] = (3, 1)
    """Classes kept after each stage, where stages are given."""
    stages: tuple[int, ...] | None = None
    """Samples at the end of each stage, cumulative; default one stage of the whole grid."""

    def __post_init__(self) -> None:
        check_fields(self, low_pass=_COUNT, keep=_COUNTS, stages=_stages)
        if self.data is not None:
            _COUNT("data", self.data)
        image_folders.conditional_checkpoint(self.name)
        if self.images is None:
            raise InvalidParameter(
                f"network {self.name} needs images; give --images DIR, or use rhm or digits"
            )


_DIGITS = {"v": 10, "m": 1, "s": 1, "L": 1}  # ten classes


def _classification(
    source: TreeNetwork | DigitNetwork, seed: int, size: dict[str, Any]
) -> Classification:
    """The experiment that a network of the source is put to."""
    budgets, keep = source.budgets, source.keep
    return Classification(
        **size, data=source.data, budgets=budgets, times=source.times,
        independent_budgets=source.independent_budgets, repeats=_REPEATS,
        buckets=min(10, budgets[-1]), min_scores=max(2, min(20, budgets[-1])), keep=keep,
        stages=source.stages or budgets[-len(keep) :], seed=seed, grammars=2,
    )  # fmt: skip


_CUES = (ConflictNetworks, ComposedPhotographs, BindingNetworks)

Source: TypeAlias = (
    Annotated[TreeNetwork, subcommand("rhm", prefix_name=False)]
    | Annotated[DigitNetwork, subcommand("digits", prefix_name=False)]
    | Annotated[FashionNetwork, subcommand("fashion", prefix_name=False)]
    | Annotated[ConflictNetworks, subcommand("conflict", prefix_name=False)]
    | Annotated[ComposedPhotographs, subcommand("composed", prefix_name=False)]
    | Annotated[BindingNetworks, subcommand("binding", prefix_name=False)]
    | Annotated[OwnClassified, subcommand("own", prefix_name=False)]
    | Annotated[PublishedNetwork, subcommand("catalogue", prefix_name=False)]
)
"""The network and the data, a subcommand of the command line."""


@dataclass(frozen=True)
class NetworkClassification:
    """Zero-shot classification by the denoising errors of a conditional network.

    Trains a network here (``rhm``, ``digits``) or takes a published one (``catalogue``), and scores
    every class with the same noise.

    Notes
    -----
    Validity: errors are over data; the network is one.  The measurement is that of
    :class:`hierdiff.sims.zero_shot_classification.Classification` with the network as model, except
    for the catalogue, where the protocol is the published one.
    """

    name: ClassVar[str] = "network_classification"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("network_classification", "network_classification_exact")
    sources: ClassVar[Mapping[str, type]] = {
        "rhm": TreeNetwork, "digits": DigitNetwork, "fashion": FashionNetwork,
        "conflict": ConflictNetworks, "composed": ComposedPhotographs, "binding": BindingNetworks,
        "own": OwnClassified, "catalogue": PublishedNetwork,
    }  # fmt: skip
    renamed: ClassVar[Mapping[str, str]] = {
        "levels": "times", "own_budgets": "independent_budgets",
    }  # fmt: skip

    source: Source = field(default_factory=TreeNetwork)
    """Which network on which data."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(self, source=unchecked, seed=natural)
        instance("source", self.source, tuple(self.sources.values()))

    @classmethod
    def arguments(cls, words: Sequence[str]) -> list[str]:
        """The command line in the order of the parser; ``--model NAME`` is the old spelling."""
        return source_arguments(cls.sources, words)

    @property
    def experiment(self) -> Classification:
        """The experiment that the network is put to."""
        s = self.source
        if isinstance(s, (PublishedNetwork, OwnClassified)):
            raise InvalidParameter(
                "images of a folder are scored by the published protocol; rhm, digits and fashion "
                "by Classification"
            )
        if isinstance(s, _CUES):
            raise InvalidParameter(
                "conflicts and binding are put by measures of their own; rhm, digits and fashion "
                "by Classification"
            )
        return _classification(s, self.seed, s.size if isinstance(s, TreeNetwork) else _DIGITS)

    @results.tracked
    @checked
    def predict(self, law: str = "limit") -> xr.Dataset:
        """The limit laws on random grammars of the same sizes, for ``rhm`` alone.

        Parameters
        ----------
        law : {"limit", "bayes"}
            As in :meth:`hierdiff.sims.zero_shot_classification.Classification.predict`.

        Raises
        ------
        InvalidParameter
            For images, whose exact denoiser nobody has.
        """
        if not isinstance(self.source, TreeNetwork):
            raise InvalidParameter("images have no exact denoiser, so no law predicts; use rhm")
        return self.experiment.predict(law)

    @results.tracked
    @checked(model=unchecked, data=unchecked)
    def measure(
        self,
        model: Any = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Classify data by a network; the default is trained here, or comes from the catalogue.

        Parameters
        ----------
        model : DiffusionModel, optional
            With ``given(label)``.
        data : (array [n, ...], int array [n]), optional
            As in :meth:`hierdiff.sims.zero_shot_classification.Classification.measure`.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`; a network is one task.

        Returns
        -------
        xarray.Dataset
            As :meth:`hierdiff.sims.zero_shot_classification.Classification.measure`; for the
            catalogue scores (image, class), accuracy or the two cues.
        """
        if isinstance(self.source, PublishedNetwork):
            if model is not None or data is not None:
                raise InvalidParameter("model is given; choose rhm or digits to score it")
            return self._published(None if folder is None else Path(folder), "cpu")
        if isinstance(self.source, OwnClassified):
            return self._own(model, None if folder is None else Path(folder), "cpu")
        if isinstance(self.source, _CUES):
            return self._cues(model, data, None if folder is None else Path(folder), "cpu")
        if model is None:
            model, data = self.trained()
        elif data is None:
            model, data = self._given(model)
        return self._scored(model, data, folder)

    def datasets(self, run: Run, model: Any = None, data: Any = None) -> dict[str, xr.Dataset]:
        """The network's results, and for ``rhm`` the exact denoiser's on the same samples."""
        if not run.resume:
            clear_checkpoints(run.folder, "classification-*", "conflict-*/*", "binding-*/*")
        folder = run.tasks(self.name)["folder"]
        if isinstance(self.source, PublishedNetwork):
            return {self.name: self._published(folder, run.device)}
        if isinstance(self.source, OwnClassified):
            return {self.name: self._own(model, folder, run.device)}
        if isinstance(self.source, _CUES):
            return {self.name: self._cues(model, data, run.folder, run.device)}
        if model is None:
            model, data = self.trained(run.folder, run.device)
        elif data is None:
            model, data = self._given(model)
        network = self._scored(model, data, folder)
        if isinstance(self.source, DigitNetwork):
            network = network.assign(self._references(data))
        found = {self.name: network}
        if isinstance(model, GaussianRHMNetwork):
            exact = self._scored(model.data, data, folder)
            found[f"{self.name}_exact"] = exact.assign(
                _information(model.data, data[0], data[1], self.experiment.times, self.seed)
            )
        return found

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Accuracy against budget, weight and noise level, and the calls that it takes."""
        return network_classification_figure(*datasets.values())

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Accuracy of the network, with the exact denoiser's or that of trained classifiers."""
        network, *exact = datasets.values()
        if isinstance(self.source, (PublishedNetwork, OwnClassified)):
            return image_folders.summary(network)
        if isinstance(self.source, _CUES):
            binds = isinstance(self.source, BindingNetworks)
            return (binding_summary if binds else conflict_summary)(network)
        values = _values(network)
        if exact:
            values |= _paired(network, exact[0])
        if "conv" in network:
            values |= _beside_references(network)
        table = accuracy_table(exact[0] if exact else None, network)
        claim = _claim_rhm(values) if exact else _claim_digits(values)
        return Summary(f"{table}\n\n{_quantities(values)}", claim, values)

    def trained(self, folder: Path | None = None, device: str = "cpu") -> tuple[Any, Any]:
        """The network of the source, trained here, and the data that it classifies.

        Parameters
        ----------
        folder : Path, optional
            Where the checkpoint is kept, and found by a second run.
        device : str
        """
        s, e = self.source, self.experiment
        if isinstance(s, TreeNetwork):
            data, x0, labels, _ = draw_classes(e, 0)
            network, _ = train_symbol_network(
                data.grammar, GaussianNoise(s.v), _plan(s.steps, device), width=s.width, batch=128,
                focus=(0.2, 0.8), label_share=s.label_share, seed=self.seed,
                network=s.architecture,
                folder=self._checkpoint(folder, "v", "m", "s", "L", "width", "label_share"),
            )  # fmt: skip
            return GaussianRHMNetwork(network, data), (x0, labels)
        training, rest = (trained_images(s, k, self.seed) for k in ("train", "test"))
        test = rest[even_rows(rest.labels)[: e.data]]
        model, _ = train_image_network(
            training, _plan(cast(DigitNetwork, s).steps, device),
            label_share=cast(DigitNetwork, s).label_share, seed=self.seed,
            network=cast(DigitNetwork, s).architecture,
            folder=self._checkpoint(folder, "label_share"),
            **cast(Any, {"batch": 64, **training_sizes(s)}),
        )  # fmt: skip
        return model, (test.images.astype(float), test.labels)

    def _given(self, model: Any) -> tuple[Any, Any]:
        """A model of one's own, and the data of the source for it."""
        s, e = self.source, self.experiment
        if isinstance(s, TreeNetwork):
            data, x0, labels, _ = draw_classes(e, 0)
            if isinstance(model, NetworkModel):
                model = GaussianRHMNetwork(model, data)
            return model, (x0, labels)
        rest = trained_images(s, "test", self.seed)
        test = rest[even_rows(rest.labels)[: e.data]]
        return model, (test.images.astype(float), test.labels)

    def _checkpoint(self, folder: Path | None, *names: str) -> Path | None:
        """Folder of the checkpoint: no other network's."""
        if folder is None:
            return None
        kind = {kind: name for name, kind in self.sources.items()}[type(self.source)]
        fields = [f"{name}{getattr(self.source, name)}" for name in names]
        data = Grammar if isinstance(self.source, TreeNetwork) else LabelledImages
        suffix = checkpoint_suffix(data, getattr(self.source, "architecture", None))
        kind = folder_stem(self.source) if kind == "fashion" else kind
        return folder / ("-".join(["classification", kind, *fields, f"seed{self.seed}"]) + suffix)

    def _scored(self, model: Any, data: Any, folder: Any) -> xr.Dataset:
        """The experiment on one model, with the parameters of the network."""
        ds = self.experiment.measure(model, data, folder=folder, workers=1)
        also = {"classes": getattr(model, "n_classes", len(np.unique(data[1]))),
                "data": len(data[0]), "model": type(model).__name__}  # fmt: skip
        return ds.assign_attrs(results.provenance({**asdict(self), **also}))

    def _references(self, data: Any) -> dict[str, Any]:
        """Two classifiers trained on the images that the network was trained on."""
        training, (x0, labels) = trained_images(self.source, "train", self.seed), data
        test = LabelledImages(x0.astype(np.float32), labels)
        found: dict[str, Any] = {}
        for name, right in (
            ("linear", _linear_accuracy(training, test)),
            ("conv", _conv_accuracy(training, test, _CONV_STEPS, self.seed)),
        ):
            text, error = f"accuracy, {name} classifier", right.std(ddof=1) / np.sqrt(len(right))
            found[name] = ((), right.mean(), {"long_name": text})
            found[f"{name}_error"] = ((), error, {"long_name": "standard error"})
            found[f"{name}_by_datum"] = (("datum",), right, {"long_name": text})
        return found

    def _own(self, model: Any, folder: Path | None, device: str) -> xr.Dataset:
        one = cast(OwnClassified, self.source)
        return classify_own(one, model, folder, device, self.seed, asdict(self))

    def _cues(self, model: Any, data: Any, folder: Path | None, device: str) -> xr.Dataset:
        no_model(
            self.name,
            model,
            data,
            "conflicts and binding need networks trained on the "
            "images in which cues agree; use rhm, digits or fashion for a model of yours",
        )
        if isinstance(self.source, BindingNetworks):
            return measure_binding(self.source, self.seed, folder, device, asdict(self))
        one = cast(ConflictNetworks | ComposedPhotographs, self.source)
        return measure_conflict(one, self.seed, folder, device, asdict(self))

    def _published(self, folder: Path | None, device: str) -> xr.Dataset:
        s = cast(PublishedNetwork, self.source)
        return image_folders.classify_folder(
            s.name, cast(Path, s.images), folder, conflicts=s.conflicts, categories=s.categories,
            low_pass=s.low_pass, accept_licence=s.accept_licence, device=device, limit=s.data,
            keep=s.keep if s.stages else (1,), stages=s.stages, parameters=asdict(self),
        )  # fmt: skip


def _plan(steps: int, device: str) -> TrainConfig:
    return TrainConfig(steps=steps, warmup=min(100, steps), every=max(min(500, steps // 4), 1),
                device=device)  # fmt: skip


# Classifiers trained on the same images


def _linear_accuracy(train_set: LabelledImages, test: LabelledImages) -> Array:
    """Whether a logistic regression on the pixels is right, [n]."""
    from hierdiff.sims.metrics.probes import linear_probe

    # more images change the accuracy by less than its error, and the fit takes minutes
    some = train_set[even_rows(train_set.labels)[:_LINEAR]] if len(train_set) > _LINEAR else (
        train_set
    )  # fmt: skip
    flat = [x.images.reshape(len(x), -1).astype(float) for x in (some, test)]
    # answers do not change any more at a gradient a hundred times the default
    fitted = linear_probe(flat[0], some.labels, tolerance=1e-4 if len(some) == _LINEAR else 1e-6)
    return np.asarray(fitted.predict(flat[1]) == test.labels, float)


def _conv_accuracy(train_set: LabelledImages, test: LabelledImages, steps: int, seed: int) -> Array:
    """Whether a small convolutional classifier, trained on the same images, is right, [n]."""
    classes, channels = int(train_set.labels.max()) + 1, train_set.images.shape[1]
    torch.manual_seed(int(stream(seed, "conv weights").integers(2**31)))
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 32, 3, padding=1),
        nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.LazyLinear(classes),
    )  # fmt: skip
    network(torch.from_numpy(train_set.images[:1]))  # the last layer learns its size

    def loss(module: nn.Module, step: int) -> Tensor:
        rows = generator(stream(seed, "conv", step)).integers(len(train_set), size=64)
        logits = module(torch.from_numpy(train_set.images[rows]))
        return nn.functional.cross_entropy(logits, torch.from_numpy(train_set.labels[rows]))

    plan = TrainConfig(steps=steps, rate=3e-3, warmup=max(steps // 10, 1), average=0.9, every=steps)
    done = train(network, loss, plan, name="conv classifier")
    with torch.no_grad():
        answer = done.network(torch.from_numpy(test.images)).argmax(dim=1).numpy()
    return np.asarray(answer == test.labels, float)


def _information(
    data: GaussianRHM, x0: Array, labels: Array, times: tuple[float, ...], seed: int
) -> dict[str, Any]:
    """Accuracy of the exact posterior of the class given one noisy datum, per time."""
    hits = []
    for i, t in enumerate(times):
        noise = np.random.default_rng([seed, 7, i]).standard_normal((_REPEATS, *x0.shape))
        snr = np.full(len(x0), float(snr_at(t)))
        odds = [-data.noisy_log_odds(x0, eps, snr) for eps in noise]
        hits.append(np.mean([tie_split_accuracy(o, labels) for o in odds], axis=0))
    values = np.array(hits)
    text = "accuracy of the exact posterior p(c | x_t)"
    error = values.std(axis=1, ddof=1) / np.sqrt(len(x0))
    return {
        "information": (("t",), values.mean(axis=1), {"long_name": text}),
        "information_error": (("t",), error, {"long_name": f"standard error of: {text}"}),
    }


# Summary


def _mean(values: Array) -> list[float]:
    """Mean and standard error over data."""
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))]


def _last(ds: xr.Dataset, weight: str) -> Array:
    """Accuracy of every datum [n] at the largest budget."""
    found: Array = ds.accuracy_by_datum.sel(weighting=weight).isel(budget=-1).values.copy()
    return found


def _values(ds: xr.Dataset) -> dict[str, Any]:
    """What was found of the network, as numbers with errors."""
    found: dict[str, Any] = {
        "data": int(ds.sizes["datum"]),
        "budget": int(ds.budget[-1]),
        "accuracy": {
            str(w): [float(ds.accuracy.sel(weighting=w)[-1]),
                     float(ds.accuracy_error.sel(weighting=w)[-1])]
            for w in ds.weighting.values
        },
        "own budget": int(ds.independent_budget[-1]),
        "best time": float(ds.t[int(ds.single.values.argmax())]),
    }  # fmt: skip
    for name in ("bayes", "bayes_hit", "pruned", "pruned_calls", "calls_right", "calls_wrong",
                 "staged", "staged_calls"):  # fmt: skip
        if name in ds:
            found[name] = [float(ds[name]), float(ds[f"{name}_error"])]
    b = found["own budget"]
    for key, name, dim in (
        ("accuracy", "accuracy", "budget"), ("unshared", "independent", "independent_budget"),
    ):  # fmt: skip
        if b in ds[dim].values:
            one = ds.sel({"weighting": "exp", dim: b})
            found[f"exp at {b}, {key}"] = [float(one[name]), float(one[f"{name}_error"])]
    return found


def _paired(network: xr.Dataset, exact: xr.Dataset) -> dict[str, Any]:
    """Network minus exact denoiser and minus Bayes' answer, on the same data and samples."""
    names = [str(w) for w in network.weighting.values]
    hit = network.bayes_hit_by_datum.values
    single = (network.single_by_datum - exact.single_by_datum).values.T
    return {
        "minus exact": {w: _mean(_last(network, w) - _last(exact, w)) for w in names},
        "minus bayes": {w: _mean(_last(network, w) - hit) for w in names},
        "single minus exact": {"mean": _mean(np.ascontiguousarray(single).mean(axis=0))},
    }


def _beside_references(ds: xr.Dataset) -> dict[str, Any]:
    """The classifiers trained on the same images."""
    right = ds.conv_by_datum.values
    return {
        **{k: [float(ds[k]), float(ds[f"{k}_error"])] for k in ("linear", "conv")},
        "minus conv": {str(w): _mean(_last(ds, str(w)) - right) for w in ds.weighting.values},
    }


def _quantities(found: Mapping[str, Any]) -> str:
    """The second table: ceilings, references, and calls of the denoiser."""
    names = {
        "bayes": ("Bayes' ceiling", 3), "linear": ("linear classifier", 3),
        "conv": ("convolutional classifier", 3), "pruned": ("accuracy, t-tests", 3),
        "staged": ("accuracy, stages", 3), "calls_right": ("calls per class when right", 0),
        "calls_wrong": ("calls per class when wrong", 0),
    }  # fmt: skip
    rows = [(words, found[k], d) for k, (words, d) in names.items() if k in found]
    lines = [[words, plus_minus(x, error, digits=d), ""] for words, (x, error), d in rows]
    for key, words in (("minus exact", "network - exact"), ("minus conv", "network - conv."),
                       ("minus bayes", "network - Bayes")):  # fmt: skip
        for w, (x, error) in found.get(key, {}).items():
            z = x / max(error, 1e-12)
            lines.append([f"{words}, {w}", f"{x:+.3f} ± {error:.3f}", f"z = {z:.1f}"])
    return text_table([], lines)


def _claim_rhm(found: Mapping[str, Any]) -> str:
    (x, error), (gap, spread) = found["accuracy"]["exp"], found["minus exact"]["exp"]
    return (
        f"at N = {found['budget']} the network classifies {x:.3f} ± {error:.3f} (exp), "
        f"{gap:+.3f} ± {spread:.3f} from the exact denoiser (z = {gap / max(spread, 1e-12):.1f}), "
        f"below Bayes' {found['bayes'][0]:.3f} ± {found['bayes'][1]:.3f}"
    )


def _claim_digits(found: Mapping[str, Any]) -> str:
    # one weight, chosen before the result: the published heuristic
    x, error = found["accuracy"]["exp"]
    text = f"at N = {found['budget']} the network classifies {x:.3f} ± {error:.3f} (exp)"
    if "minus conv" not in found:
        return text
    gap, spread = found["minus conv"]["exp"]
    return (
        f"{text}, {gap:+.3f} ± {spread:.3f} from a convolutional classifier (z = "
        f"{gap / max(spread, 1e-12):.1f})"
    )


# Figure


_CURVES = ("weighting", "budget")
_EXACT = {"accuracy": _CURVES, "single": ("t",)}


@checked
def network_classification_figure(network: xr.Dataset, exact: xr.Dataset | None = None) -> Figure:
    """The figure of the study.

    Parameters
    ----------
    network : xarray.Dataset
        From ``NetworkClassification``.
    exact : xarray.Dataset, optional
        The exact denoiser on the same samples.

    Returns
    -------
    matplotlib Figure
        Accuracy against budget and weight, single noise levels, calls of right and wrong answers;
        or, for a folder of images, the scores of the true class against the best other one.
    """
    if "low_pass" in network.coords:
        return conflict_figure(network)
    if "dual_task" in network.coords:
        return binding_figure(network)
    if "budget" not in network.coords:
        return image_folders.folder_figure(network)
    network = current_names(network)
    exact = None if exact is None else current_names(exact)
    needs(network, {**_EXACT, "accuracy_error": _CURVES, "single_error": ("t",)}, _MAKER)
    if exact is not None:
        needs(exact, {**_EXACT, "information": ("t",)}, _MAKER)
        if set(network.weighting.values.tolist()) - set(exact.weighting.values.tolist()):
            raise InvalidParameter(
                "the exact denoiser lacks weightings of the network; give those of one run"
            )
    fig, axes = plt.subplots(1, 3, figsize=(11.6, 3.6), layout="constrained",
                             width_ratios=(1.3, 1.3, 0.8))  # fmt: skip
    _budgets(axes[0], network, exact)
    _levels(axes[1], network, exact)
    _calls(axes[2], network, exact)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def _budgets(ax: Axes, network: xr.Dataset, exact: xr.Dataset | None) -> None:
    names = [w for w in ("vdm", "snr", "exp", "uniform", "learned")
             if w in network.weighting.values]  # fmt: skip
    for i, name in enumerate(names):
        colour, shift = PALETTE[i], 1.06 ** (i - len(names) / 2)
        if exact is not None:
            ax.plot(exact.budget, exact.accuracy.sel(weighting=name), color=colour, lw=1.1)
        one = network.sel(weighting=name)
        ax.errorbar(one.budget * shift, one.accuracy, one.accuracy_error, color=colour, marker="o",
                    mfc="none", ms=4, elinewidth=0.8, label=name,
                    **({"ls": "none"} if exact is not None else {"lw": 0.8}))  # fmt: skip
    _references(ax, network, right=True)
    _chance(ax, network)
    ax.set(xscale="log", xlabel="samples $N$, noise shared by the classes", ylabel="accuracy",
           ylim=(0, 1.02))  # fmt: skip
    title = "circles: network, lines: exact denoiser" if exact is not None else "network"
    panel(ax, "a", title)
    legend(ax, "weight")


def _references(ax: Axes, ds: xr.Dataset, *, right: bool) -> None:
    """Lines of what is known: Bayes' ceiling, classifiers trained for the purpose."""
    low = float(ds.budget[0]) if right else float(ds.t[0])
    for name, look in (("bayes", "-"), ("linear", "--"), ("conv", ":")):
        if name in ds:
            value = float(ds[name])
            ax.axhline(value, color="0.3", lw=0.9, ls=look)
            text = {"bayes": "Bayes", "linear": "linear classifier", "conv": "conv. classifier"}
            ax.annotate(text[name], (low, value), xytext=(0, -9 if name == "linear" else 2),
                        textcoords="offset points", fontsize=FONT, color="0.3")  # fmt: skip


def _chance(ax: Axes, ds: xr.Dataset) -> None:
    try:
        parameters: dict[str, Any] = json.loads(ds.attrs["parameters"])
        if "classes" not in parameters:  # a file of the first build
            parameters["classes"] = 10 if parameters["model"] == "digits" else parameters["v"]
        classes = count("classes", parameters["classes"])
    except (KeyError, TypeError, ValueError):
        raise InvalidParameter(
            f"the dataset does not state the number of classes; give one from {_MAKER}"
        ) from None
    ax.axhline(1 / classes, **GUIDE)


def _levels(ax: Axes, network: xr.Dataset, exact: xr.Dataset | None) -> None:
    ax.errorbar(network.t, network.single, network.single_error, color=PALETTE[0], marker="o",
                mfc="none", ms=4, elinewidth=0.8, label="network, one sample",
                ls="none" if exact is not None else "-", lw=0.8)  # fmt: skip
    if exact is not None:
        ax.plot(exact.t, exact.single, color=PALETTE[0], lw=1.1, label="exact denoiser, one sample")
        ax.plot(exact.t, exact.information, color=PALETTE[3], lw=1.1, ls="--",
                label="exact posterior $p(c|x_t)$")  # fmt: skip
    _chance(ax, network)
    ax.set(xlabel="time $t$ of the sample (cosine)", ylabel="accuracy", ylim=(0, 1.02))
    panel(ax, "b", "single noise levels")
    legend(ax)


def _calls(ax: Axes, network: xr.Dataset, exact: xr.Dataset | None) -> None:
    for i, (ds, name) in enumerate(((network, "network"), (exact, "exact"))):
        if ds is None:
            continue
        for j, word in enumerate(("right", "wrong")):
            if f"calls_{word}" in ds:
                ax.bar(j + 0.38 * i - 0.19 * (exact is not None), float(ds[f"calls_{word}"]), 0.36,
                       yerr=float(ds[f"calls_{word}_error"]), color="none", edgecolor=PALETTE[i],
                       ecolor=PALETTE[i], hatch="" if i else "///",
                       label=name if j == 0 else None)  # fmt: skip
    ax.set_xticks([0, 1], ["right", "wrong"])
    ax.set(ylabel="calls per class, paired t-tests", xlabel="answer")
    panel(ax, "c", "calls as confidence")
    legend(ax)
