r"""Which leaves change together: the two-state chain of the epsilon-process.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
sigma_i        +1 if leaf i of the new datum is that of the old one, -1 if it has changed
p, q, P, N     upward and downward belief in the true symbol; P = p^s; N = v^s - 1
k, f           (m - 1) / N and (m v - 1) / N
lambda         second eigenvalue of the step from a parent to one of its children
d              distance of two leaves: height of their lowest common ancestor, 0 for one leaf
chi            susceptibility, sum_ij C_ij / sum_i C_ii
=============  ==============================================================================

The averaged rules know two states of a node, "true" and "changed".  A true parent writes the true
tuple with weight 1 and any other with weight k; a changed parent writes any tuple but the true one
with weight m/N.  On this averaged factor graph belief propagation is the annealed recursion, and
its posterior is a Markov chain down the tree:

.. math::
   \lambda(p) &= \frac{1 - p}{1 - P}\, \frac{P}{P + k (1 - P)}, \qquad
   F'(p) = s\, \lambda(p)\, \frac{F (1 - F)}{p (1 - p)}, \\
   C_{\text{siblings}} &= 4\, \frac{c\,(q - c)\, P\, (1 - p)^2}{(q P + c\,(1 - P))^2}, \qquad
   c = \frac{m - q}{N}, \\
   C(d) &= C_{\text{siblings}}(\text{level } L - d) \prod_{\text{levels below}} \lambda^2,
   \qquad \chi = 1 + \sum_{d=1}^{L} (s - 1) s^{d-1}\, \frac{C(d)}{C(0)} .

lambda does not depend on q: what is known from outside moves the weights of the two states, not how
they are passed on.  At the threshold s lambda = F'(p*), a fluctuation-dissipation relation: the
factor by which a small change of the leaves' beliefs grows per level, going up, is the number of
children times the memory per child, going down.

The chain is the epsilon-process, averaged.  Masking, uniform and Gaussian noise have a critical
fixed point of their own with a smaller growth per level: see
:mod:`hierdiff.theory.rhm.critical_exponents`.  lambda above is a memory per child, F'(p*)/s at the
threshold; there it stands for the growth per level itself.

For these processes chi is computed from populations of messages, :func:`population_susceptibility`.
With S = sum_i sigma_i, two observations x and x' of one datum under the same rules, and moments
given an observation from the posterior:

.. math::
   \sum_{ij} C_{ij} = E\,\mathrm{Var}(S|x) + \tfrac12\, E\,[E(S|x) - E(S|x')]^2, \qquad
   C_{ii} = 1 - E\,[E(\sigma_i|x)\, E(\sigma_i|x')] .

All weights are computed in logarithms, since v^s may exceed every float.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from hierdiff import checks
from hierdiff.checks import array as numbers
from hierdiff.checks import checked, together
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation._kernels.simd import aligned
from hierdiff.theory.belief_propagation.passes import available_threads
from hierdiff.theory.rhm import _kernels as kernels
from hierdiff.theory.rhm import density_evolution as populations
from hierdiff.theory.rhm.mean_field import annealed_beliefs, correlation_length_exponent

__all__ = [
    "PopulationSusceptibility",
    "correlation_decay_exponent",
    "leaf_correlation",
    "population_susceptibility",
    "second_eigenvalue",
    "sibling_states",
    "susceptibility",
    "transfer_matrix",
]

FloatArray = NDArray[np.float64]


def odd_one(p: FloatArray, s: int) -> FloatArray:
    """(1 - p) / (1 - P), probability that a child is changed given that its tuple is not true."""
    return np.asarray(1 / np.sum([p**k for k in range(s)], axis=0))


def true_tuple(p: FloatArray, rhm: RHM) -> FloatArray:
    """P / (P + k (1 - P)), probability that a true parent writes the true tuple."""
    if rhm.m == 1:
        return np.ones_like(p)
    with np.errstate(divide="ignore"):
        log_P = rhm.s * np.log(p)
        log_k = math.log(rhm.m - 1) - math.log(rhm.v**rhm.s - 1)
        return np.asarray(expit(log_P - log_k - np.log(-np.expm1(log_P))))


def tuples(q: FloatArray, p: FloatArray, rhm: RHM) -> tuple[FloatArray, FloatArray]:
    """Excess (q - c) P / Z of the true tuple, and c / Z, the scale of every other; Z the total."""
    if rhm.v == 1:
        return np.ones_like(p), np.zeros_like(p)
    with np.errstate(divide="ignore"):
        # an m beyond any float is far beyond q
        rest = np.log(rhm.m - q) if rhm.m.bit_length() < 1000 else math.log(rhm.m)
        log_c = rest - math.log(rhm.v**rhm.s - 1)
        log_P = rhm.s * np.log(p)
        log_true, log_rest = np.log(q) + log_P - log_c, np.log(-np.expm1(log_P))
    other = np.exp(-np.logaddexp(log_true, log_rest))
    return expit(log_true - log_rest) - np.exp(log_P) * other, other


def belief(name: str, value: ArrayLike) -> FloatArray:
    """Beliefs in [0, 1] as floats; the rule of the arguments ``p`` and ``q`` of this module."""
    array = numbers(name, value).astype(float)
    outside = ~((array >= 0) & (array <= 1))
    if outside.any():
        raise InvalidParameter(
            f"{name} = {array[outside].flat[0]} is outside [0, 1]; give a probability"
        )
    return array


# ---------------------------------------------------------------------- the chain from leaf to leaf


@checked(p=belief)
def transfer_matrix(p: ArrayLike, rhm: RHM) -> FloatArray:
    r"""Fate of a child given that of its parent: rows true, changed of the parent.

    .. math:: P(\text{true} | \text{true}) = \frac{P + k (p - P)}{P + k (1 - P)}, \qquad
       P(\text{true} | \text{changed}) = \frac{p - P}{1 - P}

    Parameters
    ----------
    p : float or array
        Upward belief in the true symbol of each child, in [0, 1].
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    array [..., 2, 2]
        Of the shape of ``p`` in front; rows sum to one.

    Raises
    ------
    InvalidParameter
        If a belief is outside [0, 1].

    Notes
    -----
    Validity: epsilon-process, posterior of the averaged rules; exact as v grows at fixed f.

    References
    ----------
    Sclocchi, Favero, Levi, Wyart, arXiv 2410.13770.

    Examples
    --------
    >>> transfer_matrix(7 / 24, RHM(v=32, m=8, s=2, L=9)).round(10).tolist()
    [[0.946930281, 0.053069719], [0.2258064516, 0.7741935484]]
    """
    beliefs = belief("p", p)
    odd, share = odd_one(beliefs, rhm.s), true_tuple(beliefs, rhm)
    # a true parent that writes another tuple treats its child as a changed parent does
    stay = odd * (1 - share)
    return np.stack([np.stack([1 - stay, stay], -1), np.stack([1 - odd, odd], -1)], -2)


@checked(p=belief)
def second_eigenvalue(p: ArrayLike, rhm: RHM) -> FloatArray:
    r"""Memory of the chain per level: how much likelier a true parent makes a true child.

    .. math:: \lambda(p) = P(\text{true}|\text{true}) - P(\text{true}|\text{changed})
       = \frac{1 - p}{1 - P}\, \frac{P}{P + k (1 - P)}

    Parameters
    ----------
    p : float or array
        Upward belief in the true symbol of each child, in [0, 1].
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    array
        Of the shape of ``p``, in [0, 1].

    Raises
    ------
    InvalidParameter
        If a belief is outside [0, 1].

    Notes
    -----
    Validity: that of :func:`transfer_matrix`.  F'(p) = s lambda F (1 - F) / (p (1 - p)) exactly.

    Examples
    --------
    >>> rhm = RHM(v=32, m=8, s=2, L=9)
    >>> round(rhm.s * float(second_eigenvalue(7 / 24, rhm)), 10)
    1.4422476587
    """
    beliefs = belief("p", p)
    return odd_one(beliefs, rhm.s) * true_tuple(beliefs, rhm)


@checked(q=belief, p=belief)
def sibling_states(q: ArrayLike, p: ArrayLike, rhm: RHM) -> FloatArray:
    r"""Joint probability of the fates of two children of one parent.

    .. math:: (\text{true, true}) : (\text{true, changed}) : (\text{changed, changed})
       = q P + c (p^2 - P) : c\, p (1 - p) : c (1 - p)^2, \quad c = \frac{m - q}{v^s - 1}

    Parameters
    ----------
    q : float or array
        Downward belief in the true symbol of the parent, in [0, 1].
    p : float or array
        Upward belief in the true symbol of each child, in [0, 1].
    rhm : RHM
        Parameters with s > 1; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    array [..., 2, 2]
        Index 0 is true, 1 changed; sums to one.

    Raises
    ------
    InvalidParameter
        If a belief is outside [0, 1], or s = 1.

    Notes
    -----
    Validity: that of :func:`transfer_matrix`.

    References
    ----------
    Sclocchi, Favero, Levi, Wyart, arXiv 2410.13770.

    Examples
    --------
    >>> sibling_states(0.3, 0.6, RHM(v=10, m=5, s=3, L=4)).round(8).tolist()
    [[0.95603625, 0.01648641], [0.01648641, 0.01099094]]
    """
    together(q=q, p=p)
    parent, child = np.broadcast_arrays(belief("q", q), belief("p", p))
    _demand_siblings(rhm)
    _, other = tuples(parent, child, rhm)
    mixed, both = child * (1 - child) * other, (1 - child) ** 2 * other
    return np.stack([np.stack([1 - 2 * mixed - both, mixed], -1), np.stack([mixed, both], -1)], -2)


@checked(epsilon=belief)
def leaf_correlation(rhm: RHM, epsilon: ArrayLike, root_belief: float | None = None) -> FloatArray:
    r"""Covariance of the fates of two leaves against their distance in the tree.

    .. math:: C(d) = \langle \sigma_i \sigma_j \rangle - \langle \sigma_i \rangle
       \langle \sigma_j \rangle, \quad \sigma = +1 \text{ unchanged}, -1 \text{ changed}

    Parameters
    ----------
    rhm : RHM
        Parameters with s > 1.
    epsilon : float or array
        Leaf noise in [0, 1].
    root_belief : float, optional
        Belief in the true class before anything is seen (default 1 / n_classes; 1 for a given
        class).

    Returns
    -------
    array [..., L + 1]
        Of the shape of ``epsilon`` in front.  The last index is d, the height of the lowest common
        ancestor: the variance at d = 0, brothers at d = 1, pairs joined at the root at d = L.

    Raises
    ------
    InvalidParameter
        If ``epsilon`` or ``root_belief`` is outside [0, 1], or s = 1.

    Notes
    -----
    Validity: epsilon-process, one posterior draw per trajectory; exact for the averaged rules.
    Against exact sampling C(d)/C(0) lies low by up to 0.5/v, and chi by up to 5 % at v = 16.

    References
    ----------
    Sclocchi, Favero, Levi, Wyart, arXiv 2410.13770 (appendix on the mean-field correlations).

    Examples
    --------
    >>> C = leaf_correlation(RHM(v=32, m=8, s=2, L=9), 68 / 93)
    >>> (C / C[0]).round(6)[[0, 1, 2, 9]].tolist()
    [1.0, 0.627208, 0.334631, 0.002559]
    """
    _demand_siblings(rhm)
    up, down, _ = annealed_beliefs(rhm, epsilon, root_belief)
    true, other = tuples(down[..., :-1], up[..., 1:], rhm)
    doubt = 1 - up[..., 1:]
    pairs = 4 * doubt**2 * other * true
    memory = second_eigenvalue(up[..., 1:], rhm) ** 2
    paths = np.ones_like(pairs)
    for level in reversed(range(rhm.L - 1)):
        paths[..., level] = paths[..., level + 1] * memory[..., level + 1]
    changed = (doubt * other)[..., -1]
    variance = 4 * changed * (1 - changed)
    return np.concatenate([variance[..., None], (pairs * paths)[..., ::-1]], axis=-1)


@checked(epsilon=belief)
def susceptibility(rhm: RHM, epsilon: ArrayLike, root_belief: float | None = None) -> FloatArray:
    r"""Number of leaves that change together, seen from a leaf that fluctuates.

    .. math:: \chi = \frac{\sum_{ij} C_{ij}}{\sum_i C_{ii}}
       = 1 + \sum_{d=1}^{L} (s - 1) s^{d-1}\, \frac{C(d)}{C(0)}

    Parameters
    ----------
    rhm, epsilon, root_belief
        As in :func:`leaf_correlation`.

    Returns
    -------
    array
        Of the shape of ``epsilon``, between 1 and the number of leaves; 1 where nothing fluctuates
        (its limit for weak noise).

    Raises
    ------
    InvalidParameter
        As :func:`leaf_correlation`.

    Notes
    -----
    Validity: that of :func:`leaf_correlation`: the epsilon-process and its averaged rules alone.
    At the threshold it grows as s^(L (2/nu - 1)), without bound only if nu < 2, although the
    correlation length always diverges there.  nu < 2 is also where the scatter of the messages,
    which the average neglects, grows with depth, so at finite v the growth ends.  Under real noise
    nu is larger and the susceptibility saturates (:func:`critical_exponents`).

    References
    ----------
    Sclocchi, Favero, Levi, Wyart, arXiv 2410.13770.

    Examples
    --------
    >>> susceptibility(RHM(v=32, m=8, s=2, L=9), [0.6, 0.7, 68 / 93, 0.8]).round(8).tolist()
    [2.09302191, 3.78769583, 7.98016373, 2.5220357]
    """
    _demand_countable(rhm)
    covariance = leaf_correlation(rhm, epsilon, root_belief)
    partners = (rhm.s - 1) * float(rhm.s) ** np.arange(rhm.L)
    variance = covariance[..., 0]
    together = covariance[..., 1:] @ partners
    return np.asarray(1 + together / np.where(variance > 0, variance, 1.0))


@checked
def correlation_decay_exponent(rhm: RHM) -> float:
    r"""Exponent of the epsilon-process's correlations at its threshold, C ~ r^(-a), r = s^d leaves.

    .. math:: a = -\frac{2 \log \lambda(p^*)}{\log s} = 2 - \frac{2}{\nu}

    Parameters
    ----------
    rhm : RHM
        Parameters; ``L`` and ``n_classes`` do not matter.

    Returns
    -------
    float
        In (0, 2]; below 1 if and only if the susceptibility diverges.

    Raises
    ------
    NoTransition
        If there is no threshold.

    Notes
    -----
    Validity: epsilon-process, annealed recursion, L to infinity and d large; for a real noise
    process use :func:`critical_exponents`.

    References
    ----------
    Fitted as 1 in arXiv 2410.13770; the closed form is derived in ``derive_correlations.py``.

    Examples
    --------
    >>> round(correlation_decay_exponent(RHM(v=32, m=8, s=2, L=9)), 10)
    0.9433621573
    """
    return 2 - 2 / correlation_length_exponent(rhm)


def _demand_siblings(rhm: RHM) -> None:
    if rhm.s == 1:
        raise InvalidParameter("s = 1 gives a single leaf and no pairs; use s >= 2")


def _demand_countable(rhm: RHM) -> None:
    if rhm.n_leaves.bit_length() > 1000:
        raise InvalidParameter(
            f"L = {rhm.L} gives s**L leaves, more than any float holds; give an L below "
            f"{1000 / math.log2(rhm.s):.0f}"
        )


# ----------------------------------------------------------------------------- real noise processes

_AT_ONCE = kernels.LANES // 2  # noise levels: every one takes two lanes, for its observations


class PopulationSusceptibility(NamedTuple):
    """Susceptibility with its standard error from independent populations.

    Attributes
    ----------
    value, error : array
        Of the shape of the noise levels.
    """

    value: FloatArray
    error: FloatArray


@checked(t=checks.level)
def population_susceptibility(
    rhm: RHM, noise: NoiseProcess, t: ArrayLike, *, depths: Sequence[int] | None = None,
    size: int = 10_000, copies: int = 4, seed: Seed = 0,
) -> PopulationSusceptibility:  # fmt: skip
    r"""Number of leaves that change together under any noise process, by density evolution.

    A member of the population is a subtree with two observations of one datum.  It carries, for
    both, the upward message and, for every symbol of its node, mean and variance of
    :math:`S = \sum_i \sigma_i` over the posterior.  Under the rules of a parent

    .. math:: \mathrm{Var}(S | a) = \sum_{\tau \in a} w_\tau \Big[\sum_j V_j(\tau_j)
       + \Big(\sum_j M_j(\tau_j)\Big)^2\Big] - M(a)^2, \qquad
       w_\tau \propto \prod_j \nu_j(\tau_j), \quad
       M(a) = \sum_{\tau \in a} w_\tau \sum_j M_j(\tau_j)

    Parameters
    ----------
    rhm : RHM
        Parameters with s > 1; ``L`` is the depth.
    noise : NoiseProcess
        Any process on symbols.
    t : float or array [T]
        Noise levels in [0, 1].  All have the same random numbers, so that curves are smooth.
    depths : sequence of int, optional
        Depths from 1 to L whose susceptibilities are wanted together, at the cost of L alone; a
        tree of fewer than L levels has v classes.  The values have an axis for them in front.
    size : int
        Members of a population.
    copies : int
        Independent populations, whose scatter gives the errors; at least two.
    seed : Seed
        Source of randomness.

    Returns
    -------
    PopulationSusceptibility
        1 where nothing fluctuates (its limit for weak noise).

    Raises
    ------
    InvalidParameter
        As :func:`hierdiff.theory.rhm.density_evolution.population_dynamics`, if s = 1, or if a
        depth is not from 1 to L.

    Notes
    -----
    Validity: average over grammars whose rules are drawn anew at every node, size to infinity; a
    grammar shares its rules between the nodes of a level, and the difference vanishes as v grows.
    Covariances are over noise and posterior of one datum, as in
    :class:`hierdiff.sims.Correlations`.  The variance of E(S|x) - E(S|x') is taken within a
    population: the mean of a finite population fluctuates as well, by s^L / size relative to the
    sum that is sought, and that part belongs to no single tree.
    Where a fraction f of the leaves changes, the relative error is of order (copies size f)^(-1/2).

    References
    ----------
    Sclocchi, Favero, Levi, Wyart, arXiv 2410.13770 (the susceptibility); the population is ours.

    Examples
    --------
    >>> from hierdiff import MaskingNoise
    >>> rhm = RHM(v=16, m=4, s=2, L=3)
    >>> found = population_susceptibility(rhm, MaskingNoise(16), [0.0, 0.5], size=2000)
    >>> found.value.round(2).tolist()
    [1.0, 1.88]
    """
    _demand_siblings(rhm)
    _demand_countable(rhm)
    wanted = [rhm.L] if depths is None else [checks.whole("depths", d) for d in depths]
    if not wanted or not all(1 <= d <= rhm.L for d in wanted):
        raise InvalidParameter(f"depths = {depths} must be whole numbers from 1 to L = {rhm.L}")
    levels = np.asarray(t, float)
    times = checks.reals("t", np.atleast_1d(levels), ndim=1, least=1)
    populations.check_sizes(rhm, size, copies, rhm.L)
    populations.same_symbols(rhm, noise)
    threads, most = min(available_threads(), copies), max(rhm.v, rhm.n_classes)
    checks.memory(
        f"{threads} populations of {size} messages", 64.0 * threads * size * most * kernels.LANES
    )
    random = generator(seed)
    seeds = [int(random.integers(2**63)) for _ in range(copies)]
    with populations.side_by_side(threads) as each:
        found = np.array(list(each(functools.partial(_together, rhm, noise, times, size), seeds)))
    rows = found[:, np.array(wanted) - 1] if depths is not None else found[:, -1]
    if not levels.ndim:
        rows = rows[..., 0]
    value, error = rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(copies)
    return PopulationSusceptibility(np.asarray(value), np.asarray(error))


def _together(rhm: RHM, noise: NoiseProcess, times: FloatArray, size: int, seed: int) -> FloatArray:
    """The susceptibility [L, T] of one population, at all depths."""
    random = generator(seed)
    x0, first = populations.leaf_draws(noise, size, random)
    _, second = populations.leaf_draws(noise, size, random)
    drawn = [
        (populations.pairing(random, size, rhm.s), populations.random_key(random))
        for _ in range(rhm.L)
    ]
    digits = populations.tuple_symbols(rhm.v, rhm.s)
    found = np.empty((rhm.L, len(times)))
    seen = np.empty(rhm.v**rhm.s, np.int64)
    codes = np.empty(rhm.s + max(rhm.v, rhm.n_classes) * rhm.m, np.int64)
    for i in range(0, len(times), _AT_ONCE):
        now = np.resize(times[i : i + _AT_ONCE], _AT_ONCE)  # lanes without a level repeat one
        state = _state(size, rhm.v)
        for k, drawn_leaves in enumerate((first, second)):
            lanes = slice(k * _AT_ONCE, (k + 1) * _AT_ONCE)
            state[:, :, 0, lanes] = populations.leaves_at(noise, now, x0, drawn_leaves)
        state[:, :, 1::2] = -1.0
        state[:, 0, 1::2] = 1.0
        state[:, :, 2] = 0.0
        for level, (order, key) in enumerate(drawn):
            parents = rhm.v if level < rhm.L - 1 else rhm.n_classes
            out = _state(size, parents)
            seen[:] = 0
            kernels.fates(
                state.ravel(), rhm.v, order.astype(np.int32, copy=False), key, parents, rhm.m,
                digits, seen, codes, out.ravel(),
            )  # fmt: skip
            state = out
            here = found[level, i : i + _AT_ONCE]
            here[:] = _ratio(state, rhm.s ** (level + 1))[: len(here)]
    return found


def _state(size: int, symbols: int) -> FloatArray:
    """Room for members [size, symbol, 4, lane]; see the kernels."""
    flat = aligned(size * symbols * 4 * kernels.LANES, np.float64)
    return np.asarray(flat.reshape(size, symbols, 4, kernels.LANES))


def _ratio(state: FloatArray, leaves: int) -> FloatArray:
    """Covariances of all pairs over the variances, from roots with every class as likely."""
    belief, mean, variance, one = np.moveaxis(state, 2, 0)
    whole, leaf = (belief * mean).sum(axis=1), (belief * one).sum(axis=1)
    inner = (belief * (variance + mean**2)).sum(axis=1) - whole**2
    (a, b), (leaf_a, leaf_b) = np.split(whole, 2, axis=1), np.split(leaf, 2, axis=1)
    top = inner.mean(axis=0).reshape(2, -1).mean(axis=0) + (a - b).var(axis=0, ddof=1) / 2
    bottom = leaves * (1 - leaf_a * leaf_b).mean(axis=0)
    # sums of squares lose 1e-16 of leaves^2, so a fluctuation below that is none
    still = bottom <= 1e-12 * leaves
    return np.asarray(np.where(still, 1.0, top / np.where(still, 1.0, bottom)))
