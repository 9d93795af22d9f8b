"""The finite-step reverse chain: exact laws by enumeration, and its order in 1 / steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from laws import Laws
from numpy.typing import ArrayLike
from oracles import AMBIGUOUS, FIXTURE, all_strings, frequency_p_value, one_line

from hierdiff import (
    DiffusionModel,
    EpsilonNoise,
    GaussianNoise,
    MaskingNoise,
    UniformNoise,
)
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.seeds import Seed
from hierdiff.sims.models.finite_steps import (
    SequentialModel,
    SimulatedModel,
    convergence_order,
)
from hierdiff.theory import ExactRHM, denoise_symbols, posterior
from hierdiff.theory.rhm.uturn import committor

MASKING = ExactRHM(FIXTURE, MaskingNoise(4))
UNIFORM = ExactRHM(FIXTURE, UniformNoise(4))
GAUSSIAN = ExactRHM(FIXTURE, GaussianNoise(4))


def posterior_law(grammar: Any, evidence: np.ndarray) -> dict[tuple[int, ...], float]:
    """Probability of every sentence given leaf evidence [leaves, v]."""
    strings = all_strings(grammar.v[-1], grammar.n_leaves)
    weight = np.exp(grammar.log_prob(strings) + evidence[np.arange(4), strings].sum(axis=1))
    return {
        tuple(x): float(p)
        for x, p in zip(strings.tolist(), weight / weight.sum(), strict=True)
        if p > 0
    }


def test_they_are_diffusion_models() -> None:
    for model in (SimulatedModel(UNIFORM, 3), SequentialModel(MASKING)):
        assert isinstance(model, DiffusionModel)
        assert model.source == "simulation"
        x_t = model.noise.corrupt(FIXTURE.sample(2, 0).leaves, 0.3, 1)
        exact = denoise_symbols(FIXTURE, model.noise, x_t, 0.3)
        np.testing.assert_array_equal(model.denoise(x_t, 0.3), exact)
        assert set(model.features(x_t, 0.3)) == {"level 0", "level 1", "level 2"}


@pytest.mark.parametrize("grammar", [FIXTURE, AMBIGUOUS])
def test_one_token_at_a_time_is_exact(grammar: Any) -> None:
    v = grammar.v[-1]
    model = SequentialModel(ExactRHM(grammar, MaskingNoise(v)))
    x_t = np.full((6000, 4), -1)
    x_t[:, 1] = grammar.sample(1, 0).leaves[0, 1]
    law = posterior_law(grammar, model.noise.log_evidence(x_t[:1], 0.75)[0])
    draws = [tuple(x) for x in model.sample(x_t, 0.75, seed=1).tolist()]
    assert frequency_p_value(draws, law) > 1e-4
    # planted: all at once, from the same beliefs
    at_once = SimulatedModel(model.model, 1).sample(x_t, 0.75, seed=2)
    assert frequency_p_value([tuple(x) for x in at_once.tolist()], law) < 1e-8


def exact_chain(steps: int, wrong: str = "") -> float:
    """Total variation between the chain's law and the posterior, summed over all 256 states."""
    states, t = all_strings(4, 4), 0.6
    start = FIXTURE.sample(1, seed=2).leaves
    law = (states == start[0]).all(axis=1).astype(float)
    for k in range(steps, 0, -1):
        now, then = t * k / steps, t * (k - 1) / steps
        beliefs = denoise_symbols(FIXTURE, UNIFORM.noise, states, now)
        step = UniformNoise(4).step_probabilities(states, beliefs, now, then)
        if wrong:
            # the network's parameterisation fed with the posterior mean
            kept = (1 - now) / (1 - then)
            seen = np.eye(4)[states]
            step = (kept * seen + (1 - kept) / 4) * ((1 - then) * beliefs + then / 4)
            step /= step.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(step.sum(axis=2), 1, atol=1e-12)
        table = np.ones((256, 256))
        for i in range(4):
            table *= step[:, i, states[:, i]]
        law = law @ table
    exact = posterior_law(FIXTURE, UNIFORM.noise.log_evidence(start, t)[0])
    target = np.array([exact.get(tuple(x), 0.0) for x in states.tolist()])
    return float(np.abs(law - target).sum() / 2)


