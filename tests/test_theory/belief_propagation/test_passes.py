"""Blocks, tables and tiles of the passes."""

from __future__ import annotations

import copy
import os
import pickle
import threading
import time
from typing import Any

import numpy as np
import oracles
import pytest
from numba import njit

from hierdiff import RHM, Grammar, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.theory import posterior, true_beliefs
from hierdiff.theory.belief_propagation import buffers, passes
from hierdiff.theory.belief_propagation import exact_posterior as inference
from hierdiff.theory.belief_propagation._kernels import layout, simd
from hierdiff.theory.belief_propagation._kernels import leaves as kernels
from hierdiff.theory.belief_propagation.exact_posterior import leaves_of
from hierdiff.theory.belief_propagation.passes import Leaves, job_of


@pytest.mark.parametrize("depth", [1, 2])
def test_buffers_of_one_kind_of_evidence_are_not_lent_to_another(depth: int) -> None:
    """Observed symbols need room that logarithms do not, also where all other sizes agree."""
    grammar, noise = RHM(6, 2, 3, depth).draw(0), UniformNoise(6)
    x_t = noise.corrupt(grammar.sample(16, 1).leaves, 0.3, 2)
    kinds = [noise.log_evidence(x_t, 0.3), noise.evidence(x_t, 0.3)]
    jobs = [
        job_of(grammar, 0, depth, leaves_of(grammar, e, None, float, 1, private=False), 1)
        for e in kinds
    ]
    assert jobs[0].plan.shelf is not jobs[1].plan.shelf
    first = [posterior(grammar, e) for e in kinds * 2]
    for other in first[1:]:
        for a, b in zip(first[0].marginals, other.marginals, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_tables_are_not_shared_between_grammars() -> None:
    noise = UniformNoise(6)
    x_t = np.random.default_rng(0).integers(6, size=(20, 4))
    answers = {
        tuple(posterior(RHM(6, 2, 2, 2).draw(seed), noise.evidence(x_t, 0.5)).log_evidence)
        for seed in range(5)
    }
    assert len(answers) == 5


def test_what_an_inference_asks_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile of lines, the rules, and the results: of the wanted levels, three per node, draws."""
    grammar, noise = RHM(6, 2, 3, 2).draw(0), UniformNoise(6)
    truth = grammar.sample(7, 1)
    evidence = noise.evidence(truth.leaves, 0.3)
    asked: list[float] = []

    def asks(what: str, size: float) -> None:
        if what.startswith("inference"):  # not the uniforms of samples
            asked.append(size)

    monkeypatch.setattr(inference, "memory", asks)
    fixed = 8.0 * simd.LINE * 6 + 40.0 * 2 * 6 * 2 * 3
    nodes = 1 + 3 + 9
    p = posterior(grammar, evidence, levels=(0, 2))
    assert asked == [fixed + 8 * 7 * (1 + 9) * 6]
    asked.clear()
    true_beliefs(grammar, evidence, truth)
    assert asked == [fixed + 8 * 3 * 7 * nodes]
    asked.clear()
    p.sample(3, 4)
    assert asked == [fixed + 8 * 7 * 4 * nodes]


@pytest.mark.parametrize("form", ["compact", "array"])
def test_a_copy_of_a_posterior_reads_its_own_evidence(form: str) -> None:
    """Also after the original is gone, whose memory another one may use by then."""
    grammar, noise = RHM(6, 2, 2, 3).draw(0), UniformNoise(6)
    x_t = noise.corrupt(grammar.sample(40, 1).leaves, 0.3, 2)
    evidence = (noise.evidence if form == "compact" else noise.log_evidence)(x_t, 0.3)
    p = posterior(grammar, evidence, root=2)
    expected, places = [*p.sample(3).levels, *p.up], set(p._leaves.places) - {0}
    for made in (pickle.loads(pickle.dumps(p)), copy.deepcopy(p)):
        assert not places & set(made._leaves.places)
        found = [*made.sample(3).levels, *made.up]
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_copy_of_evidence_stands_where_its_own_symbols_stand() -> None:
    """The address is kept with the evidence, and a copy has its symbols elsewhere."""
    grammar, noise = RHM(6, 2, 2, 3).draw(0), UniformNoise(6)
    x_t = noise.corrupt(grammar.sample(40, 1).leaves, 0.3, 2)
    evidence = noise.evidence(x_t, 0.3)
    expected = posterior(grammar, evidence).log_evidence
    for made in (pickle.loads(pickle.dumps(evidence)), copy.deepcopy(evidence)):
        assert made._place == buffers.address(made.symbols) != evidence._place
        np.testing.assert_array_equal(posterior(grammar, made).log_evidence, expected)
    turned = noise.evidence(np.asfortranarray(x_t), 0.3)  # kept in C order, as kernels read
    np.testing.assert_array_equal(posterior(grammar, turned).log_evidence, expected)


def test_results_lie_in_one_buffer_of_their_size() -> None:
    """Lines are padded to an odd number of vectors, and levels to a vector; no more is taken."""
    grammar, noise = RHM(6, 2, 3, 2).draw(0), UniformNoise(6)
    x_t = noise.corrupt(grammar.sample(100, 1).leaves, 0.3, 2)
    found = posterior(grammar, noise.evidence(x_t, 0.3)).marginals
    base = found[0]
    while base.base is not None and isinstance(base.base, np.ndarray):
        base = base.base
    padded = inference.padded_rows(100, np.float64)
    assert padded % simd.lanes(np.float64) == 0
    assert padded // simd.lanes(np.float64) % 2 == 1
    assert 100 <= padded < 100 + 2 * simd.lanes(np.float64)
    assert base.nbytes <= 8 * (padded * 13 * 6 + 5 * simd.lanes(np.float64))


def test_levels_count_from_both_ends() -> None:
    grammar = RHM(6, 2, 3, 2).draw(0)
    assert inference.checked_levels(grammar, [-1, 0, -3, 2]) == [0, 2]
    assert inference.checked_levels(grammar, [-2]) == [1]
    for wrong in (3, -4):
        with pytest.raises(InvalidParameter, match="levels run from 0 to 2"):
            inference.checked_levels(grammar, [wrong])


def test_evidence_is_copied_only_where_it_is_kept() -> None:
    grammar = RHM(6, 2, 3, 2).draw(0)
    given = np.random.default_rng(0).standard_normal((5, 9, 6))
    lent = leaves_of(grammar, given, None, float, 1, private=False)
    own = leaves_of(grammar, given, None, float, 1, private=True)
    assert np.shares_memory(lent.dense, given)
    assert not np.shares_memory(own.dense, given)
    np.testing.assert_array_equal(own.dense, given)


def test_levels_start_at_whole_vectors() -> None:
    """Loads of vectors that cross a line of the cache cost twice."""
    grammar = Grammar(
        [np.array([[[0, 1, 2]], [[2, 2, 0]]]),
         np.array([[[0, 3], [1, 1]], [[2, 0], [3, 1]], [[1, 2], [3, 3]]])]
    )  # fmt: skip
    evidence = np.zeros((3, 6, 4))
    job = job_of(grammar, 0, 2, leaves_of(grammar, evidence, None, float, 1, private=False), 1)
    width = simd.lanes(float)
    geometry = job.plan.geometry
    columns = [layout.ROWS, layout.STRIDE, layout.STEP, layout.STACK]
    assert (geometry[:, columns] % width == 0).all()
    np.testing.assert_array_equal(geometry[:, layout.NODES], [1, 3, 6])
    np.testing.assert_array_equal(geometry[:, layout.ROWS] // width, [0, 4, 4 + 3 * 5])
    np.testing.assert_array_equal(geometry[:, layout.STACK] // width, [0, 2, 2 + 3 * 3])


def test_threads_are_used_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tile is done once; one thread up to the work that pays, several beyond it."""
    grammar, tiles = RHM(6, 2, 3, 2).draw(0), 5
    evidence = np.zeros((tiles * simd.lanes(float), 9, 6))
    leaves = leaves_of(grammar, evidence, None, float, 1, private=False)
    job = job_of(grammar, 0, 2, leaves, 3)
    work = tiles * (1 + 3) * 3 * (6 * 2 * 3 + 3 * 6)
    assert tiles * job.plan.work == work
    together = threading.Barrier(3)
    for enough, parts in ((work, 1), (work - 1, 3)):
        monkeypatch.setattr(passes, "_SERIAL_WORK", enough)
        done: list[int] = []
        workers: set[int] = set()

        def run(entries: np.ndarray, room: np.ndarray, base: np.ndarray) -> None:
            workers.add(threading.get_ident())  # noqa: B023
            if parts == 3:  # noqa: B023
                together.wait(10)  # nobody is so fast that others have nothing to do
            while (tile := _taken(entries)) < entries[layout.TILES]:
                done.append(tile)  # noqa: B023

        passes.run_job(job, None, run=run)
        assert len(workers) == parts
        assert sorted(done) == list(range(tiles))


@njit
def _taken(job):
    return simd.take(simd.pointer(job), layout.NEXT)


def test_a_thread_that_comes_late_is_not_waited_for() -> None:
    """Its work was done by others; what it gets to see is nothing."""
    gate, calls = threading.Event(), []

    def slow() -> None:
        gate.wait(10)

    workers = max(len(buffers._WORKERS), 1)
    busy = [buffers._Part(slow) for _ in range(workers)]
    buffers._hand_out(busy)
    try:
        buffers.together(2, lambda _: calls.append(threading.get_ident()) is None)
        assert calls == [threading.get_ident()]
    finally:
        gate.set()
        for part in busy:
            part.wait()
    buffers.together(1, lambda _: calls.append(0) is None)
    assert len(calls) == 2


@pytest.mark.parametrize(("soon", "done", "late"), [(60.0, 1, True), (60.0, 0, False), (0.0, 1, 0)])
def test_a_thread_that_comes_late_waits_for_the_next_call_if_that_comes_soon(
    soon: float, done: int, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not for a call that left pieces undone: what those are written to may be gone."""
    gate, roles, others = threading.Event(), [], threading.Event()

    def run(role: int) -> bool:
        roles.append(role)
        if role != layout.CALLS:
            others.set()
        return bool(done)

    monkeypatch.setattr(buffers, "_SOON", soon)
    monkeypatch.setattr(buffers, "_LAST", time.perf_counter())
    ordinary = buffers._end

    def end(parts: list[buffers._Part], done: bool, late: float) -> None:
        ordinary(parts, done, late)
        gate.set()

    monkeypatch.setattr(buffers, "_end", end)
    busy = [buffers._Part(lambda: gate.wait(10)) for _ in range(max(len(buffers._WORKERS), 1))]
    buffers._hand_out(busy)
    buffers.together(2, run)
    for part in busy:
        part.wait()
    assert others.wait(10 if late else 0.05) == bool(late)
    assert roles == [layout.CALLS, layout.HELPS][: 1 + bool(late)]


_PROCESSORS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@pytest.mark.skipif(
    buffers._SCHED_GETCPU is None or len(_PROCESSORS) < 2, reason="threads have no other processor"
)
def test_threads_that_help_wake_up_elsewhere_than_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And are free once awake; where that is forbidden, or there are many, they always are."""
    here, calls, forbidden = _PROCESSORS[0], [], False
    ordinary, every = os.sched_setaffinity, set(_PROCESSORS)

    def record(thread: int, processors: set[int]) -> None:
        calls.append((thread, set(processors)))
        if forbidden:
            raise PermissionError(1, "Operation not permitted")
        ordinary(thread, processors)

    def moves() -> list[tuple[int, set[int]]]:
        calls.clear()
        seen: list[set[int]] = []
        part = buffers._Part(lambda: seen.append(os.sched_getaffinity(0)))
        buffers._hand_out([part])
        part.wait()
        assert seen == [every]
        return calls

    monkeypatch.setattr(buffers, "_SCHED_GETCPU", lambda: here)
    monkeypatch.setattr(os, "sched_setaffinity", record)
    monkeypatch.setattr(buffers, "_FEW", 10**6)
    moves()  # there is a thread from here on
    threads = [thread.native_id for thread in buffers._WORKERS]
    for here in _PROCESSORS[:2]:
        assert moves() == [*((name, every - {here}) for name in threads), (0, every)]
    monkeypatch.setattr(buffers, "_FEW", 1)
    assert moves() == []
    monkeypatch.setattr(buffers, "_FEW", 10**6)
    for thread in threads:
        ordinary(thread, every)
    forbidden = True
    assert moves() == [(threads[0], every - {here}), (0, every)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("clamped", [False, True])
def test_rescued_samples_are_like_the_others(
    dtype: type, clamped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All samples are declared out of range: done again in float64, and in logarithms."""
    grammar, noise = RHM(5, 2, 3, 3).draw(0), UniformNoise(5)
    truth = grammar.sample(9, 1)
    x_t = noise.corrupt(truth.leaves, 0.4, 2)
    root = truth.levels[0][:, 0] if clamped else None

    def results(evidence: object, dtype: type) -> list[np.ndarray]:
        p = posterior(grammar, evidence, root=root, dtype=dtype)
        b = true_beliefs(grammar, evidence, truth, root=root, dtype=dtype)
        draws = list(p.sample(3, 4).levels)
        return [*draws, *p.marginals, *p.up, *p.down, p.log_evidence, *b.marginal, *b.upward,
                *b.square, b.log_evidence]  # fmt: skip

    kinds = [noise.evidence(x_t, 0.4), noise.log_evidence(x_t, 0.4)]
    expected = [results(evidence, np.float64) for evidence in kinds]
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    ordinary = inference.walk

    def spoiled(g: Grammar, top: int, bottom: int, leaves: Leaves, threads: int, action: Any):
        """What a rescue leaves as it was is wrong."""
        result = ordinary(g, top, bottom, leaves, threads, action)
        if inference._RANGE_LIMIT[leaves.root.dtype] > 0:
            (action.values if hasattr(action, "values") else action.out).fill(0)
        return result

    monkeypatch.setattr(inference, "walk", spoiled)
    for limits in ({single: np.inf, double: -900.0}, {single: np.inf, double: np.inf}):
        monkeypatch.setattr(inference, "_RANGE_LIMIT", limits)
        for evidence, known in zip(kinds, expected, strict=True):
            found = results(evidence, dtype)
            tolerance = 1e-12 if dtype is np.float64 else 1e-6
            for one, other in zip(found, known, strict=True):
                np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_without_samples_nothing_is_drawn() -> None:
    grammar = RHM(6, 2, 3, 2).draw(0)
    p = posterior(grammar, np.zeros((0, 9, 6)))
    assert [x.shape for x in p.sample(0, 3).levels] == [(0, 1), (0, 3), (0, 9)]


def wide_tree(*branches: int) -> Grammar:
    """Two symbols, each with one rule: itself, and then as many symbols 0 as there are branches."""
    return Grammar([np.eye(2, s, dtype=int)[:, None, :] for s in branches])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_where_trees_are_cut(dtype: type) -> None:
    """Batches that fill the lanes are whole; one tree is cut where its subtrees fill a tile."""
    lanes = simd.lanes(dtype)
    tree = RHM(32, 8, 2, 9).draw(0)
    assert passes.cut_level(tree, 0, 9, 0, dtype) is None
    for n in (lanes, 2 * lanes, 100):
        assert passes.cut_level(tree, 0, 9, n, dtype) is None
    full = int(np.log2(lanes))
    for n in (1, 2, 4):
        assert passes.cut_level(tree, 0, 9, n, dtype) == full - int(np.log2(n))
    for small in (wide_tree(99), wide_tree(2, 2), wide_tree(*(2,) * 6)):
        assert passes.cut_level(small, 0, small.L, 1, dtype) is None  # cheaper than two calls


def test_large_trees_are_cut_where_a_subtree_stays_in_the_cache() -> None:
    """Whole trees up to 6 MiB, subtrees up to 1.5 MiB, of lines of v + 2 vectors per node."""
    n = 100
    for depth in (10, 12, 14):
        tree = RHM(2, 1, 2, depth).draw(0)
        sizes = [simd.LINE * 4 * (2 ** (depth - level + 1) - 1) for level in range(depth + 1)]
        if sizes[0] <= 6 * 2**20:
            expected = None
        else:
            expected = next(level for level, size in enumerate(sizes) if size <= 1.5 * 2**20)
        assert passes.cut_level(tree, 0, depth, n, float) == expected
    assert expected is not None


def test_a_leaf_without_a_largest_value_is_copied() -> None:
    given = np.array([[[np.inf, 1.0], [2.0, np.nan], [3.0, 5.0]]])
    out, tops = passes.centred(given, 1)
    np.testing.assert_array_equal(out[0, 0], [np.inf, 1])
    np.testing.assert_array_equal(out[0, 2], [-2, 0])
    assert np.isnan(out[0, 1, 1])
    assert tops[0] == np.inf
    nothing = np.full((1, 1, 2), -np.inf)
    np.testing.assert_array_equal(passes.centred(nothing, 1)[0], nothing)


@njit
def _gathered(dense, columns, first, v, out):
    kernels.gather(simd.pointer(dense), v, 2 * v, columns, first, v, simd.pointer(out), 0)


def test_lanes_without_a_sample_repeat_the_last_one() -> None:
    """The second of two leaves, of samples 1 and 2 of three; nothing beyond them is read."""
    dense = np.arange(20.0 * 2 * 3).reshape(20, 2, 3)
    width = simd.lanes(float)
    out = simd.aligned(3 * width, float)
    _gathered(dense, 3, 1, 3, out)
    samples = np.minimum(1 + np.arange(width), 2)
    np.testing.assert_array_equal(out.reshape(3, width), dense[samples, 1].T)


def test_uniform_numbers_fall_into_half_open_intervals() -> None:
    """Four classes and two rules of equal weight: k/4 draws class k, and 1/2 the second rule."""
    grammar = oracles.FIXTURE
    p = posterior(grammar, np.zeros((1, 4, 4)))
    head = np.arange(4) / 4
    for half, k in ((0.0, 0), (0.5, 1)):
        drawn = p.sample_with([head, np.full((4, 1), half), np.full((4, 2), half)])
        np.testing.assert_array_equal(drawn.levels[0][:, 0], range(4))
        for level in range(2):
            parents = drawn.levels[level]
            expected = grammar.rules[level][parents, k].reshape(4, -1)
            np.testing.assert_array_equal(drawn.levels[level + 1], expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("u", [0.0, 1 - 2.0**-53])
@pytest.mark.parametrize("grammar", [RHM(4, 3, 2, 3).draw(0), oracles.WEIGHTED, oracles.AMBIGUOUS])
def test_the_ends_of_the_unit_interval_draw_what_is_possible(
    grammar: Grammar, u: float, dtype: type
) -> None:
    """Rounding may leave a running sum short of its total; what follows may be impossible."""
    random, n = np.random.default_rng(1), 200
    truth = grammar.sample(n, 0).leaves
    log_psi = random.standard_normal((n, grammar.n_leaves, grammar.v[-1]))
    zero = random.random(log_psi.shape) < 0.5
    np.put_along_axis(zero, truth[..., None], False, axis=2)
    log_psi[zero] = -np.inf
    uniforms = [np.full(n, u), *(np.full((n, grammar.n_nodes(l)), u) for l in range(grammar.L))]
    drawn = posterior(grammar, log_psi, dtype=dtype).sample_with(uniforms)
    at_leaves = np.take_along_axis(log_psi, np.asarray(drawn.leaves)[..., None], axis=2)
    assert np.isfinite(at_leaves).all()
    assert np.isfinite(grammar.log_prob(drawn.leaves)).all()


def plain_range(grammar: Grammar, likelihood: np.ndarray) -> int:
    """Smallest sum of exponents on a path to the root, one sample, in plain NumPy.

    It begins at a leaf, or with the product of all children of a node in their own units.
    """
    beliefs = [x * 2.0 ** -np.floor(np.log2(x.sum())) for x in likelihood]
    lowest, own = [0] * len(beliefs), [0] * len(beliefs)
    for table in reversed(grammar.rules):
        s = table.shape[-1]
        above = []
        for node in range(len(beliefs) // s):
            children = beliefs[node * s : (node + 1) * s]
            total = np.prod([x[table[..., j]] for j, x in enumerate(children)], axis=0).sum(axis=1)
            exponent = int(np.floor(np.log2(total.sum())))
            # zero is one of them: a path that gains nothing counts as none
            together = sum(own[node * s : (node + 1) * s])
            path = exponent + min(0, together, *lowest[node * s : (node + 1) * s])
            above.append((total * 2.0**-exponent, path, exponent))
        beliefs, lowest, own = ([x[i] for x in above] for i in range(3))
    return lowest[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_range_of_a_tree_is_that_of_its_worst_path(dtype: type) -> None:
    """One pair of leaves is at odds with the rules, and each pair in turn; all children count."""
    for grammar in (RHM(6, 2, 3, 3).draw(0), RHM(6, 3, 2, 4).draw(1)):
        s, nodes = grammar.s[0], grammar.n_leaves // grammar.s[0]
        rules = grammar.rules[-1].reshape(-1, s)
        odd = next(x for x in np.ndindex(*[6] * s) if not (rules == x).all(axis=1).any())
        likelihood = np.ones((nodes, grammar.n_leaves, 6))
        for node in range(nodes):
            for j in range(s):  # 1e-7 for all symbols but that one
                likelihood[node, node * s + j] = np.where(np.arange(6) == odd[j], 1, 1e-7)
        expected = [plain_range(grammar, x) for x in likelihood]
        assert max(expected) < -20
        leaves = leaves_of(grammar, np.log(likelihood), None, dtype, 1, private=False)
        _, found = passes.upward(grammar, 0, grammar.L, leaves, 1)
        np.testing.assert_array_equal(found.ranges, expected)
