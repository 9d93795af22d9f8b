"""The denoiser of a data set against direct sums; blocks, streams, precision, bad input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import one_line

from hierdiff.errors import InvalidParameter
from hierdiff.theory.mixture import softmax_averages
from hierdiff.theory.mixture.memorisation import (
    empirical_denoise,
    empirical_posterior,
    empirical_score,
    memorization_fraction,
    nearest_two,
    prepare,
)

Array = np.ndarray[Any, Any]


def direct(data: Array, x: Array, sigma: float) -> tuple[Array, Array, Array]:
    """Mean, log-density and weights by plain sums of exponentials, in extended precision."""
    data, x = data.astype(np.longdouble), x.astype(np.longdouble)
    square = ((x[:, None] - data) ** 2).sum(-1) / (2 * np.longdouble(sigma) ** 2)
    least = square.min(1, keepdims=True)
    weight = np.exp(least - square)
    mass = weight.sum(1, keepdims=True)
    volume = np.log(len(data)) + data.shape[1] * np.log(np.sqrt(2 * np.pi) * sigma)
    log_density = np.log(mass[:, 0]) - least[:, 0] - volume
    return (weight / mass) @ data, log_density, weight / mass


def sample(n: int = 37, dim: int = 5, seed: int = 0, queries: int = 9) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n, dim)) + 2
    return data, data[:queries] + 0.7 * rng.standard_normal((queries, dim))


# --- against the direct sum -----------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 0.7, 30.0, 1e4])
@pytest.mark.parametrize("block", [1, 2, 7, 36, 37, 38, 1000, None])
def test_every_block_size_equals_the_direct_sum(sigma: float, block: int | None) -> None:
    data, x = sample()
    mean, log_density, weight = direct(data, x, sigma)
    own = np.arange(len(x))
    found = empirical_posterior(data, x, sigma, block=block, own=own)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.log_density, log_density, rtol=1e-11)
    np.testing.assert_allclose(found.max_weight, weight.max(1), rtol=1e-7)
    np.testing.assert_array_equal(found.nearest, weight.argmax(1))
    assert found.own_weight is not None
    np.testing.assert_allclose(found.own_weight, weight[own, own], rtol=1e-6, atol=1e-300)
    gaps = np.linalg.norm(x - data[found.nearest], axis=1)
    np.testing.assert_allclose(found.distance, gaps, rtol=1e-14)
    np.testing.assert_allclose(empirical_denoise(data, x, sigma, block=block), found.mean)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 40),
    dim=st.integers(1, 6),
    block=st.integers(1, 50),
    log_sigma=st.floats(-3, 3),
    seed=st.integers(0, 10**6),
)
def test_direct_sum_on_random_sizes(
    n: int, dim: int, block: int, log_sigma: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    data, x, sigma = rng.standard_normal((n, dim)), rng.standard_normal((3, dim)), 10**log_sigma
    mean, log_density, _ = direct(data, x, sigma)
    found = empirical_posterior(data, x, sigma, block=block)
    np.testing.assert_allclose(found.mean, mean, atol=1e-8)
    np.testing.assert_allclose(found.log_density, log_density, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("weights", "cached"), [(1 << 22, 1 << 17), (640, 100), (1, 1)])
def test_batches_of_queries_and_one_far_query_do_not_disturb_each_other(
    weights: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax_averages, "_WEIGHTS", weights)
    monkeypatch.setattr(softmax_averages, "_CACHED", cached)
    data, _ = sample(150, 3)
    x = np.random.default_rng(1).standard_normal((130, 3))
    x[70] = 1e6  # its weights are dead for all but one datum
    found = empirical_posterior(data, x, 0.5, block=64, own=np.arange(130))
    mean, _, weight = direct(data, x, 0.5)
    np.testing.assert_allclose(found.mean, mean, atol=1e-9)
    np.testing.assert_array_equal(found.nearest, weight.argmax(1))
    assert found.own_weight is not None
    near = np.arange(130) != 70
    own = weight[np.arange(130), np.arange(130)]
    np.testing.assert_allclose(found.own_weight[near], own[near], rtol=1e-9)


def test_dead_weights_are_left_out_without_a_trace() -> None:
    rng = np.random.default_rng(2)
    data = np.vstack([rng.standard_normal((5, 4)), 1e3 + rng.standard_normal((500, 4))])
    x = rng.standard_normal((6, 4))
    alone = empirical_denoise(data[:5], x, 1.0)
    np.testing.assert_allclose(empirical_denoise(data, x, 1.0), alone, rtol=1e-13, atol=1e-15)
    mean = direct(data, x, 1.0)[0]
    np.testing.assert_allclose(empirical_denoise(data[::-1], x, 1.0), mean, rtol=1e-13)


def test_score_is_the_gradient_of_the_log_density() -> None:
    data, x = sample(20, 3)
    step, scale, sigma = 1e-5, 0.6, 0.8
    score = empirical_score(data, x, sigma, scale=scale)
    for axis in np.eye(3):
        ends = [
            empirical_posterior(data, x + sign * step * axis, sigma, scale=scale).log_density
            for sign in (1, -1)
        ]
        np.testing.assert_allclose(score @ axis, (ends[0] - ends[1]) / (2 * step), atol=1e-8)


def test_log_density_integrates_to_one() -> None:
    data = np.array([[-1.0], [0.5], [2.0]])
    grid = np.linspace(-15, 15, 4001)
    log_density = empirical_posterior(data, grid[:, None], 0.9, scale=1.7).log_density
    assert abs(np.trapezoid(np.exp(log_density), grid) - 1) < 1e-12


def test_limits_of_the_noise() -> None:
    data, x = sample()
    np.testing.assert_allclose(empirical_denoise(data, x, 1e6), [data.mean(0)] * len(x), atol=1e-9)
    assert (empirical_denoise(data, data, 1e-4) == data).all()
    far = empirical_posterior(data, x, 1e6, own=np.arange(len(x)))
    assert far.own_weight is not None
    np.testing.assert_allclose(far.own_weight, 1 / len(data), rtol=1e-9)


# --- where the data lie ---------------------------------------------------------------------------


def as_array(data: Array, path: Path) -> Any:
    return data


def as_memory_map(data: Array, path: Path) -> Any:
    np.save(path / "data.npy", data)
    return np.load(path / "data.npy", mmap_mode="r")


def as_hdf5(data: Array, path: Path) -> Any:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "data.h5", "w") as file:
        file["data"] = data
    return h5py.File(path / "data.h5")["data"]


def as_generator(data: Array, path: Path) -> Iterator[Array]:
    return (data[i : i + 11] for i in range(0, len(data), 11))


def as_uneven_list(data: Array, path: Path) -> list[Array]:
    return [data[:1], data[1:1], data[1:30], data[30:]]


def as_rows(data: Array, path: Path) -> list[list[float]]:
    return [list(row) for row in data]


SOURCES = [as_array, as_memory_map, as_hdf5, as_generator, as_uneven_list, as_rows]


@pytest.mark.parametrize("source", SOURCES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("block", [4, None])
def test_streams_equal_memory(
    source: Callable[[Array, Path], Any], block: int | None, tmp_path: Path
) -> None:
    data, x = sample()
    found = empirical_posterior(source(data, tmp_path), x, 0.4, block=block, own=np.arange(9))
    wanted = empirical_posterior(data, x, 0.4, own=np.arange(9))
    assert (found.nearest == wanted.nearest).all()
    np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-13)
    np.testing.assert_allclose(found.own_weight, wanted.own_weight, rtol=1e-12)
    np.testing.assert_allclose(
        nearest_two(source(data, tmp_path), x, block=block).distance, nearest_two(data, x).distance
    )


def test_a_stream_is_read_once_and_never_held() -> None:
    """Memory stays at one block: each block is gone when the next is asked for."""
    import weakref

    alive: list[weakref.ref[Array]] = []

    def stream() -> Iterator[Array]:
        for seed in range(6):
            assert sum(ref() is not None for ref in alive) <= 1
            block = np.random.default_rng(seed).standard_normal((50, 4))
            alive.append(weakref.ref(block))
            yield block
            del block

    assert np.isfinite(empirical_denoise(stream(), np.zeros((2, 4)), 1.0)).all()
    assert len(alive) == 6


def test_integer_pixels_are_read_in_the_precision_of_the_queries() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (30, 8), dtype=np.uint8)
    x = pixels[:4] + 9.0 * rng.standard_normal((4, 8))
    wanted = empirical_denoise(pixels.astype(float), x, 9.0)
    assert (empirical_denoise(pixels, x, 9.0) == wanted).all()


def test_prepared_data_are_the_data() -> None:
    data, x = sample(60)
    ready = prepare(data)
    assert (
        empirical_denoise(ready, x, 0.4, block=7) == empirical_denoise(data, x, 0.4, block=7)
    ).all()
    single = empirical_denoise(ready, x.astype(np.float32), 0.4)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, empirical_denoise(data, x, 0.4), atol=1e-4)
    assert (nearest_two(ready, x).index == nearest_two(data, x).index).all()
    assert memorization_fraction(ready, data) == 1


def test_high_noise_in_many_dimensions_needs_no_exact_differences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The length of a query is common to all data: it must not make their product look bad."""
    rng = np.random.default_rng(0)
    data = rng.uniform(-1, 1, (300, 3072)).astype(np.float32)
    pairs = []
    exact = softmax_averages.squared_gaps

    def counted(y: Array, rows: Array, i: Array, j: Array) -> Any:
        pairs.append(len(i))
        return exact(y, rows, i, j)

    monkeypatch.setattr(softmax_averages, "squared_gaps", counted)
    for sigma in (8.0, 10.0, 30.0):
        x = (data[:9] + sigma * rng.standard_normal((9, 3072))).astype(np.float32)
        mean, log_density, _ = direct(data, x, sigma)
        found = empirical_posterior(data, x, sigma)
        assert sum(pairs) < 3 * len(x), "only the nearest datum is decided by differences"
        np.testing.assert_allclose(found.mean, mean, atol=1e-4)
        np.testing.assert_allclose(found.log_density, log_density, rtol=1e-6)
        pairs.clear()
    empirical_denoise(data, (data[:9] + 0.1).astype(np.float32), 0.1)
    assert pairs, "at low noise they are needed"


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 3.0, 1e3])
def test_single_precision_is_kept_and_close(sigma: float) -> None:
    rng = np.random.default_rng(4)
    data = rng.standard_normal((400, 30)).astype(np.float32)
    x = (data[:20] + sigma * rng.standard_normal((20, 30))).astype(np.float32)
    for stored in (data, data.astype(float)):
        found = empirical_posterior(stored, x, sigma)
        mean, log_density, _ = direct(data, x, sigma)
        assert found.mean.dtype == np.float32
        np.testing.assert_allclose(found.mean, mean, atol=2e-4)
        np.testing.assert_allclose(found.log_density, log_density, rtol=1e-5, atol=1e-3)


