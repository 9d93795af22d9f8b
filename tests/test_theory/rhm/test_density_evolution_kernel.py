"""Steps of density evolution against plain Python, member by member, with the same numbers."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest

from hierdiff.theory.rhm import _kernels as kernels

KEYS = [0, 12345, 2**64 - 3]
SIZES = [(3, 3, 2, 2), (4, 3, 4, 2), (2, 2, 4, 3), (3, 4, 2, 3)]  # v, parents, m, s
MEMBERS = 11


def messages(rows: int, v: int) -> np.ndarray:
    """Normalised, and all different."""
    return np.random.default_rng(v).dirichlet(np.ones(v), size=rows)


def digits_of(v: int, s: int) -> np.ndarray:
    return np.array(list(itertools.product(range(v), repeat=s)))[:, ::-1].copy()


def test_kernel_and_twin_draw_the_published_numbers() -> None:
    """SplitMix64 from the seed 1234567, as the reference code prints them, to the last bit."""
    found = list(itertools.islice(oracles.splitmix64(1234567), 5))
    assert found == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip
    state = 1234567
    for bits in found:
        state, drawn = kernels._next(np.uint64(state))
        assert int(drawn) == bits


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("v", "parents", "m", "s"), SIZES)
def test_a_step_is_that_of_its_plain_twin(key: int, v: int, parents: int, m: int, s: int) -> None:
    """Also where all tuples are used (2, 2, 4, 3), and however the members are cut into parts."""
    digits = digits_of(v, s)
    population, above = messages(5, v), messages(5, parents)
    order = np.random.default_rng(0).integers(5, size=(s, MEMBERS))
    up, down = np.full((MEMBERS, parents), np.nan), np.full((MEMBERS, v), np.nan)
    for first, last in ((0, 4), (4, MEMBERS)):
        given = order, np.uint64(key), first, last
        fresh = [np.zeros(len(digits), np.int64) for _ in range(2)]
        kernels.upward(population, *given, parents, m, digits, fresh[0], up)
        assert np.isnan(up[last:]).all()
        kernels.downward(population, above, *given, m, digits, fresh[1], down)
        assert np.isnan(down[last:]).all()
    expected = oracles.density_up(population, order, key, parents, m, digits)
    np.testing.assert_allclose(up, expected, rtol=1e-13)
    expected = oracles.density_down(population, above, order, key, m, digits)
    np.testing.assert_allclose(down, expected, rtol=1e-13)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("v", [2, 3, 6])
def test_marginals_are_those_of_their_plain_twin(key: int, v: int) -> None:
    up, down = messages(MEMBERS, v), messages(7, v)[::-1].copy()
    order = np.random.default_rng(1).integers(7, size=MEMBERS)
    out = np.full(MEMBERS, np.nan)
    for first, last in ((0, 5), (5, MEMBERS)):
        kernels.marginals(up, down, order, np.uint64(key), first, last, out)
        assert np.isnan(out[last:]).all()
    np.testing.assert_allclose(out, oracles.density_marginals(up, down, order, key), rtol=1e-13)
