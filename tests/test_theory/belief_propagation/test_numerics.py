"""The ends of the scale: noise from nothing to everything, deep trees, evidence beyond floats."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import oracles
import pytest
from numba import njit
from numba.core import event
from numba.core.caching import NullCache
from scipy.special import logsumexp

from hierdiff import RHM, Derivations, GaussianNoise, Grammar, MaskingNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory import posterior, tree_posterior, true_beliefs
from hierdiff.theory._compiled import TRIED, jit, tried
from hierdiff.theory.belief_propagation import exact_posterior, passes
from hierdiff.theory.belief_propagation._kernels import simd
from hierdiff.theory.belief_propagation.exact_posterior import leaves_of


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("snr", [1e-6, 1e-3, 1.0, 30.0, 1e3, 1e6])
def test_every_signal_to_noise_ratio(snr: float, dtype: type) -> None:
    grammar = RHM(16, 4, 2, 6).draw(0)
    noise, truth = GaussianNoise(16), grammar.sample(20, 1)
    normals = np.random.default_rng(2).standard_normal((20, 64, 16))
    x_t = noise.corrupt_at_snr(truth.leaves, snr, normals)
    evidence = noise.log_evidence_at_snr(x_t, snr)
    p = posterior(grammar, evidence, dtype=dtype)
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    for marginal in p.marginals:
        assert np.isfinite(marginal).all()
        np.testing.assert_allclose(marginal.sum(axis=2), 1, atol=tolerance)
    assert np.isfinite(p.log_evidence).all()
    if snr >= 30:
        assert true_beliefs(grammar, evidence, truth, dtype=dtype).marginal[0].min() > 0.99
    if snr <= 1e-6:
        assert np.abs(p.marginals[0] - 1 / 16).max() < 1e-3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_million_leaves(dtype: type) -> None:
    grammar = RHM(4, 2, 2, 20).draw(0)
    truth = grammar.sample(1, 1)
    noise = MaskingNoise(4)
    x_t = noise.corrupt(truth.leaves, 0.4, 2)
    beliefs = true_beliefs(grammar, noise.evidence(x_t, 0.4), truth, dtype=dtype)
    assert all(np.isfinite(p).all() and (p >= 0).all() for p in beliefs.marginal)
    assert np.isfinite(beliefs.log_evidence).all()
    # the log-probability of what was seen is negative and about as large as the number of leaves
    assert -1e6 < beliefs.log_evidence[0] < -1e4
    drawn = posterior(grammar, noise.evidence(x_t, 0.4), dtype=dtype, levels=()).sample(3)
    assert np.array_equal(drawn.leaves[x_t >= 0], x_t[x_t >= 0])
    assert grammar.is_valid(drawn.leaves).all()


def test_clean_observations_leave_no_doubt() -> None:
    grammar = RHM(32, 8, 2, 7).draw(0)
    truth = grammar.sample(17, 1)
    beliefs = true_beliefs(grammar, MaskingNoise(32).evidence(truth.leaves, 0.0), truth)
    for p in beliefs.marginal:
        np.testing.assert_allclose(p, 1, atol=1e-12)
    np.testing.assert_allclose(beliefs.log_evidence, grammar.log_prob(truth.leaves), rtol=1e-12)


def log_posterior(grammar: Grammar, log_psi: np.ndarray) -> tuple[np.ndarray, float]:
    """Root marginal and log-evidence of one sample in logarithms, from all derivations."""
    levels, prior = oracles.enumerate_derivations(grammar)
    joint = np.log(prior) + log_psi[np.arange(grammar.n_leaves), levels[-1]].sum(axis=1)
    total = logsumexp(joint)
    of_class = [joint[levels[0][:, 0] == a] for a in range(grammar.v[0])]
    root = [np.exp(logsumexp(part) - total) for part in of_class]
    return np.array(root), float(total)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [100.0, 800.0, 5000.0, 1e6])
def test_what_underflows_can_win_later(size: float, dtype: type) -> None:
    """Two neighbours each prefer what the grammar forbids together, by a factor e^size."""
    top = np.array([[[0, 0], [1, 1]], [[2, 2], [3, 3]]])
    grammar = Grammar([top, np.array([[[0, 1]], [[1, 0]], [[2, 3]], [[3, 2]]])])
    random = np.random.default_rng(0)
    log_psi = random.standard_normal((5, 4, 4))
    log_psi[0, 0] += [size, 0, 0, 0]  # wants (0 1 . .)
    log_psi[0, 2] += [0, size + 1.5, 0, 0]  # wants (. . 1 0): no class writes both
    log_psi[3, :2] += size * random.standard_normal((2, 4))
    p = posterior(grammar, log_psi, dtype=dtype)
    b = true_beliefs(grammar, log_psi, grammar.sample(5, 1), dtype=dtype)
    # float32 rounds the evidence itself
    given = log_psi.astype(dtype).astype(float)
    tolerance = 1e-10 if dtype is np.float64 else 2e-5
    for i in range(5):
        root, log_z = log_posterior(grammar, given[i])
        np.testing.assert_allclose(p.marginals[0][i, 0], root, atol=tolerance)
        assert p.log_evidence[i] == pytest.approx(log_z, rel=tolerance)
        assert b.log_evidence[i] == pytest.approx(log_z, rel=tolerance)
    draws = p.sample(2, 500).levels[0].reshape(5, 500)
    for i in (0, 3):
        share = (draws[i] == 0).mean()
        root = log_posterior(grammar, given[i])[0][0]
        assert abs(share - root) < 4 * np.sqrt(max(root * (1 - root), 1e-9) / 500) + 1e-6


@pytest.mark.parametrize("sizes", [(8, 2, 4, 3), (5, 3, 3, 3), (4, 2, 4, 4)])
@pytest.mark.parametrize(("dtype", "scales"), [(np.float32, [5, 10]), (np.float64, [56, 110])])
def test_products_of_many_unlikely_children_keep_their_digits(
    sizes: tuple[int, int, int, int], dtype: type, scales: list[float]
) -> None:
    """Messages in their own units multiply: s small ones leave the range, and none of them does."""
    grammar = RHM(*sizes).draw(1)
    normals = np.random.default_rng(1).normal(size=(100, grammar.n_leaves, sizes[0]))
    for scale in scales:
        found = posterior(grammar, normals * scale, dtype=dtype)
        tolerance = 1e-5 if dtype is np.float32 else 1e-11
        flat = np.zeros((1, sizes[0]))  # evidence of the root, so that the other engine is asked
        asked = tree_posterior(grammar, normals * scale, nodes={0: flat})
        np.testing.assert_allclose(found.log_evidence, asked.log_evidence, rtol=tolerance)
        for one, two in zip(found.marginals, asked.marginals, strict=True):
            np.testing.assert_allclose(one, two, atol=tolerance)


def _outputs(grammar: Grammar, log_psi: np.ndarray, dtype: type, threads: int) -> list[np.ndarray]:
    p = posterior(grammar, log_psi, dtype=dtype, threads=threads)
    truth = Derivations(tuple(np.zeros((len(log_psi), grammar.n_nodes(x)), int)
                              for x in range(grammar.L + 1)))  # fmt: skip
    b = true_beliefs(grammar, log_psi, truth, dtype=dtype, threads=threads)
    return [*p.marginals, *p.up, *p.down, p.log_evidence, *b.marginal, *b.upward, *b.square,
            b.log_evidence]  # fmt: skip


@pytest.mark.parametrize("sizes", [(8, 2, 2, 5), (6, 2, 3, 3), (8, 2, 4, 3)])
@pytest.mark.parametrize(("dtype", "scales"), [(np.float32, (4, 14)), (np.float64, (50, 150))])
def test_nothing_depends_on_cuts_batch_and_threads_at_the_limit_of_the_range(
    sizes: tuple[int, int, int, int],
    dtype: type,
    scales: tuple[float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Evidence around the limit beyond which a sample is done again, and entries that underflow.

    Trees are cut at every level, once and twice; each sample has the same range wherever it is, so
    the same ones are done again, and all results are the same bit for bit.
    """
    grammar, n = RHM(*sizes).draw(1), 256
    normals = np.random.default_rng(2).normal(size=(n, grammar.n_leaves, sizes[0]))
    # neighbours at odds, as far apart as the range reaches
    log_psi = normals * np.linspace(*scales, n)[:, None, None]
    own = passes.known(grammar)

    def all_of(cut: Any, rows: slice, threads: int) -> tuple[np.ndarray, list[np.ndarray]]:
        monkeypatch.setattr(passes, "_cut", cut)
        own.cuts.clear()
        own.blocks.clear()
        leaves = leaves_of(grammar, log_psi[rows], None, dtype, 1, private=False)
        _, result = passes.upward(grammar, 0, grammar.L, leaves, 1)
        return result.ranges, _outputs(grammar, log_psi[rows], dtype, threads)

    ranges, expected = all_of(lambda *_: None, slice(n), 1)
    limit = exact_posterior._RANGE_LIMIT[np.dtype(dtype)]
    assert 0.1 < (ranges < limit).mean() < 0.9
    assert np.abs(ranges - limit).min() < 3
    for level in range(1, grammar.L):
        for rows, threads in (
            (slice(n), 2),
            (slice(n), 1),
            *((slice(i, i + 1), 1) for i in (0, 99)),
        ):
            # a block above is cut once more, where it has a level to spare
            found = all_of(lambda v, *_: min(level, len(v) - 2), rows, threads)  # noqa: B023
            np.testing.assert_array_equal(found[0], ranges[rows])
            for mine, whole in zip(found[1], expected, strict=True):
                np.testing.assert_array_equal(mine, whole[rows])
    own.cuts.clear()
    own.blocks.clear()


