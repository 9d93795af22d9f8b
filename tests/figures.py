"""What every figure has to hold to: sizes of words, contrast, legends off the data, panels.

Contrast is that of WCAG 2.1: (L + .05) / (l + .05) with the relative luminances of the lighter and
the darker colour; 3 is asked of graphical objects, 4.5 of small words.
"""

from __future__ import annotations

import itertools
from typing import Any

import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

__all__ = ["contrast", "faults"]


def luminance(colour: Any) -> float:
    """Relative luminance of a colour, 0 black and 1 white."""
    c = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(colour: Any, other: Any = "w") -> float:
    """Contrast ratio of two colours, from 1 to 21."""
    low, high = sorted((luminance(colour), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def faults(figure: Figure) -> list[str]:
    """Everything that is wrong with a figure, in words."""
    figure.draw_without_rendering()
    found = [*words_too_small(figure), *curves_too_light(figure), *overlaps(figure)]
    for ax in panels_of(figure):
        if not ax.has_data() and ax.get_visible():
            found.append("a panel is empty")
    named = [ax for ax in panels_of(figure) if title_of(ax)]
    if len(panels_of(figure)) > 1 and len(named) < len(panels_of(figure)):
        found.append("a panel does not say what it shows")
    return found


def panels_of(figure: Figure) -> list[Axes]:
    """Axes without colour bars and twins."""
    found: list[Axes] = []
    for ax in figure.axes:
        spec = ax.get_subplotspec()
        twin = spec is not None and any(spec == one.get_subplotspec() for one in found)
        if not twin and ax.get_label() != "<colorbar>":
            found.append(ax)
    return found


def title_of(ax: Axes) -> str:
    """Words above a panel, without its letter."""
    words = ax.get_title() + ax.get_title("left") + ax.get_title("right")
    return words.split("$   ")[-1].strip()


def words_of(figure: Figure) -> list[Text]:
    """All words that are seen; ticks outside the limits of an axis have labels that are not."""
    unseen: set[int] = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    unseen |= {id(tick.label1), id(tick.label2)}
    return [one for one in figure.findobj(Text)
            if one.get_visible() and one.get_text().strip() and id(one) not in unseen]  # fmt: skip


def words_too_small(figure: Figure) -> list[str]:
    return [f"{one.get_text()!r} has {one.get_fontsize():g} pt" for one in words_of(figure)
            if one.get_fontsize() < 8]  # fmt: skip


def curves_too_light(figure: Figure) -> list[str]:
    """Lines and markers that stand for something; thin ones of single grammars may be faint."""
    found = []
    for ax in figure.axes:
        for line in ax.lines:
            faint = line.get_gid() == "faint" or bool(ax.images)  # white lines divide an image
            if faint or not line.get_visible() or not len(line.get_xydata()):
                continue
            colour = line.get_color()
            if contrast(colour) < 3 and (line.get_linestyle() != "None" or filled(line)):
                found.append(f"{line.get_label()!r} has contrast {contrast(colour):.2f}")
    return found


def filled(line: Line2D) -> bool:
    return line.get_marker() not in ("None", None, "", " ")


def overlaps(figure: Figure) -> list[str]:
    """Legends on data of their own panel, on another legend, or on words outside themselves."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [(one, one.get_window_extent(renderer)) for one in figure.findobj(Legend)]
    found = [
        "two legends overlap" for (_, a), (_, b) in itertools.combinations(boxes, 2)
        if common(a, b) > 1
    ]  # fmt: skip
    outside = [one for one in words_of(figure) if not any(one in legend.findobj(Text)
                                                          for legend, _ in boxes)]  # fmt: skip
    for _, box in boxes:
        for text in outside:
            if common(box, text.get_window_extent(renderer)) > 4:
                found.append(f"a legend lies on {text.get_text()!r}")
        for ax in figure.axes:
            for line in ax.lines:
                data = np.array(line.get_xydata(), float)
                x, y = line.get_transform().transform(data).T
                inside = (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)
                if inside.any() and line.get_clip_box() is not None and ax.bbox.overlaps(box):
                    found.append(f"a legend lies on the data of {line.get_label()!r}")
    for a, b in itertools.combinations(figure.axes, 2):
        first, second = (one.get_title("left") and one._left_title for one in (a, b))
        if first and second:
            shared = common(first.get_window_extent(renderer), second.get_window_extent(renderer))
            if shared > 4:
                found.append(f"{first.get_text()!r} runs into {second.get_text()!r}")
    return found


def common(a: Bbox, b: Bbox) -> float:
    """Area that two boxes share, in pixels."""
    both = Bbox.intersection(a, b)
    return 0.0 if both is None else float(both.width * both.height)
