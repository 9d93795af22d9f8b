"""Figure of the study on rendered grammars."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hierdiff.checks import checked, reals
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs

__all__ = ["rhm_images_figure"]

Array = NDArray[Any]


_PLANE = ("level", "t")


@checked
def rhm_images_figure(
    theory: xr.Dataset, chain: xr.Dataset, network: xr.Dataset, start: Array, made: Array
) -> Figure:
    """Retention per level, layers of a classifier, and what became of some images.

    Parameters
    ----------
    theory, chain, network : xarray.Dataset
        As :class:`hierdiff.validation.studies.rhm_images.RHMImages` returns.
    start : array [k, channels, h, w]
        Images.
    made : array [t, k, channels, h, w]
        The same, noised and denoised.

    Returns
    -------
    matplotlib Figure
    """
    retained = {"retention": _PLANE, "retention_error": _PLANE}
    needs(theory, {"retention": _PLANE}, "RHMImages")
    needs(chain, retained, "RHMImages")
    layers = dict.fromkeys(("layers", "layers_error"), ("layer", "t"))
    needs(network, {**retained, **(layers if "layers" in network else {})}, "RHMImages")
    for ds in (chain, network):
        if ds.sizes["level"] != theory.sizes["level"]:
            raise InvalidParameter("the datasets have different levels; give those of one run")
    reals("start", start, ndim=4, least=1)
    reals("made", made, shape=(network.sizes["t"], *start.shape))
    figure = plt.figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(5, 4, 4))
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.92, theory.sizes["level"]))
    last = theory.sizes["level"] - 1
    for level, colour in enumerate(colours):
        name = {0: "class", last: "patches"}.get(level, f"level {level}")
        axes[0].plot(theory.t, theory.retention[level], color=colour, lw=1.2, label=name)
        for ds, face, shift in ((chain, colour, -0.004), (network, "none", 0.004)):
            axes[0].errorbar(ds.t + shift, ds.retention[level], ds.retention_error[level],
                             color=colour, ls="none", marker="o", ms=4, mfc=face,
                             elinewidth=0.8)  # fmt: skip
    axes[0].set(xlabel="noise level t (pixels)", ylabel="symbol unchanged", ylim=(0, 1.03))
    axes[0].set_title("lines: exact law; full: exact chain; open: network", fontsize=9)
    axes[0].legend(fontsize=7, frameon=False)
    if "layers" in network:
        shades = plt.get_cmap("plasma")(np.linspace(0, 0.85, network.sizes["layer"]))
        for layer, shade in zip(network.layer.values, shades, strict=True):
            one = network.sel(layer=layer)
            axes[1].errorbar(one.t, one.layers, one.layers_error, color=shade, marker="o", ms=3,
                             lw=0.8, mfc="none", label=str(layer))  # fmt: skip
        axes[1].legend(fontsize=7, frameon=False)
    axes[1].set(xlabel="noise level t (pixels)", ylim=(-0.1, 1.03))
    axes[1].set_ylabel("similarity above the floor")
    axes[1].set_title("layers of a classifier of the class", fontsize=9)
    for ax in axes[:2]:
        ax.spines[["top", "right"]].set_visible(False)
    rows = [start, *made]
    strip = np.concatenate([np.concatenate([_shown(x) for x in row], axis=1) for row in rows])
    axes[2].imshow(strip, interpolation="nearest")
    side = start.shape[-1] + 1
    names = ["start", *(f"t = {t:g}" for t in network.t.values)]
    axes[2].set_yticks(side * (np.arange(len(rows)) + 0.5) - 0.5, names, fontsize=7)
    axes[2].set_xticks([])
    axes[2].set_title("noised to t and denoised by the network", fontsize=9)
    axes[2].spines[:].set_visible(False)
    axes[2].tick_params(length=0)
    return figure


def _shown(image: Array) -> Array:
    """One image as [h, w, 3] in [0, 1] with a white edge."""
    x = np.clip((image[[0, 1, 2] if len(image) >= 3 else [0, 0, 0]] + 1.5) / 3, 0, 1)
    return np.pad(x.transpose(1, 2, 0), ((0, 1), (0, 1), (0, 0)), constant_values=1.0)
