r"""Grammars beyond the uniform Random Hierarchy Model, all of them ordinary ``Grammar`` objects.

===========  ===================================================================================
symbol       meaning
===========  ===================================================================================
pi_k         probability of the k-th rule of a symbol, k from 1 to m
a            Zipf exponent; -1 gives uniform rules
P_j(b | c)   probability that node j of the cut level carries b if the class is c
===========  ===================================================================================

.. math::
   \text{Zipf: } \pi_k \propto k^{-(1 + a)}, \qquad
   \text{filtered at level } l: \; p(z_l \mid c) = \prod_{j} P_j(z_{l,j} \mid c)

Exact inference holds for all of them unchanged; the closed forms of the annealed recursion do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import MAX_SYMBOLS, checked, count, memory, number, shown, whole
from hierdiff.data.derivations import MAX_BRANCHES, MAX_DEPTH, draw_tuples
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = ["ambiguous", "filtered", "layered", "zipf", "zipf_weights"]

Array = NDArray[Any]

_SYMBOLS = partial(whole, low=1, high=MAX_SYMBOLS)
_BRANCHES = partial(whole, low=1, high=MAX_BRANCHES)
_EXPONENT = partial(number, low=-1)


def _each(rule: Any) -> Any:
    """A check of every entry of a sequence."""

    def check(name: str, value: Any) -> list[int]:
        sequence = isinstance(value, np.ndarray) and value.ndim == 1
        if not sequence and not isinstance(value, (list, tuple, range)):
            raise InvalidParameter(f"{name} = {shown(value)} must be a list of integers")
        return [rule(f"{name}[{i}]", x) for i, x in enumerate(value)]

    return check


_MOST_ENTRIES = 10**8  # numbers in the rule table of a filtered grammar


@checked(m=count, a=_EXPONENT)
def zipf_weights(m: int, a: float) -> Array:
    r"""Probabilities of m rules that fall as a power of their rank.

    .. math:: \pi_k \propto k^{-(1 + a)}, \qquad a = -1: \text{uniform}

    Parameters
    ----------
    m : int
        Rules per symbol.
    a : float
        Exponent; the larger, the more unequal, -1 is uniform.

    Returns
    -------
    array [m]
        Decreasing, summing to one.

    Raises
    ------
    InvalidParameter
        If ``m`` is no positive integer or ``a`` is not a finite number >= -1.

    Notes
    -----
    Validity: exact.

    References
    ----------
    Cagnetta, Kang, Wyart, arXiv 2505.07067.

    Examples
    --------
    >>> zipf_weights(3, 0.0).round(6).tolist()
    [0.545455, 0.272727, 0.181818]
    """
    memory(f"m = {m} weights", 16.0 * min(m, 1 << 900))
    weights = np.arange(1, m + 1, dtype=float) ** -(1 + a)
    return np.asarray(weights / weights.sum())


@checked(a=_EXPONENT)
def zipf(rhm: RHM, a: float, seed: Seed, levels: Sequence[int] | None = None) -> Grammar:
    """A grammar of the model whose rules have Zipf probabilities.

    Parameters
    ----------
    rhm : RHM
    a : float
        Exponent of :func:`zipf_weights`.
    seed : Seed
        Source of randomness; the rules are those of ``rhm.draw(seed)``.
    levels : sequence of int, optional
        Levels, 0 to L - 1, that get these probabilities; default all.

    Returns
    -------
    Grammar

    Raises
    ------
    InvalidParameter
        As :func:`zipf_weights`, or if a level has no rules.

    Notes
    -----
    Validity: the order of a symbol's rules is random, so ranks are independent of the rules.

    Examples
    --------
    >>> zipf(RHM(v=4, m=2, s=2, L=2), 0.5, seed=0)
    Grammar(L=2, v=4, m=2, s=2, weighted)
    """
    chosen = range(rhm.L) if levels is None else levels
    if not set(chosen) <= set(range(rhm.L)):
        raise InvalidParameter(f"levels = {list(chosen)} must lie between 0 and {rhm.L - 1}")
    grammar = rhm.draw(seed)
    unequal, equal = zipf_weights(rhm.m, a), zipf_weights(rhm.m, -1.0)
    rows = [unequal if level in chosen else equal for level in range(rhm.L)]
    weights = [np.tile(row, (v, 1)) for row, v in zip(rows, grammar.v, strict=False)]
    return Grammar(grammar.rules, weights, leaf_vocabulary=rhm.v)


@checked(v=_SYMBOLS, m=count, s=_BRANCHES, L=partial(whole, low=1, high=MAX_DEPTH))
def ambiguous(v: int, m: int, s: int, L: int, seed: Seed) -> Grammar:
    r"""A grammar whose symbols draw their rules independently, so that they may share them.

    Parameters
    ----------
    v, m, s, L : int
        Symbols, rules per symbol, branching, depth; m v may exceed v**s, m may not.
    seed : Seed
        Source of randomness.

    Returns
    -------
    Grammar
        The m tuples of one symbol are distinct, those of different symbols independent.

    Raises
    ------
    InvalidParameter
        If a size is no positive integer, or m exceeds v**s.

    Notes
    -----
    Validity: exact; a tuple has on average m v / v**s parents.

    Examples
    --------
    >>> ambiguous(4, 6, 2, 2, seed=0)
    Grammar(L=2, v=4, m=6, s=2, ambiguous)
    """
    if m > v**s:
        raise InvalidParameter(f"m = {m} rules exceed the v**s = {v**s} tuples; lower m or raise s")
    rng = generator(seed)
    memory(f"{L} levels of m * v = {m * v} rules", 16.0 * L * min(m * v * s, 1 << 900))
    rules = [np.stack([draw_tuples(m, v, s, rng) for _ in range(v)]) for _ in range(L)]
    return Grammar(rules, leaf_vocabulary=v)


@checked(v=_each(_SYMBOLS), m=_each(count), s=_each(_BRANCHES))
def layered(v: Sequence[int], m: Sequence[int], s: Sequence[int], seed: Seed) -> Grammar:
    """An unambiguous grammar whose sizes differ from level to level.

    Parameters
    ----------
    v : sequence of L + 1 int
        Symbols of every level, root first, leaves last.
    m, s : sequences of L int
        Rules per symbol and branching of every level that has rules.
    seed : Seed
        Source of randomness.

    Returns
    -------
    Grammar

    Raises
    ------
    InvalidParameter
        If the lengths do not fit, or a level needs more tuples than there are.

    Notes
    -----
    Validity: tuples uniform without replacement, levels independent, as in the RHM.

    Examples
    --------
    >>> layered(v=[2, 4, 6], m=[3, 2], s=[2, 3], seed=0)
    Grammar(L=2, v=(2, 4, 6), m=(3, 2), s=(2, 3))
    """
    if not len(v) - 1 == len(m) == len(s) > 0:
        raise InvalidParameter(
            f"v, m, s have lengths {len(v)}, {len(m)}, {len(s)}; give L + 1, L and L with L >= 1"
        )
    rng, rules = generator(seed), []
    for above, below, rule_count, branching in zip(v[:-1], v[1:], m, s, strict=True):
        if rule_count * above > below**branching:
            raise InvalidParameter(
                f"m * v = {rule_count * above} rules exceed the v**s = {below**branching} "
                "available tuples; lower m or raise s"
            )
        tuples = draw_tuples(rule_count * above, below, branching, rng)
        rules.append(tuples.reshape(above, rule_count, branching))
    return Grammar(rules, leaf_vocabulary=v[-1])


def _paths(grammar: Grammar, level: int) -> Array:
    """P_j(b | c) of every node j of a level: [nodes, v_0, v_level]."""
    found = np.eye(grammar.v[0])[None]
    for upper in range(level):
        rules, weights = grammar.rules[upper], grammar.weights[upper]
        v, m, s = rules.shape
        steps = np.zeros((s, v, grammar.v[upper + 1]))
        parents = np.repeat(np.arange(v), m)
        for j in range(s):
            np.add.at(steps[j], (parents, rules[:, :, j].ravel()), weights.ravel())
        longer = np.einsum("nca,jab->njcb", found, steps)
        found = longer.reshape(-1, *longer.shape[2:])
    return found


@checked
def filtered(grammar: Grammar, level: int) -> Grammar:
    r"""Cut the correlations above a level: its nodes become independent given the class.

    .. math:: p(z_l \mid c) = \prod_j P_j(z_{l,j} \mid c)

    Parameters
    ----------
    grammar : Grammar
    level : int
        The cut, from 0 (cuts nothing) to L (leaves independent given the class, naive Bayes).

    Returns
    -------
    Grammar
        With the same class prior, the same distribution of every single node of ``level`` given the
        class, and the same rules below.  Symbols of level k < ``level`` are pairs of class and
        position, numbered ``class * nodes + position``: they only carry the class down.

    Raises
    ------
    InvalidParameter
        If there is no such level, or the rule table would be too large.

    Notes
    -----
    Validity: exact for any grammar.  The level above the cut has one symbol for each class and
    node, with v**s rules each.

    References
    ----------
    Garnier-Brun, Mezard, Moscato, Saglietti, arXiv 2408.15138.

    Examples
    --------
    >>> filtered(RHM(v=4, m=2, s=2, L=3).draw(seed=0), 2)
    Grammar(L=3, v=(4, 8, 4, 4), m=(1, 16, 2), s=2, weighted, ambiguous)
    """
    nodes = grammar.n_nodes(level)
    if level == 0:
        return grammar
    v0, v, s = grammar.v[0], grammar.v[level], grammar.s[level - 1]
    if v0 * nodes * v**s > _MOST_ENTRIES:
        raise InvalidParameter(
            f"level = {level} needs about 10**{math.log10(v0 * nodes) + s * math.log10(v):.0f} "
            f"entries of a rule table, more than {_MOST_ENTRIES}; cut higher or use fewer symbols"
        )
    rules: list[Array] = []
    for upper in range(level - 1):
        width, branching = grammar.n_nodes(upper), grammar.s[upper]
        place = np.arange(v0 * width).reshape(v0, width, 1) % width * branching
        child = np.arange(v0)[:, None, None] * width * branching + place + np.arange(branching)
        rules.append(child.reshape(v0 * width, 1, branching))
    single = _paths(grammar, level).reshape(nodes // s, s, v0, v).transpose(2, 0, 1, 3)
    weight = np.ones((v0, nodes // s, 1))
    for j in range(s):
        weight = (weight[..., None] * single[:, :, j, None, :]).reshape(v0, nodes // s, -1)
    tuples = np.array(list(product(range(v), repeat=s)))
    rules.append(np.broadcast_to(tuples, (v0 * (nodes // s), *tuples.shape)))
    weights: list[Array] = [np.ones(table.shape[:2]) for table in rules[:-1]]
    weights.append(weight.reshape(v0 * (nodes // s), -1))
    return Grammar(
        [*rules, *grammar.rules[level:]],
        [*weights, *grammar.weights[level:]],
        grammar.root_prior,
        leaf_vocabulary=grammar.leaf_vocabulary,
    )
