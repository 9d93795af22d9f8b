"""Figures of the network study of alignment."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs

__all__ = ["network_alignment"]

_MAKER = "NetworkAlignment"
_LAYERS, _LEVELS = ("layer", "condition", "t"), ("level", "condition", "t")
_VARIABLES = {
    "layer_accuracy": _LAYERS, "layer_accuracy_error": _LAYERS, "held_out": _LAYERS,
    "held_out_error": _LAYERS, "ceiling": (),
}  # fmt: skip
_EXACT = {"accuracy": _LEVELS}


@checked
def network_alignment(network: xr.Dataset, exact: xr.Dataset | None = None) -> Figure:
    """The figure of the study: a column per condition.

    Parameters
    ----------
    network : xarray.Dataset
        From ``NetworkAlignment``.
    exact : xarray.Dataset, optional
        Exact beliefs at the same noise, for a second row: level by level, network and theory.

    Returns
    -------
    matplotlib Figure
    """
    needs(network, _VARIABLES, _MAKER)
    if exact is not None:
        needs(exact, _EXACT, _MAKER)
        needs(network, {**_EXACT, "accuracy_error": _LEVELS}, _MAKER)
        for dim in ("level", "condition"):
            if set(network[dim].values.tolist()) != set(exact[dim].values.tolist()):
                raise InvalidParameter(
                    f"the two datasets have different values of {dim!r}; give those of one run"
                )
    columns = [str(c) for c in network.condition.values]
    rows = 2 if exact is not None else 1
    fig, grid = plt.subplots(
        rows, len(columns), figsize=(4.9 * len(columns), 3.5 * rows), layout="constrained",
        sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    for j, condition in enumerate(columns):
        if exact is not None:
            _levels(grid[0, j], network, exact, condition)
        _layers(grid[-1, j], network, condition)
        grid[-1, j].set_xlabel("noise level $t$")
    for ax in grid.ravel():
        _references(ax, network)
        ax.spines[["top", "right"]].set_visible(False)
    for row in grid:
        row[0].set_ylabel("odd-one-out accuracy")
        row[0].legend(fontsize=6, frameon=False, ncols=3)
    grid[0, 0].set_ylim(0.15, max(0.8, float(network.ceiling) + 0.12))
    return fig


def _levels(ax: Axes, network: xr.Dataset, exact: xr.Dataset, condition: str) -> None:
    """Beliefs of each level: lines exact, circles read from the network."""
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.92, network.sizes["level"]))
    for level, colour in zip(network.level.values, colours, strict=True):
        line = exact.sel(level=level, condition=condition)
        ax.plot(line.t, line.accuracy, color=colour, lw=1.1, label=f"level {level}, exact")
        one = network.sel(level=level, condition=condition)
        ax.errorbar(one.t, one.accuracy, one.accuracy_error, color=colour, ls="none", marker="o",
                    mfc="none", ms=4, elinewidth=0.8, label=f"level {level}, network")  # fmt: skip
    ax.set_title(f"beliefs, {condition}", fontsize=9)


def _layers(ax: Axes, network: xr.Dataset, condition: str) -> None:
    """Zero-shot accuracy of raw layers."""
    names = [str(x) for x in network.layer.values]
    colours = plt.get_cmap("plasma")(np.linspace(0.0, 0.9, len(names)))
    for name, colour in zip(names, colours, strict=True):
        one = network.sel(layer=name, condition=condition)
        ax.errorbar(one.t, one.layer_accuracy, one.layer_accuracy_error, color=colour, lw=0.9,
                    ls="--" if name == "input" else "-", marker="o", mfc="none", ms=3,
                    elinewidth=0.7,
                    label=name if len(names) <= 14 else None)  # fmt: skip
    best = network.held_out.sel(condition=condition)
    if not np.isnan(best).all():
        at = best.argmax("layer")
        error = network.held_out_error.sel(condition=condition).isel(layer=at)
        ax.errorbar(network.t, best.max("layer"), error, color="k", ls=":", marker="s", mfc="none",
                    ms=3.5, elinewidth=0.7, label="best probe")  # fmt: skip
    ax.set_title(f"layers as they are, {condition}", fontsize=9)


def _references(ax: Axes, ds: xr.Dataset) -> None:
    """Ceiling, label alone and chance, each with its name."""
    lines = [("ceiling", float(ds.ceiling), "0.3", "-"), ("chance", 1 / 3, "0.7", "-")]
    if "label_only" in ds:
        lines.append(("label alone", float(ds.label_only), "tab:red", "--"))
    for text, value, colour, style in lines:
        ax.axhline(value, color=colour, lw=0.8, ls=style)
        below = text != "ceiling"
        ax.annotate(text, (0.78, value), xycoords=("axes fraction", "data"), ha="center",
                    fontsize=6, color=colour, xytext=(0, -8 if below else 3),
                    textcoords="offset points",
                    bbox={"boxstyle": "square,pad=0.1", "fc": "w", "ec": "none",
                          "alpha": 0.8})  # fmt: skip
