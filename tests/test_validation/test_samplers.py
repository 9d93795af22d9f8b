"""Reverse chains: exact moments, closed forms of linear chains, the bias of deterministic ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hierdiff import GaussianNoise, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.sims.metrics.forward_backward import forward_backward
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.parameterisation import (
    Parameterisation,
    Prediction,
    amplitudes,
    column,
)
from hierdiff.validation.diffusion.samplers import (
    DDIM,
    Ancestral,
    determinism_bias,
    learned_log_variance,
    linear_retention,
    retained_share,
    reverse_levels,
)
from hierdiff.validation.diffusion.schedules import DiscreteSchedule, LogSNR, step_levels
from hierdiff.validation.execution import Execution

LINEAR = DiscreteSchedule.linear()
NOISE = GaussianNoise(schedule="linear")
VARIANCES = np.array([0.05, 0.25, 1.0, 4.0])
SNR = 0.25  # x_t keeps r = 0.012 ... 0.5 of the directions
T = float(NOISE.level(SNR))
N = 10_000


class GaussianEps(nn.Module):
    """Exact noise prediction for independent Gaussian data, told log SNR."""

    def __init__(self, wrong: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("variances", torch.from_numpy(VARIANCES))
        self.wrong = wrong

    def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
        snr = log_snr.exp()[:, None]
        a2, s2 = snr / (1 + snr), 1 / (1 + snr)
        return self.wrong * s2.sqrt() * x / (a2 * self.variances + s2)


def network(sampler: Any, module: nn.Module | None = None, output: Any = "eps") -> NetworkModel:
    return NetworkModel(module or GaussianEps(), NOISE, output, noise_conditioning=LogSNR(40.0),
                        sampler=sampler, execution=Execution(batch_size=5000))  # fmt: skip


def data(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, 4)) * np.sqrt(VARIANCES)


def scores(x0: np.ndarray, x: np.ndarray, law: Any) -> np.ndarray:
    """z-scores of the regression slope and of the variance, per direction."""
    slope = (x0 * x).mean(axis=0) / VARIANCES
    slope_error = (x0 * x).std(axis=0) / VARIANCES / np.sqrt(len(x))
    spread, spread_error = (x**2).mean(axis=0), (x**2).std(axis=0) / np.sqrt(len(x))
    return np.concatenate(
        [(slope - law.slope) / slope_error, (spread - law.variance) / spread_error]
    )


def law_of(levels: int | DiscreteSchedule, eta: float) -> Any:
    table = np.unique(reverse_levels(levels, NOISE, np.array([T]))[0])
    return linear_retention(VARIANCES, table, eta)


@pytest.mark.parametrize(
    ("sampler", "eta"),
    [
        (Ancestral(20), 1.0),
        (Ancestral(LINEAR.respaced("50")), 1.0),
        (DDIM(20), 0.0),
        (DDIM(20, eta=0.5), 0.5),
        (DDIM(20, eta=1.0), 1.0),
    ],
    ids=str,
)
def test_chains_of_a_linear_network_follow_the_closed_form(
    sampler: Any, eta: float, laws: Any
) -> None:
    x0 = data(1)
    end = forward_backward(network(sampler), x0, T, seed=2).x_0
    law = law_of(sampler.levels, eta)
    z = scores(x0, end, law)
    assert np.abs(z).max() < 4
    laws.holds("reverse chain of a linear denoiser", z)
    # planted: the other chain's law
    other = scores(x0, end, law_of(sampler.levels, 0.0 if eta > 0.7 else 1.0))
    assert np.abs(other).max() > 6
    laws.rejects("reverse chain of a linear denoiser", "the law of another eta", other)


@pytest.mark.parametrize("wrong", ["v", "x0", "scaled"])
def test_a_wrong_conversion_is_rejected(wrong: str, laws: Any) -> None:
    x0 = data(3)
    model = network(Ancestral(20), GaussianEps(0.9 if wrong == "scaled" else 1.0),
                    "eps" if wrong == "scaled" else wrong)  # fmt: skip
    z = scores(x0, forward_backward(model, x0, T, seed=4).x_0, law_of(20, 1.0))
    assert np.abs(z).max() > 8
    laws.rejects("reverse chain of a linear denoiser", f"eps read as {wrong}", z)


@pytest.mark.slow
def test_the_determinism_bias(laws: Any) -> None:
    """Ancestral chains keep r of the data, deterministic ones sqrt(r), at any number of steps."""
    x0, r = data(5), retained_share(VARIANCES, SNR)
    error = 1 / np.sqrt(N)
    for steps in (10, 40):
        kept = {}
        for name, sampler in (("ancestral", Ancestral(steps)), ("ddim", DDIM(steps))):
            end = forward_backward(network(sampler), x0, T, seed=6).x_0
            kept[name] = [np.corrcoef(x0[:, k], end[:, k])[0, 1] for k in range(4)]
        exact = law_of(steps, 1.0).correlation
        assert np.abs((kept["ancestral"] - exact) / error).max() < 4
        z = (kept["ddim"] - np.sqrt(r)) / error
        assert np.abs(z).max() < 4
        laws.holds("determinism bias sqrt(r) - r", z)
        # planted: DDIM taken for a sampler of the posterior
        bias = (kept["ddim"] - r) / error
        assert bias.min() > 8
        laws.rejects("determinism bias sqrt(r) - r", "no bias", bias)
        np.testing.assert_allclose(np.array(kept["ddim"]) - r, determinism_bias(VARIANCES, SNR),
                                   atol=4 * error)  # fmt: skip
    # the ancestral chain tends to r, the deterministic one never does
    gaps = [np.abs(law_of(k, 1.0).correlation - r).max() for k in (10, 100, 1000)]
    assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]
    for k in (10, 100, 1000):
        np.testing.assert_allclose(law_of(k, 0.0).correlation, np.sqrt(r), rtol=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-3, 1e2), st.floats(1e-3, 1e3), st.integers(1, 30))
def test_the_slope_of_an_exact_stochastic_chain_is_the_share(
    variance: float, snr: float, steps: int
) -> None:
    """The mean of x0 is a martingale of the chain, so its slope is r at any number of steps."""
    levels = np.append(np.geomspace(snr, snr * 1e4, steps), np.inf)
    found = linear_retention(variance, levels, 1.0)
    r = retained_share(variance, snr)
    assert float(found.slope) == pytest.approx(float(r), rel=1e-8)
    assert float(found.variance) <= variance * (1 + 1e-9)
    assert 0 <= float(determinism_bias(variance, snr)) <= 0.25


def bayes_step(x: float, clean: float, now: float, then: float) -> tuple[float, float]:
    """Mean and variance of x_then given x_now and x0, from the joint Gaussian."""
    a, a2 = now / (1 + now), then / (1 + then)
    ratio = np.sqrt(a / a2)
    forward = 1 - a / a2  # variance of x_now given x_then
    precision = 1 / (1 - a2) + ratio**2 / forward
    mean = (np.sqrt(a2) * clean / (1 - a2) + ratio * x / forward) / precision
    return mean, 1 / precision


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-3, 10), st.floats(1.01, 100), st.floats(-3, 3), st.floats(-3, 3))
def test_one_step_is_bayes_rule(now: float, ratio: float, x: float, clean: float) -> None:
    then = now * ratio
    state = torch.tensor([[x]], dtype=torch.float64)
    prediction = Prediction(torch.tensor([[clean]], dtype=torch.float64), None)
    at = np.array([now]), np.array([then])
    mean, log_variance = Ancestral(5).moments(state, prediction, *at)
    expected, variance = bayes_step(x, clean, now, then)
    assert mean.item() == pytest.approx(expected, rel=1e-8, abs=1e-8)
    assert log_variance.exp().item() == pytest.approx(variance, rel=1e-8)
    largest = Ancestral(5, variance="beta").moments(state, prediction, *at)[1].exp().item()
    keep = now * (1 + then) / (then * (1 + now))
    assert largest == pytest.approx(1 - keep, rel=1e-8)
    # DDIM with eta = 1 is the same step, number by number
    one = torch.ones(1, 1, dtype=torch.float64)
    ddim = DDIM(5, eta=1.0).step(state, prediction, *at, lambda rows: one)
    ancestral = Ancestral(5).step(state, prediction, *at, lambda rows: one)
    assert ddim.item() == pytest.approx(ancestral.item(), rel=1e-7, abs=1e-8)


def test_steps_of_a_schedule_are_ddpm_steps() -> None:
    """The general step between two SNRs has DDPM's coefficients at neighbouring indices."""
    schedule, i = LINEAR.respaced("100"), 40
    at = np.array([schedule.snr[i]]), np.array([schedule.snr[i - 1]])
    state, zero = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    beta, power, before = schedule.betas[i], schedule.alpha_bar[i], schedule.alpha_bar[i - 1]
    on_x = Ancestral(5).moments(state, Prediction(zero, None), *at)[0].item()
    on_clean = Ancestral(5).moments(zero, Prediction(state, None), *at)[0].item()
    assert on_x == pytest.approx((1 - before) * np.sqrt(1 - beta) / (1 - power), rel=1e-9)
    assert on_clean == pytest.approx(beta * np.sqrt(before) / (1 - power), rel=1e-9)
    _, log_variance = Ancestral(5).moments(state, Prediction(state, None), *at)
    assert log_variance.item() == pytest.approx(schedule.posterior_log_variance[i], rel=1e-9)
    _, log_variance = Ancestral(5, variance="beta").moments(state, Prediction(state, None), *at)
    assert log_variance.item() == pytest.approx(np.log(beta), rel=1e-9)


