"""Cases of the roles, the registry and the runner."""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import Case

from hierdiff import citations, registry, results
from hierdiff.contracts import LabelledData, Summary
from hierdiff.sims import Alignment, stored_results, sweep, verification
from hierdiff.sims.run import RunOptions, run

EXEMPT = {
    "hierdiff.citations.Entry": "a result; entries() makes it",
    "hierdiff.contracts.LabelledData": "a pair; whoever takes it checks its parts",
    "hierdiff.contracts.Summary": "a result; the runner prints what it holds",
    "hierdiff.registry.Entry": "a row of the table",
    "hierdiff.sims.verification.Law": "a row of the table",
    "hierdiff.sims.verification.Finding": "a result; judge() makes it",
    "hierdiff.sims.verification.Measured": "five numbers, which judge() checks",
    "hierdiff.sims.stored_results.Score": "a row of a table that scores() makes",
}


@functools.wraps(run)
def _run(*arguments: Any, **options: Any) -> None:
    """A run whose table nobody reads."""
    with contextlib.redirect_stdout(io.StringIO()):
        run(*arguments, **options)


@functools.wraps(stored_results.run_again)
def _again(*arguments: Any, **options: Any) -> None:
    """A second run whose table nobody reads."""
    with contextlib.redirect_stdout(io.StringIO()):
        stored_results.run_again(*arguments, **options)


@functools.lru_cache
def _stored() -> tuple[Alignment, Path]:
    """A small experiment and a file that it wrote."""
    small = Alignment(L=1, weights=(1.0, 0.5), objects=6, triplets=5, grammars=2, t=(0.5,))
    folder = Path(tempfile.mkdtemp())
    _run(small, out=folder, workers=1)
    return small, folder / "alignment.nc"


def cases() -> list[Case]:
    """Arguments that the names of parameters do not give."""
    one, file = _stored()
    theory = file.with_name("alignment_theory.nc")
    finding = verification.judge("nishimori", (0.5, 0.498, 0.001, 39.0, 0.52))
    score = stored_results.Score("p", "simulation", 4, 1.0, 2.0, 0.9)
    small = Alignment(L=1, weights=(1.0, 0.5), objects=6, triplets=5, grammars=2, t=(0.5,))
    return [
        Case("hierdiff.sims.sweep.grid_of", sweep.grid_of,
             {"kind": Alignment, "words": ["L=1,2"]}),
        Case("hierdiff.sims.sweep.points_of", sweep.points_of,
             {"experiment": one, "grid": {"objects": (6, 7)}}),
        Case("hierdiff.sims.sweep.sweep", sweep.sweep,
             {"experiment": one, "grid": {"objects": (6,)}, "out": "out", "part": (1, 1),
              "also": (), "target": None, "max_points": 10}),
        Case("hierdiff.sims.sweep.table", sweep.table, {"ds": results.load(file)}),
        Case("hierdiff.sims.sweep.rows", sweep.rows, {"ds": results.load(file)}),
        Case("hierdiff.sims.stored_results.summary_of", stored_results.summary_of,
             {"path": results.write_summary(file.with_suffix(".json"), {"p": 1.0}, {})}),
        Case("hierdiff.sims.stored_results.experiment_of", stored_results.experiment_of,
             {"path": file}),
        Case("hierdiff.sims.stored_results.results_of", stored_results.results_of,
             {"path": file}),
        Case("hierdiff.sims.stored_results.values_of", stored_results.values_of,
             {"ds": results.load(file)}),
        Case("hierdiff.sims.stored_results.describe", stored_results.describe,
             {"ds": results.load(file)}),
        Case("hierdiff.sims.stored_results.draw", stored_results.draw,
             {"path": file, "out": "out", "form": "png"}),
        Case("hierdiff.sims.stored_results.scores", stored_results.scores,
             {"paths": [theory, file]}),
        Case("hierdiff.sims.stored_results.score_table", stored_results.score_table,
             {"found": [score]}),
        Case("hierdiff.sims.stored_results.run_again", _again,
             {"path": file, "out": "out", "workers": 1}),
        Case("hierdiff.sims.verification.verify", verification.verify,
             {"laws": ["additive-kernel"], "seed": 0, "out": "out", "workers": 1, "resume": True}),
        Case("hierdiff.sims.verification.judge", verification.judge,
             {"name": "nishimori", "measured": (0.5, 0.498, 0.001, 39.0, 0.52)}),
        *(Case(f"hierdiff.sims.verification.{f.__name__}", f, {"found": [finding]})
          for f in (verification.sound, verification.ledger, verification.as_json)),
        Case("hierdiff.citations.cite", citations.cite, {"item": "critical_noise"}),
        Case("hierdiff.citations.papers_of", citations.papers_of, {"item": "critical_noise"}),
        Case("hierdiff.citations.cited_in", citations.cited_in, {"text": "arXiv 2402.16991"}),
        Case("hierdiff.citations.entries", citations.entries, {}),
        Case("hierdiff.citations.places", citations.places, {}),
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
              "device": "cpu", "format": "png", "quiet": True}, keep=("cluster",)),
    ]  # fmt: skip
