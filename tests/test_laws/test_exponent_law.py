"""Laws of the critical fixed point of real noise, each with the epsilon exponent planted.

Small populations here; ``sims/critical_exponents.py`` and ``sims/susceptibility.py`` ran at full
size, and the laws about their committed results are tested on these.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from laws import Laws

from hierdiff import RHM, EpsilonNoise
from hierdiff.noise import noise_process
from hierdiff.theory import belief_slopes, critical_exponents, critical_noise, stability

RESULTS = Path(__file__).parents[2] / "docs" / "results"
REAL = ("masking", "uniform", "gaussian")
SMALL = {"masking": 0.4393, "uniform": 0.2080, "gaussian": 0.3010}  # t* at (8, 3, 2)
FIRST = "32, 8, 2"


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def exponents() -> dict[str, Any]:
    found: dict[str, Any] = result("critical_exponents")
    return found


def apart(values: list[float], errors: list[float]) -> np.ndarray:
    """Scores of all pairs."""
    i, j = np.triu_indices(len(values), 1)
    x, e = np.array(values), np.array(errors)
    return (x[i] - x[j]) / np.hypot(e[i], e[j])


@pytest.mark.slow
def test_three_processes_flow_to_one_fixed_point(laws: Laws) -> None:
    rhm, law = RHM(8, 3, 2, 1), "masking, uniform and Gaussian noise share a critical fixed point"
    found = [
        critical_exponents(rhm, noise_process(k, 8), t=SMALL[k], size=500, levels=60, copies=8)
        for k in REAL
    ]
    z = np.concatenate([
        apart([x.eigenvalue for x in found], [x.eigenvalue_error for x in found]),
        apart([x.belief for x in found], [x.belief_error for x in found]),
    ])  # fmt: skip
    wrong = [(float(stability(rhm)[1]) - x.eigenvalue) / x.eigenvalue_error for x in found]
    laws.holds(law, z)
    laws.rejects(law, "F'(p*) of the epsilon-process", wrong)
    assert np.abs(z).max() < 4
    assert np.min(wrong) > 8
    assert all(x.susceptibility == "saturates" for x in found)


@pytest.mark.slow
def test_beliefs_at_the_fixed_point_are_posteriors_but_not_for_epsilon(laws: Laws) -> None:
    """One level up from posteriors, E p(true) and E sum p^2 stay equal."""
    rhm, law = RHM(8, 3, 2, 1), "E p(true) = E sum p^2 at the critical fixed point"
    options = {"size": 500, "levels": 60, "copies": 8, "seed": 1}
    kinds = {**SMALL, "epsilon": 0.6857}
    z = {}
    for kind, t in kinds.items():
        x = critical_exponents(rhm, noise_process(kind, 8), t=t, **options)
        z[kind] = (x.belief - x.overlap) / np.hypot(x.belief_error, x.overlap_error)
    laws.holds(law, [z[k] for k in REAL])
    laws.rejects(law, "epsilon-process", z["epsilon"])
    assert max(abs(z[k]) for k in REAL) < 4
    assert z["epsilon"] > 8


def test_the_first_level_of_the_epsilon_process_grows_by_the_slope_of_the_recursion(
    laws: Laws,
) -> None:
    """All leaves are equal there; what is left is of order 1/v, and two v remove it."""
    law = "growth of the epsilon-process above its leaves is F'(p*) as v grows"
    ratio, error = [], []
    for v in (24, 48):
        rhm = RHM(v, v // 4, 2, 1)
        found = belief_slopes(
            rhm, EpsilonNoise(v), critical_noise(rhm), levels=1, size=4000, copies=6
        )
        slope = float(stability(rhm)[1])
        ratio.append(found.growth[0] / slope)
        error.append(found.growth_error[0] / slope)
    limit, total = 2 * ratio[1] - ratio[0], float(np.hypot(2 * error[1], error[0]))
    z, wrong = (limit - 1) / total, (limit - 1.252 / slope) / total
    laws.holds(law, z)
    laws.rejects(law, "lambda of real noise", wrong)
    assert abs(z) < 4
    assert wrong > 8


@pytest.mark.slow
def test_the_epsilon_process_keeps_the_slope_of_the_recursion_where_nu_exceeds_two(
    laws: Laws,
) -> None:
    """(32, 12, 2): F'(p*)^2 / s = .79 < 1, the scatter of messages does not grow."""
    law = "lambda of the epsilon-process is F'(p*) where nu > 2"
    rhm = RHM(32, 12, 2, 1)
    found = critical_exponents(rhm, EpsilonNoise(32), t=72 / 155, size=1500, levels=60, copies=6)
    real = critical_exponents(
        rhm, noise_process("masking", 32), t=0.0732, size=1500, levels=60, copies=6
    )
    z = (found.eigenvalue - float(stability(rhm)[1])) / found.eigenvalue_error
    wrong = (found.eigenvalue - real.eigenvalue) / found.eigenvalue_error
    laws.holds(law, z)
    laws.rejects(law, "lambda of masking", wrong)
    assert abs(z) < 4
    assert abs(wrong) > 8


def shrink(rows: list[list[float]], factor: float) -> float:
    """Score of (c - b) = factor (b - a)."""
    (_, a, da), (_, b, db), (_, c, dc) = rows[-3:]
    gap = (c - b) - factor * (b - a)
    return float(gap / np.sqrt(dc**2 + ((1 + factor) * db) ** 2 + (factor * da) ** 2))


