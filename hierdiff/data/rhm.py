r"""The Random Hierarchy Model: its parameters, and the grammars that are drawn from it.

=====================  ==========================================================================
symbol                 meaning
=====================  ==========================================================================
L                      depth; levels run from the root (0) to the leaves (L)
v_l                    number of symbols of level l (v_0 of them are the classes)
m_l, s_l               rules per symbol of level l, and symbols that a rule writes in level l + 1
a -> (b_1 ... b_s)     rule k of symbol a, used with probability pi_l(k | a)
=====================  ==========================================================================

A derivation draws the root from its prior p_0 and then, level by level, one rule for every node:

.. math:: p(\text{derivation}) = p_0(a_0) \prod_{l=0}^{L-1} \prod_i \pi_l(k_i | a_i),
   \qquad p(x) = \sum_{\text{derivations of } x} p(\text{derivation}).

A grammar is *unambiguous* when no two rules of a level share a right-hand side; a leaf string x
then has at most one derivation.  The Random Hierarchy Model draws such grammars: v symbols on
every level, m equiprobable rules for each, all m v right-hand sides of a level distinct.

``Grammar`` is the general layered grammar, its sizes and rules free from level to level; ``RHM``
holds the parameters of the model and draws grammars.  Symbols are int32 throughout, so that a
negative number can mark a mask and compiled code meets one integer type.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hierdiff._display import block, html_table, html_tree
from hierdiff._files import one_line, read_npz, write_npz
from hierdiff.checks import (
    MAX_SYMBOLS,
    accepts,
    advise,
    checked,
    count,
    memory,
    shown,
    unchecked,
    whole,
)
from hierdiff.data.derivations import (
    MAX_BRANCHES,
    MAX_DEPTH,
    BoolArray,
    Derivations,
    FloatArray,
    Parser,
    Symbols,
    checked_probabilities,
    checked_rules,
    checked_weights,
    clamped,
    draw_tuples,
    factor_graph,
    pick,
    reason,
)
from hierdiff.errors import DamagedFile, InvalidParameter, NotASentence
from hierdiff.seeds import Seed, generator

if TYPE_CHECKING:
    import networkx

__all__ = ["RHM", "Grammar", "affordable"]

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
    zero, counts as absent: it makes no string valid and no grammar ambiguous.

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
        """Which leaf strings are in the language, that is, have positive probability.

        Parameters
        ----------
        leaves : int array [n, leaves]
            Leaf strings; a symbol outside the vocabulary, such as a mask, is never valid.

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
            In nats; -inf for strings that are not in the language.

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

    def _repr_html_(self) -> str:
        rows = [
            [f"{level} to {level + 1}", str(a), f"{b}", f"{w:.4g}"]
            for level in range(min(self.L, 2))
            for a in range(min(self.v[level], 4))
            for b, w in zip(self.rules[level][a, :3].tolist(), self.weights[level][a], strict=False)
        ]
        header = ["levels", "symbol", "right-hand side", "probability"]
        # one tree, of fixed seed, so that a page shows the same one whenever it is made
        few = self.n_leaves <= 2**20
        drawn = html_tree([a[0] for a in self.sample(1, seed=0).levels]) if few else ""
        return block(repr(self), html_table(header, rows, limit=24), drawn)


# ----------------------------------------------------------------------- the Random Hierarchy Model

_WIDEST = 2**63 - 1  # symbols in closed forms; those of grammars that are drawn are int32


