"""Figures of the composition question: cost of levels, strings of partial knowledge, kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from hierdiff.checks import checked, one_of
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs, pick, sources, style

__all__ = [
    "composition",
    "composition_curves",
    "composition_figure",
    "composition_kernels",
    "composition_phases",
    "composition_strings",
]

_LAWS = {
    "correlations": ("--", r"$v\,m^{h+2}$"),
    "coincidences": ("-", "coincidences of contexts"),
    "next_token": (":", r"$v\,m^{2h+1}$, tokens only"),
}
_GIVEN = {"label": "class given", "no label": "class not given"}
_PHASES = ("A", "transitional", "B", "C")
_PHASE_COLOURS = ("#b2182b", "#e8e4dc", "#e8a33d", "#2a788e")


_MAKER = "Composition.predict or .measure"


def _with_errors(*names: str, dims: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Variables and their standard errors."""
    return {f"{name}{end}": dims for name in names for end in ("", "_error")}


_NEEDED: dict[str, dict[str, tuple[str, ...]]] = {
    "samples": {
        **_with_errors("samples", dims=("learner", "height", "m")),
        **_with_errors("exponent", dims=("learner", "height")),
    },
    "accuracy": {"accuracy": ("learner", "height", "m", "scaled")},
    "validity": {
        **_with_errors("validity", dims=("informed", "known", "t", "level")),
        **_with_errors("right", dims=("informed", "known", "t")),
    },
    "phase": {"phase": ("informed", "known", "t")},
    "kernel_samples": {
        **_with_errors("kernel_samples", dims=("kernel", "positions")),
        **_with_errors("kernel_exponent", dims=("kernel",)),
    },
}


def _parts(datasets: tuple[xr.Dataset, ...], name: str) -> list[xr.Dataset]:
    found = [part for whole in datasets for part in sources(whole) if name in part]
    if not found:
        raise InvalidParameter(f"no dataset has {name!r}; measure that part first")
    for ds in found:
        needs(ds, _NEEDED[name], _MAKER)
    return found


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(figsize=(4.4, 3.4), layout="constrained")[1] if ax is None else ax


def _colours(count: int) -> Any:
    return plt.get_cmap("viridis")(np.linspace(0.0, 0.85, count))


