"""Steps of density evolution against plain Python, member by member, with the same numbers."""

from __future__ import annotations

import itertools

import density_steps
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
    up = density_steps.up(population, order, np.uint64(key), parents, m, digits, parts=(4,))
    expected = oracles.density_up(population, order, key, parents, m, digits)
    np.testing.assert_allclose(up, expected, rtol=1e-13)
    down = density_steps.down(population, above, order, np.uint64(key), m, digits)
    expected = oracles.density_down(population, above, order, key, m, digits)
    np.testing.assert_allclose(down, expected, rtol=1e-13)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("v", [2, 3, 6])
def test_marginals_are_those_of_their_plain_twin(key: int, v: int) -> None:
    up, down = messages(MEMBERS, v), messages(7, v)[::-1].copy()
    order = np.random.default_rng(1).integers(7, size=MEMBERS)
    out = density_steps.meet(up, down, order, np.uint64(key))
    np.testing.assert_allclose(out, oracles.density_marginals(up, down, order, key), rtol=1e-13)


@pytest.mark.parametrize("lanes", range(1, kernels.LANES + 1))
@pytest.mark.parametrize(("v", "parents", "m", "s"), SIZES)
def test_a_lane_does_what_it_would_do_alone(
    lanes: int, v: int, parents: int, m: int, s: int
) -> None:
    """To the last bit, next to any others: what each step reads behind a row stays unseen."""
    rng, key, digits = np.random.default_rng(2), np.uint64(99), digits_of(v, s)
    population, above = (rng.dirichlet(np.ones(k), size=(lanes, 5)) for k in (v, parents))
    order = rng.integers(5, size=(s, MEMBERS))
    together = [np.ascontiguousarray(np.moveaxis(x, 0, -1)) for x in (population, above)]
    up = density_steps.up(together[0], order, key, parents, m, digits, parts=(4,))
    down = density_steps.down(*together, order, key, m, digits)
    alone = [np.ascontiguousarray(down[..., k]) for k in range(lanes)]
    beliefs = density_steps.meet(together[0], down, order[0, :5], key)
    for k in range(lanes):
        one = population[k], above[k]
        expected = density_steps.up(one[0], order, key, parents, m, digits)
        np.testing.assert_array_equal(up[..., k], expected)
        np.testing.assert_array_equal(alone[k], density_steps.down(*one, order, key, m, digits))
        expected = density_steps.meet(one[0], alone[k], order[0, :5], key)
        np.testing.assert_array_equal(beliefs[:, k], expected)


@pytest.mark.parametrize(("v", "classes", "m", "s"), SIZES)
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_whole_population_is_that_of_its_plain_twins(
    v: int, classes: int, m: int, s: int, lanes: int
) -> None:
    """Three levels up and down, with other random numbers at every step."""
    L, size, rng, digits = 3, 6, np.random.default_rng(3), digits_of(v, s)
    tree = np.full((L, size, v, lanes), np.nan)
    tree[-1] = np.moveaxis(rng.dirichlet(np.ones(v), size=(lanes, size)), 0, -1)
    orders = rng.integers(size, size=(3 * L, s, size), dtype=np.int32)
    keys = rng.integers(2**63, size=3 * L, dtype=np.uint64)
    flat = density_steps.room(tree)
    top, marginal = np.full(size * classes * lanes, np.nan), np.full(L * size * lanes, np.nan)
    most = max(v, classes)
    seen, row, codes = density_steps.tables(digits, most, m)
    down = np.full((2, size * most * lanes + kernels.LANES), np.nan)
    kernels.evolve(
        flat, top, v, classes, orders, keys, m, digits.astype(np.int32), seen, lanes, row, codes,
        down, marginal,
    )  # fmt: skip
    flat = flat[: tree.size].reshape(tree.shape)
    top, marginal = top.reshape(size, classes, lanes), marginal.reshape(L, size, lanes)
    for k in range(lanes):
        levels, message = [tree[-1, ..., k]], np.full((size, classes), 1 / classes)
        for step, parents in enumerate([v] * (L - 1) + [classes]):
            given = orders[step], int(keys[step])
            levels.append(oracles.density_up(levels[-1], *given, parents, m, digits))
        np.testing.assert_allclose(top[..., k], levels.pop(), rtol=1e-12)
        for level in range(L):
            np.testing.assert_allclose(flat[level, ..., k], levels[-1], rtol=1e-12)
            step, up = L + 2 * level, levels.pop()
            given = orders[step], int(keys[step])
            message = oracles.density_down(up, message, *given, m, digits)
            expected = oracles.density_marginals(
                up, message, orders[step + 1, 0], int(keys[step + 1])
            )
            np.testing.assert_allclose(marginal[level, :, k], expected, rtol=1e-12)
