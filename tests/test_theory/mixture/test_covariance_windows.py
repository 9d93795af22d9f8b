"""Windows from covariances, and the score machine of any windows against that of squares."""

from __future__ import annotations

import numpy as np
import pytest

from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.covariance_windows import covariance_windows, windowed_average
from hierdiff.theory.mixture.score_machines import local_denoise


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
