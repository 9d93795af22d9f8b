"""Mixtures: covariances, sampling, angles, fitting, files, and what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.data.subspaces import orthonormalise
from hierdiff.errors import DamagedFile, InvalidParameter, NotConverged
from hierdiff.theory.mixture.posterior import class_posterior


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
    with pytest.warns(NotConverged, match="iterations = 3 while the log-likelihood still grew"):
        one = LowRankMixture.fit(x, 3, 2, seed=6, restarts=1, iterations=3)
    assert likelihood(found, x) >= likelihood(one, x)


def test_the_likelihood_never_falls() -> None:
    from hierdiff.data.low_rank_mixture import EM, fit

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


def purity(found: LowRankMixture, x: np.ndarray, k: np.ndarray) -> float:
    """Share of data whose most probable fitted class has their own class as its majority."""
    label = class_posterior(found, x, 1e-6).argmax(axis=1)
    return sum(np.bincount(k[label == c]).max() for c in np.unique(label)) / len(k)


@pytest.mark.parametrize("distance", [8.0, 30.0, 100.0])
def test_means_are_found_from_spread_starts(distance: float) -> None:
    """K = 2, rank 1, D = 3: all starts at the mean of the data end at purity .5 and -4.9 nats."""
    from sklearn.mixture import GaussianMixture

    means = np.array([[distance / 2, 0, 0], [-distance / 2, 0, 0]])
    bases = [np.eye(3)[:, [0]], np.eye(3)[:, [1]]]
    truth = LowRankMixture(bases, means=means, delta=0.25, residual="ambient")
    x, k = truth.sample(2000, seed=0)
    found = LowRankMixture.fit(x, 2, 1, seed=1, with_means=True)
    assert purity(found, x, k) == 1.0
    assert np.abs(np.sort(found.means[:, 0]) - np.sort(means[:, 0])).max() < 0.1
    assert abs(found.delta - 0.25) < 0.01
    assert likelihood(found, x) > likelihood(truth, x)
    free = GaussianMixture(2, random_state=0).fit(x).score(x)
    # twelve covariance parameters against seven: chi-square / (2 N) above the constrained fit
    assert -1e-3 < free - likelihood(found, x) < 20 / (2 * len(x))
    # planted: the fit with all means at zero is what spread starts must not end at
    zero = LowRankMixture.fit(x, 2, 1, seed=1)
    assert likelihood(zero, x) < likelihood(found, x) - 1


def test_long_parallel_classes_are_found_too() -> None:
    """Where k-means would cut across: lines of length 20 at distance 2."""
    truth = LowRankMixture(
        [np.eye(4)[:, :1]] * 2, variances=[[100.0]] * 2, delta=0.2, residual="ambient",
        means=[[0, 1, 0, 0], [0, -1, 0, 0]],
    )  # fmt: skip
    x, k = truth.sample(1000, seed=3)
    found = LowRankMixture.fit(x, 2, 1, seed=4, with_means=True)
    assert purity(found, x, k) == 1.0


@pytest.mark.parametrize("with_means", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        np.random.default_rng(0).standard_normal((3, 3)),
        np.repeat(np.random.default_rng(1).standard_normal((3, 4)), 5, axis=0),  # duplicates
        np.outer(np.arange(1.0, 9), [1, 2, 0.5]),  # collinear
        np.c_[np.random.default_rng(2).standard_normal((20, 2)), np.full(20, 0.1)],  # constant
        np.r_[np.random.default_rng(3).standard_normal((20, 3)), [[1e6, 0, 0]]],  # an outlier
        np.random.default_rng(4).standard_normal((4, 30)),  # fewer data than dimensions
    ],
    ids=["three points", "duplicates", "collinear", "constant", "outlier", "few"],
)
def test_the_floor_of_the_residual_holds_whatever_happens(
    data: np.ndarray, with_means: bool
) -> None:
    for unit in (1.0, 1e6, 1e-6, 1e60):
        found = LowRankMixture.fit(unit * data, 3, 1, seed=0, with_means=with_means)
        x = unit * data
        variance = np.mean((x - x.mean(0)) ** 2) if with_means else np.mean(x**2)
        assert found.delta**2 >= 1e-6 * variance
        limit = found.delta**2 * (1 - 1e-12)  # a root and its square
        assert all(np.isfinite(v).all() and (v >= limit).all() for v in found.variances)


@pytest.mark.parametrize("with_means", [False, True])
@pytest.mark.parametrize("unit", [1e6, 1e-6, 3.0])
def test_a_fit_follows_the_units(with_means: bool, unit: float) -> None:
    x, _ = general(4, "ambient").sample(300, seed=0)
    one = LowRankMixture.fit(x, 2, 2, seed=0, with_means=with_means, tolerance=1e-5)
    other = LowRankMixture.fit(unit * x, 2, 2, seed=0, with_means=with_means, tolerance=1e-5)
    np.testing.assert_allclose(other.delta, unit * one.delta, rtol=1e-6)
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-6)
    np.testing.assert_allclose(other.means, unit * one.means, rtol=1e-6, atol=1e-9 * unit)
    for k in range(2):
        np.testing.assert_allclose(other.covariance(k), unit**2 * one.covariance(k),
                                   atol=1e-6 * unit**2)  # fmt: skip


def test_a_fit_with_means_follows_a_shift() -> None:
    x, _ = general(4, "ambient").sample(300, seed=0)
    one = LowRankMixture.fit(x, 3, 2, seed=0, with_means=True, tolerance=1e-5)
    other = LowRankMixture.fit(x + 1e6, 3, 2, seed=0, with_means=True, tolerance=1e-5)
    np.testing.assert_allclose(other.means - 1e6, one.means, atol=1e-6)
    np.testing.assert_allclose(other.delta, one.delta, rtol=1e-6)


def rotated(m: LowRankMixture, seed: int) -> LowRankMixture:
    """The same mixture, its spectrum replaced by another choice of eigenvectors."""
    from dataclasses import replace

    rng, s = np.random.default_rng(seed), m.spectrum
    turn = [np.linalg.qr(rng.standard_normal((p.shape[1], p.shape[1])))[0] for p in s.private]
    private = tuple(p @ q for p, q in zip(s.private, turn, strict=True))
    axes = s.axes.copy()
    for k, values in enumerate(s.eigenvalues):
        for value in np.unique(values.round(9)):  # rotate inside each degenerate eigenspace
            here = np.flatnonzero(np.abs(values - value) < 1e-8)
            q = np.linalg.qr(rng.standard_normal((len(here), len(here))))[0]
            axes[k, here] = q @ axes[k, here]
    again = LowRankMixture(m.bases, m.weights, m.variances, m.delta, m.residual, m.means)
    again.__dict__["spectrum"] = replace(s, axes=axes, private=private)
    return again


@pytest.mark.parametrize("residual", ["span", "ambient"])
@pytest.mark.parametrize("kind", ["orthogonal", "angle", "overlapping", "unequal"])
def test_no_choice_of_eigenvectors_enters_a_sample(kind: str, residual: str) -> None:
    """Linear-algebra libraries differ in the basis of a degenerate eigenspace; draws must not."""
    m = {
        "orthogonal": lambda: LowRankMixture.random(12, 3, 3, delta=0.3, seed=0, residual=residual),
        "angle": lambda: LowRankMixture.random(
            12, 3, 3, delta=0.3, angle=50.0, seed=0, residual=residual
        ),
        "overlapping": lambda: LowRankMixture(
            [np.eye(6)[:, :3], np.eye(6)[:, 2:5]], delta=0.3, residual=residual
        ),
        "unequal": lambda: general(3, residual),
    }[kind]()
    x, k = m.sample(50, seed=1)
    y, l = rotated(m, 5).sample(50, seed=1)
    assert (k == l).all()
    np.testing.assert_allclose(y, x, atol=1e-10)


def test_an_orthonormal_basis_is_kept_as_given() -> None:
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((9, 6)))[0]
    m = LowRankMixture([basis[:, :3], basis[:, 3:]], delta=0.2)
    np.testing.assert_array_equal(m.bases[0], basis[:, :3])
    np.testing.assert_array_equal(m.spectrum.axes[1], basis[:, 3:].T)
    np.testing.assert_array_equal(orthonormalise([basis])[0], basis)
    # the draw is the definition: U_k times the first numbers of the stream, and the residual
    x, k = m.sample(5, seed=3)
    rng = np.random.default_rng(3)
    assert (rng.choice(2, size=5, p=[0.5, 0.5]) == k).all()
    latent, noise = rng.standard_normal((5, 3)), 0.2 * rng.standard_normal((5, 6))
    for i in range(5):
        rest = basis @ noise[i]
        own = m.bases[k[i]]
        wanted = own @ latent[i] + rest - own @ (own.T @ rest)
        np.testing.assert_allclose(x[i], wanted, atol=1e-13)


def test_random_bases_have_the_positive_diagonal() -> None:
    """The only QR decomposition of its kind, so the library's sign convention does not enter."""
    m = LowRankMixture.random(8, 3, 2, angle=None, seed=5)
    rng = np.random.default_rng(5)
    for basis in m.bases:
        r = basis.T @ rng.standard_normal((8, 3))
        np.testing.assert_allclose(r, np.triu(r), atol=1e-12)
        assert (np.diagonal(r) > 0).all()
    frame = np.hstack(LowRankMixture.random(8, 3, 2, seed=6).bases)
    r = frame.T @ np.random.default_rng(6).standard_normal((8, 6))
    assert (np.diagonal(r) > 0).all()


