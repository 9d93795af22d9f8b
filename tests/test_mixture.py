"""Mixtures: covariances, sampling, angles, fitting, files, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line

from hierdiff.errors import DamagedFile, InvalidParameter
from hierdiff.mixture import LowRankMixture, orthonormalise


def general(seed: int = 0, residual: str = "span") -> LowRankMixture:
    """Unequal everything, overlapping, with means."""
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.standard_normal((7, d)))[0] for d in (2, 3, 1)]
    variances = [rng.uniform(0.3, 2.0, d) for d in (2, 3, 1)]
    return LowRankMixture(
        bases, [0.2, 0.5, 0.3], variances, 0.4, residual, 0.5 * rng.standard_normal((3, 7))
    )


def dense(m: LowRankMixture, k: int) -> np.ndarray:
    """S_k from the definition: the residual lives on the span of the others' bases, or outside."""
    own = (m.bases[k] * m.variances[k]) @ m.bases[k].T
    if m.residual == "ambient":
        return own + m.delta**2 * (np.eye(m.dim) - m.bases[k] @ m.bases[k].T)
    others = np.hstack([b for j, b in enumerate(m.bases) if j != k])
    frame = np.linalg.svd(others, full_matrices=False)[0][:, : np.linalg.matrix_rank(others)]
    return own + m.delta**2 * frame @ frame.T


@pytest.mark.parametrize("residual", ["span", "ambient"])
@pytest.mark.parametrize("seed", range(4))
def test_covariances_are_those_of_the_definition(seed: int, residual: str) -> None:
    m = general(seed, residual)
    for k in range(3):
        np.testing.assert_allclose(m.covariance(k), dense(m, k), atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_overlap_of_all_kinds(classes: int) -> None:
    """Shared directions, equal subspaces, and a span that is all of space."""
    rng = np.random.default_rng(1)
    frame = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    bases = [frame[:, :2], frame[:, 1:3], frame[:, :2]][:classes]
    m = LowRankMixture(bases, delta=0.3)
    for k in range(classes):
        np.testing.assert_allclose(m.covariance(k), dense(m, k), atol=1e-12)
    full = LowRankMixture([frame[:, :3], frame[:, 1:]], delta=0.3)
    for k in range(2):
        np.testing.assert_allclose(full.covariance(k), dense(full, k), atol=1e-12)


@pytest.mark.parametrize("residual", ["span", "ambient"])
def test_samples_have_the_moments(residual: str) -> None:
    m = general(2, residual)
    x, k = m.sample(200_000, seed=3)
    z = (np.bincount(k) - len(k) * m.weights) / np.sqrt(len(k) * m.weights * (1 - m.weights))
    assert np.abs(z).max() < 4
    for c in range(3):
        rows = x[k == c] - m.means[c]
        n, s = len(rows), m.covariance(c)
        error = np.sqrt((s**2 + np.outer(s.diagonal(), s.diagonal())) / n) + 1e-12
        assert np.abs((rows.T @ rows / n - s) / error).max() < 5
        # planted: the covariance of another class is rejected
        other = m.covariance((c + 1) % 3)
        assert np.abs((rows.T @ rows / n - other) / error).max() > 50


def test_energy_of_the_paper_s_model() -> None:
    m = LowRankMixture.random(50, 5, 3, delta=0.2, seed=0)
    x, _ = m.sample(100_000, seed=1)
    energy = (x**2).sum(axis=1)
    z = (energy.mean() - 5 * (1 + 2 * 0.04)) / (energy.std() / np.sqrt(len(x)))
    assert abs(z) < 4


@given(st.floats(5, 90), st.integers(1, 3), st.integers(2, 4), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_random_subspaces_have_the_angle(angle: float, rank: int, classes: int, seed: int) -> None:
    m = LowRankMixture.random(14, rank, classes, angle=angle, seed=seed)
    for l in range(1, classes):
        np.testing.assert_allclose(m.principal_angles(0, l), angle, atol=1e-6)


def test_compression_keeps_what_tells_classes_apart() -> None:
    m = general(3)
    small, frame, centre = m.compress()
    np.testing.assert_allclose(frame.T @ frame, np.eye(small.dim), atol=1e-12)
    for k in range(3):
        np.testing.assert_allclose(frame @ small.covariance(k) @ frame.T, m.covariance(k),
                                   atol=1e-10)  # fmt: skip
        np.testing.assert_allclose(frame @ small.means[k] + centre, m.means[k], atol=1e-12)


def likelihood(m: LowRankMixture, x: np.ndarray) -> float:
    parts = []
    for k, weight in enumerate(m.weights):
        s = m.covariance(k)
        gap = x - m.means[k]
        quadratic = (gap * np.linalg.solve(s, gap.T).T).sum(axis=1)
        parts.append(np.log(weight) - 0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * s)[1]))
    return float(np.logaddexp.reduce(parts).mean())