def test_susceptibilities_saturate_at_the_predicted_rate(laws: Laws) -> None:
    """Committed peaks at L = 5, 7, 9: increments shrink by (lambda^2 / s)^2."""
    law = "increments of the susceptibility shrink by (lambda^2 / s)^2 per two levels"
    peaks, x = result("susceptibility")["peaks"], exponents()["sizes"][FIRST]
    planted = (x["annealed"] ** 2 / 2) ** 2
    z, wrong = [], []
    for kind in REAL:
        rows = [[p["L"], *p["height"]] for p in peaks if p["noise"] == kind]
        z.append(shrink(rows, x[kind]["leaf growth"][0] ** 2))
        wrong.append(shrink(rows, planted))
    rows = [[p["L"], *p["height"]] for p in peaks if p["noise"] == "epsilon"]
    own = shrink(rows, planted)
    laws.holds(law, [*z, own])
    laws.rejects(law, "F'(p*) for real noise", sum(wrong) / np.sqrt(3))
    assert max(abs(s) for s in (*z, own)) < 4
    assert sum(wrong) / np.sqrt(3) < -2.5


def test_committed_fixed_points_are_one_per_size(laws: Laws) -> None:
    law = "masking, uniform and Gaussian noise share a critical fixed point"
    sizes = exponents()["sizes"]
    assert set(sizes) >= {FIRST, "16, 4, 2", "24, 6, 2", "16, 8, 3"}
    for x in sizes.values():
        z = np.concatenate([
            apart(*zip(*(x[k][name] for k in REAL), strict=True)) for name in ("lambda", "belief")
        ])  # fmt: skip
        wrong = [(x["annealed"] - x[k]["lambda"][0]) / x[k]["lambda"][1] for k in REAL]
        laws.holds(law, z)
        laws.rejects(law, "F'(p*) of the epsilon-process", wrong)
        assert np.abs(z).max() < 4
        assert np.min(wrong) > 8
        for k in REAL:
            upper, upper_error = x[k]["upper bound"]
            assert x[k]["threshold"][0] < upper + 4 * np.hypot(upper_error, x[k]["threshold"][1])


def test_exact_inference_collapses_on_the_exponent_of_its_process(laws: Laws) -> None:
    """The best rate of the collapse; for the epsilon-process the growth at these depths."""
    law = "class beliefs of exact inference at all depths collapse on (t - t*) lambda^L"
    found = exponents()
    real, annealed = found["collapse"]["masking"]["rate"], found["sizes"][FIRST]["annealed"]
    z, wrong = [], []
    for kind, x in found["collapse"].items():
        z.append((x["best rate"] - x["rate"]) / x["best rate error"])
        other = real if kind == "epsilon" else annealed
        wrong.append((x["best rate"] - other) / x["best rate error"])
        if kind != "epsilon":
            assert x["chi2, rate"] < x["chi2, F'(p*)"] / 2
    laws.holds(law, z)
    laws.rejects(law, "the exponent of the other kind", wrong)
    assert np.abs(z).max() < 4
    assert np.abs(wrong).min() > 8


def test_leaf_slopes_of_real_noise_saturate(laws: Laws) -> None:
    """Committed slopes of exact inference at t*, L = 5 to 13, are A - B (lambda^2 / s)^L."""
    law = "leaf slopes at t* are A - B (lambda^2 / s)^L to L = 13"
    found = exponents()
    x = found["sizes"][FIRST]
    planted, z, wrong = x["annealed"] ** 2 / 2, [], []
    for kind in REAL:
        L, slope, error = np.array(found["leaf slopes"][kind]).T
        design = np.stack([np.ones_like(L), x[kind]["leaf growth"][0] ** (L - L[0])], axis=1)
        left = design @ np.linalg.lstsq(design / error[:, None], slope / error, rcond=None)[0]
        z.append((slope - left) / error)
        # growth by a constant factor per level, as the recursion has it at great depth
        grown = slope[0] * planted ** (L[-1] - L[0])
        wrong.append((slope[-1] - grown) / np.hypot(error[-1], error[0] * grown / slope[0]))
    laws.holds(law, np.array(z))
    laws.rejects(law, "growth by F'(p*)^2 / s per level", wrong)
    assert np.abs(z).max() < 4
    assert np.max(wrong) < -4


def test_leaf_slopes_of_exact_inference_are_those_of_density_evolution(laws: Laws) -> None:
    law = "leaf slopes of exact inference to L = 13 are those of density evolution"
    found = exponents()
    z, wrong = [], []
    for kind in REAL:
        exact = np.array(found["leaf slopes"][kind])
        theory = np.array(found["leaf slopes, density evolution"][kind])
        z.append((exact[:, 1] - theory[:, 1]) / np.hypot(exact[:, 2], theory[:, 2]))
        # had they grown as the class does from the first depth on
        grown = theory[0, 1] * found["collapse"][kind]["rate"] ** (exact[:, 0] - exact[0, 0])
        wrong.append((exact[1:, 1] - grown[1:]) / exact[1:, 2])
    laws.holds(law, z)
    laws.rejects(law, "growth of the class slope", np.concatenate(wrong))
    assert np.abs(z).max() < 4
    assert np.abs(np.concatenate(wrong)).max() > 8
