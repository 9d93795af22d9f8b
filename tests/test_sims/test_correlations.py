"""Level sums against the average over pairs, errors of ratios, peaks, and the experiment."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff import RHM, EpsilonNoise, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.sims.correlations import Correlations
from hierdiff.sims.metrics.fluctuations import (
    block_variances,
    distance_means,
    fluctuations,
    peak,
    ratio,
)
from hierdiff.theory.exact_models import ExactRHM

SMALL: dict[str, Any] = {
    "v": 8, "m": 2, "L": 3, "grammars": 3, "data": 2, "trajectories": 6, "levels": 4
}  # fmt: skip


def pair_average(sigma: np.ndarray, s: int) -> tuple[np.ndarray, float]:
    """C(d) over all pairs one by one, with the distance from the leaves' numbers; and chi."""
    leaves = sigma.shape[1]
    covariance = np.cov(sigma, rowvar=False)
    by_distance: dict[int, list[float]] = {}
    for i, j in itertools.product(range(leaves), repeat=2):
        a, b, d = i, j, 0
        while a != b:
            a, b, d = a // s, b // s, d + 1
        by_distance.setdefault(d, []).append(covariance[i, j])
    chi = covariance.sum() / np.trace(covariance)
    return np.array([np.mean(by_distance[d]) for d in sorted(by_distance)]), chi


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([(2, 1), (2, 3), (2, 4), (3, 2), (4, 2)]), st.integers(2, 9), st.integers(0))
def test_level_sums_are_the_average_over_pairs(
    shape: tuple[int, int], trajectories: int, seed: int
) -> None:
    s, L = shape
    sigma = np.random.default_rng(seed).choice([-1.0, 1.0], (trajectories, s**L))
    sigma[:, 0] = np.arange(trajectories)  # any quantity will do, and some leaf must vary
    V = block_variances(sigma, s)
    C, chi = pair_average(sigma, s)
    np.testing.assert_allclose(distance_means(V, s), C, atol=1e-12)
    assert V[-1] / V[0] == pytest.approx(chi, abs=1e-12)


def test_covariance_is_unbiased() -> None:
    """Leaves of one block share a sign: C(1) = 1/4, C(2) = 0, from pairs of trajectories."""
    random = np.random.default_rng(0)
    shared = np.repeat(random.choice([-1, 1], (4000, 2, 2)), 2, axis=2) / 2
    own = random.choice([-1, 1], (4000, 2, 4)) / 2
    found = np.array([distance_means(block_variances(x, 2), 2) for x in shared + own])
    z = (found.mean(axis=0) - [0.5, 0.25, 0]) / (found.std(axis=0) / np.sqrt(len(found)))
    assert np.all(np.abs(z) < 4)
    assert abs(found[:, 1].mean() - 0.125) > 4 * found[:, 1].std() / np.sqrt(len(found))


def test_error_of_a_ratio_covers_the_truth() -> None:
    random = np.random.default_rng(1)
    bottom = random.gamma(20, size=(30, 2000))
    top = 2 * bottom + random.normal(size=(30, 2000))
    r = ratio(top, bottom)
    z = (r.value - 2) / r.error
    assert abs(z.mean()) < 0.1
    assert 0.95 < z.std() < 1.12  # Student's t with 29 degrees of freedom: 1.04
    with pytest.raises(InvalidParameter, match="at least two"):
        ratio(top[:1], bottom[:1])


def test_peak_of_noisy_curves() -> None:
    random, t = np.random.default_rng(2), np.linspace(0, 1, 21)
    zs = []
    for seed in range(60):
        bottom = 1 + 0.1 * random.random((12, 21))
        top = bottom * (3 - 4 * (t - 0.37) ** 2) + 0.02 * random.normal(size=(12, 21))
        p = peak(t, top, bottom, seed=seed)
        zs.append([(p.place - 0.37) / p.place_error, (p.height - 3) / p.height_error])
    z = np.array(zs)
    assert np.all(np.abs(z.mean(axis=0)) < 4 / np.sqrt(60))
    assert np.all((z.std(axis=0) > 0.75) & (z.std(axis=0) < 1.5))
    rising = np.ones((3, 1)) * (1 + t)
    with pytest.raises(InvalidParameter, match="t = 1 of the range") as error:
        peak(t, rising, np.ones((3, 21)))
    oracles.one_line(error)


