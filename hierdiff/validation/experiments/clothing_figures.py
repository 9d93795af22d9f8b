"""Figures of networks on photographs of clothing: the answers, and pictures to look at.

=====================  =========================================================================
stem                   what it shows
=====================  =========================================================================
``..._u_turns``        photographs, and what comes back from every noise level
``..._sheet``          what a network makes of every class, beside photographs
``..._confusion``      answers by class, of the denoising error and of the discriminative network
the name itself        the five answers, a panel each
=====================  =========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hierdiff.data.fashion import FASHION_CLASSES, family_of
from hierdiff.plots import (
    BLUE,
    FONT,
    GREEN,
    GREY,
    GUIDE,
    ORANGE,
    PALETTE,
    Axes,
    Figure,
    legend,
    level_colours,
    panel,
    plt,
)
from hierdiff.sims.metrics.estimators import student_error
from hierdiff.validation.experiments.clothing_answers import answers, kept_by_network

__all__ = ["figures"]

Array: TypeAlias = NDArray[Any]
Datasets: TypeAlias = Mapping[str, xr.Dataset]
_TREE = np.argsort(family_of(np.arange(len(FASHION_CLASSES))), kind="stable")
_NAMES = [FASHION_CLASSES[c] for c in _TREE]


class Study(Protocol):
    """What is needed of the experiment."""

    @property
    def name(self) -> str:
        """Stem of the files."""

    @property
    def seed(self) -> int:
        """Seed of everything random."""


def figures(study: Study, datasets: Datasets) -> dict[str, Figure]:
    """All figures of the parts that were asked, by their stem."""
    ds, found = datasets[study.name], answers(study, datasets)
    out = {study.name: _overview(study, datasets, found)}
    if "pictures" in ds:
        out[f"{study.name}_u_turns"] = _u_turns(ds)
        out[f"{study.name}_sheet"] = _sheet(ds)
    if "judges" in found:
        out[f"{study.name}_confusion"] = _confusion(found["judges"])
    return out


# ------------------------------------------------------------------------------------ pictures


def _u_turns(ds: xr.Dataset) -> Figure:
    """A row per photograph, a column per noise level."""
    pictures = ds.pictures.values  # [turn, picture, h, w]
    turns, rows = pictures.shape[:2]
    figure, axes = plt.subplots(
        rows, turns, figsize=(0.78 * turns, 0.78 * rows + 0.3), squeeze=False,
        gridspec_kw={"wspace": 0.06, "hspace": 0.06, "left": 0.01, "right": 0.99, "bottom": 0.01,
                     "top": 1 - 0.3 / (0.78 * rows + 0.3)},
    )  # fmt: skip
    heads = ["photograph", *(f"t = {t:g}" for t in ds.t.values)]
    for i in range(rows):
        for j in range(turns):
            _picture(axes[i, j], pictures[j, i])
            if i == 0:
                axes[i, j].set_title(heads[j], fontsize=FONT, pad=3)
    return figure


def _picture(ax: Axes, image: Array) -> None:
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(color="0.8", linewidth=0.5)


def _sheet(ds: xr.Dataset) -> Figure:
    """Two photographs of every class, and what the network makes for it."""
    real, made = ds.photographs.values[_TREE], ds.made.values[_TREE]
    classes, n, k = len(real), real.shape[1], made.shape[1]
    width, height = 0.55, 0.55
    figure, axes = plt.subplots(
        classes, n + 1 + k, figsize=(width * (n + 1 + k) + 0.8, height * classes + 0.3),
        gridspec_kw={"wspace": 0.06, "hspace": 0.06, "left": 0.8 / (width * (n + 1 + k) + 0.8),
                     "right": 0.995, "bottom": 0.005,
                     "top": 1 - 0.28 / (height * classes + 0.3)},
    )  # fmt: skip
    for i in range(classes):
        for j in range(n):
            _picture(axes[i, j], real[i, j])
        axes[i, n].axis("off")
        for j in range(k):
            _picture(axes[i, n + 1 + j], made[i, j])
        axes[i, 0].set_ylabel(_NAMES[i], rotation=0, ha="right", va="center", fontsize=FONT)
    axes[0, 0].set_title("photographs", fontsize=FONT, loc="left", pad=4)
    axes[0, n + 1].set_title("made by the network for the class", fontsize=FONT, loc="left", pad=4)
    return figure


def _confusion(found: dict[str, Any]) -> Figure:
    """Share of answers of every class, classes in the order of their families."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 5.4), layout="constrained", sharey=True)
    families = family_of(_TREE)
    edges = np.flatnonzero(np.diff(families)) + 0.5
    for k, (ax, name) in enumerate(zip(axes, ("network", "classifier"), strict=True)):
        share = np.array(found["confusion"][name])[np.ix_(_TREE, _TREE)]
        image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(share >= 0.05):
            ax.text(j, i, f"{share[i, j]:.2f}".lstrip("0"), ha="center", va="center", fontsize=FONT,
                    color="w" if share[i, j] > 0.55 else "k")  # fmt: skip
        for edge in edges:
            ax.axhline(edge, color="0.4", lw=0.9)
            ax.axvline(edge, color="0.4", lw=0.9)
        ax.set_xticks(range(len(_NAMES)), _NAMES, rotation=55, ha="right")
        ax.set_yticks(range(len(_NAMES)), _NAMES)
        accuracy = found["accuracy"]["exp"] if k == 0 else found["classifier"]
        words = ("denoising error", "discriminative network")[k]
        panel(ax, "ab"[k], f"{words}, {accuracy[0]:.3f} ± {accuracy[1]:.3f}")
        ax.set_xlabel("answer")
    axes[0].set_ylabel("class")
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the class")
    return figure