# --- invariances ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    log_sigma=st.floats(-1, 1),
    factor=st.floats(0.1, 10),
    scale=st.floats(0.1, 5),
)
def test_invariances(seed: int, log_sigma: float, factor: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    data, x = rng.standard_normal((15, 4)), rng.standard_normal((5, 4))
    sigma, shift = 10**log_sigma, rng.standard_normal(4)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    mean = empirical_denoise(data, x, sigma)

    def same(other: Array) -> None:
        np.testing.assert_allclose(other, mean, atol=1e-10)

    same(empirical_denoise(data[rng.permutation(15)], x, sigma))
    same(empirical_denoise(np.vstack([data, data]), x, sigma))
    same(empirical_denoise(data @ turn, x @ turn, sigma) @ turn.T)
    same(empirical_denoise(data + shift, x + shift, sigma) - shift)
    same(empirical_denoise(data * factor, x * factor, sigma * factor) / factor)
    same(empirical_denoise(data, scale * x, sigma, scale=scale))
    same(empirical_denoise(np.hstack([data, 0 * data]), np.hstack([x, x]), sigma)[:, :4])
    assert (mean <= data.max(0) + 1e-12).all()
    assert (mean >= data.min(0) - 1e-12).all()


# --- copies ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 30), block=st.integers(1, 40))
def test_nearest_two_is_a_sort(seed: int, n: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    data, x = rng.standard_normal((n, 3)), rng.standard_normal((6, 3))
    gaps = np.linalg.norm(x[:, None] - data, axis=-1)
    found = nearest_two(data, x, block=block)
    order = gaps.argsort(1)[:, :2]
    np.testing.assert_array_equal(found.index, order)
    np.testing.assert_allclose(found.distance, np.take_along_axis(gaps, order, 1), rtol=1e-12)


def test_copies_are_found_far_below_the_rounding_of_the_squared_length() -> None:
    rng = np.random.default_rng(5)
    data = (1e3 + rng.standard_normal((50, 6))).astype(np.float32)
    samples = data[:10].copy()
    samples[:5, 0] += np.float32(1e-3)
    found = nearest_two(data, samples)
    np.testing.assert_array_equal(found.index[:, 0], np.arange(10))
    np.testing.assert_allclose(found.distance[:5, 0], samples[:5, 0] - data[:5, 0])
    assert (found.ratio[5:] == 0).all()
    assert memorization_fraction(data, samples) == 1


def test_memorised_fraction_counts_the_criterion() -> None:
    data = np.array([[0.0], [1.0]])
    assert memorization_fraction(data, [[0.249], [0.251], [0.5], [-5.0]]) == 0.25
    assert memorization_fraction(data, [[0.249], [0.251]], threshold=1.0) == 1
    population = np.random.default_rng(6).standard_normal((2, 500, 20))
    assert memorization_fraction(*population) == 0
    noisy = population[0] + 0.05 * population[1]
    assert memorization_fraction(population[0], noisy) == 1


# --- bad input ------------------------------------------------------------------------------------

DATA, X = sample()
HOLED = DATA.copy()
HOLED[7, 2] = np.nan

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: empirical_denoise(np.zeros((0, 5)), X, 1.0), "data are empty"),
    (lambda: empirical_denoise([], X, 1.0), "data are empty"),
    (lambda: empirical_denoise(iter([]), X, 1.0), "data are empty"),
    (lambda: empirical_denoise(HOLED, X, 1.0), "data[7] holds NaN"),
    (lambda: empirical_denoise(iter([DATA, HOLED]), X, 1.0), "data[44] holds NaN"),
    (lambda: empirical_denoise(DATA, HOLED, 1.0), "x[7] holds NaN"),
    (lambda: empirical_denoise(DATA, X, 0.0), "sigma = 0.0 must be finite and > 0"),
    (lambda: empirical_denoise(DATA, X, -1.0), "sigma = -1.0"),
    (lambda: empirical_denoise(DATA, X, np.nan), "sigma = nan"),
    (lambda: empirical_denoise(DATA, X, 1.0, scale=0.0), "scale = 0.0"),
    (lambda: empirical_denoise(DATA, X, 1.0, block=0), "block = 0"),
    (lambda: empirical_denoise(DATA, X[:, :3], 1.0), "do not fit"),
    (lambda: empirical_denoise(DATA[0], X, 1.0), "do not fit"),
    (lambda: empirical_denoise(DATA, X[0], 1.0), "x has shape (5,)"),
    (lambda: empirical_denoise(DATA, X[:0], 1.0), "non-empty"),
    (lambda: empirical_denoise(3.0, X, 1.0), "cannot be read"),
    (lambda: empirical_denoise(DATA, X.astype(np.float32), 1e-25), "overflows float32"),
    (lambda: empirical_posterior(DATA, X, 1.0, own=np.full(9, 37)), "numbers up to 37"),
    (lambda: empirical_posterior(DATA, X, 1.0, own=[0]), "own has shape (1,)"),
    (lambda: empirical_posterior(DATA, X, 1.0, own=np.full(9, -1)), "give integers in"),
    (lambda: empirical_score(DATA, X, 0.0), "sigma = 0.0"),
    (lambda: prepare(DATA[:0]), "data have shape (0, 5)"),
    (lambda: prepare(HOLED), "data[7] holds NaN"),
    (lambda: nearest_two(DATA[:1], X), "at least two"),
    (lambda: nearest_two(HOLED[7:9], X), "data[0] holds NaN"),
    (lambda: memorization_fraction(DATA, X, threshold=0.0), "threshold = 0.0"),
]


