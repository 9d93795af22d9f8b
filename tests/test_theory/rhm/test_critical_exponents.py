"""Linearised density evolution: against exact maps, known slopes, and itself."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff import RHM, EpsilonNoise, GaussianNoise, MaskingNoise
from hierdiff.errors import InvalidParameter, NoTransition
from hierdiff.theory import (
    belief_slopes,
    correlation_length_exponent,
    critical_exponents,
    kesten_stigum_annealed,
    stability,
    support_exponents,
    support_laws,
    support_threshold,
)
from hierdiff.theory.rhm.bounds import _derivative, _support_table, critical_support, step_law
from hierdiff.theory.rhm.critical_exponents import _Run, _transient

SIZES = [(32, 8, 2), (16, 4, 2), (24, 6, 2), (16, 8, 3), (8, 3, 2)]


@pytest.mark.parametrize("sizes", SIZES)
def test_support_sets_have_a_fixed_point_with_one_growing_direction(
    sizes: tuple[int, int, int],
) -> None:
    rhm = RHM(*sizes, 1)
    law, eigenvalues, threshold = critical_support(rhm)
    table = _support_table(rhm.v, rhm.m, rhm.s, rhm.v)
    np.testing.assert_allclose(step_law(law, table, rhm.s), law, atol=1e-13)
    assert threshold == support_threshold(rhm)
    assert eigenvalues[0] > 1 > abs(eigenvalues[1])


def test_values_of_support_sets() -> None:
    found = support_exponents(RHM(32, 8, 2, 1))
    assert found.eigenvalue == pytest.approx(1.306187, abs=1e-6)
    assert found.nu == pytest.approx(2.594966, abs=1e-6)
    assert found.certain == pytest.approx(0.312660, abs=1e-6)
    assert found.threshold == pytest.approx(0.2515602, abs=1e-7)
    assert (found.eigenvalue_error, found.susceptibility) == (0.0, "saturates")


@pytest.mark.parametrize("sizes", SIZES)
def test_the_derivative_is_that_of_the_map(sizes: tuple[int, int, int]) -> None:
    rhm = RHM(*sizes, 1)
    table = _support_table(rhm.v, rhm.m, rhm.s, rhm.v)
    random = np.random.default_rng(3)
    law = random.dirichlet(np.ones(rhm.v))
    change = random.standard_normal(rhm.v)
    change -= change.mean()
    h = 1e-5
    numeric = step_law(law + h * change, table, rhm.s) - step_law(law - h * change, table, rhm.s)
    np.testing.assert_allclose(change @ _derivative(law, table, rhm.s), numeric / (2 * h),
                               atol=1e-8)  # fmt: skip


@pytest.mark.parametrize("sizes", [(32, 8, 2), (16, 8, 3)])
def test_laws_leave_the_threshold_at_the_rate_of_the_eigenvalue(
    sizes: tuple[int, int, int],
) -> None:
    """Support sets above and below their threshold, without any linear algebra."""
    rhm, found = RHM(*sizes, 40), support_exponents(RHM(*sizes, 1))
    gap = [
        support_laws(rhm, found.threshold - 1e-6)[l, 0]
        - support_laws(rhm, found.threshold + 1e-6)[l, 0]
        for l in (20, 21, 22)
    ]  # fmt: skip
    assert gap[0] / gap[1] == pytest.approx(found.eigenvalue, abs=3e-3)
    assert gap[1] / gap[2] == pytest.approx(found.eigenvalue, abs=3e-3)
    assert abs(gap[0] / gap[1] - float(stability(rhm)[1])) > 0.1


@pytest.mark.parametrize("sizes", [(16, 4, 2), (6, 5, 2), (5, 8, 3)])
def test_little_information_grows_by_the_kesten_stigum_number(
    sizes: tuple[int, int, int],
) -> None:
    """Siblings that know nothing: one child's divergence times s is the annealed number."""
    rhm = RHM(*sizes, 1)
    size = 40_000
    run = _Run(rhm, MaskingNoise(rhm.v), size, np.random.default_rng(5))
    nothing = np.full((size, rhm.v), 1 / rhm.v)
    little = nothing + 1e-4 * np.random.default_rng(6).standard_normal(nothing.shape)
    little /= little.sum(axis=1, keepdims=True)
    little = run._drawn(little)
    before = run._gap(little, nothing)
    after = run._gap(*run._pairs_up(little, nothing, nothing))
    ratio = after / before.mean()
    error = ratio.std() / np.sqrt(size)
    z = (ratio.mean() * rhm.s - kesten_stigum_annealed(rhm)) / (rhm.s * error)
    assert abs(z) < 4
    assert abs(rhm.s * ratio.mean() - float(stability(rhm)[0])) < 4 * rhm.s * error
    assert rhm.s * error < 0.02 * kesten_stigum_annealed(rhm)


def test_the_divergence_of_nearly_equal_beliefs_is_exact() -> None:
    run = _Run(RHM(4, 2, 2, 1), MaskingNoise(4), 100, np.random.default_rng(0))
    other = np.tile([0.4, 0.3, 0.2, 0.1], (100, 1))
    for h in (1e-12, 1e-8, 1e-4, 1e-2):
        one = other + h * np.array([1.0, -1.0, 0.5, -0.5])
        exact = 0.5 * h**2 * (1 / 0.4 + 1 / 0.3 + 0.25 / 0.2 + 0.25 / 0.1)
        assert run._gap(one, other)[0] == pytest.approx(exact, rel=h + 5e-4)
    certain = np.tile([1.0, 0, 0, 0], (100, 1))
    assert run._gap(certain, other)[0] == pytest.approx(-np.log(0.4))
    assert np.all(run._gap(certain, certain) == 0)


