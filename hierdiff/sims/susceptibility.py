r"""Susceptibility: how many leaves change together at the threshold.

A datum is noised to level t and denoised, many times over.  Leaf i has :math:`\sigma_i = +1` if it
comes back and -1 if it has changed.  With the covariance :math:`C(d)` of two leaves whose last
common ancestor has height d,

.. math:: \chi(t) = \frac{\sum_{ij} C_{ij}}{\sum_i C_{ii}}

is the number of leaves that change together.  Covariances are over trajectories of one datum, then
averaged over data and grammars.  For the epsilon-process the annealed two-state chain predicts all
of it without a free parameter; for real noise density evolution predicts chi.  At its threshold
:math:`C \sim r^{-a}`, with :math:`r = s^d` and :math:`a = 2 - 2/\nu`, and all depths collapse onto
one function of :math:`(\epsilon - \epsilon^*)\, F'(p^*)^L`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff import RHM, results
from hierdiff._display import experiment_html, pair_text, text_table
from hierdiff.checks import check_fields, checked, natural, no_model, one_of, whole
from hierdiff.contracts import DiffusionModel, Run, Summary
from hierdiff.errors import InvalidParameter
from hierdiff.noise import is_channel, noise_process
from hierdiff.plots import Axes, Figure, mark, panel, plt, shade, shared_legend
from hierdiff.sims.correlations import Correlations
from hierdiff.sims.metrics.fluctuations import Peak, peak
from hierdiff.theory import (
    correlation_length_exponent,
    critical_level,
    critical_noise,
    stability,
)
from hierdiff.theory.rhm.dynamical_correlations import (
    correlation_decay_exponent,
    leaf_correlation,
    population_susceptibility,
    susceptibility,
)

__all__ = ["Susceptibility"]

Array = NDArray[Any]
Datasets = Mapping[str, xr.Dataset]
PROCESSES: tuple[str, ...] = ("epsilon", "masking", "uniform", "gaussian")
REAL = PROCESSES[1:]
WIDE = {"masking": (0.55, 2.0), "uniform": (0.55, 2.2), "gaussian": (0.85, 1.5)}
"""Range of noise levels, in units of the threshold of density evolution."""
NEAR = {"masking": (0.75, 1.4), "uniform": (0.75, 1.55), "gaussian": (0.94, 1.15)}
"""Range that holds the maximum of the susceptibility."""


@dataclass(frozen=True)
class Susceptibility:
    """Correlated changes of the leaves, at growing depth.

    Notes
    -----
    Validity: exact posterior samples; errors are over grammars.  The chain is exact as v grows; at
    finite v it lies low by a few per cent.
    """

    name: ClassVar[str] = "susceptibility"
    _repr_html_ = experiment_html
    files: ClassVar[tuple[str, ...]] = ("susceptibility_*",)

    v: int = 32
    """Symbols per level."""
    m: int = 8
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    depths: tuple[int, ...] = (5, 7, 9)
    """Depths L, increasing."""
    grammars: int = 48
    """Random grammars: the unit that errors are counted in."""
    data: int = 6
    """Data per grammar."""
    trajectories: int = 48
    """Noised and denoised copies of each datum."""
    levels: int = 17
    """Noise levels around each threshold."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse sizes without a maximum or an error, before anything is computed."""
        check_fields(
            self,
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=1, high=10**8),
            trajectories=partial(whole, low=2, high=10**8),
            levels=partial(whole, low=5, high=10**5),
            seed=natural,
        )
        # a maximum at one depth has no growth, and a tree of one branch no correlations
        if len(self.depths) < 2 or list(self.depths) != sorted(set(self.depths)):
            raise InvalidParameter(f"depths = {self.depths} must be two increasing depths or more")
        if self.s < 2:
            raise InvalidParameter(f"s = {self.s} leaves no pair of leaves; give s >= 2")
        for depth in self.depths:
            self._experiment("epsilon", depth, near=True)

    def _experiment(self, noise: str, depth: int, near: bool) -> Correlations:
        """One process at one depth, over the whole range or densely near the maximum."""
        rhm = self._rhm(depth)
        if not is_channel(noise_process(noise, self.v)):
            # the class is lost over a width of about F'(p*)^-L
            middle = critical_noise(rhm)
            width = min((0.35 if near else 2.4) * float(stability(rhm)[1]) ** -depth, 0.25)
            low, high = max(middle - width, 0.0), min(middle + width, 1.0)
        else:
            middle = threshold(self.v, self.m, self.s, noise, self.seed)
            low, high = (min(x * middle, 1.0) for x in (NEAR if near else WIDE)[noise])
        return Correlations(
            v=self.v, m=self.m, s=self.s, L=depth, noise=noise, grammars=self.grammars,
            data=self.data, trajectories=self.trajectories, low=low, high=high,
            levels=9 if near else self.levels, seed=self.seed,
        )  # fmt: skip

    def _rhm(self, depth: int) -> RHM:
        return Correlations(self.v, self.m, self.s, depth).rhm

    @results.tracked
    @checked
    def predict(self, law: Literal["chain"] = "chain") -> xr.Dataset:
        """Place and height of the maximum by the two-state chain, for the epsilon-process."""
        one_of("law", law, ("chain",))
        rows = [chain_peak(self._rhm(L)) for L in self.depths]
        place, height = (np.array([[row[k] for row in rows]]) for k in (0, 1))
        zero = np.zeros_like(place)
        return self._peaks(("epsilon",), (place, zero, height, zero), "theory")

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
        """Place and height of the susceptibility's maximum, per process and depth."""
        no_model(
            self.name, model, data,
            "it follows the maximum over growing depth; the susceptibility of one model is that "
            "of Correlations.measure",
        )  # fmt: skip
        found = self._near({"folder": folder, "workers": workers, "cluster": cluster})
        peaks = [[peak_of(found[noise, L]) for L in self.depths] for noise in PROCESSES]
        words = ("place", "place_error", "height", "height_error")
        columns = tuple(np.array([[getattr(p, w) for p in row] for row in peaks]) for w in words)
        return self._peaks(PROCESSES, columns, "simulation")

    def _peaks(
        self, processes: tuple[str, ...], columns: tuple[Array, ...], source: str
    ) -> xr.Dataset:
        """Places and heights [process, L] with errors."""
        plane, (place, place_error, height, height_error) = ("process", "L"), columns
        variables = {
            "place": (plane, place, "noise level at which the susceptibility is largest"),
            "place_error": (plane, place_error, "its standard error"),
            "height": (plane, height, "largest susceptibility"),
            "height_error": (plane, height_error, "its standard error"),
        }
        coords = {
            "process": (("process",), list(processes), "noise process"),
            "L": (("L",), list(self.depths), "depth"),
        }
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def _near(self, options: dict[str, Any]) -> dict[tuple[str, int], xr.Dataset]:
        """Every process and depth densely near its maximum.

        The range follows the maximum where a shallow tree has it outside.
        """
        found = {}
        for noise in PROCESSES:
            for L in self.depths:
                at: Correlations | None = self._experiment(noise, L, near=True)
                for _ in range(5):
                    if at is None:
                        break
                    found[noise, L] = at.measure(**options)
                    at = moved(at, found[noise, L])
        return found

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Every process and depth, over the whole range and near the maximum."""
        if model is not None or data is not None:
            self.measure(model, data)
        options = run.tasks(self.name)
        wide = {
            f"susceptibility_{noise}_L{L}": self._experiment(noise, L, near=False).measure(
                **options
            )
            for noise in PROCESSES
            for L in self.depths
        }
        near = self._near(options)
        return wide | {f"susceptibility_{k}_L{L}_peak": ds for (k, L), ds in near.items()}

    def figure(self, datasets: Datasets) -> Figure:
        """The susceptibility of all processes, its decay with distance, and the collapse."""
        return draw(self, datasets)

    def summary(self, datasets: Datasets) -> Summary:
        """Maxima at all depths, their law, and the collapse."""
        values = self._values(datasets)
        rows = []
        for row in values["peaks"]:
            law = values["chain"][str(row["L"])]
            chain = f"{law[1]:.3f} at {law[0]:.4f}" if row["noise"] == "epsilon" else ""
            rows.append([row["noise"], row["L"], pair_text(row["place"], 4),
                         pair_text(row["height"], 4), chain])  # fmt: skip
        header = ["process", "L", "chi is largest at", "largest chi", "two-state chain"]
        facts = [
            ["chi measured / chain, by depth", ", ".join(f"{x:.3f}" for x in values["ratio"])],
            ["largest |C(d)/C(0) - chain|", ", ".join(f"{x:.3f}" for x in values["gap"])],
            ["exponents a, nu", f"{values['a']:.4f}, {values['nu']:.4f}"],
        ]
        table = f"{text_table(header, rows, keys=2)}\n\n{text_table([], facts)}"
        return Summary(table, claim(self, values), values)

    def _values(self, datasets: Datasets) -> dict[str, Any]:
        """Maxima, their law, agreement with the chain, and the spread of the collapse."""
        peaks = []
        for noise in PROCESSES:
            for L in self.depths:
                p = peak_of(datasets[f"susceptibility_{noise}_L{L}_peak"])
                peaks.append({"noise": noise, "L": L, "place": [p.place, p.place_error],
                              "height": [p.height, p.height_error]})  # fmt: skip
        ratios, gaps = [], []
        for L in self.depths:
            ds = datasets[f"susceptibility_epsilon_L{L}"]
            law = self._experiment("epsilon", L, near=False).predict(t=ds.t.values)
            ratios.append(float((ds.susceptibility / law.susceptibility).mean()))
            gaps.append(float(np.abs(ds.correlation - law.correlation).max()))
        rhm, scaling = self._rhm(self.depths[-1]), Scaling.of(self, datasets)
        return {
            "peaks": peaks,
            "chain": {str(L): list(chain_peak(self._rhm(L))) for L in self.depths},
            "critical": critical_noise(rhm),
            "thresholds": {n: threshold(self.v, self.m, self.s, n, self.seed) for n in REAL},
            "ratio": ratios, "gap": gaps,
            "collapsed": scaling.spread({L: scaling.scaled(L, t) for L, t in scaling.t.items()}),
            "plain": scaling.spread(scaling.t),
            "a": scaling.a, "nu": correlation_length_exponent(rhm),
        }  # fmt: skip


@functools.cache
def threshold(v: int, m: int, s: int, noise: str, seed: int) -> float:
    """Where a real process loses the class of an infinitely deep datum."""
    process = noise_process(noise, v)
    return critical_level(RHM(v, m, s, 1), process, size=2000, copies=4, seed=seed).value


def peak_of(ds: xr.Dataset) -> Peak:
    """Place and height of the susceptibility's maximum."""
    V = ds.block_variance.values
    return peak(ds.t.values, V[:, -1], V[:, 0])


