"""The scripts of the validation folder: help, and one line for a wrong argument."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import ROOT, run

from hierdiff.validation.experiments.phase_transition import NetworkPhaseTransition

WRONG = {
    "phase_transition": ["--data", "1"], "rhm_images": ["--data", "1"],
    "representation": ["--networks", "1"], "classification": ["catalogue"],
    "composition": ["--samples", "3"], "alignment": ["--model", "adm-256"],
    "exact_posterior_loss": ["--networks", "1"], "suite": ["--only", "no-such-study"],
    "clothing": ["--networks", "1"], "contrastive": ["--networks", "1"],
    "locality": ["--networks", "1"], "string_pairs": ["--widths", "9"],
    "speciation": ["--networks", "1"],
    "training_time": ["--stop", "0.001"], "unmasking": ["--networks", "1"],
    "unmasking_orders": ["--orders", "kept"],
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


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], ["rhm"]),
        (["--v", "4", "--seed", "1"], ["--seed", "1", "rhm", "--v", "4"]),
        (["digits", "--no-resume", "--data", "3"], ["--no-resume", "digits", "--data", "3"]),
        (["--model", "digits", "--out", "x"], ["--out", "x", "digits"]),
        (["--model=adm-256", "--images", "d"],
         ["catalogue", "--images", "d", "--name", "adm-256"]),
        (["--help"], ["--help"]),
        (["digits", "--help"], ["digits", "--help"]),
    ],
)  # fmt: skip
def test_the_source_is_a_subcommand_and_the_old_flag_is_noted(
    words: list[str], kept: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert NetworkPhaseTransition.arguments(words) == kept
    old = any(word.startswith("--model") for word in words)
    assert capsys.readouterr().err.startswith("note: --model ") == old


def test_a_flag_that_means_nothing_for_a_source_is_refused(tmp_path: Path) -> None:
    for script, flags, words in (
        ("phase_transition", ["digits", "--v", "16"], "--v means nothing for digits"),
        ("phase_transition", ["--model", "digits", "--m", "2"], "it belongs to rhm"),
        ("alignment", ["catalogue", "--temperature", "1"], "rhm and grammars and digits and"),
    ):
        code, out, err = run(f"validation/{script}.py", *flags, "--out", str(tmp_path))
        assert code == 2
        assert out == ""
        assert words in err.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())
