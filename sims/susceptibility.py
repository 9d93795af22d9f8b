r"""
Susceptibility: whole branches change together at the threshold
===============================================================

A datum is noised to level t and denoised, many times over.  Leaf i gets :math:`\sigma_i = +1` if it
comes back and -1 if it has changed.  The covariance :math:`C(d)` of two leaves whose last common
ancestor has height d, and the susceptibility

.. math:: \chi(t) = \frac{\sum_{ij} C_{ij}}{\sum_i C_{ii}}

say how many leaves change together.  Averages: inside the covariance over trajectories of one
datum, outside over data and grammars.  In the epsilon-process the annealed two-state chain predicts
all of it without a free parameter; under real noise messages fluctuate, and we measure.

At the threshold of the epsilon-process :math:`C \sim r^{-a}`, with :math:`r = s^d` and
:math:`a = 2 - 2/\nu`, and all depths collapse onto one curve of
:math:`(\epsilon - \epsilon^*)\, F'(p^*)^L`, the distance from the threshold as the root sees it.
Real noise has larger exponents (``sims/critical_exponents.py``), and its susceptibility saturates:
here its maxima at growing depth.

Run it as ``python sims/susceptibility.py --out DIR``; it takes a few minutes.  Finished tasks are
kept in DIR/tasks, so a second run, or one after an interruption, does only what is missing.
"""

# %%
# Exact posterior samples on drawn grammars, at several depths and in all processes.

import functools
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from hierdiff import RHM, results
from hierdiff import command_line as page
from hierdiff.checks import check_fields, whole
from hierdiff.errors import InvalidParameter
from hierdiff.noise import noise_process
from hierdiff.plots.backend import Axes, plt
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
    susceptibility,
)


@dataclass(frozen=True)
class Susceptibility:
    """Correlated changes of the leaves, at growing depth."""

    out: Path = Path("out")
    """Folder for results, figure and finished tasks."""
    overwrite: bool = False
    """Replace results of other parameters in the same folder."""
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
    workers: int | None = None
    """Tasks at a time; default all processors."""
    summary: Path | None = None
    """Also write the claims as JSON to this file."""

    def __post_init__(self) -> None:
        """Refuse sizes without a maximum or an error, before anything is computed."""
        check_fields(
            self,
            grammars=partial(whole, low=2, high=10**6),
            data=partial(whole, low=1, high=10**8),
            trajectories=partial(whole, low=2, high=10**8),
            levels=partial(whole, low=5, high=10**5),
        )
        # a maximum at one depth has no growth, and a tree of one branch no correlations
        if len(self.depths) < 2 or list(self.depths) != sorted(set(self.depths)):
            raise InvalidParameter(f"depths = {self.depths} must be two increasing depths or more")
        if self.s < 2:
            raise InvalidParameter(f"s = {self.s} leaves no pair of leaves; give s >= 2")
        for depth in self.depths:
            experiment(self, "epsilon", depth, near=True)


WIDE = {"masking": (0.55, 2.0), "uniform": (0.55, 2.2), "gaussian": (0.85, 1.5)}
"""Range of noise levels, in units of the threshold of density evolution."""
NEAR = {"masking": (0.75, 1.4), "uniform": (0.75, 1.55), "gaussian": (0.94, 1.15)}
"""Range that holds the maximum of the susceptibility."""


@functools.cache
def threshold(v: int, m: int, s: int, noise: str) -> float:
    """Where a real process loses the class of an infinitely deep datum."""
    return critical_level(RHM(v, m, s, 1), noise_process(noise, v), size=2000, copies=4).value


def experiment(options: Susceptibility, noise: str, depth: int, near: bool) -> Correlations:
    """One process at one depth, over the whole range or densely near the maximum."""
    if noise == "epsilon":
        rhm = Correlations(options.v, options.m, options.s, depth).rhm
        # the class is lost over a width of about F'(p*)^-L
        width = (0.35 if near else 2.4) * float(stability(rhm)[1]) ** -depth
        middle, width = critical_noise(rhm), min(width, 0.25)
        low, high = max(middle - width, 0.0), min(middle + width, 1.0)
    else:
        middle = threshold(options.v, options.m, options.s, noise)
        low, high = (min(x * middle, 1.0) for x in (NEAR if near else WIDE)[noise])
    return Correlations(
        v=options.v, m=options.m, s=options.s, L=depth, noise=noise, grammars=options.grammars,
        data=options.data, trajectories=options.trajectories, low=low, high=high,
        levels=9 if near else options.levels,
    )  # fmt: skip


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


options = page.options(Susceptibility)
folder = results.run_folder(options, "susceptibility_*")
processes = ("epsilon", "masking", "uniform", "gaussian")


def run(experiment: Correlations) -> xr.Dataset:
    """One experiment; its tasks are kept."""
    return experiment.measure(folder=folder / "tasks", workers=options.workers)