@dataclass(frozen=True)
class RHM:
    r"""Parameters of the Random Hierarchy Model: v symbols, m rules, branching s, depth L.

    .. math:: \text{number of data} = n_c\, m^{(s^L - 1)/(s - 1)}, \qquad f = (mv - 1)/(v^s - 1)

    Parameters
    ----------
    v : int
        Symbols per level.
    m : int
        Rules per symbol; all m v right-hand sides of a level are distinct.
    s : int
        Symbols that a rule writes.
    L : int
        Levels of rules; a datum has s**L leaves.
    n_classes : int, optional
        Symbols at the root (default v, and then stored as such).

    Raises
    ------
    InvalidParameter
        If a size is no positive integer, or a level needs more tuples than the v**s there are; if
        s exceeds 4096, L 32768, or v or n_classes 2**63 - 1: v**s and s**L are exact integers,
        whose arithmetic would take minutes.

    Notes
    -----
    Validity: exact.

    References
    ----------
    arXiv 2307.02129 (model), 2402.16991 (under diffusion).

    Examples
    --------
    >>> rhm = RHM(v=32, m=8, s=2, L=10)
    >>> rhm.n_leaves, round(rhm.f, 8), round(rhm.log_n_data / math.log(2))
    (1024, 0.24926686, 3074)
    """

    v: int
    m: int
    s: int
    L: int
    n_classes: int

    def __init__(self, v: int, m: int, s: int, L: int, n_classes: int | None = None) -> None:
        sizes = {"v": v, "m": m, "s": s, "L": L, "n_classes": v if n_classes is None else n_classes}
        most = {"v": _WIDEST, "s": MAX_BRANCHES, "L": MAX_DEPTH, "n_classes": _WIDEST}
        for name, value in sizes.items():
            object.__setattr__(self, name, whole(name, value, 1, most.get(name)))
        available = self.v**self.s
        for name, symbols in (("v", self.v), ("n_classes", self.n_classes)):
            if self.m * symbols > available:
                raise InvalidParameter(
                    f"m * {name} = {self.m * symbols} rules exceed the v**s = {available} "
                    f"available tuples; lower {'m' if name == 'v' else 'm or n_classes'} or raise s"
                )

    @property
    def n_leaves(self) -> int:
        """Leaves of a datum, s**L."""
        return int(self.s**self.L)

    @property
    def log_n_data(self) -> float:
        """Natural logarithm of the number of data, n_classes * m**((s**L - 1) / (s - 1))."""
        inner_nodes = self.L if self.s == 1 else (self.n_leaves - 1) // (self.s - 1)
        if self.m == 1:
            return math.log(self.n_classes)
        # beyond any float where the number of leaves is
        nodes = float(inner_nodes) if inner_nodes.bit_length() < 1000 else math.inf
        return math.log(self.n_classes) + nodes * math.log(self.m)

    @property
    def f(self) -> float:
        """Fraction (m v - 1) / (v**s - 1) of the other tuples that are rules; 1 if all are."""
        rules, available = self.m * self.v, self.v**self.s
        return 1.0 if rules == available else (rules - 1) / (available - 1)

    def __getattr__(self, name: str) -> NoReturn:
        """An attribute of a grammar, asked of its parameters."""
        remedy = ""
        if name in _OF_GRAMMARS:
            remedy = f"; it holds parameters, draw a grammar first: rhm.draw(seed).{name}"
        raise AttributeError(f"RHM has no attribute {name!r}{remedy}", name=name, obj=self)

    @checked
    def draw(self, seed: Seed) -> Grammar:
        """Draw a grammar: each level's tuples uniformly without replacement, levels independent.

        Parameters
        ----------
        seed : Seed
            Source of randomness.

        Returns
        -------
        Grammar
            Unambiguous, with equiprobable rules and classes.

        Notes
        -----
        Validity: exactly uniform for any v, m, s; memory grows with m * v, not with v**s.

        Examples
        --------
        >>> RHM(v=256, m=4, s=4, L=2).draw(seed=0)
        Grammar(L=2, v=256, m=4, s=4)
        """
        rng = generator(seed)
        if max(self.v, self.n_classes) > MAX_SYMBOLS:
            raise InvalidParameter(
                f"v = {self.v}, n_classes = {self.n_classes}: symbols of a grammar are int32; give "
                f"at most {MAX_SYMBOLS}"
            )
        memory(
            f"a grammar of {self.L} levels with m * v = {self.m * self.v} rules each",
            16.0 * self.L * min(self.m * self.v * self.s, 1 << 900),
        )
        symbols = [self.n_classes] + [self.v] * (self.L - 1)
        rules = [draw_tuples(n * self.m, self.v, self.s, rng) for n in symbols]
        return Grammar(
            [tuples.reshape(-1, self.m, self.s) for tuples in rules], leaf_vocabulary=self.v
        )


_OF_GRAMMARS = frozenset(name for name in vars(Grammar) if not name.startswith("_"))


def _no_rhm(name: str, value: Any, arguments: Mapping[str, Any]) -> None:
    """Tell how parameters are written where they come as a tuple."""
    if isinstance(value, (tuple, list)) and 3 <= len(value) <= 5:
        words = ("v", "m", "s", "L", "n_classes")[: len(value)]
        sizes = [f"{word}={x!r}" for word, x in zip(words, value, strict=True)]
        sizes += ["L=2"] if len(value) == 3 else []
        raise InvalidParameter(f"{name} = {value!r} must be an RHM; give RHM({', '.join(sizes)})")


def _parameters_of(grammar: Grammar) -> str:
    """What to give where parameters are needed: they say nothing of weights."""
    if grammar.is_uniform:
        return "give the parameters it was drawn with, RHM(v=..., m=..., s=..., L=...)"
    return (
        "an RHM has equal weights, and this grammar has not, so its law would be another; measure "
        "instead, as PhaseTransition(v=..., m=..., L=...).measure(ExactRHM(grammar, noise), "
        "grammar).threshold"
    )


accepts(RHM, _no_rhm)
advise("Grammar", "RHM", "draw one with rhm.draw(seed)")
advise("RHM", "Grammar", _parameters_of)
advise("Derivations", "ndarray", "parse leaves with grammar.parse(leaves)")


@checked(data=count)
def affordable(rhm: RHM, data: int = 1) -> None:
    """Refuse data that do not fit into memory, before any of them is drawn.

    A datum has s**L leaves; one task holds its data, and the beliefs of one datum at least.

    Parameters
    ----------
    rhm : RHM
    data : int
        Data of one task.

    Raises
    ------
    InvalidParameter
        If the machine has less memory.

    Notes
    -----
    Validity: a lower bound; what passes may still run out of memory.

    Examples
    --------
    >>> affordable(RHM(32, 8, 2, 60))
    Traceback (most recent call last):
    hierdiff.errors.InvalidParameter: 1 data of s**L = 2**60 leaves needs 6e+11 GB of memory, more
    than this machine has; choose smaller sizes
    """
    # symbols and noisy symbols are int32, beliefs at the leaves and above are float64
    leaves = min(float(rhm.L) * math.log(rhm.s), 600.0)
    size = math.exp(leaves) * (8.0 * data + 16.0 * rhm.v)
    memory(f"{data} data of s**L = {rhm.s}**{rhm.L} leaves", size)
