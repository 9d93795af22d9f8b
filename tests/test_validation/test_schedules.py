"""Discrete schedules against reference numbers, the definition, and the noise process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff import GaussianNoise
from hierdiff.errors import InvalidParameter
from hierdiff.validation.diffusion.parameterisation import Parameterisation
from hierdiff.validation.diffusion.schedules import (
    DiscreteSchedule,
    FlowTime,
    LogSNR,
    NoiseLevel,
    Sigma,
    default_conditioning,
)

LINEAR = DiscreteSchedule.linear()
COSINE = DiscreteSchedule.cosine()
FIXTURE = np.load(Path(__file__).parents[1] / "data" / "adm_fixture.npz")


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("betas", "betas"),
        ("alphas_cumprod", "alpha_bar"),
        ("posterior_variance", "posterior_variance"),
        ("posterior_log_variance_clipped", "posterior_log_variance"),
    ],
)
def test_linear_tables_are_the_reference(name: str, attribute: str) -> None:
    found = getattr(LINEAR, attribute)[FIXTURE["gd/t"]]
    np.testing.assert_allclose(found, FIXTURE[f"gd/{name}"], rtol=1e-12)
    wrong = getattr(COSINE, attribute)[FIXTURE["gd/t"]]
    assert not np.allclose(wrong, FIXTURE[f"gd/{name}"], rtol=1e-3)


@pytest.mark.parametrize("spec", ["250", "ddim25"])
def test_respacing_is_the_reference(spec: str) -> None:
    part = LINEAR.respaced(spec)
    np.testing.assert_array_equal(part.times, FIXTURE[f"respace/{spec}/timesteps"])
    np.testing.assert_allclose(part.betas, FIXTURE[f"respace/{spec}/betas"], rtol=1e-11)
    np.testing.assert_allclose(part.alpha_bar, FIXTURE[f"respace/{spec}/alphas_cumprod"],
                               rtol=1e-12)  # fmt: skip
    # planted: evenly rounded indices, the other convention
    if spec == "250":
        even = LINEAR.respaced(list(range(0, 1000, 4)))
        assert not np.array_equal(even.times, part.times)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 300), st.data())
def test_respacing_keeps_the_levels(T: int, data: st.DataObject) -> None:
    schedule = DiscreteSchedule.linear(T) if T > 40 else DiscreteSchedule.cosine(T)
    K = data.draw(st.integers(1, T))
    part = schedule.respaced(K)
    index = part.times.astype(int)
    assert len(part) == K
    assert index[0] == 0
    assert K == 1 or index[-1] == T - 1
    np.testing.assert_allclose(part.log_alpha_bar, schedule.log_alpha_bar[index], rtol=1e-10)
    np.testing.assert_array_equal(part.respaced(K).times, part.times)


def test_parts_of_a_schedule_have_their_counts() -> None:
    part = LINEAR.respaced("10,15,20")
    assert np.histogram(part.times, bins=[0, 334, 667, 1000])[0].tolist() == [10, 15, 20]


def test_the_definition_of_a_schedule() -> None:
    betas = np.random.default_rng(0).uniform(1e-3, 0.3, 20)
    schedule = DiscreteSchedule(betas)
    power = np.cumprod(1 - betas)
    np.testing.assert_allclose(schedule.alpha_bar, power, rtol=1e-13)
    np.testing.assert_allclose(schedule.snr, power / (1 - power), rtol=1e-12)
    before = np.append(1.0, power[:-1])
    np.testing.assert_allclose(
        schedule.posterior_variance, betas * (1 - before) / (1 - power), rtol=1e-10
    )
    roots = np.sqrt(DiscreteSchedule.scaled_linear().betas)
    np.testing.assert_allclose(np.diff(roots), np.diff(roots)[0], rtol=1e-9)
    assert DiscreteSchedule.scaled_linear().alpha_bar[-1] == pytest.approx(0.00466, abs=1e-5)


@pytest.mark.parametrize(("schedule", "name"), [(LINEAR, "linear"), (COSINE, "cosine")])
def test_levels_of_the_noise_process_and_back(schedule: DiscreteSchedule, name: str) -> None:
    noise = GaussianNoise(schedule=name)
    t = schedule.levels(noise)
    kept = np.arange(990)  # the last cosine betas are cut at 0.999
    np.testing.assert_allclose(t[kept], (kept + 1) / 1000, rtol=1e-9)
    np.testing.assert_array_equal(schedule.time(noise.snr(t)), np.arange(1000))
    between = schedule.time(noise.snr([0.5003, 0.5006]))
    assert 499 < between[0] < between[1] < 500
    assert schedule.time(np.inf) == schedule.time(1e9) == 0
    # a respaced schedule tells the network the old times
    np.testing.assert_allclose(
        schedule.respaced("50").time(schedule.snr[::100][1:]), np.arange(100, 1000, 100), atol=0.5
    )


def test_clocks() -> None:
    snr = np.array([0.0, 0.25, 1.0, 9.0, np.inf])
    np.testing.assert_allclose(LogSNR().time(snr), [-20, np.log(0.25), 0, np.log(9), 20])
    np.testing.assert_allclose(Sigma().time(snr), [80, 2, 1, 1 / 3, 0])
    np.testing.assert_allclose(FlowTime(1000).time(snr), [1000, 2000 / 3, 500, 250, 0])
    noise = GaussianNoise(schedule="cosine")
    np.testing.assert_allclose(NoiseLevel(noise, 10).time(noise.snr([0.1, 0.9])), [1, 9])


@pytest.mark.parametrize(
    ("kind", "schedule", "expected"),
    [
        (Parameterisation("logits"), "linear", LogSNR),
        (Parameterisation("flow", "flow"), "linear", FlowTime),
        (Parameterisation("x0", "ve"), "linear", Sigma),
        (Parameterisation("eps"), "linear", DiscreteSchedule),
    ],
)
def test_default_clocks(kind: Parameterisation, schedule: str, expected: type) -> None:
    assert isinstance(default_conditioning(kind, GaussianNoise(schedule=schedule)), expected)


def test_what_a_schedule_refuses() -> None:
    for bad in ([], [0.1, 1.0], [0.1, -0.1], [np.nan], [[0.1]]):
        with pytest.raises(InvalidParameter, match=r"give the noise added per step|betas is NaN"):
            DiscreteSchedule(bad)
    with pytest.raises(InvalidParameter, match="2 increasing numbers"):
        DiscreteSchedule([0.1, 0.2], [3, 3])
    for spec, said in (
        ("ddim501", "no whole stride"), ("fast", "unknown"), (0, "ask for 1 to 1000"),
        (1001, "ask for 1 to 1000"), ([3, 2], "must increase"), ([5, 1000], "outside"),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=said) as error:
            LINEAR.respaced(spec)
        assert "\n" not in str(error.value)
    with pytest.raises(InvalidParameter, match="where the network's schedule ends"):
        LINEAR.time([0.1, 1e-6])
