"""Where arguments enter: what is refused, what is copied, what costs no digit."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba.core.caching as caching
import numpy as np
import pytest
from oracles import enumerate_derivations
from scipy.special import logsumexp

import hierdiff
from hierdiff import (
    RHM,
    Derivations,
    EpsilonNoise,
    GaussianNoise,
    Grammar,
    MaskingNoise,
    UniformNoise,
)
from hierdiff.data import rhm_variants
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import SymbolEvidence, noise_process
from hierdiff.seeds import generator, stream
from hierdiff.theory import (
    ExactRHM,
    annealed_beliefs,
    critical_level,
    critical_noise,
    denoise_symbols,
    population_dynamics,
    posterior,
    support_laws,
    support_threshold,
    susceptibility,
    true_beliefs,
)
from hierdiff.theory._compiled import jit
from hierdiff.theory.rhm.information import pointwise_information
from hierdiff.theory.rhm.uturn import committor

ROOT = Path(hierdiff.__file__).parent
RHM_ = RHM(v=6, m=2, s=2, L=3)
GRAMMAR = RHM_.draw(seed=0)
OTHER = RHM(v=6, m=2, s=2, L=2).draw(seed=0)
DATA = GRAMMAR.sample(5, seed=1)
NOISE = GaussianNoise(v=6)
X_T = NOISE.corrupt(DATA.leaves, 0.5, seed=2)
EVIDENCE = NOISE.log_evidence(X_T, 0.5)


def assert_refused(call: Callable[[], Any], words: str = "") -> None:
    with pytest.raises(InvalidParameter) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    assert words in message


def levels_with(level: int, symbol: int) -> Derivations:
    levels = [np.array(x) for x in DATA.levels]
    levels[level][0, 0] = symbol
    return Derivations(tuple(levels))


def brute_force(grammar: Grammar, log_evidence: np.ndarray) -> SimpleNamespace:
    """Marginals and log-evidence by enumeration of all derivations, in logarithms."""
    levels, prob = enumerate_derivations(grammar)
    leaves = np.arange(grammar.n_leaves)
    joint = np.log(prob) + np.array([e[leaves, levels[-1]].sum(axis=1) for e in log_evidence])
    total = logsumexp(joint, axis=1)
    weight = np.exp(joint - total[:, None])
    marginals = [
        np.stack([weight @ (symbols == a) for a in range(v)], axis=2)
        for symbols, v in zip(levels, grammar.v, strict=True)
    ]
    return SimpleNamespace(marginals=marginals, log_evidence=total)


# --- nothing unchecked reaches compiled code ------------------------------------------------------


def test_truth_that_is_no_truth_of_this_grammar() -> None:
    def of(truth: Any) -> Callable[[], Any]:
        return lambda: true_beliefs(GRAMMAR, EVIDENCE, truth)

    for level in range(4):
        for symbol in (6, -1, 10**6, -(10**6)):
            assert_refused(of(levels_with(level, symbol)), f"truth.levels[{level}] holds {symbol}")
    assert_refused(of(Derivations(DATA.levels[1:])), "truth has levels of shapes")
    assert_refused(of(Derivations((*DATA.levels[:3], DATA.levels[3][:, :5]))), "truth has levels")
    assert_refused(of(DATA[:4]), "truth has levels")
    assert_refused(of(OTHER.sample(5, 0)), "truth has levels")
    assert_refused(of(DATA.leaves), "parse")
    assert_refused(of(DATA.levels))
    assert_refused(lambda: Derivations(tuple(x + 0.5 for x in DATA.levels)), "integers")
    assert_refused(lambda: pointwise_information(GRAMMAR, NOISE, X_T, 0.5, levels_with(1, 9)))
    model = ExactRHM(GRAMMAR, NOISE)
    assert_refused(lambda: model.beliefs(X_T, 0.5, levels_with(3, 99)))


def test_uniform_numbers_are_in_the_unit_interval() -> None:
    seen = posterior(GRAMMAR, EVIDENCE)
    good = [np.full(5, 0.5), np.full((5, 1), 0.5), np.full((5, 2), 0.5), np.full((5, 4), 0.5)]
    assert len(seen.sample_with(good)) == 5
    for level, wrong in ((0, 2.0), (1, np.nan), (2, 1.0), (3, -1e-9), (3, np.inf)):
        bad = [u.copy() for u in good]
        bad[level].flat[0] = wrong
        assert_refused(lambda bad=bad: seen.sample_with(bad), f"uniforms[{level}] holds")
    assert_refused(lambda: seen.sample_with(good[:3]), "uniforms have shapes")
    assert_refused(
        lambda: seen.sample_with([*good[:3], np.full((5, 5), 0.5)]), "uniforms have shapes"
    )
    assert_refused(lambda: seen.sample_with([np.full(4, 0.5), *good[1:]]), "uniforms have shapes")
    assert_refused(lambda: seen.sample_with(0.5))
    assert_refused(lambda: seen.sample_with([np.ma.masked_array(u, u > 1) for u in good]), "masked")
    assert_refused(lambda: seen.sample_with([u.astype(complex) for u in good]), "complex")


def test_levels_threads_root_and_dtype() -> None:
    for levels in ((4,), (-5,), (0.5,), ("0",), (True,), 0, "01"):
        assert_refused(lambda levels=levels: posterior(GRAMMAR, EVIDENCE, levels=levels))
    for threads in (0, -1, 1.5, True, "2", 10**30 + 0.5):
        assert_refused(
            lambda threads=threads: posterior(GRAMMAR, EVIDENCE, threads=threads), "threads"
        )
    for root in (6, -1, 0.5, True, "0", [0, 1], [[0]], np.nan):
        assert_refused(lambda root=root: posterior(GRAMMAR, EVIDENCE, root=root), "root")
    for dtype in (np.float16, int, complex, "x", None):
        if dtype is not None:  # None is float64 to NumPy
            assert_refused(lambda dtype=dtype: posterior(GRAMMAR, EVIDENCE, dtype=dtype))
    huge = posterior(GRAMMAR, EVIDENCE, threads=10**9).marginals[0]
    assert np.array_equal(huge, posterior(GRAMMAR, EVIDENCE, threads=1).marginals[0])


def test_observations_of_another_grammar() -> None:
    other = GaussianNoise(v=6).corrupt(OTHER.sample(5, 0).leaves, 0.5, 0)
    assert_refused(lambda: denoise_symbols(GRAMMAR, NOISE, other, 0.5), "the grammar needs")
    assert_refused(lambda: denoise_symbols(GRAMMAR, MaskingNoise(6), other, 0.5), "x_t")
    assert_refused(
        lambda: denoise_symbols(GRAMMAR, MaskingNoise(6), [[0] * 7 + [6]], 0.5), "holds 6"
    )
    assert_refused(
        lambda: denoise_symbols(GRAMMAR, MaskingNoise(7), [[0] * 8], 0.5), "with 7 symbols"
    )
    assert_refused(lambda: ExactRHM(GRAMMAR, MaskingNoise(7)), "v = 7")
    assert_refused(lambda: ExactRHM(GRAMMAR, NOISE, threads=0), "threads")
    assert_refused(lambda: committor(GRAMMAR, NOISE, [X_T], [1.5]), "t = 1.5")
    assert_refused(lambda: committor(GRAMMAR, NOISE, [X_T], [0.5, 0.2]), "one per state")
    assert_refused(lambda: SymbolEvidence(np.array([[6]]), 0.0, -1.0, v=6), "holds 6")
    assert_refused(lambda: SymbolEvidence(np.array([[-2]]), 0.0, -1.0, v=6), "holds -2")
    assert_refused(lambda: SymbolEvidence(np.array([[0.0]]), 0.0, -1.0, v=6), "integers")
    assert_refused(lambda: GRAMMAR.parse(DATA.leaves.astype(float)), "integer")
    assert_refused(lambda: GRAMMAR.log_prob(DATA.leaves[:, :7]), "shape")


def _names(tree: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
    }


def _checked(function: ast.FunctionDef, tree: ast.Module) -> bool:
    """Decorated with ``checked``, or with what the module makes of it."""
    known = {"checked"}
    for node in tree.body:
        if isinstance(node, ast.Assign) and "checked" in _names(node.value):
            known |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return any(known & _names(d) for d in function.decorator_list)


def test_every_way_to_a_kernel_leads_through_a_check() -> None:
    """Public functions of the modules that call kernels, or call those that do, are decorated.

    ``passes`` and ``log_domain`` of belief propagation are the inner ways in; a module that imports
    one of them, or a kernel, has each of its public functions checked.
    """
    home = "hierdiff.theory.belief_propagation"
    private = {"passes", "log_domain"}
    seen, unchecked = 0, []
    for path in sorted(ROOT.rglob("*.py")):
        inner = path.parent == ROOT / "theory" / "belief_propagation" and path.stem in private
        if "_kernels" in (path.parent.name, path.stem) or inner:
            continue
        text = path.read_text()
        if "belief_propagation" not in text and "_kernels" not in text:
            continue
        tree = ast.parse(text)
        imported = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
        # a module of another layer may read ``available_threads``, which takes no argument
        wanted = [
            alias.name
            for n in imported
            for alias in n.names
            if "_kernels" in f"{n.module}.{alias.name}"
            or n.module in {f"{home}.{name}" for name in private}
            or (n.module == home and alias.name in private)
        ]
        if set(wanted) <= {"available_threads"}:
            continue
        seen += 1
        public = {
            str(x.value)
            for n in tree.body
            if isinstance(n, ast.Assign) and "__all__" in _names(n)
            for x in ast.walk(n)
            if isinstance(x, ast.Constant)
        }
        unchecked += [
            f"{path.stem}.{f.name}"
            for f in tree.body
            if isinstance(f, ast.FunctionDef) and f.name in public and not _checked(f, tree)
        ]
    assert seen >= 3
    assert not unchecked


# --- what is kept is copied -----------------------------------------------------------------------


def _same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("given", [np.float64, np.float32])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_posterior_outlives_the_arrays_it_was_made_from(given: type, dtype: type) -> None:
    evidence = EVIDENCE.astype(given)
    # the last datum is beyond the range of float32, and is computed again in float64
    evidence[4] = -1e6 + np.random.default_rng(0).normal(size=(8, 6))
    evidence[4, :, 0] = 0.0
    root = np.array([0, 1, 2, 3, 4])
    want = posterior(GRAMMAR, evidence.copy(), root.copy(), dtype)
    up, down, drawn = want.up, want.down, want.sample(seed=3)
    kept = posterior(GRAMMAR, evidence, root, dtype)
    evidence[:], root[:] = evidence[::-1].copy(), 0
    assert _same(kept.up, up)
    assert _same(kept.down, down)
    assert _same(kept.sample(seed=3).levels, drawn.levels)


def test_compact_evidence_is_a_copy() -> None:
    symbols, match = DATA.leaves.copy(), np.full(5, -0.1)
    evidence = SymbolEvidence(symbols, match, -3.0, v=6)
    want = posterior(GRAMMAR, evidence).marginals
    kept = posterior(GRAMMAR, evidence)
    symbols[:], match[:] = 0, -2.0
    assert _same(posterior(GRAMMAR, evidence).marginals, want)
    assert _same(kept.up, posterior(GRAMMAR, evidence).up)
    with pytest.raises(ValueError, match="read-only"):
        evidence.symbols[0, 0] = 1


def test_grammars_and_derivations_are_copies() -> None:
    levels = [np.array(x) for x in DATA.levels]
    rules, weights = [np.array(r) for r in GRAMMAR.rules], [np.array(w) for w in GRAMMAR.weights]
    prior = np.array(GRAMMAR.root_prior)
    kept, grammar = Derivations(tuple(levels)), Grammar(rules, weights, prior, leaf_vocabulary=6)
    for x in (*levels, *rules, *weights, prior):
        x[...] = 0
    assert _same(kept.levels, DATA.levels)
    assert grammar == GRAMMAR


def test_results_share_nothing_with_the_arguments() -> None:
    x0, t, randoms = DATA.leaves.copy(), np.full(5, 0.0), np.full((5, 8, 1), 0.5)
    for noise, numbers in ((EpsilonNoise(6), randoms[..., :0]), (MaskingNoise(6), randoms)):
        found = noise.corrupt_with(x0, t, numbers)
        want = found.copy()
        x0[:] = 0
        assert np.array_equal(found, want)
        x0[:] = DATA.leaves


# --- what leaf evidence has in common -------------------------------------------------------------


def _offsets(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (5, 8, 1)
    return {
        "1e6": np.full(shape, 1e6), "-1e8": np.full(shape, -1e8), "1e12": np.full(shape, 1e12),
        "each leaf its own": rng.uniform(-1e8, 1e8, shape),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("offset", ["1e6", "-1e8", "1e12", "each leaf its own"])
def test_what_all_symbols_have_in_common_costs_no_digit(offset: str) -> None:
    common = _offsets(offset)
    evidence = EVIDENCE + common  # rounded to float64 once, which is all that is lost
    plain = evidence - evidence.max(axis=2, keepdims=True)  # exact: the two are close to each other
    exact = brute_force(GRAMMAR, plain)
    shift = evidence.max(axis=2).sum(axis=1)
    for dtype, error in ((np.float64, 1e-12), (np.float32, 3e-6)):
        found = posterior(GRAMMAR, evidence, dtype=dtype)
        for level in range(4):
            assert found.marginals[level] == pytest.approx(exact.marginals[level], abs=error)
            assert found.up[level] == pytest.approx(posterior(GRAMMAR, plain).up[level], abs=error)
        rounding = np.spacing(np.abs(shift).max()) * 4
        assert found.log_evidence - shift == pytest.approx(
            exact.log_evidence, abs=error * 10 + rounding
        )
        beliefs = true_beliefs(GRAMMAR, evidence, DATA, dtype=dtype)
        want = true_beliefs(GRAMMAR, plain, DATA)
        assert beliefs.marginal[0] == pytest.approx(want.marginal[0], abs=error)


def test_a_common_offset_of_two_values_costs_no_digit() -> None:
    symbols = DATA.leaves.copy()
    symbols[:, 1::3] = -1
    plain = SymbolEvidence(symbols, 0.0, -2.0, v=6)
    shifted = SymbolEvidence(symbols, 1e9, 1e9 - 2.0, v=6)
    for dtype, error in ((np.float64, 1e-14), (np.float32, 3e-6)):
        a, b = (posterior(GRAMMAR, e, dtype=dtype) for e in (plain, shifted))
        assert a.marginals[0] == pytest.approx(b.marginals[0], abs=error)
        # five of eight leaves are seen, and only those have evidence
        assert b.log_evidence - a.log_evidence == pytest.approx(np.full(5, 5e9), abs=1e-5)


def test_missing_leaves_have_no_evidence() -> None:
    """The evidence of a leaf that is missing is 1, and its logarithm 0, whatever the others'."""
    symbols = np.full((2, 8), -1)
    symbols[1, :3] = DATA.leaves[0, :3]
    evidence = SymbolEvidence(symbols, -1.0, -4.0, v=6)
    exact = brute_force(GRAMMAR, evidence.dense()).log_evidence
    assert posterior(GRAMMAR, evidence).log_evidence == pytest.approx(exact, abs=1e-12)
    assert exact[0] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [200.0, 2000.0])
