r"""The autoregressive view of a grammar: prefixes, next symbols, ends of strings.

.. math:: P_A(i; k, b) = \sum_{A \to BC} \pi \Big[ P_B(i; k, b)
       + \sum_{i < j \le k} I_B(i, j)\, P_C(j; k, b) \Big] + \sum_{A \to B} \pi\, P_B(i; k, b)

is the probability that A derives the given leaves i ... k - 1, then symbol b, then anything.  The
child that derives leaf k splits the others into those before, which are inside sums, and those
after, which sum to one if trees end with probability one.  Rules whose left child holds leaf k make
a linear system, solved once for all strings.

References: Jelinek and Lafferty, Comput. Linguist. 17, 315 (1991); Stolcke (1995).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, integers, memory, whole
from hierdiff.data.pcfg import MAX_LENGTH, PCFG
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.theory.pcfg import _kernels as kernels
from hierdiff.theory.pcfg.chart import Chart, chart_of
from hierdiff.theory.pcfg.inside_outside import parse_posterior

__all__ = ["next_token_law", "prefix_log_probability"]

Array = NDArray[Any]


def _strings(g: PCFG, strings: ArrayLike) -> Array:
    found = integers("strings", strings, 0, g.v - 1, ndim=2)
    if not found.size:
        raise InvalidParameter(f"strings has shape {found.shape}; give [n, leaves], none empty")
    return found


def _corner(g: PCFG) -> Array:
    """Sum over all chains of left corners, [symbols, symbols]."""
    if g.growth >= 1:
        raise InvalidParameter(
            f"trees of the grammar grow by a factor {g.growth:.3g} per level and need not end; the "
            "law of the next symbol at unknown length needs a factor below 1; give a length"
        )
    b = g.binarised
    size = g.N + g.v + len(b.dotted)
    memory(f"left corners of {size} symbols", 24.0 * size * size)
    left = np.zeros((size, size))
    for table in (b.binary, b.unary):
        np.add.at(left, (table[:, 0], table[:, 1]), np.append(g.weights, 1.0)[table[:, 3]])
    return np.linalg.inv(np.eye(size) - left).clip(0)


def _rows(c: Chart) -> Array:
    """Row of every symbol of the binarised grammar over every length and start, or -1."""
    cell = c.cell_id[c.groups.of]
    row = c.cells[cell, 0] + c.groups.index[:, None, None]
    return np.where(cell >= 0, row, -1)


def _prefix_sums(g: PCFG, strings: Array) -> tuple[Array, Array]:
    """Probability of k given leaves followed by b [n, k, v], and of the k leaves alone [n, k]."""
    n, length = strings.shape
    c = chart_of(g, length, True)
    c.affordable(1.0, "prefixes")
    corner, rows = _corner(g), _rows(c)
    binary = g.binarised.binary
    weights = np.append(g.weights, 1.0)[binary[:, 3]]
    following, exact = np.empty((n, length + 1, g.v)), np.zeros((n, length + 1))
    out = np.empty((length + 1, len(corner), g.v))
    for i, string in enumerate(strings):
        chart = np.zeros((c.rows, kernels.LANES))
        chart[c.leaf_rows + string, 0] = 1.0
        kernels.inside(*c.structure(), c.weights, c.closure, chart)
        kernels.prefix(length, g.N, rows, np.ascontiguousarray(binary[:, :3]), weights, corner,
                       np.ascontiguousarray(chart[:, 0]), out)  # fmt: skip
        following[i] = np.einsum("a,kab->kb", g.root_prior, out[:, : g.N])
        top = rows[: g.N, 1:, 0]
        exact[i, 1:] = g.root_prior @ np.where(top >= 0, chart[top, 0], 0.0)
    return following, exact


@checked
def prefix_log_probability(grammar: PCFG, strings: ArrayLike) -> Array:
    r"""Natural logarithm of the probability that a string of any length begins with given leaves.

    .. math:: P(x_1 \dots x_k) = \sum_{n \ge k} \; \sum_{x_{k+1} \dots x_n} p(x_1 \dots x_n)

    Parameters
    ----------
    grammar : PCFG
        Whose trees end with probability one.
    strings : int array [n, leaves]

    Returns
    -------
    array [n, leaves + 1]
        Of the first k leaves, k = 0 ... leaves; -inf where no string begins so.

    Raises
    ------
    InvalidParameter
        For symbols out of range, or trees that need not end.

    Notes
    -----
    Validity: exact, down to probabilities of 1e-280; time O(leaves^3 rules v) per string.

    Examples
    --------
    >>> g = PCFG.from_text("S -> S S [0.25] | 'a' [0.5] | 'b' [0.25]")
    >>> np.exp(prefix_log_probability(g, [[0, 1]])).round(6)
    array([[1.      , 0.666667, 0.055556]])
    """
    found = _strings(grammar, strings)
    following, _ = _prefix_sums(grammar, found)
    given = np.take_along_axis(following[:, :-1], found[:, :, None], axis=2)[..., 0]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.concatenate([np.ones((len(found), 1)), given], axis=1)))


@checked
def next_token_law(grammar: PCFG, strings: ArrayLike, length: int | None = None) -> Array:
    r"""Law of every symbol given those before it, at known or unknown length.

    .. math:: p(x_{k+1} = b \mid x_1 \dots x_k) \quad\text{or}\quad
       p(x_{k+1} = b \mid x_1 \dots x_k, n)

    Parameters
    ----------
    grammar : PCFG
    strings : int array [n, leaves]
        Beginnings of strings.
    length : int, optional
        Known length of the whole strings, at least ``leaves``; default unknown.

    Returns
    -------
    array [n, leaves + 1, v + 1]
        At k the law of symbol k + 1 after the first k; the last entry is the probability that the
        string ends.  At known length [n, min(leaves + 1, length), v] without it.

    Raises
    ------
    InvalidParameter
        As :func:`prefix_log_probability`; if no derivation has the length.
    ImpossibleEvidence
        If no string of the grammar begins so.

    Notes
    -----
    Validity: exact; sums to one over the last axis.

    Examples
    --------
    >>> g = PCFG.from_text("S -> S S [0.25] | 'a' [0.5] | 'b' [0.25]")
    >>> next_token_law(g, [[0]])[0].round(4).tolist()
    [[0.6667, 0.3333, 0.0], [0.1667, 0.0833, 0.75]]
    >>> next_token_law(g, [[0]], length=2)[0].round(4).tolist()
    [[0.6667, 0.3333], [0.6667, 0.3333]]
    """
    found = _strings(grammar, strings)
    if length is not None:
        length = whole("length", length, found.shape[1], MAX_LENGTH)
        return _known_length(grammar, found, length)
    following, exact = _prefix_sums(grammar, found)
    law = np.concatenate([following, exact[:, :, None]], axis=2)
    total = law.sum(axis=2, keepdims=True)
    if not (total > 0).all():
        i, k, _ = np.argwhere(~(total > 0))[0]
        raise ImpossibleEvidence(
            f"no string of the grammar begins with the first {k} leaves of sample {i}; give "
            "beginnings of strings of this grammar"
        )
    return np.asarray(law / total)


def _known_length(g: PCFG, strings: Array, length: int) -> Array:
    """Marginals of leaf k with the leaves from k on masked, all k as strings of one batch."""
    n, leaves = strings.shape
    places = min(leaves + 1, length)
    memory(f"{n} strings with {places} beginnings", 40.0 * n * places * length * g.v)
    evidence = np.zeros((n, places, length, g.v))
    seen = np.where(np.eye(g.v)[strings] > 0, 0.0, -np.inf)
    for k in range(1, places):
        evidence[:, k, :k] = seen[:, :k]
    found = parse_posterior(g, evidence.reshape(n * places, length, g.v))
    marginals = found.leaf_marginals.reshape(n, places, length, g.v)
    return np.stack([marginals[:, k, k] for k in range(places)], axis=1)
