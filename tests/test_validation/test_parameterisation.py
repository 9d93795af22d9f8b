"""All parameterisations of one exact denoiser agree; conversions invert; wrong ones are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hierdiff import GaussianNoise
from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.posterior import denoise
from hierdiff.validation.adapter import NetworkModel
from hierdiff.validation.diffusion.parameterisation import (
    Parameterisation,
    Preconditioned,
    amplitudes,
    column,
    edm_coefficients,
    split_channels,
)
from hierdiff.validation.diffusion.schedules import DiscreteSchedule, FlowTime, LogSNR, Sigma

MIXTURE = LowRankMixture.random(6, 2, 3, delta=0.3, seed=0)
NOISE = GaussianNoise(schedule="linear")
LINEAR = DiscreteSchedule.linear()

KINDS = [
    Parameterisation(output, scale)
    for output in ("eps", "v", "x0", "score", "flow")
    for scale in ("vp", "ve", "flow")
]


class ExactNetwork(nn.Module):
    """The mixture's exact denoiser, asked and answering in one parameterisation, by definition."""

    def __init__(self, kind: Parameterisation, clock: str) -> None:
        super().__init__()
        self.kind, self.clock = kind, clock
        self.register_buffer("probe", torch.zeros(1, dtype=torch.float64))

    def snr(self, time: float) -> float:
        if self.clock == "index":
            return float(np.interp(time, np.arange(1000), LINEAR.snr))
        if self.clock == "sigma":
            return time**-2
        return ((1 - time) / time) ** 2 if self.clock == "flow" else float(np.exp(time))

    def forward(self, seen: Tensor, time: Tensor) -> Tensor:
        rows = []
        for x, now in zip(seen.numpy(), time.tolist(), strict=True):
            snr = self.snr(now)
            a, s = np.sqrt(snr / (1 + snr)), np.sqrt(1 / (1 + snr))
            scale = {"vp": 1.0, "ve": 1 / a, "flow": 1 / (a + s)}[self.kind.scale]
            signal, noise = scale * a, scale * s
            clean = denoise(MIXTURE, x[None], noise / signal, scale=signal)[0]
            eps = (x - signal * clean) / noise
            rows.append({
                "eps": eps, "x0": clean, "v": a * eps - s * clean, "flow": eps - clean,
                "score": -eps / noise,
            }[self.kind.output])  # fmt: skip
        return torch.from_numpy(np.stack(rows))


CLOCKS = {"index": LINEAR, "sigma": Sigma(1e9), "flow": FlowTime(), "log": LogSNR()}


@pytest.fixture(scope="module")
def noisy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x0, _ = MIXTURE.sample(40, seed=1)
    index = np.random.default_rng(2).integers(0, 1000, 40)
    t = (index + 1) / 1000
    x_t = NOISE.corrupt(x0, t, seed=3)
    ratio = NOISE.snr(t)
    exact = [
        denoise(MIXTURE, x[None], r**-0.5, scale=(r / (1 + r)) ** 0.5)[0]
        for x, r in zip(x_t, ratio, strict=True)
    ]
    return x_t, t, np.stack(exact)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.output}-{k.scale}")
