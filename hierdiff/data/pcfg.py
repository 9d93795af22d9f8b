r"""Grammars whose trees vary in shape: probabilistic context-free grammars (PCFGs).

=====================  ==========================================================================
symbol                 meaning
=====================  ==========================================================================
A, B                   nonterminals, numbered 0 ... N - 1
N + b                  terminal b, a symbol of the string, b in [0, v)
A -> (c_1 ... c_k)     rule r with probability pi_r; its arity k is at least one
n                      length of a string
T_A(n)                 probability that what A derives has n leaves
=====================  ==========================================================================

A derivation draws its root from a prior p_0 and rewrites every nonterminal by a rule of its own:

.. math:: p(\text{tree}) = p_0(A_0) \prod_{\text{nodes}} \pi_{r}, \qquad
   p(x) = \sum_{\text{trees of } x} p(\text{tree}), \qquad
   T_A(n) = \sum_r \pi_r \sum_{n_1 + \dots + n_k = n} \prod_j T_{c_j}(n_j).

In a *layered* grammar the symbols of level l + 1 are all that rules of level l write, so every leaf
has the same depth L, while arities, and with them the length, vary.  One arity in each level is
:class:`~hierdiff.data.rhm.Grammar`.  A *general* grammar is any set of rules without empty
right-hand sides; unary cycles are allowed if they end with probability one.

References: Booth and Thompson (1973) for consistency; arXiv 2602.06065 for layered grammars of
varying arity as a data model.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._display import block, html_table
from hierdiff.checks import (
    checked,
    count,
    frozen,
    integers,
    memory,
    reals,
    shown,
    unchecked,
    whole,
)
from hierdiff.data.derivations import (
    MAX_DEPTH,
    SUM_TOLERANCE,
    FloatArray,
    IntArray,
    checked_probabilities,
    draw_tuples,
)
from hierdiff.data.parse_trees import Growth, Parses
from hierdiff.data.rhm import Grammar
from hierdiff.errors import InvalidParameter
from hierdiff.seeds import Seed, generator

__all__ = ["PCFG", "Binarised"]

MAX_ARITY = 16
"""Symbols of a right-hand side; the binarised grammar has one more symbol for each of them."""
MAX_LENGTH = 4096
"""Leaves of a string of given length; the table of lengths takes seconds there."""
_DRAWN = 64  # mean length up to which a notebook shows a tree
Rule = tuple[int, tuple[int, ...], float]


# ------------------------------------------------------------------------------------- the grammar


@dataclass(frozen=True)
class Binarised:
    """The same grammar with rules of at most two symbols.

    A right-hand side (c_1 ... c_k) with k > 2 becomes (c_1, D) with a *dotted* symbol D that
    derives (c_2 ... c_k) with probability one; equal rests share one.

    Attributes
    ----------
    dotted : tuple of tuples
        The rests; dotted symbol i has the number N + v + i.
    binary, unary : int array [rules, 4]
        Symbol, first and second child (-1 of unary rules), and rule of the grammar; -1 stands for
        the rule of a dotted symbol.
    """

    dotted: tuple[tuple[int, ...], ...]
    binary: NDArray[np.int32]
    unary: NDArray[np.int32]


@dataclass(frozen=True, eq=False, repr=False)
class PCFG:
    """A probabilistic context-free grammar without empty right-hand sides.

    Parameters
    ----------
    rules : sequence of (symbol, children, probability)
        Nonterminals are 0 ... N - 1, terminal b is N + b.
    n_symbols : int
        Number N of nonterminals.
    v : int
        Number of terminals.
    root_prior : array [N], optional
        Probability of every nonterminal as root; default: all on symbol 0.
    level_sizes : tuple of int, optional
        Of a layered grammar: number of symbols in the levels 0 ... L, the terminals last.
        :meth:`layered` sets it.
    words : tuple of str, optional
        Names of all N + v symbols, for printing.

    Raises
    ------
    InvalidParameter
        If probabilities of a symbol do not sum to one, a symbol cannot be reached from a root
        (layered grammars may have such symbols), derives no string, or only goes round in a cycle
        of unary rules; if a rule of a layered grammar leaves its level.

    Notes
    -----
    Validity: exact for any grammar.  Rules of probability zero count as absent.

    Examples
    --------
    >>> PCFG([(0, (0, 0), 0.4), (0, (1,), 0.6)], n_symbols=1, v=1)
    PCFG(N=1, v=1, rules=2)
    """

    parents: NDArray[np.int32]
    children: tuple[tuple[int, ...], ...]
    weights: FloatArray
    root_prior: FloatArray
    N: int
    v: int
    level_sizes: tuple[int, ...] | None
    names: tuple[str, ...]

    def __init__(
        self,
        rules: Sequence[Rule],
        n_symbols: int,
        v: int,
        root_prior: ArrayLike | None = None,
        *,
        level_sizes: tuple[int, ...] | None = None,
        words: tuple[str, ...] | None = None,
    ) -> None:
        n_symbols, v = whole("n_symbols", n_symbols, 1, 10**5), whole("v", v, 1, 10**6)
        parents, children, weights = _checked_rules(rules, n_symbols, v)
        prior = np.eye(1, n_symbols)[0] if root_prior is None else root_prior
        keep = {
            "parents": frozen(parents), "children": children, "weights": frozen(weights),
            "root_prior": checked_probabilities(prior, "root_prior", (n_symbols,)),
            "N": n_symbols, "v": v, "level_sizes": _checked_sizes(level_sizes, n_symbols, v),
            "names": _checked_names(words, n_symbols, v),
        }  # fmt: skip
        for name, value in keep.items():
            object.__setattr__(self, name, value)
        if self.level_sizes is not None:
            self._check_levels()
        elif len({*zip(parents.tolist(), children, strict=True)}) < len(children):
            raise InvalidParameter(
                "a rule stands in rules twice; give it once, with the sum of both"
            )
        self._check_structure()

    # ------------------------------------------------------------------ other ways to make one

    @classmethod
    def layered(
        cls,
        rules: Sequence[Mapping[int, ArrayLike]],
        weights: Sequence[Mapping[int, ArrayLike]] | None = None,
        root_prior: ArrayLike | None = None,
        *,
        leaf_vocabulary: int | None = None,
    ) -> PCFG:
        """A layered grammar whose rules have several arities.

        Parameters
        ----------
        rules : sequence of L mappings from arity s to int arrays (v_l, m_s, s)
            ``rules[l][s][a, k]``: s symbols of level l + 1 that symbol a of level l may write.
        weights : sequence of L mappings from arity s to arrays (v_l, m_s), optional
            Probabilities; those of a symbol sum to one over all arities (default uniform).
        root_prior : array (v_0,), optional
            Probabilities of the classes (default uniform).
        leaf_vocabulary : int, optional
            Number of leaf symbols (default: the largest that occurs, plus one).

        Returns
        -------
        PCFG

        Raises
        ------
        InvalidParameter
            For rules of wrong shapes or entries, or probabilities that do not sum to one.

        Examples
        --------
        >>> g = PCFG.layered([{1: [[[1]], [[0]]], 2: [[[0, 1]], [[1, 1]]]}])
        >>> g, g.length_law(2).tolist()
        (PCFG(L=1, v=2, arities=(1, 2), rules=4), [0.0, 0.5, 0.5])
        """
        tables = _checked_tables(rules)
        sizes = [next(iter(level.values())).shape[0] for level in tables]
        last = max(int(x.max()) for x in tables[-1].values()) + 1
        sizes.append(
            last if leaf_vocabulary is None else whole("leaf_vocabulary", leaf_vocabulary, 1, 10**6)
        )
        given = _checked_level_weights(weights, tables)
        first = np.cumsum([0, *sizes])
        flat: list[Rule] = []
        for level, (arities, probability) in enumerate(zip(tables, given, strict=True)):
            for s, table in arities.items():
                if table.max() >= sizes[level + 1]:
                    raise InvalidParameter(
                        f"rules[{level}][{s}] holds symbol {table.max()}, but level {level + 1} "
                        f"has {sizes[level + 1]}; lower the entry or add symbols"
                    )
                below = table + first[level + 1]
                flat += [
                    (
                        int(first[level]) + a,
                        tuple(below[a, k].tolist()),
                        float(probability[s][a, k]),
                    )
                    for a in range(table.shape[0])
                    for k in range(table.shape[1])
                ]
        prior = np.zeros(int(first[-2]))
        prior[: sizes[0]] = checked_probabilities(root_prior, "root_prior", (sizes[0],))
        return cls(flat, int(first[-2]), sizes[-1], prior, level_sizes=tuple(sizes))

    @classmethod
    @checked(v=count, L=partial(whole, low=1, high=MAX_DEPTH), rules=unchecked, n_classes=count)
    def random(
        cls, v: int, rules: Mapping[int, int], L: int, seed: Seed, *, n_classes: int | None = None
    ) -> PCFG:
        """Draw a layered grammar as the Random Hierarchy Model does, with several arities.

        Parameters
        ----------
        v : int
            Symbols per level.
        rules : mapping from arity s to the number m_s of rules of that arity per symbol
            All rules of a symbol are equally likely.
        L : int
            Levels of rules.
        seed : Seed
            Source of randomness.
        n_classes : int, optional
            Symbols at the root (default v).

        Returns
        -------
        PCFG
            Right-hand sides of one arity and level are distinct, a uniform choice without
            replacement.

        Raises
        ------
        InvalidParameter
            If there are fewer than v m_s tuples of an arity.

        Notes
        -----
        Validity: strings may still be ambiguous, since the borders of the nodes are not marked.

        Examples
        --------
        >>> PCFG.random(v=8, rules={2: 2, 3: 2}, L=4, seed=0)
        PCFG(L=4, v=8, arities=(2, 3), rules=128)
        """
        rng = generator(seed)
        numbers = checked_arities(rules)
        tops = [v if n_classes is None else n_classes] + [v] * (L - 1)
        for s, m in numbers.items():
            if m * max(tops) > v**s:
                raise InvalidParameter(
                    f"m * v = {m * max(tops)} rules of arity {s} exceed the v**s = {v**s} tuples; "
                    "lower m or raise v"
                )
        memory(f"{L} levels of {max(tops)} symbols", 200.0 * L * max(tops) * sum(numbers.values()))
        tables = [
            {s: draw_tuples(top * m, v, s, rng).reshape(top, m, s) for s, m in numbers.items()}
            for top in tops
        ]
        return cls.layered(tables, leaf_vocabulary=v)

    @classmethod
    @checked
    def of(cls, grammar: Grammar) -> PCFG:
        """The layered grammar of one arity per level, as a PCFG.

        Examples
        --------
        >>> PCFG.of(Grammar([[[[0, 1]], [[1, 0]]]]))
        PCFG(L=1, v=2, arities=(2,), rules=2)
        """
        return cls.layered(
            [{int(x.shape[2]): x} for x in grammar.rules],
            [{int(x.shape[2]): w} for x, w in zip(grammar.rules, grammar.weights, strict=True)],
            grammar.root_prior,
            leaf_vocabulary=grammar.leaf_vocabulary,
        )

    @classmethod
    @checked
    def from_text(cls, text: str) -> PCFG:
        """A general grammar in the notation of NLTK; the first symbol is the root.

        Parameters
        ----------
        text : str
            Lines ``S -> NP VP [0.9] | VP [0.1]``; terminals stand in quotes.

        Returns
        -------
        PCFG

        Raises
        ------
        InvalidParameter
            For a line that cannot be read; as the class.

        Examples
        --------
        >>> PCFG.from_text("S -> S S [0.3] | 'a' [0.5] | 'b' [0.2]").names
        ('S', 'a', 'b')
        """
        lines = [_read_line(line) for line in text.splitlines() if line.strip()]
        found = [rule for line in lines for rule in line]
        if not found:
            raise InvalidParameter(
                "text holds no rule; give lines such as S -> S S [0.3] | 'a' [0.7]"
            )
        left = list(dict.fromkeys(parent for parent, _, _ in found))
        ends = list(dict.fromkeys(c for _, cs, _ in found for c in cs if c[0] in "'\""))
        if not ends:
            raise InvalidParameter("text has no terminal; put the symbols of strings into quotes")
        number = {name: i for i, name in enumerate([*left, *ends])}
        for _, symbols, _ in found:
            for c in symbols:
                if c not in number:
                    raise InvalidParameter(
                        f"symbol {c} has no rule; add one, or put it into quotes"
                    )
        rules = [(number[p], tuple(number[c] for c in cs), w) for p, cs, w in found]
        words = (*left, *(c[1:-1] for c in ends))
        return cls(rules, len(left), len(ends), words=words)

    # --------------------------------------------------------------------------------- its sizes

    @property
    def L(self) -> int | None:
        """Depth of a layered grammar; None without levels."""
        return None if self.level_sizes is None else len(self.level_sizes) - 1

    @cached_property
    def first(self) -> IntArray:
        """Number of the first symbol of every level, [L + 1]."""
        sizes = self.level_sizes or (self.N, self.v)
        return np.cumsum([0, *sizes])[:-1]

    @cached_property
    def level_of(self) -> IntArray:
        """Level of every symbol, [N + v]; without levels 0, and 1 of the terminals."""
        sizes = self.level_sizes or (self.N, self.v)
        return np.repeat(np.arange(len(sizes)), sizes)

    @cached_property
    def n_classes(self) -> int:
        """Symbols of level 0; without levels N, since any may be a root."""
        return self.N if self.level_sizes is None else self.level_sizes[0]

    @cached_property
    def arities(self) -> tuple[int, ...]:
        """Lengths of right-hand sides that occur, increasing."""
        return tuple(sorted({len(c) for c in self.children}))

    @cached_property
    def mean_offspring(self) -> FloatArray:
        """Expected number of symbols c that a symbol A writes, [N, N + v]."""
        out = np.zeros((self.N, self.N + self.v))
        for parent, symbols, w in zip(self.parents, self.children, self.weights, strict=True):
            np.add.at(out[parent], list(symbols), w)
        return out

    @cached_property
    def growth(self) -> float:
        """Spectral radius of the mean offspring: trees are finite if it is below one."""
        if self.level_sizes is not None:
            return 0.0
        return float(np.abs(np.linalg.eigvals(self.mean_offspring[:, : self.N])).max())

    @cached_property
    def mean_length(self) -> float:
        """Expected length of a string; inf if trees need not end.

        Examples
        --------
        >>> PCFG([(0, (0, 0), 0.25), (0, (1,), 0.75)], 1, 1).mean_length
        1.5
        """
        if self.growth >= 1:
            return math.inf
        inner, leaves = self.mean_offspring[:, : self.N], self.mean_offspring[:, self.N :]
        lengths = np.linalg.solve(np.eye(self.N) - inner, leaves.sum(axis=1))
        return float(self.root_prior @ lengths)

    @cached_property
    def binarised(self) -> Binarised:
        """Rules of at most two symbols, with dotted symbols for longer ones."""
        number: dict[tuple[int, ...], int] = {}
        binary, unary = [], []

        def rest(symbols: tuple[int, ...]) -> int:
            if len(symbols) == 1:
                return symbols[0]
            if symbols not in number:
                tail = rest(symbols[1:])
                number[symbols] = len(number)
                binary.append((self.N + self.v + number[symbols], symbols[0], tail, -1))
            return self.N + self.v + number[symbols]

        for r, (parent, symbols) in enumerate(zip(self.parents, self.children, strict=True)):
            if len(symbols) == 1:
                unary.append((int(parent), symbols[0], -1, r))
            else:
                binary.append((int(parent), symbols[0], rest(symbols[1:]), r))
        table = [np.array(x, np.int32).reshape(-1, 4) for x in (binary, unary)]
        return Binarised(tuple(number), table[0], table[1])

    # -------------------------------------------------------------------------- lengths of strings

    @checked(longest=partial(whole, low=0, high=2 * MAX_LENGTH + 2))
    def length_table(self, longest: int) -> FloatArray:
        """Probability T(n) that a symbol derives n leaves, of all symbols, dotted ones last.

        Parameters
        ----------
        longest : int

        Returns
        -------
        array [N + v + dotted, longest + 1]

        Notes
        -----
        Validity: exact; O(longest^2 rules).
        """
        b = self.binarised
        symbols = self.N + self.v + len(b.dotted)
        memory(f"lengths up to {longest} of {symbols} symbols", 8.0 * (longest + 1) * symbols)
        out = np.zeros((symbols, longest + 1))
        if longest:
            out[self.N : self.N + self.v, 1] = 1.0
        weight = np.append(self.weights, 1.0)[b.binary[:, 3]]
        target, left, right = b.binary[:, 0], b.binary[:, 1], b.binary[:, 2]
        for n in range(1, longest + 1):
            if n > 1:
                pairs = np.einsum("rj,rj->r", out[left, 1:n], out[right, n - 1 : 0 : -1])
                np.add.at(out[:, n], target, weight * pairs)
            leaves = self._unary[:, self.N :] @ out[self.N : self.N + self.v, n]
            out[: self.N, n] = self._closure @ (out[: self.N, n] + leaves)
        return out

    @cached_property
    def _unary(self) -> FloatArray:
        out = np.zeros((self.N, self.N + self.v))
        for parent, child, _, rule in self.binarised.unary:
            out[parent, child] += self.weights[rule]
        return out

    @cached_property
    def _closure(self) -> FloatArray:
        """Sum over all chains of unary rules, (1 - U)^{-1}, [N, N]."""
        if not self._unary[:, : self.N].any():
            return np.eye(self.N)
        return np.asarray(np.linalg.inv(np.eye(self.N) - self._unary[:, : self.N])).clip(0)

    @checked(longest=partial(whole, low=0, high=2 * MAX_LENGTH + 2))
    def length_law(self, longest: int) -> FloatArray:
        r"""Probability of every length up to ``longest``: the law of the branching process.

        .. math:: P(n) = \sum_A p_0(A)\, T_A(n)

        Parameters
        ----------
        longest : int

        Returns
        -------
        array [longest + 1]

        Notes
        -----
        Validity: exact; sums to less than one if longer strings exist.

        Examples
        --------
        >>> PCFG([(0, (0, 0), 0.25), (0, (1,), 0.75)], 1, 1).length_law(4).round(4).tolist()
        [0.0, 0.75, 0.1406, 0.0527, 0.0247]
        """
        return np.asarray(self.root_prior @ self.length_table(longest)[: self.N])

    @checked(length=partial(whole, low=1, high=MAX_LENGTH))
    def check_length(self, length: int) -> float:
        """Probability of a length; refuses one that no derivation has.

        Raises
        ------
        InvalidParameter
            If its probability is zero; the nearest possible lengths are named.

        Examples
        --------
        >>> PCFG.of(Grammar([[[[0, 1]], [[1, 0]]]])).check_length(3)
        Traceback (most recent call last):
        hierdiff.errors.InvalidParameter: length = 3 has no derivation in this grammar; the nearest
        lengths are 2
        """
        law = self.length_law(2 * length + 1)
        if law[length] > 0:
            return float(law[length])
        possible = np.flatnonzero(law)
        near = sorted(possible[np.argsort(np.abs(possible - length), kind="stable")[:2]].tolist())
        words = " and ".join(map(str, near)) if near else f"all above {2 * length + 1}"
        raise InvalidParameter(
            f"length = {length} has no derivation in this grammar; the nearest lengths are {words}"
        )

    def likely_length(self) -> int:
        """The possible length nearest to the mean, the likelier of two.

        Examples
        --------
        >>> PCFG.random(v=8, rules={2: 2, 3: 2}, L=3, seed=0).likely_length()
        16
        """
        mean = self.mean_length
        if not mean < MAX_LENGTH:
            raise InvalidParameter(f"the mean length is {mean:.4g}; give a length yourself")
        law = self.length_law(int(2 * mean) + 2)
        possible = np.flatnonzero(law)
        distance = np.abs(possible - mean) - 1e-9 * law[possible]
        return int(possible[distance.argmin()])

    # ------------------------------------------------------------------------------------ sampling

    @checked(n=count, length=unchecked)
    def sample(self, n: int, seed: Seed, length: int | None = None) -> Parses:
        r"""Draw derivations, of any length or of a given one.

        At given length the rule r of a node with n leaves, and the leaves of its children, have

        .. math:: p(r, n_1 \dots n_k \mid A, n) = \pi_r \prod_j T_{c_j}(n_j) / T_A(n).

        Parameters
        ----------
        n : int
            Number of derivations.
        seed : Seed
            Source of randomness.
        length : int, optional
            Number of leaves of every string.

        Returns
        -------
        Parses

        Raises
        ------
        InvalidParameter
            If no derivation has this length, or trees need not end and no length is given.

        Notes
        -----
        Validity: exact.

        Examples
        --------
        >>> g = PCFG.random(v=4, rules={2: 1, 3: 1}, L=2, seed=0)
        >>> g.sample(200, seed=1).lengths.min(), g.sample(3, seed=1, length=6).x0.shape
        (np.int64(4), (3, 6))
        """
        rng = generator(seed)
        if length is None:
            if self.growth >= 1:
                raise InvalidParameter(
                    f"trees grow by a factor {self.growth:.3g} per level, so their mean length is "
                    "infinite; give a length"
                )
            memory(f"n = {n} trees of {self.mean_length:.3g} leaves", 64.0 * n * self.mean_length)
            return Growth(self, None, n, rng).trees()
        length = whole("length", length, 1, MAX_LENGTH)
        memory(f"n = {n} strings of length {length}", 64.0 * n * length)
        self.check_length(length)
        return Growth(self, length, n, rng).trees()

    # ------------------------------------------------------------------------ comparison, checking

    @property
    def _content(self) -> tuple[object, ...]:
        arrays = (self.parents, self.weights, self.root_prior)
        return self.N, self.v, self.level_sizes, self.children, *(a.tobytes() for a in arrays)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PCFG) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilding, not copying the state: arrays come back read-only, caches stay behind.
        return _rebuild, (
            self.rules, self.N, self.v, self.root_prior, self.level_sizes, self.names,
        )  # fmt: skip

    def __repr__(self) -> str:
        if self.level_sizes is None:
            return f"PCFG(N={self.N}, v={self.v}, rules={len(self.weights)})"
        v = self.level_sizes[0] if len(set(self.level_sizes)) == 1 else self.level_sizes
        return f"PCFG(L={self.L}, v={v}, arities={self.arities}, rules={len(self.weights)})"

    def _repr_html_(self) -> str:
        word = self.names
        rows = [
            [word[a], " ".join(word[b] for b in children), f"{w:.4g}"]
            for a, children, w in self.rules
        ]
        # one tree, of fixed seed, in brackets: nodes of any number of children have no levels
        few = self.mean_length <= _DRAWN
        tree = self.sample(1, seed=0).to_text() if few else ""
        shown = f"<pre>{html.escape(tree)}</pre>" if 0 < len(tree) < 20 * _DRAWN else ""
        table = html_table(["symbol", "right-hand side", "probability"], rows, limit=24)
        return block(repr(self), table, shown)

    @property
    def rules(self) -> list[Rule]:
        """All rules as (symbol, children, probability)."""
        numbers = zip(self.parents.tolist(), self.children, self.weights.tolist(), strict=True)
        return list(numbers)

    def reweighted(self, weights: ArrayLike, root_prior: ArrayLike | None = None) -> PCFG:
        """The same rules with other probabilities [rules]; those of a symbol sum to one."""
        found = reals("weights", weights, 0, shape=self.weights.shape)
        prior = self.root_prior if root_prior is None else root_prior
        rules = [(a, c, w) for (a, c, _), w in zip(self.rules, found.tolist(), strict=True)]
        return _rebuild(rules, self.N, self.v, prior, self.level_sizes, self.names)

    def given(self, label: int | None) -> PCFG:
        """The grammar of one class; None is this one."""
        if label is None:
            return self
        prior = np.eye(self.N)[whole("label", label, 0, self.n_classes - 1)]
        return _rebuild(self.rules, self.N, self.v, prior, self.level_sizes, self.names)

    def _check_levels(self) -> None:
        for r, (parent, symbols) in enumerate(zip(self.parents, self.children, strict=True)):
            levels = {int(self.level_of[c]) for c in symbols}
            if levels != {int(self.level_of[parent]) + 1}:
                raise InvalidParameter(
                    f"rule {r} of symbol {parent} writes symbols of the levels {sorted(levels)}; "
                    f"in a layered grammar all are of level {int(self.level_of[parent]) + 1}"
                )
        if self.root_prior[self.n_classes :].any():
            raise InvalidParameter("root_prior is positive below level 0; give classes alone")

    def _check_structure(self) -> None:
        """Refuse symbols that derive nothing, and those that no root reaches."""
        alive = self.weights > 0
        ends = np.append(np.zeros(self.N, bool), np.ones(self.v, bool))
        for _ in range(self.N + 1):
            before = ends.sum()
            for r in np.flatnonzero(alive):
                if ends[list(self.children[r])].all():
                    ends[self.parents[r]] = True
            if ends.sum() == before:
                break
        seen = np.append(self.root_prior > 0, np.zeros(self.v, bool))
        waiting: list[int] = np.flatnonzero(seen).tolist()
        while waiting:
            symbol = waiting.pop()
            for r in np.flatnonzero(alive & (self.parents == symbol)):
                for c in self.children[r]:
                    if not seen[c]:
                        seen[c] = True
                        waiting.append(c)
        dead = np.flatnonzero(~ends & seen if self.level_sizes else ~ends)
        if dead.size:
            name = self.names[dead[0]]
            lonely = all(len(self.children[r]) == 1
                         for r in np.flatnonzero(alive & (self.parents == dead[0])))  # fmt: skip
            why = "its unary rules form a cycle without end" if lonely else "its rules never end"
            raise InvalidParameter(
                f"symbol {name} derives no string: {why}; give it a rule that ends in terminals"
            )
        lost = np.flatnonzero(~seen[: self.N])
        if self.level_sizes is None and lost.size:
            raise InvalidParameter(
                f"symbol {self.names[lost[0]]} is reached from no root; leave it out, or write it "
                "in a rule of positive probability"
            )


def _rebuild(
    rules: Any, N: int, v: int, prior: Any, sizes: tuple[int, ...] | None, names: tuple[str, ...]
) -> PCFG:
    return PCFG(rules, N, v, prior, level_sizes=sizes, words=names)


def _checked_rules(
    rules: Any, n_symbols: int, v: int
) -> tuple[NDArray[np.int32], tuple[tuple[int, ...], ...], FloatArray]:
    """Parents, children and probabilities, each symbol's summing to one."""
    if not isinstance(rules, (list, tuple)) or not rules:
        raise InvalidParameter(
            f"rules = {shown(rules)} must be a list of (symbol, children, probability)"
        )
    parents, children, weights = [], [], []
    for r, rule in enumerate(rules):
        if not isinstance(rule, (tuple, list)) or len(rule) != 3:
            raise InvalidParameter(
                f"rules[{r}] = {shown(rule)} must be (symbol, children, probability)"
            )
        parents.append(whole(f"rules[{r}][0]", rule[0], 0, n_symbols - 1))
        right = integers(f"rules[{r}][1]", rule[1], 0, n_symbols + v - 1, ndim=1)
        if not 1 <= len(right) <= MAX_ARITY:
            raise InvalidParameter(f"rules[{r}] writes {len(right)} symbols; give 1 to {MAX_ARITY}")
        children.append(tuple(right.tolist()))
        weights.append(rule[2])
    try:
        w = np.array(weights, float)
    except (TypeError, ValueError):
        w = np.full(len(weights), np.nan)
    bad = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if bad.size:
        raise InvalidParameter(
            f"rules[{bad[0]}] has probability {shown(weights[bad[0]])}; give a number >= 0"
        )
    total = np.bincount(parents, w, n_symbols)
    wrong = np.flatnonzero(np.abs(total - 1) > SUM_TOLERANCE)
    if wrong.size:
        raise InvalidParameter(
            f"probabilities of symbol {wrong[0]} sum to {total[wrong[0]]:.12g}, not 1; divide them "
            "by their sum, and give every nonterminal a rule"
        )
    # sums that are exact to rounding stay as they are, so that a copy has the same bits
    scale = np.where(np.abs(total - 1) <= (len(w) + 1) * np.finfo(float).eps, 1.0, total)
    return np.array(parents, np.int32), tuple(children), w / scale[parents]


