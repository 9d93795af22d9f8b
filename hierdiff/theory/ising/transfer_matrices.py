r"""Exact inference on mixtures of Ising chains, by transfer matrices.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
psi_i(sigma)            evidence of spin i, proportional to p(x_{t,i} | sigma_i = sigma)
p(psi | k)              sum over all 2^N chains of class k of their probability and evidence
======================  =========================================================================

.. math:: \alpha_1(\sigma) = p(\sigma_1 \mid k)\, \psi_1(\sigma), \quad
   \alpha_{i+1}(\sigma') = \psi_{i+1}(\sigma') \sum_\sigma \alpha_i(\sigma)\,
   p(\sigma_{i+1} = \sigma' \mid \sigma_i = \sigma), \quad p(\psi \mid k) = \sum_\sigma
   \alpha_N(\sigma), \qquad p(k \mid x_t) \propto w_k\, p(\psi \mid k) .

A second pass from the right gives the spins.  The cost is 2^2 N per class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, memory, reals, whole
from hierdiff.data.ising_chains import IsingChains
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.ising import _kernels as kernels

__all__ = ["ChainPosterior", "chain_posterior", "spin_evidence"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ChainPosterior:
    """Classes and spins given evidence; made by :func:`chain_posterior`.

    Attributes
    ----------
    data : IsingChains
    log_likelihood : array [n, K]
        log p(psi | k), nats.
    class_marginals : array [n, K]
        Posterior probability of every class.
    """

    data: IsingChains
    log_likelihood: Array
    class_marginals: Array
    _weight: Array
    _scale: Array

    @cached_property
    def log_evidence(self) -> Array:
        """Logarithm of the evidence under the whole mixture, [n]."""
        with np.errstate(divide="ignore"):
            return np.asarray(
                np.logaddexp.reduce(self.log_likelihood + np.log(self.data.weights), axis=1)
            )

    @cached_property
    def up(self) -> Array:
        """Posterior probability of spin +1, [n, N]."""
        n, N, K = len(self._weight), self.data.N, self.data.n_classes
        memory(f"marginals of {n} chains of {N} spins in {K} classes", 8.0 * n * N * (K + 1))
        found, likelihood = np.empty((n, K, N)), np.empty((n, K))
        kernels.chain_marginals(
            self.data.start, self.data.transitions, self._weight, self._scale, likelihood, found
        )
        return np.asarray(np.einsum("nk,nki->ni", self.class_marginals, found))

    def sample(self, seed: Seed) -> tuple[Array, Array]:
        """Draw spins as symbols int32 [n, N], and their classes [n], given the evidence."""
        rng = generator(seed)
        n = len(self._weight)
        # row by row, so that a sample does not depend on the size of the batch
        u = rng.random((n, self.data.N + 1))
        steps = np.cumsum(self.class_marginals, axis=1)
        classes = np.minimum((steps < u[:, :1] * steps[:, -1:]).sum(axis=1), steps.shape[1] - 1)
        out = np.empty((n, self.data.N), dtype=np.int32)
        kernels.chain_draws(
            self.data.start, self.data.transitions, self._weight, self._scale, classes,
            np.ascontiguousarray(u[:, 1:]), out,
        )  # fmt: skip
        return out, classes


@checked
def chain_posterior(
    data: IsingChains, log_evidence: ArrayLike, class_label: int | None = None
) -> ChainPosterior:
    r"""Posterior of classes and spins given the evidence of every spin.

    Parameters
    ----------
    data : IsingChains
    log_evidence : array [n, N, 2]
        log psi of spin -1 and +1, natural logarithm; -inf excludes one of the two.
    class_label : int, optional
        Condition on a class.

    Returns
    -------
    ChainPosterior

    Raises
    ------
    InvalidParameter
        For another shape, NaN, +inf, a spin without any possible value, or no such class.

    Notes
    -----
    Validity: exact; evidence is a product over spins.

    Examples
    --------
    Two spins that were seen equal, at J = +1 or -1:

    >>> chains = IsingChains([[1.0], [-1.0]], np.zeros((2, 2)))
    >>> seen = np.array([[[-np.inf, 0.0], [-np.inf, 0.0]]])
    >>> chain_posterior(chains, seen).class_marginals.round(6).tolist()
    [[0.880797, 0.119203]]
    """
    evidence = reals("log_evidence", log_evidence, infinite=True)
    if evidence.ndim != 3 or evidence.shape[1:] != (data.N, 2) or not len(evidence):
        raise InvalidParameter(
            f"log_evidence has shape {evidence.shape}; give [n, N, 2] with N = {data.N}"
        )
    scale = evidence.max(axis=2)
    if not np.isfinite(scale).all():
        raise InvalidParameter(
            "log_evidence excludes both values of a spin, or is +inf; leave one of them finite"
        )
    weight = np.exp(evidence - scale[..., None])
    likelihood = np.empty((len(weight), data.n_classes))
    kernels.chain_likelihoods(data.start, data.transitions, weight, scale, likelihood)
    prior = data.weights
    if class_label is not None:
        prior = np.eye(data.n_classes)[whole("class_label", class_label, 0, data.n_classes - 1)]
    with np.errstate(divide="ignore"):
        log = likelihood + np.log(prior)
    log -= log.max(axis=1, keepdims=True)
    belief = np.exp(log)
    belief /= belief.sum(axis=1, keepdims=True)
    return ChainPosterior(data, likelihood, belief, weight, scale)


@checked
def spin_evidence(x_t: ArrayLike, snr: ArrayLike) -> Array:
    r"""Evidence of spins behind Gaussian noise of vectors.

    .. math:: x_t = \sqrt{\bar\alpha}\, \sigma + \sqrt{1 - \bar\alpha}\, z, \qquad
       \log\psi(\sigma) = \frac{\sqrt{\bar\alpha}\, x_t\, \sigma}{1 - \bar\alpha}
       = \sqrt{\mathrm{snr}\,(1 + \mathrm{snr})}\; x_t\, \sigma

    Parameters
    ----------
    x_t : array [n, N]
        Noisy spins.
    snr : float or array [n]
        Signal-to-noise ratio, finite.

    Returns
    -------
    array [n, N, 2]

    Raises
    ------
    InvalidParameter
        For other shapes or numbers that are not finite.

    Notes
    -----
    Validity: exact, without the terms that both spins share.

    Examples
    --------
    >>> spin_evidence([[0.5]], 1.0).round(6).tolist()
    [[[-0.707107, 0.707107]]]
    """
    x = reals("x_t", x_t, ndim=2)
    ratio = reals("snr", snr, 0, 1e16)
    if ratio.shape not in ((), (len(x),)):
        raise InvalidParameter(f"snr has shape {ratio.shape}; give one number or one per sample")
    gain = np.broadcast_to(np.sqrt(ratio * (1 + ratio)), (len(x),))[:, None] * x
    return np.stack([-gain, gain], axis=2)
