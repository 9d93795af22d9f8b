"""Every page of the gallery as a notebook, in a true kernel, cell by cell, with small sizes.

A kernel has a command line of its own, which pages must not read, and a backend of its own.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from small_experiments import SMALL

from hierdiff.sims import (
    Alignment,
    AttributeBinding,
    Classification,
    Composition,
    CueConflict,
    PhaseTransition,
    Representation,
)

ROOT = Path(__file__).resolve().parents[1]
SIMS = sorted((ROOT / "sims").glob("*.py"))
PROOFS = sorted((ROOT / "theory").glob("*.py"))
LARGER = (
    Alignment(objects=20, triplets=50), AttributeBinding(grammars=2, data=8),
    Composition(grammars=2, repeats=1, data=4, orders=2, multiplicities=(2, 3, 4)),
    CueConflict(grammars=2, data=16, gaussian_data=100, gaussian_samples=10),
    PhaseTransition(v=8, m=3, L=3, grammars=2, data=4, levels=7, refine=2),
    Representation(rank=2, dim=6, seeds=2, test=60, restarts=1),
    Classification(grammars=2, data=16, level_data=16, strata=8),
)  # fmt: skip
FIRST = """
import sys

assert len(sys.argv) > 1, "the command line of a kernel is not empty"
import hierdiff.sims.run as runner
from hierdiff.command_line import in_notebook, parse_flags

assert in_notebook()


def small(kind, run=runner.command, options=runner.RunOptions, parse=parse_flags):
    assert parse(kind, options) == (kind(), options())
    return run(kind, {flags})


runner.command = small
"""


def flags_of(one: Any) -> list[str]:
    """The flags of a command line that make this experiment."""
    words: list[str] = []
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        if value != getattr(type(one)(), field.name):
            words += [f"--{field.name.replace('_', '-')}", *flat(value)]
    return words


def flat(value: Any) -> list[str]:
    return [w for x in value for w in flat(x)] if isinstance(value, tuple) else [str(value)]


FLAGS = {one.name: flags_of(one) for one in (*SMALL, *LARGER)}


def test_every_page_has_a_small_size() -> None:
    assert {path.stem for path in SIMS} == set(FLAGS)
    assert all(FLAGS.values())


def run(page: Path, first: str, folder: Path) -> list[Any]:
    """What the cells of a page put out."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    parts = [first, *page.read_text().split("# %%\n")]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(x) for x in parts])
    client = nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    client.execute()  # an error of a cell is one of the test
    return [output for cell in notebook.cells for output in cell.outputs]


@pytest.mark.slow
@pytest.mark.parametrize("page", SIMS, ids=lambda p: p.stem)
def test_a_page_of_an_experiment_runs_as_a_notebook(page: Path, tmp_path: Path) -> None:
    outputs = run(page, FIRST.replace("{flags}", json.dumps(FLAGS[page.stem])), tmp_path)
    said = "".join(x["text"] for x in outputs if x.get("name") == "stdout")
    assert "wrote out/" in said
    assert list((tmp_path / "out").glob("*.nc"))
    assert list((tmp_path / "out").glob("*.png"))
    errors = "".join(x["text"] for x in outputs if x.get("name") == "stderr")
    assert "error:" not in errors
    assert "usage:" not in errors
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("page", PROOFS, ids=lambda p: p.stem)
def test_a_derivation_runs_as_a_notebook(page: Path, tmp_path: Path) -> None:
    outputs = run(page, "", tmp_path)
    assert not [x for x in outputs if x["output_type"] == "error"]
