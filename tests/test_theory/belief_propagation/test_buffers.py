"""Memory of results, `out`, scratch and threads."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hierdiff import RHM, UniformNoise
from hierdiff.errors import InvalidParameter
from hierdiff.noise import GaussianNoise
from hierdiff.theory import posterior, specialise, true_beliefs
from hierdiff.theory.belief_propagation import buffers
from hierdiff.theory.belief_propagation._kernels import layout
from hierdiff.theory.belief_propagation.exact_posterior import leaves_of
from hierdiff.theory.belief_propagation.passes import job_of

GRAMMAR = RHM(6, 2, 3, 3).draw(0)
NOISE = UniformNoise(6)


def evidence(n: int, seed: int = 0):
    x_t = NOISE.corrupt(GRAMMAR.sample(n, seed).leaves, 0.3, seed)
    return NOISE.evidence(x_t, 0.3)


def empty(n: int, dtype: type, levels=range(4)) -> list[np.ndarray]:
    return [np.full((n, GRAMMAR.n_nodes(x), 6), np.nan, dtype) for x in levels]


# ------------------------------------------------------------------------------------- results


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=40))
def test_memory_that_anyone_can_see_is_never_used_again(steps: list[tuple[int, int]]) -> None:
    """Arrays are made, viewed and dropped in any order; those alive keep what was written."""
    alive: list[tuple[np.ndarray, np.ndarray]] = []
    for i, (what, size) in enumerate(steps):
        if what < 3 or not alive:
            array = buffers.results(size * buffers._POOLED // 4, np.float32)
            array[:] = i + np.arange(array.size) % 7
            alive.append((array, array.copy()))
        elif what < 5:  # a view in place of the array
            array, copy = alive.pop(size % len(alive))
            view = (lambda x: x[1::2]) if what == 3 else (lambda x: x.view(np.int32))
            alive.append((view(array), view(copy)))
        else:
            del alive[size % len(alive)]
        array = copy = None  # nothing but the list keeps them
        for array, copy in alive:
            np.testing.assert_array_equal(array, copy)


def test_memory_is_used_again_once_it_is_free() -> None:
    size = 3 * buffers._POOLED
    buffers._FREE.clear()
    one = buffers.results(size, np.uint8)
    place = buffers.address(one)
    view = one[10:20]
    del one
    gc.collect()
    other = buffers.results(size, np.uint8)
    assert buffers.address(other) != place
    del view
    gc.collect()
    assert buffers.address(buffers.results(size - 1000, np.uint8)) == place


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "_KEPT", 4 * buffers._POOLED)
    arrays = [buffers.results(buffers._POOLED, np.uint8) for _ in range(20)]
    del arrays
    gc.collect()
    assert len(buffers._FREE) == 4
    buffers.results(1 << 30, np.uint8)
    assert sum(x.size for x in buffers._FREE) <= 4 * buffers._POOLED


def test_posteriors_keep_their_numbers() -> None:
    """As long as anything of a result is alive, later calls write elsewhere."""
    n = 2000
    first = posterior(GRAMMAR, evidence(n), dtype="float32")
    slices = [x[5:900:7] for x in first.marginals]
    copies = [x.copy() for x in slices]
    del first
    for seed in range(1, 4):
        posterior(GRAMMAR, evidence(n, seed), dtype="float32")
    for one, copy in zip(slices, copies, strict=True):
        np.testing.assert_array_equal(one, copy)


def test_results_of_several_threads_are_apart() -> None:
    def call(seed: int) -> bool:
        mine = posterior(GRAMMAR, evidence(1500, seed % 5), dtype="float32", threads=2)
        again = posterior(GRAMMAR, evidence(1500, seed % 5), dtype="float32", threads=1)
        return all(
            np.array_equal(a, b) for a, b in zip(mine.marginals, again.marginals, strict=True)
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(call, range(24)))


# ----------------------------------------------------------------------------------------- out


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 5, 16, 40])
def test_results_in_arrays_of_the_caller(n: int, dtype: type) -> None:
    """The same bits, whatever is wanted, and wherever the arrays stand."""
    expected = posterior(GRAMMAR, evidence(n), dtype=dtype)
    out = empty(n, dtype)
    found = posterior(GRAMMAR, evidence(n), dtype=dtype, out=out)
    for level in range(4):
        assert found.marginals[level] is out[level]
        np.testing.assert_array_equal(out[level], expected.marginals[level])
    np.testing.assert_array_equal(found.log_evidence, expected.log_evidence)
    some = empty(n, dtype, (1, 3))[::-1]  # the second may stand before the first
    some = some[::-1]
    posterior(GRAMMAR, evidence(n), dtype=dtype, levels=(-1, 1), out=some)
    np.testing.assert_array_equal(some[0], expected.marginals[1])
    np.testing.assert_array_equal(some[1], expected.marginals[3])
    odd = np.empty(n * 27 * 6 + 1, dtype)[1:].reshape(n, 27, 6)  # not on a line of the cache
    posterior(GRAMMAR, evidence(n), dtype=dtype, levels=(3,), out=[odd])
    np.testing.assert_array_equal(odd, expected.marginals[3])
    assert posterior(GRAMMAR, evidence(n), dtype=dtype, levels=(), out=[]).marginals[0].size == 0


@pytest.mark.parametrize("sizes", [(16, 2, 2, 4), (8, 2, 4, 3), (5, 3, 2, 5), (32, 2, 2, 3)])
@pytest.mark.parametrize("n", [1, 17, 33])
def test_rows_and_lines_hold_the_same(sizes: tuple[int, int, int, int], n: int) -> None:
    """Lines become rows by vectors, with what is left over one by one."""
    grammar, noise = RHM(*sizes).draw(0), GaussianNoise(sizes[0])
    x_t = noise.corrupt(grammar.sample(n, 1).leaves, 0.5, 2)
    for dtype in (np.float32, np.float64):
        log_evidence = noise.log_evidence(x_t, 0.5).astype(dtype)
        expected = posterior(grammar, log_evidence, dtype=dtype).marginals
        out = [np.full(x.shape, np.nan, dtype) for x in expected]
        posterior(grammar, log_evidence, dtype=dtype, out=out)
        for one, other in zip(out, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_extreme_samples_are_done_again_in_place() -> None:
    log_evidence = np.random.default_rng(0).normal(0, 300, (3, 27, 6))
    out = empty(3, np.float32)
    expected = posterior(GRAMMAR, log_evidence, dtype="float32")
    posterior(GRAMMAR, log_evidence, dtype="float32", out=out)
    for one, other in zip(out, expected.marginals, strict=True):
        np.testing.assert_array_equal(one, other)


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda out: out[:3], r"out holds 3 arrays; give one array for each of the 4 levels"),
        (lambda out: 5, "out is no list"),
        (lambda out: [*out[:3], out[3].tolist()], r"out\[3\] is of type list"),
        (lambda out: [out[0], out[1][:, :2], *out[2:]], r"out\[1\] is float64 of shape \(4, 2, 6"),
        (lambda out: [*out[:3], out[3].astype("f4")], r"out\[3\] is float32 of .*np.float64\)"),
        (lambda out: [*out[:3], np.asfortranarray(out[3])], r"out\[3\] is not in C order"),
        (lambda out: [*out[:3], read_only(out[3])], r"out\[3\] is not in C order"),
        (lambda out: [*out[:3], out[2].repeat(3, 1)[::1][:, ::-1]], r"out\[3\] is not in C order"),
        (lambda out: [out[3].reshape(-1)[:24].reshape(4, 1, 6), *out[1:]],
         r"out\[3\] shares memory with another"),
    ],
)  # fmt: skip
def test_bad_places_for_results(change, words: str) -> None:
    with pytest.raises(InvalidParameter, match=words) as error:
        posterior(GRAMMAR, evidence(4), out=change(empty(4, np.float64)))
    assert "\n" not in str(error.value)


def test_results_are_not_written_over_the_evidence() -> None:
    log_evidence = np.zeros((4, 27, 6))
    with pytest.raises(InvalidParameter, match=r"out\[0\] shares memory with log_evidence"):
        posterior(GRAMMAR, log_evidence, levels=(3,), out=[log_evidence])


# ------------------------------------------------------------------------------------- scratch


def test_scratch_is_shared_by_grammars_of_one_shape_and_bounded() -> None:
    shelves = set()
    for seed in range(3):
        grammar = RHM(6, 2, 3, 3).draw(seed)
        leaves = leaves_of(grammar, evidence(20), None, float, 1, private=False)
        shelves.add(job_of(grammar, 0, 3, leaves, 1).plan.shelf)
    assert len(shelves) == 1
    shelf = shelves.pop()
    one = shelf.take()
    assert shelf.take() is not one
    shelf.give(one)
    assert shelf.take() is one
    assert all(place % 64 == 0 for place in one.room[: len(shelf.offsets)])
    for size in range(1, 40):
        other = buffers.shelf_of((64 * size, 8))
        other.give(other.take())
    assert len(buffers._SCRATCH) <= max(buffers._SCRATCH_KEPT, buffers.available_threads())


# ------------------------------------------------------------------------------------- threads


def test_every_part_is_done_once_and_errors_come_back() -> None:
    done: list[tuple[int, int]] = []
    buffers.in_threads(7, 3, lambda a, b: done.append((a, b)))
    assert [i for part in sorted(done) for i in range(*part)] == list(range(7))
    assert len(done) == 3
    done.clear()
    buffers.in_threads(2, 100, lambda a, b: done.append((a, b)))
    assert sorted(done) == [(0, 1), (1, 2)]

    def fails(first: int, last: int) -> None:
        if first:
            raise MemoryError

    with pytest.raises(MemoryError):
        buffers.in_threads(2, 2, fails)
    done.clear()
    buffers.in_threads(0, 2, lambda a, b: done.append((a, b)))
    assert done == [(0, 0)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("special", [False, True])
def test_calls_in_quick_succession_from_several_threads(dtype: type, special: bool) -> None:
    """Threads that wait for the next call take the right one, and it goes only without them."""
    grammar = RHM(6, 2, 2, 5).draw(3 + special)
    x_t = NOISE.corrupt(grammar.sample(1400, 0).leaves, 0.3, 1)
    given = [NOISE.evidence(x_t[i : i + 1200], 0.3) for i in range(0, 200, 40)]
    alone = [posterior(grammar, x, dtype=dtype, threads=1) for x in given]
    truth = grammar.sample(1200, 0)
    beliefs = true_beliefs(grammar, given[0], truth, dtype=dtype, threads=1).marginal
    if special:
        specialise(grammar, dtype)

    def calls(first: int) -> bool:
        fine = True
        for i in range(first, first + 12):
            found = posterior(grammar, given[i % 5], dtype=dtype, threads=2 + i % 2)
            pairs = list(zip(found.marginals, alone[i % 5].marginals, strict=True))
            if i % 4 == 0:
                again = true_beliefs(grammar, given[0], truth, dtype=dtype, threads=2)
                pairs += zip(again.marginal, beliefs, strict=True)
            pairs.append((found.log_evidence, alone[i % 5].log_evidence))
            fine = fine and all(np.array_equal(a, b) for a, b in pairs)
        return fine

    assert calls(0)
    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(calls, range(6)))
    assert buffers._BELL[layout.OPEN] == buffers._BELL[layout.TAKEN] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_after_threads_were_used() -> None:
    """The child computes the same, in threads of its own."""
    expected = posterior(GRAMMAR, evidence(4000), threads=2).log_evidence
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = posterior(GRAMMAR, evidence(4000), threads=2).log_evidence
            os.write(write, b"y" if np.array_equal(found, expected) else b"n")
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 1) == b"y"
    os.waitpid(child, 0)
    os.close(read)


def test_threads_that_wait_for_the_next_call_keep_no_results(monkeypatch) -> None:
    """One piece of memory serves any number of calls that follow each other."""
    made, plain = [], buffers._Memory
    monkeypatch.setattr(buffers, "_Memory", lambda size: made.append(size) or plain(size))
    grammar, noise = RHM(16, 4, 2, 7).draw(0), UniformNoise(16)
    given = noise.evidence(grammar.sample(256, 0).leaves, 0.3)
    for _ in range(30):
        posterior(grammar, given, dtype=np.float32, threads=2)
    assert len(made) <= 1


# Interrupts 200 times a second end calls while other threads still write for them: the process must
# not crash, and whatever is computed afterwards is right.
INTERRUPTED = """
import os, random, signal, sys, threading, time
import numpy as np
from hierdiff import RHM, MaskingNoise
from hierdiff.theory import posterior, specialise

