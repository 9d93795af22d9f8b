r"""Denoising strength and class confidence of trained networks, apart, on mixtures.

A network learns a mixture of K orthogonal subspaces with and without the class, so that one network
has D(x) and D(x | c).  The class is then what an experimenter can change: given the class, nothing
is left to confuse, and what remains is denoising.

==================  ==============================================================================
:math:`S`           SNR of D(x), by :func:`hierdiff.sims.metrics.probes.feature_snr`
:math:`S_c`         SNR of D(x | c) at the true class c, the *denoising strength*
:math:`\hat\rho`    *denoising rate*, :math:`a\,\hat\zeta/\hat\xi - 1`
:math:`\hat\zeta`   root-mean-square gain of D(x | c) on the block of class c, :math:`\hat\xi` on
                    the others
:math:`\hat w_l`    belief in class l that the network's own outputs imply
:math:`\hat w`      *class confidence*, the mean belief in the true class
==================  ==============================================================================

The law of total expectation makes the beliefs measurable without looking inside,

.. math:: D(x) = \sum_l w_l(x)\, D(x \mid l), \qquad
   \hat w(x) = \arg\min_{\sum_l w_l = 1} \Big|D(x) - \sum_l w_l\, D(x \mid l)\Big|^2 .

For the exact denoiser (:mod:`hierdiff.theory.mixture.feature_snr`)

.. math:: \rho = \sigma^2/\delta^2, \qquad S_c = \frac{b}{(K-1)\,\delta^4 a} \;\text{rises}, \qquad
   E\,\hat w = E[w_k] \;\text{falls}, \qquad S = S_c\, C,

with the *cost of confusion* C at most one.  Strength and beliefs of the network are exchanged one
at a time for exact ones, in the same points: the logarithm of S of the network less that of exact
inference is the sum of what its strength and what its beliefs cost, if the two are separate
factors.

The wrong laws that networks have to reject: that features get worse at high noise because denoising
gets worse (then S_c would fall, too), and the confidence of the closed form, which moves the mean
inside the softmax.

Validity: orthogonal classes of equal rank and weight; the linear combination is unique as long as
the K outputs D(x | l) differ, which they do at every sigma > 0.  Networks of one mixture are no
independent draws of a mixture: errors and scores are Student's over mixtures, each the mean of its
networks, and over networks where there is one mixture alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hierdiff import results
from hierdiff._display import plus_minus, text_table
from hierdiff.checks import (
    check_fields,
    checked,
    instance,
    listed,
    number,
    reals,
    unchecked,
    whole,
)
from hierdiff.contracts import DiffusionModel, Summary
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import PALETTE, Axes, Figure, needs, panels, plt, shared_legend
from hierdiff.seeds import Seed, generator, stream
from hierdiff.sims.metrics.estimators import student_error, student_score
from hierdiff.sims.metrics.probes import feature_snr
from hierdiff.sims.representation import balanced_sample
from hierdiff.theory.exact_models import ExactMixture
from hierdiff.theory.mixture.feature_snr import (
    class_confidence,
    mean_field_exponent,
    snr,
    snr_envelope,
    snr_mean_field,
    snr_peak,
)
from hierdiff.validation.experiments import architecture_rule, checkpoint_suffix
from hierdiff.validation.recipes import train_vector_network
from hierdiff.validation.training import TrainConfig

__all__ = [
    "MixtureFactors",
    "factor_figure",
    "implied_beliefs",
    "separated_factors",
]

Array: TypeAlias = NDArray[Any]

_COUNT = partial(whole, low=1, high=10**9)
_TEXT = {
    "snr": "SNR of the denoised features",
    "strength": "SNR of the features denoised given the class",
    "rate": "denoising rate of the features given the class",
    "confidence": "mean belief in the true class, implied by the outputs",
    "snr_exact_beliefs": "SNR of the outputs given the class at exact beliefs",
    "snr_exact_strength": "SNR of exact outputs given the class at the network's beliefs",
    "left_over": "share of the output that no belief explains",
}
_NAMES = tuple(_TEXT)
_GAPS = {
    "ln snr": "ln SNR, network less exact inference",
    "by strength": "what the network's denoising strength adds to ln SNR",
    "by confidence": "what the network's beliefs add to ln SNR",
    "ln strength": "ln SNR given the class, network less exact inference",
    "ln rate": "ln denoising rate, network less exact inference",
    "confidence": "class confidence, network less exact inference",
}
_MAKER = "NetworkRepresentation(MixtureFactors())"


@dataclass(frozen=True)
class MixtureFactors:
    """Networks trained here on several mixtures, with and without the class."""

    classes: tuple[int, ...] = (3, 4, 2)
    """Classes K of every mixture."""
    ranks: tuple[int, ...] = (10, 7, 10)
    """Rank d of the classes of every mixture."""
    deltas: tuple[float, ...] = (0.2, 0.15, 0.25)
    """Amplitude of the residual of every mixture."""
    dim: int = 30
    """Ambient dimension."""
    sigmas: tuple[float, ...] = (0.1, 0.15, 0.2, 0.3, 0.43, 0.6, 0.85, 1.1, 1.6)
    """Noise levels, relative to the signal."""
    networks: int = 2
    """Networks per mixture, with subspaces, data and weights of their own."""
    steps: int = 3500
    """Training steps."""
    width: int = 192
    """Features per layer."""
    depth: int = 2
    """Residual blocks."""
    label_share: float = 0.5
    """Share of the training data on whose class the network is conditioned."""
    test: int = 3000
    """Test points of every network."""
    architecture: str | None = None
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function); default the first
    for mixtures."""

    def __post_init__(self) -> None:
        check_fields(
            self, classes=partial(listed, rule=partial(whole, low=2, high=10**4), distinct=False),
            ranks=partial(listed, rule=_COUNT, distinct=False),
            deltas=partial(listed, rule=partial(number, above=0, below=1), distinct=False),
            sigmas=partial(listed, rule=partial(number, low=1e-3, high=1e3), least=2, rising=True),
            networks=_COUNT, steps=_COUNT, width=_COUNT, depth=_COUNT, test=_COUNT,
            dim=partial(whole, low=1, high=10**6),
            label_share=partial(number, above=0, below=1),
            architecture=architecture_rule(LowRankMixture),
        )  # fmt: skip
        if not len(self.classes) == len(self.ranks) == len(self.deltas):
            raise InvalidParameter(
                f"classes = {self.classes}, ranks = {self.ranks} and deltas = {self.deltas} must "
                "have one number per mixture"
            )
        if len(self.classes) * self.networks < 2:
            raise InvalidParameter(
                "one network of one mixture gives no error; give networks = 2 or more mixtures"
            )
        for k, d in zip(self.classes, self.ranks, strict=True):
            if k * d > self.dim:
                raise InvalidParameter(
                    f"dim = {self.dim} cannot hold {k} orthogonal classes of rank {d}; give at "
                    f"least {k * d}"
                )
            if self.test < 2 * k:
                raise InvalidParameter(f"test = {self.test} must be two points per class or more")

    @property
    def mixtures(self) -> tuple[tuple[int, int, float], ...]:
        """K, d and delta of every network, the networks of a mixture one after the other."""
        every = zip(self.classes, self.ranks, self.deltas, strict=True)
        return tuple(one for one in every for _ in range(self.networks))


