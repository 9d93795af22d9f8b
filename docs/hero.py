"""The figure of the first page: the loss of the class sharpens with depth, beside all levels.

Made by ``python docs/hero.py`` in about half a minute: exact inference on sampled grammars as
points, density evolution on a grid of its own as lines.
"""

from __future__ import annotations

import sys

import numpy as np
from pages import HERE, result

from hierdiff.plots import Axes, Figure, level_colours, mark, panels, plt, shared_legend
from hierdiff.sims import PhaseTransition
from hierdiff.sims.phase_transition_figure import phase_transition

FILE = HERE / "_static" / "sharpening.png"
DEPTHS = (4, 6, 8, 10)
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


if __name__ == "__main__":
    plt.switch_backend("agg")
    draw().savefig(FILE, dpi=200)
    print(f"wrote {FILE}")
