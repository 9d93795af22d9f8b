"""Grammars of varying trees, one derivation after the other, in plain Python."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.data.pcfg import PCFG

__all__ = ["LAYERED", "RECURSIVE", "UNARY", "derivations", "iterated", "strings", "summed"]

Tree = tuple[float, tuple[tuple[int, int, int, int], ...]]
"""Probability given the root, and nodes (symbol, start, end, rule) in preorder."""

LAYERED = PCFG.layered(
    [
        {1: [[[2]], [[0]]], 2: [[[0, 1]], [[2, 1]]], 3: [[[0, 0, 1]], [[1, 2, 2]]]},
        {2: [[[0, 1], [1, 1]], [[1, 0], [0, 0]], [[0, 1], [1, 0]]], 1: [[[0]], [[1]], [[1]]]},
    ],
    weights=[
        {1: [[0.2], [0.1]], 2: [[0.5], [0.6]], 3: [[0.3], [0.3]]},
        {2: [[0.25, 0.5], [0.3, 0.3], [0.5, 0.2]], 1: [[0.25], [0.4], [0.3]]},
    ],
    root_prior=[0.3, 0.7],
)
"""Two levels, arities 1 to 3, ambiguous, weighted."""
RECURSIVE = PCFG.from_text(
    "S -> S S [0.15] | A S B [0.1] | A B A B [0.05] | 'a' [0.7]\n"
    "A -> 'a' [0.5] | 'b' 'c' [0.25] | B 'a' [0.25]\nB -> 'b' [0.9] | A 'c' [0.1]"
)
"""Arities up to four, recursive, without unary rules between nonterminals."""
UNARY = PCFG.from_text(
    "S -> A [0.3] | S S [0.2] | 'a' [0.5]\nA -> B [0.4] | S [0.1] | A 'b' [0.2] | 'b' [0.3]\n"
    "B -> A [0.5] | 'c' [0.4] | B S [0.1]"
)
"""Unary rules in two cycles."""


@functools.cache
def derivations(g: PCFG, symbol: int, n: int) -> list[Tree]:
    """All trees of a symbol over n leaves from 0 on; for grammars without unary cycles."""
    if symbol >= g.N:
        return [(1.0, ((symbol, 0, 1, -1),))] if n == 1 else []
    out: list[Tree] = []
    for r in np.flatnonzero(g.parents == symbol):
        children, w = g.children[r], float(g.weights[r])
        for cuts in itertools.combinations(range(1, n), len(children) - 1):
            ends = [0, *cuts, n]
            parts = [
                derivations(g, c, b - a) for c, a, b in zip(children, ends, ends[1:], strict=False)
            ]
            for chosen in itertools.product(*parts):
                p = w * float(np.prod([x for x, _ in chosen]))
                below = (
                    (x, a + start, b + start, k)
                    for start, (_, nodes) in zip(ends, chosen, strict=False)
                    for x, a, b, k in nodes
                )
                out.append((p, ((symbol, 0, n, int(r)), *below)))
    return out


def summed(g: PCFG, psi: NDArray[Any]) -> tuple[float, list[Tree]]:
    """Z and all trees with their weights, for evidence [n, v]."""
    n, out = len(psi), []
    for root in np.flatnonzero(g.root_prior):
        for p, nodes in derivations(g, int(root), n):
            leaf = np.array([(a, x - g.N) for x, a, _, r in nodes if r < 0])
            weight = p * g.root_prior[root] * np.prod(psi[leaf[:, 0], leaf[:, 1]])
            out.append((float(weight), nodes))
    return sum(w for w, _ in out), out


def iterated(g: PCFG, psi: NDArray[Any]) -> float:
    """Z by the recursion of inside sums, unary rules applied until nothing moves."""
    n = len(psi)
    inside: dict[tuple[int, int], NDArray[Any]] = {}
    for width in range(1, n + 1):
        for i in range(n - width + 1):
            base = np.zeros(g.N + g.v)
            if width == 1:
                base[g.N :] = psi[i]
            for parent, c, w in g.rules:
                for cuts in itertools.combinations(range(i + 1, i + width), len(c) - 1):
                    ends = [i, *cuts, i + width]
                    if len(c) > 1:
                        parts = zip(c, ends, ends[1:], strict=False)
                        base[parent] += w * np.prod([inside[a, b][x] for x, a, b in parts])
            found = base.copy()
            for _ in range(400):
                moved = base.copy()
                for parent, c, w in g.rules:
                    if len(c) == 1:
                        moved[parent] += w * found[c[0]]
                found = moved
            inside[i, i + width] = found
    return float(g.root_prior @ inside[0, n][: g.N])


def strings(v: int, n: int) -> NDArray[np.int64]:
    """All strings of length n."""
    return np.array(list(itertools.product(range(v), repeat=n)))
