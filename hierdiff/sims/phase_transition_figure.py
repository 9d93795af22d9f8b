"""Figures of the phase transition: all levels, and the class near its loss."""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NOISE, is_channel
from hierdiff.plots import (
    BLUE,
    FONT,
    Axes,
    Figure,
    legend,
    level_colours,
    mark,
    needs,
    panel,
    panels,
    plt,
    shared_legend,
    sources,
    style,
)

__all__ = [
    "class_transition",
    "phase_transition",
    "phase_transition_figure",
    "phase_transition_processes",
]

_WORDS = {
    "belief": "posterior probability of the true symbol",
    "retention": "probability that the symbol is unchanged",
}


_PANELS = ("belief in every level", "retention of every level", "class near its loss")
_MAKER = "PhaseTransition.predict or .measure"


def _parts(datasets: tuple[xr.Dataset, ...]) -> list[xr.Dataset]:
    parts = [part for whole in datasets for part in sources(whole)]
    if not parts:
        raise InvalidParameter(f"no dataset is given; give some from {_MAKER}")
    return parts


def _process(ds: xr.Dataset) -> str:
    """Name of the noise process, from the words at the axis."""
    words = str(ds.t.attrs.get("long_name", ""))
    found = re.search(r"of the (\S+) process", words)
    return found[1] if found else "epsilon"


def _symbol(process: str) -> str:
    """Letter of the noise level; the epsilon-process has its own."""
    return "t" if is_channel(NOISE.get(process)) else r"\epsilon"


def _axis(ax: Axes, ds: xr.Dataset, y: str) -> None:
    process = _process(ds)
    ax.set_xlabel(f"noise level ${_symbol(process)}$ ({process} process)")
    ax.set_ylabel(y)
    ax.set_xlim(float(ds.t.min()), float(ds.t.max()))
    ax.set_ylim(-0.02, 1.02)
    ax.spines[["top", "right"]].set_visible(False)


@checked
def phase_transition(
    *datasets: xr.Dataset, ax: Axes | None = None, quantity: str = "belief"
) -> Axes:
    """One curve per level against the noise level, with the thresholds drawn.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``PhaseTransition.predict`` and ``.measure``, or one from ``results.compare``.
    ax : matplotlib Axes, optional
    quantity : str
        "belief" or "retention".

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If a dataset lacks the quantity.

    Examples
    --------
    >>> from hierdiff.sims import PhaseTransition
    >>> ax = phase_transition(PhaseTransition(v=8, m=2, L=3, noise="epsilon").predict())
    >>> len(ax.lines) >= 4
    True
    """
    parts = _parts(datasets)
    for ds in parts:
        ends = ("",) if str(ds.source.values) == "theory" else ("", "_error")
        needs(ds, {f"{quantity}{end}": ("level", "t") for end in ends}, _MAKER)
        needs(ds, {"critical": ()} if "critical" in ds else {}, _MAKER)
    ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")[1] if ax is None else ax
    for ds in parts:
        source = str(ds.source.values)
        colours = level_colours(ds.sizes["level"])
        for level, colour in zip(ds.level.values, colours, strict=True):
            curve = ds[quantity].sel(level=level)
            label = _level_name(int(level), ds.sizes["level"]) if source != "theory" else None
            if source == "theory":
                ax.plot(ds.t, curve, color=colour, **style(source))
            else:
                error = ds[f"{quantity}_error"].sel(level=level)
                ax.errorbar(ds.t, curve, error, color=colour, label=label, **style(source))
        _axis(ax, ds, _WORDS.get(quantity, quantity))
        _mark_thresholds(ax, ds)
    return ax


def _level_name(level: int, count: int) -> str:
    if level == 0:
        return "class (level 0)"
    return f"leaves (level {level})" if level == count - 1 else f"level {level}"


def _mark_thresholds(ax: Axes, ds: xr.Dataset) -> None:
    symbol = _symbol(_process(ds))
    if "critical" in ds and bool(np.isfinite(ds.critical)):
        x = float(ds.critical)
        mark(ax, x, rf"${symbol}^* = {x:.4f}$")


