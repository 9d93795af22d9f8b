"""From what a caller says about the leaves to what the kernels read; clear words if it is bad."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.checks import array, integers
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.grammar import Derivations, Grammar
from hierdiff.noise import SymbolEvidence
from hierdiff.theory._engine import Exact, Leaves, centred

__all__ = ["explain", "latents_of", "leaves_of"]

Array = NDArray[Any]


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
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InvalidParameter(f"dtype = {kind} is not supported; use float64 or float32")
    nothing, no_symbols = np.empty(0), np.empty((0, 0), np.int32)
    if isinstance(log_evidence, SymbolEvidence):
        symbols, match, other, shift = _symbol_likelihoods(grammar, log_evidence)
        prior = _root(grammar, root, len(symbols))
        return Leaves(
            2,
            np.empty((0, 0, 0), kind),
            symbols,
            np.exp(match).astype(kind),
            np.exp(other).astype(kind),
            prior.astype(kind),
            shift,
            Exact(prior, match, other),
        )
    given = array("log_evidence", log_evidence)
    if given.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        given = given.astype(np.float64)
    expected = (grammar.n_leaves, grammar.v[grammar.L])
    if given.ndim != 3 or given.shape[1:] != expected:
        raise InvalidParameter(
            f"log_evidence has shape {given.shape}; the grammar needs (n, {expected[0]}, "
            f"{expected[1]}): samples, leaves, symbols"
        )
    prior = _root(grammar, root, len(given))
    narrowed = kind == np.float32 and given.dtype == np.float64
    if narrowed:
        dense, shift = centred(given, threads)
    else:  # the kernels take the largest out themselves
        dense, shift = np.require(given, kind, ["C", "W"]), np.zeros(len(given))
        if private and np.may_share_memory(dense, given):
            dense = dense.copy()
    empty = nothing.astype(kind)
    exact = Exact(prior, nothing, nothing, given if narrowed else None)
    return Leaves(0, dense, no_symbols, empty, empty, prior.astype(kind), shift, exact)


def _symbol_likelihoods(
    grammar: Grammar, evidence: SymbolEvidence
) -> tuple[Array, Array, Array, Array]:
    """Symbols, both logarithms relative to the larger, and the sum of what was taken out."""
    symbols = evidence.symbols
    v = grammar.v[grammar.L]
    if symbols.shape[1] != grammar.n_leaves or evidence.v != v:
        raise InvalidParameter(
            f"evidence is about {symbols.shape} leaves with {evidence.v} symbols; the grammar "
            f"needs (n, {grammar.n_leaves}) with {v}"
        )
    match = np.broadcast_to(np.asarray(evidence.log_match, float), len(symbols))
    other = np.broadcast_to(np.asarray(evidence.log_other, float), len(symbols))
    top = np.maximum(match, other)
    shift = top * (symbols >= 0).sum(axis=1)
    return np.require(symbols, np.int32, ["C", "W"]), match - top, other - top, shift


def _root(grammar: Grammar, root: ArrayLike | None, n: int) -> Array:
    """Prior of the root in float64, [1, v_0], or one-hot [n, v_0] where the class is given."""
    v = grammar.v[0]
    if root is None:
        return np.array(grammar.root_prior)[None]
    classes = integers("root", root, 0, v - 1)
    if classes.shape not in ((), (n,)):
        raise InvalidParameter(
            f"root has shape {classes.shape}; give one class or {n} of them, integers in [0, {v})"
        )
    return np.asarray(np.eye(v)[np.broadcast_to(classes, n)])


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
        f"the evidence of sample {sample} has probability zero: no sentence of the grammar agrees "
        "with it; check that data, noise and root class belong to this grammar"
    )