def test_evidence_beyond_the_memory_is_refused_before_it_is_copied() -> None:
    grammar = RHM(32, 8, 2, 12).draw(0)
    evidence = np.broadcast_to(np.float32(0), (10**7, 4096, 32))
    with pytest.raises(InvalidParameter, match="evidence of shape") as error:
        posterior(grammar, evidence)
    oracles.one_line(error)


def test_single_precision_is_rescued_where_it_leaves_its_range() -> None:
    """Four children and a model noise of 1e-6: products of 1e-24 and less, level after level."""
    grammar = RHM(8, 2, 4, 3).draw(0)
    random = np.random.default_rng(1)
    x = random.integers(0, 8, (12, 64))  # no sentence: every tuple contradicts the rules
    log_psi = np.log(np.where(np.eye(8)[x] > 0, 1 - 7e-6, 1e-6))
    single, double = (posterior(grammar, log_psi, dtype=d) for d in (np.float32, np.float64))
    np.testing.assert_allclose(single.log_evidence, double.log_evidence, rtol=1e-5)
    for a, b in zip(single.marginals, double.marginals, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


# --- the vectors underneath ----------------------------------------------------------------------


@njit
def _apply(x, exps, mantissas, exponents):
    a, b = simd.pointer(x), simd.pointer(exps)
    c, d = simd.pointer(mantissas), simd.pointer(exponents)
    for i in range(0, x.size, simd.width(a)):
        value = simd.load(a, i)
        simd.store(b, i, simd.exp(value))
        simd.store(c, i, simd.multiply(value, simd.unscale(value)))
        simd.store(d, i, simd.exponent(value))


def _vectors(x: np.ndarray) -> list[np.ndarray]:
    buffers = [simd.aligned(x.size, x.dtype) for _ in range(4)]
    buffers[0][:] = x
    _apply(*buffers)
    return buffers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponential_to_two_units_in_the_last_place(dtype: type) -> None:
    lowest = {np.float32: 87, np.float64: 708}[dtype]
    x = -np.concatenate([np.linspace(0, lowest, 4000), np.geomspace(1e-12, 1, 96)]).astype(dtype)
    _, y, _, _ = _vectors(x)
    exact = np.exp(x.astype(np.longdouble))
    assert np.abs(y / exact - 1).max() < 2 * np.finfo(dtype).eps
    special = np.zeros(64, dtype)
    special[:4] = [0, -np.inf, np.nan, -1e30]
    _, y, _, _ = _vectors(special)
    assert y[0] == 1
    assert y[1] == 0
    assert np.isnan(y[2])
    assert y[3] == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scales_are_powers_of_two(dtype: type) -> None:
    x = np.geomspace(1e-30, 1e30, 1024).astype(dtype)
    _, _, mantissas, exponents = _vectors(x)
    expected, power = np.frexp(x)
    np.testing.assert_array_equal(mantissas, 2 * expected)
    np.testing.assert_array_equal(exponents, power - 1)


def test_where_nothing_can_be_written_the_kernels_are_compiled_each_time() -> None:
    """Read-only site-packages and no home: Numba finds no folder for its cache."""
    code = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = [];"
        "import numpy as np; from hierdiff import LowRankMixture;"
        "from hierdiff.theory import class_posterior;"
        "m = LowRankMixture([[[1.0], [0.0]], [[0.0], [1.0]]]);"
        "print(class_posterior(m, [[2.0, 1.0]], 1.0).round(6).tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[[0.679179, 0.320821]]"
    planted = (
        "import numba.core.caching as c; c.CacheImpl._locator_classes = [];"
        "import numba, hierdiff.theory.mixture._kernels as m;"
        "numba.njit(cache=True)(m.shrink.py_func)"
    )
    run = subprocess.run([sys.executable, "-c", planted], capture_output=True, text=True)
    assert "no locator available" in run.stderr


def test_the_releases_of_numba_that_were_tried_are_those_that_are_installed_and_allowed() -> None:
    """A new release is tried before the pin moves; the lowest that is allowed was tried, too."""
    root = Path(__file__).resolve().parents[3]
    (pin,) = re.findall(r"^numba==(.*)$", (root / "constraints.txt").read_text(), re.MULTILINE)
    (low,) = re.findall(r'"numba>=([\d.]+)"', (root / "pyproject.toml").read_text())
    assert tried(pin)
    assert tried(low)
    assert not any(tried(x) for x in ("0.60.1", "0.99.0", "1.0.0", "", "unknown"))
    assert tried(".".join(map(str, TRIED[1])) + ".0rc1")


@pytest.mark.parametrize("untried", [False, True])
def test_an_untried_numba_keeps_no_code_and_says_so_once(untried: bool, tmp_path: Path) -> None:
    change = "numba.__version__ = '0.99.1';" if untried else ""
    code = (
        f"import numba; {change} import warnings; warnings.simplefilter('always');"
        "from hierdiff import LowRankMixture; from hierdiff.theory import class_posterior;"
        "m = LowRankMixture([[[1.0], [0.0]], [[0.0], [1.0]]]);"
        "print(class_posterior(m, [[2.0, 1.0]], 1.0).round(6).tolist())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[[0.679179, 0.320821]]"
    assert (
        run.stderr.count("numba 0.99.1 was not tried with hierdiff, 0.61 to 0.68 were") == untried
    )
    assert bool(list(tmp_path.rglob("*.nbi"))) is not untried


def test_less_effort_is_for_one_function_alone_and_changes_no_number() -> None:
    level, seen = int(numba.config.OPT), []

    class Levels(event.Listener):  # type: ignore[misc]
        def on_start(self, event: Any) -> None:
            seen.append(int(numba.config.OPT))

        def on_end(self, event: Any) -> None:
            pass

    def plain(x: float) -> float:
        return x * 2.5 + 1 / x

    quick, usual = jit(plain, effort=2), jit(plain)
    quick._cache = usual._cache = NullCache()
    with event.install_listener("numba:compile", Levels()):
        assert quick(3.0) == usual(3.0) == plain(3.0)
    assert seen == [2, level]
    assert int(numba.config.OPT) == level
