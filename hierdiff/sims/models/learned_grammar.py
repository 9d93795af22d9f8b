r"""A grammar learned from strings, and exact inference under it: from data to a denoiser.

==============  ================================================================================
symbol          meaning
==============  ================================================================================
P               number of strings
h               height of a symbol above the leaves, 1 to L
t               tuple of s siblings, made of the learner's own symbols of height h - 1
k_t             own symbol of height h above tuple t, a cluster of tuples with alike contexts
n_{kt}, N_h     how often symbol k wrote tuple t in the strings; sum over all of height h
epsilon_h       probability given to tuples that were never seen
==============  ================================================================================

The learner climbs from the leaves.  At height h it counts what stands around every tuple of its own
symbols, clusters the tuples (:mod:`hierdiff.sims.models.context_clustering`), and writes the
cluster in the place of the tuple.  At the root nothing stands around, and all tuples belong to one
symbol, or to the class where classes are given.  Rules have the weights

.. math:: \hat\pi_h(t \mid k) = (1 - \epsilon_h) \frac{n_{kt}}{\sum_{t'} n_{kt'}}
   + \frac{\epsilon_h}{v_{h-1}^s}, \qquad \epsilon_h = \frac{n_h^{(1)} + 1/2}{N_h + 1},

with the number :math:`n_h^{(1)}` of tuples seen once (the estimate of Good and Turing), so that no
string is impossible.  Expected counts of expectation maximisation may replace the counts; a tuple
that was put to a wrong symbol can then move.  The posterior under the learned grammar is exact.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import (
    array,
    check_fields,
    checked,
    count,
    integers,
    memory,
    natural,
    number,
    one_of,
    reals,
    unchecked,
    whole,
)
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter, NotConverged
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed
from hierdiff.sims.models.context_clustering import sibling_tuples, tuple_clusters
from hierdiff.theory.belief_propagation.exact_posterior import Posterior
from hierdiff.theory.belief_propagation.rule_learning import fit_weights
from hierdiff.theory.exact_models import ExactRHM
from hierdiff.theory.rhm.token_correlations import node_marginals

__all__ = [
    "LearnedGrammar",
    "OwnContext",
    "best_match",
    "language_mass",
    "node_divergence",
    "node_log_probability",
]

Array = NDArray[Any]
OwnContext: TypeAlias = Literal["symbols", "tokens"]

_MOST_STRINGS = 10**8


@dataclass(frozen=True, eq=False)
class LearnedGrammar:
    """Exact inference under a grammar that was learned from strings; made by :meth:`fit`.

    Parameters
    ----------
    learned : Grammar
        Rules between the learner's own symbols; their numbers are arbitrary.
    noise : NoiseProcess
        How data are corrupted.
    strings : int
        Strings that it was learned from.
    labelled : bool
        Whether the symbols of the root are classes; else the root has one symbol.
    threads : int, optional
        Threads per call; default all processors.

    Raises
    ------
    InvalidParameter
        If grammar and noise disagree on the number of symbols.

    Notes
    -----
    Validity: the branching s of the tree is known, rules and symbols are not.  In the limit of many
    strings the grammar is recovered up to a relabelling, if the contexts of its symbols differ.

    References
    ----------
    Favero, Sclocchi, Cagnetta, Frossard, Wyart, arXiv 2502.12089 (clustering by context);
    Good, Biometrika 40, 237 (1953).

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> truth = RHM(v=8, m=2, s=2, L=3).draw(seed=0)
    >>> model = LearnedGrammar.fit(truth.sample(2000, seed=1).leaves, MaskingNoise(8), symbols=8)
    >>> model.learned.v, model.strings
    ((1, 8, 8, 8), 2000)
    >>> x_t = model.noise.corrupt(truth.sample(2, seed=2).leaves, 0.3, seed=3)
    >>> gap = model.denoise(x_t, 0.3) - ExactRHM(truth, model.noise).denoise(x_t, 0.3)
    >>> bool(abs(gap).mean() < 0.02)
    True
    """

    learned: Grammar
    noise: NoiseProcess
    strings: int
    labelled: bool = False
    threads: int | None = None

    source = "simulation"

    def __post_init__(self) -> None:
        check_fields(self, strings=partial(whole, low=1, high=_MOST_STRINGS))
        if self.threads is not None:
            count("threads", self.threads)
        _ = self.exact

    @classmethod
    @checked(
        symbols=count, s=partial(whole, low=2, high=16), em_steps=natural, labels=unchecked,
        smoothing=unchecked, threads=unchecked,
    )  # fmt: skip
    def fit(
        cls,
        leaves: ArrayLike,
        noise: NoiseProcess,
        *,
        symbols: int,
        s: int = 2,
        labels: ArrayLike | None = None,
        times: ArrayLike | None = None,
        context: OwnContext = "symbols",
        em_steps: int = 0,
        smoothing: float | None = None,
        threads: int | None = None,
    ) -> Self:
        r"""Learn a grammar from strings, level by level from the leaves.

        Parameters
        ----------
        leaves : int array [P, s**L]
            Clean strings.
        noise : NoiseProcess
            Of the model; its v is the number of leaf symbols.
        symbols : int
            Own symbols of every height below the root, the number of clusters that are sought.
        s : int
            Branching.
        labels : int array [P], optional
            Classes; without them the root has one symbol.
        times : array [P], optional
            How often each string was seen (default: once).
        context : {"symbols", "tokens"}
            What is read around a tuple: own symbols of the height of its parts, or tokens, the
            first below each of these.
        em_steps : int
            Steps of expectation maximisation after the clustering.
        smoothing : float, optional
            The probability of unseen tuples at every height; default the one of Good and Turing.
            At zero, strings with unseen tuples are impossible.
        threads : int, optional
            Of the model.

        Returns
        -------
        LearnedGrammar

        Raises
        ------
        InvalidParameter
            For symbols outside the vocabulary, lengths that are no power of s, labels that are no
            classes, or steps of expectation maximisation with ``times``.

        Notes
        -----
        Validity: a learner, not an estimator with a guarantee: what a height gets wrong, all above
        it are built on.  Cost: P strings, and the cube of the number of tuples per height.
        """
        one_of("context", context, ("symbols", "tokens"))
        v = noise.v
        if v is None:
            raise InvalidParameter(f"noise = {noise!r} acts on vectors; give a process on symbols")
        x = integers("leaves", leaves, 0, v - 1, ndim=2)
        depth = _depth(x.shape, s)
        whole("P, the number of strings,", len(x), 1, _MOST_STRINGS)
        if smoothing is not None:
            smoothing = number("smoothing", smoothing, low=0, below=1)
        classes = _classes(labels, len(x))
        seen = np.ones(len(x)) if times is None else reals("times", times, 0, shape=(len(x),))
        if not seen.any():
            raise InvalidParameter("times are all zero; give one string or more")
        if times is not None and em_steps:
            raise InvalidParameter(
                f"em_steps = {em_steps} needs single strings; leave times out or set em_steps=0"
            )
        tables, shares = _climbed(x, v, s, depth, symbols, classes, seen, context)
        epsilon = shares if smoothing is None else [smoothing] * depth
        prior = np.bincount(classes, seen, classes.max() + 1)
        grammar = _grammar(tables, epsilon, prior / prior.sum(), v)
        if em_steps:
            grammar = _maximised(grammar, x, labels, em_steps, epsilon, threads)
        return cls(grammar, noise, len(x), labels is not None, threads)

    @property
    def exact(self) -> ExactRHM:
        """The exact model of the learned grammar."""
        return ExactRHM(self.learned, self.noise, self.threads)

    @checked
    def given(self, label: int | None) -> Self:
        """The model conditioned on a class, if it was learned with classes; None is this model."""
        if label is None:
            return self
        if not self.labelled:
            raise InvalidParameter(
                f"label = {label} is no class of a model learned without labels; give fit(labels=)"
            )
        return replace(self, learned=self.exact.given(label).grammar)

    @checked(x_t=array)
    def denoise(self, x_t: Array, t: ArrayLike) -> Array:
        """E[x0 | x_t] of one-hot data under the learned grammar, [n, leaves, v]."""
        return self.exact.denoise(x_t, t)

    @checked(x_t=array)
    def posterior(self, x_t: Array, t: ArrayLike) -> Posterior:
        """All that the learned grammar says about its own symbols given x_t."""
        return self.exact.posterior(x_t, t)

    @checked(x_t=array)
    def sample(self, x_t: Array, t: ArrayLike, seed: Seed) -> Array:
        """A draw of the leaves [n, leaves] given x_t, exact under the learned grammar."""
        return self.exact.sample(x_t, t, seed)

    @checked(x_t=array)
    def features(self, x_t: Array, t: ArrayLike) -> dict[str, Array]:
        """Marginals of own symbols of each level, {"level l": [n, nodes * v_l]}."""
        return self.exact.features(x_t, t)

    @checked
    def own_symbols(self, leaves: ArrayLike) -> Derivations:
        """The likeliest own symbol of every node of clean strings, levels [n, nodes], root first.

        Examples
        --------
        >>> from hierdiff import RHM, MaskingNoise
        >>> truth = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
        >>> x = truth.sample(500, seed=1).leaves
        >>> model = LearnedGrammar.fit(x, MaskingNoise(4), symbols=4)
        >>> [level.shape for level in model.own_symbols(x[:3]).levels]
        [(3, 1), (3, 2), (3, 4)]
        """
        x = integers("leaves", leaves, 0, self.learned.leaf_vocabulary - 1, ndim=2)
        found = self.exact.posterior(x, 0.0).marginals[:-1]
        levels = [p.argmax(axis=2).astype(np.int32) for p in found]
        return Derivations._of((*levels, x.astype(np.int32)))


# ----------------------------------------------------------------------------------------- climbing


def _depth(shape: tuple[int, ...], s: int) -> int:
    """Levels of a tree with so many leaves."""
    depth, leaves = 0, 1
    while leaves < shape[1]:
        depth, leaves = depth + 1, leaves * s
    if leaves != shape[1] or not depth or not shape[0]:
        raise InvalidParameter(
            f"leaves have shape {shape}; give strings [P, s**L] with s = {s} and L >= 1"
        )
    return depth


def _classes(labels: ArrayLike | None, n: int) -> NDArray[np.int64]:
    """Numbers of the root's symbols, one of them where there are no labels."""
    if labels is None:
        return np.zeros(n, dtype=np.int64)
    return integers("labels", labels, 0, 10**4, shape=(n,))


