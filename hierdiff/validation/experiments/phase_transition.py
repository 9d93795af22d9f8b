r"""The phase transition with a network as the model.

=============  ==================================================================================
source         what is noised and denoised
=============  ==================================================================================
``rhm``        strings of a random grammar by a network that is trained here, level by level
``grammars``   strings of several grammars and depths, a network each: slopes, correlated changes
``digits``     8 x 8 digits: the class, and the layers of a classifier above the floor of pairs
``fashion``    photographs of clothing (Fashion-MNIST), the same
``own``        images of a set or a folder by a network of yours
``catalogue``  images of a folder by a network of ``hierdiff models``
=============  ==================================================================================

The network is put into :class:`hierdiff.sims.PhaseTransition` like any other model.  On strings
three curves stand beside each other: the exact law :math:`E \sum_c p(c \mid x_t)^2`, exact beliefs
through a reverse chain of finitely many steps, and the network through the same chain.  What lies
between the first two is the chain's error, between the last two the network's.  The
Kullback-Leibler divergence from the exact posterior, which no sampler hides, and what small
training sets do to it are measured beside.
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
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    instance,
    integers,
    listed,
    natural,
    no_model,
    one_level,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.digits import LabelledImages
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, has_snr, noise_name, noise_process
from hierdiff.plots import (
    BLUE,
    PALETTE,
    Axes,
    Figure,
    legend,
    level_colours,
    needs,
    panel,
    panels,
    plt,
)
from hierdiff.seeds import stream
from hierdiff.sims.metrics.forward_backward import (
    exact_retention,
    forward_backward,
    start_data,
)
from hierdiff.sims.models.finite_steps import SimulatedModel
from hierdiff.sims.phase_transition import PhaseTransition, sampling_tasks
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.execution import run_shared, usable_device
from hierdiff.validation.experiments import (
    architecture_rule,
    clear_checkpoints,
    known_checkpoint,
    source_arguments,
)
from hierdiff.validation.experiments.correlated_changes import (
    GrammarNetworks,
    depth_changes,
    exact_dataset,
    focus_rule,
    network_dataset,
    trained_networks,
    trained_on_strings,
)
from hierdiff.validation.experiments.correlated_changes_figure import (
    changes_figure,
    changes_summary,
)
from hierdiff.validation.experiments.image_retention import (
    ImageScene,
    digit_scene,
    family_variables,
    folder_scene,
    half_lost,
    image_summary,
    layer_similarity,
    layer_variables,
    retention_figure,
)
from hierdiff.validation.experiments.own_images import OwnRetention, own_scene
from hierdiff.validation.recipes import divergence_to_exact

__all__ = [
    "CatalogueNetwork",
    "DigitNetwork",
    "FashionNetwork",
    "GrammarNetwork",
    "NetworkPhaseTransition",
    "copied",
    "network_phase_transition",
]

Array: TypeAlias = NDArray[Any]

_LEVELS = {
    "gaussian": (0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0),
    "masking": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "uniform": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
}
_DIGITS = (0.04, 0.09, 0.19, 0.29, 0.39, 0.49, 0.6, 0.75, 1.0)
_IMAGES = tuple(k / 10 for k in range(1, 11))

_COUNT = partial(whole, low=1, high=10**9)


def _levels(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    levels = listed(name, value, one_level, least=2)
    if not all(0 < t <= 1 for t in levels):
        raise InvalidParameter(f"{name} = {value} must be noise levels in (0, 1]")
    return levels


def _data(name: str, value: Any) -> int | None:
    if value is not None and whole(name, value, high=10**9) < 2:
        raise InvalidParameter(f"{name} = {value} give no error bar; use at least 2")
    return cast("int | None", value)


def _optional(name: str, value: Any) -> int | None:
    return None if value is None else _COUNT(name, value)


@dataclass(frozen=True)
class GrammarNetwork:
    """A network trained here on strings of a random grammar."""

    v: int = 8
    """Symbols per level."""
    m: int = 2
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 4
    """Depth of the hierarchy."""
    noise: str = "gaussian"
    """Forward process."""
    focus: tuple[float, float] | None = None
    """Where three quarters of the noise levels of training lie; default: the transition of the
    default grammar."""
    t: tuple[float, ...] | None = None
    """Noise levels; default around the transition."""
    data: int = 600
    """Data to start from."""
    steps: int = 5000
    """Training steps."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for grammars."""
    width: int = 64
    """Features per node of the network; a leaf has a quarter of them, but 16 at least, where the
    network has a size for it."""
    batch: int = 256
    """Data per training step."""
    num_steps: int = 100
    """Steps of the reverse chain from t = 1."""
    n_train: tuple[int, ...] = (256, 2048, 0)
    """Sizes of training sets to compare; 0 draws fresh data for every step."""
    n_train_steps: int = 600
    """Training steps of each of these."""

    def __post_init__(self) -> None:
        check_fields(
            self, n_train=partial(listed, rule=partial(whole, high=10**9), least=0), t=_levels,
            focus=focus_rule, data=_data, steps=_COUNT, width=_COUNT, batch=_COUNT,
            num_steps=_COUNT, n_train_steps=_COUNT, noise=partial(noise_name, channel=True),
            architecture=architecture_rule(Grammar),
        )  # fmt: skip
        RHM(self.v, self.m, self.s, self.L)

    @property
    def process(self) -> NoiseProcess:
        """The forward process."""
        process = noise_process(self.noise, self.v)
        # networks learn the schedule of the published image models, where a process has one
        linear: Any = {"schedule": "linear"} if hasattr(process, "schedule") else {}
        # a protocol, which replace takes for no dataclass; those with a schedule are
        return replace(process, **linear) if linear else process  # type: ignore[type-var]

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels."""
        return self.t or _LEVELS.get(self.noise, _LEVELS["masking"])


@dataclass(frozen=True)
class DigitNetwork:
    """A network trained here on 8 x 8 digits."""

    t: tuple[float, ...] | None = None
    """Noise levels; default around the loss of the class."""
    data: int = 200
    """Images to start from."""
    steps: int = 900
    """Training steps."""
    num_steps: int = 100
    """Steps of the reverse chain from t = 1."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for images."""

    def __post_init__(self) -> None:
        check_fields(self, t=_levels, data=_data, steps=_COUNT, num_steps=_COUNT,
                     architecture=architecture_rule(LabelledImages))  # fmt: skip

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels."""
        return self.t or _DIGITS


@dataclass(frozen=True)
class FashionNetwork(DigitNetwork):
    """A network trained here on photographs of clothing (Fashion-MNIST)."""

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
    classifier_steps: int = 1500
    """Training steps of the classifier whose layers are compared."""

    def __post_init__(self) -> None:
        DigitNetwork.__post_init__(self)
        check_fields(self, t=_levels, data=_data, channels=_COUNT, batch=_COUNT,
                     classifier_steps=_COUNT, multipliers=partial(listed, rule=_COUNT,
                     distinct=False), architecture=unchecked)  # fmt: skip


@dataclass(frozen=True)
class CatalogueNetwork:
    """A published network on images of a folder."""

    name: str = "adm-256"
    """Of ``hierdiff models``."""
    images: Path | None = None
    """Folder of images."""
    classifier: Path | None = None
    """Weights of the reference classifier (ConvNeXt-Base)."""
    accept_licence: bool = False
    """That you accept the terms of the checkpoint."""
    t: tuple[float, ...] | None = None
    """Noise levels; default ten."""
    data: int | None = None
    """Images to start from; default all of the folder."""
    protocol: Literal["consistent", "published"] = "consistent"
    """Noise of the level where the chain starts, or of the next one, as the authors' code has it
    (:func:`hierdiff.validation.diffusion.schedules.step_levels`)."""
    moment: bool = False
    """Divide activations by the root of their second moment, as published, not of the variance."""
    jpeg: bool = False
    """Store samples as JPEG before they are classified, as published."""

    def __post_init__(self) -> None:
        check_fields(self, t=_levels, data=_data)
        known_checkpoint(self.name)
        if self.images is None:
            raise InvalidParameter(
                f"model {self.name} needs images; give --images DIR, or use rhm or digits"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels."""
        return self.t or _IMAGES


