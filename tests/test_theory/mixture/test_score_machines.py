"""Linear, local and equivariant machines against pixel loops, and the identities between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line
from scipy import integrate

from hierdiff.data.low_rank_mixture import LowRankMixture
from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture.memorisation import empirical_denoise, empirical_score
from hierdiff.theory.mixture.posterior import denoise
from hierdiff.theory.mixture.score_machines import (
    GaussianModel,
    equivariant_denoise,
    equivariant_local_denoise,
    fit_gaussian,
    linear_denoise,
    linear_score,
    linear_trajectory,
    local_denoise,
    score_of,
)

Array = np.ndarray[Any, Any]
MACHINES = {"LS": local_denoise, "ELS": equivariant_local_denoise}


def images(n: int, shape: tuple[int, ...], seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, *shape))
    return data, data[:3] + 0.6 * rng.standard_normal((min(n, 3), *shape))


def window(image: Array, row: int, column: int, radius: int, boundary: str) -> Array:
    """Pixels around one pixel, one by one."""
    height, width = image.shape[:2]
    out = []
    for i in range(row - radius, row + radius + 1):
        for j in range(column - radius, column + radius + 1):
            if boundary == "periodic":
                out.append(image[i % height, j % width])
            elif 0 <= i < height and 0 <= j < width:
                out.append(image[i, j])
            else:
                out.append(np.zeros(image.shape[2]))
    return np.concatenate(out)


def machine(
    data: Array, x: Array, sigma: float, radius: int, boundary: str, equivariant: bool
) -> Array:
    """LS or ELS with one loop per pixel and candidate; images [n, H, W, C]."""
    places = list(np.ndindex(data.shape[1:3]))
    out = np.zeros_like(x)
    for b, image in enumerate(x):
        for p in places:
            seen = window(image, *p, radius, boundary)
            logits, values = [], []
            for y in data:
                for q in places if equivariant else [p]:
                    gap = seen - window(y, *q, radius, boundary)
                    logits.append(-(gap @ gap) / (2 * sigma**2))
                    values.append(y[q])
            w = np.exp(np.array(logits) - max(logits))
            out[b][p] = (w / w.sum()) @ np.array(values)
    return out


# --- local machines -------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
@pytest.mark.parametrize(("shape", "radius"), [((3, 4, 1), 1), ((5, 5, 2), 2), ((4, 3, 3), 0)])
@pytest.mark.parametrize("name", MACHINES)
def test_machines_by_loops_over_pixels(
    name: str, shape: tuple[int, ...], radius: int, boundary: Any
) -> None:
    data, x = images(4, shape)
    wanted = machine(data, x, 0.8, radius, boundary, name == "ELS")
    for block in (None, 1, 3):
        found = MACHINES[name](data, x, 0.8, radius=radius, boundary=boundary, block=block)
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


def test_full_window_is_the_empirical_denoiser() -> None:
    """A26."""
    data, x = images(20, (5, 4))
    wanted = empirical_denoise(data.reshape(20, -1), x.reshape(3, -1), 0.9).reshape(x.shape)
    found = local_denoise(data, x, 0.9, radius=4, boundary="zero")
    assert np.abs(found - wanted).max() < 2e-14
    assert np.abs(local_denoise(data, x, 0.9, radius=3) - wanted).max() > 1e-4
    data, x = images(20, (5, 5))
    wanted = empirical_denoise(data.reshape(20, -1), x.reshape(3, -1), 0.9).reshape(x.shape)
    found = local_denoise(data, x, 0.9, radius=2, boundary="periodic")
    assert np.abs(found - wanted).max() < 2e-14


def orbit(data: Array) -> Array:
    """All translations on the torus."""
    shifts = np.ndindex(data.shape[1:3])
    return np.concatenate([np.roll(data, shift, axis=(1, 2)) for shift in shifts])


@pytest.mark.parametrize("shape", [(5, 5), (4, 3), (3, 3, 2)])
@pytest.mark.parametrize("sigma", [0.05, 0.9, 20.0])
def test_equivariant_machine_is_the_empirical_denoiser_of_the_orbit(
    shape: tuple[int, ...], sigma: float
) -> None:
    data, x = images(6, shape)
    every = orbit(data)
    flat = empirical_denoise(every.reshape(len(every), -1), x.reshape(3, -1), sigma)
    for block in (None, 1, 4):
        found = equivariant_denoise(data, x, sigma, block=block)
        np.testing.assert_allclose(found, flat.reshape(x.shape), atol=1e-11)
    if shape == (5, 5):
        both = equivariant_local_denoise(data, x, sigma, radius=2, boundary="periodic")
        np.testing.assert_allclose(both, flat.reshape(x.shape), atol=1e-11)


def test_radius_zero_is_a_softmax_per_pixel_over_all_pixels() -> None:
    data, x = images(6, (4, 5))
    pixels = data.reshape(-1, 1)
    wanted = empirical_denoise(pixels, x.reshape(-1, 1), 0.5).reshape(x.shape)
    for boundary in ("zero", "periodic"):
        found = equivariant_local_denoise(data, x, 0.5, radius=0, boundary=boundary)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, wanted, rtol=1e-13)
    own = [
        empirical_denoise(data[:, i, j, None], x[:, i, j, None], 0.5)[:, 0]
        for i, j in np.ndindex(4, 5)
    ]
    found = local_denoise(data, x, 0.5, radius=0)
    np.testing.assert_allclose(found.reshape(3, -1).T, own, rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    shift=st.tuples(st.integers(-5, 5), st.integers(-5, 5)),
    radius=st.integers(0, 2),
    sigma=st.floats(0.1, 5),
    seed=st.integers(0, 10**6),
)
def test_translations(shift: tuple[int, int], radius: int, sigma: float, seed: int) -> None:
    """A26: ELS commutes with shifts; LS does not, unless the data move along."""
    data, x = images(3, (5, 6), seed)
    x = np.concatenate([x, x])

    def roll(array: Array) -> Array:
        return np.roll(array, shift, axis=(1, 2))

    for call in (
        lambda y: equivariant_local_denoise(data, y, sigma, radius=radius, boundary="periodic"),
        lambda y: equivariant_denoise(data, y, sigma),
    ):
        assert np.abs(call(roll(x)) - roll(call(x))).max() < 1e-11
    moved = local_denoise(roll(data), roll(x), sigma, radius=radius, boundary="periodic")
    still = local_denoise(data, x, sigma, radius=radius, boundary="periodic")
    assert np.abs(moved - roll(still)).max() < 1e-11


def test_only_the_equivariant_machines_on_the_torus_commute_with_shifts() -> None:
    data, x = images(3, (5, 5))
    rolled = np.roll(x, 1, axis=1)
    for call in (
        lambda y: local_denoise(data, y, 0.5, radius=1, boundary="periodic"),
        lambda y: equivariant_local_denoise(data, y, 0.5, radius=1, boundary="zero"),
    ):
        assert np.abs(call(rolled) - np.roll(call(x), 1, axis=1)).max() > 1e-3


def test_locality_a_far_pixel_changes_nothing_and_creates_what_no_datum_holds() -> None:
    data, x = images(8, (6, 6))
    other = x.copy()
    other[:, 5, 5] += 3
    for call in MACHINES.values():
        change = call(data, other, 0.7, radius=1) - call(data, x, 0.7, radius=1)
        assert np.abs(change[:, :4, :4]).max() == 0
        assert np.abs(change[:, 5, 5]).max() > 0
    # two data, noise-free halves of each: the local machine joins them, the empirical one cannot
    two = np.stack([np.zeros((1, 6)), np.ones((1, 6))])
    mosaic = np.array([[[0.0, 0, 0, 1, 1, 1]]])
    np.testing.assert_allclose(local_denoise(two, mosaic, 0.1, radius=0), mosaic, atol=1e-12)
    flat = empirical_denoise(two.reshape(2, 6), mosaic.reshape(1, 6), 0.1)
    np.testing.assert_allclose(flat, 0.5)


@pytest.mark.parametrize("name", MACHINES)
def test_streams_precision_scale_and_channels(name: str) -> None:
    data, x = images(7, (4, 4))
    call = MACHINES[name]
    wanted = call(data, x, 0.6, radius=1)
    stream = (data[i : i + 3] for i in range(0, 7, 3))
    np.testing.assert_allclose(call(stream, x, 0.6, radius=1), wanted, rtol=1e-12)
    np.testing.assert_allclose(call(data, 0.3 * x, 0.6, radius=1, scale=0.3), wanted, rtol=1e-12)
    np.testing.assert_allclose(
        call(data[..., None], x[..., None], 0.6, radius=1)[..., 0], wanted, rtol=1e-13
    )
    single = call(data, x.astype(np.float32), 0.6, radius=1)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, wanted, atol=1e-4)


def test_score_of_a_denoiser() -> None:
    data, x = images(9, (3, 3))
    flat, y = data.reshape(9, -1), x.reshape(3, -1)
    mean = empirical_denoise(flat, y, 0.8, scale=0.7)
    found = score_of(mean, y, 0.8, scale=0.7)
    np.testing.assert_allclose(found, empirical_score(flat, y, 0.8, scale=0.7), rtol=1e-12)
    # the form of the paper, on the VP clock
    alpha_bar = 1 / (1 + 0.8**2)
    form = (np.sqrt(alpha_bar) * mean - y) / (1 - alpha_bar)
    np.testing.assert_allclose(score_of(mean, y, 0.8, scale=np.sqrt(alpha_bar)), form, rtol=1e-12)


# --- the linear machine ---------------------------------------------------------------------------


def gaussian(seed: int = 0, rank: int = 3, dim: int = 5) -> GaussianModel:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((dim, rank)))[0].T
    return GaussianModel(rng.standard_normal(dim), axes, rng.exponential(1.0, rank))


def test_linear_machine_is_the_mixture_of_one_class() -> None:
    model = gaussian()
    mixture = LowRankMixture([model.axes.T], variances=[model.eigenvalues], means=model.mean[None])
    x = np.random.default_rng(1).standard_normal((6, 5))
    found = linear_denoise(model, x, 0.7, scale=0.4)
    np.testing.assert_allclose(found, denoise(mixture, x, 0.7, scale=0.4), rtol=1e-12)
    covariance = (model.axes.T * model.eigenvalues) @ model.axes
    wiener = covariance @ np.linalg.inv(covariance + 0.49 * np.eye(5))
    dense = model.mean + (x - model.mean) @ wiener
    np.testing.assert_allclose(linear_denoise(model, x, 0.7), dense, rtol=1e-12)
    np.testing.assert_allclose(linear_score(model, x, 0.7), (dense - x) / 0.49, rtol=1e-11)
    assert linear_denoise(model, x.astype(np.float32), 0.7).dtype == np.float32


def test_fit_is_the_best_linear_denoiser_of_the_data() -> None:
    rng = np.random.default_rng(2)
    data = rng.standard_normal((40, 6)) @ rng.standard_normal((6, 6)) + 1
    model = fit_gaussian(data)
    dense = (model.axes.T * model.eigenvalues) @ model.axes
    np.testing.assert_allclose(dense, np.cov(data.T, bias=True), rtol=1e-10, atol=1e-12)
    few = fit_gaussian(data[:4])
    assert few.axes.shape == (3, 6)
    # high noise: the empirical denoiser is linear, up to O(1 / sigma^3)
    x = 300 * rng.standard_normal((5, 6))
    gap = empirical_denoise(data, x, 300.0) - linear_denoise(model, x, 300.0)
    assert np.abs(gap).max() < 0.03 * np.abs(empirical_denoise(data, x, 300.0) - model.mean).max()


def test_trajectory_known_in_advance() -> None:
    """A22."""
    flow = GaussianModel(np.zeros(3), np.eye(3), np.array([4.0, 1.0, 0.04]))
    found = linear_trajectory(flow, [[10.0, -20.0, 5.0]], 10.0, 0.01)
    wanted = [[1.961185865746, -1.990173881652, 0.100104902994]]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_trajectory_solves_the_flow() -> None:
    model, levels = gaussian(), [5.0, 1.0, 0.2]
    x = np.random.default_rng(3).standard_normal((1, 5)) * 8

    def velocity(sigma: float, y: Array) -> Array:
        return np.asarray((y - linear_denoise(model, y[None], sigma)[0]) / sigma)

    found = linear_trajectory(model, x, 8.0, levels)
    assert found.shape == (3, 1, 5)
    for stop, end in zip(levels, found, strict=True):
        solved = integrate.solve_ivp(velocity, (8.0, stop), x[0], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(end[0], solved.y[:, -1], rtol=1e-7, atol=1e-8)
    back = linear_trajectory(model, found[2], 0.2, 8.0)
    np.testing.assert_allclose(back, x, rtol=1e-11)
    # at level 0 it lies on the support
    end = linear_trajectory(model, x, 8.0, 0.0) - model.mean
    np.testing.assert_allclose(end, end @ model.axes.T @ model.axes, atol=1e-13)


# --- bad input ------------------------------------------------------------------------------------

DATA, X = images(4, (4, 6))
HOLED = DATA.copy()
HOLED[2, 1, 1] = np.nan
FLOW = gaussian()
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: local_denoise(DATA, X, 1.0, radius=2, boundary="periodic"), "a patch of 5 pixels"),
    (
        lambda: local_denoise(DATA, X, 1.0, radius=6),
        "radius = 6 must be a whole number from 0 to 5",
    ),
    (lambda: equivariant_local_denoise(DATA, X, 1.0, radius=6), "a patch of 13 pixels"),
    (lambda: local_denoise(DATA, X, 1.0, radius=-1), "radius = -1"),
    (lambda: local_denoise(DATA, X, 1.0, radius=0.5), "radius = 0.5"),  # type: ignore[arg-type]
    (lambda: local_denoise(DATA, X, 1.0, radius=1, boundary="mirror"), "boundary = 'mirror'"),  # type: ignore[arg-type]
    (lambda: local_denoise(DATA, X, 0.0, radius=1), "sigma = 0.0"),
    (lambda: local_denoise(DATA, X, 1.0, radius=1, scale=-1.0), "scale = -1.0"),
    (lambda: local_denoise(DATA, X, 1.0, radius=1, block=0), "block = 0"),
    (lambda: local_denoise(DATA[:0], X, 1.0, radius=1), "data are empty"),
    (lambda: local_denoise(DATA[:, :3], X, 1.0, radius=1), "do not fit"),
    (lambda: local_denoise(HOLED, X, 1.0, radius=1), "hold NaN"),
    (lambda: equivariant_local_denoise(HOLED, X, 1.0, radius=1), "hold NaN"),
    (lambda: equivariant_denoise(HOLED, X, 1.0), "hold NaN"),
    (lambda: equivariant_denoise(DATA, HOLED, 1.0), "x holds NaN"),
    (lambda: equivariant_denoise(DATA, X[0], 1.0), "x has shape (4, 6)"),
    (lambda: equivariant_denoise(DATA, X[:0], 1.0), "non-empty"),
    (lambda: score_of(X, X[0], 1.0), "one shape"),
    (lambda: score_of(X, X, -1.0), "sigma = -1.0"),
    (lambda: GaussianModel(np.zeros(3), np.eye(2), np.ones(2)), "shapes"),
    (lambda: GaussianModel(np.zeros(2), 2 * np.eye(2), np.ones(2)), "orthonormal"),
    (lambda: GaussianModel(np.zeros(2), np.eye(2), -np.ones(2)), "eigenvalues as low as -1"),
    (lambda: GaussianModel(np.full(2, np.nan), np.eye(2), np.ones(2)), "holds nan"),
    (lambda: fit_gaussian(np.ones((1, 3))), "N = 1"),
    (lambda: linear_denoise(FLOW, np.ones((2, 4)), 1.0), "x has shape (2, 4)"),
    (lambda: linear_denoise(FLOW, np.ones((2, 5)), 0.0), "sigma = 0.0"),
    (lambda: linear_denoise(FLOW, np.ones((2, 5)), 1.0, scale=0.0), "scale = 0.0"),
    (lambda: linear_trajectory(FLOW, np.ones((2, 5)), 1.0, -1.0), "stop holds -1.0"),
    (lambda: linear_trajectory(FLOW, np.ones((2, 5)), 0.0, 1.0), "sigma = 0.0"),
]


@pytest.mark.parametrize(("call", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_is_one_clear_line(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        call()
    assert words in one_line(error)


@pytest.mark.parametrize("offset", [1e3, 1e6])
@pytest.mark.parametrize("name", ["LS", "ELS", "ES"])
def test_a_constant_added_to_all_images_is_without_effect(name: str, offset: float) -> None:
    rng = np.random.default_rng(0)
    data = np.round(rng.standard_normal((6, 5, 4)) * 64) / 64
    x = data[:2] + 0.25
    machine = {
        "LS": lambda d, y: local_denoise(d, y, 0.5, radius=1, boundary="periodic"),
        "ELS": lambda d, y: equivariant_local_denoise(d, y, 0.5, radius=1, boundary="periodic"),
        "ES": lambda d, y: equivariant_denoise(d, y, 0.5),
    }[name]
    found = machine(data + offset, x + offset) - offset
    np.testing.assert_allclose(found, machine(data, x), atol=32 * np.finfo(float).eps * offset)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e8])
def test_linear_machines_with_an_offset_and_at_small_noise(offset: float, dtype: type) -> None:
    step = 8.0 if dtype is np.float32 and offset > 1e6 else 1 / 64
    rng = np.random.default_rng(1)
    data = np.round(rng.standard_normal((40, 3)) * 20 / step) * step
    x = data[:4]
    plain, moved = fit_gaussian(data), fit_gaussian((data + offset).astype(dtype))
    np.testing.assert_allclose(moved.eigenvalues, plain.eigenvalues, rtol=1e-7)
    for sigma in (1e-100, 1e-9, 0.5, 30.0):
        wanted = linear_score(plain, x, sigma)
        found = linear_score(moved, (x + offset).astype(dtype), sigma)
        precision = 1 / (plain.eigenvalues[-1] + sigma**2)
        loose = 8 * np.finfo(dtype).eps * np.abs(wanted).max() + 1e-7 * precision
        np.testing.assert_allclose(found, wanted, atol=loose)
        found = linear_denoise(moved, (x + offset).astype(dtype), sigma)
        np.testing.assert_allclose(found, linear_denoise(plain, x, sigma) + offset,
                                   rtol=2 * np.finfo(dtype).eps, atol=1e-6)  # fmt: skip


def test_what_a_gaussian_keeps_is_nobody_else_s() -> None:
    mean, axes, variances = np.zeros(2), np.eye(2), np.ones(2)
    model = GaussianModel(mean, axes, variances)
    before = linear_denoise(model, [[1.0, 2.0]], 1.0)
    mean += 5
    axes[:] = axes[::-1].copy()
    variances *= 9
    np.testing.assert_array_equal(linear_denoise(model, [[1.0, 2.0]], 1.0), before)
    with pytest.raises(ValueError, match="read-only"):
        model.mean[0] = 1