def test_the_logarithmic_fallback_has_its_shift(dtype: type, scale: float) -> None:
    """Leaves at odds with the grammar: exp(-2000) is no number, and its logarithm is exact."""
    leaves = np.tile(np.arange(6), 4)[: 2 * 8].reshape(2, 8)
    assert not GRAMMAR.is_valid(leaves).any()
    compact = SymbolEvidence(leaves, 3.0, 3.0 - scale, v=6)
    exact = brute_force(GRAMMAR, compact.dense())
    assert exact.log_evidence.max() < 8 * 3.0 - scale
    for evidence in (compact, compact.dense(), compact.dense() + 1e7):
        more = 8e7 if isinstance(evidence, np.ndarray) and evidence.max() > 1e6 else 0.0
        found = posterior(GRAMMAR, evidence, dtype=dtype)
        assert found.log_evidence - more == pytest.approx(exact.log_evidence, rel=1e-6)
        beliefs = true_beliefs(GRAMMAR, evidence, GRAMMAR.sample(2, 0), dtype=dtype)
        assert beliefs.log_evidence - more == pytest.approx(exact.log_evidence, rel=1e-6)
        for level in range(4):
            assert found.marginals[level] == pytest.approx(exact.marginals[level], abs=3e-6)


def test_float32_decides_among_unlikely_symbols_like_float64() -> None:
    """Penalties of 1e6 that differ by one: float32 holds them to .03 only."""
    penalty = np.random.default_rng(1).normal(size=(3, 8, 6)) - 1e6
    penalty[:, :, 0] = 0.0
    assert not GRAMMAR.is_valid(np.zeros((1, 8), int))[0]
    wide, narrow = posterior(GRAMMAR, penalty), posterior(GRAMMAR, penalty, dtype=np.float32)
    for level in range(4):
        assert narrow.marginals[level] == pytest.approx(wide.marginals[level], abs=1e-6)
        assert narrow.up[level] == pytest.approx(wide.up[level], abs=1e-6)
    assert _same(narrow.sample(seed=0).levels, wide.sample(seed=0).levels)


