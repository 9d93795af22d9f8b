"""Figure of the network study of the phase transition."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs

__all__ = ["network_phase_transition"]


_MAKER = "NetworkPhaseTransition"
_PLANE = ("level", "t")


@checked
def network_phase_transition(theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> Figure:
    """Three curves per level, the gap to exact inference, and what the training set does.

    Parameters
    ----------
    theory, chain, network : xarray.Dataset
        As :class:`hierdiff.validation.studies.phase_transition.NetworkPhaseTransition` returns.

    Returns
    -------
    matplotlib Figure
    """
    retained = {"retention": _PLANE, "retention_error": _PLANE}
    sizes = ("size_gap", "size_gap_error", "size_valid", "size_copies")
    needs(theory, {"retention": _PLANE}, _MAKER)
    needs(chain, retained, _MAKER)
    needs(network, {**retained, "gap": ("t",), "gap_error": ("t",),
                    **dict.fromkeys(sizes, ("n_train",))}, _MAKER)  # fmt: skip
    for ds in (chain, network):
        if ds.sizes["level"] != theory.sizes["level"]:
            raise InvalidParameter("the datasets have different levels; give those of one run")
    figure, axes = plt.subplots(
        1, 3, figsize=(12, 3.6), layout="constrained", width_ratios=(5, 4, 3)
    )
    _curves(axes[0], theory, chain, network)
    _gap(axes[1], network)
    _sizes(axes[2], network)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _curves(ax: Axes, theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset) -> None:
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.92, theory.sizes["level"]))
    last = theory.sizes["level"] - 1
    for level, colour in enumerate(colours):
        name = {0: "class", last: "leaves"}.get(level, f"level {level}")
        ax.plot(theory.t, theory.retention[level], color=colour, lw=1.2, label=name)
        for ds, face, shift in ((chain, colour, -0.003), (network, "none", 0.003)):
            ax.errorbar(
                ds.t + shift, ds.retention[level], ds.retention_error[level], color=colour,
                ls="none", marker="o", ms=4, mfc=face, elinewidth=0.8,
            )  # fmt: skip
    words = str(theory.t.attrs.get("long_name", "noise level t"))
    ax.set(xlabel=words, ylabel="symbol unchanged", ylim=(0, 1.03),
           title="lines: exact law; full: exact chain; open: network")  # fmt: skip
    ax.legend(fontsize=7, frameon=False)
    ax.title.set_fontsize(9)


def _gap(ax: Axes, network: xr.Dataset) -> None:
    ax.errorbar(network.t, network.gap, network.gap_error, marker="o", ms=4, mfc="none", lw=0.8)
    ax.set(yscale="log", xlabel=str(network.t.attrs.get("long_name", "noise level t")),
           ylabel="KL(exact, network), nats per leaf")  # fmt: skip


def _sizes(ax: Axes, network: xr.Dataset) -> None:
    place = np.arange(network.sizes["n_train"])
    names = [f"{int(n):,}" if n else "fresh" for n in network.n_train.values]
    ax.errorbar(place, network.size_gap, network.size_gap_error, marker="o", ms=4, mfc="none",
                ls="none", color="C0")  # fmt: skip
    ax.set(yscale="log", xticks=place, xticklabels=names, xlabel="training strings",
           xlim=(-0.5, len(place) - 0.5))  # fmt: skip
    ax.set_ylabel("divergence, nats per leaf", color="C0")
    other = ax.twinx()
    other.bar(place - 0.12, network.size_valid, width=0.2, alpha=0.35, color="C2",
              label="sentences")  # fmt: skip
    other.bar(place + 0.12, network.size_copies, width=0.2, alpha=0.35, color="C3", label="copies")
    other.set(ylim=(0, 1.35), ylabel="share of what is made from noise")
    other.legend(fontsize=7, frameon=False, loc="upper right")
    other.spines["top"].set_visible(False)
