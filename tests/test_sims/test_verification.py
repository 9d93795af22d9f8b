"""The ledger: laws hold, wrong ones are rejected, a broken law is told by the exit status."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from hierdiff import __main__ as program
from hierdiff.errors import InvalidParameter
from hierdiff.sims import verification
from hierdiff.sims.verification import (
    ALPHA,
    LAWS,
    Finding,
    Measured,
    as_json,
    judge,
    ledger,
    sound,
    verify,
)


@lru_cache
def found(seed: int) -> dict[str, Finding]:
    return {x.name: x for x in verify(seed=seed, workers=1)}


@pytest.mark.parametrize("name", LAWS)
def test_the_law_holds_and_its_planted_wrong_one_is_rejected(name: str) -> None:
    x = found(0)[name]
    assert x.holds, x
    assert x.rejected, x
    assert abs(x.wrong_z) > 8  # far beyond the budget, so that another seed rejects it as well


@pytest.mark.slow
def test_scores_of_other_seeds_have_the_law_of_scores() -> None:
    """The sum of z^2 over seeds and laws: errors are neither too large nor too small."""
    z = np.array([x.z for seed in (1, 2, 3, 4) for x in found(seed).values()])
    p = stats.chi2.sf((z**2).sum(), len(z))
    assert 1e-4 < p < 1 - 1e-4, p
    assert all(x.rejected for seed in (1, 2, 3, 4) for x in found(seed).values())


def test_all_five_questions_have_laws() -> None:
    assert {law.question for law in LAWS.values()} == {
        "phase transition", "representation", "classification", "composition", "alignment",
        "parallel unmasking",
    }  # fmt: skip
    assert len({law.text for law in LAWS.values()}) == len(LAWS) >= 15


def test_the_budget_is_that_of_the_whole_ledger() -> None:
    """At the level of one law p is ALPHA / M, for the normal law and for Student's."""
    level = ALPHA / len(LAWS)
    for freedom in (math.inf, 5.0, 39.0):
        law = stats.norm if math.isinf(freedom) else stats.t(freedom)
        edge = float(law.isf(level / 2))
        for sign in (1, -1):
            inside = judge("nishimori", Measured(sign * 0.999 * edge, 0.0, 1.0, freedom, 50.0))
            beyond = judge("nishimori", Measured(sign * 1.001 * edge, 0.0, 1.0, freedom, 50.0))
            assert inside.holds
            assert not beyond.holds
    # few units: what is far for the normal law is near for Student's
    assert judge("nishimori", Measured(6.0, 0.0, 1.0, 4, 50.0)).holds
    assert not judge("nishimori", Measured(6.0, 0.0, 1.0, math.inf, 50.0)).holds


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_breaks_the_law(bad: float) -> None:
    for numbers in ((bad, 0, 1, 9, 50), (0, bad, 1, 9, 50), (0, 0, bad, 9, 50), (0, 0, 0, 9, 50)):
        x = judge("nishimori", Measured(*map(float, numbers)))
        assert not (x.holds and x.rejected)
        assert not sound([x])
        assert "BROKEN" in ledger([x]) or "NOT REJECTED" in ledger([x])
        json.loads(json.dumps(as_json([x]), allow_nan=False))


def run(*words: str) -> int:
    """Exit status of the command."""
    try:
        program.main(["verify", *words])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path), "--workers", "1"]
    assert run("coincidence", "validity", *out) == 0
    text = capsys.readouterr().out
    assert text.startswith("composition\n  chance coincidence of two contexts, q/v\n    found 0.0")
    assert text.splitlines()[-1].startswith("2 laws, 0 broken, 0 without")
    assert len(list((tmp_path / "tasks" / "verify").glob("*.npz"))) == 2
    assert run("validity", "--json", *out) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is True
    assert found["laws"][0]["name"] == "validity"
    assert found["laws"][0]["freedom"] is None  # of the normal law: infinite
    assert run("no-such-law", *out) == 2
    assert "is no law; the laws are nishimori, " in capsys.readouterr().err


def test_a_corrupted_law_makes_the_exit_status_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prediction of the wrong law in place of the right one, and the other way round."""
    law = LAWS["coincidence"]

    def broken(seed: int) -> Measured:
        right = law.numbers(seed)
        return right._replace(prediction=right.wrong)

    def weak(seed: int) -> Measured:
        right = law.numbers(seed)
        return right._replace(wrong=right.prediction)

    for folder, measure, word in (("a", broken, "BROKEN"), ("b", weak, "NOT REJECTED")):
        monkeypatch.setitem(verification.LAWS, "coincidence", law._replace(numbers=measure))
        out = ["--out", str(tmp_path / folder), "--workers", "1"]
        assert run("coincidence", "validity", *out) == 1
        assert capsys.readouterr().out.count(word) == 1
        assert run("validity", *out) == 0
        capsys.readouterr()


def test_finished_laws_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = verify(["additive-kernel"], out=tmp_path, workers=1)

    def never(seed: int) -> Measured:
        raise AssertionError("measured again")

    law = LAWS["additive-kernel"]
    monkeypatch.setitem(verification.LAWS, "additive-kernel", law._replace(numbers=never))
    assert verify(["additive-kernel"], out=tmp_path, workers=1) == first
    with pytest.raises(AssertionError, match="measured again"):
        verify(["additive-kernel"], out=tmp_path, workers=1, resume=False)


def test_the_seed_and_the_workers() -> None:
    names = ["validity", "coincidence", "kesten-stigum"]
    assert verify(names, workers=1) == verify(names, workers=3)
    assert verify(names, seed=1)[0].value != verify(names, seed=2)[0].value


def test_bad_input() -> None:
    for bad in ("nishimori", [], ["x"], [1], 3):
        with pytest.raises(InvalidParameter):
            verify(bad)  # type: ignore[arg-type]
    for bad in (None, (1, 2), "abcde", ("a",) * 5):
        with pytest.raises(InvalidParameter):
            judge("nishimori", bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter):
        ledger([1])  # type: ignore[list-item]
    with pytest.raises(InvalidParameter):
        verify(["validity"], seed=-1, workers=1)