def test_a_class_of_tiny_prior_is_not_lost_in_float32() -> None:
    rules = [np.array([[[0, 1]], [[1, 0]]])]
    grammar = Grammar(rules, root_prior=[1.0, 1e-60])
    evidence = MaskingNoise(2).evidence([[1, 0]], 0.5)
    found = posterior(grammar, evidence, dtype=np.float32)
    assert found.marginals[0][0, 0].tolist() == [0.0, 1.0]
    assert found.log_evidence[0] == pytest.approx(np.log(1e-60))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gaussian_noise_close_to_none(dtype: type) -> None:
    for t in (1e-3, 1e-8, 1e-100, 0.0):
        x_t = NOISE.corrupt(DATA.leaves, t, seed=3)
        found = posterior(GRAMMAR, NOISE.log_evidence(x_t, t), dtype=dtype)
        assert np.array_equal(found.marginals[3].argmax(axis=2), DATA.leaves)
        assert found.marginals[0].max(axis=2) == pytest.approx(1.0)
    far = NOISE.log_evidence_at_snr(np.full((1, 8, 6), 1e200), 1e200)
    assert np.isfinite(far).all()


# --- threads --------------------------------------------------------------------------------------

SHARED = """
from hierdiff.theory.belief_propagation import buffers
if {shared}:
    made, ordinary = {{}}, buffers.Shelf.take
    buffers.Shelf.take = lambda self: made.setdefault(self, ordinary(self))
import test_boundary
# on a busy machine threads may take turns for a while: a shared buffer has many chances to be seen
for _ in range(40 if {shared} else 1):
    test_boundary.assert_threads_agree({workers}, 12)
"""


