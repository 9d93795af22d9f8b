"""Correlations that a grammar leaves between two symbols of a datum, exact and on average.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
level          from the root (0) to the leaves (L)
l              height of a lowest common ancestor above the leaves
C_ab           covariance of two symbols, P(a, b) - P(a) P(b)
S              context signal of a token, v times the sum of C_ab^2
=============  ==============================================================================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, memory, reals, whole
from hierdiff.data.rhm import RHM, Grammar
from hierdiff.errors import InvalidParameter

__all__ = [
    "channel",
    "context_signal",
    "covariance",
    "node_marginals",
    "pair_joint",
    "token_correlation",
    "tuple_correlation",
]

FloatArray = NDArray[np.float64]
Node = tuple[int, int]


def _checked_node(name: str, node: Any) -> Node:
    """A level and a position in it."""
    if isinstance(node, (tuple, list)) and len(node) == 2:
        return whole(f"{name}[0]", node[0]), whole(f"{name}[1]", node[1])
    raise InvalidParameter(
        f"{name} = {' '.join(repr(node).split())[:60]} is no node; give (level, position)"
    )


@checked
def channel(grammar: Grammar, level: int, child: int) -> FloatArray:
    r"""Law of one child of a node given the node's symbol.

    .. math:: M_{ab} = \sum_k \pi_k(a)\, [\,b^{(a,k)}_{child} = b\,]

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the parent, 0 to L - 1.
    child : int
        Which child, 0 to s - 1.

    Returns
    -------
    array [v_level, v_level+1]
        Rows sum to one.

    Raises
    ------
    InvalidParameter
        If there is no such level or child.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> channel(Grammar([[[[0, 1], [1, 1]], [[1, 0], [0, 0]]]]), 0, 0).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    if not 0 <= level < grammar.L or not 0 <= child < grammar.s[level]:
        raise InvalidParameter(
            f"level = {level} with child {child} writes nothing; give a level from 0 to "
            f"{grammar.L - 1} and one of its children"
        )
    rules, weights = grammar.rules[level], grammar.weights[level]
    memory(
        f"a law of {grammar.v[level + 1]} symbols each",
        8.0 * grammar.v[level] * grammar.v[level + 1],
    )
    found = np.zeros((grammar.v[level], grammar.v[level + 1]))
    parents = np.repeat(np.arange(rules.shape[0]), rules.shape[1])
    np.add.at(found, (parents, rules[:, :, child].ravel()), weights.ravel())
    return found


@checked
def node_marginals(grammar: Grammar, level: int) -> FloatArray:
    """Law of the symbol of every node of a level, without any observation.

    Parameters
    ----------
    grammar : Grammar
    level : int
        From 0 (root) to L (leaves).

    Returns
    -------
    array [nodes, v_level]
        Rows sum to one.

    Raises
    ------
    InvalidParameter
        If there is no such level.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> node_marginals(Grammar([[[[0, 1], [1, 1]], [[1, 0], [1, 1]]]]), 1).tolist()
    [[0.25, 0.75], [0.25, 0.75]]
    """
    nodes, v = grammar.n_nodes(level), grammar.v[level]
    memory(f"level = {level} with {nodes} nodes of {v} symbols", 24.0 * nodes * v)
    found = np.array(grammar.root_prior)[None]
    for upper in range(level):
        steps = [channel(grammar, upper, j) for j in range(grammar.s[upper])]
        found = np.stack([found @ step for step in steps], axis=1).reshape(-1, steps[0].shape[1])
    return found


def _down(grammar: Grammar, node: Node, top: int) -> FloatArray:
    """Law of a node's symbol given that of its ancestor at level ``top``."""
    level, position = node
    steps = []
    for upper in reversed(range(top, level)):
        position, child = divmod(position, grammar.s[upper])
        steps.append(channel(grammar, upper, child))
    found: FloatArray = np.eye(grammar.v[top])
    for step in reversed(steps):
        found = found @ step
    return found


def _ancestor(grammar: Grammar, node: Node, level: int) -> int:
    return node[1] // (grammar.n_nodes(node[0]) // grammar.n_nodes(level))


