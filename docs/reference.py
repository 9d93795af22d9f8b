"""What the manual shows of the code itself: the command line, and a derivation with its beliefs."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import io
import re
import unicodedata
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from pages import HERE, ROOT, table

from hierdiff import RHM, MaskingNoise
from hierdiff.__main__ import main as hierdiff_main
from hierdiff.__main__ import parser
from hierdiff._display import field_lines
from hierdiff.citations import Entry, entries, places
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.sims.run import RunOptions
from hierdiff.theory import posterior


def help_of(words: list[str]) -> str:
    """What a command prints with --help."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        hierdiff_main([*words, "--help"])
    return said.getvalue().rstrip()


def flags(kind: type) -> list[list[str]]:
    """Fields of a class as rows: flag, default, help."""
    lines, rows = field_lines(kind), []
    for field in dataclasses.fields(kind):
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        nested = dataclasses.is_dataclass(default)
        words = "see `--help`" if nested else "" if default is None else f"`{default}`"
        rows.append([f"`--{field.name.replace('_', '-')}`", words, lines[field.name]])
    return rows


def commands() -> str:
    """All commands with their help, and the flags of every experiment."""
    names = ["", "list", "sweep", "show", "compare", "plot", "rerun", "verify", "cite", "models"]
    assert {*names[1:], "run"} <= {*next(iter(parser()._subparsers._group_actions)).choices}
    parts = []
    for name in names:
        parts.append(
            f"## hierdiff {name}".rstrip()
            + f"\n\n```text\n{help_of([name] if name else [])}\n```\n"
        )
    parts.append("## hierdiff run\n\nEvery experiment takes these flags, which change no number:\n")
    header = ["flag", "default", "what it is"]
    parts.append(table(header, flags(RunOptions)))
    for name, entry in EXPERIMENTS.items():
        extra = f" Needs the extra `{entry.extra}`." if entry.extra else ""
        parts.append(
            f"\n### hierdiff run {name}\n\n{entry.text[0].upper()}{entry.text[1:]}.{extra}\n"
        )
        parts.append(table(header, flags(experiment(name))))
    return "\n".join(parts)


def modules() -> str:
    """The public modules by subject, each with the first line of its docstring."""
    index = (HERE / "api" / "index.md").read_text()
    parts = []
    for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL):
        (subject,) = re.findall(r"^:caption: (.*)$", block, re.MULTILINE)
        names = re.findall(r"^hierdiff[\w.]*$", block, re.MULTILINE)
        rows = [[f"{{doc}}`{name} <{name}>`", _first_line(name)] for name in names]
        parts.append(f"## {subject}\n\n{table(['module', 'what it holds'], rows)}")
    return "\n".join(parts)


def _first_line(module: str) -> str:
    """The sentence that a module begins with, in Markdown."""
    place = ROOT.joinpath(*module.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = " ".join(text.partition("\n\n")[0].split())
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", line).replace("``", "`")


def papers() -> str:
    """All papers with the names that use them."""
    users: dict[str, list[str]] = {}
    for place, keys in places().items():
        for key in keys:
            users.setdefault(key, []).append(place.rpartition(".")[2])
    rows = []
    for key, entry in entries().items():
        names = [f"`{name}`" for name in sorted(set(users.get(key, [])), key=str.lower)]
        rows.append(
            [f"{_reference(entry)}", ", ".join(names) or "the manual, or a part of a study"]
        )
    return table(["paper", "used by"], rows)


def _reference(entry: Entry) -> str:
    """An entry as a line: surnames, title, year, link."""
    fields = {k: _plain(v) for k, v in entry.fields.items()}
    names = [name.partition(",")[0] for name in fields["author"].split(" and ")]
    who = f"{names[0]} and others" if len(names) > 3 else ", ".join(names)
    number = fields.get("eprint")
    link = f" [arXiv {number}](https://arxiv.org/abs/{number})" if number else ""
    return f"{who}, *{fields['title']}* ({fields['year']}){link}"


def _plain(text: str) -> str:
    """A field of BibTeX as plain text: accents as letters, no braces."""
    marks = {"'": "\u0301", "^": "\u0302", '"': "\u0308"}
    text = re.sub(r"\\(['^\"])(\w)", lambda found: found[2] + marks[found[1]], text)
    return unicodedata.normalize("NFC", text.translate({ord("{"): None, ord("}"): None}))


def derivation() -> Figure:
    """A derivation, its leaves after masking, and the exact belief in the truth at every node."""
    grammar, noise, t = RHM(v=4, m=2, s=2, L=3).draw(seed=1), MaskingNoise(v=4), 0.5
    data = grammar.sample(1, seed=4)
    x_t = noise.corrupt(data.leaves, t, seed=4)
    beliefs = posterior(grammar, noise.evidence(x_t, t)).marginals
    figure, axes = plt.subplots(1, 3, figsize=(7.5, 2.6), layout="constrained")
    places = [(np.arange(n) + 0.5) / n for n in (1, 2, 4, 8)]
    for ax, title in zip(axes, ("derivation", f"leaves at t = {t}", "belief in the true symbol"),
                         strict=True):  # fmt: skip
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        ax.set_ylim(-0.4, 3.4)
    for level in range(4):
        truth = data.levels[level][0]
        for i, x in enumerate(places[level]):
            y = 3 - level
            p = float(beliefs[level][0, i, truth[i]])
            if level:
                above = places[level - 1][i // 2]
                for ax in (axes[0], axes[2]):
                    ax.plot([above, x], [y + 1, y], color="0.6", lw=0.8, zorder=0)
            _node(axes[0], x, y, str(truth[i]), 1.0)
            _node(axes[2], x, y, f"{p:.2f}".removeprefix("0").replace("1.00", "1"), p)
            if level == 3:
                seen = int(x_t[0, i])
                _node(axes[1], x, y, "?" if seen < 0 else str(seen), 0.0 if seen < 0 else 1.0)
    return figure


def _node(ax: plt.Axes, x: float, y: float, word: str, shade: float) -> None:
    """A node with its word; darker where more is known."""
    colour = plt.get_cmap("Blues")(0.1 + 0.75 * shade)
    dark = shade > 0.6
    ax.text(x, y, word, ha="center", va="center", fontsize=8, color="white" if dark else "black",
            bbox={"boxstyle": "circle,pad=0.25", "fc": colour, "ec": "0.4", "lw": 0.6})  # fmt: skip


def draw(folder: Path) -> None:
    """Write the drawings of the manual."""
    figure = derivation()
    figure.savefig(folder / "derivation.png", dpi=200)
    plt.close(figure)
