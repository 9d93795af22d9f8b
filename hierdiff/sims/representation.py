r"""Representations of low-rank mixtures against noise: from the population to memory.

Denoisers that carry more or less of the data distribution are fitted to N data; training and test
points are noised to level sigma; features, the denoiser's output, are read by a signal-to-noise
ratio and by probes.  Whether a curve rises before it falls is asked at two *fixed* noise levels,

.. math:: R = \mathrm{SNR}(\sigma_{peak}) / \mathrm{SNR}(\sigma_{low}),

with :math:`\sigma_{peak}` the peak of the population's law and :math:`\sigma_{low}` a small level:
R > 1 is an interior peak, R < 1 a decrease.  (A maximum over noisy points exceeds the first point
by construction.)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
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
    text,
    whole,
)
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import has_snr
from hierdiff.plots import (
    BLUE,
    GREEN,
    GREY,
    OCHRE,
    ORANGE,
    PURPLE,
    Axes,
    Figure,
    measured_last,
    needs,
    panel,
    pick,
    plt,
    shared_legend,
    sources,
    style,
    ticker,
)
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims.metrics.estimators import Crossing, crossing
from hierdiff.sims.metrics.probes import (
    feature_snr,
    linear_probe,
    over_seeds,
    projection_accuracy,
    quadratic_probe,
)
from hierdiff.sims.models.fitted import (
    LABELS,
    MODELS,
    OLD_MODELS,
    Denoiser,
    ModelName,
    denoiser_of,
)
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.mixture.feature_snr import bayes_accuracy, snr, snr_mean_field, snr_peak

__all__ = [
    "MODEL_COLOURS",
    "Representation",
    "balanced_sample",
    "crossover",
    "representation",
    "representation_figure",
]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.intp]
Quantity: TypeAlias = Literal["snr", "projection", "linear", "quadratic"]

SPLITS = ("train", "test")
_DIMS = ("model", "split", "n_train", "sigma")
_TEXT = {
    "snr": "signal-to-noise ratio of the features",
    "projection": "accuracy of the largest class energy",
    "linear": "accuracy of a linear probe",
    "quadratic": "accuracy of a quadratic probe",
}
_GIVEN = "given"


def _points_and_classes(name: str, value: Any) -> tuple[Any, Any]:
    """Points and their classes."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InvalidParameter(
            f"{name} of type {type(value).__name__} must be two arrays: points and their classes"
        )
    return value[0], value[1]


_Curve: TypeAlias = Callable[[int, int, float, ArrayLike], NDArray[np.float64]]
_LAWS: dict[str, _Curve] = {"exact": snr, "mean_field": snr_mean_field}


def _models(name: str, value: Any) -> tuple[str, ...]:
    """Names of models, also those of an older version."""
    given = listed(name, value, text, least=0, distinct=False)
    found = tuple(OLD_MODELS.get(model, model) for model in given)
    if found != given:
        warnings.warn(f"{name} = {given} are now {found}", FutureWarning, stacklevel=5)
    return tuple(one_of(f"{name}[{i}]", model, MODELS) for i, model in enumerate(found))


