r"""Support sets: an exact density evolution for masking.

==========  =================================================================================
symbol      meaning
==========  =================================================================================
k           symbols of a node that the unmasked leaves below it do not exclude, 1 <= k <= v
N           tuples that the children's support sets allow, the product of their k
P_l(k)      law of k at level l, root first
==========  =================================================================================

An unmasked leaf leaves one symbol, a masked one all v, so :math:`P_L = (1-t)\,\delta_1 +
t\,\delta_v`.  A parent keeps every symbol that owns at least one of the N allowed tuples.  Its true
symbol owns the true tuple; relative to rules drawn afresh the other N - 1 tuples are a uniform
choice among :math:`v^s - 1`.  Add them one by one: with j other symbols reached by n tuples, the
next reaches a new one with probability

.. math:: \frac{(v - 1 - j)\, m}{v^s - 1 - n},

because a symbol that is not reached has all its m tuples left.  This Markov chain gives the law of
the parent's k = 1 + j given N, and :math:`P_{l-1}` from :math:`P_l` without sampling anything.

Masking is a genuine channel, so :math:`E[\nu(true)] = E\sum_a \nu(a)^2 \ge E[1/k]`: support sets
give a lower bound of the belief, and their threshold lies below the threshold of the class.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, number, one_level
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter, NoTransition

__all__ = ["support_bound", "support_laws", "support_threshold"]

Array = NDArray[Any]

_LARGEST_TABLE = 1 << 22
_GONE = 1e-9


@checked(t=one_level)
def support_laws(rhm: RHM, t: float) -> Array:
    r"""Law of the number of symbols that masked leaves leave open, per level.

    Parameters
    ----------
    rhm : RHM
        Sizes; ``L`` is the depth.
    t : float
        Probability that a leaf is masked, in [0, 1].

    Returns
    -------
    array [L + 1, max(v, n_classes)]
        Entry [l, k - 1] is :math:`P_l(k)`, from the leaves below a node alone; root first.

    Raises
    ------
    InvalidParameter
        If t is outside [0, 1], or v**s exceeds 2**22.

    Notes
    -----
    Validity: exact for unambiguous rules drawn anew at every node (the limit that density evolution
    samples); rules shared by the nodes of a level change it by terms that vanish as v grows.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> support_laws(RHM(v=3, m=2, s=2, L=1), 0.5)[0].round(6)
    array([0.357143, 0.321429, 0.321429])
    """
    tables = {p: _table(rhm.v, rhm.m, rhm.s, p) for p in {rhm.v, rhm.n_classes}}
    return set_laws(rhm, t, tables)


def set_laws(rhm: RHM, t: float, tables: dict[int, Array]) -> Array:
    """Laws of every level, root first, from a parent's law given N for each number of parents."""
    width = max(rhm.v, rhm.n_classes)
    law = leaf_law(rhm, t)
    rows = [law]
    for level in range(rhm.L - 1, -1, -1):
        law = step_law(law, tables[rhm.v if level else rhm.n_classes], rhm.s)
        rows.insert(0, law)
    return np.stack([np.pad(row, (0, width - len(row))) for row in rows])


@checked(t=one_level)
def support_bound(rhm: RHM, t: float) -> Array:
    r"""Lower bound :math:`E[1/k]` of the mean upward belief in the true symbol, per level.

    Parameters
    ----------
    rhm : RHM
    t : float
        Probability that a leaf is masked.

    Returns
    -------
    array [L + 1]
        Root first.

    Raises
    ------
    InvalidParameter
        As :func:`support_laws`.

    Notes
    -----
    Validity: a bound in the setting of :func:`support_laws`, by the Nishimori identity and
    Cauchy-Schwarz; an equality where every symbol left open is equally likely.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> support_bound(RHM(v=32, m=8, s=2, L=10), 0.2).round(4)[[0, 5, 10]]
    array([0.9065, 0.6706, 0.8062])
    """
    laws = support_laws(rhm, t)
    return np.asarray(laws @ (1 / np.arange(1, laws.shape[1] + 1)))


