"""Figures of the alignment question: odd-one-out accuracy against noise, level by level."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs, pick, sources, style

__all__ = ["alignment", "alignment_figure"]

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
        colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.92, ds.sizes["level"]))
        for level, colour in zip(ds.level.values, colours, strict=True):
            one = ds.sel(level=level, condition=condition)
            if source == "theory":
                ax.axhline(float(one[quantity][0]), color=colour, ls=":", lw=1)
                continue
            look = {**style(source), "ls": "-", "lw": 0.8, "label": f"level {level}"}
            ax.errorbar(one.t, one[quantity], one[f"{quantity}_error"], color=colour, **look)
        if source != "theory":
            ax.axhline(float(ds.ceiling), color="0.3", lw=0.8)
            ax.axhline(float(ds.label_only), color="tab:red", ls="--", lw=0.8)
    ax.axhline(1 / 3, color="0.7", lw=0.8)
    ax.set(xlabel="noise level $t$ (gaussian process)", ylabel="odd-one-out accuracy",
           ylim=(0.15, 0.8), title=condition)  # fmt: skip
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
    axes[1].set_ylabel("")
    axes[0].plot([], [], color="0.3", lw=0.8, label="ceiling")
    axes[0].plot([], [], color="tab:red", ls="--", lw=0.8, label="label alone")
    axes[0].plot([], [], color="0.7", lw=0.8, label="chance")
    axes[0].plot([], [], color="k", ls=":", lw=1, label="latents known")
    axes[0].legend(fontsize=6, frameon=False, ncols=3, loc="upper center")
    return fig