def around_peak(noise: str, L: int) -> xr.Dataset:
    """Densely near the maximum, following it where a shallow tree has it outside the range."""
    at: Correlations | None = experiment(options, noise, L, near=True)
    for _ in range(5):
        if at is None:
            break
        ds = run(at)
        at = moved(at, ds)
    return ds


keys = [(noise, L) for noise in processes for L in options.depths]
measured = {key: run(experiment(options, *key, near=False)) for key in keys}
near_peak = {key: around_peak(*key) for key in keys}

# %%
# Peaks, beside those of the chain.

deepest = options.depths[-1]
models = {L: Correlations(options.v, options.m, options.s, L).rhm for L in options.depths}
rhm = models[deepest]
critical, growth = critical_noise(rhm), float(stability(rhm)[1])
a, nu = correlation_decay_exponent(rhm), correlation_length_exponent(rhm)
fine = np.linspace(max(critical - 0.25, 0.0), min(critical + 0.25, 1.0), 10001)
peaks = {key: peak_of(ds) for key, ds in near_peak.items()}
chain = {}
for L in options.depths:
    curve = susceptibility(models[L], fine)
    chain[L] = (float(fine[curve.argmax()]), float(curve.max()))
for (noise, L), p in peaks.items():
    beside = f"; chain {chain[L][1]:.3f} at {chain[L][0]:.4f}" if noise == "epsilon" else ""
    print(f"{noise:8s} L = {L:2d}: chi peaks at {p.place:.4f} ± {p.place_error:.4f} "
          f"with {p.height:.3f} ± {p.height_error:.3f}{beside}")  # fmt: skip

# %%
# Agreement with the chain at every noise level: mean ratio of chi, and the largest departure of
# C(d)/C(0).  The chain is exact as v grows; at finite v it lies low by a few per cent.

ratios, gaps = [], []
for L in options.depths:
    ds = measured["epsilon", L]
    predicted = experiment(options, "epsilon", L, near=False).predict(t=ds.t.values)
    ratios.append(float((ds.susceptibility / predicted.susceptibility).mean()))
    gaps.append(float(np.abs(ds.correlation - predicted.correlation).max()))
print("chi measured / chain, by depth: " + ", ".join(f"{x:.3f}" for x in ratios)
      + "; largest |C(d)/C(0) - chain|: " + ", ".join(f"{x:.3f}" for x in gaps))  # fmt: skip

# %%
# Finite-size scaling.  The correlation of leaves on the two sides of the root, times
# :math:`s^{aL}`, is a function of :math:`x = (\epsilon - \epsilon^*) F'(p^*)^L` alone.  The spread
# of the depths around their mean curve, beside that against the plain noise level, measures it.


def scaled(L: int, t: np.ndarray) -> np.ndarray:
    """Where the root sees noise level t."""
    return (t - critical) * growth**L


def root_correlation(L: int) -> tuple[np.ndarray, np.ndarray]:
    """s^{aL} C(L)/C(0) with its error."""
    ds, scale = measured["epsilon", L], float(options.s) ** (a * L)
    return scale * ds.correlation[-1].values, scale * ds.correlation_error[-1].values


def spread(positions: dict[int, np.ndarray]) -> float:
    """Root-mean-square distance of the depths from their mean, relative to the highest mean."""
    low = max(x[0] for x in positions.values())
    high = min(x[-1] for x in positions.values())
    common = np.linspace(low, high, 50)
    curves = np.array([np.interp(common, x, root_correlation(L)[0]) for L, x in positions.items()])
    mean = curves.mean(axis=0)
    return float(np.sqrt(np.mean((curves - mean) ** 2)) / mean.max())


times = {L: measured["epsilon", L].t.values for L in options.depths}
collapsed = spread({L: scaled(L, t) for L, t in times.items()})
plain = spread(times)

# %%
# The figure: chi in both processes, C against distance at the threshold, and the collapse.


def shade(L: int) -> tuple[float, float, float, float]:
    """Colour of a depth."""
    span = max(deepest - options.depths[0], 1)
    return plt.get_cmap("viridis")(0.85 * (L - options.depths[0]) / span)


def points(ax: Axes, x: np.ndarray, y: np.ndarray, error: np.ndarray, L: int) -> None:
    """Simulation: points with intervals."""
    ax.errorbar(x, y, error, color=shade(L), ls="none", marker="o", ms=3, elinewidth=0.8,
                label=f"L = {L}")  # fmt: skip