SOURCES: dict[str, type] = {
    "rhm": GrammarNetwork, "grammars": GrammarNetworks, "digits": DigitNetwork,
    "fashion": FashionNetwork, "own": OwnRetention, "catalogue": CatalogueNetwork,
}  # fmt: skip
"""Sources by the name of their subcommand."""


@dataclass(frozen=True)
class NetworkPhaseTransition:
    """Loss of the class and of every level when a network noises and denoises, beside exact BP.

    Trains networks here (``rhm``, ``grammars``, ``digits``) or takes a published one
    (``catalogue``).

    Notes
    -----
    Validity: of strings the law is exact; images have no law, and their class is that of a
    classifier.  Networks are as good as their training.
    """

    network: (
        Annotated[GrammarNetwork, tyro.conf.subcommand("rhm", prefix_name=False)]
        | Annotated[GrammarNetworks, tyro.conf.subcommand("grammars", prefix_name=False)]
        | Annotated[DigitNetwork, tyro.conf.subcommand("digits", prefix_name=False)]
        | Annotated[FashionNetwork, tyro.conf.subcommand("fashion", prefix_name=False)]
        | Annotated[OwnRetention, tyro.conf.subcommand("own", prefix_name=False)]
        | Annotated[CatalogueNetwork, tyro.conf.subcommand("catalogue", prefix_name=False)]
    ) = field(default_factory=GrammarNetwork)
    """The network and its data."""
    seed: int = 0
    """Seed of everything random."""

    name: ClassVar[str] = "network_phase_transition"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (
        name, f"{name}_theory", f"{name}_chain", f"{name}_L*",
    )  # fmt: skip
    renamed: ClassVar[dict[str, str]] = {"chain": "num_steps"}

    def __post_init__(self) -> None:
        check_fields(self, network=unchecked, seed=natural)
        if not isinstance(self.network, tuple(SOURCES.values())):
            instance("network", self.network, GrammarNetwork)

    @classmethod
    def arguments(cls, words: Sequence[str]) -> list[str]:
        """The command line with the source as a subcommand."""
        return source_arguments(SOURCES, words)

    @property
    def question(self) -> PhaseTransition:
        """The experiment that the network is put into."""
        one = self.network
        options: dict[str, Any] = {"t": tuple(one.levels), "grammars": 1, "refine": 0}
        if isinstance(one, GrammarNetwork):
            # its own streams: those of the seed itself draw grammar, data and weights
            return PhaseTransition(
                one.v, one.m, one.s, one.L, noise=one.noise, seed=1000 + self.seed, **options
            )  # fmt: skip
        return PhaseTransition(noise="gaussian", seed=self.seed, **options)

    @property
    def grammar(self) -> Grammar:
        """The grammar that is learned, where there is one."""
        one = instance("network", self.network, GrammarNetwork)
        return RHM(one.v, one.m, one.s, one.L).draw(stream(self.seed, "grammar"))

    @results.tracked
    @checked
    def predict(self, law: Literal["exact"] = "exact") -> xr.Dataset:
        r"""The exact law of posterior sampling, :math:`E \sum_c p(c \mid x_t)^2`, on the grammar.

        Parameters
        ----------
        law : {"exact"}

        Returns
        -------
        xarray.Dataset
            ``retention`` and ``belief``, which are equal, with errors, on (level, t).  Of several
            grammars as :func:`~hierdiff.validation.experiments.correlated_changes.exact_dataset`.

        Raises
        ------
        InvalidParameter
            For images, of which no law is known.

        Notes
        -----
        Validity: exact inference on 8,000 data of this grammar.
        """
        one = self.network
        if isinstance(one, GrammarNetworks):
            exact = {L: depth_changes(one, L, self.seed, samplers=("exact",)) for L in one.depths}
            return exact_dataset(one, exact, self.seed, results.provenance(asdict(self)))
        if not isinstance(one, GrammarNetwork):
            raise InvalidParameter(
                "no law predicts the class of images; predict the source rhm, or measure these"
            )
        levels = np.array(one.levels)
        law_of = exact_retention(self.grammar, one.process, levels, 8000, stream(self.seed, "law"))
        variables: dict[str, Any] = {}
        texts = {"retention": "probability that the symbol is unchanged",
                 "belief": "posterior probability of the true symbol"}  # fmt: skip
        for name, text in texts.items():
            variables[name] = (("level", "t"), law_of[0], text)
            variables[f"{name}_error"] = (("level", "t"), law_of[1], f"standard error of: {text}")
        coords: dict[str, Any] = {
            "level": (("level",), np.arange(one.L + 1), "level, root = 0"),
            "t": (("t",), levels, f"noise level t of the {one.noise} process"),
        }
        if has_snr(one.process):
            coords["snr"] = (("t",), one.process.snr(levels), "signal-to-noise ratio")
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
        """What :class:`PhaseTransition` measures, of the network or of a model of yours.

        Parameters
        ----------
        model : DiffusionModel, optional
            Default: the network of the source, trained or loaded.
        data : optional
            As for :meth:`PhaseTransition.measure`; default those of the source.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`; checkpoints are kept in the folder, too.

        Returns
        -------
        xarray.Dataset
            As :meth:`PhaseTransition.measure` returns it.  Of several grammars as
            :func:`~hierdiff.validation.experiments.correlated_changes.network_dataset`.

        Raises
        ------
        InvalidParameter
            As :meth:`PhaseTransition.measure`; if a model is given for several grammars.

        Notes
        -----
        Validity: that of the model.
        """
        place = None if folder is None else Path(folder)
        if isinstance(self.network, GrammarNetworks):
            self._no_model(model, data)
            options = {"folder": folder, "workers": workers, "cluster": cluster}
            return self._depths(place, options)[self.name]
        if isinstance(self.network, GrammarNetwork):
            if model is None:
                model = self._train(place, "network", None, self.network.steps)[0]
            data = self._truth() if data is None else data
        elif model is None or data is None:
            scene = self._scene(place, model=model)
            model, data = scene.model if model is None else model, data or scene.data
        ds = self.question.measure(model, data, folder=folder, workers=workers, cluster=cluster)
        return self._ours(ds)

    def _ours(self, ds: xr.Dataset) -> xr.Dataset:
        """The same with the parameters of this experiment."""
        own = json.loads(results.provenance(asdict(self))["parameters"])
        also = {k: v for k, v in json.loads(ds.attrs["parameters"]).items()
                if k in ("model", "process")}  # fmt: skip
        return ds.assign_attrs(parameters=json.dumps({**own, **also}, sort_keys=True))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """The exact law, the exact chain and the network; or images with layers of a classifier."""
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "network-*", "size-*", "digits-*", "classifier-*")
        if isinstance(self.network, GrammarNetwork):
            return self._strings(run, model, data)
        if isinstance(self.network, GrammarNetworks):
            self._no_model(model, data)
            return self._depths(run.folder, run.tasks(self.name), run.device)
        return self._images(run, model)

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure | dict[str, Figure]:
        """Three curves per level, divergence and training sets; or class and layers of images."""
        if not datasets:
            return {}
        if isinstance(self.network, GrammarNetworks):
            return changes_figure(self.network, self._of_depths(datasets), *self._ends(datasets))
        if not isinstance(self.network, GrammarNetwork):
            return retention_figure(datasets[self.name])
        return network_phase_transition(*self._parts(datasets))

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """How far the network is from exact inference, or where images lose their class."""
        if not datasets:
            return Summary("", "another process collects the results", {})
        if isinstance(self.network, GrammarNetworks):
            return changes_summary(self.network, self._of_depths(datasets), *self._ends(datasets))
        if not isinstance(self.network, GrammarNetwork):
            return image_summary(datasets[self.name])
        parts = self._parts(datasets)
        values = _values(*parts)
        facts = _facts(values)
        table = "\n".join([_table(*parts), *facts[1:]])
        return Summary(table, facts[0], {**values, "closing": "; ".join(facts)})

    def _parts(self, datasets: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, ...]:
        return tuple(datasets[f"{self.name}{end}"] for end in ("_theory", "_chain", ""))

    def _ends(self, datasets: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, xr.Dataset]:
        return datasets[f"{self.name}_theory"], datasets[self.name]

    def _of_depths(self, datasets: Mapping[str, xr.Dataset]) -> dict[int, xr.Dataset]:
        depths = cast(GrammarNetworks, self.network).depths
        return {L: datasets[f"{self.name}_L{L}"] for L in depths}

    # ------------------------------------------------------------------------------- strings

    def _no_model(self, model: DiffusionModel | None, data: Any) -> None:
        no_model(
            self.name, model, data,
            "it trains a network on every grammar; give a model to the source rhm, or to "
            "Correlations.measure",
        )  # fmt: skip

    def _depths(
        self, folder: Path | None, options: dict[str, Any], device: str = "cpu"
    ) -> dict[str, xr.Dataset]:
        """Networks of several depths, exact inference, and what is read from both."""
        one = cast(GrammarNetworks, self.network)
        parts, seconds = {}, []
        about = results.provenance(asdict(self))
        for L in one.depths:
            models, took = trained_networks(one, L, self.seed, folder, device)
            parts[L] = depth_changes(one, L, self.seed, models, **options).assign_attrs(about)
            seconds.append(took)
        theory = exact_dataset(one, parts, self.seed, about)
        network = network_dataset(one, parts, seconds, about)
        by_depth = {f"{self.name}_L{L}": ds for L, ds in parts.items()}
        return {f"{self.name}_theory": theory, self.name: network, **by_depth}

    def _truth(self) -> tuple[Grammar, Any]:
        grammar = self.grammar
        n = cast(GrammarNetwork, self.network).data
        return grammar, grammar.sample(n, stream(self.seed, "data"))

    def _train(
        self, folder: Path | None, name: str, data: Array | None, steps: int, device: str = "cpu"
    ) -> tuple[NetworkModel, float]:
        """A network, and the processor seconds that it took."""
        one = cast(GrammarNetwork, self.network)
        key = f"{name}-{one.noise}-{one.v}-{one.m}-{one.s}-{one.L}-{self.seed}"
        return trained_on_strings(
            one, self.grammar, self.seed, None if folder is None else folder / key,
            batch=one.batch, steps=steps, data=data, device=device,
        )  # fmt: skip

    def _strings(self, run: Run, model: DiffusionModel | None, data: Any) -> dict[str, xr.Dataset]:
        one, grammar, took = cast(GrammarNetwork, self.network), self.grammar, None
        trained = model is None
        if model is None:
            model, took = self._train(run.folder, "network", None, one.steps, run.device)
        data = self._truth() if data is None else data
        options = run.tasks(self.name)
        exact = SimulatedModel(ExactRHM(grammar, one.process), one.num_steps)
        chain = self.measure(exact, data, **options)
        network = self.measure(model, data, **options)
        network = network.merge(self._beside(chain, network), combine_attrs="override")
        levels = np.array(one.levels)
        kl = divergence_to_exact(cast(Any, model), grammar, levels, 2000, stream(self.seed, "gap"))
        text = "KL divergence of the model's beliefs from the exact posterior"
        units = {"units": "nats per leaf"}
        network["divergence"] = (("t",), kl[0], {"long_name": text, **units})
        network["divergence_error"] = (
            ("t",), kl[1], {"long_name": f"standard error of: {text}", **units},
        )  # fmt: skip
        if took is not None:
            words = {"long_name": "time of all processors that training took", "units": "s"}
            network["cpu_seconds"] = ((), took, words)
        if trained:
            sizes = self._training_sets(run)
            network = network.merge(sizes, compat="override", combine_attrs="override")
        found = (self.predict(), chain, network)
        names = (f"{self.name}_theory", f"{self.name}_chain", self.name)
        return dict(zip(names, found, strict=True))

    def _beside(self, chain: xr.Dataset, network: xr.Dataset) -> xr.Dataset:
        """Retention of the network less that of the exact chain, paired by datum."""
        gap = (network.retention_by_datum - chain.retention_by_datum).values[0]  # [n, level, t]
        text = "retention minus that of exact beliefs through the same chain, paired"
        n = len(gap)
        error = np.maximum(gap.std(axis=0, ddof=1) / np.sqrt(n), 1 / n)
        plane = ("level", "t")
        return xr.Dataset({
            "minus_chain": (plane, gap.mean(axis=0), {"long_name": text}),
            "minus_chain_error": (plane, error, {"long_name": f"standard error of: {text}"}),
        })  # fmt: skip

    def _training_sets(self, run: Run) -> xr.Dataset:
        """Divergence, valid strings and copies against the size of the training set."""
        one, grammar = cast(GrammarNetwork, self.network), self.grammar
        noise, levels = one.process, np.array(one.levels)
        rows: dict[str, list[Any]] = {
            k: [] for k in ("divergence", "divergence_error", "valid", "copies")
        }
        for size in one.n_train:
            rng = stream(self.seed, "training set", size)
            training = grammar.sample(size, rng).leaves if size else None
            model, _ = self._train(
                run.folder, f"size-{size}", training, one.n_train_steps, run.device
            )
            kl, error = divergence_to_exact(model, grammar, levels, 1000, stream(self.seed, "gap"))
            leaves = grammar.sample(400, rng).leaves
            numbers = noise.draw(leaves.shape, rng)
            seed = stream(self.seed, "made", size)
            made = forward_backward(model, leaves, 1.0, seed, randoms=numbers).x_0
            rows["divergence"].append(kl.mean())
            rows["divergence_error"].append(np.sqrt((error**2).sum()) / len(error))
            rows["valid"].append(grammar.is_valid(made).mean())
            rows["copies"].append(0.0 if training is None else copied(made, training).mean())
        text = {
            "divergence": "KL divergence from the exact posterior, nats per leaf, mean over t",
            "divergence_error": "its standard error",
            "valid": "share of valid strings made from pure noise",
            "copies": "share of them that stand in the training set",
        }  # fmt: skip
        variables = {f"size_{k}": (("n_train",), v, text[k]) for k, v in rows.items()}
        coords = {"n_train": (("n_train",), list(one.n_train), "training strings, 0 is fresh")}
        return results.label(cast(Any, variables), cast(Any, coords), "network", {})

    # -------------------------------------------------------------------------------- images

    def _scene(
        self, folder: Path | None, device: str = "cpu", model: DiffusionModel | None = None
    ) -> ImageScene:
        one = self.network
        if isinstance(one, DigitNetwork):
            return digit_scene(
                folder, data=one.data, steps=one.steps, num_steps=one.num_steps, seed=self.seed,
                device=device, architecture=one.architecture, source=one,
            )  # fmt: skip
        if isinstance(one, OwnRetention):
            return own_scene(one, model, folder, device, self.seed)
        one = cast(CatalogueNetwork, one)
        return folder_scene(
            one.name, one.images or Path(), one.classifier, accept_licence=one.accept_licence,
            data=one.data, device=device, protocol=one.protocol, moment=one.moment, jpeg=one.jpeg,
        )  # fmt: skip

    def _images(self, run: Run, model: DiffusionModel | None) -> dict[str, xr.Dataset]:
        """Class and layers; several processes share the tasks, and the first one collects."""
        scene = self._scene(run.folder, run.device, model)
        own = isinstance(self.network, OwnRetention)
        scene = scene if model is None or own else replace(scene, model=cast(Any, model))
        levels, question = np.array(self.network.levels), self.question
        start = start_data(scene.model, scene.data, len(scene.images), self.seed)
        tasks = sampling_tasks(scene.model, start, levels, question.seed)
        options = run.tasks(self.name)
        made = run_shared(tasks, options["folder"], name="forward-backward")
        if made is None:
            return {}
        ds = self.measure(scene.model, scene.data, **options)
        per_level = len(made) // len(levels)
        samples = [
            np.concatenate([b["x_0"] for b in made[k * per_level : (k + 1) * per_level]])
            for k in range(len(levels))
        ]
        variables, coords = layer_variables(*layer_similarity(scene, samples, self.seed))
        variables |= family_variables(scene, samples)
        coords["t"] = (("t",), ds.t.values, str(ds.t.attrs["long_name"]))
        layers = results.label(variables, coords, "network", {})
        return {self.name: ds.merge(layers, compat="override", combine_attrs="override")}


