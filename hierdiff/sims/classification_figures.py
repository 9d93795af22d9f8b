"""Figures and the table of zero-shot classification: budget, noise level, tree level, calls."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hierdiff._display import plus_minus, text_table
from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots import (
    BLUE,
    FONT,
    GREEN,
    GREY,
    OCHRE,
    ORANGE,
    PURPLE,
    Axes,
    Figure,
    legend,
    needs,
    panels,
    plt,
    shared_legend,
    sources,
    style,
    ticker,
)

__all__ = [
    "WEIGHT_COLOURS",
    "WEIGHT_LABELS",
    "accuracy_curves",
    "accuracy_table",
    "classification_figure",
]

WEIGHT_COLOURS = {
    "vdm": BLUE,
    "snr": ORANGE,
    "exp": GREEN,
    "uniform": "0.1",
    "late": PURPLE,
    "high": PURPLE,
    "learned": OCHRE,
}
"""Colour of a weight, the same in all figures."""
WEIGHT_LABELS = {
    "vdm": "|SNR'| (likelihood)",
    "snr": "SNR",
    "exp": "exp(-7t)",
    "uniform": "1",
    "late": "t > 0.6",
    "high": "0.4 < t < 0.8",
    "learned": "learned",
}
"""Weight as it is written in the legend of a figure."""

_MAKER = "Classification.predict or .measure"


def current_names(ds: xr.Dataset) -> xr.Dataset:
    """The dataset in today's names; in files of the first build ``level`` is the time t."""
    if "single" in ds and ds["single"].dims[-1:] == ("level",):
        ds = ds.rename({"level": "t"})
    renamed = {
        "tree_level": "level",
        "own_budget": "independent_budget",
        "unshared": "independent",
        "unshared_error": "independent_error",
        "unshared_by_grammar": "independent_by_grammar",
    }
    return ds.rename({k: v for k, v in renamed.items() if k in ds.variables or k in ds.dims})


