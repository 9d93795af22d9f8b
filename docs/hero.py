"""The figure of the first page: the loss of the class sharpens with depth, beside all levels.

Made by ``python docs/hero.py`` in about half a minute: exact inference on sampled grammars as
points, density evolution on a grid of its own as lines.  For narrow screens the drawn panels are
also put below each other; ``python docs/hero.py stack`` does only that, with the figure there is.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from pages import HERE, result
from PIL import Image, ImageOps

from hierdiff.plots import Axes, Figure, level_colours, mark, panels, plt, shared_legend
from hierdiff.sims import PhaseTransition
from hierdiff.sims.phase_transition_figure import phase_transition

FILE = HERE / "_static" / "sharpening.png"
NARROW = FILE.with_stem("sharpening_narrow")
DEPTHS = (4, 6, 8, 10)
INK, GAP = 200, 12  # grey values below it are ink; so many blank pixels part panels and legend
# the class falls between .15 and .45; elsewhere the curves are nearly straight
GRID = np.unique(np.concatenate([np.linspace(0, 1, 21), np.linspace(0.14, 0.46, 33)]).round(4))


def sharpening(ax: Axes) -> None:
    """Belief in the class at growing depth."""
    for L, colour in zip(DEPTHS, level_colours(len(DEPTHS)), strict=True):
        experiment = PhaseTransition(L=L, noise="masking", levels=21)
        law, ds = experiment.predict(t=GRID), experiment.measure()
        ax.plot(law.t, law.belief[0], color=colour, lw=1.3)
        ax.errorbar(ds.t, ds.belief[0], ds.belief_error[0], color=colour, fmt="o", ms=3,
                    elinewidth=0.8, label=f"L = {L}")  # fmt: skip
        print(f"L = {L}: {float(ds.threshold):.4f} ± {float(ds.threshold_error):.4f}",
              file=sys.stderr)  # fmt: skip
    ax.set(xlabel="noise level $t$ (masking process)", ylabel="belief in the true class",
           xlim=(0, 0.7), ylim=(-0.02, 1.02))  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)


def levels(ax: Axes) -> None:
    """Beliefs of all levels at the greatest depth."""
    experiment = PhaseTransition(L=DEPTHS[-1], noise="masking", levels=21, refine=0)
    phase_transition(experiment.predict(t=GRID), experiment.measure(), ax=ax)
    ax.set(xlim=(0, 1), ylabel="belief in the true symbol of a level")
    first, last = level_colours(2)
    ax.text(0.26, 0.12, "class", ha="right", color=first)
    ax.text(0.66, 0.45, "leaves", color=last)


def draw() -> Figure:
    """Both panels, with the threshold of infinite depth."""
    rows = (x for x in result("phase_diagram") if (x["v"], x["m"], x["s"]) == (32, 8, 2))
    threshold = next(rows)["masking"][0]
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.7), layout="constrained")
    for ax, panel in zip(axes, (sharpening, levels), strict=True):
        panel(ax)
        mark(ax, threshold, f"$t^* = {threshold:.3f}$ ($L \\to \\infty$)")
    panels(axes, "the class is lost more suddenly with depth L", f"all levels at L = {DEPTHS[-1]}")
    axes[0].plot([], [], color="0.3", lw=1.3, label="density evolution")
    axes[0].plot([], [], "o", ms=3, color="0.3", label="exact inference")
    shared_legend(figure, axes[0])
    return figure


def stack(wide: Image.Image) -> Image.Image:
    """The panels of the figure below each other, and the legend below them.

    The panels are parted at the blank columns next to the middle, the legend at the last gap of
    blank rows; the rows of its own words stand closer.
    """
    blank = np.asarray(wide.convert("L")) > INK
    gaps = _runs(blank.all(axis=1))
    bottom = sum(gaps[-2]) // 2  # the last are the margin
    middle = min((sum(gap) // 2 for gap in _runs(blank[:bottom].all(axis=0))),
                 key=lambda x: abs(x - wide.width / 2))  # fmt: skip
    legend = ImageOps.invert(wide.crop((0, bottom, *wide.size)).convert("L")).getbbox()
    assert legend is not None, "a figure without a legend"
    parts = [wide.crop((0, 0, middle, bottom)), wide.crop((middle, 0, wide.width, bottom)),
             wide.crop((legend[0], bottom, legend[2], wide.height))]  # fmt: skip
    whole = Image.new("RGB", (max(x.width for x in parts), sum(x.height for x in parts)), "white")
    top = 0
    for part in parts:
        # panels have their axes on the left, at one place; a legend stands in the middle
        left = (whole.width - part.width) // 2 if part is parts[-1] else 0
        whole.paste(part, (left, top))
        top += part.height
    return whole


def _runs(blank: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every run of blank rows or columns wide enough to be a gap."""
    at = np.flatnonzero(blank)
    cut = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return [(int(run[0]), int(run[-1])) for run in cut if len(run) >= GAP]


if __name__ == "__main__":
    if sys.argv[1:] != ["stack"]:
        plt.switch_backend("agg")
        draw().savefig(FILE, dpi=200)
        print(f"wrote {FILE}")
    stack(Image.open(FILE).convert("RGB")).save(NARROW, optimize=True)
    print(f"wrote {NARROW}")