def moved(experiment: Correlations, ds: xr.Dataset) -> Correlations | None:
    """The same experiment around its largest value where that stands at an end of the range."""
    at, t = int(ds.susceptibility.values.argmax()), ds.t.values
    if 0 < at < len(t) - 1:
        return None
    half = (t[-1] - t[0]) / 2
    return replace(experiment, low=max(t[at] - half, 0.0), high=min(t[at] + half, 1.0))


def fine_grid(rhm: RHM) -> Array:
    """Noise levels of the lines: steps of 5e-5 around the threshold of the epsilon-process."""
    critical = critical_noise(rhm)
    return np.linspace(max(critical - 0.25, 0.0), min(critical + 0.25, 1.0), 10001)


def chain_peak(rhm: RHM) -> tuple[float, float]:
    """Place and height of the maximum by the two-state chain."""
    fine = fine_grid(rhm)
    curve = susceptibility(rhm, fine)
    return float(fine[curve.argmax()]), float(curve.max())


@dataclass(frozen=True)
class Scaling:
    """Finite-size scaling of the correlation C(L) of leaves on the two sides of the root.

    Times s^{aL} it is a function of x = (epsilon - epsilon*) F'(p*)^L alone.
    """

    critical: float
    growth: float
    a: float
    s: int
    t: dict[int, Array]
    """Noise levels by depth."""
    correlation: dict[int, tuple[Array, Array]]
    """s^{aL} C(L) / C(0) with its error, by depth."""

    @classmethod
    def of(cls, e: Susceptibility, datasets: Datasets) -> Scaling:
        """From the measurements of the epsilon-process."""
        rhm = RHM(e.v, e.m, e.s, e.depths[-1])
        a = correlation_decay_exponent(rhm)
        t, curves = {}, {}
        for L in e.depths:
            ds, scale = datasets[f"susceptibility_epsilon_L{L}"], float(e.s) ** (a * L)
            t[L] = ds.t.values
            curves[L] = (scale * ds.correlation[-1].values,
                         scale * ds.correlation_error[-1].values)  # fmt: skip
        return cls(critical_noise(rhm), float(stability(rhm)[1]), a, e.s, t, curves)

    def scaled(self, L: int, t: Array) -> Array:
        """The distance from the threshold at the root."""
        return np.asarray((t - self.critical) * self.growth**L)

    def spread(self, positions: Mapping[int, Array]) -> float:
        """Root-mean-square distance of the depths from their mean, over the highest mean."""
        low = max(x[0] for x in positions.values())
        high = min(x[-1] for x in positions.values())
        common = np.linspace(low, high, 50)
        curves = np.array(
            [np.interp(common, x, self.correlation[L][0]) for L, x in positions.items()]
        )
        mean = curves.mean(axis=0)
        return float(np.sqrt(np.mean((curves - mean) ** 2)) / mean.max())