@checked(first=_checked_node, second=_checked_node)
def pair_joint(grammar: Grammar, first: Node, second: Node) -> FloatArray:
    r"""Joint law of the symbols of two nodes, neither of which is above the other.

    .. math:: P(a, b) = \sum_{c,k} p(c)\, \pi_k(c)\, P(a \mid c_i^{(k)})\, P(b \mid c_j^{(k)})

    with c the symbol of their lowest common ancestor and i, j its children above the two.

    Parameters
    ----------
    grammar : Grammar
    first, second : (level, position)

    Returns
    -------
    array [v_first, v_second]
        Sums to one.

    Raises
    ------
    InvalidParameter
        If a node does not exist, or one is the other or above it.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> pair_joint(Grammar([[[[0, 1], [1, 1]], [[1, 0], [1, 1]]]]), (1, 0), (1, 1)).tolist()
    [[0.0, 0.25], [0.25, 0.5]]
    """
    for level, position in (first, second):
        if not 0 <= position < grammar.n_nodes(level):
            raise InvalidParameter(
                f"level {level} has no position {position}; give 0 to {grammar.n_nodes(level) - 1}"
            )
    shared = [
        k for k in range(min(first[0], second[0]) + 1)
        if _ancestor(grammar, first, k) == _ancestor(grammar, second, k)
    ]  # fmt: skip
    top = shared[-1]
    if top == min(first[0], second[0]):
        raise InvalidParameter(
            f"of the nodes {first} and {second} one is the other or above it; give nodes of "
            "different branches"
        )
    rules, below = grammar.rules[top], grammar.v[top + 1]
    i, j = (_ancestor(grammar, node, top + 1) % grammar.s[top] for node in (first, second))
    prior = np.array(grammar.root_prior) @ _down(grammar, (top, _ancestor(grammar, first, top)), 0)
    children = np.zeros((below, below))
    used = (prior[:, None] * grammar.weights[top]).ravel()
    np.add.at(children, (rules[:, :, i].ravel(), rules[:, :, j].ravel()), used)
    left, right = (_down(grammar, node, top + 1) for node in (first, second))
    return np.asarray(left.T @ children @ right)