def test_a_message_draws_its_truth_from_itself() -> None:
    run = _Run(RHM(4, 2, 2, 1), MaskingNoise(4), 50_000, np.random.default_rng(1))
    beliefs = np.tile([0.1, 0.6, 0.3, 0.0], (50_000, 1))
    drawn = run._drawn(beliefs.copy())
    assert sorted(set(drawn[:, 0])) == [0.1, 0.3, 0.6]
    assert (drawn[:, 0] == 0.6).mean() == pytest.approx(0.6, abs=0.01)
    np.testing.assert_allclose(np.sort(drawn, axis=1), np.sort(beliefs, axis=1))


def test_the_transient_is_left_out_by_rule() -> None:
    random = np.random.default_rng(2)
    flat = 1.25 + 0.01 * random.standard_normal((8, 80))
    early = flat + np.where(np.arange(80) < 12, 0.3, 0.0)
    size = random.uniform(0.5, 2, flat.shape)  # of the perturbation before each level
    assert _transient(flat * size, size) == 10
    assert _transient(early * size, size) == 30
    with pytest.raises(InvalidParameter, match="still drifts"):
        _transient((flat + 0.01 * np.arange(80)) * size, size)


def test_same_seed_same_exponents_and_derived_values() -> None:
    rhm = RHM(8, 3, 2, 1)
    runs = [
        critical_exponents(rhm, GaussianNoise(8), t=0.3, size=200, levels=30, copies=3, seed=4)
        for _ in range(2)
    ]
    assert runs[0].eigenvalue == runs[1].eigenvalue
    np.testing.assert_array_equal(runs[0].growth, runs[1].growth)
    x = runs[0]
    assert x.nu == np.log(2) / np.log(x.eigenvalue)
    assert x.a == 2 - 2 / x.nu
    assert x.leaf_growth == x.eigenvalue**2 / 2
    step = 1e-6
    assert x.nu_error == pytest.approx(
        abs(np.log(2) / np.log(x.eigenvalue + step) - x.nu) / step * x.eigenvalue_error, rel=1e-3
    )


def test_slopes_of_coupled_populations_near_the_leaves_are_those_of_the_recursion() -> None:
    """Slope of the leaf is 1 - 1/v, by decree of the epsilon-process."""
    rhm = RHM(32, 8, 2, 1)
    found = belief_slopes(rhm, EpsilonNoise(32), 68 / 93, levels=2, size=4000, copies=3)
    assert found.slope[0] == pytest.approx(1 - 1 / 32)
    assert found.belief[0] == pytest.approx(7 / 24)
    assert np.abs(found.growth - float(stability(rhm)[1])).max() < 0.04


def test_bad_requests() -> None:
    rhm, noise = RHM(8, 3, 2, 1), MaskingNoise(8)
    cases = {
        "size = 10": lambda: critical_exponents(rhm, noise, size=10),
        "copies = 2": lambda: critical_exponents(rhm, noise, copies=2),
        "levels = 5": lambda: critical_exponents(rhm, noise, levels=5),
        "t = 1.5": lambda: critical_exponents(rhm, noise, t=1.5),
        r"noise\.v = 9": lambda: critical_exponents(rhm, MaskingNoise(9)),
        "delta": lambda: belief_slopes(rhm, noise, 0.1, delta=0.2),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        assert "\n" not in str(error.value)
    for sizes, which in (((32, 20, 2), "always lost"), ((32, 1, 2), "never lost")):
        with pytest.raises(NoTransition, match=which):
            critical_exponents(RHM(*sizes, 1), MaskingNoise(32))


@pytest.mark.slow
def test_exponents_do_not_depend_on_the_size_of_the_population() -> None:
    rhm, noise = RHM(8, 3, 2, 1), GaussianNoise(8)
    found = [critical_exponents(rhm, noise, t=0.301, size=n, copies=12) for n in (500, 4000)]
    for name in ("eigenvalue", "belief"):
        a, b = (getattr(x, name) for x in found)
        error = np.hypot(*(getattr(x, f"{name}_error") for x in found))
        assert abs(a - b) < 4 * error


@pytest.mark.slow
def test_error_bars_of_exponents_cover() -> None:
    """Student's law with two degrees of freedom: +-1 SE covers .577, +-2 SE .816."""
    rhm, noise = RHM(8, 3, 2, 1), GaussianNoise(8)
    found = [
        critical_exponents(rhm, noise, t=0.301, size=250, levels=40, copies=3, seed=i)
        for i in range(60)
    ]  # fmt: skip
    mean = np.mean([x.eigenvalue for x in found])
    z = np.array([(x.eigenvalue - mean) / x.eigenvalue_error for x in found])
    for bound, nominal in ((1, 0.577), (2, 0.816)):
        covered = (np.abs(z) < bound).mean()
        assert abs(covered - nominal) < 3 * np.sqrt(nominal * (1 - nominal) / len(z))


def test_the_exponent_of_the_epsilon_process_is_not_that_of_support_sets() -> None:
    rhm = RHM(32, 8, 2, 1)
    assert support_exponents(rhm).nu - correlation_length_exponent(rhm) > 0.7
