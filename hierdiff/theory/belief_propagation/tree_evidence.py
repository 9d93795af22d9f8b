r"""Evidence at any node of the tree, in the form that the kernels of all questions read.

=====================  ==========================================================================
symbol                 meaning
=====================  ==========================================================================
(l, i)                 node i of level l; (0, 0) is the root, level L holds the leaves
phi_{l,i}(a)           evidence of a node: p(observation | symbol a) up to a factor; 1 without any
p_0(a)                 prior of the root, one-hot where the class is given
=====================  ==========================================================================

A derivation tau with symbols a and rules k has the weight

.. math:: w(\tau) = p_0(a_{0,0}) \prod_{l < L} \prod_i \pi_l(k_{l,i} \mid a_{l,i})
   \prod_{l \le L} \prod_i \phi_{l,i}(a_{l,i}), \qquad Z = \sum_\tau w(\tau), \qquad
   p(\tau \mid \text{evidence}) = w(\tau) / Z.

Noise at the leaves gives phi there.  A known latent, a class label, noise on latents and a prior on
a symbol are evidence as well: pieces of evidence about one node multiply.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import array, integers, memory, shown
from hierdiff.data.derivations import inside as semiring_step
from hierdiff.data.rhm import Grammar
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import SymbolEvidence
from hierdiff.theory.belief_propagation._kernels import semiring

__all__ = ["Node", "NodeEvidence"]

Array = NDArray[Any]
Node: TypeAlias = "int | tuple[int, int]"
"""A leaf by its number, or any node as (level, node)."""
NodeEvidence: TypeAlias = "Sequence[ArrayLike | None] | Mapping[Any, ArrayLike]"
"""Evidence by node: a list with an array (or None) per level, or a mapping whose keys are levels
or pairs (level, node).  Float arrays are logarithms of phi, [nodes, v_l] or [n, nodes, v_l] for a
level, [v_l] or [n, v_l] for a node.  Integer arrays are known symbols, -1 for unknown ones,
[nodes] or [n, nodes] for a level, one number or [n] for a node."""


@dataclass(frozen=True, eq=False)
class TreeEvidence:
    """Checked evidence of n samples: what the kernels read, and what the fast engine takes."""

    kernel: semiring.Evidence
    leaves: Any  # evidence of the leaves as it was given; None if it cannot be all there is
    root: Array | None  # classes that are given, [n]

    def __len__(self) -> int:
        return len(self.kernel.values)

    def log_phi(self, g: Grammar, level: int) -> Array | None:
        """Evidence of a level [n, nodes, v_l], or None."""
        start = int(self.kernel.start[level])
        if start < 0:
            return None
        nodes, v = g.n_nodes(level), g.v[level]
        return np.asarray(self.kernel.values[:, start : start + nodes * v].reshape(-1, nodes, v))


@functools.lru_cache(maxsize=64)
def tables(g: Grammar) -> semiring.Tree:
    """The grammar as flat arrays."""
    shape = np.zeros((g.L + 1, 8), np.int64)
    first = place = rules = weights = 0
    for level in range(g.L + 1):
        m, s = (g.m[level], g.s[level]) if level < g.L else (0, 0)
        nodes = g.n_nodes(level)
        shape[level] = g.v[level], m, s, nodes, first, rules, weights, place
        first, place = first + nodes * g.v[level], place + nodes
        rules, weights = rules + g.v[level] * m * s, weights + g.v[level] * m
    flat = np.concatenate([w.ravel() for w in g.weights])
    with np.errstate(divide="ignore"):
        logarithms = np.log(flat)
    return semiring.Tree(
        g.L, shape, np.concatenate([r.ravel() for r in g.rules]).astype(np.int32), flat, logarithms
    )


def collect(
    g: Grammar,
    leaves: ArrayLike | SymbolEvidence | None,
    nodes: NodeEvidence | None,
    root: ArrayLike | None,
    *,
    keep: bool = True,
) -> TreeEvidence:
    """Check all evidence and bring it into one array; with ``keep`` a copy of what was given."""
    pieces = _pieces(g, nodes)
    if leaves is not None:
        pieces.insert(0, ((g.L, None), "log_evidence", leaves))
    found = [(key, name, *_logarithms(g, key, name, value)) for key, name, value in pieces]
    sizes = {len(x): name for _, name, x, own in found if own}
    top = None if root is None else integers("root", root, 0, g.v[0] - 1)
    if top is not None and top.ndim > 1:
        raise InvalidParameter(f"root has shape {top.shape}; give one class, or one per sample")
    if top is not None and top.ndim == 1:
        sizes.setdefault(len(top), "root")
    if len(sizes) > 1:
        words = " and ".join(f"{name} of {n}" for n, name in sizes.items())
        raise InvalidParameter(f"evidence is of different numbers of samples: {words}")
    n = next(iter(sizes), 1)
    if not n:
        raise InvalidParameter(f"{sizes[0]} is of no sample; give at least one")
    levels = sorted({key[0] for key, *_ in found})
    width = sum(g.n_nodes(level) * g.v[level] for level in levels)
    memory(f"evidence of {n} samples of {width} symbols", 16.0 * n * width)
    start, values = np.full(g.L + 1, -1, np.int64), np.zeros((n, width))
    for level in levels:
        start[level] = sum(g.n_nodes(x) * g.v[x] for x in levels if x < level)
    for (level, node), name, x, _ in found:
        block = values[:, start[level] : start[level] + g.n_nodes(level) * g.v[level]]
        block = block.reshape(n, -1, g.v[level])  # a view: the rows of a block are contiguous
        part = block if node is None else block[:, node : node + 1]
        part += x
        _possible(g, part, level, node or 0, name)
    classes = None if top is None else np.broadcast_to(top, n)
    log_root = _log_root(g, classes)
    evidence = TreeEvidence(semiring.Evidence(values, start, log_root), None, classes)
    _no_contradiction(g, evidence)
    if keep and not pieces[1 if leaves is not None else 0 :] and leaves is not None:
        given = leaves if isinstance(leaves, SymbolEvidence) else np.array(leaves)
        return TreeEvidence(evidence.kernel, given, classes)
    return evidence


def _log_root(g: Grammar, classes: Array | None) -> Array:
    """Logarithm of the root's prior, [1, v_0] or [n, v_0]."""
    prior = np.array(g.root_prior)[None] if classes is None else np.eye(g.v[0])[classes]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(prior))


