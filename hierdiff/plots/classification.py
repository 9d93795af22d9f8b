"""Figures of classification: budget, noise level, levels of the tree, cues, binding."""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs, sources, style

__all__ = [
    "WEIGHT_COLOURS",
    "accuracy_table",
    "binding_figure",
    "classification",
    "classification_figure",
    "cue_conflict_figure",
]

WEIGHT_COLOURS = {
    "vdm": "tab:blue",
    "snr": "tab:orange",
    "exp": "tab:green",
    "uniform": "tab:red",
    "late": "tab:purple",
    "high": "tab:purple",
    "learned": "tab:brown",
}
_WORDS = {
    "vdm": "|SNR'| (likelihood)",
    "snr": "SNR",
    "exp": "exp(-7t)",
    "uniform": "1",
    "late": "t > 0.6",
    "high": "0.4 < t < 0.8",
    "learned": "learned",
}


_MAKER = "Classification.predict or .measure"


def _with_errors(*names: str, dims: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Variables and their standard errors."""
    return {f"{name}{end}": dims for name in names for end in ("", "_error")}


@checked
def classification(*datasets: xr.Dataset, ax: Axes | None = None, shared: bool = True) -> Axes:
    """Accuracy against the budget: laws as lines, measurements as points with errors.

    Parameters
    ----------
    *datasets : xarray.Dataset
        From ``Classification.predict`` and ``.measure``.
    ax : matplotlib Axes, optional
    shared : bool
        Noise shared by the classes, or every class with noise of its own.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidParameter
        If there is no dataset, or one lacks accuracies.

    Examples
    --------
    >>> from hierdiff.sims.classification import Classification
    >>> experiment = Classification(
    ...     v=4, m=2, L=2, grammars=2, data=16, budgets=(10, 30), own_budgets=(4,), strata=8,
    ...     weightings=("vdm", "exp"), stages=(30,), keep=(1,))
    >>> ax = classification(experiment.predict())
    >>> len(ax.lines)  # two weights and the ceiling
    3
    """
    name, dim = ("accuracy", "budget") if shared else ("unshared", "own_budget")
    parts = [part for whole in datasets for part in sources(whole)]
    if not parts:
        raise InvalidParameter(f"no dataset is given; give some from {_MAKER}")
    for ds in parts:
        needs(ds, _with_errors(name, dims=("weighting", dim)), _MAKER)
        if str(ds.source.values) == "theory":
            needs(ds, {"bayes": ()}, _MAKER)
    ax = plt.subplots(figsize=(4.4, 3.4), layout="constrained")[1] if ax is None else ax
    for ds in parts:
        source = str(ds.source.values)
        for weight in map(str, ds.weighting.values):
            one, colour = ds.sel(weighting=weight), WEIGHT_COLOURS.get(weight, "tab:gray")
            if source == "theory":
                ax.plot(ds[dim], one[name], color=colour, **style(source))
                continue
            ax.errorbar(ds[dim], one[name], one[f"{name}_error"], color=colour,
                        label=_WORDS.get(weight, weight), **style(source))  # fmt: skip
        if source == "theory":
            ax.axhline(float(ds.bayes), color="0.3", ls="--", lw=0.8)
            ax.text(float(ds[dim][0]), float(ds.bayes) + 0.01, "Bayes", fontsize=7, color="0.3")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set(ylim=(0, 1), ylabel="accuracy",
           xlabel=f"samples N, noise {'shared' if shared else 'of each class'}")  # fmt: skip
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
    law = sources(theory)[0]
    measured = sources(measured)[-1]
    if str(measured.source.values) == "theory":
        raise InvalidParameter("the last dataset is a law; put the measured one last")
    for ds in (law, measured):
        needs(ds, _with_errors("accuracy", dims=("weighting", "budget")), _MAKER)
        needs(ds, _with_errors("unshared", dims=("weighting", "own_budget")), _MAKER)
    needs(measured, _with_errors("single", dims=("level",)), _MAKER)
    if "information" in measured:
        needs(measured, _with_errors("information", dims=("level",)), _MAKER)
    for name in ("staged_calls", "pruned_calls", "calls_right", "calls_wrong"):
        if name in measured:
            needs(measured, _with_errors(name, dims=()), _MAKER)
    if "level_accuracy" in measured:
        by_level = _with_errors("level_accuracy", "level_bayes", dims=("tree_level",))
        needs(measured, {**by_level, "confusion": ("tree_level", "true", "answer")}, _MAKER)
    fig, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    classification(theory, measured, ax=axes[0, 0])
    classification(theory, measured, ax=axes[0, 1], shared=False)
    axes[0, 1].legend(
        fontsize=7, frameon=False, ncols=2, loc="center", bbox_to_anchor=(0.5, 0.58),
        title="weight of the x0 error; lines: limit laws", title_fontsize=7,
    )  # fmt: skip
    _single(measured, axes[0, 2])
    if "level_accuracy" in measured:
        _levels(measured, axes[1, 0])
        _confusion(measured, axes[1, 2])
    else:
        axes[1, 0].set_axis_off()
        axes[1, 2].set_axis_off()
    _calls(measured, axes[1, 1])
    for letter, ax in zip("abcdef", axes.flat, strict=True):
        ax.set_title(letter, loc="left", fontsize=9, weight="bold")
    return fig


def _single(ds: xr.Dataset, ax: Axes) -> None:
    pairs = [("single", "tab:blue", "squared error, one sample")]
    if "information" in ds:
        pairs.append(("information", "0.4", "exact p(c | x_t)"))
    for name, colour, words in pairs:
        ax.plot(ds.level, ds[name], color=colour, lw=0.6, alpha=0.5)
        ax.errorbar(ds.level, ds[name], ds[f"{name}_error"], color=colour, label=words,
                    **style("simulation"))  # fmt: skip
    ax.set(xlabel="time t of the only sample", ylabel="accuracy", ylim=(0, 1))
    ax.legend(fontsize=7, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def _levels(ds: xr.Dataset, ax: Axes) -> None:
    place = ds.tree_level.values
    ax.errorbar(place, ds.level_accuracy, ds.level_accuracy_error, color="tab:orange",
                label="denoising errors, weight SNR", **style("simulation"))  # fmt: skip
    ax.errorbar(place, ds.level_bayes, ds.level_bayes_error, color="0.3", fmt="_", ms=12,
                elinewidth=0.8, label="Bayes")  # fmt: skip
    ax.set(xlabel="level of the node that is the class", ylabel="accuracy", xticks=place)
    ax.set_ylim(top=1)
    ax.legend(fontsize=7, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def _confusion(ds: xr.Dataset, ax: Axes) -> None:
    """Errors only, all levels side by side."""
    parts = []
    for level in ds.tree_level.values:
        table = ds.confusion.sel(tree_level=level).values.astype(float)
        table = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
        np.fill_diagonal(table, np.nan)
        parts += [table, np.full((len(table), 1), np.nan)]
    image = np.concatenate(parts[:-1], axis=1)
    drawn = ax.imshow(image, cmap="magma_r", aspect="auto", vmin=0)
    width = len(image) + 1
    ax.set_xticks([i * width + (width - 2) / 2 for i in range(ds.sizes["tree_level"])],
                  [f"level {i}" for i in ds.tree_level.values], fontsize=7)  # fmt: skip
    ax.set(yticks=[], ylabel="true symbol", xlabel="answer (right ones left blank)")
    ax.figure.colorbar(
        drawn, ax=ax, label="share of the answers", location="top", fraction=0.05, pad=0.02
    )


def _calls(ds: xr.Dataset, ax: Axes) -> None:
    bars = [("all samples", float(ds.budget[-1]), 0.0, "0.7")]
    for name, words, colour in (
        ("staged_calls", "stages", "tab:cyan"),
        ("pruned_calls", "t-tests", "tab:green"),
        ("calls_right", "... when right", "tab:green"),
        ("calls_wrong", "... when wrong", "tab:red"),
    ):
        if name in ds:
            bars.append((words, float(ds[name]), float(ds[f"{name}_error"]), colour))
    names, values, errors, colours = zip(*bars, strict=True)
    ax.barh(range(len(bars)), values, xerr=errors, color=colours, height=0.6)
    for i, value in enumerate(values):
        ax.text(value, i, f"  {value:.0f}", va="center", fontsize=7)
    ax.set_yticks(range(len(bars)), names, fontsize=7)
    ax.invert_yaxis()
    ax.set(xlabel="denoiser calls per class", xlim=(0, 1.15 * max(values)))
    ax.spines[["top", "right"]].set_visible(False)


@checked
def cue_conflict_figure(theory: xr.Dataset, measured: xr.Dataset) -> Figure:
    """Shape bias: Gaussians against noise, grammars against weight, bands and low-pass.

    Parameters
    ----------
    theory, measured : xarray.Dataset
        From ``CueConflict.predict`` and ``.measure``.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If a dataset lacks what is drawn.
    """
    maker = "CueConflict.predict and .measure"
    needs(sources(theory)[0], {"gaussian_bias": ("sigma2",)}, maker)
    wanted = {
        **_with_errors("gaussian_bias", dims=("sigma2",)),
        **_with_errors("bias", dims=("amplitude", "weighting")),
        **_with_errors("band_bias", dims=("amplitude", "band")),
        **_with_errors("blur_bias", "blur_matched", dims=("blur",)),
        "bayes": ("amplitude",),
    }
    needs(sources(measured)[-1], wanted, maker)
    for name in map(str, measured.band.values):
        if not re.fullmatch(r"[0-9.]+-[0-9.]+", name):
            raise InvalidParameter(f"band = {name!r} is no interval of t; write 'low-high'")
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
    ax = axes[0]
    ax.plot(theory.sigma2, theory.gaussian_bias, color="tab:blue", **style("theory"))
    ax.errorbar(measured.sigma2, measured.gaussian_bias, measured.gaussian_bias_error,
                color="tab:blue", label="Gaussians, shape has more variance",
                **style("simulation"))  # fmt: skip
    _bands(measured, ax)
    ax.axhline(0.5, color="0.7", lw=0.8, ls=":")
    ax.set(xscale="log", xlabel=r"noise $\sigma^2$ = 1/SNR, used alone", ylabel="shape bias")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.legend(fontsize=7, frameon=False)
    ax = axes[1]
    place = np.arange(measured.sizes["weighting"])
    for k, colour in zip(measured.amplitude.values, ("tab:blue", "tab:orange", "tab:green",
                                                     "tab:red"), strict=False):  # fmt: skip
        one = measured.sel(amplitude=k)
        ax.errorbar(place, one.bias, one.bias_error, color=colour,
                    label=f"texture amplitude {k:g}", **style("simulation"))  # fmt: skip
        ax.axhline(float(one.bayes), color=colour, ls="--", lw=0.8)
    ax.set_xticks(
        place, [_WORDS.get(str(w), str(w)) for w in measured.weighting.values], fontsize=7
    )
    ax.set(xlabel="weight of the x0 error (dashed: Bayes)", ylabel="shape bias")
    ax.legend(fontsize=7, frameon=False)
    ax = axes[2]
    ax.errorbar(measured.blur, measured.blur_bias, measured.blur_bias_error, color="tab:blue",
                label="shape bias", **style("simulation"))  # fmt: skip
    ax.errorbar(measured.blur, measured.blur_matched, measured.blur_matched_error, color="0.5",
                label="answers that match a cue", **style("simulation"))  # fmt: skip
    ax.set(xlabel="texture left by the low-pass\n(discriminative control)", ylabel="share")
    ax.legend(fontsize=7, frameon=False, loc="lower left")
    for letter, ax in zip("abc", axes, strict=True):
        ax.set(ylim=(0, 1.02))
        ax.set_title(letter, loc="left", fontsize=9, weight="bold")
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def _bands(ds: xr.Dataset, ax: Axes) -> None:
    """Grammars at equal amplitude, each band drawn over its range of noise."""
    for i, name in enumerate(map(str, ds.band.values)):
        low, high = (np.tan(np.pi / 2 * float(t)) ** 2 for t in name.split("-"))
        low, high = max(low, 1e-2), min(high, 1e2)
        one = ds.isel(amplitude=0).sel(band=name)
        value, error = float(one.band_bias), float(one.band_bias_error)
        ax.errorbar(np.sqrt(low * high), value, error, xerr=[[np.sqrt(low * high) - low],
                    [high - np.sqrt(low * high)]], color="tab:orange", marker="s", ms=3, ls="none",
                    elinewidth=0.8,
                    label="grammars, equal amplitudes" if i == 0 else None)  # fmt: skip


@checked
def binding_figure(measured: xr.Dataset) -> Figure:
    """Accuracy of true against false prompts, one panel per area of the second object's colour.

    Parameters
    ----------
    measured : xarray.Dataset
        From ``AttributeBinding.measure``.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    InvalidParameter
        If the dataset lacks what is drawn.
    """
    plane = ("area", "task")
    wanted = {
        **_with_errors("accuracy", dims=(*plane, "weighting", "budget")),
        **_with_errors("bag", dims=plane),
        "bayes": plane,
    }
    needs(sources(measured)[-1], wanted, "AttributeBinding.measure")
    areas = measured.area.values
    fig, axes = plt.subplots(
        1, len(areas), figsize=(5.4 * len(areas), 3.6), layout="constrained", squeeze=False,
        sharey=True,
    )  # fmt: skip
    place = np.arange(measured.sizes["task"])
    for ax, area in zip(axes[0], areas, strict=True):
        one = measured.sel(area=area).isel(budget=-1)
        names = list(map(str, measured.weighting.values))
        for i, name in enumerate(names):
            shift = 0.1 * (i - (len(names) - 1) / 2)
            here = one.sel(weighting=name)
            ax.errorbar(place + shift, here.accuracy, here.accuracy_error,
                        color=WEIGHT_COLOURS.get(name, "tab:gray"), label=_WORDS.get(name, name),
                        **style("simulation"))  # fmt: skip
        ax.errorbar(place, one.bayes, fmt="_", color="0.3", ms=24, label="Bayes")
        ax.errorbar(place, one.bag, one.bag_error, fmt="x", color="0.3", ms=5,
                    label="bag of attributes")  # fmt: skip
        ax.axhline(0.5, color="0.7", lw=0.8, ls=":")
        ax.set_xticks(place, [str(t).replace(": ", ",\n") for t in measured.task.values],
                      fontsize=8)  # fmt: skip
        size = "equal areas" if area == 1 else f"second object's colour {area} times as large"
        ax.set_title(size, loc="left", fontsize=9)
        ax.set(ylim=(0, 1.02))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel(f"true prompt wins, N = {int(measured.budget[-1])}")
    axes[0, 0].legend(fontsize=7, frameon=False, ncols=2, loc="lower left")
    return fig


@checked
def accuracy_table(theory: xr.Dataset | None, measured: xr.Dataset) -> str:
    """Accuracy measured and, in brackets, predicted: a row per weight, a column per budget.

    Without a law (None) nothing stands in brackets.

    Raises
    ------
    InvalidParameter
        If a dataset lacks accuracies.
    """
    for ds in (theory, measured):
        if ds is not None:
            needs(ds, _with_errors("accuracy", dims=("weighting", "budget")), _MAKER)
    budgets = measured.budget.values
    if theory is not None and theory.budget.values.tolist() != budgets.tolist():
        raise InvalidParameter(
            f"budgets {theory.budget.values.tolist()} of the law are not those measured, "
            f"{budgets.tolist()}; predict at these"
        )
    lines = [f"{'weight':>8} " + "".join(f"{f'N = {n}':>24}" for n in budgets)]
    for weight in measured.weighting.values:
        one = measured.sel(weighting=weight)
        cells = [
            f"{p:.3f} ± {e:.3f}"
            for p, e in zip(one.accuracy.values, one.accuracy_error.values, strict=True)
        ]
        if theory is not None and weight in theory.weighting.values:
            law = theory.accuracy.sel(weighting=weight).values
            cells = [f"{cell} ({q:.3f})" for cell, q in zip(cells, law, strict=True)]
        lines.append(f"{weight:>8} " + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)
