"""Whole results from the passes: allocation, the two rescues, and exact zeros reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff._kernels import layout, simd
from hierdiff.checks import memory, whole
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import Grammar
from hierdiff.theory._engine import Leaves
from hierdiff.theory._evidence import explain
from hierdiff.theory._passes import Beliefs, Dense, Draw, Result, cut_level, places, upward, walk
from hierdiff.theory._rescue import LogMessages, log_likelihoods

__all__ = ["beliefs", "checked_levels", "draw", "lines", "padded_rows"]

Array = NDArray[Any]

# sums of exponents below which an entry that underflowed may have mattered
_RANGE_LIMIT = {np.dtype(np.float32): -80.0, np.dtype(np.float64): -900.0}
_KIND = {layout.MARGINAL: "marginal", layout.UPWARD: "up", layout.DOWNWARD: "down"}


def checked_levels(g: Grammar, levels: Sequence[int]) -> list[int]:
    """Levels as sorted non-negative integers."""
    found = [whole(f"levels[{i}]", x, None) for i, x in enumerate(levels)]
    wrong = [x for x in found if not -g.L - 1 <= x <= g.L]
    if wrong:
        raise InvalidParameter(f"levels = {levels} holds {wrong[0]}; levels run from 0 to {g.L}")
    return sorted({x % (g.L + 1) for x in found})


def _fits(g: Grammar, n: int, kept: float) -> None:
    """Refuse what the messages of a tile of samples, rules and results would not fit into."""
    nodes = sum(g.n_nodes(level) for level in range(g.L + 1))
    rules = sum(table.size for table in g.rules)
    tile = 8.0 * simd.LINE * max(g.v)
    memory(
        f"inference with {n} samples of {nodes} nodes and up to {max(g.v)} symbols",
        tile + 40.0 * rules + 8.0 * kept,
    )


def _log_evidence(g: Grammar, leaves: Leaves, result: Result) -> Array:
    """The kernels leave out the weights of rules that all have the same."""
    constant = 0.0
    for level, weight in enumerate(g.weights):
        if np.all(weight == weight[0, 0]):
            constant += g.n_nodes(level) * float(np.log(weight[0, 0]))
    return result.log_evidence() + leaves.shift + constant


def _extreme(result: Result, dtype: Any) -> Array:
    """Samples that the passes could not hold in range, or whose evidence is bad."""
    fine = (result.ranges >= _RANGE_LIMIT[np.dtype(dtype)]) & (result.z > 0)
    return np.flatnonzero(~fine)


def _again(leaves: Leaves, rows: Array) -> Leaves | None:
    """The same samples in float64, or None if they were."""
    return leaves.wide(rows) if leaves.root.dtype == np.float32 else None


def _logarithms(g: Grammar, leaves: Leaves, row: int, sample: int) -> tuple[LogMessages, float]:
    """Messages of one sample as logarithms, and its log-evidence."""
    assert leaves.exact is not None
    with np.errstate(divide="ignore"):
        log_root = np.log(leaves.exact.root[row if len(leaves.exact.root) > 1 else 0])
    log_psi = log_likelihoods(leaves, g.v[g.L], row)
    if np.isnan(log_psi).any() or np.isposinf(log_psi).any():
        raise explain(g, leaves, row, sample)
    # what all symbols of a leaf have in common would cost the sums of logarithms their digits
    top = log_psi.max(axis=1)
    if not np.isfinite(top).all():
        raise explain(g, leaves, row, sample)
    messages = LogMessages(g, log_psi - top[:, None], log_root)
    if not np.isfinite(messages.log_evidence):
        raise explain(g, leaves, row, sample)
    return messages, messages.log_evidence + float(top.sum()) + float(leaves.shift[row])


def padded_rows(n: int, dtype: Any) -> int:
    """Samples per line of the output: an odd number of vectors.

    Lines at a distance of a power of two would fall on the same part of the memory system; this
    nearly doubles the speed of writing.
    """
    lanes = simd.lanes(dtype)
    return (-(-n // lanes) | 1) * lanes


def lines(
    g: Grammar, leaves: Leaves, kind: int, levels: list[int] | None, threads: int,
    names: Array | None = None,
) -> tuple[tuple[Array, ...], Array, Array]:  # fmt: skip
    """Marginals or messages of the wanted levels [n, nodes, v_l], log-evidence, extreme samples."""
    n, dtype = len(leaves), leaves.root.dtype
    wanted = list(range(g.L + 1)) if levels is None else levels
    _fits(g, n, float(n) * sum(g.n_nodes(level) * g.v[level] for level in wanted))
    lanes = simd.lanes(dtype)
    whole = cut_level(g, 0, g.L, n, dtype) is None
    rows = padded_rows(n, dtype) if whole else 0
    starts, size = {}, 0
    for level in wanted:
        starts[level] = size
        size += -(-max(rows, n) * g.n_nodes(level) * g.v[level] // lanes) * lanes
    values = simd.aligned(size, dtype)
    if wanted:
        result = walk(g, 0, g.L, leaves, threads, Dense(kind, starts, values, rows))
    else:
        tops, result = upward(g, 0, g.L, leaves, threads)
        result = replace(result, z=(tops * leaves.root).sum(axis=1))
    out = []
    for level in range(g.L + 1):
        nodes, v = g.n_nodes(level), g.v[level]
        if level not in starts:
            out.append(np.empty((n, 0, v), dtype))
            continue
        block = values[starts[level] : starts[level] + max(rows, n) * nodes * v]
        if whole:
            out.append(block.reshape(nodes, v, rows).transpose(2, 0, 1)[:n])
        else:
            out.append(block.reshape(n, nodes, v))
    evidence = _log_evidence(g, leaves, result)
    names = np.arange(n) if names is None else names
    extreme = _extreme(result, dtype)
    again = _again(leaves, extreme) if extreme.size else None
    if again is not None:
        redone, evidence[extreme], _ = lines(g, again, kind, wanted, threads, names[extreme])
        for level in wanted:
            out[level][extreme] = redone[level]
        return tuple(out), evidence, extreme
    for row in extreme:
        messages, evidence[row] = _logarithms(g, leaves, int(row), int(names[row]))
        exact = messages.lines(_KIND[kind])
        for level in wanted:
            out[level][row] = exact[level]
    return tuple(out), evidence, extreme


def beliefs(
    g: Grammar, leaves: Leaves, truth: Sequence[Array], threads: int, names: Array | None = None
) -> tuple[list[list[Array]], Array]:
    """Marginal and upward belief in the truth, sum of squares: 3 lists of [n, nodes]."""
    n, dtype = len(leaves), leaves.root.dtype
    _fits(g, n, 3.0 * n * sum(g.n_nodes(level) for level in range(g.L + 1)))
    starts = places(g, n)
    flat = np.concatenate([np.asarray(x, np.int32).ravel() for x in truth])
    out = np.empty((3, flat.size), dtype)
    result = walk(g, 0, g.L, leaves, threads, Beliefs(flat, starts, out))
    blocks = [(starts[x], starts[x + 1], g.n_nodes(x)) for x in range(g.L + 1)]
    parts = [[out[q, a:b].reshape(n, nodes) for a, b, nodes in blocks] for q in range(3)]
    evidence = _log_evidence(g, leaves, result)
    names = np.arange(n) if names is None else names
    extreme = _extreme(result, dtype)
    again = _again(leaves, extreme) if extreme.size else None
    if again is not None:
        redone, evidence[extreme] = beliefs(
            g, again, [x[extreme] for x in truth], threads, names[extreme]
        )
        for q in range(3):
            for level in range(g.L + 1):
                parts[q][level][extreme] = redone[q][level]
        return parts, evidence
    for row in extreme:
        messages, evidence[row] = _logarithms(g, leaves, int(row), int(names[row]))
        marginal, up = messages.lines("marginal"), messages.lines("up")
        for level in range(g.L + 1):
            node, symbol = np.arange(g.n_nodes(level)), truth[level][row]
            parts[0][level][row] = marginal[level][node, symbol]
            parts[1][level][row] = up[level][node, symbol]
            parts[2][level][row] = (marginal[level] ** 2).sum(axis=1)
    return parts, evidence


def draw(
    g: Grammar, leaves: Leaves, uniforms: Sequence[Array], threads: int, names: Array | None = None
) -> list[Array]:
    """Posterior samples [rows, nodes] per level, several rows per sample."""
    n, rows = len(leaves), len(uniforms[0])
    _fits(g, n, 1.0 * rows * sum(g.n_nodes(level) for level in range(g.L + 1)))
    repeats = rows // n if n else 1
    if repeats > 1 and cut_level(g, 0, g.L, n, leaves.root.dtype) is not None:
        # a cut clamps the subtrees to one draw, so every draw needs a column of its own
        copies = np.repeat(np.arange(n), repeats)
        return draw(g, leaves.take(copies), uniforms, threads, copies)
    starts = places(g, n, copies=repeats)
    out = np.empty(int(starts[-1]), np.int32)
    inner = np.concatenate([np.asarray(u, np.float64).ravel() for u in uniforms[1:]])
    head = np.ascontiguousarray(uniforms[0], np.float64)
    result = walk(g, 0, g.L, leaves, threads, Draw(repeats, head, inner, starts, out))
    levels = [out[starts[x] : starts[x + 1]].reshape(rows, g.n_nodes(x)) for x in range(g.L + 1)]
    names = np.arange(n) if names is None else names
    extreme = _extreme(result, leaves.root.dtype)
    where = (extreme[:, None] * repeats + np.arange(repeats)).ravel()
    again = _again(leaves, extreme) if extreme.size else None
    if again is not None:
        redone = draw(g, again, [u[where] for u in uniforms], threads, names[extreme])
        for level in range(g.L + 1):
            levels[level][where] = redone[level]
        return levels
    for row in extreme:
        messages, _ = _logarithms(g, leaves, int(row), int(names[row]))
        for i in range(int(row) * repeats, (int(row) + 1) * repeats):
            one = messages.draw(float(head[i]), [u[i] for u in uniforms[1:]])
            for level in range(g.L + 1):
                levels[level][i] = one[level]
    return levels
