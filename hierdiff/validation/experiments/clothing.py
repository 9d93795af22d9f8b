r"""The five questions on photographs of clothing, to networks that are trained once for all.

==============  ===================================================================================
part            question
==============  ===================================================================================
``u-turns``     noised and denoised, is the class lost before the family, and high layers of a
                classifier before low ones?
``probes``      where along the noise do layers know the class best, for training sets of all sizes?
``judges``      how does the denoising error classify, beside a discriminative network of the size?
``order``       do families come before classes in what is made during training?
``triplets``    which layers find the odd one out in the tree of classes, beside those of the
                discriminative network?
==============  ===================================================================================

Fashion-MNIST has ten classes in four families (:mod:`hierdiff.data.fashion`).  Three networks of
every kind have weights, batches and training images of their own; errors are Student's over them.
What stands in for people is the tree of classes: nobody was asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import xarray as xr

from hierdiff import results
from hierdiff._display import experiment_html
from hierdiff.checks import (
    check_fields,
    checked,
    listed,
    natural,
    no_model,
    number,
    one_level,
    one_of,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.fashion import FASHION_CLASSES
from hierdiff.errors import InvalidParameter
from hierdiff.plots import Figure
from hierdiff.tasks import Task, run_tasks
from hierdiff.validation.execution import usable_device
from hierdiff.validation.experiments import clear_checkpoints, clothing_readings
from hierdiff.validation.experiments.clothing_answers import answers, claim, table
from hierdiff.validation.experiments.clothing_figures import figures
from hierdiff.validation.experiments.clothing_networks import (
    CLOTHING_LAYERS,
    ClothingNetworks,
    ClothingSizes,
)
from hierdiff.validation.experiments.clothing_readings import KINDS, named

__all__ = ["PARTS", "NetworkClothing"]

Datasets: TypeAlias = Mapping[str, xr.Dataset]

PARTS = ("u-turns", "probes", "judges", "order", "triplets")
"""The five questions."""
_COUNT = partial(whole, low=1, high=10**9)
_LEVELS = partial(listed, rule=one_level, least=2, rising=True)
_CLASSES = len(FASHION_CLASSES)


def _parts(name: str, value: Any) -> tuple[str, ...]:
    return listed(name, value, lambda one, word: one_of(one, word, PARTS))


@dataclass(frozen=True)
class NetworkClothing:
    """All five questions on photographs of clothing, to networks that are trained once.

    Notes
    -----
    Validity: classes of what networks make are a classifier's opinion; the tree of classes stands
    for people.  Errors are Student's over the networks.

    Examples
    --------
    >>> NetworkClothing(parts=("judges",)).networks
    3
    """

    parts: tuple[str, ...] = PARTS
    """Questions: u-turns, probes, judges, order, triplets."""
    size: Literal[14, 28] = 14
    """Pixels of a side; 14 are means over 2 x 2 pixels."""
    networks: int = 3
    """Networks of every kind, over which errors are taken."""
    n_train: tuple[int, ...] = (0,)
    """Training images of the networks that are probed; 0 takes all 60,000."""
    channels: int = 32
    """Width of the U-Net at full size."""
    multipliers: tuple[int, ...] = (1, 1)
    """Width at each resolution over that."""
    classifier_width: int = 32
    """Width of the discriminative network; 32 give it the size of the default U-Net."""
    batch: int = 32
    """Images per training step, of both."""
    steps: int = 600
    """Training steps, of both."""
    label_share: float = 0.6
    """Share of the training steps in which the U-Net is given the class."""
    num_steps: int = 50
    """Steps of the reverse chain from t = 1."""
    bfloat16: bool = False
    """Train the U-Nets in bfloat16, with weights in float32: for accelerators."""
    t: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
    """Noise levels of the U-turns (linear schedule)."""
    data: int = 100
    """Test images that are noised and denoised, and that are classified."""
    probe_t: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6)
    """Noise levels at which layers are probed."""
    fit: int = 1000
    """Training images on which probes are fitted."""
    test: int = 500
    """Test images on which they are read."""
    shots: int = 5
    """Images per class of the small probe."""
    strata: int = 10
    """Times at which an image is judged, each with a noise and its negative."""
    triplet_t: tuple[float, ...] = (0.02, 0.1, 0.3, 0.5)
    """Noise levels at which the odd one is found."""
    objects: int = 300
    """Test images of the triplets."""
    triplets: int = 1500
    """Triplets of each kind."""
    seed: int = 0
    """Seed of everything random."""

    name: ClassVar[str] = "network_clothing"
    files: ClassVar[tuple[str, ...]] = (
        "network_clothing", "network_clothing_mixture", "network_clothing_flat",
    )  # fmt: skip
    _repr_html_ = experiment_html

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self, parts=_parts, networks=partial(whole, low=2, high=1000), seed=natural,
            n_train=partial(listed, rule=partial(whole, high=60_000)),
            multipliers=partial(listed, rule=_COUNT, distinct=False), channels=_COUNT,
            classifier_width=_COUNT, batch=_COUNT, steps=_COUNT, num_steps=_COUNT, shots=_COUNT,
            label_share=partial(number, above=0, below=1), t=_LEVELS, probe_t=_LEVELS,
            triplet_t=_LEVELS, data=partial(whole, low=_CLASSES, high=10_000),
            fit=partial(whole, low=2 * _CLASSES, high=60_000),
            test=partial(whole, low=_CLASSES, high=10_000), strata=_COUNT,
            objects=partial(whole, low=2 * _CLASSES, high=10_000), triplets=_COUNT,
        )  # fmt: skip
        if self.n_train[-1] != 0 or 0 < min((*self.n_train[:-1], _CLASSES)) < _CLASSES:
            raise InvalidParameter(
                f"n_train = {self.n_train} must end with 0, all images, after sizes of at least "
                f"{_CLASSES}"
            )

    @property
    def sizes(self) -> ClothingSizes:
        """What the networks are."""
        names = ("size", "channels", "multipliers", "batch", "steps", "label_share",
                 "classifier_width", "num_steps", "bfloat16", "seed")  # fmt: skip
        return ClothingSizes(**{name: getattr(self, name) for name in names})

    @results.tracked
    @checked
    def predict(self, law: Literal["mixture", "flat"] = "mixture") -> xr.Dataset:
        """Class and family that come back in a mixture of one low-rank Gaussian per class.

        Parameters
        ----------
        law : {"mixture", "flat"}
            Fitted to the training images, or with the same variances in random directions.

        Returns
        -------
        xarray.Dataset
            ``class_kept``, ``family_kept`` and ``stayed`` (t), with errors over draws.

        Raises
        ------
        InvalidParameter
            If Fashion-MNIST is not on this machine.

        Notes
        -----
        Validity: exact posteriors of the mixture; photographs have no law.
        """
        mixture = clothing_readings.class_mixture(ClothingNetworks(self.sizes))
        if law == "flat":
            mixture = clothing_readings.flat_mixture(mixture, self.seed)
        found = clothing_readings.mixture_retention(mixture, self.t, seed=self.seed)
        texts = {"class_kept": "class kept", "family_kept": "family kept",
                 "stayed": "a class that changes stays in its family"}  # fmt: skip
        variables: dict[str, Any] = {}
        for name, text in texts.items():
            variables |= results.with_error(name, ("t",), found[name], found[f"{name}_error"], text)
        words = {**asdict(self), "law": law}
        return results.label(variables, self._levels("t"), "theory", results.provenance(words))

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
        """Readings of all networks for the parts that are asked for.

        Parameters
        ----------
        model, data
            Refused: the study trains its networks; the other experiments on networks take one.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`; networks are read one after another.

        Returns
        -------
        xarray.Dataset
            Per network, so that errors can be taken over them.

        Raises
        ------
        InvalidParameter
            If a model is given, or Fashion-MNIST is not on this machine.

        Notes
        -----
        Validity: as the class says.
        """
        no_model(self.name, model, data, "it trains the networks that it compares; put one of "
                 "yours into network-phase-transition own and its like")  # fmt: skip
        place = None if folder is None else Path(folder)
        return self._measured(place, None, "cpu", cluster)

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Both mixtures and the networks."""
        no_model(self.name, model, data, "it trains the networks that it compares")
        usable_device(run.device)
        if not run.resume:
            clear_checkpoints(run.folder, "clothing-*")
        options = run.tasks(self.name)
        found = self._measured(
            options["folder"], run.folder, run.device, options.get("cluster")
        )  # fmt: skip
        if "u-turns" not in self.parts:
            return {self.name: found}
        laws = {f"{self.name}_{law}": self.predict(law) for law in ("mixture", "flat")}
        return {**laws, self.name: found}

    def figure(self, datasets: Datasets) -> Mapping[str, Figure]:
        """The answers, and pictures that a person would look at."""
        return figures(self, datasets)

    def summary(self, datasets: Datasets) -> Summary:
        """The answers in numbers."""
        found = answers(self, datasets)
        return Summary(table(found), claim(found), found)

    # ------------------------------------------------------------------------------ measurement

    def _levels(self, name: str) -> dict[str, Any]:
        return {name: ((name,), list(getattr(self, name)), "noise level t")}

    def _measured(
        self, folder: Path | None, kept: Path | None, device: str, cluster: str | None
    ) -> xr.Dataset:
        """All parts; ``kept`` is where checkpoints are."""
        networks = ClothingNetworks(self.sizes, kept, device)
        networks.images("test")
        variables: dict[str, Any] = {}
        coords: dict[str, Any] = {
            "network": (("network",), np.arange(self.networks), "network"),
            "class": (("class",), list(FASHION_CLASSES), "class of clothing"),
        }
        for part in PARTS:
            if part in self.parts:
                values, axes = getattr(self, f"_{part.replace('-', '_')}")(
                    networks, partial(self._run, folder=folder, cluster=cluster)
                )
                variables |= values
                coords |= axes
        return results.label(variables, coords, "network", results.provenance(asdict(self)))

    def _run(
        self, reading: Any, networks: ClothingNetworks, arguments: list[tuple[Any, ...]],
        *, folder: Path | None, cluster: str | None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """A reading for several arguments, each a task of its own that is kept."""
        question = f"clothing, {reading.__name__}"
        tasks = [
            Task(reading, (networks, *one),
                 {"version": 1, "question": question, "arguments": one, **asdict(self.sizes)})
            for one in arguments
        ]  # fmt: skip
        # weights are drawn from torch's only stream, so one at a time
        found = run_tasks(tasks, folder, workers=1, name=reading.__name__, cluster=cluster)
        return [dict(one) for one in found]

    def _u_turns(self, networks: ClothingNetworks, run: Any) -> tuple[Any, Any]:
        words = [(k, self.t, self.data) for k in range(self.networks)]
        found = run(clothing_readings.u_turns, networks, words)
        made = run(clothing_readings.sheet, networks, [(0,)])[0]
        layers = named(found[0]["layers"])
        values = {
            "start": (("network", "image"), _stack(found, "start"), "class before"),
            "end": (("network", "t", "image"), _stack(found, "end"), "class after"),
            "similarity": (
                ("network", "layer", "t"), _stack(found, "similarity"),
                "cosine of standardised activations above the floor of random pairs",
            ),
            "pictures": (
                ("turn", "picture", "row", "column"), found[0]["pictures"],
                "photographs, and what comes back at every t, network 0",
            ),
            "made": (("class", "sample", "row", "column"), made["made"], "made for a class"),
            "photographs": (("class", "photograph", "row", "column"), made["real"], "photographs"),
        }  # fmt: skip
        return values, {
            **self._levels("t"),
            "layer": (("layer",), layers, "layer of the classifier"),
        }

    def _probes(self, networks: ClothingNetworks, run: Any) -> tuple[Any, Any]:
        rest = (self.probe_t, self.shots, self.fit, self.test)
        law = run(clothing_readings.probed, networks, [(None, 0, *rest)])[0]
        words = [(size, k, *rest) for size in self.n_train for k in range(self.networks)]
        found = run(clothing_readings.probed, networks, words)
        layers = named(found[0]["layers"])
        # [size, network, ...] as [network, size, ...]
        shape = (len(self.n_train), self.networks)
        both = {
            name: np.moveaxis(_stack(found, name).reshape(*shape, *found[0][name].shape), 0, 1)
            for name in ("accuracy", "gain")
        }
        axes = ("network", "n_train", "probe", "probed_layer")
        last = named(law["layers"]).index("output")
        texts = ("accuracy of a linear probe for the class", "interior-peak gain")
        values: dict[str, Any] = {
            "accuracy": ((*axes, "probe_t"), both["accuracy"], texts[0]),
            "gain": (axes, both["gain"], texts[1]),
        }
        for name, dims, text in (("accuracy", ("probe", "probe_t"), texts[0]),
                                 ("gain", ("probe",), texts[1])):  # fmt: skip
            values |= results.with_error(
                f"mixture_{name}",
                dims,
                law[name][:, last],
                law[f"{name}_error"][:, last],
                f"{text}, posterior mean of the mixture",
            )
        return values, {
            **self._levels("probe_t"),
            "probe": (("probe",), ["all", "few"], f"all images, or {self.shots} per class"),
            "n_train": (("n_train",), list(self.n_train), "training images, 0: all 60,000"),
            "probed_layer": (("probed_layer",), layers, "layer that is probed"),
        }

    def _judges(self, networks: ClothingNetworks, run: Any) -> tuple[Any, Any]:
        words = [(k, self.data, self.strata) for k in range(self.networks)]
        found = run(clothing_readings.judged, networks, words)
        axes = ("network", "judged")
        return {
            "errors": ((*axes, "sample_of", "class"), _stack(found, "errors"),
                       "squared error of the denoised image"),
            "times": ((*axes, "sample_of"), _stack(found, "times"), "time of the sample (cosine)"),
            "logits": ((*axes, "class"), _stack(found, "logits"), "logits of the classifier"),
            "label": (("judged",), found[0]["label"], "class"),
            "classifier_accuracy": (("network",), _stack(found, "accuracy"),
                                    "accuracy of the classifier on all test images"),
        }, {}  # fmt: skip

    def _order(self, networks: ClothingNetworks, run: Any) -> tuple[Any, Any]:
        # readings are kept with the checkpoints
        found = [networks.order(k) for k in range(self.networks)]
        axes = ("network", "step", "class")
        texts = {"class_right": "made for a class and read as it",
                 "family_right": "made for a class and read as one of its family",
                 "found": "made without a class and read as it"}  # fmt: skip
        values = {name: (axes, _stack(found, name), text) for name, text in texts.items()}
        return values, {"step": (("step",), found[0]["step"], "training step")}

    def _triplets(self, networks: ClothingNetworks, run: Any) -> tuple[Any, Any]:
        words = [(k, self.triplet_t, self.objects, self.triplets) for k in range(self.networks)]
        found = run(clothing_readings.odd_ones, networks, words)
        text = "odd one found"
        return {
            "odd": (("network", "condition", "block", "triplet_t", "kind"),
                    _stack(found, "scores"), text),
            "odd_classifier": (("network", "classifier_layer", "kind"),
                               _stack(found, "classifier"), f"{text} by the classifier"),
            "odd_pixels": (("kind",), found[0]["pixels"], f"{text} by the pixels"),
        }, {
            **self._levels("triplet_t"),
            "kind": (("kind",), list(KINDS), "what decides the triplet"),
            "condition": (("condition",), ["no class", "class given"], "condition"),
            "block": (("block",), list(CLOTHING_LAYERS), "layer of the U-Net"),
            "classifier_layer": (("classifier_layer",), named(found[0]["layers"]),
                                 "layer of the classifier"),
        }  # fmt: skip


def _stack(found: list[dict[str, Any]], name: str) -> Any:
    return np.stack([one[name] for one in found])
