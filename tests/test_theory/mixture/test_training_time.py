"""Training time of random features: limit against eigenvectors, spectra, edges, classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from laws import Laws
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.sims import TrainingTime
from hierdiff.theory.mixture.random_features import feature_bulks, feature_constants
from hierdiff.theory.mixture.training_time import (
    FeatureFlow,
    equivalent_flow,
    feature_flow,
    flow_curves,
    spectral_density,
    spectrum_edges,
    training_times,
)

Array = np.ndarray[Any, Any]
TANH = feature_constants(np.tanh, 0.1)
ONE = FeatureFlow((TANH,), psi_p=8.0, psi_n=4.0)
NARROW, WIDE = (feature_constants(np.tanh, 0.1, x) for x in (0.3, 2.0))
TWO = FeatureFlow((NARROW, WIDE), psi_p=8.0, psi_n=4.0, shares=(0.8, 0.2))
TAU = np.array([0.0, 3.0, 30.0, 300.0, 3000.0, np.inf])


def test_constants_of_a_variance_are_those_of_a_scaled_activation() -> None:
    """rho(sigma h) of data of variance sigma^2, against sums over a grid of both normals."""
    t, variance = 0.3, 2.5
    found = feature_constants(np.tanh, t, variance)
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    a, b = np.exp(-t) * np.sqrt(variance), np.sqrt(1 - np.exp(-2 * t))
    table = np.tanh(a * x[:, None] + b * x)
    linear = ((a * x[:, None] + b * x) * table * w[:, None] * w).sum() / (a**2 + b**2)
    mean = table @ w
    total = (table**2 * w[:, None] * w).sum()
    np.testing.assert_allclose(found.linear, linear, rtol=1e-7)
    np.testing.assert_allclose(found.over_data, w @ mean**2 - a**2 * linear**2, rtol=1e-5)
    np.testing.assert_allclose(found.over_noise, total - w @ mean**2 - b**2 * linear**2, rtol=1e-5)


def test_a_finite_flow_is_what_explicit_steps_of_the_gradient_do() -> None:
    """Euler steps of dB = (V^T - B U) Delta dtau / psi_p on one draw, no eigenvectors."""
    rng, d = np.random.default_rng(0), 6
    p, n = round(ONE.psi_p * d), round(ONE.psi_n * d)
    a, v, high, low, linear = ONE.slopes[:, 0]
    w = rng.standard_normal((p, d)) / np.sqrt(d)
    rows = np.sqrt(a) * rng.standard_normal((n, d)) @ w.T + np.sqrt(v) * rng.standard_normal((n, p))
    U = rows.T @ rows / n + high * w @ w.T + low * np.eye(p)
    fresh = (a + high) * w @ w.T + (v + low) * np.eye(p)
    V = np.sqrt(ONE.noise) * linear * w
    B, tau, step = np.zeros((d, p)), 20.0, 2e-3
    for _ in range(round(tau / step)):
        B += step * ONE.noise / ONE.psi_p * (V.T - B @ U)
    losses = [1 + (np.trace(B @ C @ B.T) - 2 * np.trace(B @ V)) / d for C in (U, fresh)]
    found = equivalent_flow(ONE, [tau], d, np.random.default_rng(0))
    np.testing.assert_allclose([found.train[0, 0], found.test[0, 0]], losses, rtol=2e-4)


def test_the_contour_is_fine_enough() -> None:
    for flow in (ONE, TWO, FeatureFlow((feature_constants(np.tanh, 0.01),), 64.0, 4.0)):
        some, more = flow_curves(flow, TAU), flow_curves(flow, TAU, points=480)
        np.testing.assert_allclose(some.train, more.train, atol=1e-7)
        np.testing.assert_allclose(some.test, more.test, atol=1e-7)


def test_the_training_loss_by_one_resolvent_is_that_by_two() -> None:
    """Sum rule: train(tau) = 1 - x(2 tau), with x the part of the loss that is linear in F."""
    tau = np.array([3.0, 30.0, 300.0])
    endless = replace(ONE, psi_n=1e4)
    curves = flow_curves(endless, tau)
    np.testing.assert_allclose(curves.train, curves.test, atol=2e-3)
    # one resolvent alone: the density of S in U, of one draw of many eigenvectors
    d, rng = 60, np.random.default_rng(3)
    p, n = round(ONE.psi_p * d), round(ONE.psi_n * d)
    a, v, high, low, linear = ONE.slopes[:, 0]
    w = rng.standard_normal((p, d)) / np.sqrt(d)
    rows = np.sqrt(a) * rng.standard_normal((n, d)) @ w.T + np.sqrt(v) * rng.standard_normal((n, p))
    value, vector = np.linalg.eigh(rows.T @ rows / n + high * w @ w.T + low * np.eye(p))
    weight = ((vector.T @ w) ** 2).sum(axis=1) / d
    x = [(weight / value * -np.expm1(-2 * ONE.noise * value * t / ONE.psi_p)).sum() for t in tau]
    one = 1 - ONE.noise * linear**2 * np.array(x)
    np.testing.assert_allclose(flow_curves(ONE, tau).train[:, 0], one, rtol=0.01)


def extrapolated(flow: FeatureFlow, draws: int, d: int = 16) -> Array:
    """Losses [draw, part, time, class] of two sizes without their part of order 1/d."""
    rows = []
    for k in range(draws):
        small, large = (
            np.stack(equivalent_flow(flow, TAU, size, 1000 * size + k)) for size in (d, 2 * d)
        )
        rows.append(2 * large - small)
    return np.array(rows)


def test_every_loss_of_every_class_is_that_of_the_limit(laws: Laws) -> None:
    """Law: eqs. (1) to (4); wrong ones: memory left out, and classes of one mean variance."""
    rows = extrapolated(TWO, 20)[:, :, 1:]
    law = np.stack(flow_curves(TWO, TAU[1:]))
    mean, error = rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    name, z = "losses along training of random features", (mean - law) / error
    laws.holds(name, z)
    # 20 losses, which share their draws: Student's law of 19, at 1e-3 for all of them
    assert np.abs(z).max() < 4.9
    endless = np.stack(flow_curves(replace(TWO, psi_n=1e3), TAU[1:]))
    single = feature_constants(np.tanh, 0.1, 0.8 * 0.3 + 0.2 * 2.0)
    alike = np.stack(flow_curves(FeatureFlow((single,), 8.0, 4.0), TAU[1:]))
    for wrong, words in ((endless, "data without end"), (alike, "one class of the mean variance")):
        laws.rejects(name, words, (mean - wrong) / error)
        assert np.abs((mean - wrong) / error).max() > 30


@pytest.mark.slow
def test_real_features_follow_the_limit() -> None:
    """No Gaussian equivalence: within what 30 dimensions and 200 draws of the noise change."""
    found = np.stack(feature_flow(ONE, np.tanh, TAU, 30, 0, draws=200))
    law = np.stack(flow_curves(ONE, TAU))
    np.testing.assert_allclose(found, law, rtol=0.05)


def test_the_density_counts_eigenvalues() -> None:
    d, flow = 40, ONE
    rng = np.random.default_rng(1)
    p, n = round(flow.psi_p * d), round(flow.psi_n * d)
    a, v, high, low, _ = flow.slopes[:, 0]
    w = rng.standard_normal((p, d)) / np.sqrt(d)
    rows = np.sqrt(a) * rng.standard_normal((n, d)) @ w.T + np.sqrt(v) * rng.standard_normal((n, p))
    value = np.linalg.eigvalsh(rows.T @ rows / n + high * w @ w.T + low * np.eye(p))
    edges = spectrum_edges(flow)
    for low_, high_ in edges:
        grid = np.linspace(low_, high_, 4001)[1:-1]
        for part in (0.3, 1.0):
            inside = grid[grid <= low_ + part * (high_ - low_)]
            mass = np.trapezoid(spectral_density(flow, inside), inside)
            count = ((value > low_ * 0.999) & (value <= inside[-1])).mean()
            assert abs(mass - count) < 0.012, (low_, part, mass, count)
    outside = (value > 1.02 * edges[0][1]) & (value < 0.9 * edges[-1][0])
    assert outside.sum() == 0
    atom = np.isclose(value, flow.floor, rtol=1e-6).mean()
    assert abs(atom - (1 - (1 + flow.psi_n) / flow.psi_p)) < 0.01


def test_edges_and_times_tend_to_those_of_many_features() -> None:
    """The leading order of random_features, and the two scalings with the number of data."""
    flow = FeatureFlow((TANH,), 4096.0, 64.0)
    leading = feature_bulks(TANH, 4096.0, 64.0)
    last, middle, _ = spectrum_edges(flow)
    np.testing.assert_allclose(middle, leading.memorization_finite, rtol=0.02)
    # d more directions below them, in which data and noise compete
    centre = TANH.over_noise + flow.noise * TANH.over_data * 4096 / 64
    assert last[0] < centre < last[1]
    for (low, high), share in ((last, 1.0), (middle, 63.0)):
        grid = np.linspace(low, high, 3001)[1:-1]
        mass = np.trapezoid(spectral_density(flow, grid), grid) * 4096
        assert abs(mass / share - 1) < 0.01
    times = [training_times(replace(flow, psi_n=x)) for x in (16.0, 64.0, 256.0)]
    grow = [b.memorization / a.memorization for a, b in zip(times, times[1:], strict=False)]
    assert all(3 < x < 4 for x in grow)  # towards 4
    assert 0.7 < times[-1].generalization / times[0].generalization < 1
    for psi_n, found in zip((16.0, 64.0, 256.0), times, strict=True):
        one = replace(flow, psi_n=psi_n)
        assert found.window == pytest.approx(found.memorization / found.generalization)
        loss = flow_curves(one, np.geomspace(1, 1e6, 60)).test[:, 0]
        best = np.geomspace(1, 1e6, 60)[loss.argmin()]
        assert best < found.memorization


def test_wide_classes_are_memorised_first() -> None:
    """The result of arXiv 2605.06367 at equal shares: gap of each class over its last one."""
    flow = replace(TWO, shares=(0.5, 0.5))
    tau = np.geomspace(1, 1e6, 200)
    train, test = flow_curves(flow, tau)
    gap = (test - train) / (test - train)[-1]
    half = [tau[np.argmax(gap[:, c] > 0.1)] for c in (0, 1)]
    assert half[1] < half[0]


BAD = {
    "psi_p = 0.5 must be more than 1": lambda: FeatureFlow((TANH,), 0.5, 4.0),
    "sum to 1": lambda: FeatureFlow((NARROW, WIDE), 8.0, 4.0, (0.5, 0.4)),
    "belong to times": lambda: FeatureFlow(
        (TANH, feature_constants(np.tanh, 0.2)), 8.0, 4.0, (0.5, 0.5)
    ),
    "must be FeatureConstants": lambda: FeatureFlow((1.0,), 8.0, 4.0),  # type: ignore[arg-type]
    "reaches zero": lambda: FeatureFlow((feature_constants(lambda x: x, 0.1),), 8.0, 4.0),
    "must increase; sort the times": lambda: flow_curves(ONE, [3.0, 1.0]),
    "tau holds -1": lambda: flow_curves(ONE, [-1.0]),
    "the bulks have merged": lambda: training_times(FeatureFlow((TANH,), 1.2, 1.0)),
    "leaves 0 data in a class": lambda: equivalent_flow(
        FeatureFlow((NARROW, WIDE), 8.0, 2.0, (0.999, 0.001)), [1.0], 20, 0
    ),
    "has mean": lambda: feature_constants(lambda x: x**2, 0.1),
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_refused_in_one_line(words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        BAD[words]()
    one_line(error)


def test_bad_fields_of_the_experiment() -> None:
    for words, changed in (
        ("shares", {"shares": (0.5, 0.5)}), ("psi_n", {"psi_n": (4.0, 2.0)}),
        ("more than|> 1", {"psi_p": 1.0}), ("draws", {"draws": 1}),
    ):  # fmt: skip
        with pytest.raises(InvalidParameter, match=words) as error:
            replace(TrainingTime(), **changed)  # type: ignore[arg-type]
        one_line(error)
