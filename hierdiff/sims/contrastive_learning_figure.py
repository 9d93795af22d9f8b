"""Tables, claim and figures of contrastive learners and of what their pairs of a tree reveal."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hierdiff import results
from hierdiff._display import pair_text, plus_minus, text_table
from hierdiff.plots import (
    GREEN,
    GUIDE,
    ORANGE,
    PALETTE,
    PURPLE,
    Figure,
    legend,
    panels,
    plt,
    shade,
    shared_legend,
)

if TYPE_CHECKING:
    from hierdiff.sims.contrastive_learning import ContrastiveLearning

__all__ = ["draw_scenes", "draw_texts", "draw_trees"]

Datasets = Mapping[str, xr.Dataset]

LEARNERS = {
    "infonce": "InfoNCE", "hard": "InfoNCE, hard negatives", "counted": "InfoNCE, few negatives",
}  # fmt: skip
PAIRS = {"class": "leaves and class", "halves": "two halves", "leaves": "two leaves"}
"""Contrastive pairs of a tree."""


def _binding(ds: xr.Dataset) -> str:
    """The task of exchanged values."""
    return str(ds.task.values[-1])


def _attribute(ds: xr.Dataset) -> str:
    return str(ds.task.values[0])


def table(one: ContrastiveLearning, datasets: Datasets) -> str:
    """A row per width, then what trees reveal without noise."""
    law = datasets[f"{one.name}_theory"]
    task, other = _binding(law), _attribute(law)
    names = ["theory", *LEARNERS]
    words = ["spectral", *LEARNERS.values()]
    rows = []
    for d in law.width.values:
        cells = []
        for name in names:
            at = datasets[f"{one.name}_{name}"].sel(width=d)
            both = (at[k].sel(task=task) for k in ("accuracy", "accuracy_error"))
            cells.append(f"{pair_text(both)}, {float(at.accuracy.sel(task=other)):.3f}")
        rows.append([d, *cells])
    top = datasets[f"{one.name}_ceilings"]
    bayes = [f"{float(top.bayes.sel(task=x)):.3f}" for x in (task, other)]
    trees = datasets[f"{one.name}_trees"].isel(t=0)
    pairs = []
    for pair in trees.pair.values:
        row = trees.sel(pair=pair)
        cells = [plus_minus(a, b) for a, b in zip(row.revealed, row.revealed_error, strict=True)]
        pairs.append([pair, *cells])
    return "\n".join([
        f"{task} (binding), then {other}, by width d", text_table(["d", *words], rows), "",
        f"Bayes, and the denoising classifier: {', '.join(bayes)}", "",
        "share of a latent that is revealed without noise",
        text_table(["pair", *(f"level {k}" for k in range(len(pairs[0]) - 1))], pairs), "",
        "width of half of what is revealed, by the level that the text tells",
        widths_of_texts(datasets[f"{one.name}_texts"]),
    ])  # fmt: skip


def widths_of_texts(ds: xr.Dataset) -> str:
    """Half widths of every level, by the level that the text tells."""
    rows = []
    for level in ds.text.values:
        row = ds.sel(text=level)
        cells = [plus_minus(a, b, 1) for a, b in
                 zip(row.half.values, row.half_error.values, strict=True)]  # fmt: skip
        n = int(row.width.values[np.isfinite(row.value.values)][-1])
        rows.append([f"level {level}", *cells, n, f"{float(row.square):.2f}",
                     plus_minus(row.drawn, row.drawn_error, 2)])  # fmt: skip
    header = ["text", *ds.part.values, "strings", "sum of squares", "drawn"]
    return text_table(header, rows)


def text_score(ds: xr.Dataset) -> float:
    """Largest z of the drawn strings against eq. (5)."""
    error = ds.drawn_error.values
    gap = np.abs(ds.drawn - ds.square).values
    return float((gap[error > 1e-9] / error[error > 1e-9]).max(initial=0.0))


def _scores(one: ContrastiveLearning, datasets: Datasets) -> tuple[float, float]:
    """Largest z of drawn scenes and of the order parameter."""
    both = results.compare(datasets[f"{one.name}_theory"], datasets[one.name])
    z = np.abs(both.accuracy_z.values)
    trees = datasets[f"{one.name}_trees"]
    error = np.hypot(trees.square_error, trees.order_error).values
    gap = np.abs(trees.square - trees.order).values
    order = gap[error > 1e-6] / error[error > 1e-6]
    return float(z[np.isfinite(z)].max(initial=0.0)), float(order.max(initial=0.0))


def numbers(one: ContrastiveLearning, datasets: Datasets) -> dict[str, Any]:
    """The numbers of the table."""
    law, trees = datasets[f"{one.name}_theory"], datasets[f"{one.name}_trees"]
    z, top = _scores(one, datasets), datasets[f"{one.name}_ceilings"]
    found: dict[str, Any] = {
        "width": law.width.values.tolist(), "task": law.task.values.tolist(),
        "bayes": top.bayes.values.tolist(), "denoising": top.denoising.values.tolist(),
        "largest z of drawn scenes": z[0], "largest z of the order parameter": z[1],
        "parts": [[p.text, p.value, p.number] for p in one.world.parts()[:6]],
    }  # fmt: skip
    for name in ("theory", *LEARNERS):
        ds = datasets[f"{one.name}_{name}"]
        found[name] = [ds.accuracy.values.tolist(), ds.accuracy_error.values.tolist()]
    found["t"] = trees.t.values.tolist()
    for word in ("square", "square_error", "order", "revealed", "revealed_error"):
        found[word] = trees[word].values.tolist()
    texts = datasets[f"{one.name}_texts"]
    found["text"] = {
        "kept": one.kept, "level": texts.text.values.tolist(), "part": texts.part.values.tolist(),
        "strings": [one._strings(level) for level in one.text_levels],
        "largest z of drawn strings": text_score(texts),
    }  # fmt: skip
    for word in ("half", "half_error", "square", "drawn", "drawn_error"):
        x = texts[word].values.astype(object)
        x[np.isnan(texts[word].values)] = None
        found["text"][word] = x.tolist()
    full = texts.revealed.isel(width=[int(np.flatnonzero(texts.width.values == n)[0])
                                      for n in found["text"]["strings"]])  # fmt: skip
    found["text"]["full"] = [[None if np.isnan(x) else float(x) for x in full.values[i, :, i]]
                             for i in range(len(one.text_levels))]  # fmt: skip
    return found


def claim(one: ContrastiveLearning, datasets: Datasets) -> str:
    """Width and negatives at which learners bind; what two halves reveal."""
    law, trees = datasets[f"{one.name}_theory"], datasets[f"{one.name}_trees"]
    task = _binding(law)
    row = law.accuracy.sel(task=task)
    blind = [int(d) for d, x in zip(law.width, row, strict=True) if abs(float(x) - 0.5) < 1e-6]
    first = int(law.width[0])
    hard = float(datasets[f"{one.name}_hard"].accuracy.sel(task=task, width=first))
    plain = float(datasets[f"{one.name}_infonce"].accuracy.sel(task=task, width=first))
    halves = trees.revealed.sel(pair=PAIRS["halves"]).isel(t=0).values
    z = _scores(one, datasets)
    bayes = float(datasets[f"{one.name}_ceilings"].bayes.sel(task=task))
    upto = f"nothing up to width {blind[-1]}" if blind else "at every width that was tried"
    return (
        f"the spectral learner binds {upto} and has {float(row[-1]):.3f} at width "
        f"{int(law.width[-1])} (Bayes {bayes:.3f}); InfoNCE of width "
        f"{first} has {plain:.3f}, with hard negatives {hard:.3f}; two halves of a tree reveal "
        f"{halves[1]:.2f} of the symbol at their top and {halves[0]:.2f} of the class; largest |z| "
        f"of drawn scenes {z[0]:.1f}, of the class and its order parameter {z[1]:.1f}; half of the "
        f"class takes width {class_widths(datasets[f'{one.name}_texts'])}"
    )


def class_widths(texts: xr.Dataset) -> str:
    """Width at which half of the class is revealed, by the level that the text tells."""
    at = texts.sel(part="level 0")
    rows = zip(texts.text.values, at.half.values, at.half_error.values, strict=True)
    return ", ".join(f"{plus_minus(a, b, 1)} if the text tells level {k}" for k, a, b in rows)


def draw_scenes(one: ContrastiveLearning, datasets: Datasets) -> Figure:
    """Spectrum by part; binding and attributes against width."""
    law, top = datasets[f"{one.name}_theory"], datasets[f"{one.name}_ceilings"]
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.8), layout="constrained")
    parts, begin = one.world.parts(), 1
    colours = {"binding": PURPLE, "together": GREEN, "pairs": ORANGE, "constant": "0.4"}
    shown: set[str] = set()
    for part in parts:
        word = next((w for w in colours if w in part.text), "attribute")
        label = {"pairs": "pairs of values", "together": "values together"}.get(word, word)
        axes[0].plot(
            np.arange(begin, begin + part.number), np.full(part.number, part.value), "o", ms=3,
            color=colours.get(word, PALETTE[0]), label=None if label in shown else label,
        )  # fmt: skip
        shown.add(label)
        begin += part.number
    axes[0].set(
        xlabel="number k", ylabel=r"singular value $\sigma_k$", xscale="log", ylim=(0, 1.05)
    )
    titles = (_binding(law), _attribute(law))
    for ax, task in zip(axes[1:], titles, strict=True):
        at = law.sel(task=task)
        ax.axhline(
            float(top.bayes.sel(task=task)),
            color="k",
            ls=":",
            lw=1,
            label="Bayes, denoising classifier",
        )
        ax.axhline(0.5, **GUIDE)
        ax.plot(at.width, at.accuracy, "k-", lw=1.2, label="spectral optimum, exact")
        drawn = datasets[one.name].sel(task=task)
        ax.errorbar(drawn.width, drawn.accuracy, drawn.accuracy_error, fmt="k.", ms=5,
                    label="the same on drawn scenes")  # fmt: skip
        for i, (name, text) in enumerate(LEARNERS.items()):
            ds = datasets[f"{one.name}_{name}"].sel(task=task)
            text = f"InfoNCE, {one.negatives} negatives" if name == "counted" else text
            ax.errorbar(ds.width, ds.accuracy, ds.accuracy_error, fmt="o-", ms=3.5, lw=0.8,
                        capsize=2, color=PALETTE[(0, 3, 4)[i]], label=text)  # fmt: skip
        ax.set(xlabel="width d of the embeddings", ylabel=f"accuracy, {task}", ylim=(0.42, 0.95))
    first = 1 + sum(p.number for p in itertools.takewhile(lambda p: "binding" not in p.text, parts))
    known = [law.accuracy.sel(task=task).values for task in titles]
    binds = [f"d = {int(d)}" for d, a in zip(law.width.values, known[0], strict=True) if a > 0.51]
    best = [float(top.bayes.sel(task=task)) for task in titles]
    near = [f"d = {int(d)}" for d, a in zip(law.width.values, known[1], strict=True)
            if a > 0.5 + 0.9 * (best[1] - 0.5)]  # fmt: skip
    panels(axes, f"spectrum: binding from number {first}",
           f"{titles[0]}: above 1/2 from {(binds or ['no width'])[0]} (spectral)",
           f"{titles[1]}: 9/10 of Bayes from {(near or ['no width'])[0]} (spectral)")  # fmt: skip
    legend(axes[0])
    shared_legend(figure, axes[1])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def draw_trees(one: ContrastiveLearning, trees: xr.Dataset) -> Figure:
    """The class by its spectrum; levels revealed by each pair, against noise."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.5), layout="constrained")
    axes[0].plot(trees.t, trees.order, "k-", lw=1, label="density evolution: order parameter")
    axes[0].errorbar(trees.t, trees.square, trees.square_error, fmt="o", ms=4, color=PALETTE[0],
                     label=r"spectrum: mean $\sigma_k^2$")  # fmt: skip
    axes[0].set(ylabel="order parameter of the class", ylim=(-0.02, 1.05))
    for ax, pair in zip(axes[1:], trees.pair.values, strict=True):
        for level in trees.level.values:
            at = trees.sel(pair=pair, level=level)
            colour = shade(level / max(one.L, 1))
            ax.errorbar(at.t, at.revealed, at.revealed_error, fmt="o-", ms=3, lw=1, color=colour,
                        label=f"level {level}")  # fmt: skip
        ax.set(ylabel=r"revealed, $R^2$", ylim=(-0.02, 1.05))
    for ax in axes:
        ax.set_xlabel(str(trees.t.attrs["long_name"]))
        ax.spines[["top", "right"]].set_visible(False)
    words = []
    for pair in map(str, trees.pair.values):
        clean = trees.revealed.sel(pair=pair).isel(t=0)
        level = int(np.argmax(clean.values))
        words.append(f"{pair}: level {int(trees.level[level])}, "
                     f"$R^2$ = {float(clean[level]):.2f}")  # fmt: skip
    far = float(np.abs(trees.square - trees.order).max())
    panels(axes, f"leaves and class: both agree to {far:.3f}", *words)
    shared_legend(figure, axes[0], axes[1])
    return figure


