"""Prefixes and next symbols against sums over all strings."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import one_line
from pcfg_oracles import LAYERED, RECURSIVE, UNARY, strings

from hierdiff.data.pcfg import PCFG
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.theory.pcfg import next_token_law, parse_posterior, prefix_log_probability


def test_prefixes_of_a_finite_language_are_sums_over_its_strings() -> None:
    x = strings(2, 3)
    found = np.exp(prefix_log_probability(LAYERED, x))
    want = np.zeros_like(found)
    for n in np.flatnonzero(LAYERED.length_law(12)):
        with np.errstate(divide="ignore"):
            whole = strings(2, int(n))
            p = np.exp(parse_posterior(LAYERED, np.log(np.eye(2)[whole] + 1e-300)).log_evidence)
        for k in range(4):
            if n >= k:
                for i, string in enumerate(x):
                    want[i, k] += p[(whole[:, :k] == string[:k]).all(axis=1)].sum()
    np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize("g", [LAYERED, RECURSIVE, UNARY])
def test_next_symbols_and_the_end_sum_to_one_and_multiply_to_the_string(g: PCFG) -> None:
    x = g.sample(6, 0, length=5).x0
    law = next_token_law(g, x)
    np.testing.assert_allclose(law.sum(axis=2), 1, atol=1e-12)
    rows = np.arange(6)[:, None]
    chosen = law[rows, np.arange(5), x]
    exact = parse_posterior(g, np.log(np.eye(g.v)[x] + 1e-300)).log_evidence
    np.testing.assert_allclose(
        np.log(chosen).sum(axis=1) + np.log(law[:, 5, -1]), exact, atol=1e-11
    )
    # prefixes of their own: what follows k leaves is a ratio of two prefixes
    prefixes = prefix_log_probability(g, x)
    np.testing.assert_allclose(np.diff(prefixes, axis=1), np.log(chosen), atol=1e-11)


@pytest.mark.parametrize("g", [LAYERED, RECURSIVE, UNARY])
def test_at_known_length_the_symbols_multiply_to_the_string_given_its_length(g: PCFG) -> None:
    x = g.sample(4, 0, length=5).x0
    law = next_token_law(g, x, length=5)
    assert law.shape == (4, 5, g.v)
    np.testing.assert_allclose(law.sum(axis=2), 1, atol=1e-12)
    chosen = law[np.arange(4)[:, None], np.arange(5), x]
    exact = parse_posterior(g, np.log(np.eye(g.v)[x] + 1e-300)).log_evidence
    want = exact - np.log(g.length_law(5)[5])
    np.testing.assert_allclose(np.log(chosen).sum(axis=1), want, atol=1e-11)


def test_bad_input_is_told_in_one_line() -> None:
    endless = PCFG.from_text("S -> S S [0.6] | 'a' [0.4]")
    with pytest.raises(InvalidParameter, match="need not end") as error:
        prefix_log_probability(endless, [[0, 0]])
    one_line(error)
    with pytest.raises(ImpossibleEvidence, match="begins with") as error:
        next_token_law(RECURSIVE, [[2, 0]])
    one_line(error)
    for bad in ([[0, 3]], [0, 1], np.zeros((0, 2), int)):
        with pytest.raises(InvalidParameter) as error:
            next_token_law(RECURSIVE, bad)
        one_line(error)
