"""Cases of the roles, the registry and the runner."""

from __future__ import annotations

import contextlib
import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Case

from hierdiff import registry
from hierdiff.contracts import LabelledData, Summary
from hierdiff.sims import Alignment
from hierdiff.sims.run import RunOptions, run

EXEMPT = {
    "hierdiff.contracts.LabelledData": "a pair; whoever takes it checks its parts",
    "hierdiff.contracts.Summary": "a result; the runner prints what it holds",
    "hierdiff.registry.Entry": "a row of the table",
}


@functools.wraps(run)
def _run(*arguments: Any, **options: Any) -> None:
    """A run whose table nobody reads."""
    with contextlib.redirect_stdout(io.StringIO()):
        run(*arguments, **options)


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    small = Alignment(L=1, weights=(1.0, 0.5), objects=6, triplets=5, grammars=2, t=(0.5,))
    return [
        Case("hierdiff.registry.experiment", registry.experiment, {"name": "alignment"}),
        Case("hierdiff.registry.Entry", registry.Entry,
             {"place": "a:b", "text": "a", "extra": ""}),
        Case("hierdiff.contracts.LabelledData", LabelledData,
             {"x0": np.zeros((2, 1)), "labels": np.zeros(2, int)}),
        Case("hierdiff.contracts.Summary", Summary, {"table": "", "claim": "", "values": {}}),
        Case("hierdiff.sims.run.RunOptions", RunOptions,
             {"out": Path("out"), "overwrite": False, "workers": 1, "resume": True}),
        Case("hierdiff.sims.run.RunOptions.tasks", RunOptions().tasks, {"name": "one"}),
        Case("hierdiff.sims.run.run", _run,
             {"experiment": small, "model": None, "data": None, "out": "out", "workers": 1,
              "resume": True, "cluster": None, "summary": None, "overwrite": True,
              "device": "cpu"}, keep=("cluster",)),
    ]  # fmt: skip
