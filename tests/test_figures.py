"""Figures that can be read: the rules themselves, each against a figure that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from figures import contrast, faults

from hierdiff.plots import (
    FONT,
    PALETTE,
    Axes,
    Figure,
    legend,
    level_colours,
    mark,
    panel_figure,
    panels,
    plt,
    shade,
    shared_legend,
)
from hierdiff.sims import Alignment, Correlations, PhaseTransition, Representation
from hierdiff.sims.phase_transition_figure import phase_transition_processes


def good(count: int = 2) -> tuple[Figure, Any]:
    """A figure without faults."""
    figure, axes = plt.subplots(1, count, figsize=(4 * count, 3), layout="constrained")
    x = np.linspace(0, 1, 50)
    for ax in axes:
        for k, colour in enumerate(level_colours(3)):
            ax.plot(x, x ** (k + 1), color=colour, label=f"level {k}")
        ax.set(xlabel="noise level", ylabel="belief")
    panels(axes, *(f"panel {k}" for k in range(count)))
    return figure, axes


def small_words(figure: Figure, axes: Any) -> None:
    axes[0].text(0.5, 0.5, "small", fontsize=6)


def light_curve(figure: Figure, axes: Any) -> None:
    axes[0].plot([0, 1], [0, 1], color=plt.get_cmap("viridis")(0.95))


def legend_on_curve(figure: Figure, axes: Any) -> None:
    axes[0].legend(loc="center", fontsize=8)


def empty_panel(figure: Figure, axes: Any) -> None:
    axes[1].clear()
    axes[1].set_title("empty", loc="left")


def silent_panel(figure: Figure, axes: Any) -> None:
    axes[1].set_title("", loc="left")


def long_title(figure: Figure, axes: Any) -> None:
    axes[0].set_title("words " * 20, loc="left")


PLANTED: list[tuple[Callable[[Figure, Any], None], str]] = [
    (small_words, "'small' has 6 pt"), (light_curve, "has contrast 1"),
    (legend_on_curve, "a legend lies on the data"), (empty_panel, "a panel is empty"),
    (silent_panel, "does not say what it shows"), (long_title, "runs into"),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "words"), PLANTED, ids=lambda x: getattr(x, "__name__", ""))
def test_a_planted_fault_is_seen(plant: Callable[[Figure, Any], None], words: str) -> None:
    figure, axes = good()
    assert faults(figure) == []
    plant(figure, axes)
    assert any(words in found for found in faults(figure)), faults(figure)
    plt.close(figure)


def test_colours_have_contrast_and_order() -> None:
    assert all(contrast(colour) >= 4.5 for colour in PALETTE)
    assert len(set(PALETTE)) == len(PALETTE)
    for scale in ("levels", "layers"):
        steps = [contrast(colour) for colour in level_colours(11, scale)]
        assert min(steps) >= 3
        assert steps == sorted(steps, reverse=True)  # first dark: the order is seen without hue
    assert level_colours(1) == [shade(0)]
    assert shade(-3) == shade(0)
    assert shade(7) == shade(1)


@pytest.mark.parametrize("count", [1, 4, 11])
def test_legends_lie_below_and_the_figure_grows(count: int) -> None:
    figure, axes = good()
    height = figure.get_figheight()
    for k in range(count):
        axes[0].plot([0, 1], [0, 1], color=PALETTE[0], label=f"a longer name of number {k}")
    legend(axes[0])
    shared_legend(figure, axes[1])
    mark(axes[1], 0.3, "$t^* = 0.3$")
    assert faults(figure) == []
    assert figure.get_figheight() > height
    assert axes[0].get_legend().get_texts()[0].get_fontsize() == FONT
    plt.close(figure)


def test_a_legend_in_a_figure_of_the_caller_stays_inside() -> None:
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.plot([0, 1], [0, 1], label="a")
    legend(ax)
    assert figure.get_figheight() == 3
    plt.close(figure)


@pytest.mark.parametrize("count", [1, 5, 7])
def test_panels_fill_their_figure(count: int) -> None:
    def draw(ax: Axes) -> Axes:
        ax.plot([0, 1], [0, 1], color=PALETTE[0])
        return ax

    figure = panel_figure([(f"panel {k}", draw) for k in range(count)])
    assert faults(figure) == []
    rows: dict[int, float] = {}
    for ax in figure.axes:
        spec = ax.get_subplotspec()
        assert spec is not None
        rows[spec.rowspan.start] = rows.get(spec.rowspan.start, 0) + len(spec.colspan)
    assert len(set(rows.values())) == 1  # no empty cell
    plt.close(figure)


FLAGSHIPS = (
    PhaseTransition(v=8, m=2, L=3, noise="epsilon", grammars=3, data=4, levels=7, refine=0),
    Correlations(v=8, m=2, L=3, noise="masking", grammars=3, data=2, trajectories=8, levels=5),
    Alignment(L=2, weights=(1, 1, 1), objects=20, triplets=50, grammars=2),
    Representation(rank=2, dim=6, n_train=(30, 60), seeds=2, test=30, models=("exact",)),
)


@pytest.mark.parametrize("one", FLAGSHIPS, ids=lambda e: e.name)
def test_the_figure_of_a_question_can_be_read(one: Any) -> None:
    try:
        law = {f"{one.name}_theory": one.predict()}
    except Exception:
        law = {}
    figure = one.figure({**law, one.name: one.measure()})
    assert faults(figure) == []
    plt.close(figure)


def test_all_processes_side_by_side_can_be_read() -> None:
    one = FLAGSHIPS[0]
    pair = (one.predict(), one.measure())
    figure = phase_transition_processes(pair, pair)
    assert faults(figure) == []
    plt.close(figure)