@checked(tolerance=partial(number, low=1e-15, below=1))
def support_threshold(rhm: RHM, *, tolerance: float = 1e-9) -> float:
    """Masking above which support sets of infinite depth stay open; a lower bound of t*.

    Parameters
    ----------
    rhm : RHM
        Sizes; its own L is not used.
    tolerance : float
        Width of the bracket, 1e-15 or more.

    Returns
    -------
    float

    Raises
    ------
    NoTransition
        If one open symbol spreads, F'(1) >= 1, or if m = 1, where one leaf gives all away.
    InvalidParameter
        If v**s exceeds 2**22.

    Notes
    -----
    Validity: exact in the setting of :func:`support_laws`.  Below it the class is certain with
    probability one as L grows; between it and the threshold of density evolution the class is
    known but not certain.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> round(support_threshold(RHM(v=32, m=8, s=2, L=1)), 6)
    0.25156
    """
    table = _table(rhm.v, rhm.m, rhm.s, rhm.v)
    spread = rhm.s * rhm.m * (rhm.v - 1) / (rhm.v**rhm.s - 1)
    if spread >= 1 or rhm.m == 1:
        raise NoTransition(
            f"m = {rhm.m} rules of v = {rhm.v} symbols give F'(1) = {spread:.3g}; support sets have"
            " a threshold only for m > 1 and F'(1) < 1"
        )
    low, high = 0.0, 1.0
    while high - low > tolerance:
        t = (low + high) / 2
        low, high = (t, high) if _closes(leaf_law(rhm, t), table, rhm.s) else (low, t)
    return (low + high) / 2


def critical_support(rhm: RHM) -> tuple[Array, Array, float]:
    """The law P(k) that the threshold's leaves flow to, the map's eigenvalues there, and t.

    Eigenvalues are of perturbations that keep the sum of the law, by size, largest first.
    """
    t = support_threshold(rhm)
    table = _table(rhm.v, rhm.m, rhm.s, rhm.v)
    law, nearest, least = leaf_law(rhm, t), leaf_law(rhm, t), np.inf
    # t is known to 1e-9, so the law comes near the fixed point before it leaves it
    for _ in range(10_000):
        new = step_law(law, table, rhm.s)
        change = float(np.abs(new - law).sum())
        if change < least:
            nearest, least = law, change
        elif change > 1e3 * least or new[0] > 1 - 1e-3 or new[0] < _GONE:
            break
        law = new
    law, ones = nearest, np.ones((1, rhm.v))
    for _ in range(50):
        rest = law - step_law(law, table, rhm.s)
        matrix = np.vstack([_derivative(law, table, rhm.s).T - np.eye(rhm.v), ones])
        change = np.linalg.lstsq(matrix, np.append(rest, 0.0), rcond=None)[0]
        law = law + change
        if np.abs(change).sum() < 1e-15:
            break
    # directions that keep the sum: the orthogonal complement of the vector of ones
    basis = np.linalg.svd(ones)[2][1:]
    values = np.linalg.eigvals(basis @ _derivative(law, table, rhm.s).T @ basis.T)
    order = np.argsort(-np.abs(values))
    return law, np.asarray(values[order].real), t


def _derivative(law: Array, table: Array, s: int) -> Array:
    """Of one level up: [k of a child, k of the parent], s times the effect of one child."""
    sizes = np.arange(1, len(law) + 1)
    product, weight = _product(law, s - 1)
    return np.asarray(s * np.stack([weight @ table[k * product - 1] for k in sizes]))


def _product(law: Array, children: int) -> tuple[Array, Array]:
    """Law of the product of the sizes of so many children: its values and their weights."""
    sizes = np.arange(1, len(law) + 1)
    product: Array = np.ones(1, np.int64)
    weight: Array = np.ones(1)
    for _ in range(children):
        weight = np.bincount(np.outer(product, sizes).ravel(), np.outer(weight, law).ravel())
        product = np.flatnonzero(weight)
        weight = weight[product]
    return product, weight


def _closes(law: Array, table: Array, s: int) -> bool:
    """Whether the law tends to certainty with depth."""
    while True:
        law = step_law(law, table, s)
        if 1 - law[0] < 1e-3:
            return True
        if law[0] < _GONE:
            return False


def leaf_law(rhm: RHM, t: float) -> Array:
    """Law of the support of a leaf under masking: one symbol with 1 - t, all v with t."""
    if not 0 <= t <= 1:
        raise InvalidParameter(f"t = {t} is outside [0, 1]; it is the fraction of masked leaves")
    law = np.zeros(rhm.v)
    law[0], law[-1] = 1 - t, law[-1] + t
    return law


def step_law(law: Array, table: Array, s: int) -> Array:
    """One level up: the law of the product N of s sizes, then of the parent's size given N."""
    product, weight = _product(law, s)
    out = weight @ table[product - 1]
    return np.asarray(out / out.sum())


@functools.lru_cache(maxsize=8)
def _table(v: int, m: int, s: int, parents: int) -> Array:
    """Law of the parent's size given N, [N - 1, k - 1]."""
    others = v**s - 1
    if others >= _LARGEST_TABLE:
        raise InvalidParameter(f"v**s = {v**s} tuples exceed 2**22; lower v or s")
    out = np.zeros((v**s, parents))
    out[0, 0] = 1.0
    left = m * np.arange(parents - 1, -1, -1)
    for n in range(others):
        new = out[n] * np.minimum(left / (others - n), 1.0)
        out[n + 1] = out[n] - new
        out[n + 1, 1:] += new[:-1]
    out.setflags(write=False)
    return out
