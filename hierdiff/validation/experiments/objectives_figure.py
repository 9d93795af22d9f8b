"""Figure of denoising and classifying networks at the same odd-one-out triplets."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hierdiff.checks import checked
from hierdiff.plots import (
    PALETTE,
    Axes,
    Figure,
    level_colours,
    needs,
    panels,
    plt,
    shared_legend,
)
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.validation.experiments.objectives import OBJECTIVES

__all__ = ["objectives_figure"]

_MAKER = "NetworkAlignment(GrammarNetworks())"


@checked
def objectives_figure(ds: xr.Dataset) -> Figure:
    """Profiles over the layers for every observer; latents, the class, and errors in common.

    Parameters
    ----------
    ds : xarray.Dataset
        As ``NetworkAlignment(GrammarNetworks()).measure`` returns it.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If the dataset lacks one of the variables.
    """
    plane = ("objective", "observer", "layer", "t")
    needs(ds, {"layer_accuracy": plane, "layer_accuracy_error": plane, "ceiling": ("observer",),
               "r2": ("objective", "layer", "level", "t"), "exact_r2": ("level", "t"),
               "exact_best": ("condition", "observer", "t")}, _MAKER)  # fmt: skip
    observers = [str(x) for x in ds.observer.values]
    columns = max(len(observers), 3)
    figure, grid = plt.subplots(2, columns, figsize=(4.3 * columns, 7.2), layout="constrained",
                                squeeze=False)  # fmt: skip
    for ax, name in zip(grid[0], observers, strict=False):
        _profile(ax, ds.sel(observer=name))
    for ax in grid[0][len(observers) :]:
        ax.set_visible(False)
    low = float(ds.layer_accuracy.min()) - 0.03
    for ax in grid[0]:
        ax.set_ylim(min(low, 0.3), float(ds.ceiling.max()) + 0.03)
    grid[0, 0].set_ylabel("odd-one-out accuracy")
    _latents(grid[1, 0], ds)
    _gains(grid[1, 1], ds)
    _consistency(grid[1, 2], ds)
    panels([*grid[0][: len(observers)], *grid[1][:3]],
           *(f"observers who weigh {name} levels" for name in observers),
           "latents by a linear map", "what the class adds", "errors in common")  # fmt: skip
    for ax in grid.ravel():
        ax.spines[["top", "right"]].set_visible(False)
    shared_legend(figure)
    return figure


_LOOKS = {
    "denoiser": (PALETTE[0], "o"), "denoiser, class given": (PALETTE[3], "D"),
    "classifier": (PALETTE[1], "s"), "untrained": (PALETTE[5], "x"),
}  # fmt: skip


def _profile(ax: Axes, ds: xr.Dataset) -> None:
    """Accuracy of every layer at its best noise level, in the order of the network."""
    names = _in_order([str(x) for x in ds.layer.values])
    place = np.arange(len(names))
    for objective, (colour, marker) in _LOOKS.items():
        one = ds.sel(objective=objective, layer=names)
        # one level for the curve: that of the highest accuracy of the objective
        i = int(one.layer_accuracy.max("layer").values.argmax())
        at = one.isel(t=i)
        ax.errorbar(place, at.layer_accuracy, at.layer_accuracy_error, color=colour, marker=marker,
                    mfc="none", ms=4.5, lw=1.0, capsize=2, label=objective)  # fmt: skip
    for value, words, style in (
        (float(ds.ceiling), "ceiling of the observers", "-"),
        (float(ds.exact_best.sel(condition="unconditional").isel(t=0)), "exact beliefs", "--"),
        (float(ds.label_only), "class alone", ":"),
    ):
        ax.axhline(value, color="0.25", lw=0.9, ls=style, label=words)
    ax.axhline(1 / 3, color="0.6", lw=0.8, label="chance")
    ax.set_xticks(place, names, rotation=45, ha="right")
    ax.set_xlabel("layer, in the order of the network")


def _in_order(names: list[str]) -> list[str]:
    """Layers from the input over the leaves and the root back to the leaves."""
    up = sorted((x for x in names if x.startswith("up ")), key=lambda x: -int(x.split()[1]))
    down = sorted((x for x in names if x.startswith("down ")), key=lambda x: int(x.split()[1]))
    rest = [x for x in names if x not in (*up, *down, "input", "output")]
    return [x for x in ("input", *up, *rest, *down, "output") if x in names]


def _latents(ax: Axes, ds: xr.Dataset) -> None:
    """R^2 of every level: the best layer of both objectives, and exact beliefs."""
    level = ds.level.values
    for i, (k, ls) in enumerate(((0, "-"), (len(ds.t) // 2, "--"))):
        t = float(ds.t[k])
        ax.plot(level, ds.exact_r2.isel(t=k), color="0.25", ls=ls, lw=1.1,
                label=f"exact $R^2$, t = {t:g}")  # fmt: skip
        for objective in ("denoiser", "classifier"):
            colour, marker = _LOOKS[objective]
            one = ds.sel(objective=objective).isel(t=k)
            at = one.r2.argmax("layer")
            ax.errorbar(level + 0.06 * (objective == "classifier"), one.r2.isel(layer=at),
                        one.r2_error.isel(layer=at), color=colour, marker=marker, ms=4.5,
                        mfc="none" if not i else colour, ls="none", capsize=2)  # fmt: skip
    ax.set(xlabel="level (0 the class)", ylabel="$R^2$ of the symbols, best layer",
           xticks=level, ylim=(0, 1.03))  # fmt: skip


def _gains(ax: Axes, ds: xr.Dataset) -> None:
    """What the class adds to the layers, and to exact beliefs."""
    inner = [str(x) for x in ds.layer.values if str(x) not in ("input", "output")]
    every = ds.layer_accuracy_by_network.sel(layer=inner).mean("layer")
    gain = every.sel(objective=OBJECTIVES[1]) - every.sel(objective=OBJECTIVES[0])
    exact = ds.exact_best.sel(condition="class given") - ds.exact_best.sel(
        condition="unconditional"
    )  # fmt: skip
    names = [str(x) for x in ds.observer.values]
    for name, colour in zip(names, level_colours(len(names)), strict=True):
        one = gain.sel(observer=name).transpose("run", "t").values
        ax.plot(ds.t, exact.sel(observer=name), color=colour, lw=1.1,
                label=f"exact gain, {name} levels")  # fmt: skip
        ax.errorbar(ds.t, one.mean(axis=0), student_error(one), color=colour, marker="o", ms=4.5,
                    mfc="none", ls="none", capsize=2,
                    label=f"networks, {name} levels")  # fmt: skip
    ax.axhline(0, color="0.6", lw=0.8)
    ax.set(xlabel="noise level t", ylabel="accuracy that the class adds")


def _consistency(ax: Axes, ds: xr.Dataset) -> None:
    """Error consistency at the lowest noise, by pair and observer, in the colours of the gains."""
    pairs = [str(x) for x in ds["pair"].values]
    place, colours = np.arange(len(pairs)), level_colours(ds.sizes["observer"])
    for j, name in enumerate(map(str, ds.observer.values)):
        one = ds.sel(observer=name).isel(t=0)
        ax.errorbar(one.kappa, place + 0.18 * (j - 1), xerr=one.kappa_error, ls="none", marker="o",
                    mfc="none", ms=4.5, capsize=2, color=colours[j])  # fmt: skip
    ax.axvline(0, color="0.6", lw=0.8)
    ax.set_yticks(place, pairs)
    ax.invert_yaxis()
    ax.set_xlabel(r"error consistency $\kappa$ at the lowest noise")
