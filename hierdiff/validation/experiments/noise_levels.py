r"""Two noise levels read together, and one denoiser per noise level beside a shared one.

Features of a datum :math:`x_0` are the denoised :math:`f = D(x_0 + \sigma\varepsilon; \sigma)`, or
a layer of the network on the way.  A reader that may call the network twice can spend the calls on

====================  ==========================================================================
reading               features, and network calls
====================  ==========================================================================
``one``               one level, one noise: 1 call
``twice``             one level, two independent noises, their features averaged: 2 calls
``mean``              two levels, their features averaged: 2 calls
``weighted``          two levels, features added with the best weights: 2 calls
``combined``          one call on the weighted mean of two noisy copies, for which the SNRs of the
                      noises add (:func:`hierdiff.theory.mixture.time_change.combined_sigma`)
``clean``             one call on the datum itself, at level sigma: no noise is added
====================  ==========================================================================

The SNR of features added with weights w is a ratio of quadratic forms,

.. math:: \mathrm{SNR}(w) = \frac1K\sum_k\frac{w^T S_k w}{w^T N_k w}, \qquad
   S_{k,ij} = E[f_i^T U_kU_k^T f_j \mid k], \quad N_{k,ij} = E[f_i^T f_j \mid k] - S_{k,ij},

so the best weights are the first generalised eigenvector of the mean forms.  Levels and weights are
chosen on one half of the test data and read on the other: a maximum over noisy numbers would exceed
each of them by construction.

A denoiser of one level alone is trained on that level, with the capacity of the shared one, and
either as many steps (each) or as many in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations, combinations_with_replacement
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import eigh

from hierdiff import results
from hierdiff._display import pair_text, plus_minus, text_table
from hierdiff._progress import Progress
from hierdiff.checks import check_fields, listed, number, one_level, text, whole
from hierdiff.contracts import DiffusionModel, Summary
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.plots import (
    BLUE,
    GREEN,
    GREY,
    OCHRE,
    ORANGE,
    PURPLE,
    Axes,
    Figure,
    legend,
    panel,
    plt,
    ticker,
)
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.metrics.probes import ridge_probe
from hierdiff.sims.representation import balanced_sample
from hierdiff.theory.mixture.feature_snr import snr, snr_clean
from hierdiff.theory.mixture.posterior import denoise
from hierdiff.theory.mixture.time_change import combined_sigma
from hierdiff.validation.experiments.layer_probes import DigitNetworks, labelled_models
from hierdiff.validation.recipes import train_vector_network
from hierdiff.validation.training import TrainConfig

__all__ = ["DigitLevels", "MixtureLevels"]

Array: TypeAlias = NDArray[Any]
_Denoiser: TypeAlias = Callable[[Array, float], Array]

READINGS = ("one", "twice", "mean", "weighted", "combined", "clean")
_CALLS = (1, 2, 2, 2, 1, 1)
_TRAINED = ("shared", "own, as many steps each", "own, as many in all")
_COUNT = partial(whole, low=1, high=10**9)  # no more of anything that is counted
_BAND = 1e-3  # a network of one level is trained within this share of it
_RIDGE = 10.0  # of features of root mean square one, as in the probes of layers
_REPEATS = 10  # draws of the few data
_COLOURS = {"one": "0.1", "twice": BLUE, "mean": GREEN, "weighted": ORANGE, "combined": OCHRE,
            "clean": PURPLE}  # fmt: skip
_NAMES = {
    "one": "one level, 1 call", "twice": "one level twice, 2 calls",
    "mean": "two levels, mean, 2 calls", "weighted": "two levels, best weights, 2 calls",
    "combined": "noises combined, 1 call", "clean": "clean datum, 1 call",
}  # fmt: skip


def _increasing(name: str, value: Any, rule: Any) -> tuple[float, ...]:
    found: tuple[float, ...] = listed(name, value, rule)
    if len(found) < 2 or any(np.diff(found) <= 0):
        raise InvalidParameter(f"{name} = {found} must be two or more increasing noise levels")
    return found


@dataclass(frozen=True)
class MixtureLevels:
    """Networks on a mixture of low-rank Gaussians, read at two noise levels, shared and alone."""

    classes: int = 3
    """Classes K."""
    rank: int = 10
    """Rank d of every class."""
    delta: float = 0.2
    """Amplitude of the residual."""
    dim: int = 30
    """Ambient dimension."""
    sigmas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.43, 0.6, 1.0)
    """Noise levels, relative to the signal."""
    networks: int = 3
    """Networks of every kind, with weights and data of their own, over which errors are taken."""
    steps: int = 1000
    """Training steps of the shared network."""
    width: int = 128
    """Features per layer."""
    depth: int = 2
    """Residual blocks."""
    test: int = 2400
    """Test points."""
    own: bool = True
    """Train a network of its own for every level, too."""

    def __post_init__(self) -> None:
        sigma = partial(number, low=1e-3, high=1e3)
        check_fields(
            self, sigmas=partial(_increasing, rule=sigma),
            networks=partial(whole, low=2, high=10**6), steps=_COUNT, width=_COUNT, depth=_COUNT,
            test=partial(whole, low=8, high=10**7), delta=partial(number, low=1e-3, high=1),
            classes=partial(whole, low=2, high=10**4),
        )  # fmt: skip
        if self.test < 8 * self.classes:
            raise InvalidParameter(
                f"test = {self.test} leaves halves of fewer than four points per class; give at "
                f"least 8 K = {8 * self.classes}"
            )
        _ = self._mixture(0)

    def _mixture(self, seed: int) -> LowRankMixture:
        """The data distribution, the same for all networks."""
        return LowRankMixture.random(
            self.dim, self.rank, self.classes, delta=self.delta, seed=stream(seed, "world")
        )


@dataclass(frozen=True)
class DigitLevels(DigitNetworks):
    """Networks on 8 x 8 digits, whose layers are probed at two noise levels together."""

    n_train: tuple[int, ...] = (0,)
    """Training images; 0 takes all there are, and is the only size that is read here."""
    networks: int = 3
    """Networks, with weights of their own, over which errors are taken."""
    t: tuple[float, ...] = (0.005, 0.02, 0.06, 0.1, 0.15, 0.2, 0.3)
    """Noise levels."""
    layers: tuple[str, ...] = ("middle_block", "output_blocks.0", "output_blocks.1")
    """Submodules that are probed."""

    def __post_init__(self) -> None:
        DigitNetworks.__post_init__(self)
        check_fields(
            self, t=partial(_increasing, rule=one_level), layers=partial(listed, rule=text),
            networks=partial(whole, low=2, high=10**6),
        )  # fmt: skip
        if self.n_train != (0,):
            raise InvalidParameter(
                f"n_train = {self.n_train} means nothing here; leave (0,), all images there are"
            )


# --- mixtures -------------------------------------------------------------------------------------


def read_mixture(
    source: MixtureLevels, seed: int, folder: Path | None, device: str,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """SNR of all readings, exact and by networks, and the curves of shared and own denoisers."""
    mixture, rows, curves, pairs = source._mixture(seed), [], [], []
    levels = np.array(source.sigmas)
    for k in range(source.networks):
        x, labels = balanced_sample(mixture, source.test, stream(seed, "test", k))
        noise = stream(seed, "test noise", k).standard_normal((2, *x.shape))
        shared = _trained(source, seed, k, None, source.steps, folder, device)
        found = [_readings(_exact(mixture), mixture, levels, x, labels, noise, seed),
                 _readings(shared, mixture, levels, x, labels, noise, seed)]  # fmt: skip
        rows.append([[f.chosen[r] for r in READINGS] for f in found])
        pairs.append([f.combined for f in found])
        curves.append([found[1].single])
        if source.own:
            for steps in (source.steps, max(1, source.steps // len(levels))):
                alone = [_trained(source, seed, k, s, steps, folder, device) for s in levels]
                curves[-1].append(_own_curve(alone, mixture, levels, x, labels, noise))
    return _mixture_dataset(source, np.array(rows), np.array(pairs), np.array(curves), parameters)


def _trained(
    source: MixtureLevels, seed: int, k: int, sigma: float | None, steps: int,
    folder: Path | None, device: str,
) -> _Denoiser:  # fmt: skip
    """A denoiser of all levels (None) or of one, as a function of y = x0 + sigma eps."""
    # a tenth of a short training warms up, as of a long one: what differs is the number of steps
    plan = TrainConfig(steps=steps, every=steps, rate=2e-3, average=0.995,
                       warmup=min(100, max(1, steps // 10)), device=device)  # fmt: skip
    sizes = (source.rank, source.dim, source.width, source.depth)
    words = "-".join(f"{x:g}" for x in (*sizes, steps, seed, k))
    key = f"levels-{'all' if sigma is None else f'{sigma:g}'}-{words}"
    band = (0.01, 5.0) if sigma is None else (sigma * (1 - _BAND), sigma * (1 + _BAND))
    model, _ = train_vector_network(
        source._mixture(seed), plan, width=source.width, depth=source.depth, sigmas=band,
        seed=seed + 1000 * k, folder=None if folder is None else folder / key,
    )  # fmt: skip

    noise = GaussianNoise()  # that of every network on vectors

    def denoised(y: Array, level: float) -> Array:
        x_t = (y / np.sqrt(1 + level**2)).astype(np.float32)
        return np.asarray(model.denoise(x_t, float(noise.level(level**-2))), dtype=float)

    return denoised


def _exact(mixture: LowRankMixture) -> _Denoiser:
    return lambda y, level: denoise(mixture, y, level)


@dataclass(frozen=True, eq=False)
class _Found:
    """SNR of the chosen readings, of every pair of combined noises, and of single levels."""

    chosen: dict[str, float]
    combined: Array
    single: Array


class _Forms:
    """Signal and residual forms [half, class, i, j] of features [m, n, D]."""

    def __init__(
        self, features: Array, mixture: LowRankMixture, labels: Array, half: Array
    ) -> None:
        m, classes = len(features), len(mixture.bases)
        self.signal = np.empty((2, classes, m, m))
        self.residual = np.empty((2, classes, m, m))
        for k, basis in enumerate(mixture.bases):
            for h in (0, 1):
                mine = features[:, (labels == k) & (half == h)]
                inside = (mine @ basis).reshape(m, -1)
                every = mine.reshape(m, -1)
                points = mine.shape[1]
                self.signal[h, k] = inside @ inside.T / points
                self.residual[h, k] = every @ every.T / points - self.signal[h, k]

    def snr(self, h: int | None, rows: tuple[int, ...], weights: Array | None = None) -> float:
        """SNR of features added with weights (default alike), on a half or on all points."""
        w = np.ones(len(rows)) if weights is None else weights
        take = slice(None) if h is None else slice(h, h + 1)
        cut = np.ix_(rows, rows)
        forms = [f[take].mean(axis=0)[(slice(None), *cut)] for f in (self.signal, self.residual)]
        above, below = (np.einsum("i,kij,j->k", w, f, w) for f in forms)
        # where residuals cancel, the form is what rounding leaves, of either sign
        least = np.einsum("i,kij,j->k", abs(w), abs(forms[1]), abs(w)) * np.finfo(float).eps
        return float((above / np.maximum(below, least)).mean())

    def best(self, h: int, rows: tuple[int, ...]) -> Array:
        """Weights of highest SNR of the mean forms of a half."""
        cut = np.ix_(rows, rows)
        above, below = (f[h].mean(axis=0)[cut] for f in (self.signal, self.residual))
        # features that share their residual leave the form singular: a billionth keeps it definite
        below = below + 1e-9 * np.trace(below) / len(below) * np.eye(len(below))
        return np.asarray(eigh(above, below)[1][:, -1])


def _readings(
    denoiser: _Denoiser, mixture: LowRankMixture, levels: Array, x: Array, labels: Array,
    noise: Array, seed: int,
) -> _Found:  # fmt: skip
    """All readings of a denoiser; what is chosen on a half is read on the other."""
    n, half = len(levels), np.empty(len(x), int)
    half[stream(seed, "halves").permutation(len(x))] = np.arange(len(x)) % 2
    noisy = [denoiser(x + s * e, s) for e in noise for s in levels]
    forms = _Forms(np.array(noisy), mixture, labels, half)
    clean = _Forms(np.array([denoiser(x, s) for s in levels]), mixture, labels, half)
    both = list(combinations_with_replacement(range(n), 2))
    sums = []
    for i, j in both:
        s = combined_sigma(levels[[i, j]])
        copies = (x + levels[a] * e for a, e in zip((i, j), noise, strict=True))
        y = s**2 * sum(c / levels[a] ** 2 for a, c in zip((i, j), copies, strict=True))
        sums.append(denoiser(y, s))
    combined = _Forms(np.array(sums), mixture, labels, half)
    apart = list(combinations(range(n), 2))
    # the two noises are alike, so a pair of levels is tried with either order of them
    pairs: list[tuple[int, ...]] = [(i, n + j) for i, j in apart]
    pairs += [(j, n + i) for i, j in apart]
    candidates: dict[str, tuple[_Forms, list[tuple[int, ...]]]] = {
        "one": (forms, [(i,) for i in range(n)]),
        "twice": (forms, [(i, n + i) for i in range(n)]),
        "mean": (forms, pairs),
        "combined": (combined, [(p,) for p in range(len(both))]),
        "clean": (clean, [(i,) for i in range(n)]),
    }
    chosen = {}
    for name, (f, rows) in candidates.items():
        values = []
        for h in (0, 1):
            top = rows[int(np.argmax([f.snr(h, r) for r in rows]))]
            values.append(f.snr(1 - h, top))
        chosen[name] = float(np.mean(values))
    values = []
    for h in (0, 1):
        added = [(r, forms.best(h, r)) for r in pairs]
        top, w = added[int(np.argmax([forms.snr(h, r, w) for r, w in added]))]
        values.append(forms.snr(1 - h, top, w))
    chosen["weighted"] = float(np.mean(values))
    single = np.array([np.mean([forms.snr(None, (i,)), forms.snr(None, (n + i,))])
                       for i in range(n)])  # fmt: skip
    every = np.array([combined.snr(None, (p,)) for p in range(len(both))])
    return _Found(chosen, every, single)


def _own_curve(
    denoisers: list[_Denoiser], mixture: LowRankMixture, levels: Array, x: Array, labels: Array,
    noise: Array,
) -> Array:  # fmt: skip
    """SNR along the levels, each by the network of that level, with the noises of the shared."""
    half = np.arange(len(x)) % 2
    found = []
    for denoiser, s in zip(denoisers, levels, strict=True):
        forms = _Forms(np.array([denoiser(x + s * e, s) for e in noise]), mixture, labels, half)
        found.append(np.mean([forms.snr(None, (d,)) for d in (0, 1)]))
    return np.array(found)


def _mixture_dataset(
    source: MixtureLevels, rows: Array, pairs: Array, curves: Array, parameters: Mapping[str, Any]
) -> xr.Dataset:
    """Readings [network, reader, reading], pairs [.., pair], curves [network, trained, sigma]."""
    levels = np.array(source.sigmas)
    both = np.array(list(combinations_with_replacement(levels, 2)))
    joint = np.array([combined_sigma(p) for p in both])
    equal = np.sqrt((both**2).sum(axis=1)) / 2  # of the plain mean of two copies
    case = (source.classes, source.rank, source.delta)
    variables: dict[str, Any] = {}
    for name, values, dims, words in (
        ("reading_snr", rows, ("reader", "reading"), "SNR of features, levels chosen elsewhere"),
        ("pair_snr", pairs, ("reader", "pair"), "SNR of features of two noisy copies combined"),
        ("curve", curves, ("trained", "sigma"), "SNR of features"),
    ):
        variables |= results.with_error(
            name, dims, values.mean(axis=0), student_error(values), words
        )
        variables[f"{name}_by_network"] = (("network", *dims), values, words)
    variables["pair_law"] = (("pair",), snr(*case, joint), "exact SNR where the SNRs of noises add")
    variables["pair_wrong"] = (("pair",), snr(*case, equal),
                               "the same at the level of the plain mean of the copies")  # fmt: skip
    variables["curve_law"] = (("sigma",), snr(*case, levels), "exact SNR of a single level")
    variables["clean_law"] = (("sigma",), snr_clean(*case, levels), "exact SNR, clean datum")
    coords: dict[str, Any] = {
        "network": (("network",), np.arange(source.networks), "network, with points of its own"),
        "reader": (("reader",), ["exact", "network"], "what denoises"),
        "reading": (("reading",), list(READINGS), "what is read"),
        "calls": (("reading",), list(_CALLS), "network calls per datum"),
        "trained": (("trained",), list(_TRAINED[: curves.shape[1]]), "what one network is for"),
        "sigma": (("sigma",), levels, "noise level sigma, relative to the signal"),
        "sigma_1": (("pair",), both[:, 0], "noise level of the first copy"),
        "sigma_2": (("pair",), both[:, 1], "noise level of the second copy"),
        "combined": (("pair",), joint, "noise level of both copies together"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


# --- digits ---------------------------------------------------------------------------------------


def read_digits(
    source: DigitLevels, seed: int, folder: Path | None, device: str,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Accuracy of probes of every layer on all readings but those of a mixture's law.

    All networks are read on the same test data: errors over networks are about these data.
    """
    found = labelled_models(source, seed, folder, device)
    names = [r for r in READINGS if r not in ("combined", "weighted")]
    rows = []
    for model in Progress(found.networks[0], "probes", unit="networks"):
        features = _level_features(source, model, found, seed)
        labels = (found.fit[1], found.test[1])
        rows.append([_probed(layer, labels, names, source.shots, seed)
                     for layer in features])  # fmt: skip
    values = np.array(rows)  # [network, layer, probe, reading]
    variables: dict[str, Any] = results.with_error(
        "accuracy", ("layer", "probe", "reading"), values.mean(axis=0), student_error(values),
        "accuracy of a linear probe, levels chosen on other data",
    )  # fmt: skip
    gain = values - values[..., :1]
    variables |= results.with_error(
        "gain", ("layer", "probe", "reading"), gain.mean(axis=0), student_error(gain),
        "accuracy minus that of one level, paired",
    )  # fmt: skip
    variables["gain_by_network"] = (("network", "layer", "probe", "reading"), gain, "the same")
    coords: dict[str, Any] = {
        "network": (("network",), np.arange(source.networks), "network"),
        "layer": (("layer",), list(source.layers), "layer"),
        "probe": (("probe",), ["all", "few"], f"fitted on all data, or {source.shots} per class"),
        "reading": (("reading",), names, "what is read"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _level_features(
    source: DigitLevels, model: DiffusionModel, found: Any, seed: int
) -> list[tuple[Array, Array]]:
    """Features of every layer, of fitted and of tested data: [noise, level, n, width].

    The third of the noises is none: the datum itself, scaled as its noisy copies are.
    """
    noise, sets = found.noise, []
    for which, (clean, _) in enumerate((found.fit, found.test)):
        every: list[list[dict[str, Array]]] = []
        for draw in range(3):
            eps = stream(seed, "two noises", which, draw).standard_normal(clean.shape)
            eps = np.zeros(clean.shape) if draw == 2 else eps
            every.append([
                {k: np.asarray(f).reshape(len(clean), -1) for k, f in model.features(
                    noise.corrupt_with(clean, t, eps).astype(np.float32), t).items()}
                for t in source.t
            ])  # fmt: skip
        sets.append(every)
    return [
        cast(tuple[Array, Array], tuple(
            np.array([[level[layer] for level in draw] for draw in every]) for every in sets))
        for layer in source.layers
    ]  # fmt: skip


def _probed(
    features: tuple[Array, Array], labels: tuple[Array, Array], names: list[str], shots: int,
    seed: int,
) -> list[list[float]]:  # fmt: skip
    """Accuracy [probe, reading]: features of two calls stand side by side."""
    n = features[0].shape[1]
    apart = list(combinations(range(n), 2))
    candidates: dict[str, list[tuple[tuple[int, int], ...]]] = {
        "one": [((0, i),) for i in range(n)],
        "twice": [((0, i), (1, i)) for i in range(n)],
        "mean": [((0, i), (1, j)) for i, j in apart],
        "clean": [((2, i),) for i in range(n)],
    }
    half = stream(seed, "halves").permutation(features[1].shape[2]) % 2
    found: list[list[float]] = [[], []]
    for name in names:
        right = [_right(features, labels, c, shots, seed) for c in candidates[name]]
        for probe in (0, 1):
            per = np.array([r[probe] for r in right])  # [candidate, n]
            values = [per[int(per[:, half == h].mean(axis=1).argmax()), half != h].mean()
                      for h in (0, 1)]  # fmt: skip
            found[probe].append(float(np.mean(values)))
    return found


def _right(
    features: tuple[Array, Array], labels: tuple[Array, Array],
    rows: tuple[tuple[int, int], ...], shots: int, seed: int,
) -> tuple[Array, Array]:  # fmt: skip
    """Share of probes that are right on each test datum: fitted on all data, and on a few."""
    fit, test = (np.concatenate([f[d, i] for d, i in rows], axis=1) for f in features)
    every = ridge_probe(fit, labels[0], ridge=_RIDGE).predict(test) == labels[1]
    few = np.zeros(len(test))
    for repeat in range(_REPEATS):
        order = stream(seed, "few", repeat).permutation(len(fit))
        few_rows = np.concatenate(
            [order[labels[0][order] == k][:shots] for k in np.unique(labels[0])]
        )
        probe = ridge_probe(fit[few_rows], labels[0][few_rows], ridge=_RIDGE)
        few += (probe.predict(test) == labels[1]) / _REPEATS
    return every.astype(float), few


# --- what was found -------------------------------------------------------------------------------


def levels_summary(ds: xr.Dataset) -> Summary:
    """Gain of two levels over one, and own denoisers beside the shared one."""
    return _digit_summary(ds) if "layer" in ds.dims else _mixture_summary(ds)


def _pair(ds: xr.Dataset, name: str) -> list[float]:
    return [float(ds[name]), float(ds[f"{name}_error"])]


def _mixture_summary(ds: xr.Dataset) -> Summary:
    values: dict[str, Any] = {"networks": ds.sizes["network"], "readings": {}, "gain": {}}
    for reader in map(str, ds.reader.values):
        every = ds.reading_snr_by_network.sel(reader=reader)
        rows, gains = {}, {}
        for reading in READINGS:
            rows[reading] = _pair(ds.sel(reader=reader, reading=reading), "reading_snr")
            gain = np.log(every.sel(reading=reading).values / every.sel(reading="one").values)
            gains[reading] = [float(gain.mean()), float(student_error(gain))]
        gain = np.log(every.sel(reading="mean").values / every.sel(reading="twice").values)
        gains["mean over twice"] = [float(gain.mean()), float(student_error(gain))]
        values["readings"][reader], values["gain"][reader] = rows, gains
    deviation = ds.pair_snr_by_network.sel(reader="exact")
    scale = student_error(deviation.transpose("network", ...).values)
    mean = deviation.mean("network")
    values["combined law"] = {
        name: float((abs(mean - ds[key]) / ds[key]).median())
        for name, key in (("relative deviation", "pair_law"), ("planted wrong", "pair_wrong"))
    } | {"relative error": float(np.median(scale / mean))}
    values["curves"] = {
        "sigma": ds.sigma.values.tolist(),
        "exact": ds.curve_law.values.tolist(),
        **{str(t): [ds.curve.sel(trained=t).values.tolist(),
                    ds.curve_error.sel(trained=t).values.tolist()]
           for t in ds.trained.values},
    }  # fmt: skip
    own = {}
    for t in map(str, ds.trained.values[1:]):
        ratio = np.log(ds.curve_by_network.sel(trained=t) / ds.curve_by_network.sel(
            trained="shared"))  # fmt: skip
        own[t] = [[float(r.mean()), float(student_error(r))] for r in ratio.values.T]
    values["log own over shared"] = own
    return Summary("\n".join(_mixture_table(ds, values)), _mixture_claim(values), values)


def _mixture_table(ds: xr.Dataset, values: Mapping[str, Any]) -> list[str]:
    rows = [
        [_NAMES[reading], *(pair_text(values["readings"][r][reading], 2) for r in
                            ("exact", "network")), pair_text(values["gain"]["network"][reading])]
        for reading in READINGS
    ]  # fmt: skip
    lines = [text_table(["reading", "exact", "network", "ln gain, network"], rows), ""]
    names = [str(t) for t in ds.trained.values]
    rows = [[f"{sigma:g}", f"{float(ds.curve_law[i]):.2f}", *(
             plus_minus(ds.curve[t, i], ds.curve_error[t, i], 2) for t in range(len(names)))]
            for i, sigma in enumerate(ds.sigma.values)]  # fmt: skip
    lines.append(text_table(["sigma", "exact", *names], rows))
    law = values["combined law"]
    lines += ["", f"SNRs of noises add: median deviation {law['relative deviation']:.1%} of the "
              f"exact denoiser (error {law['relative error']:.1%}), at the level of the plain mean "
              f"{law['planted wrong']:.1%}"]  # fmt: skip
    return lines


def _mixture_claim(values: Mapping[str, Any]) -> str:
    gains = values["gain"]["network"]
    a, b = gains["mean over twice"]
    verdict = "beats" if a > 2 * b else "does not beat"
    text_ = (
        f"at two calls each, the mean of two noise levels {verdict} the best level read twice (ln "
        f"SNR {a:+.3f} ± {b:.3f}); over one call, two levels with the best weights gain "
        f"{_signed(gains, 'weighted')}, one level read twice {_signed(gains, 'twice')}, and one "
        f"call on the clean datum {_signed(gains, 'clean')}"
    )
    for name, ratio in values["log own over shared"].items():
        mean = np.array(ratio)[:, 0]
        text_ += f"; {name}: ln SNR over the shared one {mean.min():+.2f} to {mean.max():+.2f}"
    return text_


def _signed(gains: Mapping[str, list[float]], name: str) -> str:
    return f"{gains[name][0]:+.3f} ± {gains[name][1]:.3f}"


def _digit_summary(ds: xr.Dataset) -> Summary:
    values: dict[str, Any] = {"networks": ds.sizes["network"], "layers": {}}
    rows = []
    for layer in map(str, ds.layer.values):
        for probe in map(str, ds.probe.values):
            one = ds.sel(layer=layer, probe=probe)
            row = {str(r): {"accuracy": _pair(one.sel(reading=r), "accuracy"),
                            "gain": _pair(one.sel(reading=r), "gain")}
                   for r in ds.reading.values}  # fmt: skip
            paired = (
                ds.gain_by_network.sel(layer=layer, probe=probe, reading="mean")
                - ds.gain_by_network.sel(layer=layer, probe=probe, reading="twice")
            ).values
            row["two levels over one twice"] = {
                "gain": [float(paired.mean()), float(student_error(paired))]
            }
            values["layers"].setdefault(layer, {})[probe] = row
            rows.append([layer, probe, *(pair_text(row[str(r)]["accuracy"]) for r in
                                         ds.reading.values)])  # fmt: skip
    words = []
    for probe in ("all", "few"):
        gains = [x[probe]["two levels over one twice"]["gain"] for x in values["layers"].values()]
        better = sum(a > 2 * b for a, b in gains)
        top = max(gains, key=lambda x: x[0])
        words.append(f"{better} of {len(gains)} layers by a probe on {probe} data (at most "
                     f"{top[0]:+.3f} ± {top[1]:.3f})")  # fmt: skip
    claim = "at two calls each, two noise levels beat one level read twice in " + " and ".join(
        words
    )
    claim += ", on these test data (errors over networks)"
    table = text_table(["layer", "probe", *map(str, ds.reading.values)], rows, keys=2)
    return Summary(table, claim, values)


# --- figure ---------------------------------------------------------------------------------------


def levels_figure(ds: xr.Dataset) -> Figure:
    """The law of combined noises, what two calls are worth, and own denoisers beside shared."""
    return _digit_figure(ds) if "layer" in ds.dims else _mixture_figure(ds)


def _mixture_figure(ds: xr.Dataset) -> Figure:
    columns = 3 if ds.sizes["trained"] > 1 else 2
    figure, axes = plt.subplots(1, columns, figsize=(4.2 * columns, 3.6), layout="constrained")
    order = np.argsort(ds.combined.values)
    axes[0].plot(ds.combined[order], ds.pair_law[order], "k-", lw=1.2,
                 label="exact law, SNRs of noises add")  # fmt: skip
    for reader, colour, name in (("exact", BLUE, "exact denoiser"), ("network", ORANGE, "network")):
        one = ds.sel(reader=reader)
        axes[0].errorbar(ds.combined, one.pair_snr, one.pair_snr_error, ls="none", marker="o",
                         ms=4, mfc="none", color=colour, label=f"{name}, two copies")  # fmt: skip
    _noise_axis(axes[0], "noise level of both copies together", "SNR of features")
    panel(axes[0], "a", "two noisy copies combined, one call")
    place = np.arange(len(READINGS))
    for reader, colour, shift in (("exact", BLUE, -0.12), ("network", ORANGE, 0.12)):
        one = ds.sel(reader=reader)
        axes[1].errorbar(one.reading_snr, place + shift, xerr=one.reading_snr_error, ls="none",
                         marker="o", ms=5, mfc="none", color=colour, label=reader)  # fmt: skip
    axes[1].set(xscale="log", yticks=place, yticklabels=[_NAMES[r] for r in READINGS],
                xlabel="SNR of features at the best levels")  # fmt: skip
    axes[1].xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes[1].xaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    axes[1].xaxis.set_minor_formatter(ticker.NullFormatter())
    axes[1].invert_yaxis()
    panel(axes[1], "b", "what a second call is worth")
    if columns == 3:
        axes[2].plot(ds.sigma, ds.curve_law, "k-", lw=1.2, label="exact law")
        for k, colour in zip(range(ds.sizes["trained"]), (ORANGE, GREEN, GREY), strict=False):
            one = ds.isel(trained=k)
            axes[2].errorbar(ds.sigma, one.curve, one.curve_error, marker="o", ms=4, mfc="none",
                             lw=0.8, color=colour, label=str(one.trained.values))  # fmt: skip
        _noise_axis(axes[2], "noise level sigma", "SNR of features")
        panel(axes[2], "c", "one denoiser per level")
    for ax in axes:
        legend(ax)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _noise_axis(ax: Axes, x: str, y: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())


def _digit_figure(ds: xr.Dataset) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained", sharey=True)
    place = np.arange(ds.sizes["layer"])
    shifts = np.linspace(-0.2, 0.2, ds.sizes["reading"])
    names = {**_NAMES, "mean": "two levels, 2 calls"}
    for ax, letter, probe in zip(axes, "ab", ("all", "few"), strict=True):
        for shift, reading in zip(shifts, map(str, ds.reading.values), strict=True):
            one = ds.sel(probe=probe, reading=reading)
            ax.errorbar(place + shift, one.accuracy, one.accuracy_error, ls="none", marker="o",
                        ms=5, mfc="none", color=_COLOURS[reading],
                        label=names[reading])  # fmt: skip
        ax.set(xticks=place, xticklabels=[str(x) for x in ds.layer.values])
        panel(ax, letter, f"probe on {probe} labels")
        legend(ax)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy of a linear probe")
    return figure
