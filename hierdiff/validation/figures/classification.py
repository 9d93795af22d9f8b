"""Figures of the network study of classification."""

from __future__ import annotations

import json
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hierdiff.checks import checked, count, integers, reals
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs

__all__ = ["network_classification"]

_MAKER = "NetworkClassification"
_CURVES = ("weighting", "budget")
_EXACT = {"accuracy": _CURVES, "single": ("level",)}


@checked
def network_classification(network: xr.Dataset, exact: xr.Dataset | None = None) -> Figure:
    """The figure of the study.

    Parameters
    ----------
    network : xarray.Dataset
        From ``NetworkClassification``.
    exact : xarray.Dataset, optional
        The exact denoiser on the same samples.

    Returns
    -------
    matplotlib Figure
        Accuracy against budget and weight, single noise levels, calls of right and wrong answers;
        or, for a folder of images, the scores of the true class against the best other one.
    """
    if "budget" not in network.coords:
        return _folder(network)
    needs(network, {**_EXACT, "accuracy_error": _CURVES, "single_error": ("level",)}, _MAKER)
    if exact is not None:
        needs(exact, {**_EXACT, "information": ("level",)}, _MAKER)
        if set(network.weighting.values.tolist()) - set(exact.weighting.values.tolist()):
            raise InvalidParameter(
                "the exact denoiser lacks weightings of the network; give those of one run"
            )
    fig, axes = plt.subplots(1, 3, figsize=(11.6, 3.6), layout="constrained",
                             width_ratios=(1.3, 1.3, 0.8))  # fmt: skip
    _budgets(axes[0], network, exact)
    _levels(axes[1], network, exact)
    _calls(axes[2], network, exact)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return fig


def _budgets(ax: Axes, network: xr.Dataset, exact: xr.Dataset | None) -> None:
    names = [w for w in ("vdm", "snr", "exp", "uniform", "learned")
             if w in network.weighting.values]  # fmt: skip
    for i, name in enumerate(names):
        colour, shift = f"C{i}", 1.06 ** (i - len(names) / 2)
        if exact is not None:
            ax.plot(exact.budget, exact.accuracy.sel(weighting=name), color=colour, lw=1.1)
        one = network.sel(weighting=name)
        ax.errorbar(one.budget * shift, one.accuracy, one.accuracy_error, color=colour, marker="o",
                    mfc="none", ms=4, elinewidth=0.8, label=name,
                    **({"ls": "none"} if exact is not None else {"lw": 0.8}))  # fmt: skip
    _references(ax, network, right=True)
    _chance(ax, network)
    ax.set(xscale="log", xlabel="samples $N$, noise shared by the classes", ylabel="accuracy",
           ylim=(0, 1.02))  # fmt: skip
    title = "circles: network, lines: exact denoiser" if exact is not None else "network"
    ax.set_title(title, fontsize=9)
    ax.legend(fontsize=7, frameon=False, loc="lower right", title="weight", title_fontsize=7)


def _references(ax: Axes, ds: xr.Dataset, *, right: bool) -> None:
    """Lines of what is known: Bayes' ceiling, classifiers trained for the purpose."""
    low = float(ds.budget[0]) if right else float(ds.level[0])
    for name, look in (("bayes", "-"), ("linear", "--"), ("conv", ":")):
        if name in ds:
            value = float(ds[name])
            ax.axhline(value, color="0.3", lw=0.9, ls=look)
            text = {"bayes": "Bayes", "linear": "linear classifier", "conv": "conv. classifier"}
            ax.annotate(text[name], (low, value), xytext=(0, -9 if name == "linear" else 2),
                        textcoords="offset points", fontsize=7, color="0.3")  # fmt: skip


