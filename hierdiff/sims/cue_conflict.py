r"""Shape against texture: which cue a denoising classifier follows when they disagree.

Two data models.  Gaussian classes, where shape lies in few directions of large variance and texture
in many of small: everything has a closed form.  Random grammars, where shape is the root of a tree
and texture a histogram of independent symbols with its own amplitude k: depth and amplitude, which
images mix, are separate parameters.  The control is a discriminative classifier, exact Bayes on
clean data, whose input is low-passed at test time only.

.. math:: \text{shape bias} = \frac{n_{shape}}{n_{shape} + n_{texture}}

A bias counts only answers that match one of the two cues.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    interval,
    listed,
    memory,
    natural,
    number,
    positive,
    probabilities,
    whole,
)
from hierdiff.contracts import Run, Summary
from hierdiff.data.rhm import RHM, affordable
from hierdiff.errors import InvalidParameter
from hierdiff.plots import (
    BLUE,
    FONT,
    GREEN,
    GREY,
    GUIDE,
    ORANGE,
    PURPLE,
    Axes,
    Figure,
    legend,
    needs,
    panels,
    plt,
    sources,
    style,
    ticker,
)
from hierdiff.seeds import stream
from hierdiff.sims.classification_figures import WEIGHT_LABELS, with_errors
from hierdiff.sims.metrics.denoising_error import (
    ErrorPool,
    HasErrors,
    class_errors,
    error_pool,
    prefix_scores,
)
from hierdiff.sims.metrics.estimators import mean_and_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.zero_shot.gaussian_classes import (
    GaussianClasses,
    crossover,
    design_accuracy,
    effective_weights,
    linear_accuracy,
)
from hierdiff.theory.zero_shot.inputs import checked_labels
from hierdiff.theory.zero_shot.rhm_classes import GaussianRHM
from hierdiff.theory.zero_shot.scenes import ShapeTexture
from hierdiff.theory.zero_shot.weightings import band, weighting

__all__ = ["CueConflict", "cue_conflict_figure"]

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float64]

NAMED = ("vdm", "snr", "exp", "uniform")


@dataclass(frozen=True)
class CueConflict:
    """Shape bias of a denoising classifier on grammars and on Gaussians with conflicting cues.

    Notes
    -----
    Validity: errors are over grammars, for Gaussians over data.  The bias counts only answers that
    match a cue; ``matched`` is their share, without which a bias cannot be read.

    References
    ----------
    Jaini et al., arXiv 2309.16779 (the cue-conflict protocol); the low-pass control follows
    arXiv 2602.13859.

    Examples
    --------
    >>> experiment = CueConflict(grammars=2, data=8, samples=20, gaussian_data=200)
    >>> measured = experiment.measure()
    >>> dict(measured.bias.sizes)
    {'amplitude': 2, 'weighting': 4}
    >>> experiment.predict().weight_bias.round(3).values.tolist()
    [0.007, 0.023, 0.064, 0.594]
    """

    name: ClassVar[str] = "cue_conflict"
    _repr_html_ = experiment_html

    v: int = 8
    """Symbols per level, classes, and texture symbols."""
    m: int = 3
    """Rules per symbol."""
    s: int = 2
    """Symbols that a rule writes."""
    L: int = 4
    """Depth of the shape's tree."""
    tau: float = 0.42
    """Standard deviation of the Gaussian emissions."""
    grammars: int = 12
    """Random grammars, each with histograms of its own."""
    data: int = 200
    """Data per grammar, all with conflicting cues."""
    concentration: float = 2.0
    """Of the Dirichlet law of the histograms; large makes textures alike."""
    amplitudes: tuple[float, ...] = (1.0, 0.1)
    """Amplitudes k of the texture, the shape's being 1."""
    samples: int = 100
    """Samples (t, eps) per datum, shared by the classes."""
    bands: tuple[tuple[float, float], ...] = ((0.0, 0.15), (0.15, 0.3), (0.3, 0.5), (0.5, 0.8))
    """Bands of t that are tried alone."""
    blurs: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.0)
    """Factors on the texture's amplitude at the input of the discriminative control."""
    shape_dims: int = 4
    """Gaussian classes: directions of shape."""
    texture_dims: int = 60
    """Gaussian classes: directions of texture."""
    shape_variance: float = 1.0
    """Gaussian classes: variance along each direction of shape."""
    texture_variance: float = 0.02
    """Gaussian classes: variance along each direction of texture."""
    shape_gap: float = 2.0
    """Gaussian classes: squared distance of the classes in shape, all directions together."""
    texture_gap: float = 0.6
    """Gaussian classes: squared distance of the classes in texture."""
    sigma2: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """Gaussian classes: noise levels that are tried alone."""
    gaussian_data: int = 20000
    """Gaussian classes: data."""
    gaussian_samples: int = 4
    """Gaussian classes: samples per datum at each noise level."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_fields(
            self, bands=_intervals, grammars=partial(whole, high=10**6),
            data=partial(whole, high=10**8), samples=partial(whole, high=10**6),
            amplitudes=partial(listed, rule=partial(number, high=1e6)),
            blurs=partial(listed, rule=partial(number, low=0, high=1e6)),
            sigma2=partial(listed, rule=partial(number, high=1e12)),
            shape_dims=partial(whole, high=10**6), texture_dims=partial(whole, high=10**6),
            gaussian_data=partial(whole, high=10**9), gaussian_samples=partial(whole, high=10**6),
            seed=natural,
        )  # fmt: skip
        if not self.bands:
            raise InvalidParameter(f"bands = {self.bands} has no values; give at least one")
        dims = self.shape_dims + self.texture_dims
        memory(f"gaussian_data = {self.gaussian_data} of {dims} dimensions",
               8.0 * self.gaussian_data * dims)  # fmt: skip
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)
        least = {"grammars": 2, "data": 1, "samples": 1, "gaussian_data": 100, "shape_dims": 1,
                 "texture_dims": 1, "gaussian_samples": 1, "seed": 0}  # fmt: skip
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InvalidParameter(f"{name} = {getattr(self, name)} must be >= {lowest}")
        for name in ("tau", "concentration", "shape_variance", "texture_variance", "shape_gap",
                     "texture_gap"):  # fmt: skip
            positive(name, getattr(self, name))
        if not all(k > 0 for k in (*self.amplitudes, *self.sigma2)):
            raise InvalidParameter("amplitudes and sigma2 must be > 0; use blurs to remove texture")
        for name in ("amplitudes", "sigma2"):
            positive(name, getattr(self, name))
        for low, high in self.bands:
            band(low, high)  # raises for an empty band
        if RHM(self.v, self.m, self.s, self.L).n_classes < 3:
            raise InvalidParameter(f"v = {self.v} classes; cues conflict with at least 3")

    @results.tracked
    @checked
    def predict(
        self, law: str = "closed form", sigma2: tuple[float, ...] | None = None
    ) -> xr.Dataset:
        """Gaussian classes in closed form, in the labels of :meth:`measure`.

        Parameters
        ----------
        law : {"closed form"}
        sigma2 : tuple of float, optional
            Noise levels, default those of the measurement.

        Returns
        -------
        xarray.Dataset
            ``noise_bias`` (sigma2), ``weight_bias`` (weighting).

        Raises
        ------
        InvalidParameter
            If the law is unknown.

        Notes
        -----
        Validity: exact, at the finite budget of the noise levels and an infinite one of the
        weights.
        """
        if law != "closed form":
            raise InvalidParameter(f"law = {law!r} is not known; use 'closed form'")
        lam, gap, sign = self.directions
        count, levels = self.gaussian_samples, self.sigma2 if sigma2 is None else sigma2
        single = [
            design_accuracy(lam, gap, np.ones(count), np.full(count, 1 / s2), sign) for s2 in levels
        ]
        weighted = [
            linear_accuracy(lam, gap, effective_weights(lam, weighting(w)), sign) for w in NAMED
        ]
        found = {
            "noise_bias": (("sigma2",), single, _TEXT["noise_bias"]),
            "noise_bias_error": (("sigma2",), np.zeros(len(single)), _ERROR),
            "weight_bias": (("weighting",), weighted, _TEXT["weight_bias"]),
            "weight_bias_error": (("weighting",), np.zeros(len(NAMED)), _ERROR),
        }
        return self._label(found, "theory", law, levels)

    @results.tracked
    @checked
    def measure(
        self,
        model: Any = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Classify data with conflicting cues by exact denoisers, or given data by a given model.

        Parameters
        ----------
        model : DiffusionModel, optional
            With Gaussian noise and ``given(label)``, as in
            :meth:`hierdiff.sims.zero_shot_classification.Classification.measure`.
        data : (array [n, ...], int array [n], int array [n]), optional
            Clean data, the classes of their shapes and, different, of their textures.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            ``bias`` and ``matched`` (amplitude, weighting), ``bayes`` and ``bayes_matched``,
            ``band_bias`` and ``band_matched`` (amplitude, band), ``blur_bias`` and
            ``blur_matched`` (blur) of grammars; ``noise_bias`` (sigma2) and ``weight_bias``
            (weighting) of Gaussian classes; with errors.  Of a given model ``noise_bias`` and
            ``weight_bias``, with the shares ``noise_matched`` and ``weight_matched``.

        Raises
        ------
        InvalidParameter
            If cues do not conflict, a model comes without data, or the model cannot be conditioned
            or has other noise than Gaussian.
        """
        if model is not None or data is not None:
            return self._given(model, data, folder=folder, workers=workers, cluster=cluster)
        fields = {k: v for k, v in asdict(self).items() if k != "grammars"}
        key = {"version": 1, "question": "cue conflict", **fields}
        one = replace(self, grammars=2)  # a task does not depend on how many there are
        tasks = [Task(_grammar, (one, g), {**key, "grammar": g}) for g in range(self.grammars)]
        tasks.append(Task(_gaussian, (one,), {**key, "grammar": "gaussian"}))
        *found, gauss = run_tasks(
            tasks, folder, workers=workers, cluster=cluster, name="cue conflict"
        )  # fmt: skip
        variables: dict[str, Any] = {}
        for name, (dims, text) in _DIMS.items():
            values = np.stack([f[name] for f in found])
            mean, error = mean_and_error(values)
            variables[name] = (dims, mean, text)
            variables[f"{name}_error"] = (dims, error, f"standard error of: {text}")
            variables[f"{name}_by_grammar"] = (("grammar", *dims), values, text)
        for name, dim in (("noise_bias", "sigma2"), ("weight_bias", "weighting")):
            p = gauss[name]
            variables[name] = ((dim,), p, _TEXT[name])
            variables[f"{name}_error"] = ((dim,), self.binomial_error(p), _ERROR)
        return self._label(variables, "simulation", "", self.sigma2)

    def _given(self, model: Any, data: Any, **options: Any) -> xr.Dataset:
        """The biases of one model on data with two cues."""
        if model is None or data is None:
            raise InvalidParameter("a model needs the data it is to classify, and data a model")
        x0, shapes, textures = _cues(data)
        classes = getattr(model, "n_classes", int(max(shapes.max(), textures.max())) + 1)
        for cue in (shapes, textures):
            checked_labels(cue, len(x0), classes)
        scored = class_errors(model, classes)
        fields = {k: getattr(self, k) for k in ("samples", "sigma2", "gaussian_samples", "seed")}
        key = {"version": 1, "question": "cue conflict given", **fields}
        one = replace(self, grammars=2)
        (found,) = run_tasks(
            [Task(_given_task, (one, scored, x0, shapes, textures), key)], name=self.name, **options
        )  # fmt: skip
        variables: dict[str, Any] = {}
        for name, dim in (("noise", "sigma2"), ("weight", "weighting")):
            bias, matched = found[name]
            # a bias is a share of the answers that match a cue
            n = np.maximum(matched * len(x0), 1)
            error = np.sqrt(np.maximum(bias * (1 - bias), 1 / n) / n)
            variables[f"{name}_bias"] = ((dim,), bias, _TEXT[f"{name}_bias"])
            variables[f"{name}_bias_error"] = ((dim,), error, _ERROR)
            variables[f"{name}_matched"] = ((dim,), matched, _TEXT[f"{name}_matched"])
        fields |= {"model": type(model).__name__, "classes": classes, "data": len(x0),
                   "process": repr(getattr(model, "noise", "exact"))}  # fmt: skip
        source = "network" if getattr(model, "source", "") == "network" else "simulation"
        return self._label(variables, source, "", self.sigma2, fields)

    def datasets(self, run: Run, model: Any = None, data: Any = None) -> dict[str, xr.Dataset]:
        """The closed form on a fine grid of noise levels, and the measurement."""
        measured = self.measure(model, data, **run.tasks(self.name))
        levels = np.union1d(self.sigma2, np.geomspace(0.01, 30, 60))
        theory = self.predict(sigma2=tuple(levels))
        return {"cue_conflict_theory": theory, "cue_conflict": measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """Shape bias against noise, weight, band of noise and low-pass."""
        return cue_conflict_figure(datasets["cue_conflict_theory"], datasets["cue_conflict"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Shape bias of every weight and band, with the share of answers that match a cue."""
        values = _values(self, datasets["cue_conflict_theory"], datasets["cue_conflict"])
        return Summary(_table(values), _claim(values), values)

    @checked(p=probabilities)
    def binomial_error(self, p: Array) -> Array:
        """Standard error of shares of the Gaussian data; at least that of one in all of them."""
        n = self.gaussian_data
        return np.asarray(np.sqrt(np.maximum(p * (1 - p), 1 / n) / n))

    @property
    def directions(self) -> tuple[Floats, Floats, Floats]:
        """Eigenvalues, gaps and signs of the Gaussian classes."""
        counts = [self.shape_dims, self.texture_dims]
        lam = np.repeat([self.shape_variance, self.texture_variance], counts)
        gap = np.sqrt(np.repeat([self.shape_gap, self.texture_gap], counts)
                      / np.repeat(counts, counts))  # fmt: skip
        return lam, gap, np.repeat([1.0, -1.0], counts)

    def _label(
        self, variables: dict[str, Any], source: str, law: str, levels: tuple[float, ...],
        fields: dict[str, Any] | None = None,
    ) -> xr.Dataset:  # fmt: skip
        names = [f"{low:g}-{high:g}" for low, high in self.bands]
        coords = {
            "weighting": (("weighting",), list(NAMED), "weight of the error of x0"),
            "sigma2": (("sigma2",), list(levels), "noise sigma^2 = 1/SNR"),
        }
        if "bias" in variables:
            coords["amplitude"] = (("amplitude",), list(self.amplitudes), "texture amplitude k")
            coords["band"] = (("band",), names, "times t used alone")
            coords["blur"] = (("blur",), list(self.blurs), "factor on the texture at test time")
        attributes = results.provenance(asdict(self) if fields is None else fields)
        attributes |= {"law": law} if law else {}
        return results.label(variables, coords, source, attributes)


def _intervals(name: str, value: Any) -> tuple[tuple[float, float], ...]:
    """Some intervals."""
    if not isinstance(value, (tuple, list)):
        raise InvalidParameter(f"{name} = {value!r:.60} must be pairs (low, high)")
    return tuple(interval(f"{name}[{i}]", x) for i, x in enumerate(value))


_TEXT = {
    "noise_bias": "shape bias at one noise level",
    "noise_matched": "share of answers at one noise level that match a cue",
    "weight_bias": "shape bias of a weight",
    "weight_matched": "share of answers of a weight that match a cue",
}
_ERROR = "binomial standard error"
_DIMS: dict[str, tuple[tuple[str, ...], str]] = {
    "bias": (("amplitude", "weighting"), "shape bias"),
    "matched": (("amplitude", "weighting"), "share of answers that match a cue"),
    "bayes": (("amplitude",), "shape bias of Bayes' rule"),
    "bayes_matched": (("amplitude",), "share of Bayes' answers that match a cue"),
    "band_bias": (("amplitude", "band"), "shape bias from a band of noise levels alone"),
    "band_matched": (("amplitude", "band"), "share of its answers that match a cue"),
    "blur_bias": (("blur",), "shape bias of the discriminative control"),
    "blur_matched": (("blur",), "share of its answers that match a cue"),
}


def _read(scores: Floats, shapes: Array, textures: Array) -> tuple[float, float]:
    """Shape bias, and share of the answers that match a cue."""
    answer = scores.argmin(axis=1)
    form, paint = float((answer == shapes).mean()), float((answer == textures).mean())
    return (form / (form + paint) if form + paint else 0.5), form + paint


def _grammar(e: CueConflict, g: int) -> dict[str, Array]:
    """All biases on one grammar with one set of histograms."""
    tree = GaussianRHM(RHM(e.v, e.m, e.s, e.L).draw(stream(e.seed, "grammar", g)), e.tau)
    rng = stream(e.seed, "cues", g)
    table = rng.dirichlet(np.full(e.v, e.concentration), tree.n_classes)
    shapes = rng.integers(tree.n_classes, size=e.data)
    shift = rng.integers(1, tree.n_classes, size=e.data)
    textures = (shapes + shift) % tree.n_classes
    found: dict[str, list[Any]] = {name: [] for name in _DIMS}
    for k in e.amplitudes:
        # the same data for all amplitudes: only the scale of the texture differs
        model = ShapeTexture(tree, table, k)
        x0 = model.conflict(shapes, textures, stream(e.seed, "data", g))
        pool = error_pool(model, x0, e.samples, stream(e.seed, "pool", g))
        _append(found, "bias", "matched",
                [_scored(pool, weighting(w), shapes, textures) for w in NAMED])  # fmt: skip
        _append(found, "band_bias", "band_matched",
                [_scored(pool, band(*b), shapes, textures) for b in e.bands])  # fmt: skip
        bayes = _read(-model.log_density(x0), shapes, textures)
        found["bayes"].append(bayes[0])
        found["bayes_matched"].append(bayes[1])
    for blur in e.blurs:
        form, paint = model.log_densities(x0, blur)
        bias, matched = _read(-(form + paint), shapes, textures)
        found["blur_bias"].append(bias)
        found["blur_matched"].append(matched)
    return {name: np.array(values) for name, values in found.items()}


def _append(
    found: dict[str, list[Any]], bias: str, matched: str, pairs: list[tuple[float, float]]
) -> None:
    found[bias].append([p[0] for p in pairs])
    found[matched].append([p[1] for p in pairs])


def _scored(
    pool: ErrorPool, weight: Callable[[Floats], Floats], shapes: Array, textures: Array
) -> tuple[float, float]:
    scores = prefix_scores(pool, weight, (pool.t.shape[1],))[0]
    return _read(scores, shapes, textures)


def _cues(data: Any) -> tuple[Floats, Array, Array]:
    """Clean data, shapes and textures, which conflict."""
    try:
        x0, shapes, textures = (np.asarray(part) for part in data)
    except (TypeError, ValueError):
        raise InvalidParameter(
            f"data of type {type(data).__name__} are no three arrays; give (x0, shapes, textures)"
        ) from None
    if shapes.shape != textures.shape or not shapes.size or (shapes == textures).any():
        raise InvalidParameter(
            f"shapes of shape {shapes.shape} and textures of shape {textures.shape} must be two "
            "different classes for every datum"
        )
    return x0.astype(float), shapes, textures


def _given_task(
    e: CueConflict, model: HasErrors, x0: Floats, shapes: Array, textures: Array
) -> dict[str, Array]:
    """Shape bias and share of matching answers, [2, sigma2] and [2, weighting]."""
    single = []
    for i, s2 in enumerate(e.sigma2):
        rng, total = stream(e.seed, "given noise", i), np.zeros((len(x0), model.n_classes))
        for _ in range(e.gaussian_samples):
            total += model.errors(x0, rng.standard_normal(x0.shape), 1 / s2)
        single.append(_read(total, shapes, textures))
    pool = error_pool(model, x0, e.samples, stream(e.seed, "given pool"))
    weighted = [_scored(pool, weighting(w), shapes, textures) for w in NAMED]
    return {"noise": np.array(single).T, "weight": np.array(weighted).T}


def _gaussian(e: CueConflict) -> dict[str, Array]:
    return gaussian_bias(e, stream(e.seed, "gaussian"))


def gaussian_bias(e: CueConflict, rng: np.random.Generator) -> dict[str, Array]:
    """Shape bias at single noise levels with few samples, and of weights with unlimited ones."""
    lam, gap, sign = e.directions
    classes = GaussianClasses(np.stack([gap / 2, -gap / 2]), np.diag(lam))
    x0 = sign * gap / 2 + np.sqrt(lam) * rng.standard_normal((e.gaussian_data, len(lam)))
    single = []
    for s2 in e.sigma2:
        total = np.zeros((len(x0), 2))
        for _ in range(e.gaussian_samples):
            total += classes.errors(x0, rng.standard_normal(x0.shape), 1 / s2)
        single.append((total[:, 0] < total[:, 1]).mean())
    distance = (x0[:, None] - classes.means) ** 2
    weighted = []
    for w in NAMED:
        # what noise adds to the mean score is the same for both classes
        score = distance @ effective_weights(lam, weighting(w))
        weighted.append((score[:, 0] < score[:, 1]).mean())
    return {"noise_bias": np.array(single), "weight_bias": np.array(weighted)}


def _current(ds: xr.Dataset) -> xr.Dataset:
    """The dataset in today's names, also of files of the first build."""
    old = {"gaussian_bias": "noise_bias", "gaussian_weighted": "weight_bias"}
    ends = ("", "_error", "_z")
    renamed = {f"{a}{end}": f"{b}{end}" for a, b in old.items() for end in ends}
    return ds.rename({a: b for a, b in renamed.items() if a in ds})


def _given_figure(theory: xr.Dataset, measured: xr.Dataset) -> Figure:
    """One model: shape bias against noise, with the closed form of Gaussian classes."""
    needs(measured, with_errors("noise_bias", dims=("sigma2",)), "CueConflict.measure")
    fig, ax = plt.subplots(figsize=(4.4, 3.4), layout="constrained")
    ax.plot(theory.sigma2, theory.noise_bias, color=GREY, **style("theory"))
    ax.errorbar(measured.sigma2, measured.noise_bias, measured.noise_bias_error, color=BLUE,
                **style(str(measured.source.values)))  # fmt: skip
    ax.set(xscale="log", xlabel=r"noise $\sigma^2$ = 1/SNR, used alone", ylabel="shape bias",
           ylim=(0, 1.02), title="points: the model, line: Gaussian classes")  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    return fig


@checked
def cue_conflict_figure(theory: xr.Dataset, measured: xr.Dataset) -> Figure:
    """Shape bias of Gaussian classes against noise, of grammars against weight, band and low-pass.

    Parameters
    ----------
    theory, measured : xarray.Dataset
        From ``CueConflict.predict`` and ``.measure``.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If a dataset lacks what is drawn.
    """
    maker = "CueConflict.predict and .measure"
    theory, measured = _current(theory), _current(measured)
    needs(sources(theory)[0], {"noise_bias": ("sigma2",)}, maker)
    if "bias" not in measured:
        return _given_figure(theory, sources(measured)[-1])
    wanted = {
        **with_errors("noise_bias", dims=("sigma2",)),
        **with_errors("bias", dims=("amplitude", "weighting")),
        **with_errors("band_bias", dims=("amplitude", "band")),
        **with_errors("blur_bias", "blur_matched", dims=("blur",)),
        "bayes": ("amplitude",),
    }
    needs(sources(measured)[-1], wanted, maker)
    for name in map(str, measured.band.values):
        if not re.fullmatch(r"[0-9.]+-[0-9.]+", name):
            raise InvalidParameter(f"band = {name!r} is no interval of t; write 'low-high'")
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
    ax = axes[0]
    ax.plot(theory.sigma2, theory.noise_bias, color=BLUE, **style("theory"))
    ax.errorbar(measured.sigma2, measured.noise_bias, measured.noise_bias_error,
                color=BLUE, label="Gaussians, shape has more variance",
                **style("simulation"))  # fmt: skip
    _bands(measured, ax)
    ax.axhline(0.5, **GUIDE)
    ax.set(xscale="log", xlabel=r"noise $\sigma^2$ = 1/SNR, used alone", ylabel="shape bias")
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    legend(ax)
    ax = axes[1]
    place = np.arange(measured.sizes["weighting"])
    for k, colour in zip(measured.amplitude.values, (BLUE, ORANGE, GREEN,
                                                     PURPLE), strict=False):  # fmt: skip
        one = measured.sel(amplitude=k)
        ax.errorbar(place, one.bias, one.bias_error, color=colour,
                    label=f"texture amplitude {k:g}", **style("simulation"))  # fmt: skip
        ax.axhline(float(one.bayes), color=colour, ls="--", lw=0.8)
    ax.set_xticks(
        place, [WEIGHT_LABELS.get(str(w), str(w)) for w in measured.weighting.values], fontsize=FONT
    )
    ax.set(xlabel="weight of the x0 error (dashed: Bayes)", ylabel="shape bias")
    legend(ax)
    ax = axes[2]
    ax.errorbar(measured.blur, measured.blur_bias, measured.blur_bias_error, color=BLUE,
                label="shape bias", **style("simulation"))  # fmt: skip
    ax.errorbar(measured.blur, measured.blur_matched, measured.blur_matched_error, color=GREY,
                label="answers that match a cue", **style("simulation"))  # fmt: skip
    ax.set(xlabel="texture left by the low-pass\n(discriminative control)", ylabel="share")
    legend(ax)
    panels(axes, "one noise level alone; line: theory", "weights of the error",
           "control: a classifier of blurred data")  # fmt: skip
    for ax in axes:
        ax.set(ylim=(0, 1.02))
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def _bands(ds: xr.Dataset, ax: Axes) -> None:
    """Grammars at equal amplitude, each band drawn over its range of noise."""
    for i, name in enumerate(map(str, ds.band.values)):
        low, high = (np.tan(np.pi / 2 * float(t)) ** 2 for t in name.split("-"))
        low, high = max(low, 1e-2), min(high, 1e2)
        one = ds.isel(amplitude=0).sel(band=name)
        value, error = float(one.band_bias), float(one.band_bias_error)
        ax.errorbar(np.sqrt(low * high), value, error, xerr=[[np.sqrt(low * high) - low],
                    [high - np.sqrt(low * high)]], color=ORANGE, marker="s", ms=3, ls="none",
                    elinewidth=0.8,
                    label="grammars, equal amplitudes" if i == 0 else None)  # fmt: skip


def _values(e: CueConflict, theory: xr.Dataset, measured: xr.Dataset) -> dict[str, Any]:
    """What was found: every bias with the share of answers that match a cue."""

    def pair(name: str, **at: object) -> list[float]:
        here = measured.sel(at)
        return [float(here[name]), float(here[f"{name}_error"])]

    both = results.compare(theory, measured)
    found: dict[str, Any] = {
        "crossover": crossover(*e.directions),
        "gaussian": {f"{s:g}": [*pair("noise_bias", sigma2=s),
                                float(theory.noise_bias.sel(sigma2=s))]
                     for s in measured.sigma2.values},
        "gaussian weights": {str(w): [*pair("weight_bias", weighting=w),
                                      float(theory.weight_bias.sel(weighting=w))]
                             for w in measured.weighting.values},
        "gaussian z": both.noise_bias_z.values[1].round(2).tolist(),
    }  # fmt: skip
    if "bias" not in measured:  # of a given model
        return found
    amplitudes = measured.amplitude.values
    return found | {
        "bayes": {f"{k:g}": pair("bayes", amplitude=k) for k in amplitudes},
        "weights": {f"{k:g}": {str(w): [*pair("bias", amplitude=k, weighting=w),
                                        *pair("matched", amplitude=k, weighting=w)]
                               for w in measured.weighting.values}
                    for k in amplitudes},
        "bands": {f"{k:g}": {str(b): [*pair("band_bias", amplitude=k, band=b),
                                      *pair("band_matched", amplitude=k, band=b)]
                             for b in measured.band.values}
                  for k in amplitudes},
        "low-pass control": {f"{b:g}": [*pair("blur_bias", blur=b), *pair("blur_matched", blur=b)]
                             for b in measured.blur.values},
    }  # fmt: skip


def _table(found: Mapping[str, Any]) -> str:
    """A row per classifier: shape bias and the share of answers that match a cue."""
    rows: list[tuple[str, list[float]]] = []
    for k, weights in found.get("weights", {}).items():
        rows += [(f"texture amplitude {k}, weight {w}", row) for w, row in weights.items()]
        rows += [(f"texture amplitude {k}, t in {b}", row) for b, row in found["bands"][k].items()]
        rows.append((f"texture amplitude {k}, Bayes", found["bayes"][k]))
    rows += [(f"low-pass control, texture left {b}", row)
             for b, row in found.get("low-pass control", {}).items()]  # fmt: skip
    name = "Gaussian classes" if "weights" in found else "model"
    rows += [(f"{name}, sigma^2 = {s}", row[:2]) for s, row in found["gaussian"].items()]
    lines = []
    for words, row in rows:
        cells = [plus_minus(x, e) for x, e in zip(row[::2], row[1::2], strict=True)]
        lines.append([words, *cells, *[""] * (2 - len(cells))])  # Gaussian classes: the bias alone
    return text_table(["classifier", "shape bias", "match a cue"], lines)


def _claim(found: Mapping[str, Any]) -> str:
    """The opposite answers of the two data models at low and high noise."""

    def ends(rows: Mapping[str, Any], words: str) -> str:
        (low, a), *_, (high, b) = rows.items()
        return (
            f"{a[0]:.3f} ± {a[1]:.3f} at {words}{low} to {b[0]:.3f} ± {b[1]:.3f} at {words}{high}"
        )

    if "bands" not in found:
        return f"shape bias of the model goes from {ends(found['gaussian'], 'sigma^2 = ')}"
    bands = next(iter(found["bands"].values()))
    return (
        f"shape bias of grammars of equal amplitudes goes from {ends(bands, 't in ')}, that of "
        f"Gaussian classes from {ends(found['gaussian'], 'sigma^2 = ')} (crossover "
        f"{found['crossover']:.3f}, max |z| = {max(map(abs, found['gaussian z'])):.1f} against the "
        "closed form)"
    )
