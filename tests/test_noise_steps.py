"""Reverse steps of the noise processes: their laws listed on one leaf, and planted wrong steps.

One leaf has a prior p over v symbols.  Its belief at x_t is exact, so a chain of exact steps
t -> r -> s -> 0 must end in the posterior p(x0 | x_t), whatever the levels between.  The law of a
step is listed by running it on a grid of the uniform numbers that it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracles import one_line
from scipy import special, stats

from hierdiff.errors import InvalidParameter
from hierdiff.noise import (
    EpsilonNoise,
    GaussianNoise,
    MaskingNoise,
    NoiseProcess,
    UniformNoise,
    draw_symbols,
    reverse_probabilities,
)

Array = NDArray[Any]
Step = Callable[..., Array]
PROPERTY = settings(deadline=None, max_examples=60)
PRIOR = np.array([0.5, 0.3, 0.15, 0.05])
V = len(PRIOR)
GRID = {1: 40_000, 2: 400}  # points per uniform number, by how many a step reads
SIGNIFICANCE, REJECTED = 1e-4, 1e-12
DISCRETE = [MaskingNoise(V), UniformNoise(V)]
LEVELS = [0.8, 0.5, 0.2, 0.0]


def beliefs(noise: NoiseProcess, x: Array, t: float) -> Array:
    """Exact posterior of one leaf per row, [n, 1, v]."""
    log_evidence = noise.log_evidence(x, t)
    weight = PRIOR * np.exp(log_evidence - log_evidence.max(axis=2, keepdims=True))
    return np.asarray(weight / weight.sum(axis=2, keepdims=True))


def states(noise: NoiseProcess) -> Array:
    """All states of a leaf, [k, 1], the mask last."""
    return np.array([*range(V), *([-1] if noise.name == "masking" else [])])[:, None]


def table(noise: NoiseProcess, step: Step, t: float, s: float) -> Array:
    """Law of the next state for every state, [k, k]."""
    here = states(noise)
    k = noise.draw_step((1, 1), s, np.random.default_rng(0)).shape[-1]
    axis = (np.arange(GRID[k]) + 0.5) / GRID[k]
    u = np.stack(np.meshgrid(*[axis] * k, indexing="ij"), axis=-1).reshape(-1, 1, k)
    law = np.zeros((len(here), len(here)))
    for i, x in enumerate(here):
        many = np.full((len(u), 1), x[0])
        new = step(many, beliefs(noise, many[:1], t)[[0] * len(u)], t, s, u)[:, 0]
        law[i] = np.bincount(np.where(new < 0, V, new), minlength=len(here)) / len(u)
    return law


def off(noise: NoiseProcess) -> float:
    """By how much a listed probability of a symbol can be wrong: a point of the grid per border."""
    return V / GRID[1 if noise.name == "uniform" else 2]


def chain(noise: NoiseProcess, step: Step) -> Array:
    """Law of x0 for every state at the first level, [k, v]."""
    law = np.eye(len(states(noise)))
    for t, s in zip(LEVELS, LEVELS[1:], strict=False):
        law = law @ table(noise, step, t, s)
    return law


def wrong_step(noise: NoiseProcess) -> Step:
    """Masks revealed at the rate of another level; ratio of means in place of mean ratio."""

    def masking(x: Array, p: Array, t: float, s: float, u: Array) -> Array:
        revealed = (x < 0) & (u[..., 0] < 1 - s)
        return np.where(revealed, draw_symbols(p, u[..., 1]), x) if s else (
            noise.reverse_step(x, p, t, s, u)
        )  # fmt: skip

    def uniform(x: Array, p: Array, t: float, s: float, u: Array) -> Array:
        kept = (1 - t) / (1 - s)
        law = (kept * np.eye(V)[x] + (1 - kept) / V) * ((1 - s) * p + s / V)
        return draw_symbols(law, u[..., 0])

    return masking if noise.name == "masking" else uniform


@pytest.mark.parametrize("noise", DISCRETE, ids=lambda n: n.name)
def test_exact_steps_compose_to_the_posterior(noise: NoiseProcess) -> None:
    start = states(noise)
    exact = beliefs(noise, start, LEVELS[0])[:, 0]
    law = chain(noise, noise.reverse_step)
    assert law[:, V:].sum() == 0
    assert abs(law[:, :V] - exact).max() < 3 * off(noise)

    def planted(x: Array, p: Array, *rest: Any) -> Array:
        return noise.reverse_step(x, (p + PRIOR[::-1]) / 2, *rest)

    assert abs(chain(noise, planted)[:, :V] - exact).max() > 10 * off(noise)


@pytest.mark.parametrize("noise", DISCRETE, ids=lambda n: n.name)
def test_a_step_carries_the_law_of_t_to_the_law_of_s(noise: NoiseProcess) -> None:
    """Chapman-Kolmogorov backwards; a planted wrong step does not."""

    def forward(t: float) -> Array:
        """Law of the state at level t, [k]."""
        kept, lost = PRIOR * (1 - t), t
        if noise.name == "masking":
            return np.append(kept, lost)
        return np.asarray(kept + lost / V)

    t, s = 0.7, 0.3
    found = forward(t) @ table(noise, noise.reverse_step, t, s)
    assert abs(found - forward(s)).max() < 2 * off(noise)
    wrong = forward(t) @ table(noise, wrong_step(noise), t, s)
    assert abs(wrong - forward(s)).max() > 4 * off(noise)


@pytest.mark.parametrize("noise", DISCRETE, ids=lambda n: n.name)
def test_drawn_chains_have_the_law_of_the_posterior(noise: NoiseProcess) -> None:
    """Chi-square of chains with the process's own random numbers, and of one wrong step."""
    n, rng = 20000, np.random.default_rng(3)
    start = np.full((n, 1), states(noise)[-1, 0])
    exact = beliefs(noise, start[:1], LEVELS[0])[0, 0]

    def p_value(step: Step) -> float:
        x = start
        for t, s in zip(LEVELS, LEVELS[1:], strict=False):
            x = step(x, beliefs(noise, x, t), t, s, noise.draw_step(x.shape, s, rng))
        return float(stats.chisquare(np.bincount(x[:, 0], minlength=V), n * exact).pvalue)

    assert p_value(noise.reverse_step) > SIGNIFICANCE

    def planted(x: Array, p: Array, *rest: Any) -> Array:
        """Draws from the prior in place of the posterior, half of the time."""
        return noise.reverse_step(x, (p + PRIOR[::-1]) / 2, *rest)

    assert p_value(planted) < REJECTED