def _checked_sizes(sizes: Any, n_symbols: int, v: int) -> tuple[int, ...] | None:
    if sizes is None:
        return None
    if not isinstance(sizes, (tuple, list)) or len(sizes) < 2:
        raise InvalidParameter(f"level_sizes = {shown(sizes)} must be two sizes or more")
    found = tuple(whole(f"level_sizes[{i}]", x, 1) for i, x in enumerate(sizes))
    if sum(found[:-1]) != n_symbols or found[-1] != v:
        raise InvalidParameter(
            f"level_sizes = {found} must sum to n_symbols = {n_symbols} and end in v = {v}"
        )
    return found


def _checked_names(words: Any, n_symbols: int, v: int) -> tuple[str, ...]:
    if words is None:
        return (*(f"A{i}" for i in range(n_symbols)), *(f"b{i}" for i in range(v)))
    if not isinstance(words, (tuple, list)) or len(words) != n_symbols + v:
        raise InvalidParameter(f"words = {shown(words)} must be {n_symbols + v} names")
    return tuple(str(word) for word in words)


def checked_arities(rules: Any) -> dict[int, int]:
    """Numbers of rules by arity, the arities increasing."""
    if not isinstance(rules, Mapping) or not rules:
        raise InvalidParameter(
            f"rules = {shown(rules)} must map an arity to a number of rules, such as {{2: 2, 3: 2}}"
        )
    found = {whole("arity", s, 1, MAX_ARITY): whole(f"rules[{s!r}]", m, 1)
             for s, m in rules.items()}  # fmt: skip
    return dict(sorted(found.items()))