def test_uniform_chain_converges_at_first_order_without_any_sampling() -> None:
    """K times the distance is A + B log K: first order with a logarithm, so a constant step."""
    steps = np.array([64, 128, 256, 512])
    gaps = np.array([exact_chain(k) for k in steps])
    increments = np.diff(steps * gaps)
    assert increments.min() > 0
    assert np.ptp(increments) < 0.15 * increments.mean(), increments
    orders = np.log2(gaps[:-1] / gaps[1:])
    assert np.all((orders > 0.9) & (orders < 1)), orders
    # planted: the posterior mean in place of the cavity belief never becomes exact
    wrong = np.array([exact_chain(k, "mean") for k in (32, 128)])
    assert wrong.min() > 20 * gaps[-1]
    assert wrong[1] > 0.8 * wrong[0]


def test_one_token_alone_is_exact_at_any_number_of_steps() -> None:
    """Chapman-Kolmogorov: the uniform step with the exact belief of a single token."""
    prior, t, s, v = np.array([0.5, 0.3, 0.15, 0.05]), 0.7, 0.3, 4
    like = (1 - t) * np.eye(v) + t / v
    beliefs = (prior[:, None] * like / (prior @ like)).T[:, None]
    x = np.arange(v)[:, None]
    step = UniformNoise(v).step_probabilities(x, beliefs, t, s)[:, 0]
    early = prior @ ((1 - s) * np.eye(v) + s / v)
    np.testing.assert_allclose((prior @ like) @ step, early, atol=1e-14)


def invalid(model: ExactRHM, t: float, steps: int, n: int, seed: int) -> tuple[float, float]:
    """Share of sampled strings that are no sentences, with its standard error."""
    x_t = model.noise.corrupt(np.zeros((n, 4), int), t, seed)
    bad = 1 - FIXTURE.is_valid(SimulatedModel(model, steps).sample(x_t, t, seed)).mean()
    return float(bad), float(np.sqrt(bad * (1 - bad) / n))


@pytest.mark.parametrize("model", [MASKING, UNIFORM], ids=["masking", "uniform"])
def test_share_of_broken_sentences_falls_as_one_over_steps(model: ExactRHM, laws: Laws) -> None:
    steps = [16, 32, 64]
    found = [invalid(model, 1.0, k, 12000, k) for k in steps]
    fit = convergence_order(steps, *np.transpose(found))
    laws.holds("finite reverse chains converge with order 1", (fit.order - 1) / fit.error)
    assert abs(fit.order - 1) < 4 * fit.error, fit
    assert fit.error < 0.07
    assert abs(fit.order - 0.5) > 4 * fit.error
    assert abs(fit.order - 2) > 4 * fit.error


@pytest.mark.slow
def test_gaussian_retention_converges_at_first_order(laws: Laws) -> None:
    """Belief of the exact posterior in the drawn tokens, against its own expectation.

    From 16 steps on: between 8 and 32 the exponent is still 0.84 (6).
    """
    t, n = 0.4, 60000
    x_t = GAUSSIAN.noise.corrupt(FIXTURE.sample(n, 5).leaves, t, 1)
    p = GAUSSIAN.denoise(x_t, t)
    expected = (p**2).sum(axis=2)
    steps, gaps, errors = [16, 32, 64], [], []
    for k in steps:
        new = SimulatedModel(GAUSSIAN, k).sample(x_t, t, k)
        gap = (np.take_along_axis(p, new[..., None], 2)[..., 0] - expected).mean(axis=1)
        gaps.append(gap.mean())
        errors.append(gap.std() / np.sqrt(n))
    fit = convergence_order(steps, gaps, errors)
    laws.holds("finite reverse chains converge with order 1", (fit.order - 1) / fit.error)
    laws.rejects(
        "finite reverse chains converge with order 1", "order 2", (fit.order - 2) / fit.error
    )
    assert abs(fit.order - 1) < 4 * fit.error, fit
    assert abs(fit.order - 2) > 4 * fit.error