def test_learned_variance_stands_between_the_bounds() -> None:
    values = torch.tensor([[-1.0], [1.0], [0.5]], dtype=torch.float64)
    largest, least = np.array([-1.0, -2.0, -3.0]), np.array([-4.0, -5.0, -6.0])
    found = learned_log_variance(values, largest, least).ravel().tolist()
    assert found == pytest.approx([-4.0, -2.0, -3.75])

    class Both(GaussianEps):
        def forward(self, x: Tensor, log_snr: Tensor) -> Tensor:
            return torch.cat([super().forward(x, log_snr), torch.full_like(x, -1.0)], dim=1)

    kind = Parameterisation("eps", learned_variance=True)
    x_t = data(0)[:50]
    learned = network(Ancestral(10, variance="learned"), Both(), kind).sample(x_t, T, 3)
    plain = network(Ancestral(10)).sample(x_t, T, 3)
    np.testing.assert_allclose(learned, plain, rtol=1e-10)
    with pytest.raises(InvalidParameter, match="the network returns none"):
        network(Ancestral(10, variance="learned")).sample(x_t, T, 3)


def test_levels_of_a_chain() -> None:
    schedule = LINEAR.respaced("20")
    starts = np.append(schedule.levels(NOISE)[[3, 12]], [0.0, 0.5])
    table = reverse_levels(schedule, NOISE, starts)
    assert (np.diff(table[np.isfinite(table).all(axis=1)], axis=1) >= 0).all()
    visited = [np.unique(row).tolist() for row in table]
    assert [len(x) for x in visited] == [5, 14, 1, 12]
    np.testing.assert_allclose(visited[0][:4], schedule.snr[3::-1], rtol=1e-9)
    assert visited[2] == [np.inf]
    assert visited[3][0] == pytest.approx(float(NOISE.snr(0.5)))
    even = reverse_levels(4, NOISE, np.array([0.8]))[0]
    np.testing.assert_allclose(even, NOISE.snr([0.8, 0.6, 0.4, 0.2, 0.0]))


