"""Errors of the autoregressive study: they cover, over grammars and over the data of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from hierdiff.sims import Autoregressive
from hierdiff.sims.autoregressive import half_decided, law_task, read_task
from hierdiff.sims.metrics.estimators import jackknife, standard_error, student_factor

SMALL = Autoregressive(v=4, m=2, L=2, grammars=8, data=12, strings=30, contexts=(0, 1))
GROUPS, FEW = 40, 20


@pytest.fixture(scope="module")
def units() -> dict[str, np.ndarray]:
    """What 320 grammars give, and what 160 write, [group, grammar, datum, ...]."""
    found: dict[str, list[Any]] = {}
    for g in range(GROUPS * SMALL.grammars):
        grammar = SMALL.grammar(g)
        for name, values in law_task(SMALL, grammar, g).items():
            found.setdefault(name, []).append(values)
        if g < FEW * SMALL.grammars:
            found.setdefault("validity", []).append(read_task(SMALL, grammar, g)["validity"])
    return {k: np.array(x).reshape(-1, SMALL.grammars, *np.shape(x[0]))
            for k, x in found.items()}  # fmt: skip


def one_group(units: dict[str, np.ndarray], i: int, source: str) -> Any:
    rows = {k: x[i] for k, x in units.items() if (k == "validity") == (source != "theory")}
    if source != "theory":  # a measurement has the others too
        rows |= {k: units[k][i] for k in ("loss", "agreement")}
    return SMALL._label(rows, source, SMALL.grammar(0))


@pytest.mark.parametrize(
    ("name", "where"),
    [("half", {"order": "random", "level": 0}), ("half", {"order": "left to right", "level": 1}),
     ("rule_loss", {"rules": 1}), ("divergence", {"context": 1}), ("total", {})],
)  # fmt: skip
@pytest.mark.slow
def test_errors_of_eight_grammars_cover(
    units: dict[str, np.ndarray], name: str, where: dict[str, Any]
) -> None:
    made = [one_group(units, i, "theory") for i in range(GROUPS)]
    value = np.array([float(ds[name].sel(where)) for ds in made])
    error = np.array([float(ds[f"{name}_error"].sel(where)) for ds in made])
    inside = int((np.abs(value - value.mean()) < error).sum())
    # Student's intervals cover .683 of 40 groups; the mean of all is known six times better
    low, high = stats.binom(GROUPS, 0.6827).ppf([1e-3, 1 - 1e-3])
    assert low <= inside <= high
    # the planted wrong one forgets that a grammar is one unit of several data
    wrong = int((np.abs(value - value.mean()) < error / np.sqrt(SMALL.data)).sum())
    assert wrong < low


def test_validities_have_errors_that_cover(units: dict[str, np.ndarray]) -> None:
    made = [one_group(units, i, "simulation") for i in range(FEW)]
    value = np.array([ds.validity.sel(context=1, level=0).item() for ds in made])
    error = np.array([ds.validity_error.sel(context=1, level=0).item() for ds in made])
    low, high = stats.binom(FEW, 0.6827).ppf([1e-3, 1 - 1e-3])
    assert low <= int((np.abs(value - value.mean()) < error).sum()) <= high
    # strings that are all valid do not make the error zero
    least = 1 / (SMALL.grammars * SMALL.strings)
    assert made[0].validity_error.sel(context=3, level=0) >= least * (1 - 1e-12)


def test_one_grammar_has_errors_over_its_data() -> None:
    rng = np.random.default_rng(0)
    inside, places = [], []
    for _ in range(60):
        # beliefs in a class of which data are decided at places of their own
        place = rng.normal(2.0, 0.3, size=(1, 25, 1, 1, 1))
        read = np.arange(5.0)[None, None, None, :, None]
        agreement = 1 / (1 + np.exp(-2 * (read - place)))
        value, error = half_decided(agreement, [0, 2, 4, 6, 8])
        places.append(value.item())
        inside.append(error.item())
    spread = np.std(places, ddof=1)
    assert np.mean(inside) == pytest.approx(spread * student_factor(25), rel=0.25)
    assert np.mean(places) == pytest.approx(4.0, abs=0.1)


def test_what_is_not_decided_has_neither_place_nor_error() -> None:
    flat = np.full((3, 4, 1, 3, 1), 0.5)
    value, error = half_decided(flat, [0, 1, 2])
    assert np.isnan(value).all()
    assert np.isnan(error).all()


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(1).standard_normal((9, 3))
    value, error = jackknife(lambda rows: x[rows].mean(axis=0), 9)
    np.testing.assert_allclose(value, x.mean(axis=0))
    np.testing.assert_allclose(error, standard_error(x))


def test_every_number_of_table_and_file_has_an_error() -> None:
    small = Autoregressive(v=4, m=2, L=2, grammars=2, data=6, strings=6, contexts=(0, 1))
    found = small.summary({small.name: small.measure(workers=1),
                           f"{small.name}_theory": small.predict(workers=1)})  # fmt: skip
    exact = {"contexts", "rules", "log number of data", "z"}
    for name, values in found.values.items():
        if name in exact or name.endswith("_error"):
            continue
        paired = name in ("sum of losses", "bound gap", "rule_loss")  # [value, error]
        other = values[1] if paired else found.values[f"{name}_error"]
        one = values[0] if paired else values
        if isinstance(one, dict):
            one, other = list(one.values()), list(other.values())
        assert np.shape(one) == np.shape(other), name
    lines = found.table.splitlines()
    rows = [line for line in lines if line.strip() and line.split()[0].isdigit()]
    assert len(rows) >= 5
    assert all(line.count("±") >= 2 for line in rows)
