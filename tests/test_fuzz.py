"""Bad arguments never crash, hang, pass in silence or end in a foreign error: see ``fuzz.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fuzz
import numpy as np
import pytest

from hierdiff.checks import checked
from hierdiff.errors import InvalidParameter

HERE = Path(__file__).parent
LIGHT = [m for m in fuzz.public_modules() if not m.startswith("hierdiff.validation")]
SHARE = 0.15  # of the callables, in the quick test; the slow ones take all
GROUPS = fuzz.groups()


def scaled(x: object, factor: object = 1.0) -> object:
    """A function that looks at nothing: the fuzzer must find it wanting."""
    return np.asarray(x) * factor  # type: ignore[operator]


def test_the_fuzzer_sees_what_an_unchecked_function_does() -> None:
    case = fuzz.Case("scaled", scaled, {"x": np.ones(2), "factor": 2.0})
    words = [str(f) for f in fuzz.fuzz(case)]
    assert any("silent NaN" in w for w in words)
    assert any("TypeError" in w for w in words)

    @checked
    def careful(x: np.typing.ArrayLike, factor: float = 1.0) -> object:
        return np.asarray(x, float) * factor

    assert fuzz.fuzz(fuzz.Case("careful", careful, {"x": np.ones(2), "factor": 2.0})) == []


def test_the_fuzzer_ends_a_call_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)

    def waits(n: int) -> int:
        while n is None:
            pass
        return 1

    found = fuzz.fuzz(fuzz.Case("waits", waits, {"n": 1}))
    assert [f.value for f in found if "no answer" in f.what] == ["None"]


def test_the_fuzzer_sees_a_call_that_ends_the_process() -> None:
    def leaves(n: int) -> int:
        if n is None:
            sys.exit(1)
        return 1

    found = fuzz.fuzz(fuzz.Case("leaves", leaves, {"n": 1}))
    assert [f.value for f in found if "SystemExit" in f.what] == ["None"]


def test_every_module_is_in_one_group() -> None:
    assert sorted(m for group in GROUPS.values() for m in group) == sorted(fuzz.public_modules())
    names = list(fuzz.public_callables(LIGHT))
    kept = [name for name in names if fuzz.drawn(name, SHARE, 0)]
    assert abs(len(kept) / len(names) - SHARE) < 0.1


@pytest.mark.slow
def test_some_bad_arguments_of_some_light_callables() -> None:
    known, _ = fuzz.cases(LIGHT, share=SHARE)
    assert len(known) > 50
    faults = [str(f) for case in known for f in fuzz.fuzz(case, share=0.04)]
    assert not faults, "\n".join(faults[:40])


@pytest.mark.slow
def test_every_public_callable_has_a_case() -> None:
    _, missing = fuzz.cases()
    assert not missing, missing


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_all_bad_arguments(group: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", HERE / "fuzz.py", "--trace", trace, *GROUPS[group]],
        capture_output=True, text=True, env=environment, timeout=1500,
    )  # fmt: skip
    last = trace.read_text().splitlines()[-1:] if trace.exists() else []
    assert run.returncode == 0, f"{last}\n{run.stdout[-6000:]}\n{run.stderr[-1500:]}"


def test_a_bad_argument_is_told_in_one_line() -> None:
    @checked
    def f(factor: float) -> float:
        return factor

    with pytest.raises(InvalidParameter, match=r"^factor = 'x' must be a finite number$"):
        f("x")  # type: ignore[arg-type]
