r"""What is left of the symbols if the tree is known: an upper bound, and its density evolution.

=====================  ==========================================================================
symbol                 meaning
=====================  ==========================================================================
S                      shape of the tree: its spans, without their symbols
m_s, q_s               rules of arity s per symbol, and their share m_s / sum of m
nu, eta                message about a node from below, and from everything else
=====================  ==========================================================================

Given S, inference is belief propagation on one tree whose nodes have rules of their own arity,

.. math:: \nu(a) = \sum_{r:\, a \to c_1 \dots c_s} \pi_r \prod_j \nu_j(c_j), \qquad
   p(a \mid x_t, S) \propto \eta(a)\, \nu(a),

and no tree can be lost.  By Jensen's inequality more information means more belief on average,

.. math:: E\, p(a^* \mid x_t) = E \sum_a p(a \mid x_t)^2 \le E \sum_a p(a \mid x_t, S)^2
   = E\, p(a^* \mid x_t, S),

so the beliefs of the known tree bound those of the unknown one from above, for every symbol and
every noise level.  The difference is the price of parsing.

If each symbol has m_s equally likely rules of arity s, the arity says nothing about the symbol, and
the messages of a random tree follow density evolution with random arity,

.. math:: \nu \stackrel{d}{=} \mathrm{BP}_s(\nu_1, \dots, \nu_s;\ \text{fresh rules of arity } s),
   \qquad s \sim q .

It is sampled on whole trees, of free or of given length: the shape of a tree is drawn, then the
rules of every node.

References: density evolution as in :mod:`hierdiff.theory.rhm.density_evolution`, arXiv 2402.16991
for messages on the hierarchy; multi-type branching, Mezard and Montanari (2009), chapter 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff import checks
from hierdiff.checks import array, checked, count, memory, unchecked, whole
from hierdiff.data.parse_trees import Parses
from hierdiff.data.pcfg import PCFG, checked_arities
from hierdiff.data.rhm import RHM
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed, generator
from hierdiff.theory.pcfg import _kernels as kernels
from hierdiff.theory.rhm.density_evolution import (
    OrderParameter,
    check_sizes,
    leaf_messages,
    same_symbols,
)

__all__ = ["known_tree_beliefs", "known_tree_dynamics"]

Array = NDArray[Any]


# ------------------------------------------------------------------------------- one given tree


@lru_cache(maxsize=64)
def _tables(g: PCFG) -> dict[int, tuple[Array, Array, Array]]:
    """Of every arity: parents one-hot times probabilities [N + v, rules], children, one-hot too."""
    out = {}
    for s in g.arities:
        mine = [r for r, c in enumerate(g.children) if len(c) == s]
        up = np.zeros((g.N + g.v, len(mine)))
        up[g.parents[mine], np.arange(len(mine))] = g.weights[mine]
        children = np.array([g.children[r] for r in mine])
        down = np.zeros((s, g.N + g.v, len(mine)))
        for j in range(s):
            down[j, children[:, j], np.arange(len(mine))] = 1.0
        out[s] = up, children, down
    return out


def _children(nodes: Array) -> list[list[int]]:
    """Numbers of the children of every node of a tree in preorder."""
    out: list[list[int]] = [[] for _ in nodes]
    open_nodes: list[int] = []
    for k, (_, _, end, rule) in enumerate(nodes.tolist()):
        # a node is finished when its last child is: at its end, and with all its children seen
        if open_nodes:
            out[open_nodes[-1]].append(k)
        if rule >= 0:
            open_nodes.append(k)
            continue
        while open_nodes and nodes[open_nodes[-1], 2] == end:
            open_nodes.pop()
    return out


def _one_tree(g: PCFG, nodes: Array, psi: Array) -> Array:
    """Posterior of the true symbol of every node, [nodes, T], for evidence [leaves, v, T]."""
    tables, below = _tables(g), _children(nodes)
    up = np.zeros((len(nodes), g.N + g.v, psi.shape[2]))
    products: list[Array] = [np.empty(0)] * len(nodes)
    for k in range(len(nodes) - 1, -1, -1):
        if not below[k]:
            up[k, g.N :] = psi[nodes[k, 1]]
        else:
            parents, children, _ = tables[len(below[k])]
            parts = [up[c][children[:, j]] for j, c in enumerate(below[k])]
            products[k] = np.stack(parts)
            up[k] = parents @ np.prod(products[k], axis=0)
        top = up[k].max(axis=0)
        up[k] /= np.where(top > 0, top, 1.0)
    down = np.zeros_like(up)
    down[0, : g.N] = g.root_prior[:, None]
    belief = np.empty((len(nodes), psi.shape[2]))
    for k in range(len(nodes)):
        both = down[k] * up[k]
        total = both.sum(axis=0)
        if not (total > 0).all():
            raise ImpossibleEvidence(
                "the evidence has probability zero under a given tree; check that data, noise and "
                "trees belong to this grammar"
            )
        belief[k] = both[nodes[k, 0]] / total
        if below[k]:
            parents, _, place = tables[len(below[k])]
            above = parents.T @ down[k]
            for j, c in enumerate(below[k]):
                others = np.prod(np.delete(products[k], j, axis=0), axis=0)
                down[c] = place[j] @ (above * others)
                down[c] /= down[c].max(axis=0)
    return belief


@checked(log_evidence=unchecked)
def known_tree_beliefs(grammar: PCFG, trees: Parses, log_evidence: ArrayLike) -> Array:
    r"""Posterior of the true symbol of every node if the shape of the tree is known.

    .. math:: p(a^* \mid x_t, S)

    Parameters
    ----------
    grammar : PCFG
    trees : Parses
        The true trees, of equal length.
    log_evidence : array [n, leaves, v] or [n, T, leaves, v]
        Of the leaves of every tree, for one or T observations.

    Returns
    -------
    array [nodes] or [nodes, T]
        In the order of ``trees.nodes``.

    Raises
    ------
    InvalidParameter
        If shapes do not fit.
    ImpossibleEvidence
        If a tree has probability zero under the evidence.

    Notes
    -----
    Validity: exact; the shape holds all spans, hence the arity of every node, and no symbol.  Its
    mean over data is at least that of the unknown tree.

    Examples
    --------
    >>> g = PCFG.layered([{2: [[[0, 1]], [[1, 1]]], 3: [[[0, 0, 1]], [[1, 0, 1]]]}])
    >>> known_tree_beliefs(g, g.sample(1, 0, length=3), np.zeros((1, 3, 2))).round(3).tolist()
    [0.5, 0.5, 1.0, 1.0]
    """
    given = array("log_evidence", log_evidence).astype(float, copy=False)
    single = given.ndim == 3
    given = given[:, None] if single else given
    n, leaves = len(trees), int(trees.lengths.max(initial=0))
    if given.ndim != 4 or given.shape[0] != n or given.shape[2:] != (leaves, grammar.v):
        raise InvalidParameter(
            f"log_evidence has shape {np.shape(log_evidence)}; the trees need ({n}, {leaves}, "
            f"{grammar.v}) or ({n}, T, {leaves}, {grammar.v})"
        )
    if (trees.lengths != leaves).any() or trees.grammar.N != grammar.N:
        raise InvalidParameter("trees must be of equal length and of this grammar")
    if np.isnan(given).any() or np.isposinf(given).any():
        raise InvalidParameter("log_evidence holds NaN or +inf; give finite numbers or -inf")
    top = given.max(axis=3, keepdims=True)
    psi = np.exp(given - np.where(np.isfinite(top), top, 0.0))
    parts = [_one_tree(grammar, trees.tree(i), psi[i].transpose(1, 2, 0)) for i in range(n)]
    found = np.concatenate(parts)
    return found[:, 0] if single else found


# --------------------------------------------------------------------------- random grammars, trees


@checked(v=count, rules=unchecked, L=partial(whole, low=1, high=64), t=checks.one_level,
         length=unchecked, n_classes=count, size=partial(whole, low=2, high=10**7))  # fmt: skip
def known_tree_dynamics(
    v: int,
    rules: Mapping[int, int],
    L: int,
    noise: NoiseProcess,
    t: float,
    *,
    length: int | None = None,
    n_classes: int | None = None,
    size: int = 1000,
    seed: Seed = 0,
) -> OrderParameter:
    r"""Mean belief in the true symbol per level for known trees of random arities.

    Parameters
    ----------
    v : int
        Symbols per level.
    rules : mapping from arity s to the number m_s of rules per symbol
        As in :meth:`hierdiff.data.pcfg.PCFG.random`.
    L : int
        Levels of rules.
    noise : NoiseProcess
        Any process on symbols.
    t : float
        Noise level in [0, 1].
    length : int, optional
        Leaves of every tree; default free.
    n_classes : int, optional
        Symbols of the root (default v).
    size : int
        Number of trees.
    seed : Seed
        Source of randomness.

    Returns
    -------
    OrderParameter
        Root first; means over the nodes of a level, then over trees, with the errors of the latter.

    Raises
    ------
    InvalidParameter
        If noise and v do not fit, there are fewer than v m_s tuples of an arity or more than 2**22
        of them, or no tree has this length.

    Notes
    -----
    Validity: average over grammars whose rules are drawn anew at every node.  With one arity it is
    :func:`hierdiff.theory.rhm.density_evolution.population_dynamics`.  It bounds the beliefs of an
    unknown tree from above, up to the difference between shared and fresh rules.

    Examples
    --------
    >>> from hierdiff import MaskingNoise
    >>> found = known_tree_dynamics(8, {2: 2, 3: 2}, 3, MaskingNoise(8), 0.5, length=16)
    >>> found.marginal.shape, bool(0.125 < found.marginal[0] < 1)
    ((4,), True)
    """
    numbers = checked_arities(rules)
    classes = v if n_classes is None else n_classes
    models = {s: RHM(v, m, s, 1, classes) for s, m in numbers.items()}
    for one in models.values():
        check_sizes(RHM(v, one.m, one.s, 1), max(size, 100), 2, L)
        same_symbols(one, noise)
    random = generator(seed)
    # the law of the shapes is that of the arities alone
    trees = PCFG.random(v, numbers, L, random, n_classes=n_classes).sample(size, random, length)
    leaves = int(trees.lengths.sum())
    memory(f"messages of {size} trees of {leaves} leaves", 40.0 * leaves * v)
    up, marginal = _on_trees(
        trees, models, classes, leaf_messages(noise, t, leaves, random), random
    )
    root = np.sqrt(size)
    return OrderParameter(
        up.mean(axis=0), up.std(axis=0, ddof=1) / root,
        marginal.mean(axis=0), marginal.std(axis=0, ddof=1) / root,
    )  # fmt: skip


def _key(random: np.random.Generator) -> np.uint64:
    return np.uint64(random.integers(2**63))


def _on_trees(
    trees: Parses, models: Mapping[int, RHM], classes: int, messages: Array,
    random: np.random.Generator,
) -> tuple[Array, Array]:  # fmt: skip
    """Messages up and down all trees at once, level by level; beliefs [trees, level]."""
    g = trees.grammar
    level_of, L = g.level_of[trees.nodes[:, 0]], int(g.L or 0)
    arity_of = np.array([len(c) for c in g.children])
    levels: list[Array] = [messages]
    arities: list[tuple[Array, Array]] = []
    for level in range(L - 1, -1, -1):
        # from left to right, the children of one node behind those of the node before
        arity = arity_of[trees.nodes[level_of == level, 3]]
        first, parents = np.cumsum(arity) - arity, classes if level == 0 else messages.shape[1]
        out = np.empty((len(arity), parents))
        for s, one in models.items():
            mine = np.flatnonzero(arity == s)
            if mine.size:
                order = first[mine] + np.arange(s)[:, None]
                out[mine] = _branch(levels[0], None, order, _key(random), one, parents)
        levels.insert(0, out)
        arities.insert(0, (arity, first))
    down = np.full((len(trees), classes), 1.0 / classes)
    beliefs = [levels[0][:, 0]]
    for up, (arity, first) in zip(levels[1:], arities, strict=True):
        below = np.empty_like(up)
        for s, one in models.items():
            mine = np.flatnonzero(arity == s)
            for j in range(s) if mine.size else ():
                siblings = [first[mine] + k for k in range(s) if k != j]
                order = np.stack([mine, *siblings])
                below[first[mine] + j] = _branch(up, down, order, _key(random), one, up.shape[1])
        down, met = below, np.empty(len(up))
        kernels.meet(up, down, _key(random), met)
        beliefs.append(met)
    owners = [trees.owner[level_of == level] for level in range(L + 1)]
    count = [np.bincount(owner, minlength=len(trees)) for owner in owners]
    mean = [
        np.stack([np.bincount(o, x, len(trees)) / k for o, x, k in zip(owners, values, count,
                                                                         strict=True)], axis=1)
        for values in ([x[:, 0] for x in levels], beliefs)
    ]  # fmt: skip
    return mean[0], mean[1]


def _branch(
    up: Array, above: Array | None, order: Array, key: np.uint64, one: RHM, symbols: int
) -> Array:
    """Messages of one arity under rules drawn anew: upward, or downward from those ``above``.

    Columns of ``order`` are the children of a node, or its parent and its siblings.
    """
    code = np.arange(one.v**one.s)
    digits = np.stack([code // one.v**j % one.v for j in range(one.s)], axis=1)
    out, seen = np.empty((order.shape[1], symbols)), np.zeros(len(digits), np.int64)
    if above is None:
        kernels.branch_up(up, order, key, symbols, one.m, digits, seen, out)
    else:
        kernels.branch_down(up, above, order, key, one.m, digits, seen, out)
    return out