def draw_texts(one: ContrastiveLearning, texts: xr.Dataset) -> Figure:
    """Spectrum of texts of whole levels, and what each width reveals."""
    levels = [int(k) for k in texts.text.values]
    size = (4.4 * (1 + len(levels)), 3.7)
    figure, axes = plt.subplots(1, 1 + len(levels), figsize=size, layout="constrained")
    for i, level in enumerate(levels):
        at = texts.sel(text=level)
        axes[0].errorbar(at.width, at.value, at.value_error, fmt="o", ms=3.5, lw=0.8,
                         color=PALETTE[i], label=f"text: level {level}")  # fmt: skip
        if np.isfinite(at.stated).any():
            axes[0].plot(at.width, at.stated, "-", lw=1, color=PALETTE[i], label="closed form")
        ax = axes[1 + i]
        for k, part in enumerate(map(str, texts.part.values)):
            row = at.sel(part=part)
            if np.isnan(row.half):
                continue
            whole = part == "string"
            ax.errorbar(row.width, row.revealed, row.revealed_error, ms=3, lw=1,
                        fmt="s--" if whole else "o-", mfc="none" if whole else None,
                        color="k" if whole else shade(0.9 * k / max(levels)),
                        label="whole string" if whole else part)  # fmt: skip
        ax.axvline(one.v, **GUIDE, label=f"d = {one.v}: a text of the class")
        ax.set(xscale="log", xlabel="width d of the embeddings", ylabel=r"revealed, $R^2$",
               ylim=(-0.02, 1.02))  # fmt: skip
        legend(ax)
    axes[0].axvline(2 * one.v - 1, **GUIDE)
    axes[0].set(xscale="log", xlabel="number k", ylabel=r"singular value $\sigma_k$")
    legend(axes[0])
    half = [float(texts.half.sel(text=k, part="level 0")) for k in levels]
    panels(axes, f"single symbols up to number {2 * one.v - 1} (dashed)",
           *(f"text of level {k}: half of the class at d = {d:.0f}"
             for k, d in zip(levels, half, strict=True)))  # fmt: skip
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    return figure