def _checked_tables(rules: Any) -> list[dict[int, NDArray[np.int64]]]:
    if not isinstance(rules, (list, tuple)) or not rules:
        raise InvalidParameter(
            f"rules = {shown(rules)} must be a list of mappings {{s: int array (v, m, s)}}, one "
            "per level"
        )
    out = []
    for level, arities in enumerate(rules):
        if not isinstance(arities, Mapping) or not arities:
            raise InvalidParameter(
                f"rules[{level}] = {shown(arities)} must be a mapping {{s: int array (v, m, s)}}"
            )
        tables = {}
        for s, table in arities.items():
            s = whole(f"an arity of rules[{level}]", s, 1, MAX_ARITY)
            found = integers(f"rules[{level}][{s}]", table, 0, 10**6)
            if found.ndim != 3 or found.shape[2] != s or not found.size:
                raise InvalidParameter(
                    f"rules[{level}][{s}] has shape {found.shape}; give a non-empty array "
                    f"(v, m, {s})"
                )
            tables[s] = found
        sizes = {len(x) for x in tables.values()}
        if len(sizes) > 1:
            raise InvalidParameter(
                f"rules[{level}] has arrays of {sorted(sizes)} symbols; give every arity the same"
            )
        out.append(dict(sorted(tables.items())))
    for level, (above, below) in enumerate(zip(out, out[1:], strict=False)):
        largest = max(int(x.max()) for x in above.values())
        size = len(next(iter(below.values())))
        if largest >= size:
            raise InvalidParameter(
                f"rules[{level}] holds symbol {largest}, but level {level + 1} has {size} symbols; "
                "lower the entry or add symbols"
            )
    return out


