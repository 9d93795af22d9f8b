"""Copies with independent noises: their common noise level, against the joint Gaussian mixture."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import one_line

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.posterior import denoise
from hierdiff.theory.mixture.time_change import combined_sigma


def joint_mean(m: LowRankMixture, copies: np.ndarray, sigmas: tuple[float, ...]) -> np.ndarray:
    """E[x0 | all copies] of one datum from the density of all copies side by side."""
    n, k = m.dim, len(sigmas)
    y, logs, means = copies.ravel(), [], []
    for c, weight in enumerate(m.weights):
        s = m.covariance(c)
        total = np.kron(np.ones((k, k)), s) + np.kron(np.diag(np.square(sigmas)), np.eye(n))
        solved = np.linalg.solve(total, y)
        logs.append(np.log(weight) - 0.5 * (y @ solved + np.linalg.slogdet(total)[1]))
        means.append(np.kron(np.ones((1, k)), s) @ solved)
    w = np.exp(np.array(logs) - max(logs))
    return np.asarray((w / w.sum()) @ np.array(means))


@pytest.mark.parametrize("sigmas", [(0.4, 0.9), (0.7, 0.7), (0.3, 0.8, 2.0)])
def test_copies_are_read_as_one_datum_at_their_common_level(sigmas: tuple[float, ...]) -> None:
    mixture = LowRankMixture.random(5, 2, 2, delta=0.3, seed=1)
    rng = np.random.default_rng(3)
    x0, _ = mixture.sample(4, 2)
    for x in x0:
        copies = np.array([x + s * rng.standard_normal(5) for s in sigmas])
        both = combined_sigma(sigmas)
        mean = both**2 * sum(y / s**2 for y, s in zip(copies, sigmas, strict=True))
        exact = joint_mean(mixture, copies, sigmas)
        np.testing.assert_allclose(denoise(mixture, mean[None], both)[0], exact, atol=1e-12)
        if len(set(sigmas)) > 1:  # planted: copies that weigh alike
            level = np.sqrt(np.mean(np.square(sigmas)) / len(sigmas))
            assert np.abs(denoise(mixture, copies.mean(0)[None], level)[0] - exact).max() > 1e-3


def test_levels_combine_over_the_range_of_floats() -> None:
    assert combined_sigma([2.5]) == 2.5
    assert combined_sigma([1e-140, 1e140]) == 1e-140
    assert combined_sigma([1e130] * 4) == pytest.approx(5e129)
    for wrong in ([], [0.0], [0.1, np.nan], [[0.1]], [-1.0]):
        with pytest.raises(InvalidParameter, match="sigma") as error:
            combined_sigma(wrong)
        one_line(error)