# --- one network ----------------------------------------------------------------------------------


@checked
def implied_beliefs(output: ArrayLike, given: ArrayLike) -> NDArray[np.float64]:
    r"""Beliefs in the classes that make an output out of the outputs given each class.

    .. math:: \hat w = \arg\min_{\sum_l w_l = 1} \Big|D - \sum_l w_l D_l\Big|^2

    Parameters
    ----------
    output : array [n, D]
        Without the class.
    given : array [K, n, D]
        Given each class.

    Returns
    -------
    array [n, K]
        Rows sum to one; of an imperfect network single beliefs may leave [0, 1].

    Raises
    ------
    InvalidParameter
        For other shapes, or fewer than two classes.

    Notes
    -----
    Validity: unique where the outputs given the classes do not lie on one line; else the shortest
    solution.

    Examples
    --------
    >>> given = np.array([[[2.0, 0.0]], [[0.0, 4.0]]])
    >>> implied_beliefs([[0.5, 3.0]], given).round(6).tolist()
    [[0.25, 0.75]]
    """
    d, every = reals("output", output, ndim=2, least=1), reals("given", given, ndim=3, least=1)
    if every.shape[1:] != d.shape or len(every) < 2:
        raise InvalidParameter(
            f"given of shape {every.shape} must be two or more outputs of shape {d.shape}"
        )
    last = every[-1]
    # with w_K = 1 - sum of the others nothing is constrained
    directions = np.moveaxis(every[:-1] - last, 0, 2)  # [n, D, K - 1]
    free = (np.linalg.pinv(directions) @ (d - last)[..., None])[..., 0]
    return np.concatenate([free, 1 - free.sum(axis=1, keepdims=True)], axis=1)


