r"""Representations of low-rank mixtures against noise: from the population to memory.

Train models that know more or less of the truth on N data, noise training and test points to
level sigma, and read features, the denoiser's output, with a signal-to-noise ratio and with
probes.  Whether the curves rise before they fall is asked at *fixed* noise levels,

.. math:: R = \mathrm{SNR}(\sigma^*) / \mathrm{SNR}(\sigma_0),

with :math:`\sigma^*` the population's peak and :math:`\sigma_0` a small level: R > 1 is a bump, R
< 1 a decrease.  (A maximum over noisy points exceeds the first point by construction.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff import results
from hierdiff.checks import (
    array,
    check_fields,
    checked,
    count,
    fraction,
    instance,
    listed,
    memory,
    natural,
    number,
    one_of,
    positive,
    reals,
    whole,
)
from hierdiff.contracts import DiffusionModel
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.seeds import stream
from hierdiff.sims._denoisers import MODELS, Denoiser, ModelName
from hierdiff.sims._feature_tasks import SPLITS, Quantity, Repetition, repeat
from hierdiff.sims.probes import over_seeds
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.mixture.feature_snr import bayes_accuracy, snr, snr_mean_field, snr_peak

__all__ = ["Representation"]

Array: TypeAlias = NDArray[Any]

_DIMS = ("model", "split", "n_train", "sigma")
_TEXT = {
    "snr": "signal-to-noise ratio of the features",
    "projection": "accuracy of the largest class energy",
    "linear": "accuracy of a linear probe",
    "quadratic": "accuracy of a quadratic probe",
}
_GIVEN = "given"


def pair(name: str, value: Any) -> tuple[Any, Any]:
    """Points and their classes."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InvalidParameter(
            f"{name} of type {type(value).__name__} must be two arrays: points and their classes"
        )
    return value[0], value[1]


_Curve: TypeAlias = Callable[[int, int, float, ArrayLike], NDArray[np.float64]]
_LAWS: dict[str, _Curve] = {"exact": snr, "mean_field": snr_mean_field}


def _star_level(name: str, value: Any) -> float | None:
    return None if value is None else number(name, value, above=0, high=1e6)


