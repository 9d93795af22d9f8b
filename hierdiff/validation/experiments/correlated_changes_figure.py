"""Figure, table and numbers of networks on several grammars, beside exact inference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff._display import pair_text, plus_minus, text_table
from hierdiff.checks import checked, unchecked
from hierdiff.contracts import Summary
from hierdiff.plots import (
    BLUE,
    GUIDE,
    ORANGE,
    Axes,
    Figure,
    legend,
    level_colours,
    mark,
    needs,
    panels,
    plt,
    shade,
    ticker,
)
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.sims.metrics.string_changes import (
    READINGS,
    depth_gaps,
    half_loss,
    read_sampler,
    susceptibility_gap,
)
from hierdiff.validation.experiments.correlated_changes import GrammarNetworks

__all__ = ["changes_figure", "changes_summary"]

Array: TypeAlias = NDArray[Any]
Parts: TypeAlias = Mapping[int, xr.Dataset]

_MAKER = "NetworkPhaseTransition(GrammarNetworks())"
_GAPS = {"chi gap": "network - chain", "chi gap, one step": "one step - chain",
         "chi gap, chain": "chain - exact"}  # fmt: skip
_SLOPES = (("class_slope", "class", BLUE), ("leaf_slope", "leaf", ORANGE))


def _mean(values: Array) -> tuple[Array, Array]:
    """Mean over networks and Student's error, NaN where a network has no number."""
    good = np.isfinite(values).all(axis=0)
    filled = np.where(good, values, 0.0)
    mean, error = filled.mean(axis=0), student_error(filled)
    return np.where(good, mean, np.nan), np.where(good, error, np.nan)


def _data_score(ds: xr.Dataset, one: str, other: str) -> tuple[Array, Array]:
    """Mean difference of chi over these networks [t], and in units of its error over data.

    NaN at a level where a sampler has no chi, since no leaf of its samples changed.
    """
    gap, error = susceptibility_gap(ds, one, other)
    mean, own = gap.mean(axis=0), np.sqrt((error**2).sum(axis=0)) / len(gap)
    with np.errstate(invalid="ignore", divide="ignore"):
        return mean, np.where((own > 0) | np.isnan(own), mean / own, 0.0)


def _largest_score(ds: xr.Dataset, one: str, other: str) -> list[float | int | None]:
    """Difference of chi where its score is largest, the score, t, and the levels that have one."""
    gap, z = _data_score(ds, one, other)
    levels = int(np.isfinite(z).sum())
    if not levels:
        return [None, None, None, 0]
    worst = int(np.nanargmax(np.abs(z)))
    return [float(gap[worst]), float(z[worst]), float(ds.t[worst]), levels]


# ----------------------------------------------------------------------------------------- figure


@checked(parts=unchecked)
def changes_figure(
    source: GrammarNetworks, parts: Parts, theory: xr.Dataset, network: xr.Dataset
) -> Figure:
    """Retention, slopes and half losses; susceptibility, its network part, C(d).

    Parameters
    ----------
    source : GrammarNetworks
    parts : mapping of L to xarray.Dataset
        As :func:`~hierdiff.validation.experiments.correlated_changes.depth_changes` returns them.
    theory, network : xarray.Dataset
        Readings against depth of exact inference, and of the networks.

    Returns
    -------
    matplotlib Figure
    """
    for ds in (theory, network):
        needs(ds, dict.fromkeys((*READINGS, *(f"{k}_error" for k in READINGS)), ("L",)), _MAKER)
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    tints = dict(zip(parts, _tints(len(parts)), strict=True))
    _retention(axes[0, 0], source, parts, tints)
    _slopes(axes[0, 1], theory, network)
    _halves(axes[0, 2], source, parts, tints)
    _susceptibility(axes[1, 0], source, parts, tints, theory)
    _gaps(axes[1, 1], parts, tints)
    _distances(axes[1, 2], source, parts, tints, theory)
    words = (
        "class (full) and leaves (dashed)", "steepest loss per unit of t",
        "half lost, level by level", "leaves that change together", "against the exact chain",
        "two leaves against their distance",
    )  # fmt: skip
    panels(axes.ravel(), *words)
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _tints(n: int) -> list[Any]:
    return [shade(0.5)] if n == 1 else level_colours(n)