@pytest.mark.parametrize("noise", [GaussianNoise(), GaussianNoise(schedule="linear")])
def test_gaussian_steps_compose_for_a_certain_belief(noise: GaussianNoise) -> None:
    """The bridge to a known x0: two steps have the mean and the variance of one."""
    t, r, s = 0.8, 0.5, 0.2
    x_t, x0 = np.array([[1.3, -0.4]]), np.array([[1.0, 0.0]])

    def moments(x: Array, t: float, s: float) -> tuple[Array, Array]:
        mean, shifted = (noise.reverse_step(x, x0, t, s, np.full((1, 2), z)) for z in (0.0, 1.0))
        return mean, shifted - mean

    mean, spread = moments(x_t, t, s)
    between, first = moments(x_t, t, r)
    composed, second = moments(between, r, s)
    slope = moments(between + 1, r, s)[0] - composed
    assert composed == pytest.approx(mean, abs=1e-13)
    assert np.hypot(slope * first, second) == pytest.approx(spread, abs=1e-13)
    # planted: the variance of the forward step composes to something larger
    ratio = noise.alpha_bar(t) / noise.alpha_bar(s)
    assert abs(np.sqrt(1 - ratio) - spread).max() > 0.05
    # and x_s has the forward law about x0: E x_s, of an x_t that has it
    centre = np.sqrt(noise.alpha_bar(t)) * x0
    assert moments(centre, t, s)[0] == pytest.approx(np.sqrt(noise.alpha_bar(s)) * x0)