def assert_threads_agree(workers: int, calls: int) -> None:
    """Many calls at once, each with other data, equal to the same calls one after the other."""
    grammar = RHM(v=8, m=3, s=2, L=6).draw(seed=0)
    noise = GaussianNoise(v=8)

    def evidence(i: int) -> Any:
        data = grammar.sample(24, seed=i).leaves
        if i % 3 == 0:
            return MaskingNoise(8).evidence(MaskingNoise(8).corrupt(data, 0.4, i), 0.4)
        return noise.log_evidence(noise.corrupt(data, 0.5, i), 0.5)

    given = [evidence(i) for i in range(calls)]

    def call(i: int) -> list[np.ndarray]:
        found = posterior(grammar, given[i % calls], threads=1)
        drawn = found.sample(seed=i % calls)
        return [*found.marginals, found.log_evidence, *found.up, *drawn.levels]

    serial = [call(i) for i in range(calls)]
    with ThreadPoolExecutor(workers) as pool:
        for i, found in enumerate(pool.map(call, range(6 * calls))):
            assert _same(found, serial[i % calls])


@pytest.mark.parametrize("workers", [2, 8])
def test_calls_from_several_threads_do_not_mix(workers: int) -> None:
    assert_threads_agree(workers, 6)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT.parent)])
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_a_buffer_shared_between_threads_is_noticed(shared: bool) -> None:
    done = run(SHARED.format(shared=shared, workers=8))
    assert (done.returncode != 0) is shared, done.stderr[-500:]


