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

Texts of a whole level
----------------------
The text may be the string :math:`y = (z_1, ..., z_n)` of *all* symbols of a level, with law p(y)
over the N strings that the rules allow; :math:`\beta(x)` is its exact posterior.  Then

.. math::
   K = D^{-1/2}\, E[\beta\,\beta^T]\, D^{-1/2}, \qquad D = \mathrm{diag}\, p(y),
   \qquad \sigma_k^2 = \mathrm{eig}_k(K) .                                             \qquad (4)

Where each symbol of the level is seen with probability a and hidden otherwise, as under occlusion
of its branch, K averages the conditional expectations :math:`E_S` given the symbols of a set S,

.. math::
   K = \sum_S a^{|S|} (1-a)^{n-|S|}\, E_S, \qquad
   \sum_k \sigma_k^2 = \sum_S a^{|S|} (1-a)^{n-|S|}\, N_S ,                            \qquad (5)

with the number :math:`N_S` of strings that the symbols of S can form.  Three cases are in closed
form.  All is seen: N values 1.  Symbols are independent, as where all tuples are used,
:math:`m = v^{s-1}`:

.. math::
   \sigma^2 = a^j \quad \text{with multiplicity} \quad
   \tbinom{n}{j} (v-1)^j, \qquad j = 0, ..., n .                                       \qquad (6)

Two symbols with canonical correlations :math:`c_j`, the singular values of their whitened joint
law beside the constant: :math:`E_1 + E_2` has the eigenvalues :math:`1 \pm c_j` on functions of one
symbol, so that

.. math::
   \sigma^2 = a\,(1 \pm (1-a)\, c_j) \;\; (j = 1, ..., v-1), \qquad
   \sigma^2 = a^2 \;\; (N - 2v + 1 \text{ times}) .                                    \qquad (7)

Since :math:`c_j \le 1` single symbols precede what the text says about both: a learner knows all
symbols from width 2v - 1 on, and whole strings from width N.  What is not a sum of functions of
single symbols, and so most of every level *above* the text, comes with the strings.

References: HaoChen et al., arXiv 2106.04156; Oko et al., arXiv 2501.04641 (contrastive learning on
hierarchical data).
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hierdiff.checks import checked, memory, number, one_level, whole
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

__all__ = [
    "TextPair", "TextPart", "TreePair", "noisy_text", "occluded_text", "text_parts", "text_widths",
    "tree_pair",
]  # fmt: skip

Floats = NDArray[np.float64]
Node = tuple[int, int]

_RANK = 1e-9
"""Part of the largest eigenvalue below which a direction of Q is rounding."""
_EQUAL = 1e-9
"""Distance of squared singular values (1 at most) below which they differ by rounding alone."""
_SUBSETS = 12
"""Most symbols of a text of which all sets are gone through, 4,096 of them."""


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


# ------------------------------------------------------------------------ texts of a whole level


class TextPair(NamedTuple):
    """Spectrum of leaves and the string of a level, and what features of the leaves reveal.

    Attributes
    ----------
    values : array [N]
        Singular values, the first is 1; N strings.
    revealed : array [level + 1, N]
        R^2 of eq. (2) of the symbols of every level down to that of the text, root first, for
        widths 1 to N, with the number of symbols that a node has in place of v; where singular
        values are equal, the mean over bases.
    string : array [N]
        The same of the string as one symbol of N.
    """

    values: Floats
    revealed: Floats
    string: Floats


class TextPart(NamedTuple):
    """Singular functions with one value, of a text in closed form.

    Attributes
    ----------
    text : str
        What they are functions of.
    value : float
        Singular value.
    number : int
        Multiplicity.
    """

    text: str
    value: float
    number: int


class _Strings(NamedTuple):
    """Strings of a level: symbols [N, n], law [N], p(symbol | string) per level [N, nodes, v]."""

    symbols: NDArray[np.int64]
    law: Floats
    latents: list[Floats]


