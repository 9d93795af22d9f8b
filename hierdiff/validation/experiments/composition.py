"""Composition in networks: phases of a bump network, and levels of a grammar, along training.

=============  ==================================================================================
source         what is followed
=============  ==================================================================================
``small``      networks that are trained here, in two parts.  *bumps*: a conditional network on
               images of one bump, its phases A, B and C by the criteria of
               :mod:`hierdiff.sims.bump_phases`, with order measured along the manifold, for labels
               of equal spacing (balanced), of unequal spacing (skewed), and for a code in which the
               position is attenuated, so that its order has to be learned.  *levels*: a
               network on strings of a random grammar, its share of valid nodes per level in strings
               made symbol by symbol, where exact inference makes no mistake; theory says that
               levels are learned from the leaves up
``catalogue``  a published class-conditional network, whose images a reference classifier reads
               (:mod:`hierdiff.validation.experiments.class_generation`)
others         ``imbalance`` of the two coordinates, ``label-counts`` with and without stripes, and
               the ``manifold`` in every phase (:mod:`hierdiff.validation.experiments.bump_factors`)
=============  ==================================================================================

A network on strings that is given is measured by
:class:`hierdiff.sims.truncated_denoisers.TruncatedDenoisers`, beside its law.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
import tyro
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from hierdiff import results
from hierdiff._display import experiment_html, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    instance,
    listed,
    natural,
    number,
    one_of,
    positive,
    reals,
    text,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.bumps import Bumps
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise, MaskingNoise
from hierdiff.plots import (
    BLUE,
    GREEN,
    OCHRE,
    ORANGE,
    Axes,
    Figure,
    legend,
    level_colours,
    needs,
    panel,
    plt,
    shared_legend,
)
from hierdiff.seeds import stream
from hierdiff.sims.bump_phases import (
    NETWORK_THRESHOLDS,
    PhaseReadout,
    Thresholds,
    crossing_time,
    location_accuracy,
    phase,
    read_phase,
)
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.metrics.representation_geometry import anova_shares
from hierdiff.sims.models.finite_steps import SequentialModel
from hierdiff.sims.truncated_denoisers import TruncatedDenoisers
from hierdiff.theory.rhm.sample_complexity import clustering_cost
from hierdiff.validation.adapter import symbol_model
from hierdiff.validation.experiments import (
    checkpoint_suffix,
    clear_checkpoints,
    source_arguments,
)
from hierdiff.validation.experiments.bump_factors import (
    ImbalanceNetworks,
    LabelCounts,
    ManifoldNetwork,
    factors_figure,
    factors_summary,
    measure_factors,
)
from hierdiff.validation.experiments.class_generation import (
    PublishedNetwork,
    generate_under_classes,
    generation_figure,
    generation_summary,
)
from hierdiff.validation.networks import architecture_for, sizes_of
from hierdiff.validation.recipes import bump_model, train_bump_network, train_symbol_network
from hierdiff.validation.training import TrainConfig

__all__ = ["NetworkComposition", "TrainedNetworks", "network_composition_figure"]

Array: TypeAlias = NDArray[Any]
Part: TypeAlias = Literal["bumps", "levels"]
LabelSet: TypeAlias = Literal["balanced", "skewed", "attenuated"]

READINGS = (
    "one_bump", "location_accuracy", "two_nn", "geodesic_rsa", "rsa", "held_out_r2",
    "neighbour_ratio", "participation_ratio", "x_accuracy", "y_accuracy", "interaction",
)  # fmt: skip
"""What is read off a bump network at every checkpoint."""
_COUNT = partial(whole, low=1, high=10**9)  # no more of anything that is counted
_MULTIPLE = partial(number, low=1e-6, high=1e6)
_MAKER = "NetworkComposition"
_SHOWN = 8  # images of the figure
_FACTORS = (ImbalanceNetworks, LabelCounts, ManifoldNetwork)


@dataclass(frozen=True)
class TrainedNetworks:
    """Networks that are trained here, on images of one bump and on strings."""

    parts: tuple[Part, ...] = ("bumps", "levels")
    """What is trained."""
    labels: tuple[LabelSet, ...] = ("attenuated",)
    """Labels of the bumps: a code in which the position is attenuated (minutes; shows all
    phases), or a smooth code with equal (balanced) or unequal (skewed) spacing (the same time again
    for each)."""
    seeds: int = 1
    """Bump networks per set of labels; with two or more the crossing times get errors."""
    size: int = 12
    """Pixels on a side."""
    sigma: float = 1.25
    """Width of the bump in pixels."""
    margin: float = 2.0
    """Distance of the labels from the edge."""
    skew: tuple[float, float] = (0.1, 1.0)
    """Spacings d_x and d_y of the unequal labels; the equal ones have d_y in both."""
    attenuation: float = 0.04
    """Amplitude of the position in the attenuated code, beside a code that means nothing."""
    attenuated_spacing: float = 0.2
    """Spacing of the labels with the attenuated code: how rare each is decides how long B lasts."""
    attenuated_steps: int = 1500
    """Training steps with the attenuated code."""
    channels: int = 32
    """Channels of the U-Net."""
    multipliers: tuple[float, ...] = (1, 2)
    """Width at each resolution."""
    steps: int = 900
    """Training steps of a bump network."""
    batch: int = 64
    """Images per step."""
    bfloat16: bool = False
    """Train in bfloat16 (on a GPU)."""
    checkpoints: int = 12
    """Evaluations of a bump network in its first ``steps`` steps, and on at the same pace."""
    samples: int = 200
    """Labels under which images are generated at each checkpoint."""
    feature_samples: int = 1000
    """Labels whose representation is read at each checkpoint."""
    num_steps: int = 10
    """Steps of the sampler."""
    t: float = 1.0
    """Noise level at which the representation is read, with one noise for all labels; below 1 the
    image of the bump is in what the network sees, and so in its features, whatever it has learned.
    """
    v: int = 8
    """Symbols of the grammar."""
    m: int = 2
    """Rules per symbol."""
    L: int = 4
    """Levels of rules."""
    level_steps: int = 600
    """Training steps of a network on strings."""
    level_seeds: int = 3
    """Networks on strings, with grammars of their own."""
    bump_architecture: str | None = None
    """Name of the network on bumps (``hierdiff.validation.NETWORKS``, or module:function), which
    names its ``feature_layer``; default the first for bumps."""
    level_architecture: str | None = None
    """Name of the network on strings; default the first for grammars."""

    def __post_init__(self) -> None:
        least_20 = partial(whole, low=20, high=10**9)
        check_fields(
            self, attenuation=positive, parts=partial(listed, rule=text),
            labels=partial(listed, rule=text),
            multipliers=partial(listed, rule=_MULTIPLE, distinct=False),
            skew=partial(listed, rule=_MULTIPLE, least=2, distinct=False),
            seeds=_COUNT, size=_COUNT, attenuated_steps=_COUNT, channels=_COUNT, steps=_COUNT,
            batch=_COUNT, checkpoints=_COUNT, samples=least_20, feature_samples=least_20,
            num_steps=_COUNT, t=partial(number, above=0, high=1), level_steps=_COUNT,
            level_seeds=_COUNT,
        )  # fmt: skip
        for name, known in (("parts", ("bumps", "levels")),
                            ("labels", ("balanced", "skewed", "attenuated"))):  # fmt: skip
            if not getattr(self, name) or not {*getattr(self, name)} <= {*known}:
                raise InvalidParameter(
                    f"{name} = {getattr(self, name)} must name some of {', '.join(known)}"
                )
        self._refuse_fields_of_other_parts()
        architecture_for(Bumps, self.bump_architecture)
        architecture_for(Grammar, self.level_architecture)
        RHM(self.v, self.m, 2, self.L)
        _ = self.label_sets

    def _refuse_fields_of_other_parts(self) -> None:
        """What belongs to a part that is not trained is refused, not ignored."""
        strings = ("v", "m", "L", "level_steps", "level_seeds", "level_architecture")
        for f in fields(self):
            part = "levels" if f.name in strings else "bumps"
            changed = f.default is not MISSING and getattr(self, f.name) != f.default
            if f.name != "parts" and part not in self.parts and changed:
                raise InvalidParameter(
                    f"{f.name} = {getattr(self, f.name)} means nothing without the part {part}; "
                    "add it to parts"
                )

    @property
    def label_sets(self) -> dict[str, _Labels]:
        """The sets of labels that are trained."""
        d_x, d_y = reals("skew", self.skew, above=0, shape=(2,)).tolist()

        def bumps(x: float, y: float) -> Bumps:
            return Bumps(size=self.size, sigma=self.sigma, margin=self.margin, d_x=x, d_y=y)

        d = self.attenuated_spacing
        every = {
            "balanced": _Labels(bumps(d_y, d_y), None, self.steps),
            "skewed": _Labels(bumps(d_x, d_y), None, self.steps),
            "attenuated": _Labels(bumps(d, d), self.attenuation, self.attenuated_steps),
        }
        return {name: every[name] for name in self.labels}


@dataclass(frozen=True)
class _Labels:
    """Labels, the amplitude of the position in their code, and the training steps."""

    bumps: Bumps
    attenuation: float | None
    steps: int


@dataclass(frozen=True)
class NetworkComposition:
    """Phases of a bump network, and the order in which a network learns levels, along training.

    Notes
    -----
    Validity: of networks at the sizes of the fields; errors are Student's over networks.
    """

    name: ClassVar[str] = "network_composition"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("network_composition", "network_composition_*")
    sources: ClassVar[Mapping[str, type]] = {
        "small": TrainedNetworks, "catalogue": PublishedNetwork,
        "imbalance": ImbalanceNetworks, "label-counts": LabelCounts, "manifold": ManifoldNetwork,
    }  # fmt: skip
    renamed: ClassVar[Mapping[str, str]] = {
        "worlds": "labels", "evaluations": "checkpoints", "looks": "samples",
        "points": "feature_samples", "sampling": "num_steps", "faint": "attenuation",
        "faint_spacing": "attenuated_spacing", "faint_steps": "attenuated_steps",
    }  # fmt: skip
    renamed_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"labels": {"faint": "attenuated"}}

    source: (
        Annotated[TrainedNetworks, tyro.conf.subcommand("small")]
        | Annotated[PublishedNetwork, tyro.conf.subcommand("catalogue")]
        | Annotated[ImbalanceNetworks, tyro.conf.subcommand("imbalance")]
        | Annotated[LabelCounts, tyro.conf.subcommand("label-counts")]
        | Annotated[ManifoldNetwork, tyro.conf.subcommand("manifold")]
    ) = field(default_factory=TrainedNetworks)
    """Which network on which data."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(self, source=unchecked, seed=natural)
        if not isinstance(self.source, tuple(self.sources.values())):
            instance("source", self.source, TrainedNetworks)

    @classmethod
    def arguments(cls, words: Sequence[str]) -> list[str]:
        """The command line with the source as a subcommand."""
        return source_arguments(cls.sources, words)

    @property
    def experiment(self) -> TruncatedDenoisers:
        """The experiment that a given network on strings is put to.

        Raises
        ------
        InvalidParameter
            For a network of the catalogue.
        """
        s = self.source
        if isinstance(s, _FACTORS):
            raise InvalidParameter(
                "networks on bumps are trained here, and no grammar says what they know; use the "
                "source small"
            )
        if not isinstance(s, TrainedNetworks):
            raise InvalidParameter(
                f"{s.name} makes images, of which no grammar says what is valid; use the source "
                "small"
            )
        return TruncatedDenoisers(v=s.v, m=s.m, L=s.L, seed=self.seed)

    @results.tracked
    @checked
    def predict(self, law: str = "independent cut") -> xr.Dataset:
        """Validity of strings, as :class:`hierdiff.sims.truncated_denoisers.TruncatedDenoisers`.

        Parameters
        ----------
        law : {"independent cut"}

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        InvalidParameter
            For a network of the catalogue.
        """
        return self.experiment.predict(law)

    @results.tracked
    @checked(model=unchecked, data=unchecked)
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Validity of strings that a given network makes, or levels of networks along training.

        Parameters
        ----------
        model : DiffusionModel, optional
            On strings, with masking noise.
        data : Grammar, optional
            The grammar that it was trained on.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            Of a model as :meth:`predict`.  Without one ``valid`` (seed, step, level), or the
            readings (seed, step) of the first set of labels where only bumps are trained; of a
            network of the catalogue what its images are read as.

        Raises
        ------
        InvalidParameter
            If the model cannot answer.
        """
        if model is not None or data is not None:
            return self.experiment.measure(
                model, data, folder=folder, workers=workers, cluster=cluster
            )
        s = self.source
        if isinstance(s, _FACTORS):
            where = None if folder is None else Path(folder)
            return measure_factors(s, self.seed, where, "cpu", asdict(self))
        if not isinstance(s, TrainedNetworks):
            return generate_under_classes(s, self.seed, folder, "cpu", asdict(self))
        if "levels" in s.parts:
            return self._levels(None, "cpu")
        return self._bumps(s.labels[0], None, "cpu")

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Sets of labels and strings, each under its name; of a given model law and measurement."""
        if model is not None:
            return {f"{self.name}_theory": self.predict(),
                    self.name: self.measure(model, data, **run.tasks(self.name))}  # fmt: skip
        if not run.resume:
            clear_checkpoints(run.folder, "bumps-*", "levels-*", "factors-*")
        s = self.source
        if isinstance(s, _FACTORS):
            found = measure_factors(s, self.seed, run.folder, run.device, asdict(self))
            return {self.name: found}
        if not isinstance(s, TrainedNetworks):
            folder = run.tasks(self.name)["folder"]
            found = generate_under_classes(s, self.seed, folder, run.device, asdict(self))
            return {self.name: found}
        every: dict[str, xr.Dataset] = {}
        if "bumps" in s.parts:
            for name in s.labels:
                every[f"{self.name}_{name}"] = self._bumps(name, run.folder, run.device)
        if "levels" in s.parts:
            every[f"{self.name}_levels"] = self._levels(run.folder, run.device)
        return every

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Phases and readings along training, images, and validity of the levels."""
        found = self._parts(datasets)
        if isinstance(self.source, _FACTORS):
            return factors_figure(self.source, found[""])
        if not isinstance(self.source, TrainedNetworks):
            return generation_figure(found[""])
        if "theory" in found:
            return self.experiment.figure(datasets)
        levels = found.pop("levels", None)
        last = list(found.values())[-1] if found else None
        shown = (None, None) if last is None else (last.made.values, last.place.values)
        return network_composition_figure(found, levels, *shown)

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Phases, steps at which x and y are placed right, and the order of the levels."""
        found = self._parts(datasets)
        if isinstance(self.source, _FACTORS):
            return factors_summary(self.source, found[""])
        if not isinstance(self.source, TrainedNetworks):
            return generation_summary(found[""], self.source.name)
        if "theory" in found:
            return self.experiment.summary(datasets)
        values = _values(found)
        return Summary("\n".join(_table(found, values)), _claim(values), values)

    def _parts(self, datasets: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
        """Datasets by what follows the name of the experiment in theirs."""
        return {k.removeprefix(self.name).removeprefix("_"): ds for k, ds in datasets.items()}

    @property
    def _small(self) -> TrainedNetworks:
        assert isinstance(self.source, TrainedNetworks)
        return self.source

    def _key(self, name: str, network: int, *settings: float) -> str:
        """Folder of a checkpoint, one for each way of reading the network."""
        return "-".join([name, *(f"{x:g}" for x in (*settings, self.seed, network))])

    def _plan(self, steps: int, device: str) -> TrainConfig:
        s = self._small
        every = max(1, min(s.steps, steps) // s.checkpoints)
        # the rate stays up while the phases pass; a rate that falls freezes what is half learned
        return TrainConfig(steps=steps, every=every, rate=3e-3, average=0.98, warmup=min(50, steps),
                    hold=0.8, bfloat16=s.bfloat16, device=device)  # fmt: skip

    def _bumps(self, name: LabelSet, folder: Path | None, device: str) -> xr.Dataset:
        """Readings [seed, step] of a set of labels; images of its first network."""
        s, labels = self._small, self._small.label_sets[name]
        rows: list[list[dict[str, float]]] = []
        made: Array | None = None
        places = self._places(labels.bumps, s.samples)[:_SHOWN]
        for k in range(s.seeds):
            reading = (s.size, s.samples, s.feature_samples, s.num_steps, s.t)
            key = self._key(f"bumps-{name}", k, *reading)
            key += checkpoint_suffix(Bumps, s.bump_architecture)
            model, done = train_bump_network(
                labels.bumps, self._plan(labels.steps, device), attenuation=labels.attenuation,
                channels=s.channels, multipliers=s.multipliers, batch=s.batch,
                network=s.bump_architecture,
                seed=self.seed + 1000 * k, folder=None if folder is None else folder / key,
                evaluate=self._evaluation(labels),
            )  # fmt: skip
            rows.append(list(done.history))
            if made is None:
                made = _made(bump_model(model.module, s.num_steps), places, s.size)
        assert made is not None
        dims = ("seed", "step")
        variables: dict[str, Any] = {
            n: (dims, np.array([[h[n] for h in row] for row in rows]), n.replace("_", " "))
            for n in READINGS
        }
        for key, limits in (("phase", NETWORK_THRESHOLDS), ("strict_phase", Thresholds())):
            names = np.array([[_phase(h, limits) for h in row] for row in rows])
            words = "phase" if key == "phase" else "phase by the thresholds of synthetic cases"
            variables[key] = (dims, names, words)
        variables["made"] = (("image", "row", "column"), made, "images of the first network")
        variables["place"] = (("image", "axis"), places, "their labels, in pixels")
        coords: dict[str, Any] = {
            "seed": (("seed",), np.arange(s.seeds), "network"),
            "step": (("step",), [int(h["step"]) for h in rows[0]], "training step"),
        }
        return results.label(variables, coords, "network", results.provenance(asdict(self)))

    def _places(self, bumps: Bumps, n: int) -> Array:
        """Labels at random places, off the grid of training."""
        low, high = bumps.margin, bumps.size - bumps.margin - 1
        return stream(self.seed, "places", n).uniform(low, high, (n, 2)).astype(np.float32)

    def _feature_places(self, labels: _Labels) -> Array:
        """Labels whose representation is read, evenly spread: neighbours in two directions.

        An attenuated code has no other labels than those of its training.
        """
        bumps, count = labels.bumps, self._small.feature_samples
        if labels.attenuation is None:
            return self._places(bumps, count)
        rows = stream(self.seed, "points").permutation(len(bumps.labels))[:count]
        return bumps.labels[rows].astype(np.float32)

    def _evaluation(self, labels: _Labels) -> Callable[[nn.Module], dict[str, float]]:
        s, bumps = self._small, labels.bumps
        places, points = self._places(bumps, s.samples), self._feature_places(labels)

        def evaluate(network: nn.Module) -> dict[str, float]:
            model = bump_model(network, s.num_steps)
            images = _made(model, places, s.size)
            layer = next(iter(model.layers), None)
            if layer is None:
                raise InvalidParameter(
                    f"network {type(network).__name__} names no feature_layer whose features "
                    "are read; give its module a string of that name"
                )
            noise = stream(self.seed, "fixed").standard_normal((1, 1, s.size, s.size))
            snr = float(GaussianNoise(schedule="linear").snr(s.t))
            a = float(np.sqrt(snr / (1 + snr)))

            def features(where: Array) -> Array:
                clean = 2 * bumps.images(where)[:, None] - 1
                x_t = (a * clean + np.sqrt(1 - a**2) * noise).astype(np.float32)
                conditional = model.given(where.astype(np.float32))
                return np.asarray(conditional.features(x_t, s.t)[layer])

            read = read_phase(images, places, features(points), Z_labels=points)
            line = np.linspace(bumps.margin, bumps.size - bumps.margin - 1, 8)
            grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
            Z = features(grid.reshape(-1, 2)).reshape(8, 8, -1)
            _, x, y = location_accuracy(images, places)
            return {**asdict(read), "x_accuracy": float(x), "y_accuracy": float(y),
                    "interaction": float(anova_shares(Z)[2])}  # fmt: skip

        return evaluate

    def _levels(self, folder: Path | None, device: str) -> xr.Dataset:
        """Valid nodes [seed, step, level] of strings made symbol by symbol."""
        s = self._small
        rows, steps = [], []
        noise = MaskingNoise(s.v)
        for k in range(s.level_seeds):
            grammar = RHM(s.v, s.m, 2, s.L).draw(stream(self.seed, "grammar", k))

            def evaluate(network: nn.Module, grammar: Grammar = grammar) -> dict[str, float]:
                model = SequentialModel(symbol_model(network, noise))
                blank = np.full((300, grammar.n_leaves), -1)
                made = model.sample(blank, 1.0, stream(self.seed, "made"))
                valid = grammar.valid_per_level(made)[: s.L]
                return {f"level {l}": float(x.mean()) for l, x in enumerate(valid)}

            plan = TrainConfig(
                steps=s.level_steps, every=max(1, s.level_steps // 20), rate=4e-3, hold=0.6,
                average=0.95, warmup=min(50, s.level_steps), device=device,
            )  # fmt: skip
            name = architecture_for(Grammar, s.level_architecture)
            key = self._key("levels", k, s.v, s.m, s.L) + checkpoint_suffix(Grammar, name)
            narrow = 16 if "leaf_width" in (sizes_of(name) or ()) else None
            _, done = train_symbol_network(
                grammar, noise, plan, width=48, leaf_width=narrow, batch=128, seed=self.seed + k,
                network=name, folder=None if folder is None else folder / key,
                evaluate=evaluate,
            )  # fmt: skip
            steps = [int(h["step"]) for h in done.history]
            rows.append([[h[f"level {l}"] for l in range(s.L)] for h in done.history])
        values = np.array(rows)
        cost = [clustering_cost(RHM(s.v, s.m, 2, s.L), s.L - l)
                for l in range(s.L)]  # fmt: skip
        variables: dict[str, Any] = {
            "valid": (("seed", "step", "level"), values, "share of valid nodes in strings made"),
            "cost": (("level",), cost, "data that resolve the level, v m^(l+1), l its height"),
        }
        coords: dict[str, Any] = {
            "seed": (("seed",), np.arange(s.level_seeds), "grammar and network"),
            "step": (("step",), steps, "training step"),
            "level": (("level",), np.arange(s.L), "level, root = 0"),
        }
        return results.label(variables, coords, "network", results.provenance(asdict(self)))


def _made(model: Any, places: Array, size: int) -> Array:
    """Images [n, size, size] in [0, 1] made from one noise per place."""
    noise = stream(0, "bump noise").standard_normal((len(places), 1, size, size))
    conditional = model.given(places.astype(np.float32))
    made = conditional.sample(noise.astype(np.float32), 1.0, 0)
    return np.asarray(np.clip((made[:, 0] + 1) / 2, 0, 1))


def _phase(read: dict[str, float], limits: Thresholds) -> str:
    names = PhaseReadout.__dataclass_fields__
    return phase(PhaseReadout(**{k: read[k] for k in names}), limits)


# --- what was found -------------------------------------------------------------------------------


def _values(found: dict[str, xr.Dataset]) -> dict[str, Any]:
    """Phases along training, crossing steps of x and y, and the order of the levels."""
    numbers: dict[str, Any] = {}
    for name, ds in found.items():
        if name == "levels":
            continue
        times = {axis: [crossing_time(ds.step.values, ds[f"{axis}_accuracy"].values[k])
                        for k in range(ds.sizes["seed"])] for axis in "xy"}  # fmt: skip
        last = ds.isel(step=-1)
        numbers[name] = {
            "phases": [list(map(str, row)) for row in ds.phase.values],
            "strict phases": [list(map(str, row)) for row in ds.strict_phase.values],
            "crossing": times,
            "steps": ds.step.values.tolist(),
            "readings": {n: ds[n].values.tolist() for n in READINGS},
            "last": {n: [float(last[n].mean()), float(last[n].std())] for n in READINGS},
            "first": {n: float(ds.isel(step=0)[n].mean()) for n in READINGS},
        }
    if "levels" in found:
        ds = found["levels"]
        half = [[_crossed(ds.step.values, ds.valid.values[k, :, l]) for l in ds.level.values]
                for k in range(ds.sizes["seed"])]  # fmt: skip
        ordered = [all(a >= b for a, b in zip(row, row[1:], strict=False)) for row in half]
        numbers["levels"] = {"half valid at": half, "in order": ordered,
                          "last": ds.valid.isel(step=-1).mean("seed").values.tolist()}  # fmt: skip
    return numbers


def _crossed(steps: Array, curve: Array) -> float:
    """First step at which half of the nodes are valid; infinite if never."""
    at = crossing_time(steps, curve, 0.5)
    return float("inf") if np.isnan(at) else at


def _table(found: Mapping[str, xr.Dataset], values: Mapping[str, Any]) -> list[str]:
    """Readings of the first network along training; what follows for every set of labels."""
    lines, bumps = [], {name: ds for name, ds in found.items() if name != "levels"}
    for name, ds in bumps.items():
        rows = []
        for k, step in enumerate(ds.step.values):
            one = ds.isel(seed=0, step=k)
            rows.append([name, int(step), one.phase.values, *(f"{float(one[n]):.2f}"
                                                              for n in READINGS)])  # fmt: skip
        header = ["labels", "step", "phase", *(n.replace("_", " ") for n in READINGS)]
        lines += [text_table(header, rows, keys=3), ""]
    for name in bumps:
        x = values[name]
        lines.append(f"{name} labels: phases {_courses(x['phases'])}")
        for axis, times in x["crossing"].items():
            at = _crossing(times, x["steps"])
            lines.append(f"{name} labels: accuracy 0.6 in {axis} at step {at}")
    if "levels" in found:
        x, mean = values["levels"], found["levels"].valid.mean("seed")
        half = np.array(x["half valid at"])
        cells = ["half at", *(_said(half[:, l]) for l in range(half.shape[1]))]
        rows = [["step", *(f"level {l}" for l in mean.level.values)]]
        for s in mean.step.values[:: max(1, mean.sizes["step"] // 6)]:
            rows.append([str(int(s)), *(f"{share:.2f}" for share in mean.sel(step=s).values)])
        lines += ["", text_table(rows[0], [*rows[1:], cells])]
    return lines


def _courses(rows: list[list[str]]) -> str:
    """Phases in their order, and how many networks take each course."""
    paths = [" -> ".join(p for p, _ in groupby(row)) for row in rows]
    shares = {p: f" ({paths.count(p)} of {len(paths)})" for p in paths} if paths[1:] else {}
    return " or ".join(p + shares.get(p, "") for p in dict.fromkeys(paths))


def _crossing(times: list[float], steps: list[int]) -> str:
    """Mean step; a height that is reached at the first checkpoint was reached at or before it."""
    reached = np.array(times)
    early = int((reached <= steps[0]).sum())
    tail = f" (or before, {early} of {len(reached)}: the first checkpoint)" if early else ""
    return _said(reached) + tail


def _said(times: Array) -> str:
    """Mean and Student error of step numbers, or in how many networks it is not reached."""
    never = int((~np.isfinite(times)).sum())
    if never:
        return f"(not reached in {never} of {len(times)})"
    if len(times) < 2:
        return f"{times[0]:.0f}"
    return f"{times.mean():.0f} ± {float(student_error(times)):.0f}"


def _claim(values: Mapping[str, Any]) -> str:
    """The courses of the phases, and in how many networks levels come in the predicted order."""
    words = [f"bumps with {name} labels pass the phases {_courses(x['phases'])}"
             for name, x in values.items() if name != "levels"]  # fmt: skip
    if "levels" in values:
        order = values["levels"]["in order"]
        words.append(
            f"levels of a grammar are learned from the leaves up in {sum(order)} of {len(order)} "
            "networks"
        )
    return "; ".join(words)


# --- figure ---------------------------------------------------------------------------------------


_COLOURS = {"A": "#b2182b", "B": "#e8a33d", "C": "#2a788e", "transitional": "#e5e0d8"}


_LINES = (
    ("one_bump", "one bump", "k"), ("x_accuracy", "right x", BLUE),
    ("y_accuracy", "right y", ORANGE), ("geodesic_rsa", "order (RSA along)", GREEN),
    ("interaction", "interaction share", OCHRE),
)  # fmt: skip


def _label_sets(name: str, value: Any) -> Mapping[str, xr.Dataset]:
    found: Mapping[str, xr.Dataset] = instance(name, value, Mapping)
    variables = dict.fromkeys(("phase", *(key for key, _, _ in _LINES)), ("seed", "step"))
    for word, ds in found.items():
        needs(instance(f"{name}[{word!r}]", ds, xr.Dataset), variables, _MAKER)
        for letter in np.unique(ds.phase.values):
            one_of("phase", str(letter), _COLOURS)
    return found


@checked(bumps=_label_sets)
def network_composition_figure(
    bumps: Mapping[str, xr.Dataset],
    levels: xr.Dataset | None,
    images: NDArray[Any] | None,
    places: NDArray[Any] | None = None,
) -> Figure:
    """Phases and readings along training, generated bumps, and validity of the levels.

    Parameters
    ----------
    bumps : mapping of str to xarray.Dataset
        A set of labels each, as ``NetworkComposition.datasets`` returns them.
    levels : xarray.Dataset, optional
        The same for strings.
    images : array [k, h, w], optional
        Bumps that the network of the last set of labels has at the end.
    places : array [k, 2], optional
        Where they were asked for, x and y in pixels; marked by a cross.

    Returns
    -------
    matplotlib Figure
    """
    if levels is not None:
        needs(levels, {"valid": ("seed", "step", "level")}, _MAKER)
    if images is not None:
        reals("images", images, ndim=3)
        if len(images) < 2 or not images.size:
            raise InvalidParameter(f"images has shape {images.shape}; give [k >= 2, h, w]")
        if places is not None:
            reals("places", places, shape=(len(images), 2))
    names = list(bumps)
    count = len(names) + (images is not None) + (levels is not None)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3.4 * rows),
                                layout="constrained", squeeze=False)  # fmt: skip
    for spare in axes.ravel()[count:]:
        spare.remove()
    each = iter(axes.ravel())
    for name in names:
        ax = next(each)
        _readings(ax, bumps[name].isel(seed=0))
        panel(ax, chr(97 + names.index(name)), f"{name} labels; phases A to C shaded")
    if names:
        shared_legend(figure, axes[0, 0])
    if images is not None:
        ax = next(each)
        half = len(images) // 2
        lines = [np.concatenate([np.pad(x, 1) for x in part], axis=1)
                 for part in (images[:half], images[half : 2 * half])]  # fmt: skip
        ax.imshow(np.concatenate(lines), cmap="gray", vmin=0, vmax=1)
        if places is not None:
            corner = np.array([(k % half, k // half) for k in range(2 * half)])
            x, y = (corner * (np.array(images.shape[:0:-1]) + 2) + 1 + places[: 2 * half]).T
            ax.plot(x, y, "+", color="#d7301f", ms=7)
        ax.set_axis_off()
        asked = "" if places is None else "; crosses: asked"
        kind = f", {names[-1]} labels" if names else ""
        panel(ax, chr(97 + len(names)), f"at the end{kind}{asked}")
    if levels is not None:
        ax = next(each)
        _levels(ax, levels)
        panel(ax, chr(96 + count), "grammar: levels are learned from below")
    return figure


def _readings(ax: Axes, ds: xr.Dataset) -> None:
    steps = ds.step.values
    edges = np.concatenate([[0], (steps[1:] + steps[:-1]) / 2, [steps[-1]]])
    words = [str(x) for x in ds.phase.values]
    starts = [k for k, word in enumerate(words) if not k or word != words[k - 1]]
    for first, end in zip(starts, [*starts[1:], len(words)], strict=True):
        ax.axvspan(edges[first], edges[end], color=_COLOURS[words[first]], alpha=0.35, lw=0)
        if words[first] != "transitional":
            ax.text((edges[first] + edges[end]) / 2, 1.04, words[first], ha="center", fontsize=9)
    for key, label, colour in _LINES:
        ax.plot(steps, ds[key], marker="o", ms=3, mfc="none", lw=0.9, color=colour, label=label)
    ax.set(xlabel="training step", ylim=(-0.1, 1.12), xlim=(0, steps[-1]))
    ax.spines[["top", "right"]].set_visible(False)


def _levels(ax: Axes, ds: xr.Dataset) -> None:
    colours = level_colours(ds.sizes["level"])
    for level, colour in zip(ds.level.values, colours, strict=True):
        one = ds.valid.sel(level=level)
        n = ds.sizes["seed"]
        error = one.std("seed", ddof=1) / np.sqrt(n) if n > 1 else None
        name = "whole strings" if level == 0 else f"level {level}"
        ax.errorbar(ds.step, one.mean("seed"), error, marker="o", ms=3, mfc="none", lw=0.9,
                    color=colour, label=name)  # fmt: skip
    ax.set(xlabel="training step", ylabel="valid nodes in strings it makes")
    legend(ax)
    ax.spines[["top", "right"]].set_visible(False)