def test_samples_at_different_levels_do_not_see_each_other() -> None:
    levels = np.array([0.0, 0.1, T, 0.9])
    x_t = data(7)[:4]
    for sampler in (Ancestral(LINEAR.respaced("30")), DDIM(12), Ancestral(12)):
        together = network(sampler).sample(x_t, levels, seed=8)
        np.testing.assert_array_equal(together[0], x_t[0])
        alone = [network(sampler).sample(x_t[: i + 1], levels[: i + 1], seed=8)[i]
                 for i in range(4)]  # fmt: skip
        np.testing.assert_allclose(together, np.stack(alone), rtol=1e-12)


def test_clipping_bounds_the_mean() -> None:
    x_t = 5 * data(9)[:100]
    for sampler in (Ancestral(10, clip=0.5), DDIM(10, clip=0.5)):
        assert np.abs(network(sampler).sample(x_t, T, 0)).max() == 0.5
    assert np.abs(network(Ancestral(10)).sample(x_t, T, 0)).max() > 0.5


def test_steps_of_the_protocols() -> None:
    schedule = LINEAR.respaced("250")
    power = NOISE.alpha_bar
    for k, expected in ((25, 0.89514), (125, 0.07623), (249, 0.00004)):
        published = step_levels(schedule, NOISE, k, "published")
        assert float(power(published.added)) == pytest.approx(expected, abs=5e-6)
        assert published.model_t == step_levels(schedule, NOISE, k).model_t < published.added
    assert float(power(step_levels(schedule, NOISE, 125).added)) == pytest.approx(0.08019, abs=5e-6)
    assert step_levels(schedule, NOISE, 250, "published").added == 1.0
    assert step_levels(schedule, NOISE, 0, "published") == (0.0, 0.0)
    one = forward_backward(network(Ancestral(schedule)), data(0)[:5], 0.0, seed=1)
    np.testing.assert_allclose(one.x_0, data(0)[:5])
    with pytest.raises(InvalidParameter, match="outside the chain"):
        step_levels(schedule, NOISE, 251)


