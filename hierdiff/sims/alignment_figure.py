"""Figures of the alignment question: odd-one-out accuracy against noise, level by level."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots import (
    FONT,
    PURPLE,
    Axes,
    Figure,
    legend,
    level_colours,
    needs,
    panel,
    pick,
    plt,
    shared_legend,
    sources,
    style,
)

__all__ = ["alignment", "alignment_figure", "layers_figure"]

_MAKER = "Alignment.predict or .measure"


@checked
def alignment(
    *datasets: xr.Dataset,
    ax: Axes | None = None,
    condition: str = "unconditional",
    quantity: str = "accuracy",
) -> Axes:
    """One curve per level against the noise level, with ceiling, chance and the label alone.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Alignment.predict`` and ``.measure``.
    ax : matplotlib Axes, optional
    condition : str
        "unconditional" or "class given".
    quantity : str
        "accuracy", or "held_out" of the probe.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If there is no dataset, or one lacks the quantity or the condition.

    Examples
    --------
    >>> from hierdiff.sims.alignment import Alignment
    >>> small = Alignment(L=2, weights=(1, 1, 1), objects=20, triplets=50, grammars=2)
    >>> len(alignment(small.measure()).lines) > 3
    True
    """
    parts = [part for whole in datasets for part in sources(whole)]
    if not parts:
        raise InvalidParameter(f"no dataset is given; give some from {_MAKER}")
    plane = ("condition", "level", "t")
    for ds in parts:
        needs(ds, {quantity: plane, f"{quantity}_error": plane}, _MAKER)
        if str(ds.source.values) != "theory":
            needs(ds, {"ceiling": (), "label_only": ()}, _MAKER)
        pick(ds, condition=condition)
    ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")[1] if ax is None else ax
    for ds in parts:
        source = str(ds.source.values)
        colours = level_colours(ds.sizes["level"])
        for level, colour in zip(ds.level.values, colours, strict=True):
            one = ds.sel(level=level, condition=condition)
            if source == "theory":
                ax.axhline(float(one[quantity][0]), color=colour, ls=":", lw=1)
                continue
            look = {**style(source), "ls": "-", "lw": 0.8, "label": f"level {level}"}
            ax.errorbar(one.t, one[quantity], one[f"{quantity}_error"], color=colour, **look)
        if source != "theory":
            ax.axhline(float(ds.ceiling), color="0.3", lw=0.8)
            ax.axhline(float(ds.label_only), color=PURPLE, ls="--", lw=0.8)
    ax.axhline(1 / 3, color="0.55", lw=0.8)
    ax.set(xlabel=str(parts[-1].t.attrs["long_name"]), ylabel="odd-one-out accuracy",
           ylim=(0.15, 0.8))  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@checked
def alignment_figure(*datasets: xr.Dataset) -> Figure:
    """The figure of the study: without and with the class.

    Parameters
    ----------
    *datasets : xarray.Dataset
        As for :func:`alignment`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        As :func:`alignment`.

    Examples
    --------
    >>> from hierdiff.sims.alignment import Alignment
    >>> small = Alignment(L=2, weights=(1, 1, 1), objects=20, triplets=50, grammars=2)
    >>> len(alignment_figure(small.measure()).axes)
    2
    """
    for ds in datasets:
        for condition in ("unconditional", "class given"):
            needs(ds, {"condition": ("condition",)}, _MAKER)
            pick(ds, condition=condition)
    fig, axes = plt.subplots(1, 2, figsize=(8.8, 3.6), layout="constrained", sharey=True)
    for ax, condition in zip(axes, ("unconditional", "class given"), strict=True):
        alignment(*datasets, ax=ax, condition=condition)
        panel(ax, "a" if condition == "unconditional" else "b", condition)
    axes[1].set_ylabel("")
    axes[0].plot([], [], color="0.3", lw=0.8, label="ceiling")
    axes[0].plot([], [], color=PURPLE, ls="--", lw=0.8, label="label alone")
    axes[0].plot([], [], color="0.55", lw=0.8, label="chance")
    axes[0].plot([], [], color="k", ls=":", lw=1, label="latents known")
    shared_legend(fig, axes[0])
    return fig


# ------------------------------------------------------------------------------- by layer

_LAYERED = "Alignment.measure of a model with layers"
_LAYERS, _LEVELS = ("layer", "condition", "t"), ("level", "condition", "t")
_VARIABLES = {
    "layer_accuracy": _LAYERS, "layer_accuracy_error": _LAYERS, "held_out": _LAYERS,
    "held_out_error": _LAYERS, "ceiling": (),
}  # fmt: skip
_EXACT = {"accuracy": _LEVELS}


@checked
def layers_figure(network: xr.Dataset, exact: xr.Dataset | None = None) -> Figure:
    """The figure of the study: a column per condition.

    Parameters
    ----------
    network : xarray.Dataset
        From ``Alignment.measure`` of a model with layers.
    exact : xarray.Dataset, optional
        Exact beliefs at the same noise, for a second row: level by level, network and theory.

    Returns
    -------
    matplotlib Figure
    """
    needs(network, _VARIABLES, _LAYERED)
    if exact is not None:
        needs(exact, _EXACT, _LAYERED)
        needs(network, {**_EXACT, "accuracy_error": _LEVELS}, _LAYERED)
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
        legend(row[0])
    grid[0, 0].set_ylim(0.15, max(0.8, float(network.ceiling) + 0.12))
    return fig


def _levels(ax: Axes, network: xr.Dataset, exact: xr.Dataset, condition: str) -> None:
    """Beliefs of each level: lines exact, circles read from the network."""
    colours = level_colours(network.sizes["level"])
    for level, colour in zip(network.level.values, colours, strict=True):
        line = exact.sel(level=level, condition=condition)
        ax.plot(line.t, line.accuracy, color=colour, lw=1.1, label=f"level {level}, exact")
        one = network.sel(level=level, condition=condition)
        ax.errorbar(one.t, one.accuracy, one.accuracy_error, color=colour, ls="none", marker="o",
                    mfc="none", ms=4, elinewidth=0.8, label=f"level {level}, network")  # fmt: skip
    ax.set_title(f"beliefs, {condition}", fontsize=9, loc="left")


def _layers(ax: Axes, network: xr.Dataset, condition: str) -> None:
    """Zero-shot accuracy of raw layers."""
    names = [str(x) for x in network.layer.values]
    colours = level_colours(len(names), "layers")
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
    ax.set_title(f"layers as they are, {condition}", fontsize=9, loc="left")


def _references(ax: Axes, ds: xr.Dataset) -> None:
    """Ceiling, label alone and chance, each with its name."""
    lines = [("ceiling", float(ds.ceiling), "0.3", "-"), ("chance", 1 / 3, "0.45", "-")]
    if "label_only" in ds:
        lines.append(("label alone", float(ds.label_only), PURPLE, "--"))
    for text, value, colour, dashes in lines:
        ax.axhline(value, color=colour, lw=0.8, ls=dashes)
        below = text != "ceiling"
        ax.annotate(text, (0.78, value), xycoords=("axes fraction", "data"), ha="center",
                    fontsize=FONT, color=colour, xytext=(0, -8 if below else 3),
                    textcoords="offset points",
                    bbox={"boxstyle": "square,pad=0.1", "fc": "w", "ec": "none",
                          "alpha": 0.8})  # fmt: skip