def _finish(ax: Axes, **words: Any) -> Axes:
    ax.set(**words)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _legend(ax: Axes, **options: Any) -> None:
    """A legend, where something has a label."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**options)


@checked
def composition(*datasets: xr.Dataset, ax: Axes | None = None, learner: str = "clusters") -> Axes:
    """Data that each height costs, against the number of rules per symbol.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Composition.predict`` and ``.measure``.  A law fixes slopes; the one of coincidences
        is drawn through the geometric mean of all points.
    ax : matplotlib Axes, optional
    learner : {"clusters", "nearest"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If no dataset has costs.

    Examples
    --------
    >>> from hierdiff.sims.composition import Composition
    >>> len(composition(Composition().predict("correlations")).lines)
    3
    """
    parts = _parts(datasets, "samples")
    for ds in parts:
        pick(ds, learner=learner)
    ax = _axes(ax)
    measured = [ds for ds in parts if str(ds.source.values) != "theory"]
    for ds in parts:
        source, table = str(ds.source.values), ds.samples.sel(learner=learner)
        law = str(ds.attrs.get("law", "correlations"))
        law = law if law in _LAWS else "correlations"
        scale = 1.0
        if law == "coincidences" and measured:
            ratio = measured[0].samples.sel(learner=learner) / table
            scale = float(np.exp(np.nanmean(np.log(ratio))))
        for height, colour in zip(ds.height.values, _colours(ds.sizes["height"]), strict=True):
            line = table.sel(height=height)
            if source == "theory":
                dashes, words = _LAWS[law]
                words += f", d = {scale:.1f}" if scale != 1 else ""
                ax.plot(
                    ds.m, scale * line, color=colour,
                    label=words if height == ds.height.values[0] else None,
                    **{**style(source), "ls": dashes},
                )  # fmt: skip
            else:
                error = ds.samples_error.sel(learner=learner, height=height)
                slope, spread = (
                    float(ds[f"exponent{end}"].sel(learner=learner, height=height))
                    for end in ("", "_error")
                )
                words = f"height {height}: slope {slope:.2f} ± {spread:.2f}"
                ax.errorbar(ds.m, line, error, color=colour, label=words, **style(source))
    ax.set(xscale="log", yscale="log", xticks=parts[0].m.values)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.minorticks_off()
    _legend(ax, fontsize=6.5, frameon=False)
    return _finish(ax, xlabel="rules per symbol $m$", ylabel="data $P^*$")


@checked
def composition_curves(
    measured: xr.Dataset, ax: Axes | None = None, learner: str = "clusters"
) -> Axes:
    """Learning curves against the data in units of the law, which should make them collapse.

    Parameters
    ----------
    measured : xarray.Dataset
        From ``Composition.measure``.
    ax : matplotlib Axes, optional
    learner : {"clusters", "nearest"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If the dataset has no learning curves.

    Examples
    --------
    >>> from hierdiff.sims.composition import Composition
    >>> small = Composition(v=8, multiplicities=(2, 3), heights=(1,), grammars=2, parts=("cost",))
    >>> len(composition_curves(small.measure()).lines)  # and one half
    3
    """
    ds = _parts((measured,), "accuracy")[0]
    pick(ds, learner=learner)
    ax = _axes(ax)
    widths = np.linspace(0.6, 1.8, ds.sizes["m"])
    for height, colour in zip(ds.height.values, _colours(ds.sizes["height"]), strict=True):
        for m, width in zip(ds.m.values, widths, strict=True):
            curve = ds.accuracy.sel(learner=learner, height=height, m=m)
            last = m == ds.m.values[-1]
            ax.plot(ds.scaled, curve, color=colour, lw=width,
                    label=f"height {height}, thicker for larger m" if last else None)  # fmt: skip
    ax.axhline(0.5, color="0.6", lw=0.6, ls=":")
    ax.set(xscale="log", ylim=(-0.05, 1.05))
    _legend(ax, fontsize=6.5, frameon=False)
    return _finish(
        ax, xlabel=r"data $P / (v\,m^{h+2})$", ylabel="score, share of that on infinite data"
    )


@checked
def composition_strings(
    *datasets: xr.Dataset, ax: Axes | None = None, informed: str = "label"
) -> Axes:
    """What models of growing knowledge generate from pure noise.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Composition.predict`` and ``.measure``.
    ax : matplotlib Axes, optional
    informed : {"label", "no label"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If no dataset has strings.

    Examples
    --------
    >>> from hierdiff.sims.composition import Composition
    >>> law = Composition(grammars=2, parts=("denoisers",)).predict()
    >>> len(composition_strings(law).lines)
    5
    """
    parts = _parts(datasets, "validity")
    for ds in parts:
        pick(ds, informed=informed, t=1.0)
    ax = _axes(ax)
    for ds in parts:
        source, here = str(ds.source.values), ds.sel(informed=informed).sel(t=1.0)
        depth = ds.sizes["level"] - 1
        colours = _colours(depth)
        for level in range(depth):
            words = "whole string valid" if level == 0 else f"valid at height {depth - level}"
            curve, error = here.validity.isel(level=level), here.validity_error.isel(level=level)
            _curve(ax, ds.known, curve, error, source, colours[level], words)
        _curve(ax, ds.known, here.right, here.right_error, source, "tab:red", "right class")
    ax.set(ylim=(-0.03, 1.03), xticks=parts[0].known.values)
    _legend(ax, fontsize=6.5, frameon=False)
    return _finish(ax, xlabel="height up to which rules are known", ylabel="share, from pure noise")


def _curve(
    ax: Axes, x: xr.DataArray, y: xr.DataArray, error: xr.DataArray, source: str, colour: Any,
    words: str,
) -> None:  # fmt: skip
    if source == "theory":
        ax.plot(x, y, color=colour, **style(source))
    else:
        ax.errorbar(x, y, error, color=colour, label=words, **style(source))


@checked
def composition_phases(
    measured: xr.Dataset, ax: Axes | None = None, informed: str = "label"
) -> Axes:
    """Phase of the strings, for every knowledge and noise level.

    Parameters
    ----------
    measured : xarray.Dataset
        From ``Composition.measure``.
    ax : matplotlib Axes, optional
    informed : {"label", "no label"}

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If the dataset has no phases.

    Examples
    --------
    >>> from hierdiff.sims.composition import Composition
    >>> small = Composition(symbols=8, rules=2, depth=2, grammars=2, data=8, levels=3,
    ...                     parts=("denoisers",))
    >>> composition_phases(small.measure()).get_ylabel()
    'rules known up to height'
    """
    ds = _parts((measured,), "phase")[0]
    names = pick(ds, informed=informed).phase.transpose("known", "t").values
    strange = [name for name in map(str, names.ravel()) if name not in _PHASES]
    if strange:
        raise InvalidParameter(f"phase = {strange[0]!r} is none of {', '.join(_PHASES)}")
    ax = _axes(ax)
    number = np.vectorize(_PHASES.index)(names)
    colours = ListedColormap(_PHASE_COLOURS)
    ax.pcolormesh(ds.t, ds.known, number, cmap=colours, vmin=-0.5, vmax=3.5, shading="nearest")
    for i, known in enumerate(ds.known.values):
        for name in _PHASES:
            where = np.flatnonzero(names[i] == name)
            if where.size and (name != "transitional" or where.size > 4):
                place = float(ds.t.values[where].mean())
                ax.text(place, known, name, ha="center", va="center", fontsize=7)
    ax.set(yticks=ds.known.values)
    return _finish(
        ax,
        xlabel=str(ds.t.attrs.get("long_name", "noise level t")),
        ylabel="rules known up to height",
    )


@checked
def composition_kernels(*datasets: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Labels that kernels need, against the number of values of each coordinate.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Composition.predict`` and ``.measure``.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If no dataset has kernels.

    Examples
    --------
    >>> from hierdiff.sims.composition import Composition
    >>> len(composition_kernels(Composition(parts=("kernels",)).predict()).lines)
    2
    """
    parts, ax = _parts(datasets, "kernel_samples"), _axes(ax)
    for ds in parts:
        source = str(ds.source.values)
        for kernel, colour in zip(ds.kernel.values, ("tab:blue", "tab:red"), strict=False):
            line = ds.kernel_samples.sel(kernel=kernel)
            slope, error = (
                float(ds[f"kernel_exponent{end}"].sel(kernel=kernel)) for end in ("", "_error")
            )
            words = f"{kernel}: slope {slope:.2f} ± {error:.2f}"
            spread = ds.kernel_samples_error.sel(kernel=kernel)
            _curve(ax, ds.positions, line, spread, source, colour, words)
    ax.set(xscale="log", yscale="log", xticks=parts[0].positions.values)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.minorticks_off()
    _legend(ax, fontsize=6.5, frameon=False)
    return _finish(ax, xlabel="values $N$ of each coordinate", ylabel="labels for the target")


@checked
def composition_figure(*datasets: xr.Dataset) -> Figure:
    """All parts that were measured, side by side.

    Parameters
    ----------
    *datasets : xarray.Dataset
        Laws, and the measurement last.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If no dataset is given, the last is a law, or nothing was measured.

    Examples
    --------
    >>> from hierdiff.sims.composition import Composition
    >>> small = Composition(positions=(4, 8), orders=2, parts=("kernels",))
    >>> len(composition_figure(small.predict(), small.measure()).axes)
    1
    """
    if not datasets:
        raise InvalidParameter(f"no dataset is given; give some from {_MAKER}")
    for ds in datasets:
        sources(ds)
    measured = datasets[-1]
    if str(measured.source.values) == "theory":
        raise InvalidParameter("the last dataset is a law; put the measured one last")
    for name in ("samples", "accuracy", "validity", "phase", "kernel_samples"):
        if name in measured or (name == "accuracy" and "samples" in measured):
            _parts((measured,), name)
    if "validity" in measured:
        for name in map(str, measured.informed.values):
            one_of("informed", name, _GIVEN)
    first = next((ds for ds in datasets if str(ds.source.values) == "theory"), None)
    laws = () if first is None else (first,)
    panels: list[tuple[str, Callable[[Axes], Axes]]] = []
    if "samples" in measured:
        panels += [
            ("cost of the levels", lambda ax: composition(*datasets, ax=ax)),
            ("learning curves", lambda ax: composition_curves(measured, ax)),
        ]
    if "validity" in measured:
        names = list(map(str, measured.informed.values))
        if measured.sizes["known"] > 1:
            for name in names:
                panels.append((f"strings, {_GIVEN[name]}", _strings_of(laws, measured, name)))
        for name in names:  # the class from a model without label is chance, and B its phase
            panels.append((f"phases, {_GIVEN[name]}", _phases_of(measured, name)))
    if "kernel_samples" in measured:
        panels.append(("two factors", lambda ax: composition_kernels(*laws, measured, ax=ax)))
    if not panels:
        raise InvalidParameter("the last dataset has no part of the study; measure one first")
    columns = len(panels) if len(panels) < 4 else 3 if len(panels) < 7 else 4
    rows = -(-len(panels) // columns)
    fig = plt.figure(figsize=(3.9 * columns, 3.3 * rows), layout="constrained")
    for i, (title, draw) in enumerate(panels):
        ax = draw(fig.add_subplot(rows, columns, i + 1))
        ax.set_title(f"{chr(97 + i)}   {title}", loc="left", fontsize=9)
        legend = ax.get_legend()
        if legend is not None and title == f"strings, {_GIVEN['no label']}":
            legend.remove()  # the next panel has the same one
    return fig


def _strings_of(
    laws: tuple[xr.Dataset, ...], measured: xr.Dataset, informed: str
) -> Callable[[Axes], Axes]:
    return lambda ax: composition_strings(*laws, measured, ax=ax, informed=informed)


def _phases_of(measured: xr.Dataset, informed: str) -> Callable[[Axes], Axes]:
    return lambda ax: composition_phases(measured, ax, informed)