fig, axes = plt.subplots(2, 3, figsize=(12, 6.8), layout="constrained")
panels = dict(zip(processes, (*axes[0], axes[1, 0]), strict=True))
decay, collapse = axes[1, 1], axes[1, 2]
for L in options.depths:
    one = models[L]
    axes[0, 0].plot(fine, susceptibility(one, fine), color=shade(L), lw=1.2)
    x = scaled(L, fine)
    C = leaf_correlation(one, fine)
    collapse.plot(x, float(options.s) ** (a * L) * C[:, -1] / C[:, 0], color=shade(L), lw=1.2)
    points(collapse, scaled(L, times[L]), *root_correlation(L), L)
    for noise, ax in panels.items():
        ds = measured[noise, L]
        points(ax, ds.t.values, ds.susceptibility.values, ds.susceptibility_error.values, L)
        if noise != "epsilon":
            p = peaks[noise, L]
            ax.errorbar([p.place], [p.height], p.height_error, p.place_error, color=shade(L),
                        marker="D", mfc="white", ms=5, zorder=5)  # fmt: skip
    at = int(np.argmin(np.abs(times[L] - critical)))
    ds, r = measured["epsilon", L], float(options.s) ** np.arange(1, L + 1)
    points(decay, r, ds.correlation[1:, at].values, ds.correlation_error[1:, at].values, L)
    C = leaf_correlation(one, times[L][at])
    decay.plot(r, C[1:] / C[0], color=shade(L), lw=1.2)
r = float(options.s) ** np.arange(1, deepest + 1)
decay.plot(r, 0.8 * (r / r[0]) ** -a, "k:", lw=1, label=rf"$r^{{-a}}$, $a = {a:.3f}$")
axes[0, 0].axvline(critical, color="0.3", ls="--", lw=0.8)
axes[0, 0].annotate(rf"$\epsilon^* = {critical:.4f}$", (critical, 1.0), (3, 3), fontsize=7,
                    textcoords="offset points", color="0.3")  # fmt: skip
axes[0, 0].set(
    xlim=(critical - 0.15, critical + 0.15),
    xlabel=r"noise level $\epsilon$ (epsilon process)",
    ylabel=r"susceptibility $\chi$",
)
for noise in processes[1:]:
    panels[noise].set(xlabel=f"noise level $t$ ({noise} process)", ylabel=r"susceptibility $\chi$")
    panels[noise].axvline(threshold(options.v, options.m, options.s, noise), color="0.3", ls="--",
                          lw=0.8)  # fmt: skip
decay.set(xscale="log", yscale="log", xlabel="distance $r = s^d$ (leaves)",
               ylabel=r"$C(d)/C(0)$ at $\epsilon^*$")  # fmt: skip
collapse.set(xlabel=r"$(\epsilon - \epsilon^*)\, F'(p^*)^L$", xlim=(-1.6, 1.6),
               ylabel=r"$s^{aL}\, C(L)/C(0)$, across the root")  # fmt: skip
for ax, letter in zip(axes.ravel(), "abcdef", strict=True):
    ax.set_title(letter, loc="left", fontweight="bold", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
axes[0, 0].legend(fontsize=7, frameon=False, title="lines: two-state chain", title_fontsize=7)
decay.legend(fontsize=7, frameon=False)
fig.savefig(folder / "susceptibility.png", dpi=160)

# %%
# Results, one file per process and depth, and the claim.

for part, found in (("", measured), ("_peak", near_peak)):
    for (noise, L), ds in found.items():
        results.save(ds, folder / f"susceptibility_{noise}_L{L}{part}.nc")
if options.summary:
    claims = {
        "peaks": [
            {"noise": noise, "L": L, "place": [p.place, p.place_error],
             "height": [p.height, p.height_error]}
            for (noise, L), p in peaks.items()
        ],
        "chain": {str(L): list(x) for L, x in chain.items()}, "critical": critical,
        "thresholds": {n: threshold(options.v, options.m, options.s, n) for n in processes[1:]},
        "ratio": ratios, "gap": gaps, "collapsed": collapsed, "plain": plain, "a": a, "nu": nu,
    }  # fmt: skip
    results.write_summary(options.summary, claims, {**asdict(options), "seed": Correlations.seed})
first, last = peaks["epsilon", options.depths[0]], peaks["epsilon", deepest]
others = ", ".join(
    f"{noise} peaks at {p.place:.3f} ± {p.place_error:.4f} with {p.height:.2f} ± "
    f"{p.height_error:.2f}"
    for noise, p in ((n, peaks[n, deepest]) for n in processes[1:])
)
print(f"wrote {folder / 'susceptibility.png'} and {len(measured) + len(near_peak)} results")
print(
    f"chi of the epsilon-process peaks at {last.place:.4f} ± {last.place_error:.4f} at "
    f"L = {deepest} ({first.place:.4f} at L = {options.depths[0]}; threshold {critical:.4f}) and "
    f"grows from {first.height:.2f} ± {first.height_error:.2f} to {last.height:.2f} ± "
    f"{last.height_error:.2f} (chain {chain[deepest][1]:.2f}); {others}; spread of the depths"
    f" {collapsed:.3f} when scaled, {plain:.3f} unscaled (a = {a:.4f}, nu = {nu:.4f})"
)
