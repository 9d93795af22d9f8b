r"""Exact inference on the derivation tree.

==================================  =============================================================
symbol                              meaning
==================================  =============================================================
psi_i(b)                            evidence of leaf i, proportional to p(observation | symbol b)
nu_up(a), nu_down(a)                messages about a node from below, and from everything else
a -> (b_1 ... b_s), pi_k            rule k of symbol a, and its probability
==================================  =============================================================

.. math::
   \nu^\uparrow(a) = \sum_k \pi_k \prod_j \nu^\uparrow_j(b_j^{(a,k)}), \qquad
   \nu^\downarrow_j(b) = \sum_{(a,k):\, b_j^{(a,k)} = b} \nu^\downarrow(a)\, \pi_k
   \prod_{i \ne j} \nu^\uparrow_i(b_i^{(a,k)}), \qquad
   p(a \mid x_t) \propto \nu^\uparrow(a)\, \nu^\downarrow(a).

The tree has no loops, so the marginals are exact; the normalisers multiply to p(x_t), and symbols
drawn root first, each rule from its posterior given the symbol, are exact posterior samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from hierdiff._kernels import layout
from hierdiff.checks import checked, count, memory, reals, unchecked
from hierdiff.errors import InvalidParameter
from hierdiff.grammar import Derivations, Grammar
from hierdiff.noise import NoiseProcess, SymbolEvidence
from hierdiff.seeds import Seed, generator
from hierdiff.theory import _inference as inference
from hierdiff.theory._engine import Leaves, available_threads
from hierdiff.theory._evidence import latents_of, leaves_of

__all__ = ["NodeBeliefs", "Posterior", "denoise_symbols", "posterior", "true_beliefs"]

Array = NDArray[Any]


@dataclass(frozen=True)
class NodeBeliefs:
    """Three numbers for every node of every sample; each a tuple over levels of [n, nodes].

    Attributes
    ----------
    marginal
        Posterior probability of the true symbol.
    upward
        The part of it that comes from below: upward message at the true symbol.
    square
        Sum of squared marginals; equal to ``marginal`` in expectation (Nishimori) whenever the
        evidence comes from a real observation.
    log_evidence
        [n], natural logarithm.
    """

    marginal: tuple[Array, ...]
    upward: tuple[Array, ...]
    square: tuple[Array, ...]
    log_evidence: Array


def _numbers_per_level(name: str, value: Any) -> list[Array]:
    if not isinstance(value, (list, tuple)) or not value:
        raise InvalidParameter(
            f"{name} is of type {type(value).__name__}; give a list of arrays, one for the root's "
            "symbol and one for each level above the leaves"
        )
    return [
        reals(f"{name}[{i}]", numbers, 0, below=1, ndim=2 if i else 1)
        for i, numbers in enumerate(value)
    ]


@dataclass(frozen=True, eq=False)
class Posterior:
    """Everything known about the latents given leaf evidence; made by :func:`posterior`.

    Attributes
    ----------
    marginals
        Tuple over levels of [n, nodes, v_l]; a level that was not asked for is an empty array.
    log_evidence
        [n], log p(x_t) up to the scale of the evidence, natural logarithm.
    """

    grammar: Grammar
    marginals: tuple[Array, ...]
    log_evidence: Array
    _leaves: Leaves = field(repr=False)
    _threads: int = field(repr=False)

    def __len__(self) -> int:
        return len(self._leaves)

    @cached_property
    def up(self) -> tuple[Array, ...]:
        """Upward messages, each summing to one; tuple over levels of [n, nodes, v_l]."""
        return inference.lines(self.grammar, self._leaves, layout.UPWARD, None, self._threads)[0]

    @cached_property
    def down(self) -> tuple[Array, ...]:
        """Downward messages, each summing to one; tuple over levels of [n, nodes, v_l]."""
        return inference.lines(self.grammar, self._leaves, layout.DOWNWARD, None, self._threads)[0]

    @checked(n_samples=count)
    def sample(self, seed: Seed, n_samples: int | None = None) -> Derivations:
        r"""Exact posterior samples: the root from its marginal, then each rule given its symbol.

        .. math:: p(k \mid a, x_t) \propto \pi_k \prod_j \nu^\uparrow_j(b_j^{(a,k)})

        Parameters
        ----------
        seed : Seed
            Source of randomness.
        n_samples : int, optional
            Draws per datum (default one).

        Returns
        -------
        Derivations
            n * n_samples of them; the draws of datum i stand at i * n_samples and behind.

        Raises
        ------
        InvalidParameter
            If ``n_samples`` is not a positive integer.

        Notes
        -----
        Validity: exact for any grammar, also ambiguous ones.

        Examples
        --------
        >>> from hierdiff import RHM, MaskingNoise
        >>> grammar = RHM(v=4, m=2, s=2, L=3).draw(seed=0)
        >>> data = grammar.sample(5, seed=1)
        >>> noise = MaskingNoise(v=4)
        >>> x_t = noise.corrupt(data.leaves, 0.5, seed=2)
        >>> drawn = posterior(grammar, noise.log_evidence(x_t, 0.5)).sample(seed=3)
        >>> seen = x_t >= 0
        >>> bool(np.all(drawn.leaves[seen] == x_t[seen]))
        True
        """
        random = generator(seed)
        rows = len(self) * (1 if n_samples is None else n_samples)
        size = 2 * sum(self.grammar.n_nodes(level) for level in range(self.grammar.L + 1))
        memory(f"{rows} samples of {self.grammar.n_leaves} leaves", 8.0 * rows * size)
        nodes = [self.grammar.n_nodes(level) for level in range(self.grammar.L)]
        uniforms = [random.random(rows), *(random.random((rows, k)) for k in nodes)]
        return self.sample_with(uniforms)

    @checked(uniforms=_numbers_per_level)
    def sample_with(self, uniforms: Sequence[Array]) -> Derivations:
        """Posterior samples as a deterministic function of uniform random numbers.

        Parameters
        ----------
        uniforms : sequence of L + 1 arrays in [0, 1)
            First [rows] for the root's symbol, then for each level l < L [rows, nodes], the number
            that picks the rule of a node; rows = n * n_samples, draws of one datum together.

        Returns
        -------
        Derivations
            As many as there are rows.

        Raises
        ------
        InvalidParameter
            If the shapes do not fit, or a number is outside of [0, 1).

        Notes
        -----
        Validity: exact for any grammar if the numbers are independent and uniform.  A datum's draw
        depends on its own numbers only, which makes studies independent of the batch size.
        """
        rows = len(uniforms[0])
        nodes = [self.grammar.n_nodes(level) for level in range(self.grammar.L)]
        shapes = [np.shape(u) for u in uniforms]
        if shapes != [(rows,), *((rows, k) for k in nodes)] or rows % max(len(self), 1):
            raise InvalidParameter(
                f"uniforms have shapes {shapes}; give (rows,) and (rows, nodes) for each level "
                f"above the leaves, rows a multiple of the {len(self)} samples"
            )
        levels = inference.draw(self.grammar, self._leaves, uniforms, self._threads)
        return Derivations(tuple(levels))


@checked(log_evidence=unchecked, threads=count)  # the passes look at the values at no cost
def posterior(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence,
    root: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
    *,
    levels: tuple[int, ...] | None = None,
    threads: int | None = None,
) -> Posterior:
    r"""Exact posterior of all latents of a derivation given leaf evidence.

    .. math:: p(a \mid x_t) \propto \nu^\uparrow(a)\, \nu^\downarrow(a)

    Parameters
    ----------
    grammar : Grammar
        Any grammar: weighted, ambiguous, different sizes per level.
    log_evidence : array [n, leaves, v_L] or SymbolEvidence
        Natural logarithm of psi; -inf excludes a symbol.  ``noise.evidence`` gives the compact form
        where one exists, ``noise.log_evidence`` the array.
    root : int or int array [n], optional
        Clamps the class; default: the grammar's root prior.
    dtype : float64 or float32
        Precision of the messages.
    levels : tuple of int, optional
        Levels whose marginals are wanted, e.g. ``(0, grammar.L)``; default all, ``()`` for none.
    threads : int, optional
        Default: all processors of this process.  Results do not depend on it.

    Returns
    -------
    Posterior
        ``marginals[l]`` is [n, nodes, v_l].  Large arrays are laid out in memory with the sample
        as the fastest axis.

    Raises
    ------
    InvalidParameter
        If the evidence has the wrong shape, NaN, +inf, or a leaf without any possible symbol, or if
        ``root`` is no class.
    ImpossibleEvidence
        If the evidence of a sample has probability zero under the grammar.

    Notes
    -----
    Validity: exact for any grammar and any evidence that factorises over leaves, from
    flat to deterministic.  Cost and memory are linear in the number of nodes.  A sample whose
    messages leave the range of ``dtype`` is computed again in float64, and then in logarithms.
    What all symbols of a leaf have in common is taken out in float64, so it costs no digit in
    either ``dtype``; evidence that is given in float32 has the rounding of its own size.  Arrays
    given may be changed afterwards: what is kept is a copy.

    References
    ----------
    arXiv 2402.16991; for belief propagation on trees, Mezard and Montanari, "Information, Physics,
    and Computation" (2009), chapter 14.

    Examples
    --------
    Half of the leaves of a sentence are masked:

    >>> import numpy as np
    >>> from hierdiff import Grammar
    >>> rules = [[[[3, 2], [2, 3]], [[2, 0], [0, 3]], [[0, 2], [3, 0]], [[0, 1], [3, 3]]],
    ...          [[[0, 3], [0, 1]], [[1, 1], [0, 0]], [[3, 2], [1, 3]], [[3, 3], [3, 0]]]]
    >>> grammar = Grammar([np.array(r) for r in rules])
    >>> evidence = np.zeros((1, 4, 4))
    >>> evidence[0, :2] = np.log(np.eye(4)[[3, 3]] + 1e-300)
    >>> posterior(grammar, evidence).marginals[0][0, 0].round(6)
    array([0.333333, 0.      , 0.333333, 0.333333])
    """
    workers = _threads(threads)
    wanted = None if levels is None else inference.checked_levels(grammar, levels)
    leaves = leaves_of(grammar, log_evidence, root, dtype, workers, private=True)
    found = inference.lines(grammar, leaves, layout.MARGINAL, wanted, workers)
    marginals, evidence, extreme = found
    return Posterior(grammar, marginals, evidence, leaves.keep(extreme), workers)


@checked
def denoise_symbols(
    grammar: Grammar, noise: NoiseProcess, x_t: Array, t: ArrayLike, root: ArrayLike | None = None
) -> Array:
    r"""The exact denoiser of one-hot data: E[x0 | x_t], the marginals of the leaves.

    .. math:: E[x_{0,i} \mid x_t] = p(x_{0,i} = \cdot \mid x_t)

    Parameters
    ----------
    grammar : Grammar
        Where the data come from.
    noise : NoiseProcess
        How they were corrupted.
    x_t : array
        As ``noise.corrupt`` returns it: [n, leaves] symbols, or [n, leaves, v] for Gaussian noise.
    t : float or array [n]
        Noise level in [0, 1].
    root : int or int array [n], optional
        Clamps the class: the conditional denoiser.

    Returns
    -------
    array [n, leaves, v]

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`posterior`.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM, UniformNoise
    >>> grammar, noise = RHM(v=4, m=2, s=2, L=2).draw(seed=0), UniformNoise(v=4)
    >>> x_t = noise.corrupt(grammar.sample(3, seed=1).leaves, 0.0, seed=2)
    >>> bool(np.all(denoise_symbols(grammar, noise, x_t, 0.0).argmax(axis=2) == x_t))
    True
    """
    threads = available_threads()
    evidence = noise.evidence(x_t, t)
    leaves = leaves_of(grammar, evidence, root, np.float64, threads, private=False)
    return inference.lines(grammar, leaves, layout.MARGINAL, [grammar.L], threads)[0][grammar.L]


@checked(log_evidence=unchecked, threads=count)
def true_beliefs(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence,
    truth: Derivations,
    root: ArrayLike | None = None,
    dtype: DTypeLike = np.float64,
    *,
    threads: int | None = None,
) -> NodeBeliefs:
    r"""Belief in the true symbol at every node, without ever writing a marginal.

    Parameters
    ----------
    grammar, log_evidence, root, dtype, threads
        As in :func:`posterior`.
    truth : Derivations
        The latents [n, nodes] per level whose probabilities are wanted.

    Returns
    -------
    NodeBeliefs
        v times smaller than the marginals.

    Raises
    ------
    InvalidParameter, ImpossibleEvidence
        As :func:`posterior`; also if ``truth`` has another shape or holds what is no symbol.

    Notes
    -----
    Validity: exact for any grammar.

    Examples
    --------
    >>> from hierdiff import RHM, EpsilonNoise
    >>> grammar = RHM(v=8, m=2, s=2, L=3).draw(seed=0)
    >>> data = grammar.sample(4, seed=1)
    >>> beliefs = true_beliefs(grammar, EpsilonNoise(v=8).evidence(data.leaves, 0.0), data)
    >>> [float(p.min()) for p in beliefs.marginal]
    [1.0, 1.0, 1.0, 1.0]
    """
    workers = _threads(threads)
    leaves = leaves_of(grammar, log_evidence, root, dtype, workers, private=False)
    latents = latents_of(grammar, "truth", truth, len(leaves))
    parts, evidence = inference.beliefs(grammar, leaves, latents, workers)
    return NodeBeliefs(tuple(parts[0]), tuple(parts[1]), tuple(parts[2]), evidence)


def _threads(threads: int | None) -> int:
    return available_threads() if threads is None else threads
