"""Figures of the representation question: features against noise, from population to memory."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hierdiff.checks import checked, one_of
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs, pick, sources, style

__all__ = ["MODEL_COLOURS", "representation", "representation_figure"]

MODEL_COLOURS = {
    "exact": "tab:blue",
    "labelled": "tab:green",
    "fitted": "tab:orange",
    "separate": "tab:red",
    "memorising": "tab:purple",
    "given": "tab:brown",
}
_LAWS = {
    "exact": ("0.1", "-", "population, exact"),
    "mean_field": ("0.55", "--", "population, mean field"),
}
_MAKER = "Representation.predict or .measure"
_PLANE = ("model", "split", "n_train", "sigma")
_WORDS = {
    "snr": "SNR of the features",
    "projection": "accuracy, largest class energy",
    "linear": "accuracy, linear probe",
    "quadratic": "accuracy, quadratic probe",
}


@checked
def representation(
    *datasets: xr.Dataset,
    ax: Axes | None = None,
    quantity: str = "snr",
    n_train: int | None = None,
    split: str = "test",
) -> Axes:
    """One quantity against noise: laws as lines, models as points with errors.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Representation.predict`` and ``.measure``; a law that does not tell the quantity is
        left out.
    ax : matplotlib Axes, optional
    quantity : {"snr", "projection", "linear", "quadratic"}
    n_train : int, optional
        Training points N, default the largest.
    split : {"test", "train"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If the quantity is unknown, no dataset has it, or one lacks what is drawn.

    Examples
    --------
    >>> from hierdiff.sims.representation import Representation
    >>> experiment = Representation(rank=2, dim=6)
    >>> ax = representation(experiment.predict(), experiment.predict("mean_field"))
    >>> len(ax.lines)
    2
    """
    one_of("quantity", quantity, _WORDS)
    parts = [part for whole in datasets for part in sources(whole) if quantity in part]
    if not parts:
        raise InvalidParameter(f"no dataset has the quantity {quantity!r}; measure it first")
    for ds in parts:
        ends = ("",) if str(ds.source.values) == "theory" else ("", "_error")
        needs(ds, {f"{quantity}{end}": _PLANE for end in ends}, _MAKER)
        pick(ds, split=split, **({} if n_train is None else {"n_train": n_train}))
    ax = plt.subplots(figsize=(4.4, 3.4), layout="constrained")[1] if ax is None else ax
    for ds in parts:
        here = ds.sel(split=split)
        here = here.isel(n_train=-1) if n_train is None else here.sel(n_train=n_train)
        source = str(ds.source.values)
        if source == "theory":
            law = one_of("law", str(ds.attrs.get("law", "exact")), _LAWS)
            colour, dashes, words = _LAWS[law]
            curve = here[quantity].isel(model=0)
            ax.plot(ds.sigma, curve, color=colour, label=words, **{**style(source), "ls": dashes})
            continue
        for name in here.model.values:
            one, colour = here.sel(model=name), MODEL_COLOURS.get(str(name), "tab:gray")
            error = one[f"{quantity}_error"]
            if name != "exact":  # no law runs through the points of the others
                ax.plot(ds.sigma, one[quantity], color=colour, lw=0.6, alpha=0.5)
            ax.errorbar(
                ds.sigma, one[quantity], error, color=colour, label=f"{name} model", **style(source)
            )  # fmt: skip
    ax.set(xscale="log", yscale="log" if quantity == "snr" else "linear")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    for axis in (ax.xaxis, ax.yaxis) if quantity == "snr" else (ax.xaxis,):
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.set(xlabel=r"noise level $\sigma$", ylabel=_WORDS[quantity])
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@checked
def representation_figure(*datasets: xr.Dataset) -> Figure:
    """The figure of the study: SNR for growing N above, what classifiers read below.

    Parameters
    ----------
    *datasets : xarray.Dataset
        As for :func:`representation`; the measured one comes last.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If nothing was measured, or a dataset lacks what is drawn.

    Examples
    --------
    >>> from hierdiff.sims.representation import Representation
    >>> experiment = Representation(rank=2, dim=6, n_train=(30, 60), sigmas=(), seeds=2, test=30,
    ...                             models=("exact",), quantities=("snr",))
    >>> len(representation_figure(experiment.predict(), experiment.measure()).axes)
    2
    """
    if not datasets:
        raise InvalidParameter(f"no dataset is given; give some from {_MAKER}")
    for ds in datasets:
        sources(ds)
    if str(datasets[-1].source.values) == "theory":
        raise InvalidParameter("the last dataset is a law; put the measured one last")
    needs(datasets[-1], {"snr": _PLANE}, _MAKER)
    sizes = datasets[-1].n_train.values
    shown = sizes[np.unique(np.linspace(0, len(sizes) - 1, min(3, len(sizes))).astype(int))]
    below = [q for q in ("projection", "linear", "quadratic") if q in datasets[-1]]
    columns = max(len(shown), len(below))
    rows = 1 + bool(below)
    fig = plt.figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    letters = iter("abcdef")
    for i, n in enumerate(shown):
        ax = fig.add_subplot(rows, columns, i + 1)
        representation(*datasets, ax=ax, n_train=int(n))
        ax.set_title(f"{next(letters)}   N = {n}", loc="left", fontsize=9)
        if i == 0:
            ax.legend(fontsize=6, frameon=False, loc="lower left")
    middle = int(shown[len(shown) // 2])
    for i, q in enumerate(below):
        ax = fig.add_subplot(rows, columns, columns + i + 1)
        representation(*datasets, ax=ax, quantity=q, n_train=middle)
        ax.set_title(f"{next(letters)}   N = {middle}", loc="left", fontsize=9)
    return fig
