"""Cases of the smaller modules."""

from __future__ import annotations

from typing import Any

from fuzz import Case

from hierdiff import checks, results

# a check is called by other functions with an argument and rules that their code fixes
EXEMPT = {
    f"hierdiff.checks.{name}": "the boundary itself; its tests are its own"
    for name in checks.__all__
}


def saved_and_loaded(path: Any) -> Any:
    """Each call has a folder of its own."""
    results.save(results.label({"p": ((), 0.5, "p")}, {}, "theory", {}), "x.nc")
    return results.load(path)


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    one = results.label({"p": ((), 0.5, "p"), "p_error": ((), 0.1, "its error")}, {}, "theory", {})
    return [
        Case("hierdiff.results.save", results.save, {"ds": one, "path": "x.nc"}),
        Case("hierdiff.results.load", saved_and_loaded, {"path": "x.nc"}),
    ]
