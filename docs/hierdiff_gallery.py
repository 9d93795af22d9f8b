"""How the gallery runs a study: from the command line's point of view."""

from pathlib import Path
from typing import Any


def default_arguments(gallery_conf: Any, script_vars: Any) -> list[str]:
    """Flags of a study in the manual: its defaults, with the results beside the manual."""
    script = Path(script_vars["src_file"])
    if script.parent.name != "sims":
        return []
    return ["--out", str(Path(gallery_conf["src_dir"]) / "_generated" / script.stem)]
