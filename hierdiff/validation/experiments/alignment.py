"""Alignment with a network as the model: odd one out by its layers, at several noise levels.

=============  ==================================================================================
source         objects and responses
=============  ==================================================================================
``rhm``        strings of a random grammar, simulated observers who see its trees; what a linear
               readout finds in every level of the network stands beside the exact beliefs
``grammars``   denoising and classifying networks of several grammars at the same triplets, with
               errors over networks (:mod:`hierdiff.validation.experiments.objectives`)
``digits``     8 x 8 digits, simulated observers who see a stated hierarchy of shapes
``fashion``    photographs of clothing (Fashion-MNIST), observers who see families and classes
``own``        a network of yours on a set of images, with its class tree or responses of people
``catalogue``  images and odd-one-out responses of people, in the format of THINGS
=============  ==================================================================================

The network is put into :class:`hierdiff.sims.Alignment` like any other model: the cosine of its
features responds, zero-shot and through an affine probe with folds over objects, unconditional and
conditioned on the class.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, cast

import numpy as np
import tyro
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff import results
from hierdiff._display import experiment_html
from hierdiff.checks import (
    check_fields,
    checked,
    instance,
    integers,
    listed,
    natural,
    number,
    one_level,
    positive,
    reals,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.digits import LabelledImages
from hierdiff.data.fashion import FASHION_FAMILIES, family_of
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import Figure
from hierdiff.seeds import stream
from hierdiff.sims.alignment import (
    Alignment,
    ComparedObjects,
    layer_facts,
    layer_table,
    layer_values,
)
from hierdiff.sims.alignment_figure import layers_figure
from hierdiff.sims.metrics.estimators import shared_error
from hierdiff.sims.metrics.odd_one_out import TripletTask, draw_triplets
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.odd_one_out_task import odd_one_out, tree_similarity
from hierdiff.validation.adapter import NetworkModel, Pooling
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import (
    architecture_rule,
    checkpoint_suffix,
    clear_checkpoints,
    folder_stem,
    known_checkpoint,
    source_arguments,
    trained_images,
    training_sizes,
)
from hierdiff.validation.experiments.objectives import (
    GrammarNetworks,
    compare_objectives,
    exact_objectives,
)
from hierdiff.validation.experiments.objectives_report import (
    objectives_figure,
    objectives_summary,
)
from hierdiff.validation.experiments.own_images import OwnObjects, even_rows, own_objects
from hierdiff.validation.recipes import train_image_network, train_symbol_network
from hierdiff.validation.things import things_objects
from hierdiff.validation.training import TrainConfig

__all__ = [
    "DIGIT_GROUPS",
    "CatalogueObjects",
    "DigitObjects",
    "FashionObjects",
    "GrammarObjects",
    "NetworkAlignment",
    "digit_similarity",
]

Array: TypeAlias = NDArray[Any]

_DIGIT_LAYERS = (
    "input_blocks.1", "input_blocks.3", "middle_block", "output_blocks.0", "output_blocks.1",
    "output_blocks.3",
)  # fmt: skip
_COUNT = partial(whole, low=1, high=10**9)
# three folds over the objects, of three objects at least
_OBJECTS = partial(whole, low=9, high=10**6)
_SHARE = partial(number, above=0, below=1)

DIGIT_GROUPS = (((0, 6), (8, 9)), ((1, 4, 7), (2, 3, 5)))
"""Shape hierarchy of the digits, by construction: with and without a closed loop; then one loop
wide or below, two loops or one above, straight strokes, open curves."""
FASHION_GROUPS: tuple[tuple[tuple[int, ...], ...], ...] = tuple(
    (tuple(int(k) for k in np.flatnonzero(family_of(np.arange(10)) == family)),)
    for family in range(len(FASHION_FAMILIES))
)
"""Families of clothing, each of one group of classes."""


def _weights(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    found = listed(name, value, number, distinct=False)
    if min(found) < 0 or not any(found):
        raise InvalidParameter(
            f"{name} = {value} must be numbers >= 0, not all zero, from the class down"
        )
    positive(name, [x for x in found if x])
    return found


@dataclass(frozen=True)
class GrammarObjects:
    """A network trained here on strings of a random grammar, and observers who see the trees."""

    v: int = 8
    """Symbols per level."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 3
    """Depth."""
    weights: tuple[float, ...] | None = None
    """Weights of the simulated observers, from the class to the leaves; default halved from level
    to level."""
    temperature: float = 0.22
    """Of the simulated observers."""
    objects: int = 200
    """Objects that are compared."""
    n_readout: int = 1500
    """Strings on which the readout of a level's beliefs is fitted."""
    steps: int = 6000
    """Training steps."""
    width: int = 48
    """Features per node of the network."""
    label_share: float = 0.5
    """Share of the training data on whose class the network is conditioned."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for grammars."""

    def __post_init__(self) -> None:
        check_fields(
            self, weights=_weights, temperature=positive, objects=_OBJECTS, n_readout=_COUNT,
            steps=_COUNT, width=_COUNT, label_share=_SHARE, architecture=architecture_rule(Grammar),
        )  # fmt: skip
        RHM(self.v, self.m, self.s, self.L)
        if self.weights is not None and len(self.weights) != self.L + 1:
            raise InvalidParameter(
                f"weights = {self.weights} must be L + 1 = {self.L + 1} numbers, one per level"
            )


