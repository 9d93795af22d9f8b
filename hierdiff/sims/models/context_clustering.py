r"""A learner that finds synonyms by what surrounds them: clustering of contexts.

Synonyms are tuples with the same symbol above them.  Their contexts, tokens outside of the tuple,
have the same law, so a learner who compares the contexts of tuples finds the symbols of the next
height.  With :math:`n_{tb}` the number of times that tuple t was seen with token b, and
:math:`p_b` the share of b,

.. math:: z_{tb} = \frac{n_{tb} / n_t - p_b}{\sqrt{p_b}}, \qquad \hat z_t = z_t / |z_t| .

:func:`synonyms` poses the task at one height of a known grammar, with its exact law.  A learner
that knows no grammar counts the tuples of its own strings (:func:`sibling_tuples`) and clusters
them (:func:`tuple_clusters`); :mod:`hierdiff.sims.models.learned_grammar` climbs the levels so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from hierdiff.checks import checked, count, integers, reals
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.rhm.sample_complexity import resolved_samples
from hierdiff.theory.rhm.token_correlations import node_marginals, pair_joint

__all__ = [
    "LEARNERS",
    "Context",
    "SiblingTuples",
    "Synonyms",
    "learning_curve",
    "scores",
    "sibling_tuples",
    "synonyms",
    "tuple_clusters",
]

FloatArray: TypeAlias = NDArray[np.float64]
Context: TypeAlias = Literal["token", "leaves"]

LEARNERS = ("clusters", "nearest")
_CHUNK = 1 << 17  # strings that are drawn at a time
_ROUNDS = 50
"""Most rounds of reassignment; the likelihood rises in each, and a handful suffices."""


@dataclass(frozen=True, eq=False)
class Synonyms:
    """The recognition task at one height of one grammar, with its exact law.

    Attributes
    ----------
    grammar
        The subtree below the common ancestor of tuple and context.
    rows : int array [tuples, s]
        The tuples that occur, at the first node of the height.
    owner : int array [tuples]
        Symbol above each.
    joint : array [tuples, tokens * v]
        Law of tuple and context token, a token picked at random; sums to one.
    identifiable : bool array [tuples]
        The symbol above differs in its contexts from every other one, and has synonyms to find.
    resolved : float
        Data at which the correlations with the first token stand out of noise.
    """

    grammar: Grammar
    rows: NDArray[np.integer[Any]]
    owner: NDArray[np.intp]
    joint: FloatArray
    identifiable: NDArray[np.bool_]
    resolved: float

    @cached_property
    def symbols(self) -> int:
        """Number of symbols whose contexts differ: clusters that infinite data show."""
        first = np.unique(self.owner, return_index=True)[1]
        law = self.joint[first] / self.joint[first].sum(axis=1, keepdims=True)
        return len(np.unique(law.round(10), axis=0))

    @cached_property
    def ceiling(self) -> FloatArray:
        """Scores of both learners on infinite data, [learner]."""
        return scores(self.joint, self)


@checked(height=count)
def synonyms(grammar: Grammar, height: int, context: Context = "token") -> Synonyms:
    """The task of recognising the symbols of a height by the context of their tuples.

    Parameters
    ----------
    grammar : Grammar
        Unambiguous, with equiprobable rules.
    height : int
        Of the symbols, 1 to L - 1; their lowest common ancestor with the context is one above.
    context : {"token", "leaves"}
        The first leaf below the next sibling, or all leaves below the siblings.

    Returns
    -------
    Synonyms

    Raises
    ------
    InvalidParameter
        If there is no such height, the grammar is unfit, or no symbol can be identified.

    Notes
    -----
    Validity: exact laws; the tuple stands at the first node of its height.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> task = synonyms(RHM(v=8, m=2, s=2, L=2).draw(seed=0), 1)
    >>> task.joint.shape, round(float(task.joint.sum()), 12)
    ((16, 8), 1.0)
    """
    if height >= grammar.L:
        raise InvalidParameter(
            f"height = {height!r} has no context; give 1 to L - 1 = {grammar.L - 1}"
        )
    if not (grammar.is_unambiguous and grammar.is_uniform):
        raise InvalidParameter("the grammar is ambiguous or weighted; draw it from an RHM")
    top = grammar.L - height - 1
    prior = node_marginals(grammar, top)[0]
    below = Grammar(grammar.rules[top:], None, prior, leaf_vocabulary=grammar.leaf_vocabulary)
    width = below.n_leaves // below.s[0]
    leaves = [width] if context == "token" else list(range(width, below.n_leaves))
    laws = [pair_joint(below, (1, 0), (below.L, leaf)) for leaf in leaves]
    joint = np.concatenate(laws, axis=1) / len(leaves)
    occurs = joint.sum(axis=1) > 0
    law = joint / np.where(occurs, joint.sum(axis=1), 1.0)[:, None]
    m = below.m[1]
    unique = occurs & (m > 1)
    for a in np.flatnonzero(unique):
        others = np.flatnonzero(occurs & (np.arange(len(law)) != a))
        unique[a] = bool((np.abs(law[others] - law[a]).max(axis=1) > 1e-9).all())
    if not unique.any():
        raise InvalidParameter(
            "no symbol differs from all others in its contexts; use m > 1 and larger v"
        )
    owner = np.repeat(np.arange(len(law)), m)
    kept = occurs[owner]
    rows = below.rules[1].reshape(-1, below.s[1])[kept]
    per_tuple = joint[owner[kept]] / m
    resolved = resolved_samples(laws[0], m)
    return Synonyms(below, rows, owner[kept], per_tuple, unique[owner[kept]], resolved)


def _profiles(counts: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Directions of the centred, whitened contexts; zero for tuples never seen."""
    n = counts.sum(axis=1)
    p = counts.sum(axis=0) / n.sum()
    seen = n > 0
    z = counts[seen] / n[seen, None] - p
    z /= np.sqrt(np.where(p > 0, p, 1.0))
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    found = np.zeros_like(counts, dtype=float)
    found[seen] = np.where(norm > 1e-12, z / np.where(norm > 1e-12, norm, 1.0), 0.0)
    return found, seen


