"""What is shown of an object: tables for terminals and notebooks, and trees as drawings.

A class shows itself by ``_repr_html_``, which notebooks look for.  Text and lines have the colour
of the page (``currentColor``), so they are read in light and dark mode; everything that comes from
values is escaped.  Tables end after a few rows and say how many are left out.
"""

from __future__ import annotations

import dataclasses
import html
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "block", "experiment_html", "field_lines", "html_table", "html_tree", "pair_text", "plus_minus",
    "text_table",
]  # fmt: skip

# rows of a table, letters of a cell, and leaves of a drawing that a reader still takes in
ROWS, LETTERS, LEAVES = 8, 60, 32
WIDTH = 80  # letters of a line, as terminals and pipes have them


def plus_minus(value: Any, error: Any, digits: int = 3) -> str:
    """A number with its error for a printed table; "-" where there is no number.

    >>> plus_minus(0.12345, 0.002), plus_minus(-1e-9, 0.0, 2), plus_minus(float("nan"), 0.1)
    ('0.123 ± 0.002', '0.00 ± 0.00', '-')
    """
    if not np.isfinite(float(value)):
        return "-"
    # a rounded zero has no sign
    return f"{round(float(value), digits) + 0:.{digits}f} ± {float(error):.{digits}f}"


def pair_text(values: Iterable[Any], digits: int = 3) -> str:
    """:func:`plus_minus` of a number and its error that stand together; more of them is left."""
    value, error, *_ = values
    return plus_minus(value, error, digits)


def block(title: str, *parts: str) -> str:
    """A title above tables and drawings, which are HTML already."""
    return f"<div><strong>{html.escape(title)}</strong>{''.join(parts)}</div>"


def text_table(
    header: Sequence[object], rows: Sequence[Sequence[object]], *, keys: int = 1,
    wrap: bool = False,
) -> str:  # fmt: skip
    """A table of words and numbers for a terminal; columns of numbers end on one line.

    Columns beyond 80 letters follow below, again with the first ``keys`` columns, which name the
    rows; ``wrap`` breaks the sentences of the last one instead.  The same in pipes, without colour.
    """
    lines = [[str(x) for x in line] for line in ([header, *rows] if header else rows)]
    if not lines:
        return ""
    if wrap:
        lines = _wrapped(lines)
    columns = list(zip(*lines, strict=True))
    cells = []
    for k, column in enumerate(columns):
        side = ">" if _numeric(column[bool(header) :]) and (k or header) else "<"
        wide = max(map(len, column))
        cells.append([f"{x:{side}{wide}}" for x in column])
    blocks = [list(range(keys))]
    for k in range(keys, len(cells)):
        taken = sum(len(cells[i][0]) + 2 for i in blocks[-1])
        if taken + len(cells[k][0]) > WIDTH and len(blocks[-1]) > keys:
            blocks.append(list(range(keys)))
        blocks[-1].append(k)
    return "\n\n".join(
        "\n".join("  ".join(cells[k][i] for k in block).rstrip() for i in range(len(lines)))
        for block in blocks
    )


def _wrapped(lines: list[list[str]]) -> list[list[str]]:
    """The same with the last column in sentences of what room the others leave."""
    room = WIDTH - sum(max(len(line[k]) for line in lines) + 2 for k in range(len(lines[0]) - 1))
    found = []
    for *cells, text in lines:
        for i, part in enumerate(textwrap.wrap(text, room) or [""]):
            found.append([*([""] * len(cells) if i else cells), part])
    return found


def _numeric(cells: Sequence[str]) -> bool:
    """Whether cells are numbers, perhaps with an error, a sign or a sum; empty ones may be."""
    found = [x for x in cells if x not in {"", "-"}]
    return bool(found) and all(re.match(r"[-+]?(\.?\d|nan|inf)", x) for x in found)


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]], limit: int = ROWS) -> str:
    """A table of words and numbers; ``limit`` rows and the number of the others."""
    cells = [
        f"<tr>{''.join(f'<td>{html.escape(_short(x))}</td>' for x in row)}</tr>"
        for row in rows[:limit]
    ]
    if len(rows) > limit:
        words = f"and {len(rows) - limit} more"
        cells.append(f'<tr><td colspan="{len(header)}">{words}</td></tr>')
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(cells)}</tbody></table>"


def html_tree(levels: Sequence[NDArray[Any]]) -> str:
    """One derivation as a drawing: ``levels`` hold its symbols from the root to the leaves.

    Levels below the last one that has at most 32 nodes are left out; the caption says so.
    """
    shown = [np.asarray(x).tolist() for x in levels if len(x) <= LEAVES]
    width, step = 24 * len(shown[-1]) + 8, 34
    places = [[width * (i + 0.5) / len(x) for i in range(len(x))] for x in shown]
    parts = []
    for level, xs in enumerate(places):
        y = step * level + 14
        for i, x in enumerate(xs):
            if level:
                up = places[level - 1][i * len(places[level - 1]) // len(xs)]
                parts.append(f'<line x1="{up:g}" y1="{y - step + 5}" x2="{x:g}" y2="{y - 11}"/>')
            word = html.escape(str(shown[level][i]))
            parts.append(f'<text x="{x:g}" y="{y}">{word}</text>')
    height = step * (len(shown) - 1) + 22
    lost = len(levels) - len(shown)
    note = f"<div>{lost} levels below are not drawn</div>" if lost else ""
    return (
        f'<svg role="img" aria-label="a derivation tree" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" style="max-width:100%;height:auto" stroke="currentColor" '
        'stroke-width="0.6"><g font-size="11" text-anchor="middle">'
        # letters are filled only: with the outline of the lines they would be bold
        + "".join(parts).replace("<text ", '<text fill="currentColor" stroke="none" ')
        + f"</g></svg>{note}"
    )


def field_lines(kind: type) -> dict[str, str]:
    """The lines that document the fields of a dataclass, from its source; "" without one."""
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # of a class that was typed into a shell
        source = ""
    found = {}
    for field in dataclasses.fields(kind):
        text = re.search(
            rf'^    {field.name}: [^\n]*(?:\n(?!    \w)[^\n]*)*?\n    r?"""(.*?)"""',
            source, re.DOTALL | re.MULTILINE,
        )  # fmt: skip
        found[field.name] = " ".join(text[1].split()) if text else ""
    return found


def experiment_html(experiment: Any) -> str:
    """An experiment: its question, its fields, their values and what they are."""
    kind = type(experiment)
    lines = field_lines(kind)
    rows = [[name, getattr(experiment, name), text] for name, text in lines.items()]
    title, _, _ = (kind.__doc__ or "").partition("\n")
    return block(
        kind.__name__, f"<p>{html.escape(title.strip())}</p>",
        html_table(["field", "value", "what it is"], rows, limit=len(rows)),
    )  # fmt: skip


def _short(value: object) -> str:
    """A value in a few letters; words of ours are not cut."""
    if isinstance(value, str):
        return value
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 4]} ..."