def test_the_published_protocol_leaves_noise_in_the_result() -> None:
    schedule = LINEAR.respaced("25")
    model, x0 = network(Ancestral(schedule)), data(11)
    spread = {}
    for protocol in ("consistent", "published"):
        added, model_t = step_levels(schedule, NOISE, 4, protocol)
        run = forward_backward(model, x0, added, seed=12, model_t=model_t)
        spread[protocol] = (run.x_0**2).mean(axis=0)
    # the noise that the chain does not know of is left in the result
    excess = (spread["published"] - spread["consistent"])[0] / VARIANCES[0]
    assert excess > 4 * np.sqrt(4 / N)


def test_what_samplers_refuse() -> None:
    cases = [
        (lambda: Ancestral(0), "levels = 0"),
        (lambda: Ancestral(variance="fixed"), "variance = 'fixed'"),
        (lambda: DDIM(eta=1.5), "eta = 1.5"),
        (lambda: linear_retention([0.0], [1.0, np.inf]), "must be positive"),
        (lambda: linear_retention([1.0], [2.0, 1.0]), "levels increase"),
        (lambda: retained_share(-1.0, 1.0), "variance holds -1.0"),
    ]
    for make, said in cases:
        with pytest.raises(InvalidParameter, match=said) as error:
            make()
        assert "\n" not in str(error.value)
    masked = NetworkModel(nn.Identity(), MaskingNoise(3), "logits", sampler=Ancestral(LINEAR))
    with pytest.raises(InvalidParameter, match="give a number of steps"):
        masked.sample(np.zeros((1, 2), int), 0.5, 0)