@checked(model=unchecked, sigmas=partial(listed, rule=partial(number, above=0, high=1e6)),
         n=partial(whole, low=4, high=10**8))  # fmt: skip
def separated_factors(
    model: Any, mixture: LowRankMixture, sigmas: Sequence[float], n: int, seed: Seed
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Factors of the SNR of a model, and of exact inference in the same points.

    Parameters
    ----------
    model : DiffusionModel
        On the vectors of the mixture; ``given`` conditions it on a class.
    mixture : LowRankMixture
        With orthogonal classes of equal rank.
    sigmas : sequence of float
        Noise levels, relative to the signal.
    n : int
        Test points, evenly over the classes, the same at every level with the same noise.
    seed : Seed
        Source of points and noise.

    Returns
    -------
    model, exact : dict of array [sigma]
        ``snr``, ``strength``, ``rate``, ``confidence``, ``snr_exact_beliefs``,
        ``snr_exact_strength`` and ``left_over``, as at the head of this module.

    Raises
    ------
    InvalidParameter
        If the model cannot be conditioned, or is for other data.

    Notes
    -----
    Validity: that of the module's head; both share points and noise, so compare them pairwise.
    """
    instance("model", model, DiffusionModel)
    if not hasattr(model, "given"):
        raise InvalidParameter(
            f"model {type(model).__name__} cannot be conditioned on a class; give one with a "
            "method given"
        )
    rng = generator(seed)
    x, k = balanced_sample(mixture, n, rng)
    noise = rng.standard_normal(x.shape)
    exact = ExactMixture(mixture, GaussianNoise())
    found: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for sigma in sigmas:
        y = x + sigma * noise
        known = _outputs(exact, y, sigma, mixture)
        seen = _outputs(model, y, sigma, mixture)
        for out, one in zip(found, (seen, known), strict=True):
            out.append(_factors(one, known, y, k, mixture, sigma))
    return _columns(found[0]), _columns(found[1])


def _columns(rows: list[dict[str, float]]) -> dict[str, Array]:
    return {name: np.array([row[name] for row in rows]) for name in _NAMES}


def _outputs(
    model: Any, y: Array, sigma: float, mixture: LowRankMixture
) -> tuple[Array, Array, Array]:
    """Output without the class [n, D], outputs given each class [K, n, D], beliefs [n, K]."""
    t = float(model.noise.level(sigma**-2))
    x_t = y / np.sqrt(1 + sigma**2)
    if model.source == "network":
        x_t = x_t.astype(np.float32)
    alone = np.asarray(model.denoise(x_t, t), float)
    given = np.array([np.asarray(model.given(c).denoise(x_t, t), float)
                      for c in range(mixture.n_classes)])  # fmt: skip
    return alone, given, implied_beliefs(alone, given)


def _factors(
    one: tuple[Array, Array, Array], known: tuple[Array, Array, Array], y: Array, k: Array,
    mixture: LowRankMixture, sigma: float,
) -> dict[str, float]:  # fmt: skip
    alone, given, beliefs = one
    rows, bases = np.arange(len(y)), list(mixture.bases)
    at_class = given[k, rows]

    def quality(features: Array) -> float:
        return feature_snr(features, k, bases)

    def mixed(outputs: Array, weights: Array) -> Array:
        return np.asarray(np.einsum("nk,knd->nd", weights, outputs))

    gains = np.zeros(2)  # mean squares, of the true block and of the others
    for c, basis in enumerate(bases):
        after, before = (((z @ basis) ** 2).sum(axis=1) for z in (at_class, y))
        for block, chosen in enumerate((k == c, k != c)):
            gains[block] += after[chosen].sum() / before[chosen].sum() / len(bases)
    rest = alone - mixed(given, beliefs)
    return {
        "snr": quality(alone),
        "strength": quality(at_class),
        "rate": float((1 + sigma**2) * np.sqrt(gains[0] / gains[1]) - 1),
        "confidence": float(beliefs[rows, k].mean()),
        "snr_exact_beliefs": quality(mixed(given, known[2])),
        "snr_exact_strength": quality(mixed(known[1], beliefs)),
        "left_over": float((rest**2).sum() / (alone**2).sum()),
    }


# --- all networks ---------------------------------------------------------------------------------


def measure_factors(
    source: MixtureFactors, seed: int, folder: Path | None, device: str,
    parameters: Mapping[str, Any], model: Any = None,
) -> xr.Dataset:  # fmt: skip
    """Factors of every network of a source, trained here or found in the folder, beside exact ones.

    With a model it is measured in place of the networks, on the first mixture of every kind.
    """
    # the levels that are read, and as much around them as the network interpolates from
    trained = (source.sigmas[0] / 2, 1.5 * source.sigmas[-1])
    plan = TrainConfig(steps=source.steps, every=max(source.steps // 3, 1), rate=2e-3,
                average=0.995, warmup=min(100, source.steps), device=device)  # fmt: skip
    found: list[dict[str, Array]] = []
    exact: list[dict[str, Array]] = []
    for run, (classes, rank, delta) in enumerate(source.mixtures):
        mixture = LowRankMixture.random(
            source.dim, rank, classes, delta=delta, seed=stream(seed, "factors", run)
        )
        one = model
        if model is None:
            key = f"factors-{classes}-{rank}-{delta:g}-{source.width}-{source.depth}-{run}-{seed}"
            key += checkpoint_suffix(LowRankMixture, source.architecture)
            one, _ = train_vector_network(
                mixture, plan, width=source.width, depth=source.depth,
                sigmas=trained, label_share=source.label_share, seed=seed + 1000 * run,
                network=source.architecture, folder=None if folder is None else folder / key,
            )  # fmt: skip
        pair = separated_factors(
            one, mixture, source.sigmas, source.test, stream(seed, "factor test", run)
        )
        for rows, values in zip((found, exact), pair, strict=True):
            rows.append(values)
    return _label(source, found, exact, parameters)


def _over_mixtures(kinds: Sequence[tuple[int, int, float]], x: Array) -> Array:
    """Rows of networks [run, ...] as independent units: mixtures, or networks of a single one."""
    rows = np.asarray(x, float)
    each = dict.fromkeys(kinds)
    if len(each) < 2:
        return rows
    return np.array([
        rows[[r for r, other in enumerate(kinds) if other == one]].mean(axis=0) for one in each
    ])  # fmt: skip


def _mean_error_score(units: Array) -> tuple[Array, Array, Array]:
    """Mean, Student error and score over units [unit, ...]; NaN where one has no number."""
    good = np.isfinite(units).all(axis=0)
    filled = np.where(good, units, 0.0)
    found = (filled.mean(axis=0), student_error(filled), student_score(filled))
    mean, error, score = (np.where(good, x, np.nan) for x in found)
    return mean, error, score


def _label(
    source: MixtureFactors, found: list[dict[str, Array]], exact: list[dict[str, Array]],
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    plane = ("run", "sigma")
    variables: dict[str, Any] = {}
    net, law = ({name: np.array([row[name] for row in rows]) for name in _NAMES}
                for rows in (found, exact))  # fmt: skip
    for name, text in _TEXT.items():
        variables[name] = (plane, net[name], text)
        if name in ("snr", "strength", "rate", "confidence"):
            variables[f"{name}_exact"] = (plane, law[name], f"{text}, exact inference")
    base = np.log(law["snr"])
    gaps = {
        "ln snr": np.log(net["snr"]) - base,
        "by strength": np.log(net["snr_exact_beliefs"]) - base,
        "by confidence": np.log(net["snr_exact_strength"]) - base,
        "ln strength": np.log(net["strength"] / law["strength"]),
        # a rate below zero, of a network that denoises the wrong block more, has no logarithm
        "ln rate": np.log(np.where(net["rate"] > 0, net["rate"], np.nan) / law["rate"]),
        "confidence": net["confidence"] - law["confidence"],
    }
    every = np.array(list(gaps.values()))  # [gap, run, sigma]
    mean, error, score = _mean_error_score(_over_mixtures(source.mixtures, every.swapaxes(0, 1)))
    variables |= results.with_error(
        "gap", ("quantity", "sigma"), mean, error, "network less exact inference, over mixtures"
    )
    variables["gap_z"] = (("quantity", "sigma"), score, "normal score of the difference")
    variables["gap_by_run"] = (("quantity", *plane), every, "network less exact inference")
    kinds = np.array(source.mixtures)
    coords: dict[str, Any] = {
        "sigma": (("sigma",), list(source.sigmas), "noise level sigma, relative to the signal"),
        "run": (("run",), np.arange(len(kinds)), "network"),
        "classes": (("run",), kinds[:, 0].astype(int), "classes K"),
        "rank": (("run",), kinds[:, 1].astype(int), "rank d"),
        "delta": (("run",), kinds[:, 2], "amplitude of the residual"),
        "quantity": (("quantity",), list(_GAPS), "what is compared"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def factor_law(source: MixtureFactors, law: str, parameters: Mapping[str, Any]) -> xr.Dataset:
    """The laws of the population, in the labels of :func:`measure_factors`.

    ``law`` is "exact", or "mean_field": the closed form, whose confidence networks reject.
    """
    if law not in ("exact", "mean_field"):
        raise InvalidParameter(f"law = {law!r} is not known; use 'exact' or 'mean_field'")
    sigma = np.array(source.sigmas)
    rows: dict[str, list[Array]] = {k: [] for k in ("snr", "strength", "rate", "confidence")}
    peaks = []
    for classes, rank, delta in source.mixtures:
        curve = snr if law == "exact" else snr_mean_field
        rows["snr"].append(curve(classes, rank, delta, sigma))
        rows["strength"].append(snr_envelope(classes, delta, sigma))
        rows["rate"].append(sigma**2 / delta**2)
        if law == "exact":
            rows["confidence"].append(class_confidence(classes, rank, delta, sigma))
        else:
            odds = np.exp(-np.minimum(mean_field_exponent(rank, delta, sigma), 700.0))
            rows["confidence"].append(1 / (1 + (classes - 1) * odds))
        peaks.append(snr_peak(classes, rank, delta, curve=curve).sigma)
    kinds = np.array(source.mixtures)
    variables: dict[str, Any] = {
        name: (("run", "sigma"), np.array(values), _TEXT[name]) for name, values in rows.items()
    }
    variables["peak"] = (("run",), np.array(peaks), "noise level of the peak")
    coords: dict[str, Any] = {
        "sigma": (("sigma",), sigma, "noise level sigma, relative to the signal"),
        "run": (("run",), np.arange(len(kinds)), "network"),
        "classes": (("run",), kinds[:, 0].astype(int), "classes K"),
        "rank": (("run",), kinds[:, 1].astype(int), "rank d"),
        "delta": (("run",), kinds[:, 2], "amplitude of the residual"),
    }
    attributes = {**results.provenance(parameters), "law": law}
    return results.label(variables, coords, "theory", attributes)


# --- what was found -------------------------------------------------------------------------------


def factor_summary(ds: xr.Dataset, law: xr.Dataset, closed: xr.Dataset) -> Summary:
    """Both factors along the noise, network less exact inference, and the wrong laws."""
    values = _values(ds, law, closed)
    return Summary(_table(ds, values), _claim(values), values)


def _kinds(ds: xr.Dataset) -> list[tuple[int, int, float]]:
    """K, d and delta of every network."""
    return [(int(k), int(d), float(x)) for k, d, x in
            zip(ds.classes.values, ds["rank"].values, ds.delta.values, strict=True)]  # fmt: skip


def _values(ds: xr.Dataset, law: xr.Dataset, closed: xr.Dataset) -> dict[str, Any]:
    sigma, kinds = ds.sigma.values, _kinds(ds)

    def pair(x: Array) -> list[float | None]:
        """Mean over independent units, its Student error, and the normal score."""
        found = _mean_error_score(_over_mixtures(kinds, x))
        return [float(y) if np.isfinite(y) else None for y in found]

    strength, confidence = np.log(ds.strength.values), ds.confidence.values
    exact = np.log(law.strength.values)
    top = ds.snr.values.argmax(axis=1)
    gap = {str(q): ds.gap_by_run.sel(quantity=q).values for q in ds.quantity.values}
    # between the peak of every network and the last level
    late, late_exact = (np.array([x[r, -1] - x[r, k] for r, k in enumerate(top)])
                        for x in (strength, exact))  # fmt: skip
    fall = np.array([np.log(ds.snr.values[r, -1] / ds.snr.values[r, k])
                     for r, k in enumerate(top)])  # fmt: skip
    wrong = confidence - closed.confidence.values
    # the level of the test is that next to the exact peak, which no network has a say in
    place = np.abs(np.log(sigma / law.peak.values[:, None])).argmin(axis=1)
    at_peak = wrong[np.arange(len(wrong)), place]
    additive = gap["ln snr"] - gap["by strength"] - gap["by confidence"]
    return {
        "sigma": sigma.tolist(),
        "mixtures": [list(kind) for kind in kinds], "networks": int(ds.sizes["run"]),
        "errors over": "mixtures" if len({*kinds}) > 1 else "networks",
        "peak at": sigma[top].tolist(),
        "exact peak": law.peak.values.tolist(),
        "closed-form peak": closed.peak.values.tolist(),
        "ln strength, from first to last level": pair(strength[:, -1] - strength[:, 0]),
        "rising steps of the strength": [int((np.diff(strength) > 0).sum()), int(strength.size
                                          - len(strength))],
        "falling steps of the confidence": [int((np.diff(confidence) < 0).sum()),
                                            int(confidence.size - len(confidence))],
        "confidence at first and last level": [pair(confidence[:, 0]), pair(confidence[:, -1])],
        "after the peak, ln snr": pair(fall),
        "after the peak, ln strength": pair(late),
        "after the peak, ln strength, exact": pair(late_exact),
        "gap": {q: [pair(x[:, i]) for i in range(len(sigma))] for q, x in gap.items()},
        "gap, mean over levels": {q: pair(x.mean(axis=1)) for q, x in gap.items()},
        "ln snr less both parts": pair(additive.mean(axis=1)),
        "largest, ln snr less both parts": float(np.abs(additive).max()),
        "output that no belief explains": pair(ds.left_over.values.mean(axis=1)),
        "confidence less closed form": [pair(wrong[:, i]) for i in range(len(sigma))],
        "closed form, next to the exact peak": pair(at_peak),
        "closed form, levels next to the exact peak": sigma[place].tolist(),
        "closed form, mean over levels": pair(wrong.mean(axis=1)),
        "snr": ds.snr.values.round(3).tolist(), "strength": ds.strength.values.round(3).tolist(),
        "confidence": confidence.round(5).tolist(), "rate": ds.rate.values.round(4).tolist(),
        "snr, exact": law.snr.values.round(3).tolist(),
        "strength, exact": law.strength.values.round(3).tolist(),
        "confidence, exact": law.confidence.values.round(5).tolist(),
        "rate, exact": law.rate.values.round(4).tolist(),
    }  # fmt: skip


def _table(ds: xr.Dataset, values: dict[str, Any]) -> str:
    """Network less exact inference at every level, with Student errors; places of the peaks."""
    rows = [[f"{sigma:g}", *(_cell(values["gap"][q][i]) for q in _GAPS)]
            for i, sigma in enumerate(values["sigma"])]  # fmt: skip
    every = zip(values["mixtures"], values["peak at"], values["exact peak"],
                values["closed-form peak"], strict=True)  # fmt: skip
    peaks = [[k, d, f"{delta:g}", f"{at:.3f}", f"{law:.3f}", f"{closed:.3f}"]
             for (k, d, delta), at, law, closed in every]  # fmt: skip
    return "\n".join([
        f"network less exact inference in the same points; errors over {values['errors over']}",
        text_table(["sigma", *_GAPS], rows), "",
        text_table(["K", "d", "delta", "peak at", "exact", "closed form"], peaks, keys=3),
    ])  # fmt: skip


def _cell(pair: Sequence[float | None], digits: int = 4) -> str:
    """A mean with its error; "-" where a network has no number."""
    return "-" if pair[0] is None else plus_minus(pair[0], pair[1], digits)


def _score(pair: Sequence[float | None]) -> str:
    """The score; "alike" where all units have the same difference."""
    return "alike" if pair[2] is None else f"z = {pair[2]:.1f}"


def _claim(values: dict[str, Any]) -> str:
    """Strength rises, confidence falls, and how near both are to exact inference."""
    up, steps = values["rising steps of the strength"]
    down, _ = values["falling steps of the confidence"]
    (first, *_), (last, *_) = values["confidence at first and last level"]
    gap, fall = values["gap, mean over levels"], values["after the peak, ln snr"]
    late, law = (values[f"after the peak, ln strength{x}"] for x in ("", ", exact"))
    wrong = values["closed form, next to the exact peak"]
    kinds = len({tuple(x) for x in values["mixtures"]})
    return (
        f"given the class the SNR of {values['networks']} networks on {kinds} mixtures rises in "
        f"{up} of {steps} steps of the noise, and their class confidence falls in {down}, from "
        f"{first:.3f} to {last:.3f}; beyond the peak ln SNR changes by {_cell(fall, 2)}, given the "
        f"class by {_cell(late, 2)} (exact inference {_cell(law, 2)}); network less exact: "
        f"confidence {_cell(gap['confidence'])} ({_score(gap['confidence'])}), ln SNR given the "
        f"class {_cell(gap['ln strength'], 3)} ({_score(gap['ln strength'])}); next to the exact "
        f"peak the confidence is {_cell(wrong, 3)} off the closed form ({_score(wrong)})"
    )


# --- figure ---------------------------------------------------------------------------------------


@checked
def factor_figure(ds: xr.Dataset, law: xr.Dataset, closed: xr.Dataset) -> Figure:
    """SNR with and without the class, class confidence, and what each costs the networks.

    Parameters
    ----------
    ds, law, closed : xarray.Dataset
        As ``NetworkRepresentation(MixtureFactors()).datasets`` returns them: networks, exact law
        and closed form.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If a dataset lacks one of the variables.
    """
    plane = ("run", "sigma")
    needs(ds, dict.fromkeys(("snr", "strength", "confidence"), plane), _MAKER)
    needs(ds, dict.fromkeys(("gap", "gap_error"), ("quantity", "sigma")), _MAKER)
    for one in (law, closed):
        needs(one, dict.fromkeys(("snr", "strength", "confidence"), plane), _MAKER)
    kinds = [tuple(x) for x in np.stack([ds.classes, ds["rank"], ds.delta], axis=1).tolist()]
    figure, axes = plt.subplots(1, 3, figsize=(12.6, 3.9), layout="constrained")
    for i, kind in enumerate(dict.fromkeys(kinds)):
        runs = [r for r, other in enumerate(kinds) if other == kind]
        colour = PALETTE[i % len(PALETTE)]
        words = f"K = {kind[0]:g}, d = {kind[1]:g}, $\\delta$ = {kind[2]:g}"
        one, exact = ds.isel(run=runs), law.isel(run=runs[0])
        wrong = closed.isel(run=runs[0])
        axes[0].plot(exact.sigma, exact.snr, color=colour, lw=1.3, label=f"exact, {words}")
        axes[0].plot(exact.sigma, exact.strength, color=colour, lw=1.1, ls="--")
        axes[1].plot(exact.sigma, exact.confidence, color=colour, lw=1.3)
        axes[1].plot(wrong.sigma, wrong.confidence, color=colour, lw=1.0, ls=":")
        for ax, name, marker in ((axes[0], "snr", "o"), (axes[0], "strength", "s"),
                                 (axes[1], "confidence", "o")):  # fmt: skip
            _points(ax, one, name, marker, colour)
    axes[0].plot([], [], "--", color="0.3", lw=1.1, label="exact, class given")
    axes[0].plot([], [], "o", color="0.3", mfc="none", ms=4.5, label="networks")
    axes[0].plot([], [], "s", color="0.3", mfc="none", ms=4.5, label="networks, class given")
    axes[1].plot([], [], ":", color="0.3", lw=1.0, label="closed form (mean inside the softmax)")
    styles = (("ln snr", "0.2", "o", "ln SNR"), ("by strength", PALETTE[3], "s", "by strength"),
              ("by confidence", PALETTE[4], "^", "by beliefs"))  # fmt: skip
    for name, colour, marker, words in styles:
        one = ds.sel(quantity=name)
        axes[2].errorbar(one.sigma, one.gap, one.gap_error, color=colour, marker=marker,
                         mfc="none", ms=4.5, lw=0.9, capsize=2,
                         label=f"network less exact: {words}")  # fmt: skip
    axes[2].axhline(0, color="0.5", lw=0.8)
    axes[0].set(xscale="log", yscale="log", ylabel="SNR of denoised features")
    axes[1].set(xscale="log", ylabel="class confidence", ylim=(0, 1.05))
    axes[2].set(xscale="log", ylabel="difference of ln SNR")
    for ax in axes:
        ax.set_xlabel(r"noise level $\sigma$, relative to the signal")
        ax.spines[["top", "right"]].set_visible(False)
    panels(axes, "the class turns a peak into a rise", "belief in the true class falls",
           "what strength and beliefs cost")  # fmt: skip
    shared_legend(figure, *axes)
    return figure


def _points(ax: Axes, ds: xr.Dataset, name: str, marker: str, colour: str) -> None:
    """Networks of one mixture: each as a point where there are few."""
    for r in range(ds.sizes["run"]):
        ax.plot(ds.sigma, ds[name].isel(run=r), ls="none", marker=marker, mfc="none", ms=4.5,
                mew=0.9, color=colour)  # fmt: skip