def _climbed(
    x: Array, v: int, s: int, depth: int, symbols: int, classes: Array, times: Array,
    context: OwnContext,
) -> tuple[list[tuple[Array, Array, int]], list[float]]:  # fmt: skip
    """(tuples, counts [symbols, tuples], symbols below) and unseen share, root first."""
    own, below = x, v
    tables, shares = [], []
    for height in range(1, depth + 1):
        nodes = own.shape[1]
        contexts = own if context == "symbols" else x[:, :: x.shape[1] // nodes]
        found = sibling_tuples(own, contexts, s, times)
        if height < depth:
            above = tuple_clusters(found.counts, symbols)[found.number]
        else:
            above = classes[:, None]
        k = int(above.max()) + 1
        weight = np.broadcast_to(times[:, None], above.shape).ravel()
        pair = above.ravel() * len(found.rows) + found.number.ravel()
        counts = np.bincount(pair, weight, k * len(found.rows)).reshape(k, -1)
        tables.append((found.rows, counts, below))
        once = (found.occurrences <= 1).sum()
        # half an occurrence more than was seen, so that it is never zero
        shares.append(float((once + 0.5) / (found.occurrences.sum() + 1)))
        own, below = above, k
    return tables[::-1], [min(e, 0.5) for e in shares[::-1]]


def _grammar(
    tables: list[tuple[Array, Array, int]], epsilon: list[float], prior: Array, v: int
) -> Grammar:
    """Rules with weights; all tuples where unseen ones have a probability."""
    rules, weights = [], []
    for (rows, counts, below), share in zip(tables, epsilon, strict=True):
        total = counts.sum(axis=1, keepdims=True)
        law = np.divide(counts, total, out=np.full(counts.shape, 1 / counts.shape[1]),
                        where=total > 0)  # fmt: skip
        if share > 0:
            size, s = float(below) ** rows.shape[1], rows.shape[1]
            memory(f"{len(counts)} symbols with v**s = {size:.3g} rules", 40.0 * len(counts) * size)
            every = np.indices((below,) * s).reshape(s, -1).T
            weight = np.full((len(counts), len(every)), share / len(every))
            place = rows @ (below ** np.arange(s)[::-1])
            weight[:, place] += (1 - share) * law
            rows, law = every, weight
        rules.append(np.broadcast_to(rows, (len(counts), *rows.shape)))
        weights.append(law)
    return Grammar(rules, weights, prior, leaf_vocabulary=v)


def _maximised(
    grammar: Grammar, x: Array, labels: ArrayLike | None, steps: int, epsilon: list[float],
    threads: int | None,
) -> Grammar:  # fmt: skip
    """Expected counts in the place of counts, with the same share for what was not seen."""
    nodes: dict[Any, Any] = {grammar.L: x}
    if labels is not None:
        nodes[0] = np.asarray(labels)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)  # few steps are the point
        found = fit_weights(grammar, nodes=nodes, num_steps=steps, threads=threads).grammar
    mixed = [
        (1 - e) * w + e / w.shape[1] for w, e in zip(found.weights, epsilon, strict=True)
    ]  # fmt: skip
    return Grammar(found.rules, mixed, grammar.root_prior, leaf_vocabulary=grammar.leaf_vocabulary)


