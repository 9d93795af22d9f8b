"""From what a caller says about the leaves to what the kernels read; clear words if it is bad."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.grammar import Grammar
from hierdiff.noise import SymbolEvidence
from hierdiff.theory._engine import Leaves

__all__ = ["explain", "leaves_of"]

Array = NDArray[Any]


def leaves_of(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence,
    root: ArrayLike | None,
    dtype: DTypeLike,
) -> Leaves:
    """Check shapes and bring evidence and root prior into one number type.

    The values themselves are checked by the passes, at no cost; see :func:`explain`.
    """
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InvalidParameter(f"dtype = {kind} is not supported; use float64 or float32")
    nothing = np.empty(0, kind)
    if isinstance(log_evidence, SymbolEvidence):
        symbols, match, other, shift = _symbol_likelihoods(grammar, log_evidence)
        prior = _root(grammar, root, len(symbols), kind)
        dense = np.empty((0, 0, 0), kind)
        leaves = Leaves(2, dense, symbols, match, other, prior, shift)
        return leaves.astype(kind)
    dense = np.asarray(log_evidence)
    if dense.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        dense = dense.astype(kind)
    expected = (grammar.n_leaves, grammar.v[grammar.L])
    if dense.ndim != 3 or dense.shape[1:] != expected:
        raise InvalidParameter(
            f"log_evidence has shape {dense.shape}; the grammar needs (n, {expected[0]}, "
            f"{expected[1]}): samples, leaves, symbols"
        )
    prior = _root(grammar, root, len(dense), kind)
    no_symbols = np.empty((0, 0), np.int32)
    return Leaves(0, dense, no_symbols, nothing, nothing, prior, np.zeros(len(dense))).astype(kind)


def _symbol_likelihoods(
    grammar: Grammar, evidence: SymbolEvidence
) -> tuple[Array, Array, Array, Array]:
    symbols = np.require(evidence.symbols, np.int32, ["C", "W"])
    v = grammar.v[grammar.L]
    if symbols.ndim != 2 or symbols.shape[1] != grammar.n_leaves or evidence.v != v:
        raise InvalidParameter(
            f"evidence is about {symbols.shape} leaves with {evidence.v} symbols; the grammar "
            f"needs (n, {grammar.n_leaves}) with {v}"
        )
    match = np.broadcast_to(np.asarray(evidence.log_match, float), len(symbols))
    other = np.broadcast_to(np.asarray(evidence.log_other, float), len(symbols))
    top = np.maximum(match, other)
    bad = np.flatnonzero(~np.isfinite(top) | np.isnan(match) | np.isnan(other))
    if bad.size:
        i = int(bad[0])
        raise InvalidParameter(
            f"evidence of sample {i} has log_match = {match[i]}, log_other = {other[i]}; neither "
            "may be NaN or +inf, and one must be finite"
        )
    shift = top * (symbols >= 0).sum(axis=1)
    return symbols, np.exp(match - top), np.exp(other - top), shift


def _root(grammar: Grammar, root: ArrayLike | None, n: int, dtype: np.dtype[Any]) -> Array:
    """Prior of the root, [1, v_0], or one-hot [n, v_0] where the class is given."""
    v = grammar.v[0]
    if root is None:
        return np.array(grammar.root_prior, dtype)[None]
    classes = np.asarray(root)
    if not np.issubdtype(classes.dtype, np.integer) or classes.shape not in ((), (n,)):
        raise InvalidParameter(
            f"root has shape {classes.shape} and type {classes.dtype}; give one class or {n} of "
            f"them, integers in [0, {v})"
        )
    if classes.size and (classes.min() < 0 or classes.max() >= v):
        wrong = int(classes.min() if classes.min() < 0 else classes.max())
        raise InvalidParameter(f"root = {wrong} is no class; the grammar has classes 0 to {v - 1}")
    return np.asarray(np.eye(v, dtype=dtype)[np.broadcast_to(classes, n)])


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