def test_gaussian_chains_of_one_symbol_end_in_the_posterior_for_many_steps() -> None:
    """Finite steps put a mean in place of x0: far off for two steps, close for 64."""
    noise, n, t = GaussianNoise(V), 40000, 0.4
    rng = np.random.default_rng(0)
    start = np.repeat(noise.corrupt([[2]], t, 5), n, axis=0)
    exact = beliefs(noise, start[:1], t)[0, 0]

    def distance(steps: int) -> float:
        x = start
        for k in range(steps, 0, -1):
            now, then = t * k / steps, t * (k - 1) / steps
            p = beliefs(noise, x, now)
            x = noise.reverse_step(x, p, now, then, noise.draw_step(x.shape, then, rng))
        return float(abs(np.bincount(x[:, 0], minlength=V) / n - exact).sum() / 2)

    coarse, fine = distance(2), distance(64)
    assert coarse > 0.02
    assert fine < coarse / 3


def randoms_of(noise: NoiseProcess, x: Array, s: float, seed: int) -> Array:
    return noise.draw_step(x.shape, s, np.random.default_rng(seed))


@PROPERTY
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.integers(2, 6))
def test_uniform_law_is_that_of_its_matrices(seed: int, a: float, b: float, v: int) -> None:
    s, t = sorted((a, b))
    rng = np.random.default_rng(seed)
    x = rng.integers(v, size=(3, 2))
    p = rng.dirichlet(np.ones(v), size=(3, 2))
    kept = (1 - t) / (1 - s) if s < 1 else 1.0
    earlier, step = ((1 - q) * np.eye(v) + q / v for q in (s, 1 - kept))
    matrices = reverse_probabilities(x, p, earlier, step)
    own = UniformNoise(v).step_probabilities(x, p, t, s)
    if t > 1e-6:  # 1 - kept, which the matrices are given, has a rounding of 1e-16 / t
        assert own == pytest.approx(matrices, abs=1e-9)
        assert own.sum(axis=2) == pytest.approx(np.ones((3, 2)), abs=1e-9)