def claim(e: Susceptibility, values: Mapping[str, Any]) -> str:
    """Growth of the maximum, and how well the depths collapse."""
    peaks, deepest = {(p["noise"], p["L"]): p for p in values["peaks"]}, e.depths[-1]
    first, last = peaks["epsilon", e.depths[0]], peaks["epsilon", deepest]
    return (
        f"chi of the epsilon-process peaks at {last['place'][0]:.4f} ± {last['place'][1]:.4f} "
        f"(threshold {values['critical']:.4f}) and grows from {first['height'][0]:.2f} ± "
        f"{first['height'][1]:.2f} at L = {e.depths[0]} to {last['height'][0]:.2f} ± "
        f"{last['height'][1]:.2f} at L = {deepest} (chain {values['chain'][str(deepest)][1]:.2f}); "
        f"the depths collapse to {values['collapsed']:.3f} (unscaled {values['plain']:.3f})"
    )


def population_lines(e: Susceptibility, noise: str, low: float, high: float) -> tuple[Array, Array]:
    """Noise levels of the lines of real noise, and chi [L, level] by density evolution."""
    t = np.linspace(low, high, 40)
    found = population_susceptibility(
        RHM(e.v, e.m, e.s, e.depths[-1]), noise_process(noise, e.v), t, depths=e.depths,
        size=4000, copies=2, seed=e.seed,
    )  # fmt: skip
    return t, found.value


