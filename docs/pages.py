"""Tables in Markdown and committed results, for the pages that are made from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def capital(text: str) -> str:
    """A text that begins as a sentence does."""
    return text[:1].upper() + text[1:]


def parts(text: str) -> list[str]:
    """What stands between semicolons; those inside of parentheses separate nothing."""
    return re.split(r";\s+(?![^()]*\))", text)


def result(name: str) -> Any:
    """A committed result, without its provenance."""
    return _found(HERE / "results" / f"{name}.json")


def parameters(name: str) -> dict[str, Any]:
    """The parameters with which a committed result was made, as it says itself."""
    found = json.loads((HERE / "results" / f"{name}.json").read_text())
    return found["made"]["parameters"]


def benchmark(name: str) -> Any:
    """A committed benchmark, without its provenance."""
    return _found(ROOT / "benchmarks" / f"{name}.json")


def _found(path: Path) -> Any:
    """What :func:`hierdiff.results.write_summary` was given; files of older runs as they are."""
    found = json.loads(path.read_text())
    if isinstance(found, dict):
        for key in ("made", "claim"):  # provenance, and the sentence that the study printed
            found.pop(key, None)
        if list(found) == ["rows"]:
            return found["rows"]
    return found


def network(name: str) -> Any:
    """A committed result of a study on networks, or None."""
    path = ROOT / "validation" / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def plus(value: float, error: float, digits: int = 4) -> str:
    """A number with its error."""
    return f"{value:.{digits}f} ± {error:.{digits}f}"
