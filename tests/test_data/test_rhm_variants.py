"""Variants of the model: what they promise, by enumeration, and that inference stays exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import (
    AMBIGUOUS,
    FIXTURE,
    WEIGHTED,
    enumerate_derivations,
    enumerated_posterior,
    one_line,
    string_probabilities,
)

from hierdiff import RHM, Grammar, MaskingNoise
from hierdiff.data.rhm_variants import ambiguous, filtered, layered, zipf, zipf_weights
from hierdiff.errors import InvalidParameter
from hierdiff.sims.run import run
from hierdiff.sims.variants import Variants
from hierdiff.theory import posterior
from hierdiff.theory.rhm.density_evolution import critical_level

SMALL: dict[str, Callable[[], Grammar]] = {
    "zipf": lambda: zipf(RHM(4, 2, 2, 2), 0.7, seed=1),
    "ambiguous": lambda: ambiguous(3, 3, 2, 2, seed=1),
    "more rules than tuples": lambda: ambiguous(2, 3, 2, 2, seed=2),
    "two classes": lambda: RHM(4, 2, 2, 2, n_classes=2).draw(seed=1),
    "more classes than symbols": lambda: RHM(3, 2, 2, 2, n_classes=4).draw(seed=1),
    "layered": lambda: layered([2, 4, 3], [3, 2], [2, 3], seed=1),
    "filtered 1": lambda: filtered(FIXTURE, 1),
    "filtered 2": lambda: filtered(FIXTURE, 2),
    "filtered weighted": lambda: filtered(WEIGHTED, 2),
}


@pytest.mark.parametrize("name", SMALL)
def test_inference_is_exact_by_enumeration(name: str) -> None:
    grammar = SMALL[name]()
    log_psi = np.log(np.random.default_rng(0).random((3, grammar.n_leaves, grammar.v[-1])))
    found = posterior(grammar, log_psi)
    for i, line in enumerate(log_psi):
        marginals, log_z = enumerated_posterior(grammar, line)
        assert found.log_evidence[i] == pytest.approx(log_z, abs=1e-11)
        for level, exact in enumerate(marginals):
            np.testing.assert_allclose(found.marginals[level][i], exact, atol=1e-12)


def conditional(grammar: Grammar, level: int) -> dict[tuple[int, ...], np.ndarray]:
    """Probability of every string of a level, given each class."""
    levels, prior = enumerate_derivations(grammar)
    table: dict[tuple[int, ...], np.ndarray] = {}
    for string, c, p in zip(levels[level].tolist(), levels[0][:, 0], prior, strict=True):
        row = table.setdefault(tuple(string), np.zeros(grammar.v[0]))
        row[c] += p / grammar.root_prior[c]
    return table


def node_law(table: dict[tuple[int, ...], np.ndarray], v: int) -> np.ndarray:
    """P_j(b | c), [nodes, v, classes]."""
    nodes = len(next(iter(table)))
    out = np.zeros((nodes, v, len(next(iter(table.values())))))
    for string, row in table.items():
        for j, b in enumerate(string):
            out[j, b] += row
    return out


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS, WEIGHTED])
@pytest.mark.parametrize("level", [1, 2])
def test_filtering_keeps_single_nodes_and_cuts_the_rest(grammar: Grammar, level: int) -> None:
    cut = filtered(grammar, level)
    before, after = conditional(grammar, level), conditional(cut, level)
    single = node_law(before, grammar.v[level])
    np.testing.assert_allclose(node_law(after, grammar.v[level]), single, atol=1e-12)
    for string, row in after.items():
        expected = np.prod([single[j, b] for j, b in enumerate(string)], axis=0)
        np.testing.assert_allclose(row, expected, atol=1e-12)
    # planted: the original does not factorise
    gap = max(
        float(np.abs(row - np.prod([single[j, b] for j, b in enumerate(x)], axis=0)).max())
        for x, row in before.items()
    )
    assert gap > 0.01


def test_below_the_cut_the_rules_are_those_of_the_grammar() -> None:
    grammar = RHM(3, 2, 2, 3).draw(seed=0)
    cut = filtered(grammar, 2)
    for level in (2,):
        assert np.array_equal(cut.rules[level], grammar.rules[level])
    exact = node_law(conditional(grammar, 3), 3)
    levels = posterior(cut, np.zeros((3, 8, 3)), root=np.arange(3)).marginals
    np.testing.assert_allclose(levels[3].transpose(1, 2, 0), exact, atol=1e-12)


def test_cutting_at_level_zero_changes_nothing() -> None:
    assert filtered(FIXTURE, 0) == FIXTURE


def test_laws_of_parameters_refuse_weights_without_dropping_them() -> None:
    rhm, noise = RHM(4, 2, 2, 2), MaskingNoise(4)
    with pytest.raises(InvalidParameter, match="give the parameters it was drawn with, RHM"):
        critical_level(rhm.draw(0), noise)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="equal weights, and this grammar has not") as error:
        critical_level(zipf(rhm, 1.0, seed=0), noise)  # type: ignore[arg-type]
    assert one_line(error).endswith("measure(ExactRHM(grammar, noise), grammar).threshold")


def test_zipf_frequencies_and_chosen_levels() -> None:
    w = zipf_weights(5, 0.5)
    np.testing.assert_allclose(w[1:] / w[0], np.arange(2, 6) ** -1.5)
    np.testing.assert_allclose(zipf_weights(4, -1.0), 0.25)
    rhm = RHM(4, 2, 2, 2)
    grammar = zipf(rhm, 1.0, seed=3, levels=[1])
    assert all(
        np.array_equal(a, b) for a, b in zip(grammar.rules, rhm.draw(seed=3).rules, strict=True)
    )
    np.testing.assert_allclose(grammar.weights[0], 0.5)
    np.testing.assert_allclose(grammar.weights[1], [[0.8, 0.2]] * 4)
    assert zipf(rhm, -1.0, seed=3) == rhm.draw(seed=3)
    assert sum(string_probabilities(grammar).values()) == pytest.approx(1)


def test_rules_are_distinct_where_promised() -> None:
    grammar = ambiguous(3, 8, 2, 2, seed=0)
    for table in grammar.rules:
        assert all(len(np.unique(rules, axis=0)) == 8 for rules in table)
    assert not grammar.is_unambiguous
    assert layered([4, 4, 4], [4, 2], [2, 2], seed=0).is_unambiguous


def test_bad_input_is_said() -> None:
    cases: dict[str, Callable[[], Any]] = {
        "a = -2.0 must be a finite number >= -1": lambda: zipf_weights(3, -2.0),
        "between 0 and 1": lambda: zipf(RHM(4, 2, 2, 2), 0.5, 0, levels=[2]),
        "lower m or raise s": lambda: ambiguous(2, 5, 2, 2, 0),
        "lengths 2, 2, 1": lambda: layered([2, 2], [1, 1], [2], 0),
        "m * v = 10 rules exceed": lambda: layered([2, 2], [5], [2], 0),
        "no level": lambda: filtered(FIXTURE, 3),
        "cut higher": lambda: filtered(RHM(256, 2, 4, 2).draw(0), 1),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error)


@pytest.mark.slow
def test_the_experiment_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, resume, and shifts of known sign: rarer synonyms help, more synonyms hurt."""
    runs, small = [], Variants(L=5, grammars=6, data=16, levels=21)
    for _ in range(2):
        ds = run(small, out=tmp_path)["variants"].set_index(variant="variant")
        runs.append(capsys.readouterr().out)
        tasks = tmp_path / "tasks" / "variants"
        stamps = {p.name: p.stat().st_mtime_ns for p in tasks.iterdir()}
    assert runs[0] == runs[1]
    assert stamps == {p.name: p.stat().st_mtime_ns for p in tasks.iterdir()}
    assert runs[0].splitlines()[-1].startswith("reference class lost at t = 0.")
    z = ds["shift"] / ds.shift_error
    assert z.sel(variant="Zipf, a = 1") > 4
    assert z.sel(variant="m = 6") < -4
    assert (tmp_path / "variants.png").read_bytes()[:4] == b"\x89PNG"
