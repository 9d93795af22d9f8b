r"""The autoregressive twin of a denoiser: exact laws of the next leaf, from left to right.

==============  ================================================================================
symbol          meaning
==============  ================================================================================
x_<k            the leaves before leaf k, k = 0 ... n - 1
h_k             H(x_k | x_<k), the loss of an optimal autoregressive model at leaf k
h_k(c)          H(x_k | x_{k-c} ... x_{k-1}), with c leaves of context (all there are, if k < c)
q_c             law of strings written with c leaves of context, a (c + 1)-gram model that knows
                where it is
z_l             all latents of level l, z_0 the class
==============  ================================================================================

.. math:: \sum_k h_k = H(x), \qquad
   KL(p \| q_c) = \sum_k h_k(c) - H(x),                                                  \tag{1}

by the chain rule: a left-to-right model is a sampler that unmasks one leaf at a time
(:mod:`hierdiff.theory.rhm.parallel_unmasking`), and what it loses is what its context does not
hold.  For a uniform unambiguous grammar H(x) is the logarithm of the number of data,
log v + R log m for R rules per datum.  Each rule is opened by the first leaf below it, so a model
that had to decide every rule at first sight would have

.. math:: h_k = \delta_{k0} \log v + r_k \log m,                                             \tag{2}

r_k being the number of inner nodes that begin with leaf k.  The true h_k is flatter: a rule is
decided by all the leaves below it.

A masked model is trained by the variational bound

.. math:: \log q(x) \ge E_\sigma \sum_k \log q(x_{\sigma(k)} \mid x_{\sigma(<k)})
   = \int_0^1 \frac{dt}{t}\, E \sum_{i\ \text{masked}} \log q(x_i \mid x_t),                \tag{3}

which is an equality, order by order, if the conditionals are exact.

References: Cagnetta and Wyart, arXiv 2406.00048 (context); Chen, Cong and Li, arXiv 2511.04647.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from hierdiff.checks import checked, integers, listed, memory, natural, reals, unchecked, whole
from hierdiff.contracts import DiffusionModel
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import MaskingNoise, draw_symbols
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.information import Estimate
from hierdiff.theory.rhm.parallel_unmasking import (
    OrderName,
    controlled,
    exact_conditionals,
    order_ranks,
    unmasking_terms,
)

__all__ = [
    "ContextEntropies",
    "TokenEntropies",
    "context_entropies",
    "context_strings",
    "half_read",
    "masked_bound",
    "next_token_entropies",
    "opened_rules",
    "reading_entropies",
]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class TokenEntropies:
    """h_k with what follows from it.

    Attributes
    ----------
    by_datum : array [n, leaves]
        Entropies of the next leaf of single data, whose mean is h_k.
    log_prob : array [n]
        log p(x) of the data.
    """

    by_datum: Array
    log_prob: Array

    @property
    def mean(self) -> Array:
        """h_k in nats, [leaves]."""
        return np.asarray(self.by_datum.mean(axis=0))

    @property
    def error(self) -> Array:
        """Its standard error."""
        return np.asarray(self.by_datum.std(axis=0, ddof=1) / np.sqrt(len(self.by_datum)))

    @property
    def total(self) -> Estimate:
        """The sum of h_k, which is the entropy of the string."""
        return Estimate.of(self.by_datum.sum(axis=1))


@checked(n=whole)
def next_token_entropies(grammar: Grammar, n: int, seed: Seed) -> TokenEntropies:
    """The entropies h_k of every leaf given those before it.

    Parameters
    ----------
    grammar : Grammar
    n : int
        Data, two or more.
    seed : Seed
        Source of randomness.

    Returns
    -------
    TokenEntropies

    Raises
    ------
    InvalidParameter
        For fewer than two data.

    Notes
    -----
    Validity: exact conditionals for any grammar; the error is that of data.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> rhm = RHM(v=8, m=3, s=2, L=4)
    >>> found = next_token_entropies(rhm.draw(seed=0), 400, seed=1)
    >>> found.mean[:4].round(2).tolist()
    [2.03, 0.96, 1.55, 0.66]
    >>> print(f"{found.total.value:.2f} ± {found.total.error:.2f}; {rhm.log_n_data:.2f}")
    18.53 ± 0.07; 18.56
    """
    whole("n", n, 2)
    x = grammar.sample(n, generator(seed)).leaves
    exact = exact_conditionals(grammar)
    place = np.arange(x.shape[1])
    found = [entr(exact(np.where(place < k, x, -1))[:, k]).sum(axis=1) for k in place]
    return TokenEntropies(np.stack(found, axis=1), grammar.log_prob(x))


@checked
def opened_rules(grammar: Grammar) -> Array:
    """Number of rules that begin with every leaf, r_k of eq. (2).

    Parameters
    ----------
    grammar : Grammar

    Returns
    -------
    int array [leaves]

    Notes
    -----
    Validity: any branching.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> opened_rules(RHM(v=4, m=2, s=2, L=3).draw(seed=0)).tolist()
    [3, 0, 1, 0, 2, 0, 1, 0]
    """
    found, below = np.zeros(grammar.n_leaves, np.int64), 1
    for s in reversed(grammar.s):
        below *= s
        found[::below] += 1
    return found


# -------------------------------------------------------------------------------- finite context


def _contexts(name: str, value: Any, leaves: int) -> tuple[int, ...]:
    found: tuple[int, ...] = listed(name, value, natural, rising=True)
    if found[-1] >= leaves:
        raise InvalidParameter(
            f"{name} = {found[-1]} leaves of context; a leaf has {leaves - 1} before it at most"
        )
    return found


@dataclass(frozen=True, eq=False)
class ContextEntropies:
    """h_k(c) by datum.

    Attributes
    ----------
    contexts : tuple of int
        c, rising.
    by_datum : array [n, leaves, contexts]
        Entropies of the next leaf of single data, whose mean is h_k(c).
    log_prob : array [n]
        log p(x) of the data.
    """

    contexts: tuple[int, ...]
    by_datum: Array
    log_prob: Array

    @property
    def mean(self) -> Array:
        """h_k(c) in nats, [leaves, contexts]."""
        return np.asarray(self.by_datum.mean(axis=0))

    @property
    def error(self) -> Array:
        """Its standard error."""
        return np.asarray(self.by_datum.std(axis=0, ddof=1) / np.sqrt(len(self.by_datum)))

    @property
    def divergence_by_datum(self) -> Array:
        """Values of single data, [n, contexts], whose mean is KL(p || q_c), eq. (1).

        Where the largest context is the whole string, its sum rule takes out most of the scatter.
        """
        total = self.by_datum.sum(axis=1) + self.log_prob[:, None]
        if self.contexts[-1] < self.by_datum.shape[1] - 1:
            return np.asarray(total)
        return np.stack([controlled(column, total[:, -1]) for column in total.T], axis=1)

    @property
    def divergences(self) -> list[Estimate]:
        """KL(p || q_c) of every context, eq. (1)."""
        return [Estimate.of(column) for column in self.divergence_by_datum.T]


@checked(n=whole, contexts=unchecked)
def context_entropies(
    grammar: Grammar, contexts: Sequence[int], n: int, seed: Seed
) -> ContextEntropies:
    """The entropies h_k(c) of every leaf given the last c before it.

    Parameters
    ----------
    grammar : Grammar
    contexts : sequence of int
        Rising numbers of leaves, from 0 to one less than there are.
    n : int
        Data, two or more.
    seed : Seed
        Source of randomness.

    Returns
    -------
    ContextEntropies

    Raises
    ------
    InvalidParameter
        For contexts that do not fall into the string, or fewer than two data.

    Notes
    -----
    Validity: exact conditionals for any grammar, at the true place in the tree: all that is outside
    of the context is summed over.  One posterior per datum, leaf and context.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> found = context_entropies(RHM(v=8, m=3, s=2, L=3).draw(seed=0), [0, 1, 3, 7], 400, seed=1)
    >>> found.mean[7].round(2).tolist()  # of the last leaf
    [2.01, 1.11, 0.61, 0.4]
    """
    whole("n", n, 2)
    known = _contexts("contexts", contexts, grammar.n_leaves)
    x = grammar.sample(n, generator(seed)).leaves
    exact, place = exact_conditionals(grammar), np.arange(x.shape[1])
    memory(f"entropies of {n} strings", 8.0 * x.size * (len(known) + 2 * grammar.leaf_vocabulary))
    found = np.empty((n, x.shape[1], len(known)))
    for k in place:
        for j, c in enumerate(known):
            if j and known[j - 1] >= k:  # all of the leaves before it are in the context already
                found[:, k, j] = found[:, k, j - 1]
                continue
            states = np.where((place < k) & (place >= k - c), x, -1)
            found[:, k, j] = entr(exact(states)[:, k]).sum(axis=1)
    return ContextEntropies(known, found, grammar.log_prob(x))


@checked(context=whole, n=whole)
def context_strings(grammar: Grammar, context: int, n: int, seed: Seed) -> Array:
    r"""Strings written from left to right with c leaves of context.

    .. math:: q_c(x) = \prod_k p(x_k \mid x_{k-c} \dots x_{k-1})

    Parameters
    ----------
    grammar : Grammar
    context : int
        c, from 0 to one less than the number of leaves; then the strings follow the grammar.
    n : int
        Number of strings.
    seed : Seed
        Source of randomness.

    Returns
    -------
    int array [n, leaves]

    Raises
    ------
    InvalidParameter
        For a context that does not fall into the string.

    Notes
    -----
    Validity: exact; a context is never impossible, since its last leaf was drawn given the others.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=8, m=3, s=2, L=3).draw(seed=0)
    >>> for c in (1, 3, 7):
    ...     made = context_strings(grammar, c, 2000, seed=1)
    ...     print(c, [round(float(x.mean()), 2) for x in grammar.valid_per_level(made)])
    1 [0.15, 0.57, 1.0, 1.0]
    3 [0.64, 1.0, 1.0, 1.0]
    7 [1.0, 1.0, 1.0, 1.0]
    """
    _contexts("context", [context], grammar.n_leaves)
    whole("n", n, 1, 10**8)
    size = 24.0 * n * grammar.n_leaves * grammar.leaf_vocabulary
    memory(f"beliefs about {n} strings", size)
    rng, exact = generator(seed), exact_conditionals(grammar)
    x = np.full((n, grammar.n_leaves), -1)
    place = np.arange(x.shape[1])
    for k in place:
        p = exact(np.where(place >= k - context, x, -1))[:, k]
        x[:, k] = draw_symbols(p, rng.random(n))
    return x


# ------------------------------------------------------------------------------- what is decided


@checked(order=unchecked, leaves=unchecked)
def reading_entropies(
    grammar: Grammar, leaves: ArrayLike, order: OrderName | ArrayLike, seed: Seed = 0
) -> tuple[Array, ...]:
    """What is uncertain about the latents of every level after k leaves have been read.

    Parameters
    ----------
    grammar : Grammar
    leaves : int array [n, leaves]
        Strings of the grammar.
    order : str, or int array [leaves] or [n, leaves]
        In which they are read, as in
        :func:`~hierdiff.theory.rhm.parallel_unmasking.order_ranks`; not one that depends on the
        string.
    seed : Seed
        Of random orders.

    Returns
    -------
    tuple of L + 1 arrays [n, leaves + 1]
        Mean entropy of a node of the level, in nats, root first.

    Raises
    ------
    InvalidParameter
        For orders that are no permutations, or depend on the string.
    ImpossibleEvidence
        For strings outside of the language.

    Notes
    -----
    Validity: exact for any grammar; entropies of single nodes, not of all of them together.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=8, m=3, s=2, L=3).draw(seed=0)
    >>> data = grammar.sample(500, seed=1).leaves
    >>> for order in ("left to right", "spread"):
    ...     print(order, reading_entropies(grammar, data, order)[0].mean(axis=0).round(2).tolist())
    left to right [2.08, 1.96, 1.66, 1.27, 0.99, 0.81, 0.48, 0.12, 0.0]
    spread [2.08, 1.96, 1.84, 1.47, 1.03, 0.63, 0.31, 0.12, 0.0]
    """
    x = integers("leaves", leaves, 0, grammar.leaf_vocabulary - 1, shape=(None, grammar.n_leaves))
    if not len(x):
        raise InvalidParameter("leaves holds no string; give one or more")
    ranks = order_ranks(grammar, order, len(x), seed)
    if ranks is None:
        raise InvalidParameter(f"order = {order!r} depends on the string; give a fixed one")
    noise = MaskingNoise(grammar.leaf_vocabulary)
    memory(f"beliefs about {len(x)} strings", 32.0 * x.size * max(grammar.v))
    steps = []
    for k in range(x.shape[1] + 1):
        asked = posterior(grammar, noise.evidence(np.where(ranks < k, x, -1), 0.5))
        steps.append([entr(p).sum(axis=2).mean(axis=1) for p in asked.marginals])
    return tuple(np.stack(level, axis=1) for level in zip(*steps, strict=True))


@checked(curve=unchecked)
def half_read(curve: ArrayLike) -> float:
    """Number of leaves after which half of what can be known is known, by interpolation.

    Parameters
    ----------
    curve : array [leaves + 1]
        Mean entropies after 0, 1, ... leaves.

    Returns
    -------
    float
        Where the curve has fallen half-way from its first to its last value; NaN if it does not
        fall.

    Raises
    ------
    InvalidParameter
        For NaN, or fewer than two numbers.

    Notes
    -----
    Validity: linear between leaves; the first crossing counts.

    Examples
    --------
    >>> half_read([2.0, 2.0, 1.5, 0.5, 0.0])
    2.5
    """
    h = reals("curve", curve, ndim=1, least=2)
    half = (h[0] + h[-1]) / 2
    if h[0] <= h[-1]:
        return float("nan")
    k = int((h <= half).argmax())
    return float(k - 1 + (h[k - 1] - half) / (h[k - 1] - h[k]))


@checked(leaves=unchecked)
def masked_bound(
    grammar: Grammar, leaves: ArrayLike, model: DiffusionModel | None = None, *, seed: Seed = 0
) -> Array:
    r"""The variational bound of a masked model on the log-probability of strings.

    .. math:: \mathcal B(x) = \sum_k \log q(x_{\sigma(k)} \mid x_{\sigma(<k)}),
       \qquad \log q(x) \ge E_\sigma \mathcal B(x)

    Parameters
    ----------
    grammar : Grammar
    leaves : int array [n, leaves]
        Strings of the grammar.
    model : DiffusionModel, optional
        Of masking noise; default exact inference.
    seed : Seed
        Of the orders, one for each string.

    Returns
    -------
    array [n]
        In nats; of exact inference it is log p(x), whatever the orders.

    Raises
    ------
    InvalidParameter
        As :func:`~hierdiff.theory.rhm.parallel_unmasking.unmasking_terms`.

    Notes
    -----
    Validity: unbiased, with one order per string.  The mean of log p(x) less the bound is the
    divergence of the pair of string and order, one leaf at a time.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> data = grammar.sample(50, seed=1).leaves
    >>> bool(np.allclose(masked_bound(grammar, data), grammar.log_prob(data)))
    True
    """
    sizes = np.ones(grammar.n_leaves, int)
    terms = unmasking_terms(grammar, leaves, "random", sizes, model=model, seed=seed)
    return np.asarray(-terms.surprise.sum(axis=1))