def with_errors(*names: str, dims: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Variables and their standard errors."""
    return {f"{name}{end}": dims for name in names for end in ("", "_error")}


@checked
def accuracy_curves(*datasets: xr.Dataset, ax: Axes | None = None, shared: bool = True) -> Axes:
    """Accuracy against the budget: laws as lines, measurements as points with errors.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Classification.predict`` and ``.measure``.
    ax : matplotlib Axes, optional
    shared : bool
        Noise shared by the classes, or independent for every class.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If there is no dataset, or one lacks accuracies.

    Examples
    --------
    >>> from hierdiff.sims.zero_shot_classification import Classification
    >>> experiment = Classification(
    ...     v=4, m=2, L=2, grammars=2, data=16, budgets=(10, 30), strata=8,
    ...     independent_budgets=(4,), weightings=("vdm", "exp"), stages=(30,), keep=(1,))
    >>> ax = accuracy_curves(experiment.predict())
    >>> len(ax.lines)  # two weights and the ceiling
    3
    """
    name, dim = ("accuracy", "budget") if shared else ("independent", "independent_budget")
    parts = [part for whole in datasets for part in sources(current_names(whole))]
    if not parts:
        raise InvalidParameter(f"no dataset is given; give some from {_MAKER}")
    for ds in parts:
        needs(ds, with_errors(name, dims=("weighting", dim)), _MAKER)
        if str(ds.source.values) == "theory":
            needs(ds, {"bayes": ()}, _MAKER)
    ax = plt.subplots(figsize=(4.4, 3.4), layout="constrained")[1] if ax is None else ax
    for ds in parts:
        source = str(ds.source.values)
        for weight in map(str, ds.weighting.values):
            one, colour = ds.sel(weighting=weight), WEIGHT_COLOURS.get(weight, GREY)
            if source == "theory":
                ax.plot(ds[dim], one[name], color=colour, **style(source))
                continue
            ax.errorbar(ds[dim], one[name], one[f"{name}_error"], color=colour,
                        label=WEIGHT_LABELS.get(weight, weight), **style(source))  # fmt: skip
        if source == "theory":
            ax.axhline(float(ds.bayes), color="0.3", ls="--", lw=0.8)
            ax.text(float(ds[dim][0]), float(ds.bayes) + 0.01, "Bayes", fontsize=FONT, color="0.3")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set(ylim=(0, 1), ylabel="accuracy",
           xlabel=f"samples N, {'shared' if shared else 'independent'} noise")  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@checked
def classification_figure(theory: xr.Dataset, measured: xr.Dataset) -> Figure:
    """The figure of the study: budgets, single noise levels, levels of the tree, calls.

    Parameters
    ----------
    theory, measured : xarray.Dataset
        From ``Classification.predict`` and ``.measure``.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If the second dataset is a law, or a dataset lacks what is drawn.
    """
    law = sources(current_names(theory))[0]
    measured = sources(current_names(measured))[-1]
    if str(measured.source.values) == "theory":
        raise InvalidParameter("the last dataset is a law; put the measured one last")
    for ds in (law, measured):
        needs(ds, with_errors("accuracy", dims=("weighting", "budget")), _MAKER)
        needs(ds, with_errors("independent", dims=("weighting", "independent_budget")), _MAKER)
    needs(measured, with_errors("single", dims=("t",)), _MAKER)
    if "information" in measured:
        needs(measured, with_errors("information", dims=("t",)), _MAKER)
    for name in ("staged_calls", "pruned_calls", "calls_right", "calls_wrong"):
        if name in measured:
            needs(measured, with_errors(name, dims=()), _MAKER)
    if "level_accuracy" in measured:
        by_level = with_errors("level_accuracy", "level_bayes", dims=("level",))
        needs(measured, {**by_level, "confusion": ("level", "true", "answer")}, _MAKER)
    fig, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    accuracy_curves(theory, measured, ax=axes[0, 0])
    accuracy_curves(theory, measured, ax=axes[0, 1], shared=False)
    _single(measured, axes[0, 2])
    if "level_accuracy" in measured:
        _levels(measured, axes[1, 0])
        _confusion(measured, axes[1, 2])
    else:
        for ax in (axes[1, 0], axes[1, 2]):
            ax.remove()
    _calls(measured, axes[1, 1])
    words = ("shared noise; lines: limit laws", "independent noise", "a single noise level",
             "classes of every level", "denoiser calls until the answer",
             "wrong answers")  # fmt: skip
    drawn = [pair for pair in zip(axes.flat, words, strict=True) if pair[0] in fig.axes]
    panels([ax for ax, _ in drawn], *(text for _, text in drawn))
    shared_legend(fig, axes[0, 0], title="weight of the x0 error")
    return fig


def _single(ds: xr.Dataset, ax: Axes) -> None:
    pairs = [("single", BLUE, "squared error, one sample")]
    if "information" in ds:
        pairs.append(("information", GREY, "exact p(c | x_t)"))
    for name, colour, words in pairs:
        ax.plot(ds.t, ds[name], color=colour, lw=0.8)
        ax.errorbar(ds.t, ds[name], ds[f"{name}_error"], color=colour, label=words,
                    **style("simulation"))  # fmt: skip
    ax.set(xlabel="time t of the only sample", ylabel="accuracy", ylim=(0, 1))
    legend(ax)
    ax.spines[["top", "right"]].set_visible(False)


def _levels(ds: xr.Dataset, ax: Axes) -> None:
    place = ds.level.values
    ax.errorbar(place, ds.level_accuracy, ds.level_accuracy_error, color=ORANGE,
                label="denoising errors, weight SNR", **style("simulation"))  # fmt: skip
    ax.errorbar(place, ds.level_bayes, ds.level_bayes_error, color="0.3", fmt="_", ms=12,
                elinewidth=0.8, label="Bayes")  # fmt: skip
    ax.set(xlabel="level of the node that is the class", ylabel="accuracy", xticks=place)
    ax.set_ylim(top=1)
    legend(ax)
    ax.spines[["top", "right"]].set_visible(False)


def _confusion(ds: xr.Dataset, ax: Axes) -> None:
    """Errors only, all levels side by side."""
    parts = []
    for level in ds.level.values:
        table = ds.confusion.sel(level=level).values.astype(float)
        table = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        np.fill_diagonal(table, np.nan)
        parts += [table, np.full((len(table), 1), np.nan)]
    image = np.concatenate(parts[:-1], axis=1)
    drawn = ax.imshow(image, cmap="magma_r", aspect="auto", vmin=0)
    width = len(image) + 1
    ax.set_xticks([i * width + (width - 2) / 2 for i in range(ds.sizes["level"])],
                  [f"level {i}" for i in ds.level.values], fontsize=FONT)  # fmt: skip
    ax.set(yticks=[], ylabel="true symbol", xlabel="answer (right ones left blank)")
    ax.figure.colorbar(
        drawn, ax=ax, label="share of the answers", location="right", fraction=0.05, pad=0.02
    )


def _calls(ds: xr.Dataset, ax: Axes) -> None:
    bars = [("all samples", float(ds.budget[-1]), 0.0, GREY)]
    for name, words, colour in (
        ("staged_calls", "stages", OCHRE),
        ("pruned_calls", "t-tests", GREEN),
        ("calls_right", "... when right", GREEN),
        ("calls_wrong", "... when wrong", PURPLE),
    ):
        if name in ds:
            bars.append((words, float(ds[name]), float(ds[f"{name}_error"]), colour))
    names, values, errors, colours = zip(*bars, strict=True)
    ax.barh(range(len(bars)), values, xerr=errors, color=colours, height=0.6)
    for i, value in enumerate(values):
        ax.text(value, i, f"  {value:.0f}", va="center", fontsize=FONT)
    ax.set_yticks(range(len(bars)), names, fontsize=FONT)
    ax.invert_yaxis()
    ax.set(xlabel="denoiser calls per class", xlim=(0, 1.15 * max(values)))
    ax.spines[["top", "right"]].set_visible(False)


@checked
def accuracy_table(theory: xr.Dataset | None, measured: xr.Dataset) -> str:
    """Accuracy measured and, in brackets, predicted: a row per weight, a column per budget.

    Without a law (None) there are no brackets.

    Raises
    ------
    InvalidParameter
        If a dataset lacks accuracies.
    """
    for ds in (theory, measured):
        if ds is not None:
            needs(ds, with_errors("accuracy", dims=("weighting", "budget")), _MAKER)
    budgets = measured.budget.values
    if theory is not None and theory.budget.values.tolist() != budgets.tolist():
        raise InvalidParameter(
            f"budgets {theory.budget.values.tolist()} of the law are not those measured, "
            f"{budgets.tolist()}; predict at these"
        )
    rows = []
    for weight in measured.weighting.values:
        one = measured.sel(weighting=weight)
        pairs = zip(one.accuracy.values, one.accuracy_error.values, strict=True)
        cells = [plus_minus(p, e) for p, e in pairs]
        if theory is not None and weight in theory.weighting.values:
            law = theory.accuracy.sel(weighting=weight).values
            cells = [f"{cell} ({q:.3f})" for cell, q in zip(cells, law, strict=True)]
        rows.append([weight, *cells])
    return text_table(["weight", *(f"N = {n}" for n in budgets)], rows)