def _points(ax: Axes, x: Any, y: Array, error: Array, colour: Any, **look: Any) -> None:
    """Open markers of networks."""
    ax.errorbar(x, y, error, color=colour, ls="none", marker="o", ms=4.5, mfc="none",
                elinewidth=0.8, **look)  # fmt: skip


def _retention(ax: Axes, source: GrammarNetworks, parts: Parts, tints: Mapping[int, Any]) -> None:
    for L, ds in parts.items():
        exact, found = (read_sampler(ds, x, source.s).retention for x in ("exact", "network"))
        for level, line in ((0, "-"), (-1, "--")):
            ax.plot(ds.t, exact[:, level].mean(axis=0), line, color=tints[L], lw=1.2)
            mean, error = _mean(found[:, level])
            label = f"L = {L}, network (line: exact)" if level == 0 else None
            _points(ax, ds.t, mean, error, tints[L], label=label)
    ax.set(xlabel=str(ds.t.attrs["long_name"]), ylabel="symbol unchanged", ylim=(0, 1.03))
    legend(ax)


def _slopes(ax: Axes, theory: xr.Dataset, network: xr.Dataset) -> None:
    depths = network["L"].values
    for name, word, colour in _SLOPES:
        ax.plot(depths, theory[name], "-", marker=".", color=colour, lw=1.2, label=f"{word}, exact")
        _points(ax, depths, network[name].values, network[f"{name}_error"].values, colour,
                label=f"{word}, network")  # fmt: skip
    ax.set(xlabel="depth L", ylabel="steepest slope, per unit of t", xticks=depths)
    ax.set(ylim=(0, None), xlim=(depths[0] - 0.4, depths[-1] + 0.4))
    legend(ax)


def _halves(ax: Axes, source: GrammarNetworks, parts: Parts, tints: Mapping[int, Any]) -> None:
    for L, ds in parts.items():
        height = L - np.arange(L + 1)
        exact, found = (_half_losses(ds, x, source.s) for x in ("exact", "network"))
        ax.plot(height, exact.mean(axis=0), "-", color=tints[L], lw=1.2)
        _points(ax, height, *_mean(found), tints[L], label=f"L = {L}, network (line: exact)")
    ax.set(xlabel="height of the level above the leaves", ylabel="half lost at t")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    legend(ax)


def _half_losses(ds: xr.Dataset, sampler: str, s: int) -> Array:
    """Where half of what can be lost is lost, [network, level]."""
    curves = read_sampler(ds, sampler, s).retention
    return np.array([[half_loss(ds.t.values, one) for one in rows] for rows in curves])


def _susceptibility(
    ax: Axes, source: GrammarNetworks, parts: Parts, tints: Mapping[int, Any], theory: xr.Dataset
) -> None:
    for L, ds in parts.items():
        chi = {x: read_sampler(ds, x, source.s).chi for x in map(str, ds.sampler.values)}
        ax.plot(ds.t, chi["exact"].mean(axis=0), "-", color=tints[L], lw=1.2)
        _points(ax, ds.t, *_mean(chi["network"]), tints[L], label=f"L = {L}, network (line: exact)")
        ax.plot(ds.t, chi["one step"].mean(axis=0), ":", color=tints[L], lw=1.2)
    ax.plot([], [], ":", color="0.4", lw=1.2, label="network, one step")
    ax.set(xlabel=str(ds.t.attrs["long_name"]), ylabel=r"susceptibility $\chi$")
    ax.axhline(1, **GUIDE)
    place = float(theory.threshold)
    if np.isfinite(place):
        mark(ax, place, rf"$t^* = {place:.3f}$, $L \to \infty$")
    legend(ax)


