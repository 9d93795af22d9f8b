"""How the gallery runs a study: from the command line's point of view."""

import shutil
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
