"""Cosine, RSA and CKA: oracles, invariances, what independent data give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.representation_geometry import (
    cosine_similarity,
    linear_cka,
    representational_similarity,
)


def matrix(seed: int, n: int = 12, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width))


@given(st.integers(0, 1000), st.floats(0.1, 10))
@settings(deadline=None, max_examples=30)
def test_invariances(seed: int, scale: float) -> None:
    x, y = matrix(seed), matrix(seed + 1, width=3) + matrix(seed)[:, :3]
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((5, 5)))[0]
    each = np.random.default_rng(seed).uniform(0.5, 2, (12, 1))
    np.testing.assert_allclose(cosine_similarity(each * x), cosine_similarity(x), atol=1e-11)
    for unbiased in (False, True):
        whole = linear_cka(x, y, unbiased=unbiased)
        moved = linear_cka(scale * x @ turn + 3.0, y - 1.0, unbiased=unbiased)
        assert moved == pytest.approx(whole, abs=1e-9)
    assert linear_cka(x, x) == pytest.approx(1)
    rsa = representational_similarity(x, y)
    assert representational_similarity(scale * x @ turn - 2.0, y) == pytest.approx(rsa, abs=1e-9)
    assert representational_similarity(y, x) == pytest.approx(rsa, abs=1e-12)


def test_rsa_sees_order_alone() -> None:
    """A monotone map of all distances leaves it: points on a line whose gaps double."""
    x = np.array([0.0, 1.0, 3.0, 7.0])[:, None]  # distances 1 3 7 2 6 4
    y = np.array([0.0, 1.0, 4.0, 14.0])[:, None]  # distances 1 4 14 3 13 10: the same order
    z = np.array([0.0, 2.0, 3.0, 7.0])[:, None]  # distances 2 3 7 1 5 4: 2 and 1 have changed
    assert representational_similarity(x, y) == 1
    ranks = np.array([[1, 3, 6, 2, 5, 4], [2, 3, 6, 1, 5, 4]])
    assert representational_similarity(x, z) == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_cka_by_its_definition() -> None:
    x, y = matrix(1), matrix(2, width=4)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    expected = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert linear_cka(x, y) == pytest.approx(expected)


def test_the_unbiased_estimate_is_zero_for_independent_features() -> None:
    found = np.array([
        [linear_cka(matrix(2 * i, 20, 30), matrix(2 * i + 1, 20, 30), unbiased=bool(u))
         for u in range(2)]
        for i in range(200)
    ])  # fmt: skip
    error = found.std(axis=0, ddof=1) / np.sqrt(200)
    assert abs(found[:, 1].mean()) < 4 * error[1]
    # the plain estimate is far from zero for wide features
    assert found[:, 0].mean() > 50 * error[0]


def test_bad_input_is_one_line() -> None:
    assert np.isnan(representational_similarity(np.ones((4, 2)), matrix(0, 4)))
    assert np.isnan(linear_cka(np.ones((4, 2)), matrix(0, 4)))
    cases = {
        "finite numbers": lambda: cosine_similarity([[np.nan]]),
        "the same ones": lambda: linear_cka(matrix(0, 5), matrix(0, 6)),
        "n >= 3": lambda: representational_similarity(matrix(0, 2), matrix(1, 2)),
        "give 4": lambda: linear_cka(matrix(0, 3), matrix(1, 3), unbiased=True),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words
