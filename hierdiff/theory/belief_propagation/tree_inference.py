r"""Evidence at any node of a tree: explanations, counts, entropy, pairs, subtrees.

======================  =========================================================================
symbol                  meaning
======================  =========================================================================
tau, w(tau)             a derivation (symbols and rules of all nodes) and its weight, see
                        :mod:`~hierdiff.theory.belief_propagation.tree_evidence`
Z                       sum of the weights of all derivations
mu(a)                   sum of what is at and below a node, given its symbol a
p(a), b(a, k)           posterior of a symbol, and of symbol a with its rule k
======================  =========================================================================

.. math::
   \mu(a) = \phi(a) \sum_k \pi_k \prod_j \mu_j(b_j^{(a,k)}), \qquad
   q(k \mid a) = \frac{\pi_k \prod_j \mu_j(b_j^{(a,k)})}{\sum_{k'} \pi_{k'} \prod_j \dots}, \qquad
   b(a, k) = p(a)\, q(k \mid a), \quad p_j(b) = \sum_{(a,k):\, b_j = b} b(a, k).

The recursion stays the same when its sums and products are exchanged
(:mod:`~hierdiff.theory.belief_propagation._kernels.semiring`).  Given all symbols of a level, what
is below different nodes is independent, so the entropy and the law of two nodes follow from q.

Every answer is exact.  Its cost is linear in the number of nodes and of rules; pairs cost that for
each pair asked, and the covariance of all leaves grows as their square.  Samples are independent of
each other, so results depend neither on the number of threads nor on the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff.checks import checked, count, finite_reals, memory, unchecked, whole
from hierdiff.contracts import SymbolEvidence
from hierdiff.data.derivations import Derivations
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator
from hierdiff.theory.belief_propagation._kernels import semiring
from hierdiff.theory.belief_propagation.exact_posterior import Posterior, latents_of, posterior
from hierdiff.theory.belief_propagation.passes import available_threads
from hierdiff.theory.belief_propagation.tree_evidence import (
    Node,
    NodeEvidence,
    TreeEvidence,
    ancestors,
    collect,
    impossible,
    pairs_of,
    tables,
)

__all__ = ["Explanations", "TreePosterior", "tree_posterior"]

Array = NDArray[Any]
GROUP = 64
"""Samples whose counts are added up: sums over all samples hold few numbers at a time."""
_DIGITS = 1e-290  # a probability above it has all its digits; float64 loses them below 1e-308
_SERIAL = 2_000_000  # rules times samples below which a second thread costs more than it gives


@dataclass(frozen=True, eq=False)
class Explanations:
    """Derivations with their weights, the largest first.

    Attributes
    ----------
    derivations : Derivations
        n * k of them; those of datum i stand at i * k and behind.
    rules : tuple of L int arrays [n * k, nodes]
        The rules of all nodes, k of :attr:`Grammar.rules`.
    log_weight : array [n, k]
        log w(tau), nats.
    log_posterior : array [n, k]
        log w(tau) - log Z.
    """

    derivations: Derivations
    rules: tuple[Array, ...]
    log_weight: Array
    log_posterior: Array


@dataclass(frozen=True, eq=False)
class TreePosterior:
    """The posterior over derivations, given evidence at any nodes; see :func:`tree_posterior`."""

    grammar: Grammar
    _evidence: TreeEvidence = field(repr=False)
    _threads: int = field(repr=False)

    def __len__(self) -> int:
        return len(self._evidence)

    # ------------------------------------------------------------------------ symbols, samples

    @cached_property
    def _engine(self) -> Posterior | None:
        """The fast engine, where the evidence is at the leaves alone."""
        if self._evidence.leaves is None:
            return None
        given = self._evidence
        return posterior(self.grammar, given.leaves, given.root, threads=self._threads)

    @cached_property
    def _beliefs(self) -> tuple[Array, Array]:
        """Marginals [n, symbols of all nodes], log-evidence [n]."""
        size = self._width
        memory(f"beliefs of {len(self)} samples of {size} symbols", 8.0 * len(self) * size)
        belief, log_z, *_ = self._down()
        return belief, log_z

    @property
    def log_evidence(self) -> Array:
        """Log Z [n], nats, up to the scale of the evidence."""
        return self._beliefs[1] if self._engine is None else self._engine.log_evidence

    @cached_property
    def marginals(self) -> tuple[Array, ...]:
        """Posterior of the symbol of every node: a tuple over levels of [n, nodes, v_l]."""
        if self._engine is not None:
            return self._engine.marginals
        return self._levels(self._beliefs[0])

    @checked(n_samples=count)
    def sample(self, seed: Seed, n_samples: int | None = None) -> Derivations:
        """Exact posterior samples: the root from its posterior, then a rule of every node.

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
        InvalidParameter, ImpossibleEvidence
            If ``n_samples`` is no positive integer, or no derivation agrees with the evidence.

        Notes
        -----
        Validity: exact for any grammar and evidence.

        Examples
        --------
        >>> from hierdiff import RHM
        >>> grammar = RHM(v=4, m=2, s=2, L=2).draw(seed=0)
        >>> drawn = tree_posterior(grammar, nodes={(1, 1): 3}).sample(seed=1, n_samples=50)
        >>> set(drawn.levels[1][:, 1].tolist())
        {3}
        """
        copies = 1 if n_samples is None else n_samples
        if self._engine is not None:
            return self._engine.sample(seed, copies)
        g, rows = self.grammar, len(self) * copies
        nodes = sum(g.n_nodes(level) for level in range(g.L + 1))
        memory(f"{rows} samples of {nodes} nodes", 16.0 * rows * nodes)
        random = generator(seed)
        head, inner = random.random(rows), random.random((rows, nodes - g.n_leaves))
        symbols = np.empty((rows, nodes), np.int32)
        rules = np.empty((rows, nodes - g.n_leaves), np.int32)
        log_z, terms = np.empty(len(self)), max(*g.m, *g.v)

        def work(memo: Any, part: Array) -> None:
            semiring.draws(
                memo, tables(g), self._evidence.kernel, part, np.empty(terms), log_z, copies,
                head, inner, symbols, rules,
            )  # fmt: skip

        self._sum_product(work, log_z)
        return Derivations._of(self._nodes(symbols))

    # ------------------------------------------------------------------------------ explanations

    def most_likely(self) -> Explanations:
        r"""The most likely derivation: max in place of +, and the rule that attains it.

        .. math:: \mu(a) = \phi(a) \max_k \pi_k \prod_j \mu_j(b_j^{(a,k)})

        Returns
        -------
        Explanations
            With k = 1.

        Raises
        ------
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact.  Its leaves are the most likely string if the grammar is unambiguous; in an
        ambiguous one a string collects several derivations.  Of equally likely ones, the rule of
        the smallest number is taken at every node.

        References
        ----------
        Viterbi, IEEE Trans. Inf. Theory 13, 260 (1967); Goodman, Computational Linguistics 25, 573
        (1999).

        Examples
        --------
        >>> grammar = Grammar([[[[0, 1], [1, 0]]]], weights=[[[0.9, 0.1]]])
        >>> found = tree_posterior(grammar, np.log([[[0.05, 0.95], [0.5, 0.5]]])).most_likely()
        >>> found.derivations.leaves.tolist(), np.exp(found.log_posterior).round(4).tolist()
        ([[1, 0]], [[0.6786]])
        """
        g, n = self.grammar, len(self)
        nodes = sum(g.n_nodes(level) for level in range(g.L + 1))
        value = np.empty(n)
        symbols, rules = (
            np.zeros((n, k), np.int32) for k in (nodes, nodes - g.n_leaves)
        )  # fmt: skip

        def work(part: Array) -> None:
            memo = semiring.Max(np.empty(self._width), np.empty(self._width, np.int32))
            semiring.likeliest(memo, tables(g), self._evidence.kernel, part, value, symbols, rules)

        self._parts(work)
        self._refuse(np.flatnonzero(np.isneginf(value)))
        return self._explanations(symbols, rules, value[:, None])

    @checked(k=count)
    def k_best(self, k: int) -> Explanations:
        r"""The k most likely derivations of every sample, the most likely first.

        Every message holds the k largest products of rules and entries of the children, which are
        combined child by child.

        Parameters
        ----------
        k : int
            How many.

        Returns
        -------
        Explanations

        Raises
        ------
        InvalidParameter
            If a sample has fewer derivations than k.
        ImpossibleEvidence
            If it has none.

        Notes
        -----
        Validity: exact, also for ambiguous grammars, where two derivations may write one string.
        Cost: linear in nodes and rules, times k log k.

        References
        ----------
        Huang and Chiang, "Better k-best parsing", IWPT (2005).

        Examples
        --------
        >>> grammar = Grammar([[[[0, 1], [1, 0]]]], weights=[[[0.9, 0.1]]])
        >>> found = tree_posterior(grammar).k_best(2)
        >>> np.exp(found.log_posterior).round(4).tolist(), found.derivations.leaves.tolist()
        ([[0.9, 0.1]], [[0, 1], [1, 0]])
        """
        g, n = self.grammar, len(self)
        nodes = sum(g.n_nodes(level) for level in range(g.L + 1))
        inner, width = nodes - g.n_leaves, 1 + max(g.s)
        memory(
            f"{k} derivations of {n} samples",
            8.0 * n * k * nodes + self._width * k * (8.0 + 4.0 * width) * self._threads,
        )
        value = np.empty((n, k))
        symbols, rules = np.zeros((n, k, nodes), np.int32), np.zeros((n, k, inner), np.int32)

        def work(part: Array) -> None:
            memo = semiring.Best(
                k, width, np.empty((self._width, k)), np.empty((self._width, k, width), np.int32),
                np.empty((3, k)), np.zeros((3, k, width), np.int32),
            )  # fmt: skip
            rank = np.empty(nodes, np.int64)
            semiring.best(memo, tables(g), self._evidence.kernel, part, rank, value, symbols, rules)

        self._parts(work)
        self._refuse(np.flatnonzero(np.isneginf(value[:, 0])))
        few = np.flatnonzero(np.isneginf(value[:, -1]))
        if few.size:
            i = int(few[0])
            raise InvalidParameter(
                f"k = {k} exceeds the {int(np.isfinite(value[i]).sum())} derivations that agree "
                f"with the evidence of sample {i}; give at most that"
            )
        return self._explanations(symbols.reshape(n * k, -1), rules.reshape(n * k, -1), value)

    def log_count(self) -> Array:
        """Logarithm of the number of derivations that agree with the evidence, [n].

        Returns
        -------
        array [n]
            Natural logarithm; all rules of positive probability and all evidence that is not zero
            count as one.

        Raises
        ------
        ImpossibleEvidence
            If there is none.

        Notes
        -----
        Validity: exact.  Uniform unambiguous grammars under masking noise have the posterior
        entropy :meth:`entropy` equal to it.

        Examples
        --------
        >>> grammar = Grammar([[[[0, 1], [1, 0]], [[1, 1], [0, 0]]]])
        >>> np.exp(tree_posterior(grammar, nodes={(1, 0): 1}).log_count()).round(9).tolist()
        [2.0]
        """
        g, kernel = self.grammar, self._evidence.kernel
        tree = tables(g)
        flat = np.where(tree.weights > 0, 0.0, -np.inf)
        tree = tree._replace(weights=np.exp(flat), log_weights=flat)
        some = kernel._replace(
            values=np.where(np.isneginf(kernel.values), -np.inf, 0.0),
            root=np.where(np.isneginf(kernel.root), -np.inf, 0.0),
        )
        asked = TreePosterior(g, TreeEvidence(some, None, None), self._threads)
        return asked._down(tree=tree, keep=False)[1]

    @checked
    def log_posterior(self, derivations: Derivations) -> Array:
        """Logarithm of the posterior probability of the symbols of given derivations.

        Parameters
        ----------
        derivations : Derivations
            n of them, one per sample.

        Returns
        -------
        array [n]
            Nats; -inf where the grammar does not derive them, or the evidence excludes them.

        Raises
        ------
        InvalidParameter
            If the shapes do not fit, or a symbol is none.

        Notes
        -----
        Validity: exact; rules of a symbol that share a right-hand side are summed over.

        Examples
        --------
        >>> grammar = Grammar([[[[0, 1], [1, 0]]]], weights=[[[0.9, 0.1]]])
        >>> trees = Derivations((np.array([[0]]), np.array([[1, 0]])))
        >>> np.exp(tree_posterior(grammar).log_posterior(trees)).round(9).tolist()
        [0.1]
        """
        g, n = self.grammar, len(self)
        levels = latents_of(g, "derivations", derivations, n)
        row = np.arange(n) if len(self._evidence.kernel.root) > 1 else np.zeros(n, int)
        total = self._evidence.kernel.root[row, levels[0][:, 0]] - self.log_evidence
        for level, symbols in enumerate(levels):
            phi = self._evidence.log_phi(g, level)
            if phi is not None:
                total = total + np.take_along_axis(phi, symbols[..., None], 2)[..., 0].sum(1)
            if level < g.L:
                written = levels[level + 1].reshape(n, -1, 1, g.s[level])
                same = (g.rules[level][symbols] == written).all(axis=3)
                with np.errstate(divide="ignore"):
                    total = total + np.log((g.weights[level][symbols] * same).sum(2)).sum(1)
        return np.asarray(total)

    # ---------------------------------------------------------------------------- rules, entropy

    def rule_beliefs(self) -> tuple[Array, ...]:
        r"""Posterior probability b(a, k) of every symbol and rule of every inner node.

        .. math:: b_i(a, k) = \frac{\nu^\downarrow_i(a)\, \phi_i(a)\, \pi_k
           \prod_j \nu^\uparrow_j(b_j^{(a,k)})}{Z}

        Returns
        -------
        tuple over the L upper levels of arrays [n, nodes, v_l, m_l]

        Raises
        ------
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact.  Summed over k they are the marginals.

        Examples
        --------
        >>> grammar = Grammar([[[[0, 1], [1, 0]], [[1, 1], [0, 0]]]])
        >>> tree_posterior(grammar, nodes={(1, 0): 1}).rule_beliefs()[0][0, 0].tolist()
        [[0.0, 0.5], [0.5, 0.0]]
        """
        g, n = self.grammar, len(self)
        sizes = [g.n_nodes(x) * g.v[x] * g.m[x] for x in range(g.L)]
        memory(f"rule beliefs of {n} samples", 8.0 * n * (sum(sizes) + self._width))
        rules = self._down(rules=sum(sizes), keep=False)[3]
        ends = np.cumsum([0, *sizes])
        return tuple(
            rules[:, ends[x] : ends[x + 1]].reshape(n, g.n_nodes(x), g.v[x], g.m[x])
            for x in range(g.L)
        )

    def expected_counts(self) -> tuple[Array, ...]:
        r"""Expected number of uses of every rule, the derivative of the log-evidence.

        .. math:: c_l(a, k) = \sum_i b_{l,i}(a, k) = \frac{\partial \log Z}{\partial \log\pi_l(k|a)}

        Returns
        -------
        tuple over the L upper levels of arrays [n, v_l, m_l]

        Raises
        ------
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact; the derivative is that of a weight which all nodes of a level share, the
        others not renormalised.  The E-step of
        :func:`~hierdiff.theory.belief_propagation.rule_learning.fit_weights`.

        Examples
        --------
        >>> grammar = Grammar([[[[0, 0], [0, 1]]], [[[0], [1]], [[1], [0]]]])
        >>> counts = tree_posterior(grammar, nodes={2: [0, 1]}).expected_counts()
        >>> counts[0][0, 0].tolist(), counts[1].sum().round(12).tolist()
        ([0.5, 0.5], 2.0)
        """
        return self._split(self._counts(1), len(self))

    def entropy(self) -> Array:
        r"""Entropy of the posterior over derivations [n], nats.

        .. math:: H = \log Z - E[\log w(\tau)]
           = H(p_{\text{root}}) + \sum_{l, i, a} p_{l,i}(a)\, H\big(q_{l,i}(\cdot \mid a)\big)

        The second form has no large numbers that cancel; it is the one that is computed.

        Returns
        -------
        array [n]

        Raises
        ------
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact.  Of derivations: in an ambiguous grammar the entropy of strings is smaller.
        Without evidence a uniform grammar has log v_0 + sum_l nodes_l log m_l.

        Examples
        --------
        >>> from hierdiff import RHM
        >>> grammar = RHM(v=4, m=2, s=2, L=3).draw(seed=0)
        >>> (tree_posterior(grammar).entropy() / np.log(2)).round(9).tolist()
        [9.0]
        """
        return np.asarray(self.entropy_per_level().sum(axis=1))

    def entropy_per_level(self) -> Array:
        """The parts of :meth:`entropy` [n, L + 1]: the root, then the rules of every level.

        Returns
        -------
        array [n, L + 1]
            Entry l + 1 is the entropy of the rules of level l given the symbols of that level.

        Raises
        ------
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact, by the chain rule from the root down.

        Examples
        --------
        >>> from hierdiff import RHM
        >>> grammar = RHM(v=4, m=2, s=2, L=3).draw(seed=0)
        >>> (tree_posterior(grammar).entropy_per_level() / np.log(2)).round(9).tolist()
        [[2.0, 1.0, 2.0, 4.0]]
        """
        # -sum of p log p of certain symbols is -0.0
        return np.maximum(self._down(entropy=True, keep=False)[4], 0.0)

    # ------------------------------------------------------------------------ several nodes at once

    @checked(pairs=unchecked)
    def pair_beliefs(self, pairs: Iterable[tuple[Node, Node]]) -> tuple[Array, ...]:
        r"""Joint posterior of the symbols of two nodes, for every pair asked.

        .. math:: P(x_i = b, x_j = c) = \sum_{a, k} b_A(a, k)\,
           T_i(b \mid b_1^{(a,k)})\, T_j(c \mid b_2^{(a,k)})

        with the lowest common ancestor A of both, and the posterior transition matrices T along the
        paths from the children of A to the nodes.

        Parameters
        ----------
        pairs : iterable of pairs of nodes
            A node is the number of a leaf, or (level, node).

        Returns
        -------
        tuple of arrays [n, v_i, v_j]
            One per pair.

        Raises
        ------
        InvalidParameter
            If a node does not exist.
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact, for any two nodes, of which one may be above the other, or the same.  Cost:
        one pass over the tree, and v_i v_j m per level of the path for every pair.

        Examples
        --------
        >>> grammar = Grammar([[[[0, 1], [1, 0]]]])
        >>> tree_posterior(grammar).pair_beliefs([(0, 1)])[0][0].tolist()
        [[0.0, 0.5], [0.5, 0.0]]
        """
        g, n = self.grammar, len(self)
        found = pairs_of(g, pairs)
        ends = [(g.v[one[0]], g.v[two[0]]) for one, two in found]
        places = np.cumsum([0, *(a * b for a, b in ends)])
        memory(f"{len(found)} pairs of {n} samples", 8.0 * n * places[-1])
        asked, paths = ancestors(g, found)
        out, log_z = np.empty((n, int(places[-1]))), np.empty(n)
        v, terms = max(g.v), max(*g.m, 1)

        def work(memo: Any, part: Array) -> None:
            semiring.pairs(
                memo, tables(g), self._evidence.kernel, part, asked, paths, places, np.empty(terms),
                np.empty(self._width), np.empty((2, v, v)), log_z, out,
            )  # fmt: skip

        self._sum_product(work, log_z)
        return tuple(
            out[:, places[q] : places[q + 1]].reshape(n, a, b) for q, (a, b) in enumerate(ends)
        )

    @checked
    def covariance(self) -> Array:
        r"""Posterior covariance of the one-hot leaves, [n, leaves * v_L, leaves * v_L].

        .. math:: C_{(i,b),(j,c)} = P(x_i = b, x_j = c) - P(x_i = b)\, P(x_j = c)

        Returns
        -------
        array [n, leaves * v_L, leaves * v_L]
            Symmetric to the last bit; rows of one leaf sum to zero.

        Raises
        ------
        InvalidParameter
            If it does not fit into memory.
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact; cost and memory grow with the square of the number of leaves.
        :meth:`covariance_product` is linear in it.

        Examples
        --------
        >>> tree_posterior(Grammar([[[[0, 1], [1, 0]]]])).covariance()[0, 0].tolist()
        [0.25, -0.25, -0.25, 0.25]
        """
        g, n = self.grammar, len(self)
        size = g.n_leaves * g.v[g.L]
        memory(f"covariances of {n} samples of {g.n_leaves} leaves", 20.0 * n * size**2)
        marginals, beliefs = self.marginals, self.rule_beliefs()
        mean = np.ascontiguousarray(marginals[g.L]).reshape(n, size)
        out = np.zeros((n, size, size))
        # P(leaves below | symbol of the node) [n, nodes, v, numbers of these leaves]
        below = np.broadcast_to(np.eye(g.v[g.L]), (n, g.n_leaves, g.v[g.L], g.v[g.L]))
        for level in range(g.L - 1, -1, -1):
            nodes, s, width = g.n_nodes(level), g.s[level], below.shape[-1]
            children = below.reshape(n, nodes, s, g.v[level + 1], width)
            here = out.reshape(n, nodes, s, width, nodes, s, width)
            node, table, b = np.arange(nodes), g.rules[level], beliefs[level]
            for one, two in itertools.combinations(range(s), 2):
                joint = np.zeros((n, nodes, g.v[level + 1], g.v[level + 1]))
                for a, k in np.ndindex(table.shape[:2]):
                    joint[..., table[a, k, one], table[a, k, two]] += b[..., a, k]
                block = np.swapaxes(children[:, :, one], 2, 3) @ joint @ children[:, :, two]
                here[:, node, one, :, node, two] = block.swapaxes(0, 1)
                here[:, node, two, :, node, one] = block.transpose(1, 0, 3, 2)
            alone = np.asarray(marginals[level])[..., None]
            q = np.divide(b, alone, out=np.zeros_like(b), where=alone > 0)
            carried = []
            for child in range(s):
                step = np.zeros((n, nodes, g.v[level], g.v[level + 1]))
                for k in range(g.m[level]):
                    step[..., np.arange(g.v[level]), table[:, k, child]] += q[..., k]
                carried.append(step @ children[:, :, child])
            below = np.concatenate(carried, axis=-1)
        blocks = out.reshape(n, g.n_leaves, g.v[g.L], g.n_leaves, g.v[g.L])
        leaf, symbol = np.indices((g.n_leaves, g.v[g.L]))
        blocks[:, leaf, symbol, leaf, symbol] = mean.reshape(n, *leaf.shape)
        out -= mean[:, :, None] * mean[:, None, :]
        return out

    @checked(direction=unchecked)
    def covariance_product(self, direction: ArrayLike) -> tuple[Array, ...]:
        r"""Derivative of all beliefs when the log-evidence of the leaves moves in a direction.

        .. math:: \frac{d}{dh}\, p_{l,i}(a) \Big|_{\log\phi + h u}
           = \sum_{j, b} \mathrm{Cov}\big(1[x_{l,i} = a],\, 1[x_j = b]\big)\, u_{j,b}

        The upward pass carries, beside mu(a), the posterior mean of what the direction adds below
        a node with symbol a.

        Parameters
        ----------
        direction : array [n, leaves, v_L] or [leaves, v_L]
            u, derivatives of the log-evidence.

        Returns
        -------
        tuple over levels of arrays [n, nodes, v_l]
            The last one is the covariance of the leaves times the direction.

        Raises
        ------
        InvalidParameter
            If the direction has another shape, or numbers that are not finite.
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact; linear in the number of nodes.

        Examples
        --------
        >>> asked = tree_posterior(Grammar([[[[0, 1], [1, 0]]]]))
        >>> asked.covariance_product([[1.0, 0.0], [0.0, 0.0]])[1][0].tolist()
        [[0.25, -0.25], [-0.25, 0.25]]
        """
        g, n = self.grammar, len(self)
        u = finite_reals("direction", direction)
        if u.shape not in ((g.n_leaves, g.v[g.L]), (n, g.n_leaves, g.v[g.L])):
            raise InvalidParameter(
                f"direction has shape {u.shape}; give ({g.n_leaves}, {g.v[g.L]}), or one for each "
                f"of the {n} samples"
            )
        memory(f"derivatives of {n} samples", 24.0 * n * self._width)
        directions = np.zeros((n, self._width))
        directions[:, self._width - g.n_leaves * g.v[g.L] :] = u.reshape(-1, g.n_leaves * g.v[g.L])
        out, log_z, terms = np.empty((n, self._width)), np.empty(n), max(*g.m, 1)
        nothing = np.zeros(tables(g).weights.size)

        def work(part: Array) -> None:
            value, mean, cost, belief = (np.empty(self._width) for _ in range(4))
            memo = semiring.Expectation(value, mean, cost, nothing)
            semiring.products(
                memo, tables(g), self._evidence.kernel, part, np.empty(terms), np.empty(terms),
                directions, belief, log_z, out,
            )  # fmt: skip

        self._parts(work)
        self._refuse(np.flatnonzero(np.isneginf(log_z)))
        return self._levels(out)

    def subtree(self, level: int, node: int) -> TreePosterior:
        r"""The posterior of everything below a node, given all evidence, also that outside.

        .. math:: p(\tau_{l,i} \mid \text{all evidence}) \propto
           \nu^\downarrow_{l,i}(a)\; w(\tau_{l,i})

        Parameters
        ----------
        level, node : int
            The node; level L - 1 is the lowest with anything below it.

        Returns
        -------
        TreePosterior
            Of the grammar that starts at this level, with the node as its root.  The message from
            outside stands as evidence at that root, on the scale on which the log-evidence is zero.

        Raises
        ------
        InvalidParameter
            If the node does not exist, or is a leaf.
        ImpossibleEvidence
            If no derivation agrees with the evidence of a sample.

        Notes
        -----
        Validity: exact.  Every question can be asked again: the likeliest derivation of a phrase,
        its entropy, samples of it.  A symbol counts as excluded if its probability is below 1e-290
        both given the evidence outside alone and given that at and below the node alone.

        Examples
        --------
        >>> from hierdiff import RHM
        >>> grammar = RHM(v=4, m=2, s=2, L=3).draw(seed=0)
        >>> part = tree_posterior(grammar, root=0).subtree(1, 1)
        >>> part.grammar.n_leaves, len(part.marginals)
        (4, 3)
        """
        g = self.grammar
        level = whole("level", level, 0, g.L)
        if level == g.L:
            raise InvalidParameter(
                f"level = {level} holds leaves, which derive nothing; give 0 to {g.L - 1}"
            )
        node = whole("node", node, 0, g.n_nodes(level) - 1)
        # the prior 1 / v of this root cancels
        below = Grammar(g.rules[level:], g.weights[level:], leaf_vocabulary=g.leaf_vocabulary)
        inner: dict[Any, Any] = {}
        outer: dict[Any, Any] = {}
        for depth in range(g.L + 1):
            phi = self._evidence.log_phi(g, depth)
            if phi is None:
                continue
            if depth >= level:
                width = below.n_nodes(depth - level)
                inner[depth - level] = phi[:, node * width : (node + 1) * width]
                phi = phi.copy()
                phi[:, node * width : (node + 1) * width] = 0.0
            outer[depth] = phi
        rest = tree_posterior(g, root=self._evidence.root, nodes=outer, threads=self._threads)
        inside = tree_posterior(below, nodes=inner, threads=self._threads)
        belief, alone = self.marginals[level][:, node], inside.marginals[0][:, 0]
        seen = rest.marginals[level][:, node]
        with np.errstate(divide="ignore", invalid="ignore"):
            # what is inside at this node counts once; a quotient belief / alone has digits left
            # where the symbol is unlikely outside, but not where it is unlikely below
            outside = np.log(seen * g.v[level]) + (rest.log_evidence - self.log_evidence)[:, None]
            quotient = np.log(belief) - np.log(alone) - inside.log_evidence[:, None]
        quotient = np.where((belief > 0) & (alone > _DIGITS), quotient, -np.inf)
        outside = np.where(seen > _DIGITS, outside, quotient)
        old = inner.get(0)
        inner[0] = outside[:, None] if old is None else outside[:, None] + old
        return tree_posterior(below, nodes=inner, threads=self._threads)

    # ------------------------------------------------------------------------------- how it is done

    @property
    def _width(self) -> int:
        """Symbols of all nodes."""
        g = self.grammar
        return sum(g.n_nodes(level) * g.v[level] for level in range(g.L + 1))

    def _levels(self, flat: Array) -> tuple[Array, ...]:
        """Numbers per symbol of every node [n, symbols] as [n, nodes, v_l] per level."""
        g = self.grammar
        ends = np.cumsum([0, *(g.n_nodes(x) * g.v[x] for x in range(g.L + 1))])
        return tuple(
            flat[:, ends[x] : ends[x + 1]].reshape(len(flat), g.n_nodes(x), g.v[x])
            for x in range(g.L + 1)
        )

    def _nodes(self, flat: Array) -> tuple[Array, ...]:
        """Numbers per node [n, nodes] as [n, nodes] per level, as many as there are."""
        g = self.grammar
        out, place = [], 0
        for level in range(g.L + 1):
            if place < flat.shape[1]:
                out.append(np.ascontiguousarray(flat[:, place : place + g.n_nodes(level)]))
            place += g.n_nodes(level)
        return tuple(out)

    def _split(self, flat: Array, n: int) -> tuple[Array, ...]:
        """Numbers per rule [n, weights] as [n, v_l, m_l] per level."""
        g = self.grammar
        ends = np.cumsum([0, *(w.size for w in g.weights)])
        return tuple(flat[:, ends[x] : ends[x + 1]].reshape(n, g.v[x], g.m[x]) for x in range(g.L))

    def _counts(self, group: int) -> Array:
        """Expected counts of groups of samples, [groups, weights]."""
        groups, size = -(-len(self) // group), tables(self.grammar).weights.size
        memory(f"expected counts of {groups} samples", 8.0 * groups * size)
        return self._down(counts=(groups, size), group=group, keep=False)[2]

    def _explanations(self, symbols: Array, rules: Array, value: Array) -> Explanations:
        return Explanations(
            Derivations._of(self._nodes(symbols)), self._nodes(rules), value,
            value - self.log_evidence[:, None],
        )  # fmt: skip

    def _down(
        self, *, counts: tuple[int, int] | None = None, group: int = 1, rules: int = 0,
        entropy: bool = False, keep: bool = True, tree: semiring.Tree | None = None,
    ) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
        """Beliefs, log-evidence, and counts, rule beliefs and entropies where they are wanted.

        Beliefs are of all samples with ``keep``; without, they are scratch.
        """
        g, n = self.grammar, len(self)
        tree = tables(g) if tree is None else tree
        belief = np.empty((n if keep else 1, self._width))
        log_z, count = np.empty(n), np.zeros((1, 1) if counts is None else counts)
        rule = np.zeros((n, rules) if rules else (1, 1))
        split = np.zeros((n, g.L + 1) if entropy else (1, 1))
        wanted = (
            semiring.COUNTS * (counts is not None) + semiring.BELIEFS * (rules > 0)
            + semiring.ENTROPY * entropy
        )  # fmt: skip

        def work(memo: Any, part: Array) -> None:
            own = belief if keep else np.empty((1, self._width))
            semiring.beliefs(
                memo, tree, self._evidence.kernel, part, wanted, np.empty(max(*g.m, 1)), own,
                log_z, count, group, rule, split,
            )  # fmt: skip

        self._sum_product(work, log_z, group)
        return belief, log_z, count, rule, split

    def _sum_product(
        self, work: Callable[[Any, Array], None], log_z: Array, group: int = 1
    ) -> None:
        """All samples in numbers; those out of range again in logarithms, in one thread."""
        self._parts(
            lambda part: work(
                semiring.Sum(np.empty(self._width), np.zeros(1, np.int64), np.zeros(2)), part
            ),
            group,
        )
        again = np.flatnonzero(np.isnan(log_z))
        if again.size:
            work(semiring.Log(np.empty(self._width)), again)
        self._refuse(np.flatnonzero(np.isneginf(log_z)))

    def _parts(self, work: Callable[[Array], None], group: int = 1) -> None:
        """All samples, cut into neighbouring parts of whole groups, one per thread."""
        n = len(self)
        rules = sum(self.grammar.n_nodes(x) * self.grammar.rules[x].size
                    for x in range(self.grammar.L))  # fmt: skip
        groups = -(-n // group)
        parts = 1 if n * rules < _SERIAL else min(self._threads, groups)
        ends = np.minimum(np.arange(parts + 1) * groups // parts * group, n)
        pieces = [np.arange(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        if parts == 1:
            work(pieces[0])
            return
        with ThreadPoolExecutor(parts) as pool:
            for done in [pool.submit(work, piece) for piece in pieces]:
                done.result()

    def _refuse(self, rows: Array) -> None:
        if rows.size:
            raise impossible(self.grammar, self._evidence, int(rows[0]))


@checked(log_evidence=unchecked, nodes=unchecked, root=unchecked, threads=count)
def tree_posterior(
    grammar: Grammar,
    log_evidence: ArrayLike | SymbolEvidence | None = None,
    root: ArrayLike | None = None,
    *,
    nodes: NodeEvidence | None = None,
    threads: int | None = None,
) -> TreePosterior:
    r"""The posterior over derivations given evidence at any nodes.

    .. math:: p(\tau \mid \text{evidence}) \propto p_0(a_{0,0}) \prod_{l,i} \pi_l(k_{l,i} | a_{l,i})
       \prod_{l,i} \phi_{l,i}(a_{l,i})

    Parameters
    ----------
    grammar : Grammar
        Any grammar: weighted, ambiguous, different sizes per level.
    log_evidence : array [n, leaves, v_L] or SymbolEvidence, optional
        Logarithms of the evidence of the leaves, as :func:`posterior` takes them.
    root : int or int array [n], optional
        Clamps the class; default: the grammar's root prior.
    nodes : mapping or list of arrays, optional
        Evidence of other nodes, see
        :data:`~hierdiff.theory.belief_propagation.tree_evidence.NodeEvidence`: keys are levels or
        (level, node), float arrays logarithms of phi, integer arrays known symbols (-1 unknown).
    threads : int, optional
        Default: all processors of this process.  Results do not depend on it.

    Returns
    -------
    TreePosterior

    Raises
    ------
    InvalidParameter
        For a level or node that does not exist, a wrong shape, NaN, +inf, a node without any
        possible symbol, numbers of samples that differ, or a class that the evidence of the root
        excludes.
    ImpossibleEvidence
        When a question is asked, if no derivation agrees with the evidence of a sample.

    Notes
    -----
    Validity: exact for any grammar, and any evidence that is a product over nodes.  Where it is at
    the leaves alone, marginals, evidence and samples come from
    :func:`~hierdiff.theory.belief_propagation.exact_posterior.posterior`.  Numbers are float64;
    samples whose messages leave its range are computed in logarithms.

    References
    ----------
    Goodman, "Semiring parsing", Computational Linguistics 25, 573 (1999); Li and Eisner, EMNLP
    (2009).

    Examples
    --------
    Half of the leaves are masked, and one latent is known:

    >>> from hierdiff import RHM, MaskingNoise
    >>> grammar = RHM(v=8, m=2, s=2, L=3).draw(seed=0)
    >>> data, noise = grammar.sample(4, seed=1), MaskingNoise(v=8)
    >>> x_t = noise.corrupt(data.leaves, 0.5, seed=2)
    >>> known = {(1, 0): data.levels[1][:, 0]}
    >>> asked = tree_posterior(grammar, noise.evidence(x_t, 0.5), nodes=known)
    >>> asked.marginals[1].shape, asked.most_likely().derivations.leaves.shape
    ((4, 2, 8), (4, 8))
    """
    evidence = collect(grammar, log_evidence, nodes, root)
    return TreePosterior(grammar, evidence, available_threads() if threads is None else threads)