def test_every_parameterisation_of_an_exact_network_is_the_exact_mean(
    kind: Parameterisation, clock: str, noisy: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    x_t, t, exact = noisy
    model = NetworkModel(ExactNetwork(kind, clock), NOISE, kind, noise_conditioning=CLOCKS[clock])
    found = model.denoise(x_t, t)
    # eps at t near 1 is divided by a = 0.006
    np.testing.assert_allclose(found, exact, rtol=1e-7, atol=1e-9)
    # planted: every other reading of the same numbers is wrong
    for wrong in KINDS:
        if wrong.output != kind.output and wrong.scale == kind.scale:
            other = NetworkModel(model.module, NOISE, wrong, noise_conditioning=CLOCKS[clock])
            assert np.abs(other.denoise(x_t, t) - exact).max() > 0.1


def test_a_wrong_clock_is_seen(noisy: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x_t, t, exact = noisy
    network = ExactNetwork(Parameterisation("eps"), "index")
    late = DiscreteSchedule(LINEAR.betas, np.arange(1000.0) + 40)
    right = NetworkModel(network, NOISE, "eps").denoise(x_t, t)
    found = NetworkModel(network, NOISE, "eps", noise_conditioning=late).denoise(x_t, t)
    assert np.abs(right - exact).max() < 1e-8
    assert np.abs(found - exact).max() > 0.05


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.lists(st.floats(1e-4, 1e4), min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_conversions_invert(kind: Parameterisation, snr: list[float], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x0, x_t = (torch.randn(3, 2, 4, generator=random, dtype=torch.float64) for _ in range(2))
    back = kind.clean(kind.target(x0, x_t, snr), x_t, snr)
    torch.testing.assert_close(back, x0, rtol=1e-8, atol=1e-8)


def test_scales_of_the_input() -> None:
    x0, eps = torch.tensor([[2.0]]).double(), torch.tensor([[-1.0]]).double()
    snr = 4.0
    a, s = amplitudes(snr)
    x_t = float(a) * x0 + float(s) * eps
    assert Parameterisation("x0", "ve").network_input(x_t, snr).item() == pytest.approx(2 - 0.5)
    tau = 1 / 3
    seen = Parameterisation("x0", "flow").network_input(x_t, snr).item()
    assert seen == pytest.approx((1 - tau) * 2 - tau)


def test_logits_are_probabilities() -> None:
    kind = Parameterisation("logits")
    mean = torch.tensor([[[0.1, 0.9], [0.5, 0.5]]])
    torch.testing.assert_close(kind.clean(kind.target(mean, mean, 1.0), mean, 1.0), mean)


@pytest.mark.parametrize("shape", [(5, 6), (5, 3, 8, 8), (5, 4, 7)])
def test_variance_values_are_split_off(shape: tuple[int, ...]) -> None:
    axis = 2 if len(shape) == 3 else 1
    x = torch.randn(shape)
    both = torch.cat([x + 1, x - 1], dim=axis)
    first, second = split_channels(both, x)
    torch.testing.assert_close(first, x + 1)
    torch.testing.assert_close(second, x - 1)
    found = Parameterisation("x0", learned_variance=True).read(both, x, 1.0)
    assert found.variance is not None
    torch.testing.assert_close(found.clean, x + 1)
    with pytest.raises(InvalidParameter, match="learned_variance=True"):
        Parameterisation("x0").read(both, x, 1.0)
    with pytest.raises(InvalidParameter, match="one axis must be twice as long"):
        Parameterisation("x0", learned_variance=True).read(x, x, 1.0)


def test_the_ends_of_the_scale() -> None:
    x = torch.randn(2, 3)
    for output in ("eps", "v", "score", "flow"):
        # no noise: what is seen is the truth, whatever the network says
        torch.testing.assert_close(Parameterisation(output).clean(x * 9, x, np.inf), x)
        with pytest.raises(InvalidParameter, match="snr = inf"):
            Parameterisation(output).target(x, x, np.inf)
    for output in ("eps", "score"):
        with pytest.raises(InvalidParameter, match="snr = 0 leaves no signal"):
            Parameterisation(output).clean(x, x, [1.0, 0.0])
    torch.testing.assert_close(Parameterisation("v").clean(-x, torch.zeros(2, 3), 0.0), x)
    with pytest.raises(InvalidParameter, match="infinite noise at scale 've'"):
        Parameterisation("x0", "ve").network_input(x, 0.0)


def test_columns_broadcast_over_samples() -> None:
    like = torch.zeros(2, 3, 4, 4)
    assert column([1.0, 2.0], like).shape == (2, 1, 1, 1)
    assert column(3.0, like).shape == ()


@pytest.mark.parametrize("bad", [("epsilon", "vp"), ("eps", "edm"), ("logits", "ve")])
def test_unknown_names(bad: tuple[str, str]) -> None:
    with pytest.raises(InvalidParameter) as error:
        Parameterisation(*bad)
    assert "\n" not in str(error.value)


def test_the_coefficients_of_edm_are_those_of_the_paper() -> None:
    """Table 1 of arXiv 2206.00364, with unit variance of what F sees and of what it must return."""
    sigma, data = np.geomspace(0.002, 80, 9), 0.5
    c = edm_coefficients(sigma, data)
    total = sigma**2 + data**2
    np.testing.assert_allclose(c.skip, data**2 / total, rtol=1e-14)
    np.testing.assert_allclose(c.out, sigma * data / np.sqrt(total), rtol=1e-14)
    np.testing.assert_allclose(c.inner, 1 / np.sqrt(total), rtol=1e-14)
    np.testing.assert_allclose(c.noise, np.log(sigma) / 4, rtol=1e-14)
    np.testing.assert_allclose(edm_coefficients(sigma, data, 250).noise, 1000 * c.noise)
    # var(c_in x) = 1, and var((x0 - c_skip x) / c_out) = 1, for white data of this deviation
    np.testing.assert_allclose(c.inner**2 * total, 1, rtol=1e-14)
    target = (1 - c.skip) ** 2 * data**2 + c.skip**2 * sigma**2
    np.testing.assert_allclose(target / c.out**2, 1, rtol=1e-12)
    for bad in ({"sigma": 0.0}, {"sigma": 1.0, "sigma_data": 0.0}, {"sigma": 1, "time_scale": -1}):
        with pytest.raises(InvalidParameter):
            edm_coefficients(**bad)


class WhiteF(nn.Module):
    """F of white Gaussian data of deviation tau, from c_in x and c_noise = k ln sigma alone."""

    def __init__(self, tau: float, data: float, k: float) -> None:
        super().__init__()
        self.tau, self.data, self.k = tau, data, k

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        sigma = torch.exp(time / self.k).reshape(-1, *(1,) * (x.ndim - 1))
        total = sigma**2 + self.data**2
        best = self.tau**2 / (self.tau**2 + sigma**2)
        return (best - self.data**2 / total) * total.sqrt() / (sigma * self.data / total.sqrt()) * x


@pytest.mark.parametrize("k", [0.25, 250.0])
def test_a_preconditioned_network_is_the_posterior_mean(k: float) -> None:
    """Exact for Gaussian data; with the other time of its kind it is far from it."""
    noise, tau, data = GaussianNoise(schedule="linear"), 1.3, 0.5
    x0 = tau * np.random.default_rng(0).standard_normal((4, 3, 4, 4))
    kind, every = Parameterisation("x0", "ve"), np.array([0.05, 0.3, 0.6, 0.9])
    x_t = noise.corrupt(x0, every, 1)
    a, s = (np.sqrt(noise.snr(every) / (1 + noise.snr(every))), np.sqrt(1 / (1 + noise.snr(every))))
    expected = (a * tau**2 / (a**2 * tau**2 + s**2))[:, None, None, None] * x_t

    def error(time_scale: float) -> float:
        network = Preconditioned(WhiteF(tau, data, k), data, time_scale)
        model = NetworkModel(network, noise, kind, noise_conditioning=Sigma(1e9))
        return float(np.abs(model.denoise(x_t, every) - expected).max())

    assert error(k) < 1e-5
    assert error(2 * k) > 0.05


def test_a_preconditioned_network_at_the_ends_of_its_range() -> None:
    """c_noise stays in the range of training; at sigma = 0 the answer is x."""
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            seen.append(time)
            return torch.ones_like(x)

    network = Preconditioned(Watch(), smallest=0.01, largest=10)
    x = torch.ones(3, 2)
    found = network(x, torch.tensor([0.0, 1.0, 1000.0]))
    expected = torch.tensor([np.log(0.01), 0.0, np.log(10.0)], dtype=torch.float32) / 4
    torch.testing.assert_close(seen[0], expected)
    torch.testing.assert_close(found[0], x[0])
    c = edm_coefficients(1000.0)  # the scales are those of the true sigma
    assert found[2, 0].item() == pytest.approx(float(c.skip + c.out))
    other = Preconditioned(Watch(), negative=True)(x, torch.ones(3))
    one = edm_coefficients(1.0)
    assert other[0, 0].item() == pytest.approx(float(one.skip - one.out))
    with pytest.raises(InvalidParameter, match="largest"):
        Preconditioned(Watch(), smallest=2, largest=1)
    with pytest.raises(InvalidParameter, match="sigma has shape"):
        network(x, torch.ones(2))
