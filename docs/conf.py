"""The manual: pages in Markdown, galleries from the study folders, API pages from docstrings."""

import os
import re
import runpy
import sys
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.ext.autodoc.mock import mock

os.environ.setdefault("MPLBACKEND", "agg")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import hierdiff  # noqa: E402 (found through the line above)

project = "hierdiff"
author = "The hierdiff developers"
copyright = "2026, the hierdiff developers"
release = hierdiff.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "mathml",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "hierdiff_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "_generated/*.md", "**/GALLERY_HEADER.rst", "results/README.md"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 2

# the folders of studies become galleries; networks are trained for minutes, and have a page of
# their own with committed results
STUDIES = ["sims", "theory"]
sphinx_gallery_conf = {
    "examples_dirs": [f"../{name}" for name in STUDIES],
    "gallery_dirs": [f"auto_{name}" for name in STUDIES],
    "filename_pattern": r"\.py$",
    "remove_config_comments": True,
    "download_all_examples": False,
    "min_reported_time": 1000,
    "show_memory": False,
    "write_computation_times": False,  # that page asks for scripts of other sites
    "reset_argv": "hierdiff_gallery.default_arguments",
    "image_scrapers": ("matplotlib", "hierdiff_gallery.saved_figures"),
    "abort_on_example_error": True,
}

# the manual is built with [docs] alone: what only networks and clusters need is stood in for, so
# that the pages of their modules and their flags are there
NEEDED_BY_EXTRAS = ["torch", "sklearn", "safetensors", "diffusers", "transformers", "distributed"]
autodoc_mock_imports = [name for name in NEEDED_BY_EXTRAS if find_spec(name) is None]
with mock(autodoc_mock_imports):
    runpy.run_path(str(ROOT / "docs" / "generate.py"), run_name="__main__")

autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_validation_checks = set()
autodoc_typehints = "none"
autodoc_member_order = "bysource"
suppress_warnings = ["config.cache"]


def words_of_images(_: Any, doctree: nodes.document) -> None:
    """Thumbnails of the gallery come without words for readers who do not see them."""
    for image in doctree.findall(nodes.image):
        if not image.get("alt"):
            stem = Path(image["uri"]).stem.removeprefix("sphx_glr_").removesuffix("_thumb")
            image["alt"] = f"Figure of {stem.replace('_', ' ')}"


def whole_pictures_and_numbers(_: Any, doctree: nodes.document) -> None:
    """Figures can be scrolled where the page is narrow, and an error stays beside its value."""
    for image in list(doctree.findall(nodes.image)):
        if isinstance(image.parent, nodes.section):
            box = nodes.container(classes=["picture"])
            image.replace_self(box)
            box += image
        elif isinstance(image.parent, nodes.paragraph):
            image.parent["classes"].append("picture")
    for entry in doctree.findall(nodes.entry):
        for text in list(entry.findall(nodes.Text)):
            if " ± " in text:
                text.parent.replace(text, nodes.Text(text.replace(" ± ", "\u00a0±\u00a0")))


WHOLE = 18  # letters that fit into a cell of a table with code in it
LITERAL = re.compile(r'(<code class="[^"]*\bliteral\b[^"]*)(">.*?</code>)', re.DOTALL)
WORD = re.compile(r'<span class="pre">(?=([^<]*))')
SHELL = re.compile(r'<div class="highlight-(?:bash|console|sh)\b.*?</pre>', re.DOTALL)
FLAG = re.compile(r"(?<=</span>)--?[A-Za-z][\w-]*")


def whole_words(_: Any, __: str, ___: str, context: dict[str, Any], ____: Any) -> None:
    """Flags and short code stay on one line; browsers break them after a hyphen otherwise."""

    def literal(found: re.Match[str]) -> str:
        if len(unescape(re.sub("<[^>]*>", "", found[0]))) <= WHOLE:
            return f"{found[1]} whole{found[2]}"
        return WORD.sub(word, found[0])

    def word(found: re.Match[str]) -> str:
        return '<span class="pre whole">' if len(unescape(found[1])) <= WHOLE else found[0]

    def shell(found: re.Match[str]) -> str:
        return FLAG.sub(lambda flag: f'<span class="whole">{flag[0]}</span>', found[0])

    if "body" in context:
        context["body"] = SHELL.sub(shell, LITERAL.sub(literal, context["body"]))


def setup(app: Any) -> None:
    """Connect what is defined above."""
    app.connect("doctree-read", words_of_images)
    app.connect("doctree-read", whole_pictures_and_numbers)
    app.connect("html-page-context", whole_words)


html_math_renderer = "mathml"
html_theme = "furo"
html_title = "hierdiff"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