@checked
def covariance(joint: NDArray[Any]) -> FloatArray:
    """Joint law minus the product of its two marginals.

    Parameters
    ----------
    joint : array [v_first, v_second]

    Returns
    -------
    array of the same shape
        Rows and columns sum to zero.

    Raises
    ------
    InvalidParameter
        If the joint law is no table of probabilities that sum to one.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> covariance(np.array([[0.5, 0.0], [0.0, 0.5]])).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    joint = reals("joint", joint, low=0, ndim=2)
    if abs(joint.sum() - 1) > 1e-6:
        raise InvalidParameter(
            f"joint of shape {joint.shape} sums to {joint.sum():.6g}; give probabilities that sum "
            "to one"
        )
    return np.asarray(joint - np.outer(joint.sum(axis=1), joint.sum(axis=0)))


def _premises(rhm: RHM, l: int, least: int) -> int:
    if rhm.s < 2 or rhm.v < 2:
        raise InvalidParameter(
            f"v = {rhm.v}, s = {rhm.s} leave nothing to correlate; give v >= 2 and s >= 2"
        )
    if not least <= l <= rhm.L:
        raise InvalidParameter(
            f"l = {l} is no height of a common ancestor here; give {least} to L = {rhm.L}"
        )
    # v^s tuples are counted in floats; each level above the ancestor takes a step of a recursion
    if rhm.s * math.log2(rhm.v) > 1000 or rhm.L > 10**5:
        raise InvalidParameter(
            f"v = {rhm.v}, s = {rhm.s}, L = {rhm.L} is beyond float64 (v^s) or 10^5 levels; choose "
            "smaller sizes"
        )
    return l


def _damping(rhm: RHM) -> float:
    """What a step down leaves of a sum of squares of zero mean: v / (v + 1) / m if s = 2."""
    tuples = rhm.v**rhm.s
    return float((tuples - tuples // rhm.v) / (tuples - 1) / rhm.m)


def concentration(rhm: RHM, level: int) -> float:
    """Mean sum of the squared probabilities of the symbols of one node of a level."""

    def below(symbols: int) -> float:
        rules, tuples = symbols * rhm.m, rhm.v**rhm.s
        return float(1 / rules + (1 - 1 / rules) * (tuples // rhm.v - 1) / (tuples - 1))

    found = 1 / rhm.n_classes if level == 0 else below(rhm.n_classes)
    for _ in range(level - 1):
        # rules spread a uniform law unevenly, and damp the unevenness that they find
        found = below(rhm.v) + _damping(rhm) * (found - 1 / rhm.v)
    return found


def _siblings(rhm: RHM, l: int) -> float:
    """Mean sum of the squared covariances of two children of a node at height l."""
    tuples = rhm.v**rhm.s
    spread = tuples * concentration(rhm, rhm.L - l) / rhm.m - 1
    return float(spread / (tuples - 1) * (1 - 1 / rhm.v) ** 2)


@checked
def token_correlation(rhm: RHM, l: int) -> float:
    r"""Mean squared covariance of two tokens whose lowest common ancestor has height l.

    .. math:: E\, C^2 = \frac{1}{v^2}\, \frac{1 - m/v^{s-1}}{v\, m^{2l-1}}\, A\, D, \qquad
       A = \frac{v-1}{v+1} \Big(\frac{v}{v+1}\Big)^{2l-2} \text{ for } s = 2

    D = 1 if the ancestor is the root (l = L).  Else its symbol is unevenly distributed,
    :math:`q = v \sum_c p_c^2 > 1`, and :math:`D = (q - m/v^{s-1}) / (1 - m/v^{s-1})`.

    Parameters
    ----------
    rhm : RHM
    l : int
        Height of the ancestor above the leaves, 1 to L.

    Returns
    -------
    float
        Average over grammars and over the v^2 pairs of symbols.

    Raises
    ------
    InvalidParameter
        If l is no height between 1 and L, or there is nothing to correlate.

    Notes
    -----
    Validity: average over grammars, any s.  The uneven marginals of the two tokens are neglected,
    which is right to relative order 1/(m v), and the rules of the two branches taken to be
    independent, right to a few per cent at v = 16.  The paper has A = D = 1, the limit of large v
    and m.

    References
    ----------
    Cagnetta and Wyart, arXiv 2406.00048, the large-v form; A and D are derived here.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> f"{token_correlation(RHM(v=16, m=4, s=2, L=2), 2):.4e}"
    '2.2362e-06'
    """
    steps = 2 * (_premises(rhm, l, 1) - 1)
    return float(_siblings(rhm, l) * _damping(rhm) ** steps / rhm.v**2)


@checked
def tuple_correlation(rhm: RHM, l: int) -> float:
    r"""Mean squared covariance of an s-tuple of tokens and a token outside of it.

    .. math:: E\, C^2 = \frac{1}{v^2 m}\, \frac{1 - m/v^{s-1}}{v\, m^{2l-1}}\, B\, D, \qquad
       B = \frac{v-1}{v+1} \Big(\frac{v}{v+1}\Big)^{2l-3} \text{ for } s = 2

    Parameters
    ----------
    rhm : RHM
    l : int
        Height of their lowest common ancestor, 2 to L.

    Returns
    -------
    float
        Average over grammars, the v m tuples that occur, and the v tokens.

    Raises
    ------
    InvalidParameter
        If l is no height between 2 and L, or there is nothing to correlate.

    Notes
    -----
    Validity: as :func:`token_correlation`, and D as there.

    References
    ----------
    Cagnetta and Wyart, arXiv 2406.00048.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> f"{tuple_correlation(RHM(v=16, m=4, s=2, L=2), 2):.4e}"
    '5.9398e-07'
    """
    steps = 2 * _premises(rhm, l, 2) - 3
    return float(_siblings(rhm, l) * _damping(rhm) ** steps / (rhm.m * rhm.v) ** 2)


@checked
def context_signal(rhm: RHM, l: int, steps: int | None = None) -> float:
    r"""What one token tells of the symbol above a tuple: S, a sum of squared covariances.

    .. math:: S = v \sum_{a,b} C_{ab}^2 = \frac{1 - m/v^{s-1}}{m^{l}}\, \frac{v-1}{v+1}
       \Big(\frac{v}{v+1}\Big)^{l-1} D \text{ for } s = 2

    The symbol a stands one step below the common ancestor, at height l - 1; the token b, l steps.
    S is the chance that two contexts of one symbol coincide, beyond the chance 1/v of any two.

    Parameters
    ----------
    rhm : RHM
    l : int
        Height of the lowest common ancestor, 1 to L.
    steps : int, optional
        Levels from the ancestor down to the symbol b, 1 to l; default l, a token.

    Returns
    -------
    float
        Average over grammars.

    Raises
    ------
    InvalidParameter
        If l is no height between 1 and L, steps are no steps, or there is nothing to correlate.

    Notes
    -----
    Validity: as :func:`token_correlation`, and D as there.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> round(context_signal(RHM(v=16, m=4, s=2, L=2), 2) * 4**2, 6)
    0.622837
    """
    down = _premises(rhm, l, 1) if steps is None else whole("steps", steps, 1, _premises(rhm, l, 1))
    return float(rhm.v * _siblings(rhm, l) * _damping(rhm) ** (down - 1))
