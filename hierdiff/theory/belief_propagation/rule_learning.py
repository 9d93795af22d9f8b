r"""Rule weights from strings, clean or noisy: expectation maximisation on the derivation tree.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
pi_l(k | a)             weight of rule k of symbol a of level l, shared by all nodes of the level
c_n,l(a, k)             expected number of its uses in the derivation of string n
P                       number of strings
======================  =========================================================================

The right-hand sides of the rules are known and their weights are not.  The E-step computes the
expected counts from the posterior of every string, the M-step normalises their sums,

.. math:: c_{n,l}(a, k) = \frac{\partial \log Z_n}{\partial \log \pi_l(k | a)}, \qquad
   \pi_l(k | a) \leftarrow \frac{\sum_n c_{n,l}(a, k)}{\sum_{k', n} c_{n,l}(a, k')},

which raises the likelihood :math:`\sum_n \log Z_n` at every step until it stands still.

Errors.  With weights as softmax of free numbers, string n has the score
:math:`s_n(a,k) = c_n(a,k) - \pi(k|a) \sum_{k'} c_n(a,k')`, and :math:`F = \sum_n s_n s_n^T`
estimates the information of P strings.  The covariance of the weights is :math:`J F^{+} J^T` with
:math:`J = \mathrm{diag}(\pi) - \pi\pi^T` per symbol; it falls as 1/P, the errors as P^{-1/2}.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, count, memory, number, unchecked
from hierdiff.contracts import SymbolEvidence
from hierdiff.data.rhm import Grammar
from hierdiff.errors import NotConverged
from hierdiff.theory.belief_propagation.tree_evidence import NodeEvidence
from hierdiff.theory.belief_propagation.tree_inference import (
    GROUP,
    TreePosterior,
    tree_posterior,
)

__all__ = ["LearnedWeights", "fit_weights"]

Array = NDArray[Any]
_NULL = 1e-10
"""Eigenvalues of the information, relative to the largest, that count as zero.  Those of directions
which change no weight are zero to rounding, 1e-16 times the number of strings."""


@dataclass(frozen=True, eq=False)
class LearnedWeights:
    """Weights that expectation maximisation found; made by :func:`fit_weights`.

    Attributes
    ----------
    grammar : Grammar
        The rules with the weights found, and the root prior if that was fitted.
    log_likelihood : array [steps + 1]
        Sum of log Z over the strings before each step and after the last, nats; it never falls.
    converged : bool
        Whether the last step gained less than the tolerance.
    """

    grammar: Grammar
    log_likelihood: Array
    converged: bool
    _posterior: TreePosterior = field(repr=False)

    @property
    def weights(self) -> tuple[Array, ...]:
        """pi_l(k | a), a tuple over levels of [v_l, m_l]."""
        return self.grammar.weights

    @cached_property
    def standard_errors(self) -> tuple[Array, ...]:
        """Standard errors of the weights, a tuple over levels of [v_l, m_l].

        Notes
        -----
        Validity: many strings, and weights away from 0 and 1; the root prior counts as known.
        Infinite where the strings say nothing about a weight.  Cost: the cube of the number of
        weights.
        """
        g, n = self.grammar, len(self._posterior)
        size = sum(w.size for w in g.weights)
        memory(f"the information of {size} weights", 8.0 * (n * size + 4.0 * size**2))
        scores = self._posterior._counts(1)
        jacobian, first = np.zeros((size, size)), 0
        for weight in g.weights:
            for pi in weight:
                part = slice(first, first + pi.size)
                scores[:, part] -= pi * scores[:, part].sum(axis=1, keepdims=True)
                jacobian[part, part] = np.diag(pi) - np.outer(pi, pi)
                first += pi.size
        values, vectors = np.linalg.eigh(scores.T @ scores)
        moved = jacobian @ vectors
        known = values > _NULL * values[-1]
        variance = (moved[:, known] ** 2 / values[known]).sum(axis=1)
        unknown = (moved[:, ~known] ** 2).sum(axis=1) > _NULL
        errors = np.where(unknown, np.inf, np.sqrt(variance))
        ends = np.cumsum([0, *(w.size for w in g.weights)])
        return tuple(
            errors[a:b].reshape(w.shape) for a, b, w in zip(ends, ends[1:], g.weights, strict=False)
        )


def _maximised(old: Array, counts: Array) -> Array:
    """Counts into weights; a symbol that was never used keeps the weights it had."""
    total = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, counts / total, old)


@checked(
    log_evidence=unchecked, nodes=unchecked, root=unchecked, num_steps=count, threads=count,
    tolerance=partial(number, low=0),
)  # fmt: skip
def fit_weights(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence | None = None,
    root: ArrayLike | None = None,
    *,
    nodes: NodeEvidence | None = None,
    fit_prior: bool = False,
    num_steps: int = 500,
    tolerance: float = 1e-7,
    threads: int | None = None,
) -> LearnedWeights:
    r"""Maximum-likelihood weights of known rules, from clean or noisy strings.

    .. math:: \pi_l(k | a) \leftarrow \frac{\sum_n c_{n,l}(a, k)}{\sum_{k', n} c_{n,l}(a, k')}

    Parameters
    ----------
    grammar : Grammar
        The rules, and the weights from which the iteration starts; a weight of zero stays zero.
    log_evidence, root, nodes
        Evidence of P strings, as
        :func:`~hierdiff.theory.belief_propagation.tree_inference.tree_posterior` takes it.  A clean
        string is evidence too: ``nodes={grammar.L: leaves}``.
    fit_prior : bool
        Fit the probabilities of the classes as well.
    num_steps : int
        Most steps.
    tolerance : float
        Stop when a step gains less log-likelihood per string, in nats.
    threads : int, optional
        Default: all processors of this process.  Results do not depend on it.

    Returns
    -------
    LearnedWeights

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As ``tree_posterior``, at the first step.

    Warns
    -----
    NotConverged
        If ``num_steps`` steps did not suffice.

    Notes
    -----
    Validity: any grammar; evidence that is a product over nodes and whose noise is known.  The
    likelihood rises at every step, to a stationary point, which need not be its maximum.  The rate
    is the fraction of information that the noise took away: slow at high noise.

    References
    ----------
    Dempster, Laird and Rubin, J. R. Stat. Soc. B 39, 1 (1977); Lari and Young, Computer Speech and
    Language 4, 35 (1990).

    Examples
    --------
    Clean strings of an unambiguous grammar are counted in one step:

    >>> truth = Grammar([[[[0, 1], [1, 0]]]], weights=[[[0.9, 0.1]]])
    >>> strings = truth.sample(100, seed=0).leaves
    >>> found = fit_weights(Grammar(truth.rules), nodes={1: strings})
    >>> found.weights[0].round(6).tolist(), float((strings[:, 0] == 0).mean())
    ([[0.84, 0.16]], 0.84)
    >>> found.standard_errors[0].round(4).tolist()
    [[0.0367, 0.0367]]
    """
    asked = tree_posterior(grammar, log_evidence, root, nodes=nodes, threads=threads)
    likelihood: list[float] = []
    converged = False
    for step in range(num_steps + 1):
        groups = -(-len(asked) // GROUP)
        size = sum(w.size for w in grammar.weights)
        belief, log_z, counts, *_ = asked._down(counts=(groups, size), group=GROUP, keep=fit_prior)
        likelihood.append(float(log_z.sum()))
        if step and likelihood[-1] - likelihood[-2] < tolerance * len(asked):
            converged = True
            break
        if step == num_steps:
            break
        g = asked.grammar
        total = asked._split(counts.sum(axis=0)[None], 1)
        weights = [_maximised(w, c[0]) for w, c in zip(g.weights, total, strict=True)]
        prior = g.root_prior
        evidence = asked._evidence
        if fit_prior and evidence.root is None:
            prior = belief[:, : g.v[0]].mean(axis=0)
            with np.errstate(divide="ignore"):
                kernel = evidence.kernel._replace(root=np.log(prior / prior.sum())[None])
            evidence = replace(evidence, kernel=kernel, leaves=None)
        better = Grammar(g.rules, weights, prior / prior.sum(), leaf_vocabulary=g.leaf_vocabulary)
        asked = replace(asked, grammar=better, _evidence=evidence)
    if not converged:
        gain = likelihood[-1] - likelihood[-2]
        warnings.warn(
            f"the weights gained {gain / len(asked):.2g} nats per string in step {num_steps}, more "
            f"than the tolerance {tolerance:g}; raise num_steps",
            NotConverged,
            stacklevel=2,
        )
    return LearnedWeights(asked.grammar, np.array(likelihood), converged, asked)
