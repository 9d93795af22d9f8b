"""One sample at a time in logarithms: for evidence whose range exceeds floating point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.data.rhm import Grammar
from hierdiff.theory.belief_propagation._kernels.log_tree import log_downward, log_upward
from hierdiff.theory.belief_propagation.passes import Leaves

__all__: list[str] = []  # used inside hierdiff only

Array = NDArray[Any]


def log_likelihoods(leaves: Leaves, v: int, row: int) -> Array:
    """Log-evidence [leaves, v] of one sample, whatever form it came in."""
    if leaves.kind == 0:
        return np.asarray(leaves.dense[row], np.float64)
    assert leaves.exact is not None  # pieces of trees are never done again on their own
    symbols = leaves.symbols[row]
    at = row if len(leaves.exact.match) > 1 else 0
    out = np.full((symbols.size, v), float(leaves.exact.other[at]))
    seen = np.flatnonzero(symbols >= 0)
    out[seen, symbols[seen]] = float(leaves.exact.match[at])
    out[symbols < 0] = 0.0
    return out


def _softmax(x: Array) -> Array:
    shifted = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


class LogMessages:
    """Upward and downward messages of one sample, as logarithms."""

    def __init__(self, g: Grammar, log_psi: Array, log_root: Array) -> None:
        self.grammar = g
        nodes = [g.n_nodes(level) for level in range(g.L + 1)]
        self.starts = np.concatenate([[0], np.cumsum(nodes)]).astype(np.int64)
        shape = np.zeros((g.L + 1, 6), np.int64)
        shape[:, 0], shape[:, 3] = g.v, nodes
        with np.errstate(divide="ignore"):
            log_weights = [np.log(w).ravel() for w in g.weights]
        for level in range(g.L):
            shape[level, 1], shape[level, 2] = g.s[level], g.m[level]
            shape[level + 1 :, 4] += g.rules[level].size
            shape[level + 1 :, 5] += log_weights[level].size
        self._rules = np.concatenate([r.ravel() for r in g.rules]).astype(np.int64)
        self._weights = np.concatenate(log_weights)
        self._shape = shape
        self.up = np.full((int(self.starts[-1]), max(g.v)), -np.inf)
        self.up[self.starts[g.L] :, : g.v[g.L]] = log_psi
        log_upward(self._rules, self._weights, shape, self.starts, self.up)
        self.log_root = log_root
        top = self.up[0, : g.v[0]] + log_root
        peak = top.max()
        self.log_evidence = (
            float(peak + np.log(np.exp(top - peak).sum())) if np.isfinite(peak) else -np.inf
        )

    def rows(self, array: Array, level: int) -> Array:
        """The part of an array of messages that belongs to a level, [nodes, v_l]."""
        return np.asarray(
            array[self.starts[level] : self.starts[level + 1], : self.grammar.v[level]]
        )

    def downward(self) -> Array:
        """Downward messages, as logarithms; they vanish where no derivation continues."""
        down = np.full_like(self.up, -np.inf)
        down[0, : self.grammar.v[0]] = self.log_root
        log_downward(self._rules, self._weights, self._shape, self.starts, self.up, down)
        return down

    def lines(self, kind: str) -> list[Array]:
        """Per level [nodes, v_l]: "marginal", "up" or "down", each summing to one."""
        levels = range(self.grammar.L + 1)
        if kind == "up":
            return [_softmax(self.rows(self.up, level)) for level in levels]
        down = self.downward()
        total = down + self.up if kind == "marginal" else down
        return [_softmax(self.rows(total, level)) for level in levels]

    def draw(self, root_uniform: float, uniforms: list[Array]) -> list[Array]:
        """One posterior sample, from one number for the root and one per inner node."""
        g = self.grammar
        symbol = _pick(_softmax(self.up[:1, : g.v[0]] + self.log_root), np.array([root_uniform]))
        levels = [symbol]
        for level in range(g.L):
            rule = g.rules[level][symbol]  # [nodes, m, s]
            child = self.rows(self.up, level + 1).reshape(-1, g.s[level], g.v[level + 1])
            node = np.arange(symbol.size)[:, None, None]
            with np.errstate(divide="ignore"):
                log_weight = np.log(g.weights[level][symbol])
            log_weight = log_weight + child[node, np.arange(g.s[level]), rule].sum(axis=2)
            k = _pick(_softmax(log_weight), uniforms[level])
            symbol = rule[np.arange(symbol.size), k].ravel()
            levels.append(symbol)
        return levels


def _pick(p: Array, u: Array) -> Array:
    """The entry of each row of probabilities at which their running sum passes u."""
    running = np.cumsum(p, axis=1)
    k = (u[:, None] * running[:, -1:] >= running).sum(axis=1)
    last = p.shape[1] - 1 - np.argmax(p[:, ::-1] > 0, axis=1)
    return np.asarray(np.minimum(k, last))
