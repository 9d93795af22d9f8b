r"""Two factors in bump networks: imbalance, labels that are needed, stripes, and the manifold.

=================  ===============================================================================
source             what is measured
=================  ===============================================================================
``imbalance``      steps at which x and y are placed right, against the ratio r of their spacings at
                   a fixed number of labels: x has r times as many values as y, each r times rarer
``label-counts``   accuracy at pairs (x, y) that were never trained, against the number P of trained
                   ones, for N values of each coordinate, with and without stripes in the training
                   data (images of one coordinate alone)
``manifold``       the representation in phases A, B and C as pictures: principal components, and
                   Isomap, whose distances are those along the manifold
=================  ===============================================================================

A learner of one coordinate at a time learns a value by how often it is seen, and one that learns x
and y together does not tell them apart:

.. math:: \frac{t_x}{t_y} \propto r^{a}, \qquad a = 1 \text{ (apart)}, \quad a = 0
   \text{ (together)} .

One that adds what it knows of x to what it knows of y needs a number of labels linear in N, and one
that must see every pair a quadratic one (arXiv 2408.13256; an exact counting argument stands in
:mod:`hierdiff.sims.kernel_learning`),

.. math:: P_{60} \propto N^{b}, \qquad b = 1 \text{ (composes)}, \quad b = 2
   \text{ (sees pairs)},

with P_60 the labels at 60 % accuracy in both coordinates, interpolated in ln P.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from hierdiff import results
from hierdiff._display import plus_minus, text_table
from hierdiff._lazy import import_optional
from hierdiff._progress import Progress
from hierdiff.checks import check_fields, listed, number, positive, whole
from hierdiff.contracts import Summary
from hierdiff.data.bumps import Bumps
from hierdiff.errors import InvalidParameter
from hierdiff.plots import (
    BLUE,
    GREEN,
    GUIDE,
    ORANGE,
    Figure,
    legend,
    level_colours,
    panel,
    plt,
    ticker,
)
from hierdiff.seeds import stream
from hierdiff.sims.bump_phases import (
    NETWORK_THRESHOLDS,
    PhaseReadout,
    bump_counts,
    crossing_time,
    location_accuracy,
    phase,
    read_phase,
)
from hierdiff.sims.metrics.estimators import likelihood_interval, student_error, student_score
from hierdiff.sims.metrics.representation_geometry import isometric
from hierdiff.validation.experiments import architecture_rule, checkpoint_suffix
from hierdiff.validation.recipes import bump_model, train_bump_network
from hierdiff.validation.training import TrainConfig

__all__ = ["ImbalanceNetworks", "LabelCounts", "ManifoldNetwork"]

Array: TypeAlias = NDArray[Any]

_COUNT = partial(whole, low=1, high=10**9)  # no more of anything that is counted
_HEIGHT = 0.6  # accuracy at which a coordinate counts as learned
_NEIGHBOURS = 8  # of Isomap; fewer tear the manifold of a thousand labels
_SHOWN = 6  # images under a phase


def _bump_fields(source: Any, **rules: Any) -> None:
    """What the fields that all sources have must be."""
    check_fields(
        source, size=partial(whole, low=5, high=4096), sigma=positive,
        steps=_COUNT, batch=_COUNT, num_steps=_COUNT, architecture=architecture_rule(Bumps),
        **rules,
    )  # fmt: skip


@dataclass(frozen=True)
class ImbalanceNetworks:
    """Bump networks whose labels are denser in x than in y, by several ratios."""

    ratios: tuple[float, ...] = (1, 2, 4, 8, 16)
    """Ratios r of the spacings, d_y / d_x."""
    spacing: float = 0.5
    """Geometric mean of the spacings in pixels, so that all ratios have as many labels."""
    networks: int = 3
    """Networks per ratio, over which errors are taken."""
    size: int = 12
    """Pixels on a side."""
    sigma: float = 1.25
    """Width of the bump in pixels."""
    margin: float = 2.0
    """Distance of the labels from the edge."""
    steps: int = 800
    """Training steps."""
    checkpoints: int = 20
    """Evaluations, between which crossings are interpolated."""
    samples: int = 200
    """Labels, off the grid, under which images are made at each."""
    batch: int = 64
    """Images per step."""
    num_steps: int = 10
    """Steps of the sampler."""
    architecture: str = "bump_mlp"
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""

    def __post_init__(self) -> None:
        _bump_fields(
            self, ratios=partial(listed, rule=partial(number, low=1e-3, high=1e3)),
            spacing=positive, networks=partial(whole, low=2, high=10**6),
            checkpoints=_COUNT, samples=partial(whole, low=20, high=10**9),
        )  # fmt: skip
        if len(self.ratios) < 3:
            raise InvalidParameter(f"ratios = {self.ratios} give no curve; name three or more")
        for r in self.ratios:
            _ = self._bumps(r)

    def _bumps(self, ratio: float) -> Bumps:
        """The labels of a ratio."""
        root = float(np.sqrt(ratio))
        return Bumps(size=self.size, sigma=self.sigma, margin=self.margin,
                     d_x=self.spacing / root, d_y=self.spacing * root)  # fmt: skip


@dataclass(frozen=True)
class LabelCounts:
    """Bump networks that see some of the pairs (x, y), with and without stripes."""

    values: tuple[int, ...] = (4, 6, 8)
    """Numbers N of values of each coordinate, a pixel apart."""
    labels: tuple[int, ...] = (3, 6, 12, 24, 48)
    """Numbers P of trained pairs; those that leave fewer than four of N^2 out are not trained."""
    stripes: tuple[float, ...] = (0.0, 0.5)
    """Shares of the images that are a stripe at one coordinate."""
    networks: int = 3
    """Networks of every kind, with pairs of their own, over which errors are taken."""
    sigma: float = 1.25
    """Width of the bump in pixels."""
    margin: int = 2
    """Distance of the labels from the edge, in pixels."""
    steps: int = 700
    """Training steps."""
    batch: int = 64
    """Images per step."""
    num_steps: int = 10
    """Steps of the sampler."""
    architecture: str = "bump_mlp"
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""

    def __post_init__(self) -> None:
        check_fields(
            self, values=partial(listed, rule=partial(whole, low=3, high=1000)),
            labels=partial(listed, rule=_COUNT), margin=partial(whole, low=0, high=1000),
            stripes=partial(listed, rule=partial(number, low=0, high=0.99)), sigma=positive,
            networks=partial(whole, low=2, high=10**6), steps=_COUNT, batch=_COUNT,
            num_steps=_COUNT, architecture=architecture_rule(Bumps),
        )  # fmt: skip
        for n in self.values:
            if len(self._counts(n)) < 2:
                raise InvalidParameter(
                    f"labels = {self.labels} leave fewer than two numbers of trained pairs for "
                    f"N = {n}, whose pairs are {n * n}; name smaller ones"
                )

    def _counts(self, n: int) -> tuple[int, ...]:
        """The numbers of trained pairs that leave some of N^2 out."""
        return tuple(p for p in self.labels if p <= n * n - 4)

    def _bumps(self, n: int) -> Bumps:
        """N values of each coordinate, a pixel apart."""
        return Bumps(size=n + 2 * self.margin, sigma=self.sigma, margin=self.margin)


@dataclass(frozen=True)
class ManifoldNetwork:
    """A bump network in which the position is attenuated, and pictures of its representation."""

    attenuation: float = 0.04
    """Amplitude of the position in the code, beside a code that means nothing."""
    spacing: float = 0.35
    """Spacing of the labels."""
    size: int = 12
    """Pixels on a side."""
    sigma: float = 1.25
    """Width of the bump in pixels."""
    margin: float = 2.0
    """Distance of the labels from the edge."""
    steps: int = 2400
    """Training steps."""
    rate: float = 2e-3
    """Highest learning rate."""
    checkpoints: int = 12
    """Evaluations."""
    samples: int = 200
    """Labels under which images are made at each."""
    feature_samples: int = 300
    """Labels whose representation is drawn."""
    batch: int = 64
    """Images per step."""
    num_steps: int = 10
    """Steps of the sampler."""
    architecture: str = "bump_mlp"
    """Name of the network (``hierdiff.validation.NETWORKS``, or module:function)."""

    def __post_init__(self) -> None:
        _bump_fields(
            self, attenuation=positive, spacing=positive, rate=positive, checkpoints=_COUNT,
            samples=partial(whole, low=20, high=10**9),
            feature_samples=partial(whole, low=20, high=5000),
        )  # fmt: skip
        n = len(self.bumps.labels)
        if self.feature_samples > n:
            raise InvalidParameter(
                f"feature_samples = {self.feature_samples} is more than the {n} labels; lower "
                "it, or spacing"
            )

    @property
    def bumps(self) -> Bumps:
        """The labels."""
        return Bumps(size=self.size, sigma=self.sigma, margin=self.margin,
                     d_x=self.spacing, d_y=self.spacing)  # fmt: skip


Source: TypeAlias = ImbalanceNetworks | LabelCounts | ManifoldNetwork


def measure_factors(
    source: Source, seed: int, folder: Path | None, device: str, parameters: Mapping[str, Any]
) -> xr.Dataset:
    """The measurement of a source; checkpoints are kept in ``folder``."""
    if isinstance(source, ImbalanceNetworks):
        return _imbalance(source, seed, folder, device, parameters)
    if isinstance(source, LabelCounts):
        return _label_counts(source, seed, folder, device, parameters)
    return _manifold(source, seed, folder, device, parameters)


def _train(
    source: Source, bumps: Bumps, key: str, every: int, device: str, folder: Path | None,
    seed: int, evaluate: Callable[[nn.Module], dict[str, float]], rate: float = 2e-3, **rest: Any,
) -> tuple[dict[str, float], ...]:  # fmt: skip
    """Train a network; returns its history."""
    # the rate stays up while positions are learned; one that falls freezes what is half learned
    plan = TrainConfig(steps=source.steps, every=every, rate=rate, average=0.98,
                       warmup=min(50, source.steps), hold=0.8, device=device)  # fmt: skip
    key += checkpoint_suffix(Bumps, source.architecture)
    _, done = train_bump_network(
        bumps, plan, batch=source.batch, network=source.architecture, seed=seed,
        folder=None if folder is None else folder / key, evaluate=evaluate, **rest,
    )  # fmt: skip
    return done.history


def _made(network: nn.Module, places: Array, size: int, num_steps: int) -> Array:
    """Images [n, size, size] in [0, 1], each from a noise of its own."""
    noise = stream(0, "bump noise").standard_normal((len(places), 1, size, size))
    model = bump_model(network, num_steps).given(places.astype(np.float32))
    made = model.sample(noise.astype(np.float32), 1.0, 0)
    return np.asarray(np.clip((made[:, 0] + 1) / 2, 0, 1))


# --- imbalance ------------------------------------------------------------------------------------


def _imbalance(
    source: ImbalanceNetworks, seed: int, folder: Path | None, device: str,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    low, high = source.margin, source.size - source.margin - 1
    places = stream(seed, "places").uniform(low, high, (source.samples, 2)).astype(np.float32)

    def evaluate(network: nn.Module) -> dict[str, float]:
        images = _made(network, places, source.size, source.num_steps)
        both, x, y = location_accuracy(images, places)
        one = float((bump_counts(images) == 1).mean())
        return {"both": float(both), "x": float(x), "y": float(y), "one_bump": one}

    rows: list[list[list[list[float]]]] = []
    steps: list[int] = []
    every = max(1, source.steps // source.checkpoints)
    for r in source.ratios:
        rows.append([])
        for k in range(source.networks):
            key = f"factors-imbalance-{r:g}-{source.spacing:g}-{source.size}-{seed}-{k}"
            history = _train(source, source._bumps(r), key, every, device, folder,
                             seed + 1000 * k, evaluate)  # fmt: skip
            steps = [int(h["step"]) for h in history]
            rows[-1].append([[h[n] for h in history] for n in ("both", "x", "y", "one_bump")])
    values = np.array(rows)  # [ratio, network, reading, step]
    times = np.array([[[crossing_time(steps, curve[a], _HEIGHT) for a in (1, 2)]
                       for curve in networks] for networks in values])  # fmt: skip
    dims = ("ratio", "network", "step")
    variables: dict[str, Any] = {
        n: (dims, values[:, :, i], f"accuracy: {n}" if i < 3 else "share of images with one bump")
        for i, n in enumerate(("both", "x", "y", "one_bump"))
    }
    variables["crossing"] = (("ratio", "network", "axis"), times,
                             "step at which the accuracy of a coordinate is 0.6")  # fmt: skip
    variables["label_number"] = (
        ("ratio",),
        [len(source._bumps(r).labels) for r in source.ratios],
        "labels",
    )
    coords: dict[str, Any] = {
        "ratio": (("ratio",), list(source.ratios), "ratio of the spacings d_y / d_x"),
        "network": (("network",), np.arange(source.networks), "network"),
        "step": (("step",), steps, "training step"),
        "axis": (("axis",), ["x", "y"], "coordinate"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _imbalance_summary(ds: xr.Dataset) -> Summary:
    heads = ["d_y / d_x", "labels", "x at step", "y at step", "ln t_x / t_y", "x at the end",
             "y at the end"]  # fmt: skip
    rates, rows = [], []
    values: dict[str, Any] = {"networks": ds.sizes["network"], "ratios": ds.ratio.values.tolist(),
                              "labels": ds.label_number.values.tolist()}  # fmt: skip
    for key in ("x at", "y at", "ln", "x end", "y end"):
        values[key] = []
    for i, r in enumerate(ds.ratio.values):
        times = ds.crossing.values[i]
        log = np.log(times[:, 0] / times[:, 1])
        ends = [ds[a].values[i, :, -1] for a in "xy"]
        cells = [_cell(times[:, 0], 0), _cell(times[:, 1], 0), _cell(log, 3),
                 *(_cell(e, 2) for e in ends)]  # fmt: skip
        for key, numbers in zip(("x at", "y at", "ln", "x end", "y end"),
                                (*times.T, log, *ends), strict=True):  # fmt: skip
            values[key].append(_pair(numbers))
        rows.append([f"{r:g}", int(ds.label_number[i]), *cells])
        rates.append(log)
    x, y = np.log(ds.ratio.values), np.array(rates)
    learned = np.isfinite(y).all(axis=1)
    slope, error = float("nan"), float("nan")
    if learned.sum() > 2:
        slopes = np.polyfit(x[learned], y[learned], 1)[0]
        slope, error = float(slopes.mean()), float(student_error(slopes))
    values["exponent"] = [slope, error]
    lines = [
        text_table(heads, rows), "",
        f"t_x / t_y grows as r to the {plus_minus(slope, error)} (1: each coordinate is",
        f"learned by how often its values are seen; 0: together), {learned.sum()} of "
        f"{len(learned)} ratios",
    ]  # fmt: skip
    claim = (
        f"steps at which x and y are learned keep a ratio that grows as the imbalance to the "
        f"{slope:.2f} ± {error:.2f} (1 if they are learned apart, 0 if together; "
        f"{ds.sizes['network']} networks at each of {len(learned)} ratios)"
    )
    return Summary("\n".join(lines), claim, values)


def _pair(numbers: Array) -> list[float] | None:
    """Mean and Student error; None if one of them was never reached."""
    if not np.isfinite(numbers).all():
        return None
    return [float(numbers.mean()), float(student_error(numbers))]


def _cell(numbers: Array, digits: int) -> str:
    never = int((~np.isfinite(numbers)).sum())
    if never:
        return f"never in {never}/{len(numbers)}"
    return plus_minus(numbers.mean(), student_error(numbers), digits)


def _imbalance_figure(ds: xr.Dataset) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    colours = level_colours(ds.sizes["ratio"])
    for r, colour in zip(ds.ratio.values, colours, strict=True):
        one = ds.sel(ratio=r).mean("network")
        axes[0].plot(ds.step, one.x, color=colour, lw=1.2, label=f"ratio {r:g}")
        axes[0].plot(ds.step, one.y, color=colour, lw=1.2, ls="--")
    axes[0].axhline(_HEIGHT, **GUIDE)
    axes[0].set(xlabel="training step", ylabel="accuracy in x (full) and y (dashed)",
                ylim=(0, 1.02))  # fmt: skip
    panel(axes[0], "a", "x and y along training")
    for a, dark in (("x", BLUE), ("y", ORANGE)):
        times = ds.crossing.sel(axis=a).values
        known = np.isfinite(times).all(axis=1)
        if not known.any():
            continue
        axes[1].errorbar(ds.ratio.values[known], times[known].mean(axis=1),
                         student_error(times[known].T), color=dark, marker="o", ms=4, mfc="none",
                         lw=0.8, label=f"accuracy 0.6 in {a}")  # fmt: skip
    axes[1].set(xlabel="imbalance d_y / d_x", ylabel="training step", ylim=(0, None))
    panel(axes[1], "b", "when each coordinate is learned")
    log = np.log(ds.crossing.values[..., 0] / ds.crossing.values[..., 1])
    known = np.isfinite(log).all(axis=1)
    if known.any():
        mean = np.exp(log[known].mean(axis=1))
        axes[2].errorbar(ds.ratio.values[known], mean, mean * student_error(log[known].T),
                         color=GREEN, marker="o", ms=4, mfc="none", lw=0.8,
                         label="networks")  # fmt: skip
    axes[2].plot(ds.ratio, ds.ratio, "k-", lw=1, label="learned apart: by how often each is seen")
    axes[2].axhline(1, color="0.5", ls="--", lw=1, label="learned together")
    axes[2].set(yscale="log", xlabel="imbalance d_y / d_x", ylabel="t_x / t_y")
    for ax in axes[1:]:
        ax.set(xscale="log", xticks=ds.ratio, xticklabels=[f"{r:g}" for r in ds.ratio.values])
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes[2].yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes[2].yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    axes[2].yaxis.set_minor_formatter(ticker.NullFormatter())
    panel(axes[2], "c", "together or apart")
    for ax in axes:
        legend(ax)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# --- number of labels -----------------------------------------------------------------------------


def _label_counts(
    source: LabelCounts, seed: int, folder: Path | None, device: str,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    shape = (len(source.stripes), len(source.values), len(source.labels), source.networks)
    values = np.full((3, *shape), np.nan)
    cases = [(i, j, a, k) for k in range(source.networks) for j, n in enumerate(source.values)
             for a, p in enumerate(source.labels) if p in source._counts(n)
             for i in range(len(source.stripes))]  # fmt: skip
    for i, j, a, k in Progress(cases, "networks", unit="networks"):
        n, p, share = source.values[j], source.labels[a], source.stripes[i]
        bumps = source._bumps(n)
        # fewer trained pairs are a part of more, and the same for every share of stripes
        order = stream(seed, "trained pairs", n, k).permutation(n * n)
        weights = np.zeros(n * n)
        weights[order[:p]] = 1
        unseen = bumps.labels[order[p:]][:_UNSEEN].astype(np.float32)

        def evaluate(
            network: nn.Module, unseen: Array = unseen, size: int = bumps.size
        ) -> dict[str, float]:
            images = _made(network, unseen, size, source.num_steps)
            both, x, y = location_accuracy(images, unseen)
            return {"both": float(both), "x": float(x), "y": float(y)}

        key = f"factors-labels-{n}-{p}-{share:g}-{seed}-{k}"
        last = _train(source, bumps, key, source.steps, device, folder, seed + 1000 * k, evaluate,
                      weights=weights, stripes=share)[-1]  # fmt: skip
        values[:, i, j, a, k] = [last[name] for name in ("both", "x", "y")]
    dims = ("stripes", "values", "labels", "network")
    variables: dict[str, Any] = {
        name: (dims, v, f"accuracy at unseen pairs: {name}")
        for name, v in zip(("both", "x", "y"), values, strict=True)
    }
    needed = np.array([[[_needed(source.labels, values[0, i, j, :, k]) for k in range(shape[3])]
                        for j in range(shape[1])] for i in range(shape[0])])  # fmt: skip
    variables["needed"] = (("stripes", "values", "network"), needed, "labels at 60 % accuracy")
    coords: dict[str, Any] = {
        "stripes": (("stripes",), list(source.stripes), "share of stripes among the images"),
        "values": (("values",), list(source.values), "values N of each coordinate"),
        "labels": (("labels",), list(source.labels), "trained pairs P"),
        "network": (("network",), np.arange(source.networks), "network"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _needed(labels: tuple[int, ...], accuracy: Array) -> float:
    """Labels at 60 % accuracy, interpolated in ln P; NaN outside of what was trained."""
    known = np.isfinite(accuracy)
    x, y = np.log(np.array(labels)[known]), accuracy[known]
    if y[0] >= _HEIGHT:  # reached before the first: no number
        return float("nan")
    for (a, b), (u, w) in zip(pairwise(x), pairwise(y), strict=True):
        if u < _HEIGHT <= w:
            return float(np.exp(a + (b - a) * (_HEIGHT - u) / (w - u)))
    return float("nan")


_UNSEEN = 200  # at most so many unseen pairs are read


def _share(rows: Array, n: int, p: int) -> list[float] | None:
    """Mean accuracy at unseen pairs and its error, which is never none.

    Student's over networks; where all networks have the same share, the distance to the farther
    end of the likelihood interval of all their images, :func:`likelihood_interval`.
    """
    pair = _pair(rows)
    if pair is None or pair[1] > 0:
        return pair
    trials = len(rows) * min(_UNSEEN, n * n - p)
    ends = likelihood_interval(round(pair[0] * trials), trials)
    return [pair[0], float(np.abs(ends - pair[0]).max())]


def _shares(ds: xr.Dataset, i: int, j: int) -> list[list[float] | None]:
    """:func:`_share` at every number of labels of a share of stripes and an N."""
    n = int(ds["values"][j])
    return [_share(row, n, int(p)) for row, p in
            zip(ds.both.values[i, j], ds.labels.values, strict=True)]  # fmt: skip


def _of_mean_curves(ds: xr.Dataset) -> Array:
    """Labels at 60 % of the mean over networks [stripes, values], NaN where it is not crossed."""
    labels = tuple(int(p) for p in ds.labels.values)
    mean = ds.both.mean("network", skipna=False).values
    return np.array([[_needed(labels, row) for row in rows] for rows in mean])


def _label_summary(ds: xr.Dataset) -> Summary:
    values: dict[str, Any] = {"networks": ds.sizes["network"], "accuracy": {}, "needed": {},
                              "exponent": {}}  # fmt: skip
    heads = ["stripes", "N", *(f"P = {p}" for p in ds.labels.values), "P at 60 %"]
    lines: list[str] = []
    table = []
    for i, share in enumerate(ds.stripes.values):
        for j, n in enumerate(ds["values"].values):
            pairs = _shares(ds, i, j)
            cells = ["" if x is None else plus_minus(x[0], x[1], 2) for x in pairs]
            p = ds.needed.values[i, j]
            table.append([f"{share:g}", int(n), *cells, _cell(p, 1)])
            values["accuracy"][f"{share:g}, N = {int(n)}"] = pairs
            values["needed"][f"{share:g}, N = {int(n)}"] = _pair(p)
        found = np.log(ds.needed.values[i])  # [values, network]
        if np.isfinite(found).all() and len(found) > 1:
            slopes = np.polyfit(np.log(ds["values"].values), found, 1)[0]
            values["exponent"][f"{share:g}"] = _pair(slopes)
            lines.append(f"stripes {share:g}: P at 60 % grows as N to the {_cell(slopes, 2)}")
        else:
            values["exponent"][f"{share:g}"] = None
            lines.append(f"stripes {share:g}: no exponent, 60 % is not crossed at every N")
    curves = _of_mean_curves(ds)
    values["mean curves"] = {}
    for share, p in zip(ds.stripes.values, curves, strict=True):
        row: dict[str, Any] = {"needed": [float(x) if np.isfinite(x) else None for x in p]}
        if np.isfinite(p).all() and len(p) > 1:
            row["exponent"] = float(np.polyfit(np.log(ds["values"].values), np.log(p), 1)[0])
            lines.append(f"stripes {share:g}: the mean over networks crosses 60 % at P = "
                         f"{', '.join(f'{x:.1f}' for x in p)}, as N to the\n    "
                         f"{row['exponent']:.2f} (no error)")  # fmt: skip
        values["mean curves"][f"{share:g}"] = row
    both = ds.both.values
    if ds.sizes["stripes"] > 1:
        gain = both[-1] - both[0]
        known = np.isfinite(gain).all(axis=-1)
        values["stripes add, mean"] = [
            float(gain[known].mean()),
            float(student_error(gain[known].mean(axis=0))),
            float(student_score(gain[known].mean(axis=0))),
        ]
    return Summary("\n".join([text_table(heads, table, keys=2), "", *lines]),
                   _label_claim(values), values)  # fmt: skip


def _label_claim(values: Mapping[str, Any]) -> str:
    words = []
    for share, one in values["exponent"].items():
        name = "bumps alone" if float(share) == 0 else f"{float(share):.0%} stripes"
        mean = values["mean curves"][share].get("exponent")
        words.append(f"{name}: as N to the {one[0]:.2f} ± {one[1]:.2f}" if one else
                     f"{name}: as N to the {mean:.2f}, of mean curves, without error" if mean else
                     f"{name}: no exponent")  # fmt: skip
    text = f"labels for 60 % accuracy at unseen pairs grow, {'; '.join(words)}"
    if "stripes add, mean" in values:
        a, b, z = values["stripes add, mean"]
        text += (f"; stripes of single coordinates add {a:+.3f} ± {b:.3f} to the accuracy "
                 f"(z = {z:.1f})")  # fmt: skip
    return text


def _label_figure(ds: xr.Dataset) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    colours = level_colours(ds.sizes["values"])
    marks = (("o", "-"), ("s", "--"), ("^", ":"))
    for i, share in enumerate(ds.stripes.values):
        marker, dashes = marks[i % len(marks)]
        name = "bumps alone" if share == 0 else f"{share:.0%} stripes"
        for j, colour in enumerate(colours):
            rows = ds.both.values[i, j]
            known = np.isfinite(rows).all(axis=1)  # at least two numbers of labels
            # points and errors of the table: no error bar is empty
            mean, error = np.array([x for x in _shares(ds, i, j) if x is not None]).T
            axes[0].errorbar(ds.labels.values[known], mean, error, color=colour, marker=marker,
                             ms=4, mfc="none", lw=0.9, ls=dashes,
                             label=f"N = {int(ds['values'][j])}, {name}")  # fmt: skip
        p, curve = ds.needed.values[i], _of_mean_curves(ds)[i]
        known = np.isfinite(p).all(axis=1)
        bold: dict[str, Any] = {"color": (ORANGE, BLUE, GREEN)[i % 3], "marker": marker, "ms": 5,
                                "mfc": "none", "lw": 0.9, "ls": dashes}  # fmt: skip
        if known.any():
            axes[1].errorbar(ds["values"].values[known], p[known].mean(axis=1),
                             student_error(p[known].T), label=name, **bold)  # fmt: skip
        rest = np.isfinite(curve) & ~known
        if rest.any():  # some network never gets there
            axes[1].plot(ds["values"].values[rest], curve[rest],
                         label=f"{name}, of the mean curve", **bold)  # fmt: skip
    axes[0].axhline(_HEIGHT, **GUIDE)
    axes[0].set(xscale="log", xlabel="trained pairs P", ylabel="accuracy at unseen pairs",
                ylim=(0, 1.02))  # fmt: skip
    n = ds["values"].values.astype(float)
    finite = _of_mean_curves(ds)
    finite = finite[np.isfinite(finite)]
    if finite.size:
        start = float(np.exp(np.log(finite).mean()))
        middle = float(np.exp(np.log(n).mean()))
        for power, style in ((1, ":"), (2, "-.")):
            axes[1].plot(n, start * (n / middle) ** power, color="0.5", ls=style, lw=1,
                         label=f"slope {power}")  # fmt: skip
    axes[1].set(xscale="log", yscale="log", xlabel="values N of each coordinate",
                ylabel="trained pairs for 60 %", xticks=n)  # fmt: skip
    axes[1].set_xticklabels([f"{x:g}" for x in n])
    axes[0].set_xticks(ds.labels.values, [f"{p:g}" for p in ds.labels.values])
    axes[1].yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes[1].yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    for ax in axes:
        ax.minorticks_off()
    panel(axes[0], "a", "pairs that were never trained")
    panel(axes[1], "b", "linear or quadratic")
    for ax in axes:
        legend(ax)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


# --- the manifold ---------------------------------------------------------------------------------


def _manifold(
    source: ManifoldNetwork, seed: int, folder: Path | None, device: str,
    parameters: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Readings, two pictures of the representation and images at every checkpoint.

    All of it goes through the history of the training, which a checkpoint keeps.
    """
    bumps = source.bumps
    low, high = bumps.margin, bumps.size - bumps.margin - 1
    places = stream(seed, "places").uniform(low, high, (source.samples, 2)).astype(np.float32)
    order = stream(seed, "points").permutation(len(bumps.labels))
    dense = bumps.labels[order[:1000]].astype(np.float32)
    points = dense[: source.feature_samples]

    def evaluate(network: nn.Module) -> dict[str, float]:
        images = _made(network, places, source.size, source.num_steps)
        model = bump_model(network, source.num_steps)
        layer = next(iter(model.layers), None)
        if layer is None:
            raise InvalidParameter(
                f"network {type(network).__name__} names no feature_layer whose features are "
                "drawn; give its module a string of that name"
            )
        noise = stream(seed, "fixed").standard_normal((1, 1, source.size, source.size))
        x_t = np.repeat(noise, len(dense), axis=0).astype(np.float32)
        Z = np.asarray(model.given(dense).features(x_t, 1.0)[layer]).reshape(len(dense), -1)
        read = read_phase(images, places, Z, Z_labels=dense)
        drawn = source.feature_samples
        found = {n: float(getattr(read, n)) for n in PhaseReadout.__dataclass_fields__}
        for name, flat in (
            ("pca", _principal(Z[:drawn])), ("isomap", _isomap(Z)[:drawn]),
            ("made", images[:_SHOWN]),
        ):  # fmt: skip
            found |= {f"{name} {i}": float(x) for i, x in enumerate(np.ravel(flat))}
        return found

    every = max(1, source.steps // source.checkpoints)
    key = f"factors-manifold-{source.attenuation:g}-{source.spacing:g}-{source.size}-{seed}"
    history = _train(source, bumps, key, every, device, folder, seed, evaluate,
                     rate=source.rate, attenuation=source.attenuation)  # fmt: skip

    def stored(name: str, shape: tuple[int, ...]) -> Array:
        count = int(np.prod(shape))
        rows = [[h[f"{name} {i}"] for i in range(count)] for h in history]
        return np.array(rows).reshape(len(history), *shape)

    fields = PhaseReadout.__dataclass_fields__
    names = [phase(PhaseReadout(**{n: h[n] for n in fields}), NETWORK_THRESHOLDS) for h in history]
    n = (source.feature_samples, 2)
    variables: dict[str, Any] = {
        name: (("step",), [h[name] for h in history], name.replace("_", " ")) for name in fields
    }
    variables["phase"] = (("step",), names, "phase")
    variables["pca"] = (("step", "point", "component"), stored("pca", n),
                        "first principal components")  # fmt: skip
    variables["isomap"] = (("step", "point", "component"), stored("isomap", n),
                           "Isomap, distances along the manifold")  # fmt: skip
    shape = (_SHOWN, source.size, source.size)
    variables["made"] = (("step", "image", "row", "column"), stored("made", shape), "images")
    variables["place"] = (("image", "axis"), places[:_SHOWN], "their labels, in pixels")
    variables["label"] = (("point", "axis"), points, "labels of the points, in pixels")
    coords: dict[str, Any] = {
        "step": (("step",), [int(h["step"]) for h in history], "training step"),
        "axis": (("axis",), ["x", "y"], "coordinate"),
    }
    return results.label(variables, coords, "network", results.provenance(parameters))


def _principal(Z: Array) -> Array:
    """First two principal components, in units of their common root mean square."""
    centred = Z - Z.mean(axis=0)
    axes, values, _ = np.linalg.svd(centred, full_matrices=False)
    found = axes[:, :2] * values[:2]
    return np.asarray(found / max(float(np.sqrt((found**2).mean())), 1e-30))


def _isomap(Z: Array) -> Array:
    """Isomap in two dimensions, in the same units."""
    import_optional("sklearn", "scikit-learn", "Isomap")
    import warnings

    from sklearn.manifold import Isomap

    with warnings.catch_warnings():  # parts of a disordered cloud are joined, which is said
        warnings.simplefilter("ignore")
        found = Isomap(n_neighbors=_NEIGHBOURS, n_components=2).fit_transform(isometric(Z))
    return np.asarray(found / max(float(np.sqrt((found**2).mean())), 1e-30))


def _chosen_steps(ds: xr.Dataset) -> dict[str, int]:
    """A checkpoint of every phase that is named: the first of A, the last of B and of C."""
    words = [str(p) for p in ds.phase.values]
    found = {}
    for letter in "ABC":
        rows = [i for i, w in enumerate(words) if w == letter]
        if rows:
            found[letter] = rows[0] if letter == "A" else rows[-1]
    return found


def _manifold_summary(ds: xr.Dataset) -> Summary:
    shown = {"one_bump": "one bump", "location_accuracy": "in place", "geodesic_rsa": "order",
             "neighbour_ratio": "neighbours", "two_nn": "TwoNN"}  # fmt: skip
    rows = [[int(step), ds.phase.values[i], *(f"{float(ds[k][i]):.2f}" for k in shown)]
            for i, step in enumerate(ds.step.values)]  # fmt: skip
    chosen = _chosen_steps(ds)
    values: dict[str, Any] = {
        "steps": ds.step.values.tolist(), "phases": [str(p) for p in ds.phase.values],
        "readings": {n: [float(x) for x in ds[n].values] for n in shown},
        "drawn": {k: {"step": int(ds.step[i]), **{n: float(ds[n][i]) for n in shown}}
                  for k, i in chosen.items()},
    }  # fmt: skip
    words = [f"{k} at step {x['step']} (order {x['geodesic_rsa']:.2f}, in place "
             f"{x['location_accuracy']:.2f})" for k, x in values["drawn"].items()]  # fmt: skip
    claim = f"the representation is drawn in the phases {', '.join(words)}" if words else (
        "no checkpoint has a phase by name; train longer")  # fmt: skip
    return Summary(text_table(["step", "phase", *shown.values()], rows, keys=2), claim, values)


def _manifold_figure(ds: xr.Dataset) -> Figure:
    chosen = _chosen_steps(ds) or {"last": ds.sizes["step"] - 1}
    columns = len(chosen)
    figure, axes = plt.subplots(3, columns, figsize=(3.5 * columns, 8.2), squeeze=False,
                                layout="constrained", height_ratios=(1.3, 2, 2))  # fmt: skip
    place = ds.label.values
    low, high = place.min(axis=0), place.max(axis=0)
    unit = (place - low) / np.where(high > low, high - low, 1)
    colours = np.stack([0.9 * unit[:, 0], 0.35 * np.ones(len(unit)), 0.9 * unit[:, 1]], axis=1)
    letters = iter("abcdefghijkl")
    for column, (name, i) in enumerate(chosen.items()):
        ax = axes[0, column]
        made = [np.pad(x, 1, constant_values=0.5) for x in ds.made.values[i]]
        half = len(made) // 2
        ax.imshow(np.concatenate([np.concatenate(made[:half], axis=1),
                                  np.concatenate(made[half:], axis=1)]),
                  cmap="gray", vmin=0, vmax=1)  # fmt: skip
        size = ds.sizes["row"]
        for k, (x, y) in enumerate(ds.place.values):
            ax.plot((k % half) * (size + 2) + 1 + x, (k // half) * (size + 2) + 1 + y, "+",
                    color="#d7301f", ms=7)  # fmt: skip
        ax.set_axis_off()
        panel(ax, next(letters), f"phase {name}, step {int(ds.step[i])}")
    for row, (key, words) in enumerate((("pca", "principal components"), ("isomap", "Isomap")), 1):
        for column, i in enumerate(chosen.values()):
            ax = axes[row, column]
            found = ds[key].values[i]
            centre = (found.max(axis=0) + found.min(axis=0)) / 2
            reach = 0.55 * float(np.ptp(found, axis=0).max())
            ax.scatter(*found.T, c=colours, s=14, lw=0)
            ax.set(xticks=[], yticks=[], aspect="equal",
                   xlim=(centre[0] - reach, centre[0] + reach),
                   ylim=(centre[1] - reach, centre[1] + reach))  # fmt: skip
            order = float(ds.geodesic_rsa[i])
            panel(ax, next(letters), words if row == 1 else f"{words}, order {order:.2f}")
    figure.supxlabel("red grows with x, blue with y; crosses: the places that were asked for",
                     fontsize=9)  # fmt: skip
    return figure


# --- all of them ----------------------------------------------------------------------------------


def factors_summary(source: Source, ds: xr.Dataset) -> Summary:
    """What a source found, as a table, a sentence and numbers."""
    if isinstance(source, ImbalanceNetworks):
        return _imbalance_summary(ds)
    return _label_summary(ds) if isinstance(source, LabelCounts) else _manifold_summary(ds)


def factors_figure(source: Source, ds: xr.Dataset) -> Figure:
    """The figure of a source."""
    if isinstance(source, ImbalanceNetworks):
        return _imbalance_figure(ds)
    return _label_figure(ds) if isinstance(source, LabelCounts) else _manifold_figure(ds)
