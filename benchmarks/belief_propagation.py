"""Exact inference: against other formulations, against the machine, and how it scales.

All start from leaf evidence at noise level .3 of uniform noise and end with what is named.  Times
of this package are those of public functions in float32 from compact evidence, with all threads,
unless a case says otherwise.  Sizes A, B and C are (v, m, s, L) = (32, 8, 2, 10), (16, 4, 2, 8) and
(8, 2, 4, 4).
"""

from __future__ import annotations

import inspect
import itertools
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Call, NotTimed, Table, over
from limits import available, fma_time, stream_time

__all__ = ["SIZES", "flops", "output_bytes", "world"]

SIZES = {"A": (32, 8, 2, 10), "B": (16, 4, 2, 8), "C": (8, 2, 4, 4)}
LEVEL = 0.3


def world(sizes: tuple[int, int, int, int], n: int, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """Grammar, data, noise process and observation."""
    from hierdiff import RHM, UniformNoise

    grammar = RHM(*sizes).draw(seed)
    truth = grammar.sample(n, 1)
    noise = UniformNoise(sizes[0])
    return grammar, truth, noise, noise.corrupt(truth.leaves, LEVEL, 2)


def compact(sizes: tuple[int, int, int, int], n: int) -> tuple[Any, Any]:
    """Grammar and compact evidence."""
    grammar, _, noise, x_t = world(sizes, n)
    return grammar, noise.evidence(x_t, LEVEL)


def nodes(s: int, L: int, first: int = 0) -> int:
    """Nodes of the levels ``first`` to L."""
    return sum(s**level for level in range(first, L + 1))


def output_bytes(sizes: tuple[int, int, int, int], n: int) -> float:
    """Bytes of all marginals in float32: 4 v per node."""
    v, _, s, L = sizes
    return 4.0 * v * nodes(s, L) * n


def flops(sizes: tuple[int, int, int, int], n: int) -> float:
    """Flops of both passes: s v m upward and 4 (s - 1) v m downward per internal node.

    Upward a product of s factors and a sum for each rule; downward for each child the product of
    its siblings and the parent, shared between children by products from the left and the right.
    """
    v, m, s, L = sizes
    return (s + 4 * (s - 1)) * v * m * nodes(s, L - 1) * float(n)


def float32(function: Any, *arguments: Any, **options: Any) -> Call:
    """A call in single precision."""
    return partial(function, *arguments, dtype="float32", **options)


# ------------------------------------------------------------------- against others and the machine

MARGINALS = Table(
    "marginals", "Marginals of all nodes", capped=True, least=9,
    points=over(size="ABC", batch=(1, 32, 256)), quick=over(size="C", batch=(1, 256)),
)  # fmt: skip


@MARGINALS.case("posterior")
def everything(size: str, batch: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SIZES[size], batch))


@MARGINALS.case("posterior, memory given")
def into_memory(size: str, batch: int) -> Call:
    from hierdiff.theory import posterior

    if "out" not in inspect.signature(posterior).parameters:
        raise NotTimed("posterior takes no memory for its output")
    grammar, evidence = compact(SIZES[size], batch)
    levels = range(grammar.L + 1)
    out = [np.empty((batch, grammar.n_nodes(x), grammar.v[x]), np.float32) for x in levels]
    return float32(posterior, grammar, evidence, out=out)


@MARGINALS.case("posterior, specialised")
def with_code(size: str, batch: int) -> Call:
    """The rules compiled beforehand; of another grammar, since equal ones share their code."""
    from hierdiff import theory

    if not hasattr(theory, "specialise"):
        raise NotTimed("rules cannot be compiled")
    grammar, _, noise, x_t = world(SIZES[size], batch, seed=1)
    theory.specialise(grammar, "float32")
    return float32(theory.posterior, grammar, noise.evidence(x_t, LEVEL))


@MARGINALS.case("posterior, evidence as an array")
def from_array(size: str, batch: int) -> Call:
    from hierdiff.theory import posterior

    grammar, _, noise, x_t = world(SIZES[size], batch)
    return float32(posterior, grammar, noise.log_evidence(x_t, LEVEL).astype(np.float32))


