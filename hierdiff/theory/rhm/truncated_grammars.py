r"""Models of the rules of the lower levels only, as ordinary grammars.

A model that holds the rules below a level only takes the symbols of that level for independent.  It
is again a grammar, so its denoiser is exact; its strings are valid below the level, and above it by
chance, with Q(a) the probability that a node derives, as symbol a:

.. math:: Q(a) = \sum_k \prod_j Q_j(b_j^{(a,k)}), \qquad P(\text{valid}) = \sum_a Q(a) .
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, memory, reals, whole
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.theory.rhm.token_correlations import channel, node_marginals

__all__ = ["annealed_validity", "class_truncated", "node_validity", "truncated", "validity"]

FloatArray = NDArray[np.float64]


def _room(grammar: Grammar, level: int, classes: int) -> None:
    """Refuse a cut at a level with more nodes than the machine can hold laws of."""
    nodes = grammar.n_nodes(level)
    memory(
        f"level = {level} with {classes} times {nodes} nodes of {grammar.v[level]} symbols",
        32.0 * classes * nodes * grammar.v[level],
    )


def _with_unary(
    grammar: Grammar, level: int, marginals: FloatArray, prior: NDArray[Any]
) -> Grammar:
    """Symbols (class, position) carried down to a level, where each writes a symbol of its law."""
    classes = marginals.shape[0]
    rules: list[Any] = []
    for upper in range(level):
        width, s = grammar.n_nodes(upper), grammar.s[upper]
        first = np.arange(classes)[:, None] * width * s + np.arange(width) * s
        rules.append((first.reshape(-1, 1, 1) + np.arange(s)).astype(np.int32))
    nodes, v = marginals.shape[1:]
    rules.append(np.broadcast_to(np.arange(v)[:, None], (classes * nodes, v, 1)))
    weights: list[Any] = [np.ones(table.shape[:2]) for table in rules[:-1]]
    weights.append(marginals.reshape(-1, v))
    return Grammar(
        [*rules, *grammar.rules[level:]],
        [*weights, *grammar.weights[level:]],
        prior,
        leaf_vocabulary=grammar.leaf_vocabulary,
    )


@checked
def truncated(grammar: Grammar, level: int) -> Grammar:
    r"""What is known of a grammar if the rules above a level are not.

    .. math:: p(x) = \prod_{j} \sum_{z} P_j(z)\, p(\text{leaves below } j \mid z)

    Parameters
    ----------
    grammar : Grammar
    level : int
        The nodes j of this level are independent, each with its own law: 0 keeps the grammar, L
        leaves independent leaves.  The rules of the lowest L - level levels are known.

    Returns
    -------
    Grammar
        With the same law of every single node from ``level`` down.  One unary level is added, where
        a position writes its symbol, so ``theory.posterior`` and ``ExactRHM`` give the denoiser
        and its samples, exactly.

    Raises
    ------
    InvalidParameter
        If there is no such level.

    Notes
    -----
    Validity: exact for any grammar.

    References
    ----------
    The cut of arXiv 2408.15138 (``variants.filtered``) keeps the class; this one does not.

    Examples
    --------
    >>> truncated(RHM(v=4, m=2, s=2, L=3).draw(seed=0), 2)
    Grammar(L=4, v=(1, 2, 4, 4, 4), m=(1, 1, 4, 2), s=(2, 2, 1, 2), weighted, ambiguous)
    """
    _room(grammar, level, 1)
    if level == 0:
        return grammar
    return _with_unary(grammar, level, node_marginals(grammar, level)[None], np.ones(1))


@checked
def class_truncated(grammar: Grammar, level: int) -> Grammar:
    r"""What is known if the rules above a level are not, but single symbols are given the class.

    .. math:: p(x \mid c) = \prod_{j} \sum_{z} P_j(z \mid c)\, p(\text{leaves below } j \mid z)

    Parameters
    ----------
    grammar : Grammar
    level : int
        As in :func:`truncated`.

    Returns
    -------
    Grammar
        With the classes of ``grammar``.

    Raises
    ------
    InvalidParameter
        If there is no such level.

    Notes
    -----
    Validity: exact for any grammar; the law of ``variants.filtered`` in a smaller table of rules.

    References
    ----------
    Garnier-Brun, Mezard, Moscato, Saglietti, arXiv 2408.15138.

    Examples
    --------
    >>> class_truncated(RHM(v=4, m=2, s=2, L=2).draw(seed=0), 1)
    Grammar(L=3, v=(4, 8, 4, 4), m=(1, 4, 2), s=(2, 1, 2), weighted, ambiguous)
    """
    _room(grammar, level, grammar.v[0])
    if level == 0:
        return grammar
    found = np.eye(grammar.v[0])[:, None]
    for upper in range(level):
        steps = [channel(grammar, upper, j) for j in range(grammar.s[upper])]
        grown = np.stack([found @ step for step in steps], axis=2)
        found = grown.reshape(grammar.v[0], -1, steps[0].shape[1])
    return _with_unary(grammar, level, found, grammar.root_prior)


@checked
def node_validity(grammar: Grammar, level: int, marginals: ArrayLike) -> tuple[FloatArray, ...]:
    r"""Probability that each node above a level derives, as which symbol, from independent ones.

    .. math:: Q(a) = \sum_k \prod_j Q_j(b_j^{(a,k)}), \qquad P(\text{valid}) = \sum_a Q(a)

    Parameters
    ----------
    grammar : Grammar
        Unambiguous.
    level : int
        Where the symbols are independent.
    marginals : array [..., nodes, v_level]
        Their laws; leading axes are samples.

    Returns
    -------
    tuple of ``level`` + 1 arrays [..., nodes, v_l]
        Q of every node, root first; summed over symbols, the probability of a valid node.

    Raises
    ------
    InvalidParameter
        If the grammar is ambiguous, or the marginals have another shape or do not sum to one.

    Notes
    -----
    Validity: exact for unambiguous grammars; rule probabilities do not matter, rules and classes
    of probability zero count as absent.

    Examples
    --------
    >>> grammar = RHM(v=4, m=2, s=2, L=1).draw(seed=0)
    >>> node_validity(grammar, 1, np.full((2, 4), 0.25))[0].tolist()
    [[0.125, 0.125, 0.125, 0.125]]
    """
    if not grammar.is_unambiguous:
        raise InvalidParameter(
            "the grammar is ambiguous: a tuple may stand for several symbols, whose probabilities "
            "do not add up; use Grammar.valid_per_level on samples"
        )
    laws = reals("marginals", marginals, low=0)
    expected = (grammar.n_nodes(level), grammar.v[level])
    if laws.ndim < 2 or laws.shape[-2:] != expected:
        raise InvalidParameter(
            f"marginals have shape {laws.shape}; level {level} needs (..., {expected[0]}, "
            f"{expected[1]})"
        )
    # a thousand numbers of single precision lose 1e-4 at most
    total = laws.sum(axis=-1)
    if total.size and np.abs(total - 1).max() > 1e-4:
        wrong = total.flat[np.abs(total - 1).argmax()]
        raise InvalidParameter(
            f"marginals of a node sum to {wrong:.6g}; give probabilities that sum to 1"
        )
    found = [laws]
    for upper in reversed(range(level)):
        rules, s = grammar.rules[upper], grammar.s[upper]
        alive = grammar.weights[upper] > 0
        if upper == 0:
            alive = alive & (grammar.root_prior > 0)[:, None]
        term: NDArray[Any] = np.broadcast_to(
            alive, (*found[0].shape[:-2], found[0].shape[-2] // s, *alive.shape)
        )
        for j in range(s):
            term = term * found[0][..., j::s, :][..., rules[:, :, j]]
        found.insert(0, term.sum(axis=-1))
    return tuple(found)


@checked
def validity(
    grammar: Grammar, level: int, marginals: ArrayLike | None = None
) -> tuple[FloatArray, ...]:
    """Probability of a valid node, per level, in strings of a truncated model.

    Parameters
    ----------
    grammar : Grammar
        Unambiguous.
    level : int
        Where the model's knowledge ends; see :func:`truncated`.
    marginals : array [..., nodes, v_level], optional
        Laws of the independent symbols, for instance given an observation; default those of
        ``truncated(grammar, level)`` itself.

    Returns
    -------
    tuple of L + 1 arrays [...]
        Root first, averaged over the nodes of a level; one from ``level`` down.

    Raises
    ------
    InvalidParameter
        As :func:`node_validity`.

    Notes
    -----
    Validity: exact for unambiguous grammars.

    Examples
    --------
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> [round(float(p), 6) for p in validity(grammar, 2)]
    [0.23851, 0.609375, 1.0]
    """
    _room(grammar, level, 1)
    laws = node_marginals(grammar, level) if marginals is None else marginals
    found = [q.sum(axis=-1).mean(axis=-1) for q in node_validity(grammar, level, laws)]
    return (*found, *(np.ones_like(found[-1]) for _ in range(grammar.L - level)))


@checked
def annealed_validity(rhm: RHM, level: int) -> FloatArray:
    r"""Probability of a valid node above a level of independent, uniform symbols.

    .. math:: P_{l} = (m / v^{s-1})^{(s^{r} - 1)/(s - 1)}, \qquad r = level - l

    Parameters
    ----------
    rhm : RHM
    level : int
        Where the symbols are independent, 0 to L.

    Returns
    -------
    array [L + 1]
        Root first; one from ``level`` down.

    Raises
    ------
    InvalidParameter
        If there is no such level.

    Notes
    -----
    Validity: exact for every grammar of the model if the symbols at the cut are *uniform*, since
    each symbol has m rules.  Under the grammar's own marginals more is valid, because a frequent
    symbol is one that many rules write; use :func:`validity`.

    Examples
    --------
    >>> annealed_validity(RHM(v=32, m=8, s=2, L=3), 2).tolist()
    [0.015625, 0.25, 1.0, 1.0]
    """
    whole("level", level, 0, rhm.L)
    memory(f"L = {rhm.L} levels", 64.0 * rhm.L)
    r = np.maximum(level - np.arange(rhm.L + 1), 0)
    with np.errstate(over="ignore"):  # in floats: integers of 64 bits end at 62 binary levels
        nodes = r if rhm.s == 1 else (float(rhm.s) ** r - 1) / (rhm.s - 1)
    classes = np.where((np.arange(rhm.L + 1) == 0) & (level > 0), rhm.n_classes / rhm.v, 1.0)
    try:
        density = rhm.m / rhm.v ** (rhm.s - 1.0)
    except OverflowError:  # more tuples than float64 counts
        density = 0.0
    return np.asarray(classes * density**nodes)
