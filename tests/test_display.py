"""Short words for consoles, tables and drawings for notebooks."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from hierdiff import RHM, Derivations, Grammar, LowRankMixture, MaskingNoise
from hierdiff._display import (
    block,
    experiment_html,
    field_lines,
    html_table,
    html_tree,
    text_table,
)
from hierdiff.contracts import Summary
from hierdiff.data.pcfg import PCFG
from hierdiff.registry import EXPERIMENTS, experiment
from hierdiff.theory import posterior

GRAMMAR = RHM(v=4, m=2, s=2, L=3).draw(seed=0)
DATA = GRAMMAR.sample(300, seed=1)
NOISE = MaskingNoise(v=4)
BELIEFS = posterior(GRAMMAR, NOISE.evidence(NOISE.corrupt(DATA.leaves, 0.5, seed=2), 0.5))
SHOWN = {
    "grammar": GRAMMAR,
    "weighted": Grammar([[[[0, 1], [1, 1]], [[1, 0], [0, 0]]]], weights=[[[0.9, 0.1]] * 2]),
    "deep": RHM(v=4, m=2, s=2, L=14).draw(seed=0),
    "derivations": DATA,
    "none": DATA[:0],
    "posterior": BELIEFS,
    "mixture": LowRankMixture.random(60, 2, 12, delta=0.2, seed=0),
    "trees that vary": PCFG.random(4, {1: 1, 2: 2}, 3, 0),
    "general trees": PCFG.from_text("S -> S S [0.3] | '<b>' [0.5] | 'b' [0.2]"),
    "endless": PCFG.from_text("S -> S S [0.5] | 'a' [0.5]"),
    "many classes": LowRankMixture.random(80, 2, 40, delta=0.2, seed=0),
    "many ranks": LowRankMixture([np.eye(40)[:, : 1 + k % 3] for k in range(30)]),
    "summary": Summary("a < b\n1   2", "a is below b & c.", {}),
}


class Balanced(HTMLParser):
    """Refuses tags that are not closed, and closed ones that were not opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> list[str]:
    """The tags of a page that is well formed."""
    page = Balanced()
    page.feed(text)
    page.close()
    assert not page.open
    return page.seen


@pytest.mark.parametrize("name", SHOWN)
def test_html_is_sound_and_small(name: str) -> None:
    text = SHOWN[name]._repr_html_()
    assert {"div", "strong"} <= set(parsed(text))
    assert len(text) < 12_000
    # dark mode: no colour is set but that of the page
    assert set(re.findall(r'(?:fill|stroke|color)[=:]"?([\w#]+)', text)) <= {"currentColor", "none"}
    assert "script" not in parsed(text)


@pytest.mark.parametrize("name", SHOWN)
def test_words_are_one_short_line(name: str) -> None:
    if name != "summary":  # a tuple of text
        assert "\n" not in repr(SHOWN[name])
        assert len(repr(SHOWN[name])) < 120


def test_a_posterior_is_a_line() -> None:
    assert repr(BELIEFS) == (
        "Posterior(n=300, levels=[0, 1, 2, 3], grammar=Grammar(L=3, v=4, m=2, s=2))"
    )
    top = posterior(GRAMMAR, NOISE.evidence(DATA.leaves, 0.0), levels=[0])
    assert repr(top).startswith("Posterior(n=300, levels=[0], ")
    assert "<td>level 0</td><td>1</td><td>1</td><td>" in top._repr_html_()
    assert "level 1" not in top._repr_html_()


def test_a_grammar_shows_its_rules_and_a_tree() -> None:
    text = GRAMMAR._repr_html_()
    first = GRAMMAR.rules[0][0, 0].tolist()
    assert f"<td>0 to 1</td><td>0</td><td>{first}</td><td>0.5</td>" in text
    assert parsed(text).count("text") == 1 + 2 + 4 + 8
    assert parsed(text).count("line") == 2 + 4 + 8
    deep = SHOWN["deep"]._repr_html_()  # 32 leaves at most
    assert parsed(deep).count("text") == 63
    assert "9 levels below are not drawn" in deep
    assert Grammar([[[[0, 1]]]])._repr_html_()