@dataclass(frozen=True)
class DigitObjects:
    """A network trained here on 8 x 8 digits, and observers who see a hierarchy of shapes."""

    weights: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Weights of the simulated observers: coarse group, fine group, digit."""
    temperature: float = 0.22
    """Of the simulated observers."""
    objects: int = 200
    """Objects that are compared."""
    layers: tuple[str, ...] = ()
    """Submodules of the network; default its blocks."""
    steps: int = 800
    """Training steps."""
    label_share: float = 0.5
    """Share of the training data on whose class the network is conditioned."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for images."""

    def __post_init__(self) -> None:
        check_fields(
            self, weights=_weights, temperature=positive, objects=_OBJECTS, steps=_COUNT,
            label_share=_SHARE, architecture=architecture_rule(LabelledImages),
        )  # fmt: skip


@dataclass(frozen=True)
class FashionObjects(DigitObjects):
    """A network trained here on photographs of clothing, and observers who see the class tree."""

    weights: tuple[float, float, float] = (0.5, 0.0, 0.5)
    """Weights of the simulated observers: family, the same again, class."""
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
        DigitObjects.__post_init__(self)
        check_fields(
            self, weights=_weights, temperature=positive, objects=_OBJECTS, steps=_COUNT,
            label_share=_SHARE, channels=_COUNT, batch=_COUNT, architecture=unchecked,
            multipliers=partial(listed, rule=_COUNT, distinct=False),
        )  # fmt: skip


