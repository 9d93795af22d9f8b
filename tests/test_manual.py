"""The built manual: no network, no raw TeX, no broken link, nothing cut, figures in the dark.

``HIERDIFF_MANUAL`` names a built manual; without it one is built here without its gallery, which
takes about two minutes and needs the extra ``[docs]``.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from browser import Page, chromium

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

# what a reader would see: no code, and no TeX that stands beside a formula for those who copy it
SEEN = """(() => {
  const copy = document.querySelector('article').cloneNode(true);
  copy.querySelectorAll('pre, code, annotation, script, style').forEach((one) => one.remove());
  return [...copy.textContent.matchAll(/\\\\[a-zA-Z]{2,}|\\$[^$\\n]{1,60}\\$|\\\\[()[\\]]/g)]
    .map((found) => found[0]);
})()"""
# what lies beyond the right edge, unless something around it scrolls
CUT = """(() => {
  const inside = (one) => {
    for (let up = one; up && up !== document.body; up = up.parentElement)
      if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX)) return true;
    return false;
  };
  const wide = [...document.querySelectorAll('article *')].filter((one) =>
    one.getBoundingClientRect().right > innerWidth + 1 && !inside(one));
  const page = document.documentElement.scrollWidth > innerWidth + 1 ? ['the page'] : [];
  return page.concat(wide.slice(0, 3).map((one) => one.outerHTML.slice(0, 120)));
})()"""
IMAGES = """[...document.querySelectorAll('article img')]
  .filter((one) => one.alt.trim().length < 4 || !one.complete || !one.naturalWidth)
  .map((one) => one.getAttribute('src'))"""
DARK = """[...document.querySelectorAll('article img')]
  .map((one) => getComputedStyle(one).backgroundColor)
  .filter((one) => one !== 'rgb(255, 255, 255)')"""
CODE = "document.querySelectorAll('article pre').length"
# what would have to be moved to be read
SIDEWAYS = """[...document.querySelectorAll('article :is(pre, .table-wrapper, .picture)')]
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => one.textContent.slice(0, 80))"""
# pixels between the icons of the theme and of the contents
ICONS = """document.querySelector('.toc-header-icon svg').getBoundingClientRect().left -
  document.querySelector('.theme-toggle-header').getBoundingClientRect().right"""
SCROLLS = """[...document.querySelectorAll('.math-block')]
  .filter((one) => one.scrollWidth > one.clientWidth + 1)
  .every((one) => getComputedStyle(one).overflowX === 'auto')"""


@functools.cache
def built(place: Path) -> Path:
    """The folder of the manual, which is built if there is none."""
    named = os.environ.get("HIERDIFF_MANUAL")
    if named:
        return Path(named)
    for module in ("sphinx", "sphinx_gallery", "furo", "myst_parser", "latex2mathml"):
        pytest.importorskip(module, reason=f"{module} of the extra [docs] is not installed")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-D",
               "plot_gallery=0", "docs", str(place)]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return place


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.getbasetemp() / "manual")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


class Links(NamedTuple):
    """What a page links to, what it loads, and the places in it."""

    links: list[str]
    loads: list[str]
    ids: set[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found = Links([], [], set())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        if "id" in given:
            self.found.ids.add(given["id"])
        if tag == "a" and "href" in given:
            self.found.links.append(given["href"])
        if tag == "a" and "name" in given:
            self.found.ids.add(given["name"])
        if tag in ("script", "img", "iframe", "source", "video") and "src" in given:
            self.found.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.found.loads.append(given["href"])


@functools.cache
def links_of(path: Path) -> Links:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.found


def pages_of(manual: Path) -> list[Path]:
    return sorted(manual.rglob("*.html"))


def test_no_link_inside_the_manual_is_broken(manual: Path) -> None:
    broken = []
    for path in pages_of(manual):
        for href in (*links_of(path).links, *links_of(path).loads):
            parts = urlsplit(href)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(manual)}: {href}")
                continue
            # a mark with = holds parameters of the explorer
            place = "" if "=" in parts.fragment else unquote(parts.fragment)
            if place and target.suffix == ".html" and place not in links_of(target).ids:
                broken.append(f"{path.relative_to(manual)}: {href}")
    assert not broken, broken[:10]


def test_nothing_is_loaded_from_elsewhere(manual: Path) -> None:
    outside = [
        f"{path.name}: {src}" for path in pages_of(manual) for src in links_of(path).loads
        if urlsplit(src).netloc
    ]  # fmt: skip
    assert not outside, outside[:10]
    styles = [*manual.rglob("*.css"), *(manual / "_static").rglob("explorer*.js")]
    assert styles
    for path in styles:
        text = path.read_text(encoding="utf-8")
        assert "url(http" not in text, path
        assert "@import" not in text, path


def test_fragments_are_no_pages(manual: Path) -> None:
    assert not list((manual / "_generated").glob("*.html"))
    assert (manual / "explorer.html").exists()


@pytest.mark.parametrize("width", [390, 1400])
def test_every_page_is_whole_in_a_browser(manual: Path, page: Page, width: int) -> None:
    wrong: dict[str, Any] = {}
    for path in pages_of(manual):
        if path.name in ("genindex.html", "py-modindex.html", "search.html"):
            continue
        page.open(path, width)
        found = {
            "raw TeX": page.value(SEEN) if width == 1400 else [],
            "cut": page.value(CUT),
            "image without words or file": page.value(IMAGES),
            "formula that cannot be scrolled": [] if page.value(SCROLLS) else [True],
            "asked for": [url for url in page.requested if not url.startswith(("file", "data"))
                          and url != "about:blank"],
            "error": page.errors[:1],
        }  # fmt: skip
        bad = {name: words[:3] for name, words in found.items() if words}
        if bad:
            wrong[str(path.relative_to(manual))] = bad
    assert not wrong, "\n".join(f"{name}: {bad}" for name, bad in list(wrong.items())[:12])


def test_pages_of_a_beginner_need_no_scrolling_on_a_phone(manual: Path, page: Page) -> None:
    for name in ("index", "install", "tutorial"):
        page.open(manual / f"{name}.html", 390)
        assert page.value(CODE) > 0
        assert page.value(SIDEWAYS) == [], name
    for name in ("install", "tutorial"):
        page.open(manual / f"{name}.html", 390)
        assert page.value(ICONS) >= 8, name


@pytest.mark.parametrize(("width", "stacked"), [(390, True), (1400, False)])
def test_the_first_page_fits_its_width(manual: Path, page: Page, width: int, stacked: bool) -> None:
    page.open(manual / "index.html", width)
    image = "document.querySelector('article picture img')"
    assert (page.value(f"{image}.naturalHeight > {image}.naturalWidth")) is stacked
    contents = "document.querySelector('article .toctree-wrapper').getClientRects().length"
    assert (page.value(contents) > 0) is stacked  # else they stand in the sidebar alone


def test_figures_have_a_white_sheet_in_the_dark(manual: Path, page: Page) -> None:
    for path in (manual / "index.html", manual / "hierarchies.html", manual / "networks.html"):
        page.open(path, dark=True)
        assert page.value("document.querySelectorAll('article img').length") > 0
        assert page.value(DARK) == []
        dark = page.value("getComputedStyle(document.body).backgroundColor")
        assert dark != "rgb(255, 255, 255)"


def test_formulas_are_drawn(manual: Path, page: Page) -> None:
    page.open(manual / "mixtures.html")
    box = "document.querySelector('.math-block math').getBoundingClientRect()"
    assert page.value(f"{box}.width") > 50
    assert page.value(f"{box}.height") > 10
    copied = page.value("document.querySelector('.math-block annotation').textContent")
    assert "U_k" in copied
