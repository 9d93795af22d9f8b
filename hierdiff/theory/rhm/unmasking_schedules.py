r"""The curve Z(k): what parallel unmasking in a random order costs, and the best block sizes.

==============  ================================================================================
symbol          meaning
==============  ================================================================================
n               number of leaves
k_j, K_j, T     block sizes, their partial sums k_1 + ... + k_j, number of steps
Z(k)            E H(x_sigma(k+1) | k revealed leaves), sigma uniform over all orders
TC, DTC         total correlation and dual total correlation of the string
KL              divergence of the pair of string and order, eq. (1) of
                :mod:`hierdiff.theory.rhm.parallel_unmasking`
==============  ================================================================================

.. math::
   \sum_{k=0}^{n-1} Z(k) = H(x), \qquad
   KL = \sum_j k_j\, Z(K_{j-1}) - H(x), \tag{1}

the error of a Riemann sum of the falling function Z.  Its ends are

.. math:: TC = n Z(0) - H(x), \qquad DTC = H(x) - n Z(n - 1).                                \tag{2}

Where Z varies slowly, steps of size k(u) cost :math:`\int \tfrac{k-1}{2}\,|Z'|\,du`; at T steps
the best sizes are proportional to :math:`|Z'|^{-1/2}`, and

.. math:: KL^*(T) \simeq \frac12 \Big[\frac1T \Big(\int_0^n \sqrt{-Z'(u)}\; du\Big)^2
   - Z(0) + Z(n) \Big] \le \frac12 \Big(\frac nT - 1\Big) [Z(0) - Z(n)], \tag{3}

the right-hand side being that of equal sizes, by Cauchy and Schwarz.

Where noise has masked each leaf with probability t, Z is met at k = (1 - t) n on average: the
masking identity of :mod:`hierdiff.theory.rhm.information` is the sum rule in continuous time.

References: Chen, Cong and Li, arXiv 2511.04647, eqs. (1) and (2); Lavenant and Zanella, arXiv
2510.25544, eqs. (1) and (3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from hierdiff.checks import checked, memory, reals, unchecked, whole
from hierdiff.contracts import DiffusionModel
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.tree_inference import tree_posterior
from hierdiff.theory.rhm.information import Estimate
from hierdiff.theory.rhm.next_token import TokenEntropies
from hierdiff.theory.rhm.parallel_unmasking import (
    FLOOR,
    block_sizes,
    conditionals_of,
    controlled,
    exact_conditionals,
)

__all__ = [
    "UnmaskingCurve",
    "best_sizes",
    "string_entropy",
    "total_correlation",
    "unmasking_curve",
]

Array = NDArray[Any]


@checked(curve=unchecked, steps=whole)
def best_sizes(curve: ArrayLike, steps: int) -> Array:
    r"""The block sizes of the smallest divergence at a number of steps, by dynamic programming.

    .. math:: \min \sum_j k_j Z(K_{j-1}), \quad K_j = k_1 + \dots + k_j, \quad K_T = n

    Parameters
    ----------
    curve : array [leaves]
        Z(k).
    steps : int
        T, at most the number of leaves.

    Returns
    -------
    int array [steps]

    Raises
    ------
    InvalidParameter
        For an empty curve, NaN, no step, or more steps than leaves.

    Notes
    -----
    Validity: the exact minimum for the curve given, in O(T n^2).  Sizes that fit the noise of a
    measured curve look better on that curve than they are: measure them on other data.

    Examples
    --------
    >>> best_sizes([2.0, 1.0, 0.1, 0.1, 0.1, 0.1], 3).tolist()
    [1, 1, 4]
    """
    z = reals("curve", curve, ndim=1, least=1)
    n = len(z)
    whole("steps", steps, 1, n)
    first, after = np.arange(n)[:, None], np.arange(n + 1)[None, :]
    cost = np.where(after > first, (after - first) * z[:, None], np.inf)  # a block from, to
    best = np.full(n + 1, np.inf)
    best[0], came = 0.0, np.zeros((steps, n + 1), np.int64)
    for j in range(steps):
        total = best[:n, None] + cost
        came[j] = total.argmin(axis=0)
        best = total.min(axis=0)
    ends = [n]
    for j in range(steps - 1, -1, -1):
        ends.append(int(came[j, ends[-1]]))
    return np.diff(ends[::-1])


@dataclass(frozen=True, eq=False)
class UnmaskingCurve(TokenEntropies):
    """Z(k), with what follows from it.

    Attributes
    ----------
    by_datum : array [n, leaves]
        Entropies of single data, whose mean is Z(k).
    log_prob : array [n]
        log p(x) of the data.
    """

    @property
    def dual_total_correlation(self) -> Estimate:
        """DTC of eq. (2)."""
        return Estimate.of(-self.log_prob - self.by_datum.shape[1] * self.by_datum[:, -1])

    def divergence(self, sizes: ArrayLike, revealed: int = 0) -> Estimate:
        """KL(p || q) of block sizes at random order, eq. (1).

        With k leaves ``revealed`` already, as at noise level t = 1 - k / n, the sizes sum to the
        others, and the divergence is that of their completion, on average.
        """
        n = self.by_datum.shape[1]
        k = whole("revealed", revealed, 0, n - 1)
        blocks = block_sizes("sizes", sizes, n - k)
        if not k:
            return Estimate.of(self._divergences(blocks))
        # what is left of the sum rule is known datum by datum alone
        rest = self.by_datum[:, k:]
        return Estimate.of(rest[:, np.cumsum(blocks) - blocks] @ blocks - rest.sum(axis=1))

    def _divergences(self, blocks: Array) -> Array:
        """Values [n] whose mean is eq. (1), with the sum rule as control."""
        raw = self.by_datum[:, np.cumsum(blocks) - blocks] @ blocks
        return controlled(raw + self.log_prob, self.by_datum.sum(axis=1) + self.log_prob)

    def best(self, steps: int) -> tuple[Array, Estimate]:
        """Best sizes, and their divergence without the bias of having been chosen.

        The sizes are chosen on one half of the data and measured on the other, both ways; those
        that are returned are chosen on all.
        """
        half = len(self.by_datum) // 2
        if half < 2:
            raise InvalidParameter(f"{len(self.by_datum)} data are too few to choose and measure")
        parts = [UnmaskingCurve(self.by_datum[r], self.log_prob[r])
                 for r in (slice(None, half), slice(half, None))]  # fmt: skip
        values = [
            other._divergences(best_sizes(one.mean, steps)) for one, other in (parts, parts[::-1])
        ]
        return best_sizes(self.mean, steps), Estimate.of(np.concatenate(values))

    def smooth_limit(self, steps: int) -> float:
        """The left-hand side of eq. (3), for many leaves and many steps.

        The curve is made monotone first, by pooling neighbours that violate it.
        """
        z = _falling(self.mean)
        whole("steps", steps, 1, len(z))
        return float(np.sqrt(-np.diff(z)).sum() ** 2 / steps - z[0] + z[-1]) / 2


def _falling(z: Array) -> Array:
    """The falling curve nearest to z in the mean square."""
    blocks: list[list[float]] = []
    for value in z:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            (a, m), (b, k) = blocks[-2:]
            blocks[-2:] = [[(a * m + b * k) / (m + k), m + k]]
    return np.concatenate([np.full(int(k), a) for a, k in blocks])


@checked(n=whole)
def unmasking_curve(
    grammar: Grammar, n: int, seed: Seed, *, model: DiffusionModel | None = None
) -> UnmaskingCurve:
    r"""Z(k), the entropy of the next leaf after k leaves of a random order.

    .. math:: Z(k) = E\, \frac{1}{n - k} \sum_{i \notin S} H(x_i \mid x_S), \qquad |S| = k

    Parameters
    ----------
    grammar : Grammar
    n : int
        Data, two or more, each with an order of its own.
    seed : Seed
        Source of randomness.
    model : DiffusionModel, optional
        Of masking noise.  Its cross entropies take the place of entropies: their sum is minus the
        variational bound of the model.

    Returns
    -------
    UnmaskingCurve

    Raises
    ------
    InvalidParameter
        For fewer than two data, or a model without conditionals.

    Notes
    -----
    Validity: exact conditionals for any grammar; all hidden leaves are averaged, so the error is
    that of data and orders.  One posterior per datum and k.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> rhm = RHM(v=8, m=3, s=2, L=4)
    >>> curve = unmasking_curve(rhm.draw(seed=0), 400, seed=1)
    >>> print(f"{curve.total.value:.2f} ± {curve.total.error:.2f}; {rhm.log_n_data:.2f}")
    18.66 ± 0.11; 18.56
    >>> sizes, found = curve.best(4)
    >>> sizes.tolist(), round(found.value, 1)
    ([5, 4, 3, 4], 2.6)
    """
    whole("n", n, 2)
    rng = generator(seed)
    x = grammar.sample(n, rng).leaves
    ranks = rng.random(x.shape).argsort(axis=1).argsort(axis=1)
    own, exact = conditionals_of(grammar, model), exact_conditionals(grammar)
    leaves = x.shape[1]
    memory(f"beliefs about {n} strings", 40.0 * n * leaves * grammar.leaf_vocabulary)
    found = np.empty((n, leaves))
    for k in range(leaves):
        states = np.where(ranks < k, x, -1)
        p = exact(states)
        terms = entr(p) if model is None else -p * np.log(np.maximum(own(states), FLOOR))
        found[:, k] = np.where(ranks < k, 0, terms.sum(axis=2)).sum(axis=1) / (leaves - k)
    return UnmaskingCurve(found, grammar.log_prob(x))


@checked
def string_entropy(grammar: Grammar) -> float:
    """H(x) of an unambiguous grammar, in nats, exactly.

    Parameters
    ----------
    grammar : Grammar

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        For an ambiguous grammar, whose strings have less entropy than its derivations.

    Notes
    -----
    Validity: any weights; log v + (number of rules used) log m for a uniform grammar.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> rhm = RHM(v=8, m=3, s=2, L=4)
    >>> round(string_entropy(rhm.draw(seed=0)), 3), round(rhm.log_n_data, 3)
    (18.559, 18.559)
    """
    if not grammar.is_unambiguous:
        raise InvalidParameter(
            "the grammar is ambiguous: its strings have less entropy than its derivations; average "
            "-grammar.log_prob(...) over data"
        )
    return float(tree_posterior(grammar).entropy()[0])


@checked
def total_correlation(grammar: Grammar) -> float:
    """TC = sum of the entropies of the leaves - H(x): the divergence of one step, exactly.

    Parameters
    ----------
    grammar : Grammar
        Unambiguous.

    Returns
    -------
    float
        In nats.

    Raises
    ------
    InvalidParameter
        For an ambiguous grammar.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> round(total_correlation(RHM(v=8, m=3, s=2, L=4).draw(seed=0)), 3)
    12.805
    """
    p = exact_conditionals(grammar)(np.full((1, grammar.n_leaves), -1))
    return float(entr(p).sum()) - string_entropy(grammar)
