r"""Local denoisers: what a window costs, where, and how long the posterior is.

The exact denoiser of a window has flat evidence outside of it
(:mod:`hierdiff.theory.rhm.locality`).  It loses the conditional mutual information of the leaf and
the outside, in nats per leaf; in squared error it loses the difference of two beliefs in the true
leaf.  For windows that follow the tree

.. math:: E|p - p^W|^2 = b_L - b_h

with the leaf belief b_h of a tree of depth h.  The prediction takes it from subtrees of the same
grammars, with strings and noise of their own; density evolution has it for rules that are drawn
anew at every node, at any depth.  The measurement is exact inference on windows.  The Markov
length, in leaves, is that of the smallest window which costs at most ``tolerance``.

At equal size the study compares windows that follow the tree, windows of neighbours, and windows
from the covariance of strings (:mod:`hierdiff.theory.mixture.covariance_windows`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, results
from hierdiff._display import experiment_html, plus_minus, text_table
from hierdiff.checks import check_fields, checked, listed, natural, no_model, number, one_of, whole
from hierdiff.contracts import DiffusionModel, NoiseProcess, Run, Summary
from hierdiff.data.rhm import affordable
from hierdiff.errors import InvalidParameter
from hierdiff.noise import has_snr, noise_name, noise_process
from hierdiff.plots import PALETTE, Figure, legend, panels, plain_log, plt, shade
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import standard_error
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.mixture.covariance_windows import covariance_windows
from hierdiff.theory.rhm.density_evolution import leaf_messages, population_dynamics
from hierdiff.theory.rhm.locality import (
    excess_loss,
    markov_length,
    sliding_windows,
    subtree_belief,
    tree_windows,
)

__all__ = ["LocalDenoisers"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]

KINDS = ("tree", "neighbours", "covariance")
"""Windows of equal size."""
_TRAINING = 4000
"""Strings whose covariance gives windows; more change no window of the default size."""
_BELIEF = "belief in the true leaf"


def _sigma(noise: NoiseProcess, t: float) -> float:
    """Noise relative to signal of a linear denoiser; of symbols, what is lost over kept."""
    if has_snr(noise):
        return float(noise.snr(t) ** -0.5)
    return float(np.sqrt(t / (1 - t)))


def tree_losses(
    rhm: RHM, process: str, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Belief in the true leaf, and nats lost, of windows that follow the tree [t, height]."""
    grammar, noise = rhm.draw(stream(seed, "grammar", g)), noise_process(process, rhm.v)
    belief, nats = np.empty((2, len(times), rhm.L + 1))
    for i, t in enumerate(times):
        for h in range(rhm.L + 1):
            found = excess_loss(
                grammar, noise, float(t), tree_windows(grammar, h), data,
                stream(seed, "data", process, g, i),
            )  # fmt: skip
            belief[i, h], nats[i, h] = found.belief.value, found.nats.value
    return {"belief": belief, "nats": nats}


