"""Figures of the network study of representation."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter
from hierdiff.plots.style import needs

__all__ = ["network_representation", "probe_curves"]


_MAKER = "NetworkRepresentation"
_CURVES, _SIZES = ("n_train", "split", "sigma"), ("n_train", "split")


@checked
def network_representation(theory: xr.Dataset, memory: xr.Dataset, network: xr.Dataset) -> Figure:
    """SNR of features, linear probe, and denoising error on seen and unseen points.

    Parameters
    ----------
    theory, memory, network : xarray.Dataset
        As :class:`hierdiff.validation.studies.representation.NetworkRepresentation` returns.

    Returns
    -------
    matplotlib Figure
    """
    curves = ("snr", "snr_error", "projection", "projection_error")
    needs(network, {**dict.fromkeys(curves, _CURVES), "denoising": _SIZES,
                    "denoising_error": _SIZES}, _MAKER)  # fmt: skip
    for ds, names in ((theory, ("snr", "projection")), (memory, ("snr",))):
        for name in names:
            if name not in ds or ds[name].dims[-1] != "sigma" or "sigma" not in ds.coords:
                raise InvalidParameter(
                    f"the dataset has no {name!r} along sigma; give one from {_MAKER}"
                )
    for name in ("snr", "projection"):
        if theory[name].ndim != 4 or theory[name].shape[1] < 2:
            raise InvalidParameter(
                f"{name!r} of the theory has shape {theory[name].shape}; give one from {_MAKER}"
            )
    if {"train", "test"} - set(network.split.values.tolist()):
        raise InvalidParameter("the network's dataset lacks seen or unseen points (split)")
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    captions = [f"N = {int(n):,}" if n else "fresh data" for n in network.n_train.values]
    colours = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, len(captions)))
    for ax, law in ((axes[0], theory.snr), (axes[1], theory.projection)):
        ax.plot(theory.sigma, law.values[0, 1, 0], "k-", lw=1.2, label="exact law")
    for i, (name, colour) in enumerate(zip(captions, colours, strict=True)):
        one = network.isel(n_train=i).sel(split="test")
        for ax, quantity in ((axes[0], "snr"), (axes[1], "projection")):
            ax.errorbar(one.sigma, one[quantity], one[f"{quantity}_error"], color=colour, ms=4,
                        marker="o", mfc="none", lw=0.7, label=f"network, {name}")  # fmt: skip
        n = int(network.n_train[i])
        if n in memory.n_train:
            kept = memory.sel(n_train=n, split="test")
            axes[0].plot(kept.sigma, kept.snr.values.ravel(), color=colour, ls=":", lw=1.2,
                         label=f"memorising, {name}")  # fmt: skip
    axes[0].set(xscale="log", yscale="log", xlabel="noise level sigma",
                ylabel="SNR of denoised features, unseen points")  # fmt: skip
    axes[1].set(xscale="log", xlabel="noise level sigma",
                ylabel="class by largest energy, unseen points")  # fmt: skip
    axes[0].legend(fontsize=7, frameon=False)
    place = np.arange(len(captions))
    for split, shift, face in (("train", -0.08, "C3"), ("test", 0.08, "C0")):
        one = network.sel(split=split)
        axes[2].errorbar(place + shift, one.denoising, one.denoising_error, ls="none", marker="o",
                         mfc="none", color=face, label=f"{split} points")  # fmt: skip
    axes[2].set(xticks=place, xticklabels=captions, ylim=(0, None),
                ylabel="denoising error at the exact peak")  # fmt: skip
    axes[2].legend(fontsize=7, frameon=False)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


@checked
def probe_curves(ds: xr.Dataset) -> Figure:
    """Accuracy of linear probes against noise, a panel per model, a row per probe.

    Parameters
    ----------
    ds : xarray.Dataset
        As the study returns for strings, digits and photographs: ``accuracy`` [probe, row, t] with
        the coordinates ``reader`` and ``layer`` of the rows.

    Returns
    -------
    matplotlib Figure
    """
    rows = ("probe", "row", "t")
    needs(ds, {"accuracy": rows, "accuracy_error": rows, "reader": ("row",), "layer": ("row",)},
          "NetworkRepresentation")  # fmt: skip
    readers = list(dict.fromkeys(str(x) for x in ds.reader.values))
    alone = [r for r in readers if int((ds.reader == r).sum()) == 1]
    panels = [r for r in readers if r not in alone]
    if not panels:
        raise InvalidParameter("every reader has one row; a panel needs a model of several layers")
    kinds = [str(x) for x in ds.probe.values]
    figure, axes = plt.subplots(
        len(kinds), len(panels), figsize=(4.2 * len(panels), 3.1 * len(kinds)), squeeze=False,
        layout="constrained", sharex=True, sharey="row",
    )  # fmt: skip
    for row, kind in zip(axes, kinds, strict=True):
        for ax, reader in zip(row, panels, strict=True):
            chosen = ds.sel(probe=kind).isel(row=np.flatnonzero(ds.reader.values == reader))
            colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, chosen.sizes["row"]))
            for k, colour in enumerate(colours):
                one = chosen.isel(row=k)
                ax.errorbar(one.t, one.accuracy, one.accuracy_error, color=colour, marker="o",
                            ms=3, mfc="none", lw=0.8, label=str(one.layer.values))  # fmt: skip
            for name, style in zip(alone, (":", "--", "-."), strict=False):
                one = ds.sel(probe=kind).isel(row=int(np.argmax(ds.reader.values == name)))
                ax.plot(one.t, one.accuracy, color="0.4", ls=style, lw=1, label=name)
            law = ds.sel(probe=kind).isel(row=ds.row.values == "exact: output")
            if reader != "exact" and "exact" in panels:
                ax.plot(ds.t, law.accuracy.values[0], "k-", lw=0.8, label="exact: output")
            ax.set(xscale="log", title=f"{reader}, probe on {kind} labels")
            ax.title.set_fontsize(9)
            ax.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("accuracy of a linear probe")
        for ax in row:
            ax.legend(fontsize=6, frameon=False)
    for ax in axes[-1]:
        ax.set_xlabel(str(ds.t.attrs.get("long_name", "noise level t")))
    return figure
