"""The scripts of the validation folder: help, and one line for a wrong argument."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import ROOT, run

WRONG = {
    "phase_transition": ["--data", "1"], "rhm_images": ["--data", "1"],
    "representation": ["--networks", "1"], "classification": ["catalogue"],
    "composition": ["--samples", "3"], "alignment": ["--model", "adm-256"],
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


@pytest.mark.parametrize("name", ["phase_transition", "representation", "alignment"])
def test_an_unknown_network_is_told_first(name: str, tmp_path: Path) -> None:
    """By its name, and not by what a published network would need."""
    flags = ("--model", "adm-25", "--out", str(tmp_path))
    code, _, err = run(f"validation/{name}.py", *flags)
    assert code == 2
    assert "adm-256" in err.strip().splitlines()[-1]
