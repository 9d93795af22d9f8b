"""The scripts of the validation folder: help, and one line for a wrong argument."""

from __future__ import annotations

from pathlib import Path

import pytest
from hierdiff.validation.studies.alignment import NetworkAlignment
from hierdiff.validation.studies.composition import NetworkComposition
from hierdiff.validation.studies.phase_transition import NetworkPhaseTransition
from hierdiff.validation.studies.representation import NetworkRepresentation
from oracles import one_line
from programs import ROOT, run

from hierdiff.errors import InvalidParameter

STUDIES = {
    "mixture": NetworkRepresentation, "rhm": NetworkPhaseTransition, "digits": NetworkAlignment,
    "small": NetworkComposition,
}  # fmt: skip
WRONG = {
    "phase_transition": ["--data", "1"], "rhm_images": ["--data", "1"],
    "representation": ["--networks", "1"], "classification": ["catalogue"],
    "composition": ["--looks", "3"], "alignment": ["--model", "adm-256"],
}  # fmt: skip


def test_every_script_is_known() -> None:
    assert {p.stem for p in (ROOT / "validation").glob("*.py")} == set(WRONG)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line(name: str, tmp_path: Path) -> None:
    code, _, err = run(f"validation/{name}.py", *WRONG[name], "--out", str(tmp_path))
    assert code == 2
    lines = err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")


@pytest.mark.parametrize("name", STUDIES)
def test_an_unknown_model_is_told_first(name: str) -> None:
    """With the nearest name, and not with what a published network would need."""
    with pytest.raises(InvalidParameter, match=f"did you mean '{name}'") as error:
        STUDIES[name](model=name[:-1])
    one_line(error)
