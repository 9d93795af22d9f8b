"""Belief propagation in logarithms, one sample at a time: slow, and never out of range.

Used for the rare samples whose messages leave the range of floating-point numbers, and as the
plain twin of the kernels of ``tree.py`` in tests.  Nodes are rows of one array, level by level.
"""

from __future__ import annotations

import numpy as np

from hierdiff.theory._compiled import inline, jit

__all__ = ["log_downward", "log_upward"]


@inline
def _log_add(x, y):
    if x < y:
        x, y = y, x
    if y == -np.inf:
        return x
    return x + np.log1p(np.exp(y - x))


@jit
def log_upward(rules, log_weights, shape, starts, up):
    """Fill the inner rows of ``up[row, symbol]`` from the leaf rows, which must be there.

    ``shape[level]`` is (v, s, m, nodes), ``starts[level]`` the first row of the level; the rules of
    level l are ``rules[l][(a * m + k) * s + j]``, here stacked with their start in ``shape[l, 4]``
    and the start of their weights in ``shape[l, 5]``.
    """
    for level in range(shape.shape[0] - 2, -1, -1):
        v, s, m, nodes = shape[level, 0], shape[level, 1], shape[level, 2], shape[level, 3]
        for node in range(nodes):
            child = starts[level + 1] + node * s
            for a in range(v):
                total = -np.inf
                for k in range(m):
                    x = log_weights[shape[level, 5] + a * m + k]
                    for j in range(s):
                        x += up[child + j, rules[shape[level, 4] + (a * m + k) * s + j]]
                    total = _log_add(total, x)
                up[starts[level] + node, a] = total


@jit
def log_downward(rules, log_weights, shape, starts, up, down):
    """Fill ``down[row, symbol]`` below the root, whose row (the log prior) must be there."""
    for level in range(shape.shape[0] - 1):
        v, s, m, nodes = shape[level, 0], shape[level, 1], shape[level, 2], shape[level, 3]
        for node in range(nodes):
            child = starts[level + 1] + node * s
            down[child : child + s, :] = -np.inf
            for a in range(v):
                for k in range(m):
                    p = shape[level, 4] + (a * m + k) * s
                    base = down[starts[level] + node, a] + log_weights[shape[level, 5] + a * m + k]
                    for j in range(s):
                        x = base
                        for i in range(s):
                            if i != j:
                                x += up[child + i, rules[p + i]]
                        b = rules[p + j]
                        down[child + j, b] = _log_add(down[child + j, b], x)
