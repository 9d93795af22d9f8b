"""Figures from labelled results: theory is a line, simulation points, networks open markers.

``MPLBACKEND`` is inherited: a notebook sets it to a module that a program started from its terminal
cannot load, and importing matplotlib then fails.  A backend that cannot be loaded is therefore
replaced by Agg when this package first draws, and the programs of this package use Agg whatever the
environment says.  In a notebook its own backend stays.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff.checks import checked, one_of
from hierdiff.errors import InvalidParameter

__all__ = ["Axes", "Figure", "needs", "pick", "plt", "sources", "style", "ticker"]

__path__: list[str] = []  # old names below this one are found for one release

# matplotlib reads the variable when it is imported, fails for a backend that cannot be loaded, and
# cannot be imported after that: so the variable is set aside meanwhile
_wanted = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)

import matplotlib  # noqa: E402 (after the lines above)

if _wanted:
    try:
        matplotlib.rcParams["backend"] = _wanted
        if _wanted.startswith("module://"):
            importlib.import_module(_wanted.removeprefix("module://"))
    except (ValueError, ImportError):
        _wanted = "agg"
        matplotlib.rcParams["backend"] = _wanted
    os.environ["MPLBACKEND"] = _wanted

# not before the backend can be loaded
import matplotlib.pyplot as plt  # noqa: E402 (as said above)
from matplotlib import ticker  # noqa: E402 (as said above)
from matplotlib.axes import Axes  # noqa: E402 (as said above)
from matplotlib.figure import Figure  # noqa: E402 (as said above)

_WORDS = frozenset(
    {"band", "condition", "informed", "kernel", "layer", "learner", "model", "phase", "probe",
     "reader", "row", "split", "task", "weighting"}
)  # fmt: skip
"""Variables and dimensions of words; all others are numbers."""


@checked
def sources(ds: xr.Dataset) -> list[xr.Dataset]:
    """The parts of a dataset by their source; one dataset may hold several.

    Raises
    ------
    InvalidParameter
        If the dataset does not say where its numbers come from.
    """
    if "source" not in ds.coords or ds.source.ndim > 1:
        raise InvalidParameter(
            "the dataset has no coordinate 'source'; give one that results.label or a study made"
        )
    if ds.source.ndim == 0:
        return [ds]
    return [ds.isel(source=i) for i in range(ds.sizes["source"])]


@checked
def style(source: str) -> dict[str, Any]:
    """Keywords of ``plot`` and ``errorbar`` for a source."""
    if source == "theory":
        return {"ls": "-", "lw": 1.2}
    filled = {} if source == "simulation" else {"mfc": "none"}
    return {"ls": "none", "marker": "o", "ms": 3.2, "elinewidth": 0.8, **filled}


@checked
def needs(ds: xr.Dataset, variables: Mapping[str, tuple[str, ...]], maker: str) -> None:
    """Refuse a dataset that a figure cannot draw.

    Parameters
    ----------
    ds : xarray.Dataset
        Of one source.
    variables : mapping
        Dimensions by the name of a variable; each dimension with a coordinate.
    maker : str
        What makes such datasets, for the message.

    Raises
    ------
    InvalidParameter
        If a variable is missing, has other dimensions, holds no numbers or none at all.
    """
    for name, dims in variables.items():
        if name not in ds.variables:
            listed = ", ".join(map(str, ds.data_vars))[:200]
            raise InvalidParameter(
                f"the dataset has no {name!r}; it has {listed or 'nothing'}; give one from {maker}"
            )
        found = ds[name]
        if set(found.dims) != set(dims) or not all(
            dim in ds.coords or dim == "grammar" for dim in dims
        ):
            raise InvalidParameter(
                f"{name!r} has dimensions {tuple(map(str, found.dims))}; the figure needs {dims} "
                f"with coordinates; give one from {maker}"
            )
        if not found.size or (found.dtype.kind in "iufb") == (name in _WORDS):
            raise InvalidParameter(
                f"{name!r} has shape {found.shape} and type {found.dtype}; the figure needs "
                f"{'words' if name in _WORDS else 'numbers'}, one at least"
            )
        for dim in dims:
            if dim != "grammar":  # numbers of no meaning, often not written down
                _along(dim, ds[dim])


def _along(dim: str, labels: xr.DataArray) -> None:
    """Refuse labels of a dimension that no selection can find."""
    words, values = labels.dtype.kind not in "iufb", labels.values
    if words != (dim in _WORDS) or len(set(values.tolist())) < values.size or (
        not words and bool((values != values).any())
    ):  # fmt: skip
        raise InvalidParameter(
            f"coordinate {dim!r} = {' '.join(str(values.tolist()).split())[:60]} must be different "
            f"{'words' if dim in _WORDS else 'numbers'}"
        )


@checked
def pick(ds: xr.Dataset, **labels: Any) -> xr.Dataset:
    """Select by labels along dimensions, or say which there are.

    Raises
    ------
    InvalidParameter
        For a label that is not there.
    """
    for dim, label in labels.items():
        ds = ds.sel({dim: one_of(dim, label, ds[dim].values.tolist())})
    return ds


def measured_last(
    datasets: Sequence[xr.Dataset], maker: str
) -> tuple[tuple[xr.Dataset, ...], xr.Dataset]:
    """Laws, and the measurement that comes last.

    Raises
    ------
    InvalidParameter
        If there is no dataset, or the last one is a law.
    """
    if not datasets:
        raise InvalidParameter(f"no dataset is given; give some from {maker}")
    for ds in datasets:
        sources(ds)
    if str(datasets[-1].source.values) == "theory":
        raise InvalidParameter("the last dataset is a law; put the measured one last")
    return tuple(ds for ds in datasets if str(ds.source.values) == "theory"), datasets[-1]


def panel_figure(panels: Sequence[tuple[str, Callable[[Axes], Axes]]]) -> Figure:
    """Panels side by side, each with a letter and a title above what a function draws.

    Raises
    ------
    InvalidParameter
        If there is nothing to draw.
    """
    if not panels:
        raise InvalidParameter("the last dataset has no part of the study; measure one first")
    columns = len(panels) if len(panels) < 4 else 3 if len(panels) < 7 else 4
    rows = -(-len(panels) // columns)
    figure = plt.figure(figsize=(3.9 * columns, 3.3 * rows), layout="constrained")
    for i, (title, draw) in enumerate(panels):
        ax = draw(figure.add_subplot(rows, columns, i + 1))
        ax.set_title(f"{chr(97 + i)}   {title}", loc="left", fontsize=9)
    return figure


def parts_with(
    datasets: Sequence[xr.Dataset], name: str, variables: Mapping[str, tuple[str, ...]], maker: str
) -> list[xr.Dataset]:
    """The datasets, one per source, that hold a variable; others as :func:`needs` says.

    Raises
    ------
    InvalidParameter
        If none does, or one that does lacks another of the variables.
    """
    found = [part for whole in datasets for part in sources(whole) if name in part]
    if not found:
        raise InvalidParameter(f"no dataset has {name!r}; measure that part first")
    for ds in found:
        needs(ds, variables, maker)
    return found


def axes_or_new(ax: Axes | None) -> Axes:
    """The axes, or those of a new figure with one panel."""
    return plt.subplots(figsize=(4.4, 3.4), layout="constrained")[1] if ax is None else ax


def colours(count: int) -> NDArray[Any]:
    """As many colours, from dark to light, none too light for a line."""
    found: NDArray[Any] = plt.get_cmap("viridis")(np.linspace(0.0, 0.85, count))
    return found


def curve(
    ax: Axes, x: xr.DataArray, y: xr.DataArray, error: xr.DataArray, source: str, colour: Any,
    text: str,
) -> None:  # fmt: skip
    """A law as a line, a measurement as points with errors and an entry in the legend."""
    if source == "theory":
        ax.plot(x, y, color=colour, **style(source))
    else:
        ax.errorbar(x, y, error, color=colour, label=text, **style(source))


def finish(ax: Axes, **labels: Any) -> Axes:
    """Labels of the axes, and a legend where something has a label."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=6.5, frameon=False)
    ax.set(**labels)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
