r"""When every level of a grammar is decided, and when the class of an Ising chain is.

*Levels.*  A symbol is decided where the free entropy of its branch crosses that of all its rivals
together (:mod:`hierdiff.theory.rhm.speciation`).  Density evolution predicts the noise level of the
crossing; U-turns measure where half of the symbols are kept, from exact posterior samples.

*Chains.*  Two classes of Ising chains are decided at half of log N where the class shows in the
mean of the spins (opposite fields), at a quarter where it shows in their covariance alone
(couplings of opposite sign), in the time t of the Ornstein-Uhlenbeck process
(:mod:`hierdiff.theory.ising.speciation`).
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
from hierdiff._display import experiment_html, pair_text, plus_minus, text_table
from hierdiff.checks import check_fields, checked, count, listed, natural, no_model, number, one_of
from hierdiff.checks import whole as whole_number
from hierdiff.contracts import DiffusionModel, NoiseProcess, Run, Summary
from hierdiff.data.ising_chains import IsingChains
from hierdiff.data.rhm import Grammar, affordable
from hierdiff.noise import noise_process
from hierdiff.plots import PALETTE, Axes, Figure, legend, level_colours, panels, plt, ticker
from hierdiff.seeds import stream
from hierdiff.sims.metrics.estimators import jackknife, student_error, student_factor
from hierdiff.tasks import Task, run_tasks
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.ising.speciation import (
    half_change_divergence,
    speciation_law,
    speciation_times,
)
from hierdiff.theory.rhm.speciation import (
    CRITERIA,
    first_fall,
    level_speciation,
    speciation_statistic,
)

__all__ = ["Speciation"]

Array = NDArray[Any]
KINDS = ("mean", "covariance")
SLOPES = {"mean": 0.5, "covariance": 0.25}
_BUDGET = 1 << 20  # spins that are drawn per chain length
_WORDS = {
    "speciation": "noise level at which a level is decided",
    "uturn": "noise level at which a U-turn keeps half of the symbols",
    "free_entropy": "time at which mean and fluctuation of the log-likelihood ratio meet",
    "chain_uturn": "time at which a U-turn changes the class half as often as at infinity",
    "slope": "slope of the time against log N",
}


@dataclass(frozen=True)
class Speciation:
    """Speciation of the levels of a grammar, and of Ising chains against their length.

    Notes
    -----
    Validity: levels: masking or uniform noise, errors over grammars; chains: Gaussian noise, errors
    by a jackknife, chains of different length are independent.

    Examples
    --------
    >>> small = Speciation(v=8, m=2, L=2, grammars=3, data=8, levels=9, spins=(32, 64), chains=80)
    >>> measured = small.measure(workers=1)
    >>> measured.uturn.dims, measured.free_entropy.dims
    (('level',), ('kind', 'N'))
    """

    name: ClassVar[str] = "speciation"
    _repr_html_ = experiment_html

    v: int = 16
    """Symbols per level of the grammars."""
    m: int = 4
    """Rules per symbol."""
    s: int = 2
    """Branching."""
    L: int = 7
    """Depth."""
    noise: Literal["masking", "uniform"] = "masking"
    """Noise process of the grammars."""
    grammars: int = 16
    """Random grammars."""
    data: int = 24
    """Data per grammar."""
    levels: int = 41
    """Noise levels between 0.02 and 0.98."""
    spins: tuple[int, ...] = (128, 256, 512, 1024, 2048, 4096)
    """Lengths N of the chains."""
    chains: int = 2000
    """Chains per length at most; long chains are fewer."""
    J: float = 0.5
    """Coupling of the chains whose classes differ in the sign of the coupling."""
    h: float = 0.3
    """Field, and coupling, of the chains whose classes differ in the sign of the field."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed, before anything is."""
        one_of("noise", self.noise, ("masking", "uniform"))
        check_fields(
            self,
            grammars=partial(whole_number, low=2, high=10**6),
            data=partial(whole_number, low=2, high=10**8),
            levels=partial(whole_number, low=5, high=10**5),
            spins=partial(listed, rule=partial(whole_number, low=30, high=2**20), least=2,
                          rising=True),
            chains=partial(whole_number, low=40, high=10**7),
            J=partial(number, low=0.01, high=5),
            h=partial(number, low=0.01, high=5),
            L=count,
            seed=natural,
        )  # fmt: skip
        affordable(RHM(self.v, self.m, self.s, self.L), self.data)

    @property
    def rhm(self) -> RHM:
        """The model of the grammars."""
        return RHM(self.v, self.m, self.s, self.L)

    @property
    def times(self) -> Array:
        """Noise levels of the grammars."""
        return np.linspace(0.02, 0.98, self.levels)

    def chain(self, kind: str, N: int) -> IsingChains:
        """Two classes of chains that differ in their means, or in their covariances alone."""
        one_of("kind", kind, KINDS)
        if kind == "mean":
            return IsingChains.by_field(N, self.h, self.h)
        return IsingChains.by_coupling(N, self.J)

    @results.tracked
    @checked
    def predict(
        self, law: Literal["free entropy"] = "free entropy", *, size: int = 4000
    ) -> xr.Dataset:
        """Levels by density evolution, chains by the divergence of a weak signal.

        Parameters
        ----------
        law : {"free entropy"}
        size : int
            Members of a population.

        Returns
        -------
        xarray.Dataset
            ``speciation`` (criterion, level), ``uturn`` (level), which is the crossing of the
            branch, ``free_entropy``, ``chain_uturn`` (kind, N), and ``slope`` (kind), 1/2 and 1/4.

        Notes
        -----
        Validity: grammars of many symbols; long chains.
        """
        one_of("law", law, ("free entropy",))
        noise = noise_process(self.noise, self.v)
        found = [
            level_speciation(self.rhm, noise, self.times, criterion=c, size=size, seed=self.seed)
            for c in CRITERIA
        ]
        value, error = (np.stack([getattr(x, w) for x in found]) for w in ("value", "error"))
        chains = [[self.chain(kind, N) for N in self.spins] for kind in KINDS]
        met, turned = (
            np.array([[speciation_law(chain, D) for chain in row] for row in chains])
            for D in (2.0, half_change_divergence())
        )
        slope = np.array([SLOPES[kind] for kind in KINDS])
        variables = {
            **_pair("speciation", ("criterion", "level"), value, error),
            **_pair("uturn", ("level",), value[0], error[0]),
            **_pair("free_entropy", ("kind", "N"), met, 0 * met),
            **_pair("chain_uturn", ("kind", "N"), turned, 0 * turned),
            **_pair("slope", ("kind",), slope, 0 * slope),
        }
        return self._labelled(variables, "theory")

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
        """Criteria and U-turns on drawn grammars, and both times of chains.

        Parameters
        ----------
        model, data : None
            Exact inference, on grammars and chains that are drawn here.
        folder, workers, cluster
            As in :func:`hierdiff.tasks.run_tasks`.

        Returns
        -------
        xarray.Dataset
            Those of :meth:`predict`, and ``kept`` (level, t), the share of symbols that a U-turn
            keeps.

        Notes
        -----
        Validity: exact inference; errors over grammars and blocks of chains.
        """
        no_model(
            self.name, model, data,
            "it draws grammars and chains of its own; U-turns of a model are those of UTurn",
        )  # fmt: skip
        common = {k: x for k, x in asdict(self).items()
                  if k not in ("grammars", "spins", "chains", "J", "h")}  # fmt: skip
        tasks = [
            Task(one_grammar, (self.rhm, self.noise, self.times, self.data, self.seed, g),
                 {"version": 1, "question": "speciation of levels", **common, "g": g})
            for g in range(self.grammars)
        ]  # fmt: skip
        for kind in KINDS:
            for N in self.spins:
                n = max(min(self.chains, _BUDGET // N), 40)
                words = {"version": 1, "question": "speciation of chains", "kind": kind, "N": N,
                         "n": n, "J": self.J, "h": self.h, "seed": self.seed}  # fmt: skip
                tasks.append(Task(one_length, (self.chain(kind, N), kind, N, n, self.seed), words))
        options: dict[str, Any] = {"folder": folder, "workers": workers, "cluster": cluster}
        found = run_tasks(tasks, name=self.name, **options)
        grammars = {k: np.stack([f[k] for f in found[: self.grammars]])
                    for k in ("kept", "share", "excess", "square")}  # fmt: skip
        chains = np.stack([f["times"] for f in found[self.grammars :]])
        variables = self._of_levels(grammars) | self._of_chains(chains)
        return self._labelled(variables, "simulation")

    def _of_levels(self, units: dict[str, Array]) -> dict[str, Any]:
        """Crossings of means over grammars; units are [grammar, level, t]."""

        def crossings(rows: Array) -> Array:
            means = {k: x[rows].mean(axis=0) for k, x in units.items()}
            return level_crossings(self.times, means, self.v)

        value, error = jackknife(crossings, self.grammars)
        error = error * student_factor(self.grammars)
        kept = units["kept"]
        return {
            **_pair("speciation", ("criterion", "level"), value[1:], error[1:]),
            **_pair("uturn", ("level",), value[0], error[0]),
            **results.with_error("kept", ("level", "t"), kept.mean(axis=0), student_error(kept),
                                 "share of symbols that a U-turn keeps"),
        }  # fmt: skip

    def _of_chains(self, found: Array) -> dict[str, Any]:
        """Both times with errors from rows [kind * N, 4], and slopes by weighted least squares."""
        table = found.reshape(len(KINDS), len(self.spins), 4)
        slopes = np.array([slope_of(self.spins, row[:, 2], row[:, 3]) for row in table])
        return {
            **_pair("free_entropy", ("kind", "N"), table[..., 0], table[..., 1]),
            **_pair("chain_uturn", ("kind", "N"), table[..., 2], table[..., 3]),
            **_pair("slope", ("kind",), slopes[:, 0], slopes[:, 1]),
        }

    def _labelled(self, variables: dict[str, Any], source: str) -> xr.Dataset:
        axes: dict[str, tuple[Any, str]] = {
            "criterion": (list(CRITERIA), "criterion of speciation"),
            "level": (np.arange(self.L + 1), "level, 0 is the class"),
            "kind": (list(KINDS), "where the class of a chain shows"),
            "N": (list(self.spins), "spins of a chain"),
            "t": (self.times, f"noise level t of the {self.noise} process"),
        }
        coords = results.coordinates(variables, axes)
        return results.label(variables, coords, source, results.provenance(asdict(self)))

    def datasets(
        self, run: Run, model: DiffusionModel | None = None, data: Any = None
    ) -> dict[str, xr.Dataset]:
        """Prediction and measurement."""
        measured = self.measure(model, data, **run.tasks(self.name))
        return {f"{self.name}_theory": self.predict(), self.name: measured}

    def figure(self, datasets: Mapping[str, xr.Dataset]) -> Figure:
        """U-turns of all levels, where the levels are decided, and chains against log N."""
        return draw(datasets[self.name], datasets[f"{self.name}_theory"])

    def summary(self, datasets: Mapping[str, xr.Dataset]) -> Summary:
        """Levels by criterion and by U-turn; times and slopes of chains beside the law."""
        ds, law = datasets[self.name], datasets[f"{self.name}_theory"]
        found = digest(ds, law)
        return Summary(table(ds, law, found), claim(found), found)


# ----------------------------------------------------------------------------------------- one task


def one_grammar(
    rhm: RHM, process: str, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """Symbols that U-turns keep, and moments of the beliefs of one drawn grammar, [level, t]."""
    grammar, noise = rhm.draw(stream(seed, "grammar", g)), noise_process(process, rhm.v)
    return grammar_levels(grammar, noise, times, data, seed, g)


def grammar_levels(
    grammar: Grammar, noise: NoiseProcess, times: Array, data: int, seed: int, g: int
) -> dict[str, Array]:
    """The same of a given grammar: ``kept``, ``share``, ``excess`` and ``square``, [level, t]."""
    truth = grammar.sample(data, stream(seed, "data", g))
    # one set of random numbers at all noise levels, so that curves are smooth
    randoms = noise.draw(truth.leaves.shape, stream(seed, "noise", g))
    out = {name: np.empty((grammar.L + 1, len(times))) for name in ("kept", "share", "excess",
                                                                    "square")}  # fmt: skip
    for j, t in enumerate(times):
        x_t = noise.corrupt_with(truth.leaves, float(t), randoms)
        found = posterior(grammar, noise.evidence(x_t, float(t)), threads=1)
        new = found.sample(stream(seed, "backward", g, j))
        for level, (law, old) in enumerate(zip(found.marginals, truth.levels, strict=True)):
            p = np.take_along_axis(law, old[..., None], axis=2)[..., 0].ravel()
            v = law.shape[2]
            excess = np.log(np.maximum(p, 1e-300) * v) / np.log(v)
            out["kept"][level, j] = (new.levels[level] == old).mean()
            out["share"][level, j] = speciation_statistic(p, v) + 0.5
            out["excess"][level, j], out["square"][level, j] = excess.mean(), (excess**2).mean()
    return out


def one_length(chain: IsingChains, kind: str, N: int, n: int, seed: int) -> dict[str, Array]:
    """Both times of chains of one length with their errors."""
    return {"times": np.array(speciation_times(chain, n, stream(seed, "chains", kind, N)))}


def level_crossings(times: Array, means: Mapping[str, Array], v: int) -> Array:
    """Noise levels of a U-turn and of the three criteria, [4, level], from curves [level, t]."""
    kept, share, excess, square = (means[k] for k in ("kept", "share", "excess", "square"))
    spread = np.sqrt(np.maximum(square - excess**2, 0))
    # of a symbol that is drawn at random 1 / v is kept
    curves = np.stack([kept - (1 + 1 / v) / 2, share - 0.5, excess - spread, excess - 0.5])
    return np.array([[first_fall(times, line) for line in table] for table in curves])


def slope_of(N: tuple[int, ...], t: Array, error: Array) -> tuple[float, float]:
    """Slope of times against log N by weighted least squares, and its error."""
    x, w = np.log(np.array(N, float)), 1 / np.maximum(error, 1e-12) ** 2
    away = x - (w * x).sum() / w.sum()
    square = (w * away**2).sum()
    return float((w * away * t).sum() / square), float(square**-0.5)


def _pair(name: str, dims: tuple[str, ...], value: Array, error: Array) -> Any:
    return results.with_error(name, dims, value, error, _WORDS[name])


# ------------------------------------------------------------------------------- table and figure


def digest(ds: xr.Dataset, law: xr.Dataset) -> dict[str, Any]:
    """Levels and slopes as numbers."""
    found: dict[str, Any] = {"level": ds.level.values.tolist()}
    found["uturn"] = [ds.uturn.values.tolist(), ds.uturn_error.values.tolist()]
    for c in CRITERIA:
        one, what = ds.sel(criterion=c), law.sel(criterion=c)
        gap = ds.uturn.values - one.speciation.values
        found[c] = {
            "measured": one.speciation.values.tolist(),
            "error": one.speciation_error.values.tolist(),
            "theory": what.speciation.values.tolist(),
            "largest distance from the U-turns": float(np.nanmax(np.abs(gap))),
            "distance at the root": float(gap[0]),
        }
    for kind in KINDS:
        one, what = ds.sel(kind=kind), law.sel(kind=kind)
        error = one.chain_uturn_error.values
        expected = slope_of(tuple(ds.N.values), what.chain_uturn.values, error)[0]
        slope, spread = float(one.slope), float(one.slope_error)
        wrong = SLOPES[KINDS[1 - KINDS.index(kind)]]
        z = (one.chain_uturn.values - what.chain_uturn.values) / error
        found[kind] = {
            "slope": [slope, spread], "slope, law at these N": expected, "limit": SLOPES[kind],
            "z": (slope - expected) / spread, "z, wrong slope": (slope - wrong) / spread,
            "N": ds.N.values.tolist(), "uturn": one.chain_uturn.values.tolist(),
            "error": error.tolist(), "z of the times": z.tolist(),
            "free entropy": one.free_entropy.values.tolist(),
            "free entropy, error": one.free_entropy_error.values.tolist(),
        }  # fmt: skip
    return found


def table(ds: xr.Dataset, law: xr.Dataset, found: Mapping[str, Any]) -> str:
    """A row per level, then a row per length of chains."""
    rows = []
    for l in ds.level.values:
        one, what = ds.sel(level=l), law.sel(level=l)
        cells = [plus_minus(one.uturn, one.uturn_error, digits=4)]
        for c in CRITERIA:
            x, y = one.sel(criterion=c), what.sel(criterion=c)
            cells += [
                plus_minus(x.speciation, x.speciation_error, digits=4),
                f"{float(y.speciation):.4f}",
            ]
        rows.append([l, *cells])
    levels = text_table(["level", "U-turn", *(w for c in CRITERIA for w in (c, "theory"))], rows)
    rows, slopes = [], []
    for kind in KINDS:
        for N in ds.N.values:
            one, what = ds.sel(kind=kind, N=N), law.sel(kind=kind, N=N)
            rows.append([
                kind, N, plus_minus(one.chain_uturn, one.chain_uturn_error, digits=4),
                f"{float(what.chain_uturn):.4f}",
                plus_minus(one.free_entropy, one.free_entropy_error, digits=4),
                f"{float(what.free_entropy):.4f}",
            ])  # fmt: skip
        row = found[kind]
        slopes.append([kind, pair_text(row["slope"], 4),
                       f"{row['slope, law at these N']:.4f}", f"{row['limit']:g}"])  # fmt: skip
    header = ["class in", "N", "U-turn", "law", "free entropy", "law"]
    chains = text_table(header, rows, keys=2)
    ends = text_table(["class in", "slope", "law at these N", "limit"], slopes)
    return f"{levels}\n\n{chains}\n\n{ends}"


def claim(found: Mapping[str, Any]) -> str:
    """How far the criteria are from the U-turns, and the slopes."""
    slopes = " and ".join(
        f"{found[k]['slope'][0]:.3f} ± {found[k]['slope'][1]:.3f} log N (class in the {k})"
        for k in KINDS
    )
    near, far = (found[c]["largest distance from the U-turns"] for c in CRITERIA[:2])
    return (
        f"levels are decided where the branch crosses its rivals, to {near:.3f} of U-turns (mean "
        f"equal to fluctuation: {far:.3f}); chains after {slopes}"
    )


def draw(ds: xr.Dataset, law: xr.Dataset) -> Figure:
    """Three panels: what U-turns keep, where levels are decided, chains."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.3), layout="constrained")
    _draw_kept(axes[0], ds)
    _draw_levels(axes[1], ds, law)
    _draw_chains(axes[2], ds, law)
    root, error = float(ds.uturn[0]), float(ds.uturn_error[0])
    gap = np.abs(ds.uturn - ds.speciation.sel(criterion=CRITERIA[0])).max()
    slopes = [f"{float(ds.slope.sel(kind=k)):.3f}" for k in KINDS]
    panels(axes, f"U-turns: class decided at t = {root:.3f} ± {error:.3f}",
           f"branch = rivals: to {float(gap):.3f} of U-turns",
           f"Ising chains: {' and '.join(slopes)} of log N")  # fmt: skip
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    for ax, title in zip(
        axes, ("level; dotted: branch", "crosses: measured", "slope against log N"), strict=True
    ):
        legend(ax, title)
    return figure


def _draw_kept(ax: Axes, ds: xr.Dataset) -> None:
    for l, colour in zip(ds.level.values, level_colours(ds.sizes["level"]), strict=True):
        one = ds.sel(level=l)
        ax.errorbar(ds.t, one.kept, one.kept_error, fmt="o-", ms=2, lw=0.8, color=colour,
                    label=f"{l}" + (" (class)" if l == 0 else ""))  # fmt: skip
        ax.axvline(float(one.sel(criterion="branch").speciation), color=colour, lw=0.8, ls=":")
    ax.set(xlabel=str(ds.t.attrs["long_name"]), ylabel="symbols that a U-turn keeps")


def _draw_levels(ax: Axes, ds: xr.Dataset, law: xr.Dataset) -> None:
    names = {"branch": "branch = rivals", "fluctuation": "mean = fluctuation",
             "information": "half of the information"}  # fmt: skip
    for c, colour in zip(CRITERIA, (PALETTE[0], PALETTE[3], PALETTE[2]), strict=True):
        ax.plot(law.speciation.sel(criterion=c), law.level, "-", lw=1.2, color=colour,
                label=f"{names[c]}, theory")  # fmt: skip
        one = ds.sel(criterion=c)
        ax.errorbar(one.speciation, ds.level, xerr=one.speciation_error, fmt="x", ms=4, lw=0.8,
                    color=colour)  # fmt: skip
    ax.errorbar(ds.uturn, ds.level, xerr=ds.uturn_error, fmt="ko", ms=4, label="U-turns")
    ax.set(xlabel=str(ds.t.attrs["long_name"]), ylabel="level (0: class)", yticks=ds.level.values)
    ax.invert_yaxis()


def _draw_chains(ax: Axes, ds: xr.Dataset, law: xr.Dataset) -> None:
    for kind, colour in zip(KINDS, (PALETTE[0], PALETTE[1]), strict=True):
        one, what = ds.sel(kind=kind), law.sel(kind=kind)
        for name, mark, style in (("chain_uturn", "o", "-"), ("free_entropy", "s", "--")):
            ax.plot(ds.N, what[name], style, lw=1, color=colour)
            words = (f"class in the {kind}: {float(one.slope):.3f} ± {float(one.slope_error):.3f}"
                     if name == "chain_uturn" else None)  # fmt: skip
            ax.errorbar(ds.N, one[name], one[f"{name}_error"], fmt=mark, ms=4, color=colour,
                        mfc=colour if name == "chain_uturn" else "w", label=words)  # fmt: skip
    ax.plot([], [], "s--", color="0.4", mfc="w", ms=4, label="mean = fluctuation (2 nats)")
    ax.plot([], [], "o-", color="0.4", ms=4, label="U-turns; lines: weak signal")
    ax.set(xscale="log", xlabel="spins N", ylabel="Ornstein-Uhlenbeck time t", xticks=ds.N.values)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_locator(ticker.NullLocator())
