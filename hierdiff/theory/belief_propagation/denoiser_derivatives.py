r"""Derivatives of the exact denoiser, and the static correlations that they measure.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
x_t = a x0 + sigma z    Gaussian noise on one-hot leaves, a^2 = alpha_bar, sigma^2 = 1 - alpha_bar
D                       numbers of a datum, leaves times v_L
C_ij                    posterior covariance of the one-hot leaves i and j, [v, v]
h(i, j)                 height of the lowest common ancestor of two leaves; 0 for i = j
======================  =========================================================================

The derivative of a posterior mean of Gaussian noise is the posterior covariance,

.. math:: J(x) = \frac{\partial E[x_0 | x]}{\partial x} = \frac{a}{\sigma^2}\,
   \mathrm{Cov}(x_0 \mid x), \qquad
   \nabla\cdot s = \frac{a \operatorname{tr} J - D}{\sigma^2}, \quad
   s = \frac{a E[x_0 | x] - x}{\sigma^2}.

J is symmetric, positive semidefinite, and has one zero mode per leaf, since the numbers of a leaf
sum to one.  Its large eigenvalues are directions in which a small change of the datum changes what
is inferred.  They belong to many leaves where leaves are correlated:

.. math:: G(h) = \big\langle \|C_{ij}\|_F^2 \big\rangle_{h(i,j) = h}, \qquad
   \chi = \frac{\sum_{ij} \|C_{ij}\|_F^2}{\sum_i \|C_{ii}\|_F^2}
        = \frac{\sum_h N_h G(h)}{G(0)}
        = \frac{\operatorname{tr} C^2}{\sum_i \operatorname{tr} C_{ii}^2}

with the number N_h of leaves at height h from a leaf.  chi is the number of leaves that vary
together, and the static correlation length in units of leaves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, levels_of, memory, unchecked
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.noise import NoiseProcess, SignalNoise, has_snr
from hierdiff.theory.belief_propagation.tree_evidence import NodeEvidence
from hierdiff.theory.belief_propagation.tree_inference import TreePosterior, tree_posterior

__all__ = [
    "correlation_length",
    "denoiser_jacobian",
    "denoiser_spectrum",
    "score_divergence",
    "static_correlations",
]

Array = NDArray[Any]
_ROUNDING = 1e-24
"""Squared covariances that are rounding: covariances are differences of numbers up to one."""


def _asked(
    grammar: Grammar, noise: NoiseProcess, x_t: Any, t: Any, root: Any, nodes: Any
) -> tuple[TreePosterior, Array, Array]:
    """The posterior, a and sigma^2 of every sample."""
    if not has_snr(noise) or noise.v is None:
        raise InvalidParameter(
            f"noise = {noise!r} has no derivative; give GaussianNoise(v={grammar.v[grammar.L]})"
        )
    asked = tree_posterior(grammar, noise.evidence(x_t, t), root, nodes=nodes)
    n = len(asked)
    signal = np.broadcast_to(noise.alpha_bar(levels_of(t, n)), (n,))
    if (signal >= 1).any():
        raise InvalidParameter(
            f"t = {float(np.min(t)):g} has no noise; the denoiser has no derivative; give t > 0"
        )
    return asked, np.sqrt(signal), 1.0 - signal


@checked(nodes=unchecked, root=unchecked)
def denoiser_jacobian(
    grammar: Grammar,
    noise: SignalNoise,
    x_t: Array,
    t: ArrayLike,
    root: ArrayLike | None = None,
    *,
    nodes: NodeEvidence | None = None,
) -> Array:
    r"""Derivative of the exact denoiser with respect to the noisy datum.

    .. math:: J = \frac{a}{\sigma^2}\, \mathrm{Cov}(x_0 \mid x_t)

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.
    noise : GaussianNoise
        On one-hot leaves.
    x_t : array [n, leaves, v]
        Noisy data.
    t : float or array [n]
        Noise level in (0, 1].
    root, nodes
        A class or latents that are given, as
        :func:`~hierdiff.theory.belief_propagation.tree_inference.tree_posterior` takes them.

    Returns
    -------
    array [n, D, D]
        Entry (i v + b, j v + c) is the derivative of E[x0_{i,b}] by x_{j,c}.

    Raises
    ------
    InvalidParameter
        For noise without derivatives, t = 0, or what does not fit into memory.
    ImpossibleEvidence
        If the datum and what is given exclude each other.

    Notes
    -----
    Validity: exact for any grammar.  Cost and memory grow as the square of the number of leaves;
    :meth:`TreePosterior.covariance_product` gives products of it with vectors at linear cost.

    Examples
    --------
    >>> from hierdiff import RHM, GaussianNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), GaussianNoise(v=4)
    >>> x_t = noise.corrupt(grammar.sample(1, seed=1).leaves, 0.5, seed=2)
    >>> slope = denoiser_jacobian(grammar, noise, x_t, 0.5)[0]
    >>> slope.shape, bool(abs(slope.sum(axis=0)).max() < 1e-12)
    ((16, 16), True)
    """
    asked, a, variance = _asked(grammar, noise, x_t, t, root, nodes)
    out = asked.covariance()
    out *= (a / variance)[:, None, None]
    return out


@checked(nodes=unchecked, root=unchecked)
def denoiser_spectrum(
    grammar: Grammar,
    noise: SignalNoise,
    x_t: Array,
    t: ArrayLike,
    root: ArrayLike | None = None,
    *,
    nodes: NodeEvidence | None = None,
) -> Array:
    """Eigenvalues of the Jacobian of the exact denoiser, the largest first.

    Parameters
    ----------
    grammar, noise, x_t, t, root, nodes
        As in :func:`denoiser_jacobian`.

    Returns
    -------
    array [n, D]
        Not negative; the last ones, one per leaf, are zero.

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`denoiser_jacobian`.

    Notes
    -----
    Validity: exact for any grammar, to the rounding of an eigenvalue solver (1e-15 of the largest,
    and none below zero).  Cost: the cube of D.

    Examples
    --------
    >>> from hierdiff import RHM, GaussianNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), GaussianNoise(v=4)
    >>> x_t = noise.corrupt(grammar.sample(1, seed=1).leaves, 0.5, seed=2)
    >>> bool(denoiser_spectrum(grammar, noise, x_t, 0.5)[0, 12:].max() < 1e-12)
    True
    """
    matrix = denoiser_jacobian(grammar, noise, x_t, t, root, nodes=nodes)
    return np.maximum(np.linalg.eigvalsh(matrix)[:, ::-1], 0.0)


@checked(nodes=unchecked, root=unchecked)
def score_divergence(
    grammar: Grammar,
    noise: SignalNoise,
    x_t: Array,
    t: ArrayLike,
    root: ArrayLike | None = None,
    *,
    nodes: NodeEvidence | None = None,
) -> Array:
    r"""Divergence of the exact score, the Laplacian of the log-density of noisy data.

    .. math:: \nabla \cdot s = \frac{1}{\sigma^2} \Big[ \frac{a^2}{\sigma^2}
       \sum_i \Big(1 - \sum_b p_i(b)^2\Big) - D \Big]

    Parameters
    ----------
    grammar, noise, x_t, t, root, nodes
        As in :func:`denoiser_jacobian`.

    Returns
    -------
    array [n]

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`denoiser_jacobian`.

    Notes
    -----
    Validity: exact for any grammar.  The trace of the covariance needs the marginals alone, so the
    cost is linear in the number of leaves.

    Examples
    --------
    >>> from hierdiff import RHM, GaussianNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), GaussianNoise(v=4)
    >>> float(score_divergence(grammar, noise, np.zeros((1, 4, 4)), 1.0).round(6)[0])
    -16.0
    """
    asked, a, variance = _asked(grammar, noise, x_t, t, root, nodes)
    leaves = asked.marginals[grammar.L]
    spread = (1.0 - (leaves**2).sum(axis=2)).sum(axis=1)
    return np.asarray((a**2 / variance * spread - leaves[0].size) / variance)


@checked
def static_correlations(asked: TreePosterior) -> Array:
    r"""Squared covariance of two leaves against the height of their lowest common ancestor.

    .. math:: G(h) = \big\langle \|C_{ij}\|_F^2 \big\rangle_{h(i,j) = h}

    Parameters
    ----------
    asked : TreePosterior
        Of any evidence.

    Returns
    -------
    array [n, L + 1]
        G(0) is that of a leaf with itself.  A height without pairs (s = 1) is zero.

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :meth:`TreePosterior.covariance`.

    Notes
    -----
    Validity: exact for any grammar and any evidence; averages run over all pairs of leaves.

    Examples
    --------
    >>> grammar = Grammar([[[[0, 1], [1, 0]]]])
    >>> static_correlations(tree_posterior(grammar)).tolist()
    [[0.25, 0.25]]
    """
    g = asked.grammar
    v, leaves = g.v[g.L], g.n_leaves
    heights = _heights(g)
    memory(f"correlations of {leaves} leaves", 16.0 * (leaves * v) ** 2)
    out = np.zeros((len(asked), g.L + 1))
    numbers = np.bincount(heights.ravel(), minlength=g.L + 1)
    matrix = asked.covariance()
    for i, one in enumerate(matrix):
        square = (one.reshape(leaves, v, leaves, v) ** 2).sum(axis=(1, 3))
        total = np.bincount(heights.ravel(), square.ravel(), minlength=g.L + 1)
        out[i] = total / np.maximum(numbers, 1)
    return out


def _heights(g: Grammar) -> Array:
    """Height of the lowest common ancestor of every two leaves."""
    out = np.zeros((g.n_leaves, g.n_leaves), np.int64)
    leaf, below = np.arange(g.n_leaves), 1
    for height in range(g.L):
        apart = leaf[:, None] // below != leaf[None] // below
        out[apart] = height + 1
        below *= g.s[g.L - 1 - height]
    return out


@checked
def correlation_length(grammar: Grammar, correlations: ArrayLike) -> Array:
    r"""Number of leaves that vary together, from :func:`static_correlations`.

    .. math:: \chi = \frac{\sum_h N_h G(h)}{G(0)}

    Parameters
    ----------
    grammar : Grammar
        It gives the number N_h of leaves at height h from a leaf.
    correlations : array [..., L + 1]
        G(h), of one datum or averaged over data: the ratio of means and not the mean of ratios, to
        which data without uncertainty contribute 0/0.

    Returns
    -------
    array [...]
        Between 1 and the number of leaves; 1 also where nothing varies beyond rounding.

    Raises
    ------
    InvalidParameter
        If the last axis is not one per level.

    Notes
    -----
    Validity: exact.

    Examples
    --------
    >>> grammar = Grammar([[[[0, 1], [1, 0]]]])
    >>> float(correlation_length(grammar, [0.25, 0.25]))
    2.0
    """
    found = np.asarray(correlations, float)
    if found.ndim < 1 or found.shape[-1] != grammar.L + 1:
        raise InvalidParameter(
            f"correlations have shape {found.shape}; give (..., {grammar.L + 1}), one per height"
        )
    sizes = np.cumprod([1, *grammar.s[::-1]])
    numbers = np.diff(sizes, prepend=0)
    total, own = (found * numbers).sum(axis=-1), found[..., 0]
    varies = own > _ROUNDING
    return np.where(varies, total / np.where(varies, own, 1.0), 1.0)