def _gaps(ax: Axes, parts: Parts, tints: Mapping[int, Any]) -> None:
    width = float(np.diff(next(iter(parts.values())).t).min())
    for k, (L, ds) in enumerate(parts.items()):
        shift = 0.15 * width * (k - (len(parts) - 1) / 2)
        for other, marker, label in (("network", "o", "network"), ("one step", "v", "one step")):
            mean, error = _mean(susceptibility_gap(ds, other, "chain")[0])
            ax.errorbar(ds.t + shift, mean, error, color=tints[L], ls="none", marker=marker, ms=4.5,
                        mfc="none", elinewidth=0.8, label=f"L = {L}, {label}")  # fmt: skip
    ax.axhline(0, **GUIDE)
    ax.set(xlabel=str(ds.t.attrs["long_name"]), ylabel=r"$\chi$ minus that of the exact chain")
    legend(ax)


def _distances(
    ax: Axes, source: GrammarNetworks, parts: Parts, tints: Mapping[int, Any], theory: xr.Dataset
) -> None:
    low = 1.0
    for L, ds in parts.items():
        exact, found = (read_sampler(ds, x, source.s) for x in ("exact", "network"))
        k = int(np.nan_to_num(exact.chi.mean(axis=0)).argmax())
        r = float(source.s) ** np.arange(1, L + 1)
        line = exact.correlation[:, 1:, k].mean(axis=0)
        mean, error = _mean(found.correlation[:, 1:, k])
        ax.plot(r, np.where(line > 0, line, np.nan), "-", color=tints[L], lw=1.2)
        # a lower end at or below zero has no place on a logarithmic axis
        lower = np.where(mean - error > 0, error, 0.999 * np.abs(mean))
        shown = np.where(mean > 0, mean, np.nan)
        _points(ax, r, shown, np.stack([lower, error]), tints[L],
                label=f"L = {L}, network, t = {float(ds.t[k]):g}")  # fmt: skip
        low = min(low, float(np.nanmin([*shown, *line[line > 0]], initial=1.0)))
    a = float(theory.decay_limit)
    if np.isfinite(a):
        r = float(source.s) ** np.arange(1, max(parts) + 1)
        ax.plot(r, 0.9 * (r / r[0]) ** -a, "k:", lw=1, label=rf"$r^{{-a}}$, $a = {a:.2f}$")
    ax.set(xscale="log", yscale="log", ylim=(low / 3, 1.3))
    ax.set_xticks(r, [f"{x:.0f}" for x in r])
    ax.minorticks_off()
    ax.set(xlabel="distance $r = s^d$ (leaves)", ylabel=r"$C(d)/C(0)$ at the largest $\chi$")
    legend(ax)


# ---------------------------------------------------------------------------------------- summary


@checked(parts=unchecked)
def changes_summary(
    source: GrammarNetworks, parts: Parts, theory: xr.Dataset, network: xr.Dataset
) -> Summary:
    """Slopes, maxima and half losses by depth, and how far networks are from exact inference.

    Parameters
    ----------
    source, parts, theory, network
        As for :func:`changes_figure`.

    Returns
    -------
    Summary
    """
    values = _values(source, parts, theory, network)
    rows, scores = [], []
    for L, row in values["depths"].items():
        for name in READINGS:
            cells = [pair_text(row[name][k]) for k in ("exact", "network", "minus chain")]
            rows.append([L, name.replace("_", " "), *cells])
        for word in ("chi gap", "chi gap, one step", "chi gap, chain"):
            gap, z, t, levels = row[word]
            cells = ["-"] * 3 if gap is None else [f"{gap:+.3f}", f"{z:+.1f}", f"{t:g}"]
            scores.append([L, _GAPS[word], *cells, f"{levels} of {len(values['t'])}"])
    other = [[L, f"{min(row['valid']['network']):.3f}", f"{row['cpu seconds']:.0f}"]
             for L, row in values["depths"].items()]  # fmt: skip
    e = values["exponents"]
    limits = ", ".join(f"{k} = {plus_minus(*e[k])}" for k in e)
    tables = (
        text_table(["L", "", "exact", "network", "network - chain"], rows, keys=2),
        text_table(["L", "chi", "largest", "z over data", "at t", "levels with chi"], scores,
                   keys=2),
        text_table(["L", "valid strings, at least", "CPU s of training"], other),
        f"infinitely deep trees: {limits}",
    )  # fmt: skip
    return Summary("\n\n".join(tables), _claim(source, values), values)


