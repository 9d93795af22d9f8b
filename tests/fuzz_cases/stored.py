"""Cases of stored work: tasks, their folders, fingerprints and the folders of studies."""

from __future__ import annotations

import numpy as np
from fuzz import Case

from hierdiff import fingerprints, results
from hierdiff import tasks as experiment
from hierdiff.tasks import Task

# called with functions and objects of any kind, which is what they are for
EXEMPT = {
    "hierdiff.fingerprints.code_version": "takes any object",
    "hierdiff.fingerprints.code_parts": "takes any function or class",
    "hierdiff.fingerprints.package_code": "takes nothing",
    "hierdiff.results.tracked": "a decorator",
    "hierdiff.results.used": "reports of run_tasks",
    "hierdiff.results.tasks_of": "takes results of hierdiff",
    "hierdiff.results.compare": "takes results of hierdiff; its tests are in test_results",
}


def square(n: float) -> dict[str, np.ndarray]:
    """A task."""
    return {"value": np.array(n**2)}


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    one = Task(square, (2,), {"n": 2})
    return [
        Case("hierdiff.tasks.Task", Task,
             {"function": square, "arguments": (2,), "parameters": {"n": 2}}),
        Case("hierdiff.tasks.run_tasks", experiment.run_tasks,
             {"tasks": [one], "folder": "tasks", "workers": 1, "name": "tasks"}),
        Case("hierdiff.tasks.unfinished", experiment.unfinished,
             {"tasks": [one], "folder": "tasks"}),
        Case("hierdiff.fingerprints.fingerprint", fingerprints.fingerprint, {"item": 1}),
        Case("hierdiff.fingerprints.Fingerprints.of", fingerprints.Fingerprints().of, {"item": 1}),
        Case("hierdiff.fingerprints.Fingerprints.both", fingerprints.Fingerprints().both,
             {"item": 1}),
        Case("hierdiff.results.writable_folder", results.writable_folder, {"path": "out"}),
        Case("hierdiff.results.task_folder", results.task_folder,
             {"folder": "out", "study": "one", "resume": True}),
        Case("hierdiff.results.label", results.label,
             {"variables": {"p": ((), 0.5, "p")}, "coords": {}, "source": "theory",
              "attributes": {"v": "1"}}),
        Case("hierdiff.results.provenance", results.provenance, {"parameters": {"v": 1}}),
    ]  # fmt: skip
