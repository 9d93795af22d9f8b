"""Every error bar covers as often as it promises; planted wrong ones do not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hierdiff import RHM, MaskingNoise
from hierdiff.seeds import stream
from hierdiff.sims.coverage import CASES, covered, promised
from hierdiff.theory import population_dynamics

ROOT = Path(__file__).parents[2]
COMMITTED = json.loads((ROOT / "docs" / "results" / "coverage.json").read_text())["cases"]
QUICK = (
    "mean, 24 grammars of 32 data", "threshold, 3 grammars of 8 data (Student)",
    "retention, 24 grammars of 32 data", "triplets, 40 objects", "3 networks (Student)",
)  # fmt: skip
SLOW = ("affine probe", "threshold of density evolution")
SAID = ("disorder, 48 grammars of 16 data",)  # its documentation states .66 and .92


def score(name: str, runs: int, seed: int = 5) -> np.ndarray:
    """Measured less promised coverage in binomial errors, of one and two error bars."""
    case = CASES[name]
    rows = np.stack([case.run(stream(seed, "coverage", name, i)) for i in range(runs)])
    nominal = np.array(promised(case))
    return (covered(case, rows) - nominal) / np.sqrt(nominal * (1 - nominal) / runs)


@pytest.mark.parametrize("name", QUICK)
def test_error_bars_cover(name: str) -> None:
    assert score(name, 100).min() > -4


@pytest.mark.slow
def test_every_error_bar_covers_and_the_wrong_ones_do_not() -> None:
    for name, case in CASES.items():
        z = score(name, 24 if name.startswith(SLOW) else 150)
        if case.wrong:
            assert np.abs(z).max() > 2.5, name
        else:
            assert z.min() > (-6 if name in SAID else -4), name


@pytest.mark.parametrize("name", COMMITTED)
def test_the_committed_table(name: str) -> None:
    x = COMMITTED[name]
    assert x["promised"] == pytest.approx(promised(CASES[name]))
    z = (np.array(x["covered"]) - x["promised"]) / x["error"]
    if x["wrong"]:
        assert np.abs(z).max() > 4
    elif name not in SAID:
        assert z.min() > -4


def test_the_committed_table_has_every_error_bar() -> None:
    assert set(COMMITTED) == set(CASES)


def test_the_error_of_density_evolution_is_that_of_its_mean_over_copies() -> None:
    """Standard deviation over the root of copies; over copies it would be a quarter of it."""
    rhm, copies, runs = RHM(8, 2, 2, 3), 16, 40
    found = [
        population_dynamics(rhm, MaskingNoise(8), 0.7, size=100, copies=copies, seed=seed)
        for seed in range(runs)
    ]
    real = np.std([f.upward[0] for f in found], ddof=1)
    stated = np.sqrt(np.mean([f.upward_error[0] ** 2 for f in found]))
    doubt = 4 / np.sqrt(2 * runs)
    assert abs(stated / real - 1) < doubt
    wrong = stated / np.sqrt(copies)
    assert abs(wrong / real - 1) > 1.5 * doubt