def test_samples_do_not_depend_on_the_kernels_of_the_processor() -> None:
    code = (
        "from hierdiff import LowRankMixture as M; import numpy as np, sys;"
        "np.save(sys.stdout.buffer, np.stack([M.random(20, 5, 3, delta=.2, angle=a, seed=0,"
        "residual=r).sample(40, 1)[0] for a in (90., 60., None) for r in ('span', 'ambient')]))"
    )
    found = []
    for core in ("Haswell", "Prescott", "Nehalem"):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True,
            env={**os.environ, "OPENBLAS_CORETYPE": core},
        )  # fmt: skip
        found.append(np.load(io.BytesIO(run.stdout)))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-12)


def test_what_is_kept_is_nobody_else_s() -> None:
    basis, means, weights = np.eye(3)[:, :1].copy(), np.ones((2, 3)), np.array([0.5, 0.5])
    variances = np.ones(1)
    m = LowRankMixture([basis, basis], weights, [variances, variances], 0.1, "ambient", means)
    x = np.ones((1, 3))
    before = class_posterior(m, x, 0.5), m.sample(3, 0)[0]
    basis[:], means[:], weights[:], variances[:] = 7, [[5, 0, 0], [0, 0, 0]], [1, 0], 9
    again = LowRankMixture(m.bases, m.weights, m.variances, 0.1, "ambient", m.means)
    for one in (m, again):
        np.testing.assert_array_equal(class_posterior(one, x, 0.5), before[0])
        np.testing.assert_array_equal(one.sample(3, 0)[0], before[1])
    for array in (m.means, m.weights, m.bases[0], m.variances[1], m.spectrum.axes):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_ranks_of_any_integer_type() -> None:
    m = LowRankMixture.random(np.int16(300), np.uint8(100), np.uint8(3), delta=0.1, seed=0)
    assert m.ranks == (100, 100, 100)
    with pytest.raises(InvalidParameter, match="raise dim"):
        LowRankMixture.random(300, np.uint8(255), np.uint8(2), seed=0)
    x, _ = LowRankMixture.random(4, 1, 2, delta=0.3, seed=0).sample(50, 1)
    assert LowRankMixture.fit(x, np.uint8(2), np.uint8(1), seed=0).n_classes == 2
    with pytest.raises(InvalidParameter, match="between 1 and D - 1"):
        LowRankMixture.fit(x, 2, np.uint8(255), seed=0)