# ------------------------------------------------------------------------------ what was recovered


@checked
def best_match(table: ArrayLike) -> NDArray[np.intp]:
    """The one-to-one match of own to true symbols that most nodes agree with.

    Parameters
    ----------
    table : array [true, own]
        How often a node of a true symbol has an own one.

    Returns
    -------
    int array [own]
        True symbol of every own one; -1 where there are more own symbols than true ones.

    Raises
    ------
    InvalidParameter
        For a table of negative numbers or another shape.

    Notes
    -----
    Validity: exact (linear sum assignment).

    Examples
    --------
    >>> best_match([[1, 9], [8, 2]]).tolist()
    [1, 0]
    """
    from scipy.optimize import linear_sum_assignment

    found = reals("table", table, 0, ndim=2)
    true, own = linear_sum_assignment(found, maximize=True)
    match = np.full(found.shape[1], -1, dtype=np.intp)
    match[own] = true
    return match


@checked
def node_log_probability(grammar: Grammar, leaves: ArrayLike) -> tuple[Array, ...]:
    r"""Log-probability of the leaves below every node, by themselves.

    .. math:: \log p(x_{(l,i)}) = \log \sum_a p_{l,i}(a)\, \nu_{l,i}(a)

    with the marginal law :math:`p_{l,i}` of the node and the probability :math:`\nu_{l,i}(a)` that
    symbol a derives its leaves.

    Parameters
    ----------
    grammar : Grammar
    leaves : int array [n, leaves]
        Strings.

    Returns
    -------
    tuple of L + 1 arrays [n, nodes]
        Root first, nats; -inf for what is not in the language.

    Raises
    ------
    InvalidParameter
        For symbols outside the vocabulary or strings of another length.

    Notes
    -----
    Validity: any grammar; strings of a few hundred leaves, beyond which probabilities underflow.

    Examples
    --------
    >>> grammar = Grammar([[[[0, 1], [0, 0]], [[1, 0], [0, 1]]]])
    >>> [np.exp(x).round(3).tolist() for x in node_log_probability(grammar, [[0, 1]])]
    [[[0.5]], [[0.75, 0.5]]]
    """
    x = integers("leaves", leaves, 0, grammar.leaf_vocabulary - 1,
                 shape=(None, grammar.n_leaves))  # fmt: skip
    up = np.eye(grammar.leaf_vocabulary)[x]
    found = []
    for level in range(grammar.L, -1, -1):
        if level < grammar.L:
            rules, weights = grammar.rules[level], grammar.weights[level]
            s = rules.shape[2]
            below = up.reshape(len(x), grammar.n_nodes(level), s, up.shape[2])
            rows, law = _tuple_law(rules, weights)
            product = below[:, :, 0, rows[:, 0]]
            for j in range(1, s):
                product = product * below[:, :, j, rows[:, j]]
            up = product @ law.T
        with np.errstate(divide="ignore"):
            found.append(np.log((up * node_marginals(grammar, level)).sum(axis=2)))
    return tuple(found[::-1])


