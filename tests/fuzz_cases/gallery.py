"""Cases of the experiments of the gallery, at tiny sizes."""

from __future__ import annotations

import inspect
from typing import Any

from fuzz import Case
from small_experiments import LAWLESS, SMALL, UNMEASURED


def _name(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"


SECONDS = {
    "critical_exponents", "memorization", "sharpening", "susceptibility", "data_models", "uturn",
}  # fmt: skip
EXEMPT = {
    f"{_name(one)}.{word}": "its datasets are those of this experiment; the runner passes them"
    for one in SMALL
    for word in ("datasets", "figure", "summary")
}
EXEMPT |= {
    f"{_name(one)}.measure": "refuses every call: laws alone are compared"
    for one in SMALL
    if one.name in UNMEASURED
}
EXEMPT |= {
    f"{_name(one)}.measure": "checks its arguments as the others do, and then takes seconds"
    for one in SMALL
    if one.name in SECONDS
}

# an address that nobody answers takes seconds by design
_RUN = {"folder": None, "workers": 1, "cluster": None}


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    found = []
    for one in SMALL:
        if one.name not in LAWLESS:
            parameters = inspect.signature(one.predict).parameters
            known: dict[str, Any] = {**_RUN, "size": 100}
            arguments = {"law": parameters["law"].default}
            arguments |= {word: value for word, value in known.items() if word in parameters}
            found.append(Case(f"{_name(one)}.predict", one.predict, arguments, keep=("cluster",)))
        if f"{_name(one)}.measure" not in EXEMPT:
            arguments = {"model": None, "data": None, **_RUN}
            found.append(Case(f"{_name(one)}.measure", one.measure, arguments, keep=("cluster",)))
    return found