def test_compression_sees_directions_not_lengths() -> None:
    far = LowRankMixture([np.eye(5)[:, :1]] * 2, means=[[0, 1e13, 0, 0, 0], [0, 0, 1e-9, 0, 0]])
    assert far.compress()[0].dim == 2  # the centre lies between: one direction, and the basis
    near = LowRankMixture([np.eye(5)[:, :1]] * 2, means=np.full((2, 5), 1e8))
    assert near.compress()[0].dim == 1
    point = LowRankMixture([np.zeros((3, 0))], means=[[1.0, 2.0, 3.0]])
    assert point.compress()[0].dim == 1


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
        "must be one of 'span'": lambda: LowRankMixture([eye[:, :1]], residual="void"),
        "one row per class": lambda: LowRankMixture([eye[:, :1]], means=[[0.0]]),
        "holds nan at": lambda: LowRankMixture([eye[:, :1] * np.nan]),
        "n = 0": lambda: ok.sample(0, 0),
        "one rank per class": lambda: LowRankMixture.random(3, 4, 2, seed=0),
        "raise dim": lambda: LowRankMixture.random(3, 2, 2, seed=0),
        "masked array": lambda: LowRankMixture.fit(np.ma.masked_less(data, 1), 1, 1, seed=0),
        "complex": lambda: LowRankMixture.fit(data + 0j, 1, 1, seed=0),
        "type bool": lambda: LowRankMixture([eye[:, :1] > 0]),
        "of shape (2, 3)": lambda: LowRankMixture([eye[:, :1]] * 2, means=[1.0, 2.0]),
        "bases of type": lambda: LowRankMixture("ab"),
        "variances of type": lambda: LowRankMixture([eye[:, :1]], variances=1.0),
        "delta = 'a'": lambda: LowRankMixture([eye[:, :1]], delta="a"),
        "its square leaves": lambda: LowRankMixture([eye[:, :1]], delta=1e-200),
        "choose larger units": lambda: LowRankMixture([eye[:, :1]], means=[[1e200, 0, 0]]),
        "must lie in [0, 1e+200]": lambda: LowRankMixture([eye[:, :1]], variances=[[1e300]]),
        "data are all equal": lambda: LowRankMixture.fit(
            np.ones((5, 3)), 1, 1, seed=0, with_means=True
        ),
        "choose units": lambda: LowRankMixture.fit(1e-120 * data, 1, 1, seed=0),
        "classes = 1.5": lambda: LowRankMixture.fit(data, 1.5, 1, seed=0),
        "tolerance = nan": lambda: LowRankMixture.fit(data, 1, 1, seed=0, tolerance=np.nan),
        "n = 2.5": lambda: ok.sample(2.5, 0),
        "GB of memory": lambda: ok.sample(10**15, 0),
        "more than this machine has": lambda: LowRankMixture.random(10**9, 1, 10**6, seed=0),
        "k = 5": lambda: ok.covariance(5),
        "l = -1": lambda: ok.principal_angles(0, -1),
        "(0, 90]": lambda: LowRankMixture.random(9, 2, 2, angle=120.0, seed=0),
        "linearly dependent": lambda: orthonormalise([np.ones((3, 2))]),
        "empty or no matrix": lambda: LowRankMixture.fit(np.empty((0, 3)), 1, 1, seed=0),
        "data is NaN at [2, 1]": lambda: LowRankMixture.fit(holed, 1, 1, seed=0),
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
