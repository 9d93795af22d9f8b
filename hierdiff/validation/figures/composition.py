"""Figure of the network study of composition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hierdiff.checks import checked, instance, one_of, reals
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs

__all__ = ["network_composition"]

_MAKER = "NetworkComposition"
_COLOURS = {"A": "#b2182b", "B": "#e8a33d", "C": "#2a788e", "transitional": "#e5e0d8"}


_READINGS = (
    ("one_bump", "one bump", "k"), ("x_accuracy", "right x", "C0"), ("y_accuracy", "right y", "C1"),
    ("geodesic_rsa", "order (RSA along)", "C2"), ("interaction", "interaction share", "C4"),
)  # fmt: skip


def _worlds(name: str, value: Any) -> Mapping[str, xr.Dataset]:
    found: Mapping[str, xr.Dataset] = instance(name, value, Mapping)
    variables = dict.fromkeys(("phase", *(key for key, _, _ in _READINGS)), ("seed", "step"))
    for word, ds in found.items():
        needs(instance(f"{name}[{word!r}]", ds, xr.Dataset), variables, _MAKER)
        for phase in np.unique(ds.phase.values):
            one_of("phase", str(phase), _COLOURS)
    return found


@checked(bumps=_worlds)
def network_composition(
    bumps: Mapping[str, xr.Dataset],
    levels: xr.Dataset | None,
    images: NDArray[Any] | None,
    places: NDArray[Any] | None = None,
) -> Figure:
    """Phases and readings along training, generated bumps, and validity of the levels.

    Parameters
    ----------
    bumps : mapping of str to xarray.Dataset
        A world of labels each, as
        :class:`hierdiff.validation.studies.composition.NetworkComposition` returns them.
    levels : xarray.Dataset, optional
        The same for strings.
    images : array [k, h, w], optional
        Bumps that the network of the last world has made at the end.
    places : array [k, 2], optional
        Where they were asked for, x and y in pixels; marked by a cross.

    Returns
    -------
    matplotlib Figure
    """
    if levels is not None:
        needs(levels, {"valid": ("seed", "step", "level")}, _MAKER)
    if images is not None:
        reals("images", images, ndim=3)
        if len(images) < 2 or not images.size:
            raise InvalidParameter(f"images has shape {images.shape}; give [k >= 2, h, w]")
        if places is not None:
            reals("places", places, shape=(len(images), 2))
    names = list(bumps)
    count = len(names) + (images is not None) + (levels is not None)
    columns = min(count, 3)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3.4 * rows),
                                layout="constrained", squeeze=False)  # fmt: skip
    for spare in axes.ravel()[count:]:
        spare.set_axis_off()
    each = iter(axes.ravel())
    for name in names:
        _readings(next(each), bumps[name].isel(seed=0), name)
    if names:
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center",
                      ncols=5, fontsize=8, frameon=False)  # fmt: skip
    if images is not None:
        ax = next(each)
        half = len(images) // 2
        lines = [np.concatenate([np.pad(x, 1) for x in part], axis=1)
                 for part in (images[:half], images[half : 2 * half])]  # fmt: skip
        ax.imshow(np.concatenate(lines), cmap="gray", vmin=0, vmax=1)
        if places is not None:
            corner = np.array([(k % half, k // half) for k in range(2 * half)])
            x, y = (corner * (np.array(images.shape[:0:-1]) + 2) + 1 + places[: 2 * half]).T
            ax.plot(x, y, "+", color="#d7301f", ms=7)
        ax.set_axis_off()
        asked = "" if places is None else ", asked for at the crosses"
        kind = f", {names[-1]} labels" if names else ""
        ax.set_title(f"made at the end{kind}{asked}", fontsize=9)
    if levels is not None:
        _levels(next(each), levels)
    return figure


def _readings(ax: Axes, ds: xr.Dataset, name: str) -> None:
    steps = ds.step.values
    edges = np.concatenate([[0], (steps[1:] + steps[:-1]) / 2, [steps[-1]]])
    words = [str(x) for x in ds.phase.values]
    starts = [k for k, word in enumerate(words) if not k or word != words[k - 1]]
    for first, end in zip(starts, [*starts[1:], len(words)], strict=True):
        ax.axvspan(edges[first], edges[end], color=_COLOURS[words[first]], alpha=0.35, lw=0)
        if words[first] != "transitional":
            ax.text((edges[first] + edges[end]) / 2, 1.04, words[first], ha="center", fontsize=9)
    for key, label, colour in _READINGS:
        ax.plot(steps, ds[key], marker="o", ms=3, mfc="none", lw=0.9, color=colour, label=label)
    ax.set(xlabel="training step", ylim=(-0.1, 1.12), xlim=(0, steps[-1]))
    ax.set_title(f"{name} labels", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)


def _levels(ax: Axes, ds: xr.Dataset) -> None:
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, ds.sizes["level"]))
    for level, colour in zip(ds.level.values, colours, strict=True):
        one = ds.valid.sel(level=level)
        n = ds.sizes["seed"]
        error = one.std("seed", ddof=1) / np.sqrt(n) if n > 1 else None
        name = "whole strings" if level == 0 else f"level {level}"
        ax.errorbar(ds.step, one.mean("seed"), error, marker="o", ms=3, mfc="none", lw=0.9,
                    color=colour, label=name)  # fmt: skip
    ax.set(xlabel="training step", ylabel="valid nodes in strings it makes")
    ax.set_title("grammar: levels are learned from below", fontsize=9)
    ax.legend(fontsize=7, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