def _pieces(g: Grammar, nodes: Any) -> list[tuple[tuple[int, int | None], str, Any]]:
    """Pieces of evidence as ((level, node or None), name, value)."""
    if nodes is None:
        return []
    if isinstance(nodes, Mapping):
        return [(_key(g, key), f"nodes[{shown(key)}]", value) for key, value in nodes.items()]
    if not isinstance(nodes, (list, tuple)) or len(nodes) != g.L + 1:
        raise InvalidParameter(
            f"nodes = {shown(nodes)} must be a mapping from levels or (level, node) to arrays, or "
            f"a list of {g.L + 1}, an array or None per level"
        )
    return [((i, None), f"nodes[{i}]", x) for i, x in enumerate(nodes) if x is not None]


def _key(g: Grammar, key: Any) -> tuple[int, int | None]:
    """A level, or a level and a node of it, that exist."""
    level, node = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
    for part in (level, node):
        fine = isinstance(part, (int, np.integer)) and not isinstance(part, bool)
        if not fine and not (part is node and node is None):
            raise InvalidParameter(
                f"nodes has the key {shown(key)}; give a level, or a pair (level, node)"
            )
    if not 0 <= level <= g.L:
        raise InvalidParameter(
            f"nodes has the key {shown(key)}, but levels run from 0 (root) to {g.L} (leaves)"
        )
    if node is not None and not 0 <= node < g.n_nodes(int(level)):
        raise InvalidParameter(
            f"nodes has the key {shown(key)}, but level {level} has the nodes 0 to "
            f"{g.n_nodes(int(level)) - 1}"
        )
    return int(level), None if node is None else int(node)


def _logarithms(
    g: Grammar, key: tuple[int, int | None], name: str, value: Any
) -> tuple[Array, bool]:
    """Log phi [n or 1, nodes or 1, v_l], and whether the number of samples is its own."""
    level, node = key
    v = g.v[level]
    count = g.n_nodes(level) if node is None else 1
    if isinstance(value, SymbolEvidence):
        if level != g.L or node is not None or value.v != v or value.symbols.shape[1] != count:
            raise InvalidParameter(
                f"{name} is about {value.symbols.shape} leaves with {value.v} symbols; the leaves "
                f"of this grammar need (n, {g.n_leaves}) with {g.v[g.L]}"
            )
        return value.dense(), True
    x = array(name, value)
    symbols = x.dtype.kind in "iu"
    one = (() if node is not None else (count,)) if symbols else (
        (v,) if node is not None else (count, v)
    )  # fmt: skip
    own = x.shape[1:] == one and x.ndim == len(one) + 1
    if (not own and x.shape != one) or (own and not len(x)):
        what = "symbols" if symbols else "logarithms"
        raise InvalidParameter(
            f"{name} has shape {x.shape}; {what} of {'a node' if node is not None else 'a level'} "
            f"have shape {one}, or (n, {', '.join(map(str, one))})".replace(", )", ")")
        )
    x = x if own else x[None]
    if not symbols:
        return x.astype(np.float64).reshape(len(x), count, v), own
    known = integers(name, x, -1, v - 1).reshape(len(x), count)
    out = np.zeros((len(x), count, v))
    out[known >= 0] = -np.inf
    rows, columns = np.nonzero(known >= 0)
    out[rows, columns, known[rows, columns]] = 0.0
    return out, own


