"""Cases of stored results, fingerprints and the smaller modules."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz import Case

from hierdiff import checks, fingerprints, results

# a check is called by other functions with an argument and rules that their code fixes
EXEMPT = {
    f"hierdiff.checks.{name}": "the boundary itself; its tests are its own"
    for name in checks.__all__
}


EXEMPT |= {
    "hierdiff.results.tracked": "a decorator; the function given is the caller's own",
    "hierdiff.fingerprints.Fingerprints": "its fields are private; its methods are fuzzed",
}


def _loaded(path: Any) -> Any:
    """Each call has a folder of its own."""
    results.save(results.label({"p": ((), 0.5, "p")}, {}, "theory", {}), "x.nc")
    return results.load(path)


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    one = results.label({"p": ((), 0.5, "p"), "p_error": ((), 0.1, "its error")}, {}, "theory", {})
    many, home = fingerprints.Fingerprints(), "hierdiff.fingerprints"
    other = one.assign_coords(source="simulation")
    named = {"t": (("t",), [0.0, 1.0], "noise level")}
    return [
        Case(f"{home}.fingerprint", fingerprints.fingerprint, {"item": np.arange(3)}),
        Case(f"{home}.Fingerprints.of", many.of, {"item": np.arange(3)}),
        Case(f"{home}.Fingerprints.both", many.both, {"item": np.arange(3)}),
        Case(f"{home}.code_parts", fingerprints.code_parts, {"items": (results.label,)}),
        Case(f"{home}.code_version", fingerprints.code_version, {"items": (results.label,)}),
        Case(f"{home}.package_code", fingerprints.package_code, {}),
        Case("hierdiff.results.save", results.save,
             {"ds": one, "path": "x.nc", "overwrite": False}),
        Case("hierdiff.results.load", _loaded, {"path": "x.nc"}),
        Case("hierdiff.results.compare", results.compare, {"datasets": (one, other)}),
        Case("hierdiff.results.label", results.label,
             {"variables": {"p": (("t",), [1.0, 0.5], "probability")}, "coords": named,
              "source": "theory", "attributes": {"law": "exact"}}),
        Case("hierdiff.results.provenance", results.provenance, {"parameters": {"v": 2}}),
        Case("hierdiff.results.tasks_of", results.tasks_of, {"datasets": (one, other)}),
        Case("hierdiff.results.start_run", results.start_run,
             {"study": "Tiny", "parameters": {"v": 2}, "out": "out", "files": ("tiny",),
              "overwrite": False, "summary": None}),
        Case("hierdiff.results.task_folder", results.task_folder,
             {"folder": "out", "study": "tiny", "resume": False}),
        Case("hierdiff.results.used", results.tracked(results.used),
             {"made": {"commit": "abc", "versions": {}}, "count": 1}),
        Case("hierdiff.results.writable_folder", results.writable_folder, {"path": "out"}),
        Case("hierdiff.results.write_summary", results.write_summary,
             {"path": "x.json", "values": {"p": 0.5}, "parameters": {"seed": 3}, "also": None}),
    ]  # fmt: skip
