r"""Information between noisy data and the latents of each level, entropies and free energy.

==============  ================================================================================
symbol          meaning
==============  ================================================================================
z_l             the string of all latents of level l (z_0 the class, z_L = x0 the data)
x_t             observation at noise level t
Z               evidence p(x_t) in the scale of psi: sum over x0 of p(x0) prod_i psi_i(x0_i)
p_i             extrinsic belief p(x0_i | x_t of the other leaves): the leaf's downward message
q_i             (1 - t) p_i + t / v: what uniform noise makes of it
==============  ================================================================================

.. math::
   I(z_l; x_t) = E[\log p(x_t \mid z_l) - \log p(x_t)], \qquad
   H(z_l \mid x_t) = H(z_l) - I(z_l; x_t), \qquad f = -E \log Z / n_{leaves}

The first part of the file holds what one observation says about the latents of a level, the second
means over data with their standard errors.

.. math::
   p(x_t \mid z_l) = \prod_{j \text{ of level } l} p(x_t \text{ below } j \mid z_{l,j})

Clamping a whole level cuts the tree below it into independent trees of the grammar's lower rules,
so log p(x_t | z_l) is the log-evidence of those trees with their roots clamped, summed: one upward
pass, exact also for ambiguous grammars (whose z_l do not determine the levels above).

Derivatives, for leaves corrupted independently (I = I(x0; x_t)):

.. math::
   \text{masking: } -\frac{dI}{dt} = \sum_i E\,H(p_i) = \frac1t \sum_i E\,H(x_{0,i} \mid x_t),
   \quad
   \text{uniform: } \frac{dI}{dt} = \sum_i E \sum_b \left(p_i(b) - \tfrac1v\right) \log q_i(b)
   - n_{leaves} h'(t), \quad
   \text{Gaussian: } \frac{dI}{d\,snr} = \tfrac12 E\,|x_0 - E[x_0 \mid x_t]|^2,

h(t) the entropy of one corrupted symbol.  In the masking identity leaf i itself is left out of what
is seen; with H(x_i | x_t) the factor 1/t is needed, since a leaf that is seen has no entropy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr

from hierdiff.checks import checked, count, number, one_level, reals, sound
from hierdiff.checks import level as noise_level
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import (
    NoiseProcess,
    SymbolEvidence,
    is_channel,
)
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import denoise_symbols, posterior

__all__ = [
    "Estimate",
    "checked_channel",
    "conditional_entropy",
    "free_energy",
    "information_slope",
    "mmse",
    "mutual_information",
    "node_information",
    "observed",
    "pointwise_entropy",
    "pointwise_information",
    "pointwise_slope",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """A mean over data with its standard error.

    Attributes
    ----------
    value
        In nats where it is an information.
    error
        Standard error from the scatter of the data.
    n
        Number of data.
    """

    value: float
    error: float
    n: int

    @classmethod
    def of(cls, values: Array) -> Estimate:
        """Mean of independent values [n], n at least 2."""
        found = reals("values", values, infinite=True, ndim=1)
        n = len(found)
        if n < 2:
            raise InvalidParameter(f"n = {n} datum gives no standard error; use at least two")
        return cls(float(found.mean()), float(found.std(ddof=1) / np.sqrt(n)), n)


@checked(t=one_level, n=count)
def observed(
    grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed
) -> tuple[Derivations, Array]:
    """Data and what is seen of them, from one stream."""
    checked_channel(noise)
    random = generator(seed)
    truth = grammar.sample(n, random)
    return truth, noise.corrupt(truth.leaves, t, random)


@checked(t=one_level)
def mutual_information(
    grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed, level: int | None = None
) -> Estimate:
    r"""Mutual information between noisy data and the latents of a level, all of them jointly.

    .. math:: I(z_l; x_t) = E[\log p(x_t \mid z_l) - \log p(x_t)]

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Masking, uniform or Gaussian.
    t : float
        Noise level in [0, 1].
    n : int
        Number of data to average over, at least 2.
    seed : Seed
        Source of randomness.
    level : int, optional
        Level of the latents, 0 the class; default the leaves: I(x0; x_t).

    Returns
    -------
    Estimate
        In nats.

    Raises
    ------
    InvalidParameter
        For the epsilon-process, n < 2, t outside [0, 1] or no such level.

    Notes
    -----
    Validity: unbiased for any grammar; t > 0 for Gaussian noise.  z_0 -> z_1 -> ... -> x_t is a
    Markov chain, so the information grows with the level and falls with t.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> one = mutual_information(grammar, MaskingNoise(v=4), 0.0, 10, seed=1, level=0)
    >>> round(one.value, 9), round(one.error, 9), round(float(np.log(4)), 9)
    (1.386294361, 0.0, 1.386294361)
    """
    where = grammar.L if level is None else level
    truth, x_t = observed(grammar, noise, t, n, seed)
    return Estimate.of(pointwise_information(grammar, noise, x_t, t, truth, (where,))[:, 0])


@checked(t=one_level)
def conditional_entropy(
    grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed, level: int | None = None
) -> Estimate:
    r"""Entropy of the latents of a level, jointly, once x_t is seen.

    .. math:: H(z_l \mid x_t) = -E \log p(z_l \mid x_t) = H(z_l) - I(z_l; x_t)

    Parameters
    ----------
    grammar, noise, t, n, seed, level
        As in :func:`mutual_information`.

    Returns
    -------
    Estimate
        In nats.

    Notes
    -----
    Validity: unbiased for any grammar; t > 0 for Gaussian noise.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> all_masked = conditional_entropy(grammar, MaskingNoise(v=4), 1.0, 10, seed=1)
    >>> round(float(np.exp(all_masked.value)), 9)  # number of data
    32.0
    """
    where = grammar.L if level is None else level
    truth, x_t = observed(grammar, noise, t, n, seed)
    said = pointwise_information(grammar, noise, x_t, t, truth, (where,))[:, 0]
    return Estimate.of(pointwise_entropy(grammar, truth, where) - said)


@checked(t=one_level)
def node_information(
    grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed
) -> tuple[Estimate, ...]:
    r"""Information about one node at a time, averaged over the nodes of each level.

    .. math:: I(z_{l,j}; x_t) = H(z_{l,j}) - E\,H(p(z_{l,j} \mid x_t))

    Parameters
    ----------
    grammar, noise, t, n, seed
        As in :func:`mutual_information`.

    Returns
    -------
    tuple of L + 1 Estimates
        Root first, in nats; the root's is I(class; x_t) with a smaller error than
        :func:`mutual_information`, because the true class is averaged out.

    Notes
    -----
    Validity: unbiased for any grammar and noise level.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> [round(x.value, 9) for x in node_information(grammar, MaskingNoise(v=4), 1.0, 3, seed=0)]
    [0.0, 0.0, 0.0]
    """
    _, x_t = observed(grammar, noise, t, n, seed)
    seen = posterior(grammar, noise.evidence(x_t, t)).marginals
    unseen = posterior(grammar, np.zeros((1, grammar.n_leaves, grammar.v[-1]))).marginals
    said = (
        (entr(p).sum(axis=2) - entr(q).sum(axis=2)).mean(axis=1)
        for p, q in zip(unseen, seen, strict=True)
    )
    return tuple(Estimate.of(x) for x in said)


@checked(t=one_level)
def free_energy(
    grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed
) -> Estimate:  # fmt: skip
    r"""Free energy per leaf of the posterior.

    .. math:: f = -\frac{1}{n_{leaves}} E \log Z, \qquad
       I(x_0; x_t) = n_{leaves} f + \sum_i E \log \psi_i(x_{0,i})

    Parameters
    ----------
    grammar, noise, t, n, seed
        As in :func:`mutual_information`.

    Returns
    -------
    Estimate
        In nats per leaf, in the scale of ``noise.log_evidence``: f = I / leaves for masking; for
        Gaussian noise f = I / leaves - snr, so df / dsnr = mmse / (2 leaves) - 1.

    Notes
    -----
    Validity: unbiased for any grammar; t > 0 for Gaussian noise.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> f = free_energy(grammar, MaskingNoise(v=4), 0.0, 5, seed=0)
    >>> round(f.value * 4 / float(np.log(32)), 12)
    1.0
    """
    _, x_t = observed(grammar, noise, t, n, seed)
    log_z = posterior(grammar, noise.evidence(x_t, t), levels=()).log_evidence
    return Estimate.of(-log_z / grammar.n_leaves)


@checked(t=one_level)
def mmse(grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed) -> Estimate:
    r"""Error of the exact denoiser, summed over the leaves.

    .. math:: E\,|x_0 - E[x_0 \mid x_t]|^2 = \sum_i E\Big[1 - \sum_b p(x_{0,i} = b \mid x_t)^2\Big]

    Parameters
    ----------
    grammar, noise, t, n, seed
        As in :func:`mutual_information`.

    Returns
    -------
    Estimate
        x0 one-hot.  For Gaussian noise half of it is dI / dsnr.

    Notes
    -----
    Validity: unbiased for any grammar; the truth is averaged out with the exact posterior.

    References
    ----------
    Guo, Shamai, Verdu, arXiv cs/0412108.

    Examples
    --------
    >>> from hierdiff import RHM, GaussianNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> mmse(grammar, GaussianNoise(v=4), 0.0, 5, seed=0).value
    0.0
    """
    _, x_t = observed(grammar, noise, t, n, seed)
    mean = denoise_symbols(grammar, noise, x_t, t)
    return Estimate.of((1 - (mean**2).sum(axis=2)).sum(axis=1))


@checked(t=one_level)
def information_slope(
    grammar: Grammar, noise: NoiseProcess, t: float, n: int, seed: Seed
) -> Estimate:
    r"""Derivative of I(x0; x_t) in t for masking and uniform noise, from one noise level alone.

    .. math:: \frac{d}{dt} I(x_0; x_t) = \sum_i \frac{\partial}{\partial t}
       I(x_{0,i}; x_{t,i} \mid x_{t, j \ne i})

    Parameters
    ----------
    grammar, noise, t, n, seed
        As in :func:`mutual_information`; the process must be masking or uniform.

    Returns
    -------
    Estimate
        In nats per unit of t.

    Raises
    ------
    InvalidParameter
        As :func:`pointwise_slope`.

    Notes
    -----
    Validity: unbiased for any grammar.

    Examples
    --------
    With all masked nothing is known of a leaf but its prior, here the same for each of the two:

    >>> from hierdiff import MaskingNoise
    >>> grammar = Grammar([[[[0, 0]], [[1, 1]]]])
    >>> slope = information_slope(grammar, MaskingNoise(v=2), 1.0, 5, seed=0)
    >>> round(slope.value / float(np.log(2)), 12)
    -2.0
    """
    _, x_t = observed(grammar, noise, t, n, seed)
    return Estimate.of(pointwise_slope(grammar, noise, x_t, t))


# ------------------------------------------------------------ integrands, one observation at a time

Evidence = SymbolEvidence | Array


@checked
def checked_channel(noise: NoiseProcess) -> None:
    """The epsilon-process has no observation, hence no information."""
    if not is_channel(noise):
        raise InvalidParameter(
            "noise = EpsilonNoise is no channel: it has no observation, hence no information; use "
            "MaskingNoise, UniformNoise or GaussianNoise"
        )


def _fits(grammar: Grammar, truth: Derivations, n: int | None = None) -> None:
    """Refuse derivations of another grammar, or of other data than the n observed."""
    nodes = [grammar.n_nodes(level) for level in range(grammar.L + 1)]
    found = [level.shape[1] for level in truth.levels]
    if found != nodes or (n is not None and len(truth) != n):
        raise InvalidParameter(
            f"truth = {truth!r} does not fit; the grammar has nodes {tuple(nodes)}"
            + ("" if n is None else f" and there are {n} observations")
        )
    for level, (symbols, v) in enumerate(zip(truth.levels, grammar.v, strict=True)):
        if symbols.dtype.kind not in "iu" or (
            symbols.size and (symbols.min() < 0 or symbols.max() >= v)
        ):
            raise InvalidParameter(
                f"truth holds what is no symbol of level {level}; give integers in [0, {v})"
            )


def _subtrees(evidence: Evidence, nodes: int) -> Evidence:
    """The evidence of n trees as that of n * nodes subtrees."""
    if not isinstance(evidence, SymbolEvidence):
        return evidence.reshape(len(evidence) * nodes, -1, evidence.shape[2])
    n = len(evidence.symbols)
    parts = (evidence.log_match, evidence.log_other)
    match, other = (np.repeat(np.broadcast_to(np.asarray(x), n), nodes) for x in parts)
    return SymbolEvidence(evidence.symbols.reshape(n * nodes, -1), match, other, evidence.v)


def _clamped(grammar: Grammar, evidence: Evidence, truth: Derivations, level: int) -> Array:
    """Log p(x_t | z_level) [n], in the scale of the evidence."""
    symbols = truth.levels[level]
    n, nodes = symbols.shape
    if level == grammar.L:
        dense = evidence.dense() if isinstance(evidence, SymbolEvidence) else evidence
        at_truth = np.take_along_axis(dense, symbols[..., None].astype(np.int64), axis=2)
        return np.asarray(at_truth.sum(axis=(1, 2)))
    below = Grammar(
        grammar.rules[level:], grammar.weights[level:], leaf_vocabulary=grammar.leaf_vocabulary
    )
    trees = posterior(below, _subtrees(evidence, nodes), root=symbols.ravel(), levels=())
    return np.asarray(trees.log_evidence.reshape(n, nodes).sum(axis=1))


@checked(t=noise_level)
@sound(infinite=True)
def pointwise_information(
    grammar: Grammar,
    noise: NoiseProcess,
    x_t: Array,
    t: ArrayLike,
    truth: Derivations,
    levels: tuple[int, ...] | None = None,
) -> Array:
    r"""What one observation says about the true latents of a level; its mean is the information.

    .. math:: i_l = \log p(x_t \mid z_l) - \log p(x_t), \qquad E\, i_l = I(z_l; x_t)

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Masking, uniform or Gaussian.
    x_t : array
        As ``noise.corrupt`` returns it.
    t : float or array [n]
        Noise level in [0, 1].
    truth : Derivations
        The derivations that were corrupted.
    levels : tuple of int, optional
        Default: all, root first.

    Returns
    -------
    array [n, len(levels)]
        In nats.

    Raises
    ------
    InvalidParameter
        For the epsilon-process, which is no channel; for no such level; for derivations of another
        grammar or another number of data.

    Notes
    -----
    Validity: exact for any grammar, ambiguous ones included; t > 0 for Gaussian noise, whose
    evidence is infinite at t = 0.  Each level costs at most one upward pass.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> data = grammar.sample(1, seed=1)
    >>> i = pointwise_information(grammar, MaskingNoise(v=4), data.leaves, 0.0, data)
    >>> (np.exp(i) / [[4, 4 * 2, 4 * 2**3]]).round(12).tolist()
    [[1.0, 1.0, 1.0]]
    """
    checked_channel(noise)
    wanted = tuple(range(grammar.L + 1)) if levels is None else levels
    if not wanted:
        raise InvalidParameter(f"levels = () is empty; give levels from 0 to {grammar.L}")
    for level in wanted:
        grammar.n_nodes(level)
    _fits(grammar, truth, len(x_t) if np.ndim(x_t) else None)
    evidence = noise.evidence(x_t, t)
    log_z = posterior(grammar, evidence, levels=()).log_evidence
    columns = [_clamped(grammar, evidence, truth, level) - log_z for level in wanted]
    return np.stack(columns, axis=1)


@checked
@sound(infinite=True)
def pointwise_entropy(grammar: Grammar, truth: Derivations, level: int) -> Array:
    r"""Surprise of the true latents of a level before anything is seen: -log p(z_l).

    .. math:: H(z_l) = -E \log p(z_l)

    Parameters
    ----------
    grammar : Grammar
    truth : Derivations
        Sampled from the grammar.
    level : int
        From 0 (root) to L.

    Returns
    -------
    array [n]
        In nats.

    Raises
    ------
    InvalidParameter
        For no such level, or derivations of another grammar.

    Notes
    -----
    Validity: exact for any grammar; constant for an unambiguous one with uniform rules.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> np.exp(pointwise_entropy(grammar, grammar.sample(1, seed=1), 1)).round(9).tolist()
    [8.0]
    """
    grammar.n_nodes(level)
    _fits(grammar, truth)
    if level == 0:
        return np.asarray(-np.log(grammar.root_prior[truth.levels[0][:, 0]]))
    above = Grammar(
        grammar.rules[:level],
        grammar.weights[:level],
        grammar.root_prior,
        leaf_vocabulary=grammar.v[level],
    )
    return np.asarray(-above.log_prob(truth.levels[level]))


@checked(t=partial(number, low=0, high=1))
@sound
def pointwise_slope(grammar: Grammar, noise: NoiseProcess, x_t: Array, t: float) -> Array:
    r"""What one observation contributes to dI(x0; x_t) / dt, for masking and uniform noise.

    .. math:: -\sum_i H(p_i) \text{ (masking)}, \qquad
       \sum_i \sum_b \left(p_i(b) - \tfrac1v\right) \log q_i(b) - n_{leaves} h'(t)
       \text{ (uniform)}

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Masking, uniform, or another with ``information_slope(extrinsic beliefs, t)``.
    x_t : int array [n, leaves]
    t : float
        Noise level in [0, 1]; in (0, 1] for uniform noise, whose slope is infinite at 0.

    Returns
    -------
    array [n]
        In nats per unit of t; negative.

    Raises
    ------
    InvalidParameter
        For another process, or uniform noise at t = 0.

    Notes
    -----
    Validity: exact in the mean, any grammar.  p_i is the downward message of leaf i, which knows
    the other leaves only, so whether leaf i itself was hit plays no part.

    References
    ----------
    For the general identity, Measson, Montanari, Richardson, Urbanke, arXiv cs/0410028.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> pointwise_slope(grammar, MaskingNoise(v=4), np.full((1, 4), -1), 1.0).round(6).tolist()
    [-5.213127]
    """
    slope = getattr(noise, "information_slope", None)
    if slope is None:
        raise InvalidParameter(
            f"noise = {noise.name} has no slope in t here; use masking or uniform noise, or mmse "
            "for Gaussian noise"
        )
    return np.asarray(slope(posterior(grammar, noise.evidence(x_t, t)).down[grammar.L], t))