def _strings(grammar: Grammar, level: int) -> _Strings:
    """All strings of a level that have a positive probability, by all derivations of them."""
    rows = float(grammar.v[0]) * math.prod(
        float(grammar.rules[i].shape[1]) ** grammar.n_nodes(i) for i in range(level)
    )
    memory(f"the spectrum of up to {rows:.3g} strings of level {level}", 40.0 * rows**2)
    levels = [np.arange(grammar.v[0])[:, None]]
    p = np.asarray(grammar.root_prior, float)
    for i in range(level):
        above, rules, weights = levels[-1], grammar.rules[i], grammar.weights[i]
        chosen = np.array(list(product(range(rules.shape[1]), repeat=above.shape[1])))
        parents = np.repeat(above, len(chosen), axis=0)
        ways = np.tile(chosen, (len(above), 1))
        p = np.repeat(p, len(chosen)) * weights[parents, ways].prod(axis=1)
        there = p > 0
        p = p[there]
        levels = [np.repeat(x, len(chosen), axis=0)[there] for x in levels]
        levels.append(rules[parents, ways].reshape(len(parents), -1)[there].astype(np.int64))
    kept = p > 0
    symbols, name = np.unique(levels[-1][kept], axis=0, return_inverse=True)
    name, p = name.reshape(-1), p[kept]
    law = np.bincount(name, p)
    latents = []
    for i, z in enumerate(levels):
        given = np.zeros((len(law), z.shape[1], grammar.v[i]))
        np.add.at(given, (name[:, None], np.arange(z.shape[1]), z[kept]), p[:, None])
        latents.append(given / law[:, None, None])
    return _Strings(symbols, law / law.sum(), latents)


def _spectrum_of(strings: _Strings, k: Floats) -> TextPair:
    """Singular values and shares from the operator (4)."""
    p, root = strings.law, np.sqrt(strings.law)
    n = len(p)
    # the constant is taken out, as other singular values may be 1 too
    squares, vectors = np.linalg.eigh(k - np.outer(root, root))
    squares = np.clip(squares[:0:-1], 0.0, None)  # the smallest is that of the constant
    vectors = vectors[:, :0:-1]
    rows = [np.zeros((len(strings.latents) + 1, 1)), np.zeros((len(strings.latents) + 1, n - 1))]
    for i, given in enumerate(strings.latents):
        prior = np.einsum("n,nja->ja", p, given)
        moments = np.einsum("nk,n,nja->kja", vectors, root, given)
        share = (moments**2 / np.maximum(prior, 1e-300)).sum(axis=2)
        # the variance of a one-hot symbol, in these units, is the number of used symbols less one
        rows[1][i] = squares * (share / np.maximum((prior > 0).sum(axis=1) - 1, 1)).mean(axis=1)
    rows[1][-1] = squares / max(n - 1, 1)
    # where groups of equal values begin; one string has none
    begins = np.flatnonzero(np.r_[True, squares[:-1] - squares[1:] > _EQUAL][: n - 1])
    for first, last in zip(begins, [*begins[1:], n - 1][: len(begins)], strict=True):
        rows[1][:, first:last] = rows[1][:, first:last].mean(axis=1, keepdims=True)
    shares = np.cumsum(np.hstack(rows), axis=1)
    return TextPair(np.sqrt(np.r_[1.0, squares]), shares[:-1], shares[-1])


_checked_share = partial(number, low=0.0, high=1.0)


@checked(kept=_checked_share)
def occluded_text(grammar: Grammar, level: int, kept: float) -> TextPair:
    r"""Spectrum of a text of all symbols of a level, and an image that shows some of them, eq. (5).

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the text, 1 to L.
    kept : float
        Probability a that a symbol is seen, each by itself; at the leaves 1 - t of masking noise.

    Returns
    -------
    TextPair

    Raises
    ------
    InvalidParameter
        For levels outside of the tree, of more than 12 symbols, or with more strings than memory
        holds.

    Notes
    -----
    Validity: exact for any grammar.  Cost N^3 for N strings, and 2^n N^2 for n symbols.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> found = occluded_text(grammar, 1, 0.8)
    >>> found.values.round(3).tolist()
    [1.0, 0.95, 0.918, 0.894, 0.871, 0.836, 0.8, 0.8]
    >>> found.revealed[:, -1].round(2).tolist()  # of the class, and of the symbols of the text
    [0.76, 0.83]
    """
    strings = _strings_of(grammar, level)
    n = strings.symbols.shape[1]
    if n > _SUBSETS:
        raise InvalidParameter(
            f"level = {level} has {n} symbols and 2^{n} sets of them; give a level of at most "
            f"{_SUBSETS}, or noisy_text"
        )
    k = np.zeros((len(strings.law),) * 2)
    for seen in product((False, True), repeat=n):
        share = kept ** sum(seen) * (1 - kept) ** (n - sum(seen))
        if share:
            _, part = np.unique(strings.symbols[:, np.array(seen)], axis=0, return_inverse=True)
            part = part.reshape(-1)
            total = np.bincount(part, strings.law)[part]
            k += share * (part[:, None] == part) / total[:, None]
    root = np.sqrt(strings.law)
    return _spectrum_of(strings, k * np.outer(root, root))


