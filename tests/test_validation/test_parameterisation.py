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
    amplitudes,
    column,
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