def _chance(ax: Axes, ds: xr.Dataset) -> None:
    try:
        parameters: dict[str, Any] = json.loads(ds.attrs["parameters"])
        classes = 10 if parameters["model"] == "digits" else count("v", parameters["v"])
    except (KeyError, TypeError, ValueError):
        raise InvalidParameter(
            f"the dataset does not say model and v among its parameters; give one from {_MAKER}"
        ) from None
    ax.axhline(1 / classes, color="0.75", lw=0.8)


def _levels(ax: Axes, network: xr.Dataset, exact: xr.Dataset | None) -> None:
    ax.errorbar(network.level, network.single, network.single_error, color="C0", marker="o",
                mfc="none", ms=4, elinewidth=0.8, label="network, one sample",
                ls="none" if exact is not None else "-", lw=0.8)  # fmt: skip
    if exact is not None:
        ax.plot(exact.level, exact.single, color="C0", lw=1.1, label="exact denoiser, one sample")
        ax.plot(exact.level, exact.information, color="C3", lw=1.1, ls="--",
                label="exact posterior $p(c|x_t)$")  # fmt: skip
    _chance(ax, network)
    ax.set(xlabel="time $t$ of the sample (cosine)", ylabel="accuracy", ylim=(0, 1.02))
    ax.set_title("single noise levels", fontsize=9)
    ax.legend(fontsize=7, frameon=False)


def _calls(ax: Axes, network: xr.Dataset, exact: xr.Dataset | None) -> None:
    for i, (ds, name) in enumerate(((network, "network"), (exact, "exact"))):
        if ds is None:
            continue
        for j, word in enumerate(("right", "wrong")):
            if f"calls_{word}" in ds:
                ax.bar(j + 0.38 * i - 0.19 * (exact is not None), float(ds[f"calls_{word}"]), 0.36,
                       yerr=float(ds[f"calls_{word}_error"]), color="none", edgecolor=f"C{i}",
                       ecolor=f"C{i}", hatch="" if i else "///",
                       label=name if j == 0 else None)  # fmt: skip
    ax.set_xticks([0, 1], ["right", "wrong"])
    ax.set(ylabel="calls per class, paired t-tests", xlabel="answer")
    ax.set_ylim(top=1.2 * ax.get_ylim()[1])  # room for the legend
    ax.set_title("calls as confidence", fontsize=9)
    ax.legend(fontsize=7, frameon=False)


def _scores(ds: xr.Dataset) -> NDArray[Any]:
    """Scores [n, classes] with a true class for each row."""
    needs(ds, {"accuracy": (), "accuracy_error": ()}, _MAKER)
    if "scores" not in ds:
        raise InvalidParameter(f"the dataset has no 'scores'; give one from {_MAKER}")
    found = reals("scores", ds.scores.values, ndim=2, infinite=True)
    integers("label", ds.label.values, high=found.shape[1] - 1, shape=(len(found),))
    return found


def _folder(ds: xr.Dataset) -> Figure:
    """Scores of a folder of images."""
    fig, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
    if "label" in ds:
        scores = _scores(ds)
        rows = np.arange(len(scores))
        own = scores[rows, ds.label.values]
        other = scores.copy()
        other[rows, ds.label.values] = np.inf
        ax.hist(other.min(axis=1) - own, bins=30, color="C0", alpha=0.7)
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set(
            xlabel="best other score - score of the true class",
            ylabel="images",
            title=f"accuracy {float(ds.accuracy):.3f} ± {float(ds.accuracy_error):.3f}",
        )
    else:
        names = ("shape_accuracy", "texture_accuracy", "shape_bias")
        needs(ds, {f"{n}{e}": () for n in names for e in ("", "_error")}, _MAKER)
        ax.bar(range(3), [float(ds[n]) for n in names], color="C0", alpha=0.7,
               yerr=[float(ds[f"{n}_error"]) for n in names])  # fmt: skip
        ax.set_xticks(range(3), [n.replace("_", " ") for n in names])
        ax.set(ylim=(0, 1), ylabel="share of images, or of decisions")
    ax.spines[["top", "right"]].set_visible(False)
    return fig
