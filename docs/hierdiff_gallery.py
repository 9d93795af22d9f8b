"""How the gallery runs a study: from the command line's point of view, without flags."""

from typing import Any


def default_arguments(gallery_conf: Any, script_vars: Any) -> list[str]:
    """Flags of a study in the manual: its defaults."""
    return []