@checked(t=one_level)
def noisy_text(
    grammar: Grammar, noise: NoiseProcess, t: float, level: int, *, n: int = 4000, seed: Seed = 0
) -> TextPair:
    """Spectrum of a text of all symbols of a level, and the noisy leaves, eq. (4).

    Parameters
    ----------
    grammar : Grammar
    noise : NoiseProcess
        Of the leaves.
    t : float
        Noise level in [0, 1].
    level : int
        Level of the text, 1 to L.
    n : int
        Samples for the mean over x, at least two for each string that the text may be.
    seed : Seed
        Source of randomness.

    Returns
    -------
    TextPair

    Raises
    ------
    InvalidParameter
        For levels outside of the tree, n too small, or more strings than memory holds.

    Notes
    -----
    Validity: exact but for the mean over n samples, in which all strings are equally frequent and
    weighted.  Squared singular values move by order (N / n)^(1/2), and are spread out by as much
    where they are equal: take many samples for each string.

    Examples
    --------
    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
    >>> found = noisy_text(grammar, MaskingNoise(4), 0.0, 1, n=16)
    >>> found.values.round(6).tolist(), found.string[-1].round(6).tolist()
    ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 1.0)
    """
    strings = _strings_of(grammar, level)
    rows, nodes = strings.symbols.shape
    if whole("n", n, 1) < 2 * rows:
        raise InvalidParameter(f"n = {n} samples of {rows} strings; give at least {2 * rows}")
    memory(f"n = {n} samples", 16.0 * n * (rows + grammar.n_leaves * grammar.v[-1]))
    rng = generator(seed)
    each = -(-n // rows)
    y = np.repeat(np.arange(rows), each)
    weight = strings.law[y] / each
    symbols = strings.symbols[y].reshape(-1)
    v = grammar.v[level]
    if level == grammar.L:
        leaves = symbols[:, None]
        log = noise.log_evidence(noise.corrupt(leaves, t, rng), t)[:, 0]
    else:
        # a flat prior, so that marginals of the branch are its likelihoods
        below = Grammar(
            grammar.rules[level:], grammar.weights[level:], np.full(v, 1 / v),
            leaf_vocabulary=grammar.v[-1],
        )  # fmt: skip
        x_t = noise.corrupt(below.sample(len(symbols), rng, root=symbols).leaves, t, rng)
        log = _log(posterior(below, noise.evidence(x_t, t), levels=(0,)).marginals[0][:, 0])
    log = log.reshape(len(y), nodes, v)
    beta = np.log(strings.law) + sum(log[:, j, strings.symbols[:, j]] for j in range(nodes))
    beta = np.exp(beta - beta.max(axis=1, keepdims=True))
    beta /= beta.sum(axis=1, keepdims=True)
    # less its mean, which is p(y): then the constant is a singular function of any sample
    root = np.sqrt(strings.law)
    beta = (beta - strings.law) / root
    return _spectrum_of(strings, (beta * weight[:, None]).T @ beta + np.outer(root, root))


@checked(kept=_checked_share)
def text_parts(grammar: Grammar, level: int, kept: float) -> tuple[TextPart, ...]:
    """The spectrum of :func:`occluded_text` with multiplicities in closed form, eqs. (6) and (7).

    Parameters
    ----------
    grammar, level, kept
        As in :func:`occluded_text`.

    Returns
    -------
    tuple of TextPart
        Largest singular value first.

    Raises
    ------
    InvalidParameter
        Where there is no closed form: more than two symbols that are not independent.

    Notes
    -----
    Validity: exact where it is not refused: kept = 1, independent symbols, or two symbols.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> for part in text_parts(RHM(v=3, m=3, s=2, L=2).draw(seed=0), 2, 0.5):
    ...     print(part.text, round(part.value, 3), part.number)
    constant 1.0 1
    1 symbol 0.707 8
    2 symbols together 0.5 24
    3 symbols together 0.354 32
    4 symbols together 0.25 16
    """
    strings = _strings_of(grammar, level)
    rows, n = strings.symbols.shape
    single = [np.bincount(column, strings.law) for column in strings.symbols.T]
    used = [int((p > 0).sum()) for p in single]
    parts = [TextPart("constant", 1.0, 1)]
    free = math.prod(p[column] for p, column in zip(single, strings.symbols.T, strict=True))
    if kept == 1:
        return (*parts, TextPart("whole strings", 1.0, rows - 1))
    if math.prod(used) == rows and np.allclose(free, strings.law, rtol=1e-9, atol=0):
        # elementary symmetric polynomials of v - 1
        number_of = np.array([1.0])
        for v in used:
            number_of = np.convolve(number_of, [1.0, v - 1.0])
        names = ["1 symbol", *(f"{j} symbols together" for j in range(2, n + 1))]
        parts += [TextPart(name, kept ** (j / 2), round(number_of[j]))
                  for j, name in enumerate(names, 1)]  # fmt: skip
        return tuple(parts)
    if n != 2:
        raise InvalidParameter(
            f"level = {level} has {n} symbols that are not independent, of which no closed form is "
            "known; give a level of two, or occluded_text"
        )
    joint = np.zeros((len(single[0]), len(single[1])))
    joint[tuple(strings.symbols.T)] = strings.law
    joint = joint[single[0] > 0][:, single[1] > 0]
    p, q = (x[x > 0] for x in single)
    c = np.clip(np.linalg.svd(joint / np.sqrt(np.outer(p, q)), compute_uv=False)[1:], 0.0, 1.0)
    c = np.r_[c, np.zeros(abs(len(p) - len(q)))]  # functions of one symbol without a partner
    both = len(c) - abs(len(p) - len(q))
    same = c > 1 - _EQUAL  # a function of one symbol is one of the other: there is no difference
    squares = [("both symbols alike", kept * (1 + (1 - kept) * c[:both]))]
    squares += [("one symbol alone", np.full(len(c) - both, kept))]
    squares += [("one symbol against the other", kept * (1 - (1 - kept) * c[:both][~same[:both]]))]
    squares += [("whole strings", np.full(rows - len(p) - len(q) + 1 + int(same.sum()), kept**2))]
    for name, values in squares:
        for x in np.unique(values.round(12))[::-1]:
            count = int((np.abs(values - x) < _EQUAL).sum())
            parts.append(TextPart(name, float(np.sqrt(x)), count))
    return tuple(sorted(parts, key=lambda part: -part.value))


@checked(share=partial(number, above=0.0, high=1.0))
def text_widths(pair: TextPair, share: float = 0.9) -> dict[str, int]:
    """Least width at which each level reaches a share of what it has at full width.

    Parameters
    ----------
    pair : TextPair
    share : float
        In (0, 1].

    Returns
    -------
    dict
        By "level 0" (the class), ..., and "string"; 0 for a level of which nothing is revealed.

    Raises
    ------
    InvalidParameter
        If ``pair`` is none, or the share is not in (0, 1].

    Notes
    -----
    Validity: that of the pair; among equal singular values the basis is not determined, and shares
    grow in proportion to the width.

    Examples
    --------
    >>> from hierdiff import RHM
    >>> text_widths(occluded_text(RHM(v=4, m=2, s=2, L=2).draw(seed=0), 1, 0.8))
    {'level 0': 8, 'level 1': 5, 'string': 8}
    """
    rows = {f"level {i}": row for i, row in enumerate(pair.revealed)} | {"string": pair.string}
    found = {}
    for name, row in rows.items():
        # a share of all is reached where rounding is all that is missing
        there = row >= share * row[-1] * (1 - 1e-12)
        found[name] = int(there.argmax()) + 1 if row[-1] > _RANK else 0
    return found


def _strings_of(grammar: Grammar, level: int) -> _Strings:
    if whole("level", level, 1) > grammar.L:
        raise InvalidParameter(f"level = {level} is outside of the tree; give 1 to {grammar.L}")
    return _strings(grammar, level)
