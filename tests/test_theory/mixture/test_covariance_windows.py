"""Windows from covariances, and the score machine of any windows against that of squares."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.covariance_windows import (
    covariance_windows,
    windowed_average,
    windowed_gaussian,
    windowed_variance,
)
from hierdiff.theory.mixture.score_machines import fit_gaussian, linear_denoise, local_denoise
from hierdiff.theory.rhm.locality import explained_share


def test_square_windows_are_the_local_machine() -> None:
    rng = np.random.default_rng(0)
    data, x = rng.standard_normal((7, 4, 5)), rng.standard_normal((3, 4, 5))
    row, column = (i.ravel() for i in np.indices((4, 5)))
    near = (np.abs(row[:, None] - row) <= 1) & (np.abs(column[:, None] - column) <= 1)
    found = windowed_average(data.reshape(7, 20), x.reshape(3, 20), 0.7, near)
    assert np.abs(found - local_denoise(data, x, 0.7, radius=1).reshape(3, 20)).max() < 1e-12


def test_windows_follow_a_chain_and_widen_with_noise() -> None:
    """Of a Gaussian chain the neighbours weigh most."""
    rng = np.random.default_rng(1)
    places = np.arange(9)
    c = 0.8 ** np.abs(places[:, None] - places)
    x = rng.multivariate_normal(np.zeros(9), c, size=20_000)
    windows = covariance_windows(x, 3, 1.0)
    assert np.array_equal(np.flatnonzero(windows[4]), [3, 4, 5])
    assert (windows.sum(axis=1) == 3).all()
    assert windows[np.diag_indices(9)].all()


def test_channels_of_a_site_count_together() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((2, 3000, 2))
    x = np.stack([a, b, a[:, ::-1]], axis=1)  # site 2 is site 0 with its channels exchanged
    assert covariance_windows(x, 2, 0.5)[0].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("size", "words"), [(0, "size"), (4, "exceeds the 3 sites"), (2.5, "size")]
)
def test_windows_beyond_the_sites_are_refused(size: object, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        covariance_windows(np.eye(3), size, 1.0)  # type: ignore[arg-type]


def test_the_window_of_all_sites_is_the_linear_machine() -> None:
    rng = np.random.default_rng(3)
    data = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6))
    x = rng.standard_normal((4, 6))
    found = windowed_gaussian(data, x, 0.7, np.ones((6, 6), bool))
    assert np.abs(found - linear_denoise(fit_gaussian(data), x, 0.7)).max() < 1e-10
    channels = windowed_gaussian(
        data.reshape(40, 3, 2), x.reshape(4, 3, 2), 0.7, np.ones((3, 3), bool)
    )
    assert np.abs(channels.reshape(4, 6) - found).max() < 1e-10


def test_a_window_against_quadrature() -> None:
    """Posterior mean and variance of one site of two, on a grid."""
    rng = np.random.default_rng(4)
    data = rng.standard_normal((50, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])
    c, mean, sigma = np.cov(data.T, bias=True), data.mean(axis=0), 0.8
    x = np.array([[0.9, -0.4]])
    line = np.linspace(-8, 8, 401)
    a, b = np.meshgrid(line, line, indexing="ij")
    z = np.stack([a, b], axis=-1) - mean
    prior = np.exp(-0.5 * np.einsum("xyi,ij,xyj->xy", z, np.linalg.inv(c), z))
    for seen in ([True, False], [False, True], [True, True]):
        weight = prior * np.exp(-(seen[0] * (a - x[0, 0]) ** 2 + seen[1] * (b - x[0, 1]) ** 2)
                                / (2 * sigma**2))  # fmt: skip
        exact = (weight * a).sum() / weight.sum()
        windows = np.array([seen, [True, True]])
        assert abs(windowed_gaussian(data, x, sigma, windows)[0, 0] - exact) < 1e-9
        spread = (weight * (a - exact) ** 2).sum() / weight.sum()
        assert abs(windowed_variance(data, sigma, windows)[0] - spread) < 1e-9


def test_squared_error_and_share_of_gaussian_data() -> None:
    """Eqs. (3) and (4) against draws, and the planted wrong error of the window of all sites."""
    rng = np.random.default_rng(5)
    places = np.arange(12)
    root = np.linalg.cholesky(0.9 ** np.abs(places[:, None] - places))
    data = rng.standard_normal((4000, 12)) @ root.T
    c, mean = np.cov(data.T, bias=True), data.mean(axis=0)
    fresh = mean + rng.standard_normal((6000, 12)) @ np.linalg.cholesky(c).T
    noisy = fresh + 0.6 * rng.standard_normal(fresh.shape)
    near = np.abs(places[:, None] - places) <= 1
    every = np.ones((12, 12), bool)
    small, whole = (windowed_gaussian(data, noisy, 0.6, w) for w in (near, every))
    left, least = (windowed_variance(data, 0.6, w).sum() for w in (near, every))
    error = ((small - fresh) ** 2).sum(axis=1)
    scatter = error.std(ddof=1) / np.sqrt(len(error))
    assert abs(error.mean() - left) < 4 * scatter
    assert abs(error.mean() - least) > 10 * scatter
    stated = 1 - (left - least) / (np.trace(c) - least)
    parts = [explained_share(whole[k::20, :, None], small[k::20, :, None]) for k in range(20)]
    assert abs(np.mean(parts) - stated) < 4 * np.std(parts, ddof=1) / np.sqrt(20)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda x: windowed_gaussian(x, x, 0.0, np.eye(3, dtype=bool)), "sigma"),
        (lambda x: windowed_gaussian(x, x, 1.0, np.eye(2, dtype=bool)), "windows are"),
        (lambda x: windowed_gaussian(x, x[:, :2], 1.0, np.eye(3, dtype=bool)), "shape"),
        (lambda x: windowed_variance(x[:1], 1.0, np.eye(3, dtype=bool)), "no covariance"),
    ],
)
def test_gaussian_windows_that_cannot_be_are_refused(ask, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        ask(np.eye(3))