def _tuple_law(rules: Array, weights: Array) -> tuple[Array, Array]:
    """Different tuples [T, s] of a level, and the probability of each by symbol, [v, T]."""
    rows, place = np.unique(rules.reshape(-1, rules.shape[2]), axis=0, return_inverse=True)
    law = np.zeros((len(rules), len(rows)))
    np.add.at(
        law, (np.repeat(np.arange(len(rules)), rules.shape[1]), place.ravel()), weights.ravel()
    )
    return rows, law


@checked
def language_mass(truth: Grammar, learned: Grammar) -> tuple[Array, ...]:
    r"""Probability that what a learned grammar writes below a node is possible in the truth.

    .. math:: Q_l(k, a) = \sum_{t} \hat\pi_l(t \mid k) \sum_{r \in R_l(a)}
       \prod_j Q_{l+1}(t_j, r_j), \qquad
       M_{l,i} = \sum_k \hat p_{l,i}(k) \sum_{a:\, p_{l,i}(a) > 0} Q_l(k, a)

    with the tuples t of own symbols, and the rules r of the true symbol a.  At the root M is the
    share of generated strings that are in the language.

    Parameters
    ----------
    truth : Grammar
        Unambiguous, so that a string is counted once.
    learned : Grammar
        Of the same tree and leaf vocabulary.

    Returns
    -------
    tuple of L + 1 arrays [nodes]
        Root first.

    Raises
    ------
    InvalidParameter
        If the true grammar is ambiguous or the trees differ.

    Notes
    -----
    Validity: exact, without sampling.

    Examples
    --------
    >>> truth = Grammar([[[[0, 1]], [[1, 0]]]])
    >>> [m.round(3).tolist() for m in language_mass(truth, Grammar([[[[0, 1], [1, 1]]]]))]
    [[0.5], [1.0, 1.0]]
    """
    if not truth.is_unambiguous:
        raise InvalidParameter("the true grammar is ambiguous; a string would count several times")
    if truth.s != learned.s or truth.leaf_vocabulary != learned.leaf_vocabulary:
        raise InvalidParameter(
            f"trees with s = {truth.s} and {learned.s}, v = {truth.leaf_vocabulary} and "
            f"{learned.leaf_vocabulary} differ; give grammars of the same strings"
        )
    shared = np.eye(truth.leaf_vocabulary)
    found = []
    for level in range(truth.L, -1, -1):
        if level < truth.L:
            rows, law = _tuple_law(learned.rules[level], learned.weights[level])
            true_rows, allowed = _tuple_law(truth.rules[level], truth.weights[level])
            both = np.ones((len(rows), len(true_rows)))
            for j in range(rows.shape[1]):
                both *= shared[rows[:, j]][:, true_rows[:, j]]
            shared = law @ both @ (allowed > 0).T
        possible = node_marginals(truth, level) > 0
        found.append(np.einsum("ik,ka,ia->i", node_marginals(learned, level), shared, possible))
    return tuple(found[::-1])