@MARGINALS.case("posterior, float64")
def double(size: str, batch: int) -> Call:
    from hierdiff.theory import posterior

    return partial(posterior, *compact(SIZES[size], batch), dtype="float64")


@MARGINALS.case("compiled pass alone")
def kernel(size: str, batch: int) -> Call:
    """Whole trees side by side, into memory that is in use already: no checks, no allocation."""
    from hierdiff.theory.belief_propagation import exact_posterior as public
    from hierdiff.theory.belief_propagation import passes
    from hierdiff.theory.belief_propagation._kernels import layout, simd

    grammar, evidence = compact(SIZES[size], batch)
    leaves = public.leaves_of(grammar, evidence, None, np.float32, available(), private=False)
    rows = public.padded_rows(batch, np.float32)
    levels = range(grammar.L + 1)
    lines = [rows * grammar.n_nodes(level) * grammar.v[level] for level in levels]
    starts = dict(enumerate(np.concatenate([[0], np.cumsum(lines)[:-1]]).tolist()))
    action = passes.Dense(layout.MARGINAL, starts, simd.aligned(sum(lines), np.float32), rows)
    job = passes.job_of(grammar, 0, grammar.L, leaves, available())
    return lambda: action(job, True)


@MARGINALS.case("stores", peer="limits")
def stores(size: str, batch: int) -> tuple[Call, float]:
    return stream_time(output_bytes(SIZES[size], batch))


@MARGINALS.case("multiply-adds", peer="limits")
def multiply_adds(size: str, batch: int) -> tuple[Call, float]:
    return fma_time(flops(SIZES[size], batch))


PAUSED = Table(
    "after a pause", "Marginals of all nodes for 10 ms, after a pause of a tenth of a second",
    points=over(size="ABC", batch=(256,)), quick=over(size="C", batch=(256,)), least=9, pause=0.1,
)  # fmt: skip
PAUSED.case("posterior")(everything)
PAUSED.case("posterior, specialised")(with_code)


COMPILING = Table(
    "compiling rules", "The rules of a grammar into code, each grammar once",
    points=over(size="ABC"), quick=over(size="C"), capped=True, seconds=0.5,
)  # fmt: skip


@COMPILING.case("specialise, float32")
def compiling(size: str) -> Call:
    from hierdiff import RHM

    try:
        from hierdiff.theory.belief_propagation._kernels.specialised import code_of
    except ImportError:
        raise NotTimed("rules cannot be compiled") from None
    seeds = itertools.count(2)

    def call() -> list[Any]:
        grammar = RHM(*SIZES[size]).draw(next(seeds))
        sizes = zip(grammar.rules, grammar.v[1:], strict=True)
        return [code_of(rule, v, np.dtype(np.float32), None) for rule, v in sizes]

    return call


def torch_input(size: str, batch: int) -> tuple[Any, list[Any], Any]:
    """Grammar, rules and evidence [v, n * leaves] as published code takes them, and its check."""
    import torch

    torch.set_num_threads(available())
    grammar, _, noise, x_t = world(SIZES[size], batch)
    log_evidence = noise.log_evidence(x_t, LEVEL)
    flat = np.exp(log_evidence).astype(np.float32).transpose(2, 0, 1)
    leaves = torch.tensor(flat.reshape(grammar.v[-1], -1))
    rules = [torch.tensor(rule.astype(np.int64)) for rule in grammar.rules]
    return grammar, rules, leaves


def agreeing(size: str, batch: int, function: Any) -> Call:
    """A call in torch, after its marginals of few samples have been compared with ours."""
    from hierdiff.theory import posterior

    few = min(batch, 4)
    grammar, _, noise, x_t = world(SIZES[size], few)
    rules, leaves = torch_input(size, few)[1:]
    ours = posterior(grammar, noise.log_evidence(x_t, LEVEL)).marginals
    for mine, other in zip(ours, function(rules, leaves), strict=True):
        theirs = other.numpy().reshape(mine.shape[2], few, -1).transpose(1, 2, 0)
        gap = float(np.abs(theirs - mine).max())
        if not gap < 1e-5:
            raise AssertionError(f"the two formulations differ by {gap}")
    return partial(function, *torch_input(size, batch)[1:])