@dataclass(frozen=True)
class Representation:
    """Quality of denoiser features against noise, for models between population and memory.

    The fields are the command-line flags, and they are stored with every result.

    Notes
    -----
    Validity: orthogonal classes of equal rank and weight.  Seeds share the subspaces and differ in
    data and noise; within a seed all models and noise levels see the same data and the same noise,
    so compare them pairwise.  Errors are over seeds.

    References
    ----------
    Li et al., arXiv 2502.05743.

    Examples
    --------
    >>> experiment = Representation(
    ...     rank=2, dim=6, n_train=(30,), sigmas=(0.1, 1.0), seeds=2, test=30, models=("exact",),
    ...     quantities=("snr",))
    >>> measured = experiment.measure()
    >>> dict(measured.snr.sizes), str(measured.source.values)
    ({'model': 1, 'split': 2, 'n_train': 1, 'sigma': 4}, 'simulation')
    >>> experiment.predict().sigma.values.round(4).tolist()  # with the two levels of the ratio
    [0.02, 0.1, 0.2282, 1.0]
    """

    classes: int = 3
    """Classes K."""
    rank: int = 10
    """Rank d of every class."""
    delta: float = 0.2
    """Amplitude of the residual on the other classes' subspaces."""
    dim: int = 30
    """Ambient dimension, at least K d; nothing exact depends on it."""
    n_train: tuple[int, ...] = (60, 240, 1000)
    """Training points N, spread evenly over the classes."""
    sigmas: tuple[float, ...] = (0.02, 0.1, 0.2, 0.3, 0.5, 0.6, 0.85, 1.1, 1.6)
    """Noise levels, relative to the signal; the two levels of the ratio are always added."""
    models: tuple[ModelName, ...] = ("exact", "fitted", "memorising")
    """What denoises: exact, labelled, fitted, separate (see the manual) or memorising."""
    quantities: tuple[Quantity, ...] = ("snr", "projection", "linear", "quadratic")
    """What is read off the features."""
    seeds: int = 12
    """Independent repetitions, over which errors are taken."""
    test: int = 1500
    """Test points per seed."""
    restarts: int = 6
    """Starts of EM; the best training likelihood is kept."""
    ridge: float = 1.0
    """Penalty of the probes, see hierdiff.sims.probes."""
    reference: float = 0.02
    """The small noise level of the ratio."""
    star: float | None = None
    """The large noise level of the ratio; default the peak of the exact population law."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, n_train=partial(listed, rule=partial(whole, high=10**9)), ridge=positive,
            star=_star_level, reference=partial(number, above=0, high=1e6),
            sigmas=partial(listed, rule=partial(number, above=0, high=1e6), least=0),
            classes=partial(whole, low=2), rank=count, dim=count, delta=fraction,
            seeds=partial(whole, low=2, high=10**6), test=partial(whole, high=10**9),
            restarts=partial(whole, low=1, high=10**5), seed=natural,
        )  # fmt: skip
        least = {"seeds": 2, "test": 2 * self.classes, "restarts": 1, "seed": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {lowest}")
        if not self.n_train or min(self.n_train) < 2 * self.classes:
            raise InvalidParameter(
                f"n_train = {self.n_train} must be numbers >= 2 K = {2 * self.classes}, two points"
                " per class"
            )
        unknown = {*self.models} - {*MODELS}, {*self.quantities} - {*_TEXT}
        if any(unknown) or not self.models or not self.quantities:
            raise InvalidParameter(
                f"models = {self.models} and quantities = {self.quantities} must name some of"
                f" {', '.join(MODELS)} and of {', '.join(_TEXT)}"
            )
        chosen = (*self.sigmas, self.reference, *(() if self.star is None else (self.star,)))
        if not all(np.isfinite(s) and s > 0 for s in chosen):
            raise InvalidParameter(f"noise levels {chosen} must be finite and > 0")
        for name in ("n_train", "models", "sigmas", "quantities"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise InvalidParameter(f"{name} = {getattr(self, name)} names something twice")
        points = max(*self.n_train, self.test)
        memory(f"{points} points of dimension {self.dim}", 8.0 * points * min(self.dim, 1 << 900))
        _ = self.mixture

    @cached_property
    def mixture(self) -> LowRankMixture:
        """The world, the same for all seeds."""
        return LowRankMixture.random(
            self.dim, self.rank, self.classes, delta=self.delta, seed=stream(self.seed, "world")
        )

    @cached_property
    def sigma_star(self) -> float:
        """The large noise level of the ratio, rounded to nine digits.

        Raises
        ------
        InvalidParameter
            If the population has no peak and ``star`` was not given.
        """
        if self.star is not None:
            return self.star
        found = snr_peak(self.classes, self.rank, self.delta).sigma
        if found == 0:
            raise InvalidParameter(
                f"delta = {self.delta} lies above the onset: the population's SNR has no peak;"
                " lower delta or give star"
            )
        return round(found, 9)

    @cached_property
    def levels(self) -> Array:
        """All noise levels, increasing."""
        return np.unique([*self.sigmas, self.reference, self.sigma_star])

    @results.tracked
    @checked
    def predict(self, law: str = "exact", sigma: ArrayLike | None = None) -> xr.Dataset:
        """What a law says of the population's denoiser, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"exact", "mean_field"}
            The exact one-dimensional evaluation, or the paper's closed form.
        sigma : array, optional
            Noise levels; default those of the measurement.

        Returns
        -------
        xarray.Dataset
            ``snr`` (model, split, n_train, sigma), ``ratio`` (model, split, n_train), the law's
            own ``peak_sigma`` and ``peak_value``; from the exact law also ``projection`` and
            ``projection_rise``.  The law is repeated for every model, so that
            ``results.compare`` tells how far each is from the population.

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: "exact" for the exact model and infinitely many points; "mean_field" moves an
        expectation inside the softmax, which misplaces the peak.
        """
        law = one_of("law", law, _LAWS)
        levels = self.levels if sigma is None else reals("sigma", sigma, 0, ndim=1, least=1)
        world, marks = (self.classes, self.rank, self.delta), [self.reference, self.sigma_star]
        names = (*self.models, _GIVEN)
        shape = (len(names), len(SPLITS), len(self.n_train))
        ends = _LAWS[law](*world, marks)
        peak = snr_peak(*world, curve=_LAWS[law])
        found = {"snr": _LAWS[law](*world, levels), "ratio": np.asarray(ends[1] / ends[0])}
        if law == "exact":
            found["projection"] = bayes_accuracy(*world, levels)
            low, high = bayes_accuracy(*world, marks)
            found["projection_rise"] = np.asarray(high - low)
        variables: dict[str, tuple[tuple[str, ...], Any, str]] = {
            "peak_sigma": ((), peak.sigma, "noise level of the law's peak"),
            "peak_value": ((), peak.value, "SNR at the law's peak"),
        }
        for name, values in found.items():
            whole = np.broadcast_to(values, shape + values.shape)
            dims = _DIMS[: whole.ndim]
            variables[name] = (dims, whole, self._words(name))
            zero = np.zeros(whole.shape)
            variables[f"{name}_error"] = (dims, zero, "no error")
        return self._label(variables, names, self.n_train, levels, "theory", law)

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Features of all models at all noise levels, read on training and on test points.

        Parameters
        ----------
        model : DiffusionModel, optional
            Measured instead of ``models``, under the name "given"; it must denoise vectors of
            ``dim`` entries with ``GaussianNoise()``.
        data : (array [N, D], int array [N]), optional
            Training points and their classes, drawn from ``self.mixture``; default drawn anew for
            every seed and every N.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            For q in quantities: ``q`` (model, split, n_train, sigma), ``q_error``, ``q_by_seed``
            (seed in front); ``ratio`` of the SNR, and for accuracies ``q_rise``, the difference
            between the two levels of the ratio, paired within seeds, with errors.

        Raises
        ------
        InvalidParameter
            For a model of other noise, or data of another shape.

        Notes
        -----
        Validity: probes are trained on the noisy training points, one noise draw per point, and
        scored on both splits.  The SNR is free of bias to O(1/n^2) in the points n of a class.
        """
        given = None if data is None else self._checked(*pair("data", data))
        sizes = self.n_train if given is None else (len(given[0]),)
        if workers is not None:
            workers = whole("workers", workers, None)
        names = self.models if model is None else (_GIVEN,)
        words = "drawn" if given is None else "given"
        denoiser = None if model is None else self._adapted(model)
        shared = Repetition(
            self.mixture, self.levels, names, self.quantities, self.test, self.restarts,
            self.ridge, self.seed,
        )  # fmt: skip
        tasks = []
        for n in sizes:
            for s in range(self.seeds):
                spec = {k: v for k, v in asdict(self).items() if k not in ("n_train", "seeds")}
                parameters = {"version": 1, "question": "representation", **spec,
                              "models": names, "world": words, "n": n, "repetition": s}  # fmt: skip
                tasks.append(Task(repeat, (shared, n, s, given, denoiser), parameters))
        found = run_tasks(
            tasks, folder, workers=workers, cluster=cluster, name="representation"
        )  # fmt: skip
        curves = {
            q: np.moveaxis(np.stack([f[q] for f in found]), 0, 2).reshape(
                len(names), 2, len(sizes), self.seeds, -1
            )
            for q in self.quantities
        }
        source = "network" if model is not None and model.source == "network" else "simulation"
        return self._summarise(curves, names, sizes, source)

    def _summarise(
        self, curves: dict[Quantity, Array], names: tuple[str, ...], sizes: tuple[int, ...],
        source: str,
    ) -> xr.Dataset:  # fmt: skip
        low, high = np.searchsorted(self.levels, [self.reference, self.sigma_star])
        found: dict[str, Array] = {}
        for q, values in curves.items():
            found[q] = np.moveaxis(values, 3, 0)  # seeds in front
            ends = found[q][..., high], found[q][..., low]
            if q == "snr":
                found["ratio"] = ends[0] / ends[1]
            else:
                found[f"{q}_rise"] = ends[0] - ends[1]
        variables: dict[str, tuple[tuple[str, ...], Any, str]] = {}
        for name, values in found.items():
            dims, text = _DIMS[: values.ndim - 1], self._words(name)
            mean, error = over_seeds(values)
            variables[name] = (dims, mean, text)
            variables[f"{name}_error"] = (dims, error, f"standard error of: {text}")
            variables[f"{name}_by_seed"] = (("seed", *dims), values, text)
        return self._label(variables, names, sizes, self.levels, source, "")

    def _words(self, name: str) -> str:
        if name == "ratio":
            return f"SNR({self.sigma_star:.4g}) / SNR({self.reference:.4g})"
        if name.endswith("_rise"):
            text = _TEXT[name.removesuffix("_rise")]
            return f"{text} at {self.sigma_star:.4g} minus at {self.reference:.4g}"
        return _TEXT[name]

    def _label(
        self, variables: dict[str, Any], names: tuple[str, ...], sizes: tuple[int, ...],
        levels: Array, source: str, law: str,
    ) -> xr.Dataset:  # fmt: skip
        coords: dict[str, tuple[tuple[str, ...], Any, str]] = {
            "model": (("model",), list(names), "what denoises"),
            "split": (("split",), list(SPLITS), "points that are read"),
            "n_train": (("n_train",), list(sizes), "training points N"),
            "sigma": (("sigma",), levels, "noise level sigma, relative to the signal"),
        }
        attributes = {**results.provenance(asdict(self)), **({"law": law} if law else {})}
        return results.label(variables, coords, source, attributes)

    def _checked(self, x: ArrayLike, k: ArrayLike) -> tuple[Array, NDArray[np.intp]]:
        points, labels = reals("data[0]", x), array("data[1]", k)
        if points.ndim != 2 or points.shape[1] != self.dim or labels.shape != (len(points),):
            raise InvalidParameter(
                f"data of shapes {points.shape} and {labels.shape} must be points [N,"
                f" {self.dim}] and their classes [N]"
            )
        if labels.dtype.kind not in "iu" or {*np.unique(labels)} != {*range(self.classes)}:
            raise InvalidParameter(
                f"classes {np.unique(labels).tolist()} of the data must be the integers 0 .."
                f" {self.classes - 1}, each present"
            )
        return points, labels.astype(np.intp)

    def _adapted(self, model: DiffusionModel) -> Denoiser:
        """A model in time as a function of sigma."""
        noise = instance("model", model, DiffusionModel).noise
        if not isinstance(noise, GaussianNoise) or noise.v is not None:
            raise InvalidParameter(
                f"model {type(model).__name__} with {noise.name} noise of v = {noise.v} symbols"
                " does not denoise vectors; give one with GaussianNoise()"
            )

        def denoise(y: Array, sigma: float) -> Array:
            x_t = y / np.sqrt(1 + sigma**2)
            return np.asarray(model.denoise(x_t, noise.level(sigma**-2)), dtype=float)

        return denoise
