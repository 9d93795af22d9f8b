"""Figures from labelled results: theory is a line, simulation points, networks open markers.

=================  ===============================================================================
what recurs        how it looks
=================  ===============================================================================
``FONT``           size of the smallest words, 8 pt: a figure of a column's width stays readable
``PALETTE``        colours of things that are named: told apart by colour-blind readers, each with a
                   contrast of at least 3 against white (WCAG 2.1, 1.4.11)
``shade``          colour of something that is ordered (levels of a tree, depths), first dark; no
                   shade is too light for a line on white
``GUIDE``          thresholds, chance, limits: thin, dashed, grey, drawn below the data
``legend``         below its panel, so never on a curve; ``shared_legend`` once for a whole figure
``panel``          a letter and what the panel shows
=================  ===============================================================================

``MPLBACKEND`` is inherited: a notebook sets it to a module that a program started from its terminal
cannot load, and importing matplotlib then fails.  A backend that cannot be loaded is therefore
replaced by Agg when this package first draws, and the programs of this package use Agg whatever the
environment says.  In a notebook its own backend stays.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import xarray as xr

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
from matplotlib.transforms import ScaledTranslation  # noqa: E402 (as said above)

FONT = 8.0
"""Smallest size of words, in points."""
PALETTE = ("#0072B2", "#C04F00", "#00795C", "#AA4499", "#7A5C00", "#555555")
"""Colours of things that are named, each with a contrast of 4.5 against white."""
BLUE, ORANGE, GREEN, PURPLE, OCHRE, GREY = PALETTE
GUIDE: dict[str, Any] = {"color": "0.35", "lw": 0.8, "ls": "--", "zorder": 0}
"""A line that marks a place: a threshold, chance, a limit."""
# a sequential map and the share of it that has a contrast of 3 against white; the second is for
# what is ordered and stands beside levels, such as distances or layers of a network
_MAPS = {"levels": ("plasma", 0.64), "layers": ("viridis", 0.59)}
_LETTER, _HANDLE = 0.064, 0.5  # inches of a letter of FONT points, and of a legend's line or marker

_WORDS = frozenset(
    {"band", "condition", "informed", "kernel", "layer", "learner", "model", "objective",
     "observer", "phase", "probe", "quantity", "reader", "row", "split", "task", "weighting"}
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
    # a last row of fewer panels fills the width, so that no cell is empty
    last = len(panels) - columns * (rows - 1)
    grid = figure.add_gridspec(rows, math.lcm(columns, last))
    for i, (title, draw) in enumerate(panels):
        row, k = divmod(i, columns)
        width = grid.ncols // (columns if row < rows - 1 else last)
        ax = draw(figure.add_subplot(grid[row, k * width : (k + 1) * width]))
        panel(ax, chr(97 + i), title)
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


def shade(share: float, scale: str = "levels") -> tuple[float, float, float, float]:
    """Colour of something at a share of an order, from 0 (dark) to 1 (light).

    ``scale`` is "levels", or "layers" for another order in the same figure.
    """
    name, end = _MAPS[scale]
    red, green, blue, alpha = plt.get_cmap(name)(end * min(max(float(share), 0.0), 1.0))
    return (red, green, blue, alpha)


def level_colours(count: int, scale: str = "levels") -> list[tuple[float, float, float, float]]:
    """Shades of so many things in order."""
    return [shade(k / max(count - 1, 1), scale) for k in range(count)]


def legend(ax: Axes, title: str = "", *, columns: int | None = None) -> None:
    """The legend of a panel below it, where no curve is; the figure grows by its height.

    Axes of a figure without constrained layout, the caller's own, keep their legend inside.  Call
    it after the labels of the axes are set.
    """
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    figure, spec = ax.get_figure(root=True), ax.get_subplotspec()
    own: dict[str, Any] = {"fontsize": FONT, "title_fontsize": FONT, "frameon": False}
    if figure is None or spec is None or figure.get_layout_engine() is None:
        ax.legend(handles, labels, title=title or None, **own)
        return
    grid = spec.get_gridspec()
    width = figure.get_figwidth() * len(spec.colspan) / grid.ncols - 0.6
    columns = columns or _columns(labels, width)
    # what lies below the axes: numbers and words of the abscissa, which a twin may have
    # every canvas that draws pixels has one, and the base class declares none
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    twins = [one for one in figure.axes if one.get_subplotspec() == spec]
    lows = [box.y0 for one in twins if (box := one.xaxis.get_tightbbox(renderer)) is not None]
    drop = max([ax.bbox.y0 - low for low in lows], default=0.0) / figure.dpi
    where = ax.transAxes + ScaledTranslation(0, -drop - 0.05, figure.dpi_scale_trans)
    ax.legend(handles, labels, title=title or None, loc="upper center", bbox_to_anchor=(0.5, 0),
              bbox_transform=where, ncols=columns, columnspacing=1.0, handlelength=1.5,
              handletextpad=0.4, borderaxespad=0.0, **own)  # fmt: skip
    rows = -(-len(handles) // columns) + bool(title)
    _grow(figure, spec.rowspan.start, 0.16 * rows + 0.05)


def shared_legend(figure: Figure, *axes: Axes, title: str = "") -> None:
    """One legend for the whole figure, below all panels; what has the same name appears once."""
    found: dict[str, Any] = {}
    for ax in axes or figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    columns = _columns(list(found), figure.get_figwidth() - 0.6)
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns,
                  fontsize=FONT, title=title or None, title_fontsize=FONT, frameon=False,
                  columnspacing=1.2, handlelength=1.5, handletextpad=0.4)  # fmt: skip
    _grow(figure, -1, 0.16 * (-(-len(found) // columns) + bool(title)) + 0.1)


def _columns(labels: Sequence[str], width: float) -> int:
    """How many entries of a legend stand side by side in so many inches."""
    # the source of a formula is about twice as long as what is drawn
    longest = max(len(x) / (2 if "$" in x else 1) for x in labels)
    return int(min(max(width // (_LETTER * longest + _HANDLE), 1), len(labels)))


def _grow(figure: Figure, row: int, height: float) -> None:
    """Room for the highest legend of a row of panels."""
    grown: dict[int, float] = figure.__dict__.setdefault("_legend_heights", {})
    more = max(height - grown.get(row, 0.0), 0.0)
    grown[row] = grown.get(row, 0.0) + more
    figure.set_figheight(figure.get_figheight() + more)


def mark(ax: Axes, x: float, words: str) -> None:
    """A labelled guide at a place of the abscissa; the words stand right of it, at the top.

    There are no words for a place outside the limits of the axes.
    """
    ax.axvline(x, **GUIDE)
    ax.annotate(
        words,
        (x, 0.99),
        (3, 0),
        xycoords=("data", "axes fraction"),
        va="top",
        ha="left",
        textcoords="offset points",
        fontsize=FONT,
        color="0.25",
        annotation_clip=True,
        bbox={"boxstyle": "square,pad=0.1", "fc": "w", "ec": "none", "alpha": 0.8},
    )


def panel(ax: Axes, letter: str, words: str = "") -> None:
    """A letter, and in words what the panel shows."""
    ax.set_title(rf"$\mathbf{{{letter}}}$   {words}".rstrip(), loc="left", fontsize=9)


def panels(axes: Iterable[Axes], *words: str) -> None:
    """Letters from a on, in the order of the panels, each with its words."""
    for k, (ax, one) in enumerate(zip(axes, words, strict=True)):
        panel(ax, chr(97 + k), one)


def plain_log(*axes: Any) -> None:
    """Numbers at 1, 2 and 5 of every decade of logarithmic axes, written without exponents."""
    for axis in axes:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())


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
    ax.set(**labels)
    ax.spines[["top", "right"]].set_visible(False)
    legend(ax)
    return ax