def test_committor_is_a_martingale_of_the_exact_chain(laws: Laws) -> None:
    model, n = SequentialModel(MASKING), 4000
    x_t = np.full((n, 4), -1)
    x_t[:, 0] = FIXTURE.sample(1, 0).leaves[0, 0]
    path = np.stack(model.trajectory(x_t, 0.75, seed=3)[:3])
    q = committor(FIXTURE, model.noise, path, [0.75, 0.5, 0.25])
    for early, late, limit in ((q[:-1], q[1:], True), (q[1:], q[:-1], False)):
        change = (early * (late - early)).sum(axis=2)
        spread = change.std(axis=1, ddof=1) / np.sqrt(n)
        z = change.mean(axis=1) / np.maximum(spread, 1e-12)
        name = "committor is a martingale of the exact reverse chain"
        if limit:
            laws.holds(name, z)
        else:
            laws.rejects(name, "forwards in noise", z)
        # planted: forwards in noise it is no martingale
        assert (np.abs(change.mean(axis=1)) < 4 * spread + 1e-12).all() == limit
    x0 = model.sample(np.full((3000, 4), -1), 1.0, 4)
    classes = posterior(FIXTURE, model.noise.evidence(x0, 0.0), levels=(0,)).marginals[0][:, 0]
    assert np.abs((classes.sum(axis=0) - 750) / np.sqrt(3000 * 0.25 * 0.75)).max() < 4


def test_dead_ends_are_finished_and_data_stay_what_is_seen() -> None:
    x_t = np.full((500, 4), -1)
    x_t[:, 0] = FIXTURE.sample(1, 0).leaves[0, 0]
    path = SimulatedModel(MASKING, 3).trajectory(x_t, 0.75, 0)
    assert len(path) == 4
    assert (path[-1] >= 0).all()
    assert (path[-1][:, 0] == x_t[:, 0]).all()
    broken = ~FIXTURE.is_valid(path[-1])
    assert 0 < broken.mean() < 1
    nonsense = next(x for x in all_strings(4, 4) if not FIXTURE.is_valid(x[None])[0])
    with pytest.raises(ImpossibleEvidence):
        SimulatedModel(MASKING, 3).sample(nonsense[None], 0.0, 0)


def test_without_noise_the_data_come_back_and_seeds_decide() -> None:
    x0 = FIXTURE.sample(20, 0).leaves
    for model in (MASKING, UNIFORM, GAUSSIAN):
        clean = model.noise.corrupt(x0, 0.0, 0)
        assert (SimulatedModel(model, 4).sample(clean, 0.0, 1) == x0).all()
        x_t = model.noise.corrupt(x0, 0.8, 0)
        levels = np.full(20, 0.8)
        one = SimulatedModel(model, 4).sample(x_t, levels, 1)
        assert (one == SimulatedModel(model, 4).sample(x_t, 0.8, 1)).all()
        assert (one != SimulatedModel(model, 4).sample(x_t, 0.8, 2)).any()


class NormalPrior:
    """E[x0 | x_t] = sqrt(alpha_bar) x_t of a standard normal prior on vectors."""

    noise = GaussianNoise()
    source = "theory"

    def denoise(self, x_t: np.ndarray, t: ArrayLike) -> np.ndarray:
        return np.asarray(np.sqrt(self.noise.alpha_bar(t))[:, None] * x_t)

    def sample(self, x_t: np.ndarray, t: ArrayLike, seed: Seed) -> np.ndarray:
        raise NotImplementedError

    def features(self, x_t: np.ndarray, t: ArrayLike) -> dict[str, np.ndarray]:
        return {"x": x_t}


def test_vectors_are_carried_back_too() -> None:
    """The variance of the chain's end tends to one, that of the prior."""
    x_t = np.random.default_rng(0).standard_normal((20000, 3))
    ends = [SimulatedModel(NormalPrior(), k).sample(x_t, 1.0, 1) for k in (16, 64)]
    assert ends[0].shape == (20000, 3)
    gaps = [1 - float(x.var()) for x in ends]
    # the standard error of a variance of 60,000 numbers is 0.006
    assert 3 < gaps[0] / gaps[1] < 5, gaps
    assert abs(gaps[1]) < 0.1


def test_bad_input_is_said() -> None:
    cases: list[tuple[str, Any]] = [
        ("num_steps = 0", lambda: SimulatedModel(UNIFORM, 0)),
        ("no reverse chain", lambda: SimulatedModel(ExactRHM(FIXTURE, EpsilonNoise(4)), 3)),
        ("masks no tokens", lambda: SequentialModel(UNIFORM)),
        ("three or more", lambda: convergence_order([1, 2], [1, 2], [1, 2])),
        ("not two errors", lambda: convergence_order([1, 2, 4], [1, 0.5, 0], [0.1, 0.1, 0.1])),
    ]
    for words, call in cases:
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error)