# --- an installation that cannot be written -------------------------------------------------------

COMPILE = """
import sys
import numba.core.caching as caching
from hierdiff import RHM, GaussianNoise, LowRankMixture
from hierdiff.theory import posterior, class_posterior
grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
noise = GaussianNoise(v=4)
x_t = noise.corrupt(grammar.sample(2, seed=1).leaves, 0.5, seed=2)
print(round(float(posterior(grammar, noise.log_evidence(x_t, 0.5)).log_evidence[0]), 9))
mixture = LowRankMixture.random(6, 2, 3, delta=0.2, seed=0)
print(class_posterior(mixture, mixture.sample(2, seed=0)[0], 0.5).shape)
"""


@pytest.mark.parametrize("where", ["nowhere", "unwritable"])
def test_a_kernel_works_where_no_folder_can_be_written(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    if where == "nowhere":
        monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    else:
        monkeypatch.setattr(caching.IndexDataCacheFile, "save", fails)
        monkeypatch.setattr(caching.IndexDataCacheFile, "load", fails)

    @jit
    def twice(x: float) -> float:
        return 2 * x

    assert twice(1.5) == 3.0


@pytest.mark.slow  # every kernel is compiled
@pytest.mark.parametrize("where", ["nowhere", "unwritable"])
def test_kernels_compile_where_no_folder_can_be_written(where: str, tmp_path: Path) -> None:
    """No place for compiled code: numba finds none, or finds one and cannot write to it."""
    block = "import numba.core.caching as c\n"
    if where == "nowhere":
        block += "c.CacheImpl._locator_classes = []\n"
        environment = {"HOME": str(tmp_path / "none"), "NUMBA_CACHE_DIR": ""}
    else:
        # a folder that was writable when it was chosen, and is full or read-only when it is used
        block += (
            "def fails(self, *a): raise PermissionError(13, 'Permission denied')\n"
            "c.IndexDataCacheFile.save = fails\nc.IndexDataCacheFile.load = fails\n"
        )
        environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = run(block + COMPILE, **environment)
    assert done.returncode == 0, done.stderr[-800:]
    x_t = GaussianNoise(4).corrupt(
        (g := RHM(4, 2, 2, 2).draw(seed=0)).sample(2, seed=1).leaves, 0.5, 2
    )
    want = posterior(g, GaussianNoise(4).log_evidence(x_t, 0.5)).log_evidence[0]
    assert float(done.stdout.split()[0]) == pytest.approx(want, abs=1e-8)


def test_every_kernel_is_compiled_behind_the_guard() -> None:
    for path in ROOT.rglob("*.py"):
        assert "cache=True" not in path.read_text(), path
        if path.name != "_compiled.py":
            assert "njit(" not in path.read_text(), path


@pytest.mark.slow  # every kernel is compiled
def test_damaged_compiled_code_is_compiled_again(tmp_path: Path) -> None:
    assert run(COMPILE, NUMBA_CACHE_DIR=str(tmp_path)).returncode == 0
    files = [p for p in tmp_path.rglob("*.nb?") if p.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(COMPILE, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-800:]


# --- slips get the remedy -------------------------------------------------------------------------


def test_likely_slips_get_the_remedy() -> None:
    assert_refused(lambda: posterior(RHM_, EVIDENCE), "draw(seed)")  # type: ignore[arg-type]
    assert_refused(lambda: critical_noise((32, 8, 2)), "RHM(v=32, m=8, s=2, L=2)")  # type: ignore[arg-type]
    assert_refused(lambda: critical_noise(GRAMMAR), "RHM(v=...")  # type: ignore[arg-type]
    assert_refused(lambda: denoise_symbols(GRAMMAR, MaskingNoise, X_T, 0.5), "MaskingNoise(v=...)")  # type: ignore[arg-type]
    assert_refused(lambda: critical_level(RHM(16, 4, 2, 1), "maskin"), "did you mean 'masking'")  # type: ignore[arg-type]
    for word in ("sample", "parse", "log_prob"):
        with pytest.raises(AttributeError, match=rf"draw\(seed\)\.{word}"):
            getattr(RHM_, word)
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        _ = RHM_.nonsense
    assert not hasattr(RHM_, "rules")


def test_a_noise_process_may_be_given_by_name() -> None:
    small = RHM(v=6, m=2, s=2, L=2)
    for name in ("epsilon", "masking", "uniform", "gaussian"):
        process = noise_process(name, 6)
        a, b = (population_dynamics(small, x, 0.3, size=200) for x in (name, process))  # type: ignore[arg-type]
        assert np.array_equal(a.upward, b.upward)
        assert ExactRHM(GRAMMAR, name).noise == process  # type: ignore[arg-type]
    assert np.array_equal(
        denoise_symbols(GRAMMAR, "gaussian", X_T, 0.5),  # type: ignore[arg-type]
        denoise_symbols(GRAMMAR, NOISE, X_T, 0.5),
    )


# --- kinds of numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [np.inf, -1, 1.5, True, "a", None, np.nan, np.zeros(2), 1j])
def test_seeds(seed: Any) -> None:
    for call in (
        lambda: generator(seed), lambda: GRAMMAR.sample(2, seed), lambda: RHM_.draw(seed),
        lambda: NOISE.corrupt(DATA.leaves, 0.5, seed),
        lambda: posterior(GRAMMAR, EVIDENCE).sample(seed), lambda: stream(seed, "x"),
        lambda: population_dynamics(RHM(6, 2, 2, 2), NOISE, 0.5, size=100, seed=seed),
        lambda: rhm_variants.zipf(RHM_, 0.5, seed),
    ):  # fmt: skip
        assert_refused(call)


@pytest.mark.parametrize(
    "wrong",
    [
        EVIDENCE.astype(complex), EVIDENCE > 0, EVIDENCE.astype(str), EVIDENCE.astype(object),
        np.ma.masked_array(EVIDENCE, EVIDENCE < 0), "x", None, [[1], [2, 3]],
        np.where(EVIDENCE > 1, np.nan, EVIDENCE), np.where(EVIDENCE > 1, np.inf, EVIDENCE),
    ],
    ids=["complex", "bool", "str", "object", "masked", "word", "None", "ragged", "nan", "inf"],
)  # fmt: skip
def test_evidence_is_real_numbers(wrong: Any) -> None:
    for dtype in (np.float64, np.float32):
        assert_refused(lambda dtype=dtype: posterior(GRAMMAR, wrong, dtype=dtype))
        assert_refused(lambda dtype=dtype: true_beliefs(GRAMMAR, wrong, DATA, dtype=dtype))


def test_masked_arrays_keep_their_mask_by_not_being_taken() -> None:
    def mask(x: Any) -> Any:
        return np.ma.masked_array(x, np.zeros(np.shape(x), bool))

    leaves = DATA.leaves
    for call in (
        lambda: GRAMMAR.parse(mask(leaves)), lambda: GRAMMAR.is_valid(mask(leaves)),
        lambda: MaskingNoise(6).corrupt(mask(leaves), 0.5, 0),
        lambda: MaskingNoise(6).evidence(mask(leaves), 0.5),
        lambda: UniformNoise(6).evidence(mask(leaves), 0.5),
        lambda: UniformNoise(6).evidence(leaves, mask(np.full(5, 0.5))),
        lambda: NOISE.log_evidence(mask(X_T), 0.5), lambda: SymbolEvidence(mask(leaves), 0, -1, 6),
        lambda: SymbolEvidence(leaves, mask(np.zeros(5)), -1.0, 6),
        lambda: Derivations((mask(leaves[:, :1]), mask(leaves))),
        lambda: Grammar([mask(GRAMMAR.rules[0])]), lambda: Grammar(GRAMMAR.rules, root_prior=mask(
            GRAMMAR.root_prior)),
        lambda: posterior(GRAMMAR, EVIDENCE, root=mask(np.zeros(5, int))),
        lambda: annealed_beliefs(RHM_, mask(np.zeros(5))), lambda: NOISE.snr(mask(np.ones(2))),
    ):  # fmt: skip
        assert_refused(call, "masked")


def test_noise_levels_and_sizes() -> None:
    for t in (-0.1, 1.1, np.nan, "x", None, 1j):
        assert_refused(lambda t=t: population_dynamics(RHM(6, 2, 2, 2), NOISE, t, size=100))
        assert_refused(lambda t=t: support_laws(RHM(6, 2, 2, 2), t))
        assert_refused(lambda t=t: NOISE.corrupt(DATA.leaves, t, 0))
    for n in (0, -1, 1.5, True, "3", np.nan):
        assert_refused(lambda n=n: GRAMMAR.sample(n, 0), "n = ")


# --- sizes beyond any machine ---------------------------------------------------------------------


def test_sizes_that_no_machine_holds_are_refused_before_they_are_tried() -> None:
    wide = Grammar([[[[0, 1]]]], leaf_vocabulary=10**9)
    for call, words in (
        (lambda: GRAMMAR.sample(10**12, 0), "GB of memory"),
        (lambda: GRAMMAR.sample(10**30, 0), "GB of memory"),
        (lambda: RHM(32, 8, 2, 60).draw(0).sample(1, 0), "GB of memory"),
        (lambda: RHM(v=2, m=1, s=10**30, L=1), "s = "),
        (lambda: RHM(v=2, m=1, s=2, L=10**30), "L = "),
        (lambda: RHM(v=10**30, m=1, s=2, L=1), "v = "),
        (lambda: RHM(v=10**6, m=10**5, s=2, L=1).draw(0), "GB of memory"),
        (lambda: RHM(v=10**12, m=2, s=2, L=1).draw(0), "int32"),
        (lambda: Grammar([[[[0, 1]]]], leaf_vocabulary=10**12), "leaf_vocabulary"),
        (lambda: posterior(wide, SymbolEvidence(np.array([[0, 1]]), 0, -1, 10**9)), "GB of memory"),
        (lambda: SymbolEvidence(np.zeros((2, 2), int), 0.0, -1.0, 10**9).dense(), None),
        (lambda: posterior(GRAMMAR, EVIDENCE).sample(0, 10**12), "GB of memory"),
        (lambda: NOISE.draw((10**9, 10**9), np.random.default_rng(0)), "GB of memory"),
        (lambda: rhm_variants.zipf_weights(10**15, 0.5), "GB of memory"),
        (lambda: rhm_variants.ambiguous(10**6, 10**9, 2, 1, 0), "GB of memory"),
        (lambda: population_dynamics(RHM(6, 2, 2, 2), NOISE, 0.5, size=10**12), "GB of memory"),
        (lambda: support_threshold(RHM(32, 8, 2, 1), tolerance=0), "tolerance = 0"),
        (lambda: support_threshold(RHM(32, 8, 2, 1), tolerance=np.nan), "tolerance"),
        (lambda: support_threshold(RHM(10**6, 8, 2, 1)), "exceed"),
        (lambda: susceptibility(RHM(32, 8, 2, 2000), 0.5), "L = 2000"),
    ):  # fmt: skip
        if words is not None:
            assert_refused(call, words)
    deep = RHM(v=32, m=8, s=2, L=60)
    assert deep.n_leaves == 2**60
    assert 0 < annealed_beliefs(deep, 0.5).up[0] <= 1


def test_evidence_against_the_grammar_is_still_told_apart_from_bad_evidence() -> None:
    leaves = np.zeros((1, 8), int)
    assert not GRAMMAR.is_valid(leaves)[0]
    for dtype in (np.float64, np.float32):
        with pytest.raises(ImpossibleEvidence):
            posterior(GRAMMAR, MaskingNoise(6).evidence(leaves, 0.0), dtype=dtype)
        with pytest.raises(ImpossibleEvidence):
            posterior(GRAMMAR, MaskingNoise(6).log_evidence(leaves, 0.0), dtype=dtype)
        empty = EVIDENCE.copy()
        empty[1, 2] = -np.inf
        assert_refused(
            lambda e=empty, d=dtype: posterior(GRAMMAR, e, dtype=d), "-inf for every symbol"
        )


def test_every_error_is_one_line_whatever_a_value_prints() -> None:
    assert str(InvalidParameter(f"x = {np.eye(3)!r} is wrong")).count("\n") == 0
    assert InvalidParameter("x = 1 must be 2").args == ("x = 1 must be 2",)
