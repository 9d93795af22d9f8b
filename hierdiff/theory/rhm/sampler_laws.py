r"""The law of the strings that a parallel sampler writes, remasking, and other noise processes.

==============  ================================================================================
symbol          meaning
==============  ================================================================================
q               law of the strings that a sampler with blocks writes, eq. (1) of
                :mod:`hierdiff.theory.rhm.parallel_unmasking`
R, q'           leaves that are masked and drawn again at the end, and the law after that
V               share of the strings of the sampler that are in the language
==============  ================================================================================

For a fixed order the law is known string by string, and with it what the divergence costs:

.. math:: V = \sum_{x:\,p(x) > 0} q(x) = E_p \frac{q(x)}{p(x)} \ge e^{-KL(p \| q)}     \tag{1}

by Jensen.  The law after remasking is

.. math:: q'(x) = \Big[\sum_{x'_R} q(x'_R, x_{-R})\Big] \prod_{i \in R} p(x_i \mid x_{-R}). \tag{2}

With masks that are removed at random times instead of in blocks, and with noise that replaces
symbols, a step of the reverse process draws all leaves independently as well, and the divergence of
paths is a sum of conditional total correlations (:func:`path_divergence`).

References: as in :mod:`hierdiff.theory.rhm.parallel_unmasking`.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr, logsumexp

from hierdiff.checks import checked, integers, reals, shown, unchecked, whole
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, masks, reverse_probabilities
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.information import Estimate
from hierdiff.theory.rhm.parallel_unmasking import (
    OrderName,
    block_sizes,
    exact_conditionals,
    least_log_prob,
    order_ranks,
    walk,
)

__all__ = ["path_divergence", "remasked_log_prob", "sampler_log_prob"]

Array = NDArray[Any]
_FILLINGS = 1 << 14


@checked(order=unchecked, sizes=unchecked, strings=unchecked)
def sampler_log_prob(
    grammar: Grammar, strings: ArrayLike, order: OrderName | ArrayLike, sizes: ArrayLike
) -> Array:
    """Of any strings log q(x), for a sampler with exact conditionals.

    Parameters
    ----------
    grammar : Grammar
    strings : int array [n, leaves]
        In the language or not.
    order : str, or int array [leaves] or [n, leaves]
        Fixed, or *confident* or *unsure*.
    sizes : int array [steps]

    Returns
    -------
    array [n]
        In nats; -inf where a symbol has no probability.

    Raises
    ------
    InvalidParameter
        As :func:`unmasking_terms`, and for the orders *random* and *kept*, whose strings have many
        ways.

    Notes
    -----
    Validity: exact; probabilities of all strings sum to one.  A sampler that has left the language
    goes on with the beliefs of the strings that agree with most of the revealed leaves.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> data = grammar.sample(2000, seed=1).leaves
    >>> one = sampler_log_prob(grammar, data, "spread", [1, 1, 1, 1])
    >>> bool(np.allclose(one, grammar.log_prob(data)))
    True
    >>> # the share of strings of two blocks that are in the language, E_p[q / p]
    >>> two = sampler_log_prob(grammar, data, "spread", [2, 2])
    >>> round(float(np.exp(two - grammar.log_prob(data)).mean()), 2)
    0.86
    """
    x = integers("strings", strings, 0, grammar.leaf_vocabulary - 1, shape=(None, grammar.n_leaves))
    blocks = block_sizes("sizes", sizes, grammar.n_leaves)
    if isinstance(order, str) and order in ("random", "kept"):
        raise InvalidParameter(
            f"order = {order!r} leads to a string in many ways; give a fixed order, 'confident' or "
            "'unsure'"
        )
    ranks, exact = order_ranks(grammar, order, len(x), 0), exact_conditionals(grammar)
    least, out = least_log_prob(grammar), np.zeros(len(x))
    for _, block, p in walk(exact, x, ranks, order, blocks) if len(x) else ():
        true = np.take_along_axis(p, x[..., None], axis=2)[..., 0]
        with np.errstate(divide="ignore"):
            log = np.log(true)
        # what exact conditionals exclude has the rate of wrong symbols, see exact_conditionals;
        # a product of possible symbols may be smaller than that, so each is judged by itself
        log = np.where(log < least - 50, -np.inf, log)
        out += np.where(block, log, 0).sum(axis=1)
    return out


@checked(order=unchecked, sizes=unchecked, strings=unchecked, again=unchecked)
def remasked_log_prob(
    grammar: Grammar, strings: ArrayLike, order: OrderName | ArrayLike, sizes: ArrayLike,
    again: ArrayLike,
) -> Array:  # fmt: skip
    r"""The law q'(x) after a set R of leaves is masked again and drawn again, all at once.

    .. math:: q'(x) = \Big[\sum_{x'_R} q(x'_R, x_{-R})\Big] \prod_{i \in R} p(x_i \mid x_{-R})

    Parameters
    ----------
    grammar, strings, order, sizes
        As in :func:`sampler_log_prob`.
    again : int array [r]
        The leaves R.

    Returns
    -------
    array [n]

    Raises
    ------
    InvalidParameter
        As :func:`sampler_log_prob`; for leaves that do not exist or repeat; if R has more than
        16,384 fillings.

    Notes
    -----
    Validity: exact; v^r walks per string.  Data processing bounds what is gained if R is one leaf,
    since p is then left as it is; several leaves at once pay their own conditional total
    correlation.  To remask leaves of the last block divides this block in two.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> data = grammar.sample(1000, seed=1).leaves
    >>> gap = grammar.log_prob(data) - remasked_log_prob(grammar, data, "spread", [2, 2], [0])
    >>> before = grammar.log_prob(data) - sampler_log_prob(grammar, data, "spread", [2, 2])
    >>> round(float(before.mean()), 2), round(float(gap.mean()), 2)
    (0.23, 0.2)
    """
    x = integers("strings", strings, 0, grammar.leaf_vocabulary - 1, shape=(None, grammar.n_leaves))
    places = integers("again", again, 0, grammar.n_leaves - 1, ndim=1)
    v = grammar.leaf_vocabulary
    if len(np.unique(places)) != len(places):
        raise InvalidParameter(f"again = {shown(again)} names a leaf twice; name each once")
    if len(places) * np.log(v) > np.log(_FILLINGS):
        raise InvalidParameter(
            f"{len(places)} leaves have {v}^{len(places)} fillings, more than {_FILLINGS}; mask "
            "fewer leaves again"
        )
    ways = []
    for filling in itertools.product(range(v), repeat=len(places)):
        other = x.copy()
        other[:, places] = filling
        ways.append(sampler_log_prob(grammar, other, order, sizes))
    rest = logsumexp(np.array(ways), axis=0)
    hidden = x.copy()
    hidden[:, places] = -1
    p = np.take_along_axis(exact_conditionals(grammar)(hidden), x[..., None], axis=2)[..., 0]
    with np.errstate(divide="ignore"):
        log = np.log(p[:, places])
    log = np.where(log < least_log_prob(grammar) - 50, -np.inf, log)  # as in sampler_log_prob
    return np.asarray(rest + log.sum(axis=1))


# ---------------------------------------------------------------------------- other noise processes


@checked(times=unchecked, n=whole)
def path_divergence(
    grammar: Grammar, noise: NoiseProcess, times: ArrayLike, n: int, seed: Seed
) -> Estimate:
    r"""Divergence of the reverse path of T factorised steps, for masking and uniform noise.

    .. math:: KL = \sum_j E \sum_i H(x_{s,i} \mid x_t) - H(x_0)
       - n \sum_j h(s \to t) + n h(0 \to 1)

    over steps from t = t_j to s = t_{j+1}; h(s -> t) is the entropy of a symbol at t given the same
    symbol at s.  For masking the choice of revealed leaves is the same on both sides, and

    .. math:: KL = \sum_j \frac{t - s}{t}\, E \sum_i H(x_i \mid x_t) - H(x_0).

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Masking or uniform.
    times : array [steps + 1]
        Noise levels, falling from 1 to 0.
    n : int
        Data, two or more.
    seed : Seed
        Source of randomness.

    Returns
    -------
    Estimate
        In nats.

    Raises
    ------
    InvalidParameter
        For other processes, or levels that do not fall from 1 to 0.

    Notes
    -----
    Validity: exact conditionals for any grammar.  It is the divergence of paths, which bounds that
    of strings.  For masking it is eq. (2) with block sizes drawn at random.

    References
    ----------
    Austin et al., arXiv 2107.03006, for the steps.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise, UniformNoise
    >>> grammar, times = RHM(v=8, m=3, s=2, L=3).draw(seed=0), np.linspace(1, 0, 9)
    >>> for noise in (MaskingNoise(8), UniformNoise(8)):
    ...     found = path_divergence(grammar, noise, times, 1000, seed=1)
    ...     print(f"{noise.name}: {found.value:.2f} ± {found.error:.2f}")
    masking: 0.79 ± 0.07
    uniform: 1.26 ± 0.10
    """
    levels = reals("times", times, 0, 1, ndim=1, least=2)
    if levels[0] != 1 or levels[-1] != 0 or (np.diff(levels) >= 0).any():
        raise InvalidParameter(f"times = {shown(times)} must fall from 1 to 0")
    whole("n", n, 2)
    if noise.v != grammar.leaf_vocabulary or not hasattr(noise, "keep"):
        raise InvalidParameter(
            f"noise = {shown(noise)} has no factorised steps in closed form for this grammar; give "
            f"masking or uniform noise with v = {grammar.leaf_vocabulary}"
        )
    rng = generator(seed)
    x = grammar.sample(n, rng).leaves
    v, leaves = grammar.leaf_vocabulary, grammar.n_leaves
    found = grammar.log_prob(x).astype(float)
    for t, s in itertools.pairwise(levels):
        x_t = noise.corrupt(x, float(t), rng)
        evidence = noise.evidence(x_t, float(t))
        p = posterior(grammar, evidence, levels=(grammar.L,)).marginals[grammar.L]
        if masks(noise):
            found += (t - s) / t * entr(p).sum(axis=(1, 2))
            continue
        kept = (1 - t) / (1 - s)
        law = reverse_probabilities(x_t, p, _channel(v, 1 - s), _channel(v, kept))
        law = law / law.sum(axis=2, keepdims=True)
        found += entr(law).sum(axis=(1, 2)) - leaves * entr(_channel(v, kept)[0]).sum()
    if not masks(noise):
        found += leaves * np.log(v)
    return Estimate.of(found)


def _channel(v: int, kept: float) -> Array:
    """Uniform noise that keeps a symbol with probability ``kept``, else redraws it."""
    return np.asarray(kept * np.eye(v) + (1 - kept) / v)
