r"""Information between noisy data and the latents of each level, entropies and free energy.

==============  ================================================================================
symbol          meaning
==============  ================================================================================
z_l             the string of all latents of level l (z_0 the class, z_L = x0 the data)
x_t             observation at noise level t
Z               evidence p(x_t) in the scale of psi: sum over x0 of p(x0) prod_i psi_i(x0_i)
==============  ================================================================================

.. math::
   I(z_l; x_t) = E[\log p(x_t \mid z_l) - \log p(x_t)], \qquad
   H(z_l \mid x_t) = H(z_l) - I(z_l; x_t), \qquad f = -E \log Z / n_{leaves}

How p(x_t | z_l) is found exactly, and the derivatives in the noise level, are in
:mod:`hierdiff.theory.pointwise`.  Everything here is a mean over data with its standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from hierdiff.checks import checked, count, one_level, reals
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import Derivations, Grammar
from hierdiff.noise import NoiseProcess
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation import denoise_symbols, posterior
from hierdiff.theory.pointwise import (
    checked_channel,
    pointwise_entropy,
    pointwise_information,
    pointwise_slope,
)

__all__ = [
    "Estimate",
    "conditional_entropy",
    "free_energy",
    "information_slope",
    "mmse",
    "mutual_information",
    "node_information",
    "observed",
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