# ------------------------------------------------------------------------------------- answers


def _overview(study: Study, datasets: Datasets, found: dict[str, Any]) -> Figure:
    """A panel per answer that there is."""
    ds = datasets[study.name]
    draw: list[tuple[str, Callable[[Axes], None]]] = []
    if "u-turns" in found:
        draw += [("what comes back", lambda ax: _kept(ax, ds, datasets, study)),
                 ("layers of the classifier", lambda ax: _layers(ax, ds))]  # fmt: skip
    if "probes" in found:
        draw += [("probe on few labels, middle block", lambda ax: _probes(ax, found["probes"]))]
    if "judges" in found:
        draw += [("errors, and where they fall", lambda ax: _judges(ax, found["judges"]))]
    if "order" in found:
        draw += [("made for a class, in training", lambda ax: _order(ax, found["order"]))]
    if "triplets" in found:
        draw += [("odd one out, best layer", lambda ax: _triplets(ax, found["triplets"]))]
    columns = min(3, len(draw))
    rows = -(-len(draw) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4 * columns, 3.2 * rows), layout="constrained", squeeze=False
    )
    for k, ax in enumerate(axes.flat):
        if k >= len(draw):
            ax.remove()
            continue
        title, one = draw[k]
        one(ax)
        panel(ax, chr(97 + k), title)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _line(ax: Axes, x: Any, rows: Array, colour: Any, label: str, **look: Any) -> None:
    """Mean over networks with Student's error."""
    look = {"marker": "o", "ms": 3.5, "mfc": "none", "lw": 0.9, **look}
    # a share of changed classes has no value where a network has changed none
    known = np.isfinite(rows).all(axis=0)
    rows, x = rows[:, known], np.asarray(x)[known]
    ax.errorbar(x, rows.mean(axis=0), student_error(rows), color=colour, label=label, **look)


def _kept(ax: Axes, ds: xr.Dataset, datasets: Datasets, study: Study) -> None:
    kept = kept_by_network(ds)
    for name, colour, word in (("class", BLUE, "class_kept"), ("family", ORANGE, "family_kept")):
        _line(ax, ds.t, kept[name], colour, f"{name}, networks")
        one = datasets[f"{study.name}_mixture"]
        ax.plot(one.t, one[word], color=colour, lw=1, ls="--", label=f"{name}, mixture")
    _line(ax, ds.t[1:], kept["stayed"][:, 1:], GREEN, "a changed class stays in the family",
          marker="s")  # fmt: skip
    law = datasets[f"{study.name}_mixture"]
    ax.plot(law.t[1:], law.stayed[1:], color=GREEN, lw=1, ls="--", label="the same, mixture")
    ax.plot(ds.t[1:], kept["stayed by chance"][:, 1:].mean(axis=0), color=GREEN, lw=1, ls=":",
            label="the same by chance")  # fmt: skip
    ax.set(xlabel="noise level t", ylabel="share of images", ylim=(0, 1.03))
    legend(ax)


