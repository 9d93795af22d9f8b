r"""How many data a hierarchy costs to learn, level by level.

=============  ==============================================================================
symbol         meaning
=============  ==============================================================================
l              height of a lowest common ancestor above the leaves
P              number of data
N              values of each of two coordinates of a label
=============  ==============================================================================

Correlations of symbols fall with the height of their common ancestor
(:mod:`hierdiff.theory.rhm.token_correlations`); data resolve them when the signal exceeds the noise
of sampling, and then synonyms can be clustered by their context:

.. math:: E\, C^2_{\text{token,token}} \simeq \frac{1 - m/v^{s-1}}{v^3\, m^{2l-1}}, \qquad
   P_l = v\, m^{l+1} .

Who has found the symbols of the lower heights can read *them* around a tuple, in the place of
tokens, and pays the same at every height (:func:`own_symbol_cost`).  Once all symbols are found,
the weights of the rules are left to learn, and the divergence falls as their number over 2 P
(:func:`weights_divergence`).

Labels with two factors cost P ~ N if the learner adds what it has seen of each factor, and P ~ N^2
if it must see them together.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from hierdiff.checks import checked, count, number, reals, sound, whole
from hierdiff.data.rhm import RHM
from hierdiff.errors import InvalidParameter
from hierdiff.theory.rhm.token_correlations import concentration, context_signal, covariance

__all__ = [
    "KERNELS",
    "Kernel",
    "classification_cost",
    "clustering_cost",
    "coincidence_cost",
    "kernel_accuracy",
    "kernel_cost",
    "local_exponent",
    "next_token_cost",
    "own_symbol_cost",
    "resolved_samples",
    "weights_divergence",
]


def _height(rhm: RHM, l: int, least: int = 1) -> int:
    try:
        return int(whole("l", l, least, rhm.L))
    except InvalidParameter:
        words = " ".join(repr(l).split())[:60]
        raise InvalidParameter(f"l = {words} is no height; give {least} to L = {rhm.L}") from None


def _power(rhm: RHM, exponent: int) -> int:
    """The number m to a power, where it is a float."""
    m: int = rhm.m
    if exponent * math.log2(max(m, 2)) > 960:  # times v and more must stay below 2^1024
        raise InvalidParameter(
            f"m = {m} to the power {exponent} is beyond float64; choose fewer levels"
        )
    power: int = m**exponent
    return power


@checked
def clustering_cost(rhm: RHM, l: int) -> float:
    r"""Data that resolve tuple-token correlations across an ancestor of height l.

    .. math:: P_l = v\, m^{l+1}

    By then synonyms of height l - 1, tuples with the same symbol above them, can be clustered by
    their correlation with one token outside, and a diffusion model can learn the rules of level l.
    The tuple is one of symbols of height l - 2, known by then: one step from the ancestor to the
    symbol above it, l steps to the token.

    Parameters
    ----------
    rhm : RHM
    l : int
        Height of the lowest common ancestor, 1 to L.

    Returns
    -------
    float
        Number of data P.

    Raises
    ------
    InvalidParameter
        If l is no such height.

    Notes
    -----
    Validity: a scaling law for m << v^(s-1); the prefactor is that of signal equal to noise in one
    entry of the table of tuples and tokens, without finite-size factors (see
    :func:`coincidence_cost`).

    References
    ----------
    Favero, Sclocchi, Cagnetta, Frossard, Wyart, arXiv 2502.12089.

    Examples
    --------
    >>> [clustering_cost(RHM(v=16, m=4, s=2, L=3), l) for l in (2, 3)]
    [1024.0, 4096.0]
    """
    return float(rhm.v * _power(rhm, _height(rhm, l) + 1))


@checked
def next_token_cost(rhm: RHM, l: int) -> float:
    r"""Data that resolve correlations of a tuple of tokens with a token, ancestor at height l.

    .. math:: P_l = \frac{v\, m^{2l-1}}{1 - m / v^{s-1}}

    Parameters
    ----------
    rhm : RHM
    l : int
        Height of the lowest common ancestor, 1 to L.

    Returns
    -------
    float
        Number of data P; infinite if all tuples are rules.

    Raises
    ------
    InvalidParameter
        If l is no such height.

    Notes
    -----
    Validity: large v and m; for learners that see tokens only.  Who knows the symbols of lower
    levels needs :func:`clustering_cost`.

    References
    ----------
    Cagnetta and Wyart, arXiv 2406.00048.

    Examples
    --------
    >>> [round(next_token_cost(RHM(v=16, m=4, s=2, L=3), l), 1) for l in (2, 3)]
    [1365.3, 21845.3]
    """
    power = _power(rhm, 2 * _height(rhm, l) - 1)
    sparse = 1 - rhm.m / rhm.v ** (rhm.s - 1)
    return math.inf if sparse <= 0 else rhm.v * power / sparse


@checked
def classification_cost(rhm: RHM) -> float:
    r"""Labelled data from which a deep network learns the classes.

    .. math:: P = n_c\, m^L

    Parameters
    ----------
    rhm : RHM

    Returns
    -------
    float
        Number of data P.

    Raises
    ------
    InvalidParameter
        If there are so many levels that P is beyond float64.

    Notes
    -----
    Validity: a scaling law for deep networks, m << v^(s-1).

    References
    ----------
    Cagnetta et al., arXiv 2307.02129.

    Examples
    --------
    >>> classification_cost(RHM(v=32, m=8, s=2, L=10))
    34359738368.0
    """
    return float(rhm.n_classes * _power(rhm, rhm.L))


@checked(separation=partial(number, above=0))
def coincidence_cost(rhm: RHM, l: int, separation: float = 1.0) -> float:
    r"""Data at which two synonyms are distinguished from two unrelated tuples by their contexts.

    .. math:: P_l = v m\, n, \qquad n = d\, \frac{\sqrt{q/v + S}}{S}, \qquad
       q = v \sum_b p_b^2

    Of n contexts of each of two tuples, n^2 pairs may coincide; each does with probability q/v for
    strangers and q/v + S for synonyms, and the counts scatter like Poisson numbers.  Tokens are
    unevenly distributed, so q > 1: 1.16 at (v, m, s) = (32, 6, 2), 1.42 at (32, 3, 2).  The excess
    is d standard deviations at this n.  For :math:`m^l \gg v` the law is
    :math:`\sqrt v\, m^{l+1} / (1 - m/v)`, the exponent of :func:`clustering_cost`; for
    :math:`m^l \ll v` chance coincidences are rare and :math:`v\, m^{1 + l/2}` data are enough.

    Parameters
    ----------
    rhm : RHM
    l : int
        Height of the lowest common ancestor, 1 to L.
    separation : float
        The d of the equation, a number of order one that grows slowly with the tuples to tell
        apart; exponents do not depend on it.

    Returns
    -------
    float
        Number of data P; infinite if there is no signal.

    Raises
    ------
    InvalidParameter
        If l is no such height, or the separation is not positive.

    Notes
    -----
    Validity: S from :func:`context_signal` and q from the recursion of mean squared marginals,
    both averages over grammars: P within 3 % at v = 32, 7 % at v = 16 (both s = 2), and 21 % at
    (8, 4, 3), l = 3, as seen with 40 grammars each.  All symbols are taken to be as frequent as
    the mean; a symbol of probability p needs 1 / (v p) times as many data.
    Derived here; no paper is known to us that has it.

    Examples
    --------
    >>> rhm = RHM(v=32, m=4, s=2, L=3)
    >>> [round(coincidence_cost(rhm, l)) for l in (2, 3)]
    [660, 2416]
    """
    if not separation > 0:
        raise InvalidParameter(f"separation = {separation} must be > 0")
    signal = context_signal(rhm, _height(rhm, l))
    if signal <= 0:
        return math.inf
    chance = concentration(rhm, rhm.L)
    return float(rhm.v * rhm.m * separation * math.sqrt(chance + signal) / signal)


@checked(separation=partial(number, above=0))
def own_symbol_cost(
    rhm: RHM, height: int, context: Literal["symbols", "tokens"] = "symbols",
    separation: float = 1.0,
) -> float:  # fmt: skip
    r"""Strings from which a learner of its own symbols finds those of one height.

    .. math:: P_h = \frac{v m\, s}{s^{L-h}}\, n, \qquad
       n = \frac{d}{\sqrt{s^2 (s - 1)}}\, \frac{\sqrt{q/v + S}}{S}, \qquad
       S \sim m^{-2} \text{ (symbols)}, \quad m^{-(h+1)} \text{ (tokens)}

    A string has s^(L-h) nodes of height h, so a tuple is seen P s^(L-h) / (v m) times, at each of s
    places among its siblings a share 1/s.  Around it are s (s - 1) contexts per place, the nodes
    below its parent's other children, and each counts coincidences as in :func:`coincidence_cost`:
    signals add, and noise adds in squares.  Own symbols stand two steps below the common ancestor
    whatever the height; tokens stand h + 1 steps.  For m^2 >> v the cost in own symbols is

    .. math:: P_h \simeq \frac{\sqrt v\, m^{3}\, s^{h - L}}{\sqrt{s - 1}\, (1 - m/v^{s-1})} .

    Parameters
    ----------
    rhm : RHM
    height : int
        Of the symbols, 1 to L - 1; at the root there is no context.
    context : {"symbols", "tokens"}
        What is read around a tuple.
    separation : float
        The d of the equation, a number of order one.

    Returns
    -------
    float
        Number of strings P; infinite if there is no signal.

    Raises
    ------
    InvalidParameter
        If the height is none of these, the context unknown, or the separation not positive.

    Notes
    -----
    Validity: as :func:`coincidence_cost`, if the lower heights are known by then.  Where the law of
    a height lies below that of the one under it, that one decides.  Derived here; no paper is known
    to us that has it.

    Examples
    --------
    >>> rhm = RHM(v=32, m=4, s=2, L=4)
    >>> [round(own_symbol_cost(rhm, h)) for h in (1, 2, 3)]
    [80, 165, 384]
    >>> [round(own_symbol_cost(rhm, h, "tokens")) for h in (1, 2, 3)]
    [80, 500, 4528]
    """
    words = ("symbols", "tokens")
    if context not in words:
        raise InvalidParameter(f"context = {context!r} is not known; use {', '.join(words)}")
    if rhm.L < 2:
        raise InvalidParameter(f"L = {rhm.L} has no height with a context; give L >= 2")
    h = whole("height", height, 1, rhm.L - 1)
    steps = 2 if context == "symbols" else h + 1
    signal = context_signal(rhm, h + 1, steps)
    if signal <= 0:
        return math.inf
    chance = concentration(rhm, rhm.L - h - 1 + steps)
    contexts = math.sqrt(rhm.s**2 * (rhm.s - 1))
    seen = separation * math.sqrt(chance + signal) / (signal * contexts)
    return float(rhm.v * rhm.m * rhm.s / float(rhm.s) ** (rhm.L - h) * seen)


@checked(samples=partial(number, above=0))
def weights_divergence(rhm: RHM, samples: float) -> float:
    r"""Divergence of a grammar with right symbols and counted weights, after P strings.

    .. math:: E\, \mathrm{KL}(p \,\|\, \hat p_P) \simeq \frac{K}{2P}, \qquad
       K = (n_c m - 1) + (L - 1)\, v\, (m - 1)

    Twice P times the divergence of a maximum-likelihood fit has in the limit the mean K, the number
    of free weights (Wilks).  Without labels the rules of all classes belong to one symbol of the
    root, and the weights of its n_c m rules are free but for their sum.  With labels K is the same:
    n_c - 1 frequencies of classes and n_c (m - 1) weights.

    Parameters
    ----------
    rhm : RHM
    samples : float
        Strings P.

    Returns
    -------
    float
        Nats per string.

    Raises
    ------
    InvalidParameter
        If P is not positive.

    Notes
    -----
    Validity: all symbols found, every rule seen often, no smoothing; the correction is of order
    K^2 / P^2.

    References
    ----------
    Wilks, Ann. Math. Stat. 9, 60 (1938).

    Examples
    --------
    >>> weights_divergence(RHM(v=16, m=4, s=2, L=4), 1000)
    0.1035
    """
    root = rhm.n_classes * rhm.m - 1
    free = root + (rhm.L - 1) * rhm.v * (rhm.m - 1)
    return float(free / (2 * samples))


@checked(m=count)
def resolved_samples(joint: NDArray[Any], m: int) -> float:
    r"""Data at which the correlations of *one* grammar stand out of sampling noise, exactly.

    .. math:: P = \frac{\sum_{t,b} p_t\, p_b}{\sum_{t,b} C_{tb}^2}
       = \frac{m}{\sum_{a,b} C_{ab}^2}

    Each symbol a is written by m equiprobable tuples t, so :math:`C_{tb} = C_{ab}/m`.

    Parameters
    ----------
    joint : array [v, v]
        Law of the symbol above the tuple and of the token, as ``pair_joint`` gives it.
    m : int
        Rules per symbol.

    Returns
    -------
    float
        Number of data P; infinite without correlations.

    Raises
    ------
    InvalidParameter
        If the joint law is no table of probabilities that sum to one.

    Notes
    -----
    Validity: signal equal to noise on average over the entries.  Its average over grammars is
    v m / S with S from :func:`context_signal`, that is v m^(l+1) up to finite-size factors.

    Examples
    --------
    >>> resolved_samples(np.eye(4) / 4, m=2)
    10.666666666666666
    """
    table = reals("joint", joint, least=1)
    reals("m", float(m))
    if table.ndim != 2 or table.min() < 0 or abs(table.sum() - 1) > 1e-9:
        raise InvalidParameter(
            f"joint has shape {table.shape} and sum {table.sum():.6g}; give probabilities [v, v] "
            "that sum to one"
        )
    power = float((covariance(table) ** 2).sum())
    return math.inf if power < 1e-28 else m / power


@checked
@sound
def local_exponent(multiplicities: NDArray[Any], samples: NDArray[Any]) -> float:
    r"""Slope of the logarithm of a cost against the logarithm of m, by least squares.

    .. math:: P \propto m^{slope}

    Parameters
    ----------
    multiplicities, samples : arrays [k]
        At least two different m, and the costs P at them; all positive.

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        If there are fewer than two different m, or numbers that are not positive.

    Notes
    -----
    Validity: exact for a power law; for another curve, its slope over the range of m.

    Examples
    --------
    >>> round(local_exponent(np.array([2, 3, 6]), np.array([8.0, 27.0, 216.0])), 12)
    3.0
    """
    x, y = reals("multiplicities", multiplicities, ndim=1), reals("samples", samples, ndim=1)
    if len({*x.tolist()}) < 2 or x.shape != y.shape or not (np.minimum(x, y) > 0).all():
        raise InvalidParameter(
            f"m = {str(x.tolist())[:60]} with P = {str(y.tolist())[:60]} has no slope; give two or "
            "more different m, all numbers positive"
        )
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


# -------------------------------------------------------------------------- labels with two factors

FloatArray = NDArray[np.float64]
Kernel: TypeAlias = Literal["additive", "product"]

# logarithms of binomials of N^2 = 1e8 cells, about 2e9, are right to 5e-7; beyond, digits are lost
_MOST = 10**4

KERNELS: tuple[Kernel, ...] = ("additive", "product")


def _missed(cells: int, group: int, samples: FloatArray) -> FloatArray:
    """Probability that none of ``samples`` draws without replacement falls in a group of cells."""
    left = cells - group - samples
    with np.errstate(invalid="ignore"):
        log = (
            gammaln(cells - group + 1) - gammaln(left + 1) - gammaln(cells + 1)
            + gammaln(cells - samples + 1)
        )  # fmt: skip
    return np.where(left >= 0, np.exp(np.where(left >= 0, log, 0.0)), 0.0)


@checked(positions=partial(whole, low=1, high=_MOST))
def kernel_accuracy(kernel: Kernel, positions: int, samples: ArrayLike) -> FloatArray:
    r"""Share of the N^2 labels (x, y) that a kernel method can know from P of them.

    .. math:: \text{product: } \frac{P}{N^2}, \qquad \text{additive: } 1
       - 2 \binom{N^2 - N}{P} \Big/ \binom{N^2}{P} + \binom{N^2 - 2N + 1}{P} \Big/ \binom{N^2}{P}

    A product of one-hot kernels knows the labels that it has seen; a sum of them knows the labels
    both of whose coordinates it has seen, in whatever company.

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate, at most 10^4.
    samples : int array
        Different labels P that were seen, 0 to N^2.

    Returns
    -------
    array
        Of the shape of ``samples``.

    Raises
    ------
    InvalidParameter
        If the kernel is unknown, N out of range, or P no integers in theirs.

    Notes
    -----
    Validity: exact counts for uniform draws without replacement.  Regression with an additive
    kernel can do worse, where x and y were seen in groups of examples that share no coordinate:
    the offset between such groups is not determined by the data.

    References
    ----------
    The scaling, linear against quadratic, is that of arXiv 2408.13256.

    Examples
    --------
    >>> kernel_accuracy("product", 8, [0, 16, 64]).tolist()
    [0.0, 0.25, 1.0]
    >>> round(float(kernel_accuracy("additive", 8, 11)), 6)
    0.63869
    """
    n, seen = positions, reals("samples", samples)
    wrong = (seen < 0) | (seen > n * n) | (seen != np.round(seen))
    if wrong.any():
        raise InvalidParameter(
            f"samples hold {seen[wrong].flat[0]:g}; they must be integers between 0 and N^2 = "
            f"{n * n}"
        )
    if kernel == "product":
        return np.asarray(seen / n**2)
    known = 1 - 2 * _missed(n * n, n, seen) + _missed(n * n, 2 * n - 1, seen)
    return np.asarray(np.clip(known, 0.0, 1.0))


@checked(positions=partial(whole, low=1, high=_MOST), accuracy=partial(number, above=0, below=1))
def kernel_cost(kernel: Kernel, positions: int, accuracy: float = 0.6) -> float:
    r"""Samples at which :func:`kernel_accuracy` reaches a value, interpolated between integers.

    .. math:: \text{product: } P = 0.6\, N^2, \qquad
       \text{additive: } P \approx -N \ln(1 - \sqrt{0.6}) \approx 1.49\, N

    Parameters
    ----------
    kernel : {"additive", "product"}
    positions : int
        Values N of each coordinate, at most 10^4.
    accuracy : float
        In (0, 1).

    Returns
    -------
    float

    Raises
    ------
    InvalidParameter
        As :func:`kernel_accuracy`, or if the accuracy is not in (0, 1).

    Notes
    -----
    Validity: as :func:`kernel_accuracy`; the quoted limit of the additive kernel is that of large
    N, at finite N draws without replacement need less.

    Examples
    --------
    >>> [round(kernel_cost("product", n), 1) for n in (8, 32)]
    [38.4, 614.4]
    >>> [round(kernel_cost("additive", n), 1) for n in (8, 32)]
    [10.3, 45.9]
    """
    below, above = 0, positions**2  # accuracies 0 and 1
    while above - below > 1:
        middle = (below + above) // 2
        short = kernel_accuracy(kernel, positions, middle) <= accuracy
        below, above = (middle, above) if short else (below, middle)
    samples = np.array([below, above])
    return float(np.interp(accuracy, kernel_accuracy(kernel, positions, samples), samples))