@pytest.mark.parametrize(("call", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_is_one_clear_line(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        call()
    assert words in one_line(error)


def grid(seed: int, n: int, dim: int, step: float = 1 / 64) -> np.ndarray:
    """Normal numbers on a grid, so that they are exact at any offset used here."""
    return np.round(np.random.default_rng(seed).standard_normal((n, dim)) / step) * step


@pytest.mark.parametrize("shape", ["array", "blocks", "prepared", "one query"])
@pytest.mark.parametrize("offset", [1.0, 128.0, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_common_offset_is_without_effect(dtype: type, offset: float, shape: str) -> None:
    step = 1.0 if dtype is np.float32 and offset > 1e4 else 1 / 16
    if dtype is np.float32 and offset > 1e6:
        step = 8.0  # the spacing of float32 at 1e8
    data, x = grid(0, 300, 5, step), grid(1, 1 if shape == "one query" else 20, 5, step)
    sigma = 0.5 * max(step, 1 / 4)
    wanted = empirical_posterior(data, x, sigma, own=np.arange(len(x)))
    moved, y = (data + offset).astype(dtype), (x + offset).astype(dtype)
    assert (moved.astype(float) - offset == data).all()
    given = {"blocks": [moved[:7], moved[7:]], "prepared": prepare(moved)}.get(shape, moved)
    found = empirical_posterior(given, y, sigma, own=np.arange(len(x)))
    eps = float(np.finfo(dtype).eps)
    loose = 1e-8 if dtype is np.float64 else 2e-3
    np.testing.assert_allclose(found.mean - offset, wanted.mean, atol=2 * eps * offset + loose)
    np.testing.assert_array_equal(found.nearest, wanted.nearest)
    np.testing.assert_array_equal(found.distance, wanted.distance)
    np.testing.assert_allclose(found.own_weight, wanted.own_weight, atol=loose)
    np.testing.assert_allclose(found.log_density, wanted.log_density, atol=loose)
    score = empirical_score(given, y, sigma)
    np.testing.assert_allclose(score, empirical_score(data, x, sigma), atol=4 * loose / sigma**2)
    near, wanted_near = nearest_two(given, y), nearest_two(data, x)
    np.testing.assert_array_equal(near.index, wanted_near.index)
    np.testing.assert_array_equal(near.distance, wanted_near.distance)


def test_clusters_far_from_each_other_keep_their_own_neighbours() -> None:
    """No single centre would do: the differences decide."""
    data = np.concatenate([grid(i, 40, 3) + at for i, at in enumerate((0.0, 1e8, -3e8, 1e8 + 8))])
    x = data[[0, 41, 90, 130]] + 0.25
    gaps = np.square(x[:, None] - data).sum(axis=2)
    found = nearest_two(data, x)
    np.testing.assert_array_equal(found.index, np.argsort(gaps, axis=1, kind="stable")[:, :2])
    w = np.exp(-(gaps - gaps.min(axis=1, keepdims=True)) / (2 * 0.25))
    w /= w.sum(axis=1, keepdims=True)
    posterior = empirical_posterior(data, x, 0.5)
    np.testing.assert_array_equal(posterior.nearest, gaps.argmin(axis=1))
    np.testing.assert_allclose(posterior.max_weight, w.max(axis=1), rtol=1e-9)
    np.testing.assert_allclose(posterior.mean, w @ data, rtol=1e-12)
    # planted: the expanded square is wrong for most
    keys = (data**2).sum(axis=1) - 2 * x @ data.T
    assert (keys.argmin(axis=1) != gaps.argmin(axis=1)).sum() >= 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_small_noise_keeps_its_digits(dtype: type) -> None:
    """Two data at one and the other side of the query, at a length 1e5 times the noise."""
    data = np.array([[1.0, 0.0], [1.0 + 2**-14, 0.0], [-1.0, 3.0]], dtype)
    x = np.array([[1.0 + 2**-15, 2**-16]], dtype)
    sigma = 2.0**-16
    found = empirical_posterior(data, x, sigma)
    assert found.max_weight == 0.5
    assert found.nearest == 0  # a tie goes to the first
    gap = empirical_score(data, x, sigma)
    np.testing.assert_allclose(gap, [[0, -1 / 2**-16]], atol=1e-2 * 2**16)


def test_prepared_data_are_nobody_else_s() -> None:
    data = np.arange(6.0).reshape(3, 2)
    ready = prepare(data)
    before = empirical_denoise(ready, [[1.0, 1.0]], 0.7)
    data *= 100
    np.testing.assert_array_equal(empirical_denoise(ready, [[1.0, 1.0]], 0.7), before)
    with pytest.raises(ValueError, match="read-only"):
        ready.rows[0] = 0
    data.setflags(write=False)
    assert prepare(data).rows is data  # nobody can change it: no copy


@pytest.mark.parametrize("sigma", [1e-320, 1e-160, 1e160, np.nan, np.inf, "a", None, True, 1j])
def test_noise_levels_that_are_none(sigma: Any) -> None:
    for f in (empirical_denoise, empirical_score, empirical_posterior):
        with pytest.raises(InvalidParameter, match="sigma") as error:
            f([[0.0], [1.0]], [[0.5]], sigma)
        one_line(error)
    with pytest.raises(InvalidParameter, match="float64 data"):
        empirical_denoise([[0.0]], np.zeros((1, 1), np.float32), 1e-30)


def test_data_that_are_none() -> None:
    bad = [
        np.ma.masked_less([[0.0], [1.0]], 0.5), np.array([[1j]]), [[True]], "abc", None, 3, {},
        [["a"]], [[1.0], [1.0, 2.0]], [], [[]], np.empty((0, 1)), object(), [object()],
        np.array([[object()]]), [[np.nan]], [[np.inf]], [[1e200]], {"a": 1},
    ]  # fmt: skip
    for data in bad:
        for f in (
            lambda d: empirical_denoise(d, [[0.5]], 0.5),
            lambda d: nearest_two(d, [[0.5]]),
            lambda d: empirical_denoise([[0.0], [1.0]], d, 1e-3),
            prepare,
        ):
            if f is prepare and not isinstance(data, list):
                continue
            with pytest.raises(InvalidParameter) as error:
                f(data)
            one_line(error)