def _layers(ax: Axes, ds: xr.Dataset) -> None:
    for layer, colour in zip(ds.layer.values, level_colours(ds.sizes["layer"], "layers"),
                             strict=True):  # fmt: skip
        _line(ax, ds.t, ds.similarity.sel(layer=layer).values, colour, str(layer))
    ax.axhline(0, **GUIDE)
    ax.set(xlabel="noise level t", ylabel="similarity above random pairs", ylim=(-0.08, 1.03))
    legend(ax)


def _probes(ax: Axes, found: dict[str, Any]) -> None:
    for k, (size, layers) in enumerate(found["rows"].items()):
        name = "output" if size == "mixture" else found["layer"]
        one = layers[name]["few"]
        label = "mixture, exact" if size == "mixture" else f"{size} images"
        if size == "mixture":
            ax.plot(found["t"], one["curve"], color="k", lw=1, label=label)
        else:
            ax.errorbar(found["t"], one["curve"], one["error"], color=PALETTE[k - 1], marker="o",
                        ms=3.5, mfc="none", lw=0.9, label=label)  # fmt: skip
    ax.set(xscale="log", xlabel="noise level t", ylabel="accuracy of the probe")
    legend(ax)


def _judges(ax: Axes, found: dict[str, Any]) -> None:
    """Wrong answers inside and between families."""
    for k, name in enumerate(("network", "classifier")):
        x = found["accuracy"]["exp"] if k == 0 else found["classifier"]
        wrong, inside = 1 - x[0], found["errors in the family"][name][0]
        chance = found["by chance"][name][0]
        ax.bar(k, wrong * inside, 0.55, color=(BLUE, GREY)[k], label=None)
        ax.bar(k, wrong * (1 - inside), 0.55, bottom=wrong * inside, color="none",
               edgecolor=(BLUE, GREY)[k], hatch="///")  # fmt: skip
        ax.errorbar(k, wrong, x[1], color="k", lw=0.9)
        ax.plot([k - 0.27, k + 0.27], [wrong * chance] * 2, color=ORANGE, lw=1.4,
                label="inside the family by chance" if k == 0 else None)  # fmt: skip
    ax.bar(0, 0, color=BLUE, label="inside the family")
    ax.bar(0, 0, color="none", edgecolor=BLUE, hatch="///", label="between families")
    ax.set_xticks([0, 1], ["denoising error", "discriminative"])
    ax.set(ylabel="share of wrong answers")
    legend(ax)


def _order(ax: Axes, found: dict[str, Any]) -> None:
    for name, colour, chance in (("class", BLUE, 0.1), ("family", ORANGE, 0.36)):
        rows = np.array(found[f"{name} right"])
        ax.errorbar(found["step"], rows[:, 0], rows[:, 1], color=colour, marker="o", ms=3.5,
                    mfc="none", lw=0.9, label=f"{name} right")  # fmt: skip
        ax.axhline(chance, color=colour, lw=0.8, ls=":")
    ax.set(xscale="log", xlabel="training step", ylabel="share of images", ylim=(0, 1.03))
    legend(ax)


def _triplets(ax: Axes, found: dict[str, Any]) -> None:
    t = np.array(found["t"])
    for name, colour in (("class", BLUE), ("family", ORANGE)):
        one = found[name]
        rows = np.array(one["by t"])
        ax.errorbar(t, rows[:, 0], rows[:, 1], color=colour, marker="o", ms=3.5, mfc="none",
                    lw=0.9, label=f"{name}, networks")  # fmt: skip
        ax.axhline(one["classifier"][0], color=colour, lw=1, ls="--", label=f"{name}, classifier")
        ax.axhline(one["pixels"], color=colour, lw=1, ls=":", label=f"{name}, pixels")
    ax.axhline(1 / 3, **GUIDE)
    ax.set(xlabel="noise level t", ylabel="odd one found", ylim=(0.25, 1.03))
    legend(ax)
