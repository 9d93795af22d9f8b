"""The general layered grammar: its checked arrays, and what can be asked of it.

Symbols and equations are those of :mod:`hierdiff.grammar`.  Symbols are int32 throughout, so that
a negative number can mark a mask and compiled code meets one integer type.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._derivations import Derivations, Parser, clamped, factor_graph, reason
from hierdiff._files import one_line, read_npz, write_npz
from hierdiff._rules import (
    BoolArray,
    FloatArray,
    Symbols,
    checked_probabilities,
    checked_rules,
    checked_weights,
    pick,
)
from hierdiff.checks import checked, count, memory, shown, unchecked
from hierdiff.errors import DamagedFile, InvalidParameter, NotASentence
from hierdiff.seeds import Seed, generator

if TYPE_CHECKING:
    import networkx

__all__ = ["Grammar"]

FORMAT = "hierdiff.Grammar 1"


@dataclass(frozen=True, eq=False, repr=False)
class Grammar:
    """A layered probabilistic grammar; sizes and rules may differ from level to level.

    Parameters
    ----------
    rules : sequence of L int arrays (v_l, m_l, s_l)
        ``rules[l][a, k]`` is the k-th right-hand side of symbol a: s_l symbols of level l + 1.
    weights : sequence of L arrays (v_l, m_l), optional
        Rule probabilities, each row summing to one to 1e-9 and then renormalised (default uniform).
    root_prior : array (v_0,), optional
        Probabilities of the classes, likewise (default uniform).
    leaf_vocabulary : int, optional
        Number v_L of leaf symbols (default: the largest that occurs, plus one).

    Raises
    ------
    InvalidParameter
        If an entry is no symbol of the level below, or probabilities are none.

    Notes
    -----
    Validity: any grammar, ambiguous ones included.  The arrays are own, read-only copies: rules
    int32, probabilities float64.  A rule of probability zero, and every rule of a class of prior
    zero, counts as absent: it makes no string a sentence and no grammar ambiguous.

    Examples
    --------
    >>> Grammar([[[[0, 1], [1, 1]], [[1, 0], [0, 0]]]], weights=[[[0.9, 0.1]] * 2])
    Grammar(L=1, v=2, m=2, s=2, weighted)
    """

    rules: tuple[Symbols, ...]
    weights: tuple[FloatArray, ...]
    root_prior: FloatArray
    leaf_vocabulary: int

    def __init__(
        self,
        rules: Sequence[ArrayLike],
        weights: Sequence[ArrayLike] | None = None,
        root_prior: ArrayLike | None = None,
        *,
        leaf_vocabulary: int | None = None,
    ) -> None:
        levels, leaf_vocabulary = checked_rules(rules, leaf_vocabulary)
        prior = checked_probabilities(root_prior, "root_prior", levels[0].shape[:1])
        object.__setattr__(self, "rules", levels)
        object.__setattr__(self, "weights", checked_weights(weights, levels))
        object.__setattr__(self, "root_prior", prior)
        object.__setattr__(self, "leaf_vocabulary", leaf_vocabulary)

    @property
    def L(self) -> int:
        """Depth: the number of levels of rules."""
        return len(self.rules)

    @cached_property
    def v(self) -> tuple[int, ...]:
        """Symbols of each of the L + 1 levels, root first."""
        return (*(table.shape[0] for table in self.rules), self.leaf_vocabulary)

    @cached_property
    def m(self) -> tuple[int, ...]:
        """Rules per symbol of each of the L levels that have rules, root first."""
        return tuple(table.shape[1] for table in self.rules)

    @cached_property
    def s(self) -> tuple[int, ...]:
        """Symbols that a rule writes, for each of the L levels that have rules, root first."""
        return tuple(table.shape[2] for table in self.rules)

    @property
    def n_leaves(self) -> int:
        """Leaves of a derivation tree."""
        return math.prod(self.s)

    def n_nodes(self, level: int) -> int:
        """Nodes of a level, the product of s over the levels above it."""
        number = isinstance(level, (int, np.integer)) and not isinstance(level, bool)
        if not number or not 0 <= level <= self.L:
            raise InvalidParameter(f"level = {shown(level)} is no level; give 0 (root) to {self.L}")
        return math.prod(self.s[:level])

    @cached_property
    def is_uniform(self) -> bool:
        """Whether all classes and all rules of each symbol are equally likely."""
        return all(np.ptp(p) == 0 for p in (*self.weights, self.root_prior))

    @property
    def is_unambiguous(self) -> bool:
        """Whether no two rules of a level share a right-hand side, absent rules set aside."""
        return self._parser.is_unambiguous

    @cached_property
    def _parser(self) -> Parser:
        return Parser.build(self.rules, self.weights, self.root_prior, self.v)

    @checked(n=count, root=unchecked)
    def sample(self, n: int, seed: Seed, root: ArrayLike | None = None) -> Derivations:
        """Draw derivations: a class from the prior, then a rule for every node, top-down.

        Parameters
        ----------
        n : int
            Number of derivations.
        seed : Seed
            Source of randomness.
        root : int or int array [n], optional
            Clamp the class, in [0, v_0) and of positive prior (default: drawn from the prior).

        Returns
        -------
        Derivations
            Levels of shape [n, nodes], int32.

        Raises
        ------
        InvalidParameter
            If ``n`` is no positive integer, more than memory holds, or ``root`` no class.

        Notes
        -----
        Validity: exact for any grammar.

        Examples
        --------
        >>> Grammar([[[[0, 1]], [[1, 0]]]]).sample(2, seed=0, root=[1, 0]).leaves.tolist()
        [[1, 0], [0, 1]]
        """
        rng = generator(seed)
        # the last level: symbols as int32 and int64, chosen rules, random numbers
        memory(f"n = {n} derivations of {self.n_leaves} leaves", 24.0 * n * self.n_leaves)
        if root is None:
            top = np.zeros((n, 1), dtype=np.int32)
            levels = [pick(self.root_prior[None], top, rng).astype(np.int32)]
        else:
            levels = [clamped(root, n, self.root_prior)]
        for table, weight in zip(self.rules, self.weights, strict=True):
            symbols = levels[-1].astype(np.int64)
            chosen = symbols * table.shape[1] + pick(weight, symbols, rng)
            written = np.take(table.reshape(-1, table.shape[2]), chosen, axis=0)
            levels.append(written.reshape(n, -1))
        return Derivations._of(tuple(levels))

    def parse(self, leaves: ArrayLike) -> Derivations:
        """Recover the one derivation of each leaf string, bottom-up.

        Parameters
        ----------
        leaves : int array [n, leaves]
            Leaf strings.

        Returns
        -------
        Derivations
            Levels of shape [n, nodes], int32.

        Raises
        ------
        NotASentence
            If a string has no derivation: names the first such sample, with level and position.
        InvalidParameter
            If the grammar is ambiguous or the leaves have the wrong shape or type.

        Notes
        -----
        Validity: unambiguous grammars; for others, sample from ``hierdiff.theory.posterior``.

        Examples
        --------
        >>> Grammar([[[[0, 1]], [[1, 0]]]]).parse([[1, 0], [0, 1]]).levels[0].tolist()
        [[1], [0]]
        """
        if not self.is_unambiguous:
            raise InvalidParameter(
                "the grammar is ambiguous: rules of a level share a right-hand side, so a string "
                "has no single parse; draw one with theory.posterior(...).sample"
            )
        levels, _ = self._parser.climb(self._parser.symbols(leaves))
        if (levels[0] < 0).any():
            raise NotASentence(reason(levels, leaves, self.v[-1]))
        return Derivations._of(levels)

    def is_valid(self, leaves: ArrayLike) -> BoolArray:
        """Say which leaf strings are sentences, that is, have positive probability.

        Parameters
        ----------
        leaves : int array [n, leaves]
            Leaf strings; a symbol outside the vocabulary, such as a mask, is no sentence.

        Returns
        -------
        bool array [n]

        Notes
        -----
        Validity: exact for any grammar.

        Examples
        --------
        >>> Grammar([[[[0, 1]], [[1, 0]]]]).is_valid([[0, 1], [1, 1], [1, -1]]).tolist()
        [True, False, False]
        """
        return self._parser.derivable(self._parser.symbols(leaves))[0][:, 0]

    def valid_per_level(self, leaves: ArrayLike) -> tuple[FloatArray, ...]:
        """Fraction of the nodes of each level below which the leaves can be derived.

        Parameters
        ----------
        leaves : int array [n, leaves]
            Leaf strings.

        Returns
        -------
        tuple of L + 1 arrays [n]
            Root first; the entry of the leaves is the fraction inside the vocabulary.

        Notes
        -----
        Validity: exact for any grammar; a node counts if any symbol derives what is below it.

        Examples
        --------
        >>> grammar = Grammar([[[[1, 1]]], [[[0, 1]], [[1, 0]]]])
        >>> [level.tolist() for level in grammar.valid_per_level([[1, 0, 1, 1]])]
        [[0.0], [0.5], [1.0]]
        """
        nodes = self._parser.derivable(self._parser.symbols(leaves))
        return tuple(found.mean(axis=1) for found in nodes)

    def log_prob(self, leaves: ArrayLike) -> FloatArray:
        """Natural logarithm of the probability of each leaf string, summed over its derivations.

        Parameters
        ----------
        leaves : int array [n, leaves]
            Leaf strings.

        Returns
        -------
        array [n]
            In nats; -inf for what is no sentence.

        Notes
        -----
        Validity: exact for any grammar, to rounding; all sums are taken in log space.

        Examples
        --------
        >>> grammar = Grammar([[[[0, 1], [0, 0]], [[1, 0], [0, 1]]]])
        >>> np.exp(grammar.log_prob([[0, 1], [0, 0], [1, 1]])).round(12).tolist()
        [0.5, 0.25, 0.0]
        """
        return self._parser.log_prob(self._parser.symbols(leaves))

    def to_networkx(self, depth: int | None = None) -> networkx.DiGraph:
        """Factor graph of the derivation tree: bipartite, edges pointing away from the root.

        Parameters
        ----------
        depth : int, optional
            Keep levels 0 to ``depth`` (default L, the whole tree).

        Returns
        -------
        networkx.DiGraph
            Variables ``(level, position)`` with ``n_states``; factors ``("rule", level, position)``
            with ``rules`` and ``weights``, whose edges to the children have an index ``child``;
            all nodes with ``level`` and ``position``; the graph itself with ``root_prior``.

        Notes
        -----
        Validity: any grammar.

        Examples
        --------
        >>> graph = Grammar([[[[0, 1]], [[1, 0]]]]).to_networkx()
        >>> list(graph)
        [(0, 0), ('rule', 0, 0), (1, 0), (1, 1)]
        """
        depth = self.L if depth is None else depth
        self.n_nodes(depth)  # says so if there is no such level
        graph = factor_graph(self.rules, self.weights, self.v, depth)
        graph.graph["root_prior"] = self.root_prior
        return graph

    @checked
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the grammar to one npz file, without pickle; it appears whole or not at all.

        Parameters
        ----------
        path : path
            Name of the file, kept as given.

        Raises
        ------
        InvalidParameter
            If the folder cannot be written.

        Notes
        -----
        Validity: ``Grammar.load`` gives back every bit.
        """
        arrays = {"root_prior": self.root_prior, "leaf_vocabulary": np.array(self.leaf_vocabulary)}
        for level, (table, weight) in enumerate(zip(self.rules, self.weights, strict=True)):
            arrays |= {f"rules_{level}": table, f"weights_{level}": weight}
        write_npz(path, FORMAT, arrays)

    @classmethod
    @checked
    def load(cls, path: str | os.PathLike[str]) -> Grammar:
        """Read a grammar that ``save`` wrote.

        Parameters
        ----------
        path : path
            Name of the file.

        Raises
        ------
        DamagedFile
            If the file is damaged or holds something else.

        Notes
        -----
        Validity: format 1; the contents are checked like any other grammar's.
        """
        arrays = read_npz(path, FORMAT)
        levels = range(sum(name.startswith("rules_") for name in arrays))
        known = {f"{table}_{level}" for table in ("rules", "weights") for level in levels}
        if set(arrays) != known | {"root_prior", "leaf_vocabulary"}:
            raise DamagedFile(
                f"{path} holds no whole grammar but {', '.join(sorted(arrays))[:80]}; save it again"
            )
        try:
            return cls(
                [arrays[f"rules_{level}"] for level in levels],
                [arrays[f"weights_{level}"] for level in levels],
                arrays["root_prior"],
                leaf_vocabulary=arrays["leaf_vocabulary"].item(),
            )
        # sound arrays of wrong shapes and types fail in NumPy, each in its own way
        except Exception as error:
            raise DamagedFile(
                f"{path} holds no whole grammar ({one_line(error)}); save it again"
            ) from error

    @property
    def _content(self) -> tuple[object, ...]:
        tables: list[NDArray[Any]] = [*self.rules, *self.weights, self.root_prior]
        return self.v, self.m, self.s, *(table.tobytes() for table in tables)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grammar) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilding, not copying the state: arrays come back read-only, caches stay behind.
        rebuild = partial(Grammar, leaf_vocabulary=self.leaf_vocabulary)
        return rebuild, (self.rules, self.weights, self.root_prior)

    def __repr__(self) -> str:
        sizes = {"v": self.v, "m": self.m, "s": self.s}
        parts = [f"{k}={x[0] if len(set(x)) == 1 else x}" for k, x in sizes.items()]
        notes = [] if self.is_uniform else ["weighted"]
        notes += [] if self.is_unambiguous else ["ambiguous"]
        return f"Grammar({', '.join([f'L={self.L}', *parts, *notes])})"
