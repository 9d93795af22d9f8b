r"""Exact inference on the derivation tree.

==================================  =============================================================
symbol                              meaning
==================================  =============================================================
psi_i(b)                            evidence of leaf i, proportional to p(observation | symbol b)
nu_up(a), nu_down(a)                messages about a node from below, and from everything else
a -> (b_1 ... b_s), pi_k            rule k of symbol a, and its probability
==================================  =============================================================

.. math::
   \nu^\uparrow(a) = \sum_k \pi_k \prod_j \nu^\uparrow_j(b_j^{(a,k)}), \qquad
   \nu^\downarrow_j(b) = \sum_{(a,k):\, b_j^{(a,k)} = b} \nu^\downarrow(a)\, \pi_k
   \prod_{i \ne j} \nu^\uparrow_i(b_i^{(a,k)}), \qquad
   p(a \mid x_t) \propto \nu^\uparrow(a)\, \nu^\downarrow(a).

The tree has no loops, so the marginals are exact; the normalisers multiply to p(x_t), and symbols
drawn root first, each rule from its posterior given the symbol, are exact posterior samples.

The file has three parts: the evidence that a caller gives becomes what the kernels read, with clear
errors if it is bad; whole results are put together from the passes, samples out of range done again
and exact zeros reported; and the functions that are called from outside.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff._display import block, html_table
from hierdiff.checks import (
    array,
    checked,
    count,
    integers,
    memory,
    precision,
    reals,
    unchecked,
    whole,
)
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import NoiseProcess, SymbolEvidence
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation._kernels import layout, simd
from hierdiff.theory.belief_propagation.buffers import address, available_threads, results_at
from hierdiff.theory.belief_propagation.log_domain import LogMessages, log_likelihoods
from hierdiff.theory.belief_propagation.passes import (
    ALL,
    Beliefs,
    BeliefsAndDraw,
    Dense,
    Draw,
    Exact,
    Leaves,
    Result,
    centred,
    compile_rules,
    copied,
    cut_level,
    known,
    places,
    upward,
    walk,
)

__all__ = [
    "NodeBeliefs",
    "Posterior",
    "denoise_symbols",
    "posterior",
    "specialise",
    "true_beliefs",
]

Array = NDArray[Any]
_SMALL = 1 << 20  # numbers that fit anywhere


# ------------------------------------------------------------------------------------- the evidence


def leaves_of(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence,
    root: ArrayLike | None,
    dtype: DTypeLike,
    threads: int,
    *,
    private: bool,
) -> Leaves:
    """Check shapes and bring evidence and root prior into one number type.

    The values themselves are checked by the passes, at no cost; see :func:`explain`.  With
    ``private`` no array of the caller's is kept but in ``exact``, see :meth:`Leaves.keep`.
    """
    kind = precision("dtype", dtype)
    if isinstance(log_evidence, SymbolEvidence):
        symbols, seen, match, other, likelihoods, two, shift = _symbol_likelihoods(
            grammar, log_evidence, kind
        )
        each = len(match)
        prior, converted, place = _root(grammar, root, len(symbols), kind)
        return Leaves(
            2, _NO_DENSE[kind], symbols, likelihoods[0], likelihoods[1], converted, shift,
            Exact(prior, match, other),
            ALL if each == 1 else 1, (0, seen, two, two + each * kind.itemsize, place),
        )  # fmt: skip
    given = array("log_evidence", log_evidence)
    if given.size > _SMALL:  # before a copy of it is made
        memory(f"evidence of shape {given.shape}", float(given.size) * kind.itemsize)
    if given.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        given = given.astype(np.float64)
    expected = (grammar.n_leaves, grammar.v[grammar.L])
    if given.ndim != 3 or given.shape[1:] != expected:
        raise InvalidParameter(
            f"log_evidence has shape {given.shape}; the grammar needs (n, {expected[0]}, "
            f"{expected[1]}): samples, leaves, symbols"
        )
    prior, converted, _ = _root(grammar, root, len(given), kind)
    narrowed = kind == np.float32 and given.dtype == np.float64
    if narrowed:
        dense, shift = centred(given, threads)
    else:  # the kernels take the largest out themselves
        dense, shift = np.require(given, kind, ["C", "W"]), np.zeros(len(given))
        if private and np.may_share_memory(dense, given):
            dense = copied(dense, threads)
    nothing, empty = np.empty(0), np.empty(0, kind)
    exact = Exact(prior, nothing, nothing, given if narrowed else None)
    symbols = np.empty((0, 0), np.int32)
    return Leaves(0, dense, symbols, empty, empty, converted, shift, exact)


_NO_DENSE = {np.dtype(kind): np.empty((0, 0, 0), kind) for kind in (np.float32, np.float64)}


def _symbol_likelihoods(
    grammar: Grammar, evidence: SymbolEvidence, kind: np.dtype[Any]
) -> tuple[Array, int, Array, Array, Array, int, Array]:
    """Symbols and their address, both logarithms relative to the larger, their exponentials, a sum.

    The logarithms are [n], or [1] where all samples have the same two numbers, as samples of one
    noise level have; the exponentials [2, n or 1], with their address; the sum [n] is of what was
    taken out.
    """
    symbols, place = evidence.symbols, evidence._place
    v = grammar.v[grammar.L]
    if symbols.shape[1] != known(grammar).nodes[grammar.L] or evidence.v != v:
        raise InvalidParameter(
            f"evidence is about {symbols.shape} leaves with {evidence.v} symbols; the grammar "
            f"needs (n, {grammar.n_leaves}) with {v}"
        )
    match, other, observed = evidence.log_match, evidence.log_other, evidence._observed
    if isinstance(match, float) and isinstance(other, float):
        top = max(match, other)
        found = _two_likelihoods(match - top, other - top, kind)
        shift = (
            np.full(len(symbols), top * observed) if isinstance(observed, int) else top * observed
        )
        return symbols, place, *found, shift
    logarithms = np.empty((2, len(symbols)))
    logarithms[0], logarithms[1] = match, other
    tops = np.maximum(logarithms[0], logarithms[1])
    logarithms -= tops
    likelihoods, shift = np.exp(logarithms).astype(kind, copy=False), tops * observed
    return symbols, place, *logarithms, likelihoods, address(likelihoods), shift


@functools.lru_cache(maxsize=256)
def _two_likelihoods(
    match: float, other: float, kind: np.dtype[Any]
) -> tuple[Array, Array, Array, int]:
    """Two logarithms [1] each, their exponentials [2, 1] and the address of these.

    A study has few noise levels, and asks for each many times.
    """
    logarithms = np.array([[match], [other]])
    likelihoods = np.exp(logarithms).astype(kind)
    place = address(likelihoods)
    for array_ in (logarithms, likelihoods):
        array_.flags.writeable = False
    return logarithms[0], logarithms[1], likelihoods, place


def _root(
    grammar: Grammar, root: ArrayLike | None, n: int, kind: np.dtype[Any]
) -> tuple[Array, Array, int]:
    """Prior of the root, [1, v_0], or one-hot [n, v_0] where the class is given.

    In float64, in the type of the messages, and where that stands.
    """
    v = grammar.v[0]
    if root is None:
        about = known(grammar)
        return (about.prior, *about.priors[kind])
    classes = integers("root", root, 0, v - 1)
    if classes.shape not in ((), (n,)):
        raise InvalidParameter(
            f"root has shape {classes.shape}; give one class or {n} of them, integers in [0, {v})"
        )
    prior = np.eye(v)[np.broadcast_to(classes, n)]
    converted = prior.astype(kind, copy=False)
    return prior, converted, address(converted)


def latents_of(grammar: Grammar, name: str, data: Derivations, n: int) -> tuple[Array, ...]:
    """Latents of n data as int32 [n, nodes] per level, symbols of the grammar all of them."""
    shapes = [(n, grammar.n_nodes(level)) for level in range(grammar.L + 1)]
    found = [level.shape for level in data.levels]
    if found != shapes:
        raise InvalidParameter(
            f"{name} has levels of shapes {found}; the {n} samples of this grammar need {shapes}"
        )
    return tuple(
        integers(f"{name}.levels[{level}]", symbols, 0, v - 1).astype(np.int32)
        for level, (symbols, v) in enumerate(zip(data.levels, grammar.v, strict=True))
    )


def explain(grammar: Grammar, leaves: Leaves, row: int, sample: int) -> Exception:
    """Why the evidence of a sample cannot be used."""
    if leaves.kind == 0:
        values = leaves.dense[row]
        for what, bad in (("NaN", np.isnan(values)), ("+inf", np.isposinf(values))):
            if bad.any():
                leaf, symbol = (int(i) for i in np.argwhere(bad)[0])
                return InvalidParameter(
                    f"log_evidence of sample {sample} is {what} at leaf {leaf}, symbol {symbol}; "
                    "give finite numbers, or -inf to exclude a symbol"
                )
        empty = np.flatnonzero(np.isneginf(values).all(axis=1))
        if empty.size:
            return InvalidParameter(
                f"log_evidence of sample {sample} is -inf for every symbol of leaf "
                f"{int(empty[0])}; at least one symbol must be possible"
            )
    return ImpossibleEvidence(
        f"the evidence of sample {sample} has probability zero: no string of the grammar agrees "
        "with it; check that data, noise and root class belong to this grammar"
    )


# -------------------------------------------------------------------- whole results from the passes

# sums of exponents below which an entry that underflowed may have mattered
_RANGE_LIMIT = {np.dtype(np.float32): -80.0, np.dtype(np.float64): -900.0}
_KIND = {layout.MARGINAL: "marginal", layout.UPWARD: "up", layout.DOWNWARD: "down"}


def checked_levels(g: Grammar, levels: Sequence[int]) -> list[int]:
    """Levels as sorted non-negative integers; negative ones count from the leaves, which are -1."""
    found = [whole(f"levels[{i}]", x, None) for i, x in enumerate(levels)]
    wrong = [x for x in found if not -g.L - 1 <= x <= g.L]
    if wrong:
        raise InvalidParameter(
            f"levels = {levels} holds {wrong[0]}; levels run from 0 to {g.L}, "
            "or from -1, the leaves, upwards"
        )
    return sorted({x % (g.L + 1) for x in found})


def _fits(g: Grammar, n: int, kept: float) -> None:
    """Refuse what the messages of a tile of samples, rules and results would not fit into."""
    about = known(g)
    memory(
        f"inference with {n} samples of {about.total_nodes} nodes, up to {about.widest} symbols",
        8.0 * simd.LINE * about.widest + 40.0 * about.rule_symbols + 8.0 * kept,
    )


def _log_evidence(g: Grammar, leaves: Leaves, result: Result, positive: bool = False) -> Array:
    """The kernels leave out the weights of rules that all have the same."""
    found = result.log_evidence(positive)
    found += leaves.shift
    found += known(g).log_weights
    return found


_NONE = np.empty(0, np.intp)


def _extreme(result: Result, dtype: Any) -> Array:
    """Samples that the passes could not hold in range, or whose evidence is bad."""
    limit, ranges, z = _RANGE_LIMIT[dtype], result.ranges, result.z
    # the smallest tell whether any is; not-a-number is the smallest wherever it stands
    if z.size and np.minimum.reduce(ranges) >= limit and np.minimum.reduce(z) > 0:
        return _NONE
    return np.flatnonzero(~((ranges >= limit) & (z > 0)))


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


class _Blocks(NamedTuple):
    """Where results of n samples go; the same for all calls that ask for the same levels."""

    starts: dict[int, int]  # of the blocks of the wanted levels
    size: int  # numbers of all of them, with gaps
    rows: int  # of a line, or 0
    shown: list[tuple[tuple[int, ...], int, tuple[int, ...]]]  # shape, start, strides per level
    heads: dict[Any, Any]  # see `Dense`


def _blocks(g: Grammar, n: int, wanted: tuple[int, ...], dtype: Any) -> _Blocks:
    """Places of results, worked out once; refused if the machine has no room for them.

    Batches that are not cut are written line by line, samples side by side; others by samples.
    """
    blocks, mark = known(g).blocks, (n, wanted, dtype)
    found: _Blocks | None = blocks.get(mark)
    if found is not None:
        return found
    if len(blocks) > 256:
        blocks.clear()
    lanes, starts, size, item = simd.lanes(dtype), {}, 0, dtype.itemsize
    rows = padded_rows(n, dtype) if cut_level(g, 0, g.L, n, dtype) is None else 0
    shown: list[tuple[tuple[int, ...], int, tuple[int, ...]]] = []
    for level, v in enumerate(g.v):
        nodes = g.n_nodes(level)
        if level not in wanted:
            shown.append(((n, 0, v), 0, (0, v * item, item)))
            continue
        starts[level] = size
        strides = (
            (item, v * rows * item, rows * item) if rows else (nodes * v * item, v * item, item)
        )
        shown.append(((n, nodes, v), size * item, strides))
        size += -(-max(rows, n) * nodes * v // lanes) * lanes
    _fits(g, n, float(n) * sum(g.n_nodes(level) * g.v[level] for level in wanted))
    found = blocks[mark] = _Blocks(starts, size, rows, shown, {})
    return found


def _checked_out(
    g: Grammar, leaves: Leaves, wanted: Sequence[int], out: Sequence[Array]
) -> list[Array]:
    """Arrays for the marginals of the wanted levels, into which the kernels may write."""
    if not isinstance(out, (list, tuple)) or len(out) != len(wanted):
        words = f"holds {len(out)} arrays" if isinstance(out, (list, tuple)) else "is no list"
        raise InvalidParameter(
            f"out {words}; give one array for each of the {len(wanted)} levels that are wanted, "
            "from the root down"
        )
    dtype, nodes = leaves.root.dtype, known(g).nodes
    for i, (level, one) in enumerate(zip(wanted, out, strict=True)):
        shape = (len(leaves), nodes[level], g.v[level])
        remedy = f"level {level} needs np.empty({shape}, np.{dtype})"
        if type(one) is not np.ndarray:
            raise InvalidParameter(f"out[{i}] is of type {type(one).__name__}; {remedy}")
        if one.shape != shape or one.dtype != dtype:
            raise InvalidParameter(f"out[{i}] is {one.dtype} of shape {one.shape}; {remedy}")
        if not (one.flags.c_contiguous and one.flags.writeable and one.flags.aligned):
            raise InvalidParameter(f"out[{i}] is not in C order, aligned and writeable; {remedy}")
        if any(np.may_share_memory(one, other) for other in out[:i]):
            raise InvalidParameter(f"out[{i}] shares memory with another one; {remedy}")
    return list(out)


def _apart(out: list[Array], log_evidence: Any) -> None:
    """The evidence is read while results are written."""
    given = log_evidence.symbols if isinstance(log_evidence, SymbolEvidence) else log_evidence
    for i, one in enumerate(out):
        if isinstance(given, np.ndarray) and np.may_share_memory(one, given):
            raise InvalidParameter(f"out[{i}] shares memory with log_evidence; give a new array")


def _given(wanted: Sequence[int], out: list[Array]) -> dict[int, int]:
    """Where the arrays start, counted in numbers from the first of them in memory."""
    first = min(map(address, out), default=0)
    return {
        level: (address(one) - first) // one.itemsize
        for level, one in zip(wanted, out, strict=True)
    }


def lines(
    g: Grammar, leaves: Leaves, kind: int, levels: Sequence[int] | None, threads: int,
    names: Array | None = None, out: list[Array] | None = None,
) -> tuple[tuple[Array, ...], Array, Array]:  # fmt: skip
    """Marginals or messages of the wanted levels [n, nodes, v_l], log-evidence, extreme samples."""
    n, dtype = len(leaves), leaves.root.dtype
    wanted = tuple(range(len(g.v)) if levels is None else levels)
    if out is None:
        blocks = _blocks(g, n, wanted, dtype)
        values, place = results_at(blocks.size, dtype)
        action = Dense(kind, blocks.starts, values, blocks.rows, blocks.heads, place)
        found = [np.ndarray(shape, dtype, values, start, strides)
                 for shape, start, strides in blocks.shown]  # fmt: skip
    else:
        _fits(g, n, 0.0)
        action = Dense(kind, _given(wanted, out), min(out, key=address, default=_NONE), 0)
        found = [out[wanted.index(level)] if level in wanted else np.empty((n, 0, v), dtype)
                 for level, v in enumerate(g.v)]  # fmt: skip
    if wanted:
        result = walk(g, 0, g.L, leaves, threads, action)
    else:
        tops, result = upward(g, 0, g.L, leaves, threads)
        result.z = (tops * leaves.root).sum(axis=1)
    extreme = _extreme(result, dtype)
    evidence = _log_evidence(g, leaves, result, positive=not extreme.size)
    if extreme.size:
        names = np.arange(n) if names is None else names
        evidence[extreme] = _again_lines(g, leaves, kind, wanted, threads, names, extreme, found)
    return tuple(found), evidence, extreme


def _again_lines(
    g: Grammar, leaves: Leaves, kind: int, wanted: Sequence[int], threads: int, names: Array,
    extreme: Array, out: list[Array],
) -> Array:  # fmt: skip
    """Do extreme samples again; returns their log-evidence."""
    again = _again(leaves, extreme)
    if again is not None:
        redone, evidence, _ = lines(g, again, kind, wanted, threads, names[extreme])
        for level in wanted:
            out[level][extreme] = redone[level]
        return evidence
    evidence = np.empty(extreme.size)
    for i, row in enumerate(extreme):
        messages, evidence[i] = _logarithms(g, leaves, int(row), int(names[row]))
        exact = messages.lines(_KIND[kind])
        for level in wanted:
            out[level][row] = exact[level]
    return evidence


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


def beliefs_and_draw(
    g: Grammar,
    leaves: Leaves,
    truth: Sequence[Array],
    uniforms: Sequence[Array],
    threads: int,
    names: Array | None = None,
) -> tuple[list[list[Array]], list[Array], Array]:
    """Beliefs, one posterior sample per datum, and log-evidence, all from one upward pass.

    Bit for bit what :func:`beliefs` and :func:`draw` return.
    """
    n, dtype = len(leaves), leaves.root.dtype
    _fits(g, n, 4.0 * n * sum(g.n_nodes(level) for level in range(g.L + 1)))
    starts = places(g, n)
    flat = np.concatenate([np.asarray(x, np.int32).ravel() for x in truth])
    out, drawn = np.empty((3, flat.size), dtype), np.empty(flat.size, np.int32)
    inner = np.concatenate([np.asarray(u, np.float64).ravel() for u in uniforms[1:]])
    head = np.ascontiguousarray(uniforms[0], np.float64)
    action = BeliefsAndDraw(Beliefs(flat, starts, out), Draw(1, head, inner, starts, drawn))
    result = walk(g, 0, g.L, leaves, threads, action)
    blocks = [(starts[x], starts[x + 1], g.n_nodes(x)) for x in range(g.L + 1)]
    parts = [[out[q, a:b].reshape(n, nodes) for a, b, nodes in blocks] for q in range(3)]
    levels = [drawn[a:b].reshape(n, nodes) for a, b, nodes in blocks]
    evidence = _log_evidence(g, leaves, result)
    names = np.arange(n) if names is None else names
    extreme = _extreme(result, dtype)
    if extreme.size:  # rare: done again apart
        some = leaves.take(extreme)
        true, numbers = [x[extreme] for x in truth], [u[extreme] for u in uniforms]
        redone, evidence[extreme] = beliefs(g, some, true, threads, names[extreme])
        others = draw(g, some, numbers, threads, names[extreme])
        for level in range(g.L + 1):
            levels[level][extreme] = others[level]
            for q in range(3):
                parts[q][level][extreme] = redone[q][level]
    return parts, levels, evidence


# ------------------------------------------------------------------------------------ the posterior


@dataclass(frozen=True)
class NodeBeliefs:
    """Three numbers for every node of every sample; each a tuple over levels of [n, nodes].

    Attributes
    ----------
    marginal
        Posterior probability of the true symbol.
    upward
        The part of it that comes from below: upward message at the true symbol.
    square
        Sum of squared marginals; equal to ``marginal`` in expectation (Nishimori) whenever the
        evidence comes from a real observation.
    log_evidence
        [n], natural logarithm.
    """

    marginal: tuple[Array, ...]
    upward: tuple[Array, ...]
    square: tuple[Array, ...]
    log_evidence: Array


def _numbers_per_level(name: str, value: Any) -> list[Array]:
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidParameter(
            f"{name} is of type {type(value).__name__}; give a list of arrays, one for the root's "
            "symbol and one for each level above the leaves"
        )
    return [
        reals(f"{name}[{i}]", numbers, 0, below=1, ndim=2 if i else 1)
        for i, numbers in enumerate(value)
    ]


def _shaped_uniforms(g: Grammar, uniforms: Sequence[Array], n: int) -> Sequence[Array]:
    rows = len(uniforms[0])
    nodes = [g.n_nodes(level) for level in range(g.L)]
    shapes = [np.shape(u) for u in uniforms]
    if shapes != [(rows,), *((rows, k) for k in nodes)] or rows % max(n, 1):
        raise InvalidParameter(
            f"uniforms have shapes {shapes}; give (rows,) and (rows, nodes) for each level "
            f"above the leaves, rows a multiple of the {n} samples"
        )
    return uniforms


@dataclass(frozen=True, eq=False)
class Posterior:
    """Everything known about the latents given leaf evidence; made by :func:`posterior`.

    Attributes
    ----------
    marginals
        Tuple over levels of [n, nodes, v_l]; a level that was not asked for is an empty array.
    log_evidence
        [n], log p(x_t) up to the scale of the evidence, natural logarithm.
    """

    grammar: Grammar
    marginals: tuple[Array, ...]
    log_evidence: Array
    _leaves: Leaves = field(repr=False)
    _threads: int = field(repr=False)

    def __len__(self) -> int:
        return len(self._leaves)

    def __repr__(self) -> str:
        levels = [level for level, p in enumerate(self.marginals) if p.size]
        return f"Posterior(n={len(self)}, levels={levels}, grammar={self.grammar!r})"

    def _repr_html_(self) -> str:
        rows = [
            [f"level {level}", f"{p.shape[1]}", float(p.max(-1).mean()),
             float(-np.sum(p * np.log(np.where(p > 0, p, 1)), -1).mean())]
            for level, p in enumerate(self.marginals) if p.size
        ]  # fmt: skip
        header = ["beliefs", "nodes", "mean of the largest", "mean entropy, nats"]
        evidence = f"<p>log-evidence {float(np.mean(self.log_evidence)):.4g} on average</p>"
        return block(repr(self), html_table(header, rows, limit=len(rows)), evidence)

    @cached_property
    def up(self) -> tuple[Array, ...]:
        """Upward messages, each summing to one; tuple over levels of [n, nodes, v_l]."""
        return lines(self.grammar, self._leaves, layout.UPWARD, None, self._threads)[0]

    @cached_property
    def down(self) -> tuple[Array, ...]:
        """Downward messages, each summing to one; tuple over levels of [n, nodes, v_l]."""
        return lines(self.grammar, self._leaves, layout.DOWNWARD, None, self._threads)[0]

    @checked(n_samples=count)
    def sample(self, seed: Seed, n_samples: int | None = None) -> Derivations:
        r"""Exact posterior samples: the root from its marginal, then each rule given its symbol.

        .. math:: p(k \mid a, x_t) \propto \pi_k \prod_j \nu^\uparrow_j(b_j^{(a,k)})

        Parameters
        ----------
        seed : Seed
            Source of randomness.
        n_samples : int, optional
            Draws per datum (default one).

        Returns
        -------
        Derivations
            n * n_samples of them; the draws of datum i stand at i * n_samples and behind.

        Raises
        ------
        InvalidParameter
            If ``n_samples`` is not a positive integer.

        Notes
        -----
        Validity: exact for any grammar, also ambiguous ones.

        Examples
        --------
        >>> from hierdiff import RHM, MaskingNoise
        >>> grammar = RHM(v=4, m=2, s=2, L=3).draw(seed=0)
        >>> data = grammar.sample(5, seed=1)
        >>> noise = MaskingNoise(v=4)
        >>> x_t = noise.corrupt(data.leaves, 0.5, seed=2)
        >>> drawn = posterior(grammar, noise.log_evidence(x_t, 0.5)).sample(seed=3)
        >>> seen = x_t >= 0
        >>> bool(np.all(drawn.leaves[seen] == x_t[seen]))
        True
        """
        random = generator(seed)
        rows = len(self) * (1 if n_samples is None else n_samples)
        size = 2 * sum(self.grammar.n_nodes(level) for level in range(self.grammar.L + 1))
        memory(f"{rows} samples of {self.grammar.n_leaves} leaves", 8.0 * rows * size)
        nodes = [self.grammar.n_nodes(level) for level in range(self.grammar.L)]
        uniforms = [random.random(rows), *(random.random((rows, k)) for k in nodes)]
        return self.sample_with(uniforms)

    @checked(uniforms=_numbers_per_level)
    def sample_with(self, uniforms: Sequence[Array]) -> Derivations:
        """Posterior samples as a deterministic function of uniform random numbers.

        Parameters
        ----------
        uniforms : sequence of L + 1 arrays in [0, 1)
            First [rows] for the root's symbol, then for each level l < L [rows, nodes], the number
            that picks the rule of a node; rows = n * n_samples, draws of one datum together.

        Returns
        -------
        Derivations
            As many as there are rows.

        Raises
        ------
        InvalidParameter
            If the shapes do not fit, or a number is outside of [0, 1).

        Notes
        -----
        Validity: exact for any grammar if the numbers are independent and uniform.  A datum's draw
        depends on its own numbers only, which makes studies independent of the batch size.
        """
        numbers = _shaped_uniforms(self.grammar, uniforms, len(self))
        levels = draw(self.grammar, self._leaves, numbers, self._threads)
        return Derivations(tuple(levels))


@checked(  # the passes look at the values at no cost
    log_evidence=unchecked, out=unchecked, threads=count
)
def posterior(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence,
    root: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
    *,
    levels: tuple[int, ...] | None = None,
    out: Sequence[Array] | None = None,
    threads: int | None = None,
) -> Posterior:
    r"""Exact posterior of all latents of a derivation given leaf evidence.

    .. math:: p(a \mid x_t) \propto \nu^\uparrow(a)\, \nu^\downarrow(a)

    Parameters
    ----------
    grammar : Grammar
        Any grammar: weighted, ambiguous, different sizes per level.
    log_evidence : array [n, leaves, v_L] or SymbolEvidence
        Natural logarithm of psi; -inf excludes a symbol.  ``noise.evidence`` gives the compact form
        where one exists, ``noise.log_evidence`` the array.
    root : int or int array [n], optional
        Clamps the class; default: the grammar's root prior.
    dtype : float64 or float32
        Precision of the messages.
    levels : tuple of int, optional
        Levels whose marginals are wanted, e.g. ``(0, grammar.L)``; default all, ``()`` for none.
    out : sequence of arrays, optional
        Where the marginals go: an array [n, nodes, v_l] of type ``dtype``, in C order, for each
        wanted level, from the root down.  They are the ``marginals`` of the result, which keeps no
        copy.
    threads : int, optional
        Default: all processors of this process.  Results do not depend on it.

    Returns
    -------
    Posterior
        ``marginals[l]`` is [n, nodes, v_l].  Without ``out``, large arrays are laid out in memory
        with the sample as the fastest axis.

    Raises
    ------
    InvalidParameter
        If the evidence has the wrong shape, NaN, +inf, or a leaf without any possible symbol, if
        ``root`` is no class, or if ``out`` has wrong shapes, types or memory orders, or shares
        memory.
    ImpossibleEvidence
        If the evidence of a sample has probability zero under the grammar; ``out`` is then
        unfinished.

    Notes
    -----
    Validity: exact for any grammar and any evidence that factorises over leaves, from
    flat to deterministic.  Cost and memory are linear in the number of nodes.  A sample whose
    messages leave the range of ``dtype`` is computed again in float64, and then in logarithms.
    What all symbols of a leaf have in common is taken out in float64, so it costs no digit in
    either ``dtype``; evidence that is given in float32 has the rounding of its own size.  Arrays
    given may be changed afterwards: what is kept is a copy.

    References
    ----------
    arXiv 2402.16991; for belief propagation on trees, Mezard and Montanari, "Information, Physics,
    and Computation" (2009), chapter 14.

    Examples
    --------
    Half of the leaves of a string are masked:

    >>> import numpy as np
    >>> from hierdiff import Grammar
    >>> rules = [[[[3, 2], [2, 3]], [[2, 0], [0, 3]], [[0, 2], [3, 0]], [[0, 1], [3, 3]]],
    ...          [[[0, 3], [0, 1]], [[1, 1], [0, 0]], [[3, 2], [1, 3]], [[3, 3], [3, 0]]]]
    >>> grammar = Grammar([np.array(r) for r in rules])
    >>> evidence = np.zeros((1, 4, 4))
    >>> evidence[0, :2] = np.log(np.eye(4)[[3, 3]] + 1e-300)
    >>> posterior(grammar, evidence).marginals[0][0, 0].round(6)
    array([0.333333, 0.      , 0.333333, 0.333333])
    """
    workers = _threads(threads)
    wanted = None if levels is None else checked_levels(grammar, levels)
    leaves = leaves_of(grammar, log_evidence, root, dtype, workers, private=True)
    places = None
    if out is not None:
        every = range(grammar.L + 1)
        places = _checked_out(grammar, leaves, every if wanted is None else wanted, out)
        _apart(places, log_evidence)
    found = lines(grammar, leaves, layout.MARGINAL, wanted, workers, out=places)
    marginals, evidence, extreme = found
    return Posterior(grammar, marginals, evidence, leaves.keep(extreme), workers)


@checked
def denoise_symbols(
    grammar: Grammar, noise: NoiseProcess, x_t: Array, t: ArrayLike, root: ArrayLike | None = None
) -> Array:
    r"""The exact denoiser of one-hot data: E[x0 | x_t], the marginals of the leaves.

    .. math:: E[x_{0,i} \mid x_t] = p(x_{0,i} = \cdot \mid x_t)

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.
    noise : NoiseProcess
        How they were corrupted.
    x_t : array
        As ``noise.corrupt`` returns it: [n, leaves] symbols, or [n, leaves, v] for Gaussian noise.
    t : float or array [n]
        Noise level in [0, 1].
    root : int or int array [n], optional
        Clamps the class: the conditional denoiser.

    Returns
    -------
    array [n, leaves, v]

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`posterior`.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM, UniformNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), UniformNoise(v=4)
    >>> x_t = noise.corrupt(grammar.sample(3, seed=1).leaves, 0.0, seed=2)
    >>> bool(np.all(denoise_symbols(grammar, noise, x_t, 0.0).argmax(axis=2) == x_t))
    True
    """
    threads = available_threads()
    evidence = noise.evidence(x_t, t)
    leaves = leaves_of(grammar, evidence, root, np.float64, threads, private=False)
    return lines(grammar, leaves, layout.MARGINAL, [grammar.L], threads)[0][grammar.L]


@checked(log_evidence=unchecked, threads=count)
def true_beliefs(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence,
    truth: Derivations,
    root: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
    *,
    threads: int | None = None,
) -> NodeBeliefs:
    r"""Belief in the true symbol at every node, without ever writing a marginal.

    Parameters
    ----------
    grammar, log_evidence, root, dtype, threads
        As in :func:`posterior`.
    truth : Derivations
        The latents [n, nodes] per level whose probabilities are wanted.

    Returns
    -------
    NodeBeliefs
        v times smaller than the marginals.

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`posterior`; also if ``truth`` has another shape or holds what is no symbol.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> grammar = RHM(v=8, m=2, s=2, L=3).draw(seed=0)
    >>> data = grammar.sample(4, seed=1)
    >>> beliefs = true_beliefs(grammar, EpsilonNoise(v=8).evidence(data.leaves, 0.0), data)
    >>> [float(p.min()) for p in beliefs.marginal]
    [1.0, 1.0, 1.0, 1.0]
    """
    workers = _threads(threads)
    leaves = leaves_of(grammar, log_evidence, root, dtype, workers, private=False)
    latents = latents_of(grammar, "truth", truth, len(leaves))
    parts, evidence = beliefs(grammar, leaves, latents, workers)
    return NodeBeliefs(tuple(parts[0]), tuple(parts[1]), tuple(parts[2]), evidence)


@checked
def specialise(grammar: Grammar, dtype: DTypeLike = np.float64) -> int:
    r"""Compile the rules of a grammar into code, so that later inference on it is faster.

    The sums over rules that :func:`posterior` does from a table become straight code, about twice
    as fast, for everything that passes messages in ``dtype``: marginals, beliefs, samples.  Where
    every level has code, the passes over the whole tree have, too; they serve compact evidence and
    trees that are not cut, and gain most where symbols and rules are few.

    Parameters
    ----------
    grammar : Grammar
        Equal grammars share their code.
    dtype : float64 or float32
        Precision of the messages.

    Returns
    -------
    int
        Levels that have code: those with two or four children per node, rules of equal weight, and
        no more than 4,096 of them.  The others use the table.

    Raises
    ------
    InvalidParameter
        If ``dtype`` is none of the two, or ``HIERDIFF_REGISTERS`` is set to something else.

    Notes
    -----
    Validity: results are the same, bit for bit.  Compiling takes a millisecond per rule, and once
    for the sizes of a grammar a tenth to half of a second; for (v, m, s, L) = (32, 8, 2, 10) two to
    three seconds, and a hundredth of that once it is on disk, beside Numba's cache.
    So it pays for a grammar that is asked often; without it nothing is compiled per grammar.  The
    first call on a machine measures, in a tenth of a second, whether code for registers of 64 or of
    32 bytes is faster there; the environment variable ``HIERDIFF_REGISTERS`` decides instead if it
    is "64" or "32".

    Examples
    --------
    >>> from hierdiff import RHM, UniformNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=3).draw(seed=0), UniformNoise(v=4)
    >>> evidence = noise.evidence(grammar.sample(5, seed=1).leaves, 0.2)
    >>> before = posterior(grammar, evidence).log_evidence
    >>> specialise(grammar)
    3
    >>> bool((posterior(grammar, evidence).log_evidence == before).all())
    True
    """
    return compile_rules(grammar, precision("dtype", dtype))


def beliefs_and_sample(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence,
    truth: Derivations,
    uniforms: Sequence[Array],
    root: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
    threads: int | None = None,
) -> tuple[NodeBeliefs, Derivations]:
    """:func:`true_beliefs` and one posterior sample per datum, from one upward pass.

    The same bits as ``true_beliefs(...)`` and ``posterior(...).sample_with(uniforms)``, for about
    two thirds of the time; arguments are checked as there.
    """
    workers = _threads(threads)
    leaves = leaves_of(grammar, log_evidence, root, dtype, workers, private=False)
    latents = latents_of(grammar, "truth", truth, len(leaves))
    numbers = _shaped_uniforms(grammar, _numbers_per_level("uniforms", uniforms), len(leaves))
    if len(numbers[0]) != len(leaves):
        raise InvalidParameter(
            f"uniforms are for {len(numbers[0])} draws; give one for each of {len(leaves)} samples"
        )
    parts, levels, evidence = beliefs_and_draw(grammar, leaves, latents, numbers, workers)
    found = NodeBeliefs(tuple(parts[0]), tuple(parts[1]), tuple(parts[2]), evidence)
    return found, Derivations(tuple(levels))


def _threads(threads: int | None) -> int:
    return available_threads() if threads is None else threads