@checked
def class_transition(*datasets: xr.Dataset, ax: Axes | None = None) -> Axes:
    """The belief in the class near its loss: mean, every grammar, and both thresholds.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``PhaseTransition.predict`` and ``.measure``.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If no dataset has a threshold.

    Examples
    --------
    >>> from hierdiff.sims import PhaseTransition
    >>> ax = class_transition(PhaseTransition(noise="epsilon").predict())
    >>> bool(ax.get_xlim()[0] > 0.5)
    True
    """
    parts = _parts(datasets)
    for ds in parts:
        ends = ("",) if str(ds.source.values) == "theory" else ("", "_error")
        needs(ds, {f"belief{end}": ("level", "t") for end in ends}, _MAKER)
        known: dict[str, dict[str, tuple[str, ...]]] = {
            "threshold": {"threshold": (), "threshold_error": ()},
            "critical": {"critical": ()},
            "belief_by_grammar": {"belief_by_grammar": ("grammar", "level", "t")},
        }
        for name, variables in known.items():
            needs(ds, variables if name in ds else {}, _MAKER)
    places = [float(ds.threshold) for ds in parts if "threshold" in ds]
    if not places:
        raise InvalidParameter("no dataset has a threshold; show all levels instead")
    if not np.isfinite(places[0]):
        raise InvalidParameter(f"threshold = {places[0]} is nowhere; show all levels instead")
    ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")[1] if ax is None else ax
    for ds in parts:
        source, curve = str(ds.source.values), ds.belief.isel(level=0)
        if source == "theory":
            ax.plot(ds.t, curve, color="k", label="theory, this depth", **style(source))
        else:
            if "belief_by_grammar" in ds:
                for one in ds.belief_by_grammar.isel(level=0):
                    ax.plot(ds.t, one, color=BLUE, lw=0.4, alpha=0.35, zorder=0, gid="faint")
            error = ds.belief_error.isel(level=0)
            ax.errorbar(
                ds.t, curve, error, color=BLUE, label=f"{source}, mean over grammars",
                **style(source),
            )  # fmt: skip
        _axis(ax, ds, "belief in the true class")
        if "threshold" in ds:
            _mark_half(ax, ds, source, float(ds.threshold) > min(places))
        _mark_thresholds(ax, ds)
    width = max(0.04, 0.16 * min(places[0], 1 - places[0]) + 0.02)
    ax.set_xlim(max(0.0, places[0] - width), min(1.0, places[0] + width))
    legend(ax)
    return ax


def _mark_half(ax: Axes, ds: xr.Dataset, source: str, right: bool) -> None:
    """The place where the class is half lost, in words on the side away from the other one."""
    x, error = float(ds.threshold), float(ds.threshold_error)
    text = f"{x:.4f}" + (f" ± {error:.4f}" if error else "")
    colour, lift = ("k", -16) if source == "theory" else (BLUE, -4)
    ax.plot([x], [0.5], marker="D", ms=4, color=colour, mfc="white", zorder=5, ls="none")
    ax.annotate(
        text, (x, 0.5), (8 if right else -8, -lift if right else lift),
        textcoords="offset points", ha="left" if right else "right", fontsize=FONT, color=colour,
    )  # fmt: skip


@checked
def phase_transition_processes(*pairs: tuple[xr.Dataset, ...]) -> Figure:
    """All processes side by side: every level above, the class near its loss below.

    Parameters
    ----------
    *pairs : tuple of xarray.Dataset
        Prediction and measurement of one process each.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If there is no pair, or a dataset lacks what is drawn.

    Examples
    --------
    >>> from hierdiff.sims import PhaseTransition
    >>> one = (PhaseTransition(noise="epsilon").predict(),)
    >>> len(phase_transition_processes(one, one).axes)
    4
    """
    if not pairs:
        raise InvalidParameter(f"no pair is given; give tuples of datasets from {_MAKER}")
    for datasets in pairs:
        for ds in _parts(datasets):
            needs(ds, {"belief": ("level", "t")}, _MAKER)
    fig, axes = plt.subplots(
        2, len(pairs), figsize=(3.4 * len(pairs), 6.2), layout="constrained", squeeze=False
    )
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for (top, bottom), datasets in zip(axes.T, pairs, strict=True):
        phase_transition(*datasets, ax=top)
        panel(top, next(letters), f"{_process(datasets[0])}: all levels")
        if any("threshold" in ds for ds in datasets):
            class_transition(*datasets, ax=bottom)
            panel(bottom, next(letters), "class near its loss")
        else:
            bottom.remove()
    for ax in axes[:, 1:].ravel():
        ax.set_ylabel("")
    for ax in axes[1]:
        if ax.get_legend():
            ax.get_legend().remove()
    shared_legend(fig)
    return fig


@checked
def phase_transition_figure(*datasets: xr.Dataset) -> Figure:
    """The figure of the study: all levels, and the class near its loss.

    Parameters
    ----------
    *datasets : xarray.Dataset
        As for :func:`phase_transition`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If there is no dataset, or one lacks what is drawn.

    Examples
    --------
    >>> from hierdiff.sims import PhaseTransition
    >>> len(phase_transition_figure(PhaseTransition(noise="epsilon").predict()).axes)
    3
    """
    for ds in _parts(datasets):
        needs(ds, dict.fromkeys(("belief", "retention"), ("level", "t")), _MAKER)
    has_threshold = any("threshold" in ds for ds in datasets)
    fig, axes = plt.subplots(
        1, 2 + has_threshold, figsize=(4.2 * (2 + has_threshold), 3.7), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for ax, quantity in zip(axes[0], ("belief", "retention"), strict=False):
        phase_transition(*datasets, ax=ax, quantity=quantity)
    if has_threshold:
        class_transition(*datasets, ax=axes[0, 2])
    panels(axes[0], *_PANELS[: 2 + has_threshold])
    shared_legend(fig, axes[0, 0])
    return fig
