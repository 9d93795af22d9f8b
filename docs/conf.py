"""The manual: pages in Markdown, galleries from the study folders, API pages from docstrings."""

import os
import runpy
import sys
from pathlib import Path

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
    "reset_argv": "hierdiff_gallery.default_arguments",
    "image_scrapers": ("matplotlib", "hierdiff_gallery.saved_figures"),
    "abort_on_example_error": True,
}
runpy.run_path(str(ROOT / "docs" / "generate.py"), run_name="__main__")

autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_validation_checks = set()
autodoc_typehints = "none"
autodoc_member_order = "bysource"
suppress_warnings = ["config.cache"]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "hierdiff"
html_static_path = ["_static"]
