r"""What it costs to unmask several leaves at once.

==============  ================================================================================
symbol          meaning
==============  ================================================================================
n               number of leaves
B_j, k_j        block of leaves that step j reveals, and its size; the sizes sum to n
T               number of steps
S_j             leaves that are revealed before step j
sigma           order of the leaves; blocks are consecutive pieces of it
q               law of the strings that the sampler writes
==============  ================================================================================

A step draws all leaves of its block independently, each from its exact conditional.  Hence

.. math::
   q(x) = \prod_j \prod_{i \in B_j} p(x_i \mid x_{S_j}), \qquad
   KL(p \| q) = \sum_j E\Big[\sum_{i \in B_j} H(x_i \mid x_{S_j}) - H(x_{B_j} \mid x_{S_j})\Big],
   \tag{1}

a sum of conditional total correlations, zero if leaves are revealed one at a time.  The joint
entropies sum to H(x) by the chain rule, so one posterior per step and datum is enough.  What a
random order costs is a functional of one curve, :mod:`hierdiff.theory.rhm.unmasking_schedules`.

**What KL means if the order is not fixed.**  *confident*: the sampler chooses the block from the
beliefs, before it draws.  The order is then a function of the string, q is a normalised law of
strings, and eq. (1) holds; so it does for *unsure*, which reveals the leaves of largest entropy.
*random*: the order is independent of the string, and eq. (1) is the divergence of the pair of
string and order; that of strings alone is smaller.  *kept*: the sampler
draws all hidden leaves and keeps those of the largest probability.  What it keeps depends on what
it drew, so the kept leaves do not follow their conditionals, and the divergence of the pair of
string and order is not zero even one at a time:

.. math:: -\log q(x, \sigma) = -\sum_j \Big[ \sum_{i \in B_j} \log p(x_i \mid x_{S_j})
   + \sum_{i \notin S_{j+1}} \log P\big(\text{the draw of } i \text{ ranks below } B_j\big) \Big],
   \tag{2}

against the order in which a string of p would be kept.  It bounds the divergence of strings.

**A model that is not exact** has beliefs q_i in place of the conditionals, and

.. math:: KL(p \| q) = \text{eq. (1)} + \sum_j E \sum_{i \in B_j} KL(p_i \| q_i): \tag{3}

the price of the steps, which no learning lowers, and the error of the model on the way.

References: Chen, Cong and Li, arXiv 2511.04647; Lavenant and Zanella, arXiv 2510.25544 (eqs. 1 and
3); the sampler *kept*: Chang et al., arXiv 2202.04200.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from hierdiff.checks import checked, integers, shown, unchecked, whole
from hierdiff.contracts import DiffusionModel, SymbolEvidence
from hierdiff.data.rhm import Grammar
from hierdiff.errors import ImpossibleEvidence, InvalidParameter
from hierdiff.noise import masks
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.information import Estimate

__all__ = [
    "FLOOR",
    "ORDERS",
    "OrderName",
    "UnmaskingTerms",
    "even_sizes",
    "order_ranks",
    "spread_order",
    "unmasking_terms",
]

Array = NDArray[Any]
Beliefs: TypeAlias = Callable[[Array], Array]

OrderName: TypeAlias = Literal["left to right", "spread", "random", "confident", "unsure", "kept"]
ORDERS: tuple[OrderName, ...] = get_args(OrderName)
"""Names of orders; a permutation of the leaves is an order as well."""
FLOOR = 1e-6
"""Smallest probability that a model may give to a true symbol: with zero the divergence would be
infinite.  Exact inference needs none."""
MAX_LEAVES = 10**6
_TIE = 9  # digits: leaves that are alike by symmetry differ by rounding alone
_STATES = 1 << 21  # numbers of beliefs that are held at a time


# --------------------------------------------------------------------------------- orders and sizes


@checked
def spread_order(grammar: Grammar) -> Array:
    """The order that keeps revealed leaves as far apart in the tree as possible.

    The number of a leaf, written in the branchings of the levels, is read backwards (van der
    Corput's order for s = 2).  The first leaves lie below different children of the root.

    Parameters
    ----------
    grammar : Grammar

    Returns
    -------
    int array [leaves]
        Leaves in the order in which they are revealed.

    Notes
    -----
    Validity: any branching; s may differ between levels.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> spread_order(RHM(v=4, m=2, s=2, L=3).draw(seed=0)).tolist()
    [0, 4, 2, 6, 1, 5, 3, 7]
    """
    places = np.arange(grammar.n_leaves).reshape(grammar.s)
    return places.transpose(*range(grammar.L - 1, -1, -1)).ravel()


@checked(n_leaves=whole, steps=whole)
def even_sizes(n_leaves: int, steps: int) -> Array:
    """Block sizes that differ by one at most, the larger ones first.

    Parameters
    ----------
    n_leaves, steps : int
        Leaves, and at most as many steps.

    Returns
    -------
    int array [steps]

    Raises
    ------
    InvalidParameter
        For no step, or more steps than leaves.

    Notes
    -----
    Validity: any n.

    Examples
    --------
    >>> even_sizes(16, 3).tolist()
    [6, 5, 5]
    """
    whole("n_leaves", n_leaves, 1, MAX_LEAVES)
    whole("steps", steps, 1, n_leaves)
    return np.diff(np.arange(0, steps + 1) * n_leaves // steps)[::-1].copy()


def block_sizes(name: str, value: Any, n_leaves: int) -> Array:
    """Block sizes that reveal every leaf once."""
    found = integers(name, value, 1, n_leaves, ndim=1)
    if found.sum() != n_leaves:
        raise InvalidParameter(
            f"{name} sum to {found.sum()}; a schedule reveals each of the {n_leaves} leaves once"
        )
    return found


@checked(order=unchecked, n=partial(whole, low=0, high=10**8))
def order_ranks(grammar: Grammar, order: OrderName | ArrayLike, n: int, seed: Seed) -> Array | None:
    """When every leaf is revealed, for n strings; None if the order depends on the string.

    Parameters
    ----------
    grammar : Grammar
    order : str, or int array [leaves] or [n, leaves]
        One of :data:`ORDERS`, or leaves in the order in which they are revealed.
    n : int
        Number of strings.
    seed : Seed
        Of random orders, one for each string.

    Returns
    -------
    int array [n, leaves] or None

    Raises
    ------
    InvalidParameter
        For an unknown name, or an array whose rows are no permutations of the leaves.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> order_ranks(grammar, [3, 0, 1, 2], 1, 0).tolist()
    [[1, 2, 3, 0]]
    """
    leaves = grammar.n_leaves
    if isinstance(order, str):
        if order not in ORDERS:
            raise InvalidParameter(
                f"order = {order!r} is unknown; use one of {', '.join(map(repr, ORDERS))}, or a "
                "permutation of the leaves"
            )
        if order in ("confident", "unsure", "kept"):
            return None
        if order == "random":
            return generator(seed).random((n, leaves)).argsort(axis=1).argsort(axis=1)
        found = spread_order(grammar) if order == "spread" else np.arange(leaves)
    else:
        found = integers("order", order, 0, leaves - 1, ndim=(1, 2))
        if (
            found.shape not in ((leaves,), (n, leaves))
            or (np.sort(found, axis=-1) != np.arange(leaves)).any()
        ):
            raise InvalidParameter(
                f"order = {shown(order)} is no permutation of the {leaves} leaves; name each once"
            )
    return np.broadcast_to(found, (n, leaves)).argsort(axis=1)


# ---------------------------------------------------------------------------- a walk through blocks


def least_log_prob(grammar: Grammar) -> float:
    """A bound below log p of every derivation and, for a scale of their number, -n log v.

    No conditional of a possible symbol is less likely.
    """
    prior = grammar.root_prior
    found = float(np.log(prior[prior > 0].min()))
    for level, weights in enumerate(grammar.weights):
        found += grammar.n_nodes(level) * float(np.log(weights[weights > 0].min()))
    return min(found, -grammar.n_leaves * float(np.log(grammar.leaf_vocabulary)))


def exact_conditionals(grammar: Grammar) -> Beliefs:
    """Conditionals of all leaves given those that are not -1.

    Several leaves at once can leave the language.  To go on, revealed symbols are then taken for
    wrong at a rate so small that no possible state feels it: beliefs become those of the strings
    that agree with most of the leaves.
    """
    v = grammar.leaf_vocabulary
    wrong = 2 * least_log_prob(grammar) - 100

    def beliefs(states: Array) -> Array:
        evidence = SymbolEvidence(states, 0.0, wrong, v)
        return posterior(grammar, evidence, levels=(grammar.L,)).marginals[grammar.L]

    return beliefs


def conditionals_of(grammar: Grammar, model: DiffusionModel | None) -> Beliefs:
    """Conditionals of a model, flat where it has none; exact ones by default."""
    if model is None:
        return exact_conditionals(grammar)
    noise = getattr(model, "noise", None)
    if noise is None or not masks(noise):
        raise InvalidParameter(
            f"model {type(model).__name__} has {getattr(noise, 'name', 'no')} noise and no "
            "conditionals given revealed leaves; give a model of masking noise"
        )
    v = grammar.leaf_vocabulary
    if noise.v != v:
        raise InvalidParameter(f"the model has v = {noise.v} symbols and the grammar {v}")

    def beliefs(states: Array) -> Array:
        level = (states < 0).mean(axis=1)
        try:
            found = np.asarray(model.denoise(states, level), float)
        except ImpossibleEvidence:
            if len(states) == 1:
                return np.full((*states.shape, v), 1 / v)
            half = len(states) // 2
            return np.concatenate([beliefs(states[:half]), beliefs(states[half:])])
        if found.shape != (*states.shape, v):
            raise InvalidParameter(
                f"model {type(model).__name__} returned beliefs of shape {found.shape}; wanted "
                f"{(*states.shape, v)}"
            )
        return found

    return beliefs


def choose_block(p: Array, draws: Array, seen: Array, size: int, order: str) -> Array:
    """The hidden leaves that *confident*, *unsure* or *kept* reveal next.

    Parameters
    ----------
    p : array [n, leaves, v]
        Beliefs.
    draws : int array [n, leaves]
        Symbols that were drawn; only *kept* reads them.
    seen : bool array [n, leaves]
        Leaves that are revealed already.
    size : int
        Number of leaves to reveal.
    order : {"confident", "unsure", "kept"}
        By the smallest entropy of the belief, by the largest one, or by the largest probability of
        the draw.

    Returns
    -------
    bool array [n, leaves]

    Notes
    -----
    Validity: ties, to nine digits, go to the first leaf.

    Examples
    --------
    >>> p = np.array([[[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]])
    >>> seen = np.zeros((1, 3), bool)
    >>> choose_block(p, np.array([[0, 1, 1]]), seen, 1, "confident").tolist()
    [[False, True, False]]
    >>> choose_block(p, np.array([[0, 1, 1]]), seen, 1, "unsure").tolist()
    [[True, False, False]]
    >>> choose_block(p, np.array([[0, 1, 1]]), seen, 1, "kept").tolist()
    [[False, False, True]]
    """
    if order in ("confident", "unsure"):
        score = entr(p).sum(axis=2) * (1 if order == "confident" else -1)
    else:
        score = -np.take_along_axis(p, draws[..., None], axis=2)[..., 0]
    score = np.where(seen, np.inf, score.round(_TIE))
    first = score.argsort(axis=1, kind="stable")[:, :size]
    block = np.zeros(seen.shape, bool)
    np.put_along_axis(block, first, True, axis=1)
    return block


def walk(
    beliefs: Beliefs, x: Array, ranks: Array | None, order: Any, sizes: Array
) -> Iterator[tuple[Array, Array, Array]]:
    """Leaves revealed before, the block and the beliefs, for each step on the way to x."""
    seen, start = np.zeros(x.shape, bool), 0
    for size in sizes:
        p = beliefs(np.where(seen, x, -1))
        if ranks is None:
            block = choose_block(p, x, seen, int(size), order)
        else:
            block = (ranks >= start) & (ranks < start + size)
        yield seen.copy(), block, p
        seen |= block
        start += int(size)


def _rejected(p: Array, x: Array, seen: Array, block: Array, floor: float) -> Array:
    """Minus the log-probability that no other draw ranks above the block, eq. (2), [n]."""
    scores = p.round(_TIE)
    own = np.take_along_axis(scores, x[..., None], axis=2)[..., 0]
    lowest = np.where(block, own, np.inf).min(axis=1, keepdims=True)
    # among equals the first leaves were kept, so the last leaf of these is the one to beat
    place = np.arange(x.shape[1])
    last = np.where(block & (own == lowest), place, -1).max(axis=1, keepdims=True)
    below = scores < lowest[..., None]
    below |= (scores == lowest[..., None]) & (place > last)[..., None]
    chance = (p * below).sum(axis=2)
    left = np.where(seen | block, 1.0, chance)
    return np.asarray(-np.log(np.maximum(left, floor)).sum(axis=1))


# ------------------------------------------------------------------------ the terms of eqs. 1 to 3


@dataclass(frozen=True, eq=False)
class UnmaskingTerms:
    """The terms of eqs. (1) to (3), by datum and step.

    Attributes
    ----------
    marginal : array [n, steps]
        Sum of the exact entropies of the leaves of the block, given what is revealed.
    chain : array [n, steps]
        The same with the leaves of the block revealed one after the other, whose mean is the joint
        entropy H(x_B | revealed).
    cross : array [n, steps]
        As ``marginal``, by the model: cross entropies of its beliefs.
    surprise : array [n, steps]
        -log q of the true symbols of the block, whose mean is that of ``cross``.
    log_prob : array [n]
        log p(x) of the data.
    floored : float
        Share of true symbols to which the model gave less than :data:`FLOOR`.

    Notes
    -----
    Of the order *kept* ``surprise`` is minus the logarithm of eq. (2), which does not divide into
    price and error: ``cross`` and ``marginal`` are the same numbers.
    """

    marginal: Array
    chain: Array
    cross: Array
    surprise: Array
    log_prob: Array
    floored: float

    @property
    def divergence(self) -> Estimate:
        """KL(p || q) in nats, eq. (3)."""
        return Estimate.of(self.divergences)

    @property
    def divergences(self) -> Array:
        """Values of single data, [n], whose mean is the divergence."""
        return self._less(self.cross.sum(axis=1))

    @property
    def price(self) -> Estimate:
        """The part that exact conditionals pay on the same way, eq. (1)."""
        return Estimate.of(self.prices)

    @property
    def prices(self) -> Array:
        """Values of single data, [n], whose mean is the price."""
        return self._less(self.marginal.sum(axis=1))

    @property
    def learning(self) -> Estimate:
        """The part of the model, the second one of eq. (3)."""
        return Estimate.of((self.cross - self.marginal).sum(axis=1))

    @property
    def step_prices(self) -> tuple[Array, Array]:
        """Conditional total correlation of every step, with standard errors, [steps]."""
        gap = self.marginal - self.chain
        return gap.mean(axis=0), gap.std(axis=0, ddof=1) / np.sqrt(len(gap))

    @property
    def log_ratio(self) -> Array:
        """Of every datum log p(x) - log q(x), [n]; its mean is the divergence too."""
        return np.asarray(self.surprise.sum(axis=1) + self.log_prob)

    def _less(self, values: Array) -> Array:
        """Values [n] whose mean is that of ``values`` less H(x)."""
        return controlled(values + self.log_prob, self.chain.sum(axis=1) + self.log_prob)


def controlled(values: Array, rule: Array) -> Array:
    """Values of the same mean and less scatter, by a control variate of mean zero.

    Parameters
    ----------
    values, rule : array [n]
        ``rule`` is a sum rule: its mean is zero, and what a datum adds to it explains most of the
        scatter of a sum of entropies.

    Returns
    -------
    array [n]

    Notes
    -----
    Validity: the coefficient is fitted, which biases the mean by an order 1/n.

    Examples
    --------
    >>> controlled(np.array([2.0, 4.0, 3.0]), np.array([-1.0, 1.0, 0.0])).tolist()
    [3.0, 3.0, 3.0]
    """
    centred = rule - rule.mean()
    spread = float(centred @ centred)
    # a rule that holds datum by datum scatters by rounding alone, and explains nothing
    share = float(centred @ values) / spread if spread > 1e-16 * len(rule) else 0.0
    return np.asarray(values - share * rule)


@checked(order=unchecked, sizes=unchecked, leaves=unchecked)
def unmasking_terms(
    grammar: Grammar,
    leaves: ArrayLike,
    order: OrderName | ArrayLike,
    sizes: ArrayLike,
    *,
    model: DiffusionModel | None = None,
    seed: Seed = 0,
) -> UnmaskingTerms:
    """What every step of a sampler costs, on data of the grammar.

    Parameters
    ----------
    grammar : Grammar
    leaves : int array [n, leaves]
        Independent strings of the grammar.
    order : str, or int array [leaves] or [n, leaves]
        As in :func:`order_ranks`.
    sizes : int array [steps]
        Block sizes, which sum to the number of leaves.
    model : DiffusionModel, optional
        Of masking noise; default exact inference.
    seed : Seed
        Of random orders.

    Returns
    -------
    UnmaskingTerms

    Raises
    ------
    InvalidParameter
        For orders that are no permutations, sizes with another sum, strings outside of the
        language, or a model without conditionals.

    Notes
    -----
    Validity: exact conditionals for any grammar; means over data have Monte Carlo errors.  The
    total of ``chain`` is H(x) on average, not datum by datum.  The noise level that a model is
    given is the share of hidden leaves.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=8, m=3, s=2, L=4).draw(seed=0)
    >>> data = grammar.sample(200, seed=1).leaves
    >>> for order in ("left to right", "random", "spread"):
    ...     found = unmasking_terms(grammar, data, order, even_sizes(16, 4)).divergence
    ...     print(f"{order}: {found.value:.2f} ± {found.error:.2f} nats")
    left to right: 11.21 ± 0.05 nats
    random: 2.38 ± 0.09 nats
    spread: 0.62 ± 0.04 nats
    """
    x = integers("leaves", leaves, 0, grammar.leaf_vocabulary - 1, shape=(None, grammar.n_leaves))
    if not len(x):
        raise InvalidParameter("leaves holds no string; give one or more")
    blocks = block_sizes("sizes", sizes, grammar.n_leaves)
    ranks = order_ranks(grammar, order, len(x), seed)
    own, exact = conditionals_of(grammar, model), exact_conditionals(grammar)
    bad = ~grammar.is_valid(x)
    if bad.any():
        raise InvalidParameter(
            f"string {int(bad.argmax())} of leaves is not in the language; the divergence is a "
            "mean over strings of the grammar"
        )
    parts, low = [], 0
    step = max(1, _STATES // (x.shape[1] * grammar.leaf_vocabulary))
    for a in range(0, len(x), step):
        rows = slice(a, a + step)
        way = None if ranks is None else ranks[rows]
        part, lower = _terms(grammar, x[rows], way, order, blocks, own, exact, model is None)
        parts.append(part)
        low += lower
    marginal, chain, cross, surprise = np.concatenate(parts, axis=1)
    return UnmaskingTerms(marginal, chain, cross, surprise, grammar.log_prob(x), low / x.size)


def _terms(
    grammar: Grammar, x: Array, ranks: Array | None, order: Any, sizes: Array, own: Beliefs,
    exact: Beliefs, same: bool,
) -> tuple[Array, int]:  # fmt: skip
    """The four terms [4, n, steps] of a part of the data, and how often the floor was needed."""
    out, low = np.zeros((4, len(x), len(sizes))), 0
    kept = isinstance(order, str) and order == "kept"
    for j, (seen, block, q) in enumerate(walk(own, x, ranks, order, sizes)):
        p = q if same else exact(np.where(seen, x, -1))
        log_q = np.log(np.where(q > 0, q, 1.0) if same else np.maximum(q, FLOOR))
        if not same:
            low += int((np.take_along_axis(q, x[..., None], axis=2)[..., 0][block] < FLOOR).sum())
        true = np.take_along_axis(log_q, x[..., None], axis=2)[..., 0]
        out[3, :, j] = -np.where(block, true, 0).sum(axis=1)
        if kept:
            # the draws select themselves: means over draws that were not kept say nothing
            out[3, :, j] += _rejected(q, x, seen, block, np.finfo(float).tiny if same else FLOOR)
            out[0, :, j] = out[2, :, j] = out[3, :, j]
            continue
        out[0, :, j] = np.where(block, entr(p).sum(axis=2), 0).sum(axis=1)
        out[2, :, j] = np.where(block, -(p * log_q).sum(axis=2), 0).sum(axis=1)
        out[1, :, j] = _chained(exact, x, seen, block, p)
    if kept:
        out[1, :, 0] = -grammar.log_prob(x)
    return out, low


def _chained(exact: Beliefs, x: Array, seen: Array, block: Array, p: Array) -> Array:
    """Entropies of the leaves of a block, each given those of the block before it, [n]."""
    place = block.cumsum(axis=1)
    total = np.zeros(len(x))
    for k in range(1, int(block[0].sum()) + 1):
        if k > 1:
            p = exact(np.where(seen | (block & (place < k)), x, -1))
        total += np.where(block & (place == k), entr(p).sum(axis=2), 0).sum(axis=1)
    return total
