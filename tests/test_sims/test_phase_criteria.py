"""Detectors of phases on images and representations whose phase is known."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import one_line
from scipy import stats

from hierdiff.data.bumps import Bumps
from hierdiff.errors import InvalidParameter
from hierdiff.sims.bump_phases import (
    NETWORK_THRESHOLDS,
    bump_counts,
    crossing_time,
    locate,
    location_accuracy,
    phase,
    read_phase,
)
from hierdiff.sims.metrics.representation_geometry import (
    anova_shares,
    geodesic_rsa,
    held_out_r2,
    neighbour_ratio,
    participation_ratio,
    rsa,
    two_nn,
)

BUMPS = Bumps(size=32, sigma=1.5, margin=3)
N = 600


def labels(n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(4, 28, (n, 2))


def noisy(images: np.ndarray, seed: int = 1) -> np.ndarray:
    return images + 0.05 * np.random.default_rng(seed).standard_normal(images.shape)


def representation(kind: str, y: np.ndarray) -> np.ndarray:
    """128 features: bumps of tuning over the plane, of places scrambled in three ways, or noise."""
    rng = np.random.default_rng(2)
    centres = rng.uniform(0, 32, (128, 2))
    if kind == "noise":
        return rng.standard_normal((len(y), 128))
    places = {
        "ordered": y,
        "scrambled": rng.permutation(y),
        "patches": patches(y, rng),
    }[kind]
    return np.exp(-((places[:, None] - centres) ** 2).sum(-1) / (2 * 8.0**2))


def patches(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tiles of 4 x 4 labels exchanged as wholes: near neighbours stay, the map is destroyed."""
    tile = np.floor(y / 4).astype(int)
    target = rng.permutation(8 * 8)[tile[:, 0] * 8 + tile[:, 1]]
    corner = np.stack([target // 8, target % 8], axis=1) * 4.0
    return corner + (y - 4 * tile)


def test_bumps_are_counted_and_located() -> None:
    y = labels()
    one = noisy(BUMPS.images(y))
    assert (bump_counts(one) == 1).mean() == 1
    error = np.abs(locate(one) - y)
    assert np.median(error) < 0.1
    assert np.quantile(error, 0.95) < 0.25
    assert location_accuracy(one, y)[0] == 1
    other = y.copy()
    other[:, 0] = np.where(y[:, 0] < 16, y[:, 0] + 10, y[:, 0] - 10)
    two = noisy(np.minimum(BUMPS.images(y), BUMPS.images(other)))
    assert (bump_counts(two) == 2).mean() == 1
    none = noisy(np.ones((20, 32, 32)))
    assert (bump_counts(none) == 0).all()
    assert np.isnan(locate(none)).all()
    assert location_accuracy(none, y[:20])[0] == 0  # no bump is in no right place


def test_accuracy_of_both_coordinates_and_of_each() -> None:
    y = labels()
    moved = y + np.where(np.arange(N)[:, None] % 2, [2.0, 0.0], [0.0, 0.0])
    both, x, vertical = location_accuracy(BUMPS.images(moved), y)[:3]
    assert (both, x, vertical) == (0.5, 0.5, 1.0)


def test_the_four_synthetic_representations() -> None:
    """PR and TwoNN do not tell B from C, RSA and a held-out regression do, neighbours alone err."""
    y = labels()
    found = {
        kind: (participation_ratio(Z), two_nn(Z), rsa(Z, y), held_out_r2(Z, y),
               neighbour_ratio(Z, y))
        for kind in ("noise", "scrambled", "patches", "ordered")
        for Z in [representation(kind, y)]
    }  # fmt: skip
    pr, dimension, order, r2, near = (dict(zip(found, x, strict=True)) for x in
                                      zip(*found.values(), strict=True))  # fmt: skip
    assert pr["noise"] > 80
    assert dimension["noise"] > 10
    for kind in ("scrambled", "patches", "ordered"):
        assert pr[kind] == pytest.approx(pr["ordered"], rel=0.15)
        assert dimension[kind] < 6
    assert order["ordered"] > 0.8
    assert max(order["noise"], order["scrambled"], order["patches"]) < 0.3
    assert r2["ordered"] > 0.9
    assert max(r2["noise"], r2["scrambled"]) < 0.1
    assert r2["patches"] < 0.9
    assert near["patches"] < 0.4 < 0.9 < near["scrambled"]
    assert near["ordered"] <= 0.15


def test_phases_of_known_models() -> None:
    y = labels()
    right, wrong = BUMPS.images(y), BUMPS.images(np.random.default_rng(5).permutation(y))
    two = np.minimum(right, BUMPS.images(32 - y))
    cases = [
        (right, "ordered", "C"), (wrong, "scrambled", "B"), (wrong, "patches", "B"),
        (two, "scrambled", "A"), (wrong, "noise", "A"), (right, "patches", "transitional"),
    ]  # fmt: skip
    for images, kind, name in cases:
        read = read_phase(images, y, representation(kind, y))
        assert phase(read) == phase(read, NETWORK_THRESHOLDS) == name
        several = labels(500, 9)
        other = read_phase(images, y, representation(kind, several), Z_labels=several)
        assert phase(other) == name


def test_order_of_local_representations_is_seen_along_the_manifold() -> None:
    """Straight distances saturate beyond the width of a bump; paths do not, and scrambles show."""
    y = labels(600)
    centres = np.random.default_rng(0).uniform(0, 32, (512, 2))

    def local(places: np.ndarray) -> np.ndarray:
        return np.exp(-((places[:, None] - centres) ** 2).sum(-1) / (2 * 2.0**2))

    assert rsa(local(y), y) < 0.3
    assert geodesic_rsa(local(y), y) > 0.8
    right = BUMPS.images(y)
    assert phase(read_phase(right, y, local(y))) == "transitional"
    assert phase(read_phase(right, y, local(y)), NETWORK_THRESHOLDS) == "C"
    rng = np.random.default_rng(1)
    for places in (rng.permutation(y), patches(y, rng)):
        assert geodesic_rsa(local(places), y) < 0.3
    # a path on a line is the sum of its steps: the same ranks, copies of points and gaps included
    line = np.cumsum(rng.uniform(1, 2, 60))[:, None]
    assert geodesic_rsa(line, line, k=4) == pytest.approx(1)
    copies = np.concatenate([line, line[:9]])
    assert geodesic_rsa(copies, copies, k=4) == pytest.approx(1)
    circle = np.linspace(0, 1.5 * np.pi, 80)[:, None]  # an open one: ends are near across the gap
    bent = np.concatenate([np.cos(circle), np.sin(circle)], axis=1)
    assert geodesic_rsa(bent, circle, k=4) > 0.999
    assert rsa(bent, circle) < 0.98
    # labels ten times closer along x: the graph falls into lines, and perfect order is not seen
    grid = np.stack(np.meshgrid(np.arange(4, 14, 0.1), np.arange(4, 14), indexing="ij"), axis=-1)
    assert geodesic_rsa(local(grid.reshape(-1, 2)), grid.reshape(-1, 2)) < 0.6
    apart = np.concatenate([line, line + 500])  # no path between the two: farther than any
    assert geodesic_rsa(apart, apart, k=4) > 0.8


def test_participation_ratio_and_dimension_of_gaussians() -> None:
    rng = np.random.default_rng(3)
    Z = rng.standard_normal((4000, 5)) @ rng.standard_normal((5, 40))
    eigenvalues = np.linalg.eigvalsh(np.cov(Z.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(Z) == pytest.approx(expected, rel=1e-9)
    flat = np.random.default_rng(4).uniform(size=(2000, 2))
    assert two_nn(flat @ rng.standard_normal((2, 10))) == pytest.approx(2, abs=0.15)


def test_wide_representations_are_read_like_the_single_functions_read_them() -> None:
    """More features than points, some points twice: only distances are passed on."""
    y = labels(60)
    y[50:] = y[:10]
    Z = representation("ordered", y) @ np.random.default_rng(3).standard_normal((128, 300))
    Z[50:] = Z[:10]  # a product may round equal rows in different ways
    read = read_phase(BUMPS.images(y), y, Z, dark=True)
    expected = {
        "two_nn": two_nn(Z), "rsa": rsa(Z, y), "neighbour_ratio": neighbour_ratio(Z, y),
        "geodesic_rsa": geodesic_rsa(Z, y), "participation_ratio": participation_ratio(Z),
        "held_out_r2": held_out_r2(Z, y),
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(read, name), value, rtol=1e-6, err_msg=name)


def test_rsa_is_the_rank_correlation_of_distances() -> None:
    rng = np.random.default_rng(6)
    Z, y = rng.standard_normal((40, 7)), rng.standard_normal((40, 2))
    upper = np.triu_indices(40, 1)
    distances = [np.linalg.norm(a[:, None] - a[None], axis=-1)[upper] for a in (Z, y)]
    assert rsa(Z, y) == pytest.approx(stats.spearmanr(*distances).statistic, abs=1e-9)


def test_shares_of_variance_by_hand() -> None:
    rng = np.random.default_rng(7)
    f, g = rng.standard_normal((6, 9)), rng.standard_normal((5, 9))
    additive = f[:, None] + g[None]
    shares = anova_shares(additive)
    x, y = ((a - a.mean(0)).ravel() @ (a - a.mean(0)).ravel() / len(a) for a in (f, g))
    np.testing.assert_allclose(shares, [x / (x + y), y / (x + y), 0], atol=1e-12)
    coupled = anova_shares(rng.standard_normal((6, 5, 9)))
    assert coupled.sum() == pytest.approx(1)
    assert coupled[2] > 0.5


def test_time_of_crossing() -> None:
    assert crossing_time([0, 10, 20], [0.0, 0.2, 1.0], 0.6) == 15.0
    assert crossing_time([0, 10], [0.7, 0.9]) == 0.0
    assert np.isnan(crossing_time([0, 10], [0.1, 0.2]))


def test_bad_requests_are_told_in_one_line() -> None:
    y = labels(30)
    cases = [
        (lambda: rsa(np.zeros((30, 4)), y[:10]), "30"),
        (lambda: rsa(np.full((30, 4), np.nan), y), "finite|NaN"),
        (lambda: neighbour_ratio(np.eye(5), y[:5], k=8), "n >= 9"),
        (lambda: geodesic_rsa(np.eye(5), y[:5], k=8), "n >= 9"),
        (lambda: geodesic_rsa(np.eye(5), y[:5], k=0), "k = 0"),
        (lambda: bump_counts(np.zeros((3, 4))), "shape"),
        (lambda: anova_shares(np.zeros((4, 5))), "shape"),
        (lambda: crossing_time([0, 0], [1, 1]), "increase"),
    ]
    for call, words in cases:
        with pytest.raises(InvalidParameter, match=words) as error:
            call()
        one_line(error)


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e150, 1e300])
def test_measures_do_not_depend_on_the_scale_of_representations(scale: float) -> None:
    # squares and fourth powers of these leave float64; zero, one or NaN would be a wrong number
    random = np.random.default_rng(0)
    labels = random.random((40, 2))
    z = np.hstack([labels, 0.1 * random.random((40, 2))])
    for measure in (
        participation_ratio, two_nn,
        lambda x: rsa(x, labels), lambda x: held_out_r2(x, labels),
        lambda x: geodesic_rsa(x, labels), lambda x: neighbour_ratio(x, labels),
    ):  # fmt: skip
        assert measure(scale * z) == pytest.approx(measure(z), rel=1e-9)
    grid = random.random((4, 5, 3))
    assert anova_shares(scale * grid) == pytest.approx(anova_shares(grid), rel=1e-9)