def test_fitting_recovers_planted_subspaces() -> None:
    world = LowRankMixture.random(12, 2, 3, delta=0.1, seed=4, residual="ambient")
    x, _ = world.sample(3000, seed=5)
    found = LowRankMixture.fit(x, 3, 2, seed=6)
    angles = []
    for basis in world.bases:
        overlaps = [np.linalg.svd(basis.T @ b)[1].min() for b in found.bases]
        angles.append(np.degrees(np.arccos(min(max(overlaps), 1.0))))
    assert max(angles) < 2
    assert abs(found.delta - 0.1) < 0.003
    assert likelihood(found, x) > likelihood(world, x) - 1e-9
    one = LowRankMixture.fit(x, 3, 2, seed=6, restarts=1, iterations=3)
    assert likelihood(found, x) >= likelihood(one, x)


def test_the_likelihood_never_falls() -> None:
    from hierdiff._fitting import EM, fit

    x, _ = general(4, "ambient").sample(400, seed=0)
    for means in (False, True):
        found = fit(x, EM(3, 2, means, 200, 1e-9), 1, np.random.default_rng(1))
        assert np.diff(found.log_likelihood).min() > -1e-9
        assert len(found.log_likelihood) > 3


def test_fitting_few_data_and_means() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((9, 40))
    found = LowRankMixture.fit(x, 2, 3, seed=0)
    assert found.ranks == (3, 3)
    assert np.isfinite(found.delta)
    assert found.delta > 0
    shifted, _ = LowRankMixture(
        [np.eye(5)[:, :1]] * 2, means=[[4, 0, 0, 0, 0], [-4, 0, 0, 0, 0]], delta=0.2,
        residual="ambient",
    ).sample(500, seed=1)  # fmt: skip
    found = LowRankMixture.fit(shifted, 2, 1, seed=2, with_means=True)
    assert np.allclose(sorted(found.means[:, 0]), [-4, 4], atol=0.3)


def test_files(tmp_path: Path) -> None:
    m = general(5)
    m.save(tmp_path / "m.npz")
    again = LowRankMixture.load(tmp_path / "m.npz")
    for k in range(3):
        np.testing.assert_array_equal(again.bases[k], m.bases[k])
        np.testing.assert_array_equal(again.variances[k], m.variances[k])
    np.testing.assert_array_equal(again.means, m.means)
    assert again.delta == m.delta
    assert again.residual == m.residual
    raw = (tmp_path / "m.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DamagedFile) as error:
        LowRankMixture.load(tmp_path / "cut.npz")
    assert one_line(error)


def test_bad_input_is_one_line() -> None:
    eye = np.eye(3)
    ok = LowRankMixture([eye[:, :1], eye[:, 1:2]])
    data = np.ones((5, 3)) * np.arange(5)[:, None]
    holed = data.copy()
    holed[2, 1] = np.nan
    cases = {
        "not orthonormal": lambda: LowRankMixture([2 * eye[:, :1]]),
        "orthonormalise": lambda: LowRankMixture([eye + 0.1]),
        "above the dimension": lambda: LowRankMixture([np.ones((2, 3))]),
        "bases is empty": lambda: LowRankMixture([]),
        "of one dimension": lambda: LowRankMixture([eye[:, :1], np.eye(2)[:, :1]]),
        "must be >= 0; drop the class": lambda: LowRankMixture([eye[:, :1]] * 2, [1.5, -0.5]),
        "not 1; divide": lambda: LowRankMixture([eye[:, :1]] * 2, [0.5, 0.4]),
        "squared lengths": lambda: LowRankMixture([eye[:, :1]], variances=[[-1.0]]),
        "delta = -1": lambda: LowRankMixture([eye[:, :1]], delta=-1),
        "is unknown": lambda: LowRankMixture([eye[:, :1]], residual="void"),
        "one row per class": lambda: LowRankMixture([eye[:, :1]], means=[[0.0]]),
        "holds NaN": lambda: LowRankMixture([eye[:, :1] * np.nan]),
        "n = 0": lambda: ok.sample(0, 0),
        "one rank per class": lambda: LowRankMixture.random(3, 4, 2, seed=0),
        "raise dim": lambda: LowRankMixture.random(3, 2, 2, seed=0),
        "(0, 90]": lambda: LowRankMixture.random(9, 2, 2, angle=120.0, seed=0),
        "linearly dependent": lambda: orthonormalise([np.ones((3, 2))]),
        "empty or no matrix": lambda: LowRankMixture.fit(np.empty((0, 3)), 1, 1, seed=0),
        "data[2, 1] = nan": lambda: LowRankMixture.fit(holed, 1, 1, seed=0),
        "cannot fill K = 9": lambda: LowRankMixture.fit(data, 9, 1, seed=0),
        "between 1 and D - 1": lambda: LowRankMixture.fit(data, 1, 3, seed=0),
        "restarts = 0": lambda: LowRankMixture.fit(data, 1, 1, seed=0, restarts=0),
        "all zero": lambda: LowRankMixture.fit(0 * data, 1, 1, seed=0),
    }
    for words, call in cases.items():
        with pytest.raises(InvalidParameter) as error:
            call()
        assert words in one_line(error), words


def test_orthonormalising_keeps_the_subspace() -> None:
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((6, 2))
    (found,) = orthonormalise([basis])
    np.testing.assert_allclose(found.T @ found, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(found @ found.T @ basis, basis, atol=1e-12)