def _checked_level_weights(
    weights: Any, tables: list[dict[int, NDArray[np.int64]]]
) -> list[dict[int, FloatArray]]:
    out: list[dict[int, FloatArray]] = []
    if weights is None:
        for level in tables:
            total = sum(table.shape[1] for table in level.values())
            out.append({s: np.full(table.shape[:2], 1 / total) for s, table in level.items()})
        return out
    if not isinstance(weights, (list, tuple)) or len(weights) != len(tables):
        raise InvalidParameter(
            f"weights = {shown(weights)} must be a list of {len(tables)} mappings, one per level"
        )
    for k, (given, arities) in enumerate(zip(weights, tables, strict=True)):
        if not isinstance(given, Mapping) or set(given) != set(arities):
            raise InvalidParameter(
                f"weights[{k}] must have the arities {sorted(arities)} of the rules"
            )
        found = {s: np.asarray(given[s], float) for s in arities}
        for s, table in arities.items():
            if found[s].shape != table.shape[:2]:
                raise InvalidParameter(
                    f"weights[{k}][{s}] has shape {found[s].shape}; the rules need "
                    f"{table.shape[:2]}"
                )
        joined = np.concatenate([found[s] for s in arities], axis=1)
        normal = checked_probabilities(joined, f"weights[{k}]", joined.shape)
        ends = np.cumsum([x.shape[1] for x in arities.values()])[:-1]
        out.append(dict(zip(arities, np.split(normal, ends, axis=1), strict=True)))
    return out


_TOKEN = re.compile(r"\s*('[^']*'|\"[^\"]*\"|\[[^\]]*\]|\||[^\s|\[\]'\"]+)")


def _read_line(line: str) -> list[tuple[str, tuple[str, ...], float]]:
    left, arrow, right = line.partition("->")
    if not arrow or len(left.split()) != 1:
        raise InvalidParameter(f"line {shown(line.strip())} is no rule; write S -> A B [0.5]")
    out = []
    for part in re.split(r"\|(?=(?:[^'\"]*['\"][^'\"]*['\"])*[^'\"]*$)", right):
        words = _TOKEN.findall(part)
        if len(words) < 2 or not words[-1].startswith("["):
            raise InvalidParameter(
                f"{shown(part.strip())} of {left.strip()} must be symbols and a probability [p]"
            )
        try:
            p = float(words[-1][1:-1])
        except ValueError:
            raise InvalidParameter(f"{words[-1]} of {left.strip()} must be a probability") from None
        out.append((left.strip(), tuple(words[:-1]), p))
    return out