@dataclass(frozen=True)
class CatalogueObjects:
    """A published network, and odd-one-out responses of people to images (THINGS)."""

    name: str = "adm-256"
    """Of ``hierdiff models``."""
    images: Path | None = None
    """Folder with one image per object, in the order of the objects' numbers."""
    triplets: Path | None = None
    """Responses, .npy or text, the odd one last."""
    labels: Path | None = None
    """Array .npy, a class or an embedding of text per object, on which the network is
    conditioned."""
    null: Path | None = None
    """Array .npy that stands for no text, [1, tokens, width] (Stable Diffusion)."""
    layers: tuple[str, ...] = ()
    """Submodules of the network; default its blocks."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""

    def __post_init__(self) -> None:
        check_fields(self)
        known_checkpoint(self.name)
        for word in ("images", "triplets"):
            if getattr(self, word) is None:
                raise InvalidParameter(
                    f"model {self.name} needs {word}; give --{word}, or use rhm or digits"
                )


SOURCES: dict[str, type] = {
    "rhm": GrammarObjects, "grammars": GrammarNetworks, "digits": DigitObjects,
    "fashion": FashionObjects, "own": OwnObjects, "catalogue": CatalogueObjects,
}  # fmt: skip
"""Sources by the name of their subcommand."""


@dataclass(frozen=True)
class NetworkAlignment:
    """Odd-one-out accuracy of a network's layers, per noise level, with and without the class.

    Trains a network here (``rhm``, ``digits``) or takes a published one with responses of people
    (``catalogue``).

    Notes
    -----
    Validity: errors are those over triplets, which share objects; networks are as good as their
    training.
    """

    network: (
        Annotated[GrammarObjects, tyro.conf.subcommand("rhm", prefix_name=False)]
        | Annotated[GrammarNetworks, tyro.conf.subcommand("grammars", prefix_name=False)]
        | Annotated[DigitObjects, tyro.conf.subcommand("digits", prefix_name=False)]
        | Annotated[FashionObjects, tyro.conf.subcommand("fashion", prefix_name=False)]
        | Annotated[OwnObjects, tyro.conf.subcommand("own", prefix_name=False)]
        | Annotated[CatalogueObjects, tyro.conf.subcommand("catalogue", prefix_name=False)]
    ) = field(default_factory=GrammarObjects)
    """The network, its objects and the responses."""
    t: tuple[float, ...] = (0.02, 0.3, 0.5, 0.8)
    """Noise levels: cosine schedule for rhm, linear for images."""
    ties: Literal["wrong", "shared"] = "shared"
    """An exact tie of similarities counts as a guess, or as wrong, as published: a class that is
    known for certain ties exactly, one that is read from a network nearly."""
    max_triplets: int = 6000
    """Triplets; of responses of people, how many are taken at most."""
    probe_width: int = 8
    """Outputs of the affine probe, on as many principal components; 0 leaves it out."""
    seed: int = 0
    """Seed of everything random."""

    name: ClassVar[str] = "network_alignment"
    _repr_html_ = experiment_html
    renamed: ClassVar[dict[str, str]] = {
        "count": "max_triplets", "readout": "n_readout", "nothing": "null"
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_fields(
            self, network=unchecked, t=partial(listed, rule=one_level), seed=natural,
            max_triplets=partial(whole, low=2, high=10**9), probe_width=partial(whole, high=10**6),
        )  # fmt: skip
        if not isinstance(self.network, tuple(SOURCES.values())):
            instance("network", self.network, GrammarObjects)
        GaussianNoise().snr(self.t)

    @classmethod
    def arguments(cls, words: Sequence[str]) -> list[str]:
        """The command line with the source as a subcommand."""
        return source_arguments(SOURCES, words)

    @property
    def question(self) -> Alignment:
        """The experiment that the network is put into."""
        one = self.network
        sizes: dict[str, Any] = {}
        if isinstance(one, GrammarObjects):
            weights = one.weights or tuple(0.5**l for l in range(one.L + 1))
            sizes = {"v": one.v, "m": one.m, "s": one.s, "L": one.L, "weights": weights,
                     "n_readout": one.n_readout}  # fmt: skip
        return Alignment(
            **sizes, t=self.t, ties=self.ties, probed=self.probe_width > 0,
            probe_width=max(self.probe_width, 1), seed=self.seed,
        )  # fmt: skip

    @property
    def grammar(self) -> Grammar:
        """The grammar that is learned, where there is one."""
        one = instance("network", self.network, GrammarObjects)
        return RHM(one.v, one.m, one.s, one.L).draw(stream(self.seed, "grammar"))

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        """Accuracy of exact beliefs on the same objects at the same noise.

        Parameters
        ----------
        law : {"exact"}

        Returns
        -------
        xarray.Dataset
            ``accuracy`` (condition, level, t), ``label_only``, ``ceiling``, with errors.

        Raises
        ------
        InvalidParameter
            For images, whose latents are not known.  For ``grammars`` the variables are
            ``exact_accuracy``, ``exact_best``, ``exact_r2`` and ``exact_class``.

        Notes
        -----
        Validity: exact inference; the errors are those over the same triplets, so that differences
        are to be taken triplet by triplet.
        """
        if isinstance(self.network, GrammarNetworks):
            return exact_objectives(
                self.network, self.t, self.ties, self.max_triplets, self.seed, asdict(self)
            )
        if not isinstance(self.network, GrammarObjects):
            raise InvalidParameter(
                "no law predicts responses to images; predict the source rhm, or measure these"
            )
        exact = ExactRHM(self.grammar, GaussianNoise(self.network.v), threads=1)
        question = replace(self.question, probed=False)
        ds = question.measure(exact, replace(self._strings(), ends=False))
        layered = [k for k in ds.data_vars if "layer" in ds[k].dims or str(k).startswith("layer")]
        return self._ours(ds.drop_vars([*layered, "layer"])).assign_coords(source="theory")

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
        """What :class:`Alignment` measures, of the network or of a model of yours.

        Parameters
        ----------
        model : DiffusionModel, optional
            Default: the network of the source, trained or loaded.
        data : optional
            As for :meth:`Alignment.measure`; default the objects of the source.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`; checkpoints are kept in the folder, too.

        Returns
        -------
        xarray.Dataset
            As :meth:`Alignment.measure` returns it.

        Raises
        ------
        InvalidParameter
            As :meth:`Alignment.measure`.

        Notes
        -----
        Validity: that of the model.
        """
        if isinstance(self.network, GrammarNetworks):
            if model is not None or data is not None:
                raise InvalidParameter(
                    "the source grammars trains networks of two objectives and takes none; measure "
                    "a model of yours with the source rhm"
                )
            return self._objectives(None if folder is None else Path(folder), folder, "cpu")
        if model is None or data is None:
            own, objects = self._scene(None if folder is None else Path(folder), "cpu", model)
            model, data = own, objects if data is None else data
        ds = self.question.measure(model, data, folder=folder, workers=workers, cluster=cluster)
        return self._ours(ds)

    def _objectives(self, checkpoints: Path | None, folder: Any, device: str) -> xr.Dataset:
        """Networks of both objectives on all grammars."""
        return compare_objectives(
            cast(GrammarNetworks, self.network), self.t, self.ties, self.max_triplets, self.seed,
            checkpoints, folder, device, asdict(self),
        )  # fmt: skip

    def _ours(self, ds: xr.Dataset) -> xr.Dataset:
        """The same with the parameters of this experiment."""
        own = json.loads(results.provenance(asdict(self))["parameters"])
        also = {k: v for k, v in json.loads(ds.attrs["parameters"]).items()
                if k in ("model", "process")}  # fmt: skip
        return ds.assign_attrs(parameters=json.dumps({**own, **also}, sort_keys=True))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The network's layers and levels, and exact beliefs where they are known."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "alignment-*", "objectives-*")
        if isinstance(self.network, GrammarNetworks):
            if model is not None or data is not None:
                self.measure(model, data)  # which says why not
            tasks = run.tasks(self.name)["folder"]
            return {self.name: self._objectives(run.folder, tasks, run.device)}
        own, objects = self._scene(run.folder, run.device, model)
        data = objects if data is None else data
        found = {self.name: self.measure(own, data, **run.tasks(self.name))}
        if isinstance(self.network, GrammarObjects) and data is objects:
            found[f"{self.name}_theory"] = self.predict()
        return found

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Layers as they are and the best probe; levels beside exact beliefs."""
        if isinstance(self.network, GrammarNetworks):
            return objectives_figure(datasets[self.name])
        return layers_figure(datasets[self.name], datasets.get(f"{self.name}_theory"))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Best layers, what the class adds, and the readout beside exact beliefs."""
        if isinstance(self.network, GrammarNetworks):
            return objectives_summary(datasets[self.name])
        ds = datasets[self.name]
        values, facts = layer_values(ds), list[str]()
        if f"{self.name}_theory" in datasets:
            values |= _beside(ds, datasets[f"{self.name}_theory"])
            facts = _beside_facts(values)
        facts += layer_facts(values)
        table = "\n".join([layer_table(ds), *facts[1:]])
        return Summary(table, facts[0], {**values, "closing": "; ".join(facts)})

    def _scene(
        self, folder: Path | None, device: str, model: DiffusionModel | None
    ) -> tuple[DiffusionModel, ComparedObjects]:
        """The network, unless a model is given, and the objects."""
        one = self.network
        if isinstance(one, GrammarObjects):
            return model or self._train_strings(folder, device), self._strings()
        if isinstance(one, DigitObjects):
            return model or self._train_digits(folder, device), self._digits()
        if isinstance(one, OwnObjects):
            return own_objects(one, model, device, self.seed, self.ties, self.max_triplets)
        assert isinstance(one, CatalogueObjects)
        own, objects = things_objects(
            one.name, one.images or Path(), one.triplets or Path(), labels=one.labels,
            null=one.null, layers=one.layers, accept_licence=one.accept_licence,
            device=device, limit=self.max_triplets, ties=self.ties, seed=self.seed,
        )  # fmt: skip
        return model or own, objects

    def _train_strings(self, folder: Path | None, device: str) -> NetworkModel:
        one = cast(GrammarObjects, self.network)
        model, _ = train_symbol_network(
            self.grammar, GaussianNoise(one.v), _plan(one.steps, device), width=one.width,
            batch=128, label_share=one.label_share, seed=self.seed, network=one.architecture,
            folder=self._place(folder, "rhm", "v", "m", "s", "L", "width", "label_share"),
        )  # fmt: skip
        return model

    def _train_digits(self, folder: Path | None, device: str) -> NetworkModel:
        one = cast(DigitObjects, self.network)
        model, _ = train_image_network(
            trained_images(one, "train", self.seed), _plan(one.steps, device),
            label_share=one.label_share, seed=self.seed, network=one.architecture,
            folder=self._place(folder, folder_stem(one), "label_share"),
            **cast(Any, {"batch": 64, **training_sizes(one)}),
        )  # fmt: skip
        pooling: dict[str, Pooling] = dict.fromkeys(one.layers or _DIGIT_LAYERS, "space")
        return replace(model, layers=pooling)

    def _place(self, folder: Path | None, source: str, *names: str) -> Path | None:
        """Folder of the checkpoint: no other network's."""
        if folder is None:
            return None
        fields = [f"{name}{getattr(self.network, name)}" for name in names]
        data = Grammar if isinstance(self.network, GrammarObjects) else LabelledImages
        suffix = checkpoint_suffix(data, getattr(self.network, "architecture", None))
        return folder / ("-".join(["alignment", source, *fields, f"seed{self.seed}"]) + suffix)

    def _strings(self) -> ComparedObjects:
        one, grammar = cast(GrammarObjects, self.network), self.grammar
        trees = grammar.sample(one.objects, stream(self.seed, "objects"))
        task = self._task(tree_similarity(trees, self.question.weights), one.temperature)
        return ComparedObjects(
            trees.leaves, task, labels=trees.levels[0][:, 0], trees=trees, grammar=grammar
        )  # fmt: skip

    def _digits(self) -> ComparedObjects:
        one = cast(DigitObjects, self.network)
        data = trained_images(one, "test", self.seed)
        groups: Any = DIGIT_GROUPS
        if isinstance(one, FashionObjects):
            data, groups = data[even_rows(data.labels)], FASHION_GROUPS
        data = data[: one.objects]
        task = self._task(digit_similarity(data.labels, one.weights, groups), one.temperature)
        return ComparedObjects(data.images, task, labels=data.labels)

    def _task(self, similarity: Array, temperature: float) -> TripletTask:
        triplets = draw_triplets(len(similarity), self.max_triplets, stream(self.seed, "triplets"))
        chances = odd_one_out(similarity, triplets, temperature)
        return TripletTask(triplets, chances, self.ties, self.seed)


def _plan(steps: int, device: str) -> TrainConfig:
    return TrainConfig(steps=steps, warmup=min(100, steps), every=max(min(500, steps // 4), 1),
                device=device)  # fmt: skip


@checked(groups=unchecked)
def digit_similarity(
    labels: ArrayLike, weights: Sequence[float], groups: Any = DIGIT_GROUPS
) -> Array:
    """Similarity of digits by shared groups: coarse, fine, and the digit itself.

    Parameters
    ----------
    labels : int array [n]
    weights : three numbers
        Of the coarse group, the fine group and the class.
    groups : nested tuples
        Coarse groups of fine groups of classes.

    Returns
    -------
    array [n, n]

    Raises
    ------
    InvalidParameter
        For another number of weights, negative ones, or a label in no group.

    Examples
    --------
    >>> digit_similarity([0, 6, 8, 1], (1.0, 0.5, 0.25))[0].tolist()
    [1.75, 1.5, 1.0, 0.0]
    """
    w, y = reals("weights", weights), integers("labels", labels, ndim=1)
    if not len(y):
        raise InvalidParameter("labels is empty; give the label of one image at least")
    if w.shape != (3,) or not (w >= 0).all() or not w.any():
        raise InvalidParameter(f"weights = {w.tolist()} must be 3 numbers >= 0, not all zero")
    places = {
        k: (i, 10 * i + j) for i, part in enumerate(groups) for j, fine in enumerate(part)
        for k in fine
    }  # fmt: skip
    missing = sorted(set(y.tolist()) - places.keys())
    if missing:
        raise InvalidParameter(f"label {missing[0]} is in no group; the groups hold {len(places)}")
    nodes = np.array([(*places[int(k)], int(k)) for k in y])
    same = nodes[:, None] == nodes
    return np.asarray(same @ w)


# ------------------------------------------------------------------------------------- summary


def _beside(network: xr.Dataset, exact: xr.Dataset) -> dict[str, Any]:
    """Readout against exact beliefs on the same triplets, and what the class adds in both.

    The class stands apart: exact beliefs that are certain of it tie, and what is read from a
    network ties only nearly, so that the rest of what the network holds decides.
    """
    every = ("condition", "level", "t", "triplet")
    read, known = (ds.accuracy_by_triplet.transpose(*every).values for ds in (network, exact))
    triplets, t = network["objects"].values, network.t.values

    def pair(x: Array) -> list[float]:
        return [float(x.mean()), float(shared_error(x, triplets))]

    gap = read - known
    a, b = (x[:, 1:].mean(axis=-1).ravel() for x in (read, known))
    return {
        "readout minus exact": pair(gap[:, 1:].mean(axis=(0, 1, 2))),
        "largest gap": float(np.abs(gap[:, 1:].mean(axis=-1)).max()),
        "class, readout minus exact": pair(gap[:, 0].mean(axis=(0, 1))),
        "correlation": float(np.corrcoef(a, b)[0, 1]),
        "gain, readout": {f"{x:g}": pair((read[1] - read[0])[1:].mean(axis=0)[k])
                          for k, x in enumerate(t)},
        "gain, exact": {f"{x:g}": pair((known[1] - known[0])[1:].mean(axis=0)[k])
                        for k, x in enumerate(t)},
    }  # fmt: skip


def _beside_facts(found: dict[str, Any]) -> list[str]:
    """How near the readout is to exact beliefs, and what exact beliefs gain by the class."""
    t, (gap, error) = found["t"], found["readout minus exact"]
    low, high = (found["gain, exact"][f"{x:g}"][0] for x in (t[0], t[-1]))
    return [
        f"beliefs below the class read from the network - exact {gap:+.4f} ± {error:.4f} "
        f"(z = {gap / max(error, 1e-12):.1f}), largest {found['largest gap']:.3f}, correlation "
        f"{found['correlation']:.3f}",
        f"exact beliefs gain {low:+.3f} and {high:+.3f} by the class",
    ]