@pytest.mark.parametrize("noise", ["epsilon", "masking", "uniform", "gaussian"])
def test_experiment_is_reproducible_and_resumable(noise: Any, tmp_path: Path) -> None:
    experiment = Correlations(noise=noise, seed=5, **SMALL)
    alone = experiment.measure(workers=1)
    kept = experiment.measure(workers=2, folder=tmp_path)
    again = experiment.measure(folder=tmp_path)
    for other in (kept, again):
        for name in alone.data_vars:
            np.testing.assert_array_equal(alone[name], other[name], err_msg=str(name))
    assert len(list(tmp_path.iterdir())) == 3
    V = alone.block_variance.mean("unit")
    chi = V.isel(distance=-1) / V.isel(distance=0)
    np.testing.assert_allclose(alone.susceptibility, chi, rtol=1e-12)
    # without noise nothing changes; with all noise the new datum is independent of the old one
    assert float(alone.unchanged[0]) == 1
    assert float(V.sel(t=0).sum()) == 0


def test_epsilon_copies_are_posterior_draws() -> None:
    """The shortcut for equal evidence has the moments of one inference per copy."""
    grammar = RHM(8, 2, 2, 3).draw(3)
    x0 = grammar.sample(1, 4).leaves[0]
    model = ExactRHM(grammar, EpsilonNoise(8))
    V, same = fluctuations(model, x0, np.array([0.7]), 2, 20000, seed=6)
    marginal = model.denoise(x0[None], 0.7)[0, np.arange(8), x0]
    assert same[0] == pytest.approx(marginal.mean(), abs=4 * 0.5 / np.sqrt(20000))
    assert V[0, 0] == pytest.approx((4 * marginal * (1 - marginal)).sum(), rel=0.03)


def test_a_given_model_is_measured_datum_by_datum() -> None:
    grammar = RHM(8, 2, 2, 3).draw(1)
    data = grammar.sample(5, 2).leaves
    experiment = Correlations(noise="masking", seed=5, **SMALL)
    ds = experiment.measure(ExactRHM(grammar, MaskingNoise(8)), data)
    assert ds.sizes["unit"] == 5
    assert str(ds.source.values) == "simulation"
    with pytest.raises(InvalidParameter, match="epsilon noise is measured as masking"):
        experiment.measure(ExactRHM(grammar, EpsilonNoise(8)), data)
    with pytest.raises(InvalidParameter, match="together"):
        experiment.measure(data=data)


def test_bad_fields_and_laws() -> None:
    for fields, words in (
        ({"trajectories": 1}, "trajectories = 1 must be >= 2"),
        ({"s": 1, "m": 1}, "s = 1 must be >= 2"),
        ({"low": 0.6, "high": 0.5}, "low <= high"),
        ({"seed": -1}, "seed = -1"),
    ):
        with pytest.raises(InvalidParameter, match=words) as error:
            Correlations(**fields)
        oracles.one_line(error)
    with pytest.raises(InvalidParameter, match="no prediction for masking"):
        Correlations(noise="masking").predict()
    with pytest.raises(InvalidParameter, match="'chain'"):
        Correlations().predict("annealed")
    for sigma, s in ((np.ones((1, 4)), 2), (np.ones((3, 6)), 2), (np.ones((3, 4)), 1)):
        with pytest.raises(InvalidParameter):
            block_variances(sigma, s)


def test_prediction_has_the_labels_of_the_measurement() -> None:
    experiment = Correlations(**SMALL)
    predicted, measured = experiment.predict(t=experiment.times), experiment.measure()
    for name in ("covariance", "correlation", "susceptibility"):
        assert predicted[name].dims == measured[name].dims
        assert predicted[name].shape == measured[name].shape