def test_diffusers_schedulers_agree_where_they_are_the_same_chain() -> None:
    pytest.importorskip("diffusers")
    from hierdiff.validation.diffusion.diffusers_samplers import DiffusersSampler

    schedule = LINEAR.respaced("ddim25")
    options = {"clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "leading"}
    theirs = DiffusersSampler("DDIMScheduler", 25, options=options)
    x_t = data(13)[:200]
    t = float(schedule.levels(NOISE)[16])
    found = network(theirs).sample(x_t, t, 0)
    ours = network(DDIM(schedule)).sample(x_t, t, 0)
    # diffusers keeps its tables in float32
    np.testing.assert_allclose(found, ours, rtol=1e-4, atol=1e-5)
    x0 = data(14)
    end = forward_backward(network(DiffusersSampler(num_steps=20)), x0, T, seed=1).x_0
    kept = [np.corrcoef(x0[:, k], end[:, k])[0, 1] for k in range(4)]
    r = retained_share(VARIANCES, SNR)
    assert np.abs(kept - r).max() < 0.04 < determinism_bias(VARIANCES, SNR).max()


def variance_of(sampler: object, c: float, snr: float, n: int = 40_000) -> float:
    """Of what a sampler makes of noisy N(0, c) with the exact denoiser."""
    random = np.random.default_rng(0)
    a, s = amplitudes(snr)
    x_t = torch.from_numpy(np.sqrt(a**2 * c + s**2) * random.standard_normal((n, 1)))

    def predict(x: torch.Tensor, ratio: np.ndarray, rows: np.ndarray) -> Prediction:
        a, s = amplitudes(ratio)
        return Prediction(column(a * c / (a**2 * c + s**2), x) * x, None)

    def draw(rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal((len(rows), 1)))

    t = np.full(n, float(NOISE.level(snr)))
    end = sampler.run(predict, x_t, t, NOISE, draw)  # type: ignore[attr-defined]
    return float(end.square().mean() / x_t.square().mean()) * float(a**2 * c + s**2)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_diffusers_schedulers_return_gaussian_data(kind: str) -> None:
    """DDIM in 50 steps without clipping: 3.767 of variance 4, whatever it takes for the output."""
    pytest.importorskip("diffusers")
    from hierdiff.validation.diffusion.diffusers_samplers import DiffusersSampler

    sampler = DiffusersSampler("DDIMScheduler", 50, options={"prediction_type": kind})
    levels = np.append(LINEAR.snr[np.arange(980, -1, -20)], np.inf)
    expected = linear_retention(4.0, levels, eta=0.0).variance
    found = variance_of(sampler, 4.0, float(LINEAR.snr[980]), n=2000)
    assert found == pytest.approx(float(expected), rel=1e-3)
    assert sampler._variance(float(LINEAR.snr[980]), 4.0) == pytest.approx(found, rel=1e-6)
    other = DiffusersSampler("UniPCMultistepScheduler", 50, options={"prediction_type": kind})
    assert variance_of(other, 4.0, float(LINEAR.snr[-1]), n=2000) == pytest.approx(4.0, rel=0.02)
    # asked to, it clips: right for images in [-1, 1] alone
    clipped = DiffusersSampler("DDIMScheduler", 50, options={"clip_sample": True})
    assert variance_of(clipped, 4.0, float(LINEAR.snr[980]), n=2000) < 1


def test_the_variance_of_a_stochastic_scheduler_is_exact() -> None:
    pytest.importorskip("diffusers")
    from hierdiff.validation.diffusion.diffusers_samplers import DiffusersSampler

    sampler = DiffusersSampler(num_steps=30)
    snr, n = float(LINEAR.snr[600]), 40_000
    found = variance_of(sampler, 4.0, snr, n)
    # the relative error of a variance is sqrt(2 / n)
    assert found == pytest.approx(sampler._variance(snr, 4.0), rel=5 * np.sqrt(2 / n))


@pytest.mark.parametrize(
    ("scheduler", "options", "words"),
    [
        ("DDIMScheduler", {"prediction_type": "flow_prediction"}, "prediction_type"),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}, "prediction_type"),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}, "exact denoiser"),
        ("UniPCMultistepScheduler", {"use_beta_sigmas": True}, "exact denoiser"),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True}, "zero terminal SNR"),
        ("DPMSolverMultistepScheduler", {"rescale_betas_zero_snr": True}, "zero terminal SNR"),
        ("DDIMInverseScheduler", {}, "exact denoiser"),
        ("DDIMInverseScheduler", {"prediction_type": "sample"}, "exact denoiser"),
        ("DPMSolverMultistepInverseScheduler", {}, "exact denoiser"),
        ("PNDMScheduler", {}, "exact denoiser"),  # right from pure noise, and wrong from elsewhere
        ("IPNDMScheduler", {}, "noise levels"),
        ("DDPMScheduler", {}, "random|draws numbers"),
        ("EulerDiscreteScheduler", {}, "another scale"),
        ("FlowMatchEulerDiscreteScheduler", {}, "cannot be made"),
        ("DDIMScheduler", {"algorithm_type": "sde-dpmsolver++"}, "do not include"),
        ("DDIMScheduler", {"prediction_type": 3}, "prediction_type"),
        ("UNet2DModel", {}, "not in diffusers"),
        ("DDIMScheduler", "no mapping", "Mapping"),
    ],
)
def test_schedulers_that_do_not_fit_are_refused_when_made(
    scheduler: str, options: object, words: str
) -> None:
    pytest.importorskip("diffusers")
    from hierdiff.validation.diffusion.diffusers_samplers import DiffusersSampler

    with pytest.raises(InvalidParameter, match=words) as error:
        DiffusersSampler(scheduler, options=options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_diffusers_sampler_without_diffusers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from hierdiff.errors import MissingPackage
    from hierdiff.validation.diffusion.diffusers_samplers import DiffusersSampler

    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert DiffusersSampler().stochastic
    with pytest.raises(MissingPackage, match="pip install diffusers"):
        network(DiffusersSampler()).sample(data(0)[:2], T, 0)


def test_pairs_of_levels_multiply() -> None:
    """Two ancestral steps with x0 fixed compose to one, the Markov property of the bridge."""
    snr = [0.1, 0.7, 5.0]
    x, clean = 0.8, -1.2
    mean, variance = x, 0.0
    for now, then in pairwise(snr):
        at = np.array([now]), np.array([then])
        prediction = Prediction(torch.full((1, 1), clean).double(), None)
        new, log_variance = Ancestral(2).moments(torch.full((1, 1), mean).double(), prediction, *at)
        zero = Ancestral(2).moments(torch.zeros(1, 1).double(), prediction, *at)[0]
        gain = ((new - zero) / mean).item()
        mean, variance = new.item(), gain**2 * variance + log_variance.exp().item()
    expected = bayes_step(x, clean, snr[0], snr[2])
    assert (mean, variance) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