def subtree_beliefs(
    rhm: RHM, process: str, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Belief in the true leaf of subtrees [t, height]."""
    grammar, noise = rhm.draw(stream(seed, "grammar", g)), noise_process(process, rhm.v)
    found = [
        [subtree_belief(grammar, noise, float(t), h, data,
                        stream(seed, "subtrees", process, g, i, h)).value
         for h in range(rhm.L + 1)] for i, t in enumerate(times)
    ]  # fmt: skip
    return {"belief": np.array(found)}


def window_losses(
    rhm: RHM, process: str, times: Array, heights: tuple[int, ...], data: int, seed: int, g: int
) -> dict[str, Array]:
    """Nats lost by windows of equal size, [kind, t, height]."""
    grammar, noise = rhm.draw(stream(seed, "grammar", g)), noise_process(process, rhm.v)
    strings = np.eye(rhm.v)[grammar.sample(_TRAINING, stream(seed, "training", g)).leaves]
    nats = np.empty((len(KINDS), len(times), len(heights)))
    for i, t in enumerate(times):
        for j, h in enumerate(heights):
            size = rhm.s**h
            windows = (
                tree_windows(grammar, h),
                sliding_windows(grammar.n_leaves, size),
                covariance_windows(strings, size, _sigma(noise, float(t))),
            )
            for k, window in enumerate(windows):
                found = excess_loss(
                    grammar, noise, float(t), window, data, stream(seed, "data", process, g, i)
                )
                nats[k, i, j] = found.nats.value
    return {"nats": nats}


@dataclass(frozen=True)
class LocalDenoisers:
    """What windows cost against noise level and size, and the Markov length of a tree.

    Notes
    -----
    Validity: windows are exact on sampled grammars, errors are over grammars.  The prediction is
    that of rules which are drawn anew at every node.

    Examples
    --------
    >>> small = LocalDenoisers(v=8, m=2, L=2, noises=("masking",), grammars=2, data=8, levels=3,
    ...                        heights=(1,), deepest=3)
    >>> small.measure(workers=1).belief.dims
    ('noise', 't', 'height')
    """

    name: ClassVar[str] = "local_denoisers"
    _repr_html_ = experiment_html

    v: int = 16
    """Symbols per level."""
    m: int = 4
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 6
    """Depth."""
    noises: tuple[str, ...] = ("masking", "uniform", "gaussian")
    """Noise processes."""
    grammars: int = 6
    """Random grammars."""
    data: int = 40
    """Data per grammar."""
    levels: int = 12
    """Noise levels between 0 and 0.9."""
    heights: tuple[int, ...] = (1, 2, 4)
    """Windows of s**height leaves are compared at equal size, under the first noise process."""
    tolerance: float = 0.01
    """Excess squared error per leaf that a window may cost, for the Markov length."""
    deepest: int = 10
    """Depth of the largest tree of the prediction."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        check_fields(
            self,
            noises=partial(listed, rule=partial(noise_name, channel=True)),
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=2, high=10**8),
            levels=partial(whole, low=2, high=10**5),
            heights=partial(listed, rule=partial(whole, low=0), rising=True),
            # below 1e-6 nats no sample sees it, and no leaf carries more than its symbol
            tolerance=partial(number, low=1e-6, high=10.0),
            deepest=partial(whole, low=1, high=64),
            seed=natural,
        )
        affordable(RHM(self.v, self.m, self.s, self.L), max(self.data, _TRAINING))
        if self.heights[-1] > self.L:
            raise InvalidParameter(
                f"heights = {self.heights} hold windows outside of the tree of depth {self.L}"
            )
        if self.deepest < self.L:
            raise InvalidParameter(f"deepest = {self.deepest} must be at least L = {self.L}")

    @property
    def times(self) -> Array:
        """Noise levels."""
        return np.linspace(0, 0.9, self.levels + 1)[1:]

    @property
    def window_times(self) -> Array:
        """Every second noise level, at which kinds of windows are compared."""
        return self.times[::2]

    @results.tracked
    @checked
    def predict(
        self,
        law: Literal["subtree", "density"] = "subtree",
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Belief in the true leaf of trees of every depth up to L, and the Markov length.

        Parameters
        ----------
        law : {"subtree", "density"}
            Subtrees of the same grammars, or density evolution.

        Returns
        -------
        xarray.Dataset
            ``belief`` and ``square`` (noise, t, height), ``length`` (noise, t); no ``nats``.

        Notes
        -----
        Validity: "subtree" is exact; "density" holds for rules that are drawn anew at every node
        and symbols that are equally frequent.
        """
        one_of("law", law, ("subtree", "density"))
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        if law == "subtree":
            rhm = RHM(self.v, self.m, self.s, self.L)
            tasks = [
                Task(subtree_beliefs, (rhm, noise, self.times, self.data, self.seed, g),
                     self._named("subtree", noise, g))
                for noise in self.noises for g in range(self.grammars)
            ]  # fmt: skip
            parts = run_tasks(tasks, name=f"{self.name} subtrees", **options)
            shape = (len(self.noises), self.grammars, self.levels, self.L + 1)
            belief = np.stack([p["belief"] for p in parts]).reshape(shape).swapaxes(0, 1)
            return self._labelled(
                belief.mean(axis=0), standard_error(belief),
                standard_error(belief[..., -1:] - belief), np.full(shape[1:], np.nan),
                np.full(shape[1:], np.nan), "theory",
            )  # fmt: skip
        deep, error = self._deep(options)
        found, known = deep[:, :, : self.L + 1], error[:, :, : self.L + 1]
        cost = np.hypot(known, known[..., -1:])  # depths have populations of their own
        cost[..., -1] = 0.0
        none = np.full(found.shape, np.nan)
        return self._labelled(found, known, cost, none, none, "theory")

    def _deep(self, options: dict[str, Any]) -> tuple[Array, Array]:
        """Leaf beliefs [noise, t, height] of trees of all depths, with errors."""
        tasks = []
        for noise in self.noises:
            parameters = {
                "version": 1, "question": self.name, "law": "density", "v": self.v, "m": self.m,
                "s": self.s, "noise": noise, "deepest": self.deepest, "seed": self.seed,
                "times": self.times.tolist(),
            }  # fmt: skip
            arguments = (self.v, self.m, self.s, noise, self.deepest, self.times, self.seed)
            tasks.append(Task(deep_beliefs, arguments, parameters))
        parts = run_tasks(tasks, name=f"{self.name} law", **options)
        return np.stack([p["belief"] for p in parts]), np.stack([p["error"] for p in parts])

    def lengths(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Markov lengths (noise, depth, t) of trees up to ``deepest``, by density evolution."""
        deep, _ = self._deep({"folder": folder, "workers": workers, "cluster": cluster})
        depths = list(range(2, self.deepest + 1))
        found = np.stack([self._lengths(deep[:, :, : k + 1]) for k in depths], axis=1)
        coords = {
            "noise": (("noise",), list(self.noises), "noise process"),
            "depth": (("depth",), depths, "depth of the tree"),
            "t": (("t",), self.times, "noise level t"),
        }
        plane = (("noise", "depth", "t"), found, "Markov length of a tree of this depth")
        made = results.provenance(asdict(self))
        return results.label({"lengths": plane}, coords, "theory", made)

    @results.tracked
    @checked
    def measure(
        self,
        model: DiffusionModel | None = None,
        data: Any = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Belief in the true leaf and nats lost, by exact inference on sampled grammars."""
        no_model(
            self.name, model, data,
            "it compares windows of exact inference on grammars of its own; how far windows "
            "explain a model is explained_share of hierdiff.theory.rhm.locality",
        )  # fmt: skip
        rhm, tasks = RHM(self.v, self.m, self.s, self.L), []
        for noise in self.noises:
            for g in range(self.grammars):
                arguments = (rhm, noise, self.times, self.data, self.seed, g)
                tasks.append(Task(tree_losses, arguments, self._named("tree", noise, g)))
        parts = run_tasks(tasks, name=self.name, folder=folder, workers=workers, cluster=cluster)
        shape = (len(self.noises), self.grammars, self.levels, self.L + 1)
        belief, nats = (
            np.stack([p[k] for p in parts]).reshape(shape).swapaxes(0, 1)
            for k in ("belief", "nats")
        )
        cost = belief[..., -1:] - belief
        return self._labelled(
            belief.mean(axis=0), standard_error(belief), standard_error(cost), nats.mean(axis=0),
            standard_error(nats), "simulation",
        )  # fmt: skip

    def windows(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        cluster: str | None = None,
    ) -> xr.Dataset:
        """Nats lost by windows of equal size: tree, neighbours, covariance."""
        rhm, noise, tasks = RHM(self.v, self.m, self.s, self.L), self.noises[0], []
        few = max(
            2, self.data // 3
        )  # every leaf has a window of its own, so that one datum is dear
        for g in range(self.grammars):
            named = {
                **self._named("windows", noise, g),
                "heights": self.heights,
                "data": few,
                "times": self.window_times.tolist(),
            }
            arguments = (rhm, noise, self.window_times, self.heights, few, self.seed, g)
            tasks.append(Task(window_losses, arguments, named))
        parts = run_tasks(
            tasks, name=f"{self.name} windows", folder=folder, workers=workers, cluster=cluster
        )
        nats = np.stack([p["nats"] for p in parts])
        plane = ("kind", "t", "size")
        variables = {
            "nats": (plane, nats.mean(axis=0), "loss of the window, nats per leaf"),
            "nats_error": (plane, standard_error(nats), "its standard error"),
        }
        coords = {
            "kind": (("kind",), list(KINDS), "kind of window"),
            "t": (("t",), self.window_times, f"noise level t of the {noise} process"),
            "size": (("size",), [self.s**h for h in self.heights], "leaves of a window"),
        }
        return results.label(variables, coords, "simulation", results.provenance(asdict(self)))

    def _named(self, what: str, noise: str, g: int) -> dict[str, Any]:
        return {
            "version": 1, "question": self.name, "law": what, "v": self.v, "m": self.m, "s": self.s,
            "L": self.L, "noise": noise, "data": self.data, "times": self.times.tolist(),
            "seed": self.seed, "grammar": g,
        }  # fmt: skip

    def _lengths(self, belief: Array) -> Array:
        """Markov lengths [...] of beliefs [..., height]; the last height is the whole tree."""
        widths = tuple(float(self.s**h) for h in range(belief.shape[-1]))
        excess = belief[..., -1:] - belief
        flat = [markov_length(widths, x, self.tolerance) for x in excess.reshape(-1, len(widths))]
        return np.reshape(flat, belief.shape[:-1])

    def _labelled(
        self, belief: Array, error: Array, cost_error: Array, nats: Array, nats_error: Array,
        source: str,
    ) -> xr.Dataset:  # fmt: skip
        plane = ("noise", "t", "height")
        variables: dict[str, Any] = {
            "belief": (plane, belief, _BELIEF),
            "belief_error": (plane, error, "its standard error"),
            "square": (plane, belief[..., -1:] - belief, "excess squared error of the window"),
            "square_error": (plane, cost_error, "its standard error"),
            "length": (("noise", "t"), self._lengths(belief), "Markov length"),
        }
        if np.isfinite(nats).any():  # density evolution has beliefs alone
            variables["nats"] = (plane, nats, "loss of the window, nats per leaf")
            variables["nats_error"] = (plane, nats_error, "its standard error")
        coords: dict[str, Any] = {
            "noise": (("noise",), list(self.noises), "noise process"),
            "t": (("t",), self.times, "noise level t"),
            "height": (("height",), list(range(self.L + 1)), "height of the window in the tree"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Measurement, prediction, and windows of equal size."""
        options = run.tasks(self.name)
        return {
            self.name: self.measure(model, data, **options),
            f"{self.name}_theory": self.predict(**options),
            f"{self.name}_density": self.predict("density", **options),
            f"{self.name}_lengths": self.lengths(**options),
            f"{self.name}_windows": self.windows(**options),
        }

    def figure(self, datasets: Datasets) -> Figure:
        """Losses against noise, the Markov length, and windows of equal size."""
        return draw(self, datasets)

    def summary(self, datasets: Datasets) -> Summary:
        """Losses at every noise level, and the largest Markov length of each process."""
        return Summary(table(self, datasets), claim(self, datasets), numbers(self, datasets))


def deep_beliefs(
    v: int, m: int, s: int, process: str, deepest: int, times: Array, seed: int
) -> dict[str, Array]:
    """Leaf beliefs [t, height] of trees of every depth, by density evolution, with errors."""
    noise = noise_process(process, v)
    leaf = [
        leaf_messages(noise, float(t), 20_000, stream(seed, "leaf", i))[:, 0]
        for i, t in enumerate(times)
    ]
    belief, error = [[x.mean() for x in leaf]], [[x.std() / np.sqrt(len(x)) for x in leaf]]
    for h in range(1, deepest + 1):
        found = population_dynamics(
            RHM(v, m, s, h), noise, times, size=8000, copies=4, seed=stream(seed, "law", h)
        )
        belief.append(found.marginal[-1])
        error.append(found.marginal_error[-1])
    return {"belief": np.array(belief).T, "error": np.array(error).T}


def _largest_z(one: LocalDenoisers, datasets: Datasets) -> float:
    both = results.compare(datasets[f"{one.name}_theory"], datasets[one.name])
    z = np.abs(both.belief_z.values)
    return float(z[np.isfinite(z)].max(initial=0.0))


def _annealing(one: LocalDenoisers, datasets: Datasets) -> float:
    """Largest distance of density evolution from the measured squared loss."""
    gap = datasets[f"{one.name}_density"].square - datasets[one.name].square
    return float(np.abs(gap.values).max())


def table(one: LocalDenoisers, datasets: Datasets) -> str:
    """A row per noise process and level: loss of windows of half and a quarter of the tree."""
    ds, law = datasets[one.name], datasets[f"{one.name}_theory"]
    shown = sorted({max(one.L - 2, 0), max(one.L - 1, 0)})
    pairs = (word for h in shown for word in (f"{one.s**h} leaves, nats", "square: law"))
    header = ["noise", "t", *pairs, "length: law"]
    rows = []
    for noise in one.noises:
        for t in ds.t.values:
            a, b = ds.sel(noise=noise, t=t), law.sel(noise=noise, t=t)
            cells = []
            for h in shown:
                x, y = a.sel(height=h), b.sel(height=h)
                cells += [plus_minus(x.nats, x.nats_error, digits=4),
                          f"{float(x.square):.4f}: {float(y.square):.4f}"]  # fmt: skip
            lengths = f"{float(a.length):.1f}: {float(b.length):.1f}"
            rows.append([noise, f"{t:.2f}", *cells, lengths])
    windows, worst = datasets[f"{one.name}_windows"], []
    for kind in KINDS:
        for size in windows["size"].values:
            at = windows.sel(kind=kind, size=size)
            i = int(np.argmax(windows.nats.sel(size=size).max("kind").values))
            worst.append([kind, size, plus_minus(at.nats[i], at.nats_error[i], digits=4),
                          f"{float(at.t[i]):.2f}"])  # fmt: skip
    return "\n".join([
        text_table(header, rows, keys=2), "",
        f"{one.noises[0]}, windows at their worst noise level",
        text_table(["window", "leaves", "nats per leaf", "t"], worst),
    ])  # fmt: skip


def numbers(one: LocalDenoisers, datasets: Datasets) -> dict[str, Any]:
    """The numbers of the table, and Markov lengths of all depths."""
    ds, deep = datasets[one.name], datasets[f"{one.name}_lengths"]
    windows = datasets[f"{one.name}_windows"]
    return {
        "t": np.round(ds.t.values, 6).tolist(), "noise": list(one.noises),
        "largest z": _largest_z(one, datasets), "annealing": _annealing(one, datasets),
        "nats": np.round(ds.nats.values, 6).tolist(),
        "nats_error": np.round(ds.nats_error.values, 6).tolist(),
        "length": np.round(ds.length.values, 3).tolist(),
        "depth": deep.depth.values.tolist(), "lengths": np.round(deep.lengths.values, 3).tolist(),
        "size": windows["size"].values.tolist(), "kind": list(KINDS),
        "windows": np.round(windows.nats.values, 6).tolist(),
        "windows_error": np.round(windows.nats_error.values, 6).tolist(),
    }  # fmt: skip


def claim(one: LocalDenoisers, datasets: Datasets) -> str:
    """Where windows cost most, and how the Markov length grows with the tree."""
    ds, deep = datasets[one.name], datasets[f"{one.name}_lengths"]
    h = max(one.L - 2, 0)
    words = []
    for noise in one.noises:
        a = ds.sel(noise=noise, height=h)
        i = int(np.argmax(a.nats.values))
        words.append(f"{float(a.nats[i]):.3f} ± {float(a.nats_error[i]):.3f} at t = "
                     f"{float(a.t[i]):.2f} ({noise})")  # fmt: skip
    first = deep.lengths.sel(noise=one.noises[0])
    last, before = first.isel(depth=-1), first.isel(depth=max(len(first.depth) - 3, 0))
    j = int(np.nanargmax(last.values))
    return (
        f"windows of a quarter of the tree cost most around the transition, nats per leaf: "
        f"{', '.join(words)}; the longest Markov length under {one.noises[0]} is "
        f"{float(last[j]):.0f} leaves of {one.s**one.deepest} at t = {float(last.t[j]):.2f}, and "
        f"{float(np.nanmax(before.values)):.0f} in trees of {one.s ** int(before.depth)}; "
        f"subtrees predict all beliefs, largest |z| = {_largest_z(one, datasets):.1f}, and density "
        f"evolution the loss to {_annealing(one, datasets):.3f}"
    )


def draw(one: LocalDenoisers, datasets: Datasets) -> Figure:
    """Loss by height, loss by process, Markov length, windows of equal size."""
    ds, law = datasets[one.name], datasets[f"{one.name}_theory"]
    windows, anneal = datasets[f"{one.name}_windows"], datasets[f"{one.name}_density"]
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.7), layout="constrained")
    first = one.noises[0]
    for h in range(one.L):
        colour = shade(h / max(one.L, 1))
        a, b = ds.sel(noise=first, height=h), law.sel(noise=first, height=h)
        axes[0].plot(b.t, b.square, "-", lw=1, color=colour)
        axes[0].fill_between(b.t, b.square - b.square_error, b.square + b.square_error,
                             color=colour, alpha=0.15, lw=0)  # fmt: skip
        axes[0].plot(b.t, anneal.sel(noise=first, height=h).square, ":", lw=1, color=colour)
        axes[0].errorbar(a.t, a.square, a.square_error, fmt="o", ms=3.5, color=colour,
                         label=f"{one.s**h} {'leaf' if h == 0 else 'leaves'}")  # fmt: skip
    axes[0].set(ylabel="excess squared error")
    h = max(one.L - 2, 0)
    for noise, own in zip(one.noises, PALETTE, strict=False):
        a = ds.sel(noise=noise, height=h)
        axes[1].errorbar(a.t, a.nats, a.nats_error, fmt="o-", ms=3.5, lw=0.9, color=own,
                         label=noise)  # fmt: skip
    axes[1].set(ylabel="excess loss, nats per leaf")
    deep = datasets[f"{one.name}_lengths"]
    for depth in deep.depth.values[:: max(1, len(deep.depth) // 5)]:
        colour = shade(depth / one.deepest, "layers")
        b = deep.sel(noise=first, depth=depth)
        axes[2].plot(b.t, b.lengths, "-", lw=1, color=colour, label=f"{one.s ** int(depth)} leaves")
    axes[2].plot(ds.t, ds.length.sel(noise=first), "ko", ms=4, mfc="none",
                 label=f"{one.s**one.L}, measured")  # fmt: skip
    axes[2].set(ylabel="Markov length, leaves", yscale="log")
    marks = dict(zip(KINDS, ("o-", "s--", "^:"), strict=True))
    for k, size in enumerate(windows["size"].values):
        for kind in KINDS:
            a = windows.sel(kind=kind, size=size)
            axes[3].errorbar(a.t, a.nats, a.nats_error, fmt=marks[kind], ms=3.5, lw=0.9,
                             color=PALETTE[k], label=f"{kind}, {size}")  # fmt: skip
    axes[3].set(ylabel="excess loss, nats per leaf")
    plain_log(axes[2].yaxis)
    most = ds.nats.sel(noise=first, height=h)
    i = int(np.argmax(most.values))
    error = float(ds.nats_error.sel(noise=first, height=h)[i])
    last = deep.lengths.sel(noise=first).isel(depth=-1)
    size = int(windows["size"][-1])
    wide = [f"{float(windows.nats.sel(kind=kind, size=size).max()):.2f}" for kind in KINDS]
    alone = ds.square.sel(noise=first, height=0).values
    panels(axes, f"{first}: one leaf loses most at t = {float(ds.t[np.argmax(alone)]):.2f}",
           f"{one.s**h} leaves: {float(most[i]):.3f} ± {error:.3f} nats ({first})",
           f"{first}: {float(last.max()):.0f} of {one.s**one.deepest} leaves at most",
           f"{first}, {size} leaves: {' / '.join(wide)} nats")  # fmt: skip
    notes = ("lines: subtrees; dotted: annealed", "", "", " / ".join(KINDS))
    for ax, note in zip(axes, notes, strict=True):
        ax.set_xlabel("noise level t")
        legend(ax, note)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