def test_a_grammar_whose_trees_vary_shows_its_rules_and_a_tree() -> None:
    general = SHOWN["general trees"]
    text = general._repr_html_()
    assert "<td>S</td><td>S S</td><td>0.3</td>" in text
    assert "<td>S</td><td>&lt;b&gt;</td><td>0.5</td>" in text
    assert f"<pre>{html.escape(general.sample(1, seed=0).to_text())}</pre>" in text
    assert "<pre>(" in SHOWN["trees that vary"]._repr_html_()
    assert "<pre>" not in SHOWN["endless"]._repr_html_()


def test_a_tree_joins_children_to_their_parent() -> None:
    text = html_tree([np.array([7]), np.array([1, 2]), np.array([3, 4, 5, 6])])
    lines = [tuple(map(float, x)) for x in re.findall(r'x1="(\S+)" y1="\S+" x2="(\S+)"', text)]
    at = [x for x, _ in lines]
    words = re.findall(r'x="(\S+)" y="\S+">(\d)', text)
    place = {word: float(x) for x, word in words}
    assert at == [place["7"]] * 2 + [place["1"]] * 2 + [place["2"]] * 2
    assert [x for _, x in lines] == [place[k] for k in "123456"]


def test_everything_is_escaped() -> None:
    bad = "<script>alert('x')</script>"
    for text in (block(bad), html_table([bad], [[bad], [repr(bad)]]),
                 Summary(bad, bad, {})._repr_html_(), html_tree([np.array([bad])])):  # fmt: skip
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_long_tables_and_values_are_cut() -> None:
    text = html_table(["a", "b"], [[i, list(range(100))] for i in range(20)])
    assert "and 12 more" in text
    assert parsed(text).count("tr") == 1 + 8 + 1
    assert max(map(len, re.findall(r"<td[^>]*>([^<]*)", text))) <= 60


def test_derivations_show_a_few() -> None:
    text = DATA._repr_html_()
    assert "Derivations(n=300, nodes=(1, 2, 4, 8))" in text
    assert parsed(text).count("tr") == 1 + 4
    assert Derivations((np.zeros((0, 1), int),))._repr_html_()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_shows_its_fields(name: str) -> None:
    kind = experiment(name)
    lines = field_lines(kind)
    assert lines
    assert all(lines.values()), [field for field, text in lines.items() if not text]
    text = kind()._repr_html_()
    assert kind.__name__ in text
    assert parsed(text).count("tr") == 1 + len(lines)


def test_a_class_without_source_is_shown_without_lines() -> None:
    scope: dict[str, Any] = {"dataclass": dataclass}
    exec('@dataclass\nclass Own:\n    """Mine."""\n    a: int = 1\n', scope)
    assert field_lines(scope["Own"]) == {"a": ""}
    assert "<td>a</td><td>1</td><td></td>" in experiment_html(scope["Own"]())


def test_a_table_stays_within_eighty_letters() -> None:
    """Columns that do not fit follow below with the names of the rows; no column is lost."""
    header = ["process", "L", *(f"column {k}" for k in range(8))]
    rows = [["masking", 10, *(f"{k}.1234 ± 0.0100" for k in range(8))], ["uniform", 4, *"abcdefgh"]]
    text = text_table(header, rows, keys=2)
    assert max(map(len, text.split("\n"))) <= 80
    assert text.count("process   L") == text.count("masking  10") == len(text.split("\n\n")) > 1
    assert all(text.count(f"column {k}") == 1 for k in range(8))
    # numbers end on one line, words begin on one
    lines = text_table(["name", "x"], [["a", "9.5 ± 0.1"], ["bb", "-"], ["c", "10.5 ± 0.1"]])
    assert lines.split("\n") == [
        "name           x", "a      9.5 ± 0.1", "bb             -", "c     10.5 ± 0.1",
    ]  # fmt: skip
    said = text_table(["a", "question"], [["x", "one two " * 20], ["yy", ""]], wrap=True)
    assert max(map(len, said.split("\n"))) <= 80
    assert said.count("one") == 20
    assert text_table([], []) == ""
    with pytest.raises(ValueError, match="argument 2"):
        text_table(["a", "b"], [["one"]])
