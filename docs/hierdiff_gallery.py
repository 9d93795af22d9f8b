"""How the gallery runs a study: from the command line's point of view."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SMALL = {
    "coverage": "--repetitions 40",
    "critical_exponents": "--sizes 32 8 2 16 4 2 --size 1000 --copies 4 --levels 40 --depths 5 7 9 "
    "--leaf-depths 5 7 9 --grammars 12 --data 8 --points 9",
    "sharpening": "--depths 4 6 8 --grammars 12 --size 1000",
    "finite_size_scaling": "--depths 5 6 7 8 --symbols 16 --grammars 24 --size 2000 --copies 4",
    "phase_diagram": "--symbols 16 8 --size 500 --copies 3",
    "memorization": "--seeds 8 --test 1000 --ranks 4 6",
    "sample_complexity": "--grammars 6 --small-m 2 3 4 --large-m 2 3 4",
    "tree_shapes": "--depths 2 3 --grammars 8",
    "contrastive_learning": "--widths 2 4 9 10 16 25 --starts 2",
    "local_denoisers": "--grammars 4 --data 30 --heights 1 2 --deepest 8",
    "susceptibility": "--depths 5 7 --grammars 24",
    "grammar_learning": "--multiplicities 2 3 4 --grammars 4 --sizes 2 13 --test 200",
    "parallel_unmasking": "--grammars 4 --data 120 --strings 200",
    "training_time": "--draws 4",
}
"""Studies of minutes run smaller in the manual; its tables hold the committed full runs."""


def default_arguments(gallery_conf: Any, script_vars: Any) -> list[str]:
    """Flags of a study in the manual: defaults or SMALL, with the results beside the manual."""
    script = Path(script_vars["src_file"])
    if script.parent.name != "sims":
        return []
    return [*SMALL.get(script.stem, "").split(), "--out", str(_folder(gallery_conf, script))]


def saved_figures(block: Any, block_vars: Any, gallery_conf: Any) -> str:
    """Show the figures that a page has saved, if it does not draw them again itself.

    A figure that needs the flags of the run is drawn once, by the run.
    """
    from sphinx_gallery.scrapers import figure_rst

    script = Path(block_vars["src_file"])
    source = script.read_text()
    if "command(" not in block[1] or ".figure(" in source:
        return ""
    images = []
    for path in sorted(_folder(gallery_conf, script).glob("*.png")):
        images.append(next(block_vars["image_path_iterator"]))
        shutil.copy(path, images[-1])
    return str(figure_rst(images, gallery_conf["src_dir"]))


def _folder(gallery_conf: Any, script: Path) -> Path:
    """Where the results of a page lie."""
    return Path(gallery_conf["src_dir"]) / "_generated" / script.stem


# where Binder finds a clone, by host; Colab would need notebooks in the repository, and JupyterLite
# a Numba that runs in a browser
_HOSTS = {"github.com": "gh", "gitlab.com": "gl"}


def binder_link(docname: str, environment: Mapping[str, str]) -> str:
    """The address at which a page of the gallery runs on Binder; "" where the clone has no host.

    Read the Docs names the repository that it builds from, and its branch or tag.
    """
    folder, _, name = docname.partition("/")
    clone = environment.get("READTHEDOCS_GIT_CLONE_URL", "")
    found = re.fullmatch(r"(?:https://|git@)([\w.]+)[:/](.+?)/?(?:\.git)?", clone)
    page = folder.startswith("auto_") and name not in ("", "index") and "/" not in name
    if not found or found[1] not in _HOSTS or not page:
        return ""
    repository = found[2].replace("/", "%2F") if _HOSTS[found[1]] == "gl" else found[2]
    ref = environment.get("READTHEDOCS_GIT_IDENTIFIER", "main").replace("/", "%2F")
    path = f"{folder.removeprefix('auto_')}/{name}.py"
    return f"https://mybinder.org/v2/{_HOSTS[found[1]]}/{repository}/{ref}?urlpath=lab/tree/{path}"


def add_link(_: Any, docname: str, source: list[str]) -> None:
    """Put the link below the page."""
    if link := binder_link(docname, os.environ):
        source[0] += f"\n\n`Run this page on Binder <{link}>`__, without an installation.\n"


def setup(app: Any) -> dict[str, bool]:
    """As an extension of Sphinx."""
    app.connect("source-read", add_link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