def _possible(g: Grammar, block: Array, level: int, first: int, name: str) -> None:
    """Refuse NaN, +inf, and nodes that may have no symbol at all."""
    top = block.max(axis=2)  # NaN if any is
    bad = np.argwhere(~np.isfinite(top))
    if not len(bad):
        return
    i, node = (int(x) for x in bad[0])
    if np.isneginf(top[i, node]):
        raise InvalidParameter(
            f"{name} excludes every symbol of node {(level, first + node)} of sample {i}; at least "
            "one symbol must be possible"
        )
    raise InvalidParameter(
        f"{name} holds NaN or +inf at node {(level, first + node)} of sample {i}; give finite "
        "numbers, or -inf to exclude a symbol"
    )


def _no_contradiction(g: Grammar, evidence: TreeEvidence) -> None:
    """A class that is given, and evidence at the root which excludes it."""
    phi = evidence.log_phi(g, 0)
    if evidence.root is None or phi is None:
        return
    bad = np.flatnonzero(np.isneginf(phi[:, 0] + evidence.kernel.root).all(axis=1))
    if bad.size:
        i = int(bad[0])
        raise InvalidParameter(
            f"root = {int(evidence.root[i])} and the evidence of node (0, 0) of sample {i} exclude "
            "each other; leave one of them out"
        )


def impossible(g: Grammar, evidence: TreeEvidence, i: int) -> ImpossibleEvidence:
    """The error for a sample of probability zero: the lowest node with nothing left to be."""
    below: Array | None = None
    where = "with the prior of the root"
    for level in range(g.L, -1, -1):
        if below is None:
            here = np.ones((g.v[level], 1, g.n_nodes(level)), bool)
        else:
            either: Callable[..., Array] = np.logical_or
            both: Callable[..., Array] = np.logical_and
            here = semiring_step(below, g.rules[level], g.weights[level] > 0, either, both)
        phi = evidence.log_phi(g, level)
        if phi is not None:
            here = here & ~np.isneginf(phi[i].T[:, None])
        empty = np.flatnonzero(~here[:, 0].any(axis=0))
        if empty.size:
            where = f"at and below node {(level, int(empty[0]))}"
            break
        below = here
    return ImpossibleEvidence(
        f"the evidence of sample {i} has probability zero: no derivation of the grammar agrees "
        f"with it {where}"
    )


# ---------------------------------------------------------------------------------- pairs of nodes


def pairs_of(g: Grammar, pairs: Any) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Pairs of nodes as pairs of (level, node), which exist."""
    try:
        found = list(pairs)
    except TypeError:
        raise InvalidParameter(
            f"pairs = {shown(pairs)} must be a list of pairs of nodes, such as [(0, 1)]"
        ) from None
    if not found:
        raise InvalidParameter("pairs is empty; give at least one pair of nodes")
    return [_pair(g, pair) for pair in found]


def _pair(g: Grammar, pair: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two nodes as (level, node), which exist."""
    if not isinstance(pair, (tuple, list, np.ndarray)) or len(pair) != 2:
        raise InvalidParameter(f"pairs holds {shown(pair)}; a pair is two nodes, such as (0, 1)")
    ends = []
    for node in pair:
        place = (g.L, node) if isinstance(node, (int, np.integer)) else node
        fine = isinstance(place, tuple) and len(place) == 2
        if not fine or any(
            isinstance(x, bool) or not isinstance(x, (int, np.integer)) for x in place
        ):
            raise InvalidParameter(
                f"pairs holds the node {shown(node)}; give the number of a leaf, or (level, node)"
            )
        level, number = (int(x) for x in place)
        if not 0 <= level <= g.L or not 0 <= number < g.n_nodes(level):
            raise InvalidParameter(
                f"pairs holds the node {shown(node)}, which does not exist; levels run from 0 to "
                f"{g.L}, and the nodes of a level from 0"
            )
        ends.append((level, number))
    return ends[0], ends[1]


def ancestors(g: Grammar, pairs: list[tuple[tuple[int, int], tuple[int, int]]]) -> tuple[Any, Any]:
    """Lowest common ancestors of pairs of nodes, and the children to take from there.

    [pairs, 4]: the levels of both nodes, that of the ancestor, its number; [pairs, 2, levels].
    """
    asked = np.zeros((len(pairs), 4), np.int64)
    paths = np.zeros((len(pairs), 2, g.L + 1), np.int64)
    for q, pair in enumerate(pairs):
        trails = []
        for end, (level, node) in enumerate(pair):
            trail = [node]
            for upper in range(level - 1, -1, -1):
                paths[q, end, upper] = trail[0] % g.s[upper]
                trail.insert(0, trail[0] // g.s[upper])
            trails.append(trail)
        level = 0
        while level + 1 < min(map(len, trails)) and trails[0][level + 1] == trails[1][level + 1]:
            level += 1
        asked[q] = pair[0][0], pair[1][0], level, trails[0][level]
    return asked, paths