cases = []
for v, m, s, L, n in ((16, 4, 2, 6, 256), (8, 2, 4, 4, 256), (32, 8, 2, 5, 64), (4, 2, 2, 2, 5)):
    grammar, noise = RHM(v=v, m=m, s=s, L=L).draw(seed=0), MaskingNoise(v)
    specialise(grammar, np.float32)
    x_t = noise.corrupt(grammar.sample(n, seed=1).leaves, 0.4, seed=2)
    for dtype in (np.float32, np.float64):
        cases.append((grammar, noise.evidence(x_t, 0.4), dtype))

def run(case):
    grammar, evidence, dtype = case
    found = posterior(grammar, evidence, dtype=dtype, threads=2)
    return [x.tobytes() for x in found.marginals] + [found.log_evidence.tobytes()]

want, end, seen = [run(case) for case in cases], time.time() + float(sys.argv[1]), [0, 0]

def interrupt():
    pick = random.Random(0)
    while time.time() < end:
        time.sleep(0.01 * pick.random())
        os.kill(os.getpid(), signal.SIGINT)

def beside():  # so that other threads of a call are often late
    pick = random.Random(2)
    while time.time() < end:
        run(cases[pick.randrange(len(cases))])

pick = random.Random(1)
for work in (interrupt, beside):
    threading.Thread(target=work, daemon=True).start()
while time.time() < end + 0.1:
    try:
        while time.time() < end + 0.1:
            k = pick.randrange(len(cases))
            assert run(cases[k]) == want[k]
            seen[0] += 1
    except KeyboardInterrupt:
        seen[1] += 1
assert all(run(case) == one for case, one in zip(cases, want))
print(*seen)
"""


@pytest.mark.slow
def test_interrupts_leave_the_memory_to_the_threads_that_write_to_it() -> None:
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "8"], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr[-2000:]
    calls, interrupts = map(int, run.stdout.split())
    assert calls > 20
    assert interrupts > 20