def draw(e: Susceptibility, datasets: Datasets) -> Figure:
    """Above and below left: chi of all processes; then C against distance, and the collapse.

    The theory of real noise is density evolution.
    """
    scaling, deepest = Scaling.of(e, datasets), e.depths[-1]
    critical, a = scaling.critical, scaling.a
    fine = fine_grid(RHM(e.v, e.m, e.s, deepest))

    def tint(L: int) -> tuple[float, float, float, float]:
        return shade((L - e.depths[0]) / max(deepest - e.depths[0], 1))

    def points(ax: Axes, x: Array, y: Array, error: Array, L: int) -> None:
        ax.errorbar(x, y, error, color=tint(L), ls="none", marker="o", ms=3, elinewidth=0.8,
                    label=f"L = {L}")  # fmt: skip

    figure, axes = plt.subplots(2, 3, figsize=(12, 6.8), layout="constrained")
    panels = dict(zip(PROCESSES, (*axes[0], axes[1, 0]), strict=True))
    for noise in REAL:
        t = datasets[f"susceptibility_{noise}_L{deepest}"].t.values
        t, chi = population_lines(e, noise, float(t[0]), float(t[-1]))
        for L, row in zip(e.depths, chi, strict=True):
            panels[noise].plot(t, row, color=tint(L), lw=1.2)
    decay, collapse = axes[1, 1], axes[1, 2]
    for L in e.depths:
        one = RHM(e.v, e.m, e.s, L)
        axes[0, 0].plot(fine, susceptibility(one, fine), color=tint(L), lw=1.2)
        x = scaling.scaled(L, fine)
        C = leaf_correlation(one, fine)
        collapse.plot(x, float(e.s) ** (a * L) * C[:, -1] / C[:, 0], color=tint(L), lw=1.2)
        points(collapse, scaling.scaled(L, scaling.t[L]), *scaling.correlation[L], L)
        for noise, ax in panels.items():
            ds = datasets[f"susceptibility_{noise}_L{L}"]
            points(ax, ds.t.values, ds.susceptibility.values, ds.susceptibility_error.values, L)
            if noise != "epsilon":
                p = peak_of(datasets[f"susceptibility_{noise}_L{L}_peak"])
                ax.errorbar([p.place], [p.height], p.height_error, p.place_error, color=tint(L),
                            marker="D", mfc="white", ms=5, zorder=5)  # fmt: skip
        at = int(np.argmin(np.abs(scaling.t[L] - critical)))
        ds, r = datasets[f"susceptibility_epsilon_L{L}"], float(e.s) ** np.arange(1, L + 1)
        points(decay, r, ds.correlation[1:, at].values, ds.correlation_error[1:, at].values, L)
        C = leaf_correlation(one, scaling.t[L][at])
        decay.plot(r, C[1:] / C[0], color=tint(L), lw=1.2)
    r = float(e.s) ** np.arange(1, deepest + 1)
    decay.plot(r, 0.8 * (r / r[0]) ** -a, "k:", lw=1, label=rf"$r^{{-a}}$, $a = {a:.3f}$")
    mark(axes[0, 0], critical, rf"$\epsilon^* = {critical:.4f}$")
    axes[0, 0].set(
        xlim=(critical - 0.15, critical + 0.15),
        xlabel=r"noise level $\epsilon$ (epsilon process)",
        ylabel=r"susceptibility $\chi$",
    )
    for noise in REAL:
        panels[noise].set(
            xlabel=f"noise level $t$ ({noise} process)", ylabel=r"susceptibility $\chi$"
        )
        place = threshold(e.v, e.m, e.s, noise, e.seed)
        mark(panels[noise], place, f"$t^* = {place:.3f}$")
    decay.set_xscale("log", base=e.s)  # a tick per level, or per few of them
    decay.set(yscale="log", xlabel="distance $r = s^d$ (leaves)",
              ylabel=r"$C(d)/C(0)$ at $\epsilon^*$")  # fmt: skip
    collapse.set(xlabel=r"$(\epsilon - \epsilon^*)\, F'(p^*)^L$", xlim=(-1.6, 1.6),
                 ylabel=r"$s^{aL}\, C(L)/C(0)$, across the root")  # fmt: skip
    titles = ("epsilon; line: two-state chain",
              *(f"{noise}; line: theory, open: maximum" for noise in REAL),
              r"decay at $\epsilon^*$", "collapse of all depths")  # fmt: skip
    for k, (ax, title) in enumerate(zip(axes.ravel(), titles, strict=True)):
        panel(ax, chr(97 + k), title)
        ax.spines[["top", "right"]].set_visible(False)
    shared_legend(figure, axes[0, 0], decay)
    return figure