def _level_or_none(name: str, value: Any) -> float | None:
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

    name: ClassVar[str] = "representation"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = (
        "representation", "representation_theory", "representation_mean_field"
    )  # fmt: skip
    renamed: ClassVar[Mapping[str, str]] = {"star": "sigma_peak", "reference": "sigma_low"}
    renamed_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"models": OLD_MODELS}

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
    models: tuple[ModelName, ...] = ("exact", "ppca_mixture", "memorising")
    """What denoises: exact (the oracle), supervised_ppca, ppca_mixture or ppca_mixture_own (by EM,
    with a shared residual or with their own), memorising."""
    quantities: tuple[Quantity, ...] = ("snr", "projection", "linear", "quadratic")
    """What is read off the features."""
    seeds: int = 12
    """Independent repetitions, over which errors are taken."""
    test: int = 1500
    """Test points per seed."""
    restarts: int = 6
    """Starts of EM; the best training likelihood is kept."""
    ridge: float = 1.0
    """Penalty of the probes, see hierdiff.sims.metrics.probes."""
    sigma_low: float = 0.02
    """The small noise level of the ratio."""
    sigma_peak: float | None = None
    """The large noise level of the ratio; default the peak of the exact population law."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, n_train=partial(listed, rule=partial(whole, high=10**9)), ridge=positive,
            sigma_peak=_level_or_none, sigma_low=partial(number, above=0, high=1e6),
            sigmas=partial(listed, rule=partial(number, above=0, high=1e6), least=0),
            classes=partial(whole, low=2), rank=count, dim=count, delta=fraction,
            seeds=partial(whole, low=2, high=10**6), test=partial(whole, high=10**9),
            restarts=partial(whole, low=1, high=10**5), seed=natural, models=_models,
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
        chosen = (
            *self.sigmas,
            self.sigma_low,
            *(() if self.sigma_peak is None else (self.sigma_peak,)),
        )
        positive("noise levels", chosen)
        for name in ("n_train", "models", "sigmas", "quantities"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise InvalidParameter(f"{name} = {getattr(self, name)} names something twice")
        points = max(*self.n_train, self.test)
        memory(f"{points} points of dimension {self.dim}", 8.0 * points * min(self.dim, 1 << 900))
        _ = self.mixture

    @cached_property
    def mixture(self) -> LowRankMixture:
        """The data distribution, the same for all seeds."""
        return LowRankMixture.random(
            self.dim, self.rank, self.classes, delta=self.delta, seed=stream(self.seed, "world")
        )

    @cached_property
    def sigma_high(self) -> float:
        """The large noise level of the ratio, rounded to nine digits.

        Raises
        ------
        InvalidParameter
            If the population has no peak and ``sigma_peak`` was not given.
        """
        if self.sigma_peak is not None:
            return self.sigma_peak
        found = snr_peak(self.classes, self.rank, self.delta).sigma
        if found == 0:
            raise InvalidParameter(
                f"delta = {self.delta} lies above the onset: the population's SNR has no peak;"
                " lower delta or give sigma_peak"
            )
        return round(found, 9)

    @cached_property
    def noise_levels(self) -> Array:
        """All noise levels, increasing."""
        return np.unique([*self.sigmas, self.sigma_low, self.sigma_high])

    @results.tracked
    @checked
    def predict(self, law: str = "exact", sigma: ArrayLike | None = None) -> xr.Dataset:
        """The law of the population's denoiser, in the labels of :meth:`measure`.

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
            ``results.compare`` gives the z-score of each against the population.

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
        levels = self.noise_levels if sigma is None else reals("sigma", sigma, 0, ndim=1, least=1)
        parameters, marks = (self.classes, self.rank, self.delta), [self.sigma_low, self.sigma_high]
        names = (*self.models, _GIVEN)
        shape = (len(names), len(SPLITS), len(self.n_train))
        ends = _LAWS[law](*parameters, marks)
        peak = snr_peak(*parameters, curve=_LAWS[law])
        found = {"snr": _LAWS[law](*parameters, levels), "ratio": np.asarray(ends[1] / ends[0])}
        if law == "exact":
            found["projection"] = bayes_accuracy(*parameters, levels)
            low, high = bayes_accuracy(*parameters, marks)
            found["projection_rise"] = np.asarray(high - low)
        variables: dict[str, tuple[tuple[str, ...], Any, str]] = {
            "peak_sigma": ((), peak.sigma, "noise level of the law's peak"),
            "peak_value": ((), peak.value, "SNR at the law's peak"),
        }
        for name, values in found.items():
            whole = np.broadcast_to(values, shape + values.shape)
            dims, zero = _DIMS[: whole.ndim], np.zeros(whole.shape)
            variables |= results.with_error(name, dims, whole, zero, self._words(name))
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
        given = None if data is None else self._checked(*_points_and_classes("data", data))
        sizes = self.n_train if given is None else (len(given[0]),)
        if workers is not None:
            workers = whole("workers", workers, None)
        names = self.models if model is None else (_GIVEN,)
        words = "drawn" if given is None else "given"
        denoiser = None if model is None else self._adapted(model)
        shared = _Repetition(
            self.mixture, self.noise_levels, names, self.quantities, self.test, self.restarts,
            self.ridge, self.seed,
        )  # fmt: skip
        tasks = []
        for n in sizes:
            for s in range(self.seeds):
                spec = {k: v for k, v in asdict(self).items() if k not in ("n_train", "seeds")}
                parameters = {"version": 1, "question": "representation", **spec,
                              "models": names, "data": words, "n": n, "repetition": s}  # fmt: skip
                tasks.append(Task(_repeat, (shared, n, s, given, denoiser), parameters))
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
        return self._averaged(curves, names, sizes, source)

    def datasets(
        self, run: Run, model: DiffusionModel | None = None,
        data: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> dict[str, xr.Dataset]:  # fmt: skip
        """The exact law and the closed form on a fine grid, and the measurement."""
        measured = self.measure(model, data, **run.tasks(self.name))
        levels = measured.sigma.values
        fine = np.union1d(levels, np.geomspace(levels[0], levels[-1], 60))
        return {
            "representation_theory": self.predict("exact", fine),
            "representation_mean_field": self.predict("mean_field", fine),
            "representation": measured,
        }

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """SNR for growing N above, what classifiers read below."""
        return representation_figure(*datasets.values())

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Interior-peak gain of every model on test points, and the test of the exact law."""
        exact, mean_field, measured = datasets.values()
        values = _findings(self, exact, mean_field, measured)
        return Summary(_table(measured), _claim(values), values)

    def _averaged(
        self, curves: dict[Quantity, Array], names: tuple[str, ...], sizes: tuple[int, ...],
        source: str,
    ) -> xr.Dataset:  # fmt: skip
        low, high = np.searchsorted(self.noise_levels, [self.sigma_low, self.sigma_high])
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
            variables |= results.with_error(name, dims, mean, error, text)
            variables[f"{name}_by_seed"] = (("seed", *dims), values, text)
        return self._label(variables, names, sizes, self.noise_levels, source, "")

    def _words(self, name: str) -> str:
        if name == "ratio":
            return f"SNR({self.sigma_high:.4g}) / SNR({self.sigma_low:.4g})"
        if name.endswith("_rise"):
            text = _TEXT[name.removesuffix("_rise")]
            return f"{text} at {self.sigma_high:.4g} minus at {self.sigma_low:.4g}"
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
        if not has_snr(noise) or noise.v is not None:
            raise InvalidParameter(
                f"model {type(model).__name__} with {noise.name} noise of v = {noise.v} symbols"
                " does not denoise vectors; give one with GaussianNoise()"
            )

        def denoise(y: Array, sigma: float) -> Array:
            x_t = y / np.sqrt(1 + sigma**2)
            return np.asarray(model.denoise(x_t, noise.level(sigma**-2)), dtype=float)

        return denoise


# --- one repetition: draw, fit, denoise, read -----------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Repetition:
    """What all repetitions share; fields as in ``Representation``."""

    mixture: LowRankMixture
    levels: Floats
    models: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    test: int
    restarts: int
    ridge: float
    seed: int


@checked(n=partial(whole, low=1, high=10**9))
def balanced_sample(
    mixture: LowRankMixture, n: int, seed: Seed
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Draw data with the classes evenly filled, the first ones with one more where n % K > 0.

    Parameters
    ----------
    mixture : LowRankMixture
        Its weights are ignored.
    n : int
        Number of data, at least K.
    seed : Seed
        Source of randomness.

    Returns
    -------
    x : array [n, D]
    k : int array [n], increasing

    Raises
    ------
    InvalidParameter
        If n < K.

    Notes
    -----
    Validity: exact draws given the class.

    Examples
    --------
    >>> x, k = balanced_sample(LowRankMixture.random(4, 2, 2, seed=0), 5, seed=1)
    >>> x.shape, k.tolist()
    ((5, 4), [0, 0, 0, 1, 1])
    """
    classes = mixture.n_classes
    if n < classes:
        raise InvalidParameter(f"n = {n} data cannot fill K = {classes} classes; raise n")
    rng, k = generator(seed), np.sort(np.arange(n) % classes)
    parts = []
    for c, points in enumerate(np.bincount(k)):
        alone = LowRankMixture(
            mixture.bases, np.eye(classes)[c], mixture.variances, mixture.delta, mixture.residual,
            mixture.means,
        )  # fmt: skip
        parts.append(alone.sample(int(points), rng)[0])
    return np.concatenate(parts), k


def _repeat(
    e: _Repetition, n: int, s: int, data: tuple[Floats, Labels] | None, given: Denoiser | None
) -> dict[str, Array]:
    """All quantities [model, split, sigma] of repetition ``s`` with ``n`` training points.

    Test points and their noise are the same for every n, and both splits for every model and
    noise level.
    """
    mixture = e.mixture
    x, k = data or balanced_sample(mixture, n, stream(e.seed, "train", s, n))
    y, l = balanced_sample(mixture, e.test, stream(e.seed, "test", s))
    noise = (
        stream(e.seed, "train noise", s, n).standard_normal(x.shape),
        stream(e.seed, "test noise", s).standard_normal(y.shape),
    )
    found: dict[str, Array] = {
        q: np.empty((1 if given else len(e.models), 2, len(e.levels))) for q in e.quantities
    }
    for m in range(1 if given else len(e.models)):
        fit = stream(e.seed, "fit", s, n)
        denoiser = given or denoiser_of(e.models[m], mixture, x, k, e.restarts, fit)
        for i, sigma in enumerate(e.levels):
            features = [denoiser(z + sigma * w, sigma) for z, w in zip((x, y), noise, strict=True)]
            for q in e.quantities:
                found[q][m, :, i] = _read(q, features, (k, l), mixture, e.ridge)
    return found


def _read(
    q: Quantity, features: list[Array], labels: tuple[Array, Array], mixture: LowRankMixture,
    ridge: float,
) -> list[float]:  # fmt: skip
    """One quantity on training and on test points."""
    points = list(zip(features, labels, strict=True))
    if q == "snr":
        return [feature_snr(f, c, mixture.bases) for f, c in points]
    if q == "projection":
        return [projection_accuracy(f, c, mixture.bases) for f, c in points]
    fit = linear_probe if q == "linear" else quadratic_probe
    probe = fit(*points[0], ridge=ridge)
    return [probe.accuracy(f, c) for f, c in points]


# --- what was found -------------------------------------------------------------------------------


@checked
def crossover(measured: xr.Dataset, model: str, split: str = "test") -> Crossing:
    r"""Number of training points at which a model turns from monotone to unimodal.

    The mean over seeds of :math:`1/(1+R)`, the share of the small noise level in the two SNRs,
    falls through one half; :math:`\ln R` is interpolated in :math:`\ln N`.

    Parameters
    ----------
    measured : xarray.Dataset
        From :meth:`Representation.measure`, with several n_train around the crossover.
    model, split : str
        Labels in it.

    Returns
    -------
    Crossing
        N, with the standard error from a bootstrap over seeds.

    Raises
    ------
    InvalidParameter
        If the ratio was not measured, or does not rise through 1 in the range of N.

    Notes
    -----
    Validity: the share is bounded, so single seeds that find nothing or everything weigh the same;
    the error does not contain that of the interpolation between neighbouring N.

    Examples
    --------
    >>> from hierdiff.results import label
    >>> variables = {"ratio_by_seed": (("seed", "model", "split", "n_train"),
    ...              np.array([[0.5, 2.0], [0.5, 2.0]]).reshape(2, 1, 1, 2), "R")}
    >>> axes = {"model": (("model",), ["exact"], ""), "split": (("split",), ["test"], ""),
    ...         "n_train": (("n_train",), [100, 400], "")}
    >>> round(crossover(label(variables, axes, "simulation", {}), "exact").value, 6)
    200.0
    """
    if "ratio_by_seed" not in measured:
        raise InvalidParameter("the dataset has no ratio_by_seed; measure the quantity 'snr'")
    for name, label in (("model", model), ("split", split)):
        if name not in measured.coords or label not in measured[name].values.tolist():
            known = measured[name].values.tolist() if name in measured.coords else []
            raise InvalidParameter(f"{name} = {label!r} was not measured; the dataset has {known}")
    ds = measured.sortby("n_train").sel(model=model, split=split)
    share = 1 / (1 + ds.ratio_by_seed.transpose("seed", "n_train").values)
    try:
        found = crossing(np.log(ds.n_train.values), share[:, None])
    except InvalidParameter:
        mean = np.round(1 / share.mean(axis=0) - 1, 3).tolist()
        raise InvalidParameter(
            f"the ratio of model {model!r} does not rise through 1 at N = "
            f"{ds.n_train.values.tolist()} (it is {mean}); choose other n_train"
        ) from None
    value = float(np.exp(found.value))
    return Crossing(value, value * found.error)


def _table(measured: xr.Dataset) -> str:
    """Interior-peak gain on test points: ratio of the SNR, differences of the accuracies."""
    names = [q for q in ("ratio", "projection_rise", "linear_rise", "quadratic_rise")
             if q in measured]  # fmt: skip
    rows, test = [], measured.sel(split="test")
    for model in test.model.values:
        for n in test.n_train.values:
            one = test.sel(model=model, n_train=n)
            rows.append(
                [model, n, *(plus_minus(one[q], one[f"{q}_error"], digits=4) for q in names)]
            )
    return text_table(["model", "N", *names], rows, keys=2)


def _findings(
    experiment: Representation, exact: xr.Dataset, mean_field: xr.Dataset, measured: xr.Dataset
) -> dict[str, Any]:
    """What was found, as numbers with errors."""
    test = measured.sel(split="test")
    found: dict[str, Any] = {
        "sigma star": experiment.sigma_high,
        "reference": experiment.sigma_low,
        "peak": [float(exact.peak_sigma), float(exact.peak_value)],
        "mean-field peak": [float(mean_field.peak_sigma), float(mean_field.peak_value)],
        "rises": {
            f"{model} {n}": {
                q: [test[q].sel(model=model, n_train=n).item(),
                    test[f"{q}_error"].sel(model=model, n_train=n).item()]
                for q in map(str, test.data_vars)
                if q == "ratio" or q.endswith("_rise")
            }
            for model in map(str, test.model.values)
            for n in map(int, test.n_train.values)
        },
    }  # fmt: skip
    if "exact" in measured.model.values and "snr" in measured:
        both = results.compare(exact, measured)
        z = both.sel(source="simulation", split="test", model="exact").isel(n_train=-1)
        found["z"] = {
            q: z[f"{q}_z"].values.tolist() for q in ("snr", "projection") if f"{q}_z" in z
        }
        wrong = results.compare(mean_field, measured)
        z = wrong.sel(source="simulation", split="test", model="exact").isel(n_train=-1)
        found["z, mean field"] = z.snr_z.values.tolist()
        found["ratio, theory"] = float(exact.ratio.isel(model=0, split=0, n_train=0))
    return found


def _claim(found: dict[str, Any]) -> str:
    """Where the exact SNR peaks, and how far the measured oracle is from the law."""
    (sigma, value), (far, high) = found["peak"], found["mean-field peak"]
    text = (
        f"the SNR peaks at sigma = {sigma:.4f} with {value:.2f} (mean field {far:.4f}, {high:.2f})"
    )
    if "z" in found and "snr" in found["z"]:
        right, wrong = (max(map(abs, z)) for z in (found["z"]["snr"], found["z, mean field"]))
        text += f", and the oracle is measured on this law to |z| <= {right:.1f}"
        text += f" (mean field {wrong:.0f})"
    return text


# --- figure ---------------------------------------------------------------------------------------


MODEL_COLOURS = {
    "exact": BLUE,
    "supervised_ppca": GREEN,
    "ppca_mixture": ORANGE,
    "ppca_mixture_own": OCHRE,
    "memorising": PURPLE,
    "given": "0.1",
}
_LINES = {
    "exact": ("0.1", "-", "population, exact"),
    "mean_field": (GREY, "--", "population, mean field"),
}
_MAKER = "Representation.predict or .measure"
_PLANE = ("model", "split", "n_train", "sigma")
_AXES = {
    "snr": "SNR of the features",
    "projection": "accuracy, largest class energy",
    "linear": "accuracy, linear probe",
    "quadratic": "accuracy, quadratic probe",
}


@checked
def representation(
    *datasets: xr.Dataset,
    ax: Axes | None = None,
    quantity: str = "snr",
    n_train: int | None = None,
    split: str = "test",
) -> Axes:
    """One quantity against noise: laws as lines, models as points with errors.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Representation.predict`` and ``.measure``; a law without the quantity is left
        out.
    ax : matplotlib Axes, optional
    quantity : {"snr", "projection", "linear", "quadratic"}
    n_train : int, optional
        Training points N, default the largest.
    split : {"test", "train"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If the quantity is unknown, no dataset has it, or one lacks what is drawn.

    Examples
    --------
    >>> experiment = Representation(rank=2, dim=6)
    >>> ax = representation(experiment.predict(), experiment.predict("mean_field"))
    >>> len(ax.lines)
    2
    """
    one_of("quantity", quantity, _AXES)
    parts = [part for whole in datasets for part in sources(whole) if quantity in part]
    if not parts:
        raise InvalidParameter(f"no dataset has the quantity {quantity!r}; measure it first")
    for ds in parts:
        ends = ("",) if str(ds.source.values) == "theory" else ("", "_error")
        needs(ds, {f"{quantity}{end}": _PLANE for end in ends}, _MAKER)
        pick(ds, split=split, **({} if n_train is None else {"n_train": n_train}))
    ax = plt.subplots(figsize=(4.4, 3.4), layout="constrained")[1] if ax is None else ax
    for ds in parts:
        here = ds.sel(split=split)
        here = here.isel(n_train=-1) if n_train is None else here.sel(n_train=n_train)
        source = str(ds.source.values)
        if source == "theory":
            law = one_of("law", str(ds.attrs.get("law", "exact")), _LINES)
            colour, dashes, words = _LINES[law]
            curve = here[quantity].isel(model=0)
            ax.plot(ds.sigma, curve, color=colour, label=words, **{**style(source), "ls": dashes})
            continue
        for name in map(str, here.model.values):
            one, colour = here.sel(model=name), MODEL_COLOURS.get(name, GREY)
            error = one[f"{quantity}_error"]
            if name != "exact":  # no law runs through the points of the others
                ax.plot(ds.sigma, one[quantity], color=colour, lw=0.8)
            ax.errorbar(
                ds.sigma, one[quantity], error, color=colour, label=LABELS.get(name, name),
                **style(source),
            )  # fmt: skip
    ax.set(xscale="log", yscale="log" if quantity == "snr" else "linear")
    ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    for axis in (ax.xaxis, ax.yaxis) if quantity == "snr" else (ax.xaxis,):
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    ax.set(xlabel=r"noise level $\sigma$", ylabel=_AXES[quantity])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@checked
def representation_figure(*datasets: xr.Dataset) -> Figure:
    """The figure of the study: SNR for growing N above, what classifiers read below.

    Parameters
    ----------
    *datasets : xarray.Dataset
        As for :func:`representation`; the measured one comes last.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If nothing was measured, or a dataset lacks what is drawn.

    Examples
    --------
    >>> experiment = Representation(rank=2, dim=6, n_train=(30, 60), sigmas=(), seeds=2, test=30,
    ...                             models=("exact",), quantities=("snr",))
    >>> len(representation_figure(experiment.predict(), experiment.measure()).axes)
    2
    """
    _, measured = measured_last(datasets, _MAKER)
    needs(measured, {"snr": _PLANE}, _MAKER)
    sizes = measured.n_train.values
    shown = sizes[np.unique(np.linspace(0, len(sizes) - 1, min(3, len(sizes))).astype(int))]
    below = [q for q in ("projection", "linear", "quadratic") if q in measured]
    columns = max(len(shown), len(below))
    rows = 1 + bool(below)
    fig = plt.figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    letters = iter("abcdef")
    for i, n in enumerate(shown):
        ax = fig.add_subplot(rows, columns, i + 1)
        representation(*datasets, ax=ax, n_train=int(n))
        panel(ax, next(letters), f"SNR, N = {n}")
    middle = int(shown[len(shown) // 2])
    for i, q in enumerate(below):
        ax = fig.add_subplot(rows, columns, columns + i + 1)
        representation(*datasets, ax=ax, quantity=q, n_train=middle)
        panel(ax, next(letters), f"{_AXES[q]}, N = {middle}")
    shared_legend(fig)
    return fig
