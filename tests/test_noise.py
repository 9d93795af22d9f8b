"""Noise processes against their channels, listed or integrated, and against known schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats

from hierdiff.noise import (
    EpsilonNoise,
    GaussianNoise,
    MaskingNoise,
    NoiseProcess,
    SymbolEvidence,
    UniformNoise,
    noise_process,
)

PROPERTY = settings(deadline=None, max_examples=60)
NAMES = ["epsilon", "masking", "uniform", "gaussian"]
DISCRETE = ["epsilon", "masking", "uniform"]
LEVELS = st.floats(0, 1)
# A true law fails one chi-square test with this probability; a planted wrong one must fall below.
SIGNIFICANCE, REJECTED = 1e-4, 1e-12


def data(v: int, n: int = 4, leaves: int = 8, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(v, size=(n, leaves))


def cosine(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alpha bar as Nichol and Dhariwal write it."""
    f = np.cos((np.asarray(t) + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.asarray(f / np.cos(0.008 / 1.008 * np.pi / 2) ** 2)


BETAS = np.linspace(1e-4, 0.02, 1000)


# --- corruption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_corrupt_is_a_function_of_what_draw_returns(name: str) -> None:
    noise, x0 = noise_process(name, 5), data(5)
    randoms = noise.draw(x0.shape, np.random.default_rng(3))
    assert np.array_equal(noise.corrupt(x0, 0.4, seed=3), noise.corrupt_with(x0, 0.4, randoms))


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_depend_on_the_batch(name: str) -> None:
    noise, x0, t = noise_process(name, 5), data(5, n=6), np.linspace(0, 1, 6)
    rng = np.random.default_rng(1)
    parts = [noise.draw(part.shape, rng) for part in (x0[:1], x0[1:4], x0[4:])]
    whole = noise.draw(x0.shape, np.random.default_rng(1))
    assert np.array_equal(np.concatenate(parts), whole)
    together = noise.corrupt_with(x0, t, whole)
    alone = [noise.corrupt_with(x0[i : i + 1], t[i], whole[i : i + 1]) for i in range(6)]
    assert np.array_equal(together, np.concatenate(alone))


@PROPERTY
@given(LEVELS, LEVELS, st.integers(1, 9), st.integers(0, 99))
def test_more_noise_corrupts_a_superset(s: float, t: float, v: int, seed: int) -> None:
    s, t = min(s, t), max(s, t)
    x0 = data(v, seed=seed)
    masking, uniform = MaskingNoise(v), UniformNoise(v)
    u = masking.draw(x0.shape, np.random.default_rng(seed))
    masked = [masking.corrupt_with(x0, level, u) == -1 for level in (s, t)]
    assert not (masked[0] & ~masked[1]).any()
    u = uniform.draw(x0.shape, np.random.default_rng(seed))
    low, high = (uniform.corrupt_with(x0, level, u) for level in (s, t))
    changed = low != x0
    assert np.array_equal(low[changed], high[changed])


@pytest.mark.parametrize("name", NAMES)
def test_no_noise_and_full_noise(name: str) -> None:
    noise, x0 = noise_process(name, 5), data(5, n=200)
    clean, lost = noise.corrupt(x0, 0.0, seed=0), noise.corrupt(x0, 1.0, seed=0)
    if name == "gaussian":
        assert np.array_equal(clean, np.eye(5)[x0])
        assert np.array_equal(lost, noise.draw(x0.shape, np.random.default_rng(0)))
    else:
        assert np.array_equal(clean, x0)
        if name == "epsilon":
            assert np.array_equal(lost, x0)
        if name == "masking":
            assert (lost == -1).all()
        if name == "uniform":
            assert np.mean(lost == x0) == pytest.approx(1 / 5, abs=4 * 0.4 / 40)


@pytest.mark.parametrize("noise", [MaskingNoise(5), UniformNoise(5)])
def test_extreme_random_numbers(noise: MaskingNoise | UniformNoise) -> None:
    """Level 0 keeps even at u = 0, level 1 takes even at the last u below 1."""
    x0 = np.array([[3]])
    last = np.nextafter(1.0, 0.0)
    shape = noise.draw((1, 1), np.random.default_rng(0)).shape
    assert noise.corrupt_with(x0, 0.0, np.zeros(shape)) == 3
    assert noise.corrupt_with(x0, 1.0, np.full(shape, last)) == (-1 if shape[2] == 1 else 4)


def channel(noise: NoiseProcess, t: float, v: int, grid: int = 100) -> NDArray[np.float64]:
    """P(observed | symbol) [v, v + 1], masks last, with every random number on a midpoint grid.

    Exact where t * grid is an integer and grid a multiple of v: the corruption is piecewise
    constant in its uniform numbers.
    """
    u = (np.arange(grid) + 0.5) / grid
    k = noise.draw((1, 1), np.random.default_rng(0)).shape[-1]
    randoms = np.stack(np.meshgrid(*[u] * k, indexing="ij"), axis=-1).reshape(1, -1, k)
    rows = []
    for symbol in range(v):
        x0 = np.full(randoms.shape[:2], symbol)
        observed = noise.corrupt_with(x0, t, randoms) % (v + 1)
        rows.append(np.bincount(observed[0], minlength=v + 1) / observed.size)
    return np.array(rows)


@pytest.mark.parametrize("t", [0.0, 0.03, 0.4, 0.97, 1.0])
def test_discrete_channels_are_the_stated_ones(t: float) -> None:
    v = 4
    masking = np.hstack([(1 - t) * np.eye(v), np.full((v, 1), t)])
    uniform = np.hstack([(1 - t) * np.eye(v) + t / v, np.zeros((v, 1))])
    assert channel(MaskingNoise(v), t, v) == pytest.approx(masking, abs=1e-12)
    assert channel(UniformNoise(v), t, v) == pytest.approx(uniform, abs=1e-12)
    assert MaskingNoise(v).keep(t) == UniformNoise(v).keep(t) == pytest.approx(1 - t)


@pytest.mark.parametrize("noise", [MaskingNoise(5), UniformNoise(5)])
def test_seeded_corruption_has_the_law_of_the_channel(noise: MaskingNoise | UniformNoise) -> None:
    x0 = np.full((100, 500), 3)
    counts = np.bincount(noise.corrupt(x0, 0.3, seed=5).ravel() % 6, minlength=6)
    law, wrong = channel(noise, 0.3, 5)[3], channel(noise, 0.33, 5)[3]
    seen = law > 0
    assert counts[~seen].sum() == 0
    assert stats.chisquare(counts[seen], law[seen] * x0.size).pvalue > SIGNIFICANCE
    assert stats.chisquare(counts[seen], wrong[seen] * x0.size).pvalue < REJECTED


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_gaussian_corruption_has_the_stated_moments(schedule: Any) -> None:
    noise, t = GaussianNoise(3, schedule), 0.3
    x0 = np.full((200, 500), 1)
    x_t = noise.corrupt(x0, t, seed=0).reshape(-1, 3)
    power = float(noise.alpha_bar(t))
    residual = (x_t - np.sqrt(power) * np.eye(3)[1]) / np.sqrt(1 - power)
    assert stats.kstest(residual.ravel(), "norm").pvalue > SIGNIFICANCE
    assert stats.kstest(residual.ravel() * 1.02, "norm").pvalue < SIGNIFICANCE
    assert abs(np.corrcoef(residual.T) - np.eye(3)).max() < 4 / np.sqrt(len(x_t))


# --- evidence -------------------------------------------------------------------------------------


def posterior_of(log_evidence: NDArray[Any], prior: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(special.softmax(log_evidence + np.log(prior), axis=-1))


@pytest.mark.parametrize("t", [0.02, 0.4, 0.9])
@pytest.mark.parametrize("noise", [MaskingNoise(4), UniformNoise(4)])
def test_evidence_is_bayes_rule_on_the_listed_channel(
    noise: MaskingNoise | UniformNoise, t: float
) -> None:
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    joint = prior[:, None] * channel(noise, t, 4)
    seen = np.flatnonzero(joint.sum(axis=0))
    observed = np.where(seen == 4, -1, seen)[None]
    exact = (joint / joint.sum(axis=0).clip(1e-300))[:, seen].T
    believed = posterior_of(noise.log_evidence(observed, t)[0], prior)
    assert believed == pytest.approx(exact, abs=1e-13)
    # a redrawn symbol may be the old one: to leave that out is wrong
    if noise.name == "uniform":
        wrong = SymbolEvidence(observed, np.log(1 - t), np.log(t / 3), 4).dense()[0]
        assert abs(posterior_of(wrong, prior) - exact).max() > 1e-3


@PROPERTY
@given(LEVELS, st.integers(1, 9))
def test_uniform_evidence_sums_to_one_over_observations(t: float, v: int) -> None:
    evidence = np.exp(UniformNoise(v).log_evidence(np.arange(v)[None], t))[0]
    assert evidence.sum(axis=0) == pytest.approx(np.ones(v), abs=1e-14)
    believed = np.exp(EpsilonNoise(v).log_evidence(np.arange(v)[None], t))[0]
    assert believed.sum(axis=1) == pytest.approx(np.ones(v), abs=1e-14)


@PROPERTY
@given(st.floats(-6, 6), st.integers(1, 6), st.integers(0, 99))
def test_gaussian_evidence_is_bayes_rule_on_the_density(exponent: float, v: int, seed: int) -> None:
    noise, snr = GaussianNoise(v), 10.0**exponent
    prior = np.random.default_rng(seed).dirichlet(np.ones(v)) + 1e-6
    randoms = noise.draw((1, 3), np.random.default_rng(seed))
    x_t = noise.corrupt_at_snr(data(v, 1, 3, seed), snr, randoms)
    power, variance = snr / (1 + snr), 1 / (1 + snr)
    distance = ((x_t[..., None, :] - np.sqrt(power) * np.eye(v)) ** 2).sum(axis=-1)
    exact = posterior_of(-distance / (2 * variance), prior)
    believed = posterior_of(noise.log_evidence_at_snr(x_t, snr), prior)
    # at SNR 1e6 the distances themselves carry 1e-10 of rounding
    assert believed == pytest.approx(exact, abs=1e-9)


def test_gaussian_evidence_is_the_stated_formula() -> None:
    noise, t = GaussianNoise(4, "linear"), np.array([0.01, 0.3, 0.8])
    x_t = noise.corrupt(data(4, 3), t, seed=0)
    power = np.cumprod(1 - BETAS)[np.rint(1000 * t).astype(int) - 1][:, None, None]
    expected = np.sqrt(power) * x_t / (1 - power)
    assert noise.log_evidence(x_t, t) == pytest.approx(expected, rel=1e-11)
    assert np.array_equal(noise.evidence(x_t, t), noise.log_evidence(x_t, t))


@pytest.mark.parametrize("noise", [MaskingNoise(6), UniformNoise(6), GaussianNoise(6)])
def test_true_belief_equals_squared_belief_for_channels_alone(noise: NoiseProcess) -> None:
    """Nishimori: E[p_true] = E[sum p^2] for one leaf; it fails for the epsilon-process."""
    x0 = data(6, 400, 100, seed=2)

    def gap(process: NoiseProcess) -> NDArray[np.float64]:
        log_evidence = process.log_evidence(process.corrupt(x0, 0.4, seed=1), 0.4)
        belief = special.softmax(log_evidence, axis=-1)
        true = np.take_along_axis(belief, x0[..., None], axis=2)[..., 0]
        return np.asarray((true - (belief**2).sum(axis=2)).ravel())

    gaps = gap(noise)
    assert abs(gaps.mean()) < 4 * gaps.std() / np.sqrt(gaps.size) + 1e-12
    decreed = gap(EpsilonNoise(6))
    assert decreed.mean() > 0.1


@pytest.mark.parametrize("name", DISCRETE)
def test_compact_evidence_says_the_same_as_the_dense_one(name: str) -> None:
    noise, x0, t = noise_process(name, 5), data(5), np.array([0.0, 0.2, 0.7, 1.0])
    x_t = noise.corrupt(x0, t, seed=0)
    x_t[0, 0] = -1
    compact = noise.evidence(x_t, t)
    assert isinstance(compact, SymbolEvidence)
    log_evidence = noise.log_evidence(x_t, t)
    assert log_evidence.shape == (4, 8, 5)
    assert np.array_equal(compact.dense(), log_evidence)
    for i, leaf, b in np.ndindex(log_evidence.shape):
        observed = x_t[i, leaf]
        value = np.broadcast_to(compact.log_match if b == observed else compact.log_other, 4)[i]
        assert log_evidence[i, leaf, b] == (0.0 if observed == -1 else value)


@pytest.mark.parametrize("name", ["epsilon", "uniform"])
def test_evidence_at_the_ends(name: str) -> None:
    log_evidence = noise_process(name, 4).log_evidence([[2], [2]], [0.0, 1.0])
    assert log_evidence[0, 0].tolist() == [-np.inf, -np.inf, 0.0, -np.inf]
    assert (log_evidence[1] == np.log(1 / 4)).all()


def test_gaussian_evidence_at_the_ends() -> None:
    noise = GaussianNoise(3)
    x_t = np.array([[[0.1, 0.9, 0.2]], [[0.7, 0.7, -1.0]], [[0.1, 0.9, 0.2]], [[0.0, 1.0, 0.0]]])
    log_evidence = noise.log_evidence(x_t, [0.0, 0.0, 1.0, 1e-320])
    assert log_evidence[0, 0].tolist() == [-np.inf, 0.0, -np.inf]
    assert log_evidence[1, 0].tolist() == [0.0, 0.0, -np.inf]
    assert (log_evidence[2] == 0).all()
    assert log_evidence[3, 0].tolist() == [-np.inf, 0.0, -np.inf]


def test_no_sample_is_no_error() -> None:
    for name in NAMES:
        noise = noise_process(name, 4)
        x_t = noise.corrupt(np.empty((0, 8), dtype=int), 0.5, seed=0)
        assert noise.log_evidence(x_t, 0.5).shape == (0, 8, 4)


# --- schedules ------------------------------------------------------------------------------------


def test_linear_schedule_is_ddpm_at_its_steps() -> None:
    noise, steps = GaussianNoise(schedule="linear"), np.arange(1, 1001) / 1000
    assert noise.alpha_bar(steps) == pytest.approx(np.cumprod(1 - BETAS), rel=1e-13)
    sheet = {0: 0.9999, 249: 0.52408537, 499: 0.07858724, 599: 0.02587939, 699: 0.00696611}
    for index, value in (sheet | {999: 0.00004036}).items():
        assert noise.alpha_bar((index + 1) / 1000) == pytest.approx(value, abs=5.1e-9)
    # an interpolation: between two steps, neither beyond them nor a jump
    between = noise.alpha_bar(steps - 0.0005)
    assert np.all(np.diff(np.insert(noise.alpha_bar(steps), 0, 1.0)) < 0)
    assert np.all(between > noise.alpha_bar(steps))


def test_cosine_schedule_is_the_published_formula() -> None:
    t = np.linspace(0, 0.999, 500)
    assert GaussianNoise().alpha_bar(t) == pytest.approx(cosine(t), rel=1e-9)
    wrong = cosine(t * 0.999)
    assert abs(GaussianNoise().alpha_bar(t) / wrong - 1).max() > 1e-3


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_ends_and_monotony_of_a_schedule(schedule: Any) -> None:
    noise, t = GaussianNoise(schedule=schedule), np.linspace(0, 1, 5001)
    assert noise.alpha_bar(0.0) == 1.0
    assert noise.snr(0.0) == np.inf
    assert np.all(np.diff(noise.alpha_bar(t)) < 0)
    assert np.all(np.diff(noise.snr(t)[1:]) < 0)
    power = noise.alpha_bar(t[1:])
    assert noise.snr(t[1:]) == pytest.approx(power / (1 - power), rel=1e-9, abs=1e-30)
    assert noise.snr(1.0) == (0.0 if schedule == "cosine" else pytest.approx(4.0360e-5, rel=1e-4))


@PROPERTY
@given(st.floats(-6, 6))
def test_level_inverts_snr(exponent: float) -> None:
    snr = 10.0**exponent
    cosine_noise, linear_noise = GaussianNoise(), GaussianNoise(schedule="linear")
    assert cosine_noise.snr(cosine_noise.level(snr)) == pytest.approx(snr, rel=1e-12)
    if snr > 4.1e-5:
        assert linear_noise.snr(linear_noise.level(snr)) == pytest.approx(snr, rel=1e-12)


def test_levels_of_known_thresholds() -> None:
    ratios = np.array([3.56356205, 6.7])
    linear = GaussianNoise(schedule="linear").level(ratios)
    assert linear == pytest.approx([0.15305, 0.1137], abs=6e-5)
    assert GaussianNoise().level(ratios) == pytest.approx([0.30471, 0.229], abs=5e-4)
    assert GaussianNoise().level([0.0, np.inf]).tolist() == [1.0, 0.0]
    assert GaussianNoise(schedule="linear").level(np.inf) == 0.0


@pytest.mark.parametrize("snr", [0.0, 1e-320, 1e-6, 1.0, 1e6, 1e160, 1e308, np.inf])
def test_no_snr_gives_nan_or_infinity(snr: float) -> None:
    noise = GaussianNoise(4)
    x_t = noise.corrupt_at_snr(data(4), snr, noise.draw((4, 8), np.random.default_rng(0)))
    assert np.isfinite(x_t).all()
    log_evidence = noise.log_evidence_at_snr(x_t, snr)
    assert not np.isnan(log_evidence).any()
    assert np.isfinite(log_evidence.max(axis=2)).all()
    assert 0 <= noise.level(snr) <= 1


def test_the_end_of_the_linear_schedule_is_a_level() -> None:
    noise = GaussianNoise(schedule="linear")
    assert noise.level(noise.snr(1.0)) == 1.0


def test_evidence_leaves_out_what_overflows_for_all_symbols() -> None:
    x_t = np.array([[[1e100, 1e100, 0.0]]])
    log_evidence = GaussianNoise(3).log_evidence_at_snr(x_t, 1e220)
    assert log_evidence.tolist() == [[[0.0, 0.0, -np.inf]]]


def test_vectors_are_scaled_and_noised() -> None:
    noise = GaussianNoise()
    rng = np.random.default_rng(0)
    x0, t = rng.standard_normal((3, 2, 5)), np.array([0.0, 0.4, 1.0])
    normals = noise.draw(x0.shape, rng)
    power = noise.alpha_bar(t)[:, None, None]
    expected = np.sqrt(power) * x0 + np.sqrt(1 - power) * normals
    assert noise.corrupt_with(x0, t, normals) == pytest.approx(expected, abs=1e-14)


def test_processes_are_values() -> None:
    assert MaskingNoise(3) == MaskingNoise(np.int64(3)) != MaskingNoise(4)  # type: ignore[arg-type]
    assert len({noise_process(name, 3) for name in NAMES * 2}) == 4
    assert [noise_process(name, 3).name for name in NAMES] == NAMES