@checked
def node_divergence(truth: Grammar, learned: Grammar, leaves: ArrayLike) -> tuple[Array, ...]:
    r"""KL(p || q) of the laws of the leaves below every node, from strings of the true grammar.

    .. math:: \mathrm{KL} = E_p[r - 1 - \log r] + (1 - M), \qquad r = q(x) / p(x), \quad
       E_p[r] = M

    Parameters
    ----------
    truth, learned : Grammar
        As :func:`language_mass` takes them.
    leaves : int array [n, leaves]
        Strings of the true grammar.

    Returns
    -------
    tuple of L + 1 arrays [n, nodes]
        Root first, nats; the mean over strings is unbiased.  Infinite where q excludes a string.

    Raises
    ------
    InvalidParameter
        As :func:`language_mass` and :func:`node_log_probability`.

    Notes
    -----
    Validity: exact but for the sampling of strings.  The mean of -log r alone scatters by
    sqrt(2 KL / n), which hides small divergences; the control variate r - 1 of known mean leaves a
    scatter of the order of KL itself.

    Examples
    --------
    >>> truth = Grammar([[[[0, 1], [1, 0]]]])
    >>> better = Grammar([[[[0, 1], [1, 0]]]], weights=[[[0.6, 0.4]]])
    >>> float(node_divergence(truth, better, [[0, 1], [1, 0]])[0].mean().round(6))
    0.020411
    >>> round(-0.5 * float(np.log(4 * 0.6 * 0.4)), 6)
    0.020411
    """
    p, q = (node_log_probability(g, leaves) for g in (truth, learned))
    out = []
    for one, other, mass in zip(p, q, language_mass(truth, learned), strict=True):
        log_ratio = other - one
        out.append(np.expm1(log_ratio) - log_ratio + 1 - mass)
    return tuple(out)