@checked
def copied(made: Array, training: Array) -> Array:
    """Which strings [n, leaves] stand in a training set.

    Examples
    --------
    >>> copied(np.array([[0, 1], [1, 1]]), np.array([[1, 1], [2, 0]])).tolist()
    [False, True]
    """
    training = integers("training", training, low=None, ndim=2)
    made = integers("made", made, low=None, shape=(None, training.shape[1]))
    known = {row.tobytes() for row in np.ascontiguousarray(training, np.int64)}
    return np.array([row.tobytes() in known for row in np.ascontiguousarray(made, np.int64)])


def _values(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    z = (network.minus_chain / network.minus_chain_error).values
    bias = (chain.retention - theory.retention) / np.hypot(chain.retention_error,
                                                           theory.retention_error)  # fmt: skip
    worst = int(np.abs(network.minus_chain.values[0]).argmax())
    gap, error = network.divergence.values, network.divergence_error.values
    half = {name: [half_lost(curve, ds.t.values) for curve in ds.retention.values]
            for name, ds in (("theory", theory), ("network", network))}  # fmt: skip
    trained = "n_train" in network.coords
    sizes = [[int(n), *(float(network[f"size_{k}"].sel(n_train=n))
                        for k in ("divergence", "divergence_error", "valid", "copies"))]
             for n in (network.n_train.values if trained else ())]  # fmt: skip
    return {
        "t": network.t.values.tolist(),
        "retention": {str(ds.source.values): ds.retention.values.tolist()
                      for ds in (theory, chain, network)},
        "retention error": network.retention_error.values.tolist(),
        "class, network - chain": [float(network.minus_chain[0, worst]),
                                   float(network.minus_chain_error[0, worst]),
                                   float(network.t[worst])],
        "largest z, network - chain": float(np.abs(z).max()),
        "largest, network - chain": float(np.abs(network.minus_chain).max()),
        "largest z, chain - exact": float(np.abs(bias).max()),
        "largest, chain - exact": float(np.abs(chain.retention - theory.retention).max()),
        "mean gap": [float(gap.mean()), float(np.sqrt((error**2).sum()) / len(error))],
        "worst gap": float(gap.max()),
        "cpu seconds of training": round(float(network.get("cpu_seconds", 0.0)), 1),
        "valid": float(network.valid.min()),
        "half retention": half,
        "training sets": sizes,
    }  # fmt: skip


def _table(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> str:
    """Class and divergence at every noise level."""
    rows = []
    for k, t in enumerate(network.t.values):
        cells = [plus_minus(ds.retention[level, k], ds.retention_error[level, k])
                 for ds, level in ((chain, 0), (network, 0), (network, -1))]  # fmt: skip
        gap = plus_minus(network.divergence[k], network.divergence_error[k], digits=5)
        rows.append([f"{t:.2f}", f"{float(theory.retention[0, k]):.3f}", *cells,
                     f"{float(network.valid[k]):.3f}", gap])  # fmt: skip
    header = ["t", "exact", "exact, chain", "network, chain", "leaves unchanged", "valid",
              "KL, nats"]  # fmt: skip
    return text_table(header, rows)


def _facts(found: dict[str, Any]) -> list[str]:
    """How far the network is from exact inference, how far the chain, and by training set."""
    gap, error, t = found["class, network - chain"]
    half, kl = found["half retention"], found["mean gap"]
    facts = [
        f"the class is unchanged with a probability that differs from exact beliefs in the same "
        f"chain by at most {gap:+.3f} ± {error:.3f} (t = {t:g}), at a KL divergence from the exact "
        f"posterior of {kl[0]:.5f} ± {kl[1]:.5f} nats per leaf",
        f"all levels, network minus chain: at most {found['largest, network - chain']:.3f}",
        f"chain minus exact law: at most {found['largest, chain - exact']:.3f} (|z| < "
        f"{found['largest z, chain - exact']:.1f})",
        f"largest divergence {found['worst gap']:.4f}, after "
        f"{found['cpu seconds of training']:.0f} CPU s",
        f"valid strings: at least {found['valid']:.3f}",
        f"half unchanged at t = {half['network'][0]:.3f} (class) to {half['network'][-1]:.3f} "
        f"(leaves), exact {half['theory'][0]:.3f} to {half['theory'][-1]:.3f}",
    ]
    return facts + [
        f"{row[0] if row[0] else 'fresh'} training strings: divergence {row[1]:.4f} ± "
        f"{row[2]:.4f}, {row[3]:.0%} valid, {row[4]:.0%} copies"
        for row in found["training sets"]
    ]


# --------------------------------------------------------------------------------------- figure

_MAKER = "NetworkPhaseTransition"
_PLANE = ("level", "t")


@checked
def network_phase_transition(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> Figure:
    """Three curves per level, the divergence from exact inference, and what training sets do.

    Parameters
    ----------
    theory, chain, network : xarray.Dataset
        As :meth:`NetworkPhaseTransition.datasets` returns them.

    Returns
    -------
    matplotlib Figure
    """
    retained = {"retention": _PLANE, "retention_error": _PLANE}
    sizes = ("size_divergence", "size_divergence_error", "size_valid", "size_copies")
    trained = "size_divergence" in network
    needs(theory, {"retention": _PLANE}, _MAKER)
    needs(chain, retained, _MAKER)
    needs(network, {**retained, "divergence": ("t",), "divergence_error": ("t",),
                    **dict.fromkeys(sizes if trained else (), ("n_train",))}, _MAKER)  # fmt: skip
    for ds in (chain, network):
        if ds.sizes["level"] != theory.sizes["level"]:
            raise InvalidParameter("the datasets have different levels; give those of one run")
    figure, axes = plt.subplots(
        1, 3, figsize=(12, 3.6), layout="constrained", width_ratios=(5, 4, 3)
    )
    _curves(axes[0], theory, chain, network)
    _divergence(axes[1], network)
    panels(
        axes[:2], "lines: exact law; full: exact chain; open: network", "from the exact posterior"
    )
    if trained:
        _sizes(axes[2], network)
        panel(axes[2], "c", "size of the training set")
    else:
        axes[2].remove()
        axes = axes[:2]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _curves(ax: Axes, theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> None:
    colours = level_colours(theory.sizes["level"])
    last = theory.sizes["level"] - 1
    for level, colour in enumerate(colours):
        name = {0: "class", last: "leaves"}.get(level, f"level {level}")
        ax.plot(theory.t, theory.retention[level], color=colour, lw=1.2, label=name)
        for ds, face, shift in ((chain, colour, -0.003), (network, "none", 0.003)):
            ax.errorbar(
                ds.t + shift, ds.retention[level], ds.retention_error[level], color=colour,
                ls="none", marker="o", ms=4, mfc=face, elinewidth=0.8,
            )  # fmt: skip
    ax.set(xlabel=str(theory.t.attrs.get("long_name", "noise level t")),
           ylabel="symbol unchanged", ylim=(0, 1.03))  # fmt: skip
    legend(ax)


def _divergence(ax: Axes, network: xr.Dataset) -> None:
    ax.errorbar(
        network.t,
        network.divergence,
        network.divergence_error,
        marker="o",
        ms=4,
        mfc="none",
        lw=0.8,
        color=BLUE,
    )
    ax.set(yscale="log", xlabel=str(network.t.attrs.get("long_name", "noise level t")),
           ylabel="KL(exact, network), nats per leaf")  # fmt: skip


def _sizes(ax: Axes, network: xr.Dataset) -> None:
    place = np.arange(network.sizes["n_train"])
    names = [f"{int(n):,}" if n else "fresh" for n in network.n_train.values]
    ax.errorbar(place, network.size_divergence, network.size_divergence_error, marker="o", ms=4,
                mfc="none", ls="none", color=PALETTE[0])  # fmt: skip
    ax.set(yscale="log", xticks=place, xticklabels=names, xlabel="training strings",
           xlim=(-0.5, len(place) - 0.5))  # fmt: skip
    ax.set_ylabel("divergence, nats per leaf", color=PALETTE[0])
    other = ax.twinx()
    other.bar(place - 0.12, network.size_valid, width=0.2, alpha=0.35, color=PALETTE[2],
              label="valid")  # fmt: skip
    other.bar(
        place + 0.12, network.size_copies, width=0.2, alpha=0.35, color=PALETTE[3], label="copies"
    )
    other.set(ylim=(0, 1.35), ylabel="share of what is made from noise")
    legend(other)
    other.spines["top"].set_visible(False)