def _values(
    source: GrammarNetworks, parts: Parts, theory: xr.Dataset, network: xr.Dataset
) -> dict[str, Any]:
    """Numbers with errors, by depth."""
    depths: dict[str, Any] = {}
    one_step = depth_gaps(parts, source.s, "one step", "chain")
    for i, (L, ds) in enumerate(parts.items()):
        row: dict[str, Any] = {}
        for name in READINGS:
            row[name] = {
                "exact": _pair(theory, name, i), "network": _pair(network, name, i),
                "minus chain": _pair(network, f"minus_chain_{name}", i),
                "one step minus chain": [float(one_step[name][0][i]), float(one_step[name][1][i])],
            }  # fmt: skip
        samplers = [str(x) for x in ds.sampler.values]
        read = {x: read_sampler(ds, x, source.s) for x in samplers}
        row["retention"] = {x: _rounded(_mean(read[x].retention)) for x in samplers}
        row["chi"] = {x: _rounded(_mean(read[x].chi)) for x in samplers}
        k = int(np.nan_to_num(read["exact"].chi.mean(axis=0)).argmax())
        row["t of correlation"] = float(ds.t[k])
        row["correlation"] = {x: _rounded(_mean(read[x].correlation[..., k])) for x in samplers}
        row["valid"] = {x: read[x].valid.mean(axis=0).round(4).tolist() for x in samplers}
        row["half"] = {x: _rounded(_mean(_half_losses(ds, x, source.s))) for x in samplers}
        for word, one, other in (("chi gap", "network", "chain"),
                                 ("chi gap, one step", "one step", "chain"),
                                 ("chi gap, chain", "chain", "exact")):  # fmt: skip
            row[word] = _largest_score(ds, one, other)
        row["cpu seconds"] = float(network.cpu_seconds[i])
        depths[str(L)] = row
    names = {"threshold": "t*", "eigenvalue": "lambda", "decay_limit": "a",
             "leaf_growth": "lambda^2 / s"}  # fmt: skip
    return {
        "architecture": source.architecture, "networks": source.networks, "data": source.data,
        "v, m, s": [source.v, source.m, source.s], "noise": source.noise,
        "t": [float(t) for t in source.levels], "depths": depths,
        "exponents": {word: [float(theory[k]), float(theory[f"{k}_error"])]
                      for k, word in names.items()},
    }  # fmt: skip


def _pair(ds: xr.Dataset, name: str, i: int) -> list[float]:
    return [float(ds[name][i]), float(ds[f"{name}_error"][i])]


def _rounded(pair: tuple[Array, Array]) -> list[Any]:
    return [np.round(x, 4).tolist() for x in pair]


def _claim(source: GrammarNetworks, values: Mapping[str, Any]) -> str:
    """One sentence on the deepest trees, with the growth from the shallowest."""
    rows = values["depths"]
    first, last = str(source.depths[0]), str(source.depths[-1])

    def ends(name: str, who: str) -> str:
        cells = [pair_text(rows[L][name][who]) for L in dict.fromkeys((first, last))]
        return " to ".join(cells)

    depth = f"L = {first} to {last}" if first != last else f"L = {first}"
    return (
        f"{source.networks} {source.architecture} networks per depth, {depth}: steepest slope of "
        f"the class {ends('class_slope', 'network')} (exact {ends('class_slope', 'exact')}), of a "
        f"leaf {ends('leaf_slope', 'network')} ({ends('leaf_slope', 'exact')}); chi at most "
        f"{ends('peak_height', 'network')} ({ends('peak_height', 'exact')}) at t = "
        f"{ends('peak_place', 'network')} ({ends('peak_place', 'exact')}); one step alone has "
        f"{rows[last]['peak_height']['one step minus chain'][0]:+.2f} ± "
        f"{rows[last]['peak_height']['one step minus chain'][1]:.2f} beside the exact chain"
    )