@PROPERTY
@given(
    st.sampled_from([MaskingNoise(4), UniformNoise(4), GaussianNoise(4), GaussianNoise()]),
    st.integers(0, 10**6),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_step_is_a_function_of_its_rows_and_numbers(
    noise: NoiseProcess, seed: int, a: float, b: float
) -> None:
    s, t = sorted((a, b))
    rng = np.random.default_rng(seed)
    x0 = rng.standard_normal((4, 3)) if noise.v is None else rng.integers(4, size=(4, 3))
    x = noise.corrupt(x0, t, seed)
    p = x0 if noise.v is None else rng.dirichlet(np.ones(4), size=(4, 3))
    u = randoms_of(noise, x, s, seed)
    new = noise.reverse_step(x, p, t, s, u)
    assert np.array_equal(new, noise.reverse_step(x, p, np.full(4, t), np.full(4, s), u))
    part = noise.reverse_step(x[1:3], p[1:3], t, s, u[1:3])
    assert np.array_equal(part, new[1:3])
    if noise.v is not None and new.ndim == 2:
        assert new.min() >= -1
        assert new.max() < noise.v
    if noise.name == "masking":
        assert np.array_equal(new[x >= 0], x[x >= 0])
        assert s > 0 or (new >= 0).all()
    # a step of no length changes nothing; a certain belief is where a chain ends
    if t > 0:
        assert np.allclose(noise.reverse_step(x, p, t, t, randoms_of(noise, x, t, seed)), x)
    if noise.v is not None:
        end = randoms_of(noise, x, 0.0, seed)
        sure = np.eye(4)[np.where(x < 0, x0, x) if noise.name == "masking" else x0]
        assert np.array_equal(noise.reverse_step(x, sure, t, 0.0, end), sure.argmax(axis=2)) or (
            noise.name == "uniform" and t == 0  # x_t is then the datum, whatever is believed
        )


@pytest.mark.parametrize("noise", DISCRETE, ids=lambda n: n.name)
@pytest.mark.parametrize("t", [0.05, 0.4, 0.9])
def test_slope_of_the_information_about_one_leaf(noise: Any, t: float) -> None:
    """Of a leaf alone the extrinsic belief is the prior; I = H(x_t) - H(x_t | x_0), listed."""

    def information(t: float) -> float:
        seen = np.append((1 - t) * np.eye(V), np.full((V, 1), t), axis=1)  # the mask last
        if noise.name == "uniform":
            seen = (1 - t) * np.eye(V) + t / V
        joint = PRIOR[:, None] * seen
        return float(special.entr(joint.sum(axis=0)).sum() - PRIOR @ special.entr(seen).sum(axis=1))

    listed = (information(t + 1e-5) - information(t - 1e-5)) / 2e-5
    assert noise.information_slope(PRIOR[None, None], t) == pytest.approx([listed], rel=1e-6)


def test_symbols_are_drawn_by_inversion() -> None:
    p = np.array([[0.2, 0.0, 0.8], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert draw_symbols(p, np.zeros(3)).tolist() == [0, 0, 2]
    assert draw_symbols(p, np.full(3, 1 - 1e-16)).tolist() == [2, 0, 2]
    u = (np.arange(1000) + 0.5) / 1000
    counts = np.bincount(draw_symbols(np.tile(p[0], (1000, 1)), u), minlength=3)
    assert counts.tolist() == [200, 0, 800]


X, P = np.array([[0, 1]]), np.full((1, 2, 4), 0.25)
BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "upwards": (
        lambda: MaskingNoise(4).reverse_step(X, P, 0.2, 0.5, np.zeros((1, 2, 2))),
        "s = 0.5 is above t = 0.2; a reverse step leads to less noise",
    ),
    "belief": (
        lambda: UniformNoise(4).reverse_step(X, P[..., :3], 0.5, 0.2, np.zeros((1, 2, 1))),
        "belief has shape (1, 2, 3); give (1, 2, 4)",
    ),
    "nan": (
        lambda: UniformNoise(4).reverse_step(X, P * np.nan, 0.5, 0.2, np.zeros((1, 2, 1))),
        "belief holds NaN or inf",
    ),
    "randoms": (
        lambda: MaskingNoise(4).reverse_step(X, P, 0.5, 0.2, np.ones((1, 2, 2))),
        "randoms lie in [1.0, 1.0]; give uniform numbers as draw_step does",
    ),
    "shape of randoms": (
        lambda: GaussianNoise(4).reverse_step(P, P, 0.5, 0.2, np.zeros((1, 2))),
        "randoms has shape (1, 2)",
    ),
    "state": (
        lambda: GaussianNoise(4).reverse_step(X, P, 0.5, 0.2, np.zeros((1, 2, 4))),
        "x_t has shape (1, 2)",
    ),
    "last numbers": (
        lambda: GaussianNoise(4).reverse_step(P, P, 0.5, 0.0, np.zeros((1, 2, 4))),
        "uniforms have shape (1, 2, 4)",
    ),
    "epsilon": (
        lambda: EpsilonNoise(4).reverse_step(X, P, 0.5, 0.2, np.zeros((1, 2, 0))),
        "noise = epsilon has no reverse chain",
    ),
    "epsilon draws": (
        lambda: EpsilonNoise(4).draw_step((1, 2), 0.2, np.random.default_rng(0)),
        "noise = epsilon has no reverse chain",
    ),
    "slope": (lambda: MaskingNoise(4).information_slope(P, 2.0), "t = 2.0 is outside [0, 1]"),
    "slope without noise": (
        lambda: UniformNoise(4).information_slope(P, 0.0), "an infinite slope; use t > 0",
    ),
    "matrix": (
        lambda: reverse_probabilities(X, P, np.eye(3), np.eye(4)), "earlier has shape (3, 3)",
    ),
    "leaves": (lambda: reverse_probabilities([[0]], P, np.eye(4), np.eye(4)), "give (1, 2)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(InvalidParameter) as error:
        call()
    assert words in one_line(error)