@MARGINALS.case("dense torch", peer="torch")
def dense(size: str, batch: int) -> Call:
    from dense_reference import marginals

    return agreeing(size, batch, marginals)


@MARGINALS.case("sparse torch", peer="torch")
def sparse(size: str, batch: int) -> Call:
    from dense_reference import sparse_marginals

    return agreeing(size, batch, sparse_marginals)


@MARGINALS.case("plain NumPy", peer="plain")
def plain(size: str, batch: int) -> tuple[Call, float]:
    """The twin that tests compare with, one sample at a time: one is timed, for all."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from oracles import message_passing

    grammar, _, noise, x_t = world(SIZES[size], 1)
    log_evidence = noise.log_evidence(x_t, LEVEL)[0]
    return lambda: message_passing(grammar, log_evidence), float(batch)


# -------------------------------------------------------------------------------- what is asked for

ASKED = Table(
    "asked", "What is asked for, size A", capped=True,
    points=over(batch=(1, 32, 256)), quick=over(batch=(1,)),
)  # fmt: skip


@ASKED.case("all marginals")
def asked_all(batch: int) -> Call:
    return everything("A", batch)


@ASKED.case("leaf marginals")
def asked_leaves(batch: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SIZES["A"], batch), levels=(SIZES["A"][3],))


@ASKED.case("class")
def asked_class(batch: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SIZES["A"], batch), levels=(0,))


@ASKED.case("log-evidence")
def asked_evidence(batch: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SIZES["A"], batch), levels=())


@ASKED.case("beliefs in the truth")
def asked_beliefs(batch: int) -> Call:
    from hierdiff.theory import true_beliefs

    grammar, truth, noise, x_t = world(SIZES["A"], batch)
    return float32(true_beliefs, grammar, noise.evidence(x_t, LEVEL), truth)


@ASKED.case("a posterior sample")
def asked_sample(batch: int) -> Call:
    from hierdiff.theory import posterior

    grammar, evidence = compact(SIZES["A"], batch)
    return lambda: posterior(grammar, evidence, dtype="float32", levels=()).sample(3)


@ASKED.case("denoised one-hot data")
def asked_denoised(batch: int) -> Call:
    from hierdiff.theory import denoise_symbols

    grammar, _, noise, x_t = world(SIZES["A"], batch)
    return partial(denoise_symbols, grammar, noise, x_t, LEVEL)


# ------------------------------------------------------------------------------------ how it scales

BATCH = Table(
    "batch", "Samples per call", points=over(size="ABC", batch=(1, 4, 16, 64, 256, 1024, 4096)),
    quick=over(size="C", batch=(1, 64)), seconds=0.5,
)  # fmt: skip


@BATCH.case("all marginals")
def batch_all(size: str, batch: int) -> Call:
    return everything(size, batch)


@BATCH.case("beliefs in the truth")
def batch_beliefs(size: str, batch: int) -> Call:
    from hierdiff.theory import true_beliefs

    grammar, truth, noise, x_t = world(SIZES[size], batch)
    return float32(true_beliefs, grammar, noise.evidence(x_t, LEVEL), truth)


LEAVES = Table(
    "leaves", "Leaves of one tree, (v, m, s) = (32, 8, 2)", points=over(L=range(6, 25, 2)),
    quick=over(L=(6, 10)), seconds=0.5,
)  # fmt: skip


@LEAVES.case("beliefs in the truth")
def leaves_beliefs(L: int) -> Call:
    from hierdiff.theory import true_beliefs

    grammar, truth, noise, x_t = world((32, 8, 2, L), 1)
    return float32(true_beliefs, grammar, noise.evidence(x_t, LEVEL), truth)


@LEAVES.case("leaf marginals")
def leaves_marginals(L: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact((32, 8, 2, L), 1), levels=(L,))


def scaled(v: int, m: int, s: int, L: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact((v, m, s, L), 64))


def _thread_counts() -> list[int]:
    """1, 2, 4, ... up to all processors of this process."""
    most = available()
    return sorted({2**k for k in range(most.bit_length()) if 2**k <= most} | {most})


SYMBOLS = Table(
    "symbols", "Symbols, with m = v/4 rules each; s = 2, L = 8, 64 samples",
    points=over(v=(4, 8, 16, 32, 64, 128)), quick=over(v=(8, 16)), seconds=0.3,
)  # fmt: skip
RULES = Table(
    "rules", "Rules per symbol; v = 32, s = 2, L = 8, 64 samples",
    points=over(m=(1, 2, 4, 8, 16, 32)), quick=over(m=(2, 4)), seconds=0.3,
)  # fmt: skip
BRANCHES = Table(
    "branches", "Children per node, 256 leaves or so; v = 16, m = 4, 64 samples",
    points=over(s=(2, 3, 4, 6, 16)), quick=over(s=(2, 4)), seconds=0.3,
)  # fmt: skip
THREADS = Table(
    "threads", "Threads, 256 samples", points=over(size="ABC", threads=_thread_counts()),
    quick=over(size="C", threads=_thread_counts()), seconds=0.5,
)  # fmt: skip


@SYMBOLS.case("all marginals")
def more_symbols(v: int) -> Call:
    return scaled(v, v // 4, 2, 8)


@RULES.case("all marginals")
def more_rules(m: int) -> Call:
    return scaled(32, m, 2, 8)


DEPTHS = {2: 8, 3: 5, 4: 4, 6: 3, 16: 2}


@BRANCHES.case("all marginals")
def more_branches(s: int) -> Call:
    return scaled(16, 4, s, DEPTHS[s])


@SYMBOLS.case("multiply-adds", peer="limits")
def symbols_limit(v: int) -> tuple[Call, float]:
    return fma_time(flops((v, v // 4, 2, 8), 64))


@RULES.case("multiply-adds", peer="limits")
def rules_limit(m: int) -> tuple[Call, float]:
    return fma_time(flops((32, m, 2, 8), 64))


@BRANCHES.case("multiply-adds", peer="limits")
def branches_limit(s: int) -> tuple[Call, float]:
    return fma_time(flops((16, 4, s, DEPTHS[s]), 64))


@SYMBOLS.case("stores", peer="limits")
def symbols_stores(v: int) -> tuple[Call, float]:
    return stream_time(output_bytes((v, v // 4, 2, 8), 64))


@RULES.case("stores", peer="limits")
def rules_stores(m: int) -> tuple[Call, float]:
    return stream_time(output_bytes((32, m, 2, 8), 64))


@BRANCHES.case("stores", peer="limits")
def branches_stores(s: int) -> tuple[Call, float]:
    return stream_time(output_bytes((16, 4, s, DEPTHS[s]), 64))


@THREADS.case("all marginals")
def threads_all(size: str, threads: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SIZES[size], 256), threads=threads)


@THREADS.case("beliefs in the truth")
def threads_beliefs(size: str, threads: int) -> Call:
    from hierdiff.theory import true_beliefs

    grammar, truth, noise, x_t = world(SIZES[size], 256)
    return float32(true_beliefs, grammar, noise.evidence(x_t, LEVEL), truth, threads=threads)


# ------------------------------------------------------------------------------ what a call costs

CALL = Table(
    "call", "One sample of the smallest tree, (v, m, s, L) = (4, 2, 2, 2): what a call costs",
    points=({"n": 1},), quick=({"n": 1},), capped=True,
)  # fmt: skip
SMALLEST = (4, 2, 2, 2)


@CALL.case("all marginals")
def call_all(n: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SMALLEST, n))


@CALL.case("log-evidence")
def call_evidence(n: int) -> Call:
    from hierdiff.theory import posterior

    return float32(posterior, *compact(SMALLEST, n), levels=())


@CALL.case("beliefs in the truth")
def call_beliefs(n: int) -> Call:
    from hierdiff.theory import true_beliefs

    grammar, truth, noise, x_t = world(SMALLEST, n)
    return float32(true_beliefs, grammar, noise.evidence(x_t, LEVEL), truth)


@CALL.case("a posterior sample")
def call_sample(n: int) -> Call:
    from hierdiff.theory import posterior

    known = posterior(*compact(SMALLEST, n), dtype="float32", levels=())
    return lambda: known.sample(3)


@CALL.case("a sample of the grammar")
def call_prior(n: int) -> Call:
    grammar = world(SMALLEST, n)[0]
    return lambda: grammar.sample(n, 3)
