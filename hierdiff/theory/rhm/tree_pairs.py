r"""Contrastive pairs of a tree: what the leaves below two nodes, or leaves and a latent, reveal.

=================  =============================================================================
symbol             meaning
=================  =============================================================================
u, w               symbols of two nodes; J their joint law, D and D' their marginals
x, y               noisy leaves below u and below w, or y = w where the second view is a text
b(x)               exact posterior of u given x
Q                  :math:`D^{-1/2}\, E[b\,b^T]\, D^{-1/2}`, what x keeps of u: I for all, rank one
                   for nothing
z                  symbol of any other node
=================  =============================================================================

Given u and w the two views are independent if w does not lie below u.  The joint law then has rank
v at most, and its spectrum is that of a v x v matrix,

.. math::
   \frac{p(x,y)}{\sqrt{p(x)p(y)}} \;\sim\; Q^{1/2}\, D^{-1/2} J D'^{-1/2}\, Q'^{1/2}, \qquad
   \phi_k(x) = \sum_u b_u(x)\, D_u^{-1/2}\, (Q^{-1/2} w_k)_u .                        \qquad (1)

The caption of a node w inside of the first view depends on x beyond u; there b(x) and Q are those
of w, J = D', and the formula is the same.

Whatever the loss, a contrastive learner of x is a function of b(x): of the symbol at the top of its
own view, not of what joins the two views.  The level that it reveals is measured by the share of
the variance of a one-hot symbol that its features explain,

.. math::
   R^2_z(d) = \frac{1}{v-1} \sum_{0<k<d} \sum_z \frac{E[\phi_k(x)\, 1_z]^2}{p(z)} .    \qquad (2)

For leaves and class, with classes of equal probability,

.. math::
   \frac{1}{v-1} \sum_{k>0} \sigma_k^2 = \frac{v\, E[b_{true}] - 1}{v - 1}:            \qquad (3)

the mean squared singular value *is* the order parameter of the phase transition, so a contrastive
learner loses the class at the noise level at which the diffusion model does.

References: HaoChen et al., arXiv 2106.04156; Oko et al., arXiv 2501.04641 (contrastive learning on
hierarchical data).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, memory, one_level, whole
from hierdiff.contracts import NoiseProcess
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation.exact_posterior import posterior
from hierdiff.theory.rhm.token_correlations import (
    _ancestor,
    _checked_node,
    _down,
    node_marginals,
    pair_joint,
)

__all__ = ["TreePair", "tree_pair"]

Floats = NDArray[np.float64]
Node = tuple[int, int]

_RANK = 1e-9
"""Part of the largest eigenvalue below which a direction of Q is rounding."""


class TreePair(NamedTuple):
    """Spectrum of a contrastive pair, and what its features reveal.

    Attributes
    ----------
    values : array [k]
        Singular values; the first is 1 but for the error of means.
    revealed : array [L + 1, k]
        R^2 of eq. (2) per level, root first, for widths d = 1 to k: of the nodes above the first
        view, and the mean over those in it.
    belief : float
        Mean posterior probability of the true symbol of the first node.
    """

    values: Floats
    revealed: Floats
    belief: float


def _view(
    grammar: Grammar, noise: NoiseProcess, t: float, node: Node, n: int, rng: np.random.Generator,
    inner: Node | None = None,
) -> tuple[Floats, list[Floats], float]:  # fmt: skip
    """Q of a node, its moments with every level from it down, and the mean belief in its truth.

    With a node inside of the view, Q and the moments are those of this node.
    """
    level, position = node
    prior = node_marginals(grammar, level)[position]
    # every symbol equally often, weighted: means over symbols have no scatter
    there = np.flatnonzero(prior > 0)
    root = np.repeat(there, -(-n // len(there)))
    weight = prior[root] / (-(-n // len(there)))
    if level == grammar.L:  # one leaf by itself
        log = noise.log_evidence(noise.corrupt(root[:, None], t, rng), t)[:, 0] + _log(prior)
        b = np.exp(log - log.max(axis=1, keepdims=True))
        marginals = [(b / b.sum(axis=1, keepdims=True))[:, None]]
    else:
        below = Grammar(
            grammar.rules[level:], grammar.weights[level:], prior / prior.sum(),
            leaf_vocabulary=grammar.v[-1],
        )  # fmt: skip
        x_t = noise.corrupt(below.sample(len(root), rng, root=root).leaves, t, rng)
        marginals = list(posterior(below, noise.evidence(x_t, t)).marginals)
    belief = float(weight @ (marginals[0][:, 0] ** 2).sum(axis=1))
    top = marginals[0][:, 0]
    if inner is not None:
        depth = inner[0] - level
        first = position * (grammar.n_nodes(inner[0]) // grammar.n_nodes(level))
        top = marginals[depth][:, inner[1] - first]
        prior = node_marginals(grammar, inner[0])[inner[1]]
    cross = []
    for p in marginals:
        mean = np.einsum("n,nja->ja", weight, p)
        law = np.einsum("n,nu,nja->jau", weight, top, p)
        cross.append(law / np.sqrt(np.maximum(mean[:, :, None] * prior, 1e-300)))
    scale = np.sqrt(np.maximum(np.outer(prior, prior), 1e-300))
    q = np.einsum("n,nu,na->ua", weight, top, top) / scale
    return q, cross, belief


def _log(p: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p))


def _powers(q: Floats) -> tuple[Floats, Floats]:
    """Square root of Q and its inverse, on the directions that are there."""
    values, vectors = np.linalg.eigh((q + q.T) / 2)
    there = values > _RANK * values.max()
    root = np.sqrt(np.where(there, values, 0.0))
    inverse = np.where(there, 1 / np.sqrt(np.where(there, values, 1.0)), 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T


@checked(t=one_level, first=_checked_node, second=_checked_node)
def tree_pair(
    grammar: Grammar,
    noise: NoiseProcess,
    t: float,
    first: Node,
    second: Node,
    *,
    n: int = 2000,
    seed: Seed = 0,
    text: bool = False,
) -> TreePair:
    r"""Spectrum of two views of a derivation, and the levels that features of the first reveal.

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Of the leaves of both views.
    t : float
        Noise level in [0, 1].
    first, second : (level, position)
        Nodes whose leaves are the views.
    n : int
        Samples for the means over x, at least two.
    seed : Seed
        Source of randomness.
    text : bool
        The second view is the symbol of its node itself, as a caption; it may then stand anywhere,
        inside of the first view as well.

    Returns
    -------
    TreePair

    Raises
    ------
    InvalidParameter
        For nodes outside of the tree, views that share leaves, n < 2.

    Notes
    -----
    Validity: exact for any grammar but for the means over n samples (of beliefs, from which the
    truth is averaged out); an error of means moves squared singular values by order n^(-1/2).

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> found = tree_pair(grammar, MaskingNoise(4), 0.0, (0, 0), (0, 0), n=40, text=True)
    >>> found.values.round(6).tolist(), found.revealed[0].round(2).tolist()
    ([1.0, 1.0, 1.0, 1.0], [0.0, 0.33, 0.67, 1.0])
    """
    whole("n", n, 2)
    for name, (level, position) in (("first", first), ("second", second)):
        if level > grammar.L or position >= grammar.n_nodes(min(level, grammar.L)):
            raise InvalidParameter(
                f"{name} = ({level}, {position}) is no node; level {min(level, grammar.L)} has "
                f"{grammar.n_nodes(min(level, grammar.L))} nodes, levels run to {grammar.L}"
            )
    ranges = [_leaves(grammar, node) for node in (first, second)]
    if not text and ranges[0][0] < ranges[1][1] and ranges[1][0] < ranges[0][1]:
        raise InvalidParameter(
            f"first = {first} and second = {second} share leaves; give nodes of which none lies "
            "above the other, or text=True"
        )
    memory(f"n = {n} samples", 16.0 * n * sum(grammar.n_nodes(i) * v
                                              for i, v in enumerate(grammar.v)))  # fmt: skip
    rng = generator(seed)
    inside = first[0] < second[0] and _ancestor(grammar, second, first[0]) == first[1]
    q, cross, belief = _view(grammar, noise, t, first, n, rng, second if inside else None)
    root, inverse = _powers(q)
    other = np.eye(grammar.v[second[0]])
    if not text:
        other, _ = _powers(_view(grammar, noise, t, second, n, rng)[0])
    known = second if inside else first
    spectrum = root @ _whitened(grammar, known, second) @ other
    values = np.asarray(np.linalg.svd(spectrum, compute_uv=False), np.float64)
    k = len(values)
    constant = root @ np.sqrt(node_marginals(grammar, known[0])[known[1]])
    features = inverse @ _varying(spectrum, constant / np.linalg.norm(constant))[:, : k - 1]
    revealed = np.zeros((grammar.L + 1, k))
    for level in range(grammar.L + 1):
        if level <= first[0]:
            above = _leaves(grammar, first)[0] // _width(grammar, level)
            # of the node itself the moments are Q, and those of a caption inside go through it
            moments = (_whitened(grammar, (level, above), first) @ cross[0][0] @ features)[None]
        else:
            moments = cross[level - first[0]] @ features
        square = (moments**2).sum(axis=1).mean(axis=0) / max(grammar.v[level] - 1, 1)
        revealed[level, 1:] = np.cumsum(square)
    return TreePair(values[:k], revealed, belief)


def _varying(spectrum: Floats, constant: Floats) -> Floats:
    """Left singular vectors beside that of the constant function, largest singular value first.

    The constant reveals nothing.  Other singular values may be 1 too, as of clean views, and then a
    decomposition mixes it with functions that do reveal something: so it is taken out beforehand.
    """
    rest = spectrum - np.outer(constant, constant @ spectrum)
    square = rest @ rest.T
    shift = 2 * max(float(np.trace(square)), 1.0)
    _, vectors = np.linalg.eigh(square + shift * np.outer(constant, constant))
    return np.asarray(vectors[:, -2::-1])


def _width(grammar: Grammar, level: int) -> int:
    """Leaves below a node."""
    return grammar.n_leaves // grammar.n_nodes(level)


def _leaves(grammar: Grammar, node: Node) -> tuple[int, int]:
    width = _width(grammar, node[0])
    return node[1] * width, (node[1] + 1) * width


def _whitened(grammar: Grammar, first: Node, second: Node) -> Floats:
    """D^(-1/2) J D'^(-1/2) of two nodes."""
    p, r = (node_marginals(grammar, node[0])[node[1]] for node in (first, second))
    return np.asarray(_joint(grammar, first, second) / np.sqrt(np.maximum(p[:, None] * r, 1e-300)))


def _joint(grammar: Grammar, first: Node, second: Node) -> Floats:
    """Joint law of any two nodes."""
    level = min(first[0], second[0])
    if _ancestor(grammar, first, level) != _ancestor(grammar, second, level):
        return pair_joint(grammar, first, second)
    if first[0] > second[0]:
        return _joint(grammar, second, first).T
    prior = node_marginals(grammar, first[0])[first[1]]
    return np.asarray(prior[:, None] * _down(grammar, second, first[0]))