def _agreement(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    """Adjusted Rand index of two partitions."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    both, first, second = (
        float((x * (x - 1) / 2).sum()) for x in (table, table.sum(axis=1), table.sum(axis=0))
    )
    chance = first * second / (len(a) * (len(a) - 1) / 2)
    most = (first + second) / 2
    return (both - chance) / (most - chance) if most > chance else 0.0


@checked
def scores(counts: ArrayLike, task: Synonyms) -> FloatArray:
    """How well both learners recognise identifiable synonyms, zero for chance.

    Parameters
    ----------
    counts : array [tuples, tokens * v]
        How often each tuple was seen with each token; the exact law stands for infinite data.
    task : Synonyms

    Returns
    -------
    array [2]
        "clusters": adjusted Rand index of Ward clusters with the symbols.  "nearest": share of
        tuples whose most similar tuple is a synonym, rescaled to zero for a random tuple.

    Raises
    ------
    InvalidParameter
        For a table of another shape, of negative counts or of none.

    Notes
    -----
    Validity: the clusterer is given the number of symbols.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> task = synonyms(RHM(v=8, m=2, s=2, L=2).draw(seed=0), 1)
    >>> scores(task.joint, task).round(12).tolist()
    [1.0, 1.0]
    """
    table = reals("counts", counts, 0, 1e15, shape=task.joint.shape)
    if not table.any():
        raise InvalidParameter("counts are all zero; give counts of one datum or more")
    z, seen = _profiles(table)
    chosen, owner = task.identifiable, task.owner
    cut = fcluster(linkage(pdist(z), "ward"), task.symbols, "maxclust") - 1
    clusters = _agreement(owner[chosen], cut[chosen].astype(np.intp))
    similar = z @ z.T
    np.fill_diagonal(similar, -np.inf)
    similar[:, ~seen] = -np.inf
    hit = (owner[similar.argmax(axis=1)] == owner) & seen
    twins = np.bincount(owner)[owner] - 1
    chance = float(twins[chosen].mean() / (len(owner) - 1))
    return np.array([clusters, (hit[chosen].mean() - chance) / (1 - chance)])


@checked
def learning_curve(task: Synonyms, samples: ArrayLike, seed: Seed) -> FloatArray:
    """Scores on the same growing data, as a share of those on infinite data.

    Parameters
    ----------
    task : Synonyms
    samples : int array [K]
        Numbers of data P, increasing.
    seed : Seed
        Source of randomness.

    Returns
    -------
    array [2, K]
        Both learners.

    Raises
    ------
    InvalidParameter
        If the numbers do not increase from one or more.

    Notes
    -----
    Validity: with one context token the table of counts is multinomial and drawn as such, exactly;
    with more of them strings are drawn.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> task = synonyms(RHM(v=8, m=2, s=2, L=2).draw(seed=0), 1)
    >>> learning_curve(task, np.array([10, 10**6]), seed=1)[:, 1].round(12).tolist()
    [1.0, 1.0]
    """
    grid = integers("samples", samples, 1, ndim=1)
    if not grid.size or (np.diff(grid) <= 0).any():
        raise InvalidParameter(f"samples = {grid.tolist()} must increase from one or more")
    rng = generator(seed)
    counts = np.zeros(task.joint.shape, dtype=np.int64)
    found = []
    for new in np.diff(grid, prepend=0):
        counts += _more(task, int(new), rng)
        # where no data carry anything of the rules, a share of what can be learned is not defined
        with np.errstate(invalid="ignore"):
            found.append(scores(counts, task) / task.ceiling)
    return np.stack(found, axis=1)


def _more(task: Synonyms, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Counts of n further data."""
    v, shape = task.grammar.leaf_vocabulary, task.joint.shape
    if shape[1] == v:
        law = task.joint.ravel()
        return np.asarray(rng.multinomial(n, law / law.sum()).reshape(shape))
    s = task.rows.shape[1]
    base = task.grammar.v[2] ** np.arange(s)
    number = np.full(int(base[-1]) * task.grammar.v[2], -1)
    number[task.rows @ base] = np.arange(len(task.rows))
    total = np.zeros(shape[0] * shape[1], dtype=np.int64)
    offsets = v * np.arange(shape[1] // v)
    for start in range(0, n, _CHUNK):
        drawn = task.grammar.sample(min(_CHUNK, n - start), rng)
        row = number[drawn.levels[2][:, :s] @ base]
        tokens = drawn.leaves[:, -len(offsets) :] + offsets
        total += np.bincount((row[:, None] * shape[1] + tokens).ravel(), minlength=len(total))
    return total.reshape(shape)


# -------------------------------------------------------------- tuples of the learner's own symbols


@dataclass(frozen=True, eq=False)
class SiblingTuples:
    """Tuples of siblings in strings, and how often each was seen with each context.

    Attributes
    ----------
    rows : int array [T, s]
        The tuples that occur.
    number : int array [P, nodes]
        Which of them every node of the next height writes.
    counts : array [T, contexts, v]
        How often each was seen with each symbol, for every place of the tuple among its siblings
        and every place of the context.
    occurrences : array [T]
        How often each was seen.
    """

    rows: NDArray[np.integer[Any]]
    number: NDArray[np.intp]
    counts: FloatArray
    occurrences: FloatArray


@checked(s=count)
def sibling_tuples(
    symbols: ArrayLike, contexts: ArrayLike, s: int, times: ArrayLike | None = None
) -> SiblingTuples:
    r"""Count the tuples of siblings, and what stands below the siblings of their parents.

    Parameters
    ----------
    symbols : int array [P, nodes]
        Symbols of one height, the learner's own.
    contexts : int array [P, nodes]
        What is read as context at each of these nodes: the same symbols, or tokens below them.
    s : int
        Symbols of a tuple; the number of nodes is a multiple of s.
    times : array [P], optional
        How often each string was seen (default: once).

    Returns
    -------
    SiblingTuples
        Of tuple i (place j among its siblings) the contexts are the s (s - 1) nodes below the other
        siblings.  Without siblings, at the root, there are no contexts.

    Raises
    ------
    InvalidParameter
        For shapes that do not fit or negative numbers.

    Notes
    -----
    Validity: exact counts; all nodes of a height share their rules and are pooled.

    Examples
    --------
    >>> found = sibling_tuples([[0, 1, 1, 1]], [[0, 1, 1, 1]], 2)
    >>> found.rows.tolist(), found.number.tolist(), found.counts.shape
    ([[0, 1], [1, 1]], [[0, 1]], (2, 4, 2))
    >>> found.counts[0].astype(int).tolist()  # (0, 1) was seen at place 0 alone, with 1 and 1
    [[0, 1], [0, 1], [0, 0], [0, 0]]
    """
    own = integers("symbols", symbols, 0, 2**31 - 1, ndim=2)
    seen = integers("contexts", contexts, 0, 2**31 - 1, shape=own.shape)
    if not own.size or own.shape[1] % s:
        raise InvalidParameter(
            f"symbols have shape {own.shape}; give a multiple of s = {s} nodes, and one string"
        )
    weight = np.ones(len(own)) if times is None else reals("times", times, 0, shape=(len(own),))
    nodes = own.shape[1] // s
    rows, number = np.unique(own.reshape(-1, s), axis=0, return_inverse=True)
    number = number.reshape(len(own), nodes)
    each = np.broadcast_to(weight[:, None], number.shape)
    occurrences = np.bincount(number.ravel(), each.ravel(), len(rows))
    parts = []
    v = int(seen.max()) + 1
    if nodes % s == 0:
        tuples, below = number.reshape(len(own), -1, s), seen.reshape(len(own), -1, s, s)
        each = np.broadcast_to(weight[:, None], tuples.shape[:2]).ravel()
        for place in range(s):
            for sibling in (i for i in range(s) if i != place):
                for child in range(s):
                    pair = tuples[:, :, place] * v + below[:, :, sibling, child]
                    parts.append(np.bincount(pair.ravel(), each, len(rows) * v))
    shape = (len(rows), len(parts), v)
    counts = np.stack(parts).reshape(-1, *shape[::2]).swapaxes(0, 1) if parts else np.zeros(shape)
    return SiblingTuples(
        rows, number.astype(np.intp), counts.astype(float), occurrences.astype(float)
    )


@checked(symbols=count)
def tuple_clusters(counts: ArrayLike, symbols: int) -> NDArray[np.intp]:
    r"""Cluster tuples by their contexts: Ward on directions, then reassignment by likelihood.

    .. math:: k_t \leftarrow \arg\max_k \sum_{c,b} n_{tcb} \log q_{kcb}, \qquad
       q_{kcb} = \frac{\sum_{t: k_t = k} n_{tcb} + p_{cb}}{\sum_{t: k_t = k} n_{tc} + 1}

    Parameters
    ----------
    counts : array [T, contexts, v]
        As :class:`SiblingTuples` has them.
    symbols : int
        Number of clusters that are sought; fewer tuples are a cluster each.

    Returns
    -------
    int array [T]
        Numbers of clusters from 0, none of them empty.

    Raises
    ------
    InvalidParameter
        For a table of another shape or negative counts.

    Notes
    -----
    Validity: Ward weighs all tuples alike; the reassignment weighs them by what was seen of them.
    p are the contexts of all tuples, which a cluster has as one count more, so that no q is zero.

    Examples
    --------
    >>> tuple_clusters([[[9, 1]], [[1, 8]], [[7, 2]], [[0, 5]]], 2).tolist()
    [0, 1, 0, 1]
    """
    table = reals("counts", counts, 0, 1e18)
    if table.ndim != 3 or not len(table):
        raise InvalidParameter(f"counts have shape {table.shape}; give [tuples, contexts, v]")
    if len(table) <= symbols:
        return np.arange(len(table))
    total = table.sum(axis=2, keepdims=True)
    p = table.sum(axis=0)
    p = p / np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
    z = np.divide(table, total, out=np.zeros_like(table), where=total > 0) - (total > 0) * p
    z = (z / np.sqrt(np.where(p > 0, p, 1.0))).reshape(len(table), -1)
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    z = np.where(norm > 1e-12, z / np.where(norm > 1e-12, norm, 1.0), 0.0)
    found = fcluster(linkage(pdist(z), "ward"), symbols, "maxclust") - 1
    for _ in range(_ROUNDS):
        better = _reassigned(table, found, p)
        if np.array_equal(better, found):
            break
        found = better
    # numbered in the order of their first tuples, so that equal partitions are equal arrays
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number].astype(np.intp)


def _reassigned(table: FloatArray, clusters: NDArray[Any], p: FloatArray) -> NDArray[np.intp]:
    """The likeliest cluster of every tuple, from the contexts of the clusters."""
    flat = table.reshape(len(table), -1)
    member = np.zeros((int(clusters.max()) + 1, len(table)))
    member[clusters, np.arange(len(table))] = 1.0
    kept = member.sum(axis=1) > 0
    law = (member[kept] @ flat).reshape(-1, *table.shape[1:]) + p
    law /= law.sum(axis=2, keepdims=True) + (law.sum(axis=2, keepdims=True) == 0)
    # a symbol that no tuple was seen with has no count, and its logarithm does not matter
    likely = flat @ np.log(np.where(law > 0, law, 1.0)).reshape(len(law), -1).T
    return np.asarray(np.flatnonzero(kept)[likely.argmax(axis=1)])
